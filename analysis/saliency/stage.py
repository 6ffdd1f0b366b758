"""Shows which pixels and features the network goes by, and asks whether the maps can be believed.

    python -m analysis.saliency --workdir runs/person_car --split val

Every image gets plain gradients and layer-wise maps for each class, for the loss and, where
analysis.clusters was run, for its membership of its cluster (scores: analysis/saliency/scores.py).
SmoothGrad, integrated gradients and Grad-CAM are made for a fixed sample of images with classes
and for exemplars of the clusters, and all methods are judged on them: deletion and insertion
against random, centre and edge maps, shuffled weights, and instances of categories.

Writes into the run's `analysis/<split>-<step>/` (what is there and fits is not made again):

saliency.npz (kind 'saliency', version 1), with G = 32 (or the image's side, if less):
    targets          [T] names: the classes but background, 'loss', then maybe 'cluster'
    layers           [L] names, such as 'encoder/block_6_expand_relu'
    score            float32 [N, T], NaN where there is none: class not predicted, no cluster
    gradient         uint8 [N, T, G, G], mean over a cell of the length of ∂score/∂pixel, as a
                     share of its maximum in steps of 1/255
    gradient_scale   float32 [N, T], that maximum, per unit of the network's input
    layer_<i>        int8 [N, T, h, w], Σ over channels of A·∂score/∂A at layer i, as a share of its
                     largest absolute value in steps of 1/127; positive speaks for the score
    layer_scale      float32 [N, T, L], that value
    predicted        float32 [N, C], share of pixels that the network gives to each class
    cluster, other   int32 [N], the clusters compared (K of them); -1 in both without clusters
    common_<i>       float32 [K, C_i], mean over a cluster's members of each channel's Σ over places
                     of A·∂margin/∂A, as a share of the image's sum of absolute values in layer i
    agreement_<i>    float32 [K, C_i], share of the members in which it is positive

saliency_examples.npz   see analysis/saliency/examples.py
saliency.json           everything that is printed
saliency-*.png          a sheet per class and per cluster, an overview of the clusters (with the
                        maps of analysis/saliency/membership_maps.py), the curves
"""

import argparse

import jax
import numpy as np
from tqdm import tqdm

from analysis.saliency import examples as saliency_examples
from analysis.saliency import tables as saliency_tables
from analysis.saliency.methods import attribute, pool, strength
from analysis.saliency.scores import Clusters, Scores, open_clusters
from analysis.stage import old_artifacts as artifacts
from analysis.stage.command import make_parser, run_command
from analysis.stage.layers import GRID
from analysis.stage.run import Analysis
from segmentation.data import input_pipeline
from segmentation.models.unet import scale_images

VERSION = 1
LAYERS = (
    'encoder/block_3_expand_relu',
    'encoder/block_6_expand_relu',
    'encoder/block_13_expand_relu',
    'encoder/block_16_project',
    'decoder/up_2_relu',
    'decoder/up_4_relu',
)


def load(analysis: Analysis) -> dict[str, np.ndarray]:
    """The maps of every image, see the module's docstring.

    Raises:
      ValueError: they are missing, damaged, or do not fit.
    """
    return artifacts.load_arrays(analysis, 'saliency', VERSION)


def _make_attribution(scores: Scores, input_range: str, grid: int):
    """Jitted: maps of a batch, everything but the batch's T × what is kept stays on the device."""

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


def compute(
    analysis: Analysis, clusters: Clusters | None, progress: bool = True
) -> dict[str, np.ndarray]:
    """Plain gradients and layer maps of every image; the arrays of saliency.npz.

    Args:
      analysis: whose images.
      clusters: of `open_clusters`.
      progress: show a bar.
    """
    run, examples = analysis.run, analysis.examples
    grid = min(GRID, run.config.data.image_size)
    number, classes = len(examples), len(run.class_names)
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
    common, positive = {}, {}

    def keep(rows, t, score, gradient, maps):
        arrays['score'][rows, t] = score
        arrays['gradient'][rows, t], arrays['gradient_scale'][rows, t] = _quantise(
            gradient, np.uint8
        )
        for i, layer in enumerate(LAYERS):
            values, arrays['layer_scale'][rows, t, i] = _quantise(maps[layer], np.int8)
            name = f'layer_{i}'
            if name not in arrays:
                shape = number, len(targets), *values.shape[1:]
                arrays[name] = np.zeros(shape, np.int8)
            arrays[name][rows, t] = values

    batches = input_pipeline.evaluation_batches(examples, batch_size=run.config.eval_batch_size)
    variables = jax.device_put(run.variables)
    description = f'saliency, {analysis.split} at step {run.step}'
    with tqdm(total=number, desc=description, unit='img', disable=not progress) as bar:
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
    arrays |= {
        'targets': np.array(targets),
        'layers': np.array(LAYERS),
        'cluster': clusters.label if clusters else nobody,
        'other': clusters.other if clusters else nobody,
    }
    if clusters:
        sizes = np.bincount(
            clusters.label[clusters.label >= 0], minlength=len(clusters.centroids)
        ).clip(1)[:, None]
        for i, layer in enumerate(LAYERS):
            arrays[f'common_{i}'] = (common[layer] / sizes).astype(np.float32)
            arrays[f'agreement_{i}'] = (positive[layer] / sizes).astype(np.float32)
    return arrays


def compute_or_load(
    analysis: Analysis, clusters: Clusters | None, force: bool = False
) -> dict[str, np.ndarray]:
    """The maps as written before, or computed and written now.

    They are computed again if they are of other clusters than there are now.

    Raises:
      ValueError: a file is there that is damaged or of other images, and `force` is not given.
    """
    origin = artifacts.origin(analysis, *(('embeddings.npz', 'clusters.npz') if clusters else ()))
    if not force and artifacts.is_current(analysis, 'saliency.npz', VERSION, origin):
        return load(analysis)
    arrays = compute(analysis, clusters)
    artifacts.save_arrays(analysis, 'saliency', VERSION, origin, **arrays)
    return arrays


def common_features(arrays: dict[str, np.ndarray], number: int = 5) -> list[dict]:
    """For JSON: per cluster its size and, per layer, the channels its members have in common.

    Channels are ordered by mean share of the margin times the share of members that agree.
    """
    label = arrays['cluster']
    result = []
    for k in range(len(arrays.get('common_0', ()))):
        layers = {}
        for i, layer in enumerate(arrays['layers'].tolist()):
            mean, agreement = arrays[f'common_{i}'][k], arrays[f'agreement_{i}'][k]
            best = np.argsort(-mean * agreement, kind='stable')[:number]
            layers[layer] = [
                {'channel': c, 'share': float(mean[c]), 'agreement': float(agreement[c])}
                for c in best.tolist()
            ]
        result.append({'cluster': k, 'size': int((label == k).sum()), 'layers': layers})
    return result


def _run(arguments: argparse.Namespace) -> dict:
    analysis = artifacts.open_chosen(arguments)
    clusters = open_clusters(analysis)
    arrays = compute_or_load(analysis, clusters, arguments.force)
    result = saliency_examples.judge_or_load(analysis, clusters, arrays, arguments)
    result['clusters'] = common_features(arrays)
    figures = saliency_tables.draw(analysis, arrays, result)
    text = saliency_tables.to_markdown(result, [path.name for path in figures])
    print(f'{analysis.folder}:', text, sep='\n\n')
    return result


def main(argv: list[str] | None = None) -> int:
    parser = make_parser('saliency', __doc__)
    saliency_examples.add_arguments(parser)
    parser.add_argument('--force', action='store_true', help='compute everything again')
    return run_command(parser.parse_args(argv), _run)
