"""Horizontal bars with their confidence intervals."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from analysis.figures import palette


def plain(text: str) -> str:
    """Escapes text so that matplotlib reads no formula in it."""
    return text.replace('$', r'\$')


def draw(
    axis: Axes,
    texts: Sequence[str],
    values: Sequence[float | None],
    intervals: Sequence[tuple[float, float] | None],
    color: str = palette.SKY,
    height: float = 0.7,
    shift: float = 0.0,
    label: str | None = None,
) -> None:
    """Draws bars of the lengths `values` with their intervals, from top to bottom.

    A value of None is left out. Bars are 1 apart; `shift` moves them down, for several bars with
    the same text. `label` is for the legend.
    """
    places = np.arange(len(values))
    lengths = [np.nan if value is None else value for value in values]
    bounds = np.reshape([interval or (np.nan, np.nan) for interval in intervals], (-1, 2))
    axis.barh(places + shift, lengths, height, color=color, label=label)
    axis.hlines(places + shift, bounds[:, 0], bounds[:, 1], color=palette.BLACK)
    axis.set_yticks(places, [plain(text) for text in texts])
    axis.set_ylim(max(1, len(values)) - 0.4, -0.6)
