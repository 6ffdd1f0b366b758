"""Runs the network once over all images and stores what other stages need.

    python -m analysis.predictions --workdir runs/person_car --split val

Mean IoU, samples, confusion, pictures and the comparison of two runs read this artifact instead of
running the network again. It takes about 1 KB per image at 128×128: the class map compressed, and
some numbers. Logits are not kept: in float32 they would take 200 KB per image. Of up to 10,000
images, the mean activation of every channel is kept too, for embeddings and comparisons: 67 KB per
image, in the file features.f32, which may be deleted. The network also sees at most 256 images of
the selection split, from which the temperature is fitted.
"""

import argparse

from analysis.predictions.schema import Predictions
from analysis.stage.command import stage_parser


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.predictions`."""
    return stage_parser(Predictions, __doc__)
