"""Scores a checkpoint: mean IoU over the set and per image, with bootstrap confidence intervals.

    python -m analysis.mean_iou --workdir runs/person_car --split val --checkpoint best

Prints a table at the network's resolution and one at the images' own, and also writes both with
their definitions to <workdir>/mean_iou-<split>-<step>.json and .md.
"""

import pathlib

import numpy as np

from analysis.mean_iou.schema import MeanIou
from analysis.predictions import stage as predictions
from analysis.predictions.schema import Predictions
from analysis.stage import artifacts, storage
from analysis.stage.contract import Stage
from analysis.stage.run import Analysis
from segmentation import markdown, metrics
from segmentation.files import write_json, write_text


def compute(analysis: Analysis) -> MeanIou:
    """Scores the predictions."""
    predicted = artifacts.load(analysis, Predictions)
    network, original = (
        metrics.summarize(predicted.confusions(resolution), analysis.class_names)
        for resolution in ('network', 'original')
    )
    return MeanIou(
        split=analysis.split,
        step=analysis.step,
        class_names=analysis.class_names,
        num_images=len(analysis),
        image_size=predicted.size,
        loss=float(predicted.column('loss').astype(np.float32).mean()),
        network=network,
        original=original,
        absent_class_rule=metrics.ABSENT_CLASS_RULE,
        data=analysis.data,
        selection=analysis.selection,
    )


def table(result: MeanIou) -> str:
    """Both tables, with definitions of their columns."""
    return '\n\n'.join(
        [
            f'Split {result.split}, checkpoint at step {result.step}, {result.num_images} images, '
            f'loss {result.loss:.4f} nats per pixel. In brackets: 95 % bootstrap confidence '
            'interval over images. The effective sample size (Kish) is the number of images if all '
            'hold equally many pixels of the class; below about 30 the interval is too narrow.',
            f"At the network's resolution, {result.image_size}×{result.image_size}:",
            markdown.iou_table(result.network),
            "At the images' own resolution:",
            markdown.iou_table(result.original),
            result.absent_class_rule,
        ]
    )


def write_scores(analysis: Analysis, result: MeanIou) -> list[pathlib.Path]:
    """Writes the scores into the run directory, where people look for them."""
    path = analysis.workdir / f'mean_iou-{result.split}-{result.step}.json'
    write_json(path, storage.to_json(result))
    write_text(path.with_suffix('.md'), table(result) + '\n')
    return [path.with_suffix('.md'), path]


STAGE = Stage(MeanIou, __doc__, compute, table, write_scores, reads=(predictions.STAGE,))
main = STAGE.main
