"""A run directory with the artifacts of all analyses, for any number of images that do not exist.

    python -m tests.report_fixture runs/forty_thousand --images 40000

Scenes of ten kinds, whose metadata, scores, places on the map and label errors go together as they
do in a real run. No network is trained and no photograph read, so that 40,000 images take a minute;
what the artifacts contain has the real form, as the modules that own them write it.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image, ImageDraw
from pycocotools import mask as mask_utils
from scipy.spatial import cKDTree

from analysis.associations.correlation import associate
from analysis.associations.schema import Associations, GrayscaleComparison
from analysis.clusters import stage as clusters
from analysis.clusters.schema import Cluster, Clusters, Density, Tried
from analysis.compare.schema import (
    Change,
    Comparison,
    ImageChange,
    Layer,
    Neighbors,
    Score,
    Separation,
    Side,
    SliceChange,
    Worse,
    artifact_name,
)
from analysis.confusion.schema import ClassErrors, Confused, Confusion
from analysis.drift.schema import ColumnDrift, Drift, PartDrift
from analysis.duplicates.schema import Duplicates, Leakage, LeakedScore, Member
from analysis.label_issues.schema import KINDS, REGIONS, LabelIssues
from analysis.label_next.schema import RANKING, LabelNext
from analysis.mean_iou.rates import measure_calibration, measure_classes
from analysis.mean_iou.schema import MeanIou
from analysis.objects import schema as objects_schema
from analysis.pictures import schema as pictures_schema
from analysis.pictures import stage as pictures
from analysis.predictions.calibration import BINS
from analysis.predictions.schema import Predictions
from analysis.saliency.schema import (
    MAPS,
    Energy,
    Explained,
    Faithfulness,
    Mean,
    Perturbation,
    Saliency,
    SaliencyMaps,
)
from analysis.saliency.scores import LAYERS
from analysis.samples import schema as samples
from analysis.samples.schema import Samples
from analysis.similar.schema import Distances, Similar
from analysis.similarity_map.schema import Quality, SimilarityMap
from analysis.slices.conditions import load_columns, membership
from analysis.slices.schema import METRICS, Condition, MetricSlices, Slice, Slices
from analysis.slices.words import describe
from analysis.stage import artifacts
from analysis.stage.view import View, open_view
from configs import default
from segmentation import boundaries, metrics
from segmentation.config import save_config

CATEGORIES = (
    'person', 'bicycle', 'car', 'motorcycle', 'bus', 'train', 'truck', 'boat', 'bench', 'bird',
    'cat', 'dog', 'horse', 'sheep', 'cow', 'umbrella', 'skis', 'sports ball', 'kite', 'skateboard',
    'surfboard', 'tennis racket', 'bottle', 'wine glass', 'cup', 'fork', 'bowl', 'pizza', 'cake',
    'chair', 'couch', 'bed', 'dining table', 'tv', 'laptop', 'book', 'clock', 'teddy bear',
)  # fmt: skip
# Kind of scene: categories that are usual, ground color, brightness, mean number of persons, cars.
SCENES = {
    'street': (('car', 'truck', 'bus'), (105, 105, 110), 110, 2.0, 3.0),
    'night': (('car', 'bus'), (25, 28, 45), 35, 1.0, 2.0),
    'beach': (('surfboard', 'umbrella', 'kite'), (225, 205, 160), 175, 2.5, 0.05),
    'snow': (('skis',), (235, 240, 245), 205, 1.6, 0.02),
    'court': (('tennis racket', 'sports ball'), (60, 130, 80), 120, 1.8, 0.02),
    'kitchen': (('bowl', 'cup', 'bottle', 'fork'), (190, 160, 125), 125, 0.9, 0.0),
    'dinner': (('pizza', 'wine glass', 'dining table', 'chair'), (120, 75, 50), 95, 3.0, 0.0),
    'living room': (('couch', 'tv', 'cat', 'book'), (165, 150, 140), 115, 0.8, 0.0),
    'pasture': (('sheep', 'cow', 'horse'), (110, 150, 70), 130, 0.4, 0.1),
    'park': (('bench', 'dog', 'bicycle', 'skateboard'), (90, 140, 75), 120, 1.7, 0.3),
}
# Shown as text, whatever is in them.
HOSTILE = (
    '<img src=x onerror="document.title=1">.jpg', '"quotes\' and `ticks`.jpg', '</script><b>.jpg',
    '\u202egnp.exe', '$math$ **bold** |pipe|.jpg', 'line\u2028separator.jpg', 'x' * 10_000,
)  # fmt: skip
IMAGE_SIZE = 64
_DRAWN_SHEETS = 40  # then they repeat
_REGIONS_DRAWN = 3000


def write_run(
    workdir: pathlib.Path,
    number: int = 300,
    seed: int = 0,
    class_names: tuple[str, ...] = ('background', 'person', 'car'),
    name: str = 'val-600',
    hostile: bool = False,
    only: tuple[str, ...] | None = None,
) -> View:
    """Writes a run directory with an analysis; another `name` adds one to it.

    Args:
      workdir: made if it is not there.
      number: of images, at least 60: with fewer, kinds of scenes are absent.
      seed: the same seed writes the same images; other scores if `name` differs.
      class_names: background first; the first two others are persons and cars.
      name: of the analysis, `<split>-<step>`.
      hostile: give images, clusters and a category names that must not be taken for anything else.
      only: kinds of artifacts, such as ('pictures',), besides samples; default: all.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    config = default.get_config()
    config.data.image_size = IMAGE_SIZE
    save_config(config, workdir / 'config.json')
    described = {
        'class_names': list(class_names),
        'data': {'path': 'none', 'fingerprint': {'version': '1.0.0', 'id': f'drawn{seed}'}},
    }
    (workdir / 'run.json').write_text(json.dumps(described))
    folder = workdir / 'analysis' / name
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(10 * number, number, replace=False)) + 17_000_000
    # The header says which images there are before samples.parquet can.
    pyarrow.parquet.write_table(pyarrow.table({'image_id': ids}), folder / 'samples.parquet')
    analysis = open_view(workdir, name)
    kind = rng.integers(0, len(SCENES), number)
    categories = list(CATEGORIES)
    if hostile:
        categories[-1] = '<b>teddy</b> "bear" ' + '\u202e' + 'z' * 300
    table = _samples(analysis, kind, tuple(categories), hostile, rng)
    artifacts.save(analysis, samples.summarize(table))
    makers = {
        'clusters': lambda: _clusters(analysis, kind, rng),
        'similarity_map': lambda: _maps(analysis, kind, rng),
        'label_issues': lambda: _label_issues(analysis, kind, rng),
        'slices': lambda: _slices(analysis),
        'associations': lambda: _associations(analysis),
        'confusion': lambda: _confusion(analysis, categories, rng),
        'pictures': lambda: _pictures(analysis, kind, rng),
        'saliency': lambda: _saliency(analysis, rng),
        'mean_iou': lambda: _scores(analysis, np.random.default_rng(seed)),
        'duplicates': lambda: _duplicates(analysis, hostile),
        'drift': lambda: _drift(analysis, np.random.default_rng(seed)),
        'label_next': lambda: _label_next(analysis, hostile),
        'objects': lambda: _objects(analysis, hostile, np.random.default_rng(seed)),
    }
    for maker in makers if only is None else only:
        makers[maker]()
    return analysis


def _samples(analysis, kind, categories, hostile, rng) -> pyarrow.Table:
    number, names = len(kind), analysis.class_names
    schema = samples.table_schema(names, categories)
    scenes = list(SCENES.values())
    bright = np.array([scene[2] for scene in scenes])[kind]
    persons = rng.poisson(np.array([scene[3] for scene in scenes])[kind])
    cars = rng.poisson(np.array([scene[4] for scene in scenes])[kind])
    gray = rng.random(number) < 0.04
    values: dict[str, np.ndarray] = {
        'image_id': analysis.image_ids,
        'file_name': np.array([f'{i:012d}.jpg' for i in analysis.image_ids], object),
        'split': np.full(number, analysis.split),
        'source_split': np.where(rng.random(number) < 0.2, 'train_person_car', 'train'),
        'width': np.where(rng.random(number) < 0.7, 640, 480),
        'brightness': (bright + rng.normal(0, 18, number)).clip(2, 250),
        'contrast': rng.gamma(9, 6, number),
        'sharpness': rng.lognormal(6.5, 0.9, number),
        'saturation': np.where(gray, 0, rng.beta(3, 5, number)),
        'hue_std': np.where(gray, np.nan, rng.gamma(6, 10, number)),
        'is_colored': ~gray | (rng.random(number) < 0.5),
        'is_grayscale': gray,
        'crowd_percent': np.where(rng.random(number) < 0.05, rng.gamma(2, 5, number), 0),
    }
    if hostile:
        values['file_name'][: len(HOSTILE)] = HOSTILE
    values['height'] = np.where(values['width'] == 640, rng.choice([427, 480, 360], number), 640)
    values['aspect_ratio'] = values['width'] / values['height']
    counts = {names[1]: persons, names[2]: cars}
    for other in names[3:]:
        counts[other] = rng.poisson(0.3, number)
    total, percents = np.zeros(number, np.int64), np.zeros(number)
    for name, count in counts.items():
        size = rng.lognormal(1.3, 0.9, number).clip(0.1, 40)
        values[f'num_{name}'] = count
        values[f'mean_size_{name}'] = np.where(count, size, np.nan)
        values[f'percent_{name}'] = (size * count).clip(0, 90 / len(counts))
        total, percents = total + count, percents + values[f'percent_{name}']
    values['percent_background'] = 100 - percents
    values['num_instances'] = total
    sizes = np.stack([values[f'mean_size_{name}'] for name in counts])
    values['smallest_instance'] = np.where(total, np.nan_to_num(sizes, nan=99).min(0) * 0.6, np.nan)
    values['truncated_share'] = np.where(total, rng.beta(1, 3, number).round(1), np.nan)
    usual = [scene[0] for scene in scenes]
    for category in categories:
        rate = np.where([category in usual[k] for k in kind], 0.9, 0.03)
        values[f'count_{category}'] = rng.poisson(rate).astype(np.float64)
        if category in ('bus', 'truck'):
            values[f'count_{category}'][values['source_split'] == 'train_person_car'] = np.nan
    values['count_person'], values['count_car'] = persons.astype(float), cars.astype(float)
    # Dark, small and crowded is hard.
    rng = np.random.default_rng([len(kind), analysis.step])
    hard = (values['brightness'] < 50) * 0.9 + (total > 4) * 0.4 + rng.normal(0, 0.6, number)
    values['loss'] = np.exp(-2.2 + 0.5 * hard + 0.018 * percents)
    for k, name in enumerate(names):
        share = values[f'percent_{name}']
        score = 1 / (1 + np.exp(0.8 * hard - 0.4 * np.log1p(share) + (0.5 * k - 0.8)))
        values[f'iou_{name}'] = np.where(share > 0, score, np.nan)
    scores = np.stack([values[f'iou_{name}'] for name in names[1:]])
    exists = ~np.isnan(scores)
    values['mean_iou_foreground'] = np.where(
        exists.any(0), np.nan_to_num(scores).sum(0) / exists.sum(0).clip(1), np.nan
    )
    values['pixel_accuracy'] = np.exp(-0.5 * values['loss'])
    values['confidence'] = (values['pixel_accuracy'] + rng.normal(0, 0.03, number)).clip(0.3, 1)
    values['entropy'] = 0.8 * values['loss'] + rng.gamma(2, 0.02, number)
    values['calibration_error'] = np.abs(values['pixel_accuracy'] - values['confidence'])
    columns = []
    for field in schema:
        column = values[field.name]
        null = np.isnan(column) if column.dtype.kind == 'f' else None
        columns.append(pyarrow.array(column.tolist(), mask=null).cast(field.type, safe=False))
    return pyarrow.Table.from_arrays(columns, schema=schema)


def _scores(analysis, rng) -> None:
    """Scores of at most 500 images: two thirds of the pixels are right, and too certain."""
    names, number = analysis.class_names, min(500, len(analysis))
    confusions = rng.integers(0, 50, (number, len(names), len(names)))
    confusions += np.diag([900] + [60] * (len(names) - 1))
    boundary = np.sort(rng.integers(0, 90, (number, len(names), 3)) * [1, 1, 0], axis=-1)[
        ..., [1, 2, 0]
    ]
    pixels = rng.integers(50, 90, (number, 2, BINS))
    confidence = (np.arange(BINS) + 0.5) / BINS
    wrong = [[0.8], [0.97]]
    bins = np.stack([pixels, pixels * confidence, pixels * confidence * wrong], axis=-1)
    rows = [
        {'confusion_original': c.ravel(), 'boundary_original': b.ravel(), 'reliability': r.ravel()}
        for c, b, r in zip(confusions, boundary, bins, strict=True)
    ]
    made = Predictions(64, len(names), pyarrow.Table.from_pylist(rows), temperature=1.3)
    summary = metrics.summarize(confusions, names, num_resamples=100)
    result = MeanIou(
        analysis.split, analysis.step, names, number, 64, 0.3, summary, summary,
        tuple(map(tuple, confusions.sum(0).tolist())), measure_classes(made, names),
        boundaries.BAND, measure_calibration(made), metrics.ABSENT_CLASS_RULE, {}, {},
    )  # fmt: skip
    artifacts.save(analysis, result)


def _duplicates(analysis, hostile) -> None:
    """Pairs over two splits and, last, three copies in the view."""
    changes = ('mirrored', 'cropped'), ('brightness',), ('exact',)
    name = '<b>copy</b>.jpg' if hostile else 'copy.jpg'

    def member(row: int, kinds: tuple[str, ...]) -> Member:
        similarity = 1 - 0.01 * len(kinds)
        ids = int(analysis.image_ids[row]), analysis.split, f'{row}.jpg', row, False
        return Member(*ids, kinds, similarity)

    groups = [
        (member(row, ()), Member(row, 'train', name, None, True, kinds, 0.9))
        for row, kinds in enumerate(changes)
    ]
    groups.append(tuple(member(row, ('re-encoded',) if row > 9 else ()) for row in (9, 10, 11)))
    colors = np.linspace(30, 220, 9).astype(np.uint8)
    pictures = np.broadcast_to(colors[:, None, None, None], (9, 96, 96, 3))
    score = LeakedScore('person', 0.52, 0.48, 0.04, (0.01, 0.07))
    leakage = Leakage(len(changes), (score,))
    artifacts.save(
        analysis, Duplicates(2 * len(analysis), 'x', 0.7, tuple(groups), leakage, pictures)
    )


def _drift(analysis, rng) -> None:
    """As if the view were compared with training images."""
    columns = [ColumnDrift('brightness', 60, 90.0, 130.0, 0.4, 0.001)]
    columns += [ColumnDrift(f'embedding {k}', 60, 0.0, 0.1, 0.1, 0.5) for k in range(1, 15)]
    part = PartDrift(analysis.split, len(analysis), True, 1.2, tuple(columns))
    novelty = rng.gamma(9, 0.12, len(analysis)).astype(np.float32)
    artifacts.save(analysis, Drift('train', len(analysis), 900, (part,), novelty))


def _label_next(analysis, hostile) -> None:
    """As if most images had no annotations; the first ones, with hostile names, come first."""
    rows = np.arange(min(len(analysis) - 5, 500))  # as many as the stage ranks by default
    scores = np.linspace(0.4, 0.1, len(rows))
    folder = '<b>folder</b>' if hostile else 'photos'
    names = artifacts.load(analysis, Samples).table['file_name'].to_pylist()
    table = pyarrow.Table.from_pydict(
        {
            'rank': rows + 1, 'row': rows, 'image_id': analysis.image_ids[rows],
            'folder': [folder] * len(rows), 'file_name': names[: len(rows)],
            'uncertainty': 2 * scores, 'distance': np.full(len(rows), 0.5), 'score': scores,
        },
        RANKING,
    )  # fmt: skip
    artifacts.save(analysis, LabelNext(('train',), 5, len(rows), (0.5, 0.25), table))


def _objects(analysis, hostile, rng) -> None:
    """Two objects in every other image, of the first 400; the second is small, often not found."""
    names = analysis.class_names
    image = np.repeat(np.arange(0, min(len(analysis), 400), 2), 2)
    number = len(image)
    small = np.arange(number) % 2 == 1
    files = artifacts.load(analysis, Samples).table['file_name'].to_pylist()
    kind = rng.integers(1, 3, number)
    found = rng.random(number) < np.where(small, 0.4, 0.9)
    values = {
        field.name: rng.uniform(0.1, 0.9, number)
        for field in objects_schema.TABLE
        if field.type == pyarrow.float32()
    }
    values |= {
        'annotation_id': 10**12 + np.arange(number), 'image': image,
        'image_id': analysis.image_ids[image], 'file_name': [files[row] for row in image],
        'upper_color': ['red'] * number, 'lower_color': ['blue'] * number,
        'class': [names[k] for k in kind], 'predicted': [names[k] for k in kind * found],
        'category': ['<b>x</b>' if hostile else names[k] for k in kind],
        'area': np.where(small, 1, 20) * rng.uniform(0.5, 1, number), 'truncated': ~small,
        'loss': np.where(found, 0.2, 2) + rng.uniform(0, 0.1, number), 'aspect_ratio': [1] * number,
    }  # fmt: skip
    table = pyarrow.table(
        {name: pyarrow.array(values[name]).cast(objects_schema.TABLE.field(name).type)
         for name in objects_schema.TABLE.names},
        schema=objects_schema.TABLE,
    )  # fmt: skip
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (kind, kind * found), 1)
    points = np.stack([values['area'], values['loss']], 1).astype(np.float32)
    distance, index = cKDTree(points).query(points, 6)
    inside = samples.numbers(table, 'area') <= 2
    worst = tuple(np.argsort(-values['loss'] * inside)[:5].tolist())
    slice_found = Slice(
        (Condition('area', '<=', 2.0),), describe([Condition('area', '<=', 2.0)]),
        int(inside.sum()), 0.5, 1.2, 0.3, 0.9, (0.7, 1.1), 0.45, 0.0002, worst,
        tuple(values['annotation_id'][list(worst)].tolist()),
    )  # fmt: skip
    parts = {'loss': MetricSlices(number, 0.8, 3, (slice_found,)), 'iou': MetricSlices(
        number, 0.5, 3, ()
    )}  # fmt: skip
    sheets = -(-number // pictures_schema.PER_SHEET)
    folder = analysis.folder / objects_schema.FOLDER
    (folder / 'sheets').mkdir(parents=True, exist_ok=True)
    for sheet in range(sheets):
        rows = range(number)[sheet * pictures_schema.PER_SHEET :][: pictures_schema.PER_SHEET]
        label = np.zeros((8, 8), np.uint8)
        label[2:6, 2:6] = 1
        tiles = [
            pictures.thumbnails(np.full((8, 8, 3), row % 250, np.uint8), label, label)
            for row in rows
        ]
        pictures.write_sheet(folder, sheet, tiles)
    artifacts.save(
        analysis,
        objects_schema.Objects(
            num_images=len(analysis), num_objects=number, num_crowds=3, num_unseen=4, layers={},
            dimensions=2, blocks={'color': 2}, explained=(), trustworthiness=0.9, groups=(),
            confusion=tuple(map(tuple, counts.tolist())), slices=parts, num_sheets=sheets,
            table=table, points=points, map_2d=points, index=index[:, 1:].astype(np.int32),
            index_by_block=index[None, :, :0:-1].astype(np.int32),
            distance_by_block=distance[None, :, :0:-1].astype(np.float32),
            distance=distance[:, 1:].astype(np.float32), members=np.packbits(inside[None], axis=1),
        ),
    )  # fmt: skip


def _clusters(analysis, kind, rng) -> None:
    k = len(SCENES)
    order = np.argsort(-np.bincount(kind, minlength=k), kind='stable')
    label = np.argsort(order)[kind].astype(np.int32)
    label = np.where(rng.random(len(kind)) < 0.06, rng.integers(0, k, len(kind)), label)
    label = label.astype(np.int32)
    members = [rng.permutation(np.flatnonzero(label == number)).tolist() for number in range(k)]
    centroids = rng.normal(size=(k, 24)).astype(np.float32)
    density = np.where(rng.random(len(kind)) < 0.5, label, -1).astype(np.int32)
    sizes = np.bincount(density[density >= 0]).tolist()
    found = Clusters(
        num_images=len(kind),
        tried=tuple(Tried(n, 0.9 - 0.03 * abs(n - k), 0.1) for n in range(6, 15)),
        density=Density(tuple(map(Cluster, sizes)), int((density < 0).sum()), 0.7, 0.9),
        clusters=tuple(
            Cluster(len(rows), stability, tuple(rows[:8]), tuple(rows[-8:]))
            for rows, stability in zip(members, rng.uniform(0.5, 0.95, k).tolist(), strict=True)
        ),
        label=label,
        centroids=centroids,
        density_label=density,
    )
    artifacts.save(analysis, clusters.describe(analysis, found))


def _maps(analysis, kind, rng) -> None:
    number, k = len(kind), len(SCENES)
    angle = 2 * np.pi * np.arange(k) / k
    centers = np.stack([np.cos(angle), np.sin(angle), np.cos(3 * angle) / 2], 1) * 30
    bent = rng.normal(size=(number, 3)) * np.array([7, 4, 5])
    bent[:, 1] += 0.06 * bent[:, 0] ** 2
    turn = angle[kind]
    x, y = bent[:, 0] * np.cos(turn) - bent[:, 1] * np.sin(turn), bent[:, 0] * np.sin(turn)
    points = centers[kind] + np.stack([x, y + bent[:, 1] * np.cos(turn), bent[:, 2]], 1)
    points = points.astype(np.float32)
    quality = Quality(2, 0.93, 0.4), Quality(3, 0.96, 0.52)
    artifacts.save(analysis, SimilarityMap(number, 10, quality, points[:, :2], points))
    distance, index = cKDTree(points).query(points, min(21, number))
    # Of copies the image itself may not come first.
    others = index != np.arange(number)[:, None]
    others[others.all(1), -1] = False
    index = index[others].reshape(number, -1).astype(np.int32)
    distance = (distance[others].reshape(number, -1) / 40).astype(np.float32)
    medians = Distances(float(np.median(distance[:, 0])), float(np.median(distance[:, -1])))
    artifacts.save(analysis, Similar(number, index.shape[1], medians, index, distance))


def _label_issues(analysis, kind, rng) -> None:
    ids, names = analysis.image_ids, analysis.class_names
    files = artifacts.load(analysis, Samples).table['file_name'].to_pylist()
    rows = []
    for row in np.flatnonzero(rng.random(len(kind)) < 0.3):
        for number in range(rng.integers(1, 4)):
            issue = KINDS[rng.integers(0, len(KINDS))]
            left, top = rng.uniform(0, 0.6, 2)
            right, bottom = np.array([left, top]) + rng.uniform(0.1, 0.4, 2)
            suspect, other = rng.permutation(names[1:3]).tolist()
            missing = issue == 'missing instance'
            rows.append(
                {
                    'row': int(row),
                    'file_name': files[row],
                    'kind': issue,
                    'score': float(rng.beta(0.6, 1.6)),
                    'object': number,
                    'given': names[0] if missing else suspect,
                    'suggested': {
                        'wrong class': other,
                        'spurious label': names[0],
                    }.get(issue, suspect),
                    'confidence': float(rng.uniform(0.4, 1)),
                    'annotation_id': None if missing else int(100 * ids[row]),
                    'area': 100 * float((right - left) * (bottom - top)),
                    'left': float(left),
                    'top': float(top),
                    'right': float(right),
                    'bottom': float(bottom),
                }
            )
    for row in rows:
        row['probability'] = row['score'] ** 2
    rows.sort(key=lambda row: -row['probability'])
    y, x = (np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE] + 0.5) / IMAGE_SIZE
    for number, row in enumerate(rows):
        if number < _REGIONS_DRAWN:
            middle = (row['left'] + row['right']) / 2, (row['top'] + row['bottom']) / 2
            half = (row['right'] - row['left']) / 2, (row['bottom'] - row['top']) / 2
            inside = ((x - middle[0]) / half[0]) ** 2 + ((y - middle[1]) / half[1]) ** 2 <= 1
            rle = mask_utils.encode(np.asfortranarray(inside, np.uint8))['counts']
        row['rle'] = rle
    table = pyarrow.Table.from_pylist(rows, REGIONS)
    quality = np.full(len(kind), np.nan)
    artifacts.save(analysis, LabelIssues(len(kind), 'not used', quality, table))


def _slices(analysis) -> None:
    columns, table = load_columns(analysis), artifacts.load(analysis, Samples).table
    person = analysis.class_names[1]
    tried = {
        'loss': (
            [Condition('brightness', '<=', 50.0)], [Condition(f'num_{person}', '>=', 4.0)],
        ),
        'mean_iou_foreground': (
            [Condition('brightness', '<=', 60.0), Condition('sharpness', '>=', 700.0)],
            [Condition(f'percent_{person}', '<=', 3.0)],
        ),
    }  # fmt: skip
    metrics, members = {}, []
    for metric, sign in METRICS.items():
        values = samples.numbers(table, metric.removesuffix('_given_size'))
        known, found = ~np.isnan(values), []
        for conditions in tried.get(metric, ()):
            member = membership(columns, conditions)
            inside = member & known
            here, elsewhere = values[inside], values[~inside & known]
            if len(here) < 5:
                continue
            members.append(member)
            excess, share = sign * float(here.mean() - elsewhere.mean()), float(inside.mean())
            half = 1.96 * float(here.std() / np.sqrt(len(here)))
            worst = np.flatnonzero(inside)[np.argsort(-sign * here)[:5]]
            found.append(
                Slice(
                    conditions=tuple(conditions), text=describe(conditions), size=int(inside.sum()),
                    share=share, mean=float(here.mean()), mean_elsewhere=float(elsewhere.mean()),
                    excess=excess, interval=(excess - half, excess + half), impact=share * excess,
                    p=0.0004, worst=tuple(worst.tolist()),
                    worst_ids=tuple(analysis.image_ids[worst].tolist()),
                )
            )  # fmt: skip
        mean = float(values[known].mean())
        metrics[metric] = MetricSlices(int(known.sum()), mean, 2 * len(found), tuple(found))
    packed = np.packbits(np.array(members, np.bool_).reshape(-1, len(table)), axis=1)
    artifacts.save(analysis, Slices(len(table), 0, False, metrics, packed))


def _associations(analysis) -> None:
    table = artifacts.load(analysis, Samples).table
    rows = np.random.default_rng(0).permutation(len(table))[:2000]  # more take long
    chosen = [name for name in samples.columns(table, 'metadata') if not name.startswith('count_')]
    columns, performance = (
        {name: samples.numbers(table, name)[rows] for name in names}
        for names in (chosen, samples.columns(table, 'metric'))
    )
    found, not_tested = associate(columns, performance)
    means = {metric: float(np.nanmean(values)) for metric, values in performance.items()}
    copies = tuple(
        GrayscaleComparison(
            metric=metric, n=len(rows), color=mean, gray=0.9 * mean, difference=-0.1 * mean,
            interval=(-0.12, -0.08), p=1e-9, worse=0.7, q=1e-8,
        )
        for metric, mean in means.items()
    )  # fmt: skip
    result = Associations(len(table), 2 * len(found), len(found), found, not_tested, copies)
    artifacts.save(analysis, result)


def _confusion(analysis, categories, rng) -> None:
    names = analysis.class_names
    base = {
        name: ClassErrors(0.02, (0.018, 0.022), 10_000, 0.6, (0.55, 0.65)) for name in names[1:]
    }
    rows = []
    for category in categories:
        for called in names[1:]:
            if category == called:
                continue
            share = 0.55 if (category, called) == ('truck', 'car') else float(rng.beta(1, 9))
            rows.append(
                Confused(
                    category=category, called=called,
                    label=category if category in names else names[0], images=40,
                    effective_images=21.5, pixels=90_000, instances=60, share=share,
                    interval=(0.8 * share, min(1, 1.2 * share)), excess=share - 0.02,
                    excess_interval=(0.8 * share - 0.02, 1.2 * share - 0.02),
                    instance_share=share, instance_interval=(0.7 * share, 1.3 * share),
                    wrong_share=share / 8, wrong_interval=(share / 10, share / 6),
                )
            )  # fmt: skip
    rows.sort(key=lambda row: -row.excess)
    artifacts.save(analysis, Confusion(len(analysis), (), base, tuple(rows)))


def _draw(kind: int, rng: np.random.Generator) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """Picture, label and prediction of a scene."""
    _, ground, bright, persons, cars = list(SCENES.values())[kind]
    size = IMAGE_SIZE
    picture, label = Image.new('RGB', (size, size), ground), Image.new('L', (size, size), 0)
    sky = tuple(int(min(255, 60 + bright * share)) for share in (0.7, 0.8, 1.0))
    pen, marks = ImageDraw.Draw(picture), ImageDraw.Draw(label)
    pen.rectangle((0, 0, size, size // 3), fill=sky)
    for value, rate in ((2, cars), (1, persons)):
        for _ in range(min(5, rng.poisson(rate))):
            x, y = rng.integers(2, size - 14), rng.integers(size // 3, size - 20)
            color = tuple(rng.integers(20, 235, 3).tolist())
            if value == 2:
                for each, fill in ((pen, color), (marks, value)):
                    each.rounded_rectangle((x, y, x + 16, y + 8), 3, fill=fill)
                pen.ellipse((x + 1, y + 6, x + 5, y + 10), fill=(20, 20, 20))
                pen.ellipse((x + 11, y + 6, x + 15, y + 10), fill=(20, 20, 20))
            else:
                for each, fill in ((pen, color), (marks, value)):
                    each.rectangle((x, y, x + 5, y + 14), fill=fill)
                for each, fill in ((pen, (224, 172, 140)), (marks, value)):
                    each.ellipse((x, y - 5, x + 5, y), fill=fill)
    noise = rng.normal(0, 9, (size, size, 3))
    picture = Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))
    label = np.asarray(label)
    predicted = np.roll(label, rng.integers(-3, 4, 2), (0, 1))
    predicted = np.where(rng.random() < 0.15, 3 - predicted, predicted) % 3 * (predicted > 0)
    return picture, label, predicted.astype(np.uint8)


def _pictures(analysis, kind, rng) -> None:
    """The sheets of the first images are drawn, later ones are copies of them."""
    folder, total, names = analysis.folder / 'pictures', len(kind), analysis.class_names
    for part in ('sheets', 'details'):
        (folder / part).mkdir(parents=True, exist_ok=True)
    per_sheet = pictures_schema.PER_SHEET
    count = -(-total // per_sheet)
    for number in range(count):
        rows = range(number * per_sheet, min(total, (number + 1) * per_sheet))
        if number < _DRAWN_SHEETS or number == count - 1:
            drawn = [_draw(kind[row], rng) for row in rows]
            tiles = [pictures.thumbnails(np.asarray(a), b, c) for a, b, c in drawn]
            pictures.write_sheet(folder, number, tiles)
            continue
        for name in pictures_schema.SHEET_KINDS:
            source = folder / pictures_schema.sheet_path(number % _DRAWN_SHEETS, name)
            (folder / pictures_schema.sheet_path(number, name)).hardlink_to(source)
    details = pictures.interesting(analysis, min(120, total // 4))
    for row in details:
        picture, label, predicted = _draw(kind[row], rng)
        soft = np.eye(len(names), dtype=np.float32)[predicted]
        soft = (soft + np.roll(soft, 1, 0) + np.roll(soft, 1, 1) + 0.1) / (3 + 0.1 * len(names))
        loss = -np.log(np.take_along_axis(soft, label[..., None].astype(np.int64), -1)[..., 0])
        picture = picture.resize((320, 240), Image.Resampling.BICUBIC)
        pictures.write_details(folder, row, names, picture, label, soft, loss)
    artifacts.save(analysis, pictures.describe(count, details, 4000.0, 40_000.0))


def _saliency(analysis, rng) -> None:
    number, names = len(analysis), analysis.class_names
    targets = (*names[1:], 'loss', 'cluster')
    label = artifacts.load(analysis, Clusters).label
    cells = np.exp(-((np.mgrid[:8, :8] - 3.5) ** 2).sum(0) / 8)
    cells = np.round(110 * np.roll(cells, 1, 0)).astype(np.int8)
    maps = SaliencyMaps(
        targets=targets,
        layers=LAYERS,
        score=np.ones((number, len(targets)), np.float32),
        gradient=np.zeros((number, len(targets), 8, 8), np.uint8),
        gradient_scale=np.zeros((number, len(targets)), np.float32),
        layer_maps={
            layer: np.broadcast_to(cells, (number, len(targets), 8, 8)) for layer in LAYERS
        },
        layer_scale=np.zeros((number, len(targets), len(LAYERS)), np.float32),
        predicted=np.zeros((number, len(names)), np.float32),
        cluster=label,
        other=label,
        common={},
        agreement={},
    )
    artifacts.save(analysis, maps, name=MAPS)
    area = Mean(0.2, (0.15, 0.25), 16)
    curve = Perturbation((1.0, 0.0), area, {'center': area})
    explained = Explained(16, 0.1, {'gradient': Faithfulness(curve, curve)})
    energy = Energy(f'class {names[1]}', names[1], 'gradient', 16, area, 0.1, 2.0, 0.6)
    result = Saliency(('gradient',), (energy,), (), explained, explained)
    artifacts.save(analysis, result)


def write_comparison(this: View, other: View) -> None:
    """Writes what `analysis.compare` would say of two runs that `write_run` wrote."""
    number, targets = len(this), ('this', 'other')
    change = Change(0.5, 0.53, 0.03, (0.01, 0.05))
    sides = [Side(str(view.workdir), view.step, view.class_names, number) for view in (this, other)]
    slices = [one for _, one, _ in artifacts.load(this, Slices).each()]
    found = [(one.text, one.conditions) for one in slices]
    image = ImageChange(5, int(this.image_ids[5]), 'file.jpg', (0.5, 0.9), (0.4, None))
    result = Comparison(
        *sides,
        number,
        scores=tuple(
            Score(
                **vars(change), target=target, metric=metric, class_name=name, p=0.01,
                minimum_detectable=0.02,
            )
            for target in targets
            for metric in ('iou', 'image_iou')
            for name in (*this.class_names[1:], 'mean')
        ),
        slices=tuple(
            SliceChange(*one, 30, change, change) for one in (('all images', ()), *found)
        ),
        metadata=(),
        neighbors=Neighbors(10, 0.6, (0.55, 0.65), 0.45, (0.4, 0.5), 10 / number),
        layers=tuple(Layer(name, 1 - 0.1 * i, 1 - 0.12 * i) for i, name in enumerate(LAYERS)),
        num_images_layers=number,
        separation=tuple(
            Separation(
                target, space, 'linear probe', 40, 20,
                0.5, (0.4, 0.6), 0.53, (0.43, 0.63), 0.03, (0.01, 0.05),
            )
            for target in targets
            for space in ('embeddings', 'decoder')
        ),
        worse={'this': Worse((), ()), 'other': Worse(tuple(slices[:1]), (image,))},
    )  # fmt: skip
    artifacts.save(this, result, name=artifact_name(other))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('workdir', type=pathlib.Path)
    parser.add_argument('--images', type=int, default=300, help='default: %(default)s')
    parser.add_argument('--hostile', action='store_true', help='names that try to be markup')
    arguments = parser.parse_args(argv)
    write_run(arguments.workdir, arguments.images, hostile=arguments.hostile)
    return 0


if __name__ == '__main__':
    sys.exit(main())


def open_report(context, folder, fragment, wrong):
    """Opens a report in a browser, when everything in it has been loaded.

    Args:
      context: of Playwright.
      folder: of the report.
      fragment: of its address.
      wrong: list that gets what is said on the console, and requests outside of the report.
    """
    page = context.new_page()
    page.on('console', lambda message: wrong.append(message.text))
    page.on('pageerror', lambda error: wrong.append(str(error)))
    inside = (folder.as_uri(), 'data:', 'blob:')
    page.on('request', lambda request: request.url.startswith(inside) or wrong.append(request.url))
    page.goto(f'{folder.as_uri()}/index.html#{fragment}')
    page.wait_for_selector('body[data-loaded]')
    settle(page)
    return page


def settle(page):
    """Waits until data are loaded and what was emitted is drawn: handlers run in the next frame."""
    page.evaluate("""new Promise((done) => {
        const look = () =>
            document.querySelector('[aria-busy=true]')
                ? setTimeout(look, 10)
                : requestAnimationFrame(() => requestAnimationFrame(done));
        look();
    })""")
