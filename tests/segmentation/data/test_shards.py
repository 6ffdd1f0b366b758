"""Shards: what is finished is kept, and what is not sure to be the same is written again."""

import json

import pytest
from array_record.python import array_record_module

from segmentation.data import shards

RECORDS = [bytes([i]) * 100 for i in range(7)]
IDENTITIES = [str(i) for i in range(7)]


def write(folder, records, max_bytes=250):
    return shards.write(folder, 'train', 'key', IDENTITIES, records, max_bytes)


def read(folder):
    found = []
    for file in sorted(folder.glob('*.shard')):
        reader = array_record_module.ArrayRecordReader(str(file))
        found += reader.read(range(reader.num_records()))
    return found


def interrupted(number):
    yield from RECORDS[:number]
    raise KeyboardInterrupt


def test_shards_have_the_records_in_order(tmp_path):
    written = write(tmp_path, RECORDS)
    assert [shard.records for shard in written] == [2, 2, 2, 1]
    assert [shard.num_bytes for shard in written] == [200, 200, 200, 100]
    assert read(tmp_path) == RECORDS
    assert shards.finished(tmp_path, 'train', 'key', IDENTITIES) == written
    assert write(tmp_path, []) == written


def test_only_what_is_missing_is_written(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, interrupted(5))
    done = shards.finished(tmp_path, 'train', 'key', IDENTITIES)
    assert [shard.records for shard in done] == [2, 2]
    assert [shard.records for shard in write(tmp_path, RECORDS[4:])] == [2, 2, 2, 1]
    assert read(tmp_path) == RECORDS


@pytest.mark.parametrize('change', ['key', 'image', 'size', 'about', 'gone'])
def test_what_is_not_sure_to_be_the_same_is_not_finished(tmp_path, change):
    write(tmp_path, RECORDS)
    key, identities = 'key', list(IDENTITIES)
    second = shards.file_of(tmp_path, 'train', 1)
    if change == 'key':
        key = 'other'
    elif change == 'image':
        identities[3] = 'other'
    elif change == 'size':
        second.write_bytes(second.read_bytes()[:-1])
    elif change == 'about':
        second.with_suffix('.json').write_text(json.dumps({'key': 'key'}))
    else:
        second.unlink()
    left = shards.finished(tmp_path, 'train', key, identities)
    assert len(left) == (0 if change == 'key' else 1)
