"""Scores how suspicious the label of each region is, from all regions of a set of images.

Models learn from the numbers about a region (probabilities, size, place, shape, and principal
components of its activations) what its label usually is. They are cross-fitted: an image is scored
by models that were fitted to other images. So the usual errors of the network raise no suspicion,
and images that are merely hard do not fill the list.

For missing instances, models separate two kinds of predicted regions: those in which the label of
an instance was removed, and those where nothing is labeled. A region of the second kind that looks
like one of the first is suspicious.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats
from sklearn.base import ClassifierMixin
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from analysis.label_issues.regions import JUDGED, Region

_COMPONENTS, _AROUND = 32, 16  # of the activations in a region and around it
_BLOCK = 4096  # regions whose activations are reduced at once
_STRENGTH = 0.1  # inverse of the regressions' L2 penalty
_FOLDS = 5
_LEAST = 0.2  # score of an issue


@dataclasses.dataclass(frozen=True)
class Issue:
    """A region that may have a label error."""

    region: Region
    kind: str  # one of `schema.KINDS`
    score: float  # 0–1, larger is more suspicious
    suggested: int  # class that the network suggests; the given one for sloppy outlines


def _reduce(vectors: Sequence[np.ndarray], components: int) -> np.ndarray:
    """Principal components of standardized vectors `[F]`, float32 `[n, min(F, components)]`.

    Works block by block: a copy of all vectors would be the largest array in memory.
    """

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(vectors), _BLOCK):
            yield np.array(vectors[start : start + _BLOCK]).astype(np.float64)

    total, products = np.zeros(()), np.zeros(())
    for block in blocks():
        total, products = total + block.sum(0), products + block.T @ block
    mean = total / len(vectors)
    covariance = products / len(vectors) - np.outer(mean, mean)
    deviation = np.sqrt(np.diag(covariance).clip(0)) + 1e-6
    _, basis = np.linalg.eigh(covariance / np.outer(deviation, deviation))
    weights = basis[:, : -components - 1 : -1] / deviation[:, None]
    return np.concatenate([((block - mean) @ weights).astype(np.float32) for block in blocks()])


def linear_model() -> ClassifierMixin:
    """Logistic regression on standardized features."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=_STRENGTH, max_iter=500))


def cross_fit(
    model: ClassifierMixin,
    features: np.ndarray,
    target: np.ndarray,
    image: np.ndarray,
    num_classes: int,
) -> np.ndarray:
    """Probability of each class by a model that was fitted to other images, float64 `[n, C]`.

    The model is fitted again for each fold. Of n regions, features are `[n, F]`, the target (class)
    and the image (its row) int `[n]`.
    """
    result = np.zeros((len(target), num_classes))
    for fold in range(_FOLDS):
        here = image % _FOLDS == fold
        values = np.unique(target[~here])
        if len(values) == 1:
            result[here, values[0]] = 1
        elif here.any() and len(values):
            model.fit(features[~here], target[~here])
            result[np.ix_(here, values)] = model.predict_proba(features[here])
    return result


def judge(regions: list[Region], num_classes: int) -> list[Issue]:
    """Compares the regions of a whole set of images.

    Args:
      regions: of `find_regions`, of all images.
      num_classes: C, background included.

    Returns:
      Issues with a score above 0.2 (outlines: 0.5; ambiguous regions: all), most suspicious first.
      A region may have several. The score is for

      missing instance: the probability that a predicted region like this, in its class, is
        labeled; it is not.
      wrong class: the probability that an instance like this has another foreground class.
      spurious label: the probability that it is background.
      sloppy outline: 1 - the share of outlines that would be as short and as far from edges.
      ambiguous: mean entropy (share of the maximum) times area / (area + 2 % of the image).
    """
    if not regions:
        return []
    # One thread: the arrays are small. Waiting threads of BLAS and OpenMP took half of the
    # processor time, and a hundred times as long on a busy machine.
    with threadpool_limits(1):
        issues = [
            *_wrong_labels(regions, num_classes),
            *_missing_instances(regions, num_classes),
            *_sloppy_outlines(regions, num_classes),
            *_ambiguous(regions),
        ]
    return sorted(issues, key=lambda issue: -issue.score)


def _wrong_labels(regions: list[Region], num_classes: int) -> Iterator[Issue]:
    """Instances whose label is usually another one.

    Regressions are fitted to annotated instances, mirrored ones, and regions predicted elsewhere.
    The last three features are left out: they differ from 0 only in the last kind.
    """
    features = np.array([region.features for region in regions])[:, : 2 * num_classes + 6]
    described = np.hstack([features, _reduce([r.activations for r in regions], _COMPONENTS)])
    sources = 'annotated', 'mirrored', 'unlabeled'
    chosen = np.flatnonzero([region.source in sources for region in regions])
    given = np.array([regions[k].given for k in chosen], np.int64)
    image = np.array([regions[k].image for k in chosen], np.int64)
    labeled = cross_fit(linear_model(), described[chosen], given, image, num_classes)
    for k, probability in zip(chosen, labeled.tolist(), strict=True):
        region = regions[k]
        if region.source != 'annotated' or region.given == 0 or region.area < JUDGED:
            continue
        for suggested, score in enumerate(probability):
            if suggested != region.given and score > _LEAST:
                kind = 'wrong class' if suggested else 'spurious label'
                yield Issue(region, kind, score, suggested)


def _missing_instances(regions: list[Region], num_classes: int) -> Iterator[Issue]:
    """Predicted regions that look as if one labeled instance had been left out, by class.

    Three kinds of models are averaged: trees find interactions that regressions miss, and their
    errors differ.
    """
    beside = [region for region in regions if region.source in ('unlabeled', 'left out')]
    if not beside:
        return
    described = np.hstack(
        [
            np.array([region.features for region in beside]),
            _reduce([region.activations for region in beside], _COMPONENTS),
            _reduce([region.surroundings for region in beside], _AROUND),
        ]
    )
    left_out = np.array([region.source == 'left out' for region in beside], np.int64)
    image = np.array([region.image for region in beside])
    models = (
        linear_model(),
        ExtraTreesClassifier(100, min_samples_leaf=3, random_state=0),
        HistGradientBoostingClassifier(
            max_iter=150, learning_rate=0.06, max_depth=4, random_state=0
        ),
    )
    for value in range(1, num_classes):
        chosen = np.flatnonzero([region.predicted == value for region in beside])
        if not len(chosen):
            continue
        labeled = [
            cross_fit(model, described[chosen], left_out[chosen], image[chosen], 2)[:, 1]
            for model in models
        ]
        for k, score in zip(chosen, np.mean(labeled, 0).tolist(), strict=True):
            if beside[k].source == 'unlabeled' and score > _LEAST:
                yield Issue(beside[k], 'missing instance', score, value)


def _sloppy_outlines(regions: list[Region], num_classes: int) -> Iterator[Issue]:
    """Outlines that are unusually short and far from the edges in the image.

    Length and alignment are regressed on class, size and crowding. Their standardized residuals are
    summed and compared with Student's t with 4 degrees of freedom, because of heavy tails.
    """
    outlined = [region for region in regions if not np.isnan(region.outline).any()]
    if not outlined:
        return
    image = np.array([region.image for region in outlined])
    size = [region.features[2 * num_classes] for region in outlined]
    predictors = np.column_stack([size, [r.given for r in outlined], np.bincount(image)[image]])
    total, folds = np.zeros(len(image)), PredefinedSplit(image % _FOLDS)
    for column in np.array([region.outline for region in outlined]).T:
        if folds.get_n_splits() > 1:
            model = HistGradientBoostingRegressor(max_iter=60, max_depth=3, random_state=0)
            residual = column - cross_val_predict(model, predictors, column, cv=folds)
            total -= residual / max(residual.std(), 1e-9)
    scores = stats.t.cdf(total / np.sqrt(2), 4)
    for region, score in zip(outlined, scores.tolist(), strict=True):
        if score > 0.5:
            yield Issue(region, 'sloppy outline', score, region.given)


def _ambiguous(regions: list[Region]) -> Iterator[Issue]:
    """Wide regions of high entropy."""
    for region in regions:
        if region.source == 'ambiguous':
            score = region.entropy * region.area / (region.area + 0.02)
            yield Issue(region, 'ambiguous', score, region.predicted)
