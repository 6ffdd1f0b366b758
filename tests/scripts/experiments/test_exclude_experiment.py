import json

import numpy as np
import pytest

from scripts.experiments import exclude_experiment
from segmentation.data.examples import open_data, select_examples


def test_choice_is_paired_and_of_equal_size():
    train_ids = np.arange(100, 200)
    chosen = exclude_experiment.choose(train_ids, {105, 150, 3}, 3)
    randoms = [chosen['random', seed] for seed in range(3)]
    assert all(chosen['worst', seed] == [105, 150] for seed in range(3))
    assert all(len(set(ids)) == 2 and set(ids) <= set(train_ids) - {105, 150} for ids in randoms)
    assert randoms[0] != randoms[1]
    assert chosen == exclude_experiment.choose(train_ids, {150, 105}, 3)


@pytest.mark.parametrize('suspicious', [{3}, set(range(100, 160))])
def test_nothing_to_compare(suspicious):
    with pytest.raises(ValueError, match='nothing to compare'):
        exclude_experiment.choose(np.arange(100, 200), suspicious, 1)


def counts_of(rng, accuracy):
    """Three seeds, 40 images, two classes: so large a share of the pixels is right."""
    wrong = rng.binomial(200, 1 - accuracy, (3, 40, 2))
    right = 200 - wrong
    return np.stack(
        [
            np.stack([right[..., 0], wrong[..., 0]], -1),
            np.stack([wrong[..., 1], right[..., 1]], -1),
        ],
        -2,
    )


def test_a_better_arm_is_seen_and_equal_ones_are_not():
    rng = np.random.default_rng(0)
    names = ('background', 'person')
    better = {'worst': counts_of(rng, 0.9), 'random': counts_of(rng, 0.8)}
    row = exclude_experiment.compare(better, names)['iou']['person']
    assert np.isclose(row['worst']['score'], 0.9 / 1.1, atol=0.02)
    assert row['difference']['interval'][0] > 0.1
    equal = {'worst': counts_of(rng, 0.8), 'random': counts_of(rng, 0.8)}
    low, high = exclude_experiment.compare(equal, names)['iou']['person']['difference']['interval']
    assert low < 0 < high
    same = dict.fromkeys(('worst', 'random'), equal['worst'])
    assert exclude_experiment.compare(same, names)['iou']['person']['difference']['difference'] == 0


CONFIG = """
from configs import default
def get_config():
    config = default.get_config()
    config.data.update({'source': %r, 'data_dir': %r, 'image_size': 32, 'require': 'nothing',
                        'threads': 2, 'selection_fraction': 0.3})
    config.model.update({'pretrained': '', 'width': 0.35})
    config.train.update({'batch_size': 8, 'num_steps': 1, 'recalibrate_batches': 0,
                         'num_pictures': 0})
    config.eval_batch_size = 8
    return config
"""


def test_trains_reports_and_does_not_train_again(
    coco_folder, data_dir, tiny_config, tmp_path, capsys, monkeypatch
):
    prepared = open_data(tiny_config.data)
    examples, _ = select_examples(prepared, tiny_config.data, 'train')
    (tmp_path / 'config.py').write_text(CONFIG % (str(coco_folder), str(data_dir)))
    worst = [int(examples.image_ids[0])]
    (tmp_path / 'exclude.json').write_text(json.dumps(worst))
    arguments = ['--config', str(tmp_path / 'config.py'), '--workdir', str(tmp_path / 'runs')]
    arguments += ['--exclude', str(tmp_path / 'exclude.json'), '--seeds', '1']
    assert exclude_experiment.main(arguments) == 0
    report = json.loads((tmp_path / 'runs' / 'exclude_experiment.json').read_text())
    assert report['excluded']['worst-seed0'] == worst and report['num_excluded'] == 1
    assert report['num_val'] == 6
    # A training that is there is not done again.
    monkeypatch.setattr(exclude_experiment.train, 'train', None)
    before = (tmp_path / 'runs' / 'exclude_experiment.md').read_text()
    assert exclude_experiment.main(arguments) == 0
    assert (tmp_path / 'runs' / 'exclude_experiment.md').read_text() == before
    capsys.readouterr()
    # Other images to leave out are refused there.
    (tmp_path / 'exclude.json').write_text(json.dumps([int(examples.image_ids[1])]))
    assert exclude_experiment.main(arguments) == 1
    assert 'choose another --workdir' in capsys.readouterr().err
    (tmp_path / 'exclude.json').write_text('{"ids": [1], "fingerprint": "another"}')
    assert exclude_experiment.main(arguments) == 1
    assert 'made for another data set' in capsys.readouterr().err
