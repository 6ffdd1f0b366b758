"""The convolutions of the project's network, each alone."""

import functools
import timeit

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax_network import dtype_of, make_config, make_model

from segmentation.models import fast_conv
from segmentation.models.unet import SegmentationModel


def list_layers(model: SegmentationModel, image_size: int, batch_size: int) -> list[dict]:
    """Every convolution of a model, in the order they run.

    Returns:
      By layer `name`, `kind`, shapes `input`, `kernel` and `output`, `stride`, `flop` (of one
      forward pass over the batch; a multiply-add counts as two), `inputs_needed` (whether training
      needs the gradient of the input), `training_flop` (with the gradients that are needed), the
      Flax `module`, and `inputs`, its argument shapes.
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
    if grown and module.upsampling == 'transposed':
        # Every input pixel is multiplied by every entry of the kernel.
        kind, pixels = 'transposed', x[0] * x[1] * x[2]
    elif kernel[2] == 1 and x[-1] > 1:
        kind = 'depthwise'
    else:
        kind = 'pointwise' if kernel[:2] == (1, 1) else 'dense'
    flop = 2 * pixels * int(np.prod(kernel))
    return {
        'name': '/'.join(module.path),
        'kind': kind,
        'input': x,
        'kernel': kernel,
        'output': y,
        'stride': 2 if grown else round(x[1] / y[1]),
        'flop': flop,
        'inputs_needed': not first,
        'training_flop': flop * (2 if first else 3),
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
    config, timed = make_config(spec), {}
    found = list_layers(make_model(config, spec), spec['image_size'], spec['batch_size'])
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


def plain(x, kernel):
    """`fast_conv.conv_transpose` of one array in the form that XLA has for it."""
    with fast_conv.plain_convolutions():
        return fast_conv.conv_transpose([x], kernel)


def transposed(spec):
    """Times the transposed convolutions, forward and backward, in two forms.

    The description has the FLOP of all convolutions for one trained image.
    """
    model = make_model(make_config(spec), {'form': 'project', **spec})
    found = list_layers(model, spec['image_size'], spec['batch_size'])
    forms = {'transposed': plain, 'sub-pixel': lambda x, k: fast_conv.sub_pixel_conv([x], k)}
    rng, calls = np.random.default_rng(0), {}
    for layer in found:
        if layer['kind'] == 'transposed':
            shapes = (layer['input'], layer['kernel'], layer['output'])
            arrays = [jnp.asarray(rng.standard_normal(shape), dtype_of(spec)) for shape in shapes]
            calls[layer['name']] = {name: _gradients(form, arrays) for name, form in forms.items()}

    def run(steps):
        return {
            layer: {
                name: min(timeit.repeat(call, number=steps, repeat=2)) / steps
                for name, call in forms.items()
            }
            for layer, forms in calls.items()
        }

    flop = sum(layer['training_flop'] for layer in found) / spec['batch_size']
    return run, {'training_flop': flop}


def _gradients(form, arrays):
    """A function without arguments that computes value and gradients of a form, jitted."""

    @jax.jit
    def value_and_gradients(x, kernel, cotangent):
        y, backward = jax.vjp(form, x, kernel)
        return y, backward(cotangent)

    return lambda: jax.block_until_ready(value_and_gradients(*arrays))
