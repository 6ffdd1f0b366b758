"""What the page must know of a column before it loads its values.

The page sorts and folds its charts by how much of a metric's variance a column explains. It could
only compute that from all values of all columns, so it is computed here, from the same bins as in
explorer/core/bins.js (a test compares the two).
"""

import base64
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

_WANTED = 20  # bins of a number
_ENOUGH = 8192  # values for a percentile


def decode(encoded: dict[str, Any]) -> np.ndarray:
    """The inverse of `columns.encode`; integers that may be missing as float32 with NaN."""
    data = base64.b64decode(encoded['base64'])
    values = np.frombuffer(data, np.dtype(encoded['dtype']).newbyteorder('<'))
    values = values.reshape(encoded['shape'])
    if 'missing' not in encoded:
        return values
    return np.where(values == encoded['missing'], np.float32(np.nan), values.astype(np.float32))


def _finite(encoded: dict[str, Any]) -> np.ndarray:
    values = decode(encoded).astype(np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def describe(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The columns of a view with two more properties.

    varies     whether it has at least two values, without which there is no chart
    explained  share of the variance of each metric that its bins explain, of columns that are
               neither text, id nor metric
    """
    columns = list(entries)
    metrics = {
        column['name']: _finite(column['values'])
        for column in columns
        if column['role'] == 'metric' and column['kind'] == 'number'
    }
    for column in columns:
        column['varies'] = False
        if column['kind'] == 'text' or column['role'] == 'id':
            continue
        codes, size, column['varies'] = _bins(column)
        if column['role'] != 'metric':
            column['explained'] = {
                name: _explained(codes, size, values) for name, values in metrics.items()
            }
    return columns


def _bins(column: dict[str, Any]) -> tuple[np.ndarray, int, bool]:
    """The bin of each row `[N]`, missing values last, how many there are, and `varies`."""
    if column['kind'] == 'number':
        return _number_bins(_finite(column['values']))
    values = decode(column['values'])
    missing = 2 if column['kind'] == 'boolean' else len(column['categories'])
    codes = np.minimum(values, missing).astype(np.int64)
    return codes, missing, len(np.unique(codes)) > 1


def _number_bins(values: np.ndarray) -> tuple[np.ndarray, int, bool]:
    known = values[~np.isnan(values)]
    if not len(known):
        return np.ones(len(values), np.int64), 1, False
    low, high = float(known.min()), float(known.max())
    most = _percentile(values, 0.99)
    top = most if most > low and high - low > 3 * (most - low) else high
    first, last, size = low - 0.5, low + 0.5, 1
    if (known == np.floor(known)).all():
        step = math.ceil((top - low + 1) / _WANTED) or 1
        size = math.ceil((top + 0.5 + step - 1e-9 - first) / step) - 1
        last = first + size * step
    elif top > low:
        tick = _tick_step(low, top)
        begin, end = math.floor(low / tick), math.ceil(top / tick - 1e-9)
        first, last, size = begin * tick, end * tick, end - begin
    place = np.floor((values - first) * (size / (last - first)))
    codes = np.where(np.isnan(place), size, place.clip(0, size - 1)).astype(np.int64)
    return codes, size, high > low


def _percentile(values: np.ndarray, share: float) -> float:
    """Of evenly spaced rows, if there are more than enough; 1 if none of them has a value."""
    some = values[:: math.ceil(len(values) / _ENOUGH)]
    some = np.sort(some[~np.isnan(some)])
    return float(np.quantile(some, share)) if len(some) else 1.0


def _tick_step(start: float, stop: float) -> float:
    """The distance of ticks at 1, 2 or 5 times a power of 10 (d3.tickStep)."""
    step = (stop - start) / _WANTED
    power = math.floor(math.log10(step))
    error = step / 10.0**power
    factor = next((by for by, least in ((10, 50), (5, 10), (2, 2)) if error**2 >= least), 1)
    return factor * 10.0**power if power >= 0 else 1 / (10.0**-power / factor)


def _explained(codes: np.ndarray, size: int, metric: np.ndarray) -> float:
    """ε² (Kelley 1935), in [0, 1]: the share of the variance, adjusted for chance."""
    known = ~np.isnan(metric)
    codes, metric = codes[known], metric[known]
    counts = np.bincount(codes, minlength=size + 1)
    sums = np.bincount(codes, metric, size + 1)
    n, groups = len(metric), int((counts > 0).sum())
    squares = float((metric**2).sum())
    total = squares - float(sums.sum()) ** 2 / max(n, 1)
    if n <= groups or not total > 0:
        return 0.0
    within = squares - float((sums**2 / counts.clip(1)).sum())
    return max(0.0, 1 - within / (n - groups) / (total / (n - 1)))
