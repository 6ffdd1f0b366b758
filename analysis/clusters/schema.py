"""Groups of similar images: the result of `analysis.clusters`."""

import dataclasses
from typing import ClassVar

import numpy as np

from analysis.stage.artifacts import Result


@dataclasses.dataclass(frozen=True)
class Difference:
    """How the images of a cluster differ from all others in a column of the samples."""

    column: str  # name
    # 'share' for boolean columns and counts of a category; 'rank' for other numbers.
    kind: str
    inside: float  # share of the cluster's images with a value above 0, or median over them
    outside: float  # the same for all other images
    effect: float  # difference of the shares, or rank-biserial correlation; in -1 … 1
    p: float  # of the test
    n_inside: int  # images of the cluster with a value
    n_outside: int  # other images with a value
    q: float = 1.0  # p adjusted for all clusters and columns (Benjamini and Hochberg 1995)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster of k-means or HDBSCAN; the latter have no stability and no exemplars."""

    size: int  # number of images
    # Mean over bootstrap samples of the largest Jaccard index with a cluster of the sample (Hennig
    # 2007).
    stability: float | None = None
    exemplars: tuple[int, ...] = ()  # at most 8 rows, nearest to the centroid first
    # At most 8 rows: the member nearest to the centroid, then each time the one farthest from
    # those before.
    diverse: tuple[int, ...] = ()
    name: str = ''  # a few words about what is over-represented
    description: tuple[Difference, ...] = ()  # differences from all other images, the largest first
    exemplar_ids: tuple[int, ...] = ()  # image ids of the exemplars


@dataclasses.dataclass(frozen=True)
class Tried:
    """A number of clusters that k-means was tried with."""

    k: int  # number of clusters
    # Mean adjusted Rand index between the partition and those of bootstrap samples.
    stability: float
    silhouette: float  # mean silhouette coefficient


@dataclasses.dataclass(frozen=True)
class Density:
    """The clusters of HDBSCAN."""

    clusters: tuple[Cluster, ...]  # the largest first
    in_none: int  # images in no cluster
    # Mean adjusted Rand index with the clusters of random halves of the images; None if there are
    # no clusters.
    stability: float | None
    # Adjusted Rand index, over the images in a cluster; None if there are no clusters.
    agreement_with_k_means: float | None
    # Share of the images of `Clusters.fitted` that lie in the cluster of the nearest other one of
    # these, or in none like it: how certain the clusters of the other images are. None if HDBSCAN
    # clustered all.
    assigned: float | None = None


@dataclasses.dataclass(frozen=True)
class Clusters(Result):
    """Two partitions of the images, by k-means and by HDBSCAN."""

    NAME: ClassVar[str] = 'clusters'
    VERSION: ClassVar[int] = 2
    FEWEST: ClassVar[int] = 4

    num_images: int  # N
    tried: tuple[Tried, ...]  # numbers of clusters for k-means
    density: Density  # clusters of HDBSCAN
    clusters: tuple[Cluster, ...]  # K of them, of k-means, the largest first
    label: np.ndarray  # int32 `[N]`, k-means cluster of each image
    centroids: np.ndarray  # float32 `[K, D]`, in the space of the embeddings
    density_label: np.ndarray  # int32 `[N]`, HDBSCAN cluster of each image, -1 for none
    # Number of random images that the clusters were found in. The others belong to the cluster with
    # the nearest centroid, or to that of the nearest of these images (HDBSCAN). None: all.
    fitted: int | None = None

    @property
    def note(self) -> str:
        """What is approximate; '' if nothing is."""
        if self.fitted is None:
            return ''
        return (
            f'The clusters were found in {self.fitted:,} random images. Each of the others is in '
            'the cluster with the nearest centroid (k-means), or in that of the nearest of these '
            f'images (HDBSCAN, which {self.density.assigned:.1%} of these images agree with).'
        )

    @property
    def names(self) -> list[str]:
        """Names of the k-means clusters."""
        return [cluster.name for cluster in self.clusters]
