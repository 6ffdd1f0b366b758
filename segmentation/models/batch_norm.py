"""Batch normalization (Ioffe and Szegedy, 2015, arXiv:1502.03167) with a gradient in closed form.

Automatic differentiation would keep several arrays of the size of the input and make more passes
over them (see README.md). Variables have the names and meaning of `flax.linen.BatchNorm`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from segmentation.models.parameters import parameter


def _average(values: Any, axis_name: str | None) -> Any:
    return values if axis_name is None else lax.pmean(values, axis_name)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def normalize(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalizes `x` [B, H, W, C] by the statistics of the batch; `scale` and `bias` are [C].

    The statistics are averaged over the mapped axis `axis_name` too.

    Returns:
      (y, mean, variance): `[B, H, W, C]` in the dtype of `x`; `[C]` and `[C]` in the dtype of
      `scale`, without gradients.
    """
    return _normalize_forward(x, scale, bias, epsilon, axis_name)[0]


# XLA's CPU backend sums x, x², g and g·x without storing an intermediate array. With x - mean
# instead of x, it would store one for every sum.


def _normalize_forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, axis_name: str | None
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], tuple[jax.Array, ...]]:
    wide = x.astype(scale.dtype)
    mean, square = _average((wide.mean((0, 1, 2)), jnp.square(wide).mean((0, 1, 2))), axis_name)
    variance = jnp.maximum(square - jnp.square(mean), 0)
    inverse = lax.rsqrt(variance + epsilon)
    y = affine(x, mean, scale * inverse, bias)
    return (y, mean, variance), (x, mean, inverse, scale)


def _normalize_backward(
    epsilon: float,
    axis_name: str | None,
    residuals: tuple[jax.Array, ...],
    cotangents: tuple[jax.Array, ...],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, mean, inverse, scale = residuals
    wide, g = x.astype(scale.dtype), cotangents[0].astype(scale.dtype)
    bias_gradient = g.sum((0, 1, 2))
    scale_gradient = ((g * wide).sum((0, 1, 2)) - mean * bias_gradient) * inverse
    pixels = x.size // x.shape[-1]
    mean_g, mean_gx = _average((bias_gradient / pixels, scale_gradient / pixels), axis_name)
    # scale · inverse · (g - mean_g - normalized x · mean_gx), as g · a - x · b + c
    a = scale * inverse
    b = a * inverse * mean_gx
    gx = g * a - wide * b + (mean * b - a * mean_g)
    return gx.astype(x.dtype), scale_gradient, bias_gradient


normalize.defvjp(_normalize_forward, _normalize_backward)


@jax.custom_vjp
def affine(x: jax.Array, mean: jax.Array, factor: jax.Array, bias: jax.Array) -> jax.Array:
    """(x - mean) · factor + bias per channel: computed in the dtype of `mean`, returned in x's."""
    return ((x.astype(mean.dtype) - mean) * factor + bias).astype(x.dtype)


def _affine_backward(
    residuals: tuple[jax.Array, ...], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    x, mean, factor = residuals
    wide, g = x.astype(mean.dtype), cotangent.astype(mean.dtype)
    bias_gradient = g.sum((0, 1, 2))
    factor_gradient = (g * wide).sum((0, 1, 2)) - mean * bias_gradient
    return (g * factor).astype(x.dtype), -factor * bias_gradient, factor_gradient, bias_gradient


affine.defvjp(lambda x, *rest: (affine(x, *rest), (x, *rest[:2])), _affine_backward)


class Activation(nn.Module):
    """A function of an array, as a module whose output can be captured by name."""

    function: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return self.function(x)


class BatchNorm(nn.Module):
    """Normalizes each channel over batch and pixels."""

    momentum: float  # fraction of the running statistics kept at each training step
    epsilon: float = 1e-3  # added to the variance
    axis_name: str | None = None  # mapped axis over which batch statistics are averaged too

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps [B, H, W, C] to the same shape and dtype; statistics and parameters are float32.

        In training, normalizes by the statistics of the batch and updates the running ones. At
        inference, normalizes by the running ones.
        """
        shape = x.shape[-1:]
        scale = parameter(self, 'scale', nn.initializers.ones_init(), shape)
        bias = parameter(self, 'bias', nn.initializers.zeros_init(), shape)
        running_mean = self.variable('batch_stats', 'mean', jnp.zeros, shape)
        running_var = self.variable('batch_stats', 'var', jnp.ones, shape)
        if not train or self.is_initializing():
            factor = lax.rsqrt(running_var.value + self.epsilon) * scale
            return affine(x, running_mean.value, factor, bias)
        y, mean, variance = normalize(x, scale, bias, self.epsilon, self.axis_name)
        for running, value in ((running_mean, mean), (running_var, variance)):
            running.value = self.momentum * running.value + (1 - self.momentum) * value
        return y
