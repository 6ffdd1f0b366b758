"""What two networks represent: agreement of layers and of neighborhoods, separation of groups."""

from collections.abc import Mapping

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_samples
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analysis.compare.schema import Interval, Layer, Neighbors, Separation
from analysis.embeddings.features import stream_features
from analysis.similar.neighbors import neighbors
from analysis.stage.run import Analysis
from analysis.stats import bootstrap
from segmentation import metrics
from segmentation.activations import LAYERS, find_layers

METHODS = 'linear probe', 'neighbors', 'silhouette'  # of `Separation`
K = 10
FEWEST = 10  # images of a group
NUM_RESAMPLES = 1000
_LAYER_IMAGES = 2000  # maximum number for layers, which bounds memory and time


def _with_interval(values: np.ndarray) -> tuple[float, Interval]:
    """The first value, and the 95 % interval of the others, its bootstrap resamples."""
    low, high = metrics.percentile_interval(values[1:]).tolist()
    return float(values[0]), (low, high)


def debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear centered kernel alignment of `[N, F]` and `[N, G]`, N >= 4, with unbiased HSIC.

    Kornblith et al. 2019 with Song et al. 2012, equation 5. The plain estimate is biased upward if
    there are many features compared with images; this one is not. At most about 1; NaN if one of
    them is constant.
    """
    grams = []
    for features in (x, y):
        centered = features.astype(np.float64) - features.mean(0, dtype=np.float64)
        gram = centered @ centered.T
        np.fill_diagonal(gram, 0)
        grams.append(gram)
    own = [_hsic(gram, gram) for gram in grams]
    if min(own) <= 0:
        return float('nan')
    return float(_hsic(grams[0], grams[1]) / np.sqrt(own[0] * own[1]))


def _hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741, the paper's names
    """Unbiased up to a factor that cancels; the diagonals are 0."""
    n = len(k)
    rows_k, rows_l = k.sum(0), l.sum(0)
    return (
        (k * l).sum()
        + rows_k.sum() * rows_l.sum() / ((n - 1) * (n - 2))
        - 2 * (rows_k @ rows_l) / (n - 2)
    )


def neighbor_overlap(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of each image's `K` nearest images that are the same in both spaces, float64 `[N]`."""
    near = [neighbors(points, K)[0] for points in (x, y)]
    same = (near[0][:, :, None] == near[1][:, None, :]).sum((1, 2))
    return same / near[0].shape[1]


def compare_neighbors(x: np.ndarray, y: np.ndarray) -> Neighbors:
    """Agreement of two embeddings of the same images, `[N, D]` each."""
    overlap, k = neighbor_overlap(x, y), min(K, len(x) - 1)
    share, jaccard = (
        _with_interval(np.append(each.mean(), bootstrap.bootstrap_means(each, NUM_RESAMPLES)))
        for each in (overlap, overlap / (2 - overlap))
    )
    return Neighbors(k, *share, *jaccard, chance=k / (len(x) - 1))


def auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of weighted sets of images, float64 `[R]`; equal scores count half.

    Scores `[N]` are high for `positive` images, bool `[N]`. Weights are `[R, N]`. NaN where a set
    lacks positive or negative images.
    """
    _, place = np.unique(scores, return_inverse=True)
    areas = np.full(len(weights), np.nan)
    for row, weight in enumerate(weights):
        yes = np.bincount(place[positive], weight[positive], place.max() + 1)
        no = np.bincount(place[~positive], weight[~positive], place.max() + 1)
        pairs = yes.sum() * no.sum()
        if pairs:
            areas[row] = (yes * (no.cumsum() - no / 2)).sum() / pairs
    return areas


def separation(
    points: Mapping[str, np.ndarray], second: np.ndarray, target: str, space: str
) -> list[Separation]:
    """How well two groups of images separate in the spaces of two networks.

    `points` are those of 'this' and 'other', `[n, D]` each, for the same images. `second`, bool
    `[n]`, marks the second group. Each group has at least `FEWEST` images. `target` and `space` are
    those of `Separation`.
    """
    weights = np.vstack(
        [np.ones(len(second)), bootstrap.bootstrap_weights(len(second), NUM_RESAMPLES)]
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    rng = np.random.default_rng(0)
    # The silhouette needs all pairs of some images: of both groups, also if one is small.
    order = rng.permutation(len(second))
    rare = second if 2 * second.sum() <= len(second) else ~second
    few = order[rare[order]][: _LAYER_IMAGES // 2]
    some = np.concatenate([few, order[~rare[order]][: _LAYER_IMAGES - len(few)]])
    counted = np.isin(np.arange(len(second)), some)

    def measure(here: np.ndarray) -> list[np.ndarray]:
        probe = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.01, class_weight='balanced', max_iter=1000)
        )
        scores = cross_val_predict(probe, here, second, cv=folds, method='decision_function')
        near = second[neighbors(here, K)[0]].mean(1)
        silhouettes = np.zeros(len(second))
        silhouettes[some] = silhouette_samples(here[some], second[some])
        means = []
        for group in (counted & second, counted & ~second):
            total = weights[:, group].sum(1)
            means.append(weights[:, group] @ silhouettes[group] / np.where(total, total, np.nan))
        areas = [auroc(values, second, weights) for values in (scores, near)]
        return [*areas, np.mean(means, axis=0)]

    sizes, rows = (int((~second).sum()), int(second.sum())), []
    measured = (measure(points[name]) for name in ('this', 'other'))
    for method, this, other in zip(METHODS, *measured, strict=True):
        rows.append(
            Separation(
                target, space, method, *sizes,
                *_with_interval(this), *_with_interval(other), *_with_interval(other - this),
            )
        )  # fmt: skip
    return rows


def layer_features(
    both: Mapping[str, Analysis], rows: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
    """Pooled activations of all layers that both networks have, 'this' and 'other'.

    `rows` are those of the common images in each run, int64 `[N]`. Of more than `_LAYER_IMAGES`,
    some are chosen at random.

    Returns:
      Which of the common images, `[n]`, and 'this' and 'other': layer → float32 `[n, F]`.
    """
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(len(rows['this']))[:_LAYER_IMAGES])
    layers = {name: find_layers(analysis.run, LAYERS) for name, analysis in both.items()}
    common = [layer for layer in layers['this'] if layer in layers['other']]
    features = {}
    for name, analysis in both.items():
        title, some = f'activations of {name} run', rows[name][chosen]
        blocks = np.concatenate(list(stream_features(analysis, common, title, some)))
        ends = np.cumsum([layers[name][layer] for layer in common])
        features[name] = dict(zip(common, np.split(blocks, ends[:-1], axis=1), strict=True))
    return chosen, features


def standardized(features: np.ndarray) -> np.ndarray:
    """Features `[N, F]` with mean 0 and standard deviation 1 over images; constant ones are 0."""
    return (features - features.mean(0)) / np.maximum(features.std(0), 1e-6)


def compare_layers(features: Mapping[str, Mapping[str, np.ndarray]]) -> tuple[Layer, ...]:
    """Agreement of each layer, from `layer_features`."""
    rows = []
    for layer, x in features['this'].items():
        y = features['other'][layer]
        cka = debiased_cka(x, y)
        overlap = neighbor_overlap(standardized(x), standardized(y))
        rows.append(Layer(layer, None if np.isnan(cka) else cka, float(overlap.mean())))
    return tuple(rows)
