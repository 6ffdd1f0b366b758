"""Samples descriptions of scenes: the things, where they are, and the light."""

import hashlib

import numpy as np

from segmentation.scenes.builder import SceneBuilder
from segmentation.scenes.description import Scene
from segmentation.scenes.drawing.palette import pick

_SIZES = ((400, 300), (400, 267), (384, 288), (360, 270), (300, 400), (267, 400), (288, 384),
          (320, 320), (384, 256), (400, 225))  # fmt: skip


def _street(s: SceneBuilder) -> None:
    rng = s.rng
    for side in (-1, 1):  # parked at the curb
        z = rng.uniform(4, 12)
        while z < 45 and s.chance(0.72):
            s.put('car', side * 3.35, z, 'front' if side < 0 else 'back')
            z += rng.uniform(5.5, 12)
    for side, pose in ((-1, 'front'), (1, 'back')):  # driving
        if s.chance(0.62):
            kind = s.pick(('car',) * 3 + ('bus',) * 2 + ('truck',) * 2 + ('motorcycle',))
            z = s.depth(6 if kind in ('car', 'motorcycle') else 9, 34)
            s.vehicle(kind, side * (1.3 if kind == 'motorcycle' else 1.35), z, pose)
    s.walkers(1, 4, 3.2, 22, (4.7, 6.8))
    if s.chance(0.15):
        s.walkers(1, 2, 1.6, 3.0)
    if s.chance(0.45):  # crossing
        s.walkers(1, 4, 3.4, 14, (0.2, 3.2))
    if s.chance(0.24):
        s.rider(rng.uniform(-3, 3), s.depth(4.5, 16), 'bicycle', s.pick(('side', 'front')))
    if s.chance(0.15):
        s.put('bicycle', s.pick((-1, 1)) * 5.0, s.depth(4, 14), 'side')
    if s.chance(0.3):
        s.crowd(s.pick(('person', 'person', 'car')), rng.uniform(24, 40))
    for side in (-1, 1):
        kind = s.pick(('tree', 'tree', 'lamp', 'post', ''))
        for z in np.arange(rng.uniform(5, 11), 42, rng.uniform(8, 14)):
            if kind:
                s.put(kind, side * 4.75, float(z), flip=side > 0)
    if s.chance(0.25):
        s.put('traffic light', s.pick((-1, 1)) * 4.6, s.depth(5, 16))
    if s.chance(0.1):
        s.put('stop sign', 4.6, s.depth(4, 9))
    if s.chance(0.1):
        s.put('fire hydrant', s.pick((-1, 1)) * 4.7, s.depth(3.5, 8))
    if s.chance(0.07):
        s.put('statue', s.pick((-1, 1)) * 6.4, s.depth(8, 18), 'stand')


def _roadside(s: SceneBuilder) -> None:
    rng = s.rng
    for z, flip in ((8.3, False), (12.2, True)):
        x = s.at(z) - rng.uniform(1, 5)
        for _ in range(rng.integers(1, 3)):
            kind = s.pick(('car',) * 10 + ('bus',) * 3 + ('truck',) * 3 + ('motorcycle',))
            s.vehicle(kind, x, z, flip=flip)
            x += {'bus': 12.5, 'truck': 11}.get(kind, 5.4) + rng.uniform(0.3, 4)
    if s.chance(0.3):
        for k in range(rng.integers(2, 5)):
            s.put('car', s.at(13.7) + 5 * k, 13.7, 'side')
    s.walkers(0, 4, 14.8, 17.2)
    s.walkers(0, 3, 1.8, 6.0)
    if s.chance(0.25):
        s.rider(s.at(6.8), rng.uniform(5, 7), 'bicycle')
    s.maybe(0.15, 'bicycle', 5.0, 5.6, 'side')
    s.maybe(0.14, 'motorcycle', 6.0, 6.6, 'side')
    if s.chance(0.16):
        s.crowd('person', 18.0)
    if s.chance(0.3):
        bench = s.put('bench', s.at(5), rng.uniform(4.5, 6))
        if s.chance(0.6):
            s.person((bench.x - s.width / 2) / bench.scale, bench.depth - 0.05, 'sit')
    for z, p in ((5.9, 0.55), (15.0, 0.8)):
        kind = s.pick(('tree', 'lamp', 'post', 'tree', 'bush'))
        for _ in range(rng.integers(1, 4) if s.chance(p) else 0):
            s.put(kind, s.at(z, -0.1), z, size=0.85)
    s.maybe(0.22, 'traffic light', 6, 6.0)
    s.maybe(0.08, 'fire hydrant', 5.5, 5.8)
    s.maybe(0.06, 'statue', 16, 16.8, 'wave')


def _country(s: SceneBuilder) -> None:
    rng = s.rng
    if s.chance(0.4):
        s.put('train', s.at(19) * 0.5, 19.0, 'track')
    for z, flip in ((9.0, False), (11.8, True)):
        if s.chance(0.7):
            kind = s.pick(('car', 'car', 'car', 'truck', 'truck', 'bus', 'motorcycle'))
            s.vehicle(kind, s.at(z), z, flip=flip)
    for _ in range(rng.integers(0, 3)):
        s.rider(s.at(7.6), rng.uniform(5.5, 8.4), 'bicycle')
    s.walkers(0, 4, 3.2, 7)
    s.scatter(('tree', 'bush', 'tree', 'cow', 'cow'), 24, 50, times=(0, 4))
    s.scatter(('bush', 'fence', 'tree'), 5, 7, margin=-0.1, times=(0, 3))


def _platform(s: SceneBuilder) -> None:
    rng = s.rng
    if s.chance(0.92):
        s.put('train', rng.uniform(-8, 8), 10.4, 'platform', lift=-0.1)
    s.walkers(1, 6, 2.8, 8.0)
    s.scatter(('suitcase',), 3, 7, times=(0, 3))
    s.maybe(0.4, 'bench', 6, 6.2)
    if s.chance(0.3):
        s.crowd('person', 8.6)
    if s.chance(0.6):
        for z in (4.6, 7.6):
            s.put('column', s.pick((-1, 1)) * rng.uniform(1.2, 3.5), z)


def _court(s: SceneBuilder) -> None:
    rng = s.rng
    for near, far in ((3.6, 7.5), (14, 19))[: 1 + s.chance(0.5)]:
        z = s.depth(near, far)
        s.tennis_player(s.at(z, 0.2), z)
    s.tennis_ball(5, 12)
    for _ in range(rng.integers(0, 3)):
        s.person(s.at(22), rng.uniform(20, 22.5))
    s.maybe(0.3, 'bench', 20, 21.5)
    if s.chance(0.3):
        s.crowd('person', 23.0)
    s.maybe(0.25, 'car', 23, 23.4, 'side')


def _field(s: SceneBuilder) -> None:
    for _ in range(s.rng.integers(2, 6)):
        z = s.depth(4.5, 24)
        s.person(s.at(z), z, s.pick(('run', 'kick', 'run', 'stand', 'walk')))
    if s.chance(0.8):
        s.scatter(('sports ball',), 4, 10)
    s.maybe(0.2, 'dog', 8, 8.0)
    if s.chance(0.3):
        s.crowd('person', 29.0)
    for _ in range(2 if s.chance(0.3) else 0):
        s.put('car', s.at(30), 30.5, 'side')


def _beach(s: SceneBuilder) -> None:
    for _ in range(s.rng.integers(0, 3)):
        z = s.depth(16, 30)
        s.surfer(s.at(z), z)
    for _ in range(s.rng.integers(1, 4)):
        z = s.depth(3.2, 13)
        p = s.person(s.at(z), z, s.pick(('stand', 'walk', 'back', 'run')))
        if s.chance(0.35):
            s.hold(p, 'surfboard', tilt=s.rng.uniform(-0.3, 0.3))
    if s.chance(0.4):
        s.scatter(('boat',), 35, 70)
    s.maybe(0.25, 'dog', 7, 7.0)
    s.maybe(0.25, 'car', 11, 12.0, 'side')


def _snow(s: SceneBuilder) -> None:
    for _ in range(s.rng.integers(1, 5)):
        z = s.depth(3.4, 18)
        s.glider('skis', s.at(z), z, ('ski', 'ski', 'ski', 'stand'))
    s.scatter(('pine',), 7, 40, margin=-0.1, times=(2, 9))
    if s.chance(0.2):
        s.crowd('person', 30.0)


def _living_room(s: SceneBuilder) -> None:
    rng = s.rng
    x = s.at(4.4, 0.25)
    s.put('couch', x, 4.4)
    for k in range(rng.integers(0, 3)):
        s.person(x + (k - 0.5) * 0.75, 4.2, 'sit')
    if s.chance(0.6):
        s.put('tv', s.at(5, 0.2), 5.0, lift=rng.uniform(0.7, 1.1))
    s.indoors(0, 3)
    if s.chance(0.35):
        z = rng.uniform(2.8, 3.4)
        s.put('dining table', s.at(z), z)
    s.furnish(('potted plant', 0.6), ('chair', 0.5), ('dog', 0.2), ('potted plant', 0.3))


def _office(s: SceneBuilder) -> None:
    for _ in range(s.rng.integers(1, 3)):
        z = s.rng.uniform(3.4, 5.2)
        x = s.at(z, 0.15)
        s.put('chair', x - 0.7, z, flip=False)
        if s.chance(0.7):
            s.person(x - 0.66, z - 0.03, 'sit', flip=False)
        s.put('dining table', x + 0.4, z - 0.1, size=0.95)
        s.put('tv', x + 0.4, z, size=0.6, lift=0.8)
    s.indoors(1, 3)
    s.maybe(0.5, 'potted plant', 5, 5.4)
    s.maybe(0.4, 'suitcase', 3.5, 3.4)


# Setting: function that fills it; probability; then ranges of the horizon (fraction of the height),
# the focal length (fraction of the square root of the image's area) and the camera's height (m).
_SETTINGS = {
    'street': (_street, 0.27, (0.36, 0.52), (0.75, 1.35), (1.4, 2.2)),
    'roadside': (_roadside, 0.29, (0.34, 0.52), (0.75, 2.6), (1.3, 1.9)),
    'country': (_country, 0.10, (0.32, 0.5), (0.8, 1.7), (1.4, 2.2)),
    'platform': (_platform, 0.09, (0.38, 0.52), (0.8, 1.4), (1.5, 1.8)),
    'court': (_court, 0.05, (0.26, 0.4), (1.0, 1.9), (1.7, 2.6)),
    'field': (_field, 0.05, (0.26, 0.4), (1.0, 2.0), (1.5, 2.4)),
    'beach': (_beach, 0.04, (0.3, 0.48), (0.9, 1.8), (1.5, 2.0)),
    'snow': (_snow, 0.04, (0.3, 0.5), (0.8, 1.6), (1.5, 2.0)),
    'living room': (_living_room, 0.04, (0.4, 0.55), (0.8, 1.15), (1.35, 1.6)),
    'office': (_office, 0.03, (0.4, 0.55), (0.8, 1.15), (1.35, 1.6)),
}


def split_number(split: str) -> int:
    """A number below 2^32 for the name of a split."""
    return int.from_bytes(hashlib.sha256(split.encode()).digest()[:4], 'big')


def sample_scene(seed: int, split: str, index: int) -> Scene:
    """Describes scene `index` of a split; depends on the arguments only."""
    rng = np.random.default_rng([seed, split_number(split), index])
    names = list(_SETTINGS)
    setting = names[int(rng.choice(len(names), p=[_SETTINGS[n][1] for n in names]))]
    width, height = pick(rng, _SIZES)
    fill, _, *camera = _SETTINGS[setting]
    builder = SceneBuilder(rng, width, height, setting, camera)
    fill(builder)
    if builder.chance(0.08):
        builder.put('frame', 0, 0.5)
        builder.change_last(x=width / 2, y=float(height), scale=float(max(width, height)))
    dark = builder.chance(0.13)
    sunny = builder.is_sunny(not dark)
    warm = rng.uniform(-0.06, 0.08)
    brightness = rng.uniform(0.32, 0.5) if dark else rng.uniform(0.8, 1.12)
    light = builder.light(dark, sunny, warm, brightness)
    return builder.scene(light, builder.chance(0.07), int(rng.integers(1 << 31)))
