"""Drafts an adapter from an ONNX graph, and says what the graph does not tell."""

import ast
import dataclasses
import fnmatch
import json
import pathlib
from typing import Any

import numpy as np

from analysis.foreign import adapter as adapters
from analysis.foreign.onnx_graph import load_graph, output_shapes, own_layers, shapes
from segmentation.activations import LAYERS

# Of which embeddings are made, in this order: if a graph has none of the first, the second.
_ACTIVATIONS = (
    ('Relu', 'Clip', 'LeakyRelu', 'PRelu', 'HardSwish', 'Elu', 'Selu', 'Gelu', 'Softplus', 'Mish'),
    ('BatchNormalization', 'LayerNormalization', 'InstanceNormalization'),
    ('Conv', 'Add', 'Gemm'),
)
_SIDE = 256  # of the image that a model of any size is tried on
_TENSORS = 16  # maximum number of those for embeddings
_NAMES = ('names', 'classes', 'class_names', 'labels', 'categories')  # of metadata
_INTEGERS = (2, 3, 4, 5, 6, 7, 9, 12, 13)  # of TensorProto, with bool
# Operators whose results are numbers of classes.
_DECISIONS = ('ArgMax', 'Greater', 'GreaterOrEqual')
_UPSAMPLED = ('Resize', 'Upsample', 'Transpose', 'Identity', 'Cast', 'Squeeze', 'Slice', 'Reshape')


@dataclasses.dataclass(frozen=True)
class Draft:
    """An adapter as far as a graph gives it."""

    adapter: dict[str, Any]  # for JSON; None where the graph does not tell
    unknown: tuple[str, ...]  # fields that have to be filled in, each with what was found
    assumed: tuple[str, ...]  # what was assumed, to be checked


def draft(path: pathlib.Path) -> Draft:
    """Drafts the adapter of an ONNX file.

    Raises:
      ValueError, OSError: see `onnx_graph.load_graph`.
    """
    model = load_graph(path)
    known = shapes(model)
    unknown: list[str] = []
    assumed: list[str] = []
    fed = _input(model, known, unknown, assumed)
    size = (_SIDE, _SIDE) if fed['size'] == 'any' else fed['size']
    height, width = (size, size) if isinstance(size, int) else size
    resizes: set[str] = set()  # outputs whose size does not depend on that of the input
    if fed['layout']:
        axes = {'N': 1, 'C': 1 if fed['channels'] == 'gray' else 3, 'H': height, 'W': width}
        shape = [axes[axis] for axis in fed['layout']]
        batch = known[fed['name']][0]
        if fed['layout'].startswith('N') and isinstance(batch, int):
            shape[0] = max(batch, 1)
        known |= output_shapes(model, shape)
        if fed['size'] == 'any':  # a network that resizes its input has one size of outputs
            half = [
                n // 2 if axis in 'HW' else n for axis, n in zip(fed['layout'], shape, strict=True)
            ]
            found = output_shapes(model, half)
            resizes = {name for name in found if found[name] == known.get(name)}
    adapter: dict[str, Any] = {'input': fed, 'output': None}
    adapter['output'] = _output(model, known, fed, (height, width), unknown, assumed)
    if layout := adapter['output']['layout']:
        name = adapter['output']['name']
        rows = dict(zip(layout, known[name], strict=True))['H']
        if isinstance(rows, int) and rows and rows != height and name not in resizes:
            stride = 2.0 ** round(np.log2(height / rows))
            if adapters.is_stride(stride, rows, height):
                adapter['output']['stride'] = stride
    if adapter['output']['form'] is None:
        unknown.append('output.form: no output looks like a segmentation')
    names = _channel_names(model)
    if names:
        adapter['channels'] = names
        adapter['classes'] = None
        adapter['label_space'] = None
        unknown.append(
            'label_space and classes: which categories of the data the classes are, and which of '
            f'the channels {", ".join(names)} each class is; without them, channels with the '
            'names of the classes are taken'
        )
    else:
        adapter['label_space'] = None
        adapter['classes'] = None
        unknown.append(
            'label_space and classes: which categories of the data the classes are, and which '
            'channels each class is (the file does not name its channels)'
        )
    adapter['embeddings'] = embedding_tensors(model, known)
    if not own_layers(model):
        number = len(adapter['embeddings'])
        assumed.append(f'embeddings: {number} activations, spread evenly over the graph')
    return Draft(adapter, tuple(unknown), tuple(assumed))


def _input(
    model: Any,
    known: dict[str, tuple[int | str | None, ...]],
    unknown: list[str],
    assumed: list[str],
) -> dict[str, Any]:
    images = [v for v in model.graph.input if len(known.get(v.name, ())) in (3, 4)]
    if len(images) != 1 or len(model.graph.input) != 1:
        raise ValueError(
            'The model must have one input, an image; it has '
            + ', '.join(f'{v.name} {list(known.get(v.name, ()))}' for v in model.graph.input)
        )
    value = images[0]
    shape = known[value.name]
    batch = 'N' if len(shape) == 4 else ''
    sides = shape[-3:]
    layout: str | None = None
    if sides[2] in (1, 3) and sides[0] not in (1, 3):
        layout, axes = f'{batch}HWC', sides[:2]
    elif sides[0] in (1, 3):
        layout, axes = f'{batch}CHW', sides[1:]
    else:
        unknown.append(f'input.layout: the shape {list(shape)} does not show where channels are')
        axes = (None, None)
    gray = layout is not None and sides[2 if layout.endswith('C') else 0] == 1
    size: Any = 'any'
    if all(isinstance(axis, int) and axis > 0 for axis in axes):
        size = axes[0] if axes[0] == axes[1] else list(axes)
    else:
        assumed.append(
            "input.size 'any': the images are fed at the analysis' own resolution, "
            'data.image_size; set the size that the model was trained with'
        )
    result: dict[str, Any] = {
        'name': value.name, 'layout': layout, 'size': size,
        'channels': 'gray' if gray else 'RGB', 'divide_by': None, 'mean': None, 'std': None,
    }  # fmt: skip
    if not gray:
        assumed.append("input.channels 'RGB': the graph does not tell; models from OpenCV want BGR")
    integer = value.type.tensor_type.elem_type == 2
    if integer or _scales_itself(model, value.name):
        result.update(divide_by=1, mean=0, std=1)
        why = 'the input is uint8' if integer else 'the graph begins with a scaling'
        assumed.append(f'input.divide_by, mean and std: none, as {why}')
    else:
        unknown.append(
            'input.divide_by, mean and std: (pixel / divide_by - mean) / std. Common are '
            "divide_by 255; divide_by 127.5 with mean 1; and ImageNet's, divide_by 255, mean "
            '[0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]'
        )
    return result


def _scales_itself(model: Any, name: str) -> bool:
    """Whether the input is first combined with constants."""
    weights = {tensor.name for tensor in model.graph.initializer}
    weights |= {
        out for node in model.graph.node if node.op_type == 'Constant' for out in node.output
    }
    for _ in range(4):
        users = [node for node in model.graph.node if name in node.input]
        if len(users) != 1:
            return False
        node = users[0]
        if node.op_type in ('Sub', 'Div', 'Mul', 'Add'):
            return any(each in weights for each in node.input)
        if node.op_type not in ('Cast', 'Transpose', 'Identity'):
            return False
        name = node.output[0]
    return False


def _output(
    model: Any,
    known: dict[str, tuple[int | str | None, ...]],
    fed: dict[str, Any],
    size: tuple[int, int],
    unknown: list[str],
    assumed: list[str],
) -> dict[str, Any]:
    """The draft of the output of a model that is `fed` with images of a size."""
    maps = [v.name for v in model.graph.output if len(known.get(v.name, ())) in (3, 4)]
    maps = maps or [v.name for v in model.graph.output if _is_map(known.get(v.name, ()), size)]
    if not maps:
        raise ValueError(
            'No output has the shape of a segmentation; there are '
            + ', '.join(f'{v.name} {list(known.get(v.name, ()))}' for v in model.graph.output)
        )
    described = [f'{name} {list(known[name])}' for name in maps]
    name = maps[0]
    if len(maps) > 1:
        likely = [n for n in maps if any(w in n.lower() for w in ('seg', 'mask', 'logit', 'class'))]
        name = likely[0] if likely else name
        unknown.append(
            f'output.name: there are {", ".join(described)}; {name!r} is only a guess by its name'
        )
    shape = known[name]
    made_by = {out: node for node in model.graph.node for out in node.output}
    producer = made_by.get(name)
    while producer is not None and producer.op_type in _UPSAMPLED and producer.input:
        producer = made_by.get(producer.input[0])
    last = producer.op_type if producer is not None else ''
    integer = {v.name: v.type.tensor_type.elem_type for v in model.graph.output}[name] in _INTEGERS
    result: dict[str, Any] = {'name': name, 'layout': None, 'form': None}
    counts = {1, 'N', 'batch', known[fed['name']][0] if len(known[fed['name']]) == 4 else 1}
    batch = 'N' if len(shape) == 4 or (len(shape) == 3 and shape[0] in counts) else ''
    plain = len(shape) == 2 + len(batch)  # without channels
    if last in _DECISIONS or integer:
        result.update(layout=f'{batch}HW' if plain else f'{batch}CHW', form='class map')
        if len(shape) == 4 and shape[-1] == 1:
            result['layout'] = 'NHWC'
        return result
    if plain:
        form = 'single probability' if last == 'Sigmoid' else 'single logit'
        result.update(layout=f'{batch}HW', form=form)
        return result
    planes = shape[-3:]
    by_end = _ends_with_channels(planes, size)
    result['layout'] = f'{batch}HWC' if by_end else f'{batch}CHW'
    count = planes[2] if by_end else planes[0]
    if not isinstance(count, int):
        unknown.append(f'output.layout: the shape {list(shape)} does not show where channels are')
        result['layout'] = None
        return result
    if count == 1:
        result['form'] = 'single probability' if last == 'Sigmoid' else 'single logit'
    else:
        result['form'] = 'probabilities' if last in ('Softmax', 'Sigmoid') else 'logits'
    if last not in ('Softmax', 'Sigmoid'):
        assumed.append(
            f'output.form {result["form"]!r}: the graph ends with {last or "no operator"}, not '
            'with Softmax, Sigmoid or ArgMax'
        )
    return result


def _is_map(shape: tuple[int | str | None, ...], size: tuple[int, int]) -> bool:
    """Whether a shape of two axes has the proportions of the image."""
    sides = [side for side in shape if isinstance(side, int) and side > 0]
    return len(shape) == len(sides) == 2 and adapters.distortion(sides, size) < 0.1


def _ends_with_channels(planes: tuple[int | str | None, ...], size: tuple[int, int]) -> bool:
    """Whether the last of three axes are the channels: the others are in proportion to the image.

    If both sides are, channels are few.
    """
    sides = [side for side in planes if isinstance(side, int) and side > 0]
    if len(sides) == 3:
        last = adapters.distortion(sides[:2], size) - adapters.distortion(sides[1:], size)
        if abs(last) > 1e-6:
            return last < 0
    first, final = planes[0], planes[2]
    return isinstance(final, int) and (not isinstance(first, int) or final < first)


def _channel_names(model: Any) -> list[str]:
    """Names of the channels in the file's metadata: JSON, a Python literal, or with commas."""
    metadata = {entry.key.lower(): entry.value for entry in model.metadata_props}
    for key in _NAMES:
        if key not in metadata:
            continue
        text = metadata[key]
        for parse in (json.loads, ast.literal_eval, lambda text: text.split(',')):
            try:
                value = parse(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
            if isinstance(value, dict):
                value = [
                    value[k]
                    for k in sorted(value, key=lambda k: int(k) if str(k).isdecimal() else 0)
                ]
            if isinstance(value, list | tuple) and value and all(isinstance(v, str) for v in value):
                return [each.strip() for each in value]
    return []


def embedding_tensors(
    model: Any, known: dict[str, tuple[int | str | None, ...]] | None = None
) -> list[str]:
    """Activations of an `onnx.ModelProto`, spread evenly over the graph, that embed images.

    Of a file that scripts/export.py wrote, the layers that embed images of the network itself.
    """
    own = own_layers(model)
    if found := [own[layer] for layer in own if any(fnmatch.fnmatchcase(layer, p) for p in LAYERS)]:
        return found
    known = shapes(model) if known is None else known
    outputs = {value.name for value in model.graph.output}

    def fits(name: str) -> bool:
        shape = known.get(name, ())
        channels = shape[1] if len(shape) == 4 else shape[-1] if len(shape) == 3 else None
        return isinstance(channels, int) and channels >= 4 and name not in outputs

    for kinds in _ACTIVATIONS:
        names = [
            node.output[0]
            for node in model.graph.node
            if node.op_type in kinds and fits(node.output[0])
        ]
        if names:
            places = np.linspace(0, len(names) - 1, min(_TENSORS, len(names)))
            return [names[place] for place in np.unique(places.round().astype(int)).tolist()]
    return []
