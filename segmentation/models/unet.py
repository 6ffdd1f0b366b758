"""The U-Net: MobileNetV2 encoder, skip connections and pix2pix decoder."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from flax import linen as nn

from segmentation.models import mobilenet_v2, pix2pix
from segmentation.models.pix2pix import require_one_of

ENCODER_STATISTICS = ('batch', 'fixed')
INPUT_RANGES = ('imagenet', 'unit')
DTYPES = ('float32', 'bfloat16')


def scale_images(images: jax.Array, input_range: str) -> jax.Array:
    """Scales images uint8 in [0, 255] to float32 in the input range of the network.

    'imagenet' is [-1, 1], which the ImageNet weights expect; 'unit' is [0, 1], as in the published
    experiment.

    Raises:
      ValueError: another range, or images that are not uint8.
    """
    if images.dtype != jnp.uint8:
        raise ValueError(f'images must be uint8 in [0, 255], got {images.dtype}')
    require_one_of('input_range', input_range, INPUT_RANGES)
    wide = images.astype(jnp.float32)
    return wide / 127.5 - 1 if input_range == 'imagenet' else wide / 255


class SegmentationModel(nn.Module):
    """Computes logits for every pixel."""

    num_classes: int  # including background
    width: float = 1.0  # width multiplier of MobileNetV2
    # If False, the encoder's BatchNorm runs in inference mode and no gradient flows into the
    # encoder.
    encoder_trainable: bool = True
    # What a trainable encoder's BatchNorm normalizes by in training: 'batch' statistics, or the
    # loaded running ones, kept 'fixed'.
    encoder_statistics: str = 'batch'
    decoder_width: float = 1.0  # multiplier of the decoder's channels
    norm: str = 'batch'  # of the decoder, 'batch' or 'instance'
    # Rate in the decoder, 0 for none; needs the 'dropout' random stream in training.
    dropout: float = 0.0
    upsampling: str = 'transposed'  # in the decoder, 'transposed' or 'nearest_conv'
    # Fraction of the running statistics kept at each training step.
    encoder_bn_momentum: float = 0.999
    decoder_bn_momentum: float = 0.99  # the same for the decoder
    bn_axis_name: str | None = None  # pmap axis over which batch statistics are averaged
    # Of convolutions and activations; parameters and statistics are float32.
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images to logits.

        Any size of at least 32 pixels works. If a size is not divisible by 32, feature maps round
        up, and the last row or column of the upsampled maps, logits included, is cut off.

        Args:
          images: `[B, H, W, 3]` floating point, scaled by `scale_images`; H and W at least 32.
          train: whether BatchNorm and dropout run in training mode.

        Returns:
          float32 `[B, H, W, num_classes]`.

        Raises:
          ValueError: an attribute out of its range, or images of the wrong shape or dtype.
        """
        require_one_of('encoder_statistics', self.encoder_statistics, ENCODER_STATISTICS)
        if self.num_classes < 2:
            raise ValueError(
                f'num_classes counts the background, so at least 2; got {self.num_classes}'
            )
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(
                f'images must be floating point (see scale_images), got {images.dtype}'
            )
        batch_statistics = self.encoder_trainable and self.encoder_statistics == 'batch'
        features = mobilenet_v2.MobileNetV2(
            width=self.width,
            bn_momentum=self.encoder_bn_momentum,
            bn_axis_name=self.bn_axis_name,
            dtype=self.dtype,
            name='encoder',
        )(images, train=train and batch_statistics)
        if not self.encoder_trainable:
            features = jax.lax.stop_gradient(features)
        logits = pix2pix.Decoder(
            self.num_classes,
            width=self.decoder_width,
            norm=self.norm,
            dropout=self.dropout,
            upsampling=self.upsampling,
            bn_momentum=self.decoder_bn_momentum,
            bn_axis_name=self.bn_axis_name,
            dtype=self.dtype,
            name='decoder',
        )([features[tap] for tap in mobilenet_v2.PUBLISHED_TAPS], train=train)
        logits = logits[:, : images.shape[1], : images.shape[2]]
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def build_model(
    config: ml_collections.ConfigDict, num_classes: int, bn_axis_name: str | None = None
) -> SegmentationModel:
    """The model that a `model` config describes; its fields are attributes of `SegmentationModel`.

    Raises:
      ValueError: unknown dtype.
    """
    require_one_of('dtype', config.dtype, DTYPES)
    fields = {name: config[name] for name in config if not name.startswith('pretrained')}
    fields['dtype'] = jnp.dtype(config.dtype)
    return SegmentationModel(num_classes, bn_axis_name=bn_axis_name, **fields)
