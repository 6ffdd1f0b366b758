"""Where analyses keep their results, and of what they were made.

An analysis of a checkpoint writes into `<workdir>/analysis/<split>-<step>/`. Every file carries a
header: its kind and version, the step, the split, the data fingerprint and a hash of the image ids
in their order. Rows of all files of one folder are the same images in the same order. A file whose
header does not fit is refused, never reinterpreted. Each also carries a checksum of all of it,
where no other reader looks: neither zip nor Parquet protect the tables that say where their content
is. Files without one, of before it was written, are taken as they are.

The header also has the `origin`: settings of the analysis, and hashes of the artifacts that it was
computed from. An analysis that finds its file there asks `is_current` whether it would now compute
the same, and computes it anew if not. For those who only read, a file is refused if what it was
computed from has been computed anew since.
"""

import hashlib
import io
import json
import os
import pathlib
import sys
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import pyarrow
from pyarrow import parquet

from analysis.stage.run import Analysis

_HEADER = 'header'
# Before the CRC-32 of all other bytes of a file.
_MARK = b'CRC:'


def _header(analysis, kind, version, origin=None):
    return {
        'kind': kind,
        'version': version,
        **analysis.identity(),
        **({'origin': origin} if origin else {}),
    }


def _remove_partial(path: pathlib.Path) -> None:
    """Removes what processes that were killed left of a file."""
    for partial in path.parent.glob(f'.{path.name}.[0-9]*'):
        try:
            os.kill(int(partial.suffix[1:]), 0)
        except ProcessLookupError:
            partial.unlink(missing_ok=True)
        except PermissionError:
            pass  # It lives, and is of another user.


def _write(path: pathlib.Path, write) -> None:
    """Writes by way of another name, so that a file that exists is whole."""
    _remove_partial(path)
    partial = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        write(partial)
        os.replace(partial, path)
    except OSError as error:  # A full disk does not say where it is.
        raise OSError(f'{path} cannot be written: {error}') from error
    finally:
        partial.unlink(missing_ok=True)


def origin(analysis: Analysis, *files: str, **settings: Any) -> dict[str, dict]:
    """What an artifact is made of, for its header.

    Args:
      analysis: whose.
      files: artifacts that it is computed from.
      settings: that shape it, for JSON.

    Returns:
      `files`: SHA-256 of the content by name, None if it is not there; `settings`.
    """
    hashes = {}
    for name in files:
        path, hashes[name] = analysis.folder / name, None
        if path.is_file():
            with path.open('rb') as file:
                hashes[name] = hashlib.file_digest(file, 'sha256').hexdigest()
    return {'files': hashes, 'settings': json.loads(json.dumps(settings))}


def _read_header(path: pathlib.Path) -> dict:
    if path.suffix == '.json':
        return json.loads(path.read_text())[_HEADER]
    if path.suffix == '.parquet':
        return json.loads(parquet.read_schema(path).metadata[_HEADER.encode()])
    with np.load(path, allow_pickle=False) as file:
        return json.loads(str(file[_HEADER]))


def _changed(before: dict[str, str | None], now: dict[str, str | None]) -> list[str]:
    # What is not there any more was not computed anew.
    return [name for name, content in now.items() if content and content != before.get(name)]


def is_current(analysis: Analysis, file: str, version: int, origin: dict[str, dict]) -> bool:
    """Whether an artifact is there and would be computed again just so; else it is said why not.

    Args:
      analysis: whose.
      file: name of the artifact.
      version: of its kind now.
      origin: what it would be made of now.

    Returns:
      False if it has to be computed. What is damaged or of other images counts as current: whoever
      reads it refuses it.
    """
    path = analysis.folder / file
    if not path.exists():
        return False
    try:
        header = _read_header(path)
        before = header.get('origin', {'files': {}, 'settings': {}})
        why = [f'{name} has changed' for name in _changed(before['files'], origin['files'])]
        found = {'version': header['version'], **before['settings']}
        for name, value in {'version': version, **origin['settings']}.items():
            if name not in found or found[name] != value:
                why.append(f'{name} {found.get(name, "unknown")} instead of {value}')
    except Exception:  # As in `_load`.
        return True
    if why:
        print(f'{path} is computed anew: {", ".join(why)}.', file=sys.stderr)
    return not why


def _crc32(file: BinaryIO, *parts: tuple[int, int]) -> bytes:
    """Checksum of parts of a file, from and to; piece by piece, as it may be large."""
    crc = 0
    for start, stop in parts:
        file.seek(start)
        while piece := file.read(min(2**20, stop - file.tell())):
            crc = zlib.crc32(piece, crc)
    return crc.to_bytes(4)


def _check_crc(file: BinaryIO, at: int) -> None:
    """Compares a file with its checksum, `_MARK` and four bytes at `at`, if it has one."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, at))
    mark = file.read(8)
    if mark.startswith(_MARK) and mark != _MARK + _crc32(file, (0, at), (at + 8, size)):
        raise ValueError('its checksum is wrong')


def _check(path: pathlib.Path, found: Any, expected: dict) -> None:
    found = found if isinstance(found, dict) else {}
    wrong = [
        f'{key} {found.get(key)!r} instead of {value!r}'
        for key, value in expected.items()
        if found.get(key) != value
    ]
    if wrong:
        raise ValueError(
            f'{path} was made of something else or by another version of the code: '
            f'{", ".join(wrong)}. Delete it and run the analysis that writes it again.'
        )


def _load(analysis: Analysis, file: str, version: int, read: Callable) -> Any:
    """What `read` makes of a file: its header, which is checked, and its content.

    Raises:
      ValueError: it is missing, damaged, does not fit, or is older than what it was made of.
    """
    path, kind = analysis.folder / file, pathlib.PurePath(file).stem
    if not path.exists():
        raise ValueError(f'{path} is not there: run python -m analysis.{kind} first.')
    try:
        header, content = read(path)
    except Exception as error:  # What the libraries below raise on damage is not documented.
        raise ValueError(f'{path} is damaged ({error}); delete it and write it again.') from error
    _check(path, header, _header(analysis, kind, version))
    before = header.get('origin', {'files': {}})['files']
    made_of = origin(analysis, *(name for name, content in before.items() if content))
    if changed := _changed(before, made_of['files']):
        raise ValueError(
            f'{path} was made of another {changed[0]} than there is now: run the analysis that '
            'writes it again.'
        )
    return content


def save_arrays(
    analysis: Analysis,
    kind: str,
    version: int,
    origin: dict[str, dict] | None = None,
    **arrays: np.ndarray,
) -> pathlib.Path:
    """Writes `<kind>.npz`; no array may have dtype object."""
    path = analysis.folder / f'{kind}.npz'
    header = np.array(json.dumps(_header(analysis, kind, version, origin)))
    if any(np.asarray(array).dtype.hasobject for array in arrays.values()):
        raise TypeError(f'{path}: arrays of Python objects would have to be pickled.')

    def write(partial):
        with partial.open('w+b') as file:
            np.savez(file, **{_HEADER: header}, **arrays)
            # A zip file ends with the length of a comment, and the comment.
            file.seek(-2, os.SEEK_END)
            file.write((8).to_bytes(2, 'little'))
            checksum = _crc32(file, (0, file.tell()))
            file.write(_MARK + checksum)

    _write(path, write)
    return path


def save_array(analysis: Analysis, kind: str, array: np.ndarray) -> pathlib.Path:
    """Writes `<kind>.npy`; it has no header, so a file beside it has to vouch for it."""
    path = analysis.folder / f'{kind}.npy'

    def write(partial):
        with partial.open('wb') as file:
            np.save(file, array, allow_pickle=False)

    _write(path, write)
    return path


def load_arrays(analysis: Analysis, kind: str, version: int) -> dict[str, np.ndarray]:
    """Reads `<kind>.npz`.

    Raises:
      ValueError: it is missing, damaged, or does not fit this analysis.
    """

    def read(path):
        with path.open('rb') as file:
            _check_crc(file, path.stat().st_size - 8)
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        return json.loads(str(arrays.pop(_HEADER))), arrays

    return _load(analysis, f'{kind}.npz', version, read)


def save_table(
    analysis: Analysis,
    kind: str,
    version: int,
    columns: pyarrow.Table | dict[str, np.ndarray | list],
    origin: dict[str, dict] | None = None,
) -> pathlib.Path:
    """Writes `<kind>.parquet`, one row per image, with the header in its schema's metadata."""
    path = analysis.folder / f'{kind}.parquet'
    header = json.dumps(_header(analysis, kind, version, origin))
    table = pyarrow.table(columns).replace_schema_metadata({_HEADER: header})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, write_page_checksum=True)
    data = buffer.getvalue()
    # The footer says where in the file everything is, and nothing is just before it.
    at = _start_of_footer(data)
    data = data[:at] + _MARK + zlib.crc32(data).to_bytes(4) + data[at:]
    _write(path, lambda partial: partial.write_bytes(data))
    return path


def _start_of_footer(parquet_file: bytes) -> int:
    # The file ends with the length of the footer and 'PAR1'.
    return max(0, len(parquet_file) - 8 - int.from_bytes(parquet_file[-8:-4], 'little'))


def load_table(analysis: Analysis, kind: str, version: int) -> pyarrow.Table:
    """Reads `<kind>.parquet`.

    Raises:
      ValueError: it is missing, damaged, or does not fit this analysis.
    """

    def read(path):
        data = path.read_bytes()
        _check_crc(io.BytesIO(data), _start_of_footer(data) - 8)
        table = parquet.read_table(pyarrow.BufferReader(data), page_checksum_verification=True)
        return json.loads((table.schema.metadata or {}).get(_HEADER.encode(), b'{}')), table

    return _load(analysis, f'{kind}.parquet', version, read)


def save_json(
    analysis: Analysis,
    kind: str,
    version: int,
    result: dict,
    origin: dict[str, dict] | None = None,
) -> pathlib.Path:
    """Writes `<kind>.json`: `result` with a `header`. NaN and infinity are refused."""
    path = analysis.folder / f'{kind}.json'
    header = _header(analysis, kind, version, origin)
    header['crc32'] = _crc32_of_json(header, result)
    text = json.dumps({_HEADER: header, **result}, indent=2, allow_nan=False) + '\n'
    _write(path, lambda partial: partial.write_text(text))
    return path


def load_json(analysis: Analysis, kind: str, version: int) -> dict:
    """Reads `<kind>.json`, without its header.

    Raises:
      ValueError: it is missing, damaged, or does not fit this analysis.
    """

    def read(path):
        result = json.loads(path.read_text())
        header = result.pop(_HEADER)
        if header.get('crc32') not in (None, _crc32_of_json(header, result)):
            raise ValueError('its checksum is wrong')
        return header, result

    return _load(analysis, f'{kind}.json', version, read)


def _crc32_of_json(header: dict, result: dict) -> int:
    """Checksum of a result, and of the origin in its header."""
    whole = {**result, **{key: header[key] for key in ('origin',) if key in header}}
    # By way of text, which makes strings of all keys.
    plain = json.loads(json.dumps(whole, allow_nan=False))
    return zlib.crc32(json.dumps(plain, sort_keys=True).encode())
