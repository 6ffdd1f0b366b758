"""Trains under SLURM, undisturbed and stopped twice, and compares the two runs.

    apt-get install slurm-wlm munge
    python scripts/robustness/requeue_slurm.py --workdir runs/requeue_slurm

Starts a SLURM of its own, which listens on the loopback interface only, with its configuration in a
temporary folder. Two jobs of scripts/cluster/job.sbatch train a small network on drawn scenes, in
two tasks. The second job gets SIGTERM, as before its time limit, and requeues itself; then it is
requeued as if it were preempted. Both runs must have the same contents (`harness.contents`).
"""

import contextlib
import getpass
import os
import pathlib
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from harness import ROOT, contents, differences, make_parser, replaced, run_campaign, train_command
from kill_sweep import FIELDS

from segmentation import markdown
from segmentation.campaign import overrides
from segmentation.config import load_config
from segmentation.data.examples import open_data

PROGRAMS = 'munged', 'slurmctld', 'slurmd', 'sbatch', 'srun', 'scontrol'
STEPS = 300  # so many that a stop takes effect before the end
_LONGEST = 900  # seconds that anything may take
_CONFIG = """
ClusterName=requeue
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser={user}
SlurmdUser={user}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=120
SchedulerParameters=sched_interval=1,bf_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
# The network is so small that compiling takes longest.
_FLAGS = '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'
_PATH = f'{pathlib.Path(sys.executable).parent}:{os.environ["PATH"]}:/usr/sbin'

_ENVIRONMENT = {'PATH': _PATH, 'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': _FLAGS}


def missing_programs() -> list[str]:
    """The programs that are not installed."""
    return [name for name in PROGRAMS if not shutil.which(name, path=_PATH)]


@contextlib.contextmanager
def slurm() -> Iterator[dict[str, str]]:
    """Runs a SLURM with one node of two processors; yields the environment of its commands."""
    # Names of sockets must be short.
    with tempfile.TemporaryDirectory(prefix='slurm-', dir='/tmp') as name:
        folder = pathlib.Path(name)
        for part in ('state', 'spool'):
            (folder / part).mkdir()
        key = folder / 'munge.key'
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(1024))
        with socket.socket() as one, socket.socket() as other:
            for each in (one, other):
                each.bind(('127.0.0.1', 0))
            ports = [each.getsockname()[1] for each in (one, other)]
        host = socket.gethostname().split('.')[0]
        text = _CONFIG.format(folder=folder, host=host, user=getpass.getuser(), ports=ports)
        (folder / 'slurm.conf').write_text(text)
        environment = {**os.environ, **_ENVIRONMENT, 'SLURM_CONF': f'{folder}/slurm.conf'}
        files = {'socket': 'socket', 'key-file': 'key', 'pid-file': 'pid', 'log-file': 'log'}
        munged = [f'--{option}={folder}/munge.{suffix}' for option, suffix in files.items()]
        munged += ['--force', '--foreground', f'--seed-file={folder}/munge.seed']
        with contextlib.ExitStack() as stack:
            for command in (['munged', *munged], ['slurmctld', '-D'], ['slurmd', '-D']):
                process = subprocess.Popen(
                    command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                stack.callback(process.wait)
                stack.callback(process.terminate)
                if command[0] == 'munged':
                    _wait_for((folder / 'munge.socket').exists, 'munged')
            _wait_for(lambda: 'idle' in _ask(environment, 'sinfo', check=False), 'slurmd')
            # After an error: else the steps would outlive the daemons.
            stack.callback(_ask, environment, 'scancel', f'--user={getpass.getuser()}', check=False)
            yield environment


def _ask(environment: dict[str, str], *command: object, check: bool = True) -> str:
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True
    )
    if check and done.returncode:
        raise ValueError(f'{command[0]} has failed: {done.stderr}')
    return done.stdout


def _wait_for(happened: Callable[[], object], what: str) -> None:
    end = time.monotonic() + _LONGEST
    while not happened():
        if time.monotonic() > end:
            raise ValueError(f'{what}: nothing has happened for {_LONGEST} s.')
        time.sleep(0.2)


def train_job(folder: pathlib.Path, environment: dict[str, str], stops: tuple[str, ...]) -> str:
    """Trains in a job; returns its log.

    Each of the commands `stops` is run with the job's number, once the training has gone on.

    Raises:
      ValueError: the job has failed.
    """
    log, metrics = folder.with_suffix('.log'), folder / 'metrics.jsonl'
    log.unlink(missing_ok=True)
    steps = {'num_steps': STEPS, 'eval_every': STEPS // 2, 'checkpoint_every': STEPS // 6}
    # Each start compiles all programs: of them as few as possible, and small ones.
    steps |= {'recalibrate_batches': 0, 'num_pictures': 0}
    fields = FIELDS | {f'train.{name}': number for name, number in steps.items()}
    fields['model.encoder_trainable'] = False
    script, *options = train_command('planted', replaced(folder), fields)
    job = _ask(
        environment, 'sbatch', '--parsable', '--ntasks=2', f'--output={log}',
        f'--chdir={folder.parent}', ROOT / 'scripts/cluster/job.sbatch', script, *options,
    ).strip()  # fmt: skip

    def show(field: str) -> str:
        text = _ask(environment, 'scontrol', 'show', 'job', job)
        found = re.search(rf'\b{field}=(\w+)', text)
        if not found:
            raise ValueError(f'scontrol does not say {field}: {text}')
        return found[1]

    def done() -> int:
        return len(metrics.read_bytes().splitlines()) if metrics.exists() else 0

    def ended() -> bool:
        return show('JobState') not in ('PENDING', 'RUNNING', 'COMPLETING', 'REQUEUED')

    for number, stop in enumerate(stops):
        before = done()
        _wait_for(lambda before=before: done() > before + 3 or ended(), 'the training')
        _ask(environment, *stop.split(), job)
        _wait_for(lambda number=number: show('Restarts') == str(number + 1) or ended(), stop)
    _wait_for(ended, 'the training')
    if show('JobState') != 'COMPLETED':
        raise ValueError(f'The job has ended as {show("JobState")}; see {log}.')
    return log.read_text()


def compare(arguments) -> dict:
    if absent := missing_programs():
        raise ValueError(
            f'{", ".join(absent)} is missing: apt-get install slurm-wlm munge, or the like.'
        )
    folder = arguments.workdir
    config = load_config(f'{ROOT}/configs/planted.py', overrides(FIELDS))
    with contextlib.chdir(folder):
        open_data(config.data)  # now, not by two tasks at once
    with slurm() as environment:
        train_job(folder / 'undisturbed', environment, ())
        stops = 'scancel --signal=TERM', 'scontrol requeue'
        log = train_job(folder / 'requeued', environment, stops)
    # Both tasks print it.
    stopped = sorted({int(step) for step in re.findall(r'Stopped and saved at step (\d+)', log)})
    found = differences(contents(folder / 'undisturbed'), contents(folder / 'requeued'))
    return {'stopped_at': stopped, 'steps': STEPS, 'differences': found}


def to_markdown(result: dict) -> str:
    rows = [
        ('stopped and requeued at steps', ', '.join(map(str, result['stopped_at']))),
        ('files and checkpoints that differ', ', '.join(result['differences']) or 'none'),
    ]
    return markdown.table((f'training of {result["steps"]} steps in two tasks', ''), rows)


def main(argv: list[str] | None = None) -> int:
    return run_campaign(
        make_parser(__doc__).parse_args(argv), compare, to_markdown,
        lambda result: len(result['stopped_at']) == 2 and not result['differences'],
    )  # fmt: skip


if __name__ == '__main__':
    sys.exit(main())
