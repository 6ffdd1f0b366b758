import dataclasses
import json
import shutil

import matplotlib.figure
import numpy as np
import pyarrow
import pytest
from pycocotools import mask as mask_utils

from analysis.label_issues import exclusion
from analysis.label_issues import stage as label_issues
from analysis.label_issues.schema import ERRORS, KINDS, LabelIssues
from analysis.stage import artifacts
from analysis.stage.run import check_pool, open_analysis
from segmentation.data import selection
from segmentation.data.examples import open_data, select_examples


@pytest.fixture(scope='module')
def workdir(tiny_run, tmp_path_factory):
    return shutil.copytree(tiny_run, tmp_path_factory.mktemp('label_issues') / 'run')


@pytest.fixture(scope='module')
def summary(workdir, tmp_path_factory):
    """What the command says of the training images."""
    path = tmp_path_factory.mktemp('json') / 'summary.json'
    arguments = ['--workdir', str(workdir), '--split', 'train', '--share', '0.5']
    assert label_issues.main([*arguments, '--json', str(path)]) == 0
    return json.loads(path.read_text())


@pytest.fixture(scope='module')
def analysis(workdir):
    return open_analysis(workdir, 'train')


def test_instances_make_up_the_label(analysis):
    examples = analysis.examples
    for index in range(len(examples)):
        label, record = examples[index]['label'], examples.record(index)
        instances = label_issues.instances_of(record, {1: 1, 3: 2}, label)
        assert [i.annotation_id for i in instances] == record['instances']['id'].tolist()
        drawn = np.zeros_like(label)
        for instance in instances:
            assert (label[instance.mask] == instance.label).all()
            drawn[instance.mask] = instance.label
        np.testing.assert_array_equal(drawn, label)


def test_a_picture_and_its_mirror_image_look_alike(analysis):
    look = label_issues.make_look(analysis.run)
    images = np.stack([analysis.examples[index]['image'] for index in range(4)])
    straight = look(analysis.run.variables, images)
    mirrored = look(analysis.run.variables, images[:, :, ::-1])
    assert len(straight) == 1 + len(label_issues.LAYERS)
    for one, other in zip(straight, mirrored, strict=True):
        np.testing.assert_allclose(one, other[:, :, ::-1], atol=1e-4)
    assert np.ptp(straight[0] - mirrored[0]) > 1e-3


def test_files(analysis, summary):
    found = artifacts.load(analysis, LabelIssues)
    assert summary['num_images'] == found.num_images == len(analysis)
    scores, probable = (found.regions[name].to_numpy() for name in ('score', 'probability'))
    assert 0 <= scores.min() and scores.max() <= 1
    assert (np.diff(probable) <= 0).all() and 0 <= probable.min() and probable.max() <= 1
    listed = sum(row['issues'] for row in summary['regions'].values())
    assert listed == found.firsts().sum() <= len(scores)
    likely = probable[found.firsts() & (probable >= 0.5)]
    expected = sum(row['expected_errors'] for row in summary['regions'].values())
    assert np.isclose(expected, likely.sum())
    best, likeliest = {}, {}
    for row in found.regions.to_pylist():
        assert row['file_name'] == analysis.examples.record(row['row'])['file_name']
        mask = mask_utils.decode({'size': [32, 32], 'counts': row['rle']})
        assert np.isclose(row['area'], 100 * mask.mean())
        rows, cols = np.nonzero(mask)
        box = [cols.min() / 32, rows.min() / 32, (cols.max() + 1) / 32, (rows.max() + 1) / 32]
        assert np.allclose([row[side] for side in ('left', 'top', 'right', 'bottom')], box)
        key = row['row'], row['kind']
        best[key] = max(best.get(key, 0), row['score'])
        likeliest.setdefault(key, row['probability'])
    assert {kind for _, kind in best} <= set(KINDS)
    worst = found.worst_errors()
    for row in range(len(analysis)):
        assert [found.scores(kind)[row] for kind in KINDS] == [best.get((row, k), 0) for k in KINDS]
        chance, kind = worst.get(row, (0, None))
        assert chance == max(likeliest.get((row, kind), 0) for kind in ERRORS)
        assert kind is None or chance == likeliest[row, kind]
    assert (analysis.folder / 'label_issues.png').stat().st_size > 1000


def test_killed_in_drawing(workdir, summary, tmp_path, monkeypatch):
    def begin_to_write(figure, path, **_):
        path.write_bytes(b'PNG')
        raise KeyboardInterrupt

    copy = open_analysis(shutil.copytree(workdir, tmp_path / 'copy'), 'train')
    (copy.folder / 'label_issues.png').unlink()
    monkeypatch.setattr(matplotlib.figure.Figure, 'savefig', begin_to_write)
    with pytest.raises(KeyboardInterrupt):
        label_issues.STAGE.draw(copy, artifacts.load(copy, LabelIssues))
    assert not (copy.folder / 'label_issues.png').exists()


def test_written_results_are_read(analysis, summary, monkeypatch):
    stage = dataclasses.replace(label_issues.STAGE, compute=lambda analysis: 1 / 0)
    assert stage.get(analysis).num_images == summary['num_images']


def test_a_table_of_another_result_is_not_read(workdir, summary, tmp_path):
    """As a command leaves it that is killed between its files."""
    copy = open_analysis(shutil.copytree(workdir, tmp_path / 'copy'), 'train')
    path = copy.folder / 'label_issues.parquet'
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path)[1:], path)
    with pytest.raises(ValueError, match='checksum of .*label_issues.parquet'):
        artifacts.load(copy, LabelIssues)


def test_results_of_other_images_are_refused(analysis, summary, workdir):
    other = open_analysis(workdir, 'val')
    for path in analysis.folder.glob('*.*'):
        if path.suffix in ('.json', '.npz', '.parquet'):
            shutil.copy(path, other.folder / path.name)
    with pytest.raises(ValueError, match='of other images'):
        artifacts.load(other, LabelIssues)


def row(row, kind, score, **other):
    return {
        'row': row, 'file_name': f'{row}.jpg', 'kind': kind, 'score': score,
        'probability': score / 2,
        'given': 'background', 'suggested': 'person', 'area': 3.0, 'annotation_id': None, **other,
    }  # fmt: skip


def test_worst_images():
    table = pyarrow.Table.from_pylist(
        [
            row(4, 'ambiguous', 0.99),
            row(1, 'missing instance', 0.9),
            row(1, 'missing instance', 0.8),
            row(2, 'wrong class', 0.7, annotation_id=5, given='car'),
            row(3, 'spurious label', 0.6),
        ]
    )
    found, ids = LabelIssues(10, '', np.full(10, np.nan), table), 100 + np.arange(10)
    chosen = exclusion.worst(ids, found, 0.2, ERRORS)
    assert [(r.image_id, r.file_name, r.kind, r.score) for r in chosen] == [
        (101, '1.jpg', 'missing instance', 0.9), (102, '2.jpg', 'wrong class', 0.7),
    ]  # fmt: skip
    assert chosen[0].reason == 'person seen in 3.0 % of the image where background is labeled'
    assert 'annotation 5 (3.0 % of the image) is labeled car' in chosen[1].reason
    assert exclusion.worst(ids, found, 0, ERRORS) == []
    assert [r.image_id for r in exclusion.worst(ids, found, 1, ['ambiguous'])] == [104]


def test_exclude_file_is_accepted_by_its_data_only(analysis, summary):
    path = analysis.folder / 'exclude.json'
    config = analysis.run.config.data.copy_and_resolve_references()
    prepared = open_data(config)
    ids = selection.read_exclude(path, prepared.fingerprint['id'])
    assert ids == {r['image_id'] for r in summary['excluded']} and ids
    with config.unlocked():
        config.exclude = str(path)
    _, report = select_examples(prepared, config, 'train')
    assert report['excluded'] == len(ids)
    with pytest.raises(ValueError, match='made for another data set'):
        selection.read_exclude(path, 'another')


def test_only_folds_are_pooled(workdir, capsys):
    arguments = ['--workdir', str(workdir), '--pool', str(workdir), '--split', 'train']
    assert label_issues.main(arguments) == 1
    assert 'share images' in capsys.readouterr().err


def test_folds_of_another_experiment_are_refused(analysis):
    config = analysis.run.config.copy_and_resolve_references()
    with config.unlocked():
        config.data.label_space = 'person_vehicle'
    other = dataclasses.replace(analysis, config=config)
    with pytest.raises(ValueError, match='data.label_space'):
        check_pool([analysis, other])


def test_folds_are_pooled(workdir, tmp_path, monkeypatch):
    """Two folds of one experiment: all images, each by the run that did not see it."""
    stage = dataclasses.replace(label_issues.STAGE, figure=None)  # it takes long
    monkeypatch.setattr(label_issues, 'STAGE', stage)
    runs = []
    for fold in (0, 1):
        folder = shutil.copytree(
            workdir, tmp_path / str(fold), ignore=shutil.ignore_patterns('analysis')
        )
        config = json.loads((folder / 'config.json').read_text())
        config['data'] |= {'folds': 2, 'fold': fold}
        (folder / 'config.json').write_text(json.dumps(config))
        runs.append(str(folder))
    path = tmp_path / 'summary.json'
    arguments = ['--workdir', runs[0], '--pool', runs[1], '--share', '0.5', '--json', str(path)]
    assert label_issues.main(arguments) == 0
    assert json.loads(path.read_text())['num_images'] == 12
    (exclude,) = (tmp_path / '0').glob('analysis/val-*/exclude-pooled.json')
    assert [run['workdir'] for run in json.loads(exclude.read_text())['runs']] == runs


def test_cleanlab_is_used_if_it_is_installed(analysis, summary):
    found = artifacts.load(analysis, LabelIssues)
    try:
        from cleanlab.segmentation.rank import get_label_quality_scores
    except ImportError:
        assert found.cleanlab.startswith('not used: ')
        assert np.isnan(found.label_quality).all() and len(found.label_quality) == len(analysis)
    else:
        quality = found.label_quality
        assert get_label_quality_scores and ((0 <= quality) & (quality <= 1)).all()


def test_no_run_is_an_error(tmp_path, capsys):
    assert label_issues.main(['--workdir', str(tmp_path)]) == 1
    assert 'no run directory' in capsys.readouterr().err
