"""Contenders of a benchmark: each is a process of its own, and they take turns.

Each builds its network, warms up and waits (see `peers/protocol.py`). One works at a time, in
another order each round, and all have the same number of threads.
"""

import argparse
import contextlib
import functools
import json
import math
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence

PEERS = pathlib.Path(__file__).resolve().parent / 'peers'
PEER_PACKAGES = tuple(
    sorted(path.stem.removeprefix('requirements-') for path in PEERS.glob('requirements-*.txt'))
)
PATIENCE = 900  # seconds after which a worker that does not answer counts as failed
PAUSE = 0.5  # seconds between turns, because thread pools spin and pipelines fill buffers


class WorkerFailed(RuntimeError):
    """A worker ended or did not answer; the message has the last line that it wrote."""


def parse_parts(
    parser: argparse.ArgumentParser, parts: Sequence[str], argv: list[str] | None
) -> argparse.Namespace:
    """Parses arguments with `parts`, a list of these, and `overrides`: the fields of a config."""
    arguments, arguments.overrides = parser.parse_known_args(argv)
    if unknown := [each for each in arguments.overrides if not each.startswith('--config.')]:
        parser.error(f'unknown arguments: {" ".join(unknown)}')
    arguments.parts = split_parts(parser, parts, arguments.parts)
    return arguments


def split_parts(parser: argparse.ArgumentParser, parts: Sequence[str], given: str) -> list[str]:
    """The value of --parts as a list; ends the command if one is not of `parts`."""
    chosen = given.split(',')
    if strange := set(chosen) - set(parts):
        parser.error(f'--parts: unknown {", ".join(sorted(strange))}; there are {", ".join(parts)}')
    return chosen


def start(command: list, environment: dict | None = None, **options) -> subprocess.Popen:
    """Starts a command in a session of its own, so that `kill` ends its children with it."""
    env = {**os.environ, 'JAX_PLATFORMS': 'cpu', **(environment or {})}
    return subprocess.Popen([*map(str, command)], env=env, start_new_session=True, **options)


def kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Worker:
    """One contender in a process of its own (see `peers/protocol.py`).

    Attributes:
      name: of the contender.
      process: its `Popen`.
      about: its description of itself, after its first step.
      answers: of each timed turn: its `seconds`, `result` and `peak_mb` so far.
      patience: seconds that it may take to answer.
      deadline: value of `time.monotonic()` from which on no answer is waited for.

    With `wait=False` the constructor does not wait until the worker is ready; `wait` does.
    """

    def __init__(
        self,
        name: str,
        command: list,
        spec: dict,
        unit: float,
        steps: int,
        rounds: int = 10**9,
        environment: dict | None = None,
        patience: float = PATIENCE,
        wait: bool = True,
        deadline: float = math.inf,
    ):
        self.name, self.unit, self.steps, self.rounds = name, unit, steps, rounds
        self.spec, self.patience, self.deadline = spec, patience, deadline
        self.answers: list[dict] = []
        self._log = tempfile.TemporaryFile('w+')
        self.process = start(
            [*command, json.dumps(spec)],
            {'OMP_NUM_THREADS': str(usable_cores()), **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        if wait:
            self.wait()

    def wait(self) -> None:
        """Waits until its first step is done. Raises WorkerFailed if it failed, and ends it."""
        try:
            self.about = self._answer()
        except BaseException:  # Ctrl-C too: nothing else would end this process yet.
            self.close()
            raise

    def _answer(self) -> dict:
        # What is already there is read in any case.
        patience = max(1.0, min(self.patience, self.deadline - time.monotonic()))
        timer = threading.Timer(patience, kill, [self.process])
        end = time.monotonic() + patience
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line and time.monotonic() >= end:
            raise WorkerFailed(f'no answer within {patience:.0f} s')
        if not line:
            self._log.seek(0)
            last = ([text for text in self._log.read().splitlines() if text.strip()] or [''])[-1]
            raise WorkerFailed(f'{last[:200]} (exit status {self.process.wait()})')
        return json.loads(line)

    def request(self, **request) -> dict:
        with contextlib.suppress(BrokenPipeError):  # The answer has the reason.
            self.process.stdin.write(json.dumps(request) + '\n')
            self.process.stdin.flush()
        return self._answer()

    def turn(self, skip: int) -> None:
        self.answers.append(self.request(steps=self.steps, skip=skip))

    @property
    def rates(self) -> list[float]:
        return [self.unit * self.steps / answer['seconds'] for answer in self.answers]

    def close(self) -> None:
        kill(self.process)
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self._log.close()

    def measured(self) -> dict:
        return {
            'per_second': self.rates,
            'peak_mb': max(entry['peak_mb'] for entry in (self.about, *self.answers)),
            **{k: v for k, v in self.about.items() if k in ('parameters', 'images')},
        }


def stop_once() -> None:
    """Makes Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt once.

    A second one cannot leave a worker behind.
    """

    def stop(number, frame) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    signals = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    for number in signals:
        signal.signal(number, stop)


def usable_cores() -> int:
    """Number of cores that this process may use: all, or those given by `taskset`."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_machine() -> dict:
    """CPU model, memory, system, and the number of cores that this process may use."""
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


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@functools.cache
def find_peer(
    name: str, python: str | None, folder: pathlib.Path
) -> list[str | pathlib.Path] | WorkerFailed:
    """Command of the worker of 'jax' or one of `PEER_PACKAGES`, or why it cannot be installed.

    Without an interpreter (`python`) that has the peer, one is installed below `folder`, once.
    """
    requirements, environment = PEERS / f'requirements-{name}.txt', folder / name
    installed = environment / 'requirements.installed'
    if python is None:
        python = environment / 'bin' / 'python'
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
                    return WorkerFailed(f'not installed: {reason[:200]}')
            shutil.copy(requirements, installed)
    return [python, PEERS / f'{name}_worker.py']


def alternate(
    contenders: list[tuple[str, Callable[[], Worker]]],
    rounds: int,
    *,
    title: str,
    unit: str = 'img/s',
    warm_up: int = 2,
    skip: int = 0,
) -> tuple[dict[str, Worker], dict[str, str]]:
    """Starts contenders one by one and lets them take turns.

    Args:
      contenders: name and function that starts its worker. All but 'ours' may be absent.
      rounds: number of rounds; a worker takes part in the first `worker.rounds` of them.
      title, unit: for progress; the unit is that of `Worker.rates`.
      warm_up, skip: untimed steps, before the first round and at the start of each turn.

    Returns:
      The finished workers, and name → reason of the absent ones.

    Raises:
      WorkerFailed: ours did not run.
    """
    workers, absent = {}, {}

    def leave(name: str, failure: WorkerFailed) -> None:
        if name == 'ours':
            raise WorkerFailed(f'{title}, ours: {failure}') from failure
        workers.pop(name, None)
        absent[name] = str(failure)
        say(f'{title}: {name} is absent: {failure}')

    with contextlib.ExitStack() as stack:
        for name, start in contenders:
            say(f'{title}: starting {name}')
            try:
                worker = start()
                stack.callback(worker.close)
                worker.request(steps=min(warm_up, worker.steps))
                workers[name] = worker
            except WorkerFailed as failure:
                leave(name, failure)
        names = list(workers)
        for number in range(rounds):
            turned = names[number % len(names) :] + names[: number % len(names)]
            for name in turned:
                if name in workers and number < workers[name].rounds:
                    time.sleep(PAUSE)
                    try:
                        workers[name].turn(skip)
                    except WorkerFailed as failure:
                        leave(name, failure)
                        continue
                    rate = workers[name].rates[-1]
                    say(f'{title}: round {number + 1}/{rounds}, {name}: {rate:.1f} {unit}')
    return workers, absent
