"""The whole network: shapes, freezing, options, configs."""

import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from segmentation.models import unet

CONFIG = {
    'width': 0.35,
    'encoder_trainable': True,
    'encoder_statistics': 'batch',
    'norm': 'batch',
    'dropout': 0.0,
    'upsampling': 'transposed',
    'encoder_bn_momentum': 0.999,
    'decoder_bn_momentum': 0.99,
    'dtype': 'float32',
}


def build(**changes):
    return unet.build_model(ml_collections.ConfigDict({**CONFIG, **changes}), 3)


def images(height=32, width=32, batch=2):
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (batch, height, width, 3)).astype(np.float32)


def random_variables(network):
    """Variables of the right shapes, without compiling the initialization."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(
        functools.partial(network.init, train=False), jax.random.key(0), images()
    )
    return jax.tree.map(lambda a: rng.uniform(-0.1, 0.3, a.shape).astype(a.dtype), shapes) | {
        'batch_stats': jax.tree.map(
            lambda a: rng.uniform(0.5, 1, a.shape).astype(a.dtype), shapes['batch_stats']
        )
    }


def step(network, variables, x):
    """Logits, updated statistics and gradients in training mode."""

    def loss(params):
        logits, updated = network.apply(
            {**variables, 'params': params}, x, train=True, mutable=['batch_stats']
        )
        return jnp.sum(jnp.sin(logits)), (logits, updated['batch_stats'])

    gradients, (logits, statistics) = jax.grad(loss, has_aux=True)(variables['params'])
    return logits, statistics, gradients


def test_parameter_count_of_the_published_model():
    shapes = jax.eval_shape(
        functools.partial(unet.SegmentationModel(3).init, train=False),
        jax.random.key(0),
        jnp.zeros((1, 128, 128, 3)),
    )
    assert set(shapes) == {'params', 'batch_stats'}
    assert set(shapes['params']) == set(shapes['batch_stats']) == {'encoder', 'decoder'}
    assert sum(a.size for a in jax.tree.leaves(shapes['params'])) == 6_471_395


def test_any_input_size_gives_logits_of_that_size():
    network = build()
    variables = random_variables(network)
    for height, width in [(32, 32), (128, 128), (33, 63), (65, 100), (224, 97)]:
        logits = jax.eval_shape(
            functools.partial(network.apply, train=False), variables, images(height, width)
        )
        assert logits.shape == (2, height, width, 3) and logits.dtype == jnp.float32


def test_trainable_encoder_learns_and_updates_its_statistics():
    network = build()
    variables = random_variables(network)
    logits, statistics, gradients = jax.jit(functools.partial(step, network))(
        variables, images(33, 47, batch=4)
    )
    assert logits.shape == (4, 33, 47, 3)
    for path, gradient in jax.tree.leaves_with_path(gradients):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, path
    jax.tree.map(
        lambda a, b: np.testing.assert_(not np.array_equal(a, b)),
        statistics,
        variables['batch_stats'],
    )


def test_frozen_encoder_has_no_backward_pass_and_keeps_its_statistics():
    trainable, frozen = build(), build(encoder_trainable=False)
    variables = random_variables(frozen)
    x = images(64, 64)
    _, statistics, gradients = jax.jit(functools.partial(step, frozen))(variables, x)
    assert not any(g.any() for g in jax.tree.leaves(gradients['encoder']))
    assert all(g.any() for g in jax.tree.leaves(gradients['decoder']))
    jax.tree.map(
        np.testing.assert_array_equal, statistics['encoder'], variables['batch_stats']['encoder']
    )
    assert not np.array_equal(
        statistics['decoder']['up_1_norm']['mean'],
        variables['batch_stats']['decoder']['up_1_norm']['mean'],
    )

    def operations(network):
        text = jax.jit(functools.partial(step, network)).lower(variables, x).as_text('hlo')
        return text.count('= f32[')

    assert operations(frozen) < 0.55 * operations(trainable)


def test_frozen_equals_trainable_with_fixed_statistics_in_the_forward_pass():
    frozen, fixed, batch = (
        build(encoder_trainable=False),
        build(encoder_statistics='fixed'),
        build(),
    )
    variables = random_variables(frozen)

    def forward(network):
        return jax.jit(functools.partial(network.apply, train=True, mutable=['batch_stats']))(
            variables, images()
        )

    (a, a_updated), (b, b_updated), (c, _) = map(forward, (frozen, fixed, batch))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), a_updated, b_updated)
    assert not np.allclose(a, c, rtol=1e-2)


def test_bfloat16_gives_float32_logits():
    network = build(dtype='bfloat16')
    variables = random_variables(network)
    logits, statistics, gradients = jax.eval_shape(
        functools.partial(step, network), variables, images()
    )
    dtypes = {a.dtype for a in jax.tree.leaves((logits, statistics, gradients, variables))}
    assert dtypes == {jnp.dtype('float32')}
    text = (
        jax.jit(functools.partial(network.apply, train=False)).lower(variables, images()).as_text()
    )
    assert 'bf16' in text


def test_config_reaches_the_model():
    changes = {
        'width': 0.5,
        'norm': 'instance',
        'dropout': 0.3,
        'upsampling': 'nearest_conv',
        'encoder_bn_momentum': 0.9,
        'decoder_bn_momentum': 0.8,
        'dtype': 'bfloat16',
        'encoder_trainable': False,
        'encoder_statistics': 'fixed',
    }
    assert set(changes) == set(CONFIG)
    network = unet.build_model(ml_collections.ConfigDict(changes), 5, bn_axis_name='batch')
    assert (network.num_classes, network.bn_axis_name) == (5, 'batch')
    for name, value in changes.items():
        assert getattr(network, name) == value


def test_scale_images():
    pixels = np.array([0, 51, 255], np.uint8)
    scaled = unet.scale_images(pixels, 'imagenet')
    assert scaled.dtype == jnp.float32
    np.testing.assert_allclose(scaled, [-1, -0.6, 1], atol=1e-6)
    np.testing.assert_allclose(unet.scale_images(pixels, 'unit'), [0, 0.2, 1], atol=1e-6)
    with pytest.raises(ValueError, match="'imagenet', 'unit'.*'caffe'"):
        unet.scale_images(pixels, 'caffe')
    with pytest.raises(ValueError, match='uint8.*float32'):
        unet.scale_images(pixels.astype(np.float32), 'unit')


@pytest.mark.parametrize(
    ('changes', 'x', 'message'),
    [
        ({'norm': 'group'}, images(), "norm must be one of .*'group'"),
        ({'upsampling': 'x'}, images(), 'upsampling must be one of'),
        ({'dropout': -0.1}, images(), r'dropout must be in \[0, 1\)'),
        ({'encoder_statistics': 'none'}, images(), "'batch', 'fixed'.*'none'"),
        ({'width': -1.0}, images(), 'width must be positive'),
        ({}, images(31, 40), '32×32'),
        ({}, images()[0], r'\[B, H, W, 3\]'),
        ({}, np.zeros((1, 32, 32, 3), np.uint8), 'scale_images'),
    ],
)
def test_bad_use_is_refused(changes, x, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(functools.partial(build(**changes).init, train=False), jax.random.key(0), x)


def test_bad_dtype_and_class_count_are_refused():
    with pytest.raises(ValueError, match="'float32', 'bfloat16'.*'float16'"):
        build(dtype='float16')
    with pytest.raises(ValueError, match='num_classes'):
        unet.SegmentationModel(1).init(jax.random.key(0), images(), train=False)
