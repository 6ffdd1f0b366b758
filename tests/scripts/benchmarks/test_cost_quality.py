"""Cost and IoU of networks, from a report of reproduce.py and their own convolutions."""

import dataclasses
import json

import cost_quality
import numpy as np
import pytest

from analysis.experiments import reproduction
from configs import default
from segmentation.campaign import Scored

# Input size, width of the decoder, and its upsampling.
FIELDS = {
    'small': (32, 0.5, 'transposed'),
    'large': (64, 0.5, 'transposed'),
    'wide': (32, 1.0, 'transposed'),
    'repeated': (32, 0.5, 'nearest_conv'),
}
NAMES = ('background', 'person')


@pytest.fixture
def workdir(tmp_path):
    """A report on three networks; the second one is right more often."""
    rng = np.random.default_rng(0)
    scored = {}
    for name, share in zip(FIELDS, (0.5, 0.9, 0.5, 0.5), strict=True):
        right = rng.binomial(100, share, (2, 40))
        counts = np.zeros((2, 40, 2, 2), np.int64)
        counts[..., 0, 0] = 900
        counts[..., 1, 1], counts[..., 1, 0] = right, 100 - right
        targets = dict.fromkeys(FIELDS, counts)
        scored[name, 1.0] = Scored(targets, np.arange(40), np.zeros(40, np.int64), 100.0)
        config = default.get_config()
        config.model.width = 0.35
        config.data.image_size, config.model.decoder_width, config.model.upsampling = FIELDS[name]
        folder = tmp_path / name / 'seed0'
        folder.mkdir(parents=True)
        (folder / 'config.json').write_text(config.to_json())
    pairs = [('small', name) for name in ('large', 'wide', 'repeated')]
    report = reproduction.analyze(scored, dict.fromkeys(FIELDS, NAMES), pairs, 100)
    origin = {
        'command': 'reproduce', 'commit': 'abc', 'date': '2026-01-01', 'devices': ['cpu'],
        'seeds': [0, 1], 'fingerprint': '0', 'weights': {},
    }  # fmt: skip
    text = json.dumps({**dataclasses.asdict(report), 'origin': origin})
    (tmp_path / 'report.json').write_text(text)
    return tmp_path


def test_cost_and_iou_of_each_network(workdir, capsys):
    assert cost_quality.main([f'--workdir={workdir}', '--rounds=1']) == 0
    result = json.loads((workdir / 'cost.json').read_text())
    rows = small, large, wide, _ = result['tables']['cost']['rows']
    assert [row[0] for row in rows] == list(FIELDS)
    adds = [int(row[3]) for row in rows]
    assert adds[1] == pytest.approx(4 * adds[0], abs=4)  # four times the pixels
    assert 2 < adds[2] / adds[0] < 4  # the decoder's share, squared
    assert 2 < adds[3] / adds[0] < 4  # four times the decoder
    assert small[8] == '' and large[8]['value'] == pytest.approx(0.4, abs=0.05)
    assert large[8]['interval'][0] > 0.3 > wide[8]['interval'][1]
    assert all(rates[0] > 0 for rates in result['per_second'].values())
    assert (workdir / 'cost.png').stat().st_size > 5000
    assert '| large | 64 | 0.35, 0.5 |' in capsys.readouterr().out
    assert 'scripts/benchmarks/cost_quality.py' in result['origin']['command']


def test_a_directory_without_report_is_an_error(tmp_path, capsys):
    assert cost_quality.main([f'--workdir={tmp_path}']) == 1
    assert 'has no report.json of reproduce.py' in capsys.readouterr().err
