"""Trains for an hour to find leaks; stops and resumes a training run many times.

    python scripts/robustness/soak.py --workdir runs/soak --json soak.json

Soak: scripts/train.py trains a small network on drawn scenes, with an evaluation and a checkpoint
every 200 steps. Meanwhile the memory, threads and open files of the training and its descendants
are sampled. The verdict on each is `flat`, `grows`, or `inconclusive` if the confidence interval of
its growth is too wide (see README.md).

Resumes: a short training is stopped at random moments, by SIGTERM and SIGKILL in turn, and resumed.
Its results are compared with those of an undisturbed training.

Writes soak.md and soak.png into --workdir, and the samples to soak/samples.jsonl. A finished part
does not run again without --force. The exit status is 0 if all is
flat and nothing differs, 1 otherwise. Linux only.
"""

import argparse
import contextlib
import json
import pathlib
import random
import signal
import sys
import time
from collections.abc import Callable

import numpy as np
import psutil
from harness import (
    children,
    contents,
    differences,
    log_of,
    make_parser,
    replaced,
    run,
    run_campaign,
    started,
    train_command,
)
from tqdm import tqdm

from segmentation import launch, markdown
from segmentation.campaign import last_step
from segmentation.files import write_json, write_text

SAMPLE_EVERY = 5  # seconds
NUM_WINDOWS, WARM_UP = 12, 2
# A small network on a few small scenes.
FIELDS = {
    'data.data_dir': '../data',
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
    'workers_private_mb': 'memory of its descendants, MB',
    'rss_mb': 'resident memory of all, MB',
}
COUNTS = {'threads': 'threads', 'files': 'open files', 'processes': 'processes'}
# No verdict: the number of checkpoints varies, and the other files grow by design.
DISK = {'checkpoints_mb': 'checkpoints, MB', 'other_files_mb': 'metrics and pictures, MB'}
MOST_CHECKPOINTS = 3  # the latest two and the best one


def measure(pid: int) -> dict[str, float]:
    """Memory (MB are 10⁶ bytes), threads, files of a process and its descendants now."""
    used = dict.fromkeys([*MEMORY, *COUNTS], 0)
    for process in (psutil.Process(pid), *children(pid, recursive=True)):
        with contextlib.suppress(psutil.Error):  # It has just ended.
            memory = process.memory_full_info()
            threads, files = process.num_threads(), process.num_fds()
            used['private_mb' if process.pid == pid else 'workers_private_mb'] += memory.uss / 1e6
            used['rss_mb'] += memory.rss / 1e6
            used['threads'] += threads
            used['files'] += files
            used['processes'] += 1
    return used


def disk_mb(folder: pathlib.Path) -> float:
    """Size of all files in a folder, 10⁶ bytes."""
    total = 0
    for path in folder.rglob('*'):
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total / 1e6


def soak(folder: pathlib.Path, minutes: float) -> dict:
    """Trains for a number of minutes and writes samples to `samples.jsonl`.

    Raises:
      ValueError: the training ended by itself.
    """
    run_dir, began = folder / 'run', time.monotonic()
    endless = {'train.num_steps': 10**7, 'train.eval_every': 200}
    with (
        started(train_command('demo', run_dir, FIELDS | endless), folder) as process,
        (folder / 'samples.jsonl').open('w') as file,
        tqdm(total=round(minutes, 1), unit='min', desc='soak') as progress,
    ):
        while (elapsed := (time.monotonic() - began) / 60) < minutes:
            if process.poll() is not None:
                raise ValueError(f'The training ended by itself; see the end of {log_of(folder)}.')
            checkpoints = disk_mb(run_dir / 'checkpoints')
            disk = {
                'checkpoints_mb': checkpoints,
                'other_files_mb': disk_mb(run_dir) - checkpoints,
            }
            sample = {'minutes': elapsed, **measure(process.pid), **disk}
            file.write(json.dumps(sample) + '\n')
            file.flush()
            progress.update(round(elapsed, 1) - progress.n)
            time.sleep(SAMPLE_EVERY)
        asked = time.monotonic()
        process.terminate()
        status = process.wait(600)
        seconds = time.monotonic() - asked
    steps = last_step(run_dir)
    return {
        'minutes': minutes,
        'status': status,
        'seconds_to_stop': seconds,
        'steps': steps,
        'evaluations': steps // 200,
        'checkpoints': len(list((run_dir / 'checkpoints').iterdir())),
    }


def read_samples(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Quantity → float64 `[N]`."""
    rows = [json.loads(line) for line in path.open()]
    return {name: np.array([row[name] for row in rows], float) for name in rows[0]}


def windows(
    minutes: np.ndarray, values: np.ndarray, level: str = 'median'
) -> tuple[np.ndarray, np.ndarray]:
    """Middle of each window after warm-up, in minutes, and its level, `[W]` each.

    The level is a statistic of `scipy.stats.binned_statistic`.

    Raises:
      ValueError: a window has no sample.
    """
    import scipy.stats  # here, as it takes long to import

    middles, levels = (
        scipy.stats.binned_statistic(minutes, of, function, NUM_WINDOWS, (0, minutes[-1]))[0]
        for of, function in ((minutes, 'median'), (values, level))
    )
    if np.isnan(levels[WARM_UP:]).any():
        raise ValueError('Too few samples: soak for longer (--minutes).')
    return middles[WARM_UP:], levels[WARM_UP:]


def trend(minutes: np.ndarray, values: np.ndarray, allowed: float) -> dict:
    """Growth of a quantity after warm-up.

    Args:
      minutes: float `[N]`, times of the samples, rising.
      values: float `[N]`.
      allowed: growth per hour that does not count as a leak; infinite for no verdict.

    Returns:
      Level of the `first` and `last` window, growth `per_hour`, its 95 % `interval` and `verdict`.
    """
    import scipy.stats

    middles, levels = windows(minutes, values)
    line = scipy.stats.linregress(middles / 60, levels)
    half = scipy.stats.t.ppf(0.975, len(levels) - 2) * line.stderr
    low, high = line.slope - half, line.slope + half
    verdict = 'flat' if high <= allowed else 'grows' if low > allowed else 'inconclusive'
    return {
        'first': float(levels[0]),
        'last': float(levels[-1]),
        'per_hour': float(line.slope),
        'interval': [float(low), float(high)],
        'verdict': verdict if np.isfinite(allowed) else '–',
    }


def count_trend(minutes: np.ndarray, values: np.ndarray) -> dict:
    """Whether there are more of something in the second half after warm-up; see `trend`."""
    floors = windows(minutes, values, 'min')[1]
    first, last = (float(np.median(half)) for half in np.split(floors, 2))
    return {'first': first, 'last': last, 'verdict': 'flat' if last <= first else 'grows'}


def trends(samples: dict[str, np.ndarray]) -> dict[str, dict]:
    """`trend` of each quantity. Of memory 2 % or 10 MB per hour are allowed."""
    minutes = samples['minutes']
    first = {name: windows(minutes, samples[name])[1][0] for name in MEMORY}
    return {
        **{name: trend(minutes, samples[name], max(10, 0.02 * first[name])) for name in MEMORY},
        **{name: count_trend(minutes, samples[name]) for name in COUNTS},
        **{name: trend(minutes, samples[name], np.inf) for name in DISK},
    }


def resumes(folder: pathlib.Path, count: int, seed: int) -> dict:
    """Stops and resumes a training run `count` times, and compares it with an undisturbed one.

    Raises:
      ValueError: a training run failed.
    """
    rng, every = random.Random(seed), 12
    steps = every * (count + 1)
    fields = FIELDS | {'train.num_steps': steps, 'train.eval_every': every, 'train.log_every': 1}
    undisturbed, stopped = folder / 'undisturbed', folder / 'stopped'
    command = train_command('demo', stopped, fields)
    # Not in the last two intervals: the checkpoint of a SIGTERM must be gone at the end.
    planned = sorted(rng.sample(range(1, (every - 4) * count), count))
    stops, left_over = [], 0
    run('The undisturbed training', train_command('demo', undisturbed, fields), folder)
    for number, step in enumerate(tqdm(planned, unit='stop', desc='resumes')):
        sent = (signal.SIGTERM, signal.SIGKILL)[number % 2]
        expected = launch.EXIT_STOPPED if sent == signal.SIGTERM else -sent
        target = max(step, last_step(stopped) + 1)
        with started(command, folder) as process:
            while last_step(stopped) < target and process.poll() is None:
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 0.3))
            descendants = children(process.pid, recursive=True)
            process.send_signal(sent)
            if (status := process.wait()) != expected:
                raise ValueError(
                    f'After {sent.name} the status was {status}; see the end of {log_of(folder)}.'
                )
            # Before `started` kills them.
            left_over += len(psutil.wait_procs(descendants, timeout=10)[1])
        stops.append({'signal': sent.name, 'step': last_step(stopped)})
    run('The stopped training', command, folder)
    return {
        'count': count,
        'seed': seed,
        'steps': steps,
        'stops': stops,
        'processes_left_over': left_over,
        'differences': differences(contents(undisturbed), contents(stopped)),
    }


def draw(samples: dict[str, np.ndarray], path: pathlib.Path) -> None:
    from matplotlib.figure import Figure

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
                minutes, samples[name], 'min' if names is COUNTS else 'median'
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
    header = ('', 'first', 'last', 'per hour (95 % CI)', 'verdict')
    rows = []
    for name, title in {**MEMORY, **COUNTS, **DISK}.items():
        row, growth = soaked['trends'][name], '–'
        if 'per_hour' in row:
            growth = '{:+.1f} ({:+.1f} to {:+.1f})'.format(row['per_hour'], *row['interval'])
        ends = (f'{row[end]:.{0 if name in COUNTS else 1}f}' for end in ('first', 'last'))
        rows.append((title, *ends, growth, row['verdict']))
    signals = [stop['signal'] for stop in resumed['stops']]
    differ = resumed['differences']
    return '\n\n'.join(
        [
            f'**Soak**: {soaked["minutes"]:g} minutes, {soaked["steps"]:,} steps, '
            f'{soaked["evaluations"]} evaluations. Status {soaked["status"]} '
            f'{soaked["seconds_to_stop"]:.1f} s after SIGTERM; {soaked["checkpoints"]} checkpoints '
            f'left. After {soaked["minutes"] * WARM_UP / NUM_WINDOWS:.3g} minutes of warm-up:',
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
        and all(row['verdict'] in ('flat', '–') for row in soaked['trends'].values())
        and not resumed['differences']
        and not resumed['processes_left_over']
    )


def part(folder: pathlib.Path, settings: dict, force: bool, compute: Callable[..., dict]) -> dict:
    """Computes a part, or reads it if it was finished with the same settings."""
    path = folder / 'result.json'
    if not force and path.exists():
        result = json.loads(path.read_text())
        if settings.items() <= result.items():
            return result
    result = compute(replaced(folder), **settings)
    write_json(path, result)
    return result


def campaign(arguments: argparse.Namespace) -> dict:
    """Runs both parts.

    Raises:
      ValueError: invalid arguments, or a training run failed.
    """
    if arguments.minutes < NUM_WINDOWS * SAMPLE_EVERY / 60 or arguments.resumes < 1:
        raise ValueError('--minutes and --resumes must be at least 1.')
    workdir, force = arguments.workdir, arguments.force
    settings = {'count': arguments.resumes, 'seed': arguments.seed}
    result = {
        'resumes': part(workdir / 'resumes', settings, force, resumes),
        'soak': part(workdir / 'soak', {'minutes': arguments.minutes}, force, soak),
    }
    samples = read_samples(workdir / 'soak' / 'samples.jsonl')
    result['soak']['trends'] = trends(samples)
    draw(samples, workdir / 'soak.png')
    write_text(workdir / 'soak.md', to_markdown(result) + '\n\n![Samples](soak.png)\n')
    return result


def main(argv: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('--minutes', type=float, default=60, help='duration of the soak')
    add('--resumes', type=int, default=20, help='number of stops and resumes')
    add('--force', action='store_true', help='run finished parts again')
    # Ends `started`, and with it the training, when this process is terminated.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    return run_campaign(parser.parse_args(argv), campaign, to_markdown, is_fine)


if __name__ == '__main__':
    sys.exit(main())
