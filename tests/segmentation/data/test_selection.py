"""Which images are selected: required classes, folds, lists of excluded images."""

import json
import shutil
import types

import numpy as np
import pytest

from segmentation.data import annotations, label_spaces, selection
from tests import coco_fixtures

CATEGORIES = [annotations.Category(**entry) for entry in coco_fixtures.CATEGORIES]


def index(counts, complete=None, known=None):
    counts = np.array(counts)
    n = len(counts)
    return types.SimpleNamespace(
        image_id=10 * np.arange(1, n + 1),
        counts=counts,
        complete=np.zeros_like(counts, bool) if complete is None else np.array(complete, bool),
        complete_known=np.array([False] * n if known is None else known),
    )


#       person, car, bus, handbag
COUNTS = [[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 2, 0], [3, 0, 1, 0], [0, 0, 0, 9]]


@pytest.mark.parametrize(
    ('space', 'options', 'expected'),
    [
        ('a: person; b: car', {}, [0]),
        ('a: person; b: car', {'require': 'any_class'}, [0, 1, 3]),
        ('a: person; b: car', {'require': 'nothing'}, [0, 1, 2, 3, 4]),
        ('a: person; b: vehicle', {}, [0, 3]),
        ('a: person; b: vehicle', {'require_of': ['person', 'car']}, [0]),
        ('a: person; b: vehicle', {'require_of': ['handbag']}, [4]),
        ('a: person', {'require_of': ['vehicle', 'handbag'], 'require': 'any_class'}, [0, 2, 3, 4]),
    ],
)
def test_select_requirements(space, options, expected):
    mapping = label_spaces.parse_label_space(space).category_to_class(CATEGORIES)
    positions, report = selection.select(index(COUNTS), CATEGORIES, mapping, **options)
    assert positions.dtype == np.int64 and positions.tolist() == expected
    assert report['images'] == 5 and report['selected'] == len(expected)
    assert sum(report.values()) == 5 + 5  # every image is selected or left out by one rule
    json.dumps(report)


def test_select_leaves_out_what_is_known_to_be_incomplete():
    full, people, nothing = [1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]
    data = index(
        [[1, 1, 1, 0]] * 5,
        [full, people, nothing, full, nothing],
        known=[True, True, True, False, False],
    )

    def selected(space, **options):
        mapping = label_spaces.parse_label_space(space).category_to_class(CATEGORIES)
        positions, report = selection.select(data, CATEGORIES, mapping, **options)
        assert report['incompletely annotated'] == 5 - len(positions)
        return positions.tolist()

    assert selected('a: person') == [0, 1, 3, 4]
    assert selected('a: person; b: car') == [0, 3, 4]
    assert selected('a: person', require_of=['bus']) == [0, 3, 4]


def test_select_refuses_unknown_options():
    with pytest.raises(ValueError, match='require must be'):
        selection.select(index(COUNTS), CATEGORIES, {1: 1}, require='all')
    with pytest.raises(ValueError, match="no category or super-category 'lorry'"):
        selection.select(index(COUNTS), CATEGORIES, {1: 1}, require_of=['lorry'])


def test_folds_depend_on_the_image_id_alone():
    ids = np.arange(5000)
    folds = selection.fold_of(ids, 5)
    assert np.bincount(folds, minlength=5).min() > 900
    np.testing.assert_array_equal(selection.fold_of(ids[::-7], 5), folds[::-7])
    # Would change with the Python version or the platform if the hash were not fixed.
    assert selection.fold_of([9, 25, 581929], 5).tolist() == [4, 4, 0]
    first, second = selection.id_fraction(ids, 'a'), selection.id_fraction(ids, 'b')
    assert 0 <= first.min() and first.max() < 1
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


@pytest.mark.parametrize(
    'text',
    [
        '[3, 5, 8]',
        '{"ids": [8, 5, 3], "schema_version": 1, "fingerprint": "x"}',
        '3\n5\n\n 8 \r\n',
    ],
)
def test_read_exclude(tmp_path, text):
    path = tmp_path / 'exclude'
    path.write_text(text)
    assert selection.read_exclude(path) == {3, 5, 8}


VIEWS = {'views': [{'name': 'dark', 'ids': [8, 3]}, {'name': 'a#b', 'ids': [5]}]}


def test_saved_views_are_read_by_name(tmp_path):
    path = tmp_path / 'views.json'
    path.write_text(json.dumps({'fingerprint': 'x', **VIEWS}))
    assert selection.read_views(path, 'x') == {'dark': [3, 8], 'a#b': [5]}
    assert selection.read_exclude(f'{path}#dark', 'x') == {3, 8}
    assert selection.read_exclude(f'{path}#a#b') == {5}
    for wrong, message in (('#bright', "no saved view 'bright'"), ('', 'choose .*: dark, a#b')):
        with pytest.raises(ValueError, match=message):
            selection.read_exclude(f'{path}{wrong}', 'x')
    with pytest.raises(ValueError, match='made for another data set'):
        selection.read_exclude(f'{path}#dark', 'y')
    shutil.copytree(tmp_path, tmp_path / 'a#b #c', ignore=lambda *_: ['a#b #c'])
    assert selection.read_exclude(f'{tmp_path}/a#b #c/views.json#a#b') == {5}
    # A file of such a name is that file.
    plain = tmp_path / 'list#1'
    plain.write_text('3')
    assert selection.read_exclude(plain) == {3}


def test_saved_views_are_read_from_a_spreadsheet(tmp_path):
    path = tmp_path / 'views.csv'
    lines = ['view,image_id,file_name', '"dark ""A""",8,"x.jpg"', '"\'=5",3,""', '"dark ""A""",2,']
    path.write_text('\ufeff' + '\r\n'.join(lines), newline='')
    assert selection.read_views(path, 'x') == {'dark "A"': [2, 8], '=5': [3]}
    assert selection.read_exclude(f'{path}#=5') == {3}


@pytest.mark.parametrize('line', ['dark,x', ',3', 'dark,-3', 'dark', 'dark,' + '9' * 30])
def test_mistakes_in_a_spreadsheet_are_named(tmp_path, line):
    path = tmp_path / 'views.csv'
    path.write_text(f'view,image_id\ndark,1\n{line}\n')
    with pytest.raises(ValueError, match=r'views.csv.*(line 3|not an image id)'):
        selection.read_views(path)


def test_no_parquet_table_is_named(tmp_path):
    path = tmp_path / 'views.parquet'
    path.write_text('view')
    with pytest.raises(ValueError, match='is no Parquet table'):
        selection.read_views(path)


def test_a_byte_order_mark_is_no_part_of_a_list(tmp_path):
    path = tmp_path / 'views.json'
    path.write_text('\ufeff' + json.dumps(VIEWS))
    assert selection.read_views(path)['dark'] == [3, 8]
    path.write_text('\ufeff7\r\n9')
    assert selection.read_exclude(path) == {7, 9}


@pytest.mark.parametrize(
    ('views', 'message'),
    [
        ('[', 'cannot be read as JSON'),
        ('[]', "no list 'views'"),
        ('{"views": {}}', "no list 'views'"),
        ('{"views": [3]}', 'view 1 has no name'),
        ('{"views": [{"name": "", "ids": []}]}', 'view 1 has no name'),
        ('{"views": [{"name": "a", "ids": []}, {"name": "a", "ids": []}]}', 'view 2 has no name'),
        ('{"views": [{"name": "a"}]}', "no list 'ids'"),
        ('{"views": [{"name": "a", "ids": [1, true]}]}', 'entry 2 is True'),
    ],
)
def test_read_views_explains_mistakes(tmp_path, views, message):
    path = tmp_path / 'views.json'
    path.write_text(views)
    with pytest.raises(ValueError, match=message):
        selection.read_views(path)


def test_exclude_of_other_data_is_refused(tmp_path):
    path = tmp_path / 'exclude.json'
    path.write_text('{"ids": [3], "fingerprint": "x"}')
    assert selection.read_exclude(path, 'x') == {3}
    with pytest.raises(ValueError, match="made for another data set: fingerprint 'x'"):
        selection.read_exclude(path, 'y')
    path.write_text('[3]')
    assert selection.read_exclude(path, 'y') == {3}


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'[3, "5"]', "entry 2 is '5'"),
        (b'[true]', 'entry 1 is True'),
        (b'{"id": [3]}', "no list 'ids'"),
        (b'{"ids": 3}', "no list 'ids'"),
        (b'[3, 5', 'cannot be read as JSON'),
        (b'3\nimage 5\n', "entry 2 is 'image 5'"),
        (b'-3', 'entry 1'),
        (b'99999999999999999999', 'entry 1'),
        (b'\xff\xfe', 'cannot be read'),
    ],
)
def test_read_exclude_explains_mistakes(tmp_path, data, message):
    path = tmp_path / 'exclude.json'
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as error:
        selection.read_exclude(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize('fraction', [0.01, 0.1, 0.5, 0.99])
def test_however_small_a_set_is_one_image_chooses_the_checkpoint(fraction):
    for count in range(2, 30):
        for first in range(20):
            ids = np.arange(first, first + count)
            aside = selection.held_out(ids, fraction)
            assert 0 < aside.sum() < count
            # The others are where they would be in a large set.
            moved = aside != (selection.id_fraction(ids, 'selection') < fraction)
            assert moved.sum() <= 1
            np.testing.assert_array_equal(selection.held_out(ids[::-1], fraction), aside[::-1])
    everything = selection.held_out(np.arange(5000), fraction)
    assert abs(everything.mean() - fraction) < 0.02


def test_report_in_words():
    report = {
        'splits': {'train': {'images': 20}, 'more\x1b': {'images': 4}},
        'left_out': {'without every class (data.require)': 15, 'listed (data.exclude)': 0},
        'images': 9,
    }
    assert selection.describe('train', report) == (
        'train: 9 of 24 images (train, more\\x1b); left out: 15 without every class (data.require)'
    )


def test_groups_stay_together(tmp_path):
    ids, path = np.arange(2000), tmp_path / 'groups.json'
    groups = [[5, 17, 1800], [40, 41]]
    path.write_text(json.dumps({'fingerprint': 'x', 'groups': [[1800, 5, 17, 5], [41, 40]]}))
    assert selection.read_groups(path, 'x') == groups
    places = selection.stand_ins(ids, groups)
    assert places[[5, 17, 1800, 40, 41]].tolist() == [5, 5, 5, 40, 40]
    alone = np.setdiff1d(ids, [17, 1800, 41])
    np.testing.assert_array_equal(places[alone], alone)
    for divided in (selection.fold_of(places, 7), selection.held_out(places, 0.3)):
        assert len({*divided[[5, 17, 1800]].tolist()}) == 1 == len({*divided[[40, 41]].tolist()})


def test_groups_of_a_small_set_stay_together():
    for first in range(1, 200):
        ids = np.arange(first, first + 5)
        places = selection.stand_ins(ids, [[first, first + 1], [first + 3, first + 4]])
        for fraction in (0.01, 0.99):
            aside = selection.held_out(places, fraction)
            assert aside[0] == aside[1] and aside[3] == aside[4] and 0 < aside.sum() < 5
    assert not selection.held_out(np.array([7, 7]), 0.01).any()  # one group is trained on


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('[[1, 2]]', "no list 'groups'"),
        ('{"groups": [[1, "2"]]}', 'entry 2'),
        ('{"groups": [7]}', 'of image ids'),
        ('{"groups": [[1, 2], [2, 3]]}', 'image 2 is in two groups'),
        ('{"groups": [[1, 2]], "fingerprint": "y"}', 'another data set'),
        ('{', 'cannot be read'),
    ],
)
def test_wrong_groups_are_refused(tmp_path, content, message):
    path = tmp_path / 'groups.json'
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        selection.read_groups(path, 'x')
