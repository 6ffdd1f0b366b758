"""YOLO segmentation: data.yaml, and for each image a text file of polygons in fractions.

Fractions are usually written with six digits, so corners move by at most 5e-7 of the image's width
and height: 0.004 pixels at 8,000 pixels.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

import yaml

from segmentation.data.entries import id_key
from segmentation.data.layouts import base
from segmentation.data.layouts.base import Document, Folder, Images, Layout, Split

_MAX_ALIASES = 20
_ALIAS = re.compile(r'(?:^|[\s\[\]{},:-])\*[^\s,\[\]{}]', re.MULTILINE)
_KEYS = ('train', 'val', 'valid', 'validation', 'test')


def _load(text: str) -> Any:
    """Reads YAML without objects, and with few aliases: nested ones multiply without end.

    Raises:
      ValueError: too many aliases.
      yaml.YAMLError: it is no YAML.
    """
    if len(_ALIAS.findall(text)) > _MAX_ALIASES:
        raise ValueError('too many aliases (*name)')
    return yaml.safe_load(text)


def _find(folder: Folder) -> list[Split]:
    described = _description(folder)
    if described is None:
        return []
    name, names, places = described
    splits = []
    for split, given in places.items():
        folders = [
            f for text in given if (f := _locate(folder, base.parent(name), text)) is not None
        ]
        if 0 < len(folders) < len(given):
            raise ValueError(
                f'{folder.root / name}: {split} names {len(given)} places, of which '
                f'{len(given) - len(folders)} are no folders in {folder.root}: name the folders '
                'of the images'
            )
        if not folders:
            if any(text.endswith('.txt') for text in given):
                raise ValueError(
                    f'{folder.root / name}: {split} is {ascii(given[0])[:80]}, a list of images, '
                    'which is not read: name the folder of the images instead'
                )
            if split == 'train' or len(places) == 1:
                raise ValueError(
                    f'{folder.root / name}: {split} is {ascii(given[0])[:80]}, which is not in '
                    f'{folder.root}; put the images there and name their folder relative to it'
                )
            continue
        labels = tuple(
            label
            for place in folders
            for image in folder.images_in(place)
            if (label := _label_file(f'{place}/{image}'.strip('/'))) in folder.names
        )
        splits.append(Split(split, (name, *dict.fromkeys(labels)), tuple(folders), _Loader(names)))
    return splits


def _description(folder: Folder) -> tuple[str, list[str], dict[str, list[str]]] | None:
    """The file that describes the data set, the names of the classes, and the places of splits."""
    for path in folder.matching(r'([^/]+/)?[^/]+\.ya?ml'):
        try:
            content = _load(folder.text(path))
        except (ValueError, yaml.YAMLError, RecursionError):
            continue
        names = content.get('names') if isinstance(content, Mapping) else None
        if names is None or not any(key in content for key in _KEYS):
            continue
        if isinstance(names, Mapping):
            names = {id_key(key): name for key, name in names.items()}
        if isinstance(names, Mapping) and set(map(type, names)) == {int}:
            names = [names.get(i, f'class {i}') for i in range(min(max(names), 10_000) + 1)]
        if not isinstance(names, list) or not names:
            raise ValueError(
                f'{folder.root / path}: names is neither a list nor a mapping by number'
            )
        if any(isinstance(name, Mapping | list) for name in names):
            raise ValueError(f'{folder.root / path}: names has entries that are no text')
        start = content.get('path')
        start = f'{start}/' if isinstance(start, str) else ''
        places = {}
        for key in _KEYS:
            given = content.get(key)
            given = [given] if isinstance(given, str) else given
            if isinstance(given, list) and given and all(isinstance(text, str) for text in given):
                places[key] = [text if _is_absolute(text) else start + text for text in given]
        if places:
            return path, [str(name) for name in names], places
    for path in folder.matching(r'classes\.txt'):  # as Label Studio exports it
        if {'labels', 'images'} <= folder.folders and not folder.matching(r'result\.json'):
            if any(name.startswith('labels/') and name.endswith('.txt') for name in folder.files):
                return path, folder.text(path).split('\n'), {'train': ['images']}
    return None


def damaged(folder: Folder) -> list[tuple[str, str]]:
    """Files that seem to describe a data set but cannot be read, and why."""
    result = []
    for path in folder.matching(r'([^/]+/)?[^/]+\.ya?ml'):
        try:
            text = folder.text(path)
            if re.search('^names:', text, re.MULTILINE):
                _load(text)
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            mark = getattr(error, 'problem_mark', None)
            line = f' in line {mark.line + 1}' if mark else ''
            problem = getattr(error, 'problem', None) or str(error)
            result.append((path, f'{ascii(problem)[1:-1][:100]}{line}'))
    return result


def _is_absolute(text: str) -> bool:
    return text.startswith('/') or re.match(r'[A-Za-z]:', text) is not None


def _locate(folder: Folder, here: str, text: str) -> str | None:
    """The folder of images that a description means, within the data set.

    Descriptions often name a place on another machine. The longest end of that path that exists is
    used, but never a folder outside.
    """
    parts = [part for part in text.replace('\\', '/').split('/') if part not in ('', '.', '..')]
    # A part at the end that names a split is not dropped: another split would be taken for it.
    named = [i for i in range(len(parts))[-2:] if base.usual_name(parts[i])]
    for start in range(named[-1] + 1 if named else len(parts)):
        for top in (here, ''):
            place = '/'.join([*filter(None, [top]), *parts[start:]])
            if place in folder.folders:
                images = f'{place}/images'
                return images if images in folder.folders else place
    return None


def _label_file(image: str) -> str:
    """The label file of an image: 'labels' for the last 'images' in its path, and .txt."""
    parts = os.path.splitext(image)[0].split('/')
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == 'images':
            parts[i] = 'labels'
            break
    return '/'.join(parts) + '.txt'


class _Loader:
    def __init__(self, names: list[str]):
        self._names = names

    def __call__(self, folder: Folder, split: Split, images: Images) -> dict[str, Any]:
        document = Document(name for name in self._names if name.strip())
        labels = frozenset(split.files)
        for place in split.folders:
            for name in folder.images_in(place):
                path = f'{place}/{name}'.strip('/')
                label = _label_file(path)
                # Images of several folders can have the same name.
                name = path if len(split.folders) > 1 else name
                size = images.size(name) if label in labels else None
                key = document.add_image(name, size)
                for line in folder.text(label).splitlines() if label in labels else ():
                    if fields := line.split():
                        self._add(document, key, fields, size, label)
        parents = {base.parent(label) for label in split.files[1:]}
        for path in sorted(folder.names - labels):
            is_list = path.rpartition('/')[2] in ('classes.txt', 'predefined_classes.txt')
            if base.parent(path) in parents and path.endswith('.txt') and not is_list:
                document.leave_out('annotation: a label file without an image', path)
        return document.finish()

    def _add(
        self, document: Document, image: int, fields: list[str], size: Any, label: str
    ) -> None:
        try:
            number, *values = map(float, fields)
        except ValueError as error:
            raise ValueError(f'{label} has a line that is not numbers: {error}') from error
        known = number.is_integer() and 0 <= number < len(self._names)
        name = self._names[int(number)] if known else f'class {number:g}'
        if not known:
            raise ValueError(
                f'{label} uses the class {number:g}, but the classes are 0 … {len(self._names) - 1}'
            )
        if len(values) == 4 or size is None:  # a box; without the image there is no size
            document.add(image, name, [], bbox=values)
            return
        if values and (min(values) < -1 or max(values) > 2):
            raise ValueError(
                f'{label} has coordinates up to {max(values):g}: they must be fractions of the '
                'width and height of the image'
            )
        scale = (size[0], size[1])
        document.add(image, name, [[v * scale[i % 2] for i, v in enumerate(values)]])


LAYOUTS = (Layout('yolo', 'YOLO segmentation', _find),)
