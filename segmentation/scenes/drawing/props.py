"""Props: trees, lamps, posts and the like, never annotated, but they stand in front of things."""

import math

import numpy as np

from segmentation.scenes.drawing.palette import Colour, tone, vary
from segmentation.scenes.drawing.pen import Pen


def _leaves(
    pen: Pen, x: float, y: float, rx: float, ry: float, leaf: Colour, rng: np.random.Generator,
    count: int,
) -> None:  # fmt: skip
    angle, r = rng.uniform(0, 2 * math.pi, count), np.sqrt(rng.uniform(0, 1, count))
    order = np.argsort(-r)
    for a, d in zip(angle[order], r[order], strict=True):
        up = d * math.sin(a)
        size = rng.uniform(0.18, 0.36)
        # Higher clumps catch more light.
        colour = tone(vary(rng, leaf, 10), 0.82 + 0.3 * up + rng.uniform(-0.12, 0.12))
        pen.ellipse(x + rx * d * math.cos(a), y + ry * up, rx * size, ry * size, colour)


def tree(pen: Pen, leaf: Colour, bark: Colour, rng: np.random.Generator) -> None:
    top = rng.uniform(3.2, 4.6)
    pen.limb((0, 0), (0.05, top), 0.2, 0.12, bark)
    for side in (-1, 1):
        pen.limb((0.02, 0.62 * top), (side * 0.9, top + 0.3), 0.09, 0.05, tone(bark, 0.85))
    pen.ellipse(0, top + 0.9, 1.7, 1.35, tone(leaf, 0.68))
    _leaves(pen, 0, top + 0.9, 1.9, 1.5, leaf, rng, 42)


def pine(pen: Pen, leaf: Colour, bark: Colour, rng: np.random.Generator) -> None:
    pen.limb((0, 0), (0, 1.2), 0.16, 0.14, bark)
    for i in range(7):
        y, w = 0.7 + i * 0.85, 1.7 - 0.22 * i
        c = tone(leaf, rng.uniform(0.75, 1.15))
        pen.polygon([(-w, y), (-w * 0.6, y + 0.15), (-w * 0.2, y - 0.1), (w * 0.3, y + 0.12),
                     (w, y), (0, y + 1.7)], c)  # fmt: skip
        if bark[2] > 80:  # a grey trunk marks a snowy tree
            cap = [(-w * 0.6, y + 0.6), (0, y + 0.75), (w * 0.5, y + 0.6), (0, y + 1.7)]
            pen.polygon(cap, (236, 241, 248))


def bush(pen: Pen, leaf: Colour, bark: Colour, rng: np.random.Generator) -> None:
    pen.ellipse(0, 0.4, 0.8, 0.42, tone(leaf, 0.65))
    _leaves(pen, 0, 0.48, 0.85, 0.45, leaf, rng, 22)


def lamp(pen: Pen, pole: Colour, lamp: Colour, rng: np.random.Generator) -> None:
    pen.limb((0, 0), (0, 4.6), 0.08, 0.05, pole)
    pen.box(-0.14, 0, 0.14, 0.5, tone(pole, 0.9), 0.03)
    pen.line([(0, 4.5), (0.5, 4.9), (1.0, 4.9)], 0.07, pole)
    pen.polygon([(0.7, 4.8), (1.25, 4.84), (1.2, 4.96), (0.75, 4.98)], tone(pole, 1.2))
    pen.glow(1.0, 4.75, 2.6, (255, 215, 140))


def post(pen: Pen, paint: Colour, sign: Colour, rng: np.random.Generator) -> None:
    pen.limb((0, 0), (0, 2.5), 0.045, 0.045, paint)
    if rng.random() < 0.5:
        pen.ellipse(0, 2.4, 0.32, 0.32, tone(sign, 0.9))
        pen.ellipse(0, 2.4, 0.24, 0.24, (240, 240, 240))
    else:
        pen.box(-0.36, 2.1, 0.36, 2.7, sign, 0.04)
        pen.box(-0.22, 2.36, 0.22, 2.44, (240, 240, 240))


def column(pen: Pen, paint: Colour, band: Colour, rng: np.random.Generator) -> None:
    pen.box(-0.26, 0, 0.26, 6.5, paint)
    pen.box(-0.32, 0, 0.32, 0.35, tone(paint, 0.8))
    pen.box(-0.26, 1.5, 0.26, 2.0, band)
    pen.box(0.14, 0.35, 0.26, 6.5, tone(paint, 0.8))


def fence(pen: Pen, paint: Colour, other: Colour, rng: np.random.Generator) -> None:
    for y in (0.25, 0.6, 0.95):
        pen.box(-3, y, 3, y + 0.07, tone(paint, 0.9))
    for x in np.arange(-3, 3.1, 0.75):
        pen.box(x - 0.05, 0, x + 0.05, 1.12, paint)


def frame(pen: Pen, paint: Colour, other: Colour, rng: np.random.Generator) -> None:
    """A door or window frame right before the camera, one metre for the whole image side."""
    w = rng.uniform(0.05, 0.1)
    pen.box(-0.5, -0.1, -0.5 + w, 1.1, paint)
    pen.box(-0.5 + w, -0.1, -0.488 + w, 1.1, tone(paint, 0.7))
    if rng.random() < 0.6:
        pen.box(-0.5, 0, 1.0, 0.7 * w, tone(paint, 0.92))
        pen.box(-0.5, 0.7 * w, 1.0, 0.7 * w + 0.01, tone(paint, 1.1))


def board(pen: Pen, paint: Colour, field: Colour, rng: np.random.Generator) -> None:
    """An advertising panel on two feet, its face empty."""
    for x in (-0.45, 0.45):
        pen.box(x - 0.04, 0, x + 0.04, 0.4, tone(paint, 0.8))
    pen.box(-0.68, 0.25, 0.68, 2.3, paint, 0.05)
    pen.box(-0.6, 0.33, 0.6, 2.22, field)


def raft(pen: Pen, wood: Colour, other: Colour, rng: np.random.Generator) -> None:
    """Planks on the water, seen from above; things stand in its middle."""
    pen.polygon([(-1.0, -0.3), (1.0, -0.3), (0.9, 0.14), (-0.9, 0.14)], tone(wood, 0.8))
    for i in range(5):
        y0, y1 = -0.22 + 0.07 * i, -0.16 + 0.07 * i
        pen.polygon([(-1.0, y0), (1.0, y0), (0.98, y1), (-0.98, y1)], tone(wood, 0.95 + 0.05 * i))


def toy_car(pen: Pen, paint: Colour, other: Colour, rng: np.random.Generator) -> None:
    """A ride-on car for toddlers, 70 cm long: fat wheels, a seat and a big steering wheel."""
    pen.polygon([(-0.34, 0.12), (-0.36, 0.36), (-0.26, 0.4), (-0.2, 0.27), (0.04, 0.25),
                 (0.12, 0.36), (0.3, 0.31), (0.36, 0.22), (0.35, 0.12)], paint)  # fmt: skip
    pen.line([(0.06, 0.26), (-0.01, 0.42)], 0.025, (60, 60, 62))
    pen.limb((-0.05, 0.39), (0.04, 0.45), 0.025, 0.025, other)
    pen.box(-0.25, 0.24, 0.0, 0.28, other, 0.02)
    pen.ellipse(0.3, 0.24, 0.045, 0.045, (250, 246, 225))
    for x in (-0.21, 0.22):
        pen.ellipse(x, 0.12, 0.12, 0.12, (34, 34, 38))
        pen.ellipse(x, 0.12, 0.075, 0.075, other)
        pen.ellipse(x, 0.12, 0.03, 0.03, (245, 245, 240))
