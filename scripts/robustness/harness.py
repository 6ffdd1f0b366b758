"""Shared by the robustness campaigns: start and kill processes, compare files, end a command."""

import argparse
import contextlib
import hashlib
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator

import psutil

from analysis.stage.command import run_command
from segmentation import campaign, launch

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Entries of JSON files that hold a time or an amount of memory.
_VARYING = re.compile(
    rb'"(created|train/images_per_second|train/waiting_for_data|images_per_second|seconds'
    rb'|processor_seconds|peak_mb)": ?("[^"]*"|[^,}\]\s]+)'
)


# Commands.


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser with --workdir, --json and --seed."""
    parser = launch.make_parser(description)
    parser.add_argument('--seed', type=int, default=0, help='seed of the random choices')
    return parser


def run_campaign(
    arguments: argparse.Namespace,
    work: Callable[[argparse.Namespace], dict],
    to_markdown: Callable[[dict], str],
    is_fine: Callable[[dict], bool],
) -> int:
    """Runs `work` in an existing --workdir, prints its result and writes it as JSON.

    Returns 1 if the result is not fine, for invalid arguments and for unwritable files, else 0.
    """
    result = {}

    def show(arguments: argparse.Namespace) -> dict:
        arguments.workdir = arguments.workdir.resolve()
        arguments.workdir.mkdir(parents=True, exist_ok=True)
        result.update(work(arguments))
        print(to_markdown(result))
        return result

    return run_command(arguments, show) or int(not is_fine(result))


# Processes.


def train_command(config: str, workdir: pathlib.Path | str, fields: dict[str, object]) -> list[str]:
    """Arguments of Python that train with a config of configs/ and other values of some fields."""
    command = [f'{ROOT}/scripts/train.py', f'--config={ROOT}/configs/{config}.py']
    return [*command, f'--workdir={workdir}', *campaign.overrides(fields)]


@contextlib.contextmanager
def started(command: list[str], folder: pathlib.Path) -> Iterator[subprocess.Popen[bytes]]:
    """Runs Python in a folder and a process group of its own; kills it and its workers at the end.

    The output is appended to a log beside the folder, see `log_of`.
    """
    # A cache of its own: killed processes may damage the compilation cache.
    cache = {'JAX_COMPILATION_CACHE_DIR': str(folder.parent / 'compiled')}
    with log_of(folder).open('a') as output:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=output, stderr=output, cwd=folder,
            env=os.environ | cache, process_group=0,
        )  # fmt: skip
        try:
            yield process
        finally:
            kill(process.pid)
            process.wait()


def log_of(folder: pathlib.Path) -> pathlib.Path:
    return folder.parent / f'{folder.name}.log'


def run(name: str, command: list[str], folder: pathlib.Path) -> None:
    """Runs a command to its end, see `started` and `check_ended`."""
    with started(command, folder) as process:
        check_ended(name, process.wait(), folder)


def check_ended(name: str, status: int, folder: pathlib.Path) -> None:
    """Raises ValueError if a command failed."""
    if status:
        raise ValueError(f'{name} ended with status {status}; see the end of {log_of(folder)}.')


def kill(group: int) -> None:
    """Sends SIGKILL to a process group and to children outside it, such as workers of a sweep."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGSTOP)  # so that it starts no more children
        for child in children(group):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        os.killpg(group, signal.SIGKILL)


def children(pid: int, recursive: bool = False) -> list[psutil.Process]:
    """The children of a process, or all its descendants; none if it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive)
    return []


# Files.


def damage_bytes(data: bytes, rng: random.Random, text: bytes = b'') -> bytes:
    """Cuts, overwrites, removes or repeats parts of a file, more often near its beginning.

    Inserts characters of `text` too, if there are any.
    """
    if rng.random() < 0.3:
        data = data[: rng.randrange(len(data))]
    for _ in range(rng.choice((0, 1, 1, 2, 8)) if data else 0):
        place = rng.randrange(rng.choice((len(data) + 1, min(len(data), 120) + 1)))
        extreme = rng.choice((bytes(4), b'\xff' * 4, b'\x7f' + b'\xff' * 3))
        character = bytes([rng.choice(text or range(256))])
        new, removed = rng.choice(
            (
                (bytes([rng.randrange(256)]), 1),
                (character, rng.randrange(2)),
                (extreme, 4),
                (b'', rng.randrange(1, 30)),
                (data[place : place + rng.randrange(1, 200)], 0),
            )
        )
        data = data[:place] + new + data[place + removed :]
    return data


# Contents.


def contents(folder: pathlib.Path) -> dict[str, str]:
    """Hashes of the contents of a folder, by path, without what differs between equal runs.

    Left out are `tensorboard/`, times and memory in JSON files, the time when a report was made,
    and the path of the folder. Of a checkpoint the arrays, the data state and the score count.
    """
    found = {}
    for path in sorted(folder.rglob('*')):
        name = path.relative_to(folder)
        if 'tensorboard' in name.parts or 'checkpoints' in name.parts[:-2]:
            continue
        if path.parent.name == 'checkpoints':
            data = _checkpoint(path)
        elif path.is_file():
            data = path.read_bytes().replace(os.fsencode(folder), b'')
            if path.suffix in ('.json', '.jsonl', '.js'):
                data = _VARYING.sub(b'', data)
        else:
            continue
        found[str(name)] = hashlib.sha256(data).hexdigest()
    return found


def _checkpoint(path: pathlib.Path) -> bytes:
    """The arrays of a checkpoint, its data state and its score if it has one."""
    import jax  # here, as it takes long to import

    from segmentation import checkpoint

    if not path.name.isdecimal():
        return b''  # The name of an unfinished one is not a step.
    try:
        with checkpoint.open_manager(path.parents[1], read_only=True) as manager:
            arrays = checkpoint.restore_arrays(manager, int(path.name))
        files = [path / 'data/metadata', path / 'metrics/metrics']
        parts = [file.read_bytes() for file in files if file.exists()]
    except Exception as error:  # What orbax raises on damage is not documented.
        # Never equal to another: two runs must not pass because neither can be read.
        return f'unreadable: {error!r} {uuid.uuid4()}'.encode()
    for name, array in jax.tree_util.tree_leaves_with_path(arrays):
        parts.append(f'{name} {array.dtype} {array.shape}'.encode() + array.tobytes())
    return b'\n'.join(parts)


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Compares two results of `contents`; returns a line for each file that differs."""
    lines = [f'{name} is missing' for name in expected.keys() - found.keys()]
    lines += [f'{name} is left over' for name in found.keys() - expected.keys()]
    both = expected.keys() & found.keys()
    return sorted(lines + [f'{name} differs' for name in both if expected[name] != found[name]])


def replaced(folder: pathlib.Path, by: pathlib.Path | None = None) -> pathlib.Path:
    """Empties a folder, or makes it a copy of another one; returns it."""
    shutil.rmtree(folder, ignore_errors=True)
    if by is None:
        folder.mkdir(parents=True)
    else:
        shutil.copytree(by, folder)
    return folder
