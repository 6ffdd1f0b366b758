"""The sweep of kill_anywhere.py: many tiny trials, of which each must be completed once."""

import collections
import contextlib
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable

import psutil
from harness import ROOT, check_ended, children, contents, kill, replaced, run, started
from tqdm import tqdm

from segmentation.campaign import overrides
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
"""


def sweep_command() -> list[str]:
    return [
        f'{ROOT}/scripts/sweep.py', '--config=tiny.py', '--workdir=sweep', '--json=sweep.json',
        '--workers=2', '--grace=30', '--retry_failed', *overrides(FIELDS | TRIAL_FIELDS),
    ]  # fmt: skip


def look_at_trials(folder: pathlib.Path, known: dict[str, dict]) -> dict[str, int]:
    """Counts the complete trials by key, and removes the checkpoints of those in `known`.

    The score and the contents of new ones are added to `known`, which must be saved before the next
    call. Before the sweep has a study, nothing is complete.
    """
    database, begun = folder / 'sweep/study.sqlite', None
    # Optuna would create missing tables, while the sweep is about to do the same.
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(f'file:{database}?mode=ro', uri=True)) as connection,
    ):
        begun = connection.execute('SELECT 1 FROM studies').fetchone()
    if not begun:
        return {}
    import optuna  # here, as it takes long to import

    study = optuna.load_study(study_name='sweep', storage=f'sqlite:///{database}')
    complete = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    for trial in complete:
        key = trial.user_attrs['key']
        run_dir = folder / 'sweep/trials' / key
        if key in known:
            shutil.rmtree(run_dir / 'checkpoints', ignore_errors=True)
        else:
            files = {
                name: content
                for name, content in contents(run_dir).items()
                if name == 'metrics.jsonl' or name.startswith('checkpoints/')
            }
            known[key] = {'score': trial.value, 'files': files}
    return dict(collections.Counter(trial.user_attrs['key'] for trial in complete))


def run_undisturbed(workdir: pathlib.Path, trials: int) -> dict:
    """Runs the first trials undisturbed; returns the state of the campaign so far."""
    folder, sample = replaced(workdir / 'sweep_undisturbed'), min(trials, max(5, trials // 10))
    write_text(folder / 'tiny.py', SWEEP.format(trials=sample))
    start, known = time.monotonic(), {}
    run('the undisturbed sweep', sweep_command(), folder)
    look_at_trials(folder, known)
    seconds = (time.monotonic() - start) / sample
    return {'trials': trials, 'seconds_per_trial': seconds, 'expected': known, 'known': {},
            'kills': []}  # fmt: skip


def run_killed(workdir: pathlib.Path, seed: int, sweep: dict, save: Callable[[], object]) -> None:
    """Runs the sweep and kills it, or one of its workers, about once in four trials."""
    folder = workdir / 'sweep_killed'
    folder.mkdir(exist_ok=True)
    write_text(folder / 'tiny.py', SWEEP.format(trials=sweep['trials']))
    progress = tqdm(total=sweep['trials'], desc='trials', unit='')
    while 'complete' not in sweep:
        with started(sweep_command(), folder) as process:
            while process.poll() is None:
                count = len(sweep['kills'])
                rng = random.Random(f'{seed} {count}')
                wait = rng.random() * 8 * sweep['seconds_per_trial']
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(wait if count < sweep['trials'] // 4 else None)
                look_at_trials(folder, sweep['known'])
                progress.update(len(sweep['known']) - progress.n)
                if process.poll() is None:
                    workers = [child for child in children(process.pid) if is_worker(child)]
                    whole = not workers or rng.random() < 0.5
                    if whole:
                        kill(process.pid)
                        process.wait()
                    else:
                        with contextlib.suppress(psutil.NoSuchProcess):
                            rng.choice(workers).kill()
                    sweep['kills'].append('whole' if whole else 'worker')
                save()
        if process.returncode != -signal.SIGKILL:
            check_ended('the sweep', process.returncode, folder)
            complete = look_at_trials(folder, sweep['known'])
            if len(complete) == sweep['trials'] or sweep.get('again'):
                sweep['complete'] = complete
            sweep['again'] = True
            save()


def is_worker(process: psutil.Process) -> bool:
    """Multiprocessing's resource tracker is a child too."""
    with contextlib.suppress(psutil.Error):
        return 'spawn_main' in ' '.join(process.cmdline())
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
