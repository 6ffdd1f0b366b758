"""Corrected annotation files: all else byte for byte, masks without loss, and back again."""

import dataclasses
import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as mask_utils

from segmentation.data import annotations
from segmentation.data.corrections import applying, correcting, decisions, document, files
from segmentation.data.corrections.decisions import Correction
from segmentation.data.entries import Skipped
from segmentation.data.masks import nearest_indices
from tests import coco_fixtures

MEMBERS = {'vehicle': ('car', 'bus'), 'automobile': ('car',), 'bag': ('accessory',)}


def read_text(tmp_path, text):
    path = tmp_path / 'instances_train.json'
    path.write_bytes(text.encode())
    return document.read(path)


def rle(mask):
    return mask_utils.encode(np.asfortranarray(mask, np.uint8))['counts']


def applied(read, *corrections, members=MEMBERS):
    """The corrected text, what is not applied by reason, and the edits that undo it."""
    corrector, skipped = correcting.Corrector(read, members), Skipped()
    elsewhere = correcting.correct(corrector, corrections, skipped)
    text, inverse = document.apply(read.text, corrector.finish().edits)
    return text, {reason: e['count'] for reason, e in skipped.as_dict().items()}, inverse, elsewhere


def masks(text):
    found = annotations.parse(text.encode(), 'corrected')
    return {
        instance.id: mask_utils.decode(
            {'size': [image.height, image.width], 'counts': instance.rle}
        )
        for image in found.images
        for instance in image.instances
    }


def pieces(read):
    return [read.text[start:end] for start, end in read.spans]


STYLES = st.sampled_from(
    [
        {},
        {'indent': 1},
        {'indent': '\t', 'separators': (' ,', ' :\r\n')},
        {'separators': (',', ':')},
        {'ensure_ascii': False},
    ]
)


@settings(deadline=None, max_examples=60)
@given(style=STYLES, bom=st.booleans(), data=st.data())
def test_everything_else_stays_byte_for_byte(tmp_path_factory, style, bom, data):
    content = coco_fixtures.document(2)
    count = data.draw(st.integers(0, len(content['annotations'])))
    content = {'näme': '}],"annotations": [', **content, 'tail': {'annotations': [1, 2]}}
    content['annotations'] = content['annotations'][:count]
    text = '\ufeff' * bom + json.dumps(content, **style) + '\n'
    read = read_text(tmp_path_factory.mktemp('files'), text)
    assert [json.loads(piece) for piece in pieces(read)] == content['annotations']

    image = content['images'][0]
    plain = range(count)
    removed = set(data.draw(st.lists(st.sampled_from(plain), unique=True)) if count else [])
    changed = {k: {'id': k, 'x': 'é'} for k in plain if k not in removed and k % 3 == 0}
    added = [
        {'id': 10**6 + k, 'image_id': image['id']} for k in range(data.draw(st.integers(0, 2)))
    ]
    edits = document.edits(read, changed, removed, added)
    corrected, inverse = document.apply(read.text, edits)

    expected = [changed.get(k, entry) for k, entry in enumerate(content['annotations'])]
    expected = [entry for k, entry in enumerate(expected) if k not in removed] + added
    assert json.loads(corrected.removeprefix('\ufeff')) == {**content, 'annotations': expected}
    again = read_text(tmp_path_factory.mktemp('files'), corrected)
    kept = [piece for k, piece in enumerate(pieces(read)) if k not in removed and k not in changed]
    assert [p for p in pieces(again) if p in kept] == kept
    # Outside of the list nothing differs, and the way back is exact.
    start = read.opening
    assert corrected[:start] == text[:start]
    assert corrected.endswith(text[text.rindex(']', 0, text.index('"tail"')) :])
    assert document.apply(corrected, inverse)[0] == text


@settings(deadline=None, max_examples=80)
@given(mask=arrays.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_an_added_mask_of_the_image_s_size_is_stored_without_loss(tmp_path_factory, mask):
    height, width = mask.shape
    content = {
        'images': [{'id': 4, 'file_name': 'a.jpg', 'width': width, 'height': height}],
        'annotations': [],
        'categories': coco_fixtures.CATEGORIES,
    }
    read = read_text(tmp_path_factory.mktemp('files'), json.dumps(content))
    correction = Correction(
        'add', 4, None, 'car', rle(mask), mask.shape, 'a.jpg', '', 'missing', 0.5
    )
    text, skipped, _, _ = applied(read, correction)
    if not mask.any():
        assert skipped == {'add: region has no pixel': 1} and text == read.text
        return
    (entry,) = json.loads(text)['annotations']
    np.testing.assert_array_equal(mask_utils.decode(entry['segmentation']), mask)
    assert entry['area'] == mask.sum() and entry['category_id'] == 3 and entry['iscrowd'] == 0
    assert entry['source'] == {'correction': 'add', 'kind': 'missing', 'score': 0.5}
    np.testing.assert_array_equal(masks(text)[entry['id']], mask)
    # The same correction again does nothing.
    again = read_text(tmp_path_factory.mktemp('files'), text)
    assert applied(again, correction)[:2] == (text, {'add: is as it should be already': 1})


@settings(deadline=None, max_examples=40)
@given(
    box=st.tuples(*[st.integers(0, 10)] * 2, *[st.integers(4, 16)] * 2),
    size=st.tuples(st.integers(40, 300), st.integers(40, 300)),
)
def test_a_region_is_enlarged_in_place(box, size):
    top, left, height, width = box
    region = np.zeros((32, 32), bool)
    region[top : top + height, left : left + width] = True
    mask = correcting.enlarge(rle(region), (32, 32), *size)
    assert mask.shape == size
    # Back at its own resolution, at most its corners and its border differ.
    small = mask[nearest_indices(size[0], 32)][:, nearest_indices(size[1], 32)]
    union, common = (small | region).sum(), (small & region).sum()
    assert common / union > 0.7
    inner = region.copy()
    inner[[top, top + height - 1]] = inner[:, [left, left + width - 1]] = False
    assert small[inner].all()


def test_a_category_is_changed_and_a_label_removed(tmp_path):
    content = coco_fixtures.document(3)
    read = read_text(tmp_path, json.dumps(content, indent=1))
    entries = [e for e in content['annotations'] if not e['iscrowd']]
    polygon, other = entries[0], entries[1]
    name = next(i['file_name'] for i in content['images'] if i['id'] == polygon['image_id'])
    before = masks(read.text)
    text, skipped, inverse, _ = applied(
        read,
        Correction('change', polygon['image_id'], polygon['id'], 'handbag', file_name=name),
        Correction('remove', other['image_id'], other['id'], file_name=f'folder/{name[:-4]}.png'),
    )
    assert skipped == {}
    found = {entry['id']: entry for entry in json.loads(text)['annotations']}
    assert other['id'] not in found and len(found) == len(content['annotations']) - 1
    changed = found[polygon['id']]
    assert changed['category_id'] == 31
    assert changed['source'] == {'correction': 'change', 'category_before': 'person'}
    assert isinstance(changed['segmentation']['counts'], str)
    assert {**changed, 'category_id': 1, 'segmentation': 0, 'source': 0} == {
        **polygon, 'segmentation': 0, 'source': 0,
    }  # fmt: skip
    after = masks(text)
    assert set(after) == set(before) - {other['id']}
    for key, mask in after.items():
        np.testing.assert_array_equal(mask, before[key])
    assert document.apply(text, inverse)[0] == read.text


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'image_id': 5}, None),
        ({'file_name': 'another.jpg'}, None),
        ({'image_id': 5, 'file_name': 'x/000000001000.png'}, ''),  # numbered again
        ({'annotation_id': 77}, 'annotation is no longer there'),
        ({'category': 'dragon'}, 'unknown category'),
        ({'category': 'vehicle'}, 'class has several categories: choose one in the report'),
        ({'category': 'person'}, 'is as it should be already'),
        ({'category': 'automobile'}, ''),
        ({'category': 'bag'}, ''),
    ],
)
def test_what_does_not_fit_is_counted(tmp_path, change, reason):
    content = coco_fixtures.document(1)
    first = content['annotations'][0]
    fields = {'image_id': 1000, 'annotation_id': first['id'], 'category': 'car'}
    read = read_text(tmp_path, json.dumps(content))
    text, skipped, _, elsewhere = applied(read, Correction('change', **{**fields, **change}))
    assert skipped == ({f'change: {reason}': 1} if reason else {})
    assert len(elsewhere) == (reason is None)
    assert (text == read.text) == (reason != '')


def test_images_and_categories_whose_ids_are_text(tmp_path):
    content = coco_fixtures.document(2)
    for entry in (*content['images'], *content['annotations']):
        key = 'image_id' if 'image_id' in entry else 'id'
        entry[key] = f'frame {entry[key]}'
    for entry in content['annotations']:
        entry['category_id'] = f'class {entry["category_id"]}'
    content['categories'] = [{**c, 'id': f'class {c["id"]}'} for c in content['categories']]
    # The prepared data set numbers the images; several files may have the name of the second one.
    second = content['images'][1]
    entry = next(e for e in content['annotations'] if e['image_id'] == second['id'])
    read, corrector = annotations.parse(json.dumps(content).encode(), ''), None
    (number,) = [image.id for image in read.images if image.file_name == second['file_name']]
    shared = {correcting.stem(second['file_name'])}
    corrector = correcting.Corrector(read_text(tmp_path, json.dumps(content)), {}, shared)
    in_split = {'file_name': second['file_name'], 'split': 'val'}
    assert corrector.find(Correction('remove', number + 1000, **in_split)) is None
    named = correcting.Corrector(read_text(tmp_path, json.dumps(content)), {}, shared, 'val')
    assert named.find(Correction('remove', number + 1000, **in_split)) == number
    name = 'bus' if entry['category_id'] == 'class 3' else 'car'
    mask = np.ones((second['height'], second['width']), bool)
    common = {'category': name, 'file_name': second['file_name']}
    corrector.add(Correction('change', number, entry['id'], **common))
    corrector.add(Correction('add', number, region=rle(mask), size=mask.shape, **common))
    read = read_text(tmp_path, json.dumps(content))
    after = json.loads(document.apply(read.text, corrector.finish().edits)[0])['annotations']
    (changed,) = [e for e in after if e['id'] == entry['id']]
    key = {c['name']: c['id'] for c in content['categories']}[name]
    assert changed['category_id'] == key and changed['image_id'] == second['id']
    assert (after[-1]['category_id'], after[-1]['image_id']) == (key, second['id'])


def image_names(tmp_path, *names):
    """The corrector of a file whose images have these names, and the ids 0, 1 …"""
    images = [{'id': k, 'file_name': n, 'width': 9, 'height': 9} for k, n in enumerate(names)]
    content = {'images': images, 'annotations': [], 'categories': coco_fixtures.CATEGORIES}
    return correcting.Corrector(read_text(tmp_path, json.dumps(content)), {})


@pytest.mark.parametrize(
    ('given', 'stored'),
    [
        ('my%20photo.jpg', 'my photo.jpg'),
        ('IMG_1.JPG', 'img_1.jpg'),
        ('b\u00e4r.png', unicodedata.normalize('NFD', 'b\u00e4r.png')),
        ('frame.0001', 'frame.0001.jpg'),
        ('/data/local-files/?d=photos%2Fa%20b.jpg', 'a b.jpg'),
    ],
)
def test_images_whose_names_were_repaired_are_found(tmp_path, given, stored):
    for number in (1, 77):  # its own id, and one that the prepared data set has given it
        correction = Correction('remove', number, 5, file_name=stored)
        assert image_names(tmp_path, 'other.jpg', given).find(correction) == 1
        assert image_names(tmp_path, 'other.jpg', 'third.jpg').find(correction) is None


def test_names_that_are_only_alike_are_not_mixed_up(tmp_path):
    names = image_names(tmp_path, 'A.jpg', 'a.jpg', 'a%20b.jpg', 'A b.jpg')
    found = {
        name: names.find(Correction('remove', 0, 5, file_name=name))
        for name in ('a.jpg', 'A b.jpg', 'a b.jpg')
    }
    assert found == {'a.jpg': 1, 'A b.jpg': 3, 'a b.jpg': None}
    # img_1.jpg is the file that was found for the first, though the second has its stem.
    names = image_names(tmp_path, 'IMG_1.JPG', 'img_1.png')
    for number, name, expected in (
        (0, 'img_1.jpg', 0), (1, 'img_1.png', 1), (7, 'img_1.png', 1), (7, 'img_1.jpg', None),
    ):  # fmt: skip
        assert names.find(Correction('remove', number, 5, file_name=name)) == expected


def test_of_images_with_the_same_id_the_first_counts(tmp_path):
    content = coco_fixtures.document(1)
    content['images'].append({**content['images'][0], 'height': 9})
    first = content['annotations'][0]
    read = read_text(tmp_path, json.dumps(content))
    name = content['images'][0]['file_name']
    correction = Correction('change', 1000, first['id'], 'car', file_name=name)
    text, skipped, _, elsewhere = applied(read, correction)
    assert (skipped, elsewhere) == ({}, [])
    np.testing.assert_array_equal(masks(text)[first['id']], masks(read.text)[first['id']])


def test_half_a_character_in_a_changed_annotation_is_kept(tmp_path):
    content = coco_fixtures.document(1)
    content['annotations'][0]['note'] = '\ud83d and \u00e9'
    first = content['annotations'][0]
    read = read_text(tmp_path, json.dumps(content))
    text, skipped, inverse, _ = applied(read, Correction('change', 1000, first['id'], 'car'))
    assert skipped == {} and document.digest(text)
    assert json.loads(text)['annotations'][0]['note'] == first['note']
    assert document.apply(text, inverse)[0] == read.text


def test_a_class_with_the_name_of_one_of_its_categories(tmp_path):
    content = coco_fixtures.document(1)
    first = content['annotations'][0]['id']
    read, members = (
        read_text(tmp_path, json.dumps(content)),
        {'car': ('car', 'bus'), 'bus': ('bus',)},
    )
    of_class = Correction('change', 1000, first, 'car', is_class=True)
    text, skipped, _, _ = applied(read, of_class, members=members)
    assert text == read.text
    assert skipped == {'change: class has several categories: choose one in the report': 1}
    # Another file may have the other category.
    content['categories'] = [each for each in content['categories'] if each['name'] != 'bus']
    alone = read_text(tmp_path, json.dumps(content))
    assert applied(alone, of_class, members=members)[1] == skipped
    for correction in (
        Correction('change', 1000, first, 'car'),  # chosen by a person
        Correction('change', 1000, first, 'bus', is_class=True),
    ):
        text, skipped, _, _ = applied(read, correction, members=members)
        assert skipped == {} and text != read.text


def test_one_correction_of_an_annotation_counts(tmp_path):
    content = coco_fixtures.document(1)
    first = content['annotations'][0]['id']
    read = read_text(tmp_path, json.dumps(content))
    text, skipped, _, _ = applied(
        read, Correction('change', 1000, first, 'car'), Correction('remove', 1000, first)
    )
    assert skipped == {'remove: another correction of the same annotation comes first': 1}
    assert len(json.loads(text)['annotations']) == len(content['annotations'])


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'\x1f\x8b0', 'is compressed'),
        ('{"annotations": []}'.encode('utf-16'), 'not text in UTF-8'),
        (b'{"annotations": [', 'cannot be read as JSON'),
        (b'{"images": [], "annotations": [], "categories": [], "annotations": []}', 'two lists'),
        (b'{"images": [], "annotations": 3, "categories": []}', "no list 'annotations'"),
        (b'[' * 100_000, 'cannot be read as JSON'),
    ],
)
def test_other_files_are_refused(tmp_path, data, message):
    path = tmp_path / 'instances_train.json'
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        document.read(path)


def decided(tmp_path, decision, **fields):
    content = {'fingerprint': 'f', 'ids': [], 'decisions': {'1000': decision}, **fields}
    path = tmp_path / 'exclude.json'
    path.write_text(json.dumps(content))
    found, skipped = decisions.read(path, 'f')
    return found, list(skipped.as_dict())


ADD = {
    'action': 'add', 'category': 'car', 'region': {'size': [2, 2], 'counts': '04'},
    'score': 0.5, 'kind': 'missing instance', 'file_name': 'a.jpg', 'annotation_id': None,
}  # fmt: skip


def test_decisions_of_the_report_are_read(tmp_path):
    remove = {'action': 'remove', 'annotation_id': 7, 'category': 'x', 'score': 0.9}
    decision = {
        'exclude': False,
        'regions': {'a': 'accept', 'b': 'accept', 'c': 'reject', 'd': 'accept'},
        'corrections': {'a': ADD, 'b': remove, 'c': remove},
    }
    found, skipped = decided(tmp_path, decision)
    assert found == [
        Correction('remove', 1000, 7, score=0.9),
        Correction('add', 1000, None, 'car', b'04', (2, 2), 'a.jpg', '', 'missing instance', 0.5),
    ]
    assert skipped == [decisions.NO_CORRECTION]  # as in files of older reports


@pytest.mark.parametrize(
    'change',
    [
        {'action': 'destroy'},
        {'action': 'change'},
        {'action': 'remove', 'annotation_id': True},
        {'action': 'remove', 'annotation_id': -1},
        {'category': ''},
        {'category': '\u202ecar'},
        {'category': ['car']},
        {'region': None},
        {'region': {'size': [2, 2], 'counts': [9, 9]}},
        {'region': {'size': [2, 2], 'counts': 'ooooooooooo'}},
        {'region': {'size': [10**9, 10**9], 'counts': '04'}},
        {'region': {'size': [0, 0], 'counts': ''}},
        {'region': {'size': [2.0, 2], 'counts': '04'}},
        {'region': {'size': [-2, -2], 'counts': '04'}},
    ],
)
def test_hostile_corrections_are_counted(tmp_path, change):
    decision = {'regions': {'k': 'accept'}, 'corrections': {'k': {**ADD, **change}}}
    found, skipped = decided(tmp_path, decision)
    assert found == [] and len(skipped) == 1 and skipped[0].startswith('correction: ')


@pytest.mark.parametrize(
    'decision', [None, [], 3, {'regions': []}, {'regions': {'a': ['accept']}}, {'corrections': {}}]
)
def test_hostile_decisions_change_nothing(tmp_path, decision):
    assert decided(tmp_path, decision)[0] == []


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"ids": [1]}', "no 'decisions'"),
        ('[1]', "no 'decisions'"),
        ('{"decisions": {}, "fingerprint": "other"}', 'another data set'),
        ('{"decisions": {', 'cannot be read as JSON'),
        ('[' * 100_000, 'cannot be read as JSON'),
    ],
)
def test_other_decision_files_are_refused(tmp_path, text, message):
    path = tmp_path / 'exclude.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        decisions.read(path, 'f')


@pytest.fixture
def source(tmp_path):
    contents = {'train': coco_fixtures.document(3), 'val': coco_fixtures.document(2, seed=1)}
    return coco_fixtures.write_folder(tmp_path / 'coco', contents)


@pytest.fixture
def roboflow(tmp_path):
    """Two splits, each with images 0 and 1 of the same names."""
    for split in ('train', 'valid'):
        content = coco_fixtures.document(2, seed=split == 'valid')
        numbers = {image['id']: k for k, image in enumerate(content['images'])}
        for image in content['images']:
            image['id'] = numbers[image['id']]
            image['file_name'] = f'{image["id"]:04d}.jpg'
        for entry in content['annotations']:
            entry['image_id'] = numbers[entry['image_id']]
        folder = tmp_path / 'robo' / split
        folder.mkdir(parents=True)
        for image in content['images']:
            data = coco_fixtures.picture(image['width'], image['height'])
            (folder / image['file_name']).write_bytes(data)
        (folder / '_annotations.coco.json').write_text(json.dumps(content))
    return tmp_path / 'robo'


@pytest.mark.parametrize('split', ['val', 'valid'])
@pytest.mark.parametrize(
    'place',
    ['', 'train/_annotations.coco.json', 'instances_train.json', 'train/labels.json',
     'train/_annotations.coco-segmentation.json'],
)  # fmt: skip
def test_a_correction_stays_in_its_split(roboflow, tmp_path, split, place):
    """Id 11 is that of image 1 of the second split in the prepared data set."""
    if place and not place.endswith('.coco.json'):
        (roboflow / 'train/_annotations.coco.json').rename(roboflow / place)
        beside = roboflow / 'valid/_annotations.coco.json'
        beside.rename(roboflow / place.replace('train/', 'valid/'))
    mask = np.ones((32, 32), bool)
    common = {'file_name': '0001.jpg', 'split': split, 'category': 'car'}
    add = Correction('add', 11, None, region=rle(mask), size=(32, 32), **common)
    written = applying.apply(
        files.find(roboflow / place), tmp_path / 'corrected', [add], skipped := Skipped()
    )
    assert written['train']['corrections'] == []
    if place:
        assert list(written) == ['train']
        assert list(skipped.as_dict()) == ['image is of another split than the files']
    else:
        assert written['valid']['corrections'] == [['add', '', 'car', 1]]
        assert skipped.as_dict() == {}
        text = (tmp_path / 'corrected/annotations/instances_valid.json').read_text()
        assert json.loads(text)['annotations'][-1]['image_id'] == 1


def test_a_folder_with_the_name_of_a_split_does_not_name_a_single_file(tmp_path):
    (tmp_path / 'dev').mkdir()
    (tmp_path / 'dev/labels.json').write_text('{}')
    assert [source.name for source in files.find(tmp_path / 'dev/labels.json')] == ['labels']


def test_what_came_back_of_a_split_stays_in_it(roboflow, tmp_path):
    content = json.loads((roboflow / 'valid/_annotations.coco.json').read_text())
    for image in content['images']:
        image['file_name'] = f'val/{image["file_name"]}'
    content['annotations'] = []  # people have deleted all of them
    exported = [annotations.read(content, 'export', '')]
    written = applying.apply(
        files.find(roboflow), tmp_path / 'corrected', [], skipped := Skipped(), exported=exported
    )
    assert written['train']['corrections'] == [] and skipped.as_dict() == {}
    assert {action for action, *_ in written['valid']['corrections']} == {'remove'}


def corrected(folder, output, *corrections):
    result = []
    for item in files.find(folder):
        read = document.read(item.path)
        corrector = correcting.Corrector(read, {})
        if item.name == 'train':
            assert correcting.correct(corrector, corrections, Skipped()) == []
        result.append(files.write(item, read, corrector.finish().edits, output))
    return result


@pytest.mark.parametrize('size', [{}, {'width': -1, 'height': -1}])
def test_sizes_that_the_file_lacks_are_those_of_the_images(source, tmp_path, size):
    path = source / 'annotations/instances_train.json'
    content = json.loads(path.read_text())
    image = content['images'][1]
    height, width = image.pop('height'), image.pop('width')
    image.update(size)
    path.write_text(json.dumps(content))
    mask = np.arange(height * width).reshape(height, width) % 3 == 0
    add = Correction('add', image['id'], None, 'car', rle(mask), mask.shape)
    applying.apply(files.find(source), tmp_path / 'corrected', [add], skipped := Skipped())
    assert skipped.as_dict() == {}
    text = (tmp_path / 'corrected/annotations/instances_train.json').read_text()
    after = json.loads(text)
    np.testing.assert_array_equal(mask_utils.decode(after['annotations'][-1]['segmentation']), mask)
    assert after['images'] == content['images']


def test_files_are_written_once_and_undone(source, tmp_path):
    output = tmp_path / 'corrected'
    original = (source / 'annotations/instances_train.json').read_bytes()
    first = json.loads(original)['annotations'][0]
    removal = Correction('remove', first['image_id'], first['id'])
    assert corrected(source, output, removal) == [True, True]
    times = {path: path.stat().st_mtime_ns for path in (output / 'annotations').iterdir()}
    assert corrected(source, output, removal) == [False, False]
    assert times == {path: path.stat().st_mtime_ns for path in (output / 'annotations').iterdir()}
    assert (source / 'annotations/instances_train.json').read_bytes() == original
    assert (output / 'annotations/instances_train.json').read_bytes() != original
    # A data set of its own: the images of the source, and its corrected annotations.
    (item, _) = files.find(output)
    assert item.name == 'train' and item.folders[0] == output / 'train'
    assert sorted(p.name for p in (output / 'train').iterdir()) == sorted(
        p.name for p in (source / 'train').iterdir()
    )
    # Other decisions replace what was made here; without any, nothing differs.
    assert corrected(source, output) == [True, False]
    assert (output / 'annotations/instances_train.json').read_bytes() == original
    assert corrected(source, output, removal) == [True, False]

    files.undo(output, tmp_path / 'undone')
    for split in ('train', 'val'):
        name = f'annotations/instances_{split}.json'
        assert (tmp_path / 'undone' / name).read_bytes() == (source / name).read_bytes()


def test_the_output_has_the_folder_that_has_the_images(source, tmp_path):
    (source / 'images').mkdir()
    (source / 'train').rename(source / 'images/train')
    (source / 'train').mkdir()
    (source / 'train/0.txt').write_text('labels of another tool')
    corrected(source, tmp_path / 'corrected')
    assert (tmp_path / 'corrected/train').resolve() == source / 'images/train'


def test_a_split_can_have_the_name_of_the_folder_of_annotations(source, tmp_path):
    path = source / 'annotations/instances_train.json'
    path.rename(source / 'annotations.json')
    (source / 'train').rename(source / 'images')
    (source / 'annotations/instances_val.json').unlink()
    (item,) = files.find(source)
    read = document.read(item.path)
    files.write(dataclasses.replace(item, name='annotations'), read, [], tmp_path / 'corrected')
    assert (tmp_path / 'corrected/images/annotations').resolve() == source / 'images'


def test_splits_of_the_same_name_get_files_of_their_own(source, tmp_path):
    contents = {'train': coco_fixtures.document(2, seed=5)}
    coco_fixtures.write_folder(source / 'originals', contents)
    assert [item.name for item in files.find(source)] == ['train', 'train_2', 'val']
    corrected(source, tmp_path / 'corrected')
    for name, place in (('train', ''), ('train_2', 'originals/')):
        made = tmp_path / f'corrected/annotations/instances_{name}.json'
        given = source / f'{place}annotations/instances_train.json'
        assert made.read_bytes() == given.read_bytes()


def test_nothing_else_is_replaced(source, tmp_path):
    with pytest.raises(ValueError, match='never changed'):
        corrected(source, source)
    output = tmp_path / 'corrected'
    corrected(source, output)
    path = output / 'annotations/instances_train.json'
    path.write_text(path.read_text() + ' ')
    with pytest.raises(ValueError, match='changed since'):
        corrected(source, output)
    with pytest.raises(ValueError, match='was changed after'):
        files.undo(output, tmp_path / 'undone')
    with pytest.raises(ValueError, match='nothing to undo'):
        files.undo(source, tmp_path / 'undone')
    undo = output / 'annotations/undo_train.json'
    made = json.loads(undo.read_text())
    undo.write_text(json.dumps({**made, 'file': '../../outside.json'}))
    with pytest.raises(ValueError, match='damaged'):
        files.undo(output, tmp_path / 'undone')


def test_a_stop_between_the_two_files_is_continued(source, tmp_path, monkeypatch):
    output = tmp_path / 'corrected'
    corrected(source, output)
    first = document.read(source / 'annotations/instances_train.json').content['annotations'][0]
    removal = Correction('remove', first['image_id'], first['id'])

    def stop(path, text):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(files, 'write_text', stop)
        with pytest.raises(KeyboardInterrupt):
            corrected(source, output, removal)
    assert corrected(source, output, removal) == [True, False]
    assert files.undo(output, tmp_path / 'undone')
