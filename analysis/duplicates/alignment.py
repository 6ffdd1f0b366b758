"""Aligns small gray images of which one may be a cropped, brightened copy of the other.

The second image is scaled and shifted along both axes, and its gray values are scaled and shifted,
so that the squared differences from the first are smallest: Gauss-Newton steps from coarse to fine
(Lucas and Kanade 1981). All functions work on P pairs of float32 images `[P, S, S]` at once.
"""

import numpy as np
from scipy import ndimage

# Largest scale is 1 / _SMALLEST; largest shift 1 - _SMALLEST of half a side.
_SMALLEST = 0.84
_LEVELS = (16, 8), (32, 4), (64, 3)  # side in pixels and number of steps
_COARSE = 0.85  # least correlation at the first level with which a pair is aligned further
_FINE = 3.0  # pixels: coarser structure is subtracted before images are compared
# Each place counts by its contrast to this many pixels around it, so that one lamp in the dark does
# not decide. Contrasts of less than _FAINT gray values count less.
_AROUND, _FAINT = 6.0, 3.0


def _resampling(scale: np.ndarray, shift: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Linear interpolation along an axis `[P, S, S]`, and which results lie inside, `[P, S]`.

    The result at x, from -1 to 1, is the value at scale · x + shift.
    """
    place = scale[:, None] * _axis(side) + shift[:, None]
    pixel = np.clip((place + 1) / 2 * side - 0.5, 0, side - 1)
    weights = np.maximum(0, 1 - np.abs(pixel[..., None] - np.arange(side)))
    return weights.astype(np.float32), np.abs(place) <= 1


def _axis(side: int) -> np.ndarray:
    return ((np.arange(side) + 0.5) * 2 / side - 1).astype(np.float32)


def _shrink(images: np.ndarray, side: int) -> np.ndarray:
    factor = images.shape[1] // side
    return images.reshape(len(images), side, factor, side, factor).mean((2, 4))


class _Warp:
    """Samples images at places: columns of `places` are scale and shift of y and of x."""

    def __init__(self, places: np.ndarray, side: int):
        rows, inside_y = _resampling(places[:, 0], places[:, 1], side)
        columns, inside_x = _resampling(places[:, 2], places[:, 3], side)
        self._rows, self._columns = rows, columns.transpose(0, 2, 1)
        self.inside = inside_y[:, :, None] & inside_x[:, None, :]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self._rows @ images @ self._columns


def _step(first: np.ndarray, second: np.ndarray, places: np.ndarray) -> np.ndarray:
    """One Gauss-Newton step; returns better places."""
    count, side, _ = first.shape
    warp, axis = _Warp(places, side), _axis(side)
    slope_y, slope_x = (warp(slope * (side / 2)) for slope in np.gradient(second, axis=(1, 2)))
    moved = warp(second)
    parts = moved, np.ones_like(moved), slope_y * axis[:, None], slope_y, slope_x * axis, slope_x
    design = np.stack([part * warp.inside for part in parts], -1).reshape(count, -1, len(parts))
    turned = design.transpose(0, 2, 1)
    normal = (turned @ design).astype(np.float64)
    # A ridge, for images without structure along an axis.
    ridge = 1e-4 * np.einsum('pii->pi', normal) + 1e-6
    normal += np.eye(len(parts)) * ridge[:, None, :]
    target = (turned @ first.reshape(count, -1, 1)).astype(np.float64)
    solved = np.linalg.solve(normal, target)[..., 0]
    gain = np.where(np.abs(solved[:, :1]) < 0.1, np.inf, solved[:, :1])
    places = places + np.clip(solved[:, 2:] / gain, -0.1, 0.1)
    limit = 1 - _SMALLEST
    low, high = [_SMALLEST, -limit] * 2, [1 / _SMALLEST, limit] * 2
    return np.clip(places, low, high)


def _correlation(first: np.ndarray, second: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Pearson correlation over the pixels inside, `[P]`; 0 for a flat image."""
    count = inside.sum((1, 2), keepdims=True)

    def centered(images: np.ndarray) -> np.ndarray:
        mean = (images * inside).sum((1, 2), keepdims=True) / count
        return (images - mean) * inside

    first, second = centered(first), centered(second)
    product = (first**2).sum((1, 2)) * (second**2).sum((1, 2))
    return (first * second).sum((1, 2)) / np.sqrt(product + 1e-3)


def _fine(images: np.ndarray) -> np.ndarray:
    """Structure without the coarse one, in equal strength all over the image."""
    fine = images - ndimage.gaussian_filter(images, (0, _FINE, _FINE))
    return fine / np.sqrt(ndimage.gaussian_filter(fine**2, (0, _AROUND, _AROUND)) + _FAINT**2)


def align(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Aligns pairs of images of 64×64 pixels.

    Pairs that have little in common are only aligned coarsely; their similarity is 0.

    Args:
      first, second: float32 `[P, 64, 64]`, gray values.

    Returns:
      float64 `[P, 4]`: scale and shift of y and of x. The first image at x shows what the second
      shows at scale · x + shift, where x goes from -1 to 1.
      float32 `[P]`: similarity, the correlation of fine structure where the images overlap.
    """
    places = np.tile([1.0, 0.0], (len(first), 2))
    similarity = np.zeros(len(first), np.float32)
    alive = np.arange(len(first))
    for side, steps in _LEVELS:
        one, two = (_shrink(images[alive], side) for images in (first, second))
        if side == _LEVELS[0][0]:  # smoother images are aligned over longer distances
            one, two = (ndimage.gaussian_filter(images, (0, 0.7, 0.7)) for images in (one, two))
        for _ in range(steps):
            places[alive] = _step(one, two, places[alive])
        if side == _LEVELS[0][0]:
            warp = _Warp(places, side)
            alive = np.flatnonzero(_correlation(one, warp(two), warp.inside) >= _COARSE)
            if not len(alive):
                return places, similarity
    warp = _Warp(places[alive], first.shape[1])
    moved = _fine(warp(second[alive]))
    similarity[alive] = _correlation(_fine(first[alive]), moved, warp.inside)
    return places, similarity


def light(first: np.ndarray, second: np.ndarray, places: np.ndarray) -> np.ndarray:
    """How aligned images differ in gray values: float64 `[P, 2]`.

    The ratio of their standard deviations, and the difference of their means, second to first.
    """
    warp = _Warp(places, first.shape[1])
    moved, found = warp(second), []
    for one, two, inside in zip(first, moved, warp.inside, strict=True):
        deviations = one[inside].std(), two[inside].std()
        means = one[inside].mean(), two[inside].mean()
        found.append((deviations[1] / max(deviations[0], 1e-3), means[1] - means[0]))
    return np.reshape(found, (-1, 2)).astype(np.float64)
