"""Rehearses everything at the size of COCO 2014, from preparing to the report, on a stand-in.

    python scripts/benchmarks/full_coco.py --workdir runs/full_coco --source my_photographs
    python scripts/benchmarks/full_coco.py --workdir runs/small --source my_photographs \
        --fraction 0.01

stand_in   82,783 + 40,504 images with 604,907 + 291,875 instances, made of those of --source
prepare    scripts/prepare_coco.py, both splits
train      some steps with all images of both splits, then a score on about 100 held-out images
inference  the network alone on batches in memory, the rate that the next parts are compared with
evaluate   the stages predictions and mean_iou, on all images but those 100
analyze    all other stages that a single split has, each in a process of its own
report     the page
train_few  training steps with 8,000 of the images (times --fraction, at least 200)
scaling    evaluate, analyze and report on these

The stand-in (stand_in.py) has files of COCO's mean size, 163 KB. Each is made of a photograph by a
random crop of at least 85 % of its width and height, perhaps mirrored, enlarged to 640 pixels if it
is smaller (with grain, as smooth images are small and fast to decode), and encoded again. No two
files are equal and none is a link, so that reading and decoding cost what they cost with COCO.
Polygons move with their photograph; they are repeated with a shift, or left out, so that their
number is exact. One instance in 100 is a crowd in uncompressed run lengths. At full size this takes
about 20 minutes of processor time and 20 GB; the prepared data take another 20 GB.

The table has the wall time, the processor time (of all threads and children; more reliable on a
busy machine), the peak resident memory of the largest process, and the images per second of wall
time. Targets: 6 minutes (times --fraction) and 1.5 GB to prepare; evaluation and samples at least
0.9 times as fast as inference; at most 3 GB for each stage; at most 1.3 times the processor time
per image that 8,000 images take. At a small fraction, starting and compiling hide the rates.

The same command continues; a part that is measured already is read, and one that was interrupted
begins again, except that images of the stand-in and stages that are finished stay. (The time of an
interrupted stand-in is that of the rest.) Fields of the
config can be set, such as --config.model.width=0.35.
"""

import argparse
import contextlib
import json
import pathlib
import shutil
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, replace

import contenders
import full_coco_report
import psutil
import stand_in
from analysis_scaling import list_stages, measure, measure_stages

from analysis.experiments.records import Origin
from analysis.stage.command import run_command
from segmentation import launch
from segmentation.campaign import overrides
from segmentation.files import write_json

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTS = (
    'stand_in', 'prepare', 'train', 'inference', 'evaluate', 'analyze', 'report', 'train_few',
    'scaling',
)  # fmt: skip
EVALUATED = ('predictions', 'mean_iou')
SPLIT = 'train'  # the view of the analysis; both splits of the data set are in it
HELD_OUT = 100  # images that choose the checkpoint, at most a tenth
FEW = 8000  # images, at full size, of part scaling
_BATCH, _STEPS, _TURNS = 16, 8, 7  # of inference


class Rehearsal:
    """Measures the parts; `result` has what was measured so far, also by earlier commands."""

    def __init__(self, arguments: argparse.Namespace):
        """Raises ValueError if the folder has measurements with other arguments."""
        self.arguments, self.folder = arguments, arguments.workdir
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / 'measured.json'
        settings = {
            'source': [str(source) for source in arguments.source],
            'fraction': arguments.fraction,
            'steps': arguments.steps,
            'overrides': sorted(arguments.overrides),
        }
        self.result = {'settings': settings, 'machine': contenders.describe_machine()}
        if self.file.exists():
            try:
                self.result = json.loads(self.file.read_text())
                before = self.result['settings'] | {
                    'overrides': sorted(self.result['settings']['overrides'])
                }
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f'{self.file} is damaged ({error!r}): delete it to measure again'
                ) from error
            if before != settings:
                raise ValueError(
                    f'{self.file} was measured with {before}, not with '
                    f'{settings}; give another --workdir'
                )

    def run(self, parts: list[str]) -> None:
        """Measures those of the parts that were not measured before, in the order of `PARTS`.

        Raises:
          ValueError: a command failed, or a part needs one that was not measured.
        """
        for part in PARTS:
            if part in parts and part not in self.result:
                contenders.say(f'=== {part}')
                self.result[part] = getattr(self, part)()
                write_json(self.file, self.result)

    def _needs(self, part: str) -> dict:
        if part not in self.result:
            raise ValueError(f'part {part} comes first; add it to --parts')
        return self.result[part]

    def _measure(self, name: str, *command: object) -> dict[str, float]:
        command = [sys.executable, *map(str, command)]
        cache = {'JAX_COMPILATION_CACHE_DIR': str(self.folder / 'cache')}
        return measure(command, self.folder / f'{name}.log', cache)

    def stand_in(self) -> dict:
        made = self.folder / 'stand_in.json'
        command = ['scripts/benchmarks/stand_in.py', '--output', self.folder / 'stand_in']
        command += ['--source', *self.arguments.source, '--fraction', self.arguments.fraction]
        measured = self._measure('stand_in', *command, '--json', made)
        return {**measured, **json.loads(made.read_text())}

    def prepare(self) -> dict:
        self._needs('stand_in')
        made = self.folder / 'prepare.json'
        shutil.rmtree(self.folder / 'data', ignore_errors=True)
        command = ['scripts/prepare_coco.py', '--source', self.folder / 'stand_in']
        measured = self._measure(
            'prepare', *command, '--data_dir', self.folder / 'data', '--json', made
        )
        prepared = json.loads(made.read_text())
        splits = prepared['fingerprint']['splits'].values()
        counts = {key: sum(split[key] for split in splits) for key in ('images', 'instances')}
        return {**measured, **counts, 'path': prepared['path']}

    def train(self) -> dict:
        return self._train('full', 0)

    def _train(self, name: str, most: int) -> dict:
        """Trains on the first `most` images, or on all if it is 0."""
        prepared = self._needs('prepare')
        number = min(most or prepared['images'], prepared['images'])
        fields = {
            'data.source': prepared['path'],
            'data.train_splits': ('train', 'val'),
            'data.val_splits': (),
            'data.require': 'nothing',
            'data.max_train': most,
            'data.selection_fraction': min(0.1, HELD_OUT / number),
            'model.pretrained': '',
            'train.num_steps': self.arguments.steps,
            'train.eval_every': self.arguments.steps,
            'train.log_every': max(1, self.arguments.steps // 5),
            'train.num_pictures': 0,
        }
        run = self.folder / name / 'run'
        shutil.rmtree(run.parent, ignore_errors=True)
        run.parent.mkdir()
        command = ['scripts/train.py', '--config', 'configs/person_car.py', '--workdir', run]
        given = [*overrides(fields), *self.arguments.overrides]
        measured = self._measure(f'{name}/train', *command, *given)
        lines = map(json.loads, (run / 'metrics.jsonl').read_text().splitlines())
        key = 'train/images_per_second'
        _, *rates = (line[key] for line in lines if key in line)  # the first includes compilation
        batch = json.loads((run / 'config.json').read_text())['train']['batch_size']
        measured['images'] = self.arguments.steps * batch
        return {**measured, 'per_second': statistics.median(rates)}

    def inference(self) -> dict:
        self._needs('train')
        config = json.loads((self.folder / 'full/run/config.json').read_text())
        spec = {
            'task': 'inference', 'form': 'project', 'threads': contenders.usable_cores(),
            'classes': 3, 'batch_size': _BATCH, 'image_size': config['data']['image_size'],
            'model': config['model'],
        }  # fmt: skip
        command = contenders.find_peer('jax', sys.executable, self.folder)
        with contextlib.closing(contenders.Worker('ours', command, spec, _BATCH, _STEPS)) as worker:
            process = psutil.Process(worker.process.pid)
            before = process.cpu_times()
            for _ in range(_TURNS):
                worker.turn(0)
            after = process.cpu_times()
            wall = sum(answer['seconds'] for answer in worker.answers)
            cpu = after.user + after.system - before.user - before.system
            images = _BATCH * _STEPS * _TURNS
            measured = {'images': images, 'wall_seconds': wall, 'cpu_seconds': cpu}
            rate, peak = statistics.median(worker.rates), worker.measured()['peak_mb']
            return {**measured, 'peak_mb': peak, 'per_second': rate}

    def _stages(self, name: str, chosen: Callable[[str], bool]) -> dict:
        """Measures stages of one of the two runs; the sums, and `stages` with each."""
        self._needs('train')
        folder = self.folder / name
        cache = {'JAX_COMPILATION_CACHE_DIR': str(self.folder / 'cache')}
        stages = [stage for stage in [*list_stages(), 'report'] if chosen(stage)]
        kept = folder / 'measured.json'
        measured = measure_stages(folder / 'run', kept, stages, cache, name, SPLIT)
        measured = {stage: measured[stage] for stage in stages}
        (scores,) = folder.glob(f'run/analysis/{SPLIT}-*/mean_iou.json')
        return {
            'images': json.loads(scores.read_text())['num_images'],
            'wall_seconds': sum(row['wall_seconds'] for row in measured.values()),
            'cpu_seconds': sum(row['cpu_seconds'] for row in measured.values()),
            'peak_mb': max(row['peak_mb'] for row in measured.values()),
            'stages': measured,
        }

    def evaluate(self) -> dict:
        return self._stages('full', lambda stage: stage in EVALUATED)

    def analyze(self) -> dict:
        self._needs('evaluate')
        return self._stages('full', lambda stage: stage not in (*EVALUATED, 'report'))

    def report(self) -> dict:
        self._needs('analyze')
        return self._stages('full', lambda stage: stage == 'report')

    def train_few(self) -> dict:
        return self._train('few', max(200, round(FEW * self.arguments.fraction)))

    def scaling(self) -> dict:
        self._needs('train_few')
        # Duplicates are searched in the whole data set, whatever is analyzed.
        return self._stages('few', lambda stage: stage != 'duplicates')


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = launch.make_parser(__doc__)
    stand_in.add_arguments(parser)
    add = parser.add_argument
    add('--steps', type=int, default=100, help='training steps')
    add(
        '--parts', default=','.join(PARTS), metavar='PART,PART,…',
        help='parts to measure, of those above',
    )  # fmt: skip
    arguments = contenders.parse_parts(parser, PARTS, argv)
    if arguments.steps < 5:
        parser.error(f'--steps {arguments.steps}: at least 5')
    arguments.command = launch.command_line('scripts/benchmarks/full_coco.py', argv)
    arguments.workdir = arguments.workdir.resolve()
    arguments.source = [source.resolve() for source in arguments.source]
    return arguments


def work(arguments: argparse.Namespace) -> dict:
    rehearsal = Rehearsal(arguments)
    try:
        rehearsal.run(arguments.parts)
    finally:  # What was measured before an error is shown too.
        print(full_coco_report.report(rehearsal.result))
    made = {name: asdict(each) for name, each in full_coco_report.tables(rehearsal.result).items()}
    targets = full_coco_report.compare(rehearsal.result)
    result = {**rehearsal.result, 'targets': targets, 'tables': made}
    machine, run = result['machine'], rehearsal.folder / 'full/run'
    if 'train' in result and (run / 'run.json').is_file():
        origin = Origin.of_runs([run], arguments.command, seeds=[0])
        devices = (f'{machine["cpu"]} ({machine["cores"]} cores)',)
        result['origin'] = asdict(replace(origin, devices=devices))
    return result


@launch.command
def main(argv: list[str] | None = None) -> int:
    return run_command(parse_arguments(argv), work)


if __name__ == '__main__':
    contenders.stop_once()
    sys.exit(main())
