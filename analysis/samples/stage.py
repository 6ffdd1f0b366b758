"""One row per image: what is in it, how it looks, and how well the network does on it."""

import concurrent.futures
import io
import itertools
from typing import Any

import numpy as np
import pyarrow
from PIL import Image
from pycocotools import mask as mask_utils
from tqdm import tqdm

from analysis.predictions import stage as predictions
from analysis.predictions.schema import Predictions
from analysis.samples import schema
from analysis.samples.options import make_parser
from analysis.samples.schema import ColumnSummary, Samples
from analysis.stage import artifacts
from analysis.stage.contract import Stage
from analysis.stage.run import Analysis
from segmentation import markdown, metrics
from segmentation.data import coco_files, label_spaces, transforms

_SINGLE_CHANNEL = ('1', 'L', 'LA', 'La', 'F', 'I', 'I;16', 'I;16B', 'I;16L', 'I;16N')


def describe_image(pixels: np.ndarray) -> dict[str, float | bool | None]:
    """Metadata of an image without its annotations; see `schema.table_schema`.

    Args:
      pixels: uint8 `[H, W, 3]`, RGB.
    """
    luma = pixels @ transforms.LUMA
    inner = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    channels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))  # many times faster than pixels
    highest = channels.max(0)
    spread = highest - channels.min(0)
    is_grayscale = bool(np.mean(spread <= 2) >= 0.99)
    return {
        'brightness': float(pixels.mean()),
        'contrast': float(luma.std()),
        'sharpness': float(laplacian.var()) if laplacian.size else None,
        'saturation': float(np.mean(spread / np.maximum(highest, 1))),
        'hue_std': None if is_grayscale else _hue_deviation(channels),
        'is_grayscale': is_grayscale,
    }


def _hue_deviation(channels: np.ndarray) -> float:
    """Chroma-weighted circular standard deviation of hue in degrees.

    A pixel is a vector in the plane perpendicular to the gray axis: its angle is the hue, its
    length the chroma. So the weighted mean direction is the mean vector over the mean length.
    """
    red, green, blue = channels.astype(np.float32)
    chroma = (red - (green + blue) / 2) + 1j * np.sqrt(np.float32(0.75)) * (green - blue)
    resultant = abs(chroma.mean()) / np.abs(chroma).mean()
    return float(np.degrees(np.sqrt(-2 * np.log(np.clip(resultant, 1e-6, 1)))))


def describe_annotations(
    record: dict, categories: dict[int, str], classes: dict[int, int], class_names: tuple[str, ...]
) -> dict[str, float | int | None]:
    """Metadata of the annotations of an image; see `schema.table_schema`.

    Of an image without annotations, only its size is known.

    Args:
      record: of a `coco.CocoSplit`.
      categories: names by category id.
      classes: class by category id; categories of no class are missing.
      class_names: background first.
    """
    height, width = int(record['height']), int(record['width'])
    size = {'width': width, 'height': height, 'aspect_ratio': width / height}
    if not record.get('is_labeled', True):
        return {**size}
    instances = record['instances']
    kinds, crowd = instances['category_id'], instances['is_crowd'].astype(np.bool_)
    label = np.array([classes.get(int(kind), 0) for kind in kinds], np.int64)
    counted = (label > 0) & ~crowd
    masks = [{'size': [height, width], 'counts': rle} for rle in instances['rle']]
    areas = mask_utils.area(masks) if masks else np.zeros(0)
    percents = 100 * areas / (height * width)
    counted &= areas > 0  # an annotation can be empty at the image's scale
    crowds = [masks[i] for i in np.flatnonzero((label > 0) & crowd)]
    result = {
        **size,
        'crowd_percent': 100 * float(mask_utils.area(mask_utils.merge(crowds))) / (height * width)
        if crowds
        else 0.0,
        'num_instances': int(counted.sum()),
        'smallest_instance': float(percents[counted].min()) if counted.any() else None,
        'truncated_share': None,
    }
    if counted.any():
        boxes = mask_utils.toBbox([masks[i] for i in np.flatnonzero(counted)])
        gaps = np.column_stack([boxes[:, :2], [width, height] - boxes[:, :2] - boxes[:, 2:]])
        result['truncated_share'] = float(np.mean(gaps.min(1) <= 0.005 * max(width, height)))
    for number, name in enumerate(class_names[1:], 1):
        mine = counted & (label == number)
        result[f'num_{name}'] = int(mine.sum())
        result[f'mean_size_{name}'] = float(percents[mine].mean()) if mine.any() else None
    complete = set(record['complete_category_ids'].tolist())
    for key, name in categories.items():
        known = not record['complete_known'] or key in complete
        count = int(((kinds == key) & ~crowd & (areas > 0)).sum())
        result[f'count_{name}'] = count if known else None
    return result


def image_metrics(
    predicted: Predictions, class_names: tuple[str, ...]
) -> list[dict[str, float | None]]:
    """The metrics of every image by column name.

    Where no pixel counts, only those that need no label.

    Args:
      predicted: of N images.
      class_names: C of them, background first.
    """
    confusions = predicted.confusions()
    counted, ious = confusions.sum((1, 2)), metrics.iou(confusions)
    scalars = ('loss', 'confidence', 'entropy', 'calibration_error')
    columns = {name: predicted.column(name) for name in scalars}
    columns |= {f'iou_{name}': iou for name, iou in zip(class_names, ious.T, strict=True)}
    foreground = np.ma.masked_invalid(ious[:, 1:]).mean(1)
    columns['mean_iou_foreground'] = np.ma.filled(foreground, np.nan)
    columns['pixel_accuracy'] = np.trace(confusions, axis1=1, axis2=2) / counted.clip(1)
    shares = 100 * (confusions.sum(2) / counted.clip(1)[:, None])
    columns |= {f'percent_{name}': share for name, share in zip(class_names, shares.T, strict=True)}
    values = np.stack(list(columns.values()), 1)
    unlabeled = 'confidence', 'entropy'
    return [
        {
            name: None if x != x else x
            for name, x in zip(columns, row, strict=True)
            if any_pixel or name in unlabeled
        }
        for row, any_pixel in zip(values.tolist(), counted, strict=True)
    ]


def compute(analysis: Analysis) -> Samples:
    """Describes every image; the network's outputs come from `predictions`."""
    examples = analysis.examples
    known = examples.splits[0].categories
    categories = {category.id: category.name for category in known}
    space = label_spaces.parse_label_space(analysis.config.data.label_space)
    classes = space.category_to_class(known)
    fields = schema.table_schema(analysis.class_names, tuple(categories.values()))
    measured = image_metrics(artifacts.load(analysis, Predictions), analysis.class_names)

    def describe(index: int) -> dict[str, Any]:
        record = examples.record(index)
        mode = Image.open(io.BytesIO(record['image']), formats=coco_files.IMAGE_FORMATS).mode
        return {
            'image_id': int(examples.image_ids[index]),
            'file_name': record['file_name'],
            'split': analysis.part(index),
            'source_split': examples.splits[examples.split_of[index]].name,
            'is_colored': mode not in _SINGLE_CHANNEL,
            **describe_image(np.asarray(transforms.decode_record(record))),
            **describe_annotations(record, categories, classes, analysis.class_names),
            **measured[index],
        }

    title = f'samples, {analysis.split} at step {analysis.step}'
    with concurrent.futures.ThreadPoolExecutor(analysis.config.data.threads) as pool:
        found = pool.map(describe, range(len(examples)))
        rows = iter(tqdm(found, total=len(examples), desc=title, unit='img'))
        # In blocks: rows are large while they are dictionaries.
        blocks = iter(lambda: list(itertools.islice(rows, 256)), [])
        parts = [pyarrow.RecordBatch.from_pylist(block, schema=fields) for block in blocks]
    return schema.summarize(pyarrow.Table.from_batches(parts, fields))


def table(result: Samples) -> str:
    """The summary as tables; of the categories only those that occur, most frequent first."""

    def row(name: str, column: ColumnSummary) -> tuple[str, ...]:
        if not column.n or not column.percentiles_5_50_95:
            return name, column.unit, '0', '–', '–', '–', '–', '–'
        spread = column.mean, column.standard_deviation, *column.percentiles_5_50_95
        return name, column.unit, str(column.n), *(f'{value:.4g}' for value in spread)

    header = ('column', 'unit', 'images', 'mean', 's.d.', '5 %', 'median', '95 %')
    counts = {name: column for name, column in result.metadata.items() if name.startswith('count_')}
    others = {name: column for name, column in result.metadata.items() if name not in counts}
    found = [(name, column) for name, column in counts.items() if column.images_above_0]
    found.sort(key=lambda item: -(item[1].images_above_0 or 0))
    categories = (
        (name.removeprefix('count_'), f'{c.n}', f'{c.images_above_0}', f'{c.mean:.3g}')
        for name, c in found
    )
    return '\n\n'.join(
        [
            f'{result.num_images} images. Metrics:',
            markdown.table(header, (row(*item) for item in result.metric.items())),
            'Metadata:',
            markdown.table(header, (row(*item) for item in others.items())),
            f'Categories, of which {len(counts) - len(found)} never occur:',
            markdown.table(
                ('category', 'completely annotated in', 'images with it', 'instances per image'),
                categories,
            ),
        ]
    )


STAGE = Stage(Samples, make_parser, compute, table, reads=(predictions.STAGE,))
main = STAGE.main
