"""Label maps, errors and heat-maps as pixels, and pixels as WebP files."""

import functools
import io

import matplotlib
import numpy as np
from PIL import Image
from scipy import ndimage

from analysis.figures import palette
from segmentation import overlays
from segmentation.data.masks import IGNORE

_LEVELS = 24  # of heat-maps: as many as people can distinguish, so that the files are small
_HEAT_SIDE = 64  # pixels a side of maps that are made of a few cells


def encode(pixels: np.ndarray, quality: int | None = None) -> bytes:
    """A WebP file of uint8 `[H, W, 3 or 4]`; lossless without a quality (0 to 100)."""
    options = {'lossless': True} if quality is None else {'quality': quality}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'WEBP', method=2, **options)
    return buffer.getvalue()


def color_classes(label: np.ndarray) -> np.ndarray:
    """The classes' colors, uint8 `[H, W, 4]`; background is transparent, ignored pixels white."""
    shown = label > 0
    opacity = np.where(shown, 255, 0).astype(np.uint8)
    return np.concatenate([overlays.colorize(label) * shown[..., None], opacity[..., None]], -1)


def color_errors(label: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Errors of a prediction in the colors of their kind, uint8 `[H, W, 4]`.

    Args:
      label: true classes `[H, W]`, 255 for pixels that do not count.
      predicted: classes `[H, W]`.
    """
    wrong = (label != predicted) & (label != IGNORE)
    kind = np.where(predicted == 0, 1, np.where(label == 0, 2, 3)) * wrong
    opaque = [[*palette.rgb(color), 255] for color in palette.ERRORS.values()]
    return np.array([[0, 0, 0, 0], *opaque], np.uint8)[kind]


@functools.cache
def heat_palette() -> np.ndarray:
    """Colors of a heat-map from nothing (transparent) to most, uint8 `[L, 4]`."""
    share = np.linspace(0, 1, _LEVELS)
    colors = matplotlib.colormaps['inferno'](0.3 + 0.65 * share)
    colors[:, 3] = share**0.7
    return (255 * colors).round().astype(np.uint8) * (share > 0)[:, None].astype(np.uint8)


def heat_colors() -> tuple[str, ...]:
    """The heat-map's colors for a legend, in CSS, from low to high."""
    return tuple(
        f'rgba({r}, {g}, {b}, {a / 255:.2f})' for r, g, b, a in heat_palette()[:: _LEVELS // 8]
    )


def color_heat(share: np.ndarray) -> np.ndarray:
    """A heat-map of numbers in [0, 1], uint8 `[H, W, 4]`."""
    return heat_palette()[(share.clip(0, 1) * (_LEVELS - 1)).round().astype(np.int64)]


def color_evidence(cells: np.ndarray) -> np.ndarray:
    """A signed map `[G, G]` in the colors of evidence for and against, uint8 `[64, 64, 4]`."""
    cells = np.ascontiguousarray(cells, np.float32)
    fine = np.asarray(
        Image.fromarray(cells).resize((_HEAT_SIDE, _HEAT_SIDE), Image.Resampling.BICUBIC)
    )
    # A percentile, because one extreme cell would leave the rest dark. 16 levels, so that the files
    # are small.
    share = (fine / max(np.percentile(np.abs(fine), 99), 1e-12)).clip(-1, 1)
    opacity = (np.abs(share) * 16).round() / 16 * 230
    colors = np.where(share[..., None] > 0, *map(palette.rgb, (palette.FOR, palette.AGAINST)))
    colors = colors * (opacity > 0)[..., None]
    return np.concatenate([colors, opacity[..., None]], -1).astype(np.uint8)


def draw_outline(mask: np.ndarray) -> np.ndarray:
    """The outline of a mask `[S, S]`, white in a dark rim, uint8 `[2S, 2S, 4]`."""
    # Twice as fine, so that the line is thin and smooth.
    size = (2 * mask.shape[1], 2 * mask.shape[0])
    smooth = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BICUBIC)
    fine = np.asarray(smooth) >= 128
    line = fine & ~_shrink(fine)
    rim = ~_shrink(~line) & ~line
    pixels = np.zeros((*fine.shape, 4), np.uint8)
    pixels[line] = 255
    pixels[rim] = (0, 0, 0, 170)
    return pixels


def _shrink(mask: np.ndarray) -> np.ndarray:
    """A mask without the pixels at its border; the edge of the image is no border."""
    return ndimage.binary_erosion(mask, border_value=1)
