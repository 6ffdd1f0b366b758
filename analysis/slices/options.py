"""Finds slices: simple conditions under which the network does worse than elsewhere.

    python -m analysis.slices --workdir runs/person_car --split val

A slice is a conjunction of one to three conditions on the metadata of `analysis.samples`, such as
"brightness at most 41.5 of 255 and at least 3 instances of person", or on the cluster, if
`analysis.clusters` was run. Slices are found in one half of the images and tested on the other
half, then the other way round. If no column has an effect, a slice is reported in at most 5 % of
data sets. The table has the first ten that are not nested in a slice that stands out more. See
analysis/README.md for the search and the tests. There is one search for each of four metrics:

    loss                              nats per pixel; high is bad
    mean_iou_foreground               of images that show a class; low is bad
    loss_given_size                   log of the loss over the expected loss of an image with as
                                      much of each class: 0.1 is about 10 % more; high is bad
    mean_iou_foreground_given_size    IoU minus the expected IoU of such an image; low is bad
"""

import argparse

from analysis.slices.schema import Slices
from analysis.stage.command import stage_parser


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.slices`."""
    return stage_parser(
        Slices, __doc__,
        seed=(0, 'seed of the split into halves and of the permutations'),
    )  # fmt: skip
