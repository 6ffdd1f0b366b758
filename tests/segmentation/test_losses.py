import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss

from segmentation import losses


@pytest.fixture
def example():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
    label = rng.integers(0, 3, (2, 4, 4)).astype(np.uint8)
    label[0, :2] = losses.IGNORE
    return logits, label


def test_weighted_cross_entropy_is_sklearns(example):
    logits, label = example
    class_weights = np.array([0.5, 1.0, 3.0], np.float32)
    weights = losses.pixel_weights(label, jnp.asarray(class_weights))
    loss = (weights * losses.cross_entropy(logits, label)).sum() / weights.sum()
    valid = label != losses.IGNORE
    probabilities = np.exp(logits[valid]) / np.exp(logits[valid]).sum(-1, keepdims=True)
    expected = log_loss(label[valid], probabilities, sample_weight=class_weights[label[valid]])
    assert np.isclose(loss, expected, rtol=1e-5)


def test_ignored_pixels_have_no_weight(example):
    _, label = example
    weights = losses.pixel_weights(label, jnp.ones(3))
    np.testing.assert_array_equal(weights == 0, label == losses.IGNORE)


def test_label_smoothing_mixes_in_the_uniform_target(example):
    logits, label = example
    smooth = losses.cross_entropy(logits, label, 0.3)
    per_class = [losses.cross_entropy(logits, np.full_like(label, c)) for c in range(3)]
    expected = 0.7 * losses.cross_entropy(logits, label) + 0.3 * np.mean(per_class, axis=0)
    valid = label != losses.IGNORE
    np.testing.assert_allclose(smooth[valid], expected[valid], rtol=1e-5)


def test_dice_is_zero_when_right_and_large_when_wrong(example):
    _, label = example
    label = label.copy()
    label[label == losses.IGNORE] = 0
    right = 100 * np.eye(3, dtype=np.float32)[label]
    wrong = 100 * np.eye(3, dtype=np.float32)[(label + 1) % 3]
    np.testing.assert_allclose(losses.dice_loss(right, label), 0, atol=1e-6)
    assert (losses.dice_loss(wrong, label) > 0.7).all()


def test_dice_does_not_see_ignored_pixels(example):
    logits, label = example
    changed = logits.copy()
    changed[label == losses.IGNORE] += 5 * np.arange(3)
    np.testing.assert_array_equal(losses.dice_loss(logits, label), losses.dice_loss(changed, label))
