"""The prepared data set: both sources, what is kept, what is skipped, and what is refused."""

import concurrent.futures
import hashlib
import json
import os
import re
import shutil

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from scripts import prepare_coco
from segmentation.data import annotations, coco, coco_builder, data_loss
from tests import coco_fixtures
from tests.paths import SHARED

COCO = SHARED / 'coco'


def skipped(prepared: coco.Prepared, split: str = 'train') -> dict[str, int]:
    return {reason: entry['count'] for reason, entry in prepared.skipped[split].items()}


def test_records_hold_the_files_and_the_annotations(folder, tmp_path):
    prepared = coco.prepare(str(folder), tmp_path / 'data')
    assert prepared.splits == ('train', 'extra_val')
    assert [c.name for c in prepared.categories] == ['person', 'car', 'bus', 'handbag']
    for name in prepared.splits:
        split = prepared.split(name)
        data = (folder / 'annotations' / f'instances_{name}.json').read_bytes()
        expected = annotations.parse(data, name)
        assert len(split) == len(expected.images) == len(list(split))
        for i, image in enumerate(expected.images):
            record = split[i]
            assert record['image'] == (folder / name / image.file_name).read_bytes()
            assert record['image/id'] == image.id == split.index.image_id[i]
            assert record['file_name'] == image.file_name == split.index.file_name[i]
            assert (record['height'], record['width']) == (image.height, image.width)
            assert (split.index.height[i], split.index.width[i]) == (image.height, image.width)
            assert record['license'] == 'Attribution License'
            stored = record['instances']
            assert stored['id'].tolist() == [x.id for x in image.instances]
            assert stored['category_id'].tolist() == [x.category_id for x in image.instances]
            assert stored['is_crowd'].tolist() == [x.is_crowd for x in image.instances]
            assert stored['rle'].tolist() == [x.rle for x in image.instances]
            np.testing.assert_allclose(stored['area'], [x.area for x in image.instances])
            np.testing.assert_allclose(stored['bbox'], [x.bbox for x in image.instances])
            for k, category in enumerate(prepared.categories):
                count = sum(x.category_id == category.id for x in image.instances)
                assert split.index.counts[i, k] == count
            assert not record['complete_known'] and not split.index.complete_known[i]


def test_images_without_annotations_are_kept(tmp_path):
    content = coco_fixtures.document(2)
    content['annotations'] = []
    folder = coco_fixtures.write_folder(tmp_path / 'a', {'train': content})
    with pytest.raises(data_loss.DataLoss, match='its annotations are empty'):
        coco.prepare(str(folder), tmp_path / 'data')
    coco.prepare(str(folder), tmp_path / 'data', accept_loss=True)
    split = coco.prepare(str(folder), tmp_path / 'data').split('train')  # accepted before
    record = split[0]
    assert record['instances']['bbox'].shape == (0, 4)
    assert len(record['instances']['rle']) == len(record['instances']['id']) == 0
    assert split.index.counts.tolist() == [[0] * 4] * 2


def test_prepared_data_need_neither_source_nor_place(folder, tmp_path):
    prepared = coco.prepare(str(folder), tmp_path / 'data')
    first = prepared.split('train')[0]
    moved = prepared.path.rename(tmp_path / 'moved')
    for path in folder.glob('*/*'):
        path.unlink()
    again = coco.open_prepared(moved)
    assert again.fingerprint == prepared.fingerprint
    np.testing.assert_equal(again.split('train')[0], first)
    with pytest.raises(ValueError, match="no split 'test', only train, extra_val"):
        again.split('test')
    with pytest.raises(IndexError, match='5 images'):
        again.split('train')[5]


def test_tfds_alone_reads_it(folder, tmp_path):
    prepared = coco.prepare(str(folder), tmp_path / 'data')
    builder = tfds.builder_from_directory(prepared.path)
    assert builder.info.splits['train'].num_examples == 5
    example = builder.as_data_source('train')[0]  # decoded, unlike in CocoSplit
    assert example['image'].shape == (example['height'], example['width'], 3)


def test_several_shards_read_in_order(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(coco_builder, 'MAX_SHARD_BYTES', 10_000)
    prepared = coco.prepare(str(folder), tmp_path / 'data')
    assert len(list(prepared.path.glob('*-train.array_record-*'))) > 1
    split = prepared.split('train')
    ids = [record['image/id'] for record in split]
    assert ids == sorted(ids) == split.index.image_id.tolist()


def test_many_threads_read_the_same(folder, tmp_path):
    split = coco.prepare(str(folder), tmp_path / 'data').split('train')
    expected = [split[i]['image'] for i in range(len(split))]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        got = pool.map(lambda i: split[i % len(split)]['image'], range(400))
        assert list(got) == [expected[i % len(split)] for i in range(400)]


def test_second_call_only_opens(folder, tmp_path, monkeypatch):
    first = coco.prepare(str(folder), tmp_path / 'data')
    monkeypatch.setattr(coco_builder, 'build', None)  # preparing would now fail
    assert coco.prepare(str(folder), tmp_path / 'data').path == first.path


@pytest.mark.parametrize('change', ['annotations', 'images', 'complete', 'splits'])
def test_a_change_is_prepared_beside_the_old(folder, tmp_path, change):
    before = coco.prepare(str(folder), tmp_path / 'data')
    options = {}
    if change == 'annotations':
        content = coco_fixtures.document(5)
        content['annotations'].pop()
        coco_fixtures.write_annotations(folder, 'train', content)
    elif change == 'images':
        next((folder / 'train').iterdir()).unlink()
    elif change == 'complete':
        options = {'complete': {'train': ['person']}}
    else:
        options = {'splits': ['train']}
    after = coco.prepare(str(folder), tmp_path / 'data', **options)
    assert after.path != before.path
    assert after.fingerprint['id'] != before.fingerprint['id']
    assert coco.open_prepared(before.path).fingerprint == before.fingerprint


def test_fingerprint_says_where_the_data_came_from(folder, tmp_path):
    document = coco_fixtures.document(5)
    document['annotations'][0]['image_id'] = 5
    coco_fixtures.write_annotations(folder, 'train', document)
    prepared = coco.prepare(str(folder), tmp_path / 'data')
    entry = prepared.fingerprint['splits']['train']
    data = (folder / 'annotations' / 'instances_train.json').read_bytes()
    assert entry['annotations_sha256'] == hashlib.sha256(data).hexdigest()
    assert entry['source'] == 'street photos'
    assert (entry['images'], entry['instances']) == (5, 24)
    assert entry['skipped'] == {'annotation: unknown image': 1}
    # Another folder and another run give the same bytes.
    other = coco.prepare(str(folder), tmp_path / 'other')
    assert other.fingerprint == prepared.fingerprint
    assert (other.path / 'coco.json').read_bytes() == (prepared.path / 'coco.json').read_bytes()


def test_completeness(tmp_path):
    content = coco_fixtures.document(4)
    content['images'][1]['all_categories_annotated'] = True
    content['images'][2]['all_categories_annotated'] = False
    folder = coco_fixtures.write_folder(tmp_path / 'a', {'train': content})
    flagged = content['images'][1]['id']
    for complete, others in ((None, None), ({'train': ['vehicle', 'person']}, [1, 3, 6])):
        prepared = coco.prepare(str(folder), tmp_path / 'data', complete=complete)
        # Opened as a source, it is the same; the option may be repeated.
        prepared = coco.prepare(str(prepared.path), tmp_path, complete=complete)
        split = prepared.split('train')
        for i, record in enumerate(split):
            expected = [1, 3, 6, 31] if record['image/id'] == flagged else others
            assert record['complete_known'] == (expected is not None)
            assert record['complete_category_ids'].tolist() == (expected or [])
            assert split.index.complete_known[i] == (expected is not None)
            row = [k in (expected or []) for k in (1, 3, 6, 31)]
            assert split.index.complete[i].tolist() == row


def test_bad_image_files_are_skipped_and_counted(tmp_path, capsys):
    content = coco_fixtures.document(1)
    folder = coco_fixtures.write_folder(tmp_path / 'a', {'train': content})
    images = folder / 'train'
    good = coco_fixtures.picture(40, 30)
    (tmp_path / 'outside.jpg').write_bytes(good)
    (images / 'good.jpg').write_bytes(good)
    os.mkfifo(images / 'pipe.jpg')
    (images / 'folder.jpg').mkdir()
    (images / 'link_inside.jpg').symlink_to('good.jpg')
    (images / 'link_outside.jpg').symlink_to(tmp_path / 'outside.jpg')
    (images / 'loop.jpg').symlink_to('loop.jpg')
    (images / 'truncated.jpg').write_bytes(good[:-200])
    (images / 'empty.jpg').write_bytes(b'')
    (images / 'text.jpg').write_text('not a picture')
    (images / 'program.jpg').write_text('%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n')
    (images / 'other_size.jpg').write_bytes(coco_fixtures.picture(43, 30))
    (images / 'cut.webp').write_bytes(coco_fixtures.picture(40, 30, 0, 'WEBP')[:-200])
    (images / 'transposed.jpg').write_bytes(coco_fixtures.picture(30, 40))
    PIL.Image.new('1', (20_000, 10_000)).save(images / 'bomb.png')
    names = {
        'good.jpg': None,
        'link_inside.jpg': None,
        'pipe.jpg': 'not a regular file',
        'folder.jpg': 'not a regular file',
        'link_outside.jpg': 'link out of the image folder',
        'loop.jpg': 'file cannot be read',
        'truncated.jpg': 'damaged or truncated image',
        'empty.jpg': 'not an image',
        'text.jpg': 'not an image',
        'program.jpg': 'PostScript is not read: convert to JPEG or PNG',
        'other_size.jpg': 'size mismatch',
        'transposed.jpg': 'size mismatch',
        'bomb.png': 'too large',
        'cut.webp': 'damaged or truncated image',
        'missing.jpg': 'missing file',
    }
    content['images'] = [
        {'id': 10 + i, 'file_name': name, 'width': 40, 'height': 30} for i, name in enumerate(names)
    ]
    content['annotations'] = []
    coco_fixtures.write_annotations(folder, 'train', content)
    prepared = coco.prepare(str(folder), tmp_path / 'data', accept_loss=True)
    assert prepared.split('train').index.file_name.tolist() == ['good.jpg', 'link_inside.jpg']
    expected = [reason for reason in names.values() if reason]
    assert skipped(prepared) == {
        f'image: {reason}': expected.count(reason) for reason in set(expected)
    }
    report = "train: 2 × image: not an image (e.g. 'empty.jpg', 'text.jpg')"
    assert report in capsys.readouterr().out


@pytest.mark.parametrize(
    ('mode', 'file_format'),
    [
        ('L', 'JPEG'),
        ('CMYK', 'JPEG'),
        ('RGB', 'MPO'),
        ('P', 'PNG'),
        ('RGBA', 'PNG'),
        ('1', 'PNG'),
        ('I;16', 'PNG'),
        ('RGB', 'WEBP'),
        ('RGB', 'GIF'),
        ('RGB', 'BMP'),
        ('RGB', 'TIFF'),
    ],
)
def test_unusual_pictures_are_kept_untouched(tmp_path, mode, file_format):
    content = coco_fixtures.document(1)
    folder = coco_fixtures.write_folder(tmp_path / 'a', {'train': content})
    path = folder / 'train' / content['images'][0]['file_name']
    size = content['images'][0]['width'], content['images'][0]['height']
    PIL.Image.new(mode, size).save(path, file_format)
    record = coco.prepare(str(folder), tmp_path / 'data').split('train')[0]
    assert record['image'] == path.read_bytes()


def test_mistakes_are_explained(folder, tmp_path):
    data = tmp_path / 'data'

    def fails(match, source=folder, **options):
        with pytest.raises(ValueError, match=match):
            coco.prepare(str(source), data, **options)

    fails('neither a folder nor', tmp_path / 'nothing')
    (tmp_path / 'empty').mkdir()
    fails('no data set of a known layout. It has no files', tmp_path / 'empty')
    fails("has no split 'test', only train, extra_val", splits=['test'])
    fails("complete: .* has no split 'val', only train, extra_val", complete={'val': ['person']})
    fails("did you mean 'person'", complete={'train': ['persn']})
    fails('completely annotated', '2014', complete={'train': ['person']})
    fails(r"splits train and val, not \['test'\]", '2014', splits=['test'])
    fails('needs scenes=', 'scenes')
    fails('exif must be one of', exif='upright')
    prepared = coco.prepare(str(folder), data)
    fails('is prepared already, with other options', prepared.path, splits=['train'])
    fails('is prepared already, with other options', prepared.path, exif='stored')
    fails('is prepared already, with other options', prepared.path, complete={'train': ['car']})
    assert coco.prepare(str(prepared.path), data).fingerprint == prepared.fingerprint
    shutil.rmtree(prepared.path)
    (folder / 'annotations' / 'instances_train.json').write_text('{"images": 1')
    fails('instances_train.json cannot be read as JSON')
    assert not list(data.glob('coco_instances/*/*'))


def test_a_split_without_usable_images_raises(folder, tmp_path):
    for path in (folder / 'train').iterdir():
        path.write_bytes(b'')
    match = "(?s)Split 'train' .* none of its 5 images can be used.*5 × image: not an image"
    with pytest.raises(data_loss.DataLoss, match=match):
        coco.prepare(str(folder), tmp_path / 'data', accept_loss=True)
    assert not list((tmp_path / 'data').glob('coco_instances/*/*'))


@pytest.mark.parametrize('content', [None, '{', '{}', '[]', '{"fingerprint": {"splits": {}}}'])
def test_other_directories_are_refused(tmp_path, content):
    if content is not None:
        (tmp_path / 'coco.json').write_text(content)
    with pytest.raises(ValueError, match='is not a prepared data set'):
        coco.open_prepared(tmp_path)


def test_data_of_another_version_are_refused(folder, tmp_path):
    prepared = coco.prepare(str(folder), tmp_path / 'data')
    path = prepared.path / 'coco.json'
    content = json.loads(path.read_text())
    content['fingerprint']['version'] = '0.1.0'
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='version 0.1.0 .* prepare the data again'):
        coco.open_prepared(prepared.path)


@pytest.mark.parametrize('damage', ['missing', 'empty', 'short', 'flipped bit', 'index', 'info'])
def test_damaged_files_are_named(folder, tmp_path, damage):
    prepared = coco.prepare(str(folder), tmp_path / 'data')
    (shard,) = prepared.path.glob('*-train.array_record-*')
    data = bytearray(shard.read_bytes())
    if damage == 'missing':
        shard.unlink()
    elif damage == 'empty':
        shard.write_bytes(b'')
    elif damage == 'short':
        shard.write_bytes(data[: len(data) // 2])
    elif damage == 'flipped bit':
        data[2000] ^= 4
        shard.write_bytes(data)
    elif damage == 'index':
        (prepared.path / 'index_train.npz').write_bytes(b'PK')
    else:
        (prepared.path / 'dataset_info.json').write_text('{')
    with pytest.raises(ValueError, match=f'{prepared.path} is damaged .* prepare the data again'):
        list(prepared.split('train'))


@pytest.mark.parametrize('name', ['coco.json', 'features.json', 'index_train.npz'])
def test_any_change_of_what_describes_the_records_is_noticed(folder, tmp_path, name):
    prepared = coco.prepare(str(folder), tmp_path / 'data')
    data = (prepared.path / name).read_bytes()
    for place in range(len(data) // 20, len(data), len(data) // 10):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        (prepared.path / name).write_bytes(changed)
        with pytest.raises(ValueError, match=re.escape(str(prepared.path))):
            coco.open_prepared(prepared.path).split('train')


def test_data_of_before_there_were_digests_are_read(folder, tmp_path):
    prepared = coco.prepare(str(folder), tmp_path / 'data')
    content = json.loads((prepared.path / 'coco.json').read_text())
    del content['sha256'], content['files']
    (prepared.path / 'coco.json').write_text(json.dumps(content))
    assert len(coco.open_prepared(prepared.path).split('train')) == 5


def test_annotations_are_not_waited_for(folder, tmp_path):
    (folder / 'annotations' / 'instances_train.json').unlink()
    os.mkfifo(folder / 'annotations' / 'instances_train.json')
    with pytest.raises(ValueError, match='instances_train.json is not a regular file'):
        coco.prepare(str(folder), tmp_path / 'data')


def test_scenes_are_drawn_into_a_folder(tmp_path, monkeypatch):
    scenes = pytest.importorskip('segmentation.scenes')

    def write_scenes(folder, counts, seed, error_rate):
        assert (counts, seed, error_rate) == ({'train': 3, 'val': 2}, 7, None)
        coco_fixtures.write_folder(
            folder, {split: coco_fixtures.document(n) for split, n in counts.items()}
        )

    monkeypatch.setattr(scenes, 'write_scenes', write_scenes)
    prepared = coco.prepare('scenes', tmp_path, scenes={'train': 3, 'val': 2, 'seed': 7})
    assert [len(prepared.split(name)) for name in ('train', 'val')] == [3, 2]
    assert (tmp_path / 'scenes-train3-val2-seed7').is_dir()


def test_command_prints_and_writes_a_summary(folder, tmp_path, capsys):
    arguments = [
        '--source',
        str(folder),
        '--data_dir',
        str(tmp_path / 'data'),
        '--complete',
        'train: person, vehicle',
        '--json',
        str(tmp_path / 'out.json'),
    ]
    prepare_coco.main(arguments)
    output = capsys.readouterr().out
    summary = json.loads((tmp_path / 'out.json').read_text())
    assert summary['path'] in output and summary['fingerprint']['id'] in output
    assert coco.open_prepared(summary['path']).fingerprint == summary['fingerprint']
    assert summary['images_with_every_class']['train'] == {
        'person_car': 5,
        'person_vehicle': None,
        'person_any_vehicle': 5,
    }
    with pytest.raises(SystemExit) as error:
        prepare_coco.main(['--source', str(folder), '--data_dir', str(tmp_path), '--complete', 'x'])
    assert error.value.code == 1
    assert 'group: name' in capsys.readouterr().err


@pytest.mark.skipif(not COCO.exists(), reason='the photographs of ../shared are absent')
def test_photographs_are_prepared_without_skips(tmp_path):
    prepared = coco.prepare(str(COCO / 'originals'), tmp_path)
    assert skipped(prepared) == {}
    assert len(prepared.split('train')) == 120
    assert prepared.split('train')[0]['width'] == 640
