"""The scores that saliency maps explain, and their derivatives, computed in batches.

An image has a score per target:

class      mean log-odds of the class, log p / (1 - p), over the pixels that are predicted as it
loss       mean cross-entropy in nats over the counted pixels
cluster    margin |e - other|² - |e - own|² of the image's embedding e, the centroid of its cluster
           and the nearest other centroid

The predicted pixels and the other centroid are those of the unchanged image. The bounded score of a
class is its mean probability over the same pixels.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analysis.clusters import schema as clusters_schema
from analysis.embeddings.schema import Embeddings, Reduction
from analysis.predictions.schema import Predictions
from analysis.saliency import methods
from analysis.saliency.methods import Array
from analysis.saliency.schema import name_targets
from analysis.stage import artifacts
from analysis.stage.layers import DEEP, FINE, GRID
from analysis.stage.run import Analysis
from segmentation import evaluate
from segmentation.activations import LOGITS, activations, logits_of
from segmentation.models.unet import scale_images

# Layers whose maps are stored for every image.
LAYERS = (
    'encoder/block_3_expand_relu',
    'encoder/block_6_expand_relu',
    DEEP,
    'encoder/block_16_project',
    FINE,
    'decoder/up_4_relu',
)
# Whose maps are added up for cluster membership; see `membership_maps`.
MEMBERSHIP_LAYERS = ('encoder/block_6_expand_relu', 'encoder/block_10_expand_relu', DEEP)


@dataclasses.dataclass(frozen=True)
class Clusters:
    """The cluster of each image, and the centroids that its embedding is compared with."""

    reduction: Reduction  # of `embeddings`
    embedding: np.ndarray  # float32 [N, D]
    label: np.ndarray  # int32 [N], below 0 for an image that is in no cluster
    other: np.ndarray  # int32 [N], the cluster of the nearest other centroid
    centroids: np.ndarray  # float32 [K, D]

    def exemplars(self, number: int) -> np.ndarray:
        """Rows of the members nearest to each centroid, cluster by cluster, int64."""
        distance = np.linalg.norm(self.embedding - self.centroids[self.label], axis=1)
        members = (np.flatnonzero(self.label == k) for k in range(len(self.centroids)))
        return np.concatenate([rows[np.argsort(distance[rows])][:number] for rows in members])


def open_clusters(analysis: Analysis) -> Clusters | None:
    """Reads embeddings and clusters; None if they were not computed, or there is one cluster.

    Raises:
      ValueError: an artifact is damaged or of other images.
    """
    kinds = Embeddings, clusters_schema.Clusters
    if not all(artifacts.exists(analysis, kind) for kind in kinds):
        return None
    found = artifacts.load(analysis, clusters_schema.Clusters)
    label, centroids = found.label, found.centroids
    if len(centroids) < 2:
        return None
    embeddings = artifacts.load(analysis, Embeddings)
    embedding = embeddings.points
    squared = np.square(centroids).sum(1) - 2 * embedding @ centroids.T
    squared[np.arange(len(label)), label] = np.inf
    other = squared.argmin(1).astype(np.int32)
    return Clusters(embeddings.reduction, embedding, label, other, centroids)


class Target(NamedTuple):
    """What B images are scored against; the centroids are None without clusters."""

    predicted: Any  # uint8 [B, S, S], predicted classes of the unchanged images
    label: Any  # uint8 [B, S, S], ground truth
    own: Any  # float32 [B, D], centroids of the images' clusters
    other: Any  # float32 [B, D], the nearest other centroids


class Explanation(NamedTuple):
    """All scores of B images, and maps of t scores of each, float32."""

    scores: Any  # [B, T]
    gradient: Any  # [B, t, G, G], mean over a cell of the length of ∂score/∂pixel
    maps: dict[str, Any]  # [B, t, h, w] by layer, Σ over channels of A·∂score/∂A
    grad_cam: Any  # [B, t, h, w] of the layer DEEP
    channels: dict[str, Any]  # [B, t, C] by layer, Σ over places of A·∂score/∂A


class Scores:
    """Scores of the images of an analysis, computed in batches for any number B of images.

    The T `targets` are the classes but background, 'loss', and 'cluster' if there are clusters; the
    number of a target is its place there. Images are float32 `[B, S, S, 3]`, see `scale`. Maps of
    gradients have G = `grid` cells per side.
    """

    def __init__(
        self, analysis: Analysis, clusters: Clusters | None, predictions: Predictions | None = None
    ):
        config = analysis.config
        self.targets = name_targets(analysis.class_names, clusters is not None)
        self.grid = min(GRID, config.data.image_size)
        self._batch_size = analysis.batch_size
        self._examples, self._size = analysis.examples, config.data.image_size
        self._clusters, self._predictions = clusters, predictions
        self._model = methods.differentiable(analysis.run.model)
        self._variables = evaluate.replicate(analysis.run.variables)
        self._scale = jax.jit(lambda images: scale_images(images, config.data.input_range))
        self._explain = evaluate.on_local_devices(self._attribute)

    def images(self, rows: np.ndarray) -> np.ndarray:
        """The images of some rows, uint8 `[B, S, S, 3]`."""
        return np.stack([self._examples[int(row)]['image'] for row in rows])

    def scale(self, images: np.ndarray) -> np.ndarray:
        """uint8 images in the range that the network is fed with, float32."""
        return np.asarray(self._scale(images))

    def target(self, rows: np.ndarray, label: np.ndarray | None = None) -> Target:
        """What the images of some rows, int `[B]`, are scored against.

        Only the loss needs the ground truth `label`, uint8 `[B, S, S]`.
        """
        predicted = nothing = np.zeros((len(rows), self._size, self._size), np.uint8)
        if self._predictions:
            predicted = np.stack([self._predictions.class_map(int(row)) for row in rows])
        own = other = None
        if clusters := self._clusters:
            own, other = (clusters.centroids[k[rows]] for k in (clusters.label, clusters.other))
        return Target(predicted, nothing if label is None else label, own, other)

    def all_scores(self, variables: Any, images: jax.Array, target: Target) -> jax.Array:
        """The score of every target, float32 `[B, T]`; differentiable, to be jitted."""
        logits, embedding = self._outputs(variables, images)
        scores = [
            methods.class_evidence(logits, target.predicted == k, jnp.full(len(images), k))
            for k in range(1, logits.shape[-1])
        ]
        scores.append(evaluate.image_loss(logits, target.label))
        if self._clusters:
            scores.append(methods.cluster_margin(embedding, target.own, target.other))
        return jnp.stack(scores, axis=-1)

    def values(self, images: Array, target: Target, which: np.ndarray) -> np.ndarray:
        """The bounded score of each image for one target, float32 `[B]`.

        `which` are the numbers of the targets, int `[B]`: a class for each image, or 'cluster' for
        all of them.
        """
        return self._of_one_target(self._one_score, images, target, which, True)

    def gradient(
        self, images: Array, target: Target, which: np.ndarray, bounded: bool = False
    ) -> np.ndarray:
        """∂score/∂pixel of one score of each image, `[B, S, S, 3]`; arguments as of `values`."""
        return self._of_one_target(self._differentiate, images, target, which, bounded)

    def explain(
        self,
        images: Array,
        target: Target,
        which: np.ndarray,
        *,
        references: Mapping[str, Array] | None = None,
        variables: Any = None,
    ) -> Explanation:
        """Scores of images, and the maps of some of them.

        Args:
          images: float32 `[B, S, S, 3]`.
          target: what they are scored against.
          which: int `[B, t]`, numbers of the targets whose scores are explained, t at most T; -1
            for none, whose maps are 0. What no image of a batch needs costs no time.
          references: float32 `[h, w, C]` for each of MEMBERSHIP_LAYERS, whose maps are then
            Σ (A - reference)·∂score/∂A.
          variables: of another network than the run's.
        """
        # One program for any number of targets, with or without references.
        asked = which.shape[1]
        which = np.pad(which, ((0, 0), (0, len(self.targets) - asked)), constant_values=-1)
        network = self._variables if variables is None else evaluate.replicate(variables)
        references = evaluate.replicate(references or self._no_references)
        arrays = images, target, which
        scores, *parts = self._in_batches(self._explain, (network, references), arrays)
        return Explanation(scores, *jax.tree.map(lambda each: each[:, :asked], parts))

    def _of_one_target(
        self, function: Callable, images: Array, target: Target, which: np.ndarray, bounded: bool
    ) -> np.ndarray:
        of_cluster = self.targets[which[0]] == 'cluster'
        spread = self._spread(function, of_cluster)
        return self._in_batches(spread, (self._variables, bounded), (images, target, which))

    @functools.cache  # noqa: B019, an object lives as long as its stage
    def _spread(self, function: Callable, of_cluster: bool) -> Callable[[Any, Any], Any]:
        return evaluate.on_local_devices(functools.partial(function, of_cluster))

    def _outputs(self, variables: Any, images: jax.Array) -> tuple[jax.Array, Any]:
        """Logits, float32 `[B, S, S, C]`, and embeddings, float32 `[B, D]`, if there are any."""
        reduction = self._clusters.reduction if self._clusters else None
        layers = reduction.layers if reduction else ()
        found = activations(self._model, variables, images, {LOGITS, *layers}.__contains__)
        logits = logits_of(found, self._size)
        if reduction is None:
            return logits, None
        pooled = [found[layer].astype(jnp.float32).mean((1, 2)) for layer in layers]
        return logits, reduction.project(jnp.concatenate(pooled, axis=-1))

    def _one_score(
        self, of_cluster: bool, options: tuple[Any, Any], batch: tuple[jax.Array, Target, jax.Array]
    ) -> jax.Array:
        (variables, bounded), (images, target, which) = options, batch
        logits, embedding = self._outputs(variables, images)  # what is not used is not computed
        if of_cluster:
            return methods.cluster_margin(embedding, target.own, target.other)
        evidence = methods.class_probability, methods.class_evidence
        region = target.predicted == which[:, None, None] + 1
        return lax.cond(bounded, *evidence, logits, region, which + 1)

    def _differentiate(
        self, of_cluster: bool, options: tuple[Any, Any], batch: tuple[jax.Array, Target, jax.Array]
    ) -> jax.Array:
        images, target, which = batch
        return methods.gradient(
            lambda x: self._one_score(of_cluster, options, (x, target, which)), images
        )

    def _attribute(
        self, options: tuple[Any, Any], batch: tuple[jax.Array, Target, Array]
    ) -> Explanation:
        (variables, references), (images, target, which) = options, batch
        plain = methods.activation_times_gradient
        scores, gradient, maps, channels = methods.attribute(
            lambda x: self.all_scores(variables, x, target),
            images,
            dict.fromkeys((*LAYERS, *MEMBERSHIP_LAYERS), plain)
            | {DEEP: lambda *parts: (plain(*parts), methods.grad_cam(*parts))},
            jax.nn.one_hot(which.T, len(self.targets)),
            references,
        )
        maps[DEEP], grad_cam = maps[DEEP]
        strength = methods.pool(methods.strength(gradient), self.grid)
        parts = jax.tree.map(lambda each: each.swapaxes(0, 1), (strength, maps, grad_cam, channels))
        return Explanation(scores, *parts)

    @functools.cached_property
    def _no_references(self) -> dict[str, np.ndarray]:
        images = jax.ShapeDtypeStruct((1, self._size, self._size, 3), jnp.float32)
        find = functools.partial(
            activations, self._model, wanted=set(MEMBERSHIP_LAYERS).__contains__
        )
        shapes = jax.eval_shape(find, self._variables, images)
        return {layer: np.zeros(each.shape[1:], np.float32) for layer, each in shapes.items()}

    def _in_batches(self, spread: Callable[[Any, Any], Any], options: Any, arrays: Any) -> Any:
        """Results of a function for equally large batches of arrays, concatenated."""
        arrays, number, parts = jax.tree.map(np.asarray, arrays), len(arrays[0]), []
        for start in range(0, number, self._batch_size):
            rows = np.arange(start, start + self._batch_size)
            take = functools.partial(np.take, indices=rows, axis=0, mode='clip')
            found = jax.device_get(spread(options, jax.tree.map(take, arrays)))
            parts.append(jax.tree.map(operator.itemgetter(slice(number - start)), found))
        return jax.tree.map(lambda *each: np.concatenate(each), *parts)
