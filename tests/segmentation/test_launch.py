"""Arguments that all commands share."""

import argparse
import importlib
import pathlib
import shlex

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from analysis import registry
from analysis.stage import command
from analysis.stage.view import find_views
from scripts import prepare_coco
from segmentation import checks, launch
from segmentation.config import read_config
from tests.paths import SHARED


@pytest.mark.parametrize(
    'parser', [launch.make_parser(''), command.make_parser('samples', '')], ids=['script', 'stage']
)
def test_json_into_a_missing_folder_is_refused_at_the_start(parser, tmp_path, capsys):
    run = tmp_path / 'run'
    for good in (tmp_path / 'x.json', run / 'x.json', pathlib.Path('x.json')):
        # The command makes the run directory.
        found = parser.parse_args(['--workdir', str(run), '--json', str(good)])
        assert found.json == good
    for bad, message in (
        (tmp_path / 'nowhere' / 'x.json', 'there is no folder'),
        (run / 'deeper' / 'x.json', 'there is no folder'),
        (tmp_path, 'is a folder'),
    ):
        with pytest.raises(SystemExit) as ended:
            parser.parse_args(['--workdir', str(run), '--json', str(bad)])
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert f'--json {bad}' in line and message in line


@pytest.mark.parametrize(
    'module',
    [
        *(f'scripts.{name}' for name in ('train', 'analyze', 'predict', 'sweep', 'prepare_coco')),
        *(f'analysis.{name}.__main__' for name in (*registry.STAGES, 'report')),
    ],
)
def test_every_command_uses_that_parser(module):
    source = importlib.util.find_spec(module).origin
    package = pathlib.Path(source).parent if module.startswith('analysis') else None
    texts = [p.read_text() for p in package.glob('*.py')] if package else []
    text = '\n'.join([pathlib.Path(source).read_text(), *texts])
    assert 'argparse.ArgumentParser(' not in text.replace('parser: argparse.ArgumentParser', '')


def test_case_json_into_missing_folder(tmp_path, capsys, monkeypatch):
    folder = SHARED / 'cases' / 'json_into_missing_folder'
    if not folder.exists():
        pytest.skip('the cases of ../shared are absent')
    monkeypatch.chdir(tmp_path)
    words = shlex.split((folder / 'command.sh').read_text())
    parser = launch.make_parser('')
    with pytest.raises(SystemExit):
        parser.parse_known_args(words[words.index('--workdir') :])
    assert 'there is no folder nowhere' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--num_processes=2'], 'given together'),
        (['--coordinator=localhost:1'], 'given together'),
        (['--distributed=auto', '--coordinator=localhost:1'], 'itself'),
    ],
)
def test_arguments_of_processes_that_contradict_each_other(arguments, message):
    parser = launch.make_parser('', workdir='')
    launch.add_processes(parser)
    with pytest.raises(ValueError, match=message):
        launch.join_processes(parser.parse_args(arguments))


def test_a_single_process_joins_nobody():
    parser = launch.make_parser('', workdir='')
    assert launch.join_processes(parser.parse_args([]))  # a command without these arguments
    launch.add_processes(parser)
    assert launch.join_processes(parser.parse_args([]))


def test_processes_that_train_something_else_are_named(tiny_config, monkeypatch):
    run = {'class_names': ['a'], 'images': {}, 'weights': {}, 'data': {'fingerprint': 'x'}}
    numbers = []
    monkeypatch.setattr(jax, 'process_count', lambda: 2)

    def gather(number):
        numbers.append(number)
        return np.stack([numbers[0], number])

    monkeypatch.setattr(multihost_utils, 'process_allgather', gather)
    checks.check_processes(tiny_config, run)
    tiny_config.data.data_dir = 'where it is on another host'
    checks.check_processes(tiny_config, run)
    with pytest.raises(ValueError, match='Process 1 has another config, other data or other'):
        checks.check_processes(tiny_config, {**run, 'images': {'train': {'sha256': 'other'}}})
    tiny_config.train.log_every += 1  # processes agree to stop when they log
    with pytest.raises(ValueError, match='Process 1 has another config'):
        checks.check_processes(tiny_config, run)


def test_ctrl_c_is_one_line(capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    assert launch.command(interrupted)() == launch.EXIT_INTERRUPTED
    arguments = argparse.Namespace(json=None)
    assert command.run_command(arguments, interrupted) == launch.EXIT_INTERRUPTED
    assert capsys.readouterr().err == 2 * f'{launch.INTERRUPTED}\n'


@pytest.mark.parametrize('text', ['train', 'sed=1', 'val=many', 'error_rate=', '=3'])
def test_unknown_options_of_scenes_are_refused(text, tmp_path, capsys):
    arguments = ['--source', 'scenes', '--data_dir', str(tmp_path), '--scenes', text]
    with pytest.raises(SystemExit):
        prepare_coco.main(arguments)
    assert f'{text!r} is none of train=NUMBER' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_other_json_is_no_config(tmp_path):
    path = tmp_path / 'config.json'
    path.write_text('{"images": []}')
    with pytest.raises(ValueError, match='no config.json of a run'):
        read_config(path)


def test_a_run_that_is_not_there_was_not_left_unanalyzed(tmp_path):
    with pytest.raises(ValueError, match='nowhere'):
        find_views(tmp_path / 'nowhere')


def test_a_command_is_recorded_on_one_line(monkeypatch):
    arguments = ['--config.data.label_space', 'a: a\nb: b']
    expected = "python scripts/train.py --config.data.label_space 'a: a b: b'"
    assert launch.command_line('scripts/train.py', arguments) == expected
    assert launch.command_line('scripts/train.py', []) == 'python scripts/train.py'
    monkeypatch.setattr('sys.argv', ['train.py', '--workdir=x'])
    assert launch.command_line('scripts/train.py') == 'python scripts/train.py --workdir=x'
