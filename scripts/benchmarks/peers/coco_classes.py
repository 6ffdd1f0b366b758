"""Class maps drawn with pycocotools, for the input pipelines of the peers."""

import collections
import json
import pathlib

import numpy as np
from pycocotools import mask as mask_utils

CLASSES = {'person': 1, 'car': 2}


class CocoClasses:
    """Images of one split of a folder in COCO's layout, and their class maps.

    Attributes:
      files: paths of the images, in image-id order.
    """

    def __init__(self, folder: str, split: str):
        folder = pathlib.Path(folder)
        document = json.loads((folder / 'annotations' / f'instances_{split}.json').read_text())
        known = {
            c['id']: CLASSES[c['name']] for c in document['categories'] if c['name'] in CLASSES
        }
        self._instances = collections.defaultdict(list)
        for annotation in sorted(document['annotations'], key=lambda a: a['id']):
            if annotation['category_id'] in known and annotation['segmentation']:
                self._instances[annotation['image_id']].append(
                    (known[annotation['category_id']], annotation['segmentation'])
                )
        self._images = sorted(document['images'], key=lambda image: image['id'])
        self.files = [str(folder / split / image['file_name']) for image in self._images]

    def draw(self, index: int, size: int) -> np.ndarray:
        """The class map of an image, scaled to uint8 `[size, size]` (nearest neighbor)."""
        image = self._images[index]
        height, width = image['height'], image['width']
        label = np.zeros((height, width), np.uint8)
        for value, segmentation in self._instances[image['id']]:
            if isinstance(segmentation, list):
                rle = mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
            elif isinstance(segmentation['counts'], list):
                rle = mask_utils.frPyObjects(segmentation, height, width)
            else:
                rle = segmentation
            label[mask_utils.decode(rle).astype(bool)] = value
        rows, columns = (
            ((np.arange(size) + 0.5) * side / size).astype(np.int64) for side in (height, width)
        )
        return label[rows[:, None], columns]
