"""Finds the images most similar to each image, or to a given one, in embedding space.

    python -m analysis.similar --workdir runs/person_car --split val
    python -m analysis.similar --workdir runs/person_car --image_id 139
    python -m analysis.similar --workdir runs/person_car --image photo.jpg

Distances between embeddings are Euclidean, from 0 to 2. The first form writes the neighbors of all
images. The others print the neighbors of one image, and draw them with predictions (above) and
ground truth (below) into similar-<id>.png or similar-<name>-<checksum of its path>.png.
"""

import argparse
import pathlib

from analysis.stage import command

K = 20  # neighbors of every image


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.similar`."""
    parser = command.make_parser('similar', __doc__, several=True)
    which = parser.add_mutually_exclusive_group()
    text = 'find the neighbors of this image'
    which.add_argument('--image_id', type=int, metavar='ID', help=f'{text} of the split')
    which.add_argument('--image', type=pathlib.Path, metavar='FILE', help=f'{text} file')
    text = f'number of neighbors; default: {K} for all images, 8 for one image'
    parser.add_argument('--k', type=int, help=text)
    command.add_force(parser)
    return parser
