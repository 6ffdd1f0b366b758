"""Decodes, resizes and crops single images, and jitters their colors."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from segmentation.data import image_files, masks

# Weights of red, green and blue in luma (Rec. 601), as in Pillow's conversion to 'L'.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_GRAY = 127  # beside an image


def decode_image(
    data: bytes,
    size: tuple[int, int],
    at_least: int = 0,
    apply_exif: bool | None = None,
    strict: bool = False,
) -> Image.Image:
    """Decodes an image file to RGB, as `image_files.to_rgb` does.

    Args:
      data: the bytes of the file.
      size: (width, height) that the annotations refer to. `(0, 0)` means the upright image.
      at_least: if not 0, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as no side
        falls below this number of pixels. Several times faster, and antialiased by the DCT.
      apply_exif: whether to apply the EXIF orientation. If None, it is applied to a file whose raw
        size is not `size`.
      strict: see `image_files.to_rgb`.

    Raises:
      UnusableImage: another format, or pixels that `strict` refuses; the message says what to do.
      OSError: the bytes are not an image that Pillow can read, or are truncated.
    """
    file = image_files.open_image(data)
    turn = file.size != size if apply_exif is None else apply_exif
    if at_least:
        file.draft('RGB', (at_least, at_least))
    image = image_files.to_rgb(file, strict)
    if not turn:
        return image
    turned = image_files.TRANSPOSE.get(image_files.orientation_of(file))
    return image if turned is None else image.transpose(turned)


def decode_record(record: Mapping[str, Any], at_least: int = 0) -> Image.Image:
    """Decodes the image of a record of `coco.CocoSplit`, so that its masks lie on it."""
    size = int(record['width']), int(record['height'])
    # Data sets prepared by older versions do not say it.
    return decode_image(record['image'], size, at_least, record.get('apply_exif'))


def resize(
    image: Image.Image, size: int, box: tuple[float, float, float, float], antialias: bool
) -> np.ndarray:
    """Scales a box of an RGB image to a square uint8 `[size, size, 3]`, bilinearly.

    The box is (left, top, right, bottom) as fractions of width and height, in [0, 1]. The aspect
    ratio is not preserved. Antialiasing averages over all source pixels (triangle filter); without
    it, the four nearest are interpolated (half-pixel centers, the default of `tf.image.resize`).
    What a box shows beside the image is gray.
    """
    if box == (0, 0, 1, 1):
        return _scale(image, (size, size), box, antialias)
    shown = inside(box, size)
    left, top, right, bottom = np.clip(box, 0, 1).tolist()
    # The border is moved to the next whole pixel.
    rows, columns = (np.flatnonzero(shown.any(axis)) for axis in (1, 0))
    part = _scale(image, (len(columns), len(rows)), (left, top, right, bottom), antialias)
    if shown.all():
        return part
    canvas = np.full((size, size, 3), _GRAY, np.uint8)
    canvas[np.ix_(rows, columns)] = part
    return canvas


def _scale(
    image: Image.Image,
    size: tuple[int, int],
    box: tuple[float, float, float, float],
    antialias: bool,
) -> np.ndarray:
    """As `resize`, of a box in the image, to any (width, height)."""
    width, height = image.size
    left, right = box[0] * width, box[2] * width
    top, bottom = box[1] * height, box[3] * height
    if antialias:
        small = image.resize(size, Image.Resampling.BILINEAR, (left, top, right, bottom))
    else:
        matrix = ((right - left) / size[0], 0, left, 0, (bottom - top) / size[1], top)
        small = image.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(small)


def box_indices(low: float, high: float, length: int, size: int) -> np.ndarray:
    """Source indices of `size` nearest samples of a part of an axis, int64 `[size]`.

    The part is [low, high], as fractions of the `length` of the axis in pixels.
    """
    if (low, high) == (0, 1):
        return masks.nearest_indices(length, size)
    positions = (low + (np.arange(size) + 0.5) * (high - low) / size) * length
    return np.clip(positions.astype(np.int64), 0, length - 1)


def inside(box: tuple[float, float, float, float], size: int) -> np.ndarray:
    """Which of `size` × `size` samples of a box lie in the image, bool `[size, size]`."""

    def along(low: float, high: float) -> np.ndarray:
        positions = low + (np.arange(size) + 0.5) * (high - low) / size
        return (positions >= 0) & (positions < 1)

    left, top, right, bottom = box
    return along(top, bottom)[:, None] & along(left, right)


def random_box(
    rng: np.random.Generator, min_area: float, max_area: float = 1.0
) -> tuple[float, float, float, float]:
    """Random crop (left, top, right, bottom), as fractions of width and height.

    Its area is uniform in [min_area, max_area] of the image's, its aspect ratio relative to the
    image's log-uniform in [3/4, 4/3]; with an area of at most 1, as far as it fits (Szegedy et al.
    2015). A larger box has the image somewhere inside.
    """
    area = rng.uniform(min_area, max_area)
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    most = 1.0 if area <= 1 else np.inf
    width = min(most, np.sqrt(area * ratio))
    height = min(most, np.sqrt(area / ratio))
    left, top = (rng.uniform(*sorted((0, 1 - side))) for side in (width, height))
    return left, top, left + width, top + height


def jitter_colors(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Scales brightness, contrast and saturation by random factors in 1 ± strength.

    Maps uint8 `[S, S, 3]` to the same shape and dtype; the strength is in [0, 1].
    """
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3).astype(np.float32)
    pixels = image.astype(np.float32) * brightness
    mean = (pixels @ LUMA).mean()
    pixels = mean + (pixels - mean) * contrast
    gray = (pixels @ LUMA)[..., None]
    return (gray + (pixels - gray) * saturation).clip(0, 255).astype(np.uint8)


def read_image_file(
    path: pathlib.Path, size: int, antialias: bool
) -> tuple[Image.Image, np.ndarray]:
    """Reads any image file for prediction.

    Returns:
      The upright image, and the network's input, uint8 `[S, S, 3]`.

    Raises:
      ValueError: the file is missing or not a readable image.
    """
    try:
        image = decode_image(path.read_bytes(), (0, 0), strict=True)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files.
        raise ValueError(f'Cannot read {path} as an image: {error}') from error
    return image, resize(image, size, (0.0, 0.0, 1.0, 1.0), antialias)
