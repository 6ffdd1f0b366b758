"""Times this project beside PyTorch on a GPU; scripts/benchmarks/accelerator.sh installs both.

    ./scripts/benchmarks/accelerator.sh --json accelerator.json

products       large matrix products in float32, tf32 and bfloat16: the peak of each precision
steps          optimizer steps of 128 images, beside PyTorch (compiled, channels_last), and their
               model FLOP utilization: FLOP of the convolutions over those of the peak
transposed     transposed convolutions of the network alone, forward and backward, beside their
               sub-pixel form
pipeline       images per second of the input pipeline, from a folder in COCO's layout
numerics       tests that compare one with several devices, and the network with Keras and Flax
demo           training of configs/demo.py to its score
other_batches  optimizer steps of 16 and of 1024 images

Contenders start at the same time, because they compile for long, and then take turns. What does
not fit into --minutes is left out and named: compiling the steps of one size in one precision took
more than a minute on an H200. The first run installs PyTorch into an environment of its own, which
does not count. The tables go to standard output, progress to standard error.
"""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import accelerator_report
from contenders import (
    Worker,
    WorkerFailed,
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
from segmentation import launch, markdown, scenes
from segmentation.campaign import overrides
from segmentation.files import write_json

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTS = (
    'products', 'steps', 'transposed', 'pipeline', 'numerics', 'demo', 'other_batches',
)  # fmt: skip
CLASSES = 3
NAMES = {'jax': accelerator_report.OURS, 'torch': accelerator_report.PEER}
TESTS = 'gradients_are or loss_and_gradient or equals_flax or equals_keras or four_devices'
TEST_FILES = (
    'tests/segmentation/test_train_step.py', 'tests/segmentation/models/test_batch_norm.py',
    'tests/segmentation/models/test_mobilenet_v2.py', 'tests/segmentation/models/test_pix2pix.py',
)  # fmt: skip
# `patience`: seconds that a command may take, so that some are left for the other parts.
FULL = {
    'batches': (128, 16, 1024), 'image_size': 128, 'product': 8192, 'images': 4096, 'rounds': 3,
    'scenes': 200, 'demo': {}, 'tests': TESTS, 'patience': 150,
    'precisions': ('float32', 'tf32', 'bfloat16'),
}  # fmt: skip
# Everything as small as it goes, to try the command itself on a CPU.
TINY = {
    'batches': (2,), 'image_size': 32, 'product': 64, 'images': 4, 'rounds': 1, 'scenes': 4,
    'demo': {
        'data.scenes.train': 8, 'data.scenes.val': 4, 'data.image_size': 32, 'model.width': 0.35,
        'train.batch_size': 4, 'train.num_steps': 2, 'train.eval_every': 2,
        'train.recalibrate_batches': 1, 'train.num_pictures': 0, 'eval_batch_size': 4,
    },
    'tests': 'relu6_gradient', 'patience': 900, 'precisions': ('bfloat16',),
}  # fmt: skip


class Benchmark:
    """Measures the parts; `result` has what was measured so far."""

    def __init__(self, arguments: argparse.Namespace, scratch: pathlib.Path):
        self.arguments, self.scratch = arguments, scratch
        self.size = TINY if arguments.tiny else FULL
        peers = {peer: getattr(arguments, f'{peer}_python', sys.executable) for peer in NAMES}
        self.commands = {p: find_peer(p, python, arguments.peers) for p, python in peers.items()}
        self.end = time.monotonic() + 60 * arguments.minutes
        self.result = {
            'machine': describe_machine(),
            'versions': {'python': platform.python_version()},
            'settings': {'minutes': arguments.minutes, 'image_size': self.size['image_size']},
            'left_out': [],
        }

    def left(self) -> float:
        """Seconds until the end."""
        return max(0.0, self.end - time.monotonic())

    def _worker(self, name: str, peer: str, unit: float, steps: int, **spec) -> Worker:
        """A worker that has been started and may not be ready yet."""
        command = self.commands[peer]
        if isinstance(command, WorkerFailed):
            raise command
        spec = {
            'threads': usable_cores(), 'classes': CLASSES, 'image_size': self.size['image_size'],
            'device': self.arguments.platform, **spec,
        }  # fmt: skip
        # Processes share the device: none may take its memory before it needs it.
        environment = {
            'JAX_PLATFORMS': spec['device'],
            'XLA_PYTHON_CLIENT_PREALLOCATE': 'false',
        }
        return Worker(
            name, command, spec, unit, steps, environment=environment, wait=False,
            deadline=self.end,
        )  # fmt: skip

    def _measure(self, title: str, contenders: dict[str, dict], skip: int = 1) -> dict[str, dict]:
        """Starts all contenders, then lets them take turns.

        Args:
          title: for progress.
          contenders: arguments of `_worker` by name.
          skip: untimed steps at the start of each turn.

        Returns:
          By name, `per_second` and `results` of the turns and what the worker says `about` itself,
          or why the contender is `absent`.
        """
        found: dict[str, dict] = {}
        with contextlib.ExitStack() as stack:
            workers = {}
            for name, arguments in contenders.items():
                try:
                    workers[name] = self._worker(name, **arguments)
                    stack.callback(workers[name].close)
                except WorkerFailed as failure:
                    found[name] = {'absent': str(failure)}
            for name, worker in list(workers.items()):
                self._run(workers, found, name, worker.wait)
            for _ in range(self.size['rounds']):
                for name, worker in list(workers.items()):
                    self._run(workers, found, name, worker.turn, skip)
            for name, worker in workers.items():
                self.result['versions'] |= worker.about.get('versions', {})
                if 'device' in worker.about and worker.spec['device'] == self.arguments.platform:
                    self.result['device'] = worker.about['device']
                results = [answer['result'] for answer in worker.answers]
                found[name] = {**worker.measured(), 'results': results, 'about': worker.about}
        found = {name: found[name] for name in contenders}
        for name, entry in found.items():
            rates = entry.get('per_second')
            value = f'absent: {entry["absent"]}' if rates is None else f'{max(rates):.4g}/s'
            say(f'{title}: {name} {value} ({self.left():.0f} s left)')
        return found

    @staticmethod
    def _run(workers: dict, found: dict, name: str, action, *arguments) -> None:
        try:
            action(*arguments)
        except WorkerFailed as failure:
            if workers[name].answers:  # what was measured before counts
                say(f'{name} ended early: {failure}')
                return
            found[name] = {'absent': str(failure)}
            del workers[name]

    def products(self) -> dict:
        """Teraflops by precision and peer. Raises WorkerFailed without a product of ours."""
        size = self.size['product']
        found = self._measure('products', {
            f'{precision} {peer}': {
                'peer': peer, 'unit': 2 * size**3 / 1e12, 'steps': 10, 'task': 'gemm',
                'size': size, 'precision': precision,
            }
            for precision in self.size['precisions'] for peer in NAMES
        })  # fmt: skip
        if reason := found[f'{self.size["precisions"][0]} jax'].get('absent'):
            raise WorkerFailed(f'there is no {self.arguments.platform}: {reason}')
        return found

    def transposed(self) -> dict:
        return self._measure('transposed', {
            precision: {
                'peer': 'jax', 'unit': 1, 'steps': 3, 'task': 'transposed',
                'batch_size': self.size['batches'][0], 'precision': precision,
            }
            for precision in self.size['precisions']
        })  # fmt: skip

    def pipeline(self) -> dict:
        folder, split = self.arguments.coco, self.arguments.split
        if folder is None:
            folder, split = self.scratch / 'scenes', 'train'
            scenes.write_scenes(folder, {split: self.size['scenes']})
        batch = self.size['batches'][0]
        spec = {
            'peer': 'jax', 'unit': batch, 'folder': str(folder.resolve()), 'split': split,
            'data_dir': str(self.scratch / 'data'), 'device': 'cpu', 'batch_size': batch,
        }  # fmt: skip
        with contextlib.closing(self._worker('ours', steps=1, task='prepare', **spec)) as worker:
            worker.wait()
            images = worker.about['images']
        steps = max(1, images // batch)
        workers = {'threads': 0, f'{usable_cores()} workers': usable_cores()}
        contenders = {
            name: {'steps': steps, 'task': 'pipeline', 'workers': count, **spec}
            for name, count in workers.items()
        }
        # Batches that are buffered when a turn begins do not count.
        return self._measure('pipeline', contenders, skip=steps)

    def _command(self, *command: object, status: int = 0, **environment: str) -> str:
        """Runs a command of the project on the device; its output.

        Raises:
          WorkerFailed: its exit status is neither 0 nor `status`, or it did not end in time.
        """
        environment = {'JAX_PLATFORMS': self.arguments.platform, **environment}
        process = start([sys.executable, *command], environment, cwd=ROOT, text=True,
                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        try:
            output, _ = process.communicate(timeout=min(self.left(), self.size['patience']))
        except subprocess.TimeoutExpired:
            raise WorkerFailed('it did not end in time') from None
        finally:
            kill(process)
            process.wait()
        if process.returncode not in (0, status):
            last = (output.strip().splitlines() or [''])[-1]
            raise WorkerFailed(f'exit status {process.returncode}: {last[:200]}')
        return output

    def demo(self) -> dict:
        workdir, scores = self.scratch / 'demo', self.scratch / 'scores.json'
        fields = {'data.data_dir': str(self.scratch / 'scenes-of-demo'), **self.size['demo']}
        began = time.monotonic()
        self._command(
            ROOT / 'scripts/train.py', '--config', ROOT / 'configs/demo.py', f'--workdir={workdir}',
            *overrides(fields),
        )  # fmt: skip
        seconds = time.monotonic() - began
        arguments = f'--workdir={workdir}', '--split=val', f'--json={scores}'
        self._command('-m', 'analysis.mean_iou', *arguments)
        score = json.loads(scores.read_text())['network']['mean_iou_foreground']
        say(f'demo: foreground mean IoU {markdown.number(score)} after {seconds:.0f} s')
        return {'seconds': seconds, 'mean_iou_foreground': score}

    def numerics(self) -> dict:
        """The last line of pytest, which counts the tests."""
        environment = {
            'TEST_PLATFORM': self.arguments.platform,
            'JAX_DEFAULT_MATMUL_PRECISION': 'highest',  # tf32 is for the trainings that want it
        }
        command = '-m', 'pytest', '-n', '0', '-p', 'no:cacheprovider', '-k', self.size['tests']
        output = self._command(*command, *TEST_FILES, status=1, **environment)
        summary = output.strip().splitlines()[-1]
        say(f'numerics: {summary}')
        return {'summary': summary}

    def steps(self) -> dict:
        return self._steps(self.size['batches'][:1])

    def other_batches(self) -> dict:
        return self._steps(self.size['batches'][1:])

    def _steps(self, batches: Sequence[int]) -> dict:
        """By precision and batch size; all precisions of a batch size before the next."""
        found: dict[str, dict] = {precision: {} for precision in self.size['precisions']}
        for batch in batches:
            for precision in found:
                title = f'steps, batch {batch}, {precision}'
                if not self.left():
                    self.result['left_out'].append(title)
                    continue
                cell = self._measure(title, {
                    name: {
                        'peer': peer, 'unit': batch, 'steps': max(2, self.size['images'] // batch),
                        'task': 'training', 'form': 'compile' if peer == 'torch' else 'project',
                        'batch_size': batch, 'precision': precision,
                    }
                    for peer, name in NAMES.items()
                })  # fmt: skip
                counts = {entry['parameters'] for entry in cell.values() if 'parameters' in entry}
                if len(counts) > 1:
                    raise WorkerFailed(f'these networks are not the same: parameters {counts}')
                found[precision][str(batch)] = cell
        return found


def parse_arguments() -> argparse.Namespace:
    parser = launch.make_parser(__doc__, workdir='')
    add = parser.add_argument
    add('--parts', default=','.join(PARTS), metavar='PART,PART,…', help='parts (see above)')
    add('--minutes', type=float, default=8, help='after which no more is begun')
    add(
        '--coco', type=pathlib.Path, metavar='FOLDER',
        help="images in COCO's layout; default: scenes drawn for this run",
    )  # fmt: skip
    add('--split', default='train', help='split of these images')
    add('--platform', choices=('cuda', 'cpu'), default='cuda', help='where all of it runs')
    add('--tiny', action='store_true', help='as small as it goes, to try the command on a CPU')
    add('--peers', type=pathlib.Path, default=ROOT / '.venv-peers', metavar='DIR',
        help='folder for the environment of PyTorch')  # fmt: skip
    add('--torch_python', metavar='PATH', help='interpreter with torch installed')
    arguments = parser.parse_args()
    arguments.parts = split_parts(parser, PARTS, arguments.parts)
    arguments.command = launch.command_line('scripts/benchmarks/accelerator.py')
    return arguments


def main() -> int:
    arguments, status = parse_arguments(), 0
    stop_once()
    with tempfile.TemporaryDirectory(prefix='accelerator-') as scratch:
        benchmark = Benchmark(arguments, pathlib.Path(scratch))
        for part in PARTS:
            if part not in arguments.parts:
                continue
            if not benchmark.left():
                benchmark.result['left_out'].append(part)
                continue
            try:
                benchmark.result[part] = getattr(benchmark, part)()
            except WorkerFailed as failure:
                say(f'{part}: {failure}')
                status = 1
                if part == 'products':
                    break
            except KeyboardInterrupt:
                say(f'Stopped during {part}.')
                status = 130
                break
    print(accelerator_report.report(benchmark.result))
    if arguments.json:
        device = benchmark.result.get('device', arguments.platform)
        origin = Origin.of_runs([], arguments.command, [0])
        tables = accelerator_report.tables(benchmark.result)
        record = Record(dataclasses.replace(origin, devices=(device,)), tables)
        write_json(arguments.json, {**benchmark.result, **dataclasses.asdict(record)})
    return status


if __name__ == '__main__':
    sys.exit(main())
