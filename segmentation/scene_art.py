"""How the drawn scenes look: sprites for objects and painted backgrounds.

Objects are lists of filled polygons in metres, with the origin where the object meets the ground,
x to the right and y up. They are rasterised supersampled, so that edges are anti-aliased, and then
shaded and given grain. Backgrounds are painted straight into an array. `segmentation.scenes`
decides what stands where.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, ...]
Point = tuple[float, float]

SKIN = ((244, 208, 177), (224, 172, 138), (198, 134, 96), (141, 85, 54), (96, 58, 40),
        (250, 220, 200))
HAIR = ((35, 25, 20), (60, 40, 25), (110, 70, 35), (190, 150, 80), (105, 100, 98), (140, 60, 30))
CLOTHES = ((200, 40, 45), (40, 80, 170), (240, 240, 235), (30, 30, 36), (240, 190, 40),
           (50, 130, 80), (230, 120, 40), (120, 60, 140), (90, 150, 200), (220, 130, 160),
           (130, 130, 135), (60, 70, 50), (0, 140, 140))
TROUSERS = ((45, 60, 100), (30, 32, 40), (90, 85, 75), (150, 130, 100), (70, 90, 130), (60, 45, 40))
PAINT = ((235, 236, 238), (175, 178, 184), (95, 98, 105), (28, 30, 34), (170, 24, 30),
         (28, 62, 130), (30, 90, 70), (225, 180, 40), (190, 175, 150), (90, 30, 40),
         (110, 160, 200), (220, 95, 30))
LIVERY = ((200, 35, 40), (30, 90, 170), (245, 245, 240), (240, 180, 30), (40, 130, 80),
          (235, 110, 30), (90, 50, 120), (120, 130, 140))
GLASS = (52, 66, 80)
TYRE = (26, 26, 28)
_CIRCLES = {n: np.stack([np.cos(a), np.sin(a)], 1)
            for n in (10, 28) for a in [np.arange(n) * 2 * math.pi / n]}
_CAP = np.stack([-np.sin(np.linspace(0, math.pi, 6)), np.cos(np.linspace(0, math.pi, 6))], 1)


def _noise_tiles(size: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Fixed periodic noise in about [-1, 1]: white grain, and soft blotches (three octaves)."""
    rng = np.random.default_rng(20140501)
    grain = np.clip(rng.normal(0, 0.45, (size, size)), -1, 1).astype(np.float32)
    soft = np.zeros((size, size), np.float32)
    for cells, weight in ((16, 1.0), (64, 0.5), (256, 0.25)):
        values = np.tile(rng.normal(0, 0.6, (cells, cells)).astype(np.float32), (3, 3))
        image = Image.fromarray(values).resize((3 * size, 3 * size), Image.Resampling.BICUBIC)
        soft += weight * np.asarray(image)[size:2 * size, size:2 * size]
    return grain, np.clip(soft, -1.5, 1.5)


GRAIN, SOFT = _noise_tiles()


def crop(tile: np.ndarray, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A random [height, width] window of a noise tile (sizes below the tile's)."""
    y, x = (int(rng.integers(n - m + 1)) for n, m in zip(tile.shape, (height, width), strict=True))
    return tile[y:y + height, x:x + width]


def pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def tone(colour: Colour, factor: float) -> Colour:
    """The colour made lighter (factor > 1) or darker, alpha kept."""
    return tuple(int(min(255, c * factor)) for c in colour[:3]) + tuple(colour[3:])


def vary(rng: np.random.Generator, colour: Colour, amount: int = 14) -> Colour:
    shift = rng.integers(-amount, amount + 1, 3).tolist()
    return tuple(min(255, max(0, c + d)) for c, d in zip(colour, shift, strict=True))


def some(rng: np.random.Generator, options: tuple[Colour, ...], amount: int = 14) -> Colour:
    return vary(rng, pick(rng, options), amount)


class View(NamedTuple):
    """The camera seen from an object: vanishing point and distance, in the object's metres."""
    x: float
    y: float
    distance: float

    def recede(self, p: Point, length: float) -> Point:
        """Where the point lies after moving `length` metres away from the camera."""
        t = length / (self.distance + length)
        return p[0] + (self.x - p[0]) * t, p[1] + (self.y - p[1]) * t


class Pen:
    """Collects polygons given in metres as polygons in image pixels."""

    def __init__(self, x: float, y: float, scale: float, flip: bool = False, tilt: float = 0.0):
        c, s, f = math.cos(tilt), math.sin(tilt), -1 if flip else 1
        self.matrix = scale * np.array([[f * c, -s], [-f * s, -c]])
        self.origin = np.array([x, y])
        self.scale = scale
        self.shapes: list[tuple[np.ndarray, Colour]] = []
        self.glows: list[tuple[float, float, float, Colour]] = []

    def moved(self, x: float, y: float, size: float = 1.0) -> 'Pen':
        """A pen that draws into the same picture, shifted by metres and scaled."""
        pen = Pen.__new__(Pen)
        pen.matrix, pen.origin = self.matrix * size, self.origin + np.array([x, y]) @ self.matrix
        pen.scale, pen.shapes, pen.glows = self.scale * size, self.shapes, self.glows
        return pen

    def polygon(self, points, colour: Colour) -> None:
        self.shapes.append((np.asarray(points, float) @ self.matrix + self.origin, colour))

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, round: float = 0.0):
        r = min(round, abs(x1 - x0) / 2, abs(y1 - y0) / 2)
        if r * self.scale < 0.7:
            self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)
        else:
            k = 0.3 * r
            self.polygon([(x0 + r, y0), (x1 - r, y0), (x1 - k, y0 + k), (x1, y0 + r), (x1, y1 - r),
                          (x1 - k, y1 - k), (x1 - r, y1), (x0 + r, y1), (x0 + k, y1 - k),
                          (x0, y1 - r), (x0, y0 + r), (x0 + k, y0 + k)], colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        circle = _CIRCLES[10 if max(rx, ry) * self.scale < 5 else 28]
        self.polygon(circle * (rx, ry) + (x, y), colour)

    def limb(self, a: Point, b: Point, ra: float, rb: float, colour: Colour) -> None:
        """A tapered stroke with round ends."""
        dx, dy = float(b[0] - a[0]), float(b[1] - a[1])
        length = math.hypot(dx, dy) or 1.0
        cap = _CAP @ np.array([[dx, dy], [-dy, dx]]) / length
        self.polygon(np.concatenate([ra * cap + a, b - rb * cap]), colour)

    def line(self, points, width: float, colour: Colour) -> None:
        for a, b in zip(points[:-1], points[1:], strict=True):
            self.limb(a, b, width / 2, width / 2, colour)

    def bands(self, quad, count: int, colour: Colour) -> None:
        """Stripes across a quadrilateral (bottom left, bottom right, top right, top left)."""
        bl, br, tr, tl = np.asarray(quad, float)
        for i in range(count):
            s, t = (i + 0.25) / count, (i + 0.75) / count
            self.polygon([bl + s * (tl - bl), br + s * (tr - br), br + t * (tr - br),
                          bl + t * (tl - bl)], colour)

    def glow(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """A lamp: shines at night only."""
        px, py = np.array([x, y]) @ self.matrix + self.origin
        self.glows.append((float(px), float(py), radius * self.scale, colour))


def bounds(polygons, width: int, height: int, margin: int = 1) -> tuple[int, int, int, int] | None:
    """The polygons' box (left, top, right, bottom) inside the image, or None when it is outside."""
    points = np.concatenate(polygons)
    low, high = np.floor(points.min(0)) - margin, np.ceil(points.max(0)) + margin
    left, top = int(max(low[0], 0)), int(max(low[1], 0))
    right, bottom = int(min(high[0], width)), int(min(high[1], height))
    return (left, top, right, bottom) if left < right and top < bottom else None


def rasterise(shapes, box: tuple[int, int, int, int]) -> np.ndarray:
    """Draws the shapes in order, the last on top.

    Returns float32 [4, h, w]: colour times alpha in 0..255, and alpha in [0, 1]. Channels come
    first because numpy is several times faster that way.
    """
    left, top, right, bottom = box
    size = max(right - left, bottom - top)
    factor = 4 if size < 48 else 3 if size < 100 else 2
    # Plain averaging of four channels is what premultiplied colours need; RGBA would be converted.
    layer = Image.new('CMYK', ((right - left) * factor, (bottom - top) * factor))
    draw = ImageDraw.Draw(layer)
    for points, colour in shapes:
        alpha = colour[3] if len(colour) == 4 else 255
        colour = *(c * alpha // 255 for c in colour[:3]), alpha
        draw.polygon(((points - (left, top)) * factor - 0.5).ravel().tolist(), colour)
    patch = np.asarray(layer.reduce(factor)).transpose(2, 0, 1).astype(np.float32, order='C')
    patch[3] /= 255
    return patch


def cover(polygons: list[np.ndarray], box: tuple[int, int, int, int], blur: float) -> np.ndarray:
    """What the polygons cover of a box, with soft edges. Returns float32 [h, w] in [0, 1]."""
    left, top, right, bottom = box
    layer = Image.new('L', (right - left, bottom - top))
    draw = ImageDraw.Draw(layer)
    for points in polygons:
        draw.polygon((points - (left, top)).ravel().tolist(), 255)
    return np.asarray(layer.filter(ImageFilter.BoxBlur(blur))).astype(np.float32) / 255


def lay_down(shapes, ground: float, slant: float, length: float) -> list[np.ndarray]:
    """The shapes as the sun casts them on the ground, which they meet at row `ground`."""
    matrix = np.array([[1, 0], [-slant, -length]])
    shift = np.array([slant * ground, (1 + length) * ground])
    return [points @ matrix + shift for points, _ in shapes]


def shade(patch: np.ndarray, rng: np.random.Generator, side: float, roughness: float) -> None:
    """Gives a flat patch [4, h, w] volume (light from above and one side) and grain, in place."""
    _, h, w = patch.shape
    reach = int(np.clip(0.07 * min(h, w), 1, 9))
    # Blurred coverage rises towards the middle of the object; its slope against the light stands
    # in for the surface normal.
    soft = Image.fromarray((patch[3] * 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(reach))
    padded = np.pad(np.asarray(soft).astype(np.float32), reach, mode='edge')
    dx = round(reach * side)
    light = padded[2 * reach:, reach + dx:reach + dx + w] - padded[:h, reach - dx:reach - dx + w]
    light *= 0.3 / 255
    light += np.linspace(1.07, 0.9, h, dtype=np.float32)[:, None]
    light += roughness * crop(GRAIN, h, w, rng)
    light += 0.09 * crop(SOFT, h, w, rng)
    patch[:3] *= light
    np.minimum(patch[:3], 255 * patch[3], out=patch[:3])


# People ------------------------------------------------------------------------------------------

# Degrees from hanging straight down, forward positive: lean of the trunk, then for the far and the
# near side (upper arm, forearm), then (thigh, shin); last, half the shoulder width in metres.
_POSES = {
    'stand': (0, (-10, -4), (10, 6), (-4, -2), (4, 2), 0.17),
    'back': (0, (-12, -6), (12, 5), (-5, -2), (5, 2), 0.17),
    'wave': (0, (-12, -25), (130, 165), (-5, -3), (5, 3), 0.17),
    'phone': (2, (-14, -5), (25, 140), (-4, -2), (5, 2), 0.15),
    'walk': (4, (-28, -8), (26, 48), (25, 8), (-18, -36), 0.06),
    'run': (14, (-55, 30), (42, 118), (58, -20), (-22, -92), 0.07),
    'sit': (-6, (22, 72), (26, 66), (84, 3), (78, 8), 0.09),
    'swing': (10, (60, 85), (100, 105), (32, 2), (-28, -34), 0.11),
    'serve': (6, (50, 80), (165, 172), (20, 0), (-22, -26), 0.10),
    'kick': (-8, (-60, -50), (50, 70), (62, 28), (-8, -16), 0.09),
    'ski': (32, (38, 100), (34, 92), (48, -32), (42, -36), 0.07),
    'surf': (22, (98, 88), (-92, -86), (58, -6), (-34, -52), 0.09),
    'ride': (30, None, None, None, None, 0.06),
    'motor': (14, None, None, None, None, 0.07),
}
_SEAT = {'ride': (-0.24, 1.0), 'motor': (-0.22, 0.84), 'sit': (-0.1, 0.53)}
_REACH = {'ride': ((0.40, 1.02), (0.14, 0.36), (-0.1, 0.24)),  # hands, near foot, far foot
          'motor': ((0.40, 1.0), (0.08, 0.36), (0.04, 0.38))}


def _bend(a: Point, target: Point, upper: float, lower: float, sign: float) -> tuple[Point, Point]:
    """Middle and end joint of two bones from `a` towards the target."""
    dx, dy = target[0] - a[0], target[1] - a[1]
    reach = min(math.hypot(dx, dy), 0.999 * (upper + lower))
    inner = math.acos((upper ** 2 + reach ** 2 - lower ** 2) / (2 * upper * reach))
    angle = math.atan2(dy, dx)
    middle = (a[0] + upper * math.cos(angle + sign * inner),
              a[1] + upper * math.sin(angle + sign * inner))
    return middle, (a[0] + reach * math.cos(angle), a[1] + reach * math.sin(angle))


def joints(pose: str, seed: int) -> dict[str, Point]:
    """Joint positions in metres (far side 0, near side 1) of a person 1.75 m tall."""
    rng = np.random.default_rng([seed, 1])
    lean, *limbs, spread = _POSES[pose]

    def step(p: Point, degrees: float, length: float) -> Point:
        a = math.radians(degrees + rng.normal(0, 3))
        return p[0] + length * math.sin(a), p[1] - length * math.cos(a)

    hip = _SEAT.get(pose, (0.0, 0.0))
    neck = step(hip, 180 - lean, 0.52)
    j = {'hip': hip, 'neck': neck, 'head': step(neck, 180 - lean * 0.4, 0.17)}
    for i, sign in enumerate((-1, 1)):
        shoulder = (neck[0] + sign * spread, neck[1] - 0.05)
        top = (hip[0] + sign * spread * 0.5, hip[1])
        if limbs[0] is None:
            hands, *feet = _REACH[pose]
            elbow, hand = _bend(shoulder, hands, 0.29, 0.27, -1)
            knee, foot = _bend(top, feet[1 - i], 0.44, 0.43, 1)
        else:
            elbow = step(shoulder, limbs[i][0], 0.29)
            hand = step(elbow, limbs[i][1], 0.26)
            knee = step(top, limbs[2 + i][0], 0.43)
            foot = step(knee, limbs[2 + i][1], 0.41)
        j |= {f'shoulder{i}': shoulder, f'elbow{i}': elbow, f'hand{i}': hand,
              f'top{i}': top, f'knee{i}': knee, f'foot{i}': foot}
    if pose not in _SEAT:
        lift = 0.06 - min(j['foot0'][1], j['foot1'][1])
        j = {name: (x, y + lift) for name, (x, y) in j.items()}
    return j


def person(pen: Pen, thing, rng: np.random.Generator, view: View) -> None:
    shirt, trousers = thing.colours
    _figure(pen, thing.pose, thing.seed, shirt, trousers, rng)


def _figure(pen: Pen, pose: str, seed: int, shirt: Colour, trousers: Colour,
            rng: np.random.Generator, skin: Colour | None = None) -> None:
    j = joints(pose, seed)
    statue = skin is not None
    skin = skin or some(rng, SKIN, 8)
    hair = skin if statue else some(rng, HAIR, 8)
    front = pose in ('stand', 'wave', 'phone')
    spread = _POSES[pose][-1]
    sleeve = skin if rng.random() < 0.5 and pose != 'ski' else tone(shirt, 0.93)
    shoes = trousers if statue else pick(rng, ((40, 35, 35), (230, 230, 230), (120, 80, 50)))
    outfit = pick(rng, ('trousers', 'trousers', 'shorts', 'skirt'))
    if pose in ('swing', 'serve', 'kick', 'run'):
        outfit = 'shorts'
    if pose in ('ski', 'motor', 'sit') or statue:
        outfit = 'trousers'
    if pose == 'surf':
        outfit = pick(rng, ('shorts', 'trousers'))
        if outfit == 'shorts':
            shirt, sleeve = skin, skin
    shin = trousers if outfit == 'trousers' else skin
    thick = 1.15 if pose == 'ski' else float(rng.uniform(0.92, 1.15))
    tiny = pen.scale * 1.7 < 26

    def arm(i: int, shadow: float) -> None:
        upper = tone(shirt, shadow)
        pen.limb(j[f'shoulder{i}'], j[f'elbow{i}'], 0.062 * thick, 0.05 * thick, upper)
        pen.limb(j[f'elbow{i}'], j[f'hand{i}'], 0.046 * thick, 0.036, tone(sleeve, shadow))
        if not tiny:
            pen.ellipse(*j[f'hand{i}'], 0.042, 0.046, tone(skin, shadow))

    def leg(i: int, shadow: float) -> None:
        upper = skin if outfit == 'skirt' else trousers
        pen.limb(j[f'top{i}'], j[f'knee{i}'], 0.092 * thick, 0.068 * thick, tone(upper, shadow))
        pen.limb(j[f'knee{i}'], j[f'foot{i}'], 0.062 * thick, 0.042, tone(shin, shadow))
        x, y = j[f'foot{i}']
        toe = 0.03 * (-1) ** (i + 1) if front or pose == 'back' else 0.13
        pen.limb((x, y - 0.01), (x + toe, y - 0.025), 0.045, 0.035, tone(shoes, shadow))

    arm(0, 0.78)
    leg(0, 0.8)
    leg(1, 1.0)
    hip, neck = np.array(j['hip']), np.array(j['neck'])
    along = (neck - hip) / 0.52
    across = np.array([along[1], -along[0]])
    top, waist = neck - 0.06 * along, hip + 0.05 * along
    half, low = max(spread + 0.03, 0.125) * thick, max(spread * 0.85, 0.115) * thick
    trunk = [waist - low * across, waist + low * across, top + half * across,
             neck + 0.02 * along + 0.5 * half * across, neck + 0.02 * along - 0.5 * half * across,
             top - half * across]
    pen.limb(tuple(hip), tuple(waist), low * 1.02, low, skin if outfit == 'skirt' else trousers)
    if outfit == 'skirt':
        knee = hip - 0.36 * along
        flare = low + 0.1
        pen.polygon([knee - flare * across, knee + flare * across, waist + low * across,
                     waist - low * across], trousers)
    pen.polygon(trunk, shirt)
    if not tiny and not statue and shirt != skin:
        style = pick(rng, ('plain', 'plain', 'stripes', 'badge', 'jacket'))
        other = tone(shirt, 0.55) if sum(shirt[:3]) > 330 else tone((235, 235, 230), 1)
        quad = (trunk[0], trunk[1], trunk[2], trunk[5])
        if style == 'stripes':
            pen.bands(quad, int(rng.integers(3, 7)), other)
        elif style == 'badge':
            pen.ellipse(*(waist + 0.26 * along), 0.07, 0.06, other)
        elif style == 'jacket' and spread > 0.1:
            pen.polygon([waist - 0.05 * across, waist + 0.05 * across, neck + 0.06 * across,
                         neck - 0.06 * across], other)
    head = np.array(j['head'])
    pen.limb(tuple(neck), tuple(head), 0.055, 0.05, tone(skin, 0.86))
    pen.ellipse(*head, 0.095, 0.122, skin)
    _head(pen, pose, head, skin, hair, shirt, front, tiny, rng)
    arm(1, 0.95)


def _head(pen, pose, head, skin, hair, shirt, front, tiny, rng) -> None:
    x, y = head
    if pose in ('ride', 'motor', 'ski') and rng.random() < 0.85:
        hat = pick(rng, CLOTHES)
        pen.ellipse(x - 0.01, y + 0.045, 0.12, 0.1, hat)
        if pose != 'ride':
            pen.ellipse(x - 0.01, y, 0.118, 0.12, hat)
            pen.box(x + 0.0, y - 0.02, x + 0.125, y + 0.06, (40, 45, 55), 0.02)
        return
    if pose == 'back':
        pen.ellipse(x, y + 0.02, 0.1, 0.125, hair)
        if rng.random() < 0.35:
            pen.limb((x, y), (x, y - 0.24), 0.1, 0.07, hair)
        return
    long_hair = rng.random() < 0.35
    cap = rng.random() < 0.18
    if front:
        arc = _CIRCLES[28][np.r_[27, 0:16]] * (0.108, 0.122) + (x, y + 0.025)
        part = float(rng.uniform(-0.05, 0.05))
        fringe = [(-0.088, 0.045), (-0.065, 0.065), (part, 0.088), (0.065, 0.065), (0.088, 0.045)]
        pen.polygon(np.concatenate([arc, np.array(fringe) + (x, y)]), hair)
        if long_hair:
            for s in (-1, 1):
                pen.limb((x + s * 0.085, y + 0.04), (x + s * 0.1, y - 0.2), 0.035, 0.04, hair)
        if not tiny:
            for s in (-0.038, 0.038):
                pen.ellipse(x + s, y + 0.005, 0.012, 0.011, (40, 30, 30))
                pen.box(x + s - 0.02, y + 0.03, x + s + 0.02, y + 0.038, tone(hair, 0.9))
            pen.limb((x - 0.022, y - 0.062), (x + 0.022, y - 0.062), 0.007, 0.007, (170, 84, 76))
            pen.limb((x, y + 0.0), (x + 0.006, y - 0.025), 0.008, 0.012, tone(skin, 0.82))
    else:
        pen.polygon([(x + 0.085, y + 0.015), (x + 0.118, y - 0.02), (x + 0.08, y - 0.035)], skin)
        arc = _CIRCLES[28][np.r_[2:20]] * (0.108, 0.128) + (x - 0.008, y + 0.015)
        pen.polygon(np.concatenate([arc, [(x - 0.02, y - 0.03), (x + 0.02, y + 0.05)]]), hair)
        if long_hair:
            pen.limb((x - 0.07, y), (x - 0.12, y - 0.22), 0.05, 0.045, hair)
        if not tiny:
            pen.ellipse(x + 0.06, y + 0.012, 0.012, 0.013, (40, 30, 30))
    if cap:
        hat = tone(shirt, 0.8)
        arc = _CIRCLES[28][np.r_[0:15]] * (0.112, 0.12) + (x, y + 0.04)
        pen.polygon(arc, hat)
        reach = 0.1 if front else 0.2
        pen.box(x - 0.09 if front else x, y + 0.035, x + reach, y + 0.06, tone(hat, 0.8), 0.01)


def crowd(pen: Pen, thing, rng: np.random.Generator, view: View) -> None:
    """Many people or parked cars, annotated as one region."""
    order = sorted(range(thing.crowd), key=lambda i: -(i * 7 % 5))
    for i in order:
        away = (i * 7 % 5) * 0.5
        if thing.kind == 'car':
            p = pen.moved((i - thing.crowd / 2) * 2.6 + float(rng.normal(0, 0.3)), away * 0.3)
            _car_side(p, some(rng, PAINT), rng)
        else:
            p = pen.moved((i - thing.crowd / 2) * 0.42 + float(rng.normal(0, 0.08)), away * 0.25,
                          float(rng.uniform(0.85, 1.05)))
            _figure(p, pick(rng, ('stand', 'back', 'walk', 'stand')), int(rng.integers(1 << 30)),
                    some(rng, CLOTHES), some(rng, TROUSERS), rng)


def statue(pen: Pen, thing, rng: np.random.Generator, view: View) -> None:
    stone = thing.colours[0]
    pen.box(-0.55, 0, 0.55, 0.25, tone(stone, 0.8))
    pen.box(-0.4, 0.25, 0.4, 1.1, tone(stone, 0.95))
    _figure(pen.moved(0, 1.1), thing.pose, thing.seed, stone, tone(stone, 0.9), rng,
            tone(stone, 1.05))


# Vehicles ----------------------------------------------------------------------------------------

def _wheel(pen: Pen, x: float, r: float, rim: Colour = (165, 168, 172), spokes: int = 5) -> None:
    pen.ellipse(x, r, r, r, TYRE)
    if pen.scale * r < 3:
        return
    pen.ellipse(x, r, 0.62 * r, 0.62 * r, rim)
    if pen.scale * r > 7:
        for k in range(spokes):
            a = 2 * math.pi * k / spokes + x
            pen.limb((x + 0.2 * r * math.cos(a), r + 0.2 * r * math.sin(a)),
                     (x + 0.5 * r * math.cos(a), r + 0.5 * r * math.sin(a)),
                     0.07 * r, 0.1 * r, tone(TYRE, 2.2))
    pen.ellipse(x, r, 0.17 * r, 0.17 * r, tone(rim, 0.6))


# Outlines (x, y) from rear to front: body, then cabin (rear base and top, front top and base).
_BODIES = {
    'sedan': ([(-2.1, 0.35), (-2.12, 0.8), (-1.95, 0.94), (-1.35, 0.97), (0.75, 0.92), (1.85, 0.8),
               (2.12, 0.66), (2.15, 0.35)],
              [(-1.5, 0.94), (-0.85, 1.42), (0.25, 1.43), (0.98, 0.92)]),
    'hatch': ([(-1.85, 0.35), (-1.9, 0.85), (-1.82, 1.0), (0.8, 0.92), (1.65, 0.8), (1.9, 0.64),
               (1.93, 0.35)], [(-1.84, 0.96), (-1.5, 1.45), (0.25, 1.47), (0.95, 0.92)]),
    'suv': ([(-2.1, 0.42), (-2.15, 0.95), (-2.1, 1.12), (0.9, 1.06), (1.95, 0.98), (2.15, 0.8),
             (2.17, 0.42)], [(-2.08, 1.08), (-1.8, 1.68), (0.3, 1.7), (0.95, 1.05)]),
    'van': ([(-2.2, 0.38), (-2.22, 1.0), (-2.2, 1.15), (1.35, 1.05), (2.05, 0.9), (2.22, 0.7),
             (2.24, 0.38)], [(-2.2, 1.1), (-2.1, 1.88), (0.75, 1.88), (1.5, 1.02)]),
}


def _car_side(pen: Pen, paint: Colour, rng: np.random.Generator) -> None:
    style = pick(rng, ('sedan', 'hatch', 'suv', 'sedan', 'hatch', 'van'))
    body, cabin = _BODIES[style]
    (rx, ry), (rt, rty), (ft, fty), (fx, fy) = cabin
    r = 0.34 if style in ('suv', 'van') else 0.31
    rear, front = body[0][0] + 0.78, body[-1][0] - 0.82
    pen.polygon([(rear - 0.3, 0.22), (front + 0.3, 0.22), (front + 0.5, 0.5), (rear - 0.5, 0.5)],
                (24, 24, 26))
    pen.polygon(cabin[:1] + [(rt + 0.02, rty - 0.08), (rt + 0.16, rty), (ft - 0.12, fty),
                             (ft + 0.06, fty - 0.07)] + cabin[3:], tone(paint, 0.97))
    pen.polygon(body, paint)
    pen.polygon([body[0], (body[0][0], body[0][1] + 0.17), (body[-1][0], body[-1][1] + 0.15),
                 body[-1]],
                tone(paint, 0.72))
    glass = tone(GLASS, float(rng.uniform(0.7, 1.5)))
    sky = tone(glass, 1.45)
    m = (ft + rt) / 2 + 0.1
    if not (style == 'van' and rng.random() < 0.4):
        pen.polygon([(rx + 0.22, ry + 0.05), (rt + 0.14, rty - 0.08), (m - 0.04, rty - 0.07),
                     (m - 0.04, fy + 0.06)], glass)
        pen.polygon([(rx + 0.5, ry + 0.05), (rt + 0.5, rty - 0.08), (rt + 0.75, rty - 0.08),
                     (rx + 0.75, ry + 0.05)], sky)
    pen.polygon([(m + 0.04, fy + 0.06), (m + 0.04, fty - 0.07), (ft - 0.06, fty - 0.08),
                 (fx - 0.14, fy + 0.05)], glass)
    pen.polygon([(m + 0.2, fy + 0.06), (m + 0.3, fty - 0.07), (m + 0.42, fty - 0.07),
                 (m + 0.34, fy + 0.06)], sky)
    line = tone(paint, 0.62)
    if pen.scale > 9:
        for x in (m, rear + 0.52, front - 0.5):
            pen.line([(x, 0.42), (x, fy + 0.02)], 0.022, line)
        pen.line([(body[0][0] + 0.1, fy - 0.14), (body[-1][0] - 0.2, fy - 0.2)], 0.02,
                 tone(paint, 1.2))
        for x in (m - 0.28, m + 0.7):
            pen.box(x, fy - 0.1, x + 0.16, fy - 0.06, tone(paint, 0.5))
        pen.limb((fx - 0.3, fy + 0.1), (fx - 0.2, fy + 0.1), 0.06, 0.07, tone(paint, 0.85))
    pen.box(body[0][0] - 0.01, fy - 0.24, body[0][0] + 0.14, fy - 0.06, (190, 25, 25), 0.03)
    hx = body[-1][0]
    pen.polygon([(hx - 0.3, fy - 0.14), (hx - 0.04, fy - 0.2), (hx - 0.02, fy - 0.3),
                 (hx - 0.24, fy - 0.26)], (245, 240, 215))
    pen.glow(hx, fy - 0.22, 0.7, (255, 240, 190))
    pen.glow(body[0][0], fy - 0.14, 0.45, (255, 40, 30))
    pen.box(hx - 0.1, 0.36, hx + 0.02, 0.48, (45, 45, 48), 0.03)
    for x in (rear, front):
        pen.ellipse(x, r + 0.02, r + 0.07, r + 0.07, (20, 20, 22))
        _wheel(pen, x, r, pick(rng, ((165, 168, 172), (200, 200, 205), (90, 92, 96))))


def _plate(pen: Pen, y: float, back: bool) -> None:
    pen.box(-0.24, y, 0.24, y + 0.11, (240, 240, 235) if not back else (235, 225, 150), 0.01)


def _car_end(pen: Pen, paint: Colour, back: bool, view: View, rng: np.random.Generator) -> None:
    tall = float(rng.choice([1.42, 1.5, 1.72]))
    w, shoulder = 0.88, 0.62 * tall
    # The far end first; the near one is drawn over it.
    for length, factor in ((4.2, 0.55), (2.8, 0.68)):
        near = [(-w, 0.3), (w, 0.3), (w, shoulder), (-w, shoulder)]
        far = [view.recede(p, length) for p in near]
        for a, b in ((0, 3), (1, 2)):
            pen.polygon([near[a], near[b], far[b], far[a]], tone(paint, factor))
    x, y = view.recede((0, tall), 1.2)
    rx, ry = view.recede((0, tall), 2.8)
    k, k2 = (view.distance / (view.distance + d) for d in (1.2, 2.8))
    roof = [(x - 0.62 * k, y), (x + 0.62 * k, y), (rx + 0.62 * k2, ry), (rx - 0.62 * k2, ry)]
    for s in (-1, 1):
        side = [(s * 0.8, shoulder), (x + s * 0.66 * k, y), (rx + s * 0.66 * k2, ry),
                view.recede((s * 0.85, shoulder), 3.0)]
        pen.polygon(side, tone(GLASS, 0.8))
    pen.polygon(roof, tone(paint, 1.05))
    for s in (-1, 1):
        pen.box(s * 0.86 - 0.1, 0, s * 0.86 + 0.1, 0.62, TYRE, 0.06)
        fx, fy = view.recede((s * 0.86, 0), 2.6)
        pen.box(fx - 0.09, fy, fx + 0.09, fy + 0.45, TYRE, 0.05)
    pen.polygon([(-0.8, shoulder - 0.02), (0.8, shoulder - 0.02), (x + 0.66 * k, y + 0.02),
                 (x - 0.66 * k, y + 0.02)], paint)
    glass = tone(GLASS, float(rng.uniform(0.7, 1.4)))
    t = 0.87

    def lerp(side: float) -> Point:
        return (side * 0.74 + (x + side * 0.6 * k - side * 0.74) * t,
                shoulder + (y - shoulder) * t)

    pen.polygon([(-0.74, shoulder + 0.03), (0.74, shoulder + 0.03), lerp(1), lerp(-1)], glass)
    pen.polygon([(-0.5, shoulder + 0.03), (-0.15, shoulder + 0.03), lerp(0.1), lerp(-0.3)],
                tone(glass, 1.4))
    pen.polygon([(-w, 0.34), (-0.8, 0.2), (0.8, 0.2), (w, 0.34), (w, shoulder - 0.16),
                 (0.76, shoulder), (-0.76, shoulder), (-w, shoulder - 0.16)], paint)
    pen.box(-w, 0.22, w, 0.44, tone(paint, 0.7), 0.06)
    if back:
        for s in (-1, 1):
            pen.box(s * 0.85, shoulder - 0.34, s * 0.52, shoulder - 0.14, (185, 22, 24), 0.04)
            pen.glow(s * 0.7, shoulder - 0.24, 0.5, (255, 40, 30))
        pen.line([(-0.55, shoulder - 0.08), (0.55, shoulder - 0.08)], 0.025, tone(paint, 0.6))
        _plate(pen, shoulder - 0.36, back)
    else:
        pen.box(-0.46, 0.4, 0.46, shoulder - 0.2, (38, 38, 42), 0.05)
        pen.bands([(-0.44, 0.42), (0.44, 0.42), (0.44, shoulder - 0.22), (-0.44, shoulder - 0.22)],
                  3, (120, 122, 126))
        for s in (-1, 1):
            pen.ellipse(s * 0.68, shoulder - 0.24, 0.15, 0.1, (250, 246, 225))
            pen.glow(s * 0.68, shoulder - 0.24, 0.9, (255, 240, 190))
            pen.ellipse(s * 0.95, shoulder + 0.08, 0.1, 0.07, tone(paint, 0.8))
        _plate(pen, 0.28, back)


def car(pen: Pen, thing, rng: np.random.Generator, view: View) -> None:
    if thing.pose == 'side':
        _car_side(pen, thing.colours[0], rng)
    else:
        _car_end(pen, thing.colours[0], thing.pose == 'back', view, rng)


def _box_end(pen: Pen, w: float, low: float, high: float, length: float, paint: Colour, view: View,
             windows: tuple[float, float] | None, stripe: Colour, panes: int) -> None:
    """The receding sides of a long box seen from its end."""
    for s in (-1, 1):
        def at(y: float, t: float, s=s) -> Point:
            return view.recede((s * w, y), t * length)
        pen.polygon([at(low, 0), at(high, 0), at(high, 1), at(low, 1)], tone(paint, 0.66))
        pen.polygon([at(low + 0.3, 0), at(low + 0.6, 0), at(low + 0.6, 1), at(low + 0.3, 1)],
                    tone(stripe, 0.66))
        if windows:
            for i in range(panes):
                a, b = (i + 0.12) / panes, (i + 0.9) / panes
                pen.polygon([at(windows[0], a), at(windows[1], a), at(windows[1], b),
                             at(windows[0], b)], tone(GLASS, 0.75))
        for t in (0.18, 0.75):
            x, y = at(0, t)
            k = view.distance / (view.distance + t * length)
            pen.ellipse(x, y + 0.45 * k, 0.3 * k, 0.46 * k, TYRE)
    back = [view.recede(p, length) for p in ((-w, high), (w, high))]
    pen.polygon([(-w, high), (w, high), back[1], back[0]], tone(paint, 1.05))


def bus(pen: Pen, thing, rng: np.random.Generator, view: View) -> None:
    paint, stripe = thing.colours
    if thing.pose != 'side':
        back = thing.pose == 'back'
        _box_end(pen, 1.22, 0.4, 3.0, 10.5, paint, view, (1.4, 2.4), stripe, 7)
        for s in (-1, 1):
            pen.box(s * 1.0 - 0.16, 0, s * 1.0 + 0.16, 0.8, TYRE, 0.06)
        pen.box(-1.25, 0.32, 1.25, 3.05, paint, 0.16)
        pen.box(-1.25, 0.75, 1.25, 1.0, stripe)
        pen.box(-1.1, 1.25 if not back else 1.7, 1.1, 2.5, tone(GLASS, 1.1), 0.1)
        pen.polygon([(-0.7, 1.72), (-0.2, 1.72), (0.15, 2.48), (-0.35, 2.48)], tone(GLASS, 1.6))
        if not back:
            pen.box(-0.85, 2.6, 0.85, 2.92, (25, 25, 25), 0.04)
            pen.box(-0.6, 2.68, 0.6, 2.84, (250, 170, 40))
            pen.line([(0, 1.25), (0, 2.5)], 0.04, tone(paint, 0.6))
            pen.limb((-1.3, 2.1), (-1.3, 2.4), 0.08, 0.08, (30, 30, 32))
            pen.limb((1.3, 2.1), (1.3, 2.4), 0.08, 0.08, (30, 30, 32))
        for s in (-1, 1):
            pen.box(s * 1.15, 0.5, s * 0.8, 0.72, (190, 25, 25) if back else (250, 246, 225), 0.05)
            pen.glow(s * 0.98, 0.6, 0.9, (255, 50, 40) if back else (255, 240, 190))
        _plate(pen, 0.36, back)
        return
    half = 5.4 if rng.random() < 0.7 else 4.2
    decks = (2,) if rng.random() < 0.25 else (1,)
    high = 3.05 if decks == (1,) else 4.2
    pen.box(-half, 0.34, half, high, paint, 0.2)
    pen.box(-half, 0.34, half, 0.62, tone(paint, 0.6), 0.06)
    style = pick(rng, ('stripe', 'wedge', 'plain'))
    if style == 'stripe':
        pen.box(-half, 0.85, half, 1.1, stripe)
    elif style == 'wedge':
        pen.polygon([(-half, 0.62), (-half + 3, 0.62), (-half + 1.2, high - 0.1),
                     (-half, high - 0.1)], stripe)
    for deck in range(decks[0]):
        y0, y1 = (1.3, 2.35) if decks == (1,) else ((1.15, 2.0), (2.65, 3.6))[deck]
        pen.box(-half + 0.2, y0, half - 0.15, y1, tone(GLASS, 0.7), 0.08)
        n = int(half * 1.3)
        for i in range(n):
            a = -half + 0.26 + i * (2 * half - 0.5) / n
            b = a + (2 * half - 0.5) / n - 0.1
            pen.box(a, y0 + 0.06, b, y1 - 0.06, tone(GLASS, float(rng.uniform(0.9, 1.6))), 0.05)
    for x in (half - 1.35, -0.6):
        pen.box(x, 0.45, x + 1.0, 2.35, tone(paint, 0.5))
        for k in (0.06, 0.53):
            pen.box(x + k, 0.6, x + k + 0.42, 2.25, tone(GLASS, 1.3), 0.03)
    pen.box(half - 0.12, 0.62, half + 0.01, 0.85, (250, 245, 220))
    pen.glow(half, 0.7, 0.9, (255, 240, 190))
    pen.box(-half - 0.01, 0.8, -half + 0.1, 1.2, (190, 25, 25))
    for x in (-half + 2.3, half - 2.4):
        pen.ellipse(x, 0.5, 0.62, 0.62, (22, 22, 24))
        _wheel(pen, x, 0.48)


def truck(pen: Pen, thing, rng: np.random.Generator, view: View) -> None:
    paint, cargo = thing.colours
    if thing.pose != 'side':
        back = thing.pose == 'back'
        _box_end(pen, 1.22, 0.7, 3.3, 8.0, cargo, view, None, paint, 0)
        for s in (-1, 1):
            pen.box(s * 1.0 - 0.2, 0, s * 1.0 + 0.2, 0.95, TYRE, 0.06)
        pen.box(-1.24, 0.7, 1.24, 3.35, cargo, 0.04)
        if back:
            pen.line([(0, 0.8), (0, 3.3)], 0.04, tone(cargo, 0.6))
            for s in (-1, 1):
                pen.line([(s * 0.3, 0.85), (s * 0.3, 3.2)], 0.05, tone(cargo, 0.75))
                pen.box(s * 1.15, 0.5, s * 0.75, 0.68, (190, 25, 25), 0.03)
                pen.glow(s * 0.95, 0.6, 0.6, (255, 50, 40))
            pen.box(-1.2, 0.45, 1.2, 0.72, (50, 50, 54))
            pen.bands([(-0.7, 0.46), (0.7, 0.46), (0.7, 0.7), (-0.7, 0.7)], 1, (220, 60, 40))
        else:
            pen.box(-1.15, 0.4, 1.15, 2.75, paint, 0.12)
            pen.box(-1.0, 1.6, 1.0, 2.5, tone(GLASS, 1.1), 0.08)
            pen.polygon([(-0.6, 1.62), (-0.2, 1.62), (0.1, 2.48), (-0.3, 2.48)], tone(GLASS, 1.6))
            pen.box(-0.75, 0.8, 0.75, 1.4, (40, 40, 44), 0.05)
            pen.bands([(-0.72, 0.82), (0.72, 0.82), (0.72, 1.38), (-0.72, 1.38)], 4,
                      (150, 152, 156))
            for s in (-1, 1):
                pen.box(s * 1.1, 0.5, s * 0.75, 0.72, (250, 246, 225), 0.05)
                pen.glow(s * 0.92, 0.6, 0.9, (255, 240, 190))
                pen.limb((s * 1.32, 1.7), (s * 1.32, 2.2), 0.1, 0.1, (30, 30, 32))
        return
    kind = pick(rng, ('box', 'box', 'tank', 'tipper', 'flat', 'pickup'))
    if kind == 'pickup':
        pen.polygon([(-2.6, 0.5), (-2.6, 1.1), (-0.5, 1.1), (1.1, 1.15), (2.3, 1.05), (2.55, 0.9),
                     (2.55, 0.5)], paint)
        pen.polygon([(-0.55, 1.05), (-0.35, 1.8), (0.6, 1.82), (1.2, 1.1)], paint)
        pen.polygon([(-0.35, 1.15), (-0.22, 1.7), (0.2, 1.72), (0.2, 1.15)], GLASS)
        pen.polygon([(0.3, 1.15), (0.3, 1.72), (0.55, 1.72), (1.0, 1.15)], GLASS)
        pen.box(-2.6, 0.45, 2.55, 0.65, tone(paint, 0.65))
        pen.line([(0.25, 0.6), (0.25, 1.12)], 0.03, tone(paint, 0.6))
        if rng.random() < 0.6:
            for i in range(4):
                pen.box(-2.4 + i * 0.45, 1.1, -2.0 + i * 0.45, 1.3 + 0.15 * (i % 2),
                        tone((150, 110, 70), 0.8 + 0.1 * i))
        pen.box(2.4, 0.85, 2.56, 1.0, (250, 245, 220))
        pen.glow(2.5, 0.9, 0.7, (255, 240, 190))
        for x in (-1.6, 1.7):
            pen.ellipse(x, 0.44, 0.5, 0.48, (22, 22, 24))
            _wheel(pen, x, 0.42)
        return
    half = float(rng.uniform(3.4, 5.2))
    front = half - 2.0
    pen.box(-half, 0.55, half - 0.3, 0.85, (48, 48, 52))
    if kind == 'box':
        pen.box(-half, 0.85, front - 0.15, 3.45, cargo, 0.04)
        if rng.random() < 0.7:
            word = pick(rng, LIVERY)
            mid = (front - half) / 2
            pen.ellipse(mid - 1.0, 2.2, 0.55, 0.55, word)
            pen.box(mid - 0.25, 2.25, mid + 1.6, 2.6, word)
            pen.box(mid - 0.25, 1.85, mid + 1.1, 2.0, word)
        for x in np.arange(-half + 0.5, front - 0.3, 0.6):
            pen.line([(x, 0.9), (x, 3.4)], 0.025, tone(cargo, 0.88))
    elif kind == 'tank':
        pen.limb((-half + 1.1, 1.95), (front - 1.2, 1.95), 1.08, 1.08, cargo)
        pen.limb((-half + 1.1, 2.45), (front - 1.2, 2.45), 0.14, 0.14, tone(cargo, 1.25))
        for x in (-half + 1.6, front - 1.8):
            pen.box(x, 0.88, x + 0.12, 3.02, tone(cargo, 0.7))
    elif kind == 'tipper':
        pen.polygon([(-half, 1.0), (-half - 0.15, 2.4), (front - 0.2, 2.4), (front - 0.35, 1.0)],
                    cargo)
        for x in np.arange(-half + 0.6, front - 0.5, 0.9):
            pen.box(x, 1.0, x + 0.14, 2.4, tone(cargo, 0.75))
        pen.polygon([(-half, 2.4), (-half + 1.2, 2.85), (front - 1.2, 2.75), (front - 0.3, 2.4)],
                    (120, 95, 65))
    else:
        for i in range(int((front + half) / 1.1)):
            x = -half + i * 1.1
            pen.box(x, 0.85, x + 1.0, float(rng.uniform(1.4, 2.4)), vary(rng, (160, 120, 75), 30))
    pen.polygon([(front, 0.5), (front, 2.95), (front + 1.5, 2.95), (half, 1.75), (half, 0.5)],
                paint)
    pen.polygon([(front + 0.55, 1.75), (front + 0.55, 2.7), (front + 1.4, 2.7),
                 (half - 0.16, 1.75)], tone(GLASS, 1.2))
    pen.box(front + 0.4, 0.85, front + 1.6, 1.7, tone(paint, 0.93))
    pen.box(half - 0.08, 0.65, half + 0.02, 0.95, (250, 245, 220))
    pen.glow(half, 0.8, 0.9, (255, 240, 190))
    pen.box(front, 0.4, half, 0.6, (40, 40, 44))
    for x in (-half + 0.8, -half + 1.9, front + 0.95):
        pen.ellipse(x, 0.5, 0.56, 0.56, (22, 22, 24))
        _wheel(pen, x, 0.48, (190, 190, 190))


def train(pen: Pen, thing, rng: np.random.Generator, view: View) -> None:
    paint, stripe = thing.colours
    if thing.pose == 'front':
        _box_end(pen, 1.4, 0.5, 3.7, 45.0, paint, view, (1.8, 2.8), stripe, 16)
        pen.box(-1.3, 0.1, 1.3, 0.7, (44, 44, 48), 0.05)
        pen.polygon([(-1.42, 0.6), (1.42, 0.6), (1.42, 3.1), (1.0, 3.8), (-1.0, 3.8), (-1.42, 3.1)],
                    paint)
        pen.box(-1.42, 0.6, 1.42, 1.5, stripe, 0.08)
        if rng.random() < 0.5:
            pen.box(-1.15, 1.9, 1.15, 3.1, tone(GLASS, 0.9), 0.14)
            pen.polygon([(-0.6, 1.95), (-0.2, 1.95), (0.2, 3.05), (-0.2, 3.05)], tone(GLASS, 1.5))
        else:
            for s in (-1, 1):
                pen.box(s * 1.2, 1.9, s * 0.42, 2.9, tone(GLASS, 0.9), 0.08)
            pen.box(-0.32, 0.8, 0.32, 2.95, tone(paint, 0.85))
        for x, y in ((-1.05, 1.15), (1.05, 1.15), (0, 3.45)):
            pen.ellipse(x, y, 0.17, 0.15, (255, 250, 225))
            pen.glow(x, y, 1.1, (255, 240, 190))
        return
    coach = float(rng.uniform(14, 20))
    low = 0.12 if thing.pose == 'platform' else 0.75
    steam = thing.pose == 'track' and rng.random() < 0.2
    for k in range(-2, 3):
        p = pen.moved(k * (coach + 0.5), 0)
        if thing.pose == 'track':
            p.box(-coach / 2 + 0.8, 0.35, coach / 2 - 0.8, 0.8, (42, 42, 46))
            for x in (-coach / 2 + 2, -coach / 2 + 3.2, coach / 2 - 3.2, coach / 2 - 2):
                _wheel(p, x, 0.42, (110, 105, 100), 3)
        if steam and k % 2:
            p.box(-coach / 2, 0.8, coach / 2, 2.6, tone(stripe, 0.8), 0.05)
            for x in np.arange(-coach / 2 + 0.4, coach / 2, 0.7):
                p.box(x, 0.8, x + 0.1, 2.6, tone(stripe, 0.6))
            continue
        p.box(-coach / 2 - 0.5, low + 0.2, coach / 2 + 0.5, 3.2, (36, 36, 40))
        p.box(-coach / 2, low, coach / 2, 3.75, paint, 0.25)
        p.box(-coach / 2, 3.45, coach / 2, 3.75, tone(paint, 0.7), 0.25)
        p.box(-coach / 2, low + 0.5, coach / 2, low + 0.85, stripe)
        n = int(coach / 2)
        for i in range(n):
            x = -coach / 2 + 0.5 + i * (coach - 0.8) / n
            if i in (1, n - 2):
                p.box(x, low + 0.1, x + 1.3, 3.1, tone(stripe, 0.85), 0.05)
                for d in (0.12, 0.7):
                    p.box(x + d, 1.9, x + d + 0.48, 2.9, tone(GLASS, 1.1), 0.06)
            else:
                p.box(x, 1.85, x + 1.45, 2.85, tone(GLASS, float(rng.uniform(0.8, 1.5))), 0.14)


def bicycle(pen: Pen, thing, rng: np.random.Generator, view: View) -> None:
    paint = thing.colours[0]
    spokes = (86, 88, 92, 150)  # counted as the bicycle, with some of the background showing
    if thing.pose != 'side':
        pen.limb((0, 0.05), (0, 0.66), 0.028, 0.028, TYRE)
        pen.limb((0, 0.55), (0, 1.0), 0.035, 0.03, paint)
        pen.line([(-0.3, 0.98), (0, 1.03), (0.3, 0.98)], 0.035, (40, 40, 42))
        pen.limb((-0.09, 0.9), (0.09, 0.9), 0.035, 0.035, (30, 30, 30))
        pen.line([(-0.15, 0.3), (0.15, 0.26)], 0.04, (50, 50, 52))
        pen.ellipse(0, 0.86, 0.05, 0.05, (245, 240, 215))
        return
    for x in (-0.52, 0.52):
        pen.ellipse(x, 0.34, 0.34, 0.34, TYRE)
        pen.ellipse(x, 0.34, 0.295, 0.295, spokes)
        for k in range(4 if pen.scale > 25 else 0):
            a = math.pi * k / 4 + 0.3
            d = np.array([math.cos(a), math.sin(a)]) * 0.3
            pen.line([(x - d[0], 0.34 - d[1]), (x + d[0], 0.34 + d[1])], 0.01, (170, 172, 176, 170))
    crank, seat, head = (-0.05, 0.3), (-0.2, 0.82), (0.36, 0.84)
    for a, b in ((crank, seat), (crank, head), (seat, head), ((-0.52, 0.34), crank),
                 ((-0.52, 0.34), seat)):
        pen.line([a, b], 0.05, paint)
    pen.line([head, (0.52, 0.34)], 0.045, tone(paint, 0.8))
    pen.line([head, (0.33, 0.98), (0.45, 1.02)], 0.04, (45, 45, 48))
    pen.line([seat, (-0.22, 0.92)], 0.035, (60, 60, 62))
    pen.limb((-0.34, 0.94), (-0.1, 0.93), 0.035, 0.025, (30, 28, 28))
    pen.ellipse(*crank, 0.09, 0.09, (60, 60, 64))
    pen.line([(-0.15, 0.2), (0.08, 0.42)], 0.03, (40, 40, 42))


def motorcycle(pen: Pen, thing, rng: np.random.Generator, view: View) -> None:
    paint = thing.colours[0]
    if thing.pose != 'side':
        pen.limb((0, 0.07), (0, 0.6), 0.075, 0.07, TYRE)
        pen.polygon([(-0.2, 0.4), (0.2, 0.4), (0.26, 0.9), (0.14, 1.05), (-0.14, 1.05),
                     (-0.26, 0.9)], paint)
        pen.line([(-0.4, 1.0), (0, 1.06), (0.4, 1.0)], 0.05, (40, 40, 42))
        pen.ellipse(0, 0.85, 0.12, 0.1, (250, 246, 225))
        pen.glow(0, 0.85, 0.8, (255, 240, 190))
        pen.polygon([(-0.18, 1.05), (0.18, 1.05), (0.12, 1.28), (-0.12, 1.28)],
                    (120, 140, 155, 200))
        return
    for x in (-0.68, 0.7):
        pen.ellipse(x, 0.31, 0.31, 0.31, TYRE)
        pen.ellipse(x, 0.31, 0.2, 0.2, (96, 98, 102, 190))
        pen.ellipse(x, 0.31, 0.09, 0.09, (170, 172, 176))
    pen.line([(0.7, 0.31), (0.42, 0.98)], 0.07, (160, 162, 168))
    pen.polygon([(-0.35, 0.25), (0.35, 0.22), (0.42, 0.62), (-0.3, 0.62)], (70, 72, 78))
    for i in range(3):
        pen.line([(-0.05, 0.36 + 0.08 * i), (0.25, 0.36 + 0.08 * i)], 0.03, (150, 152, 158))
    pen.line([(-0.9, 0.3), (0.1, 0.25)], 0.08, (175, 176, 182))
    pen.line([(-0.68, 0.31), (-0.1, 0.4)], 0.06, (60, 60, 64))
    pen.polygon([(-0.12, 0.62), (0.4, 0.62), (0.42, 0.84), (0.25, 0.93), (-0.05, 0.86)], paint)
    pen.polygon([(-0.95, 0.82), (-0.6, 0.62), (0.0, 0.66), (-0.05, 0.8), (-0.5, 0.8), (-0.85, 0.9)],
                paint)
    pen.polygon([(-0.75, 0.8), (-0.05, 0.74), (0.0, 0.84), (-0.7, 0.9)], (32, 30, 30))
    pen.line([(0.4, 0.95), (0.32, 1.05)], 0.05, (40, 40, 42))
    pen.ellipse(0.52, 0.86, 0.1, 0.1, (250, 246, 225))
    pen.glow(0.56, 0.86, 0.7, (255, 240, 190))
    pen.polygon([(0.4, 0.62), (0.98, 0.58), (0.9, 0.66), (0.5, 0.72)], tone(paint, 0.9))
    pen.box(-0.98, 0.78, -0.88, 0.86, (200, 25, 25))


# Other objects -----------------------------------------------------------------------------------

def _simple(draw):
    """A sprite that needs only the pen, its two colours and random numbers."""
    return lambda pen, thing, rng, view: draw(pen, *thing.colours, rng)


def _dog(pen, coat, collar, rng):
    dark = tone(coat, 0.75)
    for x, c in ((-0.3, dark), (0.22, dark), (-0.22, coat), (0.3, coat)):
        pen.limb((x, 0.38), (x + float(rng.uniform(-0.08, 0.08)), 0.04), 0.07, 0.04, c)
    pen.limb((-0.28, 0.46), (0.26, 0.48), 0.14, 0.16, coat)
    pen.limb((-0.38, 0.5), (-0.6, 0.72), 0.045, 0.02, coat)
    pen.limb((0.28, 0.52), (0.42, 0.7), 0.11, 0.09, coat)
    pen.limb((0.3, 0.58), (0.38, 0.55), 0.05, 0.05, collar)
    pen.limb((0.44, 0.74), (0.62, 0.68), 0.1, 0.05, coat)
    pen.limb((0.4, 0.8), (0.33, 0.66), 0.04, 0.05, dark)
    pen.ellipse(0.66, 0.69, 0.025, 0.025, (25, 22, 22))
    pen.ellipse(0.5, 0.77, 0.015, 0.015, (25, 22, 22))


def _cow(pen, coat, patch, rng):
    for x in (-0.7, -0.5, 0.5, 0.7):
        pen.limb((x, 0.8), (x, 0.05), 0.13, 0.07, tone(coat, 0.85))
    pen.box(-0.95, 0.62, 0.85, 1.38, coat, 0.25)
    for _ in range(4):
        pen.ellipse(float(rng.uniform(-0.7, 0.6)), float(rng.uniform(0.8, 1.2)),
                    float(rng.uniform(0.1, 0.25)), float(rng.uniform(0.08, 0.18)), patch)
    pen.limb((0.75, 1.15), (1.05, 1.05), 0.24, 0.16, coat)
    pen.limb((1.05, 1.1), (1.3, 0.85), 0.17, 0.12, patch)
    pen.limb((0.98, 1.25), (0.88, 1.28), 0.04, 0.05, patch)
    pen.line([(-0.93, 1.25), (-1.05, 0.7)], 0.05, tone(coat, 0.7))


def _bench(pen, wood, iron, rng):
    for x in (-0.75, 0.75):
        pen.line([(x, 0), (x, 0.45), (x, 0.9)], 0.06, iron)
        pen.limb((x + 0.08, 0), (x + 0.08, 0.4), 0.03, 0.03, tone(iron, 0.7))
    for y in (0.42, 0.6, 0.72, 0.84):
        pen.box(-0.9, y, 0.9, y + 0.08, tone(wood, float(rng.uniform(0.88, 1.08))))
    pen.box(-0.9, 0.38, 0.9, 0.42, tone(wood, 0.6))


def _traffic_light(pen, case, pole, rng):
    pen.limb((0, 0), (0, 2.8), 0.06, 0.05, pole)
    pen.box(-0.19, 2.55, 0.19, 3.55, case, 0.06)
    lit = int(rng.integers(3))
    for i, colour in enumerate(((60, 200, 90), (245, 190, 40), (235, 45, 40))):
        pen.ellipse(0, 2.74 + 0.3 * i, 0.115, 0.115, colour if i == lit else tone(colour, 0.25))
        if i == lit:
            pen.glow(0, 2.74 + 0.3 * i, 0.6, colour)


def _stop_sign(pen, face, pole, rng):
    pen.limb((0, 0), (0, 2.2), 0.04, 0.04, pole)
    for r, colour in ((0.4, (240, 240, 240)), (0.36, (196, 26, 32))):
        a = math.pi / 8 + np.arange(8) * math.pi / 4
        pen.polygon(np.stack([r * np.cos(a), 2.3 + r * np.sin(a)], 1), colour)
    for x in (-0.24, -0.12, 0.0, 0.12):
        pen.box(x, 2.22, x + 0.08, 2.38, (240, 240, 240))


def _hydrant(pen, paint, cap, rng):
    pen.box(-0.2, 0, 0.2, 0.1, tone(paint, 0.8), 0.03)
    pen.box(-0.14, 0.05, 0.14, 0.6, paint, 0.04)
    pen.ellipse(0, 0.62, 0.15, 0.13, cap)
    pen.limb((-0.2, 0.42), (0.2, 0.42), 0.07, 0.07, cap)
    pen.ellipse(0, 0.42, 0.07, 0.07, tone(cap, 0.7))


def _plant(pen, leaf, pot, rng):
    for _ in range(16):
        a = float(rng.uniform(-1.3, 1.3))
        r = float(rng.uniform(0.3, 0.65))
        tip = (r * math.sin(a), 0.4 + r * math.cos(a))
        mid = (tip[0] * 0.5, 0.4 + (tip[1] - 0.4) * 0.62)
        pen.limb((0, 0.35), mid, 0.015, 0.05, tone(leaf, float(rng.uniform(0.65, 1.2))))
        pen.limb(mid, tip, 0.05, 0.012, tone(leaf, float(rng.uniform(0.7, 1.3))))
    pen.polygon([(-0.16, 0), (0.16, 0), (0.23, 0.4), (-0.23, 0.4)], pot)
    pen.box(-0.25, 0.34, 0.25, 0.42, tone(pot, 0.85))


def _chair(pen, wood, seat, rng):
    for x, y in ((-0.2, 0.06), (0.24, 0.06)):
        pen.limb((x, 0.45), (x, y), 0.025, 0.02, tone(wood, 0.7))
    for x in (-0.23, 0.2):
        pen.limb((x, 0.45), (x, 0), 0.03, 0.025, wood)
    pen.polygon([(-0.26, 0.42), (0.23, 0.42), (0.28, 0.52), (-0.2, 0.52)], seat)
    pen.limb((-0.22, 0.45), (-0.27, 0.98), 0.028, 0.028, wood)
    pen.polygon([(-0.26, 0.62), (0.0, 0.62), (-0.05, 0.98), (-0.31, 0.98)], tone(seat, 0.9))


def _couch(pen, cloth, cushion, rng):
    pen.box(-0.95, 0.3, 0.95, 0.9, tone(cloth, 0.86), 0.12)
    pen.box(-0.95, 0.06, 0.95, 0.3, tone(cloth, 0.7), 0.05)
    for x in (-0.78, 0.02):
        pen.box(x, 0.26, x + 0.76, 0.48, cloth, 0.08)
    for x in (-1.05, 0.8):
        pen.box(x, 0.04, x + 0.26, 0.66, tone(cloth, 0.95), 0.1)
    for x in rng.uniform(-0.6, 0.5, 2):
        pen.moved(float(x), 0.48).polygon([(-0.17, 0), (0.2, 0.03), (0.17, 0.34), (-0.2, 0.3)],
                                          cushion)


def _table(pen, wood, cloth, rng):
    for x in (-0.75, 0.75):
        pen.limb((x, 0.7), (x, 0), 0.04, 0.03, tone(wood, 0.75))
    for x in (-0.55, 0.55):
        pen.limb((x, 0.75), (x, 0.14), 0.03, 0.025, tone(wood, 0.55))
    pen.polygon([(-0.95, 0.7), (0.95, 0.7), (0.72, 0.9), (-0.72, 0.9)], wood)
    pen.box(-0.95, 0.64, 0.95, 0.71, tone(wood, 0.8))


def _tv(pen, case, picture, rng):
    pen.box(-0.62, 0.1, 0.62, 0.85, (24, 24, 26), 0.03)
    pen.box(-0.58, 0.15, 0.58, 0.81, picture)
    pen.polygon([(-0.58, 0.15), (0.58, 0.15), (0.58, 0.35), (0.1, 0.5), (-0.3, 0.32),
                 (-0.58, 0.42)], tone(picture, 0.6))
    pen.box(-0.2, 0.0, 0.2, 0.1, (30, 30, 32))
    pen.glow(0, 0.48, 0.9, picture)


def _umbrella(pen, cloth, other, rng):
    """Held at the origin."""
    pen.limb((0, -0.1), (0, 0.82), 0.014, 0.014, (60, 60, 62))
    ribs = np.linspace(-0.62, 0.62, 6)
    for i, (a, b) in enumerate(zip(ribs[:-1], ribs[1:], strict=True)):
        arc = [(x, 0.52 + 0.36 * math.sqrt(1 - (x / 0.63) ** 2)) for x in np.linspace(a, b, 4)]
        pen.polygon(arc + [(b, 0.52), ((a + b) / 2, 0.57), (a, 0.52)], cloth if i % 2 else other)


def _suitcase(pen, shell, trim, rng):
    pen.line([(-0.1, 0.62), (-0.1, 0.98), (0.1, 0.98), (0.1, 0.62)], 0.025, (70, 70, 74))
    pen.box(-0.22, 0.06, 0.22, 0.68, shell, 0.05)
    for x in (-0.11, 0.0, 0.11):
        pen.line([(x, 0.12), (x, 0.63)], 0.018, tone(shell, 0.78))
    for x in (-0.17, 0.17):
        pen.ellipse(x, 0.04, 0.04, 0.04, TYRE)


def _handbag(pen, leather, trim, rng):
    """Hangs from the hand at the origin."""
    pen.line([(-0.1, -0.16), (-0.07, 0), (0.07, 0), (0.1, -0.16)], 0.022, tone(leather, 0.7))
    pen.polygon([(-0.18, -0.4), (0.18, -0.4), (0.14, -0.14), (-0.14, -0.14)], leather)
    pen.box(-0.03, -0.25, 0.03, -0.2, (215, 185, 90))


def _racket(pen, frame, grip, rng):
    """Held at the origin, pointing up."""
    pen.limb((0, -0.08), (0, 0.2), 0.02, 0.018, grip)
    pen.line([(0, 0.2), (-0.08, 0.33)], 0.02, frame)
    pen.line([(0, 0.2), (0.08, 0.33)], 0.02, frame)
    pen.ellipse(0, 0.46, 0.145, 0.18, frame)
    pen.ellipse(0, 0.46, 0.12, 0.155, (225, 228, 220, 140))


def _ball(pen, colour, mark, rng):
    pen.ellipse(0, 0.11, 0.11, 0.11, colour)
    pen.ellipse(0.02, 0.12, 0.04, 0.04, mark)
    pen.ellipse(-0.07, 0.16, 0.025, 0.02, mark)


def _skis(pen, colour, mark, rng):
    for y, c in ((0.05, tone(colour, 0.75)), (0.0, colour)):
        pen.line([(-0.75, y), (0.75, y), (0.92, y + 0.1)], 0.055, c)
        pen.line([(-0.3, y), (0.0, y)], 0.058, mark)


def _surfboard(pen, colour, stripe, rng):
    x = np.linspace(-1.05, 1.05, 17)
    half = 0.07 * np.sqrt(1 - (x / 1.06) ** 2)
    lift = 0.1 * np.clip(x - 0.3, 0, None) ** 2
    pen.polygon(np.concatenate([np.stack([x, lift - half], 1),
                                np.stack([x, lift + half], 1)[::-1]]), colour)
    pen.polygon([(-1.0, -0.01), (0.9, 0.03), (0.9, 0.05), (-1.0, 0.02)], stripe)


def _skateboard(pen, colour, wheel, rng):
    pen.line([(-0.44, 0.14), (-0.34, 0.1), (0.34, 0.1), (0.44, 0.14)], 0.04, colour)
    for x in (-0.27, 0.27):
        pen.ellipse(x, 0.045, 0.045, 0.045, wheel)


def _boat(pen, hull, sail, rng):
    pen.polygon([(-2.4, 0.9), (-2.0, 0), (1.8, 0), (2.9, 1.0)], hull)
    pen.polygon([(-2.4, 0.9), (-2.3, 0.7), (2.6, 0.78), (2.9, 1.0)], tone(hull, 1.25))
    if rng.random() < 0.6:
        pen.limb((0, 0.8), (0, 7), 0.06, 0.04, (210, 205, 195))
        pen.polygon([(0.12, 1.3), (0.12, 6.7), (2.5, 1.4)], sail)
        pen.polygon([(-0.12, 1.4), (-0.12, 6.2), (-2.2, 1.5)], tone(sail, 0.9))
    else:
        pen.polygon([(-1.4, 0.9), (-1.2, 2.0), (0.5, 2.0), (0.9, 0.9)], sail)
        for x in (-0.95, -0.3, 0.3):
            pen.box(x, 1.3, x + 0.42, 1.75, GLASS)


# Props: never annotated, but they stand in front of things.

def _leaves(pen, x, y, rx, ry, leaf, rng, count):
    angle, r = rng.uniform(0, 2 * math.pi, count), np.sqrt(rng.uniform(0, 1, count))
    order = np.argsort(-r)
    for a, d in zip(angle[order], r[order], strict=True):
        up = d * math.sin(a)
        size = float(rng.uniform(0.18, 0.36))
        # Higher clumps catch more light.
        pen.ellipse(x + rx * d * math.cos(a), y + ry * up, rx * size, ry * size,
                    tone(vary(rng, leaf, 10), 0.82 + 0.3 * up + float(rng.uniform(-0.12, 0.12))))


def _tree(pen, leaf, bark, rng):
    top = float(rng.uniform(3.2, 4.6))
    pen.limb((0, 0), (0.05, top), 0.2, 0.12, bark)
    for side in (-1, 1):
        pen.limb((0.02, 0.62 * top), (side * 0.9, top + 0.3), 0.09, 0.05, tone(bark, 0.85))
    pen.ellipse(0, top + 0.9, 1.7, 1.35, tone(leaf, 0.68))
    _leaves(pen, 0, top + 0.9, 1.9, 1.5, leaf, rng, 42)


def _pine(pen, leaf, bark, rng):
    pen.limb((0, 0), (0, 1.2), 0.16, 0.14, bark)
    for i in range(7):
        y, w = 0.7 + i * 0.85, 1.7 - 0.22 * i
        c = tone(leaf, float(rng.uniform(0.75, 1.15)))
        pen.polygon([(-w, y), (-w * 0.6, y + 0.15), (-w * 0.2, y - 0.1), (w * 0.3, y + 0.12),
                     (w, y), (0, y + 1.7)], c)
        if bark[2] > 80:  # a grey trunk marks a snowy tree
            pen.polygon([(-w * 0.6, y + 0.6), (0, y + 0.75), (w * 0.5, y + 0.6), (0, y + 1.7)],
                        (236, 241, 248))


def _bush(pen, leaf, bark, rng):
    pen.ellipse(0, 0.4, 0.8, 0.42, tone(leaf, 0.65))
    _leaves(pen, 0, 0.48, 0.85, 0.45, leaf, rng, 22)


def _lamp(pen, pole, lamp, rng):
    pen.limb((0, 0), (0, 4.6), 0.08, 0.05, pole)
    pen.box(-0.14, 0, 0.14, 0.5, tone(pole, 0.9), 0.03)
    pen.line([(0, 4.5), (0.5, 4.9), (1.0, 4.9)], 0.07, pole)
    pen.polygon([(0.7, 4.8), (1.25, 4.84), (1.2, 4.96), (0.75, 4.98)], tone(pole, 1.2))
    pen.glow(1.0, 4.75, 2.6, (255, 215, 140))


def _post(pen, paint, sign, rng):
    pen.limb((0, 0), (0, 2.5), 0.045, 0.045, paint)
    if rng.random() < 0.5:
        pen.ellipse(0, 2.4, 0.32, 0.32, tone(sign, 0.9))
        pen.ellipse(0, 2.4, 0.24, 0.24, (240, 240, 240))
    else:
        pen.box(-0.36, 2.1, 0.36, 2.7, sign, 0.04)
        pen.box(-0.22, 2.36, 0.22, 2.44, (240, 240, 240))


def _column(pen, paint, band, rng):
    pen.box(-0.26, 0, 0.26, 6.5, paint)
    pen.box(-0.32, 0, 0.32, 0.35, tone(paint, 0.8))
    pen.box(-0.26, 1.5, 0.26, 2.0, band)
    pen.box(0.14, 0.35, 0.26, 6.5, tone(paint, 0.8))


def _fence(pen, paint, other, rng):
    for y in (0.25, 0.6, 0.95):
        pen.box(-3, y, 3, y + 0.07, tone(paint, 0.9))
    for x in np.arange(-3, 3.1, 0.75):
        pen.box(x - 0.05, 0, x + 0.05, 1.12, paint)


def _frame(pen, paint, other, rng):
    """A door or window frame right before the camera, one metre for the whole image side."""
    w = float(rng.uniform(0.05, 0.1))
    pen.box(-0.5, -0.1, -0.5 + w, 1.1, paint)
    pen.box(-0.5 + w, -0.1, -0.488 + w, 1.1, tone(paint, 0.7))
    if rng.random() < 0.6:
        pen.box(-0.5, 0, 1.0, 0.7 * w, tone(paint, 0.92))
        pen.box(-0.5, 0.7 * w, 1.0, 0.7 * w + 0.01, tone(paint, 1.1))


SPRITES = {'person': person, 'car': car, 'bus': bus, 'truck': truck, 'train': train,
           'bicycle': bicycle, 'motorcycle': motorcycle, 'statue': statue} | {
    kind: _simple(draw) for kind, draw in {
        'dog': _dog, 'cow': _cow, 'bench': _bench, 'traffic light': _traffic_light,
        'stop sign': _stop_sign, 'fire hydrant': _hydrant, 'potted plant': _plant, 'chair': _chair,
        'couch': _couch, 'dining table': _table, 'tv': _tv, 'umbrella': _umbrella,
        'suitcase': _suitcase, 'handbag': _handbag, 'tennis racket': _racket, 'sports ball': _ball,
        'skis': _skis, 'surfboard': _surfboard, 'skateboard': _skateboard, 'boat': _boat,
        'tree': _tree, 'pine': _pine, 'bush': _bush, 'lamp': _lamp, 'post': _post,
        'column': _column, 'fence': _fence, 'frame': _frame}.items()}
