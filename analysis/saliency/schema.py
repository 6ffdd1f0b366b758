"""Saliency maps, and whether they can be trusted: the results of `analysis.saliency`."""

import dataclasses
from typing import ClassVar

import numpy as np

from analysis.stage.artifacts import Result

METHODS_UNSIGNED = ('gradient', 'SmoothGrad')


@dataclasses.dataclass(frozen=True)
class SaliencyMaps(Result):
    """Plain gradients and layer maps of every image.

    G = 32 cells per side, or the image's side if that is less.

    Attributes:
      targets: T names: the classes but background, 'loss', then 'cluster' if there are clusters.
      layers: L names, such as 'encoder/block_6_expand_relu'.
      score: float32 `[N, T]`; NaN where there is none (class not predicted, no cluster).
      gradient: uint8 `[N, T, G, G]`, mean over a cell of the length of ∂score/∂pixel, as a share of
        its maximum in steps of 1/255.
      gradient_scale: float32 `[N, T]`, that maximum, per unit of the network's input.
      layer_maps: int8 `[N, T, h, w]` by layer, Σ over channels of A·∂score/∂A, as a share of its
        largest absolute value in steps of 1/127; positive is evidence for the score.
      layer_scale: float32 `[N, T, L]`, that value.
      predicted: float32 `[N, C]`, share of the pixels that are predicted as each class.
      cluster: int32 `[N]`, the cluster of each image; -1 in all without clusters.
      other: int32 `[N]`, the cluster of the nearest other centroid; -1 in all without clusters.
      common: float32 `[K, C]` by layer, mean over a cluster's members of each channel's Σ over
        places of A·∂margin/∂A, as a share of the image's sum of absolute values in the layer.
      agreement: float32 `[K, C]` by layer, share of the members in which it is positive.
    """

    NAME: ClassVar[str] = 'saliency'
    VERSION: ClassVar[int] = 2

    targets: tuple[str, ...]
    layers: tuple[str, ...]
    score: np.ndarray
    gradient: np.ndarray
    gradient_scale: np.ndarray
    layer_maps: dict[str, np.ndarray]
    layer_scale: np.ndarray
    predicted: np.ndarray
    cluster: np.ndarray
    other: np.ndarray
    common: dict[str, np.ndarray]
    agreement: dict[str, np.ndarray]


# Name of the artifact of `SaliencyMaps`.
MAPS = 'saliency_maps'


@dataclasses.dataclass(frozen=True)
class Mean:
    """Mean over n images, with its 95 % bootstrap confidence interval; None if n is 0."""

    mean: float | None
    interval: tuple[float, float] | None
    n: int


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """Deletion or insertion by a map.

    Attributes:
      curve: mean score after each share of the cells, from none to all.
      area: under the curve.
      gain_over: paired gain over each baseline map; positive if the method is better.
    """

    curve: tuple[float, ...]
    area: Mean
    gain_over: dict[str, Mean]


@dataclasses.dataclass(frozen=True)
class Faithfulness:
    """A method under both perturbations."""

    deletion: Perturbation
    insertion: Perturbation


@dataclasses.dataclass(frozen=True)
class Explained:
    """The expensive methods on the images of one kind of score.

    Attributes:
      images: their number, J.
      completeness_error: Σ |Σ map - change of the score| / Σ |change| of integrated gradients.
      methods: by name, the baseline maps too.
    """

    images: int
    completeness_error: float
    methods: dict[str, Faithfulness]


@dataclasses.dataclass(frozen=True)
class ShuffledWeights:
    """Sanity check (Adebayo et al. 2018): maps of a network whose weights are shuffled.

    Attributes:
      images: their number.
      blocks: from the last to the first.
      methods: by name, the mean rank correlation with the original maps after each block.
      between_images: by name, that of maps of different images.
    """

    images: int
    blocks: tuple[str, ...]
    methods: dict[str, tuple[float, ...]]
    between_images: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Energy:
    """Positive part of a kind of map inside annotated instances.

    Attributes:
      group: of categories.
      target: the score that is explained; '–' for maps that do not depend on the network.
      map: kind of map.
      images: their number.
      inside: share of the positive part inside the instances.
      area: mean share of the image that the instances cover.
      lift: inside / area; 1 for a map that is the same everywhere.
      hits: share of the images whose highest cell is in an instance or near it.
    """

    group: str
    target: str
    map: str
    images: int
    inside: Mean
    area: float
    lift: float
    hits: float | None


@dataclasses.dataclass(frozen=True)
class Channel:
    """A channel that the members of a cluster have in common; see `SaliencyMaps.common`."""

    channel: int
    share: float
    agreement: float


@dataclasses.dataclass(frozen=True)
class CommonFeatures:
    """The channels that the members of a cluster have in common, by layer, most common first."""

    cluster: int
    size: int
    layers: dict[str, tuple[Channel, ...]]


@dataclasses.dataclass(frozen=True)
class Examples:
    """Maps of the expensive methods for one kind of score.

    Attributes:
      rows: int64 `[J]`, of the images.
      label: int64 `[J]`, the class that is explained, or the cluster of the image.
      maps: float16 `[J, M, G, G]`, each divided by its largest absolute value.
      membership: float32 `[J, g, g]`, see `membership_maps`; None for classes.
    """

    rows: np.ndarray
    label: np.ndarray
    maps: np.ndarray
    membership: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Saliency(Result):
    """What the maps show, and whether they can be trusted.

    Attributes:
      methods: M names of the expensive methods.
      energy: rows by group, target and map.
      common_features: by cluster.
      classes: on images sampled for a class each; None if no class is predicted.
      clusters: on the exemplars of the clusters; None without clusters.
      shuffled_weights: None if no class is predicted.
      class_examples: arrays of `Examples` by field; empty if no class is predicted.
      cluster_examples: the same for clusters.
    """

    NAME: ClassVar[str] = 'saliency'
    VERSION: ClassVar[int] = 3

    methods: tuple[str, ...]
    energy: tuple[Energy, ...]
    common_features: tuple[CommonFeatures, ...]
    classes: Explained | None = None
    clusters: Explained | None = None
    shuffled_weights: ShuffledWeights | None = None
    class_examples: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    cluster_examples: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def examples(self, kind: str) -> Examples | None:
        """The examples of kind 'class' or 'cluster'; None if there are none."""
        arrays = {'class': self.class_examples, 'cluster': self.cluster_examples}[kind]
        return Examples(**arrays) if arrays else None
