"""Annotation and image files of a data set in COCO's layout, in a folder or in zip files."""

import collections
import concurrent.futures
import io
import os
import pathlib
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence

import PIL.Image
import tqdm

from segmentation.data import annotations as annotations_lib

# The formats to give to Pillow's `open`, which otherwise also tries some that run programs. All are
# loaded here, before threads use them.
IMAGE_FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'GIF', 'TIFF')
PIL.Image.init()

_MAX_FILE_BYTES = 2**28
_EXIF_ORIENTATION = 0x0112


class UnusableImage(Exception):
    """An image that is left out; the message is the reason that it is counted under."""


class FolderSource:
    """One split of a folder in COCO's layout."""

    def __init__(self, folder: pathlib.Path, split: str):
        self.annotations_path = folder / 'annotations' / f'instances_{split}.json'
        self.annotations_name = str(self.annotations_path)
        self.images = folder / split
        if not self.images.is_dir():
            raise ValueError(
                f'{folder} has annotations/instances_{split}.json but no folder {split!r} with '
                'the images'
            )
        # The image folder itself may be a link, but its files must not lead out of it.
        self._root = self.images.resolve()

    def annotations(self) -> bytes:
        if not self.annotations_path.is_file():  # reading a pipe, say, could wait forever
            raise ValueError(f'{self.annotations_path} is not a regular file')
        return self.annotations_path.read_bytes()

    def read(self, file_name: str) -> bytes:
        path = (self._root / file_name).resolve()
        if not path.is_relative_to(self._root):
            raise UnusableImage('link out of the image folder')
        try:
            # Reading anything else, such as a pipe, could wait forever.
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise UnusableImage('not a regular file')
            if status.st_size > _MAX_FILE_BYTES:
                raise UnusableImage('file too large')
            return path.read_bytes()
        except FileNotFoundError as error:
            raise UnusableImage('missing file') from error


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

    def read(self, file_name: str) -> bytes:
        try:
            info = self._images.getinfo(f'{self._prefix}/{file_name}')
        except KeyError as error:
            raise UnusableImage('missing file') from error
        if info.file_size > _MAX_FILE_BYTES:
            raise UnusableImage('file too large')
        return self._images.read(info)


def read_images(
    images: Sequence[annotations_lib.Image], read: Callable[[str], bytes], split: str
) -> Iterator[tuple[annotations_lib.Image, bytes, str]]:
    """Yields each image with its file and, if it cannot be used, the reason; else ''."""

    def load(image: annotations_lib.Image) -> tuple[annotations_lib.Image, bytes, str]:
        try:
            data = read(image.file_name)
            check_image(data, image.width, image.height)
        except UnusableImage as unusable:
            return image, b'', str(unusable)
        except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error):
            return image, b'', 'file cannot be read'
        return image, data, ''

    workers = os.cpu_count() or 1
    pending: collections.deque[concurrent.futures.Future] = collections.deque()
    bar = tqdm.tqdm(total=len(images), desc=split, unit=' images', mininterval=1)
    with bar, concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            for image in images:
                pending.append(pool.submit(load, image))
                if len(pending) > 4 * workers:
                    yield pending.popleft().result()
                    bar.update()
            while pending:
                yield pending.popleft().result()
                bar.update()
        finally:
            for future in pending:
                future.cancel()


def check_image(data: bytes, width: int, height: int) -> None:
    """Decodes an image file completely and compares its size with the annotated one.

    Raises:
      UnusableImage: with the reason (README.md has the rule).
    """
    try:
        with PIL.Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            size = image.size
            if not annotations_lib.is_bounded(*size):
                raise UnusableImage('too large')
            if size != (width, height):
                turned = image.getexif().get(_EXIF_ORIENTATION) in (5, 6, 7, 8)
                if not turned or size != (height, width):
                    raise UnusableImage('size mismatch')
            image.load()
    except UnusableImage:
        raise
    except PIL.UnidentifiedImageError as error:
        raise UnusableImage('not an image') from error
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise UnusableImage('too large') from error
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files.
        raise UnusableImage('damaged or truncated image') from error
