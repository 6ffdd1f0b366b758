"""Batches: their order, their state, worker processes, padding."""

import select
import subprocess
import sys

import numpy as np
import pytest

from segmentation.data import input_pipeline, masks
from segmentation.data.examples import open_data, select_examples


@pytest.fixture
def augmented(tiny_config):
    tiny_config.data.flip, tiny_config.data.min_crop = True, 0.3
    tiny_config.data.color_jitter, tiny_config.data.selection_fraction = 0.3, 0.0
    return select_examples(open_data(tiny_config.data), tiny_config.data, 'train')[0]


def first_batches(examples, count, seed=3, **options):
    batches = iter(input_pipeline.training_batches(examples, seed=seed, **options))
    return [next(batches) for _ in range(count)]


def test_same_batches_for_any_number_of_threads_and_processes(augmented):
    whole = first_batches(augmented, 5, batch_size=4)
    augmented.config.threads = 1
    again = first_batches(augmented, 5, batch_size=4)
    shares = [
        first_batches(augmented, 5, batch_size=4, process_index=p, process_count=2)
        for p in range(2)
    ]
    for step in range(5):
        for key in ('image', 'label', 'image_id'):
            np.testing.assert_array_equal(whole[step][key], again[step][key])
            interleaved = np.stack([share[step][key] for share in shares], axis=1)
            np.testing.assert_array_equal(
                whole[step][key], interleaved.reshape(whole[step][key].shape)
            )


def test_every_pass_sees_every_image_in_another_order(augmented):
    seen = np.concatenate([b['image_id'] for b in first_batches(augmented, 6, batch_size=4)])
    assert sorted(seen[:12]) == sorted(seen[12:]) == sorted(augmented.image_ids)
    assert (seen[:12] != seen[12:]).any()


def test_another_seed_is_another_order_and_another_augmentation(augmented):
    """Each picture is seen in each pass, and each time it is augmented otherwise."""
    versions, orders = {image_id: [] for image_id in augmented.image_ids.tolist()}, []
    for seed in (3, 4):
        batches = first_batches(augmented, 6, seed, batch_size=4)
        orders.append(np.concatenate([batch['image_id'] for batch in batches]).tolist())
        for batch in batches:
            for image_id, image in zip(batch['image_id'].tolist(), batch['image'], strict=True):
                versions[image_id].append(image.tobytes())
    assert orders[0] != orders[1]
    for row, image_id in enumerate(augmented.image_ids.tolist()):
        # Two passes for each seed, and the picture as it is evaluated.
        assert len({*versions[image_id], augmented[row]['image'].tobytes()}) == 5


@pytest.mark.parametrize('workers', [0, 2])
def test_iterator_state_resumes_exactly_with_any_number_of_workers(augmented, workers):
    batches = input_pipeline.training_batches(augmented, seed=3, batch_size=4)
    for _ in range(3):
        next(batches)
    state = batches.get_state()
    resumed = input_pipeline.training_batches(augmented, seed=3, batch_size=4, workers=workers)
    resumed.set_state(state)
    for _ in range(3):
        expected, actual = next(batches), next(resumed)
        for key in ('image', 'label', 'image_id'):
            np.testing.assert_array_equal(actual[key], expected[key])
    assert resumed.get_state() == batches.get_state()


def test_workers_end_when_their_parent_is_killed():
    code = """
import multiprocessing, time
from segmentation.data import input_pipeline
def work():
    input_pipeline._end_with_parent(0, 1)
    print('ready', flush=True)
    time.sleep(60)
multiprocessing.get_context('fork').Process(target=work).start()
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b'ready\n'
        parent.kill()
        # The pipe that both write to closes when the last of them ends.
        assert select.select([parent.stdout], [], [], 30)[0], 'the worker is still there'
        assert parent.stdout.read() == b''


def test_evaluation_pads_and_masks(augmented):
    batches = list(input_pipeline.evaluation_batches(augmented, batch_size=8))
    assert [len(batch['image']) for batch in batches] == [8, 8]
    index = np.concatenate([batch['index'] for batch in batches])
    np.testing.assert_array_equal(index, [*range(12), -1, -1, -1, -1])
    assert (batches[1]['label'][4:] == masks.IGNORE).all()
    np.testing.assert_array_equal(batches[0]['image'][5], augmented[5]['image'])


def test_global_batch_must_divide(augmented):
    with pytest.raises(ValueError, match='multiple of the number of processes'):
        input_pipeline.training_batches(augmented, batch_size=5, seed=0, process_count=2)
