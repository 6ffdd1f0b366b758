"""Checkpoints that are damaged, interrupted or older; test_inject_faults.py has more."""

import json
import logging
import os

import numpy as np
import pytest

from segmentation import checkpoint

STATE = {
    'params': {'kernel': np.arange(12, dtype=np.float32)},
    'batch_stats': {'mean': np.ones(3, np.float32)},
    'step': np.int32(4),
}


@pytest.fixture
def workdir(tmp_path):
    """A run with checkpoints of steps 1 and 2."""
    for step in (1, 2):
        save(tmp_path, step)
    return tmp_path


def save(workdir, step):
    with checkpoint.open_manager(workdir) as manager:
        scores = {checkpoint.BEST_METRIC: step / 10}
        checkpoint.save(manager, step, STATE, {'next_index': step}, scores)
        checkpoint.wait(manager)


def latest(workdir):
    with checkpoint.open_manager(workdir) as manager:
        step, state, data_state = checkpoint.restore_latest(manager, STATE)
    np.testing.assert_equal(state, STATE)
    return step, data_state


def test_another_position_in_the_data_is_noticed(workdir, caplog):
    path = workdir / 'checkpoints' / '2' / 'data' / 'metadata'
    content = json.loads(path.read_text())
    assert content['next_index'] == 2
    path.write_text(json.dumps({**content, 'next_index': 3}))
    with pytest.raises(ValueError, match=r'checkpoints/2 is damaged .*--checkpoint: \[1\]'):
        checkpoint.restore_variables(workdir, 'latest')
    assert latest(workdir) == (1, {'next_index': 1})
    assert 'Checkpoint 2 cannot be read' in caplog.text
    assert checkpoint.restore_variables(workdir, 'latest')[0] == 1
    # What cannot be read is kept: the step can be written again, and set aside again.
    for kept in ('2.unreadable', '2.unreadable1'):
        assert (workdir / 'checkpoints' / kept / 'state').is_dir()
        save(workdir, 2)
        path.write_text(json.dumps({**content, 'next_index': 3}))
        assert latest(workdir) == (1, {'next_index': 1})


def test_an_error_that_passes_loses_nothing(workdir, monkeypatch):
    """As a network file system that is away for a moment."""
    with checkpoint.open_manager(workdir) as manager:
        restore = manager.restore

        def fail_once(step, **arguments):
            if step == 2:
                raise OSError('Stale file handle')
            return restore(step, **arguments)

        monkeypatch.setattr(manager, 'restore', fail_once)
        assert checkpoint.restore_latest(manager, STATE)[0] == 1
        assert manager.all_steps() == [1]
    folder = workdir / 'checkpoints'
    (folder / '2.unreadable').rename(folder / '2')
    assert latest(workdir) == (2, {'next_index': 2})


def test_best_is_the_highest_score_and_is_kept(tmp_path):
    for step, score in ((1, 0.2), (2, 0.7), (3, None), (4, 0.5), (5, 0.4)):
        with checkpoint.open_manager(tmp_path) as manager:
            checkpoint.save(manager, step, STATE, {}, {checkpoint.BEST_METRIC: score})
            checkpoint.wait(manager)
    assert checkpoint.restore_variables(tmp_path, 'best')[0] == 2
    with checkpoint.open_manager(tmp_path, read_only=True) as manager:
        assert sorted(manager.all_steps()) == [2, 4, 5]


def test_checkpoints_of_before_there_were_checksums_are_read(workdir):
    path = workdir / 'checkpoints' / '2' / 'data' / 'metadata'
    path.write_text(json.dumps({'next_index': 2}))
    assert latest(workdir) == (2, {'next_index': 2})
    assert checkpoint.restore_variables(workdir, 'latest')[0] == 2


def test_scores_that_cannot_be_read_are_set_aside(workdir, caplog):
    (workdir / 'checkpoints' / '2' / 'metrics' / 'metrics').write_bytes(b'')
    with pytest.raises(ValueError, match='metrics is damaged .*Continue the training'):
        checkpoint.restore_variables(workdir, 'best')
    with caplog.at_level(logging.ERROR):
        assert latest(workdir) == (1, {'next_index': 1})
    assert 'renamed and not used' in caplog.text
    save(workdir, 2)
    assert latest(workdir)[0] == 2
    assert (workdir / 'checkpoints' / '2.damaged' / 'state').is_dir()


def test_interrupted_writes_are_cleared_away(workdir):
    unfinished = workdir / 'checkpoints' / '3.orbax-checkpoint-tmp' / 'state.orbax-checkpoint-tmp'
    unfinished.mkdir(parents=True)
    (unfinished / 'half').write_bytes(b'x')
    assert checkpoint.restore_variables(workdir, 'latest')[0] == 2
    assert unfinished.exists()  # reading changes nothing
    assert latest(workdir)[0] == 2
    assert not unfinished.parent.exists()


def test_interrupted_removals_leave_no_half_of_a_checkpoint(workdir, monkeypatch):
    removed = []

    class Killed(BaseException):
        pass

    def unlink(path, **kwargs):
        removed.append(path)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, 'unlink', unlink)
        with pytest.raises(Killed):
            save(workdir, 3)
    steps = sorted(path.name for path in (workdir / 'checkpoints').iterdir())
    assert removed and steps == ['2', '3', 'removed']
    for step in steps[:-1]:
        assert checkpoint.restore_variables(workdir, step)[0] == int(step)
    save(workdir, 5)
    assert sorted(path.name for path in (workdir / 'checkpoints').iterdir()) == ['3', '5']


def test_a_place_that_cannot_be_written_to_is_named(workdir, monkeypatch):
    with checkpoint.open_manager(workdir) as manager:

        def no_room(*arguments, **options):
            raise ValueError('No space left on device')

        monkeypatch.setattr(manager, 'save', no_room)
        with pytest.raises(
            OSError, match=r'checkpoints: No space left .* steps \[1, 2\] are complete'
        ):
            checkpoint.save(manager, 3, STATE, {})
