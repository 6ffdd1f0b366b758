"""IoU of a checkpoint: the result of `analysis.mean_iou`."""

import dataclasses
from typing import Any, ClassVar

from analysis.stage.artifacts import Result


@dataclasses.dataclass(frozen=True)
class MeanIou(Result):
    """Scores over the set and per image, with bootstrap confidence intervals."""

    NAME: ClassVar[str] = 'mean_iou'
    VERSION: ClassVar[int] = 1

    split: str  # that was scored
    step: int  # of the checkpoint
    class_names: tuple[str, ...]  # background first
    num_images: int  # N
    image_size: int  # side of the network's input in pixels
    loss: float  # mean cross-entropy in nats per pixel, over the images
    network: dict[str, Any]  # scores at the network's resolution, see `metrics.summarize`
    original: dict[str, Any]  # the same at each image's own resolution
    absent_class_rule: str  # how classes that do not occur are counted
    data: dict[str, Any]  # path and fingerprint of the prepared data set
    selection: dict[str, Any]  # how many images each rule left out, see `examples.select_examples`
