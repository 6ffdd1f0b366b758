"""Finds slices, conjunctions of conditions whose images have a high loss, and tests them."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from analysis.slices import beam
from analysis.slices.beam import Conjunction
from analysis.slices.conditions import CLUSTER, make_conditions
from analysis.slices.schema import Condition, Slice
from analysis.slices.words import describe

LEVEL = 0.05
# Standard errors by which a slice must be worse than each of its parts in the half in which it is
# tested (one-sided 5 %).
_AGAIN = 1.645
_PERMUTATIONS, _BLOCK = 4999, 250


def find_slices(
    columns: Mapping[str, np.ndarray], loss: np.ndarray, seed: int = 0, level: float = LEVEL
) -> tuple[int, list[Slice]]:
    """Searches one half of the images for slices with a high loss, and tests them on the other.

    Then the halves are swapped; each direction has half of the level. Conditions on the cluster
    come last, for what metadata do not explain, because the number of a cluster explains nothing.
    The test is exact for any distribution of the loss, and for all slices together. Of a
    conjunction and its parts, it reports the longest that is confirmed and needs all conditions.

    Args:
      columns: see `make_conditions`, `[N]` each.
      loss: float `[N]`, high is bad; images where it is NaN are left out.
      seed: of the halves and the permutations.
      level: probability of reporting any slice if the loss depends on no column.

    Returns:
      The number of slices that were tested, and those confirmed, by falling impact, without
      `worst`. `mean` and `mean_elsewhere` are of the loss.
    """
    rng, known = np.random.default_rng(seed), ~np.isnan(loss)
    loss = loss[known]
    conditions, masks = make_conditions({name: each[known] for name, each in columns.items()})
    if not conditions:
        return 0, []
    named = np.array([name != CLUSTER for name, *_ in conditions], np.bool_)
    order = rng.permutation(len(loss))
    halves = np.sort(order[: len(loss) // 2]), np.sort(order[len(loss) // 2 :])
    num_tested = 0
    confirmed: list[Slice] = []
    for search, test in (halves, halves[::-1]):
        searches = beam.candidates(masks[:, search], named, loss[search])
        # The parts are tested too, in case a slice turns out to be longer than necessary.
        chains = {
            numbers: beam.simpler(numbers, masks[:, search], loss[search])
            for numbers in itertools.chain(*searches)
        }
        tested = {
            numbers: here
            for numbers in itertools.chain(*chains.values())
            if (here := beam.inside(masks, numbers)[test]).sum() >= beam.smallest(len(test))
        }
        num_tested += len(tested)
        p_values = _permutation_test(tested, loss[test], level / 2, rng)
        stand_out = {numbers: tested[numbers] for numbers, p in p_values.items() if p <= level / 2}
        needed: dict[Conjunction, None] = {}
        for found in searches:
            parts = [chains[numbers] for numbers in found]
            needed |= dict.fromkeys(_needed(parts, stand_out, masks[:, test], loss[test]))
        slices = []
        for numbers in needed:
            described = _describe(
                [conditions[number] for number in numbers],
                int(beam.inside(masks, numbers).sum()),
                tested[numbers],
                loss[test],
                p_values[numbers],
            )
            slices.append((described, tested[numbers], bool(named[list(numbers)].all())))
        confirmed += _without_redundant(slices, loss[test])
    # If both halves find a slice, the first form is kept.
    unique = {frozenset(found.conditions): found for found in reversed(confirmed)}.values()
    return num_tested, sorted(unique, key=lambda found: -found.impact)


def _describe(
    conditions: Sequence[Condition], size: int, here: np.ndarray, loss: np.ndarray, p: float
) -> Slice:
    """The slice; `here` bool `[n]` and the loss `[n]` are of the half in which it was tested."""
    worse, other, share = loss[here], loss[~here], float(here.mean())
    mean, mean_elsewhere = float(worse.mean()), float(other.mean())
    bounds = stats.ttest_ind(worse, other, equal_var=False).confidence_interval(0.95)
    return Slice(
        tuple(conditions), describe(conditions), size, share, mean, mean_elsewhere,
        excess=mean - mean_elsewhere,
        interval=(float(bounds.low), float(bounds.high)),
        impact=share * (mean - mean_elsewhere),
        p=p,
    )  # fmt: skip


def _needed(
    chains: Sequence[Sequence[Conjunction]],
    stand_out: Mapping[Conjunction, np.ndarray],
    masks: np.ndarray,
    loss: np.ndarray,
) -> list[Conjunction]:
    """For each slice of a search, its longest part that needs all of its conditions.

    A part needs them if it is worse than without any one of them. As in the search, the excess of
    the slices before it is subtracted first.

    Args:
      chains: for each slice found, its conjunction and ever shorter parts of it.
      stand_out: significant conjunctions, and the images of a half in each, bool `[n]`.
      masks: bool `[L, n]` of the single conditions.
      loss: `[n]`.
    """
    residual = loss.astype(np.float64)
    needed: list[Conjunction] = []
    for chain in chains:
        for numbers in filter(stand_out.__contains__, chain):
            here = stand_out[numbers]
            parts = (beam.inside(masks, part) for part in beam.parts(numbers))
            if all(beam.standard_errors(here, part, residual) >= _AGAIN for part in parts):
                needed.append(numbers)
                beam.take_off(residual, here)
                break
    return needed


def _without_redundant(
    slices: Sequence[tuple[Slice, np.ndarray, bool]], loss: np.ndarray
) -> list[Slice]:
    """Leaves out slices whose excess smaller slices, or metadata instead of clusters, explain.

    Small slices come first: a large one may be the union of several, which says less. `slices` are
    slice, its images bool `[n]`, and whether its conditions are on metadata alone.
    """
    kept, residual, everything = [], loss.astype(np.float64), np.ones(len(loss), np.bool_)
    for found, here, _ in sorted(slices, key=lambda row: (not row[2], row[0].share)):
        if beam.standard_errors(here, everything, residual) >= _AGAIN:
            kept.append(found)
            beam.take_off(residual, here)
    return kept


def _permutation_test(
    tested: Mapping[Conjunction, np.ndarray],
    loss: np.ndarray,
    level: float,
    rng: np.random.Generator,
) -> dict[Conjunction, float]:
    """One-sided p-values of slices, bool `[n]` each, for their mean rank of the loss, adjusted.

    A p-value is the share of permutations of the loss in which any slice stands out as much, in
    standard errors (single-step max-T, Westfall & Young 1993). The test stops early when all
    p-values must exceed `level`; p-values above it are lower bounds then.
    """
    if not tested:
        return {}
    inside, z = np.array(list(tested.values())), stats.rankdata(loss)
    z = (z - z.mean()) / max(z.std(), 1e-12)
    counts = inside.sum(1)
    scaled = inside / np.sqrt(counts * (1 - counts / len(z)))[:, None]
    # The tolerance is for rounding, which depends on the order of summation.
    observed, at_least = scaled @ z - 1e-9 * len(z), np.zeros(len(inside), np.int64)
    for start in range(0, _PERMUTATIONS, _BLOCK):
        block = np.tile(z, (min(_BLOCK, _PERMUTATIONS - start), 1))
        most = (rng.permuted(block, axis=1, out=block) @ scaled.T).max(1)
        at_least += (most[:, None] >= observed).sum(0)
        if (1 + at_least > level * (1 + _PERMUTATIONS)).all():
            break
    p_values = (1 + at_least) / (1 + _PERMUTATIONS)
    return dict(zip(tested, p_values.tolist(), strict=True))
