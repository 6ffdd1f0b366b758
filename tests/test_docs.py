"""The repository reads as one: short README, links and commands that exist, words of the field."""

import functools
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterable

import pytest

from analysis import registry
from tests.paths import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / '.git').exists(), reason='asks git for the files')

TOP = {
    '.ci', '.github', '.gitignore', '.pre-commit-config.yaml', 'CHANGELOG.md', 'CITATION.cff',
    'CONTRIBUTING.md', 'LICENSE', 'README.md', 'analysis', 'configs', 'pyproject.toml',
    'requirements-dev.txt', 'requirements.txt', 'scripts', 'segmentation', 'tests',
}  # fmt: skip
MAX_LINES = 400
# Wordings that make a reader of the field stop, as patterns that do not match themselves.
AVOID = [
    r'kept\s+aside', r'is\s+told\s+(in|there|where)', r'told\s+(as|it\s+was|apart)', r'\bane[w]\b',
    r'looked\s+at\s+last', r'said\s+why\s+not', r'where\s+0\.\d+\s+could\s+have\s+been\s+found',
    r'any\s+exponent\s+fits', r'whoever\s+(looks|reads|only)', r'of\s+before\s+(it|there)\s+w',
    r'given\s+size', r'of\s+no\s+interest', r'at\s+most\s+so\s+many', r'to\s+be\s+left\s+alone',
    r'responds?\s+alike', r'what\s+ends\s+a\s+training',
]  # fmt: skip


@functools.cache
def tracked(*suffixes: str) -> tuple[str, ...]:
    """Files that git tracks and that exist, without the vendored ones."""
    command = ['git', 'ls-files', '-z']
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(
        name
        for name in listed.split('\0')
        if name.endswith(suffixes) and '/vendor/' not in name and (ROOT / name).is_file()
    )


def places(pattern: str, names: Iterable[str]) -> list[str]:
    """Every match of a pattern, as 'file:line: text'."""
    found = []
    for name in names:
        text = (ROOT / name).read_text()
        for match in re.finditer(pattern, text, re.IGNORECASE):
            line = text.count('\n', 0, match.start()) + 1
            found.append(f'{name}:{line}: {" ".join(match.group().split())}')
    return found


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings of a Markdown text."""
    titles = re.findall(r'^#+ (.+)$', text, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


def test_the_readme_is_short():
    assert len((ROOT / 'README.md').read_bytes()) <= 10_240


@pytest.mark.parametrize('name', tracked('.md'))
def test_links_lead_somewhere(name):
    text = (ROOT / name).read_text()
    for target, anchor in re.findall(r'\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)', text):
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text()), f'{target}#{anchor}'


def test_named_files_and_commands_exist():
    names = [name for name in tracked('.md', '.py', '.sh') if name != 'CHANGELOG.md']
    names = [name for name in names if not name.startswith('tests/')]
    files = r'(?<![\w/.-])(?:scripts|configs|analysis|segmentation)/[\w/]+\.(?:py|sh|md|json)\b'
    found = [p for p in places(files, names) if not (ROOT / p.rpartition(': ')[2]).is_file()]
    for place in places(r'python -m analysis[\w.]*\w', names):
        module = ROOT / place.rpartition(' ')[2].replace('.', '/')
        if not (module / '__main__.py').is_file() and not module.with_suffix('.py').is_file():
            found.append(place)
    assert not found, '\n'.join(found)


@pytest.mark.parametrize('name', ['README.md', 'analysis/README.md'])
def test_tables_of_stages_are_complete(name):
    rows = re.findall(r'^\| `(\w+)` \|', (ROOT / name).read_text(), re.MULTILINE)
    assert sorted(rows) == sorted([*registry.STAGES, 'compare', 'check', 'report'])


def test_the_readme_s_python_runs(tiny_run, coco_folder, tmp_path):
    section = (ROOT / 'README.md').read_text().partition('## Use it from Python')[2]
    block = re.search(r'(?:^(?: {4}.*)?\n)+', section.partition('\n\n')[2], re.MULTILINE)
    run = shutil.copytree(tiny_run, tmp_path / 'run')
    photo = next(coco_folder.glob('val/*.jpg'))
    program = textwrap.dedent(block.group())
    program += 'print(prediction.classes.shape == prediction.probabilities.shape[:2])\n'
    program = program.replace('runs/person_car', str(run)).replace('photo.jpg', str(photo))
    command = [sys.executable, '-c', program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == 'True\n', done.stderr


def test_wordings_that_make_a_reader_stop_are_gone():
    found = places('|'.join(AVOID), tracked('.py', '.md', '.js', '.html', '.sh'))
    assert not found, '\n'.join(found)


def test_imports_need_no_edited_path():
    found = places(r'sys\.path\.(insert|append)|noqa:\s*E402', tracked('.py', '.md', '.sh'))
    assert not found, '\n'.join(found)


def test_modules_can_be_read_in_one_sitting():
    modules = [name for name in tracked('.py', '.js') if not name.startswith('tests/')]
    lines = {name: len((ROOT / name).read_text().splitlines()) for name in modules}
    long = {name: count for name, count in lines.items() if count > MAX_LINES}
    assert not long, '\n'.join(f'{name}: {count} lines' for name, count in long.items())


def test_tests_mirror_the_tree():
    for name in tracked('.py'):
        top, _, place = name.partition('/')
        if top == 'tests' and '/test_' in place:
            folder, _, module = place.rpartition('/test_')
            assert (ROOT / folder).is_dir(), f'{name}: there is no {folder}'
            package = ROOT / folder / module.removesuffix('.py')
            assert not package.is_dir(), f'{name}: {folder} has a package of this name'


def test_the_top_of_the_tree_is_the_agreed_one():
    assert {name.partition('/')[0] for name in tracked('')} <= TOP
