"""Trains for an hour to see that nothing grows, and stops and continues a training many times.

    python scripts/robustness/soak.py --workdir runs/soak --json soak.json

Soak: scripts/train.py trains a small network on drawn scenes, with a process of its own for the
batches, an evaluation and a checkpoint every 200 steps. Meanwhile its memory, threads and open
files are sampled, with those of all processes below it. The time is divided into twelve windows,
the first two of which are warm-up. The growth of memory is the slope of a line through the medians
of the other ten (it goes up and down with the evaluations), with Student's 95 % interval: samples
that follow each other are alike, windows hardly. The verdict is `flat` if the interval ends below
what is allowed, `grows` if it begins above, or else `undecided`. Of threads, open files and
processes the least in each window counts, since there are more while something is written: it may
not be more in the last five windows than in the first five, by their medians.

Resumes: a short training of the kind is stopped 20 times at random moments, by SIGTERM and SIGKILL
in turn, and continued. What it leaves is compared, as kill_anywhere.py does, with what an
undisturbed one leaves.

Writes soak.md and soak.png into --workdir, and the samples to soak/samples.jsonl. A part that is
finished is not run again; --force does. The exit status is 1 if anything grows or differs. Linux
only.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import scipy.stats
from matplotlib.figure import Figure
from tqdm import tqdm

from scripts.robustness import kill_anywhere
from segmentation import cpu_runtime, launch, markdown
from segmentation.files import write_text

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLE_EVERY = 5  # seconds
NUM_WINDOWS, WARM_UP = 12, 2
# A small network on a few small scenes.
FIELDS = {
    'data.scenes.train': 240,
    'data.scenes.val': 12,
    'data.image_size': 64,
    'data.workers': 1,
    'model.width': 0.35,
    'train.batch_size': 8,
    'train.recalibrate_batches': 4,
    'train.num_pictures': 2,
}
MEMORY = {
    'private_mb': 'memory of the training process, MB',
    'workers_private_mb': 'memory of the processes below it, MB',
    'rss_mb': 'resident memory of all, MB',
}
COUNTS = {'threads': 'threads', 'files': 'open files', 'processes': 'processes'}
# No verdict: the one comes and goes with the best checkpoint, the others are meant to grow.
DISK = {'checkpoints_mb': 'checkpoints, MB', 'other_files_mb': 'metrics and pictures, MB'}
# The latest two and the best one.
MOST_CHECKPOINTS = 3


# A training and what it uses.


@contextlib.contextmanager
def training(
    workdir: pathlib.Path, data_dir: pathlib.Path, log: pathlib.Path, **fields
) -> Iterator[subprocess.Popen]:
    """Runs scripts/train.py; it is killed at the end if it still runs."""
    fields = {**FIELDS, 'data.data_dir': data_dir.resolve(), **fields}
    command = [
        sys.executable,
        ROOT / 'scripts/train.py',
        f'--config={ROOT / "configs/demo.py"}',
        f'--workdir={workdir}',
        *(f'--config.{name}={value}' for name, value in fields.items()),
    ]
    with log.open('a') as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for this process.
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def descendants(pid: int) -> list[int]:
    """Process ids of a process and of all below it."""
    children = {}
    for stat in pathlib.Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError):
            # The name, in parentheses, may have spaces and parentheses in it.
            parent = int(stat.read_text().rpartition(')')[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def measure(pid: int) -> dict[str, float]:
    """What a process and all below it use now; megabytes are millions of bytes."""
    used = dict.fromkeys([*MEMORY, *COUNTS], 0)
    for process in descendants(pid):
        folder = pathlib.Path('/proc', str(process))
        try:
            lines = (folder / 'smaps_rollup').read_text().splitlines()[1:]
            kilobytes = {line.split(':')[0]: int(line.split()[1]) for line in lines}
            threads, files = (len(os.listdir(folder / name)) for name in ('task', 'fd'))
            private = kilobytes['Private_Clean'] + kilobytes['Private_Dirty']
        except (OSError, KeyError):
            continue  # it has just ended
        used['private_mb' if process == pid else 'workers_private_mb'] += private * 1024 / 1e6
        used['rss_mb'] += kilobytes['Rss'] * 1024 / 1e6
        used['threads'] += threads
        used['files'] += files
        used['processes'] += 1
    return used


def disk_mb(folder: pathlib.Path) -> float:
    total = 0
    for path in folder.rglob('*'):
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total / 1e6


# Soak.


def soak(folder: pathlib.Path, data_dir: pathlib.Path, minutes: float) -> dict:
    """Trains for so long, and samples, into `samples.jsonl`.

    Raises:
      ValueError: the training ended by itself.
    """
    run, log, began = folder / 'run', folder / 'train.log', time.monotonic()
    endless = {'train.num_steps': 10**7, 'train.eval_every': 200}
    with (
        training(run, data_dir, log, **endless) as process,
        (folder / 'samples.jsonl').open('w') as file,
        tqdm(total=round(minutes, 1), unit='min', desc='soak') as progress,
    ):
        while (elapsed := (time.monotonic() - began) / 60) < minutes:
            if process.poll() is not None:
                raise ValueError(f'The training ended by itself; why is in {log}.')
            checkpoints = disk_mb(run / 'checkpoints')
            disk = {'checkpoints_mb': checkpoints, 'other_files_mb': disk_mb(run) - checkpoints}
            sample = {'minutes': elapsed, **measure(process.pid), **disk}
            file.write(json.dumps(sample) + '\n')
            file.flush()
            progress.update(round(elapsed, 1) - progress.n)
            time.sleep(SAMPLE_EVERY)
        asked = time.monotonic()
        process.terminate()
        status = process.wait(600)
        seconds = time.monotonic() - asked
    steps = [json.loads(line)['step'] for line in (run / 'metrics.jsonl').open()]
    return {
        'minutes': minutes,
        'status': status,
        'seconds_to_stop': seconds,
        'steps': steps[-1],
        'evaluations': steps[-1] // 200,
        'checkpoints': len(list((run / 'checkpoints').iterdir())),
    }


def read_samples(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Quantity → float64 `[N]`."""
    rows = [json.loads(line) for line in path.open()]
    return {name: np.array([row[name] for row in rows], float) for name in rows[0]}


def windows(minutes: np.ndarray, values: np.ndarray, level=np.median) -> tuple:
    """Middle of each window after warm-up, in minutes, and its level, both `[W]`.

    Raises:
      ValueError: a window has no sample.
    """
    number = (NUM_WINDOWS * minutes / np.nextafter(minutes[-1], np.inf)).astype(int)
    members = [number == window for window in range(WARM_UP, NUM_WINDOWS)]
    if not all(map(np.any, members)):
        raise ValueError('Too few samples: soak for longer (--minutes).')
    middles = np.array([np.median(minutes[member]) for member in members])
    return middles, np.array([level(values[member]) for member in members])


def trend(minutes: np.ndarray, values: np.ndarray, allowed: float) -> dict:
    """Growth of a quantity after warm-up.

    Args:
      minutes: float `[N]`, when it was sampled, rising.
      values: float `[N]`.
      allowed: growth per hour that is no leak.

    Returns:
      `first` and `last` level, growth `per_hour` and its `interval`, `allowed` and the `verdict`.
    """
    middles, levels = windows(minutes, values)
    hours, freedom = (middles - middles.mean()) / 60, len(levels) - 2
    slope = hours @ levels / (hours @ hours)
    residuals = levels - levels.mean() - slope * hours
    half = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(
        residuals @ residuals / freedom / (hours @ hours)
    )
    low, high = slope - half, slope + half
    verdict = 'flat' if high <= allowed else 'grows' if low > allowed else 'undecided'
    return {
        'first': float(levels[0]),
        'last': float(levels[-1]),
        'per_hour': float(slope),
        'interval': [float(low), float(high)],
        'allowed': float(allowed),
        'verdict': verdict,
    }


def count_trend(minutes: np.ndarray, values: np.ndarray) -> dict:
    """Whether there are more of something in the second half after warm-up; see `trend`."""
    floors = windows(minutes, values, np.min)[1]
    first, last = map(np.median, np.split(floors, 2))
    verdict = 'flat' if last <= first else 'grows'
    return {'first': float(first), 'last': float(last), 'verdict': verdict}


def trends(samples: dict[str, np.ndarray]) -> dict[str, dict]:
    minutes, found = samples['minutes'], {}
    for name in (*MEMORY, *DISK):
        first = windows(minutes, samples[name])[1][0]
        found[name] = trend(minutes, samples[name], max(10.0, 0.02 * first))
    for name in DISK:
        del found[name]['allowed'], found[name]['verdict']
    return found | {name: count_trend(minutes, samples[name]) for name in COUNTS}


# Resumes.


def resumes(folder: pathlib.Path, data_dir: pathlib.Path, count: int, seed: int) -> dict:
    """Stops a training so often, continues it, and compares it with an undisturbed one.

    Raises:
      ValueError: a training ended otherwise than it was made to.
    """
    rng = random.Random(seed)
    log, every = folder / 'train.log', 12
    fields = {'train.num_steps': every * (count + 1), 'train.eval_every': every}
    fields['train.log_every'] = 1
    undisturbed, stopped = folder / 'undisturbed', folder / 'stopped'
    # Not in the last two intervals: SIGTERM's own checkpoint must be gone at the end.
    planned = sorted(rng.sample(range(1, (every - 4) * count), count))
    stops, left_over = [], 0
    with tqdm(total=count + 2, unit='start', desc='resumes') as progress:

        def finish(run):
            with training(run, data_dir, log, **fields) as process:
                if status := process.wait():
                    raise ValueError(f'{run} ended with status {status}; why is in {log}.')
            progress.update()

        finish(undisturbed)
        for number, step in enumerate(planned):
            sent = (signal.SIGTERM, signal.SIGKILL)[number % 2]
            expected = launch.EXIT_STOPPED if sent == signal.SIGTERM else -sent
            target = max(step, last_step(stopped) + 1)
            with training(stopped, data_dir, log, **fields) as process:
                while last_step(stopped) < target and process.poll() is None:
                    time.sleep(0.02)
                time.sleep(rng.uniform(0, 0.3))
                family = descendants(process.pid)
                process.send_signal(sent)
                if (status := process.wait()) != expected:
                    raise ValueError(f'{sent.name} gave status {status}; why is in {log}.')
            left_over += still_there(family)
            stops.append({'signal': sent.name, 'step': last_step(stopped)})
            progress.update()
        finish(stopped)
    return {
        'count': count,
        'seed': seed,
        'steps': fields['train.num_steps'],
        'stops': stops,
        'processes_left_over': left_over,
        'differences': kill_anywhere.differences(
            kill_anywhere.contents(undisturbed), kill_anywhere.contents(stopped)
        ),
    }


def last_step(run: pathlib.Path) -> int:
    """Of the metrics; the half line that is just being written does not count."""
    path = run / 'metrics.jsonl'
    whole = path.read_text().rpartition('\n')[0] if path.exists() else ''
    return json.loads(whole.splitlines()[-1])['step'] if whole else 0


def still_there(pids: list[int], seconds: float = 10) -> int:
    """How many processes have not ended after so long."""
    end = time.monotonic() + seconds
    while alive := [pid for pid in pids if pathlib.Path('/proc', str(pid)).exists()]:
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    return len(alive)


# The report.


def draw(samples: dict[str, np.ndarray], path: pathlib.Path) -> None:
    figure = Figure(figsize=(11, 8), dpi=110, layout='constrained')
    minutes = samples['minutes']
    for axis, names, unit in zip(
        figure.subplots(3, 1, sharex=True),
        (MEMORY, COUNTS, DISK),
        ('MB', 'number', 'MB'),
        strict=True,
    ):
        for number, (name, title) in enumerate(names.items()):
            color = f'C{number}'
            axis.plot(minutes, samples[name], color=color, linewidth=0.8, alpha=0.6)
            middles, levels = windows(
                minutes, samples[name], np.min if names is COUNTS else np.median
            )
            axis.plot(middles, levels, 'o-', color=color, markersize=4, label=title)
        axis.axvspan(0, minutes[-1] * WARM_UP / NUM_WINDOWS, color='0.92')
        axis.set(ylabel=unit, ylim=(0, None), xlim=(0, minutes[-1]))
        axis.legend(loc='upper left', bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
        axis.spines[['top', 'right']].set_visible(False)
    figure.axes[0].set_title('Grey: warm-up. Points: windows, as they are compared.', fontsize=9)
    figure.axes[-1].set_xlabel('minutes')
    figure.savefig(path)


def to_markdown(result: dict) -> str:
    soaked, resumed = result['soak'], result['resumes']
    header = ('', 'first', 'last', 'per hour [95 %]', 'allowed', 'verdict')
    rows = []
    for name, title in {**MEMORY, **COUNTS, **DISK}.items():
        row = soaked['trends'][name]
        digits = 0 if name in COUNTS else 1
        growth = '–'
        if 'per_hour' in row:
            slope, low, high = row['per_hour'], *row['interval']
            growth = f'{slope:+.1f} ({low:+.1f} to {high:+.1f})'
        rows.append(
            (
                title,
                f'{row["first"]:.{digits}f}',
                f'{row["last"]:.{digits}f}',
                growth,
                f'{row["allowed"]:.1f}' if 'allowed' in row else '–',
                row.get('verdict', '–'),
            )
        )
    signals = [stop['signal'] for stop in resumed['stops']]
    differ = resumed['differences']
    return '\n\n'.join(
        [
            f'**Soak**: {soaked["minutes"]:g} minutes, {soaked["steps"]:,} steps, '
            f'{soaked["evaluations"]} evaluations. SIGTERM gave status {soaked["status"]} after '
            f'{soaked["seconds_to_stop"]:.1f} s; checkpoints left: {soaked["checkpoints"]}. After '
            f'{soaked["minutes"] * WARM_UP / NUM_WINDOWS:.3g} minutes of warm-up:',
            markdown.table(header, rows),
            f'**Resumes**: {resumed["steps"]} steps, stopped {signals.count("SIGTERM")} times by '
            f'SIGTERM and {signals.count("SIGKILL")} times by SIGKILL, at steps '
            f'{", ".join(str(stop["step"]) for stop in resumed["stops"])}. Processes left over: '
            f'{resumed["processes_left_over"]}. Compared with an undisturbed training: '
            + (f'{len(differ)} differ: {"; ".join(differ[:20])}' if differ else 'nothing differs')
            + '.',
        ]
    )


def is_fine(result: dict) -> bool:
    soaked, resumed = result['soak'], result['resumes']
    return (
        soaked['status'] == launch.EXIT_STOPPED
        and soaked['checkpoints'] <= MOST_CHECKPOINTS
        and all(row.get('verdict', 'flat') == 'flat' for row in soaked['trends'].values())
        and not resumed['differences']
        and not resumed['processes_left_over']
    )


def part(folder: pathlib.Path, asked: dict, force: bool, compute) -> dict:
    """Result of a part, from its folder if it was finished there with the same settings."""
    path = folder / 'result.json'
    if not force and path.exists():
        result = json.loads(path.read_text())
        if asked.items() <= result.items():
            return result
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    result = compute(folder, **asked)
    write_text(path, json.dumps(result, indent=2) + '\n')
    return result


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--workdir', required=True, type=pathlib.Path, help='where it is done')
    parser.add_argument('--minutes', type=float, default=60, help='soak; default: %(default)s')
    parser.add_argument('--resumes', type=int, default=20, help='how many; default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='of the stops; default: %(default)s')
    parser.add_argument('--force', action='store_true', help='run again what is finished')
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    arguments = parser.parse_args(argv)
    # So that the training ends with this process.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    workdir = arguments.workdir
    data_dir = workdir / 'data'
    try:
        if arguments.minutes < NUM_WINDOWS * SAMPLE_EVERY / 60 or arguments.resumes < 1:
            raise ValueError('--minutes must be at least 1, and --resumes too.')
        result = {
            'resumes': part(
                workdir / 'resumes',
                {'count': arguments.resumes, 'seed': arguments.seed},
                arguments.force,
                lambda folder, **asked: resumes(folder, data_dir, **asked),
            ),
            'soak': part(
                workdir / 'soak',
                {'minutes': arguments.minutes},
                arguments.force,
                lambda folder, **asked: soak(folder, data_dir, **asked),
            ),
        }
        samples = read_samples(workdir / 'soak' / 'samples.jsonl')
        result['soak']['trends'] = trends(samples)
        draw(samples, workdir / 'soak.png')
        (workdir / 'soak.md').write_text(to_markdown(result) + '\n\n![Samples](soak.png)\n')
        print(to_markdown(result))
        if arguments.json:
            arguments.json.write_text(json.dumps(result, indent=2) + '\n')
    except (ValueError, OSError) as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        return 1
    return 0 if is_fine(result) else 1


if __name__ == '__main__':
    cpu_runtime.configure()
    sys.exit(main())
