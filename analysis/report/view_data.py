"""What the report's page shows of an analysis, read from its artifacts alone.

A view is one analyzed checkpoint and split. Its pieces, JSON documents that `scripts` divides into
files:

view      what map, charts and table need: run, split, step, n, fingerprint, class_names, columns
          (`columns`), rows_are ('images'; 'objects': see `object_data`), key (the column that
          identifies a row), map_2d and map_3d `[N, 2 or 3]`, map_quality, pictures, missing
          (stages that were not run), unavailable (why a stage cannot be run, by its name), notes
          (what is approximate in a stage, by its name),
          similar (see `similar_blocks`)
column    the values of one column
similar   index int32 and distance float32 `[N, k]` by what is compared, in blocks of rows
findings  scores, clusters, density_clusters, slices, associations, grayscale_copies, confusion,
          label_issues, saliency, objects, duplicates, drift, label_next: as in the schemas of these
          stages, images by row
"""

import base64
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from pycocotools import mask as mask_utils

from analysis.associations.schema import Associations
from analysis.clusters.schema import Cluster, Clusters
from analysis.confusion import schema as confusion
from analysis.drift.schema import Drift
from analysis.duplicates.schema import SHOWN_OF_GROUP, Duplicates
from analysis.figures import images, palette
from analysis.label_issues.schema import LabelIssues
from analysis.label_next.schema import LabelNext
from analysis.mean_iou.schema import MeanIou
from analysis.objects.schema import Objects
from analysis.pictures import schema as pictures
from analysis.pictures.schema import Pictures
from analysis.report import column_bins, columns
from analysis.report.columns import encode
from analysis.saliency.schema import MAPS, OCCLUSION, Saliency, SaliencyMaps
from analysis.samples.schema import Samples
from analysis.similar.schema import Similar
from analysis.similarity_map.schema import SimilarityMap
from analysis.slices.schema import Slices, has_metric
from analysis.stage import artifacts, storage
from analysis.stage.layers import DEEP, FINE
from analysis.stage.view import View
from segmentation.data import label_spaces

MOST_REGIONS = 2000
SIMILAR_ROWS = 4096  # of a block of similar samples
_LARGEST_ID = 2**53 - 1
ALL = 'all'  # the whole embedding, among what similar samples are alike in
# Up to so many rows, one file holds all columns: many small files take longer to open.
_ROWS_IN_ONE_FILE = 10_000


@dataclasses.dataclass(frozen=True)
class Pieces:
    """The pieces of a view, for JSON."""

    view: dict[str, Any]  # see the module's docstring
    similar: dict[str, tuple[np.ndarray, np.ndarray]]  # index and distance; empty if not run
    findings: dict[str, Any]  # see the module's docstring
    files: dict[str, bytes]  # WebP files by path, besides those of the stage `pictures`


def to_script(key: str, value: Any) -> str:
    """JavaScript that provides `value` under `key`; harmless within HTML too.

    Raises:
      ValueError: a number in it is not finite.
    """
    # ASCII only, and nothing that could end a script element or begin another.
    escape = {'<': '\\u003c', '>': '\\u003e', '&': '\\u0026', '\x7f': '\\u007f'}
    texts = [json.dumps(part, allow_nan=False, separators=(',', ':')) for part in (key, value)]
    for char, escaped in escape.items():
        texts = [text.replace(char, escaped) for text in texts]
    return f'explorer.provide({texts[0]},{texts[1]});\n'


def _describe_similar(similar: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """How `scripts` divides similar samples, and the distances to the nearest, ascending.

    Of more than 1,001 samples, these are quantiles.
    """
    _, distance = similar[ALL]
    nearest = np.sort(distance[:, 0])
    if len(nearest) > 1001:
        nearest = np.quantile(nearest, np.linspace(0, 1, 1001)).astype(np.float32)
    return {'rows': SIMILAR_ROWS, 'nearest': encode(nearest), 'parts': list(similar)}


def scripts(name: str, pieces: Pieces) -> Iterator[tuple[str, str]]:
    """(path within data/<view>/, JavaScript) of the pieces of a view."""
    parts = pieces.view['columns']
    texts = (to_script(f'column/{name}/{k}', each['values']) for k, each in enumerate(parts))
    described = [{key: part for key, part in each.items() if key != 'values'} for each in parts]
    view = pieces.view | {'columns': described}
    if pieces.similar:
        view['similar'] = _describe_similar(pieces.similar)
        for block in range(-(-view['n'] // SIMILAR_ROWS)):
            rows = slice(block * SIMILAR_ROWS, (block + 1) * SIMILAR_ROWS)
            content = {
                part: {'index': encode(index[rows]), 'distance': encode(distance[rows])}
                for part, (index, distance) in pieces.similar.items()
            }
            yield f'similar/{block}.js', to_script(f'similar/{name}/{block}', content)
    text = to_script(f'view/{name}', view)
    if view['n'] <= _ROWS_IN_ONE_FILE:
        yield 'view.js', ''.join([*texts, text])
    else:
        yield 'view.js', text
        for number, values in enumerate(texts):
            yield f'columns/{number}.js', values
    if pieces.findings:
        yield 'findings.js', to_script(f'findings/{name}', pieces.findings)


def _clusters(entries: tuple[Cluster, ...]) -> list[dict[str, Any]]:
    return [
        {'id': k, **msgspec.to_builtins(entry), 'heat_map': None} for k, entry in enumerate(entries)
    ]


def _regions(view: View, found: LabelIssues) -> list[dict[str, Any]]:
    """The most probable issues with their outlines as data URIs, and others on the same objects."""
    size = view.config.data.image_size
    check_ids(found.regions['annotation_id'].drop_null().to_numpy(), 'annotation')
    kept = 'row kind score probability given suggested confidence area annotation_id'.split()
    regions: dict[tuple[int, int], dict[str, Any]] = {}
    for region in found.regions.to_pylist():
        place = region['row'], region['object']
        if place in regions:
            also = {key: region[key] for key in ('kind', 'probability', 'suggested')}
            regions[place]['also'].append(also)
        elif len(regions) < MOST_REGIONS:
            mask = mask_utils.decode({'size': [size, size], 'counts': region['rle']})
            data = base64.b64encode(images.encode(images.draw_outline(mask))).decode()
            regions[place] = {key: region[key] for key in kept} | {'also': []}
            regions[place]['box'] = [region[side] for side in ('left', 'top', 'right', 'bottom')]
            counts = region['rle'].decode('ascii')
            regions[place]['rle'] = {'size': [size, size], 'counts': counts}
            regions[place]['mask'] = f'data:image/webp;base64,{data}'
    return list(regions.values())


def slice_groups(found: Slices) -> list[list[tuple[str, int]]]:
    """Groups of nested slices, each a metric and a place in the metric's list."""
    places = {
        id(one): (metric, place)
        for metric, part in found.metrics.items()
        for place, one in enumerate(part.slices)
    }
    return [[places[id(one)] for _, one, _ in group] for group in found.groups()]


def _pictures(view: View, found: Pictures) -> dict[str, Any]:
    """Paths of all pictures, and how to read them."""
    details = {}
    for row in found.details:
        paths = pictures.detail_paths(row, view.class_names)
        classes = {name: paths.pop(f'class {name}') for name in view.class_names[1:]}
        details[str(row)] = {**paths, 'classes': classes}
    sheets = [
        {kind: pictures.sheet_path(number, kind) for kind in pictures.SHEET_KINDS}
        for number in range(found.num_sheets)
    ]
    return {
        **{key: getattr(found, key) for key in ('thumb_size', 'columns', 'per_sheet')},
        'sheets': sheets,
        'details': details,
        'error_colors': found.error_colors,
        'scales': msgspec.to_builtins(found.scales),
    }


def _heat_maps(
    found: SaliencyMaps, details: dict[str, Any], label: np.ndarray | None, clusters: list[Any]
) -> dict[str, bytes]:
    """Draws heat-maps of evidence for a class, the loss or a cluster; returns WebP files by path.

    Args:
      found: maps of all images.
      details: large pictures by row; each gets the paths of its heat-maps by target.
      label: clusters as they are now, `[N]`. If the maps are of older ones, none are drawn of
        clusters.
      clusters: by label; each gets the path of its heat-map.
    """
    targets = list(found.targets)
    if label is None or not np.array_equal(label, found.cluster):
        targets = [target for target in targets if target != 'cluster']  # always the last
    occluded = None
    if OCCLUSION in found.layers:
        occluded = [f'{target} ({OCCLUSION})' for target in targets]
    files = {}
    for row, paths in details.items():
        paths['saliency'] = {}
        for t, target in enumerate(targets):
            if np.isfinite(found.score[int(row), t]):
                # Clusters are explained by the deep encoder, classes by the end of the decoder.
                layer = DEEP if target == 'cluster' else FINE
                layer, name = (layer, target) if occluded is None else (OCCLUSION, occluded[t])
                cells = found.layer_maps[layer][int(row), t]
                path = paths['saliency'][name] = f'saliency/{row}-{t}.webp'
                files[path] = images.encode(images.color_evidence(cells))
    if label is not None and 'cluster' in targets:
        maps = found.layer_maps[DEEP][:, targets.index('cluster')]
        for k in range(label.max() + 1):
            path = clusters[k]['heat_map'] = f'clusters/{k}.webp'
            mean = maps[label == k].mean(0, dtype=np.float64)
            files[path] = images.encode(images.color_evidence(mean))
    return files


def _short_saliency(found: Saliency) -> dict[str, Any]:
    """Areas under deletion and insertion curves, with their intervals."""
    plain = storage.to_json(found)
    result: dict[str, Any] = {}
    for kind, explained in (('class', plain['classes']), ('cluster', plain['clusters'])):
        if explained:
            methods = {
                name: {curve: {'area': each[curve]['area']} for curve in ('deletion', 'insertion')}
                for name, each in explained['methods'].items()
            }
            result[kind] = {'images': explained['images'], 'methods': methods}
    return result


def _duplicates(found: Duplicates) -> dict[str, Any]:
    """Groups of copies, with the pictures of the first ones as data URIs."""
    plain = storage.to_json(found)
    pictures = iter(found.pictures)
    for group in plain['groups']:
        for number, member in enumerate(group):
            member.pop('is_trained_on')
            picture = next(pictures, None) if number < SHOWN_OF_GROUP else None
            member['picture'] = None
            if picture is not None:
                data = base64.b64encode(images.encode(picture, 75)).decode()
                member['picture'] = f'data:image/webp;base64,{data}'
    return {key: plain[key] for key in ('num_images', 'groups', 'leakage')}


def summarize_objects(view: View, found: Objects) -> dict[str, Any]:
    """What the page says of the objects as a whole."""
    keys = 'num_images', 'num_objects', 'num_crowds', 'num_unseen', 'confusion'
    plain = storage.to_json(found)
    return {key: plain[key] for key in keys} | {'class_names': list(view.class_names)}


def check_ids(ids: np.ndarray, what: str) -> None:
    """Refuses ids that the numbers of a browser would change.

    Raises:
      ValueError: an id is too large.
    """
    if len(ids) and ids.max() > _LARGEST_ID:
        raise ValueError(
            f'The {what} id {ids.max()} is above 2⁵³ - 1: a browser would take it for another. '
            'Give smaller ids in the annotation file, and prepare and analyze it again.'
        )


def read_view(view: View) -> Pieces:
    """All pieces of a view.

    Raises:
      ValueError: an artifact is damaged or does not fit, or there is no `samples`.
    """
    table = artifacts.load(view, Samples).table
    check_ids(view.image_ids, 'image')
    missing: list[str] = []

    def read(kind: type[artifacts.R], name: str = '') -> artifacts.R | None:
        if artifacts.exists(view, kind, name):
            return artifacts.load(view, kind, name)
        missing.append(kind.NAME)
        if reason := artifacts.why_not(view, kind):
            page['unavailable'][kind.NAME] = reason
        return None

    findings: dict[str, Any] = {}
    page: dict[str, Any] = {
        'rows_are': 'images',
        'key': 'image_id',
        'n': len(view),
        'run': str(view.workdir),
        'split': view.split,
        'step': view.step,
        'fingerprint': view.data['fingerprint']['id'],
        'class_names': list(view.class_names),
        'columns': list(columns.of_samples(table)),
        'unavailable': dict(view.unavailable),
    }
    near, label, files = dict[str, tuple[np.ndarray, np.ndarray]](), None, {}
    notes: dict[str, str] = {}
    if shown := read(Pictures):
        page['pictures'] = _pictures(view, shown)
    if near_map := read(SimilarityMap):
        page |= {'map_2d': encode(near_map.map_2d), 'map_3d': encode(near_map.map_3d)}
        page['map_quality'] = {
            'trustworthiness': [quality.trustworthiness for quality in near_map.maps]
        }
        notes[SimilarityMap.NAME] = near_map.note
    if scores := read(MeanIou):
        keys = 'class_names', 'confusion', 'classes', 'original', 'calibration'
        plain = storage.to_json(scores)
        findings['scores'] = {key: plain[key] for key in keys}
    if clusters := read(Clusters):
        label = clusters.label
        page['columns'] += columns.of_clusters(clusters)
        findings['clusters'] = _clusters(clusters.clusters)
        findings['density_clusters'] = _clusters(clusters.density.clusters)
        notes[Clusters.NAME] = clusters.note
    if similar := read(Similar):
        near[ALL] = similar.index, similar.distance
        notes[Similar.NAME] = similar.note
    if issues := read(LabelIssues):
        space = label_spaces.parse_label_space(view.config.data.label_space)
        page['members'] = dict(zip(space.class_names, space.members, strict=True))
        page['columns'] += columns.of_label_issues(issues)
        findings['label_issues'] = _regions(view, issues)
        findings['label_issues_total'] = int(issues.firsts().sum())
    if slices := read(Slices):
        findings['slices'] = storage.to_json(slices)['metrics']
        findings['slice_groups'] = slice_groups(slices)
        page['columns'] += columns.of_slices(
            slices, lambda metric: has_metric(metric, table, view.class_names)
        )
    if associations := read(Associations):
        found = storage.to_json(associations)
        findings['grayscale_copies'] = found.pop('grayscale_copies')
        findings['associations'] = found
    pooled = artifacts.exists(view, confusion.Confusion, confusion.POOLED)
    if confused := read(confusion.Confusion, confusion.POOLED if pooled else ''):
        plain = storage.to_json(confused)
        findings['confusion'] = {key: plain[key] for key in ('base', 'rows')}
    if drift := read(Drift):
        page['columns'] += columns.of_drift(drift)
        findings['drift'] = storage.to_json(drift)
    if to_label := read(LabelNext):
        page['columns'] += columns.of_label_next(to_label, len(view))
        ranked = to_label.ranking.select(['row', 'uncertainty', 'distance', 'score'])
        findings['label_next'] = {**storage.to_json(to_label), 'images': ranked.to_pylist()}
    if objects := read(Objects):
        findings['objects'] = summarize_objects(view, objects)
    if duplicates := read(Duplicates):
        findings['duplicates'] = _duplicates(duplicates)
    if saliency := read(Saliency):
        if saliency.methods == (OCCLUSION,):
            page['unavailable']['saliency'] = (
                'the model has no gradients. The large pictures of some samples have occlusion '
                'maps, whose faithfulness is not measured'
            )
        else:
            findings['saliency'] = _short_saliency(saliency)
        if shown:
            maps = artifacts.load(view, SaliencyMaps, MAPS)
            details = page['pictures']['details']
            files = _heat_maps(maps, details, label, findings.get('clusters', []))
            page['pictures']['scales']['saliency'] = {
                'colors': [palette.AGAINST, 'transparent', palette.FOR],
                'low': -1,
                'high': 1,
                'unit': 'against – for',
            }
    page['columns'] = column_bins.describe(page['columns'])
    page['missing'] = missing
    page['notes'] = {name: note for name, note in notes.items() if note}
    return Pieces(page, near, findings, files)
