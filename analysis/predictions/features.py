"""The features of the images, which the forward pass of `predictions` keeps for other stages.

A feature is a channel of a layer, averaged over the pixels. `features.f32` holds float32 `[N, F]`,
row by row: 67 KB per image for the default network. It is not written for more than MOST images,
and may be deleted: stages that need features then run the network again.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from analysis.predictions.schema import Predictions
from analysis.stage import artifacts
from analysis.stage.view import View
from segmentation import evaluate, files
from segmentation.activations import LOGITS, activations, logits_of, pool
from segmentation.models.unet import scale_images
from segmentation.trained import Run

FILE = 'features.f32'
MOST = 10_000  # images: 670 MB
_BLOCK = 256  # rows that are read at once


def make_predict(run: Run, layers: Sequence[str]) -> Callable[[Any, np.ndarray], Any]:
    """Makes a function that computes logits and features on the devices of this process.

    Returns:
      Maps variables and images, uint8 `[B, S, S, 3]`, to float32 logits `[B, S, S, C]` and features
      `[B, F]`; see `evaluate.on_local_devices`.
    """
    size = run.config.data.image_size

    def apply(variables: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        scaled = scale_images(images, run.config.data.input_range)
        found = activations(run.model, variables, scaled, {LOGITS, *layers}.__contains__)
        return logits_of(found, size), pool(found, layers)

    return evaluate.on_local_devices(apply)


@contextlib.contextmanager
def writing(view: View, keep: bool) -> Iterator[Callable[[np.ndarray], object]]:
    """Yields a function that appends features, float32 `[b, F]`, to a new file, if it is kept."""
    if not keep:
        yield lambda found: None
        return
    with files.replacing(view.folder / FILE) as partial, partial.open('wb') as file:
        yield lambda found: file.write(found.tobytes())


def read(view: View, layers: Sequence[str], rows: np.ndarray) -> Iterator[np.ndarray] | None:
    """The kept features of some images, float32 `[b, F]` batch by batch.

    Args:
      view: whose folder has them.
      layers: names, see `activations.find_layers`.
      rows: int `[n]`, of the images.

    Returns:
      None if they are not kept, or not of these layers.
    """
    path = view.folder / FILE
    try:
        known = artifacts.load(view, Predictions)
    except ValueError:  # missing, or of another version
        return None
    if not set(layers) <= known.layers.keys() or not path.exists():
        return None
    if files.sha256(path) != known.features_sha256:
        return None
    ends = np.cumsum(list(known.layers.values()))
    starts = dict(zip(known.layers, ends - list(known.layers.values()), strict=True))
    columns = np.concatenate(
        [np.arange(starts[layer], starts[layer] + known.layers[layer]) for layer in layers]
    )

    def blocks() -> Iterator[np.ndarray]:
        # Read, not mapped: mapped pages would count as memory of this process.
        with path.open('rb') as file:
            for start in range(0, len(rows), _BLOCK):
                block = np.empty((len(rows[start : start + _BLOCK]), ends[-1]), np.float32)
                for place, row in zip(block, rows[start : start + _BLOCK].tolist(), strict=True):
                    file.seek(row * place.nbytes)
                    file.readinto(place)
                yield block[:, columns]

    return blocks()
