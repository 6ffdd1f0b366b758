"""Prediction of many files: names, resuming, unreadable files, COCO results."""

import json
import os
import pathlib
import threading

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

import segmentation
from segmentation import evaluate, mass_prediction, overlays, prediction_files
from segmentation.mass_prediction import FilePredictor
from segmentation.prediction_files import OutputFolder, find_images, image_ids

RNG = np.random.default_rng(0)
ALL = ['masks', 'overlays', 'coco_json']


@pytest.fixture(scope='module')
def model(tiny_run):
    return segmentation.load(tiny_run)


def write(path, height=30, width=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return path


def names(*arguments, output='nothing'):
    found, others = find_images(list(map(str, arguments)), pathlib.Path(output))
    return [image.name for image in found], others


def predict(model, images, output, wanted=('masks',), settings=None):
    with OutputFolder(output, wanted, settings or {}) as folder:
        todo = [found for found in images if not folder.has(found)]
        predictor = FilePredictor(model, folder, False, 2)
        assert sum(predictor.run(todo)) == len(todo)
    return todo, predictor.skipped, folder


def test_folders_patterns_and_files_give_each_image_once(tmp_path):
    for name in ('a.jpg', 'a.png', 'deep/er/b.jpg', 'deep/c.JPG', 'deep/broken.heic'):
        write(tmp_path / name) if 'heic' not in name else (tmp_path / name).write_text('x')
    (tmp_path / 'notes.txt').write_text('no image')
    everything = ['a.jpg', 'a.png', 'deep/broken.heic', 'deep/c.JPG', 'deep/er/b.jpg']
    assert names(tmp_path) == (everything, 1)
    assert names(tmp_path / '**/*.jpg') == (['a.jpg', 'deep/er/b.jpg'], 0)
    assert names(tmp_path, tmp_path / 'a.jpg', tmp_path / 'deep/../a.jpg') == (everything, 1)
    assert names(tmp_path / 'a.jpg', tmp_path / 'deep' / 'c.JPG') == (['a.jpg', 'deep/c.JPG'], 0)
    assert names(tmp_path, output=tmp_path / 'deep') == (['a.jpg', 'a.png'], 1)
    write(tmp_path / 'odd [1].png')  # a name that looks like a pattern
    assert names(tmp_path / 'odd [1].png') == (['odd [1].png'], 0)
    with pytest.raises(ValueError, match='No images'):
        names(tmp_path / '*.webp')


def test_results_of_before_are_no_images(tmp_path):
    write(tmp_path / 'in' / 'a.png')
    for name in ('a.png-mask.png', 'sub/a.png-overlay.png', 'predictions.jsonl'):
        write(tmp_path / 'in' / f'{name}.png').rename(tmp_path / 'in' / name)
    # The folder of the images is that of the results, also by a pattern or another spelling.
    for output in ('in', 'in/../in'):
        assert names(tmp_path / 'in', output=tmp_path / output) == (['a.png'], 0)
        assert names(tmp_path / 'in/**/*.png', output=tmp_path / output) == (['a.png'], 0)
    elsewhere = ['a.png', 'a.png-mask.png', 'sub/a.png-overlay.png']
    assert names(tmp_path / 'in', output=tmp_path / 'out') == (elsewhere, 1)
    assert names(tmp_path / 'in', output=tmp_path / 'in/../in/sub') == (elsewhere[:2], 1)


def test_links_that_lead_out_of_a_folder_are_skipped_unless_named(model, tmp_path):
    write(tmp_path / 'in' / 'a.png')
    (tmp_path / 'in' / 'same.png').symlink_to('a.png')
    (tmp_path / 'in' / 'out.png').symlink_to(write(tmp_path / 'secret.png'))
    for number, named in enumerate([[], [str(tmp_path / 'in/out.png')]]):
        images, _ = find_images([str(tmp_path / 'in'), *named], tmp_path / 'out')
        _, skipped, folder = predict(model, images, tmp_path / str(number))
        assert len(folder.entries) == 2 + number and len(skipped) == 1 - number
        assert all('leads out of its folder' in entry['reason'] for entry in skipped)


def test_what_gives_no_image_is_reported(model, tmp_path):
    write(tmp_path / 'in/a.png')
    write(tmp_path / 'elsewhere/b.png')
    (tmp_path / 'in/linked').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'in/again').symlink_to(tmp_path / 'in')  # leads to what is found anyway
    (tmp_path / 'empty').mkdir()
    arguments = [str(tmp_path / name) for name in ('in', 'empty', 'typo*/*.jpg', 'none.jpg')]
    named = 'in', 'in/linked', 'empty'
    for given, expected in (
        (arguments, {'linked': 'leads out', '*.jpg': 'Cannot read', 'none.jpg': 'Cannot read'}),
        ([str(tmp_path / name) for name in named], {}),
        ([str(tmp_path / name) for name in ('elsewhere', 'in')], {}),
    ):
        images, _ = find_images(given, tmp_path / 'out')
        _, skipped, folder = predict(model, images, tmp_path / f'out-{len(given)}')
        assert len(folder.entries) == (1 if expected else 2), given
        reasons = {pathlib.Path(entry['file']).name: entry['reason'] for entry in skipped}
        assert reasons.keys() == expected.keys()
        assert all(reason in reasons[name] for name, reason in expected.items())


def test_folders_that_cannot_be_read_are_reported(tmp_path, monkeypatch):
    write(tmp_path / 'a.png')
    (tmp_path / 'closed').mkdir()
    real = os.scandir

    def scandir(path):
        if str(path).endswith('closed'):  # root may read everything
            raise PermissionError(13, 'Permission denied', str(path))
        return real(path)

    monkeypatch.setattr(os, 'scandir', scandir)
    found, _ = find_images([str(tmp_path)], tmp_path / 'out')
    assert [image.name for image in found] == ['a.png', 'closed']
    assert 'cannot be read' in found[1].reason_to_skip()


def test_the_folder_of_results_may_match_a_pattern(tmp_path):
    write(tmp_path / 'a.png')
    (tmp_path / 'labels').mkdir()
    for name in ('.lock', 'lock', 'predictions.jsonl'):  # `lock` is of older versions
        write(tmp_path / 'out/a.png').rename(tmp_path / 'out' / name)
    for pattern in ('*', '*/..', 'out/*'):
        found, _ = find_images([str(tmp_path / pattern), str(tmp_path)], tmp_path / 'out')
        assert [image.path.name for image in found] == ['a.png']


def test_names_that_the_folder_of_results_needs(model, tmp_path):
    for name in ('lock/1.png', 'key/2.png', '.unfinished/3.png', 'images.json/4.png'):
        write(tmp_path / 'in' / name)
    images, _ = find_images([str(tmp_path / 'in')], tmp_path / 'out')
    _, skipped, folder = predict(model, images, tmp_path / 'out')
    assert sorted(folder.entries) == ['key/2.png', 'lock/1.png']
    assert len(skipped) == 2 and all('rename it' in entry['reason'] for entry in skipped)
    for name in folder.entries:
        assert folder.files(name)['masks'].is_file()


def test_a_file_that_changes_meanwhile_is_skipped(model, tmp_path, monkeypatch):
    paths = [write(tmp_path / 'in' / f'{name}.png') for name in ('gone', 'larger', 'same')]
    images, _ = find_images([str(tmp_path / 'in')], tmp_path / 'out')
    classify = evaluate.enlarge_and_classify

    def change(*arguments):
        if paths[0].exists():
            paths[0].unlink()
            write(paths[1], 60, 70)
        return classify(*arguments)

    monkeypatch.setattr(evaluate, 'enlarge_and_classify', change)
    _, skipped, folder = predict(model, images, tmp_path / 'out', ['overlays'])
    assert list(folder.entries) == ['same.png']
    assert [pathlib.Path(entry['file']).stem for entry in skipped] == ['gone', 'larger']
    assert 'Cannot be read any more' in skipped[0]['reason']
    assert 'was replaced' in skipped[1]['reason']


def test_files_that_are_no_images_and_odd_names_do_not_end_it(model, tmp_path):
    for name in ('long' * 62 + '.png', os.fsdecode(b'bytes\xff.png'), 'fine.png'):
        write(tmp_path / 'in' / name)
    os.mkfifo(tmp_path / 'in' / 'pipe.jpg')  # reading it would wait forever
    images, _ = find_images([str(tmp_path / 'in')], tmp_path / 'out')
    _, skipped, folder = predict(model, images, tmp_path / 'out')
    assert len(folder.entries) == 2
    reasons = {pathlib.Path(entry['file']).name[:4]: entry['reason'] for entry in skipped}
    assert 'name is too long' in reasons['long'] and 'not a regular file' in reasons['pipe']


def test_results_are_the_models_and_names_do_not_collide(model, tmp_path):
    for name in ('a.jpg', 'a.png', 'sub/a.jpg'):
        write(tmp_path / 'in' / name, 33, 41)
    (tmp_path / 'in' / 'sub' / 'broken.jpg').write_text('not an image')
    images, _ = find_images([str(tmp_path / 'in')], tmp_path / 'out')
    _, skipped, folder = predict(model, images, tmp_path / 'out', ALL)
    assert [entry['file'] for entry in skipped] == [str(tmp_path / 'in/sub/broken.jpg')]
    assert 'not an image' in skipped[0]['reason']
    for name in ('a.jpg', 'a.png', 'sub/a.jpg'):
        expected = model.predict(tmp_path / 'in' / name)[0].classes
        with Image.open(tmp_path / 'out' / f'{name}-mask.png') as mask:
            np.testing.assert_array_equal(np.asarray(mask), expected)
            colors = overlays.colorize(expected)
            np.testing.assert_array_equal(np.asarray(mask.convert('RGB')), colors)
        with Image.open(tmp_path / 'out' / f'{name}-overlay.png') as overlay:
            assert overlay.size == (41, 33)
        entry = folder.entries[name]
        shares = np.bincount(expected.ravel(), minlength=3) / expected.size
        np.testing.assert_allclose(entry['share_of_pixels'], shares)
        restored = np.zeros_like(expected)
        for part in entry['masks']:
            assert 0 < part['score'] <= 1
            restored[mask_utils.decode(part['segmentation']) > 0] = part['category_id']
        np.testing.assert_array_equal(restored, expected)


def test_large_images_are_finished_one_at_a_time(model, tmp_path, monkeypatch):
    count = 4 * model.batch_size
    for number in range(count):
        write(tmp_path / 'photos' / f'{number}.png')
    monkeypatch.setattr(mass_prediction, '_LARGE', 0)
    classify, lock, inside, most = evaluate.enlarge_and_classify, threading.Lock(), 0, 0
    both = threading.Event()

    def classify_slowly(*arguments):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        if most == 2:
            both.set()
        both.wait(0.1)  # for another thread; it comes, or is not let in
        with lock:
            inside -= 1
        return classify(*arguments)

    monkeypatch.setattr(evaluate, 'enlarge_and_classify', classify_slowly)
    found, _ = find_images([str(tmp_path / 'photos')], tmp_path / 'out')
    todo, skipped, _ = predict(model, found, tmp_path / 'out')
    assert len(todo) == count and not skipped and most == 1


def test_a_second_time_only_what_is_missing_or_changed_is_predicted(model, tmp_path):
    for number in range(5):
        write(tmp_path / 'in' / f'{number}.png')
    output = tmp_path / 'out'

    def todo(wanted=('masks',), settings=None):
        images, _ = find_images([str(tmp_path / 'in')], output)
        return [found.name for found in predict(model, images, output, wanted, settings)[0]]

    everything = [f'{number}.png' for number in range(5)]
    assert todo() == everything
    assert todo() == []
    (output / '1.png-mask.png').unlink()
    write(tmp_path / 'in' / '2.png', 20, 20)
    journal = output / 'predictions.jsonl'
    lines = journal.read_text().splitlines(keepends=True)
    kept = [line for line in lines if '"3.png"' not in line]
    journal.write_text(''.join(kept) + '{"image": "3.pn')  # killed while it wrote
    assert todo() == ['1.png', '2.png', '3.png']
    assert todo(('masks', 'coco_json')) == everything  # the journal lacks the run lengths
    assert todo(settings={'step': 2}) == everything  # another checkpoint


def test_an_image_that_is_skipped_now_keeps_no_earlier_result(model, tmp_path):
    for name in ('a.png', 'b.png'):
        write(tmp_path / 'in' / name)
    images, _ = find_images([str(tmp_path / 'in')], tmp_path / 'out')
    predict(model, images, tmp_path / 'out')
    (tmp_path / 'in' / 'a.png').write_bytes(b'no image any more')
    (tmp_path / 'in' / 'loop.png').symlink_to('loop.png')
    images, _ = find_images([str(tmp_path / 'in')], tmp_path / 'out')
    _, skipped, folder = predict(model, images, tmp_path / 'out', ('masks', 'coco_json'))
    assert [pathlib.Path(each['file']).name for each in skipped] == ['a.png', 'loop.png']
    assert folder.entries.keys() == {'b.png'} and folder.entries['b.png']['masks'] is not None


def test_files_of_one_name_size_and_time_in_two_folders_are_two_images(model, tmp_path):
    for folder in ('monday', 'tuesday'):
        os.utime(write(tmp_path / folder / '0001.bmp'), ns=(0, 0))
        images, _ = find_images([str(tmp_path / folder)], tmp_path / 'out')
        assert predict(model, images, tmp_path / 'out')[0] == images


def test_a_failed_write_leaves_no_file_and_names_it(model, tmp_path):
    images, _ = find_images([str(write(tmp_path / 'in' / 'a.png'))], tmp_path)
    output = tmp_path / 'out'
    (output / 'a.png-mask.png').mkdir(parents=True)  # where a file should go
    with pytest.raises(OSError, match='a.png-mask.png cannot be written'):
        predict(model, images, output)
    assert not (output / '.unfinished').exists()
    assert len((output / 'predictions.jsonl').read_text().splitlines()) == 1


def test_a_folder_has_one_writer(tmp_path):
    with OutputFolder(tmp_path, ['masks'], {}), pytest.raises(ValueError, match='Another process'):
        OutputFolder(tmp_path, ['masks'], {}).__enter__()


def test_image_ids_are_the_numbers_of_coco_file_names():
    assert image_ids(['a/000000000285.jpg', 'COCO_val2014_000000000042.jpg']) == [285, 42]
    assert image_ids(['a/1.jpg', 'b/1.jpg']) == [1, 2]
    assert image_ids(['photo.jpg', '7.jpg']) == [1, 2]


def test_coco_results_refer_to_their_images(model, tmp_path):
    for name in ('in/000012.png', 'in/sub/000007.png'):
        write(tmp_path / name)
    images, _ = find_images([str(tmp_path / 'in')], tmp_path / 'out')
    folder = predict(model, images, tmp_path / 'out', ALL)[2]
    prediction_files.write_coco_results(folder, images, model.class_names)
    described = json.loads((tmp_path / 'out/images.json').read_text())
    assert [image['id'] for image in described['images']] == [12, 7]
    assert described['images'][1]['file_name'] == 'sub/000007.png'
    assert described['categories'] == [{'id': 1, 'name': 'person'}, {'id': 2, 'name': 'car'}]
    results = json.loads((tmp_path / 'out/results.json').read_text())
    assert results and {r['image_id'] for r in results} <= {12, 7}
    assert all(r['segmentation']['size'] == [30, 40] for r in results)


def test_the_identity_of_a_checkpoint_is_that_of_its_parameters(model, tmp_path):
    first = prediction_files.identify(model.run, False)
    assert first == prediction_files.identify(model.run, False)
    assert first != prediction_files.identify(model.run, True)
    kernel = model.run.variables['params']['decoder']['logits']['kernel']
    kernel[0, 0, 0, 0] += 1
    assert first != prediction_files.identify(model.run, False)
    kernel[0, 0, 0, 0] -= 1
