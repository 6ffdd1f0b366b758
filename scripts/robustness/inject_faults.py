"""Injects faults into the files that this project writes and reads, and reports the outcome.

    python scripts/robustness/inject_faults.py --workdir runs/faults --json faults.json

On a tiny data set, checkpoint and analysis that take no training:

    killed       SIGKILL before each change of the file system while a checkpoint, an artifact or
                 prepared data are written; then they are written again
    bit flip     one bit at a random place of a file
    cut short    only the first half of a file is left
    full disk    a file system with too little room, and a read-only one (mounted by root only;
                 otherwise skipped, with the reason)
    images       damaged files of many formats, in a data set and for prediction

Four outcomes are fine: done (no effect), noticed (an error names the file or what it belongs to),
recovered (writing again succeeds, and other results are intact), and left out (counted, with the
reason). Every other outcome is printed in capitals, and the exit status is 1.
"""

import argparse
import collections
import contextlib
import functools
import itertools
import logging
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import damaged_images
from fault_subjects import (
    STATE,
    continue_from,
    load_thing,
    make_thing,
    open_folder,
    outcome_of,
    prepare,
    read_prepared,
    same,
    save_checkpoint,
    save_thing,
    write_coco,
)
from harness import make_parser, run_campaign
from tqdm import tqdm

from segmentation import markdown
from segmentation.data import coco

FINE = ('done', 'noticed', 'recovered', 'left out')
Outcomes = Iterator[tuple[str, str]]  # (fault, outcome)


# Damage.


def flip_bit(data: bytes, rng: random.Random) -> bytes:
    # Most zeros are padding.
    place = rng.choice([i for i, byte in enumerate(data) if byte] or range(len(data)))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def damage(
    path: pathlib.Path,
    change: Callable[[bytes], bytes],
    read: Callable[[], Any],
    good: Any,
    whole: pathlib.Path,
) -> str:
    """Changes a file, reads what it is part of (`whole`), restores it; returns the outcome."""
    data = path.read_bytes()
    path.write_bytes(change(data))
    try:
        outcome, found = outcome_of(read, whole)
    finally:
        path.write_bytes(data)
    return 'BELIEVED' if outcome == 'done' and not same(found, good) else outcome


def damaged_files(folder: pathlib.Path, count: int, rng: random.Random) -> Outcomes:
    """Flips bits in every file, and cuts every file short."""
    changes = [('bit flip', lambda data: flip_bit(data, rng))] * count
    changes.append(('cut short', lambda data: data[: len(data) // 2]))

    path = prepare(write_coco(folder / 'source'), folder / 'data').path
    save_thing(folder, 0)
    good, thing = read_prepared(path), make_thing(0)
    targets = [
        (next(path.glob(name)), path, f'{name.strip("*")} of prepared data',
         lambda: read_prepared(path), good)
        for name in ('*.array_record*', 'index_train.npz', 'coco.json', 'features.json')
    ] + [
        (file, file, f'{file.name} of an analysis', lambda: load_thing(folder), thing)
        for file in sorted(open_folder(folder).folder.iterdir())
    ]  # fmt: skip
    for file, whole, what, read, expected in targets:
        for fault, change in changes:
            yield f'{fault}: {what}', damage(file, change, read, expected, whole)

    for step in (1, 2):
        save_checkpoint(folder, step)
    newest = folder / 'checkpoints' / '2'
    kept = shutil.copytree(newest, folder / 'kept')

    def read_best() -> dict:
        from segmentation import checkpoint  # here, as it imports JAX

        return checkpoint.restore_variables(folder, '2')[1]

    for name in [file.relative_to(kept) for file in sorted(kept.rglob('*')) if file.is_file()]:
        # Many small files describe only the layout of the arrays.
        for fault, change in changes[-1 - count // 10 :]:
            file = newest / name
            outcome = damage(file, change, read_best, STATE, newest)
            yield f'{fault}: a file of the checkpoint to be analyzed', outcome
            file.write_bytes(change(file.read_bytes()))
            outcome, step = outcome_of(lambda: continue_from(folder), folder, ())
            outcome = 'recovered' if step == 1 else outcome
            yield f'{fault}: a file of the newest checkpoint, then training', outcome
            for path in (folder / 'checkpoints').glob('2*'):
                shutil.rmtree(path)
            shutil.copytree(kept, newest)


# Kills.

_EVENTS = {'open', 'os.mkdir', 'os.rename', 'os.remove', 'os.rmdir', 'os.truncate', 'os.link'}


def run_and_kill(work: Callable[[], Any], below: pathlib.Path, number: int) -> int:
    """Runs `work` in a process that kills itself before its `number`-th change of a folder.

    Returns the number of changes that it began: `number`, or fewer if it finished.
    """
    context = multiprocessing.get_context('fork')
    seen = context.RawValue('i', 0)

    def watch(event: str, arguments: tuple) -> None:
        if event not in _EVENTS or not str(arguments[0]).startswith(str(below)):
            return
        if event == 'open' and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            return
        seen.value += 1
        if seen.value == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched() -> None:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.addaudithook(watch)
        work()
        os._exit(0)  # without waiting for threads

    process = context.Process(target=watched)
    process.start()
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError('The process failed before it was killed.')
    return seen.value


def kills(folder: pathlib.Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """Kills at every change; yields (fault, function that returns the outcome).

    Must run before JAX computes anything: a process with its threads cannot be forked.
    """
    source = write_coco(folder / 'source')
    first, analysis = folder / 'first', folder / 'analysis'
    # In processes of their own too.
    run_and_kill(lambda: save_checkpoint(first, 1), first, 0)
    run_and_kill(lambda: save_thing(analysis, 0), analysis, 0)

    def look_at_checkpoint(place: pathlib.Path) -> str:
        step = continue_from(place)
        save_checkpoint(place, 2)
        return 'recovered' if step in (1, 2) and continue_from(place) == 2 else 'LOST'

    def look_at_artifact(place: pathlib.Path) -> str:
        outcome, found = outcome_of(lambda: load_thing(place), place)
        if outcome == 'done' and not (same(found, make_thing(0)) or same(found, make_thing(1))):
            return 'BELIEVED'
        if outcome not in FINE:
            return outcome
        save_thing(place, 1)
        return 'recovered' if same(load_thing(place), make_thing(1)) else 'LOST'

    def look_at_data(place: pathlib.Path) -> str:
        path = prepare(source, place).path
        left = [other for other in path.parent.iterdir() if other != path]
        return 'recovered' if len(read_prepared(path)[-1]) == 6 and not left else 'LOST'

    for what, before, work, look in (
        ('a checkpoint', first, lambda to: save_checkpoint(to, 2), look_at_checkpoint),
        ('an artifact', analysis, lambda to: save_thing(to, 1), look_at_artifact),
        ('prepared data', None, lambda to: coco.prepare(str(source), to), look_at_data),
    ):
        for number in itertools.count(1):
            place = folder / f'{what}-{number}'.replace(' ', '-')
            if before:
                shutil.copytree(before, place)
            if run_and_kill(functools.partial(work, place), place, number) < number:
                if number == 1:
                    raise RuntimeError(f'No file operation was seen in the writing of {what}.')
                break
            yield f'killed: in the writing of {what}', functools.partial(look, place)


# Disks.


@contextlib.contextmanager
def small_disk(folder: pathlib.Path, size: str, read_only: bool = False) -> Iterator[None]:
    """Mounts a file system of its own over a folder.

    Raises:
      PermissionError: it may not be mounted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise PermissionError('there is no command mount') from error
    if mounted.returncode:
        raise PermissionError(mounted.stderr.strip() or 'mount failed')
    try:
        if read_only:
            subprocess.run(['mount', '-o', 'remount,ro', str(folder)], check=True)
        yield
    finally:
        subprocess.run(['umount', '-l', str(folder)], check=True)


def full_disks(folder: pathlib.Path) -> Outcomes:
    """Writes to disks with too little room, and to read-only ones."""
    source, disk = write_coco(folder / 'source'), folder / 'disk'
    work = {
        'prepared data': lambda: prepare(source, disk / 'data'),
        'a checkpoint': lambda: save_checkpoint(disk, 1),
        'an artifact': lambda: save_thing(disk, 0),
    }

    def written(work: Callable[[], Any]) -> str:
        return outcome_of(work, disk, OSError)[0]

    for kilobytes in (4, 16, 40, 80, 120, 132, 140, 148):
        with small_disk(disk, f'{kilobytes}k'):
            outcome = written(work['prepared data'])
            whole = list(disk.glob('data/coco_instances/*/[0-9]*'))
            outcome = outcome if (outcome == 'done') == bool(whole) else 'LOST'
            yield 'full disk: prepared data', outcome
    for kilobytes in (4, 16, 48, 64, 80, 96, 112, 128):
        with small_disk(disk, f'{kilobytes}k'):
            yield 'full disk: a checkpoint', written(work['a checkpoint'])
    # Room for some checkpoints; all are kept until the disk is full.
    with small_disk(disk, '400k'):
        for step in range(1, 41):
            outcome = written(lambda s=step: save_checkpoint(disk, s, keep_every=1))
            if outcome != 'done':
                break
        if outcome == 'noticed':
            outcome = 'recovered' if continue_from(disk) == step - 1 else 'LOST'
        yield 'full disk: a later checkpoint, then training', outcome
    with small_disk(disk, '32k'):
        save_thing(disk, 0)
        with contextlib.suppress(OSError), (disk / 'filled').open('ab', buffering=0) as file:
            while True:
                file.write(bytes(512))
        outcome = written(lambda: save_thing(disk, 1))
        outcome = outcome if same(load_thing(disk), make_thing(0)) else 'LOST'
        yield 'full disk: an artifact', outcome
    for what, write in work.items():
        with small_disk(disk, '1m', read_only=True):
            yield f'read-only disk: {what}', written(write)


# The table.


def inject(folder: pathlib.Path, count: int, seed: int) -> dict[str, dict]:
    """Injects everything into an empty folder; `count` is per file, and the number of images.

    Returns fault → outcome → count; the outcome 'not injected: …' has the count 0.
    """
    rng, table = random.Random(seed), collections.defaultdict(collections.Counter)

    def part(name: str) -> pathlib.Path:
        (folder / name).mkdir()
        return folder / name

    looks = list(kills(part('killed')))  # All processes are forked before the first look.

    def killed() -> Outcomes:
        for fault, look in looks:
            finished, outcome = outcome_of(look, folder, ())
            yield fault, outcome or finished

    logging.disable(logging.CRITICAL)  # The project logs how it handles a fault.
    try:
        for outcomes in (
            killed(),
            damaged_files(part('damaged'), count, rng),
            damaged_images.damaged(part('images'), count, rng),
            full_disks(part('disks')),
        ):
            try:
                for fault, outcome in tqdm(outcomes, desc='faults', unit=''):
                    table[fault][outcome] += 1
            except PermissionError as error:
                table['full or read-only disk'][f'not injected: {error}'] = 0
    finally:
        logging.disable(logging.NOTSET)
    return {fault: dict(outcomes) for fault, outcomes in table.items()}


def is_fine(outcome: str) -> bool:
    return outcome in FINE or outcome.startswith('not injected')


def to_markdown(table: dict[str, dict[str, int]]) -> str:
    rows = [
        (
            fault,
            str(sum(outcomes.values())),
            ', '.join(f'{text} {n}' if n else text for text, n in sorted(outcomes.items())),
        )
        for fault, outcomes in table.items()
    ]
    return markdown.table(('fault', 'injected', 'outcome'), rows)


def main(argv: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('--count', type=int, default=200, help='flipped bits per file, and damaged images')

    def work(arguments: argparse.Namespace) -> dict[str, dict[str, int]]:
        with tempfile.TemporaryDirectory(dir=arguments.workdir, prefix='faults-') as folder:
            return inject(pathlib.Path(folder), arguments.count, arguments.seed)

    def all_fine(table: dict[str, dict[str, int]]) -> bool:
        return all(map(is_fine, itertools.chain.from_iterable(table.values())))

    return run_campaign(parser.parse_args(argv), work, to_markdown, all_fine)


if __name__ == '__main__':
    sys.exit(main())
