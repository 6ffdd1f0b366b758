"""Color and shape of an object, from its own pixels alone.

A network that tells classes apart need not tell colors or poses apart. What it leaves out is
measured here, at a resolution of its own: small objects have more pixels in the image than at the
network's resolution.
"""

import numpy as np
from PIL import Image

COLOR_SIDE = 64  # pixels of the longer side of an object, at most, when its colors are counted
SHAPE_SIDE = 16  # cells of the grid that a mask is averaged over
# Centers of the cells of CIELAB: lightness, then a and b.
_CENTERS = np.linspace(0, 100, 6), np.linspace(-80, 80, 9), np.linspace(-80, 80, 9)
_CELLS = int(np.prod([len(centers) for centers in _CENTERS]))
BLOCKS = {'color': 2 * _CELLS, 'shape': SHAPE_SIDE**2}  # number of features by block
# From linear RGB with the primaries of sRGB to XYZ (IEC 61966-2-1), divided by the white point D65.
_TO_XYZ = (
    np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    / [[0.9505], [1.0], [1.089]]
).astype(np.float32)  # fmt: skip
_BEND = (6 / 29) ** 3  # where the cube root of CIELAB becomes a line
# Basic colors in CIELAB, for names: those of sRGB values that most people would name so.
_NAMED = {
    'black': (20, 20, 22), 'gray': (128, 128, 128), 'white': (240, 240, 240), 'red': (190, 35, 40),
    'orange': (235, 125, 35), 'yellow': (235, 200, 50), 'green': (60, 150, 70),
    'bright green': (120, 230, 60), 'dark green': (50, 70, 45), 'teal': (0, 140, 140),
    'light blue': (120, 175, 225), 'blue': (40, 80, 175), 'purple': (120, 60, 145),
    'pink': (225, 135, 165), 'brown': (110, 75, 50), 'beige': (205, 180, 145),
}  # fmt: skip


def to_lab(pixels: np.ndarray) -> np.ndarray:
    """CIELAB (CIE 1976, D65) of sRGB values uint8 `[..., 3]`: float32, lightness in 0 … 100."""
    linear = pixels.astype(np.float32) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T
    bent = np.where(xyz > _BEND, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(bent, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


_NAMED_LAB = to_lab(np.array(list(_NAMED.values()), np.uint8))


def describe(
    image: Image.Image, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[str, str | float]]:
    """What an object looks like.

    Args:
      image: RGB.
      mask: uint8 or bool `[H, W]` at the image's size, not empty.

    Returns:
      Features of the block `color`, float32 `[2 · 486]`: square roots of the shares of the cells
      of CIELAB in the upper half of its pixels, then in the lower half. A pixel counts for its 8
      nearest cells. Features of `shape`, float32 `[256]`: coverage of the cells of a square around
      its box. The columns `upper_color`, `lower_color`, `pattern` and `balance` of the table.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    inside = np.ascontiguousarray(mask[top:bottom, left:right], np.uint8)
    high, wide = inside.shape
    longer = max(high, wide)
    scale = min(1.0, COLOR_SIDE / longer)
    size = max(1, round(scale * wide)), max(1, round(scale * high))
    shown = image.crop((left, top, right, bottom)).resize(size, Image.Resampling.BOX)
    share = np.asarray(Image.fromarray(255 * inside).resize(size, Image.Resampling.BOX))
    # Of a thin object no pixel may be covered by half.
    chosen = share >= min(128, share.max())
    lab, height = to_lab(np.asarray(shown)), np.nonzero(chosen)[0]
    pixels, middle = lab[chosen], np.median(height)
    halves = pixels[height <= middle], pixels[height > middle]
    halves = halves[0], halves[1] if len(halves[1]) else halves[0]
    color = np.sqrt(np.concatenate([_histogram(half) for half in halves]))
    square = np.zeros((longer, longer), np.uint8)
    above, before = (longer - high) // 2, (longer - wide) // 2
    square[above : above + high, before : before + wide] = 255 * inside
    grid = Image.fromarray(square).resize((SHAPE_SIDE, SHAPE_SIDE), Image.Resampling.BOX)
    words: dict[str, str | float] = {
        'upper_color': color_name(halves[0]),
        'lower_color': color_name(halves[1]),
        'pattern': float(np.mean([half[:, 0].std() for half in halves])),
        'balance': float((np.nonzero(inside)[0].mean() + 0.5) / high),
    }
    return color.astype(np.float32), (np.asarray(grid).ravel() / np.float32(255)), words


def _histogram(pixels: np.ndarray) -> np.ndarray:
    """Shares of the cells of CIELAB, trilinear, float64 `[486]`; pixels are `[n, 3]`, n > 0."""
    lows, shares = [], []
    for values, centers in zip(pixels.T, _CENTERS, strict=True):
        place = (values - centers[0]) / (centers[1] - centers[0])
        place = place.clip(0, len(centers) - 1 - 1e-4)
        low = place.astype(np.int64)
        lows.append(low)
        shares.append((1 - (place - low), place - low))
    total = np.zeros(_CELLS)
    _, across, along = (len(centers) for centers in _CENTERS)
    for corner in np.ndindex(2, 2, 2):
        light, a, b = (low + step for low, step in zip(lows, corner, strict=True))
        weight = np.prod([pair[step] for pair, step in zip(shares, corner, strict=True)], 0)
        total += np.bincount((light * across + a) * along + b, weight, _CELLS)
    return total / len(pixels)


def color_name(pixels: np.ndarray) -> str:
    """The basic color that most pixels, CIELAB `[n, 3]`, are nearest to."""
    distance = np.square(pixels[:, None] - _NAMED_LAB).sum(-1)
    return list(_NAMED)[np.bincount(distance.argmin(1)).argmax()]
