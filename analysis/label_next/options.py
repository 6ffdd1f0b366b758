"""Ranks the images of folders by how much their labels would help.

    python -m analysis.label_next --workdir runs/person_car --splits train,val --folder new_photos

An image comes early if the network is uncertain about it and if it is unlike all images that are
labeled or ranked before: its score is the mean entropy of its pixels times its distance to the
nearest such image in embedding space. All images of the splits count as labeled. Writes
next_to_label.json, image ids in order; scripts/annotation_tasks.py --next exports the images to an
annotation tool. See analysis/README.md.
"""

import argparse

from analysis.label_next.schema import LabelNext
from analysis.stage.command import stage_parser


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.label_next`."""
    return stage_parser(
        LabelNext, __doc__,
        count=(500, 'maximum number of images in the list'),
    )  # fmt: skip
