"""Metrics of an analysis where the truth is known: plain functions of arrays."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from segmentation import metrics

# A planted group of images counts as found by a slice with at least this recall and precision.
SLICE_RECALL = SLICE_PRECISION = 0.5


def color_histograms(images: np.ndarray, bins: int = 4) -> np.ndarray:
    """Joint RGB histograms, of which Euclidean distances are Hellinger distances.

    From images uint8 `[B, H, W, 3]` to float32 `[B, bins³]`, square roots of shares of the pixels.
    """
    digits = images.reshape(len(images), -1, 3).astype(np.int64) * bins // 256
    codes = digits @ np.array([bins**2, bins, 1])
    counts = np.stack([np.bincount(row, minlength=bins**3) for row in codes])
    return np.sqrt(counts / codes.shape[1]).astype(np.float32)


def precision_at_k(neighbors: np.ndarray, kinds: np.ndarray) -> float:
    """Mean share of the neighbors `[N, k]` that are of the same kind `[N]` as the query."""
    return float((kinds[neighbors] == kinds[:, None]).mean())


def neighbor_auroc(neighbors: np.ndarray, positive: np.ndarray) -> float | None:
    """AUROC of predicting `positive`, bool `[N]`, by its share among the neighbors `[N, k]`.

    None if all images are positive or all are negative.
    """
    if positive.all() or not positive.any():
        return None
    from sklearn import metrics as sklearn_metrics

    return float(sklearn_metrics.roc_auc_score(positive, positive[neighbors].mean(1)))


def slice_overlap(inside: np.ndarray, planted: np.ndarray) -> dict[str, float | bool]:
    """How well a slice, bool `[N]`, matches a planted group, bool `[N]`; neither is empty.

    Returns:
      `precision`, `recall`, and whether both reach SLICE_PRECISION and SLICE_RECALL: `found`.
    """
    both = (inside & planted).sum()
    precision, recall = float(both / inside.sum()), float(both / planted.sum())
    found = precision >= SLICE_PRECISION and recall >= SLICE_RECALL
    return {'precision': precision, 'recall': recall, 'found': found}


def best_overlap(confirmed: Sequence[np.ndarray], planted: np.ndarray) -> dict[str, float | bool]:
    """The `slice_overlap` of the slice that matches best; zeros if there is none."""
    none: dict[str, float | bool] = {'precision': 0.0, 'recall': 0.0, 'found': False}
    return max(
        [none, *(slice_overlap(inside, planted) for inside in confirmed)],
        key=lambda overlap: (overlap['found'], min(overlap['precision'], overlap['recall'])),
    )


def average_precision(score: np.ndarray, positive: np.ndarray) -> float | None:
    """Average precision of a ranking by score `[N]`, highest first; `positive` is bool `[N]`.

    Equal scores share one rank, also those that are -inf: all items are retrieved in the end. None
    without positives.
    """
    if not positive.any():
        return None
    from sklearn import metrics as sklearn_metrics

    finite = score.clip(np.finfo(np.float64).min)  # as scikit-learn asks for
    return float(sklearn_metrics.average_precision_score(positive, finite))


def detection_precision(score: np.ndarray, positive: np.ndarray) -> float | None:
    """As `average_precision`, but items with score -inf are never retrieved, as in detection."""
    if not positive.any():
        return None
    ranked = np.isfinite(score)
    precision = average_precision(score[ranked], positive[ranked]) or 0.0
    return precision * float((positive & ranked).sum() / positive.sum())


def recall_at_number(score: np.ndarray, positive: np.ndarray) -> float | None:
    """Recall at P: share of the P positives among the P highest scores, which -inf never is.

    `score` is float `[N]`, `positive` bool `[N]`. Ties at rank P count by their expectation over
    all orders. None without positives.
    """
    count = int(positive.sum())
    if not count:
        return None
    border = -np.sort(-score)[count - 1]
    above, at = score > border, (score == border) & np.isfinite(score)
    expected = (count - above.sum()) * (at & positive).sum() / max(at.sum(), 1)
    return float(((above & positive).sum() + expected) / count)


def softmin_quality(probability: np.ndarray, temperature: float = 0.1) -> float:
    """Quality of a whole label, low for a bad one: the softmin over its pixels.

    `probability` is that of the given class in each counted pixel, `[n]`. This is the default of
    cleanlab 2.9 for segmentation (Lad and Mueller 2023).
    """
    from scipy import special

    return float(probability @ special.softmax((1 - probability) / temperature))


def matched_regions(
    image: np.ndarray, overlap: np.ndarray, score: np.ndarray, planted_images: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """A ranking of reported regions in which each planted error is one positive.

    Args:
      image: int `[R]`, the image of each region.
      overlap: bool `[R]`, whether it lies on what was planted in its image.
      score: float `[R]`.
      planted_images: images with one planted error each.

    Returns:
      `score` `[Q]` and `positive` bool `[Q]` for `detection_precision`. Further hits of an error
      that was found are dropped; errors that no region hits are added with score -inf.
    """
    hit = overlap & np.isin(image, planted_images)
    order = np.argsort(-score, kind='stable')
    _, first = np.unique(image[order[hit[order]]], return_index=True)
    again = np.delete(order[hit[order]], first)  # all but the best hit of each image
    order = order[~np.isin(order, again)]
    missed = len(planted_images) - len(first)
    ranked = np.concatenate([score[order], np.full(missed, -np.inf)])
    return ranked, np.concatenate([hit[order], np.ones(missed, np.bool_)])


def coverage(
    population: np.ndarray,
    class_names: tuple[str, ...],
    *,
    num_samples: int = 1000,
    num_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """Coverage of the confidence intervals of `metrics.summarize`.

    The images count as the population. Samples of the same size are drawn from it with replacement,
    and their intervals are compared with the scores of the population.

    Args:
      population: `[N, C, C]` counts.
      class_names: C names, background first.
      num_samples: number of samples.
      num_resamples: bootstrap resamples of each.
      seed: of the samples.

    Returns:
      Share of the samples whose interval covers the score: `iou/<class>`, `image_iou/<class>`,
      `mean_iou_foreground` and `mean_image_iou`. Scores that the population lacks are left out.
    """
    rng = np.random.default_rng(seed)
    truth = _flat(metrics.summarize(population, class_names, num_resamples=0))
    contained = {key: 0 for key, value in truth.items() if value is not None}
    for number in tqdm(range(num_samples), 'coverage', unit='sample'):
        sample = population[rng.integers(len(population), size=len(population))]
        summary = metrics.summarize(
            sample, class_names, num_resamples=num_resamples, seed=seed + number
        )
        for key, (low, high) in _flat(summary['intervals']).items():
            if key in contained and low is not None:  # a sample may be without the class
                contained[key] += low <= truth[key] <= high
    return {key: count / num_samples for key, count in contained.items()}


def _flat(summary: Mapping) -> dict[str, Any]:
    """`<metric>/<class>` and the means of a summary, or of its intervals."""
    by_class = {
        f'{key}/{name}': value
        for key in ('iou', 'image_iou')
        for name, value in summary[key].items()
    }
    return by_class | {key: summary[key] for key in ('mean_iou_foreground', 'mean_image_iou')}


def share_interval(count: int, number: int) -> tuple[float, float]:
    """95 % interval of a probability after `count` of `number` (Clopper and Pearson 1934)."""
    from scipy import stats

    low, high = stats.binomtest(count, number).proportion_ci()
    return float(low), float(high)


def false_findings(find: Callable[[np.ndarray, int], Any], num_images: int, num_tables: int) -> int:
    """Number of permuted tables in which anything is found, which is a false alarm.

    Args:
      find: takes an order of the images, int `[N]`, by which it permutes the performance, and a
        seed; returns what it finds.
      num_images: N.
      num_tables: number of permuted tables.
    """
    rng = np.random.default_rng(0)
    tables = tqdm(range(num_tables), 'null tables', unit='table')
    return sum(bool(find(rng.permutation(num_images), number)) for number in tables)


def false_discoveries(
    columns: Mapping[str, np.ndarray],
    performance: Mapping[str, np.ndarray],
    confounders: Mapping[str, str],
    num_tables: int = 1000,
    level: float = 0.05,
) -> int:
    """Number of permuted tables in which `rank_correlation.correlate` discovers anything.

    Columns and metrics are float `[N]` by name. The metrics are permuted together, so no column is
    associated with any of them. A discovery is a `q` or `partial_q` of at most `level`.
    """

    from analysis.stats import rank_correlation

    def find(order: np.ndarray, _: int) -> bool:
        permuted = {name: values[order] for name, values in performance.items()}
        found = rank_correlation.correlate(columns, permuted, confounders)
        return any((found[key] <= level).any() for key in ('q', 'partial_q'))

    return false_findings(find, len(next(iter(columns.values()))), num_tables)


@dataclasses.dataclass(frozen=True)
class Measure:
    """A measure over scene seeds."""

    mean: float | None  # over the seeds that have it; None if none has
    # Its 95 % confidence interval; None if there are too few values.
    interval: tuple[float, float] | None
    values: tuple[float | None, ...]  # by seed, None where it does not exist


def mean_over_seeds(values: Sequence[float | None]) -> Measure:
    """The mean of the values that exist, with Student's interval if there are at least two."""
    from scipy import stats

    known = np.array([value for value in values if value is not None], np.float64)
    mean, interval = (float(known.mean()) if len(known) else None), None
    if len(known) > 1:
        # `stats.t.interval` is NaN if all values are equal.
        margin = stats.t.ppf(0.975, len(known) - 1) * stats.sem(known)
        interval = float(known.mean() - margin), float(known.mean() + margin)
    return Measure(mean, interval, tuple(values))
