"""People and statues: poses, joints, clothes and heads."""

import math
from typing import Any

import numpy as np

from segmentation.scenes.description import Thing
from segmentation.scenes.drawing.palette import CLOTHES, HAIR, SKIN, Color, pick, some, tone
from segmentation.scenes.drawing.pen import CIRCLES, Pen, Point, View

# Degrees from hanging straight down, forward positive: lean of the trunk; (upper arm, forearm) of
# the far and the near side; (thigh, shin) of both; last, half the shoulder width in meters.
_POSES: dict[str, tuple[Any, ...]] = {
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
    'ride': (30, 0.06),
    'motor': (14, 0.07),
}
_SEAT = {'ride': (-0.24, 1.0), 'motor': (-0.22, 0.84), 'sit': (-0.1, 0.53)}
_REACH = {
    'ride': ((0.40, 1.02), (0.14, 0.36), (-0.1, 0.24)),  # hands, near foot, far foot
    'motor': ((0.40, 1.0), (0.08, 0.36), (0.04, 0.38)),
}


def _bend(a: Point, target: Point, upper: float, lower: float, sign: float) -> tuple[Point, Point]:
    """Middle and end joint of two bones from `a` towards the target."""
    dx, dy = target[0] - a[0], target[1] - a[1]
    reach = min(math.hypot(dx, dy), 0.999 * (upper + lower))
    inner = math.acos((upper**2 + reach**2 - lower**2) / (2 * upper * reach))
    angle = math.atan2(dy, dx)

    def at(direction: float, length: float) -> Point:
        return a[0] + length * math.cos(direction), a[1] + length * math.sin(direction)

    return at(angle + sign * inner, upper), at(angle, reach)


def joints(pose: str, seed: int) -> dict[str, Point]:
    """Joint positions in meters (far side 0, near side 1) of a person 1.75 m tall."""
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
        if pose in _REACH:
            hands, *feet = _REACH[pose]
            elbow, hand = _bend(shoulder, hands, 0.29, 0.27, -1)
            knee, foot = _bend(top, feet[1 - i], 0.44, 0.43, 1)
        else:
            elbow = step(shoulder, limbs[i][0], 0.29)
            hand = step(elbow, limbs[i][1], 0.26)
            knee = step(top, limbs[2 + i][0], 0.43)
            foot = step(knee, limbs[2 + i][1], 0.41)
        j |= {f'shoulder{i}': shoulder, f'elbow{i}': elbow, f'hand{i}': hand}
        j |= {f'top{i}': top, f'knee{i}': knee, f'foot{i}': foot}
    if pose not in _SEAT:
        lift = 0.06 - min(j['foot0'][1], j['foot1'][1])
        j = {name: (x, y + lift) for name, (x, y) in j.items()}
    return j


def person(pen: Pen, thing: Thing, rng: np.random.Generator, view: View) -> None:
    shirt, trousers = thing.colors
    figure(pen, thing.pose, thing.seed, shirt, trousers, rng)


def figure(
    pen: Pen, pose: str, seed: int, shirt: Color, trousers: Color, rng: np.random.Generator,
    skin: Color | None = None,
) -> None:  # fmt: skip
    """A person; with `skin`, one color for skin and hair, a statue."""
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
    thick = 1.15 if pose == 'ski' else rng.uniform(0.92, 1.15)
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

    def band(
        low: np.ndarray, half_low: float, high: np.ndarray, half_high: float, color: Color
    ) -> None:
        pen.polygon([low - half_low * across, low + half_low * across,
                     high + half_high * across, high - half_high * across], color)  # fmt: skip

    trunk = [
        waist - low * across,
        waist + low * across,
        top + half * across,
        neck + 0.02 * along + 0.5 * half * across,
        neck + 0.02 * along - 0.5 * half * across,
        top - half * across,
    ]
    pen.limb(tuple(hip), tuple(waist), low * 1.02, low, skin if outfit == 'skirt' else trousers)
    if outfit == 'skirt':
        band(hip - 0.36 * along, low + 0.1, waist, low, trousers)
    pen.polygon(trunk, shirt)
    if not tiny and not statue and shirt != skin:
        style = pick(rng, ('plain', 'plain', 'stripes', 'badge', 'jacket'))
        other = tone(shirt, 0.55) if sum(shirt[:3]) > 330 else tone((235, 235, 230), 1)
        quad = (trunk[0], trunk[1], trunk[2], trunk[5])
        if style == 'stripes':
            pen.bands(quad, int(rng.integers(3, 7)), other)
        elif style == 'badge':
            x, y = waist + 0.26 * along
            pen.ellipse(x, y, 0.07, 0.06, other)
        elif style == 'jacket' and spread > 0.1:
            band(waist, 0.05, neck, 0.06, other)
    head = np.array(j['head'])
    pen.limb(tuple(neck), tuple(head), 0.055, 0.05, tone(skin, 0.86))
    pen.ellipse(head[0], head[1], 0.095, 0.122, skin)
    _head(pen, pose, head, skin, hair, shirt, front, tiny, rng)
    arm(1, 0.95)


def _head(
    pen: Pen, pose: str, head: np.ndarray, skin: Color, hair: Color, shirt: Color,
    front: bool, tiny: bool, rng: np.random.Generator,
) -> None:  # fmt: skip
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
        arc = CIRCLES[28][np.r_[27, 0:16]] * (0.108, 0.122) + (x, y + 0.025)
        part = rng.uniform(-0.05, 0.05)
        fringe = [(-0.088, 0.045), (-0.065, 0.065), (part, 0.088), (0.065, 0.065), (0.088, 0.045)]
        pen.polygon(np.concatenate([arc, np.array(fringe) + (x, y)]), hair)
        if long_hair:
            for s in (-1.0, 1.0):
                pen.limb((x + s * 0.085, y + 0.04), (x + s * 0.1, y - 0.2), 0.035, 0.04, hair)
        if not tiny:
            for s in (-0.038, 0.038):
                pen.ellipse(x + s, y + 0.005, 0.012, 0.011, (40, 30, 30))
                pen.box(x + s - 0.02, y + 0.03, x + s + 0.02, y + 0.038, tone(hair, 0.9))
            pen.limb((x - 0.022, y - 0.062), (x + 0.022, y - 0.062), 0.007, 0.007, (170, 84, 76))
            pen.limb((x, y + 0.0), (x + 0.006, y - 0.025), 0.008, 0.012, tone(skin, 0.82))
    else:
        pen.polygon([(x + 0.085, y + 0.015), (x + 0.118, y - 0.02), (x + 0.08, y - 0.035)], skin)
        arc = CIRCLES[28][np.r_[2:20]] * (0.108, 0.128) + (x - 0.008, y + 0.015)
        pen.polygon(np.concatenate([arc, [(x - 0.02, y - 0.03), (x + 0.02, y + 0.05)]]), hair)
        if long_hair:
            pen.limb((x - 0.07, y), (x - 0.12, y - 0.22), 0.05, 0.045, hair)
        if not tiny:
            pen.ellipse(x + 0.06, y + 0.012, 0.012, 0.013, (40, 30, 30))
    if cap:
        hat = tone(shirt, 0.8)
        arc = CIRCLES[28][np.r_[0:15]] * (0.112, 0.12) + (x, y + 0.04)
        pen.polygon(arc, hat)
        reach = 0.1 if front else 0.2
        pen.box(x - 0.09 if front else x, y + 0.035, x + reach, y + 0.06, tone(hat, 0.8), 0.01)


def statue(pen: Pen, thing: Thing, rng: np.random.Generator, view: View) -> None:
    stone = thing.colors[0]
    pen.box(-0.55, 0, 0.55, 0.25, tone(stone, 0.8))
    pen.box(-0.4, 0.25, 0.4, 1.1, tone(stone, 0.95))
    raised, legs, skin = pen.moved(0, 1.1), tone(stone, 0.9), tone(stone, 1.05)
    figure(raised, thing.pose, thing.seed, stone, legs, rng, skin)


def picture(pen: Pen, thing: Thing, rng: np.random.Generator, view: View) -> None:
    """A person printed on a board."""
    figure(pen.moved(0, 0.36), 'stand', thing.seed, *thing.colors, rng)
