"""Cityscapes: gtFine (or gtCoarse) beside leftImg8bit; instance numbers, or else polygons."""

import itertools
import re
from typing import Any

import numpy as np

from segmentation.data.layouts import base
from segmentation.data.layouts.base import Document, Folder, Images, Layout, Split

# Names by label id, as the data set's own scripts define them.
_NAMES = (
    'unlabeled', 'ego vehicle', 'rectification border', 'out of roi', 'static', 'dynamic',
    'ground', 'road', 'sidewalk', 'parking', 'rail track', 'building', 'wall', 'fence',
    'guard rail', 'bridge', 'tunnel', 'pole', 'polegroup', 'traffic light', 'traffic sign',
    'vegetation', 'terrain', 'sky', 'person', 'rider', 'car', 'truck', 'bus', 'caravan',
    'trailer', 'train', 'motorcycle', 'bicycle',
)  # fmt: skip
_WITH_INSTANCES = range(24, 34)  # ids from person to bicycle
_LEFT_OUT = frozenset((*_NAMES[:4], 'license plate'))
_PATTERN = r'(?P<top>(.*/)?)gt(Fine|Coarse)/(?P<split>[^/]+)/(?P<image>.+)_gt(Fine|Coarse)_'
# The likeliest to be complete first.
_KINDS = ('instanceIds.png', 'labelIds.png', 'polygons.json')


def _find(folder: Folder) -> list[Split]:
    found: dict[tuple[str, str], dict[str, str]] = {}
    for quality, kind in itertools.product(('Fine', 'Coarse'), _KINDS):
        for path in folder.matching(f'{_PATTERN}{re.escape(kind)}'):
            match = re.fullmatch(_PATTERN.replace('Fine|Coarse', quality) + '.*', path, re.I)
            if match:
                images = f'{match["top"]}leftImg8bit/{match["split"]}'
                found.setdefault((match['split'], images), {}).setdefault(match['image'], path)
    for top in sorted({images.rpartition('leftImg8bit/')[0] for _, images in found}):
        own = f'{top}label_colors.txt'
        if own in folder.names and (others := _other_names(folder.text(own))):
            raise ValueError(
                f'{folder.root} has the folders of Cityscapes, but labels of its own ({own}: '
                f'{ascii(others[0])[:80]}), which are not read: export COCO or Pascal VOC instead'
            )
    return [
        Split(name, tuple(members.values()), base.existing(folder, images), _load)
        for (name, images), members in found.items()
    ]


def _other_names(text: str) -> list[str]:
    """Names of a list of colors, 'r g b name' each, that are not of Cityscapes."""
    names = [line.split(maxsplit=3)[-1].strip() for line in text.splitlines() if line.strip()]
    return [name for name in names if name not in (*_NAMES, *_LEFT_OUT, 'background')]


def _load(folder: Folder, split: Split, images: Images) -> dict[str, Any]:
    del images
    document = Document(name for name in _NAMES if name not in _LEFT_OUT)
    for path in split.files:
        match = re.fullmatch(_PATTERN + '.*', path, re.IGNORECASE)
        image = f'{match["image"] if match else path}_leftImg8bit.png'
        if path.endswith('.json'):
            _add_polygons(document, image, folder.json(path))
        else:
            _add_numbers(document, image, base.read_indexes(folder, path), str(folder.root / path))
    return document.finish()


def _add_numbers(document: Document, image: str, mask: np.ndarray, name: str) -> None:
    """A number is a label id, or 1000 times a label id plus the number of the instance."""
    if mask.ndim != 2:
        raise ValueError(f'{name} is not an image of numbers')
    key = document.add_image(image, (mask.shape[1], mask.shape[0]))
    if (mask < 4).any() or (mask == 255).any():  # the labels of _LEFT_OUT
        document.note_unlabeled(key)
    for number in np.unique(mask).tolist():
        label = number // 1000 if number >= 1000 else number
        if not 0 <= label < len(_NAMES):
            if number in (255, 65535):  # license plates, -1
                continue
            raise ValueError(f'{name} has the number {number}, which is no label of Cityscapes')
        if _NAMES[label] in _LEFT_OUT:
            continue
        # Without a number of its own, a car stands for a group of cars, which is a crowd region.
        crowd = label in _WITH_INSTANCES and number < 1000 and 'instanceIds' in name
        segmentation = base.encode_mask(mask == number)
        document.add(key, _NAMES[label], segmentation, iscrowd=int(crowd))


def _add_polygons(document: Document, image: str, content: Any) -> None:
    """Objects are in the order in which they are drawn: later ones cover earlier ones."""
    width, height = base.get(content, 'imgWidth', int), base.get(content, 'imgHeight', int)
    key = document.add_image(image, (width, height))
    for shape in base.get(content, 'objects', list):
        label = base.get(shape, 'label', str)
        is_group = label.endswith('group') and label not in _NAMES
        label = label.removesuffix('group') if is_group else label
        if label and label not in _LEFT_OUT and shape.get('deleted') not in (1, True):
            points = base.numbers(shape.get('polygon'))
            outline = [[None]] if points is None else [points]
            document.add(key, label, outline, iscrowd=int(is_group))


LAYOUTS = (Layout('cityscapes', 'Cityscapes', _find),)
