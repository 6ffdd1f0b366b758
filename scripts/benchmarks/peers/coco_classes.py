"""Class maps drawn with pycocotools, for the input pipelines of the peers."""

import pathlib

import numpy as np
from pycocotools.coco import COCO

CLASSES = {'person': 1, 'car': 2}


class CocoClasses:
    """Images of one split of a folder in COCO's layout, and their class maps.

    Attributes:
      files: paths of the images, in image-id order.
    """

    def __init__(self, folder: str, split: str):
        folder = pathlib.Path(folder)
        self._coco = COCO(folder / 'annotations' / f'instances_{split}.json')
        self._known = {
            category['id']: CLASSES[category['name']]
            for category in self._coco.dataset['categories']
            if category['name'] in CLASSES
        }
        self._images = sorted(self._coco.dataset['images'], key=lambda image: image['id'])
        self.files = [str(folder / split / image['file_name']) for image in self._images]

    def draw(self, index: int, size: int) -> np.ndarray:
        """The class map of an image, scaled to uint8 `[size, size]` (nearest neighbor)."""
        image = self._images[index]
        height, width = image['height'], image['width']
        label = np.zeros((height, width), np.uint8)
        for annotation in sorted(self._coco.imgToAnns[image['id']], key=lambda a: a['id']):
            if annotation['category_id'] in self._known and annotation['segmentation']:
                mask = self._coco.annToMask(annotation).astype(bool)
                label[mask] = self._known[annotation['category_id']]
        rows, columns = (
            ((np.arange(size) + 0.5) * side / size).astype(np.int64) for side in (height, width)
        )
        return label[rows[:, None], columns]
