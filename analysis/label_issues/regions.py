"""Finds the regions of an image whose labels are compared, and describes them by numbers.

There are four main kinds of regions: annotated instances of all categories; the same shapes
mirrored onto unlabeled background; what the network predicts where nothing is labeled; and the same
after the label of one instance is removed. `judging` compares the regions of all images.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as mask_utils
from scipy import ndimage

from analysis.label_issues.morphology import box, components, dilate, distance, half_width, opened
from analysis.saliency.methods import pool
from segmentation.data.masks import IGNORE, nearest_indices

_SMALLEST = 0.002  # share of the image; smaller regions are ignored
JUDGED = 0.005  # smaller instances are missed too often to be judged (9×9 pixels of 128×128)
# Shares of the side: standard deviation of a Gaussian, for the blur of predictions, and how far
# predictions extend beyond an object.
_BLUR, _SPILL = 0.012, 0.016
_WIDTH = 0.08  # of the surroundings of a region, as a share of the side
_UNCERTAIN = 0.7  # entropy, as a share of the maximum, from which pixels are ambiguous


class Instance(NamedTuple):
    """An annotated object at the network's resolution; class 0 if it belongs to no class."""

    annotation_id: int
    label: int
    crowd: bool
    mask: np.ndarray  # bool [S, S], the visible part


def instances_of(
    record: Mapping[str, Any], classes: Mapping[int, int], label: np.ndarray
) -> list[Instance]:
    """The annotated objects of an image at the network's resolution, as far as they are visible.

    A pixel is visible where the label, uint8 `[S, S]`, has the class of the object, in any drawing
    order. The record is of a `coco.CocoSplit`; `classes` is the class by category id.
    """
    height, width = int(record['height']), int(record['width'])
    rows, columns = (nearest_indices(length, len(label)) for length in (height, width))
    fields = (record['instances'][name] for name in ('id', 'category_id', 'is_crowd', 'rle'))
    result = []
    for annotation_id, category, crowd, rle in zip(*fields, strict=True):
        value = classes.get(int(category), 0)
        # pycocotools stores masks by columns.
        mask = mask_utils.decode({'size': [height, width], 'counts': rle}).T[columns][:, rows].T
        visible = mask.astype(np.bool_) & (label == value)
        result.append(Instance(int(annotation_id), value, bool(crowd), visible))
    return result


@dataclasses.dataclass(frozen=True, slots=True)
class Region:
    """A region of an image.

    Sources: 'annotated'; 'mirrored', an annotated shape on the other side of the image, on
    unlabeled background; 'unlabeled', a class is predicted and nothing is labeled; 'left out', the
    same after the label of one instance is removed; 'ambiguous'.
    """

    image: int  # row of the image
    source: str
    given: int  # class of its label
    # Most probable class over the region; of unlabeled and left out regions, of each pixel.
    predicted: int
    annotation_id: int  # of the instance that is annotated or left out, else -1
    rle: bytes  # the mask [S, S] as compressed RLE (pycocotools)
    area: float  # share of the image
    seen: np.ndarray  # float32 [C], mean probability of each class
    entropy: float  # mean over its pixels, as a share of the maximum
    # Float64 [2C + 9]: log-odds of the mean probability of each class, and of its maximum; size,
    # place and shape, see `_shape`. The last three are 0 except in unlabeled and left out regions:
    # share on annotated objects of other categories, and `_position`.
    features: np.ndarray
    activations: np.ndarray  # float16 [F], averaged over the region
    # Float16 [F], averaged over the surroundings of an unlabeled or left out region; else empty.
    surroundings: np.ndarray
    outline: tuple[float, float]  # length and alignment, see `outline_of`; NaN if it is not judged


class _Candidate(NamedTuple):
    """A region before it is described."""

    source: str
    given: int
    mask: np.ndarray  # bool [S, S]
    annotation_id: int = -1
    predicted: int | None = None  # None: see Region
    labeled: np.ndarray | None = None  # bool [S, S], of unlabeled and left out regions


def find_regions(
    row: int,
    image: np.ndarray,
    label: np.ndarray,
    probability: np.ndarray,
    instances: Sequence[Instance],
    layers: Sequence[np.ndarray],
) -> list[Region]:
    """The regions of an image.

    Args:
      row: of the image.
      image: uint8 `[S, S, 3]`.
      label: uint8 `[S, S]`, 255 for pixels that do not count.
      probability: float32 `[S, S, C]`, of the network.
      instances: all annotated objects, including those of other categories.
      layers: activations of some layers, float32 `[h, h, channels]` each.
    """
    num_classes, side = probability.shape[-1], len(label)
    planes = np.ascontiguousarray(np.moveaxis(probability, -1, 0))
    entropy = -(planes * np.log(planes.clip(1e-9))).sum(0) / np.log(num_classes)
    candidates = [
        *_annotated(label, instances),
        *_predicted(label, planes, instances),
        *_ambiguous(label, entropy, num_classes),
    ]
    other = _union(label, [i.mask for i in instances if not i.crowd and i.label == 0])
    activations = _averages([candidate.mask for candidate in candidates], layers)
    bands = [_around(candidate.mask) for candidate in candidates if candidate.labeled is not None]
    surroundings = iter(_averages(bands, layers))
    edges = edge_strength(image)
    found = []
    for candidate, inside in zip(candidates, activations, strict=True):
        source, given, mask, annotation_id, predicted, labeled = candidate
        rows, columns = np.nonzero(mask)
        mean = probability[rows, columns].mean(0)
        largest = planes[:, rows, columns].max(1)
        position, outside = (0.0, 0.0, 0.0), np.zeros(0, np.float16)
        if labeled is not None:
            position = (float(other[mask].mean()), *_position(mask, labeled))
            outside = next(surroundings)
        judged = source == 'annotated' and given > 0 and len(rows) >= JUDGED * mask.size
        shape = _shape(rows, columns, side)
        found.append(
            Region(
                image=row,
                source=source,
                given=given,
                predicted=int(mean.argmax()) if predicted is None else predicted,
                annotation_id=annotation_id,
                rle=mask_utils.encode(np.asfortranarray(mask, np.uint8))['counts'],
                area=len(rows) / mask.size,
                seen=mean,
                entropy=float(entropy[rows, columns].mean()),
                features=np.array([*_logit(mean), *_logit(largest), *shape, *position]),
                activations=inside,
                surroundings=outside,
                outline=outline_of(mask, edges) if judged else (np.nan, np.nan),
            )
        )
    return found


def _smallest(side: int) -> float:
    """Pixels of the smallest region."""
    return max(8, _SMALLEST * side**2)


def _spill(side: int) -> int:
    """Pixels by which predictions extend beyond an object, whether or not its label is correct."""
    return max(1, round(_SPILL * side))


def _union(label: np.ndarray, masks: Sequence[np.ndarray]) -> np.ndarray:
    """The counted pixels that are in any of some masks, bool `[S, S]`."""
    return np.logical_or.reduce([np.zeros(label.shape, np.bool_), *masks]) & (label != IGNORE)


def _annotated(label: np.ndarray, instances: Sequence[Instance]) -> Iterator[_Candidate]:
    """The instances, and their shapes mirrored onto unlabeled background."""
    counted = label != IGNORE
    for instance in instances:
        mask = instance.mask & counted
        if instance.crowd or np.count_nonzero(mask) < _smallest(len(label)):
            continue
        yield _Candidate('annotated', instance.label, mask, instance.annotation_id)
        # So that there are examples of background even without other categories.
        mirrored = mask[:, ::-1] & counted
        if instance.label and mirrored.any() and not label[mirrored].any():
            yield _Candidate('mirrored', 0, mirrored)


def _predicted(
    label: np.ndarray, probability: np.ndarray, instances: Sequence[Instance]
) -> Iterator[_Candidate]:
    """Regions predicted outside of all labels: with all labels, then with one instance removed.

    The label is uint8 `[S, S]`, the probability float32 `[C, S, S]`.
    """
    side, counted = len(label), label != IGNORE
    smallest = _smallest(side)
    # Predictions come in pieces and with frayed edges.
    smooth = ndimage.gaussian_filter(probability, (0, _BLUR * side, _BLUR * side))
    predicted = np.where(counted, smooth.argmax(0), 0)
    crowd = _union(label, [instance.mask for instance in instances if instance.crowd])
    labeled = counted & (label > 0)

    def outside(value: int, labeled: np.ndarray) -> list[np.ndarray]:
        # Not where the region would be thin.
        clear = opened((predicted == value) & ~dilate(labeled, _spill(side)), 3)
        # Single objects of a crowd are not annotated.
        return [mask for mask in components(clear, smallest) if not crowd[mask].any()]

    for value in range(1, len(probability)):
        for mask in outside(value, labeled):
            yield _Candidate('unlabeled', 0, mask, predicted=value, labeled=labeled)
    for annotation_id, value, is_crowd, instance in instances:
        area = np.count_nonzero(instance)
        if is_crowd or not value or area < smallest or not (predicted[instance] == value).any():
            continue
        without = labeled & ~instance
        for mask in outside(value, without):
            if np.count_nonzero(instance & mask) >= 0.5 * min(area, np.count_nonzero(mask)):
                yield _Candidate('left out', value, mask, annotation_id, value, without)


def _ambiguous(label: np.ndarray, entropy: np.ndarray, num_classes: int) -> Iterator[_Candidate]:
    """Wide regions of high entropy; the outline of an object is always uncertain."""
    wide = opened((entropy > _UNCERTAIN) & (label != IGNORE), 5)
    for mask in components(wide, _smallest(len(label))):
        values = np.bincount(label[mask], minlength=num_classes)
        yield _Candidate('ambiguous', int(values.argmax()), mask)


def _averages(masks: Sequence[np.ndarray], layers: Sequence[np.ndarray]) -> np.ndarray:
    """Activations `[h, h, channels]` of layers averaged over masks `[S, S]`, float16 `[R, F]`."""
    if not masks:
        return np.zeros((0, 0), np.float16)
    parts = []
    for layer in layers:
        weights = np.asarray(pool(np.array(masks, np.float32), len(layer))).reshape(len(masks), -1)
        flat = layer.reshape(weights.shape[1], -1)
        # One region at a time: the product with all of them rounds differently, and a decision tree
        # may then put a region on the other side of a threshold.
        parts.append([weight @ flat / weight.sum() for weight in weights])
    return np.concatenate(parts, 1).astype(np.float16)


def _around(mask: np.ndarray) -> np.ndarray:
    """A band around a region, beyond what predictions spill; the region if none. Bool `[S, S]`."""
    spill, width = _spill(len(mask)), round(_WIDTH * len(mask))
    crop, band = box(mask, spill + width), np.zeros_like(mask)
    steps = distance(mask[crop])
    band[crop] = (steps > spill) & (steps <= spill + width)
    return band if band.any() else mask


def _position(mask: np.ndarray, labeled: np.ndarray) -> tuple[float, float]:
    """Logarithm of a region's half-width as a share of the side; labeled share next to it."""
    spill = _spill(len(mask))
    crop = box(mask, spill + 1)
    ring = dilate(mask[crop], spill + 1) & ~mask[crop]
    beside = float(labeled[crop][ring].mean()) if ring.any() else 0.0
    return float(np.log(half_width(mask) / len(mask))), beside


def _logit(share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 1e-4, 1 - 1e-4)
    return np.log(share / (1 - share))


def _shape(rows: np.ndarray, columns: np.ndarray, side: int) -> list[float]:
    """Size, place and shape of a region, from its pixels, int64 `[area]` each."""
    height, width, area = np.ptp(rows) + 1, np.ptp(columns) + 1, len(rows)
    return [
        *(np.log(area / side**2), np.sqrt(area) / side),
        *(rows.mean() / side, columns.mean() / side),
        *(np.log(height / width), area / (height * width)),
    ]


def edge_strength(image: np.ndarray) -> np.ndarray:
    """Length of the Sobel gradient of uint8 `[S, S, 3]`, float32 `[S, S]`.

    As in `ndimage.sobel`, the smoothing also runs over the channels; whole numbers are exact and
    faster.
    """
    planes = np.pad(np.moveaxis(image.astype(np.int16), -1, 0), 1, mode='symmetric')
    planes = planes[:-2] + 2 * planes[1:-1] + planes[2:]
    across = planes[:, :-2] + 2 * planes[:, 1:-1] + planes[:, 2:]
    down = planes[..., :-2] + 2 * planes[..., 1:-1] + planes[..., 2:]
    gradients = down[:, 2:] - down[:, :-2], across[..., 2:] - across[..., :-2]
    return np.sqrt(sum(np.square(gradient.astype(np.float32)).sum(0) for gradient in gradients))


def outline_of(mask: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    """Length and alignment of the outline of a mask `[S, S]`; NaN if it has no pixels.

    The length is relative to the square root of the area. `edges` are those of `edge_strength`. The
    outline's pixels are those next to the border, inside and outside. Alignment is the share of
    them with a stronger edge than three quarters of the pixels up to 5 away from the outline.
    """
    crop = box(mask, 5)
    mask, edges = mask[crop], edges[crop]
    line = dilate(mask) & dilate(~mask)
    depth = distance(~np.pad(mask, 1))[1:-1, 1:-1]
    band = (distance(mask) <= 5) & (depth <= 5) & ~line
    if not line.any() or not band.any():
        return np.nan, np.nan
    aligned = (edges[line] > np.quantile(edges[band], 0.75)).mean()
    return float(line.sum() / np.sqrt(mask.sum())), float(aligned)
