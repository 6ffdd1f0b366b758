"""Which metadata are associated with which metrics: the result of `analysis.associations`."""

import dataclasses
from typing import ClassVar

from analysis.stage.artifacts import Result
from analysis.stage.view import Parts

LEVEL = 0.05  # false discovery rate below which an association counts as significant
Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Bin:
    """The metric of the images with similar values of a column."""

    # low, high: smallest and largest value of the column.
    low: float
    high: float
    n: int  # number of images
    # mean, interval: of the metric, with 95 % confidence interval (Student's t; None if n is 1).
    mean: float
    interval: Interval | None


@dataclasses.dataclass(frozen=True)
class Association:
    """A metadata column against a metric."""

    column: str  # the metadata column
    metric: str  # the metric
    n: int  # images in which both are known
    # rho, interval: Spearman's ρ with 95 % confidence interval.
    rho: float
    interval: Interval
    # p, q: p-value, and the same adjusted over all tests (Benjamini and Hochberg).
    p: float
    q: float
    confounder: str  # the column that the partial correlation controls for
    # partial_rho, partial_interval, partial_p, partial_q: of the partial correlation; None if there
    # is no such test.
    partial_rho: float | None
    partial_interval: Interval | None
    partial_p: float | None
    partial_q: float | None
    # difference, difference_interval: mean of the metric in the last bin minus that in the first,
    # with 95 % confidence interval (Welch); None for a single bin.
    difference: float | None
    difference_interval: Interval | None
    effect: float | None  # the difference over the metric's standard deviation (like Cohen's d)
    # Up to 5, by rising values of the column. They have equally many images as far as ties permit;
    # in a column with at most 5 different values, each value is a bin.
    bins: tuple[Bin, ...]

    @property
    def num_significant(self) -> int:
        """How many of its tests, with and without confounder, are significant."""
        return sum(q is not None and q <= LEVEL for q in (self.q, self.partial_q))


@dataclasses.dataclass(frozen=True)
class GrayscaleComparison:
    """A metric of color images against that of their own desaturated copies, paired."""

    metric: str  # its name
    # Number of pairs: for iou_<class> the images with the class, for mean_iou_foreground those with
    # any foreground class.
    n: int
    # color, gray: means of the color images and of the copies.
    color: float
    gray: float
    # difference, interval: `gray` - `color`, with 95 % bootstrap confidence interval over images.
    difference: float
    interval: Interval
    # p, q: of Wilcoxon's signed-rank test, and the same adjusted over the metrics.
    p: float
    worse: float  # share of the pairs in which the copy scores worse
    q: float


@dataclasses.dataclass(frozen=True)
class Associations(Result):
    """All tests of metadata against metrics."""

    NAME: ClassVar[str] = 'associations'
    VERSION: ClassVar[int] = 3
    PARTS: ClassVar[Parts] = Parts.ONE

    num_images: int  # N
    num_tests: int  # marginal and partial
    significant: int  # number of tests with q <= 0.05
    # By metric, then by p-value, without columns that cannot be tested.
    associations: tuple[Association, ...]
    # Columns that are tested against no metric, because they are (nearly) constant.
    not_tested: tuple[str, ...]
    grayscale_copies: tuple[GrayscaleComparison, ...]  # by metric
