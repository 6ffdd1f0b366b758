"""COCO's JSON, as COCO and many tools lay it out: one layout per habit of naming files."""

import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

from segmentation.data import annotations
from segmentation.data.layouts import base
from segmentation.data.layouts.base import Folder, Images, Layout, Split

_JSON = r'\.json(\.gz)?'
_KEYS = {'images', 'annotations', 'categories', 'licenses', 'videos', 'info'}
_OTHER_KEYS = {'items', 'dm_format_version', 'shapes', 'imgHeight'}
# Files beside the instances of COCO that have no masks of objects.
_NO_INSTANCES = ('captions_', 'person_keypoints_', 'panoptic_', 'stuff_', 'image_info_')
# Where images can be, relative to the folder of the annotation file or to the one above it.
_SHARED = ('images', 'data', 'imgs', 'JPEGImages', 'photos')


def load(folder: Folder, split: Split, images: Images) -> dict[str, Any]:
    """Reads the document of a split."""
    del images
    (name,) = split.files
    return annotations.load(folder.read(name, 2**32), str(folder.root / name))


def is_coco(folder: Folder, name: str) -> bool:
    """Whether a JSON file begins as a COCO document does."""
    first, _ = folder.keys(name)
    return bool(_KEYS.intersection(first)) and not _OTHER_KEYS.intersection(first)


def _split(folder: Folder, path: str, name: str) -> Split:
    """A split with one annotation file; its images are looked for where tools put them."""
    here, above = base.parent(path), base.parent(base.parent(path))
    tops = dict.fromkeys([above, '', here])
    own = [f'{top}/{sub}' for top in tops for sub in (name, f'images/{name}', f'{name}/images')]
    own += [f'{top}/{name}/{name}' for top in tops]  # unzipped into a folder of its name
    shared = [f'{top}/{sub}' for top in (here, above, '') for sub in _SHARED]
    beside = {base.parent(file) for file in folder.files if _is_image(file)}
    for folders in ([f for f in own if f.strip('/') not in ('', '.')], shared):
        found = base.existing(folder, *(f.strip('/') for f in folders))
        # Images beside the annotation file come first: its split may be named like a folder.
        if here in beside:
            found = (here, *found)
        if found:
            return Split(name, (path,), found, load)
    return Split(name, (path,), base.existing(folder, here, above, ''), load)


def _is_image(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in ('.jpg', '.jpeg', '.png', '.webp', '.tif', '.bmp')


def _stem(path: str) -> str:
    return re.sub(_JSON + '$', '', pathlib.PurePosixPath(path).name, flags=re.IGNORECASE)


def _named(pattern: str, needs: tuple[str, ...] = ()) -> Callable[[Folder], list[Split]]:
    """Finds annotation files by a pattern whose group, if any, is the name of the split.

    `needs` are folders of which one must be beside the annotation file or its folder.
    """

    def find(folder: Folder) -> list[Split]:
        splits = []
        for path in folder.matching(pattern + _JSON):
            here = base.parent(path)
            tops = [
                f'{top}/{need}'.strip('/') for top in (here, base.parent(here)) for need in needs
            ]
            # A damaged file is not passed over: reading it says what is wrong.
            is_other = folder.keys(path)[0] and not is_coco(folder, path)
            if is_other or (needs and not base.existing(folder, *tops)):
                continue
            match = re.fullmatch(pattern + _JSON, path, re.IGNORECASE)
            groups = match.groupdict() if match else {}
            name = groups.get('split') or base.split_in(here) or here.rpartition('/')[2]
            name = name or 'train'
            splits.append(_split(folder, path, name))
        return splits

    return find


def _cvat(folder: Folder) -> list[Split]:
    pattern = r'(.*/)?annotations/instances_(?P<split>[^/]+?)'
    splits = _named(pattern, needs=('images',))(folder)
    names = {split.name.lower() for split in splits}
    return splits if names == {'default'} else []


def _any(folder: Folder) -> list[Split]:
    """Any COCO document near the top; by the name of the file or of its folder."""
    paths = [path for path in folder.matching(r'([^/]+/){0,2}[^/]+' + _JSON)]
    there = {base.parent(path) for path in paths if is_coco(folder, path)}
    paths = [
        path
        for path in paths
        if is_coco(folder, path)
        # A damaged file is not passed over: reading it says what is wrong.
        or (base.parent(path) in there and base.usual_name(_stem(path)) and folder.is_damaged(path))
    ]
    with_masks = [p for p in paths if not _stem(p).lower().startswith(_NO_INSTANCES)]
    paths = with_masks or paths
    splits = []
    for path in paths:
        words = re.split(r'[^A-Za-z0-9]+', _stem(path))
        named = [word for word in words if base.usual_name(word) and word.lower() != 'default']
        name = named[0] if named else base.split_in(base.parent(path))
        name = name or ('train' if len(paths) == 1 else _stem(path))
        splits.append(_split(folder, path, name))
    return splits


LAYOUTS = (
    Layout('roboflow', 'Roboflow export', _named(r'(.*/)?_annotations\.coco[^/]*')),
    Layout('cvat', 'CVAT export', _cvat),
    Layout('coco', 'COCO', _named(r'([^/]+/){0,3}instances_(?P<split>[^/]+?)')),
    Layout('fiftyone', 'FiftyOne export', _named(r'(.*/)?labels', needs=('data',))),
    Layout('label_studio', 'Label Studio export', _named(r'result(_coco)?', needs=('images',))),
    Layout('coco_json', 'COCO annotations', _any, is_general=True),
)
