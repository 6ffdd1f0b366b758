"""Looks up known vulnerabilities of the installed packages, with pip-audit.

    python scripts/audit_dependencies.py --json audit.json

Everything in the environment that runs this is looked up, not only what requirements.txt names.
pip-audit is installed into an environment of its own, so that nothing here changes. Both installing
it and looking up need the internet. The exit status is 1 if there are vulnerabilities and 2 if they
could not be looked up.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import sysconfig
import tempfile
import venv

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from segmentation import markdown  # noqa: E402

PIP_AUDIT = 'pip-audit==2.10.1'


def look_up(environment: pathlib.Path) -> list[dict]:
    """Runs pip-audit, which is installed into `environment` if it is not there.

    Returns:
      Its report: dicts with `name`, and `version` and `vulns` or `skip_reason`.

    Raises:
      ConnectionError: it could not be installed, or could not look up; with its own last words.
    """
    command = environment / 'bin' / 'pip-audit'
    if not command.exists():
        print(f'installing {PIP_AUDIT} into {environment}', file=sys.stderr)
        venv.create(environment, with_pip=True)
        pip = [environment / 'bin' / 'python', '-m', 'pip', '--disable-pip-version-check']
        _run([*pip, 'install', '--quiet', PIP_AUDIT], f'{PIP_AUDIT} could not be installed')
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / 'report.json'
        packages = sysconfig.get_path('purelib')
        options = ['--path', packages, '--format', 'json', '--output', report]
        # It ends with 1 both if it found something and if it failed; only then is there no report.
        _run([command, *options, '--progress-spinner', 'off'], 'nothing could be looked up', report)
        return json.loads(report.read_text())['dependencies']


def _run(command: list, problem: str, result: pathlib.Path | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not result.exists() if result else done.returncode:
        words = markdown.printable('\n'.join(done.stderr.strip().split('\n')[-1:]))
        raise ConnectionError(f'{problem}; is there a connection to the internet? ({words[:500]})')


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--environment',
        type=pathlib.Path,
        default=ROOT / '.venv-audit',
        help='where pip-audit is installed; default: .venv-audit beside the scripts',
    )
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    arguments = parser.parse_args(argv)
    try:
        packages = look_up(arguments.environment)
        known = [package for package in packages if 'vulns' in package]
        if not known:
            raise ConnectionError(
                f'none of {len(packages)} packages could be looked up; is there a connection to '
                'the internet?'
            )
        if arguments.json:
            arguments.json.write_text(json.dumps(packages, indent=2) + '\n')
    except (OSError, ValueError) as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        return 2
    rows = [
        (
            package['name'],
            package['version'],
            ', '.join([found['id'], *found.get('aliases', ())]),
            ', '.join(found['fix_versions']) or 'none yet',
        )
        for package in known
        for found in package['vulns']
    ]
    if rows:
        print(markdown.table(('package', 'installed', 'vulnerability', 'fixed in'), rows) + '\n')
    print(f'{len(known)} packages looked up, {len(rows)} known vulnerabilities.')
    if others := [package['name'] for package in packages if 'vulns' not in package]:
        print(markdown.printable(f'The service does not know {", ".join(others)}.'))
    return 1 if rows else 0


if __name__ == '__main__':
    sys.exit(main())
