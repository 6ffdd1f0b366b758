"""Scores of objects that are written by hand."""

import dataclasses

import numpy as np
import pyarrow
import pytest
from ml_collections import ConfigDict

from analysis.objects.schema import METRICS, TABLE, Group, Objects
from analysis.planted_benchmark import object_scoring
from analysis.slices.schema import Condition, MetricSlices, Slice
from analysis.stage import artifacts
from analysis.stage.view import View

NAMES = ('background', 'person', 'car')


def write(folder, kinds, images, points, slices=(), area=None, groups=()):
    """A view with an artifact of objects, whose annotation ids are 100, 101, …"""
    number = len(kinds)
    view = View(
        folder, ConfigDict(), NAMES, {'fingerprint': ''}, 'val', 1, np.arange(max(images) + 1)
    )
    view.folder.mkdir(parents=True)
    values = {field.name: [None] * number for field in TABLE}
    values |= {'annotation_id': list(range(100, 100 + number)), 'image': images}
    values |= {'category': kinds, 'class': kinds, 'area': area or [2.0] * number}
    table = pyarrow.table({name: pyarrow.array(values[name], TABLE.field(name).type)
                           for name in TABLE.names}, schema=TABLE)  # fmt: skip
    one = Slice((Condition('area', '<=', 1.0),), '', 1, 0.1, 2.0, 1.0, 1.0, (0.0, 1.0), 0.1, 0.01)
    parts = {
        metric: MetricSlices(number, 1.0, 1, (one,) * (len(slices) if metric == 'loss' else 0))
        for metric in METRICS
    }
    members = np.packbits(np.reshape(slices, (-1, number)).astype(bool), axis=1)
    empty = np.zeros((number, 0))
    found = Objects(
        num_images=len(view), num_objects=number, num_crowds=0, num_unseen=0, layers={},
        dimensions=points.shape[1], blocks=split(points), groups=tuple(groups), explained=(),
        trustworthiness=None, confusion=(),
        slices=parts, num_sheets=0, table=table, points=points.astype(np.float32),
        map_2d=np.zeros((0, 2)), index=empty, distance=empty,
        index_by_block=empty, distance_by_block=empty, members=members,
    )  # fmt: skip
    artifacts.save(view, found)
    return view


def split(points):
    """Half of the dimensions for the color, half for the shape."""
    half = points.shape[1] // 2
    return {'color': half, 'shape': points.shape[1] - half} if half else {}


def entry(*objects, **planted):
    """Objects are (annotation id, kind, pose, color)."""
    keys = 'annotation_id', 'kind', 'pose', 'color'
    items = [dict(zip(keys, item, strict=True)) for item in objects]
    plain = {'type': '', 'attributes': [], 'hard_slice': None, 'error': None}
    return plain | {'objects': items} | planted


def test_precision_by_attribute(tmp_path, monkeypatch):
    """With two neighbors. On a line: red, red, red, blue, blue, blue, then what does not count."""
    monkeypatch.setattr(object_scoring, 'NEIGHBORS', 2)
    colors = ['red'] * 3 + ['blue'] * 3
    truth = [entry(*((100 + i, 'person', 'walk', color) for i, color in enumerate(colors)))]
    # A red person at night, one with a wrong label, one that is too small and a red car, all among
    # the blue ones.
    truth += [
        entry((106, 'person', 'sit', 'red'), attributes=['night']),
        entry((107, 'person', 'sit', 'red'), error={'annotation_id': 107}),
        entry((108, 'person', 'sit', 'red'), (109, 'car', 'side', 'red')),
    ]
    points = np.array([0, 1, 2, 10, 11, 12, 10.4, 10.5, 10.6, 10.7])[:, None].repeat(2, 1)
    points[:, 1] *= -1
    kinds, images = ['person'] * 9 + ['car'], [0] * 6 + [1, 2, 3, 3]
    view = write(tmp_path, kinds, images, points, area=[2.0] * 8 + [0.4, 2.0])
    found = object_scoring.score(view, truth)
    measure = 'objects/precision@2 by color of clothes'
    assert found[measure] == 1
    assert found[f'{measure}, chance'] == pytest.approx(2 / 5)
    # By pose, the person at night counts: 6 walk and one sits, near to blue ones 1 and 2.
    others = {3: [6, 4], 4: [6, 3], 5: [4, 6]}
    right = [2, 2, 2, *((np.array(near) != 6).sum() for near in others.values()), 0]
    assert found['objects/precision@2 by pose'] == pytest.approx(sum(right) / 14)
    assert found['objects/precision@2 by side of a car'] is None


def test_older_manifests_have_no_attributes(tmp_path):
    items = [{'annotation_id': 100 + i, 'kind': 'person'} for i in range(12)]
    view = write(tmp_path, ['person'] * 12, [0] * 12, np.arange(24.0).reshape(12, 2))
    found = object_scoring.score(view, [entry() | {'objects': items}])
    assert found['objects/precision@10 by pose'] is None
    assert found['objects/share of the planted slices that is found'] is None


def test_planted_slices_of_objects(tmp_path):
    """Of six objects two are dark, and of those in the close-up only the larger car counts."""
    slices = [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]
    hard = ['dark', 'dark', None, 'close-up car']
    truth = [entry(hard_slice=name) for name in hard]
    kinds, images = ['person', 'car', 'car', 'car', 'car', 'person'], [0, 1, 2, 3, 3, 3]
    area = [1.0, 1.0, 1.0, 60.0, 5.0, 70.0]
    view = write(tmp_path, kinds, images, np.zeros((6, 0)), slices, area)
    found = object_scoring.score(view, truth)
    assert found['objects/dark: precision of the best slice'] == pytest.approx(2 / 3)
    assert found['objects/dark: recall of the best slice'] == 1
    assert found['objects/close-up car: precision of the best slice'] == pytest.approx(1 / 3)
    assert found['objects/close-up car: recall of the best slice'] == 1
    assert found['objects/share of the planted slices that is found'] == 0.5
    assert found['objects/slices confirmed'] == 2
    assert not any('fog' in name for name in found)


def test_hidden_slices(tmp_path):
    """Persons 0 to 3 are lime; one group has two of them among its two nearest, the other one."""
    slices = [[1, 1, 1, 0, 1, 0], [0, 0, 0, 1, 1, 1]]
    groups = [
        Group('loss', 0, 'color', 0, (0, 1)),
        Group('loss', 1, 'all', 3, (3, 4)),
    ]
    truth = [entry(*((100 + i, 'person', 'walk', 'red') for i in range(6)))]
    for item in truth[0]['objects'][:4]:
        item['hidden_slice'] = 'person in lime'
    kinds, area = ['person'] * 6, [2.0, 2.0, 2.0, 0.1, 2.0, 2.0]
    view = write(tmp_path, kinds, [0] * 6, np.zeros((6, 0)), slices, area, groups)
    found = object_scoring.score(view, truth)
    assert found['objects/hidden slices, person in lime: precision@10'] == 1
    assert found['objects/precision@10 of hidden slices'] == 1
    # Without the small one: 3 of 4 and all 3.
    assert found['objects/share of the hidden slices that is found'] == 1
    assert found['objects/share of the hidden slices that is named'] == 0
    assert not any('stripes' in name for name in found)
    named = dataclasses.replace(artifacts.load(view, Objects), groups=tuple(groups[1:]))
    again = object_scoring.hidden_slices(named, object_scoring._items(named, truth))
    assert again['objects/precision@10 of hidden slices'] == 0
