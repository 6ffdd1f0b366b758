"""Which images the page shows, and why."""

import dataclasses

import numpy as np

from segmentation.data import coco
from segmentation.data.inspection.scan import Scan

# Images of a section.
_RANDOM, _EXTREME, _REPAIRED = 12, 8, 12


@dataclasses.dataclass(frozen=True)
class Shown:
    """An image of a section."""

    row: int  # of `Scan`
    note: str = ''  # why it is here
    marked: tuple[int, ...] = ()  # rows of `Scan.instances` that get a frame


@dataclasses.dataclass(frozen=True)
class Section:
    """Images that are shown for the same reason."""

    title: str
    text: str  # what to look for
    images: tuple[Shown, ...]


def choose(prepared: coco.Prepared, scan: Scan) -> list[Section]:
    """The sections of the page that show whole images; empty ones are left out."""
    rng = np.random.default_rng(0)
    sections = [
        Section(
            f'Random images: {name}',
            'Do the masks lie on their objects, and are the names right?',
            tuple(map(Shown, _some(np.flatnonzero(scan.split == number), _RANDOM, rng))),
        )
        for number, name in enumerate(scan.splits)
    ]
    sections += [_repaired(prepared, scan), _twice(prepared, scan), *_extremes(scan)]
    empty = np.flatnonzero(scan.count == 0)
    sections.append(
        Section(
            'Without instances',
            f'{len(empty)} images have no instance and are background only. If objects are in '
            'them, annotations are missing.',
            tuple(map(Shown, _some(empty, _EXTREME, rng))),
        )
    )
    return [section for section in sections if section.images]


def _twice(prepared: coco.Prepared, scan: Scan) -> Section:
    names = [category.name for category in prepared.categories]
    kinds = scan.instances.category.tolist()
    return Section(
        'Labeled twice',
        f'{len(scan.twice)} pairs of instances of two categories have nearly the same mask. If '
        'they are one object, one label is wrong.',
        tuple(
            Shown(
                int(scan.instances.image[a]),
                f'{names[kinds[a]]} and {names[kinds[b]]}, IoU {iou:.2f}',
                (a, b),
            )
            for a, b, iou in scan.twice[:_REPAIRED]
        ),
    )


def _some(rows: np.ndarray, count: int, rng: np.random.Generator) -> list[int]:
    return sorted(rng.permutation(rows)[:count].tolist())


def _extremes(scan: Scan) -> list[Section]:
    most = _largest(scan.count)
    covered = _largest(scan.covered)
    share = scan.instances.share
    of_objects = [
        (
            'Smallest objects',
            'Clicks by mistake and splinters of polygons are often among them.',
            np.argsort(share, kind='stable'),
        ),
        (
            'Largest objects',
            'Frames around the whole image, and classes that are background, are among them.',
            np.argsort(-share, kind='stable'),
        ),
    ]
    sections = []
    for title, text, order in of_objects:
        images: dict[int, Shown] = {}
        for instance in order.tolist():
            if len(images) == _EXTREME:
                break
            row = int(scan.instances.image[instance])
            area = f'{scan.instances.area[instance]:,} pixels'
            note = f'{area}, {100 * share[instance]:.2g} % of the image'
            images.setdefault(row, Shown(row, note, (instance,)))
        sections.append(Section(title, text, tuple(images.values())))
    return [
        Section(
            'Most instances',
            'Crowded images show whether single objects or groups were outlined.',
            tuple(Shown(row, f'{scan.count[row]} instances') for row in most if scan.count[row]),
        ),
        *sections,
        Section(
            'Largest share covered',
            'Where nearly everything is covered, a category may stand for the background.',
            tuple(
                Shown(row, f'{scan.covered[row]:.1%} covered') for row in covered if scan.count[row]
            ),
        ),
    ]


def _largest(values: np.ndarray) -> list[int]:
    return np.argsort(-values, kind='stable')[:_EXTREME].tolist()


def _repaired(prepared: coco.Prepared, scan: Scan) -> Section:
    """Images of the examples of the skip report, as far as they are in the data set."""
    images: dict[int, Shown] = {}
    found = scan.instances
    of_instance = scan.split[found.image]
    for number, split in enumerate(scan.splits):
        for reason, entry in prepared.skipped.get(split, {}).items():
            if reason.startswith('category') or 'ids of categories' in reason:  # no annotations
                continue
            for example in entry.get('examples', ()):
                marked: tuple[int, ...] = ()
                rows: list[int] = []
                if isinstance(example, int) and not reason.startswith('image'):
                    at = np.flatnonzero((found.id == example) & (of_instance == number))
                    marked, rows = tuple(at[:1].tolist()), found.image[at[:1]].tolist()
                else:
                    # Texts are stored as Python literals, see `annotations.Skipped`.
                    same = (scan.image_id == example) | (
                        np.char.add(np.char.add("'", scan.file_name), "'") == str(example)
                    )
                    rows = np.flatnonzero(same & (scan.split == number))[:1].tolist()
                for row in rows:
                    images.setdefault(row, Shown(row, reason, marked))
    return Section(
        'Repaired',
        'Examples of what was repaired when the data set was prepared; the table of what was left '
        'out and repaired has all counts.',
        tuple(images.values())[:_REPAIRED],
    )
