"""The campaign of kills, on commands that take no time: that it ends, counts, and would notice."""

import json
import random
import shutil
import subprocess
import time

import harness
import kill_sweep
import numpy as np
import optuna
import pytest

from scripts.robustness import kill_anywhere
from segmentation import checkpoint

# Counts to 30, and goes on from where it was killed; what it does to the file between is said.
COUNT = """
import os, pathlib, time
path, partial = pathlib.Path('{name}'), pathlib.Path('.{name}')
for number in range(int(path.read_text() or 0) if path.exists() else 0, 30):
    time.sleep(0.01)
    {write}
"""
# Completes one trial after the other, beside a process that looks like a worker.
SWEEP = """
import optuna, pathlib, subprocess, sys, time
pathlib.Path('sweep').mkdir(exist_ok=True)
worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', 'spawn_main'])
storage = 'sqlite:///sweep/study.sqlite'
study = optuna.create_study(study_name='sweep', storage=storage, load_if_exists=True)
done = {trial.user_attrs['key'] for trial in study.trials}
for key in ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'):
    if key not in done:
        time.sleep(0.15)
        folder = pathlib.Path('sweep/trials', key)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'metrics.jsonl').write_text(key)
        study.add_trial(optuna.create_trial(value=0.5, user_attrs={'key': key}))
worker.kill()
"""
WHOLE = 'partial.write_text(str(number + 1)); os.replace(partial, path)'
DOUBLED = f"pathlib.Path('log').open('a').write(f'{{number}}\\n'); time.sleep(0.02); {WHOLE}"
LITTER = f"pathlib.Path(f'part-{{os.getpid()}}').touch(); {WHOLE}; time.sleep(0.01)"


def campaign(folder, monkeypatch, *writes, kills=8):
    commands = {
        f'count {i}': ['-c', COUNT.format(name=f'file{i}', write=write)]
        for i, write in enumerate(writes)
    }
    monkeypatch.setattr(kill_anywhere, 'chain', lambda: commands)
    return kill_anywhere.campaign(folder, kills, 0, seed=1)


def test_commands_that_recover_come_to_the_same_end(tmp_path, monkeypatch):
    result = campaign(tmp_path, monkeypatch, WHOLE, WHOLE)
    rows = result['commands'].values()
    assert sum(row['kills'] for row in rows) == 8 and min(row['kills'] for row in rows) > 0
    assert [row['files'] for row in rows] == [1, 2] and kill_anywhere.is_fine(result)
    assert '| count 0 |' in (tmp_path / 'report.md').read_text()
    # Started again it has nothing left to do; with other numbers it is another campaign.
    monkeypatch.setattr(kill_anywhere, 'attempt', None)
    assert campaign(tmp_path, monkeypatch, WHOLE, WHOLE) == result
    with pytest.raises(ValueError, match='other numbers'):
        campaign(tmp_path, monkeypatch, WHOLE, kills=9)


@pytest.mark.parametrize(
    ('write', 'line'), [(DOUBLED, 'log differs'), (LITTER, 'part-')], ids=['doubled', 'litter']
)
def test_commands_that_do_not_recover_are_found(tmp_path, monkeypatch, write, line):
    if write is LITTER:
        # What each process leaves, it removes at its end, unless it is killed.
        write += "\n[path.unlink() for path in pathlib.Path().glob(f'part-{os.getpid()}')]"
    result = campaign(tmp_path, monkeypatch, write)
    assert not kill_anywhere.is_fine(result)
    assert any(line in found for found in result['commands']['count 0']['differences'])


def test_moments_are_spread_over_the_chain_and_every_command():
    moments = kill_anywhere.draw_moments({'a': 1.0, 'b': 9.0}, 1000, seed=0)
    # A hundred in each, and 10 % and 90 % of the others.
    assert sum(map(len, moments.values())) == 1000 and 140 < len(moments['a']) < 220
    shares = np.histogram(moments['b'], 5, (0, 1))[0]
    assert shares.min() > 130 and shares.max() < 200
    assert moments == kill_anywhere.draw_moments({'a': 1.0, 'b': 9.0}, 1000, seed=0)


def test_workers_outside_of_the_group_are_killed_too(tmp_path):
    child = f"import os, time; os.setsid(); open({str(tmp_path / 'there')!r}, 'w'); time.sleep(60)"
    parent = f'import subprocess, sys; subprocess.run([sys.executable, "-c", {child!r}])'
    folder = tmp_path / 'folder'
    folder.mkdir()
    with harness.started(['-c', parent], folder) as process:
        while not (tmp_path / 'there').exists():
            time.sleep(0.01)
        [child] = harness.children(process.pid)
    assert process.returncode == -9
    status = b'R'
    while status[:1] not in (b'', b'Z'):  # killed, but on a busy machine it takes a while to end
        assert status[:1] != b'S'
        ps = ['ps', '-o', 'stat=', '-p', str(child.pid)]
        status = subprocess.run(ps, capture_output=True, check=False).stdout


def test_kill_inside_the_writing_of_a_checkpoint(tmp_path):
    write = (
        'import pathlib, time\nfor step in range(9):\n    time.sleep(0.05)\n'
        "    pathlib.Path(f'run/checkpoints/{step}.orbax-checkpoint-tmp').mkdir(parents=True)"
    )
    (tmp_path / 'folder').mkdir()
    found = kill_anywhere.attempt(['-c', write], tmp_path / 'folder', 0.0, True)
    assert found == (-9, True)
    assert len(kill_anywhere.unfinished(tmp_path / 'folder')) == 1


def test_what_is_compared(tiny_run, tmp_path):
    one, other = tmp_path / 'one' / 'run', tmp_path / 'other' / 'run'
    for run in (one, other):
        shutil.copytree(tiny_run, run)
        # Saved again: its files differ, what is in them does not.
        with checkpoint.open_manager(run) as manager:
            arrays = checkpoint.restore_arrays(manager, 0)
            checkpoint.save(manager, 3, arrays, {'next_index': 3}, {checkpoint.BEST_METRIC: 0.5})
            checkpoint.wait(manager)
        line = {'step': 1, 'loss': 0.5, 'train/images_per_second': random.random()}
        (run / 'metrics.jsonl').write_text(json.dumps(line) + '\n')
        created = f'"created":"2026-01-{random.randint(10, 28)}"'
        (run / 'manifest.js').write_text(f'provide({{"step":3,{created}}})')
        (run / 'path.txt').write_text(f'{run} is mine')
        (run / 'tensorboard').mkdir()
        (run / 'tensorboard' / str(random.random())).touch()

    def found():
        expected, actual = (harness.contents(folder.parent) for folder in (one, other))
        assert {'run/checkpoints/3', 'run/metrics.jsonl', 'run/path.txt'} <= expected.keys()
        return harness.differences(expected, actual)

    assert not found()
    (other / 'checkpoints' / '5.orbax-checkpoint-tmp').mkdir()
    assert found() == ['run/checkpoints/5.orbax-checkpoint-tmp is left over']
    shutil.rmtree(other / 'checkpoints' / '3' / 'state')
    assert 'run/checkpoints/3 differs' in found()
    lines = (other / 'metrics.jsonl').read_text()
    (other / 'metrics.jsonl').write_text(2 * lines)
    shutil.rmtree(other / 'checkpoints')
    manifest = (other / 'manifest.js').read_text()
    (other / 'manifest.js').write_text(manifest.replace('"step":3', '"step":4'))
    arrays['params']['decoder'] = {'bias': np.float32(1)}
    with checkpoint.open_manager(other) as manager:
        checkpoint.save(manager, 3, arrays, {'next_index': 3}, {checkpoint.BEST_METRIC: 0.5})
        checkpoint.wait(manager)
    assert found() == [
        'run/checkpoints/0 is missing',
        'run/checkpoints/3 differs',
        'run/manifest.js differs',
        'run/metrics.jsonl differs',
    ]


def test_trials_are_counted(tmp_path):
    folder = tmp_path / 'sweep'
    for key in 'ab':
        (folder / 'trials' / key).mkdir(parents=True)
        (folder / 'trials' / key / 'metrics.jsonl').write_text('{"step": 1}\n')
    study = optuna.create_study(study_name='sweep', storage=f'sqlite:///{folder}/study.sqlite')
    for key, value in (('a', 0.5), ('b', 0.25), ('b', 0.25)):
        study.add_trial(optuna.create_trial(value=value, user_attrs={'key': key}))
    study.ask()  # and one that runs
    known = {}
    complete = kill_sweep.look_at_trials(tmp_path, known)
    assert complete == {'a': 1, 'b': 2} and known['a']['score'] == 0.5
    state = {
        'ended': {},
        'kills': [],
        'sweep': {
            'trials': 3, 'complete': complete, 'known': known, 'kills': ['whole', 'worker'],
            'expected': {'a': known['a'], 'b': {**known['b'], 'score': 0.3}},
        },
    }  # fmt: skip
    result = kill_anywhere.summarize(state)
    assert result['sweep'] == {
        'trials': 3, 'complete': 2, 'lost': 1, 'doubled': ['b'], 'compared': 2, 'differing': ['b'],
        'kills': {'whole': 1, 'worker': 1},
    }  # fmt: skip
    assert not kill_anywhere.is_fine(result)
    assert '2 of 3 trials complete, 1 lost, 1 doubled' in kill_anywhere.to_markdown(result)


def test_a_sweep_that_is_killed_comes_to_the_same_end(tmp_path, monkeypatch):
    monkeypatch.setattr(kill_sweep, 'sweep_command', lambda: ['-c', SWEEP])
    state = {'ended': {}, 'kills': []}
    state['sweep'] = kill_sweep.run_undisturbed(tmp_path, 8)
    # By this seed both kills come early, so that no sweep is quick enough to escape them.
    kill_sweep.run_killed(tmp_path, 356, state['sweep'], lambda: None)
    sweep = kill_anywhere.summarize(state)['sweep']
    assert sum(sweep['kills'].values()) == 2 and sweep['complete'] == sweep['compared'] == 8
    assert kill_anywhere.is_fine({'commands': {}, 'sweep': sweep})
    state['sweep']['expected']['c']['score'] = 0.25
    assert kill_anywhere.summarize(state)['sweep']['differing'] == ['c']


def test_a_command_that_fails_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(kill_anywhere, 'chain', lambda: {'broken': ['-c', 'raise SystemExit(3)']})
    assert kill_anywhere.main(['--workdir', str(tmp_path), '--trials_of_sweep', '0']) == 1
    assert 'broken ended with status 3; see the end of' in capsys.readouterr().err
