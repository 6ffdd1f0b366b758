"""Markdown tables that show any text literally."""

import html
from collections.abc import Iterable, Sequence
from typing import Any


def printable(text: str) -> str:
    """One line of text, with escape codes for characters that would control a terminal."""
    text = ' '.join(text.split())
    return ''.join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def printable_lines(text: str) -> str:
    """Text of several lines, with escape codes for characters that would control a terminal."""
    return '\n'.join(
        ''.join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
        for line in text.split('\n')
    )


def escape(text: str) -> str:
    """Escapes text so that Markdown and terminals show it literally, in one line."""
    text = html.escape(printable(text), quote=False)
    return ''.join(f'\\{char}' if char in '\\|`*_[]' else char for char in text)


def number(value: float | None, interval: Sequence[float] | None = None, spec: str = '.3f') -> str:
    """A number, with its interval in parentheses if there is one; '–' for None."""
    if value is None:
        return '–'
    bounds = f' ({interval[0]:{spec}}, {interval[1]:{spec}})' if interval else ''
    return f'{value:{spec}}{bounds}'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the cells, but not the header, are escaped."""
    lines = [f'| {" | ".join(header)} |', '|' + '---|' * len(header)]
    lines += [f'| {" | ".join(map(escape, row))} |' for row in rows]
    return '\n'.join(lines)


def iou_table(summary: dict[str, Any]) -> str:
    """Scores of `metrics.summarize`, one row per class and one per mean, with intervals."""
    intervals = summary.get('intervals', {})

    def cell(key: str, name: str | None = None) -> str:
        value, interval = summary[key], intervals.get(key)
        if name is not None:
            value, interval = value[name], interval and interval[name]
        return number(value, interval)

    rows = ['| class | IoU over the set | mean IoU per image | images | effective sample size |']
    rows.append('|---|---|---|---|---|')
    for name in summary['iou']:
        rows.append(
            f'| {escape(name)} | {cell("iou", name)} | {cell("image_iou", name)} '
            f'| {summary["num_images_with_class"][name]} '
            f'| {summary["effective_images"][name]:.1f} |'
        )
    foreground = f'{cell("mean_iou_foreground")} | {cell("mean_image_iou")}'
    rows.append(f'| **mean, foreground** | {foreground} | {summary["num_images"]} | |')
    rows.append(f'| **mean, all classes** | {cell("mean_iou")} | | {summary["num_images"]} | |')
    baseline = cell('mean_iou_background_only')
    rows.append(f'| all classes, predicting background everywhere | {baseline} | | | |')
    return '\n'.join(rows)
