"""Exports a network as ONNX.

The graph is written directly, layer by layer, in the layout of ONNX (NCHW) and with batch
normalization folded into the convolutions. A converter of JAX programs keeps JAX' layout, a
transpose around each convolution, and the one that is maintained cannot be installed beside our
version of Orbax.
"""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import onnx
from onnx import TensorProto

from segmentation.export import onnx_graph
from segmentation.export.metadata import describe
from segmentation.export.onnx_graph import Graph
from segmentation.files import replacing
from segmentation.models import mobilenet_v2, pix2pix
from segmentation.models.fast_conv import sub_pixel_kernel
from segmentation.trained import Run

SCOPE = 'network/'  # with which the names of the layers begin
_EPSILON = 1e-3  # of `BatchNorm`
_INSTANCE_EPSILON = 1e-5  # of `pix2pix.InstanceNorm`

# From this number of weights on, a transposed convolution becomes four convolutions instead of one
# with zeros: smaller, and a little slower.
_LARGE = 100_000


class _Network:
    """Writes the layers of one network."""

    def __init__(self, graph: Graph, run: Run, subpixel: bool):
        self.graph, self.model, self.subpixel = graph, run.model, subpixel
        self.parameters, self.statistics = run.variables['params'], run.variables['batch_stats']
        self.layers: dict[str, str] = {}  # names of tensors by layer, as in `activations`

    def _folded(self, part: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
        """Factor and bias of a batch normalization."""
        parameters, statistics = self.parameters[part][norm], self.statistics[part][norm]
        factor = parameters['scale'] / np.sqrt(statistics['var'] + _EPSILON)
        return factor, parameters['bias'] - statistics['mean'] * factor

    def _conv(
        self, x: str, kernel: np.ndarray, bias: np.ndarray | None, stride: int = 1, groups: int = 1
    ) -> str:
        """A convolution with a kernel in JAX' layout, `[h, w, I, O]`."""
        weights = [self.graph.constant(kernel.transpose(3, 2, 0, 1))]
        weights += [] if bias is None else [self.graph.constant(bias)]
        return self.graph.op(
            'Conv', x, *weights, kernel_shape=list(kernel.shape[:2]), strides=[stride, stride],
            group=groups, auto_pad='SAME_UPPER',
        )  # fmt: skip

    def _conv_bn(self, x: str, conv: str, norm: str, stride: int = 1, groups: int = 1) -> str:
        factor, bias = self._folded('encoder', norm)
        x = self._conv(x, self.parameters['encoder'][conv]['kernel'] * factor, bias, stride, groups)
        self.layers[f'encoder/{norm}'] = x
        return x

    def _relu6(self, x: str, name: str) -> str:
        x = self.graph.op('Clip', x, self.graph.constant(0.0), self.graph.constant(6.0))
        self.layers[f'encoder/{name}_relu'] = x
        return x

    def encoder(self, x: str) -> list[str]:
        """The activations of `mobilenet_v2.PUBLISHED_TAPS`."""
        parameters, found = self.parameters['encoder'], {}
        x = self._relu6(self._conv_bn(x, 'Conv1', 'bn_Conv1', stride=2), 'Conv1')
        for number, (_, stride) in enumerate(mobilenet_v2.BLOCKS):
            block, inputs = f'block_{number}' if number else 'expanded_conv', x
            if number:
                name = f'{block}_expand'
                x = self._relu6(self._conv_bn(x, name, f'{name}_BN'), name)
                found[f'{name}_relu'] = x
            name = f'{block}_depthwise'
            channels = parameters[name]['kernel'].shape[-1]
            x = self._relu6(self._conv_bn(x, name, f'{name}_BN', stride, channels), name)
            name = f'{block}_project'
            if name == mobilenet_v2.PUBLISHED_TAPS[-1]:
                found[name] = self._conv(x, parameters[name]['kernel'], None)
                self.layers[f'encoder/{name}'] = found[name]
                break
            x = self._conv_bn(x, name, f'{name}_BN')
            if number and stride == 1:
                outputs = parameters[name]['kernel'].shape[-1]
                if outputs == parameters[f'{block}_expand']['kernel'].shape[2]:
                    x = self.graph.op('Add', inputs, x)
        return [found[tap] for tap in mobilenet_v2.PUBLISHED_TAPS]

    def _upsample(self, x: str, kernel: np.ndarray, bias: np.ndarray, relu: bool, side: int) -> str:
        """`pix2pix.Upsample2x` of `[B, I, side, side]`, and a ReLU.

        The kernel is `[3, 3, O, I]` if transposed, else `[3, 3, I, O]`.
        """
        graph = self.graph

        def activated(y: str) -> str:
            return graph.op('Relu', y) if relu else y

        if self.model.upsampling == 'nearest_conv':
            scales = graph.constant([1, 1, 2, 2])
            x = graph.op(
                'Resize', x, '', scales, mode='nearest', nearest_mode='floor',
                coordinate_transformation_mode='asymmetric',
            )  # fmt: skip
            return activated(self._conv(x, kernel, bias))
        if not self.subpixel:
            weights = graph.constant(kernel.transpose(3, 2, 0, 1)), graph.constant(bias)
            x = graph.op(
                'ConvTranspose', x, *weights, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]
            )
            return activated(x)
        outputs = kernel.shape[2]
        # The activation precedes the rearrangement, which then stays in int8.
        if kernel.size < _LARGE:
            joined = np.asarray(sub_pixel_kernel(jnp.asarray(kernel))).transpose(3, 2, 0, 1)
            weights = graph.constant(joined), graph.constant(np.tile(bias, 4))
            x = activated(graph.op('Conv', x, *weights, kernel_shape=[2, 2], pads=[1, 1, 0, 0]))
        else:
            parities = []
            for part in _parities(kernel):
                height, width = part.shape[2:]
                weights = graph.constant(part), graph.constant(bias)
                y = graph.op(
                    'Conv', x, *weights, kernel_shape=[height, width],
                    pads=[height - 1, width - 1, 0, 0],
                )  # fmt: skip
                parities.append(activated(y))
            x = graph.op('Concat', *parities, axis=1)
        return self._depth_to_space(x, side, outputs)

    def _depth_to_space(self, x: str, side: int, outputs: int) -> str:
        """`DepthToSpace` with a block of 2 and mode DCR, of `[B, 4 · outputs, side, side]`.

        The int8 convolutions of ONNX Runtime have the channels last. There, rows and columns
        interleave in runs of 2 · outputs bytes, and the outer transposes cancel with its own.
        """
        graph = self.graph
        split, whole = (
            graph.constant(shape, np.int64)
            for shape in ([0, side, side, 2, 2 * outputs], [0, 2 * side, 2 * side, outputs])
        )
        x = graph.op('Transpose', x, perm=[0, 2, 3, 1])
        x = graph.op('Transpose', graph.op('Reshape', x, split), perm=[0, 1, 3, 2, 4])
        return graph.op('Transpose', graph.op('Reshape', x, whole), perm=[0, 3, 1, 2])

    def _cut(self, x: str, height: int, width: int) -> str:
        """Cuts the last row or column off, where feature maps of an odd size were rounded up."""
        starts, ends, axes = (
            self.graph.constant(v, np.int64) for v in ([0, 0], [height, width], [2, 3])
        )
        return self.graph.op('Slice', x, starts, ends, axes)

    def _normalized(self, xs: list[str], number: int, side: int) -> str:
        """Concatenates, upsamples to `[B, C, side, side]`, normalizes and rectifies."""
        x = self.graph.op('Concat', *xs, axis=1) if len(xs) > 1 else xs[0]
        parameters = self.parameters['decoder']
        kernel, norm = parameters[f'up_{number}']['kernel'], f'up_{number}_norm'
        transposed = self.model.upsampling == 'transposed'
        features = kernel.shape[2 if transposed else 3]
        if self.model.norm == 'batch':
            factor, bias = self._folded('decoder', norm)
            kernel = kernel * (factor[:, None] if transposed else factor)
            x = self._upsample(x, kernel, bias, True, -(-side // 2))
            return self._cut(x, side, side) if side % 2 else x
        x = self._upsample(x, kernel, np.zeros(features, np.float32), False, -(-side // 2))
        x = self._cut(x, side, side) if side % 2 else x  # before its mean is taken
        weights = (self.graph.constant(parameters[norm][name]) for name in ('scale', 'bias'))
        x = self.graph.op('InstanceNormalization', x, *weights, epsilon=_INSTANCE_EPSILON)
        return self.graph.op('Relu', x)

    def decoder(self, features: list[str], size: int) -> str:
        """Logits `[B, C, S, S]`."""
        *skips, deepest = features
        sizes = [-(-size // 2**k) for k in range(5)]  # of the logits and the skip connections
        xs = [deepest]
        for number, skip in enumerate(reversed(skips), start=1):
            x = self._normalized(xs, number, sizes[len(pix2pix.FILTERS) + 1 - number])
            self.layers[f'decoder/up_{number}_relu'] = x
            xs = [x, skip]
        parameters = self.parameters['decoder']['logits']
        x = self.graph.op('Concat', *xs, axis=1)
        x = self._upsample(x, parameters['kernel'], parameters['bias'], False, sizes[1])
        self.layers['decoder/logits'] = x
        return self._cut(x, size, size) if size % 2 else x


def _parities(kernel: np.ndarray) -> list[np.ndarray]:
    """`sub_pixel_kernel` as four convolutions without zeros, `[O, I, h, w]` with h and w 2 or 1."""
    taps = ([2, 0], [1])
    return [kernel[np.ix_(down, right)].transpose(2, 3, 0, 1) for down in taps for right in taps]


def add_network(
    graph: Graph, run: Run, pixels: str, for_int8: bool = False
) -> tuple[str, dict[str, str]]:
    """Adds the network to a graph, with the scaling of its input.

    Args:
      graph: is extended.
      run: see `build`.
      pixels: float32 `[B, 3, S, S]` in [0, 255], S the resolution of the network.
      for_int8: see `build`.

    Returns:
      The logits, float32 `[B, C, S, S]`, and the names of tensors by layer, as in `activations`.
    """
    if run.config.data.input_range == 'imagenet':
        x = graph.op('Sub', graph.op('Div', pixels, graph.constant(127.5)), graph.constant(1.0))
    else:
        x = graph.op('Div', pixels, graph.constant(255.0))
    graph.scope = SCOPE
    network = _Network(graph, run, for_int8)
    x = network.decoder(network.encoder(x), run.config.data.image_size)
    graph.scope = ''
    return x, network.layers


def build(run: Run, logits: bool = False, for_int8: bool = False) -> onnx.ModelProto:
    """The network of a run from uint8 `[B, H, W, 3]` of any size to classes uint8 `[B, H, W]`.

    Args:
      run: the trained network; is computed in float32 whatever its dtype.
      logits: whether to stop at the logits, float32 `[B, S, S, C]`.
      for_int8: whether to write transposed convolutions as ordinary ones, which the int8 kernels
        of ONNX Runtime cover, and the first resize in integers.
    """
    data, graph = run.config.data, Graph()
    size, antialias = data.image_size, data.antialias
    images = graph.input('image', TensorProto.UINT8, ['batch', 'height', 'width', 3])
    x = onnx_graph.shrink(graph, images, size, antialias, for_int8)
    x, layers = add_network(graph, run, x, for_int8)
    metadata = describe(run, logits) | {'layers': json.dumps(layers)}
    if logits:
        x = graph.op('Transpose', x, perm=[0, 2, 3, 1], name='logits')
        shape: list[str | int] = ['batch', size, size, len(run.class_names)]
        return graph.model(x, TensorProto.FLOAT, shape, metadata)
    x = onnx_graph.enlarge_and_classify(graph, x, size, len(run.class_names), images)
    shape = ['batch', 'height', 'width']
    return graph.model(x, TensorProto.UINT8, shape, metadata)


def write(run: Run, path: pathlib.Path, logits: bool = False) -> None:
    """Writes the network as one ONNX file, see `build`.

    Raises:
      OSError: the file cannot be written.
    """
    with replacing(path) as partial:
        partial.write_bytes(build(run, logits).SerializeToString())
