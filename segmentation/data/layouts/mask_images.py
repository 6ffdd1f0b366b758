"""Masks as images: class lists, and instances from class numbers.

For Pascal VOC, CVAT and plain folders.
"""

import re
from collections.abc import Container, Mapping

import numpy as np

from segmentation.data.layouts import base
from segmentation.data.layouts.base import Document, Folder

VOID = 255  # pixels that are not annotated
_BACKGROUND = ('background', '_background_', '__background__', 'bg')
_NOTHING = (*_BACKGROUND, 'void', 'unlabeled', 'unlabelled', '_ignore_', '__ignore__', 'ignore')
_LISTS = r'(labelmap|label_map|classes|class_names|class_dict|label_names|labels|label_colors)'


class ClassList:
    """Which number or color in a mask means which class.

    Attributes:
      names: number → name.
      colors: color → number; empty if masks hold numbers.
    """

    def __init__(self, names: Mapping[int, str], colors: Mapping[tuple[int, ...], int]):
        self.names, self.colors = dict(names), dict(colors)

    def numbers(self, mask: np.ndarray, name: str) -> np.ndarray:
        """The class numbers [H, W] of a mask.

        Raises:
          ValueError: a color, or a number other than 0 and 255, is not in the list.
        """
        if mask.ndim == 3 and self.colors:
            codes = (mask[..., :3].astype(np.int64) * (2**16, 2**8, 1)).sum(-1)
            found, positions = np.unique(codes, return_inverse=True)
            known = {int(np.dot(color, (2**16, 2**8, 1))): n for color, n in self.colors.items()}
            for code in found.tolist():
                if code not in known:
                    color = code >> 16, code >> 8 & 255, code & 255
                    raise ValueError(f'{name} has the color {color}, which the class list lacks')
            values = np.array([known[code] for code in found.tolist()])
            return values[positions].reshape(mask.shape[:2])
        if mask.ndim == 3:
            if not (mask[..., :1] == mask).all():
                raise ValueError(
                    f'{name} is a color image, and the class list has no colors: add them '
                    "(labelmap.txt, 'name:red,green,blue::'), or store class numbers"
                )
            mask = mask[..., 0]
        mask = mask.astype(np.int64)
        for number in np.unique(mask).tolist():
            if number not in self.names and number not in (0, VOID):
                known_numbers = ', '.join(f'{k} {v}' for k, v in list(self.names.items())[:8])
                raise ValueError(
                    f'{name} has the number {number}, which is not in the class list '
                    f'({known_numbers}); correct the list'
                )
        return mask


def find_list(folder: Folder, *places: str) -> str | None:
    """The class list in one of the folders."""
    for place in places:
        prefix = re.escape(f'{place}/') if place else ''
        if found := folder.matching(prefix + _LISTS + r'\.(txt|csv|json)'):
            return found[0]
    return None


def read_list(folder: Folder, path: str, largest: int) -> ClassList:
    """Reads a class list: names by line, numbered names, names with colors, CSV, or JSON.

    Args:
      folder: of the data set.
      path: of the list in it.
      largest: number in the masks, except 255. It tells whether the names of a list without
        numbers start at 0 or at 1.

    Raises:
      ValueError: malformed, or both could be meant.
    """
    name = str(folder.root / path)
    lines: list[str] = []
    if path.endswith('.json'):
        content = folder.json(path)
        if isinstance(content, dict):
            numbered = [(k, v) for k, v in content.items() if str(k).isdecimal()]
            numbered = numbered or [(v, k) for k, v in content.items() if type(v) is int]
            return ClassList({int(k): str(v) for k, v in numbered}, {})
        if isinstance(content, list) and all(
            isinstance(c, dict) and type(c.get('id')) is int and isinstance(c.get('name'), str)
            for c in content
        ):
            return ClassList({c['id']: c['name'] for c in content}, {})
        lines = [str(item) for item in content] if isinstance(content, list) else []
    else:
        lines = folder.text(path).splitlines()
    lines = [line.strip() for line in lines if line.strip() and not line.startswith('#')]
    if not lines:
        raise ValueError(f'{name} has no class')
    colored = [m for line in lines if (m := re.fullmatch(_COLORED, line))]
    if colored := colored or [m for line in lines if (m := re.fullmatch(_COLORS_FIRST, line))]:
        names = {i: m['name'].strip() for i, m in enumerate(colored)}
        colors = {tuple(int(m[c]) for c in ('r', 'g', 'b')): i for i, m in enumerate(colored)}
        return ClassList(names, colors)
    numbered_lines = [re.fullmatch(r'(\d{1,5})\s*[:,;=\t ]\s*(.+)', line) for line in lines]
    if all(numbered_lines):
        return ClassList({int(m[1]): m[2].strip() for m in numbered_lines if m}, {})
    if lines[0].lower() in _NOTHING or largest == len(lines):
        first = 0 if lines[0].lower() in _NOTHING else 1
        if lines[0].lower() == '__ignore__' and lines[1:] and lines[1].lower() in _BACKGROUND:
            first = -1  # as labelme numbers them
        return ClassList(dict(enumerate(lines, first)), {})
    raise ValueError(
        f'{name} has {len(lines)} names, and the masks use the numbers 0 … {largest}. It is not '
        f"clear whether {lines[0]!r} is 0 or 1: write the numbers in front ('1 {lines[0]}'), or "
        "'background' as the first line"
    )


_COLORED = (
    r'(?P<name>[^:,]+?)\s*[:,]\s*(?P<r>\d{1,3})\s*,\s*(?P<g>\d{1,3})\s*,\s*(?P<b>\d{1,3})\s*(:.*)?'
)


# As CamVid and Datumaro write them.
_COLORS_FIRST = r'(?P<r>\d{1,3})\s+(?P<g>\d{1,3})\s+(?P<b>\d{1,3})\s+(?P<name>\D.*)'


def is_nothing(name: str) -> bool:
    """Whether the name of a class says that there is no object."""
    return name.strip().lower() in _NOTHING


def add_classes(document: Document, image: int, mask: np.ndarray, classes: ClassList) -> None:
    """Adds each class of a mask of class numbers [H, W] as one instance."""
    for number in np.unique(mask).tolist():
        name = classes.names.get(number)
        if name is not None and not is_nothing(name):
            document.add(image, name, base.encode_mask(mask == number))


def add_objects(
    document: Document, image: int, objects: np.ndarray, mask: np.ndarray, classes: ClassList
) -> None:
    """Adds each object of a mask of object numbers [H, W]; its class is the most frequent in it."""
    for number in np.unique(objects).tolist():
        if number == 0:
            continue
        inside = objects == number
        found, counts = np.unique(mask[inside], return_counts=True)
        usable = [
            (count, -value)
            for value, count in zip(found.tolist(), counts.tolist(), strict=True)
            if value in classes.names and not is_nothing(classes.names[value])
        ]
        if usable:
            document.add(image, classes.names[-max(usable)[1]], base.encode_mask(inside))
        else:
            document.add(image, 'unnamed', base.encode_mask(inside))


def object_numbers(mask: np.ndarray) -> np.ndarray:
    """Numbers of objects [H, W], 0 for none; a color is a number."""
    if mask.ndim == 2:
        return np.where(mask == VOID, 0, mask).astype(np.int64)
    return (mask[..., :3].astype(np.int64) * (2**16, 2**8, 1)).sum(-1)


def largest_number(folder: Folder, names: list[str]) -> int:
    """The largest number in masks, except 255."""
    return max((_largest(base.read_indexes(folder, name)) for name in names), default=0)


def _largest(mask: np.ndarray) -> int:
    return int(mask[mask != VOID].max(initial=0))


def refuse_binary(folder: Folder, names: list[str], class_list: str, largest: int) -> None:
    """Refuses masks of numbers 0 and 255 with a class list that does not mention 255."""
    if largest or re.search(rf'\b{VOID}\b', folder.text(class_list)):
        return
    masks = (base.read_indexes(folder, name) for name in names)
    if any(mask.ndim == 2 and (mask == VOID).any() for mask in masks):
        raise ValueError(
            f'{folder.root}: the masks hold only the numbers 0 and {VOID}, and {VOID} usually '
            'means pixels that are not annotated. If it is a class, write the line '
            f"'{VOID} <name>' into {class_list}"
        )


def names_of(text: str, known: Container[str]) -> list[str]:
    """Image names, one a line, of a list of a split.

    Names with spaces are quoted (CVAT) or `known`. VOC adds -1, 0 or 1 behind a name.
    """
    names = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if len(line) > 1 and line[0] == line[-1] == '"':
            line = line[1:-1]
        names.append(line if line in known else re.sub(r'\s+(-1|0|1)$', '', line))
    return names
