"""The training loop. A run that is continued ends bitwise as if it had never stopped."""

import collections
import contextlib
import dataclasses
import functools
import itertools
import logging
import math
import pathlib
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from ml_collections import ConfigDict
from tqdm import tqdm

from segmentation import (
    checkpoint,
    checks,
    cpu_runtime,
    evaluate,
    metrics,
    overlays,
    programs,
    train_step,
    workdir,
)
from segmentation.config import num_training_steps
from segmentation.data import input_pipeline
from segmentation.data.examples import Examples
from segmentation.launch import TrainingDiverged, TrainingStopped, stop_requested
from segmentation.writers import MetricWriter

logger = logging.getLogger(__name__)

# The host may run this many steps ahead: enough to keep devices busy, few enough to stop soon.
_STEPS_AHEAD = 2
# Steps of a call before the profiler starts: compilation and warm-up are not traced.
_STEPS_BEFORE_PROFILE = 5


@dataclasses.dataclass(frozen=True)
class Result:
    """Result of a training run."""

    step: int  # steps done
    best_step: int | None  # step of the best checkpoint on the selection split
    # Speed at the last line of metrics; None if the run was complete before.
    images_per_second: float | None
    # Scores of the last evaluation (see `metrics.only_shown`) and `loss`, in nats per pixel.
    selection: dict[str, Any]


def train(
    config: ConfigDict,
    directory: pathlib.Path,
    on_evaluation: Callable[[], object] | None = None,
    profile_steps: int = 0,
) -> Result:
    """Trains, or continues, a run.

    Args:
      config: see `configs/default.py`.
      directory: the run directory; created if it does not exist.
      on_evaluation: called after each evaluation before the last step, when the scores are in
        `metrics.jsonl` and the state is saved; what it raises ends the training.
      profile_steps: how many steps JAX's profiler traces into `profile/`, from the sixth step of
        this call on.

    Raises:
      ValueError: invalid config or data.
      TrainingStopped: SIGTERM or Ctrl-C; the state is saved.
      TrainingDiverged: the loss, a gradient or the state is NaN or infinite (in more consecutive
        steps than `optimizer.skip_nonfinite`). Such a state is never saved.
      OSError: a file cannot be written; the same command continues once it can.
    """
    inputs = checks.open_inputs(config, directory)
    examples, selection = inputs.examples, inputs.selection
    # Before anything is written: invalid values and missing weights leave no directory behind.
    trainer = Trainer(config, directory, examples, selection, inputs.class_names)
    if (done := checkpoint.newest_step(directory)) > trainer.num_steps:
        raise ValueError(
            f'{directory} was trained for {done} steps, more than the {trainer.num_steps} of this '
            'config. Choose another --workdir for a smaller budget.'
        )
    run = workdir.describe_run(inputs.prepared, inputs.reports, inputs.class_names, inputs.weights)
    checks.check_processes(config, run)
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if trainer.primary:
            stack.enter_context(workdir.claim(directory))
            workdir.write_description(directory, config, run)
            sizes = len(examples), len(selection), trainer.num_steps, trainer.batch_size
            text = (
                'Training on %d images (%d select the checkpoint): %d steps of %d on %d device(s).'
            )
            logger.info(text, *sizes, jax.device_count())
        manager = checkpoint.open_manager(directory, keep_every=config.train.keep_every)
        trainer.resume(stack.enter_context(manager))
        if trainer.primary:
            trainer.writer = MetricWriter(directory, trainer.step_number)
            stack.callback(trainer.writer.close)
        return trainer.run(stack.enter_context(stop_requested()), on_evaluation, profile_steps)


class Trainer:
    """A training run. Call `resume`, then `run`, which calls `step`, `log`, `evaluate` and `save`.

    Attributes:
      step_number: steps done, including those of earlier calls.
      state: parameters, BatchNorm statistics and optimizer state, replicated over the devices.
        Each step donates the previous state, so nothing else may refer to it.
      batches: the training data from here on.
      writer: of metrics and pictures; None in all processes but the first.
    """

    manager: ocp.CheckpointManager

    def __init__(
        self,
        config: ConfigDict,
        directory: pathlib.Path,
        examples: Examples,
        selection: Examples,
        class_names: tuple[str, ...],
    ):
        """Builds the programs and the initial state; writes nothing.

        Raises:
          ValueError: an invalid value in the config, or weights that do not fit the model.
        """
        self.directory, self.selection, self.class_names = directory, selection, class_names
        self.primary = jax.process_index() == 0
        self.num_steps = num_training_steps(config.train, len(examples))
        self.batch_size, self.log_every = config.train.batch_size, config.train.log_every
        self.eval_every, self.eval_batch_size = config.train.eval_every, config.eval_batch_size
        self.checkpoint_every = config.train.checkpoint_every
        self.recalibrate_batches = config.train.recalibrate_batches
        self.num_pictures = config.train.num_pictures
        self.max_skipped = config.optimizer.skip_nonfinite

        self.programs = programs.programs_of(config, len(class_names), self.num_steps)
        self.encoder_after = config.optimizer.encoder_after if config.model.encoder_trainable else 0
        batch_statistics = config.model.encoder_statistics == 'batch'
        self.encoder_moves = config.model.encoder_trainable and batch_statistics

        self.step_number = self.start = 0
        model, optimizer = self.programs.model, self.programs.optimizer
        self.state = evaluate.replicate(train_step.init_state(model, optimizer, config))
        cpu_runtime.trim_memory()
        self.training_batches = functools.partial(
            input_pipeline.training_batches,
            examples,
            batch_size=self.batch_size,
            seed=config.seed,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        self.batches = self.training_batches(workers=config.data.workers)
        self.writer: MetricWriter | None = None
        self.speed: float | None = None
        self.skipped_in_a_row = 0
        self.in_flight: collections.deque[jax.Array] = collections.deque()
        self._start_window()

    def _start_window(self) -> None:
        """Starts a new window of metrics."""
        self.window: list[tuple[int, dict[str, jax.Array]]] = []
        self.waited, self.began = 0.0, time.perf_counter()  # seconds waited for data; since when

    def resume(self, manager: ocp.CheckpointManager) -> None:
        """Continues from the newest readable checkpoint, if there is one."""
        self.manager = manager
        if restored := checkpoint.restore_latest(manager, self.state):
            self.start, state, data_state = restored
            self.step_number = self.start
            self.state = evaluate.replicate(state)
            self.batches.set_state(data_state)
            if self.primary:
                logger.info('Continuing %s at step %d.', self.directory, self.start)

    def run(
        self, stop: threading.Event, on_evaluation: Callable[[], object] | None, profile_steps: int
    ) -> Result:
        """Takes the remaining steps (see `train`), or saves and raises once `stop` is set."""
        summary = None
        bar = tqdm(
            total=self.num_steps, initial=self.step_number, unit='step', desc='train',
            disable=not self.primary,
        )  # fmt: skip
        with bar, contextlib.ExitStack() as trace:
            self._start_window()
            while self.step_number < self.num_steps:
                if profile_steps:
                    self._profile(trace, profile_steps)
                self.step()
                bar.update()
                last = self.step_number == self.num_steps
                evaluates = last or self._is_due(self.eval_every)
                saves = evaluates or self._is_due(self.checkpoint_every)
                logs = saves or self._is_due(self.log_every)
                stopping = stop.is_set()
                if jax.process_count() > 1:
                    # All processes must stop at the same step.
                    stopping = logs and bool(multihost_utils.process_allgather(stopping).any())
                if logs or stopping:
                    bar.set_postfix_str(self.log())
                if evaluates:
                    summary = self.evaluate()
                    self.save({checkpoint.BEST_METRIC: summary['mean_iou_foreground']})
                    # Garbage with arrays in it, and memory that training steps would not use.
                    cpu_runtime.release_memory()
                    if on_evaluation and not last:
                        checkpoint.wait(self.manager)
                        on_evaluation()
                elif saves or stopping:
                    self.save()
                if stopping and not last:
                    checkpoint.wait(self.manager)
                    raise TrainingStopped(
                        f'Stopped and saved at step {self.step_number} of {self.num_steps}.'
                    )
                if logs:
                    self._start_window()
            checkpoint.wait(self.manager)
        # A run that was complete before has not been evaluated here.
        summary = summary or self.score()
        return Result(self.step_number, self.manager.best_step(), self.speed, summary)

    def _is_due(self, every: int) -> bool:
        return every > 0 and self.step_number % every == 0

    def step(self) -> None:
        """Starts the next step on the devices, and waits for an earlier one."""
        before = time.perf_counter()
        batch = next(self.batches)
        self.waited += time.perf_counter() - before
        batch = train_step.split_batch(batch, jax.local_device_count())
        frozen = self.step_number < self.encoder_after
        step_fn = self.programs.frozen_step if frozen else self.programs.step
        if self.step_number in (self.start, self.encoder_after):
            cpu_runtime.compile_ahead(step_fn, self.state, batch)
        self.state, values = step_fn(self.state, batch)
        self.step_number += 1
        self.window.append((self.step_number, values))
        self.in_flight.append(values['loss'])
        if len(self.in_flight) > _STEPS_AHEAD:
            self.in_flight.popleft().block_until_ready()

    def log(self) -> str:
        """Writes the mean metrics of the window's steps; returns them in short.

        Raises:
          TrainingDiverged: too many steps in a row were not finite.
        """
        counted = self._finite_steps()
        elapsed = time.perf_counter() - self.began
        self.speed = len(self.window) * self.batch_size / elapsed
        means = {
            name: float(np.mean([values[name] for values in counted])) if counted else None
            for name in self.window[0][1]
        }
        if self.writer:
            values: dict[str, float | None] = {f'train/{k}': mean for k, mean in means.items()}
            values |= {
                'train/learning_rate': float(self.programs.schedule(self.step_number - 1)),
                'train/images_per_second': self.speed,
                'train/skipped_steps': len(self.window) - len(counted),
                'train/waiting_for_data': self.waited / elapsed,
            }
            self.writer.scalars(self.step_number, values)
        return f'{self.speed:.1f} img/s, loss {_text(means["loss"], 4)}'

    def _finite_steps(self) -> list[dict[str, float]]:
        """Fetches the metrics of the window's steps, without those that were skipped."""
        finite = []
        for number, on_device in self.window:
            values = {name: float(value) for name, value in on_device.items()}
            if all(map(math.isfinite, values.values())):
                self.skipped_in_a_row = 0
                finite.append(values)
                continue
            self.skipped_in_a_row += 1
            what = f'Loss is {values["loss"]}, norm of the gradient {values["gradient_norm"]}'
            if self.skipped_in_a_row > self.max_skipped:
                raise self._diverged(what, number)
            logger.warning('%s at step %d, which is skipped.', what, number)
        return finite

    def evaluate(self) -> dict[str, Any]:
        """Recalibrates BatchNorm, and scores the selection split; writes and returns the scores."""
        self.recalibrate()
        self._finite_state()
        summary = self.score()
        if self.writer:
            scores = {f'iou/{name}': value for name, value in summary['iou'].items()}
            scores |= {k: summary[k] for k in ('loss', 'mean_iou', 'mean_iou_foreground')}
            # Before the checkpoint: a run that continues from it must not lack them.
            self.writer.scalars(self.step_number, {f'selection/{k}': v for k, v in scores.items()})
            if self.num_pictures:
                some = evaluate.predict_some(
                    self.programs.predict, self._variables(), self.selection, self.num_pictures,
                    batch_size=self.eval_batch_size,
                )  # fmt: skip
                grid = overlays.prediction_grid(*some)
                self.writer.picture(self.step_number, 'predictions', grid)
            ious = ', '.join(f'{name} {_text(iou, 3)}' for name, iou in summary['iou'].items())
            tqdm.write(f'step {self.step_number}: selection loss {summary["loss"]:.4f}, {ious}')
        return summary

    def recalibrate(self) -> None:
        """Replaces the running BatchNorm statistics by those of `recalibrate_batches` batches.

        A training step normalizes by its own batch, so this changes what is evaluated and saved but
        not the course of the training. The batches are the first ones of the training order.
        """
        if not self.recalibrate_batches:
            return
        batches = itertools.islice(self.training_batches(), self.recalibrate_batches)
        state = self.state.replace(params=self._variables()['params'])
        new = train_step.measure_statistics(self.programs.statistics, state, batches)
        if not self.encoder_moves:
            new.pop('encoder', None)
        batch_stats = {**self.state.batch_stats, **evaluate.replicate(new)}
        self.state = self.state.replace(batch_stats=batch_stats)

    def score(self) -> dict[str, Any]:
        """Scores of the selection split (see `Result.selection`)."""
        result = evaluate.evaluate(
            self.programs.predict, self._variables(), self.selection,
            num_classes=len(self.class_names), batch_size=self.eval_batch_size, progress='evaluate',
        )  # fmt: skip
        summary = metrics.only_shown(
            metrics.summarize(result['network'], self.class_names, num_resamples=0)
        )
        # The loss of an image without a counted pixel is 0.
        losses = result['loss'][result['network'].any((1, 2))]
        return {**summary, 'loss': float(losses.mean()) if len(losses) else 0.0}

    def _variables(self) -> dict[str, Any]:
        params = train_step.averaged(self.state.params, self.state.opt_state)
        return {'params': params, 'batch_stats': self.state.batch_stats}

    def save(self, scores: dict[str, float | None] | None = None) -> None:
        """Saves the state and the position in the data, in the background.

        Raises:
          TrainingDiverged: the state is not finite.
        """
        state, data_state = self._finite_state(), self.batches.get_state()
        checkpoint.save(self.manager, self.step_number, state, data_state, scores)

    def _finite_state(self) -> train_step.TrainState:
        """Copies the state to the host and checks that it is finite."""
        state = jax.device_get(self.state)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            if not np.isfinite(leaf).all():
                name = jax.tree_util.keystr(path)
                raise self._diverged(f'{name} is not finite', self.step_number)
        return state

    def _diverged(self, what: str, step: int) -> TrainingDiverged:
        rate = float(self.programs.schedule(step - 1))
        return TrainingDiverged(
            f'{what} at step {step} (learning rate {rate:g}). Last good '
            f'checkpoint: step {self.manager.latest_step()} in {self.directory}. Lower '
            'optimizer.learning_rate or set optimizer.clip_norm, or skip such steps: '
            'optimizer.skip_nonfinite.'
        )

    def _profile(self, trace: contextlib.ExitStack, count: int) -> None:
        """Starts or ends the trace of `count` steps."""
        traced = self.step_number - self.start - _STEPS_BEFORE_PROFILE
        if traced in (0, count):
            jax.block_until_ready(self.state)
            trace.close()
        if traced == 0:
            trace.enter_context(jax.profiler.trace(self.directory / 'profile'))


def _text(value: float | None, digits: int) -> str:
    return '–' if value is None else f'{value:.{digits}f}'
