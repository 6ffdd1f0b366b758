"""Finds how the metadata of a group of images differ from those of all others.

Boolean columns, and counts of a category, are compared by the share of images with a value above 0:
two-sided Fisher's exact test, effect: difference of the shares. Other columns are compared by rank:
two-sided Mann-Whitney test, effect: rank-biserial correlation, P(inside > outside) - P(inside <
outside). Images in which a column is null do not count. P-values are adjusted for all groups and
columns (Benjamini and Hochberg 1995). They are valid only for groups not made from these columns.
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
# Words for high and for low values of a column.
_WORDS = {
    'aspect_ratio': ('wide', 'tall'),
    'brightness': ('bright', 'dark'),
    'contrast': ('high contrast', 'low contrast'),
    'sharpness': ('sharp or noisy', 'soft'),
    'saturation': ('saturated', 'pale'),
    'hue_std': ('many hues', 'few hues'),
    'is_colored': ('color file', 'gray file'),
    'is_grayscale': ('gray', 'colored'),
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
        for group in range(label.max() + 1):
            inside = label[known] == group
            if not 0 < inside.sum() < len(inside) or np.ptp(values) == 0:
                continue
            compare = _compare_shares if share else _compare_ranks
            found.append((group, compare(column, values, inside)))
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


def _compare_shares(column: str, values: np.ndarray, inside: np.ndarray) -> Difference:
    n, m = int(inside.sum()), int((~inside).sum())
    yes, yes_elsewhere = int((values[inside] > 0).sum()), int((values[~inside] > 0).sum())
    here, elsewhere = yes / n, yes_elsewhere / m
    p = float(stats.fisher_exact([[yes, n - yes], [yes_elsewhere, m - yes_elsewhere]]).pvalue)
    return Difference(column, 'share', here, elsewhere, here - elsewhere, p, n, m)


def _compare_ranks(column: str, values: np.ndarray, inside: np.ndarray) -> Difference:
    here, elsewhere = values[inside], values[~inside]
    n, m = len(here), len(elsewhere)
    test = stats.mannwhitneyu(here, elsewhere, method='asymptotic')
    effect = float(2 * test.statistic / (n * m) - 1)
    medians = float(np.median(here)), float(np.median(elsewhere))
    return Difference(column, 'rank', *medians, effect, float(test.pvalue), n, m)


def notable(description: Sequence[Difference]) -> list[Difference]:
    """The differences that are large enough for names and texts."""
    return [row for row in description if abs(row.effect) >= _LEAST[row.kind]]


def name(description: Sequence[Difference]) -> str:
    """A name for a group: up to two frequent categories, then other columns if there is room."""
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
