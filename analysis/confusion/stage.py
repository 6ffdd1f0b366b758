"""Which true COCO categories the network takes for its classes: trucks for cars, say.

    python -m analysis.confusion --workdir runs/person_car --split val
    python -m analysis.confusion --workdir runs/fold0 --pool runs/fold1 runs/fold2

The data set knows more categories than the label space: a truck is background to a network that was
taught persons and cars. Here every annotated object of every category is looked at, at the
network's resolution, but only in images in which its category is completely annotated (elsewhere an
object without annotation would count as background). With --pool the images of other runs are
added, each seen by its own network: the folds of one experiment.

A category's pixels are those of its instances where the label is what it should be: background for
a category that is in no class, else its class (so not where another object covers it). Pixels under
several categories count for each. Crowd regions are no instances. An instance is called a class if
more than half of these pixels are.

Writes `confusion.json` (kind 'confusion', version 1) and `confusion.png` into the run's
`analysis/<split>-<step>/`; with --pool `confusion-pooled.json` and `.png`. Intervals are 95 %
percentile bootstraps over images. Null: does not exist.

    num_images, pooled    the latter the other runs
    base                  by foreground class: share of the unlabelled background, the pixels under
                          no annotation at all, that is called the class
        share, interval
        wrong             pixels wrongly called the class, and where they are:
        wrong_unlabelled  share of them that is under no annotation, with interval
    rows                  a row for each category that occurs and foreground class that it is not:
        category, called  names
        label             class that it has in the label space, 'background' if none
        images            with pixels of the category, where it is completely annotated
        effective_images  as many equal images hold its pixels as evenly; below about 10 the
                          intervals are too narrow
        pixels, instances of the category
        share, interval   of the pixels that is called the class
        excess, excess_interval    the same minus the base over the images where the category is
                          completely annotated
        instance_share, instance_interval    of the instances that is called the class
        wrong_share, wrong_interval    of all pixels wrongly called the class, in these images, the
                          share that is on the category
"""

import argparse
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from pycocotools import mask as mask_utils
from tqdm import tqdm

from analysis.stage import old_artifacts as artifacts
from analysis.stage.command import make_parser, run_command
from analysis.stage.run import Analysis
from segmentation import evaluate, markdown, metrics
from segmentation.data import input_pipeline, label_spaces, masks

matplotlib.use('agg')
import matplotlib.pyplot as plt

VERSION = 1
_NUM_RESAMPLES, _BLOCK = 2000, 250


def image_counts(
    predicted: np.ndarray,
    label: np.ndarray,
    record: Mapping,
    categories: Sequence[int],
    classes: Mapping[int, int],
    num_classes: int,
) -> dict[str, np.ndarray]:
    """What the network calls the objects of an image.

    Args:
      predicted: class of each pixel, `[S, S]`.
      label: true class, uint8 `[S, S]`, 255 for pixels that do not count.
      record: of a `coco.CocoSplit`.
      categories: ids of K categories.
      classes: class by category id, of those that are in one.
      num_classes: C, background included.

    Returns:
      Integers: `pixels` `[K, C]` by category and predicted class, `instances` `[K, C + 1]` (the
      last: no class has more than half), `unlabelled` `[C]` pixels under no annotation by predicted
      class, `wrong` `[C]` pixels wrongly called each class. `complete` bool `[K]`.
    """
    size = len(label)
    height, width = int(record['height']), int(record['width'])
    rows, columns = masks.nearest_indices(height, size), masks.nearest_indices(width, size)
    row_of = {category: row for row, category in enumerate(categories)}
    instances = record['instances']
    shape = len(categories), size, size
    of_category, annotated = {}, np.zeros((size, size), np.bool_)
    counts = np.zeros((shape[0], num_classes + 1), np.int64)
    for category, crowd, rle in zip(
        instances['category_id'].tolist(), instances['is_crowd'], instances['rle'], strict=True
    ):
        mask = mask_utils.decode({'size': [height, width], 'counts': rle}).view(np.bool_)
        mask = mask[rows][:, columns]
        annotated |= mask
        visible = mask & (label == classes.get(category, 0))
        if crowd or not visible.any():
            continue
        row = row_of[category]
        of_category[row] = of_category.get(row, False) | visible
        called = np.bincount(predicted[visible], minlength=num_classes)
        majority = 2 * called.max() > called.sum()
        counts[row, called.argmax() if majority else num_classes] += 1
    pixels = np.zeros((shape[0], num_classes), np.int64)
    for row, visible in of_category.items():
        pixels[row] = np.bincount(predicted[visible], minlength=num_classes)
    complete = np.ones(shape[0], np.bool_)
    if record['complete_known']:
        complete = np.isin(categories, record['complete_category_ids'])
    wrong = (label != masks.IGNORE) & (label != predicted)
    return {
        'pixels': pixels,
        'instances': counts,
        'unlabelled': np.bincount(predicted[(label == 0) & ~annotated], minlength=num_classes),
        'wrong': np.bincount(predicted[wrong], minlength=num_classes),
        'complete': complete,
    }


def count(analysis: Analysis) -> dict[str, np.ndarray]:
    """`image_counts` of all images of an analysis, stacked: `[N, …]`."""
    run, examples = analysis.run, analysis.examples
    known = examples.splits[0].categories
    categories = [category.id for category in known]
    classes = label_spaces.parse_label_space(run.config.data.label_space).category_to_class(known)
    predict = evaluate.make_predict(run.model, run.config.data.input_range)
    batches = input_pipeline.evaluation_batches(examples, batch_size=run.config.eval_batch_size)
    results = evaluate.predictions(predict, evaluate.replicate(run.variables), batches)
    found = {}
    label = f'confusion, {analysis.split} at step {run.step}'
    with tqdm(total=len(examples), desc=label, unit='img') as bar:
        for batch, logits in results:
            predicted = np.asarray(logits).argmax(-1)
            for i, index in enumerate(batch['index'].tolist()):
                if index < 0:
                    continue
                counts = image_counts(
                    predicted[i],
                    batch['label'][i],
                    examples.record(index),
                    categories,
                    classes,
                    len(run.class_names),
                )
                for key, value in counts.items():
                    small = value if value.dtype == np.bool_ else value.astype(np.int32)
                    found.setdefault(key, []).append(small)
                bar.update()
    return {key: np.stack(values) for key, values in found.items()}


def summarize(
    counts: Mapping[str, np.ndarray],
    categories: Sequence[str],
    label_of: Sequence[int],
    class_names: Sequence[str],
    seed: int = 0,
) -> dict:
    """`base` and `rows` of the artifact.

    Args:
      counts: of `count`; of several runs one after the other.
      categories: K names.
      label_of: class of each category, 0 for none.
      class_names: C names, background first.
      seed: of the bootstrap.
    """
    complete = counts['complete']
    pixels = counts['pixels'] * complete[:, :, None]
    instances = counts['instances'] * complete[:, :, None]
    present = np.flatnonzero(pixels.any((0, 2)))
    pixels, instances, complete = pixels[:, present], instances[:, present], complete[:, present]

    def shares(weights):
        """All shares of R weighted sets of images, `[R, …]`."""
        weights = weights.astype(np.float64)

        def total(values):
            return (weights @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:])

        called, kinds = total(pixels), total(instances)
        unlabelled, wrong = total(counts['unlabelled']), total(counts['wrong'])
        # Totals over the images in which each category is completely annotated, [R, K, C].
        base_here = total(complete[:, :, None] * counts['unlabelled'][:, None])
        wrong_here = total(complete[:, :, None] * counts['wrong'][:, None])
        share = _ratio(called, called.sum(-1, keepdims=True))
        return {
            'base': _ratio(unlabelled, unlabelled.sum(-1, keepdims=True)),
            'wrong_unlabelled': _ratio(unlabelled, wrong),
            'share': share,
            'excess': share - _ratio(base_here, base_here.sum(-1, keepdims=True)),
            'instance_share': _ratio(kinds, kinds.sum(-1, keepdims=True))[..., :-1],
            'wrong_share': _ratio(called, wrong_here),
        }

    num_images = len(complete)
    points = {key: value[0] for key, value in shares(np.ones((1, num_images))).items()}
    rng = np.random.default_rng(seed)
    blocks = [
        shares(rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=_BLOCK))
        for _ in range(_NUM_RESAMPLES // _BLOCK)
    ]
    bounds = {
        key: metrics.percentile_interval(np.concatenate([block[key] for block in blocks]))
        for key in points
    }
    per_image = pixels.sum(-1).astype(np.float64)
    effective = _ratio(np.square(per_image.sum(0)), np.square(per_image).sum(0))
    base = {
        name: {
            'share': _plain(points['base'][number]),
            'interval': _plain(bounds['base'][number]),
            'wrong': int(counts['wrong'][:, number].sum()),
            'wrong_unlabelled': _plain(points['wrong_unlabelled'][number]),
            'wrong_unlabelled_interval': _plain(bounds['wrong_unlabelled'][number]),
        }
        for number, name in enumerate(class_names)
        if number
    }
    rows = [
        {
            'category': categories[category],
            'called': class_names[number],
            'label': class_names[label_of[category]],
            'images': int((per_image[:, row] > 0).sum()),
            'effective_images': float(effective[row]),
            'pixels': int(per_image[:, row].sum()),
            'instances': int(instances[:, row].sum()),
            **{
                key: _plain(values[row, number])
                for name in ('share', 'excess', 'instance_share', 'wrong_share')
                for key, values in (
                    (name, points[name]),
                    (_interval_key(name), bounds[name]),
                )
            },
        }
        for number in range(1, len(class_names))
        for row, category in enumerate(present)
        if label_of[category] != number
    ]
    rows.sort(key=lambda row: (class_names.index(row['called']), -row['pixels'] * row['share']))
    return {'base': base, 'rows': rows}


def _interval_key(name: str) -> str:
    return 'interval' if name == 'share' else f'{name.removesuffix("_share")}_interval'


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """NaN where there is no whole."""
    whole = np.broadcast_to(whole, part.shape)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _plain(value: np.ndarray):
    return None if np.isnan(value).any() else value.tolist()


def compute(analyses: Sequence[Analysis]) -> dict:
    """The content of the artifact, for the images of one or more runs together.

    Raises:
      ValueError: they are not the folds of one experiment.
    """
    first = analyses[0]
    artifacts.check_pool(analyses)
    counted = [count(analysis) for analysis in analyses]
    counts = {key: np.concatenate([part[key] for part in counted]) for key in counted[0]}
    known = first.examples.splits[0].categories
    classes = label_spaces.parse_label_space(first.run.config.data.label_space).category_to_class(
        known
    )
    return {
        'num_images': sum(len(analysis.examples) for analysis in analyses),
        'pooled': [str(analysis.run.workdir) for analysis in analyses[1:]],
        **summarize(
            counts,
            [category.name for category in known],
            [classes.get(category.id, 0) for category in known],
            first.run.class_names,
        ),
    }


def to_markdown(result: dict, most: int = 12) -> str:
    """For each class the categories that are most often taken for it, by pixels."""

    def percent(value, interval):
        if value is None:
            return '–'
        bounds = '' if interval is None else f' ({interval[0]:.1%}, {interval[1]:.1%})'
        return f'{value:.1%}{bounds}'

    parts = [
        f'{result["num_images"]} images, at the network’s resolution; in brackets 95 % bootstrap '
        'intervals over images, too narrow where there are fewer than about 10 effective images.'
    ]
    for name, base in result['base'].items():
        parts.append(
            f'Called **{markdown.escape(name)}**: '
            f'{percent(base["share"], base["interval"])} of the unlabelled background. Of '
            f'{base["wrong"]} pixels wrongly called so, '
            f'{percent(base["wrong_unlabelled"], base["wrong_unlabelled_interval"])} are under no '
            'annotation.'
        )
        rows = [row for row in result['rows'] if row['called'] == name and row['share']]
        parts.append(
            markdown.table(
                (
                    *('category', 'labelled', 'images (effective)', 'pixels', 'called so'),
                    *('more than background', 'instances', 'called so', 'share of the wrong'),
                ),
                (
                    (
                        row['category'],
                        row['label'],
                        f'{row["images"]} ({row["effective_images"]:.1f})',
                        str(row['pixels']),
                        percent(row['share'], row['interval']),
                        percent(row['excess'], row['excess_interval']),
                        str(row['instances']),
                        percent(row['instance_share'], row['instance_interval']),
                        percent(row['wrong_share'], row['wrong_interval']),
                    )
                    for row in rows[:most]
                ),
            )
        )
    return '\n\n'.join(parts)


def figure(result: dict, path: pathlib.Path, most: int = 12) -> None:
    """Draws for each class which categories are called so, and where wrong pixels lie, as PNG."""
    names = list(result['base'])
    picture, axes = plt.subplots(
        len(names), 2, figsize=(11, 0.8 + 3.6 * len(names)), layout='constrained', squeeze=False
    )
    for (left, right), name in zip(axes, names, strict=True):
        rows = [row for row in result['rows'] if row['called'] == name and row['share']][:most]
        places = np.arange(len(rows))
        if not rows:
            for axis in (left, right):
                axis.text(0.5, 0.5, 'nothing is', ha='center', transform=axis.transAxes)
        texts = [
            f'{row["category"]} ({row["effective_images"]:.0f})'.replace('$', r'\$') for row in rows
        ]
        panels = (
            (left, 'share', 'interval', '#56B4E9', 'pixels'),
            (left, 'instance_share', 'instance_interval', '#E69F00', 'instances'),
            (right, 'wrong_share', 'wrong_interval', '#56B4E9', None),
        )
        for axis, key, interval, color, label in panels:
            shift = {'pixels': -0.2, 'instances': 0.2, None: 0}[label]
            height = 0.7 if label is None else 0.4
            values = [100 * row[key] if row[key] is not None else np.nan for row in rows]
            bounds = [row[interval] or (np.nan, np.nan) for row in rows]
            axis.barh(places + shift, values, height, color=color, label=label)
            axis.hlines(places + shift, *100 * np.reshape(bounds, (-1, 2)).T, color='black')
        for axis in (left, right):
            axis.set_yticks(places, texts)
            axis.set_ylim(max(len(rows), 1) - 0.4, -0.6)
            axis.set_xlim(0, None)
        base = result['base'][name]
        if base['share'] is not None:
            left.axvline(
                100 * base['share'], color='black', linestyle=':', label='unlabelled background'
            )
        left.set_xlabel(f'% of the category called {name}'.replace('$', r'\$'))
        right.set_xlabel(f'% of the pixels wrongly called {name}'.replace('$', r'\$'))
        if rows:
            left.legend(fontsize='small', loc='lower right')
    picture.suptitle(
        'True categories and what they are called; 95 % intervals over images, in brackets '
        'effective images',
        fontsize='medium',
    )
    picture.savefig(path, dpi=130)
    plt.close(picture)


def _run(arguments: argparse.Namespace) -> dict:
    runs = (arguments.workdir, *arguments.pool)
    analyses = [artifacts.open_chosen(arguments, workdir) for workdir in runs]
    kind = 'confusion-pooled' if arguments.pool else 'confusion'
    path = analyses[0].folder / f'{kind}.png'
    origin = artifacts.origin(
        analyses[0], pooled=[[str(a.run.workdir), a.split, a.run.step] for a in analyses[1:]]
    )
    if not arguments.force and artifacts.is_current(analyses[0], f'{kind}.json', VERSION, origin):
        result = artifacts.load_json(analyses[0], kind, VERSION)
    else:
        result = compute(analyses)
        artifacts.save_json(analyses[0], kind, VERSION, result, origin)
    figure(result, path)
    print(to_markdown(result), f'{path} shows them.', sep='\n\n')
    return result


def main(argv: list[str] | None = None) -> int:
    parser = make_parser('confusion', __doc__)
    parser.add_argument(
        '--pool',
        nargs='+',
        default=[],
        type=pathlib.Path,
        metavar='WORKDIR',
        help='other folds of the experiment, whose images are added',
    )
    parser.add_argument('--force', action='store_true', help='compute everything again')
    return run_command(parser.parse_args(argv), _run)
