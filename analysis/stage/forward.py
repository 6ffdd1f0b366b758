"""Runs the network of an analysis over its images."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from analysis.foreign.model import Prediction, predict_batch
from analysis.stage.run import Analysis
from segmentation import evaluate
from segmentation.data import input_pipeline

Batch = dict[str, np.ndarray]


def forward(
    analysis: Analysis,
    title: str,
    function: Callable[[Any, Any], Any] | None = None,
    change: Callable[[Batch], Batch] | None = None,
) -> Iterator[tuple[list[int], Batch, Any]]:
    """Runs the network, batch by batch in the order of the images, with a progress bar.

    Args:
      analysis: of which network and images.
      title: of the progress bar.
      function: computes arrays `[B, …]` from variables and uint8 images `[B, S, S, 3]`, see
        `evaluate.on_local_devices`; default: float32 logits `[B, S, S, C]`.
      change: changes a batch before the network sees it.

    A foreign model only gives logits.

    Yields:
      Numbers of the images of a batch, the batch and the arrays. The last batch is padded, see
      `input_pipeline.evaluation_batches`.
    """
    run = analysis.run
    if analysis.foreign:
        for rows, batch, logits, _ in foreign_forward(analysis, title, change):
            yield rows, batch, logits
        return
    batches = input_pipeline.evaluation_batches(analysis.examples, batch_size=analysis.batch_size)
    function = function or evaluate.make_predict(run.model, run.config.data.input_range)
    variables = evaluate.replicate(run.variables)
    changed = map(change, batches) if change else batches
    title = f'{title}, {analysis.split} at step {analysis.step}'
    with tqdm(total=len(analysis), desc=title, unit='img') as bar:
        for batch, found in evaluate.predictions(function, variables, changed):
            rows = batch['index'][batch['index'] >= 0].tolist()
            yield rows, batch, found
            bar.update(len(rows))


def foreign_forward(
    analysis: Analysis,
    title: str,
    change: Callable[[Batch], Batch] | None = None,
    fresh: bool = False,
) -> Iterator[tuple[list[int], Batch, np.ndarray, list[Prediction]]]:
    """As `forward`, of a foreign model; see `foreign.model.predict_batch`.

    Yields:
      Numbers of the images of a batch, the batch, logits and the predictions as the model made
      them; kept ones have the resolution of the labels, unless `fresh` ones are asked for.
    """
    model = analysis.foreign
    assert model is not None
    batches = input_pipeline.evaluation_batches(analysis.examples, batch_size=analysis.batch_size)
    kept = analysis.kept if model.can_run else None
    with tqdm(total=len(analysis), desc=f'{title}, {analysis.split}', unit='img') as bar:
        for batch in batches:
            logits, made = predict_batch(model, kept, analysis.examples, batch, change, fresh)
            rows = batch['index'][batch['index'] >= 0].tolist()
            yield rows, batch, logits, made
            bar.update(len(rows))
