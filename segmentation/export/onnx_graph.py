"""Builds ONNX graphs: a small writer, and the resizes before and after the network.

The resizes are products with weight matrices that the graph computes from the sizes. ONNX's own
`Resize` antialiases differently from Pillow in ONNX Runtime, and not at all in OpenVINO.
"""

import functools
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from segmentation.export import stablehlo

OPSET, IR_VERSION = 18, 9  # of 2023, which all runtimes that are still maintained read


class Graph:
    """Nodes and constants of a graph; values are known by their names."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._count = 0
        self.scope = ''  # with which names of nodes begin

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
        self._count += 1
        output = name or f'{self.scope}{kind}_{self._count}'
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


def _integer(graph: Graph, value: int) -> str:
    return graph.constant(value, np.int32)


def _distances(graph: Graph, n_in: str, n_out: str) -> tuple[str, str, str]:
    """See `stablehlo._distances`; int64 `[1]` sizes to int32 `[1]`, `[1]` and `[n_out, n_in]`."""
    one, two, axis = _integer(graph, 1), _integer(graph, 2), graph.constant([0], np.int64)
    size_in, size_out = (graph.op('Cast', n, to=TensorProto.INT32) for n in (n_in, n_out))

    def centers(size: str) -> str:  # 2 i + 1
        scalar = graph.op('Squeeze', graph.op('Mul', size, two), axis)
        return graph.op('Range', one, graph.op('Add', scalar, one), two)

    source = graph.op('Mul', centers(size_in), size_out)
    target = graph.op('Mul', centers(size_out), size_in)
    target = graph.op('Unsqueeze', target, graph.constant([1], np.int64))
    return size_in, size_out, graph.op('Abs', graph.op('Sub', source, target))


def _interpolation(graph: Graph, n_in: str, n_out: str, antialias: bool) -> str:
    """See `stablehlo.interpolation`; int64 `[1]` sizes to float32 `[n_out, n_in]`."""
    size_in, size_out, distance = _distances(graph, n_in, n_out)
    support = graph.op('Max', size_in, size_out) if antialias else size_out
    support = graph.op('Mul', support, _integer(graph, 2))
    distance, support = (
        graph.op('Cast', each, to=TensorProto.FLOAT) for each in (distance, support)
    )
    weights = graph.op('Sub', graph.constant(1.0), graph.op('Div', distance, support))
    weights = graph.op('Relu', weights)
    return graph.op('Div', weights, graph.op('ReduceSum', weights, graph.constant([1], np.int64)))


def _fixed_point(graph: Graph, n_in: str, n_out: str) -> tuple[str, str]:
    """See `stablehlo.fixed_point`; int64 `[1]` sizes to two float32 `[n_out, n_in]`."""
    number = functools.partial(_integer, graph)
    size_in, size_out, distance = _distances(graph, n_in, n_out)
    support = graph.op('Mul', graph.op('Max', size_in, size_out), number(2))
    rest = graph.op('Max', graph.op('Sub', support, distance), number(0))
    total, parts = graph.op('ReduceSum', rest, graph.constant([1], np.int64)), []
    for _ in range(2):
        part = number(0)
        for factor in stablehlo.DIGITS:
            wide = graph.op('Mul', rest, number(factor))
            digit = graph.op('Div', wide, total)
            part = graph.op('Add', graph.op('Mul', part, number(factor)), digit)
            rest = graph.op('Sub', wide, graph.op('Mul', digit, total))
        parts.append(part)
    more = graph.op('GreaterOrEqual', graph.op('Mul', rest, number(2)), total)
    parts[1] = graph.op('Add', parts[1], graph.op('Cast', more, to=TensorProto.INT32))
    high, low = (graph.op('Cast', part, to=TensorProto.FLOAT) for part in parts)
    return high, low


def _rounded(graph: Graph, x: str) -> str:
    return graph.op('Floor', graph.op('Add', x, graph.constant(0.5)))


def _narrow(graph: Graph, images: str, weights: str) -> str:
    """Resizes uint8 `[B, 3, H, W]` to float32 `[B, 3, H, n]` with weights `[n, W]`, in integers.

    The weights are int8 (kernels for uint8 are slower) and normalized again, so that a constant
    stays a constant.
    """
    unit = graph.op('Div', weights, graph.op('ReduceMax', weights, keepdims=1))
    rounded = graph.op('Round', graph.op('Mul', unit, graph.constant(127.0)))
    total = graph.op('ReduceSum', rounded, graph.constant([1], np.int64), keepdims=0)
    narrow = graph.op('Cast', rounded, to=TensorProto.INT8)
    x = graph.op('MatMulInteger', images, graph.op('Transpose', narrow, perm=[1, 0]))
    return graph.op('Div', graph.op('Cast', x, to=TensorProto.FLOAT), total)


def shrink(graph: Graph, images: str, size: int, antialias: bool, integer: bool) -> str:
    """See `stablehlo.shrink`; uint8 `[B, H, W, 3]` to float32 `[B, 3, size, size]` of integers.

    In integers it is faster, always begins with the rows, and about 1 value in 10 differs by 1.
    """
    small = graph.constant([size], np.int64)
    height, width = _size(graph, images, 1), _size(graph, images, 2)
    x = graph.op('Transpose', images, perm=[0, 3, 1, 2])
    if antialias and not integer:
        return _antialias(graph, x, height, width, small)
    across, down = (_interpolation(graph, n, small, antialias) for n in (width, height))
    if integer:
        x = _narrow(graph, x, across)
    else:
        wide = graph.op('Cast', x, to=TensorProto.FLOAT)
        x = graph.op('MatMul', wide, graph.op('Transpose', across, perm=[1, 0]))
    if antialias:
        return _rounded(graph, graph.op('MatMul', down, _rounded(graph, x)))
    x = graph.op('MatMul', down, x)
    return graph.op('Floor', graph.op('Add', x, graph.constant(1e-3)))


def _antialias(graph: Graph, images: str, height: str, width: str, small: str) -> str:
    """Resizes uint8 `[B, 3, H, W]` exactly as Pillow does, see `stablehlo.shrink`."""
    wide = graph.op('Cast', images, to=TensorProto.FLOAT)
    columns = [graph.op('Transpose', w, perm=[1, 0]) for w in _fixed_point(graph, width, small)]
    rows = _fixed_point(graph, height, small)
    unit = graph.constant(2.0**-11)

    def summed(high: str, low: str) -> str:
        low = graph.op('Floor', graph.op('Mul', low, unit))
        high = graph.op('Add', high, graph.constant(2.0**10))
        return graph.op('Floor', graph.op('Mul', graph.op('Add', high, low), unit))

    def across(x: str) -> str:
        return summed(*(graph.op('MatMul', x, part) for part in columns))

    def downward(x: str) -> str:
        return summed(*(graph.op('MatMul', part, x) for part in rows))

    # Tall images begin with the columns. Both orders are computed: the result of `If` is wrong in
    # OpenVINO 2026.4 when it runs for the first time, and ONNX Runtime Web takes no empty batches.
    twice = graph.op('Mul', width, graph.constant([2], np.int64))
    tall = graph.op('Greater', graph.op('Add', height, small), twice)
    tall = graph.op('And', tall, graph.op('Greater', height, small))
    return graph.op('Where', tall, across(downward(wide)), downward(across(wide)))


def enlarge_and_classify(graph: Graph, logits: str, size: int, classes: int, images: str) -> str:
    """See `stablehlo.enlarge_and_classify`; float32 `[B, C, size, size]` to uint8 `[B, H, W]`.

    The first class is subtracted from the others, so that one class less is enlarged. Comparing one
    class after the other takes half the time of ArgMax in ONNX Runtime.
    """
    small = graph.constant([size], np.int64)
    across = _interpolation(graph, small, _size(graph, images, 2), True)
    across = graph.op('Transpose', across, perm=[1, 0])
    down = _interpolation(graph, small, _size(graph, images, 1), True)

    def plane(number: int) -> str:
        return graph.op('Gather', logits, graph.constant(number, np.int64), axis=1)

    first, best, result = plane(0), graph.constant(0.0), ''
    for number in range(1, classes):
        x = graph.op('Sub', plane(number), first)
        x = graph.op('MatMul', graph.op('MatMul', down, x), across)
        won = graph.op('Greater', x, best)
        if not result:
            result = graph.op('Cast', won, to=TensorProto.UINT8)
        else:
            result = graph.op('Where', won, graph.constant(number, np.uint8), result)
        if number < classes - 1:
            best = graph.op('Max', x, best)
    return graph.op('Identity', result, name='classes')
