"""Writes a stand-in for COCO 2014, of its size, made of other photographs.

    python scripts/benchmarks/stand_in.py --output stand_in --source my_photographs --fraction 0.01

Each image is a random crop of a photograph, perhaps mirrored, enlarged to 640 pixels if it is
smaller and encoded again. What is enlarged gets grain, because smooth images have small files that
are decoded fast. The JPEG quality is chosen so that files have COCO's mean size. Each file also has
its own comment: no two files are equal, and none is a link.

Each image has the polygons of its photograph. Polygons are repeated with a shift, or left out,
so that the number of instances is exact. One instance in a hundred is a crowd: the union of the
polygons of its image as uncompressed run lengths, as in COCO.

Images are made by one process for each processor. The same command continues.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import io
import itertools
import json
import multiprocessing
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import PIL.Image
from contenders import usable_cores
from pycocotools import mask as mask_utils
from tqdm import tqdm

from segmentation import launch
from segmentation.files import replacing, write_json, write_text

# Split → numbers of images and instances of COCO 2014, and bytes of its annotation file.
SPLITS = {'train': (82_783, 604_907, 333_000_000), 'val': (40_504, 291_875, 161_000_000)}
MEAN_BYTES = 163_000  # of an image file of COCO 2014
LONGER_SIDE = 640  # pixels
CROWD_EVERY = 100  # instances
CHUNK = 200  # images that are made, or made again after an interruption, together
_LEAST_CROP = 0.85  # of width and height
_GRAIN = 7.0  # standard deviation, of 255; for images that are enlarged
_ENLARGED = 1.2  # scale from which an image needs grain
_SAMPLE = 48  # images by which the quality is chosen
_SEPARATORS = (',', ': ')  # as in COCO's files


@dataclasses.dataclass(frozen=True)
class Photograph:
    """An image file with its annotations."""

    path: pathlib.Path
    size: tuple[int, int]  # (width, height) in pixels, to which the polygons refer
    polygons: list[tuple[int, list[list[float]]]]  # category id, and parts in pixels


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Consecutive images of a split."""

    folder: pathlib.Path  # of the data set
    split: str
    first: int  # number of its first image
    photographs: list[Photograph]  # one for each image
    ends: list[int]  # number of the first instance, then for each image that after its last
    quality: int  # of JPEG

    @property
    def part(self) -> pathlib.Path:
        """The file with its entries, which is written last."""
        return parts_of(self.folder) / f'{self.split}-{self.first:06d}.json'


def parts_of(folder: pathlib.Path) -> pathlib.Path:
    """What is kept of an unfinished stand-in, beside it: inside, it would be read as data."""
    return folder.with_name(f'{folder.name}-parts')


def read_photographs(sources: Sequence[pathlib.Path]) -> tuple[list[Photograph], list[dict]]:
    """All photographs of folders in COCO's layout, and the categories of the first one.

    Raises:
      ValueError: a folder has no annotations, other categories, or no polygon at all.
    """
    found: list[Photograph] = []
    categories: list[dict] = []
    for source in sources:
        files = sorted(source.glob('annotations/instances_*.json'))
        if not files:
            raise ValueError(f'{source} has no annotations/instances_*.json; give a COCO folder')
        for file in files:
            document = json.loads(file.read_text())
            categories = categories or document['categories']
            if document['categories'] != categories:
                raise ValueError(f'{file} has other categories than {sources[0]}; leave it out')
            folder = source / file.stem.removeprefix('instances_')
            found += _photographs(document, folder)
    if not any(photograph.polygons for photograph in found):
        raise ValueError(f'{", ".join(map(str, sources))}: no image has polygons; give others')
    return found, categories


def _photographs(document: dict, folder: pathlib.Path) -> Iterator[Photograph]:
    polygons: dict[int, list] = {image['id']: [] for image in document['images']}
    for entry in document['annotations']:
        if isinstance(entry['segmentation'], list):
            parts = [part for part in entry['segmentation'] if len(part) >= 6]
            if parts:
                polygons[entry['image_id']].append((entry['category_id'], parts))
    for image in document['images']:
        size = image['width'], image['height']
        yield Photograph(folder / image['file_name'], size, polygons[image['id']])


def counts(split: str, fraction: float) -> tuple[int, int]:
    """Numbers of images and instances of a split, at a fraction of COCO's size."""
    images, instances, _ = SPLITS[split]
    return max(1, round(images * fraction)), max(1, round(instances * fraction))


def plan(
    folder: pathlib.Path,
    split: str,
    photographs: Sequence[Photograph],
    fraction: float,
    quality: int,
) -> list[Chunk]:
    """Which photograph each image of a split is made of, and which instances it has."""
    images, instances = counts(split, fraction)
    rng = np.random.default_rng([images, list(SPLITS).index(split)])
    rounds = [rng.permutation(len(photographs)) for _ in range(-(-images // len(photographs)))]
    chosen = [photographs[number] for number in np.concatenate(rounds)[:images]]
    total = np.cumsum([0, *(len(photograph.polygons) for photograph in chosen)])
    ends = (total * instances // max(total[-1], 1)).tolist()
    return [
        Chunk(folder, split, i, chosen[i : i + CHUNK], ends[i : i + CHUNK + 1], quality)
        for i in range(0, images, CHUNK)
    ]


def choose_quality(photographs: Sequence[Photograph]) -> int:
    """The JPEG quality with which the mean size of the images is nearest to COCO's."""
    step = max(1, len(photographs) // _SAMPLE)
    drawn = [_draw(photograph, np.random.default_rng(0))[0] for photograph in photographs[::step]]

    def distance(quality: int) -> float:
        return abs(np.mean([len(_encode(image, quality, b'')) for image in drawn]) - MEAN_BYTES)

    low, high = 40, 98
    while high - low > 1:  # the size grows with the quality
        middle = (low + high) // 2
        mean = np.mean([len(_encode(image, middle, b'')) for image in drawn])
        low, high = (middle, high) if mean < MEAN_BYTES else (low, middle)
    return min((low, high), key=distance)


def write(folder: pathlib.Path, sources: Sequence[pathlib.Path], fraction: float) -> dict[str, Any]:
    """Makes the data set in COCO's layout; what an interrupted call has finished is kept.

    Returns:
      For JSON: numbers of images, instances and crowds, bytes of image and annotation files.

    Raises:
      ValueError: see `read_photographs`.
    """
    photographs, categories = read_photographs(sources)
    for needed in (folder / 'annotations', parts_of(folder)):
        needed.mkdir(parents=True, exist_ok=True)
    chosen = parts_of(folder) / 'quality'
    if not chosen.exists():
        write_text(chosen, str(choose_quality(photographs)))
    quality = int(chosen.read_text())
    chunks = []
    for split in SPLITS:
        (folder / f'{split}2014').mkdir(exist_ok=True)
        chunks += plan(folder, split, photographs, fraction, quality)
    missing = [chunk for chunk in chunks if not chunk.part.exists()]
    context = multiprocessing.get_context('spawn')
    with concurrent.futures.ProcessPoolExecutor(usable_cores(), context) as pool:
        made = pool.map(write_chunk, missing)
        for _ in tqdm(made, 'images', len(chunks), initial=len(chunks) - len(missing), unit='×200'):
            pass
    result = {'images': 0, 'instances': 0, 'crowds': 0, 'image_bytes': 0, 'annotation_bytes': {}}
    for split in SPLITS:
        file = folder / f'annotations/instances_{split}2014.json'
        own = [chunk for chunk in chunks if chunk.split == split]
        for key, value in _join(file, own, categories).items():
            result[key] += value
        result['annotation_bytes'][split] = file.stat().st_size
    return {**result, 'quality': quality}


def _join(file: pathlib.Path, chunks: Sequence[Chunk], categories: list[dict]) -> dict[str, int]:
    """Writes the annotation file of a split from its parts; returns the sums of their numbers."""
    total: dict[str, int] = {}
    with replacing(file) as partial, partial.open('w') as output:
        licenses = [{'url': '', 'id': 1, 'name': 'Attribution License'}]
        start = {'info': {'description': 'Stand-in for COCO 2014'}, 'licenses': licenses}
        output.write(json.dumps({**start, 'categories': categories})[:-1])
        for key in ('images', 'annotations'):
            output.write(f', "{key}": [')
            separator = ''
            for chunk in chunks:
                part = json.loads(chunk.part.read_text())
                if part[key]:
                    output.write(separator + part[key])
                    separator = ','
                if key == 'images':
                    for name, value in part['numbers'].items():
                        total[name] = total.get(name, 0) + value
            output.write(']')
        output.write('}')
    return total


def write_chunk(chunk: Chunk) -> None:
    """Writes the images of a chunk, then its part."""
    images, annotations = [], []
    size = crowds = 0
    first_id = 1 + (0 if chunk.split == 'train' else 10_000_000)
    for i, photograph in enumerate(chunk.photographs):
        number = chunk.first + i
        # COCO's ids are unique over its splits.
        image_id = 2 * number + (1 if chunk.split == 'train' else 2)
        rng = np.random.default_rng([number, list(SPLITS).index(chunk.split)])
        drawn, polygons = _draw(photograph, rng)
        name = f'COCO_{chunk.split}2014_{image_id:012d}.jpg'
        quality = chunk.quality + int(rng.integers(-2, 3))
        data = _encode(drawn, quality, f'{chunk.split} {number}'.encode())
        (chunk.folder / f'{chunk.split}2014' / name).write_bytes(data)
        size += len(data)
        images.append(_image_entry(image_id, name, drawn.size))
        numbers = range(chunk.ends[i], chunk.ends[i + 1])
        repeated = _repeated(polygons, drawn.size, rng)
        for k, (category, parts) in zip(numbers, repeated, strict=False):
            is_crowd = k % CROWD_EVERY == CROWD_EVERY - 1
            crowds += is_crowd
            shape = _crowd(polygons, drawn.size) if is_crowd else _polygon(parts)
            entry = {**shape, 'iscrowd': int(is_crowd), 'image_id': image_id}
            bbox = entry.pop('bbox')
            annotations.append({**entry, 'bbox': bbox, 'category_id': category, 'id': first_id + k})
    numbers = {
        'images': len(images), 'instances': len(annotations), 'crowds': crowds, 'image_bytes': size,
    }  # fmt: skip
    texts = {'images': _items(images), 'annotations': _items(annotations)}
    write_text(chunk.part, json.dumps({'numbers': numbers, **texts}))


def _items(entries: list[dict]) -> str:
    return json.dumps(entries, separators=_SEPARATORS)[1:-1]


def _image_entry(image_id: int, name: str, size: tuple[int, int]) -> dict[str, Any]:
    folder = name.split('_')[1]
    return {
        'license': 1, 'file_name': name,
        'coco_url': f'http://images.cocodataset.org/{folder}/{name}',
        'height': size[1], 'width': size[0], 'date_captured': '2013-11-14 16:28:13',
        'flickr_url': f'http://farm4.staticflickr.com/3153/{image_id:010d}_164f0c0b83_z.jpg',
        'id': image_id,
    }  # fmt: skip


@functools.cache
def _field() -> np.ndarray:
    """Noise int16 `[1024, 1024, 1]`, drawn once in each process."""
    field = np.random.default_rng(0).normal(0, _GRAIN, (1024, 1024, 1))
    return field.round().astype(np.int16)


def _grain(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A random part int16 `[height, width, 1]` of the noise."""
    x, y = (int(rng.integers(1024 - length + 1)) for length in size)
    return _field()[y : y + size[1], x : x + size[0]]


def _draw(photograph: Photograph, rng: np.random.Generator) -> tuple[PIL.Image.Image, list]:
    """An image made of a photograph, and its polygons as in `Photograph`."""
    with PIL.Image.open(photograph.path) as opened:
        image = opened.convert('RGB')
    # Its polygons may refer to another size by a pixel or two.
    width, height = image.size
    stretch = np.array(image.size) / photograph.size
    crop = rng.uniform(_LEAST_CROP, 1, 2) * image.size
    corner = rng.uniform(0, 1, 2) * (image.size - crop)
    scale = LONGER_SIDE / crop.max()
    size = tuple(int(length) for length in np.maximum(1, np.rint(crop * scale)))
    box = (*corner, *(corner + crop))
    image = image.resize(size, PIL.Image.Resampling.BILINEAR, box)
    mirrored = bool(rng.integers(2))
    if mirrored:
        image = image.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    if scale > _ENLARGED:
        pixels = np.asarray(image) + _grain(size, rng)
        image = PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

    def move(part: list[float]) -> np.ndarray:
        points = np.array(part).reshape(-1, 2) * stretch
        inside = _clip((points - corner) * scale, size)
        if inside is None:  # it is not in the crop: it gets its place in the whole photograph
            inside = (points * size / (width, height)).clip(0, size)
        return inside * (-1, 1) + (size[0], 0) if mirrored else inside

    moved = [(category, [move(p) for p in parts]) for category, parts in photograph.polygons]
    return image, moved


def _clip(points: np.ndarray, size: tuple[int, int]) -> np.ndarray | None:
    """Points `[n, 2]` moved into the image; None if hardly anything is inside."""
    points = points.clip(0, size)
    return points if np.ptp(points, axis=0).min() >= 1 else None


def _repeated(polygons: list, size: tuple[int, int], rng: np.random.Generator) -> Iterator[tuple]:
    """The polygons in random order, and again with other shifts for ever."""
    order = rng.permutation(len(polygons))
    for turn in itertools.count():
        if not polygons:
            return
        for number in order:
            category, parts = polygons[number]
            if turn:
                shift = rng.uniform(-0.1, 0.1, 2) * size
                shifted = [_clip(points + shift, size) for points in parts]
                parts = [b if a is None else a for a, b in zip(shifted, parts, strict=True)]
            yield category, parts


def _polygon(parts: list[np.ndarray]) -> dict[str, Any]:
    low, high = np.min([p.min(0) for p in parts], 0), np.max([p.max(0) for p in parts], 0)
    area = sum(abs(p[:, 0] @ (np.roll(p[:, 1], -1) - np.roll(p[:, 1], 1))) / 2 for p in parts)
    bbox = np.concatenate([low, high - low]).round(2).tolist()
    outlines = [p.ravel().round(2).tolist() for p in parts]
    return {'segmentation': outlines, 'area': round(float(area), 4), 'bbox': bbox}


def _crowd(polygons: list, size: tuple[int, int]) -> dict[str, Any]:
    """The union of all polygons of an image."""
    width, height = size
    parts = [p.ravel().tolist() for _, parts in polygons for p in parts]
    union = mask_utils.merge(mask_utils.frPyObjects(parts, height, width))
    pixels = mask_utils.decode(union).ravel(order='F')
    changes = np.flatnonzero(np.diff(pixels)) + 1
    runs = np.diff([0, *changes, len(pixels)]).tolist()
    runs = [0, *runs] if pixels[0] else runs
    return {
        'segmentation': {'counts': runs, 'size': [height, width]},
        'area': int(pixels.sum()), 'bbox': mask_utils.toBbox(union).tolist(),
    }  # fmt: skip


def _encode(image: PIL.Image.Image, quality: int, comment: bytes) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=quality, comment=comment)
    return buffer.getvalue()


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = launch.make_parser(__doc__, workdir='')
    add = parser.add_argument
    about = 'folder of the data set; FOLDER-parts beside it keeps what an interruption leaves'
    add('--output', required=True, type=pathlib.Path, metavar='FOLDER', help=about)
    add_arguments(parser)
    return parser.parse_args(argv)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that full_coco.py has too."""
    parser.add_argument(
        '--source', required=True, nargs='+', type=pathlib.Path, metavar='FOLDER',
        help="photographs in COCO's layout: <split>/*.jpg and annotations/instances_<split>.json",
    )  # fmt: skip
    about = "of COCO's numbers of images and instances"
    parser.add_argument('--fraction', type=fraction, default=1.0, metavar='F', help=about)


def fraction(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not in (0, 1]')
    return value


@launch.command
def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    result = write(arguments.output, arguments.source, arguments.fraction)
    print(json.dumps(result))
    if arguments.json:
        write_json(arguments.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(main())
