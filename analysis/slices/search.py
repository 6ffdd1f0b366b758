"""Searches for interpretable slices, conjunctions of conditions whose images have a high loss.

Half of the images are searched, and what is found there is tested on the other half.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

LEVEL = 0.05
_CUTS = (0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.97, 0.98)
_GAP = 0.1  # between values, as a share of the distance from the median
_MIN_IMAGES, _MIN_SHARE = 8, 0.01  # of a slice, in either half
# A slice's largest share of the images in each search. What stands out most is often a large slice
# with several causes in it; among small ones each comes up alone.
_MAX_SHARES = (0.5, 0.12, 0.06, 0.03)
_MAX_CONDITIONS = 3
_ROUNDS, _CANDIDATES = 30, 12  # of the search, at most
_BEAM = 128
_STRONG = 3.0  # standard errors that a slice must stand out in the search
# Standard errors by which a longer slice must be worse than each of its parts: in the search, where
# it is the best of thousands, and in the other half (one-sided 5 %).
_CLEARLY, _AGAIN = 3.5, 1.645
_PERMUTATIONS, _BLOCK = 4999, 250

Condition = tuple[str, str, float | bool | int]
CLUSTER = 'cluster'  # the column of its number


def membership(columns: Mapping[str, np.ndarray], conditions: Sequence[Condition]) -> np.ndarray:
    """Which images fulfil all conditions, bool `[N]`; an unknown value (NaN) fulfils none."""
    inside = True
    for name, relation, value in conditions:
        column = columns[name]
        if relation == '<=':
            inside = inside & (column <= value)
        elif relation == '>=':
            inside = inside & (column >= value)
        else:
            inside = inside & (column == value)
    return inside


def describe(conditions: Sequence[Condition]) -> str:
    """Conditions in words."""
    words = []
    for name, relation, value in conditions:
        if isinstance(value, bool):
            words.append(name if value else f'not {name}')
        else:
            words.append(f'{name} {relation} {value:g}')
    return ' and '.join(words)


def make_conditions(columns: Mapping[str, np.ndarray]) -> tuple[list[Condition], np.ndarray]:
    """Single conditions on columns that hold for some images and not for others.

    Args:
      columns: `[N]` each. Floating point (NaN where unknown) is cut near quantiles and above its
        smallest value; of bool and integer columns each value is a category.

    Returns:
      L conditions that differ in some image, and which images fulfil them, bool `[L, N]`.
    """
    found, masks = [], []
    for name, column in columns.items():
        if column.dtype.kind in 'bi':
            conditions = [(name, 'is', value.item()) for value in np.unique(column)]
        else:
            known = np.sort(column[~np.isnan(column)])
            cuts = [_between(known[place], known[place + 1]) for place in _places(known)]
            conditions = [(name, '<=', low) for low, _ in cuts]
            conditions += [(name, '>=', high) for _, high in cuts]
        found += conditions
        masks += [membership(columns, [condition]) for condition in conditions]
    if not found:
        return [], np.zeros((0, 0), np.bool_)
    masks = np.array(masks)
    enough = (masks.sum(1) >= _MIN_IMAGES) & ((~masks).sum(1) >= _MIN_IMAGES)
    _, first = np.unique(np.packbits(masks, axis=1), axis=0, return_index=True)
    kept = np.sort(first)
    kept = kept[enough[kept]]
    return [found[i] for i in kept], masks[kept]


def _places(values: np.ndarray) -> list[int]:
    """Places in sorted values after which to cut: after the smallest, and near each quantile.

    In a gap if one is near: what lies apart is cut off whole.
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
    """Short numbers near two neighbouring values, for `<=` and `>=`; three digits at most."""
    cuts = []
    for value, other in ((below, above), (above, below)):
        rounded = [float(f'{value:.{digits}g}') for digits in (1, 2, 3)]
        fitting = [cut for cut in rounded if below <= cut <= above and cut != other]
        cuts.append(fitting[0] if fitting else rounded[-1])
    return cuts[0], cuts[1]


def find_slices(
    columns: Mapping[str, np.ndarray], loss: np.ndarray, seed: int = 0, level: float = LEVEL
) -> dict:
    """Searches one half of the images for slices with a high loss, and tests them on the other.

    Then the halves change places, each way with half the level: a slice that one half is too small
    to show has a second chance.

    The search goes in rounds. Each is a beam search for the conjunction whose mean loss is the most
    standard errors above that of the half; then its excess is taken off its images, so that the
    next round finds something else (weighted covering, Lavrač et al. 2004). What stands out most is
    often a large slice with several causes, so ever smaller ones are searched for anew. Clusters
    come last, for what no metadata account for: the number of a cluster explains nothing. In the
    other half each slice's mean rank, and that of its best parts, is compared with that of random
    sets of images of its size, which is exact whatever the distribution of the loss, all of them at
    once (max-T, Westfall & Young 1993). Of a conjunction and its parts the longest is reported that
    is confirmed and needs all of its conditions.

    Args:
      columns: see `make_conditions`, `[N]` each.
      loss: float `[N]`, finite; high is bad.
      seed: of the halves and the permutations.
      level: probability of reporting anything where the loss goes with no column.

    Returns:
      `num_tested` and `slices`, those confirmed, as in the artifact (but for `worst`).
    """
    rng = np.random.default_rng(seed)
    conditions, masks = make_conditions(columns)
    if not conditions:
        return {'num_tested': 0, 'slices': []}
    named = np.array([name != CLUSTER for name, *_ in conditions], np.bool_)
    order = rng.permutation(len(loss))
    halves = np.sort(order[: len(loss) // 2]), np.sort(order[len(loss) // 2 :])
    num_tested, rows = 0, []
    for search, test in (halves, halves[::-1]):
        searches = _candidates(masks[:, search], named, loss[search])
        # Should a slice turn out longer than it need be, what it is made of is there to be tested.
        chains = {
            numbers: _simpler(numbers, masks[:, search], loss[search])
            for numbers in itertools.chain(*searches)
        }
        tested = {
            numbers: masks[list(numbers)][:, test].all(0)
            for numbers in itertools.chain(*chains.values())
        }
        enough = _smallest(len(test))
        tested = {numbers: here for numbers, here in tested.items() if here.sum() >= enough}
        num_tested += len(tested)
        p_values = _permutation_test(tested, loss[test], level / 2, rng)
        stand_out = {numbers: tested[numbers] for numbers, p in p_values.items() if p <= level / 2}
        chosen = itertools.chain(
            *(
                _needed(
                    [chains[numbers] for numbers in found], stand_out, masks[:, test], loss[test]
                )
                for found in searches
            )
        )
        slices = []
        for numbers in dict.fromkeys(chosen):
            words = [conditions[number] for number in numbers]
            row = {
                'conditions': [list(condition) for condition in words],
                'text': describe(words),
                'size': int(masks[list(numbers)].all(0).sum()),
                **_describe_excess(tested[numbers], loss[test]),
                'p': p_values[numbers],
            }
            slices.append((row, tested[numbers], bool(named[list(numbers)].all())))
        rows += _without_redundant(slices, loss[test])
    # Found both ways, a slice is told as it was found first.
    unique = {row['text']: row for row in reversed(rows)}.values()
    return {'num_tested': num_tested, 'slices': sorted(unique, key=lambda row: -row['impact'])}


def _candidates(
    masks: np.ndarray, named: np.ndarray, loss: np.ndarray
) -> list[list[tuple[int, ...]]]:
    """Conjunctions that stand out, as numbers of conditions, of each search; with clusters last.

    Args:
      masks: bool `[L, n]`, of the images of a half.
      named: bool `[L]`, False for clusters.
      loss: `[n]`.
    """
    numbers_of = np.flatnonzero(named)
    found = [
        [tuple(numbers_of[list(numbers)].tolist()) for numbers in _search(masks[named], loss, most)]
        for most in _MAX_SHARES
    ]
    if not named.all():
        residual = loss.astype(np.float64)
        for numbers in dict.fromkeys(itertools.chain(*found)):
            _take_off(residual, masks[list(numbers)].all(0))
        rest = _search(masks, residual, _MAX_SHARES[0])
        found.append([numbers for numbers in rest if not named[list(numbers)].all()])
    return found


def _needed(
    chains: Sequence[Sequence[tuple[int, ...]]],
    stand_out: Mapping[tuple[int, ...], np.ndarray],
    masks: np.ndarray,
    loss: np.ndarray,
) -> list[tuple[int, ...]]:
    """Of what one search found, the longest part of each that needs all of its conditions.

    It does if it is worse than each of its parts is without it, as in the search once the excess of
    what was found before is taken off: what is pale and not dark need not be worse than what is
    pale and dark, if that is told.

    Args:
      chains: a conjunction and ever shorter parts of it, of each one found.
      stand_out: those that do, and which images of a half each has, bool `[n]`.
      masks: bool `[L, n]` of the single conditions.
      loss: `[n]`.
    """
    residual, needed = loss.astype(np.float64), []
    for chain in chains:
        for numbers in filter(stand_out.__contains__, chain):
            here = stand_out[numbers]
            parts = (masks[list(part)].all(0) for part in _parts(numbers))
            if all(_standard_errors(here, part, residual) >= _AGAIN for part in parts):
                needed.append(numbers)
                _take_off(residual, here)
                break
    return needed


def _describe_excess(here: np.ndarray, loss: np.ndarray) -> dict:
    worse, other = loss[here], loss[~here]
    excess = worse.mean() - other.mean()
    bounds = stats.ttest_ind(worse, other, equal_var=False).confidence_interval(0.95)
    return {
        'share': float(here.mean()),
        'mean': float(worse.mean()),
        'mean_elsewhere': float(other.mean()),
        'excess': float(excess),
        'interval': [float(bounds.low), float(bounds.high)],
        'impact': float(here.mean() * excess),
    }


def _without_redundant(slices: list[tuple[dict, np.ndarray, bool]], loss: np.ndarray) -> list[dict]:
    """The slices whose excess is not accounted for by smaller ones, or by metadata if by clusters.

    Small ones first: a large one may be several together, and then tells less.

    Args:
      slices: row, images bool `[n]`, and whether it does without clusters.
      loss: `[n]`.
    """
    kept, residual, everything = [], loss.astype(np.float64), np.ones(len(loss), np.bool_)
    for row, here, _ in sorted(slices, key=lambda found: (not found[2], found[0]['share'])):
        if _standard_errors(here, everything, residual) >= _AGAIN:
            kept.append(row)
            _take_off(residual, here)
    return kept


def _take_off(residual: np.ndarray, inside: np.ndarray) -> None:
    """Takes the excess of a slice off its images."""
    residual[inside] -= residual[inside].mean() - residual[~inside].mean()


def _parts(numbers: tuple[int, ...]) -> list[tuple[int, ...]]:
    """A conjunction without each of its conditions in turn; of a single condition none."""
    if len(numbers) == 1:
        return []
    return [tuple(other for other in numbers if other != number) for number in numbers]


def _simpler(
    numbers: tuple[int, ...], masks: np.ndarray, loss: np.ndarray
) -> list[tuple[int, ...]]:
    """A conjunction and, ever shorter, the part of it that stands out most."""
    z, chain = (loss - loss.mean()) / max(loss.std(), 1e-12), [numbers]
    while parts := _parts(chain[-1]):
        inside = np.array([masks[list(part)].all(0) for part in parts], np.float64)
        chain.append(parts[int(_scores(inside.sum(1), inside @ z, len(z)).argmax())])
    return chain


def _smallest(num_images: int) -> int:
    return max(_MIN_IMAGES, int(np.ceil(_MIN_SHARE * num_images)))


def _search(masks: np.ndarray, loss: np.ndarray, most: float) -> list[tuple[int, ...]]:
    """Conjunctions, as numbers of conditions, that stand out in the search's half, one a round.

    None has more than the share `most` of the images.
    """
    residual = loss.astype(np.float64)
    dense = masks.astype(np.float32)
    found, seen = [], []
    for _ in range(_ROUNDS):
        best = _best_conjunction(masks, dense, residual, most)
        if best is None:
            break
        inside = masks[list(best)].all(0)
        # The same images in other words are no news.
        if all((inside & old).sum() <= 0.5 * (inside | old).sum() for old in seen):
            found.append(best)
            seen.append(inside)
        if len(found) == _CANDIDATES:
            break
        _take_off(residual, inside)
    return found


def _best_conjunction(
    masks: np.ndarray, dense: np.ndarray, loss: np.ndarray, most: float
) -> tuple[int, ...] | None:
    spread = loss.std()
    if spread == 0:
        return None
    z = ((loss - loss.mean()) / spread).astype(np.float32)
    counts, sums = dense.sum(1), dense @ z
    best, best_score = None, _STRONG
    beam = [(number,) for number in range(len(dense))]
    scores = _scores(counts, sums, len(z))
    for length in range(1, _MAX_CONDITIONS + 1):
        order = np.argsort(-scores, kind='stable')
        for place in order[scores[order] > best_score]:
            if masks[list(beam[place])].all(0).mean() > most:
                continue
            # Of two conditions, `_extend` has compared both parts.
            if length < 3 or _worse_than_parts(beam[place], masks, z):
                best, best_score = beam[place], scores[place]
                break
        parts = [beam[place] for place in order[:_BEAM] if np.isfinite(scores[place])]
        if length == _MAX_CONDITIONS or not parts:
            break
        beam, scores = _extend(parts, masks, dense, z, counts, sums)
    return best


def _scores(counts: np.ndarray, sums: np.ndarray, num_images: int) -> np.ndarray:
    """Standard errors by which the mean is above that of random sets of as many images."""
    fits = (counts >= _smallest(num_images)) & (counts <= _MAX_SHARES[0] * num_images)
    variance = counts * (1 - counts / num_images)
    return np.where(fits, sums / np.sqrt(np.where(fits, variance, 1)), -np.inf)


def _extend(
    parts: Sequence[tuple[int, ...]],
    masks: np.ndarray,
    dense: np.ndarray,
    z: np.ndarray,
    counts: np.ndarray,
    sums: np.ndarray,
) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """All conjunctions of a part and one more condition that are clearly worse than both."""
    inside = np.array([masks[list(part)].all(0) for part in parts], np.float32)
    both_counts, both_sums = inside @ dense.T, (inside * z) @ dense.T
    scores = _scores(both_counts, both_sums, len(z))
    for part_counts, part_sums in (
        (inside.sum(1)[:, None], (inside @ z)[:, None]),
        (counts[None], sums[None]),
    ):
        rest = part_counts - both_counts
        possible = (rest >= _MIN_IMAGES) & np.isfinite(scores)
        difference = both_sums / both_counts.clip(1) - (part_sums - both_sums) / rest.clip(1)
        error = np.sqrt(1 / both_counts.clip(1) + 1 / rest.clip(1))
        scores = np.where(possible & (difference >= _CLEARLY * error), scores, -np.inf)
    order = np.argsort(-scores, axis=None, kind='stable')[: 8 * _BEAM]
    order = order[np.isfinite(scores.flat[order])]
    # The same conjunction comes about in several orders.
    beam = {}
    for place in order:
        part, number = divmod(int(place), len(dense))
        beam.setdefault(tuple(sorted((*parts[part], number))), scores.flat[place])
    return list(beam), np.array(list(beam.values()))


def _worse_than_parts(numbers: tuple[int, ...], masks: np.ndarray, z: np.ndarray) -> bool:
    here = masks[list(numbers)].all(0)
    parts = (masks[list(part)].all(0) for part in _parts(numbers))
    return all(_standard_errors(here, part, z) >= _CLEARLY for part in parts)


def _standard_errors(here: np.ndarray, part: np.ndarray, loss: np.ndarray) -> float:
    """Standard errors by which a slice is worse than the rest of a part of its conditions."""
    rest = part & ~here
    if rest.sum() < _MIN_IMAGES:
        return -np.inf
    error = np.sqrt(loss[here].var(ddof=1) / here.sum() + loss[rest].var(ddof=1) / rest.sum())
    return (loss[here].mean() - loss[rest].mean()) / max(error, 1e-12)


def _permutation_test(
    tested: Mapping[tuple[int, ...], np.ndarray],
    loss: np.ndarray,
    level: float,
    rng: np.random.Generator,
) -> dict[tuple[int, ...], float]:
    """One-sided p-values of slices, bool `[n]` each, for their mean rank of the loss, adjusted.

    How often any of them stands out as much (in standard errors, see `_scores`) once the loss is
    dealt out anew: single-step max-T (Westfall & Young 1993), which knows that slices overlap. Of
    ranks, as the few largest losses would decide about small slices. It ends as soon as none can be
    at most `level` any more; p-values above that are lower bounds.
    """
    if not tested:
        return {}
    inside, z = np.array(list(tested.values())), stats.rankdata(loss)
    z = (z - z.mean()) / max(z.std(), 1e-12)
    counts = inside.sum(1)
    scaled = inside / np.sqrt(counts * (1 - counts / len(z)))[:, None]
    # Minus the order in which numbers are added.
    observed, at_least = scaled @ z - 1e-9 * len(z), np.zeros(len(inside), np.int64)
    for start in range(0, _PERMUTATIONS, _BLOCK):
        block = np.tile(z, (min(_BLOCK, _PERMUTATIONS - start), 1))
        most = (rng.permuted(block, axis=1, out=block) @ scaled.T).max(1)
        at_least += (most[:, None] >= observed).sum(0)
        if (1 + at_least > level * (1 + _PERMUTATIONS)).all():
            break
    p_values = (1 + at_least) / (1 + _PERMUTATIONS)
    return dict(zip(tested, p_values.tolist(), strict=True))
