"""MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381), the same network as in Keras.

Modules have the names of Keras' layers. So Keras' weights fit by name, and
`capture_intermediates` returns activations under these names.
"""

import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from segmentation.models import fast_conv
from segmentation.models.batch_norm import Activation, BatchNorm
from segmentation.models.parameters import parameter

# The skip connections of the published segmentation model, and the deepest layer: the last
# activations at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input size.
PUBLISHED_TAPS = (
    'block_1_expand_relu',
    'block_3_expand_relu',
    'block_6_expand_relu',
    'block_13_expand_relu',
    'block_16_project',
)

# (channels at width 1, stride) of blocks 0 to 16; Table 2 of the paper.
BLOCKS = (
    (16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1), (64, 1),
    (96, 1), (96, 1), (96, 1), (160, 2), (160, 1), (160, 1), (320, 1),
)  # fmt: skip
_EXPANSION = 6

_glorot = nn.initializers.glorot_uniform()


def _multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and at most 10 % below `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class Conv(nn.Module):
    """A convolution of `fast_conv` without bias."""

    function: Callable[..., jax.Array]  # maps (x, kernel) to the output
    shape: tuple[int, ...]  # of the kernel
    dtype: Any = jnp.float32  # of input, kernel and output; the parameter is float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = parameter(self, 'kernel', _glorot, self.shape)
        return self.function(x.astype(self.dtype), kernel.astype(self.dtype))


@jax.custom_vjp
def relu6(x: jax.Array) -> jax.Array:
    """min(max(x, 0), 6), any shape. Its gradient needs only the output, which is kept anyway."""
    return jnp.clip(x, 0, 6)


relu6.defvjp(
    lambda x: (relu6(x),) * 2,
    lambda y, g: (jnp.where((y > 0) & (y < 6), g, 0),),
)


class MobileNetV2(nn.Module):
    """The convolutional part of MobileNetV2, up to the last layer in `taps`."""

    width: float = 1.0  # multiplier of the channel counts (Keras' `alpha`), positive
    # Names of the layers to return; any convolution, BatchNorm, ReLU6 or `block_*_add`.
    taps: tuple[str, ...] = PUBLISHED_TAPS
    # bn_momentum, bn_axis_name: `momentum` and `axis_name` of every `BatchNorm`
    bn_momentum: float = 0.999
    bn_axis_name: str | None = None
    # Of convolutions and activations; parameters and statistics are float32.
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Maps images `[B, H, W, 3]` to activations; in [-1, 1] for ImageNet weights.

        In training, normalizes by batch statistics and updates the running ones.

        Returns:
          Layer name → `[B, ceil(H / s), ceil(W / s), C]`, with s a power of 2 up to 32.

        Raises:
          ValueError: an unknown layer in `taps`, a width that is not positive, or an invalid input.
        """
        if not self.width > 0:
            raise ValueError(f'width must be positive, got {self.width}')
        if x.ndim != 4 or x.shape[3] != 3:
            raise ValueError(f'expected images [B, H, W, 3], got shape {x.shape}')
        if min(x.shape[1:3]) < 32:
            raise ValueError(f'images must be at least 32×32, got {x.shape[1]}×{x.shape[2]}')
        wanted = set(self.taps)
        found = {}
        for name, activation in self._layers(x, train):
            if name in wanted:
                found[name] = activation
                if len(found) == len(wanted):
                    break
        if missing := wanted - set(found):
            raise ValueError(f'MobileNetV2 has no layer named {", ".join(sorted(missing))}')
        return {name: found[name] for name in self.taps}

    def _layers(self, x: jax.Array, train: bool) -> Iterator[tuple[str, jax.Array]]:
        """Yields (name, activation) of one layer after the other; later layers are not built."""

        def conv_bn(
            x: jax.Array, names: Sequence[str], function: Callable[..., jax.Array], *shape: int
        ) -> Generator[tuple[str, jax.Array], None, jax.Array]:
            """Convolution, BatchNorm and, with a third name, ReLU6."""
            x = Conv(function, shape, self.dtype, name=names[0])(x)
            yield names[0], x
            norm = BatchNorm(self.bn_momentum, axis_name=self.bn_axis_name, name=names[1])
            x = norm(x, train=train)
            yield names[1], x
            for name in names[2:]:
                x = Activation(relu6, name=name)(x)
                yield name, x
            return x

        names = ['Conv1', 'bn_Conv1', 'Conv1_relu']
        kernel = 3, 3, 3, _multiple_of_8(32 * self.width)
        x = yield from conv_bn(x, names, functools.partial(fast_conv.conv, stride=2), *kernel)
        for i, (channels, stride) in enumerate(BLOCKS):
            prefix = f'block_{i}' if i else 'expanded_conv'
            inputs = x
            wide = _EXPANSION * x.shape[-1] if i else x.shape[-1]
            if i:
                names = [f'{prefix}_expand{end}' for end in ('', '_BN', '_relu')]
                kernel = 1, 1, x.shape[-1], wide
                x = yield from conv_bn(x, names, fast_conv.pointwise_conv, *kernel)
            names = [f'{prefix}_depthwise{end}' for end in ('', '_BN', '_relu')]
            depthwise = functools.partial(fast_conv.depthwise_conv, stride=stride)
            x = yield from conv_bn(x, names, depthwise, 3, 3, 1, wide)
            names = [f'{prefix}_project{end}' for end in ('', '_BN')]
            kernel = 1, 1, wide, _multiple_of_8(int(channels * self.width))
            x = yield from conv_bn(x, names, fast_conv.pointwise_conv, *kernel)
            if inputs.shape == x.shape:
                x = inputs + x
                yield f'{prefix}_add', x
        # Narrow networks keep the full last layer, as in the paper.
        kernel = 1, 1, x.shape[-1], _multiple_of_8(1280 * max(self.width, 1.0))
        names = ['Conv_1', 'Conv_1_bn', 'out_relu']
        yield from conv_bn(x, names, fast_conv.pointwise_conv, *kernel)
