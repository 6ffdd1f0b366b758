"""Groups of similar objects, on points of noise with and without a planted group."""

import numpy as np
import pyarrow
import pytest

from analysis.objects import blocks, groups, words
from analysis.objects.looks import BLOCKS


def noise(seed, num_images=150, per_image=3, dimensions=(6, 4)):
    """Points in two blocks, and the images of the objects."""
    rng = np.random.default_rng(seed)
    number = num_images * per_image
    points = rng.normal(size=(number, sum(dimensions))).astype(np.float32)
    sizes = dict(zip(('network', 'color'), dimensions, strict=True))
    return rng, points, sizes, np.repeat(np.arange(num_images), per_image)


def test_a_group_in_one_block_is_found_there():
    rng, points, sizes, images = noise(0)
    planted = rng.random(len(points)) < 0.1
    points[planted, 6:] = 2 + 0.2 * rng.normal(size=(planted.sum(), 4))
    bad = rng.normal(size=len(points)) + 2 * planted
    scores = groups.unexplained(bad, [rng.normal(size=len(points))])
    number, found = groups.find(points, sizes, np.full(len(points), 'a'), images, scores)
    assert number >= len(found) >= 1
    best = found[0]
    assert best.block == 'color' and best.p <= 0.025 and planted[best.center]
    assert planted[best.inside].mean() > 0.8 and best.inside[planted].mean() > 0.6
    assert planted[best.members[:10]].all()
    distance = np.linalg.norm(points[:, 6:] - points[best.center, 6:], axis=1)
    assert best.members.tolist() == np.argsort(distance)[: best.inside.sum()].tolist()


def test_groups_are_of_one_class():
    rng, points, sizes, images = noise(1)
    classes = np.where(rng.random(len(points)) < 0.5, 'a', 'b')
    points[:90, 6:] = 2  # of both classes, but bad in one
    bad = rng.normal(size=len(points)) + 3 * ((np.arange(len(points)) < 90) & (classes == 'a'))
    scores = np.zeros(len(points))
    for name in 'ab':
        scores[classes == name] = groups.unexplained(bad[classes == name], [])
    _, found = groups.find(points, sizes, classes, images, scores)
    assert found and all((classes[ball.inside] == 'a').all() for ball in found)


def test_objects_of_one_image_are_not_independent():
    """Scores and points are those of the image and have nothing to do with each other."""
    alarms = 0
    for seed in range(20):
        rng, points, sizes, images = noise(seed, 60, 6)
        points += 3 * rng.normal(size=(60, 10))[images].astype(np.float32)
        scores = groups.unexplained(rng.normal(size=60)[images] + 1e-3 * rng.random(360), [])
        alarms += bool(groups.find(points, sizes, np.full(360, 'a'), images, scores)[1])
    assert alarms <= 4  # 99.7 % of a binomial with 5 %


def test_what_columns_explain_is_taken_off():
    rng = np.random.default_rng(2)
    size = rng.lognormal(size=600)
    size[:50] = np.nan
    hidden = rng.random(600) < 0.2
    bad = np.where(np.isnan(size), 4, -np.log(np.nan_to_num(size, nan=1))) + hidden
    bad += 0.3 * rng.normal(size=600)
    scores = groups.unexplained(bad, [size])
    known = ~np.isnan(size)
    assert abs(np.corrcoef(scores[known], np.log(size[known]))[0, 1]) < 0.2
    assert abs(scores[~known].mean()) < 0.3
    assert scores[hidden].mean() - scores[~hidden].mean() > 1
    assert scores.mean() == pytest.approx(0, abs=1e-9)
    # A column that no object of the class has, such as the surroundings of a sky.
    nothing = np.full(600, np.nan)
    np.testing.assert_array_equal(groups.unexplained(bad, [size, nothing]), scores)


def test_blocks_have_the_same_say(tmp_path):
    rng = np.random.default_rng(0)
    layers = {'a': 5, 'b': 7}
    features = rng.normal(size=(60, 12 + sum(BLOCKS.values()))).astype(np.float32)
    features[:, 12:] *= 1e-3
    pieces = np.split(features, 4)
    points, sizes, explained = blocks.reduce(pieces, layers, 6, 0, tmp_path)
    assert sizes == {'network': 6, 'color': 6, 'shape': 6} and len(explained) == 6
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-4)
    for name in sizes:
        own = blocks.points_of(points, sizes, name)
        np.testing.assert_allclose(np.square(own).sum(1), 1 / 3, rtol=1e-4)
    # Without activations there are still the object's own pixels.
    without = [piece[:, 12:] for piece in pieces]
    other, sizes, explained = blocks.reduce(without, {}, 6, 0, tmp_path)
    assert sizes == {'color': 6, 'shape': 6} and explained == ()
    own = blocks.points_of(points, {'network': 6, **sizes}, 'color')
    np.testing.assert_allclose(other[:, :6] * np.sqrt(2 / 3), own, atol=1e-5)


def test_components_are_fitted_to_the_first_objects(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    layers = {'a': 9}
    features = rng.normal(size=(200, 9 + sum(BLOCKS.values()))).astype(np.float32)
    features[100:, 3] += 50
    pieces = np.split(features, 10)
    monkeypatch.setattr(blocks, 'FITTED', 90)  # reached with the fifth piece
    points, sizes, _ = blocks.reduce(pieces, layers, 6, 0, tmp_path)
    alone, of_alone, _ = blocks.reduce(pieces[:5], layers, 6, 0, tmp_path)
    assert len(points) == 200 and len(alone) == 100 and sizes == of_alone
    np.testing.assert_array_equal(points[:100], alone)
    monkeypatch.undo()
    every, _, _ = blocks.reduce(pieces, layers, 6, 0, tmp_path)
    assert np.abs(every[:100] - alone).max() > 0.01
    # Blocks that do not vary have no dimensions.
    features[:, :9] = 1
    _, sizes, explained = blocks.reduce(pieces, layers, 6, 0, tmp_path)
    assert sizes == {'color': 6, 'shape': 6} and explained == ()
    features[:] = 1
    same, sizes, _ = blocks.reduce(pieces, layers, 6, 0, tmp_path)
    assert same.shape == (200, 0) and sizes == {}
    # Too few for an embedding.
    few, sizes, explained = blocks.reduce([features[:3]], layers, 6, 0, tmp_path)
    assert few.shape == (3, 0) and sizes == {} and explained == ()


def test_components_are_those_of_the_covariance(tmp_path):
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(256, 256)))[0]
    made = rng.normal(size=(500, 2)) * (3, 1)
    shape = made @ axes[:2] + 5
    features = np.concatenate([np.zeros((500, BLOCKS['color'])), shape], 1).astype(np.float32)
    points, sizes, _ = blocks.reduce([features], {}, 24, 0, tmp_path)
    assert sizes == {'shape': 2}  # what does not vary is left out
    # Half-whitened: the ratio of the standard deviations is the root of what it was.
    centered = made - made.mean(0)
    half = centered / centered.std(0) ** 0.5
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    near = np.abs((half[:, None] * half).sum(-1)) - np.abs((points[:, None] * points).sum(-1))
    assert np.abs(near).mean() < 0.05


def test_names_say_what_others_have_not():
    number = 60
    inside = np.arange(number) < 20
    values = {name: np.full(number, 1.0) for name in words._PHRASES}
    values['pattern'] = np.where(inside, 30.0, 5.0) + np.arange(number) / 100
    values['area'] = np.arange(number) % 7 + 0.0
    values['upper_color'] = ['bright green' if here else 'red' for here in inside]
    values['lower_color'] = ['gray'] * number
    table = pyarrow.table(values)
    assert words.name(table, inside, ~inside) == 'bright green above, patterned'
    both = table.set_column(
        table.column_names.index('lower_color'), 'lower_color', table['upper_color']
    )
    assert words.name(both, inside, ~inside) == 'bright green, patterned'
    assert words.name(both, ~inside, inside) == 'red, plain'
    same = np.arange(number) % 2 == 0
    assert words.name(both, same, ~same) == 'alike'
