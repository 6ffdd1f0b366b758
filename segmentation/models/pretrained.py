"""ImageNet weights for the MobileNetV2 encoder, from Keras' `.h5` files without classifier.

Weights are nested dicts: layer name → array name ('kernel', 'scale', 'bias', 'mean', 'var') →
float32 array, with the names and shapes of `mobilenet_v2.MobileNetV2`.
"""

import http.client
import os
import pathlib
import re
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from segmentation.files import replacing, sha256, write_text
from segmentation.models import fast_conv, mobilenet_v2

Weights = dict[str, dict[str, np.ndarray]]
Shapes = dict[str, tuple[int, ...]]  # by 'layer/name'

WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
RESOLUTIONS = (96, 128, 160, 192, 224)
CACHE_DIR = pathlib.Path('~/.cache/coco-segmentation')

# Layers of the ImageNet network after the last of `mobilenet_v2.PUBLISHED_TAPS`.
UNUSED_LAYERS = ('block_16_project_BN', 'Conv_1', 'Conv_1_bn')

_CHOICES = (
    "'imagenet', the path of an .h5 file in Keras' layout, or '' for random weights (together with "
    '--config.model.encoder_trainable=True)'
)
_URL = 'https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/'
_KERAS_NAMES = {
    'kernel': 'kernel', 'depthwise_kernel': 'kernel', 'gamma': 'scale', 'beta': 'bias',
    'moving_mean': 'mean', 'moving_variance': 'var',
}  # fmt: skip


def load_weights(source: str | os.PathLike, width: float, resolution: int) -> Weights:
    """Reads the weights of a whole MobileNetV2 without classifier.

    Args:
      source: 'imagenet' for Keras' official file (see `official_file`), or the path of an `.h5`
        file in the same layout.
      width: the network's width multiplier; the file must fit it.
      resolution: input size in pixels, which selects the official file.

    Returns:
      Kernels are [3, 3, in, out], [3, 3, 1, C] or [1, 1, in, out], the other arrays [C].

    Raises:
      ValueError: there is no official file for the width, or the file is no weight file, is
        damaged, has changed since its first use, or does not fit the width.
      FileNotFoundError: the given file does not exist.
      ConnectionError: the official file cannot be downloaded.
    """
    path = weight_file(source, width, resolution)
    arrays = _read_h5(path, width)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f'{path}: {name} has values that are not finite')
    return traverse_util.unflatten_dict(arrays, sep='/')


def weight_file(source: str | os.PathLike, width: float, resolution: int) -> pathlib.Path:
    """The file that `load_weights` reads; raises its errors about missing files."""
    if source == 'imagenet':
        return official_file(width, resolution)
    path = pathlib.Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'model.pretrained: there is no weight file {path}. Give {_CHOICES}.'
        )
    return path


def file_of(config: ConfigDict) -> pathlib.Path | None:
    """The weight file that a `model` config names; None for random initialization."""
    source = config.pretrained
    return weight_file(source, config.width, config.pretrained_resolution) if source else None


def merge(
    variables: Mapping[str, Any], weights: Weights, unused: tuple[str, ...] = UNUSED_LAYERS
) -> dict[str, Any]:
    """Returns a model's variables with weights from `load_weights` in its encoder.

    Args:
      variables: {'params': {'encoder': …, …}, 'batch_stats': {'encoder': …, …}}.
      weights: from `load_weights`.
      unused: layers of `weights` that the encoder does not have.

    Raises:
      ValueError: arrays are missing on either side or have other shapes; names all of them.
    """
    used = {layer: arrays for layer, arrays in weights.items() if layer not in unused}
    encoder = {kind: variables[kind]['encoder'] for kind in ('params', 'batch_stats')}
    problem = 'model.pretrained: the weights do not fit the encoder'
    _require_same(problem, _shapes(encoder), _shapes({'weights': used}))
    merged = dict(variables)
    for kind, tree in encoder.items():
        loaded = {
            layer: {name: jnp.asarray(weights[layer][name], a.dtype) for name, a in arrays.items()}
            for layer, arrays in tree.items()
        }
        merged[kind] = {**variables[kind], 'encoder': loaded}
    return merged


def official_file(width: float, resolution: int) -> pathlib.Path:
    """Path of Keras' official weight file in `CACHE_DIR`, downloaded at first use.

    If there is none for this resolution, the file trained at 224 is used, as Keras does. The first
    use records the file's SHA-256 next to it; later uses check it.

    Raises:
      ValueError, ConnectionError: see `load_weights`.
    """
    if width not in WIDTHS:
        raise ValueError(
            f'model.width: there are ImageNet weights for the widths {WIDTHS} only, not {width}. '
            f'Choose one, or set model.pretrained to another of {_CHOICES}.'
        )
    if resolution not in RESOLUTIONS:
        resolution = 224
    name = f'mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{float(width)}_{resolution}_no_top.h5'
    path = CACHE_DIR.expanduser() / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(_URL + name, path)
    digest = sha256(path)
    record = path.with_name(f'{name}.sha256')
    if not record.exists():
        write_text(record, f'{digest}  {name}\n')
    recorded = record.read_text().split()[:1]
    if recorded != [digest]:
        raise ValueError(
            f'{path} has SHA-256 {digest}, but {record.name} beside it records '
            f'{"".join(recorded) or "nothing"} from its first use. If you trust the file, delete '
            f'the record; to download it again, delete both.'
        )
    return path


def _download(url: str, path: pathlib.Path) -> None:
    print(f'downloading {url} to {path}', file=sys.stderr)
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            content = response.read()
            length = response.headers.get('Content-Length')
        if length is not None and len(content) != int(length):
            raise ConnectionError(f'got {len(content)} of {length} bytes')
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(
            f'could not download {url}: {error}. Without a connection, put that file '
            f'at {path}, or set --config.model.pretrained= to another of {_CHOICES}.'
        ) from error
    with replacing(path) as partial:
        partial.write_bytes(content)


def _shapes(variables: Mapping[str, Any]) -> Shapes:
    """Shapes of parameters and statistics, whose names differ, in one table."""
    return {
        f'{layer}/{name}': array.shape
        for tree in variables.values()
        for layer, arrays in tree.items()
        for name, array in arrays.items()
    }


def _require_same(problem: str, expected: Shapes, given: Shapes) -> None:
    """Raises a ValueError that names every difference."""
    lines = [f'  missing: {name}' for name in expected if name not in given]
    lines += [f'  left over: {name}' for name in given if name not in expected]
    for name, shape in expected.items():
        if given.get(name, shape) != shape:
            lines.append(f'  {name} has shape {given[name]}, expected {shape}')
    if lines:
        raise ValueError('\n'.join([f'{problem}:', *lines]))


def _read_h5(path: pathlib.Path, width: float) -> dict[str, np.ndarray]:
    encoder = mobilenet_v2.MobileNetV2(width, taps=('out_relu',))
    with fast_conv.plain_convolutions():  # faster to trace
        variables = jax.eval_shape(
            lambda: encoder.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
        )
    try:
        with h5py.File(path, 'r') as file:
            datasets = dict(_keras_datasets(path, file))
            shapes = {name: data.shape for name, data in datasets.items()}
            for name, shape in shapes.items():
                if 'depthwise/' in name and len(shape) == 4:  # Keras: [3, 3, C, 1]
                    shapes[name] = (*shape[:2], shape[3], shape[2])
            # Compared before anything is read, so that no file makes us allocate what it claims.
            problem = f'model.pretrained: {path} does not hold MobileNetV2 of width {width}'
            _require_same(problem, _shapes(variables), shapes)
            return {
                name: data[()].astype(np.float32).reshape(shapes[name])
                for name, data in datasets.items()
            }
    except (OSError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(
            f'model.pretrained: {path} is no HDF5 file or is damaged: {error}'
        ) from error


def _keras_datasets(path: pathlib.Path, file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yields 'layer/name' in our names and the data set of every weight that the file lists."""
    if 'layer_names' not in file.attrs:
        raise ValueError(
            f'model.pretrained: {path} is not in the layout of Keras weight files (no layer_names)'
        )
    for layer in _strings(file.attrs['layer_names']):
        group = _member(path, file, layer)
        for weight in _strings(group.attrs['weight_names']):
            data = _member(path, group, weight)
            # Either could make h5py read other files.
            if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
                raise ValueError(f'{path}: {layer}/{weight} is not stored in the file itself')
            name = weight.rsplit('/', 1)[-1].removesuffix(':0')
            yield f'{_layer_name(layer)}/{_KERAS_NAMES.get(name, name)}', data


def _strings(attribute: Any) -> list[str]:
    return [s.decode() if isinstance(s, bytes) else str(s) for s in np.asarray(attribute).tolist()]


def _member(path: pathlib.Path, group: h5py.Group, name: str) -> Any:
    """Follows `name` within the file; links to other files are refused."""
    for part in name.split('/'):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f'{path}: {name} is listed but not stored in the file itself')
        group = group[part]
    return group


def _layer_name(name: str) -> str:
    """Today's name of a Keras layer; the official files still have the names of 2018.

    They call 'block_3_expand' and 'block_3_expand_BN' 'mobl3_conv_3_expand' and
    'bn3_conv_3_bn_expand'.
    """
    match = re.fullmatch(r'(mobl|bn)(\d+)_conv_(?:\d+_)?(?:bn_)?(expand|depthwise|project)', name)
    if not match:
        return name
    kind, block, part = match.groups()
    prefix = 'expanded_conv' if int(block) == 0 else f'block_{int(block)}'
    return f'{prefix}_{part}' + ('_BN' if kind == 'bn' else '')
