"""The functions that draw each kind of object."""

from collections.abc import Callable
from types import ModuleType

import numpy as np

from segmentation.scenes.description import Thing
from segmentation.scenes.drawing import cars, people, things, vehicles
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
    """Adapts a function of `things`, which only needs the pen, two colours and random numbers."""
    return lambda pen, thing, rng, view: draw(pen, *thing.colours, rng)


def _by_kind(module: ModuleType) -> dict[str, Callable[..., None]]:
    """The public functions of a module by the kind of thing that they draw."""
    functions = {name: f for name, f in vars(module).items() if name[0] != '_' and callable(f)}
    own = {name: f for name, f in functions.items() if f.__module__ == module.__name__}
    return {name.replace('_', ' '): draw for name, draw in own.items()}


SPRITES = {kind: _simple(draw) for kind, draw in _by_kind(things).items()}
SPRITES |= {'person': people.person, 'statue': people.statue, 'picture': people.picture}
SPRITES |= {'car': cars.car} | _by_kind(vehicles)
