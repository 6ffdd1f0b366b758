"""Finds labels that are probably wrong, which error they have, and in which region."""

import argparse
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow
from matplotlib.figure import Figure
from pycocotools import mask as mask_utils

from analysis.label_issues import exclusion, merging, probability
from analysis.label_issues.judging import Issue, judge
from analysis.label_issues.morphology import dilate
from analysis.label_issues.options import make_parser
from analysis.label_issues.regions import Region, find_regions, instances_of
from analysis.label_issues.schema import KINDS, REGIONS, LabelIssues
from analysis.predictions import stage as predictions
from analysis.predictions.schema import Predictions
from analysis.stage import artifacts, shards, storage
from analysis.stage.command import run_command
from analysis.stage.contract import Stage
from analysis.stage.forward import Batch, forward
from analysis.stage.layers import DEEP, FINE
from analysis.stage.run import Analysis, open_pool
from segmentation import evaluate, markdown, overlays
from segmentation.activations import LOGITS, activations, logits_of
from segmentation.data import label_spaces
from segmentation.data.masks import IGNORE
from segmentation.files import replacing
from segmentation.models.unet import scale_images
from segmentation.trained import Run

LAYERS = (DEEP, FINE)  # whose activations describe what a region looks like
_SHOWN, _GAP = 6, 16  # images of each kind in the figure, and pixels between them


def make_look(run: Run) -> Callable[[Any, np.ndarray], tuple[jax.Array, ...]]:
    """Variables and images to probabilities and activations, averaged over mirror images.

    Takes uint8 `[B, S, S, 3]`; returns float32 `[B, S, S, C]` and `[B, h, h, channels]` for each of
    `LAYERS`: means over the output for an image and the output for its mirror image, mirrored back.
    See `evaluate.on_local_devices`.
    """

    def look_once(variables: Any, images: jax.Array) -> tuple[jax.Array, ...]:
        scaled = scale_images(images, run.config.data.input_range)
        found = activations(run.model, variables, scaled, {*LAYERS, LOGITS}.__contains__)
        probability = jax.nn.softmax(logits_of(found, images.shape[1]))
        return probability, *(found[layer].astype(jnp.float32) for layer in LAYERS)

    def look(variables: Any, images: jax.Array) -> tuple[jax.Array, ...]:
        both = look_once(variables, images), look_once(variables, images[:, :, ::-1])
        return jax.tree.map(lambda straight, mirrored: (straight + mirrored[:, :, ::-1]) / 2, *both)

    return evaluate.on_local_devices(look)


def _look_at(analysis: Analysis) -> Iterator[tuple[list[int], Batch, tuple[Any, ...]]]:
    """Numbers of images, their batch, and what `make_look` returns for it."""
    if not analysis.foreign:
        yield from forward(analysis, 'label issues', make_look(analysis.run))
        return
    for rows, batch, logits in forward(analysis, 'label issues'):
        # Nothing is known of what the model sees in a region but its probabilities.
        nothing = np.zeros((len(logits), 1, 1, 1), np.float32)
        yield rows, batch, (jax.nn.softmax(logits), *(nothing for _ in LAYERS))


def _cleanlab() -> tuple[Callable[..., Any] | None, str]:
    """cleanlab's scoring function and version, or None and why not."""
    try:
        import cleanlab
        from cleanlab.segmentation.rank import get_label_quality_scores
    except ImportError as error:
        return None, f'not used: {error}'
    return get_label_quality_scores, cleanlab.__version__


def _find(
    analysis: Analysis, rows: np.ndarray
) -> Iterator[tuple[str, list[dict[str, Any]], float]]:
    """File name, regions (fields of `Region`) and cleanlab's quality of each image."""
    space = label_spaces.parse_label_space(analysis.config.data.label_space)
    classes = space.category_to_class(analysis.examples.splits[0].categories)
    quality, _ = _cleanlab()
    fields = [field.name for field in dataclasses.fields(Region)]
    for indices, batch, found in _look_at(analysis):
        probabilities, *layers = map(np.asarray, found)
        for i, index in enumerate(indices):
            image, label, probability = batch['image'][i], batch['label'][i], probabilities[i]
            record, score = analysis.examples.record(index), [np.nan]
            regions = find_regions(
                int(rows[index]), image, label, probability, instances_of(record, classes, label),
                [layer[i] for layer in layers],
            )  # fmt: skip
            if quality:
                # Pixels that do not count agree with any prediction.
                filled = np.where(label == IGNORE, probability.argmax(-1), label)
                planes = np.moveaxis(probability, -1, 0)
                score, _ = quality(filled[None].astype(np.int64), planes[None], verbose=False)
            described = [{name: getattr(each, name) for name in fields} for each in regions]
            yield record['file_name'], described, float(score[0])


def compute(analysis: Analysis) -> LabelIssues:
    """Finds the regions of all images in one pass, then scores them together."""
    regions: list[Region] = []
    names, label_quality = [], []
    for name, found, quality in shards.stream(analysis, LabelIssues.NAME, _find):
        names.append(name)
        regions += [Region(**fields) for fields in found]
        label_quality.append(quality)
    issues = judge(regions, len(analysis.class_names))
    columns = [name for name in REGIONS.names if name not in ('probability', 'object')]
    rows = [dict(zip(columns, _row(analysis, issue, names), strict=True)) for issue in issues]
    confusion = artifacts.load(analysis, Predictions).confusions().sum(0)
    known = merging.known(confusion, analysis.class_names)
    ranked = merging.rank(rows, analysis.config.data.image_size, known)
    table = pyarrow.Table.from_pylist(ranked, REGIONS)
    return LabelIssues(len(analysis), _cleanlab()[1], np.array(label_quality), table)


def _row(analysis: Analysis, issue: Issue, names: Sequence[str]) -> tuple[Any, ...]:
    """An issue as the columns of `REGIONS`, but for those of `merging.rank`."""
    size, class_names, region = analysis.config.data.image_size, analysis.class_names, issue.region
    box = mask_utils.toBbox({'size': [size, size], 'counts': region.rle}) / size
    return (
        *(region.image, names[region.image], issue.kind, issue.score),
        *(class_names[region.given], class_names[issue.suggested]),
        float(region.seen[issue.suggested]),
        region.annotation_id if region.annotation_id >= 0 else None,
        100 * region.area,
        *(*box[:2], *(box[:2] + box[2:])),
        region.rle,
    )


def counts(result: LabelIssues) -> dict[str, dict[str, float]]:
    """By kind, of the most probable issue on each object: how many, and how many are likely.

    `expected_errors` are those among the likely ones.
    """
    firsts = result.firsts()
    kinds = np.array(result.regions['kind'].to_pylist(), np.object_)
    probable = result.regions['probability'].to_numpy()
    found = {}
    for kind in KINDS:
        mine = firsts & (kinds == kind)
        likely = probable[mine & (probable >= probability.LIKELY)]
        found[kind] = {
            'issues': int(mine.sum()),
            'likely': len(likely),
            'expected_errors': float(likely.sum()),
        }
    return found


def table(result: LabelIssues) -> str:
    """Number of issues by kind, and how many of the likely ones are expected to be errors."""
    found = counts(result)
    rows = [
        (kind, str(row['issues']), str(row['likely']), f'{row["expected_errors"]:.1f}')
        for kind, row in found.items()
    ]
    header = (
        'kind',
        'issues',
        f'probability ≥ {probability.LIKELY:g}',
        'errors among them (expected)',
    )
    merged = len(result.regions) - int(result.firsts().sum())
    return '\n\n'.join(
        [
            f'{result.num_images} images; cleanlab {result.cleanlab}. {merged} further issues are '
            'on the same objects and were merged into these:',
            markdown.table(header, rows),
            probability.CAVEAT,
        ]
    )


def figure(analysis: Analysis, result: LabelIssues) -> list[pathlib.Path]:
    """Draws the worst images of each kind, their labels and predictions; the region is outlined."""
    predicted, size = artifacts.load(analysis, Predictions), analysis.config.data.image_size
    worst: dict[str, dict[int, dict[str, Any]]] = {kind: {} for kind in KINDS}
    for region in result.regions.to_pylist():
        worst[region['kind']].setdefault(region['row'], region)
    lines = [list(found.values())[:_SHOWN] for found in worst.values() if found]
    height, width = size + _GAP, 3 * size + _GAP
    sheet = np.full((max(1, len(lines)) * height, _SHOWN * width, 3), 255, np.uint8)
    picture = Figure(figsize=(sheet.shape[1] / 100, sheet.shape[0] / 100), dpi=100)
    axes = picture.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    for number, line in enumerate(lines):
        for place, region in enumerate(line):
            y, x, row = number * height + _GAP, place * width, region['row']
            image, label = (analysis.examples[row][key][None] for key in ('image', 'label'))
            tile = overlays.prediction_grid(image, label, predicted.class_map(row)[None])
            mask = mask_utils.decode({'size': [size, size], 'counts': region['rle']}) > 0
            tile[np.tile(mask & dilate(~mask), 3)] = 255
            sheet[y : y + size, x : x + 3 * size] = tile
            change = f'{region["given"]} → {region["suggested"]}, {region["probability"]:.2f}'
            text = f'{region["kind"]}, {analysis.image_ids[row]}: {change}'
            axes.text(x, y - 4, text, fontsize=7, parse_math=False)
    axes.imshow(sheet)
    path = analysis.folder / 'label_issues.png'
    with replacing(path) as partial:
        picture.savefig(partial, format='png')
    return [path]


STAGE = Stage(
    LabelIssues, make_parser, compute, table, figure, reads=(predictions.STAGE,), shared=True
)


def _pool(results: Sequence[LabelIssues]) -> LabelIssues:
    """The issues of several runs; rows are numbered consecutively over the runs."""
    tables, first = [], 0
    for result in results:
        rows = pyarrow.array(result.regions['row'].to_numpy() + first)
        tables.append(result.regions.set_column(0, REGIONS.field('row'), rows))
        first += result.num_images
    quality = np.concatenate([result.label_quality for result in results])
    return LabelIssues(first, results[0].cleanlab, quality, pyarrow.concat_tables(tables))


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    if not 0 <= arguments.share < 1:
        raise ValueError(f'--share={arguments.share} must be at least 0 and below 1.')
    analyses = open_pool(arguments)
    results = [STAGE.get(analysis, arguments.force) for analysis in analyses]
    return shards.by_first(lambda: _exclude(arguments, analyses, results)) or {}


def _exclude(
    arguments: argparse.Namespace, analyses: Sequence[Analysis], results: Sequence[LabelIssues]
) -> dict[str, Any]:
    """Draws the issues, writes and prints which images are excluded."""
    for analysis, found in zip(analyses, results, strict=True):
        STAGE.draw(analysis, found)
    result = _pool(results)
    image_ids = np.concatenate([analysis.image_ids for analysis in analyses])
    excluded = exclusion.worst(image_ids, result, arguments.share, arguments.kinds)
    path = analyses[0].folder / f'exclude{"-pooled" if arguments.pool else ""}.json'
    exclusion.write(analyses, excluded, path)
    rows = (
        (str(image.image_id), image.file_name, image.kind, f'{image.probability:.2f}', image.reason)
        for image in excluded[:20]
    )
    print(
        table(result),
        f'Excluded: {len(excluded)} images, the worst of which are:',
        markdown.table(('image', 'file', 'kind', 'probability', 'reason'), rows),
        f'{path} lists them.',
        sep='\n\n',
    )
    images = [dataclasses.asdict(image) for image in excluded]
    return {**storage.to_json(result), 'regions': counts(result), 'excluded': images}


def main(argv: list[str] | None = None) -> int:
    """The command `python -m analysis.label_issues`; returns the exit status."""
    return run_command(make_parser().parse_args(argv), shards.in_all(_run))
