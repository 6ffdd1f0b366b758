"""Reading of COCO annotations: pycocotools' masks for valid files, counted skips for the rest."""

import json
import pathlib
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import coco as coco_api
from pycocotools import mask as mask_utils

from segmentation.data import annotations, data_loss, entries, segmentations
from tests import coco_fixtures
from tests.paths import SHARED
from tests.segmentation.data.single_annotation import HEIGHT, WIDTH, counts, document, parse

COCO = SHARED / 'coco'

# pycocotools 2.0.11 does not know an argument that NumPy 2 passes; the result is right.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')


def assert_equals_pycocotools(path: pathlib.Path) -> None:
    reference = coco_api.COCO(path)
    result = annotations.parse(path.read_bytes(), str(path))
    assert result.skipped.as_dict() == {}
    assert [image.id for image in result.images] == sorted(reference.imgs)
    for image in result.images:
        expected = reference.imgToAnns[image.id]
        assert [instance.id for instance in image.instances] == [a['id'] for a in expected]
        for instance, annotation in zip(image.instances, expected, strict=True):
            rle = {'size': [image.height, image.width], 'counts': instance.rle}
            mask = mask_utils.decode(rle)
            np.testing.assert_array_equal(mask, reference.annToMask(annotation))
            assert instance.area == annotation['area']
            assert list(instance.bbox) == annotation['bbox']
            assert instance.is_crowd == bool(annotation['iscrowd'])
            assert instance.category_id == annotation['category_id']


def test_masks_equal_pycocotools(tmp_path):
    path = tmp_path / 'instances.json'
    path.write_text(json.dumps(coco_fixtures.document()))
    assert_equals_pycocotools(path)


@pytest.mark.skipif(not COCO.exists(), reason='the photographs of ../shared are absent')
@pytest.mark.parametrize('split', ['train', 'val', 'train_person_car'])
def test_masks_equal_pycocotools_on_photographs(split):
    assert_equals_pycocotools(COCO / 'annotations' / f'instances_{split}.json')


def test_many_parts_merge_quickly_to_the_same_mask():
    cells = [(x, y) for x in range(0, 200, 2) for y in range(0, 200, 2)]
    polygons = [[x, y, x + 1.4, y, x + 1.4, y + 1.4, x, y + 1.4] for x, y in cells]
    start = time.monotonic()
    rle, dropped = segmentations.encode_segmentation(polygons, 800, 800)
    assert time.monotonic() - start < 5
    assert dropped == 0
    expected = mask_utils.merge(mask_utils.frPyObjects(polygons, 800, 800))
    assert rle == expected['counts']


@pytest.mark.parametrize(
    ('segmentation', 'reason'),
    [
        ([[1, 1, 5, float('inf'), 8, 9]], 'not finite or far outside'),
        ([[1, 1, 5, float('nan'), 8, 9]], 'not finite or far outside'),
        ([[1, 1, 5, 1e9, 8, 9]], 'not finite or far outside'),
        ([[1, 1, -(10**400), 5, 8, 9]], 'not finite or far outside'),
        ([[1, 1, 2 * WIDTH + 1, 5, 8, 9]], 'not finite or far outside'),
        ([[1, 1, 5, 5, 8]], 'odd number'),
        ([[1, 1, 5, 5]], 'no polygon has 3 points'),
        ([[]], 'no segmentation, only a box'),
        ([], 'no segmentation'),
        (None, 'no segmentation'),
        ('a string', 'no segmentation'),
        ([[1, 1, 'five', 5, 8, 9]], 'not a list of numbers'),
        ([[1, 1, True, 5, 8, 9]], 'not a list of numbers'),
        ([[1, 1, None, 5, 8, 9]], 'not a list of numbers'),
        ([[1, 1, [5], 5, 8, 9]], 'not a list of numbers'),
        ([1, 1, None, 5, 8, 9], 'not a list of numbers'),
        ([[[1, 1], [5, None], [8, 9]]], 'not a list of numbers'),
        ([{'x': 1}], 'not a list of numbers'),
        ([[-WIDTH, -HEIGHT, 2 * WIDTH, 2 * HEIGHT] * 100], 'outline too long'),
        ({'counts': [HEIGHT * WIDTH]}, 'size'),
        ({'size': [WIDTH, HEIGHT], 'counts': [HEIGHT * WIDTH]}, 'size'),
        ({'size': [HEIGHT, WIDTH]}, 'neither a list nor a string'),
        ({'size': [HEIGHT, WIDTH], 'counts': {}}, 'neither a list nor a string'),
        ({'size': [HEIGHT, WIDTH], 'counts': []}, 'add up'),
        ({'size': [HEIGHT, WIDTH], 'counts': [HEIGHT * WIDTH - 1]}, 'add up'),
        ({'size': [HEIGHT, WIDTH], 'counts': [10, HEIGHT * WIDTH]}, 'add up'),
        ({'size': [HEIGHT, WIDTH], 'counts': [-1, HEIGHT * WIDTH + 1]}, 'negative'),
        ({'size': [HEIGHT, WIDTH], 'counts': [0.0, HEIGHT * WIDTH]}, 'not a whole number'),
        ({'size': [HEIGHT, WIDTH], 'counts': [False, HEIGHT * WIDTH]}, 'not a whole number'),
        ({'size': [HEIGHT, WIDTH], 'counts': ''}, 'add up'),
        ({'size': [HEIGHT, WIDTH], 'counts': '1'}, 'add up'),
        ({'size': [HEIGHT, WIDTH], 'counts': 'o' * 50}, 'malformed'),
        ({'size': [HEIGHT, WIDTH], 'counts': 'o'}, 'malformed'),
        ({'size': [HEIGHT, WIDTH], 'counts': 'é\x00'}, 'malformed'),
    ],
)
def test_broken_segmentations_are_counted_by_reason(segmentation, reason):
    content = document()
    content['annotations'][0]['segmentation'] = segmentation
    result = parse(content)
    (found,) = counts(result)
    assert found.startswith('annotation: ') and reason in found
    assert result.images[0].instances == []


@pytest.mark.parametrize(
    ('field', 'value', 'reason'),
    [
        ('image_id', 8, 'unknown image'),
        ('image_id', [7], 'unknown image'),
        ('category_id', 2, 'unknown category'),
        ('category_id', {}, 'unknown category'),
        ('iscrowd', 2, 'iscrowd'),
        ('iscrowd', 0.5, 'iscrowd'),
        ('iscrowd', [], 'iscrowd'),
        ('iscrowd', 'yes', 'iscrowd'),
    ],
)
def test_broken_annotations_are_counted_by_reason(field, value, reason):
    result = parse(document(annotation={field: value}))
    (found,) = counts(result)
    assert found.startswith('annotation: ') and reason in found


@pytest.mark.parametrize(
    ('field', 'value', 'reason'),
    [
        ('id', None, 'no usable id'),
        ('id', 1.5, 'no usable id'),
        ('id', True, 'no usable id'),
        ('id', 2**63, 'no usable id'),
        ('id', '\x1b[2J', 'no usable id'),
        ('width', 0, 'positive whole numbers'),
        ('width', -10, 'positive whole numbers'),
        ('height', 12.5, 'positive whole numbers'),
        ('height', 'tall', 'positive whole numbers'),
        ('height', None, 'positive whole numbers'),
        ('width', 10**9, 'too large'),
        ('file_name', None, 'unsafe or missing file name'),
        ('file_name', '', 'unsafe or missing file name'),
        ('file_name', 'a/../../b.jpg', 'unsafe or missing file name'),
        ('file_name', '/etc/passwd', 'unsafe or missing file name'),
        ('file_name', '..\\b.jpg', 'unsafe or missing file name'),
        ('file_name', 'C:b.jpg', 'unsafe or missing file name'),
        ('file_name', 'a\x00.jpg', 'unsafe or missing file name'),
        ('file_name', '\x1b[2Ja.jpg', 'unsafe or missing file name'),
        ('file_name', '\ud800.jpg', 'unsafe or missing file name'),
        ('file_name', 'a' * 2000, 'unsafe or missing file name'),
    ],
)
def test_broken_images_are_counted_by_reason(field, value, reason):
    result = parse(document(image={field: value}))
    found = counts(result)
    assert any(key.startswith('image: ') and reason in key for key in found)
    unknown = found.get('annotation: unknown image', 0)
    assert unknown + found.get('annotation: its image is left out', 0) == 1
    assert result.images == []
    # What is shown of the data cannot control a terminal.
    assert json.dumps(result.skipped.as_dict()).isprintable()


def test_entries_with_the_same_id():
    content = document()
    content['images'].append(content['images'][0] | {'license': 7})
    content['annotations'].append(content['annotations'][0] | {'category_id': 3})
    content['annotations'].append(content['annotations'][0])
    content['categories'].append({'id': 1, 'name': 'person'})
    content['categories'].append({'id': 99, 'name': 'car'})
    result = parse(content)
    assert [image.file_name for image in result.images] == ['a.jpg']
    # The second annotation gets another id; only an entry that is repeated is left out.
    assert [(i.id, i.category_id) for i in result.images[0].instances] == [(9, 1), (10, 3)]
    # Two categories of one name are one class of a label space.
    assert [c.name for c in result.categories] == ['person', 'car', 'bus', 'handbag', 'car']
    assert counts(result) == {
        'category: listed twice': 1,
        'repaired: annotation id used before': 1,
        'annotation: the same entry again': 1,
        'image: id used before': 1,
    }
    content['categories'].append({'id': 1, 'name': 'again'})
    with pytest.raises(ValueError, match="file.json: the category id 1 means both 'person' and 'a"):
        parse(content)


def test_an_id_of_several_files_is_of_none():
    """As of two exports, both numbered from 0, in one file: masks would lie on the wrong image."""
    content = document()
    content['images'].append(content['images'][0] | {'file_name': 'other.jpg'})
    same = document()
    same['images'].append(same['images'][0] | {'file_name': f'./{same["images"][0]["file_name"]}'})
    assert counts(parse(same)) == {'image: id used before': 1}
    result = parse(content)
    assert result.images == [] and counts(result) == {
        'image: its id is also that of another file': 2, 'annotation: its image is left out': 1,
    }  # fmt: skip
    with pytest.raises(data_loss.DataLoss, match='(?s)none of its 2 images.*number the images of'):
        data_loss.check('train', 'COCO', result, False)


def test_what_is_wrong_stands_beside_its_example():
    content = document(annotation={'image_id': 8})
    content['annotations'] += [{'id': i, 'image_id': i} for i in (None, 11)]
    (entry,) = parse(content).skipped.as_dict().values()
    assert entry == {'count': 3, 'examples': [9, 'None', 11], 'values': ['8', '', '11']}
    assert entries.show_examples(entry) == '9: 8, None, 11: 11'


def test_crowds_alone_are_noted_and_can_be_read_as_instances():
    content = document(annotation={'iscrowd': 1})
    (note,) = parse(content).notes.as_dict()
    assert '--crowds_as_instances' in note
    result = annotations.read(content, 'file.json', '', crowds_as_instances=True)
    assert not result.images[0].instances[0].is_crowd and result.notes.as_dict() == {}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([{'image_id': 1, 'score': 0.5}], 'a list of predictions'),
        (
            {'images': [], 'annotations': [{'segments_info': []}], 'categories': []},
            'a panoptic file',
        ),
        ({'images': [], 'annotations': [{'caption': 'a dog'}], 'categories': []}, 'has captions'),
        ({'images': [], 'boxes': []}, r"no list 'annotations' \(it has: images, boxes\)"),
    ],
)
def test_other_kinds_of_files_are_named(content, message):
    with pytest.raises(ValueError, match=message):
        parse(content)


def test_captions_beside_masks_are_no_other_kind_of_file():
    content = document()
    content['annotations'][0]['caption'] = 'a dog'
    assert parse(content).images[0].instances


def test_missing_classes_are_explained():
    content = document()
    content['categories'] = []
    with pytest.raises(ValueError, match='is empty, but annotations use the ids 1: add'):
        parse(content)
    del content['annotations'][0]['category_id']
    with pytest.raises(ValueError, match='is empty, and the annotations name none: define'):
        parse(content)


@pytest.mark.parametrize('runs', [[0, 0, 120], [5, 0, 0, 3, 112], [3, 4, 113, 0]])
def test_empty_runs_neither_move_the_box_nor_change_the_mask(runs):
    for written in (runs, compressed(runs)):
        rle = {'size': [HEIGHT, WIDTH], 'counts': written}
        result = parse(document(rle, {'bbox': None}))
        (instance,) = result.images[0].instances
        mask = mask_utils.decode({'size': [HEIGHT, WIDTH], 'counts': instance.rle})
        drawn = np.repeat(np.arange(len(runs)) % 2, runs).reshape(WIDTH, HEIGHT).T
        np.testing.assert_array_equal(mask, drawn)
        assert instance.bbox == tuple(mask_utils.toBbox(mask_utils.encode(mask)))


def compressed(runs: list[int]) -> str:
    return mask_utils.frPyObjects({'size': [HEIGHT, WIDTH], 'counts': runs}, HEIGHT, WIDTH)[
        'counts'
    ].decode()


def test_degenerate_parts_are_dropped_and_the_rest_is_drawn():
    # pycocotools alone would take a first part of two points for a box.
    whole = [[1, 1, 8, 1, 8, 9]]
    result = parse(document(segmentation=[[0, 0, 9, 9], *whole]))
    assert counts(result) == {'polygon part: fewer than 3 points': 1}
    assert result.images[0].instances[0].rle == parse(document(whole)).images[0].instances[0].rle


@pytest.mark.parametrize('area', [None, 'x', float('nan'), -1, 10**400, True, 0, 99_999])
@pytest.mark.parametrize(
    'bbox', [None, [1, 2, 3], [1, 2, 3, float('inf')], [1, 2, 3, '4'], [0, 0, 0, 0]]
)
def test_unusable_area_and_bbox_come_from_the_mask(area, bbox):
    result = parse(document([[1, 2, 5, 2, 5, 4, 1, 4]], {'area': area, 'bbox': bbox}))
    (instance,) = result.images[0].instances
    assert instance.area == 8
    assert instance.bbox == (1, 2, 4, 2)
    assert counts(result) == {
        'repaired: area taken from the mask': 1,
        'repaired: bbox taken from the mask': 1,
    }


@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'{',
        b'\xff\xfe\xff',
        b'[1, 2]',
        b'null',
        b'{}',
        b'{"images": []}',
        b'[' * 100_000,
        b'{"images": {}, "annotations": [], "categories": []}',
        b'{"images": [], "annotations": [], "categories": []}',
        b'{"images": [], "annotations": [], "categories": [{"id": 1}, 5]}',
        b'1' * 5000,
    ],
)
def test_other_files_raise_one_error_that_names_the_file(data):
    with pytest.raises(ValueError, match='some file.json'):
        annotations.parse(data, 'some file.json')


def test_entries_that_are_no_objects_are_counted():
    content = document()
    for key in ('images', 'annotations', 'categories'):
        content[key] += [None, 5, 'x', []]
    result = parse(content)
    assert len(result.images[0].instances) == 1
    assert sorted(counts(result).values()) == [4, 4, 4]


def test_licence_is_named():
    content = document(image={'license': 4})
    content['licenses'] = [{'id': 4, 'name': 'Attribution License'}, {'id': 'x'}, None]
    assert parse(content).images[0].license == 'Attribution License'
    content['licenses'] = 'none'
    assert parse(content).images[0].license == '4'


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_decode_counts_reads_what_pycocotools_writes(height, width, seed, density):
    mask = np.random.default_rng(seed).random((height, width)) < density
    mask = np.asfortranarray(mask, np.uint8)
    runs = segmentations.decode_counts(mask_utils.encode(mask)['counts'].decode())
    assert sum(runs) == height * width
    drawn = np.repeat(np.arange(len(runs)) % 2, runs).reshape(width, height).T
    np.testing.assert_array_equal(drawn, mask)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([7, 9, 1, HEIGHT, WIDTH, 2**63, -1, 1e9, 1e308]),
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(st.sampled_from(['size', 'counts', 'id', 'x']), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_fuzzed_documents_give_counted_skips_or_right_masks(data):
    content = document()
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(['images', 'annotations', 'categories']))
        entry = data.draw(st.sampled_from(content[key]))
        entry[data.draw(st.sampled_from(sorted(entry)))] = data.draw(json_values)
    try:
        result = parse(content)
    except ValueError as error:
        assert 'file.json' in str(error)
        return
    kept = sum(len(image.instances) for image in result.images)
    skipped = sum(n for reason, n in counts(result).items() if reason.startswith('annotation'))
    assert kept + skipped == 1
    for image in result.images:
        for instance in image.instances:
            runs = segmentations.decode_counts(instance.rle.decode())
            assert sum(runs) == image.height * image.width


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(min_codepoint=46, max_codepoint=112), max_size=12))
def test_fuzzed_run_lengths_are_refused_or_add_up(text):
    try:
        rle, _ = segmentations.encode_segmentation({'size': [3, 4], 'counts': text}, 3, 4)
    except ValueError:
        return
    assert mask_utils.decode({'size': [3, 4], 'counts': rle}).shape == (3, 4)
    assert sum(segmentations.decode_counts(text)) == 12
