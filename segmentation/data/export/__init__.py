"""Annotations for tools in which people correct them: one module per tool.

`write(folder, tasks, labels)` of a module writes the files that its tool imports. Masks are
run lengths without loss. `segmentation.data.layouts` reads what comes back.
"""

import dataclasses
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np
from pycocotools import mask as mask_utils


@dataclasses.dataclass(frozen=True)
class Shape:
    """An annotated or suggested object."""

    label: str  # its category
    rle: bytes  # run lengths of its mask at the image's size, as pycocotools calls `counts`
    # What the network suggests: a category, '' to remove it, None for nothing.
    suggested: str | None = None
    score: float | None = None  # of the suggestion, 0–1
    is_new: bool = False  # not annotated: the suggestion is to add it


@dataclasses.dataclass(frozen=True)
class Task:
    """An image to annotate."""

    image_id: int
    file_name: str  # in the folder `images`
    height: int
    width: int
    shapes: tuple[Shape, ...]
    is_labeled: bool = True  # False: it has no annotations yet, only suggestions

    def mask(self, shape: Shape) -> np.ndarray:
        """The mask of one of its shapes, bool `[height, width]`."""
        size = [self.height, self.width]
        return mask_utils.decode({'size': size, 'counts': shape.rle}).astype(np.bool_)


def tools() -> dict[str, Callable[..., None]]:
    """The writer of each tool by its name."""
    from segmentation.data.export import cvat, label_studio

    modules: Sequence[ModuleType] = (label_studio, cvat)
    return {module.__name__.rpartition('.')[2]: module.write for module in modules}
