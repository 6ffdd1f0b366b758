"""The rule covers groups that others miss, takes no copies, and depends on its input alone."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from analysis.label_next.rule import FARTHEST, choose

GROUPS, MANY = 9, 400


def on_sphere(points):
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope='module')
def planted():
    """A crowd of the most uncertain images, nine small groups, and far images that are certain.

    Returns points, uncertainty, group of each image (0 for the crowd, 10 for the certain ones), and
    which are labeled: one image near the crowd.
    """
    rng = np.random.default_rng(0)
    centers = np.linalg.qr(rng.normal(size=(32, 32)))[0]  # at a distance of √2 from each other
    group = np.repeat([0, *range(1, GROUPS + 1), GROUPS + 1], [MANY, *[3] * GROUPS, 12])
    center = centers[group]
    center[group == GROUPS + 1] = centers[GROUPS + 1 : GROUPS + 13]  # each alone
    points = on_sphere(center + 0.02 * rng.normal(size=center.shape))
    uncertainty = rng.uniform(0.3, 0.4, len(group))
    uncertainty[group == 0] = rng.uniform(0.5, 0.6, MANY)
    uncertainty[group == GROUPS + 1] = 0.001
    is_labeled = np.arange(len(group)) == 0
    return points, uncertainty, group, is_labeled


def test_every_group_is_covered_where_other_rules_fail(planted):
    points, uncertainty, group, is_labeled = planted
    order = choose(points, uncertainty, is_labeled, GROUPS)
    assert sorted(group[order.rows]) == list(range(1, GROUPS + 1))
    # The most uncertain ones are all of the crowd, which a labeled image covers already.
    most = np.argsort(-np.where(is_labeled, 0, uncertainty))[:GROUPS]
    assert set(group[most]) == {0}
    # Distance alone takes images that the network is certain of.
    far = choose(points, np.ones(len(points)), is_labeled, GROUPS + 12)
    assert np.isin(far.rows, np.flatnonzero(group == GROUPS + 1)).sum() == 12
    # By chance, nine images of 439 are one of each small group once in millions of draws.
    rng = np.random.default_rng(1)
    drawn = [rng.choice(np.flatnonzero(~is_labeled), GROUPS, False) for _ in range(2000)]
    assert max(len({*group[rows].tolist()} - {0, GROUPS + 1}) for rows in drawn) < GROUPS
    # Then the crowd again, and never the certain ones before all others of the groups.
    longer = choose(points, uncertainty, is_labeled, 60)
    assert (longer.rows[:GROUPS] == order.rows).all() and 0 in group[longer.rows]


def test_scores_are_what_they_are_said_to_be(planted):
    points, uncertainty, _, is_labeled = planted
    order = choose(points, uncertainty, is_labeled, 30)
    full = cdist(points.astype(np.float64), points.astype(np.float64))
    known = np.flatnonzero(is_labeled).tolist()
    for row, distance, score in zip(order.rows, order.distance, order.score, strict=True):
        to_known = full[:, known].min(1)
        assert distance == pytest.approx(to_known[row], abs=1e-5)
        assert score == pytest.approx(uncertainty[row] * distance)
        assert score >= (uncertainty * to_known)[~is_labeled].max() - 1e-5
        known.append(row)
    assert (np.diff(order.score) <= 1e-9).all()
    np.testing.assert_allclose(order.before, full[~is_labeled][:, 0], atol=1e-5)
    np.testing.assert_allclose(order.after, full[~is_labeled][:, known].min(1), atol=1e-5)


def test_labeled_images_and_copies_come_last(planted):
    points, uncertainty, group, is_labeled = planted
    # Each group once more: copies, some a little changed, the network as uncertain as anywhere.
    rng = np.random.default_rng(2)
    near = on_sphere(points + 1e-4 * rng.normal(size=points.shape))
    for copies in (points, near):
        both = np.concatenate([points, copies])
        sure = np.concatenate([uncertainty, 1.01 * uncertainty])
        labeled = np.concatenate([is_labeled, np.zeros_like(is_labeled)])
        order = choose(both, sure, labeled, 3 * GROUPS)
        assert not labeled[order.rows].any()
        place = order.rows % len(points)
        assert len(set(place.tolist())) == len(place)
        assert 0 not in place  # the copy of the labeled image
    everything = choose(points, uncertainty, is_labeled, 10**6)
    assert sorted(everything.rows) == np.flatnonzero(~is_labeled).tolist()
    assert everything.after.max() == 0
    exact = choose(both[[5, 5, 5, 300]], np.array([1, 3, 2, 0.1]), np.arange(4) == 0, 9)
    assert exact.rows.tolist() == [3, 1, 2] and exact.score.tolist()[1:] == [0, 0]


def test_ties_and_order_of_the_images(planted):
    axes = np.eye(4, dtype=np.float32)
    same = choose(axes, np.ones(4), np.zeros(4, np.bool_), 4)
    assert same.rows.tolist() == [0, 1, 2, 3]
    # Without a labeled image, the most uncertain one is first.
    first = choose(axes, np.array([1.0, 2, 3, 3]), np.zeros(4, np.bool_), 4)
    assert first.rows.tolist() == [2, 3, 1, 0] and first.distance[0] == FARTHEST
    # Where the network is certain of all, distance alone decides.
    points = on_sphere(np.array([[1, 0], [1, 0.1], [0, 1], [1, 1.0]]))
    certain = choose(points, np.zeros(4), np.arange(4) == 0, 3)
    assert certain.rows.tolist() == [2, 3, 1]

    points, uncertainty, _, is_labeled = planted
    once, again = (choose(points, uncertainty, is_labeled, 50) for _ in range(2))
    assert once.rows.tolist() == again.rows.tolist() and (once.score == again.score).all()
    mixed = np.random.default_rng(3).permutation(len(points))
    other = choose(points[mixed], uncertainty[mixed], is_labeled[mixed], 50)
    assert mixed[other.rows].tolist() == once.rows.tolist()


def test_what_cannot_be_ranked():
    points = np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match='all 3 images are labeled'):
        choose(points, np.ones(3), np.ones(3, np.bool_), 1)
    for wrong in (np.nan, -0.1):
        with pytest.raises(ValueError, match='negative or not a number'):
            choose(points, np.array([1, wrong, 1]), np.arange(3) == 0, 1)
