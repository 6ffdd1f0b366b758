"""The order in which images should be labeled: uncertain, and unlike all that are labeled.

A weighted farthest-first traversal. The next image is the one with the largest product of its
uncertainty and its distance to the nearest image that is labeled or was chosen before. With equal
weights, this is the greedy k-center of Gonzalez (1985), which core-set selection uses (Sener and
Savarese 2018). With weights it is the heuristic of Dyer and Frieze (1985) for the weighted
p-center. The product needs no scale: only ratios of uncertainties and of distances matter. A copy
of a labeled or chosen image has the score 0, however uncertain the network is.
"""

import dataclasses

import numpy as np

from analysis.similar.neighbors import neighbors

FARTHEST = 2.0  # between points of unit length; the distance if no image is labeled
_SAME = 1e-6  # distances below are rounding errors


@dataclasses.dataclass(frozen=True)
class Order:
    """Images in the order in which they were chosen, K of them."""

    rows: np.ndarray  # int64 `[K]`
    distance: np.ndarray  # float64 `[K]`, to the nearest labeled or earlier image, 0 … 2
    score: np.ndarray  # float64 `[K]`, descending: uncertainty · distance
    before: (
        np.ndarray
    )  # float64 `[M]`, of all unlabeled images: distance to the nearest labeled one
    after: np.ndarray  # float64 `[M]`, likewise once all K are labeled


def choose(
    points: np.ndarray, uncertainty: np.ndarray, is_labeled: np.ndarray, count: int
) -> Order:
    """Chooses images to label. Of equal scores, the farther image comes first, then the lower row.

    Takes O(N · (labeled + count) · D) operations, and memory for a copy of the points.

    Args:
      points: embeddings, float `[N, D]` of unit length.
      uncertainty: float `[N]`, at least 0; that of labeled images is not used.
      is_labeled: bool `[N]`.
      count: number of images to choose; all unlabeled ones if there are fewer.

    Raises:
      ValueError: all images are labeled, or an uncertainty is negative or not a number.
    """
    others = np.flatnonzero(~is_labeled)
    if not len(others):
        raise ValueError(f'all {len(points)} images are labeled: there is none to choose from.')
    mine, weight = points[others], uncertainty[others].astype(np.float64)
    if not (weight >= 0).all():
        raise ValueError('an uncertainty is negative or not a number: images cannot be ranked.')
    distance = np.full(len(others), FARTHEST)
    if len(others) < len(points):
        distance = neighbors(points[is_labeled], 1, mine)[1][:, 0].astype(np.float64)
    distance[distance < _SAME] = 0
    before, is_left = distance.copy(), np.ones(len(others), np.bool_)
    chosen, distances = [], []
    for _ in range(min(count, len(others))):
        score = np.where(is_left, weight * distance, -1)
        best = np.flatnonzero(score == score.max())
        best = best[distance[best].argmax()]
        chosen.append(best)
        distances.append(distance[best])
        is_left[best] = False
        change = mine - mine[best]
        np.minimum(distance, np.sqrt(np.einsum('nd,nd->n', change, change)), out=distance)
        distance[distance < _SAME] = 0
    rows, far = np.array(chosen, np.int64), np.array(distances)
    return Order(others[rows], far, weight[rows] * far, before, distance)
