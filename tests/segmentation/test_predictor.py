import shutil
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import special

import segmentation
from analysis import registry
from analysis.stage.run import open_analysis
from segmentation import evaluate
from segmentation.data import transforms
from tests.paths import ROOT

RNG = np.random.default_rng(0)


@pytest.fixture(scope='module')
def model(tiny_run):
    return segmentation.load(tiny_run)


def pixels(height, width):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_importing_the_package_imports_nothing_heavy():
    program = 'import sys, segmentation; print({"jax", "numpy", "PIL"} & set(sys.modules))'
    done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == 'set()\n', done.stderr


def test_prediction_is_the_evaluations_at_each_images_own_size(model):
    # More than a batch, and not a multiple of one.
    images = [pixels(20 + i, 70 - i) for i in range(model.batch_size + 3)]
    found = model.predict(images)
    assert len(found) == len(images)
    inputs = np.stack([model.read(image).pixels for image in images])
    predict = evaluate.make_predict(model.run.model, model.run.config.data.input_range)
    padded = np.pad(inputs, [(0, -len(inputs) % 8)] + [(0, 0)] * 3)
    logits = np.asarray(predict(evaluate.replicate(model.run.variables), padded))
    for image, prediction, expected in zip(images, found, logits, strict=False):
        shape = image.shape[:2]
        classes = evaluate.enlarge_and_classify(expected, *shape)
        assert prediction.classes.dtype == np.uint8 and prediction.classes.shape == shape
        assert (prediction.classes == classes).mean() > 0.999
        probabilities = special.softmax(evaluate.enlarge(expected, *shape), -1)
        np.testing.assert_allclose(prediction.probabilities, probabilities, atol=1e-5)


def test_arrays_paths_and_pillow_images_are_the_same_image(model, tmp_path):
    array = pixels(40, 60)
    path = tmp_path / 'a.png'
    Image.fromarray(array).save(path)
    with Image.open(path) as opened:
        forms = model.predict([array, path, str(path), Image.fromarray(array), opened])
    forms += model.predict(jnp.asarray(array)) + model.predict(jnp.asarray(array)[None])
    single, (batched, _) = model.predict(path), model.predict(np.stack([array, array]))
    for other in (*forms[1:], *single, batched):
        np.testing.assert_array_equal(other.probabilities, forms[0].probabilities)


@pytest.mark.parametrize('as_path', [True, False])
def test_exif_orientation_is_applied(model, tmp_path, as_path):
    upright = Image.fromarray(pixels(40, 60))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned by 90 degrees
    path = tmp_path / 'turned.png'
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    turned = model.predict(path if as_path else Image.open(path))[0]
    expected = model.predict(upright)[0]
    np.testing.assert_array_equal(turned.probabilities, expected.probabilities)


def test_files_are_read_as_in_the_evaluation(tiny_run, model, tmp_path):
    examples = open_analysis(tiny_run).examples
    for index in range(len(examples)):
        path = tmp_path / 'image'
        path.write_bytes(examples.record(index)['image'])
        np.testing.assert_array_equal(model.read(path).pixels, examples[index]['image'])


def test_large_jpeg_files_are_decoded_at_a_fraction_of_their_size(model, tmp_path):
    path = tmp_path / 'large.jpg'
    Image.fromarray(pixels(256, 320)).save(path)
    read = model.read(path)
    assert (read.height, read.width) == (256, 320)
    size = model.run.config.data.image_size
    decoded = transforms.decode_image(path.read_bytes(), (0, 0), size)
    assert decoded.size == (40, 32)
    resized = transforms.resize(decoded, size, (0.0, 0.0, 1.0, 1.0), True)
    np.testing.assert_array_equal(read.pixels, resized)


def test_flip_averages_with_the_mirrored_image(model):
    image = pixels(32, 32)
    plain, flipped = model.predict(image)[0], model.predict(image, flip=True)[0]
    mirrored = model.predict(image[:, ::-1].copy(), flip=True)[0]
    np.testing.assert_allclose(
        flipped.probabilities, mirrored.probabilities[:, ::-1], rtol=0, atol=1e-5
    )
    assert np.abs(plain.probabilities - flipped.probabilities).max() > 1e-4


def test_embeddings_are_those_of_the_stage_before_its_reduction(tiny_run, model, tmp_path):
    analysis = open_analysis(shutil.copytree(tiny_run, tmp_path / 'run'))
    paths = []
    for index in range(len(analysis)):
        paths.append(tmp_path / f'{index}.jpg')
        paths[-1].write_bytes(analysis.examples.record(index)['image'])
    found = model.embed(paths)
    result = registry.load('embeddings').get(analysis)
    np.testing.assert_allclose(result.reduction.project(found), result.points, atol=1e-3)


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((4, 4, 3), np.float32), r'uint8 \[H, W, 3\]; got float32'),
        (np.zeros((4, 4), np.uint8), r'uint8 \[H, W, 3\]; got uint8 \[4, 4\]'),
        (np.zeros((0, 4, 3), np.uint8), r'got uint8 \[0, 4, 3\]'),
        ('missing.jpg', 'Cannot read missing.jpg'),
        (['missing.jpg'], 'is a path, an image of Pillow, or an array .*; got list'),
    ],
)
def test_images_that_cannot_be_read_are_one_clear_error(model, image, message):
    with pytest.raises(ValueError, match=message):
        model.predict([image])


@pytest.mark.parametrize('images', [None, 3])
def test_what_is_neither_an_image_nor_several_is_one_clear_error(model, images):
    for function in (model.predict, model.embed):
        with pytest.raises(ValueError, match=f'got {type(images).__name__}'):
            function(images)


def test_no_images_give_no_predictions(model):
    assert model.predict([]) == []
    assert len(model.embed([])) == 0
