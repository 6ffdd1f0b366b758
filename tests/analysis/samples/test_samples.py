"""One row per image: against the definitions, computed another way."""

import colorsys
import io
import json
import shutil

import numpy as np
import pyarrow
import pytest
from PIL import Image
from scipy import ndimage, stats

from analysis.predictions import stage as predictions
from analysis.predictions.schema import Predictions
from analysis.samples import schema
from analysis.samples import stage as samples
from analysis.samples.schema import Samples
from analysis.stage import artifacts
from analysis.stage.run import open_analysis
from segmentation import evaluate
from segmentation.data.masks import IGNORE
from tests import coco_fixtures

CLASSES = ('background', 'person', 'car')


@pytest.fixture(scope='module')
def workdir(tiny_run, tmp_path_factory):
    return shutil.copytree(tiny_run, tmp_path_factory.mktemp('samples') / 'run')


@pytest.fixture(scope='module')
def analysis(workdir):
    return open_analysis(workdir)


@pytest.fixture(scope='module')
def table(analysis):
    return samples.STAGE.get(analysis).table


def test_image():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    pixels[:5] = 0
    found = samples.describe_image(pixels)
    # Pillow rounds luma to whole numbers.
    luma = np.asarray(Image.fromarray(pixels).convert('L'), np.float64)
    hsv = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in (pixels / 255).reshape(-1, 3)])
    assert np.isclose(found['brightness'], pixels.mean())
    assert np.isclose(found['contrast'], luma.std(), rtol=1e-3)
    laplacian = ndimage.laplace(luma)[1:-1, 1:-1]
    assert np.isclose(found['sharpness'], laplacian.var(), rtol=1e-3)
    assert np.isclose(found['saturation'], hsv[:, 1].mean())
    assert found['is_grayscale'] is False


def test_hue_is_circular():
    """Hues on both sides of red are close to each other; opposite hues are not."""

    def deviation(hues):
        colors = [colorsys.hsv_to_rgb(hue / 360, 1, 0.8) for hue in hues]
        pixels = np.uint8(np.round(255 * np.array(colors)))[None].repeat(4, 0)
        return samples.describe_image(pixels)['hue_std']

    assert np.isclose(deviation([60] * 8), 0, atol=0.1)
    around_red = [350, 10, 355, 5] * 4
    expected = np.degrees(stats.circstd(np.radians(around_red)))
    # HSV's hexagon stretches angles by up to an eighth here.
    assert np.isclose(deviation(around_red), expected, rtol=0.15)
    assert deviation([0, 120, 240]) > 150


def test_grayscale_is_seen_in_color_files():
    gray = np.random.default_rng(0).integers(0, 256, (16, 16, 1), np.uint8).repeat(3, -1)
    found = samples.describe_image(gray)
    assert found['is_grayscale'] is True and found['hue_std'] is None and found['saturation'] == 0
    tinted = np.minimum(gray, 250) + np.uint8([4, 2, 0])
    assert samples.describe_image(tinted)['is_grayscale'] is False


def test_one_pixel_is_enough():
    assert samples.describe_image(np.zeros((1, 1, 3), np.uint8))['sharpness'] is None


@pytest.mark.parametrize(
    ('mode', 'colored'), [('L', False), ('LA', False), ('I;16', False), ('RGB', True), ('P', True)]
)
def test_single_channel_files(mode, colored):
    buffer = io.BytesIO()
    Image.new(mode, (8, 8)).save(buffer, 'PNG')
    assert (Image.open(buffer).mode not in samples._SINGLE_CHANNEL) == colored


def test_annotations(analysis, table):
    """Against masks drawn one by one."""
    categories = {c['id']: c['name'] for c in coco_fixtures.CATEGORIES}
    class_of = {'person': 1, 'car': 2}
    for index, row in enumerate(table.to_pylist()):
        record = analysis.examples.record(index)
        size = [int(record['height']), int(record['width'])]
        masks, gaps, kinds, crowd = [], [], [], np.zeros(size, bool)
        for kind, rle, is_crowd in zip(
            record['instances']['category_id'],
            record['instances']['rle'],
            record['instances']['is_crowd'],
            strict=True,
        ):
            mask = samples.mask_utils.decode({'size': size, 'counts': rle}).astype(bool)
            if is_crowd:
                crowd |= mask & (categories[kind] in class_of)
            elif mask.any():
                kinds.append(categories[kind])
                masks.append(100 * mask.mean())
                rows, cols = np.nonzero(mask)
                gaps.append(
                    min(
                        *(rows.min(), cols.min()),
                        *(size[0] - 1 - rows.max(), size[1] - 1 - cols.max()),
                    )
                )
        assert [row['width'], row['height']] == size[::-1]
        assert np.isclose(row['crowd_percent'], 100 * crowd.mean())
        for name in categories.values():
            assert row[f'count_{name}'] == kinds.count(name)
        mine = [i for i, kind in enumerate(kinds) if kind in class_of]
        assert row['num_instances'] == len(mine) == row['num_person'] + row['num_car']
        assert np.isclose(row['smallest_instance'], min(masks[i] for i in mine))
        truncated = [gaps[i] <= 0.005 * max(size) for i in mine]
        assert np.isclose(row['truncated_share'], np.mean(truncated))
        for name in class_of:
            areas = [masks[i] for i in mine if kinds[i] == name]
            if areas:
                assert np.isclose(row[f'mean_size_{name}'], np.mean(areas))
            else:
                assert row[f'mean_size_{name}'] is None


def test_incompletely_annotated_categories_are_unknown(analysis):
    record = analysis.examples.record(0)
    record |= {'complete_known': True, 'complete_category_ids': np.array([1, 3])}
    categories = {c['id']: c['name'] for c in coco_fixtures.CATEGORIES}
    row = samples.describe_annotations(record, categories, {1: 1, 3: 2}, CLASSES)
    assert row['count_bus'] is None and row['count_handbag'] is None
    assert row['count_person'] is not None and row['count_car'] is not None


def test_image_without_instances(analysis):
    record = analysis.examples.record(0)
    record['instances'] = {key: value[:0] for key, value in record['instances'].items()}
    row = samples.describe_annotations(record, {1: 'person'}, {1: 1}, ('background', 'person'))
    assert row['num_instances'] == row['count_person'] == row['crowd_percent'] == 0
    assert row['smallest_instance'] is row['truncated_share'] is row['mean_size_person'] is None


def image_metrics(logits, label):
    rows = predictions.describe_batch(logits, label, len(CLASSES))
    images = pyarrow.Table.from_pylist(rows)
    return samples.image_metrics(Predictions(label.shape[1], len(CLASSES), images), CLASSES)


def test_metrics_by_another_way():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3, (3, 8, 8, 3)).astype(np.float32)
    label = rng.integers(0, 2, (3, 8, 8)).astype(np.uint8)
    label[0, :2] = IGNORE
    label[2] = IGNORE
    rows = image_metrics(logits, label)
    assert rows[2].keys() == {'confidence', 'entropy'}  # these need no label
    for row, scores, truth in zip(rows[:2], logits, label, strict=False):
        valid = truth != IGNORE
        p = np.exp(scores[valid].astype(np.float64))
        p /= p.sum(-1, keepdims=True)
        truth, predicted = truth[valid], p.argmax(-1)
        assert np.isclose(row['loss'], -np.log(p[np.arange(len(p)), truth]).mean(), rtol=1e-5)
        assert np.isclose(row['pixel_accuracy'], np.mean(truth == predicted))
        assert np.isclose(row['confidence'], p.max(-1).mean(), rtol=1e-5)
        assert np.isclose(row['entropy'], stats.entropy(p, axis=-1).mean(), rtol=1e-4)
        ious = [
            np.sum((truth == c) & (predicted == c)) / np.sum((truth == c) | (predicted == c))
            for c in range(3)
        ]
        np.testing.assert_allclose([row[f'iou_{name}'] for name in CLASSES], ious)
        assert np.isclose(row['mean_iou_foreground'], np.mean(ious[1:]))
        error = 0
        for low in np.arange(15) / 15:
            inside = (p.max(-1) >= low) & (p.max(-1) < low + 1 / 15)
            if inside.any():
                gap = np.mean((truth == predicted)[inside]) - p.max(-1)[inside].mean()
                error += inside.mean() * abs(gap)
        assert np.isclose(row['calibration_error'], error, rtol=1e-4)


def test_class_in_neither_truth_nor_prediction():
    logits = np.zeros((1, 4, 4, 3), np.float32)
    logits[..., 0] = 200  # so certain that the other classes' probability is 0
    (row,) = image_metrics(logits, np.zeros((1, 4, 4), np.uint8))
    assert row['iou_background'] == 1 and row['iou_person'] is row['mean_iou_foreground'] is None
    assert row['loss'] == row['entropy'] == row['calibration_error'] == 0


def test_table_agrees_with_the_evaluation(analysis, table):
    run = analysis.run
    result = evaluate.evaluate(
        evaluate.make_predict(run.model, run.config.data.input_range),
        run.variables,
        analysis.examples,
        num_classes=3,
        batch_size=8,
    )
    np.testing.assert_array_equal(table['image_id'], result['image_id'])
    np.testing.assert_allclose(table['loss'], result['loss'], rtol=1e-5)
    truth = result['network'].sum(-1)
    percents = np.stack([table[f'percent_{name}'].to_numpy() for name in CLASSES], 1)
    np.testing.assert_allclose(percents, 100 * truth / truth.sum(-1, keepdims=True), rtol=1e-5)


def test_columns_have_roles_and_values(table):
    roles = {role: schema.columns(table, role) for role in ('id', 'metadata', 'metric')}
    assert sum(map(len, roles.values())) == table.num_columns
    assert roles['id'] == ['image_id', 'file_name', 'split', 'source_split']
    assert 'count_handbag' in roles['metadata'] and 'iou_car' in roles['metric']
    for name in table.column_names:  # a misspelt column would be empty
        assert table[name].null_count < len(table), name
    assert table.schema.field('is_colored').type == pyarrow.bool_()
    assert set(schema.numbers(table, 'is_colored')) == {1.0}


def test_names_that_collide_are_refused():
    with pytest.raises(ValueError, match="'num_instances'"):
        schema.table_schema(('background', 'instances'), ())


def test_command(workdir, analysis, table, tmp_path, capsys):
    arguments = ['--workdir', str(workdir), '--json', str(tmp_path / 'summary.json')]
    path = analysis.folder / 'samples.parquet'
    before = path.stat().st_mtime_ns
    assert samples.main(arguments) == 0
    assert path.stat().st_mtime_ns == before  # it was there and fits
    assert '| loss | nats per pixel | 6 |' in capsys.readouterr().out
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['metric']['loss']['mean'] == pytest.approx(np.mean(table['loss']), rel=1e-6)
    assert samples.main([*arguments, '--force']) == 0
    assert path.stat().st_mtime_ns > before and artifacts.load(analysis, Samples).table.equals(
        table
    )
    path.write_bytes(b'nonsense')
    assert samples.main(arguments) == 1
    assert 'samples.json is damaged' in capsys.readouterr().err
    assert samples.main(['--workdir', str(tmp_path)]) == 1


def test_text_of_the_data_is_shown_as_it_is(table):
    hostile = schema.summarize(table.rename_columns({'count_bus': 'count_<b>|'}))
    text = samples.table(hostile)
    assert '| &lt;b&gt;\\| |' in text
