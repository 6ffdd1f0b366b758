"""The most similar images of every image: the result of `analysis.similar`."""

import dataclasses
from typing import ClassVar

import numpy as np

from analysis.stage.artifacts import Result


@dataclasses.dataclass(frozen=True)
class Distances:
    """Medians over the images.

    Attributes:
      nearest: distance of the nearest neighbour.
      farthest: distance of the last of the k.
    """

    nearest: float
    farthest: float


@dataclasses.dataclass(frozen=True)
class Similar(Result):
    """The nearest other images in embedding space, nearest first; of equals the lower row first.

    Attributes:
      num_images: N.
      k: neighbours of each.
      median_distance: Euclidean, 0 … 2; the square is 2 - 2 · cosine similarity.
      index: int32 `[N, k]`, rows.
      distance: float32 `[N, k]`.
    """

    NAME: ClassVar[str] = 'similar'
    VERSION: ClassVar[int] = 2

    num_images: int
    k: int
    median_distance: Distances
    index: np.ndarray
    distance: np.ndarray
