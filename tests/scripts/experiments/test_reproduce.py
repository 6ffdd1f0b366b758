"""The reproduction command, end to end on a tiny data set."""

import json
import os
import pathlib
import re
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image

from scripts.experiments import reproduce
from segmentation import launch
from segmentation.data import selection
from tests import coco_fixtures

FIELDS = {
    'data.image_size': 32,
    'data.require': 'nothing',
    'data.threads': 2,
    'data.selection_fraction': 0.3,
    'model.pretrained': '',
    'model.width': 0.35,
    'train.batch_size': 8,
    'train.num_steps': 2,
    'train.eval_every': 2,
    'train.recalibrate_batches': 0,
    'train.num_pictures': 0,
    'eval_batch_size': 8,
}


# Images of the fixture's training split in which nobody looked for trucks.
WITHOUT_TRUCKS = {1000, 993}


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """The tiny data set with trucks and trains among its categories."""
    documents = {'train': coco_fixtures.document(14), 'val': coco_fixtures.document(6, seed=1)}
    for split, document in documents.items():
        document['categories'] = [
            *document['categories'],
            {'id': 7, 'name': 'train', 'supercategory': 'vehicle'},
            {'id': 8, 'name': 'truck', 'supercategory': 'vehicle'},
        ]
        if split == 'val':  # other photographs than those of the training split
            for entry in (*document['images'], *document['annotations']):
                entry['image_id' if 'image_id' in entry else 'id'] += 1000
            for image in document['images']:
                image['file_name'] = f'{image["id"]}.jpg'
    folder = tmp_path_factory.mktemp('coco')
    rare = documents['train']['images'], documents['train']['annotations']
    documents['without_trucks'] = {
        **documents['train'],
        'images': [image for image in rare[0] if image['id'] in WITHOUT_TRUCKS],
        'annotations': [entry for entry in rare[1] if entry['image_id'] in WITHOUT_TRUCKS],
    }
    documents['train']['images'] = [i for i in rare[0] if i['id'] not in WITHOUT_TRUCKS]
    documents['train']['annotations'] = [
        entry for entry in rare[1] if entry['image_id'] not in WITHOUT_TRUCKS
    ]
    return coco_fixtures.write_folder(folder, documents)


@pytest.fixture(scope='module')
def arguments(source, data_dir):
    def make(workdir, *options, **fields):
        fields = {**FIELDS, 'data.data_dir': data_dir, **fields}
        return [
            f'--workdir={workdir}',
            f'--source={source}',
            *options,
            *(f'--config.{name}={value}' for name, value in fields.items()),
        ]

    return make


COMPLETE = {
    'data.complete': 'train: person, vehicle; val: person, vehicle; without_trucks: person, car',
    'data.train_splits': ('train', 'without_trucks'),
}


@pytest.fixture(scope='module')
def both(arguments, tmp_path_factory):
    """Directory of a run of both experiments in two folds."""
    workdir = tmp_path_factory.mktemp('both')
    options = ('--seeds=1', '--folds=2', f'--json={workdir / "out.json"}')
    assert reproduce.main(arguments(workdir, *options, **COMPLETE)) == 0
    return workdir


def test_each_image_is_scored_once_by_a_model_that_never_saw_it(both):
    images = json.loads((both / 'images.json').read_text())
    # 12 and 6 images; those without trucks are left out of both experiments.
    assert len(images['scored']) == 18 and not WITHOUT_TRUCKS & set(images['scored'])
    (left_out,) = (both / 'left_out').iterdir()
    assert json.loads(left_out.read_text())['ids'] == sorted(WITHOUT_TRUCKS)
    folds = selection.fold_of(images['scored'], 2)
    assert images['fold_of'] == dict(zip(map(str, images['scored']), folds.tolist(), strict=True))
    for experiment in ('person_car', 'vehicle'):
        scored = []
        for fold in range(2):
            run = both / experiment / f'seed0-fold{fold}'
            with np.load(run / 'scores.npz', allow_pickle=False) as arrays:
                scored += arrays['image_id'].tolist()
                assert set(selection.fold_of(arrays['image_id'], 2)) == {fold}
                for target in ('person_car', 'vehicle'):
                    assert (arrays[target].sum((1, 2)) == 32 * 32).all()
                assert (arrays['mirrored'].sum(2) == arrays[experiment].sum(2)).all()
                # At their own resolution, images have different numbers of pixels.
                assert len(set(arrays['full'].sum((1, 2)).tolist())) > 1
            used = json.loads((run / 'run.json').read_text())['images']
            assert used['train']['images'] + used['selection']['images'] == (folds != fold).sum()
        assert sorted(scored) == images['scored']


def test_report_holds_scores_and_claims(both):
    report = json.loads((both / 'out.json').read_text())
    assert report == json.loads((both / 'report.json').read_text())
    assert report['setup']['num_images'] == 18 and report['setup']['folds'] == 2
    assert 'data.source = ' in ' '.join(report['setup']['differs_from_published'])
    row = report['scores']['vehicle']['all images']['iou']['vehicle']
    assert 0 <= row['over_images'][0] <= row['score'] <= row['over_images'][1] <= 1
    names = {'full': 'at their own resolution', 'mirrored': 'averaged with the mirrored image'}
    for kind, name in names.items():
        runs = [both / 'vehicle' / f'seed0-fold{fold}' / 'scores.npz' for fold in range(2)]
        counts = sum(np.load(run, allow_pickle=False)[kind].sum(0) for run in runs)
        vehicle = counts[2, 2] / (counts[2].sum() + counts[:, 2].sum() - counts[2, 2])
        row = report['scores']['vehicle'][f'all images, {name}']['iou']
        assert row['vehicle']['score'] == pytest.approx(vehicle)
    for claim in report['claims']:
        assert len(claim['tests']) == 6
        assert claim['verdict'] == 'not resolvable with this data'  # one seed decides nothing
    markdown = (both / 'report.md').read_text()
    assert (
        'Not comparable' in markdown
        and '| 0.309 |' in markdown
        and 'Minimum detectable' in markdown
    )
    assert Image.open(both / 'report.png').width > 500


def test_both_models_are_scored_on_the_same_pixels(both):
    for fold in range(2):
        counts = [
            dict(np.load(both / name / f'seed0-fold{fold}' / 'scores.npz', allow_pickle=False))
            for name in ('person_car', 'vehicle')
        ]
        for target in ('person_car', 'vehicle'):
            truth = [part[target].sum(-1) for part in counts]
            np.testing.assert_array_equal(*truth)
        # Buses are vehicles, and are taken for background by the other target.
        merged, cars = (counts[0][target].sum((0, -1)) for target in ('vehicle', 'person_car'))
        assert merged[2] > cars[2]


def unchanged(workdir):
    return {
        path: path.stat().st_mtime_ns
        for path in workdir.rglob('*')
        if path.is_file() and path.parent != workdir
    }


def test_stopped_run_continues_and_finished_ones_are_left_alone(arguments, tmp_path, capsys):
    fields = {'train.num_steps': 16, 'train.eval_every': 16, 'train.log_every': 1}
    command = arguments(
        tmp_path, '--seeds=1', '--experiments=person_car', '--fractions=0.6', **fields
    )
    first = tmp_path / 'person_car' / 'seed0'

    def stop():
        metrics = first / 'metrics.jsonl'
        while not (metrics.exists() and metrics.stat().st_size):  # a step has been made
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGTERM)

    killer = threading.Thread(target=stop)
    killer.start()
    assert reproduce.main(command) == launch.EXIT_STOPPED
    killer.join()
    assert 'The same command continues' in capsys.readouterr().err
    assert not (tmp_path / 'report.md').exists()
    steps = [path.name for path in (first / 'checkpoints').iterdir() if path.name.isdecimal()]
    assert steps and 0 < int(steps[0]) < 16
    assert reproduce.main([*command, '--report_only']) == 1  # nothing is complete

    assert reproduce.main(command) == 0
    out = capsys.readouterr().out
    assert '2 training runs, 0 of them finished' in out
    assert re.search(r'\d\d:\d\d<\d\d:\d\d, .*training images', out)  # the time that is left
    lines = [json.loads(line) for line in (first / 'metrics.jsonl').read_text().splitlines()]
    trained = [line['step'] for line in lines if 'train/loss' in line]
    assert trained == sorted(set(trained)) and trained[-1] == 16
    curve = json.loads((tmp_path / 'report.json').read_text())['learning_curve']
    assert curve[0]['sizes'][0] < curve[0]['sizes'][1] == 12
    assert 'cannot test' in curve[0]['prediction']['not_identifiable'][0]
    images = json.loads((tmp_path / 'images.json').read_text())
    assert len(images['train']) + len(images['selection']) == 12 and len(images['scored']) == 6

    def scores():
        return json.loads((tmp_path / 'report.json').read_text())['scores']

    before, report = unchanged(tmp_path), scores()
    (tmp_path / 'report.md').unlink()
    assert reproduce.main(command) == 0
    assert '2 training runs, 2 of them finished' in capsys.readouterr().out
    assert unchanged(tmp_path) == before
    assert (tmp_path / 'report.md').exists()
    assert scores() == report

    # Damaged scores are counted again from the checkpoint; nothing is trained.
    whole = (first / 'scores.npz').read_bytes()
    (first / 'scores.npz').write_bytes(whole[: len(whole) // 2])
    checkpoints = unchanged(first / 'checkpoints')
    assert reproduce.main(command) == 0
    assert 'scoring again' in capsys.readouterr().err
    assert unchanged(first / 'checkpoints') == checkpoints
    assert scores() == report

    # Another experiment in the same directory is refused, and so is a smaller budget.
    assert reproduce.main([*command, '--config.optimizer.learning_rate=0.1']) == 1
    assert 'optimizer.learning_rate: 0.001 in the run, 0.1 now' in capsys.readouterr().err
    assert reproduce.main([*command, '--config.train.num_steps=2']) == 1
    assert 'smaller budget' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('--config.seed=3', 'seed cannot be overridden here'),
        ('--config.data.label_space=person_any_vehicle', 'data.label_space cannot be'),
        ('--config.data.requires=nothing', 'Did you mean "data.require"'),
        ('--source=/nowhere', 'neither a folder'),
        ('--variant=vehicle', 'Two experiments are named vehicle'),
        ('--experiments=vehicle,configs/vehicle.py', 'Two experiments are named vehicle'),
    ],
)
def test_mistakes_are_one_clear_line(arguments, tmp_path, capsys, option, message):
    assert reproduce.main([*arguments(tmp_path), option]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('--experiments=person_cat', 'unknown experiments'),
        ('--experiments=nowhere/mine.py', 'there is no file nowhere/mine.py'),
        ('--fractions=0.5,2', 'at most 1'),
        ('--fractions=half', 'numbers such as'),
        ('--folds=1', 'at least 2'),
        ('--variant=../vehicle', 'a name has letters'),
    ],
)
def test_wrong_options(tmp_path, capsys, option, message):
    with pytest.raises(SystemExit):
        reproduce.main([f'--workdir={tmp_path}', option])
    assert message in capsys.readouterr().err


def test_plan_is_nested_and_has_equal_steps(arguments, tmp_path):
    """Whole reports first; every size is trained for as many steps as the whole set."""
    command = arguments(
        tmp_path, '--seeds=2', '--folds=2', '--fractions=0.6', '--curve_seeds=1',
        **{'train.num_steps': 0, 'train.num_epochs': 10},
    )  # fmt: skip
    parsed, overrides = reproduce.parse_arguments(command)
    configs = reproduce.base_configs(parsed, overrides)
    prepared = reproduce.open_data(configs['vehicle'].data)
    plan = reproduce.make_plan(parsed, prepared, configs)
    order = [(t.seed, t.fraction, t.fold, t.experiment) for t in plan]
    assert order[:4] == [(0, 1.0, f, e) for f in (0, 1) for e in ('person_car', 'vehicle')]
    assert [key[:2] for key in order[::4]] == [(0, 1.0), (0, 0.6), (1, 1.0)]
    assert len({t.directory for t in plan}) == len(plan) == 12
    assert plan[4].directory == pathlib.Path(tmp_path, 'person_car', 'seed0-fold0-0.6')
    by_key = {key: t for key, t in zip(order, plan, strict=True)}
    for fold in range(2):
        whole, part = (by_key[0, fraction, fold, 'vehicle'] for fraction in (1.0, 0.6))
        assert whole.config.train.num_steps == part.config.train.num_steps > 0
        assert part.num_images < whole.num_images
    # Independent trainings of different folds, seeds and sizes; paired ones of experiments.
    assert len({(t.seed, t.fraction, t.fold, t.config.seed) for t in plan}) == 6
    assert len({t.config.seed for t in plan}) == 6


def test_variants_of_any_config_file_are_compared(arguments, tmp_path):
    """Two variants of a config of the user's own, one of which is better in no way: its twin."""
    config = tmp_path / 'mine.py'
    config.write_text(
        'from configs import person_car\n'
        'def get_config():\n'
        '    config = person_car.get_config()\n'
        '    config.optimizer.learning_rate = 0.01\n'
        '    return config\n'
    )
    command = arguments(tmp_path / 'runs', '--seeds=1', f'--experiments={config}')
    command += ['--variant', 'twin', 'optimizer.learning_rate=0.01']
    command += ['--variant', 'slow', 'optimizer.learning_rate=1e-6', 'data.antialias=False']
    assert reproduce.main(command) == 0
    rates = {
        name: read(tmp_path / 'runs' / name / 'seed0' / 'config.json')['optimizer']['learning_rate']
        for name in ('mine', 'twin', 'slow')
    }
    assert rates == {'mine': 0.01, 'twin': 0.01, 'slow': 1e-6}
    report = read(tmp_path / 'runs' / 'report.json')
    assert 'optimizer.learning_rate = 0.01' in report['setup']['differs_from_published']
    differences = {
        claim['claim']: [test['difference'] for test in claim['tests']]
        for claim in report['claims']
    }
    assert len(differences) == 6 and all(map(len, differences.values()))
    assert differences['twin scores higher than mine in foreground mean'] == [0, 0]
    assert differences['slow scores higher than mine in person'] != [0, 0]
    assert report['published'] == {'mine': {}, 'twin': {}, 'slow': {}}


def test_networks_of_all_sizes_are_scored_on_the_same_pixels(arguments, tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text(
        'from configs import person_car\n'
        'def get_config():\n'
        '    config = person_car.get_config()\n'
        '    config.optimizer.warmup_steps = 1\n'
        '    return config\n'
    )
    command = arguments(tmp_path / 'runs', '--seeds=1', f'--experiments=person_car,{config}')
    assert reproduce.main([*command, '--variant', 'large', 'data.image_size=64']) == 0
    scores = [
        np.load(tmp_path / 'runs' / name / 'seed0' / 'scores.npz', allow_pickle=False)['person_car']
        for name in ('person_car', 'mine', 'large')
    ]
    assert [score[0].sum() for score in scores] == [32 * 32] * 3
    first, *others = (score.sum(2) for score in scores)
    for other in others:
        np.testing.assert_array_equal(first, other)  # the same true classes
    # A variant is one of the last experiment, and is compared with it too.
    large = read(tmp_path / 'runs' / 'large' / 'seed0' / 'config.json')
    assert large['optimizer']['warmup_steps'] == 1
    claims = {claim['claim'] for claim in read(tmp_path / 'runs' / 'report.json')['claims']}
    assert {
        f'large scores higher than {name} in person' for name in ('person_car', 'mine')
    } < claims
    assert 'IoU at 32×32 pixels' in (tmp_path / 'runs' / 'report.md').read_text()


def test_experiments_that_cannot_be_compared_are_refused(arguments, tmp_path, capsys):
    command = arguments(tmp_path, '--experiments=person_car')
    assert reproduce.main([*command, '--variant', 'other', "data.exclude_from=('val',)"]) == 1
    assert 'other differs from person_car in data.exclude_from' in capsys.readouterr().err
    assert reproduce.main([*command, '--variant', 'other', 'data.fraction=0.5']) == 1
    assert 'data.fraction cannot be overridden' in capsys.readouterr().err


def read(path):
    return json.loads(path.read_text())


def test_caps_that_choose_other_images_are_refused(arguments, tmp_path, capsys):
    # The cap counts images that the vehicle experiment cannot use.
    splits = ('without_trucks', 'train')
    fields = {**COMPLETE, 'data.train_splits': splits, 'data.max_train': 10, 'data.max_val': 10}
    assert reproduce.main(arguments(tmp_path, '--seeds=1', **fields)) == 1
    error = capsys.readouterr().err
    assert 'use different train images' in error and '--config.data.max_train=0' in error
    assert not (tmp_path / 'person_car').exists()


def test_the_data_are_those_of_the_configs(tmp_path, capsys):
    for name, source in (('one', '/nowhere/one'), ('two', '/nowhere/two')):
        (tmp_path / f'{name}.py').write_text(
            'from configs import person_car\n'
            'def get_config():\n'
            '    config = person_car.get_config()\n'
            f'    config.data.source = {source!r}\n'
            '    return config\n'
        )
    one, two = (str(tmp_path / f'{name}.py') for name in ('one', 'two'))
    command = [f'--workdir={tmp_path}', '--seeds=1']
    assert reproduce.main([*command, f'--experiments={one}']) == 1
    assert '/nowhere/one' in capsys.readouterr().err
    assert reproduce.main([*command, f'--experiments={one},{two}']) == 1
    assert 'two differs from one in data.source' in capsys.readouterr().err


def test_training_without_listed_and_without_random_images(arguments, tmp_path, capsys):
    command = arguments(tmp_path / 'runs', '--seeds=2', '--experiments=person_car')
    command.append(f'--exclude={tmp_path / "exclude.json"}')
    parsed, overrides = reproduce.parse_arguments(command)
    config = reproduce.base_configs(parsed, overrides)['person_car']
    prepared = reproduce.open_data(config.data)
    ids = {
        part: reproduce.select_examples(prepared, config.data, part)[0].image_ids.tolist()
        for part in ('train', 'selection', 'val')
    }
    # Images that choose the checkpoint or are scored stay, even if they are listed.
    listed = [ids['train'][0], ids['selection'][0], ids['val'][0]]
    (tmp_path / 'exclude.json').write_text(json.dumps(listed))
    assert reproduce.main(command) == 0

    def excluded(arm, seed):
        config = read(tmp_path / 'runs' / f'person_car{arm}' / f'seed{seed}' / 'config.json')
        path = config['data']['exclude']
        return read(pathlib.Path(path))['ids'] if path else []

    assert [excluded(arm, 0) for arm in ('', reproduce.LISTED)] == [[], listed[:1]]
    (chance,) = excluded(reproduce.RANDOM, 0)
    assert chance in ids['train'][1:]
    for arm, number in (('', 0), (reproduce.LISTED, 1), (reproduce.RANDOM, 1)):
        used = read(tmp_path / 'runs' / f'person_car{arm}' / 'seed1' / 'run.json')['images']
        assert used['train']['images'] == len(ids['train']) - number
        assert used['selection']['images'] == len(ids['selection'])
    report = read(tmp_path / 'runs' / 'report.json')
    assert report['setup']['num_images'] == len(ids['val'])
    names = [f'person_car{arm}' for arm in ('', reproduce.LISTED, reproduce.RANDOM)]
    models = [claim['models'] for claim in report['claims']]
    assert models[::3] == [names[:2], names[::2], names[:0:-1]]
    # A list of other images is another experiment, in the same directories.
    (tmp_path / 'exclude.json').write_text(json.dumps(ids['train'][1:2]))
    assert reproduce.main(command) == 1
    assert 'data.exclude' in capsys.readouterr().err
    (tmp_path / 'exclude.json').write_text('{"ids": [1], "fingerprint": "another"}')
    assert reproduce.main(command) == 1
    assert 'made for another data set' in capsys.readouterr().err
