"""Image and annotation files of a data set, in a folder or in the official zip files."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import itertools
import os
import pathlib
import re
import stat
import unicodedata
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import PIL.Image
import tqdm

from segmentation.data import image_files
from segmentation.data.entries import File
from segmentation.data.image_files import IMAGE_FORMATS, UnusableImage

__all__ = ['IMAGE_FORMATS', 'UnusableImage']

_MAX_FILE_BYTES = 2**28


class FolderSource:
    """The image files of one split of a folder.

    Annotations name images as their tool saw them: with backslashes, as absolute paths, or as
    addresses. Such names are looked up; nothing outside the folder is ever read.
    """

    def __init__(self, root: pathlib.Path, folders: Sequence[pathlib.Path]):
        """Args:
        root: of the data set.
        folders: in which the images of the split may be, the likeliest first. A folder may be a
          link, but no file in it may lead out of it.
        """
        self._root = root.resolve()
        self._folders = [folder.resolve() for folder in folders] or [self._root]
        self._paths: dict[str, pathlib.Path] = {}  # stored name → path
        self._by_stem: dict[str, list[pathlib.Path]] | None = None

    def find(self, names: Iterable[str]) -> dict[str, File]:
        """Finds the files that an annotation file names; nothing is read yet."""
        found = {name: self._find_one(name) for name in names}
        counts = collections.Counter(path for path, _ in found.values())
        result = {}
        for name, (path, is_exact) in found.items():
            if path is None:
                unsafe = not _parts(name) or '..' in _parts(name)
                reason = 'unsafe or missing file name' if unsafe else 'missing file'
                result[name] = File(name, reason=reason)
                continue
            plain = is_exact and not re.search(r'\\|://|^/|^[A-Za-z]:', name)
            if not plain and counts[path] > 1:
                result[name] = File(name, reason='several file names lead to the same file')
            else:
                result[name] = File(self._stored_name(path), is_repaired=not plain)
        return result

    def _stored_name(self, path: pathlib.Path) -> str:
        """A name for `read` that no other file has, the path within a folder if possible."""
        inside = [f for f in (*self._folders, self._root) if path.is_relative_to(f)]
        names = [path.relative_to(folder).as_posix() for folder in inside] or [path.name]
        # Several folders can have images of the same name.
        more = (f'{number}/{names[0]}' for number in itertools.count(2))
        return next(
            name
            for name in itertools.chain(names[:1], reversed(names), more)
            if self._paths.setdefault(name, path) == path
        )

    def _find_one(self, name: str) -> tuple[pathlib.Path | None, bool]:
        """The path, without following links, and whether the name is exactly its path."""
        parts = _parts(name)
        if not parts or '..' in parts:
            return None, False
        # The path may start at the data set or at the folder of the images.
        for folder in (*self._folders, self._root, *(f.parent for f in self._folders)):
            is_inside = folder in self._folders or folder.is_relative_to(self._root)
            if is_inside and _exists(path := folder.joinpath(*parts)):
                return path, True
        for start in range(1, len(parts)):
            for folder in self._folders:
                if _exists(path := folder.joinpath(*parts[start:])):
                    return path, False
        return self._by_name(parts[-1]), False

    def _by_name(self, name: str) -> pathlib.Path | None:
        """The only file whose name differs at most in case, composed letters, %20 and ending."""
        if self._by_stem is None:
            self._by_stem = collections.defaultdict(list)
            for path in files_below(self._folders):
                if path.suffix.lower() in IMAGE_SUFFIXES:
                    self._by_stem[_plain(path.stem)].append(path)
        stem, ending = os.path.splitext(name)
        stem = stem if ending.lower() in IMAGE_SUFFIXES else name
        candidates = self._by_stem.get(_plain(stem), [])
        same = [path for path in candidates if _plain(path.name) == _plain(name)]
        candidates = same or candidates
        decoded = urllib.parse.unquote(name)
        if not candidates and decoded != name and '/' not in decoded:
            return self._by_name(decoded)
        return candidates[0] if len(candidates) == 1 else None

    def read(self, file_name: str) -> bytes:
        """Reads a file that `find` found, by its stored name."""
        path = self._paths[file_name].resolve()
        if not any(map(path.is_relative_to, (*self._folders, self._root))):
            raise UnusableImage('link out of the image folder')
        return read_regular(path)


def read_regular(path: pathlib.Path, limit: int = _MAX_FILE_BYTES) -> bytes:
    """Reads a file; anything else, such as a pipe, could wait forever.

    Raises:
      UnusableImage: it is missing, larger than the limit, or no regular file.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnusableImage('not a regular file')
        if status.st_size > limit:
            raise UnusableImage('file too large')
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UnusableImage('missing file') from error


# Of image files in folders. Those that cannot be read are then reported by name.
IMAGE_SUFFIXES = frozenset(
    '.jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .avif .heic .heif .jp2 .jxl .dng'.split()
)


def files_below(
    folders: Iterable[pathlib.Path], ignore: pathlib.Path | None = None
) -> Iterator[pathlib.Path]:
    """All files below folders, each once, in a fixed order.

    Left out are folders that are links or hidden, and the one to ignore.
    """
    seen = {os.fspath(ignore.resolve())} if ignore else set()
    for folder in folders:
        for parent, children, names in os.walk(folder):
            if parent in seen:
                children.clear()
                continue
            seen.add(parent)
            children[:] = sorted(child for child in children if not child.startswith('.'))
            yield from (pathlib.Path(parent, name) for name in sorted(names))


def _plain(name: str) -> str:
    """A name without the differences between operating systems: case, and composed letters."""
    return unicodedata.normalize('NFC', name).lower()


def _exists(path: pathlib.Path) -> bool:
    return os.path.lexists(path)


def _parts(name: str) -> list[str]:
    """The parts of a path or address, without what stands before a path."""
    text = name.replace('\\', '/')
    if '://' in text or text.startswith('/data/local-files/'):  # Label Studio's local files
        address = urllib.parse.urlsplit(text)
        local = urllib.parse.parse_qs(address.query).get('d')
        text = local[0] if local else urllib.parse.unquote(address.path)
    parts = [part for part in text.split('/') if part not in ('', '.')]
    if parts and len(parts[0]) >= 2 and parts[0][1] == ':':  # a Windows drive
        parts[0] = parts[0][2:]
    return [part for part in parts if part and '\x00' not in part]


class ZipSource:
    """One split of the official zip files, which are read in place."""

    def __init__(self, annotations: os.PathLike, images: os.PathLike, name: str):
        self.annotations_name = f'annotations/instances_{name}.json'
        self._annotations = annotations
        self._images = zipfile.ZipFile(images)
        self._prefix = name

    def annotations(self) -> bytes:
        with zipfile.ZipFile(self._annotations) as archive:
            return archive.read(self.annotations_name)

    def find(self, names: Iterable[str]) -> dict[str, File]:
        return {name: File(name) for name in names}

    def read(self, file_name: str) -> bytes:
        try:
            info = self._images.getinfo(f'{self._prefix}/{file_name}')
        except KeyError as error:
            raise UnusableImage('missing file') from error
        if info.file_size > _MAX_FILE_BYTES:
            raise UnusableImage('file too large')
        return self._images.read(info)


def check_files(
    files: Mapping[str, File], read: Callable[[str], bytes], split: str
) -> dict[str, File]:
    """Decodes every file that was found; the result says what it holds or why it cannot be used."""

    def check(item: tuple[str, File]) -> tuple[str, File]:
        given, file = item
        reason = file.reason
        if not reason:
            try:
                data = read(file.name)
                header = check_image(data)
                return given, File(file.name, header, '', file.is_repaired)
            except UnusableImage as unusable:
                reason = str(unusable)
            except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error):
                reason = 'file cannot be read'
        return given, File(file.name, None, reason)

    return dict(in_threads(check, list(files.items()), split))


def in_threads(function: Callable[[Any], Any], items: Sequence[Any], name: str) -> Iterator[Any]:
    """Maps items in order, with a thread per processor and a progress bar."""
    workers = os.cpu_count() or 1
    pending: collections.deque[concurrent.futures.Future] = collections.deque()
    bar = tqdm.tqdm(total=len(items), desc=name, unit=' images', mininterval=1)
    with bar, concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 4 * workers:
                    yield pending.popleft().result()
                    bar.update()
            while pending:
                yield pending.popleft().result()
                bar.update()
        finally:
            for future in pending:
                future.cancel()


def check_image(data: bytes) -> image_files.Header:
    """Decodes an image file completely.

    Raises:
      UnusableImage: with the reason (README.md has the rules).
    """
    try:
        with image_files.open_image(data) as image:
            if not image_files.is_bounded(*image.size):
                raise UnusableImage('too large')
            size = image.size
            # Of JPEG, all data are decoded, which finds damage, but fewer pixels are computed.
            image.draft(image.mode, (1, 1))
            image_files.to_rgb(image)  # before the header: PNG has EXIF after its pixels
            bits = image_files.gray_bits(image) if image.mode.startswith('I') else 0
            digest = hashlib.sha256(data).hexdigest()
            header = image_files.header_of(image)
            return dataclasses.replace(header, size=size, sha256=digest, gray_bits=bits)
    except UnusableImage:
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise UnusableImage('too large') from error
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files.
        raise UnusableImage('damaged or truncated image') from error
