"""Run directories and prepared data in a bucket: s3://, gs:// and other URLs of fsspec.

A command works in a local copy. It first fetches what has changed in the bucket. It stores what it
has changed at its end, and a training run also after each evaluation. An object store cannot
rename: an object appears as a whole or not at all, but several objects do not appear at the same
moment. So one file marks the others as complete: of a checkpoint the file that Orbax writes at its
top, of a report its page, and of an artifact its JSON file, as on disk. It is removed before the
others change and stored after them. Without it, a checkpoint or a report is not fetched, and an
artifact does not exist.

Nothing locks a bucket: two machines must not write into the same run at the same time.
"""

import concurrent.futures
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from typing import Any

import fsspec
from tqdm import tqdm

from segmentation import files

logger = logging.getLogger(__name__)

COPIES = pathlib.Path('~/.cache/coco-segmentation/buckets')
_CLOSING = re.compile(
    r'(checkpoints/\d+/)_CHECKPOINT_METADATA|(report/)index\.html|analysis/[^/]+/[^/]+\.json'
)
# Never stored: locks, temporary files, and checkpoints that are being written or removed.
_IGNORED = re.compile(r'lock|(.*/)?\..*|checkpoints/(removed/|[^/]*orbax-checkpoint-tmp).*')
_RUN = 'run.json'  # every run directory has it
_AT_ONCE = 16  # transfers

Store = Callable[[], None] | None  # stores what has changed; None for a local folder


def url_of(path: str | os.PathLike) -> str | None:
    """The URL of a path that names a bucket, also as pathlib has abbreviated it; else None.

    Raises:
      ValueError: the URL has '..' in it, or no bucket, or is that of a local file.
    """
    found = re.fullmatch(r'([a-z][a-z0-9+]+):/+(.*)', str(path))
    if not found:
        return None
    if found[1] in ('file', 'local'):
        raise ValueError(f'{path}: give the path of a local folder itself, without {found[1]}:.')
    if ':///' in str(path):
        raise ValueError(f'{path} names no bucket or host; an example is s3://name/run.')
    parts = found[2].rstrip('/').split('/')
    if {'', '.', '..'} & set(parts):
        raise ValueError(f'{path} does not name a folder in a bucket; an example is s3://name/run.')
    return f'{found[1]}://{"/".join(parts)}'


@contextlib.contextmanager
def opened(path: pathlib.Path, new: bool = False) -> Iterator[tuple[pathlib.Path, Store]]:
    """A run directory to work in, be it in a bucket.

    Yields:
      The folder on this machine, and a function that stores what has changed in it, or warns that
      it cannot. That also happens at the end, where it is an error.

    Raises:
      OSError: the bucket cannot be read or written.
      ValueError: there is no run (and it must not be `new`), or fsspec lacks a package.
    """
    if not url_of(path):
        yield path, None
        return
    import jax  # here, as commands that only read artifacts do without it

    if jax.process_count() > 1:
        raise ValueError(f'{path}: with several processes, --workdir must be a folder they share.')
    with _Copy(path, _RUN).locked() as copy:
        copy.fetch(new)

        def store() -> None:
            try:
                copy.store()
            except OSError as error:  # Not worth hours of training: the next time tries again.
                logger.warning('%s', error)

        try:
            yield copy.folder, store
        finally:
            copy.store()


def fetched(path: str | os.PathLike, mark: str = _RUN) -> pathlib.Path:
    """A folder that has a file `mark`, to read; copied to this machine if it is in a bucket.

    Raises:
      OSError, ValueError: see `opened`.
    """
    if not url_of(path):
        return pathlib.Path(path)
    with _Copy(path, mark).locked() as copy:
        copy.fetch()
    return copy.folder


class _Copy:
    """The local copy of a folder in a bucket."""

    def __init__(self, path: str | os.PathLike, mark: str):
        self._url, self._mark = str(url_of(path)), mark
        self._place = COPIES.expanduser() / hashlib.sha256(self._url.encode()).hexdigest()[:16]
        self.folder = self._place / 'copy' / self._url.rpartition('/')[2]
        # What is in the bucket, by name: [identity of the object, size and time of the file here].
        self._state = self._place / 'objects.json'
        # Names that an upload is about to change; there after a kill in the middle of it.
        self._pending = self._place / 'pending.json'
        try:
            self._system, self._root = fsspec.core.url_to_fs(self._url)
        except (ImportError, ValueError) as error:
            raise ValueError(f'{self._url}: {error}. Try pip install -e ".[buckets]".') from error

    @contextlib.contextmanager
    def locked(self) -> Iterator['_Copy']:
        """Waits until no other command of this machine works in the copy."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self._place / 'lock').open('w') as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.warning('Waiting for another command that works on %s …', self._url)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield self

    def fetch(self, new: bool = False) -> None:
        """Makes the copy equal to what is complete in the bucket.

        If nobody else has written there, what this copy has changed since stays: `store` has
        failed, or the command was killed.
        """
        logger.info('Reading %s.', self._url)
        known, objects, here = self._known(), self._listed(), self._files()
        pending = set(_read(self._pending))
        if self._mark not in objects and (objects or not new):
            raise ValueError(f'{self._url} has no {self._mark}: check the address.')
        if new:  # An error now, not after hours of training.
            self._each(lambda name: self._system.pipe_file(name, b''), [f'{self._root}/.writable'])
            self._each(self._system.rm_file, [f'{self._root}/.writable'])
        whole = _complete(objects)
        if unfinished := objects.keys() - whole:
            text = '%s: %d files are ignored, because their upload was interrupted (e.g. %s).'
            logger.warning(text, self._url, len(unfinished), min(unfinished))
        settled = (whole | _complete(known)) - pending
        if any(objects.get(n, [None])[0] != known.get(n, [None])[0] for n in settled):
            pending = set()
            self._pending.unlink(missing_ok=True)
            if lost := {n for n, now in here.items() if known.get(n, [''])[1:] != now}:
                text = '%s has changed meanwhile: %d files of %s that it lacks are lost.'
                logger.warning(text, self._url, len(lost), self.folder)
            for name in here:
                if name in lost or name not in whole or known[name][0] != objects[name][0]:
                    (self.folder / name).unlink()
            _remove_empty(self.folder)
            here = self._files()
            known = {name: known[name] for name in here}
        incoming = self._place / 'incoming'
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir()

        def get(name: str) -> None:
            identity, size = objects[name]
            partial = incoming / hashlib.sha256(name.encode()).hexdigest()
            path = self.folder / name

            def check(_: int | None, done: int) -> None:
                if done > size:
                    raise OSError(f'{name} has more than the {size} bytes that the bucket lists')

            limit = fsspec.Callback(hooks={'limit': check})
            self._system.get_file(f'{self._root}/{name}', str(partial), callback=limit)
            if partial.stat().st_size != size:
                raise OSError(f'{name} does not have the {size} bytes that the bucket lists')
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(path)
            known[name] = [identity, *_local(path)]

        try:
            self._each(get, whole - here.keys() - pending)
        finally:
            files.write_json(self._state, known)

    def store(self) -> None:
        """Makes the bucket equal to what is complete in the copy."""
        local, known, there = self._files(), self._known(), self._listed()

        def put(name: str) -> None:
            target = f'{self._root}/{name}'
            self._system.put_file(str(self.folder / name), target)
            self._system.invalidate_cache(target)
            known[name] = [_identity(self._system.info(target)), *local[name]]

        def remove(name: str) -> None:
            self._system.rm_file(f'{self._root}/{name}')
            known.pop(name, None)

        changed = {n for n, now in local.items() if n not in there or known.get(n, [])[1:] != now}
        # Also what an interrupted upload has left. What others have added stays.
        mine = known.keys() | set(_read(self._pending))
        gone = there.keys() - local.keys() - (_complete(there) - mine)
        closing = {name for name in [*local, *there] if _CLOSING.fullmatch(name)}
        files.write_json(self._pending, sorted(changed | gone))
        try:
            self._each(remove, closing & changed & there.keys())
            self._each(put, changed & {_RUN})  # Without it the folder is no run.
            self._each(put, changed - closing - {_RUN})
            self._each(put, changed & closing)
            self._each(remove, gone & closing)
            self._each(remove, gone - closing)
            self._pending.unlink()
        finally:
            files.write_json(self._state, known)

    def _each(self, work: Callable[[str], Any], names: Collection[str]) -> list[Any]:
        few, total = len(names) < 2, len(names)
        try:
            with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
                results = pool.map(work, names)
                return list(tqdm(results, work.__name__, total, False, unit='file', disable=few))
        except Exception as error:  # Each store raises other errors.
            raise OSError(
                f'{self._url} cannot be read or written ({type(error).__name__}: {error}). '
                f'What is not stored is in {self.folder}; the same command continues.'
            ) from error

    def _known(self) -> dict[str, list]:
        return dict(_read(self._state))

    def _listed(self) -> dict[str, tuple[str, int]]:
        """Identity and size of each object, by its name below the folder."""

        def find(root: str) -> dict[str, dict]:
            self._system.invalidate_cache()
            try:
                return self._system.find(root, detail=True)
            except FileNotFoundError:
                return {}

        found = {}
        for key, entry in self._each(find, [self._root])[0].items():
            name = key[len(self._root) + 1 :]
            if entry['type'] != 'file' or key.endswith('/'):
                continue  # Some tools make objects that stand for folders.
            if {'', '.', '..'} & set(name.split('/')) or '\0' in name:
                raise ValueError(f'{self._url} has an object {name!r}, which is no file below it.')
            if not _IGNORED.fullmatch(name):
                found[name] = _identity(entry), int(entry['size'])
        return found

    def _files(self) -> dict[str, list[int]]:
        """Size and time of each file of the copy, by name."""
        paths = [path for path in self.folder.rglob('*') if path.is_file()]
        names = {path.relative_to(self.folder).as_posix(): path for path in paths}
        return {name: _local(path) for name, path in names.items() if not _IGNORED.fullmatch(name)}


def _read(path: pathlib.Path) -> Any:
    """The content of a JSON file; empty if it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _complete(names: Collection[str]) -> set[str]:
    """The names without those in checkpoints and reports that are not closed."""
    closed = {found[1] or found[2] for name in names if (found := _CLOSING.fullmatch(name))}
    groups = {name: re.match(r'(checkpoints/\d+|report)/', name) for name in names}
    return {name for name, group in groups.items() if not group or group[0] in closed}


def _identity(entry: dict[str, Any]) -> str:
    """What changes with the content of an object; its time, where a store has nothing better."""
    keys = 'ETag', 'etag', 'mtime', 'created'
    return f'{next((entry[key] for key in keys if entry.get(key)), "")} {entry["size"]}'


def _local(path: pathlib.Path) -> list[int]:
    return [(status := path.stat()).st_size, status.st_mtime_ns]


def _remove_empty(folder: pathlib.Path) -> None:
    # Orbax takes an empty folder for a checkpoint.
    for path in sorted(folder.rglob('*'), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
