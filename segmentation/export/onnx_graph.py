"""Builds ONNX graphs: a small writer, and the resizes before and after the network.

The resizes are products with weight matrices that the graph computes from the sizes. ONNX's own
`Resize` antialiases differently from Pillow in ONNX Runtime, and not at all in OpenVINO.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 18, 9  # of 2023, which all runtimes that are still maintained read


class Graph:
    """Nodes and constants of a graph; values are known by their names."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        array = np.ascontiguousarray(value, dtype)
        # Scalars stay scalars, which `ascontiguousarray` would give an axis.
        array = array.reshape(np.shape(value))
        name = f'constant_{len(self._constants)}'
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def input(self, name: str, kind: int, shape: list[str | int]) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def op(self, kind: str, *inputs: str, name: str = '', **attributes: Any) -> str:
        """Adds a node with one output; returns the name of the output."""
        output = name or f'{kind}_{len(self._nodes)}'
        node = helper.make_node(kind, list(inputs), [output], name=output, **attributes)
        self._nodes.append(node)
        return output

    def model(
        self, output: str, kind: int, shape: list[str | int], metadata: dict[str, str]
    ) -> onnx.ModelProto:
        """The checked model of this graph.

        Raises:
          onnx.checker.ValidationError: the graph is invalid.
        """
        result = helper.make_tensor_value_info(output, kind, shape)
        graph = helper.make_graph(
            self._nodes, 'segmentation', self._inputs, [result], self._constants
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid('', OPSET)],
            ir_version=IR_VERSION,
            producer_name='coco-segmentation',
        )
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model


def _size(graph: Graph, x: str, axis: int) -> str:
    """Length of an axis, int64 `[1]`."""
    return graph.op('Shape', x, start=axis, end=axis + 1)


def _interpolation(graph: Graph, n_in: str, n_out: str, antialias: bool) -> str:
    """See `stablehlo.interpolation`; int64 `[1]` sizes to float32 `[n_out, n_in]`."""

    def integers(*values: int) -> str:
        return graph.constant(values, np.int64)

    def centers(size: str) -> str:  # 2 i + 1
        scalar = graph.op('Squeeze', size, integers(0))
        start, step = graph.constant(0, np.int64), graph.constant(1, np.int64)
        numbers = graph.op('Range', start, scalar, step)
        return graph.op('Add', graph.op('Mul', numbers, integers(2)), integers(1))

    target = graph.op('Unsqueeze', centers(n_out), integers(1))
    source = graph.op('Mul', centers(n_in), n_out)
    distance = graph.op('Abs', graph.op('Sub', source, graph.op('Mul', target, n_in)))
    support = graph.op('Max', n_in, n_out) if antialias else n_out
    width = graph.op('Mul', support, integers(2))
    as_float = [graph.op('Cast', x, to=TensorProto.FLOAT) for x in (distance, width)]
    weights = graph.op('Sub', graph.constant(1.0), graph.op('Div', *as_float))
    weights = graph.op('Relu', weights)
    return graph.op('Div', weights, graph.op('ReduceSum', weights, integers(1)))


def shrink(graph: Graph, images: str, size: int, antialias: bool) -> str:
    """See `stablehlo.shrink`; uint8 `[B, H, W, 3]` to float32 `[B, 3, size, size]` of integers."""
    small = graph.constant([size], np.int64)
    across = _interpolation(graph, _size(graph, images, 2), small, antialias)
    down = _interpolation(graph, _size(graph, images, 1), small, antialias)
    x = graph.op('Transpose', images, perm=[0, 3, 1, 2])
    x = graph.op('Cast', x, to=TensorProto.FLOAT)
    x = graph.op('MatMul', x, graph.op('Transpose', across, perm=[1, 0]))
    half = graph.constant(0.5)
    if antialias:
        x = graph.op('Floor', graph.op('Add', x, half))
    x = graph.op('MatMul', down, x)
    return graph.op('Floor', graph.op('Add', x, half if antialias else graph.constant(1e-3)))


def enlarge_and_classify(graph: Graph, logits: str, size: int, images: str) -> str:
    """See `stablehlo.enlarge_and_classify`; float32 `[B, C, size, size]` to uint8 `[B, H, W]`."""
    small = graph.constant([size], np.int64)
    across = _interpolation(graph, small, _size(graph, images, 2), True)
    down = _interpolation(graph, small, _size(graph, images, 1), True)
    x = graph.op('MatMul', down, logits)
    x = graph.op('MatMul', x, graph.op('Transpose', across, perm=[1, 0]))
    x = graph.op('ArgMax', x, axis=1, keepdims=0)
    return graph.op('Cast', x, to=TensorProto.UINT8, name='classes')
