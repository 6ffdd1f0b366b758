"""Predicted classes of true categories, against known counts."""

import json
import shutil

import msgspec
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from analysis.confusion import stage as confusion
from analysis.confusion.counting import Counts, count, image_counts
from analysis.confusion.schema import POOLED, Confusion
from analysis.predictions.schema import Predictions
from analysis.stage import artifacts
from analysis.stage.run import open_analysis, restrict
from segmentation.data import masks

CATEGORIES = [1, 3, 6, 31]  # person, car, bus, handbag
CLASSES = {1: 1, 3: 2}


def make_record(boxes, complete=None):
    """A record of 8×8 pixels with rectangles: (category, crowd, top, left, bottom, right)."""
    rles = []
    for _, _, top, left, bottom, right in boxes:
        mask = np.zeros((8, 8), np.uint8, 'F')
        mask[top:bottom, left:right] = 1
        rles.append(mask_utils.encode(mask)['counts'])
    return {
        'height': 8,
        'width': 8,
        'instances': {
            'category_id': np.array([box[0] for box in boxes], np.int64),
            'is_crowd': np.array([box[1] for box in boxes], np.bool_),
            'rle': np.array(rles, object),
        },
        'complete_known': complete is not None,
        'complete_category_ids': np.array(complete or [], np.int64),
    }


def test_counts_of_an_image():
    record = make_record(
        [
            (6, False, 0, 0, 4, 4),  # a bus, of which the car covers a quarter
            (3, False, 2, 2, 4, 4),
            (6, False, 6, 0, 8, 4),  # a bus that is called car in half of its pixels
            (31, True, 0, 6, 2, 8),  # a crowd of handbags: annotated, but no instance
        ],
        complete=[1, 3, 6],
    )
    label = np.zeros((8, 8), np.uint8)
    label[2:4, 2:4] = 2
    label[7, 7] = masks.IGNORE
    predicted = np.zeros((8, 8), np.int64)
    predicted[0:4, 0:4] = 2
    predicted[6:7, 0:4] = 2
    predicted[0:2, 6:8] = 2
    predicted[5, 5] = predicted[7, 7] = 1
    counts = image_counts(predicted, label, record, CATEGORIES, CLASSES, 3)
    np.testing.assert_array_equal(counts.pixels, [[0, 0, 0], [0, 0, 4], [4, 0, 16], [0, 0, 0]])
    np.testing.assert_array_equal(counts.instances, [[0] * 4, [0, 0, 1, 0], [0, 0, 1, 1], [0] * 4])
    np.testing.assert_array_equal(counts.complete, [True, True, True, False])
    # 64 pixels, less 16, 8 and 4 under annotations, and the one that does not count.
    np.testing.assert_array_equal(counts.unlabeled, [34, 1, 0])
    np.testing.assert_array_equal(counts.wrong, [0, 1, 20])


def test_small_objects_at_network_resolution():
    """Masks are sampled as labels are: of 8×8 pixels a 4×4 network sees every second."""
    record = make_record([(6, False, 0, 0, 1, 1), (6, False, 1, 1, 2, 2)])
    label = np.zeros((4, 4), np.uint8)
    counts = image_counts(label, label, record, CATEGORIES, CLASSES, 3)
    assert counts.pixels.sum() == counts.instances.sum() == 1


def planted_counts(num_images, share, seed=0):
    """Buses called car with a probability, in images of which half know nothing of buses."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((num_images, 4, 3), np.int64)
    instances = np.zeros((num_images, 4, 4), np.int64)
    complete = np.ones((num_images, 4), np.bool_)
    called = rng.random(num_images) < share
    pixels[:, 2, 2] = 100 * called
    pixels[:, 2, 0] = 100 * ~called
    instances[:, 2, 2], instances[:, 2, 0] = called, ~called
    complete[::2, 2] = False
    # There they are all called car, which must not matter.
    pixels[::2, 2] = [0, 0, 1000]
    background = rng.binomial(1000, 0.02, num_images)
    unlabeled = np.stack([1000 - background, 0 * background, background], 1)
    wrong = unlabeled.copy()
    wrong[:, 0] = 0
    wrong[:, 2] += pixels[:, 2, 2]
    return Counts(pixels, instances, unlabeled, wrong, complete)


def summarize(counts):
    return confusion.summarize(
        counts, ['person', 'car', 'bus', 'handbag'], [1, 2, 0, 0], ['background', 'person', 'car']
    )


def test_shares_and_intervals():
    counts = planted_counts(400, 0.3)
    result = summarize(counts)
    row = next(row for row in result.rows if row.called == 'car')
    assert row.category == 'bus' and row.label == 'background'
    known = counts.pixels[1::2, 2]
    assert row.pixels == 20000 and row.images == row.instances == 200
    assert np.isclose(row.effective_images, 200)
    assert np.isclose(row.share, known[:, 2].sum() / 20000)
    assert row.instance_share == row.share
    # Of a proportion of 200: ± 1.96 √(p (1 - p) / 200).
    half = 1.96 * np.sqrt(row.share * (1 - row.share) / 200)
    np.testing.assert_allclose(row.interval, [row.share - half, row.share + half], atol=0.015)
    base = counts.unlabeled[1::2]
    assert np.isclose(row.excess, row.share - base[:, 2].sum() / base.sum())
    assert np.isclose(row.wrong_share, known[:, 2].sum() / counts.wrong[1::2, 2].sum())
    assert abs(result.base['car'].share - 0.02) < 0.002
    assert result == summarize(counts)
    # What never occurs has no row, and a class is not confused with itself.
    assert {row.category for row in result.rows} == {'bus'}


def test_intervals_cover():
    """The 95 % interval holds the true share in about 95 % of samples."""
    inside = 0
    for seed in range(60):
        rows = summarize(planted_counts(80, 0.3, seed)).rows
        low, high = next(row.interval for row in rows if row.called == 'car')
        inside += low <= 0.3 <= high
    assert inside >= 51


@pytest.fixture
def workdir(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / 'run')


def test_command(workdir, capsys, tmp_path):
    arguments = ['--workdir', str(workdir)]
    assert confusion.main([*arguments, '--json', str(tmp_path / 'result.json')]) == 0
    first = capsys.readouterr().out
    assert 'of the unlabeled background' in first
    result = json.loads((tmp_path / 'result.json').read_text())
    assert {row['category'] for row in result['rows']} >= {'bus', 'handbag'}
    assert confusion.main(arguments) == 0  # as it was
    assert capsys.readouterr().out == first
    analysis = open_analysis(workdir)
    assert artifacts.load(analysis, Confusion) == msgspec.convert(result, Confusion)
    assert (analysis.folder / 'confusion.png').read_bytes()[:4] == b'\x89PNG'
    counts = count(analysis)
    expected = artifacts.load(analysis, Predictions).confusions()
    diagonal = np.diagonal(expected, axis1=1, axis2=2)
    np.testing.assert_array_equal(counts.wrong, expected.sum(1) - diagonal)
    assert counts.wrong[:, 1:].sum() == sum(base['wrong'] for base in result['base'].values())
    assert confusion.main([*arguments, '--pool', str(workdir)]) == 1
    assert 'share images' in capsys.readouterr().err


def test_pooled_runs(workdir, tmp_path, capsys):
    """Two runs with half of the images each, as if they were two folds."""
    second = shutil.copytree(workdir, tmp_path / 'second')
    order = np.arange(len(open_analysis(workdir)))
    this, other = (
        restrict(open_analysis(path), rows)
        for path, rows in zip((workdir, second), np.array_split(order, 2), strict=True)
    )
    result = confusion.pool(this, [other])
    assert result.num_images == len(order) and result.pooled == (str(second),)
    wrong = sum(base.wrong for base in result.base.values())
    assert wrong == sum(count(part).wrong[:, 1:].sum() for part in (this, other))
    assert artifacts.load(this, Confusion, POOLED) == result
    (path,) = confusion.draw(this, result)
    assert path.name == 'confusion-pooled.png'
    before = artifacts.path_of(this, Confusion, POOLED).stat().st_mtime_ns
    assert confusion.pool(this, [other]) == result
    assert artifacts.path_of(this, Confusion, POOLED).stat().st_mtime_ns == before
    # Other predictions of the other run make it stale.
    artifacts.save(other, artifacts.load(other, Predictions), settings={'changed': True})
    assert confusion.pool(this, [other]) == result
    assert 'confusion-pooled.json is recomputed: pooled' in capsys.readouterr().err
