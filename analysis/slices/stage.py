"""Finds slices: simple conditions under which the network does worse than elsewhere."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow
from matplotlib.figure import Figure

from analysis.clusters import stage as clusters
from analysis.figures import bars, palette
from analysis.samples import stage as samples
from analysis.samples.schema import Samples, numbers
from analysis.slices.conditions import CLUSTER, load_columns, membership
from analysis.slices.options import make_parser
from analysis.slices.schema import AT_FIRST, METRICS, MetricSlices, Slices, has_metric
from analysis.slices.search import LEVEL, find_slices
from analysis.stage import artifacts
from analysis.stage.contract import Stage
from analysis.stage.view import View
from segmentation import markdown


def adjust_for_size(metric: np.ndarray, percents: Sequence[np.ndarray]) -> np.ndarray:
    """A metric `[N]` minus its least-squares prediction from the percents `[N]` of each class.

    The absence of a class has a term of its own.
    """
    terms: list[np.ndarray] = [np.ones(len(metric))]
    for percent in percents:
        scaled = np.log1p(10 * percent)
        terms += [percent > 0, scaled, scaled**2, percent]
    design = np.stack(terms, axis=1).astype(np.float64)
    return metric - design @ np.linalg.lstsq(design, metric, rcond=None)[0]


def metric_values(
    name: str, table: pyarrow.Table, class_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Values `[n]` of one of `METRICS`, and which images of the table have it, bool `[N]`."""
    base, known = name.removesuffix('_given_size'), has_metric(name, table, class_names)
    values = numbers(table, base)[known]
    if base != name:
        values = np.log(values.clip(1e-9)) if base == 'loss' else values
        percents = [numbers(table, f'percent_{other}')[known] for other in class_names[1:]]
        values = adjust_for_size(values, percents)
    return values, known


def search(
    columns: Mapping[str, np.ndarray],
    measured: Mapping[str, tuple[int, np.ndarray, np.ndarray]],
    ids: np.ndarray,
    seed: int = 0,
) -> tuple[dict[str, MetricSlices], np.ndarray]:
    """Searches for slices by several metrics, which share the level.

    Args:
      columns: see `make_conditions`, `[N]` each.
      measured: by metric: 1 if high is bad, -1 if low is bad; its values, `[n]`; and which rows
        have it, bool `[N]`.
      ids: int64 `[N]`, of the rows.
      seed: of the halves and permutations.

    Returns:
      The slices by metric, and which rows fulfill the conditions of each: `Slices.members`.
    """
    metrics: dict[str, MetricSlices] = {}
    members = []
    for metric, (sign, values, known) in measured.items():
        here = {name: column[known] for name, column in columns.items()}
        num_tested, found = find_slices(here, sign * values, seed, LEVEL / len(measured))
        slices, rows = [], np.flatnonzero(known)
        worst_first = np.argsort(-sign * values, kind='stable')
        for one in found:
            members.append(membership(columns, one.conditions))
            worst = rows[worst_first][members[-1][rows[worst_first]]][:5]
            slices.append(
                dataclasses.replace(
                    one,
                    mean=sign * one.mean + 0.0,  # 0.0: not -0.0
                    mean_elsewhere=sign * one.mean_elsewhere + 0.0,
                    worst=tuple(worst.tolist()),
                    worst_ids=tuple(ids[worst].tolist()),
                )
            )
        mean = float(values.mean()) if len(values) else None
        metrics[metric] = MetricSlices(len(values), mean, num_tested, tuple(slices))
    packed = np.reshape(members, (len(members), len(ids))).astype(np.bool_)
    return metrics, np.packbits(packed, axis=1)


def compute(analysis: View, seed: int = 0) -> Slices:
    """Searches for slices by each metric."""
    columns, table = load_columns(analysis), artifacts.load(analysis, Samples).table
    measured = {
        metric: (sign, *metric_values(metric, table, analysis.class_names))
        for metric, sign in METRICS.items()
    }
    metrics, members = search(columns, measured, analysis.image_ids, seed)
    return Slices(len(table), seed, CLUSTER in columns, metrics, members)


def _title(metric: str) -> str:
    base = metric.removesuffix('_given_size')
    return base if base == metric else f'{base}, adjusted for object size'


def table(result: Slices, units: str = 'images') -> str:
    """How many slices each search found, and the first groups of slices; `units` are the rows."""
    groups = result.groups()
    lines = [
        f'- {_title(metric)}: '
        + (
            f'none of the {units} has it.'
            if found.mean is None
            else f'mean {found.mean:.3f} over {found.num_images} {units}; {len(found.slices)} of '
            f'{found.num_tested} slices found in one half were confirmed in the other.'
        )
        for metric, found in result.metrics.items()
    ]
    header = (
        'slice', 'metric', units, 'mean in it', 'elsewhere', 'worse by (95 % CI)',
        'share × excess', 'p', f'worst {units}', 'nested slices',
    )  # fmt: skip
    rows = (
        (
            one.text,
            _title(metric),
            str(one.size),
            f'{one.mean:.3f}',
            f'{one.mean_elsewhere:.3f}',
            markdown.number(one.excess, one.interval),
            f'{one.impact:.4f}',
            f'{one.p:.4f}',
            ', '.join(map(str, one.worst_ids)),
            str(len(others)),
        )
        for (metric, one, _), *others in groups[:AT_FIRST]
    )
    parts = ['\n'.join(lines)]
    if groups:
        parts += [
            f'{sum(map(len, groups))} slices, {len(groups)} without those nested in one that '
            f'stands out more{"; the first ones:" if len(groups) > AT_FIRST else ":"}',
            markdown.table(header, rows),
        ]
    return '\n\n'.join(parts)


def draw(analysis: View, result: Slices) -> list[pathlib.Path]:
    """Draws the excess of each slice with its confidence interval, a panel for each metric."""
    heights = [max(1, len(found.slices)) for found in result.metrics.values()]
    figure = Figure((11, 3 + 0.4 * sum(heights)), layout='constrained')
    axes = figure.subplots(len(heights), 1, height_ratios=[0.5 + height for height in heights])
    for axis, (metric, found) in zip(axes, result.metrics.items(), strict=True):
        texts = [f'{one.text} ({one.size} images)' for one in found.slices]
        values = [one.excess for one in found.slices]
        bars.draw(axis, texts, values, [one.interval for one in found.slices])
        axis.tick_params(axis='y', labelsize='small')
        axis.axvline(0, color=palette.BLACK, linewidth=0.8)
        axis.set_title(f'{_title(metric)}: {"worse by" if found.slices else "no slice"}')
    figure.suptitle('Confirmed slices by share × excess, with 95 % confidence intervals')
    path = analysis.folder / 'slices.png'
    figure.savefig(path, dpi=120)
    return [path]


STAGE = Stage(
    Slices,
    make_parser,
    compute,
    table,
    draw,
    reads=(samples.STAGE,),
    reads_if_there=(clusters.STAGE,),
)
main = STAGE.main
