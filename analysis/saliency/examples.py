"""The expensive saliency methods on a sample of the images, judged by perturbations.

Gradient and SmoothGrad are lengths over the colour channels, so never negative; the others are
signed, and positive is evidence for the score. Integrated gradients and the perturbations start
from the image blurred by a Gaussian of a twelfth of its side. For a class, both use its mean
probability instead of its log-odds, whose gradient near the blurred image is too rough for
completeness (analysis/README.md).
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from analysis.saliency import faithfulness, pointing
from analysis.saliency.methods import (
    activation_times_gradient,
    attribute,
    blur,
    grad_cam,
    integrated_gradients,
    pool,
    smooth_gradient,
    strength,
)
from analysis.saliency.schema import Explained, ShuffledWeights
from analysis.saliency.scores import Clusters, Scores
from analysis.stage.activations import find_layers
from analysis.stage.layers import DEEP, FINE, GRID
from analysis.stage.run import Analysis
from segmentation.data.examples import Examples
from segmentation.models.unet import scale_images

METHODS = (
    'gradient',
    'SmoothGrad',
    'integrated gradients',
    f'A×gradient {DEEP}',
    f'A×gradient {FINE}',
    f'Grad-CAM {DEEP}',
)
_LEAST_PREDICTED = 0.01  # share of the pixels, of the class in an image sampled for it
_SHUFFLED_IMAGES = 32
_BATCH = 16  # at most; integrated gradients and their like need no more to be fast


@dataclasses.dataclass(frozen=True)
class Options:
    """Costs of the expensive methods: see `stage.compute`."""

    images: int
    exemplars: int
    steps: int
    samples: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The settings of the stage."""
    parser.add_argument(
        '--images', type=int, default=128, help='sampled for classes; default: %(default)s'
    )
    parser.add_argument(
        '--exemplars', type=int, default=6, help='of each cluster; default: %(default)s'
    )
    parser.add_argument(
        '--steps', type=int, default=32, help='of integrated gradients; default: %(default)s'
    )
    parser.add_argument(
        '--samples', type=int, default=12, help='noisy copies of SmoothGrad; default: %(default)s'
    )
    parser.add_argument(
        '--categories',
        default='',
        metavar='NAME,NAME,…',
        help='categories whose instances the maps are compared with; default: those of the '
        f'classes, {" and ".join(pointing.CATEGORIES)}',
    )


def sample_rows(predicted: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """A fixed sample of images with a class each, evenly over the classes as far as there are any.

    Args:
      predicted: `[N, C]`, share of the pixels that the network gives to each class.
      number: of images.

    Returns:
      Rows and classes, int64 `[J]`, J at most `number`; no row twice. The rarest class comes first.
    """
    fits = predicted[:, 1:] >= _LEAST_PREDICTED
    order = np.random.default_rng(0).permutation(len(predicted))
    rows, classes, left = [], [], number
    ascending = np.argsort(fits.sum(0), kind='stable')
    for done, k in enumerate(ascending.tolist()):
        candidates = order[fits[order, k]]
        free = candidates[~np.isin(candidates, rows)].tolist()
        chosen = free[: left // (len(ascending) - done)]
        rows += chosen
        classes += [k + 1] * len(chosen)
        left -= len(chosen)
    return np.array(rows, np.int64), np.array(classes, np.int64)


def _chunks(examples: Examples, rows: np.ndarray, size: int) -> Iterator[tuple]:
    """(Which of the rows, how many, images uint8 `[size, S, S, 3]`); the last one is repeated."""
    for start in range(0, len(rows), size):
        which = np.arange(start, min(start + size, len(rows)))
        padded = np.pad(which, (0, size - len(which)), mode='edge')
        chunk = [examples[int(row)] for row in rows[padded]]
        yield padded, len(which), np.stack([example['image'] for example in chunk])


def _make_explain(
    score: Callable, value: Callable, input_range: str, grid: int, steps: int, samples: int
):
    """Jitted: maps of all METHODS `[B, M, G, G]`; error of completeness and what is explained."""

    def enlarge(maps):
        return jax.image.resize(maps, (len(maps), grid, grid), 'linear')

    def both(activation, gradient):
        return activation_times_gradient(activation, gradient), grad_cam(activation, gradient)

    @jax.jit
    def explain(variables, images, target, seed):
        x = scale_images(images, input_range)
        baseline = blur(x, x.shape[1] / 12)
        one = functools.partial(score, variables, target=target)
        found = attribute(lambda x: one(x)[:, None], x, (DEEP, FINE), both)
        bounded = functools.partial(value, variables, target=target)
        integrated = integrated_gradients(bounded, x, baseline, steps=steps).sum(-1)
        maps = [
            pool(strength(found.gradient[0]), grid),
            pool(strength(smooth_gradient(one, x, seed, samples=samples)), grid),
            pool(integrated, grid),
            enlarge(found.maps[DEEP][0][0]),
            enlarge(found.maps[FINE][0][0]),
            enlarge(found.maps[DEEP][1][0]),
        ]
        change = bounded(x) - bounded(baseline)
        return jnp.stack(maps, 1), integrated.sum((1, 2)) - change, change

    return explain


def _explain_and_perturb(
    analysis: Analysis,
    score: Callable,
    value: Callable,
    targets: Callable[[np.ndarray, np.ndarray], dict],
    predict: Callable,
    rows: np.ndarray,
    label: np.ndarray,
    options: Options,
    description: str,
) -> tuple[dict[str, np.ndarray], Explained]:
    """Maps and predictions (the arrays of `schema.Examples`), and how faithful the maps are."""
    run, examples = analysis.run, analysis.examples
    size, grid = min(_BATCH, len(rows)), min(GRID, run.config.data.image_size)
    input_range, variables = run.config.data.input_range, jax.device_put(run.variables)
    explain = _make_explain(score, value, input_range, grid, options.steps, options.samples)
    evaluate = jax.jit(value)
    side = run.config.data.image_size
    maps = np.zeros((len(rows), len(METHODS), grid, grid), np.float16)
    predictions = np.zeros((len(rows), side, side), np.uint8)
    parts: dict[str, list[np.ndarray]] = {}
    errors, changes = [], []
    with tqdm(total=len(rows), desc=description, unit='img') as bar:
        for which, count, images in _chunks(examples, rows, size):
            predicted = np.asarray(predict(variables, images))
            target = targets(which, predicted)
            found = jax.device_get(explain(variables, images, target, int(which[0])))
            each, error, change = (part[:count] for part in found)
            largest = np.abs(each).max((2, 3), keepdims=True)
            maps[which[:count]] = each / np.where(largest > 0, largest, 1)
            predictions[which[:count]] = predicted[:count]
            errors.append(error)
            changes.append(change)
            scaled = np.asarray(scale_images(jnp.asarray(images), input_range))
            others = faithfulness.baseline_maps(images, grid, (0, int(which[0])))
            if 'region' in target:  # a map must beat it to show more than the prediction does
                others['prediction'] = pool(target['region'].astype(np.float32), grid)
            ranked = dict(zip(METHODS, np.moveaxis(found[0], 1, 0), strict=True)) | others
            judged = faithfulness.perturbation_curves(
                lambda x, target=target: evaluate(variables, x, target),
                scaled,
                np.asarray(blur(jnp.asarray(scaled), side / 12)),
                ranked,
            )
            for method, curve in judged.items():
                parts.setdefault(method, []).append(curve[:, :count])
            bar.update(count)
    error, change = np.concatenate(errors), np.concatenate(changes)
    curves = {method: np.concatenate(each, 1) for method, each in parts.items()}
    missed = float(np.abs(error).sum() / max(np.abs(change).sum(), 1e-12))
    arrays = {'rows': rows, 'label': label, 'maps': maps, 'prediction': predictions}
    return arrays, Explained(len(rows), missed, faithfulness.summarize_curves(curves))


def _shuffle_weights(
    analysis: Analysis, scores: Scores, rows: np.ndarray, classes: np.ndarray
) -> ShuffledWeights:
    """The sanity check: similarity of the maps to those of a network with shuffled weights."""
    run = analysis.run
    size, grid = min(_BATCH, len(rows)), min(GRID, run.config.data.image_size)
    order = np.random.default_rng(1).permutation(len(rows))[:_SHUFFLED_IMAGES]
    rows, classes = rows[order], classes[order]

    @jax.jit
    def maps_of(variables, images, target):
        found = attribute(
            lambda x: scores.class_score(variables, x, target)[:, None],
            scale_images(images, run.config.data.input_range),
            (DEEP, FINE),
        )
        return {
            'gradient': pool(strength(found.gradient[0]), grid),
            **{f'A×gradient {layer}': found.maps[layer][0] for layer in (DEEP, FINE)},
        }

    regions = jax.jit(
        lambda variables, images: scores.logits(
            variables, scale_images(images, run.config.data.input_range)
        ).argmax(-1)
    )
    chunks = []
    for which, count, images in _chunks(analysis.examples, rows, size):
        predicted = np.asarray(regions(run.variables, images))
        label = classes[which]
        target = {'region': predicted == label[:, None, None], 'label': label}
        chunks.append((count, images, target))

    def all_maps(variables):
        variables = jax.device_put(variables)
        parts = [
            {name: np.asarray(each)[:count] for name, each in maps_of(variables, *rest).items()}
            for count, *rest in chunks
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    correlation = faithfulness.rank_correlation
    original = all_maps(run.variables)
    blocks: list[str] = []
    methods: dict[str, list[float]] = {name: [] for name in original}
    layers = list(find_layers(run, ('*',)))
    cascade = faithfulness.cascade(run.variables, layers, seed=0)
    for block, variables in tqdm(cascade, desc='shuffled weights', unit='block'):
        blocks.append(block)
        for name, maps in all_maps(variables).items():
            methods[name].append(float(correlation(original[name], maps).mean()))
    between = {
        name: float(correlation(maps, np.roll(maps, 1, 0)).mean())
        for name, maps in original.items()
    }
    correlations = {name: tuple(values) for name, values in methods.items()}
    return ShuffledWeights(len(rows), tuple(blocks), correlations, between)


def judge(
    analysis: Analysis, clusters: Clusters | None, shares: np.ndarray, options: Options
) -> dict[str, Any]:
    """The fields of `Saliency` that the expensive methods give.

    Args:
      analysis: whose images.
      clusters: of `open_clusters`.
      shares: `[N, C]`, share of the pixels that are predicted as each class.
      options: costs.
    """
    run = analysis.run
    scores = Scores(run.model, clusters)

    @jax.jit
    def predict(variables: Any, images: jax.Array) -> jax.Array:
        scaled = scale_images(images, run.config.data.input_range)
        return scores.logits(variables, scaled).argmax(-1).astype(jnp.uint8)

    rows, classes = sample_rows(shares, options.images)

    def class_target(which: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
        return {
            'region': predicted == classes[which][:, None, None],
            'label': classes[which],
        }

    result: dict[str, Any] = {
        'classes': None, 'clusters': None, 'shuffled_weights': None, 'class_examples': {},
        'cluster_examples': {},
    }  # fmt: skip
    if len(rows):
        result['class_examples'], result['classes'] = _explain_and_perturb(
            analysis, scores.class_score, scores.class_value, class_target, predict, rows, classes,
            options, 'classes explained',
        )  # fmt: skip
        result['shuffled_weights'] = _shuffle_weights(analysis, scores, rows, classes)
    if clusters:
        exemplars = clusters.exemplars(options.exemplars)
        label = clusters.label[exemplars].astype(np.int64)
        result['cluster_examples'], result['clusters'] = _explain_and_perturb(
            analysis, scores.cluster_score, scores.cluster_score,
            lambda which, _: clusters.target(exemplars[which]), predict, exemplars, label,
            options, 'clusters explained',
        )  # fmt: skip
    return result
