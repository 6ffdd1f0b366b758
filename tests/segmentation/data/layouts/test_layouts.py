"""Every exporter's files as they are unpacked: which layout they are, and that no mask is lost."""

import json
import pathlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.data import data_loss, layouts
from tests import layout_fixtures
from tests.layout_fixtures import DataSet, masks_of, read

pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')

# Writer → kind of data, title, splits as the files call them.
BOTH = ('train', 'val')
EXPORTERS = {
    'coco_2017': ('polygons', 'COCO', ('train2017', 'val2017')),
    'coco_images_folder': ('polygons', 'COCO', ('train2017', 'val2017')),
    'coco_gzip': ('masks', 'COCO', BOTH),
    'lvis': ('polygons', 'COCO annotations', BOTH),
    'roboflow': ('polygons', 'Roboflow export', ('train', 'valid')),
    'cvat': ('polygons', 'CVAT export', ('default',)),
    'label_studio': ('polygons', 'Label Studio export', ('train',)),
    'label_studio_addresses': ('masks', 'Label Studio export', ('train',)),
    'labelme2coco': ('polygons', 'COCO annotations', BOTH),
    'coco_beside_images': ('masks', 'COCO annotations', ('train',)),
    'fiftyone': ('masks', 'FiftyOne export', ('train',)),
    'via_coco': ('polygons', 'COCO annotations', BOTH),
    'via_regions': ('polygons', 'VGG Image Annotator (VIA)', BOTH),
    'via_project': ('polygons', 'VGG Image Annotator (VIA)', ('train',)),
    'datumaro': ('polygons', 'Datumaro export', BOTH),
    'labelme': ('polygons', 'LabelMe', BOTH),
    'yolo': ('polygons', 'YOLO segmentation', BOTH),
    'yolo_ultralytics': ('polygons', 'YOLO segmentation', BOTH),
    'voc': ('masks', 'Pascal VOC', BOTH),
    'cvat_masks': ('masks', 'Pascal VOC', ('default',)),
    'index_masks': ('masks', 'folders of images and masks', BOTH),
    'cityscapes': ('masks', 'Cityscapes', BOTH),
    'cityscapes_polygons': ('polygons', 'Cityscapes', BOTH),
}


def write(exporter: str, folder: pathlib.Path, seed: int = 0, **size: int) -> DataSet:
    data = getattr(layout_fixtures, EXPORTERS[exporter][0])(seed, **size)
    folder.mkdir(parents=True, exist_ok=True)
    getattr(layout_fixtures, exporter)(folder, data)
    return data


def expected_masks(exporter: str, data: DataSet) -> dict[str, list[tuple[str, np.ndarray]]]:
    result = {}
    for picture in (p for pictures in data.values() for p in pictures):
        things = [(thing.label, thing.mask) for thing in picture.things]
        name = picture.name
        if exporter.startswith('cityscapes'):
            name = f'ulm_{picture.name}_leftImg8bit'
            things = [(layout_fixtures.CITY_NAMES[label], mask) for label, mask in things]
        if exporter == 'index_masks' or exporter == 'cityscapes':
            # Without numbers of objects, a class is one instance.
            merged: dict = {}
            for label, mask in things:
                alone = exporter == 'cityscapes' and label != 'traffic sign'
                key = (label, len(merged)) if alone else (label, -1)
                merged[key] = merged.get(key, False) | mask
            things = [(label, mask) for (label, _), mask in merged.items()]
        result[name] = things
    return result


def as_sets(masks: dict) -> dict[str, list]:
    return {
        name: sorted((label, mask.shape, mask.tobytes()) for label, mask in things)
        for name, things in masks.items()
    }


@pytest.mark.parametrize('exporter', EXPORTERS)
def test_every_export_is_read_as_it_was_unpacked(exporter, tmp_path):
    data = write(exporter, tmp_path / 'set')
    found = layouts.recognize(tmp_path / 'set')
    _, title, splits = EXPORTERS[exporter]
    assert str(found).startswith(f'{title}: split')
    assert tuple(split.name for split in found.splits) == splits
    result = read(tmp_path / 'set')
    got = {name: things for split in result.values() for name, things in masks_of(split).items()}
    expected = expected_masks(exporter, data)
    if exporter.startswith('yolo'):
        for name, things in expected.items():
            assert [label for label, _ in got[name]] == [label for label, _ in things]
            for (_, mask), (_, true) in zip(got[name], things, strict=True):
                assert (mask != true).sum() <= 0.02 * true.size
    else:
        assert as_sets(got) == as_sets(expected)
    for split in result.values():
        lost = [reason for reason in split.skipped.as_dict() if reason.startswith(('ann', 'image'))]
        assert lost == []


LOSSLESS = [name for name in EXPORTERS if not name.startswith(('yolo', 'coco_', 'label_studio'))]


@pytest.mark.parametrize('exporter', ['coco_2017', 'coco_gzip', *LOSSLESS])
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_masks_equal_their_source_bit_for_bit(exporter, tmp_path_factory, seed):
    """Together over 1,000 random shapes: 20 exporters, 2 sets of 6 images with 6 objects."""
    folder = tmp_path_factory.mktemp('set')
    data = write(exporter, folder, seed, pictures=3, things=6)
    result = read(folder)
    got = {name: things for split in result.values() for name, things in masks_of(split).items()}
    assert as_sets(got) == as_sets(expected_masks(exporter, data))


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 16_384),
    st.lists(st.floats(0, 1), min_size=6, max_size=12).filter(lambda v: len(v) % 2 == 0),
)
def test_the_rounding_of_yolo_is_bounded(width, fractions):
    """Six digits move a corner by at most 5e-7 of the side (0.01 pixels at most)."""
    for fraction in fractions:
        assert abs(float(f'{fraction:.6f}') * width - fraction * width) <= 5.001e-7 * width <= 0.01


def test_two_readings_are_both_named_and_one_is_chosen(tmp_path):
    write('roboflow', tmp_path)
    write('yolo', tmp_path)
    with pytest.raises(ValueError, match=r'in 2 ways: roboflow .*; yolo .*--layout'):
        layouts.recognize(tmp_path)
    assert layouts.recognize(tmp_path, 'yolo').layout.title == 'YOLO segmentation'
    with pytest.raises(ValueError, match='did you mean roboflow'):
        layouts.recognize(tmp_path, 'robofow')


def test_what_fits_no_layout_is_named(tmp_path):
    (tmp_path / 'notes.txt').write_text('x')
    (tmp_path / 'a.json').write_text('[1]')
    with pytest.raises(
        ValueError, match=r'It has a\.json, notes\.txt\. Export it as COCO'
    ) as error:
        layouts.recognize(tmp_path)
    assert str(error.value).isprintable()
    with pytest.raises(ValueError, match='is not laid out as voc'):
        layouts.recognize(tmp_path, 'voc')


def test_an_archive_unpacked_into_a_folder_of_its_own_is_found(tmp_path):
    write('voc', tmp_path / 'a' / 'b')
    assert layouts.recognize(tmp_path).layout.name == 'voc'


@pytest.mark.parametrize(
    ('name', 'usual'),
    [
        ('valid', 'val'), ('validation', 'val'), ('val2017', 'val'), ('dev', 'val'),
        ('Train', 'train'), ('training', 'train'), ('train2014', 'train'), ('default', 'train'),
        ('instances_train', 'train'), ('testing', 'test'), ('extra_val', ''), ('street', ''),
        ('train_person_car', ''), ('trainval', ''),
    ],
)  # fmt: skip
def test_usual_names_of_splits(name, usual):
    assert layouts.usual_name(name) == usual


def test_a_set_without_validation_says_what_to_do(tmp_path):
    write('cvat', tmp_path)
    assert 'data.folds=5 holds out a fifth' in str(layouts.recognize(tmp_path))


# Shapes of tools.


def one_labelme(folder, *shapes, **fields):
    picture = layout_fixtures.Picture('a', 40, 30, [])
    layout_fixtures.save_image(folder, picture)
    shapes = [{'label': 'van', **shape} for shape in shapes]
    content = {'shapes': shapes, 'imagePath': 'a.png', 'imageHeight': 30, 'imageWidth': 40}
    layout_fixtures.write_json(folder / 'a.json', content | fields)
    return read(folder)['train']


def test_shapes_of_labelme(tmp_path):
    rectangle = {'shape_type': 'rectangle', 'points': [[30, 20], [10, 5]]}
    circle = {'shape_type': 'circle', 'points': [[20, 15], [20, 25]]}
    part = {'shape_type': 'polygon', 'points': [[0, 0], [5, 0], [5, 5]], 'group_id': 4}
    other = part | {'points': [[30, 20], [35, 20], [35, 25]]}
    line = {'shape_type': 'line', 'points': [[0, 0], [9, 9]]}
    result = one_labelme(tmp_path, rectangle, circle, part, other, line)
    (image,) = result.images
    masks = [mask for _, mask in masks_of(result)['a']]
    assert len(masks) == 3  # the two parts are one object
    assert masks[0].sum() == 20 * 15 and masks[0][5:20, 10:30].all()
    rows, columns = np.mgrid[:30, :40] + 0.5
    disk = (columns - 20) ** 2 + (rows - 15) ** 2
    assert (masks[1] == (disk <= 100))[abs(disk**0.5 - 10) > 1].all()
    assert masks[2][2, 4] and masks[2][22, 34]
    assert result.skipped.as_dict()['annotation: no segmentation']['count'] == 1  # the line


def test_shapes_of_via(tmp_path):
    picture = layout_fixtures.Picture('a', 40, 30, [])
    layout_fixtures.save_image(tmp_path, picture)
    shapes = [
        {'name': 'rect', 'x': 3, 'y': 4, 'width': 10, 'height': 5},
        {'name': 'ellipse', 'cx': 20, 'cy': 15, 'rx': 8, 'ry': 4, 'theta': 0},
        {'name': 'point', 'cx': 1, 'cy': 2},
    ]
    regions = [
        {'shape_attributes': s, 'region_attributes': {'kind': {'van': True}}} for s in shapes
    ]
    entry = {'filename': 'a.png', 'size': 1, 'regions': regions}
    layout_fixtures.write_json(tmp_path / 'via_region_data.json', {'a.png1': entry})
    result = read(tmp_path)['train']
    (box, ellipse) = masks_of(result)['a']
    assert box[0] == 'van' and box[1].sum() == 50 and box[1][4:9, 3:13].all()
    assert abs(ellipse[1].sum() - np.pi * 32) < 5
    assert result.skipped.as_dict()['annotation: no segmentation']['count'] == 1
    for region in regions:
        region['region_attributes'] = {'size': 'big', 'color': 'red'}
    layout_fixtures.write_json(tmp_path / 'via_region_data.json', {'a.png1': entry})
    with pytest.raises(ValueError, match="'size', 'color'; name the one that holds the class"):
        read(tmp_path)


def test_polygons_of_one_group_are_one_object_in_datumaro(tmp_path):
    picture = layout_fixtures.Picture('a', 40, 30, [])
    layout_fixtures.save_image(tmp_path / 'images' / 'train', picture)
    part = {'type': 'polygon', 'label_id': 0, 'group': 2}
    annotations = [
        part | {'points': [0, 0, 5, 0, 5, 5]},
        part | {'points': [20, 20, 25, 20, 25, 25]},
        {'type': 'bbox', 'label_id': 0, 'bbox': [1, 1, 5, 5]},
    ]
    item = {'id': 'a', 'annotations': annotations, 'image': {'path': 'a.png'}}
    content = {'categories': {'label': {'labels': [{'name': 'van'}]}}, 'items': [item]}
    layout_fixtures.write_json(tmp_path / 'annotations/train.json', content)
    result = read(tmp_path)['train']
    ((label, mask),) = masks_of(result)['a']
    assert label == 'van' and mask[1, 4] and mask[21, 24]
    assert result.skipped.as_dict()['annotation: no segmentation']['count'] == 1


def test_boxes_of_yolo_are_refused_as_such(tmp_path):
    write('yolo', tmp_path)
    for path in tmp_path.glob('*/labels/*.txt'):
        path.write_text('0 0.5 0.5 0.2 0.2\n' * 4)
    with pytest.raises(data_loss.DataLoss, match='no outlines: masks are needed'):
        read(tmp_path)


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('7 0.1 0.1 0.5 0.5 0.1 0.5', 'uses the class 7, but the classes are 0 … 2'),
        ('0 10 10 50 50 10 50', 'must be fractions'),
        ('van 0.1 0.1 0.5 0.5 0.1 0.5', 'not numbers'),
    ],
)
def test_wrong_lines_of_yolo_are_refused(tmp_path, line, message):
    write('yolo', tmp_path)
    (tmp_path / 'train/labels/train_0.txt').write_text(line)
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_class_lists_say_what_numbers_mean(tmp_path):
    data = write('index_masks', tmp_path)
    expected = as_sets(expected_masks('index_masks', data))

    def got():
        parts = read(tmp_path).values()
        return as_sets({name: t for split in parts for name, t in masks_of(split).items()})

    for text in ('background\nworker\nvan\ntraffic cone', '1 worker\n2: van\n3,traffic cone\n'):
        (tmp_path / 'classes.txt').write_text(text)
        assert got() == expected
    (tmp_path / 'classes.txt').unlink()
    layout_fixtures.write_json(
        tmp_path / 'classes.json', {'1': 'worker', '2': 'van', '3': 'traffic cone'}
    )
    assert got() == expected
    (tmp_path / 'classes.json').unlink()
    with pytest.raises(ValueError, match='no list of their classes: write classes.txt'):
        read(tmp_path)
    (tmp_path / 'classes.txt').write_text('1 worker\n2 van')
    with pytest.raises(ValueError, match='has the number 3, which is not in the class list'):
        read(tmp_path)
    (tmp_path / 'classes.txt').write_text('worker\nvan\ntraffic cone\nsign')
    with pytest.raises(ValueError, match="not clear whether 'worker' is 0 or 1"):
        read(tmp_path)


def test_groups_of_cityscapes_are_crowds(tmp_path):
    write('cityscapes_polygons', tmp_path)
    path = next(tmp_path.glob('gtFine/train/*/*_polygons.json'))
    content = json.loads(path.read_text())
    content['objects'][0]['label'] = 'persongroup'
    content['objects'][1]['label'] = 'out of roi'
    path.write_text(json.dumps(content))
    (image,) = [i for i in read(tmp_path)['train'].images if path.stem[:12] in i.file_name]
    assert [instance.is_crowd for instance in image.instances] == [True, False, False]


# Hostile folders.


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
