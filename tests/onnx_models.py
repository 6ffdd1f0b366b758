"""Small ONNX models whose outputs are known, and adapters for them."""

import json

import numpy as np
import pytest

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper

# Logits of background, red, green and blue things for an RGB pixel in 0 … 1: the brightest of the
# channels wins, background below a half. No two are equal for whole numbers of brightness.
WEIGHTS = np.array([[0, 0, 0], [1, 0, 0], [0, 1.00713, 0], [0, 0, 1.01931]], np.float32)
BIAS = np.array([0.503, 0, 0, 0], np.float32)


def tensor(name, values):
    return numpy_helper.from_array(np.asarray(values), name)


def colors(path, layout='NCHW', size=None, ending=None, domain='', metadata=None):
    """Writes a model that classifies each pixel by its color: two 1×1 convolutions.

    `hidden` are its activations, the pixels again; `logits` its output, or what the operator
    `ending` makes of them.
    """
    side = [size, size] if size else ['height', 'width']
    nodes = []
    source = 'image'
    if layout == 'NHWC':
        nodes.append(helper.make_node('Transpose', ['image'], ['planes'], perm=[0, 3, 1, 2]))
        source = 'planes'
    nodes += [
        helper.make_node('Conv', [source, 'same'], ['seen']),
        helper.make_node('Relu', ['seen'], ['hidden']),
        helper.make_node('Conv', ['hidden', 'weights', 'bias'], ['raw' if ending else 'logits']),
    ]
    shape, kind = [1, 4, *side], TensorProto.FLOAT
    if ending == 'ArgMax':
        nodes.append(helper.make_node('ArgMax', ['raw'], ['logits'], axis=1, keepdims=0))
        shape, kind = [1, *side], TensorProto.INT64
    elif ending:
        nodes.append(helper.make_node(ending, ['raw'], ['logits'], axis=1, domain=domain))
    shape_in = [1, *side, 3] if layout == 'NHWC' else [1, 3, *side]
    graph = helper.make_graph(
        nodes,
        'colors',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info('logits', kind, shape)],
        [
            tensor('same', np.eye(3, dtype=np.float32)[..., None, None]),
            tensor('weights', WEIGHTS[..., None, None]),
            tensor('bias', BIAS),
        ],
    )
    imports = [helper.make_opsetid('', 17)]
    if domain:
        imports.append(helper.make_opsetid(domain, 1))
    model = helper.make_model(graph, opset_imports=imports, ir_version=9)
    if metadata:
        helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def strided(path, side, stride, axes):
    """Writes a model whose logits have the given axes: an average of patches, the same for all."""
    height, width = (side, side) if isinstance(side, int) else side
    first = axes[1:] == (height // stride, width // stride)  # channels are first
    count = axes[0] if first else axes[2]
    nodes = [helper.make_node('Conv', ['image', 'weights'], ['raw'], strides=[stride, stride])]
    nodes.append(
        helper.make_node(
            'Transpose', ['raw'], ['logits'], perm=[0, 1, 2, 3] if first else [0, 2, 3, 1]
        )
    )
    values = np.full((count, 3, stride, stride), 1 / stride**2, np.float32)
    return _save(path, nodes, [height, width], [1, *axes], [tensor('weights', values)])


def mask(path, ending, shape):
    """Writes a model that says where red is brighter than 127.5, `ending` Sigmoid or Greater."""
    nodes = [helper.make_node('Conv', ['image', 'weights', 'bias'], ['raw'])]
    if ending == 'Greater':
        nodes.append(helper.make_node('Greater', ['raw', 'zero'], ['map']))
    else:
        nodes.append(helper.make_node('Sigmoid', ['raw'], ['map']))
    nodes.append(helper.make_node('Reshape', ['map', 'shape'], ['logits']))
    constants = [
        tensor('weights', np.array([1, 0, 0], np.float32).reshape(1, 3, 1, 1)),
        tensor('bias', np.array([-0.5], np.float32)),
        tensor('zero', np.float32(0)),
        tensor('shape', np.array(shape, np.int64)),
    ]
    kind = TensorProto.BOOL if ending == 'Greater' else TensorProto.FLOAT
    return _save(path, nodes, [32, 32], shape, constants, kind)


def _save(path, nodes, sides, shape, constants, kind=TensorProto.FLOAT):
    graph = helper.make_graph(
        nodes,
        'made',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, [1, 3, *sides])],
        [helper.make_tensor_value_info('logits', kind, shape)],
        constants,
    )
    imports = [helper.make_opsetid('', 17)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), path)
    return path


def adapter(**changes):
    """The adapter of `colors` as a dict: person are red things, car blue ones."""
    result = {
        'input': {'name': 'image', 'layout': 'NCHW', 'size': 'any', 'divide_by': 255},
        'output': {'name': 'logits', 'layout': 'NCHW', 'form': 'logits'},
        'label_space': 'person: person; car: car',
        'channels': ['nothing', 'red', 'green', 'blue'],
        'classes': {'person': ['red'], 'car': ['blue']},
        'embeddings': ['hidden'],
    }
    for name, value in changes.items():
        part, _, field = name.partition('__')
        if field:
            result[part] = {**result[part], field: value}
        else:
            result[part] = value
    return result


def write_adapter(path, **changes):
    path.write_text(json.dumps(adapter(**changes)))
    return path
