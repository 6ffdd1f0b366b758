"""Plain folders of images and of PNG masks that hold class numbers, with a list of the classes."""

import os
import re
from typing import Any

from segmentation.data import coco_files
from segmentation.data.layouts import base, mask_images
from segmentation.data.layouts.base import Document, Folder, Images, Layout, Split

_MASKS = r'(masks?|labels?|annotations?|segmentations?|gt|groundtruth|label_?ids|mask_png|targets?)'
_IMAGES = r'(images?|imgs?|photos?|jpegimages|rgb|inputs?)'
_ENDINGS = r'[-_](masks?|labels?|seg|segmentation|gt|l|labelids)$'


def _find(folder: Folder) -> list[Split]:
    images: dict[str, str] = {}
    masks: dict[str, str] = {}
    for path in folder.files:
        stem, ending = os.path.splitext(path)
        if ending.lower() not in coco_files.IMAGE_SUFFIXES:
            continue
        kind, key = _kind(stem)
        if kind == 'mask':
            if ending.lower() in ('.png', '.bmp', '.tif', '.tiff', '.gif'):
                masks[key] = path
        else:
            images[key] = path
    pairs = {images[key]: masks[key] for key in images if key in masks}
    if not pairs:
        return []
    extra = mask_images.find_list(folder, '', *sorted({base.parent(m) for m in pairs.values()}))
    splits = []
    for name, members in base.by_split(sorted(pairs)).items():
        places = tuple(sorted({base.parent(path) for path in members}))
        files = tuple(pairs[path] for path in members)
        chosen = {path: pairs[path] for path in members}
        files = files if extra is None else (extra, *files)
        splits.append(Split(name, files, places, _Loader(chosen, extra)))
    return splits


def _kind(stem: str) -> tuple[str, str]:
    """Whether a path is a mask or an image, and what the two of a pair share."""
    *folders, name = stem.lower().split('/')
    for i, part in enumerate(folders):
        if re.fullmatch(_MASKS, part):
            return 'mask', '/'.join(
                [*folders[:i], '*', *folders[i + 1 :], re.sub(_ENDINGS, '', name)]
            )
        if re.fullmatch(_IMAGES, part):
            return 'image', '/'.join([*folders[:i], '*', *folders[i + 1 :], name])
        # CamVid and others: train, train_labels.
        if match := re.fullmatch(rf'(.+?)[-_]?{_MASKS}', part):
            key = [*folders[:i], match[1], *folders[i + 1 :], re.sub(_ENDINGS, '', name)]
            return 'mask', '/'.join(key)
    return 'image', '/'.join([*folders, name])


class _Loader:
    def __init__(self, pairs: dict[str, str], class_list: str | None):
        self._pairs, self._list = pairs, class_list

    def __call__(self, folder: Folder, split: Split, images: Images) -> dict[str, Any]:
        del images
        masks = [*self._pairs.values()]
        largest = mask_images.largest_number(folder, masks)
        if self._list is None:
            raise ValueError(
                f'{folder.root} has masks ({masks[0]}, numbers up to {largest}) but no list of '
                "their classes: write classes.txt with a line '<number> <name>' for each"
            )
        classes = mask_images.read_list(folder, self._list, largest)
        document = Document(n for n in classes.names.values() if not mask_images.is_nothing(n))
        for image, path in self._pairs.items():
            mask = base.read_indexes(folder, path, apply_palette=bool(classes.colors))
            numbers = classes.numbers(mask, str(folder.root / path))
            place = next(p for p in split.folders if base.parent(image) == p)
            key = document.add_image(image.removeprefix(f'{place}/'), numbers.shape[::-1])
            if (numbers == mask_images.VOID).any() and mask_images.VOID not in classes.names:
                document.note_unlabeled(key)
            mask_images.add_classes(document, key, numbers, classes)
        return document.finish()


LAYOUTS = (Layout('masks', 'folders of images and masks', _find, is_general=True),)
