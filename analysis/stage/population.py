"""Views of several parts of an experiment together, and of folders of images without annotations.

Such a view is named after its parts, 'train.val.new_photos'. An image without annotations has no
label: all its pixels are to be ignored, and what needs a label is null.
"""

import dataclasses
import hashlib
import logging
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from segmentation.data import coco, coco_files
from segmentation.data.annotations import Category
from segmentation.data.coco_index import CocoIndex
from segmentation.data.examples import Examples
from segmentation.data.image_files import Header, UnusableImage
from segmentation.data.masks import IGNORE
from segmentation.files import is_within
from segmentation.markdown import printable

logger = logging.getLogger(__name__)

# Larger than ids of data sets, and small enough for a browser's numbers.
_FIRST_ID = 10**14


@dataclasses.dataclass(frozen=True)
class _File:
    """An image file of a folder."""

    path: pathlib.Path
    name: str  # its path below the folder
    header: Header


@dataclasses.dataclass(frozen=True)
class _Files(Sequence[dict[str, Any]]):
    """Image files as records without annotations, see `coco.CocoSplit`."""

    files: tuple[_File, ...]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> Any:
        file = self.files[index]
        try:
            data = coco_files.read_regular(file.path)
        except (UnusableImage, OSError) as error:
            raise coco.UnreadableRecord(
                f'{file.path} cannot be read any more ({error}): run the analysis again.'
            ) from error
        if hashlib.sha256(data).hexdigest() != file.header.sha256:
            raise coco.UnreadableRecord(
                f'{file.path} has changed since the analysis began: run it again.'
            )
        width, height = file.header.displayed
        nothing = np.zeros(0, np.int64)
        instances = {name: nothing for name in ('id', 'category_id')}
        instances |= {'area': np.zeros(0, np.float32), 'bbox': np.zeros((0, 4), np.float32)}
        instances |= {'is_crowd': np.zeros(0, bool), 'rle': np.zeros(0, object)}
        return {
            'image': data, 'image/id': _id(file), 'width': width, 'height': height,
            'file_name': file.name.encode(), 'license': b'', 'instances': instances,
            'apply_exif': True, 'is_labeled': False,
            'complete_known': True, 'complete_category_ids': nothing,
        }  # fmt: skip


def _is_text(path: pathlib.Path) -> bool:
    """Whether a path is Unicode; Python keeps other bytes as surrogates."""
    try:
        path.as_posix().encode()
    except UnicodeEncodeError:
        return False
    return True


def _id(file: _File) -> int:
    """An id that depends on the content of the file alone, so that changed folders are noticed."""
    return _FIRST_ID + int(file.header.sha256, 16) % (9 * _FIRST_ID)


def open_folder(folder: pathlib.Path, categories: tuple[Category, ...]) -> coco.CocoSplit:
    """The images of a folder and its subfolders as a split without annotations, named after it.

    Files that cannot be read, and those with the same content as another one, are left out; a
    message says how many and why, with examples. Hidden folders and links to folders are not
    searched.

    Raises:
      ValueError: there is no such folder, or no readable image in it.
    """
    if not folder.is_dir():
        raise ValueError(f'--folder {folder}: there is no such folder, or it is a file.')
    folder = folder.resolve()
    paths = [
        path
        for path in coco_files.files_below([folder])
        if path.suffix.lower() in coco_files.IMAGE_SUFFIXES
    ]

    def read(path: pathlib.Path) -> _File | str:
        if not is_within(path, folder):
            return 'link out of the folder'
        if not _is_text(path):
            return 'with a name that is not UTF-8'
        try:
            header = coco_files.check_image(coco_files.read_regular(path))
        except UnusableImage as error:
            return str(error)
        return _File(path, path.relative_to(folder).as_posix(), header)

    files: dict[str, _File] = {}
    left_out: dict[str, list[str]] = {}
    for path, found in zip(paths, coco_files.in_threads(read, paths, folder.name), strict=True):
        if isinstance(found, _File) and found.header.sha256 not in files:
            files[found.header.sha256] = found
        else:
            reason = found if isinstance(found, str) else 'same content as another file'
            left_out.setdefault(reason, []).append(path.relative_to(folder).as_posix())
    text = '; '.join(
        f'{len(names)} {reason} ({", ".join(names[:3])}{", …" if len(names) > 3 else ""})'
        for reason, names in left_out.items()
    )
    if not files:
        raise ValueError(f'--folder {folder}: no image can be read ({text or "none is there"}).')
    note = f'; left out: {text}' if text else ''
    logger.info(printable(f'{folder}: {len(files)} of {len(paths)} images{note}'))
    ordered = sorted(files.values(), key=_id)
    none = np.zeros((len(ordered), len(categories)))
    index = CocoIndex(
        image_id=np.array([_id(file) for file in ordered]),
        file_name=np.array([file.name for file in ordered]),
        height=np.array([file.header.displayed[1] for file in ordered]),
        width=np.array([file.header.displayed[0] for file in ordered]),
        counts=none.astype(np.int32),
        complete=none.astype(np.bool_),
        complete_known=np.ones(len(ordered), np.bool_),
    )
    return coco.CocoSplit(folder, folder.name, _Files(tuple(ordered)), index, categories, {})


def draw_unlabeled(record: dict[str, Any], **samples: np.ndarray) -> np.ndarray:
    """As `Examples.draw`, of an image without annotations: all its pixels are to be ignored."""
    rows, columns = samples.get('rows'), samples.get('cols')
    height = int(record['height']) if rows is None else len(rows)
    width = int(record['width']) if columns is None else len(columns)
    return np.full((height, width), IGNORE, np.uint8)


def name_folder(folder: pathlib.Path, taken: Sequence[str]) -> str:
    """A name for the images of a folder in tables and paths, unlike those that are taken."""
    name = re.sub(r'[^A-Za-z0-9_]+', '_', folder.resolve().name)[:40] or 'folder'
    numbers = (f'{name}_{number}' for number in range(2, len(taken) + 3))
    return next(each for each in (name, *numbers) if each not in taken)


def join(
    parts: dict[str, Examples], folders: dict[str, coco.CocoSplit]
) -> tuple[Examples, tuple[str, ...]]:
    """Puts parts of an experiment and folders together.

    An image that several parts have is kept in the first one; a message says how many.

    Args:
      parts: by name, at least one; of the same data set and with the same config.
      folders: see `open_folder`, by name.

    Returns:
      The examples, in the order of the parts, and the name of the part of each of their splits.
    """
    first, names, splits = next(iter(parts.values())), list[str](), list[coco.CocoSplit]()
    columns: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for name, examples in parts.items():
        columns.append((examples.split_of + len(splits), examples.position, examples.image_ids))
        splits += examples.splits
        names += [name] * len(examples.splits)
    for name, split in folders.items():
        count = len(split)
        columns.append((np.full(count, len(splits)), np.arange(count), split.index.image_id))
        splits.append(split)
        names.append(name)
    split_of, position, image_ids = (np.concatenate(each) for each in zip(*columns, strict=True))
    keep = np.sort(np.unique(image_ids, return_index=True)[1])
    if more := len(image_ids) - len(keep):
        logger.info('%d images are in several parts and are used in the first one only', more)

    def draw(record: dict[str, Any], **samples: np.ndarray) -> np.ndarray:
        draw = first.draw if record.get('is_labeled', True) else draw_unlabeled
        return draw(record, **samples)

    joined = dataclasses.replace(
        first, splits=tuple(splits), split_of=split_of[keep], position=position[keep],
        image_ids=image_ids[keep], draw=draw,
    )  # fmt: skip
    return joined, tuple(names)
