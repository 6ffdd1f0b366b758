"""Trainings share compiled programs exactly if nothing in the programs differs."""

import pytest

from configs import default
from segmentation import programs


@pytest.fixture
def config():
    config = default.get_config()
    config.model.width = 0.35
    return config


def test_trainings_that_differ_in_data_seed_and_length_share_programs(config):
    first = programs.programs_of(config, 3, 100)
    config.seed, config.data.flip, config.train.batch_size = 7, True, 8
    config.train.num_steps = 200
    assert programs.programs_of(config, 3, 200) is first


@pytest.mark.parametrize(
    'field, value',
    [
        ('model.width', 0.5),
        ('model.dtype', 'bfloat16'),
        ('model.encoder_trainable', True),
        ('optimizer.learning_rate', 0.5),
        ('optimizer.average', 0.5),
        ('optimizer.skip_nonfinite', 1),
        ('loss.class_weights', (1.0, 2.0, 2.0)),
        ('loss.label_smoothing', 0.1),
        ('data.input_range', 'caffe'),
    ],
)
def test_another_program_is_made_for_another_setting(config, field, value):
    first = programs.programs_of(config, 3, 100)
    config.update_from_flattened_dict({field: value})
    assert programs.programs_of(config, 3, 100) is not first


def test_a_seed_matters_with_dropout_and_the_length_with_a_cosine(config):
    config.model.dropout, config.optimizer.schedule = 0.5, 'cosine'
    first = programs.programs_of(config, 3, 100)
    assert programs.programs_of(config, 3, 100) is first
    assert programs.programs_of(config, 3, 200) is not first
    config.seed += 1
    assert programs.programs_of(config, 3, 100) is not first


def test_classes_and_devices_matter(config, monkeypatch):
    first = programs.programs_of(config, 3, 100)
    assert programs.programs_of(config, 4, 100) is not first
    devices = programs.jax.local_devices()[:1]
    monkeypatch.setattr(programs.jax, 'local_devices', lambda: devices)
    assert programs.programs_of(config, 3, 100) is not first
