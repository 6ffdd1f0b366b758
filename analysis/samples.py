"""One row per image: what is in it, how the photograph looks, and how well the network does on it.

    python -m analysis.samples --workdir runs/person_car --split val

Writes `samples.parquet` (kind 'samples', version 1) into the run's `analysis/<split>-<step>/`, or
reads it if it is there, and prints a summary of every column. Each column has its role ('id',
'metadata' or 'metric') and its unit as Parquet field metadata. Null means that the quantity does
not exist for the image. Classes are those of the run's label space; categories are the data set's.

id columns
    image_id          COCO's number
    file_name         of the photograph
    split             part of the experiment that was asked for: train, selection or val
    source_split      split of the data set that the photograph is in

metadata of the photograph, at its own resolution (pixels from 0 to 255)
    width, height     in pixels
    aspect_ratio      width / height
    brightness        mean over pixels and channels (the published example's)
    contrast          standard deviation of luma (Rec. 601)
    sharpness         variance of the Laplacian of luma, 4 neighbours (Pech-Pacheco et al. 2000);
                      noise also counts as sharp
    saturation        mean of (max - min) / max over the channels, in [0, 1]; 0 for black
    hue_std           circular standard deviation of hue in degrees, √(-2 ln R), where R is the
                      length of the chroma-weighted mean direction (gray pixels have no hue); null
                      if is_grayscale. The published example takes the plain deviation instead
    is_colored        the file has more than one channel (the published example's)
    is_grayscale      in at least 99 % of the pixels the channels differ by at most 2

metadata of the annotations
    percent_<class>   percent of counted pixels of the label at the network's resolution
    crowd_percent     percent of the photograph under crowd regions of the classes' categories
    num_instances     instances of all classes, without crowd regions
    num_<class>       instances of the class, without crowd regions
    mean_size_<class> mean area of these instances in percent of the photograph; null without any
                      (the published example divides percent_<class> by the number)
    smallest_instance area of the smallest instance of any class, likewise
    truncated_share   share of the instances of any class whose box comes within 0.5 % of the longer
                      side of the border, in [0, 1]; null without any
    count_<category>  instances of the category, without crowd regions; null where it is known that
                      the category is not completely annotated in the image

metrics, over the counted pixels at the network's resolution
    loss              mean cross-entropy in nats per pixel
    iou_<class>       intersection over union; null if in neither truth nor prediction
    mean_iou_foreground  mean of iou over the classes without background that have one
    pixel_accuracy    share of pixels whose most probable class is right
    confidence        mean probability of the most probable class
    entropy           mean entropy of the predicted distribution in nats
    calibration_error Σ n_b / n · |accuracy_b - confidence_b| over 15 equal bins of confidence
                      (expected calibration error, Guo et al. 2017) over this image's pixels
"""

import argparse
import concurrent.futures
import io
import sys
from collections.abc import Iterator

import jax
import numpy as np
import pyarrow
from PIL import Image
from pycocotools import mask as mask_utils
from tqdm import tqdm

from analysis.stage import artifacts
from analysis.stage.artifacts import Analysis
from analysis.stage.command import make_parser, run_command
from segmentation import cpu_runtime, evaluate, markdown, metrics
from segmentation.data import coco_files, input_pipeline, label_spaces, transforms
from segmentation.data.masks import IGNORE

VERSION = 1
_BINS = 15  # of confidence
_SINGLE_CHANNEL = ('1', 'L', 'LA', 'La', 'F', 'I', 'I;16', 'I;16B', 'I;16L', 'I;16N')


def schema(class_names: tuple[str, ...], categories: tuple[str, ...]) -> pyarrow.Schema:
    """Columns of the table: each field with metadata `role` and `unit`.

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
            *(('image_id', integer, ''), ('file_name', text, '')),
            *(('split', text, ''), ('source_split', text, '')),
        ],
        'metadata': [
            *((name, integer, 'pixels') for name in ('width', 'height')),
            ('aspect_ratio', number, 'width / height'),
            *((f'percent_{name}', number, '% of pixels') for name in class_names),
            *((name, number, '0–255') for name in ('brightness', 'contrast')),
            ('sharpness', number, '(0–255)²'),
            ('saturation', number, '0–1'),
            ('hue_std', number, 'degrees'),
            *((name, boolean, '') for name in ('is_colored', 'is_grayscale')),
            ('crowd_percent', number, '% of photograph'),
            ('num_instances', integer, 'instances'),
            *((f'num_{name}', integer, 'instances') for name in foreground),
            *((f'mean_size_{name}', number, '% of photograph') for name in foreground),
            ('smallest_instance', number, '% of photograph'),
            ('truncated_share', number, '0–1'),
            *((f'count_{name}', integer, 'instances') for name in categories),
        ],
        'metric': [
            ('loss', number, 'nats per pixel'),
            *((f'iou_{name}', number, '0–1') for name in class_names),
            *((name, number, '0–1') for name in ('mean_iou_foreground', 'pixel_accuracy')),
            ('confidence', number, '0–1'),
            ('entropy', number, 'nats'),
            ('calibration_error', number, '0–1'),
        ],
    }
    fields = [
        pyarrow.field(name, kind, metadata={'role': role, 'unit': unit})
        for role, group in columns.items()
        for name, kind, unit in group
    ]
    names = [field.name for field in fields]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f'Two columns would be called {twice[0]!r}: rename the class or category.')
    return pyarrow.schema(fields)


def load(analysis: Analysis) -> pyarrow.Table:
    """The table of an analysis, one row per image in example order.

    Raises:
      ValueError: it is missing, damaged, or does not fit.
    """
    return artifacts.load_table(analysis, 'samples', VERSION)


def columns(table: pyarrow.Table, role: str) -> list[str]:
    """Names of the columns of a role, 'id', 'metadata' or 'metric', in order."""
    return [
        field.name for field in table.schema if (field.metadata or {}).get(b'role') == role.encode()
    ]


def numbers(table: pyarrow.Table, name: str) -> np.ndarray:
    """A column as float64 `[N]`, NaN for null, 0 and 1 for false and true."""
    return table[name].cast(pyarrow.float64()).to_numpy()


def describe_photograph(pixels: np.ndarray) -> dict[str, float | bool | None]:
    """What can be said of a photograph without its annotations; see the module's docstring.

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

    A pixel is a vector in the plane across the gray axis; its angle is its hue, its length its
    chroma. So the weighted mean direction is the mean of these vectors over that of their lengths.
    """
    red, green, blue = channels.astype(np.float32)
    chroma = (red - (green + blue) / 2) + 1j * np.sqrt(np.float32(0.75)) * (green - blue)
    resultant = abs(chroma.mean()) / np.abs(chroma).mean()
    return float(np.degrees(np.sqrt(-2 * np.log(np.clip(resultant, 1e-6, 1)))))


def describe_annotations(
    record: dict, categories: dict[int, str], classes: dict[int, int], class_names: tuple[str, ...]
) -> dict[str, float | int | None]:
    """What the annotations of an image say, but for its label; see the module's docstring.

    Args:
      record: of a `coco.CocoSplit`.
      categories: names by category id.
      classes: class by category id; categories that are in no class are left out.
      class_names: background first.
    """
    height, width = int(record['height']), int(record['width'])
    instances = record['instances']
    kinds, crowd = instances['category_id'], instances['is_crowd'].astype(np.bool_)
    label = np.array([classes.get(int(kind), 0) for kind in kinds], np.int64)
    counted = (label > 0) & ~crowd
    masks = [{'size': [height, width], 'counts': rle} for rle in instances['rle']]
    areas = mask_utils.area(masks) if masks else np.zeros(0)
    percents = 100 * areas / (height * width)
    counted &= areas > 0  # an annotation can be empty at the photograph's scale
    crowds = [masks[i] for i in np.flatnonzero((label > 0) & crowd)]
    result = {
        'width': width,
        'height': height,
        'aspect_ratio': width / height,
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


@jax.jit
def _pixel_scores(logits: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Most probable class, its probability, and the entropy in nats of each pixel."""
    log_probability = jax.nn.log_softmax(logits)
    probability = jax.numpy.exp(log_probability)
    entropy = -(probability * log_probability).sum(-1)
    return logits.argmax(-1), probability.max(-1), entropy


def image_metrics(
    logits: jax.Array, label: np.ndarray, class_names: tuple[str, ...]
) -> list[dict[str, float | None]]:
    """The metrics of each image of a batch, by column name.

    Args:
      logits: float32 `[B, S, S, C]`.
      label: uint8 `[B, S, S]`, 255 for pixels that do not count; where none counts, all are None.
      class_names: C of them.
    """
    loss = np.asarray(evaluate.image_loss(logits, label))
    parts = (np.asarray(part) for part in _pixel_scores(logits))
    return [_metrics(*row, class_names) for row in zip(loss.tolist(), label, *parts, strict=True)]


def _metrics(
    loss: float,
    label: np.ndarray,
    predicted: np.ndarray,
    confidence: np.ndarray,
    entropy: np.ndarray,
    class_names: tuple[str, ...],
) -> dict[str, float | None]:
    valid = label != IGNORE
    if not valid.any():
        return {}
    iou = metrics.iou(metrics.confusion_matrix(label, predicted, len(class_names)))
    exists = ~np.isnan(iou)
    right, confidence = (predicted == label)[valid], confidence[valid].astype(np.float64)
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    excess = np.bincount(bins, right - confidence, _BINS)  # n_b · (accuracy_b - confidence_b)
    return {
        'loss': loss,
        **{
            f'iou_{name}': float(value) if there else None
            for name, value, there in zip(class_names, iou, exists, strict=True)
        },
        'mean_iou_foreground': float(iou[1:][exists[1:]].mean()) if exists[1:].any() else None,
        'pixel_accuracy': float(right.mean()),
        'confidence': float(confidence.mean()),
        'entropy': float(entropy[valid].mean(dtype=np.float64)),
        'calibration_error': float(np.abs(excess).sum() / len(right)),
    }


def _percents(label: np.ndarray, class_names: tuple[str, ...]) -> dict[str, float | None]:
    counts = np.bincount(label.ravel(), minlength=256)[: len(class_names)]
    total = counts.sum()
    return {
        f'percent_{name}': 100 * float(count / total) if total else None
        for name, count in zip(class_names, counts, strict=True)
    }


def compute(analysis: Analysis, progress: bool = True) -> pyarrow.Table:
    """One pass over the images: the network on the device, the photographs as they are beside it.

    Args:
      analysis: whose images.
      progress: show a bar.
    """
    run, examples = analysis.run, analysis.examples
    known = examples.splits[0].categories
    categories = {category.id: category.name for category in known}
    space = label_spaces.parse_label_space(run.config.data.label_space)
    classes = space.category_to_class(known)
    fields = schema(run.class_names, tuple(categories.values()))

    def describe(index: int) -> dict:
        record = examples.record(index)
        size = int(record['width']), int(record['height'])
        mode = Image.open(io.BytesIO(record['image']), formats=coco_files.IMAGE_FORMATS).mode
        return {
            'image_id': int(examples.image_ids[index]),
            'file_name': record['file_name'],
            'split': analysis.split,
            'source_split': examples.splits[examples.split_of[index]].name,
            'is_colored': mode not in _SINGLE_CHANNEL,
            **describe_photograph(np.asarray(transforms.decode_image(record['image'], size))),
            **describe_annotations(record, categories, classes, run.class_names),
        }

    def rows() -> Iterator[list[dict]]:
        predict = evaluate.make_predict(run.model, run.config.data.input_range)
        batches = input_pipeline.evaluation_batches(examples, batch_size=run.config.eval_batch_size)
        results = evaluate.predictions(predict, evaluate.replicate(run.variables), batches)
        with concurrent.futures.ThreadPoolExecutor(run.config.data.threads) as pool:
            for batch, logits in results:
                described = pool.map(describe, batch['index'][batch['index'] >= 0].tolist())
                measured = image_metrics(logits, batch['label'], run.class_names)
                yield [
                    {**row, **_percents(label, run.class_names), **scores}
                    for row, label, scores in zip(described, batch['label'], measured, strict=False)
                ]

    description = f'samples, {analysis.split} at step {run.step}'
    parts = []
    with tqdm(total=len(examples), desc=description, unit='img', disable=not progress) as bar:
        for part in rows():
            parts.append(pyarrow.RecordBatch.from_pylist(part, schema=fields))
            bar.update(len(part))
    return pyarrow.Table.from_batches(parts, fields)


def compute_or_load(analysis: Analysis, force: bool = False) -> pyarrow.Table:
    """The table as it was written before, or computed and written now.

    Raises:
      ValueError: a table is there that is damaged or of other images, and `force` is not given.
    """
    origin = artifacts.origin(analysis)
    if not force and artifacts.is_current(analysis, 'samples.parquet', VERSION, origin):
        return load(analysis)
    table = compute(analysis)
    artifacts.save_table(analysis, 'samples', VERSION, table, origin)
    return table


def summarize(table: pyarrow.Table) -> dict:
    """For JSON: by role and column the unit, how many images have a value, and how it varies."""
    result = {'num_images': len(table), 'metadata': {}, 'metric': {}}
    for role in ('metadata', 'metric'):
        for name in columns(table, role):
            values = numbers(table, name)
            values = values[~np.isnan(values)]
            row = {'unit': table.schema.field(name).metadata[b'unit'].decode(), 'n': len(values)}
            if len(values):
                low, middle, high = np.percentile(values, [5, 50, 95])
                row |= {
                    'mean': float(values.mean()),
                    'standard_deviation': float(values.std()),
                    'percentiles_5_50_95': [float(low), float(middle), float(high)],
                    'images_above_0': int((values > 0).sum()),
                }
            result[role][name] = row
    return result


def to_markdown(summary: dict) -> str:
    """The summary as tables; of categories only those that occur, most frequent first."""

    def row(name, column):
        if not column['n']:
            return name, column['unit'], '0', '–', '–', '–', '–', '–'
        spread = column['mean'], column['standard_deviation'], *column['percentiles_5_50_95']
        return name, column['unit'], str(column['n']), *(f'{value:.4g}' for value in spread)

    header = ('column', 'unit', 'images', 'mean', 's.d.', '5 %', 'median', '95 %')
    counts = {
        name: column for name, column in summary['metadata'].items() if name.startswith('count_')
    }
    others = {name: column for name, column in summary['metadata'].items() if name not in counts}
    found = [(name, column) for name, column in counts.items() if column.get('images_above_0')]
    found.sort(key=lambda item: -item[1]['images_above_0'])
    return '\n\n'.join(
        [
            f'{summary["num_images"]} images. Metrics:',
            markdown.table(header, (row(*item) for item in summary['metric'].items())),
            'Metadata:',
            markdown.table(header, (row(*item) for item in others.items())),
            f'Categories, of which {len(counts) - len(found)} never occur:',
            markdown.table(
                ('category', 'completely annotated in', 'images with it', 'instances per image'),
                (
                    (
                        name.removeprefix('count_'),
                        str(column['n']),
                        str(column['images_above_0']),
                        f'{column["mean"]:.3g}',
                    )
                    for name, column in found
                ),
            ),
        ]
    )


def _run(arguments: argparse.Namespace) -> dict:
    analysis = artifacts.open_chosen(arguments)
    summary = summarize(compute_or_load(analysis, arguments.force))
    print(f'{analysis.folder / "samples.parquet"}:', to_markdown(summary), sep='\n\n')
    return summary


def main(argv: list[str] | None = None) -> int:
    parser = make_parser('samples', __doc__)
    parser.add_argument('--force', action='store_true', help='compute the table again')
    return run_command(parser.parse_args(argv), _run)


if __name__ == '__main__':
    cpu_runtime.configure()
    sys.exit(main())
