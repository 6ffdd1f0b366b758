"""Makes categories and image ids of the splits of a data set fit together.

Exporters count both for each split on its own.
"""

import dataclasses
from collections.abc import Mapping

from segmentation.data.entries import Annotations, Category, Image


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
                key = category.id if category.id not in used else max(used) + 1
                new_ids[category.id] = key
                categories.append(dataclasses.replace(category, id=key))
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


def separate_image_ids(parsed: Mapping[str, Annotations]) -> None:
    """Gives images new ids if their split counts again, so that an id means one image.

    An image keeps its id if an earlier split has the same file under this id. If another file has
    it, the split counts on its own: its other images get ids above all ids of earlier splits.
    """
    seen: dict[int, Image] = {}
    for annotations in parsed.values():
        images = annotations.images
        repeated = {i.id for i in images if i.id in seen and seen[i.id].sha256 == i.sha256}
        clashing = [i for i in images if i.id in seen and i.id not in repeated]
        if clashing:
            # A round number: the old id can be read off the new one.
            largest = max(*seen, *(image.id for image in images))
            step = 10 ** len(str(largest))
            step *= max(seen) // step + 1
            if largest + step < 2**63:
                images[:] = [
                    i if i.id in repeated else dataclasses.replace(i, id=i.id + step)
                    for i in images
                ]
            else:
                first = max(seen) + 1
                images[:] = [
                    i if i.id in repeated else dataclasses.replace(i, id=first + k)
                    for k, i in enumerate(images)
                ]
            images.sort(key=lambda image: image.id)
            for image in clashing:
                reason = f'image id of another image in an earlier split, raised by {step}'
                annotations.notes.add(reason, image.file_name, image.id)
        seen |= {image.id: image for image in images}
