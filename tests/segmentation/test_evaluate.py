import threading

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import special
from sklearn.metrics import log_loss

from segmentation import evaluate, metrics
from segmentation.data.examples import open_data, select_examples

CLASSES = 3


@pytest.fixture
def examples(tiny_config):
    prepared = open_data(tiny_config.data)
    return select_examples(prepared, tiny_config.data, 'val')[0]


def test_scores_are_those_of_each_image_padding_not_counted(examples):
    """A random predictor, with batches that do not divide the six images evenly."""
    rng = np.random.default_rng(0)
    known = {examples[i]['image'].tobytes(): i for i in range(len(examples))}
    logits = rng.normal(size=(len(examples), 32, 32, CLASSES)).astype(np.float32)

    def predict(variables, images):
        chosen = [known.get(image.tobytes(), 0) for image in images]
        return logits[chosen]

    result = evaluate.evaluate(predict, {}, examples, num_classes=CLASSES, batch_size=4)
    np.testing.assert_array_equal(result['image_id'], examples.image_ids)
    for i in range(len(examples)):
        label = examples[i]['label']
        expected = metrics.confusion_matrix(label, logits[i].argmax(-1), CLASSES)
        np.testing.assert_array_equal(result['network'][i], expected)
        shifted = logits[i] - logits[i].max(-1, keepdims=True)
        log_probability = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
        nats = -np.take_along_axis(log_probability, label[..., None].astype(int), -1)
        assert np.isclose(result['loss'][i], nats.mean(), rtol=1e-4)


def test_two_batches_are_predicted_at_once_and_stay_in_order():
    both = threading.Barrier(2)

    def predict(factor, images):
        both.wait(timeout=60)
        return factor * images

    batches = [{'image': np.full(1, number)} for number in range(6)]
    found = list(evaluate.predictions(predict, 10, iter(batches)))
    assert [batch for batch, _ in found] == batches
    assert [result.item() for _, result in found] == [0, 10, 20, 30, 40, 50]


def test_a_batch_that_fails_raises_after_those_before_it():
    def predict(_, images):
        return 1 / images.item()

    stream = evaluate.predictions(predict, None, iter([{'image': np.array(n)} for n in (2, 1, 0)]))
    assert [next(stream)[1], next(stream)[1]] == [0.5, 1]
    with pytest.raises(ZeroDivisionError):
        next(stream)


def test_loss_of_an_image_is_the_mean_over_its_counted_pixels():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 8, 8, CLASSES)).astype(np.float32)
    label = rng.integers(0, CLASSES, (3, 8, 8)).astype(np.uint8)
    label[1, 2:], label[2] = metrics.IGNORE, metrics.IGNORE
    expected = [
        log_loss(labels[labels < CLASSES], seen[labels < CLASSES], labels=range(CLASSES))
        for labels, seen in zip(label[:2], special.softmax(logits[:2], -1), strict=True)
    ]
    np.testing.assert_allclose(evaluate.image_loss(logits, label), [*expected, 0], rtol=1e-5)


def test_enlarging_interpolates_before_it_compares():
    logits = np.zeros((2, 2, 2), np.float32)
    logits[:, 0, 0], logits[:, 1, 1] = 3, 1  # class 0 wins by 3 on the left, class 1 by 1
    label = evaluate.enlarge_and_classify(logits, 4, 8)
    assert label.dtype == np.uint8 and label.shape == (4, 8)
    # Half-pixel centers: the difference falls linearly from 3 at column 1.5 to -1 at column 5.5.
    np.testing.assert_array_equal(label[0], [0, 0, 0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize('height', [5, 16, 61])
def test_classes_are_the_argmax_of_enlarged_logits(height):
    rng = np.random.default_rng(height)
    for number in range(20):
        logits = rng.normal(size=(16, 16, 5)).astype(np.float32)
        logits[..., rng.integers(5)] -= rng.choice([0, 3, 9])  # of a class that wins nowhere, too
        if number % 2:
            logits = logits.round()  # ties
        classes = evaluate.enlarge_and_classify(logits, height, 40)
        enlarged = evaluate.enlarge(logits, height, 40)
        assert enlarged.shape == (height, 40, 5)
        # Only where two are equal but for rounding may another class win.
        found = np.take_along_axis(enlarged, classes[..., None].astype(np.int64), -1)[..., 0]
        assert (enlarged.max(-1) - found).max() < 1e-5
        assert (classes == enlarged.argmax(-1)).mean() > (0.97 if number % 2 else 0.9999)


def test_a_small_region_is_enlarged_as_the_whole_image():
    logits = np.zeros((16, 16, 3), np.float32)
    logits[..., 0] = 1
    logits[0, 5:7, 1] = logits[9:12, 15, 2] = 4
    for height, width in ((16, 16), (61, 45), (7, 100), (5, 3)):
        expected = evaluate.enlarge(logits, height, width).argmax(-1)
        assert set(np.unique(expected)) == {0, 1, 2} or height < 16
        np.testing.assert_array_equal(
            evaluate.enlarge_and_classify(logits, height, width), expected
        )


def test_same_size_is_argmax():
    logits = np.random.default_rng(0).normal(size=(16, 16, 3)).astype(np.float32)
    np.testing.assert_array_equal(evaluate.enlarge_and_classify(logits, 16, 16), logits.argmax(-1))


def test_full_label_is_the_networks_label_enlarged(examples):
    for i in range(len(examples)):
        full, label = examples.full_label(i), examples[i]['label']
        small = Image.fromarray(full).resize(label.shape[::-1], Image.Resampling.NEAREST)
        np.testing.assert_array_equal(np.asarray(small), label)
        np.testing.assert_array_equal(examples.label(i), label)


def test_batches_are_shared_by_any_number_of_devices(examples):
    """Four devices here, and a batch size of 3: three devices have a default of 32."""
    sizes = []

    def predict(variables, images):
        sizes.append(len(images))
        return np.zeros((*images.shape[:3], CLASSES), np.float32)

    result = evaluate.evaluate(predict, {}, examples, num_classes=CLASSES, batch_size=3)
    *_, predicted = evaluate.predict_some(predict, {}, examples, 2, batch_size=3)
    assert len(result['image_id']) == 6 and len(predicted) == 2
    assert sizes and {size % jax.local_device_count() for size in sizes} == {0}


def test_uneven_batch_is_named():
    class Model:
        def apply(self, *_, **__):
            raise AssertionError('must not be reached')

    predict = evaluate.make_predict(Model(), 'imagenet')
    with pytest.raises(ValueError, match='10 images do not divide evenly over 4 devices'):
        predict({}, np.zeros((10, 32, 32, 3), np.uint8))
