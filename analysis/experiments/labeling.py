"""Does choosing what to label pay? The report of `scripts/experiments/label_next_experiment.py`."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from analysis.experiments import statistics
from analysis.experiments.records import Measure, Origin, Table
from analysis.experiments.statistics import Scores
from analysis.stats import bootstrap
from segmentation import metrics

RULES = ('label_next', 'uncertainty', 'random')
OURS, *OTHERS = RULES
ALL = 'mean of all'  # rounds after the first


@dataclasses.dataclass(frozen=True)
class Difference:
    """IoU of `label_next` minus that of another rule, with equally many labeled images."""

    other: str  # rule
    labeled: str  # number of labeled images, or `ALL`
    measure: Measure  # claims to be above 0; without an interval if there is one seed
    minimum_detectable: float | None


@dataclasses.dataclass(frozen=True)
class Curves:
    """Foreground mean IoU over the set, by number of labeled images."""

    seeds: int
    num_images: int  # that are scored
    labeled: tuple[int, ...]  # images after each round; the first number is that of the start
    scores: dict[str, tuple[Measure, ...]]  # by rule, means over seeds
    differences: tuple[Difference, ...]


def analyze(
    counts: Mapping[str, Sequence[np.ndarray]], labeled: Sequence[int], num_resamples: int = 2000
) -> Curves:
    """Scores and paired differences of the rounds.

    The difference averaged over the rounds is the area between two learning curves. Each round of a
    seed builds on the one before, so rounds are averaged within a seed, and seeds are compared.

    Args:
      counts: by rule, for each round: confusion matrices `[S, N, C, C]` of S seeds and N images.
        The first round is the same for all rules.
      labeled: number of labeled images of each round.
      num_resamples: bootstrap resamples.
    """
    start = counts[OURS][0]
    num_seeds, num_images, num_classes = start.shape[:3]
    folds = np.zeros(num_images, np.int64)
    weights = bootstrap.bootstrap_weights(num_images, num_resamples)
    effective = metrics.of_rarest(metrics.effective_images(start[0]))
    scores = {
        rule: [statistics.seed_scores(each, folds, weights)['iou'] for each in counts[rule]]
        for rule in RULES
    }
    differences = []
    for other in OTHERS:
        rounds = [a - b for a, b in zip(scores[OURS][1:], scores[other][1:], strict=True)]
        named = [*zip(map(str, labeled[1:]), rounds, strict=True)]
        for name, difference in [*named, *([(ALL, _mean(rounds))] if rounds else [])]:
            test = statistics.paired_test(difference, num_classes, effective)
            known = test.interval if num_seeds > 1 else None
            interval = (known[0], known[1]) if known else None
            least = test.minimum_detectable if num_seeds > 1 else None
            measure = Measure(test.difference, interval, above=0)
            differences.append(Difference(other, name, measure, least))
    return Curves(
        num_seeds, num_images, tuple(labeled),
        {rule: tuple(_measure(each, num_classes) for each in scores[rule]) for rule in RULES},
        tuple(differences),
    )  # fmt: skip


def _mean(parts: Sequence[Scores]) -> Scores:
    names = [field.name for field in dataclasses.fields(Scores)]
    return Scores(*(np.mean([getattr(part, name) for part in parts], axis=0) for name in names))


def _measure(scores: Scores, column: int) -> Measure:
    """The mean over seeds, with its interval over images and trainings if there are several."""
    found = statistics.intervals(scores)
    low, high = found.over_both[column].tolist()
    interval = (low, high) if len(scores.values) > 1 else None
    return Measure(float(found.score[column]), interval)


def make_tables(curves: Curves) -> dict[str, Table]:
    """The `scores` of the rules and their `differences`."""
    scores = Table(
        ('labeled images', *RULES),
        tuple(
            (str(number), *(curves.scores[rule][place] for rule in RULES))
            for place, number in enumerate(curves.labeled)
        ),
    )
    tests = Table(
        ('compared with', 'labeled images', f'IoU of {OURS} minus that', 'minimum detectable'),
        tuple(
            (each.other, each.labeled, each.measure, Measure(each.minimum_detectable))
            for each in curves.differences
        ),
    )
    return {'scores': scores, 'differences': tests}


def to_markdown(curves: Curves, origin: Origin, data: str, steps: int) -> str:
    """The report.

    Args:
      curves: what was measured.
      origin: of it.
      data: name of the data set.
      steps: of each training.
    """
    tables = make_tables(curves)
    return '\n\n'.join(
        [
            '# Does choosing what to label pay?',
            f'Foreground mean IoU over the set on {curves.num_images} images of {data}, mean over '
            f'{curves.seeds} seeds, {steps} steps per training. All rules begin with the same '
            f'{curves.labeled[0]} random images. Then the network of a rule chooses further images '
            f'for it: *{OURS}* by uncertainty and coverage, *uncertainty* by the mean entropy '
            'alone, *random* at random. Every network is trained from the start.',
            f'    {origin.command}',
            '## Scores',
            'With 95 % confidence intervals over images and trainings.',
            tables['scores'].to_markdown(),
            '## Paired differences',
            f'With 95 % confidence intervals over images and trainings. The claim is that {OURS} '
            f'is better. “{ALL}” is the area between the curves.',
            tables['differences'].to_markdown(),
            origin.to_markdown(),
            '',
        ]
    )


def figure(curves: Curves, path: pathlib.Path) -> None:
    """Writes a PNG with the IoU over the number of labeled images."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    drawing, axis = plt.subplots(figsize=(6, 4), layout='constrained')
    width = max(curves.labeled) / 150
    for number, rule in enumerate(RULES):
        measures = curves.scores[rule]
        values = np.array([measure.value for measure in measures])
        ends = np.array([measure.interval or (measure.value,) * 2 for measure in measures])
        places = np.array(curves.labeled) + (number - 1) * width
        errors = np.abs(ends.T - values)
        axis.errorbar(places, values, errors, fmt='o-', capsize=3, label=rule)
    axis.set_xlabel('labeled images')
    axis.set_ylabel('foreground mean IoU')
    axis.legend()
    drawing.savefig(path, dpi=150)
    plt.close(drawing)
