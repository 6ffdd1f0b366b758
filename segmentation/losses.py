"""Losses of pixels and images for labels `[B, H, W]`, in which 255 means "ignore".

They are not averaged over a batch here, so that several devices can divide by the global count. If
devices have different numbers of ignored pixels, the mean of their means is not the global mean.
"""

import jax
import jax.numpy as jnp
import optax

from segmentation.data.masks import IGNORE


def pixel_weights(labels: jax.Array, class_weights: jax.Array) -> jax.Array:
    """Weight of every pixel: the weight of its class, or 0 if it is ignored.

    Args:
      labels: integer `[B, H, W]`, 0 … C - 1 or 255.
      class_weights: float `[C]`.

    Returns:
      float `[B, H, W]`.
    """
    valid = labels != IGNORE
    return jnp.where(valid, class_weights[jnp.where(valid, labels, 0)], 0)


def cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """Cross-entropy of every pixel in nats; meaningless for ignored pixels.

    Args:
      logits: float `[B, H, W, C]`.
      labels: integer `[B, H, W]`, 0 … C - 1 or 255.
      label_smoothing: fraction of the target spread evenly over all classes (Szegedy et al. 2016).

    Returns:
      float `[B, H, W]`.
    """
    targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    if label_smoothing:
        targets = optax.smooth_labels(targets, label_smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def dice_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Soft Dice loss of each image, averaged over classes, without ignored pixels.

    1 - (2 Σ p·t + 1) / (Σ p + Σ t + 1) with probabilities p and one-hot targets t, summed over the
    pixels of one image (Sudre et al. 2017, for each class). With the usual + 1, a class that is
    neither in the image nor predicted costs nothing.

    Args:
      logits: float `[B, H, W, C]`.
      labels: integer `[B, H, W]`, 0 … C - 1 or 255.

    Returns:
      float `[B]` in [0, 1].
    """
    valid = (labels != IGNORE)[..., None]
    probabilities = jnp.where(valid, jax.nn.softmax(logits), 0)
    targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    overlap = jnp.sum(probabilities * targets, axis=(1, 2))
    total = jnp.sum(probabilities + targets, axis=(1, 2))
    return 1 - jnp.mean((2 * overlap + 1) / (total + 1), axis=-1)
