"""Runs the network of an analysis over its images."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from analysis.stage.run import Analysis
from segmentation import evaluate
from segmentation.data import input_pipeline

Batch = dict[str, np.ndarray]


def forward(
    analysis: Analysis,
    title: str,
    function: Callable[[Any, Any], Any] | None = None,
    change: Callable[[Batch], Batch] = lambda batch: batch,
) -> Iterator[tuple[list[int], Batch, Any]]:
    """Runs the network, batch by batch in the order of the images, with a progress bar.

    Args:
      analysis: of which network and images.
      title: of the progress bar.
      function: computes arrays from variables and uint8 images `[B, S, S, 3]`; default: float32
        logits `[B, S, S, C]`.
      change: changes a batch before the network sees it.

    Yields:
      Numbers of the images of a batch, the batch and the arrays. The last batch is padded, see
      `input_pipeline.evaluation_batches`.
    """
    run = analysis.run
    batches = input_pipeline.evaluation_batches(analysis.examples, batch_size=analysis.batch_size)
    if function:
        variables = jax.device_put(run.variables)
    else:
        function = evaluate.make_predict(run.model, run.config.data.input_range)
        variables = evaluate.replicate(run.variables)
    title = f'{title}, {analysis.split} at step {analysis.step}'
    with tqdm(total=len(analysis), desc=title, unit='img') as bar:
        for batch, found in evaluate.predictions(function, variables, map(change, batches)):
            rows = batch['index'][batch['index'] >= 0].tolist()
            yield rows, batch, found
            bar.update(len(rows))
