"""The stage of objects, on a tiny network and the drawings of noise."""

import shutil

import jax
import numpy as np
import pyarrow
import pytest

from analysis.label_issues.regions import instances_of
from analysis.objects import features
from analysis.objects import stage as objects
from analysis.objects.blocks import points_of
from analysis.objects.looks import BLOCKS
from analysis.objects.schema import TABLE, Objects
from analysis.similar.neighbors import neighbors
from analysis.stage import artifacts
from analysis.stage.run import open_analysis, restrict
from segmentation.activations import activations, find_layers
from segmentation.models.unet import scale_images

CLASSES = {1: 1, 3: 2}
LAYERS = ('encoder/block_3_expand_relu', 'decoder/logits')


@pytest.fixture(scope='module')
def analysis(tiny_run, tmp_path_factory):
    return open_analysis(shutil.copytree(tiny_run, tmp_path_factory.mktemp('objects') / 'run'))


@pytest.fixture(scope='module')
def found(analysis):
    return objects.STAGE.get(analysis, layers=LAYERS)


def annotated(analysis):
    """(row of the image, instance) of the classes, in order."""
    pairs = []
    for row in range(len(analysis)):
        record, label = analysis.examples.record(row), analysis.examples.label(row)
        pairs += [(row, one) for one in instances_of(record, CLASSES, label) if one.label]
    return pairs


def content(analysis):
    """The files of the stage, by name."""
    paths = [*analysis.folder.glob('objects*'), *(analysis.folder / 'objects').rglob('*.webp')]
    return {
        path.relative_to(analysis.folder): path.read_bytes() for path in paths if path.is_file()
    }


def test_every_instance_is_a_row_or_counted(analysis, found):
    pairs = annotated(analysis)
    shown = [(row, one) for row, one in pairs if not one.crowd and one.mask.any()]
    assert found.num_crowds == sum(one.crowd for _, one in pairs) > 0
    assert found.num_unseen == sum(not one.crowd and not one.mask.any() for _, one in pairs)
    assert found.num_objects == len(found.table) == len(shown) > 6
    assert found.table['image'].to_pylist() == [row for row, _ in shown]
    assert found.table['annotation_id'].to_pylist() == [one.annotation_id for _, one in shown]
    ids = analysis.image_ids[found.table['image'].to_numpy()]
    np.testing.assert_array_equal(found.table['image_id'].to_numpy(), ids)
    names = [analysis.class_names[one.label] for _, one in shown]
    assert found.table['class'].to_pylist() == found.table['category'].to_pylist() == names
    assert sum(map(sum, found.confusion)) == len(shown) and not any(found.confusion[0])


def test_features_are_averages_under_the_masks(analysis):
    pieces = list(features.stream(analysis, np.arange(len(analysis)), LAYERS))
    made = np.concatenate([piece.features for piece in pieces])[:, : -sum(BLOCKS.values())]
    run, place = analysis.run, 0
    for row in range(len(analysis)):
        image = scale_images(analysis.examples[row]['image'][None], 'imagenet')
        maps = activations(run.model, run.variables, image, set(LAYERS).__contains__)
        for of_image, one in annotated(analysis):
            if of_image != row or one.crowd or not one.mask.any():
                continue
            expected = []
            for layer in LAYERS:
                cells = np.asarray(maps[layer][0], np.float64)
                step = 32 // len(cells)
                weight = one.mask.reshape(len(cells), step, len(cells), step).sum((1, 3))
                expected.append((cells * weight[..., None]).sum((0, 1)) / weight.sum())
            np.testing.assert_allclose(made[place], np.concatenate(expected), rtol=1e-3, atol=1e-4)
            place += 1
    assert place == len(made)


def test_images_with_many_objects_take_more_passes(analysis, monkeypatch):
    once = list(features.stream(analysis, np.arange(len(analysis)), LAYERS))
    monkeypatch.setattr(features, 'AT_ONCE', 1)
    again = list(features.stream(analysis, np.arange(len(analysis)), LAYERS))
    assert max(len(piece.rows) for piece in once) > 1
    for first, second in zip(once, again, strict=True):
        np.testing.assert_allclose(first.features, second.features, rtol=1e-4, atol=1e-5)
        assert first.rows == second.rows


def test_neighbors_and_map_are_of_the_embedding(analysis, found):
    assert found.points.shape == (found.num_objects, found.dimensions)
    np.testing.assert_allclose(np.linalg.norm(found.points, axis=1), 1, atol=1e-5)
    index, distance = neighbors(found.points, 20)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_array_equal(found.distance, distance)
    assert list(found.blocks) == ['network', 'color', 'shape']
    for number, name in enumerate(found.blocks):
        own = points_of(found.points, found.blocks, name)
        index, distance = neighbors(own, found.index.shape[1])
        np.testing.assert_array_equal(found.index_by_block[number], index)
        np.testing.assert_array_equal(found.distance_by_block[number], distance)
    assert found.map_2d.shape == (found.num_objects, 2)
    assert 0 < found.trustworthiness <= 1


def test_one_device_gives_the_same(analysis, found, tiny_run, tmp_path, monkeypatch):
    device = jax.local_devices()[:1]
    monkeypatch.setattr(jax, 'local_device_count', lambda: 1)
    monkeypatch.setattr(jax, 'local_devices', lambda: device)
    alone = open_analysis(shutil.copytree(tiny_run, tmp_path / 'run'))
    objects.STAGE.get(alone, layers=LAYERS)
    assert any(name.suffix == '.webp' for name in content(alone))
    assert content(alone) == content(analysis)
    assert not list(alone.folder.glob('*.partial'))


def test_images_without_objects(analysis, coco_folder, tmp_path):
    """As those of a folder without annotations."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    for path in list((coco_folder / 'val').iterdir())[:2]:
        shutil.copy(path, folder)
    several = open_analysis(analysis.workdir, 'val', folders=[folder])
    assert 'one split' in objects.STAGE.why_not(several)
    empty = restrict(several, np.flatnonzero(several.image_ids > 10**12))
    result = objects.compute(empty, layers=LAYERS)
    assert (result.num_images, result.num_objects, result.num_sheets) == (2, 0, 0)
    assert result.points.shape == (0, 0) and result.trustworthiness is None
    artifacts.save(several, result)
    assert artifacts.load(several, Objects).table.schema.equals(TABLE)
    assert '0 objects in 2 images' in objects.table(result)


def test_command(analysis, found, capsys):
    assert objects.main(['--workdir', str(analysis.workdir), '--layers', *LAYERS]) == 0
    printed = capsys.readouterr().out
    assert f'{found.num_objects} objects in 6 images; left out: {found.num_crowds} crowd' in printed
    number = sum(found.layers.values()) + sum(BLOCKS.values())
    assert f'Embedding: {found.dimensions} components of {number} features' in printed
    row = next(line for line in printed.splitlines() if line.startswith('| person'))
    mine = np.array(found.table['class'].to_pylist()) == 'person'
    assert f'{found.table["iou"].to_numpy()[mine].mean():.3f}' in row
    # Without its pictures the result is not complete.
    shutil.rmtree(analysis.folder / 'objects')
    objects.STAGE.get(analysis, layers=LAYERS)
    assert list((analysis.folder / 'objects').rglob('*-image.webp'))


def test_a_model_without_layers_has_colors_and_shapes(analysis):
    (piece, *_) = features.stream(analysis, np.arange(len(analysis)), ())
    assert piece.features.shape[1] == sum(BLOCKS.values()) and piece.rows and piece.tiles
    assert len(find_layers(analysis.run, LAYERS)) == 2


def object_table(rng, num_images, per_image, **columns):
    """Objects whose columns are noise but for the given ones, float `[N]`."""
    number = num_images * per_image
    values = {
        field.name: rng.random(number) * 50 for field in TABLE if field.type == pyarrow.float32()
    }
    values |= {'truncated': rng.random(number) < 0.2, 'annotation_id': 900 + np.arange(number)}
    values |= {'image': np.arange(number) // per_image, 'image_id': np.arange(number) // per_image}
    values |= {name: ['person'] * number for name in ('class', 'category', 'predicted')}
    values |= {name: ['x'] * number for name in ('file_name', 'upper_color', 'lower_color')}
    arrays = [pyarrow.array((values | columns)[name]).cast(TABLE.field(name).type)
              for name in TABLE.names]  # fmt: skip
    return pyarrow.Table.from_arrays(arrays, schema=TABLE)


def test_a_slice_of_objects_is_found():
    rng = np.random.default_rng(0)
    contrast = rng.uniform(0, 100, 400)
    loss = np.where(contrast < 20, 2.0, 1.0) + rng.normal(0, 0.1, 400)
    table = object_table(rng, 200, 2, contrast=contrast, loss=loss, iou=1 - loss / 4)
    found, members = objects.find_slices(table)
    for metric, part in found.items():
        assert part.num_images == 200, metric  # an object of each image
        assert part.slices[0].text.startswith('contrast at most')
        assert all(900 <= number < 1300 for number in part.slices[0].worst_ids)
    inside = np.unpackbits(members[0], count=400).astype(bool)
    assert (inside == (contrast < 20)).mean() > 0.97  # of all objects


def test_a_group_of_similar_objects_is_a_slice():
    rng = np.random.default_rng(0)
    striped = rng.random(600) < 0.1
    loss = rng.normal(1, 0.1, 600) + 0.5 * striped
    pattern = np.where(striped, 30, 5) + rng.random(600)
    table = object_table(rng, 200, 3, loss=loss, iou=1 - loss / 4, pattern=pattern)
    points = rng.normal(size=(600, 8)).astype(np.float32)
    points[striped, :4] = 3
    found, members = objects.find_slices(table)
    alike, added, bits = objects.find_groups(
        table, points, {'color': 4, 'shape': 4}, found, members
    )
    inside = np.unpackbits(bits, axis=1, count=600).astype(bool)
    assert len(inside) == sum(len(part.slices) for part in added.values())
    for metric, part in added.items():
        assert [one.impact for one in part.slices] == sorted(
            (one.impact for one in part.slices), reverse=True
        )
        (group,) = (group for group in alike if group.metric == metric)
        one = part.slices[group.place]
        assert 'patterned (similar in color: object' in one.text and not one.conditions
        assert group.block == 'color' and striped[list(group.nearest)].all()
        assert len(group.nearest) == 10 and one.excess > 0
        number = group.place if metric == 'loss' else len(added['loss'].slices) + group.place
        assert (inside[number] == striped).mean() > 0.98 and one.size == inside[number].sum()
        # Means and shares are of the half that tested it.
        assert one.share == pytest.approx(striped.mean(), rel=0.4)
        sign = objects.METRICS[metric]
        assert sign * one.mean > sign * one.mean_elsewhere


def test_objects_of_one_image_are_not_taken_as_independent():
    """Loss and brightness are those of the image and have nothing to do with each other."""
    alarms = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        of_image = {name: np.repeat(rng.normal(size=40), 8) for name in ('brightness', 'loss')}
        table = object_table(rng, 40, 8, **of_image, iou=-of_image['loss'])
        alarms += any(part.slices for part in objects.find_slices(table)[0].values())
    assert alarms <= 3  # 99.9 % of a binomial with 5 %
