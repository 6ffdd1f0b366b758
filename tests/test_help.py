"""Every command answers `--help` without importing what takes seconds."""

import json
import os
import subprocess
import sys

import pytest

from tests.paths import ROOT

HEAVY = (
    'jax', 'flax', 'optax', 'orbax', 'tensorflow_datasets', 'sklearn', 'scipy.stats', 'matplotlib',
    'optuna', 'hypothesis',
)  # fmt: skip
SCRIPTS = tuple(
    str(path.relative_to(ROOT))
    for path in sorted((ROOT / 'scripts').rglob('*.py'))
    # Workers are started by a benchmark, not by people.
    if "__name__ == '__main__'" in path.read_text() and path.parent.name != 'peers'
)
STAGES = tuple(
    f'analysis.{path.parent.name}' for path in sorted((ROOT / 'analysis').glob('*/__main__.py'))
)
# All commands in one process: what is light is imported once.
RUN = """
import contextlib, io, json, os, runpy, sys

commands, heavy = json.loads(sys.argv[1])
result, seen = {}, set()
for command in commands:
    printed, sys.argv = io.StringIO(), [command, '--help']
    with contextlib.redirect_stdout(printed):
        try:
            # Where Python looks first when it runs a script or a module.
            sys.path[0] = os.path.dirname(command) if command.endswith('.py') else ''
            if command.endswith('.py'):
                runpy.run_path(command, run_name='__main__')
            else:
                runpy.run_module(command, run_name='__main__')
            status = 'it went on'
        except SystemExit as error:
            status = error.code
    imported = {name for name in heavy if name in sys.modules}
    result[command] = status, printed.getvalue(), sorted(imported - seen)
    seen |= imported
print(json.dumps(result))
"""


@pytest.fixture(scope='module')
def answers():
    """Exit status, output, and the modules of `HEAVY` that were imported, by command."""
    given = json.dumps(((*SCRIPTS, *STAGES), HEAVY))
    done = subprocess.run(
        [sys.executable, '-c', RUN, given],
        env={name: value for name, value in os.environ.items() if name != 'PYTHONPATH'},
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.parametrize('command', [*SCRIPTS, *STAGES])
def test_help_helps_and_imports_nothing_heavy(answers, command):
    status, text, imported = answers[command]
    assert status == 0
    assert '--json' in text and len(text.splitlines()) > 8
    assert imported == [], 'import it in a function, after the arguments are parsed'
