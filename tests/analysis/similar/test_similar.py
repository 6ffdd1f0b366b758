"""Neighbors are the nearest ones, of images of the analysis and of any image file."""

import json
import shutil
import warnings

import numpy as np
import pytest

from analysis.embeddings import stage as embeddings
from analysis.embeddings.schema import Embeddings
from analysis.similar import stage as similar
from analysis.similar.neighbors import _smallest, neighbors, recall
from analysis.similar.schema import Similar
from analysis.stage import artifacts
from analysis.stage.run import open_analysis
from tests import coco_fixtures


@pytest.fixture(scope='module')
def analysis(tiny_run, tmp_path_factory):
    workdir = shutil.copytree(tiny_run, tmp_path_factory.mktemp('similar') / 'run')
    analysis = open_analysis(workdir, 'train')
    embeddings.STAGE.get(analysis, layers=('decoder/*',))
    return analysis


def test_neighbors_are_the_nearest_in_blocks(monkeypatch):
    monkeypatch.setattr('analysis.similar.neighbors._DISTANCES', 600 * 100)  # six blocks
    points = np.random.default_rng(0).normal(size=(600, 5)).astype(np.float32)
    index, distance = neighbors(points, 7)
    gaps = np.linalg.norm(points[:, None].astype(np.float64) - points, axis=-1)
    np.fill_diagonal(gaps, np.inf)
    np.testing.assert_array_equal(index, np.argsort(gaps, axis=1)[:, :7])
    np.testing.assert_allclose(distance, np.sort(gaps, axis=1)[:, :7], atol=1e-5)
    queries = points[100:103] + 0.001
    index, _ = neighbors(points, 1, queries)
    np.testing.assert_array_equal(index[:, 0], [100, 101, 102])


def test_copies_are_neighbors_at_distance_0():
    points = np.ones((4, 3), np.float32)
    index, distance = neighbors(points, 10)
    np.testing.assert_array_equal(index, [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    np.testing.assert_array_equal(distance, 0)


def clustered(number, seed=0):
    """Points around 30 centers in 8 dimensions, with a mean far from 0."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(1).normal(size=(30, 8))
    points = 100 + centers[rng.integers(30, size=number)] + 0.2 * rng.normal(size=(number, 8))
    return points.astype(np.float32)


@pytest.mark.parametrize('own', [True, False])
def test_neighbors_of_many_points_are_nearly_the_nearest(monkeypatch, own):
    points, queries = clustered(1500), None if own else clustered(1100, 2)
    exact, _ = neighbors(points, 12, queries)
    assert recall(points, exact, queries) == 1
    for name, value in (('EXACT', 1000), ('_CELL', 10), ('_PROBES', 8)):
        monkeypatch.setattr(f'analysis.similar.neighbors.{name}', value)
    index, distance = neighbors(points, 12, queries)
    asked = points if own else queries
    gaps = np.linalg.norm(points[index].astype(np.float64) - asked[:, None], axis=-1)
    np.testing.assert_allclose(distance, gaps, rtol=1e-6)
    assert (np.diff(distance) >= 0).all()
    if own:
        assert (index != np.arange(1500)[:, None]).all()
    found = np.mean([len(set(a) & set(b)) / 12 for a, b in zip(index, exact, strict=True)])
    assert 0.9 < found < 1
    assert recall(points, index, queries) == pytest.approx(found, abs=0.01)  # on 250 queries


def test_few_queries_among_many_points_are_exact(monkeypatch):
    points, queries = clustered(1500), clustered(50, 2)
    exact, _ = neighbors(points, 12, queries)
    monkeypatch.setattr('analysis.similar.neighbors.EXACT', 1000)
    monkeypatch.setattr('analysis.similar.neighbors._PROBES', 1)
    np.testing.assert_array_equal(neighbors(points, 12, queries)[0], exact)


def test_many_copies(monkeypatch):
    monkeypatch.setattr('analysis.similar.neighbors.EXACT', 1000)
    monkeypatch.setattr('analysis.similar.neighbors._PROBES', 1)
    points = np.ones((1200, 3), np.float32)
    points[7] = 2
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # k-means finds fewer cells than it was asked for
        index, distance = neighbors(points, 3)
    assert (distance[7] > 1).all() and not np.delete(distance, 7, 0).any()
    assert (index != np.arange(1200)[:, None]).all()
    assert all(len(set(row)) == 3 for row in index.tolist())


def test_smallest_by_groups():
    values = np.random.default_rng(0).permuted(np.tile(np.arange(203.0), (50, 1)), axis=1)
    for k in (1, 5, 12, 40):
        columns = _smallest(values, k)
        np.testing.assert_array_equal(np.sort(np.take_along_axis(values, columns, 1))[0], range(k))


def test_artifact(analysis, capsys):
    command = ['--workdir', str(analysis.run.workdir), '--split', 'train']
    assert similar.main([*command, '--k', '3']) == 0
    assert artifacts.load(analysis, Similar).index.shape == (len(analysis.examples), 3)
    assert similar.main(command) == 0  # another number: computed again
    assert 'k 3 instead of 20' in capsys.readouterr().err
    assert artifacts.load(analysis, Similar).index.shape == (7, 6)
    # And of other embeddings.
    embeddings.STAGE.get(analysis, layers=('decoder/*',), seed=1)
    with pytest.raises(ValueError, match='older than embeddings'):
        artifacts.load(analysis, Similar)
    assert similar.main(command) == 0
    index, _ = neighbors(artifacts.load(analysis, Embeddings).points, 6)
    np.testing.assert_array_equal(artifacts.load(analysis, Similar).index, index)
    assert similar.main([*command, '--k', '0']) == 1
    assert 'at least 1' in capsys.readouterr().err


def test_an_approximate_search_says_so(analysis, monkeypatch, capsys):
    found = similar.compute(analysis)
    assert found.recall == 1 and not found.note
    monkeypatch.setattr('analysis.similar.neighbors.EXACT', 3)
    assert (
        similar.main(['--workdir', str(analysis.run.workdir), '--split', 'train', '--force']) == 0
    )
    assert artifacts.load(analysis, Similar).recall == 1  # all 7 images are in one cell
    monkeypatch.setattr('analysis.similar.stage.recall', lambda points, index: 0.912)
    found = similar.compute(analysis)
    assert 'approximate and finds 91.2% of the nearest images' in similar.table(found)


def test_queries(analysis, tmp_path, capsys):
    command = ['--workdir', str(analysis.run.workdir), '--split', 'train', '--k', '3']
    number, report = int(analysis.examples.image_ids[2]), tmp_path / 'report.json'
    assert similar.main([*command, '--image_id', str(number), '--json', str(report)]) == 0
    found = json.loads(report.read_text())
    all_near = neighbors(artifacts.load(analysis, Embeddings).points, 3)[0]
    expected = analysis.examples.image_ids[all_near[2]].tolist()
    assert [entry['image_id'] for entry in found['neighbors']] == expected
    assert (analysis.folder / f'similar-{number}.png').read_bytes()[:4] == b'\x89PNG'

    # The same image as a file finds itself.
    picture = tmp_path / 'my $photo$.jpg'
    picture.write_bytes(analysis.examples.record(2)['image'])
    assert similar.main([*command, '--image', str(picture), '--json', str(report)]) == 0
    nearest = json.loads(report.read_text())['neighbors'][0]
    assert nearest['image_id'] == number and nearest['distance'] < 0.1
    (figure,) = analysis.folder.glob('similar-my_photo_-*.png')
    drawn = figure.read_bytes()
    for name in ('other.png', '照片.png', '图片.png', f'{number}.png', 'my (photo).png'):
        other = tmp_path / name
        other.write_bytes(coco_fixtures.picture(70, 30, 5, 'PNG'))
        assert similar.main([*command, '--image', str(other)]) == 0
    # Each has a figure of its own.
    assert len(list(analysis.folder.glob('similar-*.png'))) == 7 and figure.read_bytes() == drawn

    capsys.readouterr()
    assert similar.main([*command, '--image_id', '5']) == 1
    assert 'There is no image 5' in capsys.readouterr().err
    assert similar.main([*command, '--image', str(tmp_path / 'none.jpg')]) == 1
    assert 'Cannot read' in capsys.readouterr().err
