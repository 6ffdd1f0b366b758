"""Times this project against other frameworks and runtimes on the CPU of this machine.

    python scripts/benchmarks/training_speed.py --json benchmark.json
    python scripts/benchmarks/training_speed.py --parts pipeline --coco FOLDER --split val
    python scripts/benchmarks/training_speed.py --parts scale

training   one optimizer step: same architecture, batch and precision (float32) for all
frozen     the same with a frozen encoder, the default of the configs: it runs in inference form
inference  logits of batches of 1, 16 and 64 images; ONNX Runtime and OpenVINO get our network as
           ONNX and start only if their logits are ours
pipeline   decode, resize, draw class masks, batch, from a folder in COCO's layout
waiting    share of a training run that is spent waiting for data
startup    from starting scripts/train.py to the end of its first step
layers     every convolution of our network alone, forward and backward, beside matrix products
scale      cost per image at 1,000 to 40,000 images (15 minutes; only on request)

The table goes to standard output, progress to standard error. The first run installs each peer into
an environment of its own, from scripts/benchmarks/peers/requirements-*.txt. A peer that cannot be
installed or does not run is reported as absent. Ctrl-C ends all workers and prints the results so
far; --parts measures the rest later.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import pathlib
import platform
import shutil
import sys
import tempfile
import time

import repeated_scenes
import speed_report
from contenders import (
    PATIENCE,
    PEER_PACKAGES,
    Worker,
    WorkerFailed,
    alternate,
    describe_machine,
    find_peer,
    kill,
    say,
    split_parts,
    start,
    stop_once,
    usable_cores,
)

from analysis.experiments.records import Origin, Record
from segmentation import launch, scenes
from segmentation.campaign import overrides
from segmentation.files import write_json

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTS = ('training', 'frozen', 'inference', 'pipeline', 'waiting', 'startup', 'layers', 'scale')
BATCHES = (1, 16, 64)
COMPILED = ('project', 'compile', 'plain')  # forms that take more memory at the first start
CLASSES = 3
IMAGE_SIZE = 128
GEMM_SIZE = 2048
SCALES = (1000, 5000, 20000, 40000)


class Benchmark:
    """Measures the parts; `result` has what was measured so far."""

    def __init__(self, arguments: argparse.Namespace, scratch: pathlib.Path):
        self.arguments, self.scratch = arguments, scratch
        self._not_exported: WorkerFailed | None = None
        self._prepared = ''  # path of the data set
        # Of compiled programs, empty at first: what a machine holds must not decide the memory.
        names = 'JAX_COMPILATION', 'TORCHINDUCTOR'
        self._caches = {f'{name}_CACHE_DIR': str(scratch / name) for name in names}
        self.result = {
            'machine': describe_machine(),
            'settings': {
                'threads': usable_cores(),
                'batch_size': arguments.batch_size,
                'image_size': IMAGE_SIZE,
                'classes': CLASSES,
                'rounds': arguments.rounds,
                'steps': arguments.steps,
                'gemm_size': GEMM_SIZE,
            },
            'versions': {'python': platform.python_version()},
        }

    def _start(self, name, peer, unit=1, steps=1, rounds=10**9, **spec) -> Worker:
        """Starts a worker of a peer, `jax` for ours."""
        given = getattr(self.arguments, f'{peer}_python', sys.executable)
        command = find_peer(peer, given, self.arguments.peers)
        if isinstance(command, WorkerFailed):
            raise command
        settings = {k: self.result['settings'][k] for k in ('threads', 'image_size', 'classes')}
        spec = {**settings, 'batch_size': self.arguments.batch_size, **spec}
        worker = Worker(name, command, spec, unit, steps, rounds, self._caches)
        self.result['versions'] |= worker.about.get('versions', {})
        return worker

    def _contender(self, name, *args, **spec):
        def start_worker() -> Worker:
            if spec.get('form') in COMPILED and spec['task'] != 'layers':
                self._start(name, *args, **spec).close()
            return self._start(name, *args, **spec)

        return name, start_worker

    def _alternate(self, contenders, title, **options) -> tuple[dict[str, Worker], dict]:
        """The finished workers, and what the report needs of all parts where contenders compete."""
        workers, absent = alternate(contenders, self.arguments.rounds, title=title, **options)
        measured = {name: worker.measured() for name, worker in workers.items()}
        return workers, {'contenders': measured, 'absent': absent}

    def _once(self, task, **spec) -> dict:
        """Runs a task of ours that works once: `images`, `seconds`, `peak_mb` and `path`."""
        with contextlib.closing(self._start('ours', 'jax', task=task, **spec)) as worker:
            keys = 'images', 'seconds', 'peak_mb', 'path'
            return {key: worker.about[key] for key in keys if key in worker.about}

    def _network(self, title: str, more: tuple = (), steps: int = 1, **spec) -> dict:
        """The networks in turns of `steps`; `more` contenders take part."""
        size = spec.setdefault('batch_size', self.arguments.batch_size)
        contenders = [
            self._contender(name, peer, size, *turns, form=form, **spec)
            for name, peer, form, *turns in (
                ('ours', 'jax', 'project', steps),
                ('TensorFlow', 'tensorflow', 'graph', steps),
                ('PyTorch', 'torch', 'eager', steps),
                ('PyTorch, compiled', 'torch', 'compile', steps),
                # Two short turns, because it is slow.
                ('plain Flax', 'jax', 'plain', max(1, steps // 4), 2),
            )
        ]
        workers, result = self._alternate([*contenders, *more], title)
        counts = {name: worker.about.get('parameters') for name, worker in workers.items()}
        counts = {name: count for name, count in counts.items() if count is not None}
        if len(set(counts.values())) > 1:
            raise WorkerFailed(f'these networks are not the same: parameters {counts}')
        return result

    def training(self) -> dict:
        return self._network('training', steps=self.arguments.steps, task='training')

    def frozen(self) -> dict:
        title, steps = 'training, frozen encoder', self.arguments.steps
        return self._network(title, steps=steps, task='training', frozen=True)

    def inference(self) -> dict:
        """By size of the batch, as text; a turn has about as many images at each."""
        images = 4 * self.arguments.steps * self.arguments.batch_size
        measured = self.result['inference'] = {}  # what is measured before a stop is kept
        for size in self.arguments.batches:
            steps, spec = max(1, images // size), {'task': 'inference', 'batch_size': size}
            runtimes = [
                (name, functools.partial(self._start_exported, name, peer, size, steps, **spec))
                for name, peer in (('ONNX Runtime', 'onnxruntime'), ('OpenVINO', 'openvino'))
            ]
            title = f'inference, batch {size}'
            measured[str(size)] = self._network(title, runtimes, steps, **spec)
        return measured

    def _start_exported(self, name: str, peer: str, *turns, **spec) -> Worker:
        """Starts a worker that runs our network as ONNX, which is written once."""
        folder = self.scratch / 'exported'
        if not folder.exists():
            folder.mkdir()
            say('exporting the network')
            try:
                size = max(self.arguments.batches)
                self._once('export', form='project', folder=str(folder), batch_size=size)
            except WorkerFailed as failure:
                self._not_exported = failure
        if self._not_exported:
            raise WorkerFailed(f'our network is not exported: {self._not_exported}')
        return self._start(name, peer, *turns, exported=str(folder), **spec)

    def _data(self) -> dict:
        """Draws and prepares the images if necessary; returns what workers need to read them."""
        folder = self.arguments.coco
        if folder is None:
            folder = ROOT / 'data' / 'benchmark-scenes' / self.arguments.split
            say(f'No --coco: scenes are drawn into {folder}.')
            scenes.write_scenes(folder, {self.arguments.split: 800})
        spec = {
            'folder': str(folder.resolve()),
            'split': self.arguments.split,
            'data_dir': str(self.scratch / 'data'),
        }
        if 'preparation' not in self.result:
            say('preparing the images')
            self.result['preparation'] = preparation = self._once('prepare', **spec)
            self._prepared = preparation.pop('path')
        return spec

    def pipeline(self) -> dict:
        data, size = self._data(), self.arguments.batch_size
        # At least one pass; and many more batches than a pipeline holds ready (some 8 to 32).
        steps = max(64, self.result['preparation']['images'] // size)
        contenders = [
            self._contender(name, peer, size, steps, task='pipeline', **data, **more)
            for name, peer, more in (
                ('ours', 'jax', {'workers': 0}),
                ('ours, 2 workers', 'jax', {'workers': 2}),
                ('tf.data', 'tensorflow', {'cached': False}),
                ('DataLoader, in process', 'torch', {'workers': 0, 'cached': False}),
                ('DataLoader, 2 workers', 'torch', {'workers': 2, 'cached': False}),
                ('DALI, 2 workers', 'dali', {'workers': 2}),
                ('tf.data, decoded once', 'tensorflow', {'cached': True}),
                ('DataLoader, decoded once', 'torch', {'workers': 0, 'cached': True}),
            )
        ]
        # The first pass, and batches that are buffered when a turn begins, do not count.
        _, result = self._alternate(contenders, 'pipeline', warm_up=steps, skip=32)
        return {**result, 'preparation': self.result['preparation']}

    def _train(self, name, is_done, fields, environment=None) -> tuple[float, pathlib.Path]:
        """Runs scripts/train.py until `is_done(process, metrics file)`; kills it then.

        Returns the seconds that it took, and the file with the metrics. Raises WorkerFailed if the
        training failed.
        """
        data, workdir = self._data(), self.scratch / name
        fields = {
            'data.source': self._prepared,
            'data.data_dir': data['data_dir'],
            'data.train_splits': f"('{data['split']}',)",
            'data.val_splits': '()',
            'data.require': 'nothing',
            'data.max_train': 0,
            'model.pretrained': '',
            'model.encoder_trainable': True,
            'train.batch_size': self.arguments.batch_size,
            'train.num_pictures': 0,
            **fields,
        }
        command = [
            sys.executable, ROOT / 'scripts/train.py', f'--workdir={workdir}',
            f'--config={ROOT / "configs/person_car.py"}', *overrides(fields),
        ]  # fmt: skip
        metrics, began = workdir / 'metrics.jsonl', time.perf_counter()
        with open(self.scratch / f'{name}.log', 'w+') as log:
            process = start(command, environment, stdout=log, stderr=log)
            try:
                while not is_done(process, metrics):
                    if process.poll() or time.perf_counter() - began > PATIENCE:
                        log.seek(0)
                        end = log.read()[-500:]
                        raise WorkerFailed(f'training ended with {process.poll()}: {end}')
                    time.sleep(0.01)
                return time.perf_counter() - began, metrics
            finally:
                kill(process)
                process.wait()

    def waiting(self) -> dict:
        every, windows = 10, 6
        say(f'waiting: training {every * windows} steps')
        fields = {'train.num_steps': every * windows, 'train.log_every': every}
        fields['train.recalibrate_batches'] = 1
        _, metrics = self._train('waiting', lambda process, _: process.poll() == 0, fields)
        lines = map(json.loads, metrics.read_text().splitlines())
        # The first window includes compilation and starts with an empty buffer.
        _, *lines = (line for line in lines if 'train/waiting_for_data' in line)
        return {
            'share': [line['train/waiting_for_data'] for line in lines],
            'images_per_second': [line['train/images_per_second'] for line in lines],
            'steps': every,
        }

    def startup(self) -> dict:
        seconds = {'cold': [], 'cached': []}
        self._data()
        for number in range(2):
            for which in seconds:
                taken, _ = self._train(
                    f'startup-{number}-{which}',
                    lambda _, metrics: metrics.exists() and metrics.stat().st_size,
                    {'train.log_every': 1},
                    {'JAX_COMPILATION_CACHE_DIR': str(self.scratch / f'cache-{number}')},
                )
                seconds[which].append(taken)
                say(f'startup: {which} {taken:.1f} s')
        return seconds

    def layers(self) -> dict:
        gflop = 2 * GEMM_SIZE**3 / 1e9
        contenders = [
            self._contender(f'{peer} gemm', peer, gflop, 8, task='gemm', size=GEMM_SIZE)
            for peer in ('jax', 'tensorflow', 'torch')
        ]
        contenders.append(self._contender('ours', 'jax', 1, 3, task='layers', form='project'))
        workers, result = self._alternate(contenders, 'layers', unit='GFLOP/s or passes/s')
        ours = workers.pop('ours')
        for layer in ours.about['layers']:
            layer['seconds'] = [turn['result'][layer['shapes']] for turn in ours.answers]
        gemm = {name: worker.rates for name, worker in workers.items()}
        return {'gemm': gemm, 'absent': result['absent'], 'layers': ours.about['layers']}

    def scale(self) -> dict:
        """Measures preparation, evaluation and an epoch of training, each in its own process."""
        drawn, rows = self.scratch / 'drawn', []
        say('scale: drawing scenes')
        scenes.write_scenes(drawn, {'train': 200})
        for count in (self.arguments.scales[0], *self.arguments.scales):  # The first one compiles.
            folder = self.scratch / f'scale-{count}'
            repeated_scenes.write(drawn, folder, count)
            spec = {
                'folder': str(folder), 'split': 'train', 'data_dir': str(folder / 'prepared'),
                # The smallest network, so that the cost of the data shows.
                'form': 'project', 'image_size': 32, 'model': {'width': 0.35}, 'batch_size': 32,
            }  # fmt: skip
            row = {'images': count}
            for task in ('prepare', 'evaluation', 'epoch'):
                say(f'scale: {count} images, {task}')
                done = self._once(task, **spec)
                row[task] = {
                    'ms_per_image': 1000 * done['seconds'] / done['images'],
                    'peak_mb': done['peak_mb'],
                }
            rows.append(row)
            shutil.rmtree(folder)
        return {'rows': rows[1:]}


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is not a positive number')
    return value


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = launch.make_parser(__doc__, workdir='')
    add = parser.add_argument
    add('--parts', default=','.join(PARTS[:-1]), metavar='PART,PART,…', help='parts (see above)')
    add('--rounds', type=positive, default=7, help='number of turns of each contender')
    add('--steps', type=positive, default=4, help='training steps per turn')
    add('--batch_size', type=positive, default=16, help='images per step')
    add(
        '--batches', type=positive, nargs='+', default=BATCHES, metavar='N',
        help='images per batch of part inference; default: 1 16 64',
    )  # fmt: skip
    add(
        '--coco', type=pathlib.Path, metavar='FOLDER',
        help="images in COCO's layout; default: scenes drawn into data/benchmark-scenes",
    )  # fmt: skip
    add('--split', default='train', help='split of these images')
    add(
        '--scales', type=positive, nargs='+', default=SCALES, metavar='N',
        help='numbers of images of part scale; default: 1000 5000 20000 40000',
    )  # fmt: skip
    add(
        '--peers', type=pathlib.Path, default=ROOT / '.venv-peers', metavar='DIR',
        help='folder for the environments of the peers',
    )  # fmt: skip
    for name in PEER_PACKAGES:
        add(f'--{name}_python', metavar='PATH', help=f'interpreter with {name} installed')
    arguments = parser.parse_args(argv)
    arguments.parts = split_parts(parser, PARTS, arguments.parts)
    if arguments.coco:
        file = arguments.coco / 'annotations' / f'instances_{arguments.split}.json'
        if not file.is_file():
            parser.error(f'--coco: there is no {file}')
    return arguments


def main() -> int:
    arguments = parse_arguments()
    stop_once()
    status = 0
    with tempfile.TemporaryDirectory(prefix='benchmark-') as scratch:
        benchmark = Benchmark(arguments, pathlib.Path(scratch))
        for part in (part for part in PARTS if part in arguments.parts):
            try:
                benchmark.result[part] = getattr(benchmark, part)()
            except (RuntimeError, ValueError, OSError) as error:
                say(f'{part}: {error}')
                status = 1
            except KeyboardInterrupt:
                say(f'Stopped during {part}.')
                status = 130
                break
    result = {**benchmark.result, 'ratios': speed_report.compute_ratios(benchmark.result)}
    print(speed_report.report(result))
    if arguments.json:
        command = launch.command_line('scripts/benchmarks/training_speed.py')
        machine = '{cpu}, {cores} cores'.format(**result['machine'])
        origin = dataclasses.replace(Origin.of_runs([], command, [0]), devices=(machine,))
        record = Record(origin, speed_report.contender_tables(result))
        write_json(arguments.json, {**result, **dataclasses.asdict(record)})
    return status


if __name__ == '__main__':
    sys.exit(main())
