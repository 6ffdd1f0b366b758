"""Embeddings of images: the result of `analysis.embeddings`."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from analysis.stage.artifacts import Result


@dataclasses.dataclass(frozen=True)
class Reduction:
    """From the pooled activations of an image, F features, to its embedding.

    Attributes:
      layers: names, in order of computation.
      mean: float32 `[F]`.
      scale: float32 `[F]`, standardised feature = (feature - mean) · scale; 0 for a feature that is
        the same for all images.
      components: float32 `[F, D]`, orthonormal.
      weights: float32 `[D]`; embedding = unit length of (standardised @ components · weights).
      explained: float64 `[D]`, share of the variance of the standardised features, descending.
    """

    layers: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    weights: np.ndarray
    explained: np.ndarray

    def project(self, features: Any) -> Any:
        """Embeds features, `[..., F]` to `[..., D]`; NumPy or JAX, differentiable."""
        scores = (features - self.mean) * self.scale @ self.components * self.weights
        return scores / ((scores * scores).sum(-1, keepdims=True) + 1e-12) ** 0.5


@dataclasses.dataclass(frozen=True)
class Embeddings(Result):
    """Embeddings of all images, and the fitted reduction, for new images.

    Attributes:
      num_images: N.
      dimensions: D.
      num_features: F.
      constant_features: those that are the same for all images.
      layers: number of channels by name, in order of computation; F in total.
      explained: see `Reduction`.
      points: float32 `[N, D]` of unit length, components by descending variance.
      mean, scale, components, weights: see `Reduction`.
    """

    NAME: ClassVar[str] = 'embeddings'
    VERSION: ClassVar[int] = 2

    num_images: int
    dimensions: int
    num_features: int
    constant_features: int
    layers: dict[str, int]
    explained: tuple[float, ...]
    points: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    weights: np.ndarray

    @property
    def reduction(self) -> Reduction:
        return Reduction(
            tuple(self.layers), self.mean, self.scale, self.components, self.weights,
            np.array(self.explained),
        )  # fmt: skip
