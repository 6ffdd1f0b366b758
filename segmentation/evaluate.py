"""Runs the network over examples and counts what it gets right."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from PIL import Image
from tqdm import tqdm

from segmentation import cpu_runtime, losses, metrics
from segmentation.data import input_pipeline, masks
from segmentation.data.examples import Examples
from segmentation.models.unet import SegmentationModel, scale_images


def make_predict(model: SegmentationModel, input_range: str) -> Callable[[Any, np.ndarray], Any]:
    """Returns `predict(variables, images)` over this process' devices.

    `variables` are {'params', 'batch_stats'}, on the host or already on the devices; `images` are
    uint8 `[B, S, S, 3]` where B is a multiple of the number of local devices. The result is float32
    logits `[B, S, S, C]`, computed in the background until they are looked at.
    """
    devices, compiled = jax.local_devices(), set()

    def apply(variables: Any, images: jax.Array) -> Any:
        return model.apply(variables, scale_images(images, input_range), train=False)

    forward = jax.pmap(apply, axis_name='batch', in_axes=(None, 0), devices=devices)

    def predict(variables: Any, images: np.ndarray) -> jax.Array:
        if len(images) % len(devices):
            raise ValueError(
                f'{len(images)} images do not divide evenly over {len(devices)} devices; choose an '
                'eval_batch_size that is a multiple of the number of devices.'
            )
        per_device = images.reshape(len(devices), -1, *images.shape[1:])
        per_device = cpu_runtime.settle(per_device)
        if per_device.shape not in compiled:
            cpu_runtime.compile_ahead(forward, variables, per_device)
            compiled.add(per_device.shape)
        logits = forward(variables, per_device)
        return logits.reshape(len(images), *logits.shape[2:])

    return predict


def replicate(tree: Any, devices: list[jax.Device] | None = None) -> Any:
    """Places arrays once on each of this process' devices, as pmap with `in_axes=None` expects."""
    mesh = Mesh(np.asarray(devices or jax.local_devices()), ('batch',))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


@jax.jit
def image_loss(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Mean cross-entropy in nats over the counted pixels of each image; 0 if none counts. `[B]`."""
    valid = label != masks.IGNORE
    total = (losses.cross_entropy(logits, label) * valid).sum((1, 2))
    return total / valid.sum((1, 2)).clip(1)


def enlarge_and_classify(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Class per pixel at another resolution: logits are interpolated bilinearly, then compared.

    Args:
      logits: float32 `[S, S, C]`.
      height: of the result in pixels.
      width: of the result in pixels.

    Returns:
      uint8 `[height, width]`.
    """
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(channel)).resize(
                (width, height), Image.Resampling.BILINEAR
            )
        )
        for channel in np.moveaxis(logits, -1, 0)
    ]
    return np.argmax(channels, axis=0).astype(np.uint8)


def predictions(
    predict: Callable, variables: Any, batches: Iterator[dict[str, np.ndarray]]
) -> Iterator[tuple[dict[str, np.ndarray], jax.Array]]:
    """Yields (batch, logits), the device being one batch ahead of whoever looks at them."""
    waiting = None
    for batch in batches:
        result = batch, predict(variables, batch['image'])
        if waiting:
            yield waiting
        waiting = result
    if waiting:
        yield waiting


def evaluate(
    predict: Callable,
    variables: Any,
    examples: Examples,
    *,
    num_classes: int,
    batch_size: int,
    original: bool = False,
    progress: str = '',
) -> dict[str, np.ndarray]:
    """Confusion matrix and loss of every example; with several processes each does its share.

    Args:
      predict: of `make_predict`.
      variables: {'params', 'batch_stats'}.
      examples: what to evaluate.
      num_classes: C, background included.
      batch_size: per step and process.
      original: also compare at each photograph's own resolution.
      progress: label of a progress bar; empty for none.

    Returns:
      `image_id` `[N]` int64, `loss` `[N]` float32 (nats per pixel), `network` `[N, C, C]` int64
      and, if asked for, `original` `[N, C, C]` int64; rows are true classes; example order.
    """
    process, processes = jax.process_index(), jax.process_count()
    variables = replicate(variables)
    batches = input_pipeline.evaluation_batches(
        examples, batch_size=batch_size, process_index=process, process_count=processes
    )
    mine = range(process, len(examples), processes)
    # Rounded up where the examples do not divide evenly: gathering wants equal shapes.
    rows = -(-len(examples) // processes)
    resolutions = ('network', 'original') if original else ('network',)
    counts = {key: np.zeros((rows, num_classes, num_classes), np.int64) for key in resolutions}
    loss = np.zeros(rows, np.float32)
    row = 0
    bar = tqdm(total=len(mine), desc=progress, unit='img', disable=not progress or process > 0)
    with bar:
        for batch, on_device in predictions(predict, variables, batches):
            losses_of_batch = np.asarray(image_loss(on_device, batch['label']))
            logits = np.asarray(on_device)
            for i, index in enumerate(batch['index']):
                if index < 0:
                    continue
                counts['network'][row] = metrics.confusion_matrix(
                    batch['label'][i], logits[i].argmax(-1), num_classes
                )
                if original:
                    label = examples.full_label(int(index))
                    counts['original'][row] = metrics.confusion_matrix(
                        label, enlarge_and_classify(logits[i], *label.shape), num_classes
                    )
                loss[row] = losses_of_batch[i]
                row += 1
                bar.update()
    if row != len(mine):
        raise RuntimeError(f'Scored {row} of {len(mine)} examples: a batch went missing.')
    result = {**counts, 'loss': loss}
    if processes > 1:
        # Process p did examples p, p + P, …: interleave, then cut the padding off.
        gathered = multihost_utils.process_allgather(result)
        result = {
            key: np.swapaxes(value, 0, 1).reshape(-1, *value.shape[2:])
            for key, value in gathered.items()
        }
    result = {key: value[: len(examples)] for key, value in result.items()}
    return {'image_id': examples.image_ids.astype(np.int64), **result}
