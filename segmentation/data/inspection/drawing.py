"""Small pictures of images and masks for the page, as data URLs."""

import base64
import colorsys
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as mask_utils

from segmentation import overlays
from segmentation.data import masks, transforms

SIDE = 320  # longest side of a picture in pixels
CROP = 112  # side of a crop around one object
_MARGIN = 0.35  # around the object, of its longer side
_FILL, _EDGE = 110, 255  # opacity of masks and of their outlines
_MOST = 300  # masks drawn in one picture


def color(number: int) -> tuple[int, int, int]:
    """Color of the category that is number `number` in frequency, from 0."""
    fixed = overlays.CLASS_COLORS[1:]
    if number < len(fixed):
        red, green, blue = fixed[number].tolist()
        return red, green, blue
    # Hues in steps of the golden ratio never come close to an earlier one for long.
    hue = number * 0.618034 % 1
    lightness = 0.45 + 0.15 * (number % 3)
    red, green, blue = (round(255 * x) for x in colorsys.hls_to_rgb(hue, lightness, 0.75))
    return red, green, blue


def picture(
    record: dict[str, Any], colors: Sequence[tuple[int, int, int]], marked: Iterable[int] = ()
) -> tuple[str, str, tuple[int, int]]:
    """An image and its masks at the size of the page.

    Args:
      record: from a `coco.CocoSplit`.
      colors: of the instances.
      marked: numbers of instances that get a frame.

    Returns:
      Data URLs of the image (JPEG) and of the masks (PNG, transparent elsewhere), and their
      (width, height) in pixels.
    """
    height, width = int(record['height']), int(record['width'])
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = transforms.decode_record(record, max(size)).resize(size, Image.Resampling.BILINEAR)
    rows, columns = masks.nearest_indices(height, size[1]), masks.nearest_indices(width, size[0])
    layer = np.zeros((size[1], size[0], 4), np.uint8)
    order = _large_first(record)[:_MOST]
    for number in order:
        _paint(layer, _mask(record, number)[rows][:, columns], colors[number])
    drawn = Image.fromarray(layer)
    pencil = ImageDraw.Draw(drawn)
    for number in marked:
        x, y, w, h = _box(record, number)
        frame = [x * scale - 5, y * scale - 5, (x + w) * scale + 4, (y + h) * scale + 4]
        pencil.rectangle(frame, outline=(0, 0, 0, 255), width=3)
        pencil.rectangle(
            [frame[0] + 1, frame[1] + 1, frame[2] - 1, frame[3] - 1], outline=(255, 255, 255, 255)
        )
    return _jpeg(image), _png(drawn), size


def crop(record: dict[str, Any], number: int, shade: tuple[int, int, int]) -> str:
    """A square around one instance with its mask, as the data URL of a JPEG."""
    height, width = int(record['height']), int(record['width'])
    image = np.asarray(transforms.decode_record(record))
    x, y, w, h = _box(record, number)
    side = max(w, h, 8) * (1 + 2 * _MARGIN)
    # Beyond the image's edge there is nothing to see.
    left = max(0.0, min(x + w / 2 - side / 2, width - side))
    top = max(0.0, min(y + h / 2 - side / 2, height - side))
    steps = (np.arange(CROP) + 0.5) / CROP * side
    rows, columns = np.floor(top + steps).astype(int), np.floor(left + steps).astype(int)
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None]
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    box = (left, top, left + side, top + side)
    smooth = Image.fromarray(image).transform(
        (CROP, CROP), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR
    )
    pixels = np.where(inside[..., None], np.asarray(smooth), 128).astype(np.uint8)
    layer = np.zeros((CROP, CROP, 4), np.uint8)
    _paint(layer, _mask(record, number)[rows][:, columns] & inside, shade)
    opacity = layer[..., 3:] / 255 * (0.6 if side > CROP / 4 else 1)
    mixed = (1 - opacity) * pixels + opacity * layer[..., :3]
    return _jpeg(Image.fromarray(mixed.astype(np.uint8)))


def _large_first(record: dict[str, Any]) -> list[int]:
    areas = mask_utils.area([_rle(record, k) for k in range(len(record['instances']['rle']))])
    return np.argsort(-np.asarray(areas, np.int64), kind='stable').tolist()


def _rle(record: dict[str, Any], number: int) -> Any:
    size = [int(record['height']), int(record['width'])]
    return {'size': size, 'counts': record['instances']['rle'][number]}


def _mask(record: dict[str, Any], number: int) -> np.ndarray:
    """bool `[H, W]`"""
    return mask_utils.decode(_rle(record, number)).astype(np.bool_)


def _box(record: dict[str, Any], number: int) -> tuple[float, float, float, float]:
    """(x, y, width, height) of a mask in pixels."""
    x, y, w, h = mask_utils.toBbox(_rle(record, number)).tolist()
    return x, y, w, h


def _paint(layer: np.ndarray, mask: np.ndarray, shade: tuple[int, int, int]) -> None:
    """Fills a mask, bool `[H, W]`, in uint8 `[H, W, 4]`, and draws its outline inside it."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & mask
    layer[mask, :3] = shade
    layer[inner, 3] = _FILL
    layer[mask & ~inner, 3] = _EDGE


def _jpeg(image: Image.Image) -> str:
    return _url(image, 'jpeg', quality=80, optimize=True)


def _png(image: Image.Image) -> str:
    return _url(image.quantize(256, Image.Quantize.FASTOCTREE), 'png', optimize=True)


def _url(image: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind.upper(), **options)
    return f'data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}'
