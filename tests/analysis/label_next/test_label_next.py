"""The list of images to label: the command, its files, and tasks for annotation tools."""

import dataclasses
import io
import json
import shutil
import xml.etree.ElementTree

import numpy as np
import pytest
from PIL import Image

from analysis.embeddings.schema import Embeddings
from analysis.label_next import stage as label_next
from analysis.label_next import tasks
from analysis.label_next.rule import choose
from analysis.label_next.schema import LabelNext
from analysis.predictions.schema import Predictions
from analysis.samples.schema import Samples
from analysis.stage import artifacts
from analysis.stage.view import open_view
from scripts import annotation_tasks
from segmentation.data import coco, layouts, selection
from segmentation.data.export import Task

HOSTILE = '<img src=x> & |pipe| #1%.jpg'
LABELED = 'train', 'val'


@pytest.fixture(scope='module')
def photos(tmp_path_factory, coco_folder):
    """Seven new images, one of them in two sizes, and one that is among the labeled ones."""
    folder = tmp_path_factory.mktemp('data') / 'new'
    (folder / 'more').mkdir(parents=True)
    for number in range(7):
        name = HOSTILE if number == 0 else f'more/{number}.png'
        colors = np.random.default_rng(number).integers(0, 256, (3, 3, 3), np.uint8)
        large = Image.fromarray(colors).resize((60, 44), Image.Resampling.BICUBIC)
        large.save(folder / name)
        if number == 3:
            large.resize((120, 88), Image.Resampling.BICUBIC).save(folder / 'larger.png')
    shutil.copy(min(coco_folder.glob('val/*.jpg')), folder / 'known.jpg')
    return folder


@pytest.fixture(scope='module')
def view(tiny_run, photos, tmp_path_factory):
    workdir = shutil.copytree(tiny_run, tmp_path_factory.mktemp('ranked') / 'run')
    command = [f'--workdir={workdir}', '--splits=train,val', '--folder', str(photos)]
    assert label_next.main([*command, f'--json={workdir / "next.json"}']) == 0
    return open_view(workdir, 'train.val.new-0')


def test_the_list_is_that_of_the_rule(view):
    result, table = artifacts.load(view, LabelNext), artifacts.load(view, Samples).table
    part = np.array(table['split'].to_pylist())
    is_labeled = np.isin(part, LABELED)
    assert result.labeled == LABELED and set(part) == {*LABELED, 'new'}
    assert (result.num_labeled, result.num_unlabeled) == (is_labeled.sum(), 9)
    points, entropy = artifacts.load(view, Embeddings).points, table['entropy'].to_numpy()
    order = choose(points, entropy, is_labeled, 9)
    ranking = result.ranking.to_pylist()
    assert [each['row'] for each in ranking] == order.rows.tolist()
    assert [each['rank'] for each in ranking] == list(range(1, 10))
    names = table['file_name'].to_pylist()
    for each in ranking:
        row = each['row']
        assert each['folder'] == part[row] == 'new' and each['file_name'] == names[row]
        assert each['image_id'] == view.image_ids[row]
        assert each['score'] == pytest.approx(entropy[row] * each['distance'])
    # The copy of a labeled image is last, and of the two sizes of an image one is late.
    place = {each['file_name']: each['rank'] for each in ranking}
    assert place['known.jpg'] == 9
    assert max(place['larger.png'], place['more/3.png']) == 8
    before, after = result.median_distance
    assert before > 0 == after


def test_files_are_written(view, capsys):
    ids = artifacts.load(view, LabelNext).ranking['image_id'].to_pylist()
    path = view.folder / 'next_to_label.json'
    fingerprint = view.data['fingerprint']['id']
    assert json.loads(path.read_text()) == {'fingerprint': fingerprint, 'ids': ids}
    assert selection.read_exclude(path, fingerprint) == set(ids)
    assert (view.folder / 'label_next.png').stat().st_size > 1000
    shown = label_next.table(artifacts.load(view, LabelNext))
    assert '9 of 9 images without annotations' in shown and 'of train, val.' in shown
    assert '&lt;img src=x&gt; &amp; \\|pipe\\| #1%.jpg' in shown and HOSTILE not in shown
    assert json.loads((view.workdir / 'next.json').read_text())['num_unlabeled'] == 9


def test_the_list_can_be_shorter_but_not_empty(view, photos, tmp_path, capsys):
    workdir = shutil.copytree(view.workdir, tmp_path / 'run')
    command = [f'--workdir={workdir}', '--splits=train,val', '--folder', str(photos)]
    ids = artifacts.load(view, LabelNext).ranking['image_id'].to_pylist()
    assert label_next.main([*command, '--count=2']) == 0
    short = artifacts.load(open_view(workdir, view.folder.name), LabelNext)
    assert short.ranking['image_id'].to_pylist() == ids[:2]
    assert label_next.main([*command, '--count=0']) == 1
    assert '--count=0 must be at least 1' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        label_next.main([*command, '--count=-1'])
    assert 'argument --count: must not be negative: -1' in capsys.readouterr().err
    # Without a folder there is nothing to label.
    for splits in ('val', 'train,val'):
        assert label_next.main([f'--workdir={workdir}', f'--splits={splits}']) == 1
        error = capsys.readouterr().err
        assert 'ranks images without annotations: give them as a --folder' in error
        assert error.count('\n') == 1


def accept(folder, tool):
    """What an annotator does who accepts all suggestions, and exports."""
    if tool == 'label_studio':
        listed = json.loads((folder / 'tasks.json').read_text())
        for task in listed:
            assert task['annotations'] == []
            task['annotations'] = task.pop('predictions')
        (folder / 'tasks.json').write_text(json.dumps(listed))
    else:
        with pytest.raises(ValueError, match='put the annotations that CVAT exports here'):
            layouts.recognize(folder)
        (folder / 'suggestions.xml').rename(folder / 'annotations.xml')


@pytest.mark.parametrize('tool', ['label_studio', 'cvat'])
def test_to_an_annotation_tool_and_back(view, photos, tool, tmp_path):
    output = tmp_path / 'to_label'
    command = [f'--workdir={view.workdir}', f'--tool={tool}', f'--output={output}']
    command += ['--next=5', '--folder', str(photos), f'--json={tmp_path / "out.json"}']
    assert annotation_tasks.main(command) == 0
    ranking = artifacts.load(view, LabelNext).ranking.slice(0, 5).to_pylist()
    result = json.loads((tmp_path / 'out.json').read_text())
    assert result['images'] == 5 and result['shapes'] == 0 and result['skipped'] == {}
    ids = [each['image_id'] for each in ranking]
    assert [int(line) for line in (output / 'ids.txt').read_text().split()] == ids
    assert selection.read_exclude(output / 'ids.txt') == set(ids)
    names = [f'new/{each["file_name"]}' for each in ranking]
    for name, each in zip(names, ranking, strict=True):
        copied = (output / 'images' / name).read_bytes()
        assert copied == (photos / each['file_name']).read_bytes()
    if tool == 'label_studio':
        listed = json.loads((output / 'tasks.json').read_text())
        assert [task['data']['file_name'] for task in listed] == names
        if f'new/{HOSTILE}' in names:
            url = listed[names.index(f'new/{HOSTILE}')]['data']['image']
            assert url.endswith(
                '?d=images/new/%3Cimg%20src%3Dx%3E%20%26%20%7Cpipe%7C%20%231%25.jpg'
            )
    else:
        tree = xml.etree.ElementTree.parse(output / 'suggestions.xml')
        assert [image.get('name') for image in tree.iter('image')] == names
        assert {mask.get('source') for mask in tree.iter('mask')} <= {'auto'}

    # Accepted and read again, the masks are the predictions.
    accept(output, tool)
    prepared = coco.prepare(str(output), tmp_path / 'data')
    split = prepared.split(prepared.splits[0])
    category = {each.id: each.name for each in prepared.categories}
    predictions, shapes = artifacts.load(view, Predictions), 0
    by_name = {split[k]['file_name'].rpartition('/')[2]: split[k] for k in range(len(split))}
    for each in ranking:
        record = by_name[each['file_name'].rpartition('/')[2]]
        size = record['height'], record['width']
        expected = list(
            tasks.predicted_shapes(predictions.class_map(each['row']), view.class_names, *size)
        )
        instances = record['instances']
        got = [
            (category[int(key)], bytes(rle))
            for key, rle in zip(instances['category_id'], instances['rle'], strict=True)
        ]
        assert sorted(got) == sorted((shape.label, shape.rle) for shape in expected)
        shapes += len(got)
    assert shapes == result['suggestions'] > 0


def test_regions_of_the_prediction():
    class_map = np.zeros((64, 64), np.uint8)
    class_map[4:20, 4:20] = 2
    class_map[20:30, 20:30] = 2  # touches at a corner
    class_map[40:50, 40:60] = 1
    class_map[60, 60:63] = 1  # too small
    shapes = list(tasks.predicted_shapes(class_map, ('', 'person', 'car'), 128, 64))
    assert [shape.label for shape in shapes] == ['person', 'car']
    assert all(shape.is_new and shape.suggested == shape.label for shape in shapes)
    task = Task(1, 'a.jpg', 128, 64, tuple(shapes))
    for shape, number in zip(shapes, (1, 2), strict=True):
        mask = task.mask(shape)
        wanted = np.repeat(class_map == number, 2, axis=0)
        if number == 1:
            wanted[120:] = False
        assert (mask & wanted).sum() / (mask | wanted).sum() > 0.95


def test_a_class_is_called_by_its_only_category(view, photos, tmp_path):
    workdir = shutil.copytree(view.workdir, tmp_path / 'run')
    for name, before, after in (
        ('config.json', '"person_car"', '"human: person; traffic: vehicle"'),
        ('run.json', '"person"', '"human"'),
        ('run.json', '"car"', '"traffic"'),
    ):
        text = (workdir / name).read_text()
        assert text.count(before) == 1
        (workdir / name).write_text(text.replace(before, after))
    command = [f'--workdir={workdir}', '--tool=cvat', f'--output={tmp_path / "tasks"}']
    command += ['--next=9', '--folder', str(photos), f'--json={tmp_path / "out.json"}']
    assert annotation_tasks.main(command) == 0
    root = xml.etree.ElementTree.parse(tmp_path / 'tasks/suggestions.xml')
    assert {mask.get('label') for mask in root.iter('mask')} == {'person'}
    result = json.loads((tmp_path / 'out.json').read_text())
    predictions, rows = artifacts.load(view, Predictions), np.arange(len(view) - 9, len(view))
    maps = [predictions.class_map(row) for row in rows]
    assert any((each == 2).any() for each in maps)
    (reason,) = result['skipped']
    assert reason == 'suggestion: its class has several categories'
    assert {*result['skipped'][reason]['examples']} == {"'traffic'"}


def test_another_folder_of_the_same_name_is_noticed(view, photos, tmp_path, capsys):
    workdir = shutil.copytree(view.workdir, tmp_path / 'run')
    other = shutil.copytree(photos, tmp_path / photos.name)
    Image.new('RGB', (64, 64), 'red').save(other / 'another.png')
    assert label_next.main([f'--workdir={workdir}', '--splits=train,val', f'--folder={other}']) == 1
    error = capsys.readouterr().err
    assert 'a folder has changed since, or another folder has the same name' in error
    assert f'Delete {workdir / view.folder.relative_to(view.workdir)} and run' in error


def test_what_people_have_labeled_is_not_overwritten(view, photos, tmp_path, capsys):
    (tmp_path / 'tasks').mkdir()
    command = [f'--workdir={view.workdir}', f'--output={tmp_path / "tasks"}', '--next=3']
    command += ['--folder', str(photos)]
    assert annotation_tasks.main([*command, '--tool=cvat']) == 0  # an empty folder is a new one
    assert f'of the list of {view.folder.name} with' in capsys.readouterr().out
    before = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    for tool in ('cvat', 'label_studio'):
        assert annotation_tasks.main([*command, f'--tool={tool}']) == 1
        assert 'is not empty: give a new folder' in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}


def test_names_that_could_not_be_imported_are_left_out(view, photos, tmp_path, monkeypatch, capsys):
    make_tasks = tasks.make_tasks

    def renamed(*arguments):
        for number, (record, task) in enumerate(make_tasks(*arguments)):
            name = 'new/line\n.jpg' if number == 1 else task.file_name
            yield record, dataclasses.replace(task, file_name=name)

    monkeypatch.setattr(tasks, 'make_tasks', renamed)
    command = [f'--workdir={view.workdir}', '--tool=cvat', f'--output={tmp_path / "tasks"}']
    assert annotation_tasks.main([*command, '--next=3', '--folder', str(photos)]) == 0
    assert '1 × image: rename it, its file name cannot be imported' in capsys.readouterr().out
    assert len(list((tmp_path / 'tasks/images/new').rglob('*.*'))) == 2


def test_other_images_are_refused(view, photos, tmp_path, capsys):
    output = f'--output={tmp_path / "tasks"}'
    command = [f'--workdir={view.workdir}', '--tool=cvat', output, '--next=3', '--folder']
    changed = shutil.copytree(photos, tmp_path / 'changed')
    image = Image.open(changed / 'larger.png')
    buffer = io.BytesIO()
    image.rotate(90).save(buffer, 'PNG')
    (changed / 'larger.png').write_bytes(buffer.getvalue())
    for folder, message in (
        (changed, 'are not in the folders given as --folder, or have changed'),
        (tmp_path / 'none', 'there is no such folder'),
    ):
        assert annotation_tasks.main([*command, str(folder)]) == 1
        error = capsys.readouterr().err
        assert message in error
    assert not (tmp_path / 'tasks').exists()
    for wrong in (
        ['--folder=x'], ['--next=3'], ['--folder=x', '--next=-1'],
        ['--folder=x', '--next=3', '--ids=y'],
    ):  # fmt: skip
        with pytest.raises(SystemExit):
            annotation_tasks.main([*command[:3], *wrong])
        assert 'error: --next' in capsys.readouterr().err
    (
        shutil.copytree(view.workdir, tmp_path / 'run')
        / view.folder.relative_to(view.workdir)
        / 'label_next.json'
    ).unlink()
    assert annotation_tasks.main([f'--workdir={tmp_path / "run"}', *command[1:], str(photos)]) == 1
    assert 'run python -m analysis.label_next first' in capsys.readouterr().err
