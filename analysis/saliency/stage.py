"""Shows which pixels and features drive the network, and whether the maps can be trusted."""

import operator
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from analysis.clusters import stage as clusters_stage
from analysis.embeddings import stage as embeddings
from analysis.predictions import stage as predictions
from analysis.predictions.schema import Predictions
from analysis.saliency import examples, membership_maps, occlusion, pointing, tables
from analysis.saliency.methods import pool
from analysis.saliency.options import make_parser
from analysis.saliency.schema import MAPS, Channel, CommonFeatures, Saliency, SaliencyMaps
from analysis.saliency.scores import LAYERS, Clusters, Scores, open_clusters
from analysis.stage import artifacts, shards
from analysis.stage.contract import Stage
from analysis.stage.layers import GRID
from analysis.stage.run import Analysis
from segmentation.data import input_pipeline

_IMAGES = 48  # explained for classes, unless another number is given


def _shares(predicted: Predictions) -> np.ndarray:
    """Share of the pixels that are predicted as each class, float32 `[N, C]`."""
    maps = map(predicted.class_map, range(len(predicted.images)))
    counts = [np.bincount(each.ravel(), minlength=predicted.num_classes) for each in maps]
    return (np.array(counts) / predicted.size**2).astype(np.float32)


def _quantize(maps: np.ndarray, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Maps `[B, T, g, g]` of at most GRID cells a side, as shares of their largest absolute value.

    Returns:
      Whole numbers, and that value, float32 `[B, T]`.
    """
    cells = pool(maps, GRID) if maps.shape[-1] > GRID else maps
    scale = np.abs(cells).max((2, 3))
    shares = cells / np.where(scale > 0, scale, 1)[..., None, None]
    return np.round(shares * np.iinfo(dtype).max).astype(dtype), scale


class _Means:
    """Means over the members of each cluster, by name; the members come in parts."""

    def __init__(self, label: np.ndarray):
        """`label` is the cluster of each image, int `[N]`, below 0 for none."""
        self.label, self.sizes = label, np.bincount(label[label >= 0])
        self.sums: dict[str, np.ndarray] = {}

    def add(self, name: str, rows: np.ndarray, values: np.ndarray) -> None:
        """Adds values `[n, C]` of images, given by their rows `[n]`."""
        shape = len(self.sizes), *values.shape[1:]
        total = self.sums.setdefault(name, np.zeros(shape, np.float64))
        known = self.label[rows] >= 0
        np.add.at(total, self.label[rows][known], values[known])

    def means(self) -> dict[str, np.ndarray]:
        """float32 `[K, C]` by name."""
        return {
            name: (total / self.sizes[:, None]).astype(np.float32)
            for name, total in self.sums.items()
        }


def compute_maps(
    analysis: Analysis, scores: Scores, clusters: Clusters | None, predicted: np.ndarray
) -> SaliencyMaps:
    """Plain gradients and layer maps of every image.

    The scores are those of the analysis, the clusters of `open_clusters`. `predicted` is the share
    of the pixels that are predicted as each class, float32 `[N, C]`.
    """
    number, targets = len(analysis), scores.targets
    label = clusters.label if clusters else np.full(number, -1, np.int32)
    explained = np.ones((number, len(targets)), bool)
    explained[:, : predicted.shape[1] - 1] = predicted[:, 1:] > 0
    if clusters:
        explained[:, -1] = label >= 0
    which = np.where(explained, np.arange(len(targets)), -1)
    # Images that are explained for the same targets follow each other, so that they share batches.
    order = np.lexsort(explained.T)

    def work(some: Analysis, chosen: np.ndarray) -> Iterator[dict[str, Any]]:
        batches = input_pipeline.evaluation_batches(some.examples, batch_size=some.batch_size)
        title = f'saliency, {analysis.split} at step {analysis.step}'
        with tqdm(total=len(some), desc=title, unit='img') as bar:
            for batch in batches:
                rows = chosen[batch['index']]
                found = scores.explain(
                    scores.scale(batch['image']), scores.target(rows, batch['label']), which[rows]
                )
                part = {
                    'scores': found.scores,
                    'gradient': [*_quantize(found.gradient, np.uint8)],
                    'layers': {layer: [*_quantize(found.maps[layer], np.int8)] for layer in LAYERS},
                    'channels': {layer: found.channels[layer][:, -1] for layer in LAYERS},
                }
                count = int((batch['index'] >= 0).sum())
                yield jax.tree.map(operator.itemgetter(slice(count)), part)
                bar.update(count)

    # Memory: the maps of all images exist once, and the channels of one batch at a time.
    kept: Any = None
    common, agreement = _Means(label), _Means(label)
    taken = 0
    for part in shards.stream(analysis, MAPS, work, order):
        rows = order[taken : taken + len(part['scores'])]
        taken += len(rows)
        for layer, channels in part.pop('channels').items() if clusters else ():
            shares = channels.astype(np.float64)
            shares /= np.abs(shares).sum(1, keepdims=True).clip(1e-30)
            common.add(layer, rows, shares)
            agreement.add(layer, rows, shares > 0)
        if kept is None:
            kept = jax.tree.map(lambda each: np.empty((number, *each.shape[1:]), each.dtype), part)
        jax.tree.map(lambda whole, piece, at=rows: whole.__setitem__(at, piece), kept, part)
    gradient, gradient_scale = kept['gradient']
    return SaliencyMaps(
        targets=targets,
        layers=LAYERS,
        score=np.where(explained, kept['scores'], np.float32(np.nan)),
        gradient=gradient,
        gradient_scale=gradient_scale,
        layer_maps={layer: kept['layers'][layer][0] for layer in LAYERS},
        layer_scale=np.stack([kept['layers'][layer][1] for layer in LAYERS], -1),
        predicted=predicted,
        cluster=label,
        other=clusters.other if clusters else label,
        common=common.means(),
        agreement=agreement.means(),
    )


def common_features(found: SaliencyMaps) -> tuple[CommonFeatures, ...]:
    """Per cluster its size and, per layer, the five channels that its members have most in common.

    Channels are ordered by mean share of the margin times the share of members that agree.
    """

    def channels(layer: str, k: int) -> tuple[Channel, ...]:
        mean, agreement = found.common[layer][k], found.agreement[layer][k]
        best = np.argsort(-mean * agreement, kind='stable')[:5].tolist()
        return tuple(Channel(c, float(mean[c]), float(agreement[c])) for c in best)

    sizes = np.bincount(found.cluster[found.cluster >= 0]).tolist()
    return tuple(
        CommonFeatures(k, size, {layer: channels(layer, k) for layer in found.common})
        for k, size in enumerate(sizes)
    )


def compute(
    analysis: Analysis,
    images: int = 0,
    exemplars: int = 6,
    steps: int = 16,
    samples: int = 8,
    categories: str = '',
) -> Saliency:
    """Computes the maps of every image unless they are up to date, and judges all methods.

    `options` describes the settings.

    Raises:
      ValueError: a number below 1, an unknown category, or an artifact is damaged.
    """
    if not images:
        most = occlusion.affordable(len(analysis)) if analysis.foreign else _IMAGES
        images = min(_IMAGES, most)
    numbers = {'images': images, 'exemplars': exemplars, 'steps': steps, 'samples': samples}
    if small := [name for name, value in numbers.items() if value < 1]:
        raise ValueError(f'--{small[0]} must be at least 1.')
    groups = pointing.category_groups(analysis, categories)
    predicted = artifacts.load(analysis, Predictions)
    if analysis.foreign:
        shards.only_first()  # as below
        return _occlude(analysis, predicted, images)
    clusters = open_clusters(analysis)
    scores = Scores(analysis, clusters, predicted)
    reads = [stage.name for stage in (*STAGE.reads, *(STAGE.reads_if_there if clusters else ()))]
    if not shards.agreed(lambda: artifacts.is_current(analysis, SaliencyMaps, reads, name=MAPS)):
        shares = _shares(predicted)
        # Not kept here: read again below, so that memory holds the maps once.
        artifacts.save(analysis, compute_maps(analysis, scores, clusters, shares), reads, name=MAPS)
    shards.only_first()  # The rest is for some images, and costs the same for any number of them.
    found = artifacts.load(analysis, SaliencyMaps, MAPS)
    result: dict[str, Any] = {}
    rows, label = examples.sample_rows(found.predicted, images)
    if len(rows):
        maps, result['classes'] = examples.explain(scores, rows, label, 'class', steps, samples)
        result['class_examples'] = {'rows': rows, 'label': label, 'maps': maps}
        if len(rows) > 1:  # It compares maps with those of another image.
            result['shuffled_weights'] = examples.shuffle_weights(analysis, scores, rows, label)
    if clusters:
        rows = clusters.exemplars(exemplars)
        label = clusters.label[rows].astype(np.int64)
        maps, result['clusters'] = examples.explain(scores, rows, label, 'cluster', steps, samples)
        membership = membership_maps.compute(analysis, clusters, rows, scores)
        result['cluster_examples'] = {'rows': rows, 'label': label, 'maps': maps}
        result['cluster_examples']['membership'] = membership
    return Saliency(
        methods=examples.METHODS,
        energy=pointing.measure(analysis, found, groups),
        common_features=common_features(found),
        **result,
    )


def _occlude(analysis: Analysis, predicted: Predictions, images: int) -> Saliency:
    """The maps of a model without gradients."""
    rows, label = examples.sample_rows(_shares(predicted), images)
    found, result = occlusion.compute(analysis, rows, label, predicted)
    artifacts.save(analysis, found, [stage.name for stage in STAGE.reads], name=MAPS)
    return result


STAGE = Stage(
    Saliency,
    make_parser,
    compute,
    tables.to_markdown,
    tables.draw,
    reads=(predictions.STAGE,),
    reads_if_there=(embeddings.STAGE, clusters_stage.STAGE),
    parts=(f'{MAPS}.json',),
    shared=True,
)
main = STAGE.main
