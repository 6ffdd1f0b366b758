"""Losses over `[B, H, W]` label maps in which 255 means "ignore".

A loss is returned as sums together with what they are to be divided by, so that several devices
can divide by the global count: the mean of per-device means is not the global mean when ignored
pixels are spread unevenly.
"""

import jax
import jax.numpy as jnp
import optax

from segmentation.data.masks import IGNORE


def pixel_weights(labels: jax.Array, class_weights: jax.Array) -> jax.Array:
    """Weight of every pixel: its class' weight, 0 where ignored. `[B, H, W]` float."""
    valid = labels != IGNORE
    return jnp.where(valid, class_weights[jnp.where(valid, labels, 0)], 0)


def cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """Cross-entropy of every pixel in nats, meaningless where the label is ignored.

    Args:
      logits: `[B, H, W, C]` float.
      labels: `[B, H, W]` integer, 0 … C - 1 or 255.
      label_smoothing: share of the target spread evenly over all classes (Szegedy et al. 2016).

    Returns:
      `[B, H, W]` float.
    """
    targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    if label_smoothing:
        targets = optax.smooth_labels(targets, label_smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def dice_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Soft Dice loss of each image, averaged over classes; ignored pixels count nowhere.

    1 - (2 Σ p·t + 1) / (Σ p + Σ t + 1) with probabilities p and one-hot targets t, summed over the
    pixels of one image (Milletari et al. 2016, with the usual +1 that makes an absent class that
    is not predicted cost nothing). Per image, so that it is the same however a batch is divided.

    Args:
      logits: `[B, H, W, C]` float.
      labels: `[B, H, W]` integer, 0 … C - 1 or 255.

    Returns:
      `[B]` float in [0, 1].
    """
    valid = (labels != IGNORE)[..., None]
    probabilities = jnp.where(valid, jax.nn.softmax(logits), 0)
    targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    overlap = jnp.sum(probabilities * targets, axis=(1, 2))
    total = jnp.sum(probabilities + targets, axis=(1, 2))
    return 1 - jnp.mean((2 * overlap + 1) / (total + 1), axis=-1)
