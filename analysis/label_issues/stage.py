"""Which labels are probably wrong, in what way, and which regions say so.

    python -m analysis.label_issues --workdir runs/person_car --split val
    python -m analysis.label_issues --workdir runs/fold0 --pool runs/fold1 runs/fold2
    python scripts/train.py … --config.data.exclude=runs/fold0/analysis/val-600/exclude-pooled.json

A network finds errors only in images that it was not trained on. For a whole training set train the
folds of an experiment (`data.folds`, as scripts/experiments/reproduce.py does) and give them all
with --pool: each looks at its own fold, and the results are put together. How regions are found and
judged, and how well that worked where errors had been planted, is described in
analysis/label_issues/regions.py. Kinds:

    missing instance  the network sees an object of a class where nothing is labelled
    wrong class       an instance that looks like one of another foreground class
    spurious label    an instance that looks like background
    sloppy outline    an outline that is unusually short and off the picture's edges
    ambiguous         a wide region in which the network cannot decide: hard, not wrong

Scores lie in [0, 1]. The score of an image is the largest of its regions, over the first four kinds
(`score`) and by kind. If cleanlab is installed (pip install "cleanlab>=2.9"), its softmin label
quality (Lad & Mueller 2023) stands beside ours as `cleanlab`, lower being worse.

Writes into the run's `analysis/<split>-<step>/`:

label_issues.parquet (kind 'label_issues', version 3), a row per region, most suspicious first:
    image_id, file_name
    kind, score        one of the above, in [0, 1]
    given, suggested   class that is labelled there, and that the network would have
    confidence         the network's mean probability of the suggested class in the region
    annotation_id      of the instance in question; null if there is none
    area               of the region in percent of the picture
    left, top, right, bottom  its box as shares of width and height
    rle                compressed RLE (pycocotools) of its mask [S, S] at the network's resolution
label_issues.json (likewise), `images`, a row per image in the order of the images: image_id,
    file_name, score, kind (null if there is none), by_kind, cleanlab (null without it); and
    `cleanlab`, its version or why it was not asked
exclude.json, with --pool exclude-pooled.json, the worst images (--share); `data.exclude` takes it:
    schema_version     1
    fingerprint        `id` of the data set's; other data refuse it
    runs               workdir, split and step of each
    ids                image ids
    images             image_id, file_name, kind, score and reason of each, worst first
label_issues.png       the worst of each kind: picture, given label, prediction
"""

import argparse
import json
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pyarrow
from pycocotools import mask as mask_utils
from tqdm import tqdm

from analysis.label_issues import regions as label_regions
from analysis.label_issues.regions import ERRORS, KINDS, Instance
from analysis.stage import old_artifacts as artifacts
from analysis.stage.activations import activations
from analysis.stage.command import make_parser, run_command
from analysis.stage.layers import DEEP, FINE
from analysis.stage.run import Analysis, Run
from segmentation import evaluate, markdown
from segmentation.data import input_pipeline, label_spaces, masks
from segmentation.models.unet import scale_images

matplotlib.use('Agg')
import matplotlib.pyplot as plt

VERSION = 3
EXCLUDE_VERSION = 1
RESPONSES = (DEEP, FINE)  # layers that tell what a region looks like
_COLORS = np.array(
    [(0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178)],
    np.uint8,
)  # Okabe & Ito 2008
_SHOWN = 6  # images of each kind in the figure


def instances_of(record: dict, classes: dict[int, int], label: np.ndarray) -> list[Instance]:
    """The annotated objects of an image at the network's resolution, where they are seen.

    That is where the label has their class, whatever the order of drawing was.

    Args:
      record: of a `coco.CocoSplit`.
      classes: class by category id.
      label: uint8 `[S, S]`, as the network's examples have it.
    """
    size = [int(record['height']), int(record['width'])]
    rows, cols = (masks.nearest_indices(length, len(label)) for length in size)
    annotated = record['instances']
    result = []
    for annotation_id, category, crowd, rle in zip(
        annotated['id'], annotated['category_id'], annotated['is_crowd'], annotated['rle'],
        strict=True,
    ):  # fmt: skip
        value = classes.get(int(category), 0)
        mask = mask_utils.decode({'size': size, 'counts': rle})[rows][:, cols].astype(np.bool_)
        result.append(Instance(int(annotation_id), value, bool(crowd), mask & (label == value)))
    return result


def _cleanlab():
    """cleanlab's scoring function and version, or None and why not."""
    try:
        import cleanlab
        from cleanlab.segmentation.rank import get_label_quality_scores
    except ImportError as error:
        return None, f'not asked: {error}'
    return get_label_quality_scores, cleanlab.__version__


def _make_look(run: Run):
    """Jitted: variables and images to probabilities `[B, S, S, C]` and responses `[B, h, w, F]`.

    Means of what the network gives for a picture and for its mirror image, mirrored back.
    """

    def look_once(variables, images):
        scaled = scale_images(images, run.config.data.input_range)
        found = activations(
            run.model, variables, scaled, {*RESPONSES, 'decoder/logits'}.__contains__
        )
        logits = found['decoder/logits'][:, : images.shape[1], : images.shape[2]]
        probability = jax.nn.softmax(logits.astype(jnp.float32))
        return probability, *(found[layer].astype(jnp.float32) for layer in RESPONSES)

    @jax.jit
    def look(variables, images):
        pairs = zip(
            look_once(variables, images), look_once(variables, images[:, :, ::-1]), strict=True
        )
        return tuple((straight + mirrored[:, :, ::-1]) / 2 for straight, mirrored in pairs)

    return look


def compute(analysis: Analysis, progress: bool = True) -> tuple[pyarrow.Table, dict]:
    """One pass over the images, then all regions are judged together.

    Returns:
      The content of `label_issues.parquet` and of `label_issues.json`.
    """
    run, examples = analysis.run, analysis.examples
    space = label_spaces.parse_label_space(run.config.data.label_space)
    classes = space.category_to_class(examples.splits[0].categories)
    quality, version = _cleanlab()
    batches = input_pipeline.evaluation_batches(examples, batch_size=run.config.eval_batch_size)
    results = evaluate.predictions(_make_look(run), jax.device_put(run.variables), batches)
    regions, names, qualities = [], [], []
    description = f'label issues, {analysis.split} at step {run.step}'
    with tqdm(total=len(examples), desc=description, unit='img', disable=not progress) as bar:
        for batch, found in results:
            probability, *responses = map(np.asarray, found)
            real = int((batch['index'] >= 0).sum())
            for index, image, label, seen, *layers in zip(
                batch['index'][:real], batch['image'], batch['label'], probability, *responses,
                strict=False,
            ):  # fmt: skip
                record = examples.record(int(index))
                names.append(record['file_name'])
                instances = instances_of(record, classes, label)
                regions += label_regions.find_regions(
                    int(index), image, label, seen, instances, layers
                )
                if quality:
                    # Pixels that do not count agree with whatever the network says.
                    filled = np.where(label == masks.IGNORE, seen.argmax(-1), label)
                    image_score, _ = quality(
                        filled[None].astype(np.int64), np.moveaxis(seen, -1, 0)[None], verbose=False
                    )
                    qualities.append(float(image_score[0]))
            bar.update(real)
    issues = label_regions.judge(regions, len(run.class_names))
    ids = examples.image_ids.tolist()
    rows = [_row(issue, ids, names, run.class_names, run.config.data.image_size)
            for issue in issues]  # fmt: skip
    table = pyarrow.Table.from_pylist(rows, schema=_SCHEMA)
    images = [
        {
            'image_id': image_id,
            'file_name': name,
            'score': 0.0,
            'kind': None,
            'by_kind': dict.fromkeys(KINDS, 0.0),
            'cleanlab': qualities[number] if quality else None,
        }
        for number, (image_id, name) in enumerate(zip(ids, names, strict=True))
    ]
    for issue in issues:  # most suspicious first
        row = images[issue.region.image]
        row['by_kind'][issue.kind] = max(row['by_kind'][issue.kind], issue.score)
        if issue.kind in ERRORS and row['kind'] is None:
            row['kind'], row['score'] = issue.kind, issue.score
    return table, {'cleanlab': version, 'images': images}


_SCHEMA = pyarrow.schema(
    [
        *(('image_id', pyarrow.int64()), ('file_name', pyarrow.string())),
        *(('kind', pyarrow.string()), ('score', pyarrow.float64())),
        *(('given', pyarrow.string()), ('suggested', pyarrow.string())),
        *(('confidence', pyarrow.float64()), ('annotation_id', pyarrow.int64())),
        ('area', pyarrow.float64()),
        *((side, pyarrow.float64()) for side in ('left', 'top', 'right', 'bottom')),
        ('rle', pyarrow.binary()),
    ]
)


def _row(issue, ids: list[int], names: list[str], class_names: Sequence[str], size: int) -> dict:
    region = issue.region
    left, top, width, height = mask_utils.toBbox({'size': [size, size], 'counts': region.rle})
    return {
        'image_id': ids[region.image],
        'file_name': names[region.image],
        'kind': issue.kind,
        'score': issue.score,
        'given': class_names[region.given],
        'suggested': class_names[issue.suggested],
        'confidence': float(region.seen[issue.suggested]),
        'annotation_id': region.annotation_id if region.annotation_id >= 0 else None,
        'area': 100 * region.area,
        'left': left / size,
        'top': top / size,
        'right': (left + width) / size,
        'bottom': (top + height) / size,
        'rle': region.rle,
    }


def load(analysis: Analysis) -> tuple[pyarrow.Table, dict]:
    """The regions and the images as they were written.

    Raises:
      ValueError: one of them is missing, damaged, or does not fit this analysis.
    """
    return (
        artifacts.load_table(analysis, 'label_issues', VERSION),
        artifacts.load_json(analysis, 'label_issues', VERSION),
    )


def compute_or_load(analysis: Analysis, force: bool = False) -> tuple[pyarrow.Table, dict]:
    """What was written before, or else computed and written now.

    Raises:
      ValueError: files are there that are damaged or of other images, and `force` is not given.
    """
    # The JSON file is written last, and is of one table.
    origin = artifacts.origin(analysis, 'label_issues.parquet')
    if not force and artifacts.is_current(analysis, 'label_issues.json', VERSION, origin):
        return load(analysis)
    table, result = compute(analysis)
    artifacts.save_table(analysis, 'label_issues', VERSION, table)
    origin = artifacts.origin(analysis, 'label_issues.parquet')
    artifacts.save_json(analysis, 'label_issues', VERSION, result, origin)
    return table, result


def worst(table: pyarrow.Table, images: list[dict], share: float, kinds: Sequence[str]) -> list:
    """The most suspicious images, with the reason for each.

    Args:
      table: of regions.
      images: of `label_issues.json`.
      share: of the images that are taken at most.
      kinds: that count.

    Returns:
      `image_id`, `file_name`, `kind`, `score` and `reason` of each, worst first.
    """
    chosen, most = {}, int(share * len(images))
    for row in sorted(table.to_pylist(), key=lambda row: (-row['score'], row['image_id'])):
        if len(chosen) == most:
            break
        if row['kind'] in kinds and row['image_id'] not in chosen:
            chosen[row['image_id']] = {
                **{key: row[key] for key in ('image_id', 'file_name', 'kind', 'score')},
                'reason': _reason(row),
            }
    return list(chosen.values())


def _reason(row: dict) -> str:
    place = f'{row["area"]:.1f} % of the picture'
    if row['kind'] == 'missing instance':
        return f'{row["suggested"]} seen in {place} where {row["given"]} is labelled'
    if row['kind'] == 'sloppy outline':
        return f'outline of annotation {row["annotation_id"]} ({row["given"]}, {place})'
    return (
        f'annotation {row["annotation_id"]} ({place}) is labelled {row["given"]} and looks like '
        f'{row["suggested"]}'
    )


def summarize(table: pyarrow.Table, result: dict, excluded: list[dict]) -> dict:
    """For JSON: numbers by kind, and the worst images."""
    kinds = table['kind'].to_pylist()
    scores = table['score'].to_numpy()
    return {
        'num_images': len(result['images']),
        'cleanlab': result['cleanlab'],
        'regions': {
            kind: {
                'regions': kinds.count(kind),
                'score_above_0.9': int(
                    sum(s > 0.9 for k, s in zip(kinds, scores, strict=True) if k == kind)
                ),
            }
            for kind in KINDS
        },  # fmt: skip
        'excluded': excluded,
    }


def to_markdown(summary: dict, most: int = 20) -> str:
    """Numbers by kind and the worst images as tables."""
    return '\n\n'.join(
        [
            f'{summary["num_images"]} images; cleanlab {summary["cleanlab"]}.',
            markdown.table(
                ('kind', 'regions', 'score above 0.9'),
                (
                    (kind, str(row['regions']), str(row['score_above_0.9']))
                    for kind, row in summary['regions'].items()
                ),
            ),
            f'Excluded: {len(summary["excluded"])} images, the worst of which are:',
            markdown.table(
                ('image', 'file', 'kind', 'score', 'reason'),
                (
                    (str(row['image_id']), row['file_name'], row['kind'], f'{row["score"]:.3f}',
                     row['reason'])
                    for row in summary['excluded'][:most]
                ),
            ),
        ]
    )  # fmt: skip


def _predict_classes(run: Run, drawn: dict[int, dict]) -> dict[int, np.ndarray]:
    """Most probable class of each pixel of some examples, by image id."""
    predict = evaluate.make_predict(run.model, run.config.data.input_range)
    variables, size = evaluate.replicate(run.variables), run.config.eval_batch_size
    result = {}
    for start in range(0, len(drawn), size):
        ids = list(drawn)[start : start + size]
        # Always a whole batch: one program, whatever the number of devices.
        images = np.stack([drawn[k]['image'] for k in ids + ids[:1] * (size - len(ids))])
        result |= zip(ids, np.asarray(predict(variables, images)).argmax(-1), strict=False)
    return result


def figure(analysis: Analysis, table: pyarrow.Table, path: pathlib.Path) -> None:
    """Draws the worst of each kind: picture, given label, prediction; the region outlined."""
    run, examples = analysis.run, analysis.examples
    number = {int(image_id): k for k, image_id in enumerate(examples.image_ids)}
    rows = table.to_pylist()
    shown = {kind: {} for kind in KINDS}
    for row in rows:
        if len(shown[row['kind']]) < _SHOWN:
            shown[row['kind']].setdefault(row['image_id'], row)
    drawn = {k: examples[number[k]] for k in sorted({k for mine in shown.values() for k in mine})}
    predicted = _predict_classes(run, drawn)
    size = run.config.data.image_size
    kinds = [kind for kind in KINDS if shown[kind]] or KINDS[:1]
    picture = plt.figure(figsize=(3.2 * _SHOWN, 1.45 * len(kinds)), layout='constrained')
    axes = picture.subplots(len(kinds), _SHOWN, squeeze=False)
    for line, kind in zip(axes, kinds, strict=True):
        line[0].set_ylabel(kind, fontsize='small')
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_frame_on(False)
        for axis, row in zip(line, shown[kind].values(), strict=False):
            example = drawn[row['image_id']]
            panels = [example['image']]
            for classes in (example['label'], predicted[row['image_id']]):
                colors = _COLORS[np.where(classes == masks.IGNORE, 0, classes) % len(_COLORS)]
                panels.append(example['image'] // 3 + (colors // 3) * 2)
            axis.imshow(np.concatenate(panels, axis=1))
            mask = mask_utils.decode({'size': [size, size], 'counts': row['rle']})
            for k in range(3):
                axis.contour(
                    np.arange(size) + k * size, np.arange(size), mask, [0.5], colors='white',
                    linewidths=0.8,
                )  # fmt: skip
            text = f'{row["image_id"]}: {row["given"]} → {row["suggested"]}, {row["score"]:.2f}'
            axis.set_title(text.replace('$', r'\$'), fontsize='x-small')
    partial = path.with_name(f'.{path.name}')  # one that exists is whole
    picture.savefig(partial, dpi=130, format='png')
    partial.replace(path)
    plt.close(picture)


def write_exclude(analyses: Sequence[Analysis], excluded: list[dict], path: pathlib.Path) -> None:
    """Writes what `data.exclude` accepts; see the module's docstring."""
    document = {
        'schema_version': EXCLUDE_VERSION,
        'fingerprint': analyses[0].run.data['fingerprint']['id'],
        'runs': [
            {'workdir': str(a.run.workdir), 'split': a.split, 'step': a.run.step} for a in analyses
        ],
        'ids': [row['image_id'] for row in excluded],
        'images': excluded,
    }
    temporary = path.with_name(f'.{path.name}')
    temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + '\n')
    temporary.replace(path)


def _run(arguments: argparse.Namespace) -> dict:
    if not 0 <= arguments.share < 1:
        raise ValueError(f'--share={arguments.share} must be at least 0 and below 1.')
    runs = (arguments.workdir, *arguments.pool)
    analyses = [artifacts.open_chosen(arguments, workdir) for workdir in runs]
    artifacts.check_pool(analyses)
    tables, images = [], []
    for analysis in analyses:
        table, result = compute_or_load(analysis, arguments.force)
        picture = analysis.folder / 'label_issues.png'
        written = analysis.folder / 'label_issues.json'
        if not picture.exists() or picture.stat().st_mtime < written.stat().st_mtime:
            figure(analysis, table, picture)
        tables.append(table.replace_schema_metadata(None))
        images += result['images']
    table = pyarrow.concat_tables(tables)
    excluded = worst(table, images, arguments.share, arguments.kinds)
    path = analyses[0].folder / f'exclude{"-pooled" if arguments.pool else ""}.json'
    write_exclude(analyses, excluded, path)
    summary = summarize(table, {**result, 'images': images}, excluded)
    print(to_markdown(summary), f'{path} excludes them.', sep='\n\n')
    return summary


def main(argv: list[str] | None = None) -> int:
    parser = make_parser('label_issues', __doc__)
    parser.add_argument(
        '--pool', nargs='+', default=[], type=pathlib.Path, metavar='WORKDIR',
        help='other folds of the experiment, whose images are added',
    )  # fmt: skip
    parser.add_argument(
        '--share', type=float, default=0.02, help='of the images to exclude; default: %(default)s'
    )
    parser.add_argument(
        '--kinds', nargs='+', default=list(ERRORS), choices=KINDS, metavar='KIND',
        help=f'that count for the exclusion: {", ".join(KINDS)}; default: all but the last',
    )  # fmt: skip
    parser.add_argument('--force', action='store_true', help='compute everything again')
    return run_command(parser.parse_args(argv), _run)
