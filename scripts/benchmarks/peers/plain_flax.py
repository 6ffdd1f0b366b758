"""The project's network in idiomatic Flax: the same parameters, plain convolutions."""

import jax
import jax.numpy as jnp
from architecture import BLOCKS, DECODER, EPSILON, EXPANSION, MOMENTUM, TAPS
from flax import linen as nn


class _Part(nn.Module):
    axis_name: str | None

    def conv(self, x, features, name, kernel=1, stride=1, groups=1):
        return nn.Conv(
            features, (kernel, kernel), stride, 'SAME', feature_group_count=groups, use_bias=False,
            name=name,
        )(x)  # fmt: skip

    def norm(self, x, name, train, momentum):
        return nn.BatchNorm(
            not train, momentum=momentum, epsilon=EPSILON, axis_name=self.axis_name, name=name
        )(x)


class _Encoder(_Part):
    @nn.compact
    def __call__(self, x, train):
        def norm(x, name):
            return self.norm(x, name, train, MOMENTUM[0])

        features = []
        x = nn.relu6(norm(self.conv(x, 32, 'Conv1', 3, 2), 'bn_Conv1'))
        for i, (channels, stride) in enumerate(BLOCKS):
            prefix = f'block_{i}' if i else 'expanded_conv'
            inputs = x
            if i:
                x = self.conv(x, EXPANSION * x.shape[-1], f'{prefix}_expand')
                x = nn.relu6(norm(x, f'{prefix}_expand_BN'))
            if i in TAPS:
                features.append(x)
            x = self.conv(x, x.shape[-1], f'{prefix}_depthwise', 3, stride, x.shape[-1])
            x = nn.relu6(norm(x, f'{prefix}_depthwise_BN'))
            x = self.conv(x, channels, f'{prefix}_project')
            if i + 1 < len(BLOCKS):
                x = norm(x, f'{prefix}_project_BN')
            x = inputs + x if inputs.shape == x.shape else x
        return [*features, x]


class _Decoder(_Part):
    num_classes: int

    @nn.compact
    def __call__(self, features, train):
        def up(x, features, name, use_bias=False):
            return nn.ConvTranspose(
                features, (3, 3), (2, 2), 'SAME', transpose_kernel=True, use_bias=use_bias,
                kernel_init=nn.initializers.normal(0.02), name=name,
            )(x)  # fmt: skip

        *skips, x = features
        for i, (filters, skip) in enumerate(zip(DECODER, reversed(skips), strict=True), start=1):
            x = self.norm(up(x, filters, f'up_{i}'), f'up_{i}_norm', train, MOMENTUM[1])
            x = jnp.concatenate([nn.relu(x), skip], axis=-1)
        return up(x, self.num_classes, 'logits', use_bias=True)


class PlainModel(nn.Module):
    """Has the variables of `segmentation.models.unet.SegmentationModel` at width 1."""

    num_classes: int
    encoder_trainable: bool = True
    bn_axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, 3]` in [-1, 1], H and W multiples of 32, to logits `[B, H, W, K]`."""
        trainable = self.encoder_trainable
        features = _Encoder(self.bn_axis_name, name='encoder')(images, train and trainable)
        features = features if trainable else jax.lax.stop_gradient(features)
        return _Decoder(self.bn_axis_name, self.num_classes, name='decoder')(features, train)
