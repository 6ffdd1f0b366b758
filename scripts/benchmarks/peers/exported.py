"""Inference in runtimes that take an exported network."""

import pathlib
from collections.abc import Callable

import numpy as np
from protocol import repeat

MOST_DIFFERENCE = 1e-4  # of a logit; they have a standard deviation of about 1


def inference(
    spec: dict, load: Callable[[str, tuple[int, ...], int], Callable[[np.ndarray], np.ndarray]]
) -> tuple[Callable[[int], None], dict]:
    """The task `inference` of a worker.

    Args:
      spec: has `exported`, the folder that our worker's task `export` wrote for a batch that is at
        least as large.
      load: maps the path of the ONNX file, the shape of the batch and a number of threads to a
        function from images uint8 `[B, S, S, 3]` to logits float32 `[B, classes, S, S]`.

    Raises:
      ValueError: the logits are not those of our network.
    """
    folder = pathlib.Path(spec['exported'])
    with np.load(folder / 'batch.npz', allow_pickle=False) as batch:
        images, expected = (batch[name][: spec['batch_size']] for name in ('images', 'logits'))
    call = load(str(folder / 'network.onnx'), images.shape, spec['threads'])
    difference = float(np.abs(call(images) - expected).max())
    if not difference <= MOST_DIFFERENCE:
        raise ValueError(f'its logits differ from ours by up to {difference:.2g}')
    return repeat(lambda: call(images)), {'difference': difference}
