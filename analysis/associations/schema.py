"""Which metadata are associated with which metrics: the result of `analysis.associations`."""

import dataclasses
from typing import ClassVar

from analysis.stage.artifacts import Result

LEVEL = 0.05  # false discovery rate below which an association counts as significant
Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Bin:
    """The metric of the images with similar values of a column.

    Attributes:
      low, high: smallest and largest value of the column.
      n: number of images.
      mean, interval: of the metric, with 95 % confidence interval (Student's t; None if n is 1).
    """

    low: float
    high: float
    n: int
    mean: float
    interval: Interval | None


@dataclasses.dataclass(frozen=True)
class Association:
    """A metadata column against a metric.

    Attributes:
      column: the metadata column.
      metric: the metric.
      n: images in which both are known.
      rho, interval: Spearman's ρ with 95 % confidence interval.
      p, q: p-value, and the same adjusted over all tests (Benjamini and Hochberg).
      confounder: the column that the partial correlation controls for.
      partial_rho, partial_interval, partial_p, partial_q: of the partial correlation; None if there
        is no such test.
      difference, difference_interval: mean of the metric in the last bin minus that in the first,
        with 95 % confidence interval (Welch); None for a single bin.
      effect: the difference over the metric's standard deviation (like Cohen's d).
      bins: up to 5, by rising values of the column. They have equally many images as far as ties
        permit; in a column with at most 5 different values, each value is a bin.
    """

    column: str
    metric: str
    n: int
    rho: float
    interval: Interval
    p: float
    q: float
    confounder: str
    partial_rho: float | None
    partial_interval: Interval | None
    partial_p: float | None
    partial_q: float | None
    difference: float | None
    difference_interval: Interval | None
    effect: float | None
    bins: tuple[Bin, ...]

    @property
    def num_significant(self) -> int:
        """How many of its tests, with and without confounder, are significant."""
        return sum(q is not None and q <= LEVEL for q in (self.q, self.partial_q))


@dataclasses.dataclass(frozen=True)
class GrayscaleComparison:
    """A metric of color images against that of their own desaturated copies, paired.

    Attributes:
      metric: its name.
      n: number of pairs: for iou_<class> the images with the class, for mean_iou_foreground those
        with any foreground class.
      colour, gray: means of the color images and of the copies.
      difference, interval: gray - colour, with 95 % bootstrap confidence interval over images.
      p, q: of Wilcoxon's signed-rank test, and the same adjusted over the metrics.
      worse: share of the images whose copy scores worse.
    """

    metric: str
    n: int
    colour: float
    gray: float
    difference: float
    interval: Interval
    p: float
    worse: float
    q: float


@dataclasses.dataclass(frozen=True)
class Associations(Result):
    """All tests of metadata against metrics.

    Attributes:
      num_images: N.
      num_tests: marginal and partial.
      significant: number of tests with q <= 0.05.
      associations: by metric, then by p-value, without columns that cannot be tested.
      not_tested: columns that are tested against no metric, because they are (nearly) constant.
      grayscale_copies: by metric.
    """

    NAME: ClassVar[str] = 'associations'
    VERSION: ClassVar[int] = 2

    num_images: int
    num_tests: int
    significant: int
    associations: tuple[Association, ...]
    not_tested: tuple[str, ...]
    grayscale_copies: tuple[GrayscaleComparison, ...]
