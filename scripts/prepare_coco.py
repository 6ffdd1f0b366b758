"""Prepares COCO 2014, a folder with your own data, or drawn scenes as a tfds data set.

    python scripts/prepare_coco.py --source my_data --data_dir data

The layout of a folder is recognized: COCO, Roboflow, CVAT, Label Studio, FiftyOne, Datumaro, VIA,
LabelMe, YOLO segmentation, Pascal VOC, Cityscapes, or images and PNG masks with a list of classes
(segmentation/data/README.md). Nothing needs to be renamed. Whatever is left out or repaired is
counted. If most of a split would be lost, nothing is prepared and the exit status is 1.

A data set that exists is not prepared again. An interrupted preparation checks all files again and
goes on after its last finished shard (256 MB).
"""

import argparse
import pathlib
import shlex

from segmentation import launch
from segmentation.data import coco, data_loss, image_files, label_spaces, layouts, selection
from segmentation.data.inspection import inspect
from segmentation.files import write_json
from segmentation.markdown import printable_lines, table


def count_images(prepared: coco.Prepared) -> dict[str, dict[str, int | None]]:
    """Counts the images with an annotation of every class, by split and named label space.

    None if the data set lacks one of the categories.
    """
    result: dict[str, dict[str, int | None]] = {}
    for name in prepared.splits:
        index = prepared.split(name).index
        result[name] = {}
        for space in label_spaces.LABEL_SPACES:
            try:
                mapping = label_spaces.parse_label_space(space).category_to_class(
                    prepared.categories
                )
            except ValueError:
                result[name][space] = None
            else:
                positions, _ = selection.select(index, prepared.categories, mapping)
                result[name][space] = len(positions)
    return result


def scene_option(text: str) -> tuple[str, float]:
    """Parses SPLIT=COUNT, seed=N, planted=1 or error_rate=RATE."""
    key, _, value = text.partition('=')
    known = 'train', 'val', 'test', 'seed', 'planted', 'error_rate'
    try:
        if key in known:
            return key, float(value) if key == 'error_rate' else int(value)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f'{text!r} is none of {", ".join(f"{name}=NUMBER" for name in known)}'
    )


def main(argv: list[str] | None = None) -> None:
    parser = launch.make_parser(__doc__, workdir='')
    add = parser.add_argument
    add(
        '--source',
        required=True,
        help="'2014' (downloads 20 GB; zip files that you already have go into "
        "DATA_DIR/downloads/manual), 'scenes', or a folder",
    )
    add('--data_dir', default='~/tensorflow_datasets', help='folder of the prepared data sets')
    add('--splits', nargs='+', metavar='SPLIT', help='which splits; default: all')
    add(
        '--layout',
        metavar='NAME',
        help='layout of the folder, if several fit: '
        + ', '.join(layout.name for layout in layouts.LAYOUTS),
    )
    add(
        '--accept_loss',
        action='store_true',
        help='continue if a split loses all instances, or most of its annotations or images',
    )
    add(
        '--exif',
        choices=image_files.EXIF_CHOICES,
        default='displayed',
        help='whether the annotations refer to an image as viewers display it or as it is stored, '
        'where its size does not tell: square images, and images that their EXIF orientation '
        'mirrors or turns by 180 degrees',
    )
    add(
        '--crowds_as_instances',
        action='store_true',
        help='read crowd regions (iscrowd 1) as instances; some tools export all masks as crowds',
    )
    add(
        '--complete',
        default='',
        metavar='GROUPS',
        help='for a folder: the categories or super-categories that are completely annotated in '
        "all images of a split, e.g. 'train: person, vehicle; val: person'. Set the field "
        'data.complete of the config to the same value',
    )
    add(
        '--scenes',
        nargs='+',
        type=scene_option,
        default=[('train', 800), ('val', 200), ('seed', 0)],
        metavar='SPLIT=COUNT',
        help="for 'scenes': number of scenes per split, and the seed (default: train=800 val=200 "
        'seed=0); planted=1 for planted truth, with a fraction error_rate=RATE of the scenes with '
        'each kind of label error',
    )
    add(
        '--inspect',
        nargs='?',
        type=pathlib.Path,
        const=pathlib.Path(),
        metavar='PAGE',
        help='look at the data before training: class frequencies, sizes, copies, and a page with '
        'masks over images (default: inspection.html in the folder of the data set)',
    )
    args = parser.parse_args(argv)
    scenes = dict(args.scenes) if args.source == 'scenes' else {}
    if 'error_rate' in scenes and not scenes.get('planted'):
        parser.error('--scenes: error_rate is of scenes with planted truth; also give planted=1')
    try:
        prepared = coco.prepare(
            args.source,
            args.data_dir,
            splits=args.splits,
            layout=args.layout,
            exif=args.exif,
            crowds_as_instances=args.crowds_as_instances,
            accept_loss=args.accept_loss,
            complete=label_spaces.parse_groups(args.complete) if args.complete else None,
            scenes=dict(args.scenes),
        )
    except (ValueError, OSError) as error:
        parser.exit(1, printable_lines(f'{parser.prog}: {error}') + '\n')
    counts = count_images(prepared)
    print(f'Prepared in {prepared.path}\nfingerprint {prepared.fingerprint["id"]}')
    print(f'Train on it with {shlex.quote(f"--config.data.source={prepared.path}")}\n')
    rows = []
    for name, entry in prepared.fingerprint['splits'].items():
        repaired = sum(n for why, n in entry['skipped'].items() if why.startswith('repaired'))
        harmless = sum(entry['skipped'].get(why, 0) for why in data_loss.HARMLESS)
        left_out = sum(entry['skipped'].values()) - repaired - harmless
        cells = [entry['images'], entry['instances'], left_out, repaired, *counts[name].values()]
        rows.append([name, *('–' if cell is None else str(cell) for cell in cells)])
    print('Last columns: images with every class of the label space.')
    print(
        table(
            ['split', 'images', 'instances', 'left out', 'repaired', *label_spaces.LABEL_SPACES],
            rows,
        )
    )
    inspection = None
    if args.inspect is not None:
        page = None if args.inspect == pathlib.Path() else args.inspect
        try:
            text, inspection = inspect(prepared, page)
        except (ValueError, OSError) as error:
            parser.exit(1, printable_lines(f'{parser.prog}: {error}') + '\n')
        print(f'\n{text}')
    if args.json:
        summary = {
            'path': str(prepared.path),
            'fingerprint': prepared.fingerprint,
            'images_with_every_class': counts,
            'layout': prepared.layout,
            'skipped': prepared.skipped,
            'inspection': inspection,
            'notes': prepared.notes,
        }
        write_json(args.json, summary)


if __name__ == '__main__':
    main()
