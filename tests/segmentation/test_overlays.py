"""Pictures of labels over images."""

import numpy as np

from segmentation import overlays


def test_an_overlay_is_mixed_in_parts_as_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (37, 11, 3), dtype=np.uint8)
    label = rng.choice([0, 1, 2, 9, 255], (37, 11)).astype(np.uint8)
    mixed = (1 - 0.55) * image + 0.55 * overlays.colorize(label)
    expected = np.where((label > 0)[..., None], mixed, image).astype(np.uint8)
    for at_once in (1, 50, 1 << 20):
        monkeypatch.setattr(overlays, '_AT_ONCE', at_once)
        np.testing.assert_array_equal(overlays.overlay(image, label), expected)
    assert (expected[label == 0] == image[label == 0]).all()
