"""Finds copies of images within and across splits, and what they do to scores."""

import concurrent.futures
import hashlib
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from analysis.duplicates import leakage, search
from analysis.duplicates.options import make_parser
from analysis.duplicates.schema import PICTURED, SHOWN_OF_GROUP, Duplicates, Leakage, Member
from analysis.figures import contact_sheet
from analysis.pictures.schema import THUMB
from analysis.predictions import stage as predictions
from analysis.predictions.schema import Predictions
from analysis.stage import artifacts
from analysis.stage.contract import Stage
from analysis.stage.run import Analysis, open_examples
from segmentation import markdown
from segmentation.data import coco, transforms
from segmentation.data.examples import Examples
from segmentation.files import write_json

_DRAWN = 12  # groups in the figure, and rows of the table
Place = tuple[coco.CocoSplit, int]  # an image: its split and its position there


def _read(place: Place) -> tuple[np.ndarray, str, int]:
    """Gray values `[SIDE, SIDE]`, digest of the file and number of pixels of an image."""
    split, position = place
    record = split[position]
    image = transforms.decode_record(record, search.SIDE).convert('L')
    gray = transforms.resize(image.convert('RGB'), search.SIDE, (0.0, 0.0, 1.0, 1.0), True)
    digest = hashlib.sha256(record['image']).hexdigest()
    return gray[..., 0], digest, int(record['height']) * int(record['width'])


def _picture(place: Place) -> np.ndarray:
    split, position = place
    image = transforms.decode_record(split[position], THUMB)
    return transforms.resize(image, THUMB, (0.0, 0.0, 1.0, 1.0), True)


def _numbered(examples: Examples) -> dict[tuple[str, int], int]:
    """Row of each image of a part, by its split and its position there."""
    names = [examples.splits[number].name for number in examples.split_of]
    keys = zip(names, examples.position.tolist(), strict=True)
    return {key: row for row, key in enumerate(keys)}


def compute(analysis: Analysis) -> Duplicates:
    """Searches all splits of the data set; see the module's docstring."""
    prepared = coco.open_prepared(analysis.examples.splits[0].path)
    splits = [prepared.split(name) for name in prepared.splits]
    places = [(split, position) for split in splits for position in range(len(split))]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        reading = tqdm(pool.map(_read, places), desc='images', total=len(places), unit='img')
        gray = np.zeros((len(places), search.SIDE, search.SIDE), np.uint8)
        digests, pixels = [], np.zeros(len(places), np.int64)
        for number, (image, digest, size) in enumerate(reading):
            gray[number], pixels[number] = image, size
            digests.append(digest)
    found = search.find(gray, digests, pixels)
    rows, trained = _numbered(analysis.examples), None
    if not analysis.foreign:
        trained = _numbered(open_examples(analysis.run, 'train', str(prepared.path))[0])

    def members(copies: search.Copies) -> tuple[Member, ...]:
        made = []
        numbers = zip(copies.members, copies.kinds, copies.similarity, strict=True)
        for number, kinds, similarity in numbers:
            split, position = places[number]
            image_id, name = int(split.index.image_id[position]), split[position]['file_name']
            key = split.name, position
            made.append(
                Member(
                    image_id, split.name, name, rows.get(key), key in (trained or {}), kinds,
                    similarity,
                )
            )  # fmt: skip
        return tuple(made)

    pairs = [(members(copies), copies) for copies in found]
    pairs.sort(key=lambda pair: (_is_within(pair[0]), -max(m.similarity for m in pair[0][1:])))
    shown = [number for _, copies in pairs[:PICTURED] for number in copies.members[:SHOWN_OF_GROUP]]
    groups = tuple(group for group, _ in pairs)
    pictures = [_picture(places[number]) for number in shown]
    return Duplicates(
        len(places), prepared.fingerprint['id'], search.THRESHOLD, groups,
        None if trained is None or analysis.split == 'train' else _leakage(analysis, groups),
        np.array(pictures, np.uint8).reshape(-1, THUMB, THUMB, 3),
    )  # fmt: skip


def _is_within(group: Sequence[Member]) -> bool:
    return len({member.split for member in group}) == 1


def _leakage(analysis: Analysis, groups: Sequence[Sequence[Member]]) -> Leakage:
    leaked = np.zeros(len(analysis), bool)
    for group in groups:
        if any(member.is_trained_on for member in group):
            leaked[[m.row for m in group if m.row is not None and not m.is_trained_on]] = True
    confusions = artifacts.load(analysis, Predictions).confusions()
    return leakage.measure(confusions, leaked, analysis.class_names)


def table(result: Duplicates) -> str:
    """How many copies there are, of which kinds, and what they do to the scores."""
    across = [group for group in result.groups if not _is_within(group)]
    text = (
        f'{len(result.groups)} groups of copies among {result.num_images} images; '
        f'{len(across)} have images of several splits. Similarity is the correlation of fine '
        'structure with the first image, after alignment: of a copy at least '
        f'{result.threshold}, of a copy of a copy perhaps less.'
    )
    rows = [
        (
            f'{group[0].split} {group[0].image_id}', f'{member.split} {member.image_id}',
            ', '.join(member.kinds), f'{member.similarity:.3f}',
        )
        for group in result.groups[:_DRAWN]
        for member in group[1:]
    ]  # fmt: skip
    parts = [text]
    if rows:
        parts.append(markdown.table(('image', 'its copy', 'what differs', 'similarity'), rows))
    if more := len(result.groups) - _DRAWN:
        parts += [f'{more} more groups are in duplicates.json.'] if more > 0 else []
    if found := result.leakage:
        parts.append(f'{found.images} images of this view have a copy among the training images.')
        scores = [
            (score.name, markdown.number(score.all), markdown.number(score.without),
             markdown.number(score.difference, score.interval))
            for score in found.scores
        ]  # fmt: skip
        header = 'IoU over the set', 'all images', 'without them', 'difference'
        parts += [markdown.table(header, scores)] if found.images else []
    return '\n\n'.join(parts)


def write(analysis: Analysis, result: Duplicates) -> list[pathlib.Path]:
    """Writes both files of image ids, and draws the first groups, if there are any."""
    ids = [sorted({member.image_id for member in group}) for group in result.groups]
    leaked = {
        member.image_id
        for group in result.groups
        if any(member.row is not None and not member.is_trained_on for member in group)
        for member in group
        if member.is_trained_on
    }
    files = [analysis.folder / name for name in ('groups.json', 'leaked.json')]
    head = {'fingerprint': result.fingerprint}
    write_json(files[0], {**head, 'groups': [group for group in ids if len(group) > 1]})
    write_json(files[1], {**head, 'ids': sorted(leaked)})
    pictures = iter(result.pictures)
    rows, captions = [], []
    for group in result.groups[:_DRAWN]:
        shown = group[:SHOWN_OF_GROUP]
        title = ', '.join(dict.fromkeys(kind for member in shown for kind in member.kinds))
        rows.append((title, [next(pictures) for _ in shown]))
        captions.append([f'{m.split} {m.image_id}\n{m.similarity:.3f}' for m in shown])
    if rows:
        files.append(analysis.folder / 'duplicates.png')
        contact_sheet.draw(rows, files[-1], captions)
    return files


STAGE = Stage(Duplicates, make_parser, compute, table, write, reads=(predictions.STAGE,))
main = STAGE.main
