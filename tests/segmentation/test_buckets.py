"""Run directories in a bucket: what another machine finds there, also after an interruption."""

import json
import pathlib
import re
import shutil
import socket
import sys
import urllib.request

import fsspec
import numpy as np
import pytest

from segmentation import buckets, launch, train
from segmentation.data import coco, coco_index
from tests.segmentation.test_train import one_device, states_of  # noqa: F401  (a fixture)

RUN = pathlib.Path('memory:/bucket/run')
MARKER = 'checkpoints/{}/_CHECKPOINT_METADATA'


class Machine:
    """The local copies of one machine."""

    def __init__(self, folder, monkeypatch):
        self._folder, self._patch = folder, monkeypatch

    def here(self):
        self._patch.setattr(buckets, 'COPIES', self._folder)

    def opened(self, path=RUN, new=True):
        self.here()
        return buckets.opened(path, new)

    def copy(self, path=RUN):
        self.here()
        copy = buckets._Copy(path, 'run.json')
        copy.folder.mkdir(parents=True, exist_ok=True)
        return copy


@pytest.fixture
def machines(tmp_path, monkeypatch):
    """Any number of machines, and an empty store."""
    monkeypatch.setattr('jax.process_count', lambda: 1)
    memory = fsspec.filesystem('memory')
    memory.store.clear()
    memory.pseudo_dirs[:] = ['']

    def info(self, path, **_):  # The original gives the time in another form than listings do.
        path = self._strip_protocol(path)
        found = self.find(path, detail=True) if path in self.store else {}
        return found.get(path) or original(self, path)

    original = type(memory).info
    monkeypatch.setattr(type(memory), 'info', info)
    yield (Machine(tmp_path / f'machine{number}', monkeypatch) for number in range(1000))
    memory.store.clear()


def write(folder, step, text):
    """A file that changes, a checkpoint, an artifact and a report, instead of what there is."""
    shutil.rmtree(folder / 'checkpoints', ignore_errors=True)
    for name in ('run.json', 'metrics.jsonl', MARKER.format(step), f'checkpoints/{step}/data/b',
                 'analysis/val-1/some.npz', 'analysis/val-1/some.json', 'report/index.html',
                 'report/data/manifest.js'):  # fmt: skip
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / 'checkpoints/removed/0').mkdir(parents=True)
    (folder / 'checkpoints/removed/0/a').write_text('not stored')
    (folder / 'lock').touch()


def contents(folder):
    paths = [path for path in folder.rglob('*') if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


@pytest.mark.parametrize(
    ('text', 'url'),
    [
        ('s3:/bucket/runs/a', 's3://bucket/runs/a'),
        ('s3://bucket/runs/a', 's3://bucket/runs/a'),
        ('gs://bucket/run/', 'gs://bucket/run'),
        ('runs/a', None),
        ('/tmp/run', None),
    ],
)
def test_only_urls_are_buckets(text, url):
    assert buckets.url_of(text) == buckets.url_of(pathlib.Path(text)) == url


@pytest.mark.parametrize('text', ['s3://../run', 's3://bucket/../other', 's3:/', 's3://a//b'])
def test_urls_that_name_no_folder_are_refused(text):
    with pytest.raises(ValueError, match='does not name a folder in a bucket'):
        buckets.url_of(text)


@pytest.mark.parametrize('text', ['file:///tmp/run', 'local://tmp/run', 'hdfs:///user/run'])
def test_urls_that_would_be_taken_for_relative_paths_are_refused(text):
    with pytest.raises(ValueError, match='give the path of a local folder|no bucket or host'):
        buckets.url_of(text)


def test_local_folders_are_used_as_they_are(tmp_path):
    with buckets.opened(tmp_path) as (folder, store):
        assert folder == tmp_path and store is None
    assert buckets.fetched(str(tmp_path)) == tmp_path


def test_another_machine_finds_what_was_stored(machines):
    one, two = next(machines), next(machines)
    with one.opened() as (folder, store):
        write(folder, 5, 'first')
        store()
        (folder / 'notes.txt').write_text('after that')
    with two.opened(new=False) as (folder, _):
        found = contents(folder)
        assert set(found.values()) == {'first', 'after that'} and len(found) == 9
        write(folder, 10, 'second')
    with one.opened() as (folder, _):
        assert not (folder / 'checkpoints/5').exists()  # Orbax reads an empty folder as a step.
        found = contents(folder)
        assert found['checkpoints/10/data/b'] == found['metrics.jsonl'] == 'second'
    two.here()
    assert buckets.fetched(str(RUN)).name == 'run'


def test_only_what_has_changed_is_transferred(machines, monkeypatch):
    one, moved = next(machines), []
    with one.opened() as (folder, _):
        write(folder, 5, 'text')
    for name in ('put_file', 'get_file'):
        operation = getattr(fsspec.filesystem('memory'), name)
        monkeypatch.setattr(
            type(fsspec.filesystem('memory')), name,
            lambda _, *args, run=operation, **options: (moved.append(args), run(*args, **options)),
        )  # fmt: skip
    with one.opened() as (folder, _):
        (folder / 'metrics.jsonl').write_text('more')
    assert [pathlib.Path(arguments[0]).name for arguments in moved] == ['metrics.jsonl']


class Interrupted(BaseException):
    """As a kill: nothing may catch it."""


def limited(operation, left):
    def run(*arguments, **options):
        if next(left, None) is None:
            raise Interrupted
        return operation(*arguments, **options)

    return run


@pytest.mark.parametrize('killed', [False, True])
def test_an_upload_that_breaks_leaves_the_old_or_the_new_never_half(machines, monkeypatch, killed):
    """Stops before each operation on the store in turn, and opens the run on another machine.

    After a kill, not even what was stored so far has been written down.
    """
    memory, ended, seen = type(fsspec.filesystem('memory')), False, set()
    monkeypatch.setattr(buckets, '_AT_ONCE', 1)
    for allowed in range(60):
        memory.store.clear()
        one = next(machines).copy()
        one.fetch(new=True)
        write(one.folder, 5, 'old')
        one.store()
        write(one.folder, 10, 'new')
        written_down = one._state.read_bytes()
        with monkeypatch.context() as patch:
            left = iter(range(allowed))
            for name in ('put_file', 'rm_file'):
                patch.setattr(memory, name, limited(getattr(memory, name), left))
            try:
                one.store()
                ended = True
            except Interrupted:
                if killed:
                    one._state.write_bytes(written_down)
        two = next(machines).copy()
        two.fetch()
        found = contents(two.folder)
        steps = tuple(step for step in (5, 10) if (two.folder / f'checkpoints/{step}').exists())
        assert steps  # The old checkpoint is there until the new one is.
        for step, text in zip((5, 10), ('old', 'new'), strict=True):
            parts = [found.get(MARKER.format(step)), found.get(f'checkpoints/{step}/data/b')]
            assert parts == [text if step in steps else None] * 2
        if 'analysis/val-1/some.json' in found:
            assert found['analysis/val-1/some.json'] == found['analysis/val-1/some.npz']
        report = {text for name, text in found.items() if name.startswith('report/')}
        assert len(report) <= 1
        seen.add((steps, *report))
        # The next command puts all in order: the copy of the first machine has lost nothing.
        again = one if allowed % 2 else two
        again.fetch()
        if again is one:
            found = contents(one.folder)
            assert found['metrics.jsonl'] == found['checkpoints/10/data/b'] == 'new'
            assert not (one.folder / 'checkpoints/5').exists()
        write(again.folder, 15, 'next')
        again.store()
        assert {name for name in again._listed() if name.startswith('checkpoints/')} == {
            MARKER.format(15), 'checkpoints/15/data/b'
        }  # fmt: skip
        if ended:
            break
    assert ended and {((5,),), ((5,), 'old'), ((5, 10), 'new'), ((10,), 'new')} <= seen


def test_what_could_not_be_stored_stays_here(machines, monkeypatch, caplog):
    one, two = next(machines), next(machines)
    with one.opened() as (folder, _):
        write(folder, 5, 'old')

    def fail(*_, **__):
        raise RuntimeError('no route')

    expected = 'cannot be read or written.*no route'
    with monkeypatch.context() as patch:
        with pytest.raises(OSError, match=expected), one.opened() as (folder, store):
            write(folder, 10, 'new')
            patch.setattr(type(fsspec.filesystem('memory')), 'put_file', fail)
            store()  # A training goes on.
            assert re.search(expected, caplog.text)
    with one.opened() as (folder, _):
        assert contents(folder)['checkpoints/10/data/b'] == 'new'
    with two.opened() as (folder, _):
        assert contents(folder)['checkpoints/10/data/b'] == 'new'
        (folder / 'metrics.jsonl').write_text('two')
    # Both have changed it: the bucket counts, and that is said.
    (one.copy().folder / 'metrics.jsonl').write_text('one')
    with one.opened() as (folder, _):
        assert contents(folder)['metrics.jsonl'] == 'two'
    assert 'has changed meanwhile: 1 files of' in caplog.text


def test_files_that_were_cleaned_away_here_are_fetched_again(machines):
    one = next(machines)
    with one.opened() as (folder, _):
        write(folder, 5, 'text')
    before = one.copy()._listed()
    shutil.rmtree(folder)
    with one.opened() as (folder, _):
        assert contents(folder)['checkpoints/5/data/b'] == 'text'
    assert one.copy()._listed() == before


def test_a_folder_that_is_no_run_is_neither_fetched_nor_written(machines):
    fsspec.filesystem('memory').pipe_file('/bucket/run/photo.jpg', b'photo')
    for new in (False, True):
        with (
            pytest.raises(ValueError, match=r'memory://bucket/run has no run\.json'),
            next(machines).opened(new=new),
        ):
            pass
    with pytest.raises(ValueError, match='has no run'):
        next(machines).opened(pathlib.Path('memory:/bucket/other'), new=False).__enter__()
    assert fsspec.filesystem('memory').find('/') == ['/bucket/run/photo.jpg']


@pytest.mark.parametrize('name', ['../outside', 'a/../../outside', '/etc/outside', 'a//b', './a'])
def test_objects_outside_the_run_are_refused(machines, monkeypatch, name):
    entries = {'/bucket/run/run.json': {'type': 'file', 'size': 2, 'created': 1}}
    entries[f'/bucket/run/{name}'] = {'type': 'file', 'size': 4, 'created': 1}
    monkeypatch.setattr(type(fsspec.filesystem('memory')), 'find', lambda *_, **__: entries)
    copy = next(machines).copy()
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        copy.fetch()
    assert contents(copy.folder) == {}


@pytest.mark.parametrize('announced', [3, 5])
def test_objects_of_another_size_than_listed_are_refused(machines, monkeypatch, announced):
    with next(machines).opened() as (folder, _):
        write(folder, 5, 'four')
    memory = type(fsspec.filesystem('memory'))
    find = memory.find

    def lie(*arguments, **options):
        found = find(*arguments, **options)
        if entry := found.get('/bucket/run/checkpoints/5/data/b'):
            entry['size'] = announced
        return found

    monkeypatch.setattr(memory, 'find', lie)
    copy = next(machines).copy()
    with pytest.raises(OSError, match=f'checkpoints/5/data/b .*the {announced} bytes'):
        copy.fetch()
    assert not (copy.folder / 'checkpoints/5/data/b').exists()


def test_a_store_that_cannot_be_written_is_an_error_before_the_work(machines, monkeypatch):
    def fail(*_, **__):
        raise PermissionError('read only')

    monkeypatch.setattr(type(fsspec.filesystem('memory')), 'pipe_file', fail)
    with (
        pytest.raises(OSError, match='memory://bucket/run cannot be read or written.*read only'),
        next(machines).opened(),
    ):
        pytest.fail('the work has begun')


def test_unknown_kinds_of_urls_say_what_to_install(machines):
    with pytest.raises(ValueError, match=r'nothing://a/run: .*pip install'):
        next(machines).copy(pathlib.Path('nothing:/a/run'))


def test_prepared_data_in_a_bucket_are_opened_by_their_url(machines, coco_folder, data_dir):
    prepared = coco.prepare(str(coco_folder), data_dir)
    memory = fsspec.filesystem('memory')
    memory.put(str(prepared.path), '/bucket/prepared', recursive=True)
    next(machines).here()
    found = coco.prepare('memory://bucket/prepared', data_dir)
    assert found.fingerprint == prepared.fingerprint and found.path != prepared.path
    assert found.split('train')[3]['image'] == prepared.split('train')[3]['image']
    memory.rm_file(f'/bucket/prepared/{coco_index.METADATA}')
    with pytest.raises(ValueError, match=f'has no {coco_index.METADATA}'):
        coco.prepare('memory://bucket/prepared', data_dir)
    with pytest.raises(ValueError, match=r's3://a/data: data are prepared in a local data_dir'):
        coco.prepare(str(coco_folder), pathlib.Path('s3://a/data'))


def test_commands_that_need_a_local_folder_say_so(capsys):
    with pytest.raises(SystemExit):
        launch.make_parser('').parse_args(['--workdir', 's3://bucket/sweep'])
    assert 's3://bucket/sweep: buckets do not work here' in capsys.readouterr().err


@pytest.fixture
def s3(monkeypatch):
    """A client of a local S3 server with an empty bucket 'runs'."""
    pytest.importorskip('s3fs', reason='s3fs is not installed: pip install ".[buckets]"')
    reason = 'moto is not installed: see requirements-dev.txt'
    server = pytest.importorskip('moto.server', reason=reason)
    import boto3

    thread = server.ThreadedMotoServer(ip_address='127.0.0.1', port=0)
    thread.start()
    host, port = thread.get_host_and_port()
    _point_to(f'http://{host}:{port}', monkeypatch)
    # All servers of a process hold the same buckets.
    urllib.request.urlopen(f'http://{host}:{port}/moto-api/reset', data=b'').close()
    client = boto3.client('s3')
    client.create_bucket(Bucket='runs')
    yield client
    thread.stop()


def _point_to(address, monkeypatch):
    for name in ('ACCESS_KEY_ID', 'SECRET_ACCESS_KEY'):
        monkeypatch.setenv(f'AWS_{name}', 'test')
    monkeypatch.setenv('AWS_DEFAULT_REGION', 'us-east-1')
    monkeypatch.setenv('AWS_ENDPOINT_URL', address)
    fsspec.filesystem('s3').clear_instance_cache()


def keys(client):
    return {item['Key'] for item in client.list_objects_v2(Bucket='runs').get('Contents', ())}


def test_training_in_s3_continues_on_another_machine_bitwise_and_is_analyzed(
    s3,
    machines,
    tiny_config,
    tmp_path,
    monkeypatch,
    caplog,
    one_device,  # noqa: F811
):
    from scripts import analyze, export
    from scripts import train as train_command

    url, fields = pathlib.Path('s3://runs/a/tiny'), tiny_config.train
    fields.num_steps, fields.eval_every, fields.num_pictures = 2, 1, 0
    fields.recalibrate_batches, tiny_config.model.encoder_trainable = 0, False  # less to compile
    # An undisturbed training. What it stores after the first evaluation is all that others find.
    one, two, three = (next(machines) for _ in range(3))
    copy = one.copy(url)
    copy.fetch(new=True)
    expected = train.train(tiny_config, copy.folder, copy.store)
    assert 'a/tiny/checkpoints/1/_CHECKPOINT_METADATA' in keys(s3)
    two.here()
    config, result = str(copy.folder / 'config.json'), tmp_path / 'result.json'
    command = ['train.py', '--config', config, '--workdir', str(url), '--json', str(result)]
    monkeypatch.setattr(sys, 'argv', command)
    assert train_command.main() == 0
    assert re.search(r'Continuing .* at step 1\.', caplog.text)
    found = json.loads(result.read_text())
    assert found['step'] == 2 and found['selection']['loss'] == expected.selection['loss']
    with three.opened(url, new=False) as (folder, _):
        ours, theirs = states_of(copy.folder, 2), states_of(folder, 2)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    # The analysis, on a machine that has nothing.
    next(machines).here()
    arguments = ['--checkpoint', 'latest', '--stages', 'samples,report']
    assert analyze.main(['--workdir', str(url), *arguments]) == 0
    output, proof = tmp_path / 'model.stablehlo', tmp_path / 'proof.json'
    command = ['export.py', '--workdir', str(url), '--format', 'stablehlo', '--output']
    monkeypatch.setattr(sys, 'argv', [*command, str(output), '--json', str(proof)])
    assert export.main() == 0
    assert json.loads(proof.read_text())['origin']['seeds'] == [tiny_config.seed]
    assert {'a/tiny/report/index.html', 'a/tiny/analysis/val-2/samples.parquet'} <= keys(s3)
    assert not [key for key in keys(s3) if 'tmp' in key or 'lock' in key or '/.' in key]


def test_an_s3_listing_that_reaches_outside_is_refused(s3, machines):
    s3.put_object(Bucket='runs', Key='a/run.json', Body=b'{}')
    for folder in ('a/', 'a/folder/'):  # as consoles make them
        s3.put_object(Bucket='runs', Key=folder, Body=b'')
    copy = next(machines).copy(pathlib.Path('s3://runs/a'))
    copy.fetch()
    assert contents(copy.folder) == {'run.json': '{}'}
    for key in ('a/../../outside', 'a//etc/outside'):
        s3.put_object(Bucket='runs', Key=key, Body=b'')
        with pytest.raises(ValueError, match='outside'):
            next(machines).copy(pathlib.Path('s3://runs/a')).fetch()
        s3.delete_object(Bucket='runs', Key=key)


def test_a_bucket_that_is_not_there_is_a_clear_error(s3, machines):
    with (
        pytest.raises(OSError, match=r's3://nothing/run cannot be read or written.*not exist'),
        next(machines).opened(pathlib.Path('s3://nothing/run')),
    ):
        pass


def test_an_unreachable_server_is_a_clear_error(machines, monkeypatch):
    pytest.importorskip('s3fs', reason='s3fs is not installed: pip install ".[buckets]"')
    monkeypatch.setenv('AWS_MAX_ATTEMPTS', '2')  # of each of the retries of s3fs
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))
        _point_to(f'http://127.0.0.1:{closed.getsockname()[1]}', monkeypatch)
        with (
            pytest.raises(OSError, match=r's3://runs/tiny cannot be read or written.*connect'),
            next(machines).opened(pathlib.Path('s3://runs/tiny')),
        ):
            pass
