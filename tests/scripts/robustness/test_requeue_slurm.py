"""A training that SLURM stops and requeues ends as an undisturbed one, if SLURM is installed."""

import json

import pytest

from scripts.robustness import requeue_slurm

ABSENT = requeue_slurm.missing_programs()


@pytest.mark.skipif(bool(ABSENT), reason=f'SLURM is not installed ({", ".join(ABSENT)})')
def test_a_requeued_training_ends_as_an_undisturbed_one(tmp_path):
    file = tmp_path / 'result.json'
    assert requeue_slurm.main(['--workdir', str(tmp_path), '--json', str(file)]) == 0
    result = json.loads(file.read_text())
    assert len(result['stopped_at']) == 2 and result['differences'] == []


def test_files_that_differ_are_found():
    result = {'stopped_at': [3, 9], 'steps': 12, 'differences': ['metrics.jsonl differs']}
    assert '3, 9' in requeue_slurm.to_markdown(result)
    assert 'metrics.jsonl differs' in requeue_slurm.to_markdown(result)
