"""Statistics of repeated experiments: confidence intervals, paired tests and learning curves.

Scores are computed from confusion matrices `[S, N, C, C]`: S seeds, N images, C classes. Each image
is scored once per seed; all images of a fold are scored by the same training. Scores vary with the
images and with the training runs. The bootstrap resamples images, the same ones for all seeds and
for both models of a comparison, and averages the score over seeds. The variance due to training
runs is measured by replacing one fold's training by that of another seed. It enters as Student's t,
because two or three seeds are too few to resample. With one seed it is unknown, and confidence
intervals do not cover other training runs. They never cover other training images: all training
runs of a fold share these.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from segmentation import metrics

# Candidate exponents of the power law.
_EXPONENTS = np.geomspace(0.05, 3, 120)
VERDICTS = ('supported', 'contradicted', 'not resolvable with this data')


def score(confusions: np.ndarray, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Scores of one seed.

    Args:
      confusions: `[N, C, C]` pixel counts.
      weights: `[R, N]` from `bootstrap_weights`; default: every image once.

    Returns:
      'iou' (over the set) and 'image_iou' (mean over images, see `metrics.ABSENT_CLASS_RULE`):
      float64 `[R, C + 1]`; the last column is the mean over the foreground classes.
    """
    weights = np.ones((1, len(confusions))) if weights is None else weights
    scores = metrics.weighted_scores(confusions, weights)
    means = {'iou': 'mean_iou_foreground', 'image_iou': 'mean_image_iou'}
    return {key: np.column_stack([scores[key], scores[mean]]) for key, mean in means.items()}


@dataclasses.dataclass(frozen=True)
class Scores:
    """One metric for K columns: classes and their mean. Subtracting gives paired differences."""

    values: np.ndarray  # `[S, K]`, each seed on all images
    exchanged: np.ndarray  # `[F, S, K]`, with the training of one fold replaced by that of one seed
    resampled: np.ndarray  # `[R, K]`, means over seeds on resampled images

    def __sub__(self, other: 'Scores') -> 'Scores':
        return Scores(
            self.values - other.values,
            self.exchanged - other.exchanged,
            self.resampled - other.resampled,
        )

    def training_error(self, shared: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Standard error of the mean over seeds due to training runs, and degrees of freedom.

        Without folds the error is s / √S. The variance of a sum of folds whose training runs have
        the correlation r is (1 - r) Σ s_f² + r (Σ s_f)²; its degrees of freedom follow
        Satterthwaite (1946), with variances that have the correlation r². `[K]` each, NaN with one
        seed.

        Args:
          shared: r, in [0, 1]: 0 if each fold's training has its own seed, 1 if everything that
            makes one training run better than another is common to the folds of a seed.
        """
        num_seeds = self.exchanged.shape[1]
        if num_seeds < 2:
            return (np.full(self.values.shape[1], np.nan),) * 2
        errors = self.exchanged.std(axis=1, ddof=1) / math.sqrt(num_seeds)  # [F, K]
        # How much each fold adds to the variance.
        parts = (1 - shared) * errors**2 + shared * errors * errors.sum(0)
        total = parts.sum(0)
        spread = (1 - shared**2) * np.square(parts).sum(0) + shared**2 * total**2
        freedom = np.full_like(total, num_seeds - 1)
        np.divide((num_seeds - 1) * total**2, spread, out=freedom, where=spread > 0)
        return np.sqrt(total), freedom

    def with_training_noise(self, seed: int = 0, shared: float = 0.0) -> np.ndarray:
        """`resampled` plus noise of the training runs, `[R, K]`; without noise for one seed."""
        error, freedom = self.training_error(shared)
        if np.isnan(freedom).any():
            return self.resampled
        rng = np.random.default_rng(seed)
        return self.resampled + error * rng.standard_t(freedom, self.resampled.shape)


def seed_scores(
    confusions: np.ndarray, folds: np.ndarray, weights: np.ndarray
) -> dict[str, Scores]:
    """Scores of repeated training runs by metric.

    Args:
      confusions: `[S, N, C, C]` pixel counts.
      folds: `[N]` integers, the fold of each image; all 0 without folds.
      weights: `[R, N]` from `bootstrap_weights`.

    Returns:
      'iou' and 'image_iou', columns as in `score`.
    """
    num_seeds = len(confusions)
    own = [score(seed) for seed in confusions]
    resampled = [score(seed, weights) for seed in confusions]
    exchanged: dict[str, list] = {key: [] for key in own[0]}
    for fold in np.unique(folds):
        here = (folds == fold)[:, None, None]
        # The other folds' training runs are each seed's in turn.
        mixed = [
            [score(np.where(here, seed, other)) for other in confusions] for seed in confusions
        ]
        for key, rows in exchanged.items():
            rows.append(
                [np.mean([part[key][0] for part in mixed[seed]], 0) for seed in range(num_seeds)]
            )
    return {
        key: Scores(
            np.concatenate([part[key] for part in own]),
            np.array(exchanged[key]),
            np.mean([part[key] for part in resampled], axis=0),
        )
        for key in own[0]
    }


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Mean over seeds, 95 % confidence intervals in [0, 1]; NaN where a score does not exist."""

    score: np.ndarray  # `[K]`
    over_images: np.ndarray  # `[K, 2]`, percentile bootstrap with the training runs fixed
    over_seeds: np.ndarray  # `[K, 2]`, Student's t with the images fixed; NaN with one seed
    over_both: np.ndarray  # `[K, 2]`
    # `[K, 2]`, wider: also valid if everything that makes one training run better than another is
    # common to the folds of a seed. Equal to `over_both` without folds.
    over_both_shared: np.ndarray


def intervals(scores: Scores) -> Intervals:
    """Means over seeds with confidence intervals over images, seeds and both."""
    from scipy import stats  # here, because it takes long to import

    mean = scores.values.mean(axis=0)
    error, freedom = scores.training_error()
    half = stats.t.ppf(0.975, freedom) * error
    return Intervals(
        mean,
        metrics.percentile_interval(scores.resampled),
        np.stack([mean - half, mean + half], -1).clip(0, 1),
        metrics.percentile_interval(scores.with_training_noise()).clip(0, 1),
        metrics.percentile_interval(scores.with_training_noise(shared=1.0)).clip(0, 1),
    )


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """Test of a paired difference; everything but the verdict is None if it does not exist."""

    verdict: str  # on the claim that the difference is positive, one of `VERDICTS`
    difference: float | None = None  # mean over seeds
    interval: list[float] | None = None  # its 95 % confidence interval
    p: float | None = None  # two-sided
    # The true difference that this test finds with 80 % power at the 5 % level.
    minimum_detectable: float | None = None


def paired_test(differences: Scores, column: int, num_images: float) -> PairedTest:
    """Tests whether a paired difference is zero (Welch-Satterthwaite t test).

    The variance is that of the bootstrap over images plus that of the training runs. With one seed
    the verdict is always "not resolvable".

    Args:
      differences: scores of the second model minus scores of the first.
      column: class to test, or the mean.
      num_images: number of images with this class, or the effective sample size if a few images
        hold most of its pixels.
    """
    difference = float(differences.values[:, column].mean())
    resampled = differences.resampled[:, column]
    resampled = resampled[~np.isnan(resampled)]
    if math.isnan(difference) or len(resampled) < 2:
        return PairedTest(VERDICTS[2])
    from scipy import stats  # as above

    training_error, training_freedom = (part[column] for part in differences.training_error())
    one_seed = math.isnan(training_freedom)
    parts = [(float(resampled.var(ddof=1)), max(num_images - 1, 1))]
    if not one_seed:
        parts.append((float(training_error**2), float(training_freedom)))
    variance = sum(part for part, _ in parts)
    if variance == 0:  # Both models agree in every counted pixel.
        return PairedTest(VERDICTS[2], difference)
    error = math.sqrt(variance)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    critical = stats.t.ppf(0.975, freedom)
    p = float(2 * stats.t.sf(abs(difference) / error, freedom))
    decided = p < 0.05 and not one_seed
    return PairedTest(
        VERDICTS[0 if difference > 0 else 1] if decided else VERDICTS[2],
        difference,
        [float(difference + sign * critical * error) for sign in (-1, 1)],
        p,
        float((critical + stats.t.ppf(0.8, freedom)) * error),
    )


def claim_verdict(tests: Sequence[PairedTest]) -> str:
    """Verdict on a claim that specifies neither the metric nor the true classes.

    The claim is supported if every test supports it. It is contradicted if one test contradicts it
    at 5 % divided by the number of tests (Bonferroni).
    """
    if all(test.verdict == VERDICTS[0] for test in tests):
        return VERDICTS[0]
    level = 0.05 / len(tests)
    if any(test.verdict == VERDICTS[1] and (test.p or 0) < level for test in tests):
        return VERDICTS[1]
    return VERDICTS[2]


class PowerLaw(NamedTuple):
    """score(n) = ceiling - gain · (n / n_max)^-exponent, R laws: `[R]` each."""

    ceiling: np.ndarray
    gain: np.ndarray
    exponent: np.ndarray


def fit_power_law(sizes: np.ndarray, scores: np.ndarray) -> PowerLaw:
    """Least-squares fit of a power law with an irreducible error (Hestness et al. 2017).

    The ceiling is at most 1, the gain at least 0 and the exponent in [0.05, 3].

    Args:
      sizes: `[K]` training-set sizes; n_max is the largest.
      scores: `[R, K]`.
    """
    x = (sizes / sizes.max()) ** -_EXPONENTS[:, None]  # [E, K]
    centered = x - x.mean(1, keepdims=True)
    gain = (-(scores @ centered.T) / np.square(centered).sum(1)).clip(0)  # [R, E]
    ceiling = scores.mean(1)[:, None] + gain * x.mean(1)
    # If the ceiling exceeds 1, fit the gain again with a ceiling of 1.
    gain = np.where(ceiling > 1, ((1 - scores) @ x.T / np.square(x).sum(1)).clip(0), gain)
    ceiling = np.minimum(ceiling, 1)
    residuals = scores[:, None] - ceiling[..., None] + gain[..., None] * x
    best = np.arange(len(scores)), np.square(residuals).sum(-1).argmin(1)
    return PowerLaw(ceiling[best], gain[best], _EXPONENTS[best[1]])


def power_law(law: PowerLaw, sizes: np.ndarray, n_max: float) -> np.ndarray:
    """Scores `[R, K]` of R laws at K sizes."""
    ceiling, gain, exponent = (part[:, None] for part in law)
    return ceiling - gain * (sizes / n_max) ** -exponent


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Predicted score at another training-set size; None where no curve can be fitted."""

    size: float  # number of training images
    not_identifiable: list[str]  # reasons not to trust the fit; empty if there are none
    score: float | None = None  # predicted score
    interval: list[float] | None = None  # its 95 % confidence interval
    exponent: float | None = None  # of the power law
    exponent_interval: list[float] | None = None  # its 95 % confidence interval


def extrapolate(
    sizes: np.ndarray, scores: np.ndarray, resampled: np.ndarray, target: float
) -> Prediction:
    """Predicts the score at another training-set size by a power law.

    Args:
      sizes: `[K]` training-set sizes, rising.
      scores: `[K]`.
      resampled: `[R, K]`, scores resampled over images and seeds.
      target: training-set size.
    """
    if len(sizes) < 4:
        reason = f'{len(sizes)} training-set sizes cannot test a law with three parameters'
        return Prediction(target, [reason])
    resampled = resampled[~np.isnan(resampled).any(-1)]
    if np.isnan(scores).any() or not len(resampled):
        return Prediction(target, ['the class has no score at one of the sizes'])
    law, laws = fit_power_law(sizes, scores[None]), fit_power_law(sizes, resampled)
    where = np.array([float(target)])
    exponents = np.percentile(laws.exponent, [2.5, 97.5])
    doubts = []
    if np.percentile(resampled[:, -1] - resampled[:, 0], 2.5) <= 0:
        doubts.append('no growth with the training set is resolved')
    if exponents[0] <= _EXPONENTS[2] and exponents[1] >= _EXPONENTS[-3]:
        doubts.append('exponent not identifiable')
    predicted = metrics.percentile_interval(power_law(laws, where, sizes[-1])[:, 0])
    return Prediction(
        target,
        doubts,
        float(power_law(law, where, sizes[-1])[0, 0]),
        predicted.clip(0, 1).tolist(),
        float(law.exponent[0]),
        exponents.tolist(),
    )
