"""Pooled activations of images: the features that embeddings are made of."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from analysis.embeddings.schema import Reduction
from analysis.predictions import features as kept
from analysis.stage.forward import foreign_forward, forward
from analysis.stage.run import Analysis, restrict
from segmentation import evaluate
from segmentation.activations import pooled_features
from segmentation.models.unet import scale_images
from segmentation.trained import Run


def _make_extract(run: Run, layers: Sequence[str]) -> Callable[[Any, Any], jax.Array]:
    """Variables and uint8 images `[B, S, S, 3]` to float32 features `[B, F]`."""

    def extract(variables: Any, images: jax.Array) -> jax.Array:
        scaled = scale_images(images, run.config.data.input_range)
        return pooled_features(run.model, variables, scaled, layers)

    return extract


def stream_features(
    analysis: Analysis, layers: Sequence[str], progress: str, rows: np.ndarray
) -> Iterator[np.ndarray]:
    """Pooled features of images, float32 `[b, F]` batch by batch.

    They are read if `predictions` kept them; else the network runs.

    Args:
      analysis: of which images.
      layers: names, see `activations.find_layers`.
      progress: label of the progress bar.
      rows: int `[n]`, of the images.
    """
    some = restrict(analysis, rows)
    if analysis.foreign:
        for _, _, _, made in foreign_forward(some, progress):
            features = [each.features for each in made if each.features is not None]
            yield np.stack(features)
        return
    found = kept.read(analysis, layers, rows)
    if found is not None:
        yield from found
        return
    extract = evaluate.on_local_devices(_make_extract(analysis.run, layers))
    for indices, _, features in forward(some, progress, extract):
        yield np.asarray(features)[: len(indices)]


def embed(run: Run, reduction: Reduction, images: np.ndarray) -> np.ndarray:
    """Embeds new images.

    Args:
      run: the one that the reduction was fitted for.
      reduction: of `Embeddings`.
      images: uint8 `[B, S, S, 3]` at the network's resolution.

    Returns:
      float32 `[B, D]` of unit length.
    """
    features = jax.jit(_make_extract(run, reduction.layers))(run.variables, images)
    return reduction.project(np.asarray(features))
