"""Person/car: the first published experiment.

    python scripts/train.py --config configs/person_car.py --workdir runs/person_car
    python -m analysis.mean_iou --workdir runs/person_car

COCO 2014, images with a person and a car, at most 6000 for training and 2800 for validation.
Published mean IoU: person 0.309, car 0.262 (whether over the set or per image is not said).
Run time and score of the full run: not measured by us yet; see the results table in the README.
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.label_space = 'person_car'
    return config
