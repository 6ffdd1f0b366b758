"""LabelMe: one JSON file per image, beside it. Pixels that are stored in the JSON are ignored."""

import base64
import math
import os
import pathlib
from typing import Any

import numpy as np

from segmentation.data import image_files
from segmentation.data.layouts import base, via
from segmentation.data.layouts.base import Document, Folder, Images, Layout, Split

_KEYS = {'shapes', 'imagePath'}


def _find(folder: Folder) -> list[Split]:
    paths = [path for path in folder.matching(r'.*\.json') if _is_labelme(folder, path)]
    # An empty file among others is not passed over: reading it says what is wrong.
    here = {base.parent(path) for path in paths}
    stems = {os.path.splitext(name)[0] for name in folder.files if not name.endswith('.json')}
    stems = {stem.rpartition('/')[2] for stem in stems} if paths else set()
    for path in folder.matching(r'.*\.json'):
        stem = path.rpartition('/')[2].removesuffix('.json')
        if base.parent(path) in here and stem in stems and folder.is_damaged(path):
            paths.append(path)
    groups = base.by_split(sorted(paths), base.split_of_folder)
    return [
        Split(name, tuple(group), _folders(folder, group), _load) for name, group in groups.items()
    ]


def _is_labelme(folder: Folder, path: str) -> bool:
    first = set(folder.keys(path)[0])
    # Long outlines, or an image, can come before what tells.
    return _KEYS <= first or bool(first & {'shapes', 'imageData'}) and folder.is_long(path)


def _folders(folder: Folder, paths: list[str]) -> tuple[str, ...]:
    here = sorted({base.parent(path) for path in paths}, key=lambda path: path.count('/'))
    near = [
        f'{base.parent(path)}/{name}'.strip('/') for path in here for name in ('images', 'imgs')
    ]
    near += [f'{path}/images'.strip('/') for path in here]
    return base.existing(folder, *here, *near)


def _load(folder: Folder, split: Split, images: Images) -> dict[str, Any]:
    document = Document(())
    for path in split.files:
        content = folder.json(path)
        if not isinstance(content, dict) or not isinstance(content.get('shapes'), list):
            raise ValueError(
                f"{folder.root / path} has no list 'shapes'; remove or export it again"
            )
        key = document.add_image(_image(path, content, images), _size(content))
        groups: dict[Any, list[Any]] = {}
        for shape in content['shapes']:
            label = base.name_of(shape.get('label') if isinstance(shape, dict) else None)
            outline = _outline(shape, _size(content))
            group = shape.get('group_id') if isinstance(shape, dict) else None
            if type(group) is int and isinstance(outline, list):
                if (label, group) in groups:  # parts of one object
                    groups[label, group] += outline
                    continue
                groups[label, group] = outline
            document.add(key, label, outline)
    found = images.source.find(image['file_name'] for image in document.content['images'])
    # Also of other splits, which may have their images in the same folder.
    known = {*folder.matching(r'.*\.json'), *(file.name for file in found.values())}
    stems = set(map(_stem, known))
    for path in folder.images_in(''):
        if base.parent(path) in split.folders and _stem(path) not in stems:
            document.leave_out('image: no annotation file', path)
    return document.finish()


def _stem(path: str) -> str:
    return os.path.splitext(path)[0].rpartition('/')[2].lower()


def _size(content: dict) -> tuple[int, int] | None:
    size = content.get('imageWidth'), content.get('imageHeight')
    return (size[0], size[1]) if all(type(n) is int for n in size) else None  # type: ignore[return-value]


def _image(path: str, content: dict, images: Images) -> str:
    """The name of the image: as the file says, without the way to it, or beside the file."""
    given = base.get(content, 'imagePath', str).replace('\\', '/')
    parts = [part for part in given.split('/') if part not in ('', '.', '..')]
    here = pathlib.PurePosixPath(base.parent(path))
    beside = (here / parts[-1]).as_posix() if parts else ''
    names = [name for name in (beside, '/'.join(parts), os.path.splitext(path)[0]) if name]
    found = images.source.find(names)
    return next((name for name in names if not found[name].reason), names[0])


def _outline(shape: Any, size: tuple[int, int] | None) -> Any:
    """Polygons or run lengths of a shape; [] for points and lines, which have no area."""
    kind = base.get(shape, 'shape_type', str) or 'polygon'
    points = base.numbers(shape.get('points')) if isinstance(shape, dict) else None
    if points is None or len(points) % 2:
        return [[None]]
    if kind == 'polygon':
        return [points]
    if kind == 'rectangle' and len(points) >= 4:
        xs, ys = points[::2], points[1::2]
        left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
        return [[left, top, right, top, right, bottom, left, bottom]]
    if not base.are_small(points):
        return [[None]]
    if kind == 'circle' and len(points) == 4:
        x, y, edge_x, edge_y = points
        radius = math.hypot(edge_x - x, edge_y - y)
        return [via.ellipse(x, y, radius, radius)]
    if kind == 'mask' and len(points) == 4 and size is not None:
        return _mask(base.get(shape, 'mask', str), points, size)
    return []


def _mask(text: str, box: list[float], size: tuple[int, int]) -> Any:
    """A PNG of the part of the mask inside a box, whose last column and row belong to it."""
    try:
        with image_files.open_image(base64.b64decode(text, validate=True)) as image:
            if not image_files.is_bounded(*image.size) or not image_files.is_bounded(*size):
                return []
            part = np.asarray(image.convert('L')) > 0
    except Exception:  # Pillow raises almost anything on damaged files
        return []
    left, top = round(box[0]), round(box[1])
    height, width = part.shape
    if left < 0 or top < 0 or left + width > size[0] or top + height > size[1]:
        return []
    mask = np.zeros(size[::-1], np.bool_)
    mask[top : top + height, left : left + width] = part
    return base.encode_mask(mask)


LAYOUTS = (Layout('labelme', 'LabelMe', _find),)
