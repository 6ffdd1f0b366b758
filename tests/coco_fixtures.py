"""A tiny data set in COCO's layout, with real JPEG and PNG files."""

import io
import json
import pathlib

import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

CATEGORIES = [
    {'id': 1, 'name': 'person', 'supercategory': 'person'},
    {'id': 3, 'name': 'car', 'supercategory': 'vehicle'},
    {'id': 6, 'name': 'bus', 'supercategory': 'vehicle'},
    {'id': 31, 'name': 'handbag', 'supercategory': 'accessory'},
]


def picture(width: int, height: int, seed: int = 0, file_format: str = 'JPEG', **options) -> bytes:
    """Returns the file of a picture of noise; options go to Pillow's `save`."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def document(count: int = 5, seed: int = 0) -> dict:
    """Returns a COCO document in which every form of segmentation occurs, in unsorted order."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for i in range(count):
        width, height = 40 + 8 * i, 56 - 4 * i
        image_id = 1000 - 7 * i
        images.append(
            {
                'id': image_id,
                'file_name': f'{image_id:012d}.jpg',
                'width': width,
                'height': height,
                'license': 1,
            }
        )
        segmentations = [
            [[5, 5, width - 6.5, 4, width - 3, height - 4.25, 7, height - 8]],
            [(rng.random(6) * 20).tolist(), (20 + rng.random(8) * 16).tolist()],
            [[-3, 10.5, width + 4, 9, width + 2, height + 3, 12, height]],  # partly outside
        ]
        blob = np.asfortranarray(rng.random((height, width)) < 0.2, np.uint8)
        runs = np.diff(np.flatnonzero(np.diff(blob.ravel('F'), prepend=1 - blob[0, 0], append=2)))
        runs = ([0] if blob[0, 0] else []) + runs.tolist()
        segmentations.append({'size': [height, width], 'counts': runs})
        counts = mask_utils.encode(blob[::-1].copy('F'))['counts'].decode()
        segmentations.append({'size': [height, width], 'counts': counts})
        for j, segmentation in enumerate(segmentations):
            annotations.append(
                {
                    'id': 100 * image_id + 50 - j,
                    'image_id': image_id,
                    'category_id': CATEGORIES[(i + j) % 4]['id'],
                    'iscrowd': int(j == 3),
                    'segmentation': segmentation,
                    'area': 10.5 + (13 * j) % 7,
                    'bbox': [1.5, 2.0, 10.25, 4.0],
                }
            )
    return {
        'info': {},
        'licenses': [{'id': 1, 'name': 'Attribution License', 'url': 'http://x'}],
        'images': images,
        'annotations': annotations,
        'categories': CATEGORIES,
    }


def write_folder(folder: pathlib.Path, documents: dict[str, dict]) -> pathlib.Path:
    """Writes documents and a picture for each of their images; returns the folder."""
    (folder / 'annotations').mkdir(parents=True, exist_ok=True)
    for split, content in documents.items():
        (folder / split).mkdir(exist_ok=True)
        for image in content['images']:
            data = picture(image['width'], image['height'], image['id'])
            (folder / split / image['file_name']).write_bytes(data)
        write_annotations(folder, split, content)
    return folder


def write_annotations(folder: pathlib.Path, split: str, content: dict) -> None:
    """(Over)writes the annotation file of a split."""
    (folder / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))
