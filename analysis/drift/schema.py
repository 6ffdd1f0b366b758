"""How far images are from the training data: the result of `analysis.drift`."""

import dataclasses
from typing import ClassVar

import numpy as np

from analysis.stage.artifacts import Result
from analysis.stage.view import Parts


@dataclasses.dataclass(frozen=True)
class ColumnDrift:
    """How a column of a part differs from that of the reference."""

    column: str  # of `samples`, or 'embedding k' for the k-th principal component
    # Of the images that were compared, at most 5,000 of the part and of the reference.
    images: int  # of the part, with a value
    median: float  # of the part; of a column of 0 and 1 the mean
    median_reference: float  # of the reference, likewise
    distance: float  # Kolmogorov-Smirnov: largest difference of the shares below a value, 0 … 1
    p: float  # adjusted for all columns


@dataclasses.dataclass(frozen=True)
class PartDrift:
    """How a part differs from the reference."""

    part: str
    images: int
    differs: bool  # whether any column differs at the 5 % level
    median_novelty: float
    columns: tuple[ColumnDrift, ...]  # the largest evidence first


@dataclasses.dataclass(frozen=True)
class Drift(Result):
    """Novelty of every image, and which parts of a view differ from the reference."""

    NAME: ClassVar[str] = 'drift'
    VERSION: ClassVar[int] = 2
    PARTS: ClassVar[Parts] = Parts.SEVERAL

    reference: str  # part that the others are compared with
    num_images: int  # N
    num_reference: int
    parts: tuple[PartDrift, ...]
    # float32 `[N]`: mean distance to the nearest images of the reference, in units of the median of
    # the reference's own images (of those at a distance from others, if most are copies)
    novelty: np.ndarray
