"""Hidden slices: objects that are hard because of their texture, color or pose.

No column of the metadata measures these. No training scene has them, so a network has not learned
them. A scene of version 3 is that of version 2 in which one thing is changed, or one is added.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from segmentation.scenes.description import INDOORS, Scene, Thing
from segmentation.scenes.drawing.palette import COLORS, some

VERSION = 3  # of the scenes, see `sampling`
HELD_OUT_SEEDS = (9201, 9202, 9203, 9204, 9205)
TRAINING = 'train'  # the split without hidden slices
_SMALLEST = {'person': 0.28, 'car': 0.14}  # height of a thing, in heights of the image
_HEIGHT = {'person': 1.75, 'car': 1.45}  # meters
_PLAIN_POSES = ('stand', 'back', 'walk', 'phone', 'wave')
_NO_CARS = (*INDOORS, 'sea', 'court')  # settings
_WIDTH = {'person': 0.6, 'car': 4.0}  # meters; of what is in front of an added thing
_PLACES = 12  # that are tried for an added thing
_DAY = 0.6  # least brightness in which colors are seen


def _turned(thing: Thing) -> Thing:
    """Upside down, on the ground."""
    up = _HEIGHT[thing.kind] * thing.scale
    return dataclasses.replace(thing, tilt=math.pi, y=thing.y - up)


def _finished(finish: str) -> Callable[[Thing], Thing]:
    return lambda thing: dataclasses.replace(thing, finish=finish)


class _Slice(NamedTuple):
    share: float  # of the scenes; those that it cannot be in are left as they are
    kind: str  # of the thing
    change: Callable[[Thing], Thing]


_SLICES = {
    'person in lime': _Slice(0.1, 'person', _finished('lime')),
    'person in stripes': _Slice(0.08, 'person', _finished('stripes')),
    'car upside down': _Slice(0.2, 'car', _turned),
    'car in checks': _Slice(0.14, 'car', _finished('checks')),
    'car in lime': _Slice(0.14, 'car', _finished('lime')),
}
SLICES = tuple(_SLICES)


def plant(scene: Scene, seed: int, split: int, index: int) -> tuple[Scene, tuple[str, int] | None]:
    """Puts a thing of a hidden slice into a scene, by the index of the scene alone.

    Args:
      scene: without label error and hard slice.
      seed: of the scenes.
      split: its number, see `split_number`.
      index: of the scene.

    Returns:
      The scene, and the slice with the index of the thing; or the same scene and None.
    """
    rng = np.random.default_rng([seed, split, index, 8])
    u, bounds = rng.random(), np.cumsum([each.share for each in _SLICES.values()])
    if u >= bounds[-1]:
        return scene, None
    name = SLICES[int(np.searchsorted(bounds, u, 'right'))]
    _, kind, change = _SLICES[name]
    colorless = scene.grayscale or scene.wash or scene.light.brightness < _DAY
    if (kind == 'car' and scene.setting in _NO_CARS) or ('lime' in name and colorless):
        return scene, None
    things = list(scene.things)
    chosen = [number for number, thing in enumerate(things) if _suits(thing, kind, scene)]
    if chosen:
        number = int(rng.choice(chosen))
    else:
        added = _added(kind, scene, rng)
        number = sum(thing.depth >= added.depth for thing in things)  # sorted from the back
        things.insert(number, added)
    things[number] = change(things[number])
    return dataclasses.replace(scene, things=tuple(things)), (name, number)


def _suits(thing: Thing, kind: str, scene: Scene) -> bool:
    """Whether a thing is a large one of a kind, in the image and in a plain pose."""
    height = _HEIGHT[kind] * thing.scale
    return (
        thing.kind == kind
        and not thing.crowd
        and (kind == 'car' or thing.pose in _PLAIN_POSES)
        and height >= _SMALLEST[kind] * scene.height
        and 0.1 * scene.width < thing.x < 0.9 * scene.width
        and thing.y - height > -0.2 * height
        and thing.y < 1.05 * scene.height
    )


def _added(kind: str, scene: Scene, rng: np.random.Generator) -> Thing:
    """A thing on the ground, where least is in front of it."""
    scale = rng.uniform(1.1, 1.7) * _SMALLEST[kind] * scene.height / _HEIGHT[kind]
    poses = _PLAIN_POSES if kind == 'person' else ('side', 'side', 'front', 'back')
    first, second = (some(rng, colors, 10) for colors in COLORS[kind])
    depth = scene.focal / float(scale)
    nearer = [thing for thing in scene.things if thing.depth < depth]

    def gap(x: float) -> float:
        halves = ((thing, _WIDTH.get(thing.kind, 1.5) * thing.scale / 2) for thing in nearer)
        return min((abs(x - thing.x) - half for thing, half in halves), default=0.0)

    return Thing(
        kind=kind,
        pose=str(rng.choice(poses)),
        x=max((scene.width * rng.uniform(0.15, 0.85, _PLACES)).tolist(), key=gap),
        y=scene.horizon + scene.eye * scale,
        scale=float(scale),
        depth=depth,
        flip=bool(rng.random() < 0.5),
        tilt=0.0,
        colors=(first, second),
        crowd=0,
        seed=int(rng.integers(1 << 31)),
    )
