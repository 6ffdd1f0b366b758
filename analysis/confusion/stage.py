"""Counts which COCO categories the network predicts as its classes: trucks as cars, for example."""

import argparse
import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.confusion.counting import Counts, combine, count
from analysis.confusion.options import make_parser
from analysis.confusion.schema import POOLED, ClassErrors, Confused, Confusion, Interval
from analysis.figures import bars, palette
from analysis.predictions import stage as predictions
from analysis.stage import artifacts, command, storage
from analysis.stage.contract import Stage
from analysis.stage.run import Analysis, open_pool
from analysis.stats import bootstrap
from analysis.stats.bootstrap import ratio
from segmentation import markdown, metrics
from segmentation.data import label_spaces

_SHOWN = 12  # categories per class, in the table and in the figure
_NUM_RESAMPLES = 2000


def _shares(counts: Counts, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The shares of the result for R weighted sets of images.

    Args:
      counts: of N images and P categories, 0 where a category is not completely annotated.
      weights: how often each image is in each set, `[R, N]`.

    Returns:
      float64, NaN where a share does not exist: `base` and `wrong_unlabeled` `[R, C]`; `share`,
      `excess`, `instance_share` and `wrong_share` `[R, P, C]`.
    """
    weights = weights.astype(np.float64)

    def total(values: np.ndarray) -> np.ndarray:
        return (weights @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:])

    pixels, instances = total(counts.pixels), total(counts.instances)
    unlabeled, wrong = total(counts.unlabeled), total(counts.wrong)
    # Totals over the images in which each category is completely annotated, [R, P, C].
    complete = counts.complete[..., None]
    unlabeled_here = total(complete * counts.unlabeled[:, None])
    wrong_here = total(complete * counts.wrong[:, None])
    share = ratio(pixels, pixels.sum(-1, keepdims=True))
    return {
        'base': ratio(unlabeled, unlabeled.sum(-1, keepdims=True)),
        'wrong_unlabeled': ratio(unlabeled, wrong),
        'share': share,
        'excess': share - ratio(unlabeled_here, unlabeled_here.sum(-1, keepdims=True)),
        'instance_share': ratio(instances, instances.sum(-1, keepdims=True))[..., :-1],
        'wrong_share': ratio(pixels, wrong_here),
    }


def summarize(
    counts: Counts,
    categories: Sequence[str],
    label_of: Sequence[int],
    class_names: Sequence[str],
    pooled: tuple[str, ...] = (),
    seed: int = 0,
) -> Confusion:
    """Shares with bootstrap confidence intervals.

    Args:
      counts: of N images; of several runs one after the other.
      categories: K names.
      label_of: class of each category, 0 for none.
      class_names: C names, background first.
      pooled: directories of the other runs.
      seed: of the bootstrap.
    """
    complete, num_images = counts.complete[..., None], len(counts.complete)
    pixels, instances = counts.pixels * complete, counts.instances * complete
    present = np.flatnonzero(pixels.any((0, 2))).tolist()
    counts = dataclasses.replace(
        counts,
        pixels=pixels[:, present],
        instances=instances[:, present],
        complete=counts.complete[:, present],
    )
    points = {key: value[0] for key, value in _shares(counts, np.ones((1, num_images))).items()}
    resamples = bootstrap.weight_blocks(num_images, _NUM_RESAMPLES, seed)
    blocks = [_shares(counts, weights) for weights in resamples]
    bounds = {
        key: metrics.percentile_interval(np.concatenate([block[key] for block in blocks]))
        for key in points
    }

    def estimate(key: str, *where: int) -> tuple[float | None, Interval | None]:
        value, (low, high) = points[key][where], bounds[key][where].tolist()
        return None if np.isnan(value) else float(value), None if np.isnan(low) else (low, high)

    wrong = counts.wrong.sum(0).tolist()
    base = {
        name: ClassErrors(*estimate('base', k), wrong[k], *estimate('wrong_unlabeled', k))
        for k, name in enumerate(class_names[1:], 1)
    }
    per_image = counts.pixels.sum(-1).astype(np.float64)
    total = per_image.sum(0)
    effective = ratio(np.square(total), np.square(per_image).sum(0))
    rows = tuple(
        Confused(
            categories[present[row]],
            class_names[k],
            class_names[label_of[present[row]]],
            int((per_image[:, row] > 0).sum()),
            float(effective[row]),
            int(total[row]),
            int(counts.instances[:, row].sum()),
            *estimate('share', row, k),
            *estimate('excess', row, k),
            *estimate('instance_share', row, k),
            *estimate('wrong_share', row, k),
        )
        for k in range(1, len(class_names))
        for row in np.argsort(-total * points['share'][:, k], kind='stable')
        if label_of[present[row]] != k
    )
    return Confusion(num_images, pooled, base, rows)


def _summarize_runs(analyses: Sequence[Analysis]) -> Confusion:
    first = analyses[0]
    known = first.examples.splits[0].categories
    space = label_spaces.parse_label_space(first.config.data.label_space)
    classes = space.category_to_class(known)
    return summarize(
        combine([count(analysis) for analysis in analyses]),
        [category.name for category in known],
        [classes.get(category.id, 0) for category in known],
        first.class_names,
        tuple(str(analysis.workdir) for analysis in analyses[1:]),
    )


def compute(analysis: Analysis) -> Confusion:
    """Counts the predicted classes of every category's objects."""
    return _summarize_runs([analysis])


def pool(analysis: Analysis, others: Sequence[Analysis], force: bool = False) -> Confusion:
    """The confusion over the images of several runs, read if it is up to date.

    Args:
      analysis: of the first run, whose folder gets the artifact.
      others: of the other runs.
      force: compute it again in any case.

    Raises:
      ValueError: an artifact is damaged.
    """
    analyses = [analysis, *others]
    for one in analyses:
        predictions.STAGE.prepare(one)
    reads = [predictions.STAGE.name]
    pooled = [
        [str(other.workdir), other.split, other.step, *artifacts.digests(other, reads).values()]
        for other in others
    ]
    settings = {'pooled': pooled}
    if not force and artifacts.is_current(analysis, Confusion, reads, settings, POOLED):
        return artifacts.load(analysis, Confusion, POOLED)
    result = _summarize_runs(analyses)
    artifacts.save(analysis, result, reads, settings, POOLED)
    return result


def table(result: Confusion) -> str:
    """For each class the categories that are most often predicted as it, by pixels."""

    percent = functools.partial(markdown.number, spec='.1%')
    header = (
        'category', 'label', 'images (effective)', 'pixels', 'predicted so',
        'minus background', 'instances', 'predicted so', 'share of the errors',
    )  # fmt: skip
    parts = [
        f'{result.num_images} images, at the network’s resolution. In parentheses: 95 % bootstrap '
        'confidence interval over images, too narrow for effective sample sizes below about 10.'
    ]
    for name, base in result.base.items():
        rows = (
            (
                row.category,
                row.label,
                f'{row.images} ({row.effective_images:.1f})',
                str(row.pixels),
                percent(row.share, row.interval),
                percent(row.excess, row.excess_interval),
                str(row.instances),
                percent(row.instance_share, row.instance_interval),
                percent(row.wrong_share, row.wrong_interval),
            )
            for row in _shown(result, name)
        )
        parts.append(
            f'Predicted as **{markdown.escape(name)}**: '
            f'{percent(base.share, base.interval)} of the unlabeled background. Of '
            f'{base.wrong} pixels wrongly predicted as this class, '
            f'{percent(base.wrong_unlabeled, base.wrong_unlabeled_interval)} are under no '
            f'annotation.\n\n{markdown.table(header, rows)}'
        )
    return '\n\n'.join(parts)


def _shown(result: Confusion, name: str) -> list[Confused]:
    return [row for row in result.rows if row.called == name and row.share][:_SHOWN]


def draw(analysis: Analysis, result: Confusion) -> list[pathlib.Path]:
    """Draws for each class which categories are predicted as it, and where its errors are."""
    names = list(result.base)
    figure = Figure((11, 0.8 + 3.6 * len(names)), layout='constrained')
    axes = figure.subplots(len(names), 2, squeeze=False)
    for (left, right), name in zip(axes, names, strict=True):
        rows = _shown(result, name)
        texts = [f'{row.category} ({row.effective_images:.0f})' for row in rows]
        for axis, kind, color, height, shift, label in (
            (left, '', palette.SKY, 0.4, -0.2, 'pixels'),
            (left, 'instance_', palette.ORANGE, 0.4, 0.2, 'instances'),
            (right, 'wrong_', palette.SKY, 0.7, 0.0, None),
        ):
            values = [getattr(row, f'{kind}share') for row in rows]
            intervals = [getattr(row, f'{kind}interval') for row in rows]
            bars.draw(axis, texts, values, intervals, color, height, shift, label)
        for axis in (left, right):
            axis.set_xlim(0, None)
            axis.xaxis.set_major_formatter(PercentFormatter(1))
            if not rows:
                axis.text(0.5, 0.5, 'no category', ha='center', transform=axis.transAxes)
        if (share := result.base[name].share) is not None:
            left.axvline(share, color=palette.BLACK, linestyle=':', label='unlabeled background')
        left.set_xlabel(bars.plain(f'of the category, predicted as {name}'))
        right.set_xlabel(bars.plain(f'of the pixels wrongly predicted as {name}'))
        if rows:
            left.legend(fontsize='small', loc='lower right')
    figure.suptitle(
        'True categories and their predicted classes; 95 % confidence intervals over images; '
        'in parentheses: effective sample size',
        fontsize='medium',
    )
    path = analysis.folder / f'{POOLED if result.pooled else result.NAME}.png'
    figure.savefig(path, dpi=130)
    return [path]


STAGE = Stage(Confusion, make_parser, compute, table, draw, reads=(predictions.STAGE,))


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    analysis, *others = open_pool(arguments)
    if others:
        result = pool(analysis, others, arguments.force)
    else:
        result = STAGE.get(analysis, arguments.force)
    (path,) = draw(analysis, result)
    print(table(result), f'Figure: {path}', sep='\n\n')
    return storage.to_json(result)


def main(argv: list[str] | None = None) -> int:
    """The command `python -m analysis.confusion`; returns the exit status."""
    return command.run_command(make_parser().parse_args(argv), _run)
