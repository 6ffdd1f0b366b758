"""Noise for the texture of drawn surfaces."""

import numpy as np
from PIL import Image


def _noise_tiles(size: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Fixed periodic noise of about [-1, 1]: white grain, and soft blotches in three octaves."""
    rng = np.random.default_rng(20140501)
    grain = np.clip(rng.normal(0, 0.45, (size, size)), -1, 1).astype(np.float32)
    soft = np.zeros((size, size), np.float32)
    for cells, weight in ((16, 1.0), (64, 0.5), (256, 0.25)):
        values = np.tile(rng.normal(0, 0.6, (cells, cells)).astype(np.float32), (3, 3))
        image = Image.fromarray(values).resize((3 * size, 3 * size), Image.Resampling.BICUBIC)
        soft += weight * np.asarray(image)[size : 2 * size, size : 2 * size]
    return grain, np.clip(soft, -1.5, 1.5)


GRAIN, SOFT = _noise_tiles()


def crop(tile: np.ndarray, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A random window `[height, width]` of a larger noise tile."""
    y, x = (int(rng.integers(n - m + 1)) for n, m in zip(tile.shape, (height, width), strict=True))
    return tile[y : y + height, x : x + width]


def rough(
    shape: tuple[int, int], soft: float, grain: float, rng: np.random.Generator
) -> np.ndarray:
    """Factors `[h, w, 1]` around 1, of blotches and grain."""
    return (1 + soft * crop(SOFT, *shape, rng) + grain * crop(GRAIN, *shape, rng))[..., None]
