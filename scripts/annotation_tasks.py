"""Exports images to an annotation tool: suspicious labels, or what to label next.

    python scripts/annotation_tasks.py --workdir runs/mine --tool label_studio --output tasks
    python scripts/apply_decisions.py --returned exported --workdir runs/mine --output corrected
    python scripts/annotation_tasks.py --workdir runs/mine --next 100 --folder new_photos \\
        --tool cvat --output to_label

The first command exports images with label issues, with the suggestions. The third one exports the
first images of the list of analysis.label_next, with the network's predictions as suggestions, and
writes their ids to ids.txt in the order of the list.

OUTPUT, a new folder, gets the folder `images`, with a folder for each split or --folder, and

    label_studio  tasks.json to import, and labels.xml, the labeling interface. The annotation of an
                  image has the labels as they are, its prediction the same with all suggestions
                  accepted; images of --next have no annotation. Serve OUTPUT as local files
                  (LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT), and export as JSON.
    cvat          labels.json for the task's constructor (raw), and suggestions.xml to upload
                  ("CVAT 1.1"). Missing objects are automatic shapes; other suggestions stand in
                  the attribute of a shape. Export as "CVAT for images 1.1".

Masks keep their holes and parts and are not simplified. The second command imports what was
changed, added or deleted in the tool. Crowd regions are not exported and stay as they are, unless
the data were prepared with --crowds_as_instances. A suggested region is enlarged from the network's
resolution. Tools apply the EXIF orientation of an image; where its annotations do not, the copy of
the image is marked as upright (JPEG and WebP; other formats are left out and counted).
"""

import argparse
import collections
import dataclasses
import pathlib
import shutil
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils
from tqdm import tqdm

from analysis.label_issues.schema import ERRORS
from analysis.label_issues.suggestions import issues_of, source_split, suggested, with_issues
from analysis.stage import population
from analysis.stage.view import View, find_views
from segmentation import launch
from segmentation.data import coco, entries, export, image_files, label_spaces, selection
from segmentation.data.annotations import Category
from segmentation.data.corrections import files
from segmentation.data.corrections.correcting import enlarge
from segmentation.data.corrections.decisions import Correction
from segmentation.data.entries import Skipped
from segmentation.data.export import Shape, Task
from segmentation.files import write_json, write_text
from segmentation.markdown import printable


def collect(views: list[View], least: float) -> tuple[dict[int, str], dict[int, list[Correction]]]:
    """Split by id of the images with a label issue at least this probable, and the suggestions.

    Raises:
      ValueError: see `issues_of`.
    """
    ids: dict[int, str] = {}
    by_image: dict[int, list[Correction]] = collections.defaultdict(list)
    for view, issues in issues_of(views):
        for region in issues.regions.to_pylist():
            if region['kind'] in ERRORS and region['probability'] >= least:
                ids[int(view.image_ids[region['row']])] = source_split(view)
        for correction in suggested(view, issues, least):
            by_image[correction.image_id].append(correction)
    return ids, by_image


def make_task(
    record: dict[str, Any], names: dict[int, str], corrections: list[Correction], file_name: str
) -> Task:
    """The task of a stored image (see `coco.CocoSplit`)."""
    height, width = int(record['height']), int(record['width'])
    instances = record['instances']
    by_annotation = {c.annotation_id: c for c in reversed(corrections) if c.action != 'add'}
    shapes = []
    fields = (instances[name] for name in ('id', 'category_id', 'is_crowd', 'rle'))
    for key, category, is_crowd, rle in zip(*fields, strict=True):
        if not is_crowd:
            found = by_annotation.get(int(key))
            shape = Shape(names[int(category)], bytes(rle))
            if found:
                shape = dataclasses.replace(shape, suggested=found.category, score=found.score)
            shapes.append(shape)
    for correction in corrections:
        if correction.action == 'add':
            mask = enlarge(correction.region, correction.size, height, width)
            rle = mask_utils.encode(np.asfortranarray(mask, np.uint8))['counts']
            label = correction.category
            shapes.append(Shape(label, rle, label, correction.score, is_new=True))
    return Task(int(record['image/id']), file_name, height, width, tuple(shapes))


def of_issues(
    arguments: argparse.Namespace, views: list[View], skipped: Skipped
) -> Iterator[tuple[dict[str, Any], Task]]:
    """Records and tasks of the images with label issues, or of those that --ids lists."""
    if arguments.ids and not with_issues(views):
        ids, by_image = dict[int, str](), dict[int, list[Correction]]()
    else:
        ids, by_image = collect(views, arguments.least)
    if arguments.ids:
        chosen = selection.read_exclude(arguments.ids, views[0].data['fingerprint']['id'])
        ids = {key: ids.get(key, '') for key in chosen}
    prepared = coco.open_prepared(views[0].data['path'])
    names = {category.id: category.name for category in prepared.categories}
    done: set[int] = set()
    for name in prepared.splits:
        split = prepared.split(name)
        here = [
            key
            for key, known in ids.items()
            if key not in done and (known not in prepared.splits or known == name)
        ]
        for row in np.flatnonzero(np.isin(split.index.image_id, here)).tolist():
            record = split[row]
            done.add(int(record['image/id']))
            file_name = f'{name}/{pathlib.PurePosixPath(record["file_name"]).name}'
            mine = by_image.get(int(record['image/id']), [])
            yield record, make_task(record, names, mine, file_name)
    for image_id in sorted(ids.keys() - done):
        skipped.add('image: not in the data set', image_id)


def to_label(
    arguments: argparse.Namespace, views: list[View]
) -> tuple[View, Iterator[tuple[dict[str, Any], Task]]]:
    """The view with the list of analysis.label_next, and records and tasks of its first images."""
    from analysis.label_next import tasks  # here, as SciPy takes long to import

    folders = [population.open_folder(folder, ()) for folder in arguments.folder]
    ids = {image_id for split in folders for image_id in split.index.image_id.tolist()}
    view = tasks.find_view(views, ids)
    return view, tasks.make_tasks(view, folders, view.class_names, arguments.next)


def only_categories(view: View, categories: Sequence[Category]) -> dict[str, str]:
    """The category of each class that has only one: of several, only people know which it is."""
    space = label_spaces.parse_label_space(view.config.data.label_space)
    members = label_spaces.categories_by_class(space, categories)
    return {name: mine[0] for name, mine in members.items() if len(mine) == 1}


def write(arguments: argparse.Namespace) -> dict[str, Any]:
    """Writes all that the tool needs; returns the result for --json."""
    views = [view for workdir in arguments.workdir for view in find_views(workdir)]
    prepared, skipped = coco.open_prepared(views[0].data['path']), Skipped()
    view, result = views[0], {}
    if arguments.next:
        view, made = to_label(arguments, views)
        result = {'list': view.folder.name}
    else:
        made = of_issues(arguments, views, skipped)
    labels = {category.name for category in prepared.categories}
    known = only_categories(view, prepared.categories)
    output = arguments.output.resolve()
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        # Perhaps another list, or labels that people have drawn.
        raise ValueError(f'--output {output} is not empty: give a new folder.')
    # Renamed at the end: an interrupted export is not taken for a whole one.
    folder = output.with_name(f'{output.name}.partial')
    with files.claim(folder):
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        written = fill(folder, made, known, skipped)
        export.tools()[arguments.tool](folder, written, sorted(labels))
        if arguments.next:
            write_text(folder / 'ids.txt', ''.join(f'{task.image_id}\n' for task in written))
        folder.replace(output)
    every = [shape for task in written for shape in task.shapes]
    return result | {
        'output': str(arguments.output),
        'tool': arguments.tool,
        'images': len(written),
        'shapes': sum(not shape.is_new for shape in every),
        'suggestions': sum(shape.suggested is not None for shape in every),
        'skipped': skipped.as_dict(),
    }  # fmt: skip


def fill(
    folder: pathlib.Path,
    made: Iterable[tuple[dict, Task]],
    known: Mapping[str, str],
    skipped: Skipped,
) -> list[Task]:
    """Writes images into a folder; returns their tasks, with categories for suggested classes."""
    (folder / 'images').mkdir()
    written: dict[str, Task] = {}  # by name of the file
    for record, task in tqdm(made, desc='images', unit='img'):
        if task.file_name in written:
            skipped.add('image: another one has its file name', record['file_name'])
            continue
        if not entries.is_text(task.file_name):
            skipped.add('image: rename it, its file name cannot be imported', record['file_name'])
            continue
        data = as_annotated(record)
        if data is None:
            reason = 'image: annotated as stored, but its EXIF orientation turns it in the tool'
            skipped.add(reason, record['file_name'])
            continue
        shapes = []
        for shape in task.shapes:
            category = known.get(shape.suggested or '')
            if shape.suggested and category is None:
                skipped.add('suggestion: its class has several categories', shape.suggested)
                shape = dataclasses.replace(shape, suggested=None, score=None)
            elif category is not None:
                label = category if shape.is_new else shape.label
                shape = dataclasses.replace(shape, suggested=category, label=label)
            if not shape.is_new or category is not None:
                shapes.append(shape)
        written[task.file_name] = dataclasses.replace(task, shapes=tuple(shapes))
        path = folder / 'images' / task.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return list(written.values())


def as_annotated(record: Mapping[str, Any]) -> bytes | None:
    """The file of an image, so that tools show it as it is annotated; None if that cannot be.

    Tools apply the EXIF orientation. Where the annotations do not, it is set to upright.
    """
    data, size = record['image'], (int(record['width']), int(record['height']))
    with image_files.open_image(data) as image:
        header = image_files.header_of(image)
    # Data sets prepared by older versions do not say it.
    is_applied = record.get('apply_exif', header.size != size)
    if is_applied or header.orientation == 1:
        return data
    if image.format not in ('JPEG', 'MPO', 'WEBP'):  # those of PNG have a checksum
        return None
    for form in ('<HHIH', '>HHIH'):  # of the entry: its tag, a type of two bytes, one value
        old, new = (struct.pack(form, 0x0112, 3, 1, turn) for turn in (header.orientation, 1))
        changed = data.replace(old, new, 1)
        with image_files.open_image(changed) as image:
            if image_files.orientation_of(image) == 1:
                return changed
    return None


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = launch.make_parser(__doc__, workdir='')
    add = parser.add_argument
    about = 'runs whose label issues or lists are used'
    add('--workdir', type=pathlib.Path, nargs='+', required=True, metavar='RUN', help=about)
    add('--tool', required=True, choices=sorted(export.tools()), help='the annotation tool')
    add('--output', type=pathlib.Path, required=True, help='folder for images and tasks')
    about = 'minimum probability of the suggestions, and of the label issues that select an image'
    add('--least', type=float, default=0.5, help=about)
    about = 'export these images instead: a list of ids, as data.exclude takes it'
    add('--ids', type=pathlib.Path, metavar='FILE', help=about)
    about = 'export the first COUNT images of the list of analysis.label_next instead'
    add('--next', type=int, default=0, metavar='COUNT', help=about)
    about = 'with --next: the folders that were ranked'
    add('--folder', nargs='+', default=[], type=pathlib.Path, metavar='FOLDER', help=about)
    arguments = parser.parse_args(argv)
    if bool(arguments.next) != bool(arguments.folder) or arguments.next < 0:
        parser.error('--next COUNT, at least 1, and --folder belong together')
    if arguments.next and arguments.ids:
        parser.error('--next and --ids are two choices of images: give one of them')
    return arguments


@launch.command
def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    result = write(arguments)
    of_list = f' of the list of {result["list"]}' if 'list' in result else ''
    print(
        f'{result["output"]}: {result["images"]} images{of_list} with {result["shapes"]} labels '
        f'and {result["suggestions"]} suggestions.'
    )
    for reason, entry in result['skipped'].items():
        print(printable(f'{entry["count"]} × {reason} (e.g. {entries.show_examples(entry)})'))
    if arguments.json:
        write_json(arguments.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(main())
