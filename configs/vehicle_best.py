"""Person/vehicle with the recipe of person_car_best.py, at 256×256 pixels.

    python scripts/train.py --config configs/vehicle_best.py --workdir runs/vehicle_best \\
        --config.data.source=FOLDER --config.data.require=nothing \\
        --config.model.pretrained_resolution=224

Run time: 21 minutes on one CPU core with AVX-512. IoU on a subset of COCO (1,432 images, 5 folds, 2
repetitions): person 0.672 and vehicle 0.462; with as many steps, vehicle.py has 0.543 and 0.313
(intervals: configs/README.md). An image takes 1.23 times the multiply-adds of vehicle.py. Nobody
has run it on all of COCO 2014 yet.
"""

from configs import person_car_best, vehicle


def get_config():
    config = person_car_best.improve(vehicle.get_config())
    # Better than 192 on the selection splits of two folds, in persons and in vehicles.
    config.data.image_size = 256
    return config


search = person_car_best.search
