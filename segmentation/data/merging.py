"""Makes category ids and image ids consistent across the splits of a data set.

Exporters number both separately for each split.
"""

import dataclasses
from collections.abc import Mapping

from segmentation.data.entries import MAX_ID, Annotations, Category, Image, Skipped, free_ids


def merge_categories(parsed: Mapping[str, Annotations]) -> tuple[Category, ...]:
    """Gives categories of the same name the same id in all splits, by changing the instances.

    Ids of the first split stay. A note says which split lacks a category.

    Returns:
      The categories of the data set.
    """
    splits = list(parsed)
    categories = list(parsed[splits[0]].categories)
    for split in splits[1:]:
        own = parsed[split].categories
        if set(own) == set(categories):
            continue
        new_ids = {}
        for category in own:
            same = [c.id for c in categories if c.name == category.name]
            used = {c.id for c in categories}
            if category.id in same:
                new_ids[category.id] = category.id
            elif same:
                new_ids[category.id] = same[0]
            else:
                key = category.id if category.id not in used else next(free_ids(used, 1))
                new_ids[category.id] = key
                categories.append(dataclasses.replace(category, id=key))
            _take_group(categories, new_ids[category.id], category, parsed[split].notes)
        for image in parsed[split].images:
            image.instances[:] = [
                dataclasses.replace(i, category_id=new_ids[i.category_id]) for i in image.instances
            ]
    for annotations in parsed.values():
        names = {category.name for category in annotations.categories}
        for category in categories:
            if category.name not in names:
                annotations.notes.add('category of another split is missing', category.name)
    return tuple(categories)


def _take_group(categories: list[Category], key: int, other: Category, notes: Skipped) -> None:
    """Takes the super-category of a later split, if the first one has none."""
    place = next(i for i, category in enumerate(categories) if category.id == key)
    mine = categories[place].supercategory
    if not mine:
        categories[place] = dataclasses.replace(
            categories[place], supercategory=other.supercategory
        )
    elif other.supercategory not in ('', mine):
        text = f'{mine} in the first split, {other.supercategory} in a later one'
        notes.add('super-category differs, the first one counts', other.name, text)


def separate_image_ids(parsed: Mapping[str, Annotations]) -> None:
    """Gives images new ids if their split has its own numbering, so that an id means one image.

    An image keeps its id if an earlier split has the same file, of the same name, under this id. If
    another image has it, the split has its own numbering: its other images get higher ids. Adds a
    note.
    """
    seen: dict[int, Image] = {}
    for annotations in parsed.values():
        images = annotations.images
        repeated = {i.id for i in images if i.id in seen and _is_same(i, seen[i.id])}
        clashing = [i for i in images if i.id in seen and i.id not in repeated]
        if clashing:
            new_ids = _raised([i.id for i in images if i.id not in repeated], set(seen))
            images[:] = [dataclasses.replace(i, id=new_ids.get(i.id, i.id)) for i in images]
            images.sort(key=lambda image: image.id)
            for image in clashing:
                reason = 'image id of another image in an earlier split, changed'
                annotations.notes.add(reason, image.file_name, f'{image.id} to {new_ids[image.id]}')
        seen |= {image.id: image for image in images}


def _is_same(image: Image, other: Image) -> bool:
    return (image.sha256, image.file_name) == (other.sha256, other.file_name)


def _raised(ids: list[int], seen: set[int]) -> dict[int, int]:
    """New ids above those seen, if int64 has them: the old ones plus a power of ten."""
    step = 10 ** len(str(max(*seen, *ids)))
    if max(ids) + step <= MAX_ID:
        return {key: key + step for key in ids}
    return dict(zip(ids, free_ids(seen | {*ids}, len(ids)), strict=False))
