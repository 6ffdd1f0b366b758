"""Bootstrap resampling over images."""

import functools
from collections.abc import Iterator

import numpy as np

_BLOCK, _NUMBERS = 200, 1_000_000  # resamples, and numbers, at a time: they bound the memory


def weight_blocks(num_images: int, num_resamples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each image is drawn in each bootstrap resample, int64 `[r, N]` block by block."""
    rng, uniform = np.random.default_rng(seed), np.full(num_images, 1 / num_images)
    block = max(1, min(_BLOCK, _NUMBERS // num_images))
    for start in range(0, num_resamples, block):
        size = min(block, num_resamples - start)
        yield rng.multinomial(num_images, uniform, size=size)


@functools.lru_cache(maxsize=4)  # many scores of the same images
def bootstrap_weights(num_images: int, num_resamples: int, seed: int = 0) -> np.ndarray:
    """How often each image is drawn in each bootstrap resample, int16 `[R, N]`, read-only."""
    blocks = weight_blocks(num_images, num_resamples, seed)
    weights = np.concatenate([block.astype(np.int16) for block in blocks])
    weights.flags.writeable = False
    return weights


def bootstrap_means(values: np.ndarray, num_resamples: int) -> np.ndarray:
    """Means of values `[N]` over the resamples of `bootstrap_weights`, float64 `[R]`."""
    blocks = weight_blocks(len(values), num_resamples)
    return np.concatenate([block @ values for block in blocks]) / len(values)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Shares, such as of sums over resamples; NaN where the whole, which is broadcast, is 0."""
    whole = np.broadcast_to(whole, part.shape)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
