"""The experiment on corrections, end to end on a tiny data set."""

import json
import pathlib

import pytest

from scripts.experiments import correct_experiment
from segmentation import scenes
from segmentation.data.corrections.decisions import Correction

FIELDS = {
    'data.scenes.train': 24,
    'data.scenes.val': 6,
    'data.image_size': 32,
    'data.threads': 2,
    'model.width': 0.35,
    'train.batch_size': 8,
    'train.num_steps': 2,
    'train.eval_every': 2,
    'train.recalibrate_batches': 0,
    'train.num_pictures': 0,
    'eval_batch_size': 8,
}


def test_arms_are_compared_and_finished_trainings_kept(tmp_path, monkeypatch, capsys):
    asked = []

    def find_errors(config, folder, folds, least):
        """Removes the first annotation of four images, as if a network had said so."""
        asked.append((folder, folds, least))
        source = pathlib.Path(config.data.source) / 'annotations/instances_train.json'
        entries = json.loads(source.read_text())['annotations']
        first = {entry['image_id']: entry['id'] for entry in reversed(entries)}
        return [Correction('remove', image, key) for image, key in sorted(first.items())[:4]]

    monkeypatch.setattr(correct_experiment, 'find_errors', find_errors)
    fields = [f'--config.{name}={value}' for name, value in FIELDS.items()]
    command = [f'--workdir={tmp_path}', '--rates=0.5', '--seeds=1', '--folds=2', *fields]
    assert correct_experiment.main(command) == 0
    folder = tmp_path / 'rate50'
    assert asked == [(folder / 'folds', 2, 0.5)]
    report = json.loads((tmp_path / 'report.json').read_text())
    (rate,) = report['rates']
    assert rate['images'] == 24 and rate['corrected'] == 4 and rate['suggested'] == 4
    assert 0.2 < rate['errors'] <= 0.7
    assert set(rate['scores']) == {'nothing', 'exclude', 'correct', 'random'}
    assert [(d['first'], d['second']) for d in rate['differences']] == [
        ('nothing', 'correct'), ('nothing', 'exclude'), ('random', 'exclude'),
        ('exclude', 'correct'),
    ]  # fmt: skip
    out = capsys.readouterr().out
    # One seed decides nothing.
    assert '**not resolvable**' in out and '4 trainings, 0 of them finished' in out

    # The arms differ in their training images and labels only.
    used, configs = {}, {}
    for arm in rate['scores']:
        run = folder / arm / 'seed0'
        used[arm] = json.loads((run / 'run.json').read_text())['images']
        configs[arm] = json.loads((run / 'config.json').read_text())
    counts = {arm: entry['train']['images'] for arm, entry in used.items()}
    assert counts['correct'] == counts['nothing'] > counts['exclude'] == counts['random']
    assert len({entry['selection']['sha256'] for entry in used.values()}) == 1
    assert len({config['train']['num_steps'] for config in configs.values()}) == 1
    assert configs['correct']['data']['source'] != configs['nothing']['data']['source']

    # The validation labels are correct, those of training are not.
    for split, is_clean in (('train', False), ('val', True)):
        name = f'annotations/instances_{split}.json'
        drawn, mine = (
            json.loads((folder / kind / name).read_text())['annotations']
            for kind in ('scenes', 'source')
        )
        _, planted = scenes.read_truth(folder / 'scenes', split)
        clean = scenes.clean_annotations(drawn, planted)
        assert (sorted(mine, key=lambda a: a['id']) == clean) == is_clean
        assert clean != sorted(drawn, key=lambda a: a['id'])

    before = {path: path.stat().st_mtime_ns for path in folder.rglob('checkpoints/*')}
    (tmp_path / 'report.md').unlink()
    assert correct_experiment.main(command) == 0
    assert '4 trainings, 4 of them finished' in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob('checkpoints/*')}
    assert json.loads((tmp_path / 'report.json').read_text()) == report


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('--config.data.fold=1', 'data.fold cannot be overridden'),
        ('--rates=2', '--rates must be'),
        ('--folds=1', '--folds at least 2'),
    ],
)
def test_what_is_refused(option, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        correct_experiment.main([f'--workdir={tmp_path}', option])
    assert message in capsys.readouterr().err
