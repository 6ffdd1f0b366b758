"""Finishes that cover a drawn thing: a texture, or a single color from head to toe.

They change a patch of `pen.rasterise`, float32 `[4, h, w]`, in place: color times alpha in 0..255,
and alpha in [0, 1]. `scale` is in pixels per meter.
"""

from collections.abc import Callable

import numpy as np

from segmentation.scenes.drawing.palette import Color

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_LIME = (120, 235, 60)
_STRIPE, _CHECK = 0.26, 0.5  # meters: a dark and a light stripe together; side of a square
_DARK, _LIGHT = 22, 238


def _two_tones(patch: np.ndarray, light: np.ndarray) -> None:
    """Black and white, with what is left of the shading; `light` is bool `[h, w]`."""
    luma = np.tensordot(_LUMA, patch[:3], 1)
    tones = np.where(light, _LIGHT, _DARK) * patch[3]
    patch[:3] = 0.85 * tones + 0.15 * luma


def _stripes(patch: np.ndarray, scale: float) -> None:
    rows = np.arange(patch.shape[1])[:, None] / max(_STRIPE * scale, 4)
    _two_tones(patch, np.broadcast_to(rows % 1 < 0.5, patch.shape[1:]))


def _checks(patch: np.ndarray, scale: float) -> None:
    rows, columns = (np.arange(length) // max(_CHECK * scale, 3) for length in patch.shape[1:])
    _two_tones(patch, (rows[:, None] + columns) % 2 < 1)


def _painted(color: Color) -> Callable[[np.ndarray, float], None]:
    def paint(patch: np.ndarray, scale: float) -> None:
        del scale
        luma = np.tensordot(_LUMA, patch[:3], 1)
        shading = 0.75 * patch[3] + 0.4 * luma / 255
        patch[:3] = np.array(color, np.float32)[:, None, None] * shading
        np.minimum(patch[:3], 255 * patch[3], out=patch[:3])

    return paint


FINISHES: dict[str, Callable[[np.ndarray, float], None]] = {
    'stripes': _stripes,
    'checks': _checks,
    'lime': _painted(_LIME),
}
