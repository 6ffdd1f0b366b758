"""Runs the network over examples and counts pixels by true and predicted class."""

import collections
import concurrent.futures
import functools
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from PIL import Image
from tqdm import tqdm

from segmentation import cpu_runtime, losses, metrics
from segmentation.data import masks
from segmentation.data.examples import Examples
from segmentation.models.unet import SegmentationModel, scale_images

# Batches that the network works on at once.
_AHEAD = 2


def on_local_devices(
    apply: Callable[[Any, Any], Any],
) -> Callable[[Any, Any], Any]:
    """Spreads a function of a batch over the devices of this process.

    Args:
      apply: maps variables and images `[b, ...]`, or a tree of such arrays, to a tree of arrays
        `[b, ...]`; is compiled.

    Returns:
      `spread(variables, images)`, with the variables on the host or the devices, and images
      `[B, ...]` with B a multiple of the number of local devices. The results `[B, ...]` are
      computed asynchronously.
    """
    devices, compiled, lock = jax.local_devices(), set(), threading.Lock()
    forward = jax.pmap(apply, axis_name='batch', in_axes=(None, 0), devices=devices)

    def spread(variables: Any, images: Any) -> Any:
        number = len(jax.tree.leaves(images)[0])
        if number % len(devices):
            raise ValueError(f'{number} images do not divide evenly over {len(devices)} devices.')
        per_device = cpu_runtime.settle(
            jax.tree.map(lambda each: each.reshape(len(devices), -1, *each.shape[1:]), images)
        )
        shapes = tuple(each.shape for each in jax.tree.leaves(per_device))
        with lock:
            if shapes not in compiled:
                cpu_runtime.compile_ahead(forward, variables, per_device)
                compiled.add(shapes)
        found = forward(variables, per_device)
        return jax.tree.map(lambda each: each.reshape(number, *each.shape[2:]), found)

    return spread


def make_predict(model: SegmentationModel, input_range: str) -> Callable[[Any, np.ndarray], Any]:
    """Makes a function that computes logits on the devices of this process.

    Args:
      model: the network.
      input_range: see `unet.scale_images`.

    Returns:
      `predict(variables, images)`, see `on_local_devices`. `variables` are {'params',
      'batch_stats'}, `images` uint8 `[B, S, S, 3]`; the result is float32 logits `[B, S, S, C]`.
    """
    return _make_predict(model, input_range, tuple(jax.local_devices()))


@functools.lru_cache(maxsize=2)  # Compiled once for all checkpoints of a network.
def _make_predict(model: SegmentationModel, input_range: str, devices: tuple) -> Callable:
    del devices  # `on_local_devices` takes them all.

    def apply(variables: Any, images: jax.Array) -> Any:
        return model.apply(variables, scale_images(images, input_range), train=False)

    return on_local_devices(apply)


def with_mirrored(predict: Callable[[Any, np.ndarray], Any]) -> Callable[[Any, np.ndarray], Any]:
    """Averages the logits that `predict` returns with those of the mirrored images."""

    def apply(variables: Any, images: np.ndarray) -> Any:
        mirrored = predict(variables, np.ascontiguousarray(images[:, :, ::-1]))
        return (predict(variables, images) + mirrored[:, :, ::-1]) / 2

    return apply


def replicate(tree: Any, devices: list[jax.Device] | None = None) -> Any:
    """Copies arrays to each device of this process, as `pmap` with `in_axes=None` expects."""
    mesh = Mesh(np.asarray(devices or jax.local_devices()), ('batch',))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


@jax.jit
def image_loss(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Mean cross-entropy of each image over its counted pixels, in nats; 0 if there are none.

    Args:
      logits: float32 `[B, H, W, C]`.
      label: integer `[B, H, W]`, 0 … C - 1 or 255.

    Returns:
      float32 `[B]`.
    """
    valid = label != masks.IGNORE
    total = (losses.cross_entropy(logits, label) * valid).sum((1, 2))
    return total / valid.sum((1, 2)).clip(1)


def _enlarge(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))


def enlarge(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinearly interpolates logits `[S, S, C]`, float32, to `[height, width, C]`."""
    planes = np.ascontiguousarray(np.moveaxis(logits, -1, 0))
    return np.stack([_enlarge(plane, height, width) for plane in planes], axis=-1)


def enlarge_and_classify(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Predicted classes at another resolution: the argmax of `enlarge`, in a fraction of its time.

    Each class is compared with background, and only where it may win: in the box around the pixels
    where it is the more probable one. Logits of two classes that differ by rounding alone may swap.

    Args:
      logits: float32 `[S, S, C]`, without NaN.
      height: of the result, in pixels.
      width: of the result, in pixels.

    Returns:
      uint8 `[height, width]`.
    """
    classes, best = np.zeros((height, width), np.uint8), np.zeros((height, width), np.float32)
    for number in range(1, logits.shape[-1]):
        excess = logits[..., number] - logits[..., 0]
        ahead = excess > 0
        if not ahead.any():
            continue
        (top, bottom, upper, lower), (left, right, first, last) = (
            _reach(ahead.any(1), height), _reach(ahead.any(0), width)
        )  # fmt: skip
        here = slice(top, bottom), slice(left, right)
        enlarged = np.asarray(
            Image.fromarray(excess).resize(
                (right - left, bottom - top),
                Image.Resampling.BILINEAR,
                (first, upper, last, lower),
            )
        )
        won = enlarged > best[here]
        classes[here][won] = number
        np.maximum(best[here], enlarged, out=best[here])
    return classes


def _reach(marked: np.ndarray, length: int) -> tuple[int, int, float, float]:
    """Which of `length` new pixels depend on marked ones, bool `[S]`.

    Returns:
      The first of them and the one after the last, and both as places among the S.
    """
    scale = len(marked) / length
    margin = max(1.0, scale)
    places = np.flatnonzero(marked)
    first = max(int((places[0] - margin) / scale), 0)
    end = min(math.ceil((places[-1] + 1 + margin) / scale), length)
    return first, end, first * scale, end * scale


def predictions(
    predict: Callable, variables: Any, batches: Iterator[dict[str, np.ndarray]]
) -> Iterator[tuple[dict[str, np.ndarray], Any]]:
    """Yields batches and what `predict` returns; the network is two batches ahead of the caller.

    Two threads run it, because one batch alone does not keep all cores of a CPU busy.
    """
    waiting = collections.deque[tuple[dict[str, np.ndarray], concurrent.futures.Future]]()
    with concurrent.futures.ThreadPoolExecutor(_AHEAD) as pool:
        for batch in batches:
            waiting.append((batch, pool.submit(predict, variables, batch['image'])))
            if len(waiting) > _AHEAD:
                ready, result = waiting.popleft()
                yield ready, result.result()
        for ready, result in waiting:
            yield ready, result.result()


def whole_batch(size: int) -> int:
    """The least batch size of at least `size` that all devices of this process share evenly."""
    devices = jax.local_device_count()
    return -(-size // devices) * devices


def predict_some(
    predict: Callable, variables: Any, examples: Examples, count: int, *, batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels and predictions of at most `count` examples, the same ones each time.

    Returns:
      uint8 `[n, S, S, 3]`, `[n, S, S]` and `[n, S, S]`, n at most `batch_size`.
    """
    batch_size = whole_batch(batch_size)
    count = min(count, len(examples), batch_size)
    numbers = np.linspace(0, len(examples) - 1, count).astype(int)
    chosen = [examples[number] for number in numbers]
    images, labels = (np.stack([example[k] for example in chosen]) for k in ('image', 'label'))
    # As large as an evaluation batch: another size would be compiled again.
    padded = np.resize(images, (batch_size, *images.shape[1:]))
    predicted = np.asarray(predict(variables, padded)).argmax(-1)
    return images, labels, predicted[:count].astype(np.uint8)


def evaluate(
    predict: Callable,
    variables: Any,
    examples: Examples,
    *,
    num_classes: int,
    batch_size: int,
    progress: str = '',
    truth: Callable[[int], np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Computes the confusion matrix and the loss of every example, split over all processes.

    Args:
      predict: from `make_predict`.
      variables: {'params', 'batch_stats'}.
      examples: N examples.
      num_classes: C, including background.
      batch_size: per step and process, at least; see `whole_batch`.
      progress: label of a progress bar; empty for none.
      truth: the true classes of an example by its number, uint8 `[H, W]`, at another resolution
        than the network's. Pixels are counted there, and logits are interpolated to it.

    Returns:
      In the order of the examples: `image_id` int64 `[N]`, `loss` float32 `[N]` (nats per pixel)
      and `network` int64 `[N, C, C]`, at the network's resolution or that of `truth` (rows are true
      classes).
    """
    from segmentation.data import input_pipeline  # here: predicting files needs no Grain

    process, processes = jax.process_index(), jax.process_count()
    variables = replicate(variables)
    batches = input_pipeline.evaluation_batches(
        examples,
        batch_size=whole_batch(batch_size),
        process_index=process,
        process_count=processes,
    )
    mine = range(process, len(examples), processes)
    # Rounded up, because gathering needs equal shapes.
    rows = -(-len(examples) // processes)
    counts = np.zeros((rows, num_classes, num_classes), np.int64)
    loss, row = np.zeros(rows, np.float32), 0
    bar = tqdm(total=len(mine), desc=progress, unit='img', disable=not progress or process > 0)
    with bar:
        for batch, on_device in predictions(predict, variables, batches):
            losses_of_batch = np.asarray(image_loss(on_device, batch['label']))
            logits = np.asarray(on_device)
            classes = logits.argmax(-1)
            for i, index in enumerate(batch['index']):
                if index < 0:
                    continue
                label, found = batch['label'][i], classes[i]
                if truth:
                    label = truth(index)
                    found = enlarge_and_classify(logits[i], *label.shape)
                counts[row] = metrics.confusion_matrix(label, found, num_classes)
                loss[row] = losses_of_batch[i]
                row += 1
                bar.update()
    if row != len(mine):
        raise RuntimeError(f'Scored {row} of {len(mine)} examples: a batch is missing.')
    result = {'network': counts, 'loss': loss}
    if processes > 1:
        # Process p scored the examples p, p + P, …: interleave them, and cut the padding off.
        gathered = multihost_utils.process_allgather(result)
        result = {
            key: np.swapaxes(value, 0, 1).reshape(-1, *value.shape[2:])
            for key, value in gathered.items()
        }
    result = {key: value[: len(examples)] for key, value in result.items()}
    return {'image_id': examples.image_ids.astype(np.int64), **result}
