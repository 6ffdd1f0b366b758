"""Finds which properties of an image are associated with how well it is segmented.

    python -m analysis.associations --workdir runs/person_car --split val

Tests each metadata column of `analysis.samples` against each metric by Spearman's rank correlation,
with and without adjustment for object size, and compares the metric's means in bins of the column.
Among the associations with q <= 0.05, at most 5 % are expected to be due to chance. The network
also runs on a desaturated copy of each color image, and both are compared. See analysis/README.md
for the tests.
"""

import argparse

from analysis.associations.schema import Associations
from analysis.stage.command import stage_parser


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.associations`."""
    return stage_parser(Associations, __doc__)
