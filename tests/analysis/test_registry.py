"""The registry is the only list of stages, and nothing that reads artifacts reaches the network."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import analysis
from analysis import registry
from scripts import analyze
from segmentation import launch
from tests.paths import ROOT

TOY = """
import dataclasses
from typing import ClassVar
from analysis.predictions import stage as predictions
from analysis.stage.artifacts import Result
from analysis.stage.command import stage_parser
from analysis.stage.contract import Stage
from analysis.stage.view import Parts


@dataclasses.dataclass(frozen=True)
class Toy(Result):
    NAME: ClassVar[str] = 'toy'
    VERSION: ClassVar[int] = 1
    PARTS: ClassVar[Parts] = Parts.ONE

    images: int


def compute(analysis):
    return Toy(len(analysis))


def make_parser():
    return stage_parser(Toy, 'A toy.')


STAGE = Stage(Toy, make_parser, compute, lambda toy: f'{toy.images}', reads=(predictions.STAGE,))
main = STAGE.main
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """One package and one line in the registry."""
    (tmp_path / 'toy').mkdir()
    (tmp_path / 'toy' / '__init__.py').touch()
    (tmp_path / 'toy' / 'stage.py').write_text(TOY)
    monkeypatch.setattr(analysis, '__path__', [*analysis.__path__, str(tmp_path)])
    monkeypatch.setattr(registry, 'STAGES', (*registry.STAGES, 'toy'))
    yield
    for name in ('analysis.toy', 'analysis.toy.stage'):
        sys.modules.pop(name, None)


def test_a_stage_is_one_package_and_one_line(toy, tiny_run, tmp_path, capsys):
    with pytest.raises(SystemExit, match='0'):
        analyze.main(['--list'])
    assert re.search(r'\ntoy \(version 1\) +← predictions\n', capsys.readouterr().out)
    run, file = shutil.copytree(tiny_run, tmp_path / 'run'), tmp_path / 'all.json'
    command = ['--workdir', str(run), '--stages', 'toy', '--json', str(file)]
    assert analyze.main(command) == 0
    assert json.loads(file.read_text())['toy']['result'] == {'images': 6}
    assert analyze.main([*command, '--splits', 'train,val']) == 0
    assert 'toy is not available: it is about one split' in capsys.readouterr().err
    assert list(json.loads(file.read_text())) == ['unavailable']


def test_every_stage_comes_after_what_it_reads():
    seen = []
    for name in registry.STAGES:
        stage = registry.load(name)
        assert stage.name == name
        for read in (*stage.reads, *stage.reads_if_there):
            assert read.name in seen, f'{name} reads {read.name}'
        seen.append(name)


def test_a_command_has_the_defaults_of_its_function():
    for name in registry.STAGES:
        stage = registry.load(name)
        given = vars(stage.make_parser().parse_args(['--workdir', 'run']))
        # The default of `similar --k` depends on what is asked for.
        expected = {**stage.defaults(), **({'k': None} if name == 'similar' else {})}
        assert {setting: given[setting] for setting in expected} == expected, name


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
