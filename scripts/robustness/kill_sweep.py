"""The sweep of kill_anywhere.py: many tiny trials, of which each must be completed once."""

import collections
import contextlib
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable

import optuna
from harness import ROOT, check_ended, children, contents, kill, log_of, started
from tqdm import tqdm

from segmentation.files import write_text

# A small network on a few small scenes.
FIELDS = {
    'data.data_dir': 'data',
    'data.scenes.train': 64,
    'data.scenes.val': 32,
    'data.image_size': 32,
    'model.width': 0.35,
    'train.batch_size': 8,
    'train.num_steps': 24,
    'train.eval_every': 6,
    'train.checkpoint_every': 2,
    'train.log_every': 1,
    'train.recalibrate_batches': 2,
    'train.num_pictures': 2,
    'eval_batch_size': 8,
}
TRIAL_FIELDS = {
    'train.num_steps': 4,
    'train.eval_every': 2,
    'train.checkpoint_every': 1,
    'train.recalibrate_batches': 1,
    'train.num_pictures': 0,
}
SWEEP = """from configs.planted import get_config  # noqa: F401

def sweep():
    yield from ({{'seed': seed}} for seed in range({trials}))

def sweep_sample():
    yield from ({{'seed': seed}} for seed in range({sample}))
"""
_WORKERS = 2
_GRACE = 30  # seconds without a heartbeat after which a worker counts as dead


def sweep_command(name: str) -> list[str]:
    fields = [f'--config.{field}={value}' for field, value in (FIELDS | TRIAL_FIELDS).items()]
    return [
        f'{ROOT}/scripts/sweep.py', '--config=tiny.py', f'--sweep={name}', '--workdir=sweep',
        f'--workers={_WORKERS}', f'--grace={_GRACE}', '--retry_failed', '--json=sweep.json',
        *fields,
    ]  # fmt: skip


def look_at_trials(folder: pathlib.Path, known: dict[str, dict]) -> dict[str, int]:
    """Records what complete trials produced, and removes checkpoints of those known before.

    Args:
      folder: working directory of the sweep.
      known: key → score and contents of the run directory; new trials are added. Must be saved
        before the next call, which removes their checkpoints.

    Returns:
      Key → number of trials that completed it.
    """
    database = folder / 'sweep/study.sqlite'
    begun = None
    # Optuna would create missing tables, while the sweep is about to do the same.
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(f'file:{database}?mode=ro', uri=True)) as connection,
    ):
        begun = connection.execute('SELECT 1 FROM studies').fetchone()
    if not begun:
        return {}
    study = optuna.load_study(study_name='sweep', storage=f'sqlite:///{database}')
    complete = collections.Counter()
    for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE]):
        key = trial.user_attrs['key']
        complete[key] += 1
        run = folder / 'sweep/trials' / key
        if key in known:
            shutil.rmtree(run / 'checkpoints', ignore_errors=True)
        else:
            files = contents(run)
            kept = [n for n in files if n == 'metrics.jsonl' or n.startswith('checkpoints/')]
            known[key] = {'score': trial.value, 'files': {name: files[name] for name in kept}}
    return dict(complete)


def begin(folder: pathlib.Path, trials: int) -> None:
    folder.mkdir(exist_ok=True)
    text = SWEEP.format(trials=trials, sample=sample_size(trials))
    write_text(folder / 'tiny.py', text)


def sample_size(trials: int) -> int:
    return min(trials, max(5, trials // 10))


def run_undisturbed(workdir: pathlib.Path, trials: int) -> dict:
    """Runs the first trials undisturbed; returns the state of the campaign so far."""
    folder = workdir / 'sweep_undisturbed'
    shutil.rmtree(folder, ignore_errors=True)
    begin(folder, trials)
    start, known = time.monotonic(), {}
    with started(sweep_command('sample'), folder) as process:
        check_ended('the undisturbed sweep', process.wait(), log_of(folder))
    look_at_trials(folder, known)
    return {
        'trials': trials,
        'seconds_per_trial': (time.monotonic() - start) / sample_size(trials),
        'expected': known,
        'known': {},
        'kills': [],
    }


def run_killed(workdir: pathlib.Path, seed: int, sweep: dict, save: Callable[[], object]) -> None:
    """Runs the sweep and kills it, or one of its workers, about once in four trials."""
    folder = workdir / 'sweep_killed'
    begin(folder, sweep['trials'])
    progress = tqdm(total=sweep['trials'], desc='trials', unit='')
    while 'complete' not in sweep:
        with started(sweep_command(''), folder) as process:
            while process.poll() is None:
                count = len(sweep['kills'])
                rng = random.Random(f'{seed} {count}')
                wait = rng.random() * 8 * sweep['seconds_per_trial']
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(wait if count < sweep['trials'] // 4 else None)
                look_at_trials(folder, sweep['known'])
                progress.update(len(sweep['known']) - progress.n)
                if process.poll() is None:
                    # Multiprocessing's resource tracker is a child too.
                    workers = [pid for pid in children(process.pid) if is_worker(pid)]
                    whole = not workers or rng.random() < 0.5
                    if whole:
                        kill(process.pid)
                        process.wait()
                    else:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(rng.choice(workers), signal.SIGKILL)
                    sweep['kills'].append('whole' if whole else 'worker')
                save()
        if process.returncode != -signal.SIGKILL:
            check_ended('the sweep', process.returncode, log_of(folder))
            complete = look_at_trials(folder, sweep['known'])
            if len(complete) == sweep['trials'] or sweep.get('again'):
                sweep['complete'] = complete
            sweep['again'] = True
            save()


def is_worker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b'spawn_main' in pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
    return False


def summarize(sweep: dict) -> dict:
    """What is reported; `lost`, `doubled` and `differing` are 0 or empty if all is well."""
    complete, known = sweep['complete'], sweep['known']
    return {
        'trials': sweep['trials'],
        'complete': len(complete),
        'lost': sweep['trials'] - len(complete),
        'doubled': sorted(key for key, count in complete.items() if count > 1),
        'kills': {what: sweep['kills'].count(what) for what in ('whole', 'worker')},
        'compared': len(sweep['expected']),
        'differing': sorted(k for k, v in sweep['expected'].items() if v != known.get(k)),
    }


def is_fine(sweep: dict) -> bool:
    return not (sweep['lost'] or sweep['doubled'] or sweep['differing'])


def to_markdown(sweep: dict) -> str:
    return (
        f'Sweep: {sweep["complete"]} of {sweep["trials"]} trials complete, {sweep["lost"]} lost, '
        f'{len(sweep["doubled"])} doubled; {sweep["kills"]["whole"]} kills of the whole, '
        f'{sweep["kills"]["worker"]} of one worker; {sweep["compared"]} trials compared, '
        f'{len(sweep["differing"])} differ.'
    )
