"""Segments image files with a trained model.

    python scripts/predict.py --workdir runs/mine --output predictions photo.jpg folder '*.bmp'

Takes files, folders (with all folders in them) and patterns such as 'photos/**/*.jpg'. Writes at
each image's own size, under the path of the image below the deepest folder that holds all images:

    <path>-mask.png      class of each pixel, as an index of the palette with the colors (--masks)
    <path>-overlay.png   the colors of the classes over the image (--overlays)
    results.json         COCO results, one run-length encoded mask per image and class; images.json
                         has the images and categories that its ids mean (--coco_json)
    predictions.jsonl    one line per finished image

Without a flag, masks and overlays. The same command continues after a stop: images that are done
with the same checkpoint and settings, and have not changed, are not predicted again. Images that
cannot be read are skipped and named, and the exit status is 2.
"""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from tqdm import tqdm

import segmentation
from segmentation import launch
from segmentation.files import write_json
from segmentation.markdown import printable
from segmentation.prediction_files import (
    Found,
    OutputFolder,
    find_images,
    identify,
    write_coco_results,
)

if TYPE_CHECKING:
    from segmentation.predictor import Model

_SHOWN = 20  # images that are listed on standard output


def summarize(model: 'Model', output: OutputFolder, images: list[Found], skipped: list) -> dict:
    """The result for people and for --json."""
    pictures = []
    for found in images:
        if entry := output.entries.get(found.name):
            shares = dict(zip(model.class_names, entry['share_of_pixels'], strict=True))
            files = {kind[:-1]: str(path) for kind, path in output.files(found.name).items()}
            pictures.append({'file': str(found.path), **files, 'share_of_pixels': shares})
    return {'step': model.run.step, 'pictures': pictures, 'skipped': skipped}


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = launch.make_parser(__doc__, workdir='run directory, or its URL', in_bucket=True)
    add = parser.add_argument
    add('files', nargs='+', metavar='IMAGES', help='image files, folders and patterns')
    add('--checkpoint', default='best', help="'best', 'latest' or a step")
    add('--output', type=launch.local_path, default='predictions', help='folder for the results')
    add('--masks', action='store_true', help='write <path>-mask.png')
    add('--overlays', action='store_true', help='write <path>-overlay.png')
    add('--coco_json', action='store_true', help='write results.json and images.json')
    add('--tta', action='store_true', help='also predict mirrored images; average the logits')
    add('--threads', type=int, default=os.cpu_count(), help='number of threads')
    arguments = parser.parse_args(argv)
    if arguments.threads < 1:
        parser.error(f'--threads: {arguments.threads} is not a positive number')
    return arguments


@launch.command
def main() -> int:
    arguments = parse_arguments()
    import jax  # now, as it takes long

    from segmentation import cpu_runtime
    from segmentation.mass_prediction import FilePredictor

    if __name__ == '__main__':
        cpu_runtime.configure()
    kinds = [k for k in ('masks', 'overlays', 'coco_json') if getattr(arguments, k)]
    images, others = find_images(arguments.files, arguments.output)
    if others:
        print(
            f'Files in these folders that are no images by their names: {others}.', file=sys.stderr
        )
    model = segmentation.load(arguments.workdir, arguments.checkpoint)
    settings = identify(model.run, arguments.tta)
    with OutputFolder(arguments.output, kinds or ['masks', 'overlays'], settings) as output:
        todo = [found for found in images if not output.has(found)]
        predictor = FilePredictor(model, output, arguments.tta, arguments.threads)
        bar = tqdm(total=len(images), initial=len(images) - len(todo), unit='img', desc='predict')
        with bar, launch.stop_requested() as stop:
            for count in predictor.run(todo):
                bar.update(count)
                if stop.is_set():
                    raise launch.TrainingStopped(f'Stopped after {bar.n} of {len(images)} images.')
        result = summarize(model, output, images, predictor.skipped)
        if 'coco_json' in output.wanted:
            write_coco_results(output, images, model.class_names)
    for picture in result['pictures'][:_SHOWN]:
        shares = ', '.join(f'{name} {x:.1%}' for name, x in picture['share_of_pixels'].items())
        print(printable(f'{picture["file"]}: {shares}'))
    if len(result['pictures']) > _SHOWN:
        print(f'… and {len(result["pictures"]) - _SHOWN} more')
    for skipped in result['skipped']:
        print(printable(f'skipped {skipped["file"]}: {skipped["reason"]}'), file=sys.stderr)
    print(
        f'{len(result["pictures"])} predicted ({len(images) - len(todo)} of them before), '
        f'{len(result["skipped"])} skipped: {arguments.output} ({jax.local_device_count()} devices)'
    )
    if arguments.json:
        write_json(arguments.json, result)
    return 2 if result['skipped'] else 0


if __name__ == '__main__':
    sys.exit(main())
