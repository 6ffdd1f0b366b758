"""Experiment configs: loaded from a Python file with overrides, saved and reloaded as JSON."""

import ast
import difflib
import json
import pathlib
import runpy
from collections.abc import Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from configs import default
from segmentation.files import write_text

# Fields that decide where data are kept, how fast a run is and what it records, but never what it
# computes. Runs and sweeps may differ in them: a run continues, and a sweep takes up its trials,
# with other values (on another machine, say).
NEUTRAL_FIELDS = frozenset({
    'data.data_dir', 'data.threads', 'data.prefetch', 'data.workers', 'eval_batch_size',
    'train.log_every', 'train.checkpoint_every', 'train.keep_every', 'train.num_pictures',
})  # fmt: skip

_WANTED = {
    bool: 'True or False',
    int: 'a whole number',
    float: 'a number',
    str: 'text',
    tuple: "a tuple such as (1.0, 2.0) or ('a', 'b')",
}


def load_config(path: str, overrides: list[str]) -> ConfigDict:
    """Loads a config and applies command-line overrides.

    Args:
      path: Python file that defines `get_config()`, or the `config.json` of a run.
      overrides: arguments such as '--config.optimizer.learning_rate=3e-4'.

    Returns:
      A locked config.

    Raises:
      ValueError: the file is missing or broken, a field does not exist (near matches are named), a
        value has the wrong type, or an argument is not an override.
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
    for override in overrides:
        name, _, text = override.removeprefix('--config.').partition('=')
        set_fields(config, {name: _parse(text, kind_of(config, name))})
    return config


def run_file(path: str) -> dict[str, Any]:
    """Runs a config file; returns what it defines.

    Raises:
      ValueError: the file is missing or does not run.
    """
    if not pathlib.Path(path).is_file():
        raise ValueError(f'No config file {path}; configs live in configs/*.py.')
    try:
        return runpy.run_path(path)
    except Exception as error:
        raise ValueError(f'{path} does not run: {type(error).__name__}: {error}') from error


def kind_of(config: ConfigDict, name: str) -> type:
    """Type of a field: bool, int, float, str or tuple (also for the list that JSON made of one).

    Args:
      config: any config.
      name: dotted, e.g. 'optimizer.learning_rate'.

    Raises:
      ValueError: there is no such field; names those nearby.
    """
    group, field = _find(config, name)
    kind = type(group[field])
    return tuple if kind is list else kind


def set_fields(config: ConfigDict, values: Mapping[str, Any]) -> None:
    """Sets fields by their dotted names, or none of them if one is wrong.

    A whole number is taken where a number is wanted, and a list where a tuple is; nothing else is
    converted.

    Raises:
      ValueError: there is no such field, or it wants another type.
    """
    checked = []
    for name, value in values.items():
        group, field = _find(config, name)
        kind = kind_of(config, name)
        given = tuple if isinstance(value, list) else type(value)
        if given is not kind and (given, kind) != (int, float):
            raise ValueError(
                f'{name} wants {_WANTED[kind]} (now: {group[field]!r}), not {value!r}.'
            )
        checked.append((group, field, type(group[field])(value)))
    for group, field, value in checked:
        group[field] = value


def with_overrides(config: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
    """A locked copy of a config with some fields set (see `set_fields`)."""
    copy = config.copy_and_resolve_references().lock()
    set_fields(copy, overrides)
    return copy


def _find(config: ConfigDict, name: str) -> tuple[ConfigDict, str]:
    """The group that a field is in, and the field's own name."""
    group, path = config, name.split('.')
    for depth, part in enumerate(path):
        inside = '.'.join(path[:depth])
        if not isinstance(group, ConfigDict):
            raise ValueError(f'No field {name}: {inside} is a field, not a group of fields.')
        if part not in group:
            everything = flat(config)
            # As it is written, or by its last part alone ("learning_rate" without its group).
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


def _parse(text: str, kind: type) -> Any:
    """Reads a value of the command line; text that does not fit is returned for `set_fields`."""
    try:
        if kind is bool:
            return {'true': True, '1': True, 'false': False, '0': False}[text.lower()]
        if kind is tuple:
            value = ast.literal_eval(text)
            return value if isinstance(value, tuple | list) else (value,)
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
    """Describes the fields (see `flat`) that differ, one line each; tuples are equal to lists."""
    old, new = json.loads(json.dumps([dict(old), dict(new)]))
    return [
        f'{name}: {old.get(name)!r} there, {new.get(name)!r} now'
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and name not in ignored
    ]


def save_config(config: ConfigDict, path: pathlib.Path) -> None:
    """Writes a config as JSON (tuples become lists)."""
    # Infinity is a legal value of a field, though JSON itself has no name for it.
    write_text(path, json.dumps(config.to_dict(), indent=2) + '\n')


def read_config(path: pathlib.Path) -> ConfigDict:
    """Reads what `save_config` wrote; the result is locked.

    A run of an older version of the code lacks the fields that came later. They get their defaults,
    which therefore must be what was done before there was the field (see `configs/default.py`).

    Raises:
      ValueError: the file is missing or is no such config, or has fields that this code does not
        know; names them.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f'{path} cannot be read as a config: {error}') from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f'{path} holds a {type(content).__name__}, not a config.')
    config = default.get_config()
    known = flat(config)
    if strangers := sorted(flat(content).keys() - known.keys()):
        raise ValueError(
            f'{path} has the fields {", ".join(strangers)}, which this version of the code does '
            'not know: use the version that run.json beside it names.'
        )
    for name in known.keys() - flat(content).keys():
        group = content
        *groups, field = name.split('.')
        for part in groups:
            group = group.setdefault(part, {})
        group[field] = known[name]
    return ConfigDict(content).lock()
