"""The training loop.

A run directory holds `config.json`, `run.json` (command, versions, data), `metrics.jsonl`,
`tensorboard/`, `pictures/` and `checkpoints/`. Starting a run again in its directory continues it,
bitwise as if it had never stopped.
"""

import collections
import contextlib
import functools
import itertools
import logging
import math
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import absl.logging
import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict
from tqdm import tqdm

from segmentation import (
    checkpoint,
    cpu_runtime,
    evaluate,
    metrics,
    overlays,
    train_step,
    workdir,
    writers,
)
from segmentation.data import input_pipeline, label_spaces
from segmentation.data.examples import Examples, open_data, select_examples
from segmentation.models.unet import SegmentationModel, build_model

logger = logging.getLogger(__name__)

# Exit statuses of commands that train: "temporary failure, try again" and "data error" of
# sysexits.h. A scheduler may restart the first.
EXIT_STOPPED = 75
EXIT_DIVERGED = 65


class TrainingStopped(Exception):
    """A signal asked to stop; the state is saved and the same command continues."""


class TrainingDiverged(RuntimeError):
    """The loss, a gradient or the state is no longer finite."""


def command(main: Callable[..., int]) -> Callable[..., int]:
    """Makes `main` the main function of a command that trains.

    What ends a training is said on standard error, and is the exit status: `EXIT_STOPPED`,
    `EXIT_DIVERGED`, or 1 for mistakes in config or data and for files that cannot be written.
    """

    @functools.wraps(main)
    def run(*args, **kwargs) -> int:
        logging.basicConfig(level=logging.WARNING, format='%(message)s')
        logging.getLogger('segmentation').setLevel(logging.INFO)
        # Orbax logs, with all that led to it, what it raises too.
        absl.logging.set_verbosity(absl.logging.FATAL)
        sys.unraisablehook = _report_unraisable
        try:
            return main(*args, **kwargs)
        except TrainingStopped as stopped:
            print(f'{stopped} The same command continues.', file=sys.stderr)
            return EXIT_STOPPED
        except TrainingDiverged as diverged:
            print(diverged, file=sys.stderr)
            return EXIT_DIVERGED
        except (ValueError, OSError) as error:
            print(f'{type(error).__name__}: {error}', file=sys.stderr)
            return 1

    return run


def _report_unraisable(error) -> None:
    """Python's own, without what hides why a checkpoint could not be written."""
    # Every other write that was under way then finds that nobody waits for it.
    if str(error.exc_value) != 'Event loop is closed':
        sys.__unraisablehook__(error)


@contextlib.contextmanager
def stop_requested() -> Iterator[threading.Event]:
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


def num_training_steps(config: ConfigDict, num_images: int) -> int:
    """Steps of a run: `num_steps`, or `num_epochs` passes over the images."""
    if config.num_steps:
        return config.num_steps
    return max(1, round(config.num_epochs * num_images / config.batch_size))


def train(
    config: ConfigDict,
    directory: pathlib.Path,
    on_evaluation: Callable[[], None] | None = None,
    profile_steps: int = 0,
) -> dict:
    """Trains, or continues, a run.

    Args:
      config: see `configs/default.py`.
      directory: the run directory; made if it does not exist.
      on_evaluation: called after each evaluation before the last step, when the scores are in
        `metrics.jsonl` and the state is saved; what it raises ends the training.
      profile_steps: how many steps, from the sixth of this call on, are traced by jax' profiler
        into `profile/`.

    Returns:
      `step`, `best_step`, `images_per_second`, and `selection`, the scores of the last evaluation
      (see `metrics.summarize`).

    Raises:
      ValueError: a config or data problem; says which.
      TrainingStopped: SIGTERM or Ctrl-C; the state is saved.
      TrainingDiverged: the loss, a gradient or the state is NaN or infinite (after more steps in
        a row than `optimizer.skip_nonfinite`). Such a state is never saved.
      OSError: something cannot be written; the same command continues once it can.
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
    prepared = open_data(config.data)
    class_names = label_spaces.parse_label_space(config.data.label_space).class_names
    num_classes = len(class_names)
    examples, train_report = select_examples(prepared, config.data, 'train')
    selection, selection_report = select_examples(prepared, config.data, 'selection')
    num_steps = num_training_steps(config.train, len(examples))

    model = build_model(config.model, num_classes, bn_axis_name=train_step.AXIS)
    optimizer, schedule = train_step.make_optimizer(
        config.optimizer, num_steps, config.model.encoder_trainable
    )

    directory.mkdir(parents=True, exist_ok=True)
    reports = {'train': train_report, 'selection': selection_report}
    run = workdir.describe_run(prepared, reports, class_names)
    with contextlib.ExitStack() as stack:
        if primary:
            stack.enter_context(workdir.claim(directory))
            workdir.write_description(directory, config, run)
            logger.info(
                'Training on %d images, choosing on %d; %d steps of %d images on %d device(s).',
                len(examples), len(selection), num_steps, config.train.batch_size,
                jax.device_count(),
            )  # fmt: skip

        manager = stack.enter_context(
            checkpoint.open_manager(directory, keep_every=config.train.keep_every)
        )
        state = evaluate.replicate(train_step.init_state(model, optimizer, config))
        jax.clear_caches()  # the programs that made it
        cpu_runtime.release_memory()

        def first_batches(workers=0):
            return input_pipeline.training_batches(
                examples,
                batch_size=config.train.batch_size,
                seed=config.seed,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
                workers=workers,
            )

        batches = first_batches(config.data.workers)
        start = 0
        if restored := checkpoint.restore_latest(manager, state):
            start, state, data_state = restored
            state = evaluate.replicate(state)
            batches.set_state(data_state)
            if primary:
                logger.info('Continuing %s at step %d.', directory, start)
        writer = None
        if primary:
            writer = writers.MetricWriter(directory, start)
            stack.callback(writer.close)

        step_fn = train_step.pmap_step(
            train_step.make_train_step(model, optimizer, config, num_classes, train_step.AXIS)
        )
        recalibrate = _make_recalibrate(model, config, first_batches)
        predict = evaluate.make_predict(model, config.data.input_range)
        stop = stack.enter_context(stop_requested())
        progress = stack.enter_context(
            tqdm(total=num_steps, initial=start, unit='step', disable=not primary, desc='train')
        )

        def diverged(what, step):
            return TrainingDiverged(
                f'{what} at step {step} (learning rate {float(schedule(step - 1)):g}). Last good '
                f'checkpoint: step {manager.latest_step()} in {directory}. Lower '
                'optimizer.learning_rate or set optimizer.clip_norm, or skip such steps: '
                'optimizer.skip_nonfinite.'
            )

        skipped_in_a_row = 0

        def finished(metrics_of_steps):
            """Fetches the metrics of steps; raises if too many in a row are not finite."""
            nonlocal skipped_in_a_row
            fetched = [(number, jax.tree.map(float, values)) for number, values in metrics_of_steps]
            for number, values in fetched:
                if all(map(math.isfinite, values.values())):
                    skipped_in_a_row = 0
                    continue
                skipped_in_a_row += 1
                what = f'Loss is {values["loss"]}, norm of the gradient {values["gradient_norm"]}'
                if skipped_in_a_row > config.optimizer.skip_nonfinite:
                    raise diverged(what, number)
                logger.warning('%s at step %d, which is skipped.', what, number)
            return fetched

        def check_state(step, state):
            """Raises if the state is not finite: what follows from it would be worth nothing."""
            for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(state)):
                if not np.isfinite(leaf).all():
                    raise diverged(f'{jax.tree_util.keystr(path)} is not finite', step)

        def score(state):
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
            return variables, summary

        def evaluate_and_save(step, state):
            state = recalibrate(state)
            check_state(step, state)
            variables, summary = score(state)
            best = {checkpoint.BEST_METRIC: summary['mean_iou_foreground']}
            if writer:
                scores = {f'iou/{name}': value for name, value in summary['iou'].items()}
                scores |= {k: summary[k] for k in ('loss', 'mean_iou', 'mean_iou_foreground')}
                # Before the checkpoint: a run that continues from it must not lack them.
                writer.scalars(step, {f'selection/{k}': v for k, v in scores.items()})
                if config.train.num_pictures:
                    _write_pictures(writer, step, predict, variables, selection, config)
            checkpoint.save(manager, step, state, batches.get_state(), best)
            if writer:
                tqdm.write(
                    f'step {step}: selection loss {summary["loss"]:.4f}, '
                    + ', '.join(
                        f'{name} {"–" if value is None else format(value, ".3f")}'
                        for name, value in summary['iou'].items()
                    )
                )
            # Garbage with arrays in it, and free memory that training steps would not use.
            cpu_runtime.release_memory()
            return state, summary

        step, window, waited, began = start, [], 0.0, time.perf_counter()
        speed, summary = None, None
        in_flight = collections.deque()
        trace = stack.enter_context(contextlib.ExitStack())
        while step < num_steps:
            if profile_steps and step == start + 5:
                jax.block_until_ready(state)
                trace.enter_context(jax.profiler.trace(directory / 'profile'))
            before = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - before
            batch = train_step.split_batch(batch, num_devices)
            if step == start:
                cpu_runtime.compile_ahead(step_fn, state, batch)
            state, step_metrics = step_fn(state, batch)
            step += 1
            progress.update()
            window.append((step, step_metrics))
            # The host may be two steps ahead: enough to keep devices busy, and a signal is heeded
            # soon.
            in_flight.append(step_metrics['loss'])
            if len(in_flight) > 2:
                in_flight.popleft().block_until_ready()
            if profile_steps and step == start + 5 + profile_steps:
                jax.block_until_ready(state)
                trace.close()

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
                # Without the steps that were skipped.
                counted = [value for _, value in values if all(map(math.isfinite, value.values()))]
                means = {
                    key: float(np.mean([value[key] for value in counted])) if counted else None
                    for key in values[0][1]
                }
                if writer:
                    writer.scalars(
                        step,
                        {
                            **{f'train/{key}': value for key, value in means.items()},
                            'train/learning_rate': float(schedule(step - 1)),
                            'train/images_per_second': speed,
                            'train/skipped_steps': len(values) - len(counted),
                            'train/waiting_for_data': waited / elapsed,
                        },
                    )
                loss = '–' if means['loss'] is None else f'{means["loss"]:.4f}'
                progress.set_postfix_str(f'{speed:.1f} img/s, loss {loss}')
                window, waited = [], 0.0
            if evaluates:
                state, summary = evaluate_and_save(step, state)
                if on_evaluation and not last:
                    on_evaluation()
            elif saves or stopping:
                check_state(step, state)
                checkpoint.save(manager, step, state, batches.get_state())
            if stopping and not last:
                checkpoint.wait(manager)
                raise TrainingStopped(f'Stopped and saved at step {step} of {num_steps}.')
            if logs:
                began = time.perf_counter()
        checkpoint.wait(manager)
        if summary is None:  # it was complete before
            _, summary = score(state)
        return {
            'step': step,
            'best_step': manager.best_step(),
            'images_per_second': speed,
            'selection': summary,
        }


def _make_recalibrate(
    model: SegmentationModel, config: ConfigDict, first_batches: Callable[[], Iterator[dict]]
) -> Callable[[train_step.TrainState], train_step.TrainState]:
    """Returns a function that measures the BatchNorm statistics of a state anew.

    A training step normalises by its own batch, so this changes what is evaluated and saved but
    not the course of the training. The batches are the first ones of the training order.
    """
    num_batches = config.train.recalibrate_batches
    if not num_batches:
        return lambda state: state
    statistics_step = train_step.pmap_step(
        train_step.make_statistics_step(model, config), donate=False
    )
    updated = ['decoder']
    if config.model.encoder_trainable and config.model.encoder_statistics == 'batch':
        updated.append('encoder')

    def recalibrate(state):
        measured = []
        for batch in itertools.islice(first_batches(), num_batches):
            batch = train_step.split_batch(batch, jax.local_device_count())
            measured.append(jax.device_get(statistics_step(state, batch)))
        fresh = {
            part: train_step.pool_statistics([batch[part] for batch in measured])
            for part in updated
            if part in state.batch_stats
        }
        return state.replace(batch_stats={**state.batch_stats, **evaluate.replicate(fresh)})

    return recalibrate


def _write_pictures(
    writer: writers.MetricWriter,
    step: int,
    predict: Callable,
    variables: Any,
    examples: Examples,
    config: ConfigDict,
) -> None:
    """Writes photograph, truth and prediction of the same few examples each time."""
    count = min(config.train.num_pictures, len(examples), config.eval_batch_size)
    chosen = [examples[i] for i in np.linspace(0, len(examples) - 1, count).astype(int)]
    images, truth = (np.stack([example[key] for example in chosen]) for key in ('image', 'label'))
    # As large as an evaluation batch: another size would be another compilation.
    padded = np.pad(images, [(0, config.eval_batch_size - count), (0, 0), (0, 0), (0, 0)])
    predicted = np.asarray(predict(variables, padded)).argmax(-1)
    grid = overlays.prediction_grid(images, truth, predicted[:count].astype(np.uint8))
    writer.picture(step, 'predictions', grid)


def initialize_processes(coordinator: str, num_processes: int, process_id: int) -> None:
    """Joins several processes into one run (`jax.distributed`).

    Process 0 listens at `coordinator` (host:port), and only at that address: jax' own default would
    be to listen at all of them. On CPU each process also listens (gloo), at the address that the
    name of its machine stands for; jax lets nobody choose another.
    """
    if process_id == 0:
        logger.info('Listening at %s only.', coordinator)
    if jax.config.jax_platforms == 'cpu' or os.environ.get('JAX_PLATFORMS') == 'cpu':
        jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    jax.distributed.initialize(
        coordinator_address=coordinator,
        num_processes=num_processes,
        process_id=process_id,
        coordinator_bind_address=coordinator if process_id == 0 else None,
    )
