"""What is measured of an object, on images in which it is known."""

import io

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from analysis.label_issues.regions import instances_of
from analysis.objects import features
from analysis.objects.looks import describe
from analysis.samples.stage import describe_image
from segmentation.data.masks import IGNORE

SIDE = 40
CLASSES = {1: 1, 3: 2}
# Category, crowd, (top, bottom, left, right).
BOXES = (
    (1, 0, (10, 20, 10, 20)),  # a person, the object of the tests
    (1, 0, (10, 20, 20, 26)),  # another one, to its right
    (6, 0, (20, 24, 10, 15)),  # a bus, of no class, under the left half of it
    (1, 1, (30, 38, 0, 38)),  # a crowd
    (3, 0, (0, 6, 30, 40)),  # a car in the corner
)


def mask_of(top, bottom, left, right, side=SIDE):
    mask = np.zeros((side, side), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


@pytest.fixture(scope='module')
def scene():
    """Record, label and image of the boxes, at 40 × 40 pixels: colors by box on dark gray."""
    image = np.full((SIDE, SIDE, 3), 40, np.uint8)
    label = np.zeros((SIDE, SIDE), np.uint8)
    for (category, _, place), color in zip(BOXES, (200, 90, 120, 60, 250), strict=True):
        image[mask_of(*place)] = color
        label[mask_of(*place)] = CLASSES.get(category, 0)
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'PNG')
    rles = [
        mask_utils.encode(np.asfortranarray(mask_of(*place), np.uint8))['counts']
        for *_, place in BOXES
    ]
    record = {
        'image': file.getvalue(), 'height': SIDE, 'width': SIDE, 'file_name': 'boxes.png',
        'instances': {
            'id': np.arange(100, 105), 'category_id': np.array([box[0] for box in BOXES]),
            'is_crowd': np.array([box[1] for box in BOXES], bool), 'rle': np.array(rles, object),
        },
    }  # fmt: skip
    return record, label, image


def logits_of(classes):
    """Logits that predict some classes with a probability of 0.8 of three."""
    return np.log(np.where(np.arange(3) == classes[..., None], 0.8, 0.1)).astype(np.float32)


def described(scene, predicted, chosen=(0,)):
    record, label, image = scene
    instances = instances_of(record, CLASSES, label)
    return features.describe_objects(record, instances, chosen, image, label, logits_of(predicted))


def test_metadata_of_an_object(scene):
    rows, _, _ = described(scene, scene[1], (0, 4))
    person, car = rows
    assert person['annotation_id'] == 100 and person['category'] == person['class'] == 1
    assert [person[side] for side in ('left', 'top', 'right', 'bottom')] == [
        0.25, 0.25, 0.5, 0.5,
    ]  # fmt: skip
    assert person['area'] == pytest.approx(100 * 100 / 1600)
    assert not person['truncated'] and car['truncated']
    assert person['box_ratio'] == 1 and car['box_ratio'] == pytest.approx(10 / 6)
    assert person['brightness'] == 200 and person['saturation'] == 0


def test_looks_are_those_of_the_object(scene):
    (person, car), looks, _ = described(scene, scene[1], (0, 4))
    assert person['upper_color'] == 'white' and car['upper_color'] == 'white'
    record, _, image = scene
    for number, found in zip((0, 4), looks, strict=True):
        mask = mask_of(*BOXES[number][2])
        color, shape, words = describe(Image.fromarray(image), mask)
        np.testing.assert_array_equal(found, np.concatenate([color, shape]))
        row = (person, car)[number // 4]
        assert {key: row[key] for key in words} == words


def test_sharpness_is_that_of_the_whole_image_where_the_object_is_all_of_it():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    laplacian = np.full((16, 16), np.nan)
    luma = image @ np.array([0.299, 0.587, 0.114], np.float32)
    laplacian[1:-1, 1:-1] = (
        luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * luma[1:-1, 1:-1]
    )
    found = features.appearance(image, laplacian, np.ones((16, 16), bool))
    whole = describe_image(image)
    for key, value in found.items():
        assert value == pytest.approx(whole[key], rel=1e-4)
    border = np.zeros((16, 16), bool)
    border[0] = True
    assert features.appearance(image, laplacian, border)['sharpness'] is None


def test_surroundings(scene):
    record, label, image = scene
    masks = [one.mask for one in instances_of(record, CLASSES, label)]
    found = features.surroundings(image, masks[0], masks[1:])
    # A band of two pixels: up to 2 steps away; 10 × 2 pixels on each side, and 4 corners of 1.
    on_neighbor, on_bus, total = 20, 10, 4 * 20 + 4
    assert found['touching'] == pytest.approx((on_neighbor + on_bus) / total, abs=1e-6)
    around = (on_neighbor * 90 + on_bus * 120 + (total - on_neighbor - on_bus) * 40) / total
    assert found['contrast'] == pytest.approx(200 - around, abs=0.2)
    alone = features.surroundings(image, np.ones_like(masks[0]), [])
    assert alone == {'touching': None, 'contrast': None}
    # Colors count too where the brightness is the same.
    colored = np.zeros((SIDE, SIDE, 3), np.uint8)
    colored[..., 0], colored[masks[0]] = 90, (0, 90, 0)
    contrast = features.surroundings(colored, masks[0], [])['contrast']
    assert contrast == pytest.approx(90 * np.sqrt(2 / 3))


def test_scores_of_an_object(scene):
    predicted = np.zeros((SIDE, SIDE), np.int64)
    predicted[10:20, 10:16] = 1  # 60 of its 100 pixels
    predicted[10:20, 16:19] = 2
    predicted[4:10, 10:12] = 1  # hangs together with it: 12 pixels of background
    predicted[10:20, 20:26] = 1  # the other person
    predicted[35:40, 35:40] = 1  # elsewhere
    (row,), *_ = described(scene, predicted)
    assert row['recall'] == pytest.approx(0.6) and row['predicted'] == 1
    assert row['iou'] == pytest.approx(60 / 112)
    assert row['loss'] == pytest.approx(-(0.6 * np.log(0.8) + 0.4 * np.log(0.1)), rel=1e-5)
    # One region over both: what is on the other person does not count.
    predicted[10:20, 10:26] = 1
    (row,), *_ = described(scene, predicted)
    assert row['iou'] == pytest.approx(100 / 112) and row['recall'] == 1
    predicted[10:20, 10:26] = 2
    (row,), *_ = described(scene, predicted)
    assert row['iou'] == row['recall'] == 0 and row['predicted'] == 2


def test_ignored_pixels_are_not_of_the_object(scene):
    record, label, image = scene
    label = label.copy()
    label[10:20, 10:15] = IGNORE
    predicted = np.zeros((SIDE, SIDE), np.int64)
    predicted[10:20, 15:20] = 1
    (row,), *_ = described((record, label, image), predicted)
    assert row['recall'] == row['iou'] == 1


def test_pictures_show_the_object(scene):
    record, label, image = scene
    rows, _, (tile,) = described(scene, label)
    # 24 pixels around a box of 10: from 3 to 27 both ways.
    inside = (np.arange(96) + 0.5) / 4 + 3
    within = (inside > 10.5) & (inside < 19.5)
    assert (tile['image'][within][:, within] == 200).all()
    assert (tile['truth'][within][:, within, 3] == 255).all()
    assert (tile['truth'][0, :, 3] == 0).all() and (tile['error'] == 0).all()
    assert rows[0]['aspect_ratio'] == pytest.approx(1)


@pytest.mark.parametrize(
    ('sides', 'size', 'expected'),
    [
        ((0.4, 0.4, 0.6, 0.6), (200, 100), (0.37, 0.24, 0.63, 0.76)),  # 40 × 20: 52 a side
        ((0.0, 0.0, 0.1, 0.1), (200, 100), (0.0, 0.0, 0.13, 0.26)),  # at the border: shifted
        ((0.0, 0.0, 1.0, 0.5), (200, 100), (0.0, 0.0, 1.0, 1.0)),  # no room for a square
    ],
)
def test_frames(sides, size, expected):
    np.testing.assert_allclose(features.frame_of(sides, *size), expected, atol=1e-9)


def test_masks_are_further_channels():
    images = np.full((2, 8, 8, 3), 7, np.uint8)
    masks = [[mask_of(0, 2, 0, 2, 8)] * (features.AT_ONCE + 1), []]
    stacked = features.stack(images, masks)
    assert stacked.shape == (2, 8, 8, 3 + 2 * features.AT_ONCE) and stacked.dtype == np.uint8
    np.testing.assert_array_equal(stacked[..., :3], images)
    assert stacked[0, ..., 3:].sum() == 4 * (features.AT_ONCE + 1) and not stacked[1, ..., 3:].any()


def test_averages_over_masks():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(1, 4, 4, 5)).astype(np.float32)
    masks = np.stack(
        [mask_of(0, 4, 2, 8, 8), mask_of(1, 2, 7, 8, 8), np.zeros((8, 8), bool)]
    ).astype(np.float32)
    found = np.asarray(features.average(maps, masks[None]))[0]
    np.testing.assert_allclose(found[0], maps[0, :2, 1:].mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(found[1], maps[0, 0, 3], rtol=1e-5)  # a pixel of a cell
    assert (found[2] == 0).all()
