"""Training: the step, and the loop around it.

A run directory holds `config.json`, `run.json` (command, versions, data), `metrics.jsonl`,
`tensorboard/`, `pictures/` and `checkpoints/`. Starting a run again in its directory continues it,
bitwise as if it had never stopped.
"""

import collections
import contextlib
import fcntl
import importlib.metadata
import json
import logging
import math
import os
import pathlib
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict
from tqdm import tqdm

from segmentation import (
    checkpoint,
    coco,
    evaluate,
    input_pipeline,
    labels,
    losses,
    metrics,
    pretrained,
    writers,
)
from segmentation.config import read_config, save_config
from segmentation.model import SegmentationModel, build_model, scale_images

logger = logging.getLogger(__name__)

AXIS = 'batch'
# Fields that may differ when a run is continued: they do not change what has been computed so far.
_FREE_FIELDS = {
    'data.data_dir', 'data.threads', 'data.prefetch', 'train.num_steps', 'train.num_epochs',
    'train.log_every', 'eval_batch_size',
}  # fmt: skip


class TrainingStopped(Exception):
    """A signal asked to stop; the state is saved and the same command continues."""


class TrainingDiverged(RuntimeError):
    """The loss is no longer a finite number."""


@flax.struct.dataclass
class TrainState:
    """All that a training step reads and changes."""

    step: jax.Array  # int32, steps done
    params: Any
    batch_stats: Any
    opt_state: Any


def make_optimizer(
    config: ConfigDict, num_steps: int, encoder_trainable: bool
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimiser and its learning-rate schedule, from the `optimizer` config.

    Raises:
      ValueError: unknown name or schedule.
    """
    if config.schedule == 'constant':
        schedule = optax.constant_schedule(config.learning_rate)
    elif config.schedule == 'cosine':
        decay_steps = max(num_steps - config.warmup_steps, 1)
        schedule = optax.cosine_decay_schedule(config.learning_rate, decay_steps)
    else:
        raise ValueError(
            f"optimizer.schedule is 'constant' or 'cosine', not {config.schedule!r}."
        )
    if config.warmup_steps:
        warmup = optax.linear_schedule(0, config.learning_rate, config.warmup_steps)
        schedule = optax.join_schedules([warmup, schedule], [config.warmup_steps])
    if config.name == 'adam':
        optimizer = optax.adam(schedule)
    elif config.name == 'adamw':
        optimizer = optax.adamw(schedule, weight_decay=config.weight_decay)
    else:
        raise ValueError(f"optimizer.name is 'adam' or 'adamw', not {config.name!r}.")
    if config.clip_norm:
        optimizer = optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)
    if not encoder_trainable:
        # Not even moments are kept for the encoder, and weight decay does not reach it.
        optimizer = optax.multi_transform(
            {'decoder': optimizer, 'encoder': optax.set_to_zero()},
            lambda params: {part: part for part in params},
        )
    return optimizer, schedule


def init_state(
    model: SegmentationModel,
    optimizer: optax.GradientTransformation,
    config: ConfigDict,
) -> TrainState:
    """Initial state on the default device, with pretrained encoder weights if configured.

    Raises:
      ValueError: the weights do not fit the model (see `pretrained`).
    """
    size = config.data.image_size
    images = jnp.zeros((1, size, size, 3))
    variables = jax.jit(lambda key: model.init(key, images, train=False))(
        jax.random.key(config.seed)
    )
    if config.model.pretrained:
        weights = pretrained.load_weights(
            config.model.pretrained, config.model.width, config.model.pretrained_resolution
        )
        variables = pretrained.merge(variables, weights)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables['params'],
        batch_stats=variables.get('batch_stats', {}),
        opt_state=optimizer.init(variables['params']),
    )


def make_train_step(
    model: SegmentationModel,
    optimizer: optax.GradientTransformation,
    config: ConfigDict,
    num_classes: int,
    axis_name: str | None = None,
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
    """One optimiser step on a batch, or on this device's share of it under `axis_name`.

    The step takes the state and a batch of `image` uint8 `[B, S, S, 3]` and `label` uint8
    `[B, S, S]`, and returns the new state and `loss` and `gradient_norm`, both over the global
    batch. The loss is the weighted mean of the cross-entropy over all counted pixels of the global
    batch, plus `dice_weight` times the mean Dice loss of its images.

    Raises:
      ValueError: the number of class weights is not the number of classes.
    """
    class_weights = np.asarray(config.loss.class_weights or [1.0] * num_classes, np.float32)
    if len(class_weights) != num_classes:
        raise ValueError(
            f'loss.class_weights has {len(class_weights)} weights for {num_classes} classes '
            '(background first).'
        )

    def sum_over_devices(tree):
        return jax.lax.psum(tree, axis_name) if axis_name else tree

    def train_step(state, batch):
        images, label = scale_images(batch['image'], config.data.input_range), batch['label']
        weights = losses.pixel_weights(label, jnp.asarray(class_weights))
        # Global counts, taken outside the differentiated function: a psum inside it would multiply
        # the gradients by the number of devices, and a mean of means is not the global mean.
        total_weight = sum_over_devices(weights.sum())
        total_weight = jnp.where(total_weight > 0, total_weight, 1)
        num_images = sum_over_devices(len(images))
        dropout_key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        if axis_name:
            dropout_key = jax.random.fold_in(dropout_key, jax.lax.axis_index(axis_name))

        def loss_fn(params):
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
        return new_state, {'loss': loss, 'gradient_norm': optax.global_norm(grads)}

    return train_step


def pmap_step(step: Callable, devices: list[jax.Device] | None = None, donate: bool = True):
    """A step over all devices: replicated first argument, batch with leading device axis."""
    return jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=None,
        devices=devices,
        donate_argnums=0 if donate else (),
    )


def replicate(tree: Any, devices: list[jax.Device] | None = None) -> Any:
    """Places a tree on every device of every process, once, as `pmap_step` expects it."""
    mesh = Mesh(np.asarray(devices or jax.devices()), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def split_batch(batch: dict[str, np.ndarray], num_devices: int) -> dict[str, np.ndarray]:
    """Gives `image` and `label` a leading axis of this process' devices."""
    return {
        key: batch[key].reshape(num_devices, -1, *batch[key].shape[1:])
        for key in ('image', 'label')
    }


def make_statistics_step(
    model: SegmentationModel, config: ConfigDict
) -> Callable[[TrainState, dict], Any]:
    """BatchNorm statistics (mean, variance) of one batch under the present parameters."""
    model = model.clone(encoder_bn_momentum=0.0, decoder_bn_momentum=0.0)

    def statistics_step(state, batch):
        _, updates = model.apply(
            {'params': state.params, 'batch_stats': state.batch_stats},
            scale_images(batch['image'], config.data.input_range),
            train=True,
            mutable=['batch_stats'],
            rngs={'dropout': jax.random.key(config.seed)},
        )
        return updates.get('batch_stats', {})

    return statistics_step


def pool_statistics(batches: list[Any]) -> Any:
    """Mean and variance over several equally large batches from those of each.

    The variance is the mean variance within batches plus the variance of their means (Wu & Johnson
    2021, "precise BatchNorm").

    Args:
      batches: trees of {'mean': `[C]`, 'var': `[C]`}, one per batch.

    Returns:
      A tree of the same form, float32.
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


@contextlib.contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """An event that SIGTERM (preemption) or Ctrl-C sets; a second signal acts as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # Python delivers signals to the main thread only
        return
    previous = {}

    def handle(number, frame):
        del frame
        event.set()
        signal.signal(number, previous[number])

    for number in (signal.SIGTERM, signal.SIGINT):
        previous[number] = signal.signal(number, handle)
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _only_writer(workdir: pathlib.Path) -> Iterator[None]:
    """Refuses a second process that would write into the same run directory."""
    with (workdir / 'lock').open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f'Another process is training in {workdir}; choose another --workdir.'
            ) from error
        yield


def _describe_run(prepared: coco.Prepared, reports: dict, class_names: tuple[str, ...]) -> dict:
    """What a reader of the run directory needs to know where its numbers come from."""
    source = pathlib.Path(__file__).parent
    try:
        git = ['git', '-C', str(source), 'describe', '--always', '--dirty', '--abbrev=12']
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = 'unknown'
    packages = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'numpy', 'pillow')
    return {
        'command': [sys.executable, *sys.argv],
        'code': commit,
        'python': platform.python_version(),
        'packages': {name: importlib.metadata.version(name) for name in packages},
        'devices': [str(device) for device in jax.devices()],
        'data': {'path': str(prepared.path), 'fingerprint': prepared.fingerprint},
        'class_names': list(class_names),
        'images': reports,
    }


def _flat(tree: dict, prefix: str = '') -> dict:
    flat = {}
    for key, value in tree.items():
        flat |= _flat(value, f'{prefix}{key}.') if isinstance(value, dict) else {
            f'{prefix}{key}': value
        }
    return flat


def _check_same_run(workdir: pathlib.Path, config: ConfigDict, run: dict) -> None:
    """Raises ValueError if the directory holds a run of another config or other data."""
    if not (workdir / 'run.json').exists():
        return
    # Through JSON, so that tuples compare as the lists they were saved as.
    new = _flat(json.loads(json.dumps(config.to_dict())))
    old = _flat(read_config(workdir / 'config.json').to_dict())
    differing = [
        f'{name}: {old.get(name)!r} there, {new.get(name)!r} now'
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and name not in _FREE_FIELDS
    ]
    before = json.loads((workdir / 'run.json').read_text())
    if before['data']['fingerprint'] != run['data']['fingerprint']:
        differing.append(f"data: {before['data']['fingerprint']} there, "
                         f"{run['data']['fingerprint']} now")  # fmt: skip
    if differing:
        raise ValueError(
            f'{workdir} holds another run, which cannot be continued with:\n  '
            + '\n  '.join(differing)
            + '\nChoose another --workdir.'
        )


def num_training_steps(config: ConfigDict, num_images: int) -> int:
    """Steps of a run: `num_steps`, or `num_epochs` passes over the images."""
    if config.num_steps:
        return config.num_steps
    return max(1, round(config.num_epochs * num_images / config.batch_size))


def train(config: ConfigDict, workdir: pathlib.Path) -> dict:
    """Trains, or continues, a run.

    Args:
      config: see `configs/default.py`.
      workdir: the run directory; made if it does not exist.

    Returns:
      `step`, `best_step`, `images_per_second`, and `selection`, the scores of the last evaluation
      (see `metrics.summarize`).

    Raises:
      ValueError: a config or data problem; says which.
      TrainingStopped: SIGTERM or Ctrl-C; the state is saved.
      TrainingDiverged: the loss is NaN or infinite.
    """
    num_devices = jax.local_device_count()
    process_batch, left_over = divmod(config.train.batch_size, jax.process_count())
    if left_over or process_batch % num_devices or process_batch == 0:
        raise ValueError(
            f'train.batch_size={config.train.batch_size} is the global batch size; it must be a '
            f'multiple of the number of devices, {jax.device_count()} '
            f'({jax.process_count()} processes).'
        )
    primary = jax.process_index() == 0
    prepared = input_pipeline.open_data(config.data)
    class_names = labels.parse_label_space(config.data.label_space).class_names
    num_classes = len(class_names)
    examples, train_report = input_pipeline.select_examples(prepared, config.data, 'train')
    selection, selection_report = input_pipeline.select_examples(prepared, config.data, 'selection')
    num_steps = num_training_steps(config.train, len(examples))

    model = build_model(config.model, num_classes, bn_axis_name=AXIS)
    optimizer, schedule = make_optimizer(
        config.optimizer, num_steps, config.model.encoder_trainable
    )

    workdir.mkdir(parents=True, exist_ok=True)
    reports = {'train': train_report, 'selection': selection_report}
    run = _describe_run(prepared, reports, class_names)
    with contextlib.ExitStack() as stack:
        if primary:
            stack.enter_context(_only_writer(workdir))
            _check_same_run(workdir, config, run)
            save_config(config, workdir / 'config.json')
            (workdir / 'run.json').write_text(json.dumps(run, indent=2) + '\n')
            logger.info(
                'Training on %d images, choosing on %d; %d steps of %d images on %d device(s).',
                len(examples), len(selection), num_steps, config.train.batch_size,
                jax.device_count(),
            )  # fmt: skip

        manager = stack.enter_context(
            checkpoint.open_manager(workdir.absolute(), keep_every=config.train.keep_every)
        )
        state = replicate(init_state(model, optimizer, config))
        batches = iter(
            input_pipeline.training_batches(
                examples,
                batch_size=config.train.batch_size,
                seed=config.seed,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
            )
        )
        start = 0
        if restored := checkpoint.restore_latest(manager, state):
            start, state, data_state = restored
            batches.set_state(data_state)
            if primary:
                logger.info('Continuing %s at step %d.', workdir, start)
        writer = None
        if primary:
            writer = writers.MetricWriter(workdir, start)
            stack.callback(writer.close)

        train_step = pmap_step(make_train_step(model, optimizer, config, num_classes, AXIS))
        recalibrate = _make_recalibrate(model, config, examples)
        predict = evaluate.make_predict(model, config.data.input_range)
        stop = stack.enter_context(_stop_requested())
        progress = stack.enter_context(
            tqdm(total=num_steps, initial=start, unit='step', disable=not primary, desc='train')
        )

        def finished(metrics_of_steps):
            """Fetches the metrics of steps; raises if a loss is not finite."""
            fetched = [
                (number, jax.tree.map(float, values)) for number, values in metrics_of_steps
            ]
            for number, values in fetched:
                if not math.isfinite(values['loss']):
                    raise TrainingDiverged(
                        f"Loss is {values['loss']} at step {number} (learning rate "
                        f'{float(schedule(number - 1)):g}). Last good checkpoint: step '
                        f'{manager.latest_step()} in {workdir}. Lower optimizer.learning_rate or '
                        'set optimizer.clip_norm.'
                    )
            return fetched

        def evaluate_and_save(step, state):
            state = recalibrate(state)
            variables = {'params': state.params, 'batch_stats': state.batch_stats}
            result = evaluate.evaluate(
                predict,
                variables,
                selection,
                num_classes=num_classes,
                batch_size=config.eval_batch_size,
                progress='evaluate',
            )
            summary = metrics.summarize(result['network'], class_names, num_resamples=0)
            summary['loss'] = float(result['loss'].mean())
            best = {checkpoint.BEST_METRIC: summary['mean_iou_foreground']}
            checkpoint.save(manager, step, state, batches.get_state(), best)
            if writer:
                scores = {f'iou/{name}': value for name, value in summary['iou'].items()}
                scores |= {k: summary[k] for k in ('loss', 'mean_iou', 'mean_iou_foreground')}
                writer.scalars(step, {f'selection/{k}': v for k, v in scores.items()})
                tqdm.write(
                    f'step {step}: selection loss {summary["loss"]:.4f}, '
                    + ', '.join(
                        f'{name} {"–" if value is None else format(value, ".3f")}'
                        for name, value in summary['iou'].items()
                    )
                )
                if config.train.num_pictures:
                    _write_pictures(writer, step, predict, variables, selection, config)
            return state, summary

        step, window, waited, began = start, [], 0.0, time.perf_counter()
        speed, summary = None, None
        in_flight = collections.deque()
        while step < num_steps:
            before = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - before
            state, step_metrics = train_step(state, split_batch(batch, num_devices))
            step += 1
            progress.update()
            window.append((step, step_metrics))
            # The host may be two steps ahead: enough to keep devices busy, and a signal is heeded
            # soon.
            in_flight.append(step_metrics['loss'])
            if len(in_flight) > 2:
                in_flight.popleft().block_until_ready()

            last = step == num_steps
            evaluates = last or step % config.train.eval_every == 0
            saves = config.train.checkpoint_every and step % config.train.checkpoint_every == 0
            logs = evaluates or saves or step % config.train.log_every == 0
            stopping = stop.is_set()
            if jax.process_count() > 1:
                # All processes must stop at the same step.
                stopping = logs and bool(multihost_utils.process_allgather(stopping).any())
            if logs or stopping:
                values = finished(window)
                elapsed = time.perf_counter() - began
                speed = len(values) * config.train.batch_size / elapsed
                means = {
                    key: float(np.mean([value[key] for _, value in values])) for key in values[0][1]
                }
                if writer:
                    writer.scalars(
                        step,
                        {
                            **{f'train/{key}': value for key, value in means.items()},
                            'train/learning_rate': float(schedule(step - 1)),
                            'train/images_per_second': speed,
                            'train/waiting_for_data': waited / elapsed,
                        },
                    )
                progress.set_postfix_str(f'{speed:.1f} img/s, loss {means["loss"]:.4f}')
                window, waited = [], 0.0
            if evaluates:
                state, summary = evaluate_and_save(step, state)
            elif saves or stopping:
                checkpoint.save(manager, step, state, batches.get_state())
            if stopping and not last:
                manager.wait_until_finished()
                raise TrainingStopped(f'Stopped and saved at step {step} of {num_steps}.')
            if logs:
                began = time.perf_counter()
        manager.wait_until_finished()
        manager.check_for_errors()
        return {
            'step': step,
            'best_step': manager.best_step(),
            'images_per_second': speed,
            'selection': summary,
        }


def _make_recalibrate(
    model: SegmentationModel, config: ConfigDict, examples: input_pipeline.Examples
) -> Callable[[TrainState], TrainState]:
    """Returns a function that measures the BatchNorm statistics of a state anew.

    A training step never reads the running statistics, so this changes what is evaluated and saved
    but not the course of the training. The batches are the first ones of the training order.
    """
    num_batches = config.train.recalibrate_batches
    if not num_batches:
        return lambda state: state
    statistics_step = pmap_step(make_statistics_step(model, config), donate=False)
    updated = ['decoder']
    if config.model.encoder_trainable and config.model.encoder_statistics == 'batch':
        updated.append('encoder')

    def recalibrate(state):
        batches = iter(
            input_pipeline.training_batches(
                examples,
                batch_size=config.train.batch_size,
                seed=config.seed,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
            )
        )
        measured = []
        for _ in range(num_batches):
            batch = split_batch(next(batches), jax.local_device_count())
            measured.append(jax.device_get(statistics_step(state, batch)))
        fresh = {
            part: pool_statistics([batch[part] for batch in measured])
            for part in updated
            if part in state.batch_stats
        }
        return state.replace(batch_stats={**state.batch_stats, **replicate(fresh)})

    return recalibrate


def _write_pictures(
    writer: writers.MetricWriter,
    step: int,
    predict: Callable,
    variables: Any,
    examples: input_pipeline.Examples,
    config: ConfigDict,
) -> None:
    """Writes photograph, truth and prediction of the same few examples each time."""
    count = min(config.train.num_pictures, len(examples), config.eval_batch_size)
    chosen = [examples[i] for i in np.linspace(0, len(examples) - 1, count).astype(int)]
    images, truth = (np.stack([example[key] for example in chosen]) for key in ('image', 'label'))
    # As large as an evaluation batch: another size would be another compilation.
    padded = np.pad(images, [(0, config.eval_batch_size - count), (0, 0), (0, 0), (0, 0)])
    predicted = np.asarray(predict(evaluate.on_local_devices(variables), padded)).argmax(-1)
    grid = writers.prediction_grid(images, truth, predicted[:count].astype(np.uint8))
    writer.picture(step, 'predictions', grid)


def initialize_processes(coordinator: str, num_processes: int, process_id: int) -> None:
    """Joins several processes into one run (`jax.distributed`).

    Process 0 listens at `coordinator` (host:port), and only at that address: jax' own default would
    be to listen at all of them.
    """
    if jax.config.jax_platforms == 'cpu' or os.environ.get('JAX_PLATFORMS') == 'cpu':
        jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    jax.distributed.initialize(
        coordinator_address=coordinator,
        num_processes=num_processes,
        process_id=process_id,
        coordinator_bind_address=coordinator if process_id == 0 else None,
    )
