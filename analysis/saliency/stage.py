"""Shows which pixels and features drive the network, and whether the maps can be trusted.

    python -m analysis.saliency --workdir runs/person_car --split val

Every image gets plain gradients and layer-wise maps for each class, for the loss and, if
analysis.clusters was run, for its cluster membership (`saliency.scores`). SmoothGrad, integrated
gradients and Grad-CAM are computed for a fixed sample of images with classes and for exemplars of
the clusters. All methods are judged on these: by deletion and insertion against random, centre and
edge maps, by shuffled weights, and by instances of categories.

Figures are a sheet per class and per cluster, an overview of the clusters and the curves.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from analysis.clusters import stage as clusters_stage
from analysis.clusters.schema import Clusters as ClustersResult
from analysis.embeddings import stage as embeddings
from analysis.embeddings.schema import Embeddings
from analysis.saliency import pointing, tables
from analysis.saliency.examples import METHODS, Options, add_arguments, judge
from analysis.saliency.methods import attribute, pool, strength
from analysis.saliency.schema import MAPS, Channel, CommonFeatures, Saliency, SaliencyMaps
from analysis.saliency.scores import Clusters, Scores, open_clusters
from analysis.stage import artifacts
from analysis.stage.contract import Stage
from analysis.stage.layers import GRID
from analysis.stage.run import Analysis
from segmentation.data import input_pipeline
from segmentation.models.unet import scale_images

LAYERS = (
    'encoder/block_3_expand_relu',
    'encoder/block_6_expand_relu',
    'encoder/block_13_expand_relu',
    'encoder/block_16_project',
    'decoder/up_2_relu',
    'decoder/up_4_relu',
)


def _make_attribution(scores: Scores, input_range: str, grid: int) -> tuple[Any, Any]:
    """Jitted functions for maps of a batch; only what is kept leaves the device."""

    def reduced(found):
        maps = {layer: pool(each, min(grid, each.shape[-1])) for layer, each in found.maps.items()}
        return found.scores, pool(strength(found.gradient), grid), maps, found.channels

    @jax.jit
    def pixels(variables, images, label):
        scaled = scale_images(images, input_range)
        found = attribute(lambda x: scores.pixel_scores(variables, x, label), scaled, LAYERS)
        logits = scores.logits(variables, scaled)  # the same program as before, so done once
        counts = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1]).mean((1, 2))
        return counts, *reduced(found)[:3]

    @jax.jit
    def cluster(variables, images, target):
        scaled = scale_images(images, input_range)
        return reduced(
            attribute(lambda x: scores.cluster_score(variables, x, target)[:, None], scaled, LAYERS)
        )

    return pixels, cluster


def _quantise(maps: np.ndarray, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers `[B, h, w]` and the largest absolute value of each map `[B]`."""
    scale = np.abs(maps).max((1, 2))
    share = maps / np.where(scale > 0, scale, 1)[:, None, None]
    return np.round(share * np.iinfo(dtype).max).astype(dtype), scale


def compute_maps(analysis: Analysis, clusters: Clusters | None) -> SaliencyMaps:
    """Plain gradients and layer maps of every image.

    Args:
      analysis: whose images.
      clusters: of `open_clusters`.
    """
    run, examples = analysis.run, analysis.examples
    grid = min(GRID, run.config.data.image_size)
    number, classes = len(examples), len(analysis.class_names)
    targets = [*run.class_names[1:], 'loss', *(['cluster'] if clusters else [])]
    pixels, cluster = _make_attribution(
        Scores(run.model, clusters), run.config.data.input_range, grid
    )
    arrays = {
        'score': np.full((number, len(targets)), np.nan, np.float32),
        'gradient': np.zeros((number, len(targets), grid, grid), np.uint8),
        'gradient_scale': np.zeros((number, len(targets)), np.float32),
        'layer_scale': np.zeros((number, len(targets), len(LAYERS)), np.float32),
        'predicted': np.zeros((number, classes), np.float32),
    }
    layer_maps: dict[str, np.ndarray] = {}
    common: dict[str, np.ndarray] = {}
    positive: dict[str, np.ndarray] = {}

    def keep(
        rows: np.ndarray, t: int, score: np.ndarray, gradient: np.ndarray,
        maps: dict[str, np.ndarray],
    ) -> None:  # fmt: skip
        arrays['score'][rows, t] = score
        arrays['gradient'][rows, t], arrays['gradient_scale'][rows, t] = _quantise(
            gradient, np.uint8
        )
        for i, layer in enumerate(LAYERS):
            values, arrays['layer_scale'][rows, t, i] = _quantise(maps[layer], np.int8)
            if layer not in layer_maps:
                shape = number, len(targets), *values.shape[1:]
                layer_maps[layer] = np.zeros(shape, np.int8)
            layer_maps[layer][rows, t] = values

    batches = input_pipeline.evaluation_batches(examples, batch_size=run.config.eval_batch_size)
    variables = jax.device_put(run.variables)
    description = f'saliency, {analysis.split} at step {run.step}'
    with tqdm(total=number, desc=description, unit='img') as bar:
        for batch in batches:
            rows = batch['index'][batch['index'] >= 0]
            count = len(rows)
            found = jax.device_get(pixels(variables, batch['image'], batch['label']))
            predicted, score, gradient, maps = found
            arrays['predicted'][rows] = predicted[:count]
            for t in range(classes):
                there = predicted[:count, t + 1] > 0 if t + 1 < classes else np.ones(count, bool)
                keep(
                    rows,
                    t,
                    np.where(there, score[:count, t], np.nan),
                    gradient[t, :count],
                    {layer: each[t, :count] for layer, each in maps.items()},
                )
            if clusters:
                target = clusters.target(batch['index'])
                score, gradient, maps, channels = jax.device_get(
                    cluster(variables, batch['image'], target)
                )
                label = clusters.label[rows]
                member = label >= 0
                keep(
                    rows[member],
                    len(targets) - 1,
                    score[:count, 0][member],
                    gradient[0, :count][member],
                    {layer: each[0, :count][member] for layer, each in maps.items()},
                )
                for layer, each in channels.items():
                    shares = each[0, :count][member].astype(np.float64)
                    shares /= np.abs(shares).sum(1, keepdims=True).clip(1e-30)
                    for total, each in ((common, shares), (positive, shares > 0)):
                        empty = np.zeros((len(clusters.centroids), shares.shape[1]))
                        np.add.at(total.setdefault(layer, empty), label[member], each)
            bar.update(count)
    nobody = np.full(number, -1, np.int32)
    if clusters:
        members = clusters.label[clusters.label >= 0]
        sizes = np.bincount(members, minlength=len(clusters.centroids)).clip(1)[:, None]
        common, positive = (
            {layer: (total[layer] / sizes).astype(np.float32) for layer in LAYERS}
            for total in (common, positive)
        )
    return SaliencyMaps(
        targets=tuple(targets),
        layers=LAYERS,
        layer_maps=layer_maps,
        cluster=clusters.label if clusters else nobody,
        other=clusters.other if clusters else nobody,
        common=common,
        agreement=positive,
        **arrays,
    )


def common_features(found: SaliencyMaps, number: int = 5) -> tuple[CommonFeatures, ...]:
    """Per cluster its size and, per layer, the channels that its members have in common.

    Channels are ordered by mean share of the margin times the share of members that agree.
    """
    result = []
    for k in range(len(next(iter(found.common.values()), ()))):
        layers = {}
        for layer in found.layers:
            mean, agreement = found.common[layer][k], found.agreement[layer][k]
            best = np.argsort(-mean * agreement, kind='stable')[:number]
            layers[layer] = tuple(
                Channel(c, float(mean[c]), float(agreement[c])) for c in best.tolist()
            )
        result.append(CommonFeatures(k, int((found.cluster == k).sum()), layers))
    return tuple(result)


def maps(analysis: Analysis, clusters: Clusters | None) -> SaliencyMaps:
    """The maps of every image: read if they are up to date, else computed and written.

    Raises:
      ValueError: an artifact is damaged or of other images.
    """
    reads = (Embeddings.NAME, ClustersResult.NAME) if clusters else ()
    if not artifacts.is_current(analysis, SaliencyMaps, reads, name=MAPS):
        artifacts.save(analysis, compute_maps(analysis, clusters), reads, name=MAPS)
    return artifacts.load(analysis, SaliencyMaps, MAPS)


def compute(
    analysis: Analysis,
    images: int = 128,
    exemplars: int = 6,
    steps: int = 32,
    samples: int = 12,
    categories: str = '',
) -> Saliency:
    """Computes the maps of every image, and judges all methods on examples.

    Args:
      analysis: whose images.
      images: sampled for classes.
      exemplars: of each cluster.
      steps: of integrated gradients.
      samples: noisy copies of SmoothGrad.
      categories: names with commas; maps are judged by their instances. Default: those of the
        classes, and `pointing.CATEGORIES`.

    Raises:
      ValueError: a number below 1, or an unknown category.
    """
    options = Options(images, exemplars, steps, samples)
    for name, value in dataclasses.asdict(options).items():
        if value < 1:
            raise ValueError(f'--{name} must be at least 1.')
    groups = pointing.category_groups(analysis, categories)
    clusters = open_clusters(analysis)
    found = maps(analysis, clusters)
    judged = judge(analysis, clusters, found.predicted, options)
    return Saliency(
        methods=METHODS,
        energy=pointing.measure(analysis, found, groups),
        common_features=common_features(found),
        **judged,
    )


STAGE = Stage(
    Saliency,
    __doc__,
    compute,
    tables.to_markdown,
    tables.draw,
    reads_if_there=(embeddings.STAGE, clusters_stage.STAGE),
    add_arguments=add_arguments,
)


def main(argv: list[str] | None = None) -> int:
    return STAGE.main(argv)
