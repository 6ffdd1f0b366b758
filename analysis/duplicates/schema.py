"""Copies among the images of a data set: the result of `analysis.duplicates`."""

import dataclasses
from typing import ClassVar

import numpy as np

from analysis.stage.artifacts import Result
from analysis.stage.view import Parts

# What a copy can differ in; 'exact' is the same file, 're-encoded' the same picture in another one.
# A copy of a copy need not look like the first image, so what differs from it is not known.
COPY_OF_COPY = 'copy of a copy'
KINDS = 'exact', 're-encoded', 'mirrored', 'cropped', 'brightness', COPY_OF_COPY
PICTURED = 60  # groups with pictures
SHOWN_OF_GROUP = 6  # pictures of a group


@dataclasses.dataclass(frozen=True)
class Member:
    """An image of a group."""

    image_id: int
    split: str  # of the data set
    file_name: str
    row: int | None  # in the view; None if the image is not in it
    is_trained_on: bool  # whether the run was trained on it
    kinds: tuple[str, ...]  # what differs from the first image of the group; () for that image
    # Correlation of the fine structure with that of the first image, after alignment, at most 1.
    similarity: float


@dataclasses.dataclass(frozen=True)
class LeakedScore:
    """IoU over the set of a class, or the mean of the foreground classes."""

    name: str  # of the class, or 'foreground mean'
    all: float | None  # over all images of the view
    without: float | None  # over those without a copy among the training images
    difference: float | None  # all - without
    interval: tuple[float, float] | None  # its 95 % confidence interval, paired over images


@dataclasses.dataclass(frozen=True)
class Leakage:
    """What copies among the training images do to the scores of a view."""

    images: int  # images of the view with such a copy
    scores: tuple[LeakedScore, ...]


@dataclasses.dataclass(frozen=True)
class Duplicates(Result):
    """Groups of images that are copies of each other, over all splits of the data set."""

    NAME: ClassVar[str] = 'duplicates'
    VERSION: ClassVar[int] = 2
    PARTS: ClassVar[Parts] = Parts.ONE

    num_images: int  # of all splits
    fingerprint: str  # of the data set
    threshold: float  # least similarity of a copy; a group also has copies of its copies
    # Groups with copies between splits first, then by similarity. In each, the largest image first.
    groups: tuple[tuple[Member, ...], ...]
    # None for a view of training images, and for a model whose training images are not known.
    leakage: Leakage | None
    # The first SHOWN_OF_GROUP images of each of the first PICTURED groups, one after the other,
    # uint8 `[M, 96, 96, 3]`, squeezed into squares.
    pictures: np.ndarray
