"""Shapes, groups and class lists as single tools write them."""

import json

import numpy as np
import pytest

from segmentation.data import data_loss
from tests import layout_fixtures
from tests.layout_reading import as_sets, expected_masks, masks_of, read, write

pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')


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
    assert result.skipped.as_dict()['annotation: no segmentation, only a box']['count'] == 1


def test_boxes_of_yolo_are_refused_as_such(tmp_path):
    write('yolo', tmp_path)
    for path in tmp_path.glob('*/labels/*.txt'):
        path.write_text('0 0.5 0.5 0.2 0.2\n' * 4)
    with pytest.raises(data_loss.DataLoss, match='boxes but no outlines: masks are needed'):
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


@pytest.mark.parametrize('exporter', ['voc', 'index_masks', 'cityscapes'])
def test_pixels_that_nobody_labeled_are_noted(tmp_path, exporter):
    write(exporter, tmp_path)
    if exporter == 'index_masks':
        path = next((tmp_path / 'masks/train').iterdir())
        numbers = np.array(layout_fixtures.Image.open(path))
        numbers[0] = 255
        layout_fixtures.Image.fromarray(numbers).save(path)
    reason = 'pixels without a label are read as background'
    counts = [split.notes.as_dict().get(reason, {'count': 0}) for split in read(tmp_path).values()]
    assert sum(entry['count'] for entry in counts) >= 1


def test_groups_of_cityscapes_are_crowds(tmp_path):
    write('cityscapes_polygons', tmp_path)
    path = next(tmp_path.glob('gtFine/train/*/*_polygons.json'))
    content = json.loads(path.read_text())
    content['objects'][0]['label'] = 'persongroup'
    content['objects'][1]['label'] = 'out of roi'
    path.write_text(json.dumps(content))
    (image,) = [i for i in read(tmp_path)['train'].images if path.stem[:12] in i.file_name]
    assert [instance.is_crowd for instance in image.instances] == [True, False, False]
