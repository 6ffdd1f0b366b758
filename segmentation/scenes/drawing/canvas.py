"""The canvas for backgrounds, with its camera.

The camera is a horizontal pinhole at height `eye` meters, with the horizon at row `horizon` and the
focal length `focal` in pixels. A point on the ground, X meters to the right and Z meters away, has
the column width / 2 + focal * X / Z and the row horizon + focal * eye / Z.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from segmentation.scenes.description import Scene
from segmentation.scenes.drawing.palette import Color, crop, grain_tile, rough, soft_tile, some
from segmentation.scenes.drawing.pen import bounds


class Backdrop:
    """An image under construction, float32 `[H, W, 3]` in 0..255, with its camera."""

    def __init__(self, scene: Scene):
        self.width, self.height = scene.width, scene.height
        self.horizon, self.focal, self.eye = scene.horizon, scene.focal, scene.eye
        self.rng = np.random.default_rng([scene.seed, 2])
        self.dim = scene.light.brightness
        self.sunny = scene.light.slant != 0
        self.pixels = np.zeros((self.height, self.width, 3), np.float32)

    def row(self, z: float) -> float:
        """Image row of the ground `z` meters away."""
        return self.horizon + self.focal * self.eye / z

    def project(self, x: float, z: float, y: float = 0.0) -> tuple[float, float]:
        """Column and row of a point, `y` meters above the ground."""
        s = self.focal / z
        return self.width / 2 + x * s, self.horizon + (self.eye - y) * s

    def polygon(self, points: ArrayLike, color: Color) -> None:
        """Fills an anti-aliased polygon given in pixels."""
        self.fill([np.asarray(points, float)], color)

    def quad(self, places: Sequence[tuple[float, float, float]], x: float) -> np.ndarray:
        """A polygon in pixels, from points (x, z, y) in meters that are shifted right by `x`."""
        return np.array([self.project(x + dx, z, y) for dx, z, y in places])

    def strip(self, top: float, bottom: float, color: Color) -> None:
        """A horizontal band across the image, between two rows."""
        w = self.width
        self.polygon([(-9, top), (w + 9, top), (w + 9, bottom), (-9, bottom)], color)

    def fill(self, polygons: list[np.ndarray], color: Color) -> None:
        """Fills antialiased polygons given in pixels."""
        box = bounds(polygons, self.width, self.height) if polygons else None
        if box is None:
            return
        left, top, right, bottom = box
        layer = Image.new('L', (2 * (right - left), 2 * (bottom - top)))
        draw = ImageDraw.Draw(layer)
        for points in polygons:
            points = np.clip((points - (left, top)) * 2 - 0.5, -20000, 20000)
            draw.polygon(points.ravel().tolist(), 255)
        cover = np.asarray(layer.reduce(2)).astype(np.float32) / 255
        part = self.pixels[top:bottom, left:right]
        for channel, value in enumerate(color):
            part[..., channel] += cover * (np.float32(value) - part[..., channel])

    def on_ground(
        self, rectangles: Sequence[tuple[float, float, float, float]], color: Color
    ) -> None:
        """Fills rectangles on the ground, (x0, z0, x1, z1) in meters."""
        near = 0.8 * self.focal * self.eye / max(self.height - self.horizon, 1)
        polygons = []
        for x0, z0, x1, z1 in rectangles:
            z0, z1 = max(z0, near), max(z1, near)
            if z0 < z1:
                corners = ((x0, z0), (x1, z0), (x1, z1), (x0, z1))
                polygons.append(np.array([self.project(*corner) for corner in corners]))
        self.fill(polygons, color)

    def across(self, strips: Sequence[tuple[float, float]], color: Color) -> None:
        """Fills strips of ground across the whole view, (z0, z1) in meters."""
        self.on_ground([(-400, z0, 400, z1) for z0, z1 in strips], color)

    def grid(self, wide: float, far: float, step: float, width: float, color: Color) -> None:
        """Joints of paving, up to `far` meters away and `wide` meters to both sides."""
        self.on_ground([(x, 0.3, x + width, far) for x in np.arange(-wide, wide, step)], color)
        self.across([(z, z + width) for z in np.arange(0.7, far, step)], color)

    def sky(self, overcast: bool | None = None) -> None:
        overcast = not self.sunny if overcast is None else overcast
        rng, bottom = self.rng, min(int(self.horizon) + 2, self.height)
        if bottom < 1:
            return
        blues = ((70, 130, 205), (96, 152, 216), (60, 110, 180), (120, 150, 200))
        top = some(rng, ((176, 186, 198), (196, 200, 206)) if overcast else blues, 10)
        low = some(rng, ((214, 218, 222),) if overcast else ((196, 218, 236), (232, 214, 196)), 8)
        t = np.linspace(0, 1, bottom, dtype=np.float32)[:, None, None]
        self.pixels[:bottom] = np.asarray(top) * (1 - t) + np.asarray(low) * t
        cloud = 1.3 * crop(soft_tile(), 2 * bottom, self.width, rng)[::2] - rng.uniform(-0.2, 0.7)
        cloud = 0.75 * np.clip(cloud, 0, 1)[..., None]
        white = np.float32(205 if overcast else 246)
        self.pixels[:bottom] += cloud * (white - self.pixels[:bottom])

    def ground(
        self, color: Color, grain: float = 0.0, blotches: float = 0.0, density: float = 60.0
    ) -> None:
        """Fills everything below the horizon."""
        self.pixels[max(int(self.horizon), 0) :] = color
        self.texture(grain, blotches, density)

    def texture(self, grain: float, blotches: float, density: float, far: float = math.inf) -> None:
        """Adds texture to the ground up to `far` meters away; it gets finer with the distance."""
        top, bottom = max(int(self.row(far)), 0), self.height
        rows = np.arange(top, bottom, dtype=np.float32)
        if not len(rows) or not (grain or blotches):
            return
        z = self.focal * self.eye / np.maximum(rows - self.horizon + 0.5, 1.0)
        x = (np.arange(self.width, dtype=np.float32) - self.width / 2)[None] * (z / self.focal)[
            :, None
        ]
        oy, ox = self.rng.integers(0, 1024, 2)

        def look_up(tile: np.ndarray, per_metre: float) -> np.ndarray:
            down = (z * per_metre).astype(np.int32) + oy
            across = (x * per_metre).astype(np.int32) + ox
            return tile.ravel().take((down % 1024 * 1024)[:, None] + across % 1024)

        fade = np.clip(14 / z, 0.25, 1)[:, None]
        factor = 1 + fade * (
            grain * look_up(grain_tile(), density) + blotches * look_up(soft_tile(), 22)
        )
        for channel in range(3):
            self.pixels[top:bottom, :, channel] *= factor

    def paste(self, picture: np.ndarray, corners: Sequence[tuple[float, float]]) -> None:
        """Maps a picture, uint8 `[h, w, 3]`, onto four corners, clockwise from the top left."""
        h, w = picture.shape[:2]
        left = int(np.clip(min(p[0] for p in corners), 0, self.width))
        right = int(np.clip(math.ceil(max(p[0] for p in corners)), 0, self.width))
        if right - left < 1:
            return
        system, target = [], []
        for (x, y), (u, v) in zip(corners, ((0, 0), (w, 0), (w, h), (0, h)), strict=True):
            x -= left
            system += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
            target += [u, v]
        coefficients = np.linalg.solve(np.array(system), np.array(target)).tolist()
        image = Image.fromarray(picture).convert('RGBA')
        transformed = image.transform(
            (right - left, self.height),
            Image.Transform.PERSPECTIVE,
            coefficients,
            Image.Resampling.BILINEAR,
        )
        warped = np.asarray(transformed).astype(np.float32)
        cover = warped[..., 3:] / 255
        self.pixels[:, left:right] += cover * (warped[..., :3] - self.pixels[:, left:right])

    def hills(self, low: float, high: float, color: Color, base: float | None = None) -> None:
        """A skyline of blotchy hills or woods between two heights in pixels over the horizon."""
        line = crop(soft_tile(), 1, self.width, self.rng)[0]
        base = self.horizon if base is None else base
        edge = base - low - (high - low) * (0.5 + 0.5 * np.clip(line, -1, 1))
        top, bottom = max(int(edge.min()), 0), min(int(base) + 2, self.height)
        if top >= bottom:
            return
        rows = np.arange(top, bottom)[:, None]
        cover = np.clip(rows - edge[None], 0, 1)[..., None]
        shape = (bottom - top, self.width)
        fill = np.asarray(color, np.float32) * rough(shape, 0.16, 0.12, self.rng)
        self.pixels[top:bottom] += cover * (fill - self.pixels[top:bottom])
