"""The command on a tiny run, and its maps against what other analyses know."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from analysis.clusters.schema import Cluster, Clusters, Density
from analysis.embeddings import stage as embeddings
from analysis.embeddings.schema import Embeddings
from analysis.predictions.schema import Predictions
from analysis.saliency import examples as saliency_examples
from analysis.saliency import stage as saliency
from analysis.saliency import tables as saliency_tables
from analysis.saliency.methods import pool
from analysis.saliency.schema import MAPS, SaliencyMaps, name_targets
from analysis.saliency.schema import Saliency as SaliencyResult
from analysis.saliency.scores import Scores, open_clusters
from analysis.stage import artifacts
from analysis.stage.run import open_analysis
from segmentation import evaluate

LABEL = np.int32([0, 0, 1, 1, 1, 0])
NAMES = 'noise', 'more $noise$'
OPTIONS = ['--images', '4', '--exemplars', '2', '--steps', '2', '--samples', '2']


def samples_of_clusters(analysis):
    for stage in saliency.clusters_stage.STAGE.reads:
        stage.prepare(analysis)


@pytest.fixture(scope='module')
def workdir(tiny_run, tmp_path_factory):
    """A run with embeddings, and two clusters that somebody made."""
    folder = shutil.copytree(tiny_run, tmp_path_factory.mktemp('saliency') / 'run')
    assert embeddings.main(['--workdir', str(folder)]) == 0
    analysis = open_analysis(folder)
    points = artifacts.load(analysis, Embeddings).points
    entries = tuple(Cluster(int((LABEL == k).sum()), name=name) for k, name in enumerate(NAMES))
    clusters = Clusters(
        num_images=6,
        tried=(),
        density=Density((), 6, None, None),
        clusters=entries,
        label=LABEL,
        centroids=np.stack([points[LABEL == k].mean(0) for k in (0, 1)]),
        density_label=np.full(6, -1, np.int32),
    )
    # As if the stage had computed it, so that it is up to date.
    reads = [stage.name for stage in saliency.clusters_stage.STAGE.reads]
    samples_of_clusters(analysis)
    artifacts.save(analysis, clusters, reads, saliency.clusters_stage.STAGE.defaults())
    return folder


@pytest.fixture(scope='module')
def result(workdir, tmp_path_factory):
    path = tmp_path_factory.mktemp('json') / 'saliency.json'
    assert saliency.main(['--workdir', str(workdir), '--json', str(path), *OPTIONS]) == 0
    return json.loads(path.read_text())


@pytest.fixture(scope='module')
def analysis(workdir, result):
    return open_analysis(workdir)


@pytest.fixture
def maps(analysis):
    return artifacts.load(analysis, SaliencyMaps, MAPS)


def test_classes_may_have_the_names_of_other_scores():
    assert name_targets(('background', 'cluster', 'loss', 'car'), True) == (
        'class cluster', 'class loss', 'car', 'loss', 'cluster',
    )  # fmt: skip


def test_scores_are_those_of_other_analyses(analysis, maps):
    assert maps.targets == ('person', 'car', 'loss', 'cluster')
    run = analysis.run
    known = evaluate.evaluate(
        evaluate.make_predict(run.model, run.config.data.input_range),
        run.variables,
        analysis.examples,
        num_classes=3,
        batch_size=8,
    )
    np.testing.assert_allclose(maps.score[:, 2], known['loss'], rtol=1e-4)
    predicted = known['network'].sum(1) / known['network'].sum((1, 2))[:, None]
    np.testing.assert_allclose(maps.predicted, predicted, atol=2e-3)
    np.testing.assert_array_equal(np.isnan(maps.score[:, :2]), predicted[:, 1:] == 0)
    points = artifacts.load(analysis, Embeddings).points
    centroids = artifacts.load(analysis, Clusters).centroids
    squared = np.square(points[:, None] - centroids).sum(-1)
    margin = squared[np.arange(6), 1 - LABEL] - squared[np.arange(6), LABEL]
    np.testing.assert_allclose(maps.score[:, 3], margin, atol=1e-3)
    np.testing.assert_array_equal(maps.other, 1 - LABEL)


def test_maps_are_scaled_layer_by_layer(analysis, maps):
    rows = np.arange(2)
    label = np.stack([analysis.examples[row]['label'] for row in rows])
    scores = Scores(analysis, open_clusters(analysis), artifacts.load(analysis, Predictions))
    x, which = scores.scale(scores.images(rows)), np.full((2, 1), maps.targets.index('loss'))
    found = scores.explain(x, scores.target(rows, label), which)
    for i, layer in enumerate(maps.layers):
        size = maps.layer_maps[layer].shape[-1]
        expected = pool(found.maps[layer], size)[:, 0]
        scale = maps.layer_scale[:2, which[0, 0], i, None, None]
        np.testing.assert_allclose(scale[:, 0, 0], np.abs(expected).max((1, 2)), rtol=1e-4)
        cells = maps.layer_maps[layer][:2, which[0, 0]] * scale / 127
        np.testing.assert_allclose(cells, expected, atol=0.51 * scale.max() / 127)


def test_maps(maps):
    there = ~np.isnan(maps.score)
    assert maps.gradient.shape == (6, 4, 32, 32)
    assert (maps.gradient.max((2, 3)) == np.where(there, 255, 0)).all()
    assert set(maps.layer_maps) == set(maps.layers) == set(maps.common)
    for layer in maps.layers:
        largest = np.abs(maps.layer_maps[layer].astype(int)).max((2, 3))
        assert (largest == np.where(there, 127, 0)).all(), layer
        assert np.abs(maps.common[layer]).sum(1).max() <= 1 + 1e-5
        assert maps.agreement[layer].max() <= 1
    # What the loss depends on is not what membership depends on.
    assert not np.array_equal(maps.gradient[:, 2], maps.gradient[:, 3])


def test_examples(analysis, result):
    made = artifacts.load(analysis, SaliencyResult).examples('cluster')
    assert sorted(made.label.tolist()) == [0, 0, 1, 1]
    np.testing.assert_array_equal(LABEL[made.rows], made.label)
    assert np.abs(made.maps).max((2, 3)).min() == 1
    judged = result['clusters']
    assert judged['images'] == 4 and set(judged['methods']) > set(saliency_examples.METHODS)
    for each in judged['methods'].values():
        np.testing.assert_allclose(each['deletion']['curve'][0], each['insertion']['curve'][-1])
    assert {row['group'] for row in result['energy']} == {'class person', 'class car'}
    blocks = result['shuffled_weights']['blocks']
    assert blocks[0] == 'decoder/logits' and blocks[-1] == 'encoder/Conv1' and len(blocks) == 23


def test_what_is_there_is_read(workdir, analysis, result, capsys):
    files = ['saliency_maps.json', 'saliency_maps.npz', 'saliency.json', 'saliency.npz']
    before = [(analysis.folder / name).stat().st_mtime_ns for name in files]
    pictures = {path.name for path in analysis.folder.glob('saliency-*.png')}
    assert saliency.main(['--workdir', str(workdir), *OPTIONS]) == 0
    assert before == [(analysis.folder / name).stat().st_mtime_ns for name in files]
    assert {'saliency-clusters.png', 'saliency-cluster-0.png'} < pictures
    out = capsys.readouterr().out
    assert '| SmoothGrad |' in out and 'saliency-clusters.png' in out


def test_other_clusters_or_options_are_computed_again(workdir, tmp_path, monkeypatch, capsys):
    other = open_analysis(shutil.copytree(workdir, tmp_path / 'run'))
    options = {'images': 4, 'exemplars': 2, 'steps': 2, 'samples': 2}
    before = saliency.STAGE.get(other, **options)
    maps = artifacts.load(other, SaliencyMaps, MAPS)
    monkeypatch.setattr(saliency, 'compute_maps', lambda *_: maps)
    monkeypatch.setattr(saliency_examples, 'explain', lambda *_: (np.zeros(1), None))
    monkeypatch.setattr(saliency_examples, 'shuffle_weights', lambda *_: None)
    assert saliency.STAGE.get(other, **options).clusters == before.clusters
    clusters = artifacts.load(other, Clusters)
    moved = dataclasses.replace(clusters, centroids=clusters.centroids * np.float32(0.9))
    stage = saliency.clusters_stage.STAGE
    artifacts.save(other, moved, [read.name for read in stage.reads], stage.defaults())
    with pytest.raises(ValueError, match='older than clusters'):
        artifacts.load(other, SaliencyMaps, MAPS)
    capsys.readouterr()
    assert saliency.STAGE.get(other, **options).clusters is None
    said = capsys.readouterr().err
    assert 'saliency.json is recomputed: clusters has changed' in said
    assert 'saliency_maps.json is recomputed: clusters has changed' in said
    saliency.STAGE.get(other, **options)
    assert capsys.readouterr().err == ''
    saliency.STAGE.get(other, **options | {'samples': 1})
    said = capsys.readouterr().err
    assert 'samples 2 instead of 1' in said and 'saliency_maps' not in said


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


def test_force_computes_maps_again_and_missing_maps_are_computed(workdir, result, tmp_path):
    other = open_analysis(shutil.copytree(workdir, tmp_path / 'run'))
    options = {'images': 4, 'exemplars': 2, 'steps': 2, 'samples': 2}
    maps = other.folder / 'saliency_maps.npz'
    maps.write_bytes(maps.read_bytes()[:1000])
    saliency.STAGE.get(other, force=True, **options)
    before = artifacts.load(other, SaliencyMaps, MAPS)
    (other.folder / 'saliency_maps.json').unlink()
    saliency.STAGE.get(other, **options)
    after = artifacts.load(other, SaliencyMaps, MAPS)
    np.testing.assert_array_equal(after.gradient, before.gradient)


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
