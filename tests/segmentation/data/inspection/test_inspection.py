"""The look at a data set before training: what it counts, shows and escapes."""

import base64
import copy
import html.parser
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from scripts import prepare_coco
from segmentation.data import coco, masks
from segmentation.data.inspection import drawing, gallery, inspect, scan, statistics
from tests import coco_fixtures

TWICE = 8_888  # an annotation of the outline of another one, under another category
HOSTILE = '<img src=x onerror=alert(1)>"\'&amp;'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two splits with copies in and across them, repairs, an empty image, and a hostile name."""
    train, val = coco_fixtures.document(6), coco_fixtures.document(3, seed=1)
    train, val = copy.deepcopy(train), copy.deepcopy(val)
    for document in (train, val):
        document['categories'] = [
            {**category, 'name': HOSTILE if category['id'] == 31 else category['name']}
            for category in document['categories']
        ]
    train['annotations'][0]['bbox'] = None
    emptied = train['images'][4]['id']
    train['annotations'] = [a for a in train['annotations'] if a['image_id'] != emptied]
    train['annotations'].append(
        {**train['annotations'][0], 'id': 7, 'segmentation': [], 'bbox': [0, 0, 1, 1]}
    )
    twice = next(a for a in val['annotations'] if a['category_id'] == 1 and not a['iscrowd'])
    val['annotations'].append({**twice, 'id': TWICE, 'category_id': 31})
    folder = coco_fixtures.write_folder(
        tmp_path_factory.mktemp('inspected'), {'train': train, 'val': val}
    )
    # Same bytes: an image of train with a second name there, and the first of val (same picture).
    first = {**train['images'][1]}
    twin = {**first, 'id': 5, 'file_name': 'twin.jpg'}
    train['images'].append(twin)
    (folder / 'train' / 'twin.jpg').write_bytes(
        (folder / 'train' / first['file_name']).read_bytes()
    )
    coco_fixtures.write_annotations(folder, 'train', train)
    return folder


@pytest.fixture(scope='module')
def prepared(folder, tmp_path_factory):
    return coco.prepare(str(folder), tmp_path_factory.mktemp('prepared'))


@pytest.fixture(scope='module')
def found(prepared):
    return scan.scan(prepared)


def test_counts_are_those_of_the_masks(prepared, found):
    everything = np.zeros(len(prepared.categories), int)
    pixels, covered = np.zeros(len(prepared.categories)), []
    for split in map(prepared.split, prepared.splits):
        for record in (split[i] for i in range(len(split))):
            size = [int(record['height']), int(record['width'])]
            union = np.zeros(size, bool)
            for kind, counts in zip(
                record['instances']['category_id'], record['instances']['rle'], strict=True
            ):
                mask = mask_utils.decode({'size': size, 'counts': counts}).astype(bool)
                number = [c.id for c in prepared.categories].index(kind)
                everything[number] += 1
                pixels[number] += mask.sum()
                union |= mask
            covered.append(union.mean())
    np.testing.assert_allclose(found.covered, covered)
    rows = {row.name: row for row in statistics.categories(found, prepared.categories)}
    total = (found.height * found.width).sum()
    for number, category in enumerate(prepared.categories):
        assert sum(rows[category.name].instances) == everything[number]
        assert rows[category.name].pixels == pytest.approx(pixels[number] / total)
    assert sum(n for _, n in statistics.side_histogram(found)) == len(found.instances.image)
    assert sum(n for _, n in statistics.image_sizes(found, 2)) == len(found.split) == 10


def test_copies_within_and_across_splits(prepared, found):
    groups = [
        {(found.splits[found.split[row]], str(found.file_name[row])) for row in rows}
        for rows in found.copies()
    ]
    names = [f'{1000 - 7 * i:012d}.jpg' for i in range(3)]
    # The fixture draws an image by its id, so the three of val are copies of the first of train.
    assert {('train', names[1]), ('train', 'twin.jpg'), ('val', names[1])} in groups
    assert {('train', names[0]), ('val', names[0])} in groups and len(groups) == 3
    counted = statistics.copies(found)
    assert counted['groups_across_splits'] == 3 and counted['groups_within_a_split'] == 0
    assert counted['images'] == 7 and counted['groups_with_different_labels'] >= 1


def test_sections_show_the_extremes(prepared, found):
    sections = {section.title: section for section in gallery.choose(prepared, found)}
    first = {title: section.images[0] for title, section in sections.items()}
    assert found.count[first['Most instances'].row] == found.count.max()
    assert found.covered[first['Largest share covered'].row] == found.covered.max()
    share = found.instances.share
    assert share[first['Smallest objects'].marked[0]] == share.min()
    assert share[first['Largest objects'].marked[0]] == share.max()
    assert all(found.count[shown.row] == 0 for shown in sections['Without instances'].images)
    repaired = first['Repaired']
    assert repaired.note == 'repaired: bbox taken from the mask'
    assert found.instances.image[repaired.marked[0]] == repaired.row
    for number, name in enumerate(found.splits):
        rows = [shown.row for shown in sections[f'Random images: {name}'].images]
        assert len(rows) == len(set(rows)) and set(found.split[rows]) == {number}


def decode(url):
    assert re.match(r'data:image/(jpeg|png);base64,', url)
    return np.asarray(
        Image.open(io.BytesIO(base64.b64decode(url.partition(',')[2]))).convert('RGBA')
    )


def test_masks_lie_on_their_images(prepared):
    record = prepared.split('train')[3]
    image, layer, (width, height) = drawing.picture(record, [(255, 0, 0)] * 5)
    image, layer = decode(image), decode(layer)
    assert image.shape[:2] == layer.shape[:2] == (height, width)
    everything = {kind: 1 for kind in record['instances']['category_id'].tolist()}
    expected = masks.class_mask(record, everything) > 0
    np.testing.assert_array_equal(layer[..., 3] > 0, expected)
    assert decode(drawing.crop(record, 0, (255, 0, 0))).shape[:2] == (drawing.CROP, drawing.CROP)


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.texts = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        attributes = dict(attrs)
        assert not any(name.startswith('on') for name in attributes)
        self.sources += [attributes[k] for k in ('src', 'href') if k in attributes]

    def handle_data(self, data):
        self.texts.append(data)


def test_objects_that_are_labeled_twice(prepared, found, tmp_path):
    text, numbers = inspect(prepared, tmp_path / 'page.html')
    pairs = [pair for pair in numbers['labeled_twice'] if TWICE in pair['annotations']]
    assert set(pairs[0]['categories']) == {'person', HOSTILE} and pairs[0]['iou'] == 1
    assert all(pair['image'].startswith('val/') for pair in pairs)
    assert f'{len(found.twice)} pairs of instances' in text
    page = Tags((tmp_path / 'page.html').read_text())
    assert any('Labeled twice' in shown for shown in page.texts)
    assert any(shown.endswith('IoU 1.00') and HOSTILE in shown for shown in page.texts)


def test_page_is_offline_and_escaped(prepared, tmp_path):
    text, numbers = inspect(prepared, tmp_path / 'page.html')
    page = Tags((tmp_path / 'page.html').read_text())
    assert 'script' not in page.tags and {'img', 'table', 'figure'} <= page.tags
    assert all(source.startswith(('data:image/', '#')) for source in page.sources)
    assert any(HOSTILE in shown for shown in page.texts)  # as text, not as a tag
    assert HOSTILE not in text and 'person' in text
    json.dumps(numbers)
    assert any(shown.startswith('annotation: no segmentation') for shown in page.texts)


def test_command_writes_page_and_summary(folder, tmp_path, capsys):
    options = ['--source', str(folder), '--data_dir', str(tmp_path / 'data')]
    result = tmp_path / 'result.json'
    prepare_coco.main([*options, '--inspect', '--json', str(result)])
    shown = capsys.readouterr().out
    content = json.loads(result.read_text())
    page = content['inspection']['page']
    assert page.startswith(content['path']) and page in shown and 'same bytes' in shown
    assert coco.open_prepared(content['path']).split('train')  # the page is not in the way
    with pytest.raises(SystemExit) as ended:
        prepare_coco.main([*options, '--inspect', str(tmp_path / 'nowhere' / 'page.html')])
    assert ended.value.code == 1 and 'nowhere' in capsys.readouterr().err
