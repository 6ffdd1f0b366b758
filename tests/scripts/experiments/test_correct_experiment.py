"""The experiment on corrections on a tiny data set: what it prepares, plans and reports."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from scripts.experiments import correct_experiment
from scripts.experiments.record import of_tables
from segmentation import campaign, scenes
from segmentation.data.corrections.decisions import Correction
from segmentation.data.examples import open_data, select_examples
from segmentation.workdir import describe_run, write_description

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

    def run_plan(plan, finished, score, on_block):
        """Scores at random instead of training, which test_reproduce.py does with the same code."""
        planned[:] = plan
        for number, training in enumerate(plan):
            if training.directory in finished:
                continue
            trained.append(training.directory)
            training.directory.mkdir(parents=True)
            prepared = open_data(plan[0].config.data)
            run = describe_run(prepared, {}, ('background', 'person', 'car'))
            write_description(training.directory, training.config, run)
            ids = select_examples(prepared, training.config.data, 'val')[0].image_ids
            counts = np.random.default_rng(number).integers(1, 99, (len(ids), 3, 3))
            scores = dict.fromkeys(correct_experiment.ARMS, counts) | {'step': 2, 'image_id': ids}
            state = campaign.state_of(training, prepared)
            campaign.save_scores(training.directory, state, scores)

    planned, trained = [], []
    monkeypatch.setattr(correct_experiment, 'find_errors', find_errors)
    monkeypatch.setattr(campaign, 'run_plan', run_plan)
    fields = [f'--config.{name}={value}' for name, value in FIELDS.items()]
    command = [f'--workdir={tmp_path}', '--rates=0.5', '--seeds=1', '--folds=2', *fields]
    assert correct_experiment.main(command) == 0
    folder = tmp_path / 'rate50'
    assert asked == [(folder / 'folds', 2, 0.5)]
    report = json.loads((tmp_path / 'report.json').read_text())
    (rate,) = report['rates']
    assert rate['images'] == 24 and rate['corrected'] == 4 and rate['suggested'] == 4
    assert 0.2 < rate['errors'] <= 0.7
    assert set(rate['scores']) == {'nothing', 'exclude', 'correct', 'random', 'clean'}
    assert [(d['first'], d['second']) for d in rate['differences']] == [
        ('nothing', 'correct'), ('nothing', 'exclude'), ('random', 'exclude'),
        ('exclude', 'correct'), ('nothing', 'clean'),
    ]  # fmt: skip
    out = capsys.readouterr().out
    # One seed decides nothing.
    assert out.count('not resolvable |') == 5
    assert of_tables(report)['pays'].to_markdown() in out
    assert report['origin']['command'] in out and report['origin']['seeds'] == [0]
    assert trained == [folder / arm / 'seed0' for arm in correct_experiment.ARMS]

    # The arms differ in their training images and labels only.
    plan = {training.experiment: training for training in planned}
    used = {}
    for arm, training in plan.items():
        data = training.config.data
        prepared = open_data(data)
        parts = [select_examples(prepared, data, part)[1] for part in ('train', 'selection', 'val')]
        used[arm] = [part['images'] for part in parts], [part['sha256'] for part in parts[1:]]
    counts = {arm: images[0] for arm, (images, _) in used.items()}
    assert counts['correct'] == counts['nothing'] > counts['exclude'] == counts['random']
    assert len({tuple(digests) for _, digests in used.values()}) == 1
    assert len({training.config.train.num_steps for training in planned}) == 1
    assert plan['correct'].config.data.source != plan['nothing'].config.data.source
    assert {training.config.seed for training in planned} == {0}

    # The validation labels are correct, those of training are so in one arm only.
    parts = [('source', 'train', False), ('source', 'val', True), ('clean', 'train', True)]
    assert plan['clean'].config.data.source == str(folder / 'clean')
    for source, split, is_clean in parts:
        name = f'annotations/instances_{split}.json'
        drawn, mine = (
            json.loads((folder / kind / name).read_text())['annotations']
            for kind in ('scenes', source)
        )
        _, planted = scenes.read_truth(folder / 'scenes', split)
        clean = scenes.clean_annotations(drawn, planted)
        assert (sorted(mine, key=lambda a: a['id']) == clean) == is_clean
        assert clean != sorted(drawn, key=lambda a: a['id'])

    (tmp_path / 'report.md').unlink()
    trained.clear()
    assert correct_experiment.main(command) == 0
    assert trained == []  # finished trainings are kept
    assert json.loads((tmp_path / 'report.json').read_text()) == report

    # Other corrections are other labels, though the config is the same: only this arm starts again.
    def find_one(config, folder, folds, least):
        (kept, *_) = find_errors(config, folder, folds, least)
        ids = json.loads((tmp_path / 'rate50/suggested.json').read_text())['ids']
        others = [Correction('remove', image, 10**9) for image in ids[1:]]  # they do not fit
        return [kept, *others]

    def keep_directory(plan, finished, score, on_block):
        trained[:] = [each.directory for each in plan if each.directory not in finished]
        for directory in trained:
            shutil.rmtree(directory)
        run_plan(plan, finished, score, on_block)

    monkeypatch.setattr(correct_experiment, 'find_errors', find_one)
    monkeypatch.setattr(campaign, 'run_plan', keep_directory)
    assert correct_experiment.main(command) == 0
    assert set(trained) == {folder / 'correct/seed0'}


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('--config.data.fold=1', 'data.fold cannot be overridden'),
        ('--rates=2', '--rates must be'),
        ('--rates=0.99', 'is more than the'),
        ('--folds=1', '--folds at least 2'),
    ],
)
def test_what_is_refused(option, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        correct_experiment.main([f'--workdir={tmp_path}', option])
    assert message in capsys.readouterr().err
