"""The images to label next as tasks for an annotation tool, with the predictions to begin with."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils
from scipy import ndimage

from analysis.label_next.schema import LabelNext
from analysis.predictions.schema import Predictions
from analysis.stage import artifacts
from analysis.stage.view import View
from segmentation.data.coco import CocoSplit
from segmentation.data.corrections.correcting import enlarge
from segmentation.data.export import Shape, Task

_SMALLEST = 0.001  # share of the image; smaller regions take longer to delete than to draw


def predicted_shapes(
    class_map: np.ndarray, labels: Sequence[str], height: int, width: int
) -> Iterator[Shape]:
    """The connected regions of each class, as suggestions to add them.

    Objects of a class that touch are one region.

    Args:
      class_map: most probable class of each pixel, uint8 `[S, S]`.
      labels: by class; that of the background is not used.
      height: of the image in pixels, to which regions are enlarged.
      width: likewise.
    """
    for number, name in enumerate(labels[1:], 1):
        regions, count = ndimage.label(class_map == number, np.ones((3, 3)))
        for region in range(1, count + 1):
            mask = regions == region
            if mask.mean() < _SMALLEST:
                continue
            rle = mask_utils.encode(np.asfortranarray(mask, np.uint8))['counts']
            full = enlarge(rle, mask.shape, height, width)
            rle = mask_utils.encode(np.asfortranarray(full, np.uint8))['counts']
            yield Shape(name, rle, name, is_new=True)


def find_view(views: Sequence[View], image_ids: set[int]) -> View:
    """The view whose list is of these images: of the latest checkpoint, then the last one made.

    Raises:
      ValueError: no view has a list, or none whose images are among the given ones.
    """
    views = [view for view in views if artifacts.exists(view, LabelNext)]
    if not views:
        raise ValueError('No run has a list: run python -m analysis.label_next first.')

    def made(view: View) -> float:
        return artifacts.path_of(view, LabelNext).stat().st_mtime

    for view in sorted(views, key=lambda view: (view.step, made(view)), reverse=True):
        ranking = artifacts.load(view, LabelNext).ranking
        if image_ids.issuperset(ranking['image_id'].to_pylist()):
            return view
    names = ', '.join(view.folder.name for view in views)
    raise ValueError(
        f'The images of {names} are not in the folders given as --folder, or have changed: give '
        'the folders that were ranked, or run python -m analysis.label_next again.'
    )


def make_tasks(
    view: View, folders: Sequence[CocoSplit], labels: Sequence[str], count: int
) -> Iterator[tuple[dict[str, Any], Task]]:
    """The records and tasks of the first images of a view's list, in its order.

    Args:
      view: see `find_view`.
      folders: with its images, see `population.open_folder`.
      labels: see `predicted_shapes`.
      count: maximum number of tasks.
    """
    places = {
        int(image_id): (split, position)
        for split in folders
        for position, image_id in enumerate(split.index.image_id)
    }
    predictions = artifacts.load(view, Predictions)
    ranking = artifacts.load(view, LabelNext).ranking
    for image in ranking.slice(0, count).to_pylist():
        split, position = places[image['image_id']]
        record = split[position]
        height, width = int(record['height']), int(record['width'])
        shapes = predicted_shapes(predictions.class_map(image['row']), labels, height, width)
        file_name = f'{image["folder"]}/{record["file_name"]}'
        size = height, width
        yield record, Task(image['image_id'], file_name, *size, tuple(shapes), is_labeled=False)
