"""Maps keep neighborhoods, and the judgement agrees with scikit-learn's."""

import dataclasses

import numpy as np
import pytest
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from analysis.similarity_map import stage as similarity_map
from analysis.similarity_map.schema import Quality, SimilarityMap


def groups(seed=0):
    rng = np.random.default_rng(seed)
    label = np.arange(150) % 5
    return (6 * np.eye(12)[label] + rng.normal(size=(150, 12))).astype(np.float32), label


def test_judgement_against_references():
    points, _ = groups()
    projected = points[:, :2]
    trust, recall = similarity_map.judge(points, projected)
    assert trust == pytest.approx(trustworthiness(points, projected, n_neighbors=10))
    near, map_near = (
        NearestNeighbors(n_neighbors=10).fit(x).kneighbors(return_distance=False)
        for x in (points, projected)
    )
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(near, map_near, strict=True)]
    assert recall == pytest.approx(np.mean(shared))
    assert similarity_map.judge(points, points) == (1, 1)
    trust, recall = similarity_map.judge(points, np.random.default_rng(0).normal(size=(150, 2)))
    assert 0.4 < trust < 0.6 and recall < 0.15


def test_judged_on_a_sample_of_many():
    points = np.random.default_rng(0).normal(size=(2300, 3)).astype(np.float32)
    trust, recall = similarity_map.judge(points, points[:, :2])
    assert trust == pytest.approx(trustworthiness(points, points[:, :2], n_neighbors=10), abs=0.01)
    assert 0 < recall < 1


@pytest.mark.parametrize('dimensions', [2, 3])
def test_map_keeps_neighbors_and_repeats(dimensions):
    points, label = groups()
    projected = similarity_map.project(points, dimensions)
    assert projected.shape == (150, dimensions) and projected.dtype == np.float32
    assert similarity_map.judge(points, projected)[0] > 0.9
    near = NearestNeighbors(n_neighbors=5).fit(projected).kneighbors(return_distance=False)
    assert (label[near] == label[:, None]).mean() > 0.9
    np.testing.assert_array_equal(projected, similarity_map.project(points, dimensions))


@pytest.mark.parametrize('dimensions', [2, 3])
def test_most_of_many_points_are_placed_beside_others(monkeypatch, dimensions):
    points, label = groups()
    monkeypatch.setattr(similarity_map, 'FITTED', 60)
    projected = similarity_map.project(points, dimensions)
    assert projected.shape == (150, dimensions) and projected.dtype == np.float32
    assert similarity_map.judge(points, projected)[0] > 0.8
    near = NearestNeighbors(n_neighbors=5).fit(projected).kneighbors(return_distance=False)
    assert (label[near] == label[:, None]).mean() > 0.8
    assert len(np.unique(projected, axis=0)) == 150
    np.testing.assert_array_equal(projected, similarity_map.project(points, dimensions))
    # Those that t-SNE placed are where it placed them; the others are nearer to one of them than
    # the others of these are.
    rows = np.sort(np.random.default_rng(0).choice(150, 60, replace=False))
    placed = similarity_map._t_sne(points[rows], dimensions, 0)
    np.testing.assert_array_equal(projected[rows], placed)
    host = NearestNeighbors(n_neighbors=1).fit(points[rows]).kneighbors(points)[1][:, 0]
    on_map = NearestNeighbors(n_neighbors=1).fit(placed).kneighbors(projected)[1][:, 0]
    np.testing.assert_array_equal(on_map, host)


def test_a_map_of_many_says_what_was_placed():
    quality = (Quality(2, 0.98, 0.3), Quality(3, 0.99, 0.4))
    maps = np.zeros((9, 2)), np.zeros((9, 3))
    exact = SimilarityMap(9, 10, quality, *maps)
    assert not exact.note and 't-SNE' not in similarity_map.table(exact)
    found = dataclasses.replace(exact, fitted=20_000)
    assert similarity_map.table(found).endswith(found.note) and '20,000 random' in found.note


def test_too_few_points():
    with pytest.raises(ValueError, match='too few'):
        similarity_map.project(np.eye(3, dtype=np.float32), 2)


@pytest.mark.parametrize('different', [2, 3])
def test_copies_of_a_few_images(different):
    """Their embeddings have fewer dimensions than the map."""
    points = np.eye(different, different - 1, dtype=np.float32).repeat(5, axis=0)
    for dimensions in (2, 3):
        placed = similarity_map.project(points, dimensions)
        assert placed.shape == (len(points), dimensions) and np.isfinite(placed).all()
    assert [similarity_map.num_judged(n) for n in (4, 8, 1000)] == [1, 3, 10]
