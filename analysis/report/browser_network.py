"""The network of a run as an ONNX file for the page: a photograph to classes and embedding."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tqdm import tqdm

from analysis.embeddings.schema import Embeddings, Reduction
from analysis.foreign.onnx_graph import own_layers
from analysis.stage.run import open_examples
from analysis.stage.view import View
from segmentation.export import onnx_network, quantize
from segmentation.trained import Run, restore_run

_CALIBRATED_ON = 64  # training images
_LARGE = 10_000  # numbers, from which on an array of weights is stored as float16


def build(view: View, embeddings: Embeddings, precision: str) -> bytes:
    """The network: image uint8 `[1, H, W, 3]` to classes uint8 `[1, S, S]` and embedding `[1, D]`.

    Args:
      view: of which checkpoint.
      embeddings: of that view; the network embeds photographs as these samples.
      precision: 'int8' computes in 8 bits, calibrated on training images; 'float16' stores the
        weights in 16 bits and computes in float32.

    Raises:
      ValueError: the checkpoint is gone; or the exported network lacks a layer of the embedding;
        or, for int8, the prepared data set of the run is not there.
    """
    run = restore_run(view.workdir, str(view.step))
    model = onnx_network.build(run, logits=True, for_int8=precision == 'int8')
    _add_outputs(model, run, embeddings.reduction)
    if precision == 'int8':
        model = quantize.quantize(model, _training_images(run))
    else:
        _halve_weights(model)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _add_outputs(model: onnx.ModelProto, run: Run, reduction: Reduction) -> None:
    """Replaces the output by `classes` and `embedding`."""
    graph = model.graph
    tensors = own_layers(model)
    if strangers := [layer for layer in reduction.layers if layer not in tensors]:
        raise ValueError(
            f'The embeddings use layers that the exported network lacks ({", ".join(strangers)}): '
            'compute them again with the default --layers.'
        )

    def constant(name: str, array: np.ndarray) -> str:
        graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def op(kind: str, *inputs: str, output: str = '', **attributes: Any) -> str:
        output = output or f'head_{len(graph.node)}'
        graph.node.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    # See `Reduction.project`.
    pixels = constant('pixel_axes', np.array([2, 3]))
    pooled = [op('ReduceMean', tensors[layer], pixels, keepdims=0) for layer in reduction.layers]
    x = op('Sub', op('Concat', *pooled, axis=1), constant('feature_mean', reduction.mean))
    x = op('Mul', x, constant('feature_scale', reduction.scale))
    x = op('MatMul', x, constant('components', reduction.components * reduction.weights))
    op('LpNormalization', x, output='embedding', axis=1, p=2)
    best = op('ArgMax', graph.output[0].name, axis=3, keepdims=0)
    op('Cast', best, output='classes', to=TensorProto.UINT8)
    size, dimensions = run.config.data.image_size, len(reduction.weights)
    del graph.output[:]
    graph.output.append(
        helper.make_tensor_value_info('classes', TensorProto.UINT8, ['batch', size, size])
    )
    graph.output.append(
        helper.make_tensor_value_info('embedding', TensorProto.FLOAT, ['batch', dimensions])
    )


def _training_images(run: Run) -> Iterator[np.ndarray]:
    """Images to calibrate on, evenly spread over those of the training, uint8 `[S, S, 3]`."""
    try:
        examples, _ = open_examples(run, 'train')
    except ValueError as error:
        raise ValueError(
            f'{error}\nThe int8 network is calibrated on training images; --with_model float16 '
            'needs none.'
        ) from error
    rows = np.linspace(0, len(examples) - 1, min(_CALIBRATED_ON, len(examples))).astype(int)
    for row in tqdm(rows, desc='calibration', unit='img'):
        yield examples[row]['image']


def _halve_weights(model: onnx.ModelProto) -> None:
    """Stores large arrays as float16; a cast, which runs once, restores float32."""
    graph, casts, kept = model.graph, [], []
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.ndim > 1 and array.size >= _LARGE:
            name = f'{tensor.name}_float16'
            tensor = numpy_helper.from_array(array.astype(np.float16), name)
            casts.append(
                helper.make_node(
                    'Cast', [name], [name.removesuffix('_float16')], to=TensorProto.FLOAT
                )
            )
        kept.append(tensor)
    nodes = [*casts, *graph.node]
    for field, values in ((graph.initializer, kept), (graph.node, nodes)):
        del field[:]
        field.extend(values)
