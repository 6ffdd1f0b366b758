"""Shows which pixels and features drive the network, and whether the maps can be trusted.

    python -m analysis.saliency --workdir runs/person_car --split val

Every image gets plain gradients and layer-wise maps for each class, for the loss and, if
analysis.clusters was run, for its cluster membership (`saliency.scores`). SmoothGrad, integrated
gradients and Grad-CAM are computed for a fixed sample of images with classes and for exemplars of
the clusters. All methods are judged on these: by deletion and insertion against random, centre and
edge maps, by shuffled weights, and by instances of categories.

Figures are a sheet per class and per cluster, an overview of the clusters and the curves.
"""

import argparse
from typing import Any

import numpy as np
from tqdm import tqdm

from analysis.clusters import stage as clusters_stage
from analysis.embeddings import stage as embeddings
from analysis.predictions import stage as predictions
from analysis.predictions.schema import Predictions
from analysis.saliency import examples, membership_maps, pointing, tables
from analysis.saliency.methods import pool
from analysis.saliency.schema import (
    MAPS,
    Channel,
    CommonFeatures,
    Saliency,
    SaliencyMaps,
)  # fmt: skip
from analysis.saliency.scores import LAYERS, Clusters, Scores, open_clusters
from analysis.stage import artifacts
from analysis.stage.contract import Stage
from analysis.stage.run import Analysis, restrict
from segmentation.data import input_pipeline


def _shares(predicted: Predictions) -> np.ndarray:
    """Share of the pixels that are predicted as each class, float32 `[N, C]`."""
    maps = map(predicted.class_map, range(len(predicted.images)))
    counts = [np.bincount(each.ravel(), minlength=predicted.num_classes) for each in maps]
    return (np.array(counts) / predicted.size**2).astype(np.float32)


def compute_maps(
    analysis: Analysis, scores: Scores, clusters: Clusters | None, predicted: np.ndarray
) -> SaliencyMaps:
    """Plain gradients and layer maps of every image.

    Args:
      analysis: whose images.
      scores: of the analysis.
      clusters: of `open_clusters`.
      predicted: float32 `[N, C]`, share of the pixels that are predicted as each class.
    """
    number, targets = len(analysis), scores.targets
    label = clusters.label if clusters else np.full(number, -1, np.int32)
    explained = np.ones((number, len(targets)), bool)
    explained[:, : predicted.shape[1] - 1] = predicted[:, 1:] > 0
    if clusters:
        explained[:, -1] = label >= 0
    which = np.where(explained, np.arange(len(targets)), -1)
    kept: dict[str, np.ndarray] = {}

    def keep(name: str, rows: np.ndarray, values: np.ndarray, dtype: type | None = None) -> None:
        if dtype:
            # As shares of the largest absolute value of each map.
            scale = np.abs(values).max((2, 3))
            keep(f'{name} scale', rows, scale)
            values = values / np.where(scale > 0, scale, 1)[..., None, None]
            values = np.round(values * np.iinfo(dtype).max).astype(dtype)
        if name not in kept:
            kept[name] = np.zeros((number, *values.shape[1:]), values.dtype)
        kept[name][rows] = values[: len(rows)]

    # Images that are explained for the same targets follow each other, so that they share batches.
    order = np.lexsort(explained.T)
    ordered = restrict(analysis, order).examples
    batches = input_pipeline.evaluation_batches(ordered, batch_size=scores.batch_size)
    title = f'saliency, {analysis.split} at step {analysis.step}'
    with tqdm(total=number, desc=title, unit='img') as bar:
        for batch in batches:
            rows = order[batch['index']]
            found = scores.explain(
                scores.scale(batch['image']), scores.target(rows, batch['label']), which[rows]
            )
            rows = rows[batch['index'] >= 0]
            keep('score', rows, found.scores)
            keep('gradient', rows, found.gradient, np.uint8)
            for layer in LAYERS:
                cells = found.maps[layer]
                if cells.shape[-1] > scores.grid:
                    cells = np.asarray(pool(cells, scores.grid))
                keep(layer, rows, cells, np.int8)
                if clusters:
                    keep(f'{layer} channels', rows, found.channels[layer][:, -1])
            bar.update(len(rows))
    common: dict[str, np.ndarray] = {}
    agreement: dict[str, np.ndarray] = {}
    for layer in LAYERS if clusters else ():
        shares = kept.pop(f'{layer} channels').astype(np.float64)
        shares /= np.abs(shares).sum(1, keepdims=True).clip(1e-30)
        members = [shares[label == k] for k in range(label.max() + 1)]
        common[layer] = np.array([each.mean(0) for each in members], np.float32)
        agreement[layer] = np.array([(each > 0).mean(0) for each in members], np.float32)
    return SaliencyMaps(
        targets=targets,
        layers=LAYERS,
        score=np.where(explained, kept['score'], np.float32(np.nan)),
        gradient=kept['gradient'],
        gradient_scale=kept['gradient scale'],
        layer_maps={layer: kept[layer] for layer in LAYERS},
        layer_scale=np.stack([kept[f'{layer} scale'] for layer in LAYERS], -1),
        predicted=predicted,
        cluster=label,
        other=clusters.other if clusters else label,
        common=common,
        agreement=agreement,
    )


def common_features(found: SaliencyMaps, number: int = 5) -> tuple[CommonFeatures, ...]:
    """Per cluster its size and, per layer, the channels that its members have in common.

    Channels are ordered by mean share of the margin times the share of members that agree.
    """

    def channels(layer: str, k: int) -> tuple[Channel, ...]:
        mean, agreement = found.common[layer][k], found.agreement[layer][k]
        best = np.argsort(-mean * agreement, kind='stable')[:number].tolist()
        return tuple(Channel(c, float(mean[c]), float(agreement[c])) for c in best)

    return tuple(
        CommonFeatures(
            k,
            int((found.cluster == k).sum()),
            {layer: channels(layer, k) for layer in found.common},
        )
        for k in range(len(next(iter(found.common.values()), ())))
    )


def compute(
    analysis: Analysis,
    images: int = 128,
    exemplars: int = 6,
    steps: int = 32,
    samples: int = 12,
    categories: str = '',
) -> Saliency:
    """Computes the maps of every image unless they are up to date, and judges all methods.

    Args:
      analysis: whose images.
      images: sampled for classes.
      exemplars: of each cluster.
      steps: of integrated gradients.
      samples: noisy copies of SmoothGrad.
      categories: names with commas; maps are judged by their instances. Default: those of the
        classes, and `pointing.CATEGORIES`.

    Raises:
      ValueError: a number below 1, an unknown category, or an artifact is damaged.
    """
    numbers = {'images': images, 'exemplars': exemplars, 'steps': steps, 'samples': samples}
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f'--{name} must be at least 1.')
    groups = pointing.category_groups(analysis, categories)
    predicted = artifacts.load(analysis, Predictions)
    clusters = open_clusters(analysis)
    scores = Scores(analysis, clusters, predicted)
    reads = [stage.name for stage in (*STAGE.reads, *(STAGE.reads_if_there if clusters else ()))]
    if not artifacts.is_current(analysis, SaliencyMaps, reads, name=MAPS):
        made = compute_maps(analysis, scores, clusters, _shares(predicted))
        artifacts.save(analysis, made, reads, name=MAPS)
    found = artifacts.load(analysis, SaliencyMaps, MAPS)
    result: dict[str, Any] = {}
    rows, label = examples.sample_rows(found.predicted, images)
    if len(rows):
        maps, result['classes'] = examples.explain(scores, rows, label, 'class', steps, samples)
        result['class_examples'] = {'rows': rows, 'label': label, 'maps': maps}
        result['shuffled_weights'] = examples.shuffle_weights(analysis, scores, rows, label)
    if clusters:
        rows = clusters.exemplars(exemplars)
        label = clusters.label[rows].astype(np.int64)
        maps, result['clusters'] = examples.explain(scores, rows, label, 'cluster', steps, samples)
        membership = membership_maps.compute(analysis, clusters, rows, scores)
        result['cluster_examples'] = {
            'rows': rows, 'label': label, 'maps': maps, 'membership': membership,
        }  # fmt: skip
    return Saliency(
        methods=examples.METHODS,
        energy=pointing.measure(analysis, found, groups),
        common_features=common_features(found),
        **result,
    )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    for name, default, about in (
        ('images', 128, 'sampled for classes'),
        ('exemplars', 6, 'of each cluster'),
        ('steps', 32, 'of integrated gradients'),
        ('samples', 12, 'noisy copies of SmoothGrad'),
    ):
        about = f'{about}; default: %(default)s'
        parser.add_argument(f'--{name}', type=int, default=default, help=about)
    parser.add_argument(
        '--categories',
        default='',
        metavar='NAME,NAME,…',
        help='categories whose instances the maps are compared with; default: those of the '
        f'classes, {" and ".join(pointing.CATEGORIES)}',
    )


STAGE = Stage(
    Saliency,
    __doc__,
    compute,
    tables.to_markdown,
    tables.draw,
    reads=(predictions.STAGE,),
    reads_if_there=(embeddings.STAGE, clusters_stage.STAGE),
    add_arguments=_add_arguments,
    parts=(MAPS,),
)
main = STAGE.main
