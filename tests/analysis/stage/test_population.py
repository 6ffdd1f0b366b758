"""Several splits and folders without annotations in one view: what is there, what is absent."""

import json
import os
import pathlib
import shutil

import numpy as np
import pyarrow
import pytest
from PIL import Image

from analysis import registry
from analysis.drift.schema import Drift
from analysis.pictures import stage as pictures
from analysis.samples.schema import Samples
from analysis.similar.schema import Similar
from analysis.stage import artifacts, population
from analysis.stage.run import open_analysis
from analysis.stage.view import Parts, find_views, open_view
from scripts import analyze
from segmentation.data.annotations import Category
from tests import coco_fixtures

STAGES = 'predictions', 'samples', 'embeddings', 'similar', 'pictures', 'drift', 'report'


@pytest.fixture(scope='module')
def photos(tmp_path_factory, coco_folder):
    """A folder with 4 new images, a copy of a validation image, and unusable files."""
    folder = tmp_path_factory.mktemp('data') / 'new photos!'
    (folder / 'more').mkdir(parents=True)
    for number in range(4):
        path = folder / ('more' if number else '.') / f'{number}.jpg'
        colors = np.random.default_rng(number).integers(0, 256, (2, 2, 3), np.uint8)
        Image.fromarray(colors).resize((40 + number, 30), Image.Resampling.BILINEAR).save(path)
    shutil.copy(folder / '0.jpg', folder / 'again.jpg')
    shutil.copy(min(coco_folder.glob('val/*.jpg')), folder / 'known.jpg')
    (folder / 'broken.jpg').write_bytes(coco_fixtures.picture(40, 30)[:300])
    (folder / 'text.txt').write_text('no image')
    return folder


@pytest.fixture(scope='module')
def view(tiny_run, photos, tmp_path_factory):
    workdir = shutil.copytree(tiny_run, tmp_path_factory.mktemp('population') / 'run')
    command = ['--workdir', str(workdir), '--splits', 'val,train', '--folder', str(photos)]
    command += ['--stages', ','.join((*STAGES, 'slices')), '--json', str(workdir / 'all.json')]
    assert analyze.main(command) == 0
    return open_view(workdir, 'val.train.new_photos_-0')


def test_parts_are_a_column(view):
    table = artifacts.load(view, Samples).table
    counts = dict(zip(*np.unique(table['split'].to_pylist(), return_counts=True), strict=True))
    train, val = (open_analysis(view.workdir, split) for split in ('train', 'val'))
    # Some training images have the id of a validation image: the same image is there once.
    more = {*train.image_ids.tolist()} - {*val.image_ids.tolist()}
    assert 0 < len(more) < len(train)
    assert counts == {'val': len(val), 'train': len(more), 'new_photos_': 5}
    assert table['image_id'].to_pylist()[: len(val)] == val.image_ids.tolist()
    names = table['file_name'].to_pylist()[-5:]
    assert sorted(names) == ['0.jpg', 'known.jpg', 'more/1.jpg', 'more/2.jpg', 'more/3.jpg']


def test_what_needs_a_label_is_absent(view):
    table = artifacts.load(view, Samples).table
    last = table.slice(len(table) - 5)
    there = {'confidence', 'entropy', 'width', 'height', 'aspect_ratio', 'brightness', 'contrast'}
    there |= {'sharpness', 'saturation', 'hue_std', 'is_colored', 'is_grayscale'}
    there |= {'image_id', 'file_name', 'split', 'source_split'}
    known = {name for name in table.column_names if last[name].null_count < 5}
    assert known == there
    assert all(last[name].null_count == 0 for name in there)
    entropy = last['entropy'].to_numpy()
    assert (entropy > 0).all() and (entropy < np.log(3) + 1e-6).all()


def test_labeled_images_are_as_in_their_own_view(view, analyzed_run):
    alone = artifacts.load(analyzed_run, Samples).table
    together = artifacts.load(view, Samples).table.slice(0, len(alone))
    for name in alone.column_names:
        if pyarrow.types.is_floating(alone[name].type):
            values = [table[name].to_numpy(zero_copy_only=False) for table in (alone, together)]
            np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-6, err_msg=name)
        else:
            assert alone[name].to_pylist() == together[name].to_pylist(), name


def test_neighbors_cross_parts(view):
    table, similar = artifacts.load(view, Samples).table, artifacts.load(view, Similar)
    names = table['file_name'].to_pylist()
    copy = names.index('known.jpg')
    nearest = int(similar.index[copy, 0])
    assert table['split'][nearest].as_py() == 'val' and similar.distance[copy, 0] < 0.01


def test_drift_is_measured_from_the_training_images(view):
    drift = artifacts.load(view, Drift)
    assert drift.reference == 'train' and [part.part for part in drift.parts] == [
        'val', 'new_photos_'
    ]  # fmt: skip
    assert (view.folder / 'drift.png').exists()
    names = {column.column for column in drift.parts[1].columns}
    assert {'brightness', 'embedding 1'} <= names
    # What images without annotations lack is not compared, nor what depends on training.
    assert not names & {'num_instances', 'percent_person', 'loss', 'confidence'}
    assert 'count_person' in {column.column for column in drift.parts[0].columns}


def test_stages_of_one_split_say_why_they_are_left_out(view, capsys):
    results = json.loads((view.workdir / 'all.json').read_text())
    assert set(results) == {*STAGES, 'unavailable'}
    assert 'analyze each split alone' in results['unavailable']['slices']
    analysis = open_analysis(view.workdir, 'val,train')
    of_one_part = {n for n in registry.STAGES if registry.load(n).result.PARTS is Parts.ONE}
    reasons = registry.unavailable(analysis)
    assert analysis.split == 'val.train' and of_one_part == {*reasons} - {'label_next'}
    assert 'give them as a --folder' in reasons['label_next']
    with pytest.raises(ValueError, match='mean_iou is not available for .*each split alone'):
        registry.load('mean_iou').get(analysis)
    assert {'mean_iou', 'slices'} <= of_one_part
    for name in sorted(of_one_part):
        with pytest.raises(SystemExit):
            registry.load(name).main(['--workdir', str(view.workdir), '--split', 'val,train'])
        assert "invalid choice: 'val,train'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        analyze.main(['--workdir', str(view.workdir), '--splits', 'val,test'])
    assert "unknown split 'test'" in capsys.readouterr().err
    # And the reverse.
    reasons = registry.unavailable(open_analysis(view.workdir, 'val'))
    assert list(reasons) == ['drift', 'label_next'] and 'several --splits' in reasons['drift']


def test_the_page_has_one_view_of_all_parts(view):
    text = (view.workdir / 'report' / 'data' / view.folder.name / 'view.js').read_text()
    calls = [line.removeprefix('explorer.provide(')[:-2] for line in text.splitlines()]
    pieces = dict(json.loads(f'[{call}]') for call in calls)
    name = view.folder.name
    piece = pieces[f'view/{name}']
    columns = {column['name']: column for column in piece['columns']}
    assert columns['split']['categories'] == ['new_photos_', 'train', 'val']
    assert 'slices' in piece['unavailable'] and 'slices' in piece['missing']
    number = piece['columns'].index(columns['novelty'])
    assert pieces[f'column/{name}/{number}']['shape'] == [len(view)]


def test_a_folder_is_never_taken_for_a_split(view, tmp_path):
    folder = tmp_path / 'train'
    folder.mkdir()
    (folder / 'a.jpg').write_bytes(coco_fixtures.picture(9, 9))
    analysis = open_analysis(view.workdir, 'val', folders=[folder])
    assert analysis.split == 'val.train_2' and analysis.folders == ('train_2',)
    assert analysis.part(len(analysis) - 1) == 'train_2'
    analysis.folder.rmdir()


def test_names_of_folders_that_are_too_long_together_are_refused(view, tmp_path, photos):
    folders = [shutil.copytree(photos, tmp_path / f'site_{i}_{"x" * 40}') for i in range(7)]
    for folder in folders:  # each with images of its own
        for path in filter(pathlib.Path.is_file, folder.rglob('*')):
            path.write_bytes(path.read_bytes() + folder.name.encode())
    with pytest.raises(ValueError, match='names of these 7 folders are too long together'):
        open_analysis(view.workdir, 'val', folders=folders)


def test_a_copied_folder_is_no_view(view):
    before = [each.folder.name for each in find_views(view.workdir)]
    copy = shutil.copytree(view.folder, view.folder.with_name(f'{view.folder.name}-old'))
    try:
        assert [each.folder.name for each in find_views(view.workdir)] == before
    finally:
        shutil.rmtree(copy)


def test_pictures_of_images_without_labels_show_no_truth():
    label, predicted = np.full((8, 8), 255), np.ones((8, 8), np.int64)
    tiles = pictures.thumbnails(np.zeros((8, 8, 3), np.uint8), label, predicted)
    assert not tiles['truth'].any() and not tiles['error'].any() and tiles['prediction'].any()
    label[0] = 0
    assert pictures.thumbnails(np.zeros((8, 8, 3), np.uint8), label, predicted)['truth'].any()


def test_folders(photos, tmp_path, caplog):
    caplog.set_level('INFO')
    categories = (Category(1, 'person', 'person'),)
    split = population.open_folder(photos, categories)
    assert '5 of 7 images; left out: 1 same content as another file (' in caplog.text
    assert '1 damaged or truncated image (' in caplog.text
    ids = split.index.image_id
    assert (ids >= 10**14).all() and (ids < 2**53).all()
    assert [split[k]['image/id'] for k in range(5)] == ids.tolist()
    (photos / 'out.jpg').symlink_to(tmp_path / 'secret.jpg')
    (tmp_path / 'secret.jpg').write_bytes((photos / 'known.jpg').read_bytes()[:-1])
    assert population.open_folder(photos, categories).index.image_id.tolist() == ids.tolist()
    assert '1 link out of the folder' in caplog.text
    (photos / 'out.jpg').unlink()
    # Ids are of the content: they neither depend on names nor on other files.
    moved = shutil.copytree(photos, tmp_path / 'moved')
    (moved / 'known.jpg').rename(moved / 'renamed.jpg')
    (moved / 'more' / '1.jpg').unlink()
    assert set(population.open_folder(moved, categories).index.image_id) < set(ids)
    split = population.open_folder(moved, categories)
    path = moved / split[0]['file_name']
    path.write_bytes(coco_fixtures.picture(9, 9))
    with pytest.raises(ValueError, match='has changed since the analysis began') as changed:
        split[0]
    path.unlink()
    with pytest.raises(ValueError, match='cannot be read any more') as removed:
        split[0]
    # As a prepared data set would be, but these are the photos of the user.
    assert all(
        str(path) in str(e.value) and 'delete' not in str(e.value) for e in (changed, removed)
    )
    os.rename(moved / 'renamed.jpg', os.fsencode(moved) + b'/caf\xe9.jpg')
    population.open_folder(moved, categories)
    assert 'with a name that is not UTF-8' in caplog.text
    with pytest.raises(ValueError, match='there is no such folder'):
        population.open_folder(tmp_path / 'none', categories)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='none is there'):
        population.open_folder(tmp_path / 'empty', categories)
    assert population.name_folder(tmp_path / 'a.b c', ()) == 'a_b_c'
    assert population.name_folder(tmp_path / 'val', ('val', 'val_2')) == 'val_3'
