"""Convolutions that are fast on CPU and, but for the transposed ones, plain on GPU and TPU.

XLA's CPU backend runs depthwise and transposed convolutions and their gradients one to two orders
of magnitude below the speed of its matrix products. Each function here is defined by a plain `lax`
convolution, which GPU and TPU lower to. On CPU the same sums are written as matrix products and
shifted multiply-adds. On CUDA a transposed convolution is written as an ordinary one
(`sub_pixel_conv`). `lax.platform_dependent` chooses when the program is lowered, so one model
definition serves every platform. README.md has measurements. `plain_convolutions` gives every
platform the plain form, for programs that leave this project.

All arrays are NHWC and floating point, padding is SAME (TensorFlow's rule), and results have the
dtype of `x`. bfloat16 products are accumulated in float32. Functions are differentiable once, in
reverse mode.
"""

import contextlib
import contextvars
import functools
import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

_LAYOUT = ('NHWC', 'HWIO', 'NHWC')
_conv = functools.partial(lax.conv_general_dilated, padding='SAME', dimension_numbers=_LAYOUT)
_conv_transpose = functools.partial(lax.conv_transpose, padding='SAME', dimension_numbers=_LAYOUT)
# Images whose products are summed in one loop for the kernel gradient of a depthwise convolution.
_UNROLLED_IMAGES = 16

_plain_only = contextvars.ContextVar('plain_only', default=False)


@contextlib.contextmanager
def plain_convolutions() -> Iterator[None]:
    """Traces convolutions in their plain form on every platform, without the forms for CPU."""
    token = _plain_only.set(True)
    try:
        yield
    finally:
        _plain_only.reset(token)


def _accumulator(x: jax.Array) -> jnp.dtype:
    return jnp.promote_types(x.dtype, jnp.float32)


def _plain(x: jax.Array, kernel: jax.Array, stride: int, groups: int = 1) -> jax.Array:
    # Accelerators accumulate bfloat16 in float32 anyway. With preferred_element_type, the gradient
    # convolutions would mix dtypes, which lax refuses.
    return _conv(x, kernel, (stride, stride), feature_group_count=groups)


@jax.tree_util.register_static
class _Flags(tuple[bool, ...]):
    """Booleans that are known when a program is traced."""


@functools.cache
def _with_fast_forms(
    plain: Callable[..., Any],
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    cuda: Callable[..., Any] | None,
    **settings: int,
) -> Callable[..., Any]:
    """The function `plain(x, kernel)`; on CPU, `forward` and `backward` compute it faster.

    All three get the settings by name. On CUDA, `cuda` is used instead if given. A network calls
    the same function for many layers: each shape of `x` is traced once. If only some arrays of `x`
    are differentiated (those of a frozen encoder are not), `backward` gets `separate=True`.
    """
    plain, forward, backward = (
        functools.partial(each, **settings) for each in (plain, forward, backward)
    )

    def gradient(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, kernel, g: jax.vjp(f, x, kernel)[1](g)

    forms = {'cpu': forward} | ({'cuda': cuda} if cuda else {})
    gradients = {'cuda': gradient(cuda)} if cuda else {}

    @jax.custom_vjp
    def f(x: Any, kernel: jax.Array) -> jax.Array:
        return lax.platform_dependent(x, kernel, **forms, default=plain)

    def f_forward(x: Any, kernel: Any) -> Any:
        needed = _Flags(each.perturbed for each in jax.tree.leaves(x))
        x, kernel = jax.tree.map(lambda each: each.value, (x, kernel))
        return f(x, kernel), (x, kernel, needed)

    def f_backward(residuals: Any, g: jax.Array) -> Any:
        x, kernel, needed = residuals
        options = {} if all(needed) or len(needed) == 1 else {'separate': True}
        fast = gradients | {'cpu': functools.partial(backward, **options)}
        return lax.platform_dependent(x, kernel, g, **fast, default=gradient(plain))

    f.defvjp(f_forward, f_backward, symbolic_zeros=True)
    return jax.jit(f, inline=True)


def _call(
    forms: tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]],
    x: Any,
    kernel: jax.Array,
    cuda: Callable[..., Any] | None = None,
    **settings: int,
) -> jax.Array:
    if _plain_only.get():
        return forms[0](x, kernel, **settings)
    return _with_fast_forms(*forms, cuda, **settings)(x, kernel)


def _same_padding(size: int, stride: int) -> tuple[int, int]:
    """SAME padding (before, after) of one axis of length `size` for a window of 3."""
    total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
    return total // 2, total - total // 2


def _pad(x: jax.Array, stride: int, zero: ArrayLike = 0.0) -> jax.Array:
    """`x` with SAME padding of `zero`."""
    sides = [(*_same_padding(size, stride), 0) for size in x.shape[1:3]]
    return lax.pad(x, jnp.asarray(zero, x.dtype), [(0, 0, 0), *sides, (0, 0, 0)])


def _unpad(y: jax.Array, height: int, width: int) -> jax.Array:
    """`y`, which has SAME padding of stride 2, without it."""
    top, left = _same_padding(height, 2)[0], _same_padding(width, 2)[0]
    return y[:, top : top + height, left : left + width]


def _zero_after(x: jax.Array) -> jax.Array:
    """A zero that depends on `x`: what uses it runs after `x` (README.md, "What helped")."""
    return (x.ravel()[0] > jnp.inf).astype(x.dtype)


def _windows(x: jax.Array, stride: int, zero: ArrayLike = 0.0) -> list[jax.Array]:
    """The nine inputs of the 3×3 window of each output, row by row: `[B, H / s, W / s, C]`."""
    b, h, w, c = x.shape
    padded = _pad(x, stride, zero)
    down, right = stride * (-(-h // stride) - 1) + 1, stride * (-(-w // stride) - 1) + 1
    return [
        lax.slice(padded, (0, i, j, 0), (b, i + down, j + right, c), (1, stride, stride, 1))
        for i in range(3)
        for j in range(3)
    ]


def _patches(x: jax.Array, stride: int) -> jax.Array:
    """The 3×3 window of each output, as `[B, ceil(H / stride), ceil(W / stride), 9·C]`."""
    b, h, w, c = x.shape
    if stride == 1 or h % 2 or w % 2:
        return jnp.concatenate(_windows(x, stride), axis=-1)
    # Even sizes are padded only below and on the right, so that two pixels of a window are adjacent
    # in memory: a third as many copies.
    pairs = x.reshape(b, h // 2, 2, w // 2, 2 * c)
    rows = [pairs[:, :, 0], pairs[:, :, 1], jnp.pad(pairs[:, 1:, 0], _after(1))]
    pieces = [(row, jnp.pad(row[:, :, 1:, :c], _after(2))) for row in rows]
    return jnp.concatenate([piece for pair in pieces for piece in pair], axis=-1)


def _after(axis: int) -> list[tuple[int, int]]:
    """Widths for `jnp.pad` that add one zero after an axis of a 4-D array."""
    return [(0, int(i == axis)) for i in range(4)]


def _shift(x: jax.Array, down: int, right: int) -> jax.Array:
    """`x` shifted by 0 or 1 pixel down and right, filled with zeros."""
    b, h, w, c = x.shape
    return jnp.pad(x, ((0, 0), (down, 0), (right, 0), (0, 0)))[:, :h, :w]


def _interleave(rows: list[list[jax.Array]]) -> jax.Array:
    """[[a, b], [c, d]] of `[B, H, W, C]` to `[B, 2H, 2W, C]`, whose even rows alternate a and b."""
    b, h, w, c = rows[0][0].shape
    stacked = [jnp.stack(row, axis=3) for row in rows]  # [B, H, W, 2, C]
    return jnp.stack(stacked, axis=2).reshape(b, 2 * h, 2 * w, c)


def _scatter_windows(taps: list[list[jax.Array]]) -> jax.Array:
    """Sum of 3×3 windows placed with stride 2: `y[2i + k] += taps[k][i]`, cut to twice the size.

    The adjoint of reading windows with stride 2. Each output pixel is the sum of 1, 2 or 4 of the
    nine taps, depending on the parity of its row and column.
    """
    (a, b, c), (d, e, f), (g, h, i) = taps
    even = [a + _shift(c, 0, 1) + _shift(g, 1, 0) + _shift(i, 1, 1), b + _shift(h, 1, 0)]
    odd = [d + _shift(f, 0, 1), e]
    return _interleave([even, odd])


# Depthwise ----------------------------------------------------------------------------------------


def _plain_depthwise(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return _plain(x, kernel, stride, groups=x.shape[-1])


def _depthwise_forward(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    acc = _accumulator(x)
    pairs = zip(_windows(x, stride), kernel.astype(acc).reshape(9, -1), strict=True)
    products = (window.astype(acc) * tap for window, tap in pairs)
    return functools.reduce(operator.add, products).astype(x.dtype)


def _depthwise_backward(
    x: jax.Array, kernel: jax.Array, g: jax.Array, stride: int
) -> tuple[jax.Array, jax.Array]:
    acc = _accumulator(x)
    b, h, w, c = x.shape
    if stride == 1:
        gx = _depthwise_forward(g, kernel[::-1, ::-1], 1)
    else:
        gs = g.astype(acc)
        taps = kernel.astype(acc).reshape(3, 3, c)
        y = _scatter_windows([[gs * taps[i, j] for j in range(3)] for i in range(3)])
        gx = _unpad(y, h, w).astype(x.dtype)
    # One fused loop over several images; see README.md, "What helped".
    groups = b // max(n for n in range(1, _UNROLLED_IMAGES + 1) if b % n == 0)
    products = [
        sum(
            window[k : k + groups].astype(acc) * g[k : k + groups].astype(acc)
            for k in range(0, b, groups)
        )
        for window in _windows(x, stride, _zero_after(g))
    ]
    gk = jnp.stack(products).sum((1, 2, 3))
    return gx, gk.reshape(kernel.shape).astype(kernel.dtype)


def depthwise_conv(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Convolves every channel with its own 3×3 kernel; the stride is 1 or 2.

    Maps [B, H, W, C] with a kernel [3, 3, 1, C] to [B, ceil(H / stride), ceil(W / stride), C].
    """
    forms = _plain_depthwise, _depthwise_forward, _depthwise_backward
    return _call(forms, x, kernel, stride=stride)


# Pointwise ----------------------------------------------------------------------------------------


def _product(x: jax.Array, matrix: jax.Array, contract: tuple[int, int] = (-1, 0)) -> jax.Array:
    """Product of two matrices over the given axes, at least in float32."""
    axes = (contract[0] % 2,), (contract[1],)
    return lax.dot_general(x, matrix, (axes, ((), ())), preferred_element_type=_accumulator(x))


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])


def _plain_pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _plain(x, kernel, 1)


def _pointwise_forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _product(_flat(x), kernel[0, 0]).reshape(*x.shape[:-1], -1).astype(x.dtype)


def _pointwise_backward(
    x: jax.Array, kernel: jax.Array, g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    gx = _product(_flat(g), kernel[0, 0], (-1, 1)).reshape(x.shape).astype(x.dtype)
    gk = _product(_flat(x), _flat(g), (0, 0))
    return gx, gk[None, None].astype(kernel.dtype)


def pointwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """1×1 convolution of [B, H, W, I] with a kernel [1, 1, I, O]; returns [B, H, W, O]."""
    return _call((_plain_pointwise, _pointwise_forward, _pointwise_backward), x, kernel)


# Dense 3×3 ----------------------------------------------------------------------------------------


def _conv_forward(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    height, width = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    y = _product(_flat(_patches(x, stride)), kernel.reshape(-1, kernel.shape[-1]))
    return y.reshape(x.shape[0], height, width, -1).astype(x.dtype)


def _conv_backward(
    x: jax.Array, kernel: jax.Array, g: jax.Array, stride: int
) -> tuple[jax.Array, jax.Array]:
    b, h, w, _ = x.shape
    gk = _product(_flat(_patches(x, stride)), _flat(g), (0, 0)).reshape(kernel.shape)
    if stride == 1:
        gx = _conv_forward(g, kernel[::-1, ::-1].swapaxes(2, 3), 1)
    else:
        gx = _unpad(_conv_transpose_forward((g,), kernel), h, w)
    return gx, gk.astype(kernel.dtype)


def conv(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """3×3 convolution; the stride is 1 or 2.

    Maps [B, H, W, I] with a kernel [3, 3, I, O] to [B, ceil(H / stride), ceil(W / stride), O].
    """
    return _call((_plain, _conv_forward, _conv_backward), x, kernel, stride=stride)


# Transposed 3×3 -----------------------------------------------------------------------------------


def _plain_transpose(xs: Sequence[jax.Array], kernel: jax.Array) -> jax.Array:
    return _conv_transpose(jnp.concatenate(xs, axis=-1), kernel, (2, 2), transpose_kernel=True)


def _split(array: jax.Array, xs: Sequence[jax.Array]) -> list[jax.Array]:
    """Splits `array` along its last axis, as if it were the concatenation of `xs`."""
    ends = itertools.accumulate(x.shape[-1] for x in xs[:-1])
    return jnp.split(array, list(ends), axis=-1)


def _joined(xs: Sequence[jax.Array], kernel: jax.Array) -> Sequence[jax.Array]:
    """The inputs as one array, unless their products with the kernel are smaller.

    In that case, summing the products moves less memory than concatenating the inputs.
    """
    if sum(x.shape[-1] for x in xs) > 9 * kernel.shape[2]:
        return xs
    return (jnp.concatenate(xs, axis=-1),)


def _conv_transpose_forward(xs: Sequence[jax.Array], kernel: jax.Array) -> jax.Array:
    b, h, w, _ = xs[0].shape
    features = kernel.shape[2]
    xs = _joined(xs, kernel)
    # One product with the columns of all nine taps; then overlapping windows are summed.
    taps: Any = sum(
        _product(_flat(x), part.reshape(9 * features, -1), (-1, 1))
        for x, part in zip(xs, _split(kernel, xs), strict=True)
    )
    taps = taps.reshape(b, h, w, 9, features)
    y = _scatter_windows([[taps[:, :, :, 3 * i + j] for j in range(3)] for i in range(3)])
    return y.astype(xs[0].dtype)


def _conv_transpose_backward(
    xs: Sequence[jax.Array], kernel: jax.Array, g: jax.Array, separate: bool = False
) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """With `separate`, each input has its own product: XLA drops those that are not needed."""
    patches = _flat(_patches(g, 2))  # [B·H·W, 9·O]
    joined = _joined(xs, kernel)
    gx = [
        _product(patches, part.reshape(-1, part.shape[-1])).astype(xs[0].dtype)
        for part in _split(kernel, xs if separate else joined)
    ]
    gk = jnp.concatenate([_product(patches, _flat(x), (0, 0)) for x in joined], axis=-1)
    if len(gx) < len(xs):
        gx = _split(gx[0], xs)
    gxs = tuple(part.reshape(x.shape) for part, x in zip(gx, xs, strict=True))
    return gxs, gk.reshape(kernel.shape).astype(kernel.dtype)


def sub_pixel_kernel(kernel: jax.Array) -> jax.Array:
    """The kernel of a transposed convolution as that of a 2×2 convolution (Shi et al., 2016).

    Its outputs are those of the four parities of row and column, [2, 2, I, 4 · O] of [3, 3, O, I].
    Seven of the sixteen taps are zero.
    """
    features, inputs = kernel.shape[2:]

    def by_parity(kernel: jax.Array, axis: int) -> jax.Array:
        # y[2i] = tap 2 · x[i - 1] + tap 0 · x[i] and y[2i + 1] = tap 1 · x[i].
        first, second, third = jnp.split(kernel, 3, axis)
        return jnp.concatenate([third, first, jnp.zeros_like(first), second], axis)

    taps = by_parity(by_parity(kernel, 0), 1).reshape(2, 2, 2, 2, features, inputs)
    return taps.transpose(1, 3, 5, 0, 2, 4).reshape(2, 2, inputs, 4 * features)


def sub_pixel_conv(xs: Sequence[jax.Array], kernel: jax.Array) -> jax.Array:
    """`conv_transpose` as an ordinary convolution with `sub_pixel_kernel`; cuDNN is faster with it.

    Gradients and shapes are those of `conv_transpose`.
    """
    x = jnp.concatenate(xs, axis=-1)
    (b, h, w, _), features = x.shape, kernel.shape[2]
    weights = sub_pixel_kernel(kernel)
    y = lax.conv_general_dilated(x, weights, (1, 1), [(1, 0), (1, 0)], dimension_numbers=_LAYOUT)
    return y.reshape(b, h, w, 2, 2, features).swapaxes(2, 3).reshape(b, 2 * h, 2 * w, features)


def conv_transpose(xs: Sequence[jax.Array], kernel: jax.Array) -> jax.Array:
    """3×3 transposed convolution with stride 2: the adjoint of `conv` with stride 2 on even sizes.

    Equal to Keras' `Conv2DTranspose(kernel_size=3, strides=2, padding='same')` and to Flax'
    `ConvTranspose(padding='SAME', transpose_kernel=True)`, with the kernel in their layout.

    Maps arrays [B, H, W, I_1], [B, H, W, I_2], …, which count as concatenated, with a kernel
    [3, 3, O, I_1 + I_2 + …] to [B, 2H, 2W, O].
    """
    forms = _plain_transpose, _conv_transpose_forward, _conv_transpose_backward
    return _call(forms, tuple(xs), kernel, sub_pixel_conv)
