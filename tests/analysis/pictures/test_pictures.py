"""Pictures show what the network sees and where it errs, are resumed, and are of what matters."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from analysis.clusters.schema import Clusters
from analysis.figures import palette
from analysis.figures.images import color_classes
from analysis.label_issues.schema import KINDS, LabelIssues
from analysis.pictures import schema
from analysis.pictures import stage as pictures
from analysis.pictures.schema import Pictures
from analysis.samples import stage as samples
from analysis.samples.schema import Samples
from analysis.slices.schema import Slices
from analysis.stage import artifacts
from analysis.stage.run import open_analysis
from scripts import analyze
from segmentation import evaluate
from tests.report_fixture import made_run


@pytest.fixture(scope='module')
def analysis(tiny_run, tmp_path_factory):
    workdir = shutil.copytree(tiny_run, tmp_path_factory.mktemp('pictures') / 'run')
    analysis = open_analysis(workdir, 'train')
    samples.STAGE.get(analysis)
    return analysis


@pytest.fixture
def written(analysis, monkeypatch):
    """Pictures with four images on a sheet."""
    monkeypatch.setattr(schema, 'PER_SHEET', 4)
    shutil.rmtree(analysis.folder / 'pictures', ignore_errors=True)
    return pictures.STAGE.get(analysis, force=True, details=5)


def _read(analysis, path):
    return np.asarray(Image.open(analysis.folder / 'pictures' / path))


def _thumbnail(analysis, row, kind):
    column = row % 4 * schema.THUMB
    sheet = _read(analysis, schema.sheet_path(row // 4, kind))
    return sheet[: schema.THUMB, column : column + schema.THUMB]


def test_thumbnails_are_of_their_images(analysis, written):
    assert written.num_sheets == 2 and written.per_sheet == 4
    predict = evaluate.make_predict(analysis.run.model, analysis.run.config.data.input_range)
    variables = evaluate.replicate(analysis.run.variables)
    images = np.stack([analysis.examples[i % 7]['image'] for i in range(8)])
    predicted = np.asarray(predict(variables, images)).argmax(-1)
    for row in range(7):
        example = analysis.examples[row]
        step = schema.THUMB // 32
        assert not (_thumbnail(analysis, row, 'truth')[1::step, 1::step, 3] > 0)[
            example['label'] == 0
        ].any()
        for kind, classes in (('truth', example['label']), ('prediction', predicted[row])):
            middle = _thumbnail(analysis, row, kind)[1::step, 1::step]
            np.testing.assert_array_equal(middle, color_classes(classes))
        small = _thumbnail(analysis, row, 'image').reshape(32, 3, 32, 3, 3).mean((1, 3))
        others = [analysis.examples[other]['image'] for other in range(7)]
        off = [np.abs(small - other).mean() for other in others]
        assert np.argmin(off) == row


def test_errors_are_those_that_the_accuracy_counts(analysis, written):
    table = artifacts.load(analysis, Samples).table
    assert len(written.details) == 5
    for row in written.details:
        paths = schema.detail_paths(row, analysis.class_names)
        label = analysis.examples[row]['label']
        valid = label != 255
        error, truth = (_read(analysis, paths[kind]) for kind in ('error', 'truth'))
        wrong = error[..., 3] > 0
        assert not wrong[~valid].any()
        assert np.isclose(1 - wrong[valid].mean(), table['pixel_accuracy'][row].as_py())
        colors = {
            kind: (error[..., :3] == palette.rgb(color)).all(-1) & wrong
            for kind, color in written.error_colors.items()
        }
        np.testing.assert_array_equal(sum(colors.values()), wrong)
        predicted = _read(analysis, paths['prediction'])[..., 3] > 0
        np.testing.assert_array_equal(colors['missed'], wrong & ~predicted)
        np.testing.assert_array_equal(colors['invented'], wrong & (label == 0))
        np.testing.assert_array_equal(truth[~valid], 255)  # white
        # A pixel that is right has more than a third of the probability.
        loss = _read(analysis, paths['loss'])[..., 3] / 255
        high = np.log(3) / pictures.HIGHEST_LOSS
        assert (loss[valid & ~wrong] <= high**0.7 + 0.1).all()
        image = Image.open(analysis.folder / 'pictures' / paths['image'])
        record = analysis.examples.record(row)
        assert image.size == (int(record['width']), int(record['height']))
        assert {'class person', 'class car'} < set(paths)


def test_the_worst_comes_first(analysis, written):
    loss = artifacts.load(analysis, Samples).table['loss'].to_numpy()
    assert written.details[0] == loss.argmax()


def test_it_continues_where_it_stopped(analysis, written):
    folder = analysis.folder / 'pictures'
    before = {path: path.read_bytes() for path in folder.rglob('*.webp')}
    times = {path: path.stat().st_mtime_ns for path in before}
    detail = schema.detail_paths(written.details[0], analysis.class_names)['image']
    gone = {folder / schema.sheet_path(1, 'error'), folder / detail}
    for path in (*gone, artifacts.path_of(analysis, Pictures)):  # written last
        path.unlink()
    assert pictures.STAGE.get(analysis, details=5) == written
    assert {path: path.read_bytes() for path in folder.rglob('*.webp')} == before
    kept = folder / schema.sheet_path(0, 'image')
    assert kept.stat().st_mtime_ns == times[kept]
    assert all(path.stat().st_mtime_ns > times[path] for path in gone)


def test_pictures_of_other_predictions_are_not_kept(analysis, written, monkeypatch):
    folder = analysis.folder / 'pictures'
    stray = folder / 'details' / '999-image.webp'
    stray.touch()
    pictures.STAGE.get(analysis, details=4)
    assert stray.exists()
    monkeypatch.setattr(Pictures, 'VERSION', Pictures.VERSION + 1)
    pictures.STAGE.get(analysis, details=5)
    assert not stray.exists()


def test_command(analysis, tmp_path, capsys):
    command = ['--workdir', str(analysis.workdir), '--split', 'train']
    report = tmp_path / 'pictures.json'
    assert pictures.main([*command, '--details', '2', '--force', '--json', str(report)]) == 0
    summary = json.loads(report.read_text())
    assert len(summary['details']) == 2 and 0 < summary['bytes_per_thumbnail'] < 4096
    with pytest.raises(SystemExit):
        pictures.main([*command, '--details', '-1'])
    assert 'negative' in capsys.readouterr().err


def test_what_other_analyses_found_is_of_interest(tmp_path):
    analysis = made_run.write_run(
        tmp_path / 'run', 200, only=('clusters', 'label_issues', 'slices')
    )
    chosen = pictures.interesting(analysis, 60)
    assert len(chosen) == len(set(chosen)) == 60
    loss = artifacts.load(analysis, Samples).table['loss'].to_numpy()
    assert chosen[0] == loss.argmax()
    clusters = artifacts.load(analysis, Clusters).clusters
    assert {cluster.exemplars[0] for cluster in clusters} <= set(chosen)
    regions = artifacts.load(analysis, LabelIssues).regions.to_pylist()
    for kind in KINDS:
        most = max(
            (row for row in regions if row['kind'] == kind), key=lambda row: row['probability']
        )
        assert most['row'] in chosen
    for part in artifacts.load(analysis, Slices).metrics.values():
        assert {row.worst[0] for row in part.slices} <= set(chosen)
    assert pictures.interesting(analysis, 0) == []


def test_the_whole_analysis_ends_with_a_report(analysis, capsys):
    workdir = analysis.workdir
    shutil.rmtree(analysis.folder / 'pictures')
    (analysis.folder / 'pictures.json').unlink()
    command = ['--workdir', str(workdir), '--split', 'train', '--stages', 'report,samples,pictures']
    assert analyze.main(command) == 0
    assert f'{workdir}/report/index.html in a browser' in capsys.readouterr().out
    sheets = list((workdir / 'report/data/train-0/sheets').iterdir())
    assert len(sheets) == 4 * -(-7 // schema.PER_SHEET)
    assert (analysis.folder / 'report.md').read_text().startswith('| view |')
