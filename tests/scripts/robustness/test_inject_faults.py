"""A short campaign of faults, and that it would notice."""

import json
import random
import subprocess
import sys

from scripts.robustness import inject_faults
from tests.paths import ROOT


def test_every_fault_ends_well(tmp_path):
    # In a process of its own, which has not computed anything yet.
    command = [
        sys.executable,
        'scripts/robustness/inject_faults.py',
        '--workdir',
        tmp_path,
        '--count',
        '8',
    ]
    done = subprocess.run(
        [*command, '--json', tmp_path / 'faults.json'],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    table = json.loads((tmp_path / 'faults.json').read_text())
    assert [path.name for path in tmp_path.iterdir()] == ['faults.json']
    for fault, outcomes in table.items():
        assert fault.replace('_', r'\_') in done.stdout
        assert all(map(inject_faults.is_fine, outcomes)), (fault, outcomes)
    kinds = {fault.partition(':')[0] for fault in table}
    assert kinds >= {'killed', 'bit flip', 'cut short', 'damaged image'}
    assert table['killed: in the writing of a checkpoint']['recovered'] > 5
    assert table['killed: in the writing of prepared data']['recovered'] > 5
    assert table['bit flip: thing.npz of an analysis'].get('noticed', 0) > 5


def test_what_is_wrong_would_be_called_so(tmp_path):
    path, rng = tmp_path / 'file', random.Random(0)
    path.write_text('12345')

    def change(data):
        return inject_faults.flip_bit(data, rng)

    def raise_it(error):
        raise error

    def outcome(read):
        return inject_faults.damage(path, change, read, '12345', path)

    assert outcome(lambda: path.read_bytes().decode('latin-1')) == 'BELIEVED'
    assert outcome(lambda: '12345') == 'done'
    assert outcome(lambda: raise_it(ValueError(f'{path} is damaged'))) == 'noticed'
    assert outcome(lambda: raise_it(ValueError('bad'))) == 'NOT NAMED: bad'
    assert outcome(lambda: raise_it(KeyError('x'))) == 'RAISED KeyError'
    assert path.read_text() == '12345'
    assert not any(map(inject_faults.is_fine, ('BELIEVED', 'NOT NAMED: bad', 'RAISED KeyError')))
