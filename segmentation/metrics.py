"""Intersection over union (IoU) with bootstrap confidence intervals.

Everything is computed from `[N, C, C]` counts, one confusion matrix per image (row: true class,
column: predicted class): scores over the set, scores per image, and the bootstrap.
"""

from typing import Any

import numpy as np

from segmentation.data.masks import IGNORE

ABSENT_CLASS_RULE = (
    'iou: a class with neither a true nor a predicted pixel in the whole set has no IoU and is '
    'left out of the means. image_iou: the mean over the images in which the class has a true or '
    'a predicted pixel. So an image in which it is wrongly predicted counts as 0, and an image '
    'without it does not count. mean_iou is over all classes, mean_iou_foreground without '
    'background; mean_image_iou is the mean of image_iou over the foreground classes.'
)
SHOWN_CLASS_RULE = (
    'A class without a true pixel in the whole set has no IoU and is left out of the means. '
    'image_iou: the mean over the images in which the class has a true or a predicted pixel. '
    'mean_iou is over all classes, mean_iou_foreground without background; mean_image_iou is the '
    'mean of image_iou over the foreground classes.'
)
_BLOCK = 200  # resamples at once, so that memory does not grow with resamples times images


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts pixels by true and predicted class.

    Args:
      labels: integer array of any shape, 0 … C - 1, or 255 for ignored pixels.
      predictions: integer array of the same shape, 0 … C - 1.
      num_classes: C.

    Returns:
      int64 `[C, C]`, rows are true classes.
    """
    valid = labels != IGNORE
    pairs = labels[valid].astype(np.int64) * num_classes + predictions[valid]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union per class; NaN for a class in neither truth nor prediction.

    Args:
      confusion: `[..., C, C]` counts.

    Returns:
      float64 `[..., C]`.
    """
    confusion = np.asarray(confusion, np.float64)
    intersection = np.diagonal(confusion, axis1=-2, axis2=-1)
    union = confusion.sum(-1) + confusion.sum(-2) - intersection
    return np.divide(intersection, union, out=np.full_like(union, np.nan), where=union > 0)


def foreground_iou(confusion: np.ndarray) -> np.ndarray:
    """Mean IoU of the foreground classes, `[..., C, C]` -> `[...]`; NaN if there are none."""
    return _nanmean(iou(confusion)[..., 1:])


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN; NaN, and no warning, if all values are NaN."""
    known = ~np.isnan(values)
    count = known.sum(-1)
    total = np.where(known, values, 0).sum(-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _scores(set_iou: np.ndarray, image_iou: np.ndarray) -> dict[str, np.ndarray]:
    """All scores, from the IoU per class over the set and per image, `[..., C]` each."""
    return {
        'iou': set_iou,
        'image_iou': image_iou,
        'mean_iou': _nanmean(set_iou),
        'mean_iou_foreground': _nanmean(set_iou[..., 1:]),
        'mean_image_iou': _nanmean(image_iou[..., 1:]),
    }


def weighted_scores(confusions: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of R weighted sets of images, such as bootstrap resamples.

    Args:
      confusions: `[N, C, C]` counts.
      weights: `[R, N]`, how often each set contains each image.

    Returns:
      float64 `iou` and `image_iou` `[R, C]`, `mean_iou`, `mean_iou_foreground` and `mean_image_iou`
      `[R]`; NaN if there is no such score (see `ABSENT_CLASS_RULE`).
    """
    num_images, num_classes, _ = confusions.shape
    if len(weights) > _BLOCK:
        blocks = [
            weighted_scores(confusions, weights[start : start + _BLOCK])
            for start in range(0, len(weights), _BLOCK)
        ]
        return {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}
    summed = weights @ confusions.reshape(num_images, -1)
    per_image = iou(confusions)
    present = ~np.isnan(per_image)
    count = weights @ present.astype(np.float64)  # Weights may be of a type that is too small.
    total = weights @ np.where(present, per_image, 0)
    image_iou = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return _scores(iou(summed.reshape(-1, num_classes, num_classes)), image_iou)


def summarize(
    confusions: np.ndarray,
    class_names: tuple[str, ...],
    *,
    num_resamples: int = 2000,
    seed: int = 0,
) -> dict:
    """Scores of a set of images with 95 % percentile-bootstrap confidence intervals over images.

    An interval describes how the score varies over other images of the same kind. It is too narrow
    if a few images hold most pixels of a class, so `effective_images` is returned too.

    Args:
      confusions: integer `[N, C, C]` counts, N >= 1.
      class_names: C names, background first.
      num_resamples: bootstrap resamples; 0 for no intervals.
      seed: of the bootstrap.

    Returns:
      A dict for JSON: `iou` and `image_iou` by class name, `mean_iou`, `mean_iou_foreground`,
      `mean_image_iou`, `intervals` (the same keys, [low, high]), `num_images`,
      `num_images_with_class` and `effective_images` by class name, `absent_class_rule`, and
      `mean_iou_background_only`, the `mean_iou` of predicting background everywhere. None if there
      is no such score.

    Raises:
      ValueError: there are no images.
    """
    num_images = len(confusions)
    if num_images == 0:
        raise ValueError('No image to score: the split is empty after selection.')
    confusions = confusions.astype(np.float64)
    rng = np.random.default_rng(seed)
    scores = weighted_scores(confusions, np.ones((1, num_images)))
    summary = {key: _for_json(value[0], class_names) for key, value in scores.items()}
    if num_resamples:
        uniform = np.full(num_images, 1 / num_images)
        blocks = [
            weighted_scores(confusions, rng.multinomial(num_images, uniform, size=size))
            for size in np.diff([*range(0, num_resamples, _BLOCK), num_resamples])
        ]
        summary['intervals'] = {
            key: _for_json(
                percentile_interval(np.concatenate([block[key] for block in blocks])),
                class_names if key in ('iou', 'image_iou') else (),
            )
            for key in scores
        }
    true_pixels = confusions.sum(-1)
    with_class = (true_pixels > 0).sum(0)
    background_only = np.zeros_like(confusions[0])
    background_only[:, 0] = true_pixels.sum(0)
    return {
        **summary,
        'mean_iou_background_only': _for_json(_nanmean(iou(background_only)), ()),
        'num_images': num_images,
        'num_images_with_class': dict(zip(class_names, with_class.tolist(), strict=True)),
        'effective_images': _for_json(effective_images(confusions), class_names),
        'absent_class_rule': ABSENT_CLASS_RULE,
    }


def only_shown(summary: dict[str, Any]) -> dict[str, Any]:
    """The scores of `summarize`, without intervals, of the classes that some image shows.

    Checkpoints and trials are chosen by them. In `summarize`, one wrong pixel of a class that no
    image shows counts as an IoU of 0, so that it could decide which is best.
    """
    shown = np.array([count > 0 for count in summary['num_images_with_class'].values()])
    classes = [
        np.where(shown, np.array([*summary[key].values()], np.float64), np.nan)
        for key in ('iou', 'image_iou')
    ]
    names = tuple(summary['iou'])
    scores = {key: _for_json(value, names) for key, value in _scores(*classes).items()}
    return {**summary, **scores, 'absent_class_rule': SHOWN_CLASS_RULE}


def effective_images(confusions: np.ndarray) -> np.ndarray:
    """Effective sample size of each class: (Σ n)² / Σ n² over its true pixels n per image (Kish).

    It is N if all images have equally many pixels of the class, and 1 if one image has all of them.

    Args:
      confusions: `[N, C, C]` counts.

    Returns:
      float64 `[C]`; 0 for a class that no image shows.
    """
    true_pixels = confusions.sum(-1).astype(np.float64)
    squares = np.square(true_pixels).sum(0)
    return np.divide(
        np.square(true_pixels.sum(0)), squares, out=np.zeros_like(squares), where=squares > 0
    )


def of_rarest(images: np.ndarray) -> float:
    """The least of the numbers `[C]` of the foreground classes that images show; 0 without any.

    A mean over classes is as uncertain as the rarest of them. It leaves out those not shown.
    """
    return float(min((number for number in images[1:] if number > 0), default=0))


def percentile_interval(resampled: np.ndarray) -> np.ndarray:
    """95 % percentile interval over the first axis, without NaN: `[R, ...]` -> `[..., 2]`."""
    flat = resampled.reshape(len(resampled), -1)
    bounds = np.full((flat.shape[1], 2), np.nan)
    for column, values in enumerate(flat.T):
        known = values[~np.isnan(values)]
        if len(known):
            bounds[column] = np.percentile(known, [2.5, 97.5])
    return bounds.reshape(*resampled.shape[1:], 2)


def _for_json(values: np.ndarray, class_names: tuple[str, ...]) -> Any:
    """Numbers for JSON: an array by class name, anything else plain; None for NaN."""
    plain = np.where(np.isnan(values), np.array(None), values).tolist()
    return dict(zip(class_names, plain, strict=True)) if values.ndim and class_names else plain
