"""What is measured of each object: metadata, scores, pictures, and activations under its mask."""

import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pycocotools import mask as mask_utils
from scipy import ndimage

from analysis.label_issues.morphology import box, dilate
from analysis.label_issues.regions import Instance, instances_of
from analysis.objects import looks
from analysis.pictures import stage as pictures
from analysis.pictures.schema import THUMB
from analysis.saliency.methods import pool
from analysis.stage.forward import Batch, forward
from analysis.stage.run import Analysis
from segmentation import evaluate
from segmentation.activations import LOGITS, activations, logits_of
from segmentation.data import label_spaces, transforms
from segmentation.models.unet import scale_images
from segmentation.trained import Run

AT_ONCE = 16  # objects of an image whose activations are averaged in one pass of the network
_WIDTH = 0.04  # of the surroundings of an object, as a share of the side
_AROUND, _LEAST = 1.3, 24  # side of a picture: in longer sides of the object; at least, in pixels
Tile = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Found:
    """The n objects of some images, in order."""

    rows: list[dict[str, Any]]  # the columns of `schema.TABLE`
    features: np.ndarray  # float32 `[n, F]`: of the layers, then of `looks.BLOCKS`
    tiles: list[Tile]  # see `pictures.thumbnails`
    crowds: int
    unseen: int


def stream(analysis: Analysis, images: np.ndarray, layers: Sequence[str]) -> Iterator[Found]:
    """Describes the objects of images, batch by batch, with one pass of the network.

    An image with more than AT_ONCE objects takes more passes, and so do those beside it.

    Args:
      analysis: of these images alone.
      images: int64 `[n]`, their rows in the whole analysis.
      layers: whose activations are averaged, see `activations.find_layers`; may be empty.
    """
    categories = analysis.examples.splits[0].categories
    names = {category.id: category.name for category in categories}
    space = label_spaces.parse_label_space(analysis.config.data.label_space)
    classes = space.category_to_class(categories)
    known: dict[int, list[Instance]] = {}

    def seen(number: int) -> list[int]:
        """Places among the annotations of an image of what is an object here."""
        instances = enumerate(known[number])
        return [i for i, one in instances if one.label and not one.crowd and one.mask.any()]

    def read(batch: Batch) -> None:
        for number, label in zip(batch['index'].tolist(), batch['label'], strict=True):
            if number >= 0:
                record = analysis.examples.record(number)
                known[number] = instances_of(record, classes, label)

    def with_masks(batch: Batch) -> Batch:
        read(batch)
        masks = [
            [known[number][i].mask for i in seen(number)] if number >= 0 else []
            for number in batch['index'].tolist()
        ]
        return {**batch, 'image': stack(batch['image'], masks)}

    def describe(
        number: int, image: np.ndarray, label: np.ndarray, logits: np.ndarray
    ) -> tuple[list[dict[str, Any]], np.ndarray, list[Tile]]:
        record = analysis.examples.record(number)
        rows, measured, tiles = describe_objects(
            record, known[number], seen(number), image, label, logits
        )
        for row in rows:
            row['image'], row['image_id'] = int(images[number]), int(analysis.image_ids[number])
            row['category'] = names[row['category']]
            for key in ('class', 'predicted'):
                row[key] = analysis.class_names[row[key]]
        return rows, measured, tiles

    look = make_look(analysis.run, layers) if layers else None
    with concurrent.futures.ThreadPoolExecutor(analysis.config.data.threads) as threads:
        for numbers, batch, output in forward(
            analysis, 'objects', look, with_masks if layers else None
        ):
            if not layers:
                read(batch)
                most = max(len(seen(number)) for number in numbers)
                output = output, np.zeros((len(numbers), most, 0), np.float32)
            logits, pooled = map(np.asarray, output)
            pictured = batch['image'][..., :3]
            # It ends with the images: what pads the batch is left out.
            described = list(threads.map(describe, numbers, pictured, batch['label'], logits))
            features = [
                np.concatenate([pooled[place, : len(rows)], measured], 1)
                for place, (rows, measured, _) in enumerate(described)
            ]
            instances = [one for number in numbers for one in known.pop(number) if one.label]
            yield Found(
                rows=[row for rows, *_ in described for row in rows],
                features=np.concatenate(features),
                tiles=[tile for *_, tiles in described for tile in tiles],
                crowds=sum(one.crowd for one in instances),
                unseen=sum(not one.crowd and not one.mask.any() for one in instances),
            )


def stack(images: np.ndarray, masks: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Puts the masks of objects behind the channels of their images.

    Args:
      images: uint8 `[B, S, S, 3]`.
      masks: of each image, bool `[S, S]` each.

    Returns:
      uint8 `[B, S, S, 3 + n · AT_ONCE]`, n at least 1; what is left over is empty.
    """
    passes = max(1, -(-max(map(len, masks)) // AT_ONCE))
    stacked = np.zeros((*images.shape[:3], 3 + passes * AT_ONCE), np.uint8)
    stacked[..., :3] = images
    for place, of_image in enumerate(masks):
        for number, mask in enumerate(of_image, 3):
            stacked[place, ..., number] = mask
    return stacked


def make_look(run: Run, layers: Sequence[str]) -> Callable[[Any, np.ndarray], Any]:
    """Variables and what `stack` returns to logits and features, on the devices of this process.

    Returns float32 logits `[B, S, S, C]` and features `[B, n · AT_ONCE, F]`: activations averaged
    over each mask, resized to the layer; 0 for an empty mask. A pass always has AT_ONCE masks, so
    that the features of an object do not depend on how many others there are.
    """

    def look_once(variables: Any, stacked: jax.Array) -> tuple[jax.Array, jax.Array]:
        images = scale_images(stacked[..., :3], run.config.data.input_range)
        found = activations(run.model, variables, images, {LOGITS, *layers}.__contains__)
        size = images.shape[1]
        # The last layers of some sizes are larger than the image, see `logits_of`.
        more = found[LOGITS].shape[1] - size
        masks = jnp.moveaxis(stacked[..., 3:], -1, 1).astype(jnp.float32)
        masks = jnp.pad(masks, ((0, 0), (0, 0), (0, more), (0, more)))
        pooled = [average(found[layer].astype(jnp.float32), masks) for layer in layers]
        return logits_of(found, size), jnp.concatenate(pooled, -1)

    once = evaluate.on_local_devices(look_once)

    def look(variables: Any, stacked: np.ndarray) -> tuple[Any, jax.Array]:
        images, *starts = stacked[..., :3], *range(3, stacked.shape[-1], AT_ONCE)
        parts = [stacked[..., start : start + AT_ONCE] for start in starts]
        found = [once(variables, np.concatenate([images, part], -1)) for part in parts]
        return found[0][0], jnp.concatenate([features for _, features in found], 1)

    return look


def average(maps: Any, masks: Any) -> Any:
    """Means of maps `[B, h, h, C]` over masks `[B, n, S, S]`, `[B, n, C]`; 0 for an empty mask."""
    weights = pool(masks, maps.shape[1])
    total = weights.sum((2, 3))[..., None]
    return jnp.einsum('bnij,bijc->bnc', weights, maps) / jnp.maximum(total, 1e-12)


def describe_objects(
    record: Mapping[str, Any],
    instances: Sequence[Instance],
    chosen: Sequence[int],
    image: np.ndarray,
    label: np.ndarray,
    logits: np.ndarray,
) -> tuple[list[dict[str, Any]], np.ndarray, list[Tile]]:
    """The columns of objects that depend on their image alone, and their pictures.

    Args:
      record: of a `coco.CocoSplit`.
      instances: all annotated objects of the image, in order.
      chosen: those that are described.
      image: uint8 `[S, S, 3]`.
      label: uint8 `[S, S]`.
      logits: float32 `[S, S, C]`.

    Returns:
      Rows, with numbers for categories and classes; the features of `looks.BLOCKS`, float32
      `[n, …]`; and pictures.
    """
    measured = np.zeros((len(chosen), sum(looks.BLOCKS.values())), np.float32)
    if not chosen:
        return [], measured, []
    height, width, stored = int(record['height']), int(record['width']), record['instances']
    masks = [{'size': [height, width], 'counts': stored['rle'][i]} for i in chosen]
    boxes, areas = mask_utils.toBbox(masks), mask_utils.area(masks)
    decoded, predicted = transforms.decode_record(record), logits.argmax(-1)
    surprise = cross_entropies(logits)
    luma = image @ transforms.LUMA
    laplacian = np.full(luma.shape, np.nan)
    laplacian[1:-1, 1:-1] = (
        luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * luma[1:-1, 1:-1]
    )
    rows: list[dict[str, Any]] = []
    tiles: list[Tile] = []
    known = zip(chosen, masks, boxes.tolist(), areas, strict=True)
    for i, mask, (left, top, wide, high), area in known:
        one = instances[i]
        others = [other for number, other in enumerate(instances) if number != i]
        gaps = left, top, width - left - wide, height - top - high
        sides = left / width, top / height, (left + wide) / width, (top + high) / height
        frame = frame_of(sides, width, height)
        color, shape, words = looks.describe(decoded, mask_utils.decode(mask))
        measured[len(rows)] = np.concatenate([color, shape])
        rows.append(
            {
                'annotation_id': one.annotation_id,
                'file_name': record['file_name'],
                'aspect_ratio': (frame[2] - frame[0]) * width / ((frame[3] - frame[1]) * height),
                'class': one.label,
                'category': int(stored['category_id'][i]),
                **dict(zip(('left', 'top', 'right', 'bottom'), sides, strict=True)),
                'box_ratio': wide / high,
                'area': 100 * float(area) / (height * width),
                'truncated': min(gaps) <= 0.005 * max(width, height),
                **appearance(image, laplacian, one.mask),
                **words,
                **surroundings(image, one.mask, [other.mask for other in others]),
                'loss': float(surprise[one.mask, one.label].mean(dtype=np.float64)),
                'predicted': int(np.bincount(predicted[one.mask]).argmax()),
                **overlap(
                    one.mask,
                    predicted == one.label,
                    [other.mask for other in others if other.label == one.label],
                ),
            }
        )
        tiles.append(picture(decoded, label, predicted, frame))
    return rows, measured, tiles


def cross_entropies(logits: np.ndarray) -> np.ndarray:
    """Cross-entropy in nats of logits `[..., C]` with each class, float32 `[..., C]`."""
    shifted = logits - logits.max(-1, keepdims=True)
    return np.log(np.exp(shifted).sum(-1, keepdims=True)) - shifted


def appearance(
    image: np.ndarray, laplacian: np.ndarray, mask: np.ndarray
) -> dict[str, float | None]:
    """Brightness, saturation and sharpness of the pixels of a mask, bool `[S, S]`, not empty.

    The image is uint8 `[S, S, 3]`, the Laplacian of its luma float `[S, S]`, NaN at the border.
    """
    pixels, edges = image[mask], laplacian[mask]
    highest, edges = pixels.max(1), edges[~np.isnan(edges)]
    spread = highest - pixels.min(1)
    return {
        'brightness': float(pixels.mean()),
        'saturation': float(np.mean(spread / np.maximum(highest, 1))),
        'sharpness': float(edges.var()) if len(edges) else None,
    }


def surroundings(
    image: np.ndarray, mask: np.ndarray, others: Sequence[np.ndarray]
) -> dict[str, float | None]:
    """How the pixels around a mask differ from its own, and how many are on other objects.

    Args:
      image: uint8 `[S, S, 3]`.
      mask: bool `[S, S]`, not empty.
      others: masks of the other objects of the image.
    """
    width = max(1, round(_WIDTH * len(mask)))
    crop = box(mask, width)
    inside, pixels = mask[crop], image[crop]
    band = dilate(inside, width) & ~inside
    if not band.any():
        return {'touching': None, 'contrast': None}
    difference = pixels[inside].mean(0) - pixels[band].mean(0)
    covered = np.logical_or.reduce([np.zeros_like(band), *(other[crop] for other in others)])
    return {
        'touching': float(covered[band].mean()),
        'contrast': float(np.sqrt(np.square(difference).mean())),
    }


def overlap(
    mask: np.ndarray, predicted: np.ndarray, others: Sequence[np.ndarray]
) -> dict[str, float]:
    """IoU and recall of an object, see `schema.TABLE`.

    Args:
      mask: bool `[S, S]`, not empty.
      predicted: bool `[S, S]`, what is predicted as its class.
      others: masks of the other objects of its class.
    """
    regions, _ = ndimage.label(predicted)
    hit = np.unique(regions[mask & predicted])
    region = np.isin(regions, hit) & predicted
    for other in others:
        region &= ~other | mask
    common = np.count_nonzero(mask & region)
    return {
        'iou': common / np.count_nonzero(mask | region),
        'recall': float(predicted[mask].mean()),
    }


def frame_of(
    sides: tuple[float, float, float, float], width: int, height: int
) -> tuple[float, float, float, float]:
    """The part of an image that shows an object: a square if there is room for it.

    All are (left, top, right, bottom) in shares of width and height; the size is in pixels.
    """
    left, top, right, bottom = sides
    side = max(_AROUND * max((right - left) * width, (bottom - top) * height), _LEAST)
    ends = []
    for low, high, length in ((left, right, width), (top, bottom, height)):
        share = min(1.0, side / length)
        start = min(max(0.0, (low + high - share) / 2), 1 - share)
        ends.append((start, start + share))
    (left, right), (top, bottom) = ends
    return left, top, min(1.0, right), min(1.0, bottom)


def picture(image: Any, label: np.ndarray, predicted: np.ndarray, frame: tuple[float, ...]) -> Tile:
    """The pictures of an object by kind of sheet: a part of an image (PIL) and of classes."""
    left, top, right, bottom = frame
    steps = (np.arange(THUMB) + 0.5) / THUMB
    rows, columns = (
        ((low + steps * (high - low)) * len(label)).astype(np.int64)
        for low, high in ((top, bottom), (left, right))
    )
    shown = transforms.resize(image, THUMB, (left, top, right, bottom), True)
    return pictures.thumbnails(
        shown, *(classes[rows][:, columns] for classes in (label, predicted))
    )
