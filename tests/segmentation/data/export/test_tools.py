"""Masks that go to annotation tools and come back, with holes and parts, pixel for pixel."""

import dataclasses
import json
from unittest.mock import ANY

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as mask_utils

from segmentation.data import export, layouts, segmentations
from segmentation.data.corrections import correcting, document, returned
from segmentation.data.entries import Skipped
from segmentation.data.export import Shape, Task, cvat, label_studio
from segmentation.data.layouts import cvat_images
from segmentation.data.layouts import label_studio as label_studio_layout
from tests import coco_fixtures

MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)))


def rle(mask):
    return mask_utils.encode(np.asfortranarray(mask, np.uint8))['counts']


@settings(deadline=None, max_examples=100)
@given(mask=MASKS)
def test_a_mask_comes_back_pixel_for_pixel(mask):
    values = label_studio.encode_brush(mask)
    np.testing.assert_array_equal(label_studio_layout.decode_brush(values, *mask.shape), mask)
    if mask.any():
        shape = cvat.encode_mask(mask)
        np.testing.assert_array_equal(cvat_images.decode_mask(shape, *mask.shape), mask)


def test_long_runs_come_back():
    mask = np.zeros((500, 700), bool)  # runs of far more than 2^16 bytes
    mask[100:400, 50:650], mask[200:210, 300:400] = True, False
    values = label_studio.encode_brush(mask)
    assert len(values) < 10_000
    np.testing.assert_array_equal(label_studio_layout.decode_brush(values, 500, 700), mask)


def test_run_lengths_as_label_studio_writes_them():
    # Of a 1 × 2 image whose second pixel is painted, by label_studio_converter.brush.encode_rle.
    values = [0, 0, 0, 8, 57, 27, 252, 96, 17, 255, 128]
    mask = label_studio_layout.decode_brush(values, 1, 2)
    assert mask.tolist() == [[False, True]]


@pytest.mark.parametrize(
    'values', [None, [], [256] * 20, [0] * 4, [255] * 50, ['1'] * 20, [0, 0, 0, 8, 57, 27, 252]]
)
def test_damaged_brushes_are_refused(values):
    with pytest.raises(ValueError, match='run lengths'):
        label_studio_layout.decode_brush(values, 1, 2)


@pytest.mark.parametrize(
    'change',
    [
        {'rle': '1, 2'},
        {'rle': '-1, 5'},
        {'rle': '1' * 5000},
        {'rle': ''},
        {'left': '3'},
        {'width': '100000000000'},
        {'height': 'two'},
    ],
)
def test_damaged_cvat_masks_are_refused(change):
    good = {'rle': '0, 4', 'left': '0', 'top': '0', 'width': '2', 'height': '2'}
    assert cvat_images.decode_mask(good, 3, 4).sum() == 4
    with pytest.raises(ValueError):
        cvat_images.decode_mask({**good, **change}, 3, 4)


@pytest.fixture
def source(tmp_path_factory):
    """An annotation file, and its parsed content."""
    folder = tmp_path_factory.mktemp('coco')
    path = coco_fixtures.write_folder(folder, {'train': coco_fixtures.document(4)})
    return document.read(path / 'annotations/instances_train.json')


def tasks_of(source, crowds=False):
    """The images of a file as tasks, with or without crowds; and the names of its categories."""
    read = layouts.coco_json.annotations.read(
        source.content, 'file', '', crowds_as_instances=crowds
    )
    names = {category.id: category.name for category in read.categories}
    return [
        Task(image.id, image.file_name, image.height, image.width, tuple(
            Shape(names[i.category_id], i.rle) for i in image.instances if not i.is_crowd
        ))
        for image in read.images
    ], sorted(names.values())  # fmt: skip


def split_off(tasks, image_id):
    """The task of an image, and the others."""
    (task,) = (task for task in tasks if task.image_id == image_id)
    return task, [other for other in tasks if other is not task]


def came_back(source, folder):
    """Corrections that the export of a tool leads to."""
    skipped, recognized = Skipped(), set()
    if (suggested := folder / 'suggestions.xml').exists():  # CVAT exports it under its own name
        suggested.rename(folder / 'annotations.xml')
    exports = list(returned.read(folder))
    corrector = correcting.Corrector(source, {}, split='train')
    found = list(returned.corrections(source, corrector, exports, ['train'], recognized, skipped))
    for each in exports:
        skipped.update(each.skipped)
    return found, skipped.as_dict(), recognized


@pytest.mark.parametrize('tool', sorted(export.tools()))
def test_what_comes_back_unchanged_changes_nothing(source, tmp_path, tool):
    tasks, labels = tasks_of(source)
    export.tools()[tool](tmp_path, tasks, labels)
    found, skipped, recognized = came_back(source, tmp_path)
    assert (found, skipped) == ([], {})
    assert len(recognized) == len(tasks)


@pytest.mark.parametrize('tool', sorted(export.tools()))
def test_a_label_without_a_pixel_is_not_deleted(source, tmp_path, tool):
    content = source.content
    content['annotations'][0]['segmentation'] = [[5.1, 5.1, 5.2, 5.1, 5.2, 5.2]]
    tasks, labels = tasks_of(source)
    assert not tasks[-1].mask(tasks[-1].shapes[0]).any()
    export.tools()[tool](tmp_path, tasks, labels)
    assert came_back(source, tmp_path)[:2] == ([], {})


@pytest.mark.parametrize('tool', sorted(export.tools()))
def test_annotated_sizes_may_be_off_by_two_pixels(source, tmp_path, tool):
    (task, *others), labels = tasks_of(source)
    height, width = task.height - 2, task.width - 1  # of the file, and so of the prepared image
    shapes = [
        Shape(shape.label, rle(task.mask(shape)[:height, :width])) for shape in task.shapes[1:]
    ]
    drawn = np.zeros((height, width), bool)
    drawn[5:, 5:20] = True
    shapes.append(Shape('car', rle(drawn)))
    prepared = Task(task.image_id, task.file_name, height, width, tuple(shapes))
    export.tools()[tool](tmp_path, [prepared], labels)
    (removed, added), skipped, _ = sorted_by_action(came_back(source, tmp_path))
    first = next(e for e in source.content['annotations'] if e['image_id'] == task.image_id)
    assert skipped == {} and (removed.action, removed.annotation_id) == ('remove', first['id'])
    mask = mask_utils.decode({'size': added.size, 'counts': added.region})
    assert mask.shape == (task.height, task.width) and mask.sum() == drawn.sum()
    np.testing.assert_array_equal(mask[:height, :width], drawn)

    narrow = dataclasses.replace(prepared, width=width - 2, shapes=())
    export.tools()[tool](tmp_path, [narrow], labels)
    assert came_back(source, tmp_path)[:2] == ([], {'returned: image has another size': ANY})


@pytest.mark.parametrize('tool', sorted(export.tools()))
def test_crowds_that_were_exported_as_instances_come_back(source, tmp_path, tool):
    """As of data that were prepared with --crowds_as_instances."""
    crowds = [entry for entry in source.content['annotations'][::3]]
    for entry in crowds:
        entry['iscrowd'] = 1
    tasks, labels = tasks_of(source, crowds=True)
    export.tools()[tool](tmp_path, tasks, labels)
    assert came_back(source, tmp_path)[:2] == ([], {})
    # One that was deleted there is removed, if others came back.
    task, others = split_off(tasks, crowds[0]['image_id'])
    less = dataclasses.replace(task, shapes=task.shapes[1:])
    export.tools()[tool](tmp_path, [less, *others], labels)
    ((found,), skipped, _) = came_back(source, tmp_path)
    assert (found.action, found.annotation_id, skipped) == ('remove', crowds[0]['id'], {})
    # If no other region of its image came back, it may as well not have been exported.
    for entry in source.content['annotations']:
        entry['iscrowd'] = 0
    first = {entry['image_id']: entry for entry in reversed(source.content['annotations'])}
    (_, crowd), *_ = marked = list(first.items())[:2]
    for _, entry in marked:
        entry['iscrowd'] = 1
    tasks, labels = tasks_of(source, crowds=True)
    task, others = split_off(tasks, crowd['image_id'])
    less = dataclasses.replace(task, shapes=task.shapes[1:])
    export.tools()[tool](tmp_path, [less, *others], labels)
    found, skipped, _ = came_back(source, tmp_path)
    assert found == [] and list(skipped) == ['returned: crowd regions that are gone stay']


@pytest.mark.parametrize('tool', sorted(export.tools()))
@pytest.mark.parametrize('number', [None, 'text', 'of another'])
def test_what_has_no_id_of_its_own_is_left_as_it_is(source, tmp_path, tool, number):
    entries = source.content['annotations']
    if number is None:
        del entries[0]['id']
    else:
        entries[0]['id'] = number if number == 'text' else entries[1]['id']
    tasks, labels = tasks_of(source)
    export.tools()[tool](tmp_path, tasks, labels)
    assert came_back(source, tmp_path)[:2] == ([], {})
    task, others = split_off(tasks, entries[0]['image_id'])
    drawn = np.zeros((task.height, task.width), bool)
    drawn[5:20, 5:20] = True
    moved = dataclasses.replace(task, shapes=(Shape('car', rle(drawn)), *task.shapes[1:]))
    export.tools()[tool](tmp_path, [moved, *others], labels)
    found, skipped, _ = came_back(source, tmp_path)
    assert (found, skipped) == ([], {'returned: annotations without an id of their own': ANY})


@pytest.mark.parametrize('tool', sorted(export.tools()))
def test_all_labels_may_be_deleted_there(source, tmp_path, tool):
    (task, *_), labels = tasks_of(source)
    export.tools()[tool](tmp_path, [dataclasses.replace(task, shapes=())], labels)
    found, skipped, _ = came_back(source, tmp_path)
    assert skipped == {} and {c.action for c in found} == {'remove'}
    assert len(found) == len(task.shapes)


def sorted_by_action(result):
    found, *rest = result
    return sorted(found, key=lambda correction: correction.action, reverse=True), *rest


@pytest.mark.parametrize('tool', sorted(export.tools()))
def test_what_was_changed_there_is_taken_over(source, tmp_path, tool):
    tasks, labels = tasks_of(source)
    first, *others = tasks
    label = next(name for name in labels if name != first.shapes[1].label)
    drawn = np.zeros((first.height, first.width), bool)
    drawn[5:20, 5:20], drawn[9:12, 9:12], drawn[22:25, 3:9] = True, False, True  # hole and part
    shapes = [
        Shape(label, first.shapes[1].rle), *first.shapes[2:], Shape('car', rle(drawn))
    ]  # fmt: skip
    changed = Task(first.image_id, first.file_name, first.height, first.width, tuple(shapes))
    export.tools()[tool](tmp_path, [changed, *others], labels)
    found, skipped, _ = came_back(source, tmp_path)
    own = [e['id'] for e in source.content['annotations'] if e['image_id'] == first.image_id]
    assert skipped == {}
    assert {(c.action, c.annotation_id, c.category) for c in found} == {
        ('remove', own[0], ''), ('change', own[1], label), ('add', None, 'car'),
    }  # fmt: skip
    corrector = correcting.Corrector(source, {})
    assert correcting.correct(corrector, found, refused := Skipped()) == []
    assert refused.as_dict() == {}
    text, _ = document.apply(source.text, corrector.finish().edits)
    new = json.loads(text)['annotations'][-1]
    np.testing.assert_array_equal(mask_utils.decode(new['segmentation']), drawn)  # IoU 1.0


def test_predictions_have_the_suggestions_accepted(source, tmp_path):
    (task, *_), labels = tasks_of(source)
    a, b, c, *rest = task.shapes
    shapes = (
        Shape(a.label, a.rle, suggested='', score=0.9),
        Shape(b.label, b.rle, suggested='bus', score=0.8),
        c,
        Shape('car', c.rle, 'car', 0.7, is_new=True),
    )
    task = Task(task.image_id, task.file_name, task.height, task.width, shapes)
    label_studio.write(tmp_path, [task], labels)
    (written,) = json.loads((tmp_path / 'tasks.json').read_text())

    def labeled(entry):
        return [result['value']['brushlabels'][0] for result in entry['result']]

    assert labeled(written['annotations'][0]) == [a.label, b.label, c.label]
    assert labeled(written['predictions'][0]) == ['bus', c.label, 'car']
    assert written['predictions'][0]['score'] == 0.9

    cvat.write(tmp_path, [task], labels)
    root = cvat.ElementTree.parse(tmp_path / 'suggestions.xml')
    masks = root.findall('image/mask')
    assert [mask.get('source') for mask in masks] == ['manual', 'manual', 'manual', 'auto']
    assert [mask.find('attribute').text for mask in masks] == [
        'delete 0.90', 'bus 0.80', None, 'add 0.70',
    ]  # fmt: skip


def test_hostile_names_stay_names(tmp_path):
    mask = np.ones((2, 3), bool)
    name = '"><mask label="x"/> &amp; <b>'
    task = Task(1, f'{name}.jpg', 2, 3, (Shape(name, rle(mask)),))
    for write in export.tools().values():
        write(tmp_path, [task], [name])
    for file in ('labels.xml', 'suggestions.xml'):
        tree = cvat.ElementTree.parse(tmp_path / file)
        assert tree.find('.//b') is None
    assert tree.find('image').get('name') == f'{name}.jpg'
    assert tree.find('image/mask').get('label') == name


def test_xml_with_entities_is_refused(tmp_path):
    bomb = '<?xml version="1.0"?><annotations/><!DOCTYPE a [<!ENTITY b "c">]>'
    (tmp_path / 'annotations.xml').write_text(bomb)
    with pytest.raises(ValueError, match='defines entities'):
        list(returned.read(tmp_path))


def test_a_task_that_nobody_has_annotated_is_left_out(source, tmp_path):
    tasks, labels = tasks_of(source)
    label_studio.write(tmp_path, tasks, labels)
    content = json.loads((tmp_path / 'tasks.json').read_text())
    content[0]['annotations'] = []
    content[1]['annotations'][0]['was_cancelled'] = True
    (tmp_path / 'tasks.json').write_text(json.dumps(content))
    found, _, recognized = came_back(source, tmp_path)
    assert found == [] and len(recognized) == len(tasks) - 2


def damage(folder, tool):
    """Cuts the run lengths of the first mask of the first image."""
    if tool == 'label_studio':
        content = json.loads((folder / 'tasks.json').read_text())
        value = content[0]['annotations'][0]['result'][0]['value']
        value['rle'] = value['rle'][:-2]
        (folder / 'tasks.json').write_text(json.dumps(content))
    else:
        tree = cvat.ElementTree.parse(folder / 'suggestions.xml')
        tree.find('image/mask').set('rle', '1, 2')
        tree.write(folder / 'suggestions.xml')


@pytest.mark.parametrize('tool', sorted(export.tools()))
def test_a_shape_that_cannot_be_read_is_not_taken_as_deleted(source, tmp_path, tool):
    (first, second, *others), labels = tasks_of(source)
    less = dataclasses.replace(second, shapes=second.shapes[1:])
    export.tools()[tool](tmp_path, [first, less, *others], labels)
    damage(tmp_path, tool)
    (removed,), skipped, recognized = came_back(source, tmp_path)
    assert (removed.action, removed.image_id) == ('remove', second.image_id)
    assert skipped['returned: a shape of it cannot be read; the image stays as it is']['count'] == 1
    assert len(recognized) == len(others) + 1


@pytest.mark.parametrize(
    'value', [{}, {'points': [[1, None]]}, {'points': []}, {'imageDataURL': ''}]
)
@pytest.mark.parametrize('kind', ['polygonlabels', 'bitmasklabels', 'rectanglelabels'])
def test_only_boxes_have_no_outline(source, tmp_path, kind, value):
    (task, *_), labels = tasks_of(source)
    label_studio.write(tmp_path, [task], labels)
    content = json.loads((tmp_path / 'tasks.json').read_text())
    results = content[0]['annotations'][0]['result']
    results.append({**results[0], 'id': 'new', 'type': kind, 'value': {kind: ['car'], **value}})
    (tmp_path / 'tasks.json').write_text(json.dumps(content))
    found, skipped, _ = came_back(source, tmp_path)
    assert found == []
    assert any('stays as it is' in reason for reason in skipped) == (kind != 'rectanglelabels')


def test_an_entry_that_came_back_twice_is_read(source, tmp_path):
    content = json.loads(source.text)
    content['annotations'] += content['annotations'][:1]
    coco_fixtures.write_annotations(coco_fixtures.write_folder(tmp_path, {}), 'train', content)
    found, skipped, recognized = came_back(source, tmp_path)
    assert found == [] and list(skipped) == ['annotation: the same entry again']
    assert len(recognized) == len(content['images'])


def test_cvat_writes_masks_as_crowd_regions(source, tmp_path):
    content = json.loads(source.text)
    sizes = {image['id']: [image['height'], image['width']] for image in content['images']}
    for entry in content['annotations']:
        size = sizes[entry['image_id']]
        mask, _ = segmentations.encode_segmentation(entry['segmentation'], *size)
        entry.update(segmentation={'size': size, 'counts': mask.decode()}, iscrowd=1)
    coco_fixtures.write_annotations(coco_fixtures.write_folder(tmp_path, {}), 'train', content)
    found, skipped, recognized = came_back(source, tmp_path)
    assert found == [] and skipped == {}
    assert len(recognized) == len(content['images'])
    # A crowd region of the file's own, redrawn, is no new instance.
    crowds = {e['id'] for e in json.loads(source.text)['annotations'] if e['iscrowd']}
    for entry in content['annotations']:
        if entry['id'] in crowds:
            mask = mask_utils.decode(entry['segmentation'])
            mask[tuple(np.argwhere(mask)[0])] = 0
            entry['segmentation'] = {
                'size': list(mask.shape), 'counts': rle(mask).decode(),
            }  # fmt: skip
    coco_fixtures.write_annotations(tmp_path, 'train', content)
    found, skipped, _ = came_back(source, tmp_path)
    assert found == []
    reason = 'returned: a crowd region was redrawn; the image stays as it is'
    assert skipped[reason]['count'] == len(content['images'])


def test_an_object_is_not_deleted_whose_new_category_the_file_lacks(source, tmp_path):
    (task, *others), labels = tasks_of(source)
    turned = mask_utils.decode({'size': [task.height, task.width], 'counts': task.shapes[0].rle})
    redrawn = Shape('boat', rle(turned[::-1]))
    changed = dataclasses.replace(task, shapes=(redrawn, *task.shapes[1:]))
    label_studio.write(tmp_path, [changed, *others], [*labels, 'boat'])
    found, skipped, _ = came_back(source, tmp_path)
    assert found == []
    reason = 'returned: unknown category; the image stays as it is'
    assert skipped[reason]['count'] == 1


@pytest.mark.parametrize('tool', sorted(export.tools()))
def test_of_two_exports_none_is_taken(source, tmp_path, tool):
    (task, *others), labels = tasks_of(source)
    less = dataclasses.replace(task, shapes=task.shapes[1:])
    name = {'label_studio': 'tasks.json', 'cvat': 'suggestions.xml'}[tool]
    ending = name.partition('.')[2]
    for number, some in enumerate([[less, *others], [task]]):
        export.tools()[tool](tmp_path, some, labels)
        (tmp_path / name).rename(tmp_path / f'project-{number}.{ending}')
    found, skipped, recognized = came_back(source, tmp_path)
    assert found == [] and len(recognized) == len(others) + 1
    assert skipped == {
        'returned: came back twice; keep one export in the folder': {'count': 2, 'examples': ANY}
    }
    (tmp_path / f'project-1.{ending}').unlink()
    ((removed,), skipped, _) = came_back(source, tmp_path)
    assert skipped == {} and removed.image_id == task.image_id


@pytest.mark.parametrize('place', ['', 'exported/'])
def test_what_was_imported_into_the_tool_is_no_export(source, tmp_path, place):
    (task, *others), labels = tasks_of(source)
    (tmp_path / 'exported').mkdir()
    label_studio.write(tmp_path, [dataclasses.replace(task, shapes=task.shapes[1:])], labels)
    (tmp_path / 'tasks.json').rename(tmp_path / f'{place}project-1.json')
    label_studio.write(tmp_path, [task, *others], labels)
    ((removed,), skipped, _) = came_back(source, tmp_path)
    assert skipped == {} and removed.image_id == task.image_id
    # Label Studio's own COCO is one too.
    (tmp_path / f'{place}project-1.json').rename(tmp_path / 'project-1.txt')
    (tmp_path / 'result.json').write_text(source.text)
    (tmp_path / 'images').mkdir(exist_ok=True)
    assert came_back(source, tmp_path)[:2] == ([], {})
    (tmp_path / 'result.json').unlink()
    (tmp_path / 'project-1.txt').rename(tmp_path / f'{place}project-1.json')
    # Somebody else's tasks.json is an export.
    (tmp_path / 'labels.xml').unlink()
    assert 'came back twice' in str(came_back(source, tmp_path)[1])


@pytest.mark.parametrize('prefix', ['/home/me/shots/', 'C:\\shots\\', '../shots/'])
def test_annotation_files_may_have_absolute_paths(source, tmp_path, prefix):
    (task, *others), labels = tasks_of(source)
    less = dataclasses.replace(task, shapes=task.shapes[1:])
    label_studio.write(tmp_path, [less, *others], labels)
    for image in source.content['images']:
        image['file_name'] = prefix + image['file_name']
    ((removed,), skipped, recognized) = came_back(source, tmp_path)
    assert skipped == {} and removed.image_id == task.image_id
    assert len(recognized) == len(others) + 1
    # So may what comes back.
    content = (tmp_path / 'tasks.json').read_text()
    listed = json.loads(content)
    for each in listed:
        each['data'] = {'image': prefix + each['data']['file_name']}
    (tmp_path / 'tasks.json').write_text(json.dumps(listed))
    assert came_back(source, tmp_path)[:2] == ([removed], {})


def test_images_of_another_split_are_told_by_their_folder(source, tmp_path):
    tasks, labels = tasks_of(source)
    less = [dataclasses.replace(task, shapes=()) for task in tasks]
    places = ('train', 1), ('training', 1), ('elsewhere', 1), ('val', 0), ('valid', 0)
    for folder, number in places:
        moved = [dataclasses.replace(task, file_name=f'{folder}/{task.file_name}') for task in less]
        label_studio.write(tmp_path, moved, labels)
        assert len(came_back(source, tmp_path)[2]) == number * len(tasks), folder
    # Unless the file has them in a folder of that name: COCO's training images include some.
    for image in source.content['images']:
        image['file_name'] = f'valid/{image["file_name"]}'
    assert len(came_back(source, tmp_path)[2]) == len(tasks)
    corrector = correcting.Corrector(source, {}, split='train')
    args = source, corrector, list(returned.read(tmp_path)), ['train', 'val'], (names := set())
    assert list(returned.corrections(*args, Skipped())) and len(names) == len(tasks)
