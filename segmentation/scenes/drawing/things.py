"""Animals, furniture, sports gear, street furniture, boats, what people carry, and props.

Props, such as trees and lamps, are never annotated, but can stand in front of things. Every public
function draws the kind of thing that it is named after, in two colors.
"""

import math

import numpy as np

from segmentation.scenes.drawing.palette import GLASS, TYRE, Color, tone, vary
from segmentation.scenes.drawing.pen import Pen

_WHITE = (240, 240, 240)


def dog(pen: Pen, coat: Color, collar: Color, rng: np.random.Generator) -> None:
    dark = tone(coat, 0.75)
    for x, c in ((-0.3, dark), (0.22, dark), (-0.22, coat), (0.3, coat)):
        pen.limb((x, 0.38), (x + rng.uniform(-0.08, 0.08), 0.04), 0.07, 0.04, c)
    pen.limb((-0.28, 0.46), (0.26, 0.48), 0.14, 0.16, coat)
    pen.limb((-0.38, 0.5), (-0.6, 0.72), 0.045, 0.02, coat)
    pen.limb((0.28, 0.52), (0.42, 0.7), 0.11, 0.09, coat)
    pen.limb((0.3, 0.58), (0.38, 0.55), 0.05, 0.05, collar)
    pen.limb((0.44, 0.74), (0.62, 0.68), 0.1, 0.05, coat)
    pen.limb((0.4, 0.8), (0.33, 0.66), 0.04, 0.05, dark)
    pen.ellipse(0.66, 0.69, 0.025, 0.025, (25, 22, 22))
    pen.ellipse(0.5, 0.77, 0.015, 0.015, (25, 22, 22))


def cow(pen: Pen, coat: Color, patch: Color, rng: np.random.Generator) -> None:
    pen.at(-0.7, -0.5, 0.5, 0.7).limb((0, 0.8), (0, 0.05), 0.13, 0.07, tone(coat, 0.85))
    pen.box(-0.95, 0.62, 0.85, 1.38, coat, 0.25)
    for _ in range(4):
        x, y = rng.uniform(-0.7, 0.6), rng.uniform(0.8, 1.2)
        pen.ellipse(x, y, rng.uniform(0.1, 0.25), rng.uniform(0.08, 0.18), patch)
    pen.limb((0.75, 1.15), (1.05, 1.05), 0.24, 0.16, coat)
    pen.limb((1.05, 1.1), (1.3, 0.85), 0.17, 0.12, patch)
    pen.limb((0.98, 1.25), (0.88, 1.28), 0.04, 0.05, patch)
    pen.line([(-0.93, 1.25), (-1.05, 0.7)], 0.05, tone(coat, 0.7))


def bench(pen: Pen, wood: Color, iron: Color, rng: np.random.Generator) -> None:
    pen.at(-0.75, 0.75).line([(0, 0), (0, 0.45), (0, 0.9)], 0.06, iron)
    pen.at(-0.67, 0.83).limb((0, 0), (0, 0.4), 0.03, 0.03, tone(iron, 0.7))
    for y in (0.42, 0.6, 0.72, 0.84):
        pen.box(-0.9, y, 0.9, y + 0.08, tone(wood, rng.uniform(0.88, 1.08)))
    pen.box(-0.9, 0.38, 0.9, 0.42, tone(wood, 0.6))


def traffic_light(pen: Pen, case: Color, pole: Color, rng: np.random.Generator) -> None:
    pen.limb((0, 0), (0, 2.8), 0.06, 0.05, pole)
    pen.box(-0.19, 2.55, 0.19, 3.55, case, 0.06)
    lit = int(rng.integers(3))
    for i, color in enumerate(((60, 200, 90), (245, 190, 40), (235, 45, 40))):
        pen.ellipse(0, 2.74 + 0.3 * i, 0.115, 0.115, color if i == lit else tone(color, 0.25))
        if i == lit:
            pen.glow(0, 2.74 + 0.3 * i, 0.6, color)


def stop_sign(pen: Pen, face: Color, pole: Color, rng: np.random.Generator) -> None:
    pen.limb((0, 0), (0, 2.2), 0.04, 0.04, pole)
    for r, color in ((0.4, _WHITE), (0.36, (196, 26, 32))):
        a = math.pi / 8 + np.arange(8) * math.pi / 4
        pen.polygon(np.stack([r * np.cos(a), 2.3 + r * np.sin(a)], 1), color)
    pen.at(-0.24, -0.12, 0.0, 0.12).box(0, 2.22, 0.08, 2.38, _WHITE)


def fire_hydrant(pen: Pen, paint: Color, cap: Color, rng: np.random.Generator) -> None:
    pen.box(-0.2, 0, 0.2, 0.1, tone(paint, 0.8), 0.03)
    pen.box(-0.14, 0.05, 0.14, 0.6, paint, 0.04)
    pen.ellipse(0, 0.62, 0.15, 0.13, cap)
    pen.limb((-0.2, 0.42), (0.2, 0.42), 0.07, 0.07, cap)
    pen.ellipse(0, 0.42, 0.07, 0.07, tone(cap, 0.7))


def potted_plant(pen: Pen, leaf: Color, pot: Color, rng: np.random.Generator) -> None:
    for _ in range(16):
        a = rng.uniform(-1.3, 1.3)
        r = rng.uniform(0.3, 0.65)
        tip = (r * math.sin(a), 0.4 + r * math.cos(a))
        mid = (tip[0] * 0.5, 0.4 + (tip[1] - 0.4) * 0.62)
        pen.limb((0, 0.35), mid, 0.015, 0.05, tone(leaf, rng.uniform(0.65, 1.2)))
        pen.limb(mid, tip, 0.05, 0.012, tone(leaf, rng.uniform(0.7, 1.3)))
    pen.trapezoid(0, (-0.16, 0.16), 0.4, (-0.23, 0.23), pot)
    pen.box(-0.25, 0.34, 0.25, 0.42, tone(pot, 0.85))


def chair(pen: Pen, wood: Color, seat: Color, rng: np.random.Generator) -> None:
    pen.at(-0.2, 0.24).limb((0, 0.45), (0, 0.06), 0.025, 0.02, tone(wood, 0.7))
    pen.at(-0.23, 0.2).limb((0, 0.45), (0, 0), 0.03, 0.025, wood)
    pen.trapezoid(0.42, (-0.26, 0.23), 0.52, (-0.2, 0.28), seat)
    pen.limb((-0.22, 0.45), (-0.27, 0.98), 0.028, 0.028, wood)
    pen.trapezoid(0.62, (-0.26, 0.0), 0.98, (-0.31, -0.05), tone(seat, 0.9))


def couch(pen: Pen, cloth: Color, cushion: Color, rng: np.random.Generator) -> None:
    pen.box(-0.95, 0.3, 0.95, 0.9, tone(cloth, 0.86), 0.12)
    pen.box(-0.95, 0.06, 0.95, 0.3, tone(cloth, 0.7), 0.05)
    pen.at(-0.78, 0.02).box(0, 0.26, 0.76, 0.48, cloth, 0.08)
    pen.at(-1.05, 0.8).box(0, 0.04, 0.26, 0.66, tone(cloth, 0.95), 0.1)
    shape = [(-0.17, 0), (0.2, 0.03), (0.17, 0.34), (-0.2, 0.3)]
    pen.at(*rng.uniform(-0.6, 0.5, 2), y=0.48).polygon(shape, cushion)


def dining_table(pen: Pen, wood: Color, cloth: Color, rng: np.random.Generator) -> None:
    pen.at(-0.75, 0.75).limb((0, 0.7), (0, 0), 0.04, 0.03, tone(wood, 0.75))
    pen.at(-0.55, 0.55).limb((0, 0.75), (0, 0.14), 0.03, 0.025, tone(wood, 0.55))
    pen.trapezoid(0.7, (-0.95, 0.95), 0.9, (-0.72, 0.72), wood)
    pen.box(-0.95, 0.64, 0.95, 0.71, tone(wood, 0.8))


def tv(pen: Pen, case: Color, picture: Color, rng: np.random.Generator) -> None:
    pen.box(-0.62, 0.1, 0.62, 0.85, (24, 24, 26), 0.03)
    pen.box(-0.58, 0.15, 0.58, 0.81, picture)
    pen.polygon([(-0.58, 0.15), (0.58, 0.15), (0.58, 0.35), (0.1, 0.5), (-0.3, 0.32),
                 (-0.58, 0.42)], tone(picture, 0.6))  # fmt: skip
    pen.box(-0.2, 0.0, 0.2, 0.1, (30, 30, 32))
    pen.glow(0, 0.48, 0.9, picture)


def umbrella(pen: Pen, cloth: Color, other: Color, rng: np.random.Generator) -> None:
    """Held at the origin."""
    pen.limb((0, -0.1), (0, 0.82), 0.014, 0.014, (60, 60, 62))
    ribs = np.linspace(-0.62, 0.62, 6)
    for i, (a, b) in enumerate(zip(ribs[:-1], ribs[1:], strict=True)):
        arc = [(x, 0.52 + 0.36 * math.sqrt(1 - (x / 0.63) ** 2)) for x in np.linspace(a, b, 4)]
        pen.polygon(arc + [(b, 0.52), ((a + b) / 2, 0.57), (a, 0.52)], cloth if i % 2 else other)


def suitcase(pen: Pen, shell: Color, trim: Color, rng: np.random.Generator) -> None:
    pen.line([(-0.1, 0.62), (-0.1, 0.98), (0.1, 0.98), (0.1, 0.62)], 0.025, (70, 70, 74))
    pen.box(-0.22, 0.06, 0.22, 0.68, shell, 0.05)
    pen.at(-0.11, 0.0, 0.11).line([(0, 0.12), (0, 0.63)], 0.018, tone(shell, 0.78))
    pen.at(-0.17, 0.17).ellipse(0, 0.04, 0.04, 0.04, TYRE)


def handbag(pen: Pen, leather: Color, trim: Color, rng: np.random.Generator) -> None:
    """Hangs from the hand at the origin."""
    pen.line([(-0.1, -0.16), (-0.07, 0), (0.07, 0), (0.1, -0.16)], 0.022, tone(leather, 0.7))
    pen.trapezoid(-0.4, (-0.18, 0.18), -0.14, (-0.14, 0.14), leather)
    pen.box(-0.03, -0.25, 0.03, -0.2, (215, 185, 90))


def tennis_racket(pen: Pen, frame: Color, grip: Color, rng: np.random.Generator) -> None:
    """Held at the origin, pointing up."""
    pen.limb((0, -0.08), (0, 0.2), 0.02, 0.018, grip)
    pen.line([(-0.08, 0.33), (0, 0.2), (0.08, 0.33)], 0.02, frame)
    pen.ellipse(0, 0.46, 0.145, 0.18, frame)
    pen.ellipse(0, 0.46, 0.12, 0.155, (225, 228, 220, 140))


def sports_ball(pen: Pen, color: Color, mark: Color, rng: np.random.Generator) -> None:
    pen.ellipse(0, 0.11, 0.11, 0.11, color)
    pen.ellipse(0.02, 0.12, 0.04, 0.04, mark)
    pen.ellipse(-0.07, 0.16, 0.025, 0.02, mark)


def skis(pen: Pen, color: Color, mark: Color, rng: np.random.Generator) -> None:
    for y, c in ((0.05, tone(color, 0.75)), (0.0, color)):
        pen.line([(-0.75, y), (0.75, y), (0.92, y + 0.1)], 0.055, c)
        pen.line([(-0.3, y), (0.0, y)], 0.058, mark)


def surfboard(pen: Pen, color: Color, stripe: Color, rng: np.random.Generator) -> None:
    x = np.linspace(-1.05, 1.05, 17)
    half = 0.07 * np.sqrt(1 - (x / 1.06) ** 2)
    lift = 0.1 * np.clip(x - 0.3, 0, None) ** 2
    low, high = np.stack([x, lift - half], 1), np.stack([x, lift + half], 1)
    pen.polygon(np.concatenate([low, high[::-1]]), color)
    pen.polygon([(-1.0, -0.01), (0.9, 0.03), (0.9, 0.05), (-1.0, 0.02)], stripe)


def boat(pen: Pen, hull: Color, sail: Color, rng: np.random.Generator) -> None:
    pen.polygon([(-2.4, 0.9), (-2.0, 0), (1.8, 0), (2.9, 1.0)], hull)
    pen.polygon([(-2.4, 0.9), (-2.3, 0.7), (2.6, 0.78), (2.9, 1.0)], tone(hull, 1.25))
    if rng.random() < 0.6:
        pen.limb((0, 0.8), (0, 7), 0.06, 0.04, (210, 205, 195))
        pen.polygon([(0.12, 1.3), (0.12, 6.7), (2.5, 1.4)], sail)
        pen.polygon([(-0.12, 1.4), (-0.12, 6.2), (-2.2, 1.5)], tone(sail, 0.9))
    else:
        pen.polygon([(-1.4, 0.9), (-1.2, 2.0), (0.5, 2.0), (0.9, 0.9)], sail)
        pen.at(-0.95, -0.3, 0.3).box(0, 1.3, 0.42, 1.75, GLASS)


# Props --------------------------------------------------------------------------------------------


def _leaves(
    pen: Pen, x: float, y: float, rx: float, ry: float, leaf: Color, rng: np.random.Generator,
    count: int,
) -> None:  # fmt: skip
    angle, r = rng.uniform(0, 2 * math.pi, count), np.sqrt(rng.uniform(0, 1, count))
    order = np.argsort(-r)
    for a, d in zip(angle[order], r[order], strict=True):
        up = d * math.sin(a)
        size = rng.uniform(0.18, 0.36)
        # Higher clumps catch more light.
        color = tone(vary(rng, leaf, 10), 0.82 + 0.3 * up + rng.uniform(-0.12, 0.12))
        pen.ellipse(x + rx * d * math.cos(a), y + ry * up, rx * size, ry * size, color)


def tree(pen: Pen, leaf: Color, bark: Color, rng: np.random.Generator) -> None:
    top = rng.uniform(3.2, 4.6)
    pen.limb((0, 0), (0.05, top), 0.2, 0.12, bark)
    for side in (-1, 1):
        pen.limb((0.02, 0.62 * top), (side * 0.9, top + 0.3), 0.09, 0.05, tone(bark, 0.85))
    pen.ellipse(0, top + 0.9, 1.7, 1.35, tone(leaf, 0.68))
    _leaves(pen, 0, top + 0.9, 1.9, 1.5, leaf, rng, 42)


def pine(pen: Pen, leaf: Color, bark: Color, rng: np.random.Generator) -> None:
    pen.limb((0, 0), (0, 1.2), 0.16, 0.14, bark)
    for i in range(7):
        y, w = 0.7 + i * 0.85, 1.7 - 0.22 * i
        c = tone(leaf, rng.uniform(0.75, 1.15))
        pen.polygon([(-w, y), (-w * 0.6, y + 0.15), (-w * 0.2, y - 0.1), (w * 0.3, y + 0.12),
                     (w, y), (0, y + 1.7)], c)  # fmt: skip
        if bark[2] > 80:  # a gray trunk marks a snowy tree
            cap = [(-w * 0.6, y + 0.6), (0, y + 0.75), (w * 0.5, y + 0.6), (0, y + 1.7)]
            pen.polygon(cap, (236, 241, 248))


def bush(pen: Pen, leaf: Color, bark: Color, rng: np.random.Generator) -> None:
    pen.ellipse(0, 0.4, 0.8, 0.42, tone(leaf, 0.65))
    _leaves(pen, 0, 0.48, 0.85, 0.45, leaf, rng, 22)


def lamp(pen: Pen, pole: Color, lamp: Color, rng: np.random.Generator) -> None:
    pen.limb((0, 0), (0, 4.6), 0.08, 0.05, pole)
    pen.box(-0.14, 0, 0.14, 0.5, tone(pole, 0.9), 0.03)
    pen.line([(0, 4.5), (0.5, 4.9), (1.0, 4.9)], 0.07, pole)
    pen.polygon([(0.7, 4.8), (1.25, 4.84), (1.2, 4.96), (0.75, 4.98)], tone(pole, 1.2))
    pen.glow(1.0, 4.75, 2.6, (255, 215, 140))


def post(pen: Pen, paint: Color, sign: Color, rng: np.random.Generator) -> None:
    pen.limb((0, 0), (0, 2.5), 0.045, 0.045, paint)
    if rng.random() < 0.5:
        pen.ellipse(0, 2.4, 0.32, 0.32, tone(sign, 0.9))
        pen.ellipse(0, 2.4, 0.24, 0.24, _WHITE)
    else:
        pen.box(-0.36, 2.1, 0.36, 2.7, sign, 0.04)
        pen.box(-0.22, 2.36, 0.22, 2.44, _WHITE)


def column(pen: Pen, paint: Color, band: Color, rng: np.random.Generator) -> None:
    pen.box(-0.26, 0, 0.26, 6.5, paint)
    pen.box(-0.32, 0, 0.32, 0.35, tone(paint, 0.8))
    pen.box(-0.26, 1.5, 0.26, 2.0, band)
    pen.box(0.14, 0.35, 0.26, 6.5, tone(paint, 0.8))


def fence(pen: Pen, paint: Color, other: Color, rng: np.random.Generator) -> None:
    for y in (0.25, 0.6, 0.95):
        pen.box(-3, y, 3, y + 0.07, tone(paint, 0.9))
    pen.at(*np.arange(-3, 3.1, 0.75)).box(-0.05, 0, 0.05, 1.12, paint)


def frame(pen: Pen, paint: Color, other: Color, rng: np.random.Generator) -> None:
    """A door or window frame right before the camera, one meter for the whole image side."""
    w = rng.uniform(0.05, 0.1)
    pen.box(-0.5, -0.1, -0.5 + w, 1.1, paint)
    pen.box(-0.5 + w, -0.1, -0.488 + w, 1.1, tone(paint, 0.7))
    if rng.random() < 0.6:
        pen.box(-0.5, 0, 1.0, 0.7 * w, tone(paint, 0.92))
        pen.box(-0.5, 0.7 * w, 1.0, 0.7 * w + 0.01, tone(paint, 1.1))


def board(pen: Pen, paint: Color, field: Color, rng: np.random.Generator) -> None:
    """An advertising panel on two feet, its face empty."""
    pen.at(-0.45, 0.45).box(-0.04, 0, 0.04, 0.4, tone(paint, 0.8))
    pen.box(-0.68, 0.25, 0.68, 2.3, paint, 0.05)
    pen.box(-0.6, 0.33, 0.6, 2.22, field)


def raft(pen: Pen, wood: Color, other: Color, rng: np.random.Generator) -> None:
    """Planks on the water, seen from above; things stand in its middle."""
    pen.polygon([(-1.0, -0.3), (1.0, -0.3), (0.9, 0.14), (-0.9, 0.14)], tone(wood, 0.8))
    for i in range(5):
        y0, y1 = -0.22 + 0.07 * i, -0.16 + 0.07 * i
        pen.trapezoid(y0, (-1.0, 1.0), y1, (-0.98, 0.98), tone(wood, 0.95 + 0.05 * i))


def toy_car(pen: Pen, paint: Color, other: Color, rng: np.random.Generator) -> None:
    """A ride-on car for toddlers, 70 cm long: fat wheels, a seat and a big steering wheel."""
    pen.polygon([(-0.34, 0.12), (-0.36, 0.36), (-0.26, 0.4), (-0.2, 0.27), (0.04, 0.25),
                 (0.12, 0.36), (0.3, 0.31), (0.36, 0.22), (0.35, 0.12)], paint)  # fmt: skip
    pen.line([(0.06, 0.26), (-0.01, 0.42)], 0.025, (60, 60, 62))
    pen.limb((-0.05, 0.39), (0.04, 0.45), 0.025, 0.025, other)
    pen.box(-0.25, 0.24, 0.0, 0.28, other, 0.02)
    pen.ellipse(0.3, 0.24, 0.045, 0.045, (250, 246, 225))
    for r, color in ((0.12, (34, 34, 38)), (0.075, other), (0.03, (245, 245, 240))):
        pen.at(-0.21, 0.22).ellipse(0, 0.12, r, r, color)
