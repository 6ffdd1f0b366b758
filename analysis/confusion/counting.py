"""Counts the predicted classes of the objects of every category, image by image."""

import concurrent.futures
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils
from tqdm import tqdm

from analysis.predictions.schema import Predictions
from analysis.stage import artifacts
from analysis.stage.run import Analysis
from segmentation.data import label_spaces, masks


@dataclasses.dataclass(frozen=True)
class Counts:
    """Integer counts of an image, or of N images (`[N, ...]` each), for K categories, C classes."""

    pixels: np.ndarray  # `[K, C]`, pixels of the category by predicted class
    # `[K, C + 1]`, instances of the category by the class that more than half of their pixels are
    # predicted as; the last column counts those without such a class.
    instances: np.ndarray
    unlabeled: np.ndarray  # `[C]`, background pixels under no annotation, by predicted class
    wrong: np.ndarray  # `[C]`, pixels wrongly predicted as each class
    complete: np.ndarray  # bool `[K]`, whether the category is completely annotated


def combine(
    parts: Sequence[Counts], how: Callable[[list[np.ndarray]], np.ndarray] = np.concatenate
) -> Counts:
    """Joins the counts of several sets of images; with `np.stack`, those of single images."""
    names = [field.name for field in dataclasses.fields(Counts)]
    return Counts(*(how([getattr(part, name) for part in parts]) for name in names))


def image_counts(
    predicted: np.ndarray,
    label: np.ndarray,
    record: Mapping[str, Any],
    categories: Sequence[int],
    classes: Mapping[int, int],
    num_classes: int,
) -> Counts:
    """Counts of an image.

    Args:
      predicted: class of each pixel, integer `[S, S]`.
      label: true class, uint8 `[S, S]`, 255 for pixels that do not count.
      record: of a `coco.CocoSplit`.
      categories: ids of K categories.
      classes: class by category id; categories of no class are missing.
      num_classes: C, background included.
    """
    size, num_categories = len(label), len(categories)
    height, width = int(record['height']), int(record['width'])
    rows, columns = masks.nearest_indices(height, size), masks.nearest_indices(width, size)
    row_of = {category: row for row, category in enumerate(categories)}
    annotated = np.zeros((size, size), np.bool_)
    of_category: dict[int, np.ndarray] = {}
    instances = np.zeros((num_categories, num_classes + 1), np.int32)
    stored = record['instances']
    for category, crowd, rle in zip(
        stored['category_id'].tolist(), stored['is_crowd'], stored['rle'], strict=True
    ):
        mask = mask_utils.decode({'size': [height, width], 'counts': rle}).view(np.bool_)
        mask = mask[rows][:, columns]
        annotated |= mask
        visible = mask & (label == classes.get(category, 0))
        if crowd or not visible.any():
            continue
        row = row_of[category]
        of_category[row] = of_category.get(row, False) | visible
        called = np.bincount(predicted[visible], minlength=num_classes)
        majority = 2 * called.max() > called.sum()
        instances[row, called.argmax() if majority else num_classes] += 1
    pixels = np.zeros((num_categories, num_classes), np.int32)
    for row, visible in of_category.items():
        pixels[row] = np.bincount(predicted[visible], minlength=num_classes)
    complete = np.ones(num_categories, np.bool_)
    if record['complete_known']:
        complete = np.isin(categories, record['complete_category_ids'])
    unlabeled = predicted[(label == 0) & ~annotated]
    wrong = predicted[(label != masks.IGNORE) & (label != predicted)]
    unlabeled, wrong = (np.bincount(c, minlength=num_classes) for c in (unlabeled, wrong))
    return Counts(pixels, instances, unlabeled, wrong, complete)


def count(analysis: Analysis) -> Counts:
    """Counts of N images; `predictions` must have been computed."""
    examples, predicted = analysis.examples, artifacts.load(analysis, Predictions)
    known = examples.splits[0].categories
    categories = [category.id for category in known]
    space = label_spaces.parse_label_space(analysis.config.data.label_space)
    classes, num_classes = space.category_to_class(known), len(analysis.class_names)

    def describe(index: int) -> Counts:
        return image_counts(
            predicted.class_map(index), examples.label(index), examples.record(index),
            categories, classes, num_classes,
        )  # fmt: skip

    title = f'confusion, {analysis.split} at step {analysis.step}'
    with concurrent.futures.ThreadPoolExecutor(analysis.config.data.threads) as pool:
        found = pool.map(describe, range(len(analysis)))
        counts = list(tqdm(found, total=len(analysis), desc=title, unit='img'))
    return combine(counts, np.stack)
