"""Prepares COCO 2014, a folder in COCO's layout, or drawn scenes as a tfds data set.

A data set that exists is not prepared again. An interrupted preparation starts again.
"""

import pathlib

from segmentation import launch
from segmentation.data import coco, label_spaces, selection
from segmentation.data.inspection import inspect
from segmentation.files import write_json
from segmentation.markdown import table


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


def main(argv: list[str] | None = None) -> None:
    parser = launch.make_parser(__doc__, workdir='')
    add = parser.add_argument
    add(
        '--source',
        required=True,
        help="'2014' (downloads 20 GB; zip files that you already have go into "
        "DATA_DIR/downloads/manual), 'scenes', or a folder with <split>/*.jpg and "
        'annotations/instances_<split>.json',
    )
    add('--data_dir', default='~/tensorflow_datasets', help='folder of the prepared data sets')
    add('--splits', nargs='+', metavar='SPLIT', help='which splits; default: all')
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
        default=['train=800', 'val=200', 'seed=0'],
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
    try:
        prepared = coco.prepare(
            args.source,
            args.data_dir,
            splits=args.splits,
            complete=label_spaces.parse_groups(args.complete) if args.complete else None,
            scenes={
                key: float(value) if key == 'error_rate' else int(value)
                for key, _, value in (s.partition('=') for s in args.scenes)
            },
        )
    except (ValueError, OSError) as error:
        parser.exit(1, f'{parser.prog}: {error}\n')
    counts = count_images(prepared)
    print(f'Prepared in {prepared.path}\nfingerprint {prepared.fingerprint["id"]}\n')
    rows = []
    for name, entry in prepared.fingerprint['splits'].items():
        skipped = sum(entry['skipped'].values())
        cells = [entry['images'], entry['instances'], skipped, *counts[name].values()]
        rows.append([name, *('–' if cell is None else str(cell) for cell in cells)])
    print('Last columns: images with every class of the label space.')
    print(table(['split', 'images', 'instances', 'skipped', *label_spaces.LABEL_SPACES], rows))
    inspection = None
    if args.inspect is not None:
        page = None if args.inspect == pathlib.Path() else args.inspect
        try:
            text, inspection = inspect(prepared, page)
        except (ValueError, OSError) as error:
            parser.exit(1, f'{parser.prog}: {error}\n')
        print(f'\n{text}')
    if args.json:
        summary = {
            'path': str(prepared.path),
            'fingerprint': prepared.fingerprint,
            'images_with_every_class': counts,
            'skipped': prepared.skipped,
            'inspection': inspection,
        }
        write_json(args.json, summary)


if __name__ == '__main__':
    main()
