"""Annotation files with one image and one annotation."""

import copy
import json

from segmentation.data import annotations
from tests import coco_fixtures

HEIGHT, WIDTH = 12, 10


def parse(document) -> annotations.Annotations:
    return annotations.parse(json.dumps(document).encode(), 'file.json')


def counts(result: annotations.Annotations) -> dict[str, int]:
    return {reason: entry['count'] for reason, entry in result.skipped.as_dict().items()}


def document(segmentation=None, annotation=None, image=None) -> dict:
    """One image with one annotation, some of whose fields are replaced."""
    return {
        'images': [
            {'id': 7, 'file_name': 'a.jpg', 'width': WIDTH, 'height': HEIGHT} | (image or {})
        ],
        'annotations': [
            {
                'id': 9,
                'image_id': 7,
                'category_id': 1,
                'iscrowd': 0,
                'area': 4.0,
                'bbox': [0, 0, 2, 2],
                'segmentation': segmentation or [[1, 1, 8, 1, 8, 9]],
            }
            | (annotation or {})
        ],
        'categories': copy.deepcopy(coco_fixtures.CATEGORIES),
    }
