import pytest

from segmentation.config import load_config, read_config, save_config

PATH = 'configs/person_car.py'


def test_overrides_are_typed():
    config = load_config(
        PATH, ['--config.optimizer.learning_rate=3e-4', "--config.data.train_splits=('a','b')"]
    )
    assert config.optimizer.learning_rate == 3e-4
    assert config.data.train_splits == ('a', 'b')


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        (['--config.optimizer.learning_rat=1'], 'learning_rate'),  # names the near match
        (['--config.optimizer.learning_rate=fast'], 'fast'),
        (['--config.nothing.at_all=1'], 'nothing'),
        (['--learning_rate=1'], '--learning_rate=1'),
        (['--config.seed', '3'], 'overrides look like'),
    ],
)
def test_mistakes_are_named(overrides, message):
    with pytest.raises(ValueError, match=message):
        load_config(PATH, overrides)


def test_missing_file():
    with pytest.raises(ValueError, match='no_such'):
        load_config('configs/no_such.py', [])


def test_config_is_locked():
    with pytest.raises(AttributeError):
        load_config(PATH, []).optimizer.speed = 1


@pytest.mark.parametrize('name', ['default', 'person_car', 'demo'])
def test_saved_config_reads_back(name, tmp_path):
    config = load_config(f'configs/{name}.py', [])
    save_config(config, tmp_path / 'config.json')
    again = read_config(tmp_path / 'config.json')
    save_config(again, tmp_path / 'again.json')
    assert (tmp_path / 'again.json').read_text() == (tmp_path / 'config.json').read_text()
    with pytest.raises(AttributeError):
        again.data.sauce = 1
