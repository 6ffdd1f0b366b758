"""Statistics of repeated experiments: intervals, paired differences and learning curves.

Scores come from `[S, N, C, C]` counts: N images, each scored once per seed, one confusion matrix
each; the images of a fold were scored by the same training. Two things vary: which images were
scored, and how a training happens to go. Images are resampled, the same ones for all seeds (and for
both models of a comparison), and the score is averaged over the seeds. What the trainings add is
measured by exchanging one fold's training for that of another seed, which leaves the images as they
are; it enters as Student's t, as two or three seeds are too few to resample. With one seed it is
unknown, and an interval says nothing about other trainings.
"""

import dataclasses
import math

import numpy as np
from scipy import stats

from segmentation import metrics

# Exponents of the power law that are tried.
_EXPONENTS = np.geomspace(0.05, 3, 120)
VERDICTS = ('supported', 'contradicted', 'not resolvable with this data')


def score(confusions: np.ndarray, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Scores of one seed.

    Args:
      confusions: `[N, C, C]` counts.
      weights: `[R, N]` of `bootstrap_weights`; default all images once.

    Returns:
      'iou' (over the set) and 'image_iou' (mean over images, see `metrics.ABSENT_CLASS_RULE`):
      float64 `[R, C + 1]`, the last column being the mean over the foreground classes.
    """
    weights = np.ones((1, len(confusions))) if weights is None else weights
    scores = metrics.weighted_scores(confusions, weights)
    means = {'iou': 'mean_iou_foreground', 'image_iou': 'mean_image_iou'}
    return {key: np.column_stack([scores[key], scores[mean]]) for key, mean in means.items()}


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores of one metric, K of them (classes and their mean); differences of two are paired."""

    values: np.ndarray  # [S, K], of each seed on all images
    exchanged: np.ndarray  # [F, S, K], with one fold's training replaced by that of one seed
    resampled: np.ndarray  # [R, K], mean over seeds on resampled images

    def __sub__(self, other: 'Scores') -> 'Scores':
        return Scores(
            self.values - other.values,
            self.exchanged - other.exchanged,
            self.resampled - other.resampled,
        )

    def training_error(self) -> tuple[np.ndarray, np.ndarray]:
        """Standard error of the mean over seeds due to the trainings, and degrees of freedom.

        The folds' trainings are independent, so their variances add up (Satterthwaite 1946 for the
        degrees of freedom); without folds it is s / √S. `[K]` each, NaN with one seed.
        """
        num_seeds = self.exchanged.shape[1]
        if num_seeds < 2:
            return (np.full(self.values.shape[1], np.nan),) * 2
        parts = self.exchanged.var(axis=1, ddof=1) / num_seeds
        total, squares = parts.sum(0), np.square(parts).sum(0)
        freedom = np.full_like(total, num_seeds - 1)
        np.divide((num_seeds - 1) * total**2, squares, out=freedom, where=squares > 0)
        return np.sqrt(total), freedom

    def with_training_noise(self, seed: int = 0) -> np.ndarray:
        """`resampled` plus draws for what the trainings add, `[R, K]`; as it is with one seed."""
        error, freedom = self.training_error()
        if np.isnan(freedom).any():
            return self.resampled
        rng = np.random.default_rng(seed)
        return self.resampled + error * rng.standard_t(freedom, self.resampled.shape)


def seed_scores(
    confusions: np.ndarray, folds: np.ndarray, weights: np.ndarray
) -> dict[str, Scores]:
    """Scores of repeated trainings by metric.

    Args:
      confusions: `[S, N, C, C]` counts.
      folds: `[N]` integers, the fold of each image; all 0 without folds.
      weights: `[R, N]` of `bootstrap_weights`.

    Returns:
      'iou' and 'image_iou', columns as in `score`.
    """
    num_seeds = len(confusions)
    own = [score(seed) for seed in confusions]
    resampled = [score(seed, weights) for seed in confusions]
    exchanged = {key: [] for key in own[0]}
    for fold in np.unique(folds):
        here = (folds == fold)[:, None, None]
        # The other folds' trainings are each seed's in turn.
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


def intervals(scores: Scores) -> dict[str, np.ndarray]:
    """A mean over seeds with its 95 % intervals, within [0, 1].

    Returns:
      `score` `[K]`; `over_images` `[K, 2]`, percentile bootstrap with the trainings as they are;
      `over_seeds` `[K, 2]`, Student's t with the images as they are (NaN with one seed); and
      `over_both` `[K, 2]`. NaN where a score does not exist.
    """
    mean = scores.values.mean(axis=0)
    error, freedom = scores.training_error()
    half = stats.t.ppf(0.975, freedom) * error
    return {
        'score': mean,
        'over_images': metrics.percentile_interval(scores.resampled),
        'over_seeds': np.stack([mean - half, mean + half], -1).clip(0, 1),
        'over_both': metrics.percentile_interval(scores.with_training_noise()).clip(0, 1),
    }


def paired_test(differences: Scores, column: int, num_images: float) -> dict:
    """Tests whether a paired difference is zero (Welch-Satterthwaite t test).

    The variance is the bootstrap's over images plus that of the trainings.

    Args:
      differences: of the two models' scores.
      column: which of them.
      num_images: images that matter (the effective number where some hold most pixels).

    Returns:
      `difference`, `interval` (95 %), `p` (two-sided), `minimum_detectable`: the smallest true
      difference that such a test at 5 % would find in 80 % of repetitions, `verdict` on the claim
      that the difference is positive (with one seed it is never decided). All None but the verdict
      if the difference does not exist.
    """
    difference = float(differences.values[:, column].mean())
    resampled = differences.resampled[:, column]
    resampled = resampled[~np.isnan(resampled)]
    result = dict.fromkeys(('difference', 'interval', 'p', 'minimum_detectable'))
    if math.isnan(difference) or len(resampled) < 2:
        return {**result, 'verdict': VERDICTS[2]}
    training_error, training_freedom = (part[column] for part in differences.training_error())
    one_seed = math.isnan(training_freedom)
    parts = [(float(resampled.var(ddof=1)), max(num_images - 1, 1))]
    if not one_seed:
        parts.append((float(training_error**2), training_freedom))
    variance = sum(part for part, _ in parts)
    if variance == 0:  # the two models agree in every counted pixel
        return {**result, 'difference': difference, 'verdict': VERDICTS[2]}
    error = math.sqrt(variance)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    critical = stats.t.ppf(0.975, freedom)
    p = float(2 * stats.t.sf(abs(difference) / error, freedom))
    decided = p < 0.05 and not one_seed
    return {
        'difference': difference,
        'interval': [float(difference + sign * critical * error) for sign in (-1, 1)],
        'p': p,
        'minimum_detectable': float((critical + stats.t.ppf(0.8, freedom)) * error),
        'verdict': VERDICTS[0 if difference > 0 else 1] if decided else VERDICTS[2],
    }


def claim_verdict(tests: list[dict]) -> str:
    """Verdict on a claim that is made without saying by which metric and on which pixels.

    It is supported if every test supports it, and contradicted if one of them contradicts it at
    5 % divided by their number (Bonferroni); otherwise the data cannot tell.
    """
    if all(test['verdict'] == VERDICTS[0] for test in tests):
        return VERDICTS[0]
    level = 0.05 / len(tests)
    if any(test['verdict'] == VERDICTS[1] and test['p'] < level for test in tests):
        return VERDICTS[1]
    return VERDICTS[2]


def fit_power_law(sizes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, ...]:
    """Least-squares fit of score(n) = ceiling - gain · (n / n_max)^-exponent.

    A power law of the error with an irreducible part (Hestness et al. 2017), with ceiling <= 1,
    gain >= 0 and the exponent in [0.05, 3].

    Args:
      sizes: `[K]` training-set sizes; n_max is the largest.
      scores: `[R, K]`.

    Returns:
      ceiling, gain, exponent: `[R]` each.
    """
    best = None
    for exponent in _EXPONENTS:
        x = (sizes / sizes.max()) ** -exponent
        centred = x - x.mean()
        gain = -(scores @ centred) / (centred @ centred)
        gain = gain.clip(0)
        ceiling = scores.mean(-1) + gain * x.mean()
        # Above 1 the best ceiling is 1, and the gain follows.
        high = ceiling > 1
        gain = np.where(high, ((1 - scores) @ x / (x @ x)).clip(0), gain)
        ceiling = np.where(high, 1.0, ceiling)
        loss = np.square(scores - ceiling[:, None] + gain[:, None] * x).sum(-1)
        if best is None:
            best = [loss, ceiling, gain, np.full(len(scores), exponent)]
        else:
            better = loss < best[0]
            for old, new in zip(best, (loss, ceiling, gain, exponent), strict=True):
                np.copyto(old, new, where=better)
    return tuple(best[1:])


def power_law(law: tuple[np.ndarray, ...], sizes: np.ndarray, n_max: float) -> np.ndarray:
    """Scores `[R, K]` of fitted laws at K sizes."""
    ceiling, gain, exponent = (part[:, None] for part in law)
    return ceiling - gain * (sizes / n_max) ** -exponent


def extrapolate(
    sizes: np.ndarray, scores: np.ndarray, resampled: np.ndarray, target: float
) -> dict:
    """Predicts the score at another training-set size, with the interval of the whole fit.

    Args:
      sizes: `[K]` training-set sizes, rising.
      scores: `[K]`.
      resampled: `[R, K]`, resamples of the scores over images and seeds.
      target: training-set size.

    Returns:
      `size`, `score`, `interval` (95 %), `exponent`, `exponent_interval`, and `not_identifiable`,
      the reasons why the fit should not be believed (empty if there are none); the numbers are None
      where no curve can be fitted.
    """
    result = {'size': target, 'not_identifiable': []}
    numbers = ('score', 'interval', 'exponent', 'exponent_interval')
    if len(sizes) < 4:
        reason = f'{len(sizes)} training-set sizes cannot test a law of three parameters'
        return {**result, **dict.fromkeys(numbers), 'not_identifiable': [reason]}
    resampled = resampled[~np.isnan(resampled).any(-1)]
    if np.isnan(scores).any() or not len(resampled):
        reason = 'the class has no score at one of the sizes'
        return {**result, **dict.fromkeys(numbers), 'not_identifiable': [reason]}
    law, laws = fit_power_law(sizes, scores[None]), fit_power_law(sizes, resampled)
    where = np.array([float(target)])
    predicted = metrics.percentile_interval(power_law(laws, where, sizes[-1])[:, 0])
    exponents = np.percentile(laws[2], [2.5, 97.5])
    growth = np.percentile(resampled[:, -1] - resampled[:, 0], 2.5)
    if growth <= 0:
        result['not_identifiable'].append('no growth with the training set is resolved')
    if exponents[0] <= _EXPONENTS[2] and exponents[1] >= _EXPONENTS[-3]:
        result['not_identifiable'].append('any exponent fits')
    return {
        **result,
        'score': float(power_law(law, where, sizes[-1])[0, 0]),
        'interval': predicted.clip(0, 1).tolist(),
        'exponent': float(law[2][0]),
        'exponent_interval': exponents.tolist(),
    }
