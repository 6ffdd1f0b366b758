"""Draws objects: filled polygons in meters, rasterized and shaded.

The origin is where the object meets the ground, with x to the right and y up. Polygons are
rasterized with supersampling, so that edges are antialiased, and then get shading and grain.
"""

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFilter

from segmentation.scenes.drawing.palette import Color, crop, grain_tile, soft_tile

Point = tuple[float, float]

CIRCLES = {
    n: np.stack([np.cos(a), np.sin(a)], 1)
    for n in (10, 28)
    for a in [np.arange(n) * 2 * math.pi / n]
}
_CAP = np.stack([-np.sin(np.linspace(0, math.pi, 6)), np.cos(np.linspace(0, math.pi, 6))], 1)


class View(NamedTuple):
    """The camera relative to an object: vanishing point and distance, in meters."""

    x: float
    y: float
    distance: float

    def recede(self, p: Point, length: float) -> Point:
        """The point after a move of `length` meters away from the camera."""
        t = length / (self.distance + length)
        return p[0] + (self.x - p[0]) * t, p[1] + (self.y - p[1]) * t


class Pen:
    """Collects polygons, given in meters, as polygons in image pixels."""

    def __init__(self, x: float, y: float, scale: float, flip: bool = False, tilt: float = 0.0):
        c, s, f = math.cos(tilt), math.sin(tilt), -1 if flip else 1
        self.matrix = scale * np.array([[f * c, -s], [-f * s, -c]])
        self.origin = np.array([x, y])
        self.scale = scale
        self.copies: Sequence[Point] = ((0.0, 0.0),)
        self.shapes: list[tuple[np.ndarray, Color]] = []
        self.glows: list[tuple[float, float, float, Color]] = []

    def moved(self, x: float, y: float, size: float = 1.0) -> 'Pen':
        """A pen that draws the same object, shifted by meters and scaled."""
        pen = copy.copy(self)
        pen.matrix, pen.origin = self.matrix * size, self.origin + np.array([x, y]) @ self.matrix
        pen.scale *= size
        return pen

    def at(self, *xs: float, y: float = 0.0) -> 'Pen':
        """A pen that draws every shape of the same object at each x, shifted up by `y` meters."""
        pen = copy.copy(self)
        pen.copies = [(x, y) for x in xs]
        return pen

    def polygon(self, points: ArrayLike, color: Color) -> None:
        for shift in self.copies:
            shape = (np.asarray(points, float) + shift) @ self.matrix + self.origin
            self.shapes.append((shape, color))

    def trapezoid(self, y0: float, xs0: Point, y1: float, xs1: Point, color: Color) -> None:
        """A quadrilateral with two level sides: from xs0 at height y0 to xs1 at height y1."""
        (a, b), (c, d) = xs0, xs1
        self.polygon([(a, y0), (b, y0), (d, y1), (c, y1)], color)

    def box(
        self, x0: float, y0: float, x1: float, y1: float, color: Color, round: float = 0.0
    ) -> None:
        """A rectangle with corners rounded by `round` meters."""
        r = min(round, abs(x1 - x0) / 2, abs(y1 - y0) / 2)
        if r * self.scale < 0.7:
            self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color)
        else:
            k = 0.3 * r
            self.polygon([(x0 + r, y0), (x1 - r, y0), (x1 - k, y0 + k), (x1, y0 + r), (x1, y1 - r),
                          (x1 - k, y1 - k), (x1 - r, y1), (x0 + r, y1), (x0 + k, y1 - k),
                          (x0, y1 - r), (x0, y0 + r), (x0 + k, y0 + k)], color)  # fmt: skip

    def ellipse(self, x: float, y: float, rx: float, ry: float, color: Color) -> None:
        circle = CIRCLES[10 if max(rx, ry) * self.scale < 5 else 28]
        self.polygon(circle * (rx, ry) + (x, y), color)

    def limb(self, a: Point, b: Point, ra: float, rb: float, color: Color) -> None:
        """A tapered stroke with round ends, from radius `ra` at `a` to `rb` at `b`."""
        dx, dy = float(b[0] - a[0]), float(b[1] - a[1])
        length = math.hypot(dx, dy) or 1.0
        cap = _CAP @ np.array([[dx, dy], [-dy, dx]]) / length
        self.polygon(np.concatenate([ra * cap + a, b - rb * cap]), color)

    def line(self, points: Sequence[Point], width: float, color: Color) -> None:
        for a, b in zip(points[:-1], points[1:], strict=True):
            self.limb(a, b, width / 2, width / 2, color)

    def grille(self, x: float, low: float, high: float, count: int, color: Color) -> None:
        """Level bars between -x and x."""
        self.bands([(-x, low), (x, low), (x, high), (-x, high)], count, color)

    def bands(self, quad: ArrayLike, count: int, color: Color) -> None:
        """Stripes across a quadrilateral (bottom left, bottom right, top right, top left)."""
        bl, br, tr, tl = np.asarray(quad, float)
        for i in range(count):
            s, t = (i + 0.25) / count, (i + 0.75) / count
            left, right = tl - bl, tr - br
            self.polygon([bl + s * left, br + s * right, br + t * right, bl + t * left], color)

    def glow(self, x: float, y: float, radius: float, color: Color) -> None:
        """A lamp, which shines only at night."""
        px, py = np.array([x, y]) @ self.matrix + self.origin
        self.glows.append((float(px), float(py), radius * self.scale, color))


def bounds(
    polygons: list[np.ndarray], width: int, height: int, margin: int = 1
) -> tuple[int, int, int, int] | None:
    """Bounding box (left, top, right, bottom) inside the image, or None if it is outside."""
    points = np.concatenate(polygons)
    low, high = np.floor(points.min(0)) - margin, np.ceil(points.max(0)) + margin
    left, top = int(max(low[0], 0)), int(max(low[1], 0))
    right, bottom = int(min(high[0], width)), int(min(high[1], height))
    return (left, top, right, bottom) if left < right and top < bottom else None


def rasterise(shapes: list[tuple[np.ndarray, Color]], box: tuple[int, int, int, int]) -> np.ndarray:
    """Draws the shapes in order, the last on top.

    Returns:
      float32 `[4, h, w]`: color times alpha in 0..255, and alpha in [0, 1]. Channels come first
      because NumPy is several times faster that way.
    """
    left, top, right, bottom = box
    size = max(right - left, bottom - top)
    factor = 4 if size < 48 else 3 if size < 100 else 2
    # Premultiplied colors need plain averages of four channels; Pillow would convert RGBA.
    layer = Image.new('CMYK', ((right - left) * factor, (bottom - top) * factor))
    draw = ImageDraw.Draw(layer)
    for points, color in shapes:
        alpha = color[3] if len(color) == 4 else 255
        color = *(c * alpha // 255 for c in color[:3]), alpha
        draw.polygon(((points - (left, top)) * factor - 0.5).ravel().tolist(), color)
    patch = np.asarray(layer.reduce(factor)).transpose(2, 0, 1).astype(np.float32, order='C')
    patch[3] /= 255
    return patch


def cover(polygons: list[np.ndarray], box: tuple[int, int, int, int], blur: float) -> np.ndarray:
    """Coverage of a box by the polygons, with soft edges: float32 `[h, w]` in [0, 1]."""
    left, top, right, bottom = box
    layer = Image.new('L', (right - left, bottom - top))
    draw = ImageDraw.Draw(layer)
    for points in polygons:
        draw.polygon((points - (left, top)).ravel().tolist(), 255)
    return np.asarray(layer.filter(ImageFilter.BoxBlur(blur))).astype(np.float32) / 255


def lay_down(
    shapes: list[tuple[np.ndarray, Color]], ground: float, slant: float, length: float
) -> list[np.ndarray]:
    """The shadows of shapes that meet the ground at row `ground`."""
    matrix = np.array([[1, 0], [-slant, -length]])
    shift = np.array([slant * ground, (1 + length) * ground])
    return [points @ matrix + shift for points, _ in shapes]


def shade(patch: np.ndarray, rng: np.random.Generator, side: float, roughness: float) -> None:
    """Adds volume (light from above and one side) and grain to a patch `[4, h, w]`, in place."""
    _, h, w = patch.shape
    reach = int(np.clip(0.07 * min(h, w), 1, 9))
    # Blurred coverage rises towards the middle of the object. Its slope approximates the surface
    # normal.
    soft = Image.fromarray((patch[3] * 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(reach))
    padded = np.pad(np.asarray(soft).astype(np.float32), reach, mode='edge')
    dx = round(reach * side)
    light = padded[2 * reach :, reach + dx :][:, :w] - padded[:h, reach - dx :][:, :w]
    light *= 0.3 / 255
    light += np.linspace(1.07, 0.9, h, dtype=np.float32)[:, None]
    light += roughness * crop(grain_tile(), h, w, rng)
    light += 0.09 * crop(soft_tile(), h, w, rng)
    patch[:3] *= light
    np.minimum(patch[:3], 255 * patch[3], out=patch[:3])
