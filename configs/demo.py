"""Demo: person/car on scenes that the project draws itself, from random initialisation.

    ./scripts/demo.sh

Needs no download and no accelerator: 6 minutes of training on two slow CPU cores. Mean IoU over
the 200 validation scenes at 128×128: person 0.356, car 0.392.
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
    # Finds small people and cars sooner than cross-entropy alone.
    config.loss.dice_weight = 1.0
    config.train.batch_size = 16
    config.train.num_steps = 600
    config.train.eval_every = 200
    config.train.recalibrate_batches = 16
    return config
