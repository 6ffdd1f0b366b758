"""The expensive saliency methods on a sample of the images, judged by perturbations.

Gradient and SmoothGrad are lengths over the color channels, so never negative; the others are
signed, and positive is evidence for the score. Integrated gradients and the perturbations start
from the image blurred by a Gaussian of a twelfth of its side. They use the bounded score of a class
because the gradient of its log-odds is too rough near the blurred image for completeness.
"""

from typing import Any

import numpy as np
from tqdm import tqdm

from analysis.saliency import faithfulness, methods
from analysis.saliency.schema import METHODS_UNSIGNED, Explained, ShuffledWeights
from analysis.saliency.scores import Scores
from analysis.stage.layers import DEEP, FINE
from analysis.stage.run import Analysis
from segmentation.activations import find_layers

METHODS = (
    *METHODS_UNSIGNED,
    'integrated gradients',
    f'A×gradient {DEEP}',
    f'A×gradient {FINE}',
    f'Grad-CAM {DEEP}',
)
_LEAST_PREDICTED = 0.01  # share of the pixels, of the class in an image sampled for it
_SHUFFLED_IMAGES = 32
_BLOCK = 16  # images that are explained at once; they share the seed of SmoothGrad's noise


def sample_rows(predicted: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """A fixed sample of images with a class each, spread evenly over the classes if possible.

    `predicted` is the share of the pixels that are predicted as each class, `[N, C]`.

    Returns:
      Rows and classes, int64 `[J]`, J at most `number`; no row twice. The rarest class comes first.
    """
    fits = predicted[:, 1:] >= _LEAST_PREDICTED
    order = np.random.default_rng(0).permutation(len(predicted))
    rows: list[int] = []
    classes: list[int] = []
    left = number
    ascending = np.argsort(fits.sum(0), kind='stable')
    for done, k in enumerate(ascending.tolist()):
        candidates = order[fits[order, k]]
        free = candidates[~np.isin(candidates, rows)].tolist()
        chosen = free[: left // (len(ascending) - done)]
        rows += chosen
        classes += [k + 1] * len(chosen)
        left -= len(chosen)
    return np.array(rows, np.int64), np.array(classes, np.int64)


def explain(
    scores: Scores, rows: np.ndarray, label: np.ndarray, kind: str, steps: int, samples: int
) -> tuple[np.ndarray, Explained]:
    """Maps of all METHODS for one score of each image (`schema.Examples`), and their faithfulness.

    `rows` and `label` are those of `schema.Examples`, the kind is 'class' or 'cluster', `steps` are
    of integrated gradients, and `samples` noisy copies of SmoothGrad.
    """
    grid, last = scores.grid, len(scores.targets) - 1
    targets = label - 1 if kind == 'class' else np.full(len(rows), last)

    def explain_block(start: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        here = slice(start, start + _BLOCK)
        which, target = targets[here], scores.target(rows[here])
        images = scores.images(rows[here])
        x = scores.scale(images)
        blurred = np.asarray(methods.blur(x, x.shape[1] / 12))
        found = scores.explain(x, target, which[:, None])
        smooth = methods.smooth_gradient(
            lambda x: scores.gradient(x, target, which), x, start, samples=samples
        )
        integrated = methods.integrated_gradients(
            lambda x: scores.gradient(x, target, which, bounded=True), x, blurred, steps=steps
        ).sum(-1)
        maps = (
            found.gradient[:, 0],
            methods.pool(methods.strength(smooth), grid),
            methods.pool(integrated, grid),
            methods.enlarge(found.maps[DEEP], grid)[:, 0],
            methods.enlarge(found.maps[FINE], grid)[:, 0],
            methods.enlarge(found.grad_cam, grid)[:, 0],
        )
        ranked = dict(zip(METHODS, map(np.asarray, maps), strict=True))
        baselines = faithfulness.baseline_maps(images, grid, (0, start))
        if kind == 'class':  # a map must beat it to show more than the prediction does
            region = target.predicted == label[here, None, None]
            baselines['prediction'] = methods.pool(region.astype(np.float32), grid)
        curves = faithfulness.perturbation_curves(
            lambda x: scores.values(x, target, which), x, blurred, ranked | baselines
        )
        return np.stack(list(ranked.values()), 1), np.asarray(integrated.sum((1, 2))), curves

    blocks = [
        explain_block(start)
        for start in tqdm(range(0, len(rows), _BLOCK), f'{kind} examples', unit='block')
    ]
    maps = np.concatenate([block for block, _, _ in blocks])
    largest = np.abs(maps).max((2, 3), keepdims=True)
    maps = (maps / np.where(largest > 0, largest, 1)).astype(np.float16)
    curves = {
        method: np.concatenate([each[method] for _, _, each in blocks], axis=1)
        for method in blocks[0][2]
    }
    deletion = curves[METHODS[0]][0]  # from the whole image to the blurred one
    change = deletion[:, 0] - deletion[:, -1]
    error = np.concatenate([total for _, total, _ in blocks]) - change
    missed = float(np.abs(error).sum() / max(np.abs(change).sum(), 1e-12))
    judged = Explained(len(rows), missed, faithfulness.summarize_curves(curves))
    return maps, judged


def shuffle_weights(
    analysis: Analysis, scores: Scores, rows: np.ndarray, label: np.ndarray
) -> ShuffledWeights:
    """The sanity check: similarity of the maps to those of a network with shuffled weights.

    A fixed sample of the images is used; `rows` and `label` are those of `schema.Examples`.
    """
    order = np.random.default_rng(1).permutation(len(rows))[:_SHUFFLED_IMAGES]
    rows, which = rows[order], label[order, None] - 1
    x = scores.scale(scores.images(rows))
    target = scores.target(rows)

    def all_maps(variables: Any) -> dict[str, np.ndarray]:
        found = scores.explain(x, target, which, variables=variables)
        layers = {f'A×gradient {layer}': found.maps[layer][:, 0] for layer in (DEEP, FINE)}
        return {'gradient': found.gradient[:, 0], **layers}

    correlation = faithfulness.rank_correlation
    original = all_maps(analysis.run.variables)
    blocks: list[str] = []
    similarity: dict[str, list[float]] = {name: [] for name in original}
    layers = list(find_layers(analysis.run, ('*',)))
    cascade = faithfulness.cascade(analysis.run.variables, layers, seed=0)
    for block, variables in tqdm(cascade, desc='shuffled weights', unit='block'):
        blocks.append(block)
        for name, maps in all_maps(variables).items():
            similarity[name].append(float(correlation(original[name], maps).mean()))
    between = {
        name: float(correlation(maps, np.roll(maps, 1, 0)).mean())
        for name, maps in original.items()
    }
    after = {name: tuple(values) for name, values in similarity.items()}
    return ShuffledWeights(len(rows), tuple(blocks), after, between)
