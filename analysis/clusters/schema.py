"""Groups of similar images: the result of `analysis.clusters`."""

import dataclasses
from typing import ClassVar

import numpy as np

from analysis.stage.artifacts import Result


@dataclasses.dataclass(frozen=True)
class Difference:
    """How the images of a cluster differ from all others in a column of the samples.

    Attributes:
      column: name.
      kind: 'share' for columns of counts of a category, or of yes and no; 'rank' for other numbers.
      inside: share of the cluster's images that have any, or median over them.
      outside: the same for all other images.
      effect: difference of the shares, or rank-biserial correlation; in -1 … 1.
      p: of the test.
      q: p adjusted for all clusters and columns (Benjamini and Hochberg 1995).
      n_inside: images of the cluster with a value.
      n_outside: other images with a value.
    """

    column: str
    kind: str
    inside: float
    outside: float
    effect: float
    p: float
    n_inside: int
    n_outside: int
    q: float = 1.0


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster of k-means or HDBSCAN; the latter have no stability and no exemplars.

    Attributes:
      size: number of images.
      stability: mean over bootstrap samples of the largest Jaccard index with a cluster of the
        sample (Hennig 2007).
      exemplars: at most 8 rows, nearest to the centroid first.
      diverse: at most 8 rows; the first is nearest to the centroid, each other is farthest from
        those before it.
      name: a few words about what is over-represented.
      description: differences from all other images, the largest first.
      exemplar_ids: image ids of the exemplars.
    """

    size: int
    stability: float | None = None
    exemplars: tuple[int, ...] = ()
    diverse: tuple[int, ...] = ()
    name: str = ''
    description: tuple[Difference, ...] = ()
    exemplar_ids: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Tried:
    """A number of clusters that k-means was tried with.

    Attributes:
      k: number of clusters.
      stability: mean adjusted Rand index between the partition and those of bootstrap samples.
      silhouette: mean silhouette coefficient.
    """

    k: int
    stability: float
    silhouette: float


@dataclasses.dataclass(frozen=True)
class Density:
    """The clusters of HDBSCAN.

    Attributes:
      clusters: the largest first.
      in_none: images in no cluster.
      stability: mean adjusted Rand index with the clusters of random halves of the images; None if
        there are no clusters.
      agreement_with_k_means: adjusted Rand index, over the images in a cluster; None if there are
        no clusters.
    """

    clusters: tuple[Cluster, ...]
    in_none: int
    stability: float | None
    agreement_with_k_means: float | None


@dataclasses.dataclass(frozen=True)
class Clusters(Result):
    """Two partitions of the images, by k-means and by HDBSCAN.

    Attributes:
      num_images: N.
      tried: numbers of clusters for k-means.
      density: clusters of HDBSCAN.
      clusters: K of them, of k-means, the largest first.
      label: int32 `[N]`, k-means cluster of each image.
      centroids: float32 `[K, D]`, in the space of the embeddings.
      density_label: int32 `[N]`, HDBSCAN cluster of each image, -1 for none.
    """

    NAME: ClassVar[str] = 'clusters'
    VERSION: ClassVar[int] = 2

    num_images: int
    tried: tuple[Tried, ...]
    density: Density
    clusters: tuple[Cluster, ...]
    label: np.ndarray
    centroids: np.ndarray
    density_label: np.ndarray

    @property
    def names(self) -> list[str]:
        """Names of the k-means clusters."""
        return [cluster.name for cluster in self.clusters]
