"""The encoder against Keras' MobileNetV2."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segmentation.models import mobilenet_v2
from tests import keras_reference

ALL_TAPS = (*mobilenet_v2.PUBLISHED_TAPS, 'block_2_add', 'out_relu')


def images(height, width, batch=2):
    rng = np.random.default_rng(1)
    return rng.uniform(-1, 1, (batch, height, width, 3)).astype(np.float32)


def random_variables(encoder):
    """Variables of the right shapes, without compiling the initialization."""
    rng = np.random.default_rng(2)
    shapes = jax.eval_shape(
        functools.partial(encoder.init, train=False), jax.random.key(0), images(32, 32)
    )
    return jax.tree.map(lambda a: rng.uniform(0.1, 0.5, a.shape).astype(a.dtype), shapes)


def assert_close(ours, theirs, tolerance=1e-5):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


@pytest.mark.parametrize(
    ('width', 'height', 'breadth'), [(1.0, 64, 64), (0.35, 97, 64), (1.4, 33, 45)]
)
def test_equals_keras(width, height, breadth):
    reference = keras_reference.encoder(width, height, breadth)
    encoder = mobilenet_v2.MobileNetV2(width, taps=ALL_TAPS)
    x = images(height, breadth)
    variables = keras_reference.variables(reference)
    theirs, _ = keras_reference.outputs(reference, x, training=False, names=ALL_TAPS)
    ours = jax.jit(functools.partial(encoder.apply, train=False))(variables, x)
    assert set(ours) == set(ALL_TAPS)
    for name in ALL_TAPS:
        assert_close(ours[name], theirs[name])


def test_equals_keras_in_training_with_updated_statistics():
    reference = keras_reference.encoder(0.35, 64, 64)
    encoder = mobilenet_v2.MobileNetV2(0.35, taps=ALL_TAPS)
    x = images(64, 64, batch=4)
    variables = keras_reference.variables(reference)
    ours, updated = jax.jit(functools.partial(encoder.apply, train=True, mutable=['batch_stats']))(
        variables, x
    )
    theirs, expected = keras_reference.outputs(reference, x, training=True, names=ALL_TAPS)
    expected = expected['batch_stats']
    for name in ALL_TAPS:
        # Normalizing 16 values amplifies rounding in the deepest layers.
        assert_close(ours[name], theirs[name], 1e-3 if name == 'out_relu' else 1e-4)
    moved = 0
    for layer, statistics in updated['batch_stats'].items():
        for name, value in statistics.items():
            assert_close(value, expected[layer][name])
            moved += not np.array_equal(value, variables['batch_stats'][layer][name])
    assert moved == 2 * len(expected)


def test_every_keras_layer_can_be_captured_by_name():
    names = [layer.name for layer in keras_reference.encoder(0.35, 32, 32).layers]
    names = {n for n in names if not n.startswith('input') and not n.endswith(('_pad', '_add'))}
    encoder = mobilenet_v2.MobileNetV2(0.35, taps=('out_relu',))
    _, captured = jax.eval_shape(
        functools.partial(
            encoder.apply, train=False, capture_intermediates=True, mutable=['intermediates']
        ),
        random_variables(encoder),
        images(32, 32),
    )
    assert names == set(captured['intermediates']) - {'__call__'}


def test_any_layer_can_be_tapped_and_nothing_beyond_the_last_is_built():
    encoder = mobilenet_v2.MobileNetV2(0.35, taps=('block_1_project', 'block_2_add'))
    variables = random_variables(encoder)
    layers = {*variables['params'], *variables['batch_stats']}
    assert 'block_2_project_BN' in layers and 'block_3_expand' not in layers
    published = random_variables(mobilenet_v2.MobileNetV2(0.35))['params']
    assert 'block_16_project' in published
    assert not {'block_16_project_BN', 'Conv_1', 'Conv_1_bn'} & set(published)


def test_relu6_gradient():
    x = jnp.array([-1.0, 0.0, 1.0, 6.0, 7.0])
    np.testing.assert_array_equal(mobilenet_v2.relu6(x), [0, 0, 1, 6, 6])
    np.testing.assert_array_equal(jax.vmap(jax.grad(mobilenet_v2.relu6))(x), [0, 0, 1, 0, 0])


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_variables():
    taps = ('block_2_add',)
    low = mobilenet_v2.MobileNetV2(0.35, taps, dtype=jnp.bfloat16)
    full = mobilenet_v2.MobileNetV2(0.35, taps)
    variables = jax.jit(functools.partial(low.init, train=False))(jax.random.key(0), images(32, 32))
    assert {a.dtype for a in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
    (a, updated), (b, _) = (
        jax.jit(functools.partial(encoder.apply, train=True, mutable=['batch_stats']))(
            variables, images(64, 64)
        )
        for encoder in (low, full)
    )
    assert {a.dtype for a in jax.tree.leaves(updated)} == {jnp.dtype('float32')}
    assert a['block_2_add'].dtype == jnp.bfloat16
    a, b = (np.asarray(y['block_2_add'], np.float32) for y in (a, b))
    assert np.abs(a - b).mean() < 0.05 * np.abs(b).mean()


@pytest.mark.parametrize(
    ('arguments', 'shape', 'message'),
    [
        ({'taps': ('block_17_expand',)}, (1, 32, 32, 3), 'no layer named block_17_expand'),
        ({'width': 0}, (1, 32, 32, 3), 'width must be positive'),
        ({}, (1, 31, 64, 3), 'at least 32×32, got 31×64'),
        ({}, (32, 32, 3), r'\[B, H, W, 3\]'),
        ({}, (1, 32, 32, 1), r'\[B, H, W, 3\]'),
    ],
)
def test_bad_use_is_refused(arguments, shape, message):
    encoder = mobilenet_v2.MobileNetV2(**arguments)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            functools.partial(encoder.init, train=False), jax.random.key(0), jnp.zeros(shape)
        )
