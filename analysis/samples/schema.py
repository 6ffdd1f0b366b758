"""One row per image: the result of `analysis.samples`, its columns and how to read them."""

import dataclasses
from typing import ClassVar

import numpy as np
import pyarrow

from analysis.stage.artifacts import Result


@dataclasses.dataclass(frozen=True)
class ColumnSummary:
    """How a column varies over the images; None where no image has a value.

    Attributes:
      unit: of the column.
      n: images with a value.
      mean: over them.
      standard_deviation: over them.
      percentiles_5_50_95: of them.
      images_above_0: with a value above 0.
    """

    unit: str
    n: int
    mean: float | None = None
    standard_deviation: float | None = None
    percentiles_5_50_95: tuple[float, float, float] | None = None
    images_above_0: int | None = None


@dataclasses.dataclass(frozen=True)
class Samples(Result):
    """Metadata and metrics of every image.

    Attributes:
      num_images: N.
      metadata: summary by column.
      metric: summary by column.
      table: N rows in the order of the examples, columns of `table_schema`.
    """

    NAME: ClassVar[str] = 'samples'
    VERSION: ClassVar[int] = 2

    num_images: int
    metadata: dict[str, ColumnSummary]
    metric: dict[str, ColumnSummary]
    table: pyarrow.Table


def table_schema(class_names: tuple[str, ...], categories: tuple[str, ...]) -> pyarrow.Schema:
    """Columns of the table; each field has the metadata `role`, `unit` and `description`.

    Null means that the quantity does not exist for the image. Classes are those of the run's label
    space; categories are the data set's.

    Args:
      class_names: background first.
      categories: names of the data set's categories.

    Raises:
      ValueError: two columns would have the same name.
    """
    integer, number, boolean, text = (
        pyarrow.int64(), pyarrow.float32(), pyarrow.bool_(), pyarrow.string()
    )  # fmt: skip
    foreground = class_names[1:]
    columns = {
        'id': [
            ('image_id', integer, '', 'id of the image in the annotation file'),
            ('file_name', text, '', 'of the image'),
            ('split', text, '', 'part of the experiment: train, selection or val'),
            ('source_split', text, '', 'split of the data set that the image is in'),
        ],
        'metadata': [
            ('width', integer, 'pixels', 'of the image'),
            ('height', integer, 'pixels', 'of the image'),
            ('aspect_ratio', number, 'width / height', 'width / height'),
            *(
                (
                    f'percent_{name}', number, '% of pixels',
                    'share of the counted pixels of the label at the network’s resolution',
                )
                for name in class_names
            ),
            ('brightness', number, '0–255', 'mean over pixels and channels'),
            ('contrast', number, '0–255', 'standard deviation of luma (Rec. 601)'),
            (
                'sharpness', number, '(0–255)²',
                'variance of the Laplacian of luma (Pech-Pacheco et al. 2000); noise also counts '
                'as sharp',
            ),
            (
                'saturation', number, '0–1',
                'mean of (max - min) / max over the channels; 0 for black',
            ),
            (
                'hue_std', number, 'degrees',
                'circular standard deviation of hue, √(-2 ln R), where R is the length of the '
                'chroma-weighted mean direction; null if the image is gray',
            ),
            ('is_colored', boolean, '', 'the file has more than one channel'),
            (
                'is_grayscale', boolean, '',
                'in at least 99 % of the pixels the channels differ by at most 2',
            ),
            (
                'crowd_percent', number, '% of image',
                'share of the image under crowd regions of the classes’ categories',
            ),
            ('num_instances', integer, 'instances', 'of all classes, without crowd regions'),
            *(
                (f'num_{name}', integer, 'instances', 'of the class, without crowd regions')
                for name in foreground
            ),
            *(
                (
                    f'mean_size_{name}', number, '% of image',
                    'mean area of the instances of the class; null if there are none',
                )
                for name in foreground
            ),
            (
                'smallest_instance', number, '% of image',
                'area of the smallest instance of any class; null if there are none',
            ),
            (
                'truncated_share', number, '0–1',
                'share of the instances whose box comes within 0.5 % of the longer side of the '
                'border; null if there are none',
            ),
            *(
                (
                    f'count_{name}', integer, 'instances',
                    'of the category, without crowd regions; null if the category is not '
                    'completely annotated in the image',
                )
                for name in categories
            ),
        ],
        'metric': [
            ('loss', number, 'nats per pixel', 'mean cross-entropy over the counted pixels'),
            *(
                (
                    f'iou_{name}', number, '0–1',
                    'intersection over union; null if the class is in neither truth nor prediction',
                )
                for name in class_names
            ),
            (
                'mean_iou_foreground', number, '0–1',
                'mean of the IoU of the foreground classes that have one',
            ),
            ('pixel_accuracy', number, '0–1', 'share of the pixels whose predicted class is right'),
            ('confidence', number, '0–1', 'mean probability of the predicted class'),
            ('entropy', number, 'nats', 'mean entropy of the predicted distribution'),
            (
                'calibration_error', number, '0–1',
                'expected calibration error over the image’s pixels, Σ n_b / n · |accuracy_b - '
                'confidence_b| over 15 equal bins of confidence (Guo et al. 2017)',
            ),
        ],
    }  # fmt: skip
    fields = [
        pyarrow.field(name, kind, metadata={'role': role, 'unit': unit, 'description': about})
        for role, group in columns.items()
        for name, kind, unit, about in group
    ]
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


def summarize(table: pyarrow.Table) -> Samples:
    """The table with a summary of its columns."""
    summaries: dict[str, dict[str, ColumnSummary]] = {}
    for role in ('metadata', 'metric'):
        summaries[role] = {}
        for name in columns(table, role):
            unit = table.schema.field(name).metadata[b'unit'].decode()
            values = numbers(table, name)
            values = values[~np.isnan(values)]
            summary = ColumnSummary(unit, len(values))
            if len(values):
                low, middle, high = np.percentile(values, [5, 50, 95]).tolist()
                summary = ColumnSummary(
                    unit, len(values), float(values.mean()), float(values.std()),
                    (low, middle, high), int((values > 0).sum()),
                )  # fmt: skip
            summaries[role][name] = summary
    return Samples(len(table), summaries['metadata'], summaries['metric'], table)
