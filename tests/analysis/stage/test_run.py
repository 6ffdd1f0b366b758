import json
import shutil

import pytest

from analysis.stage import run as analysis_run
from segmentation import trained, workdir
from segmentation.config import save_config
from segmentation.data.examples import open_data


@pytest.fixture
def run(tiny_config, tmp_path):
    """A described run, without its checkpoint."""
    prepared = open_data(tiny_config.data)
    described = workdir.describe_run(prepared, {}, ('background', 'person', 'car'))
    workdir.write_description(tmp_path, tiny_config, described)
    return trained.Run(
        tmp_path, tiny_config, ('background', 'person', 'car'), None, dict, 0, described['data']
    )


def test_examples_of_the_run(run, tmp_path):
    examples, report = analysis_run.open_examples(run, 'val')
    assert len(examples) == report['images'] == 6
    moved = shutil.copytree(run.data['path'], tmp_path / 'moved')
    assert len(analysis_run.open_examples(run, 'val', str(moved))[0]) == 6


def test_other_data_is_refused(run):
    run.data['fingerprint'] = {**run.data['fingerprint'], 'id': 'another'}
    with pytest.raises(ValueError, match='is not the data set that .* was trained on'):
        analysis_run.open_examples(run, 'val')


def test_missing_data_says_what_to_do(run):
    run.data['path'] = '/nowhere'
    with pytest.raises(ValueError, match='--data_path'):
        analysis_run.open_examples(run, 'val')


def test_unknown_part(run):
    with pytest.raises(ValueError, match="Unknown part 'test'"):
        analysis_run.open_examples(run, 'test')


def test_no_run_directory(tmp_path):
    with pytest.raises(ValueError, match='no run directory'):
        trained.restore_run(tmp_path / 'nothing')


@pytest.mark.parametrize('text', ['', '[]', '{"class_names": ["background"]}', '{"data": 3}'])
def test_damaged_description_is_named(run, text):
    (run.workdir / 'run.json').write_text(text)
    with pytest.raises(ValueError, match='run.json is damaged'):
        trained.restore_run(run.workdir)


def test_description_of_another_run_is_left_alone(run, tiny_config):
    before = (run.workdir / 'config.json').read_text()
    tiny_config.seed = 1
    (run.workdir / 'checkpoints' / '7').mkdir(parents=True)
    described = json.loads((run.workdir / 'run.json').read_text())
    with pytest.raises(ValueError, match='seed: 0 in the run, 1 now'):
        workdir.write_description(run.workdir, tiny_config, described)
    assert (run.workdir / 'config.json').read_text() == before
    save_config(tiny_config, run.workdir / 'config.json')
    workdir.write_description(run.workdir, tiny_config, described)
