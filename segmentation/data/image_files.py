"""Image files: which formats and pixel types are read, and how; EXIF orientation."""

import dataclasses
import io
from typing import Any

import numpy as np
import PIL.Image

# The formats to give to Pillow's `open`, which otherwise also tries some that run programs. All are
# loaded here, before threads use them.
PIL.Image.init()
IMAGE_FORMATS = tuple(
    name for name in ('JPEG', 'PNG', 'WEBP', 'BMP', 'GIF', 'TIFF', 'AVIF') if name in PIL.Image.OPEN
)
# Choices for the files whose EXIF orientation can be meant or not (see `fit`).
EXIF_CHOICES = ('displayed', 'stored')
SIZE_TOLERANCE = 2  # pixels by which an annotated size may differ from the size of the file

# EXIF orientation → how to make the stored pixels upright.
TRANSPOSE = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
# Larger images are left out. README.md explains the limits.
MAX_SIDE = 16_384
MAX_PIXELS = 2**26

_ORIENTATION = 0x0112
# First bytes (at an offset) of formats that are not read, and their names.
_OTHER_FORMATS = (
    (4, b'ftyphei', 'HEIC'), (4, b'ftyphev', 'HEIC'), (4, b'ftypmif1', 'HEIF'),
    (4, b'ftypmsf1', 'HEIF'), (4, b'ftypavi', 'AVIF'), (0, b'\xff\x0a', 'JPEG XL'),
    (0, b'\x00\x00\x00\x0cJXL ', 'JPEG XL'), (0, b'\x00\x00\x00\x0cjP  ', 'JPEG 2000'),
    (0, b'\xff\x4f\xff\x51', 'JPEG 2000'), (0, b'8BPS', 'Photoshop'), (0, b'%PDF', 'PDF'),
    (0, b'%!PS', 'PostScript'), (0, b'<svg', 'SVG'), (0, b'<?xml', 'SVG or XML'),
    (128, b'DICM', 'DICOM'), (0, b'\x76\x2f\x31\x01', 'OpenEXR'), (0, b'#?RADIANCE', 'Radiance'),
    (0, b'\x93NUMPY', 'NumPy'), (0, b'\x89HDF', 'HDF5'), (0, b'P6', 'PPM'), (0, b'P5', 'PGM'),
    (0, b'\xff\xd8\xff', 'JPEG (of a kind)'), (0, b'II*\x00', 'TIFF (of a kind)'),
    (0, b'MM\x00*', 'TIFF (of a kind)'), (0, b'II+\x00', 'BigTIFF (of a kind)'),
    (0, b'\x00\x00\x01\x00', 'ICO'), (0, b'version https://git-lfs', 'Git LFS pointer'),
)  # fmt: skip


class UnusableImage(Exception):
    """An image that is left out; the message is the reason that it is counted under."""


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What an image file says of itself."""

    size: tuple[int, int]  # (width, height) in pixels, as stored
    orientation: int = 1  # EXIF orientation, 1 … 8; 1 is upright
    sha256: str = ''  # of the file
    gray_bits: int = 0  # bits that hold its gray values, if they are stored with more than 8

    @property
    def displayed(self) -> tuple[int, int]:
        """(width, height) after applying the orientation."""
        return self.size[::-1] if self.orientation >= 5 else self.size


def header_of(image: PIL.Image.Image) -> Header:
    """What an opened image says of itself."""
    return Header(image.size, orientation_of(image))


def gray_bits(image: PIL.Image.Image) -> int:
    """The smallest of 8, 10, 12, 14 and 16 bits that hold the values of an image of mode 'I'."""
    high = int(np.asarray(image).max())
    return next((bits for bits in (8, 10, 12, 14) if high < 2**bits), 16)


def orientation_of(image: PIL.Image.Image) -> int:
    """EXIF orientation of an opened image, 1 … 8."""
    if image.format == 'TIFF':  # Pillow has applied it already
        return 1
    value = image.getexif().get(_ORIENTATION)
    return value if type(value) is int and 1 <= value <= 8 else 1


@dataclasses.dataclass(frozen=True, slots=True)
class Fit:
    """How a file and its annotated size go together."""

    size: tuple[int, int]  # (width, height) in pixels that the annotations refer to
    apply_exif: bool  # whether the reader must apply the EXIF orientation
    is_ambiguous: bool  # whether the sizes fit with and without it


def fit(header: Header, annotated: tuple[int, int] | None, exif: str = 'displayed') -> Fit | None:
    """Decides whether annotations refer to the file as it is stored or as it is displayed.

    Args:
      header: of the file.
      annotated: (width, height) in pixels, or None if the annotations do not say it.
      exif: what to do where both fit, one of `EXIF_CHOICES`: square images, and orientations that
        mirror or turn by 180°.

    Returns:
      None if the annotated size is neither.
    """
    turned, choice = header.orientation != 1, exif == 'displayed'
    if annotated is None:
        size = header.displayed if choice else header.size
        return Fit(size, turned and choice, turned)
    for tolerance in (0, SIZE_TOLERANCE):
        fits = [
            max(abs(a - b) for a, b in zip(annotated, size, strict=True)) <= tolerance
            for size in (header.size, header.displayed)
        ]
        if any(fits):
            ambiguous = turned and all(fits)
            apply_exif = turned and (choice if ambiguous else fits[1])
            size = header.displayed if apply_exif else header.size
            return Fit(size, apply_exif, ambiguous)
    return None


def is_bounded(width: int, height: int) -> bool:
    """Whether an image of this size (in pixels) is within MAX_SIDE and MAX_PIXELS."""
    return max(width, height) <= MAX_SIDE and width * height <= MAX_PIXELS


def name_format(data: bytes) -> str:
    """The name of a format that is not read, by its first bytes; '' if it is unknown."""
    for offset, start, name in _OTHER_FORMATS:
        if data[offset : offset + len(start)] == start:
            return name
    return ''


def open_image(data: bytes) -> PIL.Image.Image:
    """Opens an image file of one of `IMAGE_FORMATS`; the pixels are not decoded yet.

    Raises:
      UnusableImage: it is of another format, which the message names if it is known.
      Exception: Pillow raises almost anything on damaged files.
    """
    try:
        return PIL.Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
    except PIL.UnidentifiedImageError as error:
        name = name_format(data)
        if name == 'Git LFS pointer':
            raise UnusableImage('a Git LFS pointer, not an image (run git lfs pull)') from error
        if name:
            text = f'{name} is not read: convert to JPEG or PNG'
            raise UnusableImage(text) from error
        raise UnusableImage('not an image') from error


def to_rgb(image: PIL.Image.Image, strict: bool = True) -> PIL.Image.Image:
    """Converts an opened image to RGB with 8 bits.

    Grayscale is repeated to three channels; CMYK and palettes are converted; transparency is
    dropped; an animation gives its first frame. Gray values of up to 16 bits are scaled by the
    smallest depth of 8, 10, 12, 14 or 16 bits that holds them, and floats in [0, 1] by 255.

    Args:
      image: from `open_image`.
      strict: whether to refuse pixels that 8 bits cannot show without guessing. Otherwise they
        are clipped, as data sets prepared by older versions were read.

    Raises:
      UnusableImage: such pixels; the message says what to do.
      OSError: the file is truncated.
    """
    # Before loading: how the pixels are stored, e.g. ('zip', …, 'RGB;16B').
    tiles = getattr(image, 'tile', ())
    is_deep = image.mode[0] not in 'IF' and any(';16' in str(tile) for tile in tiles)
    image.load()
    if image.mode.startswith('I'):
        values = np.asarray(image)
        low, high = int(values.min()), int(values.max())
        if strict and (low < 0 or high >= 2**16):
            raise UnusableImage('gray values of 32 bits: convert to 8 bits')
        bits = gray_bits(image)
        image = PIL.Image.fromarray((values / ((2**bits - 1) / 255)).clip(0, 255).astype(np.uint8))
    elif image.mode == 'F':
        values = np.nan_to_num(np.asarray(image))
        low, high = values.min(), values.max()
        if strict and not (np.isfinite(np.asarray(image)).all() and low >= 0 and high <= 255):
            raise UnusableImage('float pixels outside [0, 255]: convert to 8 bits')
        scale = 255 if high <= 1 else 1
        image = PIL.Image.fromarray((values * scale + 0.5).clip(0, 255).astype(np.uint8))
    elif strict and image.mode in ('RGBA', 'LA', 'PA', 'La', 'RGBa'):
        bands: Any = image.convert('RGBA').getextrema()
        is_flat = [low == high for low, high in bands]
        if all(is_flat[:3]) and not is_flat[3]:
            raise UnusableImage('only the transparency has content: convert without it')
    rgb = image if image.mode == 'RGB' else image.convert('RGB')
    if strict and is_deep and np.asarray(rgb).max(initial=0) < 16:
        # Of colors with 16 bits, Pillow keeps the upper 8.
        raise UnusableImage('colors of 16 bits that use at most 12: convert to 8 bits')
    return rgb
