"""The compiled programs of a training run, shared by the training runs of a process."""

import dataclasses
import functools
import json
from collections.abc import Callable
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from segmentation import evaluate, train_step
from segmentation.models import unet


@dataclasses.dataclass(frozen=True)
class Programs:
    """What a training runs on the devices. Each part is compiled when it is first called."""

    model: unet.SegmentationModel
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    step: Callable  # see `train_step.make_train_step`; pmapped, donates the state
    frozen_step: Callable  # the same, without an update of the encoder
    statistics: Callable  # see `train_step.make_statistics_step`; pmapped
    predict: Callable[[Any, Any], Any]  # see `evaluate.make_predict`


def programs_of(config: ConfigDict, num_classes: int, num_steps: int) -> Programs:
    """The programs of a training run; those of the last one if they are the same.

    Args:
      config: see `configs/default.py`.
      num_classes: with background.
      num_steps: of the whole training; see `train_step.make_optimizer`.

    Raises:
      ValueError: an invalid value in the config.
    """
    settings = {name: config[name].to_dict() for name in ('model', 'optimizer', 'loss')}
    settings['data'] = {'input_range': config.data.input_range}
    # Training runs that differ in what no program uses share them.
    settings['seed'] = config.seed if config.model.dropout else 0
    length = 0 if config.optimizer.schedule == 'constant' else num_steps
    text = json.dumps(settings, sort_keys=True)
    return make(text, num_classes, length, tuple(jax.local_devices()))


@functools.lru_cache(maxsize=1)
def make(settings: str, num_classes: int, num_steps: int, devices: tuple) -> Programs:
    """See `programs_of`; kept for the next training."""
    del devices  # Programs are made for those of this process.
    jax.clear_caches()  # of the programs of another training run, and of what made its state
    # From the key alone, so that nothing that is not in it can matter.
    config = ConfigDict(json.loads(settings))
    model = unet.build_model(config.model, num_classes, bn_axis_name=train_step.AXIS)
    optimizer, schedule = train_step.make_optimizer(
        config.optimizer, num_steps, config.model.encoder_trainable
    )
    step, frozen_step = (
        train_step.pmap_step(
            train_step.make_train_step(each, optimizer, config, num_classes, train_step.AXIS)
        )
        for each in (model, model.clone(encoder_trainable=False))
    )
    statistics = train_step.make_statistics_step(model, config)
    return Programs(
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        step=step,
        frozen_step=frozen_step,
        statistics=train_step.pmap_step(statistics, donate=False),
        predict=evaluate.make_predict(model, config.data.input_range),
    )
