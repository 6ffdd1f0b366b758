"""The experiment on what to label, with one seed and one round on a few scenes."""

import json
import types

import numpy as np
import pytest

from analysis import registry
from analysis.label_next.rule import choose
from configs import default
from scripts.experiments import label_next_experiment
from scripts.experiments.record import of_tables
from segmentation import train
from segmentation.config import with_overrides
from segmentation.data import selection
from segmentation.data.masks import IGNORE

FIELDS = {
    'data.scenes.train': 14,
    'data.scenes.val': 6,
    'data.image_size': 32,
    'data.threads': 2,
    'model.width': 0.35,
    'train.batch_size': 4,
    'train.num_steps': 2,
    'train.eval_every': 2,
    'train.recalibrate_batches': 0,
    'train.num_pictures': 0,
    'eval_batch_size': 8,
}
RULES = 'label_next', 'uncertainty', 'random'


def test_rules_label_other_images_of_the_same_pool(tmp_path, monkeypatch):
    fields = {**FIELDS, 'data.data_dir': tmp_path / 'data'}
    workdir = tmp_path / 'run'
    command = [f'--workdir={workdir}', '--start=4', '--add=3', '--rounds=1', '--seeds=1']
    command += [f'--config.{name}={value}' for name, value in fields.items()]
    asked, labels = [], []

    def remember(points, entropy, is_labeled, count):
        order = choose(points, entropy, is_labeled, count)
        asked.append((entropy, is_labeled, count, order.rows))
        return order

    def load(name):
        def get(analysis):
            labels.append(analysis.examples[0]['label'])
            return registry.load(name).get(analysis)

        return types.SimpleNamespace(get=get)

    monkeypatch.setattr(label_next_experiment, 'choose', remember)
    monkeypatch.setattr(label_next_experiment, 'registry', types.SimpleNamespace(load=load))
    assert label_next_experiment.main(command) == 0

    def used(directory):
        """Ids of the labeled images of a run, as its own config excludes the others."""
        config = json.loads((workdir / directory / 'config.json').read_text())
        described = json.loads((workdir / directory / 'run.json').read_text())['images']
        left_out = selection.read_exclude(config['data']['exclude'])
        assert described['train']['images'] == len(pool - left_out)
        assert described['selection']['images'] == len(pool - left_out)
        return pool - left_out

    with np.load(workdir / 'start/seed0-4/scores.npz', allow_pickle=False) as arrays:
        chosen = {rule: set(arrays[rule].tolist()) for rule in RULES}
        assert arrays['counts'].shape == (6, 3, 3)
        scored = arrays['image_id'].tolist()
    listed = [json.loads(path.read_text())['ids'] for path in (workdir / 'left_out').iterdir()]
    pool = set().union(*listed) | set().union(*chosen.values())
    pool |= {*range(min(pool), max(pool) + 1)}
    assert len(pool) == 14 and not pool & set(scored)
    first = used('start/seed0-4')
    assert len(first) == 4
    for rule in RULES:
        assert len(chosen[rule]) == 3 and not chosen[rule] & first
        assert used(f'{rule}/seed0-7') == first | chosen[rule]
    ((entropy, is_labeled, count, rows),) = asked
    ids = np.array(sorted(pool))
    assert count == 3 and set(ids[is_labeled].tolist()) == first
    assert set(ids[rows].tolist()) == chosen['label_next']
    order = [int(k) for k in ids[np.argsort(-entropy)] if int(k) not in first]
    assert set(order[:3]) == chosen['uncertainty']
    assert not list(workdir.glob('*/*/analysis/pool-*'))  # large
    assert labels and all((label == IGNORE).all() for label in labels)  # hidden from the rules

    report = json.loads((workdir / 'report.json').read_text())
    curves = report['curves']
    assert curves['labeled'] == [4, 7] and set(curves['scores']) == set(RULES)
    assert len({json.dumps(curves['scores'][rule][0]) for rule in RULES}) == 1
    assert set(of_tables(report)) == {'scores', 'differences'}
    assert [d['other'] for d in curves['differences']] == ['uncertainty'] * 2 + ['random'] * 2
    assert (workdir / 'report.md').read_text().count('not resolvable') == 4  # one seed
    assert (workdir / 'report.png').exists()

    # The same command trains nothing again; another number of images does.
    trained = []

    def stop(config, directory, on_evaluation):
        trained.append(directory)
        raise ValueError('nothing is to be trained')

    monkeypatch.setattr(train, 'train', stop)
    assert label_next_experiment.main(command) == 0
    assert trained == [] and len(asked) == 1
    assert json.loads((workdir / 'report.json').read_text()) == report
    assert label_next_experiment.main([*command, '--add=2']) == 1
    assert trained == [workdir / 'start/seed0-4']


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('--config.data.exclude=x', 'data.exclude cannot be overridden'),
        ('--config.data.selection_fraction=0.2', 'data.selection_fraction cannot be overridden'),
        ('--add=0', 'must be at least 1'),
    ],
)
def test_what_is_refused(option, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        label_next_experiment.main([f'--workdir={tmp_path}', option])
    assert message in capsys.readouterr().err


def test_what_the_user_excludes_is_never_trained_on(tmp_path):
    listed = tmp_path / 'excluded.json'
    listed.write_text('[1, 2]')
    config = with_overrides(default.get_config(), {'data.exclude': str(listed)})
    experiment = label_next_experiment.Experiment(
        tmp_path, config, types.SimpleNamespace(fingerprint={'id': 'x'}),
        types.SimpleNamespace(image_ids=np.arange(3, 9)), 1, (2,),
    )  # fmt: skip
    training = experiment.training('start', 0, 0, [4, 5])
    assert selection.read_exclude(training.config.data.exclude) == {1, 2, 3, 6, 7, 8}
    assert training.num_images == 2


def test_a_pool_that_is_too_small(tmp_path, capsys):
    fields = {'data.scenes.train': 14, 'data.scenes.val': 6, 'data.data_dir': tmp_path / 'data'}
    command = [f'--config.{name}={value}' for name, value in fields.items()]
    assert label_next_experiment.main([f'--workdir={tmp_path / "run"}', *command]) == 1
    error = capsys.readouterr().err
    assert '250 images are to be labeled, but the data set has 14 training images' in error
