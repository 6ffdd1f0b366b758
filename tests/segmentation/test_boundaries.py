"""Boundary IoU against the definition of its publication."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segmentation import boundaries, metrics


@given(st.integers(0, 2**32 - 1), st.integers(3, 40), st.integers(3, 40))
@settings(max_examples=60, deadline=None)
def test_band_is_what_repeated_erosion_removes(seed, height, width):
    """As in the reference: 3×3 erosions of the mask with a border of one pixel."""
    rng = np.random.default_rng(seed)
    mask = ndimage.uniform_filter(rng.random((height, width)), 5) > 0.48
    times = max(1, int(round(0.1 * np.sqrt(height**2 + width**2))))
    eroded = ndimage.binary_erosion(np.pad(mask, 1), np.ones((3, 3)), times, border_value=1)
    np.testing.assert_array_equal(boundaries.band(mask, 0.1), mask & ~eroded[1:-1, 1:-1])


def test_counts_of_a_shifted_square():
    """40×30 pixels in 100×100: the band of 3 pixels; ignored pixels do not count."""
    label, predicted = (np.zeros((100, 100), np.uint8) for _ in range(2))
    label[20:60, 20:50] = 1
    predicted[20:60, 21:51] = 1
    counts = boundaries.boundary_counts(label, predicted, 3)
    band = 40 * 30 - 34 * 24
    shared = 2 * (3 * 29) + 2 * (34 * 2)  # rows of the top and the bottom, columns of the sides
    np.testing.assert_array_equal(counts[1], [shared, 2 * band - shared, 0])
    np.testing.assert_array_equal(counts[2], [0, 0, 0])
    label[:, 50:] = metrics.IGNORE
    assert (boundaries.boundary_counts(label, predicted, 3)[1] <= counts[1]).all()


def test_ignored_pixels_are_in_no_band():
    """A prediction that is right wherever pixels count has a boundary IoU of 1."""
    label, predicted = (np.zeros((200, 200), np.uint8) for _ in range(2))
    label[45:155, 45:155], predicted[45:155, 45:155] = metrics.IGNORE, 1
    label[50:150, 50:150] = 1  # a ring of ignored pixels, as in PASCAL VOC
    for _ in range(2):
        counts = boundaries.boundary_counts(label, predicted, 2)
        assert (counts[:, 0] == counts[:, 1]).all() and counts[1, 0] > 0
        label[:, 100:] = metrics.IGNORE  # and half of the object


def test_small_objects_are_all_band():
    """Their boundary IoU is their mask IoU, and they are counted."""
    label, predicted = (np.zeros((100, 100), np.uint8) for _ in range(2))
    label[10:14, 10:15] = 1
    predicted[10:14, 12:16] = 1
    counts = boundaries.boundary_counts(label, predicted, 2)
    iou = metrics.iou(metrics.confusion_matrix(label, predicted, 2))[1]
    assert counts[1, 0] / counts[1, 1] == iou and counts[1, 2] == 1
    assert counts[0, 2] == 0
