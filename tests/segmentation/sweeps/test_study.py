"""The queue of parameter sets, and one trial at a time."""

import json
import threading
import time

import jax
import optuna
import pytest
from optuna.trial import TrialState

from configs import default
from segmentation.config import with_overrides
from segmentation.sweeps import study as sweeps
from segmentation.sweeps.sets import key_sets, suggest

pytestmark = pytest.mark.filterwarnings(
    'ignore:.*experimental:optuna.exceptions.ExperimentalWarning',
    'ignore:Heartbeat of storage',  # these tests take trials themselves
)


@pytest.fixture
def base():
    return default.get_config().lock()


def make_sweep(base, tmp_path, sets, **options):
    return sweeps.Sweep(
        base=base,
        sets=key_sets(sets, base),
        space={},
        workdir=tmp_path,
        storage=f'sqlite:///{tmp_path}/study.sqlite',
        **options,
    )


def test_another_sweep_in_the_same_study_is_refused(base, tmp_path):
    sweep = make_sweep(base, tmp_path, [{'seed': 1}])
    sweeps.open_study(sweep)
    for field, value in {'data.threads': 1, 'data.workers': 2, 'train.log_every': 5}.items():
        faster = with_overrides(base, {field: value})
        sweeps.open_study(make_sweep(faster, tmp_path, [{'seed': 1}, {'seed': 2}]))
    longer = with_overrides(base, {'train.num_steps': 5})
    with pytest.raises(ValueError, match='train.num_steps: 0 in the run, 5 now'):
        sweeps.open_study(make_sweep(longer, tmp_path, [{'seed': 1}]))
    with pytest.raises(ValueError, match='--metric'):
        sweeps.open_study(make_sweep(base, tmp_path, [{'seed': 1}], metric='loss'))
    # An older sweep, without a field.
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
    # A worker that is asked to stop has not died.
    trial = study.ask()
    trial.set_user_attr('stopped', True)
    sweeps.give_back(study, trial.number)
    assert state().state == 'waiting'
    sweeps.give_back(study, study.ask().number)
    assert state().state == 'failed' and 'died' in state().reason
    # Failed trials are queued again only on request.
    sweeps.refill(study, sweep, retry_failed=True)
    trial = study.ask()
    trial.set_user_attr('reason', 'disk full')
    study.tell(trial.number, state=TrialState.FAIL)
    assert (state().state, state().reason) == ('failed', 'disk full')
    sweeps.refill(study, sweep, retry_failed=True)
    sweeps.give_back(study, study.ask().number)  # the worker of the second attempt has died
    assert state().state == 'failed' and 'died' in state().reason
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


@pytest.mark.parametrize(('metric', 'best'), [('loss', min), ('mean_iou_foreground', max)])
def test_score_of_a_set_is_its_best_evaluation(tiny_sweep, metric, best):
    fields = {'train.eval_every': 1, 'optimizer.learning_rate': 0.02}
    sweep = tiny_sweep([fields], metric=metric)
    study = sweeps.open_study(sweep)
    sweeps.refill(study, sweep)
    sweeps.run_next(study, sweep)
    [key] = sweep.sets
    lines = (sweep.directory(key) / 'metrics.jsonl').read_text().splitlines()
    scores = [json.loads(line).get(f'selection/{metric}') for line in lines]
    scores = [score for score in scores if score is not None]
    assert len(scores) == 4 and best(scores) != scores[-1], scores
    assert study.best_trial.value == best(scores)
    # TPE and pruning look into the same direction.
    study.add_trial(optuna.create_trial(value=best(scores) * (2 if best is min else 0.5)))
    assert study.best_trial.value == best(scores)


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
    chosen = suggest(trial, space)
    sweeps.give_back(study, trial.number)
    sweeps.refill(study, sweep)
    sweeps.give_back(study, study.ask().number)  # lost again, before it stored anything
    sweeps.refill(study, sweep)
    assert suggest(study.ask(), space) == chosen


def test_other_choices_in_the_same_study_are_a_reason(tiny_config, tmp_path):
    base = tiny_config.lock()
    for choices, state in ((['0.0', '0.2'], 'missing'), (['0.0', '0.2', '0.3'], 'failed')):
        space = {'model.dropout': optuna.distributions.CategoricalDistribution(choices)}
        sets = dict.fromkeys(['0000', '0001'])
        sweep = sweeps.Sweep(base, sets, space, tmp_path, f'sqlite:///{tmp_path}/s.sqlite')
        study = sweeps.open_study(sweep)
        sweeps.refill(study, sweep)
        if state == 'missing':
            trial = study.ask()
            suggest(trial, space)
            study.tell(trial.number, 0.5)
        else:
            sweeps.run_next(study, sweep)
            entry = sweeps.entries(study, sweep)[1]
            assert entry.state == state and 'choose another --workdir' in entry.reason
