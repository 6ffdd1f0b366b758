"""Renders the description of a scene, with exact visible masks."""

import dataclasses
import math
from collections.abc import Callable, Collection
from types import ModuleType

import numpy as np

from segmentation.scenes.description import CLEAR, INDOORS, Scene, Thing
from segmentation.scenes.drawing import cars, palette, people, things, vehicles
from segmentation.scenes.drawing.backdrops import paint
from segmentation.scenes.drawing.finishes import FINISHES
from segmentation.scenes.drawing.palette import Color, crop, grain_tile, pick, some
from segmentation.scenes.drawing.pen import Pen, View, bounds, cover, lay_down, rasterise, shade


@dataclasses.dataclass(frozen=True)
class Rendered:
    """A drawn scene."""

    image: np.ndarray  # uint8 `[H, W, 3]`
    owner: np.ndarray  # int16 `[H, W]`, index of the visible thing of each pixel, -1 for none
    count: int  # number of things

    @property
    def masks(self) -> np.ndarray:
        """Visible masks of all things, bool `[N, H, W]`, disjoint."""
        return self.owner[None] == np.arange(self.count, dtype=np.int16)[:, None, None]


def _crowd(pen: Pen, thing: Thing, rng: np.random.Generator, view: View) -> None:
    """Draws many people or parked cars, which are annotated as one crowd region."""
    for i in sorted(range(thing.crowd), key=lambda i: -(i * 7 % 5)):
        away = (i * 7 % 5) * 0.5
        if thing.kind == 'car':
            p = pen.moved((i - thing.crowd / 2) * 2.6 + rng.normal(0, 0.3), away * 0.3)
            cars.car_side(p, some(rng, palette.PAINT), rng)
        else:
            x = (i - thing.crowd / 2) * 0.42 + rng.normal(0, 0.08)
            p = pen.moved(x, away * 0.25, rng.uniform(0.85, 1.05))
            pose, seed = pick(rng, ('stand', 'back', 'walk', 'stand')), int(rng.integers(1 << 30))
            people.figure(
                p, pose, seed, some(rng, palette.CLOTHES), some(rng, palette.TROUSERS), rng
            )


def _simple(draw: Callable[..., None]) -> Callable[..., None]:
    """Adapts a function of `things`: it needs only the pen, two colors and random numbers."""
    return lambda pen, thing, rng, view: draw(pen, *thing.colors, rng)


def _by_kind(module: ModuleType) -> dict[str, Callable[..., None]]:
    """The public functions of a module by the kind of thing that they draw."""
    functions = {name: f for name, f in vars(module).items() if name[0] != '_' and callable(f)}
    own = {name: f for name, f in functions.items() if f.__module__ == module.__name__}
    return {name.replace('_', ' '): draw for name, draw in own.items()}


SPRITES = {kind: _simple(draw) for kind, draw in _by_kind(things).items()}
SPRITES |= {'person': people.person, 'statue': people.statue, 'picture': people.picture}
SPRITES |= {'car': cars.car} | _by_kind(vehicles)
_ROUGH = {'tree': 0.2, 'bush': 0.2, 'pine': 0.16, 'potted plant': 0.12, 'statue': 0.12, 'dog': 0.12,
          'person': 0.05, 'car': 0.025, 'bus': 0.025, 'train': 0.03, 'truck': 0.035}  # fmt: skip
_NO_SHADOW = ('frame', 'boat', 'held', 'platform', 'surf', 'picture', 'raft')  # kinds and poses


def render(
    scene: Scene, without: Collection[int] = (), setting: str | None = None, seed: int = 0
) -> Rendered:
    """Draws a scene, or the same scene without some things or in front of another background.

    Camera, light, haze and sensor noise stay the same. Removing a thing changes only the pixels of
    the thing, its shadow and its lamps. Another background changes only pixels that no thing covers
    fully.

    Args:
      scene: its description.
      without: indices of things to leave out; the others keep theirs.
      setting: None for the scene's own background, else a name in `BACKDROPS`. The name of the
        scene's own setting gives another background of that kind.
      seed: selects among the backgrounds of a setting.
    """
    height, width = scene.height, scene.width
    place = dataclasses.replace(scene, setting=setting, seed=seed) if setting else scene
    # Channels first, because NumPy is several times faster that way.
    pixels = np.ascontiguousarray(paint(place).transpose(2, 0, 1))
    outdoors = scene.setting not in INDOORS
    if outdoors and scene.visibility < CLEAR:
        _fog(pixels, scene)
    glow = np.zeros_like(pixels) if scene.light.brightness < 0.6 else None
    owner = np.full((height, width), -1, np.int16)
    for index, thing in enumerate(scene.things):
        if index in without:
            continue
        pen = Pen(thing.x, thing.y, thing.scale, thing.flip, thing.tilt)
        view = View(
            (width / 2 - thing.x) / thing.scale * (-1 if thing.flip else 1),
            (thing.y - scene.horizon) / thing.scale,
            scene.focal / thing.scale,
        )
        rng = np.random.default_rng([thing.seed, 3])
        (_crowd if thing.crowd else SPRITES[thing.kind])(pen, thing, rng, view)
        if thing.kind not in _NO_SHADOW and thing.pose not in _NO_SHADOW:
            _shadow(pixels, pen, thing, scene)
        box = bounds([p for p, _ in pen.shapes], width, height)
        if box is None:
            continue
        left, top, right, bottom = box
        patch = rasterise(pen.shapes, box)
        shade(patch, rng, math.copysign(0.8, scene.light.slant), _ROUGH.get(thing.kind, 0.06))
        if thing.finish:
            FINISHES[thing.finish](patch, thing.scale)
        if outdoors:
            haze = 1 - math.exp(-thing.depth / scene.visibility)
            patch[:3] *= 1 - haze
            patch[:3] += 200 * haze * patch[3]
        alpha = patch[3]
        part = pixels[:, top:bottom, left:right]
        part *= 1 - alpha
        part += patch[:3]
        owner[top:bottom, left:right][alpha >= 0.5] = index
        if glow is not None:
            glow[:, top:bottom, left:right] *= 1 - alpha
            for lamp in pen.glows:
                _add_glow(glow, *lamp)
    return Rendered(_develop(pixels, glow, scene), owner, len(scene.things))


def _fog(pixels: np.ndarray, scene: Scene) -> None:
    """Blends the background `[3, H, W]` into gray with increasing distance, in place."""
    below = np.maximum(np.arange(scene.height) - scene.horizon, 0.1)
    haze = 1 - np.exp(-scene.focal * scene.eye / below / scene.visibility)
    haze = haze.astype(np.float32)[:, None]
    pixels *= 1 - haze
    pixels += 200 * haze


def _shadow(pixels: np.ndarray, pen: Pen, thing: Thing, scene: Scene) -> None:
    """Darkens the ground under a thing and, in the sun, next to it."""
    light = scene.light
    polygons = lay_down(pen.shapes, thing.y, light.slant, -light.length) if light.length else []
    points = np.concatenate([p for p, _ in pen.shapes])
    low = points[points[:, 1] > thing.y - 0.15 * thing.scale, 0]
    if len(low):  # the dark spot under everything that stands
        half = (low.max() - low.min()) / 2 + 0.05 * thing.scale
        spot = Pen((low.max() + low.min()) / 2, thing.y, 1.0)
        spot.ellipse(0, 0, half, min(0.22 * half, 0.25 * thing.scale), ())
        polygons.append(spot.shapes[0][0])
    if not polygons:
        return
    blur = float(np.clip(0.05 * thing.scale, 0.6, 5))
    box = bounds(polygons, scene.width, scene.height, margin=int(blur) + 2)
    if box is None:
        return
    left, top, right, bottom = box
    dark = (0.5 if light.length else 0.36) * cover(polygons, box, blur)
    if scene.visibility < CLEAR:
        dark *= math.exp(-thing.depth / scene.visibility)
    pixels[:, top:bottom, left:right] *= 1 - dark


def _add_glow(glow: np.ndarray, x: float, y: float, radius: float, color: Color) -> None:
    _, height, width = glow.shape
    left, right = max(int(x - radius), 0), min(int(x + radius) + 2, width)
    top, bottom = max(int(y - radius), 0), min(int(y + radius) + 2, height)
    if left >= right or top >= bottom:
        return
    rows, cols = np.arange(top, bottom)[:, None] - y, np.arange(left, right)[None] - x
    fall = np.clip(1 - np.sqrt(rows**2 + cols**2) / max(radius, 1), 0, 1) ** 2.5
    glow[:, top:bottom, left:right] += (np.asarray(color)[:, None, None] * fall).astype(np.float32)


def _develop(pixels: np.ndarray, glow: np.ndarray | None, scene: Scene) -> np.ndarray:
    """Applies light, lamps and sensor noise, each pixel by pixel."""
    rng = np.random.default_rng([scene.seed, 4])
    light = scene.light
    out = pixels * (light.brightness * np.asarray(light.tint, np.float32))[:, None, None]
    if glow is not None:
        out += glow
    if scene.grayscale:
        out[:] = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), out, 1)
    if scene.wash:
        luma = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), out, 1)
        out[:] = luma * (np.asarray(scene.wash, np.float32) / 200)[:, None, None]
    noise = [crop(grain_tile(), scene.height, scene.width, rng) for _ in range(3)]
    for channel, grain in zip(out, noise, strict=True):
        channel += 2 * light.noise * (noise[0] if scene.grayscale or scene.wash else grain)
    return np.ascontiguousarray(np.clip(out + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0))
