"""Predictions and scores of every image: the result of `analysis.predictions`."""

import dataclasses
import zlib
from typing import ClassVar

import numpy as np
import pyarrow

from analysis.stage.artifacts import Result


@dataclasses.dataclass(frozen=True)
class Predictions(Result):
    """One row per image, in the order of the examples.

    Attributes:
      size: S, side of the network's input in pixels.
      num_classes: C, background included.
      images: columns
        loss: mean cross-entropy in nats over the counted pixels; 0 where none counts
        confidence: mean probability of the most probable class
        entropy: mean entropy of the predicted distribution in nats
        calibration_error: see `samples.schema`
        confusion: counts of pixels by true and predicted class at the network's resolution, C·C
          numbers, row by row
        confusion_original: the same at the image's own resolution, to which the logits are enlarged
        class_map: most probable class of each pixel, uint8 `[S, S]`, compressed by zlib
        (null where no pixel counts, and for a foreign model without probabilities: confidence,
        entropy, calibration_error)
    """

    NAME: ClassVar[str] = 'predictions'
    VERSION: ClassVar[int] = 1

    size: int
    num_classes: int
    images: pyarrow.Table

    def column(self, name: str) -> np.ndarray:
        """A column of numbers, float64 `[N]`; NaN for null."""
        return self.images[name].cast(pyarrow.float64()).to_numpy()

    def confusions(self, resolution: str = 'network') -> np.ndarray:
        """Confusion matrices, int64 `[N, C, C]`; resolution 'network' or 'original'."""
        name = {'network': 'confusion', 'original': 'confusion_original'}[resolution]
        flat = self.images[name].combine_chunks().flatten().to_numpy()
        return flat.astype(np.int64).reshape(-1, self.num_classes, self.num_classes)

    def class_map(self, row: int) -> np.ndarray:
        """Most probable class of each pixel of an image, uint8 `[S, S]`."""
        data = zlib.decompress(self.images['class_map'][row].as_py())
        return np.frombuffer(data, np.uint8).reshape(self.size, self.size)
