"""Sweeps: many trainings of one config that differ in a few fields.

What is to be trained comes from functions beside `get_config()` in a config file:

    def sweep():  # or sweep_<name>(): parameter sets, one training each
        for rate in (3e-4, 1e-3, 3e-3):
            yield {'optimizer.learning_rate': rate}

    def search():  # or search_<name>(): ranges and choices, from which sets are drawn
        return {
            'optimizer.learning_rate': {'low': 1e-4, 'high': 1e-2, 'log': True},
            'model.dropout': [0.0, 0.3],
        }

Trials are kept in an Optuna study, which any number of workers on any number of machines share.
Optuna's own grid sampler may give one set to two workers, so sets are queued here as trials with a
`key`, and of several trials with one key only the oldest that was not lost may train. The key names
the run directory too: whoever takes up the trial of a worker that died continues its checkpoint.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import socket
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import sqlalchemy
from ml_collections import ConfigDict
from optuna.trial import FrozenTrial, TrialState

from configs import default
from segmentation import launch, train, workdir
from segmentation.config import flat, kind_of, run_file, set_fields

# Ends of trials are reported by the supervisor; heartbeats have been "experimental" for years.
optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings('ignore', category=optuna.exceptions.ExperimentalWarning)

# How often the worker of one set may die before the set counts as failed.
MAX_DEATHS = 5
# Fields that do not change what a trial computes: machines may differ in them.
_FREE_FIELDS = {'data.data_dir', 'data.threads', 'data.prefetch', 'eval_batch_size'}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is trained, where it is kept and how it is judged."""

    base: ConfigDict  # locked; what the sets override
    # By key; None where TPE chooses the set when its trial begins.
    sets: dict[str, dict[str, Any] | None]
    space: dict[str, Any]  # what TPE chooses from; empty otherwise
    workdir: pathlib.Path
    storage: str  # URL of a database
    metric: str = 'mean_iou_foreground'
    prune: str = ''  # '', 'median' or 'hyperband'
    grace: int = 120  # seconds without a sign of life after which a worker counts as dead

    def directory(self, key: str) -> pathlib.Path:
        return self.workdir / 'trials' / key


# What is to be trained.


def _function(path: str, kind: str, name: str) -> Any:
    wanted = f'{kind}_{name}' if name else kind
    functions = run_file(path)
    if wanted not in functions:
        known = [key for key in functions if re.fullmatch(r'(sweep|search)(_\w+)?', key)]
        raise ValueError(
            f'{path} defines no {wanted}(); ' + (f'it has {", ".join(known)}.' if known else
            'write one as shown in segmentation/sweeps/study.py.')
        )  # fmt: skip
    return functions[wanted]()


def read_sets(path: str, name: str, base: ConfigDict) -> dict[str, dict[str, Any]]:
    """The parameter sets of `sweep()` or `sweep_<name>()`, by key; equal sets are merged.

    Raises:
      ValueError: there is no such function, or a set has an unknown field or a value of the wrong
        type; every set is checked.
    """
    return key_sets(list(_function(path, 'sweep', name)), base)


def key_sets(sets: Sequence[dict[str, Any]], base: ConfigDict) -> dict[str, dict[str, Any]]:
    """Checks parameter sets; the key is a hash of the fields in which a set differs from `base`.

    Raises:
      ValueError: an unknown field or a value of the wrong type; names all wrong sets.
    """
    keyed, mistakes = {}, []
    defaults = flat(base)
    for number, overrides in enumerate(sets, 1):
        try:
            if not isinstance(overrides, dict):
                raise ValueError(f'is {overrides!r}, not a dict of fields.')
            fields = flat(with_overrides(base, overrides))
        except ValueError as error:
            mistakes.append(f'set {number}: {error}')
            continue
        changed = {name: fields[name] for name in fields if fields[name] != defaults[name]}
        text = json.dumps(changed, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:10]
        keyed.setdefault(key, {name: fields[name] for name in overrides})
    if mistakes:
        raise ValueError('Nothing was run, as these are wrong:\n  ' + '\n  '.join(mistakes))
    if not keyed:
        raise ValueError('The sweep has no parameter sets.')
    return keyed


def with_overrides(base: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
    """A locked copy of a config with fields set by their dotted names.

    Raises:
      ValueError: see `config.set_fields`.
    """
    config = base.copy_and_resolve_references().lock()
    set_fields(config, overrides)
    return config


def read_space(path: str, name: str, base: ConfigDict) -> dict[str, Any]:
    """The ranges and choices of `search()` or `search_<name>()`, as Optuna's distributions.

    A range is {'low': …, 'high': …}, both included, with 'log': True or 'step': … if wanted;
    choices are a list.

    Raises:
      ValueError: an unknown field, a value of the wrong type or a malformed range; names all.
    """
    space, mistakes = {}, []
    for field, values in _function(path, 'search', name).items():
        try:
            space[field] = _distribution(field, values, base)
        except (ValueError, TypeError) as error:
            mistakes.append(f'{field}: {error}')
    if mistakes or not space:
        raise ValueError(
            'Nothing was run, as the search space is wrong:\n  '
            + '\n  '.join(mistakes or ['it is empty'])
        )
    return space


def _distribution(
    field: str, values: Any, base: ConfigDict
) -> optuna.distributions.BaseDistribution:
    if isinstance(values, list | tuple) and values:
        for value in values:
            with_overrides(base, {field: value})
        # As JSON, because Optuna stores no tuples.
        return optuna.distributions.CategoricalDistribution([json.dumps(v) for v in values])
    kinds = {
        int: optuna.distributions.IntDistribution,
        float: optuna.distributions.FloatDistribution,
    }
    kind = kind_of(base, field)
    if kind not in kinds or not isinstance(values, dict) or not {'low', 'high'} <= values.keys():
        raise ValueError(
            "write choices as a list, or the range of a number as {'low': 1e-4, 'high': 1e-2, "
            f"'log': True}}, not {values!r}"
        )
    for value in (values['low'], values['high']):
        with_overrides(base, {field: value})
    return kinds[kind](**values)


def draw_sets(space: Mapping[str, Any], count: int, base: ConfigDict) -> dict[str, dict[str, Any]]:
    """Draws parameter sets at random; the same for the same `base.seed`, however many are drawn."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=base.seed))
    return key_sets([_suggest(study.ask(), space) for _ in range(count)], base)


def _suggest(trial: optuna.Trial, space: Mapping[str, Any]) -> dict[str, Any]:
    overrides = {}
    for field, distribution in space.items():
        if isinstance(distribution, optuna.distributions.CategoricalDistribution):
            overrides[field] = json.loads(trial.suggest_categorical(field, distribution.choices))
        else:
            integer = isinstance(distribution, optuna.distributions.IntDistribution)
            suggest = trial.suggest_int if integer else trial.suggest_float
            overrides[field] = suggest(
                field, distribution.low, distribution.high,
                step=distribution.step, log=distribution.log,
            )  # fmt: skip
    return overrides


# Where it is kept.


def hide_password(url: str) -> str:
    """The URL of a database as it may be shown."""
    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError as error:
        raise ValueError(
            '--storage is no database URL such as postgresql://user@host/database.'
        ) from error


def open_study(sweep: Sweep) -> optuna.Study:
    """Opens the study of a sweep, or makes it. Its name is that of the sweep's directory.

    Raises:
      ValueError: the database cannot be opened, or the study belongs to another config or metric.
    """
    shown = hide_password(sweep.storage)
    for attempt in range(5):
        try:
            study = _open_study(sweep)
            break
        except ImportError as error:
            raise ValueError(
                f'{shown} needs a driver: {error}. For PostgreSQL: pip install "psycopg[binary]".'
            ) from error
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            # Several processes may be making the tables at once: the others find them made.
            if attempt == 4:
                raise ValueError(f'{shown} cannot be opened: {error}') from error
            time.sleep(1)
    fields = flat(sweep.base)
    identity = json.dumps(
        {name: value for name, value in fields.items() if name not in _FREE_FIELDS}
        | {'--metric': sweep.metric, '--prune': sweep.prune},
        sort_keys=True,
    )
    before = study.user_attrs.get('identity')
    if before is None:
        study.set_user_attr('identity', identity)
    elif before != identity:
        old, new = json.loads(before), json.loads(identity)
        # A sweep of before there was a field had its default (see `config.read_config`).
        defaults = json.loads(json.dumps(flat(default.get_config())))
        old = {name: defaults[name] for name in new.keys() & defaults.keys()} | old
        differing = [
            f'{name}: {old.get(name)!r} there, {new.get(name)!r} now'
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
        if differing:
            raise ValueError(
                f'The study {study.study_name} in {shown} is of another sweep:\n  '
                + '\n  '.join(differing)
                + '\nChoose another --workdir.'
            )
    return study


def _open_study(sweep: Sweep) -> optuna.Study:
    sqlite = sweep.storage.startswith('sqlite')
    storage = optuna.storages.RDBStorage(
        sweep.storage,
        engine_kwargs={'connect_args': {'timeout': 120}} if sqlite else {'pool_pre_ping': True},
        heartbeat_interval=max(1, sweep.grace // 4),
        grace_period=sweep.grace,
    )
    if sqlite:
        # SQLite has no SELECT … FOR UPDATE, by which Optuna gives a waiting trial to one worker
        # only. Here a transaction has the file for itself from its beginning.
        @sqlalchemy.event.listens_for(storage.engine, 'connect')
        def no_implicit_begin(connection, record):
            del record
            connection.isolation_level = None

        @sqlalchemy.event.listens_for(storage.engine, 'begin')
        def begin_immediate(connection):
            connection.exec_driver_sql('BEGIN IMMEDIATE')

        storage.engine.dispose()
    pruner = {
        '': optuna.pruners.NopPruner(),
        'median': optuna.pruners.MedianPruner(),
        'hyperband': optuna.pruners.HyperbandPruner(min_resource=sweep.base.train.eval_every),
    }[sweep.prune]
    return optuna.create_study(
        storage=storage,
        study_name=sweep.workdir.resolve().name,
        # Not seeded: workers would all draw the same.
        sampler=optuna.samplers.TPESampler(),
        pruner=pruner,
        direction='minimize' if sweep.metric == 'loss' else 'maximize',
        load_if_exists=True,
    )


@dataclasses.dataclass(frozen=True)
class Entry:
    """What has become of a parameter set."""

    key: str
    state: str  # 'complete', 'pruned', 'failed', 'running', 'waiting' or 'missing'
    trial: FrozenTrial | None  # the one that counts
    starts: int  # workers that began or continued it
    reason: str  # of a failure

    @property
    def finished(self) -> bool:
        return self.state in ('complete', 'pruned', 'failed')


def entries(study: optuna.Study, sweep: Sweep) -> list[Entry]:
    """The state of every parameter set, in the order of the sweep."""
    by_key = {key: [] for key in sweep.sets}
    for trial in study.get_trials(deepcopy=False):
        if trial.user_attrs.get('key') in by_key and 'superseded' not in trial.user_attrs:
            by_key[trial.user_attrs['key']].append(trial)
    return [_entry(key, trials) for key, trials in by_key.items()]


def _entry(key: str, trials: list[FrozenTrial]) -> Entry:
    starts = sum('worker' in trial.user_attrs for trial in trials)
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.WAITING):
        for trial in trials:
            if trial.state == state:
                return Entry(key, state.name.lower(), trial, starts, '')
    # What is left was given up (with a reason), stopped, or lost with its worker.
    for trial in reversed(trials):
        if 'reason' in trial.user_attrs:
            return Entry(key, 'failed', trial, starts, trial.user_attrs['reason'])
    last = trials[-1] if trials else None
    if sum('stopped' not in trial.user_attrs for trial in trials) >= MAX_DEATHS:
        return Entry(key, 'failed', last, starts, f'its worker died {MAX_DEATHS} times')
    return Entry(key, 'missing', last, starts, '')


def refill(study: optuna.Study, sweep: Sweep, retry_failed: bool = False) -> list[Entry]:
    """Queues every parameter set that is not finished and that no living worker has.

    Several processes may do so at once: `run_next` drops what was queued twice.
    """
    optuna.storages.fail_stale_trials(study)
    current = entries(study, sweep)
    for entry in current:
        if entry.state == 'missing' or (retry_failed and entry.state == 'failed'):
            # What TPE chose for a trial that was lost is kept.
            params = entry.trial.params if entry.trial else {}
            study.enqueue_trial(params, user_attrs={'key': entry.key})
    return current


def give_back(study: optuna.Study, number: int) -> None:
    """Ends a running trial whose worker is known to be dead; the next `refill` queues it again."""
    try:
        study.tell(number, state=TrialState.FAIL)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        pass  # It has ended meanwhile.


# Running it.


class _Failed(Exception):
    """The training cannot be finished; the reason is recorded with the trial."""


class _Superseded(Exception):
    """Another trial has the same key, or the sweep has no such key any more."""


def worker_name(pid: int) -> str:
    """How trials name the process that runs them."""
    return f'{socket.gethostname()}/{pid}'


def read_curve(directory: pathlib.Path, metric: str) -> dict[int, float]:
    """Score on the selection split by step, as far as `metrics.jsonl` has it."""
    lines = map(json.loads, (directory / 'metrics.jsonl').read_text().splitlines())
    name = f'selection/{metric}'
    return {line['step']: line[name] for line in lines if line.get(name) is not None}


def run_next(study: optuna.Study, sweep: Sweep) -> None:
    """Runs the next queued trial in this process and records how it ended.

    Raises:
      launch.TrainingStopped: a signal asked to stop; the trial can be taken up again.
    """
    taken = []

    def objective(trial):
        taken.append(trial.number)
        return _run(trial, sweep)

    try:
        study.optimize(objective, n_trials=1, catch=(_Failed, _Superseded))
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        if not taken or not study.trials[taken[0]].state.is_finished():
            raise
        # Too long without a sign of life, so the trial was queued again. What it has reached is in
        # its run directory, where the new trial finds it.
        print('This trial was taken for dead and given to another worker.', file=sys.stderr)


def _run(trial: optuna.Trial, sweep: Sweep) -> float:
    key = trial.user_attrs.get('key')
    if key not in sweep.sets or not _is_first(trial, key):
        trial.set_user_attr('superseded', True)
        raise _Superseded
    trial.set_user_attr('worker', worker_name(os.getpid()))
    overrides = sweep.sets[key]
    if overrides is None:
        overrides = _suggest(trial, sweep.space)
    trial.set_user_attr('overrides', overrides)
    directory = sweep.directory(key)
    directory.mkdir(parents=True, exist_ok=True)
    _wait_until_free(directory)
    print(f'Trial {key}: {overrides}', flush=True)
    reported = set()

    def report():
        """Hands over all scores so far: a trial that was taken up again has some already."""
        curve = read_curve(directory, sweep.metric)
        for step in curve.keys() - reported:
            trial.report(curve[step], step)
            reported.add(step)
        return curve

    def on_evaluation():
        report()
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        train.train(with_overrides(sweep.base, overrides), directory, on_evaluation)
        curve = report()
        if not curve:
            raise ValueError(f'No evaluation has a {sweep.metric}; see {directory}/metrics.jsonl.')
    except launch.TrainingStopped:
        trial.set_user_attr('stopped', True)
        raise
    except optuna.exceptions.OptunaError:
        raise  # pruned, or a database that is out of reach: not the fault of the set
    except Exception as error:
        trial.set_user_attr('reason', f'{type(error).__name__}: {error}'[:1000])
        raise _Failed from error
    return (min if sweep.metric == 'loss' else max)(curve.values())


def _is_first(trial: optuna.Trial, key: str) -> bool:
    """Whether this is the oldest trial of its key that was not lost."""
    living = [
        other.number
        for other in trial.study.get_trials(deepcopy=False)
        if other.user_attrs.get('key') == key and other.state != TrialState.FAIL
    ]
    return trial.number == min(living)


def _wait_until_free(directory: pathlib.Path) -> None:
    """Waits while a worker that was taken for dead, but lives, still trains in the directory."""
    while True:
        try:
            with workdir.claim(directory):
                return
        except ValueError:
            time.sleep(1)
