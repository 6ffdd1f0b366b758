import dataclasses

import pytest
from PIL import Image

from analysis.experiments.records import Origin
from analysis.planted_benchmark import tables as truth_tables
from analysis.planted_benchmark.metrics import Measure
from analysis.planted_benchmark.tables import Report, SeedScores, Target
from segmentation import scenes


def measure(mean, interval=None):
    return Measure(mean, interval, (mean,))


@pytest.mark.parametrize(
    ('target', 'mean', 'interval', 'verdict', 'reached'),
    [
        (Target(0.6), 0.6, None, 'not resolvable', True),
        (Target(0.8), (0.8 + 1.0 + 0.6) / 3, None, 'not resolvable', True),
        (Target(0.6), 0.7, (0.6, 0.8), 'holds', True),
        (Target(0.8), 0.82, (0.7, 0.94), 'suggestive', True),
        (Target(0.6), 0.59, (0.5, 0.7), 'not resolvable', False),
        (Target(0.6), 0.5, (0.45, 0.55), 'fails', False),
        (Target(0.6), None, None, 'not resolvable', False),
        (Target(0.93, 0.97), 0.95, (0.94, 0.96), 'holds', True),
        (Target(0.93, 0.97), 0.95, (0.9, 0.99), 'suggestive', True),
        (Target(0.93, 0.97), 0.98, (0.96, 0.99), 'not resolvable', False),
        (Target(high=0.05), 0.05, (0.03, 0.06), 'suggestive', True),
        (Target(high=0.05), 0.03, (0.02, 0.05), 'holds', True),
        (Target(high=0.05), 0.08, (0.06, 0.1), 'fails', False),
    ],
)
def test_targets_are_judged_by_the_rule_of_claims(target, mean, interval, verdict, reached):
    found = measure(mean, interval)
    assert target.claim(found).verdict() == verdict
    assert target.reached(found) is reached


def test_what_is_not_measured_misses_its_target():
    targets = {'a/x': Target(0.5), 'a/y': Target(0.5)}
    found = truth_tables.judge({'a/x': measure(0.7, (0.6, 0.8))}, targets)
    assert found == {'a/x': 'holds', 'a/y': 'not resolvable'}


def test_summary_pools_shares_and_averages_measures():
    seeds = [
        SeedScores({'a/x': 0.4, 'a/z': None}, {'n/s': (1, 10)}),
        SeedScores({'a/x': 0.6, 'a/z': 1.0}, {'n/s': (9, 90)}),
    ]
    found = truth_tables.summarize(seeds)
    assert found['a/x'].mean == pytest.approx(0.5) and found['a/x'].values == (0.4, 0.6)
    assert found['a/z'].mean == 1 and found['a/z'].interval is None
    assert found['n/s'].mean == 0.1 and found['n/s'].values == (0.1, 0.1)
    low, high = found['n/s'].interval
    assert 0.04 < low < 0.1 < high < 0.19


def test_coverage_is_asked_of_classes_with_enough_images_only():
    measures = {'coverage/iou/person': 0, 'coverage, too few images/iou/car': 0, 'a/x': 0}
    asked = truth_tables.targets_of(measures)
    assert asked['coverage/iou/person'] == truth_tables.COVERAGE
    assert asked.keys() - truth_tables.TARGETS.keys() == {'coverage/iou/person'}


def test_report_words_its_targets(tmp_path):
    targets = {'a/x': Target(0.5), 'b/y|z': Target(high=0.1), 'b/never': Target(1)}
    measures = {
        'a/x': measure(0.7, [0.6, 0.8]),
        'b/y|z': measure(0.25, [0.2, 0.3]),
        'a/other': measure(None),
    }
    verdicts = truth_tables.judge(measures, targets)
    origin = Origin('python x.py', '', '', (), (0,), '', {})
    report = Report(origin, (1,), 10, 5, measures, targets, verdicts)
    text = truth_tables.to_markdown(report)
    assert 'Of 3 targets: 1 holds, 1 not resolvable, 1 fails.' in text
    assert 'too optimistic:** scene seed(s) 1 are not held out' in text
    held_out = dataclasses.replace(report, seeds=scenes.HELD_OUT_WITH_HIDDEN_SLICES)
    assert 'optimistic' not in truth_tables.to_markdown(held_out)
    assert r'| x | 0.700 (0.600, 0.800) | 0.700 | ≥ 0.5 | holds |' in text
    assert r'| y\|z | 0.250 (0.200, 0.300) | 0.250 | ≤ 0.1 | fails |' in text
    assert '| never | – |  | ≥ 1 | not resolvable |' in text
    assert '| other | – | – |  |  |' in text
    truth_tables.figure(report, tmp_path / 'report.png')
    with Image.open(tmp_path / 'report.png') as picture:
        assert picture.width > 500
