"""Keras' layers as the reference for ours; runs on jax, without TensorFlow."""

import functools
import os

os.environ['KERAS_BACKEND'] = 'jax'

import jax
import keras
import numpy as np

NAMES = {
    'kernel': 'kernel',
    'gamma': 'scale',
    'beta': 'bias',
    'moving_mean': 'mean',
    'moving_variance': 'var',
    'bias': 'bias',
}


def randomized(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model with BatchNorm parameters and statistics that are not the initial ones."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.gamma.shape
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, n),
                    rng.normal(size=n) * 0.3,
                    rng.normal(size=n) * 0.3,
                    rng.uniform(0.5, 1.5, n),
                ]
            )
    return model


def encoder(width: float, height: int, breadth: int) -> keras.Model:
    """MobileNetV2 of Keras applications for images of height × breadth, with random weights."""
    keras.utils.set_random_seed(0)
    return randomized(
        keras.applications.MobileNetV2(
            input_shape=(height, breadth, 3), alpha=width, include_top=False, weights=None
        )
    )


def decoder(feature_shapes, num_classes: int) -> keras.Model:
    """pix2pix' upsampling blocks over five feature maps, finest first, with random weights."""
    keras.utils.set_random_seed(0)

    def up(filters, name, **kwargs):
        return keras.layers.Conv2DTranspose(
            filters,
            3,
            strides=2,
            padding='same',
            name=name,
            kernel_initializer=keras.initializers.RandomNormal(0, 0.1),
            **kwargs,
        )

    inputs = [keras.Input(shape) for shape in feature_shapes]
    *skips, x = inputs
    for i, (filters, skip) in enumerate(zip((512, 256, 128, 64), skips[::-1], strict=True), 1):
        x = up(filters, f'up_{i}', use_bias=False)(x)
        x = keras.layers.BatchNormalization(name=f'up_{i}_norm')(x)
        x = keras.layers.ReLU()(x)
        x = keras.layers.Concatenate()([x, skip])
    return randomized(keras.Model(inputs, up(num_classes, 'logits')(x)))


def variables(model: keras.Model) -> dict:
    """Our variables for a Keras model: {'params': {layer: …}, 'batch_stats': {layer: …}}."""
    tree = {'params': {}, 'batch_stats': {}}
    for layer in model.layers:
        for weight in layer.weights:
            name, value = NAMES[weight.name], np.asarray(weight)
            if isinstance(layer, keras.layers.DepthwiseConv2D):
                value = value.transpose(0, 1, 3, 2)
            kind = 'batch_stats' if name in ('mean', 'var') else 'params'
            tree[kind].setdefault(layer.name, {})[name] = value
    return tree


def outputs(model: keras.Model, inputs, training: bool, names=None):
    """Activations of the named layers (default: the model's output) and our updated variables.

    Compiled as one program: layer by layer takes minutes.
    """
    if names is not None:
        model = keras.Model(model.input, {name: model.get_layer(name).output for name in names})
    values, statistics = jax.jit(functools.partial(model.stateless_call, training=training))(
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],
        inputs,
    )
    for variable, value in zip(model.non_trainable_variables, statistics, strict=True):
        variable.assign(value)
    return jax.tree.map(np.asarray, values), variables(model)
