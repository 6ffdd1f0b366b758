"""The samples as a Parquet table for other tools.

It has the columns of samples.parquet, cluster, x and y (the map), neighbors {ids, distances} (rows)
and image {bytes, path} (thumbnails), as embedding-atlas (0.26) reads them, and a boolean column for
each saved view:

    embedding-atlas samples-val-600.parquet --x x --y y --neighbors neighbors --image image
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow
from PIL import Image

from analysis.clusters.schema import Clusters
from analysis.figures import images
from analysis.pictures.schema import Pictures, sheet_path
from analysis.samples.schema import Samples
from analysis.similar.schema import Similar
from analysis.similarity_map.schema import SimilarityMap
from analysis.stage import artifacts
from analysis.stage.view import View
from segmentation.data.selection import VIEW_COLUMN


def to_table(view: View, saved: Mapping[str, Sequence[int]] | None = None) -> pyarrow.Table:
    """The table, with what the stages that were run add to it.

    Args:
      view: the checkpoint and split.
      saved: image ids of saved views by name.

    Raises:
      ValueError: an artifact is damaged or does not fit, or there is no `samples`.
    """
    table = artifacts.load(view, Samples).table.replace_schema_metadata(None)
    if artifacts.exists(view, Clusters):
        clusters = artifacts.load(view, Clusters)
        names = [f'{k}: {clusters.names[k]}' for k in clusters.label]
        table = table.append_column('cluster', [names])
    if artifacts.exists(view, SimilarityMap):
        points = artifacts.load(view, SimilarityMap).map_2d
        for name, values in zip('xy', points.T, strict=True):
            table = table.append_column(name, pyarrow.array(values))
    if artifacts.exists(view, Similar):
        found = artifacts.load(view, Similar)
        parts = [pyarrow.array(list(part)) for part in (found.index, found.distance)]
        neighbors = pyarrow.StructArray.from_arrays(parts, ['ids', 'distances'])
        table = table.append_column('neighbors', neighbors)
    if artifacts.exists(view, Pictures):
        pixels = _thumbnails(view, artifacts.load(view, Pictures))
        files = table['file_name'].to_pylist()
        column = [
            {'bytes': images.encode(tile, 75), 'path': name}
            for tile, name in zip(pixels, files, strict=True)
        ]
        table = table.append_column('image', pyarrow.array(column))
    for name, ids in (saved or {}).items():
        inside = np.isin(view.image_ids, np.array(ids, np.int64))
        table = table.append_column(VIEW_COLUMN + name, pyarrow.array(inside))
    return table


def _thumbnails(view: View, found: Pictures) -> Iterator[np.ndarray]:
    side = found.thumb_size
    for row in range(len(view)):
        number, place = divmod(row, found.per_sheet)
        if place == 0:
            path = view.folder / 'pictures' / sheet_path(number, 'image')
            sheet = np.asarray(Image.open(path, formats=['WEBP']).convert('RGB'))
        y, x = (side * index for index in divmod(place, found.columns))
        yield sheet[y : y + side, x : x + side]
