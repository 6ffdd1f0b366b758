"""The command `scripts/sweep.py`: several workers, signals, and a worker that is killed."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import optuna
import pytest
import sqlalchemy

from configs import default
from scripts import sweep as sweep_command
from scripts.sweep import parse_arguments
from segmentation import checkpoint, launch
from segmentation.config import flat, load_config, read_config, save_config

CONFIG = """
import pathlib
from segmentation.config import read_config

def get_config():
    return read_config(pathlib.Path(__file__).with_suffix('.json'))

def sweep():
    yield {'optimizer.learning_rate': 2e-3, 'loss.class_weights': (1.0, 2.0, 2.0)}
    yield {'optimizer.learning_rate': float('inf')}
    yield {}

def sweep_wrong():
    yield {'optimizer.learning_rat': 1e-3}
"""
NUM_STEPS = 12


def environment():
    flags = f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count=1'
    return {**os.environ, 'XLA_FLAGS': flags}


def command(folder, *arguments):
    """A sweep of two workers, as a process with the standard output and error in one pipe."""
    return subprocess.Popen(
        [sys.executable, 'scripts/sweep.py', '--config', folder / 'tiny.py', '--workdir',
         folder / 'sweep', '--workers=2', '--config.seed=3', *arguments],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def wait_for(condition, process, seconds=300):
    """Waits until something is true while a process runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end, 'nothing happened'
        time.sleep(0.02)


def first_checkpoints(folder):
    """Run directories that have a checkpoint, but not yet the last."""
    return [
        path.parents[1]
        for path in (folder / 'sweep' / 'trials').glob('*/checkpoints/2')
        if not (path.parent / str(NUM_STEPS)).exists()
    ]


def trials_of(folder):
    return optuna.load_study(
        study_name='sweep', storage=f'sqlite:///{folder}/sweep/study.sqlite'
    ).trials


@pytest.fixture(scope='module')
def eventful(coco_folder, data_dir, tmp_path_factory):
    """A complete sweep that was stopped, resumed, and lost a worker to SIGKILL."""
    folder = tmp_path_factory.mktemp('sweeps')
    (folder / 'tiny.py').write_text(CONFIG)
    save_config(tiny(coco_folder, data_dir), folder / 'tiny.json')

    process = command(folder)
    wait_for(lambda: first_checkpoints(folder), process)
    process.send_signal(signal.SIGTERM)
    stopped, _ = process.communicate(timeout=300)
    assert process.returncode == launch.EXIT_STOPPED, stopped

    process = command(folder, '--json', folder / 'result.json')
    lost = []

    def kill_one():
        for trial in trials_of(folder):
            if trial.state.name != 'RUNNING' or 'worker' not in trial.user_attrs:
                continue
            directory = folder / 'sweep' / 'trials' / trial.user_attrs['key']
            if directory in first_checkpoints(folder):
                pid = int(trial.user_attrs['worker'].split('/')[1])
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    lost.append(directory)
                    return True
        return False

    wait_for(kill_one, process)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return folder, stopped, output, lost[0]


def tiny(coco_folder, data_dir):
    config = default.get_config()
    config.data.source, config.data.data_dir = str(coco_folder), str(data_dir)
    config.data.image_size, config.data.require = 32, 'nothing'
    config.data.selection_fraction, config.data.flip = 0.3, True
    config.model.pretrained, config.model.width = '', 0.35
    config.train.batch_size, config.train.num_steps, config.train.eval_every = 8, NUM_STEPS, 2
    config.train.recalibrate_batches, config.train.num_pictures = 2, 0
    config.eval_batch_size = 8
    return config


def test_every_set_is_finished_exactly_once(eventful):
    folder, stopped, output, _ = eventful
    assert 'the same command continues' in stopped
    result = json.loads((folder / 'result.json').read_text())
    assert [row['state'] for row in result['trials']] == ['complete', 'complete', 'failed']
    complete = [t.user_attrs['key'] for t in trials_of(folder) if t.state.name == 'COMPLETE']
    assert sorted(complete) == sorted(row['key'] for row in result['trials'][:2])
    assert sum(row['starts'] for row in result['trials']) >= 5
    assert result['trials'][2]['fields']['optimizer.learning_rate'] == 'inf'
    assert 'TrainingDiverged' in result['trials'][2]['reason'] and 'TrainingDiverged' in output
    assert 'ended with status -9; the trial is queued again' in output


def test_killed_trial_ends_as_if_undisturbed(eventful, tmp_path):
    folder, _, _, lost = eventful
    cores = sorted(os.sched_getaffinity(0))
    again = subprocess.run(
        [sys.executable, 'scripts/train.py', '--config', lost / 'config.json',
         '--workdir', tmp_path / 'again'],
        env=environment(), capture_output=True, text=True,
        # As many cores as a worker has: sums of other lengths round differently.
        preexec_fn=lambda: os.sched_setaffinity(0, cores[0::2]),
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    states = []
    for run in (lost, tmp_path / 'again'):
        with checkpoint.open_manager(run, read_only=True) as manager:
            tree = checkpoint.restore_arrays(manager, NUM_STEPS)
        states.append(jax.tree.leaves(tree))
    for disturbed, undisturbed in zip(*states, strict=True):
        np.testing.assert_array_equal(disturbed, undisturbed)
    # Scores come from the selection split, also those from before the kill.
    curves = [
        [
            line['selection/mean_iou_foreground']
            for line in map(json.loads, (run / 'metrics.jsonl').read_text().splitlines())
            if 'selection/mean_iou_foreground' in line
        ]
        for run in (lost, tmp_path / 'again')
    ]
    assert curves[0] == curves[1] and len(curves[0]) == NUM_STEPS // 2
    result = json.loads((folder / 'result.json').read_text())
    [row] = [row for row in result['trials'] if row['key'] == lost.name]
    assert row['score'] == max(curves[0])


def test_printed_command_trains_the_best_set(eventful):
    folder, _, output, _ = eventful
    result = json.loads((folder / 'result.json').read_text())
    assert result['command'] in output
    words = shlex.split(result['command'])
    assert words[:2] == ['python', 'scripts/train.py']
    best = load_config(words[words.index('--config') + 1], words[6:])
    directory = folder / 'sweep' / 'trials' / result['best']['key']
    kept = flat(read_config(directory / 'config.json'))
    assert json.loads(json.dumps(flat(best))) == kept and kept['seed'] == 3


def test_finished_sweep_only_collates(eventful):
    folder = eventful[0]
    (folder / 'sweep' / 'results.csv').unlink()
    number = len(trials_of(folder))
    for arguments in (['--collate'], []):
        process = command(folder, *arguments)
        output, _ = process.communicate(timeout=100)
        assert process.returncode == 0 and '| complete |' in output, output
        assert len(trials_of(folder)) == number
    assert (folder / 'sweep' / 'results.csv').exists()


def test_a_sweep_that_is_not_there_cannot_be_collated(eventful, tmp_path, capsys, monkeypatch):
    arguments = ['--config', str(eventful[0] / 'tiny.py'), '--workdir', str(tmp_path / 'typo')]
    monkeypatch.setattr(sys, 'argv', ['sweep.py', *arguments, '--collate'])
    assert sweep_command.main() != 0
    assert 'There is no sweep in' in capsys.readouterr().err
    assert not (tmp_path / 'typo').exists()


@pytest.mark.parametrize('name', ['a?b', 'a%41', 'a b#c', '照片'])
def test_the_database_is_in_the_folder_of_the_sweep(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    with sqlalchemy.create_engine(sweep_command.sqlite_url(folder / 'x.sqlite')).connect() as one:
        one.execute(sqlalchemy.text('create table a (b integer)'))
    assert [path.name for path in folder.iterdir()] == ['x.sqlite']


@pytest.mark.parametrize(
    ('argument', 'message'),
    [
        ('--sweep=wrong', 'Did you mean "optimizer.learning_rate"'),
        ('--sweep=other', 'it has sweep, sweep_wrong'),
        ('--metric=iou/cat', 'iou/car'),
        ('--search=tpe', '--search and --trials'),
        ('--storage=nonsense', 'no database URL'),
    ],
)
def test_mistakes_stop_the_sweep_before_it_begins(eventful, tmp_path, capsys, argument, message):
    arguments = ['--config', str(eventful[0] / 'tiny.py'), '--workdir', str(tmp_path), argument]
    with pytest.raises(SystemExit) as stopped:
        parse_arguments(arguments)
    assert stopped.value.code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
