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
# A rarer category is part of a name if it is this many times as frequent as elsewhere, and in this
# many more of the images.
_LIFT, _MORE = 2, 0.05
_COMMON = 0.3  # share of the other images from which the lack of a category is worth a word
_PARTS = 3  # of a name
# Words for high and for low values of a column.
_ADJECTIVES = {
    'aspect_ratio': ('wide', 'tall'),
    'brightness': ('bright', 'dark'),
    'sharpness': ('sharp or noisy', 'soft'),
    'saturation': ('vivid', 'pale'),
    'is_grayscale': ('gray', 'colored'),
}
_PHRASES = {
    'contrast': ('high contrast', 'low contrast'),
    'hue_std': ('many hues', 'few hues'),
    'is_colored': ('color files', 'gray files'),
    'num_instances': ('many instances', 'few instances'),
    'smallest_instance': ('large instances', 'small instances'),
    'truncated_share': ('often cut off', 'nothing cut off'),
    'crowd_percent': ('crowds', 'no crowds'),
    'width': ('wide files', 'narrow files'),
    'height': ('high files', 'low files'),
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
    """A name for a group: 'large person and tie, often cut off', 'bright images, few hues'.

    Up to two frequent categories, then other columns if there is room. No word is repeated.
    """
    worth = notable(description)
    said: set[str] = set()

    def first(text: str) -> bool:
        words = set(text.lower().split())  # a class may be called as its category
        if words & said:
            return False
        said.update(words)
        return True

    nouns: dict[str, str] = {}
    for row in description:
        category = row.column.removeprefix('count_')
        frequent = row.effect >= _LEAST['share'] or (
            row.effect >= _MORE and row.inside >= _LIFT * row.outside
        )
        if category != row.column and frequent and len(nouns) < 2 and first(category):
            nouns[category] = category
    adjectives: list[str] = []
    phrases: list[str] = []
    for row in worth:
        column, more = row.column, row.effect > 0
        category = column.removeprefix('mean_size_')
        if category in nouns and category != column:
            size = 'large' if more else 'small'
            if first(size):
                nouns[category] = f'{size} {category}'
        elif len(nouns) + len(adjectives) + len(phrases) < _PARTS and (words := _words(row)):
            if first(words):
                (adjectives if column in _ADJECTIVES else phrases).append(words)
    if nouns:
        return ', '.join([' and '.join(nouns.values()), *adjectives, *phrases])
    if adjectives:
        adjectives[0] += ' images'
    return ', '.join(adjectives + phrases) or 'mixed images'


def _words(row: Difference) -> str:
    """Words for a difference; '' if it says nothing in a name."""
    column, more = row.column, row.effect > 0
    for words in (_ADJECTIVES, _PHRASES):
        if column in words:
            return words[column][0 if more else 1]
    if column == 'percent_background':
        return ''
    if column.startswith('count_'):
        rare = not more and row.outside >= _COMMON and row.inside <= row.outside / 2
        return f'hardly any {column.removeprefix("count_")}' if rare else ''
    if column.startswith('mean_size_'):
        return f'{"large" if more else "small"} {column.removeprefix("mean_size_")}'
    category = column.removeprefix('percent_').removeprefix('num_').replace('_', ' ')
    if more:
        return f'{"many" if column.startswith("num_") else "much"} {category}'
    return f'{"hardly any" if row.inside == 0 else "little"} {category}'


def to_text(description: Sequence[Difference]) -> str:
    """The six largest differences with their numbers."""
    parts = []
    for row in notable(description)[:6]:
        if row.kind == 'share':
            category = row.column.removeprefix('count_')
            parts.append(f'{category} {row.inside:.0%} / {row.outside:.0%}')
        else:
            parts.append(f'{row.column} {row.inside:.3g} / {row.outside:.3g} (r {row.effect:+.2f})')
    return '; '.join(parts) or '–'
