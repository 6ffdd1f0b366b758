"""Annotations as tools write them: other forms of the same, and what is taken from the file."""

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from segmentation.data import annotations, entries, image_files
from tests.segmentation.data.single_annotation import HEIGHT, WIDTH, counts, document, parse


def same_masks(changed, plain=None) -> dict[str, int]:
    """What was repaired in a document that means the same as another."""
    result, expected = parse(changed), parse(plain or document())
    read = [[(i.rle, i.category_id, i.is_crowd) for i in x.instances] for x in result.images]
    wanted = [[(i.rle, i.category_id, i.is_crowd) for i in x.instances] for x in expected.images]
    assert read == wanted and any(read)
    return counts(result)


@pytest.mark.parametrize(
    ('segmentation', 'repair'),
    [
        ([1, 1, 8, 1, 8, 9], 'polygon is not in a list of its own'),
        ([[1, 1], [8, 1], [8, 9]], 'polygon is a list of points'),
        ([[[1, 1], [8, 1], [8, 9]]], 'polygon is a list of points'),
        ([['1', '1.0', 8, 1, 8, 9]], 'numbers are text'),
        (['1', '1', '8', '1', '8', '9'], 'numbers are text'),
    ],
)
def test_other_forms_of_a_polygon_are_repaired(segmentation, repair):
    assert same_masks(document(segmentation)) == {f'repaired: {repair}': 1}


def test_other_forms_of_run_lengths_are_repaired():
    plain = {'size': [HEIGHT, WIDTH], 'counts': [20, 7, HEIGHT * WIDTH - 27]}
    for changed in ([plain], {**plain, 'size': [float(HEIGHT), str(WIDTH)]}):
        assert len(same_masks(document(changed), document(plain))) == 1


@pytest.mark.parametrize('value', [False, None, 0.0, '0', True, 1.0, '1'])
def test_crowd_flags_as_tools_write_them(value):
    is_crowd = value in (True, 1.0, '1')
    plain = document(annotation={'iscrowd': int(is_crowd)})
    repaired = same_masks(document(annotation={'iscrowd': value}), plain)
    assert repaired == {'repaired: iscrowd is true, false, null or text': 1}


@pytest.mark.parametrize('ids', [('a.jpg', 'a.jpg'), ('7', 7), (7, '7'), (7.0, 7), (-1, -1)])
def test_ids_as_tools_write_them(ids):
    same_masks(document(image={'id': ids[0]}, annotation={'image_id': ids[1]}))


def test_ids_that_are_text_do_not_meet_numbers():
    content = document(image={'id': 'x'}, annotation={'image_id': 'x', 'category_id': 'car'})
    content['images'].append(content['images'][0] | {'id': 12, 'file_name': 'b.jpg'})
    content['categories'][1]['id'] = 'car'
    result = parse(content)
    assert [(image.id, image.file_name) for image in result.images] == [
        (12, 'b.jpg'),
        (13, 'a.jpg'),
    ]
    (category,) = [c.id for c in result.categories if c.name == 'car']
    assert [i.category_id for i in result.images[1].instances] == [category]
    assert len({c.id for c in result.categories}) == 4


@pytest.mark.parametrize('value', [None, '9', 'x', True, -1, 2**63])
def test_annotation_ids_are_not_needed(value):
    content = document(annotation={'id': value})
    content['annotations'].append(content['annotations'][0] | {'id': 4, 'category_id': 3})
    result = parse(content)
    ids = [i.id for i in result.images[0].instances]
    assert len(set(ids)) == 2 and min(ids) >= 0 and ids[1] == 4


@pytest.mark.parametrize(('width', 'height'), [(10.0, 12.0), ('10', '12')])
def test_sizes_as_tools_write_them(width, height):
    changed = document(image={'width': width, 'height': height})
    assert same_masks(changed) == {'repaired: size is a float or text': 1}


def with_file(content, size, orientation=1, exif='displayed') -> annotations.Annotations:
    """Reads a document whose image file has a size."""
    file = entries.File('a.jpg', image_files.Header(size, orientation))
    return annotations.read(content, 'file.json', '', {'a.jpg': file}, exif=exif)


@pytest.mark.parametrize('size', [{'width': -1, 'height': -1}, {'width': None}, {'height': 0}])
def test_missing_sizes_come_from_the_file(size):
    result = with_file(document(image=size), (WIDTH, HEIGHT))
    assert result.images[0].instances[0].rle == parse(document()).images[0].instances[0].rle
    assert counts(result) == {'repaired: size taken from the image file': 1}
    content = document(image={'width': -1})
    del content['images'][0]['height']
    assert len(with_file(content, (WIDTH, HEIGHT)).images) == 1


@pytest.mark.parametrize('change', [(0, 1), (1, 0), (-2, 2), (0, -1)])
def test_sizes_off_by_a_pixel_or_two_are_those_of_the_file(change):
    plain = mask_utils.decode(
        {'size': [HEIGHT, WIDTH], 'counts': parse(document()).images[0].instances[0].rle}
    )
    real = WIDTH + change[0], HEIGHT + change[1]
    runs = {'size': [HEIGHT, WIDTH], 'counts': mask_utils.encode(plain)['counts'].decode()}
    height, width = min(HEIGHT, real[1]), min(WIDTH, real[0])
    for segmentation in (None, runs):
        result = with_file(document(segmentation), real)
        assert (result.images[0].width, result.images[0].height) == real
        rle = {'size': [real[1], real[0]], 'counts': result.images[0].instances[0].rle}
        mask = mask_utils.decode(rle)
        np.testing.assert_array_equal(mask[:height, :width], plain[:height, :width])
        (entry,) = result.skipped.as_dict().values()
        sizes = f"'a.jpg': annotated 10x12, file {real[0]}x{real[1]}"
        assert entries.show_examples(entry) == sizes
    far = with_file(document(), (WIDTH + 3, HEIGHT))
    mismatch = far.skipped.as_dict()['image: size mismatch']
    assert entries.show_examples(mismatch) == "'a.jpg': annotated 10x12, file 13x12"


def test_a_part_inside_another_is_noted_and_filled():
    outer, inner = [1, 1, 9, 1, 9, 11, 1, 11], [3, 3, 6, 3, 6, 6, 3, 6]
    result = parse(document([outer, inner]))
    assert result.images[0].instances[0].rle == parse(document([outer])).images[0].instances[0].rle
    (note,) = result.notes.as_dict()
    assert note.startswith('polygon part inside another') and result.skipped.as_dict() == {}
    assert parse(document([inner, [7, 7, 9, 7, 9, 9]])).notes.as_dict() == {}
    assert parse(document([outer, outer])).notes.as_dict() == {}
