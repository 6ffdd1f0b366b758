"""Draws pictures of the images for the report: image, ground truth, prediction and errors.

    python -m analysis.pictures --workdir runs/person_car --split val

Writes thumbnails of all images, on sheets, and large pictures of the most interesting images: the
worst by loss and by IoU, exemplars of the clusters, label issues, and the worst of each slice, as
far as these stages were run. Pictures that exist are kept: the same command continues after an
interruption, and adds what other stages have found since.
"""

import argparse
import hashlib
import json
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

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
from analysis.pictures.schema import Pictures, Scale
from analysis.predictions import stage as predictions
from analysis.predictions.schema import Predictions
from analysis.samples import stage as samples
from analysis.samples.schema import Samples, numbers
from analysis.slices import stage as slices
from analysis.slices.schema import Slices
from analysis.stage import artifacts, command, storage
from analysis.stage.contract import Stage
from analysis.stage.run import Analysis, open_chosen, restrict
from analysis.stage.view import View
from segmentation import evaluate, losses
from segmentation.data import input_pipeline, transforms
from segmentation.data.masks import IGNORE, nearest_indices
from segmentation.files import replacing, write_text

LARGE = 320  # pixels, the longer side of large pictures
HIGHEST_LOSS = 4.0  # nats: a probability of 2 % for the true class


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
    return {
        'image': np.asarray(small),
        'truth': images.color_classes(label),
        'prediction': images.color_classes(predicted),
        'error': images.color_errors(label, predicted),
    }


def _write(path: pathlib.Path, data: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(data)


def write_sheet(folder: pathlib.Path, number: int, tiles: list[dict[str, np.ndarray]]) -> None:
    """Writes the sheets of up to PER_SHEET images; if the last kind exists, all do."""
    side, columns = schema.THUMB, schema.COLUMNS
    lines = -(-len(tiles) // columns)
    for kind in schema.SHEET_KINDS:
        sheet = np.zeros((lines * side, columns * side, tiles[0][kind].shape[-1]), np.uint8)
        for place, tile in enumerate(tiles):
            y, x = (side * index for index in divmod(place, columns))
            sheet[y : y + side, x : x + side] = tile[kind]
        quality = 75 if kind == 'image' else None
        _write(folder / schema.sheet_path(number, kind), images.encode(sheet, quality))


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
    predicted = probability.argmax(-1)
    pixels = {
        'truth': images.color_classes(label),
        'prediction': images.color_classes(predicted),
        'error': images.color_errors(label, predicted),
        'loss': images.color_heat(loss * (label != IGNORE) / HIGHEST_LOSS),
    }
    for k, name in enumerate(class_names[1:], 1):
        pixels[f'class {name}'] = images.color_heat(probability[..., k])
    image = image.convert('RGB')
    image.thumbnail((LARGE, LARGE))
    for kind, path in schema.detail_paths(row, class_names).items():
        is_image = kind == 'image'
        shown = np.asarray(image) if is_image else pixels[kind]
        _write(folder / path, images.encode(shown, 80 if is_image else None))


def interesting(view: View, most: int) -> list[int]:
    """Rows that people will want to look at, in the order of the stages that found them.

    Args:
      view: its samples are needed; clusters, label issues and slices count if they exist.
      most: maximum number of rows.
    """
    table = artifacts.load(view, Samples).table
    loss, iou = numbers(table, 'loss'), numbers(table, 'mean_iou_foreground')
    queues: list[Any] = [
        np.argsort(-loss, kind='stable'), np.argsort(iou, kind='stable')[: len(iou) // 4]
    ]  # fmt: skip
    if artifacts.exists(view, Clusters):
        found = artifacts.load(view, Clusters).clusters
        queues += [cluster.exemplars for cluster in found]
        queues += [cluster.diverse for cluster in found]
    if artifacts.exists(view, LabelIssues):
        regions = artifacts.load(view, LabelIssues).regions.sort_by([('score', 'descending')])
        for kind in KINDS:
            mine = regions.filter(pyarrow.compute.field('kind') == kind)
            queues.append(mine['row'].to_pylist())
    if artifacts.exists(view, Slices):
        for part in artifacts.load(view, Slices).metrics.values():
            queues += [found_slice.worst for found_slice in part.slices]
    # One of each in turn.
    chosen: dict[int, None] = {}
    queues = [[int(row) for row in queue if row >= 0] for queue in queues]
    for turn in range(max(map(len, queues))):
        for queue in queues:
            if turn < len(queue) and len(chosen) < most:
                chosen.setdefault(queue[turn])
    return list(chosen)


@jax.jit
def _probability_and_loss(logits: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.nn.softmax(logits), losses.cross_entropy(logits, label)


def _network_output(analysis: Analysis, rows: np.ndarray) -> Iterator[tuple]:
    """(row, label, probability, loss per pixel) of some images, in order."""
    run = analysis.run
    predict = evaluate.make_predict(run.model, run.config.data.input_range)
    batches = input_pipeline.evaluation_batches(
        restrict(analysis, rows).examples, batch_size=run.config.eval_batch_size
    )
    for batch, logits in evaluate.predictions(predict, evaluate.replicate(run.variables), batches):
        found = (np.asarray(part) for part in _probability_and_loss(logits, batch['label']))
        parts = zip(batch['index'], batch['label'], *found, strict=True)
        yield from ((int(rows[index]), *rest) for index, *rest in parts if index >= 0)


def _open_folder(analysis: Analysis) -> pathlib.Path:
    """The folder, emptied if its pictures are of other predictions."""
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
    return folder


def _size(folder: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def compute(analysis: Analysis, details: int = 400) -> Pictures:
    """Writes the pictures that do not exist yet.

    Args:
      analysis: whose images.
      details: maximum number of images with large pictures.

    Raises:
      ValueError: `details` is negative.
    """
    if details < 0:
        raise ValueError(f'--details={details} must not be negative.')
    folder, total, names = _open_folder(analysis), len(analysis), analysis.class_names
    predicted = artifacts.load(analysis, Predictions)
    num_sheets = -(-total // schema.PER_SHEET)
    chosen = interesting(analysis, details)
    sheets = [
        number
        for number in range(num_sheets)
        if not (folder / schema.sheet_path(number, schema.SHEET_KINDS[-1])).exists()
    ]
    title = f'thumbnails, {analysis.split} at step {analysis.step}'
    for number in tqdm(sheets, desc=title, unit='sheet'):
        first = number * schema.PER_SHEET
        rows = np.arange(first, min(first + schema.PER_SHEET, total))
        batches = input_pipeline.evaluation_batches(
            restrict(analysis, rows).examples, batch_size=len(rows)
        )
        batch = next(batches)
        tiles = [
            thumbnails(batch['image'][place], batch['label'][place], predicted.class_map(row))
            for place, row in enumerate(rows.tolist())
        ]
        write_sheet(folder, number, tiles)
    missing = np.array(
        sorted(
            row
            for row in chosen
            if not (folder / schema.detail_paths(row, names)['image']).exists()
        ),
        np.int64,
    )
    title = f'large pictures, {analysis.split} at step {analysis.step}'
    for row, label, probability, loss in tqdm(
        _network_output(analysis, missing), desc=title, unit='img', total=len(missing)
    ):
        record = analysis.examples.record(row)
        image = transforms.decode_image(
            record['image'], (int(record['width']), int(record['height']))
        )
        write_details(folder, row, names, image, label, probability, loss)
    return describe(
        num_sheets, chosen, _size(folder / 'sheets') / total,
        _size(folder / 'details') / max(1, len(list((folder / 'details').glob('*-image.webp')))),
    )  # fmt: skip


def describe(
    num_sheets: int, details: list[int], bytes_per_thumbnail: float, bytes_per_detail: float
) -> Pictures:
    """The artifact; the arguments are its fields."""
    colors = images.heat_colors()
    return Pictures(
        thumb_size=schema.THUMB,
        columns=schema.COLUMNS,
        per_sheet=schema.PER_SHEET,
        num_sheets=num_sheets,
        details=tuple(details),
        error_colors=palette.ERRORS,
        scales={
            'loss': Scale(colors, 0, HIGHEST_LOSS, 'nats'),
            'probability': Scale(colors, 0, 1, 'probability'),
        },
        bytes_per_thumbnail=bytes_per_thumbnail,
        bytes_per_detail=bytes_per_detail,
    )


def table(result: Pictures) -> str:
    """How many pictures there are, and their sizes."""
    return (
        f'{result.num_sheets} sheets of thumbnails, {result.bytes_per_thumbnail / 1000:.1f} KB per '
        f'image with ground truth, prediction and errors; large pictures of {len(result.details)} '
        f'images, {result.bytes_per_detail / 1000:.0f} KB each.'
    )


STAGE = Stage(
    Pictures,
    __doc__,
    compute,
    table,
    reads=(predictions.STAGE, samples.STAGE),
    reads_if_there=(clusters.STAGE, label_issues.STAGE, slices.STAGE),
)


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    analysis = open_chosen(arguments)
    if arguments.force:
        shutil.rmtree(analysis.folder / 'pictures', ignore_errors=True)
    result = STAGE.get(analysis, arguments.force, details=arguments.details)
    print(f'{analysis.folder / "pictures"}:', table(result), sep='\n\n')
    return storage.to_json(result)


def main(argv: list[str] | None = None) -> int:
    parser = command.make_parser('pictures', __doc__)
    parser.add_argument(
        '--details',
        type=int,
        default=400,
        help='maximum number of images with large pictures; default: %(default)s',
    )
    parser.add_argument('--force', action='store_true', help='write all pictures again')
    return command.run_command(parser.parse_args(argv), _run)
