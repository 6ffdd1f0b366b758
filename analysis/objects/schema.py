"""One row per annotated object: the result of `analysis.objects`, and its columns."""

import dataclasses
from typing import ClassVar

import numpy as np
import pyarrow

from analysis.similar.schema import similar_note
from analysis.similarity_map.schema import map_note
from analysis.slices.schema import MetricSlices, Slices
from analysis.stage.artifacts import Result
from analysis.stage.view import Parts

FOLDER = 'objects'  # of the pictures of the objects, in the analysis' folder
# Metric → 1 if high is bad, -1 if low is bad.
METRICS = {'loss': 1, 'iou': -1}

_INTEGER, _NUMBER, _FLAG, _TEXT = (
    pyarrow.int64(), pyarrow.float32(), pyarrow.bool_(), pyarrow.string()
)  # fmt: skip
# Name, type, unit and description of the columns by role. Pixels are the visible pixels of the
# object at the network's resolution.
_COLUMNS = {
    'id': [
        ('annotation_id', _INTEGER, '', 'id of the object in the annotation file'),
        ('image_id', _INTEGER, '', 'id of its image'),
        ('file_name', _TEXT, '', 'of its image'),
        ('image', _INTEGER, '', 'row of its image in samples.parquet'),
        ('aspect_ratio', _NUMBER, 'width / height', 'of the picture of the object'),
    ],
    'metadata': [
        ('class', _TEXT, '', 'of the label space'),
        ('category', _TEXT, '', 'of the data set'),
        ('left', _NUMBER, '0–1', 'left side of its box, in widths of the image'),
        ('top', _NUMBER, '0–1', 'upper side of its box, in heights of the image'),
        ('right', _NUMBER, '0–1', 'right side of its box, in widths of the image'),
        ('bottom', _NUMBER, '0–1', 'lower side of its box, in heights of the image'),
        ('box_ratio', _NUMBER, 'width / height', 'of its box, in pixels of the image'),
        ('area', _NUMBER, '% of image', 'of its mask at the image’s resolution'),
        ('truncated', _FLAG, '', 'its box comes within 0.5 % of the image’s longer side of the '
         'border'),
        ('touching', _NUMBER, '0–1', 'share of its surroundings on other annotated objects, which '
         'may hide a part of it: annotations do not say what is hidden; null without surroundings'),
        ('contrast', _NUMBER, '0–255', 'difference between the mean colors of the object and of '
         'its surroundings, root mean square over the channels; null without surroundings'),
        ('brightness', _NUMBER, '0–255', 'mean over pixels and channels'),
        ('saturation', _NUMBER, '0–1', 'mean of (max - min) / max over the channels; 0 for black'),
        ('sharpness', _NUMBER, '(0–255)²', 'variance of the Laplacian of luma; null without pixels '
         'off the border of the image'),
        ('upper_color', _TEXT, '', 'basic color that most pixels of its upper half are nearest to'),
        ('lower_color', _TEXT, '', 'the same of its lower half'),
        ('pattern', _NUMBER, '0–100', 'standard deviation of lightness (CIELAB) in its upper and '
         'lower half, the mean of both'),
        ('balance', _NUMBER, '0–1', 'mean height of its pixels, from the top of its box to the '
         'bottom'),
    ],
    'metric': [
        ('loss', _NUMBER, 'nats per pixel', 'mean cross-entropy over its pixels'),
        ('iou', _NUMBER, '0–1', 'intersection over union of its pixels with the connected regions '
         'predicted as its class that overlap it, without the pixels of other objects of its '
         'class'),
        ('recall', _NUMBER, '0–1', 'share of its pixels that are predicted as its class'),
        ('predicted', _TEXT, '', 'class that most of its pixels are predicted as'),
    ],
}  # fmt: skip
TABLE = pyarrow.schema(
    [
        pyarrow.field(name, kind, metadata={'role': role, 'unit': unit, 'description': about})
        for role, columns in _COLUMNS.items()
        for name, kind, unit, about in columns
    ]
)
# Columns for conditions of slices, besides the category.
CONDITIONS = (
    'area', 'box_ratio', 'truncated', 'touching', 'contrast', 'brightness', 'saturation',
    'sharpness',
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Group:
    """Similar objects of a class that the network does worse on: a slice without conditions."""

    metric: str
    place: int  # of its slice, in the slices of the metric
    block: str  # in which they are similar, or `all`
    center: int  # row of the object that they are similar to
    nearest: tuple[int, ...]  # rows of the 10 members nearest to it, the nearest first


@dataclasses.dataclass(frozen=True)
class Objects(Result):
    """The instances of the classes as rows, with what the other stages find in images.

    M objects are sorted by image and keep the order of the annotation file.
    """

    NAME: ClassVar[str] = 'objects'
    VERSION: ClassVar[int] = 4
    PARTS: ClassVar[Parts] = Parts.ONE

    num_images: int  # of the view
    num_objects: int  # M
    num_crowds: int  # crowd regions of the classes, which are not objects
    # Instances of the classes that are not objects here: none of their pixels is visible at the
    # network's resolution, because they are too small or hidden.
    num_unseen: int
    layers: dict[str, int]  # see `Embeddings`; empty for a model that was not trained here
    dimensions: int  # D; 0 if there is no embedding, because there are fewer than 4 objects
    # Dimensions of the blocks of the embedding: `network` (if there are layers), `color`, `shape`.
    blocks: dict[str, int]
    explained: tuple[float, ...]  # see `Reduction`, of the block `network`
    trustworthiness: float | None  # of the map; None if there is none, see `Quality`
    # Number of objects by class, background first, and the class most of their pixels are
    # predicted as.
    confusion: tuple[tuple[int, ...], ...]
    # By metric, see `METRICS`: slices by conditions on columns, and by `groups`, which have no
    # conditions. By conditions, they are found and tested with one random object of each image, as
    # objects of one image are not independent; `size`, means and `num_images` are of these, rows
    # and ids of objects. By groups, they are those of all objects of the class; means and shares
    # are of the half that tested the group.
    slices: dict[str, MetricSlices]
    groups: tuple[Group, ...]
    num_sheets: int  # of pictures, see `pictures.schema.Pictures`, in the folder `FOLDER`
    table: pyarrow.Table  # M rows with the columns of `TABLE`
    points: np.ndarray  # float32 `[M, D]`, of unit length; see `objects.blocks`
    map_2d: np.ndarray  # float32 `[M, 2]`, or `[0, 2]` if there is no map
    index: np.ndarray  # int32 `[M, k]`, rows of the nearest other objects, nearest first
    distance: np.ndarray  # float32 `[M, k]`, their Euclidean distances
    # As `index` and `distance`, by each of `blocks` alone: `[B, M, k]`.
    index_by_block: np.ndarray
    distance_by_block: np.ndarray
    members: np.ndarray  # see `Slices.members`, of all objects
    recall: float = 1.0  # of the nearest objects, see `Similar.recall`
    fitted: int | None = None  # see `SimilarityMap.fitted`, of objects

    def notes(self) -> dict[str, str]:
        """What is approximate, of 'similar' objects and of the 'similarity_map'."""
        notes = {
            'similar': similar_note(self.recall, 'objects'),
            'similarity_map': map_note(self.fitted, 'objects'),
        }
        return {name: note for name, note in notes.items() if note}

    def as_slices(self) -> Slices:
        """The slices as the result of the stage `slices` has them, with objects for images."""
        return Slices(self.num_objects, 0, False, self.slices, self.members)
