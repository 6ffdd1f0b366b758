"""VGG Image Annotator: projects and exported annotations, for each folder beside its images."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from segmentation.data.layouts import base
from segmentation.data.layouts.base import Document, Folder, Images, Layout, Split

CORNERS = 64  # of the polygon that stands for a circle or an ellipse
_CLASS_NAMES = ('class', 'name', 'label', 'type', 'category', 'object', 'object_name', 'class_name')


def _find(folder: Folder) -> list[Split]:
    paths = []
    for path in folder.matching(r'([^/]+/){0,3}[^/]+\.json'):
        first, second = folder.keys(path)
        if '_via_img_metadata' in first or {'filename', 'regions'} <= second:
            paths.append(path)
    return [
        Split(name, tuple(group), base.existing(folder, *_places(group)), _load)
        for name, group in base.by_split(paths, base.split_in).items()
    ]


def _places(paths: list[str]) -> list[str]:
    return [*map(base.parent, paths), *(place for path in paths for place in _beside(path))]


def _beside(path: str) -> list[str]:
    here = base.parent(path)
    return [f'{here}/images'.strip('/'), f'{base.parent(here)}/images'.strip('/')]


def _load(folder: Folder, split: Split, images: Images) -> dict[str, Any]:
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}  # image → file and entry
    for name in split.files:
        content = folder.json(name)
        project = base.get(content, '_via_img_metadata', dict)
        for number, entry in enumerate((project or content).values()):
            if not isinstance(entry, Mapping):
                continue
            # Images of several folders can have the same name.
            given = base.get(entry, 'filename', str)
            beside = f'{base.parent(name)}/{given}'.strip('/')
            key = beside if beside in folder.names else given or f'{name} {number}'
            other, earlier = found.get(key, (name, entry))
            if other == name or not any(_regions(earlier)):
                found[key if key not in found or other != name else f'{key} {number}'] = name, entry
            elif any(_regions(entry)) and list(_regions(entry)) != list(_regions(earlier)):
                raise ValueError(
                    f'{folder.root / other} and {folder.root / name} annotate {ascii(key)} '
                    'differently: keep one of the two'
                )
    entries = [entry for _, entry in found.values()]
    attribute = _class_attribute(str(folder.root / split.files[0]), entries)
    document = Document(())
    for key, (_, entry) in found.items():
        given = base.get(entry, 'filename', str)
        image = document.add_image(key if len(split.files) > 1 and key in folder.names else given)
        for region in _regions(entry):
            shape = base.get(region, 'shape_attributes', dict)
            label = _label(base.get(region, 'region_attributes', dict), attribute)
            document.add(image, label, _outline(shape))
    del images  # the sizes come from the files
    return document.finish()


def _regions(entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    regions = entry.get('regions')
    # Version 1 numbers them in an object.
    regions = list(regions.values()) if isinstance(regions, Mapping) else regions
    regions = regions if isinstance(regions, list) else []
    yield from (r for r in regions if isinstance(r, Mapping))


def _class_attribute(name: str, entries: list[Mapping[str, Any]]) -> str:
    """The attribute of regions that holds their class; '' if they have none."""
    found: dict[str, None] = {}
    for entry in entries:
        for region in _regions(entry):
            found |= dict.fromkeys(base.get(region, 'region_attributes', dict))
    usual = [key for key in found if key.lower() in _CLASS_NAMES]
    candidates = usual or list(found)
    if len(candidates) > 1:
        raise ValueError(
            f'{name}: regions have the attributes {", ".join(map(ascii, found))}; name the one '
            "that holds the class 'class'"
        )
    return candidates[0] if candidates else ''


def _label(attributes: Mapping[str, Any], attribute: str) -> str:
    value = attributes.get(attribute) if attribute else 'object'
    if isinstance(value, Mapping):  # a checkbox: {'cat': true}
        chosen = [key for key, is_set in value.items() if is_set]
        value = chosen[0] if len(chosen) == 1 else None
    return base.name_of(value)


def _outline(shape: Mapping[str, Any]) -> Any:
    """The polygon of a shape; [] for points and lines, which have no area."""
    kind = shape.get('name')
    if kind == 'polygon':
        xs, ys = shape.get('all_points_x'), shape.get('all_points_y')
        if isinstance(xs, list) and isinstance(ys, list) and len(xs) == len(ys):
            return [[value for point in zip(xs, ys, strict=True) for value in point]]
        return [[None]]
    keys = {
        'rect': ('x', 'y', 'width', 'height'),
        'circle': ('cx', 'cy', 'r', 'r'),
        'ellipse': ('cx', 'cy', 'rx', 'ry'),
    }.get(str(kind))
    values: list[Any] = [shape.get(key) for key in keys or ()]
    if not keys or not set(map(type, values)) <= {int, float} or not base.are_small(values):
        return []
    x, y, a, b = map(float, values)
    if kind == 'rect':
        return [[x, y, x + a, y, x + a, y + b, x, y + b]]
    theta = shape.get('theta', 0) if kind == 'ellipse' else 0
    is_angle = isinstance(theta, int | float) and base.are_small([theta])
    return [ellipse(x, y, a, b, float(theta) if is_angle else 0.0)]


def ellipse(x: float, y: float, a: float, b: float, angle: float = 0.0) -> list[float]:
    """A polygon of `CORNERS` corners that stands for an ellipse; no point is off by 0.2 % of it.

    Args:
      x: of the center, in pixels.
      y: of the center.
      a: half axis along x, in pixels.
      b: half axis along y.
      angle: by which it is turned, in radians.
    """
    points = []
    for i in range(CORNERS):
        phase = 2 * math.pi * i / CORNERS
        dx, dy = a * math.cos(phase), b * math.sin(phase)
        points += [x + dx * math.cos(angle) - dy * math.sin(angle)]
        points += [y + dx * math.sin(angle) + dy * math.cos(angle)]
    return points


LAYOUTS = (Layout('via', 'VGG Image Annotator (VIA)', _find),)
