"""What the report's page is told about an analysis, read from its artifacts alone.

A view is one analysed checkpoint and split. Its pieces, each a JSON document:

view      what map, charts and table need: run, run_name, split, step, n, fingerprint, class_names,
          columns, map_2d and map_3d `[N, 2 or 3]`, map_quality, pictures, pieces (where the other
          two are), missing (artifacts that are not there)
similar   index int32 and distance float32 `[N, k]`
findings  clusters, density_clusters, slices, associations, grayscale_copies, confusion,
          label_issues, saliency: as in their artifacts, but images by row instead of id

A column has name, role (id, metadata, metric, cluster, issue, slice), kind, unit, description and
values:

number    float32 with NaN for null, or uint8 or uint16 with `missing` for null if all values are
          small whole numbers; image_id is float64
boolean   uint8: 0, 1, 255 for null
category  uint16 codes of `categories`, 65535 for null
text      a list of strings, None for null

Arrays are {dtype, shape, base64}, little endian.
"""

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow
from PIL import Image
from pycocotools import mask as mask_utils

from analysis.associations import stage as associations
from analysis.clusters import stage as clusters
from analysis.confusion import stage as confusion
from analysis.label_issues import stage as label_issues
from analysis.pictures import stage as pictures
from analysis.saliency import stage as saliency
from analysis.samples import stage as samples
from analysis.similar import stage as similar
from analysis.similarity_map import stage as similarity_map
from analysis.slices import search as slice_search
from analysis.slices import stage as slices
from analysis.stage.layers import DEEP, FINE
from analysis.stage.old_artifacts import load_json
from analysis.stage.run import Analysis

MOST_REGIONS = 2000
_NO_CODE = 65535
_HEAT_SIDE = 64  # pixels of heat-maps that are made of a few cells
# Of signed maps: orange and purple, as in `analysis.saliency_report`.
_FOR, _AGAINST = (230, 97, 1), (94, 60, 153)


def encode(array: np.ndarray, **more: Any) -> dict:
    """An array for JSON."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder('<'))
    text = base64.b64encode(plain.tobytes()).decode()
    return {'dtype': array.dtype.name, 'shape': list(array.shape), 'base64': text, **more}


def to_script(key: str, value: Any) -> str:
    """JavaScript that hands `value` over under `key`; harmless within HTML too.

    Raises:
      ValueError: there is a number in it that is not finite.
    """
    # ASCII only, and nothing that could end a script element or begin another.
    escape = {'<': '\\u003c', '>': '\\u003e', '&': '\\u0026', '\x7f': '\\u007f'}
    texts = [json.dumps(part, allow_nan=False, separators=(',', ':')) for part in (key, value)]
    for char, escaped in escape.items():
        texts = [text.replace(char, escaped) for text in texts]
    return f'explorer.provide({texts[0]},{texts[1]});\n'


def descriptions() -> dict[str, str]:
    """What `analysis.samples` says of its columns, by name; classes and categories as <class>."""
    found, names = {}, []
    for line in samples.__doc__.splitlines():
        if match := re.fullmatch(r'    ((?:\w+(?:<\w+>)?)(?:, \w+)*) +(\S.*)', line):
            names = match[1].split(', ')
            found |= dict.fromkeys(names, match[2])
        elif names and line.startswith(' ' * 20):
            found |= {name: f'{found[name]} {line.strip()}' for name in names}
        else:
            names = []
    return found


def _describe(name: str, known: dict[str, str]) -> str:
    for pattern, text in known.items():
        start, _, kind = pattern.partition('<')
        if name == pattern or kind and name.startswith(start):
            return text
    return ''


def _number(values: np.ndarray) -> dict:
    """Values of a column of numbers `[N]`, NaN for null, in as few bytes as it takes."""
    known = values[~np.isnan(values)]
    for dtype in (np.uint8, np.uint16):
        most = np.iinfo(dtype).max
        if ((known >= 0) & (known < most) & (known == np.floor(known))).all():
            codes = np.where(np.isnan(values), most, values).astype(dtype)
            return encode(codes, missing=most)
    return encode(values.astype(np.float32))


def _category(names: Sequence[str | None], categories: Sequence[str]) -> dict:
    number = {name: code for code, name in enumerate(categories)}
    codes = np.array([number.get(name, _NO_CODE) for name in names], np.uint16)
    return {'kind': 'category', 'categories': list(categories), 'values': encode(codes)}


def _column(name: str, role: str, description: str, unit: str = '', **values: Any) -> dict:
    return {'name': name, 'role': role, 'unit': unit, 'description': description, **values}


def sample_columns(table: pyarrow.Table) -> list[dict]:
    """Columns of samples.parquet."""
    known, result = descriptions(), []
    for field in table.schema:
        column, name = table[field.name], field.name
        metadata = {key: value.decode() for key, value in (field.metadata or {}).items()}
        if name == 'image_id':
            values = {'kind': 'number', 'values': encode(column.to_numpy().astype(np.float64))}
        elif name == 'file_name':
            values = {'kind': 'text', 'values': column.to_pylist()}
        elif pyarrow.types.is_string(field.type):
            texts = column.to_pylist()
            values = _category(texts, sorted({text for text in texts if text is not None}))
        elif pyarrow.types.is_boolean(field.type):
            codes = np.nan_to_num(samples.numbers(table, name), nan=255).astype(np.uint8)
            values = {'kind': 'boolean', 'values': encode(codes)}
        else:
            values = {'kind': 'number', 'values': _number(samples.numbers(table, name))}
        role, unit = metadata.get(b'role', 'metadata'), metadata.get(b'unit', '')
        result.append(_column(name, role, _describe(name, known), unit, **values))
    return result


def _cluster_columns(arrays: dict[str, np.ndarray], summary: dict) -> list[dict]:
    both = (
        ('cluster', 'k-means cluster of the embeddings', arrays['label'], summary['clusters']),
        (
            'density_cluster',
            'HDBSCAN cluster of the embeddings; none in sparse regions',
            arrays['density_label'],
            summary['density']['clusters'],
        ),
    )
    result = []
    for name, description, label, entries in both:
        # Numbered, as two clusters may be described by the same words.
        categories = [f'{k}: {entry["name"]}' for k, entry in enumerate(entries)]
        names = [categories[k] if k >= 0 else None for k in label]
        result.append(_column(name, 'cluster', description, **_category(names, categories)))
    return result


def _issue_columns(images: list[dict]) -> list[dict]:
    scores = np.array([row['score'] for row in images], np.float64)
    kinds = [row['kind'] for row in images]
    return [
        _column(
            'label_issue_score',
            'issue',
            'how suspicious the most suspicious region of the label is',
            '0–1',
            kind='number',
            values=encode(scores.astype(np.float32)),
        ),
        _column(
            'label_issue_kind',
            'issue',
            'what is probably wrong there',
            **_category(kinds, label_issues.ERRORS),
        ),
    ]


def _slice_columns(analysis: Analysis, table: pyarrow.Table, metrics: dict) -> list[dict]:
    columns, result = slices.load_columns(analysis), {}
    for metric, part in metrics.items():
        # Images without the metric are in no slice.
        known = ~np.isnan(samples.numbers(table, metric.removesuffix('_given_size')))
        for row in part['slices']:
            inside = slice_search.membership(columns, row['conditions']) & known
            name = f'slice: {row["text"]}'
            description = f'slice in which {metric} is worse than elsewhere'
            values = encode(inside.astype(np.uint8))
            # The same slice of a later search has the same images, or fewer.
            result.setdefault(
                name, _column(name, 'slice', description, kind='boolean', values=values)
            )
    return list(result.values())


def _entries(summary: list[dict], arrays: dict[str, np.ndarray] | None) -> list[dict]:
    result = []
    for k, entry in enumerate(summary):
        rows = {
            name: [int(row) for row in arrays[name][k] if row >= 0] if arrays else []
            for name in ('exemplars', 'diverse')
        }
        result.append({'id': k, 'stability': None, **entry, **rows, 'heat_map': None})
    return result


def _region_masks(rows: list[dict], size: int) -> list[str]:
    """Outlines of regions over the picture, white in a dark rim, as data URIs."""
    result = []
    for row in rows:
        mask = mask_utils.decode({'size': [size, size], 'counts': row['rle']})
        # Twice as fine, so that the line is thin, and smooth.
        smooth = Image.fromarray(mask * 255).resize((2 * size,) * 2, Image.Resampling.BICUBIC)
        fine = np.asarray(smooth) >= 128
        line = fine & ~_shrink(fine)
        rim = ~_shrink(~line) & ~line
        pixels = np.zeros((*fine.shape, 4), np.uint8)
        pixels[line] = 255
        pixels[rim] = (0, 0, 0, 170)
        data = base64.b64encode(pictures.encode(pixels)).decode()
        result.append(f'data:image/webp;base64,{data}')
    return result


def _shrink(mask: np.ndarray) -> np.ndarray:
    """A mask without the pixels beside its border; the picture's edge is none."""
    padded = np.pad(mask, 1, constant_values=True)
    return mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _regions(analysis: Analysis, table: pyarrow.Table, row_of: dict[int, int]) -> list[dict]:
    regions = sorted(table.to_pylist(), key=lambda row: (-row['score'], row['image_id']))
    regions = regions[:MOST_REGIONS]
    masks = _region_masks(regions, analysis.run.config.data.image_size)
    kept = ('kind', 'score', 'given', 'suggested', 'confidence', 'area', 'annotation_id')
    return [
        {
            'row': row_of[region['image_id']],
            **{key: region[key] for key in kept},
            'box': [region[side] for side in ('left', 'top', 'right', 'bottom')],
            'mask': mask,
        }
        for region, mask in zip(regions, masks, strict=True)
    ]


def signed_heat(cells: np.ndarray) -> np.ndarray:
    """A signed map over a picture, orange for and purple against, uint8 `[64, 64, 4]`.

    Args:
      cells: `[G, G]`.
    """
    picture = Image.fromarray(np.ascontiguousarray(cells, np.float32))
    fine = np.asarray(picture.resize((_HEAT_SIDE,) * 2, Image.Resampling.BICUBIC))
    # One cell that stands out would leave the rest dark. Few levels, so that files are small.
    share = (fine / max(np.percentile(np.abs(fine), 99), 1e-12)).clip(-1, 1)
    opacity = (np.abs(share) * 16).round() / 16 * 230
    colors = np.where(share[..., None] > 0, _FOR, _AGAINST) * (opacity > 0)[..., None]
    return np.concatenate([colors, opacity[..., None]], -1).astype(np.uint8)


def saliency_pictures(
    arrays: dict[str, np.ndarray], details: list[int], label: np.ndarray | None
) -> dict:
    """Heat-maps of what speaks for a class, the loss or a cluster.

    Args:
      arrays: of saliency.npz.
      details: rows that get them.
      label: clusters as they are now, `[N]`; those that the maps were made of may be older, and
        then there are none of clusters.

    Returns:
      `rows`: by row the paths by target; `clusters`: by cluster a path; `files`: WebP by path.
    """
    targets, layers = arrays['targets'].tolist(), arrays['layers'].tolist()
    if label is None or not np.array_equal(label, arrays['cluster']):
        targets = [target for target in targets if target != 'cluster']  # always the last
    rows, found, files = {}, {}, {}
    for row in details:
        mine = rows[row] = {}
        for t, target in enumerate(targets):
            if np.isfinite(arrays['score'][row, t]):
                # A cluster is known by what is deep in the encoder, a class by the decoder's end.
                layer = layers.index(DEEP if target == 'cluster' else FINE)
                cells = arrays[f'layer_{layer}'][row, t]
                mine[target] = f'saliency/{row}-{t}.webp'
                files[mine[target]] = pictures.encode(signed_heat(cells))
    if 'cluster' in targets:
        maps = arrays[f'layer_{layers.index(DEEP)}'][:, targets.index('cluster')]
        for k in range(label.max() + 1):
            found[k] = f'clusters/{k}.webp'
            mean = maps[label == k].mean(0, dtype=np.float64)
            files[found[k]] = pictures.encode(signed_heat(mean))
    return {'rows': rows, 'clusters': found, 'files': files}


def _short_saliency(result: dict) -> dict:
    """Areas under deletion and insertion curves and energies, with their intervals."""
    short = {'energy': result['energy']}
    for kind in ('class', 'cluster'):
        if kind in result:
            judged = result[kind]
            short[kind] = {
                'images': judged['images'],
                'methods': {
                    method: {
                        how: {key: each[how][key] for key in ('area', 'gain_over')}
                        for how in ('deletion', 'insertion')
                    }
                    for method, each in judged['methods'].items()
                },
            }
    return short


def read_view(analysis: Analysis) -> dict[str, Any]:
    """All pieces of a view.

    Args:
      analysis: of `artifacts.open_written`.

    Returns:
      'view', 'similar' (None without it), 'findings' as in the module's docstring, and 'files':
      pictures that are not in the artifact `pictures`, WebP by path.

    Raises:
      ValueError: an artifact is damaged or does not fit; samples.parquet is missing.
    """
    folder, ids = analysis.folder, analysis.examples.image_ids
    table = samples.load(analysis)
    row_of = {int(image_id): row for row, image_id in enumerate(ids)}
    missing = []

    def there(file: str) -> bool:
        if not (folder / file).exists():
            missing.append(file.partition('.')[0])
        return (folder / file).exists()

    findings: dict[str, Any] = {}
    view: dict[str, Any] = {
        'n': len(ids),
        'run': str(analysis.run.workdir),
        'split': analysis.split,
        'step': analysis.run.step,
        'fingerprint': analysis.run.data['fingerprint']['id'],
        'class_names': list(analysis.run.class_names),
        'columns': sample_columns(table),
    }
    pieces = {'view': view, 'similar': None, 'findings': findings, 'files': {}}
    details: list[int] = []
    label = None
    if there('pictures.json'):
        view['pictures'] = pictures.load(analysis)
        wanted = -(-len(ids) // view['pictures'].get('per_sheet', 1))
        if len(view['pictures']['sheets']) != wanted:
            raise ValueError(
                f'{folder / "pictures.json"} is unfinished: run python -m analysis.pictures again.'
            )
        details = [int(row) for row in view['pictures']['details']]
    if there('similarity_map.npz'):
        arrays = similarity_map.load(analysis)
        view |= {name: encode(arrays[name]) for name in ('map_2d', 'map_3d')}
        quality = ('trustworthiness', 'recall')
        view['map_quality'] = {name: arrays[name].tolist() for name in quality}
    if there('clusters.json'):
        arrays, summary = clusters.load(analysis), load_json(analysis, 'clusters', clusters.VERSION)
        label = arrays['label']
        view['columns'] += _cluster_columns(arrays, summary)
        findings['clusters'] = _entries(summary['clusters'], arrays)
        findings['density_clusters'] = _entries(summary['density']['clusters'], None)
    if there('similar.npz'):
        pieces['similar'] = {key: encode(array) for key, array in similar.load(analysis).items()}
    if there('label_issues.json'):
        regions, result = label_issues.load(analysis)
        view['columns'] += _issue_columns(result['images'])
        findings['label_issues'] = _regions(analysis, regions, row_of)
        findings['label_issues_total'] = len(regions)
    if there('slices.json'):
        findings['slices'] = slices.load(analysis)['metrics']
        view['columns'] += _slice_columns(analysis, table, findings['slices'])
        for part in findings['slices'].values():
            for row in part['slices']:
                row['worst'] = [row_of[image_id] for image_id in row['worst']]
    if there('associations.json'):
        result = load_json(analysis, 'associations', associations.VERSION)
        findings['grayscale_copies'] = result.pop('grayscale_copies')
        findings['associations'] = result
    kinds = [k for k in ('confusion-pooled', 'confusion') if (folder / f'{k}.json').exists()]
    if kinds or there('confusion.json'):
        findings['confusion'] = load_json(analysis, kinds[0], confusion.VERSION)
        pooled = findings['confusion'].get('pooled', [])
        findings['confusion']['pooled'] = len(pooled)
    if there('saliency.json'):
        findings['saliency'] = _short_saliency(load_json(analysis, 'saliency', saliency.VERSION))
    if there('saliency.npz') and 'pictures' in view:
        made = saliency_pictures(saliency.load(analysis), details, label)
        pieces['files'] = made['files']
        for row, paths in made['rows'].items():
            view['pictures']['details'][str(row)]['saliency'] = paths
        for k, path in made['clusters'].items():
            findings['clusters'][k]['heat_map'] = path
        view['pictures']['scales']['saliency'] = {
            'colors': [f'rgb{_AGAINST}', 'transparent', f'rgb{_FOR}'],
            'low': -1,
            'high': 1,
            'unit': 'speaks against – for',
        }
    view['missing'] = list(dict.fromkeys(missing))
    return pieces
