import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import segmentation
from segmentation import evaluate
from segmentation.data import transforms
from segmentation.export import proof, stablehlo

RNG = np.random.default_rng(0)
SIZES = [(20, 30), (32, 32), (75, 41), (49, 41), (160, 96)]


def noise(height, width):
    small = RNG.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize('size', [*SIZES, (480, 640), (1000, 333)])
def test_images_are_antialiased_exactly_as_pillow_does(size):
    image = noise(*size)
    expected = transforms.resize(Image.fromarray(image), 32, (0.0, 0.0, 1.0, 1.0), True)
    found = np.asarray(stablehlo.shrink(image[None], 32, True))[0]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('size', SIZES)
def test_images_are_interpolated_nearly_as_pillow_does(size):
    image = noise(*size)
    expected = transforms.resize(Image.fromarray(image), 32, (0.0, 0.0, 1.0, 1.0), False)
    found = np.asarray(stablehlo.shrink(image[None], 32, False))[0]
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.02


@pytest.mark.parametrize('size', SIZES)
def test_logits_are_enlarged_as_in_the_evaluation(size):
    logits = RNG.normal(size=(32, 32, 4)).astype(np.float32)
    expected = evaluate.enlarge_and_classify(logits, *size)
    found = np.asarray(stablehlo.enlarge_and_classify(logits[None], *size))[0]
    assert found.dtype == np.uint8 and (found == expected).mean() > 0.999


@pytest.fixture(scope='module')
def exported(tiny_run, tmp_path_factory):
    model = segmentation.load(tiny_run)
    path = tmp_path_factory.mktemp('stablehlo') / 'model.jax'
    stablehlo.write(model.run, path)
    return model, path


def test_the_file_runs_in_a_process_without_this_project(exported, tmp_path):
    model, path = exported
    images = np.stack([noise(48, 64), noise(48, 64)])
    np.save(tmp_path / 'images.npy', images)
    program = (
        'import sys, jax, numpy as np\n'
        'from jax import export\n'
        'exported = export.deserialize(bytearray(open(sys.argv[1], "rb").read()))\n'
        'found = exported.call(np.load("images.npy", allow_pickle=False))\n'
        'np.save("classes.npy", np.asarray(found))\n'
        'print(*exported.platforms, "segmentation" in sys.modules)\n'
    )
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    done = subprocess.run(
        [sys.executable, '-c', program, path], cwd=tmp_path, env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == 'cpu cuda tpu False\n', done.stderr
    found = np.load(tmp_path / 'classes.npy', allow_pickle=False)
    for classes, prediction in zip(found, model.predict(images), strict=True):
        assert (classes == prediction.classes).mean() > 0.99


def test_it_has_the_plain_convolutions(exported):
    _, path = exported
    text = jax.export.deserialize(bytearray(path.read_bytes())).mlir_module()
    platforms = len(stablehlo.PLATFORMS)
    # The encoder up to block 16, and the decoder.
    assert text.count('stablehlo.convolution') == platforms * (51 + 5)
    # Of the two resizes, the first in two orders and two parts; the project's forms for CPU have
    # dozens more.
    assert text.count('stablehlo.dot_general') == platforms * 10


def test_its_metadata_describe_classes_and_scaling(exported):
    _, path = exported
    metadata = json.loads(path.with_name('model.jax.json').read_text())
    assert json.loads(metadata['class_names']) == ['background', 'person', 'car']
    assert json.loads(metadata['class_colors'])[0] == [0, 0, 0]
    assert metadata['normalization'].startswith('x / 127.5 - 1')


def test_the_proof_runs_it(exported):
    _, path = exported
    assert proof.load_stablehlo(path)(noise(40, 44)).shape == (40, 44)
