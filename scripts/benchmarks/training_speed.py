"""Times this project against Keras/TensorFlow and PyTorch, side by side on this machine's CPU.

    python scripts/benchmarks/training_speed.py --json benchmark.json
    python scripts/benchmarks/training_speed.py --parts pipeline --coco FOLDER --split val
    python scripts/benchmarks/training_speed.py --parts scale

Every contender is a process of its own that builds its network, warms up and waits. They take
turns, one busy at a time and in another order each round, with the same number of threads. Parts:

training   one optimiser step: same architecture, batch and precision (float32) for all
inference  logits of a batch
pipeline   decode, resize, draw the classes, batch, from a folder in COCO's layout
waiting    share of a training run that is spent waiting for data
startup    from starting scripts/train.py to the end of its first step
layers     every convolution of our network alone, forward and backward, beside matrix products
scale      cost per image at 1,000 to 40,000 images (some 15 minutes; only when asked for)

The table goes to standard output, progress to standard error. The first run installs each peer
into an environment of its own, from scripts/benchmarks/peers/requirements-*.txt; one that cannot be
installed or does not run is reported as absent. Ctrl-C ends all workers and prints what is there;
the rest can be run later with --parts.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / 'scripts' / 'benchmarks' / 'peers'
PARTS = ('training', 'inference', 'pipeline', 'waiting', 'startup', 'layers', 'scale')
CLASSES = 3
IMAGE_SIZE = 128
GEMM_SIZE = 2048
SCALES = (1000, 5000, 20000, 40000)
# Seconds until a worker that says nothing is given up.
PATIENCE = 900
# Idle time between turns: thread pools spin, and pipelines fill their buffers, for a while.
PAUSE = 0.5


class WorkerFailed(RuntimeError):
    """A worker ended, or never answered; the message has the last line that it wrote."""


class Worker:
    """One contender in a process of its own (see `peers/protocol.py`).

    Attributes:
      name: of the contender.
      process: its `Popen`.
      about: what it said when it was ready, after its first step.
      rates: units of work per second of each timed turn.
    """

    def __init__(self, name: str, command: list, spec: dict, unit: float, steps: int, rounds: int):
        self.name, self.unit, self.steps, self.rounds = name, unit, steps, rounds
        self.rates, self.results, self.peaks = [], [], []
        self._log = tempfile.TemporaryFile('w+')
        # A session of its own, so that its own children can be ended with it.
        self.process = subprocess.Popen(
            [*map(str, command), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, 'JAX_PLATFORMS': 'cpu', 'OMP_NUM_THREADS': str(usable_cores())},
            start_new_session=True,
        )
        try:
            self.about = self._answer()
        except BaseException:  # Ctrl-C too: nobody else knows of this process yet
            self.close()
            raise

    def _answer(self) -> dict:
        timer = threading.Timer(PATIENCE, self._kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            self._log.seek(0)
            last = ([text for text in self._log.read().splitlines() if text.strip()] or [''])[-1]
            raise WorkerFailed(f'{last[:200]} (exit status {self.process.wait()})')
        return json.loads(line)

    def request(self, **request) -> dict:
        try:
            self.process.stdin.write(json.dumps(request) + '\n')
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer says why
        return self._answer()

    def turn(self, skip: int) -> None:
        answer = self.request(steps=self.steps, skip=skip)
        self.rates.append(self.unit * self.steps / answer['seconds'])
        self.results.append(answer['result'])
        self.peaks.append(answer['peak_mb'])

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        self._kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self._log.close()

    def measured(self) -> dict:
        return {
            'per_second': self.rates,
            'peak_mb': max([self.about['peak_mb'], *self.peaks]),
            **{k: v for k, v in self.about.items() if k in ('parameters', 'images')},
        }


def usable_cores() -> int:
    """Cores this process may use: all of the machine, or those that `taskset` left."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def peer_python(name: str, given: str | None, folder: pathlib.Path) -> str:
    """The interpreter of a peer's environment, which is made first if it is not there yet.

    Raises:
      WorkerFailed: it cannot be installed.
    """
    if given:
        return given
    environment, requirements = folder / name, PEERS / f'requirements-{name}.txt'
    python, installed = environment / 'bin' / 'python', environment / 'requirements.installed'
    if not installed.exists() or installed.read_text() != requirements.read_text():
        say(f'Installing {requirements.name} into {environment}; this can take minutes.')
        for command in (
            [sys.executable, '-m', 'venv', environment],
            [python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r',
             requirements],
        ):  # fmt: skip
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or [''])[-1]
                raise WorkerFailed(f'not installed: {reason[:200]}')
        shutil.copy(requirements, installed)
    return str(python)


# Measuring ----------------------------------------------------------------------------------------


def alternate(
    contenders: list[tuple[str, Callable[[], Worker]]],
    rounds: int,
    *,
    title: str,
    unit: str = 'img/s',
    warm_up: int = 2,
    skip: int = 0,
) -> tuple[dict[str, Worker], dict[str, str]]:
    """Starts contenders one after the other and lets them take turns.

    Args:
      contenders: name and what starts its worker. 'ours' must run, others may be absent.
      rounds: how many; a worker takes part in the first `worker.rounds` of them.
      title: for progress.
      unit: of `Worker.rates`, for progress.
      warm_up: untimed steps of each before the first round.
      skip: untimed steps at the start of each turn.

    Returns:
      The finished workers, and name → reason of those that are absent.

    Raises:
      WorkerFailed: ours did not run.
    """
    workers, absent = {}, {}
    with contextlib.ExitStack() as stack:
        for name, start in contenders:
            say(f'{title}: starting {name}')
            try:
                worker = start()
                stack.callback(worker.close)
                worker.request(steps=min(warm_up, worker.steps))
                workers[name] = worker
            except WorkerFailed as failure:
                if name == 'ours':
                    raise WorkerFailed(f'{title}, ours: {failure}') from failure
                absent[name] = str(failure)
                say(f'{title}: {name} is absent: {failure}')
        names = list(workers)
        for number in range(rounds):
            turned = names[number % len(names) :] + names[: number % len(names)]
            for name in turned:
                if number < workers[name].rounds:
                    time.sleep(PAUSE)
                    workers[name].turn(skip)
                    rate = workers[name].rates[-1]
                    say(f'{title}: round {number + 1}/{rounds}, {name}: {rate:.1f} {unit}')
    return workers, absent


class Benchmark:
    """Where things are, how much is measured, and what is known so far (`result`)."""

    def __init__(self, arguments: argparse.Namespace, scratch: pathlib.Path):
        self.arguments, self.scratch = arguments, scratch
        self.result = {
            'machine': describe_machine(),
            'settings': {
                'threads': usable_cores(),
                'batch_size': arguments.batch_size,
                'image_size': IMAGE_SIZE,
                'classes': CLASSES,
                'rounds': arguments.rounds,
                'steps': arguments.steps,
            },
            'versions': {'python': platform.python_version()},
        }
        self._pythons = {}

    def _start(self, name, peer, unit, steps, rounds=10**9, **spec) -> Worker:
        """Starts a worker; peer is 'jax', 'tensorflow' or 'torch'."""
        given = {
            'jax': sys.executable,
            'tensorflow': self.arguments.tensorflow_python,
            'torch': self.arguments.torch_python,
        }[peer]
        if peer not in self._pythons:
            try:
                self._pythons[peer] = peer_python(peer, given, self.arguments.peers)
            except WorkerFailed as failure:
                self._pythons[peer] = failure
        if isinstance(self._pythons[peer], WorkerFailed):
            raise self._pythons[peer]
        settings = {k: self.result['settings'][k] for k in ('threads', 'image_size', 'classes')}
        spec = {**settings, 'batch_size': self.arguments.batch_size, **spec}
        command = [self._pythons[peer], PEERS / f'{peer}_worker.py']
        worker = Worker(name, command, spec, unit, steps, rounds)
        self.result['versions'] |= worker.about.get('versions', {})
        return worker

    def _contender(self, name, *args, **spec):
        return name, lambda: self._start(name, *args, **spec)

    def _gemm(self):
        gflop = 2 * GEMM_SIZE**3 / 1e9
        return [
            self._contender(f'{peer} gemm', peer, gflop, 8, task='gemm', size=GEMM_SIZE)
            for peer in ('jax', 'tensorflow', 'torch')
        ]

    def network(self, task: str) -> dict:
        """Training or inference."""
        size, rounds = self.arguments.batch_size, self.arguments.rounds
        steps = self.arguments.steps * (4 if task == 'inference' else 1)
        contenders = [
            self._contender(name, peer, size, steps, task=task, form=form)
            for name, peer, form in (
                ('ours', 'jax', 'project'),
                ('TensorFlow', 'tensorflow', 'graph'),
                ('PyTorch', 'torch', 'eager'),
                ('PyTorch, compiled', 'torch', 'compile'),
            )
        ]
        # So slow that two short turns must do.
        plain = self._contender('plain Flax', 'jax', size, max(1, steps // 4), 2, task=task,
                                form='plain')  # fmt: skip
        workers, absent = alternate([*contenders, plain], rounds, title=task)
        counts = {name: worker.about['parameters'] for name, worker in workers.items()}
        if len(set(counts.values())) > 1:
            raise WorkerFailed(f'these networks are not the same: parameters {counts}')
        measured = {name: worker.measured() for name, worker in workers.items()}
        return {'contenders': measured, 'absent': absent}

    def training(self) -> dict:
        return self.network('training')

    def inference(self) -> dict:
        return self.network('inference')

    def _data(self) -> dict:
        """The folder of photographs, drawn and prepared if need be; spec of those who read it."""
        folder = self.arguments.coco
        if folder is None:
            folder = ROOT / 'data' / 'benchmark-scenes'
            say(f'No --coco: scenes are drawn into {folder}.')
            command = [sys.executable, ROOT / 'scripts/draw_scenes.py', folder, '--counts']
            subprocess.run(
                [*command, f'{self.arguments.split}=800'], check=True, stdout=subprocess.DEVNULL
            )
        spec = {
            'folder': str(folder.resolve()),
            'split': self.arguments.split,
            'data_dir': str(self.scratch / 'data'),
        }
        if 'preparation' not in self.result:
            say('preparing the photographs')
            worker = self._start('ours', 'jax', 1, 1, task='prepare', **spec)
            with contextlib.closing(worker):
                prepared = worker.request(steps=1)
            self.result['preparation'] = {**prepared['result'], 'peak_mb': prepared['peak_mb']}
        return spec

    def pipeline(self) -> dict:
        data, size = self._data(), self.arguments.batch_size
        steps = max(1, self.result['preparation']['images'] // size)
        contenders = [
            self._contender(name, peer, size, steps, task='pipeline', **data, **more)
            for name, peer, more in (
                ('ours', 'jax', {'workers': 0}),
                ('ours, 2 workers', 'jax', {'workers': 2}),
                ('tf.data', 'tensorflow', {}),
                ('DataLoader, in process', 'torch', {'workers': 0}),
                ('DataLoader, 2 workers', 'torch', {'workers': 2}),
            )
        ]
        # What waits in a buffer when a turn begins is not counted, nor is the first pass.
        workers, absent = alternate(
            contenders, self.arguments.rounds, title='pipeline', warm_up=steps, skip=32
        )
        return {
            'contenders': {name: worker.measured() for name, worker in workers.items()},
            'absent': absent,
            'preparation': self.result['preparation'],
        }

    def _training_run(self, workdir, data, **fields) -> list:
        """Command of scripts/train.py on the photographs."""
        fields = {
            'data.source': data['folder'],
            'data.data_dir': data['data_dir'],
            'data.train_splits': f"('{data['split']}',)",
            'data.require': 'nothing',
            'data.max_train': 0,
            'model.pretrained': '',
            'model.encoder_trainable': True,
            'train.batch_size': self.arguments.batch_size,
            'train.num_pictures': 0,
            **fields,
        }
        return [
            sys.executable,
            ROOT / 'scripts/train.py',
            f'--config={ROOT / "configs/person_car.py"}',
            f'--workdir={workdir}',
            *(f'--config.{name}={value}' for name, value in fields.items()),
        ]

    def waiting(self) -> dict:
        workdir, every, windows = self.scratch / 'waiting', 10, 6
        command = self._training_run(
            workdir,
            self._data(),
            **{
                'train.num_steps': every * windows,
                'train.log_every': every,
                'train.recalibrate_batches': 1,
            },
        )
        say(f'waiting: training {every * windows} steps')
        with open(self.scratch / 'waiting.log', 'w+') as log, running(command, log) as process:
            if process.wait():
                log.seek(0)
                raise WorkerFailed(f'training ended with {process.returncode}: {log.read()[-500:]}')
        lines = map(json.loads, (workdir / 'metrics.jsonl').read_text().splitlines())
        lines = [line for line in lines if 'train/waiting_for_data' in line]
        # The first window has the compilation and an empty buffer.
        return {
            'share': [line['train/waiting_for_data'] for line in lines[1:]],
            'images_per_second': [line['train/images_per_second'] for line in lines[1:]],
            'steps': every,
        }

    def startup(self) -> dict:
        data, seconds = self._data(), {'cold': [], 'cached': []}
        for number in range(2):
            for which in seconds:
                workdir = self.scratch / f'startup-{number}-{which}'
                environment = {
                    'JAX_COMPILATION_CACHE_DIR': str(self.scratch / f'cache-{number}'),
                    'JAX_PLATFORMS': 'cpu',
                }
                command = self._training_run(workdir, data, **{'train.log_every': 1})
                metrics, start = workdir / 'metrics.jsonl', time.perf_counter()
                with (
                    open(self.scratch / 'startup.log', 'w+') as log,
                    running(command, log, environment) as process,
                ):
                    while not metrics.exists() or not metrics.stat().st_size:
                        if process.poll() is not None or time.perf_counter() - start > PATIENCE:
                            log.seek(0)
                            raise WorkerFailed(f'training did not start: {log.read()[-500:]}')
                        time.sleep(0.01)
                    seconds[which].append(time.perf_counter() - start)
                say(f'startup: {which} {seconds[which][-1]:.1f} s')
        return seconds

    def layers(self) -> dict:
        ours = self._contender('ours', 'jax', 1, 3, task='layers', form='project')
        workers, absent = alternate(
            [*self._gemm(), ours], self.arguments.rounds, title='layers', unit='GFLOP/s or passes/s'
        )
        layers = workers['ours'].about['layers']
        for layer in layers:
            layer['seconds'] = [result[layer['shapes']] for result in workers['ours'].results]
        gemm = {name: w.rates for name, w in workers.items() if name != 'ours'}
        return {'gemm': gemm, 'absent': absent, 'layers': layers}

    def scale(self) -> dict:
        """Preparation, evaluation and an epoch of training, each in a process of its own."""
        drawn, rows = self.scratch / 'drawn', []
        say('scale: drawing scenes')
        command = [sys.executable, ROOT / 'scripts/draw_scenes.py', drawn, '--counts', 'train=200']
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for count in self.arguments.scales:
            folder = self.scratch / f'scale-{count}'
            repeat_scenes(drawn, folder, count)
            spec = {
                'folder': str(folder),
                'split': 'train',
                'data_dir': str(folder / 'prepared'),
                'form': 'project',
                # As small as the network gets: what is asked is whether the curve is flat.
                'image_size': 32,
                'width': 0.35,
                'batch_size': 32,
            }
            row = {'images': count}
            for task in ('prepare', 'evaluation', 'epoch'):
                say(f'scale: {count} images, {task}')
                worker = self._start('ours', 'jax', 1, 1, task=task, **spec)
                with contextlib.closing(worker):
                    answer = worker.request(steps=1)
                done = answer['result']
                row[task] = {
                    'ms_per_image': 1000 * done['seconds'] / done['images'],
                    'peak_mb': max(answer['peak_mb'], worker.about['peak_mb']),
                }
            rows.append(row)
            shutil.rmtree(folder)
        return {'rows': rows}


@contextlib.contextmanager
def running(command: list, log, environment: dict | None = None) -> Iterator[subprocess.Popen]:
    """A child that is killed, with its own children, at the end."""
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=log,
        stderr=log,
        env={**os.environ, 'JAX_PLATFORMS': 'cpu', **(environment or {})},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def repeat_scenes(drawn: pathlib.Path, folder: pathlib.Path, count: int) -> None:
    """Makes a COCO folder of `count` images, hard links to drawn ones, under new ids."""
    document = json.loads((drawn / 'annotations/instances_train.json').read_text())
    of_image = {image['id']: [] for image in document['images']}
    for annotation in document['annotations']:
        of_image[annotation['image_id']].append(annotation)
    images, annotations = [], []
    (folder / 'train').mkdir(parents=True)
    (folder / 'annotations').mkdir()
    for number in range(count):
        image = document['images'][number % len(document['images'])]
        name = f'{number + 1:012d}.jpg'
        os.link(drawn / 'train' / image['file_name'], folder / 'train' / name)
        images.append({**image, 'id': number + 1, 'file_name': name})
        for annotation in of_image[image['id']]:
            new = {'id': len(annotations) + 1, 'image_id': number + 1}
            annotations.append({**annotation, **new})
    document |= {'images': images, 'annotations': annotations}
    (folder / 'annotations/instances_train.json').write_text(json.dumps(document))


def describe_machine() -> dict:
    """CPU model, cores and memory; `cores` are those this process may use."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
        model = next(line.split(':', 1)[1].strip() for line in lines if 'model name' in line)
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return {
        'cpu': model,
        'cores': usable_cores(),
        'memory_gb': round(memory / 1e9, 1),
        'system': platform.platform(),
    }


# Reporting ----------------------------------------------------------------------------------------

OUR_NAMES = ('ours', 'ours, 2 workers')
PEER_NAMES = (
    'TensorFlow', 'PyTorch', 'PyTorch, compiled',
    'tf.data', 'DataLoader, in process', 'DataLoader, 2 workers',
)  # fmt: skip


def _best(contenders: dict, value: Callable[[dict], float], pick=max) -> str | None:
    """Name of the peer with the largest (or smallest) value; None if no peer ran."""
    names = [name for name in PEER_NAMES if name in contenders]
    return pick(names, key=lambda name: value(contenders[name]), default=None)


def compute_ratios(result: dict) -> dict:
    """What the figures come to.

    Args:
      result: of `Benchmark`, with any of the parts.

    Returns:
      `training`, `inference`, `pipeline`: our median rate over that of the faster peer. Of the
      pipelines' forms, with and without worker processes, the faster counts on either side.
      `memory_training`, `memory_inference`: the leaner peer's peak memory over ours, from start to
      end, compilation included. More than 1 always means that ours is better.
      `pipeline_over_training`: our pipeline's rate over our training's. Parts that were not
      measured, or had no peer, are left out. `against`: which peer each is relative to.
    """
    ratios, against = {}, {}

    def rate(entry):
        return statistics.median(entry['per_second'])

    def our_rate(part):
        contenders = result[part]['contenders']
        return max(rate(entry) for name, entry in contenders.items() if name in OUR_NAMES)

    for part in ('training', 'inference', 'pipeline'):
        contenders = result.get(part, {}).get('contenders', {})
        if peer := _best(contenders, rate):
            ratios[part] = our_rate(part) / rate(contenders[peer])
            against[part] = peer
            if part == 'pipeline':
                continue
            peer = _best(contenders, lambda entry: entry['peak_mb'], min)
            ratios[f'memory_{part}'] = contenders[peer]['peak_mb'] / contenders['ours']['peak_mb']
            against[f'memory_{part}'] = peer
    if 'training' in result and 'pipeline' in result:
        ratios['pipeline_over_training'] = our_rate('pipeline') / our_rate('training')
    return {**ratios, 'against': against} if ratios else {}


def _table(header: list[str], rows: list[list]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(map(str, line)) + ' |' for line in lines)


def _spread(values: list[float], digits: int = 1) -> str:
    middle = statistics.median(values)
    return f'{middle:.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})'


def report(result: dict) -> str:
    """The result as Markdown; parts that were not measured are left out."""
    machine, settings, ratios = result['machine'], result['settings'], result['ratios']
    versions = ', '.join(f'{name} {version}' for name, version in result['versions'].items())
    sections = [
        f'{machine["cpu"]}, {machine["cores"]} cores, {machine["memory_gb"]} GB, '
        f'{machine["system"]}. {versions}.\n\nFloat32, {settings["threads"]} threads each, batch '
        f'{settings["batch_size"]}, {settings["image_size"]}×{settings["image_size"]}. Median '
        f'(least–most) of {settings["rounds"]} alternating rounds.'
    ]
    for part in ('training', 'inference', 'pipeline'):
        if part in result:
            sections.append(_report_contenders(part, result[part], ratios))
    if 'waiting' in result:
        waiting = result['waiting']
        sections.append(
            '**Waiting for data** while training on photographs: '
            f'{100 * statistics.median(waiting["share"]):.2f} % of the time '
            f'({100 * min(waiting["share"]):.2f}–{100 * max(waiting["share"]):.2f} over windows of '
            f'{waiting["steps"]} steps), at '
            f'{statistics.median(waiting["images_per_second"]):.1f} img/s.'
        )
    if 'startup' in result:
        startup = result['startup']
        sections.append(
            '**Start** of scripts/train.py to the end of its first step: '
            f'{_spread(startup["cold"])} s with an empty compilation cache, '
            f'{_spread(startup["cached"])} s with a filled one.'
        )
    if 'layers' in result:
        sections.append(_report_layers(result))
    if 'scale' in result:
        sections.append(_report_scale(result['scale']))
    return '\n\n'.join(sections)


def _report_contenders(part: str, measured: dict, ratios: dict) -> str:
    contenders, memory = measured['contenders'], part != 'pipeline'
    header = [part, 'img/s'] + ['peak memory, MB'] * memory
    rows = []
    for name, entry in contenders.items():
        row = [name, _spread(entry['per_second'])]
        rows.append(row + [f'{entry["peak_mb"]:.0f}'] * memory)
    rows += [[name, 'absent'] + [''] * memory for name in measured['absent']]
    text = [_table(header, rows)]
    if part in ratios:
        text.append(f'Ours is {ratios[part]:.2f}× as fast as {ratios["against"][part]}')
        if memory:
            name = f'memory_{part}'
            text[-1] += f'; {ratios["against"][name]} needs {ratios[name]:.2f}× our memory'
        if 'pipeline_over_training' in ratios and not memory:
            text[-1] += f', and {ratios["pipeline_over_training"]:.1f}× as fast as our training'
        text[-1] += '.'
    if memory:
        count = contenders['ours']['parameters']
        text.append(f'Every network has {count:,} trainable parameters.')
    else:
        preparation = measured['preparation']
        text.append(
            f'{preparation["images"]} photographs; ours were prepared once before, in '
            f'{preparation["seconds"]:.1f} s.'
        )
    text += [f'{name} is absent: {reason}' for name, reason in measured['absent'].items()]
    return '\n\n'.join(text)


def training_flop(layer: dict) -> int:
    """Operations of a layer in a training step: value, kernel gradient and, if needed, input's."""
    return layer['flop'] * (3 if layer['inputs_needed'] else 2)


def _report_layers(result: dict) -> str:
    measured, batch = result['layers'], result['settings']['batch_size']
    peaks = {name: statistics.median(values) for name, values in measured['gemm'].items()}
    peak = max(peaks.values())

    def row(name, layers, kind='', shapes=()):
        gflop = sum(map(training_flop, layers)) / 1e9
        seconds = sum(statistics.median(layer['seconds']) for layer in layers)
        speed = gflop / seconds
        return [name, kind, *shapes, f'{gflop:.2f}', f'{1000 * seconds:.1f}', f'{speed:.0f}',
                f'{100 * speed / peak:.0f} %']  # fmt: skip

    def shape(sizes):
        return '×'.join(map(str, sizes))

    columns = ['GFLOP', 'ms', 'GFLOP/s', 'of GEMM peak']
    layers = measured['layers']
    kinds = {}
    for layer in layers:
        kinds.setdefault(layer['kind'], []).append(layer)
    by_kind = [row(kind, members, len(members)) for kind, members in kinds.items()]
    by_kind.append(row('all', layers, len(layers)))
    single = [
        row(layer['name'], [layer], layer['kind'], [shape(layer['input']), shape(layer['kernel'])])
        for layer in layers
    ]
    flop = sum(map(training_flop, layers)) / batch
    text = [
        f'**Matrix products** of {GEMM_SIZE}×{GEMM_SIZE} in float32, GFLOP/s: '
        + ', '.join(f'{name} {_spread(v, 0)}' for name, v in measured['gemm'].items())
        + '.',
        f'**Layers**, each alone, forward and backward over the batch. A trained image takes '
        f'{flop / 1e9:.2f} GFLOP in convolutions.',
    ]
    if 'training' in result:
        rate = statistics.median(result['training']['contenders']['ours']['per_second'])
        text[-1] += (
            f' A training step takes {1000 * batch / rate:.0f} ms in all, '
            f'{100 * flop * rate / 1e9 / peak:.0f} % of the GEMM peak.'
        )
    text += [
        _table(['kind', 'layers', *columns], by_kind),
        _table(['layer', 'kind', 'input', 'kernel', *columns], single),
    ]
    return '\n\n'.join(text)


def _report_scale(scale: dict) -> str:
    tasks = {'prepare': 'preparation', 'evaluation': 'evaluation', 'epoch': 'training'}
    header = ['images'] + [f'{title}, {u}' for title in tasks.values() for u in ('ms/img', 'MB')]
    rows = []
    for row in scale['rows']:
        cells = [
            f'{row[task][key]:.{digits}f}'
            for task in tasks
            for key, digits in (('ms_per_image', 2), ('peak_mb', 0))
        ]
        rows.append([row['images'], *cells])
    return '**Scale**: time per image and peak memory.\n\n' + _table(header, rows)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is not a positive number')
    return value


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--parts',
        default=','.join(PARTS[:-1]),
        metavar='PART,PART,…',
        help='what to measure, see above; default: %(default)s',
    )
    parser.add_argument('--rounds', type=positive, default=5, help='default: %(default)s')
    parser.add_argument(
        '--steps',
        type=positive,
        default=4,
        help='training steps per turn, and a quarter of the inference steps; default: %(default)s',
    )
    parser.add_argument('--batch_size', type=positive, default=16, help='default: %(default)s')
    parser.add_argument(
        '--coco',
        type=pathlib.Path,
        metavar='FOLDER',
        help="photographs in COCO's layout; default: scenes are drawn into data/benchmark-scenes",
    )
    parser.add_argument('--split', default='train', help='its split; default: %(default)s')
    parser.add_argument(
        '--scales',
        type=positive,
        nargs='+',
        default=SCALES,
        metavar='N',
        help='numbers of images of part scale; default: 1000 5000 20000 40000',
    )
    parser.add_argument(
        '--peers',
        type=pathlib.Path,
        default=ROOT / '.venv-peers',
        metavar='DIR',
        help="where the peers' environments are made; default: %(default)s",
    )
    for name in ('tensorflow', 'torch'):
        parser.add_argument(
            f'--{name}_python',
            metavar='PATH',
            help=f'interpreter of an environment that has {name} already',
        )
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    arguments = parser.parse_args(argv)
    arguments.parts = arguments.parts.split(',')
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f'--parts: unknown {", ".join(sorted(unknown))}; there are {", ".join(PARTS)}')
    if arguments.coco:
        file = arguments.coco / 'annotations' / f'instances_{arguments.split}.json'
        if not file.is_file():
            parser.error(f'--coco: there is no {file}')
    return arguments


def stop(number, frame) -> None:
    """Handles Ctrl-C and SIGTERM: once, so that a second one cannot leave a worker behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    arguments = parse_arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    status = 0
    with tempfile.TemporaryDirectory(prefix='benchmark-') as scratch:
        benchmark = Benchmark(arguments, pathlib.Path(scratch))
        try:
            for part in PARTS:
                if part in arguments.parts:
                    benchmark.result[part] = getattr(benchmark, part)()
        except (WorkerFailed, subprocess.CalledProcessError) as error:
            say(f'{part}: {error}')
            status = 1
        except KeyboardInterrupt:
            say(f'Stopped during {part}.')
            status = 130
    result = {**benchmark.result, 'ratios': compute_ratios(benchmark.result)}
    print(report(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + '\n')
    return status


if __name__ == '__main__':
    sys.exit(main())
