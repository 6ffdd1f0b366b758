"""Slices of the images with a high loss or a low IoU: the result of `analysis.slices`."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow

from analysis.samples.schema import numbers
from analysis.stage.artifacts import Result
from analysis.stage.view import Parts

# Metric → 1 if high is bad, -1 if low is bad. '_given_size': adjusted for object size.
METRICS = {
    'loss': 1,
    'mean_iou_foreground': -1,
    'loss_given_size': 1,
    'mean_iou_foreground_given_size': -1,
}
NESTED = 0.9  # of the images of the smaller of two slices, from which they count as one finding
AT_FIRST = 10  # groups of slices that are listed at first


def has_metric(name: str, table: pyarrow.Table, class_names: Sequence[str]) -> np.ndarray:
    """Which images of a table of samples have one of `METRICS`, bool `[N]`.

    Without a labeled pixel of a class, the IoU is 0 by definition wherever one is predicted. A
    slice of such images would say nothing about the network, so they have no IoU here.
    """
    base = name.removesuffix('_given_size')
    percents = [numbers(table, f'percent_{other}') for other in class_names[1:]]
    known = ~np.logical_or.reduce(np.isnan([numbers(table, base), *percents]))
    return known & (np.sum(percents, axis=0) > 0) if base == 'mean_iou_foreground' else known


class Condition(NamedTuple):
    """A condition on a column; the relation is '<=', '>=' or 'is'."""

    column: str
    relation: str
    value: bool | int | float


@dataclasses.dataclass(frozen=True)
class Slice:
    """A confirmed slice, by a metric."""

    conditions: tuple[Condition, ...]  # one to three, all of which its images fulfill
    text: str  # the conditions in words
    size: int  # images in the slice that have the metric, in both halves
    share: float  # of the images; this and the following are of the half that tested the slice
    # mean, mean_elsewhere: of the metric, in the slice and in all other images.
    mean: float
    mean_elsewhere: float
    # excess, interval: difference of these means, positive if the slice is worse, with 95 %
    # confidence interval (Welch).
    excess: float
    interval: tuple[float, float]
    impact: float  # share · excess
    p: float  # of the one-sided permutation test of ranks, adjusted over all tested slices (max-T)
    # worst, worst_ids: rows and image ids of its 5 worst images, the worst first.
    worst: tuple[int, ...] = ()
    worst_ids: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class MetricSlices:
    """The slices by a metric."""

    num_images: int  # images that have the metric
    mean: float | None  # of the metric over them; None if there are none
    num_tested: int  # slices that were found in one half and tested in the other
    slices: tuple[Slice, ...]  # those confirmed, by falling impact


@dataclasses.dataclass(frozen=True)
class Slices(Result):
    """Confirmed slices."""

    NAME: ClassVar[str] = 'slices'
    VERSION: ClassVar[int] = 8
    PARTS: ClassVar[Parts] = Parts.ONE

    num_images: int  # N
    seed: int  # of the halves and permutations
    uses_clusters: bool  # whether there were clusters, which are columns then
    metrics: dict[str, MetricSlices]  # by name, see `METRICS`
    # uint8 `[M, ceil(N / 8)]`, packed bits: which images fulfill the conditions of each of the M
    # slices, in order, whether or not they have the metric.
    members: np.ndarray

    def each(self) -> Iterator[tuple[str, Slice, np.ndarray]]:
        """Metric, slice, and which images fulfill its conditions, bool `[N]`, for all slices."""
        members = np.unpackbits(self.members, axis=1, count=self.num_images).view(np.bool_)
        found = [(metric, one) for metric, part in self.metrics.items() for one in part.slices]
        for (metric, one), inside in zip(found, members, strict=True):
            yield metric, one, inside

    def groups(self) -> list[list[tuple[str, Slice, np.ndarray]]]:
        """The slices as of `each`, grouped: of each group the first stands for the others.

        Slices are nested if at least `NESTED` of the smaller one are in the other. Those that stand
        out most, in standard errors, come first, whatever their metric; each joins the first group
        whose first slice it is nested with.
        """
        found = sorted(self.each(), key=lambda row: -_standard_errors(row[1]))
        groups: list[list[tuple[str, Slice, np.ndarray]]] = []
        for row in found:
            for group in groups:
                both = (row[2] & group[0][2]).sum()
                if both >= NESTED * min(row[2].sum(), group[0][2].sum()):
                    group.append(row)
                    break
            else:
                groups.append([row])
        return groups


def _standard_errors(one: Slice) -> float:
    """By how many half confidence intervals a slice is worse."""
    return one.excess / max(one.interval[1] - one.interval[0], 1e-12)
