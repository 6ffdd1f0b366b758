"""Parameter sets and search spaces, from the functions of a config file."""

import pytest

from configs import default
from segmentation.config import load_config, save_config
from segmentation.sweeps import sets


@pytest.fixture
def base():
    return default.get_config().lock()


@pytest.fixture
def config_file(tmp_path):
    """Writes functions of a config file that starts from the default config; returns its path."""

    def write(functions):
        path = tmp_path / 'config.py'
        path.write_text(f'from configs.default import get_config\n{functions}\n')
        return str(path)

    return write


def test_every_wrong_set_is_named_before_anything_runs(config_file, base):
    path = config_file(
        'def sweep():\n'
        '    yield {"optimizer.learning_rate": 1e-2}\n'
        '    yield {"optimizer.learning_rat": 1e-2}\n'
        '    yield {"data.flip": "yes"}\n'
        '    yield ["seed"]\n'
    )
    with pytest.raises(ValueError) as error:
        sets.read_sets(path, '', base)
    message = str(error.value)
    assert 'set 2' in message and '"optimizer.learning_rate"' in message
    assert 'set 3: data.flip must be True or False' in message and 'set 4' in message
    assert 'set 1' not in message


def test_sets_by_name_and_equal_sets_are_one(config_file, base):
    path = config_file(
        'def sweep_rates():\n'
        '    yield {}\n'
        '    yield {"optimizer.learning_rate": 1e-3}\n'  # what it is anyway
        '    yield {"optimizer.learning_rate": 1e-2, "data.flip": True}\n'
        '    yield {"data.flip": True, "optimizer.learning_rate": 1e-2, "seed": 0}\n'
        '    yield {"data.train_splits": ["train"]}\n'
    )
    keyed = sets.read_sets(path, 'rates', base)
    assert list(keyed.values())[0] == {} and len(keyed) == 2
    # A key depends on what the set changes, not on its place or on the other sets.
    again = sets.key_sets([{'data.flip': True, 'optimizer.learning_rate': 0.01}], base)
    assert list(again) == list(keyed)[1:]
    with pytest.raises(ValueError, match=r'defines no sweep\(\); it has sweep_rates'):
        sets.read_sets(path, '', base)


def test_protocol_sweep_fits_its_config():
    base = load_config('configs/person_car.py', [])
    keyed = sets.read_sets('configs/person_car.py', 'protocol', base)
    assert {} in keyed.values() and len(keyed) > 20


@pytest.mark.parametrize(
    ('space', 'message'),
    [
        ({'model.dropuot': [0.1]}, 'model.dropout'),
        ({'model.dropout': ['much']}, 'must be a number'),
        ({'model.dropout': {'low': 0.0, 'hi': 1.0}}, 'write choices as a list, or the range'),
        ({'model.dropout': {'low': 1.0, 'high': 0.0}}, 'low'),
        ({'model.dropout': {'low': 0.0, 'high': 1.0, 'log': True}}, 'low'),
        ({'model.dropout': {'low': 0.0, 'high': 1.0, 'scale': 'log'}}, 'scale'),
        ({'data.flip': {'low': 0, 'high': 1}}, 'write choices as a list'),
        ({'train.batch_size': {'low': 1.5, 'high': 8}}, 'must be a whole number'),
        ({}, 'empty'),
    ],
)
def test_search_space_mistakes_are_named(config_file, base, space, message):
    with pytest.raises(ValueError, match=message):
        sets.read_space(config_file(f'def search():\n    return {space}'), '', base)


def test_random_sets_are_in_range_and_reproducible(config_file, base):
    path = config_file(
        'def search():\n'
        '    return {"optimizer.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},\n'
        '            "train.batch_size": {"low": 8, "high": 32, "step": 8},\n'
        '            "loss.class_weights": [(), (0.5, 1.0, 1.0)]}'
    )
    space = sets.read_space(path, '', base)
    keyed = sets.draw_sets(space, 12, base)
    for overrides in keyed.values():
        assert 1e-4 <= overrides['optimizer.learning_rate'] <= 1e-2
        assert overrides['train.batch_size'] in (8, 16, 24, 32)
        assert overrides['loss.class_weights'] in ((), (0.5, 1.0, 1.0))
    assert len({o['optimizer.learning_rate'] for o in keyed.values()}) == 12
    assert sets.draw_sets(space, 5, base) == dict(list(keyed.items())[:5])


def test_config_file_of_a_run_has_no_sweep(base, tmp_path):
    save_config(base, tmp_path / 'config.json')
    with pytest.raises(ValueError, match='config.json'):
        sets.read_sets(str(tmp_path / 'config.json'), '', base)
