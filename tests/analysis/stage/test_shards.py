"""The analysis on several devices and in several processes equals that on one device."""

import os
import shutil
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from analysis import registry
from analysis.saliency import stage as saliency
from analysis.stage import shards
from analysis.stage.run import open_analysis

PARTS = 2


def files(analysis):
    """All files of an analysis, by name."""
    folder = analysis.folder
    paths = [path for path in folder.rglob('*') if path.is_file() and path.suffix != '.md']
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def copied(workdir, folder):
    return shutil.copytree(workdir, folder / 'run')


def without_examples(patch):
    """Leaves the maps of the sampled images out of `saliency`: they take long to compile."""
    none = np.zeros(0, np.int64)
    patch.setattr(saliency.examples, 'sample_rows', lambda *_: (none, none))


@pytest.fixture(scope='module')
def on_one_device(tiny_run, tmp_path_factory):
    workdir = copied(tiny_run, tmp_path_factory.mktemp('one'))
    device = jax.local_devices()[:1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, 'local_device_count', lambda: 1)
        patch.setattr(jax, 'local_devices', lambda: device)
        without_examples(patch)
        analysis = open_analysis(workdir)
        stages = 'predictions', 'embeddings', 'pictures', 'label_issues', 'saliency', 'objects'
        for stage in stages:
            registry.load(stage).get(analysis)
    return files(analysis)


def test_eight_devices_equal_one(analyzed_run, on_one_device):
    found = files(analyzed_run)
    # Other tests may have added other stages to the run that is shared.
    compared = [n for n in found if n in on_one_device and not n.startswith('similar')]
    assert {'predictions.json', 'features.f32', 'embeddings.npz'} <= set(compared)
    assert sum(name.endswith('.webp') for name in compared) > 20
    assert [name for name in compared if found[name] != on_one_device[name]] == []


@pytest.fixture
def two_processes(monkeypatch):
    """A function that prepares a stage as process 1 of two, then as process 0."""
    monkeypatch.setattr(jax, 'process_count', lambda: PARTS)
    monkeypatch.setattr(shards, '_meet', lambda value: [value] * PARTS)
    monkeypatch.setattr(shards, 'agreed', lambda decide: decide())

    def prepare(name, analysis):
        for number in reversed(range(PARTS)):
            monkeypatch.setattr(jax, 'process_index', lambda number=number: number)
            registry.load(name).prepare(analysis)

    return prepare


def test_parts_of_regions_and_maps_equal_the_whole(
    analyzed_run, on_one_device, two_processes, monkeypatch, tmp_path
):
    without_examples(monkeypatch)
    analysis = open_analysis(copied(analyzed_run.workdir, tmp_path))
    for stage in ('label_issues', 'saliency', 'objects'):
        two_processes(stage, analysis)
    found, kinds = files(analysis), ('label_issues', 'saliency', 'objects')
    compared = [name for name in found if name.startswith(kinds)]
    assert {'label_issues.parquet', 'saliency_maps.npz', 'objects.parquet'} <= set(compared)
    assert [name for name in compared if found[name] != on_one_device[name]] == []
    assert not list(analysis.folder.rglob('*.msgpack'))


def start_two(workdir, *stages):
    """Starts two processes that analyze a run together, each with its own --stages."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        coordinator = f'127.0.0.1:{probe.getsockname()[1]}'
    flags = f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count=2'
    return [
        subprocess.Popen(
            [sys.executable, 'scripts/analyze.py', f'--workdir={workdir}', f'--stages={own}',
             f'--coordinator={coordinator}', '--num_processes=2', f'--process_id={number}'],
            env={**os.environ, 'XLA_FLAGS': flags}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )
        for number, own in enumerate(stages)
    ]  # fmt: skip


def test_two_processes_of_two_devices_equal_one(tiny_run, on_one_device, tmp_path):
    workdir = copied(tiny_run, tmp_path)
    stages = 'predictions,samples,embeddings,pictures'
    for number, process in enumerate(start_two(workdir, stages, stages)):
        printed, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        assert ('results are in' in printed) == (number == 0)
    found = files(open_analysis(workdir))
    assert 'pictures.json' in found
    assert [name for name in found if found[name] != on_one_device[name]] == []


def test_processes_with_different_arguments_end_at_once(tiny_run, tmp_path):
    workdir = copied(tiny_run, tmp_path)
    for process in start_two(workdir, 'predictions,mean_iou', 'predictions,embeddings'):
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 1
        assert 'Process 1 has other arguments than process 0' in errors
    assert not list(open_analysis(workdir).folder.glob('*.json'))


@pytest.mark.parametrize('number', [0, 1, 7, 8, 33])
@pytest.mark.parametrize('count', [1, 2, 5])
def test_parts_are_whole_batches_and_together_all_images(number, count, monkeypatch):
    monkeypatch.setattr(jax, 'process_count', lambda: count)
    parts = [shards.part_of(np.arange(number), 4, process) for process in range(count)]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(number))
    sizes = [len(part) for part in parts]
    assert all(first % 4 == 0 for first in np.cumsum(sizes)[:-1] if first < number)
    assert max(sizes) - min(sizes) <= 8


def test_an_error_in_the_only_process_leaves_later_commands_as_they_were(monkeypatch):
    with pytest.raises(OSError, match='disk'), shards.together():
        raise OSError('disk')
    monkeypatch.setattr(jax, 'process_count', lambda: PARTS)
    assert len(shards.part_of(np.arange(8), process=1)) == 4


def test_a_cut_file_is_not_taken_as_whole(analyzed_run, two_processes, monkeypatch, tmp_path):
    analysis = open_analysis(copied(analyzed_run.workdir, tmp_path))

    def work(_, rows):
        yield {'rows': rows, 'name': 'é', 'nothing': None, 'scores': [0.5, np.float32(0.25)]}

    monkeypatch.setattr(jax, 'process_index', lambda: 1)
    with pytest.raises(shards.OnFirst):
        shards.stream(analysis, 'some', work)
    monkeypatch.setattr(jax, 'process_index', lambda: 0)
    pieces = list(shards.stream(analysis, 'some', work))
    np.testing.assert_array_equal(np.concatenate([each['rows'] for each in pieces]), np.arange(6))
    assert pieces[1]['name'] == 'é' and pieces[1]['scores'] == [0.5, 0.25]

    (analysis.folder / 'shards').mkdir()
    path = analysis.folder / 'shards/some-1.msgpack'
    path.write_bytes((8).to_bytes(8, 'little'))
    with pytest.raises(ValueError, match='some-1.msgpack is not complete'):
        list(shards.stream(analysis, 'some', work))


def test_an_error_in_one_process_ends_the_others(monkeypatch):
    met = []
    monkeypatch.setattr(shards, '_group', shards._Group())
    monkeypatch.setattr(shards, '_meet', lambda value: met.append(value) or [value, 1])
    with pytest.raises(ValueError, match='Another process'), shards.together():
        pass
    with pytest.raises(OSError, match='disk'), shards.together():
        raise OSError('disk')
    assert met == [0, 1]
    assert shards._group.size() == 1  # waits for nobody from here on
