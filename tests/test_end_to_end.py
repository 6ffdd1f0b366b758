"""The commands, as a user runs them."""

import json
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from segmentation import checkpoint
from tests import coco_fixtures


def command(*arguments, devices=1, **options):
    """Runs Python in the checkout; its standard output and error as text."""
    flags = f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count={devices}'
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, 'XLA_FLAGS': flags},
        capture_output=True,
        text=True,
        timeout=600,
        **options,
    )


def train_arguments(coco_folder, data_dir, workdir, **overrides):
    """Arguments that train the network of `tiny_config` from the command line."""
    fields = {
        'data.source': coco_folder,
        'data.data_dir': data_dir,
        'data.image_size': 32,
        'data.require': 'nothing',
        'data.selection_fraction': 0.3,
        'model.pretrained': '',
        'model.width': 0.35,
        'model.encoder_trainable': True,
        'train.batch_size': 8,
        'train.num_steps': 3,
        'train.recalibrate_batches': 2,
        'train.log_every': 1,
        'eval_batch_size': 8,
        **overrides,
    }
    return [
        'scripts/train.py',
        '--config=configs/person_car.py',
        f'--workdir={workdir}',
        *(f'--config.{name}={value}' for name, value in fields.items()),
    ]


@pytest.fixture(scope='module')
def workdir(coco_folder, data_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('run')
    result = command(*train_arguments(coco_folder, data_dir, workdir))
    assert result.returncode == 0, result.stderr
    assert '| person |' in result.stdout and 'analysis.mean_iou' in result.stdout
    return workdir


def test_mean_iou_of_a_checkpoint(workdir, tmp_path):
    file = tmp_path / 'scores.json'
    result = command('-m', 'analysis.mean_iou', '--workdir', workdir, '--json', file)
    assert result.returncode == 0, result.stderr
    scores = json.loads(file.read_text())
    assert scores['split'] == 'val' and scores['step'] == 3 and scores['num_images'] == 6
    for resolution in ('network', 'original'):
        part = scores[resolution]
        assert list(part['iou']) == ['background', 'person', 'car']
        assert 0 <= part['mean_iou'] <= 1 and part['num_images'] == 6
        assert {'mean_iou_foreground', 'mean_image_iou', 'absent_class_rule'} <= part.keys()
        low, high = part['intervals']['mean_iou']
        assert low <= part['mean_iou'] <= high
    assert '| person |' in result.stdout
    assert json.loads((workdir / 'mean_iou-val-3.json').read_text()) == scores


def test_predict_any_picture(workdir, tmp_path):
    photo, note = tmp_path / 'photo.png', tmp_path / 'note.jpg'
    photo.write_bytes(coco_fixtures.picture(70, 50, file_format='PNG'))
    note.write_text('not a picture')
    output = tmp_path / 'out'
    summary = tmp_path / 'summary.json'
    result = command(
        'scripts/predict.py', '--workdir', workdir, '--output', output, '--json', summary,
        photo, note,
    )  # fmt: skip
    assert result.returncode == 2 and 'note.jpg' in result.stderr
    mask = Image.open(output / 'photo.png-mask.png')
    assert mask.size == (70, 50) and np.asarray(mask).max() < 3
    assert Image.open(output / 'photo.png-overlay.png').size == (70, 50)
    written = json.loads(summary.read_text())
    assert len(written['pictures']) == len(written['skipped']) == 1
    assert sum(written['pictures'][0]['share_of_pixels'].values()) == pytest.approx(1)


def test_mistakes_are_one_clear_line(workdir, tmp_path):
    config = '--config=configs/person_car.py'
    for arguments, message in (
        (['scripts/train.py', config, '--workdir=x', '--config.sed=1'], 'Did you mean "seed"'),
        (['scripts/train.py', '--config=configs/nope.py', '--workdir=x'], 'No config file'),
        (['scripts/train.py', config, '--workdir=x', '--distributed=auto'], 'needs a job of SLURM'),
        (['-m', 'analysis.mean_iou', '--workdir', tmp_path], 'is no run directory'),
        (['-m', 'analysis.mean_iou', '--workdir', workdir, '--checkpoint', '9'], 'has steps [3]'),
    ):
        result = command(*arguments)
        assert result.returncode != 0 and message in result.stderr
        assert 'Traceback' not in result.stderr


def test_two_processes_of_two_devices_equal_one_of_four(coco_folder, data_dir, tmp_path):
    together, apart = tmp_path / 'one', tmp_path / 'two'
    overrides = {'loss.dice_weight': 0.5, 'data.flip': True}
    arguments = train_arguments(coco_folder, data_dir, together, **overrides)
    assert command(*arguments, devices=4).returncode == 0

    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        coordinator = f'127.0.0.1:{probe.getsockname()[1]}'
    arguments = train_arguments(coco_folder, data_dir, apart, **overrides)
    flags = f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count=2'
    processes = [
        subprocess.Popen(
            [sys.executable, *arguments, f'--coordinator={coordinator}', '--num_processes=2',
             f'--process_id={process}'],
            env={**os.environ, 'XLA_FLAGS': flags}, stderr=subprocess.PIPE, text=True,
        )
        for process in range(2)
    ]  # fmt: skip
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors

    one, two = (
        [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
        for run in (together, apart)
    )
    assert one[0]['train/loss'] == pytest.approx(two[0]['train/loss'], rel=1e-6)
    # Rounding flips units at a kink of ReLU (see test_train_step), and Adam turns rounding of the
    # smallest gradients into whole steps, so later steps are equal to fewer digits.
    norms = [lines[0]['train/gradient_norm'] for lines in (one, two)]
    assert norms[0] == pytest.approx(norms[1], rel=2e-3)
    for first, second in zip(one, two, strict=True):
        assert first.keys() == second.keys()
        for key in first.keys() & {'train/loss', 'selection/loss'}:
            assert first[key] == pytest.approx(second[key], rel=5e-2), key
    runs = [checkpoint.restore_variables(run, '3')[1]['params'] for run in (together, apart)]
    flat = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(run)]) for run in runs]
    assert np.linalg.norm(flat[0] - flat[1]) < 0.02 * np.linalg.norm(flat[0])
