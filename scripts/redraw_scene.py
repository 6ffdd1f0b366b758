"""Draws a scene again, without some objects or in front of another background.

Removing an object changes only the pixels of the object, its shadow and its lamps. With neither
--without nor --background, the objects are listed.

    python scripts/redraw_scene.py FOLDER 869000001
    python scripts/redraw_scene.py FOLDER 869000001 --without 3 4 --output without.png
    python scripts/redraw_scene.py FOLDER 869000001 --background snow --output elsewhere.png
"""

import pathlib

from PIL import Image

from segmentation import launch, scenes
from segmentation.files import write_json


def main() -> None:
    parser = launch.make_parser(__doc__, workdir='')
    add = parser.add_argument
    add('folder', type=pathlib.Path, help='folder that draw_scenes.py drew')
    add('image_id', type=int, help='COCO image id, the number in the file name')
    add('--without', type=int, nargs='+', default=[], metavar='OBJECT', help='objects to leave out')
    add('--background', choices=scenes.BACKDROPS, help='another background')
    add('--seed', type=int, default=0, help='selects among the backgrounds of that kind')
    add('--output', type=pathlib.Path, help='PNG file to write')
    args = parser.parse_args()

    try:
        scene = scenes.find_scene(args.folder, args.image_id)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    if unknown := [i for i in args.without if not 0 <= i < len(scene.things)]:
        parser.error(f'--without {unknown}: the objects are 0 to {len(scene.things) - 1}')
    changed = bool(args.without or args.background)
    if changed and not args.output:
        parser.error('give --output FILE.png for the image')
    if args.seed < 0:
        parser.error(f'--seed {args.seed} is negative; choose 0 or more')

    original = scenes.render(scene)
    rendered = scenes.render(scene, args.without, args.background, args.seed)
    pixels = int((original.image != rendered.image).any(2).sum())
    result = {
        'image_id': args.image_id,
        'setting': args.background or scene.setting,
        'without': args.without,
        'pixels': rendered.owner.size,
        'changed_pixels': pixels,
        'objects': [
            {'object': i, 'kind': thing.kind, 'visible_pixels': int(mask.sum())}
            for i, (thing, mask) in enumerate(zip(scene.things, rendered.masks, strict=True))
        ],
    }
    print(f'image {args.image_id}: {scene.setting}, {scene.width}×{scene.height}')
    if not changed:
        print('object  visible pixels  kind')
        for entry in result['objects']:
            print(f'{entry["object"]:6}  {entry["visible_pixels"]:14}  {entry["kind"]}')
    if args.output:
        Image.fromarray(rendered.image).save(args.output, 'PNG')
        print(f'{args.output}: {pixels} of {rendered.owner.size} pixels changed')
    if args.json:
        write_json(args.json, result)


if __name__ == '__main__':
    main()
