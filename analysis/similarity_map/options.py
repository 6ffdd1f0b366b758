"""Maps images to two and three dimensions so that similar ones lie near each other.

    python -m analysis.similarity_map --workdir runs/person_car --split val

The maps are t-SNE of the embeddings. Sizes of groups, and distances between distant groups, have no
meaning on such a map. Draws the images as dots in the colors of their clusters into
similarity_map.png, and a grid of example images into similarity_map_images.png. See
analysis/README.md for how the quality of a map is measured.
"""

import argparse

from analysis.similarity_map.schema import SimilarityMap
from analysis.stage.command import stage_parser


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.similarity_map`."""
    return stage_parser(
        SimilarityMap, __doc__,
        seed=(0, 'seed of t-SNE, and of the sample of images for the quality of the maps'),
    )  # fmt: skip
