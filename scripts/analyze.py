"""Runs every analysis of a checkpoint, in the order in which they need each other.

    python scripts/analyze.py --workdir runs/person_car --split val
    python scripts/analyze.py --workdir runs/person_car --other runs/vehicle

Each stage is a command of its own, `python -m analysis.<stage>`, whose --help says what it writes
into the run's analysis/<split>-<step>/. Started again, what is there is read and the rest is
computed. A stage that fails ends the command, with what it said; the stages before it are kept.
With --other, the run is compared with another one on the same images, of which the stages that the
comparison and its page read are run first. The report, for a browser, comes last and shows all that
is there.

Results that are printed by the stages go to <stage>.md there; --json FILE has all of them, with the
seconds that each stage took and the peak memory of the process when it was done.
"""

import argparse
import contextlib
import importlib
import io
import json
import pathlib
import resource
import sys
import tempfile
import time

import jax

from analysis.stage.artifacts import open_analysis, open_chosen
from analysis.stage.command import add_arguments
from segmentation import cpu_runtime, markdown

STAGES = (
    'mean_iou',
    'samples',
    'embeddings',
    'clusters',
    'similarity_map',
    'similar',
    'confusion',
    'associations',
    'slices',
    'label_issues',
    'saliency',
    'pictures',
    'report',
)

# What is shown of the other run.
OTHER_STAGES = 'samples', 'embeddings', 'clusters', 'similarity_map', 'similar', 'pictures'


def run_stage(stage: str, argv: list[str], report: pathlib.Path) -> dict | None:
    """Runs one stage in this process.

    Args:
      stage: module of `analysis`.
      argv: its arguments.
      report: file for what it prints.

    Returns:
      `seconds`, `peak_mb` (of the process so far) and `result` (the stage's JSON), or None if it
      failed; then it has said why on standard error.
    """
    start, printed = time.perf_counter(), io.StringIO()
    with tempfile.NamedTemporaryFile('r', suffix='.json') as file:
        module = importlib.import_module(f'analysis.{stage}')
        if hasattr(module, '__path__'):
            module = importlib.import_module(f'analysis.{stage}.stage')
        with contextlib.redirect_stdout(printed):
            status = module.main([*argv, '--json', file.name])
        if status:
            return None
        result = json.load(file)
    report.write_text(printed.getvalue())
    # Programs of one stage are of no use to the next.
    jax.clear_caches()
    cpu_runtime.release_memory()
    return {
        'seconds': time.perf_counter() - start,
        'peak_mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        'result': result,
    }


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument(
        '--stages',
        default=','.join(STAGES),
        metavar='STAGE,STAGE,…',
        help='which ones; default: all, %(default)s',
    )
    parser.add_argument(
        '--other', type=pathlib.Path, metavar='WORKDIR', help='run to compare this one with'
    )
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the results here')
    arguments = parser.parse_args(argv)
    chosen = arguments.stages.split(',')
    if unknown := set(chosen) - set(STAGES):
        parser.error(f'unknown stages {", ".join(sorted(unknown))}; there are {", ".join(STAGES)}')
    arguments.stages = [stage for stage in STAGES if stage in chosen]
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
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
    done = {}
    for number, (name, stage, argv_of_stage, of) in enumerate(plan, 1):
        print(f'=== {number} of {len(plan)}: {name}', file=sys.stderr, flush=True)
        done[name] = run_stage(stage, argv_of_stage, of / f'{stage}.md')
        if done[name] is None:
            print(f'{name} failed; the same command continues with it.', file=sys.stderr)
            return 1
    rows = [
        (name, f'{row["seconds"]:.1f}', f'{row["peak_mb"]:.0f}', f'{stage}.md')
        for (name, stage, *_), row in zip(plan, done.values(), strict=True)
    ]
    print(markdown.table(('stage', 'seconds', 'peak memory so far, MB', 'report'), rows))
    total = sum(row['seconds'] for row in done.values())
    print(f'\n{total:.0f} seconds in all; everything is in {folder}')
    if 'report' in done:
        print(f'Open {done["report"]["result"]["page"]} in a browser.')
    if arguments.json:
        arguments.json.write_text(json.dumps(done, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    cpu_runtime.configure()
    sys.exit(main())
