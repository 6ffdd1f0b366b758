"""Draws a folder of scenes in COCO's format, for machines without COCO."""

import argparse
import collections
import json
import operator
import pathlib

from segmentation import launch, scenes
from segmentation.files import write_json


def split_count(text: str) -> tuple[str, int]:
    """Parses SPLIT=N."""
    split, _, count = text.partition('=')
    if not split or not count.isdigit():
        raise argparse.ArgumentTypeError(f'{text!r} is not SPLIT=NUMBER, for example train=800')
    return split, int(count)


def main() -> None:
    parser = launch.make_parser(__doc__, workdir='')
    add = parser.add_argument
    add('folder', type=pathlib.Path, help='new folder, or the folder of an interrupted run')
    add(
        '--counts', type=split_count, nargs='+', metavar='SPLIT=N',
        default=[('train', 800), ('val', 200)],
        help='scenes per split; default: train=800 val=200',
    )  # fmt: skip
    add('--seed', type=int, default=0, help='another seed gives other scenes')
    add(
        '--planted', type=float, nargs='?', const=0.02, metavar='RATE',
        help='draw scenes with planted truth (types, attributes, hard slices, label errors) and '
        'write the truth to annotations/planted_SPLIT.jsonl; each of the six kinds of label error '
        'is in a fraction RATE (default: %(const)s) of the images',
    )  # fmt: skip
    add(
        '--hidden', action='store_true',
        help='with --planted: also hidden slices, which are single objects that are striped, '
        'checked, lime or upside down (version 3 of the scenes); the split train has none',
    )  # fmt: skip
    add('--workers', type=int, help='processes; default: one per processor')
    args = parser.parse_args()
    if args.hidden and args.planted is None:
        parser.error('--hidden needs --planted')
    version = {'planted_version': scenes.WITH_HIDDEN_SLICES} if args.hidden else {}

    try:
        scenes.write_scenes(
            args.folder, dict(args.counts), args.seed, workers=args.workers,
            error_rate=args.planted, **version,
        )  # fmt: skip
    except (ValueError, OSError) as error:
        parser.error(str(error))
    names = {category['id']: category['name'] for category in scenes.CATEGORIES}
    splits: dict[str, dict[str, collections.Counter]] = {}
    for split, count in dict(args.counts).items():
        file = args.folder / 'annotations' / f'instances_{split}.json'
        annotations = json.loads(file.read_text())['annotations']
        print(f'{split}: {count} scenes, {len(annotations)} annotations')
        shown = {(a['image_id'], names[a['category_id']]) for a in annotations}
        splits[split] = {'scenes with': collections.Counter(name for _, name in sorted(shown))}
        if args.planted is not None:
            _, found = scenes.read_truth(args.folder, split)
            planted = {
                'types': [scene['type'] for scene in found],
                'attributes': [name for scene in found for name in scene['attributes']],
                'hard slices': [s['hard_slice'] for s in found if s['hard_slice']],
                'hidden slices': [
                    item['hidden_slice']
                    for scene in found for item in scene['objects'] if item.get('hidden_slice')
                ],
                'label errors': [s['error']['kind'] for s in found if s['error']],
            }  # fmt: skip
            splits[split] |= {f'planted {k}': collections.Counter(v) for k, v in planted.items()}
        for key, numbers in filter(operator.itemgetter(1), splits[split].items()):
            print(f'  {key}: ' + ', '.join(f'{k} {n}' for k, n in numbers.most_common()))
    if args.json:
        write_json(args.json, {'folder': str(args.folder), 'seed': args.seed, 'splits': splits})


if __name__ == '__main__':
    main()
