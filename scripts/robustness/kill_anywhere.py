"""Kills the commands of this project at random moments, and says whether anything changes.

    python scripts/robustness/kill_anywhere.py --workdir runs/kill_anywhere --json kill.json

A chain of commands (data, training, analysis, report) is run undisturbed, and then again with
SIGKILL at random moments: a tenth of them within each command, the others uniform over the time
that the chain took. A command that was killed is started again in the same way until it ends. Every
third moment of the training waits for a checkpoint to be written. A command that ends before its
moments are used up is done again from what was there before it. Whenever one ends, every file must
have the same content as in the undisturbed chain. Left out are:

    checkpoints   their files hold times; compared are the arrays (weights, optimiser, statistics),
                  the state of the data, the score, and which steps are kept
    tensorboard/  times; the numbers are those of metrics.jsonl
    seconds, images per second, share of time waiting and peak memory in JSON files
    when what a report shows was made
    the path of the folder in which the chain runs

Then a sweep of many tiny trials on two workers, of which the whole or one worker is killed at
random moments: each parameter set must be completed once. The trials of the first sets (a tenth of
them, at least five) are compared with those of an undisturbed sweep; checkpoints of trials are
removed once they have been looked at. (A set is given up when its worker has died five times; the
sweep is started with --retry_failed, and once more if a set has been given up.)

Everything is below WORKDIR, report.md and report.json too. Started again with the same numbers, it
goes on where it was. The exit status is 1 if anything differs. Linux only.
"""

import argparse
import collections
import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator

import jax
import optuna
from tqdm import tqdm

from scripts.analyze import STAGES
from segmentation import checkpoint, cpu_runtime, markdown
from segmentation.files import write_text

ROOT = pathlib.Path(__file__).resolve().parents[2]
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
# Keys of JSON files that tell how long something took, or how much memory.
_TIMES = {
    'train/images_per_second', 'train/waiting_for_data', 'images_per_second', 'seconds', 'peak_mb',
}  # fmt: skip
_WORKERS = 2
_GRACE = 30  # seconds after which a worker that gives no sign of life counts as dead


def chain() -> dict[str, list[str]]:
    """Commands by name, as arguments of Python; paths are relative to the folder they run in."""
    fields = [f'--config.{name}={value}' for name, value in FIELDS.items()]
    scenes = [f'{split}={FIELDS[f"data.scenes.{split}"]}' for split in ('train', 'val')]
    return {
        'prepare': [
            f'{ROOT}/scripts/prepare_coco.py', '--source=scenes', '--data_dir=data',
            '--json=prepare.json', '--scenes', *scenes, 'seed=0', 'planted=1', 'error_rate=0.02',
        ],
        'train': [
            f'{ROOT}/scripts/train.py', f'--config={ROOT}/configs/planted.py', '--workdir=run',
            '--json=train.json', *fields,
        ],
        'analysis': [
            f'{ROOT}/scripts/analyze.py', '--workdir=run', '--json=analysis.json',
            f'--stages={",".join(stage for stage in STAGES if stage != "report")}',
        ],
        'report': ['-m', 'analysis.report', '--workdir=run', '--json=report.json'],
    }  # fmt: skip


# What is compared.


def contents(folder: pathlib.Path) -> dict[str, str]:
    """Hashes of what is in a folder, by path, without what is named in the module's docstring."""
    found = {}
    for path in sorted(folder.rglob('*')):
        name = path.relative_to(folder)
        if 'tensorboard' in name.parts or 'checkpoints' in name.parts[:-2]:
            continue
        if path.parent.name == 'checkpoints':
            # An unfinished one, left over, has no step.
            data = b''
            if path.name.isdecimal():
                try:
                    data = _checkpoint(path)
                except Exception as error:  # What orbax raises on damage is not documented.
                    data = f'unreadable: {error!r}'.encode()
        elif path.is_file():
            data = path.read_bytes().replace(os.fsencode(folder), b'')
            if path.suffix in ('.json', '.jsonl') and any(key.encode() in data for key in _TIMES):
                lines = data.splitlines() if path.suffix == '.jsonl' else [data]
                data = json.dumps([_timeless(json.loads(line)) for line in lines]).encode()
            if path.suffix in ('.json', '.js'):
                data = re.sub(rb'"created": ?"[^"]*"', b'', data)
        else:
            continue
        found[str(name)] = hashlib.sha256(data).hexdigest()
    return found


def _checkpoint(path: pathlib.Path) -> bytes:
    """The arrays of a checkpoint, the state of its data, and its score if it has one."""
    with checkpoint.open_manager(path.parents[1], read_only=True) as manager:
        arrays = checkpoint.restore_arrays(manager, int(path.name))
    parts = [path / 'data/metadata', path / 'metrics/metrics']
    parts = [part.read_bytes() for part in parts if part.exists()]
    for name, array in jax.tree_util.tree_leaves_with_path(arrays):
        parts.append(f'{name} {array.dtype} {array.shape}'.encode() + array.tobytes())
    return b'\n'.join(parts)


def _timeless(value):
    if isinstance(value, dict):
        return {key: _timeless(entry) for key, entry in value.items() if key not in _TIMES}
    return [_timeless(entry) for entry in value] if isinstance(value, list) else value


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    return [
        f'{name} {what}'
        for what, names in (
            ('is missing', expected.keys() - found.keys()),
            ('is left over', found.keys() - expected.keys()),
            ('differs', {n for n in expected.keys() & found.keys() if expected[n] != found[n]}),
        )
        for name in sorted(names)
    ]


# Processes.


@contextlib.contextmanager
def started(command: list[str], folder: pathlib.Path) -> Iterator[subprocess.Popen]:
    """A command in a process group of its own; nothing is left of the group afterwards."""
    environment = {
        **os.environ,
        'PYTHONPATH': str(ROOT),
        # Killed processes leave their mark here too.
        'JAX_COMPILATION_CACHE_DIR': str(folder.parent / 'compiled'),
    }
    with (folder.parent / f'{folder.name}.log').open('a') as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder, env=environment, stdout=log, stderr=log, process_group=0,
        )  # fmt: skip
        try:
            yield process
        finally:
            kill(process.pid)
            process.wait()


def kill(group: int) -> None:
    """SIGKILL for a process group and for children outside of it, such as workers of a sweep."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGSTOP)  # so that no more come
        for child in children(group):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        os.killpg(group, signal.SIGKILL)


def children(pid: int) -> list[int]:
    found = []
    for path in pathlib.Path(f'/proc/{pid}/task').glob('*/children'):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def unfinished(folder: pathlib.Path) -> set[tuple]:
    """Checkpoints that are being written, or of which the writing was interrupted."""
    found = set()
    for path in (folder / 'run' / 'checkpoints').glob('*.orbax-checkpoint-tmp*'):
        with contextlib.suppress(FileNotFoundError):
            found.add((path.name, path.stat().st_ino))
    return found


def check_ended(name: str, status: int, folder: pathlib.Path) -> None:
    if status:
        log = folder.parent / f'{folder.name}.log'
        raise ValueError(f'{name} ended with status {status}; see the end of {log}.')


# The chain.


def run_undisturbed(workdir: pathlib.Path, state: dict) -> None:
    """Runs the chain, and keeps how long each command took and what was there after it."""
    folder = workdir / 'undisturbed'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    seconds, expected = {}, {}
    for name, command in tqdm(chain().items(), desc='undisturbed', unit='command'):
        start = time.monotonic()
        with started(command, folder) as process:
            check_ended(name, process.wait(), folder)
        seconds[name] = time.monotonic() - start
        expected[name] = contents(folder)
    state.update(seconds=seconds, expected=expected)


def draw_moments(seconds: dict[str, float], count: int, seed: int) -> dict[str, list]:
    """Moments of kills, as shares of a command's time: a tenth of them in each command, the others
    uniform over the whole chain.
    """
    rng, least = random.Random(seed), count // 10
    moments = {name: [rng.random() for _ in range(least)] for name in seconds}
    for _ in range(count - least * len(seconds)):
        place = rng.random() * sum(seconds.values())
        for name, length in seconds.items():
            if place < length:
                moments[name].append(place / length)
                break
            place -= length
    return moments


def attempt(
    command: list[str], folder: pathlib.Path, moment: float | None, in_checkpoint: bool
) -> tuple[int, bool]:
    """Starts a command and kills it, unless it ends before.

    Args:
      command: arguments of Python.
      folder: where it runs.
      moment: seconds after which it is killed; None for never.
      in_checkpoint: then wait until a checkpoint is being written.

    Returns:
      Its exit status (-9 if it was killed), and whether a checkpoint was being written then.
    """
    before = unfinished(folder)
    with started(command, folder) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        while in_checkpoint and process.poll() is None and not unfinished(folder) - before:
            time.sleep(0.002)
    return process.returncode, bool(unfinished(folder) - before)


def kill_chain(workdir: pathlib.Path, state: dict, save) -> None:
    """Runs the chain again and kills it, until all moments are used up and it has ended."""
    folder, before = workdir / 'killed', workdir / 'before'
    total = sum(map(len, state['moments'].values()))
    progress = tqdm(total=total, initial=len(state['kills']), desc='kills', unit='')
    for name, command in chain().items():
        moments, seconds = state['moments'][name], state['seconds'][name]
        if name in state['done']:
            continue
        if state['before'] != name:
            shutil.rmtree(before, ignore_errors=True)
            folder.mkdir(exist_ok=True)
            shutil.copytree(folder, before)
            state.update(before=name, fresh=False, open=True)
            save()
        begins = True
        while moments or state['open']:
            if state['fresh']:
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(before, folder)
                state.update(fresh=False, open=True)
                begins = True
                save()
            moment = moments[-1] * seconds if moments else None
            aimed = name == 'train' and len(moments) % 3 == 0
            began = time.monotonic()
            status, in_checkpoint = attempt(command, folder, moment, aimed)
            if status == -signal.SIGKILL:
                moments.pop()
                state['kills'].append(
                    {'command': name, 'after': moment, 'in_checkpoint': in_checkpoint}
                )
                progress.update()
            else:
                check_ended(name, status, folder)
                found = differences(state['expected'][name], contents(folder))
                state['ended'].setdefault(name, []).append(found)
                if begins:  # Programs are compiled by now: it is too quick for its moments.
                    seconds = min(seconds, time.monotonic() - began)
                state.update(fresh=bool(moments), open=False)
            begins = False
            save()
        state['done'].append(name)
        save()


# The sweep.


def sweep_command(name: str) -> list[str]:
    fields = [f'--config.{field}={value}' for field, value in (FIELDS | TRIAL_FIELDS).items()]
    return [
        f'{ROOT}/scripts/sweep.py', '--config=tiny.py', f'--sweep={name}', '--workdir=sweep',
        f'--workers={_WORKERS}', f'--grace={_GRACE}', '--retry_failed', '--json=sweep.json',
        *fields,
    ]  # fmt: skip


def look_at_trials(folder: pathlib.Path, known: dict[str, dict]) -> dict[str, int]:
    """Keeps what complete trials have come to, and removes checkpoints of those known before.

    Args:
      folder: of a sweep.
      known: key → score and content of the run directory; is added to, and has to be saved before
        the next call.

    Returns:
      Key → how many trials completed it.
    """
    database = folder / 'sweep/study.sqlite'
    begun = None
    # Optuna would make what is lacking itself, in the way of a sweep that is about to.
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
        if key not in known:
            files = {
                name: content
                for name, content in contents(run).items()
                if name == 'metrics.jsonl' or name.startswith('checkpoints/')
            }
            known[key] = {'score': trial.value, 'files': files}
        else:
            shutil.rmtree(run / 'checkpoints', ignore_errors=True)
    return dict(complete)


def begin_sweep(folder: pathlib.Path, trials: int) -> None:
    folder.mkdir(exist_ok=True)
    text = SWEEP.format(trials=trials, sample=sample_size(trials))
    write_text(folder / 'tiny.py', text)


def sample_size(trials: int) -> int:
    return min(trials, max(5, trials // 10))


def sweep_undisturbed(workdir: pathlib.Path, trials: int, state: dict) -> None:
    folder = workdir / 'sweep_undisturbed'
    shutil.rmtree(folder, ignore_errors=True)
    begin_sweep(folder, trials)
    start, known = time.monotonic(), {}
    with started(sweep_command('sample'), folder) as process:
        check_ended('the undisturbed sweep', process.wait(), folder)
    look_at_trials(folder, known)
    state['sweep'] = {
        'trials': trials,
        'seconds_per_trial': (time.monotonic() - start) / sample_size(trials),
        'expected': known,
        'known': {},
        'kills': [],
    }


def kill_sweep(workdir: pathlib.Path, seed: int, state: dict, save) -> None:
    """Runs the sweep and kills it, or one of its workers, once in about four trials."""
    folder, sweep = workdir / 'sweep_killed', state['sweep']
    begin_sweep(folder, sweep['trials'])
    progress = tqdm(total=sweep['trials'], desc='trials', unit='')
    while 'complete' not in sweep:
        with started(sweep_command(''), folder) as process:
            while process.poll() is None:
                count = len(sweep['kills'])
                rng = random.Random(f'{seed} {count}')
                wait = rng.random() * 8 * sweep['seconds_per_trial']
                if count >= sweep['trials'] // 4:
                    wait = None
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(wait)
                look_at_trials(folder, sweep['known'])
                progress.update(len(sweep['known']) - progress.n)
                if process.poll() is None:
                    # Multiprocessing has a process of its own among them.
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
            check_ended('the sweep', process.returncode, folder)
            complete = look_at_trials(folder, sweep['known'])
            if len(complete) == sweep['trials'] or sweep.get('again'):
                sweep['complete'] = complete
            sweep['again'] = True
            save()


def is_worker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b'spawn_main' in pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
    return False


# The report.


def summarize(state: dict) -> dict:
    """What is reported; `differences` and the like are empty if all is well."""
    commands = {}
    for name, ended in state['ended'].items():
        kills = [kill for kill in state['kills'] if kill['command'] == name]
        commands[name] = {
            'seconds': state['seconds'][name],
            'kills': len(kills),
            'in_checkpoint': sum(kill['in_checkpoint'] for kill in kills),
            'ended': len(ended),
            'files': len(state['expected'][name]),
            'differences': sorted({line for found in ended for line in found}),
        }
    result = {'commands': commands}
    if sweep := state.get('sweep'):
        complete, known = sweep['complete'], sweep['known']
        result['sweep'] = {
            'trials': sweep['trials'],
            'complete': len(complete),
            'lost': sweep['trials'] - len(complete),
            'doubled': sorted(key for key, count in complete.items() if count > 1),
            'kills': {what: sweep['kills'].count(what) for what in ('whole', 'worker')},
            'compared': len(sweep['expected']),
            'differing': sorted(k for k, v in sweep['expected'].items() if v != known.get(k)),
        }
    return result


def is_fine(result: dict) -> bool:
    sweep = result.get('sweep', {'lost': 0, 'doubled': [], 'differing': []})
    return not any(row['differences'] for row in result['commands'].values()) and not (
        sweep['lost'] or sweep['doubled'] or sweep['differing']
    )


def to_markdown(result: dict) -> str:
    header = (
        'command', 'seconds', 'kills', 'in a checkpoint', 'brought to its end', 'files compared',
        'differences',
    )  # fmt: skip
    keys = ('kills', 'in_checkpoint', 'ended', 'files')
    rows = [
        (name, f'{row["seconds"]:.0f}', *(str(row[key]) for key in keys),
         str(len(row['differences'])))
        for name, row in result['commands'].items()
    ]  # fmt: skip
    parts = [markdown.table(header, rows)]
    for name, row in result['commands'].items():
        parts += [f'- {name}: {markdown.escape(line)}' for line in row['differences'][:20]]
    if sweep := result.get('sweep'):
        parts.append(
            f'Sweep: {sweep["complete"]} of {sweep["trials"]} trials complete, {sweep["lost"]} '
            f'lost, {len(sweep["doubled"])} doubled; {sweep["kills"]["whole"]} kills of the whole, '
            f'{sweep["kills"]["worker"]} of one worker; {sweep["compared"]} trials compared, '
            f'{len(sweep["differing"])} differ.'
        )
    return '\n\n'.join(parts)


def campaign(workdir: pathlib.Path, kills: int, trials: int, seed: int) -> dict:
    """Does all of it, or the rest.

    Raises:
      ValueError: `workdir` is of other numbers; or a command fails, which says where to look.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    numbers, path = {'number': kills, 'trials': trials, 'seed': seed}, workdir / 'state.json'
    state = json.loads(path.read_text()) if path.exists() else dict(numbers)
    if numbers != {key: state[key] for key in numbers}:
        raise ValueError(f'{workdir} holds a campaign of other numbers: choose another --workdir.')

    def save():
        write_text(path, json.dumps(state) + '\n')

    if 'moments' not in state:
        run_undisturbed(workdir, state)
        moments = draw_moments(state['seconds'], kills, seed)
        state.update(moments=moments, kills=[], ended={}, done=[], before=None)
        save()
    kill_chain(workdir, state, save)
    if trials:
        if 'sweep' not in state:
            sweep_undisturbed(workdir, trials, state)
            save()
        kill_sweep(workdir, seed, state, save)
    result = summarize(state)
    write_text(workdir / 'report.json', json.dumps(result, indent=2) + '\n')
    write_text(workdir / 'report.md', to_markdown(result) + '\n')
    return result


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--workdir', required=True, type=pathlib.Path, help='where it is done')
    parser.add_argument('--kills', type=int, default=50, help='of the chain; default: %(default)s')
    parser.add_argument(
        '--trials_of_sweep', type=int, default=200, help='0 for no sweep; default: %(default)s'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the moments; default: %(default)s')
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    arguments = parser.parse_args(argv)
    try:
        result = campaign(
            arguments.workdir.resolve(),
            arguments.kills,
            arguments.trials_of_sweep,
            arguments.seed,
        )
        if arguments.json:
            arguments.json.write_text(json.dumps(result, indent=2) + '\n')
    except (ValueError, OSError) as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        return 1
    print(to_markdown(result))
    return 0 if is_fine(result) else 1


if __name__ == '__main__':
    cpu_runtime.configure()
    sys.exit(main())
