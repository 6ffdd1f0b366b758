"""Precision, recall, F1 as scikit-learn has them; calibration against its definition."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow
import pytest
from sklearn.metrics import precision_recall_fscore_support

from analysis.mean_iou import rates
from analysis.mean_iou import stage as mean_iou
from analysis.mean_iou.schema import MeanIou
from analysis.predictions import calibration
from analysis.predictions.schema import Predictions
from analysis.predictions.stage import describe_batch
from analysis.stage import artifacts
from analysis.stage.forward import forward
from analysis.stage.run import open_analysis
from segmentation import boundaries, metrics
from segmentation.data.masks import IGNORE

NAMES = ('background', 'person', 'car')


def predictions_of(labels, predicted):
    """Predictions of some images, with what the rates are computed from."""
    rows = [
        {
            'confusion_original': metrics.confusion_matrix(*pair, 3).ravel(),
            'boundary_original': boundaries.boundary_counts(*pair, 3).ravel(),
        }
        for pair in zip(labels, predicted, strict=True)
    ]
    return Predictions(16, 3, pyarrow.Table.from_pylist(rows))


def test_rates_are_sklearns():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (5, 16, 16)).astype(np.uint8)
    labels[labels == 2] = np.where(rng.random((labels == 2).sum()) < 0.2, 2, IGNORE)
    predicted = np.where(rng.random(labels.shape) < 0.7, labels % 3, 1).astype(np.uint8)
    found = rates.measure_classes(predictions_of(labels, predicted), NAMES)
    valid = labels != IGNORE
    expected = precision_recall_fscore_support(labels[valid], predicted[valid])
    for k, name in enumerate(NAMES):
        mine = [found[name].precision, found[name].recall, found[name].f1]
        np.testing.assert_allclose([rate.value for rate in mine], [e[k] for e in expected[:3]])
        for rate in mine:
            assert rate.interval[0] <= rate.value <= rate.interval[1]


def test_absent_class_has_no_rates():
    labels, predicted = np.zeros((2, 2, 16, 16), np.uint8)
    predicted[0, :3] = 1
    found = rates.measure_classes(predictions_of(labels, predicted), NAMES)
    assert found['car'].precision.value is None and found['car'].only_band is None
    assert found['person'].precision.value == 0 and found['person'].recall.value is None
    assert found['person'].boundary_iou.value == 0


def test_calibration_error_and_reliability():
    """Half of the pixels are right with a confidence of 0.9, all others with 0.62."""
    right = np.array([True, False, True, True])
    confidence = np.array([0.9, 0.9, 0.62, 0.62])
    counts = calibration.bin_counts(right, confidence)
    assert counts[:, 0].sum() == 4 and counts[13].tolist() == [2, 1.8, 1]
    assert np.isclose(calibration.calibration_error(counts), 0.5 * 0.4 + 0.5 * 0.38)
    assert np.isnan(calibration.calibration_error(0 * counts))


def test_temperature_is_fitted_to_counted_pixels_only():
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
    label = rng.integers(0, 3, (2, 4, 4)).astype(np.uint8)
    label[:, :2] = 255
    log_probability = jax.nn.log_softmax(logits / 2.0)
    expected = -sum(
        log_probability[i, y, x, label[i, y, x]]
        for i, y, x in np.ndindex(2, 4, 4)
        if label[i, y, x] != 255
    )
    found = calibration._nats(jnp.asarray(logits), jnp.asarray(label), jnp.float32(2.0))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_temperature_makes_probabilities_right(analyzed_run):
    """The cross-entropy of the selection images has its minimum there."""
    found = calibration.fit_temperature(analyzed_run)
    held_out = open_analysis(analyzed_run.workdir, 'selection')

    def loss(temperature):
        total = 0.0
        for rows, batch, logits in forward(held_out, 'test'):
            label = batch['label'][: len(rows)]
            logs = jax.nn.log_softmax(jnp.asarray(logits)[: len(rows)] / temperature)
            own = np.take_along_axis(np.asarray(logs), np.minimum(label, 2)[..., None], -1)[..., 0]
            total -= float(own[label != IGNORE].sum())
        return total

    # The untrained network is far too certain, and beyond some temperature nothing changes.
    assert loss(found) < loss(1.0) and loss(found) < loss(found / 3)
    assert loss(found) <= loss(2 * found) * (1 + 1e-5)
    # Logits that are too certain by a known factor: scaling leaves no calibration error.
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 64, 64, 3)).astype(np.float32)
    probability = np.asarray(jax.nn.softmax(logits))
    label = (rng.random((4, 64, 64, 1)) > probability.cumsum(-1)).sum(-1).clip(0, 2)
    rows = describe_batch(jnp.asarray(3 * logits), label.astype(np.uint8), 3, temperature=3.0)
    table = pyarrow.Table.from_pylist(rows)
    measured = rates.measure_calibration(Predictions(64, 3, table, temperature=3.0))
    assert measured.error.value > 0.2 and measured.error_scaled.value < 0.02
    assert [sum(row) for row in measured.pixels] == [4 * 64 * 64] * 2


def test_result_has_everything_and_is_drawn(analyzed_run, tmp_path, capsys):
    assert mean_iou.main(['--workdir', str(analyzed_run.workdir), '--json', f'{tmp_path}/x']) == 0
    result = artifacts.load(analyzed_run, MeanIou)
    confusion = np.array(result.confusion)
    assert confusion.shape == (3, 3)
    truth = sum((analyzed_run.examples.full_label(i) != IGNORE).sum() for i in range(6))
    assert confusion.sum() == truth
    text = capsys.readouterr().out
    assert 'boundary IoU' in text and 'temperature' in text and 'predicted as car' in text
    assert json.loads((tmp_path / 'x').read_text())['classes']['person']['recall']['value'] >= 0
    assert (analyzed_run.folder / 'mean_iou.png').stat().st_size > 10_000


@pytest.mark.parametrize('bins', [1, 2])
def test_runs_without_held_out_images_have_no_temperature(bins):
    counts = np.zeros((2, bins, calibration.BINS, 3))
    counts[:, :, 5] = [10, 4, 6]
    rows = [{'reliability': each.ravel()} for each in counts]
    predicted = Predictions(8, 3, pyarrow.Table.from_pylist(rows), None if bins == 1 else 2.0)
    found = rates.measure_calibration(predicted)
    assert np.isclose(found.error.value, 0.2) and (found.error_scaled is None) == (bins == 1)
