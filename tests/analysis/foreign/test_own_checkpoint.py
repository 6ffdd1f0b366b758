"""A network of ours, exported to ONNX and taken back, gives the results that it gave itself."""

import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from analysis import registry
from analysis.foreign import run_directory
from analysis.stage.run import open_analysis
from segmentation.config import read_config
from tests import onnx_models

onnx_network = pytest.importorskip('segmentation.export.onnx_network')


@pytest.fixture(scope='module')
def both(tiny_run, tmp_path_factory):
    """The analysis of a network, and that of its ONNX file."""
    folder = tmp_path_factory.mktemp('own')
    nothing = shutil.ignore_patterns('analysis')
    workdir = shutil.copytree(tiny_run, folder / 'run', ignore=nothing)
    config = json.loads((workdir / 'config.json').read_text())
    config['data']['val_splits'] = ['train']
    (workdir / 'config.json').write_text(json.dumps(config))
    ours = open_analysis(workdir)
    model = onnx_network.build(ours.run, logits=True)
    onnx_models.onnx.save(model, folder / 'ours.onnx')
    adapter = {
        'input': {'name': 'image', 'layout': 'NHWC', 'size': 'any'},
        'output': {'name': 'logits', 'layout': 'NHWC', 'form': 'logits'},
    }
    (folder / 'ours.adapter.json').write_text(json.dumps(adapter))
    source = run_directory.Source(onnx=folder / 'ours.onnx')
    config = read_config(workdir / 'config.json')
    run_directory.create(folder / 'foreign', source, config, config.data.label_space)
    return ours, open_analysis(folder / 'foreign')


def results(both, name):
    return [registry.load(name).get(analysis) for analysis in both]


def test_scores(both):
    ours, theirs = results(both, 'predictions')
    np.testing.assert_allclose(ours.column('loss'), theirs.column('loss'), atol=1e-4)
    for resolution in ('network', 'original'):
        counts = [each.confusions(resolution) for each in (ours, theirs)]
        assert np.abs(counts[0] - counts[1]).sum() <= 2e-4 * counts[0].sum()


def test_clusters_and_similar_images(both):
    embedded = results(both, 'embeddings')
    assert embedded[0].num_features == embedded[1].num_features
    np.testing.assert_allclose(*(each.points for each in embedded), atol=1e-3)
    ours, theirs = results(both, 'clusters')
    assert adjusted_rand_score(ours.label, theirs.label) >= 0.99
    near = [each.index[:, :10] for each in results(both, 'similar')]
    same = [len(set(a) & set(b)) / len(a) for a, b in zip(*near, strict=True)]
    assert np.mean(same) >= 0.99
