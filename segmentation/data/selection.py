"""Which images an experiment uses: required classes, folds, and lists of excluded images."""

import csv
import hashlib
import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from segmentation.data import label_spaces
from segmentation.data.annotations import Category
from segmentation.data.coco_index import CocoIndex
from segmentation.markdown import printable

VIEW_COLUMN = 'view: '  # begins the names of columns of saved views in tables of samples


def id_fraction(image_ids: Iterable[int], salt: str) -> np.ndarray:
    """Spreads image ids evenly over [0, 1) by a hash (BLAKE2b).

    The value of an image does not depend on the other images. Different salts give independent
    values, which two divisions of the same images need.

    Returns:
      float64 `[N]`.
    """
    digests = (
        hashlib.blake2b(f'{salt}/{image_id}'.encode(), digest_size=6).digest()
        for image_id in map(int, image_ids)
    )
    # 48 bits, so that no value rounds up to 1.
    return np.array([int.from_bytes(digest, 'little') for digest in digests], np.float64) / 2**48


def fold_of(image_ids: Iterable[int], folds: int) -> np.ndarray:
    """Assigns images to folds by their ids: int64 `[N]` in [0, folds)."""
    return (id_fraction(image_ids, 'fold') * folds).astype(np.int64)


def held_out(image_ids: np.ndarray, fraction: float) -> np.ndarray:
    """Which images choose the checkpoint, bool `[N]`: a fraction of them, chosen by their ids.

    Equal ids, of images that belong together, are held out together. Of two or more ids, at least
    one is held out and at least one is not, however small the set.
    """
    place = id_fraction(image_ids, 'selection')
    aside = place < fraction
    if len(place) and place.min() < place.max():
        if not aside.any():
            aside = place == place.min()
        if aside.all():
            aside = place < place.max()
    return aside


def read_groups(path: str | pathlib.Path, fingerprint: str | None = None) -> list[list[int]]:
    """Reads groups of image ids: `{"groups": [[17, 25], …]}`, as analysis.duplicates writes.

    Args:
      path: of the file.
      fingerprint: see `read_exclude`.

    Raises:
      ValueError: another format or data set, or an image is in two groups.
    """
    groups = _read_list(path, 'groups', ' of lists of image ids', fingerprint)
    groups = [sorted(set(_check_ids(path, group))) for group in groups]
    flat = np.array([number for group in groups for number in group], np.int64)
    ids, counts = np.unique(flat, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f'{path}: image {ids[counts > 1][0]} is in two groups')
    return groups


def stand_ins(image_ids: np.ndarray, groups: Iterable[Sequence[int]]) -> np.ndarray:
    """Ids by which images are divided so that groups stay together, int64 `[N]`.

    Of an image in a group, the smallest id of the group, else its own.
    """
    first = {number: min(group) for group in groups for number in group}
    return np.array([first.get(number, number) for number in image_ids.tolist()], np.int64)


def id_digest(image_ids: np.ndarray) -> str:
    """SHA-256 of image ids, which does not depend on their order."""
    return hashlib.sha256(np.sort(image_ids).astype('<i8').tobytes()).hexdigest()


def select(
    index: CocoIndex,
    categories: Sequence[Category],
    category_to_class: Mapping[int, int],
    *,
    require: str = 'every_class',
    require_of: Sequence[str] = (),
) -> tuple[np.ndarray, dict[str, int]]:
    """Selects the images of an experiment, in the order of their ids.

    Left out are images known to be incompletely annotated for a needed category, and of the others
    those that `require` rejects.

    Args:
      index: of the split.
      categories: of the data set, in the order of the index' columns.
      category_to_class: see `LabelSpace.category_to_class`.
      require: 'every_class' keeps images with an annotation of every class (as published),
        'any_class' of at least one class, 'nothing' all images.
      require_of: names of categories or super-categories that `require` refers to instead of the
        classes (the published vehicle experiment uses the images with a person and a car).

    Returns:
      Positions in the split, int64 `[n]`, and the number of images left out by each rule.

    Raises:
      ValueError: unknown option or category name.
    """
    if require not in ('every_class', 'any_class', 'nothing'):
        raise ValueError(
            f"require must be 'every_class', 'any_class' or 'nothing', not {require!r}"
        )
    column = {c.id: k for k, c in enumerate(categories)}
    field = 'data.require_of'
    groups = [label_spaces.category_ids([name], categories, field) for name in require_of] or [
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
    report = {'images': len(present)}
    kept = np.ones(len(present), np.bool_)
    for rule, left_out in (
        ('incompletely annotated', incomplete),
        (f'without {require.replace("_", " ")}', ~enough),
    ):
        report[rule] = int((kept & left_out).sum())
        kept &= ~left_out
    report['selected'] = int(kept.sum())
    return np.flatnonzero(kept), report


def describe(part: str, report: Mapping[str, Any]) -> str:
    """One line: how many images a part has, and how many each rule left out.

    Args:
      part: 'train', 'selection' or 'val'.
      report: of `examples.select_examples`.
    """
    total = sum(split['images'] for split in report['splits'].values())
    splits = ', '.join(report['splits'])
    rules = [f'{count} {rule}' for rule, count in report['left_out'].items() if count]
    left_out = f'; left out: {", ".join(rules)}' if rules else ''
    return printable(f'{part}: {report["images"]} of {total} images ({splits}){left_out}')


def read_views(path: str | pathlib.Path, fingerprint: str | None = None) -> dict[str, list[int]]:
    """Reads named sets of image ids: `{"views": [{"name": "dark", "ids": [17, 25]}]}`.

    Args:
      path: of the file, as the report exports it: JSON, CSV with the columns `view` and `image_id`,
        or Parquet with `image_id` and a boolean column `view: NAME` for each.
      fingerprint: see `read_exclude`; only JSON has one.

    Raises:
      ValueError: another format or data set; names the first wrong entry.
    """
    ending = pathlib.Path(path).suffix.lower()
    if ending in _TABLES:
        return _TABLES[ending](path)
    entries = _read_list(path, 'views', '; export one in the report', fingerprint)
    views: dict[str, list[int]] = {}
    for number, entry in enumerate(entries, 1):
        name = entry.get('name') if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name or name in views:
            raise ValueError(f'{path}: view {number} has no name of its own: {ascii(name)[:80]}')
        views[name] = sorted(set(_check_ids(path, entry.get('ids'))))
    return views


def _csv_views(path: str | pathlib.Path) -> dict[str, list[int]]:
    views: dict[str, set[int]] = {}
    try:
        with open(path, encoding='utf-8-sig', newline='') as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                # The report marks what a spreadsheet would take for a formula.
                name = re.sub(r"^'(?=[=+\-@])", '', row.get('view') or '')
                value = row.get('image_id') or ''
                if not name or not value.isdecimal():
                    raise ValueError(f'line {number} has no view and image_id')
                views.setdefault(name, set()).add(int(value))
    except (csv.Error, ValueError) as error:
        raise ValueError(f'{path} cannot be read as CSV of saved views: {error}') from error
    return {name: sorted(_check_ids(path, [*ids])) for name, ids in views.items()}


def _parquet_views(path: str | pathlib.Path) -> dict[str, list[int]]:
    import pyarrow  # here, as it takes long to import
    from pyarrow import parquet

    try:
        columns = parquet.read_schema(path).names
        names = [name for name in columns if name.startswith(VIEW_COLUMN)]
        table = parquet.read_table(path, columns=['image_id', *names])
        ids = table['image_id'].to_numpy()
        return {
            name.removeprefix(VIEW_COLUMN): sorted(ids[table[name].to_numpy()].tolist())
            for name in names
        }
    except (pyarrow.ArrowException, KeyError, IndexError) as error:
        raise ValueError(f'{path} is no Parquet table of samples: {error}') from error


_TABLES = {'.csv': _csv_views, '.parquet': _parquet_views}


def _read_list(
    path: str | pathlib.Path, key: str, expected: str, fingerprint: str | None
) -> list[Any]:
    """The list under a key of a JSON object; `expected` ends the error if there is none."""
    try:
        content = json.loads(pathlib.Path(path).read_text(encoding='utf-8-sig'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} cannot be read as JSON: {error}') from error
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f'{path} has no list {key!r}{expected}')
    _check_fingerprint(path, content, fingerprint)
    return entries


def _check_fingerprint(
    path: str | pathlib.Path, content: Mapping[str, Any], fingerprint: str | None
) -> None:
    made_for = content.get('fingerprint')
    if fingerprint and made_for not in (None, fingerprint):
        raise ValueError(
            f'{path} was made for another data set: fingerprint {ascii(made_for)[:80]} instead of '
            f'{fingerprint!r}.'
        )


def _check_ids(path: str | pathlib.Path, ids: Any) -> list[int]:
    if not isinstance(ids, list):
        raise ValueError(f"{path} has no list 'ids' of image ids")
    for number, value in enumerate(ids, 1):
        if type(value) is not int or not 0 <= value < 2**63:
            raise ValueError(f'{path}: entry {number} is {ascii(value)[:80]}, not an image id')
    return ids


def _one_view(path: str | pathlib.Path, name: str, fingerprint: str | None) -> list[int]:
    views = read_views(path, fingerprint)
    if name in views:
        return views[name]
    known = printable(', '.join(views))
    raise ValueError(f'{path} has no saved view {name!r}: choose {path}#NAME from: {known}')


def read_exclude(path: str | pathlib.Path, fingerprint: str | None = None) -> set[int]:
    """Reads image ids: a JSON list, a JSON object with a list `ids`, or text with one id per line.

    `FILE#NAME` reads a view that was saved in the report, see `read_views`.

    Args:
      path: of the file.
      fingerprint: `id` of the data set's fingerprint. An object with another `fingerprint` refers
        to other images and is refused.

    Raises:
      ValueError: another format or data set; names the first wrong entry.
    """
    if '#' in str(path) and not pathlib.Path(path).exists():
        parts = str(path).split('#')  # folders may have the character too
        files = ('#'.join(parts[:count]) for count in range(1, len(parts)))
        file = next((each for each in files if pathlib.Path(each).is_file()), parts[0])
        return set(_one_view(file, str(path)[len(file) + 1 :], fingerprint))
    try:
        text = pathlib.Path(path).read_text(encoding='utf-8-sig')
        if text.lstrip()[:1] in ('[', '{'):
            content = json.loads(text)
        else:
            lines = filter(None, map(str.strip, text.split('\n')))
            content = [int(line) if line.isdecimal() else line for line in lines]
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} cannot be read as JSON or text: {error}') from error
    ids = content.get('ids') if isinstance(content, dict) else content
    if isinstance(content, dict):
        _check_fingerprint(path, content, fingerprint)
        if ids is None and 'views' in content:
            _one_view(path, '', fingerprint)  # says which ones there are
    return set(_check_ids(path, ids))
