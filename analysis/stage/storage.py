"""Writes the result of a stage, a dataclass, as files, and reads it back.

`<name>.json` has a header and all fields that JSON can hold. Fields that are NumPy arrays (or
dicts of them) are in `<name>.npz`, a field that is a table is in `<name>.parquet`. The header has
the SHA-256 of each of these files and of the JSON itself, so that any change is noticed. The JSON
file is removed before the others are replaced, and replaced last: if it exists, the files beside it
are complete.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import typing
from typing import Any, TypeVar

import msgspec
import numpy as np
import pyarrow
from pyarrow import parquet

from segmentation.files import replacing, sha256

R = TypeVar('R')
_HEADER = 'header'


def json_path(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / f'{name}.json'


def _fields(kind: type) -> dict[str, Any]:
    """Type of each field of a dataclass; class variables are left out."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _is_array(hint: Any) -> bool:
    return hint is np.ndarray or hint == dict[str, np.ndarray]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, pathlib.PurePath):
        return str(value)
    raise TypeError(f'{type(value).__name__} cannot be written as JSON')


def to_json(result: Any) -> dict[str, Any]:
    """The fields of a result that JSON can hold."""
    return {
        name: msgspec.to_builtins(getattr(result, name), enc_hook=_plain, str_keys=True)
        for name, hint in _fields(type(result)).items()
        if not _is_array(hint) and hint is not pyarrow.Table
    }


def _digest(header: dict[str, Any], content: dict[str, Any]) -> str:
    text = json.dumps([header, content], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write(folder: pathlib.Path, name: str, result: Any, header: dict[str, Any]) -> None:
    """Writes a result.

    Args:
      folder: must exist.
      name: of the files, without suffix.
      result: a dataclass.
      header: for JSON; 'files' and 'sha256' are added.

    Raises:
      OSError: a file cannot be written.
      TypeError: an array holds Python objects, which would have to be pickled.
      ValueError: NaN or infinity where only JSON can hold the number.
    """
    # Converted before anything is removed: what cannot be written destroys nothing.
    content = json.loads(json.dumps(to_json(result), allow_nan=False))
    arrays: dict[str, np.ndarray] = {}
    table = None
    for field, hint in _fields(type(result)).items():
        value = getattr(result, field)
        if hint is pyarrow.Table:
            table = value
        elif hint is np.ndarray:
            arrays[field] = np.asarray(value)
        elif _is_array(hint):
            arrays |= {f'{field}/{key}': np.asarray(array) for key, array in value.items()}
    for field, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f'{name}.{field} holds Python objects: they would have to be pickled.')
    path = json_path(folder, name)
    files = {}
    with contextlib.ExitStack() as stack:
        # Files are replaced in reverse order: the JSON file last, and none if the disk is full.
        json_file = stack.enter_context(replacing(path))
        if arrays:
            partial = stack.enter_context(replacing(folder / f'{name}.npz'))
            with partial.open('wb') as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub wants bool
            files[f'{name}.npz'] = sha256(partial)
        if table is not None:
            partial = stack.enter_context(replacing(folder / f'{name}.parquet'))
            parquet.write_table(table, partial)
            files[f'{name}.parquet'] = sha256(partial)
        header = {**header, 'files': files}
        document = {_HEADER: {**header, 'sha256': _digest(header, content)}, **content}
        json_file.write_text(json.dumps(document, indent=2, allow_nan=False) + '\n')
        path.unlink(missing_ok=True)


def read_header(folder: pathlib.Path, name: str) -> dict[str, Any]:
    """Reads the header alone.

    Raises:
      Exception: the file is missing or damaged.
    """
    return json.loads(json_path(folder, name).read_text())[_HEADER]


def read(folder: pathlib.Path, name: str, kind: type[R]) -> R:
    """Reads what `write` wrote.

    Args:
      folder: of the files.
      name: of the files, without suffix.
      kind: the dataclass.

    Raises:
      Exception: a file is missing, damaged or of another schema.
    """
    content = json.loads(json_path(folder, name).read_text())
    header = content.pop(_HEADER)
    if header.pop('sha256', None) != _digest(header, content):
        raise ValueError('its checksum is wrong')
    values: dict[str, Any] = {}
    fields = _fields(kind)
    for file, expected in header['files'].items():
        # The file's name is known, whatever the header says.
        path = folder / f'{name}{pathlib.PurePath(file).suffix}'
        if sha256(path) != expected:
            raise ValueError(f'the checksum of {path} is wrong')
        if path.suffix == '.parquet':
            field = next(key for key, hint in fields.items() if hint is pyarrow.Table)
            values[field] = parquet.read_table(path)
        elif path.suffix == '.npz':
            with np.load(path, allow_pickle=False) as arrays:
                for key in arrays.files:
                    field, _, part = key.partition('/')
                    if part:
                        values.setdefault(field, {})[part] = arrays[key]
                    else:
                        values[field] = arrays[key]
    for field, hint in fields.items():
        if field in content:
            values[field] = msgspec.convert(content[field], hint)
        elif hint == dict[str, np.ndarray]:
            values.setdefault(field, {})
    return kind(**values)
