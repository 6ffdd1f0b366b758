"""Scores a checkpoint: mean IoU over the set and per image, with bootstrap confidence intervals.

    python -m analysis.mean_iou --workdir runs/person_car --split val --checkpoint best

Prints a table at the network's resolution and one at the images' own, then precision, recall,
boundary IoU and calibration, and writes all of it with definitions to
<workdir>/mean_iou-<split>-<step>.json and .md. The figure has the confusion matrix and the
reliability diagram.
"""

import argparse

from analysis.mean_iou.schema import MeanIou
from analysis.stage.command import stage_parser


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.mean_iou`."""
    return stage_parser(MeanIou, __doc__)
