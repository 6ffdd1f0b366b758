"""Boundary IoU: how well outlines match (Cheng et al. 2021, arXiv:2103.16562)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from segmentation.data.masks import IGNORE

# Width of the band inside an outline as a share of the image's diagonal, as in the publication.
BAND = 0.02


def band(mask: np.ndarray, share: float = BAND) -> np.ndarray:
    """The pixels of a mask that are near its outline or the border of the image, bool `[H, W]`.

    They are nearer to a pixel outside the mask (the image's surroundings are outside) than
    `share` of the diagonal, at least one pixel, by the chessboard distance. The reference
    implementation erodes the mask that often with a square of 3×3.
    """
    width = max(1, round(share * float(np.hypot(*mask.shape))))
    return mask & ~slide(mask, 2 * width + 1, np.logical_and)


def slide(mask: np.ndarray, side: int, combine: Callable[..., Any]) -> np.ndarray:
    """Combines the pixels of the square around each pixel of a mask, bool `[H, W]`.

    Windows are put together from two of half their length: whole arrays are combined a few times,
    which takes a fifth of the time of `scipy.ndimage.minimum_filter`.

    Args:
      mask: bool `[H, W]`; no pixel outside the image is in it.
      side: of the square in pixels, odd.
      combine: `np.logical_and` erodes, `np.logical_or` dilates.
    """
    for _ in range(2):
        windows, length = np.pad(mask, ((side // 2, side // 2), (0, 0))), 1
        while length < side:
            step = min(length, side - length)
            windows, length = combine(windows[:-step], windows[step:]), length + step
        mask = windows.T
    return mask


def boundary_counts(label: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Pixels in the bands of truth and prediction of each class.

    Args:
      label: integer `[H, W]`, 0 … C - 1, or 255 for pixels that do not count.
      predicted: integer `[H, W]`, 0 … C - 1.
      num_classes: C.

    Returns:
      int64 `[C, 3]`: pixels in both bands, in one of them, and 1 where the class has true pixels
      and all are in its band (so small an object has the mask IoU as its boundary IoU, unless the
      prediction is larger than its own band).
    """
    counts = np.zeros((num_classes, 3), np.int64)
    counted = label != IGNORE
    for k in range(num_classes):
        true, guess = label == k, predicted == k
        if not (true.any() or guess.any()):
            continue
        # Where pixels do not count, the truth is taken to be as predicted: its outline must not
        # follow their edge, which no prediction has.
        truth, found = band(true | (guess & ~counted)), band(guess)
        counts[k, 0] = np.count_nonzero(truth & found & counted)
        counts[k, 1] = np.count_nonzero((truth | found) & counted)
        counts[k, 2] = true.any() and truth[true].all()
    return counts
