import dataclasses
import json
import shutil

import numpy as np
import pyarrow
import pytest

from analysis.label_issues import regions as label_regions
from analysis.label_issues import stage as label_issues
from analysis.stage import old_artifacts as artifacts
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
    return artifacts.open_analysis(workdir, 'train')


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
    look = label_issues._make_look(analysis.run)
    images = np.stack([analysis.examples[index]['image'] for index in range(2)])
    straight = look(analysis.run.variables, images)
    mirrored = look(analysis.run.variables, images[:, :, ::-1])
    assert len(straight) == 1 + len(label_issues.RESPONSES)
    for one, other in zip(straight, mirrored, strict=True):
        np.testing.assert_allclose(one, other[:, :, ::-1], atol=1e-4)
    assert np.ptp(straight[0] - mirrored[0]) > 1e-3


def test_files(analysis, summary):
    table, result = label_issues.load(analysis)
    assert [row['image_id'] for row in result['images']] == analysis.examples.image_ids.tolist()
    assert summary['num_images'] == len(analysis.examples)
    scores = table['score'].to_numpy()
    assert (np.diff(scores) <= 0).all() and 0 <= scores.min() and scores.max() <= 1
    best = {}
    for row in table.to_pylist():
        assert row['kind'] in label_regions.KINDS
        mask = label_regions.mask_utils.decode({'size': [32, 32], 'counts': row['rle']})
        assert np.isclose(row['area'], 100 * mask.mean())
        rows, cols = np.nonzero(mask)
        box = [cols.min() / 32, rows.min() / 32, (cols.max() + 1) / 32, (rows.max() + 1) / 32]
        assert np.allclose([row[side] for side in ('left', 'top', 'right', 'bottom')], box)
        best.setdefault((row['image_id'], row['kind']), row['score'])
    for row in result['images']:
        for kind, score in row['by_kind'].items():
            assert score == best.get((row['image_id'], kind), 0)
        assert row['score'] == max(row['by_kind'][kind] for kind in label_regions.ERRORS)
    assert (analysis.folder / 'label_issues.png').stat().st_size > 1000


def test_killed_in_drawing(analysis, summary, tmp_path, monkeypatch):
    def begin_to_write(figure, path, **_):
        path.write_bytes(b'PNG')
        raise KeyboardInterrupt

    monkeypatch.setattr(label_issues.plt.Figure, 'savefig', begin_to_write)
    with pytest.raises(KeyboardInterrupt):
        label_issues.figure(analysis, label_issues.load(analysis)[0], tmp_path / 'picture.png')
    assert not (tmp_path / 'picture.png').exists()


def test_written_results_are_read(analysis, summary, monkeypatch):
    monkeypatch.setattr(label_issues, 'compute', None)
    _, result = label_issues.compute_or_load(analysis)
    assert len(result['images']) == summary['num_images']


def test_a_table_of_another_result_is_not_read(analysis, summary, tmp_path, capsys):
    """As a command leaves it that is killed between its two files."""
    folder = shutil.copytree(analysis.folder, tmp_path / 'copy')
    copy = dataclasses.replace(analysis, folder=folder)
    table, _ = label_issues.load(copy)
    artifacts.save_table(copy, 'label_issues', label_issues.VERSION, table[1:])
    with pytest.raises(ValueError, match='another label_issues.parquet'):
        label_issues.load(copy)
    found, _ = label_issues.compute_or_load(copy)
    assert found.equals(table)
    assert 'label_issues.parquet has changed' in capsys.readouterr().err


def test_results_of_other_images_are_refused(analysis, summary, workdir):
    other = artifacts.open_analysis(workdir, 'val')
    for name in ('label_issues.json', 'label_issues.parquet'):
        shutil.copy(analysis.folder / name, other.folder / name)
    with pytest.raises(ValueError, match='made of something else'):
        label_issues.compute_or_load(other)


def row(image_id, kind, score, **other):
    return {
        'image_id': image_id, 'file_name': f'{image_id}.jpg', 'kind': kind, 'score': score,
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
    chosen = label_issues.worst(table, [{}] * 10, 0.2, label_regions.ERRORS)
    assert [(r['image_id'], r['kind'], r['score']) for r in chosen] == [
        (1, 'missing instance', 0.9), (2, 'wrong class', 0.7),
    ]  # fmt: skip
    assert chosen[0]['reason'] == 'person seen in 3.0 % of the picture where background is labelled'
    assert 'annotation 5 (3.0 % of the picture) is labelled car' in chosen[1]['reason']
    assert label_issues.worst(table, [{}] * 10, 0, label_regions.ERRORS) == []
    assert [r['image_id'] for r in label_issues.worst(table, [{}] * 10, 1, ['ambiguous'])] == [4]


def test_exclude_file_is_accepted_by_its_data_only(analysis, summary):
    path = analysis.folder / 'exclude.json'
    config = analysis.run.config.data.copy_and_resolve_references()
    prepared = open_data(config)
    ids = selection.read_exclude(path, prepared.fingerprint['id'])
    assert ids == {r['image_id'] for r in summary['excluded']} and ids
    with config.unlocked():
        config.exclude = str(path)
    _, report = select_examples(prepared, config, 'train')
    assert report['splits']['train']['excluded'] == len(ids)
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
    other = dataclasses.replace(analysis, run=dataclasses.replace(analysis.run, config=config))
    with pytest.raises(ValueError, match='data.label_space'):
        artifacts.check_pool([analysis, other])


def test_folds_are_pooled(workdir, tmp_path, monkeypatch):
    """Two folds of one experiment: all images, each by the run that did not see it."""
    monkeypatch.setattr(label_issues, 'figure', lambda *_: None)  # it takes long
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


def test_cleanlab_is_asked_if_it_is_installed(analysis, summary):
    _, result = label_issues.load(analysis)
    try:
        from cleanlab.segmentation.rank import get_label_quality_scores
    except ImportError:
        assert result['cleanlab'].startswith('not asked: ')
        assert all(r['cleanlab'] is None for r in result['images'])
    else:
        assert get_label_quality_scores and all(0 <= r['cleanlab'] <= 1 for r in result['images'])


def test_no_run_is_an_error(tmp_path, capsys):
    assert label_issues.main(['--workdir', str(tmp_path)]) == 1
    assert 'no run directory' in capsys.readouterr().err
