"""Finds interpretable slices: simple conditions under which the network does worse than elsewhere.

    python -m analysis.slices --workdir runs/person_car --split val

A slice is a conjunction of one to three conditions on the metadata of `analysis.samples` (made if
it is not there), such as `brightness <= 41.5 and num_person >= 3`, and on the cluster of
`analysis.clusters` if that is there. Slices are searched for in one half of the images and tested
on the other half, and the other way round, so the search cannot flatter itself: in at most 5 % of
data sets in which nothing matters is any slice reported. A longer slice is reported only if it is
clearly worse than the same slice without any one of its conditions (once the excess of slices found
before it is taken off), and a slice is left out if smaller ones, or metadata if it is a cluster's,
account for it.
Metrics (confidence, entropy and the like) are never conditions.

There are four searches, each with a quarter of the 5 %. What goes with a high loss is above all how
much foreground there is to get wrong, and what goes with a low IoU how little: so both are also
searched given size, the percentages of the foreground classes.

    loss                  nats per pixel; high is bad
    mean_iou_foreground   low is bad
    loss_given_size       log of the loss over what is expected of an image with as much of each
                          class: 0.1 is about 10 % more loss; high is bad
    mean_iou_foreground_given_size    IoU minus what is expected likewise; low is bad

Writes `slices.json` (kind 'slices', version 5) and `slices.png`, a bar for every slice, into the
run's `analysis/<split>-<step>/`:

    num_images, seed, uses_clusters
    metrics       by name as above:
        num_images    that have the metric
        mean          of the metric over them; null if there is none
        num_tested    slices that the search handed over to the test
        slices        confirmed ones, by falling impact:
            conditions    [[column, relation, value], …]; relation is '<=', '>=' or 'is'
            text          the same in words
            size          images in the slice, both halves
            share         of the images, in the half that was tested
            mean          of the metric in the slice, and
            mean_elsewhere    in all other images, both in the half that was tested
            excess        how much worse: the difference in the direction that is bad, and
            interval      its 95 % interval (Welch)
            impact        share · excess
            p             of the one-sided permutation test of ranks, adjusted (max-T)
            worst         image ids of the slice's 5 worst images
"""

import argparse
import pathlib
from collections.abc import Sequence

import matplotlib
import numpy as np
import pyarrow

from analysis.clusters.schema import Clusters
from analysis.samples import stage as samples
from analysis.slices.search import CLUSTER, LEVEL, find_slices, membership
from analysis.stage import old_artifacts as artifacts
from analysis.stage.command import make_parser, run_command
from analysis.stage.run import Analysis
from segmentation import markdown

matplotlib.use('agg')
import matplotlib.pyplot as plt

VERSION = 5
# Metric → 1 if high is bad, -1 if low is.
METRICS = {
    'loss': 1,
    'mean_iou_foreground': -1,
    'loss_given_size': 1,
    'mean_iou_foreground_given_size': -1,
}


def load_columns(analysis: Analysis) -> dict[str, np.ndarray]:
    """What conditions are made of: metadata `[N]` and, if it was computed, the cluster.

    Raises:
      ValueError: a table is missing or does not fit.
    """
    table = samples.compute_or_load(analysis)
    columns = {name: samples.numbers(table, name) for name in samples.columns(table, 'metadata')}
    for name in ('is_colored', 'is_grayscale'):
        columns[name] = columns[name] == 1
    if artifacts.exists(analysis, Clusters):
        columns[CLUSTER] = artifacts.load(analysis, Clusters).label.astype(np.int64)
    return columns


def given_size(metric: np.ndarray, percents: Sequence[np.ndarray]) -> np.ndarray:
    """A metric minus its least-squares prediction from how much of each class there is.

    Args:
      metric: `[N]`, finite.
      percents: of the image, `[N]` for each class; 0 also stands apart, as the class' absence.
    """
    terms = [np.ones(len(metric))]
    for percent in percents:
        scaled = np.log1p(10 * percent)
        terms += [percent > 0, scaled, scaled**2, percent]
    design = np.stack(terms, axis=1).astype(np.float64)
    return metric - design @ np.linalg.lstsq(design, metric, rcond=None)[0]


def metric_values(
    name: str, table: pyarrow.Table, class_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Values of one of `METRICS`, and which images `[N]` have it."""
    base = name.removesuffix('_given_size')
    values = samples.numbers(table, base)
    percents = [samples.numbers(table, f'percent_{other}') for other in class_names[1:]]
    known = ~np.isnan([values, *percents]).any(0)
    values, percents = values[known], [percent[known] for percent in percents]
    if base != name:
        values = np.log(values.clip(1e-9)) if base == 'loss' else values
        values = given_size(values, percents)
    return values, known


def compute(analysis: Analysis, seed: int = 0) -> dict:
    """The content of the artifact."""
    columns = load_columns(analysis)
    table = samples.load(analysis)
    result = {
        'num_images': len(table),
        'seed': seed,
        'uses_clusters': CLUSTER in columns,
        'metrics': {},
    }
    for metric, sign in METRICS.items():
        values, known = metric_values(metric, table, analysis.run.class_names)
        here = {name: column[known] for name, column in columns.items()}
        ids = analysis.examples.image_ids[known]
        found = find_slices(here, sign * values, seed, LEVEL / len(METRICS))
        for row in found['slices']:
            inside = np.flatnonzero(membership(here, row['conditions']))
            worst = inside[np.argsort(-sign * values[inside], kind='stable')[:5]]
            row['worst'] = ids[worst].tolist()
            for key in ('mean', 'mean_elsewhere'):
                row[key] = sign * row[key] + 0.0  # 0.0: not -0.0
        result['metrics'][metric] = {
            'num_images': len(values),
            'mean': float(values.mean()) if len(values) else None,
            **found,
        }
    return result


def load(analysis: Analysis) -> dict:
    """The artifact.

    Raises:
      ValueError: it is missing, damaged, or does not fit.
    """
    return artifacts.load_json(analysis, 'slices', VERSION)


def to_markdown(result: dict) -> str:
    """A table of slices for each metric."""
    parts = []
    for metric, found in result['metrics'].items():
        count = len(found['slices'])
        if found['mean'] is None:
            parts.append(f'**{metric}**: no image has it.')
            continue
        parts.append(
            f'**{metric}**: {found["mean"]:.3f} over {found["num_images"]} images; {count} of '
            f'{found["num_tested"]} slices found in one half were confirmed in the other.'
        )
        if count:
            parts.append(
                markdown.table(
                    (
                        *('slice', 'images', 'in it', 'elsewhere'),
                        *('worse by (95 %)', 'share × excess', 'p', 'worst images'),
                    ),
                    (
                        (
                            *(row['text'], str(row['size'])),
                            *(f'{row["mean"]:.3f}', f'{row["mean_elsewhere"]:.3f}'),
                            f'{row["excess"]:.3f} '
                            f'({row["interval"][0]:.3f}, {row["interval"][1]:.3f})',
                            *(f'{row["impact"]:.4f}', f'{row["p"]:.4f}'),
                            ', '.join(map(str, row['worst'])),
                        )
                        for row in found['slices']
                    ),
                )
            )
    return '\n\n'.join(parts)


def figure(result: dict, path: pathlib.Path) -> None:
    """Draws the excess of each slice with its interval, a panel for each metric, as PNG."""
    heights = [max(1, len(found['slices'])) for found in result['metrics'].values()]
    picture, axes = plt.subplots(
        len(heights),
        1,
        figsize=(11, 3 + 0.4 * sum(heights)),
        layout='constrained',
        height_ratios=[0.5 + height for height in heights],
    )
    for axis, (metric, found) in zip(axes, result['metrics'].items(), strict=True):
        slices = found['slices']
        places = np.arange(len(slices))
        bounds = np.array([row['interval'] for row in slices]).reshape(-1, 2)
        axis.barh(places, [row['excess'] for row in slices], color='#56B4E9')
        axis.hlines(places, *bounds.T, color='black')
        texts = [f'{row["text"]} ({row["size"]} images)'.replace('$', r'\$') for row in slices]
        axis.set_yticks(places, texts, fontsize='small')
        axis.set_ylim(max(1, len(slices)) - 0.4, -0.6)
        axis.axvline(0, color='black', linewidth=0.8)
        axis.set_title(f'{metric}: worse than elsewhere by' if slices else f'{metric}: no slice')
    picture.suptitle('Confirmed slices by size × excess, with 95 % intervals')
    picture.savefig(path, dpi=120)
    plt.close(picture)


def _run(arguments: argparse.Namespace) -> dict:
    analysis = artifacts.open_chosen(arguments)
    samples.compute_or_load(analysis)
    origin = artifacts.origin(analysis, 'samples.parquet', 'clusters.npz', seed=arguments.seed)
    if not arguments.force and artifacts.is_current(analysis, 'slices.json', VERSION, origin):
        result = load(analysis)
    else:
        result = compute(analysis, arguments.seed)
        artifacts.save_json(analysis, 'slices', VERSION, result, origin)
    path = analysis.folder / 'slices.png'
    figure(result, path)
    print(to_markdown(result), f'{path} shows them.', sep='\n\n')
    return result


def main(argv: list[str] | None = None) -> int:
    parser = make_parser('slices', __doc__)
    parser.add_argument('--seed', type=int, default=0, help='of the halves; default: %(default)s')
    parser.add_argument('--force', action='store_true', help='compute them again')
    return run_command(parser.parse_args(argv), _run)
