"""Quantizes an exported network to int8: weights per channel, activations uint8 (static, QDQ)."""

import pathlib
import tempfile
from collections.abc import Iterable

import numpy as np
import onnx
from onnxruntime import quantization

from segmentation.export import onnx_network
from segmentation.files import replacing
from segmentation.trained import Run

# Convolutions of the stem and of the first three blocks, which stay in float32. In int8, they would
# cause half of the differing pixels, and save a tenth of the time.
_IN_FLOAT = 9
_OPERATORS = ['Conv', 'Add', 'Clip', 'Relu', 'Concat', 'Reshape', 'Transpose', 'Resize']


class _Images(quantization.CalibrationDataReader):
    def __init__(self, images: Iterable[np.ndarray]):
        self._images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {'image': image[None]}


def quantize(model: onnx.ModelProto, images: Iterable[np.ndarray]) -> onnx.ModelProto:
    """Quantizes an exported network.

    The resizes before and after it, and its first blocks, stay in float32.

    Args:
      model: of `onnx_network.build` with `for_int8`.
      images: uint8 `[H, W, 3]`, of the training; the ranges of the activations are theirs.
    """
    network = [n for n in model.graph.node if n.name.startswith(onnx_network.SCOPE)]
    convolutions = [place for place, node in enumerate(network) if node.op_type == 'Conv']
    layers = [node.name for node in network[convolutions[_IN_FLOAT] :]]
    # Batch normalization is folded already; without this note ONNX Runtime asks for it.
    model.metadata_props.add(key='onnx.quant.pre_process', value='onnxruntime.quant')
    with tempfile.TemporaryDirectory() as scratch:
        source, target = (pathlib.Path(scratch) / f'{name}.onnx' for name in ('float32', 'int8'))
        source.write_bytes(model.SerializeToString())
        quantization.quantize_static(
            source, target, _Images(images),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            nodes_to_quantize=layers,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip
        quantized = onnx.load(target)
    # Without the names of the layers' tensors, some of which are gone.
    dropped = {'layers', 'onnx.quant.pre_process'}
    metadata = {e.key: e.value for e in model.metadata_props if e.key not in dropped}
    onnx.helper.set_model_props(quantized, {**metadata, 'quantization': 'int8, static, QDQ'})
    return quantized


def write(run: Run, path: pathlib.Path, images: Iterable[np.ndarray], logits: bool = False) -> None:
    """Writes the quantized network.

    Args:
      run: the trained network.
      path: of the file.
      images: see `quantize`.
      logits: see `onnx_network.build`.

    Raises:
      OSError: the file cannot be written.
    """
    quantized = quantize(onnx_network.build(run, logits, for_int8=True), images)
    with replacing(path) as partial:
        partial.write_bytes(quantized.SerializeToString())
