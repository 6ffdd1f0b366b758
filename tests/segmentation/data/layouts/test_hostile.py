"""Folders that would lead outside, hang, run code or break the reader."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.data import layouts
from tests import layout_fixtures
from tests.layout_reading import read, write

pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')


def test_names_never_lead_out_of_the_folder(tmp_path):
    layout_fixtures.save_image(tmp_path / 'outside', layout_fixtures.Picture('train_0', 30, 30, []))
    write('coco_beside_images', tmp_path / 'set')
    path = tmp_path / 'set' / 'export.json'
    content = json.loads(path.read_text())
    (tmp_path / 'set' / 'train_0.png').unlink()
    (tmp_path / 'set' / 'train_1.png').unlink()
    (tmp_path / 'set' / 'train_1.png').symlink_to(tmp_path / 'outside' / 'train_0.png')
    names = ['../outside/train_0.png', 'train_1.png', str(tmp_path / 'outside' / 'train_0.png')]
    for image, name in zip(content['images'], names, strict=False):
        image['file_name'] = name
    path.write_text(json.dumps(content))
    result = read(tmp_path / 'set')['train']
    assert {reason for reason in result.skipped.as_dict() if reason.startswith('image')} == {
        'image: unsafe or missing file name', 'image: link out of the image folder',
        'image: missing file',
    }  # fmt: skip
    assert len(result.images) == 3


@pytest.mark.parametrize('exporter', ['cvat', 'via_regions', 'labelme', 'datumaro'])
def test_annotation_files_that_are_links_out_are_refused(exporter, tmp_path):
    write(exporter, tmp_path / 'set')
    path = next(path for path in sorted((tmp_path / 'set').rglob('*.json')))
    path.rename(tmp_path / 'outside.json')
    path.symlink_to(tmp_path / 'outside.json')
    try:
        result = read(tmp_path / 'set')
    except ValueError as error:
        assert 'link out of' in str(error) or 'no data set of a known layout' in str(error)
    else:  # it is not recognized, and the others are
        assert sum(len(split.images) for split in result.values()) < 6


def test_places_of_yolo_stay_in_the_folder(tmp_path):
    write('yolo', tmp_path / 'set')
    write('yolo', tmp_path / 'other')
    text = f'train: {tmp_path}/other/elsewhere\nnames: [worker, van, traffic cone]'
    (tmp_path / 'set/data.yaml').write_text(text)
    with pytest.raises(ValueError, match='train is .* which is not in'):
        read(tmp_path / 'set')


def test_yaml_makes_no_objects(tmp_path):
    write('yolo', tmp_path)
    for text in (
        'train: train/images\nnames: !!python/object/apply:os.system ["touch /tmp/x"]',
        'train: train/images\nnames: *unknown',
        'names: [' * 2000,
    ):
        (tmp_path / 'data.yaml').write_text(text)
        with pytest.raises(ValueError, match='no data set of a known layout'):
            layouts.recognize(tmp_path)


def test_a_bomb_in_gzip_is_refused(tmp_path):
    write('coco_gzip', tmp_path)
    path = tmp_path / 'annotations/instances_train.json.gz'
    layout_fixtures.write_json(path, {'images': [], 'x': ' ' * 2**24})
    with pytest.raises(ValueError, match='unpacks to far more'):
        read(tmp_path)
    layout_fixtures.write_json(path, layout_fixtures.coco([]))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match='is not a gzip file'):
        read(tmp_path)


@pytest.mark.parametrize('exporter', ['via_regions', 'labelme', 'datumaro', 'cityscapes_polygons'])
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_wrong_types_are_counted_or_refused(exporter, tmp_path_factory, data):
    """No other error than ValueError, whatever a field holds."""
    folder = tmp_path_factory.mktemp('set')
    write(exporter, folder, pictures=1, things=2)
    path = data.draw(st.sampled_from(sorted(folder.rglob('*.json'))))
    content = json.loads(path.read_text())
    node, key = content, data.draw(st.sampled_from(sorted(content)))
    while isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans()):
        node = node[key]
        keys = sorted(node) if isinstance(node, dict) else range(len(node))
        key = data.draw(st.sampled_from(keys))
    node[key] = data.draw(st.sampled_from([None, 0, -1, 'x', [], {}, [[]], {'a': 1}, 1e308, True]))
    path.write_text(json.dumps(content))
    try:
        result = read(folder)
    except ValueError as error:
        assert re.search(r'\w', str(error))
        return
    for split in result.values():
        for image in split.images:
            assert all(instance.rle for instance in image.instances)


def test_masks_that_lose_numbers_are_refused(tmp_path):
    write('index_masks', tmp_path)
    path = next((tmp_path / 'masks/train').iterdir())
    layout_fixtures.Image.open(path).convert('L').save(tmp_path / 'x.jpg')
    (tmp_path / 'x.jpg').rename(path)
    with pytest.raises(ValueError, match='JPEG changes class numbers'):
        read(tmp_path)
