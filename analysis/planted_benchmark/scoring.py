"""Scores the artifacts of an analysis of planted scenes against what was planted in them.

Each function takes an analysis whose stages were run (`scripts/analyze.py`), and most take the
planted truth of its images. They return measures by name, `<group>/<measure>`: numbers, or None
where there is nothing to measure. Shares are (count, number).
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from pycocotools import mask as mask_utils
from scipy import special
from sklearn import manifold
from sklearn import metrics as sklearn_metrics

from analysis.associations.correlation import confounder
from analysis.associations.schema import Associations
from analysis.clusters import partition
from analysis.clusters.schema import Clusters
from analysis.embeddings import stage as embeddings
from analysis.embeddings.schema import Embeddings
from analysis.label_issues.schema import LabelIssues
from analysis.planted_benchmark import pointing_game
from analysis.planted_benchmark.metrics import (
    average_precision,
    best_overlap,
    color_histograms,
    coverage,
    detection_precision,
    false_discoveries,
    false_findings,
    matched_regions,
    neighbor_auroc,
    precision_at_k,
    recall_at_number,
    softmin_quality,
)
from analysis.predictions.schema import Predictions
from analysis.samples.schema import Samples, numbers_of
from analysis.similar.neighbors import neighbors
from analysis.similar.schema import Similar
from analysis.similarity_map.schema import SimilarityMap
from analysis.slices.conditions import load_columns
from analysis.slices.schema import METRICS, Slices
from analysis.slices.search import LEVEL as SLICE_LEVEL
from analysis.slices.search import find_slices
from analysis.slices.stage import metric_values
from analysis.stage import artifacts
from analysis.stage.forward import forward
from analysis.stage.run import Analysis
from segmentation import metrics, scenes
from segmentation.data import masks

NEIGHBORS = 10
# Where a hard slice shows in the metadata, and whether the loss rises (1) or falls (-1) with it.
ASSOCIATIONS = {'dark': ('brightness', -1), 'fog': ('contrast', -1), 'noise': ('sharpness', 1)}
LEVEL = 0.05
# Effective sample size (`metrics.effective_images`) from which intervals of a class are valid.
ENOUGH_IMAGES = 30
# Planted errors and the kind of issue that each should be reported as.
ISSUES = {
    'person missing': 'missing instance',
    'person labelled car': 'wrong class',
    'sloppy outline': 'sloppy outline',
    'suitcase labelled car': 'spurious label',
    'picture labelled person': 'spurious label',
    'toy car labelled car': 'spurious label',
}
# The heat-map that is scored, chosen on scene seed 0, and the baselines that it must beat.
HEAT_MAP = 'membership'
BASELINES = ('random', 'center', 'edges', 'shuffled weights')


def read_truth(analysis: Analysis, folder: pathlib.Path) -> list[dict]:
    """The manifest's entries for the images of an analysis, in their order.

    Args:
      analysis: of the part 'val', which is the split 'val'.
      folder: of `scenes.write_scenes`.

    Raises:
      ValueError: there is no manifest, or it is of other images.
    """
    _, entries = scenes.read_truth(folder, analysis.split)
    by_id = {entry['image_id']: entry for entry in entries}
    ids = analysis.image_ids.tolist()
    if missing := [number for number in ids if number not in by_id]:
        raise ValueError(
            f'The manifest in {folder} has no entry for image {missing[0]} of {analysis.folder}: '
            'the scenes are not those that were analyzed.'
        )
    return [by_id[number] for number in ids]


def random_network(analysis: Analysis, workdir: pathlib.Path, seed: int = 0) -> Analysis:
    """The same analysis with an untrained network.

    `workdir` is a folder of its own: what the stages keep of the trained network is not its result.
    """
    run = analysis.run
    size = run.config.data.image_size
    init = jax.jit(lambda key: run.model.init(key, jnp.zeros((1, size, size, 3)), train=False))
    variables = jax.device_get(init(jax.random.key(seed)))
    untrained = dataclasses.replace(
        analysis, workdir=workdir, run=dataclasses.replace(run, read=lambda: variables)
    )
    untrained.folder.mkdir(parents=True)
    return untrained


def baselines(analysis: Analysis, dimensions: int) -> dict[str, np.ndarray]:
    """Embeddings that do not depend on the training, float32 `[N, D]` by name.

    They are color histograms, and the embedding of an untrained network in as many dimensions.
    """
    with tempfile.TemporaryDirectory(dir=analysis.folder) as place:
        untrained = random_network(analysis, pathlib.Path(place))
        of_untrained = embeddings.compute(untrained, dimensions=dimensions).points
    histograms = [
        color_histograms(analysis.examples[row]['image'][None]) for row in range(len(analysis))
    ]
    return {'color histograms': np.concatenate(histograms), 'random encoder': of_untrained}


def representation(analysis: Analysis, truth: Sequence[dict]) -> dict[str, float | None]:
    """Clusters, neighbors and map against scene types and attributes.

    The baselines are two embeddings that do not depend on the training: color histograms, and the
    same embedding of an untrained network.
    """
    types = np.array([entry['type'] for entry in truth])
    embedding = artifacts.load(analysis, Embeddings).points
    found = artifacts.load(analysis, Clusters)
    spaces = {'ours': embedding, **baselines(analysis, embedding.shape[1])}
    agreement: dict[str, float] = {}
    precision = f'similar/precision@{NEIGHBORS} by scene type'
    result: dict[str, float | None] = {'clusters/number': len(found.centroids)}
    for name, points in spaces.items():
        label = found.label if name == 'ours' else partition.cluster(points).label
        agreement[name] = float(sklearn_metrics.adjusted_mutual_info_score(types, label))
        result[f'clusters/AMI with scene type, {name}'] = agreement[name]
        near, _ = neighbors(points, NEIGHBORS)
        result[f'{precision}, {name}'] = precision_at_k(near, types)
        for attribute in scenes.ATTRIBUTES:
            has = np.array([attribute in entry['attributes'] for entry in truth])
            measure = f'attributes/AUROC by neighbors, {attribute}, {name}'
            result[measure] = neighbor_auroc(near, has)
    for name in list(spaces)[1:]:
        result[f'clusters/AMI above {name}'] = agreement['ours'] - agreement[name]
    near = artifacts.load(analysis, Similar).index[:, :NEIGHBORS]
    result[f'{precision}, fetched'] = precision_at_k(near, types)
    maps = artifacts.load(analysis, SimilarityMap)
    for dimension, projected in ((2, maps.map_2d), (3, maps.map_3d)):
        result[f'map/trustworthiness, {dimension}-D'] = float(
            manifold.trustworthiness(embedding, projected, n_neighbors=NEIGHBORS)
        )
    return result


def heat_maps(analysis: Analysis, folder: pathlib.Path, num_images: int) -> dict[str, float | None]:
    """Cluster heat-maps against the object that causes the membership; see `pointing_game`."""
    found = pointing_game.score(analysis, folder, num_images=num_images)
    if found is None:
        return {}
    result = {f'heat-maps/{name}': value for name, value in found.items()}
    ours = {kind: found[f'{kind} {HEAT_MAP}'] for kind in ('pointing', 'energy')}
    result['heat-maps/pointing game, ours'] = ours['pointing']
    result['heat-maps/pointing game, difficult'] = found[f'difficult pointing {HEAT_MAP}']
    for kind, name in (('pointing', 'pointing game'), ('energy', 'energy inside')):
        best = max(found[f'{kind} {baseline}'] or 0.0 for baseline in BASELINES)
        result[f'heat-maps/{name} above the best baseline'] = (ours[kind] or 0) - best
    return result


def label_issues(analysis: Analysis, truth: Sequence[dict]) -> dict[str, float | None]:
    """Label issues against planted errors, by kind of issue and by kind of error.

    Average precision ranks images by their score for the kind. Images with another kind of error
    are left out, because the baseline does not distinguish kinds. Average precision of regions
    ranks all regions of the kind in all images; a hit must lie on what was planted.
    """
    found = artifacts.load(analysis, LabelIssues)
    errors = np.array([(entry['error'] or {}).get('kind', '') for entry in truth])
    quality = -_label_quality(analysis)
    regions = found.regions.to_pylist()
    measured: dict[str, float | None] = {}
    for issue in dict.fromkeys(ISSUES.values()):
        scores = found.scores(issue)
        ours = np.where(scores > 0, scores, -np.inf)
        kinds = [kind for kind, found_as in ISSUES.items() if found_as == issue]
        groups = {issue: np.isin(errors, kinds)}
        if len(kinds) > 1:
            groups |= {f'{issue}, {kind}': errors == kind for kind in kinds}
        for name, positive in groups.items():
            kept = positive | (errors == '')
            precision, baseline = (
                average_precision(score[kept], positive[kept]) for score in (ours, quality)
            )
            recall = recall_at_number(ours[kept], positive[kept])
            measured[f'label issues/average precision, {name}'] = precision
            measured[f'label issues/average precision of softmin, {name}'] = baseline
            measured[f'label issues/recall at the planted number, {name}'] = recall
            if precision is not None and baseline is not None:
                measured[f'label issues/above the baseline, {name}'] = precision - baseline
        mine = [row for row in regions if row['kind'] == issue]
        ranked = matched_regions(
            np.array([region['row'] for region in mine], np.int64),
            np.array([lies_on_error(region, truth[region['row']]) for region in mine], np.bool_),
            np.array([region['score'] for region in mine], np.float64),
            np.flatnonzero(np.isin(errors, kinds)).tolist(),
        )
        measure = f'label issues/average precision of regions, {issue}'
        measured[measure] = detection_precision(*ranked)
    return measured


def lies_on_error(region: dict, entry: dict) -> bool:
    """Whether half of a region's box is in that of the image's planted error, grown by a fifth."""
    if not entry['error']:
        return False
    mask = entry['objects'][entry['error']['object']]['mask']
    corner, size = np.split(mask_utils.toBbox(mask) / np.tile(mask['size'][::-1], 2), 2)
    low = np.array([region['left'], region['top']])
    high = np.array([region['right'], region['bottom']])
    common = np.minimum(high, corner + 1.2 * size) - np.maximum(low, corner - 0.2 * size)
    return bool(common.clip(0).prod() >= 0.5 * (high - low).prod())


def _label_quality(analysis: Analysis) -> np.ndarray:
    """`softmin_quality` of each image, float64 `[N]`."""
    quality = []
    for rows, batch, logits in forward(analysis, 'label quality'):
        probability = special.softmax(np.asarray(logits, np.float64), axis=-1)
        for label, seen in zip(batch['label'][: len(rows)], probability, strict=False):
            counted = label != masks.IGNORE
            given = np.take_along_axis(seen[counted], label[counted, None].astype(int), 1)[:, 0]
            quality.append(softmin_quality(given) if len(given) else 1.0)
    return np.array(quality)


def performance(analysis: Analysis, truth: Sequence[dict]) -> dict[str, float | None]:
    """Whether planted hard slices are hard, and whether associations and slices find them."""
    table = artifacts.load(analysis, Samples).table
    hard = np.array([entry['hard_slice'] or '' for entry in truth])
    tests = {
        (row.column, row.metric): row for row in artifacts.load(analysis, Associations).associations
    }
    associated: list[bool] = []
    result: dict[str, float | None] = {}
    for name, (column, sign) in ASSOCIATIONS.items():
        row = tests.get((column, 'loss'))
        both = ((row.q, row.rho), (row.partial_q, row.partial_rho)) if row else ()
        associated.append(
            any(q is not None and q <= LEVEL and (rho or 0) * sign > 0 for q, rho in both)
        )
        result[f'associations/{name}: {column} with loss'] = float(associated[-1])
    result['associations/share of the planted that is found'] = float(np.mean(associated))
    confirmed = [inside for _, _, inside in artifacts.load(analysis, Slices).each()]
    discovered = []
    for name in scenes.HARD_SLICES:
        planted = hard == name
        if not planted.any():
            continue
        for metric in METRICS:
            values, known = metric_values(metric, table, analysis.class_names)
            if planted[known].any():
                excess = values[planted[known]].mean() - values[hard[known] == ''].mean()
                result[f'slices/{name}: {metric} minus that of ordinary scenes'] = float(excess)
        best = best_overlap(confirmed, planted)
        discovered.append(best['found'])
        for key in ('precision', 'recall'):
            result[f'slices/{name}: {key} of the best slice'] = best[key]
    result['slices/confirmed'] = len(confirmed)
    result['slices/share of the planted that is found'] = float(np.mean(discovered))
    return result


def null_tables(analysis: Analysis, num_tables: int) -> dict[str, tuple[int, int]]:
    """Shares of permuted tables that yield an association and a slice; see `metrics`."""
    table = artifacts.load(analysis, Samples).table
    metadata, measured = numbers_of(table, 'metadata'), numbers_of(table, 'metric')
    confounders = {name: confounder(name) for name in measured}
    discovered = false_discoveries(metadata, measured, confounders, num_tables, LEVEL)
    conditions = load_columns(analysis)
    values_of = {metric: metric_values(metric, table, analysis.class_names) for metric in METRICS}

    def find(order: np.ndarray, seed: int) -> list:
        found: list = []
        for metric, (values, known) in values_of.items():
            here = {name: column[known] for name, column in conditions.items()}
            permuted = METRICS[metric] * values[np.argsort(order[known])]
            found += find_slices(here, permuted, seed, SLICE_LEVEL / len(METRICS))[1]
        return found

    sliced = false_findings(find, len(table), num_tables)
    return {
        'null tables/share with a discovery': (discovered, num_tables),
        'null tables/share with a slice': (sliced, num_tables),
    }


def interval_coverage(analysis: Analysis, num_samples: int) -> dict[str, tuple[int, int]]:
    """How often 95 % intervals of the scores cover the score of all images, as the population.

    Returns:
      Shares by score, `coverage/iou/person` for example; `coverage, too few images/…` for a class
      in fewer than ENOUGH_IMAGES images (for IoU over the set: effective sample size), or a mean
      over such a class.
    """
    names = analysis.class_names
    counts = artifacts.load(analysis, Predictions).confusions()
    images = {
        'iou': metrics.effective_images(counts),
        'image_iou': (~np.isnan(metrics.iou(counts))).sum(0),
    }
    covered = coverage(counts, names, num_samples=num_samples)
    shares = {}
    for score, share in covered.items():
        metric, _, name = score.partition('/')
        if name:
            number = images[metric][names.index(name)]
        else:
            number = images['iou' if metric == 'mean_iou_foreground' else 'image_iou'][1:].min()
        group = 'coverage' if number >= ENOUGH_IMAGES else 'coverage, too few images'
        shares[f'{group}/{score}'] = (round(share * num_samples), num_samples)
    return shares
