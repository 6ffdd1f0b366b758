"""House fronts: bricks or plaster, windows, doors and shops."""

import numpy as np

from segmentation.scenes.drawing.canvas import Backdrop
from segmentation.scenes.drawing.palette import BRICKS, PLASTER, Colour, pick, some, tone
from segmentation.scenes.drawing.texture import GRAIN, SOFT, crop, rough


def _bricks(h: int, w: int, colour: Colour, rng: np.random.Generator, course: int) -> np.ndarray:
    courses = -(-h // course)
    shift = (np.arange(courses) % 2 * course)[:, None]
    x = np.arange(w)[None] + shift
    rows = 0.16 * GRAIN[np.arange(courses)[:, None], x // (2 * course) * 7 % 1024]
    # Joints are marked by a brightness that no brick has.
    rows[x % (2 * course) == 0] = 9
    each = np.repeat(rows, course, 0)[:h]
    each[::course] = 9
    joint = each == 9
    each += 0.06 * crop(GRAIN, h, w, rng) + 1
    wall = np.asarray(colour, np.float32) * each[..., None]
    wall[joint] = 0.4 * np.asarray(colour) + 110
    return wall


def facade(rng: np.random.Generator, w: int, h: int, metre: float, dim: float) -> np.ndarray:
    """The front of one house, uint8 `[h, w, 3]`, with `metre` pixels per metre."""
    brick = rng.random() < 0.5
    colour = some(rng, BRICKS if brick else PLASTER, 12)
    if brick:
        wall = _bricks(h, w, colour, rng, max(3, int(metre * 0.24)))
    else:
        wall = np.asarray(colour, np.float32) * rough((h, w), 0.07, 0.03, rng)
    wall *= np.linspace(1.04, 0.86, h, dtype=np.float32)[:, None, None]
    storey, pitch = metre * rng.uniform(3.0, 3.6), metre * rng.uniform(1.9, 3.0)
    win_w, win_h = pitch * rng.uniform(0.4, 0.62), storey * rng.uniform(0.45, 0.62)
    trim = np.asarray(tone(pick(rng, ((235, 232, 225), (70, 60, 55), colour)), 1.05), np.float32)
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
            colour = some(rng, ((80, 50, 40), (40, 60, 60)), 12) if door else (58, 70, 84)
            wall[max(t - e, 0) : b + (0 if door else e), int(x) : int(x + win_w) + e] = trim
            wall[max(t, 0) : b, int(x) + e : int(x + win_w)] = colour
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
            pane[:] = base * (1 + 0.35 * crop(SOFT, high, wide, rng))[..., None]
    if rng.random() < 0.5:
        stripes = (np.arange(w) // max(2, int(metre * 0.35)) % 2)[None, :, None]
        awning = 0.92 * np.where(stripes, sign, (232, 228, 218))
        wall[top + band : top + band + int(metre * 0.8)] = awning


def row_of_houses(b: Backdrop, z: float, height: float) -> None:
    """House fronts that face the camera, `z` metres away."""
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
