"""Keras/TensorFlow in training_speed.py: MobileNetV2 of keras.applications, and tf.data.

Steps are graphs (`tf.function`).
"""

import os

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

import keras
import tensorflow as tf
from architecture import DECODER, MOMENTUM, TAPS
from coco_classes import CocoClasses
from protocol import random_batch, repeat, serve


def _setup(spec):
    tf.config.threading.set_intra_op_parallelism_threads(spec['threads'])
    tf.config.threading.set_inter_op_parallelism_threads(spec['threads'])
    keras.utils.set_random_seed(0)
    return {'versions': {'tensorflow': tf.__version__, 'keras': keras.__version__}}


def _network(spec):
    size = spec['image_size']
    encoder = keras.applications.MobileNetV2(
        (size, size, 3), alpha=1.0, include_top=False, weights=None
    )
    encoder.trainable = not spec.get('frozen', False)  # False: its BatchNorm is in inference form
    names = [f'block_{i}_expand_relu' for i in TAPS] + ['block_16_project']
    *skips, x = (encoder.get_layer(name).output for name in names)
    layers = keras.layers
    for filters, skip in zip(DECODER, reversed(skips), strict=True):
        normal = keras.initializers.RandomNormal(0.0, 0.02)
        x = layers.Conv2DTranspose(
            filters, 3, 2, 'same', use_bias=False, kernel_initializer=normal
        )(x)
        x = layers.BatchNormalization(momentum=MOMENTUM[1])(x)
        x = layers.Concatenate()([layers.ReLU()(x), skip])
    logits = layers.Conv2DTranspose(spec['classes'], 3, 2, 'same')(x)
    return keras.Model(encoder.input, logits)


def _about(model):
    return {'parameters': int(sum(weight.numpy().size for weight in model.trainable_weights))}


def training(spec):
    model = _network(spec)
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    images, labels = random_batch(spec)

    @tf.function
    def step(images, labels):
        with tf.GradientTape() as tape:
            logits = model(tf.cast(images, tf.float32) / 127.5 - 1, training=True)
            loss = cross_entropy(labels, logits)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    return repeat(lambda: step(tf.constant(images), tf.constant(labels)).numpy()), _about(model)


def inference(spec):
    model = _network(spec)
    images, _ = random_batch(spec)

    @tf.function
    def predict(images):
        return model(tf.cast(images, tf.float32) / 127.5 - 1, training=False)

    return repeat(lambda: predict(tf.constant(images)).numpy()), _about(model)


def pipeline(spec):
    coco = CocoClasses(spec['folder'], spec['split'])
    size = spec['image_size']

    def decode(data, ratio):
        return lambda: tf.io.decode_jpeg(data, channels=3, ratio=ratio)

    def example(index, path):
        data = tf.io.read_file(path)
        # Decodes JPEG at 1/2, 1/4 or 1/8 of its size if large enough, as ours does.
        shrink = tf.reduce_min(tf.io.extract_jpeg_shape(data)[:2]) // size
        ratios = (8, 4, 2)
        image = tf.case(
            [(shrink >= ratio, decode(data, ratio)) for ratio in ratios], decode(data, 1)
        )
        image = tf.image.resize(image, (size, size), antialias=True)
        image = tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
        label = tf.numpy_function(lambda i: coco.draw(int(i), size), [index], tf.uint8)
        return image, tf.ensure_shape(label, (size, size))

    dataset = tf.data.Dataset.from_tensor_slices((tf.range(len(coco.files)), coco.files))
    if spec['cached']:
        dataset = dataset.map(example, num_parallel_calls=tf.data.AUTOTUNE).cache()
    dataset = dataset.shuffle(len(coco.files)).repeat()
    if not spec['cached']:
        dataset = dataset.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    batches = iter(
        dataset.batch(spec['batch_size'], drop_remainder=True).prefetch(tf.data.AUTOTUNE)
    )

    return repeat(lambda: next(batches)), {'images': len(coco.files)}


def gemm(spec):
    a, b = tf.unstack(tf.random.uniform((2, spec['size'], spec['size'])))
    return repeat(lambda: tf.linalg.matmul(a, b).numpy()), {}


if __name__ == '__main__':
    TASKS = {'training': training, 'inference': inference, 'pipeline': pipeline, 'gemm': gemm}
    serve(TASKS, _setup)
