"""Objects that are annotated twice, drawn and in COCO."""

import json

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from segmentation.data.double_labels import labeled_twice
from tests.paths import SHARED


def record_of(shapes):
    """A record of instances (category, is_crowd, rows, columns)."""
    masks = []
    for _, _, rows, columns in shapes:
        masks.append(np.zeros((20, 30), np.uint8, order='F'))
        masks[-1][rows, columns] = 1
    instances = {
        'category_id': np.array([shape[0] for shape in shapes]),
        'is_crowd': np.array([shape[1] for shape in shapes], bool),
        'rle': [mask_utils.encode(mask)['counts'] for mask in masks],
    }
    return {'height': 20, 'width': 30, 'instances': instances}


def test_only_the_same_object_under_two_categories():
    whole, most, half = slice(0, 10), slice(0, 8), slice(0, 5)
    record = record_of([
        (1, False, whole, whole),
        (3, False, most, whole),  # IoU 0.8 with the first
        (1, False, whole, whole),  # the same category as the first
        (6, False, half, whole),  # IoU 0.5 with the first, 0.625 with the second
        (6, True, whole, whole),  # a crowd region
        (9, False, slice(12, 20), whole),
    ])  # fmt: skip
    found = labeled_twice(record)
    assert [pair[:2] for pair in found] == [(0, 1), (1, 2), (1, 3)]
    np.testing.assert_allclose([pair[2] for pair in found], [0.8, 0.8, 0.625])
    assert [pair[:2] for pair in labeled_twice(record, 0.7)] == [(0, 1), (1, 2)]
    assert labeled_twice(record_of([])) == [] == labeled_twice(record_of([(1, False, half, half)]))


@pytest.mark.skipif(not (SHARED / 'truth').exists(), reason='../shared/truth is absent')
def test_known_pairs_of_coco_are_found():
    """All objects that other people found to be labeled twice; few others are reported."""
    truth = json.loads((SHARED / 'truth' / 'records.json').read_text())
    pairs = {
        frozenset((record['our_ann_id'], record['twin_ann_id']))
        for record in truth
        if record.get('twin_ann_id') and record['in_scope'] and record['located']
    }
    found = set()
    for split in ('train', 'val', 'train_person_car'):
        document = json.loads((SHARED / f'coco/annotations/instances_{split}.json').read_text())
        sizes = {image['id']: (image['height'], image['width']) for image in document['images']}
        by_image = {}
        for annotation in document['annotations']:
            by_image.setdefault(annotation['image_id'], []).append(annotation)
        for image_id, annotations in by_image.items():
            height, width = sizes[image_id]
            chosen = [a for a in annotations if not a['iscrowd'] and a['segmentation']]
            parts = [mask_utils.frPyObjects(a['segmentation'], height, width)
                     if isinstance(a['segmentation'], list)
                     else [mask_utils.frPyObjects(a['segmentation'], height, width)
                           if isinstance(a['segmentation']['counts'], list) else a['segmentation']]
                     for a in chosen]  # fmt: skip
            record = {
                'height': height,
                'width': width,
                'instances': {
                    'category_id': np.array([a['category_id'] for a in chosen]),
                    'is_crowd': np.zeros(len(chosen), bool),
                    'rle': [mask_utils.merge(part)['counts'] for part in parts],
                },
            }
            found |= {
                frozenset((chosen[a]['id'], chosen[b]['id'])) for a, b, _ in labeled_twice(record)
            }
    assert len(pairs) >= 14 and pairs <= found
    assert len(found) < 3 * len(pairs)
