"""Files of a prediction: which images are meant, and a folder of results that can be continued."""

import contextlib
import dataclasses
import glob
import hashlib
import json
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from segmentation.data.coco_files import IMAGE_SUFFIXES
from segmentation.files import is_within, write_json, write_text
from segmentation.workdir import claim

if TYPE_CHECKING:
    from segmentation.trained import Run

_KINDS = {'masks': '-mask.png', 'overlays': '-overlay.png'}
_JOURNAL = 'predictions.jsonl'
_UNFINISHED = '.unfinished'
_LOCK = '.lock'
_OTHERS = _JOURNAL, 'results.json', 'images.json', _LOCK


@dataclasses.dataclass(frozen=True)
class Found:
    """An image file."""

    path: pathlib.Path
    name: str  # path below the deepest folder that holds all images
    folder: pathlib.Path | None = None  # in which it was found, if it was not named itself

    @property
    def is_outside(self) -> bool:
        """Whether it is a link that leads out of the folder in which it was found."""
        return self.folder is not None and not is_within(self.path, self.folder)

    def reason_to_skip(self) -> str:
        """Why it cannot be predicted, as far as its path tells; '' if it does not."""
        if self.is_outside:
            return 'A link that leads out of its folder; name it to predict it.'
        if self.path.is_dir():
            return 'A folder that cannot be read.'
        if self.name.split('/')[0] in (_UNFINISHED, *_OTHERS):
            return 'Its path begins with a name that the folder of results needs: rename it.'
        return ''

    @property
    def version(self) -> list[int | str]:
        """Path, size in bytes and time of the last change in ns; zeros if there is no such file.

        With the path, because names are relative: two folders may hold a `0001.bmp` of one size
        and, from an archive, of one time.
        """
        path = str(self.path)
        try:
            status = self.path.stat()
        except OSError:
            return [path, 0, 0]
        return [path, status.st_size, status.st_mtime_ns]


def find_images(arguments: Sequence[str], output: pathlib.Path) -> tuple[list[Found], int]:
    """Expands files, folders and patterns.

    Args:
      arguments: files, which need not exist; folders, in which images are found by their suffix;
        and patterns with *, ? and **.
      output: a folder within the others, in which no images are looked for. If it holds them, what
        was written into it is left out.

    Returns:
      The images, sorted and each once, and the number of other files in the folders. Patterns that
      nothing matches, folders that cannot be read and links to folders elsewhere are among the
      images, so that they are reported.

    Raises:
      ValueError: there is no image.
    """
    files: dict[pathlib.Path, pathlib.Path | None] = {}  # and where they were found
    unreadable: list[OSError] = []
    bases, folders, others = set(), set(), 0
    excluded = pathlib.Path(os.path.abspath(output))
    lost: dict[pathlib.Path, pathlib.Path | None] = {}
    for argument in arguments:
        if pathlib.Path(argument).exists() or not glob.has_magic(argument):
            matches = [argument]
        else:
            found = [os.path.abspath(path) for path in glob.glob(argument, recursive=True)]
            matches = sorted(path for path in found if not _is_written(path, excluded))
            if not found:
                lost[pathlib.Path(os.path.abspath(argument))] = None
        for match in matches:
            # Not resolved: a link to a file has its own name.
            path = pathlib.Path(os.path.abspath(match))
            if not path.is_dir():
                files[path] = None
                bases.add(path.parent)
                continue
            bases.add(path)
            folders.add(path)
            for folder, names, listed in os.walk(path, onerror=unreadable.append):
                inside = pathlib.Path(folder)
                names[:] = [name for name in names if inside / name != excluded]
                links = (inside / name for name in names if (inside / name).is_symlink())
                lost.update((link, path) for link in links if not is_within(link, path))
                listed = [n for n in listed if not _is_written(inside / n, excluded)]
                chosen = [n for n in listed if pathlib.Path(n).suffix.lower() in IMAGE_SUFFIXES]
                others += len(listed) - len(chosen)
                for name in chosen:
                    files.setdefault(inside / name, path)
    if not files:
        raise ValueError(f'No images in {", ".join(map(str, arguments))}.')
    # What links lead to may also be given.
    lost = {
        path: at
        for path, at in lost.items()
        if at is None or not any(is_within(path, folder) for folder in folders)
    }
    lost |= {pathlib.Path(error.filename): None for error in unreadable}
    base = os.path.commonpath(bases)
    found_in = sorted((lost | files).items())
    return [Found(path, os.path.relpath(path, base), at) for path, at in found_in], others


def _is_written(path: str | os.PathLike, output: pathlib.Path) -> bool:
    """Whether a file is a result in the folder of results."""
    path = pathlib.Path(path)
    if path == output / 'lock' and not path.is_dir():  # of older versions
        return True
    ours = path.name.endswith(tuple(_KINDS.values())) or path.name in _OTHERS
    return ours and path.is_relative_to(output)


def identify(run: 'Run', flip: bool) -> dict[str, Any]:
    """What a prediction depends on besides the image: parameters, preprocessing, mirroring."""
    import jax  # here, because it takes long to import

    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(run.variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    data, model = run.config.data, run.config.model
    return {
        'step': run.step,
        'variables': digest.hexdigest(),
        'classes': list(run.class_names),
        'image_size': data.image_size,
        'antialias': data.antialias,
        'input_range': data.input_range,
        'dtype': model.dtype,
        'upsampling': model.upsampling,
        'norm': model.norm,
        'flip': flip,
    }


class OutputFolder:
    """Results of many images; one process at a time writes into it.

    `predictions.jsonl` has the settings in its first line, and one line for each finished image. An
    image is finished when its line is written, after its files.
    """

    def __init__(self, folder: pathlib.Path, wanted: Sequence[str], settings: dict[str, Any]):
        self.folder, self.wanted, self.settings = folder, tuple(wanted), settings
        self.entries: dict[str, dict[str, Any]] = {}  # by name of the image
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Locks the folder and reads what is finished with the same settings.

        Raises:
          ValueError: another process has the lock.
          OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stack.enter_context(claim(self.folder, _LOCK))
        shutil.rmtree(self.folder / _UNFINISHED, ignore_errors=True)
        self.entries = self._read()
        lines = [self.settings, *self.entries.values()]
        write_text(self.folder / _JOURNAL, ''.join(json.dumps(line) + '\n' for line in lines))
        self._journal = self._stack.enter_context((self.folder / _JOURNAL).open('a'))
        (self.folder / _UNFINISHED).mkdir()
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self.folder / _UNFINISHED, ignore_errors=True)
        self._stack.close()

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            lines = (self.folder / _JOURNAL).read_text().splitlines()
        except FileNotFoundError:
            return {}
        entries = []
        for line in lines:
            with contextlib.suppress(ValueError):  # the last line of a killed process
                entries.append(json.loads(line))
        if not entries or entries[0] != self.settings:
            return {}
        return {entry['image']: entry for entry in entries[1:]}

    def files(self, name: str) -> dict[str, pathlib.Path]:
        """The files of an image that are wanted, by kind."""
        kinds = {kind: end for kind, end in _KINDS.items() if kind in self.wanted}
        return {kind: self.folder / f'{name}{end}' for kind, end in kinds.items()}

    def fits(self, name: str) -> bool:
        """Whether the names of an image's files are not too long for the file system."""
        most = os.pathconf(self.folder, 'PC_NAME_MAX')
        return all(len(os.fsencode(path.name)) <= most for path in self.files(name).values())

    def has(self, found: Found) -> bool:
        """Whether all that is wanted of an image is there, and the image has not changed."""
        entry = self.entries.get(found.name)
        return (
            entry is not None
            and entry['source'] == found.version
            and ('coco_json' not in self.wanted or 'masks' in entry)
            and all(path.is_file() for path in self.files(found.name).values())
        )

    @contextlib.contextmanager
    def writing(self, name: str, kind: str) -> Iterator[pathlib.Path]:
        """Yields a temporary path that becomes the file of an image when the block ends.

        May be used by several threads.

        Raises:
          OSError: the file cannot be written; names it.
        """
        path = self.files(name)[kind]
        partial = self.folder / _UNFINISHED / hashlib.sha256(os.fsencode(path)).hexdigest()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            os.replace(partial, path)
        except OSError as error:  # of a full disk, it does not name the file
            raise OSError(f'{path} cannot be written: {error}') from error

    def note(self, entry: dict[str, Any]) -> None:
        """Records that an image is finished."""
        self.entries[entry['image']] = entry
        self._journal.write(json.dumps(entry) + '\n')
        self._journal.flush()


def image_ids(names: Sequence[str]) -> list[int]:
    """Ids of images: the number at the end of a name, as COCO names files, if all are different.

    Otherwise 1, 2, … in the order of the names.
    """
    numbers = [re.search(r'\d+$', pathlib.PurePosixPath(name).stem) for name in names]
    ids = [int(number.group()) for number in numbers if number]
    distinct = len(ids) == len(set(ids)) == len(names) and all(i < 2**53 for i in ids)
    return ids if distinct else list(range(1, len(names) + 1))


def write_coco_results(
    output: OutputFolder, images: Sequence[Found], class_names: Sequence[str]
) -> None:
    """Writes `results.json`, results in COCO's format, and `images.json`, to which its ids refer.

    The latter has COCO's `images` and `categories`. Category ids are the numbers of the classes.
    """
    entries = [output.entries[found.name] for found in images if found.name in output.entries]
    ids = image_ids([entry['image'] for entry in entries])
    results = [
        {'image_id': number, **mask}
        for number, entry in zip(ids, entries, strict=True)
        for mask in entry['masks']
    ]
    described = [
        {
            'id': number,
            'file_name': entry['image'],
            'height': entry['height'],
            'width': entry['width'],
        }
        for number, entry in zip(ids, entries, strict=True)
    ]
    categories = [{'id': i, 'name': name} for i, name in enumerate(class_names) if i]
    write_text(output.folder / 'results.json', json.dumps(results) + '\n')
    write_json(output.folder / 'images.json', {'images': described, 'categories': categories})
