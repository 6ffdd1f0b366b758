"""The processes of a sweep on one machine: a supervisor, and one worker process per trial."""

import glob
import multiprocessing
import os
import socket
import sys
import time
import traceback
from multiprocessing.process import BaseProcess

import optuna
from tqdm import tqdm

from segmentation import cpu_runtime, launch
from segmentation.sweeps import study as sweeps

# The supervisor gives up after this many consecutive workers that died before they began a trial.
_MAX_FALSE_STARTS = 3


def supervise(
    study: optuna.Study, sweep: sweeps.Sweep, workers: int, retry_failed: bool = False
) -> bool:
    """Keeps `workers` processes busy until every set is finished, here or on other machines.

    Each trial runs in its own process, so that its memory and devices are free afterwards. If this
    process is killed, its workers complete and record their trials, but begin no others. Sets that
    failed before are queued again with `retry_failed`.

    Returns:
      True when all sets are finished, False after a signal that asked to stop.

    Raises:
      RuntimeError: workers die before they begin a trial.
    """
    context = multiprocessing.get_context('spawn')  # not fork, because JAX has threads
    (sweep.workdir / 'logs').mkdir(exist_ok=True)
    sweeps.refill(study, sweep, retry_failed)
    reported = {entry.key for entry in sweeps.entries(study, sweep) if entry.finished}
    processes: dict[int, BaseProcess] = {}  # by slot
    unsigned: dict[int, float] = {}  # when a trial without worker was first seen
    false_starts, stopping = 0, False
    progress = tqdm(total=len(sweep.sets), initial=len(reported), unit='trial', desc='sweep')
    with launch.stop_requested() as stop, progress:
        try:
            while True:
                # Before the study is read, so that it has all that these processes did.
                ended = {s: p for s, p in processes.items() if p.exitcode is not None}
                current = sweeps.refill(study, sweep)
                for entry in current:
                    if entry.finished and entry.key not in reported:
                        reported.add(entry.key)
                        tqdm.write(_describe(entry, sweep.metric))
                        progress.update()
                running = [e.trial for e in current if e.trial and e.state == 'running']
                by_worker = {trial.user_attrs.get('worker'): trial for trial in running}
                for slot, process in ended.items():
                    del processes[slot]
                    trial = by_worker.pop(sweeps.worker_name(process.pid or 0), None)
                    if trial:
                        tqdm.write(
                            f'The worker of trial {trial.user_attrs["key"]} ended with status '
                            f'{process.exitcode}; the trial is queued again.'
                        )
                        sweeps.give_back(study, trial.number)
                    fine = trial or process.exitcode in (0, launch.EXIT_STOPPED)
                    false_starts = 0 if fine or stopping else false_starts + 1
                    if false_starts == _MAX_FALSE_STARTS:
                        raise RuntimeError(f'Workers do not start; see {sweep.workdir}/logs.')
                # A worker may die after it took a trial, but before its first heartbeat.
                unsigned = {
                    trial.number: unsigned.get(trial.number, time.monotonic())
                    for trial in running
                    if 'worker' not in trial.user_attrs
                }
                for number, since in unsigned.items():
                    if time.monotonic() - since > sweep.grace:
                        sweeps.give_back(study, number)

                if stop.is_set():
                    if not processes:
                        return False
                    if not stopping:  # only once: a second signal ends them without saving
                        for process in processes.values():
                            process.terminate()
                    stopping = True
                elif all(entry.finished for entry in current):
                    return True
                else:
                    names = {sweeps.worker_name(process.pid or 0) for process in processes.values()}
                    beginning = len(names - by_worker.keys())
                    open_sets = sum(entry.state in ('waiting', 'missing') for entry in current)
                    free = [slot for slot in range(workers) if slot not in processes]
                    for slot in free[: max(0, open_sets - beginning)]:
                        processes[slot] = context.Process(target=_work, args=(sweep, slot, workers))
                        processes[slot].start()
                time.sleep(1)
        finally:
            for process in processes.values():
                process.kill()  # after an error or a second signal


def _describe(entry: sweeps.Entry, metric: str) -> str:
    overrides = (entry.trial and entry.trial.user_attrs.get('overrides')) or {}
    changes = ', '.join(f'{name}={value}' for name, value in overrides.items())
    outcome = entry.reason
    if entry.trial and entry.state != 'failed':
        scores = entry.trial.intermediate_values.values()
        outcome = f'{metric} {min(scores) if metric == "loss" else max(scores):.4f}'
    return f'{entry.key} {entry.state}: {outcome} ({changes or "as the config"})'


def _work(sweep: sweeps.Sweep, slot: int, workers: int) -> None:
    """Runs one trial, in a worker process."""
    os.setsid()  # Ctrl-C is for the supervisor, which passes it on
    log = sweep.workdir / 'logs' / f'{socket.gethostname()}-{os.getppid()}-{slot}.log'
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    launch.start_logging()
    _take_share(slot, workers)
    cpu_runtime.configure()
    try:
        sweeps.run_next(sweeps.open_study(sweep), sweep)
    except launch.TrainingStopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(launch.EXIT_STOPPED)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def _take_share(slot: int, workers: int) -> None:
    """Restricts this process to its part of the cores and GPUs, before JAX reads them."""
    if hasattr(os, 'sched_setaffinity'):  # Linux
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[slot::workers] or [cores[slot % len(cores)]])
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    if visible is None:
        visible = ','.join(str(i) for i in range(len(glob.glob('/dev/nvidia[0-9]*'))))
    if gpus := [gpu for gpu in visible.split(',') if gpu]:
        mine = gpus[slot::workers] or [gpus[slot % len(gpus)]]
        os.environ['CUDA_VISIBLE_DEVICES'] = ','.join(mine)
        if workers > len(gpus):
            share = 0.9 / -(-workers // len(gpus))
            os.environ.setdefault('XLA_PYTHON_CLIENT_MEM_FRACTION', f'{share:.2f}')
