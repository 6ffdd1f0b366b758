"""Two runs on the same images: the result of `analysis.compare`."""

import dataclasses
import re
from typing import ClassVar

from analysis.associations.schema import Association
from analysis.stage.artifacts import Result
from analysis.stage.view import View

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
    """A number of both runs and their difference, with its 95 % interval; None where undefined."""

    this: float | None = None
    other: float | None = None
    difference: float | None = None  # other - this
    interval: Interval | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score(Change):
    """A score against the labels of one of the runs.

    Attributes:
      target: whose labels, 'this' or 'other'.
      metric: 'iou', over the set; 'image_iou', mean over images, see `metrics.ABSENT_CLASS_RULE`.
      class_name: foreground class, both names if they differ; 'mean' of them.
      p: of the difference, two-sided (Welch-Satterthwaite on the bootstrap variance).
      minimum_detectable: difference found with 80 % power at the 5 % level.
    """

    target: str
    metric: str
    class_name: str
    p: float | None
    minimum_detectable: float | None


@dataclasses.dataclass(frozen=True)
class SliceChange:
    """n images, those of a slice (`text` in words) or all, against the labels of this run."""

    text: str
    n: int
    loss: Change  # nats per pixel
    iou: Change  # mean over the foreground classes of an image


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """Agreement of both embeddings about the k nearest images of each image.

    Attributes:
      k: number of nearest images.
      overlap, overlap_interval: mean share that is the same, with 95 % bootstrap interval.
      jaccard, jaccard_interval: mean Jaccard index.
      chance: expected overlap of unrelated embeddings.
    """

    k: int
    overlap: float
    overlap_interval: Interval
    jaccard: float
    jaccard_interval: Interval
    chance: float


@dataclasses.dataclass(frozen=True)
class Layer:
    """Agreement of a layer's activations.

    Attributes:
      layer: name.
      cka: debiased linear CKA. 1: the same up to rotation and scale; about 0: unrelated. None if
        the activations are constant.
      overlap: see `Neighbours`.
    """

    layer: str
    cka: float | None
    overlap: float


@dataclasses.dataclass(frozen=True)
class Separation:
    """How well images of the first and of the second foreground class separate in a space.

    Intervals are paired bootstraps over images (95 %); the probes are not fitted again.

    Attributes:
      target: whose labels and classes, 'this' or 'other'.
      space: 'embeddings', of encoder and decoder; 'decoder', its layers alone, standardised, which
        is all that differs between networks with the same frozen encoder.
      method: 'linear probe', AUROC of cross-validated logistic regression; 'neighbours', AUROC of
        the share among the 10 nearest other images; 'silhouette' (Rousseeuw 1987), mean of both
        groups' means, in -1 … 1.
      first, second: number of images in which the class has at least 1 % of the pixels and twice as
        many as the other class.
      this, other, difference: of the runs.
    """

    target: str
    space: str
    method: str
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
    """A run ('this') and another one on the images that both have.

    Attributes:
      this, other: the runs.
      num_images: N, in common.
      scores: for the labels of this run, and of the other if its label space differs.
      slices: all images, and the slices of this run, if there are any.
      metadata: associations of metadata with the difference of loss and of IoU.
      neighbours: in the embeddings.
      layers: that both networks have.
      num_images_layers: number of images on which layers are compared.
      separation: empty if there are too few images of a class.
    """

    NAME: ClassVar[str] = 'compare'
    VERSION: ClassVar[int] = 2

    this: Side
    other: Side
    num_images: int
    scores: tuple[Score, ...]
    slices: tuple[SliceChange, ...]
    metadata: tuple[Association, ...]
    neighbours: Neighbours
    layers: tuple[Layer, ...]
    num_images_layers: int
    separation: tuple[Separation, ...]


def artifact_name(other: View) -> str:
    """Name of the artifact of a comparison with a run."""
    # Runs of a reproduction differ in the name of their parent.
    name = '-'.join(other.workdir.resolve().parts[-2:])
    return f'compare-{re.sub("[^A-Za-z0-9_-]+", "-", name)}-{other.step}'
