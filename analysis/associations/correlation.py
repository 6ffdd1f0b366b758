"""Tests metadata columns against metrics, and compares the means of the metric in bins."""

from collections.abc import Mapping

import numpy as np
from scipy import stats

from analysis.associations.schema import Association, Bin, Interval
from analysis.stats import rank_correlation

NUM_BINS = 5


def confounder(metric: str) -> str:
    """The metadata column that confounds a metric: the percentage of its class or of background."""
    name = metric.removeprefix('iou_')
    return 'percent_background' if name == metric else f'percent_{name}'


def associate(
    columns: Mapping[str, np.ndarray], performance: Mapping[str, np.ndarray]
) -> tuple[tuple[Association, ...], tuple[str, ...]]:
    """Tests every metadata column against every metric.

    Args:
      columns: metadata by name, float `[N]`, NaN where unknown; all confounders are among them.
      performance: metrics by name, likewise.

    Returns:
      `associations` and `not_tested` of the result.
    """
    found = rank_correlation.correlate(
        columns, performance, {name: confounder(name) for name in performance}
    )
    for prefix in ('', 'partial_'):
        found[f'{prefix}interval'] = rank_correlation.interval(found[f'{prefix}rho'], found['n'])
    tested, names, rows = ~np.isnan(found['p']), list(columns), []
    for number, metric in enumerate(performance):
        order = np.argsort(found['p'][:, number], kind='stable')
        for index in order[tested[order, number]].tolist():
            value = {key: values[index, number].tolist() for key, values in found.items()}
            has_partial = not np.isnan(value['partial_p'])
            rows.append(
                Association(
                    names[index],
                    metric,
                    int(value['n']),
                    value['rho'],
                    tuple(value['interval']),
                    value['p'],
                    value['q'],
                    confounder(metric),
                    value['partial_rho'] if has_partial else None,
                    tuple(value['partial_interval']) if has_partial else None,
                    value['partial_p'] if has_partial else None,
                    value['partial_q'] if has_partial else None,
                    *compare_bins(columns[names[index]], performance[metric]),
                )
            )
    untested = [name for name, any_test in zip(names, tested.any(1), strict=True) if not any_test]
    return tuple(rows), tuple(untested)


def bin_numbers(values: np.ndarray) -> np.ndarray:
    """Bin of each value, int64 `[N]` from 0: up to NUM_BINS, equally large as far as ties permit.

    Args:
      values: `[N]`, without NaN.
    """
    upper = np.unique(values)
    if len(upper) > NUM_BINS:
        shares = np.arange(1, NUM_BINS + 1) / NUM_BINS
        upper = np.unique(np.quantile(values, shares, method='inverted_cdf'))
    return np.searchsorted(upper, values)


def compare_bins(
    values: np.ndarray, metric: np.ndarray
) -> tuple[float | None, Interval | None, float | None, tuple[Bin, ...]]:
    """The last four fields of an `Association`: difference, its confidence interval, effect, bins.

    Args:
      values: of a column, `[N]`, NaN where unknown.
      metric: `[N]`, NaN where unknown.
    """
    known = ~np.isnan(values) & ~np.isnan(metric)
    values, metric = values[known], metric[known]
    number = bin_numbers(values)
    parts = [metric[number == k] for k in range(number.max() + 1)]
    bins = []
    for k, scores in enumerate(parts):
        low, high, mean = values[number == k].min(), values[number == k].max(), scores.mean()
        around = None
        if len(scores) > 1:
            around = _around(mean, stats.sem(scores), len(scores) - 1)
        bins.append(Bin(float(low), float(high), len(scores), float(mean), around))
    if len(parts) == 1:
        return None, None, None, tuple(bins)
    first, last, spread = parts[0], parts[-1], metric.std()
    difference, interval = last.mean() - first.mean(), None
    if min(len(first), len(last)) > 1 and first.std() + last.std() > 0:
        # Not `stats.ttest_ind`, which warns if all values of a bin are the same.
        variances = np.square([stats.sem(first), stats.sem(last)])
        freedom = variances.sum() ** 2 / (variances**2 / [len(first) - 1, len(last) - 1]).sum()
        interval = _around(difference, np.sqrt(variances.sum()), freedom)
    effect = float(difference / spread) if spread else None
    return float(difference), interval, effect, tuple(bins)


def _around(mean: float, error: float, freedom: float) -> Interval:
    """95 % interval of Student's t distribution around a mean with an estimated standard error."""
    half = stats.t.ppf(0.975, freedom) * error
    return float(mean - half), float(mean + half)
