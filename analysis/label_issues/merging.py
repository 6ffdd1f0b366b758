"""Orders issues by their probability, and merges those on one object."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from analysis.label_issues import probability

_KNOWN = 0.25  # recall of a class from which the network's opinion of its labels counts in full
_SHARED = 0.5  # of the smaller region, from which two regions are on one object


def known(confusion: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
    """How much the network's opinion of the labels of each class counts, 0–1.

    A network that finds hardly any labeled pixel of a class disagrees with all of its labels, which
    says nothing about them: below a recall of `_KNOWN`, its opinion counts in proportion to it.

    Args:
      confusion: int `[C, C]`, pixels by true and predicted class.
      class_names: C names, background first, which is always known.
    """
    labeled = confusion.sum(1)
    # Of a class without a labeled pixel nothing is known, in favor of the network.
    recall = np.where(labeled > 0, np.diag(confusion) / np.maximum(labeled, 1), 1)
    shares = np.minimum(recall / _KNOWN, 1).tolist()
    return {class_names[0]: 1.0, **dict(zip(class_names[1:], shares[1:], strict=True))}


def rank(
    rows: Sequence[dict[str, Any]], size: int, weight: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Adds `probability` and `object` to issues, and sorts them, the most probable first.

    Args:
      rows: issues with the other columns of `schema.REGIONS`.
      size: side of their masks in pixels.
      weight: by class, as `known` returns it; the smaller one of the two classes counts.
    """
    if not rows:
        return []
    kinds = np.array([row['kind'] for row in rows], np.object_)
    columns = (np.array([row[key] for row in rows]) for key in ('score', 'area', 'confidence'))
    predicted = probability.predict(kinds, probability.features(*columns)).tolist()
    ranked = [
        {**row, 'probability': p * min(weight[row['given']], weight[row['suggested']])}
        for row, p in zip(rows, predicted, strict=True)
    ]
    ranked.sort(key=lambda row: (-row['probability'], -row['score'], row['row']))
    by_image: dict[int, list[dict[str, Any]]] = {}
    for row in ranked:
        by_image.setdefault(row['row'], []).append(row)
    for mine in by_image.values():
        for row, number in zip(mine, _objects(mine, size), strict=True):
            row['object'] = number
    return ranked


def _objects(rows: Sequence[dict[str, Any]], size: int) -> list[int]:
    """The object that each issue of an image is on, numbered by the most probable issue on it.

    Issues with the same annotation are on one object, those with different ones never are. Others
    are if their regions overlap.
    """
    masks = [{'size': [size, size], 'counts': row['rle']} for row in rows]
    inside = mask_utils.iou(masks, masks, [1] * len(masks))  # share of the first in the second
    firsts: list[int] = []
    numbers = []
    for place, row in enumerate(rows):
        for number, first in enumerate(firsts):
            annotations = row['annotation_id'], rows[first]['annotation_id']
            overlap = max(inside[place, first], inside[first, place]) >= _SHARED
            if annotations[0] == annotations[1] if None not in annotations else overlap:
                numbers.append(number)
                break
        else:
            numbers.append(len(firsts))
            firsts.append(place)
    return numbers
