"""Slices: planted ones are found, and where nothing matters nothing is."""

import json
import shutil

import numpy as np
import pytest

from analysis.samples import stage as samples
from analysis.slices import search as slice_search
from analysis.slices import stage as slices
from analysis.stage import old_artifacts as artifacts


def make_table(num_images, seed):
    """Columns such as those of photographs, none of which says anything about anything."""
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


def test_conditions():
    columns = {
        'a': np.array([np.nan, *range(39)]),
        'flag': np.arange(40) < 10,
        'cluster': np.arange(40) % 3,
        'constant': np.zeros(40),
        'unknown': np.full(40, np.nan),
        'same': np.array([np.nan, *range(39)]) * 1.0,
    }
    conditions, masks = slice_search.make_conditions(columns)
    assert {name for name, _, _ in conditions} == {'a', 'flag', 'cluster'}
    assert ('flag', 'is', True) in conditions and ('cluster', 'is', 2) in conditions
    for condition, mask in zip(conditions, masks, strict=True):
        np.testing.assert_array_equal(mask, slice_search.membership(columns, [condition]))
        assert 8 <= mask.sum() <= 32
        assert condition[0] != 'a' or not mask[0]
    assert (
        slice_search.describe([('flag', 'is', False), ('a', '<=', 3.5)]) == 'not flag and a <= 3.5'
    )


def test_what_lies_apart_is_cut_off_by_a_short_number():
    values = np.array([*np.linspace(0.1, 0.26, 30), *np.full(10, 0.3), *np.linspace(7.6, 9, 20)])
    conditions, masks = slice_search.make_conditions({'a': values})
    found = dict(zip(conditions, masks, strict=True))
    sizes = {condition[1:]: mask.sum() for condition, mask in found.items()}
    # 0.26 is not rounded to its neighbour.
    assert sizes['<=', 0.26] == 30 and sizes['<=', 0.3] == 40
    assert sizes['>=', 0.3] == 30 and sizes['>=', 7.6] == 20


def test_null_tables_yield_nothing():
    """At most 5 % of tables in which nothing matters; the loss is as skewed as losses are."""
    found, repetitions = 0, 80
    columns, rng = make_table(240, 0)
    loss = rng.lognormal(0, 1, 240)
    for seed in range(repetitions):
        found += bool(slice_search.find_slices(columns, rng.permutation(loss), seed)['slices'])
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
    result = slice_search.find_slices(columns, loss)
    members = [slice_search.membership(columns, row['conditions']) for row in result['slices']]
    found = [max((hard & mask).sum() / (hard | mask).sum() for mask in members) for hard in planted]
    assert sum(overlap >= 0.6 for overlap in found) >= 4
    assert result == slice_search.find_slices(columns, loss)
    impacts = [row['impact'] for row in result['slices']]
    assert impacts == sorted(impacts, reverse=True)
    for row, mask in zip(result['slices'], members, strict=True):
        assert row['p'] <= 0.05 and row['size'] == mask.sum()
        assert np.isclose(row['impact'], row['share'] * row['excess'])
        assert row['interval'][0] < row['excess'] < row['interval'][1]


def test_conjunction_only_where_both_matter():
    columns, rng = make_table(2000, 2)
    loss = rng.lognormal(0, 0.3, 2000)
    both = (columns['brightness'] < 95) & columns['count_3'].astype(bool)
    loss[both] += 0.6
    loss[columns['contrast'] > 75] += 0.6
    rows = slice_search.find_slices(columns, loss)['slices']
    names = [{name for name, _, _ in row['conditions']} for row in rows]
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
        rows = slice_search.find_slices(columns, loss, seed)['slices']
        members = [slice_search.membership(columns, row['conditions']) for row in rows]
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
        sorted({name for name, _, _ in row['conditions']})
        for row in slice_search.find_slices(columns, loss)['slices']
    ]
    assert ['brightness'] in names and ['sharpness'] in names
    rows = [
        row for row in slice_search.find_slices(columns, loss)['slices'] if 'cluster' in row['text']
    ]
    assert [row['text'] for row in rows] == ['cluster is 5']


def test_unknown_values_and_too_few_images():
    columns, rng = make_table(12, 3)
    assert slice_search.find_slices(columns, rng.random(12)) == {'num_tested': 0, 'slices': []}
    assert slice_search.find_slices({}, rng.random(12)) == {'num_tested': 0, 'slices': []}
    columns, rng = make_table(200, 4)
    assert slice_search.find_slices(columns, np.ones(200))['slices'] == []


def test_given_size():
    rng = np.random.default_rng(0)
    percents = [rng.exponential(5, 500) * (rng.random(500) < 0.6) for _ in range(2)]
    noise = rng.normal(0, 0.01, 500)
    metric = 0.3 + 0.2 * np.log1p(10 * percents[0]) + 0.1 * (percents[1] > 0) + noise
    left = slices.given_size(metric, percents)
    assert np.corrcoef(left, noise)[0, 1] > 0.98
    assert abs(left.mean()) < 1e-9


@pytest.fixture
def workdir(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / 'run')


def test_command(workdir, capsys, tmp_path):
    arguments = ['--workdir', str(workdir), '--split', 'train']
    assert slices.main([*arguments, '--json', str(tmp_path / 'result.json')]) == 0
    assert 'slices found in one half were confirmed in the other' in capsys.readouterr().out
    analysis = artifacts.open_analysis(workdir, 'train')
    result = json.loads((tmp_path / 'result.json').read_text())
    assert slices.load(analysis) == result
    assert set(result['metrics']) == set(slices.METRICS) and not result['uses_clusters']
    assert (analysis.folder / 'slices.png').read_bytes()[:4] == b'\x89PNG'
    # Read the second time, but not of other halves.
    for changed, said in (([], ''), (['--seed', '1'], 'seed 0 instead of 1')):
        capsys.readouterr()
        assert slices.main([*arguments, *changed]) == 0
        assert said in capsys.readouterr().err
    assert slices.load(analysis)['seed'] == 1
    # Metrics are no conditions.
    metrics = samples.columns(samples.load(analysis), 'metric')
    assert not set(metrics) & set(slices.load_columns(analysis))
    (analysis.folder / 'samples.parquet').write_bytes(b'')
    assert slices.main(arguments) == 1
    assert 'damaged' in capsys.readouterr().err
