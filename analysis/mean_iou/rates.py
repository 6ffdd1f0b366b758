"""Precision, recall, boundary IoU and calibration, with intervals over images."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from analysis.mean_iou.schema import Calibration, ClassRates, Rate
from analysis.predictions.calibration import calibration_error
from analysis.predictions.schema import Predictions
from analysis.stats.bootstrap import ratio, weight_blocks
from segmentation import metrics

_RESAMPLES = 2000


def class_rates(confusion: np.ndarray, boundary: np.ndarray) -> np.ndarray:
    """Precision, recall, F1 and boundary IoU of each class, `[..., C, 4]`; NaN without pixels.

    Args:
      confusion: counts `[..., C, C]` by true and predicted class.
      boundary: counts `[..., C, 3]`, see `boundaries.boundary_counts`.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, predicted = confusion.sum(-1), confusion.sum(-2)
    parts = (
        ratio(right, predicted), ratio(right, true), ratio(2 * right, true + predicted),
        ratio(boundary[..., 0], boundary[..., 1]),
    )  # fmt: skip
    return np.stack(parts, axis=-1)


def _resample(counts: np.ndarray) -> np.ndarray:
    """Sums of counts `[N, ...]` over bootstrap resamples, `[R, ...]`."""
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    blocks = [weights @ flat for weights in weight_blocks(len(counts), _RESAMPLES)]
    return np.concatenate(blocks).reshape(-1, *counts.shape[1:])


def _rates(values: np.ndarray, resampled: np.ndarray) -> list[Rate]:
    """Values `[K]`, with the intervals of their resamples `[R, K]`."""
    bounds = metrics.percentile_interval(resampled)
    return [
        Rate(None, None)
        if np.isnan(value)
        else Rate(float(value), (float(interval[0]), float(interval[1])))
        for value, interval in zip(values, bounds, strict=True)
    ]


def measure_classes(predicted: Predictions, class_names: Sequence[str]) -> dict[str, ClassRates]:
    """Rates of each class at the images' own resolution, by name."""
    confusion, boundary = predicted.confusions('original'), predicted.boundaries()
    values = class_rates(confusion.sum(0), boundary.sum(0))
    resampled = class_rates(_resample(confusion), _resample(boundary))
    shown = (confusion.sum(2) > 0).sum(0)
    small = ratio(boundary[..., 2].sum(0), shown)
    result = {}
    for k, name in enumerate(class_names):
        precision, recall, f1, outline = _rates(values[k], resampled[:, k])
        only_band = None if np.isnan(small[k]) else float(small[k])
        result[name] = ClassRates(precision, recall, f1, outline, only_band)
    return result


def measure_calibration(predicted: Predictions) -> Calibration | None:
    """Reliability and calibration error over the pixels of all images; None if not known."""
    counts = predicted.reliability()
    if counts is None:
        return None
    total = counts.sum(0)
    errors = _rates(calibration_error(total), calibration_error(_resample(counts)))
    confidence, accuracy = (ratio(total[..., k], total[..., 0]) for k in (1, 2))
    return Calibration(
        temperature=predicted.temperature,
        error=errors[0],
        error_scaled=errors[1] if len(errors) > 1 else None,
        pixels=tuple(tuple(map(int, row)) for row in total[..., 0]),
        confidence=_nested(confidence),
        accuracy=_nested(accuracy),
    )


def _nested(values: np.ndarray) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(None if np.isnan(x) else float(x) for x in row) for row in values)


RATES = tuple(field.name for field in dataclasses.fields(ClassRates))[:4]
