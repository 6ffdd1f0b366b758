"""The registry is the only list of stages, and nothing that reads artifacts reaches the network."""

import pathlib
import subprocess
import sys

import pytest

from analysis import registry
from scripts import analyze
from segmentation import launch
from tests.paths import ROOT


def test_every_stage_comes_after_what_it_reads():
    seen = []
    for name in registry.STAGES:
        stage = registry.load(name)
        assert stage.name == name
        for read in (*stage.reads, *stage.reads_if_there):
            assert read.name in seen, f'{name} reads {read.name}'
        seen.append(name)


def test_every_package_with_a_command_is_known():
    commands = {path.parent.name for path in pathlib.Path(ROOT / 'analysis').glob('*/__main__.py')}
    assert commands == {*registry.STAGES, 'check', 'compare', 'report'}


def test_the_graph_is_printed(capsys):
    with pytest.raises(SystemExit, match='0'):
        analyze.main(['--list'])
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(registry.STAGES)
    line = next(line for line in printed if line.startswith('clusters'))
    assert line.endswith('← embeddings, samples')


def test_the_report_reads_artifacts_only():
    code = (
        'import sys\n'
        'import analysis.report.stage\n'
        "heavy = 'jax', 'flax', 'sklearn', 'tensorflow_datasets', 'orbax', 'grain', 'optax'\n"
        'print([name for name in heavy if name in sys.modules])\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout == '[]\n'


def test_ctrl_c_ends_the_whole_analysis(tiny_run, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    stage = registry.load('mean_iou')
    monkeypatch.setattr(type(stage), '_run', interrupted)
    with pytest.raises(SystemExit) as stopped:
        analyze.main([f'--workdir={tiny_run}', '--stages=mean_iou'])
    assert stopped.value.code == launch.EXIT_INTERRUPTED
    printed = capsys.readouterr().err
    assert launch.INTERRUPTED in printed and 'failed' not in printed
