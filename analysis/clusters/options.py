"""Clusters images by their embeddings, without labels, and describes the clusters.

    python -m analysis.clusters --workdir runs/person_car --split val

There are two partitions: k-means with the most stable number of clusters, and HDBSCAN, which leaves
out images that lie in no dense region. Each cluster is described by the metadata columns in which
its images differ from all others. Draws exemplars of the k-means clusters into clusters.png. See
analysis/README.md for how stability is measured.
"""

import argparse

from analysis.clusters.schema import Clusters
from analysis.stage.command import stage_parser

TRIED = tuple(range(4, 16))  # numbers of clusters


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.clusters`."""
    return stage_parser(
        Clusters, __doc__,
        tried=(TRIED, 'numbers of clusters to choose from'),
        seed=(0, 'seed of the starts of k-means and of the bootstrap samples'),
    )  # fmt: skip
