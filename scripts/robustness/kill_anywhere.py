"""Kills the commands of this project at random moments and checks that their results do not change.

    python scripts/robustness/kill_anywhere.py --workdir runs/kill_anywhere --json kill.json

First a chain of commands (data, training, analysis, report) runs undisturbed. Then the chain runs
again, and SIGKILL ends its commands at random moments. A killed command is started again until it
ends. Then every file must have the same contents as in the undisturbed chain. Last, a sweep of
many tiny trials runs on two workers. The whole sweep or one worker is killed at random moments, and
each parameter set must still be completed once. README.md describes how the moments are chosen.

The same command continues. The exit status is 1 if anything differs. Writes report.md and
report.json into WORKDIR. Linux only.
"""

import argparse
import contextlib
import json
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import kill_sweep
from harness import (
    ROOT,
    check_ended,
    contents,
    differences,
    make_parser,
    replaced,
    run,
    run_campaign,
    started,
    train_command,
)
from kill_sweep import FIELDS
from tqdm import tqdm

from analysis.registry import STAGES
from segmentation import markdown
from segmentation.files import write_json, write_text


def chain() -> dict[str, list[str]]:
    """Commands by name, as arguments of Python; paths are relative to the working directory."""
    scenes = [f'{split}={FIELDS[f"data.scenes.{split}"]}' for split in ('train', 'val')]
    return {
        'prepare': [
            f'{ROOT}/scripts/prepare_coco.py', '--source=scenes', '--data_dir=data',
            '--json=prepare.json', '--scenes', *scenes, 'seed=0', 'planted=1', 'error_rate=0.02',
        ],
        'train': [*train_command('planted', 'run', FIELDS), '--json=train.json'],
        'analysis': [
            f'{ROOT}/scripts/analyze.py', '--workdir=run', '--json=analysis.json',
            f'--stages={",".join(STAGES)}',
        ],
        'report': ['-m', 'analysis.report', '--workdir=run', '--json=report.json'],
    }  # fmt: skip


def unfinished(folder: pathlib.Path) -> set[tuple[str, int]]:
    """Checkpoints (name, inode) that are being written, or whose writing was interrupted."""
    found = set()
    for path in (folder / 'run' / 'checkpoints').glob('*.orbax-checkpoint-tmp*'):
        with contextlib.suppress(FileNotFoundError):
            found.add((path.name, path.stat().st_ino))
    return found


def run_undisturbed(workdir: pathlib.Path) -> dict:
    """Runs the chain; returns the `seconds` of each command and the contents `expected` then."""
    folder = replaced(workdir / 'undisturbed')
    seconds, expected = {}, {}
    for name, command in tqdm(chain().items(), desc='undisturbed', unit='command'):
        start = time.monotonic()
        run(name, command, folder)
        seconds[name], expected[name] = time.monotonic() - start, contents(folder)
    return {'seconds': seconds, 'expected': expected}


def draw_moments(seconds: dict[str, float], count: int, seed: int) -> dict[str, list[float]]:
    """Draws the moments of kills, as fractions of a command's duration.

    A tenth of them is within each command, the others are uniform over the whole chain.
    """
    rng, least = random.Random(seed), count // 10
    others = rng.choices([*seconds], [*seconds.values()], k=count - least * len(seconds))
    return {name: [rng.random() for _ in range(least + others.count(name))] for name in seconds}


def attempt(
    command: list[str], folder: pathlib.Path, moment: float | None, in_checkpoint: bool
) -> tuple[int, bool]:
    """Starts a command, and kills it after `moment` seconds unless that is None or it ended before.

    If `in_checkpoint`, it is killed only when a checkpoint is being written. Returns its exit
    status (-9 if it was killed), and whether a checkpoint was being written then.
    """
    before = unfinished(folder)
    with started(command, folder) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        while in_checkpoint and process.poll() is None and not unfinished(folder) - before:
            time.sleep(0.002)
    return process.returncode, bool(unfinished(folder) - before)


def kill_chain(workdir: pathlib.Path, state: dict, save: Callable[[], object]) -> None:
    """Runs each command with kills, from the state before it, until no moment is left."""
    folder, before = workdir / 'killed', workdir / 'before'
    total = sum(map(len, state['moments'].values()))
    progress = tqdm(total=total + len(state['kills']), initial=len(state['kills']), desc='kills')
    folder.mkdir(exist_ok=True)
    for name, command in chain().items():
        moments, seconds = state['moments'][name], state['seconds'][name]
        ended = state['ended'].setdefault(name, [])
        if (moments or not ended) and state['before'] != name:
            replaced(before, folder)
            state['before'] = name
            save()
        while moments or not ended:
            replaced(folder, before)
            kills, began = [], time.monotonic()
            while True:
                moment = moments[-1] * seconds if moments else None
                aimed = name == 'train' and len(moments) % 3 == 0
                status, in_checkpoint = attempt(command, folder, moment, aimed)
                if status != -signal.SIGKILL:
                    break
                moments.pop()
                kills.append({'command': name, 'after': moment, 'in_checkpoint': in_checkpoint})
                progress.update()
            check_ended(name, status, folder)
            if not kills:  # With a full compilation cache it is faster than the undisturbed run.
                seconds = min(seconds, time.monotonic() - began)
            ended.append(differences(state['expected'][name], contents(folder)))
            state['kills'] += kills
            save()  # Only now: a campaign that is stopped before repeats these kills.


def summarize(state: dict) -> dict:
    """What is reported; `differences` and similar entries are empty if all is well."""
    result: dict = {'commands': {}}
    for name, ended in state['ended'].items():
        kills = [kill for kill in state['kills'] if kill['command'] == name]
        result['commands'][name] = {
            'seconds': state['seconds'][name],
            'kills': len(kills),
            'in_checkpoint': sum(kill['in_checkpoint'] for kill in kills),
            'ended': len(ended),
            'files': len(state['expected'][name]),
            'differences': sorted({line for found in ended for line in found}),
        }
    if 'sweep' in state:
        result['sweep'] = kill_sweep.summarize(state['sweep'])
    return result


def is_fine(result: dict) -> bool:
    differ = any(row['differences'] for row in result['commands'].values())
    return not differ and ('sweep' not in result or kill_sweep.is_fine(result['sweep']))


def to_markdown(result: dict) -> str:
    header = (
        'command', 'seconds', 'kills', 'in a checkpoint', 'completed', 'files compared',
        'differences',
    )  # fmt: skip
    rows = [
        (name, f'{row["seconds"]:.0f}', str(row['kills']), str(row['in_checkpoint']),
         str(row['ended']), str(row['files']), str(len(row['differences'])))
        for name, row in result['commands'].items()
    ]  # fmt: skip
    parts = [markdown.table(header, rows)]
    for name, row in result['commands'].items():
        parts += [f'- {name}: {markdown.escape(line)}' for line in row['differences'][:20]]
    if 'sweep' in result:
        parts.append(kill_sweep.to_markdown(result['sweep']))
    return '\n\n'.join(parts)


def campaign(workdir: pathlib.Path, kills: int, trials: int, seed: int) -> dict:
    """Runs all of it, or the rest.

    Raises:
      ValueError: `workdir` belongs to a campaign with other numbers, or a command failed.
    """
    numbers, path = {'number': kills, 'trials': trials, 'seed': seed}, workdir / 'state.json'
    state = json.loads(path.read_text()) if path.exists() else dict(numbers)
    if not numbers.items() <= state.items():
        raise ValueError(
            f'{workdir} holds a campaign with other numbers: choose another --workdir.'
        )

    def save() -> None:
        write_text(path, json.dumps(state) + '\n')

    if 'moments' not in state:
        state |= run_undisturbed(workdir)
        moments = draw_moments(state['seconds'], kills, seed)
        state.update(moments=moments, kills=[], ended={}, before=None)
        save()
    kill_chain(workdir, state, save)
    if trials:
        if 'sweep' not in state:
            state['sweep'] = kill_sweep.run_undisturbed(workdir, trials)
            save()
        kill_sweep.run_killed(workdir, seed, state['sweep'], save)
    result = summarize(state)
    write_json(workdir / 'report.json', result)
    write_text(workdir / 'report.md', to_markdown(result) + '\n')
    return result


def main(argv: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('--kills', type=int, default=50, help='number of kills in the chain')
    add('--trials_of_sweep', type=int, default=200, help='number of trials; 0 for no sweep')

    def work(arguments: argparse.Namespace) -> dict:
        return campaign(
            arguments.workdir, arguments.kills, arguments.trials_of_sweep, arguments.seed
        )

    return run_campaign(parser.parse_args(argv), work, to_markdown, is_fine)


if __name__ == '__main__':
    sys.exit(main())
