"""The stage over all splits of a data set, the files for training, and leaked images."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps

from analysis import registry
from analysis.duplicates import leakage
from analysis.stage.run import open_analysis
from segmentation.config import read_config, save_config
from segmentation.data import examples
from segmentation.files import write_json
from tests import coco_fixtures


@pytest.fixture(scope='module')
def leaky(tmp_path_factory, tiny_run):
    """A run whose validation split has two training images, and a training image twice."""
    folder = tmp_path_factory.mktemp('leaky')
    documents = {'train': coco_fixtures.document(9), 'val': coco_fixtures.document(5, seed=1)}
    for image in documents['val']['images']:
        image['id'] += 5000
        image['file_name'] = f'{image["id"]:012d}.jpg'
    for annotation in documents['val']['annotations']:
        annotation['image_id'] += 5000
    coco_fixtures.write_folder(folder / 'data', documents)
    names = {split: [i['file_name'] for i in d['images']] for split, d in documents.items()}
    train, val = (folder / 'data' / split for split in documents)
    rng = np.random.default_rng(0)
    for name in names['train']:  # with coarse structure, as photographs have
        with Image.open(train / name) as image:
            size = image.size
        noise = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
        noise.resize(size, Image.Resampling.BICUBIC).save(train / name, quality=95)

    def copy(source, target, change):
        with Image.open(target) as image:
            size = image.size
        buffer = io.BytesIO()
        change(Image.open(source)).resize(size).save(buffer, 'JPEG', quality=60)
        target.write_bytes(buffer.getvalue())

    copy(train / names['train'][0], val / names['val'][0], ImageOps.mirror)
    copy(train / names['train'][1], val / names['val'][1], lambda image: image)
    copy(train / names['train'][2], train / names['train'][3], lambda image: image)
    run = shutil.copytree(tiny_run, folder / 'run')
    config = read_config(run / 'config.json')
    config.data.source, config.data.data_dir = str(folder / 'data'), str(folder / 'prepared')
    config.data.selection_fraction = 0.0
    save_config(config, run / 'config.json')
    prepared = examples.open_data(config.data)
    described = json.loads((run / 'run.json').read_text())
    described['data'] = {'path': str(prepared.path), 'fingerprint': prepared.fingerprint}
    write_json(run / 'run.json', described)
    ids = {split: [i['id'] for i in d['images']] for split, d in documents.items()}
    return run, ids


def test_groups_over_splits_and_their_files(leaky, capsys):
    run, ids = leaky
    assert registry.load('duplicates').main(['--workdir', str(run)]) == 0
    printed = capsys.readouterr().out
    assert '3 groups of copies among 14 images; 2 have images of several splits' in printed
    assert '2 images of this view have a copy among the training images' in printed
    folder = run / 'analysis' / 'val-0'
    assert (folder / 'duplicates.png').read_bytes()[:4] == b'\x89PNG'
    train, val = ids['train'], ids['val']
    expected = [[train[0], val[0]], [train[1], val[1]], sorted(train[2:4])]
    groups = json.loads((folder / 'groups.json').read_text())
    assert sorted(groups['groups']) == sorted(expected)
    assert json.loads((folder / 'leaked.json').read_text())['ids'] == sorted(train[:2])
    result = registry.load('duplicates').get(open_analysis(run))
    assert {len(group) for group in result.groups} == {2}
    kinds = {frozenset(m.image_id for m in group): group[1].kinds for group in result.groups}
    assert kinds[frozenset(expected[0])][0] == 'mirrored'
    rows = [m.row for group in result.groups for m in group if m.split == 'val']
    known = open_analysis(run).image_ids
    assert sorted(known[rows]) == sorted(val[:2])
    assert result.pictures.shape == (6, 96, 96, 3)


def test_the_files_are_what_training_takes(leaky):
    run, ids = leaky
    registry.load('duplicates').main(['--workdir', str(run)])
    analysis = open_analysis(run)
    config = analysis.config.data.copy_and_resolve_references()
    prepared = examples.open_data(config)
    config.groups, config.folds = str(run / 'analysis' / 'val-0' / 'groups.json'), 3
    config.train_splits = 'train', 'val'
    fold_of = {}
    for config.fold in range(3):
        try:
            part, _ = examples.select_examples(prepared, config, 'val')
        except ValueError:
            continue  # an empty fold of 14 images
        fold_of |= dict.fromkeys(part.image_ids.tolist(), config.fold)
    assert len(fold_of) == 14
    groups = json.loads((run / 'analysis' / 'val-0' / 'groups.json').read_text())['groups']
    assert all(len({fold_of[number] for number in group}) == 1 for group in groups)
    config.groups, config.folds, config.fold, config.train_splits = '', 0, 0, ('train',)
    config.exclude = str(run / 'analysis' / 'val-0' / 'leaked.json')
    part, report = examples.select_examples(prepared, config, 'train')
    assert report['excluded'] == 2 and not {*ids['train'][:2]} & {*part.image_ids.tolist()}


def test_the_view_of_training_images_has_no_leakage(leaky):
    result = registry.load('duplicates').compute(open_analysis(leaky[0], 'train'))
    assert result.leakage is None and len(result.groups) == 3


def test_iou_with_and_without_leaked_images():
    rng = np.random.default_rng(0)
    confusions = np.zeros((200, 2, 2), np.int64)
    share = np.where(np.arange(200) < 20, 1.0, 0.5) * rng.uniform(0.9, 1, 200)
    confusions[:, 1, 1] = 100 * share
    confusions[:, 1, 0] = 100 - confusions[:, 1, 1]
    leaked = np.arange(200) < 20
    found = leakage.measure(confusions, leaked, ('background', 'person'))
    assert found.images == 20
    person, mean = found.scores
    assert (person.all, person.without) == (mean.all, mean.without)
    assert person.all == pytest.approx(confusions[:, 1, 1].mean() / 100)
    assert person.without == pytest.approx(confusions[20:, 1, 1].mean() / 100)
    low, high = person.interval
    # Narrower than that of either score: both are of the same images.
    assert 0.025 < low < person.difference < high < 0.075
    nothing = leakage.measure(confusions, np.zeros(200, bool), ('background', 'person'))
    assert nothing.scores[0].difference == 0 and nothing.scores[0].interval == (0, 0)
    everything = leakage.measure(confusions, np.ones(200, bool), ('background', 'person'))
    assert everything.scores[0].without is None and everything.scores[0].difference is None


def test_a_model_of_somebody_else_has_unknown_training_images(leaky, tmp_path):
    run = shutil.copytree(leaky[0], tmp_path / 'run')
    analysis = open_analysis(run)
    object.__setattr__(analysis, 'foreign', object())
    result = registry.load('duplicates').compute(analysis)
    assert result.leakage is None and len(result.groups) == 3
