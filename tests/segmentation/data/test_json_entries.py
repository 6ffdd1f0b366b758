"""Entries are what `json.loads` reads, and what it refuses is refused."""

import json

import pytest

from segmentation.data import annotations, json_entries

DOCUMENT = {
    'info': {'annotations': [1]},
    'images': [],
    'annotations': [{'id': 2**70, 'area': 1e-320, 'name': 'é "[{\\'}, 'text', None, [1.5, -0.0]],
    'annotations of others': [1, 2],
}
KEYS = 'images', 'annotations', 'info'


def parse(data):
    return json_entries.parse(data, 'x.json', KEYS)


@pytest.mark.parametrize('ascii', [True, False])
@pytest.mark.parametrize('indent', [None, 2])
def test_entries_are_those_of_the_document(ascii, indent):
    found = parse(json.dumps(DOCUMENT, ensure_ascii=ascii, indent=indent).encode())
    entries = found['annotations']
    assert isinstance(entries, json_entries.Entries)
    assert list(entries) == DOCUMENT['annotations'] == [entries[i] for i in range(4)]
    assert list(entries[1:3]) == ['text', None] and entries[-1] == [1.5, -0.0]
    assert len(found['images']) == 0 and list(found['images']) == []
    assert {**found, 'annotations': list(entries), 'images': []} == DOCUMENT
    assert list(found) == list(DOCUMENT)


@pytest.mark.parametrize(
    'data',
    [
        b'[1, 2]',
        b'{"annotations": [NaN, Infinity]}',
        b'{"annotations": ["\\ud800"]}',
        json.dumps(DOCUMENT).encode('utf-16'),
        b'\xef\xbb\xbf{"annotations": [1]}',
    ],
)
def test_what_only_json_reads_is_read_in_full(data):
    assert repr(parse(data)) == repr(json.loads(data))


@pytest.mark.parametrize(
    'data',
    [
        b'', b'{"annotations": [1}', b'{"annotations": [1,]}', b'{"annotations": [{"a": 01}]}',
        b'{"annotations": ["\xff"]}', b'{"annotations": ["a\nb"]}', b'{"annotations": [1]} x',
        b'{"annotations": [{"a": 1.}]}', b'{"annotations": ["\\x"]}', b'{"annotations": [tru]}',
    ],
)  # fmt: skip
def test_what_is_no_json_is_an_error_that_names_the_file(data):
    with pytest.raises(ValueError, match=r'x\.json (cannot be read as JSON|is not a COCO)'):
        document = annotations.load(data[:-1] + b', "images": [], "categories": []}', 'x.json')
        list(document['annotations'])


def test_deep_nesting_is_an_error():
    data = b'{"annotations": [' + b'[' * 100_000 + b']' * 100_000 + b']}'
    with pytest.raises(ValueError, match='x.json cannot be read as JSON'):
        list(annotations.load(data, 'x.json')['annotations'])
