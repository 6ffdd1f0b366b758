"""The command on a tiny run, and the ImageNet baseline next to the encoder itself."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.experiments import categories
from analysis.planted_benchmark import scoring
from analysis.stage.run import open_analysis
from scripts.experiments import score_on_categories as command
from segmentation.models import mobilenet_v2, pretrained
from tests.segmentation.models.test_pretrained import write_keras_file


@pytest.fixture(scope='module')
def encoder():
    """MobileNetV2 of the width of the tiny run, and its variables."""
    network = mobilenet_v2.MobileNetV2(0.35, taps=('out_relu',))
    image = jnp.zeros((1, 32, 32, 3))
    return network, jax.jit(lambda key: network.init(key, image, train=False))(jax.random.key(5))


@pytest.fixture
def weights_file(encoder, tmp_path):
    weights = {}
    for tree in jax.device_get(encoder[1]).values():
        for layer, arrays in tree.items():
            weights.setdefault(layer, {}).update(arrays)
    return write_keras_file(tmp_path / 'imagenet.h5', weights)


def test_imagenet_points_are_the_last_activations(encoder, weights_file, tiny_run, tmp_path):
    analysis = open_analysis(shutil.copytree(tiny_run, tmp_path / 'run'))
    found = command.imagenet_points(analysis, pretrained.load_weights(weights_file, 0.35, 224))
    network, variables = encoder
    images = np.stack([analysis.examples[row]['image'] for row in range(len(analysis))])
    last = network.apply(variables, images / np.float32(127.5) - 1, train=False)['out_relu']
    expected = np.asarray(last).mean((1, 2))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert found == pytest.approx(expected, abs=1e-4)
    assert np.ptp(found, axis=0).max() > 0.01


def test_command_scores_a_run(tiny_run, weights_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(categories, 'LEAST_IMAGES', 2)
    workdir = shutil.copytree(tiny_run, tmp_path / 'run')
    arguments = ['--workdir', str(workdir)]
    assert command.main(arguments) == 1
    assert 'started from random weights' in capsys.readouterr().err
    arguments += ['--pretrained', str(weights_file), '--json', str(tmp_path / 'out.json')]
    assert command.main(arguments) == 0
    text = capsys.readouterr().out
    result = json.loads((tmp_path / 'out.json').read_text())
    # Person and car are classes.
    assert set(result['categories']) == {'bus', 'handbag'}
    assert result['complete'] == 6
    # Of 6 images, all others are neighbors.
    assert set(result['lift']) == {
        'ours', 'ImageNet encoder', 'random encoder', 'color histograms',
    }  # fmt: skip
    for name in result['lift']:
        assert result['lift'][name]['value'] == pytest.approx(1)
    assert 'imagenet.h5' in result['origin']['weights']
    (folder,) = (workdir / 'analysis').glob('val-*/categories')
    assert (folder / 'report.md').read_text().strip() == text.strip()
    assert json.loads((folder / 'report.json').read_text()) == result
    assert (folder / 'report.png').stat().st_size > 1000

    def again(*_):
        raise ValueError('computed again')

    monkeypatch.setattr(scoring, 'baselines', again)
    assert command.main(arguments) == 0
    assert command.main([*arguments, '--force']) == 1
    assert 'computed again' in capsys.readouterr().err


def test_areas_are_those_of_the_instances_of_each_image(tiny_run, tmp_path):
    analysis = open_analysis(shutil.copytree(tiny_run, tmp_path / 'run'))
    rows = np.array([4, 1])
    found = command.areas(analysis, rows, ['handbag', 'bus'])
    for place, row in enumerate(rows.tolist()):
        instances = analysis.examples.record(row)['instances']
        for column, kind in enumerate((31, 6)):
            mine = (instances['category_id'] == kind) & ~instances['is_crowd']
            assert found[place, column] == pytest.approx(instances['area'][mine].sum())
    assert found.any()
