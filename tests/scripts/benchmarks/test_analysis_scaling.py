"""Sizes are subsets of one set of scenes, processes are measured, and what grows worse is named."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import psutil
import pytest

from scripts.benchmarks import analysis_scaling
from segmentation import scenes
from tests.paths import ROOT


def test_sizes_are_the_first_of_the_same_scenes(tmp_path):
    scenes.write_scenes(tmp_path / 'scenes', {'train': 2, 'val': 5}, workers=1)
    for number in (2, 4):
        analysis_scaling.write_subset(tmp_path / 'scenes', tmp_path / str(number), number)
    file = 'annotations/instances_val.json'
    whole, large, small = (
        json.loads((tmp_path / folder / file).read_text()) for folder in ('scenes', '4', '2')
    )
    assert small['images'] == large['images'][:2] == whole['images'][:2]
    ids = {image['id'] for image in small['images']}
    assert small['annotations'] == [a for a in whole['annotations'] if a['image_id'] in ids]
    for image in large['images']:
        assert (tmp_path / '4/val' / image['file_name']).is_file()


def test_a_process_is_measured(tmp_path):
    log = tmp_path / 'log'
    code = 'x = bytearray(200_000_000)\nfor i in range(2_000_000): pass'
    found = analysis_scaling.measure([sys.executable, '-c', code], log, {})
    assert found['peak_mb'] > 190
    assert 0 < found['cpu_seconds'] and 0 < found['wall_seconds']
    held = bytes([1]) * 400_000_000  # of whoever measures: not of the process
    assert analysis_scaling.measure([sys.executable, '-c', ''], log, {})['peak_mb'] < 100
    del held
    code = 'import os, sys; sys.exit(os.environ["WHY"])'
    with pytest.raises(ValueError, match='status 1: no room'):
        analysis_scaling.measure([sys.executable, '-c', code], log, {'WHY': 'no room'})


def test_a_process_ends_with_the_one_that_measures_it(tmp_path):
    pid, log = tmp_path / 'pid', tmp_path / 'log'
    measured = f'import os, time; open({str(pid)!r}, "w").write(str(os.getpid())); time.sleep(1000)'
    measuring = (
        'import pathlib, sys\n'
        'import analysis_scaling, contenders\n'
        'contenders.stop_once()\n'
        f'command = [sys.executable, "-c", {measured!r}]\n'
        f'analysis_scaling.measure(command, pathlib.Path({str(log)!r}), {{}})\n'
    )
    folder = pathlib.Path(analysis_scaling.__file__).parent
    path = os.pathsep.join([str(folder), str(ROOT)])
    process = subprocess.Popen(
        [sys.executable, '-c', measuring], env={**os.environ, 'PYTHONPATH': path},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (pid.exists() and pid.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) != 0
    try:
        left = psutil.Process(int(pid.read_text()))
    except psutil.NoSuchProcess:
        return
    for _ in range(1000):  # It ends when the signal arrives; nobody may be there to wait for it.
        if not left.is_running() or left.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.01)
    left.kill()
    pytest.fail('The measured process goes on.')


def test_what_grows_worse_is_named():
    def stage(cpu, peak):
        return {'cpu_seconds': cpu, 'wall_seconds': 2 * cpu, 'peak_mb': peak}

    measured = {
        100: {name: stage(1, 500) for name in ('samples', 'similarity_map', 'slices', 'report')},
        400: {
            'samples': stage(4, 600), 'similarity_map': stage(5.5, 700), 'slices': stage(5, 600),
            'report': stage(1, 800),
        },
    }  # fmt: skip
    summary = analysis_scaling.summarize(measured)
    met = {name: row['met'] for name, row in summary.items()}
    # Of four times the images: 4.5 times the time, 6 for the map.
    assert met == {
        'samples': True, 'similarity_map': True, 'slices': False, 'report': False, 'all': False,
    }  # fmt: skip
    assert summary['all']['ratios'] == {
        'cpu_seconds': 15.5 / 4, 'wall_seconds': 15.5 / 4, 'peak_mb': 1.6,
    }  # fmt: skip
    lines = analysis_scaling.to_markdown(summary).splitlines()
    assert [line.endswith('| worse |') for line in lines[2:]] == [not ok for ok in met.values()]
    assert len({line.count('|') for line in lines}) == 1


def test_sizes_that_make_no_sense(tmp_path, capsys):
    for sizes, said in ((['100'], 'at least two'), (['10', '100'], 'more than 64 images')):
        with pytest.raises(SystemExit):
            analysis_scaling.main(['--workdir', str(tmp_path), '--sizes', *sizes])
        assert said in capsys.readouterr().err
