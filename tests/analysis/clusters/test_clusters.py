"""Planted clusters are found, and described by what differs."""

import dataclasses
import shutil

import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import adjusted_rand_score

from analysis.clusters import description, partition
from analysis.clusters import stage as clusters
from analysis.clusters.schema import Clusters, Difference
from analysis.embeddings import stage as embeddings
from analysis.similarity_map import stage as similarity_map
from analysis.similarity_map.schema import SimilarityMap
from analysis.stage import artifacts, storage
from analysis.stage.run import open_analysis


def planted(sizes=(60, 40, 30, 20, 10), seed=0):
    """Points around well separated centers, and their groups."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(len(sizes)), sizes)
    points = 5 * np.eye(8)[label] + 0.3 * rng.normal(size=(len(label), 8))
    order = rng.permutation(len(label))
    return points[order].astype(np.float32), label[order]


def test_planted_clusters_and_their_number_are_found():
    points, label = planted()
    found = partition.cluster(points, (2, 3, 4, 5, 6, 7))
    assert len(found.centroids) == 5
    np.testing.assert_array_equal(found.label, label)  # 0 is the largest
    np.testing.assert_allclose(
        found.centroids, [points[label == k].mean(0) for k in range(5)], atol=1e-5
    )
    assert adjusted_rand_score(label, found.density_label) > 0.95
    assert max(row.stability for row in found.tried) == found.tried[3].stability
    assert found.tried[3].stability == pytest.approx(1)
    np.testing.assert_allclose([cluster.stability for cluster in found.clusters], 1)
    assert found.density.stability > 0.95


def test_clusters_of_many_are_those_of_some(monkeypatch):
    points, label = planted((300, 200, 150, 100, 50))
    exact = partition.cluster(points, (4, 5, 6))
    assert exact.fitted is None and exact.density.assigned is None and not exact.note
    monkeypatch.setattr(partition, 'FITTED', 250)
    found = partition.cluster(points, (4, 5, 6))
    assert (found.num_images, found.fitted) == (800, 250)
    np.testing.assert_array_equal(found.label, label)
    assert adjusted_rand_score(label, found.density_label) > 0.9
    assert [cluster.size for cluster in found.clusters] == [300, 200, 150, 100, 50]
    np.testing.assert_allclose(found.centroids, exact.centroids, atol=0.3)
    dense = [cluster.size for cluster in found.density.clusters]
    assert dense == np.bincount(found.density_label[found.density_label >= 0]).tolist()
    assert dense == sorted(dense, reverse=True) and len(dense) == 5
    assert found.density.in_none == 800 - sum(dense)
    assert found.density.assigned > 0.9 and '250 random images' in found.note
    for k, cluster in enumerate(found.clusters):
        distance = np.linalg.norm(points - found.centroids[k], axis=1)
        distance[label != k] = np.inf
        assert cluster.exemplars == tuple(np.argsort(distance)[:8])


def test_clusters_of_many_are_in_the_order_of_their_sizes():
    """Also if those of the sample are not, and what belongs to a cluster stays with it."""
    points, label = planted((105, 100, 95), seed=3)
    rows = np.concatenate([np.flatnonzero(label == k)[: 10 * (k + 1)] for k in range(3)])
    some = partition.cluster(points[rows], (3,))
    named = [dataclasses.replace(each, stability=size) for size, each in
             zip((0.3, 0.2, 0.1), some.clusters, strict=True)]  # fmt: skip
    found = partition._extend(points, rows, dataclasses.replace(some, clusters=tuple(named)))
    np.testing.assert_array_equal(found.label, label)
    np.testing.assert_array_equal(found.centroids, some.centroids[::-1])
    assert [cluster.stability for cluster in found.clusters] == [0.1, 0.2, 0.3]
    np.testing.assert_array_equal(found.density_label, label)


def test_the_fewest_clusters_that_are_as_stable_count():
    """As stable as the most stable number but for a standard deviation over its resamples."""
    points = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    tried = range(2, 8)
    rand = {k: np.array(partition._k_means(points, k, 0)[2]) for k in tried}
    highest = max(tried, key=lambda k: rand[k].mean())
    enough = rand[highest].mean() - rand[highest].std()
    expected = min(k for k in tried if rand[k].mean() >= enough)
    assert expected < highest
    found = partition.cluster(points, tried)
    assert len(found.centroids) == expected
    np.testing.assert_allclose(
        [row.stability for row in found.tried], [*map(np.mean, rand.values())]
    )


def test_exemplars_are_members_and_near():
    points, label = planted()
    found = partition.cluster(points, (5,))
    for k in range(5):
        near, diverse = map(np.array, (found.clusters[k].exemplars, found.clusters[k].diverse))
        assert len(set(near)) == len(set(diverse)) == 8
        assert (label[near] == k).all() and (label[diverse] == k).all()
        distance = np.linalg.norm(points - found.centroids[k], axis=1)
        assert set(near) == set(np.argsort(distance)[:8])
        assert near[0] == diverse[0]

        def spread(rows):
            gaps = np.linalg.norm(points[rows][:, None] - points[rows], axis=-1)
            return gaps[np.triu_indices(8, 1)].min()

        if (label == k).sum() > 10:
            assert spread(diverse) > spread(near)


def test_few_points_and_repeatable():
    points, _ = planted((4, 3))
    found, again = (partition.cluster(points) for _ in range(2))
    assert len(found.centroids) == 2
    assert storage.to_json(found) == storage.to_json(again)
    for key in ('label', 'centroids', 'density_label'):
        np.testing.assert_array_equal(getattr(found, key), getattr(again, key))
    some = partition.cluster(points[:4])
    assert sum(len(cluster.exemplars) for cluster in some.clusters) == 4
    with pytest.raises(ValueError, match='too few'):
        partition.cluster(points[:3])
    with pytest.raises(ValueError, match='at least 2'):
        partition.cluster(points, (1, 4))


def table(**columns):
    fields = [pyarrow.field(name, array.type, metadata={'role': 'metadata'})
              for name, array in columns.items()]  # fmt: skip
    return pyarrow.table(list(columns.values()), schema=pyarrow.schema(fields))


def test_few_different_points():
    points = np.repeat([[0.0, 1.0], [1.0, 0.0]], [18, 12], axis=0)
    found = partition.cluster(points)
    assert [cluster.size for cluster in found.clusters] == [18, 12]
    assert [each.k for each in found.tried] == [2]
    for seed in range(5):  # copies can differ a little
        rng = np.random.default_rng(seed)
        near = rng.normal(size=(2, 64))[np.repeat([0, 1], [18, 12])] / 8
        near += rng.normal(0, 1e-7, near.shape)
        assert partition._count_different(near, 10) == 2
        assert [cluster.size for cluster in partition.cluster(near).clusters] == [18, 12]
    with pytest.raises(ValueError, match='All 30 images have the same embedding'):
        partition.cluster(np.ones((30, 2)))


def test_description_finds_what_was_planted_and_nothing_else():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], 80)
    # The racket is annotated in every other image only, and there in group 1.
    racket = np.where(label == 1, 1, 0)
    known = np.arange(240) % 2 == 0
    columns = {
        'count_tennis racket': pyarrow.array(racket, mask=~known),
        'brightness': pyarrow.array(rng.normal(size=240) + 2 * (label == 2)),
        **{f'noise{i}': pyarrow.array(rng.normal(size=240)) for i in range(20)},
        'constant': pyarrow.array(np.ones(240)),
    }
    described = description.describe(table(**columns), label)
    best = described[1][0]
    assert (best.column, best.inside, best.outside) == ('count_tennis racket', 1, 0)
    assert (best.n_inside, best.n_outside) == (40, 80)
    by_column = {row.column: row for row in described[2]}
    assert by_column['brightness'].effect > 0.7
    assert by_column['count_tennis racket'].effect == -0.5  # 0 of 40 against 40 of 80
    mentioned = {row.column for group in described for row in group}
    assert mentioned == {'count_tennis racket', 'brightness'}
    assert description.name(described[1]).startswith('tennis racket')
    assert description.name(described[2]).startswith('bright')
    assert description.name([]) == 'mixed images'
    assert '100% / 0%' in description.to_text(described[1])


def difference(column, inside, outside, effect):
    kind = 'share' if column.startswith('count_') else 'rank'
    return Difference(column, kind, inside, outside, effect, 0, 50, 500, 0.0)


def test_names_read_as_names_and_repeat_no_word():
    """The differences of clusters of photographs whose names were bad examples."""
    skis = [
        difference('count_skis', 0.6, 0.01, 0.59),
        difference('num_car', 0, 0, -0.4),
        difference('percent_car', 0, 0, -0.4),
    ]
    assert description.name(skis) == 'skis, hardly any car'
    food = [
        difference('sharpness', 300, 1500, -0.6),
        difference('num_instances', 0, 2, -0.5),
        difference('percent_person', 0, 9, -0.5),
        difference('count_pizza', 0.09, 0.01, 0.08),
        difference('count_cake', 0.07, 0.02, 0.05),
        difference('count_chair', 0.2, 0.14, 0.06),
    ]
    assert description.name(food) == 'pizza and cake, soft'
    assert description.name(food[:3]) == 'soft images, few instances, hardly any person'
    portraits = [
        difference('percent_person', 32, 3, 0.89),
        difference('mean_size_person', 26, 3, 0.83),
        difference('smallest_instance', 25, 2, 0.73),
        difference('count_person', 0.99, 0.75, 0.24),
        difference('truncated_share', 1, 0, 0.37),
        difference('count_tie', 0.14, 0.02, 0.12),
    ]
    assert description.name(portraits) == 'large person and tie, often cut off'
    sports = [
        difference('count_baseball bat', 0.5, 0, 0.5),
        difference('count_baseball glove', 0.5, 0, 0.5),
        difference('count_person', 0.2, 0.9, -0.7),
    ]
    assert description.name(sports) == 'baseball bat, hardly any person'
    of_class = [
        difference('count_Person', 0.9, 0.1, 0.8),
        difference('percent_person', 32, 3, 0.9),
    ]
    assert description.name(of_class) == 'Person'


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ['brightness', 'contrast', 'hue_std', 'num_instances', 'crowd_percent']
                + [f'{kind}_{name}' for name in ('car', 'fire truck', 'sports car')
                   for kind in ('count', 'num', 'percent', 'mean_size')]
            ),
            st.floats(0, 1), st.floats(0, 1), st.floats(-1, 1),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_no_name_repeats_a_word(rows):
    words = description.name([difference(*row) for row in rows]).replace(',', '').split()
    words = [word for word in words if word != 'and']
    assert words and len(set(words)) == len(words)


def test_many_columns_of_chance_describe_nothing():
    rng = np.random.default_rng(0)
    columns, label = {f'c{k}': rng.normal(size=80) for k in range(200)}, np.arange(80) % 2
    one_by_one = [
        stats.mannwhitneyu(column[label == 0], column[label == 1]).pvalue
        for column in columns.values()
    ]
    assert min(one_by_one) <= description.MOST_Q
    arrays = {name: pyarrow.array(column) for name, column in columns.items()}
    assert description.describe(table(**arrays), label) == [[], []]


def test_rank_comparison_is_mann_whitney():
    rng = np.random.default_rng(0)
    label = np.array([0] * 40 + [1] * 60)
    values = np.round(rng.normal(size=100) + label, 1)  # with ties
    [row] = description.describe(table(x=pyarrow.array(values)), label)[0]
    expected = stats.mannwhitneyu(values[:40], values[40:], method='asymptotic')
    assert row.p == pytest.approx(expected.pvalue)
    assert row.effect == pytest.approx(2 * expected.statistic / (40 * 60) - 1)


def test_commands(tiny_run, tmp_path, capsys):
    workdir = shutil.copytree(tiny_run, tmp_path / 'run')
    command = ['--workdir', str(workdir), '--split', 'train']
    analysis = open_analysis(workdir, 'train')
    embeddings.STAGE.get(analysis, layers=('decoder/*',))
    assert clusters.main(command) == 0
    assert 'HDBSCAN' in capsys.readouterr().out
    found = artifacts.load(analysis, Clusters)
    assert found.label.dtype == np.int32 and found.centroids.dtype == np.float32
    assert len(found.label) == len(analysis) and len(found.names) == len(found.centroids)
    for k, cluster in enumerate(found.clusters):
        assert cluster.size == (found.label == k).sum()
        assert (found.label[[*cluster.exemplars, *cluster.diverse]] == k).all()
        assert cluster.exemplar_ids == tuple(analysis.image_ids[list(cluster.exemplars)])
    before = (analysis.folder / 'clusters.npz').stat().st_mtime_ns
    assert clusters.main(command) == 0  # reads what is there
    assert (analysis.folder / 'clusters.npz').stat().st_mtime_ns == before
    capsys.readouterr()
    assert clusters.main([*command, '--tried', '2', '--seed', '1']) == 0
    assert 'clusters.json is recomputed: tried [4, 5' in capsys.readouterr().err
    assert [row.k for row in artifacts.load(analysis, Clusters).tried] == [2]
    assert similarity_map.main(command) == 0
    maps = artifacts.load(analysis, SimilarityMap)
    assert maps.map_2d.shape == (len(found.label), 2)
    assert maps.map_3d.shape == (len(found.label), 3)
    for name in ('clusters', 'similarity_map', 'similarity_map_images'):
        assert (analysis.folder / f'{name}.png').read_bytes()[:4] == b'\x89PNG'
    capsys.readouterr()
    assert similarity_map.main([*command, '--seed', '1']) == 0
    assert 'seed 0 instead of 1' in capsys.readouterr().err
    # Maps and clusters of other embeddings are refused by readers, and recomputed by the command.
    embeddings.STAGE.get(analysis, layers=('decoder/*',), seed=1)
    for kind in (Clusters, SimilarityMap):
        with pytest.raises(ValueError, match='older than embeddings'):
            artifacts.load(analysis, kind)
    capsys.readouterr()
    assert similarity_map.main([*command, '--seed', '1']) == 0
    said = capsys.readouterr().err
    for name in ('clusters', 'similarity_map'):
        assert f'{name}.json is recomputed: embeddings has changed' in said
    assert [row.k for row in artifacts.load(analysis, Clusters).tried] == [2]
    artifacts.load(analysis, SimilarityMap)
