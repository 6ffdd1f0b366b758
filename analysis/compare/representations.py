"""What two networks represent: agreement of layers and neighbourhoods, separation of two groups."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_samples
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analysis.embeddings.features import LAYERS, stream_features
from analysis.similar.neighbours import neighbours
from analysis.stage.activations import find_layers
from analysis.stage.run import Analysis, restrict
from analysis.stats import bootstrap
from segmentation import metrics

K = 10
FEWEST = 10  # images of a group
_NUM_RESAMPLES = 1000
_LAYER_IMAGES = 2000  # so that neither memory nor time of layers grow with the data


def debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear centred kernel alignment with the unbiased estimator of HSIC.

    Kornblith et al. 2019; the plain estimate is high for any features that are many compared with
    the images, this one is not. Song et al. 2012, equation 5.

    Args:
      x: `[N, F]`, N >= 4.
      y: `[N, G]`.

    Returns:
      At most about 1; NaN if one of them is constant.
    """
    grams = []
    for features in (x, y):
        centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
        gram = centred @ centred.T
        np.fill_diagonal(gram, 0)
        grams.append(gram)
    own = [_hsic(gram, gram) for gram in grams]
    if min(own) <= 0:
        return float('nan')
    return float(_hsic(*grams) / np.sqrt(own[0] * own[1]))


def _hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741, the paper's names
    """Unbiased up to a factor that cancels; the diagonals are 0."""
    n = len(k)
    rows_k, rows_l = k.sum(0), l.sum(0)
    return (
        (k * l).sum()
        + rows_k.sum() * rows_l.sum() / ((n - 1) * (n - 2))
        - 2 * (rows_k @ rows_l) / (n - 2)
    )


def neighbour_overlap(x: np.ndarray, y: np.ndarray, k: int = K) -> np.ndarray:
    """Share of each image's k nearest that are the same in both spaces, `[N]`."""
    near = [neighbours(points, k)[0] for points in (x, y)]
    same = (near[0][:, :, None] == near[1][:, None, :]).sum((1, 2))
    return same / near[0].shape[1]


def auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of weighted sets of images; equal scores count half.

    Args:
      scores: `[N]`, high for positive ones.
      positive: bool `[N]`.
      weights: `[R, N]`.

    Returns:
      `[R]`; NaN where a set lacks a kind.
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


def separation(spaces: dict[str, np.ndarray], second: np.ndarray, seed: int = 0) -> list[dict]:
    """How well two groups of images are told apart in two spaces; see analysis.compare.

    Args:
      spaces: 'this' and 'other', `[n, D]` each, of the same images.
      second: bool `[n]`, which belong to the second group; at least `FEWEST` of each.
      seed: of folds and bootstrap.

    Returns:
      Rows without target and space.
    """
    weights = np.vstack(
        [np.ones(len(second)), bootstrap.bootstrap_weights(len(second), _NUM_RESAMPLES, seed)]
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(second))[:_LAYER_IMAGES]  # all pairs of these
    values = {}
    for name, points in spaces.items():
        probe = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.01, class_weight='balanced', max_iter=1000)
        )
        scores = cross_val_predict(probe, points, second, cv=folds, method='decision_function')
        near = second[neighbours(points, K)[0]].mean(1)
        silhouettes = np.zeros(len(second))
        silhouettes[some] = silhouette_samples(points[some], second[some])
        counted = np.isin(np.arange(len(second)), some)
        values[name] = {
            'linear probe': auroc(scores, second, weights),
            'neighbours': auroc(near, second, weights),
            'silhouette': np.mean(
                [
                    (weights[:, group] @ silhouettes[group])
                    / np.where(weights[:, group].any(1), weights[:, group].sum(1), np.nan)
                    for group in (counted & second, counted & ~second)
                ],
                axis=0,
            ),
        }
    rows = []
    for method in values['this']:
        this, other = values['this'][method], values['other'][method]
        row = {'method': method, 'first': int((~second).sum()), 'second': int(second.sum())}
        for key, found in (('this', this), ('other', other), ('difference', other - this)):
            row[key] = float(found[0])
            row[f'{key}_interval'] = metrics.percentile_interval(found[1:]).tolist()
        rows.append(row)
    return rows


def layer_features(
    both: dict[str, Analysis], seed: int = 0
) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
    """Pooled responses of all layers that both networks have, to at most `_LAYER_IMAGES` images.

    Returns:
      Numbers of the images, `[n]`, and 'this' and 'other': layer → `[n, F]`.
    """
    num_images = len(both['this'].examples)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(num_images)[:_LAYER_IMAGES])
    layers = {name: find_layers(analysis.run, LAYERS) for name, analysis in both.items()}
    common = [layer for layer in layers['this'] if layer in layers['other']]
    features = {}
    for name, analysis in both.items():
        some = restrict(analysis, chosen)
        blocks = np.concatenate(list(stream_features(some, common, f'activations of {name} run')))
        ends = np.cumsum([layers[name][layer] for layer in common])
        features[name] = dict(zip(common, np.split(blocks, ends[:-1], axis=1), strict=True))
    return chosen, features


def standardised(features: np.ndarray) -> np.ndarray:
    """Features `[N, F]` with mean 0 and deviation 1 over the images; constant ones are 0."""
    return (features - features.mean(0)) / np.maximum(features.std(0), 1e-6)


def compare_layers(features: dict[str, dict[str, np.ndarray]]) -> list[dict]:
    """Rows of `layers`, from `layer_features`."""
    rows = []
    for layer, x in features['this'].items():
        y = features['other'][layer]
        overlap = neighbour_overlap(standardised(x), standardised(y))
        cka = debiased_cka(x, y)
        cka = None if np.isnan(cka) else cka
        rows.append({'layer': layer, 'cka': cka, 'overlap': float(overlap.mean())})
    return rows
