"""The report on how right the analysis is: measures over seeds, beside what is asked of them."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib

from analysis.planted_benchmark import metrics as truth_metrics
from segmentation import markdown, scenes

matplotlib.use('Agg')
from matplotlib import pyplot as plt

MET, MISSED, OTHER = '#0072B2', '#D55E00', '#888888'  # Okabe and Ito's palette


@dataclasses.dataclass(frozen=True)
class Target:
    """What is asked of a measure: that its mean lies within [low, high].

    With `surely` its 95 % interval must lie above `low`; with `most`, below that.
    """

    low: float = -math.inf
    high: float = math.inf
    surely: bool = False
    most: float = math.inf

    def met(self, measure: Mapping) -> bool:
        """Whether a measure of `summarize` is so; never if it could not be measured."""
        mean, interval = measure['mean'], measure['interval'] or (-math.inf, math.inf)
        # 4, 5 and 3 of 5 are 0.8 on average but for rounding.
        if mean is None or not self.low - 1e-9 <= mean <= self.high + 1e-9:
            return False
        return (not self.surely or interval[0] > self.low) and (
            self.most == math.inf or interval[1] <= self.most
        )

    def __str__(self) -> str:
        if self.surely:
            return f'> {self.low:g} (interval)'
        if self.high == math.inf:
            return f'≥ {self.low:g}'
        text = f'≤ {self.high:g}' if self.low == -math.inf else f'{self.low:g}–{self.high:g}'
        return text + (f', interval ≤ {self.most:g}' if self.most < math.inf else '')


TARGETS = {
    'clusters/AMI with scene type, ours': Target(0.6),
    'clusters/AMI above colour histograms': Target(0.1),
    'clusters/AMI above random encoder': Target(0.1),
    'similar/precision@10 by scene type, fetched': Target(0.8),
    'heat-maps/pointing game, ours': Target(0.7),
    'heat-maps/pointing game above the best baseline': Target(0, surely=True),
    'slices/share of the planted that is found': Target(0.8),
    'null tables/share with a slice': Target(high=0.05),
    'null tables/share with a discovery': Target(high=0.05, most=0.07),
    'label issues/average precision, missing instance': Target(0.8),
    'label issues/average precision, wrong class': Target(0.8),
    'label issues/average precision, sloppy outline': Target(0.5),
    'label issues/above the baseline, missing instance': Target(0),
    'label issues/above the baseline, wrong class': Target(0),
    'label issues/above the baseline, sloppy outline': Target(0),
}
COVERAGE = Target(0.93, 0.97)  # of each score of classes with enough images


def targets_of(measures: Mapping[str, Mapping]) -> dict[str, Target]:
    """All that is asked, of the scores too whose coverage was measured."""
    scores = sorted(name for name in measures if name.startswith('coverage/'))
    return TARGETS | dict.fromkeys(scores, COVERAGE)


def summarize(per_seed: Sequence[Mapping]) -> dict[str, dict]:
    """Measures over seeds.

    Args:
      per_seed: of each seed `measures` by name, and `shares` by name as (count, number).

    Returns:
      By name, for JSON: `mean`, `interval` and `values`. Shares are those of all seeds together,
      with Clopper and Pearson's interval; other measures are means with Student's.
    """
    result = {
        name: truth_metrics.mean_over_seeds([seed['measures'].get(name) for seed in per_seed])
        for name in dict.fromkeys(name for seed in per_seed for name in seed['measures'])
    }
    for name in dict.fromkeys(name for seed in per_seed for name in seed['shares']):
        counts = [seed['shares'][name] for seed in per_seed if name in seed['shares']]
        count, number = (sum(column) for column in zip(*counts, strict=True))
        result[name] = {
            'mean': count / number,
            'interval': list(truth_metrics.share_interval(count, number)),
            'values': [count / number for count, number in counts],
        }
    return result


def judge(measures: Mapping[str, Mapping], targets: Mapping[str, Target]) -> dict[str, bool]:
    """Whether each target is met; a measure that is not there misses its target."""
    nothing = {'mean': None, 'interval': None}
    return {name: target.met(measures.get(name, nothing)) for name, target in targets.items()}


def to_markdown(report: Mapping, targets: Mapping[str, Target]) -> str:
    """A table for each group of measures, those that something is asked of first."""
    measures, met = report['measures'], report['met']
    setup = report['setup']
    parts = [
        '# Is the analysis right? Measured on scenes with planted truth',
        f'{len(setup["seeds"])} scene seed(s) ({", ".join(map(str, setup["seeds"]))}), '
        f'{setup["train"]} scenes for training and {setup["val"]} for the analysis each. Means '
        "over seeds, in brackets their 95 % interval (Student's t; of shares of tables or samples "
        f"over all seeds Clopper and Pearson's). {sum(met.values())} of {len(met)} figures are "
        'met.',
        f'    {setup["command"]}',
    ]
    if seen := [str(seed) for seed in setup['seeds'] if seed not in scenes.HELD_OUT_SEEDS]:
        parts.insert(
            2,
            f'**These figures flatter the analysis:** scene seed(s) {", ".join(seen)} are not kept '
            'aside for scoring, and the analysis may have been developed on them.',
        )
    groups = {}
    for name in sorted(measures | dict.fromkeys(targets), key=lambda name: name not in targets):
        groups.setdefault(name.partition('/')[0], []).append(name)
    for group, names in groups.items():
        rows = []
        for name in names:
            measure = measures.get(name, {'mean': None, 'interval': None, 'values': []})
            verdict = {None: '', True: 'met', False: '**missed**'}[met.get(name)]
            rows.append(
                f'| {markdown.escape(name.partition("/")[2])} | {_cell(measure)} '
                f'| {", ".join(map(_number, measure["values"]))} '
                f'| {targets.get(name, "")} | {verdict} |'
            )
        parts.append(
            '\n'.join(
                [
                    f'**{group}**\n',
                    '| measure | mean | by seed | asked | |',
                    '|---|---|---|---|---|',
                    *rows,
                ]
            )
        )
    return '\n\n'.join(parts) + '\n'


def _number(value: float | None) -> str:
    return '–' if value is None else f'{value:.3f}'


def _cell(measure: Mapping) -> str:
    text, interval = _number(measure['mean']), measure['interval']
    return f'{text} [{interval[0]:.3f}, {interval[1]:.3f}]' if interval else text


def figure(report: Mapping, targets: Mapping[str, Target], path: pathlib.Path) -> None:
    """Draws what is asked for: each measure with its interval and seeds, and the figure, as PNG."""
    names = [name for name in targets if report['measures'].get(name, {}).get('mean') is not None]
    picture, axis = plt.subplots(figsize=(9.5, 1.4 + 0.36 * len(names)), layout='constrained')
    for place, name in enumerate(names):
        measure, target = report['measures'][name], targets[name]
        colour = MET if report['met'][name] else MISSED
        if measure['interval']:
            axis.hlines(place, *measure['interval'], color=colour, linewidth=2)
        values = [value for value in measure['values'] if value is not None]
        axis.plot(values, [place] * len(values), '.', color=OTHER, markersize=5, zorder=3)
        marker = 'o' if report['met'][name] else 'X'
        axis.plot(measure['mean'], place, marker, color=colour, markersize=8, zorder=4)
        bounds = [bound for bound in (target.low, target.high) if math.isfinite(bound)]
        axis.vlines(bounds, place - 0.4, place + 0.4, color='black', linewidth=1.6)
    axis.set_yticks(range(len(names)), [name.replace('$', r'\$') for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(min(-0.02, axis.get_xlim()[0]), 1.02)
    axis.grid(axis='x', color='0.9')
    axis.set_axisbelow(True)
    handles = [
        axis.plot([], [], 'o', color=MET, label='met')[0],
        axis.plot([], [], 'X', color=MISSED, label='missed')[0],
        axis.plot([], [], '.', color=OTHER, label='a seed')[0],
        axis.plot([], [], '|', color='black', markersize=12, label='asked')[0],
    ]
    axis.legend(
        handles=handles, loc='lower center', bbox_to_anchor=(0.5, 1), ncols=4, frameon=False
    )
    picture.savefig(path, dpi=150)
    plt.close(picture)
