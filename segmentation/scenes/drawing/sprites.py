"""The functions that draw each kind of object."""

from collections.abc import Callable

import numpy as np

from segmentation.scenes.description import Thing
from segmentation.scenes.drawing import cars, people, props, things, vehicles
from segmentation.scenes.drawing.palette import CLOTHES, PAINT, TROUSERS, pick, some
from segmentation.scenes.drawing.pen import Pen, View


def crowd(pen: Pen, thing: Thing, rng: np.random.Generator, view: View) -> None:
    """Draws many people or parked cars, which are annotated as one crowd region."""
    for i in sorted(range(thing.crowd), key=lambda i: -(i * 7 % 5)):
        away = (i * 7 % 5) * 0.5
        if thing.kind == 'car':
            p = pen.moved((i - thing.crowd / 2) * 2.6 + rng.normal(0, 0.3), away * 0.3)
            cars.car_side(p, some(rng, PAINT), rng)
        else:
            x = (i - thing.crowd / 2) * 0.42 + rng.normal(0, 0.08)
            p = pen.moved(x, away * 0.25, rng.uniform(0.85, 1.05))
            pose, seed = pick(rng, ('stand', 'back', 'walk', 'stand')), int(rng.integers(1 << 30))
            people.figure(p, pose, seed, some(rng, CLOTHES), some(rng, TROUSERS), rng)


def _simple(draw: Callable[..., None]) -> Callable[..., None]:
    """Adapts a function that only needs the pen, two colours and random numbers."""
    return lambda pen, thing, rng, view: draw(pen, *thing.colours, rng)


_FULL = (
    people.person, people.statue, people.picture, cars.car, vehicles.bus, vehicles.truck,
    vehicles.train, vehicles.bicycle, vehicles.motorcycle,
)  # fmt: skip
_SIMPLE = (
    things.dog, things.cow, things.bench, things.traffic_light, things.stop_sign,
    things.fire_hydrant, things.potted_plant, things.chair, things.couch, things.dining_table,
    things.tv, things.umbrella, things.suitcase, things.handbag, things.tennis_racket,
    things.sports_ball, things.skis, things.surfboard, things.boat,
    props.tree, props.pine, props.bush, props.lamp, props.post, props.column, props.fence,
    props.frame, props.board, props.raft, props.toy_car,
)  # fmt: skip


def _kind(function: Callable[..., None]) -> str:
    return function.__name__.replace('_', ' ')


SPRITES = {_kind(draw): draw for draw in _FULL} | {_kind(draw): _simple(draw) for draw in _SIMPLE}
