"""What people changed in an annotation tool, as corrections of the file that it came from."""

import collections
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pycocotools import mask as mask_utils

from segmentation.data import annotations, image_files, layouts, segmentations
from segmentation.data.corrections import correcting
from segmentation.data.corrections.correcting import Corrector
from segmentation.data.corrections.decisions import Correction
from segmentation.data.corrections.document import Document
from segmentation.data.entries import (
    Annotations,
    Image,
    Instance,
    Skipped,
    file_name,
    id_key,
    is_safe_name,
    numbered,
)

_SAME_REGION = 0.5  # IoU
_UNREADABLE = 'returned: a shape of it cannot be read; the image stays as it is'


def read(folder: pathlib.Path) -> Iterator[Annotations]:
    """Each split of an exported folder; its images need not be there.

    Images with a shape that cannot be read are left out and counted: it would seem deleted.

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
        # CVAT writes every mask as a crowd region.
        result = _read(content, split.title(), split.digest(found.folder), crowds=True)
        given = _num_outlines(content)
        whole = []
        for image in result.images:
            if len(image.instances) < given[image.id]:
                result.skipped.add(_UNREADABLE, image.file_name)
            else:
                whole.append(image)
        yield dataclasses.replace(result, images=whole)


def _read(
    content: Mapping[str, Any], title: str, digest: str = '', crowds: bool = False
) -> Annotations:
    """As `annotations.read`; paths that lead out of the data set become names within it.

    No image file is read here, and names may be those of another computer. Crowd regions are read
    as instances if `crowds`.
    """
    entries = list(content['images'])
    for place, entry in enumerate(entries):
        name = (file_name(entry) or '').replace('\\', '/')
        if name and not is_safe_name(name):
            path = pathlib.PureWindowsPath(name)
            parts = [part for part in path.parts if part not in (path.anchor, '..')]
            entries[place] = {**entry, 'file_name': '/'.join(parts)}
    content = {**content, 'images': entries}
    return annotations.read(content, title, digest, crowds_as_instances=crowds)


def _num_outlines(content: Mapping[str, Any]) -> collections.Counter[int | None]:
    """Number of different annotations by image; boxes and points have no outline and do not count.

    Images have the numbers that `annotations.read` gives them.
    """
    listed = (id_key(entry.get('id')) for entry in content['images'] if isinstance(entry, dict))
    numbers = numbered({key: None for key in listed if key is not None})
    counts: collections.Counter[int | None] = collections.Counter()
    seen: dict[int | str, int] = {}  # position by id; the same entry may be listed again
    for position, entry in enumerate(content['annotations']):
        if not isinstance(entry, dict) or not entry.get('segmentation'):
            continue
        key, image = id_key(entry.get('id')), id_key(entry.get('image_id'))
        first = position if key is None else seen.setdefault(key, position)
        if first == position or content['annotations'][first] != entry:
            counts[None if image is None else numbers.get(image)] += 1
    return counts


def corrections(
    document: Document,
    corrector: Corrector,
    exports: Sequence[Annotations],
    splits: Sequence[str],
    recognized: set[str],
    skipped: Skipped,
) -> Iterator[Correction]:
    """What differs between a file and what came back of some of its images.

    Images are recognized by the names of their files, and by the folder that they were exported
    into, if it is named after a split. Instances whose mask is the same, pixel for pixel, are the
    same instance. Crowd regions are usually not exported, and stay; if the mask of one came back,
    those of its image were exported, as instances.

    Args:
      document: of the file.
      corrector: of the file.
      exports: what came back.
      splits: names of all splits.
      recognized: gets the names of the images that the file has.
      skipped: counts images that came back twice, or in another size, or with a category that the
        file lacks, or whose annotations have no ids by which they can be changed; and those whose
        crowd regions are gone, which may not have been exported, and stay.

    Raises:
      ValueError: the file has no usable category.
    """
    if not exports:
        return
    own = _read(document.content, f'the split {corrector.split}')
    by_id = {image.id: image for image in own.images}
    found = [list(_recognize(export, corrector, by_id, splits)) for export in exports]
    times = collections.Counter(mine.id for pairs in found for mine, _ in pairs)
    entries = (entry for entry in document.content['annotations'] if isinstance(entry, dict))
    given = collections.Counter(id_key(entry.get('id')) for entry in entries)
    for export, recognized_pairs in zip(exports, found, strict=True):
        pairs: list[tuple[Image, Image]] = []
        for mine, image in recognized_pairs:
            recognized.add(image.file_name)
            if times[mine.id] > 1:
                reason = 'returned: came back twice; keep one export in the folder'
                skipped.add(reason, image.file_name)
            elif not _fits(mine, image):
                skipped.add('returned: image has another size', image.file_name)
            else:
                pairs.append((mine, image))
        names, new_names = ({c.id: c.name for c in each.categories} for each in (own, export))
        came_back = [_crowds_came_back(*pair) for pair in pairs]
        for (mine, image), crowds in zip(pairs, came_back, strict=True):
            if crowds is False and any(came_back):
                skipped.add('returned: crowd regions that are gone stay', image.file_name)
            changes = list(_of_image(mine, names, image, new_names, bool(crowds)))
            if crowds is False and _redraws_crowd(mine, changes):
                reason = 'returned: a crowd region was redrawn; the image stays as it is'
                skipped.add(reason, image.file_name)
                continue
            changed = [c.annotation_id for c in changes if c.action != 'add']
            # All or nothing: half of it would leave an instance twice, or none of it.
            if not all(isinstance(key, int) and given[key] == 1 for key in changed):
                skipped.add('returned: annotations without an id of their own', image.file_name)
                continue
            try:
                for change in changes:
                    if change.category:
                        corrector.category(change.category)
            except correcting.Broken as broken:
                reason = f'returned: {broken}; the image stays as it is'
                skipped.add(reason, image.file_name, broken.value)
                continue
            yield from changes


def _recognize(
    export: Annotations, corrector: Corrector, by_id: Mapping[int, Image], splits: Sequence[str]
) -> Iterator[tuple[Image, Image]]:
    """Images of a file and what came back of them."""
    for image in export.images:
        folder = folder_of(image.file_name)
        if folder in splits and folder != corrector.split:
            continue
        is_mine = correcting.resolve(folder, splits) == corrector.split
        named = corrector.split if is_mine else ''
        key = corrector.find(Correction('add', -1, file_name=image.file_name, split=named))
        mine = None if key is None else by_id.get(key)
        # Of another split, unless the file itself has an image in a folder of that name.
        if mine is None or (
            correcting.is_elsewhere(folder, corrector.split, splits)
            and folder != folder_of(mine.file_name)
        ):
            continue
        yield mine, image


def folder_of(name: str) -> str:
    """The name of the folder that an image is in."""
    return correcting.path_of(name).parent.name


def _crowds_came_back(image: Image, returned: Image) -> bool | None:
    """Whether a crowd region is among what came back; None if none can be told from instances."""
    size = returned.height, returned.width
    shown = {key for key, instance in _masks(image, size, True) if instance.is_crowd}
    shown.difference_update(key for key, _ in _masks(image, size))
    if not shown:
        return None
    return not shown.isdisjoint(key for key, _ in _masks(returned, size))


def _redraws_crowd(image: Image, changes: Sequence[Correction]) -> bool:
    """Whether one of the new instances is a crowd region of the image with another outline."""
    size = [image.height, image.width]
    crowds = [{'size': size, 'counts': i.rle} for i in image.instances if i.is_crowd]
    new = [{'size': size, 'counts': c.region} for c in changes if c.action == 'add']
    if not crowds or not new:
        return False
    return bool((mask_utils.iou(new, crowds, [0] * len(crowds)) > _SAME_REGION).any())


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
