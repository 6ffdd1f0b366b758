import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import errors
from flax import linen as nn

from segmentation.models.parameters import parameter

calls: list[tuple[int, ...]] = []


class Layer(nn.Module):
    """Notes in `calls` that its initializer is traced."""

    @nn.compact
    def __call__(self, x):
        def init(key, shape):
            calls.append(shape)
            return jax.random.normal(key, shape)

        return x * parameter(self, 'scale', init, (3,))


def test_an_existing_parameter_is_read_without_its_initializer():
    layer, x = Layer(), jnp.ones(3)
    variables = layer.init(jax.random.key(0), x)
    expected = variables['params']['scale']
    assert expected.shape == (3,) and np.ptp(expected) > 0
    calls.clear()
    np.testing.assert_array_equal(layer.apply(variables, x), expected)
    assert calls == []


def test_a_parameter_of_another_shape_or_none_is_an_error():
    variables = {'params': {'scale': jnp.ones(4)}}
    with pytest.raises(errors.ScopeParamShapeError):
        Layer().apply(variables, jnp.ones(3))
    with pytest.raises(errors.ScopeCollectionNotFound):
        Layer().apply({}, jnp.ones(3))
