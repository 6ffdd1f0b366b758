"""How often slices are reported where nothing matters, and by tests that forget something."""

import numpy as np
import pytest
from scipy import stats

from analysis.slices import beam, search

TABLES = 400


def share_with_a_slice(monkeypatch, level=search.LEVEL, test=None):
    """Share of null tables in which any slice is reported.

    Tables of 40 columns and 100 images. Small tables rarely give the search anything to test, so
    here it proposes what stands out by one standard error, as chance alone does in wide tables.
    """
    monkeypatch.setattr(beam, '_STRONG', 1.0)
    if test:
        monkeypatch.setattr(search, '_permutation_test', test)
    found = tested = 0
    for seed in range(TABLES):
        rng = np.random.default_rng(seed)
        columns = {f'c{number}': rng.random(100) < rng.uniform(0.1, 0.4) for number in range(40)}
        num_tested, slices = search.find_slices(columns, rng.lognormal(0, 1, 100), seed, level)
        tested += num_tested
        found += bool(slices)
    assert tested > 5 * TABLES  # else there is nothing to correct for
    return found / TABLES


def one_by_one(tested, loss, level, rng):
    """p-values that are not adjusted for the number of slices."""
    z = stats.zscore(stats.rankdata(loss))
    return {
        numbers: float(stats.norm.sf(z[here].sum() / np.sqrt(here.sum() * (1 - here.mean()))))
        for numbers, here in tested.items()
    }


def test_family_wise_error_is_the_level(monkeypatch):
    """5 % at most, and not far below: a share of 400 has a standard deviation of 1.1 %."""
    assert 0.02 <= share_with_a_slice(monkeypatch) <= 0.06


@pytest.mark.parametrize(('level', 'test'), [(8 * search.LEVEL, None), (search.LEVEL, one_by_one)])
def test_a_careless_test_is_noticed(monkeypatch, level, test):
    assert share_with_a_slice(monkeypatch, level, test) > 0.1


def test_adjusted_p_values_are_uniform_for_the_best_slice(monkeypatch):
    """The smallest of 30 adjusted p-values is below the level in as many null tables."""
    monkeypatch.setattr(search, '_PERMUTATIONS', 499)
    smallest = []
    for seed in range(TABLES):
        rng = np.random.default_rng(seed)
        tested = {(number,): rng.random(80) < 0.3 for number in range(30)}
        p_values = search._permutation_test(tested, rng.lognormal(0, 1, 80), 1.0, rng)
        smallest.append(min(p_values.values()))
    for level in (0.05, 0.2, 0.5):
        share = np.mean(np.array(smallest) <= level)
        assert abs(share - level) <= 3 * np.sqrt(level * (1 - level) / TABLES)
