"""Benchmark report: measures over scene seeds, against targets."""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import ClassVar

from analysis.experiments import records
from analysis.figures import palette
from analysis.planted_benchmark.metrics import Measure, mean_over_seeds, share_interval
from analysis.stage.artifacts import Result
from segmentation import markdown, scenes

NOT_MEASURED = Measure(None, None, ())
# Color and marker of each verdict.
_MARKS = dict(
    zip(
        records.VERDICTS,
        ((palette.BLUE, 'o'), (palette.SKY, 'D'), (palette.ORANGE, 's'), (palette.VERMILLION, 'X')),
        strict=True,
    )
)


@dataclasses.dataclass(frozen=True)
class SeedScores(Result):
    """Scores of the analysis on the scenes of a seed."""

    NAME: ClassVar[str] = 'truth_scores'
    VERSION: ClassVar[int] = 9

    measures: dict[str, float | None]  # by name, `<group>/<measure>`
    shares: dict[str, tuple[int, int]]  # (count, number) by name


@dataclasses.dataclass(frozen=True)
class Target:
    """A measure should be at least `low` and at most `high`, as far as they are given."""

    low: float | None = None
    high: float | None = None

    def claim(self, measure: Measure) -> records.Measure:
        """The claim that a measure meets the target."""
        # With rounding errors, the mean of 4, 5 and 3 of 5 may be below 0.8.
        low, high = self.low, self.high
        above, below = None if low is None else low - 1e-9, None if high is None else high + 1e-9
        return records.Measure(measure.mean, measure.interval, above, below)

    def reached(self, measure: Measure) -> bool:
        """Whether the mean meets the target, whatever its interval; False if there is none."""
        return measure.mean is not None and self.claim(measure).claims(measure.mean)

    def __str__(self) -> str:
        if self.high is None:
            return f'≥ {self.low:g}'
        return f'≤ {self.high:g}' if self.low is None else f'{self.low:g}–{self.high:g}'


@dataclasses.dataclass(frozen=True)
class Report:
    """The benchmark's result."""

    origin: records.Origin
    seeds: tuple[int, ...]  # of the scenes
    # train, val: number of scenes of a seed for training and for the analysis.
    train: int
    val: int
    measures: dict[str, Measure]  # over the seeds, by name
    targets: dict[str, Target]  # by name of the measure
    verdicts: dict[str, str]  # `records.VERDICTS`, by the same names


TARGETS = {
    'clusters/AMI with scene type, ours': Target(0.6),
    'clusters/AMI above color histograms': Target(0.1),
    'clusters/AMI above random encoder': Target(0.1),
    'similar/precision@10 by scene type, fetched': Target(0.8),
    'heat-maps/pointing game, ours': Target(0.7),
    'heat-maps/pointing game above the best baseline': Target(0),
    'slices/share of the planted that is found': Target(0.8),
    'objects/precision@10 by color of clothes': Target(0.8),
    'objects/precision@10 by pose': Target(0.8),
    'objects/precision@10 by side of a car': Target(0.8),
    'objects/share of the planted slices that is found': Target(0.8),
    'objects/precision@10 of hidden slices': Target(0.73),
    'objects/share of the hidden slices that is found': Target(0.8),
    'null tables/share with a slice': Target(high=0.05),
    'null tables/share with a discovery': Target(high=0.05),
    'label issues/average precision, missing instance': Target(0.85),
    'label issues/average precision, wrong class': Target(0.8),
    'label issues/average precision, sloppy outline': Target(0.5),
    'label issues/above the baseline, missing instance': Target(0),
    'label issues/above the baseline, wrong class': Target(0),
    'label issues/above the baseline, sloppy outline': Target(0),
}
COVERAGE = Target(0.93, 0.97)  # of each score of classes with enough images


def targets_of(measures: Mapping[str, Measure]) -> dict[str, Target]:
    """All targets, with one for each score whose coverage was measured."""
    scores = sorted(name for name in measures if name.startswith('coverage/'))
    return TARGETS | dict.fromkeys(scores, COVERAGE)


def summarize(per_seed: Sequence[SeedScores]) -> dict[str, Measure]:
    """Measures over seeds, by name.

    Shares are those of all seeds together, with Clopper and Pearson's interval; other measures are
    means with Student's.
    """
    result = {
        name: mean_over_seeds([seed.measures.get(name) for seed in per_seed])
        for name in dict.fromkeys(name for seed in per_seed for name in seed.measures)
    }
    for name in dict.fromkeys(name for seed in per_seed for name in seed.shares):
        counts = [seed.shares[name] for seed in per_seed if name in seed.shares]
        count, number = (sum(column) for column in zip(*counts, strict=True))
        values = tuple(count / number for count, number in counts)
        interval = share_interval(count, number)
        result[name] = Measure(count / number, interval, values)
    return result


def judge(measures: Mapping[str, Measure], targets: Mapping[str, Target]) -> dict[str, str]:
    """The verdict on each target, see `records.Measure.verdict`."""
    return {
        name: target.claim(measures.get(name, NOT_MEASURED)).verdict()
        for name, target in targets.items()
    }


def to_markdown(report: Report) -> str:
    """A table for each group of measures, those with a target first."""
    measures, targets = report.measures, report.targets
    number = collections.Counter(report.verdicts.values())
    counts = ', '.join(f'{number[name]} {name}' for name in records.VERDICTS if name in number)
    parts = [
        '# Is the analysis right? Measured on scenes with planted truth',
        f'{len(report.seeds)} scene seed(s) ({", ".join(map(str, report.seeds))}), {report.train} '
        f'scenes for training and {report.val} for the analysis each. Means over seeds, in '
        "parentheses 95 % confidence intervals (Student's t; for shares of tables or samples "
        "Clopper and Pearson's, over all seeds). A target *holds* if the whole interval is on its "
        'side, and *fails* if no part of it is. In between, it is *suggestive* if the mean is on '
        f'its side, else *not resolvable*. Of {len(report.verdicts)} targets: {counts}.',
        f'    {report.origin.command}',
    ]
    held_out = scenes.HELD_OUT_WITH_HIDDEN_SLICES
    if seen := [str(seed) for seed in report.seeds if seed not in held_out]:
        parts.insert(
            2,
            f'**These scores may be too optimistic:** scene seed(s) {", ".join(seen)} are not held '
            'out, and the analysis may have been developed on them.',
        )
    groups: dict[str, list[str]] = {}
    for name in sorted(measures | dict.fromkeys(targets), key=lambda name: name not in targets):
        groups.setdefault(name.partition('/')[0], []).append(name)
    for group, names in groups.items():
        rows = []
        for name in names:
            measure = measures.get(name, NOT_MEASURED)
            rows.append(
                f'| {markdown.escape(name.partition("/")[2])} '
                f'| {markdown.number(measure.mean, measure.interval)} '
                f'| {", ".join(map(markdown.number, measure.values))} '
                f'| {targets.get(name, "")} | {report.verdicts.get(name, "")} |'
            )
        header = '| measure | mean | by seed | target | verdict |\n|---|---|---|---|---|'
        parts.append('\n'.join([f'**{group}**\n', header, *rows]))
    return '\n\n'.join(parts) + '\n'


def figure(report: Report, path: pathlib.Path) -> None:
    """Draws each measure that has a target, with its interval, seeds and target, as PNG."""
    from matplotlib.figure import Figure

    from analysis.figures.bars import plain

    targets = report.targets
    names = [name for name in targets if report.measures.get(name, NOT_MEASURED).mean is not None]
    picture = Figure(figsize=(9.5, 1.4 + 0.36 * len(names)), layout='constrained')
    axis = picture.subplots()
    for place, name in enumerate(names):
        measure, target = report.measures[name], targets[name]
        color, marker = _MARKS[report.verdicts[name]]
        if measure.interval:
            axis.hlines(place, *measure.interval, color=color, linewidth=2)
        mean, *values = (x for x in (measure.mean, *measure.values) if x is not None)
        axis.plot(values, [place] * len(values), '.', color=palette.GRAY, markersize=5, zorder=3)
        axis.plot([mean], [place], marker, color=color, markersize=8, zorder=4)
        bounds = [bound for bound in (target.low, target.high) if bound is not None]
        axis.vlines(bounds, place - 0.4, place + 0.4, color='black', linewidth=1.6)
    axis.set_yticks(range(len(names)), [plain(name) for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(min(-0.02, axis.get_xlim()[0]), 1.02)
    axis.grid(axis='x', color='0.9')
    axis.set_axisbelow(True)
    for marker, color, size, label in (
        *((marker, color, 6, verdict) for verdict, (color, marker) in _MARKS.items()),
        ('.', palette.GRAY, 6, 'a seed'), ('|', 'black', 12, 'target'),
    ):  # fmt: skip
        axis.plot([], [], marker, color=color, markersize=size, label=label)
    axis.legend(loc='lower center', bbox_to_anchor=(0.5, 1), ncols=6, frameon=False)
    picture.savefig(path, dpi=150)
