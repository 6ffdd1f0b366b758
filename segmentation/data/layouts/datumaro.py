"""Datumaro's own JSON (`annotations/<subset>.json`), as CVAT and Datumaro export it."""

from typing import Any

from segmentation.data.layouts import base
from segmentation.data.layouts.base import Document, Folder, Images, Layout, Split


def _find(folder: Folder) -> list[Split]:
    splits = []
    paths = folder.matching(r'(.*/)?annotations/[^/]+\.json')
    known = [path for path in paths if _is_datumaro(folder, path)]
    there = {base.parent(path) for path in known}
    for path in paths:
        # A damaged file is not passed over: reading it says what is wrong.
        if path not in known and not (base.parent(path) in there and folder.is_damaged(path)):
            continue
        name = path.rpartition('/')[2].removesuffix('.json')
        top = base.parent(base.parent(path))
        folders = [f'{top}/images/{name}'.strip('/'), f'{top}/images'.strip('/')]
        splits.append(Split(name, (path,), base.existing(folder, *folders)[:1], _load))
    return splits


def _is_datumaro(folder: Folder, path: str) -> bool:
    first, _ = folder.keys(path)
    return 'dm_format_version' in first or {'items', 'categories'} <= set(first)


def _load(folder: Folder, split: Split, images: Images) -> dict[str, Any]:
    del images
    (name,) = split.files
    content = folder.json(name)
    labels = base.get(
        base.get(base.get(content, 'categories', dict), 'label', dict), 'labels', list
    )
    names = [base.get(label, 'name', str) for label in labels]
    document = Document(names)
    for item in base.get(content, 'items', list):
        image = base.get(item, 'image', dict)
        size = image.get('size')
        known = isinstance(size, list) and len(size) == 2
        file_name = base.get(image, 'path', str) or base.get(item, 'id', str)
        key = document.add_image(file_name, (size[1], size[0]) if known else None)
        groups: dict[Any, list[list[float]]] = {}
        for annotation in base.get(item, 'annotations', list):
            label: Any = annotation.get('label_id') if isinstance(annotation, dict) else None
            is_known = type(label) is int and 0 <= label < len(names)
            text = names[label] if is_known else f'label {label}'  # also without a label
            kind = base.get(annotation, 'type', str)
            group = base.get(annotation, 'group', int)
            if kind == 'polygon':
                points = base.get(annotation, 'points', list)
                # Polygons of one group are parts of one object.
                parts = groups.get((group, text)) if group else None
                if parts is not None:
                    parts.append(points)
                    continue
                parts = groups.setdefault((group, text), []) if group else []
                parts.append(points)
                document.add(key, text, parts)
            elif kind == 'mask':
                crowd = base.get(base.get(annotation, 'attributes', dict), 'is_crowd', bool)
                document.add(key, text, base.get(annotation, 'rle', dict), iscrowd=int(crowd))
            elif kind not in ('label', 'caption'):
                box = base.get(annotation, 'bbox', list)
                document.add(key, text, [], bbox=box)  # counted as without an outline
    return document.finish()


LAYOUTS = (Layout('datumaro', 'Datumaro export', _find),)
