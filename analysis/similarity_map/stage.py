"""Maps images to the plane and to space so that similar ones lie near each other.

    python -m analysis.similarity_map --workdir runs/person_car --split val

Needs `embeddings`, and `clusters` for the colours. The maps are made by t-SNE (van der Maaten 2014,
Barnes-Hut), started from the first principal components, so that the coarse order is kept too
(Kobak and Berens 2019). They are judged by the 10 nearest neighbours of each image (of 2,000 images
drawn at random, if there are more):

trustworthiness      1 minus a penalty for neighbours on the map that are far in the embedding, by
                     rank (Venna and Kaski 2001); 1 is perfect, about 0.5 is chance
recall               share of the neighbours in the embedding that are neighbours on the map

Writes into the run's `analysis/<split>-<step>/`:

similarity_map.npz   (kind 'similarity_map', version 1)
    map_2d           float32 [N, 2]
    map_3d           float32 [N, 3]
    trustworthiness, recall   float64 [2], of the two maps
similarity_map.png           the images as dots in the colours of their clusters, with their names
similarity_map_images.png    an image for every place of the map

Distances between far groups, and the sizes of groups, mean nothing on such a map.
"""

import argparse
import pathlib

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scipy.spatial import KDTree
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from analysis.clusters import stage as clusters
from analysis.embeddings import stage as embeddings
from analysis.figures import contact_sheet
from analysis.similar import stage as similar
from analysis.stage import old_artifacts as artifacts
from analysis.stage.command import make_parser, run_command
from analysis.stage.run import Analysis
from segmentation import markdown

VERSION = 1
NEIGHBOURS = 10
_PERPLEXITY = 30
_ITERATIONS = 750
_ANGLE = 0.8  # of Barnes and Hut: 0.5 takes twice as long for the same trustworthiness and recall
_JUDGED = 2000
# Okabe and Ito 2008, told apart by the colour blind; then the same with other markers.
_COLORS = ('#0072B2', '#E69F00', '#009E73', '#D55E00', '#CC79A7', '#56B4E9', '#000000', '#B8A800')
_MARKERS = 'o^sD'


def project(points: np.ndarray, dimensions: int, seed: int = 0) -> np.ndarray:
    """A map of points.

    Args:
      points: float `[N, D]`, N at least 4, D at least `dimensions`.
      dimensions: 2 or 3.
      seed: of the approximations; the map of the same points is then the same.

    Returns:
      float32 `[N, dimensions]`.

    Raises:
      ValueError: too few points, or dimensions of them.
    """
    if len(points) < 4 or points.shape[1] < dimensions:
        raise ValueError(
            f'{len(points)} images with {points.shape[1]} dimensions are too few for a map in '
            f'{dimensions}.'
        )
    # Neighbours one after the other find in the processor's cache what they need of the tree.
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


def judge(
    points: np.ndarray, projected: np.ndarray, k: int = NEIGHBOURS, seed: int = 0
) -> tuple[float, float]:
    """Trustworthiness and recall of neighbourhoods; see the module's docstring.

    Args:
      points: `[N, D]`.
      projected: `[N, d]`.
      k: neighbours, at most (N - 1) / 2 of them count.
      seed: of the images that are judged, if there are more than 2,000.
    """
    n = len(points)
    k = max(1, min(k, (n - 1) // 2))
    rows = np.arange(n)
    if n > _JUDGED:
        rows = np.sort(np.random.default_rng(seed).choice(n, _JUDGED, replace=False))
    near, _ = similar.neighbours(projected, k + 1, projected[rows])
    near = np.stack([them[them != row][:k] for them, row in zip(near, rows, strict=True)])
    penalty = hits = 0
    wide, squares = points.astype(np.float64), np.square(points.astype(np.float64)).sum(1)
    for row, them in zip(rows, near, strict=True):
        distance = squares - 2 * wide @ wide[row]
        distance[row] = -np.inf
        rank = np.empty(n, np.int64)
        rank[np.argsort(distance, kind='stable')] = np.arange(n)  # the image itself has rank 0
        penalty += np.maximum(rank[them] - k, 0).sum()
        hits += (rank[them] <= k).sum()
    trust = 1 - 2 / (len(rows) * k * (2 * n - 3 * k - 1)) * penalty
    return float(trust), float(hits / (len(rows) * k))


def load(analysis: Analysis) -> dict[str, np.ndarray]:
    """The arrays of similarity_map.npz.

    Raises:
      ValueError: it is missing, damaged, or does not fit this analysis.
    """
    return artifacts.load_arrays(analysis, 'similarity_map', VERSION)


def compute_or_load(analysis: Analysis, seed: int = 0, force: bool = False) -> dict:
    """What was written before of the same embeddings, or computes and writes it.

    Raises:
      ValueError: what is there is damaged or of other images, and `force` is not given.
    """
    origin = artifacts.origin(analysis, 'embeddings.npz', seed=seed)
    if not force and artifacts.is_current(analysis, 'similarity_map.npz', VERSION, origin):
        return load(analysis)
    points = embeddings.load(analysis)
    maps, trust, recall = {}, [], []
    for dimensions in tqdm((2, 3), desc='maps', unit='map'):
        projected = maps[f'map_{dimensions}d'] = project(points, dimensions, seed)
        scores = judge(points, projected, seed=seed)
        trust.append(scores[0])
        recall.append(scores[1])
    arrays = {**maps, 'trustworthiness': np.array(trust), 'recall': np.array(recall)}
    artifacts.save_arrays(analysis, 'similarity_map', VERSION, origin, **arrays)
    return arrays


def draw_dots(points: np.ndarray, label: np.ndarray, names: list[str], path: pathlib.Path) -> None:
    """Draws a map `[N, 2]` as dots in the colours of clusters, whose names stand in their midst."""
    figure = Figure(figsize=(11, 9), dpi=110, layout='constrained')
    axis = figure.subplots()
    axis.set_axis_off()
    axis.set_aspect('equal')
    for k, name in enumerate(names):
        members = points[label == k]
        style = {'c': _COLORS[k % 8], 'marker': _MARKERS[k // 8 % 4]}
        title = f'{k}: {name} ({len(members)})'.replace('$', r'\$')
        axis.scatter(*members.T, s=max(6, min(24, 20000 / len(points))), alpha=0.75, linewidths=0,
                     label=title, **style)  # fmt: skip
        # The member nearest to the median, so that the name lies on its cluster.
        middle = members[np.square(members - np.median(members, 0)).sum(1).argmin()]
        axis.annotate(
            f'{k}: {name}', middle, ha='center', fontsize=8, parse_math=False,
            bbox={'boxstyle': 'round,pad=0.2', 'fc': 'white', 'ec': style['c'], 'alpha': 0.85},
        )  # fmt: skip
    figure.legend(loc='outside lower center', ncols=2, fontsize=8, frameon=False, markerscale=2)
    figure.savefig(path)


def draw_images(
    analysis: Analysis, points: np.ndarray, path: pathlib.Path, places: int = 28, side: int = 56
) -> None:
    """Draws a map `[N, 2]` with the image nearest to the middle of each of places × places."""
    low, high = points.min(0), points.max(0)
    # The same scale both ways.
    position = (points - (low + high) / 2) / ((high - low).max() + 1e-9) + 0.5
    cell = np.minimum((position * places).astype(np.int64), places - 1)
    off = np.square(position * places - cell - 0.5).sum(1)
    number = cell[:, 1] * places + cell[:, 0]
    order = np.lexsort((off, number))
    shown = order[np.unique(number[order], return_index=True)[1]]
    sheet = Image.new('RGB', (places * side,) * 2, 'white')
    for row in tqdm(shown, desc='pictures on the map', unit='img'):
        picture = Image.fromarray(contact_sheet.labelled(analysis.examples, row))
        column, line = cell[row]
        sheet.paste(picture.resize((side - 2,) * 2), (column * side, (places - 1 - line) * side))
    sheet.save(path)


def summarize(arrays: dict[str, np.ndarray]) -> dict:
    """For JSON."""
    return {
        'num_images': len(arrays['map_2d']),
        'neighbours': NEIGHBOURS,
        'maps': [
            {'dimensions': d, 'trustworthiness': float(trust), 'recall': float(recall)}
            for d, trust, recall in zip(
                (2, 3), arrays['trustworthiness'], arrays['recall'], strict=True
            )
        ],
    }


def _run(arguments: argparse.Namespace) -> dict:
    analysis = artifacts.open_chosen(arguments)
    label, names = clusters.load(analysis)['label'], clusters.names(analysis)
    arrays = compute_or_load(analysis, arguments.seed, arguments.force)
    dots, images = (analysis.folder / f'similarity_map{end}.png' for end in ('', '_images'))
    draw_dots(arrays['map_2d'], label, names, dots)
    draw_images(analysis, arrays['map_2d'], images)
    summary = summarize(arrays)
    rows = [
        (str(row['dimensions']), f'{row["trustworthiness"]:.3f}', f'{row["recall"]:.3f}')
        for row in summary['maps']
    ]
    print(
        f'{analysis.folder / "similarity_map.npz"}: {summary["num_images"]} images, judged by '
        f'{NEIGHBOURS} neighbours',
        markdown.table(('dimensions', 'trustworthiness', 'recall of neighbours'), rows),
        f'Drawn: {dots}, {images.name}',
        sep='\n\n',
    )
    return summary


def main(argv: list[str] | None = None) -> int:
    parser = make_parser('similarity_map', __doc__)
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument('--force', action='store_true', help='compute the maps again')
    return run_command(parser.parse_args(argv), _run)
