"""Statistics of a reproduction: scores beside the published ones, claims and a learning curve."""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from analysis.experiments import statistics
from analysis.stats import bootstrap
from segmentation import metrics
from segmentation.campaign import Scored

# Published mean IoU; the text does not say whether over the set or per image.
PUBLISHED = {
    'person_car': {'person': 0.309, 'car': 0.262},
    'vehicle': {'person': 0.319, 'vehicle': 0.312},
    # The same tasks with another recipe.
    'person_car_best': {'person': 0.309, 'car': 0.262},
    'vehicle_best': {'person': 0.319, 'vehicle': 0.312},
}
PUBLISHED_IMAGES = 6000
METRIC_NAMES = {'iou': 'over the set', 'image_iou': 'per image'}
# Each claims that the second of two models scores higher in a column of `statistics.Scores`.
CLAIMS = {
    'vehicle is easier than car': ('person_car', 'vehicle', 2),
    'person improves when vehicles are merged': ('person_car', 'vehicle', 1),
    'person/car: the best recipe is better': ('person_car', 'person_car_best', 3),
    'person/vehicle: the best recipe is better': ('vehicle', 'vehicle_best', 3),
}
MEAN = 'foreground mean'
# What else is counted against an experiment's own true classes, and how the scores are called.
ALSO = {
    'full': 'all images, at their own resolution',
    'mirrored': 'all images, averaged with the mirrored image',
}


@dataclasses.dataclass(frozen=True)
class ClassScore:
    """IoU of a class or the foreground mean, with 95 % confidence intervals; None: undefined."""

    score: float | None  # mean over seeds
    over_images: list[float | None]  # see `statistics.Intervals`, as all intervals
    over_seeds: list[float | None]
    over_both: list[float | None]
    over_both_shared: list[float | None]
    per_seed: list[float | None]
    images_with_class: int | None  # None for the mean
    effective_images: float | None  # effective sample size; None for the mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClaimTest(statistics.PairedTest):
    """A test of a claim, on one metric."""

    targets: tuple[str, str]  # the experiments that define the true classes of either model
    identical_pixels: bool  # whether they are the same
    true_classes: tuple[str, ...]  # of the first, without background
    metric: str
    first: float | None  # scores of the models
    second: float | None


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim that the second of two models scores higher, and its tests."""

    claim: str
    models: tuple[str, str]
    score: str  # name of the class, that of the second model, or `MEAN`
    published_difference: float | None
    verdict: str  # see `statistics.claim_verdict`
    tests: list[ClaimTest]


@dataclasses.dataclass(frozen=True)
class CurveRow:
    """The learning curve of a class: scores at K numbers of training images."""

    experiment: str
    images: str  # set of images
    class_name: str
    metric: str
    fractions: list[float]
    sizes: list[float]  # training images
    seeds: list[int]  # their number
    scores: list[float | None]
    intervals: list[list[float | None]]
    prediction: statistics.Prediction  # at `PUBLISHED_IMAGES`


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """All statistics of a reproduction."""

    # By experiment, set of images, metric and class.
    scores: dict[str, dict[str, dict[str, dict[str, ClassScore]]]]
    claims: list[Claim]
    learning_curve: list[CurveRow]  # empty with one fraction
    published: dict[str, dict[str, float]]  # by experiment and class
    absent_class_rule: str


def image_sets(targets: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sets of images to report scores for, bool `[N]` each: all, and those with every class.

    The published selection is images with a person and a car. Here an image counts if each class
    has pixels at the network's resolution. The second set is left out if it is empty or has all
    images.

    Args:
      targets: counts `[S, N, C, C]` by target; the first one defines "every class".
    """
    first = next(iter(targets.values()))[0]
    every_class = (first.sum(-1)[:, 1:] > 0).all(-1)
    result = {'all images': np.ones(len(first), np.bool_)}
    if every_class.any() and not every_class.all():
        result['images with every class'] = every_class
    return result


def analyze(
    scored: dict[tuple[str, float], Scored],
    class_names: dict[str, Sequence[str]],
    pairs: Iterable[tuple[str, str]] = (),
    num_resamples: int = 2000,
) -> Reproduction:
    """Computes all statistics of a reproduction.

    Args:
      scored: by experiment and fraction. All have the same images, and all experiments of a
        fraction have the same seeds. Fraction 1 is required.
      class_names: by experiment, background first.
      pairs: also tests whether the second of two experiments scores higher than the first, unless
        one of `CLAIMS` already says so of the second.
      num_resamples: bootstrap resamples.
    """
    experiments = [experiment for experiment, fraction in scored if fraction == 1]
    sets = image_sets(scored[experiments[0], 1].targets)
    scores: dict[str, dict[str, Any]] = {experiment: {} for experiment in experiments}
    for name, chosen in sets.items():
        weights = bootstrap.bootstrap_weights(int(chosen.sum()), num_resamples)
        for experiment in experiments:
            part = scored[experiment, 1]
            counts, folds = part.targets[experiment][:, chosen], part.fold[chosen]
            scores[experiment][name] = _scores(counts, folds, weights, class_names[experiment])
    weights = bootstrap.bootstrap_weights(len(scored[experiments[0], 1].fold), num_resamples)
    for experiment in experiments:
        part = scored[experiment, 1]
        for key, name in ALSO.items():
            if key in part.targets:
                counts = part.targets[key]
                scores[experiment][name] = _scores(
                    counts, part.fold, weights, class_names[experiment]
                )
    return Reproduction(
        scores,
        _claims(scored, class_names, pairs, num_resamples),
        _learning_curve(scored, class_names, sets, num_resamples),
        {experiment: PUBLISHED.get(experiment, {}) for experiment in experiments},
        metrics.ABSENT_CLASS_RULE,
    )


def _scores(
    counts: np.ndarray, folds: np.ndarray, weights: np.ndarray, class_names: Sequence[str]
) -> dict[str, dict[str, ClassScore]]:
    effective = metrics.effective_images(counts[0])
    with_class = (counts[0].sum(-1) > 0).sum(0)
    result: dict[str, dict[str, ClassScore]] = {}
    for metric, scores in statistics.seed_scores(counts, folds, weights).items():
        parts = vars(statistics.intervals(scores))
        result[metric] = {}
        for column, name in enumerate((*class_names[1:], MEAN), 1):
            is_class = column < len(class_names)
            result[metric][name] = ClassScore(
                **{key: _plain(part[column]) for key, part in parts.items()},
                per_seed=_plain(scores.values[:, column]),
                images_with_class=int(with_class[column]) if is_class else None,
                effective_images=float(effective[column]) if is_class else None,
            )
    return result


def _claims(
    scored: dict[tuple[str, float], Scored],
    class_names: dict[str, Sequence[str]],
    pairs: Iterable[tuple[str, str]],
    num_resamples: int,
) -> list[Claim]:
    """Tests the claims about experiments that are complete."""
    folds = next(iter(scored.values())).fold
    weights = bootstrap.bootstrap_weights(len(folds), num_resamples)

    @functools.cache
    def scores_of(model: str, target: str) -> dict[str, statistics.Scores]:
        return statistics.seed_scores(scored[model, 1].targets[target], folds, weights)

    claims = [(text, *claim) for text, claim in CLAIMS.items()]
    claims = [claim for claim in claims if all((model, 1) in scored for model in claim[1:3])]
    named = {second for _, _, second, _ in claims}
    for first, second in pairs:
        if second not in named:
            for column, name in enumerate((*class_names[first][1:], MEAN), 1):
                text = f'{second} scores higher than {first} in {name}'
                claims.append((text, first, second, column))
    result = []
    for text, first, second, column in claims:
        counts = scored[first, 1].targets
        truths = {target: counts[target][0].sum(-1) for target in (first, second)}
        same_names = tuple(class_names[first]) == tuple(class_names[second])
        same_task = same_names and np.array_equal(truths[first], truths[second])
        targets = [(first, second), (first, first), (second, second)]
        if same_task:
            targets = [(first, first)]
        tests = []
        for a_target, b_target in targets:
            there = (truths[a_target] > 0).sum(0)
            effective = metrics.effective_images(counts[a_target][0])
            if column == len(there):
                effective, there = (
                    np.append(part, metrics.of_rarest(part)) for part in (effective, there)
                )
            for metric, matter in (('iou', effective), ('image_iou', there)):
                a, b = scores_of(first, a_target)[metric], scores_of(second, b_target)[metric]
                test = statistics.paired_test(b - a, column, float(matter[column]))
                tests.append(
                    ClaimTest(
                        **vars(test),
                        targets=(a_target, b_target),
                        identical_pixels=a_target == b_target,
                        true_classes=tuple(class_names[a_target][1:]),
                        metric=metric,
                        first=_plain(a.values[:, column].mean()),
                        second=_plain(b.values[:, column].mean()),
                    )
                )
        published = None
        if not same_task and {first, second} <= PUBLISHED.keys():
            values = [list(PUBLISHED[model].values())[column - 1] for model in (first, second)]
            published = round(values[1] - values[0], 3)
        verdict = statistics.claim_verdict([test for test in tests if test.identical_pixels])
        score = (*class_names[second][1:], MEAN)[column - 1]
        result.append(Claim(text, (first, second), score, published, verdict, tests))
    return result


def _learning_curve(
    scored: dict[tuple[str, float], Scored],
    class_names: dict[str, Sequence[str]],
    sets: dict[str, np.ndarray],
    num_resamples: int,
) -> list[CurveRow]:
    fractions = sorted({fraction for _, fraction in scored})
    rows: list[CurveRow] = []
    if len(fractions) < 2:
        return rows
    for set_name, chosen in sets.items():
        weights = bootstrap.bootstrap_weights(int(chosen.sum()), num_resamples)
        for experiment in dict.fromkeys(experiment for experiment, _ in scored):
            known = [fraction for fraction in fractions if (experiment, fraction) in scored]
            parts = [scored[experiment, fraction] for fraction in known]
            sizes = np.array([part.num_train for part in parts], np.float64)
            scores = [
                statistics.seed_scores(
                    part.targets[experiment][:, chosen], part.fold[chosen], weights
                )
                for part in parts
            ]
            names = (*class_names[experiment], MEAN)
            for metric in METRIC_NAMES:
                noisy = [
                    # Training runs at different sizes are independent of each other.
                    score[metric].with_training_noise(seed=number)
                    for number, score in enumerate(scores)
                ]
                for column in range(1, len(names)):
                    means = np.array([score[metric].values[:, column].mean() for score in scores])
                    resampled = np.stack([part[:, column] for part in noisy], -1)
                    rows.append(
                        CurveRow(
                            experiment, set_name, names[column], metric, known, sizes.tolist(),
                            [len(score[metric].values) for score in scores],
                            _plain(means),
                            _plain(metrics.percentile_interval(resampled).clip(0, 1)),
                            statistics.extrapolate(sizes, means, resampled, PUBLISHED_IMAGES),
                        )
                    )  # fmt: skip
    return rows


def _plain(values: Any) -> Any:
    """For JSON: numbers and lists of them, None for NaN."""
    numbers = np.asarray(values, np.float64)
    return np.where(np.isnan(numbers), np.array(None), numbers).tolist()
