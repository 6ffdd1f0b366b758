"""The command on a tiny run, and what it keeps against what other analyses know."""

import argparse
import json
import shutil

import numpy as np
import pytest

from analysis.clusters import stage as clusters
from analysis.embeddings import stage as embeddings
from analysis.saliency import examples as saliency_examples
from analysis.saliency import scores as saliency_scores
from analysis.saliency import stage as saliency
from analysis.saliency import tables as saliency_tables
from analysis.stage import old_artifacts as artifacts
from segmentation import evaluate

LABEL = np.int32([0, 0, 1, 1, 1, 0])
OPTIONS = ['--images', '4', '--exemplars', '2', '--steps', '2', '--samples', '2']


@pytest.fixture(scope='module')
def workdir(tiny_run, tmp_path_factory):
    """A run with embeddings, and two clusters that somebody made."""
    folder = shutil.copytree(tiny_run, tmp_path_factory.mktemp('saliency') / 'run')
    assert embeddings.main(['--workdir', str(folder)]) == 0
    analysis = artifacts.open_analysis(folder)
    points = embeddings.load(analysis)
    centroids = np.stack([points[LABEL == k].mean(0) for k in (0, 1)])
    artifacts.save_arrays(analysis, 'clusters', clusters.VERSION, label=LABEL, centroids=centroids)
    described = {'clusters': [{'name': 'noise'}, {'name': 'more $noise$'}]}
    artifacts.save_json(analysis, 'clusters', clusters.VERSION, described)
    return folder


@pytest.fixture(scope='module')
def result(workdir, tmp_path_factory):
    path = tmp_path_factory.mktemp('json') / 'saliency.json'
    assert saliency.main(['--workdir', str(workdir), '--json', str(path), *OPTIONS]) == 0
    return json.loads(path.read_text())


@pytest.fixture(scope='module')
def analysis(workdir, result):
    return artifacts.open_analysis(workdir)


def test_scores_are_those_of_other_analyses(analysis):
    arrays = saliency.load(analysis)
    assert arrays['targets'].tolist() == ['person', 'car', 'loss', 'cluster']
    run = analysis.run
    known = evaluate.evaluate(
        evaluate.make_predict(run.model, run.config.data.input_range),
        run.variables,
        analysis.examples,
        num_classes=3,
        batch_size=8,
    )
    np.testing.assert_allclose(arrays['score'][:, 2], known['loss'], rtol=1e-4)
    predicted = known['network'].sum(1) / known['network'].sum((1, 2))[:, None]
    np.testing.assert_allclose(arrays['predicted'], predicted, atol=2e-3)
    np.testing.assert_array_equal(np.isnan(arrays['score'][:, :2]), predicted[:, 1:] == 0)
    points, centroids = embeddings.load(analysis), clusters.load(analysis)['centroids']
    squared = np.square(points[:, None] - centroids).sum(-1)
    margin = squared[np.arange(6), 1 - LABEL] - squared[np.arange(6), LABEL]
    np.testing.assert_allclose(arrays['score'][:, 3], margin, atol=1e-3)
    np.testing.assert_array_equal(arrays['other'], 1 - LABEL)


def test_maps(analysis):
    arrays = saliency.load(analysis)
    there = ~np.isnan(arrays['score'])
    assert arrays['gradient'].shape == (6, 4, 32, 32)
    assert (arrays['gradient'].max((2, 3)) == np.where(there, 255, 0)).all()
    for i, layer in enumerate(arrays['layers']):
        largest = np.abs(arrays[f'layer_{i}'].astype(int)).max((2, 3))
        assert (largest == np.where(there, 127, 0)).all(), layer
        assert np.abs(arrays[f'common_{i}']).sum(1).max() <= 1 + 1e-5
        assert arrays[f'agreement_{i}'].max() <= 1
    # What the loss depends on is not what membership depends on.
    assert not np.array_equal(arrays['gradient'][:, 2], arrays['gradient'][:, 3])


def test_examples(analysis, result):
    made = saliency_examples.load(analysis)
    assert sorted(made['cluster_label'].tolist()) == [0, 0, 1, 1]
    np.testing.assert_array_equal(LABEL[made['cluster_rows']], made['cluster_label'])
    assert np.abs(made['cluster_maps']).max((2, 3)).min() == 1
    judged = result['cluster']
    assert judged['images'] == 4 and set(judged['methods']) > set(saliency_examples.METHODS)
    for each in judged['methods'].values():
        np.testing.assert_allclose(each['deletion']['curve'][0], each['insertion']['curve'][-1])
    assert {row['group'] for row in result['energy']} == {'class person', 'class car'}
    blocks = result['shuffled_weights']['blocks']
    assert blocks[0] == 'decoder/logits' and blocks[-1] == 'encoder/Conv1' and len(blocks) == 23


def test_what_is_there_is_read(workdir, analysis, result, capsys):
    files = ['saliency.npz', 'saliency_examples.npz', 'saliency.json']
    before = [(analysis.folder / name).stat().st_mtime_ns for name in files]
    pictures = {path.name for path in analysis.folder.glob('saliency-*.png')}
    assert saliency.main(['--workdir', str(workdir), *OPTIONS]) == 0
    assert before == [(analysis.folder / name).stat().st_mtime_ns for name in files]
    assert {'saliency-clusters.png', 'saliency-cluster-0.png'} < pictures
    out = capsys.readouterr().out
    assert '| SmoothGrad |' in out and 'saliency-clusters.png' in out


def test_of_other_clusters_or_options_it_is_made_anew(workdir, tmp_path, monkeypatch, capsys):
    other = artifacts.open_analysis(shutil.copytree(workdir, tmp_path / 'run'))
    monkeypatch.setattr(saliency, 'compute', lambda *_: {'made': np.ones(1)})
    monkeypatch.setattr(saliency_examples, '_judge', lambda *_: ({}, {'made': np.ones(1)}))
    options = {'images': 4, 'exemplars': 2, 'steps': 2, 'samples': 2, 'categories': ''}

    def make(force=False, **changed):
        capsys.readouterr()
        found = saliency_scores.open_clusters(other)
        saliency.compute_or_load(other, found, force)
        arguments = argparse.Namespace(**options | changed, force=force)
        result = saliency_examples.judge_or_load(other, found, {}, arguments)
        assert result == {'options': options | changed}
        return capsys.readouterr().err

    make(force=True)
    assert make() == ''
    arrays = clusters.load(other)
    arrays['centroids'] = arrays['centroids'] * np.float32(0.9)  # the same members
    artifacts.save_arrays(other, 'clusters', clusters.VERSION, **arrays)
    with pytest.raises(ValueError, match='another clusters.npz'):
        saliency.load(other)
    said = make()
    assert 'saliency.npz is computed anew: clusters.npz has changed' in said
    assert 'saliency_examples.npz is computed anew: saliency.npz has changed' in said
    assert make() == ''
    assert 'samples 2 instead of 1' in make(samples=1)


def test_refusals(workdir, analysis, tmp_path, capsys):
    arguments = ['--workdir', str(workdir), *OPTIONS]
    assert saliency.main([*arguments, '--steps', '0']) == 1
    assert '--steps must be at least 1' in capsys.readouterr().err
    assert saliency.main([*arguments, '--categories', 'hand bag']) == 1
    assert "did you mean 'handbag'" in capsys.readouterr().err
    other = shutil.copytree(workdir, tmp_path / 'run')
    path = other / 'analysis' / analysis.folder.name / 'saliency.npz'
    path.write_bytes(path.read_bytes()[:1000])
    assert saliency.main(['--workdir', str(other), *OPTIONS]) == 1
    assert 'is damaged' in capsys.readouterr().err


def test_sample_is_even_and_without_repetition():
    predicted = np.zeros((60, 3))
    predicted[:40, 1] = 0.5
    predicted[30:36, 2] = 0.2
    predicted[50:, 2] = 0.005  # too little to be explained
    rows, classes = saliency_examples.sample_rows(predicted, 20)
    assert len(set(rows.tolist())) == len(rows) == 20
    assert np.bincount(classes).tolist() == [0, 14, 6]
    assert set(rows[classes == 2]) == set(range(30, 36))
    np.testing.assert_array_equal(rows, saliency_examples.sample_rows(predicted, 20)[0])
    assert len(saliency_examples.sample_rows(np.zeros((5, 3)), 20)[0]) == 0


def test_heat_shows_where_and_which_sign():
    image = np.full((32, 32, 3), 128, np.uint8)
    saliency_map = np.zeros((8, 8))
    saliency_map[1, 1], saliency_map[6, 6] = 1, -1
    drawn = saliency_tables.heat(image, saliency_map, signed=True).astype(int)
    (red, _, blue), (red_against, _, blue_against) = drawn[6, 6], drawn[26, 26]
    assert red > blue and blue_against > red_against
    assert drawn[6, 26].std() == 0  # gray where it says nothing
    unsigned = saliency_tables.heat(image, saliency_map, signed=False).astype(int)
    assert unsigned[6, 6].std() > 20 and unsigned[26, 26].std() == 0
