"""Exact nearest neighbors of points."""

import numpy as np
from tqdm import tqdm

_DISTANCES = 1 << 21  # that are in memory at once: 16 MB


def neighbors(
    points: np.ndarray, k: int, queries: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest points, by blocks of queries.

    Args:
      points: float `[N, D]`.
      k: number of neighbors; if there are fewer points, all of them are returned.
      queries: float `[M, D]`; default: the points, each without itself.

    Returns:
      Rows int32 `[M, k]` and Euclidean distances float32 `[M, k]`, nearest first, ties by row.
    """
    own = queries is None
    queries = points if queries is None else queries
    k = min(k, len(points) - own)
    index = np.zeros((len(queries), k), np.int32)
    distance = np.zeros((len(queries), k), np.float32)
    points = points.astype(np.float64)
    squares = np.square(points).sum(1)
    size = max(_DISTANCES // max(len(points), 1), 16)
    for start in tqdm(range(0, len(queries), size), desc='neighbors', unit='block', delay=2):
        block = queries[start : start + size].astype(np.float64)
        squared = block @ points.T
        squared *= -2
        squared += squares
        squared += np.square(block).sum(1, keepdims=True)
        np.maximum(squared, 0, out=squared)
        if own:
            squared[np.arange(len(block)), start + np.arange(len(block))] = np.inf
        near = np.sort(np.argpartition(squared, k - 1, axis=1)[:, :k], axis=1)
        found = np.take_along_axis(squared, near, 1)
        order = np.argsort(found, axis=1, kind='stable')
        index[start : start + len(block)] = np.take_along_axis(near, order, 1)
        distance[start : start + len(block)] = np.sqrt(np.take_along_axis(found, order, 1))
    return index, distance
