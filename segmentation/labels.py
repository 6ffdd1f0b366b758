"""Label spaces: which COCO categories make up which class, and the class masks drawn from them.

A label space is written in one line, `class: name, name; class: name, …`, where the names are
those of COCO categories or super-categories; a name that is both means the category. The classes
are numbered from 1 in that order, 0 is background, and 255 marks pixels to ignore.
"""

import dataclasses
import difflib
import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

IGNORE = 255

LABEL_SPACES = {
    'person_car': 'person: person; car: car',
    # The published vehicle experiment; COCO's own super-category also has bicycles, motorcycles,
    # airplanes and boats.
    'person_vehicle': 'person: person; vehicle: car, bus, truck, train',
    'person_any_vehicle': 'person: person; vehicle: vehicle',
}


@dataclasses.dataclass(frozen=True)
class LabelSpace:
    """Ordered classes.

    Attributes:
      class_names: 'background' first.
      members: per class the names of its categories or super-categories; none for background.
    """

    class_names: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]

    def category_to_class(self, categories: Sequence[Any]) -> dict[int, int]:
        """Maps category ids to classes 1, 2, …; other categories are background.

        Args:
          categories: the data set's, each with `id`, `name` and `supercategory`.

        Raises:
          ValueError: a name that the data set lacks, or a category in two classes.
        """
        result = {}
        for label, names in enumerate(self.members):
            for key in category_ids(names, categories):
                if result.setdefault(key, label) != label:
                    name = next(c.name for c in categories if c.id == key)
                    raise ValueError(
                        f'Category {name!r} is in two classes, '
                        f'{self.class_names[result[key]]!r} and {self.class_names[label]!r}'
                    )
        return result


def parse_label_space(text: str) -> LabelSpace:
    """Reads a label space from a name in `LABEL_SPACES` or from its one-line form.

    Raises:
      ValueError: an unknown name or a malformed line.
    """
    text = text.strip()
    if ':' not in text:
        if text not in LABEL_SPACES:
            raise ValueError(
                f'Unknown label space {text!r}{_near(text, LABEL_SPACES)}. Write one as '
                "'class: category, category; class: …', or use one of " + ', '.join(LABEL_SPACES)
            )
        text = LABEL_SPACES[text]
    groups = parse_groups(text)
    if 'background' in groups:
        raise ValueError(f"'background' is always class 0; the label space {text!r} names it too")
    if len(groups) >= IGNORE:
        raise ValueError(f'A label space has at most {IGNORE - 1} classes, not {len(groups)}')
    return LabelSpace(('background', *groups), ((), *groups.values()))


def parse_groups(text: str) -> dict[str, tuple[str, ...]]:
    """Reads 'group: name, name; group: …' in the order it is written.

    Raises:
      ValueError: a part of another form, or a group that comes twice.
    """
    groups = {}
    for part in text.rstrip('; ').split(';'):
        group, colon, rest = part.partition(':')
        group = group.strip()
        names = tuple(name.strip() for name in rest.split(','))
        if not colon or not group or not all(names) or ':' in rest:
            raise ValueError(f"{part.strip()!r} in {text!r} is not of the form 'group: name, name'")
        if group in groups:
            raise ValueError(f'{group!r} comes twice in {text!r}')
        groups[group] = names
    return groups


def category_ids(names: Iterable[str], categories: Sequence[Any]) -> list[int]:
    """Returns the ids of the named categories; a super-category stands for all of its categories.

    Raises:
      ValueError: an unknown name.
    """
    result = []
    for name in names:
        ids = [c.id for c in categories if c.name == name]
        ids = ids or [c.id for c in categories if name and c.supercategory == name]
        if not ids:
            known = [c.name for c in categories] + [c.supercategory for c in categories]
            raise ValueError(
                f'The data set has no category or super-category {name!r}{_near(name, known)}'
            )
        result += ids
    return list(dict.fromkeys(result))


def _near(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, set(known), cutoff=0.5)
    return f' (did you mean {" or ".join(map(repr, matches))}?)' if matches else ''


def nearest_indices(n_in: int, n_out: int) -> np.ndarray:
    """Source indices of a nearest-neighbour resize: floor((i + 1/2) · n_in / n_out), int64 [n_out].

    The half-pixel convention of Pillow and TensorFlow, in whole numbers so that it is exact.
    """
    return (2 * np.arange(n_out) + 1) * n_in // (2 * n_out)


def class_mask(
    record: Mapping[str, Any],
    category_to_class: Mapping[int, int],
    *,
    rows: np.ndarray | None = None,
    cols: np.ndarray | None = None,
    overlap: str = 'annotation',
    draw_last: Sequence[int] = (),
    crowd: str = 'label',
) -> np.ndarray:
    """Draws the instances of a label space.

    The result equals drawing at full size and then taking `[rows][:, cols]`, so that a resize, a
    crop and a flip compose into one list of rows and one of columns.

    Args:
      record: of a `coco.CocoSplit`: `height`, `width` and `instances`.
      category_to_class: see `LabelSpace.category_to_class`.
      rows: row of the source per row of the result; default all.
      cols: likewise for columns.
      overlap: who wins where instances overlap: 'annotation' the later annotation (as published),
        'class' the later class of the label space, then the later annotation; 'area' the smaller
        annotated area, then the later annotation.
      draw_last: category ids that are drawn after, so over, everything else (bus, truck and train
        in the published vehicle experiment), in the same order among themselves.
      crowd: 'label' draws crowd regions like objects (as published); 'ignore' marks their pixels
        255 where no object of the label space is drawn.

    Returns:
      uint8 [len(rows), len(cols)]: 0 background, 255 ignore.

    Raises:
      ValueError: an unknown option.
    """
    if overlap not in ('annotation', 'class', 'area'):
        raise ValueError(f"overlap must be 'annotation', 'class' or 'area', not {overlap!r}")
    if crowd not in ('label', 'ignore'):
        raise ValueError(f"crowd must be 'label' or 'ignore', not {crowd!r}")
    if stray := set(draw_last) - set(category_to_class):
        raise ValueError(
            f'draw_last has the category ids {sorted(stray)}, which are in no class '
            'of the label space'
        )
    height, width = record['height'], record['width']
    instances = record['instances']
    kinds = instances['category_id'].tolist()
    areas, is_crowd = instances['area'], instances['is_crowd']
    chosen = [i for i, kind in enumerate(kinds) if kind in category_to_class]
    if overlap == 'class':
        chosen.sort(key=lambda i: category_to_class[kinds[i]])
    elif overlap == 'area':
        chosen.sort(key=lambda i: -areas[i])
    chosen.sort(key=lambda i: kinds[i] in draw_last)
    if crowd == 'ignore':
        # Drawn first, an ignored region shows where nothing covers it.
        chosen.sort(key=lambda i: not is_crowd[i])
    # pycocotools stores masks by columns, so everything here is transposed until the end.
    shape = (width if cols is None else len(cols), height if rows is None else len(rows))
    result = np.zeros(shape, np.uint8)
    for i in chosen:
        mask = mask_utils.decode({'size': [height, width], 'counts': instances['rle'][i]}).T
        mask = mask if cols is None else mask[cols]
        mask = mask if rows is None else mask[:, rows]
        ignored = crowd == 'ignore' and is_crowd[i]
        value = IGNORE if ignored else category_to_class[kinds[i]]
        np.copyto(result, np.uint8(value), where=mask.view(np.bool_))
    return np.ascontiguousarray(result.T)


def id_fraction(image_ids: Iterable[int], salt: str) -> np.ndarray:
    """Places image ids evenly in [0, 1) by a hash (BLAKE2b), float64 [N].

    An image keeps its place whatever else the data set holds. Different salts give independent
    places, which two divisions of the same images need.
    """
    digests = (
        hashlib.blake2b(f'{salt}/{image_id}'.encode(), digest_size=6).digest()
        for image_id in map(int, image_ids)
    )
    # 48 bits, so that no place rounds up to 1.
    return np.array([int.from_bytes(digest, 'little') for digest in digests], np.float64) / 2**48


def fold_of(image_ids: Iterable[int], folds: int) -> np.ndarray:
    """Assigns images to folds by their id: int64 [N] in [0, folds)."""
    return (id_fraction(image_ids, 'fold') * folds).astype(np.int64)


def select(
    index: Any,
    categories: Sequence[Any],
    category_to_class: Mapping[int, int],
    *,
    require: str = 'every_class',
    require_of: Sequence[str] = (),
    exclude: Iterable[int] = frozenset(),
) -> tuple[np.ndarray, dict[str, int]]:
    """Selects the images of an experiment, in image-id order.

    The rules apply in this order: images known to lack annotations of a category that is asked
    for are left out; then those that `require` rejects; then `exclude`.

    Args:
      index: `coco.CocoIndex`.
      categories: of the data set, in the order of the index' columns.
      category_to_class: see `LabelSpace.category_to_class`.
      require: 'every_class' the image has an annotation of every class (as published),
        'any_class' of at least one, 'nothing' any image counts.
      require_of: names of categories or super-categories that `require` asks for in place of the
        classes (the published vehicle experiment keeps the person-and-car list).
      exclude: image ids to leave out.

    Returns:
      Positions in the split, int64 [n], and the number of images left out by each rule.

    Raises:
      ValueError: an unknown option or name.
    """
    if require not in ('every_class', 'any_class', 'nothing'):
        raise ValueError(
            f"require must be 'every_class', 'any_class' or 'nothing', not {require!r}"
        )
    column = {c.id: k for k, c in enumerate(categories)}
    groups = [category_ids([name], categories) for name in require_of] or [
        [key for key, value in category_to_class.items() if value == label]
        for label in sorted(set(category_to_class.values()))
    ]
    groups = [[column[key] for key in group] for group in groups]
    present = np.stack([index.counts[:, group].sum(axis=1) > 0 for group in groups], axis=1)
    needed = sorted({column[key] for key in category_to_class} | {k for g in groups for k in g})
    incomplete = index.complete_known & ~index.complete[:, needed].all(axis=1)
    enough = {
        'every_class': present.all(axis=1),
        'any_class': present.any(axis=1),
        'nothing': np.ones(len(present), np.bool_),
    }[require]
    excluded = np.isin(index.image_id, np.fromiter(exclude, np.int64))
    report = {'images': len(present)}
    kept = np.ones(len(present), np.bool_)
    for rule, left_out in (
        ('incompletely annotated', incomplete),
        (f'without {require.replace("_", " ")}', ~enough),
        ('excluded', excluded),
    ):
        report[rule] = int((kept & left_out).sum())
        kept &= ~left_out
    report['selected'] = int(kept.sum())
    return np.flatnonzero(kept), report


def read_exclude(path: str | pathlib.Path, fingerprint: str | None = None) -> set[int]:
    """Reads image ids: a JSON list, a JSON object with the list `ids`, or text, one id a line.

    Args:
      path: of the file.
      fingerprint: `id` of the data set's fingerprint. An object that names another `fingerprint`
        speaks of other images and is refused.

    Raises:
      ValueError: anything else, with the number of the entry.
    """
    try:
        text = pathlib.Path(path).read_text(encoding='utf-8')
        if text.lstrip()[:1] in ('[', '{'):
            content = json.loads(text)
        else:
            lines = filter(None, map(str.strip, text.split('\n')))
            content = [int(line) if line.isdecimal() else line for line in lines]
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} cannot be read as JSON or text: {error}') from error
    ids = content.get('ids') if isinstance(content, dict) else content
    made_for = content.get('fingerprint') if isinstance(content, dict) else None
    if fingerprint and made_for not in (None, fingerprint):
        raise ValueError(
            f'{path} was made for another data set: fingerprint {ascii(made_for)[:80]} instead of '
            f'{fingerprint!r}.'
        )
    if not isinstance(ids, list):
        raise ValueError(f"{path} has no list 'ids' of image ids")
    for number, value in enumerate(ids, 1):
        if type(value) is not int or not 0 <= value < 2**63:
            raise ValueError(f'{path}: entry {number} is {ascii(value)[:80]}, not an image id')
    return set(ids)
