"""The scores that saliency maps are made for, as functions of a run's network.

class      mean log-odds of a class, log p / (1 - p), over the pixels that the network gives to it
           in the unchanged image
loss       mean cross-entropy in nats over the counted pixels
cluster    |e - other|² - |e - own|² of the image's embedding e, its cluster's centroid, and the
           centroid that is the nearest one of the others for the unchanged image
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analysis.clusters import schema as clusters_schema
from analysis.embeddings.features import pooled_features
from analysis.embeddings.schema import Embeddings, Reduction
from analysis.saliency.methods import (
    class_evidence,
    class_probability,
    cluster_margin,
    differentiable,
)
from analysis.stage import artifacts
from analysis.stage.run import Analysis
from segmentation import evaluate
from segmentation.models.unet import SegmentationModel


@dataclasses.dataclass(frozen=True)
class Clusters:
    """Which cluster each image is in, and what an embedding is compared with.

    Attributes:
      reduction: of `embeddings`.
      embedding: float32 `[N, D]`.
      label: int32 `[N]`, below 0 for an image that is in no cluster.
      other: int32 `[N]`, the cluster of the nearest other centroid.
      centroids: float32 `[K, D]`.
    """

    reduction: Reduction
    embedding: np.ndarray
    label: np.ndarray
    other: np.ndarray
    centroids: np.ndarray

    def target(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What `cluster_score` compares these images with; rows below 0 stand for padding."""
        return {
            'own': self.centroids[self.label[rows]],
            'other': self.centroids[self.other[rows]],
        }

    def exemplars(self, number: int) -> np.ndarray:
        """Rows of the members nearest to each centroid, cluster by cluster, int64."""
        distance = np.linalg.norm(self.embedding - self.centroids[self.label], axis=1)
        members = (np.flatnonzero(self.label == k) for k in range(len(self.centroids)))
        return np.concatenate([rows[np.argsort(distance[rows])][:number] for rows in members])


def open_clusters(analysis: Analysis) -> Clusters | None:
    """What `embeddings` and `clusters` wrote; None if they did not, or found a single cluster.

    Raises:
      ValueError: a file is there that is damaged or does not fit.
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


class Scores:
    """Scores of scaled images `[B, S, S, 3]`, `[B]` each; differentiable.

    Targets are dicts of arrays with leading dimension B, what an image is scored for.
    """

    def __init__(self, model: SegmentationModel, clusters: Clusters | None):
        self.model = differentiable(model)
        self.clusters = clusters

    def logits(self, variables: Any, images: jax.Array) -> jax.Array:
        return self.model.apply(variables, images, train=False)

    def class_score(self, variables: Any, images: jax.Array, target: dict) -> jax.Array:
        """Target: `region` bool `[B, S, S]`, `label` integer `[B]`."""
        return class_evidence(self.logits(variables, images), **target)

    def class_value(self, variables: Any, images: jax.Array, target: dict) -> jax.Array:
        """Mean probability, for integrated gradients, deletion and insertion."""
        return class_probability(self.logits(variables, images), **target)

    def pixel_scores(self, variables: Any, images: jax.Array, label: jax.Array) -> jax.Array:
        """Evidence of every class but background, then the loss: `[B, C]`."""
        logits = self.logits(variables, images)
        predicted = jax.lax.stop_gradient(logits.argmax(-1))
        classes = range(1, logits.shape[-1])
        evidence = [
            class_evidence(logits, predicted == k, jnp.full(len(images), k)) for k in classes
        ]
        return jnp.stack([*evidence, evaluate.image_loss(logits, label)], axis=-1)

    def cluster_score(self, variables: Any, images: jax.Array, target: dict) -> jax.Array:
        """Target: see `Clusters.target`."""
        reduction = self.clusters.reduction
        features = pooled_features(self.model, variables, images, reduction.layers)
        return cluster_margin(reduction.project(features), **target)
