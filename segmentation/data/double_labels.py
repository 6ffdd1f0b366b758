"""Objects that are annotated twice, under two categories: found from the annotations alone."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

# Of COCO's pairs with a higher IoU, nearly all are one object; of those with a lower one, many are
# an object on another, such as a pizza on a table.
MIN_IOU = 0.6


def labeled_twice(
    record: Mapping[str, Any], min_iou: float = MIN_IOU
) -> list[tuple[int, int, float]]:
    """Pairs of instances of different categories whose masks are nearly the same.

    Crowd regions do not count. The record is of a `coco.CocoSplit`.

    Returns:
      Numbers of the two instances in `record['instances']`, and the IoU of their masks.
    """
    instances, size = record['instances'], [int(record['height']), int(record['width'])]
    masks = [{'size': size, 'counts': counts} for counts in instances['rle']]
    if len(masks) < 2:
        return []
    iou = np.asarray(mask_utils.iou(masks, masks, [0] * len(masks)))
    categories, crowd = instances['category_id'], instances['is_crowd']
    return [
        (a, b, float(iou[a, b]))
        for a, b in itertools.combinations(range(len(masks)), 2)
        if iou[a, b] > min_iou and categories[a] != categories[b] and not (crowd[a] or crowd[b])
    ]
