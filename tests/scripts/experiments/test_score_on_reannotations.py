"""Label issues against corrections of other people: a hand-made case, and the command."""

import json
import shutil

import pytest

from scripts.experiments import score_on_reannotations as command
from scripts.experiments.score_on_reannotations import Finding

CLASSES = {'person': 'person', 'car': 'vehicle', 'bus': 'vehicle'}
BOX, ELSEWHERE = (0.1, 0.1, 0.5, 0.5), (0.6, 0.6, 0.9, 0.9)


def record(image_id, kind, category='car', **fields):
    return {
        'image_id': image_id, 'kind': kind, 'category': category, 'box': BOX,
        'our_ann_id': None, 'twin_ann_id': None, **fields,
    }  # fmt: skip


def finding(image_id, kind, score, suggested='vehicle', annotation_id=None, box=BOX):
    return Finding(image_id, kind, score, suggested, annotation_id, box)


def test_box_iou():
    assert command.box_iou(BOX, BOX) == 1
    assert command.box_iou(BOX, ELSEWHERE) == 0
    assert command.box_iou((0, 0, 1, 1), (0.5, 0, 1.5, 1)) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ('found', 'expected'),
    [
        (finding(1, 'missing instance', 0.9), True),
        (finding(2, 'missing instance', 0.9), False),  # another image
        (finding(1, 'missing instance', 0.9, suggested='person'), False),
        (finding(1, 'missing instance', 0.9, box=ELSEWHERE), False),
    ],
)
def test_missing_instance_needs_its_class_and_place(found, expected):
    assert command.is_found(record(1, 'missing'), found, CLASSES) == expected


@pytest.mark.parametrize(('annotation_id', 'expected'), [(7, True), (8, True), (9, False)])
def test_an_annotation_or_its_twin_is_found_by_its_id(annotation_id, expected):
    wrong = record(1, 'wrong_class', our_ann_id=7, twin_ann_id=8)
    found = finding(1, 'wrong class', 0.5, 'person', annotation_id, ELSEWHERE)
    assert command.is_found(wrong, found, CLASSES) == expected


def test_recall_counts_the_first_findings_of_the_kind(monkeypatch):
    monkeypatch.setattr(command, 'DEPTHS', (1, 3))
    records = [record(1, 'missing'), record(2, 'missing'), record(3, 'spurious', our_ann_id=5)]
    findings = [
        finding(1, 'missing instance', 0.5, box=ELSEWHERE),
        finding(9, 'missing instance', 0.9),
        finding(2, 'missing instance', 0.4),
        finding(3, 'missing instance', 0.3),
        finding(3, 'spurious label', 0.1, annotation_id=5),
    ]
    softmin = {1: 0.1, 2: 0.9, 3: 0.2, 9: 0.3}
    rows = command.recalls(records, findings, softmin, CLASSES, images=4)
    by_name = {(row['kind'], row['first']): row for row in rows}
    first, three = by_name['missing instance', 1], by_name['missing instance', 3]
    assert (first['found'], first['images'], first['softmin'], first['random']) == (0, 0, 1, 0.5)
    assert (three['found'], three['images'], three['softmin'], three['random']) == (1, 2, 1, 1.5)
    assert by_name['spurious label', 1]['found'] == 1
    assert by_name['wrong class', 3]['records'] == 0
    # Without cleanlab there is nothing to compare with; a random order there is.
    row, *_ = command.recalls(records, findings, {}, CLASSES, images=4)
    assert (row['softmin'], row['random']) == (None, 0.5)


def test_verdicts_confirm_and_refute():
    verdicts = [
        {'image_id': 1, 'category': 'car', 'present': False},
        {'image_id': 1, 'category': 'bus', 'present': False},
        {'image_id': 2, 'category': 'car', 'present': False},  # it may be a bus
        {'image_id': 3, 'category': 'bus', 'present': True},
        {'image_id': 4, 'category': 'person', 'present': None},
        {'image_id': 5, 'category': 'zebra', 'present': True},
    ]
    findings = [finding(n, 'missing instance', 0.5) for n in (1, 2, 3, 4, 5)]
    said = command.precision(verdicts, findings, CLASSES)
    assert said == {'confirmed': 1, 'refuted': 1}


def test_command_scores_a_run(tiny_run, tmp_path, capsys):
    folder = tmp_path / 'truth'
    folder.mkdir()
    records = [
        {
            'image_id': 1000, 'kind': 'missing', 'category': 'person', 'in_scope': True,
            'bbox_scaled': [0, 0, 40, 56],
        },
        {
            'image_id': 4, 'kind': 'missing', 'category': 'person', 'in_scope': True,
            'bbox_scaled': [0, 0, 4, 5], 'our_ann_id': None,
        },
    ]  # fmt: skip
    (folder / 'records.json').write_text(json.dumps(records))
    (folder / 'presence.json').write_text('[]')
    workdir = shutil.copytree(tiny_run, tmp_path / 'run')
    arguments = ['--workdir', str(workdir), '--truth', str(folder)]
    assert command.main([*arguments, '--json', str(tmp_path / 'out.json')]) == 0
    result = json.loads((tmp_path / 'out.json').read_text())
    assert {row['records'] for row in result['recall'] if row['kind'] == 'missing instance'} == {1}
    assert 'missing instance' in capsys.readouterr().out
    (folder / 'presence.json').write_text('[{"image_id": 1}]')
    assert command.main(arguments) == 1
    assert 'entry 0 lacks category, present' in capsys.readouterr().err
    (folder / 'records.json').write_text('{')
    assert command.main(arguments) == 1
    assert 'records.json cannot be read' in capsys.readouterr().err
