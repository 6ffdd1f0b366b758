"""What a layout is made of: the folder that is looked at, its splits, and documents in COCO's form.

A layout describes how one family of tools writes a data set. It recognizes a folder by names of
files and the first keys of JSON files, and gives each split as a COCO document. Everything after
that (checks, repairs, counts, masks) is the same for all layouts.
"""

import dataclasses
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from segmentation.data import coco_files, image_files
from segmentation.data.entries import COMPUTED, LEFT_OUT, UNLABELED

MAX_FILES = 5_000_000  # more files make a folder of something else
_MAX_DEPTH = 8  # folders below the data set
_HEAD = 65_536  # bytes of a JSON file that are read to recognize it
_MAX_BYTES = 2**32  # of an annotation file
_MAX_SMALL = 2**26  # bytes of a file that describes one image
# Text in quotes, also if the end of the head cuts it; or punctuation.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[{}\[\]:]', re.DOTALL)
_MAX_RATIO = 200  # of gzip; JSON of polygons has about 4, of run lengths about 30

_USUAL = {
    'train': ('train', 'training', 'trn', 'trainset'),
    'val': ('val', 'valid', 'validation', 'dev', 'valset'),
    'test': ('test', 'testing', 'testset'),
}
_PLAIN = {word for words in _USUAL.values() for word in words}
_FILLERS = {'instances', 'coco', 'annotations', 'annotation', 'data', 'set', 'split', 'images'}


class Folder:
    """The files of a data set, listed once. Links to folders are listed, but not followed."""

    def __init__(self, root: pathlib.Path, ignore: Iterable[pathlib.Path] = ()):
        """Args:
        root: of the data set.
        ignore: folders below it that do not belong to it.

        Raises:
          ValueError: there are far too many files.
        """
        self.root = root.resolve()
        self.files: list[str] = []  # relative paths, sorted
        self.folders: set[str] = set()  # relative paths; of the data set itself ''
        ignored = {os.fspath(path.resolve()) for path in ignore}
        for parent, children, names in os.walk(self.root):
            relative = pathlib.PurePath(os.path.relpath(parent, self.root)).as_posix()
            prefix = '' if relative == '.' else f'{relative}/'
            self.folders.add(prefix.rstrip('/'))
            children[:] = [
                child
                for child in sorted(children)
                if not child.startswith(('.', '__MACOSX')) and f'{parent}/{child}' not in ignored
            ]
            self.folders.update(prefix + child for child in children)
            if prefix.count('/') >= _MAX_DEPTH:
                children.clear()
            self.files += [prefix + name for name in names if not name.startswith('.')]
            if len(self.files) > MAX_FILES:
                raise ValueError(
                    f'{root} has over {MAX_FILES} files: give a folder of the data set alone'
                )
        self.files.sort()
        self.names = frozenset(self.files)

    def matching(self, pattern: str) -> list[str]:
        """Files whose whole relative path matches a regular expression, in any case."""
        return [name for name in self.files if re.fullmatch(pattern, name, re.IGNORECASE)]

    def images_in(self, folder: str) -> list[str]:
        """Image files below a folder, relative to it; two may differ only in their ending."""
        prefix = f'{folder}/' if folder else ''
        return [
            name.removeprefix(prefix)
            for name in self.files
            if name.startswith(prefix)
            and os.path.splitext(name)[1].lower() in coco_files.IMAGE_SUFFIXES
        ]

    def images_below(self, folder: str) -> dict[str, str]:
        """Image files below a folder: relative path without its ending → relative path with it."""
        prefix = f'{folder}/' if folder else ''
        result: dict[str, str] = {}
        for name in self.files:
            stem, ending = os.path.splitext(name)
            if name.startswith(prefix) and ending.lower() in coco_files.IMAGE_SUFFIXES:
                result.setdefault(stem.removeprefix(prefix), name.removeprefix(prefix))
        return result

    def path(self, name: str) -> pathlib.Path:
        """The path of a file.

        Raises:
          ValueError: it is a link out of the data set.
        """
        path = (self.root / name).resolve()
        if not path.is_relative_to(self.root):
            raise ValueError(f'{self.root / name} is a link out of the data set; copy the file')
        return path

    def read(self, name: str, limit: int = _MAX_SMALL) -> bytes:
        """Reads a file; one that ends in .gz is decompressed.

        Raises:
          ValueError: it is no regular file, too large, or a link out of the data set.
        """
        try:
            data = coco_files.read_regular(self.path(name), limit)
        except (coco_files.UnusableImage, OSError) as error:
            raise ValueError(f'{self.root / name} cannot be read: {error}') from error
        if not name.lower().endswith('.gz'):
            return data
        most = min(limit, _MAX_RATIO * len(data) + 2**20)
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                content = file.read(most + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f'{self.root / name} is not a gzip file: {error}') from error
        if len(content) > most:
            raise ValueError(f'{self.root / name} unpacks to far more than an annotation file has')
        return content

    def text(self, name: str) -> str:
        """Reads a text file (UTF-8, with or without a byte order mark)."""
        try:
            return self.read(name).decode('utf-8-sig')
        except UnicodeDecodeError as error:
            raise ValueError(f'{self.root / name} is not text in UTF-8: {error}') from error

    def json(self, name: str) -> Any:
        """Reads a JSON file that describes one image."""
        try:
            return json.loads(self.read(name, _MAX_BYTES))
        except (ValueError, RecursionError) as error:
            raise ValueError(f'{self.root / name} cannot be read as JSON: {error}') from error

    def is_damaged(self, name: str) -> bool:
        """Whether a JSON file does not begin as JSON in UTF-8 does; reading it says what it is."""
        try:
            path = self.path(name)
            if not path.is_file() or name.lower().endswith('.gz'):
                return False
            with path.open('rb') as file:
                head = file.read(_HEAD).lstrip(b'\xef\xbb\xbf \t\r\n')
        except (OSError, ValueError):
            return False
        return not head.startswith((b'{', b'['))

    def is_long(self, name: str) -> bool:
        """Whether `keys` sees only the beginning of a file."""
        return (self.root / name).lstat().st_size > _HEAD

    def keys(self, name: str) -> tuple[list[str], set[str]]:
        """The first keys of a JSON object, and the keys of the objects in it; from its first bytes.

        Nothing for other files.
        """
        try:
            path = self.path(name)
            if not path.is_file():
                return [], set()
            opened: Any = gzip.open if name.lower().endswith('.gz') else open
            with opened(path, 'rb') as file:
                head = file.read(_HEAD).decode('utf-8', 'replace').lstrip('\ufeff \t\r\n')
        except (OSError, EOFError, ValueError, zlib.error):
            return [], set()
        first: list[str] = []
        second: set[str] = set()
        depth, last = 0, ''
        if not head.startswith('{'):
            return [], set()
        for token in re.findall(_TOKEN, head):
            if token in '{[':
                depth += 1
            elif token in '}]':
                depth -= 1
            elif token == ':' and depth == 1:
                first.append(last)
            elif token == ':' and depth == 2:
                second.add(last)
            last = token.strip('"')
        return first, second


class Images:
    """The image files of a split, for layouts whose annotations do not say their sizes."""

    def __init__(self, folder: Folder, folders: Iterable[str], exif: str):
        self.source = coco_files.FolderSource(folder.root, [folder.root / f for f in folders])
        self._exif = exif

    def size(self, file_name: str) -> tuple[int, int] | None:
        """(width, height) in pixels as annotators see them; None if the file cannot be read."""
        file = self.source.find([file_name])[file_name]
        if file.reason:
            return None
        try:
            with image_files.open_image(self.source.read(file.name)) as image:
                header = image_files.header_of(image)
        except Exception:  # it is checked, and counted, later
            return None
        return header.displayed if self._exif == 'displayed' else header.size


@dataclasses.dataclass(frozen=True)
class Split:
    """One split as a layout finds it."""

    name: str  # as the folder calls it
    files: tuple[str, ...]  # its annotation files, relative to the data set
    folders: tuple[str, ...]  # in which its images can be, relative to the data set
    load: Callable[[Folder, 'Split', Images], dict[str, Any]]  # gives the COCO document

    def digest(self, folder: Folder) -> str:
        """SHA-256 of the annotation files: of the file itself if there is one."""
        digests = [
            hashlib.sha256(_bytes_of(folder, name)).hexdigest() for name in sorted(self.files)
        ]
        if len(digests) == 1:
            return digests[0]
        text = json.dumps([*zip(sorted(self.files), digests, strict=True)])
        return hashlib.sha256(text.encode()).hexdigest()

    def title(self) -> str:
        """What error messages call the annotations."""
        return self.files[0] if len(self.files) == 1 else f'{len(self.files)} annotation files'


def _bytes_of(folder: Folder, name: str) -> bytes:
    try:
        return coco_files.read_regular(folder.path(name), _MAX_BYTES)
    except coco_files.UnusableImage as error:
        raise ValueError(f'{folder.root / name} is {error}') from error


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one family of tools writes a data set."""

    name: str  # for --layout
    title: str  # for people
    find: Callable[[Folder], list[Split]]  # the splits; none if the folder is something else
    is_general: bool = False  # whether it is only tried if no other layout fits


def usual_name(name: str) -> str:
    """'train', 'val' or 'test' for the usual names of these splits, such as 'valid'; else ''."""
    words = [word for word in re.split(r'[^a-z]+', name.lower()) if word]
    words = [word for word in words if word not in _FILLERS] or words
    if words == ['default']:
        return 'train'
    return next((u for u, names in _USUAL.items() if len(words) == 1 and words[0] in names), '')


def split_in(path: str) -> str:
    """The outermost part that names a split, plainly ('train') if one does; '' if none does."""
    stems = [part.partition('.')[0] for part in pathlib.PurePosixPath(path).parts]
    named = [stem for stem in stems if usual_name(stem) and stem != 'default']
    plain = [stem for stem in named if re.sub('[^a-z]', '', stem.lower()) in _PLAIN]
    return next(iter(plain or named), '')


def by_split(paths: Iterable[str], split_of: Callable[[str], str]) -> dict[str, list[str]]:
    """Groups paths by their split; those without one are 'train', or 'other' if there is a train.

    Args:
      paths: of annotation files or images.
      split_of: `split_in`, or `split_of_folder` if each image has a file: 'train_1' is no split.
    """
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(split_of(path), []).append(path)
    if rest := groups.pop('', []):
        groups['other' if 'train' in map(usual_name, groups) else 'train'] = rest
    return groups


def split_of_folder(path: str) -> str:
    """The split that the folders of a file name; '' if none does."""
    return split_in(parent(path))


def existing(folder: Folder, *folders: str) -> tuple[str, ...]:
    """Those of the folders that exist, without repetition."""
    plain = (pathlib.PurePosixPath(name).as_posix() for name in folders)
    names = ('' if name == '.' else name for name in plain)
    return tuple(name for name in dict.fromkeys(names) if name in folder.folders)


def parent(path: str) -> str:
    """The folder of a relative path; '' for the data set itself."""
    return path.rpartition('/')[0]


class Document:
    """A COCO document that a layout fills."""

    def __init__(self, names: Iterable[str]):
        self._ids = {name: i for i, name in enumerate(dict.fromkeys(names), 1)}
        self.content: dict[str, Any] = {'images': [], 'annotations': []}
        self.content |= {UNLABELED: [], LEFT_OUT: []}

    def add_image(self, file_name: str, size: tuple[int, int] | None = None) -> int:
        """Adds an image with its (width, height), if known; returns its id."""
        entry: dict[str, Any] = {'id': len(self.content['images']) + 1, 'file_name': file_name}
        if size is not None:
            entry |= {'width': size[0], 'height': size[1]}
        self.content['images'].append(entry)
        return entry['id']

    def add(self, image_id: int, label: str, segmentation: Any, **fields: Any) -> None:
        """Adds an instance of a named category."""
        category = self._ids.setdefault(label, len(self._ids) + 1)
        entry = {'id': len(self.content['annotations']) + 1, 'image_id': image_id}
        entry |= {'category_id': category, 'segmentation': segmentation, **fields}
        self.content['annotations'].append(entry)

    def leave_out(self, reason: str, example: str) -> None:
        """Counts what cannot be read; a reason begins with 'image: ' or 'annotation: '."""
        self.content[LEFT_OUT].append((reason, example))

    def note_unlabeled(self, image_id: int) -> None:
        """Notes that an image has pixels that nobody labeled, which are read as background."""
        self.content[UNLABELED].append(self.content['images'][image_id - 1]['file_name'])

    def finish(self) -> dict[str, Any]:
        """The document. Its boxes and areas are computed later, which is no repair."""
        categories = [{'id': i, 'name': name} for name, i in self._ids.items()]
        return {**self.content, 'categories': categories, COMPUTED: True}


def read_indexes(folder: Folder, name: str, apply_palette: bool = False) -> np.ndarray:
    """Reads a mask of class numbers [H, W] or colors [H, W, 3].

    The values of a palette image are its indexes, or its colors if `apply_palette` is true.

    Raises:
      ValueError: it is not a lossless image of a sensible size.
    """
    data = folder.read(name)
    try:
        with image_files.open_image(data) as image:
            if image.format == 'JPEG':
                raise ValueError('JPEG changes class numbers; use PNG')
            if not image_files.is_bounded(*image.size):
                raise ValueError('too large')
            if (
                image.mode == 'P'
                and apply_palette
                or image.mode in ('RGBA', 'LA', 'PA', 'CMYK', 'YCbCr')
            ):
                image = image.convert('RGB')
            return np.asarray(image)
    except Exception as error:  # Pillow raises almost anything on damaged files
        raise ValueError(f'{folder.root / name} cannot be read as a mask: {error}') from error


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """A boolean mask [H, W] as a COCO segmentation."""
    encoded = mask_utils.encode(np.asfortranarray(mask, np.uint8))
    return {'size': list(mask.shape), 'counts': encoded['counts'].decode('ascii')}


def numbers(value: Any) -> list[float] | None:
    """A JSON list of numbers, flat or of points, as one flat list; else None."""
    if not isinstance(value, list):
        return None
    flat = [x for item in value for x in (item if isinstance(item, list) else [item])]
    return flat if set(map(type, flat)) <= {int, float} else None


def name_of(value: Any) -> str:
    """The name of a class: a text, or a number; else 'unnamed'."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = f'{value:g}' if isinstance(value, float) else str(value)
    return value if isinstance(value, str) and value.strip() else 'unnamed'


def are_small(values: Iterable[float]) -> bool:
    """Whether numbers of the data can be computed with: JSON has infinite and enormous ones."""
    return all(abs(value) < 1e9 for value in values)  # a comparison with NaN is false


def get(mapping: Any, key: str, kind: type) -> Any:
    """A field of a JSON object if it is there and of a type; else an empty value of this type."""
    value = mapping.get(key) if isinstance(mapping, Mapping) else None
    return value if isinstance(value, kind) else kind()
