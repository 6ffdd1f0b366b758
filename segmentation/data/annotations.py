"""Reads and checks COCO instance annotations.

Everything is checked before the C code of pycocotools sees it (README.md has the reasons). A broken
entry is left out and counted by reason. A file that is no COCO annotation file raises one
`ValueError` that names it.
"""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any, TypeGuard

import numpy as np
import tqdm
from pycocotools import mask as mask_utils

# Larger images are left out. README.md explains the limits.
MAX_SIDE = 16_384
MAX_PIXELS = 2**26
MAX_OUTLINE = 100  # longest outline, in units of the image's width + height

_MAX_ID = 2**63 - 1
_FAR_OUT = 'a coordinate is not finite or far outside the image'


@dataclasses.dataclass(frozen=True, slots=True)
class Category:
    """One object category, e.g. `Category(3, 'car', 'vehicle')`."""

    id: int
    name: str
    supercategory: str


@dataclasses.dataclass(frozen=True, slots=True)
class Instance:
    """One annotated object or crowd region."""

    id: int  # annotation id
    category_id: int  # id of its category
    area: float  # in pixels, from the file (in COCO, the polygon's area) or else of the mask
    # (x, y, width, height) in pixels, from the file or else of the mask
    bbox: tuple[float, float, float, float]
    is_crowd: bool  # whether it is a group of objects
    rle: bytes  # compressed run lengths of the mask (pycocotools' `counts`) at the image's size


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """One image entry; `instances` are in the order of the file."""

    id: int
    file_name: str
    height: int
    width: int
    license: str
    all_categories_annotated: bool
    instances: list[Instance]


class Skipped:
    """Counts what was left out or repaired, by reason, with a few examples of each."""

    def __init__(self) -> None:
        self._reasons: dict[str, dict[str, Any]] = {}

    def add(self, reason: str, example: Any) -> None:
        """Counts one more case of `reason`; `example` is an id or a file name."""
        entry = self._reasons.setdefault(reason, {'count': 0, 'examples': []})
        entry['count'] += 1
        if len(entry['examples']) < 5:
            # Names come from data: control characters must not reach a terminal.
            entry['examples'].append(example if _is_id(example) else ascii(example)[:80])

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Returns reason → {'count', 'examples'}, the most frequent first."""
        return dict(sorted(self._reasons.items(), key=lambda item: (-item[1]['count'], item[0])))


@dataclasses.dataclass(frozen=True, slots=True)
class Annotations:
    """The checked content of a COCO instances file."""

    categories: tuple[Category, ...]  # in the order of the file
    images: list[Image]  # by increasing id
    skipped: Skipped  # what was left out or repaired
    sha256: str  # hexadecimal digest of the file


def parse(data: bytes, name: str, progress: bool = False) -> Annotations:
    """Checks the bytes of a COCO instances file, which error messages call `name`.

    Raises:
      ValueError: this is not a COCO instances file.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{name} cannot be read as JSON: {error}') from error
    if not isinstance(document, dict):
        raise ValueError(
            f'{name} is not a COCO file: expected a JSON object, got a {type(document).__name__}'
        )
    for key in ('images', 'annotations', 'categories'):
        if not isinstance(document.get(key), list):
            raise ValueError(f'{name} is not a COCO instances file: it has no list {key!r}')
    skipped = Skipped()
    categories = _categories(document['categories'], skipped)
    if not categories:
        raise ValueError(f'{name} has no usable category (problems: {skipped.as_dict()})')
    images = _images(document['images'], _licenses(document.get('licenses')), skipped)
    category_ids = {category.id for category in categories}
    seen: set[int] = set()
    options: dict[str, Any] = {'unit': '', 'disable': not progress, 'leave': False}
    for entry in tqdm.tqdm(document['annotations'], 'annotations', mininterval=1, **options):
        try:
            image, instance = _instance(entry, images, category_ids, seen, skipped)
        except _Broken as broken:
            example = entry.get('id') if isinstance(entry, dict) else entry
            skipped.add(f'annotation: {broken}', example)
        else:
            image.instances.append(instance)
    by_id = [images[key] for key in sorted(images)]
    return Annotations(categories, by_id, skipped, hashlib.sha256(data).hexdigest())


class _Broken(ValueError):
    """An entry that is left out; the message is the reason that it is counted under."""


def _is_id(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _MAX_ID


def _is_text(value: Any) -> TypeGuard[str]:
    # Unprintable text could forge terminal output, and a lone surrogate cannot be stored.
    return isinstance(value, str) and 0 < len(value) <= 1000 and value.isprintable()


def _categories(entries: list, skipped: Skipped) -> tuple[Category, ...]:
    by_id, names = {}, set()
    for entry in entries:
        if not isinstance(entry, dict) or not _is_id(entry.get('id')):
            skipped.add('category: no usable id', entry)
        elif not _is_text(entry.get('name')):
            skipped.add('category: no usable name', entry['id'])
        elif entry['id'] in by_id or entry['name'] in names:
            skipped.add('category: id or name used before', entry['id'])
        else:
            group: Any = entry.get('supercategory')
            group = group if _is_text(group) else ''
            by_id[entry['id']] = Category(entry['id'], entry['name'], group)
            names.add(entry['name'])
    return tuple(by_id.values())


def _licenses(entries: Any) -> dict[int, str]:
    entries = entries if isinstance(entries, list) else []
    return {
        entry['id']: entry['name']
        for entry in entries
        if isinstance(entry, dict) and _is_id(entry.get('id')) and _is_text(entry.get('name'))
    }


def is_safe_name(name: Any) -> bool:
    """Whether a file name stays inside its folder, on any operating system."""
    if not _is_text(name) or '\\' in name:
        return False
    windows = pathlib.PureWindowsPath(name)
    return not (windows.drive or windows.root or '..' in windows.parts or name.endswith('/'))


def _images(entries: list, licenses: dict[int, str], skipped: Skipped) -> dict[int, Image]:
    images = {}
    for entry in entries:
        if not isinstance(entry, dict) or not _is_id(entry.get('id')):
            skipped.add('image: no usable id', entry)
            continue
        key, width, height = entry['id'], entry.get('width'), entry.get('height')
        if key in images:
            skipped.add('image: id used before', key)
        elif not is_safe_name(entry.get('file_name')):
            skipped.add('image: unsafe or missing file name', entry.get('file_name'))
        elif type(width) is not int or type(height) is not int or width < 1 or height < 1:
            skipped.add('image: width and height are not positive whole numbers', key)
        elif not is_bounded(width, height):
            skipped.add('image: too large', key)
        else:
            given: Any = entry.get('license')
            given = licenses.get(given, str(given)) if _is_id(given) else given
            given = given if _is_text(given) else ''
            complete = entry.get('all_categories_annotated') is True
            images[key] = Image(key, entry['file_name'], height, width, given, complete, [])
    return images


def is_bounded(width: int, height: int) -> bool:
    """Whether an image of this size (in pixels) is within MAX_SIDE and MAX_PIXELS."""
    return max(width, height) <= MAX_SIDE and width * height <= MAX_PIXELS


def _instance(
    entry: Any, images: dict[int, Image], category_ids: set[int], seen: set[int], skipped: Skipped
) -> tuple[Image, Instance]:
    if not isinstance(entry, dict):
        raise _Broken('not an object')
    key: Any = entry.get('id')
    if not _is_id(key):
        raise _Broken('no usable id')
    if key in seen:
        raise _Broken('id used before')
    seen.add(key)
    image_id, category_id = entry.get('image_id'), entry.get('category_id')
    if not _is_id(image_id) or image_id not in images:
        raise _Broken('unknown image')
    if not _is_id(category_id) or category_id not in category_ids:
        raise _Broken('unknown category')
    is_crowd = entry.get('iscrowd', 0)
    if type(is_crowd) is not int or is_crowd not in (0, 1):
        raise _Broken('iscrowd is neither 0 nor 1')
    image = images[image_id]
    rle, dropped = encode_segmentation(entry.get('segmentation'), image.height, image.width)
    if dropped:
        skipped.add('polygon part: fewer than 3 points', key)
    mask: Any = {'size': [image.height, image.width], 'counts': rle}
    bbox: Any = entry.get('bbox')
    area: Any = entry.get('area')
    if not _are_numbers(bbox) or len(bbox) != 4 or not all(-1e6 < x < 1e6 for x in bbox):
        skipped.add('repaired: bbox taken from the mask', key)
        bbox = mask_utils.toBbox(mask).tolist()
    if not _are_numbers([area]) or not 0 <= area < 1e9:
        skipped.add('repaired: area taken from the mask', key)
        area = mask_utils.area(mask)
    x, y, box_width, box_height = map(float, bbox)
    box = x, y, box_width, box_height
    return image, Instance(key, category_id, float(area), box, bool(is_crowd), rle)


def _are_numbers(values: Any) -> TypeGuard[list[float]]:
    # Much faster than a test per number; and here, unlike for isinstance, bool is not int.
    return isinstance(values, list) and set(map(type, values)) <= {int, float}


def encode_segmentation(segmentation: Any, height: int, width: int) -> tuple[bytes, int]:
    """Encodes a COCO segmentation as compressed run lengths.

    Coordinates may lie outside the image by up to its own size, as in real files; pycocotools clips
    them. Coordinates further out make the annotation unusable. Polygons of fewer than three points
    have no area and are dropped.

    Args:
      segmentation: list of polygons [x0, y0, x1, y1, …] in pixels, or an object with `size`
        [height, width] and `counts` (list of run lengths, or COCO's compressed string).
      height: of the image in pixels (see `is_bounded`).
      width: of the image in pixels.

    Returns:
      The bytes that pycocotools calls `counts`, and the number of dropped polygons.

    Raises:
      ValueError: with the reason, which quotes nothing of the data.
    """
    if isinstance(segmentation, dict):
        if segmentation.get('size') != [height, width]:
            raise _Broken('size of the run lengths is not the size of the image')
        counts = segmentation.get('counts')
        if not isinstance(counts, str | list):
            raise _Broken('run lengths are neither a list nor a string')
        runs = decode_counts(counts) if isinstance(counts, str) else counts
        if not set(map(type, runs)) <= {int}:
            raise _Broken('a run length is not a whole number')
        if min(runs, default=0) < 0:
            raise _Broken('a run length is negative')
        if sum(runs) != height * width:
            raise _Broken('run lengths do not add up to the image')
        rle: Any = {'size': [height, width], 'counts': counts}
        if isinstance(counts, list):
            rle = mask_utils.frPyObjects(rle, height, width)
        if 0 in runs[1:]:
            # The mask is correct, but pycocotools would return a random box for it.
            rle = mask_utils.encode(mask_utils.decode(rle))
        encoded = rle['counts']
        return encoded.encode('ascii') if isinstance(encoded, str) else encoded, 0
    if not isinstance(segmentation, list) or not segmentation:
        raise _Broken('no segmentation')
    parts = [_points(polygon, height, width) for polygon in segmentation]
    parts = [points for points in parts if len(points) >= 3]
    if not parts:
        raise _Broken('no polygon has 3 points')
    if sum(map(_outline, parts)) > MAX_OUTLINE * (height + width):
        raise _Broken('outline too long')
    rles = mask_utils.frPyObjects([points.ravel() for points in parts], height, width)
    # Merging takes quadratic time in the number of parts, so it is done in a tree.
    while len(rles) > 1:
        rles = [mask_utils.merge(rles[i : i + 16]) for i in range(0, len(rles), 16)]
    return rles[0]['counts'], len(segmentation) - len(parts)


def _points(polygon: Any, height: int, width: int) -> np.ndarray:
    """Corners (x, y) of a polygon in pixels, float64 `[n, 2]`."""
    if not _are_numbers(polygon):
        raise _Broken('a polygon is not a list of numbers')
    if len(polygon) % 2:
        raise _Broken('a polygon has an odd number of coordinates')
    try:
        points = np.array(polygon, np.float64).reshape(-1, 2)
    except OverflowError as error:  # JSON has integers of any length
        raise _Broken(_FAR_OUT) from error
    # In units of the image's size. A comparison with NaN is false.
    scaled = points / (width, height)
    if not ((scaled >= -1) & (scaled <= 2)).all():
        raise _Broken(_FAR_OUT)
    return points


def _outline(points: np.ndarray) -> float:
    return np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()


def decode_counts(text: str) -> list[int]:
    """Decodes COCO's compressed string of run lengths (README.md describes the format).

    Raises:
      ValueError: other characters, a number of more than 35 bits, or an unfinished one.
    """
    counts: list[int] = []
    value = shift = 0
    for char in text:
        group = ord(char) - 48
        if not 0 <= group < 64 or shift > 30:
            raise _Broken('malformed string of run lengths')
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            if group & 16:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift:
        raise _Broken('malformed string of run lengths')
    return counts
