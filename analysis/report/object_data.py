"""The objects of a view as another view of the page, read from the artifact of `objects` alone.

Its rows are objects. It has the pieces of a view of images (`view_data`): `rows_are` is 'objects',
`key` the column that identifies a row, and `unavailable` says of each stage about images that they
are shown elsewhere.
"""

from typing import Any

import numpy as np

from analysis.objects.schema import Objects
from analysis.pictures import schema as pictures
from analysis.report import column_bins, columns
from analysis.report.columns import encode
from analysis.report.view_data import ALL, Pieces, check_ids, slice_groups, summarize_objects
from analysis.samples.schema import numbers
from analysis.similar.schema import Similar
from analysis.similarity_map.schema import SimilarityMap
from analysis.stage import storage
from analysis.stage.view import View

# Stages whose results the page shows, all about images.
_OF_IMAGES = (
    'mean_iou', 'clusters', 'associations', 'confusion', 'label_issues', 'saliency', 'duplicates',
    'drift', 'label_next',
)  # fmt: skip


def read(view: View, of_images: dict[str, Any], found: Objects) -> Pieces:
    """The pieces of the objects of a view; `of_images` is the view's own piece `view`."""

    check_ids(found.table['annotation_id'].to_numpy(), 'annotation')

    def known_of(metric: str) -> np.ndarray:
        return ~np.isnan(numbers(found.table, metric))

    slices = found.as_slices()
    shared = 'run', 'split', 'step', 'fingerprint', 'class_names'
    sheets = [
        {kind: pictures.sheet_path(number, kind) for kind in pictures.SHEET_KINDS}
        for number in range(found.num_sheets)
    ]
    page = {key: of_images[key] for key in shared} | {
        'rows_are': 'objects',
        'key': 'annotation_id',
        'n': found.num_objects,
        'columns': column_bins.describe(
            [*columns.of_samples(found.table), *columns.of_slices(slices, known_of)]
        ),
        'unavailable': dict.fromkeys(_OF_IMAGES, 'it is about images; choose images in the header'),
        'missing': [],
        'notes': found.notes(),
    }
    if sheets and 'pictures' in of_images:
        page['pictures'] = {
            'thumb_size': pictures.THUMB,
            'columns': pictures.COLUMNS,
            'per_sheet': pictures.PER_SHEET,
            'sheets': sheets,
            'details': {},
            **{key: of_images['pictures'][key] for key in ('error_colors', 'scales')},
        }
    near = {}
    if found.dimensions:
        near[ALL] = found.index, found.distance
        parts = zip(found.index_by_block, found.distance_by_block, strict=True)
        near |= zip(found.blocks, parts, strict=True)
    if found.trustworthiness is not None:
        page |= {'map_2d': encode(found.map_2d)}
        page['map_quality'] = {'trustworthiness': [found.trustworthiness]}
    for name, is_there in ((Similar.NAME, near), (SimilarityMap.NAME, 'map_2d' in page)):
        if not is_there:
            page['unavailable'][name] = 'there are too few objects, or all of them look alike'
    findings = {
        'objects': summarize_objects(view, found),
        'slices': storage.to_json(slices)['metrics'],
        'slice_groups': slice_groups(slices),
    }
    return Pieces(page, near, findings, {})
