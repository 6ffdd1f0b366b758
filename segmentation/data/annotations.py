"""Reads and checks COCO instance annotations.

Everything is checked before the C code of pycocotools sees it (README.md has the reasons). What can
mean only one thing is repaired. A broken entry is left out. Both are counted by reason. A file that
is no COCO annotation file raises one `ValueError` that names it.
"""

import collections
import functools
import hashlib
import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tqdm
from pycocotools import mask as mask_utils

from segmentation.data import image_files, json_entries, segmentations
from segmentation.data.entries import (
    COMPUTED,
    UNLABELED,
    Annotations,
    Category,
    File,
    Image,
    Instance,
    Skipped,
    category_name,
    count_entries,
    file_name,
    free_ids,
    id_key,
    is_id,
    is_safe_name,
    is_text,
    license_names,
    numbered,
    positive_size,
    short,
    whole_number,
)  # fmt: skip
from segmentation.data.json_entries import Entries
from segmentation.data.segmentations import Broken, encode_segmentation, has_numbers

_LISTS = ('images', 'annotations')


def parse(data: bytes, name: str) -> Annotations:
    """Checks the bytes of a COCO instances file, which error messages call `name`.

    Raises:
      ValueError: this is not a COCO instances file.
    """
    return read(load(data, name), name, hashlib.sha256(data).hexdigest())


def load(data: bytes, name: str, in_full: bool = False) -> dict[str, Any]:
    """Reads the JSON of a COCO instances file, which has the lists that `read` needs.

    Long lists are `Entries`, or lists if `in_full`.

    Raises:
      ValueError: this is not a COCO instances file; says what it is instead, if that is known.
    """
    try:
        document = json.loads(data) if in_full else json_entries.parse(data, name, _LISTS)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{name} cannot be read as JSON: {error}') from error
    if isinstance(document, list) and document and isinstance(document[0], dict):
        if {'image_id', 'score'} <= document[0].keys():
            raise ValueError(
                f'{name} is a list of predictions (image_id, score), not a COCO instances file'
            )
    if not isinstance(document, dict):
        raise ValueError(
            f'{name} is not a COCO file: expected a JSON object, got a {type(document).__name__}'
        )
    entries = document.get('annotations')
    first = entries[0] if isinstance(entries, list | Entries) and entries else None
    if isinstance(first, dict) and 'segments_info' in first:
        raise ValueError(
            f'{name} is a panoptic file, whose masks are PNG files: give the instances file '
            '(instances_<split>.json)'
        )
    if isinstance(first, dict) and 'caption' in first and 'segmentation' not in first:
        raise ValueError(f'{name} has captions, no masks: give the instances file')
    for key in ('images', 'annotations', 'categories'):
        if not isinstance(document.get(key), list | Entries):
            keys = ', '.join(short(k) for k in list(document)[:8])
            raise ValueError(
                f'{name} is not a COCO instances file: it has no list {key!r} (it has: {keys})'
            )
    return document


def read(
    document: Mapping[str, Any],
    name: str,
    sha256: str,
    files: Mapping[str, File] | None = None,
    *,
    exif: str = 'displayed',
    crowds_as_instances: bool = False,
    progress: bool = False,
) -> Annotations:
    """Checks the content of a COCO instances file.

    Args:
      document: with the lists `images`, `annotations` and `categories`.
      name: what error messages call it.
      sha256: hexadecimal digest of the file.
      files: what was found for each file name (see `file_name`). If None, names and sizes in the
        document are taken as they are.
      exif: see `image_files.fit`.
      crowds_as_instances: whether crowd regions are read as instances.
      progress: whether to show a progress bar.

    Raises:
      ValueError: no category is usable, or two have the same id.
    """
    skipped, notes = Skipped(), Skipped()
    categories, category_keys = _categories(document, name, skipped)
    reader = _Images(files, exif, license_names(document.get('licenses')), skipped, notes)
    reader.read(document['images'])
    entries = _Instances(reader, category_keys, crowds_as_instances, document)
    shown: dict[str, Any] = {'unit': '', 'disable': not progress, 'leave': False, 'mininterval': 1}
    for position, entry in enumerate(tqdm.tqdm(document['annotations'], 'annotations', **shown)):
        try:
            image, instance = entries.read(position, entry)
        except Broken as broken:
            example = entry.get('id') if isinstance(entry, dict) else entry
            skipped.add(f'annotation: {broken}', example, broken.value)
        else:
            image.instances.append(instance)
    kept = [instance for image in reader.images.values() for instance in image.instances]
    if kept and all(instance.is_crowd for instance in kept):
        for instance in kept:
            notes.add(
                'crowd region, as all annotations are (--crowds_as_instances reads instances)',
                instance.id,
            )
    unlabeled = document.get(UNLABELED)
    for given in unlabeled if isinstance(unlabeled, list) else ():
        notes.add('pixels without a label are read as background', given)
    by_id = [reader.images[key] for key in sorted(reader.images)]
    counts = count_entries(document, skipped)
    return Annotations(categories, by_id, skipped, notes, sha256, entries.named, *counts)


def _categories(
    document: Mapping[str, Any], name: str, skipped: Skipped
) -> tuple[tuple[Category, ...], dict[int | str, int]]:
    """The categories, and the id of each by what entries may call it."""
    found: dict[int | str, tuple[str, str]] = {}
    for entry in document['categories']:
        key = id_key(entry.get('id')) if isinstance(entry, dict) else None
        if key is None:
            skipped.add('category: no usable id', entry)
            continue
        text = category_name(entry.get('name'))
        if text is None:
            skipped.add('category: no usable name', key)
            continue
        if text != str(entry['name']):
            skipped.add('repaired: white space in the name of a category', entry['name'])
        group = entry.get('supercategory')
        if key not in found:
            found[key] = text, group if is_text(group) else ''
        elif found[key][0] == text:
            skipped.add('category: listed twice', key)
        else:
            raise ValueError(
                f'{name}: the category id {ascii(key)} means both {ascii(found[key][0])} and '
                f'{ascii(text)}; give each category an id of its own'
            )
    if not found:
        raise ValueError(_no_category(document, name, skipped))
    ids_of = numbered(found)
    if any(isinstance(key, str) for key in found):
        skipped.add('repaired: ids of categories are text', next(iter(found)))
    return tuple(Category(ids_of[key], *entry) for key, entry in found.items()), ids_of


def _no_category(document: Mapping[str, Any], name: str, skipped: Skipped) -> str:
    used = {e.get('category_id') for e in document['annotations'] if _has_scalar(e, 'category_id')}
    ids = sorted(map(ascii, used - {None}))
    what = f'has none (problems: {skipped.as_dict()})' if document['categories'] else 'is empty'
    if ids:
        remedy = f'but annotations use the ids {", ".join(ids)[:80]}: add their names to the list'
    else:
        remedy = (
            'and the annotations name none: define the classes in the tool that exported the file, '
            'and export again'
        )
    return f"{name} has no usable category: its list 'categories' {what}, {remedy}"


def _has_scalar(entry: Any, key: str) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get(key), int | float | str)


class _Images:
    """Reads image entries; `images` by id, and `annotated`: (height, width) where it was wrong."""

    def __init__(
        self,
        files: Mapping[str, File] | None,
        exif: str,
        licenses: dict[int, str],
        skipped: Skipped,
        notes: Skipped,
    ):
        self.files, self.exif, self.licenses = files, exif, licenses
        self.skipped, self.notes = skipped, notes
        self.images: dict[int, Image] = {}
        self.annotated: dict[int, tuple[int, int]] = {}
        self.ids: dict[int | str, int] = {}  # what entries may call an image → its id

    def read(self, entries: Sequence[Any]) -> None:
        keys = [id_key(entry.get('id')) if isinstance(entry, dict) else None for entry in entries]
        self.ids = numbered({key: None for key in keys if key is not None})
        named = {(k, self._place(e)) for e, k in zip(entries, keys, strict=True) if k is not None}
        files = collections.Counter(key for key, name in named if name)
        for entry, key in zip(entries, keys, strict=True):
            add = self.skipped.add
            if key is None:
                value = entry.get('id') if isinstance(entry, dict) else None
                add('image: no usable id', file_name(entry) or entry, value)
            elif files[key] > 1:  # Whose are the annotations?
                add('image: its id is also that of another file', file_name(entry), key)
            elif self.ids[key] in self.images:
                add('image: id used before', key)
            else:
                if isinstance(key, str):
                    add('repaired: image id is text', key, self.ids[key])
                self._read_one(entry, self.ids[key])

    def _place(self, entry: dict) -> str | None:
        """The file of an entry, whatever its name is written like."""
        given = file_name(entry)
        file = (self.files or {}).get(given or '')
        return file.name if file and not file.reason else given and posixpath.normpath(given)

    def _read_one(self, entry: dict, key: int) -> None:
        add, given = self.skipped.add, file_name(entry)
        plain = given.replace('\\', '/') if given else None
        file = File(plain or '') if self.files is None else self.files.get(given or '')
        if given is None or file is None or (self.files is None and not is_safe_name(plain)):
            return add('image: unsafe or missing file name', entry.get('file_name'))
        if file.reason:
            return add(f'image: {file.reason}', given)
        raw = entry.get('width'), entry.get('height')
        size = positive_size(*raw)
        fit = image_files.fit(file.header, size, self.exif) if file.header else None
        if fit is None and size is None:
            return add('image: width and height are not positive whole numbers', key, raw)
        width, height = fit.size if fit else size or (0, 0)
        if not image_files.is_bounded(width, height):
            return add('image: too large', key)
        if file.header and size and not fit:
            sizes = f'annotated {_by(size)}, file {_by(file.header.size)}'
            return add('image: size mismatch', file.name, sizes)
        if size is None:
            add('repaired: size taken from the image file', file.name)
        elif (width, height) != size:
            sizes = f'annotated {_by(size)}, file {_by((width, height))}'
            add('repaired: size off by at most 2 pixels', file.name, sizes)
            self.annotated[key] = size[::-1]
        elif set(map(type, raw)) != {int}:
            add('repaired: size is a float or text', file.name)
        if file.is_repaired:
            add('repaired: file name', given, file.name)
        if fit and file.header:
            self._add_notes(file.name, file.header, fit)
        license: Any = entry.get('license')
        license = self.licenses.get(license, str(license)) if is_id(license) else license
        license = license if is_text(license) else ''
        complete = entry.get('all_categories_annotated') is True
        digest = file.header.sha256 if file.header else ''
        apply_exif = fit is not None and fit.apply_exif
        self.images[key] = Image(
            key, file.name, height, width, license, complete, [], apply_exif, digest
        )

    def _add_notes(self, name: str, header: image_files.Header, fit: image_files.Fit) -> None:
        orientation = f'orientation {header.orientation}'
        meant = 'displayed' if fit.apply_exif else 'stored'
        if fit.is_ambiguous:
            self.notes.add(f'EXIF orientation fits both ways, used as {meant}', name, orientation)
        elif header.orientation != 1 and meant != self.exif:
            # So the choice may be wrong for the images whose size does not tell.
            self.notes.add(f'size says that it is annotated as {meant}', name, orientation)
        if header.gray_bits and header.gray_bits < 16:
            self.notes.add(f'gray values use {header.gray_bits} of 16 bits, scaled to 8', name)


def _by(size: tuple[int, int]) -> str:
    return f'{size[0]}x{size[1]}'


class _Instances:
    """Reads annotation entries."""

    def __init__(
        self,
        images: _Images,
        categories: dict,
        crowds_as_instances: bool,
        document: Mapping[str, Any],
    ):
        self.images, self.categories, self.entries = images, categories, document['annotations']
        self.crowds_as_instances = crowds_as_instances
        self.named: collections.Counter[int | str | None] = collections.Counter()
        self.has_boxes = not document.get(COMPUTED)
        self.seen: dict[int, int] = {}  # id → position of its first entry

    @functools.cached_property
    def free_ids(self) -> Iterator[int]:
        """Parses all entries once more, so it is made only if an id is missing."""
        given = (id_key(entry.get('id')) for entry in self.entries if isinstance(entry, dict))
        used = {key for key in given if isinstance(key, int)}
        return free_ids(used, len(self.entries))

    def _id(self, position: int, entry: dict) -> int:
        key: Any = id_key(entry.get('id'))
        if not isinstance(key, int):
            self.images.skipped.add('repaired: annotation id missing or text', entry.get('id'))
        elif key not in self.seen:
            self.seen[key] = position
            return key
        elif self.entries[self.seen[key]] == entry:
            raise Broken('the same entry again')
        else:
            self.images.skipped.add('repaired: annotation id used before', key)
        return next(self.free_ids)

    def read(self, position: int, entry: Any) -> tuple[Image, Instance]:
        """Raises `Broken` with a reason and, if it explains more, the value."""
        if not isinstance(entry, dict):
            raise Broken('not an object')
        image_key, category_key = id_key(entry.get('image_id')), id_key(entry.get('category_id'))
        self.named[category_key] += 1
        image_id = self.images.ids.get(image_key) if image_key is not None else None
        if image_id is None:
            raise Broken('unknown image', entry.get('image_id'))
        if image_id not in self.images.images:
            raise Broken('its image is left out', entry.get('image_id'))
        if category_key is None or category_key not in self.categories:
            raise Broken('unknown category', entry.get('category_id'))
        given = entry.get('iscrowd')
        crowd = int(bool(given)) if isinstance(given, bool | None) else whole_number(given)
        if crowd not in (0, 1):
            raise Broken('iscrowd is neither 0 nor 1', given)
        key = self._id(position, entry)
        image, add = self.images.images[image_id], self.images.skipped.add
        segmentation, repaired = segmentations.normalize(entry.get('segmentation'))
        if not segmentation or isinstance(segmentation, list) and not any(segmentation):
            raise Broken(segmentations.why_no_outline(entry))
        rle = self._encode(segmentation, image, key)
        if repaired:
            add(f'repaired: {repaired}', key)
        if type(given) is not int and 'iscrowd' in entry:
            add('repaired: iscrowd is true, false, null or text', key)
        mask: Any = {'size': [image.height, image.width], 'counts': rle}
        bbox: Any = entry.get('bbox')
        area: Any = entry.get('area')
        # Polygons may be a little larger than the pixels they cover.
        pixels, most = int(mask_utils.area(mask)), 1.1 * image.height * image.width
        has_box = has_numbers(bbox) and len(bbox) == 4 and all(-1e6 < x < 1e6 for x in bbox)
        if not has_box or pixels and min(bbox[2:]) <= 0:
            if self.has_boxes:
                add('repaired: bbox taken from the mask', key)
            bbox = mask_utils.toBbox(mask).tolist()
        if not has_numbers([area]) or not 0 <= area <= most or pixels and not area:
            if self.has_boxes:
                add('repaired: area taken from the mask', key)
            area = pixels
        x, y, w, h = map(float, bbox)
        category, is_crowd = self.categories[category_key], crowd and not self.crowds_as_instances
        return image, Instance(key, category, float(area), (x, y, w, h), bool(is_crowd), rle)

    def _encode(self, segmentation: Any, image: Image, key: int) -> bytes:
        height, width = image.height, image.width
        annotated = self.images.annotated.get(image.id)
        in_runs = isinstance(segmentation, dict)
        if in_runs and annotated and segmentation.get('size') == list(annotated):
            rle, dropped = encode_segmentation(segmentation, *annotated)
            rle = segmentations.move_to(rle, annotated, (height, width))
        else:
            rle, dropped = encode_segmentation(segmentation, height, width)
        if dropped:
            self.images.skipped.add('polygon part: fewer than 3 points', key)
        if segmentations.has_nested_parts(segmentation, height, width):
            self.images.notes.add('polygon part inside another, filled as in COCO (a hole?)', key)
        if not mask_utils.area({'size': [height, width], 'counts': rle}):
            self.images.notes.add('mask without a pixel', key)
        return rle
