"""Where an image differs from the average image towards membership of its cluster.

The activations A of a layer times the derivative of the margin (`scores`) also show what all images
share. Near the border, where convolutions meet padding, activations differ from those inside, and
maps light up in corners. But what all images share makes none of them a member of its cluster. So
the mean activations Ā over the images at the same place are subtracted,

    Σ_c (A - Ā) · ∂margin/∂A,

which is, to first order, what a place adds to the margin compared with the average image. The maps
of three layers in the middle of the encoder, with receptive fields of different size, are added up.
analysis/README.md says how this was chosen on planted scenes.
"""

from typing import Any

import jax
import numpy as np

from analysis.saliency.methods import enlarge
from analysis.saliency.scores import MEMBERSHIP_LAYERS, Clusters, Scores
from analysis.stage.run import Analysis
from segmentation.activations import activations

_MEAN_OVER = 256  # images, at most


def _mean_activations(analysis: Analysis, scores: Scores) -> dict[str, jax.Array]:
    """Means over an even sample of the images, float32 `[h, w, C]` by layer."""
    run, wanted = analysis.run, set(MEMBERSHIP_LAYERS).__contains__
    size = run.device_batch_size  # one device is enough, and then any number gives the same sums

    @jax.jit
    def total(variables: Any, images: jax.Array) -> dict[str, jax.Array]:
        found = activations(run.model, variables, images, wanted)
        return {layer: each.sum(0) for layer, each in found.items()}

    variables = jax.device_put(run.variables)
    number = min(len(analysis), _MEAN_OVER)
    sample = np.linspace(0, len(analysis) - 1, number).astype(np.int64)
    totals = [
        total(variables, scores.scale(scores.images(sample[start : start + size])))
        for start in range(0, number, size)
    ]
    return jax.tree.map(lambda *each: sum(each) / number, *totals)


def compute(
    analysis: Analysis, clusters: Clusters, rows: np.ndarray, scores: Scores | None = None
) -> np.ndarray:
    """Maps of images that are in a cluster, positive where a place is evidence for membership.

    The rows of the images are int64 `[J]`. Mean activations are over all images of the analysis, or
    an even sample. Returns float32 `[J, g, g]` with the grid of the finest layer.
    """
    scores = scores or Scores(analysis, clusters)
    x, which = scores.scale(scores.images(rows)), np.full((len(rows), 1), len(scores.targets) - 1)
    means = _mean_activations(analysis, scores)
    found = scores.explain(x, scores.target(rows), which, references=means).maps
    grid = max(found[layer].shape[-1] for layer in MEMBERSHIP_LAYERS)
    result = np.zeros((len(rows), grid, grid), np.float32)
    for layer in MEMBERSHIP_LAYERS:
        # Finer cells get their share, so that maps add up to what their layer adds to the margin.
        share = (found[layer].shape[-1] / grid) ** 2
        result += enlarge(found[layer], grid)[:, 0] * share
    return result
