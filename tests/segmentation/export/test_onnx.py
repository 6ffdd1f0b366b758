import dataclasses
import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import segmentation
from analysis.stage.run import open_examples
from analysis.stats.bootstrap import bootstrap_weights
from scripts import export
from segmentation.data import transforms
from segmentation.export import proof
from segmentation.models.unet import build_model
from segmentation.predictor import Model
from tests.segmentation.export.test_stablehlo import SIZES, noise

onnx = pytest.importorskip('onnx', reason="pip install -e '.[onnx]'")
pytest.importorskip('onnxruntime', reason="pip install -e '.[onnx]'")
onnx_graph, onnx_network, quantize = (
    importlib.import_module(f'segmentation.export.{name}')
    for name in ('onnx_graph', 'onnx_network', 'quantize')
)


@pytest.fixture(scope='module')
def model(tiny_run):
    return segmentation.load(tiny_run)


def with_other_statistics(run, **fields):
    """The run with another network, and random parameters and statistics."""
    config = run.config.copy_and_resolve_references().unlock()
    for name, value in fields.items():
        group = config.model if name in config.model else config.data
        group[name] = value
    network = build_model(config.model, len(run.class_names))
    side = config.data.image_size
    shapes = jax.eval_shape(
        lambda key: network.init(key, jnp.zeros((1, side, side, 3)), train=False), jax.random.key(0)
    )
    rng = np.random.default_rng(0)
    variables = jax.tree.map_with_path(
        lambda path, leaf: (
            rng.uniform(0.5, 1.5, leaf.shape).astype('f')
            if path[-1].key in ('var', 'scale')
            else rng.normal(0, 0.1, leaf.shape).astype('f')
        ),
        shapes,
    )
    return dataclasses.replace(run, config=config.lock(), model=network, read=lambda: variables)


@pytest.mark.parametrize(
    'fields',
    [
        {'image_size': 45, 'input_range': 'unit', 'antialias': False},  # odd sizes at every scale
        {'image_size': 45, 'norm': 'instance', 'upsampling': 'nearest_conv'},
    ],
    ids=str,
)
def test_logits_are_those_of_the_network(model, tmp_path, fields):
    run = with_other_statistics(model.run, **fields)
    side = run.config.data.image_size
    image = noise(side // 4 * 4 + 4, 64)[:side, :side]  # is not resized
    image = np.pad(image, [(0, 0), (0, side - image.shape[1]), (0, 0)])
    expected = next(Model(run).logits([image]))
    for for_int8 in (False, True):
        path = tmp_path / 'model.onnx'
        built = onnx_network.build(run, logits=True, for_int8=for_int8)
        path.write_bytes(built.SerializeToString())
        found = proof.load_onnx_runtime(path)(image)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.fixture(scope='module')
def exported(model, tmp_path_factory):
    path = tmp_path_factory.mktemp('onnx') / 'model.onnx'
    onnx_network.write(model.run, path)
    return path


@pytest.mark.parametrize('size', SIZES)
def test_classes_are_those_of_the_project_at_any_size(model, exported, size):
    image = noise(*size)
    found = proof.load_onnx_runtime(exported)(image)
    assert found.dtype == np.uint8 and found.shape == size
    assert (found == model.predict(image)[0].classes).mean() > 0.999


@pytest.mark.parametrize('size', [*SIZES, (480, 640), (1000, 333)])
def test_images_are_antialiased_exactly_as_pillow_does(size, tmp_path):
    graph = onnx_graph.Graph()
    images = graph.input('image', onnx.TensorProto.UINT8, ['batch', 'height', 'width', 3])
    x = onnx_graph.shrink(graph, images, 32, antialias=True, integer=False)
    built = graph.model(x, onnx.TensorProto.FLOAT, ['batch', 3, 32, 32], {})
    (tmp_path / 'shrink.onnx').write_bytes(built.SerializeToString())
    image = noise(*size)
    expected = transforms.resize(Image.fromarray(image), 32, (0.0, 0.0, 1.0, 1.0), True)
    found = proof.load_onnx_runtime(tmp_path / 'shrink.onnx')(image)
    np.testing.assert_array_equal(found.transpose(1, 2, 0), expected)


def test_metadata_and_batches(model, exported):
    entries = {entry.key: entry.value for entry in onnx.load(exported).metadata_props}
    assert json.loads(entries['class_names']) == list(model.class_names)
    onnxruntime = importlib.import_module('onnxruntime')
    session = onnxruntime.InferenceSession(exported)
    images = np.stack([noise(40, 44), noise(40, 44)])
    together = session.run(None, {'image': images})[0]
    for image, classes in zip(images, together, strict=True):
        np.testing.assert_array_equal(session.run(None, {'image': image[None]})[0][0], classes)


def test_int8_is_small_and_calibrated_on_training_images_only(model, exported, tmp_path):
    training = open_examples(model.run, 'train')[0]
    images = list(proof.calibration_images(training, 100, training.image_ids[:2]))
    assert len(images) == len(training) - 2
    with pytest.raises(ValueError, match='none can calibrate'):
        next(proof.calibration_images(training, 100, training.image_ids))
    path = tmp_path / 'int8.onnx'
    quantize.write(model.run, path, images)
    quantized = onnx.load(path)
    kinds = {node.op_type for node in quantized.graph.node}
    assert 'QuantizeLinear' in kinds and 'ConvTranspose' not in kinds
    dequantized = {
        name
        for node in quantized.graph.node
        if node.op_type == 'DequantizeLinear'
        for name in node.output
    }
    convolutions = [node for node in quantized.graph.node if node.op_type == 'Conv']
    in_float = [node for node in convolutions if node.input[1] not in dequantized]
    assert in_float == convolutions[:9] and len(convolutions) > 50
    # The constants of so narrow a network are small, so the size is less than it would be.
    assert path.stat().st_size < 0.6 * exported.stat().st_size
    assert {'class_names', 'quantization'} <= {entry.key for entry in quantized.metadata_props}
    image = noise(64, 80)
    agreement = proof.load_onnx_runtime(path)(image) == model.predict(image)[0].classes
    assert agreement.mean() > 0.7


def test_the_proof_counts_agreement_and_the_difference_of_iou(model, exported):
    examples = open_examples(model.run, 'val')[0]
    runners = {'same': proof.load_onnx_runtime(exported), 'none': lambda image: image[..., 0] * 0}
    found = proof.compare(model, examples, runners, logits=False)
    assert found[''].agreement == 1 and found['same'].agreement > 0.98
    assert found['same'].pixels == found['none'].pixels
    weights = bootstrap_weights(len(examples), 200)
    zero = proof.difference(found[''], found[''], weights)
    assert zero == {'iou_difference': 0, 'interval': [0, 0]}
    lost = proof.difference(found[''], found['none'], weights)
    nothing = dataclasses.replace(found[''], confusions=found[''].confusions * 0)
    none = proof.difference(nothing, nothing, weights)
    assert none == {'iou_difference': None, 'interval': None}
    row = {'name': 'x', 'agreement': 1, 'bytes': 1, 'iou': None, 'images_per_second': 1.0,
           'images_per_processor_second': 1.0, **none}  # fmt: skip
    assert '| x | 100.0000% | – | – |' in export.table([row])
    assert lost['iou_difference'] < 0 and lost['interval'][0] <= lost['iou_difference']


def test_the_proof_refuses_another_output(model):
    examples = open_examples(model.run, 'val')[0]
    with pytest.raises(ValueError, match='instead of'):
        proof.compare(model, examples, {'bad': lambda image: image[:, :, 0].T}, logits=False)
