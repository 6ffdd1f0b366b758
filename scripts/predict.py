"""Segments image files with a trained model.

    python scripts/predict.py --workdir runs/person_car --output predictions photo.jpg folder/*.png

Writes at each image's own resolution <name>-mask.png (one byte per pixel, the class) and
<name>-overlay.png (the colours of the classes over the image). Images that cannot be read are
skipped and named, and the exit status is 2.
"""

import pathlib
import sys

import jax
import numpy as np
from PIL import Image
from tqdm import tqdm

from analysis.stage.run import restore_run
from segmentation import cpu_runtime, evaluate, launch, overlays
from segmentation.data import transforms
from segmentation.files import write_json
from segmentation.markdown import printable


def predict_files(
    workdir: pathlib.Path, which: str, files: list[pathlib.Path], output: pathlib.Path
) -> dict:
    """Writes mask and overlay of each file; returns the predicted and the skipped files."""
    run = restore_run(workdir, which)
    data = run.config.data
    predict = evaluate.make_predict(run.model, data.input_range)
    variables = evaluate.replicate(run.variables)
    output.mkdir(parents=True, exist_ok=True)
    batch = np.zeros((jax.local_device_count(), data.image_size, data.image_size, 3), np.uint8)
    pictures, skipped, names = [], [], set()
    for path in tqdm(files, unit='img', desc='predict'):
        try:
            image, batch[0] = transforms.read_image_file(path, data.image_size, data.antialias)
        except ValueError as error:
            skipped.append({'file': str(path), 'reason': str(error)})
            continue
        logits = np.asarray(predict(variables, batch)[0])
        label = evaluate.enlarge_and_classify(logits, image.height, image.width)
        name = path.stem
        while name in names:  # a.jpg and a.png, or two folders' a.jpg
            name += '_'
        names.add(name)
        mask, overlay = output / f'{name}-mask.png', output / f'{name}-overlay.png'
        Image.fromarray(label).save(mask)
        Image.fromarray(overlays.overlay(np.asarray(image), label)).save(overlay)
        shares = np.bincount(label.ravel(), minlength=len(run.class_names)) / label.size
        pictures.append(
            {
                'file': str(path),
                'mask': str(mask),
                'overlay': str(overlay),
                'share_of_pixels': dict(zip(run.class_names, shares.tolist(), strict=True)),
            }
        )
    return {'step': run.step, 'pictures': pictures, 'skipped': skipped}


@launch.command
def main():
    parser = launch.make_parser(__doc__, workdir='run directory')
    add = parser.add_argument
    add('files', nargs='+', type=pathlib.Path, help='image files')
    add('--checkpoint', default='best', help="'best', 'latest' or a step")
    add('--output', type=pathlib.Path, default='predictions', help='folder for the results')
    arguments = parser.parse_args()
    result = predict_files(
        arguments.workdir, arguments.checkpoint, arguments.files, arguments.output
    )
    for picture in result['pictures']:
        shares = ', '.join(
            f'{name} {share:.1%}' for name, share in picture['share_of_pixels'].items()
        )
        print(printable(f'{picture["file"]}: {shares} -> {picture["overlay"]}'))
    for skipped in result['skipped']:
        print(printable(f'skipped {skipped["file"]}: {skipped["reason"]}'), file=sys.stderr)
    print(f'{len(result["pictures"])} predicted, {len(result["skipped"])} skipped')
    if arguments.json:
        write_json(arguments.json, result)
    return 2 if result['skipped'] else 0


if __name__ == '__main__':
    cpu_runtime.configure()
    sys.exit(main())
