"""Finds copies of images within and across the splits of the data set, and what they do to scores.

    python -m analysis.duplicates --workdir runs/person_car --split val

Copies are the same file, or the same image re-encoded, mirrored, cropped by up to 10 % or changed
in brightness, also in combination. All images of the prepared data set are searched. Besides the
result, two files are written:

groups.json  the groups of image ids: with --config.data.groups=FILE, training keeps each group in
             one fold, and holds out all or none of it to choose the checkpoint
leaked.json  the training images with a copy in this view: --config.data.exclude=FILE trains without
             them

If images of the view have copies among the images that the run was trained on, IoU is computed with
and without them.
"""

import argparse

from analysis.duplicates.schema import Duplicates
from analysis.stage.command import stage_parser


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.duplicates`."""
    return stage_parser(Duplicates, __doc__)
