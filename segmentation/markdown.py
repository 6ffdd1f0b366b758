"""Tables for people, in Markdown that shows any text as it is."""

import html
from collections.abc import Iterable, Sequence


def printable(text: str) -> str:
    """Text, on one line, in which characters that would control a terminal are written out."""
    text = ' '.join(text.split())
    return ''.join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def escape(text: str) -> str:
    """Text that Markdown, and a terminal, shows as it is, on one line."""
    text = html.escape(printable(text), quote=False)
    return ''.join(f'\\{char}' if char in '\\|`*_[]' else char for char in text)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the cells, but not the header, are escaped."""
    lines = [f'| {" | ".join(header)} |', '|' + '---|' * len(header)]
    lines += [f'| {" | ".join(map(escape, row))} |' for row in rows]
    return '\n'.join(lines)
