"""Checkpoints of a run; the only module that uses Orbax.

`<workdir>/checkpoints/<step>/` holds the training state, the state of the data iterator and the
metrics of the evaluation at that step. Orbax writes in the background and renames a checkpoint when
it is complete, and renames it again before it removes it. So neither an interrupted write nor an
interrupted removal leaves anything that looks like a checkpoint. A CRC-32, stored with the state of
the data iterator, detects changed bits. Checkpoints without a checksum are not verified.
"""

import contextlib
import itertools
import json
import logging
import pathlib
import shutil
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from segmentation.train_step import averaged

logger = logging.getLogger(__name__)

# The best checkpoint has the highest mean IoU on the selection split, over the foreground classes
# that it shows.
BEST_METRIC = 'mean_iou_foreground'
_CRC = 'crc32'
_REMOVED = 'removed'  # folder of checkpoints that are about to be removed


def _score(metrics: dict) -> float:
    # No score (None: no foreground anywhere) is worse than finding nothing (0).
    score = metrics.get(BEST_METRIC)
    return -1.0 if score is None else score


def _crc32(state: Any, data_state: dict) -> int:
    # Sorted, because Orbax returns arrays in another order if it does not get their structure.
    arrays = map(np.asarray, jax.tree.leaves(state))
    parts = sorted((str(a.dtype), a.shape, zlib.crc32(a.tobytes())) for a in arrays)
    return zlib.crc32(json.dumps([parts, data_state], sort_keys=True).encode())


def _check_crc(state: Any, data_state: dict) -> dict:
    """Compares what was read with its checksum; returns the data state without it."""
    data_state = dict(data_state)
    found = data_state.pop(_CRC, None)
    if found is not None and found != _crc32(state, data_state):
        raise ValueError('its checksum is wrong: it has changed since it was written')
    return data_state


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences Orbax' warnings that a manager is read-only or that a save has no metrics."""
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    try:
        yield
    finally:
        absl_logging.set_verbosity(verbosity)


_TOGETHER = ocp.options.MultiprocessingOptions()


def _alone() -> ocp.options.MultiprocessingOptions:
    """For readers: no process waits for another one."""
    this = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=this, active_processes={this}, barrier_sync_key_prefix=f'reader-{this}'
    )


class _Manager(ocp.CheckpointManager):
    """A manager that adds the folder to errors of background writes that `close` raises."""

    def close(self) -> None:
        with _writing(self):
            super().close()


def open_manager(
    workdir: pathlib.Path, *, keep_every: int = 0, read_only: bool = False
) -> ocp.CheckpointManager:
    """Opens the checkpoints of a run.

    Keeps the two latest (the second in case the newest is unreadable), the best by `BEST_METRIC`,
    and every multiple of `keep_every` steps. Reports a checkpoint whose scores cannot be read, and
    renames its folder.

    Raises:
      ValueError: there is such a checkpoint, and the manager is `read_only`.
    """
    policies = [
        checkpoint_managers.LatestN(2),
        checkpoint_managers.BestN(
            get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False
        ),
    ]
    if keep_every:
        policies.append(checkpoint_managers.EveryNSteps(keep_every))
    folder = workdir / 'checkpoints'
    _set_damaged_aside(folder, read_only)
    if not read_only and jax.process_index() == 0:
        # Left by interrupted writes. Orbax would remove nested ones at the same time as their
        # parents, and then fail at the next checkpoint.
        for unfinished in folder.glob('*.orbax-checkpoint-tmp*'):
            shutil.rmtree(unfinished)
        shutil.rmtree(folder / _REMOVED, ignore_errors=True)
    with _quiet():
        return _Manager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                best_fn=_score,
                best_mode='max',
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
                read_only=read_only,
                todelete_subdir=None if read_only else _REMOVED,
                create=not read_only,
                multiprocessing_options=_alone() if read_only else _TOGETHER,
            ),
            item_names=('state', 'data'),
        )


def _set_damaged_aside(folder: pathlib.Path, read_only: bool) -> None:
    # With one unreadable score, Orbax would not open any checkpoint.
    for path in sorted(folder.glob('*/metrics/metrics')):
        damaged = path.parents[1]
        try:
            if damaged.name.isdecimal():
                json.loads(path.read_bytes())
        except ValueError as error:
            if read_only:
                raise ValueError(
                    f'{path} is damaged ({error}). Continue the training, which renames '
                    f'{damaged}, or move it away.'
                ) from error
            if jax.process_index() == 0:
                logger.error('%s is damaged (%s): it is renamed and not used.', path, error)
                _set_aside(damaged, 'damaged')


def _set_aside(folder: pathlib.Path, why: str) -> None:
    """Renames a checkpoint to a free name that no longer is a step."""
    names = (f'{folder.name}.{why}{number or ""}' for number in itertools.count())
    folder.rename(next(path for path in map(folder.with_name, names) if not path.exists()))


def save(
    manager: ocp.CheckpointManager,
    step: int,
    state: Any,
    data_state: dict,
    metrics: dict | None = None,
) -> None:
    """Saves in the background; `wait` waits for it.

    The state is the same on all devices. Process 0 saves it as plain arrays, so that any number of
    devices and processes can continue. A step that exists is not saved again: its state is the
    same.

    Raises:
      OSError: this or an earlier checkpoint cannot be written; names the complete ones.
    """
    if step in manager.all_steps():
        return
    wait(manager)  # Orbax would wait too
    state = jax.device_get(state)
    items = ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        data=ocp.args.JsonSave({**data_state, _CRC: _crc32(state, data_state)}),
    )
    with _quiet(), _writing(manager):
        manager.save(step, args=items, metrics=metrics, force=True)


def wait(manager: ocp.CheckpointManager) -> None:
    """Waits until everything is saved.

    Raises:
      OSError: a checkpoint cannot be written; names the complete ones.
    """
    with _writing(manager):
        manager.wait_until_finished()
        manager.check_for_errors()
    if jax.process_index() == 0:
        shutil.rmtree(manager.directory / _REMOVED, ignore_errors=True)


@contextlib.contextmanager
def _writing(manager: ocp.CheckpointManager) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Orbax does not document what it raises
        names = [path.name for path in manager.directory.iterdir()]
        steps = sorted(int(name) for name in names if name.isdecimal())
        raise OSError(
            f'A checkpoint cannot be written in {manager.directory}: {error}. Those of steps '
            f'{steps} are complete. Free disk space if there is none; the same command continues.'
        ) from error


def restore_latest(manager: ocp.CheckpointManager, state: Any) -> tuple[int, Any, dict] | None:
    """Reads the newest checkpoint that can be read.

    Unreadable newer ones are reported, and renamed so that the training can write these steps
    again. They are not deleted: the disk or the network may have failed, not the file.

    Args:
      manager: of the run.
      state: a state of the same structure, shapes and dtypes.

    Returns:
      (step, state of numpy arrays, data state), or None if there are no checkpoints.

    Raises:
      ValueError: there are checkpoints, but none can be read into this state.
    """
    target = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), state)
    failures: dict[int, Exception] = {}
    for step in sorted(manager.all_steps(), reverse=True):
        try:
            items = manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(target), data=ocp.args.JsonRestore()
                ),
            )
            data_state = _check_crc(items.state, items.data)
        except Exception as error:  # whatever is wrong with it, try the previous one
            failures[step] = error
            logger.error('Checkpoint %d cannot be read, trying the previous one: %s', step, error)
            continue
        if failures:
            if jax.process_index() == 0:
                for broken in failures:
                    _set_aside(manager.directory / str(broken), 'unreadable')
            multihost_utils.sync_global_devices('unreadable checkpoints are renamed')
            manager.reload()
        return step, items.state, data_state
    if failures:
        step, first = next(iter(failures.items()))
        raise ValueError(
            f'No checkpoint in {manager.directory} can be read (steps {sorted(failures)}). Was the '
            f'model config changed? Use a new --workdir for another config. Step {step}: {first}'
        ) from first
    return None


def newest_step(workdir: pathlib.Path) -> int:
    """The step of the newest checkpoint, be it damaged; 0 if there is none."""
    names = (path.name for path in (workdir / 'checkpoints').glob('*'))
    return max((int(name) for name in names if name.isdecimal()), default=0)


def find_step(workdir: pathlib.Path, which: str) -> int:
    """The step of a checkpoint: 'best', 'latest' or a step number.

    Raises:
      ValueError: there is no such checkpoint; names the others.
    """
    with _opened(workdir) as manager:
        return _choose(manager, workdir, which)


def restore_variables(workdir: pathlib.Path, which: str) -> tuple[int, dict]:
    """Reads parameters and BatchNorm statistics of a checkpoint, for inference.

    Args:
      workdir: run directory.
      which: as in `find_step`.

    Returns:
      The step and {'params': …, 'batch_stats': …} of numpy arrays.

    Raises:
      ValueError: there is no such checkpoint, or it is damaged; names the others.
    """
    with _opened(workdir) as manager:
        step = _choose(manager, workdir, which)
        try:
            tree = restore_arrays(manager, step)
        except Exception as error:  # Orbax does not document what it raises on damage
            others = [other for other in sorted(manager.all_steps()) if other != step]
            raise ValueError(
                f'Checkpoint {manager.directory / str(step)} is damaged ({error}). Others can be '
                f'chosen with --checkpoint: {others}.'
            ) from error
    params = averaged(tree['params'], tree.get('opt_state'))
    return step, {'params': params, 'batch_stats': tree['batch_stats']}


def _opened(workdir: pathlib.Path) -> contextlib.AbstractContextManager[ocp.CheckpointManager]:
    if not (workdir / 'checkpoints').is_dir():
        raise ValueError(f'{workdir} has no checkpoints: train first, or check --workdir.')
    return open_manager(workdir, read_only=True)


def _choose(manager: ocp.CheckpointManager, workdir: pathlib.Path, which: str) -> int:
    steps = sorted(manager.all_steps())
    if which == 'best':
        step = manager.best_step()
    elif which == 'latest':
        step = manager.latest_step()
    elif which.isdecimal():
        step = int(which)
    else:
        raise ValueError(f"--checkpoint is 'best', 'latest' or a step, not {which!r}.")
    if step not in steps:
        raise ValueError(f'{workdir} has no checkpoint {which!r}; it has steps {steps}.')
    return step


def restore_arrays(manager: ocp.CheckpointManager, step: int) -> dict:
    """Reads the whole state as nested dicts of numpy arrays, on any device.

    Raises:
      ValueError: it has changed since it was written. Orbax raises other errors if it cannot be
        read at all.
    """
    path = manager.directory / str(step) / 'state'
    options = _alone()
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=options)
    with _quiet(), ocp.Checkpointer(handler, multiprocessing_options=options) as checkpointer:
        saved = checkpointer.metadata(path).item_metadata.tree
        to_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
        tree = checkpointer.restore(path, args=ocp.args.PyTreeRestore(restore_args=to_numpy))
    items = manager.restore(step, args=ocp.args.Composite(data=ocp.args.JsonRestore()))
    _check_crc(tree, items.data)
    return tree
