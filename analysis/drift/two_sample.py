"""Tests in which columns two sets of images differ.

The statistic of a column is that of Kolmogorov and Smirnov, times √(n m / (n + m)). The images are
divided at random again and again, for all columns at once. The p-value of a column is the share of
the divisions in which the largest statistic of any column is at least its own (single-step max-T,
Westfall and Young 1993). So of sets that do not differ, at most 5 % have a column with p ≤ 0.05.
"""

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

_BLOCK = 100  # divisions at once


def compare(
    columns: Sequence[np.ndarray], inside: np.ndarray, divisions: int = 999, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Compares the images inside with all others, column by column.

    Args:
      columns: K times float `[N]`, NaN for null.
      inside: bool `[N]`.
      divisions: random ones.
      seed: of these.

    Returns:
      Kolmogorov-Smirnov distances, float64 `[K]`, NaN where a set has no value; and p-values,
      float64 `[K]`, adjusted for all columns.
    """
    rng = np.random.default_rng(seed)
    scaled, distances = np.zeros((divisions + 1, len(columns))), np.full(len(columns), np.nan)
    for start in tqdm(range(0, divisions + 1, _BLOCK), desc='divisions', unit='block', delay=2):
        count = min(_BLOCK, divisions + 1 - start)
        divided = rng.permuted(np.broadcast_to(inside, (count, len(inside))), axis=1)
        if start == 0:
            divided[0] = inside
        for k, values in enumerate(columns):
            found, weight = _distances(values, divided)
            scaled[start : start + count, k] = np.nan_to_num(found * weight)
            if start == 0:
                distances[k] = found[0]
    most = scaled[1:].max(1, initial=0)
    p = (1 + (most[:, None] >= scaled[0] - 1e-12).sum(0)) / (divisions + 1)
    return distances, np.where(np.isnan(distances), 1.0, p)


def _distances(values: np.ndarray, divided: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances and √(n m / (n + m)) of divisions, bool `[R, N]`: both `[R]`."""
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind='stable')]
    mine = divided[:, order]
    n = mine.sum(1)
    m = len(order) - n
    # Equal values count together.
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(order) - 1)
    below = mine.cumsum(1, dtype=np.int32)[:, ends] if len(order) else mine
    with np.errstate(invalid='ignore', divide='ignore'):
        gaps = below / n[:, None] - (ends + 1 - below) / m[:, None]
        distance = np.abs(gaps).max(1, initial=0)
        return np.where((n > 0) & (m > 0), distance, np.nan), np.sqrt(n * m / np.maximum(n + m, 1))
