"""A checkpoint of a run with its config and its network, restored for inference."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from segmentation import buckets, checkpoint
from segmentation.config import read_config
from segmentation.models.unet import SegmentationModel, build_model
from segmentation.workdir import read_description

_CPU_BATCH = 4


@dataclasses.dataclass(frozen=True)
class Run:
    """A checkpoint of a run, for inference. Its variables are read when they are first used."""

    workdir: pathlib.Path
    config: ConfigDict
    class_names: tuple[str, ...]
    model: SegmentationModel
    read: Callable[[], dict[str, Any]]  # `variables`; ValueError if they are gone or damaged
    step: int
    data: dict[str, Any]  # 'path' and 'fingerprint' of the prepared data set

    @functools.cached_property
    def variables(self) -> dict[str, Any]:
        """{'params', 'batch_stats'}, numpy arrays."""
        return self.read()

    @property
    def device_batch_size(self) -> int:
        """Images that one device works on at once: `eval_batch_size`.

        On CPU at most 4: what its layers give for more does not fit into the cache, and an image
        takes a third longer.
        """
        largest = self.config.eval_batch_size
        return largest if jax.default_backend() != 'cpu' else min(_CPU_BATCH, largest)

    @property
    def batch_size(self) -> int:
        """Images that the devices of this process work on at once.

        The batch of a device does not depend on their number, so results do not either.
        """
        return self.device_batch_size * jax.local_device_count()


def restore_run(workdir: str | os.PathLike, which: str = 'best') -> Run:
    """Opens a checkpoint, 'best', 'latest' or a step number, with its config.

    Raises:
      ValueError: the directory holds no run, or no such checkpoint, or a foreign model. A damaged
        one is an error when its variables are read.
    """
    workdir = buckets.fetched(workdir)
    described = read_description(workdir)
    if 'foreign' in described:
        raise ValueError(
            f'{workdir} is the analysis of a model that was not trained here: it has no network of '
            'this project. Only the commands of the analysis take it.'
        )
    config = read_config(workdir / 'config.json')
    step = checkpoint.find_step(workdir, which)
    class_names = tuple(described['class_names'])
    model = build_model(config.model, len(class_names))
    return Run(
        workdir,
        config,
        class_names,
        model,
        lambda: checkpoint.restore_variables(workdir, str(step))[1],
        step,
        described['data'],
    )
