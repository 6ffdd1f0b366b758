"""Scores the analysis of objects against the planted truth of each object, as `scoring` does."""

from collections.abc import Sequence

import numpy as np

from analysis.objects.schema import Objects
from analysis.planted_benchmark.metrics import best_overlap, precision_at_k
from analysis.samples.schema import numbers
from analysis.similar.neighbors import neighbors
from analysis.stage import artifacts
from analysis.stage.view import View
from segmentation import scenes

NEIGHBORS = 10
# Attribute: the kind of things that have it, and the field of the manifest.
ATTRIBUTES = {
    'color of clothes': ('person', 'color'),
    'pose': ('person', 'pose'),
    'side of a car': ('car', 'pose'),
}
SMALLEST = 0.5  # % of the image; less of an object does not show its attributes
_WITHOUT_COLORS = {'night', 'grayscale', 'low hue variation'}


def score(view: View, truth: Sequence[dict]) -> dict[str, float | None]:
    """Similar objects by attribute, and slices of objects, against the planted truth.

    The neighbors of an object are found among the objects that have the attribute and show it: at
    least SMALLEST large, in no hard slice, for colors in scenes that have colors, and without a
    label error. `chance` is the precision of random neighbors.

    An object is in a planted slice if its image is; in `close-up car`, only the largest car.

    Args:
      view: whose `objects` was run.
      truth: the manifest's entries of its images, in order.
    """
    found = artifacts.load(view, Objects)
    table, items = found.table, _items(found, truth)
    area, image = numbers(table, 'area'), table['image'].to_numpy()
    result: dict[str, float | None] = {}
    for name, (kind, field) in ATTRIBUTES.items():
        values = [
            _attribute(item, truth[number], kind, field) if size >= SMALLEST else None
            for item, number, size in zip(items, image.tolist(), area.tolist(), strict=True)
        ]
        rows = [row for row, value in enumerate(values) if value is not None]
        known = np.array([values[row] for row in rows], np.str_)
        _, kinds, counts = np.unique(known, return_inverse=True, return_counts=True)
        measure = f'objects/precision@{NEIGHBORS} by {name}'
        result[measure] = result[f'{measure}, chance'] = None
        if len(rows) > NEIGHBORS and found.dimensions:
            near, _ = neighbors(found.points[rows], NEIGHBORS)
            result[measure] = precision_at_k(near, kinds)
            shares = counts * (counts - 1) / (len(rows) * (len(rows) - 1))
            result[f'{measure}, chance'] = float(shares.sum())
    confirmed = [inside for _, _, inside in found.as_slices().each()]
    discovered = []
    for name in scenes.HARD_SLICES:
        planted = np.array([truth[row]['hard_slice'] == name for row in image], np.bool_)
        if name == 'close-up car':
            planted &= _largest_cars(found)
        if planted.any():
            best = best_overlap(confirmed, planted)
            discovered.append(best['found'])
            for key in ('precision', 'recall'):
                result[f'objects/{name}: {key} of the best slice'] = best[key]
    result['objects/slices confirmed'] = len(confirmed)
    share = float(np.mean(discovered)) if discovered else None
    result['objects/share of the planted slices that is found'] = share
    return result


def _items(found: Objects, truth: Sequence[dict]) -> list[dict | None]:
    """The manifest's entry of each object; None if its label is a planted error."""
    ids, images = (found.table[name].to_pylist() for name in ('annotation_id', 'image'))
    result = []
    for number, row in zip(ids, images, strict=True):
        error = truth[row]['error'] or {}
        mine = (item for item in truth[row]['objects'] if item['annotation_id'] == number)
        result.append(None if error.get('annotation_id') == number else next(mine, None))
    return result


def _attribute(item: dict | None, entry: dict, kind: str, field: str) -> str | None:
    """The attribute of an object, if it has it and shows it."""
    if item is None or item['kind'] != kind or entry['hard_slice']:
        return None
    if field == 'color' and _WITHOUT_COLORS.intersection(entry['attributes']):
        return None
    return item.get(field)  # older manifests have none


def _largest_cars(found: Objects) -> np.ndarray:
    """Which objects are the largest car of their image, bool `[M]`."""
    area, image = numbers(found.table, 'area'), found.table['image'].to_numpy()
    cars = np.flatnonzero(np.array(found.table['category'].to_pylist(), np.object_) == 'car')
    order = cars[np.lexsort((-area[cars], image[cars]))]
    result = np.zeros(len(area), np.bool_)
    result[order[np.unique(image[order], return_index=True)[1]]] = True
    return result
