"""Tables and figures of the saliency analysis.

Heat-maps are drawn over the gray image. Maps that are never negative go from dark to yellow; signed
ones are orange for evidence for the score and purple for evidence against it.
"""

import pathlib
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from analysis.clusters.schema import Clusters
from analysis.figures import palette
from analysis.saliency import membership_maps
from analysis.saliency.faithfulness import BASELINES, FRACTIONS
from analysis.saliency.schema import METHODS_UNSIGNED, Examples, Perturbation, Saliency
from analysis.saliency.scores import open_clusters
from analysis.stage import artifacts
from analysis.stage.layers import DEEP, FINE
from analysis.stage.run import Analysis
from segmentation import markdown, overlays

_SHEET_ROWS = 8
_TILE = 128  # pixels, at least
_GAP = 4
_FOR, _AGAINST = (np.array(palette.rgb(color)) / 255 for color in (palette.FOR, palette.AGAINST))
_COLORS = (
    palette.BLUE, palette.SKY, palette.GREEN, palette.VERMILLION, palette.ORANGE, palette.PURPLE,
)  # fmt: skip
# Of maps that do not depend on the network.
_DASHES = {'random': ':', 'centre': '--', 'edges': '-.', 'prediction': '-'}


def heat(image: np.ndarray, saliency: np.ndarray, signed: bool) -> np.ndarray:
    """A map over a picture.

    Args:
      image: uint8 `[S, S, 3]`.
      saliency: `[G, G]`.
      signed: whether what is negative means something; otherwise nothing is.

    Returns:
      uint8 `[S, S, 3]`.
    """
    picture = Image.fromarray(np.ascontiguousarray(saliency, np.float32))
    fine = np.asarray(picture.resize(image.shape[1::-1], Image.Resampling.BICUBIC))
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
    figure = Figure(((width + left) / 100, (height + top) / 100), dpi=100)
    axes = figure.add_axes(
        (left / (width + left), 0, width / (width + left), height / (height + top))
    )
    axes.imshow(canvas, interpolation='nearest')
    axes.axis('off')
    for j, heading in enumerate(headings):
        axes.text((j + 0.5) * side, -6, heading, ha='center', va='bottom', fontsize=8)
    for i, name in enumerate(row_names):
        axes.text(-6, (i + 0.5) * side, name, ha='right', va='center', fontsize=8, parse_math=False)
    figure.text(0.01, 1 - 10 / (height + top), title, va='top', fontsize=11, parse_math=False)
    figure.savefig(path)
    return path


def _name_file(text: str) -> str:
    return re.sub(r'[^A-Za-z0-9_-]+', '-', text)


def draw(analysis: Analysis, result: Saliency) -> list[pathlib.Path]:
    """Writes all figures into the folder of the analysis, and removes older ones."""
    for old in analysis.folder.glob('saliency-*.png'):
        old.unlink()
    names = analysis.class_names
    paths = []
    if made := result.examples('class'):
        for k in np.unique(made.label).tolist():
            chosen = np.flatnonzero(made.label == k)[:_SHEET_ROWS]
            file = f'saliency-class-{_name_file(names[k])}.png'
            title = f'Evidence for {names[k]} where the network predicts it'
            paths.append(_examples_sheet(analysis, result.methods, made, chosen, file, title))
    if made := result.examples('cluster'):
        clusters = artifacts.load(analysis, Clusters)
        for k in np.unique(made.label).tolist():
            chosen = np.flatnonzero(made.label == k)
            title = (
                f'Evidence for membership of the exemplars of cluster {k} '
                f'({(clusters.label == k).sum()} images): {clusters.names[k]}'
            )
            file = f'saliency-cluster-{k}.png'
            paths.append(_examples_sheet(analysis, result.methods, made, chosen, file, title))
        paths.append(_clusters_overview(analysis, made, clusters.label))
    if result.classes:
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
    for i in chosen:
        example = analysis.examples[int(made.rows[i])]
        image = example['image']
        rows.append(
            [
                image,
                overlays.overlay(image, example['label']),
                overlays.overlay(image, made.prediction[i]),
                *(
                    heat(image, each.astype(np.float32), name not in METHODS_UNSIGNED)
                    for name, each in zip(methods, made.maps[i], strict=True)
                ),
            ]
        )
        row_names.append(str(example['image_id']))
    shown = [name.replace(' ', '\n', 1).replace('/', '\n') for name in methods]
    headings = ['image', 'ground truth', 'prediction', *shown]
    return _sheet(analysis.folder / file, title, rows, headings, row_names)


def _clusters_overview(analysis: Analysis, made: Examples, label: np.ndarray) -> pathlib.Path:
    """Two lines per cluster: exemplars, and the evidence for their membership."""
    clusters = open_clusters(analysis)
    assert clusters is not None  # there are examples of them
    maps = membership_maps.compute(analysis, clusters, made.rows)
    number = np.bincount(made.label).max()
    rows, row_names = [], []
    for k in np.unique(made.label).tolist():
        chosen = np.flatnonzero(made.label == k)
        pictures = [analysis.examples[int(row)]['image'] for row in made.rows[chosen]]
        missing = [np.full_like(pictures[0], 255)] * (number - len(pictures))
        heats = [heat(*each, True) for each in zip(pictures, maps[chosen], strict=True)]
        rows += [[*pictures, *missing], [*heats, *missing]]
        row_names += [f'cluster {k}', f'{(label == k).sum()} images']
    headings = [f'exemplar {i + 1}' for i in range(number)]
    title = 'Cluster membership, compared with the average image'
    return _sheet(analysis.folder / 'saliency-clusters.png', title, rows, headings, row_names)


def _curves(path: pathlib.Path, result: Saliency) -> pathlib.Path:
    """Deletion, insertion and shuffled weights."""
    kinds = {'class': result.classes, 'cluster': result.clusters}
    explained = {kind: each for kind, each in kinds.items() if each}
    figure = Figure((15, 4.3 * len(explained)), layout='constrained')
    grid = figure.subplots(len(explained), 3, squeeze=False)
    shares = [0, *FRACTIONS, 1]
    units = {'class': 'mean probability of the class', 'cluster': 'margin to the nearest other'}
    for row, (kind, judged) in zip(grid, explained.items(), strict=True):
        for axes, how in zip(row, ('deletion', 'insertion'), strict=False):
            colors = iter(_COLORS)
            for method, each in judged.methods.items():
                known = method not in _DASHES
                axes.plot(
                    shares,
                    getattr(each, how).curve,
                    color=next(colors) if known else '0.35',
                    linestyle='-' if known else _DASHES[method],
                    linewidth=1.8 if known else 1.3,
                    label=method,
                )
            better = 'lower' if how == 'deletion' else 'higher'
            axes.set_title(f'{kind}: {how} ({better} is better)', fontsize=10)
            axes.set_xlabel(f'share of cells {"blurred" if how == "deletion" else "put back"}')
            axes.set_ylabel(units[kind])
            axes.spines[['top', 'right']].set_visible(False)
    for row in grid[1:]:
        row[2].axis('off')
    axes, shuffled = grid[0, 2], result.shuffled_weights
    assert shuffled is not None  # classes were explained
    for color, (method, values) in zip(_COLORS[::2], shuffled.methods.items(), strict=False):
        axes.plot(values, color=color, marker='.', label=method)
        axes.axhline(shuffled.between_images[method], color=color, linestyle=':', linewidth=1)
    axes.set_xticks(range(len(shuffled.blocks)))
    axes.set_xticklabels(
        [block.split('/')[1] for block in shuffled.blocks], rotation=90, fontsize=7
    )
    axes.set_title('weights shuffled from the end on; dotted: other images', fontsize=10)
    axes.set_ylabel('rank correlation with the map')
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(fontsize=7, frameon=False)
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(),
        loc='outside lower center',
        ncols=4,
        fontsize=8,
        frameon=False,
    )
    figure.savefig(path, dpi=110)
    return path


def to_markdown(result: Saliency) -> str:
    """Everything for people."""
    parts = []
    for kind, judged, missing, explanation in (
        (
            'Class', result.classes, 'The network predicts no foreground class: none is explained.',
            'Areas are of the mean probability of the class, over the pixels that are predicted as '
            'the class in the whole image.',
        ),
        (
            'Cluster', result.clusters, 'No clusters: run analysis.clusters first.',
            'Areas are of the margin between the squared distances to the nearest other centroid '
            "and the cluster's own.",
        ),
    ):  # fmt: skip
        if not judged:
            parts.append(missing)
            continue
        parts.append(
            f'**{kind}**, {judged.images} images. {explanation} Gain: how much better than the '
            'baseline map on the same images; in brackets 95 % bootstrap confidence intervals over '
            'images. Integrated gradients miss completeness by '
            f'{100 * judged.completeness_error:.1f} %.'
        )
        for how in ('deletion', 'insertion'):
            rows = []
            for method, each in judged.methods.items():
                found: Perturbation = getattr(each, how)
                gains = (found.gain_over.get(other) for other in BASELINES)
                cells = (markdown.number(g.mean, g.interval) if g else '' for g in gains)
                rows.append((method, markdown.number(found.area.mean, found.area.interval), *cells))
            header = (f'{how}', 'area', *(f'gain over {name}' for name in BASELINES))
            parts.append(markdown.table(header, rows))
    if shuffled := result.shuffled_weights:
        stations = _stations(shuffled.blocks)
        rows = [
            (
                method,
                *(f'{values[i]:.2f}' for i in stations),
                f'{shuffled.between_images[method]:.2f}',
            )
            for method, values in shuffled.methods.items()
        ]
        parts.append(
            'Rank correlation with the maps of a network whose weights are shuffled from the end '
            f'up to a block ({shuffled.images} images); last: with the map of another image.'
        )
        blocks = [shuffled.blocks[i].split('/')[1] for i in stations]
        parts.append(markdown.table(('map', *blocks, 'other image'), rows))
    if result.energy:
        parts.append(
            'Energy inside instances; lift: as a multiple of their share of the image; hits: the '
            'highest cell is in or near an instance.'
        )
        rows = [
            (
                row.group, row.target, row.map, str(row.images),
                markdown.number(row.inside.mean, row.inside.interval), f'{row.lift:.2f}',
                markdown.number(row.hits, spec='.2f'),
            )
            for row in result.energy
        ]  # fmt: skip
        header = ('instances', 'score', 'map', 'images', 'inside', 'lift', 'hits')
        parts.append(markdown.table(header, rows))
    if result.common_features:
        parts.append(
            'Features that the members of a cluster have in common: channel (mean share of the '
            'margin in its layer, share of members in which it is evidence for the cluster).'
        )
        rows = []
        for cluster in result.common_features:
            for layer in (DEEP, FINE):
                text = ', '.join(
                    f'{c.channel} ({100 * c.share:.1f} %, {100 * c.agreement:.0f} %)'
                    for c in cluster.layers[layer][:3]
                )
                rows.append((str(cluster.cluster), str(cluster.size), layer, text))
        parts.append(markdown.table(('cluster', 'images', 'layer', 'channels'), rows))
    return '\n\n'.join(parts)


def _stations(blocks: Sequence[str]) -> list[int]:
    """Six of the blocks, evenly."""
    return np.unique(np.linspace(0, len(blocks) - 1, 6).round().astype(int)).tolist()
