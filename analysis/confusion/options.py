"""Counts which COCO categories the network predicts as its classes: trucks as cars, for example.

    python -m analysis.confusion --workdir runs/person_car --split val
    python -m analysis.confusion --workdir runs/fold0 --pool runs/fold1 runs/fold2

The data set has more categories than the label space: a truck is background to a network trained on
persons and cars. This stage counts the predicted classes of the pixels and instances of every
category, at the network's resolution. --pool adds the images of the other folds of an experiment,
each predicted by the network of its own fold. See analysis/README.md for what is counted.
"""

import argparse

from analysis.stage import command


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.confusion`."""
    parser = command.make_parser('confusion', __doc__)
    command.add_pool(parser)
    command.add_force(parser)
    return parser
