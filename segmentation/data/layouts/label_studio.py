"""Label Studio's own JSON: a list of tasks, with brush masks, polygons and ellipses.

Brush masks are the RGBA bytes of the image in run lengths: 32 bits of their number, 5 bits of the
word size less 1, four times 4 bits of the sizes of lengths less 1; then blocks of 1 bit (a word is
repeated), 2 bits (which size), the length less 1, and one word or as many as the length says.
https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack
"""

import json
import math
import os
import re
from typing import Any

import numpy as np

from segmentation.data import coco_files, image_files
from segmentation.data.layouts import base, via
from segmentation.data.layouts.base import Document, Folder, Images, Layout, Split

_HEAD = 65_536  # bytes that are read to recognize a file
_LIMIT = 2**31
# Beginnings of the types of results that are shapes.
_SHAPES = (
    'polygon', 'brush', 'ellipse', 'rectangle', 'keypoint', 'magicwand', 'bitmask', 'vector',
)  # fmt: skip
_WITHOUT_OUTLINE = 'rectangle', 'keypoint', 'vector'
_TASKS = 'tasks.json', 'labels.xml'  # what scripts/annotation_tasks.py writes to be imported
_COCO = 'result.json', 'result_coco.json'  # Label Studio's exports as COCO
_ALPHA_SHOWN = 128  # of 255; brushes have soft edges


def decode_brush(values: Any, height: int, width: int) -> np.ndarray:
    """A brush mask, bool `[height, width]`: where its alpha is at least half.

    Args:
      values: list of the bytes of the encoded mask.
      height: of the image in pixels.
      width: of the image in pixels.

    Raises:
      ValueError: it is damaged, or of another size.
    """
    if not isinstance(values, list) or not all(
        type(value) is int and 0 <= value < 256 for value in values
    ):
        raise ValueError('run lengths are not a list of bytes')
    data, at = bytes(values), 0

    def read(count: int) -> int:
        nonlocal at
        end = at + count
        if end > 8 * len(data):
            raise ValueError('run lengths end too early')
        last = (end + 7) // 8
        chunk = int.from_bytes(data[at // 8 : last], 'big')
        at = end
        return chunk >> (8 * last - end) & ((1 << count) - 1)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    if not image_files.is_bounded(width, height) or total != 4 * height * width or word != 8:
        raise ValueError('run lengths do not add up to the image')
    result, place = np.zeros(total, np.uint8), 0
    while place < total:
        is_repeated = read(1)
        length = read(sizes[read(2)]) + 1
        if place + length > total:
            raise ValueError('run lengths do not add up to the image')
        if is_repeated:
            result[place : place + length] = read(word)
        else:
            result[place : place + length] = [read(word) for _ in range(length)]
        place += length
    return result.reshape(height, width, 4)[..., 3] >= _ALPHA_SHOWN


def _find(folder: Folder) -> list[Split]:
    paths = [p for p in folder.matching(r'([^/]+/){0,2}[^/]+\.json') if _has_tasks(folder, p)]
    paths = [path for path in paths if not _is_exported(folder, path, paths)]
    splits = []
    for name, group in base.by_split(paths, base.split_in).items():
        here = [base.parent(path) for path in group]
        near = [f'{path}/images'.strip('/') for path in here]
        splits.append(Split(name, tuple(group), base.existing(folder, *near, *here, ''), _load))
    return splits


def _is_exported(folder: Folder, path: str, paths: list[str]) -> bool:
    """Whether a file is what was imported into the tool, and another one is what came back."""
    here, _, name = path.rpartition('/')
    tasks, labels = _TASKS
    if name != tasks or f'{here}/{labels}'.strip('/') not in folder.names:
        return False
    beside = f'{here}/'.lstrip('/')
    is_beside = any(other.startswith(beside) and other != path for other in paths)
    return is_beside or any(beside + other in folder.names for other in _COCO)


def _has_tasks(folder: Folder, name: str) -> bool:
    """Whether a file begins as a list of tasks."""
    try:
        path = folder.path(name)
        if not path.is_file():
            return False
        with path.open('rb') as file:
            head = file.read(_HEAD).decode('utf-8', 'replace').lstrip('\ufeff \t\r\n')
    except (OSError, ValueError):
        return False
    if not re.match(r'\[\s*\{', head):
        return False
    depth, last, keys = 0, '', set()
    for token in re.findall(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]', head):
        depth += (token in '{[') - (token in '}]')
        if token == ':' and depth == 2:
            keys.add(last)
        last = token.strip('"')
    return 'annotations' in keys or {'data', 'predictions'} <= keys


def _load(folder: Folder, split: Split, images: Images) -> dict[str, Any]:
    document = Document(())
    for path in split.files:
        try:
            tasks = json.loads(folder.read(path, _LIMIT))
        except (ValueError, RecursionError) as error:
            raise ValueError(f'{folder.root / path} cannot be read as JSON: {error}') from error
        for task in tasks if isinstance(tasks, list) else []:
            _add_task(document, task, images)
    return document.finish()


def _add_task(document: Document, task: Any, images: Images) -> None:
    data = base.get(task, 'data', dict)
    name = _file_name(data)
    made = [
        annotation
        for annotation in base.get(task, 'annotations', list)
        if isinstance(annotation, dict) and not annotation.get('was_cancelled')
    ]
    if not made:
        document.leave_out('image: nobody has annotated it', name)
        return
    results = [each for each in base.get(made[-1], 'result', list) if isinstance(each, dict)]
    shapes = [each for each in results if base.get(each, 'type', str).startswith(_SHAPES)]
    shown = {base.get(each, 'to_name', str) for each in shapes} - {''}
    if len(shown) > 1 or len({base.get(each, 'item_index', int) for each in shapes}) > 1:
        document.leave_out('image: a task with annotations of several images', name)
        return
    for _ in made[:-1]:
        document.leave_out('annotation: of an earlier annotator of the same image', name)
    size = _size([data, *results]) or images.size(name)
    key = document.add_image(name, size)
    labels = {str(each.get('id')): _label(each) for each in results if _label(each)}
    # Other types, such as 'labels' or 'number', say more about the shape of the same id.
    for shape in shapes:
        label = base.name_of(_label(shape) or labels.get(str(shape.get('id'))))
        document.add(key, label, _outline(shape, size))


def _label(result: Any) -> Any:
    """The label of a result; None if it has none."""
    value = base.get(result, 'value', dict)
    labels = next((v for k, v in value.items() if k.endswith('labels') and v), None)
    return labels[0] if isinstance(labels, list) else None


def _file_name(data: dict) -> str:
    """The image of a task: as this project writes it, else the first value that names one."""
    own = [base.get(data, key, str) for key in ('file_name', 'image')]
    texts = [value for value in data.values() if isinstance(value, str)]
    endings = coco_files.IMAGE_SUFFIXES
    images = [text for text in texts if os.path.splitext(text)[1].lower() in endings]
    return next(filter(None, [*own, *images, *texts]), '')


def _size(entries: list) -> tuple[int, int] | None:
    for entry in entries:
        for names in (('width', 'height'), ('original_width', 'original_height')):
            width, height = (base.get(entry, name, int) for name in names)
            if min(width, height) > 0 and image_files.is_bounded(width, height):
                return width, height
    return None


def _outline(shape: dict, size: tuple[int, int] | None) -> Any:
    """Polygons or run lengths; [] for boxes and points, and in images of an unknown size."""
    if size is None:
        return []
    kind, value = base.get(shape, 'type', str), base.get(shape, 'value', dict)
    width, height = size
    if value.get('format') == 'rle':
        try:
            return base.encode_mask(decode_brush(value.get('rle'), height, width))
        except ValueError:
            return {'size': [height, width], 'counts': [-1]}  # counted as broken run lengths
    points = base.numbers(value.get('points'))
    if points and base.are_small(points):
        return [[v * size[i % 2] / 100 for i, v in enumerate(points)]]
    names = ('x', 'y', 'radiusX', 'radiusY', 'rotation')
    ellipse = base.numbers([value.get(name, 0) for name in names])
    if 'radiusX' in value and ellipse and base.are_small(ellipse):
        x, y, a, b = (n * size[i % 2] / 100 for i, n in enumerate(ellipse[:4]))
        return [via.ellipse(x, y, a, b, math.radians(ellipse[4]))]
    if kind.startswith(_WITHOUT_OUTLINE):
        return []
    # Counted as a broken polygon, or as broken run lengths.
    is_polygon = kind.startswith(('polygon', 'ellipse'))
    return [[None]] if is_polygon else {'size': [height, width], 'counts': None}


LAYOUTS = (Layout('label_studio_json', 'Label Studio tasks', _find),)
