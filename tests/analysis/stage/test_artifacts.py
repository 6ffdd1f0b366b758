"""Artifacts: what was written comes back, and nothing else is taken for it."""

import dataclasses
import os
import pathlib
import subprocess
from typing import ClassVar

import numpy as np
import pyarrow
import pytest
from ml_collections import ConfigDict
from pyarrow import parquet

from analysis.stage import artifacts
from analysis.stage.artifacts import Result
from analysis.stage.view import View
from segmentation.files import _HOST


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    score: float | None


@dataclasses.dataclass(frozen=True)
class Thing(Result):
    NAME: ClassVar[str] = 'thing'
    VERSION: ClassVar[int] = 1

    parts: tuple[Part, ...]
    by_name: dict[str, Part]
    matrix: np.ndarray
    layers: dict[str, np.ndarray]
    rows: pyarrow.Table


@dataclasses.dataclass(frozen=True)
class Source(Result):
    NAME: ClassVar[str] = 'source'
    VERSION: ClassVar[int] = 1

    value: float


class NextThing(Thing):
    VERSION: ClassVar[int] = 2


def thing(size=3):
    part = Part('"quoted"\n', 1.5)
    return Thing(
        (part, Part('none', None)),
        {'a': part},
        np.eye(size),
        {'encoder/one': np.arange(4, dtype=np.int8)},
        pyarrow.table({'a': [1, 2, 3], 'name': ['x', '"', '\n']}),
    )


@pytest.fixture
def view(tmp_path):
    data = {'path': 'none', 'fingerprint': 'abc'}
    view = View(tmp_path, ConfigDict(), ('background',), data, 'val', 7, np.array([5, 2, 9]))
    view.folder.mkdir(parents=True)
    return view


def files(view):
    return {path.name: path for path in view.folder.iterdir()}


def test_what_was_written_comes_back(view):
    artifacts.save(view, thing())
    found = artifacts.load(view, Thing)
    assert found.parts == thing().parts and found.by_name == thing().by_name
    np.testing.assert_array_equal(found.matrix, np.eye(3))
    np.testing.assert_array_equal(found.layers['encoder/one'], np.arange(4))
    assert found.layers['encoder/one'].dtype == np.int8
    assert found.rows == thing().rows
    assert set(files(view)) == {'thing.json', 'thing.npz', 'thing.parquet'}


def test_other_programs_can_read_the_files(view):
    artifacts.save(view, thing())
    with np.load(view.folder / 'thing.npz', allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays['matrix'], np.eye(3))
    assert parquet.read_table(view.folder / 'thing.parquet')['a'].to_pylist() == [1, 2, 3]


def test_temporary_files_of_killed_processes_are_removed(view):
    ended = subprocess.Popen(['true'])
    ended.wait()
    for pid in (ended.pid, os.getppid()):
        (view.folder / f'.thing.npz.{_HOST}.{pid}').touch()
    artifacts.save(view, thing())
    hidden = {name for name in files(view) if name.startswith('.')}
    assert hidden == {f'.thing.npz.{_HOST}.{os.getppid()}'}  # that process may be writing


def test_what_does_not_fit_is_refused(view):
    with pytest.raises(ValueError, match='does not exist: run python -m analysis.thing first'):
        artifacts.load(view, Thing)
    artifacts.save(view, thing())
    with pytest.raises(ValueError, match='version 1 instead of 2.*Delete it'):
        artifacts.load(view, NextThing)
    for change in (
        {'image_ids': np.array([5, 9, 2])},
        {'data': {'fingerprint': 'another'}},
    ):
        with pytest.raises(ValueError, match='instead of'):
            artifacts.load(dataclasses.replace(view, **change), Thing)


def test_another_training_in_the_same_directory_is_noticed(view):
    stored = view.workdir / f'checkpoints/{view.step}/data/metadata'
    stored.parent.mkdir(parents=True)
    for number in (1, 2):
        stored.write_text(f'{{"crc32": {number}}}')
        if number == 1:
            artifacts.save(view, thing())
            assert artifacts.load(view, Thing).parts
    with pytest.raises(ValueError, match='of another checkpoint.*checkpoint 1 instead of 2'):
        artifacts.load(view, Thing)
    stored.unlink()  # a checkpoint that was deleted since: nothing speaks against the artifact
    assert artifacts.load(view, Thing).parts


def test_any_change_of_any_file_is_noticed(view):
    artifacts.save(view, Source(1.0))
    artifacts.save(view, thing(), ['source'], {'seed': 1})
    for path in files(view).values():
        if not path.name.startswith('thing'):
            continue
        whole = path.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 150)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(ValueError, match=r'thing\.'):
                artifacts.load(view, Thing)
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match='damaged'):
            artifacts.load(view, Thing)
        path.write_bytes(whole)
    artifacts.load(view, Thing)


def test_damaged_artifacts_are_not_overwritten_without_force(view):
    artifacts.save(view, thing())
    (view.folder / 'thing.json').write_bytes(b'')
    assert artifacts.is_current(view, Thing)
    with pytest.raises(ValueError, match='damaged.*--force'):
        artifacts.load(view, Thing)


def test_stale_artifacts_are_named_with_the_reason(view, capsys):
    artifacts.save(view, Source(1.0))

    def current(kind=Thing, seed=0, layers=('a', 'b'), reads=('source', 'option')):
        return artifacts.is_current(view, kind, reads, {'seed': seed, 'layers': layers})

    assert not current()
    artifacts.save(view, thing(), ['source', 'option'], {'seed': 0, 'layers': ('a', 'b')})
    assert current()
    assert capsys.readouterr().err == ''
    for changes, reason in (
        ({'kind': NextThing}, 'version 1 instead of 2'),
        ({'seed': 3}, 'seed 0 instead of 3'),
        ({'layers': ['b']}, "layers ['a', 'b'] instead of ['b']"),
    ):
        assert not current(**changes)
        assert f'thing.json is recomputed: {reason}.\n' in capsys.readouterr().err

    # A source that was computed again with the same result has not changed.
    artifacts.save(view, Source(1.0))
    assert current()
    artifacts.save(view, Source(2.0))
    assert not current()
    assert 'source has changed' in capsys.readouterr().err
    with pytest.raises(ValueError, match='older than source'):
        artifacts.load(view, Thing)
    # A source that was removed has not changed; an optional one that is new has.
    (view.folder / 'source.json').unlink()
    assert current()
    artifacts.load(view, Thing)
    artifacts.save(view, Source(1.0), name='option')
    assert not current()
    assert 'option has changed' in capsys.readouterr().err


def test_artifacts_of_older_versions_are_recomputed(view, capsys):
    (view.folder / 'thing.json').write_text('{"header": {"kind": "thing", "version": 1}, "x": 1}')
    assert not artifacts.is_current(view, Thing)
    assert 'older version of the code' in capsys.readouterr().err
    with pytest.raises(ValueError, match='older version.*python -m analysis.thing again'):
        artifacts.load(view, Thing)


def test_a_failed_write_keeps_the_previous_artifact(view, monkeypatch):
    """inject_faults.py tests this on full disks, and kills between the files."""
    artifacts.save(view, thing())
    monkeypatch.setattr(parquet, 'write_table', lambda *_: (_ for _ in ()).throw(OSError('full')))
    with pytest.raises(OSError, match=r'thing\.parquet cannot be written'):
        artifacts.save(view, thing(4))
    assert artifacts.load(view, Thing).matrix.shape == (3, 3)


def test_nothing_is_pickled(view):
    artifacts.save(view, thing())
    before = (view.folder / 'thing.json').read_bytes()
    with pytest.raises(TypeError, match='pickled'):
        artifacts.save(view, dataclasses.replace(thing(), matrix=np.array([{}], object)))
    assert (view.folder / 'thing.json').read_bytes() == before
    np.savez(view.folder / 'thing.npz', matrix=np.array([{}], object))
    with pytest.raises(ValueError, match='damaged'):
        artifacts.load(view, Thing)


def test_numbers_that_json_lacks_are_refused_and_destroy_nothing(view):
    artifacts.save(view, Source(1.0))
    with pytest.raises(ValueError, match='not JSON compliant'):
        artifacts.save(view, Source(float('nan')))
    assert artifacts.load(view, Source).value == 1.0


def test_files_outside_the_folder_are_not_read(view):
    artifacts.save(view, thing())
    path = view.folder / 'thing.json'
    path.write_text(path.read_text().replace('"thing.npz"', '"../../elsewhere.npz"'))
    with pytest.raises(ValueError, match='damaged'):
        artifacts.load(view, Thing)
    assert not pathlib.Path(view.workdir / 'elsewhere.npz').exists()
