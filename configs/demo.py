"""Demo: person/car on scenes that the project draws itself, from random initialization.

    ./scripts/demo.sh

Needs no download and no accelerator. Training takes 2 minutes on two CPU cores, 6 on slow ones.
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.source = 'scenes'
    config.data.data_dir = 'data'
    config.data.require = 'nothing'
    config.data.flip = True
    config.model.pretrained = ''
    config.model.encoder_trainable = True
    config.model.width = 0.5
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = 'cosine'
    config.optimizer.warmup_steps = 50
    # Learns small people and cars sooner than cross-entropy alone.
    config.loss.dice_weight = 1.0
    config.train.batch_size = 16
    config.train.num_steps = 600
    config.train.eval_every = 200
    config.train.recalibrate_batches = 16
    return config


def sweep():
    """Six training runs: python scripts/sweep.py --config configs/demo.py --workdir runs/sweep"""
    for learning_rate in (1e-3, 2e-3, 4e-3):
        for dice_weight in (0.0, 1.0):
            yield {'optimizer.learning_rate': learning_rate, 'loss.dice_weight': dice_weight}


def search():
    """Ranges for the same command with --search tpe --trials 20 --prune."""
    return {
        'optimizer.learning_rate': {'low': 3e-4, 'high': 1e-2, 'log': True},
        'loss.dice_weight': {'low': 0.0, 'high': 2.0},
        'model.dropout': [0.0, 0.2],
    }
