"""Colors and textures of the drawn scenes, and random variations of them."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

Color = tuple[int, ...]  # red, green, blue and optionally alpha, 0 to 255

SKIN = ((244, 208, 177), (224, 172, 138), (198, 134, 96), (141, 85, 54), (96, 58, 40),
        (250, 220, 200))  # fmt: skip
HAIR = ((35, 25, 20), (60, 40, 25), (110, 70, 35), (190, 150, 80), (105, 100, 98), (140, 60, 30))
CLOTHES = ((200, 40, 45), (40, 80, 170), (240, 240, 235), (30, 30, 36), (240, 190, 40),
           (50, 130, 80), (230, 120, 40), (120, 60, 140), (90, 150, 200), (220, 130, 160),
           (130, 130, 135), (60, 70, 50), (0, 140, 140))  # fmt: skip
TROUSERS = ((45, 60, 100), (30, 32, 40), (90, 85, 75), (150, 130, 100), (70, 90, 130), (60, 45, 40))
PAINT = ((235, 236, 238), (175, 178, 184), (95, 98, 105), (28, 30, 34), (170, 24, 30),
         (28, 62, 130), (30, 90, 70), (225, 180, 40), (190, 175, 150), (90, 30, 40),
         (110, 160, 200), (220, 95, 30))  # fmt: skip
LIVERY = ((200, 35, 40), (30, 90, 170), (245, 245, 240), (240, 180, 30), (40, 130, 80),
          (235, 110, 30), (90, 50, 120), (120, 130, 140))  # fmt: skip
GLASS = (52, 66, 80)
TYRE = (26, 26, 28)
BRICKS = ((150, 78, 60), (170, 110, 84), (124, 62, 54), (188, 160, 130))
PLASTER = ((214, 200, 172), (196, 188, 180), (222, 206, 190), (168, 178, 186), (206, 170, 140),
           (232, 226, 214), (150, 160, 140), (190, 120, 100))  # fmt: skip
# Names of the colors of CLOTHES and PAINT, in order.
CLOTHES_NAMES = ('red', 'blue', 'white', 'black', 'yellow', 'green', 'orange', 'purple',
                 'light blue', 'pink', 'gray', 'olive', 'teal')  # fmt: skip
PAINT_NAMES = ('white', 'silver', 'gray', 'black', 'red', 'blue', 'green', 'yellow', 'beige',
               'dark red', 'light blue', 'orange')  # fmt: skip
GREENS = ((88, 128, 58), (110, 140, 70), (74, 112, 60), (128, 140, 76))
# Choices for the two colors of each kind of thing.
COLORS: dict[str, tuple[tuple[Color, ...], tuple[Color, ...]]] = {
    'person': (CLOTHES, TROUSERS),
    'car': (PAINT, PAINT),
    'motorcycle': (PAINT, PAINT),
    'bus': (LIVERY, LIVERY),
    'train': (LIVERY, LIVERY),
    'truck': (PAINT, LIVERY),
    'statue': (((140, 142, 138), (96, 112, 100)),) * 2,
    'dog': (((150, 105, 60), (60, 48, 40), (220, 205, 180)), CLOTHES),
    'cow': (((232, 226, 216), (150, 96, 60)), ((50, 42, 40), (110, 66, 40))),
    'bench': (((150, 104, 64), (120, 90, 70)), ((50, 52, 54),)),
    'traffic light': (((36, 40, 38), (200, 160, 40)), ((90, 94, 96),)),
    'stop sign': (((196, 26, 32),), ((150, 152, 154),)),
    'fire hydrant': (((200, 40, 36), (220, 180, 40)), ((220, 216, 208), (190, 40, 40))),
    'potted plant': (((70, 120, 60), (90, 140, 70)), ((170, 96, 66), (220, 216, 208))),
    'chair': (((120, 84, 56), (60, 60, 64)), CLOTHES),
    'couch': (((120, 90, 70), (90, 104, 120), (160, 150, 136), (140, 60, 56)), CLOTHES),
    'dining table': (((150, 108, 70), (200, 180, 150)),) * 2,
    'tv': (((24, 24, 26),), ((60, 110, 170), (90, 140, 80), (170, 90, 70))),
    'surfboard': (((240, 236, 226), (240, 200, 70)), CLOTHES),
    'sports ball': (((240, 240, 236), (220, 120, 50)), ((40, 40, 44),)),
    'boat': (((240, 238, 232), (60, 80, 120), (160, 50, 44)), ((236, 232, 222), (210, 90, 60))),
    'tree': (GREENS, ((92, 72, 54), (110, 92, 74))),
    'bush': (GREENS, GREENS),
    'pine': (((52, 84, 62), (60, 92, 60)), ((84, 64, 50), (96, 90, 92))),
    'lamp': (((70, 74, 76), (50, 62, 56)),) * 2,
    'post': (((140, 142, 146),), ((40, 80, 160), (190, 40, 40), (40, 120, 70))),
    'column': (((150, 150, 148), (120, 128, 124), (176, 160, 140)), CLOTHES),
    'fence': (((232, 230, 224), (120, 92, 66)),) * 2,
    'picture': (CLOTHES, TROUSERS),
    'board': (((60, 64, 70), (190, 192, 196)), LIVERY),
    'raft': (((150, 112, 76), (176, 150, 118)),) * 2,
    'toy car': (
        ((226, 40, 40), (250, 200, 30), (40, 120, 220), (60, 170, 80)),
        ((250, 215, 60), (235, 70, 60), (60, 140, 230)),
    ),
    'frame': (((206, 200, 190), (60, 54, 50), (110, 80, 56)),) * 2,
}
ANY_COLORS = (CLOTHES, CLOTHES)  # all other kinds


def pick(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    """One of the options, at random."""
    return options[int(rng.integers(len(options)))]


def tone(color: Color, factor: float) -> Color:
    """A lighter (factor > 1) or darker color with the same alpha."""
    return tuple(int(min(255, c * factor)) for c in color[:3]) + tuple(color[3:])


def vary(rng: np.random.Generator, color: Color, amount: int = 14) -> Color:
    """The color with each channel shifted by up to `amount`."""
    shift = rng.integers(-amount, amount + 1, 3).tolist()
    return tuple(min(255, max(0, c + d)) for c, d in zip(color, shift, strict=True))


def nearest(color: Color, options: Sequence[Color]) -> int:
    """Index of the option that a color of `vary` is a variation of."""
    distance = np.square(np.array(options) - color).sum(1)
    return int(distance.argmin())


def some(rng: np.random.Generator, options: tuple[Color, ...], amount: int = 14) -> Color:
    """A variation of one of the options."""
    return vary(rng, pick(rng, options), amount)


@functools.cache
def _noise_tiles(size: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Fixed periodic noise of about [-1, 1]: white grain, and soft blotches in three octaves."""
    rng = np.random.default_rng(20140501)
    grain = np.clip(rng.normal(0, 0.45, (size, size)), -1, 1).astype(np.float32)
    soft = np.zeros((size, size), np.float32)
    for cells, weight in ((16, 1.0), (64, 0.5), (256, 0.25)):
        values = np.tile(rng.normal(0, 0.6, (cells, cells)).astype(np.float32), (3, 3))
        image = Image.fromarray(values).resize((3 * size, 3 * size), Image.Resampling.BICUBIC)
        soft += weight * np.asarray(image)[size : 2 * size, size : 2 * size]
    return grain, np.clip(soft, -1.5, 1.5)


def grain_tile() -> np.ndarray:
    """White grain, see `_noise_tiles`."""
    return _noise_tiles()[0]


def soft_tile() -> np.ndarray:
    """Soft blotches, see `_noise_tiles`."""
    return _noise_tiles()[1]


def crop(tile: np.ndarray, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A random window `[height, width]` of a larger noise tile."""
    y, x = (int(rng.integers(n - m + 1)) for n, m in zip(tile.shape, (height, width), strict=True))
    return tile[y : y + height, x : x + width]


def rough(
    shape: tuple[int, int], soft: float, grain: float, rng: np.random.Generator
) -> np.ndarray:
    """Factors `[h, w, 1]` around 1, of blotches and grain."""
    blotches, noise = crop(soft_tile(), *shape, rng), crop(grain_tile(), *shape, rng)
    return (1 + soft * blotches + grain * noise)[..., None]
