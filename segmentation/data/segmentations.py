"""COCO segmentations (polygons, run lengths) as the run lengths that pycocotools calls `counts`."""

import itertools
from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np
from pycocotools import mask as mask_utils

MAX_OUTLINE = 100  # longest outline, in units of the image's width + height (README.md explains it)

_FAR_OUT = 'a coordinate is not finite or far outside the image'
_MAX_PARTS_FOR_HOLES = 64  # parts of one polygon; pairs of them are compared


class Broken(ValueError):
    """An entry that is left out; the message is the reason that it is counted under."""

    def __init__(self, reason: str, value: Any = None):
        super().__init__(reason)
        self.value = value  # what is wrong, if that helps


def normalize(segmentation: Any) -> tuple[Any, str]:
    """Brings a segmentation into one of the two forms that `encode_segmentation` reads.

    One polygon may be a plain list of numbers or a list of points, numbers may be text, and run
    lengths may be in a list. None of these can mean anything else.

    Returns:
      The segmentation, and what was repaired (empty if nothing).
    """
    if isinstance(segmentation, dict):
        size = segmentation.get('size')
        if isinstance(size, list) and set(map(type, size)) & {float, str}:
            numbers = [_number(value) for value in size]
            if all(isinstance(n, float) and n.is_integer() for n in numbers):
                whole = [int(n) for n in numbers if n is not None]
                return {**segmentation, 'size': whole}, 'size of the run lengths is not whole'
        return segmentation, ''
    if not isinstance(segmentation, list) or not segmentation:
        return segmentation, ''
    first = segmentation[0]
    if len(segmentation) == 1 and isinstance(first, dict) and 'counts' in first:
        return normalize(first)[0], 'run lengths are in a list'
    if all(has_numbers(part) for part in segmentation):
        if len(segmentation) < 3 or any(len(part) != 2 for part in segmentation):
            return segmentation, ''
        return [list(itertools.chain(*segmentation))], 'polygon is a list of points'
    if has_numbers(segmentation):
        return [segmentation], 'polygon is not in a list of its own'
    kinds = set(map(type, segmentation))
    if kinds <= {int, float, str}:
        numbers = [_number(value) for value in segmentation]
        return ([numbers], 'numbers are text') if None not in numbers else (segmentation, '')
    if kinds != {list}:
        return segmentation, ''
    if all(part and all(has_numbers(p) and len(p) == 2 for p in part) for part in segmentation):
        return [
            list(itertools.chain(*part)) for part in segmentation
        ], 'polygon is a list of points'
    if all(set(map(type, part)) <= {int, float, str} for part in segmentation):
        parts = [[_number(value) for value in part] for part in segmentation]
        if all(None not in part for part in parts):
            return parts, 'numbers are text'
    return segmentation, ''


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 40:
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def has_numbers(values: Any) -> TypeGuard[list[float]]:
    """Whether a value is a list of numbers alone."""
    # Much faster than a test per number; and here, unlike for isinstance, bool is not int.
    return isinstance(values, list) and set(map(type, values)) <= {int, float}


def encode_segmentation(segmentation: Any, height: int, width: int) -> tuple[bytes, int]:
    """Encodes a COCO segmentation as compressed run lengths.

    Coordinates may lie outside the image by up to its own size, as in real files; pycocotools clips
    them. Coordinates further out make the annotation unusable. Polygons of fewer than three points
    have no area and are dropped.

    Args:
      segmentation: list of polygons [x0, y0, x1, y1, …] in pixels, or an object with `size`
        [height, width] and `counts` (list of run lengths, or COCO's compressed string).
      height: of the image in pixels (see `image_files.is_bounded`).
      width: of the image in pixels.

    Returns:
      The bytes that pycocotools calls `counts`, and the number of dropped polygons.

    Raises:
      ValueError: with the reason, which quotes nothing of the data.
    """
    if isinstance(segmentation, dict):
        return _encode_runs(segmentation, height, width), 0
    if not isinstance(segmentation, list) or not segmentation:
        raise Broken('no segmentation')
    parts = [_points(polygon, height, width) for polygon in segmentation]
    parts = [points for points in parts if len(points) >= 3]
    if not parts:
        raise Broken('no polygon has 3 points')
    if sum(map(_outline, parts)) > MAX_OUTLINE * (height + width):
        raise Broken('outline too long')
    rles = mask_utils.frPyObjects([points.ravel() for points in parts], height, width)
    # Merging takes quadratic time in the number of parts, so it is done in a tree.
    while len(rles) > 1:
        rles = [mask_utils.merge(rles[i : i + 16]) for i in range(0, len(rles), 16)]
    return rles[0]['counts'], len(segmentation) - len(parts)


def _encode_runs(segmentation: dict, height: int, width: int) -> bytes:
    if segmentation.get('size') != [height, width]:
        raise Broken('size of the run lengths is not the size of the image')
    counts = segmentation.get('counts')
    if not isinstance(counts, str | list):
        raise Broken('run lengths are neither a list nor a string')
    runs = decode_counts(counts) if isinstance(counts, str) else counts
    if not set(map(type, runs)) <= {int}:
        raise Broken('a run length is not a whole number')
    if min(runs, default=0) < 0:
        raise Broken('a run length is negative')
    if sum(runs) != height * width:
        raise Broken('run lengths do not add up to the image')
    rle: Any = {'size': [height, width], 'counts': counts}
    if isinstance(counts, list):
        rle = mask_utils.frPyObjects(rle, height, width)
    if 0 in runs[1:]:
        # The mask is correct, but pycocotools would return a random box for it.
        rle = mask_utils.encode(mask_utils.decode(rle))
    encoded = rle['counts']
    return encoded.encode('ascii') if isinstance(encoded, str) else encoded


def move_to(rle: bytes, old: tuple[int, int], new: tuple[int, int]) -> bytes:
    """Cuts a mask, or extends it with background, at its right and bottom.

    Args:
      rle: run lengths of a mask of size `old`, as returned by `encode_segmentation`.
      old: (height, width) in pixels.
      new: (height, width) of the result.
    """
    mask = np.zeros(new, np.uint8, order='F')
    height, width = min(old[0], new[0]), min(old[1], new[1])
    source = mask_utils.decode({'size': list(old), 'counts': rle})
    mask[:height, :width] = source[:height, :width]
    return mask_utils.encode(mask)['counts']


def has_nested_parts(segmentation: Any, height: int, width: int) -> bool:
    """Whether a part of a polygon covers only pixels of another part of it.

    Some tools mean a hole by that. COCO, and `encode_segmentation`, fill it. The segmentation is
    one that `encode_segmentation` accepts.
    """
    if not isinstance(segmentation, list) or not 2 <= len(segmentation) <= _MAX_PARTS_FOR_HOLES:
        return False
    parts = [np.array(part, np.float64).reshape(-1, 2) for part in segmentation if len(part) >= 6]
    boxes = [(points.min(0), points.max(0)) for points in parts]
    for (i, inner), (j, outer) in itertools.permutations(enumerate(boxes), 2):
        if (inner[0] >= outer[0]).all() and (inner[1] <= outer[1]).all():
            rles = mask_utils.frPyObjects([parts[i].ravel(), parts[j].ravel()], height, width)
            area = mask_utils.area(rles[0])
            common = mask_utils.area(mask_utils.merge(rles, intersect=True))
            if 0 < area == common < mask_utils.area(rles[1]):
                return True
    return False


def _points(polygon: Any, height: int, width: int) -> np.ndarray:
    """Corners (x, y) of a polygon in pixels, float64 `[n, 2]`."""
    if not has_numbers(polygon):
        raise Broken('a polygon is not a list of numbers')
    if len(polygon) % 2:
        raise Broken('a polygon has an odd number of coordinates')
    try:
        points = np.array(polygon, np.float64).reshape(-1, 2)
    except OverflowError as error:  # JSON has integers of any length
        raise Broken(_FAR_OUT) from error
    # In units of the image's size. A comparison with NaN is false.
    scaled = points / (width, height)
    if not ((scaled >= -1) & (scaled <= 2)).all():
        raise Broken(_FAR_OUT)
    return points


def _outline(points: np.ndarray) -> float:
    return np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()


def decode_counts(text: str) -> list[int]:
    """Decodes COCO's compressed string of run lengths (README.md describes the format).

    Raises:
      ValueError: other characters, a number of more than 35 bits, or an unfinished one.
    """
    counts: list[int] = []
    value = shift = 0
    for char in text:
        group = ord(char) - 48
        if not 0 <= group < 64 or shift > 30:
            raise Broken('malformed string of run lengths')
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            if group & 16:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift:
        raise Broken('malformed string of run lengths')
    return counts


def why_no_outline(entry: Mapping[str, Any]) -> str:
    """What an annotation has instead of a segmentation, as a reason."""
    if has_numbers(entry.get('keypoints')):
        return 'no segmentation, only keypoints'
    has_box = has_numbers(entry.get('bbox')) and len(entry['bbox']) == 4
    return 'no segmentation, only a box' if has_box else 'no segmentation'
