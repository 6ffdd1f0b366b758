"""Exports images with suspicious labels to an annotation tool, with the suggestions.

    python scripts/annotation_tasks.py --workdir runs/mine --tool label_studio --output tasks
    python scripts/apply_decisions.py --returned exported --workdir runs/mine --output corrected

OUTPUT gets the folder `images`, with a folder for each split, and

    label_studio  tasks.json to import, and labels.xml, the labeling interface. The annotation of an
                  image has the labels as they are, its prediction the same with all suggestions
                  accepted. Serve OUTPUT as local files (LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT),
                  and export as JSON.
    cvat          labels.json for the task's constructor (raw), and annotations.xml to upload
                  ("CVAT 1.1"). Missing objects are automatic shapes; other suggestions stand in
                  the attribute of a shape. Export as "CVAT for images 1.1".

Masks keep their holes and parts and are not simplified. The second command imports what was
changed, added or deleted in the tool. Crowd regions are not exported and stay as they are. A
suggested region is enlarged from the network's resolution.
"""

import argparse
import collections
import dataclasses
import pathlib
import sys
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils
from tqdm import tqdm

from analysis.label_issues.schema import ERRORS, LabelIssues
from analysis.label_issues.suggestions import source_split, suggested
from analysis.stage import artifacts
from analysis.stage.view import View, find_views
from segmentation import launch
from segmentation.data import coco, entries, export, selection
from segmentation.data.corrections.correcting import enlarge
from segmentation.data.corrections.decisions import Correction
from segmentation.data.entries import Skipped
from segmentation.data.export import Shape, Task
from segmentation.files import replacing, write_json
from segmentation.markdown import printable


def collect(views: list[View], least: float) -> tuple[dict[int, str], dict[int, list[Correction]]]:
    """Split by id of the images with a label issue at least this probable, and the suggestions.

    Raises:
      ValueError: no view has label issues.
    """
    ids: dict[int, str] = {}
    by_image: dict[int, list[Correction]] = collections.defaultdict(list)
    views = [view for view in views if artifacts.exists(view, LabelIssues)]
    if not views:
        raise ValueError('No run has label issues: run python -m analysis.label_issues first.')
    for view in views:
        issues = artifacts.load(view, LabelIssues)
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


def write(arguments: argparse.Namespace) -> dict[str, Any]:
    """Writes all that the tool needs; returns the result for --json."""
    views = [view for workdir in arguments.workdir for view in find_views(workdir)]
    ids, by_image = collect(views, arguments.least)
    if arguments.ids:
        chosen = selection.read_exclude(arguments.ids, views[0].data['fingerprint']['id'])
        ids = {key: ids.get(key, '') for key in chosen}
    prepared = coco.open_prepared(views[0].data['path'])
    names = {category.id: category.name for category in prepared.categories}
    categories, skipped = set(names.values()), Skipped()
    (arguments.output / 'images').mkdir(parents=True, exist_ok=True)
    tasks: list[Task] = []
    done: set[int] = set()
    taken: set[str] = set()
    for name in prepared.splits:
        split = prepared.split(name)
        here = [
            key
            for key, known in ids.items()
            if key not in done and (known not in prepared.splits or known == name)
        ]
        rows = np.flatnonzero(np.isin(split.index.image_id, here))
        for row in tqdm(rows.tolist(), desc=f'{arguments.tool}, {name}', unit='img'):
            record = split[row]
            done.add(int(record['image/id']))
            file_name = f'{name}/{pathlib.PurePosixPath(record["file_name"]).name}'
            if file_name in taken:
                skipped.add('image: another one has its file name', record['file_name'])
                continue
            taken.add(file_name)
            mine = by_image.get(int(record['image/id']), [])
            for correction in mine:
                if correction.category and correction.category not in categories:
                    skipped.add('suggestion: its class is no category', correction.category)
            mine = [c for c in mine if not c.category or c.category in categories]
            tasks.append(make_task(record, names, mine, file_name))
            path = arguments.output / 'images' / file_name
            path.parent.mkdir(exist_ok=True)
            if not path.exists():
                with replacing(path) as partial:
                    partial.write_bytes(record['image'])
    for image_id in sorted(ids.keys() - done):
        skipped.add('image: not in the data set', image_id)
    export.tools()[arguments.tool](arguments.output, tasks, sorted(categories))
    return {
        'output': str(arguments.output),
        'tool': arguments.tool,
        'images': len(tasks),
        'shapes': sum(not shape.is_new for task in tasks for shape in task.shapes),
        'suggestions': sum(
            shape.suggested is not None for task in tasks for shape in task.shapes
        ),
        'skipped': skipped.as_dict(),
    }  # fmt: skip


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = launch.make_parser(__doc__, workdir='')
    add = parser.add_argument
    about = 'runs whose label issues are used'
    add('--workdir', type=pathlib.Path, nargs='+', required=True, metavar='RUN', help=about)
    add('--tool', required=True, choices=sorted(export.tools()), help='the annotation tool')
    add('--output', type=pathlib.Path, required=True, help='folder for images and tasks')
    about = 'minimum probability of the suggestions, and of the label issues that select an image'
    add('--least', type=float, default=0.5, help=about)
    about = 'export these images instead: a list of ids, as data.exclude takes it'
    add('--ids', type=pathlib.Path, metavar='FILE', help=about)
    return parser.parse_args(argv)


@launch.command
def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    result = write(arguments)
    print(
        f'{result["output"]}: {result["images"]} images with {result["shapes"]} labels and '
        f'{result["suggestions"]} suggestions.'
    )
    for reason, entry in result['skipped'].items():
        print(printable(f'{entry["count"]} × {reason} (e.g. {entries.show_examples(entry)})'))
    if arguments.json:
        write_json(arguments.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(main())
