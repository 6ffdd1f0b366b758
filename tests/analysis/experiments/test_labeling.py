"""The report on choosing what to label: a planted difference is found, and only that."""

import numpy as np
import pytest

from analysis.experiments import labeling
from analysis.experiments.labeling import ALL, RULES
from analysis.experiments.records import Origin

LABELED = (50, 100, 150)


def draw(rng, accuracy, seeds, images):
    """Confusion matrices of images of three classes; accuracy varies over images and trainings."""
    pixels = np.array([600, 250, 150])
    hard = np.random.default_rng(7).normal(0, 0.5, (1, images, 1))  # the same images for all
    logit = np.log(accuracy / (1 - accuracy)) + hard + rng.normal(0, 0.03, (seeds, 1, 1))
    right = rng.binomial(pixels, 1 / (1 + np.exp(-logit)) * np.ones(3))
    counts = np.zeros((seeds, images, 3, 3), np.int64)
    for k in range(3):
        counts[..., k, k] = right[..., k]
        counts[..., k, (k + 1) % 3] = pixels[k] - right[..., k]
    return counts


def make(gain, seeds=5, images=80):
    rng = np.random.default_rng(0)
    start = draw(rng, 0.6, seeds, images)
    return {
        rule: [start, *(draw(rng, 0.6 + 0.05 * k + gain * (rule == RULES[0]), seeds, images)
                        for k in (1, 2))]
        for rule in RULES
    }  # fmt: skip


def test_a_planted_difference_is_found_with_its_area():
    curves = labeling.analyze(make(0.06), LABELED)
    assert (curves.seeds, curves.num_images, curves.labeled) == (5, 80, LABELED)
    places = [(each.other, each.labeled) for each in curves.differences]
    assert places == [(other, n) for other in RULES[1:] for n in ('100', '150', ALL)]
    for each in curves.differences:
        assert each.measure.verdict() == 'holds' and each.minimum_detectable > 0
    by_place = dict(zip(places, (each.measure for each in curves.differences), strict=True))
    for other in RULES[1:]:
        rounds = [by_place[other, n].value for n in ('100', '150')]
        assert by_place[other, ALL].value == pytest.approx(np.mean(rounds))
        ours, theirs = (curves.scores[rule][1].value for rule in (RULES[0], other))
        assert by_place[other, '100'].value == pytest.approx(ours - theirs)
    # All begin alike.
    assert len({curves.scores[rule][0].value for rule in RULES}) == 1


def test_without_a_difference_nothing_is_claimed():
    same = labeling.analyze(make(0), LABELED)
    assert not {each.measure.verdict() for each in same.differences} & {'holds', 'fails'}
    worse = labeling.analyze(make(-0.06), LABELED)
    assert {each.measure.verdict() for each in worse.differences} == {'fails'}


def test_one_seed_resolves_nothing(tmp_path):
    curves = labeling.analyze(make(0.06, seeds=1), LABELED)
    for each in curves.differences:
        assert each.measure.value > 0 and each.measure.interval is None
        assert each.measure.verdict() == 'not resolvable'
    assert curves.scores['random'][2].interval is None
    origin = Origin('the command', 'c0ffee', '2026-01-01', ('cpu',), (0,), 'abc', {})
    text = labeling.to_markdown(curves, origin, 'scenes', 600)
    assert text.count('not resolvable') == 6 and 'holds' not in text and 'c0ffee' in text
    labeling.figure(curves, tmp_path / 'report.png')
    assert (tmp_path / 'report.png').stat().st_size > 5000


def test_before_the_first_round_there_is_nothing_to_compare():
    counts = {rule: each[:1] for rule, each in make(0.06).items()}
    curves = labeling.analyze(counts, LABELED[:1])
    assert curves.differences == () and len(curves.scores['random']) == 1
