"""Files of analyses: what was written comes back, and nothing else is taken for it."""

import dataclasses
import json
import os
import subprocess
import types

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from analysis.stage import old_artifacts as artifacts


@pytest.fixture
def analysis(tmp_path):
    run = types.SimpleNamespace(step=7, data={'fingerprint': 'abc'})
    examples = types.SimpleNamespace(image_ids=np.array([5, 2, 9]))
    return artifacts.Analysis(run, 'val', examples, tmp_path)


KINDS = {
    'arrays': (
        lambda analysis, version, origin=None: artifacts.save_arrays(
            analysis, 'thing', version, origin, x=np.eye(3)
        ),
        artifacts.load_arrays,
        lambda found: np.testing.assert_array_equal(found['x'], np.eye(3)),
    ),
    'table': (
        lambda analysis, version, origin=None: artifacts.save_table(
            analysis, 'thing', version, {'a': [1, 2, 3], 'name': ['x', '"', '\n']}, origin
        ),
        artifacts.load_table,
        lambda found: found.to_pydict() == {'a': [1, 2, 3], 'name': ['x', '"', '\n']} or 1 / 0,
    ),
    'json': (
        lambda analysis, version, origin=None: artifacts.save_json(
            analysis, 'thing', version, {'x': [1.5]}, origin
        ),
        artifacts.load_json,
        lambda found: found == {'x': [1.5]} or 1 / 0,
    ),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def test_what_was_written_comes_back(analysis, kind):
    save, load, check = kind
    path = save(analysis, 1)
    check(load(analysis, 'thing', 1))
    assert [file.name for file in analysis.folder.iterdir()] == [path.name]


def test_what_killed_processes_left_is_removed(analysis, kind):
    save, _, _ = kind
    path = save(analysis, 1)
    ended = subprocess.Popen(['true'])
    ended.wait()
    for pid in (ended.pid, os.getppid()):
        path.with_name(f'.{path.name}.{pid}').touch()
    save(analysis, 1)
    left = {file.name for file in analysis.folder.iterdir()}
    assert left == {path.name, f'.{path.name}.{os.getppid()}'}  # it may be writing


def test_what_does_not_fit_is_refused(analysis, kind):
    save, load, _ = kind
    with pytest.raises(ValueError, match='not there: run python -m analysis.thing first'):
        load(analysis, 'thing', 1)
    save(analysis, 1)
    with pytest.raises(ValueError, match='version 1 instead of 2.*Delete it'):
        load(analysis, 'thing', 2)
    other = dataclasses.replace(
        analysis, examples=types.SimpleNamespace(image_ids=np.array([5, 9, 2]))
    )
    with pytest.raises(ValueError, match='images .* instead of'):
        load(other, 'thing', 1)


def test_damage_is_named(analysis, kind):
    save, load, _ = kind
    path = save(analysis, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match='thing.* is damaged'):
        load(analysis, 'thing', 1)


def test_any_change_is_noticed_and_other_readers_see_nothing_of_it(analysis, kind):
    save, load, _ = kind
    path = save(analysis, 1, artifacts.origin(analysis, 'nothing.npz', seed=1))
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 200)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            load(analysis, 'thing', 1)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            # Only what says that there is a checksum protects nothing.
            assert (
                b'CRC:' in whole[place - 3 : place + 4] or b'crc32' in whole[place - 5 : place + 6]
            )
    path.write_bytes(whole)
    if path.suffix == '.npz':
        np.testing.assert_array_equal(np.load(path, allow_pickle=False)['x'], np.eye(3))
    elif path.suffix == '.parquet':
        assert parquet.read_table(path)['a'].to_pylist() == [1, 2, 3]


def test_what_would_be_computed_otherwise_now_is_not_current(analysis, kind, capsys):
    save, load, check = kind
    artifacts.save_arrays(analysis, 'source', 1, x=np.arange(3))

    def origin(seed=0, layers=('a', 'b')):
        return artifacts.origin(analysis, 'source.npz', 'option.npz', seed=seed, layers=layers)

    file = f'thing{save(analysis, 1).suffix}'  # as before origins were written
    assert not artifacts.is_current(analysis, file, 1, origin())
    assert 'seed unknown instead of 0' in capsys.readouterr().err
    check(load(analysis, 'thing', 1))
    save(analysis, 1, origin())
    before = (analysis.folder / file).read_bytes()
    save(analysis, 1, origin())
    assert (analysis.folder / file).read_bytes() == before
    assert artifacts.is_current(analysis, file, 1, origin())
    assert capsys.readouterr().err == ''
    for version, now, said in (
        (2, origin(), 'version 1 instead of 2'),
        (1, origin(seed=3), 'seed 0 instead of 3'),
        (1, origin(layers=['b']), "layers ['a', 'b'] instead of ['b']"),
    ):
        assert not artifacts.is_current(analysis, file, version, now)
        assert f'{file} is computed anew: {said}.\n' in capsys.readouterr().err

    # Computed again with the same result, a source is the same; with another one it is not.
    artifacts.save_arrays(analysis, 'source', 1, x=np.arange(3))
    assert artifacts.is_current(analysis, file, 1, origin())
    artifacts.save_arrays(analysis, 'source', 1, x=np.arange(4))
    assert not artifacts.is_current(analysis, file, 1, origin())
    assert 'source.npz has changed' in capsys.readouterr().err
    with pytest.raises(ValueError, match='another source.npz than there is now'):
        load(analysis, 'thing', 1)
    # What was made without an optional one is still true; that one not being there any more, too.
    (analysis.folder / 'source.npz').unlink()
    check(load(analysis, 'thing', 1))
    assert artifacts.is_current(analysis, file, 1, origin())
    artifacts.save_arrays(analysis, 'option', 1, x=np.eye(2))
    check(load(analysis, 'thing', 1))
    assert not artifacts.is_current(analysis, file, 1, origin())
    assert 'option.npz has changed' in capsys.readouterr().err


def test_what_is_damaged_is_for_readers_to_refuse(analysis, kind):
    save, load, _ = kind
    path = save(analysis, 1, artifacts.origin(analysis))
    path.write_bytes(b'')
    assert artifacts.is_current(analysis, path.name, 2, artifacts.origin(analysis))
    with pytest.raises(ValueError, match='damaged'):
        load(analysis, 'thing', 2)


def test_files_of_before_there_were_checksums_are_read(analysis):
    header = analysis.header('thing', 1)
    np.savez(analysis.folder / 'thing.npz', header=np.array(json.dumps(header)), x=np.eye(3))
    np.testing.assert_array_equal(artifacts.load_arrays(analysis, 'thing', 1)['x'], np.eye(3))
    table = pyarrow.table({'a': [1]}).replace_schema_metadata({'header': json.dumps(header)})
    parquet.write_table(table, analysis.folder / 'thing.parquet')
    assert artifacts.load_table(analysis, 'thing', 1)['a'].to_pylist() == [1]
    (analysis.folder / 'thing.json').write_text(json.dumps({'header': header, 'x': 1}))
    assert artifacts.load_json(analysis, 'thing', 1) == {'x': 1}


def test_nothing_is_pickled(analysis):
    with pytest.raises(TypeError, match='pickled'):
        artifacts.save_arrays(analysis, 'thing', 1, x=np.array([{}], object))
    np.savez(analysis.folder / 'thing.npz', header=np.array([{}], object))
    with pytest.raises(ValueError, match='damaged'):
        artifacts.load_arrays(analysis, 'thing', 1)
