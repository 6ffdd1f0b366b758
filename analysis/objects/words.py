"""Says in words what the objects of a group have in common and others of their class have not."""

import numpy as np
import pyarrow
from scipy import stats

from analysis.samples.schema import numbers

_SHARE, _MORE = 0.5, 0.3  # a color is named if so many have it, and so many more than elsewhere
_RANK = 0.5  # least rank-biserial correlation that is worth a word
_MOST = 3
# Words for high and for low values of a column.
_PHRASES = {
    'pattern': ('patterned', 'plain'),
    'balance': ('widest below', 'widest above'),
    'box_ratio': ('wide', 'tall'),
    'brightness': ('bright', 'dark'),
    'saturation': ('vivid', 'pale'),
    'contrast': ('unlike the surroundings', 'like the surroundings'),
    'sharpness': ('sharp or noisy', 'soft'),
    'area': ('large', 'small'),
    'touching': ('among other objects', 'alone'),
}


def name(table: pyarrow.Table, inside: np.ndarray, others: np.ndarray) -> str:
    """Up to three words for a group: 'bright green, patterned'.

    Args:
      table: of `Objects`.
      inside: the objects of the group, bool `[M]`.
      others: those that they are compared with, bool `[M]`.

    Returns:
      The largest differences first; `alike` if there is none.
    """
    found: list[tuple[float, str]] = []
    shown = dict[str, str]()
    for half in ('upper', 'lower'):
        colors = np.array(table[f'{half}_color'].to_pylist(), np.object_)
        values, counts = np.unique(colors[inside].astype(np.str_), return_counts=True)
        color = str(values[counts.argmax()])
        share = float((colors[inside] == color).mean())
        more = share - float((colors[others] == color).mean())
        if share >= _SHARE and more >= _MORE:
            shown[half] = color
            found.append((more, f'{color} {"above" if half == "upper" else "below"}'))
    if len(set(shown.values())) == 1 and len(shown) == 2:
        found = [(max(more for more, _ in found), shown['upper'])]
    for column, words in _PHRASES.items():
        values = numbers(table, column)
        here, elsewhere = (values[rows & ~np.isnan(values)] for rows in (inside, others))
        if len(here) and len(elsewhere) and np.ptp([*here, *elsewhere]) > 0:
            statistic = stats.mannwhitneyu(here, elsewhere, method='asymptotic').statistic
            effect = float(2 * statistic / (len(here) * len(elsewhere)) - 1)
            if abs(effect) >= _RANK:
                found.append((abs(effect), words[effect < 0]))
    found.sort(key=lambda pair: -pair[0])
    return ', '.join(word for _, word in found[:_MOST]) or 'alike'
