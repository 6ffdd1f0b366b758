"""Compares two runs on the same images: scores, where they differ, and what they represent.

    python -m analysis.compare --workdir runs/person_car --other runs/vehicle

Both runs must have the same data set. The comparison covers the images that both runs have in
`--split`. Differences are the other run minus this run, paired by image. 95 % confidence intervals
are over images and do not cover other training runs; for those use
scripts/experiments/reproduce.py. If the label spaces differ, each network is scored against the
labels of both runs, and classes are matched by their number. If the runs differ in
data.image_size, pixels are counted at the images' own resolution, and the loss at that of each.

Two pictures are written: the differences, and both predictions for twelve images at equal steps in
the order of the difference of IoU.
"""

import argparse

from analysis.stage import command
from segmentation import launch


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.compare`."""
    parser = command.make_parser('compare', __doc__)
    parser.add_argument(
        '--other',
        required=True,
        type=launch.local_path,
        metavar='WORKDIR',
        help='run to compare with',
    )
    parser.add_argument(
        '--other_checkpoint', default='best', help='as --checkpoint; default: %(default)s'
    )
    command.add_force(parser)
    return parser
