"""Scores label issues against corrections of the data set that other people made.

    python scripts/experiments/score_on_reannotations.py --workdir runs/folds/my/seed0-fold0 \\
        --pool runs/folds/my/seed0-fold1 runs/folds/my/seed0-fold2 --truth corrections

A network finds label errors only in images that it was not trained on: use val, or the folds of an
experiment with --pool. TRUTH is a folder with two lists (JSON):

    records.json   errors: image_id, kind (missing, wrong_class, sloppy or spurious), category and,
                   of a wrong class, correct_category; in_scope (the category is completely
                   annotated in the image); where known, bbox_scaled (x, y, width, height in pixels
                   of the prepared images), our_ann_id, and twin_ann_id (a second annotation of the
                   same object)
    presence.json  verdicts: image_id, category, present (true or false)

Records count if they are in scope, have a box, and have a category of the run's label space in one
of its images. A finding is right if it has the kind of a record in its image, and is about the same
annotation or overlaps its box by an IoU of at least 0.3. Lists of corrections are not exhaustive:
they measure recall. Precision is measured where verdicts speak about a missing instance.

The baselines are cleanlab's softmin score, which ranks images, and a random order. Objects that are
labeled twice need no network; they are searched in all splits of the data set.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.stage.command import add_force, add_pool, make_parser, run_command
from analysis.stage.run import Analysis, open_pool
from segmentation import markdown
from segmentation.data import coco, label_spaces
from segmentation.data.double_labels import labeled_twice

KINDS = {
    'missing': 'missing instance',
    'wrong_class': 'wrong class',
    'sloppy': 'sloppy outline',
    'spurious': 'spurious label',
}
DEPTHS = 20, 50  # findings per kind that somebody looks at
_MIN_IOU = 0.3


@dataclasses.dataclass(frozen=True)
class Finding:
    """A label issue of an image."""

    image_id: int
    kind: str
    score: float
    suggested: str  # class
    annotation_id: int | None
    box: tuple[float, float, float, float]  # left, top, right, bottom as shares of the image


def box_iou(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two boxes, each left, top, right, bottom."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    union = sum((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)) - overlap
    return overlap / union if union > 0 else 0.0


def read_list(path: pathlib.Path, fields: set[str]) -> list[dict[str, Any]]:
    """Reads one of the lists.

    Raises:
      ValueError: it is missing, is not a list of objects, or lacks a field.
    """
    try:
        rows = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f'{path} cannot be read: {error}') from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f'{path} must be a list of objects.')
    for number, row in enumerate(rows):
        if missing := fields - row.keys():
            raise ValueError(f'{path}: entry {number} lacks {", ".join(sorted(missing))}.')
    return rows


def is_found(record: dict[str, Any], finding: Finding, class_of: dict[str, str]) -> bool:
    """Whether a finding of the record's kind is about the same object.

    `class_of` is the class of each category's name.
    """
    if finding.image_id != record['image_id']:
        return False
    if record['kind'] == 'missing':
        if finding.suggested != class_of.get(record['category']):
            return False
    elif finding.annotation_id is not None and finding.annotation_id in (
        record['our_ann_id'], record['twin_ann_id'],
    ):  # fmt: skip
        return True
    return box_iou(record['box'], finding.box) >= _MIN_IOU


def interval(count: int, total: int) -> str:
    """A share with its 95 % interval (Wilson)."""
    if not total:
        return '–'
    from scipy import stats  # here, as it takes long to import

    low, high = stats.binomtest(count, total).proportion_ci(method='wilson')
    return f'{count / total:.2f} ({low:.2f}, {high:.2f})'


def recalls(
    records: Sequence[dict[str, Any]],
    findings: Sequence[Finding],
    softmin: dict[int, float],
    class_of: dict[str, str],
    images: int,
) -> list[dict[str, Any]]:
    """Share of the records of each kind that the first findings, or images, contain.

    Args:
      records: with `box`, as `Finding.box`.
      findings: of all kinds.
      softmin: label quality by image id, low for suspicious images; may be empty.
      class_of: class by name of category.
      images: how many were searched.

    Returns:
      For each kind and number of findings: `kind`, `first`, `records` and the numbers `found`,
      `images` (records in the images of these findings), `softmin` (records in as many images; None
      without label quality) and `random` (the expectation of it).
    """
    worst = sorted(softmin, key=softmin.__getitem__)
    rows = []
    for short, kind in KINDS.items():
        mine = [record for record in records if record['kind'] == short]
        ranked = sorted((f for f in findings if f.kind == kind), key=lambda f: -f.score)
        for first in DEPTHS:
            top = ranked[:first]
            shown = {finding.image_id for finding in top}
            same = worst[: len(shown)]  # as many images
            found = sum(any(is_found(r, f, class_of) for f in top) for r in mine)
            rows.append({
                'kind': kind,
                'first': first,
                'records': len(mine),
                'found': found,
                'images': sum(record['image_id'] in shown for record in mine),
                'softmin': sum(r['image_id'] in same for r in mine) if worst else None,
                'random': len(mine) * min(1.0, len(shown) / images),
            })  # fmt: skip
    return rows


def precision(
    verdicts: Sequence[dict[str, Any]], findings: Sequence[Finding], class_of: dict[str, str]
) -> dict[str, int]:
    """How many of the first missing instances the verdicts confirm and refute.

    A claim about a class is confirmed if a person saw a category of it in the image, and refuted if
    a person said so of all its categories.
    """
    seen: dict[tuple[int, str], dict[str, bool]] = {}
    for verdict in verdicts:
        name = class_of.get(verdict['category'])
        if name and verdict['present'] is not None:
            seen.setdefault((verdict['image_id'], name), {})[verdict['category']] = verdict[
                'present'
            ]
    sizes = {name: list(class_of.values()).count(name) for name in set(class_of.values())}
    ranked = sorted((f for f in findings if f.kind == KINDS['missing']), key=lambda f: -f.score)
    confirmed = refuted = 0
    for finding in ranked[: DEPTHS[-1]]:
        said = seen.get((finding.image_id, finding.suggested), {})
        confirmed += any(said.values())
        refuted += len(said) == sizes.get(finding.suggested) and not any(said.values())
    return {'confirmed': confirmed, 'refuted': refuted}


def twice(prepared: coco.Prepared, records: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Objects of the data set that are labeled twice, and how many of the records they are."""
    found = set()
    for name in prepared.splits:
        split = prepared.split(name)
        for number in range(len(split)):
            record = split[number]
            ids = record['instances']['id'].tolist()
            found |= {frozenset((ids[a], ids[b])) for a, b, _ in labeled_twice(record)}
    pairs = [
        frozenset((record['our_ann_id'], record['twin_ann_id']))
        for record in records
        if record['twin_ann_id'] is not None
    ]
    return {'pairs': len(found), 'records': len(pairs), 'found': sum(p in found for p in pairs)}


def find(analyses: Sequence[Analysis], force: bool) -> tuple[list[Finding], dict[int, float]]:
    """Label issues of all runs, and cleanlab's label quality by image id, if it is installed."""
    from analysis.label_issues import stage as label_issues

    findings, softmin = [], {}
    for analysis in analyses:
        result = label_issues.STAGE.get(analysis, force)
        ids = analysis.image_ids.tolist()
        quality = zip(ids, result.label_quality.tolist(), strict=True)
        softmin |= {image_id: value for image_id, value in quality if not np.isnan(value)}
        for row in result.regions.to_pylist():
            box = row['left'], row['top'], row['right'], row['bottom']
            findings.append(
                Finding(
                    ids[row['row']], row['kind'], row['score'], row['suggested'],
                    row['annotation_id'], box,
                )
            )  # fmt: skip
    return findings, softmin


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    wanted = {'image_id', 'kind', 'category', 'in_scope'}
    records = read_list(arguments.truth / 'records.json', wanted)
    verdicts = read_list(arguments.truth / 'presence.json', {'image_id', 'category', 'present'})
    analyses = open_pool(arguments)
    first = analyses[0]
    space = label_spaces.parse_label_space(first.config.data.label_space)
    categories = first.examples.splits[0].categories
    numbers = space.category_to_class(categories)
    class_of = {c.name: space.class_names[numbers[c.id]] for c in categories if c.id in numbers}
    sizes = {}
    for analysis in analyses:
        for row, image_id in enumerate(analysis.image_ids.tolist()):
            record = analysis.examples.record(row)
            sizes[image_id] = int(record['width']), int(record['height'])
    usable = [
        {**dict.fromkeys(('our_ann_id', 'twin_ann_id', 'correct_category')), **record}
        for record in records
        if record['in_scope'] and record.get('bbox_scaled')
    ]
    scored = []
    for record in usable:
        named = {record['category'], record['correct_category']} & class_of.keys()
        if named and record['image_id'] in sizes and record['kind'] in KINDS:
            x, y, w, h = record['bbox_scaled']
            width, height = sizes[record['image_id']]
            box = x / width, y / height, (x + w) / width, (y + h) / height
            scored.append({**record, 'box': box})
    findings, softmin = find(analyses, arguments.force)
    result = {
        'images': len(sizes),
        'recall': recalls(scored, findings, softmin, class_of, len(sizes)),
        'precision': precision(verdicts, findings, class_of),
        'labeled_twice': twice(coco.open_prepared(first.examples.splits[0].path), usable),
    }
    rows = [
        (
            row['kind'], f'{row["first"]}',
            *(
                '–' if row[key] is None else interval(row[key], row['records'])
                for key in ('found', 'images', 'softmin')
            ),
            f'{row["random"] / row["records"]:.2f}' if row['records'] else '–',
            f'{row["records"]}',
        )
        for row in result['recall']
    ]  # fmt: skip
    header = ('kind', 'first', 'found', 'in its images', 'softmin', 'random', 'records')
    said, pairs = result['precision'], result['labeled_twice']
    print(
        f'{len(sizes)} images, {len(scored)} records.',
        markdown.table(header, rows),
        f'Of the first {DEPTHS[-1]} missing instances, people confirm {said["confirmed"]} and '
        f'refute {said["refuted"]}; the others have no verdict.',
        f'{pairs["pairs"]} objects of the data set are labeled twice. Of {pairs["records"]} in the '
        f'records, {pairs["found"]} are among them.',
        sep='\n\n',
    )
    return result


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = make_parser('', __doc__)
    parser.prog = pathlib.Path(__file__).name
    add_pool(parser)
    about = 'folder with records.json and presence.json'
    parser.add_argument('--truth', type=pathlib.Path, required=True, help=about)
    add_force(parser)
    return run_command(parser.parse_args(argv), _run)


if __name__ == '__main__':
    sys.exit(main())
