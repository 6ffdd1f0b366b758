"""What the same tool writes in its other versions and projects."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from segmentation.data.layouts import base
from tests import layout_fixtures
from tests.layout_reading import masks_of, read, write
from tests.segmentation.data.layouts.test_same_names import areas_by_gray, gray_by_split, save

OUTLINE = [[10, 10], [40, 10], [40, 40], [10, 40]]  # in percent


def labels_of(folder):
    found = masks_of(read(folder)['train'])
    return {name: [label for label, _ in masks] for name, masks in found.items()}


def test_fine_labels_of_cityscapes_come_before_coarse_ones(tmp_path):
    write('cityscapes', tmp_path)
    before = labels_of(tmp_path)
    for path in list(tmp_path.rglob('*_gtFine_*.png')):
        coarse = tmp_path / str(path).replace('gtFine', 'gtCoarse')
        coarse.parent.mkdir(parents=True, exist_ok=True)
        save(coarse, 7, Image.open(path).size)
    assert labels_of(tmp_path) == before
    next(tmp_path.rglob('gtFine')).with_name('label_colors.txt').write_text('1 2 3 cat')
    with pytest.raises(ValueError, match='labels of its own'):
        read(tmp_path)


def write_tasks(folder, *tasks):
    made = [{'annotations': [{'result': results}], 'data': data} for data, *results in tasks]
    layout_fixtures.write_json(folder / 'project.json', made)


def shape(kind='polygonlabels', to_name='image', **value):
    value |= {'polygonlabels': ['car']} if kind == 'polygonlabels' else {}
    size = {'original_width': 40, 'original_height': 30}
    value['points'] = OUTLINE
    return {'id': 'a', 'type': kind, 'to_name': to_name, 'value': value, **size}


def test_label_studio_keeps_label_and_shape_apart(tmp_path):
    save(tmp_path / 'images/b.png', 0)
    data = {'caption': 'a red car', 'picture': '/data/upload/1/b.png'}
    more = shape('number', number=3)
    write_tasks(tmp_path, (data, shape('polygon'), shape('labels', labels=['car']), more))
    assert labels_of(tmp_path) == {'b': ['car']}
    write_tasks(tmp_path, (data, shape(), more, {'type': 'choices', 'to_name': 'caption'}))
    assert labels_of(tmp_path) == {'b': ['car']}


def test_label_studio_tasks_of_several_images_are_left_out(tmp_path):
    save(tmp_path / 'images/a.png', 0)
    for other in shape(to_name='second'), {**shape(), 'item_index': 1}:
        both = {'one': 'a.png', 'two': 'b.png'}, shape(), other
        write_tasks(tmp_path, both, ({'image': 'a.png'}, shape()))
        assert labels_of(tmp_path) == {'a': ['car']}
        skipped = read(tmp_path)['train'].skipped.as_dict()
        assert skipped['image: a task with annotations of several images']['count'] == 1


def test_labelme_finds_images_that_were_converted(tmp_path):
    write('labelme', tmp_path)
    for path in tmp_path.rglob('*.json'):
        content = json.loads(path.read_text())
        content['imagePath'] = content['imagePath'].rpartition('.')[0] + '.JPG'
        path.write_text(json.dumps(content))
    for found in read(tmp_path).values():
        assert found.images and 'image: no annotation file' not in found.skipped.as_dict()


def test_yolo_takes_no_folder_for_another_split(tmp_path):
    description = tmp_path / 'data.yaml'
    description.write_text('train: ../train/images\nval: ../valid/images\nnames: [van]')
    (tmp_path / 'labels').mkdir()
    save(tmp_path / 'images/0.png', 0)
    (tmp_path / 'labels/0.txt').write_text('0 0 0 0.5 0 0.5 0.5')
    with pytest.raises(ValueError, match='put the images there'):
        read(tmp_path)
    for name in ('images', 'labels'):
        shutil.copytree(tmp_path / name, tmp_path / 'train' / name)
    assert [*read(tmp_path)] == ['train']
    description.write_text('train: [train/images, more.txt]\nnames: [van]')
    with pytest.raises(ValueError, match='2 places, of which 1 are no folders'):
        read(tmp_path)


def test_folders_of_voc_name_splits(tmp_path):
    for i, name in enumerate(('train/a', 'val/b')):
        save(tmp_path / f'JPEGImages/{name}.png', i)
        save(tmp_path / f'SegmentationClassPNG/{name}.png', 1)
        save(tmp_path / f'SegmentationObjectPNG/{name}.png', 3)
    save(tmp_path / 'JPEGImages/val/c.png', 2)
    names = {name: [i.file_name for i in found.images] for name, found in read(tmp_path).items()}
    assert names == {'train': ['train/a.png'], 'val': ['val/b.png']}
    skipped = read(tmp_path)['val'].skipped.as_dict()
    assert skipped['image: no annotation file']['count'] == 1
    (tmp_path / 'classes.txt').write_text('background\nvan')
    for path in tmp_path.glob('SegmentationClassPNG/*/*'):
        save(path, 255)
    with pytest.raises(ValueError, match='usually means pixels that are not annotated'):
        read(tmp_path)


@pytest.mark.parametrize(
    ('path', 'split'),
    [
        ('training_data/val/images/0.png', 'val'),
        ('train/images/test/0.png', 'train'),
        ('val/training_data.json', 'val'),
        ('training_data/a/0.png', 'training_data'),
        ('a/train2017.json', 'train2017'),
        ('default/a.json', ''),
    ],
)
def test_the_plainest_name_in_a_path_is_the_split(path, split):
    assert base.split_in(path) == split


@pytest.mark.parametrize(
    ('files', 'splits'),
    [
        ({'': ['default', 'default']}, ['train']),
        ({'': ['default', 'Train']}, ['Train', 'other']),
        ({'': ['default', 'Validation']}, ['Validation', 'train']),
        ({'train': ['default'], 'val': ['default']}, ['train', 'val']),
        ({'job_1': ['Train'], 'job_2': ['Validation']}, ['Train', 'Validation']),
    ],
)
def test_names_of_subsets_of_cvat(tmp_path, files, splits):
    mask = '<mask label="van" rle="0,100" left="0" top="0" width="10" height="10"/>'
    for place, subsets in files.items():
        lines = []
        for i, subset in enumerate(subsets):
            save(tmp_path / place / f'images/{subset}/{i}.png', i)
            size = 'width="40" height="30"'
            lines.append(f"<image name='{i}.png' subset = '{subset}' {size}>{mask}</image>")
        text = '\n'.join(['<annotations>', *lines, '</annotations>'])
        (tmp_path / place / 'annotations.xml').write_text(text)
    found = read(tmp_path)
    assert sorted(found) == splits
    assert sum(len(split.images) for split in found.values()) == sum(map(len, files.values()))


def test_escaped_names_of_subsets(tmp_path):
    save(tmp_path / 'images/0.png', 0)
    mask = '<mask label="van" rle="0,100" left="0" top="0" width="10" height="10"/>'
    image = f'<image name="0.png" subset="Pr&#252;f &amp; A" width="40" height="30">{mask}</image>'
    (tmp_path / 'annotations.xml').write_text(f'<annotations>{image}</annotations>')
    assert [*read(tmp_path)] == ['Prüf & A']


def test_images_that_nobody_has_annotated_are_no_loss(tmp_path):
    for i in range(10):
        save(tmp_path / f'labelme/{i}.png', i)
        save(tmp_path / f'voc/JPEGImages/{i}.png', i)
    for i in range(3):
        save(tmp_path / f'voc/SegmentationClass/{i}.png', 1)
        content = {'shapes': [{'label': 'van', 'points': [[2, 2], [9, 2], [9, 9]]}]}
        content['imagePath'] = f'{i}.png'
        layout_fixtures.write_json(tmp_path / f'labelme/{i}.json', content)
    for name in ('labelme', 'voc'):
        found = read(tmp_path / name)['train']
        assert len(found.images) == 3
        assert found.skipped.as_dict()['image: no annotation file']['count'] == 7


def test_splits_of_labelme_can_share_a_folder_of_images(tmp_path):
    for i in range(10):
        save(tmp_path / f'images/{i}.png', i)
        content = {'shapes': [{'label': 'van', 'points': [[2, 2], [9, 2], [9, 9]]}]}
        content['imagePath'] = f'../images/{i}.png'
        layout_fixtures.write_json(tmp_path / ('train' if i < 7 else 'val') / f'{i}.json', content)
    assert {name: len(found.images) for name, found in read(tmp_path).items()} == {
        'train': 7, 'val': 3,
    }  # fmt: skip
    for found in read(tmp_path).values():
        assert 'image: no annotation file' not in found.skipped.as_dict()


def test_masks_in_several_folders_are_one_each(tmp_path):
    (tmp_path / 'classes.txt').write_text('0 background\n1 van')
    for i in range(4):
        for place, value in (('images', i), ('masks', 1), ('labels', 1), ('annotations', 1)):
            save(tmp_path / f'{place}/{i}.png', value)
    found = read(tmp_path)['train']
    assert len(found.images) == 4
    assert found.skipped.as_dict()['annotation: a second mask of an image']['count'] == 8


def test_the_plainest_folder_names_the_split(tmp_path):
    (tmp_path / 'classes.txt').write_text('0 background\n1 van')
    for i, name in enumerate(('train', 'val')):
        save(tmp_path / f'training_data/{name}/images/{i}.png', i)
        save(tmp_path / f'training_data/{name}/masks/{i}.png', 1)
    assert gray_by_split(tmp_path) == {'train': [0], 'val': [1]}


def test_colors_before_names_and_blue_objects(tmp_path):
    save(tmp_path / 'JPEGImages/a.png', 7)
    classes, objects = (np.zeros((30, 40, 3), np.uint8) for _ in range(2))
    classes[:, 20:] = 64, 0, 128
    objects[:, 20:30], objects[:, 30:] = (0, 0, 255), (0, 0, 7)
    for kind, colors in (('Class', classes), ('Object', objects)):
        (tmp_path / f'Segmentation{kind}').mkdir()
        Image.fromarray(colors).save(tmp_path / f'Segmentation{kind}/a.png')
    (tmp_path / 'label_colors.txt').write_text('0 0 0\tbackground\n64 0 128\tCar\n')
    assert areas_by_gray(tmp_path) == {7: [300, 300]}
    assert labels_of(tmp_path) == {'a': ['Car', 'Car']}
