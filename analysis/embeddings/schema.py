"""Embeddings of images: the result of `analysis.embeddings`."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from analysis.stage.artifacts import Result


@dataclasses.dataclass(frozen=True)
class Reduction:
    """From the pooled activations of an image, F features, to its embedding."""

    layers: tuple[str, ...]  # names, in order of computation
    mean: np.ndarray  # float32 `[F]`
    # float32 `[F]`, weighted standardized feature = (feature - mean) · scale; 0 for a feature that
    # is the same for all images.
    scale: np.ndarray
    components: np.ndarray  # float32 `[F, D]`, orthonormal
    # float32 `[D]`; embedding = unit length of (weighted @ components · weights).
    weights: np.ndarray
    # float64 `[D]`, share of the variance of the weighted features, descending.
    explained: np.ndarray

    def project(self, features: Any) -> Any:
        """Embeds features, `[..., F]` to `[..., D]`; NumPy or JAX, differentiable."""
        scores = (features - self.mean) * self.scale @ self.components * self.weights
        return scores / ((scores * scores).sum(-1, keepdims=True) + 1e-12) ** 0.5


@dataclasses.dataclass(frozen=True)
class Embeddings(Result):
    """Embeddings of all images, and the fitted reduction, for new images."""

    NAME: ClassVar[str] = 'embeddings'
    VERSION: ClassVar[int] = 3
    FEWEST: ClassVar[int] = 2

    num_images: int  # N
    dimensions: int  # D
    num_features: int  # F
    constant_features: int  # those that are the same for all images
    layers: dict[str, int]  # number of channels by name, in order of computation; F in total
    explained: tuple[float, ...]  # see `Reduction`
    points: np.ndarray  # float32 `[N, D]` of unit length, components by descending variance
    # mean, scale, components, weights: see `Reduction`.
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
