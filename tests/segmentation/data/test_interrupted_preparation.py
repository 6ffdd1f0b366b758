"""Preparations that are killed, fail, or run twice at the same time."""

import signal
import subprocess
import sys

import pytest

from segmentation.data import coco, coco_builder
from tests.paths import ROOT


def prepare_with(script, folder, data) -> int:
    """Exit status of a script in a process of its own, which gets both folders."""
    command = [sys.executable, '-c', script, folder, data]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def test_killed_preparation_starts_again(folder, tmp_path, capsys):
    script = (
        'import os, signal, sys\n'
        'from segmentation.data import coco, coco_files\n'
        'check = coco_files.check_image\n'
        'def kill(data):\n'
        '    header = check(data)\n'
        '    if header.size[0] == 64: os.kill(os.getpid(), signal.SIGKILL)\n'
        '    return header\n'
        'coco_files.check_image = kill\n'
        'coco.prepare(sys.argv[1], sys.argv[2])\n'
    )
    data = tmp_path / 'data'
    assert prepare_with(script, folder, data) == -signal.SIGKILL
    assert len(list(data.glob('coco_instances/*/incomplete.*'))) == 1
    prepared = coco.prepare(str(folder), data)
    assert 'interrupted; starting again' in capsys.readouterr().out
    assert not list(data.glob('coco_instances/*/incomplete.*'))
    undisturbed = coco.prepare(str(folder), tmp_path / 'other')
    assert_same_files(prepared.path, undisturbed.path)


def assert_same_files(path, other):
    files = sorted(file.name for file in path.iterdir())
    assert files == sorted(file.name for file in other.iterdir())
    for name in files:
        if name.endswith(('.npz', 'coco.json')) or 'array_record' in name:
            assert (path / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize('changed', [False, True])
def test_killed_preparation_goes_on_after_its_last_finished_shard(
    folder, tmp_path, capsys, monkeypatch, changed
):
    script = (
        'import os, signal, sys\n'
        'from segmentation.data import coco, coco_builder\n'
        'coco_builder.MAX_SHARD_BYTES = 1\n'  # a record in each
        'example, ids = coco_builder.example, []\n'
        'def kill(image, *rest):\n'
        '    ids.append(image.id)\n'
        '    if len(ids) == 7: os.kill(os.getpid(), signal.SIGKILL)\n'  # the second of val
        '    return example(image, *rest)\n'
        'coco_builder.example = kill\n'
        'coco.prepare(sys.argv[1], sys.argv[2])\n'
    )
    data = tmp_path / 'data'
    assert prepare_with(script, folder, data) == -signal.SIGKILL
    if changed:  # an image of the third shard, which keeps its size
        path = sorted((folder / 'train').iterdir())[2]
        old = path.read_bytes()
        place = old.index(b'\xff\xdb') + 10  # a table of quantization
        path.write_bytes(old[:place] + bytes([old[place] + 1]) + old[place + 1 :])
    monkeypatch.setattr(coco_builder, 'MAX_SHARD_BYTES', 1)
    example, made = coco_builder.example, []

    def count(image, *rest):
        made.append(image.file_name)
        return example(image, *rest)

    monkeypatch.setattr(coco_builder, 'example', count)
    prepared = coco.prepare(str(folder), data)
    assert 'interrupted; going on after 5 finished shards' in capsys.readouterr().out
    # The shard that was open is lost: a shard is finished when the next record is there.
    assert len(made) == (6 if changed else 3)
    assert not [*prepared.path.parent.glob('incomplete.*'), *prepared.path.parent.glob('unf*')]
    assert_same_files(prepared.path, coco.prepare(str(folder), tmp_path / 'other').path)


def test_what_a_kill_after_the_last_rename_leaves_is_removed(folder, tmp_path):
    path = coco.prepare(str(folder), tmp_path / 'data').path
    left = path.parent / 'unfinished'
    left.mkdir()
    (left / 'train-0.json').write_text('{}')
    assert coco.prepare(str(folder), tmp_path / 'data').path == path
    assert [*path.parent.iterdir()] == [path]


def test_failed_preparation_keeps_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(coco_builder, 'MAX_SHARD_BYTES', 1)
    example, made = coco_builder.example, []

    def fail(image, *rest):
        made.append(image.file_name)
        if len(made) == 4:
            raise OSError('the disk is full')
        return example(image, *rest)

    monkeypatch.setattr(coco_builder, 'example', fail)
    with pytest.raises(OSError, match='nothing is kept of it: the disk is full'):
        coco.prepare(str(folder), tmp_path / 'data')
    assert not [path for path in (tmp_path / 'data/coco_instances').rglob('*') if path.is_file()]


def test_two_processes_prepare_once(folder, tmp_path):
    script = 'import sys; from segmentation.data import coco; coco.prepare(*sys.argv[1:])'
    command = [sys.executable, '-c', script, folder, tmp_path / 'data']
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    [together] = (tmp_path / 'data').glob('coco_instances/*/*')
    # The bytes do not depend on the process that prepares them.
    apart = coco.prepare(str(folder), tmp_path / 'apart').path
    for path in apart.glob('*array_record*'):
        assert path.read_bytes() == (together / path.name).read_bytes()
