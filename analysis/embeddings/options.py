"""Embeds images by the activations of the network.

    python -m analysis.embeddings --workdir runs/person_car --split val

Averages the activations of every channel of the chosen layers over the pixels, standardizes these
features over the images, and reduces them to half-whitened principal components. The features of
the encoder's last layer count more: they have 30 % of the variance. Embeddings have unit length:
the squared Euclidean distance of two images is 2 - 2 · cosine similarity. See analysis/README.md
for the reasons.
"""

import argparse

from analysis.embeddings.schema import Embeddings
from analysis.stage.command import stage_parser
from segmentation.models.layer_names import LAYERS

DIMENSIONS = 48


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.embeddings`."""
    return stage_parser(
        Embeddings, __doc__,
        layers=(
            LAYERS,
            "names of layers with the wildcards * and ?, such as 'encoder/block_1?_*_relu' or "
            "'decoder/*'",
        ),
        dimensions=(DIMENSIONS, 'maximum number of dimensions of the embedding'),
        seed=(
            0, 'seed of the random directions from which the principal components are computed',
        ),
    )  # fmt: skip
