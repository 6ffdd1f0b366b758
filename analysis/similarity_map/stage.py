"""Maps images to two and three dimensions so that similar ones lie near each other."""

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scipy.spatial import KDTree
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from analysis.clusters import stage as clusters
from analysis.clusters.schema import Clusters
from analysis.embeddings import stage as embeddings
from analysis.embeddings.schema import Embeddings
from analysis.figures import contact_sheet, palette
from analysis.figures.bars import plain
from analysis.similar.neighbors import neighbors, squared_distances
from analysis.similarity_map.options import make_parser
from analysis.similarity_map.schema import Quality, SimilarityMap
from analysis.stage import artifacts
from analysis.stage.contract import Stage
from analysis.stage.run import Analysis
from segmentation import markdown

NEIGHBORS = 10
_PERPLEXITY = 30
_ITERATIONS = 750
_ANGLE = 0.8  # of Barnes-Hut
FITTED = 20_000  # images that t-SNE places itself, at most
_JUDGED = 2000
_MARKERS = 'o^sD'  # when the colors repeat


def project(points: np.ndarray, dimensions: int, seed: int = 0) -> np.ndarray:
    """A map float32 `[N, 2 or 3]` of points `[N, D]`; the same seed and points give the same map.

    If there are more than `FITTED` points, t-SNE places so many random ones. Each of the others is
    put beside the nearest of these, at less than half its distance to the next one on the map. The
    mean position of several would often lie in the gap between two groups.

    Points of fewer dimensions than the map, as of a few different images, are filled with zeros.

    Raises:
      ValueError: there are too few points.
    """
    if len(points) < 4:
        raise ValueError(f'{len(points)} images are too few for a map; at least 4 are needed.')
    points = np.pad(points, ((0, 0), (0, max(0, dimensions - points.shape[1]))))
    if len(points) <= FITTED:
        return _t_sne(points, dimensions, seed)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(points), FITTED, replace=False))
    placed = _t_sne(points[rows], dimensions, seed)
    nearest = neighbors(points[rows], 1, points)[0][:, 0]
    direction = rng.standard_normal((len(points), dimensions))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    gap = neighbors(placed, 1)[1][nearest]
    # The root makes places within the disc or ball equally probable.
    away = gap / 2 * rng.random((len(points), 1)) ** (1 / dimensions)
    projected = (placed[nearest] + away * direction).astype(np.float32)
    projected[rows] = placed
    return projected


def _t_sne(points: np.ndarray, dimensions: int, seed: int) -> np.ndarray:
    # Sorted by position: neighbors then use the same part of the tree, which is in the cache.
    order = KDTree(points[:, :dimensions]).indices
    projected = np.empty((len(points), dimensions), np.float32)
    # One thread: the same map on any number of processors.
    with threadpool_limits(1):
        method = TSNE(
            dimensions,
            perplexity=min(_PERPLEXITY, (len(points) - 1) / 3),
            init='pca',
            max_iter=_ITERATIONS,
            random_state=seed,
            angle=_ANGLE,
        )
        projected[order] = method.fit_transform(points[order].astype(np.float32))
    return projected


def num_judged(number: int, most: int = NEIGHBORS) -> int:
    """Number of neighbors with which the quality of a map of so many images is measured."""
    return max(1, min(most, (number - 1) // 2))


def judge(
    points: np.ndarray, projected: np.ndarray, k: int = NEIGHBORS, seed: int = 0
) -> tuple[float, float]:
    """Trustworthiness and recall of k neighbors, at most (N - 1) / 2, see `schema.Quality`.

    The seed is that of the random sample of images, if there are more than 2,000.
    """
    n, k = len(points), num_judged(len(points), k)
    rows = np.arange(n)
    if n > _JUDGED:
        rows = np.sort(np.random.default_rng(seed).choice(n, _JUDGED, replace=False))
    near, _ = neighbors(projected, k + 1, projected[rows])
    penalty = hits = 0
    for here, squared in squared_distances(points, points[rows], 'ranks'):
        for row, them, distance in zip(rows[here], near[here], squared, strict=True):
            distance[row] = -np.inf  # the image itself has rank 0
            for other in them[them != row][:k]:
                # Of images at the same distance, those before it are nearer.
                nearer = distance < distance[other]
                nearer[:other] |= distance[:other] == distance[other]
                rank = int(np.count_nonzero(nearer))
                penalty += max(rank - k, 0)
                hits += rank <= k
    trust = 1 - 2 / (len(rows) * k * (2 * n - 3 * k - 1)) * penalty
    return float(trust), float(hits / (len(rows) * k))


def compute(analysis: Analysis, seed: int = 0) -> SimilarityMap:
    """Maps the embeddings, and measures the quality of the maps.

    Raises:
      ValueError: there are too few images.
    """
    points = artifacts.load(analysis, Embeddings).points
    flat, deep = (project(points, dimensions, seed) for dimensions in tqdm((2, 3), desc='maps'))
    quality = tuple(
        Quality(each.shape[1], *judge(points, each, seed=seed)) for each in (flat, deep)
    )
    fitted = FITTED if len(points) > FITTED else None
    return SimilarityMap(len(points), num_judged(len(points)), quality, flat, deep, fitted)


def draw_dots(
    points: np.ndarray, label: np.ndarray, names: Sequence[str], path: pathlib.Path
) -> None:
    """Draws a map `[N, 2]` as dots in the colors of clusters, with the clusters' names."""
    figure = Figure(figsize=(11, 9), dpi=110, layout='constrained')
    axis = figure.subplots()
    axis.set_axis_off()
    axis.set_aspect('equal')
    for k, name in enumerate(names):
        members = points[label == k]
        color = palette.GROUPS[k % len(palette.GROUPS)]
        marker = _MARKERS[k // len(palette.GROUPS) % len(_MARKERS)]
        axis.scatter(
            members[:, 0], members[:, 1], s=max(6, min(24, 20000 / len(points))), alpha=0.75,
            linewidths=0, label=plain(f'{k}: {name} ({len(members)})'), c=color, marker=marker,
        )  # fmt: skip
        # The member nearest to the median, so that the name lies on its cluster.
        middle = members[np.square(members - np.median(members, 0)).sum(1).argmin()]
        axis.annotate(
            f'{k}: {name}', middle, ha='center', fontsize=8, parse_math=False,
            bbox={'boxstyle': 'round,pad=0.2', 'fc': 'white', 'ec': color, 'alpha': 0.85},
        )  # fmt: skip
    figure.legend(loc='outside lower center', ncols=2, fontsize=8, frameon=False, markerscale=2)
    figure.savefig(path)


def draw_images(analysis: Analysis, points: np.ndarray, path: pathlib.Path) -> None:
    """Draws a map `[N, 2]` as a grid of 28 × 28 places, each with the image nearest to it."""
    places, side = 28, 56  # in a row or column; pixels
    low, high = points.min(0), points.max(0)
    # The same scale both ways.
    position = (points - (low + high) / 2) / ((high - low).max() + 1e-9) + 0.5
    cell = np.minimum((position * places).astype(np.int64), places - 1)
    off = np.square(position * places - cell - 0.5).sum(1)
    number = cell[:, 1] * places + cell[:, 0]
    order = np.lexsort((off, number))
    shown = order[np.unique(number[order], return_index=True)[1]]
    sheet = Image.new('RGB', (places * side,) * 2, 'white')
    for row in tqdm(shown, desc='images on the map', unit='img'):
        image = Image.fromarray(contact_sheet.labeled(analysis.examples, row))
        column, line = cell[row].tolist()
        image = image.resize((side - 2, side - 2))
        sheet.paste(image, (column * side, (places - 1 - line) * side))
    sheet.save(path)


def draw(analysis: Analysis, result: SimilarityMap) -> list[pathlib.Path]:
    """Draws the map in two dimensions; the clusters for the colors are computed if need be."""
    clusters.STAGE.prepare(analysis)
    found = artifacts.load(analysis, Clusters)
    dots, images = (analysis.folder / f'similarity_map{end}.png' for end in ('', '_images'))
    draw_dots(result.map_2d, found.label, found.names, dots)
    draw_images(analysis, result.map_2d, images)
    return [dots, images]


def table(result: SimilarityMap) -> str:
    """Quality of the maps."""
    rows = [
        (str(row.dimensions), f'{row.trustworthiness:.3f}', f'{row.recall:.3f}')
        for row in result.maps
    ]
    header = ('dimensions', 'trustworthiness', 'recall of neighbors')
    text = f'{result.num_images} images; quality measured on {result.neighbors} neighbors:'
    parts = [text, markdown.table(header, rows), result.note]
    return '\n\n'.join(filter(None, parts))


STAGE = Stage(
    SimilarityMap,
    make_parser,
    compute,
    table,
    draw,
    reads=(embeddings.STAGE,),
)
main = STAGE.main
