"""One training step, on one device or on many."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from segmentation import cpu_runtime, losses
from segmentation.models import fast_conv, pretrained
from segmentation.models.unet import SegmentationModel, scale_images

# The pmap axis: devices, each with its part of the batch.
AXIS = 'batch'


@flax.struct.dataclass
class TrainState:
    """What a training step reads and changes."""

    step: jax.Array  # int32, number of steps done
    params: Any  # nested dict of float32 arrays
    batch_stats: Any  # running BatchNorm statistics, nested dict of float32 arrays
    opt_state: Any  # state of the optimizer


def make_optimizer(
    config: ConfigDict, num_steps: int, encoder_trainable: bool
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer and its learning-rate schedule.

    Args:
      config: the `optimizer` config.
      num_steps: length of the training, for a cosine schedule.
      encoder_trainable: whether the encoder's parameters are updated.

    Raises:
      ValueError: unknown name or schedule.
    """
    if config.schedule == 'constant':
        schedule = optax.constant_schedule(config.learning_rate)
    elif config.schedule == 'cosine':
        decay_steps = max(num_steps - config.warmup_steps, 1)
        schedule = optax.cosine_decay_schedule(config.learning_rate, decay_steps)
    else:
        raise ValueError(f"optimizer.schedule is 'constant' or 'cosine', not {config.schedule!r}.")
    if config.warmup_steps:
        warmup = optax.linear_schedule(0, config.learning_rate, config.warmup_steps)
        schedule = optax.join_schedules([warmup, schedule], [config.warmup_steps])
    if config.name == 'adam':
        make = optax.adam
    elif config.name == 'adamw':
        make = functools.partial(optax.adamw, weight_decay=config.weight_decay)
    else:
        raise ValueError(f"optimizer.name is 'adam' or 'adamw', not {config.name!r}.")
    optimizer = make(schedule)
    if encoder_trainable and (config.encoder_rate != 1 or config.encoder_after):
        # Its moments and their bias correction start with its first step.
        encoder = optax.conditionally_mask(
            make(lambda count: config.encoder_rate * schedule(count + config.encoder_after)),
            lambda step: step >= config.encoder_after,
        )
        optimizer = optax.multi_transform({'decoder': optimizer, 'encoder': encoder}, _part_of)
    if config.clip_norm:
        optimizer = optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)
    if not encoder_trainable:
        # The encoder then has no moments and no weight decay.
        optimizer = optax.multi_transform(
            {'decoder': optimizer, 'encoder': optax.set_to_zero()}, _part_of
        )
    if config.average:
        optimizer = average_parameters(optimizer, config.average)
    return optimizer, schedule


def _part_of(params: dict[str, Any]) -> dict[str, str]:
    return {part: part for part in params}


def average_parameters(
    optimizer: optax.GradientTransformation, decay: float
) -> optax.GradientTransformation:
    """The same optimizer, which also keeps an exponential moving average of the parameters.

    The average keeps min(decay, (1 + t) / (10 + t)) of its old value in step t, so that the initial
    parameters are soon forgotten (as TensorFlow's moving averages do). `averaged` reads it.

    Raises:
      ValueError: `decay` is not in (0, 1).
    """
    if not 0 < decay < 1:
        raise ValueError(f'optimizer.average is 0 (off) or between 0 and 1, not {decay}.')

    def init(params: Any) -> dict[str, Any]:
        state = {'optimizer': optimizer.init(params), 'count': jnp.zeros((), jnp.int32)}
        return {**state, 'average': params}

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, dict[str, Any]]:
        updates, inner = optimizer.update(grads, state['optimizer'], params)
        count = state['count']
        kept = jnp.minimum(decay, (1 + count) / (10 + count))
        average = optax.incremental_update(
            optax.apply_updates(params, updates), state['average'], 1 - kept
        )
        return updates, {'optimizer': inner, 'count': count + 1, 'average': average}

    return optax.GradientTransformation(init, update)


def averaged(params: Any, opt_state: Any) -> Any:
    """The parameters to evaluate and to use: their average, if the optimizer keeps one."""
    kept = isinstance(opt_state, Mapping) and 'average' in opt_state
    return opt_state['average'] if kept else params


_UNOPTIMIZED: dict[str, int | bool] = {
    'xla_backend_optimization_level': 0,
    'xla_llvm_disable_expensive_passes': True,
}


def init_state(
    model: SegmentationModel,
    optimizer: optax.GradientTransformation,
    config: ConfigDict,
) -> TrainState:
    """Initial state on the default device, with pretrained encoder weights if configured.

    Raises:
      ValueError, FileNotFoundError, ConnectionError: see `pretrained.load_weights`.
    """
    replaced = bool(config.model.pretrained)
    initialize = _initializer(model, config.data.image_size, blank_encoder=replaced)
    variables = initialize(jax.random.key(config.seed))
    if config.model.pretrained:
        weights = pretrained.load_weights(
            config.model.pretrained, config.model.width, config.model.pretrained_resolution
        )
        variables = pretrained.merge(variables, weights)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables['params'],
        batch_stats=variables.get('batch_stats', {}),
        opt_state=_optimizer_initializer(optimizer)(variables['params']),
    )


# Training runs of one process often differ only in their seed or optimizer.
@functools.lru_cache(maxsize=1)
def _initializer(model: SegmentationModel, size: int, blank_encoder: bool) -> Callable:
    """The compiled function from a key to variables, with zeros in the encoder if it is blank."""
    images = jnp.zeros((1, size, size, 3))

    def initialize(key: jax.Array) -> dict[str, Any]:
        with fast_conv.plain_convolutions():  # faster to trace; they are not computed
            variables = dict(model.init(key, images, train=False))
        if blank_encoder:  # Most of the program would compute random kernels for pretrained ones.
            params = variables['params']
            blank = jax.tree.map(jnp.zeros_like, params['encoder'])
            variables = {**variables, 'params': {**params, 'encoder': blank}}
        return variables

    # It runs once per training. To optimize it would take three times as long.
    return jax.jit(initialize, compiler_options=_compiler_options())


@functools.lru_cache(maxsize=1)
def _optimizer_initializer(optimizer: optax.GradientTransformation) -> Callable:
    # One program instead of one for every array.
    return jax.jit(optimizer.init, compiler_options=_compiler_options())


def _compiler_options() -> dict[str, int | bool] | None:
    return _UNOPTIMIZED if jax.default_backend() == 'cpu' else None


def make_train_step(
    model: SegmentationModel,
    optimizer: optax.GradientTransformation,
    config: ConfigDict,
    num_classes: int,
    axis_name: str | None = None,
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
    """Makes an optimizer step on a batch or, under `axis_name`, on this device's part of it.

    The loss is the weighted mean of the cross-entropy over all counted pixels of the global batch,
    plus `dice_weight` times the mean Dice loss of its images.

    Returns:
      A function from the state and a batch, of `image` uint8 `[B, S, S, 3]` and `label` uint8
      `[B, S, S]`, to the new state and the scalars `loss` (nats) and `gradient_norm` of the global
      batch.

    Raises:
      ValueError: the number of class weights is not the number of classes.
    """
    class_weights = np.asarray(config.loss.class_weights or [1.0] * num_classes, np.float32)
    if len(class_weights) != num_classes:
        raise ValueError(
            f'loss.class_weights has {len(class_weights)} weights for {num_classes} classes '
            '(background first).'
        )

    def sum_over_devices(tree: Any) -> Any:
        return jax.lax.psum(tree, axis_name) if axis_name else tree

    def train_step(
        state: TrainState, batch: dict[str, jax.Array]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        images, label = scale_images(batch['image'], config.data.input_range), batch['label']
        weights = losses.pixel_weights(label, jnp.asarray(class_weights))
        # Global counts, because a mean of means is not the global mean. Outside the differentiated
        # function, because a psum inside would multiply the gradients by the number of devices.
        total_weight = sum_over_devices(weights.sum())
        total_weight = jnp.where(total_weight > 0, total_weight, 1)
        num_images = sum_over_devices(len(images))
        dropout_key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        if axis_name:
            dropout_key = jax.random.fold_in(dropout_key, jax.lax.axis_index(axis_name))

        def loss_fn(params: Any) -> tuple[jax.Array, Any]:
            logits, updates = model.apply(
                {'params': params, 'batch_stats': state.batch_stats},
                images,
                train=True,
                mutable=['batch_stats'],
                rngs={'dropout': dropout_key},
            )
            nats = losses.cross_entropy(logits, label, config.loss.label_smoothing)
            loss = (weights * nats).sum() / total_weight
            if config.loss.dice_weight:
                dice = losses.dice_loss(logits, label).sum() / num_images
                loss += config.loss.dice_weight * dice
            return loss, updates.get('batch_stats', {})

        (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        loss, grads = sum_over_devices((loss, grads))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        new_state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        gradient_norm = optax.tree.norm(grads)
        if config.optimizer.skip_nonfinite:
            usable = jnp.isfinite(loss) & jnp.isfinite(gradient_norm)
            new_state = jax.tree.map(lambda new, old: jnp.where(usable, new, old), new_state, state)
            new_state = new_state.replace(step=state.step + 1)
        return new_state, {'loss': loss, 'gradient_norm': gradient_norm}

    return train_step


def pmap_step(
    step: Callable, devices: list[jax.Device] | None = None, donate: bool = True
) -> Callable:
    """Maps a step over all devices: replicated state, batches with a leading device axis."""
    return jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=None,
        devices=devices,
        donate_argnums=0 if donate else (),
    )


def split_batch(batch: dict[str, np.ndarray], num_devices: int) -> dict[str, np.ndarray]:
    """Splits `image` and `label` `[B, ...]` over D devices of this process: `[D, B / D, ...]`."""
    return cpu_runtime.settle(
        {
            key: batch[key].reshape(num_devices, -1, *batch[key].shape[1:])
            for key in ('image', 'label')
        }
    )


def make_statistics_step(
    model: SegmentationModel, config: ConfigDict
) -> Callable[[TrainState, dict], Any]:
    """Makes a step that returns the BatchNorm statistics of one batch; see `pool_statistics`."""
    model = model.clone(encoder_bn_momentum=0.0, decoder_bn_momentum=0.0)

    def statistics_step(state: TrainState, batch: dict[str, jax.Array]) -> Any:
        _, updates = model.apply(
            {'params': state.params, 'batch_stats': state.batch_stats},
            scale_images(batch['image'], config.data.input_range),
            train=True,
            mutable=['batch_stats'],
            rngs={'dropout': jax.random.key(config.seed)},
        )
        return updates.get('batch_stats', {})

    return statistics_step


def measure_statistics(
    statistics_step: Callable, state: TrainState, batches: Iterable[dict[str, np.ndarray]]
) -> dict[str, Any]:
    """Runs a pmapped `make_statistics_step` on batches; returns the result of `pool_statistics`."""
    num_devices = jax.local_device_count()
    measured = [
        jax.device_get(statistics_step(state, split_batch(batch, num_devices))) for batch in batches
    ]
    return pool_statistics(measured)


def pool_statistics(batches: list[Any]) -> Any:
    """Pools mean and variance over batches of equal size.

    The variance is the mean variance within batches plus the variance of their means ("precise
    BatchNorm", Wu and Johnson 2021).

    Args:
      batches: for each batch a tree of {'mean': `[C]`, 'var': `[C]`}.

    Returns:
      A tree of the same structure, float32.
    """
    first = batches[0]
    if set(first) == {'mean', 'var'}:
        means = np.stack([np.asarray(batch['mean'], np.float64) for batch in batches])
        within = np.mean([np.asarray(batch['var'], np.float64) for batch in batches], axis=0)
        return {
            'mean': means.mean(0).astype(np.float32),
            'var': (within + means.var(0)).astype(np.float32),
        }
    return {name: pool_statistics([batch[name] for batch in batches]) for name in first}
