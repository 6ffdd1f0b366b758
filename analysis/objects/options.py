"""Describes and compares the annotated objects of the images instead of the images.

    python -m analysis.objects --workdir runs/person_car --split val

An object is an annotated instance of a class that is visible at the network's resolution; crowd
regions are counted, but are not objects. Writes objects.parquet, with a row per object
(`objects/schema.py` has the columns), and pictures of the objects. The embedding has three blocks
with the same say: activations of the layers of `analysis.embeddings`, averaged over the object's
mask; colors of its upper and lower half; the shape of its mask. The nearest objects, the map, the
slices and the confusion are those of the stages for images. Objects of one image resemble each
other, so slices are found and tested with one random object of each image. What no column describes
is found as a group of similar objects on which the network does worse than on others of their
class, whatever the metadata explain.
"""

import argparse

from analysis.objects.schema import Objects
from analysis.stage.command import stage_parser
from segmentation.models.layer_names import LAYERS

DIMENSIONS = 32  # of each block


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.objects`."""
    return stage_parser(
        Objects, __doc__,
        layers=(LAYERS, 'as of `analysis.embeddings`'),
        dimensions=(DIMENSIONS, 'maximum number of dimensions of each block of the embedding'),
        seed=(
            0, 'seed of the embedding, the map, the halves for slices and the objects that stand '
            'for their images',
        ),
    )  # fmt: skip
