"""COCO annotations of drawn things: outlines as polygons or run lengths."""

from typing import Any

import contourpy
import numpy as np
from pycocotools import mask as mask_utils

from segmentation.scenes.description import Scene
from segmentation.scenes.drawing.rendering import Rendered

MIN_VISIBLE = 20  # pixels; things with fewer visible pixels are not annotated


def annotate(scene: Scene, rendered: Rendered, number: int) -> list[dict]:
    """COCO annotations of the visible part of every thing of a COCO category, in random order."""
    return list(annotate_as(scene, rendered, number, scene.category_ids).values())


def annotate_as(
    scene: Scene, rendered: Rendered, number: int, categories: dict[int, int]
) -> dict[int, dict]:
    """COCO annotations of the visible parts of some things: index → annotation, in random order.

    `number` is the id of the image; `categories` maps indices, ascending, to category ids.
    """
    found = {}
    for index, category in categories.items():
        mask = rendered.owner == index
        area = int(np.count_nonzero(mask))
        if area < MIN_VISIBLE:
            continue
        rows, cols = np.flatnonzero(mask.any(1)).tolist(), np.flatnonzero(mask.any(0)).tolist()
        top, left, bottom, right = rows[0], cols[0], rows[-1] + 1, cols[-1] + 1
        crowd = scene.things[index].crowd > 0
        found[index] = {
            'segmentation': uncompressed(mask)
            if crowd
            else _outline(mask, top, left, bottom, right),
            'area': area,
            'iscrowd': int(crowd),
            'image_id': number,
            'bbox': [left, top, right - left, bottom - top],
            'category_id': category,
        }
    order = np.random.default_rng([scene.seed, 5]).permutation(list(found)).tolist()
    return {index: found[index] | {'id': number * 1000 + k} for k, index in enumerate(order)}


def uncompressed(mask: np.ndarray) -> dict:
    """COCO's uncompressed RLE of a mask bool `[H, W]`: `counts` (list) and `size` [H, W]."""
    flat = np.concatenate([[0], mask.ravel(order='F').astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges, [mask.size]]))
    if counts[-1] == 0:
        counts = counts[:-1]
    return {'counts': counts.tolist(), 'size': list(mask.shape)}


def _outline(mask: np.ndarray, top: int, left: int, bottom: int, right: int) -> list | dict:
    """Polygons around the mask in a box, or compressed RLE if polygons do not fit it (holes)."""
    part = np.pad(mask[top:bottom, left:right], 1)
    polygons = []
    lines: Any = contourpy.contour_generator(z=part.astype(np.float32)).lines(0.5)
    for closed in lines:
        # Pixel centers are at half integers in COCO coordinates; the padding shifts by one.
        line = _simplify(closed[:-1] - 0.5)
        x, y = line.T
        signed = 0.5 * (x @ np.roll(y, -1) - y @ np.roll(x, -1))
        if signed > 2 and len(line) >= 3:  # holes have the other orientation
            polygons.append(line)
    if polygons:
        h, w = bottom - top, right - left
        drawn = mask_utils.frPyObjects([p.ravel().tolist() for p in polygons], h, w)
        drawn = mask_utils.decode(mask_utils.merge(drawn)).astype(bool)
        target = part[1:-1, 1:-1]
        if (drawn & target).sum() >= 0.92 * (drawn | target).sum() or target.sum() < 100:
            return [np.round(p + (left, top), 1).ravel().tolist() for p in polygons]
    return run_lengths(mask)


def run_lengths(mask: np.ndarray) -> dict:
    """COCO's compressed RLE of a mask bool `[H, W]`: `counts` (str) and `size` [H, W]."""
    rle = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {'counts': rle['counts'].decode('ascii'), 'size': list(mask.shape)}


def _simplify(line: np.ndarray) -> np.ndarray:
    """Drops vertices of a closed line that deviate by less than 0.3 pixels.

    Three passes, each over every other vertex.
    """
    for start in (0, 1, 0):
        if len(line) < 8:
            break
        around = np.concatenate([line[-1:], line, line[:1]])  # several times faster than np.roll
        before, after = around[:-2], around[2:]
        along, offset = after - before, line - before
        cross = along[:, 0] * offset[:, 1] - along[:, 1] * offset[:, 0]
        distance = np.abs(cross) / np.maximum(np.hypot(*along.T), 1e-6)
        drop = distance < 0.3
        drop[1 - start :: 2] = False
        drop[-1] = False
        line = line[~drop]
    return line
