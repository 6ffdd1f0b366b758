"""Measures the stages that are approximate for many images, without network and images.

    python scripts/benchmarks/many_embeddings.py
    python scripts/benchmarks/many_embeddings.py --sizes 8000 123287 --parts neighbors,map_2d

neighbors  the 20 nearest images of each, as the stage similar finds them
clusters   k-means and HDBSCAN, as the stage clusters finds them
map_2d     t-SNE, as the stage similarity_map computes it
map_3d     the same in three dimensions

Embeddings are synthetic: points around 60 centers of different frequency in 12 dimensions, bent by
a random layer into 200 dimensions with noise, and reduced to 48 half-whitened components of unit
length, as those of images are.

Each row is a process of its own. Processor time is that of the computation and of measuring its
quality, without imports; a stage adds starting and reading to it. Targets: at most 1.3 times the
processor time per image of the smallest size, and 3 GB. Quality is the recall of the neighbors, the
trustworthiness and recall of a map, or, of clusters, the adjusted Rand index of k-means with the 60
centers and the share of the sample on which HDBSCAN agrees with the nearest other image.
"""

import argparse
import concurrent.futures
import dataclasses
import multiprocessing
import sys
import time

import contenders
import numpy as np

from analysis.experiments.records import Origin, Record, Table
from analysis.stage.command import run_command
from segmentation import launch

PARTS = ('neighbors', 'clusters', 'map_2d', 'map_3d')
MOST_COST, MOST_MB = 1.3, 3000
SEED = 0  # of the embeddings
_CENTERS, _LATENT, _FEATURES, _DIMENSIONS = 60, 12, 200, 48


def make(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings float32 `[N, 48]`, and the center of each, int64 `[N]`."""
    rng = np.random.default_rng(SEED)
    centers = 1.2 * rng.normal(size=(_CENTERS, _LATENT))
    bend = rng.normal(size=(_LATENT, 128)) / _LATENT**0.5
    spread = rng.normal(size=(128, _FEATURES)) / 128**0.5
    share = 1 / np.arange(1, _CENTERS + 1)
    center = rng.choice(_CENTERS, number, p=share / share.sum())
    latent = centers[center] + rng.normal(size=(number, _LATENT))
    features = np.tanh(latent @ bend) @ spread + 0.15 * rng.normal(size=(number, _FEATURES))
    features -= features.mean(0)
    _, components = np.linalg.eigh(features.T @ features / number)
    points = features @ components[:, ::-1][:, :_DIMENSIONS]
    points /= np.sqrt(points.std(0))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points.astype(np.float32), center


def measure(part: str, number: int) -> dict[str, float | str]:
    """Measures a part in this process: `cpu_seconds`, `peak_mb` and `quality`."""
    import resource

    from sklearn.metrics import adjusted_rand_score

    from analysis.clusters import partition
    from analysis.similar import neighbors
    from analysis.similarity_map import stage as similarity_map

    points, center = make(number)
    start = time.process_time()
    if part == 'neighbors':
        index, _ = neighbors.neighbors(points, 20)
        quality = f'{neighbors.recall(points, index):.3f}'
    elif part == 'clusters':
        found = partition.cluster(points)
        assigned = found.density.assigned
        quality = f'{adjusted_rand_score(center, found.label):.3f}'
        quality += '' if assigned is None else f', {assigned:.3f}'
    else:
        projected = similarity_map.project(points, int(part[-2]))
        quality = ', '.join(f'{value:.3f}' for value in similarity_map.judge(points, projected))
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux counts in KiB
    return {'cpu_seconds': seconds, 'peak_mb': peak, 'quality': quality}


def summarize(measured: dict[str, dict[int, dict]]) -> list[dict]:
    """Part → number of images → what `measure` returned; for JSON a row of the table each."""
    rows = []
    for part, sizes in measured.items():
        first = min(sizes)
        for number, row in sorted(sizes.items()):
            cost = row['cpu_seconds'] / number / (sizes[first]['cpu_seconds'] / first)
            met = cost <= MOST_COST and row['peak_mb'] <= MOST_MB
            rows.append({'part': part, 'images': number, **row, 'cost': cost, 'met': met})
    return rows


def make_table(rows: list[dict]) -> Table:
    columns = (
        'part', 'images', 'processor, s', 'ms per image', 'times the smallest', 'peak, MB',
        'quality', 'within the target',
    )  # fmt: skip
    return Table(
        columns,
        tuple(
            (
                row['part'], f'{row["images"]:,}', f'{row["cpu_seconds"]:.1f}',
                f'{1000 * row["cpu_seconds"] / row["images"]:.2f}', f'{row["cost"]:.2f}',
                f'{row["peak_mb"]:.0f}', row['quality'], 'yes' if row['met'] else 'no',
            )
            for row in rows
        ),
    )  # fmt: skip


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = launch.make_parser(__doc__, workdir='')
    add = parser.add_argument
    add('--sizes', nargs='+', type=int, default=[8000, 123_287], metavar='N', help='images')
    add('--parts', default=','.join(PARTS), metavar='PART,PART,…', help='of those above')
    arguments = parser.parse_args(argv)
    arguments.parts = contenders.split_parts(parser, PARTS, arguments.parts)
    if min(arguments.sizes) < 100:
        parser.error('--sizes: at least 100 images')
    arguments.command = launch.command_line('scripts/benchmarks/many_embeddings.py', argv)
    return arguments


def work(arguments: argparse.Namespace) -> dict:
    context = multiprocessing.get_context('spawn')
    measured: dict[str, dict[int, dict]] = {part: {} for part in arguments.parts}
    for part in arguments.parts:
        for number in sorted(set(arguments.sizes)):
            contenders.say(f'=== {part}, {number} images')
            with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
                row = measured[part][number] = pool.submit(measure, part, number).result()
            contenders.say(f'{row["cpu_seconds"]:.1f} s, {row["peak_mb"]:.0f} MB, {row["quality"]}')
    rows = summarize(measured)
    table = make_table(rows)
    print(table.to_markdown())
    origin = Origin.of_runs([], arguments.command, [SEED])
    record = Record(dataclasses.replace(origin, devices=('cpu',)), {'parts': table})
    return {
        'machine': contenders.describe_machine(),
        'measured': rows,
        **dataclasses.asdict(record),
    }


@launch.command
def main(argv: list[str] | None = None) -> int:
    return run_command(parse_arguments(argv), work)


if __name__ == '__main__':
    sys.exit(main())
