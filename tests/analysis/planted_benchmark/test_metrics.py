import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from analysis.planted_benchmark import metrics as truth_metrics
from analysis.stats import rank_correlation


def test_color_histograms_of_known_pictures():
    images = np.zeros((3, 4, 4, 3), np.uint8)
    images[1, :2] = 255  # half black, half white
    images[2] = (200, 70, 10)
    found = truth_metrics.color_histograms(images)
    assert found.shape == (3, 64) and found.dtype == np.float32
    np.testing.assert_allclose(np.square(found).sum(1), 1, rtol=1e-6)
    assert found[0, 0] == 1
    np.testing.assert_allclose(found[1, [0, 63]], 0.5**0.5)
    assert found[2, 3 * 16 + 1 * 4 + 0] == 1


def test_precision_and_auroc_of_neighbors():
    neighbors = np.array([[1, 2], [0, 2], [3, 0], [2, 1]])
    kinds = np.array(['a', 'a', 'b', 'b'])
    assert truth_metrics.precision_at_k(neighbors, kinds) == 0.5
    positive = np.array([True, True, False, False])
    # Shares of positive neighbors: 1/2, 1/2, 1/2, 1/2; then all neighbors are of the same kind.
    assert truth_metrics.neighbor_auroc(neighbors, positive) == 0.5
    assert truth_metrics.neighbor_auroc(np.array([[1], [0], [3], [2]]), positive) == 1
    assert truth_metrics.neighbor_auroc(np.array([[2], [3], [0], [1]]), positive) == 0
    assert truth_metrics.neighbor_auroc(neighbors, np.zeros(4, bool)) is None


def test_slices_must_be_the_group_from_both_sides():
    planted = np.arange(100) < 10
    assert truth_metrics.slice_overlap(np.arange(100) < 20, planted) == {
        'precision': 0.5, 'recall': 1.0, 'found': True,
    }  # fmt: skip
    assert not truth_metrics.slice_overlap(np.arange(100) < 21, planted)['found']
    assert truth_metrics.slice_overlap(np.arange(100) < 5, planted)['found']
    assert not truth_metrics.slice_overlap(np.arange(100) < 4, planted)['found']


def test_average_precision_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    for _ in range(20):
        positive = rng.random(40) < 0.2
        positive[0] = True
        score = rng.integers(0, 15, 40).astype(float)  # with ties
        expected = sklearn_metrics.average_precision_score(positive, score)
        assert truth_metrics.average_precision(score, positive) == pytest.approx(expected)
    assert truth_metrics.average_precision(score, np.zeros(40, bool)) is None


def test_average_precision_by_hand():
    positive = np.array([True, False, True, True])
    score = np.array([4.0, 3.0, 2.0, -np.inf])
    assert truth_metrics.average_precision(score, positive) == pytest.approx(
        (1 + 2 / 3 + 3 / 4) / 3
    )


def test_what_is_never_retrieved_adds_nothing_to_a_detection():
    precision = truth_metrics.detection_precision
    positive = np.array([True, False, True, True])
    assert precision(np.array([4.0, 3, 2, -np.inf]), positive) == pytest.approx((1 + 2 / 3) / 3)
    ranked = truth_metrics.matched_regions(
        np.arange(10), np.ones(10, bool), np.ones(10), list(range(24))
    )
    assert precision(*ranked) == pytest.approx(10 / 24)
    assert precision(np.full(5, -np.inf), np.ones(5, bool)) == 0
    alarms = np.r_[np.arange(100.0), np.full(24, -np.inf)]
    assert precision(alarms, np.arange(124) >= 100) == 0
    assert precision(alarms, np.zeros(124, bool)) is None


def test_recall_at_the_planted_number():
    positive = np.array([True, False, True, True, False])
    recall = truth_metrics.recall_at_number
    assert recall(np.array([5.0, 4.0, 3.0, 2.0, 1.0]), positive) == pytest.approx(2 / 3)
    # One place is left for three of equal score, one of which is positive.
    assert recall(np.array([5.0, 1.0, 4.0, 1.0, 1.0]), positive) == pytest.approx((2 + 1 / 3) / 3)
    assert recall(np.array([5.0, 4.0, -np.inf, -np.inf, -np.inf]), positive) == pytest.approx(1 / 3)
    assert recall(np.zeros(5), np.zeros(5, bool)) is None


def test_softmin_is_near_the_worst_pixels():
    # cleanlab.internal.multilabel_scorer.softmin of the same, cleanlab 2.9.0
    found = truth_metrics.softmin_quality(np.array([0.9, 0.8, 0.1, 0.95]))
    assert found == pytest.approx(0.10107807, abs=1e-7)
    assert truth_metrics.softmin_quality(np.full(5, 0.7)) == pytest.approx(0.7)


def test_each_planted_error_is_found_once():
    image = np.array([7, 7, 8, 9, 7])
    overlap = np.array([True, True, True, False, False])
    score = np.array([0.5, 0.9, 0.8, 0.7, 0.1])
    # In 7 and 9 something was planted; 8 overlaps nothing that was, whatever is said.
    ranked, positive = truth_metrics.matched_regions(image, overlap, score, [7, 9])
    np.testing.assert_array_equal(ranked, [0.9, 0.8, 0.7, 0.1, -np.inf])
    np.testing.assert_array_equal(positive, [True, False, False, False, True])


def test_intervals_of_many_alike_images_cover_and_of_few_large_ones_do_not():
    rng = np.random.default_rng(0)
    num_images = 150
    size = np.full(num_images, 100.0)
    size[:3] = 4000  # class 2 is in three images only
    counts = np.zeros((num_images, 3, 3), np.int64)
    hit = rng.random(num_images)
    counts[:, 0, 0] = 1000
    counts[:, 1, 1], counts[:, 1, 0] = 100 * hit, 100 * (1 - hit)
    few = np.arange(num_images) < 3
    counts[few, 2, 2], counts[few, 2, 0] = [3000, 500, 10], [10, 500, 3000]
    found = truth_metrics.coverage(
        counts, ('background', 'a', 'b'), num_samples=150, num_resamples=200
    )
    assert 0.88 <= found['iou/a'] <= 0.99
    assert found['iou/b'] < 0.88
    again = truth_metrics.coverage(
        counts, ('background', 'a', 'b'), num_samples=150, num_resamples=200
    )
    assert found == again


def test_scores_that_do_not_exist_are_not_covered():
    counts = np.zeros((5, 2, 2), np.int64)
    counts[:, 0, 0] = 10
    found = truth_metrics.coverage(counts, ('background', 'a'), num_samples=2, num_resamples=10)
    assert found == {'iou/background': 1, 'image_iou/background': 1}


def test_false_discoveries_are_few_and_a_careless_test_makes_many(monkeypatch):
    rng = np.random.default_rng(0)
    columns = {f'c{i}': rng.standard_normal(60) for i in range(10)}
    performance = {'loss': columns['c0'] + 0.1 * rng.standard_normal(60)}
    confounders = {'loss': 'c1'}

    def count():
        return truth_metrics.false_discoveries(columns, performance, confounders, num_tables=60)

    assert count() <= 9  # 99.9 % of a binomial with 5 %
    found = rank_correlation.correlate(columns, performance, confounders)
    assert found['q'][0, 0] < 1e-6  # which is not permuted
    monkeypatch.setattr(rank_correlation, 'adjust', lambda p: p)
    assert count() > 20


def test_false_findings_are_counted():
    def find(order, seed):
        assert sorted(order) == list(range(10))
        return ['slice'] * (seed % 4 == 0)

    assert truth_metrics.false_findings(find, 10, 20) == 5


def test_intervals_of_shares():
    low, high = truth_metrics.share_interval(50, 1000)
    assert 0.036 < low < 0.05 < high < 0.066


def test_mean_over_seeds():
    found = truth_metrics.mean_over_seeds([0.5, 0.7, None, 0.6])
    assert found.mean == pytest.approx(0.6)
    low, high = found.interval
    assert high - 0.6 == pytest.approx(
        4.303 * 0.1 / 3**0.5, rel=1e-3
    ) and low + high == pytest.approx(1.2)
    assert found.values == (0.5, 0.7, None, 0.6)
    assert truth_metrics.mean_over_seeds([0.5]).interval is None
    assert truth_metrics.mean_over_seeds([0.5, 0.5]).interval == (0.5, 0.5)
    assert truth_metrics.mean_over_seeds([None]).mean is None
