"""Maps of the images in two and three dimensions: the result of `analysis.similarity_map`."""

import dataclasses
from typing import ClassVar

import numpy as np

from analysis.stage.artifacts import Result


def map_note(fitted: int | None, rows: str = 'images') -> str:
    """What is approximate if t-SNE placed so many; '' if it placed all."""
    text = f't-SNE placed {fitted or 0:,} random {rows}. Each of the others is beside the nearest '
    return '' if fitted is None else f'{text}of these in embedding space.'


@dataclasses.dataclass(frozen=True)
class Quality:
    """How well a map keeps neighborhoods."""

    dimensions: int  # 2 or 3
    # 1 minus a penalty for neighbors on the map that are far in the embedding, by rank (Venna and
    # Kaski 2001); 1 is perfect, about 0.5 is chance.
    trustworthiness: float
    recall: float  # share of the neighbors in the embedding that are neighbors on the map


@dataclasses.dataclass(frozen=True)
class SimilarityMap(Result):
    """Two maps of N images."""

    NAME: ClassVar[str] = 'similarity_map'
    VERSION: ClassVar[int] = 4
    FEWEST: ClassVar[int] = 4

    num_images: int  # N
    neighbors: int  # number of neighbors that quality is measured with
    maps: tuple[Quality, ...]  # quality of both
    map_2d: np.ndarray  # float32 `[N, 2]`
    map_3d: np.ndarray  # float32 `[N, 3]`
    # Number of random images that t-SNE placed; the others are beside the nearest of these. None:
    # all.
    fitted: int | None = None

    @property
    def note(self) -> str:
        """What is approximate; '' if nothing is."""
        return map_note(self.fitted)
