"""BatchNorm against Flax' own, whose gradient is derived automatically."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from segmentation.models import batch_norm


def data(mean=2.0, batch=8):
    rng = np.random.default_rng(0)
    return (
        jnp.asarray(rng.normal(mean, 1, (batch, 3, 5, 4))),
        {
            'params': {
                'scale': jnp.asarray(rng.uniform(0.5, 2, 4)),
                'bias': jnp.asarray(rng.normal(size=4)),
            },
            'batch_stats': {
                'mean': jnp.asarray(rng.normal(size=4)),
                'var': jnp.asarray(rng.uniform(0.5, 2, 4)),
            },
        },
    )


def flax_norm(axis_name=None):
    norm = nn.BatchNorm(momentum=0.9, epsilon=1e-3, axis_name=axis_name, use_fast_variance=False)
    return lambda v, x, train: norm.apply(
        v, x, use_running_average=not train, mutable=['batch_stats']
    )


def our_norm(axis_name=None):
    norm = batch_norm.BatchNorm(0.9, axis_name=axis_name)
    return lambda v, x, train: norm.apply(v, x, train=train, mutable=['batch_stats'])


def outcome(norm, variables, x, train):
    """Output, updated statistics, and gradients of a loss that is not symmetric in its pixels."""

    def loss(params, x):
        y, updated = norm({**variables, 'params': params}, x, train)
        weights = jnp.sin(jnp.arange(y[0].size)).reshape(y[0].shape)
        return jnp.sum(weights * jnp.tanh(y)), (y, updated)

    gradients, (y, updated) = jax.grad(loss, argnums=(0, 1), has_aux=True)(variables['params'], x)
    return y, updated['batch_stats'] if train else {}, gradients


@pytest.mark.parametrize('train', [True, False])
def test_equals_flax(train):
    with jax.enable_x64(True):
        x, variables = data()
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10),
            outcome(our_norm(), variables, x, train),
            outcome(flax_norm(), variables, x, train),
        )


def test_four_devices_equal_one():
    if jax.device_count() < 4:
        pytest.skip('needs four (fake) devices')
    with jax.enable_x64(True):
        x, variables = data()
        y, statistics, (gradients, x_gradient) = outcome(our_norm(), variables, x, True)

        def shard(variables, x):
            y, statistics, (gradients, x_gradient) = outcome(our_norm('batch'), variables, x, True)
            return y, statistics, (jax.lax.psum(gradients, 'batch'), x_gradient)

        y4, statistics4, (gradients4, x_gradient4) = jax.pmap(
            shard, 'batch', in_axes=(None, 0), devices=jax.devices()[:4]
        )(variables, x.reshape(4, 2, *x.shape[1:]))
        compare = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)
        compare(y4.reshape(y.shape), y)
        compare(x_gradient4.reshape(x.shape), x_gradient)
        for device in range(4):
            jax.tree.map(
                compare,
                jax.tree.map(lambda a, d=device: a[d], (statistics4, gradients4)),
                (statistics, gradients),
            )


def test_float32_is_precise_where_the_mean_is_ten_deviations():
    x, variables = data(mean=10.0)
    variables = jax.tree.map(lambda a: a.astype(jnp.float32), variables)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), variables)
        expected = outcome(flax_norm(), wide, jnp.asarray(x, jnp.float64), True)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4),
        outcome(our_norm(), variables, x.astype(jnp.float32), True),
        expected,
    )


def test_bfloat16_statistics_are_float32():
    x, _ = data()
    norm = batch_norm.BatchNorm(0.9)
    variables = norm.init(jax.random.key(0), x, train=True)
    assert not variables['batch_stats']['mean'].any()  # initializing updates nothing
    y, updated = norm.apply(variables, x.astype(jnp.bfloat16), train=True, mutable=['batch_stats'])
    assert y.dtype == jnp.bfloat16
    assert {a.dtype for a in jax.tree.leaves((variables, updated))} == {jnp.dtype('float32')}
