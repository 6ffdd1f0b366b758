"""Metadata against performance: which properties of an image go with how well it is segmented.

    python -m analysis.associations --workdir runs/person_car --split val

Each metadata column of `analysis.samples` (made if it is not there) is tested against each metric:
means of the metric in bins of the column, Spearman's rank correlation, and the same given the
obvious confounder, size: for iou_<class> the percent of the image that the class covers, for all
other metrics the percent of background. `analysis.rank_correlation` says how p-values come about.
All tests are one family for Benjamini and Hochberg: q <= 0.05 means that at most 5 % of the
associations so marked are expected to be chance.

Grayscale against colour: few photographs are gray, and they differ in more than that. So the
network also sees a desaturated copy (Rec. 601 luma) of each photograph that is not gray, and each
is compared with its own copy (Wilcoxon's signed ranks; bootstrap over photographs).

Writes `associations.json` (kind 'associations', version 1) and the figure `associations.png` into
the run's `analysis/<split>-<step>/`; when the file is there and fits, it is shown again.

    num_images, num_tests (marginal and conditional), significant (number of q <= 0.05)
    associations   rows by metric, then by p; a column that cannot be tested is not here
        column, metric, n   images where both are known
        rho, interval, p, q Spearman's ρ with 95 % interval; p-value; adjusted p-value
        confounder          column that the following is given, and
        partial_rho, partial_interval, partial_p, partial_q    null if there is no such test
        difference, difference_interval
                            mean of the metric in the last bin minus the first, 95 % (Welch)
        effect              the difference over the metric's standard deviation (Cohen's d-like)
        bins                up to 5, from low to high: low, high (smallest and largest value of the
                            column), n, mean, interval (95 %, Student's t) of the metric; equally
                            many images each as far as ties allow; every value of a column with at
                            most 5 values has its own
    not_tested     names of columns that are tested against no metric: constant or nearly so
    grayscale_copies  rows: metric, n, colour, gray (means), difference (gray - colour), interval
                   (95 %), p, q (over these rows), worse (share of photographs that lose); for
                   iou_<class> over photographs that hold the class, for mean_iou_foreground over
                   those that hold any
"""

import argparse
import pathlib
from collections.abc import Mapping

import matplotlib
import numpy as np
import pyarrow
from scipy import stats
from tqdm import tqdm

from analysis.samples import stage as samples
from analysis.stage import old_artifacts as artifacts
from analysis.stage.command import make_parser, run_command
from analysis.stage.run import Analysis
from analysis.stats import bootstrap, rank_correlation
from segmentation import evaluate, markdown, metrics
from segmentation.data import input_pipeline, transforms

matplotlib.use('agg')
import matplotlib.pyplot as plt

VERSION = 1
LEVEL = 0.05
NUM_BINS = 5
_NUM_RESAMPLES = 2000
# Okabe and Ito's palette, told apart by all kinds of colour vision.
_COLORS = {'loss': '#D55E00', 'mean_iou_foreground': '#0072B2'}


def confounder(metric: str) -> str:
    """The metadata column by which a metric is confounded: how much there is of what it scores."""
    name = metric.removeprefix('iou_')
    return 'percent_background' if name == metric else f'percent_{name}'


def associate(
    columns: Mapping[str, np.ndarray], performance: Mapping[str, np.ndarray]
) -> tuple[list[dict], list[str]]:
    """Tests every metadata column against every metric.

    Args:
      columns: metadata by name, `[N]` numbers, NaN where unknown; has all confounders.
      performance: metrics by name, likewise.

    Returns:
      `associations` and `not_tested` of the artifact.
    """
    found = rank_correlation.correlate(
        columns, performance, {name: confounder(name) for name in performance}
    )
    intervals = {
        '': rank_correlation.interval(found['rho'], found['n']),
        'partial_': rank_correlation.interval(found['partial_rho'], found['n']),
    }
    tested = ~np.isnan(found['p'])
    names = list(columns)
    rows = []
    for number, metric in enumerate(performance):
        order = np.argsort(found['p'][:, number], kind='stable')
        for index in order[tested[order, number]]:
            row = {'column': names[index], 'metric': metric, 'n': int(found['n'][index, number])}
            for kind, bounds in intervals.items():
                if kind:
                    row['confounder'] = confounder(metric)
                for key in ('rho', 'interval', 'p', 'q'):
                    value = bounds if key == 'interval' else found[kind + key]
                    row[kind + key] = _plain(value[index, number])
            rows.append(row | _binned(columns[names[index]], performance[metric]))
    return rows, [name for name, any_test in zip(names, tested.any(1), strict=True) if not any_test]


def _plain(value: np.ndarray):
    """For JSON: None for what does not exist."""
    return None if np.isnan(value).any() else value.tolist()


def bin_numbers(values: np.ndarray) -> np.ndarray:
    """Bin of each value, int64 `[N]` from 0: up to NUM_BINS, equally many values as ties allow."""
    upper = np.unique(values)
    if len(upper) > NUM_BINS:
        shares = np.arange(1, NUM_BINS + 1) / NUM_BINS
        upper = np.unique(np.quantile(values, shares, method='inverted_cdf'))
    return np.searchsorted(upper, values)


def _binned(values: np.ndarray, metric: np.ndarray) -> dict:
    known = ~np.isnan(values) & ~np.isnan(metric)
    values, metric = values[known], metric[known]
    number = bin_numbers(values)
    parts = [(values[number == k], metric[number == k]) for k in range(number.max() + 1)]
    bins = []
    for inside, scores in parts:
        mean, error = scores.mean(), _standard_error(scores)
        half = stats.t.ppf(0.975, len(scores) - 1) * error if len(scores) > 1 else np.nan
        bins.append(
            {
                'low': float(inside.min()),
                'high': float(inside.max()),
                'n': len(scores),
                'mean': float(mean),
                'interval': _plain(np.array([mean - half, mean + half])),
            }
        )
    first, last, spread = parts[0][1], parts[-1][1], metric.std()
    result = dict.fromkeys(('difference', 'difference_interval', 'effect'))
    if len(parts) > 1:
        difference = last.mean() - first.mean()
        result['difference'] = float(difference)
        result['effect'] = float(difference / spread) if spread else None
        if min(len(first), len(last)) > 1 and first.std() + last.std() > 0:
            # By hand, as scipy's test warns of a bin in which all values are the same.
            variances = np.array([_standard_error(values) ** 2 for values in (first, last)])
            parts_of_freedom = variances**2 / [len(first) - 1, len(last) - 1]
            freedom = variances.sum() ** 2 / parts_of_freedom.sum()
            half = stats.t.ppf(0.975, freedom) * np.sqrt(variances.sum())
            result['difference_interval'] = [float(difference - half), float(difference + half)]
    return {**result, 'bins': bins}


def _standard_error(values: np.ndarray) -> float:
    return values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan


def desaturated_metrics(analysis: Analysis) -> dict[str, np.ndarray]:
    """Metrics of every image's desaturated copy, by column name of `samples`: `[N]`, NaN for none.

    The copy is made of the network's input: each channel is its luma, so brightness stays.
    """
    run, examples = analysis.run, analysis.examples
    predict = evaluate.make_predict(run.model, run.config.data.input_range)

    def gray(batches):
        for batch in batches:
            luma = np.rint(batch['image'] @ transforms.LUMA).astype(np.uint8)
            yield {**batch, 'image': np.repeat(luma[..., None], 3, -1)}

    batches = input_pipeline.evaluation_batches(examples, batch_size=run.config.eval_batch_size)
    results = evaluate.predictions(predict, evaluate.replicate(run.variables), gray(batches))
    names = [
        field.name
        for field in samples.schema(run.class_names, ())
        if field.metadata[b'role'] == b'metric'
    ]
    found = {name: np.full(len(examples), np.nan) for name in names}
    description = f'desaturated copies, {analysis.split} at step {run.step}'
    with tqdm(total=len(examples), desc=description, unit='img') as bar:
        for batch, logits in results:
            rows = samples.image_metrics(logits, batch['label'], run.class_names)
            for index, row in zip(batch['index'], rows, strict=True):
                if index < 0:
                    continue
                for name, value in row.items():
                    found[name][index] = np.nan if value is None else value
                bar.update()
    return found


def compare_copies(
    colour: Mapping[str, np.ndarray],
    gray: Mapping[str, np.ndarray],
    holds: Mapping[str, np.ndarray],
) -> list[dict]:
    """Paired comparison of photographs with their desaturated copies.

    Args:
      colour: metrics of the photographs, `[N]` each.
      gray: of their copies, the same names.
      holds: by metric, bool `[N]`, which photographs count.

    Returns:
      `grayscale_copies` of the artifact; a metric for which fewer than 2 count is left out.
    """
    rows = []
    for metric in colour:
        both = holds[metric] & ~np.isnan(colour[metric]) & ~np.isnan(gray[metric])
        before, after = colour[metric][both], gray[metric][both]
        change = after - before
        if len(change) < 2:
            continue
        means = bootstrap.bootstrap_means(change, _NUM_RESAMPLES)
        lose = change > 0 if metric in ('loss', 'entropy', 'calibration_error') else change < 0
        rows.append(
            {
                'metric': metric,
                'n': len(change),
                'colour': float(before.mean()),
                'gray': float(after.mean()),
                'difference': float(change.mean()),
                'interval': _plain(metrics.percentile_interval(means)),
                'p': float(stats.wilcoxon(change).pvalue) if change.any() else 1.0,
                'worse': float(lose.mean()),
            }
        )
    adjusted = rank_correlation.adjust(np.array([row['p'] for row in rows]))
    return [{**row, 'q': float(q)} for row, q in zip(rows, adjusted, strict=True)]


def compute(analysis: Analysis, table: pyarrow.Table) -> dict:
    """All results of an analysis, for JSON; `table` is that of `samples`."""
    columns, performance = (
        {name: samples.numbers(table, name) for name in samples.columns(table, role)}
        for role in ('metadata', 'metric')
    )
    rows, not_tested = associate(columns, performance)
    coloured = columns['is_grayscale'] == 0
    size = {name: columns[confounder(name)] for name in performance}
    holds = {
        name: coloured & (size[name] > 0 if name.startswith('iou_') else True)
        for name in performance
    }
    holds['mean_iou_foreground'] = coloured & (columns['percent_background'] < 100)
    copies = desaturated_metrics(analysis) if coloured.any() else performance
    return {
        'num_images': len(table),
        'num_tests': sum(1 + (row['partial_p'] is not None) for row in rows),
        'significant': sum(
            value is not None and value <= LEVEL
            for row in rows
            for value in (row['q'], row['partial_q'])
        ),
        'associations': rows,
        'not_tested': not_tested,
        'grayscale_copies': compare_copies(performance, copies, holds),
    }


def to_markdown(result: dict, per_metric: int = 6) -> str:
    """The strongest associations of each metric, and the comparison with desaturated copies."""

    def number(value, interval=None):
        if value is None:
            return '–'
        return f'{value:.3f}' + (f' ({interval[0]:.3f}, {interval[1]:.3f})' if interval else '')

    def probability(value):
        return '–' if value is None else f'{value:.3f}' if value >= 0.001 else f'{value:.0e}'

    def association(row):
        first, last = row['bins'][0], row['bins'][-1]
        return (
            *(row['metric'], row['column'], str(row['n'])),
            *(number(row['rho'], row['interval']), probability(row['q'])),
            *(number(row['partial_rho']), probability(row['partial_q'])),
            f'{first["mean"]:.3f} → {last["mean"]:.3f}',
            f'{row["effect"]:+.2f}' if row['effect'] is not None else '–',
        )

    shown, seen = [], {}
    for row in result['associations']:
        significant = any(row[key] is not None and row[key] <= LEVEL for key in ('q', 'partial_q'))
        same = seen.setdefault(row['metric'], [])
        # num_person and count_person are one column: once is enough.
        if significant and len(same) < per_metric and row['bins'] not in same:
            same.append(row['bins'])
            shown.append(row)
    grayscale = [
        row for row in result['associations'] if row['column'] in ('is_grayscale', 'is_colored')
    ]
    header = (
        *('metric', 'column', 'images', 'ρ (95 % interval)', 'q', 'ρ given size', 'q'),
        *('mean in lowest → highest bin', 'in s.d.'),
    )
    return '\n\n'.join(
        [
            f'{result["num_images"]} images, {result["num_tests"]} tests, {result["significant"]} '
            f'of them significant at a false-discovery rate of {LEVEL:.0%}. Size is the percent of '
            'the class for its IoU, else the percent of background. Strongest per metric:',
            markdown.table(header, map(association, shown)),
            'Gray photographs against the others:',
            markdown.table(header, map(association, grayscale))
            if grayscale
            else 'There are too few of one kind to test.',
            'Photographs against their own desaturated copies, paired:',
            markdown.table(
                (
                    *('metric', 'images', 'colour', 'gray'),
                    *('difference (95 % interval)', 'q', 'worse in gray'),
                ),
                (
                    (
                        *(row['metric'], str(row['n']), number(row['colour']), number(row['gray'])),
                        number(row['difference'], row['interval']),
                        probability(row['q']),
                        f'{row["worse"]:.0%}',
                    )
                    for row in result['grayscale_copies']
                ),
            ),
            f'Not tested, being (nearly) constant: {len(result["not_tested"])} columns.',
        ]
    )


def figure(result: dict, columns: Mapping[str, np.ndarray], path: pathlib.Path) -> None:
    """Draws loss and mean IoU in bins of the columns that go with the loss most surely, as PNG.

    Args:
      result: of `compute`.
      columns: metadata by name, `[N]`; of columns that nearly repeat each other one is drawn.
      path: of the picture.
    """
    rows = {(row['column'], row['metric']): row for row in result['associations']}
    drawn = []
    for (column, metric), row in rows.items():
        if metric == 'loss' and row['q'] <= LEVEL and len(drawn) < 6:
            if not any(_alike(columns[column], columns[other]) for other in drawn):
                drawn.append(column)
    width = max(len(drawn), 1)
    picture, axes = plt.subplots(
        2, width, figsize=(1 + 2.4 * width, 5.6), layout='constrained', squeeze=False, sharey='row'
    )
    for across, (metric, color) in zip(axes, _COLORS.items(), strict=True):
        for axis, column in zip(across, drawn, strict=False):
            if row := rows.get((column, metric)):
                _draw_bins(axis, row, color)
            else:
                axis.set_title('too few to test', fontsize='small')
                axis.set_xticks([])
            if metric == 'loss':
                name = column.replace('$', r'\$')
                axis.set_title(f'{name}\n{axis.get_title()}', fontsize='small')
        across[0].set_ylim(0, None)  # of all, as the axis is shared
    axes[0, 0].set_ylabel('loss, nats per pixel')
    axes[1, 0].set_ylabel('mean IoU, foreground')
    picture.suptitle(
        'Means in bins with 95 % intervals; dots by number of images'
        if drawn
        else 'No column goes with the loss significantly'
    )
    picture.savefig(path, dpi=150)
    plt.close(picture)


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    known = ~np.isnan(a) & ~np.isnan(b)
    a, b = (stats.rankdata(part[known]) for part in (a, b))
    spread = a.std() * b.std()
    return bool(spread) and abs(np.mean((a - a.mean()) * (b - b.mean())) / spread) > 0.7


def _draw_bins(axis, row: dict, color: str) -> None:
    means = np.array([part['mean'] for part in row['bins']])
    bounds = np.array([part['interval'] or [part['mean']] * 2 for part in row['bins']])
    sizes = np.array([part['n'] for part in row['bins']])
    places = np.arange(len(means))
    axis.plot(places, means, color=color)
    axis.vlines(places, *bounds.T, color=color)
    axis.scatter(places, means, 90 * sizes / sizes.max(), color=color)
    labels = [
        f'{part["low"]:.3g}' + (f'–{part["high"]:.3g}' if part['high'] > part['low'] else '')
        for part in row['bins']
    ]
    axis.set_xticks(places, labels, rotation=40, ha='right', fontsize='small')
    axis.set_xlim(-0.5, len(means) - 0.5)
    given = '' if row['partial_rho'] is None else f', given size {row["partial_rho"]:+.2f}'
    axis.set_title(f'ρ {row["rho"]:+.2f}{given}', fontsize='small')


def _run(arguments: argparse.Namespace) -> dict:
    analysis = artifacts.open_chosen(arguments)
    table = samples.compute_or_load(analysis)
    origin = artifacts.origin(analysis, 'samples.parquet')
    if not arguments.force and artifacts.is_current(analysis, 'associations.json', VERSION, origin):
        result = artifacts.load_json(analysis, 'associations', VERSION)
    else:
        result = compute(analysis, table)
        artifacts.save_json(analysis, 'associations', VERSION, result, origin)
    columns = {name: samples.numbers(table, name) for name in samples.columns(table, 'metadata')}
    path = analysis.folder / 'associations.png'
    figure(result, columns, path)
    print(to_markdown(result), f'{path} shows the strongest.', sep='\n\n')
    return result


def main(argv: list[str] | None = None) -> int:
    parser = make_parser('associations', __doc__)
    parser.add_argument('--force', action='store_true', help='compute everything again')
    return run_command(parser.parse_args(argv), _run)
