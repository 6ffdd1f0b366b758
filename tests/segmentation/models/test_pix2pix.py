"""The decoder against the same layers in Keras."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segmentation.models import pix2pix
from tests import keras_reference

SHAPES = ((16, 32, 6), (8, 16, 7), (4, 8, 9), (2, 4, 11), (1, 2, 5))


def features(batch=4, shapes=SHAPES):
    rng = np.random.default_rng(1)
    return [rng.normal(size=(batch, *shape)).astype(np.float32) for shape in shapes]


def small_variables(decoder, inputs):
    rng = np.random.default_rng(2)
    shapes = jax.eval_shape(functools.partial(decoder.init, train=False), jax.random.key(0), inputs)
    return jax.tree.map(lambda a: rng.uniform(-0.1, 0.3, a.shape).astype(a.dtype), shapes)


@pytest.mark.parametrize('train', [False, True])
def test_equals_keras(train):
    reference = keras_reference.decoder(SHAPES, 3)
    variables = keras_reference.variables(reference)
    decoder = pix2pix.Decoder(3)
    ours, updated = jax.jit(functools.partial(decoder.apply, train=train, mutable=['batch_stats']))(
        variables, features()
    )
    theirs, expected = keras_reference.outputs(reference, features(), training=train)
    assert ours.shape == (4, 32, 64, 3)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    updated = updated['batch_stats'] if train else variables['batch_stats']
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
        updated,
        expected['batch_stats'],
    )


def test_instance_norm():
    x = np.random.default_rng(0).normal(3, 2, (2, 5, 4, 3)).astype(np.float32)
    scale, bias = np.array([1, 2, 3.0]), np.array([0, -1, 1.0])
    y = pix2pix.InstanceNorm().apply({'params': {'scale': scale, 'bias': bias}}, x)
    np.testing.assert_allclose(y.mean((1, 2)), np.tile(bias, (2, 1)), atol=1e-5)
    np.testing.assert_allclose(y.std((1, 2)), np.tile(scale, (2, 1)), rtol=1e-4)
    # An image's result does not depend on the other images.
    alone = pix2pix.InstanceNorm().apply({'params': {'scale': scale, 'bias': bias}}, x[:1])
    np.testing.assert_allclose(alone, y[:1], atol=1e-6)


def test_nearest_upsampling_is_repeat_and_convolution():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    layer = pix2pix.Upsample2x(6, 'nearest_conv')
    variables = layer.init(jax.random.key(0), [x])
    repeated = np.kron(x, np.ones((1, 2, 2, 1), np.float32))
    expected = jax.lax.conv_general_dilated(
        repeated,
        variables['params']['kernel'],
        (1, 1),
        'SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    np.testing.assert_allclose(layer.apply(variables, [x]), expected, atol=1e-6)


@pytest.mark.parametrize('options', [{'upsampling': 'nearest_conv'}, {'norm': 'instance'}])
def test_options_build_and_have_gradients(options):
    shapes = ((9, 7, 2), (5, 4, 2), (3, 2, 2), (2, 1, 2), (1, 1, 2))  # of odd sizes, too
    inputs = features(shapes=shapes)
    decoder = pix2pix.Decoder(3, **options)
    variables = small_variables(decoder, inputs)
    assert ('batch_stats' in variables) == (options.get('norm') != 'instance')

    @jax.jit
    def gradients(params):
        def loss(params):
            y, _ = decoder.apply(
                {**variables, 'params': params}, inputs, train=True, mutable=['batch_stats']
            )
            assert y.shape == (4, 18, 14, 3)
            return jnp.square(y).mean()

        return jax.grad(loss)(params)

    for path, gradient in jax.tree.leaves_with_path(gradients(variables['params'])):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, path


def test_initial_kernels_are_normal_with_deviation_002():
    params = pix2pix.Decoder(3).init(jax.random.key(0), features(), train=False)['params']
    for i in (1, 2, 3, 4):
        kernel = params[f'up_{i}']['kernel']
        assert abs(float(kernel.std()) - 0.02) < 1e-3 and abs(float(kernel.mean())) < 1e-3
        assert set(params[f'up_{i}']) == {'kernel'}
    assert not params['logits']['bias'].any()


def test_dropout_acts_in_training_only():
    decoder = pix2pix.Decoder(3, dropout=0.5)
    variables = small_variables(decoder, features())

    @functools.partial(jax.jit, static_argnames='train')
    def run(seed, train):
        return decoder.apply(
            variables,
            features(),
            train=train,
            mutable=['batch_stats'],
            rngs={'dropout': jax.random.key(seed)},
        )[0]

    assert not np.allclose(run(0, True), run(1, True))
    np.testing.assert_array_equal(run(0, False), run(1, False))


@pytest.mark.parametrize(
    ('options', 'count', 'message'),
    [
        ({'norm': 'layer'}, 5, "norm must be one of .*'layer'"),
        ({'upsampling': 'bilinear'}, 5, "upsampling must be one of .*'bilinear'"),
        ({'dropout': 1.0}, 5, r'dropout must be in \[0, 1\), got 1.0'),
        ({}, 4, 'expected 5 feature maps, got 4'),
    ],
)
def test_bad_use_is_refused(options, count, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            functools.partial(pix2pix.Decoder(3, **options).init, train=False),
            jax.random.key(0),
            features()[:count],
        )
