"""Fuzzes annotation files: what becomes of files that are damaged, malformed or hostile.

    python scripts/robustness/fuzz_annotations.py --workdir runs/fuzz --count 10000 --json fuzz.json

Each file is a small COCO instances file, changed in one of the ways of the table that is printed,
and is read in a process of its own kind, which may crash and has `--timeout` seconds for it. A file
is made of its number and the seed alone. Fine are:

    unchanged        everything was taken
    skipped          something was left out, dropped or repaired, and counted with the reason
    refused          one error that names the file

and every mask that was taken is compared with one drawn without pycocotools: run lengths exactly,
polygons at 400 pixels, unless these lie along their outline; a box that was taken from a mask must
be its box. Anything else (a crash, a time-out, another error, a wrong mask, an annotation that is
neither taken nor counted) is printed with the number of the file, which --show writes to standard
output again, and the exit status is then 1.

Started again with the same --workdir it goes on where it was; results.jsonl there has a line per
file.
"""

import argparse
import collections
import json
import math
import pathlib
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils
from tqdm import tqdm

from segmentation import markdown
from segmentation.data import annotations

FINE = ('unchanged', 'skipped', 'refused')
FILE_NAME = 'instances_fuzzed.json'
_VALUES = (
    None, True, False, 0, -1, 1, 0.5, -0.0, 1e9, -1e9, 1e308, math.inf, -math.inf, math.nan, 2**31,
    2**32, 2**63, -(2**63), 10**400, '', 'x', '\x00', '\x1b[2J', '\ud800', '../../etc/passwd',
    'C:\\x', '/x', '=1+1', 'é' * 2000, [], [[]], [None], [[0] * 6], {}, {'size': [1, 1]},
    {'counts': []}, {'size': [12, 10], 'counts': '0'}, [[[]]], [1e999] * 8,
)  # fmt: skip


# Making the files.


def plain_document(rng: random.Random) -> dict:
    """Two to four images with every form of segmentation."""
    images, instances = [], []
    for i in range(rng.randrange(2, 5)):
        width, height = rng.randrange(1, 60), rng.randrange(1, 60)
        images.append({'id': 10 + i, 'file_name': f'{i}.jpg', 'width': width, 'height': height})
        for _ in range(rng.randrange(4)):
            instances.append(
                {
                    'id': 100 + len(instances),
                    'image_id': 10 + i,
                    'category_id': rng.choice((1, 3)),
                    'iscrowd': rng.randrange(2),
                    'area': 5.5,
                    'bbox': [0, 0, 2.5, 2],
                    'segmentation': segmentation(rng, width, height),
                }
            )
    names = {1: 'person', 3: 'car'}
    categories = [{'id': k, 'name': v, 'supercategory': 'thing'} for k, v in names.items()]
    return {'images': images, 'annotations': instances, 'categories': categories}


def segmentation(rng: random.Random, width: int, height: int) -> Any:
    form = rng.randrange(3)
    if form == 0:
        return [
            [
                rng.uniform(-0.3, 1.3) * (height if k % 2 else width)
                for k in range(2 * rng.randrange(3, 9))
            ]
            for _ in range(rng.randrange(1, 4))
        ]
    runs, left = [], width * height
    while left:
        runs.append(min(left, int(rng.expovariate(0.1))))
        left -= runs[-1]
    counts = runs if form == 1 else compress(runs)
    return {'size': [height, width], 'counts': counts}


def compress(counts: list[int]) -> str:
    """COCO's string of run lengths: the inverse of `annotations.decode_counts`."""
    text = ''
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr(48 + (group | 32 * more))
    return text


def _nodes(tree: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything inside a JSON value."""
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [pair for key in keys for pair in ((tree, key), *_nodes(tree[key]))]


def change_values(document: dict, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 5))):
        container, key = rng.choice(_nodes(document))
        container[key] = json.loads(json.dumps(rng.choice(_VALUES)))


def remove_fields(document: dict, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 5))):
        container, key = rng.choice(_nodes(document) or [({'x': 0}, 'x')])
        del container[key]


def repeat_entries(document: dict, rng: random.Random) -> None:
    for _ in range(3):
        entries = document[rng.choice(('images', 'annotations', 'categories'))]
        if entries:
            entry = dict(rng.choice(entries))
            if rng.random() < 0.5:
                entry[rng.choice(list(entry))] = rng.choice(_VALUES)
            entries.insert(rng.randrange(len(entries) + 1), entry)


def move_coordinates(document: dict, rng: random.Random) -> None:
    for entry in document['annotations']:
        for polygon in entry['segmentation'] if isinstance(entry['segmentation'], list) else ():
            scale = rng.choice((1, 1.5, 3, 1e3, 1e6, 1e12, 1e300))
            polygon[:] = [x * scale for x in polygon]
            if rng.random() < 0.3:
                polygon[rng.randrange(len(polygon))] = rng.choice((math.nan, math.inf, -1e308))
            if rng.random() < 0.3:
                del polygon[rng.randrange(len(polygon)) :]


def change_run_lengths(document: dict, rng: random.Random) -> None:
    for entry in document['annotations']:
        rle = entry['segmentation']
        if not isinstance(rle, dict):
            continue
        counts = rle['counts']
        place = rng.randrange(len(counts) + 1)
        if isinstance(counts, str):
            extra = ''.join(chr(rng.randrange(40, 120)) for _ in range(rng.randrange(4)))
            rle['counts'] = counts[:place] + extra + counts[place + rng.randrange(2) :]
        else:
            counts[place:place] = rng.choice(([0], [0, 0], [1], [-1, 1], [2**32], [2**64], [0.5]))
            if rng.random() < 0.3:
                del counts[rng.randrange(len(counts)) :]
        if rng.random() < 0.3:
            rle['size'] = rng.choice((rle['size'][::-1], [0, 0], [2**32, 1], [1, -1], None))


def change_sizes(document: dict, rng: random.Random) -> None:
    for image in document['images']:
        sizes = (1, 61, 16_384, 16_385, 10**6, 2**31, 0, -5)
        image[rng.choice(('width', 'height'))] = rng.choice(sizes)


def enormous_annotation(document: dict, rng: random.Random) -> None:
    image = document['images'][0]
    size = image['width'], image['height']
    count = rng.choice((2000, 20_000))
    form = rng.randrange(4)
    if form == 0:
        polygons = [[rng.uniform(-1, 2) * size[k % 2] for k in range(2 * count)]]
    elif form == 1:
        polygons = [[rng.uniform(0, size[k % 2]) for k in range(6)] for _ in range(count // 20)]
    elif form == 2:
        polygons = {'size': size[::-1], 'counts': [0] * count + [size[0] * size[1]]}
    else:
        polygons = {'size': size[::-1], 'counts': 'o' * count}
    document['annotations'].append(
        {'id': 1, 'image_id': image['id'], 'category_id': 1, 'segmentation': polygons}
    )


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20))):
        place = rng.randrange(len(changed))
        what = rng.randrange(4)
        if what == 0:
            changed[place] ^= 1 << rng.randrange(8)
        elif what == 1:
            changed[place] = rng.choice(b'0123456789.-+eE"[]{},:\\ \x00\xff')
        elif what == 2:
            del changed[place : place + rng.randrange(1, 40)]
        else:
            changed[place:place] = changed[place : place + rng.randrange(1, 200)]
        changed = changed or bytearray(b' ')
    return bytes(changed)


def cut_short(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def other_text(data: bytes, rng: random.Random) -> bytes:
    del data
    return rng.choice(
        (
            b'', b'null', b'[]', b'{}', b'\xef\xbb\xbf{}', b'[' * 10**5, b'{"a":' * 10**5,
            b'9' * 10**4, b'\x00' * 1000, rng.randbytes(2000), b'PK\x03\x04', b'\x80\x04]\x94.',
            b'NaN',
        )
    )  # fmt: skip


ON_DOCUMENTS: dict[str, Callable[[dict, random.Random], None]] = {
    'nothing': lambda document, rng: None,
    'values of any kind': change_values,
    'fields missing': remove_fields,
    'entries repeated': repeat_entries,
    'coordinates moved or cut': move_coordinates,
    'run lengths changed': change_run_lengths,
    'image sizes changed': change_sizes,
    'one enormous annotation': enormous_annotation,
}
ON_BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    'bytes changed': change_bytes,
    'file cut short': cut_short,
    'no COCO file': other_text,
}
KINDS = (*ON_DOCUMENTS, *ON_BYTES)
_WEIGHTS = (1, 6, 3, 3, 6, 6, 2, 1, 6, 2, 1)


def make_file(seed: int, number: int) -> tuple[str, bytes]:
    """What is done to file `number`, and the file."""
    rng = random.Random(f'{seed}/{number}')
    (kind,) = rng.choices(KINDS, _WEIGHTS)
    document = plain_document(rng)
    if kind in ON_DOCUMENTS:
        ON_DOCUMENTS[kind](document, rng)
    data = json.dumps(document).encode()
    return kind, ON_BYTES[kind](data, rng) if kind in ON_BYTES else data


# Reading them, in another process.


def read_file(data: bytes) -> str:
    """What becomes of a file: one of `FINE`, or what is wrong."""
    try:
        result = annotations.parse(data, FILE_NAME)
    except ValueError as error:
        text = str(error)
        if FILE_NAME not in text:
            return f'ERROR THAT NAMES NO FILE: {ascii(text[:200])}'
        return 'refused' if text.isprintable() else f'UNPRINTABLE ERROR: {ascii(text[:200])}'
    skipped = {reason: entry['count'] for reason, entry in result.skipped.as_dict().items()}
    document = json.loads(data)
    # What was given, by id, for the masks; the first of equal ids counts.
    given = {}
    for entry in document['annotations']:
        if isinstance(entry, dict) and type(entry.get('id')) is int:
            given.setdefault(entry['id'], entry)
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
        wrong = wrong_pixels(instance, given[instance.id], image.height, image.width)
        if wrong:
            return f'WRONG MASK: annotation {instance.id} by {wrong} pixels'
    return 'skipped' if skipped else 'unchanged'


def wrong_pixels(instance: annotations.Instance, entry: dict, height: int, width: int) -> int:
    """By how many pixels a mask differs from one drawn without pycocotools, more than it may."""
    mask = mask_utils.decode({'size': [height, width], 'counts': instance.rle}) > 0
    if entry.get('bbox') is None and list(instance.bbox) != box_of(mask):
        return mask.size
    form = entry['segmentation']
    if isinstance(form, dict):
        counts = form['counts']
        runs = annotations.decode_counts(counts) if isinstance(counts, str) else counts
        drawn = np.repeat(np.arange(len(runs)) % 2 > 0, runs).reshape(width, height).T
        return int((mask != drawn).sum())
    polygons = [np.reshape(polygon, (-1, 2)) for polygon in form if len(polygon) >= 6]
    if sum(map(len, polygons)) > 500:
        return 0  # No pixel is far from all of its edges.
    # Pixels anywhere, and as many where the polygons are.
    corners = np.concatenate(polygons)
    low, high = corners.min(0) - 2, corners.max(0) + 2
    places = np.random.default_rng(0).random((400, 2))
    places = np.concatenate([places[::2] * (width, height), low + places[1::2] * (high - low)])
    columns, rows = places.clip(0, (width - 1, height - 1)).astype(int).T
    inside, distance = even_odd(polygons, np.stack([columns, rows], -1) + 0.5)
    return int(((mask[rows, columns] != inside) & (distance > 1.5)).sum())


def box_of(mask: np.ndarray) -> list[int]:
    if not mask.any():
        return [0, 0, 0, 0]
    (left, right), (top, bottom) = (np.flatnonzero(mask.any(axis))[[0, -1]] for axis in (0, 1))
    return [left, top, right - left + 1, bottom - top + 1]


def even_odd(polygons: list[np.ndarray], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether points `[n, 2]` are in any polygon `[k, 2]`, and how far they are from all edges."""
    inside, distance = np.zeros(len(points), np.bool_), np.full(len(points), np.inf)
    for start in polygons:
        end = np.roll(start, -1, axis=0)
        x, y = points[:, None].transpose(2, 0, 1)
        above = start[:, 1] > y
        rise = np.where(start[:, 1] == end[:, 1], 1, end[:, 1] - start[:, 1])
        crossing = start[:, 0] + (y - start[:, 1]) / rise * (end[:, 0] - start[:, 0])
        inside |= ((above != (end[:, 1] > y)) & (x < crossing)).sum(1) % 2 > 0
        edge = end - start
        length = np.square(edge).sum(1)
        along = ((points[:, None] - start) * edge).sum(-1) / np.where(length, length, 1)
        nearest = start + along.clip(0, 1)[..., None] * edge
        distance = np.minimum(distance, np.linalg.norm(points[:, None] - nearest, axis=-1).min(1))
    return inside, distance


def work(seed: int) -> None:
    """Reads numbers of files from standard input and answers each with a line of JSON."""
    print(flush=True)  # ready
    for line in sys.stdin:
        _, data = make_file(seed, int(line))
        try:
            outcome = read_file(data)
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            outcome = f'RAISED {type(error).__name__}: {ascii(str(error)[:200])}'
        print(json.dumps(outcome), flush=True)


class Reader:
    """A process that reads files, started again when it has crashed or was too slow."""

    def __init__(self, seed: int, timeout: float):
        self._command = [sys.executable, '-W', 'ignore', __file__, '--work', str(seed)]
        self._timeout = timeout
        self._process = None

    def read(self, number: int) -> str:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self._process.stdout.readline()  # Starting takes a second or two.
        self._process.stdin.write(f'{number}\n')
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], self._timeout)
        line = self._process.stdout.readline() if ready else ''
        if line:
            return json.loads(line)
        if ready:
            code = self._process.wait()
            outcome = f'CRASHED: {signal.Signals(-code).name if code < 0 else f"status {code}"}'
        else:
            outcome = 'TIMED OUT'
        self.close()
        return outcome

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None


# The table.


def fuzz(workdir: pathlib.Path, count: int, seed: int, timeout: float) -> dict:
    """Fuzzes `count` files.

    Returns:
      `table` (what was done → outcome → how often) and `wrong` (number of a file → what is wrong).

    Raises:
      ValueError: the results in `workdir` are of another seed.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / 'results.jsonl'
    done = {}
    if path.exists():
        for line in path.read_text().split('\n')[:-1]:  # the last one may be half a line
            entry = json.loads(line)
            if entry['seed'] != seed:
                raise ValueError(f'{path} is of seed {entry["seed"]}: choose another --workdir.')
            done[entry['number']] = entry
        path.write_text(''.join(f'{json.dumps(entry)}\n' for entry in done.values()))
    reader = Reader(seed, timeout)
    numbers = tqdm(range(count), unit='files', mininterval=1)
    try:
        with path.open('a') as results:
            for number in numbers:
                if number in done:
                    continue
                began = time.perf_counter()
                entry = {
                    'seed': seed,
                    'number': number,
                    'kind': make_file(seed, number)[0],
                    'outcome': reader.read(number),
                    'seconds': round(time.perf_counter() - began, 4),
                }
                done[number] = entry
                results.write(json.dumps(entry) + '\n')
                results.flush()
    finally:
        reader.close()
    table = {kind: collections.Counter() for kind in KINDS}
    wrong = {}
    for number in range(count):
        kind, outcome = done[number]['kind'], done[number]['outcome']
        fine = outcome in FINE
        table[kind][outcome if fine else outcome.partition(':')[0]] += 1
        if not fine:
            wrong[number] = outcome
    return {
        'files': count,
        'seed': seed,
        'slowest_seconds': max(entry['seconds'] for entry in done.values()),
        'table': {kind: dict(outcomes) for kind, outcomes in table.items() if outcomes},
        'wrong': wrong,
    }


def to_markdown(result: dict) -> str:
    outcomes = list(dict.fromkeys([*FINE, *(o for row in result['table'].values() for o in row)]))
    rows = [
        (kind, str(sum(row.values())), *(str(row.get(outcome, 0)) for outcome in outcomes))
        for kind, row in result['table'].items()
    ]
    parts = [markdown.table(('what was done', 'files', *outcomes), rows)]
    wrong = (f'- file {n}: {markdown.escape(outcome)}' for n, outcome in result['wrong'].items())
    parts += ['\n'.join(wrong)] if result['wrong'] else []
    parts.append(f'{result["files"]} files; the slowest took {result["slowest_seconds"]:.2f} s.')
    return '\n\n'.join(parts)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--workdir', type=pathlib.Path, help='where results are kept')
    parser.add_argument('--count', type=int, default=10_000, help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument(
        '--timeout', type=float, default=20, help='seconds per file; default: %(default)s'
    )
    parser.add_argument('--show', type=int, metavar='NUMBER', help='write this file to stdout')
    parser.add_argument('--work', type=int, metavar='SEED', help=argparse.SUPPRESS)
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    arguments = parser.parse_args(argv)
    if arguments.work is not None:
        work(arguments.work)
        return 0
    if arguments.show is not None:
        sys.stdout.buffer.write(make_file(arguments.seed, arguments.show)[1])
        return 0
    if arguments.workdir is None or arguments.count < 1:
        parser.error('--workdir and a --count of at least 1 are needed')
    try:
        result = fuzz(arguments.workdir, arguments.count, arguments.seed, arguments.timeout)
        print(to_markdown(result))
        if arguments.json:
            arguments.json.write_text(json.dumps(result, indent=2) + '\n')
    except (ValueError, OSError) as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        return 1
    return 1 if result['wrong'] else 0


if __name__ == '__main__':
    sys.exit(main())
