"""Finds slices that no column describes: objects that look alike and on which the network fails.

The columns of the table cannot say that objects are striped or upside down. But such objects are
close to each other in some block of the embedding. So a group is a ball: an object, and all of its
class within a radius of it in the whole embedding or in one block. Groups are found in one half of
the images and tested in the other. What metadata explain of the errors is taken off before.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special, stats

from analysis.objects.blocks import points_of
from analysis.similar.neighbors import neighbors

ALL = 'all'  # blocks together
_LEVEL = 0.05
_SIZES = (8, 12, 16, 24, 32, 48, 64, 96, 128)  # of a group in the half in which it is found
_LEAST = 5  # objects of a group in the half in which it is tested
_CENTERS, _ROUNDS = 400, 12  # objects that are tried as centers; groups of a search
_FLIPS = 4999
_BINS = 10  # of a column, for what it explains
_AGAIN = 1.645  # standard errors by which a group is worse than what groups before it explain


@dataclasses.dataclass(frozen=True)
class Ball:
    """A confirmed group."""

    block: str  # a block of the embedding, or ALL
    center: int  # row of the object
    members: np.ndarray  # their rows, int `[n]`, the nearest to the center first
    tested: np.ndarray  # bool `[M]`: objects of the class in the half that tested it
    num_half: int  # objects of all classes in this half
    z: float = 0.0  # by how many standard errors it is worse than its class
    p: float = 1.0  # adjusted over all groups that were tested

    @property
    def inside(self) -> np.ndarray:
        """Whether each object is a member, bool `[M]`. Not kept: there can be a million objects."""
        result = np.zeros(len(self.tested), np.bool_)
        result[self.members] = True
        return result


def unexplained(bad: np.ndarray, columns: Sequence[np.ndarray]) -> np.ndarray:
    """Normal scores of what columns do not explain of a badness, float64 `[n]`.

    A column explains the means of its tenths and of its missing values, added up over the columns
    (ridge regression on ranks). Scores have mean 0 and are symmetric, whatever the badness is.
    """
    ranks = _normal(bad)
    design = [np.zeros((len(bad), 1), np.bool_)]
    for column in columns:
        known = ~np.isnan(column)
        if not known.any():
            continue
        edges = np.unique(np.quantile(column[known], np.linspace(0, 1, _BINS + 1)[1:-1]))
        place = np.where(known, np.searchsorted(edges, column, 'right'), len(edges) + 1)
        design.append(place[:, None] == np.arange(len(edges) + 2))
    terms = np.concatenate(design, 1).astype(np.float64)
    terms -= terms.mean(0)
    weights = np.linalg.solve(terms.T @ terms + np.eye(terms.shape[1]), terms.T @ ranks)
    return _normal(ranks - terms @ weights)


def _normal(values: np.ndarray) -> np.ndarray:
    return special.ndtri((stats.rankdata(values) - 0.5) / len(values))


def find(
    points: np.ndarray,
    blocks: Mapping[str, int],
    classes: np.ndarray,
    images: np.ndarray,
    scores: np.ndarray,
    seed: int = 0,
    level: float = _LEVEL,
) -> tuple[int, list[Ball]]:
    """Searches each half of the images for groups, and tests them in the other half.

    Objects of one image have errors in common. So the test flips the signs of the scores of all
    objects of an image together (wild bootstrap); the largest statistic of all groups of a half is
    compared (max-T, Westfall and Young 1993). `level` is the probability of reporting any group if
    the scores depend on nothing but the image.

    Args:
      points: float32 `[M, D]`.
      blocks: dimensions by block.
      classes: of the objects, `[M]`.
      images: their rows, int `[M]`.
      scores: see `unexplained`, float64 `[M]`, with mean 0 in each class; high is bad.
      seed: of the halves and the flips.
      level: see above.

    Returns:
      Number of groups that were tested, and those confirmed, the worst first.
    """
    rng = np.random.default_rng(seed)
    numbers = np.unique(images)
    first = np.isin(images, rng.permutation(numbers)[: len(numbers) // 2])
    spaces = {ALL: points} | {name: points_of(points, blocks, name) for name in blocks}
    confirmed, num_tested = [], 0
    for search in (first, ~first):
        tested: list[tuple[Ball, np.ndarray, np.ndarray]] = []
        for name in np.unique(classes):
            mine = classes == name
            here, half = np.flatnonzero(mine & search), mine & ~search
            rows, mean = np.flatnonzero(mine), scores[half].mean()
            for block, space in spaces.items() if len(here) >= 4 * _SIZES[0] else ():
                own = space[mine]
                for center, radius in _search(space[here], scores[here]):
                    near = _within(own, space[here[center]], radius)
                    ball = Ball(block, int(here[center]), rows[near], half, int((~search).sum()))
                    found = ball.members[half[ball.members]]
                    if len(found) >= _LEAST:
                        of_images, place = np.unique(images[found], return_inverse=True)
                        sums = np.bincount(place, scores[found] - mean)
                        tested.append((ball, of_images, sums))
        num_tested += len(tested)
        confirmed += _confirmed(tested, level / 2, rng)
    return num_tested, _distinct(confirmed, scores, images)


def _search(points: np.ndarray, scores: np.ndarray) -> list[tuple[int, float]]:
    """Centers and radii of groups with high scores, by weighted covering."""
    residual = scores - scores.mean()
    centers = np.argsort(-residual, kind='stable')[:_CENTERS]
    sizes = np.array([size for size in _SIZES if size <= len(points) // 4])
    near, distance = neighbors(points, int(sizes[-1]) + 1, points[centers])
    found = []
    for _ in range(_ROUNDS):
        sums = np.cumsum(residual[near], 1)[:, sizes - 1]
        number, place = np.unravel_index((sums / np.sqrt(sizes)).argmax(), sums.shape)
        size = sizes[place]
        if sums[number, place] <= _AGAIN * np.sqrt(size):
            break
        found.append((int(centers[number]), float(distance[number, size - 1 : size + 1].mean())))
        members = near[number, :size]
        residual[members] -= residual[members].mean()
    return found


def _within(points: np.ndarray, center: np.ndarray, radius: float) -> np.ndarray:
    """Rows of the points within a radius of a center, the nearest first."""
    distance = np.linalg.norm(points - center, axis=1)
    near = np.flatnonzero(distance <= radius)
    return near[np.argsort(distance[near], kind='stable')]


def _confirmed(
    tested: Sequence[tuple[Ball, np.ndarray, np.ndarray]], level: float, rng: np.random.Generator
) -> list[Ball]:
    """The groups that are worse than chance, from images and the sums of their scores in each."""
    if not tested:
        return []
    images = np.unique(np.concatenate([of_images for _, of_images, _ in tested]))
    scaled = np.zeros((len(tested), len(images)))
    for row, (_, of_images, sums) in zip(scaled, tested, strict=True):
        row[np.searchsorted(images, of_images)] = sums / max(np.linalg.norm(sums), 1e-12)
    observed = scaled.sum(1)
    at_least = np.ones(len(tested))
    for _ in range(_FLIPS // 250):
        signs = rng.choice(np.array([-1.0, 1.0]), (scaled.shape[1], 250))
        at_least += ((scaled @ signs).max(0)[:, None] >= observed - 1e-9).sum(0)
    p = at_least / (_FLIPS // 250 * 250 + 1)
    return [
        dataclasses.replace(ball, z=float(z), p=float(value))
        for (ball, *_), z, value in zip(tested, observed, p, strict=True)
        if value <= level
    ]


def _distinct(found: Sequence[Ball], scores: np.ndarray, images: np.ndarray) -> list[Ball]:
    """Leaves out groups whose scores purer ones explain.

    Those that are surely the worst on average come first. Large groups stand out by more standard
    errors, but they often are unions of several causes.
    """

    def surely(ball: Ball) -> float:
        sums = np.bincount(images[ball.members], scores[ball.members])
        return float(sums.sum() - _AGAIN * np.linalg.norm(sums)) / len(ball.members)

    kept, residual = [], scores.copy()
    for ball in sorted(found, key=surely, reverse=True):
        sums = np.bincount(images[ball.members], residual[ball.members])
        if sums.sum() >= _AGAIN * np.linalg.norm(sums):
            kept.append(ball)
            residual[ball.members] -= residual[ball.members].mean()
    return kept
