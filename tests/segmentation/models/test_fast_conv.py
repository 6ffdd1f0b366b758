"""The CPU forms against lax' own convolutions: values, gradients, lowering."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from segmentation.models import fast_conv

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def reference_conv(x, kernel, stride=1, groups=1):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        'SAME',
        feature_group_count=groups,
        dimension_numbers=DIMENSIONS,
    )


def reference_transpose(x, kernel):
    return lax.conv_transpose(
        x, kernel, (2, 2), 'SAME', dimension_numbers=DIMENSIONS, transpose_kernel=True
    )


def transpose_one(x, kernel):
    return fast_conv.conv_transpose([x], kernel)


def transpose_two(x, kernel):
    return fast_conv.conv_transpose([x[..., :1], x[..., 1:]], kernel)


def sub_pixel_two(x, kernel):
    return fast_conv.sub_pixel_conv([x[..., :1], x[..., 1:]], kernel)


def case(name, shape, features, stride=1):
    """(fast function, reference, x shape, kernel shape)."""
    channels = shape[-1]
    return {
        'depthwise': (
            functools.partial(fast_conv.depthwise_conv, stride=stride),
            functools.partial(reference_conv, stride=stride, groups=channels),
            shape,
            (3, 3, 1, channels),
        ),
        'pointwise': (fast_conv.pointwise_conv, reference_conv, shape, (1, 1, channels, features)),
        'conv': (
            functools.partial(fast_conv.conv, stride=stride),
            functools.partial(reference_conv, stride=stride),
            shape,
            (3, 3, channels, features),
        ),
        'transpose': (transpose_one, reference_transpose, shape, (3, 3, features, channels)),
        'transpose two': (transpose_two, reference_transpose, shape, (3, 3, features, channels)),
        'sub-pixel two': (sub_pixel_two, reference_transpose, shape, (3, 3, features, channels)),
    }[name]


SMALL = [
    *(
        case('depthwise', (2, h, w, 5), None, s)
        for (h, w), s in itertools.product([(6, 6), (7, 5), (4, 9), (1, 1), (2, 3)], (1, 2))
    ),
    *(
        case('conv', (2, h, w, 3), 4, s)
        for (h, w), s in itertools.product([(6, 6), (7, 5), (4, 9), (1, 1)], (1, 2))
    ),
    case('pointwise', (2, 5, 3, 4), 6),
    # More images than are summed in one loop, divisible or not.
    *(case('depthwise', (b, 4, 3, 2), None, s) for b, s in itertools.product((17, 32), (1, 2))),
    *(case('transpose', (2, h, w, 4), 3) for h, w in [(4, 4), (5, 3), (1, 1), (1, 6)]),
    *(case('sub-pixel two', (2, h, w, 4), 3) for h, w in [(4, 4), (5, 3), (1, 1), (1, 6)]),
    # Products smaller than the inputs, and larger.
    case('transpose two', (2, 5, 3, 10), 1),
    case('transpose two', (2, 5, 3, 9), 1),
]

TRANSPOSE = case('transpose', (2, 5, 3, 4), 3)
ONE_OF_EACH = [
    case('depthwise', (2, 7, 5, 5), None),
    case('depthwise', (2, 7, 5, 5), None, 2),
    case('conv', (2, 7, 5, 3), 4),
    case('conv', (2, 7, 5, 3), 4, 2),
    case('pointwise', (2, 5, 3, 4), 6),
    TRANSPOSE,
]
TRANSPOSE_TWO = case('transpose two', (2, 5, 3, 10), 1)

# Every convolution of the network at 128×128 and width 1, as (height = width, channels).
NETWORK = [
    case('conv', (1, 128, 128, 3), 32, 2),
    *(
        case('depthwise', (1, h, h, c), None, s)
        for h, c, s in [
            (64, 32, 1),
            (64, 96, 2),
            (32, 144, 1),
            (32, 144, 2),
            (16, 192, 1),
            (16, 192, 2),
            (8, 384, 1),
            (8, 576, 1),
            (8, 576, 2),
            (4, 960, 1),
        ]
    ),
    *(
        case('pointwise', (1, h, h, c), f)
        for h, c, f in [
            (64, 32, 16),
            (64, 16, 96),
            (32, 96, 24),
            (32, 24, 144),
            (16, 144, 32),
            (16, 32, 192),
            (16, 192, 32),
            (8, 192, 64),
            (8, 64, 384),
            (8, 384, 96),
            (8, 96, 576),
            (4, 576, 160),
            (4, 160, 960),
            (4, 960, 320),
            (4, 320, 1280),
        ]
    ),
    *(
        case('transpose', (1, h, h, c), f)
        for h, c, f in [(4, 320, 512), (8, 1088, 256), (16, 448, 128), (32, 272, 64)]
    ),
    case('transpose two', (1, 64, 64, 160), 3),
]


def value_and_gradients(f, x, kernel, g):
    y, pullback = jax.vjp(f, x, kernel)
    return y, *pullback(g)


def compare(fast, reference, x_shape, kernel_shape, dtype, tolerance):
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=s), dtype) for s in (x_shape, kernel_shape))
    g = jnp.asarray(rng.normal(size=jax.eval_shape(reference, x, kernel).shape), dtype)
    ours = jax.jit(functools.partial(value_and_gradients, fast))(x, kernel, g)
    theirs = jax.jit(functools.partial(value_and_gradients, reference))(x, kernel, g)
    for name, a, b in zip(('value', 'x gradient', 'kernel gradient'), ours, theirs, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max(), err_msg=name)


def identify(fast_reference_shapes):
    _, _, x, kernel = fast_reference_shapes
    return f'{x}*{kernel}'.replace(' ', '')


@pytest.mark.parametrize('case', SMALL, ids=identify)
def test_equals_lax_in_float64(case):
    with jax.enable_x64(True):
        compare(*case, jnp.float64, 1e-12)


@pytest.mark.parametrize('case', NETWORK, ids=identify)
def test_equals_lax_in_every_shape_of_the_network(case):
    compare(*case, jnp.float32, 1e-5)


@pytest.mark.parametrize('case', [*ONE_OF_EACH, TRANSPOSE_TWO], ids=identify)
def test_bfloat16_is_as_good_as_lax(case):
    compare(*case, jnp.bfloat16, 2e-2)


def lowered(case, platform):
    """The value and both gradients as StableHLO for a platform."""
    fast, _, x_shape, kernel_shape = case

    def f(x, kernel):
        y, pullback = jax.vjp(fast, x, kernel)
        return pullback(y)

    arguments = [jax.ShapeDtypeStruct(s, jnp.float32) for s in (x_shape, kernel_shape)]
    text = jax.jit(f).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    assert text.count('stablehlo.convolution') == 3  # forward, and one per gradient
    assert 'dot_general' not in text and 'stablehlo.while' not in text
    return text


@pytest.mark.parametrize(
    ('case', 'platform'),
    [
        pair
        for pair in itertools.product(ONE_OF_EACH, ['cuda', 'tpu'])
        if pair != (TRANSPOSE, 'cuda')
    ],
    ids=lambda value: value if isinstance(value, str) else identify(value),
)
def test_accelerators_get_plain_convolutions(case, platform):
    text = lowered(case, platform)
    assert 'concatenate' not in text and 'stablehlo.pad' not in text


def test_cuda_gets_no_convolution_of_a_dilated_array():
    assert 'lhs_dilate = [2, 2]' in lowered(TRANSPOSE, 'tpu')
    assert 'lhs_dilate = [2, 2]' not in lowered(TRANSPOSE, 'cuda')
    with fast_conv.plain_convolutions():
        assert 'lhs_dilate = [2, 2]' in lowered(TRANSPOSE, 'cuda')


@pytest.mark.parametrize('case', [*ONE_OF_EACH, TRANSPOSE_TWO], ids=identify)
def test_cpu_gets_no_slow_gradient(case):
    fast, _, x_shape, kernel_shape = case
    arguments = [jax.ShapeDtypeStruct(s, jnp.float32) for s in (x_shape, kernel_shape)]
    text = jax.jit(lambda x, k: jax.vjp(fast, x, k)[1](fast(x, k))).lower(*arguments).as_text()
    assert 'stablehlo.convolution' not in text


def test_an_input_that_is_not_differentiated_costs_no_product():
    rng = np.random.default_rng(0)
    x, skip = (jnp.asarray(rng.normal(size=(2, 8, 8, c)), jnp.float32) for c in (8, 24))
    kernel = jnp.asarray(rng.normal(size=(3, 3, 16, 32)), jnp.float32)

    def gradients(argnums):
        def loss(x, skip, kernel):
            return jnp.square(fast_conv.conv_transpose([x, skip], kernel)).sum()

        return jax.jit(jax.grad(loss, argnums)).lower(x, skip, kernel).compile()

    every, without_skip = gradients((0, 1, 2)), gradients((0, 2))
    x_gradient, _, kernel_gradient = every(x, skip, kernel)
    for got, expected in zip(
        without_skip(x, skip, kernel), (x_gradient, kernel_gradient), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-3)
    # Three equal products, of which one loses 24 of 32 columns.
    saved = every.cost_analysis()['flops'] - without_skip.cost_analysis()['flops']
    assert saved > 0.9 * 2 * (2 * 8 * 8) * (9 * 16) * 24


def test_under_vmap_and_shard_map():
    fast, reference, x_shape, kernel_shape = SMALL[2]
    rng = np.random.default_rng(1)
    xs = jnp.asarray(rng.normal(size=(3, *x_shape)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=kernel_shape), jnp.float32)

    def gradient(f, x):
        return jax.grad(lambda k: jnp.sum(jnp.sin(f(x, k))))(kernel)

    expected = jnp.stack([gradient(reference, x) for x in xs])
    np.testing.assert_allclose(
        jax.vmap(functools.partial(gradient, fast))(xs), expected, rtol=1e-4, atol=1e-5
    )

    mesh = jax.sharding.Mesh(jax.devices()[:1], ('batch',))
    spec = jax.sharding.PartitionSpec('batch')
    mapped = jax.shard_map(
        lambda xs: jax.vmap(functools.partial(gradient, fast))(xs),
        mesh=mesh,
        in_specs=spec,
        out_specs=spec,
        check_vma=False,
    )
    np.testing.assert_allclose(jax.jit(mapped)(xs), expected, rtol=1e-4, atol=1e-5)
