"""Experiment configs: loaded from a Python file with overrides, saved and reloaded as JSON."""

import json
import pathlib

from absl import flags
from ml_collections import ConfigDict, config_flags


def load_config(path: str, overrides: list[str]) -> ConfigDict:
    """Loads `get_config()` of a config file and applies command-line overrides.

    Args:
      path: Python file that defines `get_config()`.
      overrides: arguments such as '--config.optimizer.learning_rate=3e-4'.

    Returns:
      A locked config.

    Raises:
      ValueError: the file is missing, a field does not exist (near matches are named), a value has
        the wrong type, or an argument is not an override.
    """
    if not pathlib.Path(path).is_file():
        raise ValueError(f'No config file {path}; configs live in configs/*.py.')
    strangers = [arg for arg in overrides if not arg.startswith('--config.') or '=' not in arg]
    if strangers:
        raise ValueError(f'Unknown arguments {strangers}; overrides look like --config.seed=1.')
    arguments = ['', f'--config={path}', *overrides]
    flag_values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file(
        'config', flag_values=flag_values, sys_argv=arguments, lock_config=True
    )
    try:
        flag_values(arguments)
        return holder.value
    except (AttributeError, KeyError, TypeError, ValueError, flags.Error) as error:
        # What ml_collections says varies with the mistake; say what was asked for beside it.
        reason = str(error).replace('\n', ' ') or type(error).__name__
        raise ValueError(f'Cannot apply {overrides} to {path}: {reason}') from error


def save_config(config: ConfigDict, path: pathlib.Path) -> None:
    """Writes a config as JSON (tuples become lists)."""
    path.write_text(json.dumps(config.to_dict(), indent=2) + '\n')


def read_config(path: pathlib.Path) -> ConfigDict:
    """Reads what `save_config` wrote; the result is locked."""
    return ConfigDict(json.loads(path.read_text())).lock()
