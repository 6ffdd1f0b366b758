"""The decoder, with the upsampling blocks of pix2pix (Isola et al., 2017, arXiv:1611.07004)."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from segmentation.models import fast_conv
from segmentation.models.batch_norm import Activation, BatchNorm
from segmentation.models.parameters import parameter

FILTERS = (512, 256, 128, 64)
NORMS = ('batch', 'instance')
UPSAMPLINGS = ('transposed', 'nearest_conv')

_kernel_init = nn.initializers.normal(0.02)


def require_one_of(name: str, value: str, options: Sequence[str]) -> None:
    """Raises a ValueError that names the options unless the value is one of them."""
    if value not in options:
        raise ValueError(f'{name} must be one of {options}, got {value!r}')


class Upsample2x(nn.Module):
    """Doubles height and width with a learned 3×3 convolution.

    'transposed' is a transposed convolution with stride 2 (kernel [3, 3, out, in], as in Keras);
    'nearest_conv' repeats every pixel 2×2 and convolves (kernel [3, 3, in, out]).
    """

    features: int
    upsampling: str = 'transposed'
    use_bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, xs: Sequence[jax.Array]) -> jax.Array:
        """Maps feature maps `[B, H, W, C_i]`, as concatenated, to `[B, 2H, 2W, features]`."""
        xs = [x.astype(self.dtype) for x in xs]
        channels = sum(x.shape[-1] for x in xs)
        if self.upsampling == 'transposed':
            kernel = parameter(self, 'kernel', _kernel_init, (3, 3, self.features, channels))
            x = fast_conv.conv_transpose(xs, kernel.astype(self.dtype))
        else:
            kernel = parameter(self, 'kernel', _kernel_init, (3, 3, channels, self.features))
            x = jnp.concatenate(xs, axis=-1).repeat(2, axis=1).repeat(2, axis=2)
            x = fast_conv.conv(x, kernel.astype(self.dtype))
        if self.use_bias:
            bias = parameter(self, 'bias', nn.initializers.zeros_init(), (self.features,))
            x = x + bias.astype(self.dtype)
        return x


class InstanceNorm(nn.Module):
    """Normalizes each channel of each image over its pixels (Ulyanov et al., 2016).

    The scale is initialized from N(1, 0.02) and the bias with 0, as in pix2pix.
    """

    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = parameter(
            self, 'scale', lambda key, shape: 1 + _kernel_init(key, shape), (x.shape[-1],)
        )
        bias = parameter(self, 'bias', nn.initializers.zeros_init(), (x.shape[-1],))
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean = wide.mean((1, 2), keepdims=True)
        variance = jnp.square(wide - mean).mean((1, 2), keepdims=True)
        y = (wide - mean) * (jax.lax.rsqrt(variance + self.epsilon) * scale) + bias
        return y.astype(self.dtype)


class Decoder(nn.Module):
    """Maps encoder features at five scales to logits at twice the finest scale.

    Each block upsamples, normalizes, applies dropout and ReLU, and concatenates the skip connection
    of the next finer scale. A last upsampling gives the logits. If a feature map has an odd size,
    the last row or column of the upsampled map is cut off.

    The result has `num_classes` channels; `unet.SegmentationModel` documents the other attributes.
    """

    num_classes: int
    width: float = 1.0  # multiplier of FILTERS
    norm: str = 'batch'
    dropout: float = 0.0
    upsampling: str = 'transposed'
    bn_momentum: float = 0.99
    bn_axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], *, train: bool) -> jax.Array:
        """Maps [B, ceil(H / s), ceil(W / s), C_s] for s = 2, 4, 8, 16, 32 to logits.

        In training, normalizes by batch statistics, updates the running ones, and applies dropout.

        Returns:
          [B, 2 ceil(H / 2), 2 ceil(W / 2), num_classes] in `dtype`.

        Raises:
          ValueError: an attribute out of its range, or a wrong number of feature maps.
        """
        require_one_of('norm', self.norm, NORMS)
        require_one_of('upsampling', self.upsampling, UPSAMPLINGS)
        if not 0 <= self.dropout < 1:
            raise ValueError(f'dropout must be in [0, 1), got {self.dropout}')
        if len(features) != len(FILTERS) + 1:
            raise ValueError(f'expected {len(FILTERS) + 1} feature maps, got {len(features)}')
        filters_of = [max(1, round(self.width * filters)) for filters in FILTERS]
        *skips, deepest = features
        xs = [deepest]
        for i, (filters, skip) in enumerate(zip(filters_of, reversed(skips), strict=True), start=1):
            x = Upsample2x(filters, self.upsampling, dtype=self.dtype, name=f'up_{i}')(xs)
            x = x[:, : skip.shape[1], : skip.shape[2]]
            name = f'up_{i}_norm'
            if self.norm == 'batch':
                norm = BatchNorm(self.bn_momentum, axis_name=self.bn_axis_name, name=name)
                x = norm(x, train=train)
            else:
                x = InstanceNorm(dtype=self.dtype, name=name)(x)
            if self.dropout:
                x = nn.Dropout(self.dropout, deterministic=not train, name=f'up_{i}_dropout')(x)
            x = Activation(jax.nn.relu, name=f'up_{i}_relu')(x)
            xs = [x, skip]
        logits = Upsample2x(self.num_classes, self.upsampling, True, self.dtype, name='logits')
        return logits(xs)
