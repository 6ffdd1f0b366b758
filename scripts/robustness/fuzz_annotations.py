"""Fuzzes the reader of annotation files with damaged, malformed and hostile files.

    python scripts/robustness/fuzz_annotations.py --workdir runs/fuzz --count 10000 --json fuzz.json

hypothesis generates small COCO files and damages them; the printed table lists the kinds of damage.
A separate process, which may crash, reads each file within --timeout seconds. Fine outcomes are:

    unchanged   every entry was read
    skipped     entries were left out or repaired, and counted with the reason
    refused     one error names the file

Masks are compared with masks drawn without pycocotools: run lengths exactly, polygons at 400 pixels
that are not near their outline. A box computed from a mask must be its bounding box. Everything
else is wrong: a crash, a time-out, another error, a wrong mask, an entry that is neither read nor
counted. The first wrong outcome ends the campaign with exit status 1, and the smallest such file is
in WORKDIR/wrong.json. Started again, the command tries the wrong files of earlier campaigns first.
"""

import argparse
import collections
import contextlib
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
from harness import make_parser, run_campaign
from pycocotools import mask as mask_utils
from tqdm import tqdm

from segmentation import markdown
from segmentation.data import annotations
from segmentation.data.entries import Image, Instance, id_key
from segmentation.data.segmentations import decode_counts, encode_segmentation, normalize

FINE = ('unchanged', 'skipped', 'refused')
FILE_NAME = 'instances_fuzzed.json'

# Reading files, in another process.


def read_file(data: bytes) -> str:
    """Reads a file; returns one of `FINE` or what is wrong."""
    try:
        result = annotations.parse(data, FILE_NAME)
    except ValueError as error:
        text = str(error)
        if FILE_NAME not in text:
            return f'ERROR THAT NAMES NO FILE: {ascii(text[:200])}'
        return 'refused' if text.isprintable() else f'UNPRINTABLE ERROR: {ascii(text[:200])}'
    skipped = {reason: entry['count'] for reason, entry in result.skipped.as_dict().items()}
    document = json.loads(data)
    given = collections.defaultdict(list)  # Entries by id, for the masks.
    for entry in document['annotations']:
        if isinstance(entry, dict):
            given[id_key(entry.get('id'))].append(entry)
    taken = [(image, instance) for image in result.images for instance in image.instances]
    for what, entries, kept in (
        ('annotation', document['annotations'], len(taken)),
        ('image', document['images'], len(result.images)),
        ('category', document['categories'], len(result.categories)),
    ):
        left_out = sum(n for reason, n in skipped.items() if reason.startswith(f'{what}: '))
        if kept + left_out != len(entries):
            return f'NOT COUNTED: {len(entries)} × {what}, {kept} taken, {left_out} left out'
    for image, instance in taken:
        # An entry whose id is missing or used before has got another one, and is not compared.
        candidates = [entry for entry in given[instance.id] if fits(entry, image)]
        wrong = min((wrong_pixels(instance, e, image) for e in candidates), default=0)
        if wrong:
            return f'WRONG MASK: annotation {instance.id} by {wrong} pixels'
    return 'skipped' if skipped else 'unchanged'


def fits(entry: dict, image: Image) -> bool:
    """Whether an entry can be the one that was read."""
    try:
        encode_segmentation(normalize(entry.get('segmentation'))[0], image.height, image.width)
    except ValueError:
        return False
    return id_key(entry.get('image_id')) == image.id


def wrong_pixels(instance: Instance, entry: dict, image: Image) -> int:
    """Number of pixels in which a mask differs from one drawn without pycocotools."""
    height, width = image.height, image.width
    mask = mask_utils.decode({'size': [height, width], 'counts': instance.rle}) > 0
    if entry.get('bbox') is None and list(instance.bbox) != box_of(mask):
        return mask.size
    form, _ = normalize(entry['segmentation'])
    if isinstance(form, dict):
        counts = form['counts']
        runs = decode_counts(counts) if isinstance(counts, str) else counts
        drawn = np.repeat(np.arange(len(runs)) % 2 > 0, runs).reshape(width, height).T
        return int((mask != drawn).sum())
    polygons = [np.reshape(polygon, (-1, 2)) for polygon in form if len(polygon) >= 6]
    if sum(map(len, polygons)) > 500:
        return 0  # Every pixel is close to an edge.
    # Half of the pixels anywhere, half near the polygons.
    corners = np.concatenate(polygons)
    low, high = corners.min(0) - 2, corners.max(0) + 2
    places = np.random.default_rng(0).random((400, 2))
    places = np.concatenate([places[::2] * (width, height), low + places[1::2] * (high - low)])
    columns, rows = places.clip(0, (width - 1, height - 1)).astype(int).T
    inside, distance = even_odd(polygons, np.stack([columns, rows], -1) + 0.5)
    return int(((mask[rows, columns] != inside) & (distance > 1.5)).sum())


def box_of(mask: np.ndarray) -> list[int]:
    """x, y, width and height of the pixels of a mask."""
    if not mask.any():
        return [0, 0, 0, 0]
    (left, right), (top, bottom) = (np.flatnonzero(mask.any(axis))[[0, -1]] for axis in (0, 1))
    return [left, top, right - left + 1, bottom - top + 1]


def even_odd(polygons: list[np.ndarray], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether points `[n, 2]` are in any polygon `[k, 2]`, and their distance from all edges."""
    from matplotlib.path import Path

    inside, distance = np.zeros(len(points), np.bool_), np.full(len(points), np.inf)
    for start in polygons:
        inside |= Path(start).contains_points(points)
        edge = np.roll(start, -1, axis=0) - start
        length = np.square(edge).sum(1)
        along = ((points[:, None] - start) * edge).sum(-1) / np.where(length, length, 1)
        nearest = start + along.clip(0, 1)[..., None] * edge
        distance = np.minimum(distance, np.linalg.norm(points[:, None] - nearest, axis=-1).min(1))
    return inside, distance


def serve(connection: Connection, read: Callable[[bytes], str]) -> None:
    """Answers each file with an outcome until the other end is closed."""
    connection.send_bytes(b'ready')
    with contextlib.suppress(EOFError):
        while True:
            data = connection.recv_bytes()
            try:
                outcome = read(data)
            except Exception as error:  # any error but ValueError is wrong
                outcome = f'RAISED {type(error).__name__}: {ascii(str(error)[:200])}'
            connection.send_bytes(outcome.encode())


class Reader:
    """A process that reads files; a new one after a crash or a time-out."""

    def __init__(self, timeout: float, read: Callable[[bytes], str] = read_file):
        self._timeout, self._read = timeout, read
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context('spawn')
        self._connection, end = context.Pipe()
        self._process = context.Process(target=serve, args=(end, self._read), daemon=True)
        self._process.start()
        end.close()
        self._connection.recv_bytes()  # Starting takes seconds, which do not count.

    def read(self, data: bytes) -> str:
        self._connection.send_bytes(data)
        try:
            if self._connection.poll(self._timeout):
                return self._connection.recv_bytes().decode()
            outcome = 'TIMED OUT'
        except EOFError:
            self._process.join()
            outcome = f'CRASHED: status {self._process.exitcode}'
        self.close()
        self._start()
        return outcome

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


def fuzz(arguments: argparse.Namespace) -> dict:
    """Returns the `table` (what was done → outcome → count) and what is `wrong`, if anything."""
    import hypothesis  # here, as it takes long to import
    from annotation_files import files
    from hypothesis.database import DirectoryBasedExampleDatabase

    arguments.workdir.mkdir(parents=True, exist_ok=True)
    reader, table = Reader(arguments.timeout), collections.defaultdict(collections.Counter)
    progress, slowest, wrong = tqdm(unit='files', mininterval=1), 0.0, {}

    @hypothesis.seed(arguments.seed)
    @hypothesis.settings(
        max_examples=arguments.count,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        database=DirectoryBasedExampleDatabase(arguments.workdir / 'wrong'),
    )
    @hypothesis.given(files())
    def every_file_is_fine(file):
        nonlocal slowest
        kind, data = file
        start = time.perf_counter()
        outcome = reader.read(data)
        slowest = max(slowest, time.perf_counter() - start)
        table[kind][outcome.partition(':')[0]] += 1
        progress.update()
        if outcome not in FINE:
            wrong.update(kind=kind, outcome=outcome)
            (arguments.workdir / 'wrong.json').write_bytes(data)
            raise AssertionError(outcome)

    try:
        every_file_is_fine()
    except Exception:
        if not wrong:
            raise
    finally:
        reader.close()
        progress.close()
    number = sum(map(collections.Counter.total, table.values()))
    return {
        'files': number,
        'slowest_seconds': slowest,
        'table': {kind: dict(outcomes) for kind, outcomes in table.items()},
        'wrong': wrong,
    }


def to_markdown(result: dict) -> str:
    outcomes = list(dict.fromkeys([*FINE, *(o for row in result['table'].values() for o in row)]))
    rows = [
        (kind, str(sum(row.values())), *(str(row.get(outcome, 0)) for outcome in outcomes))
        for kind, row in result['table'].items()
    ]
    parts = [markdown.table(('what was done', 'files', *outcomes), rows)]
    if wrong := result['wrong']:
        parts.append(f'wrong.json, {wrong["kind"]}: {markdown.escape(wrong["outcome"])}')
    parts.append(f'{result["files"]} files; the slowest took {result["slowest_seconds"]:.2f} s.')
    return '\n\n'.join(parts)


def main(argv: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('--count', type=int, default=10_000, help='number of files to generate and read')
    add('--timeout', type=float, default=20, help='seconds that the reading of a file may take')
    arguments = parser.parse_args(argv)
    if arguments.count < 1:
        parser.error('--count must be at least 1')
    return run_campaign(arguments, fuzz, to_markdown, lambda result: not result['wrong'])


if __name__ == '__main__':
    sys.exit(main())
