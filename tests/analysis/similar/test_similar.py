"""Neighbors are the nearest ones, of images of the analysis and of any image file."""

import json
import shutil

import numpy as np
import pytest

from analysis.embeddings import stage as embeddings
from analysis.embeddings.schema import Embeddings
from analysis.similar import stage as similar
from analysis.similar.neighbors import neighbors
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
    assert (analysis.folder / 'similar-my_photo_.png').exists()
    other = tmp_path / 'other.png'
    other.write_bytes(coco_fixtures.picture(70, 30, 5, 'PNG'))
    assert similar.main([*command, '--image', str(other)]) == 0

    capsys.readouterr()
    assert similar.main([*command, '--image_id', '5']) == 1
    assert 'There is no image 5' in capsys.readouterr().err
    assert similar.main([*command, '--image', str(tmp_path / 'none.jpg')]) == 1
    assert 'Cannot read' in capsys.readouterr().err
