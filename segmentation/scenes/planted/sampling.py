"""Scenes with planted truth: known properties that an analysis of a trained model should find.

README.md explains the design. The generator is frozen: a change of the scenes increases VERSION,
and tests compare hashes. Version 3 is version 2 with hidden slices (`hidden.py`). The held-out
seeds are for scoring an analysis; develop it on other seeds.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from segmentation.scenes.builder import SceneBuilder
from segmentation.scenes.description import CLEAR, INDOORS, Light, Scene
from segmentation.scenes.drawing.palette import pick
from segmentation.scenes.planted import hidden
from segmentation.scenes.planted.label_errors import HOSTS, KINDS
from segmentation.scenes.sampling import split_number

VERSION = 2
VERSIONS = (VERSION, hidden.VERSION)
HELD_OUT_SEEDS = (9101, 9102, 9103, 9104, 9105)  # of version 2
BLOCK = 60
NIGHT = 0.15
COLORS = {'grayscale': 0.1, 'low hue variation': 0.1}
FRAMINGS = {'crowd': 0.15, 'close-up': 0.15}
ATTRIBUTES = ('night', *COLORS, *FRAMINGS)
# Scenes in which a slice is impossible are ordinary.
HARD_SLICES = dict.fromkeys(('close-up car', 'dark', 'fog', 'noise', 'glare'), 0.04)
_IMPOSSIBLE = {
    'sea': ('close-up car',),
    'living room': ('close-up car', 'fog'),
    'office': ('close-up car', 'fog'),
}
MOST_ERRORS = (1 - sum(HARD_SLICES.values())) / len(KINDS)
DECOYS = 0.1  # fraction of scenes with a suitcase, picture or toy car that is labeled correctly
# About half the pixels of the plain scenes: faster, and still twice the network's input size.
_SIZES = ((288, 216), (216, 288), (288, 192), (256, 256), (272, 204), (204, 272))
_WASHES = ((214, 196, 162), (168, 200, 228), (186, 214, 176), (222, 184, 176))


@dataclasses.dataclass(frozen=True)
class Planted:
    """A scene and what was planted in it."""

    scene: Scene  # the description
    type: str  # one of TYPES
    attributes: tuple[str, ...]  # some of ATTRIBUTES
    hard_slice: str | None  # one of HARD_SLICES, or None
    error: str | None  # kind of label error that it was chosen for, or None
    hidden: tuple[str, int] | None = None  # one of `hidden.SLICES`, and the thing that is in it


def _skier(s: SceneBuilder, x: float, z: float) -> None:
    s.glider('skis', x, z, ('ski', 'ski', 'stand'))


def _bus(s: SceneBuilder, x: float, z: float) -> None:
    if s.setting == 'avenue':
        side = s.pick((-1, 1))
        s.put('bus', side * 1.35, max(z, 4), 'front' if side < 0 else 'back')
    else:
        s.put('bus', x, z, 'side')


def _rider(s: SceneBuilder, x: float, z: float) -> None:
    s.rider(x, z, s.pick(('bicycle', 'motorcycle')), s.pick(('side', 'side', 'side', 'front')))


def _sitter(s: SceneBuilder, x: float, z: float) -> None:
    seat = s.pick(('couch', 'chair'))
    s.put(seat, x, z, flip=False)
    s.person(x + (s.pick((-0.38, 0.38)) if seat == 'couch' else 0.02), z - 0.05, 'sit', flip=False)


def _tennis(s: SceneBuilder) -> None:
    if s.chance(0.4):
        s.tennis_player(s.at(16, 0.2), s.depth(14, 19))
    s.tennis_ball(4, 10)
    s.maybe(0.3, 'bench', 20, 21.5)
    s.maybe(0.4, 'car', 14, 23.4, 'side')
    s.maybe(0.15, 'truck', 14, 23.6, 'side')


def _snow(s: SceneBuilder) -> None:
    s.scatter(('pine',), 7, 40, margin=-0.1, times=(2, 8))
    s.maybe(0.4, 'car', 9, s.rng.uniform(9, 16), 'side')
    s.maybe(0.15, 'bus', 18, s.rng.uniform(18, 24), 'side')


def _sea(s: SceneBuilder) -> None:
    for _ in range(s.rng.integers(0, 3)):
        s.surfer(s.at(14), s.depth(10, 24))
    if s.chance(0.4):
        s.scatter(('boat',), 30, 70)


def _street(s: SceneBuilder) -> None:
    s.walkers(1, 3, 3.4, 6)
    if s.setting == 'avenue':
        for side, pose in ((-1, 'front'), (1, 'back')):
            z = s.rng.uniform(5, 10)
            while z < 40 and s.chance(0.6):
                kind = s.pick(('car', 'car', 'car', 'truck'))
                s.put(kind, side * 3.35, z, pose)
                z += s.rng.uniform(6, 12)
        s.maybe(0.5, 'lamp', 8, 8.0)
    else:
        for z, flip in ((8.0, False), (12.4, True)):
            for _ in range(s.rng.integers(0, 2)):
                kind = s.pick(('car', 'car', 'car', 'truck'))
                s.put(kind, s.at(z), z, 'side', flip=flip)
        s.maybe(0.4, 'post', 5, 5.9)
    s.maybe(0.3, 'traffic light', 6, 6.0)


def _road(s: SceneBuilder) -> None:
    s.walkers(0, 2, 14.8, 17)
    if s.setting == 'country':
        s.maybe(0.35, 'train', 8, 19.0, 'track')
    for z, kinds in ((9.5, ('car', 'car', 'truck')), (12.2, ('car', 'motorcycle'))):
        if s.chance(0.4):
            s.vehicle(s.pick(kinds), s.at(z), z)
    s.scatter(('tree', 'bush'), 15, 30, times=(1, 4))


def _room(s: SceneBuilder) -> None:
    s.maybe(0.6, 'tv', 4.8, 5.0)
    if s.chance(0.5):
        z = s.rng.uniform(3.0, 3.6)
        s.put('dining table', s.at(z), z)
    s.indoors(0, 2)
    s.furnish(('potted plant', 0.6), ('chair', 0.5), ('dog', 0.2))


class _Type(NamedTuple):
    settings: tuple[str, ...]
    camera: tuple[tuple[float, float], ...]  # ranges of horizon, focal length and eye
    subject: Callable[[SceneBuilder, float, float], None]  # draws what the type is about, at (x, z)
    depths: tuple[float, float]  # range of its z
    rest: Callable[[SceneBuilder], None]
    crowd: float | None  # meters to a crowd region


_TYPES = {
    'tennis': _Type(('court',), ((0.26, 0.4), (0.9, 1.5), (1.7, 2.4)), SceneBuilder.tennis_player,
                    (3.8, 7.5), _tennis, 22.5),
    'snow': _Type(('snow',), ((0.3, 0.5), (0.8, 1.4), (1.5, 2.0)), _skier, (3.8, 10), _snow, 26),
    'sea': _Type(('sea',), ((0.28, 0.46), (0.8, 1.5), (1.5, 2.1)), SceneBuilder.surfer, (3.8, 9),
                 _sea, None),
    'buses': _Type(('city', 'avenue'), ((0.34, 0.5), (0.75, 1.3), (1.4, 2.0)), _bus, (8.4, 13),
                   _street, 17),
    'riders': _Type(('park', 'country'), ((0.32, 0.5), (0.8, 1.5), (1.4, 2.0)), _rider, (4.2, 9),
                    _road, 17),
    'indoor': _Type(('living room', 'office'), ((0.4, 0.52), (0.8, 1.1), (1.35, 1.6)), _sitter,
                    (3.2, 4.6), _room, None),
}  # fmt: skip
TYPES = tuple(_TYPES)


def sample_planted(
    seed: int, split: str, index: int, error_rate: float, version: int = VERSION
) -> Planted:
    """Describes planted scene `index` of a split; depends on the arguments only.

    `error_rate` is the fraction of scenes with a label error of each kind, in [0, MOST_ERRORS]. It
    changes nothing in the image, except that an error may need a thing (such as a suitcase) in it,
    and that in version 3 a scene with an error shows no hidden slice.
    `version` is one of VERSIONS.
    """
    number = split_number(split)
    rng = np.random.default_rng([seed, number, index, 1])
    block, place = divmod(index, BLOCK)
    strata = np.random.default_rng([seed, number, block, 2])
    even = [(strata.permutation(BLOCK)[place] + strata.random(BLOCK)[place]) / BLOCK
            for _ in range(5)]  # fmt: skip
    name = TYPES[int(even[0] * len(TYPES))]
    kind = _TYPES[name]
    setting = pick(rng, kind.settings)
    # Errors from one end of [0, 1], slices from the other: no scene has both.
    error = _choose(even[1], dict.fromkeys(KINDS, error_rate))
    hard = _choose(1 - even[1], HARD_SLICES)
    if hard in _IMPOSSIBLE.get(setting, ()):
        hard = None
    framing = _choose(even[2], FRAMINGS) if hard != 'close-up car' else None
    color = _choose(even[3], COLORS)
    night = even[4] < NIGHT and hard not in ('dark', 'glare')

    width, height = pick(rng, _SIZES)
    # Low enough for the head of a close subject to be in the image.
    horizon, focal, eye = kind.camera
    eye = (1.2, 1.45) if framing == 'close-up' else eye
    s = SceneBuilder(rng, width, height, setting, (horizon, focal, eye))
    _fill(s, kind, framing)
    for host in HOSTS.values():
        if s.chance(DECOYS):
            _put_host(s, host)
    if hard == 'close-up car':
        _close_up_car(s)
    light, scene_seed = _light(s, night, hard), int(rng.integers(1 << 31))
    visibility = rng.uniform(1.2, 2.2) if hard == 'fog' else CLEAR
    wash = pick(rng, _WASHES) if color == 'low hue variation' else None
    # Last, so that the error rate changes no other random choice.
    if error in HOSTS and HOSTS[error] not in {thing.kind for thing in s.things}:
        _put_host(s, HOSTS[error])
    scene = s.scene(light, color == 'grayscale', scene_seed, visibility=visibility, wash=wash)
    found = {'night': night, color: True, framing: True}
    slice_of = None
    if version >= hidden.VERSION and split != hidden.TRAINING and not (hard or error):
        scene, slice_of = hidden.plant(scene, seed, number, index)
    attributes = tuple(a for a in ATTRIBUTES if found.get(a))
    return Planted(scene, name, attributes, hard, error, slice_of)


def _choose(u: float, shares: dict[str, float]) -> str | None:
    """The name whose part of [0, 1] contains `u`, if any."""
    for name, share in shares.items():
        if u < share:
            return name
        u -= share
    return None


def _fill(s: SceneBuilder, kind: _Type, framing: str | None) -> None:
    if framing == 'close-up':
        bus = kind.subject is _bus and s.setting != 'avenue'
        z = s.focal * (2.6 if bus else 1.35) / s.height
        kind.subject(s, s.rng.uniform(-0.15, 0.15) * s.width * z / s.focal, z)
    else:
        for _ in range(1 if kind.subject is _bus else s.rng.integers(1, 3)):
            z = s.depth(*kind.depths)
            kind.subject(s, s.at(z, 0.15), z)
    kind.rest(s)
    if framing == 'crowd':
        for _ in range(s.rng.integers(7, 11)):
            z = s.depth(*((kind.depths[0], 4.9) if s.setting in INDOORS else (4.5, 14)))
            if kind.subject in (SceneBuilder.surfer, _skier):
                kind.subject(s, s.at(z), z)
            else:
                s.person(s.at(z), z)
        if kind.crowd:
            s.crowd('person', kind.crowd)


def _put_host(s: SceneBuilder, host: str) -> None:
    """Puts the thing that a label error needs on the ground in front."""
    nearest = s.focal * s.eye / (0.95 * s.height - s.horizon)
    z = nearest * s.rng.uniform(1.0, 1.25)
    x = s.at(z, 0.15)
    if host == 'picture':
        z *= 1.35
    if s.setting == 'sea':
        s.put('raft', x, z + 0.01)
    if host == 'picture':
        flip = s.chance(0.5)
        s.put('board', x, z, flip=flip)
        s.put('picture', x, z - 0.01, flip=flip)
    else:
        s.put(host, x, z, size={'suitcase': 1.0, 'toy car': 1.15}[host])


def _close_up_car(s: SceneBuilder) -> None:
    """A car in front of the camera, larger than the image."""
    pose = s.pick(('side', 'front', 'back'))
    length = 4.2 if pose == 'side' else 1.76
    scale = max(s.width / length, s.height / 1.4)
    scale *= s.rng.uniform(0.85, 1.2) if pose == 'side' else s.rng.uniform(1.05, 1.5)
    s.put('car', 0, 0.6, pose)
    x = s.width / 2 + s.rng.uniform(-0.12, 0.12) * length * scale
    s.change_last(x=x, y=s.height + 0.12 * scale, scale=scale)


def _light(s: SceneBuilder, night: bool, hard: str | None) -> Light:
    rng = s.rng
    dark = night or hard == 'dark'
    sunny = s.is_sunny(not dark and hard != 'fog')
    warm = rng.uniform(-0.14, 0.14)
    brightness = rng.uniform(0.3, 0.46) if night else rng.uniform(0.75, 1.0)
    noise = rng.uniform(1.5, 5) + 4 * dark
    if hard == 'dark':
        brightness = rng.uniform(0.05, 0.08)
    if hard == 'glare':
        brightness = rng.uniform(4.0, 6.0)
    if hard == 'noise':
        noise = rng.uniform(130, 170)
    return s.light(dark, sunny, warm, brightness, noise)
