import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from analysis.experiments import reproduction
from analysis.experiments import tables as experiment_tables
from segmentation.campaign import Scored

NAMES = {
    'person_car': ('background', 'person', 'car'),
    'vehicle': ('background', 'person', 'vehicle'),
}
FRACTIONS = (0.125, 0.25, 0.5, 1.0)
NUM_IMAGES = 300


def counts_of(rng, person, second, seeds):
    """Counts `[S, N, 3, 3]`: 100 pixels of each class, of which these shares are found.

    Every third image has no pixel of the second class.
    """
    shares = np.stack([np.full((seeds, NUM_IMAGES), share) for share in (person, second)], -1)
    shares += rng.normal(0, 0.005, (seeds, 1, 2)) + rng.normal(0, 0.05, shares.shape)
    found = np.round(100 * shares.clip(0, 1)).astype(np.int64)
    counts = np.zeros((seeds, NUM_IMAGES, 3, 3), np.int64)
    counts[..., 0, 0] = 800
    for label in (1, 2):
        counts[..., label, label] = found[..., label - 1]
        counts[..., label, 0] = 100 - found[..., label - 1]
    counts[:, ::3, 2] = 0
    return counts


@pytest.fixture(scope='module')
def scored():
    """The vehicle model: person 0.05 better; class 2 better on its own target, worse on cars."""
    rng, result = np.random.default_rng(0), {}
    for fraction in FRACTIONS:
        seeds = 3 if fraction == 1 else 2
        lost = 0.1 * fraction**-0.5 - 0.1
        shares = {  # by model, then by target
            'person_car': {'person_car': (0.6, 0.4), 'vehicle': (0.6, 0.35)},
            'vehicle': {'person_car': (0.65, 0.3), 'vehicle': (0.65, 0.5)},
        }
        for experiment, targets in shares.items():
            result[experiment, fraction] = Scored(
                {
                    target: counts_of(rng, person - lost, second - lost, seeds)
                    for target, (person, second) in targets.items()
                },
                np.arange(NUM_IMAGES),
                np.arange(NUM_IMAGES) % 5,
                1200 * fraction,
            )
    return result


@pytest.fixture(scope='module')
def report(scored):
    report = dataclasses.asdict(reproduction.analyze(scored, NAMES, num_resamples=300))
    report['origin'] = {
        'command': 'python scripts/experiments/reproduce.py --workdir=runs/reproduce',
        'fingerprint': '0123', 'devices': ['cpu'],
    }  # fmt: skip
    report['setup'] = {
        'folds': 5, 'seeds': 3, 'num_images': NUM_IMAGES, 'num_train': 1200.0, 'num_steps': 500,
        'batch_size': 16, 'image_size': 128, 'differs_from_published': ['data.source = photos'],
    }  # fmt: skip
    return report


def test_scores_are_the_planted_ones(report):
    sets = report['scores']['vehicle']
    for images in ('all images', 'images with every class'):
        for metric in ('iou', 'image_iou'):
            row = sets[images][metric]['vehicle']
            assert row['score'] == pytest.approx(0.5, abs=0.02)
            assert row['over_both'][0] < row['score'] < row['over_both'][1]
            assert len(row['per_seed']) == 3
    assert sets['all images']['iou']['vehicle']['images_with_class'] == 200
    # All of the images with every class are equally large.
    assert sets['images with every class']['iou']['person']['effective_images'] == 200


def test_claims_get_the_planted_verdicts(report):
    easier, improves = report['claims']
    verdicts = {
        (*test['targets'], test['metric']): test['verdict']
        for claim in report['claims']
        for test in claim['tests']
        if claim is easier
    }
    assert verdicts['person_car', 'vehicle', 'iou'] == 'supported'  # as published
    assert verdicts['vehicle', 'vehicle', 'iou'] == 'supported'
    assert verdicts['person_car', 'person_car', 'iou'] == 'contradicted'
    assert easier['verdict'] == 'contradicted'
    assert improves['verdict'] == 'supported'
    assert improves['published_difference'] == 0.01
    for test in improves['tests']:
        assert test['difference'] == pytest.approx(0.05, abs=0.02)
        assert 0 < test['minimum_detectable'] < 0.05


def test_pairs_are_tested_unless_a_claim_names_the_second(scored):
    parts = {(model, 1.0): scored[model, 1.0] for model in NAMES}
    targets = scored['vehicle', 1.0].targets
    for name, target in (('vehicle_best', 'vehicle'), ('variant', 'vehicle')):
        parts[name, 1.0] = dataclasses.replace(
            scored['vehicle', 1.0], targets={**targets, name: targets[target]}
        )
    for part in parts.values():
        part.targets.update({name: part.targets['vehicle'] for name, _ in parts})
    names = {name: NAMES['vehicle'] for name, _ in parts}
    pairs = [('person_car', name) for name in ('vehicle', 'vehicle_best', 'variant')]
    claims = reproduction.analyze(parts, names, pairs, num_resamples=20).claims
    assert [(claim.models, claim.claim.partition(' in ')[2]) for claim in claims[-3:]] == [
        (('person_car', 'variant'), name) for name in ('person', 'vehicle', 'foreground mean')
    ]
    assert [claim.models for claim in claims[:-3]] == [
        ('person_car', 'vehicle'), ('person_car', 'vehicle'), ('vehicle', 'vehicle_best')
    ]  # fmt: skip


def test_other_settings_for_the_same_task(scored):
    """Better by 0.05 and 0.10 on the same pixels: one claim, on their mean, none published."""
    rng, task = np.random.default_rng(1), 'person_car'
    parts = {}
    for experiment, shares in ((task, (0.6, 0.4)), ('person_car_best', (0.65, 0.5))):
        counts = counts_of(rng, *shares, seeds=3)
        targets = {task: counts, 'person_car_best': counts}
        parts[experiment, 1.0] = dataclasses.replace(scored[task, 1.0], targets=targets)
    names = dict.fromkeys((task, 'person_car_best'), NAMES[task])
    (claim,) = reproduction.analyze(parts, names, num_resamples=300).claims
    assert claim.models == (task, 'person_car_best') and claim.published_difference is None
    assert claim.verdict == 'supported' and len(claim.tests) == 2
    for test in claim.tests:
        assert test.difference == pytest.approx(0.075, abs=0.02)


def test_learning_curve_extrapolates_what_was_planted(report):
    rows = [
        r for r in report['learning_curve'] if r['class_name'] == 'person' and r['metric'] == 'iou'
    ]
    assert len(rows) == 4  # two experiments, two sets of images
    for row in rows:
        assert row['sizes'] == [150, 300, 600, 1200] and row['seeds'] == [2, 2, 2, 3]
        base = 0.6 if row['experiment'] == 'person_car' else 0.65
        truth = base + 0.1 - 0.1 * (6000 / 1200) ** -0.5
        low, high = row['prediction']['interval']
        assert row['prediction']['size'] == 6000 and low <= truth <= high


def test_scores_of_the_curve_stand_below_their_own_sizes():
    rows = [{'sizes': [50.0, 100.0], 'scores': [0.1, 0.2]}, {'sizes': [100.0], 'scores': [0.9]}]
    found = [experiment_tables.scores_at([50, 100], row) for row in rows]
    assert found == [[0.1, 0.2], [None, 0.9]]


def test_markdown_and_figure(report, tmp_path):
    json.dumps(report, allow_nan=False)
    markdown = experiment_tables.to_markdown(report)
    assert 'Not comparable' in markdown and '`data.source = photos`' in markdown
    assert '**contradicted**' in markdown and '| at 6000 |' in markdown
    for line in markdown.splitlines():  # tables are whole
        if line.startswith('|---'):
            columns = line.count('|')
        elif line.startswith('| person\\_car') or line.startswith('| each its own'):
            assert line.count('|') == columns
    experiment_tables.figure(report, tmp_path / 'report.png')
    assert Image.open(tmp_path / 'report.png').width > 1000


def test_a_run_like_the_published_one_is_called_so(report):
    full = {**report, 'setup': {**report['setup'], 'differs_from_published': []}}
    markdown = experiment_tables.to_markdown(full)
    assert 'Not comparable' not in markdown and 'full configuration on all of COCO 2014' in markdown


def test_one_experiment_without_a_curve(scored, tmp_path):
    # No image has any class: no score exists.
    targets, ids = {'vehicle': np.zeros((1, 4, 3, 3), np.int64)}, np.arange(4)
    alone = {('vehicle', 1.0): Scored(targets, ids, np.zeros(4, np.int64), 9.0)}
    report = dataclasses.asdict(reproduction.analyze(alone, NAMES, num_resamples=20))
    assert report['claims'] == report['learning_curve'] == []
    assert report['scores']['vehicle']['all images']['iou']['vehicle']['score'] is None
    report['origin'] = {'command': '', 'fingerprint': '', 'devices': []}
    report['setup'] = {
        'folds': 0, 'seeds': 1, 'num_images': 4, 'num_train': 9.0,
        'num_steps': 1, 'batch_size': 1, 'image_size': 8, 'differs_from_published': [],
    }  # fmt: skip
    assert '| – |' in experiment_tables.to_markdown(report)
    experiment_tables.figure(report, tmp_path / 'report.png')
