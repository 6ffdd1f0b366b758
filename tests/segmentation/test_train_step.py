"""The step on several devices against one, and against a step written without pmap."""

import dataclasses
import gzip
import json
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.experimental import io_callback
from scipy import special

from configs import default
from segmentation import train_step as train
from segmentation.data import masks
from segmentation.evaluate import replicate
from segmentation.models.unet import build_model

CLASSES = 3


def make_config():
    config = default.get_config()
    config.data.image_size = 64
    config.model.width = 0.35
    config.model.pretrained = ''
    config.model.encoder_trainable = True
    config.loss.class_weights = (0.5, 1.0, 2.0)
    config.loss.dice_weight = 0.5
    return config


@pytest.fixture
def config():
    return make_config()


def uneven_batch(size=16, pixels=64):
    """A batch whose first half has almost all pixels ignored."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, CLASSES, (size, pixels, pixels)).astype(np.uint8)
    label[: size // 2, 3:] = masks.IGNORE
    return {
        'image': rng.integers(0, 256, (size, pixels, pixels, 3)).astype(np.uint8),
        'label': label,
    }


# "Optimizer" that keeps the gradients, exactly, and changes nothing.
keep_gradients = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda grads, state, params=None: (jax.tree.map(jnp.zeros_like, grads), grads),
)


def initial_state(config, dtype=jnp.float32, optimizer=keep_gradients):
    model = build_model(config.model, CLASSES)
    state = train.init_state(model, optimizer, config)
    return jax.tree.map(
        lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, state
    )


def run(config, state, batch, num_devices, optimizer=keep_gradients, steps=1):
    """Steps on a number of devices; 0 for a plain jit step without pmap."""
    axis = train.AXIS if num_devices else None
    dtype = jax.tree.leaves(state.params)[0].dtype
    model = build_model(config.model, CLASSES, bn_axis_name=axis)
    if dtype == jnp.float64:
        model = model.clone(dtype=dtype)
    step = train.make_train_step(model, optimizer, config, CLASSES, axis)
    if num_devices:
        devices = jax.devices()[:num_devices]
        step = train.pmap_step(step, devices, donate=False)
        state, batch = replicate(state, devices), train.split_batch(batch, num_devices)
    else:
        step = jax.jit(step)
    for _ in range(steps):
        state, metrics = step(state, batch)
    return state, metrics


def relative_difference(a, b):
    """Norm of the difference of two trees relative to the norm of the second."""
    a, b = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(jax.device_get(tree))])
        for tree in (a, b)
    )
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def away_from_kinks(state):
    """Moves all activations to the middle of ReLU6, ten standard deviations from its kinks.

    In float32, rounding flips a few of a million units that are almost at a kink, which changes
    gradients by 1e-3 on one device as well; away from kinks rounding is all that is left. In
    float64 no unit is that close, so that comparison is made with the model as it is.
    """

    def move(path, leaf):
        name = path[-1].key
        middle = {'scale': 0.3, 'bias': 3.0}.get(name)
        is_norm = middle is not None and path[-2].key != 'logits'
        return jnp.full_like(leaf, middle) if is_norm else leaf

    return state.replace(params=jax.tree_util.tree_map_with_path(move, state.params))


@pytest.fixture(scope='module')
def reference():
    """Gradients of a plain jit step, by dtype: (config, state, batch, gradients, metrics)."""
    config, batch = make_config(), uneven_batch()
    results = {}
    for dtype, prepare in ((jnp.float32, away_from_kinks), (jnp.float64, lambda state: state)):
        with jax.enable_x64(dtype == jnp.float64):
            state = prepare(initial_state(config, dtype))
            results[dtype] = config, state, batch, *run(config, state, batch, 0)
    return results


@pytest.mark.parametrize('num_devices', [1, 4])
def test_gradients_are_those_of_one_device_float32(reference, num_devices):
    config, state, batch, expected, expected_metrics = reference[jnp.float32]
    actual, metrics = run(config, state, batch, num_devices)
    assert relative_difference(actual.opt_state, expected.opt_state) < 1e-5
    assert relative_difference(actual.batch_stats, expected.batch_stats) < 1e-5
    assert np.isclose(metrics['loss'], expected_metrics['loss'], rtol=1e-6)


@pytest.mark.parametrize('num_devices', [2, 4])
def test_gradients_are_those_of_one_device_float64(reference, num_devices):
    with jax.enable_x64(True):
        config, state, batch, expected, _ = reference[jnp.float64]
        actual, _ = run(config, state, batch, num_devices)
        assert jax.tree.leaves(actual.opt_state)[0].dtype == jnp.float64
        assert relative_difference(actual.opt_state, expected.opt_state) < 1e-10
        assert relative_difference(actual.batch_stats, expected.batch_stats) < 1e-10


def test_all_devices_hold_the_same_state(config):
    """out_axes=None reads one device only; a forgotten psum would let the others drift."""
    optimizer = optax.adam(1e-2)
    state = initial_state(config, optimizer=optimizer)
    state, _ = run(config, state, uneven_batch(), 4, optimizer, steps=2)
    for leaf in jax.tree.leaves(state):
        first, *others = (np.asarray(shard.data) for shard in leaf.addressable_shards)
        assert len(others) == 3
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_frozen_encoder_does_not_move(config):
    config.model.encoder_trainable = False
    optimizer, _ = train.make_optimizer(config.optimizer, 10, encoder_trainable=False)
    state = initial_state(config, optimizer=optimizer)
    new, _ = run(config, state, uneven_batch(), 2, optimizer)
    for kind in ('params', 'batch_stats'):
        before, after = getattr(state, kind), getattr(new, kind)
        for a, b in zip(*map(jax.tree.leaves, (before['encoder'], after['encoder'])), strict=True):
            np.testing.assert_array_equal(a, b)
        assert relative_difference(after['decoder'], before['decoder']) > 0
    moments = [leaf for leaf in jax.tree.leaves(new.opt_state) if leaf.ndim]
    assert len(moments) == 2 * len(jax.tree.leaves(state.params['decoder']))


def steps_of(optimizer, gradients):
    """Parameters after each step from zero, of an encoder and a decoder of two numbers."""
    params = {part: {'w': jnp.zeros(2)} for part in ('encoder', 'decoder')}
    state, after = optimizer.init(params), []
    for each in gradients:
        grads = {part: {'w': jnp.asarray(each)} for part in params}
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        after.append(jax.device_get(params))
    return after, jax.device_get(state)


def test_encoder_starts_later_and_slower():
    """From its step on, it is trained as by an optimizer of its own with a part of the rate."""
    config = default.get_config().optimizer
    config.schedule, config.warmup_steps = 'cosine', 2
    gradients = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
    plain, _ = steps_of(train.make_optimizer(config, 8, True)[0], gradients)
    config.encoder_after, config.encoder_rate = 3, 0.1
    found, _ = steps_of(train.make_optimizer(config, 8, True)[0], gradients)
    schedule = train.make_optimizer(config, 8, True)[1]
    alone, _ = steps_of(optax.adam(lambda count: 0.1 * schedule(count + 3)), gradients[3:])
    for step in range(8):
        np.testing.assert_allclose(found[step]['decoder']['w'], plain[step]['decoder']['w'], 1e-6)
        expected = alone[step - 3]['encoder']['w'] if step >= 3 else np.zeros(2)
        np.testing.assert_allclose(found[step]['encoder']['w'], expected, rtol=1e-6)


def test_average_of_the_parameters():
    config = default.get_config().optimizer
    gradients = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    plain, state = steps_of(train.make_optimizer(config, 6, True)[0], gradients)
    assert train.averaged(plain[-1], state) is plain[-1]
    config.average = 0.4
    found, state = steps_of(train.make_optimizer(config, 6, True)[0], gradients)
    average = np.zeros(2)
    for step, params in enumerate(plain):
        np.testing.assert_array_equal(found[step]['encoder']['w'], params['encoder']['w'])
        kept = min(0.4, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * params['encoder']['w']
    np.testing.assert_allclose(train.averaged(None, state)['encoder']['w'], average, rtol=1e-5)
    config.average = 1.0
    with pytest.raises(ValueError, match='optimizer.average'):
        train.make_optimizer(config, 6, True)


def test_loss_falls_state_is_donated_and_nothing_waits(config, caplog, tmp_path):
    config.model.encoder_trainable = False
    optimizer, _ = train.make_optimizer(config.optimizer, 10, encoder_trainable=False)
    model = build_model(config.model, CLASSES, bn_axis_name=train.AXIS)
    step = train.pmap_step(
        train.make_train_step(model, optimizer, config, CLASSES, train.AXIS), jax.devices()[:2]
    )
    state = replicate(initial_state(config, optimizer=optimizer), jax.devices()[:2])
    batch, observed = train.split_batch(uneven_batch(4), 2), []
    compiled = []
    with jax.log_compiles():
        for _ in range(5):
            before = state
            state, metrics = step(state, batch)
            observed.append(float(metrics['loss']))
            compiled.append('Compiling' in caplog.text)
            caplog.clear()
    assert compiled == [True, False, False, False, False]
    assert observed[-1] < observed[0]
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.params['decoder']))
    assert_batches_are_sent_ahead(step, state, batch, tmp_path)


def assert_batches_are_sent_ahead(step, state, batch, folder):
    """Batches are sent to busy devices, and by a trace, nothing is copied back from them."""
    sent, in_time = threading.Event(), []

    def work():
        in_time.append(sent.wait(timeout=30))
        return np.int32(0)

    def hold(number):
        return number + io_callback(work, jax.ShapeDtypeStruct((), np.int32))

    state = dataclasses.replace(state, step=jax.jit(hold)(state.step))
    state, _ = step(state, batch)
    state, _ = step(state, batch)
    sent.set()
    jax.block_until_ready(state)
    assert in_time and all(in_time), 'the step waited for the one before it'

    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with jax.profiler.trace(folder, profiler_options=options):
        jax.block_until_ready(step(state, batch))
    (file,) = folder.rglob('*.trace.json.gz')
    events = json.loads(gzip.decompress(file.read_bytes()))['traceEvents']
    names = [event['name'] for event in events if event.get('ph') == 'X']
    assert any(name.startswith('PjitFunction') for name in names)
    assert not any('CopyToHost' in name or 'ToLiteral' in name for name in names)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_accelerators_get_a_step_of_plain_operations(config, dtype):
    """Lowered without a device: nothing is copied to the host, nothing is double precision."""
    config.model.dtype, config.model.dropout = dtype, 0.1
    model = build_model(config.model, CLASSES)
    optimizer, _ = train.make_optimizer(config.optimizer, 10, encoder_trainable=True)
    state = train.init_state(model, optimizer, config)
    step = train.make_train_step(model, optimizer, config, CLASSES)
    for platform in ('cuda', 'tpu'):
        traced = jax.jit(step).trace(state, uneven_batch(2))
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        kernels = [leaf for leaf in jax.tree.leaves(state.params) if leaf.ndim == 4]
        # Forward and both gradients, except for the gradient of the images.
        assert text.count('stablehlo.convolution') == 3 * len(kernels) - 1
        assert 'f64' not in text and 'callback' not in text
        assert ('bf16' in text) == (dtype == 'bfloat16')


class PixelModel(nn.Module):
    """A minimal model: a class from a pixel's color."""

    @nn.compact
    def __call__(self, images, train):
        return nn.Dense(CLASSES)(nn.BatchNorm(use_running_average=not train)(images))


def pixel_state(model, optimizer=keep_gradients):
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)
    params, batch_stats = variables['params'], variables.get('batch_stats', {})
    return train.TrainState(jnp.zeros((), jnp.int32), params, batch_stats, optimizer.init(params))


class LinearPixels(nn.Module):
    """A model that NumPy can follow."""

    @nn.compact
    def __call__(self, images, train):
        return nn.Dense(CLASSES)(images)


def loss_by_hand(kernel, bias, batch):
    """With label smoothing 0.1, class weights 0.5, 1, 2, and Dice with weight 0.5."""
    logits, label = (batch['image'] / 127.5 - 1) @ kernel + bias, batch['label']
    valid = label != masks.IGNORE
    target = np.eye(CLASSES)[np.where(valid, label, 0)]
    nats = -((0.9 * target + 0.1 / CLASSES) * special.log_softmax(logits, -1)).sum(-1)
    weight = np.array([0.5, 1.0, 2.0])[np.where(valid, label, 0)] * valid
    target, seen = (part * valid[..., None] for part in (target, special.softmax(logits, -1)))
    overlap, total = (2 * seen * target).sum((1, 2)), (seen + target).sum((1, 2))
    dice = (1 - (overlap + 1) / (total + 1)).mean()
    return (weight * nats).sum() / weight.sum() + 0.5 * dice


@pytest.mark.parametrize('num_devices', [0, 4])
def test_loss_and_gradient_are_what_the_config_asks_for(config, num_devices):
    """Against NumPy and its central differences, with unequal parts of a batch on the devices."""
    config.loss.label_smoothing = 0.1
    model, batch = LinearPixels(), uneven_batch(8, 16)
    axis = train.AXIS if num_devices else None
    state, step = pixel_state(model), train.make_train_step(model, keep_gradients, config, 3, axis)
    if num_devices:
        step = train.pmap_step(step, jax.devices()[:num_devices], donate=False)
    given = train.split_batch(batch, num_devices) if num_devices else batch
    new, metrics = step(state, given)
    kernel, bias = (np.asarray(state.params['Dense_0'][k], np.float64) for k in ('kernel', 'bias'))
    assert float(metrics['loss']) == pytest.approx(loss_by_hand(kernel, bias, batch), rel=1e-5)
    for i in range(3):
        for j in range(CLASSES):
            change = np.zeros((3, CLASSES))
            change[i, j] = 1e-4
            above, below = (loss_by_hand(kernel + s * change, bias, batch) for s in (1, -1))
            found = float(new.opt_state['Dense_0']['kernel'][i, j])
            assert found == pytest.approx((above - below) / 2e-4, rel=1e-3, abs=1e-5)


class DroppedPixels(nn.Module):
    """Keeps what dropout kept, of all devices, among the statistics."""

    @nn.compact
    def __call__(self, images, train):
        kept = nn.Dropout(0.5, deterministic=not train)(jnp.ones(images.shape[:-1]))
        masks = self.variable('batch_stats', 'masks', jnp.zeros, ())
        if train:
            masks.value = jax.lax.all_gather(kept, 'batch')
        return nn.Dense(CLASSES)(images * kept[..., None])


def test_dropout_differs_by_step_and_device_and_repeats(config):
    model, batch = DroppedPixels(), train.split_batch(uneven_batch(4, 16), 2)
    step = train.make_train_step(model, keep_gradients, config, CLASSES, train.AXIS)
    step = train.pmap_step(step, jax.devices()[:2], donate=False)
    state = pixel_state(model)
    found = []
    for number in (0, 1, 1):
        state = state.replace(step=jnp.asarray(number, jnp.int32))
        new, _ = step(replicate(state, jax.devices()[:2]), batch)
        found.append(np.asarray(new.batch_stats['masks']))
    assert found[0].shape == (2, 2, 16, 16) and 0.8 < found[0].mean() < 1.2
    assert (found[0][0] != found[0][1]).any()
    assert (found[0] != found[1]).any()
    np.testing.assert_array_equal(found[1], found[2])


def test_steps_that_are_not_finite_are_skipped(config):
    """A weight that makes the loss of one class infinite: batches with and without the class."""
    config.loss.class_weights, config.optimizer.skip_nonfinite = (1.0, 1.0, float('inf')), 1
    model, batch = PixelModel(), uneven_batch(4)
    optimizer, _ = train.make_optimizer(config.optimizer, 10, encoder_trainable=True)
    state = pixel_state(model, optimizer)
    step = jax.jit(train.make_train_step(model, optimizer, config, CLASSES))
    skipped, metrics = step(state, batch)
    assert not np.isfinite(metrics['loss'])
    assert skipped.step == 1
    jax.tree.map(np.testing.assert_array_equal, skipped.replace(step=state.step), state)
    batch['label'][batch['label'] == 2] = 1
    done, metrics = step(skipped, batch)
    assert np.isfinite(metrics['loss']) and done.step == 2
    for name in ('params', 'batch_stats', 'opt_state'):
        before, after = (jax.tree.leaves(getattr(s, name)) for s in (skipped, done))
        assert any((a != b).any() for a, b in zip(before, after, strict=True)), name
        assert all(np.isfinite(leaf).all() for leaf in after)


def test_batch_of_only_ignored_pixels_changes_no_parameter(config):
    config.loss.dice_weight = 0.0
    state, batch = initial_state(config), uneven_batch(4)
    batch['label'][:] = masks.IGNORE
    new, metrics = run(config, state, batch, 2)
    assert float(metrics['loss']) == 0
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(new.opt_state))


def test_bfloat16_is_close_and_keeps_float32_state(config):
    state, batch = initial_state(config), uneven_batch(8)
    expected, metrics32 = run(config, state, batch, 0)
    config.model.dtype = 'bfloat16'
    actual, metrics16 = run(config, state, batch, 0)
    assert all(leaf.dtype != jnp.bfloat16 for leaf in jax.tree.leaves(actual))
    assert np.isclose(metrics16['loss'], metrics32['loss'], rtol=0.03)
    flat = [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(s.opt_state['decoder'])])
        for s in (actual, expected)
    ]
    assert np.corrcoef(*flat)[0, 1] > 0.97


def test_recalibrated_statistics_are_those_of_the_pooled_batches(config):
    """The stem sees the same inputs whatever the batches, so there pooling must be exact."""
    state = initial_state(config)
    step = train.make_statistics_step(build_model(config.model, CLASSES), config)
    halves = [{'image': uneven_batch()['image'][part]} for part in (slice(0, 8), slice(8, 16))]
    stem = [jax.jit(step)(state, half)['encoder']['bn_Conv1'] for half in halves]
    whole = jax.jit(step)(state, {'image': uneven_batch()['image']})['encoder']['bn_Conv1']
    pooled = train.pool_statistics(stem)
    for key in ('mean', 'var'):
        np.testing.assert_allclose(pooled[key], whole[key], rtol=1e-4, atol=1e-6)
    # Nothing is left of the running statistics, in no layer.
    other = state.replace(batch_stats=jax.tree.map(lambda leaf: leaf + 1, state.batch_stats))
    again = jax.jit(step)(other, halves[0])
    jax.tree.map(np.testing.assert_array_equal, again, jax.jit(step)(state, halves[0]))


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [('name', 'sgdd', 'optimizer.name'), ('schedule', 'linear', 'optimizer.schedule')],
)
def test_unknown_optimizer_options(config, field, value, message):
    config.optimizer[field] = value
    with pytest.raises(ValueError, match=message):
        train.make_optimizer(config.optimizer, 10, True)


def test_number_of_class_weights_must_fit(config):
    config.loss.class_weights = (1.0, 2.0)
    with pytest.raises(ValueError, match='2 weights for 3 classes'):
        train.make_train_step(build_model(config.model, CLASSES), keep_gradients, config, CLASSES)


def test_warmup_and_cosine(config):
    config.optimizer.schedule, config.optimizer.warmup_steps = 'cosine', 10
    _, schedule = train.make_optimizer(config.optimizer, 100, True)
    rates = [float(schedule(step)) for step in (0, 5, 10, 55, 100)]
    np.testing.assert_allclose(rates, [0, 5e-4, 1e-3, 5e-4, 0], atol=1e-9)


@pytest.mark.parametrize('name', ['adam', 'adamw'])
def test_updates_follow_schedule_and_weight_decay(config, name):
    """A gradient that stays the same: Adam moves by the learning rate."""
    config.optimizer.name, config.optimizer.weight_decay = name, 0.1
    config.optimizer.schedule, config.optimizer.warmup_steps = 'cosine', 3
    optimizer, schedule = train.make_optimizer(config.optimizer, 10, True)
    params, gradients = {'decoder': np.array([2.0, -4.0])}, {'decoder': np.array([0.5, -0.25])}
    state = optimizer.init(params)
    decay = 0.1 * params['decoder'] if name == 'adamw' else 0
    rates = []
    for step in range(10):
        updates, state = optimizer.update(gradients, state, params)
        rates.append(float(schedule(step)))
        expected = -rates[-1] * (np.sign(gradients['decoder']) + decay)
        np.testing.assert_allclose(updates['decoder'], expected, rtol=1e-4, atol=1e-9)
    assert rates[0] == 0 and max(rates) == rates[3] == pytest.approx(1e-3)


def test_the_norm_of_the_whole_gradient_is_clipped(config):
    gradients = [{'decoder': np.array([3.0, 4.0])}, {'decoder': np.array([0.3, -0.2])}]
    by_hand = [{'decoder': np.array([0.6, 0.8])}, gradients[1]]  # of norm 1, and below
    params, found = {'decoder': np.zeros(2)}, []
    for clip_norm, given in ((1.0, gradients), (0.0, by_hand)):
        config.optimizer.clip_norm = clip_norm
        optimizer, _ = train.make_optimizer(config.optimizer, 10, True)
        state = optimizer.init(params)
        for gradient in given:
            updates, state = optimizer.update(gradient, state, params)
        found.append(updates['decoder'])
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_the_seed_decides_the_initial_weights(config):
    config.data.image_size = 32
    states = []
    for config.seed in (0, 0, 1):
        states.append(initial_state(config).params)
    assert relative_difference(states[1], states[0]) == 0
    assert relative_difference(states[2], states[0]) > 0.1
