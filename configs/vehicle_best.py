"""Person/vehicle with the recipe of person_car_best.py.

    python scripts/train.py --config configs/vehicle_best.py --workdir runs/vehicle_best \\
        --config.data.source=FOLDER --config.data.require=nothing

Estimated run time: 20 minutes on two shared CPU cores. Nobody has run it on all of COCO 2014 yet.
"""

from configs import person_car_best, vehicle


def get_config():
    return person_car_best.improve(vehicle.get_config())


search = person_car_best.search
