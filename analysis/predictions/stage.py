"""Runs the network once over all images and stores what other stages need."""

import concurrent.futures
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import pyarrow

from analysis.predictions import calibration, features
from analysis.predictions.options import make_parser
from analysis.predictions.schema import Predictions
from analysis.stage import shards
from analysis.stage.contract import Stage
from analysis.stage.forward import Batch, foreign_forward, forward
from analysis.stage.run import Analysis
from segmentation import boundaries, evaluate, files, markdown, metrics
from segmentation.activations import find_layers
from segmentation.data.masks import IGNORE

_OF_PROBABILITIES = 'confidence', 'entropy', 'calibration_error'
_COUNTS = pyarrow.list_(pyarrow.int32())
_BINS = pyarrow.list_(pyarrow.float32())
# Columns of numbers, and their units.
_NUMBERS = {
    'loss': 'nats per pixel', 'confidence': '0–1', 'entropy': 'nats', 'calibration_error': '0–1'
}  # fmt: skip
_SCHEMA = pyarrow.schema(
    [(name, pyarrow.float64()) for name in _NUMBERS]
    + [('confusion', _COUNTS), ('confusion_original', _COUNTS), ('boundary_original', _COUNTS)]
    + [('reliability', _BINS), ('class_map', pyarrow.binary())]
)


@jax.jit
def _pixel_scores(logits: jax.Array, temperature: float) -> tuple[jax.Array, ...]:
    """Most probable class, its probability, the entropy in nats, and the scaled probability."""
    log_probability = jax.nn.log_softmax(logits)
    probability = jax.numpy.exp(log_probability)
    entropy = -(probability * log_probability).sum(-1)
    scaled = jax.nn.softmax(logits / temperature).max(-1)
    return logits.argmax(-1), probability.max(-1), entropy, scaled


def image_scores(
    label: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, entropy: np.ndarray
) -> dict[str, float | None]:
    """Confidence, entropy and calibration error of an image.

    Where no pixel counts, as in an image without annotations, confidence and entropy are those of
    all pixels, and the calibration error is None.

    All arrays are `[S, S]`: labels, 255 for pixels that do not count; most probable classes; their
    probabilities; entropies in nats.
    """
    valid = label != IGNORE
    if not valid.any():
        means = float(confidence.mean(dtype=np.float64)), float(entropy.mean(dtype=np.float64))
        return dict(zip(_OF_PROBABILITIES, (*means, None), strict=True))
    right, confidence = (predicted == label)[valid], confidence[valid].astype(np.float64)
    counts = calibration.bin_counts(right, confidence)
    return {
        'confidence': float(confidence.mean()),
        'entropy': float(entropy[valid].mean(dtype=np.float64)),
        'calibration_error': float(calibration.calibration_error(counts)),
    }


def describe_batch(
    logits: jax.Array, label: np.ndarray, num_classes: int, temperature: float | None = None
) -> list[dict[str, float | None | bytes | np.ndarray]]:
    """Rows of the table, without `…_original`, for logits `[B, S, S, C]` and labels."""
    loss = np.asarray(evaluate.image_loss(logits, label)).tolist()
    scores = _pixel_scores(logits, temperature or 1.0)
    classes, confidence, entropy, scaled = (np.asarray(part) for part in scores)
    right, valid = classes == label, label != IGNORE
    return [
        {
            'loss': loss[i],
            **image_scores(label[i], classes[i], confidence[i], entropy[i]),
            'confusion': metrics.confusion_matrix(label[i], classes[i], num_classes).ravel(),
            'reliability': np.concatenate(
                [
                    calibration.bin_counts(right[i][valid[i]], each[i][valid[i]]).ravel()
                    for each in ((confidence,) if temperature is None else (confidence, scaled))
                ]
            ),
            'class_map': zlib.compress(classes[i].astype(np.uint8).tobytes(), 6),
        }
        for i in range(len(label))
    ]


def compute(analysis: Analysis) -> Predictions:
    """One pass over the images, in bounded memory but for the result."""
    config, num_classes, parts = analysis.config, len(analysis.class_names), []
    unknown: dict[str, None] = {}
    if analysis.foreign and analysis.foreign.certain:
        unknown = dict.fromkeys((*_OF_PROBABILITIES, 'reliability'))
    temperature = calibration.fit_temperature(analysis)
    layers = {} if analysis.foreign or len(analysis) > features.MOST else find_layers(analysis.run)

    def work(some: Analysis, _: np.ndarray) -> Iterator[tuple[list[dict[str, Any]], np.ndarray]]:
        yield from _describe(some, tuple(layers), temperature, unknown)

    pieces = shards.stream(analysis, Predictions.NAME, work)
    with features.writing(analysis, bool(layers)) as write:
        for rows, found in pieces:
            write(found)
            parts.append(pyarrow.RecordBatch.from_pylist(rows, schema=_SCHEMA))
    images = pyarrow.Table.from_batches(parts, _SCHEMA)
    digest = files.sha256(analysis.folder / features.FILE) if layers else ''
    return Predictions(config.data.image_size, num_classes, images, temperature, layers, digest)


def _describe(
    analysis: Analysis,
    layers: Sequence[str],
    temperature: float | None,
    unknown: Mapping[str, None],
) -> Iterator[tuple[list[dict[str, Any]], np.ndarray]]:
    """Yields rows of the table, and the features of these images."""
    config, num_classes = analysis.config, len(analysis.class_names)

    def original(index: int, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        label = analysis.examples.full_label(index)
        predicted = evaluate.enlarge_and_classify(logits, *label.shape)
        counts = metrics.confusion_matrix(label, predicted, num_classes)
        return counts.ravel(), boundaries.boundary_counts(label, predicted, num_classes).ravel()

    with concurrent.futures.ThreadPoolExecutor(config.data.threads) as pool:
        for indices, batch, logits, own, found in _run_network(analysis, layers):
            enlarged = pool.map(original, indices, own)
            described = describe_batch(logits, batch['label'], num_classes, temperature)
            rows = [
                {**row, **unknown, 'confusion_original': counts, 'boundary_original': outline}
                for row, (counts, outline) in zip(described, enlarged, strict=False)
            ]
            yield rows, found


def _run_network(
    analysis: Analysis, layers: Sequence[str]
) -> Iterator[tuple[list[int], Batch, Any, Iterable[np.ndarray], np.ndarray]]:
    """Yields numbers of images, their batch, logits, those for their own resolution, features."""
    nothing = np.zeros((0, 0), np.float32)
    if analysis.foreign:
        # At the image's own resolution, a foreign model is judged by what it returned itself.
        for rows, batch, logits, made in foreign_forward(analysis, 'predictions', fresh=True):
            yield rows, batch, logits, [each.logits for each in made], nothing
    elif layers:
        predict = features.make_predict(analysis.run, layers)
        for rows, batch, (logits, found) in forward(analysis, 'predictions', predict):
            yield rows, batch, logits, np.asarray(logits), np.asarray(found)[: len(rows)]
    else:
        for rows, batch, logits in forward(analysis, 'predictions'):
            yield rows, batch, logits, np.asarray(logits), nothing


def describe_changed(
    analysis: Analysis, title: str, change: Callable[[Batch], Batch] | None = None
) -> Predictions:
    """As `compute`, of changed images or other labels; without `…_original`, not written.

    Arguments are those of `forward`.
    """
    num_classes = len(analysis.class_names)

    def work(some: Analysis, _: np.ndarray) -> Iterator[list[dict[str, Any]]]:
        for rows, batch, logits in forward(some, title, change=change):
            yield describe_batch(logits, batch['label'], num_classes)[: len(rows)]

    table = pyarrow.Table.from_pylist(sum(shards.stream(analysis, 'changed', work), []))
    return Predictions(analysis.config.data.image_size, num_classes, table)


def table(result: Predictions) -> str:
    """How the numbers are distributed over the images."""
    rows = []
    for name, unit in _NUMBERS.items():
        values = result.column(name)
        values = values[~np.isnan(values)]
        numbers = [values.mean(), *np.percentile(values, [5, 50, 95])] if len(values) else []
        rows.append((name, unit, *(f'{x:.4g}' for x in numbers), *['–'] * (4 - len(numbers))))
    header = ('number', 'unit', 'mean', '5 %', 'median', '95 %')
    size = sum(map(len, result.images['class_map'].to_pylist())) / max(1, len(result.images))
    text = f'{len(result.images)} images; {size:.0f} bytes per class map.'
    return f'{text}\n\n{markdown.table(header, rows)}'


STAGE = Stage(Predictions, make_parser, compute, table, shared=True)
main = STAGE.main
