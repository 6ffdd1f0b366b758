"""Person/car with the settings that a sweep chose for what the published protocol leaves open.

    python scripts/experiments/reproduce.py --workdir runs/best \\
        --experiments person_car,person_car_best

trains both, over seeds, and says by how much this one is better. What differs from person_car was
chosen on a selection split of a subset of COCO (README), by `sweep_protocol` and `sweep_combined`.
Score: foreground mean IoU 0.369 instead of 0.295 on 277 photographs after 300 steps of 16 images
(5 seeds; difference +0.074 [+0.018, +0.129]). Expected run time: that of person_car. Nobody has run
it on all of COCO 2014.
"""

from configs import person_car


def get_config():
    config = person_car.get_config()
    # Of the subset's pixels 0.9 % are of cars; without weights hardly any are found at first.
    config.loss.class_weights = (0.5, 1.0, 2.0)
    config.loss.label_smoothing = 0.1
    return config
