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
    ('target', 'mean', 'interval', 'met'),
    [
        (Target(0.6), 0.6, None, True),
        (Target(0.8), (0.8 + 1.0 + 0.6) / 3, None, True),
        (Target(0.6), 0.59, [0.5, 0.7], False),
        (Target(0.6), None, None, False),
        (Target(0.93, 0.97), 0.95, [0.9, 0.99], True),
        (Target(0.93, 0.97), 0.98, None, False),
        (Target(0, surely=True), 0.1, [0.01, 0.2], True),
        (Target(0, surely=True), 0.1, [-0.01, 0.2], False),
        (Target(0, surely=True), 0.1, None, False),
        (Target(high=0.05, most=0.07), 0.05, [0.03, 0.06], True),
        (Target(high=0.05, most=0.07), 0.05, [0.03, 0.08], False),
        (Target(high=0.05, most=0.07), 0.05, None, False),
    ],
)
def test_when_a_target_is_met(target, mean, interval, met):
    assert target.met(measure(mean, interval)) is met


def test_what_is_not_measured_misses_its_target():
    targets = {'a/x': Target(0.5), 'a/y': Target(0.5)}
    assert truth_tables.judge({'a/x': measure(0.7)}, targets) == {'a/x': True, 'a/y': False}


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


def test_report_says_what_is_missed(tmp_path):
    targets = {'a/x': Target(0.5), 'b/y|z': Target(high=0.1, most=0.2), 'b/never': Target(1)}
    measures = {
        'a/x': measure(0.7, [0.6, 0.8]),
        'b/y|z': measure(0.15, [0.1, 0.3]),
        'a/other': measure(None),
    }
    met = truth_tables.judge(measures, targets)
    origin = Origin('python x.py', '', '', (), (0,), '', {})
    report = Report(origin, (1,), 10, 5, measures, {}, met)
    text = truth_tables.to_markdown(report, targets)
    assert '1 of 3 targets are met' in text
    assert 'too optimistic:** scene seed(s) 1 are not held out' in text
    held_out = dataclasses.replace(report, seeds=scenes.HELD_OUT_SEEDS)
    assert 'optimistic' not in truth_tables.to_markdown(held_out, targets)
    assert r'| x | 0.700 (0.600, 0.800) | 0.700 | ≥ 0.5 | met |' in text
    assert r'| y\|z | 0.150 (0.100, 0.300) | 0.150 | ≤ 0.1, interval ≤ 0.2 | **missed** |' in text
    assert '| never | – |  | ≥ 1 | **missed** |' in text
    assert '| other | – | – |  |  |' in text
    truth_tables.figure(report, targets, tmp_path / 'report.png')
    with Image.open(tmp_path / 'report.png') as picture:
        assert picture.width > 500
