"""Describes and compares the annotated objects of the images instead of the images."""

import dataclasses
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow
from scipy import stats

from analysis.objects import blocks, features, groups, words
from analysis.objects.features import Found, Tile
from analysis.objects.options import DIMENSIONS, make_parser
from analysis.objects.schema import CONDITIONS, FOLDER, METRICS, TABLE, Group, Objects
from analysis.pictures.schema import PER_SHEET
from analysis.pictures.stage import write_sheet
from analysis.samples.schema import numbers
from analysis.similar.neighbors import neighbors, recall
from analysis.similar.options import K
from analysis.similarity_map import stage as similarity_map
from analysis.slices import stage as slices
from analysis.slices.schema import MetricSlices, Slice
from analysis.slices.search import LEVEL
from analysis.stage import shards
from analysis.stage.contract import Stage
from analysis.stage.run import Analysis
from segmentation import markdown
from segmentation.activations import find_layers
from segmentation.models.layer_names import LAYERS


class _Gathered:
    """What all pieces have together; sheets of pictures are written while they come."""

    def __init__(self, folder: pathlib.Path):
        self.folder, self.num_sheets = folder, 0
        self.parts: list[pyarrow.RecordBatch] = []
        self.crowds = self.unseen = 0
        self._tiles: list[Tile] = []

    def add(self, found: Found) -> None:
        self.parts.append(pyarrow.RecordBatch.from_pylist(found.rows, schema=TABLE))
        self.crowds, self.unseen = self.crowds + found.crowds, self.unseen + found.unseen
        self._tiles += found.tiles
        while len(self._tiles) >= PER_SHEET:
            self.flush()

    def flush(self) -> None:
        """Writes a sheet of what is there."""
        tiles, self._tiles = self._tiles[:PER_SHEET], self._tiles[PER_SHEET:]
        if tiles:
            write_sheet(self.folder, self.num_sheets, tiles)
            self.num_sheets += 1


def compute(
    analysis: Analysis,
    layers: Sequence[str] = LAYERS,
    dimensions: int = DIMENSIONS,
    seed: int = 0,
) -> Objects:
    """Describes all objects in one pass of the network, then compares them.

    Raises:
      ValueError: a pattern matches no layer, or there are to be no dimensions.
    """
    if dimensions < 1:
        raise ValueError(f'--dimensions={dimensions} must be at least 1.')
    of_layers = {} if analysis.foreign else find_layers(analysis.run, layers)

    def work(some: Analysis, rows: np.ndarray) -> Iterator[dict]:
        for found in features.stream(some, rows, tuple(of_layers)):
            yield vars(found)

    pieces = shards.stream(analysis, Objects.NAME, work)
    # Moved to its place in the end, so that what was there stays complete until then.
    folder = analysis.folder / f'{FOLDER}.partial'
    shutil.rmtree(folder, ignore_errors=True)
    (folder / 'sheets').mkdir(parents=True)
    gathered = _Gathered(folder)

    def feature_blocks() -> Iterator[np.ndarray]:
        for piece in pieces:
            found = Found(**piece)
            gathered.add(found)
            yield found.features

    points, sizes, explained = blocks.reduce(
        feature_blocks(), of_layers, dimensions, seed, analysis.folder
    )
    gathered.flush()
    table = pyarrow.Table.from_batches(gathered.parts, TABLE)
    map_2d, trustworthiness = _map(points, seed)
    index, distance = neighbors(points, K) if points.size else (points, points)
    index_by_block = np.zeros((len(sizes), *index.shape), np.int32)
    distance_by_block = np.zeros(index_by_block.shape, np.float32)
    for place, name in enumerate(sizes):
        near = neighbors(blocks.points_of(points, sizes, name), K)
        index_by_block[place], distance_by_block[place] = near
    found, members = find_slices(table, seed)
    alike, found, members = find_groups(table, points, sizes, found, members, seed)
    final = analysis.folder / FOLDER
    shutil.rmtree(final, ignore_errors=True)
    folder.rename(final)
    return Objects(
        num_images=len(analysis),
        num_objects=len(table),
        num_crowds=gathered.crowds,
        num_unseen=gathered.unseen,
        layers=of_layers,
        dimensions=points.shape[1],
        blocks=sizes,
        explained=explained,
        trustworthiness=trustworthiness,
        confusion=count_predicted(table, analysis.class_names),
        slices=found,
        groups=alike,
        num_sheets=gathered.num_sheets,
        table=table,
        points=points,
        map_2d=map_2d,
        index=index.astype(np.int32),
        distance=distance,
        index_by_block=index_by_block,
        distance_by_block=distance_by_block,
        members=members,
        recall=recall(points, index),
        fitted=similarity_map.FITTED if len(map_2d) > similarity_map.FITTED else None,
    )


def _map(points: np.ndarray, seed: int) -> tuple[np.ndarray, float | None]:
    """The map of objects and its trustworthiness, or an empty one."""
    if points.shape[1] < 2 or len(points) < blocks.FEWEST:
        return np.zeros((0, 2), np.float32), None
    projected = similarity_map.project(points, 2, seed)
    return projected, similarity_map.judge(points, projected, seed=seed)[0]


def find_slices(table: pyarrow.Table, seed: int = 0) -> tuple[dict[str, MetricSlices], np.ndarray]:
    """Slices of objects with a high loss or a low IoU, see `slices.stage.search`.

    The loss of an object depends on its image, and so do most columns: objects of one image in both
    halves, or permuted one by one, would make chance findings significant. Therefore one random
    object stands for each image.
    """
    columns = {name: numbers(table, name) for name in CONDITIONS}
    columns['truncated'] = columns['truncated'] == 1
    categories = np.array(table['category'].to_pylist(), np.object_)
    columns |= {f'category {name}': categories == name for name in sorted(set(categories))}
    order = np.random.default_rng(seed).permutation(len(table))
    _, first = np.unique(table['image'].to_numpy()[order], return_index=True)
    chosen = np.zeros(len(table), np.bool_)
    chosen[order[first]] = True
    measured = {
        metric: (sign, numbers(table, metric)[chosen], chosen) for metric, sign in METRICS.items()
    }
    return slices.search(columns, measured, table['annotation_id'].to_numpy(), seed)


def find_groups(
    table: pyarrow.Table,
    points: np.ndarray,
    sizes: Mapping[str, int],
    found: Mapping[str, MetricSlices],
    members: np.ndarray,
    seed: int = 0,
) -> tuple[tuple[Group, ...], dict[str, MetricSlices], np.ndarray]:
    """Adds groups of similar objects to slices by conditions.

    Args:
      table: of the objects.
      points: see `Objects`.
      sizes: dimensions by block.
      found: slices by conditions, by metric.
      members: see `Slices.members`, of these.
      seed: of the halves.

    Returns:
      The groups; and the slices and members with those of the groups, by falling impact.
    """
    classes = np.array(table['class'].to_pylist(), np.str_)
    columns = {name: numbers(table, name) for name in CONDITIONS}
    inside = iter(np.unpackbits(members, axis=1, count=len(table)).view(np.bool_))
    alike: list[Group] = []
    slices_of: dict[str, MetricSlices] = {}
    packed: list[np.ndarray] = []
    for metric, sign in METRICS.items():
        values, part = numbers(table, metric), found[metric]
        scores = np.zeros(len(table))
        for name in np.unique(classes):
            mine = classes == name
            known = [column[mine] for column in columns.values()]
            scores[mine] = groups.unexplained(sign * values[mine], known)
        num_tested, balls = 0, list[groups.Ball]()
        if sizes:
            images, level = table['image'].to_numpy(), LEVEL / len(METRICS)
            num_tested, balls = groups.find(points, sizes, classes, images, scores, seed, level)
        rows: list[tuple[Slice, np.ndarray, groups.Ball | None]] = [
            (one, next(inside), None) for one in part.slices
        ]
        rows += [
            (_slice_of(ball, table, classes, sign, values), ball.inside, ball) for ball in balls
        ]
        rows.sort(key=lambda row: -row[0].impact)
        alike += [
            Group(metric, place, ball.block, ball.center, tuple(ball.members[:10].tolist()))
            for place, (_, _, ball) in enumerate(rows)
            if ball
        ]
        packed += [here for _, here, _ in rows]
        slices_of[metric] = dataclasses.replace(
            part, num_tested=part.num_tested + num_tested, slices=tuple(one for one, *_ in rows)
        )
    bits = np.packbits(np.reshape(packed, (len(packed), len(table))).astype(np.bool_), axis=1)
    return tuple(alike), slices_of, bits


def _slice_of(
    ball: groups.Ball, table: pyarrow.Table, classes: np.ndarray, sign: int, values: np.ndarray
) -> Slice:
    """The slice of a group, by a metric `[M]`; `classes` are the names by row."""
    ids = table['annotation_id'].to_numpy()
    name = str(classes[ball.center])
    others = (classes == name) & ~ball.inside
    here, elsewhere = values[ball.tested & ball.inside], values[ball.tested & ~ball.inside]
    bounds = stats.ttest_ind(sign * here, sign * elsewhere, equal_var=False)
    interval = bounds.confidence_interval(0.95)
    excess, share = sign * float(here.mean() - elsewhere.mean()), len(here) / ball.num_half
    worst = np.flatnonzero(ball.inside)
    worst = worst[np.argsort(-sign * values[worst], kind='stable')][:5]
    in_what = 'similar' if ball.block == groups.ALL else f'similar in {ball.block}'
    if ball.block == blocks.NETWORK:
        in_what = 'similar to the network'
    return Slice(
        (),
        f'{name}, {words.name(table, ball.inside, others)} ({in_what}: object {ids[ball.center]})',
        len(ball.members), share, float(here.mean()), float(elsewhere.mean()), excess,
        (float(interval.low), float(interval.high)), share * excess, ball.p,
        tuple(worst.tolist()), tuple(ids[worst].tolist()),
    )  # fmt: skip


def count_predicted(
    table: pyarrow.Table, class_names: Sequence[str]
) -> tuple[tuple[int, ...], ...]:
    """Number of objects by class and predicted class, see `Objects.confusion`."""
    counts = np.zeros((len(class_names),) * 2, np.int64)
    known = {name: number for number, name in enumerate(class_names)}
    for pair in zip(table['class'].to_pylist(), table['predicted'].to_pylist(), strict=True):
        counts[known[pair[0]], known[pair[1]]] += 1
    return tuple(map(tuple, counts.tolist()))


def table(result: Objects) -> str:
    """Scores of the objects of each class, and the slices."""
    columns = {name: numbers(result.table, name) for name in ('area', 'iou', 'recall', 'loss')}
    classes = np.array(result.table['class'].to_pylist(), np.object_)
    predicted = np.array(result.table['predicted'].to_pylist(), np.object_)
    rows = []
    for name in sorted(set(classes)):
        mine = classes == name
        size = f'{np.median(columns["area"][mine]):.2f}'
        means = [f'{columns[key][mine].mean():.3f}' for key in ('iou', 'recall', 'loss')]
        named = f'{(predicted[mine] == name).mean():.1%}'
        rows.append((name, str(mine.sum()), size, *means, named))
    header = (
        'class', 'objects', 'median % of image', 'mean IoU', 'mean recall', 'mean loss',
        'most pixels as it',
    )  # fmt: skip
    features_of_all = sum(blocks.num_features(result.layers).values())
    space = f'{result.dimensions} components of {features_of_all} features'
    mapped = '; no map' if result.trustworthiness is None else (
        f'; trustworthiness of the map {result.trustworthiness:.3f}'
    )  # fmt: skip
    parts = [
        f'{result.num_objects} objects in {result.num_images} images; left out: '
        f'{result.num_crowds} crowd regions and {result.num_unseen} instances of which no pixel is '
        f'visible at the network’s resolution. Embedding: {space}{mapped}.',
        markdown.table(header, rows),
        'Slices, of one random object per image:',
        slices.table(result.as_slices(), 'objects'),
        *result.notes().values(),
    ]
    return '\n\n'.join(parts)


STAGE = Stage(
    Objects,
    make_parser,
    compute,
    table,
    parts=(FOLDER,),
    shared=True,
)
main = STAGE.main
