"""Report of a comparison of two runs (`analysis.compare`): Markdown tables and a figure."""

import pathlib

import matplotlib
import numpy as np

from analysis.associations.schema import LEVEL
from segmentation import markdown

matplotlib.use('agg')
import matplotlib.pyplot as plt

METRIC_NAMES = {'iou': 'IoU over the set', 'image_iou': 'IoU per image'}
_COLOURS = {'this': '#0072B2', 'other': '#E69F00'}


def to_markdown(result: dict) -> str:
    """The comparison as tables."""

    def number(value, interval=None, sign=''):
        if value is None:
            return '–'
        bounds = f' ({interval[0]:{sign}.3f}, {interval[1]:{sign}.3f})' if interval else ''
        return f'{value:{sign}.3f}{bounds}'

    def probability(value):
        return '–' if value is None else f'{value:.2g}'

    names = {name: result[name]['workdir'] for name in ('this', 'other')}
    targets = {name: ', '.join(result[name]['class_names'][1:]) for name in ('this', 'other')}
    neighbours = result['neighbours']
    same = [row for row in result['layers'] if row['cka'] is not None and row['cka'] > 0.9995]
    header = ('this', 'other', 'other - this (95 %)')
    metadata = [row for row in result['metadata'] if row['q'] <= LEVEL][:10]
    parts = [
        f'this: {markdown.escape(names["this"])}, other: {markdown.escape(names["other"])}; '
        f'{result["num_images"]} common images of {result["this"]["num_images"]} and '
        f'{result["other"]["num_images"]}. Intervals are over images, for these two trainings.',
        markdown.table(
            ('labels', 'score', 'class', *header, 'p', 'detectable'),
            (
                (
                    *(targets[row['target']], METRIC_NAMES[row['metric']], row['class']),
                    *(number(row['this']), number(row['other'])),
                    number(row['difference'], row['interval'], '+'),
                    *(probability(row['p']), number(row['minimum_detectable'])),
                )
                for row in result['scores']
            ),
        ),
        'By slice, against the labels of this run:',
        markdown.table(
            ('slice', 'images', 'loss', 'other - this (95 %)', 'IoU', 'other - this (95 %)'),
            (
                (
                    *(row['text'], str(row['n'])),
                    *(
                        cell
                        for metric in ('loss', 'iou')
                        for cell in (
                            number(row[metric]['this']),
                            number(row[metric]['difference'], row[metric]['interval'], '+'),
                        )
                    ),
                )
                for row in result['slices']
            ),
        ),
        'Metadata with which the difference goes (false-discovery rate 5 %), strongest first:'
        if metadata
        else 'The difference goes with no metadata (false-discovery rate 5 %).',
    ]
    if metadata:
        parts.append(
            markdown.table(
                ('column', 'what', 'images', 'ρ', 'q', 'mean in lowest → highest bin'),
                (
                    (
                        *(row['column'], row['metric'], str(row['n'])),
                        *(number(row['rho'], row['interval'], '+'), probability(row['q'])),
                        f'{row["bins"][0]["mean"]:+.3f} → {row["bins"][-1]["mean"]:+.3f}',
                    )
                    for row in metadata
                ),
            )
        )
    parts += [
        f'Of the {neighbours["k"]} nearest images in the embeddings '
        f'{number(neighbours["overlap"], neighbours["overlap_interval"])} are the same '
        f'(by chance {neighbours["chance"]:.3f}).',
        f'{len(same)} of {len(result["layers"])} layers are the same up to rotation and scale (CKA '
        'above 0.9995); the others:',
        markdown.table(
            ('layer', 'CKA', 'same neighbours'),
            (
                (row['layer'], number(row['cka']), number(row['overlap']))
                for row in result['layers']
                if row not in same
            ),
        ),
    ]
    if result['separation']:
        parts += [
            'How well images of the first class and of the second are told apart (AUROC; '
            'silhouette in -1 … 1):',
            markdown.table(
                ('labels', 'images', 'in', 'by', *header),
                (
                    (
                        *(targets[row['target']], f'{row["first"]} and {row["second"]}'),
                        *(row['space'], row['method']),
                        number(row['this'], row['this_interval']),
                        number(row['other'], row['other_interval']),
                        number(row['difference'], row['difference_interval'], '+'),
                    )
                    for row in result['separation']
                ),
            ),
        ]
    else:
        parts.append('Too few images of one class to ask how well the classes separate.')
    return '\n\n'.join(parts)


def figure(result: dict, path: pathlib.Path) -> None:
    """Draws differences of scores, layers, separation and slices as PNG."""
    picture, axes = plt.subplots(2, 2, figsize=(13, 10), layout='constrained')
    targets = list(dict.fromkeys(row['target'] for row in result['scores']))

    def differences(axis, rows, texts, shift=0.0, **options):
        places = np.arange(len(rows)) + shift
        values = [np.nan if row['difference'] is None else row['difference'] for row in rows]
        bounds = [row['interval'] or (np.nan, np.nan) for row in rows]
        axis.plot(values, places, 'o', **options)
        axis.hlines(places, *np.reshape(bounds, (-1, 2)).T, color=options['color'])
        axis.set_yticks(np.arange(len(rows)), [text.replace('$', r'\$') for text in texts])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.axvline(0, color='black', linewidth=0.8)

    for number, target in enumerate(targets):
        rows = [row for row in result['scores'] if row['target'] == target]
        differences(
            axes[0, 0],
            rows,
            [f'{row["class"]}, {METRIC_NAMES[row["metric"]]}' for row in rows],
            0.25 * number,
            color=_COLOURS[target],
            label=f'labels of {target} run',
        )
    axes[0, 0].legend(fontsize='small')
    axes[0, 0].set_title('Scores: other - this')

    places = np.arange(len(result['layers']))
    for key, color, label in (
        ('cka', '#009E73', 'CKA (debiased)'),
        ('overlap', '#CC79A7', f'same among {result["neighbours"]["k"]} nearest'),
    ):
        values = [np.nan if row[key] is None else row[key] for row in result['layers']]
        axes[0, 1].plot(places, values, '.-', color=color, label=label)
    step = max(1, len(places) // 12)
    names = [row['layer'].replace('$', r'\$') for row in result['layers']]
    axes[0, 1].set_xticks(places[::step], names[::step], rotation=90, fontsize='x-small')
    axes[0, 1].set_ylim(0, 1.05)
    axes[0, 1].legend(fontsize='small')
    axes[0, 1].set_title('Same representation, by layer')

    rows = result['separation']
    for number, name in enumerate(('this', 'other')):
        where = np.arange(len(rows)) + 0.2 * number - 0.1
        axes[1, 0].plot([row[name] for row in rows], where, 'o', color=_COLOURS[name], label=name)
        bounds = np.reshape([row[f'{name}_interval'] for row in rows], (-1, 2)).T
        axes[1, 0].hlines(where, *bounds, color=_COLOURS[name])
    texts = [f'{row["space"]}, {row["method"]}, labels of {row["target"]}' for row in rows]
    axes[1, 0].set_yticks(np.arange(len(rows)), texts, fontsize='small')
    axes[1, 0].set_ylim(len(rows) - 0.4, -0.6)
    axes[1, 0].legend(fontsize='small')
    axes[1, 0].set_title('First and second class told apart: AUROC, silhouette')

    rows = result['slices'][:12]
    texts = [f'{row["text"]} ({row["n"]})' for row in rows]
    differences(axes[1, 1], [row['iou'] for row in rows], texts, color=_COLOURS['this'])
    axes[1, 1].tick_params(axis='y', labelsize='small')
    axes[1, 1].set_title('IoU of an image by slice: other - this')
    picture.savefig(path, dpi=120)
    plt.close(picture)
