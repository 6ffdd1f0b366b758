"""Applies corrections to a COCO document: which annotations are changed, removed and added.

A changed or added annotation gets its mask as run lengths without loss, and a field `source` that
says why. Corrections that do not fit the file are counted by reason; none is applied in part.
"""

import collections
import dataclasses
import json
import pathlib
import unicodedata
import urllib.parse
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image as Pillow
from pycocotools import mask as mask_utils

from segmentation.data import coco_files, image_files, layouts, segmentations
from segmentation.data.corrections import document as documents
from segmentation.data.corrections.decisions import Correction
from segmentation.data.corrections.document import Document, Edit
from segmentation.data.entries import (
    Skipped,
    category_name,
    file_name,
    free_ids,
    id_key,
    numbered,
    whole_number,
)
from segmentation.data.segmentations import Broken

UNKNOWN_IMAGE = 'image is in none of the files, or several have its name'
ALREADY = 'is as it should be already'


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What corrections change in one file."""

    edits: list[Edit]
    # (action, category before, category after) → number of annotations; '' for none.
    counts: dict[tuple[str, str, str], int]


def enlarge(region: bytes, size: tuple[int, int], height: int, width: int) -> np.ndarray:
    """A mask of another resolution at that of the image, bool `[height, width]`.

    Interpolated bilinearly and cut at one half, so its outline is smooth but no more exact than the
    region's own resolution. A region that would vanish is enlarged by nearest neighbors.

    Args:
      region: run lengths of a mask of `size`, (height, width), as pycocotools decodes them.
      size: see `region`.
      height: of the image in pixels.
      width: of the image in pixels.
    """
    mask = mask_utils.decode({'size': list(size), 'counts': region})
    if size == (height, width):
        return mask.astype(np.bool_)
    picture = Pillow.fromarray(255 * mask)
    soft = np.asarray(picture.resize((width, height), Pillow.Resampling.BILINEAR)) >= 128
    if soft.any():
        return soft
    return np.asarray(picture.resize((width, height), Pillow.Resampling.NEAREST)) > 0


class Corrector:
    """Collects corrections of one annotation file."""

    def __init__(
        self,
        document: Document,
        members: Mapping[str, Iterable[str]],
        shared: Container[str] = (),
        split: str = '',
    ):
        """Args:
        document: of the file.
        members: names of the categories by class of the label space, for corrections that name a
          class.
        shared: names (see `forms`) that images of several files have: there the id decides, unless
          a correction names the split.
        split: of the file.
        """
        self._document = document
        content = document.content
        found: dict[int | str, dict] = {}  # the first image of each id, as in the prepared data set
        for entry in content['images']:
            if isinstance(entry, dict) and (key := id_key(entry.get('id'))) is not None:
                found.setdefault(key, entry)
        self._ids = numbered(found)
        self._images = {self._ids[key]: entry for key, entry in found.items()}
        self._shared, self.split = shared, split
        self._by_name: dict[str, list[int]] = {}  # numbers of images by each of `forms`
        for number, entry in self._images.items():
            for form in forms(file_name(entry)):
                self._by_name.setdefault(form, []).append(number)
        self._members = members
        self._names: dict[int | str, str] = {}  # of categories, by id
        self._groups: dict[str, set[int | str]] = {}  # super-category → ids
        for entry in content['categories']:
            key = id_key(entry.get('id')) if isinstance(entry, dict) else None
            if key is not None and (name := category_name(entry.get('name'))):
                self._names[key] = name
                if group := category_name(entry.get('supercategory')):
                    self._groups.setdefault(group, set()).add(key)
        self._entries: list[Any] = content['annotations']
        self._place: dict[int, int] = {}  # position by annotation id; -1 if several have it
        self._by_image: dict[int, list[int]] = {}
        for position, entry in enumerate(self._entries):
            if not isinstance(entry, dict):
                continue
            if isinstance(key := id_key(entry.get('id')), int):
                self._place[key] = -1 if key in self._place else position
            if (image_id := self._image_of(entry)) is not None:
                self._by_image.setdefault(image_id, []).append(position)
        self._free = free_ids(self._place.keys(), len(self._entries) + 1_000_000)
        self._changed: dict[int, dict] = {}
        self._removed: set[int] = set()
        self._added: list[dict] = []
        self._counts: collections.Counter[tuple[str, str, str]] = collections.Counter()

    def _image_of(self, entry: dict) -> int | None:
        """The number of the image of an annotation."""
        key = id_key(entry.get('image_id'))
        return None if key is None else self._ids.get(key)

    def find(self, correction: Correction) -> int | None:
        """The number of the image in this file; None if it is not here.

        Ids that are text are numbered as in the prepared data set, which numbers images again if
        two splits use the same numbers. So an image with another id is found by the name of its
        file, if only one of its split has it, or only one of all. Only if no image has exactly its
        name, one counts whose name is only written differently.
        """
        entry = self._images.get(correction.image_id)
        if not stem(correction.file_name):
            return None if entry is None else correction.image_id
        mine = forms(file_name(entry))
        is_here = bool(self.split) and correction.split == self.split
        for form in forms(correction.file_name):
            if entry is not None and form in mine:
                return correction.image_id
            if found := self._by_name.get(form):
                alias = forms(correction.file_name)[1]
                # Of img_1.png and IMG_1.JPG, the second may be what was prepared as img_1.jpg.
                is_sure = len(self._by_name.get(alias, found)) == 1 or (
                    path_of(correction.file_name).name
                    == path_of(file_name(self._images[found[0]])).name
                )
                if entry is not None and alias in mine and not is_sure:
                    return correction.image_id
                is_known = len(found) == 1 and (is_here or form not in self._shared)
                return found[0] if is_known and is_sure else None
        return None

    def add(self, correction: Correction) -> None:
        """Adds one correction.

        Raises:
          Broken: it does not fit the file; with the reason, which quotes nothing of the data.
        """
        image_id = self.find(correction)
        if image_id is None:
            raise Broken(UNKNOWN_IMAGE)
        image = self._images[image_id]
        if correction.action == 'add':
            self._add_instance(correction, image_id)
            return
        place = self._place.get(correction.annotation_id or 0)
        if place is None:
            raise Broken('annotation is no longer there')
        if place < 0:
            raise Broken('annotation id is used twice in the file')
        entry = self._entries[place]
        if self._image_of(entry) != image_id:
            raise Broken('annotation id belongs to another image')
        if place in self._removed or place in self._changed:
            raise Broken('another correction of the same annotation comes first')
        before = self._category_of(entry)
        if correction.action == 'remove':
            self._removed.add(place)
            self._counts['remove', before, ''] += 1
            return
        category = self.category(correction.category, correction.is_class)
        if category == id_key(entry.get('category_id')):
            raise Broken(ALREADY)
        height, width = _size(image)
        segmentation, _ = segmentations.normalize(entry.get('segmentation'))
        rle, _ = segmentations.encode_segmentation(segmentation, height, width)
        new = {**entry, 'category_id': category, 'segmentation': _written(rle, height, width)}
        new['source'] = {**_why(correction), 'category_before': before}
        try:
            json.dumps(new, allow_nan=False)
        except ValueError as error:
            raise Broken('annotation has numbers that are not finite') from error
        self._changed[place] = new
        self._counts['change', before, self._names[category]] += 1

    def _add_instance(self, correction: Correction, image_id: int) -> None:
        image = self._images[image_id]
        category = self.category(correction.category, correction.is_class)
        height, width = _size(image)
        mask = enlarge(correction.region, correction.size, height, width)
        if not mask.any():
            raise Broken('region has no pixel')
        rle: Any = mask_utils.encode(np.asfortranarray(mask, np.uint8))
        segmentation = _written(rle['counts'], height, width)
        mine = [self._entries[place] for place in self._by_image.get(image_id, ())]
        added = [entry for entry in self._added if entry['image_id'] == image['id']]
        for other in (*mine, *added):
            same = other.get('segmentation') == segmentation
            if same and id_key(other.get('category_id')) == category:
                raise Broken(ALREADY)
        source = _why(correction)
        if correction.size != (height, width):
            source['enlarged_from'] = list(correction.size)
        self._added.append(
            {
                'id': next(self._free),
                'image_id': image['id'],
                'category_id': category,
                'segmentation': segmentation,
                'area': int(mask.sum()),
                'bbox': mask_utils.toBbox(rle).tolist(),
                'iscrowd': 0,
                'source': source,
            }
        )
        self._counts['add', '', self._names[category]] += 1

    def category(self, name: str, is_class: bool = False) -> int | str:
        """The id of a category, or of the only category of a class.

        A class of several categories can have the name of one of them: `is_class` says that the
        class is meant.

        Raises:
          Broken: there is none, or a class has several.
        """
        is_class = is_class and name in self._members
        found = {key for key, known in self._names.items() if known == name and not is_class}
        members = set() if found else set(self._members.get(name, ()))
        for member in members:
            mine = {key for key, known in self._names.items() if known == member}
            found |= mine or self._groups.get(member, set())
        # Another one may be in the files of other splits only.
        if len(found) > 1 or len(members) > 1:
            raise Broken('class has several categories: choose one in the report', name)
        if not found:
            raise Broken('unknown category', name)
        return found.pop()

    def _category_of(self, entry: dict) -> str:
        key = id_key(entry.get('category_id'))
        return str(key) if key is None else self._names.get(key, str(key))

    def finish(self) -> Outcome:
        """The edits of all corrections that were added."""
        edits = documents.edits(self._document, self._changed, self._removed, self._added)
        return Outcome(edits, dict(sorted(self._counts.items())))


def correct(
    corrector: Corrector, corrections: Iterable[Correction], skipped: Skipped
) -> list[Correction]:
    """Adds corrections to a file; counts those that do not fit it.

    Returns:
      Corrections of images that are not in this file.
    """
    elsewhere = []
    for correction in corrections:
        if corrector.find(correction) is None:
            elsewhere.append(correction)
            continue
        try:
            corrector.add(correction)
        except Broken as broken:
            example = correction.annotation_id or correction.image_id
            skipped.add(f'{correction.action}: {broken}', example, broken.value)
    return elsewhere


def is_elsewhere(split: str, source: str, splits: Container[str]) -> bool:
    """Whether a split is surely not that of a file, be it one that is not corrected now.

    Args:
      split: its name.
      source: name of the split of the file.
      splits: names of all splits that are corrected.
    """
    usual, of_source = layouts.usual_name(split), layouts.usual_name(source)
    return split != source and (split in splits or bool(usual and of_source and usual != of_source))


def resolve(split: str, splits: Sequence[str]) -> str:
    """The name that a split has among these: a run may say 'val' of the split 'valid'."""
    usual = layouts.usual_name(split)
    same = [each for each in splits if usual and layouts.usual_name(each) == usual]
    return split if split in splits or len(same) != 1 else same[0]


def stem(name: str | None) -> str:
    """The name of a file without its path and ending: tools write both in different ways."""
    return path_of(name).stem


def path_of(name: str | None) -> pathlib.PurePosixPath:
    """The name of a file, whose parts some tools separate by backslashes, as a path."""
    return pathlib.PurePosixPath((name or '').replace('\\', '/'))


def forms(name: str | None) -> tuple[str, str]:
    """Two names by which the image of a file is known, the exact one first: see `stem`.

    The other one lacks what `coco_files` overlooks when it looks for a file, and what may so differ
    between annotations and prepared data: case, composed letters, %20, no ending. It begins with a
    slash, which no exact name has.
    """
    path = path_of(urllib.parse.unquote(name or ''))
    plain = path.stem if path.suffix.lower() in coco_files.IMAGE_SUFFIXES else path.name
    return stem(name), f'/{unicodedata.normalize("NFC", plain).lower()}'


def _size(image: dict) -> tuple[int, int]:
    height, width = (whole_number(image.get(key)) or 0 for key in ('height', 'width'))
    if min(height, width) < 1 or not image_files.is_bounded(width, height):
        raise Broken('image has no usable width and height')
    return height, width


def _written(rle: bytes, height: int, width: int) -> dict[str, Any]:
    return {'size': [height, width], 'counts': rle.decode('ascii')}


def _why(correction: Correction) -> dict[str, Any]:
    """The field `source` of an annotation."""
    why = {'correction': correction.action, 'kind': correction.kind, 'score': correction.score}
    return {key: value for key, value in why.items() if value not in ('', None)}
