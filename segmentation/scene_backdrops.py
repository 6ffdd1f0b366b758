"""Painted backgrounds of the drawn scenes: sky, ground in perspective, facades, rooms.

Every background fits one camera: a horizontal pinhole at height `eye` metres whose horizon lies at
row `horizon`, with `focal` in pixels. A point on the ground X metres to the right and Z metres away
falls on column width / 2 + focal * X / Z and row horizon + focal * eye / Z.

Nothing painted here is annotated, so it shows nothing of a COCO category that could be recognised:
binders on shelves, a stand full of coloured dots.
"""

import math

import numpy as np
from PIL import Image, ImageDraw

from segmentation.scene_art import GRAIN, SOFT, Colour, bounds, crop, pick, some, tone, vary

BRICKS = ((150, 78, 60), (170, 110, 84), (124, 62, 54), (188, 160, 130))
PLASTER = ((214, 200, 172), (196, 188, 180), (222, 206, 190), (168, 178, 186), (206, 170, 140),
           (232, 226, 214), (150, 160, 140), (190, 120, 100))
GREENS = ((88, 128, 58), (110, 140, 70), (74, 112, 60), (128, 140, 76))


class Backdrop:
    """An image under construction, float32 [H, W, 3] in 0..255, with its camera."""

    def __init__(self, scene):
        self.width, self.height = scene.width, scene.height
        self.horizon, self.focal, self.eye = scene.horizon, scene.focal, scene.eye
        self.rng = np.random.default_rng([scene.seed, 2])
        self.dim = scene.light.brightness
        self.sunny = scene.light.slant != 0
        self.pixels = np.zeros((self.height, self.width, 3), np.float32)
        self.pan = self.width / 2

    def row(self, z: float) -> float:
        """Image row of the ground `z` metres away."""
        return self.horizon + self.focal * self.eye / z

    def project(self, x: float, z: float, y: float = 0.0) -> tuple[float, float]:
        s = self.focal / z
        return self.pan + x * s, self.horizon + (self.eye - y) * s

    def polygon(self, points, colour: Colour) -> None:
        """Fills an anti-aliased polygon given in pixels."""
        self.fill([np.asarray(points, float)], colour)

    def strip(self, top: float, bottom: float, colour: Colour) -> None:
        """A horizontal band across the picture, between two rows."""
        w = self.width
        self.polygon([(-9, top), (w + 9, top), (w + 9, bottom), (-9, bottom)], colour)

    def fill(self, polygons: list[np.ndarray], colour: Colour) -> None:
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
        for channel, value in enumerate(colour):
            part[..., channel] += cover * (np.float32(value) - part[..., channel])

    def on_ground(self, rectangles, colour: Colour) -> None:
        """Fills rectangles on the ground, (x0, z0, x1, z1) in metres, all in one colour."""
        near = 0.8 * self.focal * self.eye / max(self.height - self.horizon, 1)
        polygons = []
        for x0, z0, x1, z1 in rectangles:
            z0, z1 = max(z0, near), max(z1, near)
            if z0 < z1:
                polygons.append(np.array([self.project(x0, z0), self.project(x1, z0),
                                          self.project(x1, z1), self.project(x0, z1)]))
        self.fill(polygons, colour)

    def grid(self, wide: float, far: float, step: float, width: float, colour: Colour) -> None:
        """Joints of paving up to `far` metres away and `wide` metres to both sides."""
        self.on_ground([(x, 0.3, x + width, far) for x in np.arange(-wide, wide, step)], colour)
        self.on_ground([(-400, z, 400, z + width) for z in np.arange(0.7, far, step)], colour)

    def sky(self, overcast: bool) -> None:
        rng, bottom = self.rng, min(int(self.horizon) + 2, self.height)
        if bottom < 1:
            return
        blues = ((70, 130, 205), (96, 152, 216), (60, 110, 180), (120, 150, 200))
        top = some(rng, ((176, 186, 198), (196, 200, 206)) if overcast else blues, 10)
        low = some(rng, ((214, 218, 222),) if overcast else ((196, 218, 236), (232, 214, 196)), 8)
        t = np.linspace(0, 1, bottom, dtype=np.float32)[:, None, None]
        self.pixels[:bottom] = np.asarray(top) * (1 - t) + np.asarray(low) * t
        cloud = 1.3 * crop(SOFT, 2 * bottom, self.width, rng)[::2] - float(rng.uniform(-0.2, 0.7))
        cloud = 0.75 * np.clip(cloud, 0, 1)[..., None]
        self.pixels[:bottom] += cloud * (np.float32(205 if overcast else 246)
                                         - self.pixels[:bottom])

    def ground(self, colour: Colour, grain: float, blotches: float, density: float = 60.0) -> None:
        """Fills everything below the horizon with ground whose texture gets finer far away."""
        top = max(int(self.horizon), 0)
        self.pixels[top:] = colour
        self.texture(top, self.height, grain, blotches, density)

    def texture(self, top: int, bottom: int, grain: float, blotches: float,
                density: float = 60.0) -> None:
        rows = np.arange(top, bottom, dtype=np.float32)
        if not len(rows) or not (grain or blotches):
            return
        z = self.focal * self.eye / np.maximum(rows - self.horizon + 0.5, 1.0)
        x = (np.arange(self.width, dtype=np.float32) - self.pan)[None] * (z / self.focal)[:, None]
        oy, ox = self.rng.integers(0, 1024, 2)

        def look_up(tile: np.ndarray, per_metre: float) -> np.ndarray:
            down = (z * per_metre).astype(np.int32) + oy
            across = (x * per_metre).astype(np.int32) + ox
            return tile.ravel().take((down % 1024 * 1024)[:, None] + across % 1024)

        fade = np.clip(14 / z, 0.25, 1)[:, None]
        factor = 1 + fade * (grain * look_up(GRAIN, density) + blotches * look_up(SOFT, 22))
        for channel in range(3):
            self.pixels[top:bottom, :, channel] *= factor

    def paste(self, picture: np.ndarray, corners) -> None:
        """Maps a picture uint8 [h, w, 3] onto four corners, clockwise from the top left."""
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
        warped = image.transform((right - left, self.height), Image.Transform.PERSPECTIVE,
                                 coefficients, Image.Resampling.BILINEAR)
        warped = np.asarray(warped).astype(np.float32)
        cover = warped[..., 3:] / 255
        self.pixels[:, left:right] += cover * (warped[..., :3] - self.pixels[:, left:right])

    def hills(self, low: float, high: float, colour: Colour, base: float | None = None) -> None:
        """A skyline of blotchy hills or woods between two heights in pixels over the horizon."""
        line = crop(SOFT, 1, self.width, self.rng)[0]
        base = self.horizon if base is None else base
        edge = base - low - (high - low) * (0.5 + 0.5 * np.clip(line, -1, 1))
        top, bottom = max(int(edge.min()), 0), min(int(base) + 2, self.height)
        if top >= bottom:
            return
        rows = np.arange(top, bottom)[:, None]
        cover = np.clip(rows - edge[None], 0, 1)[..., None]
        shape = (bottom - top, self.width)
        fill = np.asarray(colour, np.float32) * rough(shape, 0.16, 0.12, self.rng)
        self.pixels[top:bottom] += cover * (fill - self.pixels[top:bottom])


def rough(shape: tuple[int, int], soft: float, grain: float, rng) -> np.ndarray:
    """Factors [h, w, 1] around one: blotches and grain."""
    return (1 + soft * crop(SOFT, *shape, rng) + grain * crop(GRAIN, *shape, rng))[..., None]


def _bricks(h: int, w: int, colour: Colour, rng, course: int) -> np.ndarray:
    courses = -(-h // course)
    shift = (np.arange(courses) % 2 * course)[:, None]
    x = np.arange(w)[None] + shift
    rows = 0.16 * GRAIN[np.arange(courses)[:, None], x // (2 * course) * 7 % 1024]
    # Joints are marked by a brightness no brick has.
    rows[x % (2 * course) == 0] = 9
    each = np.repeat(rows, course, 0)[:h]
    each[::course] = 9
    joint = each == 9
    each += 0.06 * crop(GRAIN, h, w, rng) + 1
    wall = np.asarray(colour, np.float32) * each[..., None]
    wall[joint] = 0.4 * np.asarray(colour) + 110
    return wall


def facade(rng: np.random.Generator, w: int, h: int, metre: float, dim: float) -> np.ndarray:
    """The flat front of one house, uint8 [h, w, 3], `metre` pixels to the metre."""
    brick = rng.random() < 0.5
    colour = some(rng, BRICKS if brick else PLASTER, 12)
    if brick:
        wall = _bricks(h, w, colour, rng, max(3, int(metre * 0.24)))
    else:
        wall = np.asarray(colour, np.float32) * rough((h, w), 0.07, 0.03, rng)
    wall *= np.linspace(1.04, 0.86, h, dtype=np.float32)[:, None, None]
    storey, pitch = metre * float(rng.uniform(3.0, 3.6)), metre * float(rng.uniform(1.9, 3.0))
    win_w, win_h = pitch * float(rng.uniform(0.4, 0.62)), storey * float(rng.uniform(0.45, 0.62))
    trim = np.asarray(tone(pick(rng, ((235, 232, 225), (70, 60, 55), colour)), 1.05), np.float32)
    panes = ((60, 74, 92), (92, 110, 128), (44, 52, 62))
    e = max(1, round(metre * 0.09))
    shop = h - storey
    y = shop - storey * 0.85
    fade = np.linspace(1.25, 0.8, int(win_h) + 2, dtype=np.float32)[:, None, None]
    while y > -win_h:
        for x in np.arange((w % pitch) / 2 + (pitch - win_w) / 2, w - win_w / 2, pitch):
            t, b, le, r = max(int(y), 0), max(int(y + win_h), 0), int(x), int(x + win_w)
            wall[max(t - e, 0):b + e, max(le - e, 0):r + e] = trim
            lit = dim < 0.6 and rng.random() < 0.45
            glass = (255, 240, 190) if lit else some(rng, panes, 14)
            part = wall[t:b, le:r]
            part[:] = np.asarray(glass, np.float32) * fade[:len(part)]
            if rng.random() < 0.35:
                part[:len(part) // 2] = part[:len(part) // 2] * 0.4 + np.float32(130)
            if r - le > 6:
                wall[t:b, (le + r) // 2:(le + r) // 2 + max(1, e // 2)] = trim
        wall[max(int(y + win_h) + e, 0):max(int(y + win_h) + 2 * e, 0)] *= 0.86
        y -= storey
    if rng.random() < 0.65:
        _shop(wall, rng, max(int(shop), 0), metre, dim)
    else:
        for x in np.arange(pitch * 0.3, w - pitch * 0.5, pitch * 1.4):
            door = rng.random() < 0.4
            t, b = int(shop + storey * 0.25), h if door else int(h - metre * 0.9)
            colour = some(rng, ((80, 50, 40), (40, 60, 60)), 12) if door else (58, 70, 84)
            wall[max(t - e, 0):b + (0 if door else e), int(x):int(x + win_w) + e] = trim
            wall[max(t, 0):b, int(x) + e:int(x + win_w)] = colour
    return np.clip(wall, 0, 255).astype(np.uint8)


def _shop(wall: np.ndarray, rng, top: int, metre: float, dim: float) -> None:
    h, w = wall.shape[:2]
    signs = ((160, 40, 40), (30, 70, 60), (40, 50, 90), (60, 50, 45), (190, 150, 60))
    sign = some(rng, signs, 14)
    wall[top:] *= 0.7
    band = int(metre * 0.7)
    wall[top:top + band] = sign
    x = int(metre * 0.6)
    while x < w - metre:  # unreadable lettering
        step = max(2, int(metre * float(rng.uniform(0.15, 0.4))))
        if rng.random() < 0.6:
            wall[top + band // 4:top + band * 3 // 4, x:x + step - 1] = (236, 230, 214)
        x += step
    for x in np.arange(metre * 0.3, w - metre, metre * 2.6):
        pane = wall[top + band + 2:h - int(metre * 0.4), int(x):int(x + metre * 2.2)]
        if pane.size:
            base = np.asarray((240, 205, 140) if dim < 0.6 else (84, 92, 100), np.float32)
            pane[:] = base * (1 + 0.35 * crop(SOFT, *pane.shape[:2], rng))[..., None]
    if rng.random() < 0.5:
        stripes = (np.arange(w) // max(2, int(metre * 0.35)) % 2)[None, :, None]
        awning = 0.92 * np.where(stripes, sign, (232, 228, 218))
        wall[top + band:top + band + int(metre * 0.8)] = awning


def _row_of_houses(b: Backdrop, z: float, height: float) -> None:
    """Facades facing the camera, their feet on the ground z metres away."""
    metre = b.focal / z
    foot = int(min(b.row(z), b.height))
    x = -int(b.rng.integers(0, 60))
    while x < b.width and foot > 1:
        w = int(metre * b.rng.uniform(7, 14)) + 8
        h = int(min(metre * height * b.rng.uniform(0.8, 1.3), b.row(z) + 40))
        wall = facade(b.rng, w, max(h, 4), metre, b.dim)
        cut = max(h - foot, 0)
        le, r = max(x, 0), min(x + w, b.width)
        if r > le:
            part = wall[cut:, le - x:r - x]
            b.pixels[foot - len(part):foot, le:r] = part
            b.pixels[foot - len(part):foot, r - 1:r] *= 0.6
        x += w


def street(b: Backdrop) -> None:
    """Along a road between houses or trees."""
    rng = b.rng
    b.sky(not b.sunny)
    leafy = rng.random() < 0.25
    b.hills(4, 26, (112, 124, 122) if not leafy else (84, 106, 70))
    b.ground(vary(rng, (158, 154, 148), 12), 0.0, 0.0)
    road = 4.2
    if leafy:
        for s in (-1, 1):
            b.on_ground([(s * road, 0.5, s * 60, 300)], some(rng, GREENS, 10))
    far, near = 70.0, 1.6
    for s in (-1, 1):
        if leafy and rng.random() < 0.75:
            continue
        z, edge = near, float(rng.uniform(7.2, 9.5))
        while z < far:
            length = float(rng.uniform(11, 20)) * (1 if z > 4 else 0.7)
            high = float(rng.uniform(8, 17))
            metre = 14.0 if z < 16 else 8.0 if z < 30 else 5.0
            wall = facade(rng, int(length * metre), int(high * metre), metre, b.dim)
            corners = [b.project(s * edge, z, high), b.project(s * edge, z + length, high),
                       b.project(s * edge, z + length), b.project(s * edge, z)]
            shade = np.float32(0.82 if s > 0 else 1.0)
            b.paste((wall * shade).astype(np.uint8), corners)
            z += length
    tarmac = some(rng, ((92, 93, 97), (112, 110, 108), (78, 80, 86)), 8)
    b.on_ground([(-road - 0.2, 0.5, road + 0.2, 400)], (186, 182, 176))
    b.on_ground([(-road, 0.5, road, 400)], tarmac)
    white = (226, 226, 220)
    b.on_ground([(-0.08, z, 0.08, z + 2.4) for z in np.arange(1.0, 60, 5.0)], white)
    if rng.random() < 0.5:
        b.on_ground([(s * (road - 0.3), 0.5, s * (road - 0.42), 200) for s in (-1, 1)], white)
    if rng.random() < 0.4:
        z = float(rng.uniform(5, 12))
        b.on_ground([(x, z, x + 0.5, z + 2.6) for x in np.arange(-road + 0.3, road - 0.4, 1.0)],
                    white)
    b.texture(max(int(b.horizon), 0), b.height, 0.1, 0.07, 40)


def roadside(b: Backdrop) -> None:
    """Across a road, houses or a park behind it."""
    rng = b.rng
    b.sky(not b.sunny)
    park = rng.random() < 0.35
    if park:
        b.ground(some(rng, GREENS, 10), 0.2, 0.14)
    else:
        b.ground(vary(rng, (160, 156, 150), 10), 0.0, 0.0)
    if park:
        b.hills(18, 60, (92, 116, 84))
        b.hills(4, 34, vary(rng, (70, 98, 56), 10))
    else:
        _row_of_houses(b, 19.0, float(rng.uniform(8, 15)))
    wide = 400
    b.on_ground([(-wide, 14.6, wide, 17.6)], vary(rng, (172, 168, 160), 8))
    b.on_ground([(-wide, 14.3, wide, 14.6)], (204, 200, 192))
    b.on_ground([(-wide, 6.4, wide, 14.3)],
                some(rng, ((92, 93, 97), (110, 108, 106), (76, 78, 84)), 8))
    b.on_ground([(x, 10.25, x + 2.4, 10.4) for x in np.arange(-60, 60, 5.0)], (226, 226, 220))
    b.on_ground([(-wide, 6.1, wide, 6.4)], (206, 202, 194))
    b.on_ground([(-wide, 0.3, wide, 6.1)], vary(rng, (164, 158, 150), 12))
    if rng.random() < 0.6:
        b.grid(12, 6.1, 1.2, 0.035, (128, 124, 118))
    b.texture(max(int(b.row(19.0)), 0), b.height, 0.1, 0.08, 40)


def country(b: Backdrop) -> None:
    """A road or railway across fields."""
    rng = b.rng
    b.sky(not b.sunny)
    b.hills(10, 60, (126, 142, 150))
    b.hills(3, 26, vary(rng, (82, 108, 72), 10))
    b.ground(some(rng, GREENS + ((186, 168, 96), (160, 150, 90)), 10), 0.3, 0.22, 45)
    b.on_ground([(-300, 30, 300, 60)], vary(rng, (196, 176, 100), 14))
    b.on_ground([(-400, 7.2, 400, 13.4)], vary(rng, (104, 103, 104), 8))
    b.on_ground([(-400, 7.5, 400, 7.65)], (226, 226, 220))
    b.on_ground([(x, 10.2, x + 2.6, 10.35) for x in np.arange(-60, 60, 6.0)], (226, 226, 220))
    b.on_ground([(-400, 17.6, 400, 20.6)], (134, 124, 112))
    b.on_ground([(-400, z, 400, z + 0.16) for z in (18.3, 19.7)], (96, 84, 78))
    b.texture(max(int(b.horizon), 0), b.height, 0.12, 0.06, 40)


def platform(b: Backdrop) -> None:
    """A station; the track runs across the view, behind the platform edge."""
    rng = b.rng
    b.sky(not b.sunny)
    indoor = rng.random() < 0.4
    if indoor:
        b.pixels[:] = vary(rng, (120, 118, 116), 14)
    b.ground(vary(rng, (150, 146, 142), 10), 0.0, 0.0)
    _row_of_houses(b, 24.0, 5.0 if not indoor else 30.0)
    b.on_ground([(-400, 9.2, 400, 24.0)], (92, 84, 78))
    b.on_ground([(-400, 0.3, 400, 9.2)], vary(rng, (168, 164, 160), 14))
    b.grid(16, 9.2, 1.0, 0.03, (132, 128, 124))
    b.on_ground([(-400, 8.0, 400, 8.35)], (232, 196, 60))
    b.on_ground([(-400, 9.0, 400, 9.2)], (206, 204, 200))
    b.texture(max(int(b.row(24.0)), 0), b.height, 0.09, 0.07, 40)
    roof = int(b.horizon - b.focal * 3.6 / 9)
    if roof > 4:
        fade = np.linspace(0.6, 1.05, roof, dtype=np.float32)[:, None, None]
        b.pixels[:roof] = np.asarray(vary(rng, (96, 98, 104), 16)) * fade
        beams = [np.array([b.project(x, 9, 5.2), b.project(x + 0.2, 9, 5.2),
                           b.project(x + 0.1, 2.2, 5.2), b.project(x - 0.1, 2.2, 5.2)])
                 for x in np.arange(-14, 15, 2.0)]
        b.fill(beams, (70, 72, 78))


def court(b: Backdrop) -> None:
    """A tennis court with a fence, trees or a stand behind."""
    rng = b.rng
    b.sky(not b.sunny)
    surface, apron = pick(rng, (
        ((58, 96, 150), (70, 120, 82)), ((186, 104, 66), (176, 98, 62)),
        ((80, 128, 84), (150, 82, 62)), ((104, 130, 62), (96, 122, 58))))
    b.ground(vary(rng, apron, 8), 0.0, 0.0)
    b.on_ground([(-5.6, 2.0, 5.6, 20)], vary(rng, surface, 8))
    white = (236, 236, 232)
    b.on_ground([(x - 0.04, 2.0 if x else 8, x + 0.04, 20) for x in (-5.5, -4.1, 0, 4.1, 5.5)]
                + [(-5.5, z, 5.5, z + 0.12) for z in (4.2, 8.0, 19.8)], white)
    z = 24.0
    _backing(b, z, 3.4)
    net = [b.project(-6, 12), b.project(6, 12), b.project(6, 12, 0.95), b.project(-6, 12, 0.95)]
    left, top, right, bottom = (int(v) for v in (net[0][0], net[2][1], net[1][0], net[0][1]))
    part = b.pixels[max(top, 0):max(bottom, 0), max(left, 0):max(right, 0)]
    part[::2] *= 0.72
    part[:, ::2] *= 0.8
    b.polygon([net[3], net[2], (net[2][0], net[2][1] + 2), (net[3][0], net[3][1] + 2)],
              (236, 236, 232))
    b.texture(max(int(b.row(z)), 0), b.height, 0.06, 0.05, 60)


def _backing(b: Backdrop, z: float, high: float) -> None:
    """What lies behind a sports ground: a board and trees, or a stand full of blurry spectators."""
    rng = b.rng
    foot, metre = min(b.row(z), b.height), b.focal / z
    if rng.random() < 0.5:
        b.hills(0.5 * high * metre, 2.4 * high * metre, vary(rng, (64, 92, 54), 8), foot)
        board = some(rng, ((30, 70, 50), (32, 54, 96), (60, 60, 64)), 8)
    else:
        top, bottom = max(int(foot - 3 * high * metre), 0), int(foot)
        shape = (max(bottom - top, 1), b.width)
        cells = (shape[0] // 3 + 1, shape[1] // 3 + 1)
        dots = 0.35 * rng.integers(20, 200, (*cells, 3)) + 0.65 * rng.integers(20, 180, (*cells, 1))
        dots = np.repeat(np.repeat(dots, 3, 0), 3, 1)[:shape[0], :shape[1]]
        b.pixels[top:bottom] = dots[:bottom - top]
        b.pixels[top:bottom][::max(int(metre * 0.8), 4)] *= 0.6
        board = some(rng, ((40, 60, 120), (150, 40, 46), (36, 90, 60)), 10)
    b.strip(foot - 0.4 * high * metre, foot, board)
    for x in np.arange(-14, 14, 4.0):
        p, q = b.project(x, z, 0.25 * high), b.project(x + 2.2, z, 0.13 * high)
        b.polygon([p, (q[0], p[1]), q, (p[0], q[1])], tone(board, 1.9))


def field(b: Backdrop) -> None:
    """A playing field with mown stripes."""
    rng = b.rng
    b.sky(not b.sunny)
    grass = some(rng, ((86, 140, 60), (100, 148, 66), (74, 124, 62)), 8)
    b.ground(grass, 0.0, 0.0)
    b.on_ground([(-400, z, 400, z + 3.2) for z in np.arange(4.2, 31, 6.4)], tone(grass, 1.12))
    b.on_ground([(-400, z, 400, z + 0.14) for z in (4.5, 22.0)], (232, 234, 228))
    if rng.random() < 0.5:
        b.on_ground([(-9, 7, 7, 11)], vary(rng, (176, 132, 92), 10))
    _backing(b, 32.0, 3.6)
    b.texture(max(int(b.row(32.0)), 0), b.height, 0.34, 0.16, 50)


def beach(b: Backdrop) -> None:
    rng = b.rng
    b.sky(not b.sunny)
    b.ground(vary(rng, (60, 120, 150), 16), 0.0, 0.0)
    shore = 14.0
    b.on_ground([(-400, shore, 400, 400)],
                some(rng, ((48, 110, 150), (70, 140, 150), (60, 96, 124)), 8))
    waves = []
    for z in rng.uniform(15, 60, 16):
        x = float(rng.uniform(-1, 1)) * z
        waves.append((x, z, x + float(rng.uniform(3, 14)),
                      z * (1 + float(rng.uniform(0.015, 0.06)))))
    b.on_ground(waves, (222, 234, 238))
    b.on_ground([(-400, 0.3, 400, shore)], vary(rng, (218, 196, 150), 8))
    b.on_ground([(-400, shore - 1.5, 400, shore)], (186, 164, 126))
    edge = crop(SOFT, 1, b.width, rng)[0]
    y = b.row(shore) + 2.5 * edge
    for x in range(b.width):
        t = int(np.clip(y[x], 1, b.height - 3))
        b.pixels[t - 1:t + 2, x] = (240, 244, 244)
    b.texture(max(int(b.horizon), 0), b.height, 0.16, 0.1, 40)


def snow(b: Backdrop) -> None:
    rng = b.rng
    b.sky(rng.random() < 0.4)
    b.hills(20, 95, (172, 186, 206))
    b.hills(6, 30, vary(rng, (66, 88, 84), 8))
    b.ground(vary(rng, (232, 238, 246), 5), 0.03, 0.07, 30)
    for _ in range(7):
        x = float(rng.uniform(-6, 6))
        bend = float(rng.uniform(-6, 6))
        b.polygon([b.project(x, 2.0), b.project(x + 0.16, 2.0), b.project(x + bend + 0.16, 30),
                   b.project(x + bend, 30)], (206, 216, 232))
    b.texture(max(int(b.horizon), 0), b.height, 0.03, 0.05, 14)


def _room(b: Backdrop, wall: Colour, floor: Colour, z: float) -> None:
    rng = b.rng
    foot = min(b.row(z), b.height)
    b.pixels[:] = wall
    shape = (b.height, b.width)
    b.pixels *= rough(shape, 0.05, 0.03, rng)
    if rng.random() < 0.3:
        pitch = int(rng.integers(8, 22))
        b.pixels[:, np.arange(b.width) % pitch < pitch // 2] *= 0.93
    b.pixels[int(foot):] = floor
    plank = rng.random() < 0.65
    if plank:
        for i, x in enumerate(np.arange(-9, 9, 0.5)):
            b.on_ground([(x, 0.3, x + 0.48, z)], tone(floor, 0.9 + 0.18 * ((i * 5) % 7) / 7))
    else:
        tiles = [(x, y, x + 0.9, min(y + 0.9, z)) for i, x in enumerate(np.arange(-9, 9, 0.9))
                 for k, y in enumerate(np.arange(0.6, z, 0.9)) if (i + k) % 2]
        b.on_ground(tiles, tone(floor, 0.85))
    metre = b.focal / z
    b.strip(foot - 0.12 * metre, foot, (236, 234, 228))
    if rng.random() < 0.55:  # a rug
        c = some(rng, ((150, 50, 50), (60, 80, 120), (190, 170, 130), (70, 100, 80)), 14)
        x = float(rng.uniform(-1.5, 1))
        b.on_ground([(x - 1.4, 2.2, x + 1.6, z - 0.6)], c)
        b.on_ground([(x - 1.2, 2.4, x + 1.4, z - 0.75)], tone(c, 1.2))
    b.texture(int(foot), b.height, 0.06, 0.06, 60)


def _on_wall(b: Backdrop, z: float, x: float, low: float, w: float, h: float, draw) -> None:
    (left, bottom), (right, top) = b.project(x, z, low), b.project(x + w, z, low + h)
    left, top, right, bottom = (round(v) for v in (left, top, right, bottom))
    box = b.pixels[max(top, 0):max(bottom, 0), max(left, 0):max(right, 0)]
    if min(box.shape[:2]) > 7:
        draw(box)


def _window(b: Backdrop):
    def draw(box):
        rng = b.rng
        h, w = box.shape[:2]
        down = np.linspace(0, 1, h, dtype=np.float32)[2:-2, None, None]
        box[:] = (244, 242, 236)
        box[2:-2, 2:-2] = (1 - down) * (190, 216, 240) + down * (150, 176, 130)
        box[h // 2:-2, 2:-2] *= (1 + 0.2 * crop(SOFT, h - h // 2 - 2, w - 4, rng))[..., None]
        if b.dim < 0.6:
            box[2:-2, 2:-2] *= 0.2
        box[:, w // 2 - 1:w // 2 + 1] = (240, 238, 232)
        box[h // 2 - 1:h // 2 + 1] = (240, 238, 232)
        curtain = np.asarray(some(rng, ((170, 80, 70), (200, 190, 170), (90, 110, 130)), 12))
        fold = 0.85 + 0.15 * np.sin(np.arange(w // 5) * 1.1)[None, :, None]
        box[:, :w // 5] = curtain * fold
        box[:, w - w // 5:] = curtain * fold
    return draw


def _picture(b: Backdrop):
    def draw(box):
        rng = b.rng
        h, w = box.shape[:2]
        box[:] = pick(rng, ((60, 44, 34), (30, 30, 32), (200, 170, 100)))
        inner = box[2:-2, 2:-2]
        paints = PLASTER + GREENS + ((60, 90, 150), (180, 60, 50))
        a, c = (np.asarray(some(rng, paints)) for _ in range(2))
        blend = np.clip(crop(SOFT, h - 4, w - 4, rng) + 0.5, 0, 1)[..., None]
        inner[:] = a * blend + c * (1 - blend)
    return draw


def _shelf(b: Backdrop):
    def draw(box):
        rng = b.rng
        h, w = box.shape[:2]
        wood = np.asarray(some(rng, ((130, 92, 60), (206, 190, 166), (80, 60, 48))), np.float32)
        box[:] = wood * 0.5
        shelf = max(h // 5, 6)
        for y in range(1, h - shelf // 2, shelf):
            x = 1
            while x < w - 2:
                t = int(rng.integers(2, 5))
                drop = int(rng.integers(0, max(shelf // 3, 1)))
                if rng.random() < 0.88:
                    box[y + drop:y + shelf - 2, x:x + t] = rng.integers(50, 220, 3)
                x += t
            box[y + shelf - 2:y + shelf] = wood
    return draw


def living_room(b: Backdrop) -> None:
    rng = b.rng
    _room(b, some(rng, PLASTER + ((150, 170, 180), (120, 140, 120)), 10),
          some(rng, ((150, 106, 68), (178, 140, 98), (120, 84, 58)), 10), 5.2)
    slots = rng.permutation([-2.9, -1.0, 0.9, 2.4]).tolist()
    third = 'shelf' if rng.random() < 0.6 else 'picture'
    for x, kind in zip(slots, ('window', 'picture', third, 'picture'), strict=True):
        if kind == 'window':
            _on_wall(b, 5.2, x, 0.9, 1.7, 1.5, _window(b))
        elif kind == 'picture':
            _on_wall(b, 5.2, x + 0.2, float(rng.uniform(1.3, 1.6)), float(rng.uniform(0.5, 1.1)),
                     0.7, _picture(b))
        else:
            _on_wall(b, 5.2, x, 0.05, 1.3, 2.1, _shelf(b))


def office(b: Backdrop) -> None:
    rng = b.rng
    _room(b, some(rng, ((206, 206, 204), (190, 198, 204), (214, 206, 190)), 8),
          some(rng, ((120, 122, 126), (150, 140, 128), (90, 100, 112)), 10), 6.0)
    for x in (-3.6, -1.4, 0.8, 3.0):
        kind = pick(rng, (_window, _window, _shelf, _picture))
        _on_wall(b, 6.0, x, 0.05 if kind is _shelf else 1.0, 1.9, 2.1 if kind is _shelf else 1.3,
                 kind(b))
    lamps = [np.array([b.project(x, 6, 2.9), b.project(x + 0.8, 6, 2.9),
                       b.project(x + 0.8, 3, 2.9), b.project(x, 3, 2.9)])
             for x in np.arange(-4, 5, 2.0)]
    b.fill(lamps, (250, 250, 244))


BACKDROPS = {f.__name__.replace('_', ' '): f for f in (
    street, roadside, country, platform, court, field, beach, snow, living_room, office)}


def paint(scene) -> np.ndarray:
    """The scene's background, float32 [H, W, 3] in 0..255."""
    backdrop = Backdrop(scene)
    BACKDROPS[scene.setting](backdrop)
    return np.clip(backdrop.pixels, 0, 255)
