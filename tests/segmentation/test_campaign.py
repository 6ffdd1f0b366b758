"""What campaigns of trainings share; tests/scripts/experiments/test_reproduce.py runs some."""

import os
import signal
import time

import numpy as np
import pytest

from segmentation import campaign, launch


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_not_taken_for_a_damaged_file(number):
    with pytest.raises(launch.TrainingStopped), campaign.stop_at_once():
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        except Exception:
            raise AssertionError('as when a checkpoint is read') from None


def test_choice_is_paired_and_of_equal_size():
    train_ids = np.arange(100, 200)
    pairs = [campaign.choose(train_ids, {105, 150, 3}, seed) for seed in range(3)]
    assert all(listed == [105, 150] for listed, _ in pairs)
    others = set(train_ids) - {105, 150}
    assert all(len(set(ids)) == 2 and set(ids) <= others for _, ids in pairs)
    assert pairs[0][1] != pairs[1][1]
    assert pairs[0] == campaign.choose(train_ids, {150, 105}, 0)


@pytest.mark.parametrize('listed', [{3}, set(range(100, 160))])
def test_nothing_to_compare(listed):
    with pytest.raises(ValueError, match='nothing to compare'):
        campaign.choose(np.arange(100, 200), listed, 1)


def test_last_step_is_that_of_the_last_complete_line(tmp_path):
    assert campaign.last_step(tmp_path) == 0
    path = tmp_path / 'metrics.jsonl'
    path.write_text('{"step": 1')
    assert campaign.last_step(tmp_path) == 0
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3, "lo')
    assert campaign.last_step(tmp_path) == 2
