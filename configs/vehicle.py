"""Person/vehicle: the second published experiment.

    python scripts/train.py --config configs/vehicle.py --workdir runs/vehicle
    python -m analysis.mean_iou --workdir runs/vehicle

Buses, trucks and trains join the cars in one class and are drawn over everything else. The images
are still those with a person and a car, at most 6000 for training and 2800 for validation.
Published IoU: person 0.319, vehicle 0.312 (over the set or per image is not documented). Nobody has
run it on all of COCO 2014 yet; configs/README.md has results on a subset.
"""

from configs import person_car


def get_config():
    config = person_car.get_config()
    config.data.label_space = 'person_vehicle'
    config.data.draw_last = ('bus', 'truck', 'train')
    config.data.require_of = ('person', 'car')
    return config
