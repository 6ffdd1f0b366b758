"""Person/car: the first published experiment.

    python scripts/train.py --config configs/person_car.py --workdir runs/person_car
    python -m analysis.mean_iou --workdir runs/person_car

COCO 2014, images with a person and a car, at most 6000 for training and 2800 for validation.
Published mean IoU: person 0.309, car 0.262 (whether over the set or per image is not said).
Our score on all of COCO 2014: nobody has run it yet; a small subset is in the README's table.
Expected run time: 200 epochs of 5,400 images, about 8 hours at the 36 images per second of two
shared CPU cores (an estimate); not measured on a GPU or TPU.
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.label_space = 'person_car'
    return config
