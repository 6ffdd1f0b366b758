"""Compares the speed of scripts/predict.py with that of the network alone, in turns.

    python scripts/benchmarks/prediction_speed.py --workdir runs/person_car --images photos

network   logits of batches of 16
files     JPEG files of 640×480 pixels to masks at their own size

The images of the folder are scaled to 640×480 and written as JPEG first. The ratio is the median
over the rounds of files / network in images per second.
"""

import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np
from PIL import Image

import segmentation
from segmentation import cpu_runtime, evaluate, launch, markdown
from segmentation.files import write_json
from segmentation.mass_prediction import FilePredictor
from segmentation.prediction_files import Found, OutputFolder, find_images
from segmentation.predictor import Model

SIZE = (640, 480)
BATCH = 16


def write_photographs(images: list[Found], folder: pathlib.Path, count: int) -> list[Found]:
    """Writes `count` JPEG files of `SIZE`, made of images in turn."""
    folder.mkdir()
    for number in range(count):
        with Image.open(images[number % len(images)].path) as image:
            scaled = image.convert('RGB').resize(SIZE, Image.Resampling.BICUBIC)
        scaled.save(folder / f'{number:05d}.jpg', quality=90)
    return find_images([str(folder)], folder / 'none')[0]


def time_network(model: Model, count: int) -> float:
    """Images per second of the network alone."""
    run = model.run
    predict = evaluate.make_predict(run.model, run.config.data.input_range)
    variables, side = evaluate.replicate(run.variables), run.config.data.image_size
    images = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    np.asarray(predict(variables, images))  # compiles
    began = time.perf_counter()
    batches = ({'image': images} for _ in range(count // BATCH))
    for _, logits in evaluate.predictions(predict, variables, batches):
        np.asarray(logits)
    return count // BATCH * BATCH / (time.perf_counter() - began)


def time_files(model: Model, photographs: list[Found], folder: pathlib.Path, threads: int) -> float:
    """Images per second from JPEG files to masks."""
    with OutputFolder(folder, ['masks'], {}) as output:
        predictor = FilePredictor(model, output, False, threads)
        began = time.perf_counter()
        done = sum(predictor.run(photographs))
        return done / (time.perf_counter() - began)


def main() -> int:
    parser = launch.make_parser(__doc__, workdir='run directory')
    add = parser.add_argument
    add('--images', required=True, help='folder of images')
    add('--count', type=int, default=320, help='images per turn')
    add('--rounds', type=int, default=5, help='turns of each')
    add('--threads', type=int, default=2, help='that read, predict and write')
    arguments = parser.parse_args()
    model = segmentation.load(arguments.workdir)
    rates: dict[str, list[float]] = {'network': [], 'files': []}
    with tempfile.TemporaryDirectory(prefix='prediction-') as scratch:
        folder = pathlib.Path(scratch)
        images = find_images([arguments.images], folder)[0]
        photographs = write_photographs(images, folder / 'photographs', arguments.count)
        time_files(model, photographs[:BATCH], folder / 'warm-up', arguments.threads)
        for number in range(arguments.rounds):
            rates['network'].append(time_network(model, arguments.count))
            output = folder / str(number)
            rates['files'].append(time_files(model, photographs, output, arguments.threads))
            print(*(f'{name} {rate[-1]:.1f}/s' for name, rate in rates.items()), file=sys.stderr)
    ratios = [files / network for network, files in zip(*rates.values(), strict=True)]
    result = {'images_per_second': rates, 'ratios': ratios, 'ratio': statistics.median(ratios)}
    rows = [(name, f'{statistics.median(r):.1f}', f'{min(r):.1f}–{max(r):.1f}')
            for name, r in rates.items()]  # fmt: skip
    print(markdown.table(('', 'images per second, median', 'range'), rows))
    print(f'\nratio {result["ratio"]:.2f} ({min(ratios):.2f}–{max(ratios):.2f})')
    if arguments.json:
        write_json(arguments.json, result)
    return 0


if __name__ == '__main__':
    cpu_runtime.configure()
    sys.exit(main())
