"""Pixel types, formats and EXIF orientations: read rightly or refused by name, never black."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from segmentation.data import coco, coco_files, examples, image_files, transforms
from tests import coco_fixtures

WIDTH, HEIGHT = 48, 32
GRAY = np.linspace(0, 1, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)


def encoded(image, file_format, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png_of_16_bits(values: np.ndarray) -> bytes:
    """A PNG with 16 bits per color [H, W, 3], which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    height, width, _ = values.shape
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in values)
    header = struct.pack('>IIBBBBB', width, height, 16, 2, 0, 0, 0)
    chunks = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + chunks


def read_both(data: bytes) -> np.ndarray:
    """As training reads an image that preparing accepted, and as predict reads it."""
    header = coco_files.check_image(data)
    trained = np.asarray(transforms.decode_image(data, header.size, apply_exif=False))
    predicted = np.asarray(transforms.decode_image(data, (0, 0), strict=True))
    np.testing.assert_array_equal(trained, predicted)
    return trained


@pytest.mark.parametrize('file_format', ['PNG', 'TIFF'])
@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
def test_gray_values_of_up_to_16_bits_use_all_of_8_bits(file_format, bits):
    values = (GRAY * (2**bits - 1)).astype(np.uint16)
    pixels = read_both(encoded(Image.fromarray(values), file_format))
    np.testing.assert_allclose(pixels[..., 1], GRAY * 255, atol=2)


@pytest.mark.parametrize('most', [1, 255])
def test_float_pixels(most):
    data = encoded(Image.fromarray((GRAY * most).astype(np.float32)), 'TIFF')
    np.testing.assert_allclose(read_both(data)[..., 1], GRAY * 255, atol=1.1)


def test_colors_of_16_bits():
    values = np.repeat((GRAY * 65535).astype(np.uint16)[..., None], 3, axis=2)
    np.testing.assert_allclose(read_both(png_of_16_bits(values))[..., 1], GRAY * 255, atol=1.1)


@pytest.mark.parametrize(
    ('mode', 'file_format'),
    [
        ('RGB', 'WEBP'), ('RGB', 'AVIF'), ('RGB', 'TIFF'), ('P', 'PNG'), ('P', 'GIF'), ('1', 'PNG'),
        ('L', 'JPEG'), ('RGBA', 'PNG'), ('RGBA', 'WEBP'), ('LA', 'PNG'), ('CMYK', 'JPEG'),
        ('CMYK', 'TIFF'), ('YCbCr', 'TIFF'), ('LAB', 'TIFF'), ('RGB', 'BMP'),
    ],
)  # fmt: skip
def test_every_pixel_type_is_read_and_not_black(mode, file_format):
    if file_format not in image_files.IMAGE_FORMATS:
        pytest.skip(f'this Pillow does not read {file_format}')
    gray = Image.fromarray((GRAY * 255).astype(np.uint8))
    if mode == 'LAB':
        image = Image.merge('LAB', (gray, gray.point(lambda _: 128), gray.point(lambda _: 128)))
    else:
        image = gray.convert('RGB').convert(mode)
    try:
        data = encoded(image, file_format)
        pixels = read_both(data)
    except image_files.UnusableImage as error:
        assert mode == 'LAB', error  # refused by name is fine, black is not
        return
    assert abs(pixels.astype(float).mean() - 127.5) < 20
    assert pixels[-1, -8:].mean() > 200 > 60 > pixels[0, :8].mean()


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        (b'\0\0\0\x18ftypheic' + bytes(99), 'HEIC is not read: convert to JPEG or PNG'),
        (b'\0\0\0\x0cJXL \r\n\x87\n', 'JPEG XL is not read'),
        (b'\0\0\0\x0cjP  \r\n\x87\n', 'JPEG 2000 is not read'),
        (b'8BPS' + bytes(99), 'Photoshop is not read'),
        (bytes(128) + b'DICM' + bytes(99), 'DICOM is not read'),
        (b'II*\x00' + bytes(99), r'TIFF \(of a kind\) is not read'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'Git LFS pointer.*git lfs pull'),
        (b'%PDF-1.7', 'PDF is not read'),
        (b'hello', 'not an image'),
        (png_of_16_bits(np.full((4, 5, 3), 4095)), 'colors of 16 bits that use at most 12'),
        (encoded(Image.fromarray(np.full((4, 5), 10**6, np.int32)), 'TIFF'), 'gray values of 32'),
        (encoded(Image.fromarray(np.full((4, 5), -5, np.float32)), 'TIFF'), r'outside \[0, 255\]'),
        (encoded(Image.fromarray(np.full((4, 5), np.nan, np.float32)), 'TIFF'), 'outside'),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, data, reason):
    with pytest.raises(image_files.UnusableImage, match=reason):
        coco_files.check_image(data)
    path = tmp_path / 'photo.jpg'
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f'Cannot read .*photo.jpg as an image: .*{reason}'):
        transforms.read_image_file(path, 32, True)


def test_an_image_of_transparency_alone_is_refused():
    alpha = Image.fromarray((GRAY * 255).astype(np.uint8))
    image = Image.new('RGBA', alpha.size)
    image.putalpha(alpha)
    with pytest.raises(image_files.UnusableImage, match='only the transparency has content'):
        coco_files.check_image(encoded(image, 'PNG'))
    # Data sets of older versions have such images; they stay readable.
    assert transforms.decode_image(encoded(image, 'PNG'), alpha.size).mode == 'RGB'


# EXIF orientation.

# How the stored pixels come from the upright ones (the inverse of what a viewer does).
STORE = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


def upright(side: int = WIDTH) -> np.ndarray:
    """A red object in the upper left on blue ground, uint8 [H, W, 3]."""
    pixels = np.zeros((HEIGHT, side, 3), np.uint8)
    pixels[..., 2] = 255
    pixels[4:12, 2:24] = (255, 0, 0)
    return pixels


def stored_file(orientation: int, pixels: np.ndarray) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    array = np.ascontiguousarray(STORE[orientation](pixels))
    return encoded(Image.fromarray(array), 'PNG', exif=exif)


def folder_of_orientations(folder, pixels: np.ndarray, as_stored: bool):
    """Eight images whose annotations refer to the upright or to the stored pixels."""
    content: dict = {'images': [], 'annotations': [], 'categories': [{'id': 1, 'name': 'thing'}]}
    (folder / 'train').mkdir(parents=True)
    (folder / 'annotations').mkdir()
    for orientation in STORE:
        (folder / 'train' / f'{orientation}.png').write_bytes(stored_file(orientation, pixels))
        seen = STORE[orientation](pixels) if as_stored else pixels
        rows, columns = np.nonzero(seen[..., 0])
        left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        outline = [left, top, right, top, right, bottom, left, bottom]
        content['images'].append(
            {
                'id': orientation,
                'file_name': f'{orientation}.png',
                'width': seen.shape[1],
                'height': seen.shape[0],
            }
        )
        content['annotations'].append(
            {
                'id': orientation,
                'image_id': orientation,
                'category_id': 1,
                'segmentation': [[int(v) for v in outline]],
            }
        )
    coco_fixtures.write_annotations(folder, 'train', content)
    return folder


@pytest.mark.parametrize('side', [WIDTH, HEIGHT])  # of a square, no size tells
@pytest.mark.parametrize('exif', ['displayed', 'stored'])
def test_masks_lie_on_their_images_for_all_orientations(tmp_path, tiny_config, side, exif):
    pixels, as_stored = upright(side), exif == 'stored'
    folder = folder_of_orientations(tmp_path / 'a', pixels, as_stored)
    prepared = coco.prepare(str(folder), tmp_path / 'data', exif=exif)
    note = prepared.notes['train'][f'EXIF orientation fits both ways, used as {exif}']
    assert note['count'] == (3 if side == WIDTH else 7)
    tiny_config.data.label_space = 'thing: thing'
    tiny_config.data.selection_fraction = 0
    chosen, _ = examples.select_examples(prepared, tiny_config.data, 'train')
    for i, orientation in enumerate(STORE):
        expected = STORE[orientation](pixels) if as_stored else pixels
        record = chosen.record(i)
        np.testing.assert_array_equal(np.asarray(transforms.decode_record(record)), expected)
        np.testing.assert_array_equal(chosen.full_label(i), expected[..., 0] > 0)
        # The training reader and the evaluation.
        for example in (chosen[i], chosen.example(i, np.random.default_rng(0))):
            inside = example['label'] == 1
            assert inside.any() and (example['image'][inside, 0] > 127).all()
            assert (example['image'][~inside, 0] < 129).all()
        if not as_stored:  # predict always shows images upright
            path = folder / 'train' / f'{orientation}.png'
            image, inputs = transforms.read_image_file(path, 32, True)
            np.testing.assert_array_equal(np.asarray(image), expected)
            np.testing.assert_array_equal(inputs, chosen[i]['image'])


def test_notes_tell_what_was_decided(tmp_path):
    """Sizes that tell contradict the choice for the others; gray values that were scaled."""
    folder = folder_of_orientations(tmp_path / 'a', upright(), as_stored=True)
    dark = Image.fromarray((GRAY * 1000).astype(np.uint16))
    (folder / 'train' / '1.png').write_bytes(encoded(dark, 'PNG'))
    notes = coco.prepare(str(folder), tmp_path / 'data').notes['train']
    assert {note: entry['count'] for note, entry in notes.items()} == {
        'size says that it is annotated as stored': 4,
        'EXIF orientation fits both ways, used as displayed': 3,
        'gray values use 10 of 16 bits, scaled to 8': 1,
    }


@pytest.mark.parametrize('orientation', STORE)
def test_which_sizes_fit(orientation):
    header = image_files.Header((48, 32), orientation)
    turned = orientation >= 5
    fit = image_files.fit(header, (48, 32))
    assert fit is not None and fit.size == (48, 32)
    assert (fit.apply_exif, fit.is_ambiguous) == (
        (False, False) if turned or orientation == 1 else (True, True)
    )
    fit = image_files.fit(header, (32, 48))
    assert fit == (image_files.Fit((32, 48), True, False) if turned else None)
    assert image_files.fit(header, (45, 32)) is None
    fit = image_files.fit(header, (48, 33))
    assert fit is not None and fit.size == (48, 32)
    missing = image_files.fit(header, None)
    assert missing is not None and missing.size == ((32, 48) if turned else (48, 32))


def test_records_of_older_versions_are_read_by_their_size():
    data = stored_file(6, upright())
    record = {'image': data, 'width': WIDTH, 'height': HEIGHT}
    np.testing.assert_array_equal(np.asarray(transforms.decode_record(record)), upright())
    record = {'image': stored_file(3, upright()), 'width': WIDTH, 'height': HEIGHT}
    expected = upright()[::-1, ::-1]  # by the size, it is not turned
    np.testing.assert_array_equal(np.asarray(transforms.decode_record(record)), expected)
