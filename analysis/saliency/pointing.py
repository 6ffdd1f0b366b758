"""Whether saliency maps point at annotated instances.

Energy (Wang et al. 2020) is the share of a map's positive part that lies inside the instances of
some categories. For a map that is the same everywhere, it equals their share of the image's area:
the lift, the ratio of both, is 1.
"""

import functools

import jax
import numpy as np
from pycocotools import mask as mask_utils
from tqdm import tqdm

from analysis.saliency.faithfulness import baseline_maps, energy_inside, mean_interval, pointing_hit
from analysis.saliency.methods import pool
from analysis.saliency.schema import Energy, SaliencyMaps
from analysis.stage.layers import DEEP, FINE
from analysis.stage.run import Analysis
from segmentation.data import label_spaces

CATEGORIES = ('bicycle', 'motorcycle')
_TOLERANCE = 15 / 224  # of the image's side, as Zhang et al. 2016
_LEAST_MEMBERS = 5
_BLOCK = 256  # images


def category_groups(analysis: Analysis, asked: str) -> dict[str, list[int]]:
    """Category ids by what they are called in the report.

    Args:
      analysis: whose data set's categories.
      asked: 'name, name, …' of categories or super-categories, a group each; empty for the classes
        as wholes, and those of CATEGORIES that the data set has.

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

    An image counts where all categories of the group are completely annotated; crowd regions count
    as instances. For cluster membership there is also a row for the cluster that has the largest
    share of its members among these images.

    Args:
      analysis: whose images.
      found: maps of all images.
      groups: of `category_groups`.

    Returns:
      Rows; near an instance is within 15 / 224 of the side.
    """
    result = []
    for group, (rows, area, measured) in _measure_images(analysis, found, groups).items():
        for (target, name), (inside, hits) in measured.items():
            everyone = np.arange(len(rows))
            subsets = {target: everyone}
            if target in found.targets:
                t = found.targets.index(target)
                subsets[target] = everyone[~np.isnan(found.score[rows, t])]
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
    analysis: Analysis, maps_of: SaliencyMaps, groups: dict[str, list[int]]
) -> dict[str, tuple[np.ndarray, np.ndarray, dict]]:
    """What `measure` takes means of, by group that any image has.

    Returns:
      Rows of the images `[n]`, share of each under instances `[n]`, and by target ('–' for maps
      that do not depend on the network) and map: energy inside `[n]`, NaN for none, and whether the
      highest cell hits `[n]`, NaN where no cell is mostly in an instance.
    """
    grid = maps_of.gradient.shape[-1]
    found: dict[str, dict] = {group: {} for group in groups}
    # In blocks: of all images the maps alone would take gigabytes.
    for start in tqdm(range(0, len(analysis), _BLOCK), desc='instances', unit='block'):
        block = slice(start, start + _BLOCK)
        maps = {}
        for t, target in enumerate(maps_of.targets):
            maps[target, 'gradient'] = maps_of.gradient[block, t].astype(np.float32)
            for layer in (DEEP, FINE):
                cells = maps_of.layer_maps[layer][block, t].astype(np.float32)
                maps[target, f'A×gradient {layer}'] = np.asarray(_enlarge(cells, grid))
        for group, (rows, masks, nothing) in _masks(analysis, groups, grid, start).items():
            parts = {'rows': rows, 'area': masks.mean((1, 2), dtype=np.float64)}
            here = {key: each[rows - start] for key, each in maps.items()}
            for key, each in ({('–', name): each for name, each in nothing.items()} | here).items():
                hits = [
                    pointing_hit(one, mask >= 0.5, _TOLERANCE * grid)
                    if (mask >= 0.5).any()
                    else np.nan
                    for one, mask in zip(each, masks, strict=True)
                ]
                parts[key] = np.stack([energy_inside(each, masks), np.array(hits, np.float64)])
            for key, values in parts.items():
                found[group].setdefault(key, []).append(values)
    result = {}
    for group, parts in found.items():
        if parts:
            whole = {key: np.concatenate(values, axis=-1) for key, values in parts.items()}
            result[group] = whole.pop('rows'), whole.pop('area'), whole
    return result


def _masks(
    analysis: Analysis, groups: dict[str, list[int]], grid: int, start: int
) -> dict[str, tuple]:
    """Of a block by group, where there are any: rows `[n]`, masks `[n, G, G]` and maps that
    do not depend on the network."""
    examples = analysis.examples
    found: dict[str, list[tuple]] = {group: [] for group in groups}
    for row in range(start, min(start + _BLOCK, len(examples))):
        record = examples.record(row)
        instances = record['instances']
        complete = set(record['complete_category_ids'].tolist())
        size = [int(record['height']), int(record['width'])]
        nothing = None
        for group, ids in groups.items():
            chosen = np.flatnonzero(np.isin(instances['category_id'], ids))
            if not len(chosen) or (record['complete_known'] and not complete.issuperset(ids)):
                continue
            rles = [{'size': size, 'counts': instances['rle'][i]} for i in chosen]
            mask = mask_utils.decode(mask_utils.merge(rles))
            if mask.any():
                if nothing is None:
                    nothing = baseline_maps(examples[row]['image'][None], grid, (0,))
                found[group].append((row, pool(mask.astype(np.float32), grid), nothing))
    return {
        group: (
            np.array([row for row, _, _ in entries]),
            np.stack([mask for _, mask, _ in entries]),
            {
                name: np.concatenate([nothing[name] for _, _, nothing in entries])
                for name in ('centre', 'edges')
            },
        )
        for group, entries in found.items()
        if entries
    }


@functools.partial(jax.jit, static_argnums=1)
def _enlarge(maps: jax.Array, grid: int) -> jax.Array:
    return jax.image.resize(maps, (len(maps), grid, grid), 'linear')


def _most_of_a_cluster(
    label: np.ndarray, rows: np.ndarray, there: np.ndarray
) -> dict[str, np.ndarray]:
    """The members, among images, of the cluster that has the largest share of its members there."""
    sizes = np.bincount(label[label >= 0])
    counts = np.bincount(label[rows[there]], minlength=len(sizes))
    share = np.where(counts >= _LEAST_MEMBERS, counts / sizes.clip(1), 0)
    best = int(share.argmax())
    return {f'cluster {best}': there[label[rows[there]] == best]} if share[best] else {}
