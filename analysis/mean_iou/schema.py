"""IoU of a checkpoint: the result of `analysis.mean_iou`."""

import dataclasses
from typing import Any, ClassVar

from analysis.stage.artifacts import Result


@dataclasses.dataclass(frozen=True)
class MeanIou(Result):
    """Scores over the set and per image, with bootstrap confidence intervals.

    Attributes:
      split: that was scored.
      step: of the checkpoint.
      class_names: background first.
      num_images: N.
      image_size: side of the network's input in pixels.
      loss: mean cross-entropy in nats per pixel, over the images.
      network: scores at the network's resolution, see `metrics.summarize`.
      original: the same at each image's own resolution.
      absent_class_rule: how classes that do not occur are counted.
      data: path and fingerprint of the prepared data set.
      selection: how many images each rule left out, see `examples.select_examples`.
    """

    NAME: ClassVar[str] = 'mean_iou'
    VERSION: ClassVar[int] = 1

    split: str
    step: int
    class_names: tuple[str, ...]
    num_images: int
    image_size: int
    loss: float
    network: dict[str, Any]
    original: dict[str, Any]
    absent_class_rule: str
    data: dict[str, Any]
    selection: dict[str, Any]
