"""Saliency maps, and whether they can be trusted: the results of `analysis.saliency`."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from analysis.stage.artifacts import Result
from analysis.stage.view import Parts

METHODS_UNSIGNED = ('gradient', 'SmoothGrad')
OCCLUSION = 'occlusion'  # the only method, and the name of its maps, for models without gradients


@dataclasses.dataclass(frozen=True)
class SaliencyMaps(Result):
    """Plain gradients and layer maps of every image; for models without gradients, occlusion maps.

    Occlusion maps are in `layer_maps`, of the images that have a score; the gradients are then 0.

    G = 32 cells per side, or the image's side if that is less. Scores are explained for the classes
    but background, for 'loss', and for 'cluster' if there are clusters.
    """

    NAME: ClassVar[str] = 'saliency'
    VERSION: ClassVar[int] = 2

    targets: tuple[str, ...]  # T names
    layers: tuple[str, ...]  # L names, such as 'encoder/block_6_expand_relu'
    score: np.ndarray  # float32 [N, T]; NaN where there is none (class not predicted, no cluster)
    # uint8 [N, T, G, G], mean over a cell of the length of ∂score/∂pixel, as a share of its maximum
    # in steps of 1/255.
    gradient: np.ndarray
    gradient_scale: np.ndarray  # float32 [N, T], that maximum, per unit of the network's input
    # int8 [N, T, h, w] by layer, Σ over channels of A·∂score/∂A, as a share of its largest absolute
    # value in steps of 1/127; positive is evidence for the score.
    layer_maps: dict[str, np.ndarray]
    layer_scale: np.ndarray  # float32 [N, T, L], that value
    predicted: np.ndarray  # float32 [N, C], share of the pixels that are predicted as each class
    cluster: np.ndarray  # int32 [N], the cluster of each image; -1 in all without clusters
    other: np.ndarray  # int32 [N], that of the nearest other centroid; -1 in all without clusters
    # float32 [K, C] by layer, mean over a cluster's members of each channel's Σ over places of
    # A·∂margin/∂A, as a share of the image's sum of absolute values in the layer.
    common: dict[str, np.ndarray]
    agreement: dict[str, np.ndarray]  # the same shapes, share of the members that are positive


def name_targets(class_names: Sequence[str], clusters: bool) -> tuple[str, ...]:
    """The scores that are explained: the classes but background, 'loss', perhaps 'cluster'."""
    others = ('loss', 'cluster') if clusters else ('loss',)
    classes = (f'class {n}' if n in ('loss', 'cluster') else n for n in class_names[1:])
    return *classes, *others


# Name of the artifact of `SaliencyMaps`.
MAPS = 'saliency_maps'


@dataclasses.dataclass(frozen=True)
class Mean:
    """Mean over n images, with its 95 % bootstrap confidence interval, None if n is below 2."""

    mean: float | None
    interval: tuple[float, float] | None
    n: int


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """Deletion or insertion by a map."""

    curve: tuple[float, ...]  # mean score after each share of the cells, from none to all
    area: Mean  # under the curve
    gain_over: dict[str, Mean]  # paired, over each baseline map; positive if the method is better


@dataclasses.dataclass(frozen=True)
class Faithfulness:
    """A method under both perturbations."""

    deletion: Perturbation
    insertion: Perturbation


@dataclasses.dataclass(frozen=True)
class Explained:
    """The expensive methods on the images of one kind of score."""

    images: int  # their number, J
    # Σ |Σ map - change of the score| / Σ |change| of integrated gradients.
    completeness_error: float
    methods: dict[str, Faithfulness]  # by name, the baseline maps too


@dataclasses.dataclass(frozen=True)
class ShuffledWeights:
    """Sanity check (Adebayo et al. 2018): maps of a network whose weights are shuffled."""

    images: int  # their number
    blocks: tuple[str, ...]  # from the last to the first
    # By name, the mean rank correlation with the original maps after each block.
    methods: dict[str, tuple[float, ...]]
    between_images: dict[str, float]  # by name, that of maps of different images


@dataclasses.dataclass(frozen=True)
class Energy:
    """Positive part of a kind of map inside annotated instances."""

    group: str  # of categories
    target: str  # the score that is explained; '–' for maps that do not depend on the network
    map: str  # kind of map
    images: int  # their number
    inside: Mean  # share of the positive part inside the instances
    area: float  # mean share of the image that the instances cover
    lift: float  # inside / area; 1 for a map that is the same everywhere
    hits: float | None  # share of the images whose highest cell is in an instance or near it


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
    """Maps of the expensive methods for one kind of score."""

    rows: np.ndarray  # int64 [J], of the images
    label: np.ndarray  # int64 [J], the class that is explained, or the cluster of the image
    maps: np.ndarray  # float16 [J, M, G, G], each divided by its largest absolute value
    membership: np.ndarray | None = None  # float32 [J, g, g], see `membership_maps`; of clusters


@dataclasses.dataclass(frozen=True)
class Saliency(Result):
    """What the maps show, and whether they can be trusted.

    `classes` are on images sampled for a class each, None if no class is predicted; `clusters` on
    exemplars of the clusters, None without clusters.
    """

    NAME: ClassVar[str] = 'saliency'
    VERSION: ClassVar[int] = 5
    PARTS: ClassVar[Parts] = Parts.ONE

    methods: tuple[str, ...]  # M names of the expensive methods
    energy: tuple[Energy, ...]  # by group, target and map
    common_features: tuple[CommonFeatures, ...]  # by cluster
    classes: Explained | None = None
    clusters: Explained | None = None
    shuffled_weights: ShuffledWeights | None = None  # None without two images with classes
    # Arrays of `Examples` by field; empty if there are none.
    class_examples: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    cluster_examples: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def examples(self, kind: str) -> Examples | None:
        """The examples of kind 'class' or 'cluster'; None if there are none."""
        arrays = {'class': self.class_examples, 'cluster': self.cluster_examples}[kind]
        return Examples(**arrays) if arrays else None
