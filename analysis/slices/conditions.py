"""Conditions on the columns of images, of which slices are made."""

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.clusters.schema import Clusters
from analysis.samples import schema as samples
from analysis.samples.schema import Samples
from analysis.slices.schema import Condition
from analysis.stage import artifacts
from analysis.stage.view import View

CLUSTER = 'cluster'  # the column of its number
MIN_IMAGES = 8  # of a slice, in either half
_CUTS = (0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.97, 0.98)
_GAP = 0.1  # between values, as a share of the distance from the median
_RELATIONS = {'<=': np.less_equal, '>=': np.greater_equal, 'is': np.equal}


def load_metadata(view: View) -> dict[str, np.ndarray]:
    """The columns for conditions that do not depend on the network, `[N]` each.

    Raises:
      ValueError: an artifact is missing or damaged.
    """
    columns = samples.numbers_of(artifacts.load(view, Samples).table, 'metadata')
    for name in ('is_colored', 'is_grayscale'):
        columns[name] = columns[name] == 1
    return columns


def load_columns(view: View) -> dict[str, np.ndarray]:
    """The columns for conditions, `[N]` each: metadata and, if it was computed, the cluster.

    Raises:
      ValueError: an artifact is missing or damaged.
    """
    columns = load_metadata(view)
    if artifacts.exists(view, Clusters):
        columns[CLUSTER] = artifacts.load(view, Clusters).label.astype(np.int64)
    return columns


def membership(columns: Mapping[str, np.ndarray], conditions: Sequence[Condition]) -> np.ndarray:
    """Which images fulfill all conditions, bool `[N]`; an unknown value (NaN) fulfills none."""
    fulfilled = [_RELATIONS[relation](columns[name], value) for name, relation, value in conditions]
    return np.all(fulfilled, axis=0)


def make_conditions(columns: Mapping[str, np.ndarray]) -> tuple[list[Condition], np.ndarray]:
    """Single conditions on columns `[N]` that some images fulfill and others do not.

    Floating point (NaN where unknown) is cut near quantiles and above its smallest value; in bool
    and integer columns each value is a category.

    Returns:
      L conditions that differ in at least one image, and the images that fulfill them, bool
      `[L, N]`.
    """
    found: list[Condition] = []
    for name, column in columns.items():
        if column.dtype.kind in 'bi':
            found += [Condition(name, 'is', value) for value in np.unique(column).tolist()]
        else:
            known = np.sort(column[~np.isnan(column)])
            cuts = [_between(known[place], known[place + 1]) for place in _places(known)]
            found += [Condition(name, '<=', low) for low, _ in cuts]
            found += [Condition(name, '>=', high) for _, high in cuts]
    if not found:
        return [], np.zeros((0, 0), np.bool_)
    masks = np.array([membership(columns, [condition]) for condition in found])
    enough = (masks.sum(1) >= MIN_IMAGES) & ((~masks).sum(1) >= MIN_IMAGES)
    _, first = np.unique(np.packbits(masks, axis=1), axis=0, return_index=True)
    kept = [i for i in np.sort(first) if enough[i]]
    return [found[i] for i in kept], masks[kept]


def _places(values: np.ndarray) -> list[int]:
    """Indices of sorted values after which to cut: after the smallest, and near each quantile.

    A wide gap near a quantile is preferred: a group of values far from the others is cut off whole.
    """
    gaps = np.diff(values)
    changes = np.flatnonzero(gaps)
    if not len(changes):
        return []
    middle = np.median(values)
    places = {int(changes[0])}
    wide = gaps > _GAP * np.maximum(middle - values[:-1], values[1:] - middle)
    quantiles = np.array([0, *_CUTS, 1])
    edges = np.rint((quantiles[1:] + quantiles[:-1]) / 2 * len(gaps)).astype(np.int64)
    for quantile, start, stop in zip(_CUTS, edges[:-1], edges[1:], strict=True):
        if wide[start:stop].any():
            place = start + gaps[start:stop].argmax()
        else:
            place = changes[np.abs(changes + 0.5 - quantile * len(gaps)).argmin()]
        places.add(int(place))
    return sorted(places)


def _between(below: float, above: float) -> tuple[float, float]:
    """Short numbers between two neighboring values, for `<=` and `>=`.

    Each has three digits at most, or as many as are needed to part the two.
    """
    cuts = []
    for value, other in ((below, above), (above, below)):
        rounded = (float(f'{value:.{digits}g}') for digits in range(1, 18))  # at last, the value
        cuts.append(next(cut for cut in rounded if below <= cut <= above and cut != other))
    return cuts[0], cuts[1]
