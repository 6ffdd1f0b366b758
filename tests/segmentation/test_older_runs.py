"""Run directories of older versions still open."""

import hashlib
import json

import jax
import jax.numpy as jnp
import pytest

from segmentation.config import flat, read_config
from segmentation.models.unet import build_model

# config.json of a run of version 0.2.0, before modules moved into packages.
CONFIG = json.loads("""
{"data": {"antialias": true, "color_jitter": 0.0, "complete": "", "crowd": "label", "data_dir":
"data", "draw_last": [], "exclude": "", "flip": false, "fold": 0, "folds": 0, "fraction": 1.0,
"image_size": 128, "input_range": "imagenet", "label_space": "person_car", "max_train": 6000,
"max_val": 2800, "min_crop": 1.0, "overlap": "annotation", "prefetch": 8, "require": "nothing",
"require_of": [], "scenes": {"error_rate": 0.02, "planted": false, "seed": 0, "train": 800, "val":
200}, "selection_fraction": 0.02, "source": "photos", "threads": 4, "train_splits": ["train",
"val"], "val_splits": ["val"], "workers": 0}, "eval_batch_size": 32, "loss": {"class_weights": [],
"dice_weight": 0.0, "label_smoothing": 0.0}, "model": {"decoder_bn_momentum": 0.99, "dropout":
0.0, "dtype": "float32", "encoder_bn_momentum": 0.999, "encoder_statistics": "batch",
"encoder_trainable": false, "norm": "batch", "pretrained": "imagenet", "pretrained_resolution":
128, "upsampling": "transposed", "width": 1.0}, "optimizer": {"clip_norm": 0.0, "learning_rate":
0.001, "name": "adam", "schedule": "constant", "skip_nonfinite": 0, "warmup_steps": 0,
"weight_decay": 0.0}, "seed": 0, "train": {"batch_size": 16, "checkpoint_every": 0, "eval_every":
100, "keep_every": 0, "log_every": 20, "num_epochs": 200, "num_pictures": 8, "num_steps": 200,
"recalibrate_batches": 32}}
""")
# Fields that came later, with what they were before.
LATER = {
    'data.exclude_from': ['train'], 'data.groups': '', 'data.max_crop': 1.0, 'data.paste': 0.0,
    'data.repeat': 0.0, 'loss.lovasz_weight': 0.0, 'model.decoder_width': 1.0,
    'optimizer.average': 0.0, 'optimizer.encoder_after': 0, 'optimizer.encoder_rate': 1.0,
}  # fmt: skip
# Names, shapes and types of all arrays in a checkpoint of that run.
NUM_ARRAYS = 273
LAYOUT = '6ead056718320b0611652046f4fda61a9ccc42f97dc8dea2ee8ba21b80703944'


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'config.json'
    path.write_text(json.dumps(CONFIG))
    return read_config(path)


def test_the_config_is_read_as_it_was_written(config):
    found = flat(json.loads(json.dumps(config.to_dict())))
    assert found == {**flat(CONFIG), **LATER}


def test_a_checkpoint_has_the_arrays_that_the_network_needs(config):
    model = build_model(config.model, 3)
    size = config.data.image_size
    variables = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, size, size, 3)), train=False)
    )
    layout = sorted(
        f'{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}'
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    )
    assert len(layout) == NUM_ARRAYS
    assert hashlib.sha256('\n'.join(layout).encode()).hexdigest() == LAYOUT
