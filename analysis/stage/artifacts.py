"""Reads and writes results of stages, and checks what they were computed from.

The analysis of a checkpoint has the folder `<workdir>/analysis/<split>-<step>/`. An artifact is the
result of a stage (`storage` says in which files). Its header has the name of the stage, the version
of its schema, the step, the split, the data fingerprint, a hash of the image ids in their order,
the settings, and hashes of the artifacts that it was computed from. An artifact of other
images or data is an error. One with other settings, another schema version or changed inputs is
recomputed.

In all functions `kind` is the class of the result, `name` is that of the artifact, if it is not the
stage's, `reads` are names of the artifacts that the result is computed from, and `settings` are
those of the computation, for JSON.
"""

import hashlib
import json
import pathlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeVar

from analysis.stage import storage
from analysis.stage.view import Parts, View


class Result:
    """Base class of the results of stages, which are dataclasses."""

    NAME: ClassVar[str]  # of the stage, and of its artifact unless another name is given
    VERSION: ClassVar[int]  # of the schema; an artifact of another version is recomputed
    PARTS: ClassVar[Parts] = Parts.ANY  # parts of an experiment that it can be about
    FEWEST: ClassVar[int] = 1  # images that it needs


R = TypeVar('R', bound=Result)


def path_of(view: View, kind: type[Result], name: str = '') -> pathlib.Path:
    """The JSON file of an artifact; it exists if and only if the artifact is complete."""
    return storage.json_path(view.folder, name or kind.NAME)


def exists(view: View, kind: type[Result], name: str = '') -> bool:
    """Whether a result was written, by this or an older version."""
    return path_of(view, kind, name).exists()


def why_not(view: View, kind: type[Result]) -> str:
    """Why a result is not available: the model, the parts or too few images; '' if it is."""
    several, folders = view.is_population, bool(view.folders)
    if {Parts.ONE: several, Parts.SEVERAL: not several, Parts.FOLDER: not folders}.get(kind.PARTS):
        return kind.PARTS.value
    if len(view) < kind.FEWEST:
        return f'it needs at least {kind.FEWEST} images, and there are {len(view)}'
    return view.unavailable.get(kind.NAME, '')


def digests(view: View, names: Iterable[str]) -> dict[str, str | None]:
    """SHA-256 of artifacts by name; None for one that does not exist."""
    paths = {name: storage.json_path(view.folder, name) for name in names}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for name, path in paths.items()
    }


def save(
    view: View,
    result: Result,
    reads: Iterable[str] = (),
    settings: Mapping[str, Any] | None = None,
    name: str = '',
) -> None:
    """Writes a result.

    Raises:
      OSError: a file cannot be written.
    """
    header = {
        'stage': result.NAME,
        'version': result.VERSION,
        **view.identity(),
        'settings': json.loads(json.dumps(settings or {})),
        'reads': digests(view, reads),
    }
    storage.write(view.folder, name or result.NAME, result, header)


def settings(view: View, kind: type[Result], name: str = '') -> dict[str, Any]:
    """The settings with which an artifact was computed; empty if that cannot be read."""
    try:
        return dict(storage.read_header(view.folder, name or kind.NAME)['settings'])
    except Exception:  # Missing, damaged, or of an older version: the callers notice it later.
        return {}


def _changed(before: Mapping[str, str | None], now: Mapping[str, str | None]) -> list[str]:
    # An artifact that was removed has not changed.
    return [name for name, digest in now.items() if digest and digest != before.get(name)]


def is_current(
    view: View,
    kind: type[Result],
    reads: Iterable[str] = (),
    settings: Mapping[str, Any] | None = None,
    name: str = '',
) -> bool:
    """Returns whether an artifact is up to date; prints the reason if it is stale.

    A damaged artifact, or one of other images, counts as up to date: `load` refuses it, and nothing
    is overwritten without --force.
    """
    path = path_of(view, kind, name)
    if not path.exists():
        return False
    try:
        header = storage.read_header(view.folder, name or kind.NAME)
        if 'files' not in header:
            reasons = ['it was written by an older version of the code']
        else:
            now = {'version': kind.VERSION, **json.loads(json.dumps(settings or {}))}
            found = {'version': header['version'], **header['settings']}
            reasons = [
                f'{read} has changed' for read in _changed(header['reads'], digests(view, reads))
            ]
            reasons += [
                f'{key} {found.get(key, "unknown")} instead of {value}'
                for key, value in now.items()
                if key not in found or found[key] != value
            ]
    except Exception:  # What damage raises is not documented.
        return True
    if reasons:
        print(f'{path} is recomputed: {", ".join(reasons)}.', file=sys.stderr)
    return not reasons


def load(view: View, kind: type[R], name: str = '') -> R:
    """Reads a result.

    Raises:
      ValueError: it is missing, damaged, of other images or another version, or what it was
        computed from has changed since.
    """
    path, again = path_of(view, kind, name), f'run python -m analysis.{kind.NAME}'
    if not path.exists():
        raise ValueError(f'{path} does not exist: {again} first.')
    try:
        header = storage.read_header(view.folder, name or kind.NAME)
        if 'files' not in header:
            raise ValueError(f'{path} was written by an older version of the code: {again} again.')
        identity = view.identity()
        expected = {'stage': kind.NAME, 'version': kind.VERSION, **identity}
        # Older versions did not say it, and the checkpoint may have been deleted since.
        if None in (header.get('checkpoint'), identity['checkpoint']):
            del expected['checkpoint']
        if view.folders and header.get('images') != identity['images']:
            raise ValueError(
                f'{path} is of other images: a folder has changed since, or another folder has '
                f'the same name. Delete {view.folder} and run the analysis again.'
            )
        wrong = [
            f'{key} {header.get(key)!r} instead of {value!r}'
            for key, value in expected.items()
            if header.get(key) != value
        ]
        reads = {name: digest for name, digest in header['reads'].items() if digest}
    except (KeyError, TypeError, AttributeError, UnicodeError, OSError, json.JSONDecodeError) as e:
        raise ValueError(f'{path} is damaged ({e}); {again} --force.') from e
    if wrong:
        raise ValueError(
            f'{path} is of another checkpoint, of other images or of another version of the code: '
            f'{", ".join(wrong)}. Delete it and {again} again.'
        )
    if changed := _changed(reads, digests(view, reads)):
        raise ValueError(f'{path} is older than {changed[0]}: {again} again.')
    try:
        return storage.read(view.folder, name or kind.NAME, kind)
    except Exception as error:  # What the libraries raise on damage is not documented.
        raise ValueError(f'{path} is damaged ({error}); {again} --force.') from error
