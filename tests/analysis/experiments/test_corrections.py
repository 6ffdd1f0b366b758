"""The rule that says from which error rate on correcting pays."""

import dataclasses

import pytest

from analysis.experiments import corrections
from analysis.experiments.corrections import ARMS, PAIRS, Difference, Rate
from analysis.experiments.records import Origin

ORIGIN = Origin('the command', 'abc', '2026-11-29', ('cpu',), (0,), 'def', {})


def rate(value, low=None, high=None, seeds=5):
    """A rate at which all differences have one interval."""
    interval = None if low is None else (low, high)
    middle = 0.0 if low is None else (low + high) / 2
    differences = tuple(Difference(*pair, middle, interval, 0.01) for pair in PAIRS)
    return Rate(value, value, 100, 20, 10, 30, seeds, dict.fromkeys(ARMS, 0.5), differences)


@pytest.mark.parametrize(
    ('intervals', 'expected'),
    [
        ({0.02: (-0.01, 0.02), 0.1: (0.001, 0.02), 0.2: (0.01, 0.03)}, '10 %'),
        ({0.02: (0.001, 0.02), 0.1: (0.001, 0.02), 0.2: (0.01, 0.03)}, '2 %'),
        ({0.02: (0.001, 0.02), 0.1: (-0.001, 0.02), 0.2: (0.01, 0.03)}, '20 %'),
        # Not even of the most errors: then a small rate is chance.
        ({0.02: (0.001, 0.02), 0.1: (0.001, 0.02), 0.2: (-0.01, 0.03)}, 'not resolvable'),
        ({0.02: (-0.03, -0.01), 0.2: (-0.02, -0.01)}, 'not resolvable'),
        ({0.2: (0.0, 0.01)}, 'not resolvable'),
        ({0.2: (None, None)}, 'not resolvable'),
    ],
)
def test_the_rule(intervals, expected):
    rates = [rate(value, *interval) for value, interval in intervals.items()]
    assert corrections.pays_from(rates, 'nothing', 'correct') == expected
    assert corrections.pays_from(rates[::-1], 'nothing', 'correct') == expected
    assert f'| correct - nothing | {expected} |' in corrections.to_markdown(rates, ORIGIN)


def test_the_report_has_every_number(tmp_path):
    first, second = rate(0.02, -0.01, 0.02), rate(0.1)
    second = dataclasses.replace(second, seeds=1, scores={**second.scores, 'correct': 0.625})
    text = corrections.to_markdown([first, second], ORIGIN)
    assert 'the command' in text and '`abc`' in text
    assert '1 seeds' in text and '0.625' in text and '+0.005' in text.replace('0.005', '+0.005')
    assert text.count('| 2 % |') == 1 + 1 + len(PAIRS)
    corrections.figure([first, second], tmp_path / 'report.png')
    assert (tmp_path / 'report.png').stat().st_size > 5000
