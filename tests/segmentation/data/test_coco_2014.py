"""The official zip files of COCO 2014, in miniature."""

import functools
import http.server
import json
import threading
import zipfile

import pytest
from tensorflow_datasets.core.download import checksums

from segmentation.data import coco, coco_builder, coco_files
from tests import coco_fixtures


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A server of miniature zip files in the layout of COCO 2014; yields the folder it serves."""
    root = tmp_path / 'server'
    (root / 'zips').mkdir(parents=True)
    (root / 'annotations').mkdir()
    with zipfile.ZipFile(root / 'annotations' / 'annotations_trainval2014.zip', 'w') as archive:
        for split in ('train2014', 'val2014'):
            content = coco_fixtures.document(3, seed=len(split))
            with zipfile.ZipFile(root / 'zips' / f'{split}.zip', 'w') as images:
                for image in content['images']:
                    image['file_name'] = f'COCO_{split}_{image["id"]:012d}.jpg'
                    data = coco_fixtures.picture(image['width'], image['height'], image['id'])
                    images.writestr(f'{split}/{image["file_name"]}', data)
            archive.writestr(f'annotations/instances_{split}.json', json.dumps(content))
            archive.writestr(f'annotations/captions_{split}.json', '{}')

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=root)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_port}/'
        monkeypatch.setattr(coco_builder, 'URL', url)
        infos = {
            url + str(path.relative_to(root)): checksums.compute_url_info(path)
            for path in root.glob('*/*.zip')
        }
        monkeypatch.setattr(checksums, 'get_all_url_infos', lambda: dict(infos))
        yield root
        server.shutdown()


def test_coco_2014_from_the_official_zip_files(official, tmp_path, monkeypatch):
    data = tmp_path / 'data'
    prepared = coco.prepare('2014', data)
    assert prepared.path == data / 'coco_instances' / '2014' / coco.VERSION
    assert prepared.splits == ('train', 'val')
    for name in prepared.splits:
        split = prepared.split(name)
        assert split.fingerprint['source'] == '2014'
        assert split.index.complete.all() and split.index.complete_known.all()
        with zipfile.ZipFile(official / 'zips' / f'{name}2014.zip') as archive:
            for record in split:
                assert record['image'] == archive.read(f'{name}2014/{record["file_name"]}')
                assert record['complete_category_ids'].tolist() == [1, 3, 6, 31]
                assert len(record['instances']['id']) == 5
    # Complete downloads are kept and not repeated; an incomplete one is not kept.
    for path in official.glob('*/*.zip'):
        path.unlink()
    (kept,) = (data / 'downloads' / 'coco_instances').glob('**/*train2014*.zip')
    half = kept.with_name(kept.name + '.tmp.0123456789abcdef')
    half.mkdir()
    (half / 'train2014.zip').write_bytes(b'PK')
    assert coco.prepare('2014', data, splits=['val']).splits == ('val',)
    assert (data / 'coco_instances' / '2014-val').is_dir()
    assert kept.exists() and not half.exists()


def test_coco_2014_from_zip_files_at_hand(official, tmp_path):
    manual = tmp_path / 'data' / 'downloads' / 'manual'
    manual.mkdir(parents=True)
    for path in official.glob('*/*.zip'):
        path.rename(manual / path.name)
    assert len(coco.prepare('2014', tmp_path / 'data').split('train')) == 3


def test_coco_2014_with_a_wrong_checksum_is_refused(official, tmp_path):
    with (official / 'zips' / 'train2014.zip').open('ab') as file:
        file.write(b'more')
    # Only this split: tfds would try for minutes to get another one from the closed server.
    with pytest.raises(Exception, match='train2014.zip.*has wrong checksum'):
        coco.prepare('2014', tmp_path / 'data', splits=['train'])
    assert not list((tmp_path / 'data' / 'coco_instances').glob('*/*'))


def test_coco_2014_checksums_come_with_tfds():
    known = checksums.get_all_url_infos()
    for name in ('annotations/annotations_trainval2014', 'zips/train2014', 'zips/val2014'):
        info = known[f'http://images.cocodataset.org/{name}.zip']
        assert info.filename == name.split('/')[1] + '.zip'


def test_images_missing_from_or_damaged_in_a_zip_file_are_skipped(tmp_path):
    path = tmp_path / 'train2014.zip'
    data = coco_fixtures.picture(40, 30)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('train2014/a.jpg', data)
        archive.writestr('train2014/b.jpg', data)
    content = bytearray(path.read_bytes())
    content[200] ^= 255
    path.write_bytes(content)
    source = coco_files.ZipSource(path, path, 'train2014')
    files = coco_files.check_files(source.find(['a.jpg', 'b.jpg', 'c.jpg']), source.read, 'train')
    reasons = [files[f'{name}.jpg'].reason for name in 'abc']
    assert reasons == ['file cannot be read', '', 'missing file']
