"""The adapter: how to feed a foreign model, and how to read what it returns.

A JSON file. `scripts/analyze.py --describe model.onnx` drafts one; analysis/README.md has examples.
"""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

# Probability that is given to the class of a pixel where a prediction has no probabilities.
CERTAIN = 0.98
_SMALLEST = 1e-6  # probability
_MOST_CHANNELS = 2**16


class Input(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What the model is fed with: (pixel / divide_by - mean) / std, pixels in 0 … 255."""

    name: str
    layout: Literal['NCHW', 'NHWC', 'CHW', 'HWC']
    # Side in pixels, or [height, width]; images are stretched to it. 'any': the analysis' own
    # resolution, data.image_size.
    size: int | tuple[int, int] | Literal['any']
    channels: Literal['RGB', 'BGR', 'gray'] = 'RGB'
    divide_by: float = 1.0
    mean: float | tuple[float, ...] = 0.0  # one number, or one per channel in the model's order
    std: float | tuple[float, ...] = 1.0


Form = Literal['logits', 'probabilities', 'single logit', 'single probability', 'class map']


class Output(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What it returns, at any resolution."""

    name: str
    layout: Literal['NCHW', 'NHWC', 'CHW', 'HWC', 'NHW', 'HW']
    # 'single …': one number per pixel; channel 1 where it is above the threshold, else channel 0.
    # 'class map': the number of a channel per pixel.
    form: Form
    threshold: float | None = None  # default: 0 of a logit, 0.5 of a probability
    stride: float | None = None  # input size / output size, checked if given


class Adapter(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """An adapter; predictions from files only use the last five fields."""

    input: Input | None = None
    output: Output | None = None
    # The analysis' classes: 'class: category, category; class: …' (--label_space overrides it).
    label_space: str | None = None
    channels: tuple[str, ...] = ()  # names of the model's channels
    # Channels, by number or name, of each class of the label space; the others are background. An
    # empty list says that the model does not know the class. Default: channels of the same names.
    classes: dict[str, tuple[int | str, ...]] | None = None
    # Tensors of the model that embed an image: activations, averaged over the pixels, or vectors.
    # Default: those that --describe names; an empty list for no embeddings.
    embeddings: tuple[str, ...] | None = None
    # Least score of an instance of COCO results.
    score_threshold: float = 0.5


def parse(text: bytes | str, name: str) -> Adapter:
    """Parses an adapter; `name` is for errors.

    Raises:
      ValueError: no JSON, an unknown or missing field, or a value that does not fit.
    """
    try:
        adapter = msgspec.json.decode(text, type=Adapter)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f'The adapter {name} is not valid: {error}. analysis/README.md explains the fields; '
            'scripts/analyze.py --describe drafts an adapter.'
        ) from error
    if adapter.output and adapter.output.threshold is not None:
        _check_threshold(adapter.output.form, adapter.output.threshold, name)
    return adapter


def _check_threshold(form: Form, threshold: float, name: str) -> None:
    if not form.startswith('single'):
        raise ValueError(
            f'The adapter {name} has "output.threshold", which the form {form!r} does not use: the '
            'class of a pixel is its largest channel. Leave it out.'
        )
    if form == 'single probability' and not 0 < threshold < 1:
        raise ValueError(
            f'"output.threshold" of the adapter {name} is {threshold:g}, but a threshold of '
            'probabilities is between 0 and 1.'
        )


def read(path: pathlib.Path) -> Adapter:
    """Reads an adapter file.

    Raises:
      ValueError: see `parse`.
      OSError: the file cannot be read.
    """
    return parse(path.read_bytes(), str(path))


def class_of_channel(
    adapter: Adapter, class_names: Sequence[str], num_channels: int | None
) -> np.ndarray:
    """The class of the label space that each channel of a model belongs to.

    Args:
      adapter: with its `channels` and `classes`.
      class_names: of the label space, background first.
      num_channels: of the model; None if it is not known (class maps), then the channels are those
        that the adapter names.

    Returns:
      int64 `[K]`; 0 for channels of no class.

    Raises:
      ValueError: a class without an entry, an entry of no class, a channel that does not exist or
        that is in two classes.
    """
    names, wanted = adapter.channels, list(class_names[1:])
    if num_channels and names and len(names) != num_channels:
        raise ValueError(
            f'The adapter names {len(names)} channels, but the model returns {num_channels}.'
        )
    classes: Mapping[str, Sequence[int | str]]
    if adapter.classes is not None:
        classes = adapter.classes
    elif names and set(wanted) <= set(names):
        classes = {name: (name,) for name in wanted}
    elif not names and num_channels in (None, len(class_names)):
        classes = {name: (number,) for number, name in enumerate(wanted, 1)}
    else:
        raise ValueError(
            f'The adapter does not say which of the {num_channels or len(names)} channels are the '
            f'classes {", ".join(wanted)}: fill in "classes", for example '
            f'{{"{wanted[0]}": [1]}}.'
        )
    if missing := [name for name in wanted if name not in classes]:
        raise ValueError(
            f'"classes" of the adapter does not cover {", ".join(missing)}: it needs an '
            'entry for every class of the label space. An empty list says that the model does not '
            'know the class.'
        )
    if strangers := [name for name in classes if name not in wanted]:
        raise ValueError(
            f'"classes" of the adapter has {", ".join(strangers)}, but the classes of the '
            f'label space are {", ".join(wanted)}.'
        )
    found: dict[int, int] = {}
    for value, name in enumerate(wanted, 1):
        for channel in classes[name]:
            number = _channel_number(channel, names, num_channels)
            if found.setdefault(number, value) != value:
                raise ValueError(
                    f'Channel {channel!r} is in two classes of the adapter, '
                    f'{wanted[found[number] - 1]} and {name}.'
                )
    result = np.zeros(num_channels or max([*found, len(names) - 1, 0]) + 1, np.int64)
    for number, value in found.items():
        result[number] = value
    if num_channels and result.all():
        raise ValueError(
            'Every channel of the model is in a class of the adapter: none is left for background.'
        )
    return result


def assumed_classes(adapter: Adapter, class_names: Sequence[str]) -> list[str]:
    """How `class_of_channel` chooses the channels if the adapter does not say it, for people."""
    if adapter.classes is not None:
        return []
    wanted = ', '.join(class_names[1:])
    if adapter.channels:
        return [f'classes {wanted}: the channels of these names']
    return [f'classes {wanted}: assumed to be the channels 1, 2, … in this order']


def _channel_number(channel: int | str, names: Sequence[str], num_channels: int | None) -> int:
    if isinstance(channel, str):
        if channel not in names:
            known = f'"channels" names {", ".join(names)}' if names else 'it has no "channels"'
            raise ValueError(f'The adapter has no channel {channel!r}: {known}.')
        if names.count(channel) > 1:
            raise ValueError(
                f'The adapter names two channels {channel!r}: use their numbers instead.'
            )
        return names.index(channel)
    number = _MOST_CHANNELS if num_channels is None else num_channels
    if not 0 <= channel < number:
        raise ValueError(
            f'Channel {channel} of the adapter does not exist: the channels are 0 … {number - 1}.'
        )
    return channel


def check_numbers(adapter: Adapter, numbers: np.ndarray, mapping: np.ndarray, name: str) -> None:
    """Checks that a class map has no number of which the adapter does not say what it is.

    Only if "classes" is given without "channels", all other numbers are background.

    Args:
      adapter: with its `channels` and `classes`.
      numbers: of the class map, of any shape.
      mapping: of `class_of_channel`.
      name: of the class map, for errors.

    Raises:
      ValueError: there is such a number.
    """
    if adapter.classes is not None and not adapter.channels:
        return
    if strange := np.unique(numbers[(numbers < 0) | (numbers >= len(mapping))]).tolist():
        raise ValueError(
            f'{name} has the number {strange[0]}, but the classes are 0 … {len(mapping) - 1}: say '
            'in "classes" of an adapter which numbers are which class; all others are background.'
        )


def distortion(shape: Sequence[int], size: Sequence[int]) -> float:
    """How far the proportions of a map (rows, columns) are from those of the image; 0: equal."""
    return abs(math.log(shape[0] * size[1] / (shape[1] * size[0])))


def is_stride(stride: float, rows: int, height: int) -> bool:
    """Whether a map has as many rows as its stride gives; frameworks round differently."""
    return abs(rows * stride - height) <= 2 * stride


def to_logits(
    raw: np.ndarray, form: Form, threshold: float | None, mapping: np.ndarray, num_classes: int
) -> np.ndarray:
    """What a model returned as logits of the label space's classes.

    The logit of a class is the largest of its channels, so that the most probable class of a pixel
    is the one to which the model's own most probable channel belongs.

    Args:
      raw: `[h, w, K]`; `[h, w]` for the forms of one number per pixel.
      form: see `Output`.
      threshold: see `Output`.
      mapping: int `[K]`, of `class_of_channel`.
      num_classes: C.

    Returns:
      float32 `[h, w, C]`.
    """
    if form == 'class map':
        return from_class_map(raw, mapping, num_classes)
    values = np.asarray(raw, np.float32)
    if form in ('probabilities', 'single probability'):
        values = np.clip(values, _SMALLEST, 1 - _SMALLEST)
        values = np.log(values) if form == 'probabilities' else np.log(values / (1 - values))
    if form in ('single logit', 'single probability'):
        level = threshold or 0.0
        if form == 'single probability':
            share = float(np.clip(0.5 if threshold is None else threshold, 1e-6, 1 - 1e-6))
            level = float(np.log(share / (1 - share)))
        values = np.stack([np.zeros_like(values), values - np.float32(level)], -1)
    # A class that the model does not know is less probable than all others.
    floor = values.min() + np.float32(np.log(_SMALLEST))
    logits = np.full((*values.shape[:2], num_classes), floor, np.float32)
    for value in np.unique(mapping).tolist():
        logits[..., value] = values[..., mapping == value].max(-1)
    return logits


def from_class_map(channels: np.ndarray, mapping: np.ndarray, num_classes: int) -> np.ndarray:
    """Logits of a class map `[h, w]` of channels, as if it were CERTAIN; other numbers are 0."""
    known = (channels >= 0) & (channels < len(mapping))
    classes = np.where(known, mapping[np.where(known, channels, 0).astype(np.int64)], 0)
    logits = np.full(
        (*classes.shape, num_classes), np.float32(np.log((1 - CERTAIN) / max(num_classes - 1, 1)))
    )
    np.put_along_axis(logits, classes[..., None], np.float32(np.log(CERTAIN)), -1)
    return logits


def scale(images: np.ndarray, input_: Input) -> np.ndarray:
    """uint8 RGB images `[B, h, w, 3]` as the model wants them, float32 `[B, h, w, 3 or 1]`.

    Raises:
      ValueError: mean or std have another number of channels.
    """
    values = images.astype(np.float32)
    if input_.channels == 'BGR':
        values = values[..., ::-1]
    elif input_.channels == 'gray':
        values = values @ np.array([[0.299], [0.587], [0.114]], np.float32)
    mean, std = (np.asarray(each, np.float32) for each in (input_.mean, input_.std))
    for name, each in (('mean', mean), ('std', std)):
        if each.ndim and len(each) != values.shape[-1]:
            raise ValueError(
                f'input.{name} of the adapter has {len(each)} numbers, but the input has '
                f'{values.shape[-1]} channels.'
            )
    if not std.all() or not input_.divide_by:
        raise ValueError('input.std and input.divide_by of the adapter must not be 0.')
    return (values / np.float32(input_.divide_by) - mean) / std
