"""The mutants and their tests exist, and what is said about a mutant is so."""

import ast
import pathlib
import subprocess

import pytest

from scripts.robustness import mutants
from tests.paths import ROOT

LIST = ROOT / 'scripts/robustness/mutants.toml'
NAMED = mutants.read_mutants(LIST)
# A file for which nothing else is imported.
FILE = 'segmentation/markdown.py'


@pytest.fixture(scope='module')
def functions():
    """Names of the test functions of each file of tests."""
    files = {test.partition('::')[0] for mutant in NAMED for test in mutant['tests']}
    return {
        file: {
            node.name
            for node in ast.walk(ast.parse((ROOT / file).read_text()))
            if isinstance(node, ast.FunctionDef)
        }
        for file in files
    }


def test_enough_are_named():
    assert len(NAMED) >= 64
    assert len({mutant['file'] for mutant in NAMED}) >= 30


@pytest.mark.parametrize('mutant', NAMED, ids=[mutant['name'] for mutant in NAMED])
def test_a_mutant_is_not_stale(mutant, functions):
    """Its text is once in its file, with the other it is still Python, and its tests exist."""
    code = (ROOT / mutant['file']).read_text()
    assert code.count(mutant['old']) == 1 and mutant['old'] != mutant['new']
    ast.parse(code.replace(mutant['old'], mutant['new']))
    assert '\n' not in mutant['old'] + mutant['new']
    assert mutant['tests']
    for test in mutant['tests']:
        file, _, function = test.partition('::')
        assert function.partition('[')[0] in functions[file], test


def write_list(path, *listed):
    path.write_text(
        '\n'.join(
            line
            for mutant in listed
            for line in ('[[mutant]]', *(f'{key} = {value!r}' for key, value in mutant.items()))
        )
    )
    return path


@pytest.fixture
def make(tmp_path):
    """Makes mutants of FILE, with quick tests of it outside the project."""
    tests = tmp_path / 'test_quick.py'
    tests.write_text(
        'from segmentation import markdown\n'
        "def test_escape(): assert markdown.escape('<b>') == '&lt;b&gt;'\n"
        "def test_table(): assert markdown.table(('a',), []) == '| a |'\n"  # lacks a line
    )

    def mutant(name, old='no such text', new='', test='test_escape'):
        return {'name': name, 'file': FILE, 'old': old, 'new': new, 'tests': [f'{tests}::{test}']}

    return mutant


def run(path, workdir, *arguments):
    return mutants.main(['--mutants', str(path), '--workdir', str(workdir), *arguments])


def test_what_becomes_of_a_mutant(make, tmp_path, capsys):
    known = [
        make('escapes nothing', 'html.escape(printable(text), quote=False)', 'printable(text)'),
        make('ends early', 'html.escape(printable(text), quote=False)', '(', 'test_escape'),
        make('same', 'quote=False', 'quote = False'),
        make('of other tests', 'quote=False', 'quote=True', 'test_table'),
        make('gone', 'no such text'),
        make('twice', 'escape', 'printable'),
    ]
    listed = write_list(tmp_path / 'list.toml', *known)
    assert run(listed, tmp_path / 'work') == 1
    shown = capsys.readouterr().out
    for line in (
        '| same | survived |',
        '| of other tests | tests fail without it |',
        '| gone | stale |',
        '| twice | stale |',
        '2 of 6 mutants are killed (6 are named).',
    ):
        assert line in shown
    assert 'escapes nothing' not in shown and 'ends early' not in shown
    copied = tmp_path / 'work' / 'tree0' / FILE
    assert copied.read_text() == (ROOT / FILE).read_text()
    # Verdicts are kept: the tests are no longer needed.
    (tmp_path / 'test_quick.py').unlink()
    assert run(listed, tmp_path / 'work', '--only', 'escapes', 'early') == 0
    assert capsys.readouterr().out == '2 of 2 mutants are killed (6 are named).\n'


def test_mistakes_are_named(make, tmp_path, capsys):
    listed = tmp_path / 'list.toml'
    for known, said in (
        ([make('a', 'quote=False', test='test_x')], 'test_x'),
        ([make('a') | {'line': 3}], "a has the fields ['file', 'line', 'name', 'new'"),
        ([make('a'), make('b'), make('a')], "several mutants are named ['a']"),
    ):
        assert run(write_list(listed, *known), tmp_path) == 1
        assert said in capsys.readouterr().err


def test_every_mutant_has_its_turn():
    chosen = [mutants.choose(NAMED, 10, f'commit {number}') for number in range(150)]
    names = [[mutant['name'] for mutant in some] for some in chosen]
    assert {len(some) for some in names} == {round(len(NAMED) / 10)}
    assert names[0] == [mutant['name'] for mutant in mutants.choose(NAMED, 10, 'commit 0')]
    assert names[0] != names[1]
    assert {name for some in names for name in some} == {mutant['name'] for mutant in NAMED}
    assert len(mutants.choose(NAMED[:3], 10, '')) == 1 and mutants.choose(NAMED, 1, '') != NAMED[:1]


def test_files_are_those_of_the_project_with_and_without_git(tmp_path, monkeypatch):
    for name in ('a/b.py', '.hidden/c.py', 'd.txt', 'ignored.log'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('')
    (tmp_path / '.gitignore').write_text('*.log\n')
    monkeypatch.setattr(mutants, 'ROOT', tmp_path)
    monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path.parent))
    without = {'a/b.py', 'd.txt', 'ignored.log'}
    assert set(map(str, mutants.list_files())) == without
    subprocess.run(['git', 'init', '--quiet', tmp_path], check=True)
    assert set(map(str, mutants.list_files())) == {'a/b.py', 'd.txt', '.hidden/c.py', '.gitignore'}
    monkeypatch.setenv('PATH', str(tmp_path))
    assert set(map(str, mutants.list_files())) == without


def test_a_file_of_the_list_is_python():
    assert all(pathlib.PurePath(mutant['file']).suffix == '.py' for mutant in NAMED)
