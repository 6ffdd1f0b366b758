"""Mutation testing: changes the code one line at a time; reports what no test detects.

    python scripts/robustness/mutants.py --workdir runs/mutants --json mutants.json
    python scripts/robustness/mutants.py --workdir runs/mutants --every 10 --commit COMMIT

mutants.toml names the mutants: the file, the text that is replaced, and the tests that must fail.
Each is tried in a copy of the project, after its tests have passed without it. As many run at once
as there are cores, at most four. A mutant is killed if its tests fail, survives if they pass, and
is stale if the text does not occur exactly once in the file. The exit status is 1 unless all are
killed. --workdir keeps the verdicts until code, tests or files that they read change, so the same
command continues.
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
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from harness import ROOT, make_parser, run_campaign
from tqdm import tqdm

from segmentation import markdown
from segmentation.files import write_json

KILLED, SURVIVED, STALE, BROKEN = 'killed', 'survived', 'stale', 'tests fail without it'
_READ = {'.py', '.js', '.html', '.css', '.json', '.toml', '.md', '.sh', '.txt'}  # by tests
_NOT_READ = {'mutants.toml', 'CHANGELOG.md'}
_SECONDS = 900  # for a test; an endless loop is a failure too


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


def list_files() -> list[pathlib.Path]:
    """Files of the project: what git does not ignore, or without git what is not hidden."""
    command = ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard']
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        names = list(map(pathlib.Path, filter(None, run.stdout.split('\0'))))
    except (OSError, subprocess.CalledProcessError):
        names = []
    if not names:  # Also if the project lies unversioned inside another repository.
        found = (path.relative_to(ROOT) for path in ROOT.rglob('*'))
        names = [name for name in found if not any(part.startswith('.') for part in name.parts)]
    return [name for name in names if (ROOT / name).is_file()]


def copy_tree(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Copies the project; what lies beside it stays reachable from the copy."""
    tree = folder / name
    shutil.rmtree(tree, ignore_errors=True)
    for file in list_files():
        (tree / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tree / file)
    for path in ROOT.parent.glob('shared'):
        if not (folder / path.name).exists():
            (folder / path.name).symlink_to(path)
    return tree


def passes(tree: pathlib.Path, tests: Collection[str], processes: int = 0) -> bool:
    """Whether tests pass in a copy of the project, with pytest's `processes` beside its own.

    Raises:
      ValueError: a test does not exist.
    """
    command = [sys.executable, '-m', 'pytest', '-q', '-x', '-p', 'no:cacheprovider', *tests]
    command += [f'-n{processes}', '--dist=loadfile']
    # The copy comes before the installed package, also in commands that tests start. What a mutant
    # does not change is compiled once for all of them.
    environment = {
        'JAX_COMPILATION_CACHE_DIR': str(tree.parent / 'compiled'),
        **os.environ,
        'PYTHONPATH': str(tree),
        'PYTHONDONTWRITEBYTECODE': '1',
    }
    try:
        run = subprocess.run(
            command, cwd=tree, env=environment, timeout=_SECONDS * len(tests), capture_output=True,
            text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    if run.returncode not in (0, 1):
        # A failing import is a failure of the test; a test that does not exist is an error here.
        if 'not found' in run.stderr or run.returncode == 5:
            raise ValueError(f'{" ".join(tests)}: {run.stderr.strip() or "no test is selected"}')
    return run.returncode == 0


def digest(tree: pathlib.Path) -> str:
    """SHA-256 of all code and tests, and of what they read."""
    content = hashlib.sha256()
    for path in sorted(
        path for path in tree.rglob('*') if path.suffix in _READ and path.name not in _NOT_READ
    ):
        content.update(f'{path.relative_to(tree)}\0'.encode() + path.read_bytes())
    return content.hexdigest()


def judge(mutant: dict, tree: pathlib.Path, passed: set[str]) -> str:
    """The verdict on a mutant; `passed` collects the tests that pass without any."""
    path, tests = tree / mutant['file'], mutant['tests']
    code = path.read_text()
    if code.count(mutant['old']) != 1:
        return STALE
    if not passed.issuperset(tests):
        if not passes(tree, tests):
            return BROKEN
        passed.update(tests)
    path.write_text(code.replace(mutant['old'], mutant['new']))
    try:
        return SURVIVED if passes(tree, tests) else KILLED
    finally:
        path.write_text(code)


def try_mutants(arguments: argparse.Namespace) -> dict:
    """Returns the `verdicts` by name, and the number of mutants that are `named`."""
    mutants = read_mutants(arguments.mutants)
    chosen = choose(mutants, arguments.every, arguments.commit)
    if arguments.only:
        chosen = [m for m in mutants if any(text in m['name'] for text in arguments.only)]
    kept = arguments.workdir / 'verdicts.json'
    known = json.loads(kept.read_text()) if kept.exists() else {}
    count = min(os.cpu_count() or 1, 4)
    trees = [copy_tree(arguments.workdir, f'tree{number}') for number in range(count)]
    state = digest(trees[0])
    contents = {m['name']: json.dumps([state, m], sort_keys=True).encode() for m in chosen}
    keys = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    unknown = [mutant for mutant in chosen if keys[mutant['name']] not in known]
    # All at once, because each start of pytest takes seconds; one by one if any fails.
    tests = {test for mutant in unknown for test in mutant['tests']}
    passed = tests if tests and passes(trees[0], sorted(tests), count) else set[str]()

    def attempt(mutant: dict) -> tuple[str, str]:
        tree = trees.pop()  # One for each thread. Lists are safe to share between them.
        try:
            return mutant['name'], judge(mutant, tree, passed)
        finally:
            trees.append(tree)

    with ThreadPoolExecutor(count) as threads:
        attempts = [threads.submit(attempt, mutant) for mutant in unknown]
        try:
            for done in tqdm(as_completed(attempts), total=len(attempts), unit='mutant'):
                name, verdict = done.result()
                known[keys[name]] = verdict
                write_json(kept, known)
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    verdicts = {name: known[key] for name, key in keys.items()}
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
    add('--only', nargs='+', metavar='TEXT', help='try only mutants whose name contains it')
    add('--every', type=int, default=1, metavar='N', help='try one in N, chosen by --commit')
    add('--commit', default='', metavar='HASH', help='chooses the mutants that --every tries')
    arguments = parser.parse_args(argv)
    if arguments.every < 1:
        parser.error('--every must be at least 1')
    fine = lambda result: set(result['verdicts'].values()) == {KILLED}  # noqa: E731
    return run_campaign(arguments, try_mutants, to_markdown, fine)


if __name__ == '__main__':
    sys.exit(main())
