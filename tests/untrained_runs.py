"""Run directories of networks before their first step, on the same drawn scenes."""

import json
import pathlib
import shutil
from collections.abc import Mapping

import jax
import numpy as np

from configs import default
from segmentation import checkpoint, train_step, workdir
from segmentation.data import examples
from segmentation.models import unet


def write(folder: pathlib.Path, spaces: Mapping[str, str]) -> list[pathlib.Path]:
    """Writes a run for each name, with a label space of two foreground classes.

    Each network is the one before it, disturbed.
    """
    config = default.get_config()
    config.data.source = 'scenes'
    config.data.scenes.train, config.data.scenes.val = 4, 70
    config.data.data_dir = str(folder / 'data')
    config.data.image_size = 32
    config.data.require = 'nothing'
    config.model.pretrained = ''
    config.model.width = 0.35
    config.model.encoder_trainable = True
    config.eval_batch_size = 16
    prepared = examples.open_data(config.data)
    optimizer, _ = train_step.make_optimizer(config.optimizer, 1, True)
    state = train_step.init_state(unet.build_model(config.model, 3), optimizer, config)
    rng, paths = np.random.default_rng(0), []
    for name, space in spaces.items():
        config.data.label_space = space
        paths.append(folder / name)
        paths[-1].mkdir()
        classes = 'background', *space.split('_')
        described = workdir.describe_run(prepared, {}, classes)
        workdir.write_description(paths[-1], config, described)
        with checkpoint.open_manager(paths[-1]) as manager:
            checkpoint.save(manager, 0, state, {}, {checkpoint.BEST_METRIC: 0.0})
        disturbed = jax.tree.map(
            lambda x: x + rng.normal(0, 0.02, x.shape).astype(x.dtype), state.params
        )
        state = state.replace(params=disturbed)
    return paths


def resized(run: pathlib.Path, folder: pathlib.Path, size: int) -> pathlib.Path:
    """A copy of a run, not analyzed, whose network has inputs of another size."""
    copy = shutil.copytree(run, folder)
    config = json.loads((copy / 'config.json').read_text())
    config['data']['image_size'] = size
    (copy / 'config.json').write_text(json.dumps(config))
    shutil.rmtree(copy / 'analysis', ignore_errors=True)
    return copy
