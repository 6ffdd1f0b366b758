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
        confidence: mean probability of the most probable class; of all pixels where none counts
        entropy: mean entropy of the predicted distribution in nats; likewise
        calibration_error: see `samples.schema`
        confusion: counts of pixels by true and predicted class at the network's resolution, C·C
          numbers, row by row
        confusion_original: the same at the image's own resolution, to which the logits are enlarged
        boundary_original: pixels of outlines at that resolution, see `boundaries.boundary_counts`
        reliability: pixels by confidence, see `calibration.bin_counts`; then, if there is a
          temperature, the same for scaled logits
        class_map: most probable class of each pixel, uint8 `[S, S]`, compressed by zlib
        (null for a foreign model without probabilities: confidence, entropy, calibration_error,
        reliability; calibration_error also where no pixel counts)
      temperature: by which logits are divided to calibrate them, see `calibration.fit_temperature`;
        None if it is not known
      layers: number of features by layer, if they are kept; see `features`
      features_sha256: checksum of their file
    """

    NAME: ClassVar[str] = 'predictions'
    VERSION: ClassVar[int] = 4

    size: int
    num_classes: int
    images: pyarrow.Table
    temperature: float | None = None
    layers: dict[str, int] = dataclasses.field(default_factory=dict)
    features_sha256: str = ''

    def column(self, name: str) -> np.ndarray:
        """A column of numbers, float64 `[N]`; NaN for null."""
        return self.images[name].cast(pyarrow.float64()).to_numpy()

    def losses(self) -> np.ndarray:
        """The loss of each image, float64 `[N]`; NaN where no pixel counts, stored as 0."""
        return np.where(self.confusions().any((1, 2)), self.column('loss'), np.nan)

    def confusions(self, resolution: str = 'network') -> np.ndarray:
        """Confusion matrices, int64 `[N, C, C]`; resolution 'network' or 'original'."""
        name = {'network': 'confusion', 'original': 'confusion_original'}[resolution]
        flat = self.images[name].combine_chunks().flatten().to_numpy()
        return flat.astype(np.int64).reshape(-1, self.num_classes, self.num_classes)

    def boundaries(self) -> np.ndarray:
        """Pixels of outlines, int64 `[N, C, 3]`, see `boundaries.boundary_counts`."""
        flat = self.images['boundary_original'].combine_chunks().flatten().to_numpy()
        return flat.astype(np.int64).reshape(-1, self.num_classes, 3)

    def reliability(self) -> np.ndarray | None:
        """Pixels by confidence, float64 `[N, 1 or 2, BINS, 3]`; None if it is not known."""
        column = self.images['reliability'].combine_chunks()
        if column.null_count:
            return None
        flat = column.flatten().to_numpy().astype(np.float64)
        return flat.reshape(len(column), 1 if self.temperature is None else 2, -1, 3)

    def class_map(self, row: int) -> np.ndarray:
        """Most probable class of each pixel of an image, uint8 `[S, S]`."""
        data = zlib.decompress(self.images['class_map'][row].as_py())
        return np.frombuffer(data, np.uint8).reshape(self.size, self.size)
