"""Atomic writes: errors, full disks, and processes that were killed while they wrote."""

import os
import subprocess
import sys

import pytest

from segmentation import files


def test_an_error_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / 'scores.json'
    files.write_json(path, {'iou': 0.5})
    with pytest.raises(RuntimeError), files.replacing(path) as partial:
        partial.write_text('half of it')
        raise RuntimeError
    with pytest.raises(ValueError, match='JSON'):
        files.write_json(path, {'iou': float('nan')})
    assert path.read_text() == '{\n  "iou": 0.5\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match='missing/scores.json cannot be written'):
        files.write_text(tmp_path / 'missing' / 'scores.json', '')


def test_only_partial_files_of_dead_processes_are_removed(tmp_path):
    dead = subprocess.Popen([sys.executable, '-c', ''])
    dead.wait()
    host, kept = files._HOST, [f'.a.txt.another-host.{dead.pid}']
    kept += [f'.b.txt.{host}.{dead.pid}', f'.a.txt.{host}.{os.getppid()}']
    for name in (f'.a.txt.{host}.{dead.pid}', *kept):
        (tmp_path / name).write_text('half of it')
    files.write_text(tmp_path / 'a.txt', 'all of it')
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, 'a.txt'])


def test_links_lead_out_of_a_folder(tmp_path):
    inside, outside = tmp_path / 'set', tmp_path / 'set2'
    for folder in (inside, outside):
        folder.mkdir()
        (folder / 'a.png').touch()
    (inside / 'link.png').symlink_to(outside / 'a.png')
    (tmp_path / 'name').symlink_to(inside)
    assert files.is_within(inside / 'a.png', tmp_path / 'name')
    assert files.is_within(tmp_path / 'name' / 'a.png', inside)
    for path in (inside / 'link.png', outside / 'a.png', inside / '..' / 'set2' / 'a.png'):
        assert not files.is_within(path, inside)
    (inside / 'loop.png').symlink_to('loop.png')
    assert files.is_within(inside / 'loop.png', inside)
