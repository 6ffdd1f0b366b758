"""Columns of the page's table, chart and map: arrays and texts as JSON.

A column has name, role (id, metadata, metric, cluster, issue, slice), kind, unit, description,
what `column_bins.describe` adds, and values:

number    float32 with NaN for null, or uint8 or uint16 with `missing` for null if all values are
          small whole numbers; image_id is float64
boolean   uint8: 0, 1, 255 for null
category  uint16 codes of `categories`, 65535 for null
text      {text, ends}: all strings in a row, and where each ends in UTF-16 units, uint32; null is
          an empty string

Arrays are {dtype, shape, base64}, little endian.
"""

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow

from analysis.clusters.schema import Clusters
from analysis.drift.schema import Drift
from analysis.label_issues.schema import ERRORS, LabelIssues
from analysis.label_next.schema import LabelNext
from analysis.samples import schema as samples
from analysis.slices.schema import Slices

_NO_CODE = 65535


def encode(array: np.ndarray, **more: Any) -> dict[str, Any]:
    """Encodes an array of any shape for JSON, see above; `more` is added."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder('<'))
    text = base64.b64encode(plain.tobytes()).decode()
    return {'dtype': array.dtype.name, 'shape': list(array.shape), 'base64': text, **more}


def _number(values: np.ndarray) -> dict[str, Any]:
    """Encodes numbers `[N]`, NaN for null, in as few bytes as possible."""
    known = values[~np.isnan(values)]
    for dtype in (np.uint8, np.uint16):
        most = np.iinfo(dtype).max
        if ((known >= 0) & (known < most) & (known == np.floor(known))).all():
            codes = np.where(np.isnan(values), most, values).astype(dtype)
            return encode(codes, missing=most)
    return encode(values.astype(np.float32))


def _texts(texts: Sequence[str | None]) -> dict[str, Any]:
    """Texts as one, see above."""
    lengths = [len((text or '').encode('utf-16-le', 'surrogatepass')) // 2 for text in texts]
    return {
        'text': ''.join(text or '' for text in texts),
        'ends': encode(np.cumsum(lengths, dtype=np.uint32)),
    }


def _category(names: Sequence[str | None], categories: Sequence[str]) -> dict[str, Any]:
    number: dict[str | None, int] = {name: code for code, name in enumerate(categories)}
    codes = np.array([number.get(name, _NO_CODE) for name in names], np.uint16)
    return {'kind': 'category', 'categories': list(categories), 'values': encode(codes)}


def _column(
    name: str, role: str, description: str, unit: str = '', **values: Any
) -> dict[str, Any]:
    return {'name': name, 'role': role, 'unit': unit, 'description': description, **values}


def of_samples(table: pyarrow.Table) -> Iterator[dict[str, Any]]:
    """The columns of samples.parquet, with the descriptions in its field metadata."""
    for field in table.schema:
        column, name = table[field.name], field.name
        about = {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}
        if name in ('image_id', 'annotation_id'):  # too large for float32
            values = {'kind': 'number', 'values': encode(column.to_numpy().astype(np.float64))}
        elif name == 'file_name':
            values = {'kind': 'text', 'values': _texts(column.to_pylist())}
        elif pyarrow.types.is_string(field.type):
            texts = column.to_pylist()
            values = _category(texts, sorted({text for text in texts if text is not None}))
        elif pyarrow.types.is_boolean(field.type):
            codes = np.nan_to_num(samples.numbers(table, name), nan=255).astype(np.uint8)
            values = {'kind': 'boolean', 'values': encode(codes)}
        else:
            values = {'kind': 'number', 'values': _number(samples.numbers(table, name))}
        role, description = about.get('role', 'metadata'), about.get('description', '')
        yield _column(name, role, description, about.get('unit', ''), **values)


def of_clusters(found: Clusters) -> Iterator[dict[str, Any]]:
    """The cluster of each image, by k-means and by HDBSCAN."""
    about, dense = 'k-means cluster of the embeddings', found.density
    about_dense = 'HDBSCAN cluster of the embeddings; none in sparse regions'
    for name, description, label, entries in (
        ('cluster', about, found.label, found.clusters),
        ('density_cluster', about_dense, found.density_label, dense.clusters),
    ):
        # Numbered, as two clusters may have the same name.
        categories = [f'{k}: {entry.name}' for k, entry in enumerate(entries)]
        names = [categories[k] if k >= 0 else None for k in label]
        yield _column(name, 'cluster', description, **_category(names, categories))


def of_label_issues(found: LabelIssues) -> Iterator[dict[str, Any]]:
    """Probability and kind of each image's most probable label error."""
    worst = found.worst_errors()
    probable = np.zeros(found.num_images, np.float32)
    kinds: list[str | None] = [None] * found.num_images
    for row, (probability, kind) in worst.items():
        probable[row], kinds[row] = probability, kind
    name = 'label_issue_probability'
    about = 'probability that the most probable label issue is an error'
    yield _column(name, 'issue', about, '0–1', kind='number', values=encode(probable))
    about = 'kind of the most probable label issue'
    yield _column('label_issue_kind', 'issue', about, **_category(kinds, ERRORS))


def of_drift(found: Drift) -> Iterator[dict[str, Any]]:
    """The novelty of each image."""
    about = f'mean distance to the nearest images of {found.reference} in embedding space'
    values = encode(found.novelty)
    yield _column('novelty', 'metric', about, '1 is typical', kind='number', values=values)


def of_label_next(found: LabelNext, num_images: int) -> Iterator[dict[str, Any]]:
    """The rank of each image that is to be labeled; null for all others."""
    ranks = np.full(num_images, np.nan)
    ranks[found.ranking['row'].to_numpy()] = found.ranking['rank'].to_numpy()
    about = 'place in the list of images to label next'
    yield _column(
        'label_next_rank', 'metric', about, '1 first', kind='number', values=_number(ranks)
    )


def of_slices(found: Slices, known_of: Callable[[str], np.ndarray]) -> Iterator[dict[str, Any]]:
    """Which rows are in each slice; `known_of` says by metric which have it. Others are in none."""
    seen = set()
    for metric, row, inside in found.each():
        # A slice that two searches found has the same images in both, or fewer in the second.
        if row.text not in seen:
            seen.add(row.text)
            about = f'slice in which {metric} is worse than elsewhere'
            values = encode((inside & known_of(metric)).astype(np.uint8))
            yield _column(f'slice: {row.text}', 'slice', about, kind='boolean', values=values)
