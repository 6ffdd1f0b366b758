"""Which pixels and which features a score of the network depends on.

A score is a function of images that gives one number per image; `scores` gives T of them, `[B, T]`.
The functions need reverse-mode derivatives only, and take any Flax network as it is.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

Array = jax.Array | np.ndarray
A = TypeVar('A', jax.Array, np.ndarray)


def differentiable(model: nn.Module) -> nn.Module:
    """The same network with gradients through the encoder, which a frozen one stops."""
    return model.clone(encoder_trainable=True)


def class_evidence(logits: jax.Array, region: jax.Array, label: jax.Array) -> jax.Array:
    """Mean log-odds of a class, log p / (1 - p) in nats, over a region of each image, `[B]`.

    Logits are `[B, H, W, C]`, the region is bool `[B, H, W]`, the class, `label`, integer `[B]`. An
    image with an empty region scores 0.
    """
    is_class = jnp.arange(logits.shape[-1]) == label[:, None, None, None]
    own = jnp.where(is_class, logits, 0).sum(-1)
    others = jax.nn.logsumexp(jnp.where(is_class, -jnp.inf, logits), axis=-1)
    return _mean_over(own - others, region)


def class_probability(logits: jax.Array, region: jax.Array, label: jax.Array) -> jax.Array:
    """Mean probability of a class over a region; arguments as of `class_evidence`. `[B]`."""
    is_class = jnp.arange(logits.shape[-1]) == label[:, None, None, None]
    return _mean_over(jnp.where(is_class, jax.nn.softmax(logits), 0).sum(-1), region)


def _mean_over(values: jax.Array, region: jax.Array) -> jax.Array:
    return (values * region).sum((1, 2)) / region.sum((1, 2)).clip(1)


def cluster_margin(embedding: jax.Array, own: jax.Array, other: jax.Array) -> jax.Array:
    """How much nearer an embedding is to one centroid than to another, `[B, D]` each → `[B]`.

    |e - other|² - |e - own|²: positive where `own` is nearer, and linear in the embedding.
    """
    return jnp.square(embedding - other).sum(-1) - jnp.square(embedding - own).sum(-1)


def activation_times_gradient(activation: jax.Array, gradient: jax.Array) -> jax.Array:
    """Σ_c A·∂s/∂A at each place of a layer (HiResCAM, Draelos and Carin 2020, before its ReLU).

    Positive where the activations are evidence for the score. `[B, h, w, C]` twice → `[B, h, w]`.
    """
    return (activation * gradient).sum(-1)


def grad_cam(activation: jax.Array, gradient: jax.Array) -> jax.Array:
    """Σ_c A · mean over places of ∂s/∂A_c (Grad-CAM, Selvaraju et al. 2017, before its ReLU).

    `[B, h, w, C]` twice → `[B, h, w]`. With the class's region as score this is Seg-Grad-CAM
    (Vinogradova et al. 2020).
    """
    return (activation * gradient.mean((1, 2), keepdims=True)).sum(-1)


# Makes a map `[B, h, w]`, or a tuple of maps, of activations and gradients `[B, h, w, C]`.
Weigh = Callable[[jax.Array, jax.Array], Any]


class Attribution(NamedTuple):
    """Of T scores of B images, of which R weighted sums are explained."""

    scores: jax.Array  # [B, T]
    gradient: jax.Array  # [R, B, H, W, 3], with respect to the images
    maps: dict[str, Any]  # [R, B, h, w] by layer, or tuples of them
    # [R, B, C] by layer, Σ over places of A·∂s/∂A: the evidence of each channel.
    channels: dict[str, jax.Array]


def attribute(
    scores: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    layers: Mapping[str, Weigh],
    weights: jax.Array | None = None,
    references: Mapping[str, jax.Array] = MappingProxyType({}),
) -> Attribution:
    """Gradients with respect to images and to the outputs of layers, one backward pass per sum.

    Zeros are added to the outputs of the layers, and the derivative with respect to these zeros is
    that with respect to the outputs. So this works for any layer of any network, unchanged.

    Args:
      scores: images `[B, H, W, 3]` → `[B, T]`; calls a Flax network in any way. A score of one
        image must not depend on the others (no BatchNorm in training mode).
      images: float `[B, H, W, 3]`.
      layers: paths of modules that return `[B, h, w, C]`, such as 'encoder/block_6_expand_relu',
        with `activation_times_gradient`, `grad_cam` or another function for their maps.
      weights: `[R, B, T]`, of the scores in each sum; default: R = T, each score alone. A sum with
        weights 0 costs no time.
      references: `[h, w, C]` by layer, subtracted from its activations before maps are made.

    Raises:
      ValueError: the network has no such layer.
    """
    shapes = jax.eval_shape(lambda x: _tapped(scores, x, dict.fromkeys(layers, 0))[1], images)
    if missing := set(layers) - set(shapes):
        raise ValueError(f'The network has no layer {", ".join(sorted(missing))}.')
    zeros = {layer: jnp.zeros(shapes[layer].shape, shapes[layer].dtype) for layer in layers}
    result, pull_back, activations = jax.vjp(
        lambda x, offsets: _tapped(scores, x, offsets), images, zeros, has_aux=True
    )
    activations = lax.stop_gradient(activations)

    def explain(weight: jax.Array) -> tuple[jax.Array, dict[str, Any], dict[str, jax.Array]]:
        gradient, by_layer = pull_back(weight)
        maps, channels = {}, {}
        for layer, weigh in layers.items():
            centered = activations[layer] - references.get(layer, 0)
            maps[layer] = weigh(centered, by_layer[layer])
            channels[layer] = (activations[layer] * by_layer[layer]).sum((1, 2))
        return gradient, maps, channels

    if weights is None:
        each = jnp.eye(result.shape[-1], dtype=result.dtype)[:, None]
        weights = jnp.broadcast_to(each, (len(each), *result.shape))
    nothing = jax.eval_shape(explain, result)

    def skip(_: jax.Array) -> Any:
        return jax.tree.map(lambda each: jnp.zeros(each.shape, each.dtype), nothing)

    def explain_or_skip(weight: jax.Array) -> Any:
        return lax.cond(weight.any(), explain, skip, weight)

    return Attribution(result, *lax.map(explain_or_skip, weights))


def _tapped(
    scores: Callable[[jax.Array], jax.Array], images: jax.Array, offsets: Mapping[str, Any]
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Scores with offsets added to the outputs of layers, and these outputs."""
    outputs: dict[str, jax.Array] = {}

    def intercept(call: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        output = call(*args, **kwargs)
        layer = '/'.join(context.module.path)
        if context.method_name == '__call__' and layer in offsets:
            output = outputs[layer] = output + offsets[layer]
        return output

    with nn.intercept_methods(intercept):
        result = scores(images)
    return result, outputs


def gradient(score: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
    """∂s/∂x (Simonyan et al. 2014). `[B, H, W, 3]` → the same shape."""
    return jax.grad(lambda x: score(x).sum())(images)


def smooth_gradient(
    gradient: Callable[[jax.Array], Array],
    images: Array,
    seed: int,
    *,
    samples: int = 16,
) -> jax.Array:
    """SmoothGrad (Smilkov et al. 2017): the mean gradient over noisy copies of the images.

    `gradient` takes images, float `[B, H, W, 3]`, and returns ∂s/∂x. The noise has a
    standard deviation of 0.15 of each image's range of values.
    """
    keys = jax.random.split(jax.random.key(seed), samples)
    return jnp.asarray(sum(gradient(_add_noise(images, key)) for key in keys)) / samples


@jax.jit
def _add_noise(images: jax.Array, key: jax.Array) -> jax.Array:
    deviation = 0.15 * (images.max((1, 2, 3)) - images.min((1, 2, 3)))[:, None, None, None]
    return images + deviation * jax.random.normal(key, images.shape, images.dtype)


def integrated_gradients(
    gradient: Callable[[jax.Array], Array],
    images: Array,
    baseline: Array,
    *,
    steps: int = 16,
) -> jax.Array:
    """Integrated gradients (Sundararajan et al. 2017) by Gauss-Legendre quadrature.

    (x - x') · ∫ ∂s/∂x (x' + α (x - x')) dα. Complete: an image's attributions add up to
    s(x) - s(x'), except for the error of the rule.

    `gradient` takes images, float `[B, H, W, 3]`, and returns ∂s/∂x at each of the steps. On
    networks with ReLUs, 16 of these steps miss completeness by as much as 32 steps of the midpoint
    rule.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # of -1 … 1
    shares = ((nodes + 1) / 2).astype(np.float32)
    total = sum(
        weight * gradient(_between(images, baseline, share))
        for share, weight in zip(shares, (weights / 2).astype(np.float32), strict=True)
    )
    return jnp.asarray(images - baseline) * total


@jax.jit
def _between(images: jax.Array, baseline: jax.Array, share: float) -> jax.Array:
    return baseline + share * (images - baseline)


def blur(images: Array, deviation: float) -> jax.Array:
    """Gaussian blur of float `[B, H, W, C]`, with a standard deviation in pixels.

    At the border the weights inside the image are scaled up to 1.
    """

    def weights(length: int) -> np.ndarray:
        distance = np.arange(length)[:, None] - np.arange(length)
        gaussian = np.exp(-np.square(distance / deviation) / 2)
        return (gaussian / gaussian.sum(1, keepdims=True)).astype(np.float32)

    rows, columns = map(weights, images.shape[1:3])
    return jnp.einsum('ih,jw,bhwc->bijc', rows, columns, images).astype(images.dtype)


def pool(maps: A, size: int) -> A:
    """Means over the cells of a grid, `[..., H, W]` → `[..., size, size]`; NumPy or JAX.

    A pixel that lies on the border of cells counts in each by its share.
    """
    rows, columns = (_cell_weights(length, size) for length in maps.shape[-2:])
    return rows @ maps @ columns.T


def enlarge(maps: np.ndarray, size: int) -> np.ndarray:
    """Linear interpolation of maps, `[A, B, h, w]` → float32 `[A, B, size, size]`."""
    return np.asarray(_resize(maps.astype(np.float32), size))


@functools.partial(jax.jit, static_argnums=1)
def _resize(maps: jax.Array, size: int) -> jax.Array:
    return jax.image.resize(maps, (*maps.shape[:2], size, size), 'linear')


def _cell_weights(length: int, size: int) -> np.ndarray:
    edges = np.arange(size + 1) * length / size
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(length)
    overlap = np.minimum(high, pixel + 1) - np.maximum(low, pixel)
    return (overlap.clip(0) * size / length).astype(np.float32)


def strength(gradients: jax.Array) -> jax.Array:
    """Length of each pixel's gradient: `[..., 3]` → `[...]`, not negative."""
    return jnp.sqrt(jnp.square(gradients).sum(-1))
