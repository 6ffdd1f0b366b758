"""What is checked and printed before the first step of a training."""

import logging
import types

import jax
import numpy as np
import pytest

from segmentation import checks, workdir
from segmentation.config import load_config
from segmentation.data import coco, frequencies, masks
from segmentation.data.examples import open_data, select_examples
from tests import coco_fixtures
from tests.paths import ROOT, SHARED


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setattr(jax, 'device_count', lambda: 1)


def case(name):
    """The folder of a case, or a skip where the cases are absent."""
    folder = SHARED / 'cases' / name
    if not folder.exists():
        pytest.skip('the cases of ../shared are absent')
    return folder


def folder_of(tmp_path, config, documents):
    """Makes a config use a folder of these documents, by split."""
    config.data.source = str(coco_fixtures.write_folder(tmp_path / 'own', documents))
    config.data.data_dir = str(tmp_path / 'data')


def own_classes(count=30):
    """Images of which every third shows a worker only, every third a van only, the others both."""
    images = [
        {'id': 3 * i + 1, 'file_name': f'{i}.jpg', 'width': 48, 'height': 40} for i in range(count)
    ]
    annotations = [
        {
            'image_id': images[i]['id'], 'category_id': kind,
            'iscrowd': 0, 'area': 64, 'bbox': [4, 16 * kind, 8, 8],
            'segmentation': [[4, 16 * kind, 12, 16 * kind, 12, 16 * kind + 8, 4, 16 * kind + 8]],
        }
        for i, kinds in enumerate([(1,), (2,), (1, 2)][i % 3] for i in range(count))
        for kind in kinds
    ]  # fmt: skip
    categories = [
        {'id': 1, 'name': 'worker', 'supercategory': 'person'},
        {'id': 2, 'name': 'van', 'supercategory': ''},
    ]
    for number, annotation in enumerate(annotations):
        annotation['id'] = number
    return {'images': images, 'annotations': annotations, 'categories': categories}


def test_what_is_left_out_and_how_often_classes_occur(tiny_config, tmp_path, caplog):
    folder_of(tmp_path, tiny_config, {'train': own_classes(), 'val': own_classes(6)})
    tiny_config.data.label_space = 'worker: worker; van: van'
    tiny_config.data.require = 'every_class'
    with caplog.at_level(logging.INFO):
        inputs = checks.open_inputs(tiny_config, tmp_path / 'run')
    lines = caplog.text
    held_out = len(inputs.selection)
    assert len(inputs.examples) + held_out == 10
    assert f'train: {10 - held_out} of 30 images (train); left out: ' in lines
    assert lines.count('20 without every class (data.require)') == 2
    assert f'{held_out} held out to choose the checkpoint (data.selection_fraction)' in lines
    assert 'val: 2 of 6 images (val); left out: 4 without every class (data.require)' in lines
    assert '| class | training images | instances | pixels | selection images |' in lines
    assert f'| van | {10 - held_out} | {10 - held_out} | ' in lines
    assert 'Warning' not in lines
    for part, report in inputs.reports.items():
        assert report['images'] + sum(report['left_out'].values()) == 30, part


def test_frequencies_are_those_of_the_masks(tiny_config):
    examples, _ = select_examples(open_data(tiny_config.data), tiny_config.data, 'train')
    names = ('background', 'person', 'car')
    found = frequencies.count_classes(examples, names)
    records = [examples.record(i)['instances']['category_id'] for i in range(len(examples))]
    for label, category in ((1, 1), (2, 3)):
        assert found.images[label] == sum(category in kinds for kinds in records)
        assert found.instances[label] == sum(kinds.tolist().count(category) for kinds in records)
    labels = np.concatenate([examples[i]['label'].ravel() for i in range(len(examples))])
    shares = np.bincount(labels[labels != masks.IGNORE], minlength=3) / len(labels)
    np.testing.assert_allclose(found.pixels, shares)
    assert found.images[0] == found.num_images == found.measured == len(examples)
    few = frequencies.count_classes(examples, names, measured=2)
    assert few.measured == 2 and few.images == found.images
    table = frequencies.frequency_table(few, found)
    assert 'pixels of 2 images' in table and f'| {few.instances[2]} |' in table


def warned(config, directory, caplog):
    caplog.clear()
    checks.open_inputs(config, directory)
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_class_without_training_image_is_warned_of(tiny_config, tmp_path, caplog):
    document = own_classes()
    document['annotations'] = [a for a in document['annotations'] if a['category_id'] == 1]
    folder_of(tmp_path, tiny_config, {'train': document, 'val': own_classes(6)})
    tiny_config.data.label_space = 'worker: worker; van: van'
    (warning,) = warned(tiny_config, tmp_path / 'run', caplog)
    assert 'no training image shows van' in warning


def test_class_that_no_image_choosing_the_checkpoint_has(tiny_config, tmp_path, caplog):
    document = own_classes()
    folder_of(tmp_path, tiny_config, {'train': document, 'val': own_classes(6)})
    tiny_config.data.label_space = 'worker: worker; van: van'
    held_out = checks.open_inputs(tiny_config, tmp_path / 'run').selection.image_ids.tolist()
    for annotation in document['annotations']:
        if annotation['image_id'] in held_out:
            annotation['category_id'] = 1
    folder_of(tmp_path / 'second', tiny_config, {'train': document, 'val': own_classes(6)})
    (warning,) = warned(tiny_config, tmp_path / 'run', caplog)
    assert 'no image that chooses the checkpoint shows van' in warning


def test_objects_smaller_than_a_pixel_are_warned_of(tiny_config, tmp_path, caplog):
    document = own_classes()
    for annotation in document['annotations']:
        if annotation['category_id'] == 2:
            annotation['segmentation'] = [[1, 1, 3, 1, 3, 3, 1, 3]]
    folder_of(tmp_path, tiny_config, {'train': document, 'val': own_classes(6)})
    tiny_config.data.label_space, tiny_config.data.image_size = 'worker: worker; van: van', 4
    found = warned(tiny_config, tmp_path / 'run', caplog)
    assert any('van covers no pixel of any training image at data.image_size=4' in w for w in found)


def test_file_listed_twice_is_warned_of(tiny_config, tmp_path, caplog):
    document = coco_fixtures.document(12)
    first = document['images'][0]
    document['images'] += [{**first, 'id': 5}, {**document['images'][1], 'id': 6}]
    folder_of(tmp_path, tiny_config, {'train': document, 'val': coco_fixtures.document(4)})
    tiny_config.data.selection_fraction = 0.0
    (warning,) = warned(tiny_config, tmp_path / 'run', caplog)
    assert '2 image files are listed more than once' in warning and first['file_name'] in warning


def test_list_that_excludes_nothing_is_warned_of(tiny_config, tmp_path, caplog):
    """As that of the label issues of the validation split: only training images are excluded."""
    parts = [
        set(select_examples(open_data(tiny_config.data), tiny_config.data, part)[0].image_ids)
        for part in ('train', 'selection', 'val')
    ]
    (tmp_path / 'ids').write_text(f'{min((parts[1] | parts[2]) - parts[0])}')
    tiny_config.data.exclude = str(tmp_path / 'ids')
    (warning,) = warned(tiny_config, tmp_path / 'run', caplog)
    assert 'data.exclude excludes nothing' in warning
    caplog.clear()
    (tmp_path / 'ids').write_text(f'{min(parts[0])}')
    assert warned(tiny_config, tmp_path / 'run', caplog) == []


def test_images_beyond_the_published_number_are_warned_of(tiny_config, tmp_path, caplog):
    tiny_config.data.max_train = 10
    (warning,) = warned(tiny_config, tmp_path / 'run', caplog)
    assert '2 images are left out because of data.max_train' in warning
    assert '--config.data.max_train=0' in warning


def test_frozen_random_encoder_is_warned_of(tiny_config, tmp_path, caplog):
    tiny_config.model.encoder_trainable = False
    (warning,) = warned(tiny_config, tmp_path / 'run', caplog)
    assert 'keeps its random weights' in warning and 'model.encoder_trainable=True' in warning


def test_case_frozen_random_encoder(tiny_config):
    """`--config.model.pretrained=` alone."""
    command = (case('frozen_random_encoder') / 'command.sh').read_text()
    overrides = [word for word in command.split() if word.startswith('--config.')]
    config = load_config(str(ROOT / 'configs' / 'person_car.py'), overrides)
    count = frequencies.ClassFrequencies(('background',), 1, (1,), (0,), (1.0,), 1)
    nothing = types.SimpleNamespace(splits=())
    (warning,) = checks.warnings(config, nothing, count, count)
    assert 'keeps its random weights' in warning


@pytest.mark.parametrize(
    ('field', 'effect'),
    [('encoder_after', 'encoder is never trained'), ('warmup_steps', 'rate never reaches')],
)
def test_a_training_that_ends_too_soon_is_warned_of(tiny_config, field, effect):
    count = frequencies.ClassFrequencies(('background',), 24, (24,), (24,), (1.0,), 24)
    nothing = types.SimpleNamespace(splits=())
    tiny_config.train.num_steps, tiny_config.train.num_epochs = 0, 2
    tiny_config.train.batch_size = 8  # 6 steps
    tiny_config.optimizer[field] = 6
    (warning,) = checks.warnings(tiny_config, nothing, count, count)
    assert effect in warning and f'optimizer.{field}=6 and the training has 6 steps' in warning
    tiny_config.optimizer[field] = 5
    assert checks.warnings(tiny_config, nothing, count, count) == []


@pytest.mark.parametrize('missing', ['train', 'val'])
def test_missing_split_is_refused_before_anything_is_written(tiny_config, tmp_path, missing):
    documents = {name: coco_fixtures.document(4) for name in ('first', 'second')}
    folder_of(tmp_path, tiny_config, documents)
    if missing == 'val':
        tiny_config.data.train_splits = ('first',)
    with pytest.raises(ValueError) as error:
        checks.open_inputs(tiny_config, tmp_path / 'run')
    text = str(error.value)
    other = 'first' if missing == 'train' else 'second'
    assert f"data.{missing}_splits=('{missing}',): there is no split '{missing}'" in text
    assert 'has the splits first, second' in text
    assert f'--config.data.{missing}_splits={other}' in text
    # What the message proposes is accepted as it stands.
    config = load_config(
        str(ROOT / 'configs' / 'default.py'), [f'--config.data.{missing}_splits={other}']
    )
    assert config.data[f'{missing}_splits'] == (other,)
    assert not (tmp_path / 'run').exists()


def test_only_one_split_can_be_divided_or_trained_without_validation(tiny_config, tmp_path):
    folder_of(tmp_path, tiny_config, {'all_of_it': coco_fixtures.document(12)})
    tiny_config.data.train_splits = ('all_of_it',)
    with pytest.raises(ValueError, match=r"data.folds=5 .*data.val_splits='\(\)'"):
        checks.open_inputs(tiny_config, tmp_path / 'run')
    tiny_config.data.val_splits = ()
    assert len(checks.open_inputs(tiny_config, tmp_path / 'run').examples)
    with pytest.raises(ValueError, match='no split is named'):
        select_examples(open_data(tiny_config.data), tiny_config.data, 'val')
    tiny_config.data.val_splits, tiny_config.data.folds = ('val',), 3
    assert len(checks.open_inputs(tiny_config, tmp_path / 'run').examples)


def test_case_val_split_called_valid(tiny_config, tmp_path):
    """The split is found, and its annotations are empty: refused, with the field to set."""
    tiny_config.data.source = str(case('val_split_called_valid'))
    tiny_config.data.data_dir = str(tmp_path / 'data')
    with pytest.raises(ValueError, match="Split 'valid'(.|\n)*data.val_splits"):
        checks.open_inputs(tiny_config, tmp_path / 'run')


def test_validation_without_an_image_is_refused(tiny_config, tmp_path):
    document = own_classes(6)
    document['annotations'] = [a for a in document['annotations'] if a['category_id'] == 1]
    folder_of(tmp_path, tiny_config, {'train': own_classes(), 'val': document})
    tiny_config.data.label_space = 'worker: worker; van: van'
    tiny_config.data.require = 'every_class'
    with pytest.raises(ValueError, match="No image is left for 'val'") as error:
        checks.open_inputs(tiny_config, tmp_path / 'run')
    assert '6 without every class (data.require)' in str(error.value)
    assert 'data.label_space: worker 4, van 0' in str(error.value)
    # A run that was begun before this was checked continues.
    run = tmp_path / 'run'
    (run / 'checkpoints' / '2').mkdir(parents=True)
    (run / 'run.json').write_text('{}')
    assert len(checks.open_inputs(tiny_config, run).examples)


def test_missing_weights_are_named_before_the_data_are_prepared(tiny_config, tmp_path):
    tiny_config.data.source = str(tmp_path / 'nowhere')
    tiny_config.model.pretrained = 'weights.h5'
    with pytest.raises(FileNotFoundError, match='model.pretrained: there is no weight file'):
        checks.open_inputs(tiny_config, tmp_path / 'run')


def test_case_readme_command_with_own_classes(tiny_config, tmp_path):
    case('readme_command_with_own_classes')
    folder_of(tmp_path, tiny_config, {'train': own_classes(24), 'val': own_classes(6)})
    tiny_config.data.require = 'every_class'
    with pytest.raises(ValueError, match="no category or super-category 'car'") as error:
        checks.open_inputs(tiny_config, tmp_path / 'run')
    assert 'the categories worker, van and the super-categories person' in str(error.value)
    proposed = str(error.value).partition('--config.data.label_space=')[2].strip("'")
    tiny_config.data.label_space = proposed
    checks.open_inputs(tiny_config, tmp_path / 'run')


def test_start_without_a_checkpoint_is_no_run(tiny_config, tmp_path, caplog):
    prepared = open_data(tiny_config.data)
    described = workdir.describe_run(prepared, {}, ('background', 'person', 'car'))
    workdir.write_description(tmp_path, tiny_config, described)
    unfinished = tmp_path / 'checkpoints' / '2.orbax-checkpoint-tmp'
    unfinished.mkdir(parents=True)
    tiny_config.seed = 1
    with caplog.at_level(logging.INFO):
        workdir.write_description(tmp_path, tiny_config, described)
    assert 'no checkpoint' in caplog.text
    assert '"seed": 1' in (tmp_path / 'config.json').read_text()
    tiny_config.seed = 2
    for name in ('2', '2.damaged'):
        kept = unfinished.with_name(name)
        kept.mkdir()
        with pytest.raises(ValueError, match='seed: 1 in the run, 2 now'):
            workdir.write_description(tmp_path, tiny_config, described)
        kept.rmdir()


def test_case_ids_restart_in_each_split(tiny_config, tmp_path):
    tiny_config.data.source = str(case('ids_restart_in_each_split'))
    tiny_config.data.data_dir = str(tmp_path / 'data')
    prepared = open_data(tiny_config.data)
    tiny_config.data.label_space = f'thing: {prepared.categories[0].name}'
    tiny_config.data.train_splits = prepared.splits
    tiny_config.data.selection_fraction = 0.0
    examples, _ = select_examples(prepared, tiny_config.data, 'train')
    assert len(set(examples.image_ids.tolist())) == len(examples) == 4


def test_ids_that_start_again_keep_every_image(tiny_config, tmp_path):
    second = coco_fixtures.document(12)
    for image in second['images']:  # other pictures under the same ids and sizes
        image['file_name'] = f'other-{image["id"]}.jpg'
    folder_of(tmp_path, tiny_config, {'train': coco_fixtures.document(12), 'val': second})
    for image in second['images']:
        path = tmp_path / 'own' / 'val' / image['file_name']
        path.write_bytes(coco_fixtures.picture(image['width'], image['height'], 1))
    tiny_config.data.train_splits, tiny_config.data.selection_fraction = ('train', 'val'), 0.0
    prepared = coco.prepare(tiny_config.data.source, tiny_config.data.data_dir)
    examples, report = select_examples(prepared, tiny_config.data, 'train')
    assert report['duplicates'] == 0
    assert len(set(examples.image_ids.tolist())) == 2 * len(prepared.split('train'))
    tiny_config.data.folds = 3
    parts = [
        select_examples(prepared, tiny_config.data, part)[0].image_ids for part in ('train', 'val')
    ]
    assert sorted(np.concatenate(parts)) == sorted(examples.image_ids)
