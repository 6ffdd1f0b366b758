"""Damaged image files of many formats, for inject_faults.py."""

import io
import pathlib
import random
from collections.abc import Iterator

import numpy as np
from fault_subjects import SIZE, outcome_of
from harness import damage_bytes
from PIL import Image

from segmentation.data import coco_files, image_files, transforms


def whole_files() -> list[bytes]:
    """Files of every format and mode that is read, and of some that are not."""
    rng = np.random.default_rng(0)
    width, height = SIZE
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (height, width), np.uint16))
    rotated = Image.Exif()
    rotated[0x0112] = 6
    frames = {'save_all': True, 'append_images': [image.rotate(90), image.rotate(180)]}
    files = []
    for variant, file_format, options in (
        *((image.convert(mode), 'JPEG', {}) for mode in ('RGB', 'L', 'CMYK')),
        *((image.convert(mode), 'PNG', {}) for mode in ('RGB', 'L', 'LA', 'P', 'RGBA', '1')),
        *((image.convert(mode), 'TIFF', {}) for mode in ('RGB', 'CMYK', 'F', 'I', 'YCbCr')),
        (deep, 'PNG', {}),
        (deep, 'TIFF', {}),
        (image, 'JPEG', {'exif': rotated}),
        (image, 'JPEG', {'progressive': True}),
        *((image, file_format, frames) for file_format in ('GIF', 'PNG', 'WEBP')),
        *((image, file_format, {}) for file_format in ('BMP', 'ICO', 'PPM')),
    ):
        buffer = io.BytesIO()
        variant.save(buffer, file_format, **options)
        files.append(buffer.getvalue())
    return files


def read_in_data_set(data: bytes) -> str:
    """Outcome of an annotated image: one that a data set accepts must be readable later."""
    try:
        header = coco_files.check_image(data)
    except image_files.UnusableImage:
        return 'left out'
    except Exception as error:  # any other error is wrong
        return f'RAISED {type(error).__name__}'
    try:
        for size in (header.size, header.displayed):
            for at_least in (0, 16):
                image = transforms.decode_image(data, size, at_least)
                transforms.resize(image, 32, (0.0, 0.0, 1.0, 1.0), antialias=True)
    except Exception as error:  # accepted files must be readable
        return f'TAKEN, BUT RAISED {type(error).__name__}'
    return 'done'


def damaged(folder: pathlib.Path, count: int, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yields (fault, outcome) of `count` files."""
    files, path = whole_files(), folder / 'image'
    for _ in range(count):
        data = damage_bytes(rng.choice(files), rng)
        yield 'damaged image: in a data set', read_in_data_set(data)
        path.write_bytes(data)

        def predict() -> None:
            transforms.read_image_file(path, 32, antialias=True)

        yield 'damaged image: for prediction', outcome_of(predict, path)[0]
