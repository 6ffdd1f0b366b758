"""Compares two runs on the same images: scores, where they differ, and what they represent."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow
from scipy import stats

from analysis.associations.correlation import associate
from analysis.compare import images, pictures, representations, tables
from analysis.compare.options import make_parser
from analysis.compare.schema import (
    Change,
    Comparison,
    ImageChange,
    Score,
    Separation,
    Side,
    SliceChange,
    Worse,
    artifact_name,
    settings_of,
)
from analysis.embeddings import stage as embeddings
from analysis.embeddings.schema import Embeddings
from analysis.experiments import statistics
from analysis.predictions import stage as predictions
from analysis.predictions.schema import Predictions
from analysis.samples import stage as samples
from analysis.samples.schema import Samples, numbers
from analysis.slices.conditions import MIN_IMAGES, load_metadata, membership
from analysis.slices.schema import Condition
from analysis.slices.search import LEVEL, find_slices
from analysis.stage import artifacts, storage
from analysis.stage.command import run_command
from analysis.stage.contract import Stage
from analysis.stage.run import Analysis, open_analysis, open_chosen, restrict
from analysis.stage.view import View
from analysis.stats import bootstrap
from segmentation import metrics

_HEAVY, _DOMINANT = 1.0, 2.0  # percent of the pixels, and times the other class
_IMAGES = 10  # shown on which a run is worse
_EXAMPLES = 12  # drawn with the predictions of both runs
_READS = predictions.STAGE, samples.STAGE, embeddings.STAGE  # of both runs


def _reads(analysis: Analysis) -> list[Stage]:
    """The stages that are compared; a foreign model may have no embeddings."""
    return [stage for stage in _READS if not stage.why_not(analysis)]


def class_names(both: Mapping[str, View]) -> list[str]:
    """Foreground classes by number, both names where they differ, and 'mean'."""
    pairs = zip(*(view.class_names[1:] for view in both.values()), strict=True)
    return [a if a == b else f'{a} / {b}' for a, b in pairs] + ['mean']


def compare_scores(
    confusions: Mapping[str, np.ndarray], names: Sequence[str], target: str
) -> list[Score]:
    """Scores of both runs against the labels of one (`target`).

    `confusions` are the counts of 'this' and 'other', `[N, C, C]`, on the same images and labels.
    `names` are the foreground classes, and 'mean'.
    """
    num_images = len(confusions['this'])
    weights = bootstrap.bootstrap_weights(num_images, representations.NUM_RESAMPLES)
    one_fold = np.zeros(num_images, np.int64)
    scored = {
        name: statistics.seed_scores(counts[None], one_fold, weights)
        for name, counts in confusions.items()
    }
    effective = metrics.effective_images(confusions['this'])
    rows = []
    for metric in tables.METRIC_NAMES:
        difference = scored['other'][metric] - scored['this'][metric]
        for column, name in enumerate(names, 1):
            is_mean = column == len(effective)
            matter = metrics.of_rarest(effective) if is_mean else effective[column]
            test = statistics.paired_test(difference, column, max(matter, 2))
            this, other = (scored[key][metric].values[0, column] for key in ('this', 'other'))
            rows.append(
                Score(
                    None if np.isnan(this) else float(this),
                    None if np.isnan(other) else float(other),
                    test.difference,
                    (test.interval[0], test.interval[1]) if test.interval else None,
                    target=target,
                    metric=metric,
                    class_name=name,
                    p=test.p,
                    minimum_detectable=test.minimum_detectable,
                )
            )
    return rows


def compare_means(this: np.ndarray, other: np.ndarray, level: float = 0.05) -> Change:
    """Means of a metric over the images where both have it, with Student's t interval.

    Both are `[n]`, NaN where undefined.
    """
    change = other - this
    change, this, other = (values[~np.isnan(change)] for values in (change, this, other))
    if not len(change):
        return Change()
    mean, interval = float(change.mean()), None
    if len(change) > 1:
        half = float(stats.t.ppf(1 - level / 2, len(change) - 1) * stats.sem(change))
        interval = mean - half, mean + half
    return Change(float(this.mean()), float(other.mean()), mean, interval)


def compare_slices(
    loss: Mapping[str, np.ndarray],
    iou: Mapping[str, np.ndarray],
    columns: Mapping[str, np.ndarray],
    seed: int = 0,
) -> list[SliceChange]:
    """Both metrics of 'this' and 'other' in all images, and in slices where both runs fail.

    Slices chosen by the loss of one run favor the other, because that loss is high there partly by
    chance. So the mean loss of both runs chooses them in one half of the images, and the runs are
    compared in the other half. The intervals are simultaneous: with 95 % probability, those of all
    slices and both metrics contain the true difference (Bonferroni).

    Args:
      loss: `[N]` of each run, NaN where undefined.
      iou: `[N]` of each run, NaN where undefined.
      columns: of the images, see `slices.conditions.make_conditions`.
      seed: of the halves.
    """

    def change(
        text: str, conditions: tuple[Condition, ...], rows: np.ndarray, level: float
    ) -> SliceChange:
        of_loss, of_iou = (
            compare_means(m['this'][rows], m['other'][rows], level) for m in (loss, iou)
        )
        return SliceChange(text, conditions, len(rows), of_loss, of_iou)

    known = np.flatnonzero(~np.isnan(loss['this'] + loss['other']))
    order = known[np.random.default_rng(seed).permutation(len(known))]
    search, test = np.array_split(order, 2)
    both = {name: column[search] for name, column in columns.items()}
    _, found = find_slices(both, (loss['this'] + loss['other'])[search] / 2, seed)
    held_out = {name: column[test] for name, column in columns.items()}
    chosen = [(one, test[membership(held_out, one.conditions)]) for one in found]
    chosen = [(one, rows) for one, rows in chosen if len(rows) >= MIN_IMAGES]
    return [change('all images', (), np.sort(order), 0.05)] + [
        change(one.text, one.conditions, rows, 0.05 / 2 / len(chosen)) for one, rows in chosen
    ]


def describe_images(
    chosen: np.ndarray,
    loss: Mapping[str, np.ndarray],
    iou: Mapping[str, np.ndarray],
    table: pyarrow.Table,
    rows: np.ndarray,
) -> tuple[ImageChange, ...]:
    """Some of the common images, int64 `[n]`; the others are arguments of `find_worse`."""
    ids, files = (table[name].take(rows).to_pylist() for name in ('image_id', 'file_name'))

    def image(i: int) -> ImageChange:
        of_this, of_other = (float(loss[name][i]) for name in ('this', 'other'))
        values = [float(iou[name][i]) for name in ('this', 'other')]
        first, second = (None if np.isnan(value) else value for value in values)
        return ImageChange(int(rows[i]), ids[i], files[i], (of_this, of_other), (first, second))

    return tuple(map(image, chosen.tolist()))


def spread(iou: Mapping[str, np.ndarray]) -> np.ndarray:
    """Up to `_EXAMPLES` images, int64, at equal distances in the order of their change of IoU."""
    change = iou['other'] - iou['this']
    order = np.argsort(change, kind='stable')[: np.isfinite(change).sum()]
    count = min(len(order), _EXAMPLES)
    return order[((np.arange(count) + 0.5) / max(count, 1) * len(order)).astype(np.int64)]


def find_worse(
    loss: Mapping[str, np.ndarray],
    iou: Mapping[str, np.ndarray],
    columns: Mapping[str, np.ndarray],
    table: pyarrow.Table,
    rows: np.ndarray,
) -> dict[str, Worse]:
    """The slices and images in which each run is worse than the other one.

    If the difference depends on no column, a slice is reported for either run in at most 5 % of
    data sets, see `find_slices`.

    Args:
      loss: `[N]` of 'this' and 'other', NaN where undefined.
      iou: `[N]` of each, NaN where undefined.
      columns: of the images, see `slices.conditions.make_conditions`.
      table: of the samples, all rows of this run.
      rows: int64 `[N]`, those of the images.
    """
    found = {}
    for name, sign in (('this', -1), ('other', 1)):
        excess = sign * (loss['other'] - loss['this'])
        worst = np.argsort(-excess, kind='stable')[:_IMAGES]  # NaN comes last
        _, slices = find_slices(columns, excess, 0, LEVEL / 2)
        images = describe_images(worst[excess[worst] > 0], loss, iou, table, rows)
        found[name] = Worse(tuple(slices), images)
    return found


def _separation(
    view: View, table: pyarrow.Table, target: str, space: str, points: Mapping[str, np.ndarray]
) -> list[Separation]:
    """Separation of the two first foreground classes of a run; empty if there are too few images.

    `table` and `points` ('this' and 'other', `[n, D]` each) are of the same n images.
    """
    names = view.class_names[1:3]
    if len(names) < 2:
        return []
    first, second = (numbers(table, f'percent_{name}') for name in names)
    is_first = (first >= _HEAVY) & (first >= _DOMINANT * second)
    is_second = (second >= _HEAVY) & (second >= _DOMINANT * first)
    if min(is_first.sum(), is_second.sum()) < representations.FEWEST:
        return []
    either = is_first | is_second
    return representations.separation(
        {name: part[either] for name, part in points.items()}, is_second[either], target, space
    )


def _cross_confusions(labeled: Analysis, predicted: Predictions, rows: np.ndarray) -> np.ndarray:
    """Confusion matrices of class maps, by row, against the labels of another run, `[n, C, C]`."""
    pairs = ((labeled.examples.label(i), predicted.class_map(int(k))) for i, k in enumerate(rows))
    return np.array([metrics.confusion_matrix(*pair, predicted.num_classes) for pair in pairs])


def compute(both: Mapping[str, Analysis]) -> Comparison:
    """Compares two runs, 'this' and 'other'.

    Both networks run over the images once, for the activations of their layers; a foreign model
    has no layers to compare, only embeddings. If the labels differ, the other network runs once
    more, for its loss against the labels of this run.

    Raises:
      ValueError: they cannot be compared, or an artifact is missing or damaged.
    """
    rows = images.common_rows(both)
    this, other = both.values()
    common = {name: restrict(analysis, rows[name]) for name, analysis in both.items()}
    found = {name: artifacts.load(analysis, Predictions) for name, analysis in both.items()}
    points: dict[str, np.ndarray] = {}
    if all(embeddings.STAGE in stages for stages in map(_reads, both.values())):
        points = {
            name: artifacts.load(view, Embeddings).points[rows[name]] for name, view in both.items()
        }
    chosen, features = np.zeros(0, np.int64), dict[str, dict[str, np.ndarray]]()
    if not any(analysis.foreign for analysis in both.values()):
        chosen, features = representations.layer_features(both, rows)
    decoders = {
        name: representations.standardized(
            np.hstack([part for layer, part in layers.items() if layer.startswith('decoder/')])
        )
        for name, layers in features.items()
    }

    same = images.same_labels(this, other)
    resolution = images.resolution(both.values())
    confusions = {name: one.confusions(resolution)[rows[name]] for name, one in found.items()}
    loss = {name: predicted.losses()[rows[name]] for name, predicted in found.items()}
    against = {'this': confusions}
    if not all(same.values()):
        relabeled = dataclasses.replace(common['other'], examples=common['this'].examples)
        of_this = predictions.describe_changed(relabeled, 'other run, labels of this')
        against['this'] = {'this': confusions['this'], 'other': of_this.confusions()}
        loss['other'] = of_this.losses()
    if not same['label_space']:
        crossed = _cross_confusions(common['other'], found['this'], rows['this'])
        against['other'] = {'this': crossed, 'other': confusions['other']}
    iou = {name: metrics.foreground_iou(counts) for name, counts in against['this'].items()}
    # Pixels can count at the size of one network and not at that of the other.
    unseen = np.isnan(loss['this'] + loss['other'])
    loss = {name: np.where(unseen, np.nan, values) for name, values in loss.items()}
    compared = {name: np.where(unseen, np.nan, values) for name, values in iou.items()}

    scores: list[Score] = []
    separation: list[Separation] = []
    sampled = {name: artifacts.load(view, Samples).table for name, view in both.items()}
    for target, counts in against.items():
        scores += compare_scores(counts, class_names(both), target)
        table = sampled[target].take(rows[target])
        if points:
            separation += _separation(both[target], table, target, 'embeddings', points)
        if decoders:
            some = table.take(chosen)
            separation += _separation(both[target], some, target, 'decoder', decoders)
    # Without clusters: those of one run are where its own activations, and errors, are alike.
    columns = {name: column[rows['this']] for name, column in load_metadata(this).items()}
    metadata, _ = associate(
        {name: column.astype(np.float64) for name, column in columns.items()},
        {
            'difference of loss': loss['other'] - loss['this'],
            'difference of iou': iou['other'] - iou['this'],
        },
    )
    sides = [Side(str(v.workdir), v.step, v.class_names, len(v)) for v in both.values()]
    return Comparison(
        this=sides[0],
        other=sides[1],
        num_images=len(rows['this']),
        scores=tuple(scores),
        slices=tuple(compare_slices(loss, iou, columns)),
        metadata=metadata,
        neighbors=representations.compare_neighbors(*points.values()) if points else None,
        layers=representations.compare_layers(features) if features else (),
        num_images_layers=len(chosen),
        separation=tuple(separation),
        worse=find_worse(loss, iou, columns, sampled['this'], rows['this']),
        examples=describe_images(spread(compared), loss, iou, sampled['this'], rows['this']),
        resolution=resolution,
    )


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    this, split, where = open_chosen(arguments), arguments.split, arguments.data_path
    other = open_analysis(arguments.other, split, arguments.other_checkpoint, where)
    both = {'this': this, 'other': other}
    images.common_rows(both)
    for analysis in both.values():
        for stage in _reads(analysis):
            stage.prepare(analysis)
    name, reads = artifact_name(other), [stage.name for stage in _READS]
    settings = settings_of(other, reads)
    if arguments.force or not artifacts.is_current(this, Comparison, reads, settings, name):
        artifacts.save(this, compute(both), reads, settings, name)
    result = artifacts.load(this, Comparison, name)
    path = this.folder / f'{name}.png'
    tables.figure(result, path)
    drawn = this.folder / f'{name}-images.png'
    pictures.draw(both, result, drawn)
    figures = ', '.join(str(figure) for figure in (path, drawn) if figure.exists())
    print(tables.to_markdown(result), f'Figures: {figures}', sep='\n\n')
    return storage.to_json(result)


def main(argv: list[str] | None = None) -> int:
    """The command `python -m analysis.compare`; returns the exit status."""
    return run_command(make_parser().parse_args(argv), _run)
