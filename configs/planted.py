"""Person/car on drawn scenes with planted truth, to score the analysis of the trained model.

    python scripts/train.py --config configs/planted.py --workdir runs/planted

The network and its training are the demo's. What was planted is told by
annotations/planted_<split>.jsonl in the folder of the scenes (see segmentation/scenes/truth.py),
which training never reads. Develop on this seed, score on those that are kept aside for it:
--config.data.scenes.seed=N for the N of segmentation.scenes.HELD_OUT_SEEDS.
"""

from configs import demo


def get_config():
    config = demo.get_config()
    config.data.scenes.planted = True
    config.data.scenes.train = 1200
    config.data.scenes.val = 600
    return config
