"""Draws pictures of the images for the report: image, ground truth, prediction and errors.

    python -m analysis.pictures --workdir runs/person_car --split val

Writes thumbnails of all images, on sheets, and large pictures of the most interesting images: the
worst by loss and by IoU, exemplars of the clusters, label issues, and the worst of each slice, as
far as these stages were run. Pictures that exist are kept: the same command continues after an
interruption, and adds what other stages have found since.
"""

import argparse

from analysis.pictures.schema import Pictures
from analysis.stage.command import stage_parser


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.pictures`."""
    return stage_parser(
        Pictures, __doc__,
        details=(400, 'maximum number of images with large pictures'),
    )  # fmt: skip
