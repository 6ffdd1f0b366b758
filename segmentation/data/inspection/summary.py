"""The result of an inspection for the terminal, and for JSON."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from segmentation.data import coco
from segmentation.data.inspection import statistics
from segmentation.data.inspection.scan import Scan
from segmentation.markdown import printable, table

# Rows of a table in the terminal; the page has all.
_ROWS = 20


def numbers(prepared: coco.Prepared, scan: Scan, output: pathlib.Path) -> dict[str, Any]:
    """Numbers of the page, for JSON."""
    return {
        'page': str(output),
        'categories': [
            dataclasses.asdict(row) for row in statistics.categories(scan, prepared.categories)
        ],
        'object_sides': dict(statistics.side_histogram(scan)),
        'objects_below_a_pixel': {str(k): n for k, n in statistics.below_a_pixel(scan).items()},
        'image_sizes': dict(statistics.image_sizes(scan)),
        'images_without_instances': int((scan.count == 0).sum()),
        'labeled_twice': [
            {
                'image': _place(scan, int(scan.instances.image[a])),
                'annotations': scan.instances.id[[a, b]].tolist(),
                'categories': [
                    prepared.categories[k].name for k in scan.instances.category[[a, b]]
                ],
                'iou': iou,
            }
            for a, b, iou in scan.twice
        ],
        'copies': {
            **statistics.copies(scan),
            'groups': [[_place(scan, int(row)) for row in rows] for rows in scan.copies()],
        },
    }


def _place(scan: Scan, row: int) -> str:
    return f'{scan.splits[scan.split[row]]}/{scan.file_name[row]}'


def text(prepared: coco.Prepared, scan: Scan, output: pathlib.Path) -> str:
    """Frequencies, sizes and copies, in Markdown."""
    rows = statistics.categories(scan, prepared.categories)
    header = ['category', *(f'images in {name}' for name in scan.splits), 'instances', 'pixels']
    header.append('median side')
    cells = [
        [row.name, *map(str, row.images), str(sum(row.instances)), f'{row.pixels:.2%}',
         '–' if row.median_side is None else f'{row.median_side:.1%}']
        for row in rows[:_ROWS]
    ]  # fmt: skip
    parts = [table([printable(name) for name in header], cells)]
    if len(rows) > _ROWS:
        parts.append(f'… and {len(rows) - _ROWS} more categories')
    parts.append('\nMedian side: median over the objects of √(area / area of the image).')
    sides = np.array([scan.width, scan.height])
    empty = int((scan.count == 0).sum())
    small = ', '.join(f'{n} at {k}×{k}' for k, n in statistics.below_a_pixel(scan).items())
    parts += [
        f'Images: {len(scan.split)}, from {sides.prod(0).min():,} to {sides.prod(0).max():,} '
        f'pixels; {empty} without instances.',
        f'Objects smaller than one pixel of the network input: {small}.',
        copies_text(scan),
        f'{len(scan.twice)} pairs of instances of two categories have nearly the same mask; if '
        'they are one object, one label is wrong.',
        f'Page with masks over images: {output}',
    ]
    return '\n'.join(parts)


def copies_text(scan: Scan) -> str:
    """Byte-identical images in words."""
    found = statistics.copies(scan)
    if not found['images']:
        return 'No two images have the same bytes.'
    return (
        f'{found["images"]} images have the same bytes as another one: '
        f'{found["groups_within_a_split"]} groups within a split, {found["groups_across_splits"]} '
        f'groups across splits; the labels differ in {found["groups_with_different_labels"]} '
        'groups.'
    )
