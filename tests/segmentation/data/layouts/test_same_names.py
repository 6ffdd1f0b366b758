"""Folders in which a file hides another one, or has no partner: nothing is mixed up or lost."""

import io
import json
import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from segmentation.data import coco_builder, layouts
from segmentation.markdown import printable_lines
from tests import layout_fixtures
from tests.layout_reading import masks_of, read, write

pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')
BOX = [[2, 2], [12, 2], [12, 12], [2, 12]]


def save(path, value, size=(40, 30)):
    """An image of one gray value, lossless."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('L', size, value).save(path)


def areas_by_gray(folder):
    """Gray value of the image that is read → areas of its masks."""
    found = layouts.recognize(folder)
    result = {}
    for split in found.splits:
        source = coco_builder.folder_source(found, split, 'displayed')
        parsed = coco_builder.read_source(source, source.document(), 's', 'displayed', False)
        for image in parsed.images:
            gray = Image.open(io.BytesIO(source.read(image.file_name))).getpixel((0, 0))
            result[gray] = [instance.area for instance in image.instances]
    return result


def labelme(path, points, **fields):
    shape = {'label': 'van', 'points': points, 'shape_type': 'polygon'}
    content = {'shapes': [shape], 'imagePath': f'{path.stem}.png', **fields}
    layout_fixtures.write_json(path, content)


def test_labelme_in_several_folders(tmp_path):
    for value in (1, 2):
        save(tmp_path / f'cam{value}/0.png', value)
        labelme(tmp_path / f'cam{value}/0.json', (value * np.array(BOX)).tolist())
    assert areas_by_gray(tmp_path) == {1: [100], 2: [400]}


def test_yolo_with_several_folders_of_a_split(tmp_path):
    (tmp_path / 'data.yaml').write_text('train: [a/images, b/images]\nnames: [van]')
    for value, name in ((1, 'a'), (2, 'b')):
        save(tmp_path / name / 'images/0.png', value)
        (tmp_path / name / 'labels').mkdir()
        corner = 10 * value
        line = f'0 0 0 {corner / 40} 0 {corner / 40} {corner / 30} 0 {corner / 30}'
        (tmp_path / name / 'labels/0.txt').write_text(line)
    assert areas_by_gray(tmp_path) == {1: [100], 2: [400]}


def test_masks_in_several_folders(tmp_path):
    (tmp_path / 'classes.txt').write_text('0 background\n1 van')
    for value in (1, 2):
        save(tmp_path / f'cam{value}/images/0.png', value)
        mask = np.zeros((30, 40), np.uint8)
        mask[: 10 * value, : 10 * value] = 1
        (tmp_path / f'cam{value}/masks').mkdir()
        Image.fromarray(mask).save(tmp_path / f'cam{value}/masks/0.png')
    assert areas_by_gray(tmp_path) == {1: [100], 2: [400]}


def via(path, *names, size=10):
    xs, ys = [2, 2 + size, 2 + size, 2], [2, 2, 2 + size, 2 + size]
    shape = {'name': 'polygon', 'all_points_x': xs, 'all_points_y': ys}
    region = {'shape_attributes': shape, 'region_attributes': {'class': 'van'}}
    content = {name: {'filename': name, 'size': 1, 'regions': [region]} for name in names}
    layout_fixtures.write_json(path, content)


def test_via_in_several_folders_and_in_several_files(tmp_path):
    for value in (1, 2):
        save(tmp_path / f'cam{value}/0.png', value)
        via(tmp_path / f'cam{value}/via_region_data.json', '0.png', size=10 * value)
    save(tmp_path / 'cam2/1.png', 3)
    via(tmp_path / 'cam2/via_more.json', '1.png', size=15)
    assert areas_by_gray(tmp_path) == {1: [100], 2: [400], 3: [225]}
    via(tmp_path / 'cam2/via_more.json', '0.png', size=15)
    with pytest.raises(ValueError, match='annotate .*0.png.* differently'):
        read(tmp_path)


def test_labelme_with_a_long_outline(tmp_path):
    angles = np.linspace(0, 2 * np.pi, 3000, endpoint=False)
    outline = np.stack([20 + 9 * np.cos(angles), 15 + 9 * np.sin(angles)], 1).tolist()
    for name, points, fields in (('a', outline, {}), ('b', BOX, {'x': 1})):
        save(tmp_path / f'{name}.png', 0)
        labelme(tmp_path / f'{name}.json', points, **fields)
    content = json.loads((tmp_path / 'b.json').read_text())
    (tmp_path / 'b.json').write_text(json.dumps({'imageData': 'A' * 70_000, **content}))
    assert {name: len(found) for name, found in masks_of(read(tmp_path)['train']).items()} == {
        'a': 1, 'b': 1,
    }  # fmt: skip


def test_numbers_as_class_names_stay_apart(tmp_path):
    save(tmp_path / 'a.png', 0)
    shapes = [{'label': label, 'points': BOX, 'shape_type': 'polygon'} for label in (1, 2, None)]
    layout_fixtures.write_json(tmp_path / 'a.json', {'shapes': shapes, 'imagePath': 'a.png'})
    assert [label for label, _ in masks_of(read(tmp_path)['train'])['a']] == ['1', '2', 'unnamed']


def test_images_masks_and_label_files_without_a_partner_are_counted(tmp_path):
    (tmp_path / 'm').mkdir()
    (tmp_path / 'm/classes.txt').write_text('0 background\n1 van')
    for i in range(4):
        save(tmp_path / f'm/images/{i}.png', 0)
        save(tmp_path / f'm/masks/{i + 1}.png', 1)
    skipped = read(tmp_path / 'm')['train'].skipped.as_dict()
    assert {reason: entry['count'] for reason, entry in skipped.items()} == {
        'image: no mask': 1, 'annotation: a mask without an image': 1,
    }  # fmt: skip
    save(tmp_path / 'm/images/1.bmp', 0)  # beside 1.png, whose mask it cannot share
    skipped = read(tmp_path / 'm')['train'].skipped.as_dict()
    assert skipped['image: its name without the ending is that of another image']['count'] == 1
    save(tmp_path / 'y/images/0.png', 0)
    (tmp_path / 'y/labels').mkdir()
    (tmp_path / 'y/data.yaml').write_text('train: images\nnames: {"0": van}')
    for i in range(2):
        (tmp_path / f'y/labels/{i}.txt').write_text('0 0 0 0.5 0 0.5 0.5')
    (tmp_path / 'y/labels/classes.txt').write_text('van')
    save(tmp_path / 'y/images/0.bmp', 0)
    assert len(read(tmp_path / 'y')['train'].images) == 2  # both have the label file
    skipped = read(tmp_path / 'y')['train'].skipped.as_dict()
    assert skipped['annotation: a label file without an image']['count'] == 1


def test_coco_with_images_of_one_name_in_two_folders(tmp_path):
    names = ['images/0.png', 'data/0.png']
    entries = {'images': [], 'annotations': [], 'categories': [{'id': 1, 'name': 'van'}]}
    for i, name in enumerate(names):
        save(tmp_path / name, i)
        entries['images'].append({'id': i, 'file_name': name, 'width': 40, 'height': 30})
        outline = (np.array(BOX) * (i + 1)).ravel().tolist()
        entry = {'id': i, 'image_id': i, 'category_id': 1, 'segmentation': [outline]}
        entries['annotations'].append(entry)
    layout_fixtures.write_json(tmp_path / 'all.json', entries)
    assert areas_by_gray(tmp_path) == {0: [100], 1: [400]}


def test_several_sets_of_voc_are_named(tmp_path):
    for year in ('VOC2007', 'VOC2012'):
        save(tmp_path / year / 'JPEGImages/a.png', 0)
        save(tmp_path / year / 'SegmentationClass/a.png', 1)
    with pytest.raises(ValueError, match="several data sets .* 'VOC2007', 'VOC2012'"):
        read(tmp_path)
    read(tmp_path / 'VOC2007')


def test_upper_case_endings_of_voc(tmp_path):
    save(tmp_path / 'JPEGImages/a.png', 0)
    save(tmp_path / 'segmentationclass/a.PNG', 1)
    assert [label for label, _ in masks_of(read(tmp_path)['train'])['a']] == ['aeroplane']


def test_lists_of_labelme_start_at_minus_one(tmp_path):
    (tmp_path / 'labels.txt').write_text('__ignore__\n_background_\nworker\nvan')
    save(tmp_path / 'images/a.png', 0)
    save(tmp_path / 'masks/a.png', 2)
    assert [label for label, _ in masks_of(read(tmp_path)['train'])['a']] == ['van']
    (tmp_path / 'labels.txt').unlink()
    layout_fixtures.write_json(tmp_path / 'classes.json', [{'id': 2, 'name': 'van'}])
    assert [label for label, _ in masks_of(read(tmp_path)['train'])['a']] == ['van']


def test_masks_of_0_and_255_say_what_to_do(tmp_path):
    (tmp_path / 'classes.txt').write_text('background\nvan')
    save(tmp_path / 'images/a.png', 0)
    save(tmp_path / 'masks/a.png', 255)
    with pytest.raises(ValueError, match="write the line '255 <name>' into classes.txt"):
        read(tmp_path)
    (tmp_path / 'classes.txt').write_text('0 background\n255 van')
    assert [label for label, _ in masks_of(read(tmp_path)['train'])['a']] == ['van']


def test_datumaro_without_a_label_is_not_the_first_class(tmp_path):
    save(tmp_path / 'images/train/a.png', 0)
    polygon = {'type': 'polygon', 'points': sum(BOX, []), 'label_id': None}
    item = {'id': 'a', 'annotations': [polygon], 'image': {'path': 'a.png'}}
    content = {'categories': {'label': {'labels': [{'name': 'van'}]}}, 'items': [item]}
    layout_fixtures.write_json(tmp_path / 'annotations/train.json', content)
    assert [label for label, _ in masks_of(read(tmp_path)['train'])['a']] == ['label None']


def test_nested_aliases_of_yaml_do_not_hang(tmp_path):
    bomb = 'a0: &a0 [x, x]\n'
    bomb += ''.join(f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]\n' for i in range(1, 12))
    save(tmp_path / 'images/a.png', 0)
    for text, message in ((bomb + 'names: *a11', 'aliases'), ('names: [[a]]', 'no text')):
        (tmp_path / 'data.yaml').write_text(f'train: images\n{text}')
        with pytest.raises(ValueError, match=message):
            layouts.recognize(tmp_path)
    (tmp_path / 'data.yaml').write_text('path: "C:\\Users\\me"\ntrain: images\nnames: [a]')
    with pytest.raises(ValueError, match='data.yaml is not valid YAML: .* in line 1'):
        layouts.recognize(tmp_path)


def one_coco(folder, file_name, category, stored):
    save(folder / 'train' / stored, 0)
    annotation = {'id': 1, 'image_id': 1, 'category_id': 1, 'segmentation': [sum(BOX, [])]}
    content = {
        'images': [{'id': 1, 'file_name': file_name, 'width': 40, 'height': 30}],
        'annotations': [annotation],
        'categories': [{'id': 1, 'name': category}],
    }
    layout_fixtures.write_json(folder / 'annotations/instances_train.json', content)
    (image,) = read(folder)['train'].images
    assert len(image.instances) == 1
    return read(folder)['train'].categories[0].name


@pytest.mark.parametrize(
    ('given', 'stored'),
    [
        ('Screenshot at 9.41\u202fAM.png', 'Screenshot at 9.41\u202fAM.png'),
        ('\u30d5\u3000\u30a1.png', '\u30d5\u3000\u30a1.png'),
        ('Gr\u00f6\u00dfe.png', unicodedata.normalize('NFD', 'Gr\u00f6\u00dfe.png')),
        ('my%20photo.png', 'my photo.png'),
        ('/data/upload/1/b%C3%A4r.png', 'b\u00e4r.png'),
    ],
)
def test_file_names_of_other_systems_are_found(tmp_path, given, stored):
    one_coco(tmp_path, given, 'van', stored)


@pytest.mark.parametrize(
    ('given', 'name'),
    [('van\n', 'van'), ('fork\u00a0lift', 'fork lift'), ('\u0645\u06cc\u200c\u062e', None)],
)
def test_white_space_in_the_name_of_a_category_costs_nothing(tmp_path, given, name):
    assert one_coco(tmp_path, 'a.png', given, 'a.png') == (name or given)


def test_messages_cannot_control_a_terminal():
    assert printable_lines('a\x1b[31m\nb') == 'a\\x1b[31m\nb'
    assert printable_lines(os.fsdecode(b'\xff')).isascii()


@pytest.mark.parametrize('exporter', ['labelme', 'datumaro', 'labelme2coco'])
def test_an_empty_file_among_others_is_named(tmp_path, exporter):
    write(exporter, tmp_path)
    path = next(p for p in sorted(tmp_path.rglob('*.json')) if 'val' in p.stem)
    content = path.read_text()
    path.write_text('')
    with pytest.raises(ValueError, match='.json cannot be read as JSON'):
        read(tmp_path)
    path.write_text(content, 'utf-16')
    assert len(read(tmp_path)) == 2


def test_a_file_cannot_say_what_a_layout_left_out(tmp_path):
    one_coco(tmp_path, 'a.png', 'van', 'a.png')
    path = tmp_path / 'annotations/instances_train.json'
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {'left_out': [1, ['image: x', 'y']]}))
    assert 'image: x' not in read(tmp_path)['train'].skipped.as_dict()


def gray_by_split(folder):
    """Split → gray values of its images, of an image and its JSON or mask each."""
    result = {}
    for name, found in read(folder).items():
        paths = [next(folder.rglob(image.file_name)) for image in found.images]
        result[name] = sorted(Image.open(path).getpixel((0, 0)) for path in paths)
    return result


@pytest.mark.parametrize(
    ('places', 'splits'),
    [
        (('train', 'batch2'), {'train': [0], 'other': [1]}),
        (('val', 'batch2'), {'val': [0], 'train': [1]}),
        (('training', 'val', 'batch2'), {'training': [0], 'val': [1], 'other': [2]}),
        (('batch1', 'batch2'), {'train': [0, 1]}),
    ],
)
def test_images_in_no_folder_of_a_split_are_a_split(tmp_path, places, splits):
    for i, place in enumerate(places):
        save(tmp_path / place / f'{i}.png', i)
        labelme(tmp_path / place / f'{i}.json', BOX)
    assert gray_by_split(tmp_path) == splits


@pytest.mark.parametrize('layout', ['labelme', 'masks'])
def test_names_of_images_name_no_split(tmp_path, layout):
    (tmp_path / 'classes.txt').write_text('0 background\n1 van')
    for i, name in enumerate(('COCO_train2014_000000000009', 'train', 'val_3', 'dog')):
        save(tmp_path / f'images/{name}.png', i)
        if layout == 'labelme':
            labelme(tmp_path / f'images/{name}.json', BOX)
        else:
            save(tmp_path / f'masks/{name}.png', 1)
    assert gray_by_split(tmp_path) == {'train': [0, 1, 2, 3]}


def test_a_mask_belongs_to_the_image_of_its_whole_name_first(tmp_path):
    (tmp_path / 'classes.txt').write_text('0 background\n1 van')
    for i, name in enumerate(('a', 'a_l', 'b', 'c')):
        save(tmp_path / f'images/{name}.png', i)
    for i, name in enumerate(('a', 'a_l', 'b_mask', 'c_gt', 'c_seg')):
        mask = np.zeros((30, 40), np.uint8)
        mask[0, : i + 1] = 1
        (tmp_path / 'masks').mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / f'masks/{name}.png')
    assert areas_by_gray(tmp_path) == {0: [1], 1: [2], 2: [3], 3: [4]}
    skipped = read(tmp_path)['train'].skipped.as_dict()
    assert skipped == {
        'annotation: a second mask of an image': {'count': 1, 'examples': ["'masks/c_seg.png'"]}
    }


def test_images_of_labelme_without_a_file_are_counted(tmp_path):
    for name in ('a', 'b'):
        save(tmp_path / f'{name}.png', 0)
    labelme(tmp_path / 'other.json', BOX, imagePath='a.png')
    found = read(tmp_path)['train']
    assert [image.file_name for image in found.images] == ['a.png']
    assert found.skipped.as_dict()['image: no annotation file'] == {
        'count': 1, 'examples': ["'b.png'"],
    }  # fmt: skip


def test_subsets_of_cvat_are_splits(tmp_path):
    mask = '<mask label="van" rle="0,100" left="0" top="0" width="10" height="10" z_order="0"/>'
    size = 'width="40" height="30"'
    lines = ['<annotations>']
    for i, (subset, name) in enumerate((('Train', 'a'), ('Train', 'b'), ('Validation', 'a'))):
        lines.append(f'<image name="{name}.png" subset="{subset}" {size}>{mask}</image>')
        save(tmp_path / f'images/{subset}/{name}.png', i)
    lines.append(f'<image name="c.png" {size}>{mask}</image></annotations>')
    save(tmp_path / 'images/c.png', 3)
    (tmp_path / 'annotations.xml').write_text('\n'.join(lines))
    found = read(tmp_path)
    assert {name: len(split.images) for name, split in found.items()} == {
        'other': 1, 'Train': 2, 'Validation': 1,
    }  # fmt: skip
    assert areas_by_gray(tmp_path) == {i: [100] for i in range(4)}
    assert not any(split.skipped.as_dict() for split in found.values())


def test_relations_of_label_studio_are_no_annotations(tmp_path, exporter='studio_brushes'):
    write(exporter, tmp_path)
    (path,) = tmp_path.glob('*.json')
    before = read(tmp_path)['train']
    tasks = json.loads(path.read_text())
    for task in tasks:
        task['annotations'][0]['result'].append({'type': 'relation', 'from_id': 'r0'})
    path.write_text(json.dumps(tasks))
    after = read(tmp_path)['train']
    assert after.skipped.as_dict() == before.skipped.as_dict()
    assert after.categories == before.categories


def test_names_of_voc_can_have_spaces_and_folders(tmp_path):
    for i, name in enumerate(('IMG (1)', 'IMG (2)', 'sub/c', 'd 1')):
        save(tmp_path / f'JPEGImages/{name}.png', i)
        save(tmp_path / f'SegmentationClass/{name}.png', 1)
    lists = tmp_path / 'ImageSets/Segmentation'
    lists.mkdir(parents=True)
    (lists / 'train.txt').write_text('"IMG (1)"\nIMG (2) -1\nsub/c  1\nd 1\n')
    assert areas_by_gray(tmp_path) == {i: [1200] for i in range(4)}
