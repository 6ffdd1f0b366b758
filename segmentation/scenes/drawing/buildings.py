"""House fronts (bricks or plaster, windows, doors, shops) and rooms (floors, walls, shelves)."""

from collections.abc import Callable

import numpy as np

from segmentation.scenes.drawing.canvas import Backdrop
from segmentation.scenes.drawing.palette import (
    BRICKS,
    GREENS,
    PLASTER,
    Color,
    crop,
    grain_tile,
    pick,
    rough,
    soft_tile,
    some,
    tone,
)


def _bricks(h: int, w: int, color: Color, rng: np.random.Generator, course: int) -> np.ndarray:
    courses = -(-h // course)
    shift = (np.arange(courses) % 2 * course)[:, None]
    x = np.arange(w)[None] + shift
    rows = 0.16 * grain_tile()[np.arange(courses)[:, None], x // (2 * course) * 7 % 1024]
    # Joints are marked by a brightness that no brick has.
    rows[x % (2 * course) == 0] = 9
    each = np.repeat(rows, course, 0)[:h]
    each[::course] = 9
    joint = each == 9
    each += 0.06 * crop(grain_tile(), h, w, rng) + 1
    wall = np.asarray(color, np.float32) * each[..., None]
    wall[joint] = 0.4 * np.asarray(color) + 110
    return wall


def facade(rng: np.random.Generator, w: int, h: int, metre: float, dim: float) -> np.ndarray:
    """The front of one house, uint8 `[h, w, 3]`, with `metre` pixels per meter."""
    brick = rng.random() < 0.5
    color = some(rng, BRICKS if brick else PLASTER, 12)
    if brick:
        wall = _bricks(h, w, color, rng, max(3, int(metre * 0.24)))
    else:
        wall = np.asarray(color, np.float32) * rough((h, w), 0.07, 0.03, rng)
    wall *= np.linspace(1.04, 0.86, h, dtype=np.float32)[:, None, None]
    storey, pitch = metre * rng.uniform(3.0, 3.6), metre * rng.uniform(1.9, 3.0)
    win_w, win_h = pitch * rng.uniform(0.4, 0.62), storey * rng.uniform(0.45, 0.62)
    trim = np.asarray(tone(pick(rng, ((235, 232, 225), (70, 60, 55), color)), 1.05), np.float32)
    panes = ((60, 74, 92), (92, 110, 128), (44, 52, 62))
    e = max(1, round(metre * 0.09))
    shop = h - storey
    y = shop - storey * 0.85
    fade = np.linspace(1.25, 0.8, int(win_h) + 2, dtype=np.float32)[:, None, None]
    while y > -win_h:
        for x in np.arange((w % pitch) / 2 + (pitch - win_w) / 2, w - win_w / 2, pitch):
            t, b, le, r = max(int(y), 0), max(int(y + win_h), 0), int(x), int(x + win_w)
            wall[max(t - e, 0) : b + e, max(le - e, 0) : r + e] = trim
            lit = dim < 0.6 and rng.random() < 0.45
            glass = (255, 240, 190) if lit else some(rng, panes, 14)
            part = wall[t:b, le:r]
            part[:] = np.asarray(glass, np.float32) * fade[: len(part)]
            if rng.random() < 0.35:
                part[: len(part) // 2] = part[: len(part) // 2] * 0.4 + np.float32(130)
            if r - le > 6:
                wall[t:b, (le + r) // 2 : (le + r) // 2 + max(1, e // 2)] = trim
        wall[max(int(y + win_h) + e, 0) : max(int(y + win_h) + 2 * e, 0)] *= 0.86
        y -= storey
    if rng.random() < 0.65:
        _shop(wall, rng, max(int(shop), 0), metre, dim)
    else:
        for x in np.arange(pitch * 0.3, w - pitch * 0.5, pitch * 1.4):
            door = rng.random() < 0.4
            t, b = int(shop + storey * 0.25), h if door else int(h - metre * 0.9)
            color = some(rng, ((80, 50, 40), (40, 60, 60)), 12) if door else (58, 70, 84)
            wall[max(t - e, 0) : b + (0 if door else e), int(x) : int(x + win_w) + e] = trim
            wall[max(t, 0) : b, int(x) + e : int(x + win_w)] = color
    return np.clip(wall, 0, 255).astype(np.uint8)


def _shop(wall: np.ndarray, rng: np.random.Generator, top: int, metre: float, dim: float) -> None:
    h, w = wall.shape[:2]
    signs = ((160, 40, 40), (30, 70, 60), (40, 50, 90), (60, 50, 45), (190, 150, 60))
    sign = some(rng, signs, 14)
    wall[top:] *= 0.7
    band = int(metre * 0.7)
    wall[top : top + band] = sign
    x = int(metre * 0.6)
    while x < w - metre:  # unreadable lettering
        step = max(2, int(metre * rng.uniform(0.15, 0.4)))
        if rng.random() < 0.6:
            wall[top + band // 4 : top + band * 3 // 4, x : x + step - 1] = (236, 230, 214)
        x += step
    for x in np.arange(metre * 0.3, w - metre, metre * 2.6):
        pane = wall[top + band + 2 : h - int(metre * 0.4), int(x) : int(x + metre * 2.2)]
        if pane.size:
            base = np.asarray((240, 205, 140) if dim < 0.6 else (84, 92, 100), np.float32)
            high, wide = pane.shape[:2]
            pane[:] = base * (1 + 0.35 * crop(soft_tile(), high, wide, rng))[..., None]
    if rng.random() < 0.5:
        stripes = (np.arange(w) // max(2, int(metre * 0.35)) % 2)[None, :, None]
        awning = 0.92 * np.where(stripes, sign, (232, 228, 218))
        wall[top + band : top + band + int(metre * 0.8)] = awning


def row_of_houses(b: Backdrop, z: float, height: float) -> None:
    """House fronts that face the camera, `z` meters away."""
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
            part = wall[cut:, le - x : r - x]
            b.pixels[foot - len(part) : foot, le:r] = part
            b.pixels[foot - len(part) : foot, r - 1 : r] *= 0.6
        x += w


# Rooms --------------------------------------------------------------------------------------------


def _room(b: Backdrop, wall: Color, floor: Color, z: float) -> None:
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
    box[h // 2 : -2, 2:-2] *= (1 + 0.2 * crop(soft_tile(), h - h // 2 - 2, w - 4, rng))[..., None]
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
    blend = np.clip(crop(soft_tile(), h - 4, w - 4, rng) + 0.5, 0, 1)[..., None]
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
            _on_wall(b, 5.2, x + 0.2, low, wide, 0.7, draw)
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
