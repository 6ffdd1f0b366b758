"""Whether saliency maps point at annotated instances.

Energy (Wang et al. 2020) is the share of a map's positive part that lies inside the instances of
some categories. For a map that is the same everywhere, it equals their share of the image's area:
the lift, the ratio of both, is 1.
"""

import itertools
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from analysis.saliency import methods
from analysis.saliency.faithfulness import baseline_maps, energy_inside, mean_interval, pointing_hit
from analysis.saliency.options import CATEGORIES
from analysis.saliency.schema import Energy, SaliencyMaps
from analysis.stage.layers import DEEP, FINE
from analysis.stage.run import Analysis
from segmentation.data import label_spaces

_BASELINES = ('center', 'edges')
_TOLERANCE = 15 / 224  # of the image's side, as Zhang et al. 2016
_LEAST_MEMBERS = 5
_BLOCK = 256  # images


def category_groups(analysis: Analysis, asked: str) -> dict[str, list[int]]:
    """Category ids by the name of their group in the report.

    `asked` is 'name, name, …' of categories or super-categories, a group each; empty for the
    classes as wholes, and those of CATEGORIES that the data set has.

    Raises:
      ValueError: an unknown name.
    """
    categories = analysis.examples.splits[0].categories
    if asked:
        names = [name.strip() for name in asked.split(',')]
        return {name: label_spaces.category_ids([name], categories) for name in names}
    space = label_spaces.parse_label_space(analysis.config.data.label_space)
    groups = {
        f'class {name}': label_spaces.category_ids(members, categories)
        for name, members in zip(space.class_names[1:], space.members[1:], strict=True)
    }
    known = {category.name: category.id for category in categories}
    return groups | {name: [known[name]] for name in CATEGORIES if name in known}


def measure(
    analysis: Analysis, found: SaliencyMaps, groups: dict[str, list[int]]
) -> tuple[Energy, ...]:
    """How much of each kind of map lies inside instances, over all images that have any.

    An image counts if all categories of the group are completely annotated; crowd regions count as
    instances. For cluster membership there is also a row for the cluster that has the largest share
    of its members among these images. Near an instance is within 15 / 224 of the side. Groups are
    of `category_groups`.
    """
    result = []
    # The products of `pool` are so small that a second thread only waits.
    with threadpool_limits(1):
        by_group = _measure_images(analysis, found, groups)
    for group, (rows, area, measured) in by_group.items():
        for (target, name), (inside, hits) in measured.items():
            subsets = {target: np.arange(len(rows))}
            if target in found.targets:
                score = found.score[rows, found.targets.index(target)]
                subsets[target] = np.flatnonzero(~np.isnan(score))
            if target == 'cluster':
                subsets |= _most_of_a_cluster(found.cluster, rows, subsets[target])
            for title, chosen in subsets.items():
                known = chosen[~np.isnan(inside[chosen])]
                if not len(known):
                    continue
                energy, share = mean_interval(inside[chosen]), float(area[known].mean())
                there = hits[known][~np.isnan(hits[known])]
                result.append(
                    Energy(
                        group, title, name, len(known), energy, share, (energy.mean or 0) / share,
                        float(there.mean()) if len(there) else None,
                    )
                )  # fmt: skip
    return tuple(result)


def _measure_images(
    analysis: Analysis, found: SaliencyMaps, groups: dict[str, list[int]]
) -> dict[str, tuple[np.ndarray, np.ndarray, dict[tuple[str, str], np.ndarray]]]:
    """Per-image measurements that `measure` averages, by group that any image has.

    Returns:
      Rows of the images `[n]`, the share of each under instances `[n]`, and by target ('–' for maps
      that do not depend on the network) and map, float64 `[2, n]`: the energy inside, NaN for a map
      that is positive nowhere, and whether the highest cell hits, NaN if no cell is mostly in an
      instance.
    """
    grid, layers = found.gradient.shape[-1], (DEEP, FINE)
    kinds = 'gradient', *(f'A×gradient {layer}' for layer in layers)
    names = [*itertools.product('–', _BASELINES), *itertools.product(found.targets, kinds)]
    parts: dict[str, list[tuple]] = {group: [] for group in groups}
    # In blocks: the maps of all images alone would take gigabytes.
    blocks = tqdm(range(0, len(analysis), _BLOCK), desc='instances', unit='block')
    for start in blocks:
        rows = np.arange(start, min(start + _BLOCK, len(analysis)))
        records = [analysis.examples.record(row) for row in rows]
        masks = [_masks(record, groups, grid) for record in records]
        there = np.flatnonzero([bool(of_image) for of_image in masks])
        if not len(there):
            continue
        images = np.stack([analysis.examples.image(records[i]) for i in there])
        baselines = baseline_maps(images, grid, (0,))
        cells = [methods.enlarge(found.layer_maps[layer][rows], grid) for layer in layers]
        maps = np.stack([found.gradient[rows].astype(np.float32), *cells], axis=2)
        maps = maps.reshape(len(rows), -1, grid, grid)[there]
        maps = np.concatenate([*(baselines[name][:, None] for name in _BASELINES), maps], 1)
        for i, of_image in zip(there, maps, strict=True):
            inside = energy_inside(of_image, np.stack(list(masks[i].values()))[:, None])
            for (group, mask), energy in zip(masks[i].items(), inside, strict=True):
                hits = np.full(len(names), np.nan)
                if (mask >= 0.5).any():
                    hits = pointing_hit(of_image, mask >= 0.5, _TOLERANCE * grid)
                area = mask.mean(dtype=np.float64)
                parts[group].append((rows[i], area, np.stack([energy, hits])))
    result = {}
    for group in filter(parts.get, parts):
        rows, area, measured = (np.stack(each, -1) for each in zip(*parts[group], strict=True))
        result[group] = rows, area, dict(zip(names, measured.swapaxes(0, 1), strict=True))
    return result


def _masks(
    record: dict[str, Any], groups: dict[str, list[int]], grid: int
) -> dict[str, np.ndarray]:
    """Share of each cell under instances, float32 `[G, G]`, by group that the image has."""
    instances, size = record['instances'], [int(record['height']), int(record['width'])]
    complete = set(record['complete_category_ids'].tolist())
    found = {}
    for group, ids in groups.items():
        chosen = np.flatnonzero(np.isin(instances['category_id'], ids))
        if not len(chosen) or (record['complete_known'] and not complete.issuperset(ids)):
            continue
        rles = [{'size': size, 'counts': instances['rle'][i]} for i in chosen]
        mask = mask_utils.decode(mask_utils.merge(rles))
        if mask.any():
            found[group] = methods.pool(mask.astype(np.float32), grid)
    return found


def _most_of_a_cluster(
    label: np.ndarray, rows: np.ndarray, there: np.ndarray
) -> dict[str, np.ndarray]:
    """Members of the cluster with the largest share of its members among some of the images.

    Args:
      label: int `[N]`, the cluster of each image, below 0 for none.
      rows: int `[n]`, rows of images.
      there: int `[m]`, positions in `rows`: among these images.
    """
    sizes = np.bincount(label[label >= 0])
    counts = np.bincount(label[rows[there]], minlength=len(sizes))
    share = np.where(counts >= _LEAST_MEMBERS, counts / sizes.clip(1), 0)
    best = int(share.argmax())
    return {f'cluster {best}': there[label[rows[there]] == best]} if share[best] else {}
