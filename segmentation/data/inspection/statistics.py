"""Tables over a scanned data set, for the page and for the terminal."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from segmentation.data.annotations import Category
from segmentation.data.inspection.scan import Scan

# Upper bounds of the bins of object sizes: the side of a square of the object's area, as a
# fraction of the side of a square of the image's area.
SIDE_BINS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0)
# Sides of the network input for which objects smaller than a pixel are counted.
INPUT_SIDES = (128, 256, 512)


@dataclasses.dataclass(frozen=True)
class CategoryRow:
    """How often a category occurs."""

    name: str
    supercategory: str
    images: tuple[int, ...]  # with an instance of it, by split
    instances: tuple[int, ...]  # by split
    crowds: int  # instances that are crowd regions
    pixels: float  # share of all pixels of all images; overlapping instances count twice
    median_side: float | None  # median side of its objects (see SIDE_BINS)


def categories(scan: Scan, known: Sequence[Category]) -> list[CategoryRow]:
    """One row per category, the most frequent first."""
    found, of = scan.instances, scan.split[scan.instances.image]
    pixels = float((scan.height * scan.width).sum())
    rows = []
    for number, category in enumerate(known):
        mine = found.category == number
        images, instances = [], []
        for split in range(len(scan.splits)):
            here = mine & (of == split)
            images.append(len(np.unique(found.image[here])))
            instances.append(int(here.sum()))
        rows.append(
            CategoryRow(
                category.name, category.supercategory, tuple(images), tuple(instances),
                int(found.crowd[mine].sum()), float(found.area[mine].sum()) / pixels,
                float(np.median(np.sqrt(found.share[mine]))) if mine.any() else None,
            )
        )  # fmt: skip
    return sorted(rows, key=lambda row: -sum(row.instances))


def side_histogram(scan: Scan) -> list[tuple[str, int]]:
    """Number of objects by side (see SIDE_BINS), with the bin in words."""
    sides = np.sqrt(scan.instances.share)
    edges = (0.0, *SIDE_BINS)
    counts, _ = np.histogram(sides, edges)
    labels = [f'{low:.0%} to {high:.0%}' for low, high in zip(edges, SIDE_BINS, strict=False)]
    return list(zip(labels, counts.tolist(), strict=True))


def below_a_pixel(scan: Scan) -> dict[int, int]:
    """Objects smaller than one pixel of the network input, by side of the input."""
    return {side: int((scan.instances.share < side**-2).sum()) for side in INPUT_SIDES}


def image_sizes(scan: Scan, most: int = 12) -> list[tuple[str, int]]:
    """The most frequent image sizes, 'width × height', and the number of all others."""
    sizes = collections.Counter(zip(scan.width.tolist(), scan.height.tolist(), strict=True))
    rows = [(f'{width} × {height}', n) for (width, height), n in sizes.most_common(most)]
    others = len(scan.split) - sum(n for _, n in rows)
    return [*rows, (f'{len(sizes) - most} other sizes', others)] if others else rows


def copies(scan: Scan) -> dict[str, Any]:
    """Numbers of groups of byte-identical images, and whether their labels agree."""
    groups = scan.copies()
    return {
        'groups_within_a_split': sum(not scan.crosses(rows) for rows in groups),
        'groups_across_splits': sum(scan.crosses(rows) for rows in groups),
        'groups_with_different_labels': sum(len(set(scan.labels[rows])) > 1 for rows in groups),
        'images': sum(map(len, groups)),
    }
