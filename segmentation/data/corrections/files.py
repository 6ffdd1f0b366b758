"""Writes corrected annotation files with their undo files, and undoes them."""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from segmentation.data import layouts, split_names
from segmentation.data.corrections import document as documents
from segmentation.data.corrections.document import Document, Edit
from segmentation.data.entries import file_name, whole_number
from segmentation.files import sha256, write_json, write_text

_UNDO = 'undo_'
_FORMAT = 'undo of corrected annotations'
_TRIED = 1000  # images, to see which folder has them


@dataclasses.dataclass(frozen=True)
class Source:
    """An annotation file that can be corrected."""

    name: str  # of its split, as the prepared data set calls it
    path: pathlib.Path
    folders: tuple[pathlib.Path, ...] = ()  # in which its images can be
    sizes: layouts.Images | None = None  # of its image files

    def read(self) -> Document:
        """Reads it; images whose size is not in the file get that of their own files.

        Raises:
          ValueError, OSError: see `document.read`.
        """
        document = documents.read(self.path)
        for entry in document.content['images'] if self.sizes else ():
            if not isinstance(entry, dict) or (name := file_name(entry)) is None:
                continue
            known = [whole_number(entry.get(key)) or 0 for key in ('width', 'height')]
            if min(known) < 1 and self.sizes and (size := self.sizes.size(name)):
                entry['width'], entry['height'] = size
        return document


@contextlib.contextmanager
def claim(folder: pathlib.Path) -> Iterator[None]:
    """Locks a folder, which is made if it does not exist; leaves no file in it.

    Raises:
      ValueError: another process has the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f'Another command is writing into {folder}: wait for its end, or give another '
                '--output'
            ) from error
        yield
    finally:
        os.close(number)


def find(source: pathlib.Path, ignore: Iterable[pathlib.Path] = ()) -> list[Source]:
    """The annotation files of a data set, or the one file; `ignore` as in `layouts.recognize`.

    Raises:
      ValueError: there is none, or another tool's format has no such file.
    """
    if source.is_file():
        name = source.name.removesuffix('.json').removeprefix('instances_')
        # Roboflow's and others' have the same name in the folder of every split.
        folder = source.absolute().parent
        beside = {
            layouts.usual_name(each.name)
            for each in (folder, *folder.parent.glob('*'))
            if os.path.isfile(each / source.name)  # False in folders that cannot be read
        }
        is_shared = layouts.usual_name(folder.name) and len(beside - {''}) > 1
        if name.startswith('_annotations.coco') or is_shared:
            name = folder.name
        return [Source(name, source)]
    if not source.is_dir():
        raise ValueError(f'{source} is neither a folder nor an annotation file')
    found = layouts.recognize(source, ignore=ignore)
    result = []
    for name, split in split_names.usable(found.splits).items():
        if len(split.files) != 1 or not split.files[0].lower().endswith('.json'):
            raise ValueError(
                f'{source} is {found.layout.title}, which has no instances_{name}.json: '
                'export COCO instances from your tool and correct these'
            )
        folders = tuple(found.folder.root / folder for folder in split.folders)
        path = found.folder.path(split.files[0])
        sizes = layouts.Images(found.folder, split.folders, 'displayed')
        result.append(Source(name, path, folders, sizes))
    return result


def _paths(output: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path]:
    folder = output / 'annotations'
    return folder / f'instances_{name}.json', folder / f'{_UNDO}{name}.json'


def check_output(source: Source, output: pathlib.Path) -> None:
    """Checks that a file may be written.

    Raises:
      ValueError: it is the source, or another file that was not made from it here.
    """
    target, undo = _paths(output, source.name)
    if not target.exists() and not target.is_symlink():
        return
    if target.is_symlink() or os.path.samefile(target, source.path):
        raise ValueError(f'{target} is the source, which is never changed: choose another --output')
    known: list[Any] = []
    if undo.is_file():
        made = _read_undo(undo)
        known = [made['corrected'], made['replaces']]
        if made['original'] != sha256(source.path):
            known = []
    if sha256(target) not in known:
        raise ValueError(
            f'{target} was not made from {source.path} by this command, or was changed since, and '
            'is not replaced: choose another --output'
        )


def write(source: Source, document: Document, edits: list[Edit], output: pathlib.Path) -> bool:
    """Writes the corrected file, and the file that undoes it; links the folder of its images.

    A stop leaves the old file or the new one, and the same call continues.

    Returns:
      Whether anything was written; False if it is there already.

    Raises:
      ValueError: see `check_output`.
      OSError: a file cannot be written.
    """
    check_output(source, output)
    target, undo = _paths(output, source.name)
    text, inverse = documents.apply(document.text, edits)
    target.parent.mkdir(parents=True, exist_ok=True)
    before = sha256(target) if target.exists() else None
    made = {
        'format': _FORMAT,
        'file': target.name,
        'original': documents.digest(document.text),
        'corrected': documents.digest(text),
        'replaces': before,
        'edits': [list(edit) for edit in inverse],
    }
    _link(source, document, output)
    if before == made['corrected'] and undo.is_file():
        return False
    # First, so that a file is never without the one that undoes it.
    write_json(undo, made)
    if before != made['corrected']:
        write_text(target, text)
    return True


def _link(source: Source, document: Document, output: pathlib.Path) -> None:
    """Makes the output a data set: its images are those of the source."""
    place = output / source.name
    if place.is_dir() and not place.is_symlink():  # of the annotations, for a split of that name
        place = output / 'images' / source.name
        place.parent.mkdir(exist_ok=True)
    if not source.folders or os.path.lexists(place):
        return
    entries = [entry for entry in document.content['images'] if isinstance(entry, dict)]
    names = [name for entry in entries[:_TRIED] if (name := file_name(entry))]
    names = [name for name in names if not name.startswith('/') and '..' not in name]
    # A folder of this name can be there without the images, for labels in another format.
    most = max(source.folders, key=lambda folder: sum((folder / name).exists() for name in names))
    place.symlink_to(most.resolve(), target_is_directory=True)


def undo(folder: pathlib.Path, output: pathlib.Path) -> list[pathlib.Path]:
    """Writes the original of every corrected file in a folder; returns the paths.

    Raises:
      ValueError: there is none, or one was changed since.
    """
    undos = sorted((folder / 'annotations').glob(f'{_UNDO}*.json'))
    if not undos:
        raise ValueError(f'{folder} has no annotations/{_UNDO}<split>.json: nothing to undo')
    written = []
    for path in undos:
        made = _read_undo(path)
        corrected = path.with_name(made['file'])
        target = output / 'annotations' / made['file']
        if not corrected.is_file() or sha256(corrected) != made['corrected']:
            raise ValueError(f'{corrected} was changed after it was corrected and cannot be undone')
        text, _ = documents.apply(
            documents.read(corrected).text, [Edit(*edit) for edit in made['edits']]
        )
        if documents.digest(text) != made['original']:
            raise ValueError(f'{path} does not lead back to the original file')
        if target.exists() and sha256(target) != made['original']:
            raise ValueError(f'{target} is another file and is not replaced')
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, text)
        written.append(target)
    return written


def _read_undo(path: pathlib.Path) -> dict[str, Any]:
    try:
        made = json.loads(path.read_text(encoding='utf-8'))
        edits = made['edits']
        name = made['file']
        if made['format'] != _FORMAT or pathlib.PurePath(name).name != name:
            raise ValueError(f'its format is {ascii(made["format"])[:80]}')
        if any(list(map(type, edit)) != [int, str, str] for edit in edits):
            raise ValueError('an edit is not a position and two texts')
        return {key: made[key] for key in ('file', 'original', 'corrected', 'replaces', 'edits')}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f'{path} is damaged ({error!r})') from error
