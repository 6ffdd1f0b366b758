"""One row per image: what is in it, how it looks, and how well the network does on it.

    python -m analysis.samples --workdir runs/person_car --split val

Writes `samples.parquet`, whose columns have a role ('id', 'metadata' or 'metric'), a unit and a
description as Parquet field metadata (`samples/schema.py`), and prints a summary of every column.
"""

import argparse

from analysis.samples.schema import Samples
from analysis.stage.command import stage_parser


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.samples`."""
    return stage_parser(Samples, __doc__)
