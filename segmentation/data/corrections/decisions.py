"""What a reviewer decided: corrections of annotations, as the report exports them.

The report's `exclude.json` has `decisions` by image id, besides the excluded images. A decision has
`regions`, the verdict on each suspicious region ('accept': the label is wrong, 'reject': it is
correct), and `corrections`, what to do about those that are accepted:

    {"action": "add", "category": "person", "annotation_id": null, "file_name": "7.jpg",
     "split": "val", "kind": "missing instance", "score": 0.91,
     "region": {"size": [128, 128], "counts": "…"}}

`action` is one of `ACTIONS`. `category` is the name of a category, or of a class with one category.
`region` is a mask of the image as run lengths, of any resolution.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from segmentation.data import image_files, segmentations
from segmentation.data.entries import Skipped, is_id, is_text

# add: an instance is missing. remove: there is no such object. change: it has another category.
ACTIONS = ('add', 'remove', 'change')
NO_CORRECTION = 'label is wrong, but no correction was chosen (draw it in an annotation tool)'


@dataclasses.dataclass(frozen=True, slots=True)
class Correction:
    """One change of the annotations of an image."""

    action: str  # one of `ACTIONS`
    image_id: int
    annotation_id: int | None = None  # None if an instance is added
    category: str = ''  # name; empty if an annotation is removed
    # The mask of an added instance: run lengths and (height, width), of any resolution.
    region: bytes = b''
    size: tuple[int, int] = (0, 0)
    file_name: str = ''  # of the image, to recognize it; empty if it is not known
    split: str = ''  # of the image: an image can be in two; empty if it is not known
    kind: str = ''  # of the label issue behind it
    score: float | None = None  # of that issue, 0–1
    is_class: bool = (
        False  # `category` names a class, as the network does, though a category may too
    )

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f'unknown action {self.action!r}: use one of {", ".join(ACTIONS)}')


def read(path: pathlib.Path, fingerprint: str | None = None) -> tuple[list[Correction], Skipped]:
    """Reads the corrections of a file, most suspicious first, and what cannot be used of it.

    Args:
      path: of the file that the report exported.
      fingerprint: `id` of the data set's fingerprint; a file of another data set is refused.

    Raises:
      ValueError: another format or data set.
    """
    try:
        document = json.loads(path.read_text(encoding='utf-8-sig'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} cannot be read as JSON: {error}') from error
    decisions = document.get('decisions') if isinstance(document, dict) else None
    if not isinstance(decisions, dict):
        raise ValueError(
            f"{path} has no 'decisions': export them in the report (Findings, Label issues). A "
            'list of images to exclude does not say what to correct'
        )
    made_for = document.get('fingerprint')
    if fingerprint and made_for != fingerprint:
        raise ValueError(
            f'{path} was made for another data set: fingerprint {ascii(made_for)[:80]} instead of '
            f'{fingerprint!r}. With --source, ids and file names alone decide'
        )
    skipped, result = Skipped(), []
    for key, decision in decisions.items():
        is_image = key.isascii() and key.isdecimal() and is_id(int(key[:30]))
        if not is_image or not isinstance(decision, dict):
            skipped.add('decision: not an image id with a decision', key)
            continue
        result += list(_of_image(int(key), decision, skipped))
    result.sort(key=lambda correction: -(correction.score or 0))
    return result, skipped


def _of_image(image_id: int, decision: dict, skipped: Skipped) -> Iterator[Correction]:
    verdicts, given = decision.get('regions'), decision.get('corrections')
    corrections = given if isinstance(given, dict) else {}
    for key, verdict in (verdicts if isinstance(verdicts, dict) else {}).items():
        if verdict == 'accept' and key not in corrections:
            skipped.add(NO_CORRECTION, image_id, key)
        elif verdict == 'accept':
            try:
                yield parse(image_id, corrections[key])
            except ValueError as error:
                skipped.add(f'correction: {error}', image_id, key)


def parse(image_id: int, entry: Any) -> Correction:
    """Checks one correction of a file.

    Raises:
      ValueError: with the reason, which quotes nothing of the data.
    """
    if not isinstance(entry, dict) or entry.get('action') not in ACTIONS:
        raise ValueError('unknown action')
    action, annotation_id = entry['action'], entry.get('annotation_id')
    category = entry.get('category')
    category = category if is_text(category) else ''
    if action != 'remove' and not category:
        raise ValueError('no category')
    if action != 'add' and not is_id(annotation_id):
        raise ValueError('no annotation id')
    region, size = b'', (0, 0)
    if action == 'add':
        mask = entry.get('region')
        given = mask.get('size') if isinstance(mask, dict) else None
        if not isinstance(given, list) or list(map(type, given)) != [int, int]:
            raise ValueError('no region')
        size = given[0], given[1]
        if min(size) < 1 or not image_files.is_bounded(size[1], size[0]):
            raise ValueError('size of the region')
        region, _ = segmentations.encode_segmentation(mask, *size)
    name, split, kind = (entry.get(key) for key in ('file_name', 'split', 'kind'))
    given = entry.get('score')
    score = float(given) if isinstance(given, float | int) and abs(given) < 1e9 else None
    return Correction(
        action, image_id, None if action == 'add' else annotation_id,
        '' if action == 'remove' else category, region, size,
        name if is_text(name) else '', split if is_text(split) else '',
        kind if is_text(kind) else '', score,
    )  # fmt: skip
