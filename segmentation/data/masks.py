"""Class masks: the class of each pixel, drawn from the instances of a label space."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

# Label of pixels that count neither in the loss nor in a metric.
IGNORE = 255


def nearest_indices(n_in: int, n_out: int) -> np.ndarray:
    """Source indices of a nearest-neighbor resize, int64 `[n_out]`: floor((i + ½) · n_in / n_out).

    The half-pixel convention of Pillow and TensorFlow, exact because it is computed in integers.
    """
    return (2 * np.arange(n_out) + 1) * n_in // (2 * n_out)


def class_mask(
    record: Mapping[str, Any],
    category_to_class: Mapping[int, int],
    *,
    rows: np.ndarray | None = None,
    cols: np.ndarray | None = None,
    overlap: str = 'annotation',
    draw_last: Sequence[int] = (),
    crowd: str = 'label',
) -> np.ndarray:
    """Draws the instances of a label space.

    Equal to drawing at full size and taking `[rows][:, cols]`. So a resize, a crop and a flip
    compose into one list of rows and one of columns.

    Args:
      record: from a `coco.CocoSplit`; only `height`, `width` and `instances` are read.
      category_to_class: see `LabelSpace.category_to_class`.
      rows: source row of each row of the result; default all.
      cols: source column of each column of the result; default all.
      overlap: which instance is visible where several overlap: 'annotation' the last in the file
        (as published), 'class' the one of the last class, 'area' the smallest. Ties go to the last
        in the file.
      draw_last: ids of categories that are drawn over all others (bus, truck and train in the
        published vehicle experiment), with the same rule among themselves.
      crowd: 'label' draws crowd regions like objects (as published); 'ignore' gives 255 to their
        pixels that show no object of the label space.

    Returns:
      uint8 `[len(rows), len(cols)]`: 0 background, 255 ignore.

    Raises:
      ValueError: unknown option.
    """
    if overlap not in ('annotation', 'class', 'area'):
        raise ValueError(f"overlap must be 'annotation', 'class' or 'area', not {overlap!r}")
    if crowd not in ('label', 'ignore'):
        raise ValueError(f"crowd must be 'label' or 'ignore', not {crowd!r}")
    if stray := set(draw_last) - set(category_to_class):
        raise ValueError(
            f'draw_last has the category ids {sorted(stray)}, which are in no class '
            'of the label space'
        )
    height, width = record['height'], record['width']
    instances = record['instances']
    kinds = instances['category_id'].tolist()
    areas, is_crowd = instances['area'], instances['is_crowd']
    chosen = [i for i, kind in enumerate(kinds) if kind in category_to_class]
    if overlap == 'class':
        chosen.sort(key=lambda i: category_to_class[kinds[i]])
    elif overlap == 'area':
        chosen.sort(key=lambda i: -areas[i])
    chosen.sort(key=lambda i: kinds[i] in draw_last)
    if crowd == 'ignore':
        # Drawn first, so that it is visible only where nothing covers it.
        chosen.sort(key=lambda i: not is_crowd[i])
    # pycocotools stores masks column by column, so everything is transposed until the end.
    shape = (width if cols is None else len(cols), height if rows is None else len(rows))
    result = np.zeros(shape, np.uint8)
    for i in chosen:
        mask = mask_utils.decode({'size': [height, width], 'counts': instances['rle'][i]}).T
        mask = mask if cols is None else mask[cols]
        mask = mask if rows is None else mask[:, rows]
        ignored = crowd == 'ignore' and is_crowd[i]
        value = IGNORE if ignored else category_to_class[kinds[i]]
        np.copyto(result, np.uint8(value), where=mask.view(np.bool_))
    return np.ascontiguousarray(result.T)
