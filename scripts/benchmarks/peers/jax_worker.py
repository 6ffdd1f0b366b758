"""The project in training_speed.py, its network in plain Flax, and its layers one by one."""

import collections
import functools
import importlib.metadata
import itertools
import time
import timeit

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from plain_flax import PlainModel
from protocol import random_batch, repeat, serve

from configs import default
from segmentation import cpu_runtime, evaluate, train_step
from segmentation.data import coco, input_pipeline
from segmentation.data.examples import select_examples
from segmentation.models.unet import SegmentationModel, build_model


def _setup(spec):
    del spec
    packages = ('jax', 'jaxlib', 'flax')
    return {'versions': {name: importlib.metadata.version(name) for name in packages}}


def _config(spec):
    config = default.get_config()
    config.data.image_size = spec['image_size']
    config.model.pretrained = ''
    config.model.encoder_trainable = True
    config.model.width = spec.get('width', 1.0)
    config.train.batch_size = spec['batch_size']
    return config


def _model(config, spec):
    if spec['form'] == 'plain':
        return PlainModel(spec['classes'], bn_axis_name=train_step.AXIS)
    return build_model(config.model, spec['classes'], bn_axis_name=train_step.AXIS)


def _variables(config, spec):
    """Random variables, created on the host: inference restores a checkpoint instead."""
    model, size = _model(config, spec), spec['image_size']
    images = jnp.zeros((1, size, size, 3))
    shapes = jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))
    rng = np.random.default_rng(0)
    # Positive, since some of them are variances.
    variables = jax.tree.map(lambda leaf: rng.uniform(0.01, 0.02, leaf.shape).astype('f'), shapes)
    return evaluate.replicate(variables), model


def _about(parameters):
    return {'parameters': sum(leaf.size for leaf in jax.tree.leaves(parameters))}


def _stepper(config, spec):
    """Returns `run(batches)`, which stays at most two steps ahead like training, and `about`.

    The step is compiled and has run once.
    """
    model = _model(config, spec)
    optimizer, _ = train_step.make_optimizer(config.optimizer, 1, encoder_trainable=True)
    state = evaluate.replicate(train_step.init_state(model, optimizer, config))
    cpu_runtime.release_memory()
    about = _about(state.params)
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
    run, about = _stepper(_config(spec), spec)
    images, labels = random_batch(spec)
    return lambda steps: run(itertools.repeat({'image': images, 'label': labels}, steps)), about


def inference(spec):
    config = _config(spec)
    variables, model = _variables(config, spec)
    predict = evaluate.make_predict(model, config.data.input_range)
    images, _ = random_batch(spec)

    def run(steps):
        batches = itertools.repeat({'image': images}, steps)
        for _, logits in evaluate.predictions(predict, variables, batches):
            np.asarray(logits)

    return run, _about(variables['params'])


def _examples(spec):
    config = _config(spec)
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
    a, b = jax.random.uniform(jax.random.key(0), (2, spec['size'], spec['size']))
    product = jax.jit(jnp.matmul)
    return repeat(lambda: product(a, b).block_until_ready()), {}


# Layers -------------------------------------------------------------------------------------------


def list_layers(model: SegmentationModel, image_size: int, batch_size: int) -> list[dict]:
    """Every convolution of a model, in the order they run.

    Returns:
      By layer `name`, `kind`, shapes `input`, `kernel` and `output`, `stride`, `flop` (of one
      forward pass over the batch; a multiply-add counts as two), `inputs_needed` (whether training
      needs the gradient of the input), the Flax `module`, and `inputs`, its argument shapes.
    """
    layers = []

    def record(next_method, args, kwargs, context):
        result = next_method(*args, **kwargs)
        module = context.module
        if context.method_name == '__call__' and module.has_variable('params', 'kernel'):
            kernel = module.get_variable('params', 'kernel').shape
            inputs = [x.shape for x in (args[0] if isinstance(args[0], list) else args)]
            layers.append(_layer(module, inputs, kernel, result.shape, first=not layers))
        return result

    def forward(key, images):
        with nn.intercept_methods(record):
            return model.init(key, images, train=False)

    images = jnp.zeros((batch_size, image_size, image_size, 3))
    jax.eval_shape(forward, jax.random.key(0), images)
    return layers


def _layer(module, inputs, kernel, y, first):
    x = (*inputs[0][:3], sum(shape[3] for shape in inputs))
    grown, pixels = y[1] > x[1], y[0] * y[1] * y[2]
    if grown:
        # Every input pixel is multiplied by every entry of the kernel.
        kind, pixels = 'transposed', x[0] * x[1] * x[2]
    elif kernel[2] == 1 and x[-1] > 1:
        kind = 'depthwise'
    else:
        kind = 'pointwise' if kernel[:2] == (1, 1) else 'dense'
    return {
        'name': '/'.join(module.path),
        'kind': kind,
        'input': x,
        'kernel': kernel,
        'output': y,
        'stride': 2 if grown else round(x[1] / y[1]),
        'flop': 2 * pixels * int(np.prod(kernel)),
        'inputs_needed': not first,
        'module': module.clone(parent=None, name=None),
        # The layers of the decoder take a list of arrays to concatenate.
        'inputs': inputs if grown else inputs[0],
    }


def layer_call(layer: dict, rng: np.random.Generator):
    """A function without arguments that computes value and gradients of a layer, jitted."""
    module, shapes = layer['module'], layer['inputs']
    draw = functools.partial(rng.standard_normal, dtype=np.float32)
    x = [draw(shape) for shape in shapes] if isinstance(shapes, list) else draw(shapes)
    x, cotangent = jax.device_put((x, draw(layer['output'])))
    parameters = module.init(jax.random.key(0), x)['params']

    @jax.jit
    def value_and_gradients(parameters, x, cotangent):
        wanted = (parameters, x) if layer['inputs_needed'] else (parameters,)
        y, backward = jax.vjp(lambda params, x=x: module.apply({'params': params}, x), *wanted)
        return y, backward(cotangent)

    return lambda: jax.block_until_ready(value_and_gradients(parameters, x, cotangent))


def layers(spec):
    """Times every layer alone; layers with equal shapes are timed once."""
    config, timed = _config(spec), {}
    found = list_layers(_model(config, spec), spec['image_size'], spec['batch_size'])
    for layer in found:
        layer['shapes'] = str([layer[key] for key in ('kind', 'input', 'kernel', 'stride')])
        timed.setdefault(layer['shapes'], layer)
    rng = np.random.default_rng(0)
    calls = {shapes: layer_call(layer, rng) for shapes, layer in timed.items()}

    def run(steps):
        return {
            shapes: min(timeit.repeat(call, number=steps, repeat=2)) / steps
            for shapes, call in calls.items()
        }

    return run, {'layers': [{k: v for k, v in row.items() if k != 'module'} for row in found]}


# Tasks that run once; their description holds the result ------------------------------------------


def prepare(spec):
    start = time.perf_counter()
    prepared = coco.prepare(spec['folder'], spec['data_dir'], splits=[spec['split']])
    images = prepared.fingerprint['splits'][spec['split']]['images']
    return None, {'images': images, 'seconds': time.perf_counter() - start}


def evaluation(spec):
    config, examples = _examples(spec)
    variables, model = _variables(config, spec)
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
    TASKS = (training, inference, pipeline, gemm, layers, prepare, evaluation, epoch)
    serve({task.__name__: task for task in TASKS}, _setup)
