"""Compares the speed of scripts/predict.py with that of the network alone, in turns.

    python scripts/benchmarks/prediction_speed.py --workdir runs/person_car --images photos

network   logits, of as many images at once as scripts/predict.py takes
files     JPEG files of 640×480 pixels to masks at their own size

The images of the folder are scaled to 640×480 and written as JPEG first. The ratio is the median
over the rounds of files / network in images per second. Other processes slow both down unequally,
so the ratio of the processor time per image, network / files, is also printed. Both are the same
where all cores are busy all the time.
"""

import contextlib
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

import segmentation
from segmentation import launch, markdown
from segmentation.files import write_json
from segmentation.prediction_files import Found, OutputFolder, find_images

if TYPE_CHECKING:
    from segmentation.predictor import Model

SIZE = (640, 480)
WARM_UP = 16  # images


def write_photographs(images: list[Found], folder: pathlib.Path, count: int) -> list[Found]:
    """Writes `count` JPEG files of `SIZE`, made of images in turn."""
    folder.mkdir()
    for number in range(count):
        with Image.open(images[number % len(images)].path) as image:
            scaled = image.convert('RGB').resize(SIZE, Image.Resampling.BICUBIC)
        scaled.save(folder / f'{number:05d}.jpg', quality=90)
    return find_images([str(folder)], folder / 'none')[0]


class Speed(NamedTuple):
    """Of one turn."""

    images_per_second: float
    milliseconds_of_processor: float  # per image, user and system


@contextlib.contextmanager
def timed(count: int) -> Iterator[list[Speed]]:
    """Yields a list to which the speed of `count` images within the block is appended."""
    speeds: list[Speed] = []
    began, processor = time.perf_counter(), time.process_time()
    yield speeds
    seconds, used = time.perf_counter() - began, time.process_time() - processor
    speeds.append(Speed(count / seconds, 1000 * used / count))


def time_network(model: 'Model', count: int) -> Speed:
    """The network alone."""
    from segmentation import evaluate

    run = model.run
    predict = evaluate.make_predict(run.model, run.config.data.input_range)
    variables, side = evaluate.replicate(run.variables), run.config.data.image_size
    size = model.batch_size
    images = np.random.default_rng(0).integers(0, 256, (size, side, side, 3), dtype=np.uint8)
    np.asarray(predict(variables, images))  # compiles
    number = -(-count // size)
    with timed(number * size) as speeds:
        batches = ({'image': images} for _ in range(number))
        for _, logits in evaluate.predictions(predict, variables, batches):
            np.asarray(logits)
    return speeds[0]


def time_files(
    model: 'Model', photographs: list[Found], folder: pathlib.Path, threads: int
) -> Speed:
    """From JPEG files to masks."""
    from segmentation.mass_prediction import FilePredictor

    with OutputFolder(folder, ['masks'], {}) as output:
        predictor = FilePredictor(model, output, False, threads)
        with timed(len(photographs)) as speeds:
            done = sum(predictor.run(photographs))
    if done != len(output.entries) or done != len(photographs):
        raise RuntimeError(f'{len(output.entries)} of {len(photographs)} images were predicted.')
    return speeds[0]


@launch.command
def main() -> int:
    parser = launch.make_parser(__doc__, workdir='run directory')
    add = parser.add_argument
    add('--images', required=True, help='folder of images')
    add('--count', type=int, default=320, help='images per turn')
    add('--rounds', type=int, default=7, help='turns of each')
    add('--threads', type=int, default=2, help='that read, predict and write')
    arguments = parser.parse_args()
    if arguments.count < 1 or arguments.rounds < 1 or arguments.threads < 1:
        parser.error('--count, --rounds and --threads are at least 1')
    from segmentation import cpu_runtime  # now, as JAX takes long to import

    if __name__ == '__main__':
        cpu_runtime.configure()
    model = segmentation.load(arguments.workdir)
    speeds: dict[str, list[Speed]] = {'network': [], 'files': []}
    with tempfile.TemporaryDirectory(prefix='prediction-') as scratch:
        folder = pathlib.Path(scratch)
        found, _ = find_images([arguments.images], folder)
        images = [image for image in found if not image.reason_to_skip()]
        if not images:
            raise ValueError(f'{arguments.images} holds no image that can be read.')
        photographs = write_photographs(images, folder / 'photographs', arguments.count)
        time_files(model, photographs[:WARM_UP], folder / 'warm-up', arguments.threads)
        for number in range(arguments.rounds):
            speeds['network'].append(time_network(model, arguments.count))
            output = folder / str(number)
            speeds['files'].append(time_files(model, photographs, output, arguments.threads))
            latest = ((name, *turns[-1]) for name, turns in speeds.items())
            print(*('{} {:.1f}/s, {:.2f} ms'.format(*each) for each in latest), file=sys.stderr)
    rates, processor = (
        {name: [turn[field] for turn in turns] for name, turns in speeds.items()}
        for field in (0, 1)
    )
    ratios = [files / network for network, files in zip(*rates.values(), strict=True)]
    of_processor = [network / files for network, files in zip(*processor.values(), strict=True)]
    rows = [(name, f'{statistics.median(r):.1f}', f'{min(r):.1f}–{max(r):.1f}',
             f'{statistics.median(processor[name]):.2f}')
            for name, r in rates.items()]  # fmt: skip
    header = ('', 'images per second, median', 'range', 'processor ms per image, median')
    print(markdown.table(header, rows) + '\n')
    for name, each in {'ratio': ratios, 'ratio in processor time': of_processor}.items():
        print(f'{name} {statistics.median(each):.2f} ({min(each):.2f}–{max(each):.2f})')
    if arguments.json:
        result = {
            'images_per_second': rates,
            'milliseconds_of_processor': processor,
            'ratios': ratios,
            'ratio': statistics.median(ratios),
            'ratios_of_processor_time': of_processor,
            'ratio_of_processor_time': statistics.median(of_processor),
        }
        write_json(arguments.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(main())
