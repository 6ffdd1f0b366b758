"""Rank correlations of many columns with many metrics, marginal and adjusted for a confounder.

The null distribution of Spearman's ρ has mean 0, variance 1 / (n - 1) and a known skewness (Pitman
1937); it is approximated by a Pearson III distribution. The adjusted test regresses the ranks of
both sides on a quadratic in the ranks of the confounder and correlates the residuals; it uses the
larger of the permutation variance and White's (1980). All tests, marginal and adjusted, form one
family for Benjamini and Hochberg (1995). analysis/README.md has the reasons.
"""

from collections.abc import Mapping

import numpy as np
from scipy import stats

MIN_IMAGES = 20
MIN_DIFFERENT = 5  # images that differ from the most frequent value of each side


def correlate(
    columns: Mapping[str, np.ndarray],
    metrics: Mapping[str, np.ndarray],
    confounders: Mapping[str, str],
) -> dict[str, np.ndarray]:
    """Tests each column against each metric; deterministic, tens of milliseconds for 1,000 images.

    Args:
      columns: X columns by name, `[N]` each; NaN where unknown.
      metrics: Y metrics by name, `[N]` each; NaN where unknown.
      confounders: name of the confounding column by metric. Images with an unknown confounder,
        column or metric are left out.

    Returns:
      Float64 `[X, Y]`: number of images `n`; `rho`, `p`, `q` (p adjusted for multiple tests) and
      `partial_rho`, `partial_p`, `partial_q` adjusted for the confounder. NaN without a test: fewer
      than MIN_IMAGES images, a side nearly constant, or the column is the confounder.
    """
    shape = len(columns), len(metrics)
    result = {'n': np.zeros(shape)}
    result |= {key: np.full(shape, np.nan) for key in ('rho', 'p', 'partial_rho', 'partial_p')}
    # Ranks depend on the images that a test uses, so columns known for the same images are grouped.
    column_groups = _by_known(columns, dict.fromkeys(columns))
    for (_, confounder), metric_numbers, y in _by_known(metrics, confounders):
        given = np.asarray(columns[confounder], np.float64)
        known = ~np.isnan(y[:, 0]) & ~np.isnan(given)
        for _, column_numbers, x in column_groups:
            rows = known & ~np.isnan(x[:, 0])
            where = np.ix_(column_numbers, metric_numbers)
            result['n'][where] = n = rows.sum()
            if n < MIN_IMAGES:
                continue
            x_ranks, y_ranks = _ranks(x[rows]), _ranks(y[rows])
            constant = np.full((n, 1), n**-0.5)
            result['rho'][where], result['p'][where] = _test(x_ranks, y_ranks, constant)
            size = _ranks(given[rows, None])
            basis = _basis(np.hstack([np.ones((n, 1)), size, size**2]))
            result['partial_rho'][where], result['partial_p'][where] = _test(
                x_ranks, y_ranks, basis, robust=True
            )
    adjusted = adjust(np.stack([result['p'], result['partial_p']]))
    return {**result, 'q': adjusted[0], 'partial_q': adjusted[1]}


def adjust(p: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg adjusted p-values, of any shape; NaN stays and does not count."""
    result = np.full(p.shape, np.nan)
    tested = ~np.isnan(p)
    if tested.any():
        result[tested] = stats.false_discovery_control(p[tested])
    return result


def interval(rho: np.ndarray, n: np.ndarray) -> np.ndarray:
    """95 % CI of Spearman's ρ, `[..., 2]` (Fisher's z; variance of Bonett and Wright 2000)."""
    half = stats.norm.ppf(0.975) * np.sqrt((1 + np.square(rho) / 2) / (n - 3))
    z = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
    return np.tanh(np.stack([z - half, z + half], -1))


def _by_known(values: Mapping[str, np.ndarray], keys: Mapping[str, str | None]) -> list[tuple]:
    """Groups with the same key, known for the same images: (key, numbers, values `[N, K]`)."""
    groups: dict[tuple, list[tuple[int, np.ndarray]]] = {}
    for number, (name, column) in enumerate(values.items()):
        column = np.asarray(column, np.float64)
        key = np.isnan(column).tobytes(), keys[name]
        groups.setdefault(key, []).append((number, column))
    return [
        (key, [number for number, _ in members], np.stack([column for _, column in members], 1))
        for key, members in groups.items()
    ]


def _ranks(values: np.ndarray) -> np.ndarray:
    """Centered mid-ranks of each column, over n; all 0 for a column that is nearly constant."""
    ranks, n = stats.rankdata(values, axis=0), len(values)
    ranks[:, n - stats.mode(values, axis=0).count < MIN_DIFFERENT] = (n + 1) / 2
    return (ranks - (n + 1) / 2) / n


def _basis(design: np.ndarray) -> np.ndarray:
    """Orthonormal basis `[n, r]` of the space that the columns of a design `[n, d]` span."""
    vectors, sizes, _ = np.linalg.svd(design, full_matrices=False)
    return vectors[:, sizes > 1e-8 * sizes[0]]


def _test(
    x: np.ndarray, y: np.ndarray, basis: np.ndarray, robust: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Correlations `[X, Y]` of the residuals of `[n, X]` and `[n, Y]`, and their p-values."""
    n, rank = basis.shape
    x, y = (_standardized(values - basis @ (basis.T @ values)) for values in (x, y))
    rho = x.T @ y
    variance = 1 / (n - rank)
    if robust:
        variance = np.maximum(variance, np.square(x).T @ np.square(y))
    # With variance 1, x and y have √n times these third moments; ρ has their product over √n.
    skewness = np.sqrt(n) * np.outer((x * x * x).sum(0), (y * y * y).sum(0))
    z = rho / np.sqrt(variance)
    # The thinner tail of Pearson III is bounded and may end too early: a normal one replaces it.
    towards = np.maximum(skewness * np.sign(z), 0)
    p = np.minimum(2 * stats.pearson3.sf(np.abs(z), towards), 1)
    return rho, np.where(np.isnan(rho), np.nan, p)


def _standardized(residuals: np.ndarray) -> np.ndarray:
    """Columns scaled to length 1; NaN where nothing is left (ranks are of order 1)."""
    squares = np.square(residuals).sum(0)
    return residuals / np.sqrt(np.where(squares > 1e-6, squares, np.nan))
