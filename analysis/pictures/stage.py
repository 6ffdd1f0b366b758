"""Pictures of every image for the report: photograph, truth, prediction and where they differ.

    python -m analysis.pictures --workdir runs/person_car --split val

Runs the network once and writes into the run's `analysis/<split>-<step>/pictures/`: thumbnails of
all images, on sheets, and large pictures of those that one will want to look at (--details): the
worst by loss and by IoU, exemplars of the clusters, suspicious labels and the worst of each slice,
as far as these analyses were made. Stopped, it continues; started again later, it adds the images
that have become of interest.

pictures.json (kind 'pictures', version 1), beside that folder; paths are relative to it:
    thumb_size       pixels a side of a thumbnail, which is squeezed to a square
    columns, per_sheet    image r is on sheet r // per_sheet, at place r % per_sheet, line by line
    sheets           per sheet: image, truth, prediction, error
    details          by row (as text), the most interesting first: image (at most 320 pixels, in
                     its own shape), and at the network's resolution truth, prediction, error, loss,
                     and classes: probability of each class but background
    error_colors     missed (object taken for background), invented (the reverse), confused
                     (one class taken for another)
    scales           of loss and probability: colors from low to high, low, high, unit

All are WebP. All but the photographs have transparent parts and lie over the photograph: truth and
prediction in the classes' colours (`segmentation.overlays`), where pixels that do not count are
white.
"""

import argparse
import io
import pathlib
import shutil
from collections.abc import Iterable, Iterator

import jax
import matplotlib
import numpy as np
import pyarrow.compute
from PIL import Image
from tqdm import tqdm

from analysis.clusters import stage as clusters
from analysis.label_issues import stage as label_issues
from analysis.samples import stage as samples
from analysis.slices import stage as slices
from analysis.stage import old_artifacts as artifacts
from analysis.stage.command import make_parser, run_command
from analysis.stage.run import Analysis, restrict
from segmentation import evaluate, losses, overlays
from segmentation.data import input_pipeline, masks, transforms
from segmentation.data.annotations import is_safe_name

VERSION = 1
THUMB, COLUMNS = 96, 6
PER_SHEET = COLUMNS * COLUMNS
SHEET_KINDS = 'image', 'truth', 'prediction', 'error'
LARGE = 320  # pixels, the longer side
# Unlike the first classes' colours, and told apart by colour-blind people (after Tol, and Okabe).
ERROR_COLORS = {'missed': '#EE3377', 'invented': '#009988', 'confused': '#F0E442'}
HIGHEST_LOSS = 4.0  # nats: a probability of 2 % for the right class
_LEVELS = 24  # of heat-maps: as many as one can tell apart, so that the files are small


def encode(pixels: np.ndarray, **options) -> bytes:
    """A WebP file of uint8 `[H, W, 3 or 4]`; without options it is lossless."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'WEBP', method=2, **(options or {'lossless': True}))
    return buffer.getvalue()


def color_classes(label: np.ndarray) -> np.ndarray:
    """The classes' colours, uint8 `[H, W, 4]`; background is transparent."""
    opacity = np.where(label > 0, 255, 0).astype(np.uint8)
    return np.concatenate([overlays.colorize(label), opacity[..., None]], -1) * (opacity > 0)[
        ..., None
    ].astype(np.uint8)


def color_errors(label: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Where a prediction is wrong, and how (ERROR_COLORS), uint8 `[H, W, 4]`."""
    wrong = (label != predicted) & (label != masks.IGNORE)
    kind = np.where(predicted == 0, 1, np.where(label == 0, 2, 3)) * wrong
    colors = [[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in ERROR_COLORS.values()]
    palette = np.array([[0, 0, 0, 0], *([*color, 255] for color in colors)], np.uint8)
    return palette[kind]


def heat_palette() -> np.ndarray:
    """Colours of a heat-map from nothing (transparent) to most, uint8 `[L, 4]`."""
    share = np.linspace(0, 1, _LEVELS)
    colors = matplotlib.colormaps['inferno'](0.3 + 0.65 * share)
    colors[:, 3] = share**0.7
    return (255 * colors).round().astype(np.uint8) * (share > 0)[:, None].astype(np.uint8)


def color_heat(share: np.ndarray) -> np.ndarray:
    """A heat-map of numbers in [0, 1], uint8 `[H, W, 4]`."""
    return heat_palette()[(share.clip(0, 1) * (_LEVELS - 1)).round().astype(np.int64)]


def _scale(low: float, high: float, unit: str) -> dict:
    colors = heat_palette()[:: _LEVELS // 8].tolist()
    css = [f'rgba({r}, {g}, {b}, {a / 255:.2f})' for r, g, b, a in colors]
    return {'colors': css, 'low': low, 'high': high, 'unit': unit}


def thumbnails(
    image: np.ndarray, label: np.ndarray, predicted: np.ndarray
) -> dict[str, np.ndarray]:
    """The tiles of an image by kind of sheet, uint8 `[THUMB, THUMB, 3 or 4]`.

    Args:
      image: uint8 `[S, S, 3]`.
      label: uint8 `[S, S]`, 255 for pixels that do not count.
      predicted: integer `[S, S]`.
    """
    small = Image.fromarray(image).resize((THUMB, THUMB), Image.Resampling.LANCZOS)
    nearest = masks.nearest_indices(len(label), THUMB)
    label, predicted = (classes[nearest][:, nearest] for classes in (label, predicted))
    return {
        'image': np.asarray(small),
        'truth': color_classes(label),
        'prediction': color_classes(predicted),
        'error': color_errors(label, predicted),
    }


def sheet_path(number: int, kind: str) -> str:
    return f'sheets/{number:05d}-{kind}.webp'


def write_sheet(folder: pathlib.Path, number: int, tiles: list[dict[str, np.ndarray]]) -> None:
    """Writes the sheets of up to PER_SHEET images; the last kind is there only if all are."""
    lines = -(-len(tiles) // COLUMNS)
    for kind in SHEET_KINDS:
        sheet = np.zeros((lines * THUMB, COLUMNS * THUMB, tiles[0][kind].shape[-1]), np.uint8)
        for place, tile in enumerate(tiles):
            y, x = (THUMB * index for index in divmod(place, COLUMNS))
            sheet[y : y + THUMB, x : x + THUMB] = tile[kind]
        data = encode(sheet, quality=75) if kind == 'image' else encode(sheet)
        _write(folder / sheet_path(number, kind), data)


def _write(path: pathlib.Path, data: bytes) -> None:
    partial = path.with_name(f'.{path.name}')
    partial.write_bytes(data)
    partial.replace(path)


def detail_paths(row: int, num_classes: int) -> dict:
    """Where the large pictures of a row are; the image is written last."""
    start = f'details/{row}'
    kinds = ('truth', 'prediction', 'error', 'loss')
    return {
        **{kind: f'{start}-{kind}.webp' for kind in kinds},
        'classes': [f'{start}-class{k}.webp' for k in range(1, num_classes)],
        'image': f'{start}-image.webp',
    }


def write_details(
    folder: pathlib.Path,
    row: int,
    photograph: Image.Image,
    label: np.ndarray,
    probability: np.ndarray,
    loss: np.ndarray,
) -> None:
    """Writes the large pictures of a row.

    Args:
      folder: of the pictures.
      row: of the image.
      photograph: RGB, at any resolution.
      label: uint8 `[S, S]`.
      probability: float32 `[S, S, C]`.
      loss: float32 `[S, S]`, nats.
    """
    paths, predicted = detail_paths(row, probability.shape[-1]), probability.argmax(-1)
    for kind, pixels in (
        ('truth', color_classes(label)),
        ('prediction', color_classes(predicted)),
        ('error', color_errors(label, predicted)),
        ('loss', color_heat(loss * (label != masks.IGNORE) / HIGHEST_LOSS)),
    ):
        _write(folder / paths[kind], encode(pixels))
    for path, share in zip(paths['classes'], np.moveaxis(probability, -1, 0)[1:], strict=True):
        _write(folder / path, encode(color_heat(share)))
    photograph = photograph.convert('RGB')
    photograph.thumbnail((LARGE, LARGE))
    _write(folder / paths['image'], encode(np.asarray(photograph), quality=80))


def interesting(analysis: Analysis, most: int) -> list[int]:
    """Rows that one will want to look at closely, those first that come first in their analysis.

    Args:
      analysis: its samples are needed; clusters, label issues and slices count if they are there.
      most: at most so many.
    """
    table = samples.load(analysis)
    number = {int(image_id): row for row, image_id in enumerate(analysis.examples.image_ids)}
    loss = samples.numbers(table, 'loss')
    iou = samples.numbers(table, 'mean_iou_foreground')
    queues = [np.argsort(-loss, kind='stable'), np.argsort(iou, kind='stable')[: len(iou) // 4]]
    if (analysis.folder / 'clusters.json').exists():
        arrays = clusters.load(analysis)
        queues += [row for name in ('exemplars', 'diverse') for row in arrays[name]]
    if (analysis.folder / 'label_issues.json').exists():
        regions = label_issues.load(analysis)[0].sort_by([('score', 'descending')])
        for kind in label_issues.KINDS:
            mine = regions.filter(pyarrow.compute.field('kind') == kind)['image_id']
            queues.append([number[image_id] for image_id in mine.to_pylist()])
    if (analysis.folder / 'slices.json').exists():
        for part in slices.load(analysis)['metrics'].values():
            queues += [[number[image_id] for image_id in row['worst']] for row in part['slices']]
    # One of each in turn.
    chosen = {}
    queues = [[int(row) for row in queue if row >= 0] for queue in queues]
    for turn in range(max(map(len, queues))):
        for queue in queues:
            if turn < len(queue) and len(chosen) < most:
                chosen.setdefault(queue[turn])
    return list(chosen)


@jax.jit
def _probability_and_loss(logits: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.nn.softmax(logits), losses.cross_entropy(logits, label)


def _predictions(analysis: Analysis, rows: np.ndarray) -> Iterator[tuple]:
    """(row, image, label, probability, loss per pixel) of some images, in order."""
    run = analysis.run
    predict = evaluate.make_predict(run.model, run.config.data.input_range)
    batches = input_pipeline.evaluation_batches(
        restrict(analysis, rows).examples, batch_size=run.config.eval_batch_size
    )
    for batch, logits in evaluate.predictions(predict, evaluate.replicate(run.variables), batches):
        found = (np.asarray(part) for part in _probability_and_loss(logits, batch['label']))
        parts = zip(batch['index'], batch['image'], batch['label'], *found, strict=True)
        yield from ((int(rows[index]), *rest) for index, *rest in parts if index >= 0)


def _detailed(folder: pathlib.Path, rows: Iterable[int]) -> set[int]:
    return {row for row in rows if (folder / f'details/{row}-image.webp').exists()}


def compute(analysis: Analysis, details: list[int], progress: bool = True) -> dict:
    """Writes the pictures that are not there yet.

    Args:
      analysis: whose images.
      details: rows that get large pictures.
      progress: show a bar.

    Returns:
      The content of pictures.json.
    """
    folder, total = analysis.folder / 'pictures', len(analysis.examples)
    count = -(-total // PER_SHEET)
    for name in ('sheets', 'details'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    missing = {
        sheet for sheet in range(count) if not (folder / sheet_path(sheet, 'error')).exists()
    }
    large = set(details) - _detailed(folder, details)
    rows = np.array([r for r in range(total) if r // PER_SHEET in missing or r in large], np.int64)
    tiles: list[dict[str, np.ndarray]] = []
    description = f'pictures, {analysis.split} at step {analysis.run.step}'
    with tqdm(total=len(rows), desc=description, unit='img', disable=not progress) as bar:
        for row, image, label, probability, loss in _predictions(analysis, rows):
            if row in large:
                record = analysis.examples.record(row)
                size = int(record['width']), int(record['height'])
                photograph = transforms.decode_image(record['image'], size)
                write_details(folder, row, photograph, label, probability, loss)
            sheet = row // PER_SHEET
            if sheet in missing:
                tiles.append(thumbnails(image, label, probability.argmax(-1)))
                if row + 1 == min(total, (sheet + 1) * PER_SHEET):
                    write_sheet(folder, sheet, tiles)
                    tiles.clear()
            bar.update()
    there = _detailed(folder, details)
    return describe(count, [row for row in details if row in there], analysis.run.class_names)


def describe(sheets: int, details: list[int], class_names: tuple[str, ...]) -> dict:
    """The content of pictures.json.

    Args:
      sheets: their number.
      details: rows with large pictures, the most interesting first.
      class_names: background first.
    """
    described = {}
    for row in details:
        paths = detail_paths(row, len(class_names))
        classes = dict(zip(class_names[1:], paths['classes'], strict=True))
        described[str(row)] = {**paths, 'classes': classes}
    return {
        'thumb_size': THUMB,
        'columns': COLUMNS,
        'per_sheet': PER_SHEET,
        'sheets': [{kind: sheet_path(n, kind) for kind in SHEET_KINDS} for n in range(sheets)],
        'details': described,
        'error_colors': ERROR_COLORS,
        'scales': {
            'loss': _scale(0, HIGHEST_LOSS, 'nats'),
            'probability': _scale(0, 1, 'probability'),
        },
    }


def detail_files(paths: dict) -> list[str]:
    """Paths of the large pictures of a row, of its entry in `details`."""
    several = list(paths['classes'].values())
    return [path for key, path in paths.items() if key not in ('classes', 'saliency')] + several


def load(analysis: Analysis) -> dict:
    """The content of pictures.json.

    Raises:
      ValueError: it is missing, damaged, does not fit this analysis, or names a file elsewhere.
    """
    content = artifacts.load_json(analysis, 'pictures', VERSION)
    paths = [path for sheet in content['sheets'] for path in sheet.values()]
    paths += [path for row in content.get('details', {}).values() for path in detail_files(row)]
    for path in paths:
        if not is_safe_name(path):
            raise ValueError(
                f'{analysis.folder / "pictures.json"} names {path!r}, which is not in its folder.'
            )
    return content


def compute_or_load(analysis: Analysis, most: int = 400, force: bool = False) -> dict:
    """What was written before, with what is missing for the images that are of interest now.

    Args:
      analysis: whose images; needs its samples.
      most: images with large pictures.
      force: write all again.

    Raises:
      ValueError: what is there is damaged or of other images, and `force` is not given.
    """
    origin = artifacts.origin(analysis)
    # Written before the first picture, so it vouches for those of a stopped command too.
    if force or not artifacts.is_current(analysis, 'pictures.json', VERSION, origin):
        shutil.rmtree(analysis.folder / 'pictures', ignore_errors=True)
        artifacts.save_json(analysis, 'pictures', VERSION, {'sheets': []}, origin)
    before = load(analysis)
    result = compute(analysis, interesting(analysis, most))
    if result != before:
        artifacts.save_json(analysis, 'pictures', VERSION, result, origin)
    return result


def _run(arguments: argparse.Namespace) -> dict:
    if arguments.details < 0:
        raise ValueError(f'--details={arguments.details} must not be negative.')
    analysis = artifacts.open_chosen(arguments)
    result = compute_or_load(analysis, arguments.details, arguments.force)
    folder, images = analysis.folder / 'pictures', len(analysis.examples)
    sizes = {
        part: sum(path.stat().st_size for path in (folder / part).iterdir())
        for part in ('sheets', 'details')
    }
    summary = {
        'images': images,
        'thumb_size': result['thumb_size'],
        'bytes_per_thumbnail': sizes['sheets'] / images,
        'details': len(result['details']),
        'bytes_per_detail': sizes['details'] / max(1, len(result['details'])),
    }
    print(
        f'{folder}: thumbnails of {images} images, {summary["bytes_per_thumbnail"] / 1000:.1f} KB '
        f'each with truth, prediction and errors; large pictures of {summary["details"]}, '
        f'{summary["bytes_per_detail"] / 1000:.0f} KB each.'
    )
    return summary


def main(argv: list[str] | None = None) -> int:
    parser = make_parser('pictures', __doc__)
    parser.add_argument(
        '--details',
        type=int,
        default=400,
        help='images with large pictures, at most; default: %(default)s',
    )
    parser.add_argument('--force', action='store_true', help='write everything again')
    return run_command(parser.parse_args(argv), _run)
