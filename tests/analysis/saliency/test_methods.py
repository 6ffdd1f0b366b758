"""Methods against what is known of linear functions, finite differences, and their axioms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from analysis.saliency import methods
from segmentation.models.unet import SegmentationModel

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 32, 32, 3)).astype(np.float32)
WEIGHTS = RNG.normal(size=(32, 32, 3)).astype(np.float32)
PLAIN = methods.activation_times_gradient
LAYERS = dict.fromkeys(
    ('encoder/block_1_expand_relu', 'encoder/block_16_project', 'decoder/up_3_relu'), PLAIN
)


def gradient_of(score):
    return jax.jit(functools.partial(methods.gradient, score))


def linear(images):
    return (images * WEIGHTS).sum((1, 2, 3))


@pytest.fixture(scope='module')
def network():
    """A narrow network that is frozen as in training, and its variables."""
    model = SegmentationModel(num_classes=3, width=0.35, encoder_trainable=False)
    variables = jax.jit(model.init, static_argnames='train')(jax.random.key(0), IMAGES, train=False)
    # BatchNorm statistics as of random features, so that ReLUs are not all on one side.
    rng = np.random.default_rng(1)
    statistics = jax.tree.map(
        lambda x: np.asarray(x) * rng.uniform(0.1, 0.3, x.shape).astype(np.float32),
        variables['batch_stats'],
    )
    return model, {**variables, 'batch_stats': statistics}


def class_scores(network):
    model, variables = network
    model = methods.differentiable(model)
    region = jnp.zeros((2, 32, 32), bool).at[:, 8:24, 4:20].set(True)

    def scores(images):
        logits = model.apply(variables, images, train=False)
        each = [methods.class_evidence(logits, region, jnp.full(2, k)) for k in (1, 2)]
        return jnp.stack(each, -1)

    return scores


@pytest.mark.parametrize(
    'method',
    [
        lambda gradient, x: gradient(x),
        lambda gradient, x: methods.smooth_gradient(gradient, x, 0, samples=3),
        lambda gradient, x: methods.integrated_gradients(gradient, x, x - 1, steps=3),
    ],
)
def test_linear_function(method):
    """All of them give the weights, whatever the noise or the way (here of length 1)."""
    np.testing.assert_allclose(method(gradient_of(linear), IMAGES)[1], WEIGHTS, 1e-4)


def test_smooth_gradient_of_a_square():
    """The gradient of Σx² is 2x, and noise averages out; another seed is other noise."""

    def square(images):
        return jnp.square(images).sum((1, 2, 3))

    def error(samples, seed=0):
        found = methods.smooth_gradient(gradient_of(square), IMAGES, seed, samples=samples)
        return np.abs(found - 2 * IMAGES).mean()

    spread = IMAGES.max((1, 2, 3)) - IMAGES.min((1, 2, 3))
    expected = 2 * 0.15 * spread.mean() * np.sqrt(2 / np.pi)
    assert np.isclose(error(1), expected, rtol=0.1)
    assert np.isclose(error(16), expected / 4, rtol=0.1)
    assert error(1) != error(1, seed=1)


def test_integrated_gradients_are_complete(network):
    """They add up to the difference that the way makes."""

    def score(images):
        return class_scores(network)(images)[:, 0]

    gradient, whole = gradient_of(score), jax.jit(score)

    def errors(images, baseline):
        found = methods.integrated_gradients(gradient, images, baseline, steps=64)
        return found, found.sum((1, 2, 3)), whole(images) - whole(baseline)

    found, total, change = errors(IMAGES, methods.blur(IMAGES, 4))
    assert (np.abs(change) > 0.01).all()
    np.testing.assert_allclose(total, change, atol=0.03 * np.abs(change).max())
    # A pixel that is the same in both cannot have made a difference.
    same = np.copy(IMAGES)
    same[:, 16:] -= 0.5
    found, total, change = errors(IMAGES, same)
    assert not np.asarray(found[:, :16]).any()
    np.testing.assert_allclose(total, change, atol=0.03 * np.abs(change).max())


def test_quadrature_is_exact_for_polynomials():
    """n steps integrate a gradient of degree 2n - 1 without error: that of a cubic with two."""

    def cube(images):
        return (images**3).sum((1, 2, 3))

    def error(steps):
        found = methods.integrated_gradients(gradient_of(cube), IMAGES, 0 * IMAGES, steps=steps)
        return np.abs(found - IMAGES**3).mean()

    assert error(1) > 0.1
    assert error(2) < 1e-6


def test_gradients_of_layers_against_finite_differences(network):
    """In float64, where the network is the same functions of wider numbers."""
    with jax.enable_x64(True):
        model, variables = network
        model = model.clone(dtype=jnp.float64)
        variables = jax.tree.map(lambda x: np.asarray(x, np.float64), variables)
        scores = class_scores((model, variables))
        images = IMAGES.astype(np.float64)
        found = jax.jit(lambda x: methods.attribute(scores, x, LAYERS))(images)
        tapped = jax.jit(lambda x, offsets: methods._tapped(scores, x, offsets))
        rng = np.random.default_rng(2)
        # Each channel of each layer grows by its own small share.
        zeros = jax.tree.map(jnp.zeros_like, tapped(images, dict.fromkeys(LAYERS, 0.0))[1])
        outputs = tapped(images, zeros)[1]
        shares = {k: 1e-6 * rng.normal(size=v.shape[-1]) for k, v in outputs.items()}
        step = 1e-6 * rng.normal(size=images.shape)
        ahead, back = (
            tapped(images + s * step, {k: s * shares[k] * v for k, v in outputs.items()})[0]
            for s in (1, -1)
        )
        expected = (found.gradient * step).sum((2, 3, 4))
        expected += sum(found.channels[k] @ shares[k] for k in LAYERS)
        np.testing.assert_allclose(((ahead - back) / 2).T, expected, rtol=1e-4, atol=1e-13)
        for layer in LAYERS:  # maps and channels are the same sums in another order
            np.testing.assert_allclose(
                found.maps[layer].sum((2, 3)), found.channels[layer].sum(-1), rtol=1e-9
            )


def test_a_frozen_encoder_stops_gradients_and_this_is_undone(network):
    model, variables = network

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_gradient(model, images):
        def score(x):
            return model.apply(variables, x, train=False)[..., 1].sum((1, 2))

        return score(images), methods.gradient(score, images)

    frozen = value_and_gradient(model, IMAGES)
    flowing = value_and_gradient(methods.differentiable(model), IMAGES)
    assert not np.asarray(frozen[1]).any() and np.asarray(flowing[1]).any()
    np.testing.assert_allclose(frozen[0], flowing[0], rtol=1e-6)


class Linear(nn.Module):
    """A layer of two channels, of which the score looks at one half of the first."""

    @nn.compact
    def __call__(self, images):
        features = Twice(name='features')(images)
        return features[:, :16, :, 0].sum((1, 2))[:, None]


class Twice(nn.Module):
    @nn.compact
    def __call__(self, images):
        return 2 * images[..., :2]


def test_layer_maps_of_a_linear_network():
    def scores(images):
        return Linear().apply({}, images)

    found = methods.attribute(scores, IMAGES, {'features': PLAIN})
    expected = np.where(np.arange(32)[:, None] < 16, 2 * IMAGES[..., 0], 0)
    np.testing.assert_allclose(found.maps['features'][0], expected, rtol=1e-6)
    np.testing.assert_allclose(found.channels['features'][0, :, 1], 0)
    np.testing.assert_allclose(found.channels['features'][0, :, 0], found.scores[:, 0], rtol=1e-5)
    cam = methods.attribute(scores, IMAGES, {'features': methods.grad_cam})
    # Half of the places have gradient 1 in the first channel.
    np.testing.assert_allclose(cam.maps['features'][0], IMAGES[..., 0], rtol=1e-6)


def test_weighted_sums_of_scores_and_references():
    def scores(images):
        halves = Linear().apply({}, images)
        return jnp.concatenate([halves, 3 * halves], -1)

    weights = np.zeros((3, 2, 2), np.float32)
    weights[0, 0], weights[2, 1] = [1, 0], [1, 1]  # the second sum has no score
    reference = np.ones((32, 32, 2), np.float32)
    layers, references = {'features': PLAIN}, {'features': reference}
    found = methods.attribute(scores, IMAGES, layers, weights, references)
    each = np.where(np.arange(32)[:, None] < 16, 2 * IMAGES[..., 0] - 1, 0)
    expected = np.zeros((3, 2, 32, 32), np.float32)
    expected[0, 0], expected[2, 1] = each[0], 4 * each[1]
    np.testing.assert_allclose(found.maps['features'], expected, rtol=1e-6)
    np.testing.assert_allclose(found.gradient.sum((2, 3, 4)).ravel(), [1024, 0, 0, 0, 0, 4096])


def test_unknown_layer(network):
    with pytest.raises(ValueError, match='no layer encoder/nothing'):
        methods.attribute(class_scores(network), IMAGES, {'encoder/nothing': PLAIN})


def test_class_evidence_is_log_odds():
    logits = jnp.asarray(RNG.normal(size=(2, 4, 4, 3)), jnp.float32)
    region = np.zeros((2, 4, 4), bool)
    region[0, :2] = True
    label = np.array([2, 1])
    p = np.asarray(jax.nn.softmax(logits))[0, :2, :, 2]
    found = methods.class_evidence(logits, region, label)
    np.testing.assert_allclose(found, [np.log(p / (1 - p)).mean(), 0], rtol=1e-4, atol=1e-6)
    found = methods.class_probability(logits, region, label)
    np.testing.assert_allclose(found, [p.mean(), 0], rtol=1e-5)
    gradient = jax.grad(lambda x: methods.class_evidence(x, region, label).sum())(logits)
    assert np.isfinite(gradient).all() and not np.asarray(gradient[1]).any()


def test_cluster_margin():
    own, other = np.float32([[0, 0]]), np.float32([[4, 0]])
    found = [methods.cluster_margin(np.float32([e]), own, other)[0] for e in ([0, 0], [2, 7])]
    np.testing.assert_allclose(found, [16, 0])


def test_blur_keeps_the_mean_level_and_removes_detail():
    constant = methods.blur(jnp.full((1, 32, 32, 3), 0.7), 3)
    np.testing.assert_allclose(constant, 0.7, rtol=1e-5)
    assert np.std(methods.blur(IMAGES, 3)) < 0.15 * np.std(IMAGES)


@pytest.mark.parametrize('size', [8, 10, 32])
def test_pool_keeps_sums(size):
    maps = np.abs(IMAGES[..., 0])
    pooled = methods.pool(maps, size)
    assert pooled.shape == (2, size, size)
    np.testing.assert_allclose(pooled.mean((1, 2)), maps.mean((1, 2)), rtol=1e-5)
    if size == 8:
        np.testing.assert_allclose(pooled, maps.reshape(2, 8, 4, 8, 4).mean((2, 4)), rtol=1e-5)
