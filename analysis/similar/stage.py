"""Finds images to which the network responds alike, for every image or for any picture.

    python -m analysis.similar --workdir runs/person_car --split val
    python -m analysis.similar --workdir runs/person_car --image_id 139
    python -m analysis.similar --workdir runs/person_car --image photo.jpg

Needs `embeddings`. The first form writes the neighbours of all images into the run's
`analysis/<split>-<step>/`; the others also print the neighbours of one, and draw them with the
classes that the network predicts (above) and that the labels give (below): similar-<id or name>.png
there. Distances are Euclidean between embeddings, from 0 to 2 (2 - 2 · cosine is their square).

similar.npz          (kind 'similar', version 1)
    index            int32 [N, k] rows of the nearest other images, nearest first; among equals
                     the lower row first
    distance         float32 [N, k]
"""

import argparse
import pathlib
import re

import jax
import numpy as np
from tqdm import tqdm

from analysis.embeddings import stage as embeddings
from analysis.figures import contact_sheet
from analysis.stage import old_artifacts as artifacts
from analysis.stage.command import make_parser, run_command
from analysis.stage.run import Analysis
from segmentation import markdown, overlays
from segmentation.data import transforms
from segmentation.models.unet import scale_images

VERSION = 1
K = 20
_BLOCK = 64  # queries at once: all distances to them are in memory


def neighbours(
    points: np.ndarray,
    k: int,
    queries: np.ndarray | None = None,
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest points, exactly, by blocks of queries.

    Args:
      points: float `[N, D]`.
      k: number of neighbours; at most as many as there are are returned.
      queries: float `[M, D]`; default the points, each without itself.
      progress: show a bar.

    Returns:
      Rows int32 `[M, k]` and Euclidean distances float32 `[M, k]`, nearest first, equals by row.
    """
    own = queries is None
    queries = points if own else queries
    k = min(k, len(points) - own)
    index = np.zeros((len(queries), k), np.int32)
    distance = np.zeros((len(queries), k), np.float32)
    points = points.astype(np.float64)
    squares = np.square(points).sum(1)
    with tqdm(total=len(queries), desc='neighbours', unit='img', disable=not progress) as bar:
        for start in range(0, len(queries), _BLOCK):
            block = queries[start : start + _BLOCK].astype(np.float64)
            squared = squares - 2 * block @ points.T + np.square(block).sum(1, keepdims=True)
            squared = np.maximum(squared, 0)
            if own:
                squared[np.arange(len(block)), start + np.arange(len(block))] = np.inf
            near = np.sort(np.argpartition(squared, k - 1, axis=1)[:, :k], axis=1)
            found = np.take_along_axis(squared, near, 1)
            order = np.argsort(found, axis=1, kind='stable')
            index[start : start + len(block)] = np.take_along_axis(near, order, 1)
            distance[start : start + len(block)] = np.sqrt(np.take_along_axis(found, order, 1))
            bar.update(len(block))
    return index, distance


def load(analysis: Analysis) -> dict[str, np.ndarray]:
    """The arrays of similar.npz.

    Raises:
      ValueError: it is missing, damaged, or does not fit this analysis.
    """
    return artifacts.load_arrays(analysis, 'similar', VERSION)


def compute_or_load(analysis: Analysis, k: int = K, force: bool = False) -> dict[str, np.ndarray]:
    """What was written before of the same embeddings, or computes and writes it.

    Raises:
      ValueError: what is there is damaged or of other images, and `force` is not given.
    """
    origin = artifacts.origin(analysis, 'embeddings.npz', k=k)
    if not force and artifacts.is_current(analysis, 'similar.npz', VERSION, origin):
        return load(analysis)
    index, distance = neighbours(embeddings.load(analysis), k, progress=True)
    artifacts.save_arrays(analysis, 'similar', VERSION, origin, index=index, distance=distance)
    return {'index': index, 'distance': distance}


def query(
    analysis: Analysis, k: int, image_id: int | None = None, image: pathlib.Path | None = None
) -> dict:
    """Neighbours of an image of the analysis, or of any picture.

    Args:
      analysis: among whose images.
      k: number of neighbours.
      image_id: of an image of the analysis, or
      image: a picture file.

    Returns:
      `query` (the id or file), `pixels` uint8 `[S, S, 3]`, `rows` and `distances` (lists).

    Raises:
      ValueError: no such image in the analysis, or not a readable picture.
    """
    points, data = embeddings.load(analysis), analysis.run.config.data
    if image is None:
        ids = analysis.examples.image_ids
        found = np.flatnonzero(ids == image_id)
        if not len(found):
            raise ValueError(
                f'There is no image {image_id} among the {len(ids)} of {analysis.folder}, such as '
                f'{", ".join(map(str, ids[:3]))}; --image FILE takes any picture.'
            )
        row = int(found[0])
        # One more, as the image itself is among them.
        index, distance = neighbours(points, k + 1, points[row : row + 1])
        other = index[0] != row
        rows, distances, pixels = (
            index[0][other],
            distance[0][other],
            analysis.examples[row]['image'],
        )
    else:
        _, pixels = transforms.read_image_file(image, data.image_size, data.antialias)
        reduction = embeddings.load_reduction(analysis)
        point = embeddings.embed(analysis.run, reduction, pixels[None])
        (rows,), (distances,) = neighbours(points, k, point)
    return {
        'query': image_id if image is None else str(image),
        'pixels': pixels,
        'rows': rows[:k].tolist(),
        'distances': distances[:k].tolist(),
    }


def describe(analysis: Analysis, found: dict) -> list[dict]:
    """Neighbours for JSON: `image_id`, `file_name`, `distance`."""
    examples = analysis.examples
    return [
        {
            'image_id': int(examples.image_ids[row]),
            'file_name': examples.record(row)['file_name'],
            'distance': distance,
        }
        for row, distance in zip(found['rows'], found['distances'], strict=True)
    ]


def draw(analysis: Analysis, found: dict) -> pathlib.Path:
    """Draws a query and its neighbours; returns the file."""
    run, examples = analysis.run, analysis.examples
    shown = [examples[row] for row in found['rows']]
    images = [found['pixels'], *(example['image'] for example in shown)]

    @jax.jit  # not make_predict: the number of images need not divide evenly over the devices
    def classify(variables, images):
        scaled = scale_images(images, run.config.data.input_range)
        return run.model.apply(variables, scaled, train=False).argmax(-1)

    classes = np.asarray(classify(run.variables, np.stack(images)))
    predicted = [
        overlays.overlay(image, label) for image, label in zip(images, classes, strict=True)
    ]
    labels = [found['pixels'], *(overlays.overlay(e['image'], e['label']) for e in shown)]
    captions = [
        'query',
        *(
            f'{examples.image_ids[row]}  {distance:.2f}'
            for row, distance in zip(found['rows'], found['distances'], strict=True)
        ),
    ]
    name = re.sub(r'[^A-Za-z0-9_-]+', '_', pathlib.PurePath(str(found['query'])).stem)
    path = analysis.folder / f'similar-{name}.png'
    rows = [('predicted', predicted), ('labels; id and distance', labels)]
    contact_sheet.draw(rows, path, [[''] * len(captions), captions])
    return path


def _run(arguments: argparse.Namespace) -> dict:
    one = arguments.image_id is not None or arguments.image is not None
    k = arguments.k if arguments.k is not None else 8 if one else K
    if k < 1:
        raise ValueError(f'--k={k}: at least one neighbour.')
    analysis = artifacts.open_chosen(arguments)
    if one:
        found = query(analysis, k, arguments.image_id, arguments.image)
        result = {'query': found['query'], 'neighbours': describe(analysis, found)}
        rows = [
            (str(entry['image_id']), entry['file_name'], f'{entry["distance"]:.3f}')
            for entry in result['neighbours']
        ]
        print(markdown.table(('image id', 'file', 'distance'), rows), end='\n\n')
        print(f'Drawn: {draw(analysis, found)}')
    else:
        distance = compute_or_load(analysis, k, arguments.force)['distance']
        result = {
            'num_images': len(distance),
            'k': distance.shape[1],
            'median_distance': {
                'nearest': float(np.median(distance[:, 0])),
                'farthest': float(np.median(distance[:, -1])),
            },
        }
        print(
            f'{analysis.folder / "similar.npz"}: {result["k"]} neighbours of '
            f'{result["num_images"]} images; median distance of the nearest '
            f'{result["median_distance"]["nearest"]:.3f}, of the last '
            f'{result["median_distance"]["farthest"]:.3f}.'
        )
    return result


def main(argv: list[str] | None = None) -> int:
    parser = make_parser('similar', __doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument('--image_id', type=int, metavar='ID', help='of an image of the analysis')
    which.add_argument('--image', type=pathlib.Path, metavar='FILE', help='any picture')
    parser.add_argument('--k', type=int, help=f'neighbours; default: {K}, 8 of one image')
    parser.add_argument('--force', action='store_true', help='compute all neighbours again')
    return run_command(parser.parse_args(argv), _run)
