"""The page's scripts declare what they need; index.html loads them in an order derived from that.

A script declares the global names that it needs of other scripts in a comment `/* global A, B */`,
which ESLint reads too. It defines one such name: that of its file, in camel case.
"""

import graphlib
import pathlib
import re

import pytest

from analysis.report import stage as report

SOURCES = report.SOURCES
FOLDERS = ('vendor', 'core', 'ui', 'pages')  # each needs only itself and those before it
TYPES_ONLY = 'core/shapes.js'
START = 'pages/start.js'  # comes last, after the manifest


def name_of(path):
    """The global name that a script defines: `ui/sample_map.js` defines SampleMap."""
    if path == 'vendor/d3.min.js':
        return 'd3'
    return ''.join(word.capitalize() for word in pathlib.Path(path).stem.split('_'))


def _rank(path):
    return FOLDERS.index(path.partition('/')[0]), path


PATHS = sorted((path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob('*.js')), key=_rank)
PATHS.remove(TYPES_ONLY)
OWNERS = {name_of(path): path for path in PATHS}


def declared(path):
    """Paths of the scripts that a script declares to need."""
    comment = re.search(r'/\* global ([\w,\s]+)\*/', (SOURCES / path).read_text())
    return {OWNERS[name] for name in re.findall(r'\w+', comment[1])} if comment else set()


def used(path):
    """Paths of the other scripts whose names are in a script's code."""
    code = re.sub(r'/\*.*?\*/', ' ', (SOURCES / path).read_text(), flags=re.DOTALL)
    code = re.sub(r"'(?:\\.|[^'\\\n])*'", "''", code)
    # Of a template, only what stands in ${…}.
    code = re.sub(r'`[^`]*`', lambda text: ' '.join(re.findall(r'\$\{(.*?)\}', text[0])), code)
    code = re.sub(r'(?m)(?:^|\s)//.*$', '', code).replace('...', ' ')
    names = set(re.findall(r'(?<![\w.#])[A-Za-z]\w*', code))
    return {owner for name, owner in OWNERS.items() if name in names and owner != path}


def load_order(needs):
    """Paths, each after those it needs, else by folder and name.

    Args:
      needs: paths needed, by path.

    Raises:
      graphlib.CycleError: scripts need each other.
    """
    sorter, order, ready = graphlib.TopologicalSorter(needs), [], []
    sorter.prepare()
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=_rank)
        order.append(ready.pop(0))
        sorter.done(order[-1])
    return order


@pytest.mark.parametrize('path', [path for path in PATHS if not path.startswith('vendor/')])
def test_a_script_declares_what_it_uses(path):
    assert used(path) == declared(path)
    for other in declared(path):
        assert _rank(other)[0] <= _rank(path)[0], f'{path} needs {other} of a later folder'
    defined = re.findall(r'(?m)^(?:const|let|class|function) (\w+)', (SOURCES / path).read_text())
    exceptions = {'core/data.js': ['Data', 'explorer'], START: []}
    assert defined == exceptions.get(path, [name_of(path)])


def test_a_circle_is_found():
    with pytest.raises(graphlib.CycleError):
        load_order({'core/a.js': {'core/b.js'}, 'core/b.js': {'core/a.js'}})


def test_the_page_loads_scripts_in_the_order_of_their_needs():
    page = (SOURCES / 'index.html').read_text()
    *scripts, manifest, start = re.findall(r'<script src="([^"]+)"></script>', page)
    needs = {path: declared(path) for path in PATHS if path != START}
    assert scripts == [f'explorer/{path}' for path in load_order(needs)]
    assert [manifest, start] == ['data/manifest.js', f'explorer/{START}']


def test_the_page_loads_all_styles():
    page = (SOURCES / 'index.html').read_text()
    styles = re.findall(r'<link rel="stylesheet" href="explorer/([^"]+)">', page)
    paths = [path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob('*.css')]
    assert styles[0] == 'ui/palette.css'  # others use its variables
    assert sorted(styles) == sorted(paths)
