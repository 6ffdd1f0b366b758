"""The JSON of a COCO file, without all of it as Python objects at once.

The annotation file of COCO 2014 has 333 MB. As lists of numbers it would take five times as much.
"""

import codecs
import json
from collections.abc import Iterator, Sequence
from typing import Any, overload

import msgspec

_BLOCK = 1 << 20  # bytes


class Entries(Sequence[Any]):
    """A list in a JSON file. An entry is parsed each time it is used, and then forgotten."""

    def __init__(self, items: Sequence[msgspec.Raw], name: str):
        """Args:
        items: which refer to the bytes of the file.
        name: what error messages call the file.
        """
        self._items, self._name = items, name

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, position: int) -> Any: ...

    @overload
    def __getitem__(self, position: slice) -> 'Entries': ...

    def __getitem__(self, position: int | slice) -> Any:
        """An entry as `json.loads` reads it.

        Raises:
          ValueError: it is not JSON; names the file.
        """
        if isinstance(position, slice):
            return Entries(self._items[position], self._name)
        return self._parse(self._items[position])

    def __iter__(self) -> Iterator[Any]:
        return map(self._parse, self._items)

    def _parse(self, item: msgspec.Raw) -> Any:
        try:
            return json.loads(bytes(item))
        except (ValueError, RecursionError) as error:
            raise ValueError(f'{self._name} cannot be read as JSON: {error}') from error


def parse(data: bytes, name: str, keys: Sequence[str]) -> Any:
    """Parses JSON as `json.loads` does, but lists under these keys of its object as `Entries`.

    What only `json.loads` accepts, such as NaN or UTF-16, is left to it.

    Args:
      data: of the file, which the result keeps in memory.
      name: what error messages call the file.
      keys: of an object at the top.

    Raises:
      ValueError: the file is not JSON. Of an entry, this may be found only when it is used.
      RecursionError: it is nested too deeply.
    """
    try:
        if not _is_utf8(data):
            return json.loads(data)
        document: dict[str, Any] = dict(msgspec.json.decode(data, type=dict[str, msgspec.Raw]))
        for key, value in document.items():
            if key in keys and bytes(memoryview(value)[:1]) == b'[':
                document[key] = Entries(msgspec.json.decode(value, type=list[msgspec.Raw]), name)
            else:
                document[key] = json.loads(bytes(value))
    except (msgspec.DecodeError, RecursionError):
        return json.loads(data)
    return document


def _is_utf8(data: bytes) -> bool:
    decoder = codecs.getincrementaldecoder('utf-8')()
    blocks = range(0, len(data), _BLOCK)
    try:
        for start in blocks:
            decoder.decode(data[start : start + _BLOCK], start == blocks[-1])
    except UnicodeDecodeError:
        return False
    return True
