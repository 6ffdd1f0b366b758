"""Layouts of data sets: recognizes how a folder is laid out, and gives each split in COCO's form.

A new layout is one module with a tuple `LAYOUTS`, and its name in the list below.
"""

import dataclasses
import difflib
import pathlib
from collections.abc import Iterable

from segmentation.data.layouts import (
    cityscapes,
    coco_json,
    cvat_images,
    datumaro,
    label_studio,
    labelme,
    masks,
    via,
    voc,
    yolo,
)  # fmt: skip
from segmentation.data.layouts.base import Folder, Images, Layout, Split, usual_name

__all__ = ['Folder', 'Found', 'Images', 'LAYOUTS', 'Layout', 'Split', 'recognize', 'usual_name']

# If two find the same annotation files, the first counts.
LAYOUTS: tuple[Layout, ...] = (
    *coco_json.LAYOUTS, *datumaro.LAYOUTS, *via.LAYOUTS, *labelme.LAYOUTS, *yolo.LAYOUTS,
    *voc.LAYOUTS, *cityscapes.LAYOUTS, *masks.LAYOUTS, *label_studio.LAYOUTS, *cvat_images.LAYOUTS,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Found:
    """A recognized data set."""

    folder: Folder
    layout: Layout
    splits: tuple[Split, ...]

    def __str__(self) -> str:
        names = ', '.join(ascii(split.name)[1:-1] for split in self.splits)
        text = f'{self.layout.title}: split{"s" * (len(self.splits) > 1)} {names}'
        if not any(usual_name(split.name) == 'val' for split in self.splits):
            text += (
                '\nThere is no validation split. --config.data.folds=5 holds out a fifth of the '
                'training images for validation.'
            )
        return text


def recognize(
    root: pathlib.Path, layout: str | None = None, ignore: Iterable[pathlib.Path] = ()
) -> Found:
    """Recognizes how a data set is laid out.

    Args:
      root: folder of the data set, or one with that folder alone.
      layout: name of a layout; needed only if several fit.
      ignore: folders below the root that do not belong to the data set.

    Raises:
      ValueError: no layout fits, or several do; names the files or the layouts.
    """
    if layout is not None and layout not in (names := [item.name for item in LAYOUTS]):
        close = difflib.get_close_matches(layout, names)
        hint = f' (did you mean {close[0]}?)' if close else ''
        raise ValueError(f'There is no layout {layout!r}{hint}: use one of {", ".join(names)}')
    folder = whole = Folder(root, ignore)
    fitting = _fitting(folder, layout)
    while not fitting and len(folder.folders) > 1 and not [f for f in folder.files if '/' not in f]:
        # An archive unpacked into a folder of its own.
        tops = [name for name in folder.folders if name and '/' not in name]
        if len(tops) != 1 or (folder.root / tops[0]).is_symlink():
            break
        folder = Folder(folder.root / tops[0], ignore)
        fitting = _fitting(folder, layout)
    if not fitting:
        raise ValueError(_nothing_fits(whole, layout))
    if len(fitting) > 1:
        readings = '; '.join(
            f'{found.layout.name} ({found}, from {found.splits[0].files[0]})'.replace('\n', ' ')
            for found in fitting
        )
        raise ValueError(
            f'{root} can be read in {len(fitting)} ways: {readings}. Choose one with --layout of '
            'scripts/prepare_coco.py'
        )
    return fitting[0]


def _fitting(folder: Folder, layout: str | None) -> list[Found]:
    for is_general in (False, True):
        found: list[Found] = []
        for candidate in LAYOUTS:
            if candidate.is_general != is_general or layout not in (None, candidate.name):
                continue
            splits = candidate.find(folder)
            files = {file for split in splits for file in split.files}
            taken = {file for other in found for split in other.splits for file in split.files}
            if splits and not files & taken:
                found.append(Found(folder, candidate, tuple(sorted(splits, key=_order))))
        if found:
            return found
    return []


def _order(split: Split) -> tuple[int, str]:
    order = ('train', 'val', 'test')
    usual = usual_name(split.name)
    return order.index(usual) if usual else len(order), split.name


# Files that are not read, and what to do with them.
_HINTS = (
    (r'.*\.(zip|tar|tar\.gz|tgz|7z|rar)', 'Unpack the archive first'),
    (
        r'(.*/)?suggestions\.xml',
        'suggestions.xml is what was suggested to CVAT: put the annotations that CVAT exports here',
    ),
    (r'(.*/)?annotations/[^/]+\.xml', 'XML files of Pascal VOC hold boxes: masks are needed'),
    (r'.*\.tfrecords?(-.*)?', 'TFRecord files are not read'),
    (r'(.*/)?via_[^/]*\.csv', 'Tables of VIA are not read: export the annotations as JSON'),
    (r'.*\.csv', 'Tables hold boxes or their own outlines and are not read'),
)


def _nothing_fits(folder: Folder, layout: str | None) -> str:
    shown = [ascii(name)[1:-1][:80] for name in folder.files[:6]]
    more = len(folder.files) - len(shown)
    there = ', '.join(shown) + (f' and {more} more files' if more > 0 else '')
    hints = [hint for pattern, hint in _HINTS if folder.matching(pattern)]
    hints += [f'{ascii(name)[1:-1]} is not valid YAML: {why}' for name, why in yolo.damaged(folder)]
    wanted = f'is not laid out as {layout}' if layout else 'is no data set of a known layout'
    return (
        f'{folder.root} {wanted}. It has {there or "no files"}. '
        + ''.join(f'{hint}. ' for hint in hints[:2])
        + 'Export it as COCO instance segmentation: annotations/instances_train.json, and the '
        'images in train/ or images/ '
        '(segmentation/data/README.md lists all layouts)'
    )
