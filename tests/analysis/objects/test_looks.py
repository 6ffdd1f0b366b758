"""Color and shape of objects that are drawn by hand."""

import numpy as np
import pytest
from PIL import Image

from analysis.objects import looks


def drawn(upper, lower, background=(90, 90, 90), box=(10, 50, 20, 36), side=60):
    """An object of two colors, one above the other: the image and its mask."""
    top, bottom, left, right = box
    pixels = np.full((side, side, 3), background, np.uint8)
    middle = (top + bottom) // 2
    pixels[top:middle, left:right], pixels[middle:bottom, left:right] = upper, lower
    mask = np.zeros((side, side), np.uint8)
    mask[top:bottom, left:right] = 1
    return Image.fromarray(pixels), mask


def test_lab_of_known_colors():
    """sRGB red, white, black and middle gray, to the second digit (Lindbloom's calculator)."""
    colors = np.array([[255, 0, 0], [255, 255, 255], [0, 0, 0], [119, 119, 119]], np.uint8)
    expected = [[53.24, 80.09, 67.2], [100, 0, 0], [0, 0, 0], [50.03, 0, 0]]
    np.testing.assert_allclose(looks.to_lab(colors), expected, atol=0.06)


def test_colors_are_those_of_the_object_by_halves():
    red_above, _, words = looks.describe(*drawn((190, 35, 40), (40, 80, 175)))
    assert (words['upper_color'], words['lower_color']) == ('red', 'blue')
    again, _, _ = looks.describe(*drawn((190, 35, 40), (40, 80, 175), background=(20, 250, 20)))
    np.testing.assert_allclose(again, red_above, atol=0.15)  # of its surroundings, the border
    blue_above, _, _ = looks.describe(*drawn((40, 80, 175), (190, 35, 40)))
    half = len(red_above) // 2
    np.testing.assert_allclose(blue_above[:half], red_above[half:], atol=0.1)
    assert np.linalg.norm(blue_above - red_above) > 1
    # Square roots of shares, so that distances are Hellinger's.
    np.testing.assert_allclose(np.square(red_above[:half]).sum(), 1, rtol=1e-5)


def test_close_colors_are_close():
    """Neighboring cells share a pixel, so nothing jumps at their border."""
    red, slightly, blue = (
        looks.describe(*drawn(color, color))[0]
        for color in ((190, 35, 40), (194, 38, 36), (40, 80, 175))
    )
    assert np.linalg.norm(red - slightly) < 0.5 * np.linalg.norm(red - blue)


def test_shape_is_that_of_the_mask_in_a_square():
    _, shape, words = looks.describe(*drawn((9, 9, 9), (9, 9, 9), box=(8, 40, 10, 26)))
    grid = shape.reshape(looks.SHAPE_SIDE, looks.SHAPE_SIDE)
    # 32 × 16 pixels: the middle half of the columns.
    np.testing.assert_allclose(grid[:, 4:12], 1)
    assert not grid[:, :4].any() and not grid[:, 12:].any()
    assert words['balance'] == pytest.approx(0.5)
    triangle = np.tril(np.ones((40, 40), np.uint8))
    _, _, below = looks.describe(Image.new('RGB', (40, 40)), triangle)
    _, _, above = looks.describe(Image.new('RGB', (40, 40)), triangle[::-1])
    assert below['balance'] == pytest.approx(1 - above['balance'])
    assert below['balance'] == pytest.approx(2 / 3, abs=0.02)


def test_pattern_is_inside_the_object():
    image, mask = drawn((128, 128, 128), (128, 128, 128), background=(255, 255, 255))
    plain = looks.describe(image, mask)[2]['pattern']
    pixels = np.array(image)
    pixels[::2] = 0
    striped = looks.describe(Image.fromarray(pixels), mask)[2]['pattern']
    # The lightness of this gray is 53.6: half of the rows have it, half have 0.
    assert plain == pytest.approx(0, abs=1e-4) and striped == pytest.approx(53.6 / 2, rel=0.05)
    # Two plain halves are not a pattern.
    halves = looks.describe(*drawn((20, 20, 20), (230, 230, 230)))[2]['pattern']
    assert halves < 0.3 * striped


@pytest.mark.parametrize('box', [(5, 6, 5, 6), (0, 60, 7, 8), (30, 31, 0, 60)])
def test_tiny_and_thin_objects(box):
    image, mask = drawn((200, 30, 30), (200, 30, 30), box=box)
    color, shape, words = looks.describe(image, mask)
    assert np.isfinite(color).all() and np.isfinite(shape).all() and shape.max() > 0
    assert words['lower_color'] == 'red'
