"""Whether saliency maps point at annotated instances.

Energy (Wang et al. 2020) is the share of a map's positive part that lies inside the instances of
some categories. A map that knows nothing has as much there as they have of the image's area, so the
ratio of both, the lift, is 1 for it.
"""

import functools

import jax
import numpy as np
from pycocotools import mask as mask_utils
from tqdm import tqdm

from analysis.artifacts import Analysis
from analysis.saliency_judgement import baseline_maps, energy_inside, mean_interval, pointing_hit
from analysis.saliency_methods import pool
from analysis.saliency_scores import DEEP, FINE
from segmentation import labels

CATEGORIES = ('bicycle', 'motorcycle')
_TOLERANCE = 15 / 224  # of the image's side, as Zhang et al. 2016
_LEAST_MEMBERS = 5


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
        return {name: labels.category_ids([name], categories) for name in names}
    space = labels.parse_label_space(analysis.run.config.data.label_space)
    groups = {
        f'class {name}': labels.category_ids(members, categories)
        for name, members in zip(space.class_names[1:], space.members[1:], strict=True)
    }
    known = {category.name: category.id for category in categories}
    return groups | {name: [known[name]] for name in CATEGORIES if name in known}


def measure(
    analysis: Analysis, arrays: dict[str, np.ndarray], groups: dict[str, list[int]]
) -> list[dict]:
    """How much of each kind of map lies inside instances, over all images that have any.

    An image counts where all categories of the group are completely annotated; crowd regions count
    as instances. For cluster membership there is also a row for the cluster that has the largest
    share of its members among these images.

    Args:
      analysis: whose images.
      arrays: of saliency.npz.
      groups: of `category_groups`.

    Returns:
      Rows for JSON: `group`, `target`, `map`, `images`, `inside` (mean energy with interval),
      `area` (mean share of the image), `lift` (their ratio), and `hits`: share of the images in
      which the map's highest cell is inside of an instance or within 15 / 224 of the side of it.
    """
    grid = arrays['gradient'].shape[-1]
    targets, layers = arrays['targets'].tolist(), arrays['layers'].tolist()
    result = []
    for group, (rows, masks, knowing_nothing) in _masks(analysis, groups, grid).items():

        def add(target, name, maps, chosen, group=group, masks=masks):
            inside = energy_inside(maps[chosen], masks[chosen])
            known = chosen[~np.isnan(inside)]
            if len(known):
                energy, area = mean_interval(inside), float(masks[known].mean())
                hits = [
                    pointing_hit(maps[i], masks[i] >= 0.5, _TOLERANCE * grid)
                    for i in known
                    if (masks[i] >= 0.5).any()
                ]
                result.append(
                    {
                        **{'group': group, 'target': target, 'map': name, 'images': len(known)},
                        **{'inside': energy, 'area': area, 'lift': energy['mean'] / area},
                        'hits': float(np.mean(hits)) if hits else None,
                    }
                )

        everyone = np.arange(len(rows))
        for name, maps in knowing_nothing.items():
            add('–', name, maps, everyone)
        for t, target in enumerate(targets):
            there = everyone[~np.isnan(arrays['score'][rows, t])]
            subsets = {target: there}
            if target == 'cluster':
                subsets |= _most_of_a_cluster(arrays['cluster'], rows, there)
            for title, chosen in subsets.items():
                add(title, 'gradient', arrays['gradient'][rows, t].astype(np.float32), chosen)
                for layer in (DEEP, FINE):
                    maps = arrays[f'layer_{layers.index(layer)}'][rows, t].astype(np.float32)
                    add(title, f'A×gradient {layer}', np.asarray(_enlarge(maps, grid)), chosen)
    return result


def _masks(analysis: Analysis, groups: dict[str, list[int]], grid: int) -> dict[str, tuple]:
    """By group: rows `[n]`, masks `[n, G, G]` and maps that know nothing of the network."""
    examples = analysis.examples
    found: dict[str, list[tuple]] = {group: [] for group in groups}
    for row in tqdm(range(len(examples)), desc='instances', unit='img'):
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
