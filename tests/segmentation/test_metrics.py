import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from segmentation import markdown, metrics

NAMES = ('background', 'person', 'car')


@pytest.fixture
def maps():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (7, 16, 16)).astype(np.uint8)
    predicted = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 3, truth.shape))
    truth[:, :2] = 255
    return truth, predicted


def counts_of(truth, predicted):
    return np.stack(
        [metrics.confusion_matrix(t, p, 3) for t, p in zip(truth, predicted, strict=True)]
    )


def test_confusion_and_iou_are_sklearns(maps):
    truth, predicted = maps
    valid = truth != 255
    counts = counts_of(truth, predicted)
    np.testing.assert_array_equal(counts.sum(0), confusion_matrix(truth[valid], predicted[valid]))
    summary = metrics.summarize(counts, NAMES, num_resamples=0)
    expected = jaccard_score(truth[valid], predicted[valid], average=None)
    np.testing.assert_allclose(list(summary['iou'].values()), expected)
    per_image = [
        jaccard_score(t[v], p[v], average=None)
        for t, p, v in zip(truth, predicted, valid, strict=True)
    ]
    np.testing.assert_allclose(list(summary['image_iou'].values()), np.mean(per_image, axis=0))
    assert np.isclose(summary['mean_iou'], expected.mean())
    baseline = jaccard_score(
        truth[valid], np.zeros(valid.sum(), int), average=None, labels=[0, 1, 2]
    )
    assert np.isclose(summary['mean_iou_background_only'], baseline.mean())
    assert np.isclose(summary['mean_iou_foreground'], expected[1:].mean())
    assert np.isclose(summary['mean_image_iou'], np.mean(per_image, axis=0)[1:].mean())


def test_absent_class_is_left_out_and_wrongly_predicted_counts_as_zero():
    right = metrics.confusion_matrix(np.array([0, 1]), np.array([0, 1]), 3)
    invented = metrics.confusion_matrix(np.array([0, 0]), np.array([0, 1]), 3)
    without = metrics.confusion_matrix(np.array([0, 0]), np.array([0, 0]), 3)
    summary = metrics.summarize(np.stack([right, invented, without]), NAMES, num_resamples=50)
    assert summary['iou']['car'] is None and summary['image_iou']['car'] is None
    assert summary['intervals']['iou']['car'] == [None, None]
    assert summary['iou']['person'] == 0.5
    assert summary['image_iou']['person'] == 0.5  # (1 + 0) / 2; the third image does not count
    assert summary['mean_iou_foreground'] == 0.5
    assert summary['num_images_with_class']['person'] == 1
    assert 'None' not in markdown.iou_table(summary)
    json.dumps(summary, allow_nan=False)


def test_class_without_images_does_not_choose_the_checkpoint():
    """A wrong pixel of a class that no image shows changes the score by that pixel only."""
    truth = np.zeros((1, 10, 10), np.uint8)
    truth[0, :5] = 1
    names = ('background', 'person', 'car')

    def score(predicted):
        counts = metrics.confusion_matrix(truth[0], predicted, 3)[None]
        summary = metrics.summarize(counts, names, num_resamples=0)
        shown = metrics.only_shown(summary)
        assert shown['absent_class_rule'] != summary['absent_class_rule']
        assert shown['iou'][names[2]] is shown['image_iou'][names[2]] is None
        return shown['mean_iou_foreground'], summary['mean_iou_foreground']

    wrong = truth[0].copy()
    wrong[9, 9] = 2
    assert score(truth[0]) == (1.0, 1.0)
    assert score(wrong) == (1.0, 0.5)
    truth[:] = 0
    assert score(wrong) == (None, 0.0)


def test_percentile_interval_holds_95_percent():
    values = np.concatenate([np.linspace(0, 1, 1001), [np.nan] * 50])
    np.testing.assert_allclose(
        metrics.percentile_interval(np.stack([values, 2 * values, values * np.nan], 1)),
        [[0.025, 0.975], [0.05, 1.95], [np.nan, np.nan]],
    )


def test_interval_is_the_bootstrap_of_whole_images(maps):
    truth, predicted = maps
    counts = counts_of(truth, predicted)
    low, high = metrics.summarize(counts, NAMES, num_resamples=1000)['intervals']['iou']['person']
    rng = np.random.default_rng(1)
    resampled = [
        metrics.iou(counts[rng.integers(0, len(counts), len(counts))].sum(0))[1]
        for _ in range(1000)
    ]
    np.testing.assert_allclose([low, high], np.percentile(resampled, [2.5, 97.5]), atol=0.01)


def test_interval_covers_the_true_value_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    quality = lambda n: rng.beta(8, 4, n)  # noqa: E731 - share of person pixels found, per image
    covered, trials = 0, 200
    for _ in range(trials):
        found = (1000 * quality(80)).astype(int)
        counts = np.zeros((80, 2, 2), int)
        counts[:, 1, 1], counts[:, 1, 0], counts[:, 0, 0] = found, 1000 - found, 5000
        interval = metrics.summarize(counts, NAMES[:2], num_resamples=200)['intervals']['iou']
        covered += interval['person'][0] <= 8 / 12 <= interval['person'][1]
    assert 0.88 <= covered / trials <= 0.99


def test_a_mean_is_as_uncertain_as_the_rarest_class_that_is_shown():
    assert metrics.of_rarest(np.array([50.0, 7.0, 0.0, 3.5])) == 3.5
    assert metrics.of_rarest(np.array([50.0, 0.0])) == 0


def test_effective_images():
    counts = np.zeros((10, 2, 2), int)
    counts[:, 1, 1] = 5
    summary = metrics.summarize(counts, NAMES[:2], num_resamples=0)
    assert summary['effective_images']['person'] == pytest.approx(10)
    counts[0, 1, 1] = 10**6
    summary = metrics.summarize(counts, NAMES[:2], num_resamples=0)
    assert summary['effective_images']['person'] == pytest.approx(1, rel=0.01)


def test_nothing_that_counts_has_no_score():
    summary = metrics.summarize(np.zeros((3, 2, 2), int), ('background', 'a|b'))
    assert summary['mean_iou'] is summary['mean_iou_foreground'] is summary['iou']['a|b'] is None
    table = markdown.iou_table(summary)
    assert '| a\\|b | – | – | 0 | 0.0 |' in table
    assert 'nan' not in table + json.dumps(summary).lower()


def test_no_image_is_an_error():
    with pytest.raises(ValueError, match='No image'):
        metrics.summarize(np.zeros((0, 3, 3)), NAMES)


def test_more_images_than_small_weights_can_count():
    """Bootstrap weights are int16: 40,000 images with a class must not overflow them."""
    confusions = np.tile(np.array([[3, 1], [1, 3]]), (40_000, 1, 1))
    weights = np.ones((1, len(confusions)), np.int16)
    scores = metrics.weighted_scores(confusions, weights)
    np.testing.assert_allclose(scores['image_iou'], [[0.6, 0.6]])
    np.testing.assert_allclose(scores['iou'], [[0.6, 0.6]])
