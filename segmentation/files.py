"""Atomic writes and checksums. A reader sees the old file or the new one, never half of one."""

import contextlib
import glob
import hashlib
import json
import os
import pathlib
import re
import socket
from collections.abc import Iterator
from typing import Any

_HOST = re.sub('[^A-Za-z0-9-]', '-', socket.gethostname())


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path next to `path`, which replaces it if the block ends without an error.

    Also removes temporary files of killed processes that were writing the same file.

    Raises:
      OSError: the file cannot be written (full disk, read-only folder); the message names it.
    """
    path = pathlib.Path(path)
    _remove_abandoned(path)
    partial = path.with_name(f'.{path.name}.{_HOST}.{os.getpid()}')
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:  # on a full disk, it does not name the file
        raise OSError(f'{path} cannot be written: {error}') from error
    finally:
        partial.unlink(missing_ok=True)


def _remove_abandoned(path: pathlib.Path) -> None:
    # Only of this machine: others that share the folder have processes of the same numbers.
    for partial in path.parent.glob(f'.{glob.escape(path.name)}.{_HOST}.[0-9]*'):
        try:
            os.kill(int(partial.suffix[1:]), 0)
        except ProcessLookupError:
            partial.unlink(missing_ok=True)
        except PermissionError:
            pass  # The process is alive and belongs to another user.


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a UTF-8 text file atomically.

    Raises:
      OSError: see `replacing`.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding='utf-8')


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Writes indented JSON atomically.

    Raises:
      OSError: see `replacing`.
      ValueError: the content has NaN or infinity, which JSON lacks.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + '\n')


def is_within(path: pathlib.Path, folder: pathlib.Path) -> bool:
    """Whether a path is below a folder, also once links in both are followed."""
    # Not `resolve`, which raises an error at a link that leads to itself.
    return pathlib.Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def sha256(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
