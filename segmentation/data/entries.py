"""What annotation files hold once they are checked, and the values that tools write into them."""

import collections
import dataclasses
import itertools
import pathlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeGuard

from segmentation.data import image_files

MAX_ID = 2**63 - 1
_HARMLESS = re.compile('[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\u200c\u200d]')
# A document of a format without boxes and areas has this key.
COMPUTED = 'boxes_are_computed'
# File names of images with pixels that nobody labeled.
UNLABELED = 'images_with_unlabeled_pixels'
# Pairs of a reason and an example of what a format leaves out.
LEFT_OUT = 'left_out'


def is_id(value: Any) -> TypeGuard[int]:
    """Whether a value is a whole number that int64 holds, and not negative."""
    return type(value) is int and 0 <= value <= MAX_ID


def is_text(value: Any) -> TypeGuard[str]:
    """Whether a value is printable text of a sensible length."""
    # Unprintable text could forge terminal output, and a lone surrogate cannot be stored. Spaces
    # of all widths and the joiners of Persian, Hindi and emoji do no harm.
    return (
        isinstance(value, str)
        and 0 < len(value) <= 1000
        and (value.isprintable() or _HARMLESS.sub('', value).isprintable())
    )


def short(value: Any) -> str:
    """A value of the data for a message: at most 80 characters that cannot control a terminal."""
    is_plain = isinstance(value, str) and value.isascii() and value.isprintable()
    return value[:80] if is_plain else ascii(value)[:80]


def id_key(value: Any) -> int | str | None:
    """The id that a value means: a whole number, or text; None if it is neither.

    "7" and 7.0 are 7. Other text, and negative numbers, are ids as text.
    """
    if type(value) is float and value.is_integer():
        value = int(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 19:
        value = int(value) if str(int(value)) == value else value
    if is_id(value) or is_text(value):
        return value
    return f'{value}' if type(value) is int and value < 0 and value > -MAX_ID else None


def free_ids(used: Collection[int | str], count: int) -> Iterator[int]:
    """Yields ids that are not used: those after the largest, as long as there are `count`."""
    following = max((key for key in used if isinstance(key, int)), default=-1) + 1
    start = following if following + count <= MAX_ID else 0
    return (number for number in itertools.count(start) if number not in used)


def numbered(keys: Mapping[int | str, Any]) -> dict[int | str, int]:
    """Gives ids that are text the numbers after the largest id."""
    texts = [key for key in keys if isinstance(key, str)]
    numbers = dict(zip(texts, free_ids(keys.keys(), len(texts)), strict=False))
    return {key: key if isinstance(key, int) else numbers[key] for key in keys}


def whole_number(value: Any) -> int | None:
    """A whole number that is written as such, as a float or as text; else None."""
    if isinstance(value, str) and len(value) < 20:
        try:
            value = float(value)
        except ValueError:
            return None
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value if type(value) is int else None


def license_names(entries: Any) -> dict[int, str]:
    """Names of licenses by id, as far as they are usable."""
    entries = entries if isinstance(entries, list) else []
    return {
        entry['id']: entry['name']
        for entry in entries
        if isinstance(entry, dict) and is_id(entry.get('id')) and is_text(entry.get('name'))
    }


def positive_size(width: Any, height: Any) -> tuple[int, int] | None:
    """Width and height in pixels, if both are positive whole numbers."""
    width, height = whole_number(width), whole_number(height)
    usable = width is not None and height is not None and width > 0 and height > 0
    return (width, height) if usable else None


def is_safe_name(name: Any) -> bool:
    """Whether a file name stays inside its folder, on any operating system."""
    if not is_text(name) or '\\' in name:
        return False
    windows = pathlib.PureWindowsPath(name)
    return not (windows.drive or windows.root or '..' in windows.parts or name.endswith('/'))


def file_name(entry: Any) -> str | None:
    """The file name of an image entry as its tool writes it, perhaps with a path or an address."""
    if not isinstance(entry, dict):
        return None
    # LVIS has only addresses.
    names = (entry.get(key) for key in ('file_name', 'coco_url', 'path'))
    return next((name for name in names if is_text(name)), None)


def category_name(value: Any) -> str | None:
    """The name of a category, with single spaces for white space of any kind; None if unusable."""
    value = str(value) if type(value) is int else value
    value = ' '.join(value.split()) if isinstance(value, str) else None
    return value if is_text(value) else None


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
    apply_exif: bool = False  # whether the EXIF orientation gives what the annotations refer to
    sha256: str = ''  # of the image file, if it was read


class Skipped:
    """Counts what was left out or repaired, by reason, with a few examples of each."""

    def __init__(self) -> None:
        self._reasons: dict[str, dict[str, Any]] = {}

    def add(self, reason: str, example: Any, value: Any = None) -> None:
        """Counts one more case of a reason.

        Args:
          reason: under which it is counted.
          example: an id or a file name.
          value: what is wrong with it, if that helps.
        """
        entry = self._reasons.setdefault(reason, {'count': 0, 'examples': []})
        entry['count'] += 1
        if len(entry['examples']) < 5:
            # Names come from data: control characters must not reach a terminal.
            entry['examples'].append(example if is_id(example) else ascii(example)[:80])
            if value is not None:
                values = entry.setdefault('values', [])
                values += [''] * (len(entry['examples']) - 1 - len(values)) + [short(value)]

    def update(self, other: 'Skipped') -> None:
        """Adds what another one has counted."""
        for reason, entry in other.as_dict().items():
            mine = self._reasons.setdefault(reason, {'count': 0, 'examples': []})
            mine['count'] += entry['count']
            values = [
                [*each.get('values', ()), *[''] * 5][: len(each['examples'])]
                for each in (mine, entry)
            ]
            if any(map(any, values)):
                mine['values'] = [*values[0], *values[1]][:5]
            mine['examples'] = [*mine['examples'], *entry['examples']][:5]

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Returns reason → {'count', 'examples', perhaps 'values'}, the most frequent first."""
        return dict(sorted(self._reasons.items(), key=lambda item: (-item[1]['count'], item[0])))


def count_entries(document: Mapping[str, Any], skipped: Skipped) -> tuple[int, int]:
    """Numbers of images and annotations, with those that a layout left out, which are counted."""
    given = document.get(LEFT_OUT)
    # A file has lists, never tuples.
    pairs = [p for p in given if isinstance(p, tuple)] if isinstance(given, list) else []
    for reason, example in pairs:
        skipped.add(reason, example)
    kinds = [reason.partition(':')[0] for reason, _ in pairs]
    images, annotations = len(document['images']), len(document['annotations'])
    return images + kinds.count('image'), annotations + kinds.count('annotation')


def show_examples(entry: Mapping[str, Any], most: int = 5) -> str:
    """The examples of an entry of `Skipped.as_dict` for a message, with what is wrong with them."""
    pairs = itertools.zip_longest(entry['examples'], entry.get('values', ()))
    shown = [f'{example}: {value}' if value else str(example) for example, value in pairs]
    return ', '.join(shown[:most])


@dataclasses.dataclass(frozen=True, slots=True)
class Annotations:
    """The checked content of a COCO instances file."""

    categories: tuple[Category, ...]  # in the order of the file
    images: list[Image]  # by increasing id
    skipped: Skipped  # what was left out or repaired
    notes: Skipped  # what was read as it is, but may be meant otherwise
    sha256: str  # hexadecimal digest of the file
    # Annotation entries in the file by the category that they name; see `id_key`.
    named: collections.Counter[int | str | None]
    num_images: int  # entries in the file
    num_annotations: int  # entries in the file


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """What was found for the file name of an image entry."""

    name: str  # within the image folder
    header: image_files.Header | None = None  # None if it cannot be used
    reason: str = ''  # why it cannot be used
    is_repaired: bool = False  # whether the given name had to be changed to find it
