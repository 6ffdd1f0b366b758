"""Cars from the side and from either end."""

import math

import numpy as np

from segmentation.scenes.description import Thing
from segmentation.scenes.drawing.palette import GLASS, TYRE, Color, pick, tone
from segmentation.scenes.drawing.pen import Pen, Point, View

HEADLAMP = (250, 246, 225)
HEADLIGHT = (255, 240, 190)  # its light at night
TAIL_LAMP = (190, 25, 25)
_TAIL_LIGHT = (255, 40, 30)
ARCH = (22, 22, 24)


def wheel(
    pen: Pen, x: float, r: float, rim: Color = (165, 168, 172), spokes: int = 5,
    arch: tuple[float, float, float] | None = None,
) -> None:  # fmt: skip
    """A wheel, in front of a wheel arch with the given height and half axes."""
    if arch:
        pen.ellipse(x, *arch, ARCH)
    pen.ellipse(x, r, r, r, TYRE)
    if pen.scale * r < 3:
        return
    pen.ellipse(x, r, 0.62 * r, 0.62 * r, rim)
    if pen.scale * r > 7:
        for k in range(spokes):
            a = 2 * math.pi * k / spokes + x
            inner, outer = ((x + d * r * math.cos(a), r + d * r * math.sin(a)) for d in (0.2, 0.5))
            pen.limb(inner, outer, 0.07 * r, 0.1 * r, tone(TYRE, 2.2))
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
}  # fmt: skip


def car_side(pen: Pen, paint: Color, rng: np.random.Generator) -> None:
    style = pick(rng, ('sedan', 'hatch', 'suv', 'sedan', 'hatch', 'van'))
    body, cabin = _BODIES[style]
    (rx, ry), (rt, rty), (ft, fty), (fx, fy) = cabin
    r = 0.34 if style in ('suv', 'van') else 0.31
    (bx, by), (hx, hy) = body[0], body[-1]
    rear, front = bx + 0.78, hx - 0.82
    under = (24, 24, 26)
    pen.trapezoid(0.22, (rear - 0.3, front + 0.3), 0.5, (rear - 0.5, front + 0.5), under)
    pen.polygon(cabin[:1] + [(rt + 0.02, rty - 0.08), (rt + 0.16, rty), (ft - 0.12, fty),
                             (ft + 0.06, fty - 0.07)] + cabin[3:], tone(paint, 0.97))  # fmt: skip
    pen.polygon(body, paint)
    pen.polygon([(bx, by), (bx, by + 0.17), (hx, hy + 0.15), (hx, hy)], tone(paint, 0.72))
    glass = tone(GLASS, rng.uniform(0.7, 1.5))
    sky = tone(glass, 1.45)
    m = (ft + rt) / 2 + 0.1
    if not (style == 'van' and rng.random() < 0.4):
        pen.polygon([(rx + 0.22, ry + 0.05), (rt + 0.14, rty - 0.08), (m - 0.04, rty - 0.07),
                     (m - 0.04, fy + 0.06)], glass)  # fmt: skip
        shine = (rt + 0.5, rt + 0.75)
        pen.trapezoid(ry + 0.05, (rx + 0.5, rx + 0.75), rty - 0.08, shine, sky)
    pen.polygon([(m + 0.04, fy + 0.06), (m + 0.04, fty - 0.07), (ft - 0.06, fty - 0.08),
                 (fx - 0.14, fy + 0.05)], glass)  # fmt: skip
    pen.trapezoid(fy + 0.06, (m + 0.2, m + 0.34), fty - 0.07, (m + 0.3, m + 0.42), sky)
    line = tone(paint, 0.62)
    if pen.scale > 9:
        pen.at(m, rear + 0.52, front - 0.5).line([(0, 0.42), (0, fy + 0.02)], 0.022, line)
        pen.line([(bx + 0.1, fy - 0.14), (hx - 0.2, fy - 0.2)], 0.02, tone(paint, 1.2))
        pen.at(m - 0.28, m + 0.7).box(0, fy - 0.1, 0.16, fy - 0.06, tone(paint, 0.5))
        pen.limb((fx - 0.3, fy + 0.1), (fx - 0.2, fy + 0.1), 0.06, 0.07, tone(paint, 0.85))
    pen.box(bx - 0.01, fy - 0.24, bx + 0.14, fy - 0.06, TAIL_LAMP, 0.03)
    pen.polygon([(hx - 0.3, fy - 0.14), (hx - 0.04, fy - 0.2), (hx - 0.02, fy - 0.3),
                 (hx - 0.24, fy - 0.26)], (245, 240, 215))  # fmt: skip
    pen.glow(hx, fy - 0.22, 0.7, HEADLIGHT)
    pen.glow(bx, fy - 0.14, 0.45, _TAIL_LIGHT)
    pen.box(hx - 0.1, 0.36, hx + 0.02, 0.48, (45, 45, 48), 0.03)
    for x in (rear, front):
        pen.ellipse(x, r + 0.02, r + 0.07, r + 0.07, (20, 20, 22))
        wheel(pen, x, r, pick(rng, ((165, 168, 172), (200, 200, 205), (90, 92, 96))))


def _car_end(pen: Pen, paint: Color, back: bool, view: View, rng: np.random.Generator) -> None:
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
    for s in (-1, 1):
        pen.polygon([(s * 0.8, shoulder), (x + s * 0.66 * k, y), (rx + s * 0.66 * k2, ry),
                     view.recede((s * 0.85, shoulder), 3.0)], tone(GLASS, 0.8))  # fmt: skip
    roof = (x - 0.62 * k, x + 0.62 * k), (rx - 0.62 * k2, rx + 0.62 * k2)
    pen.trapezoid(y, roof[0], ry, roof[1], tone(paint, 1.05))
    for s in (-1, 1):
        pen.box(s * 0.86 - 0.1, 0, s * 0.86 + 0.1, 0.62, TYRE, 0.06)
        fx, fy = view.recede((s * 0.86, 0), 2.6)
        pen.box(fx - 0.09, fy, fx + 0.09, fy + 0.45, TYRE, 0.05)
    post = 0.66 * k
    pen.trapezoid(shoulder - 0.02, (-0.8, 0.8), y + 0.02, (x - post, x + post), paint)
    glass = tone(GLASS, rng.uniform(0.7, 1.4))

    def pane(low: Point, high: Point, color: Color) -> None:
        left, right = (s * 0.74 + (x + s * 0.6 * k - s * 0.74) * 0.87 for s in high)
        top = shoulder + (y - shoulder) * 0.87
        pen.trapezoid(shoulder + 0.03, low, top, (left, right), color)

    pane((-0.74, 0.74), (-1, 1), glass)
    pane((-0.5, -0.15), (-0.3, 0.1), tone(glass, 1.4))
    pen.polygon([(-w, 0.34), (-0.8, 0.2), (0.8, 0.2), (w, 0.34), (w, shoulder - 0.16),
                 (0.76, shoulder), (-0.76, shoulder), (-w, shoulder - 0.16)], paint)  # fmt: skip
    pen.box(-w, 0.22, w, 0.44, tone(paint, 0.7), 0.06)
    if back:
        for s in (-1, 1):
            pen.box(s * 0.85, shoulder - 0.34, s * 0.52, shoulder - 0.14, (185, 22, 24), 0.04)
            pen.glow(s * 0.7, shoulder - 0.24, 0.5, _TAIL_LIGHT)
        pen.line([(-0.55, shoulder - 0.08), (0.55, shoulder - 0.08)], 0.025, tone(paint, 0.6))
    else:
        pen.box(-0.46, 0.4, 0.46, shoulder - 0.2, (38, 38, 42), 0.05)
        pen.grille(0.44, 0.42, shoulder - 0.22, 3, (120, 122, 126))
        for s in (-1, 1):
            pen.ellipse(s * 0.68, shoulder - 0.24, 0.15, 0.1, HEADLAMP)
            pen.glow(s * 0.68, shoulder - 0.24, 0.9, HEADLIGHT)
            pen.ellipse(s * 0.95, shoulder + 0.08, 0.1, 0.07, tone(paint, 0.8))
    plate(pen, shoulder - 0.36 if back else 0.28, back)


def plate(pen: Pen, y: float, back: bool) -> None:
    pen.box(-0.24, y, 0.24, y + 0.11, (235, 225, 150) if back else (240, 240, 235), 0.01)


def car(pen: Pen, thing: Thing, rng: np.random.Generator, view: View) -> None:
    if thing.pose == 'side':
        car_side(pen, thing.colors[0], rng)
    else:
        _car_end(pen, thing.colors[0], thing.pose == 'back', view, rng)
