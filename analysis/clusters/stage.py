"""Groups images by their embeddings, without labels, and says what the groups are.

    python -m analysis.clusters --workdir runs/person_car --split val

Needs `embeddings` and `samples`. Two partitions are made: k-means, and HDBSCAN (Campello et al.
2013), which leaves images out that lie in no dense region. Stability is the mean adjusted Rand
index between the partition of all images and those that k-means makes of bootstrap samples,
extended to all images by the nearest centroid; for HDBSCAN, of random halves, over the images that
both put into a cluster. Chosen is the least number of clusters whose stability is within one
standard deviation (over bootstrap samples) of the highest. The silhouette is told beside it: on
planted scenes it kept rising beyond the number of their types and settings.

Each cluster of both is described by the columns of samples.parquet with the role 'metadata' in
which its images differ from all others (`cluster_description`); those of k-means have exemplars.

Writes into the run's `analysis/<split>-<step>/`:

clusters.npz         (kind 'clusters', version 1)
    label            int32 [N], k-means cluster; 0 is the largest
    centroids        float32 [K, D], in the embedding's space
    density_label    int32 [N], HDBSCAN cluster, -1 for none; 0 is the largest
    exemplars        int32 [K, 8] rows, nearest to the centroid first; -1 where there are fewer
    diverse          int32 [K, 8] rows, each farthest from those before it, the first is the
                     nearest to the centroid; -1 where there are fewer
    density_stability       float64, of HDBSCAN's clusters; NaN if it finds none
    tried            int32 [T], numbers of clusters that were tried
    stability, silhouette   float64 [T], of each
    cluster_stability       float64 [K], mean over bootstrap samples of the largest Jaccard
                     index with a cluster of the sample (Hennig 2007)
clusters.json        (kind 'clusters', version 1) per cluster its name, size, stability, exemplars
                     (image ids) and description; of the HDBSCAN clusters too
clusters.png         the diverse exemplars
"""

import argparse
import pathlib
from collections.abc import Sequence

import numpy as np
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from analysis.clusters import description
from analysis.embeddings import stage as embeddings
from analysis.figures import contact_sheet
from analysis.samples import stage as samples
from analysis.stage import old_artifacts as artifacts
from analysis.stage.command import make_parser, run_command
from analysis.stage.run import Analysis
from segmentation import markdown

VERSION = 1
TRIED = tuple(range(4, 16))
EXEMPLARS = 8
_BOOTSTRAPS = 20
_SILHOUETTE_SAMPLE = 2000


def cluster(
    points: np.ndarray, tried: Sequence[int] = TRIED, seed: int = 0, progress: bool = False
) -> dict[str, np.ndarray]:
    """Clusters of points; see the module's docstring for the arrays.

    Args:
      points: `[N, D]`.
      tried: numbers of clusters to choose from, each at most N / 3 (but 2).
      seed: of starts and resamples.
      progress: show a bar.

    Raises:
      ValueError: fewer than 4 images, or a number of clusters below 2.
    """
    if len(points) < 4:
        raise ValueError(f'{len(points)} images are too few to be clustered.')
    if min(tried) < 2:
        raise ValueError(f'{min(tried)} clusters: at least 2 have to be asked for.')
    tried = sorted({min(k, max(2, len(points) // 3)) for k in tried})
    found = []
    # One thread: the sums, and so the result, do not depend on the number of processors.
    with threadpool_limits(1):
        for k in tqdm(tried, desc='k-means', unit='k', disable=not progress):
            found.append(_k_means(points, k, seed))
        rand = np.array([rand for _, _, rand, _ in found])  # [T, bootstrap samples]
        stability, highest = rand.mean(1), rand.mean(1).argmax()
        best = int(np.argmax(stability >= stability[highest] - rand[highest].std()))
        label, centroids, _, jaccard = found[best]
        density_label, density_stability = _density(points, seed)
        near, diverse = _exemplars(points, label, centroids)
        return {
            'label': label,
            'centroids': centroids,
            'density_label': density_label,
            'density_stability': np.float64(density_stability),
            'exemplars': near,
            'diverse': diverse,
            'tried': np.array(tried, np.int32),
            'stability': stability,
            'silhouette': np.array([_silhouette(points, label, seed) for label, *_ in found]),
            'cluster_stability': jaccard,
        }


def _silhouette(points, label, seed):
    return silhouette_score(
        points, label, sample_size=min(len(points), _SILHOUETTE_SAMPLE), random_state=seed
    )


def _k_means(points, k, seed):
    """Labels and centroids, largest cluster first; Rand index by resample; clusters' stability."""
    fitted = KMeans(k, n_init=10, random_state=seed).fit(points)
    order = np.argsort(-np.bincount(fitted.labels_, minlength=k), kind='stable')
    label = np.argsort(order)[fitted.labels_].astype(np.int32)
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


def _hdbscan(points):
    size = max(5, len(points) // 60)
    label = HDBSCAN(min_cluster_size=size, min_samples=min(5, len(points)), copy=True).fit_predict(
        points
    )
    order = np.argsort(-np.bincount(label[label >= 0], minlength=label.max() + 1), kind='stable')
    return np.append(np.argsort(order), -1)[label].astype(np.int32)


def _density(points, seed):
    """HDBSCAN's labels, and their agreement with those of random halves; NaN if there are none."""
    label = _hdbscan(points)
    rng, agreement = np.random.default_rng(seed), []
    for _ in range(_BOOTSTRAPS // 4):
        rows = rng.permutation(len(points))[: max(10, len(points) // 2)]
        half = _hdbscan(points[rows])
        both = (half >= 0) & (label[rows] >= 0)
        if both.any():
            agreement.append(adjusted_rand_score(label[rows][both], half[both]))
    return label, np.mean(agreement) if agreement else np.nan


def _exemplars(points, label, centroids):
    """Rows nearest to each centroid, and rows that cover the cluster, `[K, EXEMPLARS]` each."""
    near, diverse = (np.full((len(centroids), EXEMPLARS), -1, np.int32) for _ in range(2))
    for k, centroid in enumerate(centroids):
        rows = np.flatnonzero(label == k)
        rows = rows[np.argsort(np.linalg.norm(points[rows] - centroid, axis=1), kind='stable')]
        near[k, : min(len(rows), EXEMPLARS)] = rows[:EXEMPLARS]
        # Farthest-first traversal (Gonzalez 1985) of the inner four fifths: no outliers.
        rows = rows[: max(EXEMPLARS, int(0.8 * len(rows)))]
        distance = np.full(len(rows), np.inf)
        for i in range(min(len(rows), EXEMPLARS)):
            chosen = int(distance.argmax()) if i else 0
            diverse[k, i] = rows[chosen]
            distance = np.minimum(
                distance, np.linalg.norm(points[rows] - points[rows[chosen]], axis=1)
            )
            distance[chosen] = -1
    return near, diverse


def load(analysis: Analysis) -> dict[str, np.ndarray]:
    """The arrays of clusters.npz.

    Raises:
      ValueError: it is missing, damaged, or does not fit this analysis.
    """
    return artifacts.load_arrays(analysis, 'clusters', VERSION)


def names(analysis: Analysis) -> list[str]:
    """Names of the k-means clusters, by what is over-represented in them.

    Raises:
      ValueError: clusters.json is missing, damaged, or does not fit this analysis.
    """
    return [
        entry['name'] for entry in artifacts.load_json(analysis, 'clusters', VERSION)['clusters']
    ]


def summarize(analysis: Analysis, arrays: dict[str, np.ndarray]) -> dict:
    """For clusters.json."""
    table, label, density = samples.load(analysis), arrays['label'], arrays['density_label']
    ids = analysis.examples.image_ids
    described = description.describe(table, label)
    return {
        'num_images': len(ids),
        'tried': [
            {'k': int(k), 'stability': float(stability), 'silhouette': float(silhouette)}
            for k, stability, silhouette in zip(
                arrays['tried'], arrays['stability'], arrays['silhouette'], strict=True
            )
        ],
        'density': {
            'clusters': [
                {
                    'name': description.name(facts),
                    'size': int((density == k).sum()),
                    'description': facts,
                }
                for k, facts in enumerate(description.describe(table, density))
            ],
            'in_none': int((density < 0).sum()),
            'stability': None
            if np.isnan(arrays['density_stability'])
            else float(arrays['density_stability']),
            'agreement_with_k_means': float(
                adjusted_rand_score(label[density >= 0], density[density >= 0])
            )
            if (density >= 0).any()
            else None,
        },
        'clusters': [
            {
                'name': description.name(facts),
                'size': int((label == k).sum()),
                'stability': float(arrays['cluster_stability'][k]),
                'exemplars': [int(ids[row]) for row in arrays['exemplars'][k] if row >= 0],
                'diverse': [int(ids[row]) for row in arrays['diverse'][k] if row >= 0],
                'description': facts,
            }
            for k, facts in enumerate(described)
        ],
    }


def to_markdown(summary: dict) -> str:
    """What was tried, and what the clusters are."""
    chosen, density = len(summary['clusters']), summary['density']
    stability = '–' if density['stability'] is None else f'{density["stability"]:.2f}'
    tried = [
        (f'{row["k"]}{" (chosen)" if row["k"] == chosen else ""}', *(
            f'{row[key]:.3f}' for key in ('stability', 'silhouette')
        ))
        for row in summary['tried']
    ]  # fmt: skip
    clusters = [
        (
            str(number),
            entry['name'],
            str(entry['size']),
            f'{entry["stability"]:.2f}',
            description.to_text(entry['description']),
            ', '.join(map(str, entry['exemplars'][:3])),
        )
        for number, entry in enumerate(summary['clusters'])
    ]
    dense = [
        (
            str(number),
            entry['name'],
            str(entry['size']),
            description.to_text(entry['description']),
        )
        for number, entry in enumerate(density['clusters'])
    ]
    header = 'cluster', 'name', 'images', 'stability', 'how it differs', 'exemplars (ids)'
    return '\n\n'.join(
        [
            f'{summary["num_images"]} images, k-means:',
            markdown.table(('clusters', 'stability (adjusted Rand)', 'silhouette'), tried),
            markdown.table(header, clusters),
            f'HDBSCAN: {len(density["clusters"])} clusters, {density["in_none"]} images in none, '
            f'stability {stability}:',
            markdown.table(('cluster', 'name', 'images', 'how it differs'), dense),
            'How it differs: median inside / outside and rank-biserial correlation r, or share of '
            'images inside / outside; all with q ≤ 0.01 (Benjamini-Hochberg over clusters and '
            'columns).',
        ]
    )


def draw(analysis: Analysis, arrays: dict[str, np.ndarray], summary: dict) -> pathlib.Path:
    """Draws the diverse exemplars of every cluster, with the classes of their labels."""
    rows = [
        (
            f'{number}: {entry["name"]} ({entry["size"]})',
            [contact_sheet.labelled(analysis.examples, row) for row in chosen if row >= 0],
        )
        for number, (entry, chosen) in enumerate(
            zip(summary['clusters'], arrays['diverse'], strict=True)
        )
    ]
    path = analysis.folder / 'clusters.png'
    contact_sheet.draw(rows, path)
    return path


def _run(arguments: argparse.Namespace) -> dict:
    analysis = artifacts.open_chosen(arguments)
    origin = artifacts.origin(
        analysis, 'embeddings.npz', 'samples.parquet', tried=arguments.tried, seed=arguments.seed
    )
    done = (analysis.folder / 'clusters.png').exists() and all(
        artifacts.is_current(analysis, file, VERSION, origin)
        for file in ('clusters.npz', 'clusters.json')
    )
    if done and not arguments.force:
        load(analysis)
        summary = artifacts.load_json(analysis, 'clusters', VERSION)
    else:
        points = embeddings.load(analysis)
        arrays = cluster(points, arguments.tried, arguments.seed, progress=True)
        summary = summarize(analysis, arrays)
        draw(analysis, arrays, summary)
        artifacts.save_arrays(analysis, 'clusters', VERSION, origin, **arrays)
        artifacts.save_json(analysis, 'clusters', VERSION, summary, origin)
    print(f'{analysis.folder / "clusters.npz"}:', to_markdown(summary), sep='\n\n')
    return summary


def main(argv: list[str] | None = None) -> int:
    parser = make_parser('clusters', __doc__)
    parser.add_argument(
        '--tried',
        type=int,
        nargs='+',
        default=TRIED,
        metavar='K',
        help=f'numbers of clusters to choose from; default: {TRIED[0]} … {TRIED[-1]}',
    )
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument('--force', action='store_true', help='compute them again')
    return run_command(parser.parse_args(argv), _run)
