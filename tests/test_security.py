"""Calls and imports that the project must not have anywhere, and its open socket."""

import ast
import subprocess
import sys

import pytest

from tests.paths import ROOT

FOLDERS = ('analysis', 'configs', 'scripts', 'segmentation', 'tests')
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob('*.py'))

# Reading the files of these modules can run code.
_UNSAFE_MODULES = {
    'pickle',
    'cPickle',
    'dill',
    'cloudpickle',
    'joblib',
    'shelve',
    'marshal',
}
_UNSAFE_CALLS = {
    'eval', 'exec', 'os.system', 'os.popen', 'torch.load', 'pandas.read_pickle', 'tempfile.mktemp',
}  # fmt: skip


def findings(source: str) -> list[str]:
    """Forbidden imports and calls in a program, as 'line: what'."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            modules = [node.module or ''] if isinstance(node, ast.ImportFrom) else names
            if isinstance(node, ast.ImportFrom) and node.module == 'yaml':
                found.append(f'{node.lineno}: hides which function of yaml is called')
            found += [
                f'{node.lineno}: imports {module}'
                for module in modules
                if module.partition('.')[0] in _UNSAFE_MODULES
            ]
        if not isinstance(node, ast.Call):
            continue
        name, options = ast.unparse(node.func), {word.arg: word.value for word in node.keywords}
        pickles = options.get('allow_pickle')
        if name in _UNSAFE_CALLS or (name.startswith('yaml.') and name != 'yaml.safe_load'):
            found.append(f'{node.lineno}: {name}')
        if name.rpartition('.')[2] in ('extractall', 'extract', 'unpack_archive'):
            found.append(f'{node.lineno}: {name}, where the archive chooses the file names')
        if pickles is not None and ast.unparse(pickles) != 'False':
            found.append(f'{node.lineno}: allow_pickle')
        if name in ('np.load', 'numpy.load') and pickles is None:
            found.append(f'{node.lineno}: {name} without allow_pickle=False')
        if 'shell' in options and ast.unparse(options['shell']) != 'False':
            found.append(f'{node.lineno}: a shell')
    return found


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_data_are_unpickled_or_run(path):
    assert findings(path.read_text()) == []


@pytest.mark.parametrize(
    'source',
    [
        'import pickle',
        'from joblib import load',
        'import yaml; yaml.load(text)',
        'from yaml import load',
        'import numpy as np; np.load("x")',
        'import numpy as np; np.load("x", allow_pickle=True)',
        'eval(text)',
        'import subprocess; subprocess.run("ls", shell=True)',
        'zipfile.ZipFile("x").extractall()',
    ],
)
def test_each_forbidden_call_is_found(source):
    assert len(findings(source)) == 1


def test_the_repository_holds_no_pickled_files():
    suffixes = {'.pkl', '.pickle', '.joblib', '.pt', '.pth', '.dill'}
    assert not [path for f in FOLDERS for path in (ROOT / f).rglob('*') if path.suffix in suffixes]


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc for open sockets')
def test_the_coordinator_listens_only_at_its_address():
    program = (
        'import os, re, socket, sys\n'
        'from segmentation import launch\n'
        'with socket.socket() as probe:\n'
        '    probe.bind(("127.0.0.1", 0))\n'
        '    address = f"127.0.0.1:{probe.getsockname()[1]}"\n'
        'launch.initialize_processes(address, 1, 0)\n'
        'open_files = [os.readlink(entry) for entry in os.scandir("/proc/self/fd")\n'
        '              if os.path.islink(entry)]\n'
        'for table in ("tcp", "tcp6"):\n'
        '    for line in open(f"/proc/net/{table}").readlines()[1:]:\n'
        '        local, state, inode = (line.split()[i] for i in (1, 3, 9))\n'
        '        if state == "0A" and f"socket:[{inode}]" in open_files:\n'
        '            print(local.partition(":")[0])\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    # As the kernel writes 127.0.0.1, and ::ffff:127.0.0.1.
    assert set(done.stdout.split()) in ({'0100007F'}, {'0000000000000000FFFF00000100007F'})
