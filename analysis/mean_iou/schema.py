"""IoU of a checkpoint: the result of `analysis.mean_iou`."""

import dataclasses
from typing import Any, ClassVar

from analysis.stage.artifacts import Result
from analysis.stage.view import Parts


@dataclasses.dataclass(frozen=True)
class Rate:
    """A share with its 95 % bootstrap interval over images; None if there are no such pixels."""

    value: float | None
    interval: tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class ClassRates:
    """Scores of a class over the pixels of all images, at their own resolution."""

    precision: Rate  # share of the pixels predicted as the class that are of it
    recall: Rate  # share of its pixels that are predicted as it
    f1: Rate  # harmonic mean of both
    boundary_iou: Rate  # IoU of the bands inside the outlines, see `segmentation.boundaries`
    # Share of the images with the class in which all its pixels are in the band.
    only_band: float | None


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Whether the probability of the most probable class equals the accuracy over pixels.

    Pixels are those of the network's own size.
    """

    # By which logits are divided; fitted on the selection split. None if it has no images.
    temperature: float | None
    # Expected calibration error, over 15 bins of the probability; its interval is too narrow.
    error: Rate
    error_scaled: Rate | None  # the same with the temperature
    # Of the bins, `[1 or 2, 15]`: without and with temperature. None for an empty bin.
    pixels: tuple[tuple[int, ...], ...]  # number
    confidence: tuple[tuple[float | None, ...], ...]  # mean probability
    accuracy: tuple[tuple[float | None, ...], ...]  # share of correct pixels


@dataclasses.dataclass(frozen=True)
class MeanIou(Result):
    """Scores over the set and per image, with bootstrap confidence intervals."""

    NAME: ClassVar[str] = 'mean_iou'
    VERSION: ClassVar[int] = 2
    PARTS: ClassVar[Parts] = Parts.ONE

    split: str  # that was scored
    step: int  # of the checkpoint
    class_names: tuple[str, ...]  # background first
    num_images: int  # N
    image_size: int  # side of the network's input in pixels
    loss: float  # mean cross-entropy in nats per pixel, over images with counted pixels
    network: dict[str, Any]  # scores at the network's resolution, see `metrics.summarize`
    original: dict[str, Any]  # the same at each image's own resolution
    # Counts of pixels by true and predicted class at the images' own resolution, `[C, C]`.
    confusion: tuple[tuple[int, ...], ...]
    classes: dict[str, ClassRates]  # by name of the class
    band: float  # width of the bands of the boundary IoU, as a share of an image's diagonal
    calibration: Calibration | None  # None for a foreign model without probabilities
    absent_class_rule: str  # how classes that do not occur are counted
    data: dict[str, Any]  # path and fingerprint of the prepared data set
    selection: dict[str, Any]  # how many images each rule left out, see `examples.select_examples`
