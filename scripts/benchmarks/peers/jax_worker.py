"""The project in training_speed.py, and its network in plain Flax."""

import collections
import importlib.metadata
import itertools
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax_layers import layers, list_layers, transposed
from jax_network import dtype_of, make_config, make_model, random_variables, restored
from protocol import random_batch, repeat, serve

from segmentation import cpu_runtime, evaluate, train_step
from segmentation.data import coco, input_pipeline
from segmentation.data.examples import select_examples
from segmentation.predictor import Model


def _setup(spec):
    if 'precision' in spec:  # of float32 products on an accelerator; bfloat16 is a dtype
        precision = 'tensorfloat32' if spec['precision'] == 'tf32' else 'highest'
        jax.config.update('jax_default_matmul_precision', precision)
    packages = ('jax', 'jaxlib', 'flax')
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {'versions': versions, 'device': jax.devices()[0].device_kind}


def _about(parameters, frozen=False):
    trained = parameters['decoder'] if frozen else parameters
    return {'parameters': sum(leaf.size for leaf in jax.tree.leaves(trained))}


def _stepper(config, spec):
    """Returns `run(batches)`, which stays at most two steps ahead like training, and `about`.

    The step is compiled and has run once.
    """
    model = make_model(config, spec)
    trainable = config.model.encoder_trainable
    optimizer, _ = train_step.make_optimizer(config.optimizer, 1, trainable)
    state = evaluate.replicate(train_step.init_state(model, optimizer, config))
    cpu_runtime.release_memory()
    about = _about(state.params, frozen=not trainable)
    step = train_step.pmap_step(
        train_step.make_train_step(model, optimizer, config, spec['classes'], train_step.AXIS)
    )

    def split(batch):
        return train_step.split_batch(batch, jax.local_device_count())

    def run(batches):
        nonlocal state
        in_flight = collections.deque()
        for batch in batches:
            state, metrics = step(state, split(batch))
            in_flight.append(metrics['loss'])
            if len(in_flight) > 2:
                in_flight.popleft().block_until_ready()
        jax.block_until_ready(state)

    images, labels = random_batch(spec)
    first = {'image': images, 'label': labels}
    cpu_runtime.compile_ahead(step, state, split(first))
    run([first])
    return run, about


def training(spec):
    run, about = _stepper(make_config(spec), spec)
    images, labels = random_batch(spec)
    return lambda steps: run(itertools.repeat({'image': images, 'label': labels}, steps)), about


def inference(spec):
    images, _ = random_batch(spec)
    if spec['form'] == 'project':
        # As `segmentation.load` gives it, which works on a few images at once.
        run = restored(spec)
        network = Model(run)
        convolutions = list_layers(run.model, spec['image_size'], 1)
        flop = sum(layer['flop'] for layer in convolutions)  # of an image
        about = {**_about(run.variables['params']), 'flop': flop}
        return repeat(lambda: np.stack(list(network.logits(images)))), about
    config = make_config(spec)
    variables, model = random_variables(config, spec)
    predict = evaluate.make_predict(model, config.data.input_range)
    about, variables = _about(variables['params']), evaluate.replicate(variables)
    return repeat(lambda: np.asarray(predict(variables, images))), about


def export(spec):
    """Writes the network of `inference` for other runtimes, and what it gives for the batch.

    `network.onnx` maps uint8 `[B, S, S, 3]` to logits `[B, classes, S, S]`, with batch
    normalization folded; `batch.npz` has `images` and `logits` in these layouts.
    """
    import onnx  # an optional requirement of the project

    from segmentation.export import onnx_graph, onnx_network

    run, size, graph = restored(spec), spec['image_size'], onnx_graph.Graph()
    images = graph.input('image', onnx.TensorProto.UINT8, ['batch', size, size, 3])
    pixels = graph.op('Transpose', images, perm=[0, 3, 1, 2])
    pixels = graph.op('Cast', pixels, to=onnx.TensorProto.FLOAT)
    logits, _ = onnx_network.add_network(graph, run, pixels)
    shape = ['batch', spec['classes'], size, size]
    network = graph.model(logits, onnx.TensorProto.FLOAT, shape, {})
    folder, (images, _) = pathlib.Path(spec['folder']), random_batch(spec)
    (folder / 'network.onnx').write_bytes(network.SerializeToString())
    expected = np.stack(list(Model(run).logits(images)))
    np.savez(folder / 'batch.npz', images=images, logits=expected.transpose(0, 3, 1, 2))
    return None, {'images': len(images)}


def _examples(spec):
    config = make_config(spec)
    config.data.source, config.data.data_dir = spec['folder'], spec['data_dir']
    config.data.train_splits = config.data.val_splits = (spec['split'],)
    config.data.require = 'nothing'
    config.data.selection_fraction = 0.0
    config.data.max_train = config.data.max_val = 0
    prepared = coco.prepare(spec['folder'], spec['data_dir'], splits=[spec['split']])
    return config, select_examples(prepared, config.data, 'train')[0]


def pipeline(spec):
    config, examples = _examples(spec)
    if spec['workers']:
        config.data.threads = 1  # There is a worker per core already.
    batches = input_pipeline.training_batches(
        examples, batch_size=spec['batch_size'], seed=0, workers=spec['workers']
    )
    return repeat(lambda: next(batches)), {'images': len(examples)}


def gemm(spec):
    shape = 2, spec['size'], spec['size']
    a, b = jax.random.uniform(jax.random.key(0), shape).astype(dtype_of(spec))
    product = jax.jit(jnp.matmul)
    return repeat(lambda: product(a, b).block_until_ready()), {}


# Tasks that run once; their description holds the result ------------------------------------------


def prepare(spec):
    start = time.perf_counter()
    prepared = coco.prepare(spec['folder'], spec['data_dir'], splits=[spec['split']])
    images = prepared.fingerprint['splits'][spec['split']]['images']
    seconds = time.perf_counter() - start
    return None, {'images': images, 'seconds': seconds, 'path': str(prepared.path)}


def evaluation(spec):
    config, examples = _examples(spec)
    variables, model = random_variables(config, spec)
    variables = evaluate.replicate(variables)
    predict = evaluate.make_predict(model, config.data.input_range)
    # Compilation does not count.
    images, _ = random_batch(spec)
    logits = jax.block_until_ready(predict(variables, images))
    evaluate.image_loss(logits, np.zeros(logits.shape[:3], np.uint8))
    start = time.perf_counter()
    result = evaluate.evaluate(
        predict, variables, examples,
        num_classes=spec['classes'], batch_size=spec['batch_size'],
    )  # fmt: skip
    return None, {'images': len(result['loss']), 'seconds': time.perf_counter() - start}


def epoch(spec):
    """One epoch of training over all images, without compilation."""
    config, examples = _examples(spec)
    run, _ = _stepper(config, spec)
    start, steps = time.perf_counter(), len(examples) // spec['batch_size']
    batches = input_pipeline.training_batches(examples, batch_size=spec['batch_size'], seed=0)
    run(itertools.islice(batches, steps))
    seconds = time.perf_counter() - start
    return None, {'images': steps * spec['batch_size'], 'seconds': seconds}


if __name__ == '__main__':
    cpu_runtime.configure()  # as the project's commands do
    TASKS = (
        training, inference, export, pipeline, gemm, layers, transposed, prepare, evaluation, epoch,
    )  # fmt: skip
    serve({task.__name__: task for task in TASKS}, _setup)
