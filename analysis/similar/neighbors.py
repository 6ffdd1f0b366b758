"""Nearest neighbors of points: exact, or among the nearest cells if there are many points."""

import logging
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

logger = logging.getLogger(__name__)

EXACT = 20_000  # largest number of points, or of queries, of which all distances are computed
_DISTANCES = 1 << 21  # that are in memory at once: 16 MB
_CELL, _PROBES = 200, 80  # points of a cell on average; cells that are searched for a query
_GROUP = 16  # columns of a group, see `_smallest`
_JUDGED = 250  # queries that recall is measured with


def neighbors(
    points: np.ndarray, k: int, queries: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest points.

    If there are more than `EXACT` points and more than `EXACT` queries, the points are divided into
    cells by k-means, and the cells nearest to that of a query are searched. The share of the
    neighbors that are found that way (`recall`) is logged.

    Args:
      points: float `[N, D]`.
      k: number of neighbors; if there are fewer points, all of them are returned.
      queries: float `[M, D]`; default: the points, each without itself.

    Returns:
      Rows int32 `[M, k]` and Euclidean distances float32 `[M, k]`, nearest first, ties by row.
      Which of several points at the distance of the k-th are among them is not defined.
    """
    if is_exact(len(points), len(points if queries is None else queries)):
        own = np.arange(len(points)) if queries is None else None
        return _search(points, k, points if queries is None else queries, own, 'neighbors')
    found = _search_cells(points, k, queries)
    share = recall(points, found[0], queries)
    logger.info(
        'Approximate neighbors of %d among %d: recall %.3f', len(found[0]), len(points), share
    )
    return found


def is_exact(points: int, queries: int) -> bool:
    """Whether `neighbors` computes all distances between so many points and queries."""
    return min(points, queries) <= EXACT


def recall(points: np.ndarray, index: np.ndarray, queries: np.ndarray | None = None) -> float:
    """The share of the nearest points that are in `index`, over 250 random queries.

    Arguments are those of `neighbors` and the rows that it returned. An exact search has 1.
    """
    number = len(index)
    if not index.size or is_exact(len(points), number):
        return 1.0
    rows = np.random.default_rng(0).choice(number, min(_JUDGED, number), replace=False)
    own = rows if queries is None else None
    asked = points if queries is None else queries
    nearest, _ = _search(points, index.shape[1], asked[rows], own, 'recall')
    return float((index[rows][:, :, None] == nearest[:, None]).any(1).mean())


def _search(
    points: np.ndarray, k: int, queries: np.ndarray, own: np.ndarray | None, title: str
) -> tuple[np.ndarray, np.ndarray]:
    """Computes all distances, by blocks of queries; `own` are rows of the queries, if points."""
    k = min(k, len(points) - (own is not None))
    index = np.zeros((len(queries), k), np.int32)
    distance = np.zeros((len(queries), k), np.float32)
    for here, squared in squared_distances(points, queries, title):
        if own is not None:
            squared[np.arange(len(squared)), own[here]] = np.inf
        near = np.sort(np.argpartition(squared, k - 1, axis=1)[:, :k], axis=1)
        found = np.take_along_axis(squared, near, 1)
        order = np.argsort(found, axis=1, kind='stable')
        index[here] = np.take_along_axis(near, order, 1)
        distance[here] = np.sqrt(np.take_along_axis(found, order, 1))
    return index, distance


def squared_distances(
    points: np.ndarray, queries: np.ndarray, title: str
) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared Euclidean distances float64 `[b, N]` of blocks of queries, and which these are.

    Many points are widened in parts for each block, as all of them would take twice their memory.
    """
    if len(points) <= EXACT:
        points = points.astype(np.float64)
    squares = np.einsum('nd,nd->n', points, points, dtype=np.float64)
    size = max(_DISTANCES // max(len(points), 1), 16)
    for start in tqdm(range(0, len(queries), size), desc=title, unit='block', delay=2):
        block = queries[start : start + size].astype(np.float64)
        squared = np.empty((len(block), len(points)))
        for first in range(0, len(points), EXACT):
            part = slice(first, first + EXACT)
            np.matmul(block, points[part].astype(np.float64, copy=False).T, out=squared[:, part])
        squared *= -2
        squared += squares
        squared += np.square(block).sum(1, keepdims=True)
        yield slice(start, start + len(block)), np.maximum(squared, 0, out=squared)


def _search_cells(
    points: np.ndarray, k: int, queries: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    # Here, as these take long to import and few data sets are that large.
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    number = max(1, len(points) // _CELL)
    sample = np.random.default_rng(0).permutation(len(points))[: 64 * number]
    with threadpool_limits(1):  # the same cells on any number of processors
        cells = KMeans(number, n_init=1, max_iter=10, init='random', random_state=0)
        label = cells.fit(points[sample]).predict(points)
        label_of_query = label if queries is None else cells.predict(queries)
    centers = cells.cluster_centers_
    nearest, _ = _search(centers, _PROBES - 1, centers, np.arange(number), 'cells')
    members, asking = (_by_cell(each, number) for each in (label, label_of_query))
    asked = points if queries is None else queries
    k = min(k, len(points) - (queries is None))
    index = np.zeros((len(asked), k), np.int32)
    distance = np.zeros((len(asked), k), np.float32)
    # Single precision is enough to choose neighbors, if the mean of the points is 0.
    mean = points.mean(0, dtype=np.float64)
    centered = (points - mean).astype(np.float32)
    centered_asked = centered if queries is None else (queries - mean).astype(np.float32)
    squares = np.square(centered).sum(1)
    for cell, here in enumerate(tqdm(asking, 'neighbors', unit='cell')):
        if not len(here):
            continue
        rows = np.concatenate([members[each] for each in (cell, *nearest[cell])])
        itself = np.arange(len(here))  # columns of queries that are points
        if len(rows) <= k:  # most points are copies of each other, so that most cells are empty
            rows, itself = np.arange(len(points)), here
        near, near_squares = centered[rows].T, squares[rows]
        parts = len(here) * len(rows) // _DISTANCES + 1
        for block, own in zip(
            *(np.array_split(each, parts) for each in (here, itself)), strict=True
        ):
            score = centered_asked[block] @ near
            score *= -2
            score += near_squares  # the squared distances, up to a constant for each query
            if queries is None:
                score[np.arange(len(block)), own] = np.inf
            found = np.sort(rows[_smallest(score, k)], axis=1)
            gap = points[found].astype(np.float64) - asked[block][:, None]
            far = np.sqrt(np.square(gap).sum(2))
            order = np.argsort(far, axis=1, kind='stable')
            index[block] = np.take_along_axis(found, order, 1)
            distance[block] = np.take_along_axis(far, order, 1)
    return index, distance


def _smallest(values: np.ndarray, k: int) -> np.ndarray:
    """The columns of the k smallest values of each row, `[n, k]`, in any order.

    They are in the k groups of columns with the smallest minima. A partition of the few values of
    these takes less time than one of all.
    """
    width = values.shape[1] // _GROUP
    if width <= k:
        return np.argpartition(values, k - 1, axis=1)[:, :k]
    whole = width * _GROUP
    least = values[:, :whole].reshape(len(values), _GROUP, width).min(1)
    groups = np.argpartition(least, k - 1, axis=1)[:, :k]
    columns = (groups[:, :, None] + width * np.arange(_GROUP)).reshape(len(values), -1)
    rest = np.broadcast_to(
        np.arange(whole, values.shape[1]), (len(values), values.shape[1] - whole)
    )
    columns = np.concatenate([columns, rest], 1)
    chosen = np.argpartition(np.take_along_axis(values, columns, 1), k - 1, axis=1)[:, :k]
    return np.take_along_axis(columns, chosen, 1)


def _by_cell(label: np.ndarray, number: int) -> list[np.ndarray]:
    """The rows of each cell, in order."""
    order = np.argsort(label, kind='stable')
    return np.split(order, np.searchsorted(label[order], np.arange(1, number)))
