"""The command of the gate: what it prints and writes, its exit statuses, and bad input."""

import dataclasses
import itertools
import json
import pathlib
import shutil
from xml.etree import ElementTree

import numpy as np
import pyarrow
import pytest

from analysis.check import stage as check
from analysis.check import tables
from analysis.check.gate import Outcome
from analysis.check.schema import Gate
from analysis.predictions.schema import Predictions
from analysis.stage import artifacts
from analysis.stage.run import open_analysis
from segmentation import metrics
from segmentation.data import coco
from tests import untrained_runs


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    spaces = {'new': 'person_car', 'old': 'person_car', 'other': 'person_vehicle'}
    return untrained_runs.write(tmp_path_factory.mktemp('runs'), spaces)


@pytest.fixture(scope='module')
def views(runs, tmp_path_factory):
    """A file as the report exports it, with one image that is not in the split."""
    ids = open_analysis(runs[0]).image_ids.tolist()
    path = tmp_path_factory.mktemp('views') / 'views.json'
    mine = {'name': 'first "half" \x07', 'ids': [*ids[:35], 10**9]}
    path.write_text(
        json.dumps({'format': 'views', 'views': [mine, {'name': 'few', 'ids': ids[:3]}]})
    )
    return path


def test_slices_do_not_favor_the_new_model():
    """Which training is new makes no difference to the slices, unlike those of one training."""
    rng, n = np.random.default_rng(0), 400
    columns = {'brightness': rng.uniform(0, 255, n), 'contrast': rng.normal(50, 10, n)}
    hard = 0.3 * (columns['brightness'] < 50)
    trainings = hard + rng.normal(0, 0.3, (3, n))
    trainings[0] += 0.3 * (columns['contrast'] < 40)
    chosen = [
        [(one.name, one.inside.tolist()) for one in check.choose_slices(columns, losses)]
        for losses in itertools.permutations(trainings)
    ]
    assert chosen[0] and chosen.count(chosen[0]) == 6
    alone = check.choose_slices(columns, trainings[:1])
    assert {one.name for one in alone} != {name for name, _ in chosen[0]}


def test_images_without_a_counted_pixel_choose_no_slice():
    rng, n = np.random.default_rng(1), 300
    columns = {'crowds': np.r_[np.full(75, 90.0), rng.uniform(20, 50, 225)]}
    losses = rng.normal(1, 0.1, (2, n))
    losses[:, :75] = np.nan  # crowds cover them
    found = check.choose_slices(columns, losses)
    assert found == check.choose_slices({'crowds': columns['crowds'][75:]}, losses[:, 75:]) == []
    losses[:, 200:] += 1
    columns['crowds'][200:] = 10 * rng.uniform(size=100)
    (chosen, *_) = check.choose_slices(columns, losses)
    assert len(chosen.inside) == n and chosen.inside.sum() > 30
    assert not chosen.inside[:200].any()


def predict_truth(workdir, share):
    """Replaces the predictions by the truth in a share of the images, and nothing elsewhere."""
    analysis = open_analysis(workdir)
    found = artifacts.load(analysis, Predictions)
    counts = found.confusions()
    true = counts.sum(2)
    right = np.zeros_like(counts)
    right[:, range(3), range(3)] = true
    nothing = np.zeros_like(counts)
    nothing[:, :, 0] = true
    chosen = np.where((np.arange(len(counts)) % 10 < 10 * share)[:, None, None], right, nothing)
    flat = pyarrow.array(chosen.reshape(len(counts), -1).tolist(), pyarrow.list_(pyarrow.int32()))
    place = found.images.column_names.index('confusion')
    images = found.images.set_column(place, found.images.schema.field(place), flat)
    artifacts.save(analysis, dataclasses.replace(found, images=images))


def test_a_worse_model_fails_and_a_better_one_passes(runs, views, tmp_path, capsys):
    new, old, _ = runs
    arguments = ['--workdir', str(new), '--baseline', str(old), '--views', str(views)]
    assert check.main(arguments) in (0, 1)  # computes what is missing
    predict_truth(new, 0.5)
    predict_truth(old, 1.0)
    written = ['--junit', str(tmp_path / 'gate.xml'), '--json', str(tmp_path / 'gate.json')]
    capsys.readouterr()
    assert check.main([*arguments, *written]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith('WORSE') and 'standard deviation of 0.01' in printed
    assert '1 images of the saved view' in printed and '\x07' not in printed
    result = json.loads((tmp_path / 'gate.json').read_text())
    by_name = {(one['kind'], one['name']): one for one in result['outcomes']}
    assert result['worse'] and result['num_images'] == 70
    assert by_name['class', 'person']['verdict'] == 'worse'
    assert by_name['class', 'person']['baseline'] == 1
    assert by_name['saved view', 'first "half" \x07']['verdict'] == 'worse'
    assert by_name['saved view', 'few']['verdict'] == 'not tested'

    suite = ElementTree.parse(tmp_path / 'gate.xml').getroot().find('testsuite')
    cases = {case.get('name'): case for case in suite}
    assert len(cases) == int(suite.get('tests')) == len(by_name)
    failed = [case for case in suite if case.find('failure') is not None]
    assert len(failed) == int(suite.get('failures')) > 0 and cases['person'] in failed
    assert cases['few'].find('skipped') is not None
    assert 'minimum detectable drop' in cases['person'].find('system-out').text

    better = ['--workdir', str(old), '--baseline', str(new), '--junit', str(tmp_path / 'b.xml')]
    assert check.main(better) == 0
    assert capsys.readouterr().out.startswith('PASSED')
    suite = ElementTree.parse(tmp_path / 'b.xml').getroot().find('testsuite')
    assert suite.get('failures') == '0'


def test_a_gate_without_a_test_does_not_pass(runs, monkeypatch, tmp_path):
    nothing = [Outcome('class', 'car', 'not tested', 3)]
    gate = Gate(('new',), ('old',), 'val', 20, 0.01, 0.05, tuple(nothing), ())
    monkeypatch.setattr(check, 'compare', lambda *_: gate)
    assert check.main(['--workdir', str(runs[0]), '--baseline', str(runs[1])]) == 2


def test_a_crash_does_not_say_that_the_model_is_worse(runs, monkeypatch, capsys):
    def crash(*_):
        raise RuntimeError('out of memory')

    monkeypatch.setattr(check, 'compare', crash)
    assert check.main(['--workdir', str(runs[0]), '--baseline', str(runs[1])]) == 2
    assert 'out of memory' in capsys.readouterr().err


def test_networks_with_inputs_of_different_size_are_scored_on_the_same_pixels(
    runs, tmp_path, capsys
):
    larger = untrained_runs.resized(runs[0], tmp_path / 'larger', 64)
    written = tmp_path / 'gate.json'
    command = ['--workdir', str(larger), '--baseline', str(runs[0]), '--json', str(written)]
    assert check.main(command) in (0, 1)
    assert 'the runs differ in data.image_size' in capsys.readouterr().out
    outcomes = {one['name']: one for one in json.loads(written.read_text())['outcomes']}
    for run, side in ((runs[0], 'baseline'), (larger, 'new')):
        counts = artifacts.load(open_analysis(run), Predictions).confusions('original')
        person = metrics.iou(counts.sum(0))[1]
        assert np.isclose(outcomes['person'][side], person)


@pytest.mark.parametrize(
    'text, message',
    [
        ('{}', "has no list 'views'"),
        ('[1', 'cannot be read as JSON'),
        ('{"views": [{"name": "a", "ids": ["x"]}]}', 'not an image id'),
        ('{"views": [{"name": "a", "ids": []}, {"name": "a", "ids": []}]}', 'no name of its own'),
        ('{"views": [], "fingerprint": "other"}', 'another data set'),
    ],
)
def test_damaged_views_are_bad_input(runs, tmp_path, capsys, text, message):
    path = tmp_path / 'views.json'
    path.write_text(text)
    arguments = ['--workdir', str(runs[0]), '--baseline', str(runs[1]), '--views', str(path)]
    assert check.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_model_of_corrected_training_labels_is_compared(runs, tmp_path, capsys):
    """The validation split is the same; the training labels, and so the fingerprint, differ."""
    new, old, _ = runs
    moved = pathlib.Path(shutil.copytree(new, tmp_path / 'new'))
    shutil.rmtree(moved / 'analysis', ignore_errors=True)
    config = json.loads((moved / 'config.json').read_text())
    described = json.loads((moved / 'run.json').read_text())
    drawn = pathlib.Path(config['data']['data_dir']).glob('**/instances_train.json')
    shutil.copytree(next(drawn).parents[1], tmp_path / 'corrected')
    path = tmp_path / 'corrected/annotations/instances_train.json'
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, 'annotations': content['annotations'][1:]}))
    prepared = coco.prepare(str(tmp_path / 'corrected'), tmp_path / 'data')
    described['data'] = {'path': str(prepared.path), 'fingerprint': prepared.fingerprint}
    (moved / 'run.json').write_text(json.dumps(described))
    arguments = ['--workdir', str(moved), '--baseline', str(old)]
    assert check.main(arguments) in (0, 1), capsys.readouterr().err
    assert '70 common images' in capsys.readouterr().out

    assert check.main([*arguments, '--split', 'selection']) == 2
    assert 'split selection has other images or labels' in capsys.readouterr().err


def test_bad_input(runs, tmp_path, capsys):
    new, old, other = map(str, runs)
    assert check.main(['--workdir', new, '--baseline', other]) == 2
    assert 'has other labels' in capsys.readouterr().err
    assert check.main(['--workdir', new, '--baseline', new]) == 2
    assert 'given twice' in capsys.readouterr().err
    copies = ['--workdir', new, '--also', new, '--baseline', old, '--checkpoint', '0']
    assert check.main(copies) == 2
    assert 'given twice' in capsys.readouterr().err
    assert check.main(['--workdir', new, '--baseline', str(tmp_path / 'none')]) == 2
    assert check.main(['--workdir', new, '--baseline', old, '--drop', '2']) == 2
    assert '--drop' in capsys.readouterr().err
    xml = str(tmp_path / 'none' / 'gate.xml')
    assert check.main(['--workdir', new, '--baseline', old, '--junit', xml]) == 2
    assert 'no such folder' in capsys.readouterr().err
    assert check.main(['--workdir', new, '--baseline', old, '--junit', str(tmp_path)]) == 2
    assert 'is a folder' in capsys.readouterr().err
    moved = shutil.copytree(new, tmp_path / 'moved')
    described = json.loads((moved / 'run.json').read_text())
    described['data']['fingerprint'] = {'id': 'another'}
    (moved / 'run.json').write_text(json.dumps(described))
    assert check.main(['--workdir', new, '--baseline', str(moved)]) == 2


def test_a_gate_without_images_says_so():
    few = Outcome('class', 'car', 'not tested', 3)
    weak = Outcome('class', 'dog', 'inconclusive', 9, 0.5, 0.4, -0.1, (-0.4, 0.2), 0.5, 0.3)
    result = Gate(('a',), ('b',), 'val', 10, 0.01, 0.05, (few, weak), ())
    text = tables.to_markdown(result)
    assert text.startswith('INCONCLUSIVE: 1 inconclusive, 1 not tested.')
    assert 'nor one of 0.05 (--drop) is excluded' in text and '0.300' in text
