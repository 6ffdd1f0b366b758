"""What people changed in an annotation tool, as corrections of the file that it came from."""

import collections
import dataclasses
import pathlib
from collections.abc import Container, Iterator, Mapping
from typing import Any

from pycocotools import mask as mask_utils

from segmentation.data import annotations, image_files, layouts, segmentations
from segmentation.data.corrections.correcting import stem
from segmentation.data.corrections.decisions import Correction
from segmentation.data.corrections.document import Document
from segmentation.data.entries import Annotations, Image, Instance, Skipped, id_key


def read(folder: pathlib.Path) -> Iterator[Annotations]:
    """Each split of an exported folder; its images need not be there.

    Raises:
      ValueError: no layout fits, or a file is damaged.
    """
    found = layouts.recognize(folder)
    for split in found.splits:
        images = layouts.Images(found.folder, split.folders, 'displayed')
        content = split.load(found.folder, split, images)
        if not content['annotations'] and not content['categories']:
            # Every label was deleted, and Label Studio names only those that are used.
            content['categories'] = [{'id': 1, 'name': 'none'}]
        yield annotations.read(content, split.title(), split.digest(found.folder))


def only(
    returned: Annotations, split: str, splits: Container[str], shared: Container[str]
) -> Annotations:
    """What came back of one split, by the folder that its images were exported into.

    Args:
      returned: what came back.
      split: name of the split.
      splits: names of all splits.
      shared: names (see `correcting.stem`) that several splits have; without a folder that names a
        split, such images belong to none.
    """

    def is_mine(name: str) -> bool:
        folder = pathlib.PurePosixPath(name.replace('\\', '/')).parent.name
        return folder == split if folder in splits else stem(name) not in shared

    images = [image for image in returned.images if is_mine(image.file_name)]
    return dataclasses.replace(returned, images=images)


def corrections(
    document: Document, returned: Annotations, recognized: set[str], skipped: Skipped
) -> Iterator[Correction]:
    """What differs between a file and what came back of some of its images.

    Images are recognized by the names of their files. Instances whose mask is the same, pixel for
    pixel, are the same instance. Crowd regions are usually not exported, and stay; if the mask of
    one came back, those of its image were exported, as instances.

    Args:
      document: of the file.
      returned: what came back.
      recognized: gets the names of the images that the file has.
      skipped: counts images that the file has twice, or in another size, or whose annotations
        have no ids by which they can be changed; and those whose crowd regions are gone, which
        may not have been exported, and stay.
    """
    own = annotations.read(document.content, 'the source', '')
    by_name: dict[str, list[Image]] = collections.defaultdict(list)
    for image in own.images:
        by_name[stem(image.file_name)].append(image)
    names, new_names = ({c.id: c.name for c in each.categories} for each in (own, returned))
    pairs: list[tuple[Image, Image]] = []
    for image in returned.images:
        known = by_name.get(stem(image.file_name), [])
        if known:
            recognized.add(image.file_name)
        if len(known) > 1:
            skipped.add('returned: several images have its name', image.file_name)
        elif not known:
            continue
        elif not _fits(known[0], image):
            skipped.add('returned: image has another size', image.file_name)
        else:
            pairs.append((known[0], image))
    entries = (entry for entry in document.content['annotations'] if isinstance(entry, dict))
    given = collections.Counter(id_key(entry.get('id')) for entry in entries)
    came_back = [_crowds_came_back(*pair) for pair in pairs]
    for (mine, image), crowds in zip(pairs, came_back, strict=True):
        if crowds is False and any(came_back):
            skipped.add('returned: crowd regions that are gone stay', image.file_name)
        found = list(_of_image(mine, names, image, new_names, bool(crowds)))
        changed = [c.annotation_id for c in found if c.action != 'add']
        if all(isinstance(key, int) and given[key] == 1 for key in changed):
            yield from found
        else:  # All or nothing: half of it would leave an instance twice.
            skipped.add('returned: annotations without an id of their own', image.file_name)


def _crowds_came_back(image: Image, returned: Image) -> bool | None:
    """Whether a crowd region is among what came back; None if none can be told from instances."""
    size = returned.height, returned.width
    shown = {key for key, instance in _masks(image, size, True) if instance.is_crowd}
    shown.difference_update(key for key, _ in _masks(image, size))
    if not shown:
        return None
    return not shown.isdisjoint(key for key, _ in _masks(returned, size))


def _fits(image: Image, returned: Image) -> bool:
    """Whether the sizes are the same; tools use that of the file, which may be off a little."""
    off = abs(image.height - returned.height), abs(image.width - returned.width)
    return max(off) <= image_files.SIZE_TOLERANCE


def _of_image(
    image: Image,
    names: Mapping[int, str],
    returned: Image,
    new_names: Mapping[int, str],
    crowds: bool,
) -> Iterator[Correction]:
    size, new_size = (image.height, image.width), (returned.height, returned.width)
    before: dict[bytes, list[Instance]] = collections.defaultdict(list)
    for key, instance in _masks(image, new_size, crowds):
        before[key].append(instance)
    left: list[tuple[bytes, str]] = []
    for key, instance in _masks(returned, new_size):
        name = new_names[instance.category_id]
        same = [other for other in before[key] if names[other.category_id] == name]
        if same:
            before[key].remove(same[0])
        else:
            left.append((key, name))
    common: dict[str, Any] = {'image_id': image.id, 'file_name': image.file_name}
    for key, name in left:
        if before[key]:
            other = before[key].pop(0)
            yield Correction('change', annotation_id=other.id, category=name, **common)
        else:
            region = segmentations.move_to(key, new_size, size)
            yield Correction('add', category=name, region=region, size=size, **common)
    for instances in before.values():
        for other in instances:
            yield Correction('remove', annotation_id=other.id, **common)


def _masks(
    image: Image, size: tuple[int, int], crowds: bool = False
) -> Iterator[tuple[bytes, Instance]]:
    """The instances that tools show, with run lengths that are the same for the same mask.

    Crowd regions are among them if `crowds`. CVAT cannot hold a mask without a pixel.
    """
    for instance in image.instances:
        key = segmentations.move_to(instance.rle, (image.height, image.width), size)
        is_shown = crowds or not instance.is_crowd
        if is_shown and mask_utils.area({'size': list(size), 'counts': key}):
            yield key, instance
