"""Scores of artifacts that are written by hand, next to scores computed by hand."""

import dataclasses

import numpy as np
import pyarrow
import pytest
from ml_collections import ConfigDict
from pycocotools import mask as mask_utils
from scipy import special
from sklearn import manifold
from sklearn import metrics as sklearn_metrics

from analysis import registry
from analysis.associations.schema import Association, Associations
from analysis.clusters.schema import Clusters, Density
from analysis.embeddings import stage as embeddings
from analysis.label_issues.schema import REGIONS, LabelIssues
from analysis.planted_benchmark import pointing_game, scoring
from analysis.predictions import features
from analysis.predictions.schema import Predictions
from analysis.saliency import membership_maps
from analysis.saliency.scores import open_clusters
from analysis.samples.schema import Samples
from analysis.similar.schema import Distances, Similar
from analysis.similarity_map.schema import SimilarityMap
from analysis.slices.conditions import load_columns
from analysis.slices.schema import METRICS, Condition, MetricSlices, Slice, Slices
from analysis.slices.search import find_slices
from analysis.stage import artifacts
from analysis.stage.view import View
from segmentation.models.unet import scale_images

NAMES = ('background', 'person', 'car')


def make_view(folder, num_images):
    """A view without network and images."""
    view = View(folder, ConfigDict(), NAMES, {'fingerprint': ''}, 'val', 1, np.arange(num_images))
    view.folder.mkdir(parents=True)
    return view


def save_samples(view, metadata, metric):
    fields = [
        pyarrow.field(name, pyarrow.float64(), metadata={'role': role})
        for role, columns in (('metadata', metadata), ('metric', metric))
        for name in columns
    ]
    values = [np.asarray(v, np.float64) for v in (*metadata.values(), *metric.values())]
    table = pyarrow.table(values, pyarrow.schema(fields))
    artifacts.save(view, Samples(len(table), {}, {}, table))


def entry(**planted):
    return {
        'type': '',
        'attributes': [],
        'hard_slice': None,
        'objects': [],
        'error': None,
    } | planted


def with_error(kind):
    """Of an object that reaches from 1/10 to 3/10 of the height, and from 2/3 of the width."""
    mask = np.zeros((200, 300), np.uint8, 'F')
    mask[20:60, 200:260] = 1
    objects = [{'mask': mask_utils.encode(mask)}]
    return entry(objects=objects, error={'kind': kind, 'object': 0})


ON_ERROR, ELSEWHERE = (0.68, 0.1, 0.85, 0.3), (0.1, 0.68, 0.3, 0.85)


def save_regions(view, regions):
    """Regions: row, kind, score and box (left, top, right, bottom)."""
    rows = []
    for row, kind, score, box in sorted(regions, key=lambda region: -region[2]):
        sides = dict(zip(('left', 'top', 'right', 'bottom'), box, strict=True))
        rows.append({'row': row, 'kind': kind, 'score': score, **sides})
    table = pyarrow.Table.from_pylist(rows, REGIONS)
    artifacts.save(view, LabelIssues(len(view), '', np.full(len(view), np.nan), table))


def test_label_issues_by_hand(analysis):
    kinds = ['person missing', 'person labelled car', 'suitcase labelled car', '', '', '']
    truth = [with_error(kind) if kind else entry() for kind in kinds]
    truth[5] = with_error('person missing')
    missing = 'missing instance'
    regions = [
        (1, missing, 0.95, ELSEWHERE),  # has another error: does not count among the images
        (0, missing, 0.9, ON_ERROR),
        (3, missing, 0.7, ON_ERROR),  # nothing is wrong there
        (5, missing, 0.5, ELSEWHERE),
        (5, missing, 0.4, (0.0, 0.0, 1.0, 1.0)),  # hardly anything of it is on the error
        (1, 'wrong class', 0.8, (0.64, 0.07, 0.88, 0.32)),  # a little too large
    ]
    save_regions(analysis, regions)
    found = scoring.label_issues(analysis, truth)

    def score(measure, name):
        return found[f'label issues/{measure}, {name}']

    # Images 0 and 5 among 0, 3, 4 and 5, in the order 0, 3, 5, 4.
    assert score('average precision', missing) == pytest.approx((1 + 2 / 3) / 2)
    assert score('recall at the planted number', missing) == 0.5
    assert score('average precision', 'wrong class') == 1
    assert score('recall at the planted number', 'wrong class') == 1
    # Not reported: as good as any order of three images.
    assert score('average precision', 'spurious label') == pytest.approx(1 / 3)
    assert score('average precision', 'spurious label, suitcase labelled car') == pytest.approx(
        1 / 3
    )
    assert score('average precision', 'sloppy outline') is None
    # In the order 1, 0, 3, 5, 5 only the region of 0 is on an error; 5 has one that is not found.
    assert score('average precision of regions', missing) == pytest.approx(1 / 2 / 2)
    assert score('average precision of regions', 'wrong class') == 1

    # The baseline: the softmin over the probabilities of the given classes, as they are.
    run = analysis.run
    pictures = [analysis.examples[row] for row in range(6)]
    images = scale_images(np.stack([p['image'] for p in pictures]), 'imagenet')
    logits = np.asarray(run.model.apply(run.variables, images, train=False), np.float64)
    suspicion = []
    for picture, seen in zip(pictures, special.softmax(logits, -1), strict=True):
        given = np.take_along_axis(seen, picture['label'][..., None].astype(int), -1).ravel()
        weight = np.exp((1 - given) / 0.1)
        suspicion.append(-(given * weight).sum() / weight.sum())
    suspicion = np.array(suspicion)
    for name, positive, kept in (
        (missing, [0, 5], [0, 3, 4, 5]),
        ('wrong class', [1], [1, 3, 4]),
        ('spurious label', [2], [2, 3, 4]),
    ):
        expected = sklearn_metrics.average_precision_score(np.isin(kept, positive), suspicion[kept])
        assert score('average precision of softmin', name) == pytest.approx(expected)
        above = score('average precision', name) - expected
        assert score('above the baseline', name) == pytest.approx(above)


def associated(column, rho, q, partial_rho=None, partial_q=None):
    unknown = dict.fromkeys([field.name for field in dataclasses.fields(Association)])
    known = {'column': column, 'metric': 'loss', 'n': 40, 'rho': rho, 'interval': (-1.0, 1.0)}
    known |= {'p': q, 'q': q, 'confounder': '', 'bins': ()}
    return Association(**unknown | known | {'partial_rho': partial_rho, 'partial_q': partial_q})


def test_performance_by_hand(tmp_path):
    """Of 40 images 10 are dark, which a slice finds, and 5 foggy, which none does."""
    view, rows = make_view(tmp_path, 40), np.arange(40)
    truth = [entry(hard_slice='dark' if i < 10 else 'fog' if i < 15 else None) for i in range(40)]
    loss = np.where(rows < 10, 3.0, np.where(rows < 15, 1.5, 1.0))
    percents = {f'percent_{name}': np.full(40, 10.0) for name in NAMES}
    save_samples(view, percents, {'loss': loss, 'mean_iou_foreground': 1 / loss})
    tests = (
        associated('brightness', -0.5, 0.01),
        associated('contrast', 0.5, 0.01, 0.4, 0.01),  # fog has little contrast
        associated('sharpness', 0.1, 0.3, 0.4, 0.04),
    )
    artifacts.save(view, Associations(40, 6, 5, tests, (), ()))
    condition, interval = (Condition('brightness', '<=', 1.0),), (0.0, 1.0)
    one = Slice(condition, '', 12, 0.3, 2.0, 1.0, 1.0, interval, 0.3, 0.001)
    parts = {
        metric: MetricSlices(40, 1.0, 2, (one, one) if metric == 'loss' else ())
        for metric in METRICS
    }
    members = np.packbits([rows < 12, rows >= 12], axis=1)
    artifacts.save(view, Slices(40, 0, False, parts, members))
    found = scoring.performance(view, truth)
    assert found['associations/dark: brightness with loss'] == 1
    assert found['associations/fog: contrast with loss'] == 0
    assert found['associations/noise: sharpness with loss'] == 1
    assert found['associations/share of the planted that is found'] == pytest.approx(2 / 3)
    assert found['slices/confirmed'] == 2
    assert found['slices/dark: precision of the best slice'] == pytest.approx(10 / 12)
    assert found['slices/dark: recall of the best slice'] == 1
    assert found['slices/fog: precision of the best slice'] == pytest.approx(2 / 12)
    assert found['slices/fog: recall of the best slice'] == pytest.approx(2 / 5)
    assert found['slices/share of the planted that is found'] == 0.5
    assert found['slices/dark: loss minus that of ordinary scenes'] == pytest.approx(2)
    assert found['slices/fog: loss minus that of ordinary scenes'] == pytest.approx(0.5)
    name = 'slices/dark: mean_iou_foreground minus that of ordinary scenes'
    assert found[name] == pytest.approx(1 / 3 - 1)
    assert not any('glare' in name for name in found)


def test_nothing_is_found_in_permuted_tables(tmp_path):
    """Although the loss follows the brightness."""
    rng, view = np.random.default_rng(0), make_view(tmp_path, 150)
    brightness = rng.uniform(0, 255, 150)
    loss = np.where(brightness < 60, 3.0, 1.0) + rng.normal(0, 0.1, 150)
    metadata = {'brightness': brightness, 'is_colored': np.ones(150), 'is_grayscale': np.zeros(150)}
    metadata |= {f'percent_{name}': rng.uniform(1, 30, 150) for name in NAMES}
    save_samples(view, metadata, {'loss': loss, 'mean_iou_foreground': 0.9 - loss / 5})
    assert find_slices(load_columns(view), loss)[1]
    found = scoring.null_tables(view, 12)
    assert list(found) == [f'null tables/share with a {what}' for what in ('discovery', 'slice')]
    for count, number in found.values():
        assert number == 12 and count <= 4  # 99.9 % of a binomial with 5 %


def test_coverage_of_classes_with_few_images_is_told_apart(tmp_path):
    """People in 60 images alike, a car in three, of which one is by far the largest."""
    rng, view = np.random.default_rng(0), make_view(tmp_path, 60)
    counts = np.zeros((60, 3, 3), np.int64)
    hit = rng.integers(30, 90, 60)
    counts[:, 0, 0], counts[:, 1, 1], counts[:, 1, 0] = 1000, hit, 100 - hit
    counts[:3, 2, 2], counts[:3, 2, 0] = [3000, 5, 10], [10, 50, 30]
    images = pyarrow.table(
        {'confusion': pyarrow.array(list(counts.reshape(60, 9)), pyarrow.list_(pyarrow.int64(), 9))}
    )
    artifacts.save(view, Predictions(32, 3, images))
    found = scoring.interval_coverage(view, 100)
    assert all(number == 100 for _, number in found.values())
    few = 'coverage, too few images/'
    assert {name.removeprefix(few) for name in found if name.startswith(few)} == {
        'iou/car', 'image_iou/car', 'mean_iou_foreground', 'mean_image_iou',
    }  # fmt: skip
    assert {name for name in found if not name.startswith(few)} == {
        f'coverage/{metric}/{name}' for metric in ('iou', 'image_iou') for name in NAMES[:2]
    }
    # 99.9 % of a binomial with 95 %, and less for what three images decide.
    assert 87 <= found['coverage/iou/person'][0] <= 100
    assert found[f'{few}iou/car'][0] < 87


def save_space(analysis, label):
    """Embeddings, and clusters whose centroids are the means of their members."""
    embedded = embeddings.compute(analysis, dimensions=4)
    artifacts.save(analysis, embedded)
    points = embedded.points
    centroids = np.stack([points[label == k].mean(0) for k in range(label.max() + 1)])
    found = Clusters(6, (), Density((), 0, None, None), (), label, centroids, label)
    artifacts.save(analysis, found)
    return points


def test_representation_against_scikit_learn(analysis, monkeypatch):
    """With two neighbors instead of ten, as there are six images."""
    monkeypatch.setattr(scoring, 'NEIGHBORS', 2)
    label = np.array([0, 0, 1, 1, 1, 0], np.int32)
    points = save_space(analysis, label)
    types, night = np.array(list('aabbcc')), np.array([True, True, True, False, False, False])
    truth = [
        entry(type=kind, attributes=['night'] * int(dark))
        for kind, dark in zip(types, night, strict=True)
    ]
    index = np.array([[1, 2, 3], [0, 3, 2], [3, 0, 1], [2, 1, 0], [5, 0, 1], [0, 1, 4]], np.int32)
    artifacts.save(analysis, Similar(6, 3, Distances(0.0, 1.0), index, np.ones((6, 3), np.float32)))
    maps = [np.random.default_rng(0).normal(size=(6, d)).astype(np.float32) for d in (2, 3)]
    artifacts.save(analysis, SimilarityMap(6, 2, (), *maps))
    found = scoring.representation(analysis, truth)
    assert found['clusters/number'] == 2
    agreement = sklearn_metrics.adjusted_mutual_info_score(types, label)
    assert found['clusters/AMI with scene type, ours'] == pytest.approx(agreement)
    for name in ('color histograms', 'random encoder'):
        other = found[f'clusters/AMI with scene type, {name}']
        assert found[f'clusters/AMI above {name}'] == pytest.approx(agreement - other)
    # The network has not learnt anything yet: it is that of the baseline.
    measure = 'similar/precision@2 by scene type'
    assert found[f'{measure}, random encoder'] == pytest.approx(found[f'{measure}, ours'])
    # One of the first two neighbors of images 0 to 4 is of the same type, none of image 5.
    assert found[f'{measure}, fetched'] == pytest.approx(5 / 12)
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    near = np.argsort(distance + np.diag(np.full(6, np.inf)), axis=1)[:, :2]
    assert found[f'{measure}, ours'] == pytest.approx((types[near] == types[:, None]).mean())
    expected = sklearn_metrics.roc_auc_score(night, night[near].mean(1))
    assert found['attributes/AUROC by neighbors, night, ours'] == pytest.approx(expected)
    assert found['attributes/AUROC by neighbors, crowd, ours'] is None
    for projected in maps:
        expected = manifold.trustworthiness(points, projected, n_neighbors=2)
        name = f'map/trustworthiness, {projected.shape[1]}-D'
        assert found[name] == pytest.approx(expected)


def test_untrained_network_does_not_read_what_the_trained_one_kept(analysis, tmp_path):
    registry.load('predictions').get(analysis)
    assert (analysis.folder / features.FILE).exists()
    # The network of the fixture is untrained too, of seed 0.
    for seed, same in ((0, True), (1, False)):
        other = scoring.random_network(analysis, tmp_path / str(seed), seed)
        points = [embeddings.compute(each, dimensions=3).points for each in (analysis, other)]
        assert np.allclose(*points, atol=1e-3) == same


def test_heat_maps_are_judged_where_an_object_matters(analysis, drawn, monkeypatch):
    points = save_space(analysis, np.arange(6, dtype=np.int32))
    clusters = open_clusters(analysis)
    distance = np.linalg.norm(points[:, None] - points, axis=-1) + np.diag(np.full(6, np.inf))
    np.testing.assert_array_equal(clusters.other, distance.argmin(1))
    masks, costs = pointing_game.most_lowering(analysis, clusters, drawn / 'scenes', np.arange(6))
    monkeypatch.setattr(pointing_game, 'LEAST_COST', np.nanmedian(costs))
    rows = np.flatnonzero(costs >= np.nanmedian(costs))
    assert 0 < len(rows) < (~np.isnan(costs)).sum()
    found = scoring.heat_maps(analysis, drawn / 'scenes', 6)
    assert found['heat-maps/images'] == len(rows) and found['heat-maps/share'] == len(rows) / 6
    networks = {
        'membership': analysis,
        'shuffled weights': pointing_game.shuffle_weights(analysis),
    }
    for name, network in networks.items():
        judged = pointing_game.judge(membership_maps.compute(network, clusters, rows), masks[rows])
        for kind, values in judged.items():
            assert found[f'heat-maps/{kind} {name}'] == pytest.approx(np.nanmean(values))
    center = -np.square(np.arange(32) - 15.5)
    judged = pointing_game.judge(
        np.exp((center[:, None] + center) / 128)[None].repeat(len(rows), 0), masks[rows]
    )
    assert found['heat-maps/energy center'] == pytest.approx(judged['energy'].mean(), rel=1e-4)
    baselines = ('random', 'center', 'edges', 'shuffled weights')
    for kind, title in (('pointing', 'pointing game'), ('energy', 'energy inside')):
        best = max(found[f'heat-maps/{kind} {name}'] for name in baselines)
        ours = found[f'heat-maps/{kind} membership']
        assert found[f'heat-maps/{title} above the best baseline'] == pytest.approx(ours - best)
    assert found['heat-maps/pointing game, ours'] == found['heat-maps/pointing membership']
