"""Person/car on drawn scenes with planted truth, to score the analysis of the trained model.

    python scripts/train.py --config configs/planted.py --workdir runs/planted

The network and its training are the demo's. annotations/planted_<split>.jsonl in the folder of the
scenes holds the planted truth (see segmentation/scenes/planted/truth.py); training never reads it.
Develop on this seed; scripts/experiments/score_analysis.py scores on held-out ones.
"""

from configs import demo


def get_config():
    config = demo.get_config()
    config.data.scenes.planted = True
    config.data.scenes.train = 1200
    config.data.scenes.val = 600
    return config
