"""Embeds images by the activations of the network."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from analysis.embeddings.features import stream_features
from analysis.embeddings.options import DIMENSIONS, make_parser
from analysis.embeddings.reduction import fit, kept
from analysis.embeddings.schema import Embeddings
from analysis.stage import shards
from analysis.stage.contract import Stage
from analysis.stage.layers import DEEPEST
from analysis.stage.run import Analysis
from segmentation import markdown
from segmentation.activations import find_layers
from segmentation.models.layer_names import LAYERS

DEEPEST_SHARE = 0.3  # of the variance of all features


def layer_weights(layers: Mapping[str, int]) -> np.ndarray:
    """Weights of the standardized features, float64 `[F]`: 1, but for those of DEEPEST.

    Its features have DEEPEST_SHARE of the variance, if there are other layers. `layers` has the
    number of features by name.
    """
    mine = np.repeat([name == DEEPEST for name in layers], list(layers.values()))
    others = DEEPEST_SHARE / (1 - DEEPEST_SHARE) * (~mine).sum()
    boosted = np.sqrt(others / mine.sum()) if mine.any() and others else 1.0
    return np.where(mine, boosted, 1.0)


def compute(
    analysis: Analysis,
    layers: Sequence[str] = LAYERS,
    dimensions: int = DIMENSIONS,
    seed: int = 0,
) -> Embeddings:
    """Fits the reduction to the images and embeds them; a temporary file holds the features.

    Raises:
      ValueError: a pattern matches no layer, no feature varies, or there are to be no dimensions.
    """
    if dimensions < 1:
        raise ValueError(f'--dimensions={dimensions} must be at least 1.')
    found = analysis.foreign.layers if analysis.foreign else find_layers(analysis.run, layers)
    width = sum(found.values())

    def work(_: Analysis, rows: np.ndarray) -> Iterator[np.ndarray]:
        yield from stream_features(analysis, tuple(found), 'activations', rows)

    pieces = shards.stream(analysis, Embeddings.NAME, work)
    with kept(pieces, width, analysis.folder) as blocks:
        reduction = fit(blocks, tuple(found), dimensions, seed, layer_weights(found))
        points = np.concatenate([reduction.project(block) for block in blocks()])
    return Embeddings(
        num_images=len(points),
        dimensions=points.shape[1],
        num_features=width,
        constant_features=int((reduction.scale == 0).sum()),
        layers=found,
        explained=tuple(reduction.explained.tolist()),
        points=points,
        mean=reduction.mean,
        scale=reduction.scale,
        components=reduction.components,
        weights=reduction.weights,
    )


def table(result: Embeddings) -> str:
    """Layers and explained variance."""
    explained = np.array(result.explained)
    shown = [i for i in (1, 2, 4, 8, 16, 32, 64, 128) if i < len(explained)] + [len(explained)]
    rows = [(str(i), f'{explained[i - 1]:.2%}', f'{explained[:i].sum():.1%}') for i in shown]
    layers = [markdown.escape(layer) for layer in result.layers]
    return (
        f'{result.num_images} images, {result.num_features} features ({result.constant_features} '
        f'of them constant) of {len(layers)} layers, {layers[0]} … {layers[-1]} → '
        f'{result.dimensions} components.\n\n'
        + markdown.table(('component', 'explained variance', 'cumulative'), rows)
    )


STAGE = Stage(
    Embeddings,
    make_parser,
    compute,
    table,
    shared=True,
)
main = STAGE.main
