"""A few fuzzed files, and that crashes, time-outs and wrong masks would be noticed."""

import json
import sys

import pytest
from pycocotools import mask as mask_utils

from scripts.robustness import fuzz_annotations
from segmentation.data import annotations


def test_fuzzed_files_are_taken_skipped_or_refused_and_counted(tmp_path, capsys):
    arguments = ['--workdir', str(tmp_path), '--seed', '7', '--json', str(tmp_path / 'out.json')]
    assert fuzz_annotations.main([*arguments, '--count', '150']) == 0
    first = json.loads((tmp_path / 'out.json').read_text())
    assert sum(n for row in first['table'].values() for n in row.values()) == 150
    assert len(first['table']) >= 9 and first['wrong'] == {}
    assert first['table']['nothing'] == {'unchanged': sum(first['table']['nothing'].values())}
    # Stopped in the middle of a line, it goes on from there.
    path = tmp_path / 'results.jsonl'
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(''.join(lines[:140]) + lines[140][:10])
    assert fuzz_annotations.main([*arguments, '--count', '150']) == 0
    again = json.loads((tmp_path / 'out.json').read_text())
    assert again['table'] == first['table']
    assert [json.loads(line)['number'] for line in path.open()] == list(range(150))
    assert '| what was done | files |' in capsys.readouterr().out
    assert fuzz_annotations.main([*arguments, '--seed', '8']) == 1
    assert 'is of seed 7' in capsys.readouterr().err


def test_strings_of_run_lengths_are_those_of_coco():
    for runs in ([5, 3, 112], [0, 120], [40, 1, 1, 70, 3, 5], [120]):
        rle = mask_utils.frPyObjects({'size': [12, 10], 'counts': runs}, 12, 10)
        assert fuzz_annotations.compress(runs) == rle['counts'].decode()


def document(segmentation):
    return json.dumps(
        {
            'images': [{'id': 1, 'file_name': 'a.jpg', 'width': 30, 'height': 20}],
            'annotations': [
                {'id': 1, 'image_id': 1, 'category_id': 1, 'segmentation': segmentation}
            ],
            'categories': [{'id': 1, 'name': 'person'}],
        }
    ).encode()


@pytest.mark.parametrize(
    'segmentation', [[[2, 2, 25, 3, 20, 18]], {'size': [20, 30], 'counts': [100, 50, 450]}]
)
def test_a_wrong_mask_is_noticed(monkeypatch, segmentation):
    assert fuzz_annotations.read_file(document(segmentation)) == 'skipped'  # the box is repaired

    def shifted(*arguments):
        mask = mask_utils.decode({'size': [20, 30], 'counts': right(*arguments)[0]})
        return mask_utils.encode(mask[::-1].copy(order='F'))['counts'], 0

    right = annotations.encode_segmentation
    monkeypatch.setattr(annotations, 'encode_segmentation', shifted)
    assert fuzz_annotations.read_file(document(segmentation)).startswith('WRONG MASK')


def test_crashes_and_time_outs_are_noticed():
    reader = fuzz_annotations.Reader(0, timeout=0.2)
    for program, outcome in (
        ('os.kill(os.getpid(), signal.SIGSEGV)', 'CRASHED: SIGSEGV'),
        ('os._exit(3)', 'CRASHED: status 3'),
        ('signal.pause()', 'TIMED OUT'),
    ):
        program = f'import os, signal; print(flush=True); input(); {program}'
        reader._command = [sys.executable, '-c', program]
        assert reader.read(0) == outcome
    reader = fuzz_annotations.Reader(0, timeout=20)
    try:
        assert reader.read(3) in fuzz_annotations.FINE
    finally:
        reader.close()
