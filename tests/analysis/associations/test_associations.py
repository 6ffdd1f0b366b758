"""Associations: planted ones, bins, desaturated copies, and the command."""

import json
import shutil

import msgspec
import numpy as np
import pyarrow
import pytest
from ml_collections import ConfigDict
from PIL import Image
from scipy import stats

from analysis.associations import stage as associations
from analysis.associations.copies import compare_copies, desaturated_metrics
from analysis.associations.correlation import associate, bin_numbers, compare_bins, confounder
from analysis.associations.schema import Associations
from analysis.predictions.schema import Predictions
from analysis.predictions.stage import describe_batch
from analysis.samples import schema as samples
from analysis.samples.schema import Samples
from analysis.samples.stage import STAGE, image_metrics
from analysis.stage import artifacts
from analysis.stage.run import open_analysis
from analysis.stage.view import View
from segmentation import evaluate

CLASSES = ('background', 'person', 'car')


@pytest.fixture(scope='module')
def workdir(tiny_run, tmp_path_factory):
    return shutil.copytree(tiny_run, tmp_path_factory.mktemp('associations') / 'run')


@pytest.fixture(scope='module')
def analysis(workdir):
    return open_analysis(workdir)


def planted(n=300):
    """Dark images are hard for persons; loss follows size only; nothing follows the width."""
    rng = np.random.default_rng(0)
    percent = 60 * rng.random(n)
    columns = {
        'width': rng.integers(200, 640, n).astype(float),
        'percent_background': 100 - percent,
        'percent_person': percent * (rng.random(n) < 0.8),
        'brightness': 255 * rng.random(n),
        'is_grayscale': (rng.random(n) < 0.1) * 1.0,
        'is_colored': np.ones(n),
        'num_person': np.round(percent / 10),
    }
    performance = {
        'loss': percent / 100 + 0.1 * rng.random(n),
        'iou_person': np.where(
            columns['percent_person'] > 0, columns['brightness'] / 500 + rng.random(n) / 4, np.nan
        ),
    }
    return columns, performance


def test_planted_associations():
    columns, performance = planted()
    rows, not_tested = associate(columns, performance)
    assert not_tested == ('is_colored',)
    by_name = {(row.column, row.metric): row for row in rows}
    assert len(by_name) == len(rows) == 12
    dark = by_name['brightness', 'iou_person']
    assert dark.partial_q < 1e-20 and dark.confounder == 'percent_person'
    assert dark.interval[0] < dark.rho < dark.interval[1] and dark.effect > 1
    assert [part.n for part in dark.bins] == pytest.approx([dark.n / 5] * 5, abs=1)
    size = by_name['percent_background', 'loss']
    assert size.rho < -0.9 and size.partial_rho is size.partial_q is None
    many = by_name['num_person', 'loss']
    assert many.q < 1e-20 and many.partial_q > 0.05
    assert by_name['width', 'loss'].q > 0.05
    # In the order in which they are to be read.
    losses = [row.p for row in rows if row.metric == 'loss']
    assert rows[0].metric == 'loss' and losses == sorted(losses)


def test_confounders_are_columns_of_the_table():
    names = samples.table_schema(CLASSES, ()).names
    for metric in ('loss', 'iou_person', 'iou_background', 'mean_iou_foreground'):
        assert confounder(metric) in names
    assert confounder('iou_car') == 'percent_car'
    assert confounder('entropy') == 'percent_background'


@pytest.mark.parametrize(
    ('values', 'sizes'),
    [
        (np.arange(100.0), [20] * 5),
        (np.repeat([0.0, 1.0], [97, 3]), [97, 3]),  # few values: each its own, however rare
        (np.repeat([0.0, 1, 2, 3, 4], 2), [2] * 5),
        (np.append(np.zeros(50), np.arange(1.0, 51)), [50, 10, 20, 20]),  # ties stay together
        (np.ones(7), [7]),
    ],
)
def test_bins(values, sizes):
    order = np.random.default_rng(0).permutation(len(values))
    numbers = bin_numbers(values[order])
    assert np.bincount(numbers).tolist() == sizes
    assert (np.diff(numbers[np.argsort(values[order], kind='stable')]) >= 0).all()


def test_means_and_intervals_of_bins():
    rng = np.random.default_rng(0)
    values, metric = rng.random(200), rng.random(200)
    values[:20], metric[30:40] = np.nan, np.nan
    difference, interval, _, bins = compare_bins(values, metric)
    known = ~np.isnan(values + metric)
    for part in bins:
        inside = metric[known & (values >= part.low) & (values <= part.high)]
        assert len(inside) == part.n == 34
        assert part.mean == pytest.approx(inside.mean())
        expected = stats.t.interval(0.95, 33, inside.mean(), stats.sem(inside))
        assert part.interval == pytest.approx(list(expected))
    assert difference == bins[-1].mean - bins[0].mean
    order = np.argsort(np.where(known, values, np.inf))
    first, last = metric[order[:34]], metric[order[136:170]]
    welch = stats.ttest_ind(last, first, equal_var=False).confidence_interval(0.95)
    assert interval == pytest.approx([welch.low, welch.high])
    difference, interval, _, bins = compare_bins(np.array([0.0, 0, 1]), np.array([1.0, 2, 3]))
    assert bins[1].interval is interval is None
    assert difference == 1.5


def test_copies_are_compared_in_pairs():
    """A loss that grows a little in every image, below the spread between images."""
    rng = np.random.default_rng(0)
    loss = 3 * rng.random(60)
    color = {'loss': loss, 'iou_person': rng.random(60), 'iou_car': np.full(60, np.nan)}
    gray = {
        'loss': loss + 0.05 + 0.05 * rng.normal(size=60),
        'iou_person': color['iou_person'],
        'iou_car': np.zeros(60),
    }
    holds = {'loss': np.ones(60, bool), 'iou_person': np.arange(60) < 50, 'iou_car': loss > 0}
    worse, same = compare_copies(color, gray, holds)  # without cars no pairs
    assert worse.metric == 'loss' and worse.n == 60 and worse.worse > 0.7
    assert worse.q < 1e-4 and worse.interval[0] < worse.difference < worse.interval[1]
    assert worse.interval[0] > 0.03 and worse.interval[1] < 0.07
    assert (same.n, same.difference, same.p, same.worse) == (50, 0, 1, 0)


def test_desaturated_copies(analysis):
    """Against Pillow's own conversion of the network's input, one image at a time."""
    run, examples = analysis.run, analysis.examples
    table = STAGE.get(analysis).table
    found = desaturated_metrics(analysis, samples.columns(table, 'metric'))
    predict = evaluate.make_predict(run.model, run.config.data.input_range)
    for index in range(len(examples)):
        example = examples[index]
        gray = Image.fromarray(example['image']).convert('L').convert('RGB')
        logits = predict(run.variables, np.repeat(np.asarray(gray)[None], 8, 0))[:1]
        rows = pyarrow.Table.from_pylist(describe_batch(logits, example['label'][None], 3))
        (row,) = image_metrics(Predictions(len(example['label']), 3, rows), CLASSES)
        for name, values in found.items():
            value = np.nan if row.get(name) is None else row[name]
            np.testing.assert_allclose(values[index], value, atol=2e-3, err_msg=name)
    assert not np.allclose(found['loss'], samples.numbers(table, 'loss'), atol=1e-6)


def test_command(workdir, analysis, tmp_path, capsys):
    arguments = ['--workdir', str(workdir), '--json', str(tmp_path / 'found.json')]
    assert associations.main(arguments) == 0
    assert '| loss | 6 |' in capsys.readouterr().out  # six images are compared, and too few to test
    found = json.loads((tmp_path / 'found.json').read_text())
    assert artifacts.load(analysis, Associations) == msgspec.convert(found, Associations)
    assert found['associations'] == [] and len(found['grayscale_copies']) > 3
    path = analysis.folder / 'associations.json'
    before = path.stat().st_mtime_ns
    (analysis.folder / 'associations.png').unlink()
    assert associations.main(arguments) == 0
    assert path.stat().st_mtime_ns == before
    assert Image.open(analysis.folder / 'associations.png').width > 100
    old = path.read_text().replace('"version": 3', '"version": 1')
    path.write_text(old)
    with pytest.raises(ValueError, match='version 1 instead of 3'):
        artifacts.load(analysis, Associations)
    assert associations.main(arguments) == 0
    assert 'is recomputed: version 1 instead of 3' in capsys.readouterr().err
    assert path.read_text() != old


def test_what_is_shown(tmp_path):
    columns, performance = planted()
    columns['count_<b>$x|$'] = columns['brightness'] ** 2
    performance['mean_iou_foreground'] = performance['iou_person']
    rows, not_tested = associate(columns, performance)
    result = Associations(300, 30, 9, rows, not_tested, ())
    text = associations.table(result)
    assert '&lt;b&gt;$x\\|$' in text and '<b>' not in text
    assert '| loss | is\\_grayscale |' in text  # though it is not significant
    fields = [
        pyarrow.field(name, pyarrow.float64(), metadata={'role': 'metadata'}) for name in columns
    ]
    table = pyarrow.table(list(columns.values()), schema=pyarrow.schema(fields))
    view = View(tmp_path, ConfigDict(), CLASSES, {'fingerprint': ''}, 'val', 1, np.arange(300))
    view.folder.mkdir(parents=True)
    artifacts.save(view, Samples(300, {}, {}, table))
    (path,) = associations.draw(view, result)
    assert Image.open(path).height > 100
