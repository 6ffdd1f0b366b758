"""Decoding, resizing, cropping and color jitter of single images."""

import io

import numpy as np
import pytest
from PIL import Image

from segmentation.data import transforms
from tests import coco_fixtures

FULL = (0.0, 0.0, 1.0, 1.0)


def encoded(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def gradient(width=64, height=48):
    """A smooth picture, which survives JPEG."""
    rows, columns = np.mgrid[:height, :width]
    channels = [255 * columns / width, 255 * rows / height, 128 + 0 * rows]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


@pytest.mark.parametrize(
    ('mode', 'file_format'),
    [('L', 'JPEG'), ('CMYK', 'JPEG'), ('RGBA', 'PNG'), ('P', 'PNG'), ('LA', 'PNG'), ('1', 'PNG')],
)
def test_every_kind_of_picture_becomes_rgb(mode, file_format):
    data = encoded(gradient().convert(mode), file_format)
    image = transforms.decode_image(data, (64, 48))
    assert image.mode == 'RGB' and image.size == (64, 48)
    if mode == 'L':
        pixels = np.asarray(image)
        assert (pixels == pixels[..., :1]).all()
    if mode == 'CMYK':
        error = np.abs(np.asarray(image).astype(int) - np.asarray(gradient()))
        assert error.mean() < 5


def test_16_bit_keeps_its_contrast():
    values = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    image = transforms.decode_image(encoded(Image.fromarray(values), 'PNG'), (64, 48))
    np.testing.assert_allclose(np.asarray(image)[..., 0], values / 257, atol=1)


def test_first_frame_of_an_animation():
    frames = [Image.new('RGB', (8, 8), color) for color in ('red', 'blue')]
    data = encoded(frames[0], 'GIF', save_all=True, append_images=frames[1:])
    assert transforms.decode_image(data, (8, 8)).getpixel((0, 0)) == (255, 0, 0)


def test_exif_rotation_follows_the_size_of_the_annotations():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90°
    data = encoded(gradient(), 'JPEG', exif=exif)
    raw = transforms.decode_image(data, (64, 48))
    turned = transforms.decode_image(data, (48, 64))
    assert raw.size == (64, 48) and turned.size == (48, 64)
    np.testing.assert_array_equal(np.asarray(turned), np.rot90(np.asarray(raw), -1))
    assert transforms.decode_image(data, (0, 0)).size == (48, 64)


def test_reduced_decoding_is_close_to_full_decoding():
    data = encoded(gradient(640, 480), 'JPEG', quality=95)
    full = transforms.decode_image(data, (640, 480))
    reduced = transforms.decode_image(data, (640, 480), at_least=128)
    assert reduced.size == (320, 240)  # a quarter would be fewer than 128 rows
    difference = np.abs(
        transforms.resize(full, 128, FULL, True).astype(int)
        - transforms.resize(reduced, 128, FULL, True)
    )
    assert difference.mean() < 1


def test_truncated_picture_is_an_error():
    data = coco_fixtures.picture(64, 48)
    with pytest.raises(OSError, match='truncated'):
        transforms.decode_image(data[: len(data) // 2], (64, 48))


def test_unreadable_file_for_prediction(tmp_path):
    path = tmp_path / 'note.jpg'
    png = coco_fixtures.picture(40, 30, file_format='PNG')
    # Pillow raises SyntaxError for the second.
    for data in (b'not a picture', png.replace(b'IDAT', b'\x00\x00\x01\x00')):
        path.write_bytes(data)
        with pytest.raises(ValueError, match='note.jpg'):
            transforms.read_image_file(path, 32, True)


def test_without_antialias_it_is_half_pixel_bilinear():
    """Against the definition, written out: the rule of tf.image.resize."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8))
    pixels = np.asarray(image).astype(float)

    def axis(length, size):
        position = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.floor(position).astype(int)
        return low, np.minimum(low + 1, length - 1), position - low

    top, bottom, v = axis(30, 16)
    left, right, u = axis(50, 16)
    v, u = v[:, None, None], u[None, :, None]
    expected = (1 - v) * ((1 - u) * pixels[top][:, left] + u * pixels[top][:, right]) + v * (
        (1 - u) * pixels[bottom][:, left] + u * pixels[bottom][:, right]
    )
    np.testing.assert_allclose(transforms.resize(image, 16, FULL, False), expected, atol=1)


@pytest.mark.parametrize('antialias', [False, True])
def test_one_pixel_picture_fills_the_input(antialias):
    image = Image.new('RGB', (1, 1), (10, 20, 30))
    assert (transforms.resize(image, 32, FULL, antialias) == [10, 20, 30]).all()


def test_random_box_has_the_area_it_should():
    rng = np.random.default_rng(0)
    boxes = np.array([transforms.random_box(rng, 0.25) for _ in range(500)])
    assert (boxes >= 0).all() and (boxes <= 1).all()
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert areas.min() > 0.18 and areas.max() <= 1 and 0.5 < areas.mean() < 0.7


def test_color_jitter_of_nothing_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    same = transforms.jitter_colors(image, np.random.default_rng(0), 0.0)
    np.testing.assert_allclose(same.astype(int), image, atol=1)
    other = transforms.jitter_colors(image, np.random.default_rng(0), 0.5)
    assert np.abs(other.astype(int) - image).mean() > 3


def test_samples_of_a_crop_are_those_of_the_crop_alone():
    """As Pillow's nearest neighbors of pixels 10 … 29 of 40."""
    pixels = Image.fromarray(np.arange(40, dtype=np.uint8)[None])
    expected = pixels.crop((10, 0, 30, 1)).resize((8, 1), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(
        transforms.box_indices(0.25, 0.75, 40, 8), np.asarray(expected)[0]
    )


def test_shrunk_image_lies_on_gray():
    """A box of twice the side has the image in a quarter of the square, sample for sample."""
    image = gradient(64, 64)
    box = (-0.5, 0.0, 1.5, 2.0)
    shrunk = transforms.resize(image, 32, box, True)
    np.testing.assert_array_equal(shrunk[:16, 8:24], transforms.resize(image, 16, FULL, True))
    beside = ~transforms.inside(box, 32)
    assert beside.sum() == 32 * 32 - 16 * 16 and (shrunk[beside] == 127).all()
    rng = np.random.default_rng(0)
    boxes = np.array([transforms.random_box(rng, 0.5, 4.0) for _ in range(500)])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    assert 0.4 < areas.min() < 0.7 and 3.8 < areas.max() <= 4 and 2 < areas.mean() < 2.5
    # Each of them shows the whole of an axis, or a part of it and nothing else.
    wide = boxes[:, 2] - boxes[:, 0] >= 1
    assert (np.clip(boxes[wide, 0], 0, 1) == 0).all() and (boxes[wide, 2] >= 1).all()
    assert (boxes[~wide, 0] >= 0).all() and (boxes[~wide, 2] <= 1).all()
