"""Report of a comparison of two runs: Markdown tables and a figure."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.associations.schema import LEVEL
from analysis.compare.schema import Change, Comparison, Neighbors, Separation, Worse
from analysis.figures import bars, palette
from analysis.figures.bars import plain
from segmentation import markdown
from segmentation.files import replacing
from segmentation.markdown import number

METRIC_NAMES = {'iou': 'IoU over the set', 'image_iou': 'IoU per image'}
_RESOLUTIONS = {
    'network': '',
    'original': " Pixels are counted at the images' own resolution, because the runs differ in "
    'data.image_size; the loss is at the resolution of each network.',
}
_COLORS = {'this': palette.BLUE, 'other': palette.ORANGE}


def _estimate(row: Separation | Neighbors, name: str, spec: str = '.3f') -> str:
    return number(getattr(row, name), getattr(row, f'{name}_interval'), spec)


def _change(change: Change) -> tuple[str, str]:
    return number(change.this), number(change.difference, change.interval, '+.3f')


def to_markdown(result: Comparison) -> str:
    """The comparison as tables."""
    sides = {'this': result.this, 'other': result.other}
    targets = {name: ', '.join(side.class_names[1:]) for name, side in sides.items()}
    near = result.neighbors
    others = [row for row in result.layers if row.cka is None or row.cka <= 0.9995]
    difference = 'other - this (95 % CI)'
    metadata = [row for row in result.metadata if row.q <= LEVEL][:10]
    parts = [
        f'this: {markdown.escape(result.this.workdir)}, '
        f'other: {markdown.escape(result.other.workdir)}; {result.num_images} common images of '
        f'{result.this.num_images} and {result.other.num_images}. Confidence intervals are over '
        'images and do not cover other training runs; p-values are not adjusted for their number. '
        'Images without a counted pixel have no loss and no IoU.' + _RESOLUTIONS[result.resolution],
        markdown.table(
            (
                *('labels', 'score', 'class', 'this', 'other', difference),
                *('p', 'minimum detectable effect'),
            ),
            (
                (
                    *(targets[row.target], METRIC_NAMES[row.metric], row.class_name),
                    *(number(row.this), number(row.other), _change(row)[1]),
                    *(number(row.p, spec='.2g'), number(row.minimum_detectable)),
                )
                for row in result.scores
            ),
        ),
        'By slice, against the labels of this run. In a slice, the mean loss of both runs is high '
        'in one half of the images; counts and means are of the other half. Intervals are '
        'simultaneous over all slices:',
        markdown.table(
            ('slice', 'images', 'loss', difference, 'IoU per image', difference),
            (
                (row.text, str(row.n), *_change(row.loss), *_change(row.iou))
                for row in result.slices
            ),
        ),
    ]
    for name, worse in result.worse.items():
        parts += _worse(name, worse)
    if metadata:
        parts += [
            'Metadata associated with the difference (false discovery rate 5 %), strongest first:',
            markdown.table(
                ('column', 'difference', 'images', 'ρ', 'q', 'mean in first → last bin'),
                (
                    (
                        *(row.column, row.metric.removeprefix('difference of '), str(row.n)),
                        *(number(row.rho, row.interval, '+.3f'), number(row.q, spec='.2g')),
                        f'{row.bins[0].mean:+.3f} → {row.bins[-1].mean:+.3f}',
                    )
                    for row in metadata
                ),
            ),
        ]
    else:
        parts.append('No metadata are associated with the difference (false discovery rate 5 %).')
    if near:
        parts.append(
            f'Of the {near.k} nearest images in embedding space, '
            f'{_estimate(near, "overlap")} are the same (by chance {near.chance:.3f}).'
        )
    else:
        parts.append('A model without embeddings: neighborhoods and separation are not compared.')
    if not result.layers:
        parts.append('A foreign model: layers are not compared.')
    parts += [
        f'{len(result.layers) - len(others)} of {len(result.layers)} layers are the same up to '
        'rotation and scale (CKA above 0.9995). The others:',
        markdown.table(
            ('layer', 'CKA', 'same neighbors'),
            ((row.layer, number(row.cka), number(row.overlap)) for row in others),
        ),
    ] * bool(result.layers)
    if result.separation:
        parts += [
            'How well images of the first and of the second class separate (AUROC; silhouette in '
            '-1 … 1):',
            markdown.table(
                ('labels', 'images', 'space', 'method', 'this', 'other', difference),
                (
                    (
                        *(targets[row.target], f'{row.first} and {row.second}'),
                        *(row.space, row.method, _estimate(row, 'this'), _estimate(row, 'other')),
                        _estimate(row, 'difference', '+.3f'),
                    )
                    for row in result.separation
                ),
            ),
        ]
    else:
        parts.append('Too few images of one class to compare how well the classes separate.')
    return '\n\n'.join(parts)


def _worse(name: str, worse: Worse) -> list[str]:
    """The slices and images in which a run ('this' or 'other') is worse than the other one."""
    against = {'this': 'other', 'other': 'this'}[name]
    title = f'Where **{name}** is worse than {against}: '
    if not worse.images:
        return [f'{title}nowhere; its loss is higher on no image.']
    if not worse.slices:
        parts = [f'{title}no slice stands out, by the difference of the loss.']
    else:
        parts = [
            f'{title}slices in which its loss exceeds that of {against} by more than elsewhere, '
            'found in one half of the images and confirmed in the other:',
            markdown.table(
                ('slice', 'images', 'difference of loss', 'elsewhere', 'excess (95 % CI)', 'p'),
                (
                    (
                        *(
                            row.text,
                            str(row.size),
                            f'{row.mean:+.3f}',
                            f'{row.mean_elsewhere:+.3f}',
                        ),
                        *(number(row.excess, row.interval, '+.3f'), f'{row.p:.4f}'),
                    )
                    for row in worse.slices
                ),
            ),
        ]
    return [
        *parts,
        'The images with the largest difference of the loss:',
        markdown.table(
            ('image', 'file', 'loss, this → other', 'IoU, this → other'),
            (
                (
                    *(str(row.image_id), row.file_name),
                    *(' → '.join(map(number, values)) for values in (row.loss, row.iou)),
                )
                for row in worse.images
            ),
        ),
    ]


def _draw_changes(axis: Axes, texts: list[str], rows: Sequence[Change], *style: Any) -> None:
    values, intervals = [row.difference for row in rows], [row.interval for row in rows]
    bars.draw(axis, texts, values, intervals, *style)
    axis.axvline(0, color=palette.BLACK, linewidth=0.8)


def figure(result: Comparison, path: pathlib.Path) -> None:
    """Draws differences of scores, layers, separation and slices as PNG."""
    picture = Figure(figsize=(13, 10), dpi=120, layout='constrained')
    (scores, layers), (separation, slices) = picture.subplots(2, 2)
    for k, target in enumerate(dict.fromkeys(row.target for row in result.scores)):
        rows = [row for row in result.scores if row.target == target]
        texts = [f'{row.class_name}, {METRIC_NAMES[row.metric]}' for row in rows]
        label = f'labels of {target} run'
        _draw_changes(scores, texts, rows, _COLORS[target], 0.35, 0.35 * k - 0.15, label)
    scores.legend(fontsize='small')
    scores.set_title('Scores: other - this')

    places = np.arange(len(result.layers))
    cka = [np.nan if row.cka is None else row.cka for row in result.layers]
    layers.plot(places, cka, '.-', color=palette.GREEN, label='CKA (debiased)')
    label = f'same among {result.neighbors.k if result.neighbors else 0} nearest'
    overlap = [row.overlap for row in result.layers]
    layers.plot(places, overlap, '.-', color=palette.PURPLE, label=label)
    step = max(1, len(places) // 12)
    names = [plain(row.layer) for row in result.layers]
    layers.set_xticks(places[::step], names[::step], rotation=90, fontsize='x-small')
    layers.set_ylim(0, 1.05)
    layers.legend(fontsize='small')
    layers.set_title('Same representation, by layer')

    texts = [f'{row.space}, {row.method}, labels of {row.target}' for row in result.separation]
    for k, name in enumerate(('this', 'other')):
        values = [getattr(row, name) for row in result.separation]
        intervals = [getattr(row, f'{name}_interval') for row in result.separation]
        shift = 0.35 * k - 0.15
        bars.draw(separation, texts, values, intervals, _COLORS[name], 0.35, shift, name)
    separation.legend(fontsize='small')
    separation.set_title('Separation of first and second class: AUROC, silhouette')

    shown = result.slices[:12]
    texts = [f'{row.text} ({row.n})' for row in shown]
    _draw_changes(slices, texts, [row.iou for row in shown], _COLORS['this'])
    slices.set_title('IoU of an image by slice: other - this')
    with replacing(path) as partial:
        picture.savefig(partial, format='png')
