"""Predictions and labels drawn over images."""

import numpy as np

# Colors of the classes, background first (Okabe and Ito 2008: distinguishable by color-blind
# people). An overlay leaves the background unchanged.
CLASS_COLORS = np.array(
    [[0, 0, 0], [230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178],
     [213, 94, 0], [204, 121, 167]], np.uint8,
)  # fmt: skip
_IGNORE_COLOR = np.array([255, 255, 255], np.uint8)
_AT_ONCE = 1 << 20  # pixels that are mixed at once, in 60 bytes each


def colorize(label: np.ndarray) -> np.ndarray:
    """Colors of classes: background black, ignored pixels white.

    Args:
      label: integer of any shape, classes or 255.

    Returns:
      uint8 `[..., 3]`.
    """
    classes = np.where(label == 255, 0, label)
    # Classes from 8 on reuse the seven foreground colors.
    colors = CLASS_COLORS[np.where(classes == 0, 0, (classes - 1) % 7 + 1)]
    return np.where((label == 255)[..., None], _IGNORE_COLOR, colors)


def overlay(image: np.ndarray, label: np.ndarray, opacity: float = 0.55) -> np.ndarray:
    """Colors the foreground of an image.

    Args:
      image: uint8 `[H, W, 3]`.
      label: integer `[H, W]`, classes or 255.
      opacity: of the color, in [0, 1].

    Returns:
      uint8 `[H, W, 3]`.
    """
    result = image.copy()
    step = max(1, _AT_ONCE // image.shape[1])
    for top in range(0, len(image), step):
        rows = slice(top, top + step)
        mixed = (1 - opacity) * image[rows] + opacity * colorize(label[rows])
        np.copyto(result[rows], mixed, where=(label[rows] > 0)[..., None], casting='unsafe')
    return result


def prediction_grid(images: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """One row per example: image, ground truth, prediction.

    Args:
      images: uint8 `[N, S, S, 3]`.
      labels: integer `[N, S, S]`.
      predictions: integer `[N, S, S]`.

    Returns:
      uint8 `[N * S, 3 * S, 3]`.
    """
    rows = [
        np.concatenate([image, overlay(image, label), overlay(image, prediction)], axis=1)
        for image, label, prediction in zip(images, labels, predictions, strict=True)
    ]
    return np.concatenate(rows)
