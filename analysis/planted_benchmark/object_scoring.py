"""Scores the analysis of objects against the planted truth of each object, as `scoring` does."""

from collections.abc import Sequence

import numpy as np

from analysis.objects.blocks import points_of
from analysis.objects.schema import Objects
from analysis.planted_benchmark.metrics import best_overlap, precision_at_k
from analysis.samples.schema import numbers
from analysis.similar.neighbors import neighbors
from analysis.stage import artifacts
from analysis.stage.view import View
from segmentation import scenes

NEIGHBORS = 10
# Attribute: the kind of things that have it, the field of the manifest, and the block in which
# things with it are similar.
ATTRIBUTES = {
    'color of clothes': ('person', 'color', 'color'),
    'pose': ('person', 'pose', 'shape'),
    'side of a car': ('car', 'pose', 'shape'),
}
# Words of which the name of a hidden slice has one.
NAMES = {
    'person in lime': ('green',),
    'person in stripes': ('patterned',),
    'car upside down': ('widest below', 'widest above'),
    'car in checks': ('patterned',),
    'car in lime': ('green',),
}
SMALLEST = 0.5  # % of the image; less of an object does not show its attributes
_WITHOUT_COLORS = {'night', 'grayscale', 'low hue variation'}


def score(view: View, truth: Sequence[dict]) -> dict[str, float | None]:
    """Similar objects by attribute, and slices of objects, against the planted truth.

    The neighbors of an object are found among the objects that have the attribute and show it: at
    least SMALLEST large, in no hard or hidden slice, for colors in scenes that have colors, and
    without a label error. `chance` is the precision of random neighbors.

    An object is in a planted slice if its image is; in `close-up car`, only the largest car. A
    hidden slice is that of single objects, see `hidden_slices`.

    Args:
      view: whose `objects` was run.
      truth: the manifest's entries of its images, in order.
    """
    found = artifacts.load(view, Objects)
    table, items = found.table, _items(found, truth)
    area, image = numbers(table, 'area'), table['image'].to_numpy()
    result: dict[str, float | None] = {}
    for name, (kind, field, block) in ATTRIBUTES.items():
        values = [
            _attribute(item, truth[number], kind, field) if size >= SMALLEST else None
            for item, number, size in zip(items, image.tolist(), area.tolist(), strict=True)
        ]
        rows = [row for row, value in enumerate(values) if value is not None]
        known = np.array([values[row] for row in rows], np.str_)
        _, kinds, counts = np.unique(known, return_inverse=True, return_counts=True)
        measure = f'objects/precision@{NEIGHBORS} by {name}'
        result |= dict.fromkeys((measure, f'{measure}, all blocks', f'{measure}, chance'))
        if len(rows) > NEIGHBORS and block in found.blocks:
            own = points_of(found.points, found.blocks, block)
            for text, points in ((measure, own), (f'{measure}, all blocks', found.points)):
                near, _ = neighbors(points[rows], NEIGHBORS)
                result[text] = precision_at_k(near, kinds)
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
    return result | hidden_slices(found, items)


def hidden_slices(found: Objects, items: Sequence[dict | None]) -> dict[str, float | None]:
    """Groups of similar objects against the hidden slices, whose attributes no column has.

    Of a slice, the group with the highest precision counts: the share of the NEIGHBORS members
    nearest to its center that are in the slice. Things smaller than SMALLEST are left out of the
    slices. A slice is named if the name of such a group has one of NAMES. It is found if any slice,
    by conditions or by similarity, has enough of its objects and few others (`best_overlap`).

    Args:
      found: the objects.
      items: the manifest's entries of the objects, None for a wrong label.
    """
    area = numbers(found.table, 'area')
    every = list(found.as_slices().each())
    of_group = {(group.metric, group.place): group.nearest[:NEIGHBORS] for group in found.groups}
    places = [
        (metric, place)
        for metric, part in found.slices.items()
        for place in range(len(part.slices))
    ]
    precisions: list[float] = []
    named: list[float] = []
    discovered: list[float] = []
    result: dict[str, float | None] = {}
    for name in scenes.HIDDEN_SLICES:
        # Older manifests have none.
        planted = np.array([(item or {}).get('hidden_slice') == name for item in items])
        planted &= area >= SMALLEST
        if not planted.any():
            continue
        scored = [
            (float(planted[list(of_group[place])].mean()), one.text)
            for place, (_, one, _) in zip(places, every, strict=True)
            if place in of_group
        ]
        precision = max((each for each, _ in scored), default=0.0)
        precisions.append(precision)
        texts = [text for each, text in scored if each == precision > 0]
        named.append(any(word in text for text in texts for word in NAMES[name]))
        best = best_overlap([inside for _, _, inside in every], planted)
        discovered.append(best['found'])
        result[f'objects/hidden slices, {name}: precision@{NEIGHBORS}'] = precision
        result[f'objects/hidden slices, {name}: recall of the best slice'] = best['recall']
    means: dict[str, Sequence[float]] = {
        f'precision@{NEIGHBORS} of hidden slices': precisions,
        'share of the hidden slices that is named': named,
        'share of the hidden slices that is found': discovered,
    }
    for text, values in means.items():
        result[f'objects/{text}'] = float(np.mean(values)) if values else None
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
    if item.get('hidden_slice'):  # its color is covered, or its pose is another one
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
