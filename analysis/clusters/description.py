"""What the metadata say about a group of images in comparison with all others.

A column of counts of a COCO category, or of yes and no, is compared by the share of images that
have any: two-sided Fisher's exact test, effect: the difference of the shares. Other columns are
compared by rank: two-sided Mann-Whitney test, effect: the rank-biserial correlation, P(inside >
outside) - P(inside < outside). Images in which a column is null do not count, so that a category is
counted only where it is completely annotated. P-values are corrected over all groups and columns
(Benjamini and Hochberg 1995). The groups must not have been made from these columns.
"""

import numpy as np
import pyarrow
from scipy import stats

from analysis.samples import stage as samples
from analysis.stats.rank_correlation import adjust

MOST_Q = 0.01
# Smaller differences of shares, and correlations, are not mentioned in names and texts.
_LEAST = {'share': 0.1, 'rank': 0.3}
# What to call more and less of a column.
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


def describe(table: pyarrow.Table, label: np.ndarray) -> list[list[dict]]:
    """Compares each group with the rest, column by column.

    Args:
      table: of `samples.load`.
      label: integer `[N]`, groups 0 … K - 1.

    Returns:
      Per group, its columns with q at most MOST_Q, those that say most first: `column`, `kind`
      ('share' or 'rank'), `inside` and `outside` (share of images, or median), `effect` (in
      [-1, 1]), `p`, `q`, `n_inside`, `n_outside`.
    """
    rows = []
    for column in samples.columns(table, 'metadata'):
        values = samples.numbers(table, column)
        known = ~np.isnan(values)
        share = column.startswith('count_') or pyarrow.types.is_boolean(table[column].type)
        ranks = None if share else stats.rankdata(values[known])
        for group in range(label.max() + 1):
            inside = label[known] == group
            if not 0 < inside.sum() < len(inside) or np.ptp(values[known]) == 0:
                continue
            compare = _compare_shares if share else _compare_ranks
            row = compare(values[known], inside, ranks)
            rows.append({'group': group, 'column': column, **row})
    for row, q in zip(rows, adjust(np.array([row['p'] for row in rows])), strict=True):
        row['q'] = float(q)
    # A tenth of the images more or less weighs as much as a rank correlation of 0.3.
    rows.sort(key=lambda row: -abs(row['effect']) / _LEAST[row['kind']])
    result = [[] for _ in range(label.max() + 1)]
    for row in rows:
        group = row.pop('group')
        if row['q'] <= MOST_Q:
            result[group].append(row)
    return result


def _compare_shares(values, inside, _):
    present = values > 0
    counts = [[int((present == has)[inside == where].sum()) for has in (1, 0)] for where in (1, 0)]
    shares = [yes / (yes + no) for yes, no in counts]
    return {
        'kind': 'share',
        'inside': shares[0],
        'outside': shares[1],
        'effect': shares[0] - shares[1],
        'p': float(stats.fisher_exact(counts).pvalue),
        'n_inside': sum(counts[0]),
        'n_outside': sum(counts[1]),
    }


def _compare_ranks(values, inside, ranks):
    n, m = int(inside.sum()), int((~inside).sum())
    u = ranks[inside].sum() - n * (n + 1) / 2
    # Normal approximation with the correction for ties, as in scipy.stats.mannwhitneyu, which would
    # rank the values anew for each group.
    _, ties = np.unique(ranks, return_counts=True)
    total = n + m
    variance = n * m / 12 * (total + 1 - (ties**3 - ties).sum() / (total * (total - 1)))
    z = max(0.0, abs(u - n * m / 2) - 0.5) / np.sqrt(variance)
    return {
        'kind': 'rank',
        'inside': float(np.median(values[inside])),
        'outside': float(np.median(values[~inside])),
        'effect': float(2 * u / (n * m) - 1),
        'p': float(2 * stats.norm.sf(z)),
        'n_inside': n,
        'n_outside': m,
    }


def notable(description: list[dict], number: int) -> list[dict]:
    """The entries that say most, at most `number`, with effects that are worth words."""
    worth = [row for row in description if abs(row['effect']) >= _LEAST[row['kind']]]
    return worth[:number]


def name(description: list[dict]) -> str:
    """A few words for a group: up to two frequent categories, filled up with other columns."""
    worth = notable(description, len(description))
    categories = [
        row['column'].removeprefix('count_')
        for row in worth
        if row['column'].startswith('count_') and row['effect'] > 0
    ][:2]
    others = [
        _words(row['column'], row['effect'] > 0)
        for row in worth
        if not row['column'].startswith('count_') and row['column'] != 'percent_background'
    ]
    return ', '.join(categories + others[: 3 - len(categories)]) or 'nothing special'


def _words(column: str, more: bool) -> str:
    if column in _WORDS:
        return _WORDS[column][0 if more else 1]
    if column.startswith('mean_size_'):
        return f'{"large" if more else "small"} {column.removeprefix("mean_size_")}'
    name = column.removeprefix('percent_').removeprefix('num_').replace('_', ' ')
    return f'{"more" if more else "less"} {name}'


def to_text(description: list[dict], number: int = 6) -> str:
    """The entries that say most, with their numbers."""
    parts = []
    for row in notable(description, number):
        if row['kind'] == 'share':
            parts.append(
                f'{row["column"].removeprefix("count_")} {row["inside"]:.0%} / {row["outside"]:.0%}'
            )
        else:
            parts.append(
                f'{row["column"]} {row["inside"]:.3g} / {row["outside"]:.3g} '
                f'(r {row["effect"]:+.2f})'
            )
    return '; '.join(parts) or '–'
