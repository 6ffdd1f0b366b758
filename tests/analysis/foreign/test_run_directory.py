"""Somebody else's model from its file to the report, and what such runs can be compared with."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import segmentation
from analysis import registry
from analysis.compare import stage as compare
from analysis.foreign import run_directory
from analysis.predictions.schema import Predictions
from analysis.report import stage as report
from analysis.similar import stage as similar
from analysis.stage import artifacts
from analysis.stage.run import open_analysis
from scripts import analyze
from segmentation import metrics, workdir
from tests import coco_fixtures, onnx_models

COMMON = ("--config.data.val_splits=('train',)", '--image_size=32')


def command(coco_folder, output, *more):
    return ['--source', str(coco_folder), '--output', str(output), *COMMON, *map(str, more)]


@pytest.fixture(scope='module')
def folder(coco_folder, tmp_path_factory):
    """A report of the model `colors`, with the model and its adapter beside it."""
    folder = tmp_path_factory.mktemp('foreign')
    onnx_models.colors(folder / 'colors.onnx')
    onnx_models.write_adapter(folder / 'colors.adapter.json')
    arguments = command(coco_folder, folder / 'run', '--onnx', folder / 'colors.onnx')
    assert analyze.main([*arguments, '--json', str(folder / 'result.json')]) == 0
    return folder


def predicted_by_hand(analysis, row):
    """What `colors` predicts at the resolution of the analysis."""
    brightness = analysis.examples[row]['image'] / np.float32(255)
    logits = brightness @ onnx_models.WEIGHTS.T + onnx_models.BIAS
    return np.array([0, 1, 0, 2])[logits.argmax(-1)]


def test_every_stage_runs_from_one_command(folder):
    done = json.loads((folder / 'result.json').read_text())
    assert done.keys() == {*registry.STAGES, 'report'} - {'drift', 'label_next'}
    analysis = open_analysis(folder / 'run')
    found = artifacts.load(analysis, Predictions)
    assert len(analysis) == 12 and analysis.step == 0
    for row in range(12):
        expected = predicted_by_hand(analysis, row)
        np.testing.assert_array_equal(found.class_map(row), expected)
        label = analysis.examples[row]['label']
        np.testing.assert_array_equal(
            found.confusions()[row], metrics.confusion_matrix(label, expected, 3)
        )
    page = (folder / 'run' / 'report' / 'data' / 'val-0' / 'view.js').read_text()
    assert 'the model has no gradients' in page and '(occlusion)' in page


def test_the_same_command_reads_what_is_there(folder, coco_folder, monkeypatch):
    def refuse(*_):
        raise AssertionError('computed again')

    monkeypatch.setattr(artifacts, 'save', refuse)
    arguments = command(coco_folder, folder / 'run', '--onnx', folder / 'colors.onnx')
    assert analyze.main(arguments) == 0


def test_another_model_needs_another_folder(folder, coco_folder, tmp_path, capsys):
    adapter = onnx_models.write_adapter(tmp_path / 'a.json', input__channels='BGR')
    arguments = command(coco_folder, folder / 'run', '--onnx', folder / 'colors.onnx')
    assert analyze.main([*arguments, '--adapter', str(adapter)]) == 1
    assert 'the analysis of another model' in capsys.readouterr().err


@pytest.mark.parametrize(
    'more, message',
    [
        (['--label_space', 'person: car; car: person'], "data.label_space: 'person: person"),
        (['--config.data.crowd=label'], 'data.crowd'),
    ],
)
def test_other_options_need_another_folder(folder, coco_folder, capsys, more, message):
    arguments = command(coco_folder, folder / 'run', '--onnx', folder / 'colors.onnx')
    before = (folder / 'run' / 'config.json').read_text()
    assert analyze.main([*arguments, *more]) == 1
    assert message in capsys.readouterr().err
    assert (folder / 'run' / 'config.json').read_text() == before


def test_other_data_need_another_folder(folder, tmp_path, capsys):
    documents = {'train': coco_fixtures.document(12, seed=7)}
    other = coco_fixtures.write_folder(tmp_path / 'other', documents)
    arguments = command(other, folder / 'run', '--onnx', folder / 'colors.onnx')
    arguments += [f'--config.data.data_dir={tmp_path / "prepared"}']
    assert analyze.main(arguments) == 1
    assert 'the analysis of other data' in capsys.readouterr().err


def test_a_start_without_results_does_not_take_the_folder(folder, coco_folder, tmp_path):
    adapter = onnx_models.write_adapter(tmp_path / 'a.json', input__channels='BGR')
    arguments = command(coco_folder, tmp_path / 'run', '--onnx', folder / 'colors.onnx')
    assert analyze.main([*arguments, '--adapter', str(adapter), '--stages', 'predictions']) == 0
    shutil.rmtree(tmp_path / 'run' / 'analysis')  # as if this stage had failed
    assert analyze.main([*arguments, '--stages', 'predictions,pictures']) == 0
    right = open_analysis(folder / 'run').kept.read
    for image_id in open_analysis(tmp_path / 'run').image_ids.tolist():
        found = open_analysis(tmp_path / 'run').kept.read(image_id)
        np.testing.assert_array_equal(found.logits, right(image_id).logits)


def test_external_weights_are_part_of_the_model(tmp_path):
    path = onnx_models.colors(tmp_path / 'm.onnx')
    plain = run_directory._digest(path, True)
    model = onnx_models.onnx.load(path)
    options = {'save_as_external_data': True, 'location': 'w.bin', 'size_threshold': 0}
    onnx_models.onnx.save(model, path, **options)
    before = run_directory._digest(path, True)
    (tmp_path / 'w.bin').write_bytes((tmp_path / 'w.bin').read_bytes()[::-1])
    assert len({plain, before, run_directory._digest(path, True)}) == 3


def test_files_behind_links_are_not_read_for_the_digest(tmp_path):
    (tmp_path / 'masks').mkdir()
    (tmp_path / 'masks' / '1.png').write_bytes(b'1')
    before = run_directory._digest(tmp_path / 'masks')
    (tmp_path / 'secret.png').write_bytes(b'2')
    (tmp_path / 'masks' / '2.png').symlink_to(tmp_path / 'secret.png')
    assert run_directory._digest(tmp_path / 'masks') == before


def test_embeddings_that_have_changed_are_noticed(masks, tmp_path):
    run = shutil.copytree(masks / 'embedded', tmp_path / 'run')
    described = json.loads((run / 'run.json').read_text())
    other = tmp_path / 'e.npy'
    other.write_bytes((masks / 'e.npy').read_bytes()[:-1] + b'x')
    described['foreign']['embeddings']['path'] = str(other)
    (run / 'run.json').write_text(json.dumps(described))
    with pytest.raises(ValueError, match='e.npy is missing or has changed'):
        open_analysis(run)


def test_it_is_no_network_of_this_project(folder, tiny_config, capsys):
    with pytest.raises(ValueError, match='was not trained here'):
        segmentation.load(folder / 'run')
    before = (folder / 'run' / 'run.json').read_text()
    with pytest.raises(ValueError, match='was not trained here'):
        workdir.write_description(folder / 'run', tiny_config, json.loads(before))
    assert (folder / 'run' / 'run.json').read_text() == before
    arguments = [
        '--workdir',
        str(folder / 'run'),
        '--output',
        str(folder / 'other'),
        '--with_model',
    ]
    assert report.main(arguments) == 1
    assert 'needs a network of this project' in capsys.readouterr().err


def test_a_model_that_has_changed_is_noticed(folder, tmp_path):
    shutil.copytree(folder / 'run', tmp_path / 'run')
    described = json.loads((tmp_path / 'run' / 'run.json').read_text())
    described['foreign']['onnx']['path'] = str(tmp_path / 'gone.onnx')
    (tmp_path / 'run' / 'run.json').write_text(json.dumps(described))
    with pytest.raises(ValueError, match='gone.onnx is missing or has changed'):
        open_analysis(tmp_path / 'run')


def test_kept_predictions_can_be_damaged_or_deleted(folder, tmp_path):
    analysis = open_analysis(shutil.copytree(folder / 'run', tmp_path / 'run'))
    first = artifacts.load(analysis, registry.load('embeddings').result).points
    kept = sorted((tmp_path / 'run' / 'outputs' / 'val').iterdir())
    assert len(kept) == 12
    kept[0].write_bytes(b'damaged')
    kept[1].unlink()
    content = bytearray(kept[2].read_bytes())  # bytes in the middle of the compressed logits
    content[len(content) // 3 : len(content) // 3 + 9] = b'\xff' * 9
    kept[2].write_bytes(content)
    again = registry.load('embeddings').compute(analysis)
    np.testing.assert_allclose(np.abs(again.points), np.abs(first), atol=1e-3)


def test_similar_images_of_any_file(folder, tmp_path, capsys):
    photo = tmp_path / 'photo.png'
    photo.write_bytes(coco_fixtures.picture(50, 40, file_format='PNG'))
    analysis = open_analysis(folder / 'run')
    for query in (['--image', str(photo)], ['--image_id', str(analysis.image_ids[3])]):
        assert similar.main(['--workdir', str(folder / 'run'), '--k', '3', *query]) == 0
        assert 'Figure' in capsys.readouterr().out


def test_gradients_of_a_foreign_model_are_refused(folder):
    with pytest.raises(ValueError, match='foreign model'):
        open_analysis(folder / 'run').run.model.apply({}, None)


@pytest.fixture(scope='module')
def masks(folder, coco_folder, tmp_path_factory):
    """The same predictions as index PNGs, analyzed without and with embeddings."""
    where = tmp_path_factory.mktemp('masks')
    (where / 'masks').mkdir()
    analysis = open_analysis(folder / 'run')
    model = analysis.foreign
    for row in range(len(analysis)):
        # At the image's own size, as somebody's program would write them.
        record = analysis.examples.record(row)
        found = artifacts.load(analysis, Predictions).class_map(row)
        size = int(record['width']), int(record['height'])
        picture = Image.fromarray(found).resize(size, Image.Resampling.NEAREST)
        picture.save(where / 'masks' / f'{analysis.image_ids[row]}.png')
    points = [model.of_images(analysis.examples[row]['image'][None])[0] for row in range(12)]
    order = np.argsort(analysis.image_ids)
    np.save(where / 'e.npy', np.stack([points[row].features for row in order]))
    more = ['--predictions', where / 'masks', '--label_space', 'person: person; car: car']
    stages = ['--stages', 'predictions,samples,embeddings,associations,saliency,report']
    for name, given in (('plain', []), ('embedded', ['--embeddings', where / 'e.npy'])):
        arguments = command(coco_folder, where / name, *more, *given, *stages)
        assert analyze.main([*arguments, '--json', str(where / f'{name}.json')]) == 0
    return where


def test_stages_that_cannot_run_say_why(masks, capsys):
    plain, embedded = (
        json.loads((masks / f'{name}.json').read_text()) for name in ('plain', 'embedded')
    )
    assert {'predictions', 'samples', 'associations', 'report'} <= plain.keys()
    assert set(plain['unavailable']) == {
        'saliency', 'embeddings', 'clusters', 'similarity_map', 'similar',
    }  # fmt: skip
    assert list(embedded['unavailable']) == ['saliency'] and 'embeddings' in embedded
    page = (masks / 'plain' / 'report' / 'data' / 'val-0' / 'view.js').read_text()
    assert 'only predictions were given' in page and 'there are no embeddings' in page
    stage = registry.load('saliency')
    assert stage.main(['--workdir', str(masks / 'plain')]) == 1
    assert 'saliency is not available' in capsys.readouterr().err


def test_stored_predictions_score_as_the_model(folder, masks):
    runs = [open_analysis(path) for path in (folder / 'run', masks / 'embedded')]
    this, that = (artifacts.load(run, Predictions) for run in runs)
    # The labels and masks were scaled to the image's size and back.
    for row in range(12):
        assert np.mean(this.class_map(row) == that.class_map(row)) > 0.9
    assert np.isnan(that.column('confidence')).all() and not np.isnan(that.column('loss')).any()
    assert 'confidence | 0–1 | –' in registry.load('predictions').table(that)
    points = [artifacts.load(run, registry.load('embeddings').result).points for run in runs]
    np.testing.assert_allclose(points[0], points[1], atol=1e-4)


@pytest.mark.parametrize('other', ['embedded', 'plain'])
def test_foreign_runs_are_compared(folder, masks, other, monkeypatch):
    monkeypatch.setattr(compare.representations, 'FEWEST', 3)
    arguments = ['--workdir', str(folder / 'run'), '--other', str(masks / other)]
    assert compare.main(arguments) == 0
    both = open_analysis(folder / 'run'), open_analysis(masks / other)
    found = artifacts.load(both[0], compare.Comparison, compare.artifact_name(both[1]))
    assert found.num_images == 12 and found.layers == ()
    if other == 'plain':
        assert found.neighbors is None
    else:
        assert found.neighbors.overlap == pytest.approx(1)


def test_a_foreign_run_is_compared_with_ours(folder, tiny_run, tmp_path, monkeypatch, data_dir):
    monkeypatch.setattr(compare.representations, 'FEWEST', 3)
    ours = shutil.copytree(tiny_run, tmp_path / 'ours')
    config = json.loads((ours / 'config.json').read_text())
    config['data'] |= {'val_splits': ['train']}
    (ours / 'config.json').write_text(json.dumps(config))
    # Ours first: the other network, which then runs again, is the foreign one.
    assert compare.main(['--workdir', str(ours), '--other', str(folder / 'run')]) == 0
    this, other = open_analysis(ours), open_analysis(folder / 'run')
    found = artifacts.load(this, compare.Comparison, compare.artifact_name(other))
    assert found.neighbors is not None and found.layers == ()
    # The crowds of ours are labeled, those of the foreign run ignored.
    before = artifacts.load(other, Predictions).column('loss').mean()
    assert found.slices[0].loss.other is not None and found.slices[0].loss.other != before


def test_label_spaces_are_found(tmp_path):
    categories = [type('Category', (), entry) for entry in coco_fixtures.CATEGORIES]

    def choose(asked='', **fields):
        adapter = run_directory.adapters.Adapter(**fields)
        return run_directory.choose_label_space(adapter, asked, categories)

    assert choose('person: person', label_space='car: car') == 'person: person'
    assert choose(label_space='car: car') == 'car: car'
    assert choose(classes={'car': (1,), 'bus': (2,)}) == 'car: car; bus: bus'
    assert choose(channels=('sky', 'person', 'bus')) == 'person: person; bus: bus'
    categories += [type('Category', (), {'name': n}) for n in ('background', 'person, sitting')]
    names = 'background', 'person, sitting', 'car'  # a label space cannot have the first two
    assert choose(channels=names) == 'car: car'
    for name in ('two wheels', *names[:2]):
        with pytest.raises(ValueError, match='Give --label_space'):
            choose(classes={name: (1,)})


def test_a_model_without_adapter(folder, coco_folder, tmp_path, capsys):
    bare = onnx_models.colors(tmp_path / 'bare.onnx')
    arguments = command(coco_folder, tmp_path / 'run', '--onnx', bare)
    assert analyze.main(arguments) == 1
    assert 'input.divide_by, mean and std' in capsys.readouterr().err
    assert analyze.main(['--describe', str(bare)]) == 0
    drafted = json.loads(capsys.readouterr().out)
    # Filled in, it is an adapter.
    drafted['input'] |= {'divide_by': 255, 'mean': 0, 'std': 1}
    drafted |= {'label_space': 'person: person; car: car', 'classes': {'person': [1], 'car': [3]}}
    (tmp_path / 'bare.adapter.json').write_text(json.dumps(drafted))
    assert analyze.main([*arguments, '--stages', 'predictions']) == 0
    assert 'bare.adapter.json' in capsys.readouterr().err
    class_maps = [
        artifacts.load(open_analysis(run), Predictions).class_map(5)
        for run in (folder / 'run', tmp_path / 'run')
    ]
    np.testing.assert_array_equal(*class_maps)


def test_names_in_a_file_do_not_control_the_terminal(coco_folder, tmp_path, capsys):
    names = json.dumps(['\x1b[31mred', 'b', 'c', 'd'])
    path = onnx_models.colors(tmp_path / 'm.onnx', metadata={'names': names})
    assert analyze.main(['--describe', str(path)]) == 0
    adapter = onnx_models.adapter(classes={'person': ['\x1b[31mx'], 'car': [1]})
    (tmp_path / 'm.adapter.json').write_text(json.dumps(adapter))
    assert analyze.main(command(coco_folder, tmp_path / 'run', '--onnx', path)) == 1
    printed = ''.join(capsys.readouterr())
    assert '\x1b' not in printed and '\\x1b[31mred' in printed and "channel '\\x1b[31mx'" in printed


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--onnx', 'x.onnx', '--source', 'y'], '--output is missing'),
        (['--onnx', 'x.onnx', '--output', 'y'], '--source is missing'),
        (['--onnx', 'x.onnx', '--workdir', 'y'], 'give one of'),
        ([], 'give one of'),
        (['--workdir', 'x', '--nonsense'], 'unknown arguments'),
        (['--workdir', 'x', '--label_space', 'a: b'], 'only with --onnx or --predictions: --label'),
        (['--workdir', 'x', '--output', 'y'], 'only with --onnx or --predictions: --output'),
        (
            ['--onnx', 'x.onnx', '--source', 'y', '--output', 'z', '--embeddings', 'e.npy'],
            'only for --predictions',
        ),
        (
            ['--predictions', 'x', '--source', 'y', '--output', 'z', '--embedding_ids', 'e.npy'],
            'needs --embeddings',
        ),
    ],
)
def test_arguments_that_do_not_go_together(arguments, message, capsys):
    with pytest.raises(SystemExit):
        analyze.main(arguments)
    assert message in capsys.readouterr().err


def test_several_splits_have_to_be_chosen(folder, coco_folder, tmp_path, capsys):
    arguments = ['--onnx', str(folder / 'colors.onnx'), '--source', str(coco_folder)]
    arguments += ['--output', str(tmp_path / 'run'), "--config.data.val_splits=('test',)"]
    assert analyze.main(arguments) == 1
    assert 'have the splits train, val: choose' in capsys.readouterr().err
