"""Decides whether training runs are worse than others: paired by image, for all checks together.

A score differs between two training runs of one recipe for two reasons. First, they make different
errors on each image; the bootstrap over images, with the same resamples for all training runs,
measures this. Second, one training run can be better than another on all images, which resampling
images does not show. The variance τ² of this second part is measured where a side has several
training runs: half the mean squared difference of two of them, minus what the bootstrap explains.
Few training runs measure it badly, so the measured variance is averaged with an assumed one that
counts as `PRIOR` more training runs (a scaled inverse χ² prior, as in Smyth 2004). With one
training run on each side the assumed τ is taken as known. The test is a one-sided t test with the
degrees of freedom of Welch and Satterthwaite, adjusted for the number of checks by Holm (1979),
which is valid for any dependence between them. A check that is not worse shows that there is no
drop only if the same t test excludes the drop that matters (non-inferiority).
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from scipy import stats

from analysis.stats import bootstrap
from segmentation import metrics

LEVEL, POWER = 0.05, 0.8
MIN_IMAGES = 8  # of a check; smaller ones are not tested
PRIOR = 8  # degrees of freedom of the assumed τ
VERDICTS = 'worse', 'no drop found', 'inconclusive', 'not tested'


@dataclasses.dataclass(frozen=True)
class Check:
    """What is compared.

    The score of a class is its IoU over all images together. That of a set of images is the mean
    of their `metrics.foreground_iou`.
    """

    kind: str  # 'class', 'slice' or 'saved view'
    name: str
    inside: np.ndarray  # bool `[N]`, the images
    column: int | None = None  # the class; None for a set of images


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a check; the numbers are None if it was not tested."""

    kind: str  # of the check, as the name
    name: str
    verdict: str  # one of `VERDICTS`
    images: int  # that have the score
    baseline: float | None = None  # mean over its training runs
    new: float | None = None
    difference: float | None = None  # new - baseline
    interval: tuple[float, float] | None = (
        None  # its 95 % confidence interval, for this check alone
    )
    p: float | None = None  # one-sided, adjusted for all checks (Holm)
    # The true drop that is called worse with a probability of 80 %, whatever the other checks say.
    minimum_detectable: float | None = None


def _scores(confusions: np.ndarray, checks: Sequence[Check], weights: np.ndarray) -> np.ndarray:
    """Scores of one training run, `[R, K]`, for weighted sets of images, `[R, N]`."""
    classes = metrics.weighted_scores(confusions, weights)['iou']
    values = metrics.foreground_iou(confusions)
    inside = np.array([check.inside for check in checks]).T & ~np.isnan(values)[:, None]
    total = weights @ np.where(inside, np.nan_to_num(values)[:, None], 0)
    count = weights @ inside
    result = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    for k, check in enumerate(checks):
        if check.column is not None:
            result[:, k] = classes[:, check.column]
    return result


def _variance(values: np.ndarray) -> np.ndarray:
    """Variance over the first axis without NaN, `[R, K]` -> `[K]`; NaN for less than two values."""
    known = ~np.isnan(values)
    count = known.sum(0)
    mean = np.where(known, values, 0).sum(0) / np.maximum(count, 1)
    squares = np.where(known, np.square(values - mean), 0).sum(0)
    return np.divide(squares, count - 1, out=np.full(len(count), np.nan), where=count > 1)


def _between_trainings(sides: Sequence[np.ndarray], assumed: float) -> tuple[np.ndarray, float]:
    """Variance τ² of training runs, `[K]`, and its degrees of freedom: infinite if it is assumed
    alone.

    Each side is `[S, 1 + R, K]`: its training runs on all images, then on resampled ones.
    """
    total, freedom = np.full(sides[0].shape[-1], PRIOR * assumed**2), PRIOR
    for side in sides:
        pairs = [first - second for first, second in itertools.combinations(side, 2)]
        if pairs:
            over_images = np.mean([_variance(pair[1:]) for pair in pairs], 0)
            squared = np.mean([np.square(pair[0]) for pair in pairs], 0)
            total = total + (len(side) - 1) * (squared - over_images) / 2
            freedom += len(side) - 1
    # The difference of two estimates may be negative.
    return np.maximum(total / freedom, 0), float(freedom) if freedom > PRIOR else np.inf


def judge(
    new: Sequence[np.ndarray],
    baseline: Sequence[np.ndarray],
    checks: Sequence[Check],
    training_sd: float,
    drop: float,
    num_resamples: int = 1000,
) -> list[Outcome]:
    """Tests every check.

    Args:
      new: confusion matrices of each training run, int `[N, C, C]`.
      baseline: the same, of the same images in the same order.
      checks: what to compare.
      training_sd: assumed τ, at least 0.
      drop: the drop that matters; a check that does not exclude it is inconclusive.
      num_resamples: of the bootstrap.
    """
    if not checks:
        return []
    trainings, num_images = [*new, *baseline], len(baseline[0])
    weights = np.vstack(
        [np.ones(num_images), bootstrap.bootstrap_weights(num_images, num_resamples)]
    )
    scores = np.array([_scores(counts, checks, weights) for counts in trainings])
    sides = scores[: len(new)], scores[len(new) :]
    shared, shared_freedom = _between_trainings(sides, training_sd)
    after, before = (side.mean(0) for side in sides)
    over_images = _variance(after[1:] - before[1:])
    over_trainings = shared * (1 / len(new) + 1 / len(baseline))
    numbers, matter = _sizes(trainings, checks)
    tested = [k for k, number in enumerate(numbers) if number >= MIN_IMAGES]
    tested = [k for k in tested if not np.isnan([after[0, k], before[0, k], over_images[k]]).any()]
    found: dict[int, Outcome] = {}
    excluded: dict[int, bool] = {}
    for k in tested:
        parts = (over_images[k], max(matter[k] - 1, 1)), (over_trainings[k], shared_freedom)
        variance = max(sum(part for part, _ in parts), 1e-18)
        freedom = variance**2 / max(sum(part**2 / degrees for part, degrees in parts), 1e-40)
        error, difference = float(np.sqrt(variance)), float(after[0, k] - before[0, k])
        half = float(stats.t.ppf(1 - LEVEL / 2, freedom)) * error
        critical = stats.t.ppf(1 - LEVEL / len(tested), freedom)
        excluded[k] = bool(stats.t.sf((difference + drop) / error, freedom) <= LEVEL)
        found[k] = Outcome(
            checks[k].kind, checks[k].name, VERDICTS[1], numbers[k],
            float(before[0, k]), float(after[0, k]), difference,
            (difference - half, difference + half),
            float(stats.t.cdf(difference / error, freedom)),
            float((critical + stats.t.ppf(POWER, freedom)) * error),
        )  # fmt: skip
    adjusted = dict(zip(found, holm([one.p or 0.0 for one in found.values()]), strict=True))
    outcomes = []
    for k, check in enumerate(checks):
        if k not in found:
            outcomes.append(Outcome(check.kind, check.name, VERDICTS[3], numbers[k]))
            continue
        one, p = found[k], adjusted[k]
        verdict = VERDICTS[0 if p <= LEVEL else 1 if excluded[k] else 2]
        outcomes.append(dataclasses.replace(one, verdict=verdict, p=p))
    return outcomes


def _sizes(
    trainings: Sequence[np.ndarray], checks: Sequence[Check]
) -> tuple[list[int], list[float]]:
    """Number of images of each check that have its score, and its effective sample size."""
    effective = metrics.effective_images(trainings[-1])
    shown = (trainings[-1].sum(-1) > 0).sum(0)
    known = np.all([~np.isnan(metrics.foreground_iou(counts)) for counts in trainings], axis=0)
    numbers = [
        int((check.inside & known).sum()) if check.column is None else int(shown[check.column])
        for check in checks
    ]
    return numbers, [
        float(number if check.column is None else effective[check.column])
        for check, number in zip(checks, numbers, strict=True)
    ]


def holm(p: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm 1979)."""
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(np.argsort(p, kind='stable').tolist()):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted
