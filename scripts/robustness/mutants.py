"""Breaks the code one line at a time, and reports which breaks no test notices.

    python scripts/robustness/mutants.py --workdir runs/mutants --json mutants.json
    python scripts/robustness/mutants.py --workdir runs/mutants --every 10 --commit COMMIT

mutants.toml names the mutants: the file, the text that is replaced, and the tests that must fail.
Each is tried in a copy of the tracked files, after its tests have passed without it. A mutant is
killed if its tests fail, survives if they pass, and is stale if the text is not exactly once in the
file. The exit status is 1 unless all are killed. Verdicts of code and tests that have not changed
are kept in --workdir, so the same command continues.
"""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tomllib
from typing import Any

from harness import ROOT, make_parser, run_campaign
from tqdm import tqdm

from segmentation import markdown
from segmentation.files import write_json

KILLED, SURVIVED, STALE, BROKEN = 'killed', 'survived', 'stale', 'tests fail without it'
_SECONDS = 900  # for the tests of one mutant; an endless loop is a failure too


def read_mutants(path: pathlib.Path) -> list[dict[str, Any]]:
    """Reads and checks a list of mutants: `name`, `file`, `old`, `new` and `tests` of each.

    Raises:
      ValueError: a field is missing or unknown, or two mutants have one name.
    """
    mutants = tomllib.loads(path.read_text())['mutant']
    for mutant in mutants:
        if mutant.keys() != {'name', 'file', 'old', 'new', 'tests'}:
            raise ValueError(f'{path}: {mutant.get("name")} has the fields {sorted(mutant)}.')
    names = [mutant['name'] for mutant in mutants]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f'{path}: several mutants are named {sorted(twice)}.')
    return mutants


def choose(mutants: list[dict], every: int, commit: str) -> list[dict]:
    """One in `every` mutants, at least one, by a hash of their name and the commit."""
    ordered = sorted(
        mutants, key=lambda m: hashlib.sha256(f'{commit}/{m["name"]}'.encode()).digest()
    )
    return ordered[: max(1, round(len(mutants) / every))]


def copy_tree(folder: pathlib.Path) -> pathlib.Path:
    """Copies the tracked files; what lies beside the project stays reachable from the copy."""
    tree = folder / 'tree'
    shutil.rmtree(tree, ignore_errors=True)
    names = subprocess.check_output(['git', 'ls-files', '-z'], cwd=ROOT, text=True)
    for name in filter(None, names.split('\0')):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
    for path in ROOT.parent.glob('shared'):
        if not (folder / path.name).exists():
            (folder / path.name).symlink_to(path)
    return tree


def passes(tree: pathlib.Path, tests: list[str]) -> bool:
    """Whether tests pass in a copy of the project.

    Raises:
      ValueError: a test does not exist.
    """
    command = [sys.executable, '-m', 'pytest', '-q', '-x', '-n0', '-p', 'no:cacheprovider', *tests]
    # The copy comes before the installed package, also in commands that tests start.
    environment = os.environ | {'PYTHONPATH': str(tree), 'PYTHONDONTWRITEBYTECODE': '1'}
    try:
        run = subprocess.run(
            command, cwd=tree, env=environment, timeout=_SECONDS, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired:
        return False
    if run.returncode not in (0, 1):
        # An import that fails is a failure; a test that does not exist is a mistake.
        if 'not found' in run.stderr or run.returncode == 5:
            raise ValueError(f'{" ".join(tests)}: {run.stderr.strip() or "no test is selected"}')
    return run.returncode == 0


def digest(tree: pathlib.Path) -> str:
    """SHA-256 of all code and tests."""
    content = hashlib.sha256()
    for path in sorted(tree.rglob('*.py')):
        content.update(f'{path.relative_to(tree)}\0'.encode() + path.read_bytes())
    return content.hexdigest()


def judge(mutant: dict, tree: pathlib.Path, passed: set[tuple[str, ...]]) -> str:
    """The verdict on a mutant; `passed` collects the tests that pass without any."""
    path, tests = tree / mutant['file'], tuple(mutant['tests'])
    code = path.read_text()
    if code.count(mutant['old']) != 1:
        return STALE
    if tests not in passed:
        if not passes(tree, list(tests)):
            return BROKEN
        passed.add(tests)
    path.write_text(code.replace(mutant['old'], mutant['new']))
    try:
        return SURVIVED if passes(tree, list(tests)) else KILLED
    finally:
        path.write_text(code)


def try_mutants(arguments: argparse.Namespace) -> dict:
    """Returns the `verdicts` by name, and the number of mutants that are `named`."""
    mutants = read_mutants(arguments.mutants)
    chosen = choose(mutants, arguments.every, arguments.commit)
    if arguments.only:
        chosen = [mutant for mutant in mutants if arguments.only in mutant['name']]
    tree, kept = copy_tree(arguments.workdir), arguments.workdir / 'verdicts.json'
    known = json.loads(kept.read_text()) if kept.exists() else {}
    state, verdicts, passed = digest(tree), {}, set[tuple[str, ...]]()
    bar = tqdm(chosen, unit='mutant')
    for mutant in bar:
        bar.set_postfix_str(mutant['name'])
        key = hashlib.sha256(json.dumps([state, mutant], sort_keys=True).encode()).hexdigest()
        if key not in known:
            known[key] = judge(mutant, tree, passed)
            write_json(kept, known)
        verdicts[mutant['name']] = known[key]
    return {'named': len(mutants), 'tried': len(chosen), 'verdicts': verdicts}


def to_markdown(result: dict) -> str:
    verdicts = result['verdicts']
    found = list(verdicts.values())
    rows = [(name, verdict) for name, verdict in verdicts.items() if verdict != KILLED]
    text = (
        f'{found.count(KILLED)} of {len(found)} mutants are killed ({result["named"]} are named).'
    )
    return '\n\n'.join([*([markdown.table(('mutant', 'verdict'), rows)] if rows else []), text])


def main(argv: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    here = pathlib.Path(__file__).with_name('mutants.toml')
    add = parser.add_argument
    add('--mutants', type=pathlib.Path, default=here, metavar='FILE', help='the list of mutants')
    add('--only', metavar='TEXT', help='try only mutants with this text in their name')
    add('--every', type=int, default=1, metavar='N', help='try one in N, chosen by --commit')
    add('--commit', default='', metavar='HASH', help='another commit has other mutants tried')
    arguments = parser.parse_args(argv)
    if arguments.every < 1:
        parser.error('--every must be at least 1')
    fine = lambda result: set(result['verdicts'].values()) == {KILLED}  # noqa: E731
    return run_campaign(arguments, try_mutants, to_markdown, fine)


if __name__ == '__main__':
    sys.exit(main())
