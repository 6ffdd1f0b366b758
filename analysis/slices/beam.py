"""Beam search for conjunctions of conditions whose images have a high loss.

In all functions `masks` is bool `[L, n]`, which of n images fulfill each of L conditions; `loss` is
float `[n]`; sets of images (`here`, `part`) are bool `[n]`; a conjunction is a tuple of numbers of
conditions.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from analysis.slices.conditions import MIN_IMAGES

Conjunction = tuple[int, ...]

_MIN_SHARE = 0.01  # of the images, in a slice
# Largest share of the images in a slice, for each search.
_MAX_SHARES = (0.5, 0.12, 0.06, 0.03)
_MAX_CONDITIONS = 3
_ROUNDS, _CANDIDATES = 30, 12  # maximum numbers in a search
_BEAM = 128
_STRONG = 3.0  # standard errors by which a slice must stand out
# Standard errors by which a slice of several conditions must be worse than each of its parts. Many,
# because it is the best of thousands.
_CLEARLY = 3.5


def candidates(masks: np.ndarray, named: np.ndarray, loss: np.ndarray) -> list[list[Conjunction]]:
    """The conjunctions that stand out, by search; the search with clusters comes last.

    `named` is bool `[L]`, False for conditions on the cluster.
    """
    numbers_of = np.flatnonzero(named)
    found = [
        [tuple(numbers_of[list(numbers)].tolist()) for numbers in _search(masks[named], loss, most)]
        for most in _MAX_SHARES
    ]
    if not named.all():
        residual = loss.astype(np.float64)
        for numbers in dict.fromkeys(itertools.chain(*found)):
            take_off(residual, inside(masks, numbers))
        rest = _search(masks, residual, _MAX_SHARES[0])
        found.append([numbers for numbers in rest if not named[list(numbers)].all()])
    return found


def simpler(numbers: Conjunction, masks: np.ndarray, loss: np.ndarray) -> list[Conjunction]:
    """A conjunction, then shorter and shorter parts, each the one that stands out most."""
    z, chain = (loss - loss.mean()) / max(loss.std(), 1e-12), [numbers]
    while shorter := parts(chain[-1]):
        members = np.array([inside(masks, part) for part in shorter], np.float64)
        chain.append(shorter[int(_scores(members.sum(1), members @ z, len(z)).argmax())])
    return chain


def inside(masks: np.ndarray, numbers: Conjunction) -> np.ndarray:
    """The images of a conjunction, bool `[n]`."""
    return np.logical_and.reduce(masks[list(numbers)])


def parts(numbers: Conjunction) -> list[Conjunction]:
    """A conjunction without each of its conditions in turn; none of a single condition."""
    if len(numbers) == 1:
        return []
    return [tuple(other for other in numbers if other != number) for number in numbers]


def smallest(num_images: int) -> int:
    """Minimum size of a slice."""
    return max(MIN_IMAGES, int(np.ceil(_MIN_SHARE * num_images)))


def take_off(residual: np.ndarray, here: np.ndarray) -> None:
    """Subtracts the excess of a slice from its images: changes `residual`, float64 `[n]`."""
    residual[here] -= residual[here].mean() - residual[~here].mean()


def standard_errors(here: np.ndarray, part: np.ndarray, loss: np.ndarray) -> float:
    """Standard errors by which a slice is worse than the rest of `part`, a set that contains it."""
    rest = part & ~here
    if rest.sum() < MIN_IMAGES:
        return -np.inf
    error = np.sqrt(loss[here].var(ddof=1) / here.sum() + loss[rest].var(ddof=1) / rest.sum())
    return (loss[here].mean() - loss[rest].mean()) / max(error, 1e-12)


def _search(masks: np.ndarray, loss: np.ndarray, most: float) -> list[Conjunction]:
    """Conjunctions that stand out, one per round, each with at most the share `most` of the images.

    After each round the excess of the conjunction is subtracted from its images, so that the next
    round finds another (weighted covering, Lavrač et al. 2004).
    """
    residual = loss.astype(np.float64)
    dense = masks.astype(np.float32)
    found: list[Conjunction] = []
    seen: list[np.ndarray] = []
    for _ in range(_ROUNDS):
        best = _best_conjunction(masks, dense, residual, most)
        if best is None:
            break
        here = inside(masks, best)
        # Other conditions on mostly the same images are not a new slice.
        if all((here & old).sum() <= 0.5 * (here | old).sum() for old in seen):
            found.append(best)
            seen.append(here)
        if len(found) == _CANDIDATES:
            break
        take_off(residual, here)
    return found


def _best_conjunction(
    masks: np.ndarray, dense: np.ndarray, loss: np.ndarray, most: float
) -> Conjunction | None:
    spread = loss.std()
    if spread == 0:
        return None
    z = ((loss - loss.mean()) / spread).astype(np.float32)
    counts, sums = dense.sum(1), dense @ z
    best, best_score = None, _STRONG
    beam: list[Conjunction] = [(number,) for number in range(len(dense))]
    scores = _scores(counts, sums, len(z))
    for length in range(1, _MAX_CONDITIONS + 1):
        order = np.argsort(-scores, kind='stable')
        for place in order[scores[order] > best_score]:
            if inside(masks, beam[place]).mean() > most:
                continue
            # For two conditions `_extend` has compared both parts.
            if length < 3 or _worse_than_parts(beam[place], masks, z):
                best, best_score = beam[place], scores[place]
                break
        kept = [beam[place] for place in order[:_BEAM] if np.isfinite(scores[place])]
        if length == _MAX_CONDITIONS or not kept:
            break
        beam, scores = _extend(kept, masks, dense, z, counts, sums)
    return best


def _scores(counts: np.ndarray, sums: np.ndarray, num_images: int) -> np.ndarray:
    """Standard errors by which the mean is above that of random sets of as many images."""
    fits = (counts >= smallest(num_images)) & (counts <= _MAX_SHARES[0] * num_images)
    variance = counts * (1 - counts / num_images)
    return np.where(fits, sums / np.sqrt(np.where(fits, variance, 1)), -np.inf)


def _extend(
    kept: Sequence[Conjunction], masks: np.ndarray, dense: np.ndarray, z: np.ndarray,
    counts: np.ndarray, sums: np.ndarray,
) -> tuple[list[Conjunction], np.ndarray]:  # fmt: skip
    """All conjunctions with one more condition that are clearly worse than both parts."""
    members = np.array([inside(masks, part) for part in kept], np.float32)
    both_counts, both_sums = members @ dense.T, (members * z) @ dense.T
    scores = _scores(both_counts, both_sums, len(z))
    for part_counts, part_sums in (
        (members.sum(1)[:, None], (members @ z)[:, None]),
        (counts[None], sums[None]),
    ):
        rest = part_counts - both_counts
        possible = (rest >= MIN_IMAGES) & np.isfinite(scores)
        difference = both_sums / both_counts.clip(1) - (part_sums - both_sums) / rest.clip(1)
        error = np.sqrt(1 / both_counts.clip(1) + 1 / rest.clip(1))
        scores = np.where(possible & (difference >= _CLEARLY * error), scores, -np.inf)
    order = np.argsort(-scores, axis=None, kind='stable')[: 8 * _BEAM]
    order = order[np.isfinite(scores.flat[order])]
    # The same conjunction arises in several orders.
    beam: dict[Conjunction, float] = {}
    for place in order:
        part, number = divmod(int(place), len(dense))
        beam.setdefault(tuple(sorted((*kept[part], number))), scores.flat[place])
    return list(beam), np.array(list(beam.values()))


def _worse_than_parts(numbers: Conjunction, masks: np.ndarray, z: np.ndarray) -> bool:
    here = inside(masks, numbers)
    shorter = (inside(masks, part) for part in parts(numbers))
    return all(standard_errors(here, part, z) >= _CLEARLY for part in shorter)
