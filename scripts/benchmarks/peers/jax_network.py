"""The project's network for its workers: config, model, and random variables."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from plain_flax import PlainModel

from configs import default
from segmentation import train_step
from segmentation.models.unet import build_model
from segmentation.trained import Run


def dtype_of(spec):
    return 'bfloat16' if spec.get('precision') == 'bfloat16' else 'float32'


def make_config(spec):
    config = default.get_config()
    config.data.image_size = spec['image_size']
    config.model.encoder_trainable = not spec.get('frozen', False)
    config.model.dtype = dtype_of(spec)
    config.model.update({**spec.get('model', {}), 'pretrained': ''})
    config.train.batch_size = config.eval_batch_size = spec['batch_size']
    return config


def make_model(config, spec):
    if spec['form'] == 'plain':
        trainable = config.model.encoder_trainable
        return PlainModel(spec['classes'], trainable, bn_axis_name=train_step.AXIS)
    return build_model(config.model, spec['classes'], bn_axis_name=train_step.AXIS)


def random_variables(config, spec):
    """Seeded random variables on the host, and the network that they are for.

    Their scales are those of a trained network, so that logits of two runtimes can be compared.
    """
    model, size = make_model(config, spec), spec['image_size']
    images = jnp.zeros((1, size, size, 3))
    shapes = jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = path[-1].key
        if name in ('scale', 'var'):
            return rng.uniform(0.5, 1.5, leaf.shape).astype('f')
        deviation = 0.1
        if name == 'kernel':  # He et al., 2015; those of the decoder are [3, 3, outputs, inputs]
            height, width, *channels = leaf.shape
            inputs = channels[1 if path[1].key == 'decoder' else 0]
            deviation = np.sqrt(2 / (height * width * inputs))
        return rng.normal(0, deviation, leaf.shape).astype('f')

    return jax.tree.map_with_path(draw, shapes), model


def restored(spec):
    """The project's network with these variables, as if it were restored from a checkpoint."""
    config = make_config(spec)
    variables, model = random_variables(config, spec)
    names = tuple(map(str, range(spec['classes'])))
    return Run(pathlib.Path(), config, names, model, lambda: variables, 0, {})
