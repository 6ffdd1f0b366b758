"""Drawn COCO: a folder of made-up scenes in COCO's own format, for machines without COCO.

A scene is first a description (`sample_scene`), then a picture with exact visible masks (`render`),
then a JPEG file and COCO annotations (`write_scenes`). A description can be edited and rendered
again: each object draws from its own seed, so removing one changes no other.
"""

import concurrent.futures
import dataclasses
import hashlib
import io
import json
import math
import multiprocessing
import os
import pathlib
import shutil
from collections.abc import Callable

import contourpy
import numpy as np
import tqdm
from PIL import Image
from pycocotools import mask as mask_utils

from segmentation import scene_art as art
from segmentation import scene_backdrops as backdrops

# Goes up when the same seed gives other pictures, so that no folder mixes two generators.
VERSION = 1
MIN_VISIBLE = 20  # pixels; what shows less than this is left out of the annotations

_CATEGORIES = {
    'person': '1 person',
    'vehicle': '2 bicycle, 3 car, 4 motorcycle, 5 airplane, 6 bus, 7 train, 8 truck, 9 boat',
    'outdoor': '10 traffic light, 11 fire hydrant, 13 stop sign, 14 parking meter, 15 bench',
    'animal': '16 bird, 17 cat, 18 dog, 19 horse, 20 sheep, 21 cow, 22 elephant, 23 bear, '
              '24 zebra, 25 giraffe',
    'accessory': '27 backpack, 28 umbrella, 31 handbag, 32 tie, 33 suitcase',
    'sports': '34 frisbee, 35 skis, 36 snowboard, 37 sports ball, 38 kite, 39 baseball bat, '
              '40 baseball glove, 41 skateboard, 42 surfboard, 43 tennis racket',
    'kitchen': '44 bottle, 46 wine glass, 47 cup, 48 fork, 49 knife, 50 spoon, 51 bowl',
    'food': '52 banana, 53 apple, 54 sandwich, 55 orange, 56 broccoli, 57 carrot, 58 hot dog, '
            '59 pizza, 60 donut, 61 cake',
    'furniture': '62 chair, 63 couch, 64 potted plant, 65 bed, 67 dining table, 70 toilet',
    'electronic': '72 tv, 73 laptop, 74 mouse, 75 remote, 76 keyboard, 77 cell phone',
    'appliance': '78 microwave, 79 oven, 80 toaster, 81 sink, 82 refrigerator',
    'indoor': '84 book, 85 clock, 86 vase, 87 scissors, 88 teddy bear, 89 hair drier, '
              '90 toothbrush',
}
CATEGORIES = [{'supercategory': group, 'id': int(entry.split(' ', 1)[0]),
               'name': entry.split(' ', 1)[1]}
              for group, entries in _CATEGORIES.items() for entry in entries.split(', ')]
CATEGORY_ID = {c['name']: c['id'] for c in CATEGORIES}


@dataclasses.dataclass(frozen=True)
class Thing:
    """One object of a scene; the props (tree, lamp, frame …) are kinds that COCO does not have.

    (x, y) is where it meets the ground in pixels, `scale` its pixels per metre, `depth` its
    distance in metres, `pose` a body pose or the side shown ('held': off the ground), `tilt` in
    radians, `colours` two RGB triples, `crowd` the number of people or cars annotated as one
    region (0: a single object).
    """
    kind: str
    pose: str
    x: float
    y: float
    scale: float
    depth: float
    flip: bool
    tilt: float
    colours: tuple[art.Colour, art.Colour]
    crowd: int
    seed: int

    @property
    def category_id(self) -> int | None:
        return CATEGORY_ID.get(self.kind)


@dataclasses.dataclass(frozen=True)
class Light:
    """`brightness` and `tint` multiply the picture; shadows fall `slant` metres sideways and
    `length` metres towards the camera per metre of height (both 0 under an overcast sky or
    indoors); `noise` is the sensor's, in grey levels."""
    brightness: float
    tint: tuple[float, float, float]
    slant: float
    length: float
    noise: float


@dataclasses.dataclass(frozen=True)
class Scene:
    """A picture's description: setting, camera (see scene_backdrops), light, things from the back.

    Sizes, `horizon` and `focal` are in pixels, `eye` in metres."""
    width: int
    height: int
    setting: str
    horizon: float
    focal: float
    eye: float
    light: Light
    grayscale: bool
    seed: int
    things: tuple[Thing, ...]


@dataclasses.dataclass(frozen=True)
class Rendered:
    """`image` uint8 [H, W, 3]; `owner` int16 [H, W]: index of the thing seen there, -1 for none."""
    image: np.ndarray
    owner: np.ndarray
    count: int

    @property
    def masks(self) -> np.ndarray:
        """Visible masks bool [N, H, W], one for each thing of the scene, disjoint."""
        return self.owner[None] == np.arange(self.count, dtype=np.int16)[:, None, None]


# Sampling ----------------------------------------------------------------------------------------

# Setting: probability, then ranges of the horizon (fraction of the height), the focal length
# (fraction of the square root of the picture's area) and the eye's height (metres).
_SETTINGS = {
    'street': (0.27, (0.36, 0.52), (0.75, 1.35), (1.4, 2.2)),
    'roadside': (0.29, (0.34, 0.52), (0.75, 2.6), (1.3, 1.9)),
    'country': (0.10, (0.32, 0.5), (0.8, 1.7), (1.4, 2.2)),
    'platform': (0.09, (0.38, 0.52), (0.8, 1.4), (1.5, 1.8)),
    'court': (0.05, (0.26, 0.4), (1.0, 1.9), (1.7, 2.6)),
    'field': (0.05, (0.26, 0.4), (1.0, 2.0), (1.5, 2.4)),
    'beach': (0.04, (0.3, 0.48), (0.9, 1.8), (1.5, 2.0)),
    'snow': (0.04, (0.3, 0.5), (0.8, 1.6), (1.5, 2.0)),
    'living room': (0.04, (0.4, 0.55), (0.8, 1.15), (1.35, 1.6)),
    'office': (0.03, (0.4, 0.55), (0.8, 1.15), (1.35, 1.6)),
}
_INDOORS = ('living room', 'office')
_SIZES = ((400, 300), (400, 267), (384, 288), (360, 270), (300, 400), (267, 400), (288, 384),
          (320, 320), (384, 256), (400, 225))
_COLOURS = {
    'person': (art.CLOTHES, art.TROUSERS),
    'car': (art.PAINT, art.PAINT), 'motorcycle': (art.PAINT, art.PAINT),
    'bicycle': (art.CLOTHES, art.CLOTHES),
    'bus': (art.LIVERY, art.LIVERY), 'train': (art.LIVERY, art.LIVERY),
    'truck': (art.PAINT, art.LIVERY),
    'statue': (((140, 142, 138), (96, 112, 100)),) * 2,
    'dog': (((150, 105, 60), (60, 48, 40), (220, 205, 180)), art.CLOTHES),
    'cow': (((232, 226, 216), (150, 96, 60)), ((50, 42, 40), (110, 66, 40))),
    'bench': (((150, 104, 64), (120, 90, 70)), ((50, 52, 54),)),
    'traffic light': (((36, 40, 38), (200, 160, 40)), ((90, 94, 96),)),
    'stop sign': (((196, 26, 32),), ((150, 152, 154),)),
    'fire hydrant': (((200, 40, 36), (220, 180, 40)), ((220, 216, 208), (190, 40, 40))),
    'potted plant': (((70, 120, 60), (90, 140, 70)), ((170, 96, 66), (220, 216, 208))),
    'chair': (((120, 84, 56), (60, 60, 64)), art.CLOTHES),
    'couch': (((120, 90, 70), (90, 104, 120), (160, 150, 136), (140, 60, 56)), art.CLOTHES),
    'dining table': (((150, 108, 70), (200, 180, 150)),) * 2,
    'tv': (((24, 24, 26),), ((60, 110, 170), (90, 140, 80), (170, 90, 70))),
    'skis': (art.CLOTHES, art.CLOTHES),
    'surfboard': (((240, 236, 226), (240, 200, 70)), art.CLOTHES),
    'sports ball': (((240, 240, 236), (220, 120, 50)), ((40, 40, 44),)),
    'boat': (((240, 238, 232), (60, 80, 120), (160, 50, 44)), ((236, 232, 222), (210, 90, 60))),
    'tree': (backdrops.GREENS, ((92, 72, 54), (110, 92, 74))),
    'bush': (backdrops.GREENS, backdrops.GREENS),
    'pine': (((52, 84, 62), (60, 92, 60)), ((84, 64, 50), (96, 90, 92))),
    'lamp': (((70, 74, 76), (50, 62, 56)),) * 2,
    'post': (((140, 142, 146),), ((40, 80, 160), (190, 40, 40), (40, 120, 70))),
    'column': (((150, 150, 148), (120, 128, 124), (176, 160, 140)), art.CLOTHES),
    'fence': (((232, 230, 224), (120, 92, 66)),) * 2,
    'frame': (((206, 200, 190), (60, 54, 50), (110, 80, 56)),) * 2,
}
_ANY = (art.CLOTHES, art.CLOTHES)
_STANDING = ('stand', 'stand', 'back', 'walk', 'walk', 'walk', 'phone', 'wave')


class _Stage:
    """Collects the things of one scene. Positions are metres: x to the right, z away."""

    def __init__(self, rng: np.random.Generator, width: int, height: int, setting: str):
        self.rng, self.width, self.height, self.setting = rng, width, height, setting
        _, *ranges = _SETTINGS[setting]
        horizon, focal, eye = (float(rng.uniform(*r)) for r in ranges)
        self.horizon, self.eye = horizon * height, eye
        self.focal = focal * math.sqrt(width * height)
        self.things: list[Thing] = []

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def put(self, kind: str, x: float, z: float, pose: str = '', flip: bool | None = None,
            size: float = 1.0, crowd: int = 0, lift: float = 0.0,
            colours: tuple[art.Colour, art.Colour] | None = None) -> Thing:
        rng, scale = self.rng, self.focal / z
        drawn = tuple(art.some(rng, p, 10) for p in _COLOURS.get(kind, _ANY))
        if lift and not pose:
            pose = 'held'
        thing = Thing(kind, pose, self.width / 2 + x * scale,
                      self.horizon + (self.eye - lift) * scale, scale * size, z,
                      self.chance(0.5) if flip is None else flip, 0.0, colours or drawn, crowd,
                      int(rng.integers(1 << 31)))
        self.things.append(thing)
        return thing

    def at(self, z: float, margin: float = 0.05) -> float:
        """An x whose place at distance z falls inside the picture."""
        half = 0.5 * self.width * z / self.focal
        return float(self.rng.uniform(-1, 1)) * half * (1 - 2 * margin)

    def depth(self, near: float, far: float) -> float:
        """Uniform in log distance: as many near as far."""
        return float(math.exp(self.rng.uniform(math.log(near), math.log(far))))

    def person(self, x: float, z: float, pose: str = '', **more) -> Thing:
        child = self.chance(0.12) and pose not in ('ride', 'motor', 'sit')
        size = float(self.rng.uniform(0.55, 0.75) if child else self.rng.uniform(0.92, 1.07))
        if pose in ('ride', 'motor', 'sit'):
            size = 1.0
        return self.put('person', x, z, pose or art.pick(self.rng, _STANDING), size=size, **more)

    def hold(self, person: Thing, kind: str, hand: int = 1, tilt: float = 0.0) -> None:
        """Puts an object into a hand, just before the person."""
        x, y = art.joints(person.pose, person.seed)[f'hand{hand}']
        thing = self.put(kind, 0, person.depth, 'held', flip=person.flip)
        self.things[-1] = dataclasses.replace(
            thing, x=person.x + (-x if person.flip else x) * person.scale,
            y=person.y - y * person.scale, scale=person.scale, tilt=tilt,
            depth=person.depth - 0.01)

    def walkers(self, count: int, near: float, far: float,
                xs: tuple[float, float] | None = None) -> None:
        """People on foot, some with something in their hands."""
        for _ in range(count):
            z = self.depth(near, far)
            side = art.pick(self.rng, (-1, 1))
            x = self.at(z) if xs is None else side * float(self.rng.uniform(*xs))
            p = self.person(x, z)
            if self.chance(0.16):
                self.hold(p, 'handbag', int(self.rng.integers(2)))
            elif self.chance(0.1) and p.pose in ('walk', 'phone'):
                self.hold(p, 'umbrella', tilt=float(self.rng.uniform(-0.2, 0.2)))
            if self.chance(0.07):
                self.put('dog', x + float(self.rng.choice([-0.7, 0.7])), z - 0.1,
                         size=float(self.rng.uniform(0.6, 1)))

    def indoors(self, count: int) -> None:
        for _ in range(count):
            z = self.depth(2.2, 4.6)
            self.person(self.at(z, 0.1), z,
                        art.pick(self.rng, ('stand', 'phone', 'back', 'walk', 'wave')))

    def rider(self, x: float, z: float, kind: str, pose: str = 'side') -> None:
        """A bicycle or motorcycle with its rider; seen from the side or the end."""
        flip = self.chance(0.5)
        self.put(kind, x, z, pose, flip=flip)
        if pose == 'side':
            self.person(x, z - 0.02, 'ride' if kind == 'bicycle' else 'motor', flip=flip)
        else:
            p = self.person(x, z + 0.02, 'stand', flip=flip)
            self.things[-1] = dataclasses.replace(p, y=p.y - 0.12 * p.scale)

    def crowd(self, kind: str, z: float) -> None:
        self.put(kind, self.at(z, 0.15), z, 'crowd',
                 crowd=int(self.rng.integers(9, 16) if kind == 'person' else 5))


def _street(s: _Stage) -> None:
    rng = s.rng
    for side in (-1, 1):  # parked at the kerb
        z = float(rng.uniform(4, 12))
        while z < 45 and s.chance(0.72):
            s.put('car', side * 3.35, z, 'front' if side < 0 else 'back')
            z += float(rng.uniform(5.5, 12))
    for side, pose in ((-1, 'front'), (1, 'back')):  # driving
        if s.chance(0.62):
            kind = art.pick(rng, ('car', 'car', 'car', 'bus', 'bus', 'truck', 'truck',
                                  'motorcycle'))
            z = s.depth(6 if kind in ('car', 'motorcycle') else 9, 34)
            if kind == 'motorcycle':
                s.rider(side * 1.3, z, kind, pose)
            else:
                s.put(kind, side * 1.35, z, pose)
    s.walkers(int(rng.integers(1, 4)), 3.2, 22, (4.7, 6.8))
    if s.chance(0.15):
        s.walkers(1, 1.6, 3.0)
    if s.chance(0.45):  # crossing
        s.walkers(int(rng.integers(1, 4)), 3.4, 14, (0.2, 3.2))
    if s.chance(0.24):
        s.rider(float(rng.uniform(-3, 3)), s.depth(4.5, 16), 'bicycle',
                art.pick(rng, ('side', 'front')))
    if s.chance(0.15):
        s.put('bicycle', art.pick(rng, (-1, 1)) * 5.0, s.depth(4, 14), 'side')
    if s.chance(0.3):
        s.crowd(art.pick(rng, ('person', 'person', 'car')), float(rng.uniform(24, 40)))
    for side in (-1, 1):
        kind = art.pick(rng, ('tree', 'tree', 'lamp', 'post', ''))
        for z in np.arange(float(rng.uniform(5, 11)), 42, float(rng.uniform(8, 14))):
            if kind:
                s.put(kind, side * 4.75, float(z), flip=side > 0)
    if s.chance(0.25):
        s.put('traffic light', art.pick(rng, (-1, 1)) * 4.6, s.depth(5, 16))
    if s.chance(0.1):
        s.put('stop sign', 4.6, s.depth(4, 9))
    if s.chance(0.1):
        s.put('fire hydrant', art.pick(rng, (-1, 1)) * 4.7, s.depth(3.5, 8))
    if s.chance(0.07):
        s.put('statue', art.pick(rng, (-1, 1)) * 6.4, s.depth(8, 18), 'stand')


def _roadside(s: _Stage) -> None:
    rng = s.rng
    for z, flip in ((8.3, False), (12.2, True)):
        x = s.at(z) - float(rng.uniform(1, 5))
        for _ in range(int(rng.integers(1, 3))):
            kind = art.pick(rng, ('car',) * 10 + ('bus',) * 3 + ('truck',) * 3 + ('motorcycle',))
            length = {'bus': 12.5, 'truck': 11}.get(kind, 5.4)
            if kind == 'motorcycle':
                s.rider(x, z, kind)
            else:
                s.put(kind, x, z, 'side', flip=flip)
            x += length + float(rng.uniform(0.3, 4))
    if s.chance(0.3):
        for k in range(int(rng.integers(2, 5))):
            s.put('car', s.at(13.7) + 5 * k, 13.7, 'side')
    s.walkers(int(rng.integers(0, 4)), 14.8, 17.2)
    s.walkers(int(rng.integers(0, 3)), 1.8, 6.0)
    if s.chance(0.25):
        s.rider(s.at(6.8), float(rng.uniform(5, 7)), 'bicycle')
    if s.chance(0.15):
        s.put('bicycle', s.at(5.0), 5.6, 'side')
    if s.chance(0.14):
        s.put('motorcycle', s.at(6.0), 6.6, 'side')
    if s.chance(0.16):
        s.crowd('person', 18.0)
    if s.chance(0.3):
        s.put('bench', s.at(5), float(rng.uniform(4.5, 6)))
        if s.chance(0.6):
            bench = s.things[-1]
            s.person(float((bench.x - s.width / 2) / bench.scale), bench.depth - 0.05, 'sit')
    for z, p in ((5.9, 0.55), (15.0, 0.8)):
        kind = art.pick(rng, ('tree', 'lamp', 'post', 'tree', 'bush'))
        for _ in range(int(rng.integers(1, 4)) if s.chance(p) else 0):
            s.put(kind, s.at(z, -0.1), z, size=0.85)
    if s.chance(0.22):
        s.put('traffic light', s.at(6), 6.0)
    if s.chance(0.08):
        s.put('fire hydrant', s.at(5.5), 5.8)
    if s.chance(0.06):
        s.put('statue', s.at(16), 16.8, 'wave')


def _country(s: _Stage) -> None:
    rng = s.rng
    if s.chance(0.4):
        s.put('train', s.at(19) * 0.5, 19.0, 'track')
    for z, flip in ((9.0, False), (11.8, True)):
        if s.chance(0.7):
            kind = art.pick(rng, ('car', 'car', 'car', 'truck', 'truck', 'bus', 'motorcycle'))
            if kind == 'motorcycle':
                s.rider(s.at(z), z, kind)
            else:
                s.put(kind, s.at(z), z, 'side', flip=flip)
    for _ in range(int(rng.integers(0, 3))):
        s.rider(s.at(7.6), float(rng.uniform(5.5, 8.4)), 'bicycle')
    s.walkers(int(rng.integers(0, 4)), 3.2, 7)
    for _ in range(int(rng.integers(0, 4))):
        z = s.depth(24, 50)
        s.put(art.pick(rng, ('tree', 'bush', 'tree', 'cow', 'cow')), s.at(z), z)
    for _ in range(int(rng.integers(0, 3))):
        z = s.depth(5, 7)
        s.put(art.pick(rng, ('bush', 'fence', 'tree')), s.at(z, -0.1), z)


def _platform(s: _Stage) -> None:
    rng = s.rng
    if s.chance(0.92):
        s.put('train', float(rng.uniform(-8, 8)), 10.4, 'platform', lift=-0.1)
    s.walkers(int(rng.integers(1, 6)), 2.8, 8.0)
    for _ in range(int(rng.integers(0, 3))):
        z = s.depth(3, 7)
        s.put('suitcase', s.at(z), z)
    if s.chance(0.4):
        s.put('bench', s.at(6), 6.2)
    if s.chance(0.3):
        s.crowd('person', 8.6)
    if s.chance(0.6):
        for z in (4.6, 7.6):
            s.put('column', art.pick(rng, (-1, 1)) * float(rng.uniform(1.2, 3.5)), z)


def _court(s: _Stage) -> None:
    rng = s.rng
    for near, far in ((3.6, 7.5), (14, 19))[:1 + s.chance(0.5)]:
        z = s.depth(near, far)
        p = s.person(s.at(z, 0.2), z, art.pick(rng, ('swing', 'swing', 'serve')))
        s.hold(p, 'tennis racket', tilt=float(rng.uniform(-1.3, 0.4)))
    if s.chance(0.7):
        z = s.depth(5, 12)
        s.put('sports ball', s.at(z), z, lift=float(rng.uniform(0.3, 1.8)), size=0.5,
              colours=((205, 225, 60), (225, 240, 120)))
    for _ in range(int(rng.integers(0, 3))):
        s.person(s.at(22), float(rng.uniform(20, 22.5)))
    if s.chance(0.3):
        s.put('bench', s.at(20), 21.5)
    if s.chance(0.3):
        s.crowd('person', 23.0)
    if s.chance(0.25):
        s.put('car', s.at(23), 23.4, 'side')


def _field(s: _Stage) -> None:
    rng = s.rng
    for _ in range(int(rng.integers(2, 6))):
        z = s.depth(4.5, 24)
        s.person(s.at(z), z, art.pick(rng, ('run', 'kick', 'run', 'stand', 'walk')))
    if s.chance(0.8):
        z = s.depth(4, 10)
        s.put('sports ball', s.at(z), z)
    if s.chance(0.2):
        s.put('dog', s.at(8), 8.0)
    if s.chance(0.3):
        s.crowd('person', 29.0)
    for _ in range(2 if s.chance(0.3) else 0):
        s.put('car', s.at(30), 30.5, 'side')


def _beach(s: _Stage) -> None:
    rng = s.rng
    for _ in range(int(rng.integers(0, 3))):
        z = s.depth(16, 30)
        x, flip = s.at(z), s.chance(0.5)
        s.put('surfboard', x, z, flip=flip)
        s.person(x, z - 0.02, 'surf', flip=flip, lift=0.03)
    for _ in range(int(rng.integers(1, 4))):
        z = s.depth(3.2, 13)
        p = s.person(s.at(z), z, art.pick(rng, ('stand', 'walk', 'back', 'run')))
        if s.chance(0.35):
            s.hold(p, 'surfboard', tilt=float(rng.uniform(-0.3, 0.3)))
    if s.chance(0.4):
        z = s.depth(35, 70)
        s.put('boat', s.at(z), z)
    if s.chance(0.25):
        s.put('dog', s.at(7), 7.0)
    if s.chance(0.25):
        s.put('car', s.at(11), 12.0, 'side')


def _snow(s: _Stage) -> None:
    rng = s.rng
    for _ in range(int(rng.integers(1, 5))):
        z = s.depth(3.4, 18)
        x, flip = s.at(z), s.chance(0.5)
        s.put('skis', x, z, flip=flip)
        s.person(x, z - 0.02, art.pick(rng, ('ski', 'ski', 'ski', 'stand')), flip=flip)
    for _ in range(int(rng.integers(2, 9))):
        z = s.depth(7, 40)
        s.put('pine', s.at(z, -0.1), z)
    if s.chance(0.2):
        s.crowd('person', 30.0)


def _living_room(s: _Stage) -> None:
    rng = s.rng
    x = s.at(4.4, 0.25)
    s.put('couch', x, 4.4)
    for k in range(int(rng.integers(0, 3))):
        s.person(x + (k - 0.5) * 0.75, 4.2, 'sit')
    if s.chance(0.6):
        s.put('tv', s.at(5, 0.2), 5.0, lift=float(rng.uniform(0.7, 1.1)))
    s.indoors(int(rng.integers(0, 3)))
    if s.chance(0.35):
        z = float(rng.uniform(2.8, 3.4))
        s.put('dining table', s.at(z), z)
    for kind, p in (('potted plant', 0.6), ('chair', 0.5), ('dog', 0.2), ('potted plant', 0.3)):
        if s.chance(p):
            z = s.depth(3.0, 4.9)
            s.put(kind, s.at(z), z)


def _office(s: _Stage) -> None:
    rng = s.rng
    for _ in range(int(rng.integers(1, 3))):
        z = float(rng.uniform(3.4, 5.2))
        x = s.at(z, 0.15)
        s.put('chair', x - 0.7, z, flip=False)
        if s.chance(0.7):
            s.person(x - 0.66, z - 0.03, 'sit', flip=False)
        s.put('dining table', x + 0.4, z - 0.1, size=0.95)
        s.put('tv', x + 0.4, z, size=0.6, lift=0.8)
    s.indoors(int(rng.integers(1, 3)))
    if s.chance(0.5):
        s.put('potted plant', s.at(5), 5.4)
    if s.chance(0.4):
        s.put('suitcase', s.at(3.5), 3.4)


_FILL: dict[str, Callable[[_Stage], None]] = {
    'street': _street, 'roadside': _roadside, 'country': _country, 'platform': _platform,
    'court': _court, 'field': _field, 'beach': _beach, 'snow': _snow, 'living room': _living_room,
    'office': _office}


def sample_scene(seed: int, split: str, index: int) -> Scene:
    """Describes scene `index` of a split; depends on these three alone."""
    word = int.from_bytes(hashlib.sha256(split.encode()).digest()[:4], 'big')
    rng = np.random.default_rng([seed, word, index])
    names = list(_SETTINGS)
    setting = names[int(rng.choice(len(names), p=[_SETTINGS[n][0] for n in names]))]
    width, height = art.pick(rng, _SIZES)
    stage = _Stage(rng, width, height, setting)
    _FILL[setting](stage)
    if stage.chance(0.08):
        stage.put('frame', 0, 0.5)
        stage.things[-1] = dataclasses.replace(
            stage.things[-1], x=width / 2, y=float(height), scale=float(max(width, height)))
    dark = stage.chance(0.13)
    sunny = not dark and setting not in _INDOORS and stage.chance(0.62)
    warm = float(rng.uniform(-0.06, 0.08))
    brightness = float(rng.uniform(0.32, 0.5) if dark else rng.uniform(0.8, 1.12))
    light = Light(brightness,
                  (1 + warm - 0.14 * dark, 1.0 - 0.06 * dark, 1 - warm + 0.16 * dark),
                  float(rng.uniform(0.25, 0.9) * rng.choice([-1, 1])) if sunny else 0.0,
                  float(rng.uniform(0.08, 0.22)) if sunny else 0.0,
                  float(rng.uniform(1.5, 5) + 4 * dark))
    things = tuple(sorted(stage.things, key=lambda t: -t.depth))
    return Scene(width, height, setting, stage.horizon, stage.focal, stage.eye, light,
                 stage.chance(0.07), int(rng.integers(1 << 31)), things)


# Rendering ---------------------------------------------------------------------------------------

_ROUGH = {'tree': 0.2, 'bush': 0.2, 'pine': 0.16, 'potted plant': 0.12, 'statue': 0.12, 'dog': 0.12,
          'person': 0.05, 'car': 0.025, 'bus': 0.025, 'train': 0.03, 'truck': 0.035}
_NO_SHADOW = ('frame', 'boat', 'held', 'platform', 'surf')  # kinds and poses


def render(scene: Scene) -> Rendered:
    """Draws a scene: the picture, and for each pixel the thing that is seen there."""
    height, width = scene.height, scene.width
    # Channels first: numpy is several times faster that way.
    pixels = np.ascontiguousarray(backdrops.paint(scene).transpose(2, 0, 1))
    glow = np.zeros_like(pixels) if scene.light.brightness < 0.6 else None
    owner = np.full((height, width), -1, np.int16)
    for index, thing in enumerate(scene.things):
        pen = art.Pen(thing.x, thing.y, thing.scale, thing.flip, thing.tilt)
        view = art.View((width / 2 - thing.x) / thing.scale * (-1 if thing.flip else 1),
                        (thing.y - scene.horizon) / thing.scale, scene.focal / thing.scale)
        rng = np.random.default_rng([thing.seed, 3])
        (art.crowd if thing.crowd else art.SPRITES[thing.kind])(pen, thing, rng, view)
        if thing.kind not in _NO_SHADOW and thing.pose not in _NO_SHADOW:
            _shadow(pixels, pen, thing, scene)
        box = art.bounds([p for p, _ in pen.shapes], width, height)
        if box is None:
            continue
        left, top, right, bottom = box
        patch = art.rasterise(pen.shapes, box)
        art.shade(patch, rng, math.copysign(0.8, scene.light.slant), _ROUGH.get(thing.kind, 0.06))
        if scene.setting not in _INDOORS:
            haze = 1 - math.exp(-thing.depth / 160)
            patch[:3] *= 1 - haze
            patch[:3] += 200 * haze * patch[3]
        alpha = patch[3]
        part = pixels[:, top:bottom, left:right]
        part *= 1 - alpha
        part += patch[:3]
        owner[top:bottom, left:right][alpha >= 0.5] = index
        if glow is not None:
            glow[:, top:bottom, left:right] *= 1 - alpha
            for lamp in pen.glows:
                _add_glow(glow, *lamp)
    return Rendered(_develop(pixels, glow, scene), owner, len(scene.things))


def _shadow(pixels: np.ndarray, pen: art.Pen, thing: Thing, scene: Scene) -> None:
    """Darkens the ground under and, in the sun, beside a thing."""
    light = scene.light
    polygons = art.lay_down(pen.shapes, thing.y, light.slant, -light.length) if light.length else []
    points = np.concatenate([p for p, _ in pen.shapes])
    low = points[points[:, 1] > thing.y - 0.15 * thing.scale, 0]
    if len(low):  # the dark spot under everything that stands
        half = (low.max() - low.min()) / 2 + 0.05 * thing.scale
        spot = art.Pen((low.max() + low.min()) / 2, thing.y, 1.0)
        spot.ellipse(0, 0, half, min(0.22 * half, 0.25 * thing.scale), ())
        polygons.append(spot.shapes[0][0])
    if not polygons:
        return
    blur = float(np.clip(0.05 * thing.scale, 0.6, 5))
    box = art.bounds(polygons, scene.width, scene.height, margin=int(blur) + 2)
    if box is None:
        return
    left, top, right, bottom = box
    dark = (0.5 if light.length else 0.36) * art.cover(polygons, box, blur)
    pixels[:, top:bottom, left:right] *= 1 - dark


def _add_glow(glow: np.ndarray, x: float, y: float, radius: float, colour: art.Colour) -> None:
    _, height, width = glow.shape
    left, right = max(int(x - radius), 0), min(int(x + radius) + 2, width)
    top, bottom = max(int(y - radius), 0), min(int(y + radius) + 2, height)
    if left >= right or top >= bottom:
        return
    rows, cols = np.arange(top, bottom)[:, None] - y, np.arange(left, right)[None] - x
    fall = np.clip(1 - np.sqrt(rows ** 2 + cols ** 2) / max(radius, 1), 0, 1) ** 2.5
    glow[:, top:bottom, left:right] += (np.asarray(colour)[:, None, None] * fall).astype(np.float32)


def _develop(pixels: np.ndarray, glow: np.ndarray | None, scene: Scene) -> np.ndarray:
    """Light, lamps and sensor noise; every step works pixel by pixel."""
    rng = np.random.default_rng([scene.seed, 4])
    light = scene.light
    out = pixels * (light.brightness * np.asarray(light.tint, np.float32))[:, None, None]
    if glow is not None:
        out += glow
    if scene.grayscale:
        out[:] = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), out, 1)
    noise = [art.crop(art.GRAIN, scene.height, scene.width, rng) for _ in range(3)]
    for channel, grain in zip(out, noise, strict=True):
        channel += 2 * light.noise * (noise[0] if scene.grayscale else grain)
    return np.ascontiguousarray(np.clip(out + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0))


# Annotations -------------------------------------------------------------------------------------

def image_id(split: str, index: int) -> int:
    """COCO image id, below 2^31 and distinct between splits (which may be merged for folds)."""
    word = int.from_bytes(hashlib.sha256(split.encode()).digest()[:4], 'big')
    return (1 + word % 2000) * 1_000_000 + index + 1


def annotate(scene: Scene, rendered: Rendered, number: int) -> list[dict]:
    """COCO annotations of the visible part of every object of a COCO category, in mixed order."""
    found = []
    for index, thing in enumerate(scene.things):
        if thing.category_id is None:
            continue
        mask = rendered.owner == index
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        area = int(np.count_nonzero(mask))
        if area < MIN_VISIBLE:
            continue
        top, left, bottom, right = rows[0], cols[0], rows[-1] + 1, cols[-1] + 1
        found.append({
            'segmentation': (_uncompressed(mask) if thing.crowd
                             else _outline(mask, (top, left, bottom, right))),
            'area': area, 'iscrowd': int(thing.crowd > 0), 'image_id': number,
            'bbox': [int(left), int(top), int(right - left), int(bottom - top)],
            'category_id': thing.category_id})
    order = np.random.default_rng([scene.seed, 5]).permutation(len(found))
    return [found[i] | {'id': number * 1000 + k} for k, i in enumerate(order)]


def _uncompressed(mask: np.ndarray) -> dict:
    flat = np.concatenate([[0], mask.ravel(order='F').astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges, [mask.size]]))
    if counts[-1] == 0:
        counts = counts[:-1]
    return {'counts': counts.tolist(), 'size': list(mask.shape)}


def _outline(mask: np.ndarray, box: tuple[int, int, int, int]) -> list | dict:
    """Polygons around the mask, or compressed RLE where polygons would miss it (holes)."""
    top, left, bottom, right = box
    part = np.pad(mask[top:bottom, left:right], 1)
    polygons = []
    for line in contourpy.contour_generator(z=part.astype(np.float32)).lines(0.5):
        # Pixel centres lie at half integers in COCO coordinates; the padding shifts by one.
        line = _simplify(line[:-1] - 0.5)
        x, y = line.T
        signed = 0.5 * (x @ np.roll(y, -1) - y @ np.roll(x, -1))
        if signed > 2 and len(line) >= 3:  # holes turn the other way
            polygons.append(line)
    if polygons:
        h, w = bottom - top, right - left
        drawn = mask_utils.frPyObjects([p.ravel().tolist() for p in polygons], h, w)
        drawn = mask_utils.decode(mask_utils.merge(drawn)).astype(bool)
        target = part[1:-1, 1:-1]
        if (drawn & target).sum() >= 0.92 * (drawn | target).sum() or target.sum() < 100:
            return [np.round(p + (left, top), 1).ravel().tolist() for p in polygons]
    rle = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {'counts': rle['counts'].decode('ascii'), 'size': list(mask.shape)}


def _simplify(line: np.ndarray, tolerance: float = 0.3) -> np.ndarray:
    """Drops every other vertex of a closed line that lies within the tolerance (pixels), thrice."""
    for start in (0, 1, 0):
        if len(line) < 8:
            break
        before, after = np.roll(line, 1, 0), np.roll(line, -1, 0)
        along, offset = after - before, line - before
        cross = along[:, 0] * offset[:, 1] - along[:, 1] * offset[:, 0]
        distance = np.abs(cross) / np.maximum(np.hypot(*along.T), 1e-6)
        drop = distance < tolerance
        drop[1 - start::2] = False
        drop[-1] = False
        line = line[~drop]
    return line


# Writing -----------------------------------------------------------------------------------------

def write_scenes(folder: str | os.PathLike, counts: dict[str, int], seed: int = 0,
                 progress: bool = True, workers: int | None = None) -> None:
    """Draws a COCO-format folder: `<split>/*.jpg` and `annotations/instances_<split>.json`.

    The same arguments give the same bytes, whatever the number of workers (default: one per
    processor), and scene i of a split is the same for every count. An interrupted call can be
    repeated: finished pictures are kept. Raises ValueError when the folder holds anything else, or
    scenes of other arguments. As with every process pool, a script that calls this needs
    `if __name__ == '__main__'`.
    """
    folder = pathlib.Path(folder)
    if seed < 0:
        raise ValueError(f'seed {seed} is negative; choose 0 or more')
    for split, count in counts.items():
        if not split.isidentifier() or count < 1:
            raise ValueError(f'split {split!r} with {count} scenes: a split needs a plain name '
                             '(letters, digits, underscores) and at least one scene')
    if len({image_id(split, 0) for split in counts}) < len(counts):
        raise ValueError(f'splits {sorted(counts)} would share image ids; rename one of them')
    _claim(folder, {'generator': 'segmentation.scenes', 'version': VERSION, 'seed': seed,
                    'counts': counts})
    (folder / 'annotations').mkdir(exist_ok=True)
    missing = {split: count for split, count in counts.items()
               if not (folder / 'annotations' / f'instances_{split}.json').exists()}
    parts = folder / '.parts'
    jobs = []
    for split, count in missing.items():
        (folder / split).mkdir(exist_ok=True)
        (parts / split).mkdir(parents=True, exist_ok=True)
        jobs += [(folder, seed, split, i) for i in range(count)
                 if not (parts / split / f'{i}.json').exists()]
    total, workers = sum(counts.values()), workers or os.cpu_count() or 1
    with tqdm.tqdm(total=total, initial=total - len(jobs), desc='drawing scenes', unit=' scenes',
                   disable=not progress) as bar:
        if workers == 1 or len(jobs) < 40:  # not worth starting processes
            for job in jobs:
                _write_scene(*job)
                bar.update()
        else:
            # spawn: forking a process that runs JAX threads may hang.
            context = multiprocessing.get_context('spawn')
            with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
                for _ in pool.map(_write_scene, *zip(*jobs, strict=True), chunksize=8):
                    bar.update()
    for split, count in missing.items():
        _write_annotations(folder, split, count)
    shutil.rmtree(parts, ignore_errors=True)


def _claim(folder: pathlib.Path, wanted: dict) -> None:
    manifest = folder / 'scenes.json'
    if manifest.exists():
        found = json.loads(manifest.read_text())
        if found != wanted:
            raise ValueError(f'{folder} holds other scenes ({found}) than asked for ({wanted}); '
                             'choose another folder or remove this one')
        return
    folder.mkdir(parents=True, exist_ok=True)
    if any(path.name != '.parts' for path in folder.iterdir()):
        raise ValueError(f'{folder} is not empty and was not drawn here (it has no scenes.json); '
                         'choose an empty or a new folder')
    (folder / '.parts').mkdir(exist_ok=True)
    _write(folder, manifest, json.dumps(wanted, indent=1).encode())


def _write(folder: pathlib.Path, path: pathlib.Path, data: bytes) -> None:
    """Writes a file elsewhere first, so that it never exists in part.

    The process id keeps apart a worker that outlived a killed run and one of the next run.
    """
    temporary = folder / '.parts' / f'{path.name}.{os.getpid()}.tmp'
    temporary.write_bytes(data)
    temporary.replace(path)


def _write_scene(folder: pathlib.Path, seed: int, split: str, index: int) -> None:
    """One picture, and after it its entries of the annotation file."""
    scene = sample_scene(seed, split, index)
    rendered = render(scene)
    number = image_id(split, index)
    picture = Image.fromarray(rendered.image[..., 0] if scene.grayscale else rendered.image)
    buffer = io.BytesIO()
    picture.save(buffer, 'JPEG', quality=88)
    name = f'{number:012d}.jpg'
    _write(folder, folder / split / name, buffer.getvalue())
    entry = {'license': 1, 'file_name': name, 'width': scene.width, 'height': scene.height,
             'id': number, 'all_categories_annotated': True}
    part = {'image': entry, 'annotations': annotate(scene, rendered, number)}
    _write(folder, folder / '.parts' / split / f'{index}.json', json.dumps(part).encode())


def _write_annotations(folder: pathlib.Path, split: str, count: int) -> None:
    parts = [json.loads((folder / '.parts' / split / f'{i}.json').read_text())
             for i in range(count)]
    document = {
        'info': {'description': 'Scenes drawn by segmentation.scenes', 'version': str(VERSION)},
        'licenses': [{'id': 1, 'name': 'CC0 1.0',
                      'url': 'https://creativecommons.org/publicdomain/zero/1.0/'}],
        'images': [part['image'] for part in parts],
        'annotations': [a for part in parts for a in part['annotations']],
        'categories': CATEGORIES,
    }
    path = folder / 'annotations' / f'instances_{split}.json'
    _write(folder, path, json.dumps(document).encode())
