"""What correcting labels is worth: the report of `scripts/experiments/correct_experiment.py`."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

from analysis.experiments.records import Measure, Origin, Table
from analysis.experiments.reproduction import MEAN, Reproduction

ARMS = ('nothing', 'exclude', 'correct', 'random', 'clean')
# Differences that are tested: the second arm minus the first one.
PAIRS = (
    ('nothing', 'correct'),
    ('nothing', 'exclude'),
    ('random', 'exclude'),
    ('exclude', 'correct'),
    ('nothing', 'clean'),
)
UNRESOLVED = 'not resolvable'


@dataclasses.dataclass(frozen=True)
class Difference:
    """A paired difference in foreground mean IoU over the set."""

    first: str  # arm
    second: str  # arm
    value: float
    interval: tuple[float, float] | None  # 95 %; None with one seed
    minimum_detectable: float | None


@dataclasses.dataclass(frozen=True)
class Rate:
    """Results at one error rate."""

    rate: float  # planted: share of the training images with a label error
    errors: float  # share that has one in fact: some scenes have no suitable object
    images: int  # training images
    suggested: int  # images with a suggestion that was accepted
    right: int  # of these, images that have an error
    corrected: int  # annotations that were changed, removed or added
    seeds: int
    scores: dict[str, float]  # arm → foreground mean IoU over the set, mean over seeds
    differences: tuple[Difference, ...]


def differences(report: Reproduction) -> Iterator[Difference]:
    """The differences of `PAIRS`."""
    for claim in report.claims:
        if claim.score != MEAN:
            continue
        (test,) = (test for test in claim.tests if test.metric == 'iou')
        assert test.difference is not None  # Every arm has a score.
        interval = (test.interval[0], test.interval[1]) if test.interval else None
        # With one seed, the interval does not cover other training runs.
        several = report.scores[claim.models[0]]['all images']['iou'][MEAN].per_seed[1:]
        yield Difference(
            *claim.models, test.difference,
            interval if several else None,
            test.minimum_detectable if several else None,
        )  # fmt: skip


def pays_from(rates: Sequence[Rate], first: str, second: str) -> str:
    """The error rate from which the second arm is better than the first.

    The rule: the smallest tested rate at which the 95 % interval of the paired difference is above
    zero, and at all larger tested rates too. 'not resolvable' if the largest has no such interval.
    """
    found = UNRESOLVED
    for entry in sorted(rates, key=lambda entry: -entry.rate):
        difference = next(d for d in entry.differences if (d.first, d.second) == (first, second))
        if difference.interval is None or difference.interval[0] <= 0:
            break
        found = f'{100 * entry.rate:g} %'
    return found


def make_tables(rates: Sequence[Rate]) -> dict[str, Table]:
    """What was `found`, the `scores` of the arms, their `differences`, and when it `pays`."""
    percent = [f'{100 * entry.rate:g} %' for entry in rates]
    found = Table(
        ('planted', 'with an error', 'training images', 'suggested', 'right', 'annotations'),
        tuple(
            (
                name, f'{100 * entry.errors:.1f} %', f'{entry.images}', f'{entry.suggested}',
                f'{entry.right}', f'{entry.corrected}',
            )
            for name, entry in zip(percent, rates, strict=True)
        ),
    )  # fmt: skip
    scores = Table(
        ('error rate', *ARMS),
        tuple(
            (name, *(Measure(entry.scores[arm]) for arm in ARMS))
            for name, entry in zip(percent, rates, strict=True)
        ),
    )
    rows = [
        (
            name, f'{d.second} - {d.first}', Measure(d.value, d.interval),
            Measure(d.minimum_detectable),
        )
        for name, entry in zip(percent, rates, strict=True)
        for d in entry.differences
    ]  # fmt: skip
    tests = Table(('error rate', 'difference', 'IoU', 'minimum detectable'), tuple(rows))
    pays = Table(
        ('difference', 'above zero from an error rate of'),
        tuple((f'{second} - {first}', pays_from(rates, first, second)) for first, second in PAIRS),
    )
    return {'found': found, 'scores': scores, 'differences': tests, 'pays': pays}


def to_markdown(rates: Sequence[Rate], origin: Origin) -> str:
    """The report: arms, differences, and from which rate on each difference is above zero."""
    tables = make_tables(rates)
    return '\n\n'.join(
        [
            '# Does correcting labels pay?',
            'Foreground mean IoU over the set, on validation scenes with correct labels, mean over '
            f'{min(entry.seeds for entry in rates)} seeds. Suggestions were accepted unseen. '
            '*exclude* leaves out the images with an accepted suggestion, *random* as many others; '
            '*clean* has no label errors.',
            f'    {origin.command}',
            origin.to_markdown(),
            '## What was found',
            tables['found'].to_markdown(),
            '## Scores',
            tables['scores'].to_markdown(),
            '## Paired differences',
            'With 95 % confidence intervals over images and training runs.',
            tables['differences'].to_markdown(),
            '## Error rate from which it pays',
            'The smallest tested rate whose interval is above zero, as are those of all larger '
            f'ones; otherwise “{UNRESOLVED}”.',
            tables['pays'].to_markdown(),
            '',
        ]
    )


def figure(rates: Sequence[Rate], path: pathlib.Path) -> None:
    """Writes a PNG with the differences from *nothing* over the error rate."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    drawing, axis = plt.subplots(figsize=(6, 4), layout='constrained')
    for number, arm in enumerate(('exclude', 'correct', 'clean')):
        for entry in rates:
            d = next(x for x in entry.differences if (x.first, x.second) == ('nothing', arm))
            low, high = d.interval or (d.value, d.value)
            axis.errorbar(
                100 * entry.rate * (1 + 0.04 * number), d.value,
                [[max(d.value - low, 0)], [max(high - d.value, 0)]], fmt='o', capsize=3,
                color=f'C{number}', label=arm if entry is rates[0] else None,
            )  # fmt: skip
    axis.axhline(0, color='gray', linewidth=0.8)
    axis.set_xlabel('training images with a label error (%)')
    axis.set_ylabel('IoU, difference from doing nothing')
    axis.legend()
    drawing.savefig(path, dpi=150)
    plt.close(drawing)
