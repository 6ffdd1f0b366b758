"""How far images are from the training data, and in which columns a folder differs from them.

    python -m analysis.drift --workdir runs/person_car --splits train,val --folder new_photos

The novelty of an image is its mean distance in embedding space to the 10 nearest images of the
reference, divided by the median of this distance over the reference's own images: 1 is typical.
Every other part is compared with the reference by a two-sample test over the metadata and the first
components of the embedding; of parts that do not differ, at most 5 % have a column with p ≤ 0.05.
See analysis/README.md.
"""

import argparse

from analysis.drift.schema import Drift
from analysis.stage.command import stage_parser


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.drift`."""
    return stage_parser(
        Drift, __doc__,
        reference=('', "part that the others are compared with; '' is train, or else the first"),
        seed=(0, 'seed of the random divisions of the images'),
    )  # fmt: skip
