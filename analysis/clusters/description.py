"""How the metadata of a group of images differ from those of all others.

A column of counts of a category, or of yes and no, is compared by the share of images that have
any: two-sided Fisher's exact test; effect: difference of the shares. Other columns are compared by
rank: two-sided Mann-Whitney test; effect: rank-biserial correlation, P(inside > outside) - P(inside
< outside). Images in which a column is null do not count, so that a category is counted only where
it is completely annotated. P-values are adjusted for all groups and columns (Benjamini and Hochberg
1995). They are valid only for groups that were not made from these columns.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow
from scipy import stats

from analysis.clusters.schema import Difference
from analysis.samples import schema as samples
from analysis.stats.rank_correlation import adjust

MOST_Q = 0.01
# Names and texts leave out smaller effects.
_LEAST = {'share': 0.1, 'rank': 0.3}
# Words for more and for less of a column.
_WORDS = {
    'aspect_ratio': ('wide', 'tall'),
    'brightness': ('bright', 'dark'),
    'contrast': ('high contrast', 'low contrast'),
    'sharpness': ('sharp or noisy', 'soft'),
    'saturation': ('saturated', 'pale'),
    'hue_std': ('many hues', 'few hues'),
    'is_colored': ('colour file', 'gray file'),
    'is_grayscale': ('gray', 'coloured'),
    'num_instances': ('many instances', 'few instances'),
    'smallest_instance': ('large instances', 'small instances'),
    'truncated_share': ('truncated', 'not truncated'),
    'crowd_percent': ('crowd', 'no crowd'),
}


def describe(table: pyarrow.Table, label: np.ndarray) -> list[list[Difference]]:
    """Compares each group with all other images, column by column.

    Args:
      table: of `Samples`.
      label: integer `[N]`, groups 0 … K - 1; below 0 for images in none.

    Returns:
      Per group the columns with q at most `MOST_Q`, those with the largest effects first.
    """
    found: list[tuple[int, Difference]] = []
    for column in samples.columns(table, 'metadata'):
        values = samples.numbers(table, column)
        known = ~np.isnan(values)
        values = values[known]
        share = column.startswith('count_') or pyarrow.types.is_boolean(table[column].type)
        ranks = None if share else stats.rankdata(values)
        for group in range(label.max() + 1):
            inside = label[known] == group
            if not 0 < inside.sum() < len(inside) or np.ptp(values) == 0:
                continue
            if ranks is None:
                found.append((group, _compare_shares(column, values > 0, inside)))
            else:
                found.append((group, _compare_ranks(column, values, inside, ranks)))
    adjusted = adjust(np.array([row.p for _, row in found])).tolist()
    # A difference of shares of 0.1 weighs as much as a rank correlation of 0.3.
    order = sorted(
        range(len(found)), key=lambda i: -abs(found[i][1].effect) / _LEAST[found[i][1].kind]
    )
    result: list[list[Difference]] = [[] for _ in range(label.max() + 1)]
    for i in order:
        group, row = found[i]
        if adjusted[i] <= MOST_Q:
            result[group].append(dataclasses.replace(row, q=adjusted[i]))
    return result


def _compare_shares(column: str, present: np.ndarray, inside: np.ndarray) -> Difference:
    counts = [[int((present == has)[inside == where].sum()) for has in (1, 0)] for where in (1, 0)]
    (yes_inside, n_inside), (yes_outside, n_outside) = ((row[0], sum(row)) for row in counts)
    here, elsewhere = yes_inside / n_inside, yes_outside / n_outside
    p = float(stats.fisher_exact(counts).pvalue)
    return Difference(column, 'share', here, elsewhere, here - elsewhere, p, n_inside, n_outside)


def _compare_ranks(
    column: str, values: np.ndarray, inside: np.ndarray, ranks: np.ndarray
) -> Difference:
    n, m = int(inside.sum()), int((~inside).sum())
    u = ranks[inside].sum() - n * (n + 1) / 2
    # Normal approximation corrected for ties, as in scipy.stats.mannwhitneyu, which would rank the
    # values again for each group.
    _, ties = np.unique(ranks, return_counts=True)
    total = n + m
    variance = n * m / 12 * (total + 1 - (ties**3 - ties).sum() / (total * (total - 1)))
    z = max(0.0, abs(u - n * m / 2) - 0.5) / np.sqrt(variance)
    medians = float(np.median(values[inside])), float(np.median(values[~inside]))
    effect, p = float(2 * u / (n * m) - 1), float(2 * stats.norm.sf(z))
    return Difference(column, 'rank', *medians, effect, p, n, m)


def notable(description: Sequence[Difference]) -> list[Difference]:
    """The differences that are large enough for names and texts."""
    return [row for row in description if abs(row.effect) >= _LEAST[row.kind]]


def name(description: Sequence[Difference]) -> str:
    """A few words for a group: up to two frequent categories, filled up with other columns."""
    worth = notable(description)
    categories = [
        row.column.removeprefix('count_')
        for row in worth
        if row.column.startswith('count_') and row.effect > 0
    ][:2]
    others = [
        _words(row.column, row.effect > 0)
        for row in worth
        if not row.column.startswith('count_') and row.column != 'percent_background'
    ]
    return ', '.join(categories + others[: 3 - len(categories)]) or 'nothing special'


def _words(column: str, more: bool) -> str:
    if column in _WORDS:
        return _WORDS[column][0 if more else 1]
    if column.startswith('mean_size_'):
        return f'{"large" if more else "small"} {column.removeprefix("mean_size_")}'
    name = column.removeprefix('percent_').removeprefix('num_').replace('_', ' ')
    return f'{"more" if more else "less"} {name}'


def to_text(description: Sequence[Difference], number: int = 6) -> str:
    """The largest differences with their numbers."""
    parts = []
    for row in notable(description)[:number]:
        if row.kind == 'share':
            category = row.column.removeprefix('count_')
            parts.append(f'{category} {row.inside:.0%} / {row.outside:.0%}')
        else:
            parts.append(f'{row.column} {row.inside:.3g} / {row.outside:.3g} (r {row.effect:+.2f})')
    return '; '.join(parts) or '–'
