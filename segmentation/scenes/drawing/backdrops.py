"""Backgrounds of the drawn scenes: sky, ground in perspective, houses, rooms.

Backgrounds are not annotated, so they show nothing that could be recognized as a COCO category:
shelves hold binders, and a stand is full of colored dots.
"""

import functools
from collections.abc import Callable

import numpy as np

from segmentation.scenes.description import Scene
from segmentation.scenes.drawing.buildings import facade, living_room, office, row_of_houses
from segmentation.scenes.drawing.canvas import Backdrop
from segmentation.scenes.drawing.palette import GREENS, crop, pick, soft_tile, some, tone, vary

WHITE = (226, 226, 220)


def _along_a_road(b: Backdrop, leafy_share: float) -> None:
    """Along a road between houses or, in this share of the scenes, trees."""
    rng = b.rng
    b.sky()
    leafy = rng.random() < leafy_share
    b.hills(4, 26, (84, 106, 70) if leafy else (112, 124, 122))
    b.ground(vary(rng, (158, 154, 148), 12))
    road = 4.2
    if leafy:
        for s in (-1, 1):
            b.on_ground([(s * road, 0.5, s * 60, 300)], some(rng, GREENS, 10))
    far, near = 70.0, 1.6
    for s in (-1, 1):
        if leafy and rng.random() < 0.75:
            continue
        z, edge = near, rng.uniform(7.2, 9.5)
        while z < far:
            length = rng.uniform(11, 20) * (1 if z > 4 else 0.7)
            high = rng.uniform(8, 17)
            metre = 14.0 if z < 16 else 8.0 if z < 30 else 5.0
            wall = facade(rng, int(length * metre), int(high * metre), metre, b.dim)
            places = ((z, high), (z + length, high), (z + length, 0), (z, 0))
            corners = [b.project(s * edge, *place) for place in places]
            shade = np.float32(0.82 if s > 0 else 1.0)
            b.paste((wall * shade).astype(np.uint8), corners)
            z += length
    tarmac = some(rng, ((92, 93, 97), (112, 110, 108), (78, 80, 86)), 8)
    b.on_ground([(-road - 0.2, 0.5, road + 0.2, 400)], (186, 182, 176))
    b.on_ground([(-road, 0.5, road, 400)], tarmac)
    b.on_ground([(-0.08, z, 0.08, z + 2.4) for z in np.arange(1.0, 60, 5.0)], WHITE)
    if rng.random() < 0.5:
        b.on_ground([(s * (road - 0.3), 0.5, s * (road - 0.42), 200) for s in (-1, 1)], WHITE)
    if rng.random() < 0.4:
        z = rng.uniform(5, 12)
        stripes = np.arange(-road + 0.3, road - 0.4, 1.0)
        b.on_ground([(x, z, x + 0.5, z + 2.6) for x in stripes], WHITE)
    b.texture(0.1, 0.07, 40)


def _across_a_road(b: Backdrop, park_share: float) -> None:
    """Across a road, with houses or, in this share of the scenes, a park behind it."""
    rng = b.rng
    b.sky()
    if rng.random() < park_share:
        b.ground(some(rng, GREENS, 10), 0.2, 0.14)
        b.hills(18, 60, (92, 116, 84))
        b.hills(4, 34, vary(rng, (70, 98, 56), 10))
    else:
        b.ground(vary(rng, (160, 156, 150), 10))
        row_of_houses(b, 19.0, rng.uniform(8, 15))
    b.across([(14.6, 17.6)], vary(rng, (172, 168, 160), 8))
    b.across([(14.3, 14.6)], (204, 200, 192))
    b.across([(6.4, 14.3)], some(rng, ((92, 93, 97), (110, 108, 106), (76, 78, 84)), 8))
    b.on_ground([(x, 10.25, x + 2.4, 10.4) for x in np.arange(-60, 60, 5.0)], WHITE)
    b.across([(6.1, 6.4)], (206, 202, 194))
    b.across([(0.3, 6.1)], vary(rng, (164, 158, 150), 12))
    if rng.random() < 0.6:
        b.grid(12, 6.1, 1.2, 0.035, (128, 124, 118))
    b.texture(0.1, 0.08, 40, 19.0)


def country(b: Backdrop) -> None:
    """A road or railway across fields."""
    rng = b.rng
    b.sky()
    b.hills(10, 60, (126, 142, 150))
    b.hills(3, 26, vary(rng, (82, 108, 72), 10))
    b.ground(some(rng, GREENS + ((186, 168, 96), (160, 150, 90)), 10), 0.3, 0.22, 45)
    b.on_ground([(-300, 30, 300, 60)], vary(rng, (196, 176, 100), 14))
    b.across([(7.2, 13.4)], vary(rng, (104, 103, 104), 8))
    b.across([(7.5, 7.65)], WHITE)
    b.on_ground([(x, 10.2, x + 2.6, 10.35) for x in np.arange(-60, 60, 6.0)], WHITE)
    b.across([(17.6, 20.6)], (134, 124, 112))
    b.across([(z, z + 0.16) for z in (18.3, 19.7)], (96, 84, 78))
    b.texture(0.12, 0.06, 40)


def platform(b: Backdrop) -> None:
    """A station; the track runs across the view, behind the platform edge."""
    rng = b.rng
    b.sky()
    indoor = rng.random() < 0.4
    if indoor:
        b.pixels[:] = vary(rng, (120, 118, 116), 14)
    b.ground(vary(rng, (150, 146, 142), 10))
    row_of_houses(b, 24.0, 5.0 if not indoor else 30.0)
    b.across([(9.2, 24.0)], (92, 84, 78))
    b.across([(0.3, 9.2)], vary(rng, (168, 164, 160), 14))
    b.grid(16, 9.2, 1.0, 0.03, (132, 128, 124))
    b.across([(8.0, 8.35)], (232, 196, 60))
    b.across([(9.0, 9.2)], (206, 204, 200))
    b.texture(0.09, 0.07, 40, 24.0)
    roof = int(b.horizon - b.focal * 3.6 / 9)
    if roof > 4:
        fade = np.linspace(0.6, 1.05, roof, dtype=np.float32)[:, None, None]
        b.pixels[:roof] = np.asarray(vary(rng, (96, 98, 104), 16)) * fade
        places = ((0, 9, 5.2), (0.2, 9, 5.2), (0.1, 2.2, 5.2), (-0.1, 2.2, 5.2))
        beams = [b.quad(places, x) for x in np.arange(-14, 15, 2.0)]
        b.fill(beams, (70, 72, 78))


def court(b: Backdrop) -> None:
    """A tennis court with a fence, trees or a stand behind."""
    rng = b.rng
    b.sky()
    surface, apron = pick(rng, (
        ((58, 96, 150), (70, 120, 82)), ((186, 104, 66), (176, 98, 62)),
        ((80, 128, 84), (150, 82, 62)), ((104, 130, 62), (96, 122, 58))))  # fmt: skip
    b.ground(vary(rng, apron, 8))
    b.on_ground([(-5.6, 2.0, 5.6, 20)], vary(rng, surface, 8))
    white = (236, 236, 232)
    lines = [(x - 0.04, 2.0 if x else 8.0, x + 0.04, 20.0) for x in (-5.5, -4.1, 0, 4.1, 5.5)]
    lines += [(-5.5, z, 5.5, z + 0.12) for z in (4.2, 8.0, 19.8)]
    b.on_ground(lines, white)
    _backing(b, 24.0, 3.4)
    net = [b.project(-6, 12), b.project(6, 12), b.project(6, 12, 0.95), b.project(-6, 12, 0.95)]
    left, top, right, bottom = (int(v) for v in (net[0][0], net[2][1], net[1][0], net[0][1]))
    part = b.pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    part[::2] *= 0.72
    part[:, ::2] *= 0.8
    tape = [net[3], net[2], (net[2][0], net[2][1] + 2), (net[3][0], net[3][1] + 2)]
    b.polygon(tape, white)
    b.texture(0.06, 0.05, 60, 24.0)


def _backing(b: Backdrop, z: float, high: float) -> None:
    """Behind a sports ground: a board and trees, or a stand full of blurry spectators."""
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
        dots = np.repeat(np.repeat(dots, 3, 0), 3, 1)[: shape[0], : shape[1]]
        b.pixels[top:bottom] = dots[: bottom - top]
        b.pixels[top:bottom][:: max(int(metre * 0.8), 4)] *= 0.6
        board = some(rng, ((40, 60, 120), (150, 40, 46), (36, 90, 60)), 10)
    b.strip(foot - 0.4 * high * metre, foot, board)
    for x in np.arange(-14, 14, 4.0):
        p, q = b.project(x, z, 0.25 * high), b.project(x + 2.2, z, 0.13 * high)
        b.polygon([p, (q[0], p[1]), q, (p[0], q[1])], tone(board, 1.9))


def field(b: Backdrop) -> None:
    """A playing field with mown stripes."""
    rng = b.rng
    b.sky()
    grass = some(rng, ((86, 140, 60), (100, 148, 66), (74, 124, 62)), 8)
    b.ground(grass)
    b.across([(z, z + 3.2) for z in np.arange(4.2, 31, 6.4)], tone(grass, 1.12))
    b.across([(z, z + 0.14) for z in (4.5, 22.0)], (232, 234, 228))
    if rng.random() < 0.5:
        b.on_ground([(-9, 7, 7, 11)], vary(rng, (176, 132, 92), 10))
    _backing(b, 32.0, 3.6)
    b.texture(0.34, 0.16, 50, 32.0)


def beach(b: Backdrop) -> None:
    """Sand, and the sea with waves."""
    rng = b.rng
    b.sky()
    b.ground(vary(rng, (60, 120, 150), 16))
    shore = 14.0
    b.across([(shore, 400)], some(rng, ((48, 110, 150), (70, 140, 150), (60, 96, 124)), 8))
    waves = []
    for z in rng.uniform(15, 60, 16):
        x = rng.uniform(-1, 1) * z
        waves.append((x, z, x + rng.uniform(3, 14), z * (1 + rng.uniform(0.015, 0.06))))
    b.on_ground(waves, (222, 234, 238))
    b.across([(0.3, shore)], vary(rng, (218, 196, 150), 8))
    b.across([(shore - 1.5, shore)], (186, 164, 126))
    edge = crop(soft_tile(), 1, b.width, rng)[0]
    y = b.row(shore) + 2.5 * edge
    for x in range(b.width):
        t = int(np.clip(y[x], 1, b.height - 3))
        b.pixels[t - 1 : t + 2, x] = (240, 244, 244)
    b.texture(0.16, 0.1, 40)


def sea(b: Backdrop) -> None:
    """Open water with waves, sometimes with a coast behind it."""
    rng = b.rng
    b.sky()
    if rng.random() < 0.4:
        b.hills(2, 24, vary(rng, (100, 118, 106), 12))
    waters = ((40, 98, 140), (64, 130, 138), (92, 116, 124), (36, 80, 106), (112, 128, 116))
    water = some(rng, waters, 10)
    b.ground(water)
    faces, crests, foam = [], [], []
    z = 2.5
    while z < 60:  # swell, broken into long pieces
        z *= rng.uniform(1.16, 1.4)
        for x in np.arange(-1.4, 1.4, 0.7) * z:
            left, deep = x + rng.uniform(-0.4, 0.4) * z, 0.05 * z
            right = left + rng.uniform(0.3, 0.9) * z
            faces.append((left, z - deep, right, z + deep))
            crests.append((left, z + deep, right, z + 1.6 * deep))
    b.on_ground(faces, tone(water, 0.88))
    b.on_ground(crests, tone(water, 1.18))
    b.texture(0.08, 0.22, 30)
    for z in np.exp(rng.uniform(np.log(3), np.log(40), 12)):
        x = rng.uniform(-0.8, 0.8) * z
        for _ in range(9):  # a breaking wave
            x += rng.uniform(0.02, 0.1) * z
            y, r = rng.uniform(-0.02, 0.02) * z, rng.uniform(0.02, 0.09) * z
            foam.append((x, z + y, x + r, z + y + 0.3 * r))
    b.on_ground(foam, (232, 240, 242))


def snow(b: Backdrop) -> None:
    """A slope with tracks, and mountains."""
    rng = b.rng
    b.sky(rng.random() < 0.4)
    b.hills(20, 95, (172, 186, 206))
    b.hills(6, 30, vary(rng, (66, 88, 84), 8))
    b.ground(vary(rng, (232, 238, 246), 5), 0.03, 0.07, 30)
    for _ in range(7):
        x, bend = rng.uniform(-6, 6, 2)
        track = ((0, 2.0, 0), (0.16, 2.0, 0), (bend + 0.16, 30, 0), (bend, 30, 0))
        b.fill([b.quad(track, x)], (206, 216, 232))
    b.texture(0.03, 0.05, 14)


BACKDROPS: dict[str, Callable[[Backdrop], None]] = {
    'street': functools.partial(_along_a_road, leafy_share=0.25),
    'avenue': functools.partial(_along_a_road, leafy_share=0),
    'roadside': functools.partial(_across_a_road, park_share=0.35),
    'city': functools.partial(_across_a_road, park_share=0),
    'park': functools.partial(_across_a_road, park_share=1),
    'country': country, 'platform': platform, 'court': court, 'field': field, 'beach': beach,
    'sea': sea, 'snow': snow, 'living room': living_room, 'office': office,
}  # fmt: skip


def paint(scene: Scene) -> np.ndarray:
    """The background of a scene, float32 `[H, W, 3]` in 0..255."""
    backdrop = Backdrop(scene)
    BACKDROPS[scene.setting](backdrop)
    return np.clip(backdrop.pixels, 0, 255)
