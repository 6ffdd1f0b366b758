"""Exports a network as StableHLO, a program for CPU, CUDA and TPU.

`jax.export.deserialize(file).call(images)` runs it without this project. Batch, height and
width are symbolic: one file serves all sizes.
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from segmentation.export.metadata import describe
from segmentation.files import replacing, write_json
from segmentation.models.fast_conv import plain_convolutions
from segmentation.models.unet import scale_images
from segmentation.trained import Run

PLATFORMS = ('cpu', 'cuda', 'tpu')
_EXACT = jax.lax.Precision.HIGHEST
DIGITS = 2**6, 2**5  # Eleven bits of a long division.


def _distances(n_in: Any, n_out: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Both sizes, and the distance of each new pixel from each old one, int32 `[n_out, n_in]`.

    Half-pixel centers, as in Pillow, in units of 1 / (2 · n_out) old pixels: integers are exact.
    """
    size_in, size_out = (jnp.asarray(n, jnp.int32) for n in (n_in, n_out))
    source, target = jnp.arange(n_in, dtype=jnp.int32), jnp.arange(n_out, dtype=jnp.int32)
    distance = jnp.abs((2 * source + 1) * size_out - (2 * target[:, None] + 1) * size_in)
    return size_in, size_out, distance


def interpolation(n_in: Any, n_out: Any, antialias: bool) -> jax.Array:
    """Weights of a bilinear resize of one axis, float32 `[n_out, n_in]`; rows sum to 1.

    Antialiasing widens the triangle where the axis shrinks.
    """
    size_in, size_out, distance = _distances(n_in, n_out)
    support = jnp.maximum(size_in, size_out) if antialias else size_out
    weights = jnp.maximum(0, 1 - distance.astype(jnp.float32) / (2 * support).astype(jnp.float32))
    return weights / weights.sum(1, keepdims=True)


def fixed_point(n_in: Any, n_out: Any) -> tuple[jax.Array, jax.Array]:
    """Weights by which Pillow antialiases one axis of an image, in units of 2**-22.

    Pillow rounds them to integers, k = 2**11 · high + low. Sums of pixels with `high`, and of those
    with `low` for images of up to 15 times the new size, are below 2**24, so float32 is exact.

    Returns:
      high, low: float32 `[n_out, n_in]`, integers from 0 to 2**11.
    """
    size_in, size_out, distance = _distances(n_in, n_out)
    rest = jnp.maximum(0, 2 * jnp.maximum(size_in, size_out) - distance)
    total, parts = rest.sum(1, keepdims=True), []
    for _ in range(2):
        part = jnp.zeros_like(rest)
        for factor in DIGITS:  # A long division: 2**11 times the rest would overflow.
            part = part * factor + rest * factor // total
            rest = rest * factor % total
        parts.append(part)
    parts[1] += 2 * rest >= total
    high, low = (part.astype(jnp.float32) for part in parts)
    return high, low


def shrink(images: jax.Array, size: int, antialias: bool) -> jax.Array:
    """Resizes uint8 `[B, H, W, 3]` to `[B, size, size, 3]` as `transforms.resize` does.

    Where Pillow antialiases, it rounds after each axis, and Pillow 13 begins with the columns of
    images that are tall and shrink (found by experiment). Where it does not, it cuts the fraction
    off; then few values differ, and by 1.
    """
    _, height, width, _ = images.shape
    wide = images.astype(jnp.float32)
    if not antialias:
        weights = [interpolation(n, size, antialias=False) for n in (width, height)]
        x = jnp.einsum('bhwc,sw->bhsc', wide, weights[0], precision=_EXACT)
        x = jnp.einsum('bhwc,rh->brwc', x, weights[1], precision=_EXACT)
        return jnp.floor(x + 1e-3).astype(jnp.uint8)
    columns, rows = fixed_point(width, size), fixed_point(height, size)

    def resize(x: jax.Array, weights: tuple[jax.Array, jax.Array], sums: str) -> jax.Array:
        high, low = (jnp.einsum(sums, x, part, precision=_EXACT) for part in weights)
        return jnp.floor((high + 2**10 + jnp.floor(low / 2**11)) / 2**11)

    def across(x: jax.Array) -> jax.Array:
        return resize(x, columns, 'bhwc,sw->bhsc')

    def down(x: jax.Array) -> jax.Array:
        return resize(x, rows, 'bhwc,rh->brwc')

    h, w = jnp.asarray(height, jnp.int32), jnp.asarray(width, jnp.int32)
    tall = (h > size) & (h + size > 2 * w)
    x = jax.lax.cond(tall, lambda x: across(down(x)), lambda x: down(across(x)), wide)
    return x.astype(jnp.uint8)


def enlarge_and_classify(logits: jax.Array, height: Any, width: Any) -> jax.Array:
    """Classes at another resolution, see `evaluate.enlarge_and_classify`, of `[B, S, S, C]`."""
    _, rows, columns, _ = logits.shape
    across, down = interpolation(columns, width, True), interpolation(rows, height, True)
    x = jnp.einsum('brsc,ws->brwc', logits, across, precision=_EXACT)
    x = jnp.einsum('brwc,hr->bhwc', x, down, precision=_EXACT)
    return x.argmax(-1).astype(jnp.uint8)


def write(run: Run, path: pathlib.Path, logits: bool = False) -> None:
    """Writes the program, and its metadata to `<path>.json`.

    Args:
      run: the trained network.
      path: of the file.
      logits: whether to stop at the logits, at the network's resolution.

    Raises:
      OSError: the file cannot be written.
    """
    data = run.config.data

    def program(images: jax.Array) -> jax.Array:
        small = shrink(images, data.image_size, data.antialias)
        scaled = scale_images(small, data.input_range)
        found: Any = run.model.apply(run.variables, scaled, train=False)
        return found if logits else enlarge_and_classify(found, *images.shape[1:3])

    shape = export.symbolic_shape('b, h, w, 3')
    with plain_convolutions():
        exported = export.export(jax.jit(program), platforms=PLATFORMS)(
            jax.ShapeDtypeStruct(shape, jnp.uint8)
        )
    with replacing(path) as partial:
        partial.write_bytes(exported.serialize())
    write_json(f'{path}.json', describe(run, logits))
