"""Reads ONNX files. They are data: custom operators, and weights elsewhere, are refused."""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from segmentation.files import is_within

# Operators that ONNX Runtime has itself.
_DOMAINS = {'', 'ai.onnx', 'ai.onnx.ml', 'com.microsoft', 'com.microsoft.nchwc'}
DTYPES = {1: np.float32, 2: np.uint8, 10: np.float16, 11: np.float64}
_INSTALL = (
    'ONNX models need the packages onnx and onnxruntime: pip install -e ".[onnx]" in a checkout of '
    'the project.'
)


def import_onnx() -> tuple[Any, Any]:
    """The packages onnx and onnxruntime.

    Raises:
      ValueError: they are not installed.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ValueError(f'{_INSTALL} ({error})') from error
    return onnx, onnxruntime


def load_graph(path: pathlib.Path) -> Any:
    """Reads an ONNX file, with external data that is in its folder.

    Returns:
      An `onnx.ModelProto`.

    Raises:
      ValueError: no ONNX file, external data outside its folder or missing, custom operators.
      OSError: the file cannot be read.
    """
    model = _parse(path)
    allowed = _DOMAINS | {function.domain for function in model.functions}
    custom = sorted(
        {
            f'{node.domain}.{node.op_type}'
            for graph in (model.graph, *model.functions)
            for node in _nodes(graph)
            if node.domain not in allowed
        }
    )
    if custom:
        raise ValueError(
            f'{path} needs custom operators: {", ".join(custom)}. Only the standard operators of '
            'ONNX can be run; export the model without them.'
        )
    if _external_files(model, path):
        onnx, _ = import_onnx()
        try:
            folder = str(path.resolve().parent)
            onnx.external_data_helper.load_external_data_for_model(model, folder)
        except Exception as error:
            raise ValueError(f'The external weights of {path} cannot be read: {error}') from error
    # Old exporters list weights as inputs too, which keeps ONNX Runtime from optimizing them.
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model


def external_files(path: pathlib.Path) -> list[pathlib.Path]:
    """The files of an ONNX file's external data, sorted; raises as `load_graph` does."""
    return _external_files(_parse(path), path)


def _parse(path: pathlib.Path) -> Any:
    """An ONNX file without its external data, unchecked."""
    onnx, _ = import_onnx()
    if not path.is_file():
        raise ValueError(f'{path} does not exist.')
    try:
        model = onnx.load(str(path), load_external_data=False)
        known = bool(model.graph.node)
    except Exception as error:  # What protobuf raises on other files is not documented.
        raise ValueError(f'{path} cannot be read as an ONNX file: {error}') from error
    if not known:
        raise ValueError(f'{path} cannot be read as an ONNX file: it has no operators.')
    return model


def _external_files(model: Any, path: pathlib.Path) -> list[pathlib.Path]:
    onnx, _ = import_onnx()
    folder, found = path.resolve().parent, set()
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = {entry.key: entry.value for entry in tensor.external_data}.get('location', '')
        target = (folder / location).resolve()
        if not location or not is_within(target, folder):
            raise ValueError(
                f'The weights {tensor.name!r} of {path} are in {location!r}, outside its folder: '
                'export the model again, with its weights beside it.'
            )
        if not target.is_file():
            raise ValueError(f'{path} has weights in {location}, which is not beside it.')
        found.add(target)
    return sorted(found)


def _nodes(graph: Any) -> Iterator[Any]:
    """Nodes of a graph or function and of the graphs within them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _tensors(model: Any) -> Iterator[Any]:
    yield from _tensors_of(model.graph)
    for function in model.functions:
        yield from _tensors_of(function)


def _tensors_of(graph: Any) -> Iterator[Any]:
    yield from getattr(graph, 'initializer', ())
    for sparse in getattr(graph, 'sparse_initializer', ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors_of(inner)


def shapes(model: Any) -> dict[str, tuple[int | str | None, ...]]:
    """Shapes of all tensors of which the rank is known; an axis is a number, a name or None."""
    onnx, _ = import_onnx()
    try:
        model = onnx.shape_inference.infer_shapes(model)
    except Exception:  # Without it the shapes that the file gives are left.
        pass
    graph = model.graph
    return {
        value.name: tuple(
            axis.dim_value if axis.HasField('dim_value') else axis.dim_param or None
            for axis in value.type.tensor_type.shape.dim
        )
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField('shape')
    }


def open_session(model: Any, name: object) -> Any:
    """An ONNX Runtime session of a model; `name` is for errors.

    Raises:
      ValueError: ONNX Runtime cannot run it.
    """
    _, runtime = import_onnx()
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # errors are raised too
    try:
        return runtime.InferenceSession(
            model.SerializeToString(), options, providers=runtime.get_available_providers()
        )
    except Exception as error:  # The classes of ONNX Runtime's errors are not documented.
        raise ValueError(f'ONNX Runtime cannot run {name}: {error}') from error


def output_shapes(model: Any, shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Shapes of the outputs for an input of zeros; empty if the model does not run on it."""
    value = model.graph.input[0]
    dtype = DTYPES.get(value.type.tensor_type.elem_type)
    if dtype is None:
        return {}
    session = open_session(model, 'the model')
    names = [each.name for each in session.get_outputs()]
    try:
        found = session.run(names, {value.name: np.zeros(shape, dtype)})
    except Exception:  # The draft then has what the graph tells.
        return {}
    return {name: np.shape(each) for name, each in zip(names, found, strict=True)}


def own_layers(model: Any) -> dict[str, str]:
    """Tensors by layer (`segmentation.activations`) of a file that scripts/export.py wrote.

    Empty for all other files.
    """
    made = {name for node in model.graph.node for name in node.output}
    for entry in model.metadata_props:
        if entry.key == 'layers':
            with contextlib.suppress(ValueError):
                layers = msgspec.json.decode(entry.value, type=dict[str, str])
                found = {layer: name for layer, name in layers.items() if name in made}
                return found if made.isdisjoint(found) else {}
    return {}


def add_pooled_outputs(model: Any, names: Sequence[str]) -> list[str]:
    """Adds outputs `[B, F]` to a model: tensors averaged over the pixels. Returns their names.

    Tensors are `[B, C, h, w]`, `[B, L, C]` or `[B, C]`.

    Raises:
      ValueError: there is no such tensor, or it has another rank.
    """
    onnx, _ = import_onnx()
    known = shapes(model)
    made = {name for node in model.graph.node for name in node.output if name}
    made |= {value.name for value in model.graph.input}
    version = max((o.version for o in model.opset_import if o.domain in ('', 'ai.onnx')), default=1)
    outputs = []
    for number, name in enumerate(names):
        if name not in made:
            raise ValueError(
                f'The model has no tensor {name!r}, which "embeddings" of the adapter names; '
                '--describe lists some.'
            )
        rank = len(known[name]) if name in known else None
        result = f'pooled_features_{number}'
        if rank == 4:
            means = f'{result}_means'
            model.graph.node.append(onnx.helper.make_node('GlobalAveragePool', [name], [means]))
            nodes = [onnx.helper.make_node('Flatten', [means], [result], axis=1)]
        elif rank == 3:
            if version < 18:
                nodes = [
                    onnx.helper.make_node('ReduceMean', [name], [result], axes=[1], keepdims=0)
                ]
            else:
                axes = onnx.helper.make_tensor(f'{result}_axes', onnx.TensorProto.INT64, [1], [1])
                model.graph.initializer.append(axes)
                inputs = [name, axes.name]
                nodes = [onnx.helper.make_node('ReduceMean', inputs, [result], keepdims=0)]
        elif rank == 2:
            nodes = [onnx.helper.make_node('Identity', [name], [result])]
        else:
            raise ValueError(
                f'The tensor {name!r}, which "embeddings" of the adapter names, cannot embed an '
                f'image. Its shape is {known.get(name, "unknown")}; it must be [batch, channels, '
                'height, width], [batch, tokens, channels] or [batch, features].'
            )
        model.graph.node.extend(nodes)
        model.graph.output.append(onnx.ValueInfoProto(name=result))
        outputs.append(result)
    return outputs
