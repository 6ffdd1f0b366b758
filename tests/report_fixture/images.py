"""Artifacts with a row or a picture for each image or object."""

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image
from scipy.spatial import cKDTree

from analysis.clusters import stage as clusters
from analysis.clusters.schema import Cluster, Clusters, Density, Tried
from analysis.objects import schema as objects_schema
from analysis.pictures import schema as pictures_schema
from analysis.pictures import stage as pictures
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
from analysis.slices.schema import Condition, MetricSlices, Slice
from analysis.slices.words import describe
from analysis.stage import artifacts
from tests.report_fixture.scenes import HOSTILE, SCENES, draw

_DRAWN_SHEETS = 40  # then they repeat


def make_samples(analysis, kind, categories, hostile, rng) -> pyarrow.Table:
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


def write_clusters(analysis, kind, rng) -> None:
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


def write_maps(analysis, kind, rng) -> None:
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


def write_pictures(analysis, kind, rng) -> None:
    """The sheets of the first images are drawn, later ones are copies of them."""
    folder, total, names = analysis.folder / 'pictures', len(kind), analysis.class_names
    for part in ('sheets', 'details'):
        (folder / part).mkdir(parents=True, exist_ok=True)
    per_sheet = pictures_schema.PER_SHEET
    count = -(-total // per_sheet)
    for number in range(count):
        rows = range(number * per_sheet, min(total, (number + 1) * per_sheet))
        if number < _DRAWN_SHEETS or number == count - 1:
            drawn = [draw(kind[row], rng) for row in rows]
            tiles = [pictures.thumbnails(np.asarray(a), b, c) for a, b, c in drawn]
            pictures.write_sheet(folder, number, tiles)
            continue
        for name in pictures_schema.SHEET_KINDS:
            source = folder / pictures_schema.sheet_path(number % _DRAWN_SHEETS, name)
            (folder / pictures_schema.sheet_path(number, name)).hardlink_to(source)
    details = pictures.interesting(analysis, min(120, total // 4))
    for row in details:
        picture, label, predicted = draw(kind[row], rng)
        soft = np.eye(len(names), dtype=np.float32)[predicted]
        soft = (soft + np.roll(soft, 1, 0) + np.roll(soft, 1, 1) + 0.1) / (3 + 0.1 * len(names))
        loss = -np.log(np.take_along_axis(soft, label[..., None].astype(np.int64), -1)[..., 0])
        picture = picture.resize((320, 240), Image.Resampling.BICUBIC)
        pictures.write_details(folder, row, names, picture, label, soft, loss)
    artifacts.save(analysis, pictures.describe(count, details, 4000.0, 40_000.0))


def write_objects(analysis, hostile, rng) -> None:
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


def write_saliency(analysis, rng) -> None:
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
