"""What describes a drawn scene: COCO's categories, things, light and camera."""

import dataclasses

from segmentation.scenes.drawing.palette import Colour

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
CATEGORIES = [
    {'supercategory': group, 'id': int(number), 'name': name}
    for group, entries in _CATEGORIES.items()
    for number, name in (entry.split(' ', 1) for entry in entries.split(', '))
]
CATEGORY_ID = {c['name']: c['id'] for c in CATEGORIES}
INDOORS = ('living room', 'office')  # settings
CLEAR = 160.0  # metres of visibility without fog


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
    colours: tuple[Colour, Colour]
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
    """A picture's description: setting, camera (see canvas), light, things from the back.

    Sizes, `horizon` and `focal` are in pixels, `eye` in metres. Outdoors, haze hides things and
    ground with the distance over `visibility` (metres); the ground only if that is fog. `wash` is a
    colour in 0..255 that the whole picture is toned in.
    """

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
    visibility: float = CLEAR
    wash: Colour | None = None
