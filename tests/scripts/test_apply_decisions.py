"""Label issues to corrected annotations, and to annotation tools and back."""

import dataclasses
import json
import shutil
from xml.etree import ElementTree

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image, ImageOps
from pycocotools import mask as mask_utils

from analysis.label_issues.schema import REGIONS, LabelIssues
from analysis.stage import artifacts
from analysis.stage.view import open_view
from configs import default
from scripts import annotation_tasks, apply_decisions
from segmentation.config import read_config, save_config
from segmentation.data import coco, transforms
from segmentation.data.corrections import files
from segmentation.data.entries import Skipped
from segmentation.data.export import Task
from tests import coco_fixtures

SIZE = 32


@pytest.fixture(scope='module')
def run(coco_folder, data_dir, tmp_path_factory):
    """A run with label issues of its validation images. Both splits use the same image ids."""
    folder = tmp_path_factory.mktemp('run')
    config = default.get_config()
    config.data.source, config.data.data_dir = str(coco_folder), str(data_dir)
    config.data.image_size = SIZE
    config.data.label_space = 'person: person; vehicle: vehicle'
    prepared = coco.prepare(str(coco_folder), data_dir)
    save_config(config, folder / 'config.json')
    described = {
        'class_names': ['background', 'person', 'vehicle'],
        'data': {'path': str(prepared.path), 'fingerprint': prepared.fingerprint},
    }
    (folder / 'run.json').write_text(json.dumps(described))
    (folder / 'analysis/val-4').mkdir(parents=True)
    split = prepared.split('val')
    pyarrow.parquet.write_table(
        pyarrow.table({'image_id': split.index.image_id}), folder / 'analysis/val-4/samples.parquet'
    )
    view = open_view(folder, 'val-4')
    mask = np.zeros((SIZE, SIZE), np.uint8, order='F')
    mask[8:20, 10:24] = 1
    rle = mask_utils.encode(mask)['counts']
    issues = [
        ('missing instance', 0.9, 0, None, 'person'),
        ('missing instance', 0.8, 1, None, 'vehicle'),  # a class of two categories
        ('spurious label', 0.7, 0, 0, 'background'),
        ('wrong class', 0.6, 2, 2, 'person'),
        ('sloppy outline', 0.95, 3, 2, 'person'),
        ('spurious label', 0.4, 1, 0, 'background'),
    ]
    rows = []
    for number, (kind, probability, row, place, suggested) in enumerate(issues):
        record = split[row]
        key = None if place is None else int(record['instances']['id'][place])
        rows.append(
            {
                'row': row, 'file_name': record['file_name'], 'kind': kind, 'score': 0.5,
                'probability': probability, 'object': number,
                'given': 'x', 'suggested': suggested, 'confidence': 0.5, 'annotation_id': key,
                'area': 16.0, 'left': 0.3, 'top': 0.2, 'right': 0.8, 'bottom': 0.6, 'rle': rle,
            }
        )  # fmt: skip
    table = pyarrow.Table.from_pylist(rows, REGIONS)
    artifacts.save(view, LabelIssues(len(view), 'not used', np.full(len(view), np.nan), table))
    return view


def entries_of(folder, split='val'):
    return json.loads((folder / f'annotations/instances_{split}.json').read_text())['annotations']


def test_suggestions_are_accepted(run, coco_folder, tmp_path, capsys):
    output = tmp_path / 'corrected'
    command = ['--accept=0.5', f'--workdir={run.workdir}', f'--output={output}']
    assert apply_decisions.main([*command, f'--json={tmp_path / "out.json"}']) == 0
    shown = capsys.readouterr().out
    assert 'class has several categories' in shown and '| val' in shown
    result = json.loads((tmp_path / 'out.json').read_text())
    assert [row[0] for row in result['splits']['val']['corrections']] == ['add', 'change', 'remove']
    assert result['splits']['train'] == {'written': True, 'corrections': []}

    for split in ('train', 'val'):
        name = f'annotations/instances_{split}.json'
        same = (output / name).read_bytes() == (coco_folder / name).read_bytes()
        assert same == (split == 'train')
    before = {entry['id']: entry for entry in entries_of(coco_folder)}
    after = {entry['id']: entry for entry in entries_of(output)}
    assert len(after) == len(before)
    (new,) = (entry for key, entry in after.items() if key not in before)
    assert new['source'] == {
        'correction': 'add', 'kind': 'missing instance', 'score': 0.9, 'enlarged_from': [32, 32],
    }  # fmt: skip
    changed = [entry for key, entry in after.items() if entry != before.get(key, entry)]
    assert [entry['source']['correction'] for entry in changed] == ['change']

    # It is a data set with the same images, on which training can start.
    old, prepared = coco.open_prepared(run.data['path']), coco.prepare(output, tmp_path / 'data')
    assert not prepared.skipped['val'] == old.skipped['val'] or prepared.splits == old.splits
    for split in old.splits:
        np.testing.assert_array_equal(
            prepared.split(split).index.file_name, old.split(split).index.file_name
        )

    assert apply_decisions.main(command) == 0
    assert 'already there: train, val' in capsys.readouterr().out
    assert apply_decisions.main([f'--undo={output}', f'--output={tmp_path / "undone"}']) == 0
    with pytest.raises(SystemExit):
        apply_decisions.main([f'--undo={output}', '--output=x', f'--source={coco_folder}'])
    assert '--undo needs neither' in capsys.readouterr().err
    for split in ('train', 'val'):
        name = f'annotations/instances_{split}.json'
        assert (tmp_path / 'undone' / name).read_bytes() == (coco_folder / name).read_bytes()


@pytest.fixture
def two_checkpoints(run, tmp_path):
    """A copy of the run that was analyzed at a later checkpoint, too."""
    folder = tmp_path / 'twice'
    shutil.copytree(run.workdir, folder)
    shutil.copytree(folder / 'analysis/val-4', folder / 'analysis/val-8')
    later, issues = open_view(folder, 'val-8'), artifacts.load(run, LabelIssues)
    mask = np.zeros((SIZE, SIZE), np.uint8, order='F')
    mask[9:20, 10:24] = 1  # a little different
    rows = [{**issues.regions.to_pylist()[0], 'rle': mask_utils.encode(mask)['counts']}]
    table = pyarrow.Table.from_pylist(rows, REGIONS)
    artifacts.save(later, dataclasses.replace(issues, regions=table))
    return folder


def test_what_two_checkpoints_find_is_added_once(run, two_checkpoints, coco_folder, tmp_path):
    output = tmp_path / 'corrected'
    assert apply_decisions.main(
        ['--accept=0.5', f'--workdir={two_checkpoints}', f'--output={output}']
    ) == 0  # fmt: skip
    (new,) = [e for e in entries_of(output) if e not in entries_of(coco_folder)]
    assert new['source']['correction'] == 'add'
    assert apply_decisions.main(
        ['--accept=0.5', '--workdir', str(run.workdir), str(two_checkpoints), '--output',
         str(tmp_path / 'both')]
    ) == 0  # fmt: skip
    assert sum('source' in e for e in entries_of(tmp_path / 'both')) == 2  # added, changed


@pytest.fixture
def renamed(run, tmp_path):
    """The run with the classes human, which is the category person, and car, which is car or bus.

    Every other class is called as a category of its own.
    """
    folder = tmp_path / 'renamed'
    shutil.copytree(run.workdir, folder)
    config = read_config(folder / 'config.json')
    config.data.label_space = 'human: person; car: vehicle'
    save_config(config, folder / 'config.json')
    described = json.loads((folder / 'run.json').read_text())
    described['class_names'] = ['background', 'human', 'car']
    (folder / 'run.json').write_text(json.dumps(described))
    view, issues = open_view(folder, 'val-4'), artifacts.load(run, LabelIssues)
    names = {'person': 'human', 'vehicle': 'car', 'background': 'background'}
    rows = [{**row, 'suggested': names[row['suggested']]} for row in issues.regions.to_pylist()]
    table = pyarrow.Table.from_pylist(rows, REGIONS)
    artifacts.save(view, dataclasses.replace(issues, regions=table))
    return folder


def test_a_class_is_its_only_category_and_never_one_of_several(
    renamed, coco_folder, tmp_path, capsys
):
    output = tmp_path / 'corrected'
    command = ['--accept=0.5', f'--workdir={renamed}', f'--output={output}']
    assert apply_decisions.main([*command, f'--json={tmp_path / "out.json"}']) == 0
    result = json.loads((tmp_path / 'out.json').read_text())
    changes = result['splits']['val']['corrections']
    assert [(row[0], row[2]) for row in changes] == [
        ('add', 'person'), ('change', 'person'), ('remove', ''),
    ]  # fmt: skip
    assert list(result['skipped']) == [
        'add: class has several categories: choose one in the report'
    ]
    tasks = tmp_path / 'tasks'
    command = ['--tool=cvat', f'--workdir={renamed}', f'--output={tasks}']
    assert annotation_tasks.main([*command, f'--json={tmp_path / "out.json"}']) == 0
    result = json.loads((tmp_path / 'out.json').read_text())
    assert result['suggestions'] == 3
    assert result['skipped'] == {
        'suggestion: its class has several categories': {'count': 1, 'examples': ["'car'"]}
    }
    masks = [*ElementTree.parse(tasks / 'suggestions.xml').iter('mask')]
    assert [mask.get('label') for mask in masks if mask.get('source') == 'auto'] == ['person']
    suggested = [mask.find('attribute').text for mask in masks]
    assert sorted(filter(None, suggested)) == ['add 0.90', 'delete 0.70', 'person 0.60']


def test_listed_images_need_no_label_issues(run, tmp_path, capsys):
    folder = shutil.copytree(run.workdir, tmp_path / 'run')
    (tmp_path / 'ids.txt').write_text('\n'.join(map(str, run.image_ids[:2].tolist())))
    command = [f'--workdir={folder}', '--tool=cvat', f'--ids={tmp_path / "ids.txt"}']
    for number in (0, 1):
        output = tmp_path / f'tasks{number}'
        assert annotation_tasks.main([*command, f'--output={output}']) == 0
        shown = capsys.readouterr().out
        # Both splits have these ids, and the images of one of them have suggestions.
        assert ': 2 images with' in shown and (' 0 suggestions.' in shown) == bool(number)
        for path in folder.glob('analysis/val-4/label_issues*'):
            path.unlink()
    assert annotation_tasks.main([*command[:2], f'--output={tmp_path / "x"}']) == 1
    assert 'No run has label issues' in capsys.readouterr().err


@pytest.mark.parametrize('file_format', ['JPEG', 'WEBP', 'PNG'])
@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('apply_exif', [True, False, None])
def test_tools_show_images_as_they_are_annotated(tmp_path, file_format, order, apply_exif):
    exif = Image.Exif()
    exif[0x010E], exif[0x0112], exif.endian = 'a picture', 3 if apply_exif else 6, order
    data = coco_fixtures.picture(40, 30, 0, file_format, exif=exif)
    record = {'image': data, 'width': 40, 'height': 30, 'file_name': 'a'}
    if apply_exif is not None:  # as data sets of older versions have it
        record['apply_exif'] = apply_exif
    task, skipped = Task(1, 'train/a', 30, 40, ()), Skipped()
    written = annotation_tasks.fill(tmp_path, [(record, task)], {}, skipped)
    if file_format == 'PNG' and not apply_exif:
        (reason,) = skipped.as_dict()
        assert written == [] and 'its EXIF orientation turns it' in reason
        assert not [path for path in tmp_path.rglob('*') if path.is_file()]
        return
    assert written == [task] and skipped.as_dict() == {}
    with Image.open(tmp_path / 'images/train/a') as image:
        assert image.getexif()[0x010E] == 'a picture'
        shown = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(shown, transforms.decode_record(record))


def test_runs_on_other_data_are_refused(run, two_checkpoints, tmp_path, capsys):
    path = two_checkpoints / 'run.json'
    described = json.loads(path.read_text())
    described['data']['fingerprint']['id'] = 'other'
    path.write_text(json.dumps(described))
    for name in ('val-4', 'val-8'):
        view = open_view(two_checkpoints, name)
        artifacts.save(view, artifacts.load(run, LabelIssues))
    workdirs = ['--workdir', str(run.workdir), str(two_checkpoints), f'--output={tmp_path / "x"}']
    assert apply_decisions.main(['--accept=0.5', *workdirs]) == 1
    assert 'was trained on other data' in capsys.readouterr().err
    assert annotation_tasks.main(['--tool=cvat', *workdirs]) == 1
    assert 'was trained on other data' in capsys.readouterr().err


def decisions_file(run, path, **fields):
    key = int(run.image_ids[0])
    issues = artifacts.load(run, LabelIssues).regions.to_pylist()
    removal = {
        'action': 'remove', 'category': '', 'annotation_id': issues[2]['annotation_id'],
        'file_name': issues[2]['file_name'], 'split': 'val',
        'kind': 'spurious label', 'score': 0.7, 'region': None,
    }  # fmt: skip
    decision = {'exclude': False, 'regions': {'a': 'accept'}, 'corrections': {'a': removal}}
    fingerprint = run.data['fingerprint']['id']
    content = {'ids': [], 'fingerprint': fingerprint, 'decisions': {str(key): decision}, **fields}
    path.write_text(json.dumps(content))
    return path


def test_decisions_of_the_report_are_applied(run, coco_folder, tmp_path, capsys):
    file = decisions_file(run, tmp_path / 'exclude.json')
    command = [f'--decisions={file}', f'--output={tmp_path / "corrected"}']
    assert apply_decisions.main([*command, f'--workdir={run.workdir}']) == 0
    before, after = entries_of(coco_folder), entries_of(tmp_path / 'corrected')
    (gone,) = [entry for entry in before if entry not in after]
    assert len(after) == len(before) - 1
    # The image is in both splits; it was looked at in this one.
    assert entries_of(tmp_path / 'corrected', 'train') == entries_of(coco_folder, 'train')
    # Into one file that is named, too.
    source = coco_folder / 'annotations/instances_val.json'
    command = [f'--decisions={file}', f'--output={tmp_path / "val"}', f'--source={source}']
    assert apply_decisions.main(command) == 0
    assert entries_of(tmp_path / 'val') == after and gone['id']
    assert '| val | remove |' in capsys.readouterr().out
    # While another command writes there, nothing is written.
    with files.claim(tmp_path / 'busy'):
        assert apply_decisions.main([*command[::2], f'--output={tmp_path / "busy"}']) == 1
    assert 'Another command is writing into' in capsys.readouterr().err
    assert not list((tmp_path / 'busy').iterdir())
    assert apply_decisions.main([*command[::2], f'--output={tmp_path / "busy"}']) == 0


def test_invalid_arguments_are_one_clear_line(run, coco_folder, tmp_path, capsys):
    file = decisions_file(run, tmp_path / 'exclude.json', fingerprint='other')
    output = f'--output={tmp_path / "corrected"}'
    workdir = f'--workdir={run.workdir}'
    for arguments, message in (
        ([f'--decisions={file}', workdir, output], 'made for another data set'),
        ([f'--decisions={tmp_path / "no.json"}', workdir, output], 'No such file'),
        (['--accept=0.5', workdir, f'--output={coco_folder}'], 'never changed'),
        # It would be a part of the source when the command is repeated.
        (['--accept=0.5', workdir, f'--output={coco_folder / "x/y"}'], 'choose a folder outside'),
        (['--accept=0.5', f'--workdir={tmp_path}', output], 'is no run directory'),
        ([f'--returned={tmp_path / "none"}', workdir, output], 'none'),
    ):
        assert apply_decisions.main(arguments) == 1, message
        error = capsys.readouterr().err
        assert message in error and error.count('\n') == 1
    for arguments in (['--accept=2', workdir], ['--accept=0.5'], [f'--decisions={file}'], []):
        with pytest.raises(SystemExit):
            apply_decisions.main([*arguments, output])
    assert not (tmp_path / 'corrected').exists()


@pytest.mark.parametrize('tool', ['label_studio', 'cvat'])
def test_to_an_annotation_tool_and_back(run, coco_folder, tmp_path, tool, capsys):
    tasks, output = tmp_path / 'tasks', tmp_path / 'corrected'
    command = [f'--workdir={run.workdir}', f'--tool={tool}', f'--output={tasks}']
    assert annotation_tasks.main([*command, f'--json={tmp_path / "out.json"}']) == 0
    result = json.loads((tmp_path / 'out.json').read_text())
    assert (result['images'], result['suggestions']) == (4, 3)
    assert 'its class has several categories' in capsys.readouterr().out
    images = sorted(path.name for path in (tasks / 'images/val').iterdir())
    assert len(images) == 4
    assert (tasks / 'images/val' / images[0]).read_bytes() == (
        coco_folder / 'val' / images[0]
    ).read_bytes()

    # As if nothing had been changed there: the suggestion that CVAT shows as a shape is kept.
    if tool == 'cvat':
        (tasks / 'suggestions.xml').rename(tasks / 'annotations.xml')
    returned = [f'--returned={tasks}', f'--workdir={run.workdir}', f'--output={output}']
    assert apply_decisions.main([*returned, f'--json={tmp_path / "out.json"}']) == 0
    result = json.loads((tmp_path / 'out.json').read_text())
    added = [['add', '', 'person', 1]] if tool == 'cvat' else []
    assert result['splits']['val']['corrections'] == added
    assert result['skipped'] == {} and result['splits']['train']['corrections'] == []
