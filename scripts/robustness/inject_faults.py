"""Injects faults into what this project writes and reads, and says what became of them.

    python scripts/robustness/inject_faults.py --workdir runs/faults --json faults.json

On a tiny data set, checkpoint and analysis of its own, which take no training:

    killed       SIGKILL at each thing that a checkpoint, an artifact or a preparation does to the
                 file system, then the same again
    bit flip     one bit at a random place of a file, and the first half of it alone (cut short)
    full disk    a file system with too little room, and one that nothing can be written to; left
                 out, with the reason, where none may be mounted (it takes root)
    pictures     damaged files of many formats, each as an annotated picture and for prediction

Fine are: done (the fault did no harm), noticed (an error that names the file or what it is part
of), recovered (what was finished before is whole, and the same again finishes), left out (counted,
with the reason). Anything else is printed in capitals, and the exit status is then 1.
"""

import argparse
import collections
import contextlib
import io
import json
import logging
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow
from PIL import Image
from tqdm import tqdm

from analysis.stage import artifacts
from segmentation import checkpoint, markdown
from segmentation.data import coco, coco_files, transforms

FINE = ('done', 'noticed', 'recovered', 'left out')
_PICTURE_SIZE = (40, 30)
_STATE = {
    'params': {'kernel': np.arange(6000, dtype=np.float32).reshape(60, 100) / 7},
    'batch_stats': {'mean': np.ones(7, np.float32)},
}


# What is damaged.


def write_coco(folder: pathlib.Path) -> pathlib.Path:
    """A folder in COCO's layout with six pictures of noise."""
    rng = np.random.default_rng(0)
    (folder / 'train').mkdir(parents=True)
    (folder / 'annotations').mkdir()
    width, height = _PICTURE_SIZE
    images, instances = [], []
    for i in range(1, 7):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / 'train' / f'{i}.jpg')
        images.append({'id': i, 'file_name': f'{i}.jpg', 'width': width, 'height': height})
        polygon = [[1, 1, 30, 2 + i, 20, 25]]
        instances.append({'id': i, 'image_id': i, 'category_id': 1, 'segmentation': polygon})
    document = {
        'images': images,
        'annotations': instances,
        'categories': [{'id': 1, 'name': 'person', 'supercategory': 'person'}],
    }
    (folder / 'annotations' / 'instances_train.json').write_text(json.dumps(document))
    return folder


def prepare(source: pathlib.Path, data_dir: pathlib.Path) -> coco.Prepared:
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        return coco.prepare(str(source), data_dir)


def read_prepared(path: pathlib.Path) -> Any:
    prepared = coco.open_prepared(path)
    split = prepared.split('train')
    return prepared.fingerprint, prepared.categories, vars(split.index), list(split)


def save_checkpoint(workdir: pathlib.Path, step: int) -> None:
    with checkpoint.open_manager(workdir) as manager:
        state = {**_STATE, 'step': np.int32(step)}
        checkpoint.save(manager, step, state, {'next_index': step}, {checkpoint.BEST_METRIC: 0.5})
        checkpoint.wait(manager)


def continue_from(workdir: pathlib.Path) -> int:
    """The step that training would continue from; raises if what is read is not what was saved."""
    with checkpoint.open_manager(workdir) as manager:
        step, state, data_state = checkpoint.restore_latest(
            manager, {**_STATE, 'step': np.int32(0)}
        )
    np.testing.assert_equal(state, {**_STATE, 'step': np.int32(step)})
    np.testing.assert_equal(data_state['next_index'], step)
    return step


def open_folder(folder: pathlib.Path) -> artifacts.Analysis:
    run = types.SimpleNamespace(step=7, data={'fingerprint': 'abc'})
    examples = types.SimpleNamespace(image_ids=np.arange(40))
    return artifacts.Analysis(run, 'val', examples, folder)


def artifact_kinds(number: int) -> dict[str, tuple[Callable, Callable, Any]]:
    """File name → how it is saved, how it is loaded, and its content."""
    values = np.random.default_rng(number).random(40)
    table = pyarrow.table({'value': values, 'name': [f'image {i}' for i in range(40)]})
    return {
        'thing.npz': (
            lambda analysis: artifacts.save_arrays(analysis, 'thing', 1, x=values, n=np.arange(9)),
            artifacts.load_arrays,
            {'x': values, 'n': np.arange(9)},
        ),
        'thing.parquet': (
            lambda analysis: artifacts.save_table(analysis, 'thing', 1, table),
            lambda *arguments: artifacts.load_table(*arguments).to_pydict(),
            table.to_pydict(),
        ),
        'thing.json': (
            lambda analysis: artifacts.save_json(analysis, 'thing', 1, {'x': values.tolist()}),
            artifacts.load_json,
            {'x': values.tolist()},
        ),
    }


# Damage.


def flip_bit(data: bytes, rng: random.Random) -> bytes:
    # Of zeros most are padding.
    place = rng.choice([i for i, byte in enumerate(data) if byte] or range(len(data)))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def damage(
    path: pathlib.Path,
    change: Callable[[bytes], bytes],
    read: Callable[[], Any],
    good: Any,
    whole: pathlib.Path,
) -> str:
    """Changes a file, reads what it is part of, `whole`, and puts it back; returns the outcome."""
    data = path.read_bytes()
    path.write_bytes(change(data))
    try:
        found = read()
    except ValueError as error:
        return 'noticed' if str(whole) in str(error) else f'NOT NAMED: {error}'
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        return f'RAISED {type(error).__name__}'
    finally:
        path.write_bytes(data)
    try:
        np.testing.assert_equal(found, good)
    except AssertionError:
        return 'BELIEVED'
    return 'done'


def damaged_files(folder: pathlib.Path, count: int, rng: random.Random) -> Iterator[tuple]:
    """Yields (fault, outcome): bits flipped in every file, and every file cut short."""
    changes = [lambda data: flip_bit(data, rng)] * count + [lambda data: data[: len(data) // 2]]
    faults = ['bit flip'] * count + ['cut short']

    path = prepare(write_coco(folder / 'source'), folder / 'data').path
    good = read_prepared(path)
    for name in ('*.array_record*', 'index_train.npz', 'coco.json', 'features.json'):
        (file,) = path.glob(name)
        for fault, change in zip(faults, changes, strict=True):
            outcome = damage(file, change, lambda: read_prepared(path), good, path)
            yield f'{fault}: {name.strip("*")} of prepared data', outcome

    analysis = open_folder(folder)
    for name, (save, load, content) in artifact_kinds(0).items():
        file, read = save(analysis), lambda load=load: load(analysis, 'thing', 1)
        for fault, change in zip(faults, changes, strict=True):
            yield f'{fault}: {name} of an analysis', damage(file, change, read, content, file)

    for step in (1, 2):
        save_checkpoint(folder, step)
    newest = folder / 'checkpoints' / '2'
    kept = shutil.copytree(newest, folder / 'kept')
    files = [file.relative_to(kept) for file in sorted(kept.rglob('*')) if file.is_file()]
    good = {'params': _STATE['params'], 'batch_stats': _STATE['batch_stats']}
    for name in files:
        # Files that hold nothing but the layout are small and many.
        for fault, change in [*zip(faults, changes, strict=True)][-1 - count // 10 :]:
            file = newest / name
            outcome = damage(file, change, lambda: read_best(folder), good, newest)
            yield f'{fault}: a file of the checkpoint to be analysed', outcome
            file.write_bytes(change(file.read_bytes()))
            try:
                step = continue_from(folder)
                outcome = 'done' if step == 2 else 'recovered'
            except Exception as error:  # noqa: BLE001 - this is what is looked for
                outcome = f'RAISED {type(error).__name__}'
            yield f'{fault}: a file of the newest checkpoint, then training', outcome
            for path in (folder / 'checkpoints').glob('2*'):
                shutil.rmtree(path)
            shutil.copytree(kept, newest)


def read_best(workdir: pathlib.Path) -> dict:
    return checkpoint.restore_variables(workdir, '2')[1]


# Kills.

_EVENTS = {'open', 'os.mkdir', 'os.rename', 'os.remove', 'os.rmdir', 'os.truncate', 'os.link'}


def run_and_kill(work: Callable[[], Any], below: pathlib.Path, number: int) -> int:
    """Runs `work` in a process that kills itself just before its `number`-th change of a folder.

    Returns:
      How many changes it began: `number`, or fewer if it finished.
    """
    sys.stdout.flush()
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        seen = 0

        def watch(event, arguments):
            nonlocal seen
            if event not in _EVENTS or not str(arguments[0]).startswith(str(below)):
                return
            if event == 'open' and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
                return
            seen += 1
            os.write(writing, b'.')
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            sys.addaudithook(watch)
            work()
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with open(reading, 'rb') as pipe:
        changes = len(pipe.read())
    if os.waitpid(process, 0)[1] not in (0, signal.SIGKILL):
        raise RuntimeError('what was to be killed failed by itself')
    return changes


def kills(folder: pathlib.Path, every: int) -> Iterator[tuple[str, Callable[[], str]]]:
    """Kills at every so-manieth change; yields (fault, what looks afterwards at what is left).

    To be run before anything is computed: a process that has begun to may not be copied.
    """
    source = write_coco(folder / 'source')

    # By a process of its own too.
    first = folder / 'first'
    run_and_kill(lambda: save_checkpoint(first, 1), first, 0)
    for number in range(1, 1000, every):
        workdir = shutil.copytree(first, folder / f'checkpoint-{number}')
        if run_and_kill(lambda w=workdir: save_checkpoint(w, 2), workdir, number) < number:
            break

        def look(workdir=workdir):
            step = continue_from(workdir)
            save_checkpoint(workdir, 2)
            return 'recovered' if step in (1, 2) and continue_from(workdir) == 2 else 'LOST'

        yield 'killed: in the writing of a checkpoint', look

    for name in artifact_kinds(0):
        (save_old, _, old), (save, load, new) = artifact_kinds(0)[name], artifact_kinds(1)[name]
        for number in range(1, 100):
            place = folder / f'{name}-{number}'
            place.mkdir()
            save_old(open_folder(place))
            if run_and_kill(lambda s=save, p=place: s(open_folder(p)), place, number) < number:
                break

            def look(place=place, save=save, load=load, old=old, new=new):
                found = load(open_folder(place), 'thing', 1)
                if not (same(found, old) or same(found, new)):
                    return 'BELIEVED'
                save(open_folder(place))
                return 'recovered' if same(load(open_folder(place), 'thing', 1), new) else 'LOST'

            yield f'killed: in the writing of {name} of an analysis', look

    for number in range(1, 1000, every):
        data = folder / f'data-{number}'
        if run_and_kill(lambda d=data: coco.prepare(str(source), d), data, number) < number:
            break

        def look(data=data):
            path = prepare(source, data).path
            left = list(path.parent.glob('incomplete*'))
            return 'recovered' if len(read_prepared(path)[-1]) == 6 and not left else 'LOST'

        yield 'killed: in the preparation of data', look


def same(found: Any, expected: Any) -> bool:
    try:
        np.testing.assert_equal(found, expected)
    except AssertionError:
        return False
    return True


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


def written(work: Callable[[], Any], folder: pathlib.Path) -> str:
    try:
        work()
    except OSError as error:
        return 'noticed' if str(folder) in str(error) else f'NOT NAMED: {error}'
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        return f'RAISED {type(error).__name__}'
    return 'done'


def full_disks(folder: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Yields (fault, outcome): too little room, and none that may be written to."""
    source, disk = write_coco(folder / 'source'), folder / 'disk'
    for kilobytes in (4, 16, 40, 80, 120, 132, 140, 148):
        with small_disk(disk, f'{kilobytes}k'):
            outcome = written(lambda: prepare(source, disk / 'data'), disk)
            whole = list(disk.glob('data/coco_instances/*/[0-9]*'))
            if (outcome == 'done') != bool(whole):
                outcome = 'LOST'
            yield 'full disk: preparation of data', outcome
    for kilobytes in (4, 16, 48, 64, 80, 96, 112, 128):
        with small_disk(disk, f'{kilobytes}k'):
            yield 'full disk: a checkpoint', written(lambda: save_checkpoint(disk, 1), disk)
    # Room for one more, but not for two.
    with small_disk(disk, '400k'):
        outcome, step = 'done', 0
        while outcome == 'done' and step < 40:
            step += 1
            outcome = written(lambda s=step: keep_checkpoint(disk, s), disk)
        if outcome == 'noticed':
            outcome = 'recovered' if continue_from(disk) == step - 1 else 'LOST'
        yield 'full disk: a later checkpoint, then training', outcome
    for name, (save_old, load, old) in artifact_kinds(0).items():
        with small_disk(disk, '16k'):
            analysis = open_folder(disk)
            save_old(analysis)
            (disk / 'filled').write_bytes(b'')
            with contextlib.suppress(OSError), (disk / 'filled').open('ab', buffering=0) as file:
                while True:
                    file.write(bytes(512))
            save_new = artifact_kinds(1)[name][0]
            outcome = written(lambda save=save_new, to=analysis: save(to), disk)
            kept = same(load(analysis, 'thing', 1), old)
            yield f'full disk: {name} of an analysis', outcome if kept else 'LOST'
    for what, work in (
        ('preparation of data', lambda: prepare(source, disk / 'data')),
        ('a checkpoint', lambda: save_checkpoint(disk, 1)),
        ('an artifact', lambda: artifact_kinds(0)['thing.npz'][0](open_folder(disk))),
    ):
        with small_disk(disk, '1m', read_only=True):
            yield f'read-only disk: {what}', written(work, disk)


def keep_checkpoint(workdir: pathlib.Path, step: int) -> None:
    with checkpoint.open_manager(workdir, keep_every=1) as manager:
        state = {**_STATE, 'step': np.int32(step)}
        checkpoint.save(manager, step, state, {'next_index': step})
        checkpoint.wait(manager)


# Pictures.


def pictures() -> list[bytes]:
    """Whole files of every format and mode that is read, and of some that are not."""
    rng = np.random.default_rng(0)
    width, height = _PICTURE_SIZE
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (height, width), np.uint16))
    turned = Image.Exif()
    turned[0x0112] = 6
    frames = {'save_all': True, 'append_images': [image.rotate(90), image.rotate(180)]}
    files = []
    for picture, file_format, options in (
        *((image.convert(mode), 'JPEG', {}) for mode in ('RGB', 'L', 'CMYK')),
        *((image.convert(mode), 'PNG', {}) for mode in ('RGB', 'L', 'LA', 'P', 'RGBA', '1')),
        *((image.convert(mode), 'TIFF', {}) for mode in ('RGB', 'CMYK', 'F', 'I', 'YCbCr')),
        (deep, 'PNG', {}),
        (deep, 'TIFF', {}),
        (image, 'JPEG', {'exif': turned}),
        (image, 'JPEG', {'progressive': True}),
        *((image, file_format, frames) for file_format in ('GIF', 'PNG', 'WEBP')),
        *((image, file_format, {}) for file_format in ('BMP', 'ICO', 'PPM')),
    ):
        buffer = io.BytesIO()
        picture.save(buffer, file_format, **options)
        files.append(buffer.getvalue())
    return files


def spoil(data: bytes, rng: random.Random) -> bytes:
    """Cuts, overwrites, removes or repeats parts of a file, more often near its beginning."""
    spoilt = bytearray(data)
    if rng.random() < 0.3:
        del spoilt[rng.randrange(len(spoilt)) :]
    for _ in range(rng.choice((0, 1, 1, 2, 8))):
        if not spoilt:
            break
        place = rng.randrange(rng.choice((len(spoilt), min(len(spoilt), 120))))
        what = rng.randrange(4)
        if what == 0:
            spoilt[place] = rng.randrange(256)
        elif what == 1:
            spoilt[place : place + 4] = rng.choice((bytes(4), b'\xff' * 4, b'\x7f' + b'\xff' * 3))
        elif what == 2:
            del spoilt[place : place + rng.randrange(1, 30)]
        else:
            spoilt[place:place] = spoilt[place : place + rng.randrange(1, 200)]
    return bytes(spoilt)


def damaged_pictures(folder: pathlib.Path, count: int, rng: random.Random) -> Iterator[tuple]:
    """Yields (fault, outcome): whatever is taken into a data set must be readable later."""
    files, path = pictures(), folder / 'picture'
    for _ in range(count):
        data = spoil(rng.choice(files), rng)
        yield 'damaged picture: in a data set', as_annotated(data)
        path.write_bytes(data)
        try:
            transforms.read_image_file(path, 32, antialias=True)
            outcome = 'done'
        except ValueError as error:
            outcome = 'noticed' if str(path) in str(error) else 'NOT NAMED'
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            outcome = f'RAISED {type(error).__name__}'
        yield 'damaged picture: for prediction', outcome


def as_annotated(data: bytes) -> str:
    width, height = _PICTURE_SIZE
    for size in ((width, height), (height, width)):
        try:
            coco_files.check_image(data, *size)
        except coco_files.UnusableImage:
            continue
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            return f'RAISED {type(error).__name__}'
        try:
            for at_least in (0, 16):
                image = transforms.decode_image(data, size, at_least)
                transforms.resize(image, 32, (0.0, 0.0, 1.0, 1.0), antialias=True)
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            return f'TAKEN, BUT RAISED {type(error).__name__}'
        return 'done'
    return 'left out'


# The table.


def inject(folder: pathlib.Path, count: int, seed: int, every: int = 1) -> dict[str, dict]:
    """Injects everything.

    Args:
      folder: an empty one.
      count: flipped bits per file (a tenth in each file of a checkpoint), and damaged pictures.
      seed: of where and what.
      every: kills only at every so-manieth change.

    Returns:
      Fault → outcome → how often; the outcome 'not injected: …' has the count 0.
    """
    rng = random.Random(seed)
    table = collections.defaultdict(collections.Counter)
    steps = tqdm(desc='faults', unit='')
    logging.disable(logging.CRITICAL)  # what is done about a fault is said with each
    with steps, contextlib.ExitStack() as stack:
        stack.callback(logging.disable, logging.NOTSET)

        def part(name):
            (folder / name).mkdir()
            return folder / name

        looks = list(kills(part('killed'), every))
        for fault, look in looks:
            try:
                table[fault][look()] += 1
            except Exception as error:  # noqa: BLE001 - this is what is looked for
                table[fault][f'RAISED {type(error).__name__}'] += 1
            steps.update()
        for outcomes in (
            damaged_files(part('damaged'), count, rng),
            damaged_pictures(part('pictures'), count, rng),
            full_disks(part('disks')),
        ):
            try:
                for fault, outcome in outcomes:
                    table[fault][outcome] += 1
                    steps.update()
            except PermissionError as error:
                table['full or read-only disk'][f'not injected: {error}'] = 0
    return {fault: dict(outcomes) for fault, outcomes in table.items()}


def is_fine(outcome: str) -> bool:
    return outcome in FINE or outcome.startswith('not injected')


def to_markdown(table: dict[str, dict[str, int]]) -> str:
    rows = [
        (
            fault,
            str(sum(outcomes.values())),
            ', '.join(
                f'{outcome} {n}' if n else outcome for outcome, n in sorted(outcomes.items())
            ),
        )
        for fault, outcomes in table.items()
    ]
    return markdown.table(('fault', 'injected', 'outcome'), rows)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--workdir', required=True, type=pathlib.Path, help='where it is done')
    parser.add_argument(
        '--count',
        type=int,
        default=200,
        help='flipped bits per file, and damaged pictures; default: %(default)s',
    )
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the table here')
    arguments = parser.parse_args(argv)
    try:
        arguments.workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=arguments.workdir, prefix='faults-') as folder:
            table = inject(pathlib.Path(folder).resolve(), arguments.count, arguments.seed)
        print(to_markdown(table))
        if arguments.json:
            arguments.json.write_text(json.dumps(table, indent=2) + '\n')
    except OSError as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        return 1
    return 0 if all(is_fine(o) for outcomes in table.values() for o in outcomes) else 1


if __name__ == '__main__':
    sys.exit(main())
