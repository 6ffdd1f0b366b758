"""Writes the metrics of a training run and images of its predictions."""

import json
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorboardX
from PIL import Image

from segmentation.files import write_text


class MetricWriter:
    """Appends metrics to `metrics.jsonl` and to TensorBoard event files of a run."""

    def __init__(self, workdir: pathlib.Path, resume_step: int):
        """Opens the files and drops the steps after `resume_step`, which will be written again."""
        path = workdir / 'metrics.jsonl'
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step(line) <= resume_step]
            write_text(path, ''.join(f'{line}\n' for line in kept))
        self._file = path.open('a')
        # Flushed often: a killed process loses what is not written, and the continued run does
        # not repeat steps before the checkpoint.
        self._tensorboard = tensorboardX.SummaryWriter(
            str(workdir / 'tensorboard'), purge_step=resume_step + 1, flush_secs=1
        )
        self._pictures = workdir / 'pictures'

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """Writes the numbers of a step; None (no such score) goes to the JSON lines only."""
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
        """Closes the files."""
        self._file.close()
        self._tensorboard.close()


def _step(line: str) -> float:
    try:
        return json.loads(line)['step']
    except (ValueError, KeyError):
        return float('inf')  # the incomplete line of a killed process
