"""Descriptions of drawn scenes: COCO's categories, things, light and camera."""

import dataclasses
from typing import Any

from segmentation.scenes.drawing.palette import Color

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
}  # fmt: skip
CATEGORIES: list[dict[str, Any]] = [
    {'supercategory': group, 'id': int(number), 'name': name}
    for group, entries in _CATEGORIES.items()
    for number, name in (entry.split(' ', 1) for entry in entries.split(', '))
]
CATEGORY_ID: dict[str, int] = {c['name']: c['id'] for c in CATEGORIES}
INDOORS = ('living room', 'office')  # settings
CLEAR = 160.0  # meters of visibility without fog


@dataclasses.dataclass(frozen=True)
class Thing:
    """One object of a scene."""

    kind: str  # a COCO category, or a prop that COCO lacks (tree, lamp, frame …)
    pose: str  # a body pose or the visible side; 'held' is off the ground
    # x, y: pixel where it meets the ground
    x: float
    y: float
    scale: float  # pixels per meter
    depth: float  # distance in meters
    flip: bool  # whether it is mirrored
    tilt: float  # in radians
    colors: tuple[Color, Color]  # two RGB triples
    crowd: int  # number of people or cars that are annotated as one region; 0 for a single object
    seed: int  # of its details
    finish: str = ''  # one of `drawing.finishes.FINISHES`, or '' for its own colors

    @property
    def category_id(self) -> int | None:
        return CATEGORY_ID.get(self.kind)


@dataclasses.dataclass(frozen=True)
class Light:
    """The light of a scene."""

    brightness: float  # factor of the image
    tint: tuple[float, float, float]  # factors of red, green and blue
    # Meters that a shadow falls sideways per meter of height; 0 if overcast or indoors.
    slant: float
    length: float  # meters that it falls towards the camera per meter of height; 0 likewise
    noise: float  # of the sensor, in 8-bit levels


@dataclasses.dataclass(frozen=True)
class Scene:
    """The description of an image. `drawing/canvas.py` defines the camera."""

    # width, height: in pixels
    width: int
    height: int
    setting: str  # a name in `BACKDROPS`
    horizon: float  # its row in pixels
    focal: float  # focal length in pixels
    eye: float  # height of the camera in meters
    light: Light  # see `Light`
    grayscale: bool  # whether the image has no colors
    seed: int  # of the background and the noise
    things: tuple[Thing, ...]  # from the back to the front
    # Meters over which haze hides things outdoors; if less than CLEAR, fog, which hides the ground
    # too.
    visibility: float = CLEAR
    wash: Color | None = None  # color in 0..255 that tints the whole image, or None

    @property
    def category_ids(self) -> dict[int, int]:
        """Index → COCO category of the things that have one."""
        return {i: t.category_id for i, t in enumerate(self.things) if t.category_id}
