"""Corrects annotations as decided in the report, or as the label issues suggest.

    python scripts/apply_decisions.py --decisions exclude.json --workdir runs/a --output corrected
    python scripts/apply_decisions.py --accept 0.5 --workdir runs/a runs/b --output corrected
    python scripts/train.py … --config.data.source=corrected
    python scripts/apply_decisions.py --undo corrected --output original

The report (Findings, Label issues) exports decisions: a missing instance is added with the
suggested region and class, a label is removed, or gets another category. --accept accepts every
suggestion with at least this probability, unseen. --returned takes over what was changed in an
annotation tool, from a folder with its export (see scripts/annotation_tasks.py).

OUTPUT gets annotations/instances_<split>.json for each split and links to the folders of its
images (unless --source is a single file), so it is a data set to train on. Annotations that are
changed or added have their mask as run lengths and a field `source`. All others are kept byte for
byte. undo_<split>.json beside them restores the original. The source is never changed. Repeating
the command writes nothing; with other decisions it writes the files again, from the source.

Each split needs one COCO JSON file. If a run was trained on '2014' or on a prepared data set, name
the folder with the annotation files with --source.

A suggested region has the resolution of the network. It is enlarged to that of the image
(bilinearly, cut at one half), and `source` says from which size.
"""

import argparse
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from analysis.label_issues.suggestions import issues_of, suggested
from analysis.stage.view import View, find_views
from segmentation import launch, markdown
from segmentation.data import coco, entries, label_spaces
from segmentation.data.corrections import applying, decisions, files, returned
from segmentation.data.corrections.decisions import Correction
from segmentation.data.entries import Skipped
from segmentation.files import is_within, sha256, write_json


def source_of(view: View) -> pathlib.Path:
    """The folder of the data set that a run was trained on.

    Raises:
      ValueError: it is none, or no longer there.
    """
    data = view.config.data
    folder = coco.source_folder(
        data.source, pathlib.Path(data.data_dir).expanduser(), data.scenes.to_dict()
    )
    if folder is None or (folder / coco.METADATA).is_file() or not folder.is_dir():
        raise ValueError(
            f'{view.workdir} was trained on {data.source!r}, which is no folder with annotation '
            'files: name it, or one annotation file, with --source'
        )
    return folder


def check_unchanged(view: View, sources: list[files.Source]) -> None:
    """Raises ValueError if an annotation file is not the one that the run was trained on."""
    known = view.data['fingerprint'].get('splits', {})
    for source in sources:
        digest = known.get(source.name, {}).get('annotations_sha256')
        if digest and digest != sha256(source.path):
            raise ValueError(
                f'{source.path} is not the file that {view.workdir} was trained on. With --source '
                'it is corrected all the same, where ids and file names fit'
            )


def categories_of(view: View) -> dict[str, tuple[str, ...]]:
    """Names of the categories by class: of all splits, or as the label space says without them."""
    space = label_spaces.parse_label_space(view.config.data.label_space)
    try:
        categories = coco.open_prepared(view.data['path']).categories
    except ValueError:  # the prepared data are gone
        return dict(zip(space.class_names[1:], space.members[1:], strict=True))
    return label_spaces.categories_by_class(space, categories)


def read_corrections(
    arguments: argparse.Namespace, views: list[View]
) -> tuple[list[Correction], Skipped]:
    """The corrections that the command asks for, most suspicious first."""
    if arguments.returned:
        return [], Skipped()  # they follow from each file
    if arguments.decisions:
        fingerprint = views[0].data['fingerprint']['id'] if views else None
        return decisions.read(arguments.decisions, None if arguments.source else fingerprint)
    found: list[Correction] = []
    for view, issues in issues_of(views):
        found += suggested(view, issues, arguments.accept)
    return sorted(found, key=lambda correction: -(correction.score or 0)), Skipped()


def correct(arguments: argparse.Namespace) -> dict[str, Any]:
    """Corrects all files; returns the result for --json."""
    views = [view for workdir in arguments.workdir for view in find_views(workdir)]
    corrections, skipped = read_corrections(arguments, views)
    ignore = [pathlib.Path(view.config.data.data_dir).expanduser() for view in views]
    source = arguments.source or source_of(views[0])
    if source.is_dir() and is_within(arguments.output, source):
        raise ValueError(
            f'--output {arguments.output} is in the data set {source}, which is never changed, and '
            'would be read as a part of it: choose a folder outside of it'
        )
    sources = files.find(source, ignore)
    if views and not arguments.source:
        check_unchanged(views[0], sources)
    members = categories_of(views[0]) if views else {}
    exported = list(returned.read(arguments.returned)) if arguments.returned else []
    written = applying.apply(
        sources, arguments.output, corrections, skipped, members=members, exported=exported
    )
    return {'output': str(arguments.output), 'splits': written, 'skipped': skipped.as_dict()}


def show(result: Mapping[str, Any]) -> str:
    """The result for people."""
    rows = [
        (split, action, before, after, str(count))
        for split, entry in result['splits'].items()
        for action, before, after, count in entry['corrections']
    ]
    header = 'split', 'action', 'category before', 'category after', 'annotations'
    parts = [markdown.table(header, rows) if rows else 'Nothing was corrected.']
    if result['skipped']:
        lines = [
            (reason, str(entry['count']), entries.show_examples(entry))
            for reason, entry in result['skipped'].items()
        ]
        parts.append(markdown.table(('not applied', 'number', 'examples'), lines))
    new = [split for split, entry in result['splits'].items() if entry['written']]
    same = [split for split in result['splits'] if split not in new]
    parts.append(f'{result["output"]}: ' + '; '.join(
        f'{what} {", ".join(splits)}'
        for what, splits in (('wrote', new), ('already there:', same)) if splits
    ))  # fmt: skip
    return '\n\n'.join(parts)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = launch.make_parser(__doc__, workdir='')
    add, choice = parser.add_argument, parser.add_mutually_exclusive_group(required=True)
    choice.add_argument('--decisions', type=pathlib.Path, metavar='FILE', help='from the report')
    choice.add_argument(
        '--accept',
        type=float,
        metavar='P',
        help='accept suggestions with at least this probability',
    )
    about = 'folder with an export of Label Studio or CVAT'
    choice.add_argument('--returned', type=pathlib.Path, metavar='FOLDER', help=about)
    about = 'a folder that this command wrote: write its original files to --output'
    choice.add_argument('--undo', type=pathlib.Path, metavar='FOLDER', help=about)
    about = 'runs whose report was reviewed; with --accept, runs whose label issues are used'
    add('--workdir', type=pathlib.Path, nargs='+', default=[], metavar='RUN', help=about)
    about = 'data set, or one annotation file; default: what the run was trained on'
    add('--source', type=pathlib.Path, help=about)
    add('--output', type=pathlib.Path, required=True, help='folder for the corrected annotations')
    arguments = parser.parse_args(argv)
    if arguments.accept is not None and not 0 <= arguments.accept <= 1:
        parser.error('--accept must be from 0 to 1')
    if arguments.accept is not None and not arguments.workdir:
        parser.error('--accept needs the runs whose label issues are used: --workdir RUN …')
    if arguments.undo and (arguments.workdir or arguments.source):
        parser.error('--undo needs neither --workdir nor --source: the folder has its undo files')
    if not arguments.undo and not (arguments.workdir or arguments.source):
        parser.error('name what to correct: --workdir RUN or --source FOLDER')
    return arguments


@launch.command
def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    if arguments.undo:
        paths = files.undo(arguments.undo, arguments.output)
        print(f'Original files: {", ".join(map(str, paths))}')
        result: dict[str, Any] = {'original': [str(path) for path in paths]}
    else:
        result = correct(arguments)
        print(show(result))
    if arguments.json:
        write_json(arguments.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(main())
