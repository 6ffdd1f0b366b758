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


def lovasz_softmax(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Lovász-softmax loss of each image, averaged over its classes (Berman et al. 2018).

    The convex surrogate of 1 - IoU: errors |t - p| of a class, in descending order, are weighted by
    how much each lowers the IoU of the class. Ignored pixels have no error and come last.

    Args:
      logits: float `[B, H, W, C]`.
      labels: integer `[B, H, W]`, 0 … C - 1 or 255.

    Returns:
      float `[B]` in [0, 1]; 0 for an image without counted pixels.
    """
    valid = (labels != IGNORE).reshape(len(labels), 1, -1)
    targets = jax.nn.one_hot(labels, logits.shape[-1], axis=1, dtype=logits.dtype)
    probabilities = jax.nn.softmax(jnp.moveaxis(logits, -1, 1), axis=1)
    targets, probabilities = (x.reshape(*x.shape[:2], -1) for x in (targets, probabilities))
    errors = jnp.where(valid, jnp.abs(targets - probabilities), -1)
    order = jnp.argsort(-errors, axis=-1)
    errors, sorted_targets = (jnp.take_along_axis(x, order, -1) for x in (errors, targets))
    total = targets.sum(-1, keepdims=True)
    missed = sorted_targets.cumsum(-1)
    wrong = (1 - sorted_targets).cumsum(-1)
    lost = 1 - (total - missed) / (total + wrong)  # of the IoU, when the first n pixels are wrong
    weights = jnp.diff(lost, axis=-1, prepend=0)
    of_class = (weights * errors.clip(0)).sum(-1)
    present = targets.any(-1)
    return (of_class * present).sum(-1) / present.sum(-1).clip(1)


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
