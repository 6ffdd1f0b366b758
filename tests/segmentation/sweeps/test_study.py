"""Parameter sets, the queue they go through, and one trial at a time."""

import json
import threading
import time

import jax
import optuna
import pytest
from optuna.trial import TrialState

from configs import default
from segmentation.config import load_config, save_config
from segmentation.sweeps import study as sweeps

pytestmark = pytest.mark.filterwarnings(
    'ignore:.*experimental:optuna.exceptions.ExperimentalWarning',
    'ignore:Heartbeat of storage',  # these tests ask for trials themselves
)


@pytest.fixture
def base():
    return default.get_config().lock()


@pytest.fixture
def config_file(tmp_path):
    """Writes functions of a config file that starts from the default config; returns its path."""

    def write(functions):
        path = tmp_path / 'config.py'
        path.write_text(f'from configs.default import get_config\n{functions}\n')
        return str(path)

    return write


def make_sweep(base, tmp_path, sets, **options):
    return sweeps.Sweep(
        base=base,
        sets=sweeps.key_sets(sets, base),
        space={},
        workdir=tmp_path,
        storage=f'sqlite:///{tmp_path}/study.sqlite',
        **options,
    )


def test_every_wrong_set_is_named_before_anything_runs(config_file, base):
    path = config_file(
        'def sweep():\n'
        '    yield {"optimizer.learning_rate": 1e-2}\n'
        '    yield {"optimizer.learning_rat": 1e-2}\n'
        '    yield {"data.flip": "yes"}\n'
        '    yield ["seed"]\n'
    )
    with pytest.raises(ValueError) as error:
        sweeps.read_sets(path, '', base)
    message = str(error.value)
    assert 'set 2' in message and '"optimizer.learning_rate"' in message
    assert 'set 3: data.flip wants True or False' in message and 'set 4' in message
    assert 'set 1' not in message


def test_sets_by_name_and_equal_sets_are_one(config_file, base):
    path = config_file(
        'def sweep_rates():\n'
        '    yield {}\n'
        '    yield {"optimizer.learning_rate": 1e-3}\n'  # what it is anyway
        '    yield {"optimizer.learning_rate": 1e-2, "data.flip": True}\n'
        '    yield {"data.flip": True, "optimizer.learning_rate": 1e-2, "seed": 0}\n'
        '    yield {"data.train_splits": ["train"]}\n'
    )
    keyed = sweeps.read_sets(path, 'rates', base)
    assert list(keyed.values())[0] == {} and len(keyed) == 2
    # A key depends on what the set changes, not on its place or on the other sets.
    again = sweeps.key_sets([{'data.flip': True, 'optimizer.learning_rate': 0.01}], base)
    assert list(again) == list(keyed)[1:]
    with pytest.raises(ValueError, match=r'defines no sweep\(\); it has sweep_rates'):
        sweeps.read_sets(path, '', base)


def test_protocol_sweep_fits_its_config():
    base = load_config('configs/person_car.py', [])
    keyed = sweeps.read_sets('configs/person_car.py', 'protocol', base)
    assert {} in keyed.values() and len(keyed) > 20


@pytest.mark.parametrize(
    ('space', 'message'),
    [
        ({'model.dropuot': [0.1]}, 'model.dropout'),
        ({'model.dropout': ['much']}, 'wants a number'),
        ({'model.dropout': {'low': 0.0, 'hi': 1.0}}, 'write choices as a list, or the range'),
        ({'model.dropout': {'low': 1.0, 'high': 0.0}}, 'low'),
        ({'model.dropout': {'low': 0.0, 'high': 1.0, 'log': True}}, 'low'),
        ({'model.dropout': {'low': 0.0, 'high': 1.0, 'scale': 'log'}}, 'scale'),
        ({'data.flip': {'low': 0, 'high': 1}}, 'write choices as a list'),
        ({'train.batch_size': {'low': 1.5, 'high': 8}}, 'wants a whole number'),
        ({}, 'empty'),
    ],
)
def test_search_space_mistakes_are_named(config_file, base, space, message):
    with pytest.raises(ValueError, match=message):
        sweeps.read_space(config_file(f'def search():\n    return {space}'), '', base)


def test_random_sets_are_in_range_and_reproducible(config_file, base):
    path = config_file(
        'def search():\n'
        '    return {"optimizer.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},\n'
        '            "train.batch_size": {"low": 8, "high": 32, "step": 8},\n'
        '            "loss.class_weights": [(), (0.5, 1.0, 1.0)]}'
    )
    space = sweeps.read_space(path, '', base)
    keyed = sweeps.draw_sets(space, 12, base)
    for overrides in keyed.values():
        assert 1e-4 <= overrides['optimizer.learning_rate'] <= 1e-2
        assert overrides['train.batch_size'] in (8, 16, 24, 32)
        assert overrides['loss.class_weights'] in ((), (0.5, 1.0, 1.0))
    assert len({o['optimizer.learning_rate'] for o in keyed.values()}) == 12
    assert sweeps.draw_sets(space, 5, base) == dict(list(keyed.items())[:5])


def test_another_sweep_in_the_same_study_is_refused(base, tmp_path):
    sweep = make_sweep(base, tmp_path, [{'seed': 1}])
    sweeps.open_study(sweep)
    faster = sweeps.with_overrides(base, {'data.threads': 1})
    sweeps.open_study(make_sweep(faster, tmp_path, [{'seed': 1}, {'seed': 2}]))
    longer = sweeps.with_overrides(base, {'train.num_steps': 5})
    with pytest.raises(ValueError, match='train.num_steps: 0 there, 5 now'):
        sweeps.open_study(make_sweep(longer, tmp_path, [{'seed': 1}]))
    with pytest.raises(ValueError, match='--metric'):
        sweeps.open_study(make_sweep(base, tmp_path, [{'seed': 1}], metric='loss'))
    # A sweep of before there was a field.
    study = sweeps.open_study(sweep)
    identity = json.loads(study.user_attrs['identity'])
    del identity['optimizer.skip_nonfinite']
    study.set_user_attr('identity', json.dumps(identity))
    sweeps.open_study(sweep)


def test_storage_mistakes_show_no_password():
    with pytest.raises(ValueError, match='no database URL'):
        sweeps.hide_password('nonsense')
    assert sweeps.hide_password('postgresql://me:secret@host/x') == 'postgresql://me:***@host/x'


def test_lost_stopped_and_failed_trials(base, tmp_path):
    """What is queued again, how often, and what is not."""
    sweep = make_sweep(base, tmp_path, [{'seed': 1}])
    study = sweeps.open_study(sweep)

    def state():
        sweeps.refill(study, sweep)
        return sweeps.entries(study, sweep)[0]

    assert state().state == 'waiting' and state().state == 'waiting'
    assert len(study.trials) == 1
    for deaths in range(1, sweeps.MAX_DEATHS):
        sweeps.give_back(study, study.ask().number)
        assert state().state == 'waiting', deaths
    # Being asked to stop is no death.
    trial = study.ask()
    trial.set_user_attr('stopped', True)
    sweeps.give_back(study, trial.number)
    assert state().state == 'waiting'
    sweeps.give_back(study, study.ask().number)
    assert state().state == 'failed' and 'died' in state().reason
    # Failed trials come back only when asked for.
    sweeps.refill(study, sweep, retry_failed=True)
    trial = study.ask()
    trial.set_user_attr('reason', 'disk full')
    study.tell(trial.number, state=TrialState.FAIL)
    assert (state().state, state().reason) == ('failed', 'disk full')
    sweeps.refill(study, sweep, retry_failed=True)
    study.tell(study.ask().number, 0.5)
    assert state().state == 'complete' and state().trial.value == 0.5
    sweeps.give_back(study, state().trial.number)  # has ended: nothing to give back
    assert state().state == 'complete'


@pytest.fixture
def tiny_sweep(tiny_config, tmp_path, monkeypatch):
    device = jax.devices()[:1]
    for name in ('local_device_count', 'device_count'):
        monkeypatch.setattr(jax, name, lambda: 1)
    for name in ('devices', 'local_devices'):
        monkeypatch.setattr(jax, name, lambda: device)

    def make(sets, **options):
        return make_sweep(tiny_config.lock(), tmp_path, sets, **options)

    return make


def test_hopeless_trial_is_pruned_and_duplicates_are_dropped(tiny_sweep):
    sweep = tiny_sweep([{'seed': 1}], prune='median')
    study = sweeps.open_study(sweep)
    for _ in range(5):
        study.add_trial(optuna.create_trial(value=1.0, intermediate_values={2: 1.0, 4: 1.0}))
    key = next(iter(sweep.sets))
    for _ in range(2):  # as two machines might that begin at the same moment
        study.enqueue_trial({}, user_attrs={'key': key})
    sweeps.run_next(study, sweep)
    sweeps.run_next(study, sweep)
    sweeps.run_next(study, sweep)  # and one that finds nothing to do
    [entry] = sweeps.refill(study, sweep)
    assert entry.state == 'pruned' and entry.starts == 1
    assert list(entry.trial.intermediate_values) == [2]
    states = [trial.state for trial in study.trials[5:]]
    assert states == [TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL]
    lines = (sweep.directory(key) / 'metrics.jsonl').read_text().splitlines()
    assert json.loads(lines[-1])['step'] == 2


def test_worker_taken_for_dead_does_not_disturb_its_successor(tiny_sweep):
    sweep = tiny_sweep([{}])
    study = sweeps.open_study(sweep)
    sweeps.refill(study, sweep)
    [key] = sweep.sets
    metrics = sweep.directory(key) / 'metrics.jsonl'

    def take_away():
        while not (metrics.exists() and metrics.stat().st_size):
            time.sleep(0.01)
        sweeps.give_back(sweeps.open_study(sweep), 0)

    thread = threading.Thread(target=take_away)
    thread.start()
    sweeps.run_next(study, sweep)  # ends early, without an error
    thread.join()
    [entry] = sweeps.refill(study, sweep)
    assert entry.state == 'missing' and len(sweeps.read_curve(sweep.directory(key), 'loss')) == 1
    sweeps.run_next(study, sweep)
    [entry] = sweeps.entries(study, sweep)
    assert entry.state == 'complete' and entry.starts == 2
    # The scores from before are reported with those after.
    assert sorted(entry.trial.intermediate_values) == [2, 4]
    assert entry.trial.value == max(entry.trial.intermediate_values.values())


def test_tpe_keeps_what_it_chose_for_a_lost_trial(tiny_config, tmp_path):
    base = tiny_config.lock()
    space = {'optimizer.learning_rate': optuna.distributions.FloatDistribution(1e-4, 1e-2)}
    sweep = sweeps.Sweep(base, {'0000': None}, space, tmp_path, f'sqlite:///{tmp_path}/s.sqlite')
    study = sweeps.open_study(sweep)
    sweeps.refill(study, sweep)
    trial = study.ask()
    chosen = sweeps._suggest(trial, space)
    sweeps.give_back(study, trial.number)
    sweeps.refill(study, sweep)
    assert sweeps._suggest(study.ask(), space) == chosen


def test_config_file_of_a_run_has_no_sweep(base, tmp_path):
    save_config(base, tmp_path / 'config.json')
    with pytest.raises(ValueError, match='config.json'):
        sweeps.read_sets(str(tmp_path / 'config.json'), '', base)
