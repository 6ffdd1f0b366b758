"""Converts MobileNetV2 weights from Keras' .h5 layout to a plain .npz file."""

import argparse
import json
import pathlib

from segmentation import files
from segmentation.models import pretrained


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('output', help='the .npz file to write')
    parser.add_argument(
        '--source',
        default='imagenet',
        help="an .h5 file in Keras' layout, or 'imagenet' for the official file",
    )
    parser.add_argument('--width', type=float, default=1.0, help='width multiplier of the weights')
    parser.add_argument(
        '--resolution',
        type=int,
        default=128,
        help='input size by which the official file is chosen',
    )
    parser.add_argument(
        '--cache_dir', default=str(pretrained.CACHE_DIR), help='where official files are kept'
    )
    parser.add_argument('--json', metavar='FILE', help='also write the summary to this file')
    args = parser.parse_args(argv)
    try:
        weights = pretrained.load_weights(args.source, args.width, args.resolution, args.cache_dir)
        pretrained.save_npz(args.output, weights, args.width)
    except (ValueError, OSError) as error:
        parser.exit(1, f'{parser.prog}: {error}\n')
    summary = {
        'output': args.output,
        'sha256': files.sha256(args.output),
        'source': args.source,
        'width': args.width,
        'layers': len(weights),
        'values': sum(array.size for layer in weights.values() for array in layer.values()),
    }
    print('wrote {output}: {layers} layers, {values:,} values, width {width}'.format(**summary))
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(summary, indent=2) + '\n')


if __name__ == '__main__':
    main()
