"""Run directories in a bucket: what another machine finds there, also after an interruption."""

import pathlib
import shutil
import socket

import fsspec
import jax
import numpy as np
import pytest

from segmentation import buckets, checkpoint
from tests.test_end_to_end import command, train_arguments

RUN = pathlib.Path('memory:/bucket/run')


class Machine:
    """The local copies of one machine."""

    def __init__(self, folder, monkeypatch):
        self._folder, self._patch = folder, monkeypatch

    def opened(self, path=RUN):
        self._patch.setattr(buckets, 'COPIES', self._folder)
        return buckets.opened(path)

    def copy(self):
        self._patch.setattr(buckets, 'COPIES', self._folder)
        return buckets._Copy(str(buckets.url_of(RUN)))


@pytest.fixture
def machines(tmp_path, monkeypatch):
    """Any number of machines, and an empty store."""
    monkeypatch.setattr('jax.process_count', lambda: 1)
    memory = fsspec.filesystem('memory')
    memory.store.clear()
    memory.pseudo_dirs[:] = ['']
    yield (Machine(tmp_path / str(number), monkeypatch) for number in range(1000))
    memory.store.clear()


def write(folder, step, text):
    """A file that changes, a checkpoint of two files, and an artifact, instead of what there is."""
    shutil.rmtree(folder / 'checkpoints', ignore_errors=True)
    for name in ('metrics.jsonl', f'checkpoints/{step}/state/a', f'checkpoints/{step}/data/b',
                 'analysis/val-1/some.npz', 'analysis/val-1/some.json'):  # fmt: skip
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / 'checkpoints/removed/0').mkdir(parents=True)
    (folder / 'checkpoints/removed/0/a').write_text('not stored')
    (folder / 'lock').touch()


def contents(folder):
    paths = [path for path in folder.rglob('*') if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


def test_only_such_paths_are_buckets(tmp_path):
    assert buckets.url_of(pathlib.Path('s3://bucket/runs/a')) == 's3://bucket/runs/a'
    assert buckets.url_of(pathlib.Path('gs://bucket/run/')) == 'gs://bucket/run'
    assert buckets.url_of(tmp_path) is None and buckets.url_of(pathlib.Path('runs/a')) is None
    with buckets.opened(tmp_path) as (folder, _):
        assert folder == tmp_path


def test_another_machine_finds_what_was_stored(machines):
    one, two = next(machines), next(machines)
    with one.opened() as (folder, store):
        write(folder, 5, 'first')
        store()
        (folder / 'notes.txt').write_text('after that')
    with two.opened() as (folder, _):
        found = contents(folder)
        assert found.pop('complete/5.json')
        assert set(found.values()) == {'first', 'after that'} and len(found) == 6
        write(folder, 10, 'second')
    with one.opened() as (folder, _):
        found = contents(folder)
        assert not any(name.startswith(('checkpoints/5/', 'complete/5')) for name in found)
        assert found['checkpoints/10/data/b'] == found['metrics.jsonl'] == 'second'


class Interrupted(BaseException):
    """As a kill: nothing may catch it."""


def limited(operation, left):
    def run(*arguments, **options):
        if next(left, None) is None:
            raise Interrupted
        return operation(*arguments, **options)

    return run


def test_an_interruption_leaves_the_old_or_the_new_never_half(machines, monkeypatch):
    """Stops before each operation on the store in turn."""
    store, ended, seen = fsspec.filesystem('memory'), False, set()
    for allowed in range(40):
        store.store.clear()
        one = next(machines).copy()
        one.fetch()
        write(one.folder, 5, 'old')
        one.store()
        write(one.folder, 10, 'new')
        left = iter(range(allowed))
        with monkeypatch.context() as patch:
            for name in ('put_file', 'rm_file'):
                patch.setattr(type(store), name, limited(getattr(type(store), name), left))
            try:
                one.store()
                ended = True
            except Interrupted:
                pass
        two = next(machines).copy()
        two.fetch()
        files = contents(two.folder)
        steps = sorted(name for name in files if name.startswith('complete/'))
        for step, text in (('5', 'old'), ('10', 'new')):
            parts = [files.get(f'checkpoints/{step}/{part}') for part in ('state/a', 'data/b')]
            assert parts == [text if f'complete/{step}.json' in steps else None] * 2
        if 'analysis/val-1/some.json' in files:
            assert files['analysis/val-1/some.json'] == files['analysis/val-1/some.npz']
        seen.add(tuple(steps))
        # The next command of the first machine puts all in order.
        again = next(machines).copy()
        again.fetch()
        write(again.folder, 10, 'new')
        again.store()
        assert {name for name in again._all() if name.startswith('checkpoints/')} == {
            'checkpoints/10/state/a', 'checkpoints/10/data/b'
        }  # fmt: skip
        if ended:
            break
    assert ended and ('complete/10.json',) in seen and len(seen) > 1


def test_a_checkpoint_whose_bytes_have_changed_is_refused(machines):
    with next(machines).opened() as (folder, _):
        write(folder, 5, 'text')
    fsspec.filesystem('memory').pipe_file('/bucket/run/checkpoints/5/state/a', b'test')
    with pytest.raises(ValueError, match='memory://bucket/run/checkpoints/5/state/a is damaged'):
        next(machines).copy().fetch()


def test_objects_outside_the_run_are_refused(machines):
    fsspec.filesystem('memory').pipe_file('/bucket/run/../outside', b'')
    with pytest.raises((ValueError, OSError), match='outside'):
        next(machines).copy().fetch()


def test_a_store_that_fails_is_a_clear_error(machines, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError('no route')

    monkeypatch.setattr(type(fsspec.filesystem('memory')), 'find', fail)
    with pytest.raises(OSError, match='memory://bucket/run cannot be reached.*no route'):
        next(machines).copy().fetch()


def test_two_commands_of_a_machine_do_not_share_a_copy(machines):
    one = next(machines)
    with one.opened(), pytest.raises(ValueError, match='Another process'), one.opened():
        pass


def test_training_continues_in_an_s3_bucket_and_is_analyzed(coco_folder, data_dir, tmp_path):
    pytest.importorskip('s3fs', reason='s3fs is not installed: pip install ".[buckets]"')
    server = pytest.importorskip('moto.server', reason='moto is not installed: moto[server]')
    import boto3

    thread = server.ThreadedMotoServer(ip_address='127.0.0.1', port=0)
    thread.start()
    host, port = thread.get_host_and_port()
    names = 'ACCESS_KEY_ID', 'SECRET_ACCESS_KEY'
    keys = {f'AWS_{name}': 'test' for name in names} | {'AWS_DEFAULT_REGION': 'us-east-1'}
    keys['AWS_ENDPOINT_URL'] = f'http://{host}:{port}'
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in keys.items():
                patch.setenv(name, value)
            boto3.client('s3').create_bucket(Bucket='runs')
            url, local = 's3://runs/tiny', tmp_path / 'local'
            for number, steps in enumerate((2, 4)):
                for workdir in (url, local):
                    patch.setenv('HOME', str(tmp_path / f'machine{number}'))
                    fields = {'train.num_steps': steps, 'optimizer.schedule': 'constant'}
                    done = command(*train_arguments(coco_folder, data_dir, workdir, **fields))
                    assert done.returncode == 0, done.stderr
            patch.setenv('HOME', str(tmp_path / 'machine2'))
            file = tmp_path / 'scores.json'
            done = command('-m', 'analysis.mean_iou', '--workdir', url, '--json', file)
            assert done.returncode == 0 and file.exists(), done.stderr
            patch.setattr(buckets, 'COPIES', tmp_path / 'here')
            with buckets.opened(pathlib.Path(url)) as (folder, _):
                runs = [checkpoint.restore_variables(run, '4')[1] for run in (folder, local)]
                assert (folder / 'analysis').is_dir()
    finally:
        thread.stop()
    jax.tree.map(np.testing.assert_array_equal, *runs)


def test_an_unreachable_bucket_is_a_clear_error(tmp_path, monkeypatch):
    pytest.importorskip('s3fs', reason='s3fs is not installed: pip install ".[buckets]"')
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))
        monkeypatch.setenv('AWS_ENDPOINT_URL', f'http://127.0.0.1:{closed.getsockname()[1]}')
        for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_REGION'):
            monkeypatch.setenv(name, 'test')
        with (
            pytest.raises(OSError, match='s3://runs/tiny cannot be reached'),
            Machine(tmp_path, monkeypatch).opened(pathlib.Path('s3://runs/tiny')),
        ):
            pass
