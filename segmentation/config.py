"""Configs of experiments: loaded from Python files, overridden, and stored as JSON."""

import ast
import difflib
import json
import pathlib
import re
import runpy
from collections.abc import Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from configs import default
from segmentation.files import write_text

# Fields that never change a result: where data are, how fast a run is, and what it records. A run
# or a sweep can be continued with other values of them, for example on another machine.
NEUTRAL_FIELDS = frozenset({
    'data.data_dir', 'data.threads', 'data.prefetch', 'data.workers', 'eval_batch_size',
    'train.log_every', 'train.checkpoint_every', 'train.keep_every', 'train.num_pictures',
})  # fmt: skip

# Least and largest values; None for no limit. Other fields are checked where they are used.
_RANGES: dict[str, tuple[float | None, float | None]] = {
    'seed': (0, None),
    'data.max_train': (0, None),
    'data.max_val': (0, None),
    'data.min_crop': (0.001, None),
    'data.max_crop': (0.001, 100),  # the image fills at least 1 % of the square
    'data.paste': (0, 1),
    'data.repeat': (0, None),
    'data.color_jitter': (0, 1),
    'loss.label_smoothing': (0, 1),
    'loss.dice_weight': (0, None),
    'model.decoder_width': (0.001, None),
    'optimizer.warmup_steps': (0, None),
    'optimizer.encoder_rate': (0, None),
    'optimizer.encoder_after': (0, None),
    'optimizer.clip_norm': (0, None),
    'optimizer.skip_nonfinite': (0, None),
    'train.num_steps': (0, None),
    'train.num_epochs': (0, None),
    'train.log_every': (0, None),
    'train.eval_every': (0, None),
    'train.checkpoint_every': (0, None),
    'train.keep_every': (0, None),
    'train.recalibrate_batches': (0, None),
    'train.num_pictures': (0, None),
}

# Fields of older versions that this one does not have, with the value with which they did nothing.
GONE = {'loss.lovasz_weight': 0.0}

# A tuple of names without quotes, such as train,valid; a split may be named 2017.
_NAMES = re.compile(r'[\w-]+(,[\w-]+)*')

_WANTED = {
    bool: 'True or False',
    int: 'a whole number',
    float: 'a number',
    str: 'text',
    tuple: "a tuple such as '(1.0, 2.0)' or a,b",
}


def load_config(path: str, overrides: list[str]) -> ConfigDict:
    """Loads a config and applies command-line overrides.

    Args:
      path: Python file that defines `get_config()`, or the `config.json` of a run.
      overrides: arguments such as '--config.optimizer.learning_rate=3e-4'.

    Returns:
      A locked config.

    Raises:
      ValueError: the file is missing or invalid, there is no such field (the message names similar
        ones), a value has the wrong type, or an argument is not an override.
    """
    if path.endswith('.json'):
        config = read_config(pathlib.Path(path))
    else:
        functions = run_file(path)
        if 'get_config' not in functions:
            raise ValueError(f'{path} defines no get_config(); see configs/person_car.py.')
        config = functions['get_config']().lock()
    strangers = [arg for arg in overrides if not arg.startswith('--config.') or '=' not in arg]
    if strangers:
        raise ValueError(f'Unknown arguments {strangers}; overrides look like --config.seed=1.')
    values = {}
    for override in overrides:
        name, _, text = override.removeprefix('--config.').partition('=')
        values[name] = _parse(text, kind_of(config, name), name.startswith('data.'))
    set_fields(config, values)
    return config


def run_file(path: str) -> dict[str, Any]:
    """Runs a config file and returns what it defines.

    Raises:
      ValueError: the file is missing or raises an error.
    """
    if not pathlib.Path(path).is_file():
        raise ValueError(f'No config file {path}; configs live in configs/*.py.')
    try:
        return runpy.run_path(path)
    except Exception as error:
        raise ValueError(f'{path} does not run: {type(error).__name__}: {error}') from error


def kind_of(config: ConfigDict, name: str) -> type:
    """Type of a field: bool, int, float, str, or tuple (which is a list in JSON).

    Args:
      config: any config.
      name: with dots, e.g. 'optimizer.learning_rate'.

    Raises:
      ValueError: there is no such field; names similar ones.
    """
    group, field = _find(config, name)
    kind = type(group[field])
    return tuple if kind is list else kind


def set_fields(config: ConfigDict, values: Mapping[str, Any]) -> None:
    """Sets fields by their dotted names, or none of them if one is invalid.

    An int is accepted for a float, and a list for a tuple; nothing else is converted.

    Raises:
      ValueError: there is no such field, the value has the wrong type, or it has no effect.
    """
    checked = []
    for name, value in values.items():
        group, field = _find(config, name)
        kind = kind_of(config, name)
        given = tuple if isinstance(value, list) else type(value)
        if given is not kind and (given, kind) != (int, float):
            raise ValueError(
                f'{name} must be {_WANTED[kind]}, not {value!r} (its value is {group[field]!r}).'
            )
        checked.append((group, field, type(group[field])(value)))
    steps = values.get('train.num_steps', config.train.num_steps)
    if 'train.num_epochs' in values and steps:
        raise ValueError(
            f'train.num_epochs has no effect, because train.num_steps is {steps}; also set '
            'train.num_steps=0.'
        )
    for group, field, value in checked:
        group[field] = value


def check_ranges(config: ConfigDict) -> None:
    """Checks that numbers are in the range in which they mean something.

    Raises:
      ValueError: some are not; names all of them.
    """
    values, wrong = flat(config), []
    for name, (low, high) in _RANGES.items():
        # NaN is in no range.
        if not (low is None or values[name] >= low) or not (high is None or values[name] <= high):
            limits = f'at least {low}' if high is None else f'between {low} and {high}'
            wrong.append(f'{name}={values[name]} must be {limits}.')
    if not values['data.max_crop'] >= values['data.min_crop']:
        wrong.append('data.max_crop must be at least data.min_crop.')
    if not values['train.num_steps'] and not values['train.num_epochs']:
        wrong.append('train.num_steps or train.num_epochs must be above 0.')
    if wrong:
        raise ValueError('These settings are out of range:\n  ' + '\n  '.join(wrong))


def check_effects(config: ConfigDict) -> None:
    """Checks that no field that differs from its default is one that does nothing here.

    Raises:
      ValueError: other fields make some of them meaningless or contradict them; names them with the
        reason.
    """
    model, data, recalibrated = config.model, config.data, config.train.recalibrate_batches > 0
    if config.optimizer.encoder_after and model.encoder_statistics == 'batch':
        raise ValueError(
            'optimizer.encoder_after freezes the encoder at first, which needs '
            "model.encoder_statistics='fixed'."
        )
    recalibration = 'train.recalibrate_batches replaces the running averages'
    encoder_moves = model.encoder_trainable and model.encoder_statistics == 'batch'
    undivided = not data.folds and not data.selection_fraction and data.fraction == 1
    whole = data.min_crop >= 1 and data.max_crop <= 1
    # As lists, because a config that was read from a file has no tuples.
    mine, defaults = (
        {name: list(v) if isinstance(v, tuple) else v for name, v in flat(each).items()}
        for each in (config, default.get_config())
    )
    idle = [
        f'{name}={mine[name]!r}: {reason}. Its default is {defaults[name]!r}.'
        for name, without_effect, reason in (
            ('optimizer.weight_decay', config.optimizer.name == 'adam', "'adam' does not decay"),
            ('model.encoder_bn_momentum', recalibrated, recalibration),
            (
                'model.encoder_bn_momentum',
                not encoder_moves,
                'the statistics of the encoder are fixed',
            ),
            ('model.decoder_bn_momentum', recalibrated, recalibration),
            ('model.decoder_bn_momentum', model.norm != 'batch', "model.norm is not 'batch'"),
            *(
                (name, not model.encoder_trainable, 'the encoder is frozen')
                for name in (
                    'model.encoder_statistics',
                    'optimizer.encoder_rate',
                    'optimizer.encoder_after',
                )
            ),
            (
                'model.pretrained_resolution',
                model.pretrained != 'imagenet',
                'model.pretrained chooses the weights',
            ),
            (
                'train.recalibrate_batches',
                recalibrated and not encoder_moves and model.norm != 'batch',
                'no BatchNorm has running statistics',
            ),
            ('data.scenes.error_rate', not data.scenes.planted, 'data.scenes.planted is off'),
            ('data.exclude_from', not data.exclude, 'data.exclude lists no image'),
            ('data.groups', undivided, 'the training images are not divided'),
            ('data.min_crop', whole, 'no crop is smaller than the image, or larger'),
            ('data.max_crop', whole, 'no crop is smaller than the image, or larger'),
        )
        if without_effect and mine[name] != defaults[name]
    ]
    if idle:
        raise ValueError('These settings would have no effect:\n  ' + '\n  '.join(idle))


def num_training_steps(config: ConfigDict, num_images: int) -> int:
    """Steps of a run: `num_steps`, or `num_epochs` passes over the images; `config` is `train`."""
    if config.num_steps:
        return config.num_steps
    return max(1, round(config.num_epochs * num_images / config.batch_size))


def with_overrides(config: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
    """A locked copy of a config with some fields set (see `set_fields`)."""
    copy = config.copy_and_resolve_references().lock()
    set_fields(copy, overrides)
    return copy


def _find(config: ConfigDict, name: str) -> tuple[ConfigDict, str]:
    """The group of a field, and its name in that group."""
    group, path = config, name.split('.')
    for depth, part in enumerate(path):
        inside = '.'.join(path[:depth])
        if not isinstance(group, ConfigDict):
            raise ValueError(f'No field {name}: {inside} is a field, not a group of fields.')
        if part not in group:
            everything = flat(config)
            # Similar names, and fields with the same last part ("learning_rate" without its group).
            near = difflib.get_close_matches(name, everything, n=2, cutoff=0.75)
            near += [other for other in everything if other.split('.')[-1] == path[-1]]
            hint = ' or '.join(f'"{match}"' for match in dict.fromkeys(near))
            raise ValueError(
                f'No field {name}.'
                + (f' Did you mean {hint}?' if hint else '')
                + f' Fields of {inside or "the config"}: {", ".join(group)}.'
            )
        if depth < len(path) - 1:
            group = group[part]
    if isinstance(group[path[-1]], ConfigDict):
        fields = ', '.join(f'{name}.{field}' for field in group[path[-1]])
        raise ValueError(f'{name} is a group of fields; set one of {fields}.')
    return group, path[-1]


def _parse(text: str, kind: type, texts: bool) -> Any:
    """Parses a value of the command line; returns invalid text, which `set_fields` refuses.

    `texts`: a tuple of this field has texts, which need no quotes.
    """
    try:
        if kind is bool:
            return {'true': True, '1': True, 'false': False, '0': False}[text.lower()]
        if kind is tuple and texts and _NAMES.fullmatch(text):
            return tuple(text.split(','))
        if kind is tuple:
            value = ast.literal_eval(text)
            value = value if isinstance(value, tuple | list) else (value,)
            return tuple(str(e) if texts and type(e) is int else e for e in value)
        return kind(text)
    except (ValueError, KeyError, SyntaxError):
        return text


def flat(tree: Mapping | ConfigDict, prefix: str = '') -> dict[str, Any]:
    """Fields by their dotted names."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping | ConfigDict):
            result |= flat(value, f'{prefix}{key}.')
        else:
            result[f'{prefix}{key}'] = value
    return result


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], ignored: Collection[str] = NEUTRAL_FIELDS
) -> list[str]:
    """Describes the fields (see `flat`) that differ, one line each; tuples equal lists."""
    old, new = json.loads(json.dumps([dict(old), dict(new)]))
    return [
        f'{name}: {old.get(name)!r} in the run, {new.get(name)!r} now'
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and name not in ignored
    ]


def save_config(config: ConfigDict, path: pathlib.Path) -> None:
    """Writes a config as JSON (tuples become lists)."""
    # Not write_json: a field may be infinite.
    write_text(path, json.dumps(config.to_dict(), indent=2) + '\n')


def read_config(path: pathlib.Path) -> ConfigDict:
    """Reads a config that `save_config` wrote, and locks it.

    Runs of older versions lack newer fields. They get the default, which must therefore be what the
    older version did (see `configs/default.py`).

    Raises:
      ValueError: the file is missing or is no config, or has unknown fields; names them.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f'{path} cannot be read as a config: {error}') from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f'{path} holds a {type(content).__name__}, not a config.')
    for name, nothing in GONE.items():
        group_name, field = name.split('.')
        if isinstance(given := content.get(group_name), dict) and given.get(field) == nothing:
            del given[field]
    config = default.get_config()
    known = flat(config)
    if not flat(content).keys() & known.keys():
        raise ValueError(f'{path} is no config.json of a run: no field of a config is in it.')
    if strangers := sorted(flat(content).keys() - known.keys()):
        raise ValueError(
            f'{path} has the fields {", ".join(strangers)}, which this version of the code does '
            'not know: use the version that run.json next to it names.'
        )
    for name in known.keys() - flat(content).keys():
        group = content
        *groups, field = name.split('.')
        for part in groups:
            group = group.setdefault(part, {})
        group[field] = known[name]
    return ConfigDict(content).lock()
