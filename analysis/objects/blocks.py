"""Puts the blocks of features of objects together to one embedding.

Each block is reduced to components of its own and scaled to unit length. The blocks side by side
are the embedding, so that each has the same say in a distance, whatever its number of features.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from analysis.embeddings.reduction import fit
from analysis.objects.looks import BLOCKS

NETWORK = 'network'  # the block of the activations

Rows = Callable[[], Iterator[np.ndarray]]


def reduce(
    rows: Rows, layers: Mapping[str, int], dimensions: int, seed: int
) -> tuple[np.ndarray, dict[str, int], tuple[float, ...]]:
    """Embeds objects.

    Args:
      rows: returns an iterator over features, float32 `[b, F]` each, in the order of the blocks:
        those of `layers`, if there are any, then `looks.BLOCKS`.
      layers: number of features by layer.
      dimensions: maximum for each block.
      seed: of the reduction of the activations.

    Returns:
      Points of unit length, float32 `[M, D]`; dimensions by block; and the explained share of the
      variance of the activations by component.

    Raises:
      ValueError: no activation varies.
    """
    start, explained = sum(layers.values()), tuple[float, ...]()
    found: dict[str, np.ndarray] = {}

    def part(first: int, end: int) -> Rows:
        return lambda: (np.ascontiguousarray(block[:, first:end]) for block in rows())

    if start:
        activations = part(0, start)
        reduction = fit(activations, tuple(layers), dimensions, seed)
        found[NETWORK] = np.concatenate([reduction.project(block) for block in activations()])
        explained = tuple(reduction.explained.tolist())
    for name, width in BLOCKS.items():
        found[name] = _components(part(start, start + width), width, dimensions)
        start += width
    found = {name: points for name, points in found.items() if points.shape[1]}
    scaled = [points / np.sqrt(np.float32(len(found))) for points in found.values()]
    sizes = {name: points.shape[1] for name, points in found.items()}
    return np.concatenate(scaled, 1), sizes, explained


def points_of(points: np.ndarray, blocks: Mapping[str, int], name: str) -> np.ndarray:
    """The columns of a block of the embedding."""
    names = list(blocks)
    start = sum(blocks[other] for other in names[: names.index(name)])
    return points[:, start : start + blocks[name]]


def _components(rows: Rows, width: int, dimensions: int) -> np.ndarray:
    """Principal components of features that share a unit, half-whitened and of unit length.

    They are not standardized: that would give the rarest colors the same say as all others.
    """
    count, total, products = 0, np.zeros(width), np.zeros((width, width))
    for block in rows():
        wide = block.astype(np.float64)
        count, total, products = count + len(block), total + wide.sum(0), products + wide.T @ wide
    mean = total / count
    variances, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    order = np.argsort(-variances)[: min(dimensions, count - 1)]
    kept = order[variances[order] > 1e-9]
    axes = vectors[:, kept] * variances[kept] ** -0.25
    # Signs are arbitrary: the largest loading of each component is made positive.
    axes *= np.sign(axes[np.abs(axes).argmax(0), np.arange(len(kept))]) if len(kept) else 1
    points = np.concatenate([(block - mean) @ axes for block in rows()])
    return (points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)).astype(
        np.float32
    )
