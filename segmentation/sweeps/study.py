"""Sweeps: many training runs of one config that differ in a few fields.

Any number of workers on any number of machines share an Optuna study; README.md has the design.
"""

import dataclasses
import json
import os
import pathlib
import socket
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
import sqlalchemy
from ml_collections import ConfigDict
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from configs import default
from segmentation import launch, train, workdir
from segmentation.config import GONE, differences, flat, with_overrides
from segmentation.sweeps.sets import suggest

# The supervisor reports how trials end. Optuna has called heartbeats experimental for years.
optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings('ignore', category=optuna.exceptions.ExperimentalWarning)

# Number of workers of one set that may die before the set counts as failed.
MAX_DEATHS = 5


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is trained, where it is stored and how it is judged."""

    base: ConfigDict  # locked config that the sets override
    # Overrides by key; None if TPE chooses them when the trial begins.
    sets: Mapping[str, dict[str, Any] | None]
    # What TPE chooses from (see `sets.read_space`), empty without TPE.
    space: dict[str, BaseDistribution]
    workdir: pathlib.Path  # directory of the sweep
    storage: str  # URL of a database
    # Of the selection split: 'mean_iou_foreground', 'mean_iou', 'iou/<class>' or 'loss'.
    metric: str = 'mean_iou_foreground'
    prune: str = ''  # '', 'median' or 'hyperband'
    grace: int = 120  # seconds without heartbeat after which a worker counts as dead

    def directory(self, key: str) -> pathlib.Path:
        return self.workdir / 'trials' / key


def hide_password(url: str) -> str:
    """The URL of a database without its password.

    Raises:
      ValueError: this is no such URL.
    """
    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError as error:
        raise ValueError(
            '--storage is no database URL such as postgresql://user@host/database.'
        ) from error


def open_study(sweep: Sweep) -> optuna.Study:
    """Opens the study of a sweep, or creates it, under the name of the sweep's directory.

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
            # Several processes may create the tables at once; the losers find them created.
            if attempt == 4:
                raise ValueError(f'{shown} cannot be opened: {error}') from error
            time.sleep(1)
    identity = {**flat(sweep.base), '--metric': sweep.metric, '--prune': sweep.prune}
    if 'identity' not in study.user_attrs:
        study.set_user_attr('identity', json.dumps(identity, sort_keys=True))
    # Older sweeps without a field had its default (see `config.read_config`).
    before = flat(default.get_config()) | json.loads(study.user_attrs['identity'])
    before = {name: value for name, value in before.items() if GONE.get(name, ...) != value}
    if differing := differences(before, identity):
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
        # SQLite lacks SELECT … FOR UPDATE, which Optuna needs to give a waiting trial to one worker
        # only. So every transaction locks the file from its beginning.
        @sqlalchemy.event.listens_for(storage.engine, 'connect')
        def no_implicit_begin(connection: Any, record: Any) -> None:
            del record
            connection.isolation_level = None

        @sqlalchemy.event.listens_for(storage.engine, 'begin')
        def begin_immediate(connection: Any) -> None:
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
        # Not seeded: all workers would draw the same.
        sampler=optuna.samplers.TPESampler(),
        pruner=pruner,
        direction='minimize' if sweep.metric == 'loss' else 'maximize',
        load_if_exists=True,
    )


@dataclasses.dataclass(frozen=True)
class Entry:
    """The state of a parameter set."""

    key: str  # of the set
    state: str  # 'complete', 'pruned', 'failed', 'running', 'waiting' or 'missing'
    trial: FrozenTrial | None  # the trial that counts, if any
    starts: int  # number of workers that began or continued it
    reason: str  # of a failure, else ''

    @property
    def finished(self) -> bool:
        return self.state in ('complete', 'pruned', 'failed')


def entries(study: optuna.Study, sweep: Sweep) -> list[Entry]:
    """The state of every parameter set, in the order of the sweep."""
    by_key: dict[str, list[FrozenTrial]] = {key: [] for key in sweep.sets}
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
    # The remaining trials failed (with a reason), were stopped, or were lost with their worker.
    last = trials[-1] if trials else None
    if last and 'reason' in last.user_attrs:
        return Entry(key, 'failed', last, starts, last.user_attrs['reason'])
    lost = [trial for trial in trials if not {'stopped', 'reason'} & trial.user_attrs.keys()]
    if len(lost) >= MAX_DEATHS:
        return Entry(key, 'failed', last, starts, f'its worker died {MAX_DEATHS} times')
    # One that was lost before its parameters were stored has none.
    last = max(trials, key=lambda trial: (len(trial.params), trial.number), default=None)
    return Entry(key, 'missing', last, starts, '')


def refill(study: optuna.Study, sweep: Sweep, retry_failed: bool = False) -> list[Entry]:
    """Queues every unfinished parameter set that has no living worker.

    Several processes may do this at once: `run_next` drops duplicates.
    """
    optuna.storages.fail_stale_trials(study)
    current = entries(study, sweep)
    for entry in current:
        if entry.state == 'missing' or (retry_failed and entry.state == 'failed'):
            # Keeps the parameters that TPE chose for a lost trial.
            params = entry.trial.params if entry.trial else {}
            study.enqueue_trial(params, user_attrs={'key': entry.key})
    return current


def give_back(study: optuna.Study, number: int) -> None:
    """Ends a running trial whose worker is dead; the next `refill` queues it again."""
    try:
        study.tell(number, state=TrialState.FAIL)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        pass  # It has ended meanwhile.


class _Failed(Exception):
    """The training cannot be completed; the reason is recorded in the trial."""


class _Superseded(Exception):
    """An older trial has the same key, or the sweep no longer has this key."""


def worker_name(pid: int) -> str:
    """The name under which a trial records the process that runs it."""
    return f'{socket.gethostname()}/{pid}'


def read_curve(directory: pathlib.Path, metric: str) -> dict[int, float]:
    """Scores of the selection split by step, from `metrics.jsonl`."""
    lines = map(json.loads, (directory / 'metrics.jsonl').read_text().splitlines())
    name = f'selection/{metric}'
    return {line['step']: line[name] for line in lines if line.get(name) is not None}


def run_next(study: optuna.Study, sweep: Sweep) -> None:
    """Runs the next queued trial in this process and records how it ended.

    Raises:
      launch.TrainingStopped: a signal asked to stop; the trial can be continued.
    """
    taken = []

    def objective(trial: optuna.Trial) -> float:
        taken.append(trial.number)
        return _run(trial, sweep)

    try:
        study.optimize(objective, n_trials=1, catch=(_Failed, _Superseded))
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        if not taken or not study.trials[taken[0]].state.is_finished():
            raise
        # After too long without a heartbeat, the trial was queued again. The new trial continues
        # from the checkpoints in the run directory.
        print('This worker was considered dead; another one has its trial.', file=sys.stderr)


def _run(trial: optuna.Trial, sweep: Sweep) -> float:
    key: Any = trial.user_attrs.get('key')
    if key not in sweep.sets or not _is_first(trial, key):
        trial.set_user_attr('superseded', True)
        raise _Superseded
    trial.set_user_attr('worker', worker_name(os.getpid()))
    overrides = sweep.sets[key]
    if overrides is None:
        try:
            overrides = suggest(trial, sweep.space)
        except ValueError as error:  # The choices of a field cannot change during a study.
            reason = f'{error} After a change of search(), choose another --workdir.'
            trial.set_user_attr('reason', reason)
            raise _Failed from error
    trial.set_user_attr('overrides', overrides)
    directory = sweep.directory(key)
    directory.mkdir(parents=True, exist_ok=True)
    _wait_until_free(directory)
    print(f'Trial {key}: {overrides}', flush=True)
    reported: set[int] = set()

    def report() -> dict[int, float]:
        """Reports all scores so far: a continued trial has scores from before."""
        curve = read_curve(directory, sweep.metric)
        for step in curve.keys() - reported:
            trial.report(curve[step], step)
            reported.add(step)
        if not curve:
            raise ValueError(
                f'No evaluation has a {sweep.metric}; see {directory}/metrics.jsonl. If no image '
                'of the selection split shows the class, choose another --metric, or a larger '
                'data.selection_fraction.'
            )
        return curve

    def on_evaluation() -> None:
        report()
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        train.train(with_overrides(sweep.base, overrides), directory, on_evaluation)
        curve = report()
    except launch.TrainingStopped:
        trial.set_user_attr('stopped', True)
        raise
    except optuna.exceptions.OptunaError:
        raise  # pruned, or the database is unreachable: the set has not failed
    except Exception as error:
        trial.set_user_attr('reason', f'{type(error).__name__}: {error}'[:1000])
        raise _Failed from error
    return (min if sweep.metric == 'loss' else max)(curve.values())


def _is_first(trial: optuna.Trial, key: str) -> bool:
    """Whether this is the oldest trial of its key that has not failed."""
    living = [
        other.number
        for other in trial.study.get_trials(deepcopy=False)
        if other.user_attrs.get('key') == key and other.state != TrialState.FAIL
    ]
    return trial.number == min(living)


def _wait_until_free(directory: pathlib.Path) -> None:
    """Waits until no other process trains there: a worker considered dead may still be alive."""
    while True:
        try:
            with workdir.claim(directory):
                return
        except ValueError:
            time.sleep(1)
