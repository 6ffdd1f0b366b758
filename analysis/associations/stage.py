"""Finds which properties of an image are associated with how well it is segmented."""

import pathlib

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from analysis.associations.copies import compare_copies, desaturated_metrics
from analysis.associations.correlation import associate, confounder
from analysis.associations.options import make_parser
from analysis.associations.schema import LEVEL, Association, Associations, Bin
from analysis.figures import bars, palette
from analysis.samples import stage as samples
from analysis.samples.schema import Samples, numbers_of
from analysis.stage import artifacts
from analysis.stage.contract import Stage
from analysis.stage.run import Analysis
from analysis.stage.view import View
from segmentation import markdown

_SHOWN = 6  # associations per metric in the table, columns in the figure


def compute(analysis: Analysis) -> Associations:
    """Tests the columns and compares the images with their copies."""
    samples_table = artifacts.load(analysis, Samples).table
    metadata, performance = (numbers_of(samples_table, role) for role in ('metadata', 'metric'))
    rows, not_tested = associate(metadata, performance)
    colored = metadata['is_grayscale'] == 0
    counted = {
        name: colored & (metadata[confounder(name)] > 0) if name.startswith('iou_') else colored
        for name in performance
    }
    counted['mean_iou_foreground'] = colored & (metadata['percent_background'] < 100)
    copies, can_run = performance, analysis.foreign is None or analysis.foreign.can_run
    if colored.any() and can_run:
        copies = desaturated_metrics(analysis, list(performance))
    return Associations(
        num_images=len(analysis),
        num_tests=sum(1 + (row.partial_p is not None) for row in rows),
        significant=sum(row.num_significant for row in rows),
        associations=rows,
        not_tested=not_tested,
        grayscale_copies=compare_copies(performance, copies, counted) if can_run else (),
    )


def _probability(value: float | None) -> str:
    return markdown.number(value, spec='.3f' if value is None or value >= 0.001 else '.0e')


def _cells(row: Association) -> tuple[str, ...]:
    return (
        row.metric,
        row.column,
        str(row.n),
        markdown.number(row.rho, row.interval),
        _probability(row.q),
        markdown.number(row.partial_rho),
        _probability(row.partial_q),
        f'{row.bins[0].mean:.3f} → {row.bins[-1].mean:.3f}',
        markdown.number(row.effect, spec='+.2f'),
    )


def table(result: Associations) -> str:
    """The strongest associations of each metric, and the comparison with desaturated copies."""
    strongest: list[Association] = []
    seen: dict[str, list[tuple[Bin, ...]]] = {}
    for row in result.associations:
        same = seen.setdefault(row.metric, [])
        # Columns such as num_person and count_person are nearly the same: one is enough.
        if row.num_significant and len(same) < _SHOWN and row.bins not in same:
            same.append(row.bins)
            strongest.append(row)
    gray = [row for row in result.associations if row.column in ('is_grayscale', 'is_colored')]
    header = (
        'metric', 'column', 'images', 'ρ (95 % CI)', 'q', 'ρ adjusted for size', 'q',
        'mean in lowest → highest bin', 'in s.d.',
    )  # fmt: skip
    copies_header = (
        'metric', 'images', 'color', 'gray', 'difference (95 % CI)', 'q', 'worse in gray',
    )  # fmt: skip
    copies = (
        (
            row.metric,
            str(row.n),
            markdown.number(row.color),
            markdown.number(row.gray),
            markdown.number(row.difference, row.interval),
            _probability(row.q),
            f'{row.worse:.0%}',
        )
        for row in result.grayscale_copies
    )
    return '\n\n'.join(
        [
            f'{result.num_images} images, {result.num_tests} tests, {result.significant} of them '
            f'significant at a false discovery rate of {LEVEL:.0%}. Size: for the IoU of a class '
            'the percentage of the class, else that of background. Strongest per metric:',
            markdown.table(header, map(_cells, strongest)),
            'Grayscale images against the others:',
            markdown.table(header, map(_cells, gray)) if gray else 'Too few of one kind to test.',
            'Color images against their own desaturated copies, paired:',
            markdown.table(copies_header, copies),
            f'Not tested because they are (nearly) constant: {len(result.not_tested)} columns.',
        ]
    )


def draw(analysis: View, result: Associations) -> list[pathlib.Path]:
    """Draws loss and mean IoU in bins of the columns with the smallest p-values for the loss."""
    rows = {(row.column, row.metric): row for row in result.associations}
    metadata = numbers_of(artifacts.load(analysis, Samples).table, 'metadata')
    drawn: list[str] = []
    for (column, metric), row in rows.items():
        if metric == 'loss' and row.q <= LEVEL and len(drawn) < _SHOWN:
            # Of columns that nearly repeat each other one is drawn.
            if not any(_alike(metadata[column], metadata[other]) for other in drawn):
                drawn.append(column)
    width = max(len(drawn), 1)
    figure = Figure((1 + 2.4 * width, 5.6), layout='constrained')
    axes = figure.subplots(2, width, squeeze=False, sharey='row')
    for across, metric, label, color in (
        (axes[0], 'loss', 'loss, nats per pixel', palette.VERMILLION),
        (axes[1], 'mean_iou_foreground', 'mean IoU, foreground', palette.BLUE),
    ):
        for axis, column in zip(across, drawn, strict=False):
            title = _draw_bins(axis, rows.get((column, metric)), color)
            title = f'{bars.plain(column)}\n{title}' if metric == 'loss' else title
            axis.set_title(title, fontsize='small')
        across[0].set_ylim(0, None)  # of all, as the axis is shared
        across[0].set_ylabel(label)
    figure.suptitle(
        'Means in bins with 95 % confidence intervals; area of the dots: number of images'
        if drawn
        else 'No column is significantly associated with the loss'
    )
    path = analysis.folder / 'associations.png'
    figure.savefig(path, dpi=150)
    return [path]


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the rank correlation of two columns is above 0.7, whatever its sign."""
    known = ~np.isnan(a) & ~np.isnan(b)
    a, b = a[known], b[known]
    return len(a) > 1 and bool(
        np.ptp(a) and np.ptp(b) and abs(stats.spearmanr(a, b).statistic) > 0.7
    )


def _draw_bins(axis: Axes, row: Association | None, color: str) -> str:
    """Draws the means of the bins and returns the correlation as text."""
    if row is None:
        axis.set_xticks([])
        return 'too few for a test'
    means = [part.mean for part in row.bins]
    bounds = np.array([part.interval or (part.mean, part.mean) for part in row.bins])
    sizes = np.array([part.n for part in row.bins])
    places = np.arange(len(means))
    axis.plot(places, means, color=color)
    axis.vlines(places, bounds[:, 0], bounds[:, 1], color=color)
    axis.scatter(places, means, 90 * sizes / sizes.max(), color=color)
    ends = [dict.fromkeys((f'{part.low:.3g}', f'{part.high:.3g}')) for part in row.bins]
    labels = ['–'.join(low_and_high) for low_and_high in ends]
    axis.set_xticks(places, labels, rotation=40, ha='right', fontsize='small')
    axis.set_xlim(-0.5, len(means) - 0.5)
    partial = '' if row.partial_rho is None else f', adjusted {row.partial_rho:+.2f}'
    return f'ρ {row.rho:+.2f}{partial}'


STAGE = Stage(Associations, make_parser, compute, table, draw, reads=(samples.STAGE,), shared=True)
main = STAGE.main
