"""Which categories the network predicts as its classes: the result of `analysis.confusion`."""

import dataclasses
from typing import ClassVar

from analysis.stage.artifacts import Result
from analysis.stage.view import Parts

Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class ClassErrors:
    """Where the network predicts a class wrongly."""

    # share, interval: share of the background pixels under no annotation that is predicted as the
    # class.
    share: float | None
    interval: Interval | None
    wrong: int  # number of pixels wrongly predicted as the class
    # wrong_unlabeled, wrong_unlabeled_interval: share of these pixels under no annotation.
    wrong_unlabeled: float | None
    wrong_unlabeled_interval: Interval | None


@dataclasses.dataclass(frozen=True)
class Confused:
    """A category and a class that it does not belong to.

    Everything is counted over the images in which the category is completely annotated.
    """

    category: str  # its name
    called: str  # the class that the network predicts
    label: str  # class of the category in the label space; the background class for none
    images: int  # with pixels of the category
    # Effective sample size, (Σ n)² / Σ n² over the category's pixels per image. Below about 10 the
    # intervals are too narrow.
    effective_images: float
    # pixels, instances: their numbers in the category.
    pixels: int
    instances: int
    # share, interval: share of the category's pixels that is predicted as the class.
    share: float | None
    interval: Interval | None
    # excess, excess_interval: `share` minus that of the background under no annotation.
    excess: float | None
    excess_interval: Interval | None
    # instance_share, instance_interval: share of the instances that is predicted as the class.
    instance_share: float | None
    instance_interval: Interval | None
    # wrong_share, wrong_interval: share of the category in all pixels wrongly predicted as the
    # class.
    wrong_share: float | None
    wrong_interval: Interval | None


@dataclasses.dataclass(frozen=True)
class Confusion(Result):
    """Confusion of the data set's categories with the label space's classes.

    All at the network's resolution. Intervals are 95 % percentile bootstraps over images; None
    where a share has no pixels or instances.
    """

    NAME: ClassVar[str] = 'confusion'
    VERSION: ClassVar[int] = 3
    PARTS: ClassVar[Parts] = Parts.ONE

    num_images: int  # N, of all runs
    pooled: tuple[str, ...]  # directories of the other runs whose images are included
    base: dict[str, ClassErrors]  # by foreground class
    # For each category that occurs and each foreground class that it does not belong to; by class,
    # then by falling number of pixels predicted as the class.
    rows: tuple[Confused, ...]


# Name of the artifact with the images of several runs.
POOLED = 'confusion-pooled'
