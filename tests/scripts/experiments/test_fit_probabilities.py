"""The report of fit_probabilities.py: tenths, summary and reliability diagram."""

import numpy as np
import pytest
from PIL import Image

from scripts.experiments import fit_probabilities

PREDICTED = np.r_[np.full(60, 0.05), np.full(50, 0.25), np.full(4, 0.75), np.full(2, 1.0)]
REAL = np.r_[np.arange(60) < 3, np.arange(50) < 25, np.arange(4) < 3, [True, True]]


def test_tenths():
    rows = fit_probabilities.tenths(PREDICTED, REAL)
    assert [(row.low, row.issues) for row in rows] == [(0, 60), (0.2, 50), (0.7, 4), (0.9, 2)]
    assert [row.observed for row in rows] == pytest.approx([0.05, 0.5, 0.75, 1])
    assert [row.predicted for row in rows] == pytest.approx([0.05, 0.25, 0.75, 1])


def test_the_report_counts_what_is_expected_and_what_was_found(tmp_path):
    rows = fit_probabilities.tenths(PREDICTED, REAL)
    text = fit_probabilities.to_markdown(rows, PREDICTED, REAL)
    assert '| 0.7–0.8 | 4 | 0.750 | 0.750 |' in text
    assert '6 held-out issues' in text and '5 errors are expected among them, 5 were' in text
    # The small tenths do not count.
    assert 'Largest gap in a tenth with at least 50 issues: 0.250.' in text
    fit_probabilities.figure(rows, tmp_path / 'report.png')
    drawn = np.asarray(Image.open(tmp_path / 'report.png').convert('RGB'))
    assert drawn.shape[0] > 300 and drawn.std() > 5
