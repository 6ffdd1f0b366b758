"""Rank correlations against scipy, against permutations, and on tables where nothing is true."""

import numpy as np
import pytest
from scipy import stats

from analysis.stats import rank_correlation


def table(seed, n=150):
    """Columns as metadata has them (rare counts, unknown values), and metrics that go together."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=n)
    columns = {f'c{k}': rng.normal(size=n) for k in range(6)}
    columns['rare'] = (np.arange(n) < 7) * 1.0
    columns['counts'] = rng.poisson(0.3, n).astype(float)
    columns['partly known'] = np.where(rng.random(n) < 0.3, np.nan, columns['c0'] + columns['c1'])
    columns['size'] = np.exp(columns['c2'] + rng.normal(size=n))
    metrics = {f'm{k}': quality + rng.normal(size=n) for k in range(3)}
    metrics['mostly 0'] = np.where(quality > 1.2, quality, 0)
    metrics['iou'] = np.where(rng.random(n) < 0.4, np.nan, quality)
    return columns, metrics, dict.fromkeys(metrics, 'size')


def test_marginal_is_scipys_spearman():
    columns, metrics, confounders = table(0)
    found = rank_correlation.correlate(columns, metrics, confounders)
    for i, (name, x) in enumerate(columns.items()):
        for j, (metric, y) in enumerate(metrics.items()):
            known = ~np.isnan(x) & ~np.isnan(y)
            expected = stats.spearmanr(x[known], y[known])
            assert found['n'][i, j] == known.sum()
            if name != 'rare':
                assert found['rho'][i, j] == pytest.approx(expected.statistic)
                if metric != 'mostly 0':
                    assert found['p'][i, j] == pytest.approx(expected.pvalue, rel=0.1, abs=1e-3)


def test_all_tests_are_one_family():
    columns, metrics, confounders = table(2)
    found = rank_correlation.correlate(columns, metrics, confounders)
    p, q = (
        np.concatenate([found[key].ravel() for key in keys])
        for keys in (('p', 'partial_p'), ('q', 'partial_q'))
    )
    tested = ~np.isnan(p)
    assert 0 < tested.sum() < len(p)  # what cannot be tested does not count
    np.testing.assert_allclose(q[tested], stats.false_discovery_control(p[tested]))


def test_partial_is_that_of_residuals():
    columns, metrics, confounders = table(1)
    found = rank_correlation.correlate(columns, metrics, confounders)
    ranks = [stats.rankdata(part) for part in (columns['c2'], metrics['m0'], columns['size'])]
    left = [part - np.polyval(np.polyfit(ranks[2], part, 2), ranks[2]) for part in ranks[:2]]
    assert found['partial_rho'][2, 0] == pytest.approx(np.corrcoef(*left)[0, 1])


def test_p_values_of_rare_values_are_those_of_permutations():
    """Where both sides are mostly one value, Student's t is wrong by orders of magnitude."""
    rng = np.random.default_rng(0)
    n = 400
    x = rank_correlation._ranks(np.stack([np.arange(n) < 6, rng.poisson(0.05, n)], 1))
    y = rank_correlation._ranks(np.stack([np.arange(n) % 50 == 0, rng.random(n)], 1))
    constant = np.full((n, 1), n**-0.5)
    rho, p = np.array(
        [rank_correlation._test(x, y[rng.permutation(n)], constant) for _ in range(4000)]
    ).swapaxes(0, 1)
    for level in (0.05, 0.01, 0.002):
        assert np.mean(p <= level, axis=0).max() <= 1.4 * level
    assert np.mean(p <= 0.05, axis=0)[:, 1].min() > 0.035  # nor is it needlessly careful
    t = 2 * stats.t.sf(np.abs(rho) * np.sqrt((n - 2) / (1 - rho**2)), n - 2)
    assert np.mean(t <= 0.002, axis=0).max() > 4 * 0.002


def test_tables_without_associations_are_left_alone():
    """Any finding in a permuted table is false, so a rate of 5 % is 1 table in 20 at most."""
    rng = np.random.default_rng(0)
    false = tests = small = 0
    num_tables = 200
    for seed in range(num_tables):
        columns, metrics, confounders = table(seed)
        order = rng.permutation(len(metrics['m0']))
        metrics = {name: values[order] for name, values in metrics.items()}
        found = rank_correlation.correlate(columns, metrics, confounders)
        false += np.nanmin([found['q'], found['partial_q']]) <= 0.05
        tests += np.sum(~np.isnan(found['p']))
        small += np.sum(found['p'] <= 0.05)
    assert false <= 0.05 * num_tables
    assert 0.035 <= small / tests <= 0.06


def test_what_size_explains_is_gone_given_size():
    """Both follow size, one of them not even monotonically; a third adds something of its own."""
    rng = np.random.default_rng(0)
    size = rng.random(1000)
    hump = 4 * size * (1 - size)
    own = rng.normal(size=1000)
    columns = {
        'size': size,
        'number': np.round(5 * size + rng.normal(size=1000)),
        'contrast': hump + 0.3 * rng.normal(size=1000),
        'dark': own,
    }
    loss = size + hump + 0.3 * own + 0.3 * rng.normal(size=1000)
    found = rank_correlation.correlate(columns, {'loss': loss}, {'loss': 'size'})
    assert (found['q'] < 1e-6).all()
    assert np.isnan(found['partial_rho'][0])
    assert (found['partial_q'][1:3] > 0.05).all()
    assert found['partial_q'][3] < 1e-20 and found['partial_rho'][3] > found['rho'][3]


def test_unequal_spread_does_not_deceive():
    """Both sides vary more where the confounder is large, independently of each other."""
    rng = np.random.default_rng(0)
    p = []
    for _ in range(200):
        size = rng.random(300)
        x, y = rng.normal(size=(2, 300)) * np.where(size > 0.7, 5, 0.2)
        found = rank_correlation.correlate({'x': x, 'size': size}, {'y': y}, {'y': 'size'})
        p.append(found['partial_p'][0, 0])
    assert np.mean(np.array(p) <= 0.05) <= 0.08


def test_what_cannot_be_tested_is_not():
    rng = np.random.default_rng(0)
    size = rng.random(100)
    columns = {
        'size': size,
        'constant': np.ones(100),
        'four': (np.arange(100) < 4) * 1.0,
        'five': (np.arange(100) < 5) * 1.0,
        'unknown': np.full(100, np.nan),
        'nineteen': np.where(np.arange(100) < 19, size, np.nan),
        'twenty': np.where(np.arange(100) < 20, size, np.nan),
        'size again': 10 * size,
    }
    found = rank_correlation.correlate(columns, {'loss': rng.random(100)}, {'loss': 'size'})
    tested = dict(zip(columns, ~np.isnan(found['p'][:, 0]), strict=True))
    assert [name for name, value in tested.items() if not value] == [
        *('constant', 'four', 'unknown', 'nineteen')
    ]
    assert np.isnan(found['partial_p'][[0, -1]]).all()
    np.testing.assert_array_equal(np.isnan(found['q']), np.isnan(found['p']))


def test_only_ranks_count_and_no_order():
    columns, metrics, confounders = table(3)
    found = rank_correlation.correlate(columns, metrics, confounders)
    order = np.random.default_rng(0).permutation(150)
    changed = rank_correlation.correlate(
        {name: np.exp(columns[name][order]) for name in reversed(columns)},
        {name: values[order] ** 3 for name, values in metrics.items()},
        confounders,
    )
    for key, values in found.items():
        np.testing.assert_allclose(changed[key][::-1], values, rtol=1e-6, atol=1e-12)


def test_interval_covers():
    rng = np.random.default_rng(0)
    rho, covered = 0.5, 0
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's of a bivariate normal distribution
    for _ in range(400):
        x, y = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 80).T
        found = np.array(stats.spearmanr(x, y).statistic)
        low, high = rank_correlation.interval(found, np.array(80))
        covered += low <= truth <= high
    assert 0.92 <= covered / 400 <= 0.98
