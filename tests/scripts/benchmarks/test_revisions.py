"""Revisions of a project in a repository of its own are cloned, measured in turns, and compared."""

import json
import subprocess

import pytest

from scripts.benchmarks import revisions

SCRIPT = """
import argparse, pathlib, time
parser = argparse.ArgumentParser()
parser.add_argument('--workdir', type=pathlib.Path)
arguments, overrides = parser.parse_known_args()
time.sleep({delay})
arguments.workdir.mkdir(parents=True)
(arguments.workdir / 'overrides').write_text(chr(10).join(overrides))
with (arguments.workdir / 'metrics.jsonl').open('w') as file:
    time.sleep(0.1)
    file.write('first step')
    file.flush()
    time.sleep(600)
"""


def git(folder, *arguments):
    who = '-c', 'user.name=A', '-c', 'user.email=a@example.org'
    subprocess.run(['git', *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of two commits; training starts half a second later with the second."""
    root = tmp_path / 'project'
    (root / 'scripts').mkdir(parents=True)
    (root / 'scripts/environment.sh').touch()
    git(tmp_path, 'init', '--quiet', str(root))
    for delay in (0, 0.5):
        for name in revisions.COMMANDS:
            (root / f'scripts/{name}.py').write_text(SCRIPT.format(delay=delay))
        git(root, 'add', '.')
        git(root, 'commit', '--quiet', '-m', f'delay {delay}')
    monkeypatch.setattr(revisions, 'ROOT', root)
    return root


def run(tmp_path, *arguments):
    given = ['--workdir', str(tmp_path / 'work'), '--revisions', 'HEAD~1', 'HEAD', *arguments]
    return revisions.compare(revisions.parse_arguments(given))


def test_parts_are_measured_in_turns_and_only_once(project, tmp_path, capfd):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images/a.JPG').touch()
    more = '--config.seed=3', f'--config.data.source={tmp_path / "images"}'
    result = run(tmp_path, '--parts', 'help', '--rounds', '2', *more)
    turns = [line for line in capfd.readouterr().err.splitlines() if line.startswith('help')]
    old, new = result['measured']
    expected = [f'help {n}: {each[:12]}' for n, each in ((1, old), (1, new), (2, new), (2, old))]
    assert turns == expected
    before = result['measured'][old]['help']
    assert [set(turn) for turn in before] == [{f'{n} --help' for n in revisions.COMMANDS}] * 2
    assert 0 < before[0]['train --help']['cpu_seconds'] < 60

    result = run(tmp_path, '--parts', 'help,start', '--rounds', '2', *more)
    assert result['measured'][old]['help'] == before
    first = [turn['first step, warm']['wall_seconds'] for turn in result['measured'][new]['start']]
    assert len(first) == 2 and all(0.6 < seconds < 300 for seconds in first)
    given = (tmp_path / 'work' / new[:12] / 'start/overrides').read_text().splitlines()
    assert {'--config.seed=3', '--config.train.num_steps=150'} <= set(given)
    rows = [row[0] for row in result['tables']['commands']['rows']]
    assert rows[-2:] == ['first step, cold', 'first step, warm'] and len(rows) == 6
    json.dumps(result)


def test_what_cannot_be_compared_is_said(project, tmp_path, capsys):
    with pytest.raises(ValueError, match=r'rev-parse.*none\^'):
        run(tmp_path, '--parts', 'help', '--revisions', 'HEAD', 'none')
    run(tmp_path, '--parts', 'help', '--rounds', '1')
    with pytest.raises(ValueError, match='give another --workdir'):
        run(tmp_path, '--parts', 'help', '--rounds', '1', '--steps', '3')
    (project / 'scripts/train.py').write_text('raise SystemExit("no data")')
    git(project, 'commit', '--quiet', '-am', 'broken')
    for source in ([], [f'--config.data.source={tmp_path / "none"}'], ['--config.data.source=a']):
        with pytest.raises(SystemExit):
            run(tmp_path, '--parts', 'start', *source)
        assert 'need --config.data.source, the absolute path' in capsys.readouterr().err
    (tmp_path / 'a.png').touch()
    with pytest.raises(ValueError, match='ended early'):
        arguments = f'--config.data.source={tmp_path}', f'--workdir={tmp_path / "other"}'
        run(tmp_path, '--parts', 'start', *arguments)
    with pytest.raises(SystemExit):
        run(tmp_path, '--parts', 'demos')
    assert 'unknown demos; there are help, demo' in capsys.readouterr().err


def test_medians_and_ratios():
    def turn(wall, cpu, peak):
        return {'demo.sh': {'wall_seconds': wall, 'cpu_seconds': cpu, 'peak_mb': peak}}

    measured = {
        'a' * 40: {'demo': [turn(8, 10, 100), turn(80, 90, 100), turn(10, 20, 300)]},
        'b' * 40: {'demo': [turn(5, 5, 50)], 'tests': [{'test.sh': {'wall_seconds': 1}}]},
    }
    table = revisions.summarize(measured, list(measured))
    medians = '10.00', '20.00', '100.00', '5.00', '5.00', '50.00'
    assert table.rows == (('demo.sh', *medians, '0.50', '0.25', '0.50'),)
    assert len(table.columns) == len(table.rows[0])
