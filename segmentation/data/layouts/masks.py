"""Plain folders of images and of PNG masks that hold class numbers, with a list of the classes."""

import os
import re
from typing import Any

from segmentation.data import coco_files
from segmentation.data.layouts import base, mask_images
from segmentation.data.layouts.base import Document, Folder, Images, Layout, Split

_MASKS = (
    r'(masks?|labels?|annotations?|annots?|segmentations?|gt|groundtruth|label_?ids|mask_png|'
    r'targets?)'
)
_IMAGES = r'(images?|imgs?|photos?|jpegimages|rgb|inputs?)'
_ENDINGS = r'[-_](masks?|labels?|seg|segmentation|gt|l|labelids)$'  # of a mask's name
_SECOND = 'annotation: a second mask of an image'


def _find(folder: Folder) -> list[Split]:
    images: dict[str, str] = {}
    masks: dict[str, str] = {}
    alone: dict[str, str] = {}  # without a partner → why
    for path in folder.files:
        stem, ending = os.path.splitext(path)
        if ending.lower() not in coco_files.IMAGE_SUFFIXES:
            continue
        kind, key = _kind(stem)
        if kind == 'mask':
            if ending.lower() in ('.png', '.bmp', '.tif', '.tiff', '.gif'):
                if key in masks:
                    alone[masks[key]] = _SECOND
                masks[key] = path
        elif key in images:
            alone[path] = 'image: its name without the ending is that of another image'
        else:
            images[key] = path
    pairs = {images[key]: masks[key] for key in images if key in masks}
    for key in sorted(masks.keys() - images):  # 'a_mask' is of 'a' unless that has a mask
        image = images.get(re.sub(_ENDINGS, '', key), '')
        if image and image not in pairs:
            pairs[image] = masks[key]
        else:
            alone[masks[key]] = _SECOND if image else 'annotation: a mask without an image'
    if not pairs:
        return []
    extra = mask_images.find_list(folder, '', *sorted({base.parent(m) for m in pairs.values()}))
    splits = []
    alone |= {path: 'image: no mask' for path in images.values() if path not in pairs}
    alone = {
        path: why
        for path, why in alone.items()
        if why.startswith('annotation') or not _is_other(path, pairs)
    }
    for name, members in base.by_split(sorted(pairs), base.split_of_folder).items():
        places = tuple(sorted({base.parent(path) for path in members}))
        files = tuple(pairs[path] for path in members)
        chosen = {path: pairs[path] for path in members}
        files = files if extra is None else (extra, *files)
        said = {base.split_of_folder(path) for path in members}
        unpaired = {p: alone[p] for p in sorted(alone) if base.split_of_folder(p) in said}
        splits.append(Split(name, files, places, _Loader(chosen, extra, unpaired)))
    return splits


def _is_other(path: str, pairs: dict[str, str]) -> bool:
    """Whether an image lies in no folder of images with masks, such as a preview."""
    return base.parent(path) not in {base.parent(image) for image in pairs}


def _kind(stem: str) -> tuple[str, str]:
    """Whether a path is a mask or an image, and what the two of a pair share but for an ending."""
    *folders, name = stem.lower().split('/')
    for i, part in enumerate(folders):
        if re.fullmatch(_MASKS, part):
            return 'mask', '/'.join([*folders[:i], '*', *folders[i + 1 :], name])
        if re.fullmatch(_IMAGES, part):
            return 'image', '/'.join([*folders[:i], '*', *folders[i + 1 :], name])
        # CamVid and others: train, train_labels.
        if match := re.fullmatch(rf'(.+?)[-_]?{_MASKS}', part):
            return 'mask', '/'.join([*folders[:i], match[1], *folders[i + 1 :], name])
    return 'image', '/'.join([*folders, name])


class _Loader:
    def __init__(self, pairs: dict[str, str], class_list: str | None, unpaired: dict[str, str]):
        self._pairs, self._list, self._unpaired = pairs, class_list, unpaired

    def __call__(self, folder: Folder, split: Split, images: Images) -> dict[str, Any]:
        del images
        masks = [*self._pairs.values()]
        largest = mask_images.largest_number(folder, masks)
        if self._list is None:
            raise ValueError(
                f'{folder.root} has masks ({masks[0]}, numbers up to {largest}) but no list of '
                "their classes: write classes.txt with a line '<number> <name>' for each"
            )
        mask_images.refuse_binary(folder, masks, self._list, largest)
        classes = mask_images.read_list(folder, self._list, largest)
        document = Document(n for n in classes.names.values() if not mask_images.is_nothing(n))
        for path, reason in self._unpaired.items():
            document.leave_out(reason, path)
        for image, path in self._pairs.items():
            mask = base.read_indexes(folder, path, apply_palette=bool(classes.colors))
            numbers = classes.numbers(mask, str(folder.root / path))
            # Images of several folders can have the same name.
            name = image if len(split.folders) > 1 else image.rpartition('/')[2]
            key = document.add_image(name, numbers.shape[::-1])
            if (numbers == mask_images.VOID).any() and mask_images.VOID not in classes.names:
                document.note_unlabeled(key)
            mask_images.add_classes(document, key, numbers, classes)
        return document.finish()


LAYOUTS = (Layout('masks', 'folders of images and masks', _find, is_general=True),)
