"""Report of a comparison of two runs: Markdown tables and a figure."""

import pathlib

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.associations.schema import LEVEL
from analysis.compare.schema import Change, Comparison
from analysis.figures import palette
from analysis.figures.bars import plain
from segmentation import markdown
from segmentation.files import replacing
from segmentation.markdown import number

METRIC_NAMES = {'iou': 'IoU over the set', 'image_iou': 'IoU per image'}
_COLORS = {'this': palette.BLUE, 'other': palette.ORANGE}


def to_markdown(result: Comparison) -> str:
    """The comparison as tables."""
    sides = {'this': result.this, 'other': result.other}
    targets = {name: ', '.join(side.class_names[1:]) for name, side in sides.items()}
    near = result.neighbours
    others = [row for row in result.layers if row.cka is None or row.cka <= 0.9995]
    header = ('this', 'other', 'other - this (95 %)')
    metadata = [row for row in result.metadata if row.q <= LEVEL][:10]
    parts = [
        f'this: {markdown.escape(result.this.workdir)}, '
        f'other: {markdown.escape(result.other.workdir)}; {result.num_images} common images of '
        f'{result.this.num_images} and {result.other.num_images}. Confidence intervals are over '
        'images, for these two trainings.',
        markdown.table(
            ('labels', 'score', 'class', *header, 'p', 'minimum detectable effect'),
            (
                (
                    *(targets[row.target], METRIC_NAMES[row.metric], row.class_name),
                    *(number(row.this), number(row.other)),
                    number(row.difference, row.interval, '+.3f'),
                    *(number(row.p, spec='.2g'), number(row.minimum_detectable)),
                )
                for row in result.scores
            ),
        ),
        'By slice, against the labels of this run:',
        markdown.table(
            ('slice', 'images', 'loss', 'other - this (95 %)', 'IoU', 'other - this (95 %)'),
            (
                (
                    *(row.text, str(row.n)),
                    *(
                        number(row.loss.this),
                        number(row.loss.difference, row.loss.interval, '+.3f'),
                    ),
                    *(number(row.iou.this), number(row.iou.difference, row.iou.interval, '+.3f')),
                )
                for row in result.slices
            ),
        ),
    ]
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
    parts += [
        f'Of the {near.k} nearest images in embedding space, '
        f'{number(near.overlap, near.overlap_interval)} are the same (by chance '
        f'{near.chance:.3f}).',
        f'{len(result.layers) - len(others)} of {len(result.layers)} layers are the same up to '
        'rotation and scale (CKA above 0.9995). The others:',
        markdown.table(
            ('layer', 'CKA', 'same neighbours'),
            ((row.layer, number(row.cka), number(row.overlap)) for row in others),
        ),
    ]
    if not result.separation:
        parts.append('Too few images of one class to compare how well the classes separate.')
        return '\n\n'.join(parts)
    return '\n\n'.join(
        [
            *parts,
            'How well images of the first and of the second class separate (AUROC; silhouette in '
            '-1 … 1):',
            markdown.table(
                ('labels', 'images', 'space', 'method', *header),
                (
                    (
                        *(targets[row.target], f'{row.first} and {row.second}'),
                        *(row.space, row.method),
                        *(
                            number(row.this, row.this_interval),
                            number(row.other, row.other_interval),
                        ),
                        number(row.difference, row.difference_interval, '+.3f'),
                    )
                    for row in result.separation
                ),
            ),
        ]
    )


def _differences(
    axis: Axes,
    rows: list[Change],
    texts: list[str],
    color: str,
    shift: float = 0.0,
    label: str = '',
) -> None:
    """Draws differences with their confidence intervals, from top to bottom."""
    places = np.arange(len(rows)) + shift
    values = [np.nan if row.difference is None else row.difference for row in rows]
    bounds = np.reshape([row.interval or (np.nan, np.nan) for row in rows], (-1, 2))
    axis.plot(values, places, 'o', color=color, label=label)
    axis.hlines(places, bounds[:, 0], bounds[:, 1], color=color)
    axis.set_yticks(np.arange(len(rows)), [plain(text) for text in texts], fontsize='small')
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.axvline(0, color=palette.BLACK, linewidth=0.8)


def figure(result: Comparison, path: pathlib.Path) -> None:
    """Draws differences of scores, layers, separation and slices as PNG."""
    picture = Figure(figsize=(13, 10), dpi=120, layout='constrained')
    (scores, layers), (separation, slices) = picture.subplots(2, 2)
    for k, target in enumerate(dict.fromkeys(row.target for row in result.scores)):
        rows = [row for row in result.scores if row.target == target]
        texts = [f'{row.class_name}, {METRIC_NAMES[row.metric]}' for row in rows]
        label = f'labels of {target} run'
        _differences(scores, list(rows), texts, _COLORS[target], 0.25 * k, label)
    scores.legend(fontsize='small')
    scores.set_title('Scores: other - this')

    places = np.arange(len(result.layers))
    cka = [np.nan if row.cka is None else row.cka for row in result.layers]
    layers.plot(places, cka, '.-', color=palette.GREEN, label='CKA (debiased)')
    label = f'same among {result.neighbours.k} nearest'
    overlap = [row.overlap for row in result.layers]
    layers.plot(places, overlap, '.-', color=palette.PURPLE, label=label)
    step = max(1, len(places) // 12)
    names = [plain(row.layer) for row in result.layers]
    layers.set_xticks(places[::step], names[::step], rotation=90, fontsize='x-small')
    layers.set_ylim(0, 1.05)
    layers.legend(fontsize='small')
    layers.set_title('Same representation, by layer')

    for k, name in enumerate(('this', 'other')):
        where = np.arange(len(result.separation)) + 0.2 * k - 0.1
        values = [getattr(row, name) for row in result.separation]
        intervals = [getattr(row, f'{name}_interval') for row in result.separation]
        separation.plot(values, where, 'o', color=_COLORS[name], label=name)
        separation.hlines(where, *np.reshape(intervals, (-1, 2)).T, color=_COLORS[name])
    texts = [f'{row.space}, {row.method}, labels of {row.target}' for row in result.separation]
    separation.set_yticks(np.arange(len(texts)), texts, fontsize='small')
    separation.set_ylim(len(texts) - 0.4, -0.6)
    separation.legend(fontsize='small')
    separation.set_title('Separation of first and second class: AUROC, silhouette')

    shown = result.slices[:12]
    texts = [f'{row.text} ({row.n})' for row in shown]
    _differences(slices, [row.iou for row in shown], texts, _COLORS['this'])
    slices.set_title('IoU of an image by slice: other - this')
    with replacing(path) as partial:
        picture.savefig(partial, format='png')
