"""Rooms: floors, walls, windows, pictures and shelves."""

from collections.abc import Callable

import numpy as np

from segmentation.scenes.drawing.canvas import Backdrop
from segmentation.scenes.drawing.palette import GREENS, PLASTER, Colour, pick, some, tone
from segmentation.scenes.drawing.texture import SOFT, crop, rough


def _room(b: Backdrop, wall: Colour, floor: Colour, z: float) -> None:
    rng = b.rng
    foot = min(b.row(z), b.height)
    b.pixels[:] = wall
    b.pixels *= rough((b.height, b.width), 0.05, 0.03, rng)
    if rng.random() < 0.3:
        pitch = int(rng.integers(8, 22))
        b.pixels[:, np.arange(b.width) % pitch < pitch // 2] *= 0.93
    b.pixels[int(foot) :] = floor
    if rng.random() < 0.65:  # planks
        for i, x in enumerate(np.arange(-9, 9, 0.5)):
            b.on_ground([(x, 0.3, x + 0.48, z)], tone(floor, 0.9 + 0.18 * ((i * 5) % 7) / 7))
    else:
        tiles = [(x, y, x + 0.9, min(y + 0.9, z)) for i, x in enumerate(np.arange(-9, 9, 0.9))
                 for k, y in enumerate(np.arange(0.6, z, 0.9)) if (i + k) % 2]  # fmt: skip
        b.on_ground(tiles, tone(floor, 0.85))
    metre = b.focal / z
    b.strip(foot - 0.12 * metre, foot, (236, 234, 228))
    if rng.random() < 0.55:  # a rug
        c = some(rng, ((150, 50, 50), (60, 80, 120), (190, 170, 130), (70, 100, 80)), 14)
        x = rng.uniform(-1.5, 1)
        b.on_ground([(x - 1.4, 2.2, x + 1.6, z - 0.6)], c)
        b.on_ground([(x - 1.2, 2.4, x + 1.4, z - 0.75)], tone(c, 1.2))
    b.texture(0.06, 0.06, 60, z)


def _on_wall(
    b: Backdrop, z: float, x: float, low: float, w: float, h: float, draw: Callable
) -> None:
    corners = *b.project(x, z, low), *b.project(x + w, z, low + h)
    left, bottom, right, top = (round(v) for v in corners)
    box = b.pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if min(box.shape[:2]) > 7:
        draw(b, box)


def _window(b: Backdrop, box: np.ndarray) -> None:
    rng = b.rng
    h, w = box.shape[:2]
    down = np.linspace(0, 1, h, dtype=np.float32)[2:-2, None, None]
    box[:] = (244, 242, 236)
    box[2:-2, 2:-2] = (1 - down) * (190, 216, 240) + down * (150, 176, 130)
    box[h // 2 : -2, 2:-2] *= (1 + 0.2 * crop(SOFT, h - h // 2 - 2, w - 4, rng))[..., None]
    if b.dim < 0.6:
        box[2:-2, 2:-2] *= 0.2
    box[:, w // 2 - 1 : w // 2 + 1] = (240, 238, 232)
    box[h // 2 - 1 : h // 2 + 1] = (240, 238, 232)
    curtain = np.asarray(some(rng, ((170, 80, 70), (200, 190, 170), (90, 110, 130)), 12))
    fold = 0.85 + 0.15 * np.sin(np.arange(w // 5) * 1.1)[None, :, None]
    box[:, : w // 5] = curtain * fold
    box[:, w - w // 5 :] = curtain * fold


def _picture(b: Backdrop, box: np.ndarray) -> None:
    rng = b.rng
    h, w = box.shape[:2]
    box[:] = pick(rng, ((60, 44, 34), (30, 30, 32), (200, 170, 100)))
    inner = box[2:-2, 2:-2]
    paints = PLASTER + GREENS + ((60, 90, 150), (180, 60, 50))
    a, c = (np.asarray(some(rng, paints)) for _ in range(2))
    blend = np.clip(crop(SOFT, h - 4, w - 4, rng) + 0.5, 0, 1)[..., None]
    inner[:] = a * blend + c * (1 - blend)


def _shelf(b: Backdrop, box: np.ndarray) -> None:
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
                box[y + drop : y + shelf - 2, x : x + t] = rng.integers(50, 220, 3)
            x += t
        box[y + shelf - 2 : y + shelf] = wood


def living_room(b: Backdrop) -> None:
    rng = b.rng
    wall = some(rng, PLASTER + ((150, 170, 180), (120, 140, 120)), 10)
    floor = some(rng, ((150, 106, 68), (178, 140, 98), (120, 84, 58)), 10)
    _room(b, wall, floor, 5.2)
    slots = rng.permutation([-2.9, -1.0, 0.9, 2.4]).tolist()
    third = _shelf if rng.random() < 0.6 else _picture
    for x, draw in zip(slots, (_window, _picture, third, _picture), strict=True):
        if draw is _window:
            _on_wall(b, 5.2, x, 0.9, 1.7, 1.5, _window)
        elif draw is _picture:
            low, wide = rng.uniform(1.3, 1.6), rng.uniform(0.5, 1.1)
            _on_wall(b, 5.2, x + 0.2, low, wide, 0.7, _picture)
        else:
            _on_wall(b, 5.2, x, 0.05, 1.3, 2.1, _shelf)


def office(b: Backdrop) -> None:
    rng = b.rng
    wall = some(rng, ((206, 206, 204), (190, 198, 204), (214, 206, 190)), 8)
    floor = some(rng, ((120, 122, 126), (150, 140, 128), (90, 100, 112)), 10)
    _room(b, wall, floor, 6.0)
    for x in (-3.6, -1.4, 0.8, 3.0):
        draw = pick(rng, (_window, _window, _shelf, _picture))
        low, high = (0.05, 2.1) if draw is _shelf else (1.0, 1.3)
        _on_wall(b, 6.0, x, low, 1.9, high, draw)
    lamp = ((0, 6, 2.9), (0.8, 6, 2.9), (0.8, 3, 2.9), (0, 3, 2.9))
    b.fill([b.quad(lamp, x) for x in np.arange(-4, 5, 2.0)], (250, 250, 244))
