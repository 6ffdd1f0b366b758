"""How copies of training images change the scores of a view."""

import numpy as np

from analysis.duplicates.schema import Leakage, LeakedScore
from analysis.stats.bootstrap import weight_blocks
from segmentation import metrics

_RESAMPLES = 2000


def measure(confusions: np.ndarray, leaked: np.ndarray, class_names: tuple[str, ...]) -> Leakage:
    """IoU over the set with and without leaked images.

    The interval is of the difference: each bootstrap resample of the images is scored with and
    without the leaked ones among them.

    Args:
      confusions: counts `[N, C, C]` by true and predicted class.
      leaked: which images have a copy among the training images, bool `[N]`.
      class_names: C names, background first.
    """

    def scores(weights: np.ndarray) -> np.ndarray:
        """Of each foreground class and their mean, with and without: `[R, 2, C]`."""
        found = []
        for chosen in (weights, weights * ~leaked):
            each = metrics.weighted_scores(confusions.astype(np.float64), chosen)
            classes, mean = each['iou'][:, 1:], each['mean_iou_foreground']
            found.append(np.concatenate([classes, mean[:, None]], 1))
        return np.stack(found, 1)

    with_all, without = scores(np.ones((1, len(leaked))))[0]
    resampled = np.concatenate([scores(w) for w in weight_blocks(len(leaked), _RESAMPLES)])
    bounds = metrics.percentile_interval(resampled[:, 0] - resampled[:, 1])
    names = *class_names[1:], 'foreground mean'

    def plain(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    rows = []
    for name, one, two, (low, high) in zip(names, with_all, without, bounds, strict=True):
        interval = None if np.isnan(one - two) or np.isnan(low) else (float(low), float(high))
        rows.append(LeakedScore(name, plain(one), plain(two), plain(one - two), interval))
    return Leakage(int(leaked.sum()), tuple(rows))
