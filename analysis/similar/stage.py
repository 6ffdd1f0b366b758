"""Finds the images most similar to each image, or to a given one, in embedding space."""

import argparse
import dataclasses
from typing import Any

import numpy as np

from analysis.embeddings import stage as embeddings
from analysis.embeddings.schema import Embeddings
from analysis.predictions import stage as predictions
from analysis.similar import query
from analysis.similar.neighbors import neighbors, recall
from analysis.similar.options import K, make_parser
from analysis.similar.schema import Distances, Similar
from analysis.stage import artifacts, storage
from analysis.stage.command import run_command
from analysis.stage.contract import Stage
from analysis.stage.run import Analysis, open_chosen
from segmentation import markdown


def compute(analysis: Analysis, k: int = K) -> Similar:
    """The k nearest images of every image, or all others if there are fewer."""
    points = artifacts.load(analysis, Embeddings).points
    index, distance = neighbors(points, k)
    medians = np.median(distance, 0).tolist()
    median = Distances(medians[0], medians[-1])
    return Similar(len(index), len(medians), median, index, distance, recall=recall(points, index))


def table(result: Similar) -> str:
    """Numbers of images and neighbors, and median distances."""
    distance = result.median_distance
    return (
        f'{result.k} neighbors of {result.num_images} images; median distance of the nearest '
        f'{distance.nearest:.3f}, of the last {distance.farthest:.3f}. {result.note}'.rstrip()
    )


STAGE = Stage(Similar, make_parser, compute, table, reads=(embeddings.STAGE,))


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    image = arguments.image_id if arguments.image is None else arguments.image
    k = arguments.k if arguments.k is not None else K if image is None else 8
    if k < 1:
        raise ValueError(f'--k={k} must be at least 1.')
    analysis = open_chosen(arguments)
    if image is None:
        result = STAGE.get(analysis, arguments.force, k=k)
        print(f'{artifacts.path_of(analysis, Similar)}:', table(result), sep='\n\n')
        return storage.to_json(result)
    embeddings.STAGE.prepare(analysis)
    if analysis.foreign:
        predictions.STAGE.prepare(analysis)
    pixels, found = query.find(analysis, k, image)
    rows = [(str(each.image_id), each.file_name, f'{each.distance:.3f}') for each in found]
    print(markdown.table(('image id', 'file', 'distance'), rows), end='\n\n')
    print(f'Figure: {query.draw(analysis, image, pixels, found)}')
    return {
        'query': image if isinstance(image, int) else str(image),
        'neighbors': [dataclasses.asdict(each) for each in found],
    }


def main(argv: list[str] | None = None) -> int:
    """The command `python -m analysis.similar`; returns the exit status."""
    return run_command(make_parser().parse_args(argv), _run)
