"""Where numbers and pictures of a training go: JSON lines, TensorBoard and PNG files."""

import json
import pathlib

import numpy as np
import tensorboardX
from PIL import Image

# Background stays as it is; the colours are Okabe and Ito's, told apart by colour-blind people too.
CLASS_COLORS = np.array(
    [
        [0, 0, 0],
        [230, 159, 0],
        [86, 180, 233],
        [0, 158, 115],
        [240, 228, 66],
        [0, 114, 178],
        [213, 94, 0],
        [204, 121, 167],
    ],
    np.uint8,
)
_IGNORE_COLOR = np.array([255, 255, 255], np.uint8)


class MetricWriter:
    """Appends metrics to `metrics.jsonl` and TensorBoard event files of a run."""

    def __init__(self, workdir: pathlib.Path, resume_step: int):
        """Opens the files; lines of steps after `resume_step` are dropped, they come again."""
        path = workdir / 'metrics.jsonl'
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step(line) <= resume_step]
            temporary = path.with_suffix('.tmp')
            temporary.write_text(''.join(f'{line}\n' for line in kept))
            temporary.replace(path)
        self._file = path.open('a')
        # A killed process loses what has not been flushed, and does not come to those steps again.
        self._tensorboard = tensorboardX.SummaryWriter(
            str(workdir / 'tensorboard'), purge_step=resume_step + 1, flush_secs=1
        )
        self._pictures = workdir / 'pictures'

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes numbers of a step; None (a score that does not exist) only to the JSON lines."""
        self._file.write(json.dumps({'step': step, **values}) + '\n')
        self._file.flush()
        for name, value in values.items():
            if value is not None:
                self._tensorboard.add_scalar(name, value, step)

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Writes uint8 `[H, W, 3]` to `pictures/<name>-<step>.png` and TensorBoard."""
        self._pictures.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(self._pictures / f'{name}-{step:07d}.png')
        self._tensorboard.add_image(name, pixels, step, dataformats='HWC')

    def close(self) -> None:
        self._file.close()
        self._tensorboard.close()


def _step(line: str) -> float:
    try:
        return json.loads(line)['step']
    except (ValueError, KeyError):
        return float('inf')  # the half line of a killed process


def colorize(label: np.ndarray) -> np.ndarray:
    """Colours of classes, uint8 `[..., 3]`; background black, ignored pixels white."""
    classes = np.where(label == 255, 0, label)
    # Class 8 and up reuse the seven foreground colours.
    colors = CLASS_COLORS[np.where(classes == 0, 0, (classes - 1) % 7 + 1)]
    return np.where((label == 255)[..., None], _IGNORE_COLOR, colors)


def overlay(image: np.ndarray, label: np.ndarray, opacity: float = 0.55) -> np.ndarray:
    """Colours the foreground of an image.

    Args:
      image: uint8 `[H, W, 3]`.
      label: integer `[H, W]`, classes or 255.
      opacity: of the colour, in [0, 1].

    Returns:
      uint8 `[H, W, 3]`.
    """
    mixed = (1 - opacity) * image + opacity * colorize(label)
    return np.where((label > 0)[..., None], mixed, image).astype(np.uint8)


def prediction_grid(
    images: np.ndarray, labels: np.ndarray, predictions: np.ndarray, zoom: int = 1
) -> np.ndarray:
    """One row per example: photograph, ground truth, prediction.

    Args:
      images: uint8 `[N, S, S, 3]`.
      labels: integer `[N, S, S]`.
      predictions: integer `[N, S, S]`.
      zoom: whole-number enlargement.

    Returns:
      uint8 `[N * S * zoom, 3 * S * zoom, 3]`.
    """
    rows = [
        np.concatenate([image, overlay(image, label), overlay(image, prediction)], axis=1)
        for image, label, prediction in zip(images, labels, predictions, strict=True)
    ]
    return np.concatenate(rows).repeat(zoom, axis=0).repeat(zoom, axis=1)
