"""Operations on masks against scipy.ndimage on whole images, which is slower."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from analysis.label_issues import morphology, regions

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
noise = hnp.arrays(np.bool_, sizes, elements=st.booleans())


@st.composite
def blobs(draw, shape=None):
    """Overlapping rectangles, also at the border of the image, with holes."""
    height, width = shape or draw(sizes)
    mask = np.zeros((height, width), np.bool_)
    for value in draw(st.lists(st.booleans(), max_size=6)):
        top, bottom = sorted(draw(st.lists(st.integers(0, height), min_size=2, max_size=2)))
        left, right = sorted(draw(st.lists(st.integers(0, width), min_size=2, max_size=2)))
        mask[top:bottom, left:right] = value
    return mask


masks = noise | blobs()
of_an_image = blobs((48, 48))


@settings(deadline=None)
@given(masks, st.integers(1, 6))
def test_dilate(mask, steps):
    expected = ndimage.binary_dilation(mask, iterations=steps)
    np.testing.assert_array_equal(morphology.dilate(mask, steps), expected)


@settings(deadline=None)
@given(masks, st.sampled_from((3, 5)))
def test_opened(mask, side):
    expected = ndimage.binary_opening(mask, np.ones((side, side)))
    np.testing.assert_array_equal(morphology.opened(mask, side), expected)


@settings(deadline=None)
@given(masks, st.integers(1, 9))
def test_components(mask, smallest):
    numbers, count = ndimage.label(mask)
    parts = [numbers == number for number in range(1, count + 1)]
    found = morphology.components(mask, smallest)
    np.testing.assert_array_equal(found, [part for part in parts if part.sum() >= smallest])


@settings(deadline=None)
@given(masks, st.integers(0, 9))
def test_box_and_distance(mask, margin):
    """Cut to the box with a margin, distances up to the margin are those of the whole image."""
    assume(mask.any())
    rows, columns = np.nonzero(mask)
    crop = morphology.box(mask, margin)
    near = ndimage.binary_dilation(mask, iterations=margin) if margin else mask
    expected = np.zeros_like(mask)
    expected[crop] = morphology.distance(mask[crop]) <= margin
    np.testing.assert_array_equal(expected, near)
    crop = morphology.box(mask)
    assert (crop[0].start, crop[0].stop - 1) == (rows.min(), rows.max())
    assert (crop[1].start, crop[1].stop - 1) == (columns.min(), columns.max())


@settings(deadline=None)
@given(masks)
def test_half_width(mask):
    assume(mask.any())
    expected = ndimage.distance_transform_edt(np.pad(mask, 1)).max()
    assert morphology.half_width(mask) == expected


@settings(deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3))))
def test_edge_strength(image):
    pixels = image.astype(np.float32)
    squares = [np.square(ndimage.sobel(pixels, axis)).sum(-1) for axis in (0, 1)]
    np.testing.assert_array_equal(regions.edge_strength(image), np.sqrt(squares[0] + squares[1]))


@settings(deadline=None)
@given(of_an_image, st.randoms(use_true_random=False))
def test_outline(mask, random):
    assume(mask.any())
    edges = np.random.default_rng(random.randrange(2**32)).random(mask.shape).astype(np.float32)
    inner = ndimage.binary_erosion(mask, border_value=1)
    line = ndimage.binary_dilation(mask) & ~inner
    band = ndimage.binary_dilation(mask, iterations=5) & ~line
    band &= ~ndimage.binary_erosion(mask, iterations=5)
    found = regions.outline_of(mask, edges)
    if not line.any() or not band.any():
        assert np.isnan(found).all()
    else:
        aligned = (edges[line] > np.quantile(edges[band], 0.75)).mean()
        assert found == (line.sum() / np.sqrt(mask.sum()), aligned)


@settings(deadline=None)
@given(of_an_image, of_an_image)
def test_surroundings(mask, labeled):
    """At 48×48 predictions spill by 1 pixel, and the surroundings are 4 more."""
    assume(mask.any())
    dilated = {n: ndimage.binary_dilation(mask, iterations=n) for n in (1, 2, 5)}
    band = dilated[5] & ~dilated[1]
    np.testing.assert_array_equal(regions._around(mask), band if band.any() else mask)
    half_width, beside = regions._position(mask, labeled)
    distances = ndimage.distance_transform_edt(np.pad(mask, 1))
    assert half_width == np.log(distances.max() / 48)
    ring = dilated[2] & ~mask
    assert beside == pytest.approx(labeled[ring].mean() if ring.any() else 0, abs=0)
