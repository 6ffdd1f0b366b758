"""Embeddings against references computed another way, on a tiny network."""

import json
import shutil

import jax
import numpy as np
import pytest

from analysis.embeddings import features, reduction
from analysis.embeddings import stage as embeddings
from analysis.embeddings.schema import Embeddings
from analysis.predictions import features as kept
from analysis.predictions import stage as predictions
from analysis.stage import artifacts
from analysis.stage.layers import DEEPEST
from analysis.stage.run import open_analysis
from segmentation import activations
from segmentation.models.unet import scale_images


@pytest.fixture
def analysis(tiny_run, tmp_path):
    return open_analysis(shutil.copytree(tiny_run, tmp_path / 'run'), 'train')


def fit(rows, dimensions, size=7):
    return reduction.fit(in_blocks(rows, size), ('layer',), dimensions)


def in_blocks(rows, size):
    return lambda: iter(np.split(rows, range(size, len(rows), size)))


def many_features():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(120, 20)) @ rng.normal(size=(20, 90)) + rng.normal(size=(120, 90))
    rows = rows * rng.uniform(0.01, 100, 90) + 1000
    rows[:, 7] = 3  # the same for all images
    return rows.astype(np.float32)


def test_fit_is_the_principal_components():
    rows = many_features()
    fitted = fit(rows, 8)
    wide = rows.astype(np.float64)
    varies = wide.std(0) > 0
    standard = (wide - wide.mean(0))[:, varies] / wide.std(0)[varies]
    _, values, components = np.linalg.svd(standard, full_matrices=False)
    np.testing.assert_allclose(fitted.explained, values[:8] ** 2 / (values**2).sum(), rtol=0.01)
    cosines = np.abs((fitted.components[varies] * components[:8].T).sum(0))
    np.testing.assert_allclose(cosines[:5], 1, atol=0.01)
    assert fitted.scale[7] == 0 and np.isfinite(fitted.scale).all()
    np.testing.assert_allclose(fitted.components.T @ fitted.components, np.eye(8), atol=1e-5)
    # Half-whitened: the standard deviation of a component is the fourth root of its variance.
    scores = standard @ components[:5].T
    expected = scores / scores.std(0) ** 0.5
    found = (wide - fitted.mean) * fitted.scale @ fitted.components[:, :5] * fitted.weights[:5]
    np.testing.assert_allclose(found.std(0), expected.std(0), rtol=0.01)
    expected = (wide - fitted.mean) * fitted.scale @ fitted.components * fitted.weights
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.project(wide), expected, rtol=1e-5)


def test_weights_multiply_the_standardized_features():
    rows, weights = many_features(), np.random.default_rng(1).uniform(0.2, 2, 90)
    weights[3], weights[7] = 30, 50  # the second is the same for all images
    fitted = reduction.fit(in_blocks(rows, 7), ('layer',), 8, weights=weights)
    plain = fit(rows, 8)
    np.testing.assert_allclose(fitted.scale, plain.scale * weights, rtol=1e-5)
    wide = rows.astype(np.float64)
    standard = (wide - wide.mean(0)) * fitted.scale
    values = np.linalg.svd(standard, compute_uv=False)
    np.testing.assert_allclose(fitted.explained, values[:8] ** 2 / (values**2).sum(), rtol=0.01)
    assert np.abs(fitted.components[:, 0]).argmax() == 3
    assert fitted.explained[0] > 5 * plain.explained[0]


def test_the_deepest_layer_has_its_share_of_the_variance():
    layers = {'encoder/Conv1_relu': 40, DEEPEST: 3, 'decoder/logits': 2}
    squares = np.square(embeddings.layer_weights(layers))
    assert squares[40:43].sum() / squares.sum() == pytest.approx(0.3)
    assert (np.delete(squares, [40, 41, 42]) == 1).all()
    for equal in ({'a': 3, 'b': 6}, {DEEPEST: 7}):
        assert embeddings.layer_weights(equal).tolist() == [1] * sum(equal.values())


def test_fit_does_not_depend_on_blocks_and_repeats():
    rows = many_features()
    first, again = (fit(rows, 8) for _ in range(2))
    other = fit(rows, 8, size=50)
    for key in ('mean', 'scale', 'components', 'weights', 'explained'):
        value = getattr(first, key)
        np.testing.assert_array_equal(value, getattr(again, key))
        np.testing.assert_allclose(value, getattr(other, key), rtol=1e-3, atol=1e-4)


def test_kept_features_are_those_of_the_network(analysis, monkeypatch):
    layers = list(activations.find_layers(analysis.run))[-1:3:-7]  # some, in another order
    rows = np.array([3, 0, 5])

    def stream():
        return np.concatenate(list(features.stream_features(analysis, layers, 'features', rows)))

    computed = stream()
    predictions.STAGE.get(analysis)
    assert kept.read(analysis, ['encoder/Conv1'], rows) is None  # of no such layer
    assert kept.read(analysis, layers, rows) is not None
    np.testing.assert_allclose(stream(), computed, rtol=1e-5, atol=1e-6)
    # A damaged file is not read, nor one that was deleted.
    path = analysis.folder / kept.FILE
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    assert kept.read(analysis, layers, rows) is None
    np.testing.assert_array_equal(stream(), computed)
    path.unlink()
    np.testing.assert_array_equal(stream(), computed)
    # Of many images none are kept.
    monkeypatch.setattr(kept, 'MOST', 2)
    predictions.STAGE.get(analysis, force=True)
    assert not path.exists()
    np.testing.assert_array_equal(stream(), computed)


def test_repeated_images_do_not_hide_what_a_new_image_is_near():
    rows = many_features()[:20]
    new = rows[5] + 1e-3
    for repeated in (rows, np.concatenate([rows, rows[:12]]), np.concatenate([rows[:6]] * 7)):
        fitted = fit(repeated, 30)
        assert fitted.components.shape[1] <= len(np.unique(repeated, axis=0)) - 1
        distances = np.linalg.norm(fitted.project(repeated) - fitted.project(new), axis=1)
        assert distances[5] < 0.1 and np.isfinite(distances).all()


def test_fewer_dimensions_than_asked_for():
    assert fit(many_features()[:5], 8).components.shape == (90, 4)
    with pytest.raises(ValueError, match='no features that vary'):
        fit(np.ones((5, 3), np.float32), 2)


def test_layers(analysis):
    layers = activations.find_layers(analysis.run, ('*',))
    names = list(layers)
    assert names[0] == 'encoder/Conv1' and names[-1] == 'decoder/logits'
    assert names.index('encoder/block_2_expand') < names.index('encoder/block_10_expand')
    assert layers['decoder/logits'] == 3 and layers['decoder/up_1_relu'] == 512
    chosen = activations.find_layers(analysis.run, ('decoder/up_?_relu',))
    assert list(chosen) == [f'decoder/up_{i}_relu' for i in (1, 2, 3, 4)]
    with pytest.raises(ValueError, match="No layer matches 'nothing'.*encoder/Conv1"):
        activations.find_layers(analysis.run, ('nothing',))


def test_features_are_averages_of_the_named_layers(analysis):
    run, image = analysis.run, analysis.examples[0]['image'][None]
    scaled = scale_images(image, 'imagenet')
    found = features.pooled_features(
        run.model, run.variables, scaled, ('encoder/Conv1', 'decoder/logits')
    )
    turned = features.pooled_features(
        run.model, run.variables, scaled, ('decoder/logits', 'encoder/Conv1')
    )
    np.testing.assert_array_equal(turned, np.roll(found, 3, axis=1))
    logits = run.model.apply(run.variables, scaled, train=False)
    np.testing.assert_allclose(found[:, -3:], logits.mean((1, 2)), rtol=1e-4, atol=1e-6)
    kernel = run.variables['params']['encoder']['Conv1']['kernel']
    stem = jax.lax.conv_general_dilated(
        scaled, kernel, (2, 2), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    np.testing.assert_allclose(found[:, :-3], stem.mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_command_and_new_images(analysis, tmp_path, capsys):
    workdir = str(analysis.run.workdir)
    command = ['--workdir', workdir, '--split', 'train', '--dimensions', '3']
    report = tmp_path / 'report.json'
    assert embeddings.main([*command, '--json', str(report)]) == 0
    found = artifacts.load(analysis, Embeddings)
    points = found.points
    assert points.shape == (len(analysis.examples), 3) and points.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-5)
    assert json.loads(report.read_text())['num_features'] == len(found.mean)
    assert embeddings.main([*command[:-1], '0']) == 1
    assert '--dimensions=0 must be at least 1' in capsys.readouterr().err
    images = np.stack([analysis.examples[i]['image'] for i in range(3)])
    embedded = features.embed(analysis.run, found.reduction, images)
    np.testing.assert_allclose(embedded, points[:3], atol=1e-3)

    before = (analysis.folder / 'embeddings.npz').stat().st_mtime_ns
    assert embeddings.main(command) == 0  # reads what is there
    assert (analysis.folder / 'embeddings.npz').stat().st_mtime_ns == before
    capsys.readouterr()
    assert embeddings.main([*command, '--layers', 'decoder/logits', '--seed', '1']) == 0
    said = capsys.readouterr().err
    assert "instead of ['decoder/logits'], seed 0 instead of 1." in said
    assert artifacts.load(analysis, Embeddings).reduction.layers == ('decoder/logits',)
    assert not [
        file for file in analysis.folder.iterdir() if not file.name.startswith('embeddings')
    ]


def test_damaged_embeddings_are_refused(analysis):
    embeddings.STAGE.get(analysis, layers=('decoder/logits',), dimensions=2)
    np.savez(analysis.folder / 'embeddings.npz', points=np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match='is damaged'):
        artifacts.load(analysis, Embeddings)
    (analysis.folder / 'embeddings.npz').unlink()
    with pytest.raises(ValueError, match='is damaged'):
        artifacts.load(analysis, Embeddings)
