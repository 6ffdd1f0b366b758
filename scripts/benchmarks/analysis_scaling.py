"""Measures how the time and memory of the analysis grow with the number of images.

    python scripts/benchmarks/analysis_scaling.py --workdir runs/scale
    python scripts/benchmarks/analysis_scaling.py --workdir runs/scale_small --sizes 500 4000

The command draws planted scenes once, as many as the largest size. For each size it trains a narrow
network for a few steps at 32×32 pixels; then each stage of the analysis runs in its own process.
The network is small so that its time does not hide how the rest grows. `compare` compares the run
with itself. A first run on 64 images fills the compilation cache.

For each stage the table has the wall time, the processor time (of all threads and children; more
reliable on a busy machine), the peak resident memory, and the ratios of the largest to the smallest
size. Targets for eight times the images: at most 9 times the processor time (12 for similarity_map)
and less than 1.5 times the memory. The same command continues.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence

import contenders
from tqdm import tqdm

from analysis import registry
from analysis.stage.command import run_command
from analysis.stage.view import Parts
from segmentation import launch, markdown, scenes
from segmentation.campaign import overrides
from segmentation.files import write_json

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAIN, WARM_UP = 64, 64  # images
FIELDS = {
    'data.image_size': 32,
    'data.max_val': 0,  # all
    'data.selection_fraction': 0.25,
    'model.width': 0.35,
    'train.batch_size': 16,
    'train.num_steps': 100,
    'train.eval_every': 100,
    'train.num_pictures': 0,
}
# Targets: ratio of times for eight times the images, and of memory for any sizes.
MOST_TIME, MOST_TIME_OF_MAP, MOST_MEMORY = 9, 12, 1.5

# On Linux the peak memory of a process is at least that of its parent: start it from a small one.
_LAUNCHER = """
import json, os, sys
actions = [(os.POSIX_SPAWN_DUP2, 2, 1)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=actions)
_, status, usage = os.wait4(pid, 0)
cpu_seconds = usage.ru_utime + usage.ru_stime
print(json.dumps([os.waitstatus_to_exitcode(status), cpu_seconds, usage.ru_maxrss]))
"""


def write_subset(drawn: pathlib.Path, folder: pathlib.Path, number: int) -> None:
    """Makes a COCO folder of the training scenes and the first `number` validation scenes."""
    (folder / 'annotations').mkdir(parents=True, exist_ok=True)
    for split in ('train', 'val'):
        document = json.loads((drawn / f'annotations/instances_{split}.json').read_text())
        document['images'] = document['images'][:number]
        kept = {image['id'] for image in document['images']}
        document['annotations'] = [
            entry for entry in document['annotations'] if entry['image_id'] in kept
        ]
        (folder / f'annotations/instances_{split}.json').write_text(json.dumps(document))
        if not (folder / split).exists():
            (folder / split).symlink_to((drawn / split).resolve())


def measure(
    command: list[str],
    log: pathlib.Path,
    environment: dict[str, str],
    folder: pathlib.Path = ROOT,
) -> dict[str, float]:
    """Runs a command in a folder; returns its `wall_seconds`, `cpu_seconds` and `peak_mb`.

    Its output goes to `log`. Raises ValueError with the end of the log if it failed.
    """
    start = time.perf_counter()
    with log.open('w') as file:
        process = subprocess.Popen(
            [sys.executable, '-S', '-c', _LAUNCHER, *command],
            stdout=subprocess.PIPE, stderr=file, cwd=folder, env=os.environ | environment,
            text=True, start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = process.communicate()
        finally:  # An interrupted command must not go on beside the next one.
            contenders.kill(process)
            process.wait()
    seconds = time.perf_counter() - start
    if process.returncode:
        raise ValueError(f'{command[0]} cannot be started; see {log}')
    status, cpu_seconds, peak_kb = json.loads(output)
    if status:
        end = log.read_text(errors='replace')[-500:]
        raise ValueError(f'{" ".join(command)} ended with status {status}: {end}')
    return {'wall_seconds': seconds, 'cpu_seconds': cpu_seconds, 'peak_mb': peak_kb * 1024 / 1e6}


def measure_size(workdir: pathlib.Path, number: int) -> dict[str, dict[str, float]]:
    """Trains on a number of images and measures the stages that were not measured before.

    Returns stage → result of `measure`.
    """
    folder = workdir / str(number)
    run, kept = folder / 'run', folder / 'measured.json'
    environment = {'JAX_COMPILATION_CACHE_DIR': str(workdir / 'cache')}
    if not (run / 'analysis').exists():
        write_subset(workdir / 'scenes', folder / 'coco', number)
        fields = {**FIELDS, 'data.source': folder / 'coco', 'data.data_dir': folder / 'data'}
        command = ['scripts/train.py', '--config', 'configs/planted.py', '--workdir', str(run)]
        command = [sys.executable, *command, *overrides(fields)]
        measure(command, folder / 'train.log', environment)
    stages = [*list_stages(), 'compare', 'report']
    return measure_stages(run, kept, stages, environment, f'{number} images')


def list_stages() -> list[str]:
    """The stages that a single split has, without `compare` and the report."""
    of_more = Parts.SEVERAL, Parts.FOLDER
    stages = map(registry.load, registry.STAGES)
    return [stage.name for stage in stages if stage.result.PARTS not in of_more]


def measure_stages(
    run: pathlib.Path,
    kept: pathlib.Path,
    stages: Sequence[str],
    environment: dict[str, str],
    title: str,
    split: str = 'val',
) -> dict[str, dict[str, float]]:
    """Runs stages of a training run, each in its own process, that were not measured before.

    Args:
      run: its directory.
      kept: JSON file with what was measured before; it is extended.
      stages: names, also 'compare' (with the run itself) and 'report'.
      environment: variables of the processes.
      title: for the progress bar.
      split: of the view.

    Returns:
      Stage → result of `measure`, with all that is in the file.
    """
    measured = json.loads(kept.read_text()) if kept.exists() else {}
    for stage in tqdm(stages, desc=title, unit='stage'):
        if stage in measured:
            continue
        command = [sys.executable, '-m', f'analysis.{stage}', '--workdir', str(run)]
        if stage == 'compare':
            command += ['--other', str(run)]
        if stage != 'report':  # It always starts from the artifacts.
            command += ['--force', '--split', split]
        measured[stage] = measure(command, kept.parent / f'{stage}.log', environment)
        write_json(kept, measured)
    return measured


def summarize(measured: dict[int, dict[str, dict[str, float]]]) -> dict:
    """Compares the largest with the smallest size.

    Args:
      measured: number of images (at least two) → result of `measure_size`.

    Returns:
      For JSON: stage, or 'all' → measures by size (`sizes`), `ratios`, `targets` and
      whether they are `met`.
    """
    least, most = min(measured), max(measured)
    result = {}
    for stage in [*measured[least], 'all']:
        sizes = {}
        for number, stages in measured.items():
            rows = [stages[stage]] if stage != 'all' else stages.values()
            sizes[number] = {
                key: function(row[key] for row in rows)
                for key, function in (('cpu_seconds', sum), ('wall_seconds', sum), ('peak_mb', max))
            }
        ratios = {key: sizes[most][key] / sizes[least][key] for key in sizes[most]}
        time_target = MOST_TIME_OF_MAP if stage == 'similarity_map' else MOST_TIME
        targets = {'time': time_target / 8 * most / least, 'memory': MOST_MEMORY}
        met = ratios['cpu_seconds'] <= targets['time'] and ratios['peak_mb'] < targets['memory']
        result[stage] = {'sizes': sizes, 'ratios': ratios, 'targets': targets, 'met': met}
    return result


def to_markdown(summary: dict) -> str:
    """A row for each stage, and one for all."""
    header = ['stage']
    for number in summary['all']['sizes']:
        header += [f'{number} images: processor, s', 'wall, s', 'peak, MB']
    header += ['processor ×', 'wall ×', 'at most', 'memory ×', 'below', '']
    rows = []
    for stage, row in summary.items():
        cells, ratios, targets = [stage], row['ratios'], row['targets']
        for size in row['sizes'].values():
            cells += [f'{size["cpu_seconds"]:.1f}', f'{size["wall_seconds"]:.1f}']
            cells.append(f'{size["peak_mb"]:.0f}')
        cells += [f'{ratios[key]:.2f}' for key in ('cpu_seconds', 'wall_seconds')]
        cells += [f'{targets["time"]:g}', f'{ratios["peak_mb"]:.2f}', f'{targets["memory"]:g}']
        rows.append([*cells, '' if row['met'] else 'worse'])
    return markdown.table(header, rows)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = launch.make_parser(__doc__)
    parser.add_argument(
        '--sizes', nargs='+', type=int, default=[2000, 16000], metavar='N',
        help='numbers of images; default: 2000 16000',
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    arguments.sizes = sorted(set(arguments.sizes))
    arguments.workdir = arguments.workdir.resolve()
    if len(arguments.sizes) < 2 or arguments.sizes[0] <= WARM_UP:
        parser.error(f'--sizes: at least two, of more than {WARM_UP} images')
    return arguments


def work(arguments: argparse.Namespace) -> dict:
    counts = {'train': TRAIN, 'val': arguments.sizes[-1]}
    scenes.write_scenes(arguments.workdir / 'scenes', counts, error_rate=0.02)
    measure_size(arguments.workdir, WARM_UP)
    measured = {number: measure_size(arguments.workdir, number) for number in arguments.sizes}
    summary = summarize(measured)
    print(to_markdown(summary))
    return summary


@launch.command
def main(argv: list[str] | None = None) -> int:
    return run_command(parse_arguments(argv), work)


if __name__ == '__main__':
    contenders.stop_once()
    sys.exit(main())
