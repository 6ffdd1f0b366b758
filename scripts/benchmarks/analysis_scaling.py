"""Measures how time and memory of the analysis grow with the number of images.

    python scripts/benchmarks/analysis_scaling.py --workdir runs/scale
    python scripts/benchmarks/analysis_scaling.py --workdir runs/scale_small --sizes 500 4000

Distinct planted scenes (segmentation/scenes), as many as the largest size, are drawn once. For each
size a data set is made of the first of them, and a narrow network is trained on 32×32 pixels for a
few steps: as little of a network as there can be, so that what else grows is seen. Then each stage
of scripts/analyze.py runs in a process of its own; `compare` compares the run with itself. Before
that all of them run on 64 images, so that no stage is measured while its programs are compiled.

Told of each stage are wall time, processor time (of all of its threads and children; the fairer of
the two where other work runs) and the largest resident memory. The ratios are those of the largest
size to the smallest. For eight times the images, time is wanted to grow no worse than 9 times, that
of the projection (similarity_map) 12 times, and memory by less than 1.5 times.

Everything is in --workdir; started again, it goes on with the first stage that was not measured.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

from tqdm import tqdm

from scripts.analyze import STAGES
from segmentation import markdown, scenes

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
# Per eightfold number of images, times as much; memory whatever the number.
MOST_TIME, MOST_TIME_OF_MAP, MOST_MEMORY = 9, 12, 1.5

# Linux counts the memory of whoever starts a process as the least that it took: start it from a
# process that takes little.
_LAUNCHER = """
import json, os, sys
actions = [(os.POSIX_SPAWN_DUP2, 2, 1)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=actions)
_, status, usage = os.wait4(pid, 0)
cpu_seconds = usage.ru_utime + usage.ru_stime
print(json.dumps([os.waitstatus_to_exitcode(status), cpu_seconds, usage.ru_maxrss]))
"""


def write_subset(drawn: pathlib.Path, folder: pathlib.Path, number: int) -> None:
    """Makes a folder in COCO's layout of the training scenes and the first `number` of 'val'."""
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


def measure(command: list[str], log: pathlib.Path, environment: dict[str, str]) -> dict[str, float]:
    """Runs a command.

    Args:
      command: and its arguments.
      log: file for what it prints.
      environment: variables beside those of this process.

    Returns:
      `wall_seconds`, `cpu_seconds`, `peak_mb`.

    Raises:
      ValueError: it failed.
    """
    start = time.perf_counter()
    with log.open('w') as file:
        process = subprocess.run(
            [sys.executable, '-S', '-c', _LAUNCHER, *command],
            stdout=subprocess.PIPE, stderr=file, cwd=ROOT, env=os.environ | environment,
            text=True, check=True,
        )  # fmt: skip
    status, cpu_seconds, peak_kb = json.loads(process.stdout)
    if status:
        raise ValueError(
            f'{" ".join(command)} ended with status {status}: '
            f'{log.read_text(errors="replace")[-500:]}'
        )
    return {
        'wall_seconds': time.perf_counter() - start,
        'cpu_seconds': cpu_seconds,
        'peak_mb': peak_kb / 1024,
    }


def measure_size(workdir: pathlib.Path, number: int) -> dict[str, dict[str, float]]:
    """Trains on the data set of a size and measures the stages; what was measured is kept.

    Returns:
      By stage what `measure` returns.
    """
    folder = workdir / str(number)
    run, kept = folder / 'run', folder / 'measured.json'
    environment = {'JAX_COMPILATION_CACHE_DIR': str((workdir / 'cache').resolve())}
    if not (run / 'analysis').exists():
        write_subset(workdir / 'scenes', folder / 'coco', number)
        fields = FIELDS | {'data.source': folder / 'coco', 'data.data_dir': folder / 'data'}
        command = [sys.executable, 'scripts/train.py', '--config', 'configs/planted.py']
        command += ['--workdir', str(run.resolve())]
        command += [
            f'--config.{name}={value.resolve() if isinstance(value, pathlib.Path) else value}'
            for name, value in fields.items()
        ]
        measure(command, folder / 'train.log', environment)
    stages = [*STAGES[:-1], 'compare', STAGES[-1]]
    measured = json.loads(kept.read_text()) if kept.exists() else {}
    for stage in tqdm(stages, desc=f'{number} images', unit='stage'):
        if stage in measured:
            continue
        command = [sys.executable, '-m', f'analysis.{stage}', '--workdir', str(run.resolve())]
        if stage == 'compare':
            command += ['--other', str(run.resolve())]
        if stage not in ('mean_iou', 'report'):  # these always begin anew
            command += ['--force']
        measured[stage] = measure(command, folder / f'{stage}.log', environment)
        partial = kept.with_name('.measured.json')
        partial.write_text(json.dumps(measured, indent=2) + '\n')
        partial.replace(kept)
    return measured


def summarize(measured: dict[int, dict[str, dict[str, float]]]) -> dict:
    """For JSON: by stage, and of `all` of them, the measures by size, ratios, and what is wanted.

    Args:
      measured: by size, at least two, what `measure_size` returns.
    """
    least, most = min(measured), max(measured)
    result = {}
    for stage in [*measured[least], 'all']:
        sizes = {}
        for number, stages in measured.items():
            rows = [stages[stage]] if stage != 'all' else stages.values()
            sizes[number] = {
                'cpu_seconds': sum(row['cpu_seconds'] for row in rows),
                'wall_seconds': sum(row['wall_seconds'] for row in rows),
                'peak_mb': max(row['peak_mb'] for row in rows),
            }
        ratios = {key: sizes[most][key] / sizes[least][key] for key in sizes[most]}
        time_wanted = MOST_TIME_OF_MAP if stage == 'similarity_map' else MOST_TIME
        wanted = {'time': time_wanted / 8 * most / least, 'memory': MOST_MEMORY}
        met = ratios['cpu_seconds'] <= wanted['time'] and ratios['peak_mb'] < wanted['memory']
        result[stage] = {'sizes': sizes, 'ratios': ratios, 'wanted': wanted, 'met': met}
    return result


def to_markdown(summary: dict) -> str:
    """A row for each stage, and one for all."""
    sizes = list(summary['all']['sizes'])
    header = ['stage']
    for number in sizes:
        header += [f'{number} images: processor, s', 'wall, s', 'peak, MB']
    header += ['processor ×', 'wall ×', 'at most', 'memory ×', 'below', '']
    rows = []
    for stage, row in summary.items():
        cells = [stage]
        for each in row['sizes'].values():
            cells += [f'{each["cpu_seconds"]:.1f}', f'{each["wall_seconds"]:.1f}']
            cells.append(f'{each["peak_mb"]:.0f}')
        ratios, wanted = row['ratios'], row['wanted']
        cells += [f'{ratios[key]:.2f}' for key in ('cpu_seconds', 'wall_seconds')]
        cells += [f'{wanted["time"]:g}', f'{ratios["peak_mb"]:.2f}', f'{wanted["memory"]:g}']
        rows.append([*cells, '' if row['met'] else 'worse'])
    return markdown.table(header, rows)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--workdir', required=True, type=pathlib.Path, help='holds everything')
    parser.add_argument(
        '--sizes', nargs='+', type=int, default=[2000, 16000], metavar='N',
        help='numbers of images; default: 2000 16000',
    )  # fmt: skip
    parser.add_argument(
        '--draw', type=int, metavar='N', help='scenes that are drawn; default: the largest size'
    )
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    arguments = parser.parse_args(argv)
    arguments.sizes = sorted(set(arguments.sizes))
    if len(arguments.sizes) < 2 or arguments.sizes[0] <= WARM_UP:
        parser.error(f'--sizes: at least two, of more than {WARM_UP} images')
    arguments.draw = arguments.draw or arguments.sizes[-1]
    if arguments.draw < arguments.sizes[-1]:
        parser.error('--draw is less than the largest of --sizes')
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    try:
        counts = {'train': TRAIN, 'val': arguments.draw}
        scenes.write_scenes(arguments.workdir / 'scenes', counts, error_rate=0.02)
        measure_size(arguments.workdir, WARM_UP)
        measured = {number: measure_size(arguments.workdir, number) for number in arguments.sizes}
    except (ValueError, OSError) as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        return 1
    summary = summarize(measured)
    print(to_markdown(summary))
    if arguments.json:
        arguments.json.write_text(json.dumps(summary, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
