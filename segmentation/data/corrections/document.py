"""A COCO annotation file as text, in which only single annotations are changed.

Every character outside of the changed annotations is kept, white space and the order of keys
included. The changes can be undone exactly.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from segmentation.data import annotations as annotations_lib

_SPACE = re.compile(r'[ \t\n\r]*')
_DECODER = json.JSONDecoder()


class Edit(NamedTuple):
    """Replaces a piece of a text by another."""

    start: int  # in characters
    old: str
    new: str


@dataclasses.dataclass(frozen=True)
class Document:
    """An annotation file: its text, its content, and where each annotation is in the text."""

    text: str
    content: dict[str, Any]  # as `annotations.load` returns it
    spans: tuple[tuple[int, int], ...]  # start and end of each annotation, in characters
    opening: int  # where the list of annotations begins, after its bracket


def digest(text: str) -> str:
    """Hexadecimal SHA-256 of a file with this text."""
    return hashlib.sha256(text.encode()).hexdigest()


def read(path: pathlib.Path) -> Document:
    """Reads an annotation file.

    Raises:
      ValueError: it is not a COCO instances file in UTF-8; says what it is instead.
      OSError: it cannot be read.
    """
    data = path.read_bytes()
    if data[:2] == b'\x1f\x8b':
        raise ValueError(f'{path} is compressed: unpack it first (gunzip --keep)')
    try:
        text = data.decode('utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not text in UTF-8: {error}') from error
    content = annotations_lib.load(data, str(path), in_full=True)
    return Document(text, content, *_annotations(text, path))


def _annotations(text: str, path: pathlib.Path) -> tuple[tuple[tuple[int, int], ...], int]:
    """Where each annotation is in a text that is known to be a JSON object with such a list."""

    def skip(at: int) -> int:
        found = _SPACE.match(text, at)
        return found.end() if found else at

    found: tuple[tuple[tuple[int, int], ...], int] | None = None
    at = skip(text.startswith('\ufeff')) + 1
    while text[at := skip(at)] != '}':
        key, at = _DECODER.raw_decode(text, at)
        start = skip(skip(at) + 1)  # after the colon
        if key != 'annotations':
            _, at = _DECODER.raw_decode(text, start)
        elif found:
            raise ValueError(f"{path} has two lists 'annotations': remove one")
        else:
            spans, at = [], skip(start + 1)
            while text[at] != ']':
                _, end = _DECODER.raw_decode(text, at)
                spans.append((at, end))
                at = skip(end)
                at = skip(at + 1) if text[at] == ',' else at
            found, at = (tuple(spans), start + 1), at + 1
        at = skip(at)
        at += text[at] == ','
    if found is None:
        raise ValueError(f"{path} has no list 'annotations'")
    return found


def edits(
    document: Document,
    changed: Mapping[int, Mapping[str, Any]],
    removed: set[int],
    added: Sequence[Mapping[str, Any]],
) -> list[Edit]:
    """The edits that change, remove and add annotations, in the order of the text.

    Args:
      document: of the file.
      changed: new content by position in the list of annotations.
      removed: positions.
      added: annotations for the end of the list.
    """
    text, spans = document.text, document.spans
    between = text[spans[0][1] : spans[1][0]] if len(spans) > 1 else ', '
    dump = json.JSONEncoder(allow_nan=False).encode  # in ASCII: text may be half a character
    result = []
    first_kept = next((k for k in range(len(spans)) if k not in removed), len(spans))
    if first_kept:  # with the separator after them
        end = spans[first_kept][0] if first_kept < len(spans) else spans[-1][1]
        result.append(Edit(spans[0][0], text[spans[0][0] : end], ''))
    for k, (start, end) in enumerate(spans):
        if k in removed and k > first_kept:  # with the separator before it
            before = spans[k - 1][1]
            result.append(Edit(before, text[before:end], ''))
        elif k in changed and k not in removed:
            result.append(Edit(start, text[start:end], dump(changed[k])))
    if added:
        end = spans[-1][1] if spans else document.opening
        new = between.join(map(dump, added))
        result.append(Edit(end, '', new if first_kept == len(spans) else between + new))
    return result


def apply(text: str, changes: Sequence[Edit]) -> tuple[str, list[Edit]]:
    """Applies edits; returns the text and the edits that undo them.

    Raises:
      ValueError: an edit does not fit the text.
    """
    parts, inverse, at, length = [], [], 0, 0
    for start, old, new in changes:
        if start < at or text[start : start + len(old)] != old:
            raise ValueError(f'the text at character {start} is not what was edited')
        parts += [text[at:start], new]
        length += start - at
        inverse.append(Edit(length, new, old))
        at, length = start + len(old), length + len(new)
    return ''.join([*parts, text[at:]]), inverse
