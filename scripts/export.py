"""Exports a trained network for other runtimes, and measures that it still predicts the same.

    python scripts/export.py --workdir runs/person_car --format onnx --output person_car.onnx
    python scripts/export.py --workdir runs/person_car --quantize int8 --output person_car-int8.onnx
    python scripts/export.py --workdir runs/person_car --format stablehlo --output person_car.jax

The file maps images, uint8 [batch, height, width, 3] of any size, to classes, uint8 [batch, height,
width], or with --logits to float32 [batch, size, size, classes]. It contains the preprocessing.
Names and colors of the classes are in its metadata (of StableHLO: in <output>.json).

onnx       runs in ONNX Runtime, OpenVINO and others; --quantize int8 calibrates on training images
stablehlo  runs in JAX on CPU, CUDA and TPU without this project (jax.export.deserialize)

Then runs the network and the file over all images of --split. Agreement is the share of pixels with
the same class. The difference of IoU (foreground mean over the set) has a paired 95 % bootstrap
interval over images. ONNX needs `pip install -e '.[onnx]'`; if OpenVINO is installed
(`.[openvino]`), it runs the file too.
"""

import argparse
import dataclasses
import importlib.util
import pathlib
import sys
import tempfile
from typing import TYPE_CHECKING

from analysis.experiments.records import Origin
from analysis.stage.run import open_examples
from analysis.stats.bootstrap import bootstrap_weights
from segmentation import launch, markdown, metrics
from segmentation.files import write_json

if TYPE_CHECKING:
    from segmentation.predictor import Model

RESAMPLES = 2000


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = launch.make_parser(__doc__, workdir='run directory, or its URL', in_bucket=True)
    add = parser.add_argument
    add('--checkpoint', default='best', help="'best', 'latest' or a step")
    add('--format', choices=('onnx', 'stablehlo'), default='onnx', help='file format')
    add('--quantize', choices=('int8',), help='8-bit weights; only with --format onnx')
    about = 'number of training images that calibrate the quantization; default: 128'
    add('--calibration', type=int, help=about)
    add('--logits', action='store_true', help='write logits, not classes')
    add('--output', type=launch.local_path, required=True, help='the file to write')
    add('--split', default='val', choices=('val', 'selection', 'train'), help='split to compare on')
    add('--data_path', default='', help='the prepared data set, if it was moved')
    add('--no_proof', action='store_true', help='only write the file')
    arguments = parser.parse_args(argv)
    if arguments.quantize and arguments.format != 'onnx':
        parser.error('--quantize is only possible with --format onnx')
    if arguments.calibration is not None and not arguments.quantize:
        parser.error('--calibration is only for --quantize')
    if arguments.calibration is None:
        arguments.calibration = 128
    if arguments.calibration < 1:
        parser.error('--calibration must be positive')
    return arguments


def require_onnx() -> None:
    missing = [name for name in ('onnx', 'onnxruntime') if not importlib.util.find_spec(name)]
    if missing:
        raise ValueError(f"Missing packages {', '.join(missing)}: pip install -e '.[onnx]'.")


def write(
    arguments: argparse.Namespace, model: 'Model', path: pathlib.Path, quantize: bool
) -> None:
    """Writes one file."""
    run = model.run
    path.parent.mkdir(parents=True, exist_ok=True)
    if arguments.format == 'stablehlo':
        from segmentation.export import stablehlo

        stablehlo.write(run, path, arguments.logits)
    elif quantize:
        from segmentation.export import proof
        from segmentation.export import quantize as quantization

        examples = open_examples(run, 'train', arguments.data_path)[0]
        tested = open_examples(run, arguments.split, arguments.data_path)[0].image_ids
        images = proof.calibration_images(
            examples, arguments.calibration, tested if arguments.split != 'train' else tested[:0]
        )
        quantization.write(run, path, images, arguments.logits)
    else:
        from segmentation.export import onnx_network

        onnx_network.write(run, path, arguments.logits)


def prove(arguments: argparse.Namespace, model: 'Model') -> list[dict]:
    """Compares the file with the network; one row per contender, the project first."""
    from segmentation.export import proof  # here and below: it imports JAX

    examples = open_examples(model.run, arguments.split, arguments.data_path)[0]
    with tempfile.TemporaryDirectory() as scratch:
        files = {}
        runners: dict[str, proof.Runner] = {}
        if arguments.format == 'stablehlo':
            files['StableHLO'] = arguments.output
            runners['StableHLO'] = proof.load_stablehlo(arguments.output)
        else:
            if arguments.quantize:
                plain = pathlib.Path(scratch) / 'float32.onnx'
                write(arguments, model, plain, quantize=False)
                files['ONNX Runtime, float32'] = plain
            files[f'ONNX Runtime, {arguments.quantize or "float32"}'] = arguments.output
            runners = {name: proof.load_onnx_runtime(path) for name, path in files.items()}
            if importlib.util.find_spec('openvino'):
                name = f'OpenVINO, {arguments.quantize or "float32"}'
                try:
                    runners[name] = proof.load_openvino(arguments.output)
                    files[name] = arguments.output
                except RuntimeError as error:  # all that it raises
                    reason = str(error).strip().splitlines()[-1]
                    print(f'OpenVINO cannot load {arguments.output}: {reason}', file=sys.stderr)
        measured = proof.compare(
            model, examples, runners, arguments.logits, arguments.format == 'stablehlo'
        )
        sizes = {name: path.stat().st_size for name, path in files.items()}
    weights, rows = bootstrap_weights(len(examples), RESAMPLES), []
    for name, found in measured.items():
        summary = metrics.summarize(found.confusions, model.class_names, num_resamples=0)
        row = {
            'name': name or 'this project',
            'images': len(examples),
            'iou': summary['mean_iou_foreground'],
            'images_per_second': found.images_per_second,
            'images_per_processor_second': found.images_per_processor_second,
        }
        if name:
            row |= {
                'agreement': found.agreement,
                **proof.difference(measured[''], found, weights),
                'bytes': sizes[name],
            }
            if arguments.logits:
                row['largest_difference_of_a_logit'] = found.largest
        rows.append(row)
    return rows


def table(rows: list[dict]) -> str:
    header = ('', 'agreement', 'IoU', 'difference (95 %)', 'images/s', 'per processor s', 'MB')
    cells = []
    for row in rows:
        if 'agreement' in row:
            change = markdown.number(row['iou_difference'], row['interval'], '+.5f')
            agreement, size = f'{row["agreement"]:.4%}', f'{row["bytes"] / 1e6:.1f}'
        else:
            change = agreement = size = ''
        iou = markdown.number(row['iou'], spec='.4f')
        rates = (f'{row[f"images_per_{time}"]:.1f}' for time in ('second', 'processor_second'))
        cells.append((row['name'], agreement, iou, change, *rates, size))
    return markdown.table(header, cells)


@launch.command
def main() -> int:
    arguments = parse_arguments()
    import segmentation
    from segmentation import cpu_runtime  # now, as JAX takes long to import

    if __name__ == '__main__':
        cpu_runtime.configure()
    if arguments.format == 'onnx':
        require_onnx()
    model = segmentation.load(arguments.workdir, arguments.checkpoint)
    write(arguments, model, arguments.output, bool(arguments.quantize))
    print(f'Wrote {arguments.output} ({arguments.output.stat().st_size / 1e6:.1f} MB).')
    result = {'output': str(arguments.output), 'step': model.run.step}
    if not arguments.no_proof:
        result |= {'split': arguments.split, 'logits': arguments.logits}
        result['rows'] = prove(arguments, model)
        command = launch.command_line('scripts/export.py')
        origin = Origin.of_runs([model.run.workdir], command, [model.run.config.seed])
        result['origin'] = dataclasses.asdict(origin)
        where = "the network's size" if arguments.logits else "the images' own size"
        print(f'{result["rows"][0]["images"]} images of {arguments.split}, at {where}:\n')
        print(table(result['rows']))
    if arguments.json:
        write_json(arguments.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(main())
