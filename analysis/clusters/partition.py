"""Partitions of points: k-means with the most stable number of clusters, and HDBSCAN."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from analysis.clusters.options import TRIED
from analysis.clusters.schema import Cluster, Clusters, Density, Tried
from analysis.similar.neighbors import neighbors

EXEMPLARS = 8
FITTED = 20_000  # points that clusters are found in, at most
_BOOTSTRAPS = 20
_SILHOUETTE_SAMPLE = 2000


def _count_different(points: np.ndarray, most: int) -> int:
    """Number of points that differ, at most `most`; those of copies can differ a little."""
    left, count = points, 0
    while len(left) and count < most:
        left = left[np.linalg.norm(left - left[0], axis=1) > 1e-3]
        count += 1
    return count


def cluster(points: np.ndarray, tried: Sequence[int] = TRIED, seed: int = 0) -> Clusters:
    """Clusters points `[N, D]`; the clusters have no names, descriptions and ids yet.

    If there are more than `FITTED` points, the clusters are those of so many random ones, extended
    to the others.

    Args:
      points: embeddings.
      tried: numbers of clusters to choose from; those above N / 3 are lowered to max(2, N / 3), and
        those above the number of different points to that.
      seed: of starts and resamples.

    Raises:
      ValueError: fewer than 4 points, all the same, or a number of clusters below 2.
    """
    if len(points) > FITTED:
        rows = np.sort(np.random.default_rng(seed).choice(len(points), FITTED, replace=False))
        return _extend(points, rows, cluster(points[rows], tried, seed))
    if len(points) < 4:
        raise ValueError(f'{len(points)} images are too few to cluster; at least 4 are needed.')
    if min(tried) < 2:
        raise ValueError(f'--tried {min(tried)}: numbers of clusters must be at least 2.')
    different = _count_different(points, max(tried))
    if different < 2:
        raise ValueError(f'All {len(points)} images have the same embedding: nothing to cluster.')
    numbers = sorted({min(k, max(2, len(points) // 3), different) for k in tried})
    # One thread, so that the result does not depend on the number of processors.
    with threadpool_limits(1):
        found = [_k_means(points, k, seed) for k in tqdm(numbers, desc='k-means', unit='k')]
        rand = np.array([rand for _, _, rand, _ in found])  # [T, bootstrap samples]
        stability, highest = rand.mean(1), rand.mean(1).argmax()
        best = int(np.argmax(stability >= stability[highest] - rand[highest].std()))
        label, centroids, _, jaccard = found[best]
        silhouettes = [_silhouette(points, each, seed) for each, *_ in found]
        density_label = _hdbscan(points)
        return Clusters(
            num_images=len(points),
            tried=tuple(map(Tried, numbers, stability.tolist(), silhouettes)),
            density=_density(points, label, density_label, seed),
            clusters=_clusters(points, label, centroids, jaccard.tolist()),
            label=label,
            centroids=centroids,
            density_label=density_label,
        )


def _clusters(
    points: np.ndarray, label: np.ndarray, centroids: np.ndarray, stability: Sequence[float | None]
) -> tuple[Cluster, ...]:
    return tuple(
        Cluster(
            int((label == k).sum()),
            stability[k],
            *_exemplars(points, np.flatnonzero(label == k), centroid),
        )
        for k, centroid in enumerate(centroids)
    )


def _extend(points: np.ndarray, rows: np.ndarray, found: Clusters) -> Clusters:
    """Extends the clusters of some points, `found`, to all."""
    label = neighbors(found.centroids, 1, points)[0][:, 0]
    order, label = _largest_first(label, len(found.centroids))
    centroids = found.centroids[order]
    stability = [found.clusters[k].stability for k in order]
    nearest = neighbors(points[rows], 1, points)[0][:, 0]
    _, density_label = _largest_first(found.density_label[nearest], len(found.density.clusters))
    other = neighbors(points[rows], 1)[0][:, 0]
    density = dataclasses.replace(
        found.density,
        clusters=tuple(
            Cluster(int((density_label == k).sum())) for k in range(len(found.density.clusters))
        ),
        in_none=int((density_label < 0).sum()),
        assigned=float((found.density_label == found.density_label[other]).mean()),
    )
    return dataclasses.replace(
        found,
        num_images=len(points),
        density=density,
        clusters=_clusters(points, label, centroids, stability),
        label=label,
        centroids=centroids,
        density_label=density_label,
        fitted=len(rows),
    )


def _largest_first(label: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers clusters by size: the old number of each, and labels int32 (-1 stays)."""
    order = np.argsort(-np.bincount(label[label >= 0], minlength=number), kind='stable')
    return order, np.append(np.argsort(order), -1)[label].astype(np.int32)


def _silhouette(points: np.ndarray, label: np.ndarray, seed: int) -> float:
    size = min(len(points), _SILHOUETTE_SAMPLE)
    return float(silhouette_score(points, label, sample_size=size, random_state=seed))


def _k_means(
    points: np.ndarray, k: int, seed: int
) -> tuple[np.ndarray, np.ndarray, list[float], np.ndarray]:
    """Labels and centroids, largest cluster first; Rand index by resample; clusters' stability."""
    fitted = KMeans(k, n_init=10, random_state=seed).fit(points)
    order, label = _largest_first(fitted.labels_, k)
    rng = np.random.default_rng([seed, k])
    rand, jaccard = [], []
    for resample in range(_BOOTSTRAPS):
        rows = rng.integers(0, len(points), len(points))
        other = KMeans(k, n_init=2, random_state=resample).fit(points[rows]).predict(points)
        rand.append(adjusted_rand_score(label, other))
        both = np.zeros((k, k))
        np.add.at(both, (label, other), 1)
        either = both.sum(1, keepdims=True) + both.sum(0) - both
        jaccard.append((both / either).max(1))
    centroids = fitted.cluster_centers_[order].astype(np.float32)
    return label, centroids, rand, np.mean(jaccard, 0)


def _hdbscan(points: np.ndarray) -> np.ndarray:
    size = max(5, len(points) // 60)
    label = HDBSCAN(min_cluster_size=size, min_samples=min(5, len(points)), copy=True).fit_predict(
        points
    )
    return _largest_first(label, label.max() + 1)[1]


def _density(points: np.ndarray, label: np.ndarray, density: np.ndarray, seed: int) -> Density:
    """The clusters of HDBSCAN, `density`, in comparison with those of k-means, `label`."""
    rng, agreement = np.random.default_rng(seed), []
    for _ in range(_BOOTSTRAPS // 4):
        rows = rng.permutation(len(points))[: max(10, len(points) // 2)]
        half = _hdbscan(points[rows])
        both = (half >= 0) & (density[rows] >= 0)
        if both.any():
            agreement.append(adjusted_rand_score(density[rows][both], half[both]))
    inside = density >= 0
    return Density(
        clusters=tuple(Cluster(int((density == k).sum())) for k in range(density.max() + 1)),
        in_none=int((~inside).sum()),
        stability=float(np.mean(agreement)) if agreement else None,
        agreement_with_k_means=float(adjusted_rand_score(label[inside], density[inside]))
        if inside.any()
        else None,
    )


def _exemplars(
    points: np.ndarray, rows: np.ndarray, centroid: np.ndarray
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Members of a cluster nearest to its centroid, and members that are far from each other."""
    rows = rows[np.argsort(np.linalg.norm(points[rows] - centroid, axis=1), kind='stable')]
    near, diverse = rows[:EXEMPLARS].tolist(), []
    # Farthest-first traversal (Gonzalez 1985) of the inner four fifths: no outliers.
    rows = rows[: max(EXEMPLARS, int(0.8 * len(rows)))]
    distance = np.full(len(rows), np.inf)
    for i in range(min(len(rows), EXEMPLARS)):
        chosen = int(distance.argmax()) if i else 0
        diverse.append(int(rows[chosen]))
        distance = np.minimum(distance, np.linalg.norm(points[rows] - points[rows[chosen]], axis=1))
        distance[chosen] = -1
    return tuple(near), tuple(diverse)
