"""Parameter sets: which fields of a config each training run of a sweep changes.

Functions next to `get_config()` in a config file define them; README.md shows how.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from ml_collections import ConfigDict
from optuna import distributions

from segmentation.config import flat, kind_of, run_file, with_overrides


def read_sets(path: str, name: str, base: ConfigDict) -> dict[str, dict[str, Any]]:
    """The parameter sets of `sweep()` or `sweep_<name>()` (see `key_sets`).

    Raises:
      ValueError: there is no such function, or a set is invalid; every set is checked.
    """
    return key_sets(list(_call(path, 'sweep', name)), base)


def read_space(path: str, name: str, base: ConfigDict) -> dict[str, distributions.BaseDistribution]:
    """The ranges and choices of `search()` or `search_<name>()`, by field.

    A range is {'low': …, 'high': …}, both included, with optional 'log': True or 'step': …;
    choices are a list.

    Raises:
      ValueError: an unknown field, a value of the wrong type or a malformed range; names all.
    """
    space, mistakes = {}, []
    for field, values in _call(path, 'search', name).items():
        try:
            space[field] = _distribution(field, values, base)
        except (ValueError, TypeError) as error:
            mistakes.append(f'{field}: {error}')
    if mistakes or not space:
        raise ValueError(
            'Nothing was run, because the search space is invalid:\n  '
            + '\n  '.join(mistakes or ['it is empty'])
        )
    return space


def _call(path: str, kind: str, name: str) -> Any:
    wanted = f'{kind}_{name}' if name else kind
    functions = run_file(path)
    if wanted not in functions:
        known = [key for key in functions if re.fullmatch(r'(sweep|search)(_\w+)?', key)]
        hint = (
            f'it has {", ".join(known)}.' if known else 'segmentation/sweeps/README.md shows how.'
        )
        raise ValueError(f'{path} defines no {wanted}(); {hint}')
    return functions[wanted]()


def key_sets(sets: Sequence[dict[str, Any]], base: ConfigDict) -> dict[str, dict[str, Any]]:
    """Checks parameter sets; returns them by key, equal sets merged.

    The key is a hash of the fields in which a set differs from `base`.

    Raises:
      ValueError: an unknown field or a value of the wrong type; names all wrong sets.
    """
    keyed: dict[str, dict[str, Any]] = {}
    mistakes = []
    defaults = flat(base)
    for number, overrides in enumerate(sets, 1):
        try:
            if not isinstance(overrides, dict):
                raise ValueError(f'is {overrides!r}, not a dict of fields.')
            fields = flat(with_overrides(base, overrides))
        except ValueError as error:
            mistakes.append(f'set {number}: {error}')
            continue
        changed = {name: fields[name] for name in fields if fields[name] != defaults[name]}
        text = json.dumps(changed, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:10]
        keyed.setdefault(key, {name: fields[name] for name in overrides})
    if mistakes:
        raise ValueError(
            'Nothing was run, because these parameter sets are invalid:\n  ' + '\n  '.join(mistakes)
        )
    if not keyed:
        raise ValueError('The sweep has no parameter sets.')
    return keyed


def draw_sets(space: Mapping[str, Any], count: int, base: ConfigDict) -> dict[str, dict[str, Any]]:
    """Draws sets at random; `base.seed` decides which, and a larger `count` only adds sets."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=base.seed))
    return key_sets([suggest(study.ask(), space) for _ in range(count)], base)


def suggest(trial: optuna.Trial, space: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the study's sampler chooses for the fields of `read_space`, by field."""
    overrides: dict[str, Any] = {}
    for field, given in space.items():
        if isinstance(given, distributions.CategoricalDistribution):
            overrides[field] = json.loads(str(trial.suggest_categorical(field, given.choices)))
        else:
            is_int = isinstance(given, distributions.IntDistribution)
            draw: Callable[..., Any] = trial.suggest_int if is_int else trial.suggest_float
            overrides[field] = draw(field, given.low, given.high, step=given.step, log=given.log)
    return overrides


def _distribution(field: str, values: Any, base: ConfigDict) -> distributions.BaseDistribution:
    if isinstance(values, list | tuple) and values:
        for value in values:
            with_overrides(base, {field: value})
        # As JSON, because Optuna stores no tuples.
        return distributions.CategoricalDistribution([json.dumps(value) for value in values])
    kinds = {int: distributions.IntDistribution, float: distributions.FloatDistribution}
    kind = kind_of(base, field)
    if kind not in kinds or not isinstance(values, dict) or not {'low', 'high'} <= values.keys():
        raise ValueError(
            "write choices as a list, or the range of a number as {'low': 1e-4, 'high': 1e-2, "
            f"'log': True}}, not {values!r}"
        )
    for value in (values['low'], values['high']):
        with_overrides(base, {field: value})
    return kinds[kind](**values)
