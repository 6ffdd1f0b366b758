"""Faithfulness of saliency maps, by the network and by annotations.

Maps are `[..., G, G]` over a grid of cells; higher cells are more evidence for the score.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage, stats

from analysis.saliency.methods import Array, pool
from analysis.saliency.schema import Faithfulness, Mean, Perturbation
from analysis.stats.bootstrap import bootstrap_means
from segmentation import metrics
from segmentation.data import transforms
from segmentation.data.masks import nearest_indices

# Shares of the cells that are deleted or inserted, between none and all.
FRACTIONS = (0.05, 0.2, 0.5)
BASELINES = ('random', 'center', 'edges')
_RESAMPLES = 2000


def baseline_maps(images: np.ndarray, size: int, seed: Sequence[int]) -> dict[str, np.ndarray]:
    """Maps of uint8 images `[B, S, S, 3]` that do not depend on the network, float32 `[B, G, G]`.

    With G = `size` cells per side: `random` (another map for each image), `center` (a Gaussian,
    standard deviation G / 4) and `edges` (Sobel, of luma).
    """
    luma = images @ transforms.LUMA
    # One by one: SciPy would smooth over the images of a batch too.
    edges = np.stack([np.hypot(ndimage.sobel(each, 0), ndimage.sobel(each, 1)) for each in luma])
    offset = np.arange(size) - (size - 1) / 2
    squared = np.square(offset)[:, None] + np.square(offset)
    center = np.exp(-squared / (2 * (size / 4) ** 2)).astype(np.float32)
    return {
        'random': np.random.default_rng(seed).random((len(images), size, size), np.float32),
        'center': np.repeat(center[None], len(images), 0),
        'edges': pool(edges, size),
    }


def cell_ranks(maps: np.ndarray) -> np.ndarray:
    """Place of each cell, 0 for the highest, ties in order of the cells: int32 `[..., G, G]`."""
    order = np.argsort(-maps.reshape(*maps.shape[:-2], -1), axis=-1, kind='stable')
    return np.argsort(order, axis=-1).astype(np.int32).reshape(maps.shape)


@jax.jit
def replace_cells(images: Array, others: Array, ranks: Array, fraction: float) -> jax.Array:
    """Images `[B, S, S, 3]` in which a fraction of the cells are those of other images.

    They are the first ones by rank, `[B, G, G]`, see `cell_ranks`.
    """
    replaced = ranks < fraction * ranks.shape[-1] * ranks.shape[-2]
    rows, columns = (nearest_indices(ranks.shape[1], length) for length in images.shape[1:3])
    return jnp.where(replaced[:, rows][:, :, columns, None], others, images)


def perturbation_curves(
    value: Callable[[Array], np.ndarray],
    images: np.ndarray,
    blurred: np.ndarray,
    maps: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Deletion and insertion (Petsiuk et al. 2018): the score as cells are removed or added.

    Deletion replaces cells by those of the blurred image, highest first; a good map makes the score
    fall early. Insertion begins with the blurred image and puts cells back; it rises early.

    `value` takes images, `[B, S, S, 3]`, and returns their scores, `[B]`. Maps are `[B, G, G]` by
    method. Curves are float64 `[2, B, F + 2]`: deletion and insertion at 0, at each of FRACTIONS
    and at 1.
    """
    whole, nothing = value(images), value(blurred)

    def curve(start: np.ndarray, end: np.ndarray, *replacing: np.ndarray) -> np.ndarray:
        between = [value(replace_cells(*replacing, share)) for share in FRACTIONS]
        return np.stack([start, *between, end], -1)

    curves = {}
    for method, each in maps.items():
        ranks = cell_ranks(each)
        deletion = curve(whole, nothing, images, blurred, ranks)
        insertion = curve(nothing, whole, blurred, images, ranks)
        curves[method] = np.stack([deletion, insertion]).astype(np.float64)
    return curves


def area_under(curves: np.ndarray, fractions: Sequence[float] = FRACTIONS) -> np.ndarray:
    """Area under curves of `perturbation_curves`, `[..., F + 2]` → `[...]`, by trapezoids."""
    return np.trapezoid(curves, [0, *fractions, 1], axis=-1)


def mean_interval(values: np.ndarray) -> Mean:
    """Mean over the images that have a value (not NaN)."""
    values = values[~np.isnan(values)]
    if not len(values):
        return Mean(None, None, 0)
    if len(values) == 1:
        return Mean(float(values[0]), None, 1)
    low, high = metrics.percentile_interval(bootstrap_means(values, _RESAMPLES)).tolist()
    return Mean(float(values.mean()), (low, high), len(values))


def summarize_curves(curves: Mapping[str, np.ndarray]) -> dict[str, Faithfulness]:
    """Mean curves, areas under them, and each method's paired gain over each baseline.

    A gain is positive if the method is better than the baseline on the same images: its area under
    deletion is smaller, or its area under insertion larger.

    Curves are of `perturbation_curves`, with the `BASELINES` among the methods.
    """
    areas = {method: area_under(each) for method, each in curves.items()}

    def summarize(method: str, k: int, sign: int) -> Perturbation:
        gains = {
            other: mean_interval(sign * (areas[method][k] - areas[other][k]))
            for other in BASELINES
            if other != method
        }
        curve = tuple(curves[method][k].mean(0).tolist())
        return Perturbation(curve, mean_interval(areas[method][k]), gains)

    return {
        method: Faithfulness(summarize(method, 0, -1), summarize(method, 1, 1)) for method in curves
    }


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of a map's positive part that lies inside a mask (Wang et al. 2020's pointing game).

    Maps and masks (bool, or the share of each cell that is inside) are `[..., G, G]`. The shares,
    `[...]`, are NaN for a map that is positive nowhere.
    """
    positive = np.maximum(maps, 0).astype(np.float64)
    total = positive.sum((-2, -1))
    inside = (positive * masks).sum((-2, -1))
    return np.divide(inside, total, out=np.full(np.shape(inside), np.nan), where=total > 0)


def pointing_hit(maps: np.ndarray, mask: np.ndarray, tolerance: float = 0) -> np.ndarray:
    """Whether the highest place of maps is in a mask or near it (Zhang et al. 2016), bool `[...]`.

    Maps are `[..., H, W]`, the mask bool `[H, W]`; a distance of `tolerance` pixels still counts.

    Raises:
      ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError('An empty mask cannot be pointed at.')
    highest = maps.reshape(*maps.shape[:-2], -1).argmax(-1)
    return ndimage.distance_transform_edt(~mask).ravel()[highest] <= tolerance


def rank_correlation(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's correlation of maps, `[B, G, G]` twice → `[B]`; 0 if one is constant."""
    ranks = [stats.rankdata(each.reshape(len(each), -1), axis=-1) for each in (maps, others)]
    a, b = (each - each.mean(-1, keepdims=True) for each in ranks)
    lengths = np.sqrt(np.square(a).sum(-1) * np.square(b).sum(-1))
    return np.divide((a * b).sum(-1), lengths, out=np.zeros(len(a)), where=lengths > 0)


def cascade(variables: Any, layers: Sequence[str], seed: int) -> Iterator[tuple[str, Any]]:
    """A network whose weights are shuffled block by block from its end (Adebayo et al. 2018).

    The parameters of a block are shuffled, each array within itself, which keeps their scale (a
    fresh initialization need not fit the BatchNorm statistics, which stay).

    `variables` are {'params', 'batch_stats'}, `layers` `encoder/<layer>` and `decoder/<layer>` in
    order of computation.

    Yields:
      Name of the block, and variables in which it and all later blocks are shuffled.
    """
    rng = np.random.default_rng(seed)
    params = {part: dict(arrays) for part, arrays in variables['params'].items()}
    blocks: dict[str, list[str]] = {}
    for layer in layers:
        part, name = layer.split('/', 1)
        if name in params.get(part, {}):
            block = re.sub(r'^(?:bn_)?(block_\d+|up_\d+|expanded_conv|.*).*', r'\1', name)
            blocks.setdefault(f'{part}/{block}', []).append(name)
    for block, names in reversed(blocks.items()):
        part = block.split('/')[0]
        for name in names:
            params[part][name] = jax.tree.map(
                lambda x: rng.permuted(np.asarray(x).ravel()).reshape(x.shape), params[part][name]
            )
        yield block, {**variables, 'params': {part: dict(a) for part, a in params.items()}}
