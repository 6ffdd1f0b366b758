"""What the audit makes of the answers of pip-audit, for which a program stands here."""

import json

import pytest

from scripts import audit_dependencies

SAFE = {'name': 'numpy', 'version': '2.4.6', 'vulns': []}
UNKNOWN = {'name': 'mine', 'skip_reason': 'not found'}
FOUND = {
    'name': 'pillow',
    'version': '1.0',
    'vulns': [{'id': 'PYSEC-1', 'aliases': ['CVE-1'], 'fix_versions': ['1.1'], 'description': ''}],
}


@pytest.mark.parametrize(
    ('answer', 'status', 'text'),
    [
        ([SAFE, UNKNOWN], 0, '1 packages looked up, 0 known'),
        ([SAFE, FOUND], 1, '| pillow | 1.0 | PYSEC-1, CVE-1 | 1.1 |'),
        # Not the same as knowing of no vulnerability.
        ([UNKNOWN, UNKNOWN], 2, 'none of 2 packages could be looked up; is there a connection'),
        (
            None,
            2,
            r'nothing could be looked up; is there a connection to the internet? (no \x1broute)',
        ),
    ],
)
def test_answers(tmp_path, capsys, answer, status, text):
    program = tmp_path / 'bin' / 'pip-audit'
    program.parent.mkdir()
    lines = ['#!/bin/sh', "printf 'Traceback\\nno \\033route\\n' >&2"]
    if answer is not None:
        (tmp_path / 'answer').write_text(json.dumps({'dependencies': answer}))
        # The report is the sixth argument.
        lines.append(f'cp {tmp_path}/answer "$6"')
    program.write_text('\n'.join([*lines, 'exit 1', '']))
    program.chmod(0o755)
    result = tmp_path / 'out.json'
    arguments = ['--environment', str(tmp_path), '--json', str(result)]
    assert audit_dependencies.main(arguments) == status
    printed = capsys.readouterr()
    assert text in printed.out + printed.err
    assert result.exists() == (status != 2)
