"""Compares color images with their own desaturated copies."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from analysis.associations.schema import GrayscaleComparison
from analysis.predictions.stage import describe_changed
from analysis.samples.stage import image_metrics
from analysis.stage.forward import Batch
from analysis.stage.run import Analysis, restrict
from analysis.stats import bootstrap, rank_correlation
from segmentation import metrics
from segmentation.data import transforms

_NUM_RESAMPLES = 2000
_FOREIGN_IMAGES = 300  # maximum number of copies that a foreign model is run on


def _desaturate(batch: Batch) -> Batch:
    luma = np.rint(batch['image'] @ transforms.LUMA).astype(np.uint8)
    return {**batch, 'image': np.repeat(luma[..., None], 3, -1)}


def desaturated_metrics(analysis: Analysis, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Metrics of the desaturated copy of every image, float64 `[N]` each, NaN where there is none.

    Each channel of a copy is the luma (Rec. 601) of the network's input, which keeps brightness. A
    foreign model is run on an even sample of the images; the others have no values.

    Args:
      analysis: its network is run on the copies of its images.
      names: columns of `samples` with the role 'metric'.
    """
    rows = np.arange(len(analysis))
    if analysis.foreign:  # these may be slow: an even sample
        rows = np.unique(np.linspace(0, len(rows) - 1, _FOREIGN_IMAGES).astype(np.int64))
    some = restrict(analysis, rows)
    predicted = describe_changed(some, 'desaturated copies', _desaturate)
    scores = image_metrics(predicted, analysis.class_names)
    # None becomes NaN.
    result = {name: np.full(len(analysis), np.nan) for name in names}
    for name, values in result.items():
        values[rows] = np.array([row.get(name) for row in scores], np.float64)
    return result


def compare_copies(
    color: Mapping[str, np.ndarray],
    gray: Mapping[str, np.ndarray],
    counted: Mapping[str, np.ndarray],
) -> tuple[GrayscaleComparison, ...]:
    """Paired comparison of color images with their desaturated copies.

    Args:
      color: metrics of the images, float `[N]` each.
      gray: of their copies, the same names.
      counted: by metric, bool `[N]`, the images to compare.

    Returns:
      `grayscale_copies` of the result; metrics that fewer than 2 images have are left out.
    """
    rows = []
    for metric, values in color.items():
        both = counted[metric] & ~np.isnan(values) & ~np.isnan(gray[metric])
        before, after = values[both], gray[metric][both]
        change = after - before
        if len(change) < 2:
            continue
        means = bootstrap.bootstrap_means(change, _NUM_RESAMPLES)
        loses = change > 0 if metric in ('loss', 'entropy', 'calibration_error') else change < 0
        low, high = metrics.percentile_interval(means).tolist()
        rows.append(
            GrayscaleComparison(
                metric=metric,
                n=len(change),
                color=float(before.mean()),
                gray=float(after.mean()),
                difference=float(change.mean()),
                interval=(low, high),
                p=float(stats.wilcoxon(change).pvalue) if change.any() else 1.0,
                worse=float(loses.mean()),
                q=1.0,  # set below, as it depends on all rows
            )
        )
    adjusted = rank_correlation.adjust(np.array([row.p for row in rows])).tolist()
    return tuple(dataclasses.replace(row, q=q) for row, q in zip(rows, adjusted, strict=True))
