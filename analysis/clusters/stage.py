"""Clusters images by their embeddings, without labels, and describes the clusters."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from analysis.clusters import description, partition
from analysis.clusters.options import TRIED, make_parser
from analysis.clusters.schema import Cluster, Clusters
from analysis.embeddings import stage as embeddings
from analysis.embeddings.schema import Embeddings
from analysis.figures import contact_sheet
from analysis.samples import stage as samples
from analysis.samples.schema import Samples
from analysis.stage import artifacts
from analysis.stage.contract import Stage
from analysis.stage.run import Analysis
from analysis.stage.view import View
from segmentation import markdown


def compute(analysis: Analysis, tried: Sequence[int] = TRIED, seed: int = 0) -> Clusters:
    """Clusters the embeddings and describes the clusters; arguments of `partition.cluster`."""
    points = artifacts.load(analysis, Embeddings).points
    return describe(analysis, partition.cluster(points, tried, seed))


def describe(view: View, found: Clusters) -> Clusters:
    """Adds names, descriptions and image ids."""
    columns = artifacts.load(view, Samples).table

    def described(clusters: Sequence[Cluster], label: np.ndarray) -> tuple[Cluster, ...]:
        return tuple(
            dataclasses.replace(
                cluster,
                name=description.name(differences),
                description=tuple(differences),
                exemplar_ids=tuple(view.image_ids[list(cluster.exemplars)].tolist()),
            )
            for cluster, differences in zip(
                clusters, description.describe(columns, label), strict=True
            )
        )

    density = described(found.density.clusters, found.density_label)
    return dataclasses.replace(
        found,
        clusters=described(found.clusters, found.label),
        density=dataclasses.replace(found.density, clusters=density),
    )


def table(result: Clusters) -> str:
    """The numbers of clusters that were tried, and the clusters."""
    chosen, density = len(result.clusters), result.density
    stability = '–' if density.stability is None else f'{density.stability:.2f}'
    tried = []
    for row in result.tried:
        k = f'{row.k} (chosen)' if row.k == chosen else str(row.k)
        tried.append((k, f'{row.stability:.3f}', f'{row.silhouette:.3f}'))
    clusters = [
        (
            str(number),
            cluster.name,
            str(cluster.size),
            f'{cluster.stability:.2f}',
            description.to_text(cluster.description),
            ', '.join(map(str, cluster.exemplar_ids[:3])),
        )
        for number, cluster in enumerate(result.clusters)
    ]
    dense = [
        (str(number), cluster.name, str(cluster.size), description.to_text(cluster.description))
        for number, cluster in enumerate(density.clusters)
    ]
    header = 'cluster', 'name', 'images', 'stability', 'how it differs', 'exemplars (ids)'
    parts = [
        f'{result.num_images} images, k-means:',
        markdown.table(('clusters', 'stability (adjusted Rand)', 'silhouette'), tried),
        markdown.table(header, clusters),
        f'HDBSCAN: {len(density.clusters)} clusters, {density.in_none} images in none, '
        f'stability {stability}:',
        markdown.table(('cluster', 'name', 'images', 'how it differs'), dense),
        'How it differs: median inside / outside and rank-biserial correlation r, or share of '
        'images inside / outside; all with q ≤ 0.01 (Benjamini-Hochberg over clusters and '
        'columns).',
        result.note,
    ]
    return '\n\n'.join(filter(None, parts))


def draw(analysis: Analysis, result: Clusters) -> list[pathlib.Path]:
    """Draws the diverse exemplars of every cluster, with the classes of their labels."""
    rows = [
        (
            f'{number}: {cluster.name} ({cluster.size})',
            [contact_sheet.labeled(analysis.examples, row) for row in cluster.diverse],
        )
        for number, cluster in enumerate(result.clusters)
    ]
    path = analysis.folder / 'clusters.png'
    contact_sheet.draw(rows, path)
    return [path]


STAGE = Stage(
    Clusters,
    make_parser,
    compute,
    table,
    draw,
    reads=(embeddings.STAGE, samples.STAGE),
)
main = STAGE.main
