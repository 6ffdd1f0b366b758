"""The gate on simulated trainings: false alarms between seeds, power, and what it cannot tell."""

import numpy as np
import pytest
from scipy import stats

from analysis.check import gate
from analysis.check.gate import Check
from segmentation import metrics

IMAGES, SHIFT = 500, 0.01  # standard deviation of the IoU between trainings of one recipe
STUDIES = 200


def trainings(rng, count, drop=0.0, shift=SHIFT, images=IMAGES, hard=None):
    """Counts of trainings of one recipe on the same images, int `[N, 3, 3]` each.

    Each training has an error of its own on each image, and a shift of all images. `drop` is taken
    off the IoU of class 2 (in the images `hard`, of both classes).
    """
    size = rng.lognormal(6, 1, (images, 2)) * (rng.random((images, 2)) < 0.7)
    usual = rng.normal(0.5, 0.12, (images, 2))
    result = []
    for number in range(count):
        iou = usual + rng.normal(0, 0.08, (images, 2)) + rng.normal(0, shift, 2)
        if number == 0 and hard is None:
            iou[:, 1] -= drop
        elif number == 0:
            iou[hard] -= drop
        counts = np.zeros((images, 3, 3))
        for column in (1, 2):
            true, union = size[:, column - 1], 1.3 * size[:, column - 1]
            hit = np.clip(iou[:, column - 1], 0.02, 0.76) * union
            counts[:, column, column] = hit
            counts[:, column, 0], counts[:, 0, column] = true - hit, union - true
        counts[:, 0, 0] = 16384 - counts.sum((1, 2))
        result.append(np.rint(counts).astype(np.int64))
    return result


def checks(images=IMAGES):
    number = np.arange(images)
    everything = np.ones(images, np.bool_)
    return [
        Check('class', 'person', everything, 1),
        Check('class', 'car', everything, 2),
        Check('slice', 'dark', number % 5 == 0),
        Check('slice', 'gray', number % 4 == 1),
        Check('saved view', 'mine', number % 3 == 0),
    ]


def share_of_alarms(seed, baselines, training_sd, studies=STUDIES, **simulated):
    """In how many studies the first training is worse than others, per check and in any."""
    rng, alarms = np.random.default_rng(seed), []
    for _ in range(studies):
        new, *old = trainings(rng, 1 + baselines, **simulated)
        found = gate.judge([new], old, checks(), training_sd, 0.05, num_resamples=200)
        alarms.append([one.verdict == 'worse' for one in found])
    return np.mean(alarms, 0), np.mean(np.any(alarms, 1))


MOST_ALARMS = stats.binom.ppf(0.99, STUDIES, 0.05) / STUDIES  # by chance, if it is 5 %


@pytest.mark.parametrize('baselines', [1, 3])
def test_another_seed_of_the_recipe_passes(baselines):
    _, any_alarm = share_of_alarms(0, baselines, SHIFT)
    assert any_alarm <= MOST_ALARMS


def test_resampling_images_alone_is_not_enough():
    """Why trainings have a variance of their own: without it, seeds of one recipe raise alarms."""
    _, any_alarm = share_of_alarms(0, 1, 0.0, shift=0.02)
    assert any_alarm > 0.2
    # Several trainings of the baseline show that the assumption is wrong.
    _, measured = share_of_alarms(0, 6, 0.0, shift=0.02)
    assert measured < any_alarm / 2


def test_more_baselines_correct_an_assumption_that_is_too_small():
    _, single = share_of_alarms(1, 1, SHIFT, shift=0.025)
    _, several = share_of_alarms(1, 8, SHIFT, shift=0.025)
    assert single > 2 * several


def test_a_planted_drop_is_found():
    per_check, _ = share_of_alarms(2, 3, SHIFT, drop=0.05)
    assert per_check[1] >= 0.8 and per_check[0] <= 0.1
    hard = np.arange(IMAGES) % 5 == 0
    per_check, _ = share_of_alarms(3, 3, SHIFT, drop=0.05, hard=hard)
    assert per_check[2] >= 0.8 and per_check[3] <= 0.1


def test_the_minimum_detectable_drop_is_found_as_often_as_it_says():
    rng = np.random.default_rng(4)
    new, old = trainings(rng, 2)
    drop = gate.judge([new], [old], checks()[1:2], SHIFT, 0.05)[0].minimum_detectable
    rng, found = np.random.default_rng(5), []
    for _ in range(STUDIES):
        new, old = trainings(rng, 2, drop=drop)
        found.append(gate.judge([new], [old], checks()[1:2], SHIFT, 0.05, 200)[0].verdict)
    assert abs(np.mean([verdict == 'worse' for verdict in found]) - 0.8) < 0.1


def test_what_images_explain_is_not_put_down_to_trainings():
    """Trainings that differ on each image, but not on average, have no variance of their own."""
    new, *old = trainings(np.random.default_rng(9), 9, shift=0)
    single, several = (
        [one.minimum_detectable for one in gate.judge([new], some, checks(), 0.0, 0.05, 500)]
        for some in (old[:1], old)
    )
    # The errors of 8 baselines on an image average out: (1 + 1 / 8) / 2 of the variance is left.
    assert np.mean(np.divide(several, single)) == pytest.approx(0.75, abs=0.05)


def test_degrees_of_freedom_are_of_the_effective_sample():
    """If one image has most pixels of a class, hardly anything is known about its IoU."""
    new, old = trainings(np.random.default_rng(10), 2, images=60)
    for counts in (new, old):
        counts[7] *= 40
    (one,) = gate.judge([new], [old], checks(60)[1:2], 0.0, 0.05, 200)
    half, freedom = (one.interval[1] - one.interval[0]) / 2, metrics.effective_images(old)[2] - 1
    assert freedom < 20
    quantiles = stats.t.ppf([0.975, 0.95, 0.8], freedom)
    expected = quantiles[0] / (quantiles[1] + quantiles[2])
    assert half / one.minimum_detectable == pytest.approx(expected)


def test_more_checks_need_a_larger_drop():
    """As the first step of Holm's procedure: each is tested at 5 % over the number of checks."""
    new, old = trainings(np.random.default_rng(4), 2)
    alone, together = (
        gate.judge([new], [old], some, SHIFT, 0.05, 200)[-1].minimum_detectable
        for some in (checks()[1:2], [*checks()[2:], *checks()[:2]])
    )
    expected = (stats.norm.ppf(0.99) + 0.84) / (stats.norm.ppf(0.95) + 0.84)
    assert together / alone == pytest.approx(expected, rel=0.03)


def test_few_images_are_inconclusive_and_very_few_are_not_tested():
    rng = np.random.default_rng(6)
    new, old = trainings(rng, 2, images=30)
    found = gate.judge([new], [old], checks(30), SHIFT, 0.05)
    assert {'inconclusive', 'not tested'} <= {one.verdict for one in found}
    assert all(one.interval[0] < -0.05 for one in found if one.verdict == 'inconclusive')
    small = [one for one in found if one.images < gate.MIN_IMAGES]
    assert small and all(one.verdict == 'not tested' and one.p is None for one in small)


def test_no_drop_is_found_only_where_the_drop_that_matters_is_excluded():
    """A better model passes however few images there are; one that dropped by it rarely does."""
    new, old = trainings(np.random.default_rng(11), 2, images=30, drop=-0.4)
    assert gate.judge([new], [old], checks(30)[1:2], SHIFT, 0.05)[0].verdict == 'no drop found'
    rng, passed = np.random.default_rng(12), 0
    for _ in range(STUDIES):
        new, old = trainings(rng, 2, drop=0.05)
        (one,) = gate.judge([new], [old], checks()[1:2], SHIFT, 0.05, 200)
        passed += one.verdict == 'no drop found'
    assert passed / STUDIES <= MOST_ALARMS


def test_the_same_training_is_not_worse():
    (old,) = trainings(np.random.default_rng(7), 1)
    for assumed in (0.0, SHIFT):
        for one in gate.judge([old], [old], checks(), assumed, 0.05):
            assert one.difference == 0 and one.verdict == 'no drop found'


def test_a_class_that_nobody_shows_is_not_tested():
    new, old = trainings(np.random.default_rng(8), 2)
    for counts in (new, old):
        counts[:, 2], counts[:, :, 2] = 0, 0
    person, car, *_ = gate.judge([new], [old], checks(), SHIFT, 0.05)
    assert person.p is not None and (car.verdict, car.images) == ('not tested', 0)


def test_holm():
    assert gate.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert gate.holm([0.9, 0.001]) == pytest.approx([0.9, 0.002])
    assert gate.holm([]) == []
