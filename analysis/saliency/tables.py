"""Tables and figures of the saliency analysis.

Heat-maps are drawn over the gray image. Maps that are never negative go from dark to yellow; signed
ones are orange for evidence for the score and purple for evidence against it.
"""

import pathlib
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from analysis.clusters.schema import Clusters
from analysis.figures import palette
from analysis.predictions.schema import Predictions
from analysis.saliency.faithfulness import BASELINES, FRACTIONS
from analysis.saliency.schema import (
    METHODS_UNSIGNED,
    OCCLUSION,
    Examples,
    Explained,
    Mean,
    Saliency,
    ShuffledWeights,
)
from analysis.stage import artifacts
from analysis.stage.layers import DEEP, FINE
from analysis.stage.run import Analysis
from segmentation import markdown, overlays

_SHEET_ROWS = 8
_TILE, _GAP = 128, 4  # pixels, the tile's at least
_FOR, _AGAINST = (np.array(palette.rgb(color)) / 255 for color in (palette.FOR, palette.AGAINST))
_COLORS = (
    palette.BLUE, palette.SKY, palette.GREEN, palette.VERMILLION, palette.ORANGE, palette.PURPLE,
)  # fmt: skip
# Lines of maps that do not depend on the network.
_BASELINES: dict[str, dict[str, Any]] = {
    name: {'color': '0.35', 'linewidth': 1.3, 'linestyle': style}
    for name, style in (('random', ':'), ('center', '--'), ('edges', '-.'), ('prediction', '-'))
}


def heat(image: np.ndarray, saliency: np.ndarray, signed: bool) -> np.ndarray:
    """A map `[G, G]` over an image, uint8 `[S, S, 3]`; negative cells show only if it is signed."""
    cells = Image.fromarray(np.ascontiguousarray(saliency, np.float32))
    fine = np.asarray(cells.resize(image.shape[1::-1], Image.Resampling.BICUBIC))
    # One cell that stands out would leave the rest dark.
    share = (fine / max(np.percentile(np.abs(fine), 99), 1e-12)).clip(-1, 1)[..., None]
    gray = image.mean(-1, keepdims=True) / 255 * 0.75
    if signed:
        colors, opacity = np.where(share > 0, _FOR, _AGAINST), 0.9 * np.abs(share)
    else:
        colors = matplotlib.colormaps['inferno'](0.3 + 0.65 * share[..., 0].clip(0))[..., :3]
        opacity = 0.9 * share.clip(0)
    return (255 * (opacity * colors + (1 - opacity) * gray)).round().astype(np.uint8)


def _sheet(
    path: pathlib.Path,
    title: str,
    rows: Sequence[Sequence[np.ndarray]],
    headings: Sequence[str],
    row_names: Sequence[str],
) -> pathlib.Path:
    """A grid of tiles `[S, S, 3]` of one size, with names above the columns and beside the rows."""
    zoom = -(-_TILE // rows[0][0].shape[0])
    side = zoom * rows[0][0].shape[0] + _GAP
    canvas = np.full((len(rows) * side, len(rows[0]) * side, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            large = tile.repeat(zoom, 0).repeat(zoom, 1)
            canvas[i * side : (i + 1) * side - _GAP, j * side : (j + 1) * side - _GAP] = large
    height, width = canvas.shape[:2]
    left, top = 110, 90
    whole = width + left, height + top
    figure = Figure((whole[0] / 100, whole[1] / 100), dpi=100)
    axes = figure.add_axes((left / whole[0], 0, width / whole[0], height / whole[1]))
    axes.imshow(canvas, interpolation='nearest')
    axes.axis('off')
    for j, heading in enumerate(headings):
        axes.text((j + 0.5) * side, -6, heading, ha='center', va='bottom', fontsize=8)
    for i, name in enumerate(row_names):
        axes.text(-6, (i + 0.5) * side, name, ha='right', va='center', fontsize=8, parse_math=False)
    figure.text(0.01, 1 - 10 / whole[1], title, va='top', fontsize=11, parse_math=False)
    figure.savefig(path)
    return path


def draw(analysis: Analysis, result: Saliency) -> list[pathlib.Path]:
    """Writes all figures into the folder of the analysis, and removes older ones."""
    for old in analysis.folder.glob('saliency-*.png'):
        old.unlink()
    paths = []
    if made := result.examples('class'):
        for k in np.unique(made.label).tolist():
            name = analysis.class_names[k]
            # Different names can become the same.
            file = f'saliency-class-{k}-{re.sub("[^A-Za-z0-9_-]+", "-", name)}.png'
            title = f'Evidence for {name} where the network predicts it'
            chosen = np.flatnonzero(made.label == k)[:_SHEET_ROWS]
            paths.append(_examples_sheet(analysis, result.methods, made, chosen, file, title))
    if made := result.examples('cluster'):
        clusters = artifacts.load(analysis, Clusters)
        for k in np.unique(made.label).tolist():
            title = (
                f'Evidence for membership of the exemplars of cluster {k} '
                f'({clusters.clusters[k].size} images): {clusters.names[k]}'
            )
            file, chosen = f'saliency-cluster-{k}.png', np.flatnonzero(made.label == k)
            paths.append(_examples_sheet(analysis, result.methods, made, chosen, file, title))
        paths.append(_clusters_overview(analysis, made, clusters))
    if result.classes or result.clusters:
        paths.append(_curves(analysis.folder / 'saliency-judgement.png', result))
    return paths


def _examples_sheet(
    analysis: Analysis,
    methods: tuple[str, ...],
    made: Examples,
    chosen: np.ndarray,
    file: str,
    title: str,
) -> pathlib.Path:
    rows, row_names = [], []
    predicted = artifacts.load(analysis, Predictions)
    for row, maps in zip(made.rows[chosen].tolist(), made.maps[chosen], strict=True):
        example = analysis.examples[row]
        image, labels = example['image'], (example['label'], predicted.class_map(row))
        signed = (name not in METHODS_UNSIGNED for name in methods)
        heats = [heat(image, *each) for each in zip(maps, signed, strict=True)]
        rows.append([image, *(overlays.overlay(image, label) for label in labels), *heats])
        row_names.append(str(example['image_id']))
    shown = [name.replace(' ', '\n', 1).replace('/', '\n') for name in methods]
    headings = ['image', 'ground truth', 'prediction', *shown]
    return _sheet(analysis.folder / file, title, rows, headings, row_names)


def _clusters_overview(analysis: Analysis, made: Examples, clusters: Clusters) -> pathlib.Path:
    """Two lines per cluster: exemplars, and the evidence for their membership."""
    assert made.membership is not None  # exemplars have it
    number = np.bincount(made.label).max()
    rows, row_names = [], []
    for k in np.unique(made.label).tolist():
        chosen = np.flatnonzero(made.label == k)
        images = [analysis.examples[int(row)]['image'] for row in made.rows[chosen]]
        missing = [np.full_like(images[0], 255)] * (number - len(images))
        heats = [heat(*each, True) for each in zip(images, made.membership[chosen], strict=True)]
        rows += [[*images, *missing], [*heats, *missing]]
        row_names += [f'cluster {k}', f'{clusters.clusters[k].size} images']
    headings = [f'exemplar {i + 1}' for i in range(number)]
    title = 'Cluster membership, compared with the average image'
    return _sheet(analysis.folder / 'saliency-clusters.png', title, rows, headings, row_names)


def _explained(result: Saliency) -> dict[str, Explained]:
    kinds = {'class': result.classes, 'cluster': result.clusters}
    return {kind: each for kind, each in kinds.items() if each}


def _curves(path: pathlib.Path, result: Saliency) -> pathlib.Path:
    """Deletion, insertion and shuffled weights."""
    explained = _explained(result)
    figure = Figure((15, 4.3 * len(explained)), layout='constrained')
    grid = figure.subplots(len(explained), 3, squeeze=False)
    units = {'class': 'mean probability of the class', 'cluster': 'margin to the nearest other'}
    for row, (kind, judged) in zip(grid, explained.items(), strict=True):
        row[2].axis('off')
        for axes, how, better, change in (
            (row[0], 'deletion', 'lower', 'blurred'),
            (row[1], 'insertion', 'higher', 'put back'),
        ):
            colors = iter(_COLORS)
            for method, each in judged.methods.items():
                style = _BASELINES.get(method) or {'color': next(colors), 'linewidth': 1.8}
                axes.plot([0, *FRACTIONS, 1], getattr(each, how).curve, label=method, **style)
            axes.set_title(f'{kind}: {how} ({better} is better)', fontsize=10)
            axes.set_xlabel(f'share of cells {change}')
            axes.set_ylabel(units[kind])
            axes.spines[['top', 'right']].set_visible(False)
    if result.shuffled_weights:
        _draw_shuffled_weights(grid[0, 2], result.shuffled_weights)
    handles = grid[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc='outside lower center', ncols=4, fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)
    return path


def _draw_shuffled_weights(axes: Axes, shuffled: ShuffledWeights) -> None:
    axes.axis('on')
    for color, (method, values) in zip(_COLORS[::2], shuffled.methods.items(), strict=False):
        axes.plot(values, color=color, marker='.', label=method)
        axes.axhline(shuffled.between_images[method], color=color, linestyle=':', linewidth=1)
    names = [block.split('/')[1] for block in shuffled.blocks]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_title('weights shuffled from the end on; dotted: other images', fontsize=10)
    axes.set_ylabel('rank correlation with the map')
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(fontsize=7, frameon=False)


def _number(mean: Mean | None) -> str:
    return markdown.number(mean.mean, mean.interval) if mean else ''


_EXPLANATIONS = {
    'class': 'Areas are of the mean probability of the class, over the pixels that are predicted '
    'as the class in the whole image.',
    'cluster': 'Areas are of the margin between the squared distances to the nearest other '
    "centroid and the cluster's own.",
}
_MISSING = {
    'class': 'The network predicts no foreground class: none is explained.',
    'cluster': 'No clusters: run analysis.clusters first.',
}


def to_markdown(result: Saliency) -> str:
    """The tables that the command prints."""
    if result.methods == (OCCLUSION,):
        made = result.examples('class')
        return (
            f'Occlusion maps of {len(made.rows) if made else 0} images: the probability of a class '
            'that is lost when a part of the image is blurred. Based on perturbations, as the '
            'model has no gradients; their faithfulness is not measured.'
        )
    explained = _explained(result)
    parts = [text for kind, text in _MISSING.items() if kind not in explained]
    for kind, judged in explained.items():
        parts.append(
            f'**{kind.capitalize()}**, {judged.images} images. {_EXPLANATIONS[kind]} Gain: how '
            'much better than the baseline map on the same images, with 95 % bootstrap '
            'confidence intervals over images. Integrated gradients miss completeness by '
            f'{100 * judged.completeness_error:.1f} %.'
        )
        for how in ('deletion', 'insertion'):
            header = (how, 'area', *(f'gain over {name}' for name in BASELINES))
            found = {method: getattr(each, how) for method, each in judged.methods.items()}
            rows = [
                (method, *map(_number, (each.area, *map(each.gain_over.get, BASELINES))))
                for method, each in found.items()
            ]
            parts.append(markdown.table(header, rows))
    if shuffled := result.shuffled_weights:
        # Six of the blocks, evenly.
        shown = np.unique(np.linspace(0, len(shuffled.blocks) - 1, 6).round().astype(int)).tolist()
        parts.append(
            'Rank correlation with the maps of a network whose weights are shuffled from the end '
            f'up to a block ({shuffled.images} images); last: with the map of another image.'
        )
        header = ('map', *(shuffled.blocks[i].split('/')[1] for i in shown), 'other image')
        rows = [
            (method, *(f'{x:.2f}' for x in (*(values[i] for i in shown), between)))
            for (method, values), between in zip(
                shuffled.methods.items(), shuffled.between_images.values(), strict=True
            )
        ]
        parts.append(markdown.table(header, rows))
    if result.energy:
        parts.append(
            'Energy inside instances; lift: as a multiple of their share of the image; hits: the '
            'highest cell is in or near an instance.'
        )
        header = ('instances', 'score', 'map', 'images', 'inside', 'lift', 'hits')
        rows = [
            (
                row.group, row.target, row.map, str(row.images), _number(row.inside),
                f'{row.lift:.2f}', markdown.number(row.hits, spec='.2f'),
            )
            for row in result.energy
        ]  # fmt: skip
        parts.append(markdown.table(header, rows))
    if result.common_features:
        parts.append(
            'Features that the members of a cluster have in common: channel (mean share of the '
            'margin in its layer, share of members in which it is evidence for the cluster).'
        )
        rows = []
        for cluster in result.common_features:
            for layer in (DEEP, FINE):
                channels = [
                    f'{c.channel} ({100 * c.share:.1f} %, {100 * c.agreement:.0f} %)'
                    for c in cluster.layers[layer][:3]
                ]
                rows.append((str(cluster.cluster), str(cluster.size), layer, ', '.join(channels)))
        parts.append(markdown.table(('cluster', 'images', 'layer', 'channels'), rows))
    return '\n\n'.join(parts)
