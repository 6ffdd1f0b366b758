"""A few fuzzed files, and that crashes, time-outs and wrong masks would be noticed."""

import json
import os
import signal

import pytest
from pycocotools import mask as mask_utils

from scripts.robustness import fuzz_annotations
from segmentation.data import annotations


def fuzz(folder, count):
    """Exit status, and result or None."""
    status = fuzz_annotations.main(
        ['--workdir', str(folder), '--seed', '7', '--count', str(count)]
        + ['--timeout', '5', '--json', str(folder / 'out.json')]
    )
    return status, json.loads((folder / 'out.json').read_text())


def test_fuzzed_files_are_taken_skipped_or_refused_and_counted(tmp_path, capsys):
    status, result = fuzz(tmp_path, 150)
    assert status == 0 and result['wrong'] == {} and result['files'] == 150
    table = result['table']
    assert len(table) >= 3  # of five; which ones is chance
    assert {outcome for row in table.values() for outcome in row} == {*fuzz_annotations.FINE}
    assert set(table.get('nothing', ['unchanged'])) == {'unchanged'}
    assert set(table.get('no COCO file', ['refused'])) == {'refused'}
    assert '| what was done | files |' in capsys.readouterr().out


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


ACTIONS = {
    b'killed': lambda: os.kill(os.getpid(), signal.SIGKILL),
    b'exits': lambda: os._exit(3),
    b'hangs': signal.pause,
    b'raises': lambda: 1 / 0,
    b'': lambda: None,
}


def misbehave(data):
    """What the other process does instead of reading: the data name an action."""
    ACTIONS[data]()
    return 'unchanged'


def test_crashes_and_time_outs_are_noticed():
    reader = fuzz_annotations.Reader(timeout=2, read=misbehave)
    for action, outcome in (
        (b'killed', 'CRASHED: status -9'),
        (b'exits', 'CRASHED: status 3'),
        (b'hangs', 'TIMED OUT'),
        (b'raises', "RAISED ZeroDivisionError: 'division by zero'"),
        (b'', 'unchanged'),
    ):
        assert reader.read(action) == outcome
    reader.close()


class InThisProcess:
    """Stands in for `Reader` where what it calls is replaced."""

    def __init__(self, timeout):
        del timeout

    def read(self, data):
        return fuzz_annotations.read_file(data)

    def close(self):
        pass


def test_what_is_wrong_is_made_small_and_kept(tmp_path, monkeypatch, capsys):
    def parse(data, name):
        """Loses images with crowds, uncounted."""
        result = right(data, name)
        result.images[:] = [i for i in result.images if not any(j.is_crowd for j in i.instances)]
        return result

    right = annotations.parse
    monkeypatch.setattr(annotations, 'parse', parse)
    monkeypatch.setattr(fuzz_annotations, 'Reader', InThisProcess)
    status, result = fuzz(tmp_path, 100)
    assert status == 1 and result['wrong']['outcome'].startswith('NOT COUNTED')
    assert fuzz_annotations.read_file((tmp_path / 'wrong.json').read_bytes()).startswith('NOT')
    assert len((tmp_path / 'wrong.json').read_bytes()) < 1000
    assert 'NOT COUNTED' in capsys.readouterr().out
