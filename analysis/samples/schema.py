"""One row per image: the result of `analysis.samples`, its columns and how to read them."""

import dataclasses
from typing import ClassVar

import numpy as np
import pyarrow

from analysis.stage.artifacts import Result


@dataclasses.dataclass(frozen=True)
class ColumnSummary:
    """How a column varies over the images; None where no image has a value."""

    unit: str  # of the column
    n: int  # images with a value, which the others are computed over
    mean: float | None = None
    standard_deviation: float | None = None
    percentiles_5_50_95: tuple[float, float, float] | None = None
    images_above_0: int | None = None  # images with a value above 0


@dataclasses.dataclass(frozen=True)
class Samples(Result):
    """Metadata and metrics of every image."""

    NAME: ClassVar[str] = 'samples'
    VERSION: ClassVar[int] = 2

    num_images: int  # N
    metadata: dict[str, ColumnSummary]  # summary by column
    metric: dict[str, ColumnSummary]  # summary by column
    table: pyarrow.Table  # N rows in the order of the examples, columns of `table_schema`


_INTEGER, _NUMBER, _FLAG, _TEXT = (
    pyarrow.int64(), pyarrow.float32(), pyarrow.bool_(), pyarrow.string()
)  # fmt: skip
# Name, type, unit and description of the columns by role. *class, *foreground and *category stand
# for one column each per class, per class without the background, and per category.
_COLUMNS = {
    'id': [
        ('image_id', _INTEGER, '', 'id of the image in the annotation file'),
        ('file_name', _TEXT, '', 'of the image'),
        ('split', _TEXT, '', 'part of the experiment: train, selection or val; or a folder'),
        ('source_split', _TEXT, '', 'split of the data set that the image is in'),
    ],
    'metadata': [
        ('width', _INTEGER, 'pixels', 'of the image'),
        ('height', _INTEGER, 'pixels', 'of the image'),
        ('aspect_ratio', _NUMBER, 'width / height', 'width / height'),
        ('percent_*class', _NUMBER, '% of pixels',
         'share of the counted pixels of the label at the network’s resolution'),
        ('brightness', _NUMBER, '0–255', 'mean over pixels and channels'),
        ('contrast', _NUMBER, '0–255', 'standard deviation of luma (Rec. 601)'),
        ('sharpness', _NUMBER, '(0–255)²', 'variance of the Laplacian of luma (Pech-Pacheco et al. '
         '2000); noise also counts as sharp'),
        ('saturation', _NUMBER, '0–1',
         'mean of (max - min) / max over the channels; 0 for black'),
        ('hue_std', _NUMBER, 'degrees', 'circular standard deviation of hue, √(-2 ln R), where R '
         'is the length of the chroma-weighted mean direction; null if the image is gray'),
        ('is_colored', _FLAG, '', 'the file is not of one gray channel'),
        ('is_grayscale', _FLAG, '',
         'in at least 99 % of the pixels the channels differ by at most 2'),
        ('crowd_percent', _NUMBER, '% of image',
         'share of the image under crowd regions of the classes’ categories'),
        ('num_instances', _INTEGER, 'instances', 'of all classes, without crowd regions'),
        ('num_*foreground', _INTEGER, 'instances', 'of the class, without crowd regions'),
        ('mean_size_*foreground', _NUMBER, '% of image',
         'mean area of the instances of the class; null if there are none'),
        ('smallest_instance', _NUMBER, '% of image',
         'area of the smallest instance of any class; null if there are none'),
        ('truncated_share', _NUMBER, '0–1', 'share of the instances whose box comes within 0.5 % '
         'of the longer side of the border; null if there are none'),
        ('count_*category', _INTEGER, 'instances', 'of the category, without crowd regions; null '
         'if the category is not completely annotated in the image'),
    ],
    'metric': [
        ('loss', _NUMBER, 'nats per pixel', 'mean cross-entropy over the counted pixels'),
        ('iou_*class', _NUMBER, '0–1',
         'intersection over union; null if the class is in neither truth nor prediction'),
        ('mean_iou_foreground', _NUMBER, '0–1',
         'mean of the IoU of the foreground classes that have one'),
        ('pixel_accuracy', _NUMBER, '0–1', 'share of the pixels whose predicted class is correct'),
        ('confidence', _NUMBER, '0–1', 'mean probability of the predicted class'),
        ('entropy', _NUMBER, 'nats', 'mean entropy of the predicted distribution'),
        ('calibration_error', _NUMBER, '0–1', 'expected calibration error over the image’s pixels, '
         'Σ n_b / n · |accuracy_b - confidence_b| over 15 equal bins of confidence (Guo et al. '
         '2017)'),
    ],
}  # fmt: skip


def table_schema(class_names: tuple[str, ...], categories: tuple[str, ...]) -> pyarrow.Schema:
    """Columns of the table; each field has the metadata `role`, `unit` and `description`.

    Null means that the quantity does not exist for the image. Classes are those of the run's label
    space, background first; categories are the data set's.

    Raises:
      ValueError: two columns would have the same name.
    """
    each = {'': ('',), 'class': class_names, 'foreground': class_names[1:], 'category': categories}
    fields = []
    for role, columns in _COLUMNS.items():
        for pattern, kind, unit, about in columns:
            stem, _, group = pattern.partition('*')
            metadata = {'role': role, 'unit': unit, 'description': about}
            fields += [pyarrow.field(stem + name, kind, metadata=metadata) for name in each[group]]
    names = [field.name for field in fields]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f'Two columns would be called {twice[0]!r}: rename the class or category.')
    return pyarrow.schema(fields)


def columns(table: pyarrow.Table, role: str) -> list[str]:
    """Names of the columns of a role, 'id', 'metadata' or 'metric', in order."""
    return [
        field.name for field in table.schema if (field.metadata or {}).get(b'role') == role.encode()
    ]


def numbers(table: pyarrow.Table, name: str) -> np.ndarray:
    """A column as float64 `[N]`, NaN for null, 0 and 1 for false and true."""
    return table[name].cast(pyarrow.float64()).to_numpy()


def numbers_of(table: pyarrow.Table, role: str) -> dict[str, np.ndarray]:
    """The columns of a role as `numbers`, by name."""
    return {name: numbers(table, name) for name in columns(table, role)}


def summarize(table: pyarrow.Table) -> Samples:
    """The table with a summary of its columns."""
    summaries: dict[str, dict[str, ColumnSummary]] = {'metadata': {}, 'metric': {}}
    for role, summary in summaries.items():
        for name, values in numbers_of(table, role).items():
            unit = table.schema.field(name).metadata[b'unit'].decode()
            values = values[~np.isnan(values)]
            summary[name] = ColumnSummary(unit, len(values))
            if len(values):
                low, middle, high = np.percentile(values, [5, 50, 95]).tolist()
                summary[name] = ColumnSummary(
                    unit, len(values), float(values.mean()), float(values.std()),
                    (low, middle, high), int((values > 0).sum()),
                )  # fmt: skip
    return Samples(len(table), summaries['metadata'], summaries['metric'], table)
