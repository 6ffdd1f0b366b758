"""Bootstrap resampling over images."""

import functools

import numpy as np

_BLOCK = 200  # resamples at a time: bounds the memory


@functools.lru_cache(maxsize=4)  # many scores of the same images
def bootstrap_weights(num_images: int, num_resamples: int, seed: int = 0) -> np.ndarray:
    """How often each image is drawn in each bootstrap resample, int16 `[R, N]`, read-only."""
    rng = np.random.default_rng(seed)
    uniform = np.full(num_images, 1 / num_images)
    weights = np.empty((num_resamples, num_images), np.int16)
    for start in range(0, num_resamples, _BLOCK):
        block = weights[start : start + _BLOCK]
        block[:] = rng.multinomial(num_images, uniform, size=len(block))
    weights.flags.writeable = False
    return weights


def bootstrap_means(values: np.ndarray, num_resamples: int, seed: int = 0) -> np.ndarray:
    """Means of values `[N]` over the resamples of `bootstrap_weights`, float64 `[R]`."""
    weights = bootstrap_weights(len(values), num_resamples, seed)
    # In blocks, because the product converts the weights to float64.
    blocks = (weights[start : start + _BLOCK] for start in range(0, num_resamples, _BLOCK))
    return np.concatenate([block @ values for block in blocks]) / len(values)
