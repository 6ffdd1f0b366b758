"""Statistics of repeated experiments, against planted truths."""

import collections

import numpy as np
import pytest
from scipy import stats

from analysis.experiments import statistics
from analysis.stats import bootstrap


def planted(rng, num_images=200, effects=(0.0,), folds=1, base=0.5, spread=0.1):
    """Counts of two classes in images of 1000 pixels of class 1; no other pixel is predicted so.

    The share that is found, so the IoU, is `base`, plus the effect of the seed (or of the seed and
    fold), plus what the image does to all seeds.

    Returns:
      `[S, N, 2, 2]` counts and `[N]` folds.
    """
    effects = np.broadcast_to(np.array(effects).reshape(len(effects), -1), (len(effects), folds))
    fold = np.arange(num_images) % folds
    share = base + rng.normal(0, spread, num_images) + effects[:, fold]
    found = np.round(1000 * share.clip(0, 1)).astype(np.int64)
    counts = np.zeros((*found.shape, 2, 2), np.int64)
    counts[..., 1, 1], counts[..., 1, 0] = found, 1000 - found
    return counts, fold


def scores_of(counts, folds, num_resamples=1000, seed=0):
    weights = bootstrap.bootstrap_weights(counts.shape[1], num_resamples, seed)
    return statistics.seed_scores(counts, folds, weights)


# Intervals ----------------------------------------------------------------------------------------


def test_standard_error_over_images_is_the_textbooks():
    counts, folds = planted(np.random.default_rng(0), spread=0.1)
    shares = counts[0, :, 1, 1] / 1000
    for scores in scores_of(counts, folds, 4000).values():
        assert scores.values[0, 1] == pytest.approx(shares.mean())
        error = shares.std() / np.sqrt(len(shares))
        assert scores.resampled[:, 1].std() == pytest.approx(error, rel=0.05)


def test_interval_over_seeds_is_the_textbooks():
    effects = np.array([-0.06, 0.01, 0.05])
    counts, folds = planted(np.random.default_rng(0), effects=effects, spread=0)
    result = statistics.intervals(scores_of(counts, folds)['iou'])
    half = 4.303 * effects.std(ddof=1) / np.sqrt(3)  # t of two degrees of freedom
    np.testing.assert_allclose(result.over_seeds[1], [0.5 - half, 0.5 + half], atol=1e-4)
    # Identical images: over both is over seeds, up to the noise of the draws.
    np.testing.assert_allclose(result.over_both[1], result.over_seeds[1], atol=0.03)
    np.testing.assert_allclose(result.over_images[1], 0.5, atol=1e-9)


def test_one_seed_knows_nothing_about_other_seeds():
    counts, folds = planted(np.random.default_rng(0), folds=5)
    scores = scores_of(counts, folds)['iou']
    result = statistics.intervals(scores)
    assert np.isnan(result.over_seeds).all()
    np.testing.assert_array_equal(result.over_both, result.over_images)
    # However large the difference: other trainings might show the opposite.
    other = scores_of(planted(np.random.default_rng(1), folds=5, base=0.9)[0], folds)['iou']
    test = statistics.paired_test(other - scores, 1, 200)
    assert test.p < 1e-9 and test.verdict == 'not resolvable with this data'


def test_error_of_trainings_in_folds():
    """Five folds of equal size: the variance of the mean is Σ s_f² / 25 / S."""
    effects = np.random.default_rng(1).normal(0, 0.03, (3, 5))
    counts, folds = planted(np.random.default_rng(0), effects=effects, folds=5)
    variances = effects.var(axis=0, ddof=1)
    for scores in scores_of(counts, folds, 10).values():
        error, freedom = scores.training_error()
        assert error[1] == pytest.approx(np.sqrt(variances.sum() / 25 / 3), rel=0.01)
        expected = 2 * variances.sum() ** 2 / np.square(variances).sum()
        assert freedom[1] == pytest.approx(expected, rel=0.02)


def simulated(rng, seeds, folds, shared, spread, num_images=60, num_resamples=400):
    """Scores of classes whose true score is 0.5, as `seed_scores` makes them of `planted` counts.

    Args:
      shared: correlation of the effects of trainings (standard deviation 0.03) between folds.
      spread: standard deviation over images.
    """
    of_seed, of_fold = rng.normal(0, 0.03, (seeds, 1)), rng.normal(0, 0.03, (seeds, folds))
    effects = np.sqrt(shared) * of_seed + np.sqrt(1 - shared) * of_fold
    values = effects[:, np.arange(num_images) % folds] + rng.normal(0.5, spread, num_images)
    weights = bootstrap.bootstrap_weights(num_images, num_resamples, int(rng.integers(2**32)))
    mean = effects.mean(1)
    exchanged = mean.mean() + (effects - effects.mean(0)).T / folds
    resampled = weights @ values.mean(0) / weights.sum(1)
    return statistics.Scores(values.mean(1)[:, None], exchanged[..., None], resampled[:, None])


def test_simulated_scores_are_those_of_counts():
    effects = np.array([[0.03, -0.02, 0.01], [-0.04, 0.02, 0.0]])
    counts, folds = planted(np.random.default_rng(0), 60, effects, 3, spread=0)
    of_counts = scores_of(counts, folds, 10)['image_iou']
    np.testing.assert_allclose(
        of_counts.exchanged[:, :, 1] - of_counts.exchanged[:, :, 1].mean(),
        (effects - effects.mean(0)).T / 3,
        atol=1e-9,
    )


def coverage(seeds, folds, shared, spread, repetitions=600):
    """How often the true score lies inside the interval of each rule."""
    rng, inside = np.random.default_rng(0), collections.Counter()
    for _ in range(repetitions):
        result = statistics.intervals(simulated(rng, seeds, folds, shared, spread))
        for rule in ('over_images', 'over_both', 'over_both_shared'):
            low, high = getattr(result, rule)[0]
            inside[rule] += bool(low <= 0.5 <= high)
    return {rule: count / repetitions for rule, count in inside.items()}


@pytest.mark.parametrize('spread', [0.05, 0.15])
@pytest.mark.parametrize(('seeds', 'folds'), [(3, 1), (2, 5), (3, 5)])
def test_coverage_with_independent_trainings(seeds, folds, spread):
    """95 %, or a little more with two seeds; a share of 600 has a standard deviation of 0.9 %."""
    inside = coverage(seeds, folds, 0.0, spread)
    assert 0.93 <= inside['over_both'] <= (0.985 if seeds == 2 else 0.97)
    assert inside['over_images'] < inside['over_both'] - 0.01
    if folds == 1:
        assert inside['over_both_shared'] == inside['over_both']


@pytest.mark.parametrize('seeds', [2, 3])
@pytest.mark.parametrize('shared', [0.5, 1.0])
def test_coverage_if_folds_share_what_makes_a_training_better(seeds, shared):
    """Only the wider rule holds. It is exact if everything is shared."""
    inside = coverage(seeds, 5, shared, 0.05)
    assert inside['over_both'] < 0.91
    assert 0.93 <= inside['over_both_shared'] <= (0.975 if shared == 1 else 1)


@pytest.mark.parametrize('shared', [0.0, 0.5, 1.0])
def test_error_of_trainings_that_share_something(shared):
    """The variance of the mean is the one that was planted, and Student's t covers it."""
    rng, seeds, folds, errors, inside = np.random.default_rng(0), 3, 5, [], 0
    for _ in range(4000):
        scores = simulated(rng, seeds, folds, shared, 0.0, num_images=folds, num_resamples=2)
        error, freedom = scores.training_error(shared)
        errors.append(error[0] ** 2)
        inside += abs(scores.values.mean() - 0.5) <= stats.t.ppf(0.975, freedom[0]) * error[0]
    planted_variance = 0.03**2 * (1 + (folds - 1) * shared) / folds / seeds
    assert np.mean(errors) == pytest.approx(planted_variance, rel=0.05 + 0.1 * (0 < shared < 1))
    assert 0.93 <= inside / 4000 <= 0.97


# Paired differences -------------------------------------------------------------------------------


def differences(rng, effect, seeds=3, folds=2, num_images=60):
    """Scores of a second minus a first model; both share what is hard about an image."""
    state = rng.integers(2**32)
    pair = []
    for shift in (0.0, effect):
        effects = shift + rng.normal(0, 0.02, (seeds, folds))
        counts, fold = planted(np.random.default_rng(state), num_images, effects, folds, spread=0.1)
        # What only this model makes of each image.
        own = rng.integers(-80, 81, num_images)[None]
        found = (counts[..., 1, 1] + own).clip(0, 1000)
        counts[..., 1, 1], counts[..., 1, 0] = found, 1000 - found
        pair.append(counts)
    weights = bootstrap.bootstrap_weights(num_images, 200, int(rng.integers(2**32)))
    first, second = (statistics.seed_scores(counts, fold, weights)['iou'] for counts in pair)
    return second - first


def rate(effect, repetitions=400):
    rng = np.random.default_rng(0)
    tests = [statistics.paired_test(differences(rng, effect), 1, 60) for _ in range(repetitions)]
    return np.mean([test.p < 0.05 for test in tests]), tests


def test_false_positives_are_as_rare_as_promised():
    found, tests = rate(0.0)
    assert 0.02 <= found <= 0.08  # 5 % with three standard deviations of 0.011
    contradicted = np.mean([test.verdict == 'contradicted' for test in tests])
    assert 0.3 * found <= contradicted <= 0.7 * found


def test_minimum_detectable_difference_is_detected_in_four_of_five():
    _, tests = rate(0.0, 100)
    smallest = np.median([test.minimum_detectable for test in tests])
    found, tests = rate(smallest)
    assert 0.72 <= found <= 0.88
    assert sum(test.verdict == 'supported' for test in tests) >= 0.98 * found * len(tests)


@pytest.mark.parametrize(('effect', 'verdict'), [(0.3, 'supported'), (-0.3, 'contradicted')])
def test_a_claim_is_that_the_second_model_scores_higher(effect, verdict):
    test = statistics.paired_test(differences(np.random.default_rng(0), effect), 1, 60)
    assert test.verdict == verdict and test.difference * effect > 0 and test.p < 0.05


def test_pairing_removes_what_is_hard_about_an_image():
    rng = np.random.default_rng(0)
    paired = differences(rng, 0.05).resampled[:, 1].std()
    counts, folds = planted(rng, 60, spread=0.1)
    alone = scores_of(counts, folds)['iou'].resampled[:, 1].std()
    assert paired < 0.8 * np.sqrt(2) * alone


def test_equal_models_and_absent_classes_decide_nothing():
    counts, folds = planted(np.random.default_rng(0), effects=(0.0, 0.01))
    scores = scores_of(counts, folds)['iou']
    test = statistics.paired_test(scores - scores, 1, 200)
    assert test.difference == 0 and test.p is None
    assert test.verdict == 'not resolvable with this data'
    missing = scores_of(np.zeros_like(counts), folds)['iou']
    test = statistics.paired_test(missing - missing, 1, 0)
    assert test.difference is None and test.verdict == 'not resolvable with this data'


def test_claim_needs_every_test_and_falls_with_one():
    def verdict(*pairs):
        return statistics.claim_verdict([statistics.PairedTest(v, p=p) for v, p in pairs])

    yes, no, open_ = (f'{v}' for v in statistics.VERDICTS)
    assert verdict((yes, 0.01), (yes, 0.04)) == yes
    assert verdict((yes, 0.01), (open_, 0.4)) == open_
    assert verdict((yes, 0.01), (no, 0.01)) == no
    # One of two at 4 % happens by chance too often.
    assert verdict((yes, 0.01), (no, 0.04)) == open_


# Learning curve -----------------------------------------------------------------------------------

SIZES = np.array([150.0, 300.0, 600.0, 1200.0])


@pytest.mark.parametrize(
    ('ceiling', 'gain', 'exponent'), [(0.6, 0.1, 0.5), (1.0, 0.5, 0.2), (0.4, 0.05, 1.0)]
)
def test_power_law_is_recovered(ceiling, gain, exponent):
    scores = ceiling - gain * (SIZES / 1200) ** -exponent
    law = statistics.fit_power_law(SIZES, scores[None])
    np.testing.assert_allclose(np.ravel(law), [ceiling, gain, exponent], rtol=0.05)
    predicted = statistics.power_law(law, np.array([6000.0]), 1200)
    assert predicted[0, 0] == pytest.approx(ceiling - gain * 5**-exponent, abs=0.002)


def noisy(scores, noise, seed=0):
    return scores + np.random.default_rng(seed).normal(0, noise, (1000, len(SIZES)))


def test_extrapolation_covers_the_truth():
    truth = 0.6 - 0.1 * (SIZES / 1200) ** -0.5
    inside = 0
    for seed in range(40):
        measured = noisy(truth, 0.01, seed)[0]
        result = statistics.extrapolate(SIZES, measured, noisy(measured, 0.01, seed + 99), 6000)
        inside += result.interval[0] <= 0.6 - 0.1 * 5**-0.5 <= result.interval[1]
    assert inside >= 34


def test_a_fit_that_means_nothing_says_so():
    rising = 0.6 - 0.1 * (SIZES / 1200) ** -0.5
    assert statistics.extrapolate(SIZES, rising, noisy(rising, 0.002), 6000).not_identifiable == []
    flat = np.full(4, 0.3)
    doubts = statistics.extrapolate(SIZES, flat, noisy(flat, 0.02), 6000).not_identifiable
    assert 'no growth with the training set is resolved' in doubts
    few = statistics.extrapolate(SIZES[:3], rising[:3], noisy(rising, 0.01)[:, :3], 6000)
    assert few.score is None and '3 training-set sizes' in few.not_identifiable[0]
    missing = np.full((1000, 4), np.nan)
    assert statistics.extrapolate(SIZES, missing[0], missing, 6000).score is None
