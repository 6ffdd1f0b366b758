"""The stand-in has COCO's counts and forms; the rehearsal continues; missed targets show."""

import collections
import hashlib
import json

import full_coco
import full_coco_report
import msgspec
import pytest
import stand_in
from PIL import Image
from pycocotools import mask as mask_utils

from analysis.experiments.records import Origin
from scripts.experiments import record
from tests import coco_fixtures

FRACTION = 0.0005


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    return coco_fixtures.write_folder(
        tmp_path_factory.mktemp('photographs'),
        {'train': coco_fixtures.document(5), 'val': coco_fixtures.document(3, seed=1)},
    )


@pytest.fixture(scope='module')
def folder(photographs, tmp_path_factory):
    folder = tmp_path_factory.mktemp('made') / 'stand_in'
    stand_in.write(folder, [photographs], FRACTION)
    return folder


def test_full_size_is_that_of_coco():
    assert stand_in.counts('train', 1) == (82_783, 604_907)
    assert stand_in.counts('val', 1) == (40_504, 291_875)


def test_stand_in_has_the_counts_and_forms_of_coco(folder):
    files = [*folder.glob('*2014/*.jpg')]
    assert len(files) == 41 + 20
    assert len({hashlib.sha256(file.read_bytes()).hexdigest() for file in files}) == len(files)
    assert all(file.stat().st_nlink == 1 and not file.is_symlink() for file in files)
    numbers = {'train': (41, 302), 'val': (20, 146)}
    image_ids = set()
    for split, (images, instances) in numbers.items():
        document = json.loads((folder / f'annotations/instances_{split}2014.json').read_text())
        assert (len(document['images']), len(document['annotations'])) == (images, instances)
        assert {'info', 'licenses', 'categories'} <= document.keys()
        assert len({entry['id'] for entry in document['annotations']}) == instances
        by_id = {image['id']: image for image in document['images']}
        assert not image_ids & by_id.keys()
        image_ids |= by_id.keys()
        for image in by_id.values():
            with Image.open(folder / f'{split}2014' / image['file_name']) as opened:
                assert opened.size == (image['width'], image['height'])
                assert max(opened.size) == 640
        kinds = collections.Counter(entry['iscrowd'] for entry in document['annotations'])
        assert kinds[1] == instances // 100
        for entry in document['annotations']:
            image, outline = by_id[entry['image_id']], entry['segmentation']
            size = image['height'], image['width']
            if entry['iscrowd']:
                assert sum(outline['counts']) == size[0] * size[1]
                mask = mask_utils.decode(mask_utils.frPyObjects(outline, *size))
                assert mask.sum() == entry['area'] > 0
            else:
                for part in outline:
                    assert 0 <= min(part) and max(part[::2]) <= size[1]
                    assert max(part[1::2]) <= size[0]


def test_polygons_move_with_their_photograph(tmp_path):
    """A white rectangle on black stays where its polygon says."""
    image = Image.new('RGB', (64, 48))
    image.paste((255, 255, 255), (10, 12, 40, 36))
    document = coco_fixtures.document(1)
    document['images'] = [{'id': 1, 'file_name': 'a.png', 'width': 64, 'height': 48}]
    corners = [10, 12, 40, 12, 40, 36, 10, 36]
    entry = {'id': 1, 'image_id': 1, 'category_id': 1, 'iscrowd': 0, 'segmentation': [corners]}
    document['annotations'] = [entry]
    for name in ('annotations', 'train'):
        (tmp_path / name).mkdir()
    (tmp_path / 'annotations/instances_train.json').write_text(json.dumps(document))
    image.save(tmp_path / 'train/a.png')
    folder = tmp_path / 'made/stand_in'
    stand_in.write(folder, [tmp_path], 0.0001)
    made = json.loads((folder / 'annotations/instances_train2014.json').read_text())
    for entry in made['annotations'][:: len(made['annotations']) // 8]:
        (image,) = [each for each in made['images'] if each['id'] == entry['image_id']]
        first = next(a for a in made['annotations'] if a['image_id'] == image['id'])
        with Image.open(folder / 'train2014' / image['file_name']) as opened:
            bright = opened.convert('L').point(lambda value: 255 * (value > 128)).getbbox()
        x, y, width, height = first['bbox']
        assert bright == pytest.approx((x, y, x + width, y + height), abs=8)


def test_interrupted_stand_in_goes_on(folder, photographs):
    before = {path: path.stat().st_mtime_ns for path in folder.glob('*2014/*.jpg')}
    annotations = folder / 'annotations/instances_val2014.json'
    text = annotations.read_text()
    annotations.unlink()
    (part,) = stand_in.parts_of(folder).glob('val-*.json')
    part.unlink()
    stand_in.write(folder, [photographs], FRACTION)
    after = {path: path.stat().st_mtime_ns for path in folder.glob('*2014/*.jpg')}
    assert {path.parent.name for path in before if before[path] != after[path]} == {'val2014'}
    assert annotations.read_text() == text


def test_folders_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match='give a COCO folder'):
        stand_in.write(tmp_path / 'made', [tmp_path], 1)
    document = coco_fixtures.document(1)
    document['annotations'] = []
    folder = coco_fixtures.write_folder(tmp_path / 'empty', {'train': document})
    with pytest.raises(ValueError, match='no image has polygons'):
        stand_in.write(tmp_path / 'made', [folder], 1)


def test_rehearsal_runs_and_continues(photographs, tmp_path, capsys):
    command = [
        '--workdir', str(tmp_path), '--source', str(photographs), '--fraction', str(FRACTION),
        '--steps', '5', '--config.model.width=0.35', '--config.data.image_size=32',
        '--config.train.batch_size=4', '--config.eval_batch_size=4',
    ]  # fmt: skip
    result = tmp_path / 'result.json'
    first = [*command, '--parts', 'stand_in,prepare,train', '--json', str(result)]
    assert full_coco.main(first) == 0
    found = json.loads(result.read_text())
    assert found['prepare']['images'] == found['stand_in']['images'] == 61
    assert found['prepare']['instances'] == found['stand_in']['instances'] == 448
    assert {row['what'] for row in found['targets']} == {'prepare: wall, s', 'prepare: peak, MB'}
    assert '| train | 20 |' in capsys.readouterr().out
    # What record.py reads.
    tables, origin = record.of_tables(found), msgspec.convert(found['origin'], Origin)
    assert [row[0] for row in tables['parts'].rows] == ['stand_in', 'prepare', 'train']
    assert 'full_coco.py' in origin.command and 'cores' in origin.devices[0]
    assert full_coco.main([*command, '--parts', 'prepare,evaluate', '--json', str(result)]) == 0
    again = json.loads(result.read_text())
    assert again['prepare'] == found['prepare']
    # All images of both splits, without those held out.
    assert 50 <= again['evaluate']['images'] < 61
    assert list(again['evaluate']['stages']) == ['predictions', 'mean_iou']
    assert full_coco.main([*command, '--parts', 'report']) == 1
    assert 'part analyze comes first' in capsys.readouterr().err
    assert full_coco.main([*command, '--steps', '6']) == 1
    assert 'give another --workdir' in capsys.readouterr().err


def test_targets_that_are_missed_are_named():
    def row(cpu, wall, peak, images=100):
        return {'images': images, 'wall_seconds': wall, 'cpu_seconds': cpu, 'peak_mb': peak}

    def stages(*names, **more):
        return {**row(3, 3, 1), 'stages': {name: row(10, 10, 3500) for name in names}, **more}

    result = {
        'settings': {'fraction': 0.1, 'steps': 5},
        'machine': {'cpu': 'abacus', 'cores': 2, 'memory_gb': 1.0, 'system': 'wood'},
        'prepare': row(50, 37, 1400),
        'inference': {**row(5, 5, 500), 'per_second': 20.0},
        'evaluate': {**row(5, 5, 500), 'stages': {'predictions': row(4, 4, 500)}},
        'analyze': stages('samples'),
        'scaling': {
            'images': 50,
            'stages': {'predictions': row(4, 4, 1, 50), 'samples': row(3.5, 3, 1, 50)},
        },
    }
    met = {row['what']: row['met'] for row in full_coco_report.compare(result)}
    assert met == {
        'prepare: wall, s': False,  # of 36
        'prepare: peak, MB': True,
        'evaluation: rate / rate of inference': True,
        'evaluation: the same of processor time': True,
        'samples: rate / rate of inference': False,
        'samples: the same of processor time': False,
        'predictions: peak, MB': True,
        'samples: peak, MB': False,
        'predictions: processor time per image / that of few': True,
        'samples: processor time per image / that of few': False,  # 100 ms of 70
    }
    text = full_coco_report.report(result)
    assert '| prepare: wall, s | 37 | 36 | no |' in text
    assert '| few: samples | 50 | 3.0 | 3.5 | 70.00 | 1 | 16.7 |' in text
