"""The images most similar to one image, of the analysis or of any file."""

import dataclasses
import pathlib
import re
import zlib
from typing import Any

import jax
import numpy as np

from analysis.embeddings import features
from analysis.embeddings.schema import Embeddings
from analysis.figures import contact_sheet
from analysis.foreign.model import resize_logits
from analysis.predictions.schema import Predictions
from analysis.similar.neighbors import neighbors
from analysis.stage import artifacts
from analysis.stage.run import Analysis
from segmentation import overlays
from segmentation.data import transforms
from segmentation.models.unet import scale_images


@dataclasses.dataclass(frozen=True)
class Neighbor:
    """A similar image; the distance is Euclidean, between embeddings."""

    row: int
    image_id: int
    file_name: str
    distance: float


def find(
    analysis: Analysis, k: int, image: int | pathlib.Path
) -> tuple[np.ndarray, list[Neighbor]]:
    """Finds the k images most similar to one image: an id of the analysis, or an image file.

    Returns:
      The image, uint8 `[S, S, 3]`, and its neighbors, nearest first.

    Raises:
      ValueError: there is no such image in the analysis, or the file is not a readable image.
    """
    embeddings, row, ids = artifacts.load(analysis, Embeddings), -1, analysis.image_ids
    if isinstance(image, int):
        if image not in ids:
            raise ValueError(
                f'There is no image {image} among the {len(ids)} of {analysis.folder}, such as '
                f'{", ".join(map(str, ids[:3]))}; --image FILE takes any image file.'
            )
        row = int(np.flatnonzero(ids == image)[0])
        pixels, point = analysis.examples[row]['image'], embeddings.points[row : row + 1]
    else:
        data = analysis.config.data
        _, pixels = transforms.read_image_file(image, data.image_size, data.antialias)
        if model := analysis.foreign:  # which may be fed at another resolution
            fed = transforms.read_image_file(image, model.side or len(pixels), data.antialias)[1]
            point = embeddings.reduction.project(model.of_images(fed[None])[0].features)[None]
        else:
            point = features.embed(analysis.run, embeddings.reduction, pixels[None])
    # One more, as the image itself is among them.
    (near,), (distances,) = neighbors(embeddings.points, k + (row >= 0), point)
    found = [
        Neighbor(i, int(ids[i]), analysis.examples.record(i)['file_name'], distance)
        for i, distance in zip(near.tolist(), distances.tolist(), strict=True)
        if i != row
    ]
    return pixels, found[:k]


def draw(
    analysis: Analysis, image: int | pathlib.Path, pixels: np.ndarray, found: list[Neighbor]
) -> pathlib.Path:
    """Draws what `find` returned, with predictions and ground truth; returns the file."""
    shown = [analysis.examples[neighbor.row] for neighbor in found]
    images = [pixels, *(example['image'] for example in shown)]
    classes = _classify(analysis, image, np.stack(images), [each.row for each in found])
    predicted = [overlays.overlay(*pair) for pair in zip(images, classes, strict=True)]
    labels = [pixels, *(contact_sheet.labeled(analysis.examples, each.row) for each in found)]
    captions = ['query', *(f'{each.image_id}  {each.distance:.2f}' for each in found)]
    name = str(image)
    if isinstance(image, pathlib.Path):  # The checksum: files of the same name, and ids.
        checksum = zlib.crc32(str(image.resolve()).encode('utf-8', 'surrogateescape'))
        name = f'{re.sub(r"[^A-Za-z0-9_-]+", "_", image.stem)[:40]}-{checksum:08x}'
    path = analysis.folder / f'similar-{name}.png'
    rows = [('predicted', predicted), ('ground truth; id and distance', labels)]
    contact_sheet.draw(rows, path, [[''] * len(captions), captions])
    return path


def _classify(
    analysis: Analysis, image: int | pathlib.Path, images: np.ndarray, rows: list[int]
) -> np.ndarray:
    """Predicted classes, `[B, S, S]`, of the query and of images of the analysis (`rows`)."""
    run = analysis.run
    if analysis.foreign is None:

        @jax.jit  # not make_predict: the number of images need not be a multiple of the devices
        def classify(variables: Any, images: jax.Array) -> jax.Array:
            scaled = scale_images(images, run.config.data.input_range)
            logits: Any = run.model.apply(variables, scaled, train=False)
            return logits.argmax(-1)

        return np.asarray(classify(run.variables, images))
    predicted = artifacts.load(analysis, Predictions)
    if isinstance(image, int):
        rows = [int(np.flatnonzero(analysis.image_ids == image)[0]), *rows]
        return np.stack([predicted.class_map(row) for row in rows])
    query = resize_logits(analysis.foreign.of_images(images[:1])[0].logits, *images.shape[1:3])
    return np.stack([query.argmax(-1), *map(predicted.class_map, rows)])
