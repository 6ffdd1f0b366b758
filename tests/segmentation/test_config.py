import json
import math
import os

import pytest

from configs import default
from segmentation.config import (
    check_effects,
    check_ranges,
    flat,
    load_config,
    read_config,
    save_config,
    set_fields,
    with_overrides,
)
from tests.paths import ROOT

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
        (
            ['--config.optimizer.learning_rat=1'],
            r'Did you mean "optimizer.learning_rate"\? Fields of optimizer: average, clip_norm,',
        ),
        (
            ['--config.learning_rate=1'],
            'mean "optimizer.learning_rate".* Fields of the config: data',
        ),
        (
            ['--config.optimizer=1'],
            'group of fields; set one of optimizer.average, optimizer.clip_norm',
        ),
        (['--config.seed.x=1'], 'seed is a field, not a group'),
        (
            ['--config.optimizer.learning_rate=fast'],
            r"must be a number, not 'fast' \(its value is 0.001\)",
        ),
        (['--config.train.num_steps=1e3'], "must be a whole number.*, not '1e3'"),
        (['--config.data.flip=yes'], 'must be True or False'),
        (['--config.data.train_splits=a;b'], 'must be a tuple'),
        (['--config.loss.class_weights=a'], 'must be a tuple'),
        (['--config.nothing.at_all=1'], 'nothing.at_all'),
        (['--learning_rate=1'], '--learning_rate=1'),
        (['--config.seed', '3'], 'overrides look like'),
    ],
)
def test_mistakes_are_named(overrides, message):
    with pytest.raises(ValueError, match=message):
        load_config(PATH, overrides)


@pytest.mark.parametrize(
    ('override', 'name', 'value'),
    [
        ('model.dropout=1', 'dropout', 1.0),
        ('model.encoder_trainable=true', 'encoder_trainable', True),
        ('model.encoder_trainable=0', 'encoder_trainable', False),
        ('model.pretrained=', 'pretrained', ''),
        ('model.pretrained=a=b', 'pretrained', 'a=b'),
    ],
)
def test_values_are_read_as_the_field_wants(override, name, value):
    read = load_config(PATH, [f'--config.{override}']).model[name]
    assert read == value and type(read) is type(value)


def test_names_of_splits_may_be_numbers():
    read = load_config(
        PATH, ['--config.data.train_splits=2017', "--config.data.val_splits=(1,'b')"]
    )
    assert (read.data.train_splits, read.data.val_splits) == (('2017',), ('1', 'b'))
    for text in ('2017,val', '007', '1e5', '0x10'):
        read = load_config(PATH, [f'--config.data.train_splits={text}'])
        assert read.data.train_splits == tuple(text.split(','))
    assert load_config(PATH, ['--config.loss.class_weights=2']).loss.class_weights == (2,)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'train.num_pictures': -1}, 'train.num_pictures=-1 must be at least 0'),
        ({'train.recalibrate_batches': -1}, 'recalibrate_batches=-1 must be at least 0'),
        ({'data.color_jitter': 30.0}, 'data.color_jitter=30.0 must be between 0 and 1'),
        ({'data.min_crop': -1.0}, 'data.min_crop=-1.0 must be at least 0.001'),
        ({'data.min_crop': 0.8, 'data.max_crop': 0.5}, 'max_crop must be at least data.min_crop'),
        ({'train.num_steps': 0, 'train.num_epochs': 0}, 'num_steps or train.num_epochs must be'),
        ({'train.num_steps': -5}, 'train.num_steps=-5'),
        ({'data.paste': math.nan}, 'data.paste=nan'),
        ({'data.max_crop': math.inf}, 'data.max_crop=inf must be between 0.001 and 100'),
        ({'model.decoder_width': 0.0}, 'model.decoder_width=0.0 must be at least 0.001'),
        ({'seed': -1, 'data.paste': 2.0}, r'(?s)seed=-1.*data.paste=2.0'),
    ],
)
def test_numbers_out_of_range_are_named(fields, message):
    config = with_overrides(default.get_config(), {'train.num_steps': 5})
    check_ranges(config)
    with pytest.raises(ValueError, match=message):
        check_ranges(with_overrides(config, fields))


def test_set_fields_sets_all_or_none():
    config = load_config(PATH, [])
    set_fields(config, {'optimizer.learning_rate': 1, 'loss.class_weights': [1.0, 2.0, 2.0]})
    assert config.optimizer.learning_rate == 1.0 and config.loss.class_weights == (1.0, 2.0, 2.0)
    for wrong in ({'model.dropout': True}, {'seed': 0.5}, {'data.flip': 1}, {'seed': None}):
        with pytest.raises(ValueError, match='must be'):
            set_fields(config, {'optimizer.learning_rate': 0.5, **wrong})
    assert config.optimizer.learning_rate == 1.0


def test_epochs_that_would_be_ignored_are_refused():
    demo = str(ROOT / 'configs' / 'demo.py')
    with pytest.raises(ValueError, match='num_epochs has no effect.* also set train.num_steps=0'):
        load_config(demo, ['--config.train.num_epochs=5'])
    for first, second in (('num_epochs=5', 'num_steps=0'), ('num_steps=0', 'num_epochs=5')):
        config = load_config(demo, [f'--config.train.{first}', f'--config.train.{second}'])
        assert (config.train.num_epochs, config.train.num_steps) == (5, 0)


def test_missing_or_broken_file(tmp_path):
    with pytest.raises(ValueError, match='no_such'):
        load_config('configs/no_such.py', [])
    for text, message in (('x = ', 'SyntaxError'), ('x = 1', r'no get_config\(\)')):
        (tmp_path / 'broken.py').write_text(text)
        with pytest.raises(ValueError, match=message):
            load_config(str(tmp_path / 'broken.py'), [])
    for text in ('{', '[]'):
        (tmp_path / 'config.json').write_text(text)
        with pytest.raises(ValueError, match=r'config\.json'):
            load_config(str(tmp_path / 'config.json'), [])


def test_config_is_locked():
    with pytest.raises(AttributeError):
        load_config(PATH, []).optimizer.speed = 1


@pytest.mark.parametrize('name', ['default', 'person_car', 'vehicle', 'demo'])
def test_saved_config_reads_back(name, tmp_path):
    config = load_config(f'configs/{name}.py', [])
    save_config(config, tmp_path / 'config.json')
    again = read_config(tmp_path / 'config.json')
    save_config(again, tmp_path / 'again.json')
    assert (tmp_path / 'again.json').read_text() == (tmp_path / 'config.json').read_text()
    with pytest.raises(AttributeError):
        again.data.sauce = 1


def test_config_of_a_run_takes_overrides(tmp_path):
    config = load_config('configs/vehicle.py', ['--config.optimizer.learning_rate=0.5'])
    save_config(config, tmp_path / 'config.json')
    overrides = ["--config.data.draw_last=('bus',)", '--config.seed=3']
    again = load_config(str(tmp_path / 'config.json'), overrides)
    assert again.optimizer.learning_rate == 0.5 and again.seed == 3
    assert list(again.data.draw_last) == ['bus'] and list(again.data.require_of) == [
        'person',
        'car',
    ]


def test_config_of_an_older_run_has_the_defaults_of_later_fields(tmp_path):
    config = load_config('configs/vehicle.py', ['--config.optimizer.clip_norm=2'])
    content = config.to_dict()
    del content['optimizer']['skip_nonfinite'], content['data']['scenes']['planted']
    (tmp_path / 'config.json').write_text(json.dumps(content))
    again = read_config(tmp_path / 'config.json')
    assert again.to_dict() == json.loads(json.dumps(config.to_dict()))
    content['optimizer']['momentum'] = 0.9
    (tmp_path / 'config.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match='fields optimizer.momentum, which this version'):
        read_config(tmp_path / 'config.json')


def test_config_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    config = load_config('configs/demo.py', [])
    save_config(config, tmp_path / 'config.json')
    before = (tmp_path / 'config.json').read_text()

    def no_room(*arguments):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'replace', no_room)
    with pytest.raises(OSError, match='config.json cannot be written: .*No space left'):
        save_config(load_config('configs/demo.py', ['--config.seed=5']), tmp_path / 'config.json')
    assert [path.name for path in tmp_path.iterdir()] == ['config.json']
    assert (tmp_path / 'config.json').read_text() == before


@pytest.mark.parametrize(
    ('idle', 'needed'),
    [
        ({'optimizer.weight_decay': 0.1}, {'optimizer.name': 'adamw'}),
        (
            {'model.decoder_bn_momentum': 0.9},
            {'train.recalibrate_batches': 0, 'model.norm': 'batch'},
        ),
        (
            {'model.encoder_bn_momentum': 0.9},
            {'train.recalibrate_batches': 0, 'model.encoder_trainable': True},
        ),
        ({'train.recalibrate_batches': 8}, {'model.norm': 'batch'}),
        ({'data.exclude_from': ('train', 'val')}, {'data.exclude': 'list.json'}),
        ({'data.groups': 'groups.json'}, {'data.selection_fraction': 0.1}),
        ({'data.min_crop': 1.5}, {'data.max_crop': 2.0}),
        ({'data.max_crop': 0.5}, {'data.min_crop': 0.25}),
        ({'model.encoder_statistics': 'fixed'}, {'model.encoder_trainable': True}),
        ({'model.pretrained_resolution': 96}, {'model.pretrained': 'imagenet'}),
        ({'data.scenes.error_rate': 0.1}, {'data.scenes.planted': True}),
    ],
)
def test_settings_that_do_nothing_are_named(idle, needed):
    unused = {'model.pretrained': 'weights.h5', 'model.norm': 'instance'}
    base = with_overrides(default.get_config(), {**unused, 'data.selection_fraction': 0.0})
    check_effects(base)
    (name,) = idle
    with pytest.raises(ValueError, match=name):
        check_effects(with_overrides(base, idle))
    check_effects(with_overrides(base, {**idle, **needed}))


@pytest.mark.parametrize(
    'name', ['demo', 'person_car', 'person_car_best', 'planted', 'vehicle', 'vehicle_best']
)
def test_every_setting_of_a_config_does_something(name):
    config = load_config(str(ROOT / 'configs' / f'{name}.py'), [])
    check_effects(config)
    check_ranges(config)


def test_vehicle_differs_from_person_car_in_three_fields():
    one, two = (flat(load_config(f'configs/{n}.py', [])) for n in ('person_car', 'vehicle'))
    assert {name for name in one if one[name] != two[name]} == {
        'data.label_space',
        'data.draw_last',
        'data.require_of',
    }


def test_a_config_that_was_read_has_no_idle_settings(tmp_path):
    config = default.get_config()
    save_config(config, tmp_path / 'config.json')
    check_effects(read_config(tmp_path / 'config.json'))
