"""Folders in COCO's layout with any number of images, for the part `scale` of training_speed.py."""

import collections
import itertools
import json
import os
import pathlib


def write(drawn: pathlib.Path, folder: pathlib.Path, count: int) -> None:
    """Makes a COCO folder of `count` images, hard links to drawn ones, under new ids."""
    document = json.loads((drawn / 'annotations/instances_train.json').read_text())
    of_image = collections.defaultdict(list)
    for annotation in document['annotations']:
        of_image[annotation['image_id']].append(annotation)
    images, annotations = [], []
    (folder / 'train').mkdir(parents=True)
    (folder / 'annotations').mkdir()
    for number, image in enumerate(itertools.islice(itertools.cycle(document['images']), count), 1):
        name = f'{number:012d}.jpg'
        os.link(drawn / 'train' / image['file_name'], folder / 'train' / name)
        images.append({**image, 'id': number, 'file_name': name})
        for annotation in of_image[image['id']]:
            annotations.append({**annotation, 'id': len(annotations) + 1, 'image_id': number})
    document |= {'images': images, 'annotations': annotations}
    (folder / 'annotations/instances_train.json').write_text(json.dumps(document))
