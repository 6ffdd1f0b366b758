"""Comparison of two runs: measures against references, and two networks of the same scenes."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pyarrow
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from analysis import registry
from analysis.clusters.schema import Clusters, Density
from analysis.compare import images, pictures, representations
from analysis.compare import stage as compare
from analysis.compare.schema import Comparison, find_artifact
from analysis.predictions.schema import Predictions
from analysis.samples.schema import Samples, numbers
from analysis.slices.conditions import membership
from analysis.slices.search import find_slices
from analysis.stage import artifacts
from analysis.stage.run import open_analysis, restrict
from scripts import analyze
from segmentation import metrics
from segmentation.data import masks
from segmentation.trained import restore_run
from tests import untrained_runs


def test_cka_of_the_same_and_of_unrelated_features():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 1, (60, 200))
    rotation = np.linalg.qr(rng.normal(size=(200, 200)))[0]
    assert np.isclose(representations.debiased_cka(x, 5 * x @ rotation + 7), 1)
    unrelated = [representations.debiased_cka(x, rng.normal(size=(60, 300))) for _ in range(50)]
    # Without debiasing it would be about 0.8: more features than images.
    assert abs(np.mean(unrelated)) < 0.03
    half = np.hstack([x, rng.normal(0, 1, (60, 200))])
    assert 0.5 < representations.debiased_cka(x, half) < 0.9
    assert np.isnan(representations.debiased_cka(x, np.ones((60, 3))))


def test_cka_is_unbiased_hsic():
    """Against sums over distinct indices, by which the estimator is defined."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    y[:, 0] += x[:, 0]

    def hsic(a, b):
        k, l = a @ a.T, b @ b.T  # noqa: E741
        n, total = len(a), 0
        for i, j in np.ndindex(n, n):
            if i == j:
                continue
            others = [q for q in range(n) if q not in (i, j)]
            total += k[i, j] * l[i, j] / (n * (n - 1))
            total -= 2 * k[i, j] * sum(l[i, q] for q in others) / (n * (n - 1) * (n - 2))
            total += (
                k[i, j]
                * sum(l[q, r] for q in others for r in others if q != r)
                / (n * (n - 1) * (n - 2) * (n - 3))
            )
        return total

    expected = hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))
    assert np.isclose(representations.debiased_cka(x, y), expected)


def test_neighbor_overlap():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 5))
    np.testing.assert_array_equal(representations.neighbor_overlap(x, 2 * x + 1), 1)
    chance = representations.neighbor_overlap(x, rng.normal(size=(300, 5))).mean()
    assert abs(chance - 10 / 299) < 0.02


def test_auroc_of_weighted_images():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, 40) / 5, rng.random(40) < 0.3
    weights = rng.integers(0, 3, (5, 40))
    areas = representations.auroc(scores, positive, weights)
    for weight, area in zip(weights, areas, strict=True):
        assert np.isclose(area, roc_auc_score(positive, scores, sample_weight=weight))
    assert np.isnan(representations.auroc(scores, positive, positive[None] * 1.0)[0])


def test_the_space_that_separates_better_is_found():
    rng = np.random.default_rng(0)
    second = np.arange(160) < 40
    this, other = rng.normal(size=(2, 160, 8))
    this[second, 0] += 1
    other[second, 0] += 3
    points = {'this': this, 'other': other}
    rows = representations.separation(points, second, 'this', 'embeddings')
    assert [row.method for row in rows] == ['linear probe', 'neighbors', 'silhouette']
    for row in rows:
        assert (row.first, row.second) == (120, 40)
        assert np.isclose(row.difference, row.other - row.this)
        assert 0 < row.difference_interval[0] < row.difference < row.difference_interval[1]
        assert row.this_interval[0] < row.this < row.this_interval[1]
    same = representations.separation({'this': this, 'other': this}, second, 'this', 'embeddings')
    assert all(row.difference == 0 for row in same)
    assert rows == representations.separation(points, second, 'this', 'embeddings')


def test_a_rare_group_is_always_among_the_images_of_the_silhouette(monkeypatch):
    """Of 40 images drawn from all 6,000, most draws have none of the ten."""
    rng = np.random.default_rng(0)
    second = np.arange(6000) % 600 == 0
    points = {name: rng.normal(size=(6000, 2)) + 5 * second[:, None] for name in ('this', 'other')}
    monkeypatch.setattr(representations, '_LAYER_IMAGES', 40)
    rows = representations.separation(points, second, 'this', 'embeddings')
    (silhouette,) = [row for row in rows if row.method == 'silhouette']
    assert silhouette.second == 10 and silhouette.this > 0.5


def test_scores_are_paired():
    """Networks that err alike differ with more certainty than their scores are known."""
    rng = np.random.default_rng(0)
    right = rng.integers(20, 100, (60, 3))
    missed = rng.integers(0, 20, 60)
    first = np.zeros((60, 3, 3), np.int64)
    first[:, range(3), range(3)] = right
    first[:, 2, 0] = missed
    second = first.copy()
    second[:, 2, 0] = 0
    second[:, 2, 2] += missed
    rows = compare.compare_scores(
        {'this': first, 'other': second}, ['person', 'car', 'mean'], 'this'
    )
    by_name = {(row.metric, row.class_name): row for row in rows}
    person, car = by_name['iou', 'person'], by_name['iou', 'car']
    assert person.difference == 0 and person.interval is None
    assert car.other == 1 and car.p < 1e-3
    assert car.difference == pytest.approx(car.other - car.this) and car.difference > 0
    assert car.interval[0] < car.difference < car.interval[1]
    assert car.interval[1] - car.interval[0] < 0.1


def test_means_are_of_images_that_have_the_metric():
    this, other = np.array([1.0, 2, 3, np.nan]), np.array([2.0, 4, np.nan, 5])
    change = compare.compare_means(this, other)
    assert (change.this, change.other, change.difference) == (1.5, 3.0, 1.5)
    np.testing.assert_allclose(change.interval, 1.5 + np.array([-1, 1]) * 12.7062 * 0.5, rtol=1e-4)
    wide = compare.compare_means(this, other, 0.01)
    np.testing.assert_allclose(wide.interval, 1.5 + np.array([-1, 1]) * 63.6567 * 0.5, rtol=1e-4)
    assert compare.compare_means(this * np.nan, other).difference is None


def pair_of_models(rng, num_images, advantage=0.0):
    """Loss, IoU and columns of exchangeable models that both fail in the dark.

    With an advantage, the loss of the other model is that much lower in the dark.
    """
    columns = {
        'brightness': rng.uniform(0, 255, num_images),
        'contrast': rng.normal(50, 10, num_images),
        'num_person': rng.poisson(2, num_images),
    }
    dark = columns['brightness'] < 50
    hard = 0.4 * dark + rng.normal(0, 0.1, num_images)
    loss = {name: 0.5 + hard + rng.normal(0, 0.3, num_images) for name in ('this', 'other')}
    loss['other'] = loss['other'] - advantage * dark
    return loss, {name: 1 - values for name, values in loss.items()}, columns


def test_slices_do_not_favor_a_model():
    """Two exchangeable models differ in no slice, however the slices were chosen."""
    rng, found, wrong, differences = np.random.default_rng(0), 0, 0, []
    for seed in range(150):
        everything, *slices = compare.compare_slices(*pair_of_models(rng, 240), seed)
        assert everything.text == 'all images' and everything.n == 240
        assert all(one.n < 120 for one in slices)  # of the half that did not choose them
        found += len(slices)
        differences += [one.loss.difference for one in slices]
        intervals = [change.interval for one in slices for change in (one.loss, one.iou)]
        wrong += any(low > 0 or high < 0 for low, high in intervals)
    assert found > 60
    assert abs(np.mean(differences)) < 3 * np.std(differences) / np.sqrt(found)
    assert wrong <= 14  # Binomial(150, 0.05) exceeds 14 with probability 1 %.


def test_a_slice_in_which_a_model_is_better_is_found():
    rng = np.random.default_rng(1)
    _, *slices = compare.compare_slices(*pair_of_models(rng, 1200, advantage=0.3))
    dark = max((one for one in slices if 'brightness at most' in one.text), key=lambda one: one.n)
    assert dark.loss.interval[0] < -0.25 < dark.loss.interval[1] < 0


def test_images_without_a_counted_pixel_have_no_loss():
    rng, n = np.random.default_rng(3), 400
    loss, iou, columns = pair_of_models(rng, n, advantage=-0.6)
    table = pyarrow.table({'image_id': np.arange(n), 'file_name': [f'{i}.jpg' for i in range(n)]})
    some = np.flatnonzero(rng.random(n) < 0.2)
    for values in (*loss.values(), *iou.values()):
        values[some] = np.nan
    everything, *_ = compare.compare_slices(loss, iou, columns)
    assert everything.n == n - len(some)
    assert everything.loss.this == pytest.approx(np.nanmean(loss['this']))
    worse = compare.find_worse(loss, iou, columns, table, np.arange(n))
    assert worse['other'].slices and not worse['this'].slices
    assert not {image.row for image in worse['other'].images} & set(some.tolist())


def test_intervals_of_all_slices_hold_together():
    """Student's t at 5 % over the number of slices and metrics, in the half that chose none."""
    loss, iou, columns = pair_of_models(np.random.default_rng(3), 1200)
    columns['contrast'] += 40 * (loss['this'] + loss['other'] > 2)
    _, *slices = compare.compare_slices(loss, iou, columns, seed=5)
    assert len(slices) > 1
    half = np.array_split(np.random.default_rng(5).permutation(1200), 2)[1]
    known = {name: column[half] for name, column in columns.items()}
    for one in slices:
        change = (loss['other'] - loss['this'])[half[membership(known, one.conditions)]]
        assert one.n == len(change)
        expected = stats.t.interval(
            1 - 0.05 / 2 / len(slices), len(change) - 1, change.mean(), stats.sem(change)
        )
        np.testing.assert_allclose(one.loss.interval, expected)
        np.testing.assert_allclose(one.iou.interval, -np.array(expected)[::-1])


def test_both_directions_share_the_level():
    """A slice that the level of a single search would confirm."""
    for seed in range(300):
        rng = np.random.default_rng(seed)
        columns = {'dark': rng.random(160) < 0.3}
        loss = {'this': rng.normal(size=160), 'other': np.zeros(160)}
        loss['other'] = loss['this'] + rng.normal(size=160) + 0.7 * columns['dark']
        excess = loss['other'] - loss['this']
        alone, shared = (find_slices(columns, excess, level=each)[1] for each in (0.05, 0.025))
        if alone and not shared:
            break
    assert alone and not shared
    table = pyarrow.table({'image_id': np.arange(160), 'file_name': ['a.jpg'] * 160})
    iou = {name: 1 - values for name, values in loss.items()}
    worse = compare.find_worse(loss, iou, columns, table, np.arange(160))
    assert worse['other'].slices == ()


def test_where_a_model_is_worse_is_named():
    rng, n = np.random.default_rng(2), 400
    loss, iou, columns = pair_of_models(rng, n, advantage=-0.6)
    iou['other'][7] = np.nan
    rows = np.arange(n) + 3  # the first three images are not in common
    names = [f'{row}.jpg' for row in range(n + 3)]
    table = pyarrow.table({'image_id': np.arange(n + 3) + 1000, 'file_name': names})
    worse = compare.find_worse(loss, iou, columns, table, rows)
    assert worse['this'].slices == ()
    slices = worse['other'].slices
    assert slices and all(len(one.conditions) == 1 for one in slices)
    for ((column, relation, threshold),) in (one.conditions for one in slices):
        assert (column, relation) == ('brightness', '<=') and threshold < 70
    assert max(one.interval[0] for one in slices) > 0.2
    for name, sign in (('this', -1), ('other', 1)):
        excess = sign * (loss['other'] - loss['this'])
        worst = np.argsort(-excess)[:10]
        for i, image in zip(worst, worse[name].images, strict=True):
            assert (image.row, image.image_id) == (i + 3, i + 1003)
            assert image.file_name == f'{i + 3}.jpg'
            assert image.loss == (loss['this'][i], loss['other'][i])
    same = compare.find_worse({**loss, 'other': loss['this']}, iou, columns, table, rows)
    assert all(one.slices == one.images == () for one in same.values())


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Two networks before their first step, on the same drawn scenes."""
    folder = tmp_path_factory.mktemp('runs')
    spaces = 'person_car', 'person_vehicle'
    return tuple(untrained_runs.write(folder, {space: space for space in spaces}))


def test_command(runs, capsys, tmp_path, monkeypatch):
    this, other = runs
    arguments = ['--workdir', str(this), '--other', str(other)]
    label, nothing = np.arange(70, dtype=np.int32) % 2, Density((), 0, None, None)
    artifacts.save(
        open_analysis(this), Clusters(70, (), nothing, (), label, np.zeros((2, 2)), label)
    )
    assert compare.main([*arguments, '--json', str(tmp_path / 'result.json')]) == 0
    printed = capsys.readouterr().out
    assert 'other - this' in printed and '70 common images' in printed
    result = json.loads((tmp_path / 'result.json').read_text())
    assert {row['target'] for row in result['scores']} == {'this', 'other'}
    assert {row['class_name'] for row in result['scores']} == {'person', 'car / vehicle', 'mean'}
    # The clusters of one network would favor the other: they depend on its errors.
    assert not {row['column'] for row in result['metadata']} & {'cluster'}
    assert len(result['layers']) > 20
    assert 2 * result['neighbors']['chance'] < result['neighbors']['overlap'] < 1
    # What is compared is what `samples` says of each.
    analysis = open_analysis(this)
    loss = numbers(artifacts.load(analysis, Samples).table, 'loss').mean()
    assert np.isclose(result['slices'][0]['loss']['this'], loss, rtol=1e-5)
    assert list(analysis.folder.glob('compare-*.png'))
    assert 'Where **other** is worse than this' in printed
    assert str(result['worse']['other']['images'][0]['image_id']) in printed
    with monkeypatch.context() as patch:
        patch.setattr(compare, 'compute', None)
        assert compare.main(arguments) == 0  # read
        assert capsys.readouterr().out == printed
    # It is found by what it was computed from, wherever the other run is now.
    moved = open_analysis(shutil.copytree(other, tmp_path / 'elsewhere/moved'))
    name = compare.artifact_name(open_analysis(other))
    assert compare.artifact_name(moved) != name
    for there in (open_analysis(other), moved):
        assert find_artifact(open_analysis(this), there) == name
    assert find_artifact(open_analysis(other), open_analysis(this)) is None
    stored = artifacts.load(moved, Samples)
    artifacts.save(moved, dataclasses.replace(stored, table=stored.table[:69]), ['predictions'])
    assert find_artifact(open_analysis(this), moved) is None  # another run
    own = artifacts.path_of(open_analysis(this), Comparison, name)
    whole = own.read_text()
    older = own.with_name('compare-aaa-0.json')
    older.write_text(whole.replace(f'"version": {Comparison.VERSION}', '"version": 1', 1))
    assert find_artifact(open_analysis(this), open_analysis(other)) == name
    own.write_text('{')
    assert find_artifact(open_analysis(this), open_analysis(other)) == name  # `load` explains it
    # A moved run whose comparison cannot be read is not left out in silence.
    own.unlink()
    assert find_artifact(open_analysis(this), open_analysis(other)) == older.stem
    # What fits counts, though another run has left a comparison under this name.
    fits = own.with_name('compare-bbb-0.json')
    fits.write_text(whole)
    own.write_text(
        re.sub('("[a-z_]+ of the other run": ")[0-9a-f]{64}', r'\g<1>' + '0' * 64, whole)
    )
    assert find_artifact(open_analysis(this), open_analysis(other)) == fits.stem
    own.write_text(whole)
    older.unlink()
    fits.unlink()
    for run, message in ((this, 'samples has changed'), (other, 'samples of the other run')):
        changed = open_analysis(run)
        stored = artifacts.load(changed, Samples)
        order = ['image_id', 'loss', *(set(stored.table.column_names) - {'image_id', 'loss'})]
        stored = dataclasses.replace(stored, table=stored.table.select(order))
        artifacts.save(changed, stored, ['predictions'])
        if run == other:
            with pytest.raises(ValueError, match='older than the results of .*compare again'):
                find_artifact(open_analysis(this), changed)
        assert compare.main(arguments) == 0
        assert message in capsys.readouterr().err


def test_what_is_shown_of_the_other_run_is_made_first(runs, monkeypatch):
    this, other = runs
    asked = []

    def measure(stage, argv, report):
        asked.append((stage, argv[1], report.parent))
        return registry.Measured(0, 0, 0, {'page': 'page'})

    monkeypatch.setattr(registry, 'measure', measure)
    command = ['--workdir', str(this), '--other', str(other), '--stages', 'samples,report']
    assert analyze.main(command) == 0
    mine, others = this / 'analysis/val-0', other / 'analysis/val-0'
    assert asked == [
        ('samples', str(this), mine),
        *((stage, str(other), others) for stage in analyze.OTHER_STAGES),
        ('compare', str(this), mine),
        ('report', str(this), mine),
    ]


def test_images_that_quantization_broke_are_named(runs, tmp_path, monkeypatch, capsys):
    quantize = pytest.importorskip(
        'segmentation.export.quantize', reason="pip install -e '.[onnx]'"
    )
    # Calibrated on images without light, so that others leave the range.
    dark = [np.full((40, 40, 3), level, np.uint8) for level in range(0, 16, 2)]
    quantize.write(restore_run(runs[0]), tmp_path / 'int8.onnx', dark, logits=True)
    monkeypatch.setattr(analyze, 'OTHER_STAGES', ('samples',))
    command = ['--onnx', str(tmp_path / 'int8.onnx'), '--config', str(runs[0] / 'config.json')]
    command += ['--output', str(tmp_path / 'int8'), '--other', str(runs[0]), '--stages', 'samples']
    assert analyze.main([*command, '--json', str(tmp_path / 'all.json')]) == 0
    result = json.loads((tmp_path / 'all.json').read_text())['compare']['result']

    this, other = (open_analysis(workdir) for workdir in (tmp_path / 'int8', runs[0]))
    loss, before = (
        numbers(artifacts.load(analysis, Samples).table, 'loss') for analysis in (this, other)
    )
    worst = np.argsort(before - loss)
    worst = worst[loss[worst] > before[worst]][:10]
    named = [image['image_id'] for image in result['worse']['this']['images']]
    assert len(named) > 1 and named == this.image_ids[worst].tolist()
    printed = (this.folder / 'compare.md').read_text()
    assert f'| {named[0]} |' in printed.partition('Where **this** is worse')[2]


def test_a_run_is_the_same_as_itself(runs, tmp_path):
    this = open_analysis(runs[0])
    both = {'this': this, 'other': this}
    everything = dict.fromkeys(both, np.arange(len(this)))
    _, features = representations.layer_features(both, everything)
    for row in representations.compare_layers(features):
        assert row.overlap == 1 and (row.cka is None or np.isclose(row.cka, 1))


def test_networks_with_inputs_of_different_size_are_scored_on_the_same_pixels(
    runs, tmp_path, capsys
):
    larger = untrained_runs.resized(runs[0], tmp_path / 'larger', 64)
    command = ['--workdir', str(runs[0]), '--other', str(larger)]
    assert compare.main([*command, '--json', str(tmp_path / 'result.json')]) == 0
    assert "pixels are counted at the images' own resolution" in capsys.readouterr().out.lower()
    result = json.loads((tmp_path / 'result.json').read_text())
    scored = {
        (row['metric'], row['class_name']): (row['this'], row['other']) for row in result['scores']
    }
    counts = [
        artifacts.load(open_analysis(run), Predictions).confusions('original')
        for run in (runs[0], larger)
    ]
    pixels = [count.sum((1, 2)) for count in counts]
    np.testing.assert_array_equal(*pixels)
    assert pixels[0].min() > 64 * 64
    for k, name in enumerate(('person', 'car'), 1):
        iou = [metrics.iou(count.sum(0))[k] for count in counts]
        np.testing.assert_allclose(scored['iou', name], iou)


def test_examples_are_spread_over_the_change():
    nan = np.nan
    iou = {
        'this': np.array([0.5] * 24 + [nan]),
        'other': np.array([*np.linspace(0.9, 0.1, 24), nan]),
    }
    assert compare.spread(iou).tolist() == list(range(22, -1, -2))
    few = {name: values[[3, 1, 24]] for name, values in iou.items()}
    assert compare.spread(few).tolist() == [0, 1]
    assert compare.spread({name: values[24:] for name, values in iou.items()}).tolist() == []


def test_examples_are_drawn_with_both_predictions(runs, tmp_path, monkeypatch):
    larger = untrained_runs.resized(runs[0], tmp_path / 'larger', 64)
    drawn = {}

    def keep(rows, path, captions):
        drawn[path.name] = rows, captions

    monkeypatch.setattr(pictures.contact_sheet, 'draw', keep)
    command = ['--workdir', str(runs[0]), '--other', str(larger)]
    assert compare.main([*command, '--json', str(tmp_path / 'result.json')]) == 0
    examples = json.loads((tmp_path / 'result.json').read_text())['examples']
    assert len({one['image_id'] for one in examples}) == 12
    ((lines, captions),) = drawn.values()
    for (_, shown), text, run, side in zip(
        lines[1:], captions[1:], (runs[0], larger), (0, 1), strict=True
    ):
        analysis = open_analysis(run)
        found = artifacts.load(analysis, Predictions)
        for one, pixels, caption in zip(examples, shown, text, strict=True):
            row = analysis.image_ids.tolist().index(one['image_id'])
            changed = (pixels != analysis.examples[row]['image']).any(-1)
            assert changed.any() <= found.class_map(row).astype(bool).any()
            assert not (changed & (found.class_map(row) == 0)).any()
            assert caption == f'IoU {one["iou"][side]:.2f}'


def test_restriction_keeps_images_with_their_labels(runs):
    this = open_analysis(runs[0])
    some = restrict(this, np.array([5, 2]))
    assert some.examples.image_ids.tolist() == this.examples.image_ids[[5, 2]].tolist()
    np.testing.assert_array_equal(some.examples[0]['label'], this.examples[5]['label'])
    assert some.examples[0]['label'].max() < masks.IGNORE


def test_label_spaces_are_compared_by_their_meaning(runs, tmp_path):
    written = shutil.copytree(runs[0], tmp_path / 'written')
    config = json.loads((written / 'config.json').read_text())
    config['data']['label_space'] = 'person: person; car: car'
    (written / 'config.json').write_text(json.dumps(config))
    both = open_analysis(runs[0]), open_analysis(written)
    assert all(images.same_labels(*both).values())
    config['data']['label_space'] = 'person: car; car: person'
    (written / 'config.json').write_text(json.dumps(config))
    same = images.same_labels(both[0], open_analysis(written))
    assert [name for name, equal in same.items() if not equal] == ['label_space']


def test_what_cannot_be_compared(runs, tmp_path, capsys):
    other = shutil.copytree(runs[1], tmp_path / 'other')
    described = json.loads((other / 'run.json').read_text())
    described['data']['fingerprint'] = {'id': 'another'}
    (other / 'run.json').write_text(json.dumps(described))
    assert compare.main(['--workdir', str(runs[0]), '--other', str(other)]) == 1
    assert 'is not the data set' in capsys.readouterr().err
    larger = untrained_runs.resized(runs[1], tmp_path / 'larger', 64)
    assert compare.main(['--workdir', str(runs[0]), '--other', str(larger)]) == 1
    assert 'labels are made (data.label_space)' in capsys.readouterr().err
    few = ['--workdir', str(runs[0]), '--other', str(runs[1]), '--split', 'train', '--force']
    assert compare.main(few) == 1
    assert 'images in common' in capsys.readouterr().err
