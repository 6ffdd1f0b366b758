"""Animals, furniture, sports gear, street furniture, boats, and what people carry.

Every function draws one thing with a pen, in two colours.
"""

import math

import numpy as np

from segmentation.scenes.drawing.palette import GLASS, TYRE, Colour, tone
from segmentation.scenes.drawing.pen import Pen


def dog(pen: Pen, coat: Colour, collar: Colour, rng: np.random.Generator) -> None:
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


def cow(pen: Pen, coat: Colour, patch: Colour, rng: np.random.Generator) -> None:
    for x in (-0.7, -0.5, 0.5, 0.7):
        pen.limb((x, 0.8), (x, 0.05), 0.13, 0.07, tone(coat, 0.85))
    pen.box(-0.95, 0.62, 0.85, 1.38, coat, 0.25)
    for _ in range(4):
        x, y = rng.uniform(-0.7, 0.6), rng.uniform(0.8, 1.2)
        pen.ellipse(x, y, rng.uniform(0.1, 0.25), rng.uniform(0.08, 0.18), patch)
    pen.limb((0.75, 1.15), (1.05, 1.05), 0.24, 0.16, coat)
    pen.limb((1.05, 1.1), (1.3, 0.85), 0.17, 0.12, patch)
    pen.limb((0.98, 1.25), (0.88, 1.28), 0.04, 0.05, patch)
    pen.line([(-0.93, 1.25), (-1.05, 0.7)], 0.05, tone(coat, 0.7))


def bench(pen: Pen, wood: Colour, iron: Colour, rng: np.random.Generator) -> None:
    for x in (-0.75, 0.75):
        pen.line([(x, 0), (x, 0.45), (x, 0.9)], 0.06, iron)
        pen.limb((x + 0.08, 0), (x + 0.08, 0.4), 0.03, 0.03, tone(iron, 0.7))
    for y in (0.42, 0.6, 0.72, 0.84):
        pen.box(-0.9, y, 0.9, y + 0.08, tone(wood, rng.uniform(0.88, 1.08)))
    pen.box(-0.9, 0.38, 0.9, 0.42, tone(wood, 0.6))


def traffic_light(pen: Pen, case: Colour, pole: Colour, rng: np.random.Generator) -> None:
    pen.limb((0, 0), (0, 2.8), 0.06, 0.05, pole)
    pen.box(-0.19, 2.55, 0.19, 3.55, case, 0.06)
    lit = int(rng.integers(3))
    for i, colour in enumerate(((60, 200, 90), (245, 190, 40), (235, 45, 40))):
        pen.ellipse(0, 2.74 + 0.3 * i, 0.115, 0.115, colour if i == lit else tone(colour, 0.25))
        if i == lit:
            pen.glow(0, 2.74 + 0.3 * i, 0.6, colour)


def stop_sign(pen: Pen, face: Colour, pole: Colour, rng: np.random.Generator) -> None:
    pen.limb((0, 0), (0, 2.2), 0.04, 0.04, pole)
    for r, colour in ((0.4, (240, 240, 240)), (0.36, (196, 26, 32))):
        a = math.pi / 8 + np.arange(8) * math.pi / 4
        pen.polygon(np.stack([r * np.cos(a), 2.3 + r * np.sin(a)], 1), colour)
    for x in (-0.24, -0.12, 0.0, 0.12):
        pen.box(x, 2.22, x + 0.08, 2.38, (240, 240, 240))


def fire_hydrant(pen: Pen, paint: Colour, cap: Colour, rng: np.random.Generator) -> None:
    pen.box(-0.2, 0, 0.2, 0.1, tone(paint, 0.8), 0.03)
    pen.box(-0.14, 0.05, 0.14, 0.6, paint, 0.04)
    pen.ellipse(0, 0.62, 0.15, 0.13, cap)
    pen.limb((-0.2, 0.42), (0.2, 0.42), 0.07, 0.07, cap)
    pen.ellipse(0, 0.42, 0.07, 0.07, tone(cap, 0.7))


def potted_plant(pen: Pen, leaf: Colour, pot: Colour, rng: np.random.Generator) -> None:
    for _ in range(16):
        a = rng.uniform(-1.3, 1.3)
        r = rng.uniform(0.3, 0.65)
        tip = (r * math.sin(a), 0.4 + r * math.cos(a))
        mid = (tip[0] * 0.5, 0.4 + (tip[1] - 0.4) * 0.62)
        pen.limb((0, 0.35), mid, 0.015, 0.05, tone(leaf, rng.uniform(0.65, 1.2)))
        pen.limb(mid, tip, 0.05, 0.012, tone(leaf, rng.uniform(0.7, 1.3)))
    pen.trapezoid(0, (-0.16, 0.16), 0.4, (-0.23, 0.23), pot)
    pen.box(-0.25, 0.34, 0.25, 0.42, tone(pot, 0.85))


def chair(pen: Pen, wood: Colour, seat: Colour, rng: np.random.Generator) -> None:
    for x, y in ((-0.2, 0.06), (0.24, 0.06)):
        pen.limb((x, 0.45), (x, y), 0.025, 0.02, tone(wood, 0.7))
    for x in (-0.23, 0.2):
        pen.limb((x, 0.45), (x, 0), 0.03, 0.025, wood)
    pen.trapezoid(0.42, (-0.26, 0.23), 0.52, (-0.2, 0.28), seat)
    pen.limb((-0.22, 0.45), (-0.27, 0.98), 0.028, 0.028, wood)
    pen.trapezoid(0.62, (-0.26, 0.0), 0.98, (-0.31, -0.05), tone(seat, 0.9))


def couch(pen: Pen, cloth: Colour, cushion: Colour, rng: np.random.Generator) -> None:
    pen.box(-0.95, 0.3, 0.95, 0.9, tone(cloth, 0.86), 0.12)
    pen.box(-0.95, 0.06, 0.95, 0.3, tone(cloth, 0.7), 0.05)
    for x in (-0.78, 0.02):
        pen.box(x, 0.26, x + 0.76, 0.48, cloth, 0.08)
    for x in (-1.05, 0.8):
        pen.box(x, 0.04, x + 0.26, 0.66, tone(cloth, 0.95), 0.1)
    for x in rng.uniform(-0.6, 0.5, 2):
        shape = [(-0.17, 0), (0.2, 0.03), (0.17, 0.34), (-0.2, 0.3)]
        pen.moved(float(x), 0.48).polygon(shape, cushion)


def dining_table(pen: Pen, wood: Colour, cloth: Colour, rng: np.random.Generator) -> None:
    for x in (-0.75, 0.75):
        pen.limb((x, 0.7), (x, 0), 0.04, 0.03, tone(wood, 0.75))
    for x in (-0.55, 0.55):
        pen.limb((x, 0.75), (x, 0.14), 0.03, 0.025, tone(wood, 0.55))
    pen.trapezoid(0.7, (-0.95, 0.95), 0.9, (-0.72, 0.72), wood)
    pen.box(-0.95, 0.64, 0.95, 0.71, tone(wood, 0.8))


def tv(pen: Pen, case: Colour, picture: Colour, rng: np.random.Generator) -> None:
    pen.box(-0.62, 0.1, 0.62, 0.85, (24, 24, 26), 0.03)
    pen.box(-0.58, 0.15, 0.58, 0.81, picture)
    pen.polygon(
        [(-0.58, 0.15), (0.58, 0.15), (0.58, 0.35), (0.1, 0.5), (-0.3, 0.32), (-0.58, 0.42)],
        tone(picture, 0.6),
    )
    pen.box(-0.2, 0.0, 0.2, 0.1, (30, 30, 32))
    pen.glow(0, 0.48, 0.9, picture)


def umbrella(pen: Pen, cloth: Colour, other: Colour, rng: np.random.Generator) -> None:
    """Held at the origin."""
    pen.limb((0, -0.1), (0, 0.82), 0.014, 0.014, (60, 60, 62))
    ribs = np.linspace(-0.62, 0.62, 6)
    for i, (a, b) in enumerate(zip(ribs[:-1], ribs[1:], strict=True)):
        arc = [(x, 0.52 + 0.36 * math.sqrt(1 - (x / 0.63) ** 2)) for x in np.linspace(a, b, 4)]
        pen.polygon(arc + [(b, 0.52), ((a + b) / 2, 0.57), (a, 0.52)], cloth if i % 2 else other)


def suitcase(pen: Pen, shell: Colour, trim: Colour, rng: np.random.Generator) -> None:
    pen.line([(-0.1, 0.62), (-0.1, 0.98), (0.1, 0.98), (0.1, 0.62)], 0.025, (70, 70, 74))
    pen.box(-0.22, 0.06, 0.22, 0.68, shell, 0.05)
    for x in (-0.11, 0.0, 0.11):
        pen.line([(x, 0.12), (x, 0.63)], 0.018, tone(shell, 0.78))
    for x in (-0.17, 0.17):
        pen.ellipse(x, 0.04, 0.04, 0.04, TYRE)


def handbag(pen: Pen, leather: Colour, trim: Colour, rng: np.random.Generator) -> None:
    """Hangs from the hand at the origin."""
    pen.line([(-0.1, -0.16), (-0.07, 0), (0.07, 0), (0.1, -0.16)], 0.022, tone(leather, 0.7))
    pen.trapezoid(-0.4, (-0.18, 0.18), -0.14, (-0.14, 0.14), leather)
    pen.box(-0.03, -0.25, 0.03, -0.2, (215, 185, 90))


def tennis_racket(pen: Pen, frame: Colour, grip: Colour, rng: np.random.Generator) -> None:
    """Held at the origin, pointing up."""
    pen.limb((0, -0.08), (0, 0.2), 0.02, 0.018, grip)
    pen.line([(0, 0.2), (-0.08, 0.33)], 0.02, frame)
    pen.line([(0, 0.2), (0.08, 0.33)], 0.02, frame)
    pen.ellipse(0, 0.46, 0.145, 0.18, frame)
    pen.ellipse(0, 0.46, 0.12, 0.155, (225, 228, 220, 140))


def sports_ball(pen: Pen, colour: Colour, mark: Colour, rng: np.random.Generator) -> None:
    pen.ellipse(0, 0.11, 0.11, 0.11, colour)
    pen.ellipse(0.02, 0.12, 0.04, 0.04, mark)
    pen.ellipse(-0.07, 0.16, 0.025, 0.02, mark)


def skis(pen: Pen, colour: Colour, mark: Colour, rng: np.random.Generator) -> None:
    for y, c in ((0.05, tone(colour, 0.75)), (0.0, colour)):
        pen.line([(-0.75, y), (0.75, y), (0.92, y + 0.1)], 0.055, c)
        pen.line([(-0.3, y), (0.0, y)], 0.058, mark)


def surfboard(pen: Pen, colour: Colour, stripe: Colour, rng: np.random.Generator) -> None:
    x = np.linspace(-1.05, 1.05, 17)
    half = 0.07 * np.sqrt(1 - (x / 1.06) ** 2)
    lift = 0.1 * np.clip(x - 0.3, 0, None) ** 2
    low, high = np.stack([x, lift - half], 1), np.stack([x, lift + half], 1)
    pen.polygon(np.concatenate([low, high[::-1]]), colour)
    pen.polygon([(-1.0, -0.01), (0.9, 0.03), (0.9, 0.05), (-1.0, 0.02)], stripe)


def boat(pen: Pen, hull: Colour, sail: Colour, rng: np.random.Generator) -> None:
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
