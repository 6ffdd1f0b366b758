"""Runs an ONNX file with ONNX Runtime, as its adapter says."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from analysis.foreign import adapter as adapters
from analysis.foreign.adapter import Adapter
from analysis.foreign.model import NEED_EMBEDDINGS, ForeignModel, Prediction
from analysis.foreign.onnx_graph import (
    DTYPES,
    add_pooled_outputs,
    load_graph,
    open_session,
    own_layers,
)
from segmentation.data import image_files
from segmentation.data.examples import Examples


class OnnxModel(ForeignModel):
    """An ONNX file with its adapter."""

    can_run = True

    def __init__(self, path: pathlib.Path, adapter: Adapter, class_names: Sequence[str]):
        """Opens a model.

        Raises:
          ValueError: the file cannot be run, or the adapter does not fit it.
        """
        if adapter.input is None or adapter.output is None:
            raise ValueError('The adapter of an ONNX model needs "input" and "output".')
        self._input, self._output = adapter.input, adapter.output
        self._path, self._adapter, self._class_names = path, adapter, tuple(class_names)
        model = load_graph(path)
        _check_names(model, adapter)
        tensors = tuple(dict.fromkeys(adapter.embeddings or ()))
        # A network of ours keeps the names of its layers: `embeddings` knows the deepest one.
        layer_of = {tensor: layer for layer, tensor in own_layers(model).items()}
        pooled = add_pooled_outputs(model, tensors)
        self._session = open_session(model, path)
        described = {each.name: each for each in self._session.get_inputs()}
        if others := sorted(described.keys() - {self._input.name}):
            raise ValueError(
                f'{path} has other inputs besides {self._input.name}: {", ".join(others)}. Only '
                'models with one input can be run.'
            )
        self.certain = self._output.form == 'class map'
        self._shape = described[self._input.name].shape
        kinds = {v.name: v.type.tensor_type.elem_type for v in model.graph.input}
        self._dtype = DTYPES.get(kinds[self._input.name])
        if self._dtype is None:
            raise ValueError(f'The input {self._input.name} of {path} is neither float nor uint8.')
        self._check_input()
        self._fetched = [self._output.name, *pooled]
        size = self._input.size
        self.side = 0 if size == 'any' else size if isinstance(size, int) else max(size)
        self._mapping: np.ndarray | None = None
        # An image of noise, so that a wrong adapter is an error now, and the widths are known.
        side = self.side or 64
        noise = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
        first = self.of_images(noise)[0]
        self.layers, self.unavailable = {}, {}
        if first.features is None:
            self.unavailable = dict.fromkeys(
                NEED_EMBEDDINGS,
                'there are no embeddings: name tensors of the model in "embeddings" of the adapter',
            )
        else:
            names = [layer_of.get(tensor, tensor) for tensor in tensors]
            self.layers = dict(zip(names, self._widths, strict=True))

    def describe_input(self) -> str:
        """What the model gets, so that a wrong scaling is seen."""
        black_and_white = np.repeat(np.array([0, 255], np.uint8), 3).reshape(1, 1, 2, 3)
        fed = adapters.scale(black_and_white, self._input)
        return f'input: pixels 0 … 255 become {fed.min():.4g} … {fed.max():.4g}'

    def of_examples(
        self, examples: Examples, rows: Sequence[int], images: np.ndarray | None
    ) -> list[Prediction]:
        assert images is not None  # the caller reads them for models that run
        return self.of_images(images)

    def of_images(self, images: np.ndarray) -> list[Prediction]:
        """Predictions of uint8 images `[B, h, w, 3]`, which are stretched to the model's size."""
        size = self._input.size
        if size != 'any':
            height, width = (size, size) if isinstance(size, int) else size
            if images.shape[1:3] != (height, width):
                images = np.stack([_stretch(image, height, width) for image in images])
        batch = self._shape[0] if self._input.layout.startswith('N') else 1
        count = batch if isinstance(batch, int) and batch > 0 else 1
        found: list[Prediction] = []
        for start in range(0, len(images), count):
            block = images[start : start + count]
            padded = np.concatenate([block, np.repeat(block[-1:], count - len(block), 0)])
            found += self._run(padded)[: len(block)]
        return found

    def _run(self, images: np.ndarray) -> list[Prediction]:
        fed = adapters.scale(images, self._input)
        layout = self._input.layout
        fed = np.moveaxis(fed, -1, 1) if layout.endswith('CHW') else fed
        fed = fed if layout.startswith('N') else fed[0]
        if self._dtype == np.uint8:
            fed = fed.round().clip(0, 255)
        try:
            raw, *pooled = self._session.run(
                self._fetched, {self._input.name: np.ascontiguousarray(fed, self._dtype)}
            )
        except Exception as error:
            raise ValueError(
                f'{self._path} does not run on an input {list(fed.shape)} in the layout '
                f'{layout}: check "input" of the adapter. ({error})'
            ) from error
        maps = self._by_pixel(np.asarray(raw), len(images), images.shape[1:3])
        self._widths = [each.shape[1] for each in pooled]
        features = np.concatenate(pooled, 1).astype(np.float32) if pooled else None
        if features is not None and not np.isfinite(features).all():
            raise ValueError(
                f'{self._path} gives NaN or infinity in a tensor of which embeddings are made: '
                'name others in "embeddings" of the adapter.'
            )
        return [
            Prediction(each, None if features is None else features[i])
            for i, each in enumerate(maps)
        ]

    def _by_pixel(self, raw: np.ndarray, count: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
        """The output of each image as logits `[h, w, C]`."""
        output = self._output
        if raw.ndim != len(output.layout):
            raise ValueError(
                f'The output {output.name} has the shape {list(raw.shape)}, which is not '
                f'{output.layout}: check "output" of the adapter.'
            )
        self._check_proportions(raw.shape, size)
        raw = raw if output.layout.startswith('N') else raw[None]
        raw = np.moveaxis(raw, 1, -1) if output.layout.endswith('CHW') else raw
        if len(raw) != count:
            raise ValueError(f'The output {output.name} has {len(raw)} images instead of {count}.')
        if not np.isfinite(raw).all():
            raise ValueError(f'The output {output.name} of {self._path} has NaN or infinity.')
        single = output.form not in ('logits', 'probabilities')
        if 'C' in output.layout and single:
            if raw.shape[-1] != 1:
                raise ValueError(
                    f'The output {output.name} has {raw.shape[-1]} channels, but a {output.form} '
                    'has one: check "output.form" and "output.layout" of the adapter.'
                )
            raw = raw[..., 0]
        if not single and 'C' not in output.layout:
            raise ValueError(f'The layout {output.layout} of {output.name} has no channels (C).')
        if not single and raw.shape[-1] < 2:
            raise ValueError(
                f'The output {output.name} has one channel: "output.form" of the adapter must be '
                f"'single logit', 'single probability' or 'class map', not {output.form!r}."
            )
        if output.form in ('probabilities', 'single probability') and (
            raw.min() < -1e-3 or raw.max() > 1.001
        ):
            raise ValueError(
                f'The output {output.name} has values {raw.min():.3g} … {raw.max():.3g}: these are '
                'no probabilities; "output.form" of the adapter should say logits.'
            )
        if (
            output.form == 'logits'
            and raw.min() >= 0
            and np.allclose(raw.sum(-1, dtype=np.float32), 1, atol=1e-3)
        ):
            raise ValueError(
                f'The channels of {output.name} add up to 1: these are probabilities, not logits. '
                'Check "output.form" of the adapter.'
            )
        if output.stride is not None and not adapters.is_stride(
            output.stride, raw.shape[1], size[0]
        ):
            raise ValueError(
                f'The output {output.name} has {raw.shape[1]} rows for an input of {size[0]}, '
                f'which is no stride of {output.stride:g}: check "output" of the adapter.'
            )
        if self._mapping is None:
            channels = {'class map': None}.get(output.form, 2 if single else raw.shape[-1])
            self._mapping = adapters.class_of_channel(self._adapter, self._class_names, channels)
        if output.form == 'class map':
            name = f'The output {output.name}'
            adapters.check_numbers(self._adapter, raw, self._mapping, name)
        for image in raw:
            yield adapters.to_logits(
                image, output.form, output.threshold, self._mapping, len(self._class_names)
            )

    def _check_proportions(self, shape: tuple[int, ...], size: tuple[int, int]) -> None:
        """Checks that the axes of the output were not taken for one another."""
        name, layout = self._output.name, self._output.layout
        if 'C' not in layout or not all(shape):
            return
        planes, last = shape[-3:], layout.endswith('HWC')
        maps, others = (planes[:2], planes[1:]) if last else (planes[1:], planes[:2])
        if adapters.distortion(maps, size) > 0.5 and adapters.distortion(others, size) < 0.1:
            raise ValueError(
                f'The output {name} has the shape {list(shape)}: in the layout {layout} it has '
                f'{maps[0]}×{maps[1]} pixels (height × width) for an input of {size[0]}×{size[1]}. '
                f'Check "output.layout" of the adapter: channels seem to be '
                f'{"first" if last else "last"}.'
            )

    def _check_input(self) -> None:
        """Checks the layout and the size against what the graph says of its input."""
        layout, shape = self._input.layout, self._shape
        if len(shape) != len(layout):
            raise ValueError(
                f'The input {self._input.name} has the shape {shape}, which is not {layout}: '
                'check "input.layout" of the adapter.'
            )
        given = dict(zip(layout, shape, strict=True))
        channels = 1 if self._input.channels == 'gray' else 3
        if isinstance(given['C'], int) and given['C'] != channels:
            raise ValueError(
                f'The input {self._input.name} has the shape {shape}: in the layout {layout} it '
                f'has {given["C"]} channels, not {channels}. Check "input" of the adapter.'
            )
        size = self._input.size
        sides = (None, None) if size == 'any' else (size, size) if isinstance(size, int) else size
        if any(side is not None and not 1 <= side <= image_files.MAX_SIDE for side in sides):
            raise ValueError(
                f'"input.size" of the adapter must be 1 … {image_files.MAX_SIDE}, not {size!r}.'
            )
        for axis, side in zip('HW', sides, strict=True):
            if isinstance(given[axis], int) and given[axis] != side:
                raise ValueError(
                    f'The input {self._input.name} has the shape {shape}, so "input.size" of the '
                    f'adapter must be {[given["H"], given["W"]]}, not {size!r}.'
                )


def _check_names(model: Any, adapter: Adapter) -> None:
    assert adapter.input and adapter.output
    for kind, name, known in (
        ('input', adapter.input.name, [each.name for each in model.graph.input]),
        ('output', adapter.output.name, [each.name for each in model.graph.output]),
    ):
        if name not in known:
            raise ValueError(f'The model has no {kind} {name!r}; it has {", ".join(known)}.')


def _stretch(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
