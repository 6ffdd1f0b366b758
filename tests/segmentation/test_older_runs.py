"""Run directories of older versions still open.

older_run.zip is a run that commit 77d0949 wrote, the last one before modules moved into packages:
config.json, run.json and the checkpoint of step 4. All values of the checkpoint's n-th array are n.
"""

import json
import pathlib
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segmentation import checkpoint, train_step, workdir
from segmentation.config import flat, read_config
from segmentation.models.unet import build_model
from segmentation.trained import restore_run

# Fields that came later, with what they were before.
LATER = {
    'data.exclude_from': ['train'], 'data.groups': '', 'data.max_crop': 1.0, 'data.paste': 0.0,
    'data.repeat': 0.0, 'model.decoder_width': 1.0,
    'optimizer.average': 0.0, 'optimizer.encoder_after': 0, 'optimizer.encoder_rate': 1.0,
}  # fmt: skip


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('older')
    with zipfile.ZipFile(pathlib.Path(__file__).with_name('older_run.zip')) as archive:
        for name in archive.namelist():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
    return folder


@pytest.fixture(scope='module')
def state(run):
    """What a training with the run's config starts from, without values."""
    config = read_config(run / 'config.json')
    model = build_model(config.model, 3)
    optimizer, _ = train_step.make_optimizer(config.optimizer, 1, True)

    def init():
        size = config.data.image_size
        variables = model.init(jax.random.key(0), jnp.zeros((1, size, size, 3)), train=False)
        moments = optimizer.init(variables['params'])
        return train_step.TrainState(
            jnp.zeros((), jnp.int32), variables['params'], variables['batch_stats'], moments
        )

    return jax.eval_shape(init)


def numbers(tree):
    """The value that all elements of each array have."""
    values = [np.unique(leaf).tolist() for leaf in jax.tree.leaves(tree)]
    assert all(len(value) == 1 for value in values)
    return [value[0] for value in values]


def test_the_config_is_read_as_it_was_written(run):
    found = flat(json.loads(json.dumps(read_config(run / 'config.json').to_dict())))
    assert found == {**flat(json.loads((run / 'config.json').read_text())), **LATER}


def test_a_field_that_is_gone_may_have_been_off(run, tmp_path):
    content = json.loads((run / 'config.json').read_text())
    for weight in (0.0, 0.5):
        content['loss']['lovasz_weight'] = weight
        (tmp_path / f'{weight}.json').write_text(json.dumps(content))
    assert read_config(tmp_path / '0.0.json') == read_config(run / 'config.json')
    with pytest.raises(ValueError, match='has the fields loss.lovasz_weight'):
        read_config(tmp_path / '0.5.json')


def test_a_training_continues(run, state):
    with checkpoint.open_manager(run, read_only=True) as manager:
        step, restored, data_state = checkpoint.restore_latest(manager, state)
    assert (step, data_state) == (4, {'next_index': 4})
    assert numbers(restored) == list(range(len(jax.tree.leaves(state))))
    now = workdir.read_description(run) | {'weights': {'weights.h5': '1234'}}  # not named then
    workdir.write_description(run, read_config(run / 'config.json'), now)


def test_the_network_is_restored(run, state):
    restored = restore_run(run)
    assert (restored.step, restored.class_names) == (4, ('background', 'person', 'car'))
    places = jax.tree.unflatten(jax.tree.structure(state), range(len(jax.tree.leaves(state))))
    expected = {'params': places.params, 'batch_stats': places.batch_stats}
    assert jax.tree.map(lambda leaf: int(leaf.flat[0]), restored.variables) == expected
