"""The training loop: stopping, resuming, refusing, saving."""

import json
import os
import signal
import threading
import time

import jax
import numpy as np
import pytest

from segmentation import checkpoint, evaluate, metrics, train, workdir
from segmentation.data import examples, input_pipeline
from segmentation.models import unet


@pytest.fixture
def one_device(monkeypatch):
    """Trains on one of the fake devices: less to compile for."""
    monkeypatch.setattr(jax, 'local_device_count', lambda: 1)
    monkeypatch.setattr(jax, 'device_count', lambda: 1)
    device = jax.devices()[:1]
    monkeypatch.setattr(jax, 'devices', lambda: device)
    monkeypatch.setattr(jax, 'local_devices', lambda: device)


def states_of(run, step):
    """All arrays of a checkpoint, optimizer included, by name."""
    with checkpoint.open_manager(run, read_only=True) as manager:
        tree = checkpoint.restore_arrays(manager, step)
    return {
        jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def stop_after(run, step):
    """Sends this process SIGTERM once the metrics of a step are written."""

    def watch():
        path = run / 'metrics.jsonl'
        while not (path.exists() and f'"step": {step},' in path.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def test_stopped_and_resumed_is_bitwise_uninterrupted(tiny_config, tmp_path, one_device):
    data, optimizer = tiny_config.data, tiny_config.optimizer
    data.flip, data.min_crop, data.max_crop, data.paste, data.repeat = True, 0.5, 1.5, 0.5, 2.0
    optimizer.encoder_after, optimizer.encoder_rate, optimizer.average = 4, 0.1, 0.9
    tiny_config.model.encoder_statistics = 'fixed'
    tiny_config.train.num_steps, tiny_config.train.eval_every = 12, 6
    straight, interrupted = tmp_path / 'straight', tmp_path / 'interrupted'
    result = train.train(tiny_config, straight, profile_steps=2)
    assert list((straight / 'profile').rglob('*.trace.json.gz'))
    assert result.step == 12 and 0 <= result.selection['mean_iou'] <= 1

    stop_after(interrupted, 2)
    with pytest.raises(train.TrainingStopped, match='saved at step'):
        train.train(tiny_config, interrupted)
    with checkpoint.open_manager(interrupted, read_only=True) as manager:
        assert 2 <= manager.latest_step() < 12
    train.train(tiny_config, interrupted)
    # A run that was killed after its last checkpoint is complete.
    assert train.train(tiny_config, interrupted).selection == result.selection

    expected, actual = states_of(straight, 12), states_of(interrupted, 12)
    assert expected.keys() == actual.keys() and any('opt_state' in name for name in expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(value, actual[name], err_msg=name)
    keep = {'step', 'train/loss', 'selection/loss', 'selection/mean_iou'}
    lines = [
        [
            {key: value for key, value in json.loads(line).items() if key in keep}
            for line in (run / 'metrics.jsonl').read_text().splitlines()
        ]
        for run in (straight, interrupted)
    ]
    assert lines[0] == lines[1]


def test_best_is_chosen_on_the_selection_images(tiny_config, tmp_path, one_device):
    """By the score of the parameters that are used, here averages."""
    tiny_config.optimizer.average, tiny_config.optimizer.schedule = 0.5, 'cosine'
    result = train.train(tiny_config, tmp_path)
    prepared = examples.open_data(tiny_config.data)
    predict = evaluate.make_predict(unet.build_model(tiny_config.model, 3), 'imagenet')
    with checkpoint.open_manager(tmp_path, read_only=True) as manager:
        saved = {step: manager.metrics(step)[checkpoint.BEST_METRIC] for step in (2, 4)}
    scores = {}
    for part in ('selection', 'val'):
        images, _ = examples.select_examples(prepared, tiny_config.data, part)
        for step in (2, 4):
            _, variables = checkpoint.restore_variables(tmp_path, str(step))
            counted = evaluate.evaluate(predict, variables, images, num_classes=3, batch_size=8)
            summary = metrics.summarize(counted['network'], ('background', 'person', 'car'))
            scores[part, step] = summary['mean_iou_foreground']
    assert saved == pytest.approx({step: scores['selection', step] for step in (2, 4)})
    assert saved != pytest.approx({step: scores['val', step] for step in (2, 4)})
    assert result.selection['mean_iou_foreground'] == saved[4]
    assert result.best_step == max(saved, key=saved.__getitem__)


def test_saved_statistics_are_those_of_the_recalibration(tiny_config, tmp_path, one_device):
    saved = {}
    # The programs of the test before are compiled.
    tiny_config.optimizer.average, tiny_config.optimizer.schedule = 0.5, 'cosine'
    for batches in (0, 2):
        tiny_config.train.recalibrate_batches = batches
        train.train(tiny_config, tmp_path / str(batches))
        saved[batches] = checkpoint.restore_variables(tmp_path / str(batches), '4')[1]
    jax.tree.map(np.testing.assert_array_equal, saved[0]['params'], saved[2]['params'])
    prepared = examples.open_data(tiny_config.data)
    images, _ = examples.select_examples(prepared, tiny_config.data, 'train')
    order = input_pipeline.training_batches(images, batch_size=8, seed=tiny_config.seed)
    pixels = np.concatenate([next(order)['image'] for _ in range(2)])
    # The first convolution sees the same pixels whatever is normalized after it.
    kernel = saved[2]['params']['encoder']['Conv1']['kernel']
    maps = jax.lax.conv_general_dilated(
        unet.scale_images(pixels, 'imagenet'), kernel, (2, 2), 'SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )  # fmt: skip
    for batches, matches in ((2, True), (0, False)):
        found = saved[batches]['batch_stats']['encoder']['bn_Conv1']
        for name, expected in (('mean', maps.mean((0, 1, 2))), ('var', maps.var((0, 1, 2)))):
            assert np.allclose(found[name], expected, rtol=1e-3, atol=1e-5) == matches, name


def test_statistics_are_those_of_all_devices(tiny_config, tmp_path, monkeypatch):
    """The running mean of the first layer after a step, of which the pixels are known."""
    devices = jax.devices()[:2]
    for name in ('local_device_count', 'device_count'):
        monkeypatch.setattr(jax, name, lambda: 2)
    for name in ('devices', 'local_devices'):
        monkeypatch.setattr(jax, name, lambda: devices)
    prepared = examples.open_data(tiny_config.data)
    images, _ = examples.select_examples(prepared, tiny_config.data, 'train')
    trainer = train.Trainer(tiny_config, tmp_path, images, images, ('background', 'person', 'car'))
    kernel = np.array(trainer.state.params['encoder']['Conv1']['kernel'])
    trainer.step()
    pixels = next(trainer.training_batches())['image']
    maps = jax.lax.conv_general_dilated(
        unet.scale_images(pixels, 'imagenet'), kernel, (2, 2), 'SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )  # fmt: skip
    kept = tiny_config.model.encoder_bn_momentum
    found = np.asarray(trainer.state.batch_stats['encoder']['bn_Conv1']['mean'])
    halves = [(1 - kept) * np.asarray(part).mean((0, 1, 2)) for part in (maps[:4], maps[4:])]
    np.testing.assert_allclose(found, np.mean(halves, 0), rtol=1e-3, atol=1e-6)
    assert not np.allclose(found, halves[0], rtol=1e-2, atol=1e-6)


def test_run_directory_describes_itself(tiny_config, tmp_path, one_device, monkeypatch):
    with monkeypatch.context() as patch:
        # A run that is killed just after a checkpoint does not repeat that step.
        save = checkpoint.save

        def check_and_save(manager, step, *rest):
            assert (tmp_path / 'pictures' / f'predictions-{step:07d}.png').exists()
            return save(manager, step, *rest)

        patch.setattr(checkpoint, 'save', check_and_save)
        train.train(tiny_config, tmp_path)
    described = json.loads((tmp_path / 'run.json').read_text())
    assert described['class_names'] == ['background', 'person', 'car']
    assert described['images']['train']['images'] > 0
    assert {'jax', 'flax', 'numpy'} <= described['packages'].keys()
    assert list((tmp_path / 'pictures').glob('*.png'))

    # Another config, or a config that only differs in how fast it runs.
    tiny_config.train.num_steps = 5
    tiny_config.data.threads = 1
    tiny_config.train.num_pictures = 1
    assert train.train(tiny_config, tmp_path).step == 5
    tiny_config.optimizer.learning_rate = 0.5
    with pytest.raises(ValueError, match='optimizer.learning_rate: 0.001 in the run, 0.5 now'):
        train.train(tiny_config, tmp_path)
    tiny_config.optimizer.learning_rate = 1e-3

    # The newest checkpoint cannot be read: the previous one is used.
    broken = tmp_path / 'checkpoints' / '5' / 'state'
    for file in broken.rglob('*'):
        if file.is_file():
            file.write_bytes(b'')
    tiny_config.train.num_steps = 6
    assert train.train(tiny_config, tmp_path).step == 6

    with checkpoint.open_manager(tmp_path, read_only=True) as manager:
        steps = sorted(manager.all_steps())
    with pytest.raises(ValueError, match=f'no checkpoint .77.; it has steps .{steps[0]}'):
        checkpoint.restore_variables(tmp_path, '77')
    with pytest.raises(ValueError, match="'best', 'latest' or a step"):
        checkpoint.restore_variables(tmp_path, 'bset')


def test_other_images_or_another_decay_are_another_run(tiny_config, tmp_path, one_device):
    exclude, directory = tmp_path / 'exclude', tmp_path / 'run'
    exclude.write_text('')
    tiny_config.data.exclude = str(exclude)
    tiny_config.optimizer.average, tiny_config.optimizer.schedule = 0.5, 'cosine'
    train.train(tiny_config, directory)
    # The learning rate of the steps that were taken depends on the number of steps.
    tiny_config.train.num_steps = 8
    with pytest.raises(ValueError, match='train.num_steps: 4 in the run, 8 now'):
        train.train(tiny_config, directory)
    tiny_config.train.num_steps = 4
    prepared = examples.open_data(tiny_config.data)
    first, *_ = examples.select_examples(prepared, tiny_config.data, 'train')[0].image_ids
    exclude.write_text(f'{first}\n')
    with pytest.raises(ValueError, match=r'the train images: \d+ there, \d+ now, and not the same'):
        train.train(tiny_config, directory)
    # A run of an older version did not record which images it used.
    path = directory / 'run.json'
    described = json.loads(path.read_text())
    for report in described['images'].values():
        report.pop('sha256')
    path.write_text(json.dumps(described))
    assert train.train(tiny_config, directory).step == 4


def test_other_weights_are_another_run(tiny_config, tmp_path):
    """run.json names the file that the run began with, also after a file of its name changed."""
    described = {'data': {'path': '', 'fingerprint': {}}, 'class_names': [], 'images': {}}
    (tmp_path / 'checkpoints' / '1').mkdir(parents=True)
    workdir.write_description(tmp_path, tiny_config, {**described, 'weights': {'a.h5': 'ab'}})
    workdir.write_description(tmp_path, tiny_config, {**described, 'weights': {'a.h5': 'ab'}})
    with pytest.raises(ValueError, match="model.pretrained: .*'ab'.* there, .*'cd'.* now"):
        workdir.write_description(tmp_path, tiny_config, {**described, 'weights': {'a.h5': 'cd'}})
    (tmp_path / 'run.json').write_text(json.dumps(described))  # an older version's
    workdir.write_description(tmp_path, tiny_config, {**described, 'weights': {'a.h5': 'cd'}})


def test_settings_that_do_nothing_are_refused(tiny_config, tmp_path):
    tiny_config.optimizer.weight_decay = 0.1
    with pytest.raises(ValueError, match='optimizer.weight_decay=0.1: .* Its default is 0.0'):
        train.train(tiny_config, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_second_process_in_one_directory_is_refused(tiny_config, tmp_path, one_device):
    with workdir.claim(tmp_path), pytest.raises(ValueError, match='Another process'):
        train.train(tiny_config, tmp_path)


def test_state_that_is_not_finite_is_never_saved(tiny_config, tmp_path, one_device):
    # The first loss is finite, but the updated parameters are not.
    tiny_config.optimizer.learning_rate = float('inf')
    tiny_config.optimizer.skip_nonfinite = tiny_config.train.eval_every = 1
    with pytest.raises(train.TrainingDiverged, match=r'params.* is not finite at step 1'):
        train.train(tiny_config, tmp_path)
    assert not [p for p in (tmp_path / 'checkpoints').iterdir() if p.name.isdecimal()]


def test_nan_stops_with_step_rate_and_last_good_checkpoint(
    tiny_config, tmp_path, one_device, caplog
):
    tiny_config.optimizer.learning_rate = float('inf')
    tiny_config.optimizer.skip_nonfinite = 1
    tiny_config.train.num_steps = tiny_config.train.eval_every = 4
    with pytest.raises(train.TrainingDiverged, match=r'step 3 \(learning rate inf\)') as error:
        train.train(tiny_config, tmp_path)
    assert 'Last good checkpoint: step None' in str(error.value)
    assert caplog.text.count('which is skipped') == 1
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert [line['train/skipped_steps'] for line in lines] == [0, 1]
    assert lines[0]['train/loss'] > 0 and lines[1]['train/loss'] is None


def test_batch_must_divide_over_devices(tiny_config, tmp_path):
    tiny_config.train.batch_size = 10
    with pytest.raises(ValueError, match='multiple of the number of devices, 4'):
        train.train(tiny_config, tmp_path)


def test_no_checkpoints_yet(tmp_path):
    with pytest.raises(ValueError, match='no checkpoints: train first'):
        checkpoint.restore_variables(tmp_path, 'best')
