"""Pascal VOC: SegmentationClass and SegmentationObject, also 'segmentation masks' of CVAT."""

import os
import pathlib
import re
from typing import Any

import numpy as np

from segmentation.data.layouts import base, mask_images
from segmentation.data.layouts.base import Document, Folder, Images, Layout, Split

_NAMES = (
    'background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair',
    'cow', 'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa',
    'train', 'tvmonitor',
)  # fmt: skip


def _find(folder: Folder) -> list[Split]:
    masks = folder.matching(r'(.*/)?SegmentationClass(PNG)?/.+\.png')
    # Masks can lie in subfolders, as the images do.
    parts = [
        re.split('(?:^|/)SegmentationClass(?:PNG)?/', path, maxsplit=1, flags=re.I)
        for path in masks
    ]
    tops = dict.fromkeys(top for top, _ in parts)
    tops = {top: None for top in tops if f'{top}/JPEGImages'.strip('/') in folder.folders}
    if not tops:
        return []
    if len(tops) > 1:
        raise ValueError(
            f'{folder.root} has several data sets in the layout of Pascal VOC: '
            f'{", ".join(map(ascii, tops))[:200]}. Give one of these folders'
        )
    top = next(iter(tops))
    prefix = f'{top}/' if top else ''
    images = folder.images_below(f'{prefix}JPEGImages')
    stems: dict[str, str] = {}
    for path, (of, name) in zip(masks, parts, strict=True):
        stem = os.path.splitext(name)[0]
        # Other subfolders have masks to look at.
        if of == top and ('/' not in stem or stem in images):
            stems.setdefault(stem, path)
    lists = {
        pathlib.PurePosixPath(path).stem: mask_images.names_of(folder.text(path), stems)
        for path in folder.files
        if path.startswith(f'{prefix}ImageSets/Segmentation/') and path.endswith('.txt')
    }
    if {'train', 'val'} <= lists.keys():
        lists.pop('trainval', None)  # both of them
    is_listed = bool(lists)
    lists = lists or base.by_split(stems, base.split_of_folder)
    extra = mask_images.find_list(folder, top, '')
    splits = []
    for name, members in lists.items():
        files = [extra] if extra else []
        for stem in members:
            if stem in stems:
                files.append(stems[stem])
                instances = _objects_of(stems[stem])
                files += [instances] if instances in folder.names else []
        load = _Loader(prefix, members, extra, stems, is_listed)
        splits.append(Split(name, tuple(files), (f'{prefix}JPEGImages',), load))
    return splits


def _objects_of(mask: str) -> str:
    return re.sub('SegmentationClass', 'SegmentationObject', mask, flags=re.I)


class _Loader:
    def __init__(
        self,
        prefix: str,
        members: list[str],
        class_list: str | None,
        masks: dict[str, str],
        is_listed: bool,
    ):
        self._prefix, self._members, self._list = prefix, members, class_list
        self._masks, self._is_listed = masks, is_listed  # name of an image → its mask

    def __call__(self, folder: Folder, split: Split, images: Images) -> dict[str, Any]:
        del images
        files = frozenset(split.files)
        found = folder.images_below(f'{self._prefix}JPEGImages')
        if self._list is None:
            classes = mask_images.ClassList(dict(enumerate(_NAMES)), {})
        else:
            masks = [self._masks[stem] for stem in self._members if stem in self._masks]
            largest = mask_images.largest_number(folder, masks)
            mask_images.refuse_binary(folder, masks, self._list, largest)
            classes = mask_images.read_list(folder, self._list, largest)
        document = Document(n for n in classes.names.values() if not mask_images.is_nothing(n))
        for stem in self._members:
            path = self._masks.get(stem)
            if path is None:
                # Tools write no mask for an image without objects.
                document.note_unlabeled(document.add_image(found.get(stem, stem)))
                continue
            mask = self._read(folder, path, classes)
            key = document.add_image(found.get(stem, stem), mask.shape[::-1])
            if (mask == mask_images.VOID).any():
                document.note_unlabeled(key)
            instances = _objects_of(path)
            if instances in files:
                numbers = mask_images.object_numbers(base.read_indexes(folder, instances))
                if numbers.shape != mask.shape:
                    raise ValueError(f'{instances} and {path} have different sizes')
                mask_images.add_objects(document, key, numbers, mask, classes)
            else:
                mask_images.add_classes(document, key, mask, classes)
        said = {base.split_of_folder(stem) for stem in self._members}
        for stem in () if self._is_listed else sorted(found.keys() - self._masks.keys()):
            if base.split_of_folder(stem) in said:
                document.leave_out('image: no annotation file', found[stem])
        return document.finish()

    def _read(self, folder: Folder, path: str, classes: mask_images.ClassList) -> np.ndarray:
        # With a list of colors, masks hold colors, also those with a palette.
        mask = base.read_indexes(folder, path, apply_palette=bool(classes.colors))
        return classes.numbers(mask, str(folder.root / path))


LAYOUTS = (Layout('voc', 'Pascal VOC', _find),)
