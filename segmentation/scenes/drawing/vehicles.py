"""Buses, trucks, trains, bicycles and motorcycles."""

import math

import numpy as np

from segmentation.scenes.description import Thing
from segmentation.scenes.drawing.cars import HEADLAMP, HEADLIGHT, TAIL_LAMP, plate, wheel
from segmentation.scenes.drawing.palette import GLASS, LIVERY, TYRE, Color, pick, tone, vary
from segmentation.scenes.drawing.pen import Pen, View

_TAIL_LIGHT = (255, 50, 40)
_RUBBER = (40, 40, 42)


def _box_end(
    pen: Pen, w: float, low: float, high: float, length: float, paint: Color, view: View,
    stripe: Color, panes: int = 0, windows: tuple[float, float] = (0, 0),
) -> None:  # fmt: skip
    """The receding sides of a long box seen from its end."""

    def patch(x: float, y0: float, y1: float, a: float, b: float, color: Color) -> None:
        pen.polygon([view.recede((x, y), t * length)
                     for y, t in ((y0, a), (y1, a), (y1, b), (y0, b))], color)  # fmt: skip

    for side in (-w, w):
        patch(side, low, high, 0, 1, tone(paint, 0.66))
        patch(side, low + 0.3, low + 0.6, 0, 1, tone(stripe, 0.66))
        for i in range(panes):
            patch(side, *windows, (i + 0.12) / panes, (i + 0.9) / panes, tone(GLASS, 0.75))
        for t in (0.18, 0.75):
            x, y = view.recede((side, 0), t * length)
            k = view.distance / (view.distance + t * length)
            pen.ellipse(x, y + 0.45 * k, 0.3 * k, 0.46 * k, TYRE)
    back = [view.recede(p, length) for p in ((-w, high), (w, high))]
    pen.polygon([(-w, high), (w, high), back[1], back[0]], tone(paint, 1.05))


def bus(pen: Pen, thing: Thing, rng: np.random.Generator, view: View) -> None:
    if thing.pose == 'side':
        _bus_side(pen, *thing.colors, rng)
    else:
        _bus_end(pen, *thing.colors, thing.pose == 'back', view)


def _bus_end(pen: Pen, paint: Color, stripe: Color, back: bool, view: View) -> None:
    _box_end(pen, 1.22, 0.4, 3.0, 10.5, paint, view, stripe, 7, (1.4, 2.4))
    pen.at(-1, 1).box(-0.16, 0, 0.16, 0.8, TYRE, 0.06)
    pen.box(-1.25, 0.32, 1.25, 3.05, paint, 0.16)
    pen.box(-1.25, 0.75, 1.25, 1.0, stripe)
    pen.box(-1.1, 1.7 if back else 1.25, 1.1, 2.5, tone(GLASS, 1.1), 0.1)
    pen.trapezoid(1.72, (-0.7, -0.2), 2.48, (-0.35, 0.15), tone(GLASS, 1.6))
    if not back:
        pen.box(-0.85, 2.6, 0.85, 2.92, (25, 25, 25), 0.04)
        pen.box(-0.6, 2.68, 0.6, 2.84, (250, 170, 40))
        pen.line([(0, 1.25), (0, 2.5)], 0.04, tone(paint, 0.6))
        pen.at(-1.3, 1.3).limb((0, 2.1), (0, 2.4), 0.08, 0.08, (30, 30, 32))
    for s in (-1, 1):
        pen.box(s * 1.15, 0.5, s * 0.8, 0.72, TAIL_LAMP if back else HEADLAMP, 0.05)
        pen.glow(s * 0.98, 0.6, 0.9, _TAIL_LIGHT if back else HEADLIGHT)
    plate(pen, 0.36, back)


def _bus_side(pen: Pen, paint: Color, stripe: Color, rng: np.random.Generator) -> None:
    half = 5.4 if rng.random() < 0.7 else 4.2
    double = rng.random() < 0.25
    high = 4.2 if double else 3.05
    pen.box(-half, 0.34, half, high, paint, 0.2)
    pen.box(-half, 0.34, half, 0.62, tone(paint, 0.6), 0.06)
    style = pick(rng, ('stripe', 'wedge', 'plain'))
    if style == 'stripe':
        pen.box(-half, 0.85, half, 1.1, stripe)
    elif style == 'wedge':
        pen.trapezoid(0.62, (-half, -half + 3), high - 0.1, (-half, -half + 1.2), stripe)
    for y0, y1 in ((1.15, 2.0), (2.65, 3.6)) if double else ((1.3, 2.35),):
        pen.box(-half + 0.2, y0, half - 0.15, y1, tone(GLASS, 0.7), 0.08)
        n = int(half * 1.3)
        pitch = (2 * half - 0.5) / n
        for i in range(n):
            a = -half + 0.26 + i * pitch
            glass = tone(GLASS, rng.uniform(0.9, 1.6))
            pen.box(a, y0 + 0.06, a + pitch - 0.1, y1 - 0.06, glass, 0.05)
    doors = pen.at(half - 1.35, -0.6)
    doors.box(0, 0.45, 1.0, 2.35, tone(paint, 0.5))
    for k in (0.06, 0.53):
        doors.box(k, 0.6, k + 0.42, 2.25, tone(GLASS, 1.3), 0.03)
    pen.box(half - 0.12, 0.62, half + 0.01, 0.85, (250, 245, 220))
    pen.glow(half, 0.7, 0.9, HEADLIGHT)
    pen.box(-half - 0.01, 0.8, -half + 0.1, 1.2, TAIL_LAMP)
    for x in (-half + 2.3, half - 2.4):
        wheel(pen, x, 0.48, arch=(0.5, 0.62, 0.62))


def truck(pen: Pen, thing: Thing, rng: np.random.Generator, view: View) -> None:
    paint, cargo = thing.colors
    if thing.pose != 'side':
        _truck_end(pen, paint, cargo, thing.pose == 'back', view)
        return
    kind = pick(rng, ('box', 'box', 'tank', 'tipper', 'flat', 'pickup'))
    if kind == 'pickup':
        _pickup(pen, paint, rng)
    else:
        _lorry(pen, paint, cargo, kind, rng)


def _truck_end(pen: Pen, paint: Color, cargo: Color, back: bool, view: View) -> None:
    _box_end(pen, 1.22, 0.7, 3.3, 8.0, cargo, view, paint)
    pen.at(-1, 1).box(-0.2, 0, 0.2, 0.95, TYRE, 0.06)
    pen.box(-1.24, 0.7, 1.24, 3.35, cargo, 0.04)
    if back:
        pen.line([(0, 0.8), (0, 3.3)], 0.04, tone(cargo, 0.6))
        pen.at(-0.3, 0.3).line([(0, 0.85), (0, 3.2)], 0.05, tone(cargo, 0.75))
        for s in (-1, 1):
            pen.box(s * 1.15, 0.5, s * 0.75, 0.68, TAIL_LAMP, 0.03)
            pen.glow(s * 0.95, 0.6, 0.6, _TAIL_LIGHT)
        pen.box(-1.2, 0.45, 1.2, 0.72, (50, 50, 54))
        pen.grille(0.7, 0.46, 0.7, 1, (220, 60, 40))
    else:
        pen.box(-1.15, 0.4, 1.15, 2.75, paint, 0.12)
        pen.box(-1.0, 1.6, 1.0, 2.5, tone(GLASS, 1.1), 0.08)
        pen.trapezoid(1.62, (-0.6, -0.2), 2.48, (-0.3, 0.1), tone(GLASS, 1.6))
        pen.box(-0.75, 0.8, 0.75, 1.4, (40, 40, 44), 0.05)
        pen.grille(0.72, 0.82, 1.38, 4, (150, 152, 156))
        pen.at(-1.32, 1.32).limb((0, 1.7), (0, 2.2), 0.1, 0.1, (30, 30, 32))
        for s in (-1, 1):
            pen.box(s * 1.1, 0.5, s * 0.75, 0.72, HEADLAMP, 0.05)
            pen.glow(s * 0.92, 0.6, 0.9, HEADLIGHT)


def _pickup(pen: Pen, paint: Color, rng: np.random.Generator) -> None:
    pen.polygon([(-2.6, 0.5), (-2.6, 1.1), (-0.5, 1.1), (1.1, 1.15), (2.3, 1.05), (2.55, 0.9),
                 (2.55, 0.5)], paint)  # fmt: skip
    pen.polygon([(-0.55, 1.05), (-0.35, 1.8), (0.6, 1.82), (1.2, 1.1)], paint)
    pen.polygon([(-0.35, 1.15), (-0.22, 1.7), (0.2, 1.72), (0.2, 1.15)], GLASS)
    pen.polygon([(0.3, 1.15), (0.3, 1.72), (0.55, 1.72), (1.0, 1.15)], GLASS)
    pen.box(-2.6, 0.45, 2.55, 0.65, tone(paint, 0.65))
    pen.line([(0.25, 0.6), (0.25, 1.12)], 0.03, tone(paint, 0.6))
    if rng.random() < 0.6:
        for i in range(4):
            x, wood = -2.4 + i * 0.45, tone((150, 110, 70), 0.8 + 0.1 * i)
            pen.box(x, 1.1, -2.0 + i * 0.45, 1.3 + 0.15 * (i % 2), wood)
    pen.box(2.4, 0.85, 2.56, 1.0, (250, 245, 220))
    pen.glow(2.5, 0.9, 0.7, HEADLIGHT)
    for x in (-1.6, 1.7):
        wheel(pen, x, 0.42, arch=(0.44, 0.5, 0.48))


def _lorry(pen: Pen, paint: Color, cargo: Color, kind: str, rng: np.random.Generator) -> None:
    half = rng.uniform(3.4, 5.2)
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
        seams = pen.at(*np.arange(-half + 0.5, front - 0.3, 0.6))
        seams.line([(0, 0.9), (0, 3.4)], 0.025, tone(cargo, 0.88))
    elif kind == 'tank':
        pen.limb((-half + 1.1, 1.95), (front - 1.2, 1.95), 1.08, 1.08, cargo)
        pen.limb((-half + 1.1, 2.45), (front - 1.2, 2.45), 0.14, 0.14, tone(cargo, 1.25))
        pen.at(-half + 1.6, front - 1.8).box(0, 0.88, 0.12, 3.02, tone(cargo, 0.7))
    elif kind == 'tipper':
        pen.trapezoid(1.0, (-half, front - 0.35), 2.4, (-half - 0.15, front - 0.2), cargo)
        ribs = pen.at(*np.arange(-half + 0.6, front - 0.5, 0.9))
        ribs.box(0, 1.0, 0.14, 2.4, tone(cargo, 0.75))
        load = [(-half, 2.4), (-half + 1.2, 2.85), (front - 1.2, 2.75), (front - 0.3, 2.4)]
        pen.polygon(load, (120, 95, 65))
    else:
        for i in range(int((front + half) / 1.1)):
            x = -half + i * 1.1
            pen.box(x, 0.85, x + 1.0, rng.uniform(1.4, 2.4), vary(rng, (160, 120, 75), 30))
    cab = [(front, 0.5), (front, 2.95), (front + 1.5, 2.95), (half, 1.75), (half, 0.5)]
    pen.polygon(cab, paint)
    window = (front + 0.55, half - 0.16), (front + 0.55, front + 1.4)
    pen.trapezoid(1.75, window[0], 2.7, window[1], tone(GLASS, 1.2))
    pen.box(front + 0.4, 0.85, front + 1.6, 1.7, tone(paint, 0.93))
    pen.box(half - 0.08, 0.65, half + 0.02, 0.95, (250, 245, 220))
    pen.glow(half, 0.8, 0.9, HEADLIGHT)
    pen.box(front, 0.4, half, 0.6, (40, 40, 44))
    for x in (-half + 0.8, -half + 1.9, front + 0.95):
        wheel(pen, x, 0.48, (190, 190, 190), arch=(0.5, 0.56, 0.56))


def train(pen: Pen, thing: Thing, rng: np.random.Generator, view: View) -> None:
    length = rng.uniform(14, 20)
    steam = thing.pose == 'track' and rng.random() < 0.2
    for k in range(-2, 3):
        coach = pen.moved(k * (length + 0.5), 0)
        if thing.pose == 'track':
            coach.box(-length / 2 + 0.8, 0.35, length / 2 - 0.8, 0.8, (42, 42, 46))
            for x in (-length / 2 + 2, -length / 2 + 3.2, length / 2 - 3.2, length / 2 - 2):
                wheel(coach, x, 0.42, (110, 105, 100), 3)
        if steam and k % 2:
            _wagon(coach, length, thing.colors[1])
        else:
            _coach(coach, length, 0.12 if thing.pose == 'platform' else 0.75, *thing.colors, rng)


def _wagon(pen: Pen, length: float, paint: Color) -> None:
    pen.box(-length / 2, 0.8, length / 2, 2.6, tone(paint, 0.8), 0.05)
    ribs = pen.at(*np.arange(-length / 2 + 0.4, length / 2, 0.7))
    ribs.box(0, 0.8, 0.1, 2.6, tone(paint, 0.6))


def _coach(
    pen: Pen, length: float, low: float, paint: Color, stripe: Color, rng: np.random.Generator
) -> None:
    pen.box(-length / 2 - 0.5, low + 0.2, length / 2 + 0.5, 3.2, (36, 36, 40))
    pen.box(-length / 2, low, length / 2, 3.75, paint, 0.25)
    pen.box(-length / 2, 3.45, length / 2, 3.75, tone(paint, 0.7), 0.25)
    pen.box(-length / 2, low + 0.5, length / 2, low + 0.85, stripe)
    n = int(length / 2)
    for i in range(n):
        x = -length / 2 + 0.5 + i * (length - 0.8) / n
        if i in (1, n - 2):
            pen.box(x, low + 0.1, x + 1.3, 3.1, tone(stripe, 0.85), 0.05)
            pen.at(x + 0.12, x + 0.7).box(0, 1.9, 0.48, 2.9, tone(GLASS, 1.1), 0.06)
        else:
            pen.box(x, 1.85, x + 1.45, 2.85, tone(GLASS, rng.uniform(0.8, 1.5)), 0.14)


def bicycle(pen: Pen, thing: Thing, rng: np.random.Generator, view: View) -> None:
    paint = thing.colors[0]
    if thing.pose != 'side':
        pen.limb((0, 0.05), (0, 0.66), 0.028, 0.028, TYRE)
        pen.limb((0, 0.55), (0, 1.0), 0.035, 0.03, paint)
        pen.line([(-0.3, 0.98), (0, 1.03), (0.3, 0.98)], 0.035, _RUBBER)
        pen.limb((-0.09, 0.9), (0.09, 0.9), 0.035, 0.035, (30, 30, 30))
        pen.line([(-0.15, 0.3), (0.15, 0.26)], 0.04, (50, 50, 52))
        pen.ellipse(0, 0.86, 0.05, 0.05, (245, 240, 215))
        return
    spokes = (86, 88, 92, 150)  # transparent, but counted as part of the bicycle
    for x in (-0.52, 0.52):
        pen.ellipse(x, 0.34, 0.34, 0.34, TYRE)
        pen.ellipse(x, 0.34, 0.295, 0.295, spokes)
        for k in range(4 if pen.scale > 25 else 0):
            a = math.pi * k / 4 + 0.3
            d = np.array([math.cos(a), math.sin(a)]) * 0.3
            pen.line([(x - d[0], 0.34 - d[1]), (x + d[0], 0.34 + d[1])], 0.01, (170, 172, 176, 170))
    crank, seat, head, hub = (-0.05, 0.3), (-0.2, 0.82), (0.36, 0.84), (-0.52, 0.34)
    for joint in ((crank, seat), (crank, head), (seat, head), (hub, crank), (hub, seat)):
        pen.line(joint, 0.05, paint)
    pen.line([head, (0.52, 0.34)], 0.045, tone(paint, 0.8))
    pen.line([head, (0.33, 0.98), (0.45, 1.02)], 0.04, (45, 45, 48))
    pen.line([seat, (-0.22, 0.92)], 0.035, (60, 60, 62))
    pen.limb((-0.34, 0.94), (-0.1, 0.93), 0.035, 0.025, (30, 28, 28))
    pen.ellipse(*crank, 0.09, 0.09, (60, 60, 64))
    pen.line([(-0.15, 0.2), (0.08, 0.42)], 0.03, _RUBBER)


def motorcycle(pen: Pen, thing: Thing, rng: np.random.Generator, view: View) -> None:
    paint = thing.colors[0]
    if thing.pose != 'side':
        pen.limb((0, 0.07), (0, 0.6), 0.075, 0.07, TYRE)
        front = [(-0.2, 0.4), (0.2, 0.4), (0.26, 0.9), (0.14, 1.05), (-0.14, 1.05), (-0.26, 0.9)]
        pen.polygon(front, paint)
        pen.line([(-0.4, 1.0), (0, 1.06), (0.4, 1.0)], 0.05, _RUBBER)
        pen.ellipse(0, 0.85, 0.12, 0.1, HEADLAMP)
        pen.glow(0, 0.85, 0.8, HEADLIGHT)
        pen.trapezoid(1.05, (-0.18, 0.18), 1.28, (-0.12, 0.12), (120, 140, 155, 200))
        return
    for r, color in ((0.31, TYRE), (0.2, (96, 98, 102, 190)), (0.09, (170, 172, 176))):
        pen.at(-0.68, 0.7).ellipse(0, 0.31, r, r, color)
    pen.line([(0.7, 0.31), (0.42, 0.98)], 0.07, (160, 162, 168))
    pen.polygon([(-0.35, 0.25), (0.35, 0.22), (0.42, 0.62), (-0.3, 0.62)], (70, 72, 78))
    for y in (0.36, 0.44, 0.52):
        pen.line([(-0.05, y), (0.25, y)], 0.03, (150, 152, 158))
    pen.line([(-0.9, 0.3), (0.1, 0.25)], 0.08, (175, 176, 182))
    pen.line([(-0.68, 0.31), (-0.1, 0.4)], 0.06, (60, 60, 64))
    pen.polygon([(-0.12, 0.62), (0.4, 0.62), (0.42, 0.84), (0.25, 0.93), (-0.05, 0.86)], paint)
    tail = [(-0.95, 0.82), (-0.6, 0.62), (0.0, 0.66), (-0.05, 0.8), (-0.5, 0.8), (-0.85, 0.9)]
    pen.polygon(tail, paint)
    pen.polygon([(-0.75, 0.8), (-0.05, 0.74), (0.0, 0.84), (-0.7, 0.9)], (32, 30, 30))
    pen.line([(0.4, 0.95), (0.32, 1.05)], 0.05, _RUBBER)
    pen.ellipse(0.52, 0.86, 0.1, 0.1, HEADLAMP)
    pen.glow(0.56, 0.86, 0.7, HEADLIGHT)
    pen.polygon([(0.4, 0.62), (0.98, 0.58), (0.9, 0.66), (0.5, 0.72)], tone(paint, 0.9))
    pen.box(-0.98, 0.78, -0.88, 0.86, (200, 25, 25))
