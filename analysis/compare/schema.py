"""Two runs on the same images: the result of `analysis.compare`."""

import contextlib
import dataclasses
import os
import re
import zlib
from collections.abc import Iterable
from typing import ClassVar

from analysis.associations.schema import Association
from analysis.slices.schema import Condition, Slice
from analysis.stage import artifacts
from analysis.stage.artifacts import Result
from analysis.stage.view import View

_THERE = ' of the other run'  # end of the names of settings

Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Side:
    """A run, and the number of images of its part of the data."""

    workdir: str
    step: int
    class_names: tuple[str, ...]
    num_images: int


@dataclasses.dataclass(frozen=True)
class Change:
    """A measure of both runs and its difference, with 95 % CI; None where undefined."""

    this: float | None = None
    other: float | None = None
    difference: float | None = None  # other - this
    interval: Interval | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score(Change):
    """A score against the labels of one of the runs.

    The metric 'iou' is over the set; 'image_iou' is the mean over images, see
    `metrics.ABSENT_CLASS_RULE`.
    """

    target: str  # whose labels, 'this' or 'other'
    metric: str
    class_name: str  # foreground class, both names if they differ; 'mean' of them
    p: float | None  # of the difference, two-sided (Welch-Satterthwaite on the bootstrap variance)
    minimum_detectable: float | None  # difference found with 80 % power at the 5 % level


@dataclasses.dataclass(frozen=True)
class SliceChange:
    """Both metrics in all images, or in a slice (its held-out half), with the labels of this run.

    The intervals of slices are simultaneous: with 95 % probability all of them, for both metrics,
    contain the true difference. Those of all images are plain 95 % intervals.
    """

    text: str  # the conditions in words, or 'all images'
    conditions: tuple[Condition, ...]  # empty for all images
    n: int
    loss: Change  # nats per pixel
    iou: Change  # mean over the foreground classes of an image


@dataclasses.dataclass(frozen=True)
class ImageChange:
    """An image on which the runs differ, with the labels of this run."""

    row: int  # of this run
    image_id: int
    file_name: str
    # loss, iou: of this run and of the other; nats per pixel, and the mean IoU of the foreground
    # classes (None where there are none).
    loss: tuple[float, float]
    iou: tuple[float | None, float | None]


@dataclasses.dataclass(frozen=True)
class Worse:
    """Where a run is worse than the other one."""

    # Slices in which its loss exceeds the other's by more than elsewhere: found by the difference
    # in one half of the images and confirmed in the other. Their metric is that difference.
    slices: tuple[Slice, ...]
    images: tuple[ImageChange, ...]  # at most 10, the largest difference of the loss first


@dataclasses.dataclass(frozen=True)
class Neighbors:
    """Agreement of both embeddings on the k nearest images, with 95 % bootstrap CIs."""

    k: int
    overlap: float  # mean share of common neighbors
    overlap_interval: Interval
    jaccard: float  # mean Jaccard index
    jaccard_interval: Interval
    chance: float  # expected overlap of unrelated embeddings


@dataclasses.dataclass(frozen=True)
class Layer:
    """Agreement of a layer's activations.

    Debiased linear CKA is 1 if they are the same up to rotation and scale, and about 0 if they are
    unrelated.
    """

    layer: str
    cka: float | None  # None if the activations are constant
    overlap: float  # see `Neighbors`


@dataclasses.dataclass(frozen=True)
class Separation:
    """How well images of the first and of the second foreground class separate in a space.

    Methods: 'linear probe' is the AUROC of cross-validated logistic regression. 'neighbors' is the
    AUROC of the share of the second class among the 10 nearest other images. 'silhouette'
    (Rousseeuw 1987) is the mean of both groups' mean silhouettes, in -1 … 1. Intervals are 95 %
    paired bootstraps over images; the probes are not refitted.
    """

    target: str  # whose labels and classes, 'this' or 'other'
    # 'embeddings' of encoder and decoder, or 'decoder': its standardized layers alone, because
    # networks with the same frozen encoder differ only there.
    space: str
    method: str
    # Number of images in which the class has at least 1 % of the pixels and twice as many as the
    # other class.
    first: int
    second: int
    this: float
    this_interval: Interval
    other: float
    other_interval: Interval
    difference: float
    difference_interval: Interval


@dataclasses.dataclass(frozen=True)
class Comparison(Result):
    """A run ('this') and another one on the images that both have."""

    NAME: ClassVar[str] = 'compare'
    VERSION: ClassVar[int] = 8

    this: Side
    other: Side
    num_images: int  # in common
    scores: tuple[Score, ...]  # for the labels of this run, and of the other if its space differs
    slices: tuple[SliceChange, ...]  # all images, and slices chosen by the mean loss of both runs
    metadata: tuple[Association, ...]  # with the difference of loss and of IoU
    neighbors: Neighbors | None  # in the embeddings; None if a foreign model has none
    layers: tuple[Layer, ...]  # that both networks have; none of a foreign model
    num_images_layers: int  # on which layers are compared
    separation: tuple[Separation, ...]  # empty if there are too few images of a class
    worse: dict[str, Worse] = dataclasses.field(default_factory=dict)  # 'this' and 'other'
    # At equal steps in the order of the difference of IoU, those where this run is better first.
    examples: tuple[ImageChange, ...] = ()
    # At which pixels are counted, see `images.resolution`; the loss is at that of each network.
    resolution: str = 'network'


def artifact_name(other: View) -> str:
    """Name of the artifact of a comparison with a run."""
    # Runs of a reproduction differ in the name of their parent; others may have equal names.
    path = other.workdir.resolve()
    name = re.sub('[^A-Za-z0-9_-]+', '-', '-'.join(path.parts[-2:]))[:80]
    return f'compare-{name}-{other.step}-{zlib.crc32(os.fsencode(path)):08x}'


def settings_of(other: View, reads: Iterable[str]) -> dict[str, str | None]:
    """The settings of a comparison with a run: digests of what it reads there."""
    return {f'{name}{_THERE}': digest for name, digest in artifacts.digests(other, reads).items()}


def find_artifact(this: View, other: View) -> str | None:
    """The name of the comparison with a run; None if there is none.

    It is found by what it was computed from, as the runs may have been moved since.

    Raises:
      ValueError: the results of the other run have changed since.
    """
    own, found = artifact_name(other), None
    has_own = artifacts.exists(this, Comparison, own)
    if has_own and all(_same(this, other, own)):
        return own
    for path in sorted(this.folder.glob('compare-*.json')):
        same = _same(this, other, path.stem)
        if same and all(same):
            found = path.stem
            with contextlib.suppress(ValueError):  # of another version, or older than this run
                artifacts.load(this, Comparison, found)
                return found
    if has_own and not found:
        raise ValueError(
            f'{artifacts.path_of(this, Comparison, own)} is older than the results of '
            f'{other.workdir}: run python -m analysis.compare again.'
        )
    return found  # `load` says what is wrong with it


def _same(this: View, other: View, name: str) -> list[bool]:
    """Whether each result of another run that is there is the one that was compared."""
    given = artifacts.settings(this, Comparison, name)
    now = settings_of(other, [key.removesuffix(_THERE) for key, digest in given.items() if digest])
    return [given[key] == digest for key, digest in now.items() if digest]
