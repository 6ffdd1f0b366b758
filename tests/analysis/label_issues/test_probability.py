"""Probabilities of label issues: calibrated where fitted, and one issue for each object."""

import json
import types

import numpy as np
import pyarrow
import pytest
from ml_collections import ConfigDict
from pycocotools import mask as mask_utils

from analysis.label_issues import merging, probability, suggestions
from analysis.label_issues.schema import ERRORS, KINDS, REGIONS, LabelIssues

ALL_KNOWN = dict.fromkeys(('background', 'person'), 1.0)


def simulated(rng, number):
    """Issues whose truth is drawn with a probability that depends on kind, score and area."""
    kinds = rng.choice(np.array(KINDS, np.object_), number)
    score, area = rng.beta(0.6, 1.2, number), rng.lognormal(1, 1, number)
    described = probability.features(score, area, rng.uniform(0, 1, number))
    odds = 1.5 * described[:, 0] + 0.5 * described[:, 1] - 1 - (kinds == KINDS[3])
    return kinds, described, rng.random(number) < 1 / (1 + np.exp(-odds))


def test_fitted_probabilities_are_calibrated():
    rng = np.random.default_rng(0)
    models = probability.fit(*simulated(rng, 4000))
    kinds, described, real = simulated(rng, 4000)
    predicted = probability.predict(kinds, described, models)
    tenth = np.minimum((10 * predicted).astype(int), 9)
    for k in range(10):
        mine = tenth == k
        assert mine.sum() >= 50
        assert abs(predicted[mine].mean() - real[mine].mean()) < 0.1
    assert models[KINDS[0]].issues == pytest.approx(800, abs=100)


def test_a_kind_that_is_never_wrong_cannot_be_fitted():
    kinds, described, real = simulated(np.random.default_rng(1), 100)
    with pytest.raises(ValueError, match='ambiguous'):
        probability.fit(kinds, described, real | (kinds == 'ambiguous'))


def test_the_file_in_the_package():
    """Held-out issues of drawn scenes: within 0.1 in each tenth with at least 50 of them."""
    document = json.loads(probability.FILE.read_text())
    assert set(probability.fitted()) == set(KINDS)
    assert not set(document['fit_seeds']) & set(document['score_seeds'])
    large = [row for row in document['tenths'] if row['issues'] >= 50]
    assert large and all(abs(row['predicted'] - row['observed']) <= 0.1 for row in large)
    assert 'fit_probabilities.py' in document['origin']['command']
    for kind in ERRORS:  # a higher score is never less probable
        scores = np.linspace(0.2, 0.99, 30)
        described = probability.features(scores, np.full(30, 2.0), np.full(30, 0.8))
        steps = np.diff(probability.predict(np.full(30, kind, np.object_), described))
        assert (steps > 0).all(), kind


def issue(row, kind, score, box, annotation_id=None):
    mask = np.zeros((32, 32), np.uint8)
    left, top, right, bottom = box
    mask[top:bottom, left:right] = 1
    rle = mask_utils.encode(np.asfortranarray(mask))['counts']
    return {
        'row': row, 'kind': kind, 'score': score, 'area': 100 * mask.mean(), 'confidence': 0.9,
        'annotation_id': annotation_id, 'rle': rle, 'given': 'background', 'suggested': 'person',
    }  # fmt: skip


def test_issues_of_several_kinds_on_one_object_are_one():
    person, near = (4, 4, 14, 24), (6, 6, 16, 26)
    rows = [
        issue(0, 'wrong class', 0.9, person, 7),
        issue(0, 'spurious label', 0.3, person, 7),
        issue(0, 'sloppy outline', 0.8, person, 7),
        issue(0, 'wrong class', 0.85, near, 8),  # overlaps, but is another annotated object
        issue(0, 'ambiguous', 0.2, (2, 2, 16, 26)),
        issue(0, 'missing instance', 0.7, (24, 4, 31, 24)),
        issue(1, 'missing instance', 0.95, person),
    ]
    ranked = merging.rank(rows, 32, ALL_KNOWN)
    assert len(ranked) == len(rows)
    found = [row['probability'] for row in ranked]
    assert found == sorted(found, reverse=True) and 0 < min(found) and max(found) < 1
    objects = {}
    for row in ranked:
        objects.setdefault((row['row'], row['object']), []).append(row)
    groups = sorted(sorted((row['kind'], row['annotation_id']) for row in group)
                    for group in objects.values())  # fmt: skip
    assert [len(group) for group in objects.values() if group[0]['row'] == 1] == [1]
    of_first = [group for group in objects.values() if group[0]['row'] == 0]
    assert len(of_first) == 3, groups
    by_annotation = {
        number: {row['kind'] for group in of_first for row in group
                 if any(other['annotation_id'] == number for other in group)}
        for number in (7, 8)
    }  # fmt: skip
    assert {'wrong class', 'spurious label', 'sloppy outline'} <= by_annotation[7]
    assert by_annotation[8] <= {'wrong class', 'ambiguous'}


def test_one_issue_per_object_counts():
    ranked = merging.rank(
        [
            issue(0, 'wrong class', 0.9, (4, 4, 14, 24), 7),
            issue(0, 'spurious label', 0.3, (4, 4, 14, 24), 7),
            issue(3, 'missing instance', 0.9, (4, 4, 14, 24)),
        ],
        32,
        ALL_KNOWN,
    )
    found = LabelIssues(5, '', np.full(5, np.nan), pyarrow.Table.from_pylist(ranked, REGIONS))
    assert found.firsts().sum() == 2
    worst = found.worst_errors()
    assert set(worst) == {0, 3}
    assert worst[0][0] == max(row['probability'] for row in ranked if row['row'] == 0)
    assert merging.rank([], 32, ALL_KNOWN) == []


def test_a_class_that_the_network_hardly_finds_counts_less():
    confusion = np.array([[900, 50, 0, 50], [50, 50, 0, 0], [80, 0, 10, 10], [0, 0, 0, 0]])
    weight = merging.known(confusion, ('background', 'person', 'car', 'bus'))
    assert weight == {'background': 1, 'person': 1, 'car': 0.4, 'bus': 1}  # 0.1 of 0.25; no label
    box = 4, 4, 14, 24
    rows = [
        {**issue(row, 'wrong class', 0.9, box, 7), 'given': given, 'suggested': suggested}
        for row, (given, suggested) in enumerate(
            [('person', 'bus'), ('car', 'bus'), ('bus', 'car')]
        )
    ]
    ranked = merging.rank(rows, 32, weight)
    sure, *others = [row['probability'] for row in ranked]
    assert ranked[0]['given'] == 'person' and others == pytest.approx([0.4 * sure] * 2)


def test_issues_of_images_that_were_trained_on_do_not_count(monkeypatch):
    monkeypatch.setattr(suggestions.artifacts, 'exists', lambda *_: True)
    with pytest.raises(ValueError, match='images that the network was trained on. Train folds'):
        next(suggestions.issues_of([types.SimpleNamespace(split='train')]))


def view(split, selection_fraction=0.1, splits=(), **data):
    config = ConfigDict({'folds': 0, 'val_splits': ('val',), 'train_splits': ('train',), **data})
    config.selection_fraction = selection_fraction
    fingerprint = {'splits': dict.fromkeys(splits)} if splits else {}
    return types.SimpleNamespace(
        split=split, config=types.SimpleNamespace(data=config), data={'fingerprint': fingerprint}
    )


def test_training_images_that_also_choose_the_checkpoint_do_not_count(monkeypatch):
    monkeypatch.setattr(suggestions.artifacts, 'exists', lambda *_: True)
    views = [view('val'), view('selection'), view('selection', 0), view('train')]
    assert suggestions.with_issues(views) == views[:2]
    with pytest.raises(ValueError, match='images that the network was trained on. Train folds'):
        next(suggestions.issues_of(views[2:]))


def test_runs_of_several_label_spaces_are_refused(monkeypatch):
    monkeypatch.setattr(suggestions.artifacts, 'exists', lambda *_: True)
    issues = types.SimpleNamespace(
        regions=pyarrow.table({'row': pyarrow.array([], pyarrow.int64())})
    )
    monkeypatch.setattr(suggestions.artifacts, 'load', lambda *_: issues)
    monkeypatch.setattr(suggestions.dataclasses, 'replace', lambda issues, **_: issues)
    views = [view('val', label_space=space) for space in ('person_car', 'person_vehicle')]
    for number, each in enumerate(views):
        each.workdir, each.image_ids = f'run{number}', np.arange(3)
    with pytest.raises(ValueError, match="run1 has the label space 'person_vehicle' and run0"):
        list(suggestions.issues_of(views))
    views[1].config.data.label_space = 'person: person; car:car;'  # the same, written out
    assert len(list(suggestions.issues_of(views))) == 2
    views[1].config.data.label_space = 'person: person'
    with pytest.raises(ValueError, match='run1 has the label space'):
        list(suggestions.issues_of(views))


@pytest.mark.parametrize(
    ('splits', 'data', 'expected'),
    [
        (('train', 'valid'), {}, 'valid'),
        (('train2017', 'val2017'), {'folds': 5}, 'train2017'),
        (('photos',), {'folds': 5}, 'photos'),
        ((), {}, 'val'),
        (('train', 'valid'), {'val_splits': ('valid', 'train')}, ''),
    ],
)
def test_the_split_has_the_name_that_the_data_set_gives_it(splits, data, expected):
    assert suggestions.source_split(view('val', splits=splits, **data)) == expected
