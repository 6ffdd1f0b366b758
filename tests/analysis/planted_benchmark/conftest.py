"""Six planted scenes, and a network before its first step."""

import pytest

from analysis.stage.run import open_analysis
from segmentation import checkpoint, scenes, train_step, workdir
from segmentation.config import read_config
from segmentation.data import examples
from segmentation.models.unet import build_model

NAMES = ('background', 'person', 'car')


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp('drawn')
    scenes.write_scenes(folder / 'scenes', {'train': 2, 'val': 6}, workers=1, error_rate=0.02)
    return folder


@pytest.fixture(scope='module')
def analysis(drawn, tiny_run):
    """Of a network before its first step on six planted scenes."""
    config, folder = read_config(tiny_run / 'config.json'), drawn / 'run'
    config.data.source, config.data.data_dir = str(drawn / 'scenes'), str(drawn / 'data')
    config.data.selection_fraction = 0.0
    folder.mkdir()
    prepared = examples.open_data(config.data)
    workdir.write_description(folder, config, workdir.describe_run(prepared, {}, NAMES))
    model = build_model(config.model, len(NAMES))
    optimizer, _ = train_step.make_optimizer(config.optimizer, 1, True)
    state = train_step.init_state(model, optimizer, config)
    with checkpoint.open_manager(folder) as manager:
        checkpoint.save(manager, 0, state, {}, {checkpoint.BEST_METRIC: 0.0})
    return open_analysis(folder)
