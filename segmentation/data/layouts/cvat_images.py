"""CVAT's own XML, "CVAT for images 1.1": masks, polygons and ellipses.

A mask is the lengths of its runs in a box, row by row, beginning with background.
https://docs.cvat.ai/docs/manual/advanced/xml_format/
"""

import functools
import html
import math
import pathlib
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np

from segmentation.data import image_files
from segmentation.data.layouts import base, via
from segmentation.data.layouts.base import Document, Folder, Images, Layout, Split

SUGGESTIONS = 'suggestions.xml'  # what scripts/annotation_tasks.py writes to be uploaded
_LIMIT = 2**30
_HEAD = 4096


def decode_mask(shape: dict[str, str], height: int, width: int) -> np.ndarray:
    """A mask, bool `[height, width]`, from the attributes of its element.

    Raises:
      ValueError: an attribute is missing or not a number, or the runs do not fill the box.
    """
    left, top, columns, rows = (int(shape[k]) for k in ('left', 'top', 'width', 'height'))
    runs = [int(run) for run in shape['rle'].split(',')]
    # With bounded numbers, sums and sizes are bounded too.
    if min(runs) < 0 or min(left, top) < 0 or min(columns, rows) < 1:
        raise ValueError('negative')
    if left + columns > width or top + rows > height or sum(runs) != columns * rows:
        raise ValueError('run lengths do not add up to the box')
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    mask = np.zeros((height, width), np.bool_)
    mask[top : top + rows, left : left + columns] = flat.reshape(rows, columns)
    return mask


def _find(folder: Folder) -> list[Split]:
    splits: list[Split] = []
    paths = [
        name
        for name in folder.matching(r'([^/]+/){0,2}[^/]+\.xml')
        # What was suggested to CVAT is not what people said there.
        if pathlib.PurePosixPath(name).name != SUGGESTIONS and _is_cvat(folder, name)
    ]
    for path in paths:
        here = base.parent(path)
        places = f'{here}/images'.strip('/'), here, 'images', ''
        subsets = _subsets(folder, path)
        for subset in subsets:
            name = _name(path, subset, subsets, len(paths))
            if any(split.name == name for split in splits):
                name = f'{name} of {path}'
            within = [f'{place}/{subset}'.strip('/') for place in places] if subset else []
            folders = base.existing(folder, *within, *places)
            load = functools.partial(_load, subset=subset)
            splits.append(Split(name, (path,), folders, load))
    return splits


def _subsets(folder: Folder, path: str) -> list[str]:
    """The subsets of a project that the images of a file name; '' for images without one."""
    found = set()
    for tag in re.findall(r'<image\b[^>]*>', folder.read(path, _LIMIT).decode('utf-8', 'replace')):
        subset = re.search(r'\bsubset\s*=\s*("[^"]*"|\'[^\']*\')', tag)
        found.add(html.unescape(subset[1][1:-1]) if subset else '')
    return sorted(found) or ['']


def _name(path: str, subset: str, subsets: list[str], num_files: int) -> str:
    """The name of the split of a subset; what has none is 'train' unless another subset is."""
    of_path, has_name = base.split_in(path), subset not in ('', 'default')
    if len(subsets) == 1 and (of_path or not has_name):
        return of_path or ('train' if num_files == 1 else path)
    if has_name:
        return subset
    named = (other for other in subsets if other != 'default')
    return 'other' if 'train' in map(base.usual_name, named) else 'train'


def _is_cvat(folder: Folder, name: str) -> bool:
    try:
        path = folder.path(name)
        if not path.is_file():
            return False
        with path.open('rb') as file:
            head = file.read(_HEAD).decode('utf-8', 'replace')
    except (OSError, ValueError):
        return False
    return bool(
        re.match(r'\ufeff?\s*(<\?xml[^>]*\?>)?\s*(<!--.*?-->\s*)?<annotations\b', head, re.S)
    )


def _load(folder: Folder, split: Split, images: Images, subset: str) -> dict[str, Any]:
    (name,) = split.files
    try:
        text = folder.read(name, _LIMIT).decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(f'{folder.root / name} is not text in UTF-8: {error}') from error
    # An entity could expand without bound, or name another file.
    if '<!DOCTYPE' in text or '<!ENTITY' in text:
        raise ValueError(f'{folder.root / name} defines entities, which CVAT does not: not read')
    try:
        root = ElementTree.fromstring(re.sub(r'^\s*<\?xml[^>]*\?>', '', text))
    except (ElementTree.ParseError, RecursionError) as error:
        raise ValueError(f'{folder.root / name} cannot be read as XML: {error}') from error
    if root.find('track') is not None:
        raise ValueError(
            f'{folder.root / name} is of "CVAT for video": export "CVAT for images 1.1"'
        )
    document = Document(
        label.text.strip() for label in root.iterfind('meta//labels/label/name') if label.text
    )
    for image in root.iterfind('image'):
        if image.get('subset', '') == subset:
            _add_image(document, image, images)
    return document.finish()


def _add_image(document: Document, image: ElementTree.Element, images: Images) -> None:
    name = image.get('name', '')
    size = _whole(image.get('width')), _whole(image.get('height'))
    known = size if image_files.is_bounded(*size) and min(size) > 0 else images.size(name)
    key = document.add_image(name, known)
    groups: dict[tuple[str, str], list[list[float]]] = {}
    shapes = [shape for shape in image if shape.tag not in ('tag', 'points', 'polyline')]
    for shape in sorted(shapes, key=lambda shape: _whole(shape.get('z_order'))):
        label, group = shape.get('label', ''), shape.get('group_id', '0')
        outline = _outline(shape, known)
        if group != '0' and shape.tag == 'polygon':
            if (group, label) in groups:  # parts of one object
                groups[group, label] += outline
                continue
            groups[group, label] = outline
        document.add(key, base.name_of(label), outline)


def _outline(shape: ElementTree.Element, size: tuple[int, int] | None) -> Any:
    """Polygons or run lengths; [] for shapes without an outline, such as boxes."""
    try:
        if shape.tag == 'mask' and size:
            return base.encode_mask(decode_mask(shape.attrib, size[1], size[0]))
        if shape.tag == 'polygon':
            points = [float(v) for v in re.split('[,;]', shape.attrib['points'])]
            return [points]
        if shape.tag == 'ellipse':
            values = [float(shape.get(k, '0')) for k in ('cx', 'cy', 'rx', 'ry', 'rotation')]
            if base.are_small(values):
                x, y, a, b, angle = values
                return [via.ellipse(x, y, a, b, math.radians(angle))]
    except (ValueError, KeyError, OverflowError):
        return [[None]]  # counted as broken
    return []


def _whole(text: str | None) -> int:
    """A whole number of at most nine digits; 0 for anything else."""
    return int(text) if text and re.fullmatch(r'-?[0-9]{1,9}', text) else 0


LAYOUTS = (Layout('cvat_images', 'CVAT for images', _find),)
