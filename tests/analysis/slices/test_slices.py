"""Slices: planted ones are found, and none where nothing matters."""

import json
import shutil

import numpy as np
import pyarrow
import pytest
from ml_collections import ConfigDict

from analysis.clusters.schema import Clusters, Density
from analysis.samples import schema as samples
from analysis.samples.schema import Samples
from analysis.slices import conditions
from analysis.slices import stage as slices
from analysis.slices.conditions import load_columns, make_conditions, membership
from analysis.slices.schema import METRICS, MetricSlices, Slice, Slices, has_metric
from analysis.slices.search import find_slices
from analysis.slices.words import describe
from analysis.stage import artifacts, storage
from analysis.stage.run import open_analysis
from analysis.stage.view import View


def make_table(num_images, seed):
    """Columns like those of real images, all independent of each other."""
    rng = np.random.default_rng(seed)
    num_car = rng.poisson(0.8, num_images).astype(np.float64)
    columns = {
        'brightness': rng.normal(110, 30, num_images),
        'contrast': rng.normal(60, 12, num_images),
        'sharpness': rng.lognormal(6, 1, num_images),
        'percent_car': np.where(num_car > 0, rng.exponential(6, num_images), 0),
        'mean_size_car': np.where(num_car > 0, rng.exponential(4, num_images), np.nan),
        'num_car': num_car,
        'is_grayscale': rng.random(num_images) < 0.05,
        'cluster': rng.integers(0, 6, num_images),
    }
    columns |= {f'count_{i}': rng.poisson(0.2, num_images).astype(float) for i in range(12)}
    return columns, rng


def test_images_without_a_label_have_no_iou():
    table = pyarrow.table(
        {
            'loss': [0.1, 0.2, None, 0.4],
            'mean_iou_foreground': [0.5, 0.0, 0.5, None],
            'percent_car': [3.0, 0.0, 1.0, 1.0],
        }
    )
    for metric, known in (
        ('loss', [True, True, False, True]),
        ('mean_iou_foreground', [True, False, True, False]),
        ('mean_iou_foreground_given_size', [True, False, True, False]),
    ):
        assert has_metric(metric, table, ('background', 'car')).tolist() == known
        values, mine = slices.metric_values(metric, table, ('background', 'car'))
        assert mine.tolist() == known and len(values) == sum(known)


def test_thresholds_part_neighboring_values_that_need_many_digits():
    for below, above in ((640 / 480, 640 / 479), (1234.1, 1234.4), (0.26, 0.3), (-1.5, -0.2)):
        at_most, at_least = conditions._between(below, above)
        assert below <= at_most < above and below < at_least <= above
    assert conditions._between(0.26, 0.3) == (0.26, 0.3)


def test_conditions():
    columns = {
        'a': np.array([np.nan, *range(39)]),
        'flag': np.arange(40) < 10,
        'cluster': np.arange(40) % 3,
        'constant': np.zeros(40),
        'unknown': np.full(40, np.nan),
        'same': np.array([np.nan, *range(39)]) * 1.0,
    }
    conditions, masks = make_conditions(columns)
    assert {name for name, _, _ in conditions} == {'a', 'flag', 'cluster'}
    assert ('flag', 'is', True) in conditions and ('cluster', 'is', 2) in conditions
    for condition, mask in zip(conditions, masks, strict=True):
        np.testing.assert_array_equal(mask, membership(columns, [condition]))
        assert 8 <= mask.sum() <= 32
        assert condition[0] != 'a' or not mask[0]
    assert describe([('flag', 'is', False), ('a', '<=', 3.5)]) == 'not flag and a at most 3.5'


@pytest.mark.parametrize(
    'condition, words',
    [
        (('percent_person', '>=', 17.0), 'person covers at least 17 % of the image'),
        (('percent_person', '>=', 100.0), 'person covers 100 % of the image'),
        (('percent_person', '<=', 0.0), 'no person'),
        (('mean_size_dog', '<=', 1.5), 'the average dog covers at most 1.5 % of the image'),
        (('num_person', '>=', 3.0), 'at least 3 instances of person'),
        (('num_person', '>=', 1.0), 'at least 1 instance of person'),
        (('count_dog', '<=', 0.0), 'no dog'),
        (('num_instances', '<=', 0.0), 'no instance'),
        (('num_instances', '>=', 5.0), 'at least 5 instances'),
        (('brightness', '<=', 41.5), 'brightness at most 41.5 of 255'),
        (
            ('truncated_share', '>=', 0.29),
            'at least 29 % of the instances are cut off by the border',
        ),
        (
            ('truncated_share', '<=', 0.0),
            '0 % of the instances are cut off by the border',
        ),
        (('is_grayscale', 'is', True), 'the image is gray'),
        (('cluster', 'is', 3), 'in cluster 3'),
    ],
)  # fmt: skip
def test_conditions_in_words(condition, words):
    assert describe([condition]) == words


def test_two_bounds_are_a_range():
    bounds = [('brightness', '<=', 69.5), ('num_car', '>=', 1.0), ('brightness', '>=', 59.9)]
    assert describe(bounds) == (
        'brightness between 59.9 and 69.5 of 255 and at least 1 instance of car'
    )
    shares = [('truncated_share', '>=', 0.1), ('truncated_share', '<=', 0.29)]
    assert describe(shares) == 'between 10 and 29 % of the instances are cut off by the border'
    percents = [('percent_car', '>=', 2.0), ('percent_car', '<=', 5.0)]
    assert describe(percents) == 'car covers between 2 and 5 % of the image'


def test_every_column_of_the_samples_has_words():
    table = samples.table_schema(('background', 'person'), ('dog',))
    for field in table:
        if field.metadata[b'role'] == b'metadata':
            value = True if field.type == pyarrow.bool_() else 2.0
            text = describe([(field.name, 'is' if value is True else '>=', value)])
            assert '_' not in text and '{' not in text, text


def test_nested_slices_are_one_group():
    inside = np.zeros((4, 100), np.bool_)
    inside[0, :20] = inside[1, :50] = inside[2, 2:21] = inside[3, 60:80] = True
    found = [
        Slice(
            (),
            text,
            int(here.sum()),
            0.2,
            1.0,
            0.5,
            excess,
            (excess - 0.1, excess + 0.1),
            0.1,
            0.001,
        )
        for text, here, excess in zip('abcd', inside, (0.9, 0.5, 0.4, 0.6), strict=True)
    ]
    metrics = {
        'loss': MetricSlices(100, 0.5, 9, tuple(found[:3])),
        'mean_iou_foreground': MetricSlices(100, 0.5, 9, tuple(found[3:])),
    }
    result = Slices(100, 0, False, metrics, np.packbits(inside, axis=1))
    groups = [[(metric, one.text) for metric, one, _ in group] for group in result.groups()]
    assert groups == [
        [('loss', 'a'), ('loss', 'b'), ('loss', 'c')],
        [('mean_iou_foreground', 'd')],
    ]
    table = slices.table(result)
    assert '4 slices, 2 without those nested' in table and '| b |' not in table


def test_what_lies_apart_is_cut_off_by_a_short_number():
    values = np.array([*np.linspace(0.1, 0.26, 30), *np.full(10, 0.3), *np.linspace(7.6, 9, 20)])
    conditions, masks = make_conditions({'a': values})
    found = dict(zip(conditions, masks, strict=True))
    sizes = {condition[1:]: mask.sum() for condition, mask in found.items()}
    # 0.26 is not rounded to its neighbor.
    assert sizes['<=', 0.26] == 30 and sizes['<=', 0.3] == 40
    assert sizes['>=', 0.3] == 30 and sizes['>=', 7.6] == 20


def test_null_tables_yield_nothing():
    """At most 5 % of tables in which nothing matters; the loss is as skewed as losses are."""
    found, repetitions = 0, 80
    columns, rng = make_table(240, 0)
    loss = rng.lognormal(0, 1, 240)
    for seed in range(repetitions):
        found += bool(find_slices(columns, rng.permutation(loss), seed)[1])
    # Binomial(80, 0.05) exceeds 9 with probability 0.7 %.
    assert found <= 9


def plant(columns, rng, share=0.04):
    """Five hard slices as those of the drawn scenes; returns their images."""
    num_images = len(columns['brightness'])
    kind = rng.choice(6, num_images, p=[1 - 5 * share, *[share] * 5])
    columns['percent_car'][kind == 1] = rng.uniform(45, 80, (kind == 1).sum())
    columns['brightness'][kind == 2] = rng.uniform(5, 30, (kind == 2).sum())
    columns['contrast'][kind == 3] = rng.uniform(8, 20, (kind == 3).sum())
    columns['sharpness'][kind == 4] = rng.uniform(20000, 40000, (kind == 4).sum())
    columns['num_car'][kind == 5] = 4
    columns['mean_size_car'][kind == 5] = rng.uniform(0.001, 0.01, (kind == 5).sum())
    return [kind == number for number in range(1, 6)]


def test_planted_slices_are_found():
    columns, rng = make_table(1600, 1)
    planted = plant(columns, rng)
    loss = rng.lognormal(-1, 0.4, 1600)
    for hard in planted:
        loss[hard] *= 2
    num_tested, rows = find_slices(columns, loss)
    assert num_tested >= len(rows)
    members = [membership(columns, row.conditions) for row in rows]
    found = [max((hard & mask).sum() / (hard | mask).sum() for mask in members) for hard in planted]
    assert sum(overlap >= 0.6 for overlap in found) >= 4
    assert (num_tested, rows) == find_slices(columns, loss)
    impacts = [row.impact for row in rows]
    assert impacts == sorted(impacts, reverse=True)
    for row, mask in zip(rows, members, strict=True):
        assert row.p <= 0.05 and row.size == mask.sum()
        assert np.isclose(row.impact, row.share * row.excess)
        assert row.interval[0] < row.excess < row.interval[1]


def test_means_in_a_slice_and_elsewhere():
    dark = np.arange(200) % 4 == 0
    loss = np.where(dark, 3.0, 1.0) + np.random.default_rng(0).normal(0, 0.01, 200)
    num_tested, [found] = find_slices({'dark': dark}, loss)
    assert found.text == 'dark' and found.size == 50 and num_tested == 2  # in each half
    means = found.mean, found.mean_elsewhere, found.excess, found.impact
    np.testing.assert_allclose(means, [3, 1, 2, 2 * found.share], atol=0.02)


def test_a_slice_has_a_hundredth_of_the_images():
    """Of the half in which it is tested: 20 of 2,000."""
    rng = np.random.default_rng(0)
    for size, reported in ((24, False), (120, True)):
        group = np.arange(4000) < size
        loss = rng.lognormal(-1, 0.4, 4000) + 2 * group
        num_tested, rows = find_slices({'rare': group}, loss)
        assert [row.text for row in rows] == ['rare'] * reported
        assert bool(num_tested) == reported


def test_conjunction_only_where_both_matter():
    columns, rng = make_table(2000, 2)
    loss = rng.lognormal(0, 0.3, 2000)
    both = (columns['brightness'] < 95) & columns['count_3'].astype(bool)
    loss[both] += 0.6
    loss[columns['contrast'] > 75] += 0.6
    rows = find_slices(columns, loss)[1]
    names = [{name for name, _, _ in row.conditions} for row in rows]
    assert {'brightness', 'count_3'} in names and {'contrast'} in names
    assert not any('contrast' in found and len(found) > 1 for found in names)


def test_two_causes_with_something_in_common_are_told_apart():
    """Dark and pale images both have little contrast; what is pale must not be dark."""
    overlaps = []
    for seed in range(4):
        columns, rng = make_table(1600, seed)
        kind = rng.choice(3, 1600, p=[0.9, 0.05, 0.05])
        dark, pale = kind == 1, kind == 2
        columns['contrast'] += 30
        columns['contrast'][dark] = rng.uniform(0, 20, dark.sum())
        columns['contrast'][pale] = rng.uniform(15, 20, pale.sum())
        columns['brightness'][dark] = rng.uniform(5, 30, dark.sum())
        loss = rng.lognormal(0, 0.4, 1600)
        loss[dark | pale] *= 2
        rows = find_slices(columns, loss, seed)[1]
        members = [membership(columns, row.conditions) for row in rows]
        overlaps += [
            max((hard & mask).sum() / (hard | mask).sum() for mask in members)
            for hard in (dark, pale)
        ]
    assert sum(overlap > 0.5 for overlap in overlaps) >= 7, overlaps
    assert np.mean(overlaps) > 0.63


def test_cluster_hides_no_metadata_but_is_told_where_none_explain():
    columns, rng = make_table(1600, 5)
    loss = rng.lognormal(0, 0.3, 1600)
    columns['cluster'] = rng.integers(0, 4, 1600)
    dark, sharp = columns['brightness'] <= 60, columns['sharpness'] >= 2000
    columns['cluster'][dark | sharp] = 4  # for two reasons
    columns['cluster'][rng.random(1600) < 0.05] = 5  # for none that is in the table
    loss[np.isin(columns['cluster'], (4, 5))] += 0.6
    names = [
        sorted({name for name, _, _ in row.conditions}) for row in find_slices(columns, loss)[1]
    ]
    assert ['brightness'] in names and ['sharpness'] in names
    rows = [row for row in find_slices(columns, loss)[1] if 'cluster' in row.text]
    assert [row.text for row in rows] == ['in cluster 5']


def test_unknown_values_and_too_few_images():
    columns, rng = make_table(12, 3)
    assert find_slices(columns, rng.random(12)) == (0, [])
    assert find_slices({}, rng.random(12)) == (0, [])
    columns, rng = make_table(200, 4)
    assert find_slices(columns, np.ones(200))[1] == []


def test_adjusted_for_size():
    rng = np.random.default_rng(0)
    percents = [rng.exponential(5, 500) * (rng.random(500) < 0.6) for _ in range(2)]
    noise = rng.normal(0, 0.01, 500)
    metric = 0.3 + 0.2 * np.log1p(10 * percents[0]) + 0.1 * (percents[1] > 0) + noise
    left = slices.adjust_for_size(metric, percents)
    assert np.corrcoef(left, noise)[0, 1] > 0.98
    assert abs(left.mean()) < 1e-9


@pytest.fixture
def workdir(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / 'run')


def test_command(workdir, capsys, tmp_path):
    arguments = ['--workdir', str(workdir), '--split', 'train']
    assert slices.main([*arguments, '--json', str(tmp_path / 'result.json')]) == 0
    assert 'slices found in one half were confirmed in the other' in capsys.readouterr().out
    analysis = open_analysis(workdir, 'train')
    result = json.loads((tmp_path / 'result.json').read_text())
    loaded = artifacts.load(analysis, Slices)
    assert json.loads(json.dumps(storage.to_json(loaded))) == result
    assert set(result['metrics']) == set(METRICS) and not result['uses_clusters']
    assert (analysis.folder / 'slices.png').read_bytes()[:4] == b'\x89PNG'
    # Read the second time, but not with other halves.
    for changed, said in (([], ''), (['--seed', '1'], 'seed 0 instead of 1')):
        capsys.readouterr()
        assert slices.main([*arguments, *changed]) == 0
        assert said in capsys.readouterr().err
    assert artifacts.load(analysis, Slices).seed == 1
    # Metrics are never conditions.
    metrics = samples.columns(artifacts.load(analysis, Samples).table, 'metric')
    assert not set(metrics) & set(load_columns(analysis))
    (analysis.folder / 'samples.parquet').write_bytes(b'')
    assert slices.main(arguments) == 1
    assert 'damaged' in capsys.readouterr().err


def write_samples(workdir, columns, loss, iou):
    """A view of as many images as the arrays have values, with these samples."""
    columns = columns | {'is_colored': np.ones(len(loss), np.bool_)}
    fields = [
        pyarrow.field(name, pyarrow.float64(), metadata={'role': role})
        for role, names in (('metadata', columns), ('metric', ('loss', 'mean_iou_foreground')))
        for name in names
    ]
    values = [*columns.values(), loss, iou]
    table = pyarrow.table([value.astype(np.float64) for value in values], pyarrow.schema(fields))
    names, ids = ('background', 'car'), np.arange(len(loss)) + 5000
    view = View(workdir, ConfigDict(), names, {'fingerprint': ''}, 'val', 1, ids)
    view.folder.mkdir(parents=True)
    artifacts.save(view, Samples(len(loss), {}, {}, table))
    return view


def write_inputs(workdir):
    """Samples of 1,200 images and their clusters: dark images and one cluster are hard."""
    columns, rng = make_table(1200, 6)
    columns['cluster'] = rng.integers(0, 4, 1200)
    dark, third = columns['brightness'] <= 70, columns.pop('cluster') == 3
    iou = (0.8 - 0.3 * dark - 0.3 * third + rng.normal(0, 0.05, 1200)).clip(0, 1)
    iou[::10] = np.nan  # images without foreground
    loss = np.where(dark, 2, 1) * rng.lognormal(-1, 0.3, 1200)
    view = write_samples(workdir, columns, loss, iou)
    label = np.where(third, 3, rng.integers(0, 3, 1200)).astype(np.int32)
    density = Density((), 0, None, None)
    artifacts.save(view, Clusters(1200, (), density, (), label, np.zeros((4, 2)), label))
    return view


def test_what_is_stored(tmp_path):
    """Members, worst images and means of each slice, computed here from the samples."""
    view = write_inputs(tmp_path)
    result = slices.compute(view)
    artifacts.save(view, result)
    result = artifacts.load(view, Slices)
    assert result.uses_clusters and result.num_images == 1200
    columns, table = load_columns(view), artifacts.load(view, Samples).table
    found = list(result.each())
    assert [one for _, one, _ in found] == [
        one for part in result.metrics.values() for one in part.slices
    ]
    texts = {metric: [one.text for name, one, _ in found if name == metric] for metric in METRICS}
    assert 'in cluster 3' in texts['mean_iou_foreground']
    for metric, one, inside in found:
        np.testing.assert_array_equal(inside, membership(columns, one.conditions))
        base = metric.removesuffix('_given_size')
        values = samples.numbers(table, base)
        here = inside & ~np.isnan(values) & ((base == 'loss') | (columns['percent_car'] > 0))
        assert one.size == here.sum() and len(one.worst) == 5
        assert one.worst_ids == tuple(row + 5000 for row in one.worst)
        if not metric.endswith('_given_size'):
            sign = METRICS[metric]
            ordered = np.sort(-sign * values[here])[:5]
            np.testing.assert_allclose(-sign * values[list(one.worst)], ordered)
            assert (one.mean - one.mean_elsewhere) * sign == pytest.approx(one.excess)
            assert one.excess > 0


def test_what_size_explains_is_no_slice_given_size(tmp_path):
    columns, rng = make_table(600, 7)
    del columns['cluster']
    columns['percent_car'] += 1
    loss = (1 + columns['percent_car']) * rng.lognormal(-1, 0.2, 600)
    result = slices.compute(write_samples(tmp_path, columns, loss, -np.log(loss)))
    for metric in METRICS:
        assert bool(result.metrics[metric].slices) != metric.endswith('_given_size'), metric


def test_no_slice_by_the_iou_of_images_without_a_label(tmp_path):
    """Their IoU is 0 wherever a class is predicted, whatever the network is like."""
    columns, rng = make_table(600, 8)
    iou = np.where(columns['percent_car'] > 0, rng.uniform(0.4, 0.9, 600), 0)
    result = slices.compute(write_samples(tmp_path, columns, rng.lognormal(-1, 0.2, 600), iou))
    by_iou = result.metrics['mean_iou_foreground']
    assert by_iou.num_images == (columns['percent_car'] > 0).sum() < 600
    assert by_iou.mean > 0.6 and not by_iou.slices


def test_four_searches_share_the_level(tmp_path):
    """A slice that the level of a single search would confirm."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        columns = {'dark': rng.random(160) < 0.3, 'is_grayscale': np.zeros(160, np.bool_)}
        loss = rng.normal(size=160) + 0.7 * columns['dark']
        alone, shared = (find_slices(columns, loss, level=level)[1] for level in (0.05, 0.05 / 4))
        if alone and not shared:
            break
    columns['percent_car'] = np.full(160, 10.0)
    columns['dark'] = columns['dark'].astype(np.float64)
    result = slices.compute(write_samples(tmp_path, columns, loss, -loss))
    assert [part.slices for part in result.metrics.values()] == [(), (), (), ()]


def test_none_is_stored_where_there_are_none(tmp_path):
    view = write_inputs(tmp_path)
    empty = {metric: MetricSlices(0, None, 0, ()) for metric in METRICS}
    artifacts.save(view, Slices(1200, 0, False, empty, np.zeros((0, 150), np.uint8)))
    assert list(artifacts.load(view, Slices).each()) == []
    assert '- loss: none of the images has it.' in slices.table(artifacts.load(view, Slices))
