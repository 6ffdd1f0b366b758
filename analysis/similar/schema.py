"""The most similar images of every image: the result of `analysis.similar`."""

import dataclasses
from typing import ClassVar

import numpy as np

from analysis.stage.artifacts import Result


def similar_note(recall: float, rows: str = 'images') -> str:
    """What is approximate if so large a share of the neighbors was found; '' if nothing is."""
    text = f'The search is approximate and finds {recall:.1%} of the nearest {rows}.'
    return '' if recall == 1 else text


@dataclasses.dataclass(frozen=True)
class Distances:
    """Medians over the images."""

    nearest: float  # distance of the nearest neighbor
    farthest: float  # distance of the last of the k


@dataclasses.dataclass(frozen=True)
class Similar(Result):
    """The nearest other images in embedding space, nearest first."""

    NAME: ClassVar[str] = 'similar'
    VERSION: ClassVar[int] = 2

    num_images: int  # N
    k: int  # neighbors of each
    median_distance: Distances  # Euclidean, 0 … 2; the square is 2 - 2 · cosine similarity
    index: np.ndarray  # int32 `[N, k]`, rows
    distance: np.ndarray  # float32 `[N, k]`
    # Share of the true neighbors that were found, measured on 250 random images; 1 if the search
    # was exact, see `neighbors.EXACT`.
    recall: float = 1.0

    @property
    def note(self) -> str:
        """What is approximate; '' if nothing is."""
        return similar_note(self.recall)
