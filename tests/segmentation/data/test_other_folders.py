"""Folders of other tools: names of splits, ids and categories, and what stops for lost data."""

import json

import numpy as np
import pytest

from scripts import prepare_coco
from segmentation.data import coco, data_loss, examples
from tests import coco_fixtures


def test_split_names_of_other_tools(tmp_path):
    documents = {'training': coco_fixtures.document(2), 'valid': coco_fixtures.document(2, 1)}
    folder = coco_fixtures.write_folder(tmp_path / 'a', documents)
    for split in ('val-2', 'all'):
        path = folder / 'annotations' / f'instances_{split}.json'
        path.write_text(json.dumps(documents['valid']))
        (folder / split).symlink_to('valid')
    prepared = coco.prepare(str(folder), tmp_path / 'data')
    assert prepared.splits == ('training', 'val_2', 'valid', 'all_images')
    assert prepared.split('train').name == 'training'
    assert prepared.split('valid').name == 'valid'
    with pytest.raises(ValueError, match="no split 'validation'.* val_2, valid could be meant"):
        prepared.split('validation')
    with pytest.raises(ValueError, match="no split 'test', only"):
        prepared.split('test')
    alone = coco.prepare(str(folder), tmp_path / 'data', splits=['val-2'.replace('-', '_')])
    with pytest.raises(ValueError, match='no split .train., only val_2'):
        alone.split('train')


def test_a_single_split_is_for_training_and_folds_are_named(tmp_path):
    folder = coco_fixtures.write_folder(tmp_path / 'a', {'streets': coco_fixtures.document(2)})
    prepared = coco.prepare(str(folder), tmp_path / 'data')
    assert prepared.split('train').name == 'streets'
    with pytest.raises(ValueError, match='data.val_splits .* data.folds=5 holds out a fifth'):
        prepared.split('val')


def test_ids_that_start_again_in_each_split_are_changed(tmp_path, tiny_config):
    documents = {'train': coco_fixtures.document(3), 'valid': coco_fixtures.document(4)}
    for image in documents['valid']['images'][:3]:
        image['file_name'] = f'other{image["file_name"]}'
    folder = coco_fixtures.write_folder(tmp_path / 'a', documents)
    prepared = coco.prepare(str(folder), tmp_path / 'data')
    first, second = (prepared.split(name).index.image_id for name in ('train', 'valid'))
    assert not set(first) & set(second) and (np.sort(second) == second).all()
    assert (second % 10_000).tolist() == [979, 986, 993, 1000]
    assert prepared.notes['valid'] == {
        'image id of another image in an earlier split, changed': {
            'count': 3,
            'examples': [f"'other{i:012d}.jpg'" for i in (986, 993, 1000)],
            'values': [f'{i} to {10_000 + i}' for i in (986, 993, 1000)],
        }
    }
    tiny_config.data.train_splits = ('train', 'valid')
    tiny_config.data.selection_fraction = 0
    chosen, report = examples.select_examples(prepared, tiny_config.data, 'train')
    assert report['duplicates'] == 0 and len(chosen) == 7


def test_categories_of_splits_are_matched_by_name(tmp_path):
    documents = {'train': coco_fixtures.document(2), 'val': coco_fixtures.document(2, seed=1)}
    plain = coco.prepare(
        str(coco_fixtures.write_folder(tmp_path / 'plain', documents)), tmp_path / 'data'
    )
    other = json.loads(json.dumps(documents['val']))
    new_ids = {1: 3, 3: 1, 6: 0, 31: 77}
    for entry in other['categories']:
        entry['id'] = new_ids[entry['id']]
    for entry in other['annotations']:
        entry['category_id'] = new_ids[entry['category_id']]
    other['categories'] = [c for c in other['categories'] if c['name'] != 'person']
    other['categories'] += [{'id': 3, 'name': 'person'}, {'id': 6, 'name': 'tram'}]
    documents['train']['categories'] = coco_fixtures.CATEGORIES[:3]
    folder = coco_fixtures.write_folder(tmp_path / 'a', documents | {'val': other})
    prepared = coco.prepare(str(folder), tmp_path / 'data', accept_loss=True)
    assert [c.name for c in prepared.categories] == ['person', 'car', 'bus', 'handbag', 'tram']
    names = {c.id: c.name for c in prepared.categories}
    assert len(names) == 5
    for record, expected in zip(prepared.split('val'), plain.split('val'), strict=True):
        ids, old = (r['instances']['category_id'].tolist() for r in (record, expected))
        known = {c.id: c.name for c in plain.categories}
        assert [names[key] for key in ids] == [known[key] for key in old]
    (note,) = prepared.notes['train']
    assert note == 'category of another split is missing'
    assert prepared.notes['train'][note]['count'] == 2


def test_what_is_lost_stops_with_the_main_cause_first(tmp_path, capsys):
    content = coco_fixtures.document(3)
    for entry in content['annotations']:
        entry['segmentation'] = []
    content['annotations'][0]['category_id'] = 999
    folder = coco_fixtures.write_folder(tmp_path / 'a', {'train': content})
    arguments = ['--source', str(folder), '--data_dir', str(tmp_path / 'data')]
    with pytest.raises(SystemExit) as error:
        prepare_coco.main(arguments)
    assert error.value.code == 1
    message = capsys.readouterr().err
    lines = message[message.index('Split') :].splitlines()
    assert lines[0].endswith('none of its 15 annotations can be used.')
    assert lines[1].startswith('Main cause: boxes but no outlines: masks are needed. 14 × ')
    assert '(e.g. 100049, 100048, 100047); export the data as instance segmentation' in lines[1]
    assert lines[2].startswith('Also: annotations use categories that the file does not list')
    assert '--accept_loss' in lines[3]
    assert not list((tmp_path / 'data').glob('coco_instances/*/*'))
    prepare_coco.main([*arguments, '--accept_loss'])
    assert '| train | 3 | 0 | 15 | 0 |' in capsys.readouterr().out


@pytest.mark.parametrize(('missing', 'stops'), [(1, False), (2, True)])
def test_most_images_must_be_there(tmp_path, missing, stops):
    folder = coco_fixtures.write_folder(tmp_path / 'a', {'train': coco_fixtures.document(3)})
    for path in sorted((folder / 'train').iterdir())[:missing]:
        path.unlink()
    if stops:
        with pytest.raises(data_loss.DataLoss, match='Main cause: image files are missing. 2 × '):
            coco.prepare(str(folder), tmp_path / 'data')
    else:
        assert len(coco.prepare(str(folder), tmp_path / 'data').split('train')) == 2


def test_images_without_annotations_count_as_lost_too(tmp_path):
    content = coco_fixtures.document(3)
    kept = content['images'][0]
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] == kept['id']]
    folder = coco_fixtures.write_folder(tmp_path / 'a', {'train': content})
    for path in (folder / 'train').iterdir():
        if path.name != kept['file_name']:
            path.unlink()
    with pytest.raises(data_loss.DataLoss, match='2 of its 3 images cannot be used'):
        coco.prepare(str(folder), tmp_path / 'data')


def test_a_main_cause_in_the_images_comes_first(tmp_path):
    content = coco_fixtures.document(4)
    for entry in content['annotations'][-3:]:
        entry['segmentation'] = []
    folder = coco_fixtures.write_folder(tmp_path / 'a', {'train': content})
    for path in sorted((folder / 'train').iterdir())[1:]:
        path.unlink()
    with pytest.raises(data_loss.DataLoss, match='Main cause: image files are missing. 3 × '):
        coco.prepare(str(folder), tmp_path / 'data')


def test_data_prepared_inside_of_their_folder_do_not_belong_to_it(tmp_path):
    content = coco_fixtures.document(3)
    folder = coco_fixtures.write_folder(tmp_path / 'a', {'train': content})
    for path in (*(folder / 'train').iterdir(), folder / 'annotations/instances_train.json'):
        path.rename(folder / path.name)
    first = coco.prepare(str(folder), folder / 'data')
    assert coco.prepare(str(folder), folder / 'data').path == first.path
    assert len(first.split('train')) == 3


def test_outlines_in_fractions_of_the_image_are_not_taken_for_pixels(tmp_path):
    content = coco_fixtures.document(2)
    for entry in content['annotations']:
        entry['segmentation'] = [[0.1, 0.1, 0.4, 0.1, 0.4, 0.4]]
    folder = coco_fixtures.write_folder(tmp_path / 'a', {'train': content})
    with pytest.raises(data_loss.DataLoss, match='10 of its 10 masks have no pixel'):
        coco.prepare(str(folder), tmp_path / 'data')
