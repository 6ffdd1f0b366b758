"""Reliability of probabilities, and temperature scaling (Guo et al. 2017, arXiv:1706.04599)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from analysis.stage.forward import forward
from analysis.stage.run import Analysis, open_examples, restrict
from segmentation.data.masks import IGNORE

BINS = 15  # of the confidence, for reliability and calibration error
_MOST = 256  # images from which the temperature is fitted
_LOGITS = 1 << 27  # numbers in the logits of these images
_PART = 32  # images whose cross-entropy is computed at once
_LARGEST = 16.0  # temperature, and the inverse of the smallest


def bin_counts(right: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Pixels by confidence, float64 `[BINS, 3]`: number, confidence sum, number of correct ones.

    Args:
      right: bool `[P]`, whether the most probable class is the true one.
      confidence: `[P]`, its probability.
    """
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    sums = (np.bincount(bins, weights, BINS) for weights in (None, confidence, right))
    return np.stack(list(sums), axis=-1).astype(np.float64)


def calibration_error(counts: np.ndarray) -> np.ndarray:
    """Expected calibration error of `bin_counts` `[..., BINS, 3]`: `[...]`; NaN without pixels."""
    pixels = counts[..., 0].sum(-1)
    excess = np.abs(counts[..., 2] - counts[..., 1]).sum(-1)
    return np.divide(excess, pixels, out=np.full(pixels.shape, np.nan), where=pixels > 0)


@jax.jit
def _nats(logits: jax.Array, label: jax.Array, temperature: jax.Array) -> jax.Array:
    """Sum of the cross-entropy of the counted pixels at a temperature."""
    log_probability = jax.nn.log_softmax(logits / temperature)
    true = jnp.take_along_axis(
        log_probability, jnp.minimum(label, logits.shape[-1] - 1)[..., None], -1
    )
    return -jnp.where(label != IGNORE, true[..., 0], 0).sum()


def fit_temperature(analysis: Analysis) -> float | None:
    """The temperature with the least cross-entropy on the images that chose the checkpoint.

    Logits divided by it are better calibrated if it was above 1 where the network is overconfident.
    At most 256 images are used, fewer if their logits take more than 0.5 GB. None for a foreign
    model, whose logits are not known, and for a run without held-out images, whose temperature
    would be that of images it was trained on.
    """
    if analysis.foreign or not analysis.config.data.selection_fraction:
        return None
    examples, _ = open_examples(analysis.run, 'selection', str(analysis.examples.splits[0].path))
    held_out = dataclasses.replace(
        analysis, split='selection', examples=examples, image_ids=examples.image_ids
    )
    size, number = analysis.config.data.image_size, len(analysis.class_names)
    most = min(len(examples), _MOST, max(1, _LOGITS // (size * size * number)))
    rows = np.linspace(0, len(examples) - 1, most).round().astype(int)
    held_out = restrict(held_out, rows)
    parts = [
        (np.asarray(logits)[: len(rows)], batch['label'][: len(rows)])
        for rows, batch, logits in forward(held_out, 'temperature')
    ]
    # In parts that do not depend on the number of devices, as the sums otherwise would.
    logits, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
    starts = range(0, len(logits), _PART)
    parts = [(logits[start : start + _PART], labels[start : start + _PART]) for start in starts]
    if all((label == IGNORE).all() for _, label in parts):
        return None

    def loss(log_temperature: float) -> float:
        temperature = np.float32(np.exp(log_temperature))
        return sum(float(_nats(*part, temperature)) for part in parts)

    largest = float(np.log(_LARGEST))
    found = optimize.minimize_scalar(
        loss, bounds=(-largest, largest), method='bounded', options={'xatol': 1e-3}
    )
    return float(np.exp(found.x))
