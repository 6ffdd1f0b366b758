"""Pointing game: does a cluster heat-map hit the object whose removal lowers membership most?

A drawn scene can be drawn again without one object. The cause of its membership in a cluster, as
far as objects are concerned, is the object whose removal lowers the membership score most
(`saliency.scores`: the margin between the squared distances to the nearest other centroid and to
its own). A heat-map of that score should point at this object. Where no removal costs LEAST_COST,
the scene belongs to its cluster because of its background or of many objects together; such images
are left out and counted.

The cost is relative to the median score of the images, not to the image's own, which is nearly zero
between two clusters.
"""

import dataclasses
import pathlib

import numpy as np
from PIL import Image
from tqdm import tqdm

from analysis.saliency import faithfulness, membership_maps
from analysis.saliency.methods import pool
from analysis.saliency.scores import Clusters, Scores, open_clusters
from analysis.stage.layers import GRID
from analysis.stage.run import Analysis
from segmentation import scenes
from segmentation.activations import find_layers
from segmentation.data import transforms
from segmentation.data.masks import nearest_indices

LEAST_AREA = 0.005  # visible share of the image of an object
LEAST_COST = 0.25  # of the median membership score
TOLERANCE = 1 / 16  # of the side: 8 pixels of 128
SMALL = 0.03  # largest share of the image of an object that is difficult


def most_lowering(
    analysis: Analysis, clusters: Clusters, folder: pathlib.Path, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The object of each scene whose removal most lowers its membership of its cluster.

    Args:
      analysis: of images that `scenes.write_scenes` drew into `folder`.
      clusters: of `open_clusters`.
      folder: says how the scenes were drawn.
      rows: int64 `[J]`, of the images.

    Returns:
      Masks of the objects at the network's resolution, bool `[J, S, S]`, and what each costs of the
      membership score, as a multiple of the median positive score, float64 `[J]`; NaN (and an empty
      mask) where no object is large enough or the score is not positive.
    """
    config, scores = analysis.run.config.data, Scores(analysis, clusters)
    size, margin = config.image_size, len(scores.targets) - 1
    masks, costs = np.zeros((len(rows), size, size), np.bool_), np.full(len(rows), np.nan)
    scored = []
    for place, row in enumerate(tqdm(rows, 'scenes without an object', unit='scene')):
        scene = scenes.find_scene(folder, int(analysis.image_ids[row]))
        whole = scenes.render(scene)
        large = np.flatnonzero(whole.masks.sum((1, 2)) >= LEAST_AREA * whole.owner.size)
        drawn = [whole, *(scenes.render(scene, without=[index]) for index in large.tolist())]
        images = [
            transforms.resize(Image.fromarray(each.image), size, (0, 0, 1, 1), config.antialias)
            for each in drawn
        ]
        target, which = scores.target(np.full(len(drawn), row)), np.full(len(drawn), margin)
        before, *without = scores.values(scores.scale(np.stack(images)), target, which).tolist()
        if without and before > 0:
            lowest = int(np.argmin(without))
            sampled = np.ix_(*(nearest_indices(length, size) for length in whole.owner.shape))
            masks[place] = whole.owner[sampled] == large[lowest]
            costs[place] = before - without[lowest]
            scored.append(before)
    return masks, costs / np.median(scored) if scored else costs


def difficult(
    analysis: Analysis, folder: pathlib.Path, rows: np.ndarray, masks: np.ndarray
) -> np.ndarray:
    """Which objects are small and have a distractor, bool `[J]`.

    An object has a distractor if the scene has another large enough thing of the same kind. A map
    that lights up all objects of a kind, or the largest one, then points elsewhere.

    Args:
      analysis: see `most_lowering`.
      folder: see `most_lowering`.
      rows: int64 `[J]`, of the images.
      masks: of one object of each, bool `[J, S, S]`, none empty.
    """
    found = masks.mean((1, 2)) <= SMALL
    for place in np.flatnonzero(found):
        scene = scenes.find_scene(folder, int(analysis.image_ids[rows[place]]))
        whole = scenes.render(scene)
        sampled = np.ix_(*(nearest_indices(n, masks.shape[1]) for n in whole.owner.shape))
        own = int(whole.owner[sampled][masks[place]][0])
        others = (
            index
            for index, thing in enumerate(scene.things)
            if index != own and thing.kind == scene.things[own].kind
        )
        found[place] = any((whole.owner == other).mean() >= LEAST_AREA for other in others)
    return found


def shuffle_weights(analysis: Analysis, seed: int = 0) -> Analysis:
    """The same analysis with the parameters of all layers shuffled."""
    layers = list(find_layers(analysis.run, ('*',)))
    *_, (_, variables) = faithfulness.cascade(analysis.run.variables, layers, seed)
    return dataclasses.replace(
        analysis, run=dataclasses.replace(analysis.run, read=lambda: variables)
    )


def judge(maps: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
    """Whether maps point at objects, and the share of their positive part inside the objects.

    Maps are `[J, g, g]`, positive where a place is evidence; masks bool `[J, S, S]`, none empty.

    Returns:
      `pointing` bool `[J]`, whether the highest place is within TOLERANCE of the side of the mask,
      and `energy` float64 `[J]`, see `faithfulness.energy_inside`.
    """
    size = masks.shape[1]
    enlarged = [
        Image.fromarray(each.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR)
        for each in maps
    ]
    hits = [
        faithfulness.pointing_hit(np.asarray(each), mask, TOLERANCE * size)
        for each, mask in zip(enlarged, masks, strict=True)
    ]
    inside = np.asarray(pool(masks.astype(np.float32), maps.shape[1]))
    return {'pointing': np.array(hits), 'energy': faithfulness.energy_inside(maps, inside)}


def score(
    analysis: Analysis, folder: pathlib.Path, *, num_images: int
) -> dict[str, float | None] | None:
    """Judges heat-maps of cluster membership on a fixed random sample of the images.

    Returns:
      `images` (their number, with such an object), `share` (of the sample), and the means over them
      `pointing <method>` and `energy <method>`; also `difficult images` and `difficult pointing
      <method>`, of those that `difficult` says. Methods are 'membership' (see `membership_maps`),
      'shuffled weights' (the same maps after `shuffle_weights`) and the baselines 'random',
      'center' and 'edges'. None if no image has such an object or there is a single cluster.

    Raises:
      ValueError: an artifact is missing or does not fit.
    """
    clusters = open_clusters(analysis)
    if clusters is None:
        return None
    order = np.random.default_rng(0).permutation(len(analysis))
    sampled = np.sort(order[:num_images])
    masks, costs = most_lowering(analysis, clusters, folder, sampled)
    kept = costs >= LEAST_COST
    if not kept.any():
        return None
    rows, masks = sampled[kept], masks[kept]
    maps = {
        'membership': membership_maps.compute(analysis, clusters, rows),
        'shuffled weights': membership_maps.compute(shuffle_weights(analysis), clusters, rows),
    }
    images = np.stack([analysis.examples[int(row)]['image'] for row in rows])
    maps |= faithfulness.baseline_maps(images, GRID, (0,))
    result: dict[str, float | None] = {'images': len(rows), 'share': float(kept.mean())}
    hard = difficult(analysis, folder, rows, masks)
    result['difficult images'] = int(hard.sum())
    for name, each in maps.items():
        judged = judge(each, masks)
        result[f'pointing {name}'] = float(judged['pointing'].mean())
        share = float(judged['pointing'][hard].mean()) if hard.any() else None
        result[f'difficult pointing {name}'] = share
        energy = judged['energy'][~np.isnan(judged['energy'])]
        result[f'energy {name}'] = float(energy.mean()) if len(energy) else None
    return result
