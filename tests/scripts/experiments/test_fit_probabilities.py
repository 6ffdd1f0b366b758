"""The report of fit_probabilities.py: tenths, summary and reliability diagram."""

import json

import numpy as np
import pytest
from PIL import Image

from analysis.label_issues import probability
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


def test_a_trained_network_is_measured_on_scenes_of_other_seeds(tiny_run, tmp_path, monkeypatch):
    """Of so few images, no regression can be fitted; those of the package are measured."""
    monkeypatch.setattr(fit_probabilities.probability, 'fit', lambda *_: probability.fitted())
    command = ['--workdir', str(tmp_path), '--network', str(tiny_run), '--images', '8']
    assert fit_probabilities.main([*command, '--fit_seeds', '0', '--score_seeds', '1', '2']) == 0
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['fit_seeds'] == [0] and report['score_seeds'] == [1, 2]
    with_issues = [row for row in report['tenths'] if row['issues']]
    assert with_issues and all(0 <= row['observed'] <= 1 for row in with_issues)
    assert report['error_rate'] == 0.02
    with pytest.raises(SystemExit):  # the network's scenes are drawn
        fit_probabilities.main([*command, '--config.data.scenes.error_rate=0.05'])
    # The folders also name the network.
    drawn = {path.name.partition('-')[0] for path in tmp_path.glob('issues*-*')}
    assert drawn == {'issues0', 'issues1', 'issues2'}
    assert 'share of errors' in (tmp_path / 'report.md').read_text()
