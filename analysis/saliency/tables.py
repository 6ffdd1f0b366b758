"""Tables and figures of the saliency analysis.

Heat-maps lie over the picture in gray. Maps that are never negative go from dark to yellow; signed
ones are orange where something speaks for the score and purple where it speaks against it.
"""

import pathlib
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from analysis.clusters.schema import Clusters
from analysis.saliency import examples as saliency_examples
from analysis.saliency import membership_maps
from analysis.saliency.faithfulness import BASELINES, FRACTIONS
from analysis.saliency.scores import open_clusters
from analysis.stage import artifacts
from analysis.stage.run import Analysis
from segmentation import markdown, overlays

_SHEET_ROWS = 8
_TILE = 128  # pixels, at least
_GAP = 4
# Of signed maps: orange and purple.
_FOR, _AGAINST = np.array([230, 97, 1]) / 255, np.array([94, 60, 153]) / 255
# Okabe and Ito's, and a dash for what knows nothing of the network.
_COLORS = ('#0072B2', '#56B4E9', '#009E73', '#D55E00', '#E69F00', '#CC79A7')
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


def draw(
    analysis: Analysis, arrays: dict[str, np.ndarray], result: dict[str, Any]
) -> list[pathlib.Path]:
    """Writes all figures into the folder of the analysis, and removes those of before."""
    for old in analysis.folder.glob('saliency-*.png'):
        old.unlink()
    made = saliency_examples.load(analysis)
    names = analysis.run.class_names
    paths = []
    if len(made['class_rows']):
        for k in np.unique(made['class_label']).tolist():
            chosen = np.flatnonzero(made['class_label'] == k)[:_SHEET_ROWS]
            paths.append(
                _examples_sheet(
                    analysis, made, 'class', chosen,
                    f'saliency-class-{_name_file(names[k])}.png',
                    f'What speaks for {names[k]} where the network sees it',
                )
            )  # fmt: skip
    if 'cluster_rows' in made:
        cluster_names = artifacts.load(analysis, Clusters).names
        for k in np.unique(made['cluster_label']).tolist():
            chosen = np.flatnonzero(made['cluster_label'] == k)
            size = int((arrays['cluster'] == k).sum())
            paths.append(
                _examples_sheet(
                    analysis, made, 'cluster', chosen, f'saliency-cluster-{k}.png',
                    f'What makes the exemplars of cluster {k} ({size} images) belong there: '
                    f'{cluster_names[k]}',
                )
            )  # fmt: skip
        paths.append(_clusters_overview(analysis, made, arrays))
    if 'class' in result:
        paths.append(_curves(analysis.folder / 'saliency-judgement.png', result))
    return paths


def _examples_sheet(analysis, made, kind, chosen, file, title) -> pathlib.Path:
    rows, row_names = [], []
    for i in chosen:
        example = analysis.examples[int(made[f'{kind}_rows'][i])]
        image = example['image']
        maps = made[f'{kind}_maps'][i]
        rows.append(
            [
                image,
                overlays.overlay(image, example['label']),
                overlays.overlay(image, made[f'{kind}_prediction'][i]),
                *(
                    heat(image, each.astype(np.float32), name not in saliency_examples.UNSIGNED)
                    for name, each in zip(made['methods'].tolist(), maps, strict=True)
                ),
            ]
        )
        row_names.append(str(example['image_id']))
    methods = [name.replace(' ', '\n', 1).replace('/', '\n') for name in made['methods'].tolist()]
    headings = ['image', 'truth', 'prediction', *methods]
    return _sheet(analysis.folder / file, title, rows, headings, row_names)


def _clusters_overview(analysis, made, arrays) -> pathlib.Path:
    """Two lines per cluster: exemplars, and what makes them belong there."""
    maps = membership_maps.compute(analysis, open_clusters(analysis), made['cluster_rows'])
    number = np.bincount(made['cluster_label']).max()
    rows, row_names = [], []
    for k in np.unique(made['cluster_label']).tolist():
        chosen = np.flatnonzero(made['cluster_label'] == k)
        pictures = [analysis.examples[int(row)]['image'] for row in made['cluster_rows'][chosen]]
        missing = [np.full_like(pictures[0], 255)] * (number - len(pictures))
        heats = [heat(*each, True) for each in zip(pictures, maps[chosen], strict=True)]
        rows += [[*pictures, *missing], [*heats, *missing]]
        row_names += [f'cluster {k}', f'{(arrays["cluster"] == k).sum()} images']
    headings = [f'exemplar {i + 1}' for i in range(number)]
    title = 'Membership of clusters, compared with the average image'
    return _sheet(analysis.folder / 'saliency-clusters.png', title, rows, headings, row_names)


def _curves(path: pathlib.Path, result: dict[str, Any]) -> pathlib.Path:
    """Deletion, insertion and shuffled weights."""
    kinds = [kind for kind in ('class', 'cluster') if kind in result]
    figure = Figure((15, 4.3 * len(kinds)), layout='constrained')
    grid = figure.subplots(len(kinds), 3, squeeze=False)
    shares = [0, *FRACTIONS, 1]
    units = {'class': 'mean probability of the class', 'cluster': 'margin to the nearest other'}
    for row, kind in zip(grid, kinds, strict=True):
        for axes, how in zip(row, ('deletion', 'insertion'), strict=False):
            colors = iter(_COLORS)
            for method, each in result[kind]['methods'].items():
                known = method not in _DASHES
                axes.plot(
                    shares,
                    each[how]['curve'],
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
    axes, shuffled = grid[0, 2], result['shuffled_weights']
    for color, (method, values) in zip(_COLORS[::2], shuffled['methods'].items(), strict=False):
        axes.plot(values, color=color, marker='.', label=method)
        axes.axhline(shuffled['between_images'][method], color=color, linestyle=':', linewidth=1)
    axes.set_xticks(range(len(shuffled['blocks'])))
    axes.set_xticklabels(
        [block.split('/')[1] for block in shuffled['blocks']], rotation=90, fontsize=7
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


def _number(entry: dict[str, Any]) -> str:
    if entry['mean'] is None:
        return '–'
    low, high = entry['interval']
    return f'{entry["mean"]:.3f} [{low:.3f}, {high:.3f}]'


def to_markdown(result: dict[str, Any], figures: Sequence[str]) -> str:
    """Everything for people; `figures` are names of files."""
    parts = []
    what = {
        'class': 'Areas are of the mean probability of the class, over the pixels that the network '
        'gives to it in the whole image.',
        'cluster': 'Areas are of the margin between the squared distances to the nearest other '
        "centroid and the cluster's own.",
    }
    for kind, explanation in what.items():
        if kind not in result:
            parts.append(
                {
                    'class': 'The network predicts no class but background: none is explained.',
                    'cluster': 'No clusters: run analysis.clusters first, then this again.',
                }[kind]
            )
            continue
        judged = result[kind]
        parts.append(
            f'**{kind.capitalize()}**, {judged["images"]} images. {explanation} Gain: how much '
            'better than the map that knows nothing, on the same images; in brackets 95 % '
            'bootstrap intervals over images. Integrated gradients miss completeness by '
            f'{100 * judged["completeness_error"]:.1f} %.'
        )
        for how in ('deletion', 'insertion'):
            rows = [
                (
                    method,
                    _number(each[how]['area']),
                    *(
                        _number(each[how]['gain_over'][other]) if other != method else ''
                        for other in BASELINES
                    ),
                )
                for method, each in judged['methods'].items()
            ]
            header = (f'{how}', 'area', *(f'gain over {name}' for name in BASELINES))
            parts.append(markdown.table(header, rows))
    if 'shuffled_weights' in result:
        shuffled = result['shuffled_weights']
        rows = [
            (
                method,
                *(f'{values[i]:.2f}' for i in _stations(shuffled['blocks'])),
                f'{shuffled["between_images"][method]:.2f}',
            )
            for method, values in shuffled['methods'].items()
        ]
        blocks = [shuffled['blocks'][i].split('/')[1] for i in _stations(shuffled['blocks'])]
        parts.append(
            'Rank correlation with the maps of a network whose weights are shuffled from the end '
            f'down to a block ({shuffled["images"]} images); last: with the map of another image.'
        )
        parts.append(markdown.table(('map', *blocks, 'other image'), rows))
    if result['energy']:
        parts.append(
            'Energy inside of instances; lift: as a multiple of their share of the image; hits: '
            'highest cell in or near an instance.'
        )
        parts.append(
            markdown.table(
                ('instances', 'score', 'map', 'images', 'inside', 'lift', 'hits'),
                (
                    (
                        row['group'],
                        row['target'],
                        row['map'],
                        str(row['images']),
                        _number(row['inside']),
                        f'{row["lift"]:.2f}',
                        '–' if row['hits'] is None else f'{row["hits"]:.2f}',
                    )
                    for row in result['energy']
                ),
            )
        )
    if result['clusters']:
        parts.append(
            'Features that the members of a cluster have in common: channel (mean share of the '
            'margin in its layer, share of members in which it speaks for the cluster).'
        )
        rows = []
        for cluster in result['clusters']:
            for layer in (saliency_examples.DEEP, saliency_examples.FINE):
                text = ', '.join(
                    f'{c["channel"]} ({100 * c["share"]:.1f} %, {100 * c["agreement"]:.0f} %)'
                    for c in cluster['layers'][layer][:3]
                )
                rows.append((str(cluster['cluster']), str(cluster['size']), layer, text))
        parts.append(markdown.table(('cluster', 'images', 'layer', 'channels'), rows))
    parts.append('Figures: ' + ', '.join(figures))
    return '\n\n'.join(parts)


def _stations(blocks: Sequence[str]) -> list[int]:
    """Six of the blocks, evenly."""
    return np.unique(np.linspace(0, len(blocks) - 1, 6).round().astype(int)).tolist()
