"""Batches of examples: shuffled and augmented for training, in order for evaluation.

Images stay uint8, a quarter of the size of float32; the device scales them (`unet.scale_images`).
"""

import multiprocessing
import os
import threading
from collections.abc import Iterator

import grain
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from segmentation.data import masks
from segmentation.data.examples import Examples


class TrainingBatches:
    """Endless iterator over batches; its state is the number of batches taken."""

    def __init__(self, batches: grain.MapDataset, config: ConfigDict, workers: int):
        self._batches = batches
        self._config = config
        self._workers = workers
        self._taken = 0
        self._iterator: Iterator[dict[str, np.ndarray]] | None = None

    def __iter__(self) -> 'TrainingBatches':
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if self._iterator is None:
            self._iterator = self._start()
        batch = next(self._iterator)
        self._taken += 1
        return batch

    def get_state(self) -> dict[str, int]:
        return {'next_index': self._taken}

    def set_state(self, state: dict[str, int]) -> None:
        self._taken = int(state['next_index'])
        self._iterator = None

    def _start(self) -> Iterator[dict[str, np.ndarray]]:
        config = self._config
        batches = self._batches.slice(slice(self._taken, None))
        batches = batches.to_iter_dataset(grain.ReadOptions(config.threads, config.prefetch))
        if self._workers:
            if not flags.FLAGS.is_parsed():  # grain reads its debugging options from absl's flags
                flags.FLAGS.mark_as_parsed()
            batches = batches.mp_prefetch(
                grain.MultiprocessingOptions(
                    self._workers, max(1, config.prefetch // self._workers)
                ),
                _end_with_parent,
            )
        return iter(batches)


def _end_with_parent(number: int, count: int) -> None:
    """Ends a worker process when its parent dies; grain would let it wait forever."""
    del number, count

    def watch() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def training_batches(
    examples: Examples,
    *,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
) -> TrainingBatches:
    """Endless, shuffled and augmented batches; with several processes, this one's part of each.

    The order depends only on `seed`, and the augmentation of an example only on `seed` and its
    position in the order. Neither depends on the number of threads, workers or processes. The state
    is one number (`get_state`, `set_state`), so a run resumes exactly.

    `batch_size` is global; arrays have the leading dimension `batch_size // process_count`. Every
    pass over the examples has another order; `data.repeat` repeats examples. Starting worker
    processes takes seconds; with 0 `workers`, threads do the work.

    Raises:
      ValueError: the processes do not divide the batch size.
    """
    if batch_size % process_count:
        raise ValueError(
            f'train.batch_size={batch_size} is the global batch size and must be a multiple of the '
            f'number of processes, {process_count}.'
        )
    indices = grain.MapDataset.source(examples.repeated).seed(seed).shuffle().repeat()
    batches = (
        indices.random_map(lambda index, rng: examples.example(int(index), rng))
        .slice(slice(process_index, None, process_count))
        .batch(batch_size // process_count, drop_remainder=True)
    )
    return TrainingBatches(batches, examples.config, workers)


def evaluation_batches(
    examples: Examples, *, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterator[dict[str, np.ndarray]]:
    """Every example once, in order, in batches of equal size; of several processes, each its part.

    Batches also have `index` int64 `[B]`, the number of each example. The last batch is padded with
    black images whose labels are all "ignore" and whose `index` is -1.
    """
    config = examples.config
    numbers = range(process_index, len(examples), process_count)
    batches = (
        grain.MapDataset.source(numbers)
        .map(lambda index: {**examples[int(index)], 'index': np.int64(index)})
        .batch(batch_size)
        .to_iter_dataset(grain.ReadOptions(config.threads, config.prefetch))
    )
    fill = {'image': 0, 'label': masks.IGNORE, 'image_id': -1, 'index': -1}
    for batch in batches:
        missing = batch_size - len(batch['index'])
        widths = {key: [(0, missing)] + [(0, 0)] * (array.ndim - 1) for key, array in batch.items()}
        yield {k: np.pad(batch[k], widths[k], constant_values=fill[k]) for k in batch}
