"""Pictures show what the network sees and where it errs, are resumed, and are of what matters."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from analysis.clusters import stage as clusters
from analysis.label_issues import stage as label_issues
from analysis.pictures import stage as pictures
from analysis.samples import stage as samples
from analysis.slices import stage as slices
from analysis.stage import old_artifacts as artifacts
from scripts import analyze
from segmentation import evaluate
from tests import report_fixture


@pytest.fixture(scope='module')
def analysis(tiny_run, tmp_path_factory):
    workdir = shutil.copytree(tiny_run, tmp_path_factory.mktemp('pictures') / 'run')
    analysis = artifacts.open_analysis(workdir, 'train')
    table = samples.compute(analysis, progress=False)
    artifacts.save_table(analysis, 'samples', samples.VERSION, table)
    return analysis


@pytest.fixture
def written(analysis, monkeypatch):
    """Pictures with four images on a sheet."""
    monkeypatch.setattr(pictures, 'PER_SHEET', 4)
    return pictures.compute_or_load(analysis, 5, force=True)


def _read(analysis, path):
    return np.asarray(Image.open(analysis.folder / 'pictures' / path))


def _thumbnail(analysis, row, kind):
    column = row % 4 * pictures.THUMB
    sheet = _read(analysis, pictures.sheet_path(row // 4, kind))
    return sheet[: pictures.THUMB, column : column + pictures.THUMB]


def test_thumbnails_are_of_their_images(analysis, written):
    assert len(written['sheets']) == 2 and written['per_sheet'] == 4
    predict = evaluate.make_predict(analysis.run.model, analysis.run.config.data.input_range)
    variables = evaluate.replicate(analysis.run.variables)
    images = np.stack([analysis.examples[i % 7]['image'] for i in range(8)])
    predicted = np.asarray(predict(variables, images)).argmax(-1)
    for row in range(7):
        example = analysis.examples[row]
        step = pictures.THUMB // 32
        assert not (_thumbnail(analysis, row, 'truth')[1::step, 1::step, 3] > 0)[
            example['label'] == 0
        ].any()
        for kind, classes in (('truth', example['label']), ('prediction', predicted[row])):
            middle = _thumbnail(analysis, row, kind)[1::step, 1::step]
            np.testing.assert_array_equal(middle, pictures.color_classes(classes))
        small = _thumbnail(analysis, row, 'image').reshape(32, 3, 32, 3, 3).mean((1, 3))
        others = [analysis.examples[other]['image'] for other in range(7)]
        off = [np.abs(small - other).mean() for other in others]
        assert np.argmin(off) == row


def test_errors_are_those_that_the_accuracy_counts(analysis, written):
    table = samples.load(analysis)
    assert len(written['details']) == 5
    for text, paths in written['details'].items():
        row = int(text)
        label = analysis.examples[row]['label']
        valid = label != 255
        error, truth = (_read(analysis, paths[kind]) for kind in ('error', 'truth'))
        wrong = error[..., 3] > 0
        assert not wrong[~valid].any()
        assert np.isclose(1 - wrong[valid].mean(), table['pixel_accuracy'][row].as_py())
        colors = {
            kind: (error[..., :3] == [int(color[i : i + 2], 16) for i in (1, 3, 5)]).all(-1) & wrong
            for kind, color in written['error_colors'].items()
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
        assert list(paths['classes']) == ['person', 'car']


def test_the_worst_comes_first(analysis, written):
    loss = samples.load(analysis)['loss'].to_numpy()
    assert next(iter(written['details'])) == str(loss.argmax())


def test_it_continues_where_it_stopped(analysis, written):
    folder = analysis.folder / 'pictures'
    before = {path: path.read_bytes() for path in folder.rglob('*.webp')}
    times = {path: path.stat().st_mtime_ns for path in before}
    row = next(iter(written['details']))
    gone = {folder / written['sheets'][1]['error'], folder / written['details'][row]['image']}
    for path in gone:
        path.unlink()
    assert pictures.compute_or_load(analysis, 5) == written
    assert {path: path.read_bytes() for path in folder.rglob('*.webp')} == before
    kept = folder / written['sheets'][0]['image']
    assert kept.stat().st_mtime_ns == times[kept]
    assert all(path.stat().st_mtime_ns > times[path] for path in gone)


def test_command(analysis, tmp_path, capsys):
    command = ['--workdir', str(analysis.run.workdir), '--split', 'train']
    report = tmp_path / 'pictures.json'
    assert pictures.main([*command, '--details', '2', '--force', '--json', str(report)]) == 0
    summary = json.loads(report.read_text())
    assert summary['details'] == 2 and 0 < summary['bytes_per_thumbnail'] < 4096
    assert pictures.main([*command, '--details', '-1']) == 1
    assert 'negative' in capsys.readouterr().err
    file = analysis.folder / 'pictures.json'
    text = file.read_text()
    file.write_text(text.replace('"version": 1', '"version": 0', 1))
    assert pictures.main([*command, '--details', '2']) == 0
    assert 'computed anew: version 0 instead of 1' in capsys.readouterr().err
    assert file.read_text() == text


def test_what_other_analyses_found_is_of_interest(tmp_path):
    analysis = report_fixture.write_run(
        tmp_path / 'run', 200, only=('clusters', 'label_issues', 'slices')
    )
    chosen = pictures.interesting(analysis, 60)
    assert len(chosen) == len(set(chosen)) == 60
    loss = samples.load(analysis)['loss'].to_numpy()
    assert chosen[0] == loss.argmax()
    assert set(clusters.load(analysis)['exemplars'][:, 0]) <= set(chosen)
    ids, regions = analysis.examples.image_ids, label_issues.load(analysis)[0].to_pylist()
    for kind in label_issues.KINDS:
        most = max((row for row in regions if row['kind'] == kind), key=lambda row: row['score'])
        assert most['image_id'] in ids[chosen]
    for part in slices.load(analysis)['metrics'].values():
        assert {row['worst'][0] for row in part['slices']} <= set(ids[chosen].tolist())
    assert pictures.interesting(analysis, 0) == []


def test_the_whole_analysis_ends_with_a_report(analysis, capsys):
    workdir = analysis.run.workdir
    shutil.rmtree(analysis.folder / 'pictures')
    (analysis.folder / 'pictures.json').unlink()
    command = ['--workdir', str(workdir), '--split', 'train', '--stages', 'report,samples,pictures']
    assert analyze.main(command) == 0
    assert f'{workdir}/report/index.html in a browser' in capsys.readouterr().out
    sheets = list((workdir / 'report/data/train-0/sheets').iterdir())
    assert len(sheets) == 4 * -(-7 // pictures.PER_SHEET)
    assert (analysis.folder / 'report.md').read_text().startswith('| view |')
