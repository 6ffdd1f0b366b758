"""Novelty finds a new domain; the two-sample test finds what differs and seldom anything else."""

import numpy as np
import pytest
from scipy import stats

from analysis.drift import two_sample
from analysis.drift.stage import novelty


def auroc(positive, negative):
    return stats.mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative))


def test_distances_are_those_of_scipy():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 9, 70).astype(float), rng.normal(4, 3, 50).round()
    values = np.concatenate([first, second, [np.nan, np.nan]])
    inside = np.arange(122) < 70
    (distance,), (p,) = two_sample.compare([values], inside, 2999)
    expected = stats.ks_2samp(first, second)
    assert distance == pytest.approx(expected.statistic)
    plain = stats.permutation_test(
        (first, second), lambda a, b: stats.ks_2samp(a, b).statistic, n_resamples=500,
        permutation_type='independent', alternative='greater', rng=0,
    )  # fmt: skip
    assert abs(p - plain.pvalue) < 0.06


def test_what_differs_is_named():
    rng = np.random.default_rng(1)
    columns = [rng.normal(size=400) for _ in range(20)]
    inside = np.arange(400) < 100
    columns[7] = columns[7] + inside
    columns[9] = np.where(rng.random(400) < 0.5, np.nan, columns[9] + 2 * inside)
    columns.append(np.where(inside, np.nan, 1.0))  # nothing to compare with
    distances, p = two_sample.compare(columns, inside)
    assert np.flatnonzero(p <= 0.05).tolist() == [7, 9]
    assert np.isnan(distances[-1]) and p[-1] == 1


def test_a_column_of_few_images_does_not_hide_another():
    """Distances of few images are large by chance, so each is scaled by what is expected."""
    rng, inside = np.random.default_rng(4), np.arange(400) < 100
    some = np.where(np.arange(400) % 33 == 0, rng.normal(size=400), np.nan)
    distances, p = two_sample.compare([rng.normal(size=400) + 0.7 * inside, some], inside)
    assert distances[1] > 0.2 and p[0] <= 0.05 < p[1]


def test_false_alarms_are_rare():
    """Random halves of 10 related columns: an alarm in at most 5 % of 200, with luck 8.5 %."""
    rng, alarms = np.random.default_rng(2), 0
    for trial in range(200):
        common = rng.normal(size=60)
        columns = [common + rng.normal(size=60) for _ in range(8)]
        columns += [rng.integers(0, 2, 60).astype(float), rng.exponential(size=60)]
        inside = rng.permutation(60) < 20
        alarms += two_sample.compare(columns, inside, 99, trial)[1].min() <= 0.05
    assert 1 <= alarms <= 17


def test_a_new_domain_is_novel_and_more_of_the_old_one_is_not():
    rng = np.random.default_rng(3)
    mixing = rng.normal(size=(6, 32))
    old = rng.normal(size=(500, 6)) @ mixing
    new = rng.normal(size=(80, 6)) @ mixing + 4 * rng.normal(size=32)
    points = np.concatenate([old, new]).astype(np.float32)
    is_reference = np.arange(580) < 400
    found = novelty(points, is_reference)
    assert np.median(found[:400]) == pytest.approx(1, abs=1e-5)
    assert auroc(found[500:], found[400:500]) > 0.9
    assert 0.4 < auroc(found[400:500], found[:400]) < 0.6


@pytest.mark.parametrize('others', [0, 40])
def test_copies_among_the_reference_do_not_make_others_infinitely_novel(others):
    rng = np.random.default_rng(4)
    copies = rng.normal(size=(6, 16)).repeat(12, axis=0) + rng.normal(0, 1e-7, (72, 16))
    points = np.concatenate([copies, rng.normal(size=(others + 20, 16))]).astype(np.float32)
    is_reference = np.arange(len(points)) < len(copies) + others
    found = novelty(points, is_reference)
    assert (found[: len(copies)] < 1e-3).all()
    assert 0.1 < np.median(found[~is_reference]) < 20
