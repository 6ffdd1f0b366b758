"""What the robustness campaigns share: processes to kill, contents to compare, ends of commands."""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import jax

from analysis.stage.command import run_command
from segmentation import campaign, checkpoint

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Keys of JSON files that hold a time or an amount of memory.
_VARYING = {
    'train/images_per_second', 'train/waiting_for_data', 'images_per_second', 'seconds',
    'processor_seconds', 'peak_mb',
}  # fmt: skip


# Commands.


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser with --workdir, --json and --seed."""
    parser = campaign.make_parser(description)
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    return parser


def run_campaign(
    arguments: argparse.Namespace,
    work: Callable[[argparse.Namespace], dict],
    to_markdown: Callable[[dict], str],
    is_fine: Callable[[dict], bool],
) -> int:
    """Runs `work`, prints its result and writes it as JSON; returns the exit status.

    The status is 1 if the result is not fine, and for invalid arguments and unwritable files.
    """
    result = {}

    def show(arguments: argparse.Namespace) -> dict:
        result.update(work(arguments))
        print(to_markdown(result))
        return result

    return run_command(arguments, show) or int(not is_fine(result))


# Processes.


@contextlib.contextmanager
def running(
    command: list[str], log: pathlib.Path, **options: object
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs Python in a process group of its own; kills the group and all workers at the end.

    Args:
      command: arguments of Python.
      log: file to which the output is appended.
      **options: of `subprocess.Popen`.
    """
    with log.open('a') as output:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=output, stderr=output, process_group=0, **options
        )
        try:
            yield process
        finally:
            kill(process.pid)
            process.wait()


def started(
    command: list[str], folder: pathlib.Path
) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """Runs Python in a folder; the output goes to a log beside the folder."""
    # Killed processes leave their mark in the compilation cache too.
    cache = {'JAX_COMPILATION_CACHE_DIR': str(folder.parent / 'compiled')}
    return running(command, log_of(folder), cwd=folder, env=os.environ | cache)


def log_of(folder: pathlib.Path) -> pathlib.Path:
    return folder.parent / f'{folder.name}.log'


def check_ended(name: str, status: int, log: pathlib.Path) -> None:
    """Raises ValueError if a command failed."""
    if status:
        raise ValueError(f'{name} ended with status {status}; see the end of {log}.')


def kill(group: int) -> None:
    """Sends SIGKILL to a process group and to children outside it, such as workers of a sweep."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGSTOP)  # so that it starts no more children
        for child in children(group):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        os.killpg(group, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """Process ids of the children of a process."""
    found: list[int] = []
    for path in pathlib.Path(f'/proc/{pid}/task').glob('*/children'):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    """Process ids of a process and of all its descendants."""
    found = [pid]
    for parent in found:
        found += children(parent)
    return found


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
            data = b''  # The name of an unfinished one is not a step.
            if path.name.isdecimal():
                try:
                    data = _checkpoint(path)
                except Exception as error:  # What orbax raises on damage is not documented.
                    data = f'unreadable: {error!r}'.encode()
        elif path.is_file():
            data = path.read_bytes().replace(os.fsencode(folder), b'')
            if path.suffix in ('.json', '.jsonl') and any(key.encode() in data for key in _VARYING):
                lines = data.splitlines() if path.suffix == '.jsonl' else [data]
                data = json.dumps([_constant(json.loads(line)) for line in lines]).encode()
            if path.suffix in ('.json', '.js'):
                data = re.sub(rb'"created": ?"[^"]*"', b'', data)
        else:
            continue
        found[str(name)] = hashlib.sha256(data).hexdigest()
    return found


def _checkpoint(path: pathlib.Path) -> bytes:
    """The arrays of a checkpoint, its data state and its score if it has one."""
    with checkpoint.open_manager(path.parents[1], read_only=True) as manager:
        arrays = checkpoint.restore_arrays(manager, int(path.name))
    files = [path / 'data/metadata', path / 'metrics/metrics']
    parts = [file.read_bytes() for file in files if file.exists()]
    for name, array in jax.tree_util.tree_leaves_with_path(arrays):
        parts.append(f'{name} {array.dtype} {array.shape}'.encode() + array.tobytes())
    return b'\n'.join(parts)


def _constant(value):
    if isinstance(value, dict):
        return {key: _constant(entry) for key, entry in value.items() if key not in _VARYING}
    return [_constant(entry) for entry in value] if isinstance(value, list) else value


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Compares two results of `contents`; returns a line for each file that differs."""
    return [
        f'{name} {what}'
        for what, names in (
            ('is missing', expected.keys() - found.keys()),
            ('is left over', found.keys() - expected.keys()),
            ('differs', {n for n in expected.keys() & found.keys() if expected[n] != found[n]}),
        )
        for name in sorted(names)
    ]
