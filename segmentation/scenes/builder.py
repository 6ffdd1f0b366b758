"""Places the things of a scene, in meters."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from segmentation.scenes.description import INDOORS, Light, Scene, Thing
from segmentation.scenes.drawing.palette import ANY_COLORS, COLORS, Color, pick, some
from segmentation.scenes.drawing.people import joints

_STANDING = ('stand', 'stand', 'back', 'walk', 'walk', 'walk', 'phone', 'wave')


class SceneBuilder:
    """Collects the things of one scene. Positions are in meters: x to the right, z away."""

    def __init__(
        self,
        rng: np.random.Generator,
        width: int,
        height: int,
        setting: str,
        camera: Sequence[tuple[float, float]],
    ):
        """Draws a camera from the ranges of horizon, focal length and eye (see `sampling`)."""
        self.rng, self.width, self.height, self.setting = rng, width, height, setting
        horizon, focal, eye = (rng.uniform(*r) for r in camera)
        self.horizon, self.eye = horizon * height, eye
        self.focal = focal * math.sqrt(width * height)
        self.things: list[Thing] = []

    def scene(self, light: Light, grayscale: bool, seed: int, **more: Any) -> Scene:
        """The description of what was placed."""
        return Scene(
            self.width, self.height, self.setting, self.horizon, self.focal, self.eye, light,
            grayscale, seed, tuple(sorted(self.things, key=lambda thing: -thing.depth)), **more,
        )  # fmt: skip

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def pick(self, options: Sequence[Any]) -> Any:
        return pick(self.rng, options)

    def put(
        self,
        kind: str, x: float, z: float, pose: str = '', flip: bool | None = None, size: float = 1.0,
        crowd: int = 0, lift: float = 0.0, colors: tuple[Color, Color] | None = None,
    ) -> Thing:  # fmt: skip
        rng, scale = self.rng, self.focal / z
        first, second = (some(rng, p, 10) for p in COLORS.get(kind, ANY_COLORS))
        if lift and not pose:
            pose = 'held'
        thing = Thing(
            kind=kind,
            pose=pose,
            x=self.width / 2 + x * scale,
            y=self.horizon + (self.eye - lift) * scale,
            scale=scale * size,
            depth=z,
            flip=self.chance(0.5) if flip is None else flip,
            tilt=0.0,
            colors=colors or (first, second),
            crowd=crowd,
            seed=int(rng.integers(1 << 31)),
        )
        self.things.append(thing)
        return thing

    def change_last(self, **changes: Any) -> None:
        """Changes attributes of the thing that was put last."""
        self.things[-1] = dataclasses.replace(self.things[-1], **changes)

    def at(self, z: float, margin: float = 0.05) -> float:
        """A random x that is inside the image at distance z."""
        half = 0.5 * self.width * z / self.focal
        return self.rng.uniform(-1, 1) * half * (1 - 2 * margin)

    def depth(self, near: float, far: float) -> float:
        """A random distance, log-uniform."""
        return math.exp(self.rng.uniform(math.log(near), math.log(far)))

    def maybe(self, p: float, kind: str, visible: float, z: float, pose: str = '') -> None:
        """With probability p, a thing at distance z; its x is in view at distance `visible`."""
        if self.chance(p):
            self.put(kind, self.at(visible), z, pose)

    def scatter(
        self, kinds: Sequence[str], near: float, far: float, margin: float = 0.05,
        times: tuple[int, int] = (1, 2),
    ) -> None:  # fmt: skip
        """At least times[0], fewer than times[1] things, anywhere between two distances."""
        for _ in range(self.rng.integers(*times)):
            z = self.depth(near, far)
            self.put(self.pick(kinds), self.at(z, margin), z)

    def person(self, x: float, z: float, pose: str = '', **more: Any) -> Thing:
        """A person, sometimes a child."""
        seated = pose in ('ride', 'motor', 'sit')
        child = self.chance(0.12) and not seated
        size = self.rng.uniform(0.55, 0.75) if child else self.rng.uniform(0.92, 1.07)
        return self.put(
            'person', x, z, pose or self.pick(_STANDING), size=1.0 if seated else size, **more
        )

    def hold(self, person: Thing, kind: str, hand: int = 1, tilt: float = 0.0) -> None:
        """Puts a thing into a hand, just in front of the person."""
        x, y = joints(person.pose, person.seed)[f'hand{hand}']
        self.put(kind, 0, person.depth, 'held', flip=person.flip)
        self.change_last(
            x=person.x + (-x if person.flip else x) * person.scale,
            y=person.y - y * person.scale,
            scale=person.scale,
            tilt=tilt,
            depth=person.depth - 0.01,
        )

    def walkers(
        self, low: int, high: int, near: float, far: float, xs: tuple[float, float] | None = None
    ) -> None:
        """At least `low`, fewer than `high` people on foot, some with a thing in a hand."""
        for _ in range(self.rng.integers(low, high)):
            z = self.depth(near, far)
            side = self.pick((-1, 1))
            x = self.at(z) if xs is None else side * self.rng.uniform(*xs)
            p = self.person(x, z)
            if self.chance(0.16):
                self.hold(p, 'handbag', int(self.rng.integers(2)))
            elif self.chance(0.1) and p.pose in ('walk', 'phone'):
                self.hold(p, 'umbrella', tilt=self.rng.uniform(-0.2, 0.2))
            if self.chance(0.07):
                dog_x = x + float(self.rng.choice([-0.7, 0.7]))
                self.put('dog', dog_x, z - 0.1, size=self.rng.uniform(0.6, 1))

    def indoors(self, low: int, high: int) -> None:
        """At least `low`, fewer than `high` people in a room."""
        for _ in range(self.rng.integers(low, high)):
            z = self.depth(2.2, 4.6)
            self.person(self.at(z, 0.1), z, self.pick(('stand', 'phone', 'back', 'walk', 'wave')))

    def vehicle(
        self, kind: str, x: float, z: float, pose: str = 'side', flip: bool | None = None
    ) -> None:
        """A vehicle on the road; a motorcycle has a rider."""
        if kind == 'motorcycle':
            self.rider(x, z, kind, pose)
        else:
            self.put(kind, x, z, pose, flip=flip)

    def rider(self, x: float, z: float, kind: str, pose: str = 'side') -> None:
        """A bicycle or motorcycle with its rider, from the side or from an end."""
        flip = self.chance(0.5)
        self.put(kind, x, z, pose, flip=flip)
        if pose == 'side':
            self.person(x, z - 0.02, 'ride' if kind == 'bicycle' else 'motor', flip=flip)
        else:
            p = self.person(x, z + 0.02, 'stand', flip=flip)
            self.change_last(y=p.y - 0.12 * p.scale)

    def glider(
        self, kind: str, x: float, z: float, poses: Sequence[str], lift: float = 0.0
    ) -> None:
        """A person on skis or a surfboard."""
        flip = self.chance(0.5)
        self.put(kind, x, z, flip=flip)
        self.person(x, z - 0.02, self.pick(poses), flip=flip, lift=lift)

    def surfer(self, x: float, z: float) -> None:
        self.glider('surfboard', x, z, ('surf',), lift=0.03)

    def tennis_player(self, x: float, z: float) -> None:
        p = self.person(x, z, self.pick(('swing', 'swing', 'serve')))
        self.hold(p, 'tennis racket', tilt=self.rng.uniform(-1.3, 0.4))

    def tennis_ball(self, near: float, far: float) -> None:
        """In 70 % of the scenes, a ball in the air."""
        if self.chance(0.7):
            z = self.depth(near, far)
            x, lift = self.at(z), self.rng.uniform(0.3, 1.8)
            yellow = ((205, 225, 60), (225, 240, 120))
            self.put('sports ball', x, z, lift=lift, size=0.5, colors=yellow)

    def furnish(self, *kinds: tuple[str, float]) -> None:
        """Puts each kind on the floor of a room with its probability."""
        for kind, p in kinds:
            if self.chance(p):
                self.scatter((kind,), 3.0, 4.9)

    def is_sunny(self, possible: bool) -> bool:
        """Whether the sun shines, if it is possible and outdoors."""
        return possible and self.setting not in INDOORS and self.chance(0.62)

    def light(
        self, dark: bool, sunny: bool, warm: float, brightness: float, noise: float | None = None
    ) -> Light:
        """Light that is `warm` (more red than blue) and, in the dark, blue and noisy."""
        rng = self.rng
        return Light(
            brightness=brightness,
            tint=(1 + warm - 0.14 * dark, 1.0 - 0.06 * dark, 1 - warm + 0.16 * dark),
            slant=float(rng.uniform(0.25, 0.9) * rng.choice([-1, 1])) if sunny else 0.0,
            length=rng.uniform(0.08, 0.22) if sunny else 0.0,
            noise=rng.uniform(1.5, 5) + 4 * dark if noise is None else noise,
        )

    def crowd(self, kind: str, z: float) -> None:
        """Many people or cars that are annotated as one region."""
        x = self.at(z, 0.15)
        count = int(self.rng.integers(9, 16)) if kind == 'person' else 5
        self.put(kind, x, z, 'crowd', crowd=count)
