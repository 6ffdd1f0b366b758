"""Fits standardization and principal components to features that do not fit into memory."""

import contextlib
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from analysis.embeddings.schema import Reduction

_MORE, _PASSES = 16, 6  # directions beyond D, and passes, of the subspace iteration
_NO_VARIANCE = 1e-6  # of the first component: what rounding in float32 leaves
_BLOCK = 256  # rows of the features that are in memory at once


@contextlib.contextmanager
def kept(
    pieces: Iterable[np.ndarray], width: int, folder: pathlib.Path
) -> Iterator[Callable[[], Iterator[np.ndarray]]]:
    """Keeps features that come once in a temporary file, and yields what `fit` takes.

    Args:
      pieces: rows of features, float32 `[b, F]` each.
      width: F, at least 1.
      folder: where there is room for the file.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        for piece in pieces:
            file.write(piece.tobytes())

        def blocks() -> Iterator[np.ndarray]:
            # Read, not mapped: mapped pages would count as memory of this process.
            file.seek(0)
            while len(block := np.fromfile(file, np.float32, _BLOCK * width)):
                yield block.reshape(-1, width)

        yield blocks


def fit(
    blocks: Callable[[], Iterator[np.ndarray]],
    layers: tuple[str, ...],
    dimensions: int,
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> Reduction:
    """Fits a reduction.

    The moments take one pass over the data. The components are those of a subspace iteration with
    Rayleigh-Ritz (Halko et al. 2011, algorithm 4.4), one pass per iteration.

    Args:
      blocks: returns an iterator over the rows, float32 `[b, F]` each; called once per pass.
      layers: names of the layers that the features belong to.
      dimensions: maximum of D; D is smaller if the features vary in fewer directions.
      seed: of the first directions.
      weights: float `[F]`, positive, by which the standardized features are multiplied; default: 1.

    Raises:
      ValueError: no feature varies.
    """
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for block in blocks():
        # Chan et al. 1979: the squares of float32 numbers with a large mean would cancel.
        here, wide = len(block), block.astype(np.float64)
        change = wide.mean(0) - mean
        squares = squares + np.square(wide - wide.mean(0)).sum(0)
        squares += change**2 * count * here / (count + here)
        mean = mean + change * here / (count + here)
        count += here
    deviation = np.sqrt(squares / count)
    varies = deviation > 1e-6 * np.abs(mean) + 1e-12
    dimensions = min(dimensions, count - 1, int(varies.sum()))
    if dimensions < 1:
        raise ValueError(f'{count} images have no features that vary: there is nothing to embed.')
    weights = np.ones(len(deviation)) if weights is None else weights
    scale = np.divide(weights, deviation, out=np.zeros_like(deviation), where=varies)
    mean, scale = mean.astype(np.float32), scale.astype(np.float32)

    width = min(dimensions + _MORE, len(mean))
    start = np.random.default_rng(seed).standard_normal((len(mean), width))
    basis = np.linalg.qr(start * varies[:, None])[0].astype(np.float32)
    for _ in range(_PASSES):
        image, inner = np.zeros(basis.shape), np.zeros((width, width))
        for block in blocks():
            standard = (block - mean) * scale
            scores = standard @ basis
            image += standard.T @ scores
            inner += scores.T @ scores
        variances, rotation = np.linalg.eigh(inner / count)
        last, basis = basis, np.linalg.qr(image)[0].astype(np.float32)
    # Rounding leaves some variance in directions that have none; its weight would be enormous.
    dimensions = min(dimensions, int((variances > _NO_VARIANCE * variances[-1]).sum()))
    components = last @ rotation[:, ::-1][:, :dimensions]
    variances = variances[::-1][:dimensions]
    # Signs are arbitrary: the largest loading of each component is made positive.
    components *= np.sign(components[np.abs(components).argmax(0), np.arange(dimensions)])
    return Reduction(
        layers, mean, scale, components.astype(np.float32),
        weights=(variances**-0.25).astype(np.float32),
        explained=variances / np.square(weights[varies]).sum(),
    )  # fmt: skip
