"""Draws pictures of the images for the report: image, ground truth, prediction and errors."""

import hashlib
import itertools
import json
import pathlib
import shutil
from collections.abc import Iterator, Sequence

import jax
import numpy as np
import pyarrow.compute
from PIL import Image
from tqdm import tqdm

from analysis.clusters import stage as clusters
from analysis.clusters.schema import Clusters
from analysis.figures import images, palette
from analysis.label_issues import stage as label_issues
from analysis.label_issues.schema import KINDS, LabelIssues
from analysis.pictures import schema
from analysis.pictures.options import make_parser
from analysis.pictures.schema import Pictures, Scale
from analysis.predictions import stage as predictions
from analysis.predictions.schema import Predictions
from analysis.samples import stage as samples
from analysis.samples.schema import Samples, numbers
from analysis.slices import stage as slices
from analysis.slices.schema import Slices
from analysis.stage import artifacts, shards
from analysis.stage.contract import Stage
from analysis.stage.forward import forward
from analysis.stage.run import Analysis, restrict
from analysis.stage.view import View
from segmentation import losses
from segmentation.data import input_pipeline, transforms
from segmentation.data.masks import IGNORE, nearest_indices
from segmentation.files import replacing, write_text

LARGE = 320  # pixels, the longer side of large pictures
HIGHEST_LOSS = 4.0  # nats: a probability of 2 % for the true class


def _overlays(label: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    is_labeled = bool((label != IGNORE).any())
    return {
        'truth': images.color_classes(label * is_labeled),
        'prediction': images.color_classes(predicted),
        'error': images.color_errors(label, predicted),
    }


def thumbnails(
    image: np.ndarray, label: np.ndarray, predicted: np.ndarray
) -> dict[str, np.ndarray]:
    """The thumbnails of an image by kind of sheet, uint8 `[THUMB, THUMB, 3 or 4]`.

    Args:
      image: uint8 `[S, S, 3]`.
      label: uint8 `[S, S]`, 255 for pixels that do not count.
      predicted: integer `[S, S]`.
    """
    side = schema.THUMB
    small = Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)
    nearest = nearest_indices(len(label), side)
    label, predicted = (classes[nearest][:, nearest] for classes in (label, predicted))
    return {'image': np.asarray(small), **_overlays(label, predicted)}


def _write(path: pathlib.Path, pixels: np.ndarray, quality: int | None) -> None:
    with replacing(path) as partial:
        partial.write_bytes(images.encode(pixels, quality))


def write_sheet(folder: pathlib.Path, number: int, tiles: list[dict[str, np.ndarray]]) -> None:
    """Writes the sheets of up to PER_SHEET results of `thumbnails`; if the last exists, all do."""
    side, columns = schema.THUMB, schema.COLUMNS
    lines = -(-len(tiles) // columns)
    for kind in schema.SHEET_KINDS:
        sheet = np.zeros((lines * side, columns * side, tiles[0][kind].shape[-1]), np.uint8)
        for place, tile in enumerate(tiles):
            y, x = (side * index for index in divmod(place, columns))
            sheet[y : y + side, x : x + side] = tile[kind]
        _write(folder / schema.sheet_path(number, kind), sheet, 75 if kind == 'image' else None)


def write_details(
    folder: pathlib.Path,
    row: int,
    class_names: tuple[str, ...],
    image: Image.Image,
    label: np.ndarray,
    probability: np.ndarray,
    loss: np.ndarray,
) -> None:
    """Writes the large pictures of a row.

    Args:
      folder: of the pictures.
      row: of the image.
      class_names: C of them, background first.
      image: at any resolution.
      label: uint8 `[S, S]`.
      probability: float32 `[S, S, C]`.
      loss: float32 `[S, S]`, nats.
    """
    image = image.convert('RGB')
    image.thumbnail((LARGE, LARGE))
    pixels = {
        'image': np.asarray(image),
        **_overlays(label, probability.argmax(-1)),
        'loss': images.color_heat(loss * (label != IGNORE) / HIGHEST_LOSS),
    }
    for k, name in enumerate(class_names[1:], 1):
        pixels[f'class {name}'] = images.color_heat(probability[..., k])
    for kind, path in schema.detail_paths(row, class_names).items():
        _write(folder / path, pixels[kind], 80 if kind == 'image' else None)


def interesting(view: View, most: int) -> list[int]:
    """The most interesting rows according to the stages that were run; `samples` is needed."""
    table = artifacts.load(view, Samples).table
    loss, iou = numbers(table, 'loss'), numbers(table, 'mean_iou_foreground')
    queues: list[Sequence[int]] = [np.argsort(-loss, kind='stable').tolist()]
    queues.append(np.argsort(iou, kind='stable')[: len(iou) // 4].tolist())
    if artifacts.exists(view, Clusters):
        found = artifacts.load(view, Clusters).clusters
        queues += [cluster.exemplars for cluster in found]
        queues += [cluster.diverse for cluster in found]
    if artifacts.exists(view, LabelIssues):
        regions = artifacts.load(view, LabelIssues).regions.sort_by([('probability', 'descending')])
        for kind in KINDS:
            mine = regions.filter(pyarrow.compute.field('kind') == kind)
            queues.append(mine['row'].to_pylist())
    if artifacts.exists(view, Slices):
        for part in artifacts.load(view, Slices).metrics.values():
            queues += [found_slice.worst for found_slice in part.slices]
    # One of each in turn.
    turns = itertools.zip_longest(*queues)
    in_turn = (row for turn in turns for row in turn if row is not None)
    return list(itertools.islice(dict.fromkeys(in_turn), most))


@jax.jit
def _probability_and_loss(logits: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.nn.softmax(logits), losses.cross_entropy(logits, label)


def _network_output(analysis: Analysis, rows: np.ndarray) -> Iterator[tuple]:
    """(row, label, probability, loss per pixel) of some images, in order."""
    for places, batch, logits in forward(restrict(analysis, rows), 'large pictures'):
        found = (np.asarray(part) for part in _probability_and_loss(logits, batch['label']))
        yield from zip(rows[places].tolist(), batch['label'], *found, strict=False)


def _open_folder(analysis: Analysis) -> None:
    """Makes the folder, or empties it if its pictures are of other predictions."""
    folder = analysis.folder / 'pictures'
    identity = {
        'version': Pictures.VERSION, **analysis.identity(),
        **artifacts.digests(analysis, [Predictions.NAME]),
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    marker = folder / 'made_of.txt'
    if not marker.is_file() or marker.read_text() != digest:
        shutil.rmtree(folder, ignore_errors=True)
    for part in ('sheets', 'details'):
        (folder / part).mkdir(parents=True, exist_ok=True)
    write_text(marker, digest)


def _size(folder: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def compute(analysis: Analysis, details: int = 400) -> Pictures:
    """Writes the pictures that do not exist yet, large ones of at most `details` images.

    Raises:
      ValueError: `details` is negative.
    """
    if details < 0:
        raise ValueError(f'--details={details} must not be negative.')
    shards.by_first(lambda: _open_folder(analysis))
    folder, num_sheets = analysis.folder / 'pictures', -(-len(analysis) // schema.PER_SHEET)
    chosen = interesting(analysis, details)
    with shards.together():
        _write_missing(analysis, folder, num_sheets, chosen)
    shards.only_first()
    return describe(
        num_sheets, chosen, _size(folder / 'sheets') / len(analysis),
        _size(folder / 'details') / max(1, len(list((folder / 'details').glob('*-image.webp')))),
    )  # fmt: skip


def _write_missing(
    analysis: Analysis, folder: pathlib.Path, num_sheets: int, chosen: list[int]
) -> None:
    """Writes this process' part of the pictures, unless they exist."""
    total, names = len(analysis), analysis.class_names
    predicted = artifacts.load(analysis, Predictions)
    title = f'thumbnails, {analysis.split} at step {analysis.step}'
    for number in tqdm(shards.part_of(range(num_sheets)), desc=title, unit='sheet'):
        if (folder / schema.sheet_path(number, schema.SHEET_KINDS[-1])).exists():
            continue
        first = number * schema.PER_SHEET
        rows = np.arange(first, min(first + schema.PER_SHEET, total))
        some = restrict(analysis, rows).examples
        batch = next(input_pipeline.evaluation_batches(some, batch_size=len(rows)))
        tiles = [
            thumbnails(batch['image'][place], batch['label'][place], predicted.class_map(row))
            for place, row in enumerate(rows.tolist())
        ]
        write_sheet(folder, number, tiles)
    missing = [
        row
        for row in shards.part_of(sorted(chosen), analysis.run.device_batch_size)
        if not (folder / schema.detail_paths(row, names)['image']).exists()
    ]
    for row, label, probability, loss in _network_output(analysis, np.array(missing, np.int64)):
        record = analysis.examples.record(row)
        image = transforms.decode_record(record)
        write_details(folder, row, names, image, label, probability, loss)


def describe(
    num_sheets: int, details: list[int], bytes_per_thumbnail: float, bytes_per_detail: float
) -> Pictures:
    """Makes the artifact; the arguments are its fields."""
    colors = images.heat_colors()
    scales = {
        'loss': Scale(colors, 0, HIGHEST_LOSS, 'nats'),
        'probability': Scale(colors, 0, 1, 'probability'),
    }
    return Pictures(
        schema.THUMB, schema.COLUMNS, schema.PER_SHEET, num_sheets, tuple(details), palette.ERRORS,
        scales, bytes_per_thumbnail, bytes_per_detail,
    )  # fmt: skip


def table(result: Pictures) -> str:
    """How many pictures there are, and their sizes."""
    return (
        f'In pictures/: {result.num_sheets} sheets of thumbnails, '
        f'{result.bytes_per_thumbnail / 1000:.1f} KB per image with ground truth, prediction and '
        f'errors; large pictures of {len(result.details)} images, '
        f'{result.bytes_per_detail / 1000:.0f} KB each.'
    )


STAGE = Stage(
    Pictures,
    make_parser,
    compute,
    table,
    reads=(predictions.STAGE, samples.STAGE),
    reads_if_there=(clusters.STAGE, label_issues.STAGE, slices.STAGE),
    parts=('pictures',),
    shared=True,
)
main = STAGE.main
