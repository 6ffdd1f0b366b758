"""Run directories in a bucket: gs://, s3:// and other URLs that fsspec knows.

A command works in a local copy of the run. It fetches what has changed in the bucket before, and
stores what it has changed after its work; a training also does so after each evaluation. The bucket
counts: local files that it lacks are removed. An object appears whole or not at all, but several
objects do not appear together. So one of them closes the others: it is removed first and stored
last. That is the JSON file of an artifact, as on disk, and `complete/<step>.json` of a checkpoint,
which lists its files with their SHA-256. A checkpoint without it is not fetched.

Nothing locks a bucket: two machines must not write into the same run at the same time.
"""

import contextlib
import hashlib
import json
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import fsspec  # type: ignore[import-untyped]

from segmentation import files, workdir

COPIES = pathlib.Path('~/.cache/coco-segmentation/buckets')
# Of a checkpoint that is being written or removed.
_UNFINISHED = re.compile(r'checkpoints/(removed/|[^/]*orbax-checkpoint-tmp)')
_TEMPORARY = re.compile(r'\..+\.\d+')  # see `files.replacing`
_STATE = 'objects.json'  # beside the local copy: its files as they are in the bucket


def url_of(path: pathlib.Path) -> str | None:
    """The URL of a path that names a bucket, as pathlib has abbreviated it; else None."""
    found = re.fullmatch(r'(\w+):/+(.+)', str(path))
    return f'{found[1]}://{found[2]}' if found else None


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[tuple[pathlib.Path, Callable[[], None]]]:
    """A run directory on this machine, be it in a bucket.

    Yields:
      The folder, and a function that stores what has changed in it, which also happens at the end.

    Raises:
      OSError: the bucket cannot be reached, or refuses.
      ValueError: fsspec needs another package for this kind of URL, or a checkpoint is damaged.
    """
    url = url_of(path)
    if url is None:
        yield path, lambda: None
        return
    import jax  # here, as commands that only read artifacts do without it

    if jax.process_count() > 1:
        raise ValueError(f'{url}: several processes need a --workdir that all of them see.')
    copy = _Copy(url)
    with workdir.claim(copy.folder.parent):
        copy.fetch()
        try:
            yield copy.folder, copy.store
        finally:
            copy.store()


class _Copy:
    """The local copy of a run."""

    def __init__(self, url: str):
        self.url = url
        place = COPIES.expanduser() / hashlib.sha256(url.encode()).hexdigest()[:16]
        self.folder, self._state = place / url.rstrip('/').rpartition('/')[2], place / _STATE
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._system, self._root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise ValueError(f'{url}: {error}; or pip install ".[buckets]".') from error

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Each store raises other errors.
            text = f'{type(error).__name__}: {error}'
            raise OSError(f'{self.url} cannot be reached or refuses: {text}') from error

    def _remote(self, name: str) -> str:
        return f'{self._root}/{name}'

    def _known(self) -> dict[str, list]:
        """By name: the object's identity, and size and time of the local file."""
        try:
            return json.loads(self._state.read_text())
        except (OSError, ValueError):
            return {}

    def _all(self) -> dict[str, str]:
        """Identities of the objects by name."""
        self._system.invalidate_cache()
        try:
            listed = self._system.find(self._root, detail=True)
        except FileNotFoundError:
            listed = {}
        start = len(self._root.rstrip('/')) + 1
        return {name[start:]: _identity(entry) for name, entry in listed.items()}

    def _complete(self) -> dict[str, str]:
        """`_all` without those of incomplete checkpoints."""
        found = self._all()
        return {
            name: identity
            for name, identity in found.items()
            if (step := _step(name)) is None or _marker(step) in found
        }

    def fetch(self) -> None:
        """Makes the local copy equal to what is complete in the bucket."""
        known, now = self._known(), dict[str, list]()
        with self._reaching():
            objects = self._complete()
            for name, identity in objects.items():
                path = self._path(name)
                if name not in known or known[name] != [identity, *_local(path)]:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with files.replacing(path) as partial:
                        self._system.get_file(self._remote(name), str(partial))
                now[name] = [identity, *_local(path)]
        for name in self._files().keys() - objects.keys():
            self._path(name).unlink()
        for step in {_step(name) for name in now} - {None}:
            self._verify(_marker(str(step)))
        files.write_json(self._state, now)

    def _verify(self, marker: str) -> None:
        for name, expected in json.loads(self._path(marker).read_text()).items():
            path = self._path(name)
            if not path.is_file() or files.sha256(path) != expected:
                raise ValueError(f'{self.url}/{name} is damaged: it is not what was stored.')

    def store(self) -> None:
        """Stores what has changed; afterwards the bucket has what is complete here."""
        local, known = self._files(), self._known()
        for step in {_step(name) for name in local} - {None}:
            marker = _marker(str(step))
            if marker not in local:
                mine = [name for name in local if _step(name) == step]
                digests = {name: files.sha256(self._path(name)) for name in mine}
                self._path(marker).parent.mkdir(exist_ok=True)
                files.write_json(self._path(marker), digests)
                local[marker] = _local(self._path(marker))
        changed = [name for name, now in local.items() if known.get(name, [''])[1:] != now]
        with self._reaching():
            # Also what an interrupted command has left of a checkpoint.
            there = self._all().keys()
            gone = [name for name in there if name not in local and (name in known or _step(name))]
            # Whatever closes others goes first and comes last.
            for name in sorted([*gone, *changed], key=_closes, reverse=True):
                if name in there and (name not in local or _closes(name)):
                    self._system.rm_file(self._remote(name))
            for name in sorted(changed, key=_closes):
                self._system.put_file(str(self._path(name)), self._remote(name))
            objects = self._complete()
        now = {name: [objects[name], *local[name]] for name in local if name in objects}
        files.write_json(self._state, now)

    def _path(self, name: str) -> pathlib.Path:
        path = self.folder / name
        if '..' in pathlib.PurePosixPath(name).parts:
            raise ValueError(f'{self.url} has an object {name!r} outside the run.')
        return path

    def _files(self) -> dict[str, list[int]]:
        """Sizes and times of the complete files of the local copy, by name."""
        names = [
            str(path.relative_to(self.folder))
            for path in self.folder.rglob('*')
            if path.is_file() and path.name != 'lock' and not _TEMPORARY.fullmatch(path.name)
        ]
        kept = {_marker(str(_step(name))) for name in names}
        for name in names:
            if name.startswith('complete/') and name not in kept:  # The checkpoint was removed.
                self._path(name).unlink()
        return {
            name: now
            for name in names
            if not _UNFINISHED.match(name) and (now := _local(self._path(name)))
        }


def _step(name: str) -> str | None:
    """The step of the checkpoint that a file belongs to."""
    found = re.match(r'checkpoints/(\d+)/', name)
    return found[1] if found else None


def _marker(step: str) -> str:
    return f'complete/{step}.json'


def _closes(name: str) -> bool:
    """Whether an object says that others are complete."""
    is_artifact = name.startswith('analysis/') and name.count('/') == 2 and name.endswith('.json')
    return name.startswith('complete/') or is_artifact


def _identity(entry: dict[str, Any]) -> str:
    keys = ('ETag', 'etag', 'md5Hash', 'generation', 'mtime', 'LastModified', 'created', 'size')
    return ' '.join(str(entry[key]) for key in keys if key in entry)


def _local(path: pathlib.Path) -> list[int]:
    if not path.is_file():
        return []
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
