"""IoU against cost: multiply-adds and images per second of the networks of a comparison.

    python scripts/experiments/reproduce.py --workdir runs/cost --experiments person_car \\
        --variant narrow model.decoder_width=0.25 --variant small data.image_size=96
    python scripts/benchmarks/cost_quality.py --workdir runs/cost

Reads the report.json of reproduce.py. Its IoUs are counted on the same pixels, whatever the size of
a network's input; differences are paired, with 95 % confidence intervals over images and training
runs. The networks run with random variables in turns, which is as fast as with trained ones, each
in a process of its own. Writes cost.md, cost.json and cost.png into WORKDIR.

Multiply-adds are those of all convolutions for one image. Images per second are medians over the
rounds, the ratio is the median of the ratios to the first network in the same round.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
import sys
from typing import TYPE_CHECKING, Any

import contenders

from analysis.experiments.records import Measure, Origin, Table, interval_of, measure
from analysis.figures import palette
from analysis.stage.command import run_command
from segmentation import launch
from segmentation.files import replacing, write_json, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BATCH, STEPS = 16, 2  # of a turn


def read_networks(workdir: pathlib.Path) -> tuple[Origin, dict[str, dict[str, Any]]]:
    """The networks of a report, by experiment, the reference first.

    Returns:
      The origin of the report; and by experiment the `spec` of its worker (see
      `peers/jax_worker.py`), `iou` and `difference` from the reference of the foreground mean,
      None for the reference.

    Raises:
      ValueError: the directory has no report of reproduce.py.
    """
    from analysis.experiments.reproduction import MEAN

    try:
        report = json.loads((workdir / 'report.json').read_text())
        first = next(iter(report['scores']))
        tests = {
            claim['models'][1]: next(test for test in claim['tests'] if test['metric'] == 'iou')
            for claim in report['claims']
            if claim['score'] == MEAN and claim['models'][0] == first
        }
        rows = {name: next(iter(parts.values())) for name, parts in report['scores'].items()}
        origin = Origin(**report['origin'])
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise ValueError(f'{workdir} has no report.json of reproduce.py: {error!r}') from error
    found = {}
    for name, row in rows.items():
        path = next((workdir / name).glob('seed0*/config.json'), None)
        if path is None:
            raise ValueError(f'{workdir / name} has no training run, whose network is measured.')
        config, mean, test = json.loads(path.read_text()), row['iou'][MEAN], tests.get(name)
        found[name] = {
            'spec': {
                'task': 'inference', 'form': 'project', 'threads': contenders.usable_cores(),
                'classes': len(row['iou']), 'batch_size': BATCH,
                'image_size': config['data']['image_size'], 'model': config['model'],
            },
            'iou': measure(mean),
            'difference': test and Measure(test['difference'], interval_of(test['interval'])),
        }  # fmt: skip
    return origin, found


def time_networks(networks: dict[str, dict[str, Any]], rounds: int, workdir: pathlib.Path) -> None:
    """Adds `multiply_adds` and `per_second`, a rate for each round, to each network."""
    command = contenders.find_peer('jax', sys.executable, workdir)

    def start(name: str) -> contenders.Worker:
        return contenders.Worker(name, command, networks[name]['spec'], BATCH, STEPS)

    # The reference is called 'ours', because nothing can be compared without it.
    first, *_ = networks
    workers, absent = contenders.alternate(
        [('ours' if name == first else name, lambda name=name: start(name)) for name in networks],
        rounds, title='inference',
    )  # fmt: skip
    if absent:
        raise ValueError(f'These networks cannot be timed: {absent}')
    for (name, network), worker in zip(networks.items(), workers.values(), strict=True):
        networks[name] = {
            **network,
            'multiply_adds': worker.about['flop'] // 2,
            'per_second': worker.rates,
        }


def make_table(networks: dict[str, dict[str, Any]]) -> Table:
    """One row per network."""
    first = next(iter(networks.values()))
    rows = []
    for name, network in networks.items():
        pairs = zip(network['per_second'], first['per_second'], strict=True)
        spec, adds = network['spec'], network['multiply_adds']
        model = spec['model']
        rows.append(
            (
                name, str(spec['image_size']), f'{model["width"]:g}, {model["decoder_width"]:g}',
                f'{adds / 1e6:.0f}', f'{adds / first["multiply_adds"]:.0%}',
                f'{statistics.median(network["per_second"]):.1f}',
                f'{statistics.median(mine / other for mine, other in pairs):.1f}×',
                network['iou'], network['difference'] or '',
            )
        )  # fmt: skip
    columns = (
        'network', 'input', 'width: encoder, decoder', 'multiply-adds, millions', 'of the first',
        'images/s', 'ratio', 'foreground mean IoU', 'difference',
    )  # fmt: skip
    return Table(columns, tuple(rows))


def draw(networks: dict[str, dict[str, Any]]) -> 'Figure':
    """IoU over multiply-adds and over images per second."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    figure = Figure(figsize=(11, 4.5), layout='constrained')
    axes = figure.subplots(1, 2, sharey=True)
    for name, network in networks.items():
        iou: Measure = network['iou']
        if iou.value is None:
            continue
        places = network['multiply_adds'] / 1e6, statistics.median(network['per_second'])
        for axis, place in zip(axes, places, strict=True):
            if iou.interval:
                low, high = iou.interval
                axis.plot([place, place], [low, high], color=palette.GRAY, linewidth=1)
            axis.plot(place, iou.value, 'o', color=palette.BLUE)
            axis.annotate(
                name, (place, iou.value), (6, 4), textcoords='offset points', fontsize='small'
            )
    for axis, label in zip(axes, ('multiply-adds, millions', 'images per second'), strict=True):
        axis.set(xlabel=label, xscale='log')
        axis.margins(x=0.25)  # room for the names
        axis.xaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
        for formatted in axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter:
            formatted(StrMethodFormatter('{x:.0f}'))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel('foreground mean IoU, 95 % CI over images and seeds')
    return figure


def work(arguments: argparse.Namespace) -> dict:
    origin, networks = read_networks(arguments.workdir)
    try:
        time_networks(networks, arguments.rounds, arguments.workdir)
    except contenders.WorkerFailed as failure:
        raise ValueError(str(failure)) from failure
    table, machine = make_table(networks), contenders.describe_machine()
    text = (
        f'{machine["cpu"]}, {machine["cores"]} cores, batches of {BATCH}, {arguments.rounds} '
        f'rounds\n\n{table.to_markdown()}\n'
    )
    print(text)
    result = {
        'machine': machine,
        'origin': dataclasses.asdict(dataclasses.replace(origin, command=arguments.command)),
        'tables': {'cost': dataclasses.asdict(table)},
        'per_second': {name: network['per_second'] for name, network in networks.items()},
    }
    write_text(arguments.workdir / 'cost.md', text)
    write_json(arguments.workdir / 'cost.json', result)
    with replacing(arguments.workdir / 'cost.png') as partial:
        draw(networks).savefig(partial, format='png', dpi=150)
    return result


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = launch.make_parser(__doc__)
    parser.add_argument('--rounds', type=int, default=7, help='turns of each network')
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        parser.error('--rounds: at least 1')
    arguments.command = launch.command_line('scripts/benchmarks/cost_quality.py', argv)
    return arguments


@launch.command
def main(argv: list[str] | None = None) -> int:
    return run_command(parse_arguments(argv), work)


if __name__ == '__main__':
    sys.exit(main())
