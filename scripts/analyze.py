"""Runs every analysis of a checkpoint, in the order in which they need each other.

    python scripts/analyze.py --workdir runs/person_car --split val
    python scripts/analyze.py --list

Each stage is also a command of its own, `python -m analysis.<stage>`; its --help says what it
computes. Results go to the run's analysis/<split>-<step>/, what a stage prints to <stage>.md there.
Started again, the command reads what is up to date and computes the rest. A stage that fails ends
the command with its error; the results of the stages before it stay.

With --other, the run is compared with another one on the same images: first come the stages of the
other run that the comparison and the report show. The report, to open in a browser, comes last.

--json FILE has the results of all stages, with their time and the peak memory of the process.
"""

import argparse
import dataclasses
import pathlib
import sys

from analysis import registry
from analysis.registry import STAGES
from analysis.stage.command import add_arguments
from analysis.stage.run import open_analysis, open_chosen
from segmentation import cpu_runtime, launch, markdown
from segmentation.files import write_json

# What the report shows of the other run.
OTHER_STAGES = 'samples', 'embeddings', 'clusters', 'similarity_map', 'similar', 'pictures'


class _List(argparse.Action):
    def __call__(self, parser, *_):
        print(registry.graph())
        parser.exit()


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser, known = launch.make_parser(__doc__, workdir=''), (*STAGES, 'report')
    add_arguments(parser)
    parser.add_argument(
        '--list', action=_List, nargs=0, help='print the stages and what each of them reads'
    )
    parser.add_argument(
        '--stages',
        default=','.join(known),
        metavar='STAGE,STAGE,…',
        help='stages to run; default: all, %(default)s',
    )
    parser.add_argument(
        '--other', type=pathlib.Path, metavar='WORKDIR', help='run to compare this one with'
    )
    arguments = parser.parse_args(argv)
    chosen = arguments.stages.split(',')
    if unknown := set(chosen) - set(known):
        parser.error(f'unknown stages {", ".join(sorted(unknown))}; there are {", ".join(known)}')
    arguments.stages = [stage for stage in known if stage in chosen]
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    launch.start_logging()
    common = ['--workdir', str(arguments.workdir), '--split', arguments.split]
    data_path = ['--data_path', arguments.data_path] if arguments.data_path else []
    common += ['--checkpoint', arguments.checkpoint, *data_path]
    try:
        folder = open_chosen(arguments).folder
        if arguments.other:
            other_folder = open_analysis(
                arguments.other, arguments.split, data_path=arguments.data_path
            ).folder
    except (ValueError, OSError) as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        return 1
    other = ['--other', str(arguments.other)] if arguments.other else []
    plan = [(stage, stage, common, folder) for stage in arguments.stages if stage != 'report']
    if other:
        # The best checkpoint of the other run, as for `compare`.
        of_other = ['--workdir', str(arguments.other), '--split', arguments.split, *data_path]
        plan += [
            (f'{stage} of {arguments.other.name}', stage, of_other, other_folder)
            for stage in OTHER_STAGES
        ]
        plan.append(('compare', 'compare', [*common, *other], folder))
    if 'report' in arguments.stages:
        report = ['--workdir', str(arguments.workdir), '--first', folder.name, *other]
        plan.append(('report', 'report', report, folder))
    done: dict[str, registry.Measured] = {}
    for number, (name, stage, argv_of_stage, of) in enumerate(plan, 1):
        print(f'=== {number} of {len(plan)}: {name}', file=sys.stderr, flush=True)
        measured = registry.measure(stage, argv_of_stage, of / f'{stage}.md')
        if measured is None:
            print(f'{name} failed; the same command continues with it.', file=sys.stderr)
            return 1
        done[name] = measured
    rows = [
        (name, f'{row.seconds:.1f}', f'{row.processor_seconds:.1f}', f'{row.peak_mb:.0f}',
         f'{stage}.md')
        for (name, stage, *_), row in zip(plan, done.values(), strict=True)
    ]  # fmt: skip
    header = ('stage', 'seconds', 'processor seconds', 'peak memory so far, MB', 'report')
    print(markdown.table(header, rows))
    total, used = (
        sum(getattr(row, key) for row in done.values()) for key in ('seconds', 'processor_seconds')
    )
    print(f'\n{total:.0f} s in all, {used:.0f} s of processor time; results are in {folder}')
    if 'report' in done:
        print(f'Open {done["report"].result["page"]} in a browser.')
    if arguments.json:
        write_json(arguments.json, {name: dataclasses.asdict(row) for name, row in done.items()})
    return 0


if __name__ == '__main__':
    cpu_runtime.configure()
    sys.exit(main())
