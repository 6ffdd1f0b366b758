"""Measures what users wait for, at two or more revisions of this project, in turns.

    python scripts/benchmarks/revisions.py --workdir runs/revisions --revisions HEAD~50 HEAD \\
        --config.data.source=/data/photographs

help      --help of the commands
demo      scripts/demo.sh, with the environment installed and nothing else
train     two short trainings of configs/person_car.py, on the images that are given
start     scripts/train.py to the end of its first step, with an empty (cold) and a filled (warm)
          compilation cache
predict   scripts/predict.py on one image (the first turn fills the compilation cache)
analyze   scripts/analyze.py on the val split with the second training as --other, then label_issues
          and saliency alone
tests     scripts/test.sh (only on request)

Each revision is cloned into the workdir and installed into an environment of its own. The table has
the median wall time, processor time (of all threads and children; more reliable on a busy machine)
and peak resident memory of the largest process, and the last revision over the first. Parts `help`,
`start` and `predict` alternate --rounds times, the others run once for each revision. The same
command continues; finished measurements are read.

Config fields go to all trainings (--config.data.source, --config.model.pretrained …); paths must be
absolute, as the commands run in the clones. Only fields that all revisions have can be set.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, replace
from typing import Any

import contenders
from analysis_scaling import measure

from analysis.experiments.records import Origin, Record, Table
from analysis.stage.command import run_command
from segmentation import launch
from segmentation.campaign import overrides
from segmentation.data.coco_files import IMAGE_SUFFIXES
from segmentation.files import write_json

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTS = ('help', 'demo', 'train', 'start', 'predict', 'analyze', 'tests')
REPEATED = ('help', 'start', 'predict')
TRAINED = {'train', 'start', 'predict', 'analyze'}  # parts that need photographs
COMMANDS = 'train', 'predict', 'analyze', 'sweep'
ALONE = 'label_issues', 'saliency'
STAGES = (
    'samples', 'embeddings', 'clusters', 'similarity_map', 'similar', 'confusion', 'associations',
    'slices', 'label_issues', 'saliency', 'pictures', 'report',
)  # fmt: skip
KEYS = {'wall_seconds': 'wall, s', 'cpu_seconds': 'processor, s', 'peak_mb': 'peak, MB'}


class Revision:
    """A clone of the project at a commit, with its environment and its training runs."""

    def __init__(self, folder: pathlib.Path, commit: str, given: list[str], steps: int):
        self.folder, self.code, self.commit = folder, folder / 'code', commit
        self.runs = folder / 'run', folder / 'other'
        fields = {
            'data.data_dir': folder / 'prepared',
            'train.batch_size': 16,
            'train.num_steps': steps,
            'train.eval_every': steps,
            'train.num_pictures': 0,
        }
        self.overrides = [*overrides(fields), *given]

    def install(self) -> None:
        """Clones the commit and installs it, unless that is done."""
        if not (self.code / '.git').exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            half = self.folder / 'cloning'
            shutil.rmtree(half, ignore_errors=True)
            git('clone', '--quiet', '--no-checkout', str(ROOT), str(half))
            git('-C', str(half), 'checkout', '--quiet', self.commit)
            half.rename(self.code)
        self._measure('install', 'bash', '-c', 'source scripts/environment.sh')

    def _environment(self, cache: str = 'cache') -> dict[str, str]:
        path = f'{self.code / ".venv/bin"}{os.pathsep}{os.environ["PATH"]}'
        # Those of the process that measures must not reach the revision.
        others = dict.fromkeys(('PYTHONPATH', 'VIRTUAL_ENV', 'VENV', 'PYTHON'), '')
        return {
            **others, 'PATH': path, 'JAX_PLATFORMS': 'cpu',
            'JAX_COMPILATION_CACHE_DIR': str(self.folder / cache),
        }  # fmt: skip

    def _measure(self, name: str, *command: str, cache: str = 'cache') -> dict[str, float]:
        log = self.folder / f'{name}.log'
        found = shutil.which(command[0], path=self._environment()['PATH']) or command[0]
        return measure([found, *command[1:]], log, self._environment(cache), self.code)

    def help(self) -> dict[str, dict]:
        return {
            f'{name} --help': self._measure('help', 'python', f'scripts/{name}.py', '--help')
            for name in COMMANDS
        }

    def demo(self) -> dict[str, dict]:
        for folder in (self.code / 'data', self.code / 'runs', self.folder / 'demo-cache'):
            shutil.rmtree(folder, ignore_errors=True)  # of a demo that was interrupted
        return {'demo.sh': self._measure('demo', './scripts/demo.sh', cache='demo-cache')}

    def train(self) -> dict[str, dict]:
        for name in ('prepared', 'cache'):  # of trainings that were interrupted
            shutil.rmtree(self.folder / name, ignore_errors=True)
        found = {}
        for seed, run in enumerate(self.runs):
            shutil.rmtree(run, ignore_errors=True)
            command = self._train(run, f'--config.seed={seed}')
            found[f'train.py, {run.name}'] = self._measure('train', *command)
        return found

    def _train(self, run: pathlib.Path, *given: str) -> list[str]:
        command = ['python', 'scripts/train.py', '--config', 'configs/person_car.py']
        return [*command, '--workdir', str(run), *self.overrides, *given]

    def start(self) -> dict[str, dict]:
        shutil.rmtree(self.folder / 'start-cache', ignore_errors=True)
        return {f'first step, {which}': self._first_step() for which in ('cold', 'warm')}

    def _first_step(self) -> dict[str, float]:
        run = self.folder / 'start'
        shutil.rmtree(run, ignore_errors=True)
        command = self._train(run, '--config.train.log_every=1')
        metrics, began = run / 'metrics.jsonl', time.perf_counter()
        with (self.folder / 'start.log').open('w') as log:
            process = contenders.start(
                command, self._environment('start-cache'), cwd=self.code, stdout=log, stderr=log
            )
        try:
            while not (metrics.exists() and metrics.stat().st_size):
                if process.poll() is not None:
                    raise ValueError(f'{" ".join(command)} ended early; see {log.name}')
                time.sleep(0.01)
            seconds = time.perf_counter() - began
        finally:
            contenders.kill(process)
            process.wait()
        return {'wall_seconds': seconds}

    def predict(self) -> dict[str, dict]:
        description = json.loads((self.runs[0] / 'config.json').read_text())
        source = description['data']['source']
        image = next(path for path in sorted(pathlib.Path(source).rglob('*')) if is_image(path))
        command = ['python', 'scripts/predict.py', '--workdir', str(self.runs[0]), '--output']
        output = self.folder / 'predictions'
        shutil.rmtree(output, ignore_errors=True)
        measured = self._measure('predict', *command, str(output), str(image))
        return {'predict.py, one image': measured}

    def analyze(self) -> dict[str, dict]:
        for folder in (*(run / 'analysis' for run in self.runs), self.folder / 'analysis-cache'):
            shutil.rmtree(folder, ignore_errors=True)
        run, other = map(str, self.runs)
        view = '--workdir', run, '--split', 'val'
        found = {'analyze.py': self._measure(
            'analyze', 'python', 'scripts/analyze.py', *view, '--other', other,
            '--stages', ','.join(STAGES), cache='analysis-cache',
        )}  # fmt: skip
        for stage in ALONE:
            command = 'python', '-m', f'analysis.{stage}', *view, '--force'
            found[f'{stage}, alone'] = self._measure(stage, *command, cache='analysis-cache')
        return found

    def tests(self) -> dict[str, dict]:
        shutil.rmtree(self.folder / 'test-cache', ignore_errors=True)
        return {'test.sh': self._measure('tests', './scripts/test.sh', cache='test-cache')}


def is_image(path: pathlib.Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def git(*arguments: str) -> str:
    """Standard output of git in this repository. Raises ValueError with its error message."""
    done = subprocess.run(['git', *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f'git {" ".join(arguments)}: {done.stderr.strip()}')
    return done.stdout.strip()


def summarize(measured: dict[str, dict[str, list[dict]]], commits: list[str]) -> Table:
    """A row for each command that all revisions ran, with the last over the first.

    Args:
      measured: commit → part → for each round, command → its `KEYS`.
      commits: the revisions, as they were given.
    """
    columns = ['']
    columns += [f'{commit[:8]}: {title}' for commit in commits for title in KEYS.values()]
    rows = []
    for part in PARTS:
        rounds = [measured.get(commit, {}).get(part) for commit in commits]
        if not all(rounds):
            continue
        for command in rounds[0][0]:
            medians = [
                {
                    key: statistics.median(each[command][key] for each in turns)
                    for key in KEYS
                    if key in turns[0][command]
                }
                for turns in rounds
            ]
            cells = [f'{m[key]:.2f}' if key in m else '' for m in medians for key in KEYS]
            first, last = medians[0], medians[-1]
            cells += [f'{last[key] / first[key]:.2f}' if key in first else '' for key in KEYS]
            rows.append((command, *cells))
    columns += [f'{title.split(",")[0]}, last / first' for title in KEYS.values()]
    return Table(tuple(columns), tuple(rows))


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures what was not measured before; returns the result for JSON.

    Raises:
      ValueError: a revision does not exist, a command failed, or the workdir has measurements
        with other settings.
    """
    named = [git('rev-parse', '--verify', f'{name}^{{commit}}') for name in arguments.revisions]
    commits = list(dict.fromkeys(named))
    settings = {'overrides': sorted(arguments.overrides), 'steps': arguments.steps}
    file = arguments.workdir / 'measured.json'
    result = {'settings': settings, 'machine': contenders.describe_machine(), 'measured': {}}
    if file.exists():
        result = json.loads(file.read_text())
        if result['settings'] != settings:
            raise ValueError(
                f'{file} was measured with {result["settings"]}, not with {settings}; '
                'give another --workdir'
            )
    revisions = [
        Revision(arguments.workdir / commit[:12], commit, arguments.overrides, arguments.steps)
        for commit in commits
    ]
    for revision in revisions:
        contenders.say(f'installing {revision.commit[:12]}')
        revision.install()
    for part in (part for part in PARTS if part in arguments.parts):
        for number in range(arguments.rounds if part in REPEATED else 1):
            for revision in revisions if number % 2 == 0 else reversed(revisions):
                of_part = result['measured'].setdefault(revision.commit, {}).setdefault(part, [])
                if len(of_part) <= number:
                    contenders.say(f'{part} {number + 1}: {revision.commit[:12]}')
                    of_part.append(getattr(revision, part)())
                    write_json(file, result)
    table = summarize(result['measured'], commits)
    print(table.to_markdown())
    machine = '{cpu}, {cores} cores'.format(**result['machine'])
    origin = replace(Origin.of_runs([], arguments.command, [0]), devices=(machine,))
    return {**result, **asdict(Record(origin, {'commands': table}))}


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = launch.make_parser(__doc__)
    add = parser.add_argument
    add('--revisions', nargs='+', required=True, metavar='COMMIT', help='two or more, oldest first')
    add(
        '--parts', default=','.join(PARTS[:-1]), metavar='PART,PART,…',
        help='parts to measure, of those above; default: all but tests',
    )  # fmt: skip
    add('--rounds', type=int, default=7, help='turns of the parts that alternate')
    add('--steps', type=int, default=150, help='steps of each training')
    arguments = contenders.parse_parts(parser, PARTS, argv)
    sources = [text.partition('=')[2] for text in arguments.overrides if '.data.source=' in text]
    if TRAINED & set(arguments.parts) and not (
        sources
        and sources[-1].startswith('/')
        and any(map(is_image, pathlib.Path(sources[-1]).rglob('*')))
    ):
        parser.error(
            f'parts {", ".join(sorted(TRAINED))} need --config.data.source, '
            'the absolute path of a folder with images'
        )
    if len(arguments.revisions) < 2 or arguments.rounds < 1 or arguments.steps < 1:
        parser.error('at least two --revisions, one of --rounds and one of --steps')
    arguments.command = launch.command_line('scripts/benchmarks/revisions.py', argv)
    arguments.workdir = arguments.workdir.resolve()
    return arguments


@launch.command
def main(argv: list[str] | None = None) -> int:
    return run_command(parse_arguments(argv), compare)


if __name__ == '__main__':
    contenders.stop_once()
    sys.exit(main())
