"""Puts the blocks of features of objects together to one embedding.

Each block is reduced to components of its own and scaled to unit length. The blocks side by side
are the embedding, so that each has the same say in a distance, whatever its number of features.
"""

import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from analysis.embeddings.reduction import fit, kept
from analysis.objects.looks import BLOCKS

NETWORK = 'network'  # the block of the activations
FEWEST = 4  # objects for an embedding
FITTED = 20_000  # objects that the components are fitted to, at least, if there are as many

Rows = Callable[[], Iterator[np.ndarray]]
Project = Callable[[np.ndarray], np.ndarray]


def num_features(layers: Mapping[str, int]) -> dict[str, int]:
    """Number of features by block; `layers` is that by layer."""
    return {NETWORK: sum(layers.values()), **BLOCKS}


def reduce(
    pieces: Iterable[np.ndarray],
    layers: Mapping[str, int],
    dimensions: int,
    seed: int,
    folder: pathlib.Path,
) -> tuple[np.ndarray, dict[str, int], tuple[float, ...]]:
    """Embeds objects. The features of the first FITTED ones are kept on disk meanwhile.

    Args:
      pieces: features, float32 `[b, F]` each, in the order of the blocks: those of `layers`, if
        there are any, then `looks.BLOCKS`.
      layers: number of features by layer.
      dimensions: maximum for each block.
      seed: of the reduction of the activations.
      folder: where there is room for the features.

    Returns:
      Points of unit length, float32 `[M, D]`; dimensions by block; and the explained share of the
      variance of the activations by component. No dimensions for less than FEWEST objects,
      and none for a block that does not vary.
    """
    widths = num_features(layers)
    rest, explained = iter(pieces), tuple[float, ...]()
    count = 0

    def first() -> Iterator[np.ndarray]:
        nonlocal count
        for piece in rest:
            yield piece
            count += len(piece)
            if count >= FITTED:
                return

    with kept(first(), sum(widths.values()), folder) as rows:
        if count < FEWEST:
            return np.zeros((count, 0), np.float32), {}, explained
        projections: dict[str, tuple[slice, Project]] = {}
        start = 0
        for name, width in widths.items():
            columns = slice(start, start + width)
            start += width
            part = _columns(rows, columns)
            if name != NETWORK:
                projections[name] = columns, _components(part, width, dimensions)
            elif width:
                try:
                    reduction = fit(part, tuple(layers), dimensions, seed)
                except ValueError:  # No activation varies: the other blocks may.
                    continue
                projections[name] = columns, reduction.project
                explained = tuple(reduction.explained.tolist())
        found: dict[str, list[np.ndarray]] = {name: [] for name in projections}
        for source in (rows(), rest):
            for block in source:
                for name, (columns, project) in projections.items():
                    found[name].append(project(np.ascontiguousarray(block[:, columns])))
    points = {name: np.concatenate(parts) for name, parts in found.items()}
    number = len(next(iter(points.values())))
    points = {name: each for name, each in points.items() if each.shape[1]}
    if not points:
        return np.zeros((number, 0), np.float32), {}, explained
    scaled = [each / np.sqrt(np.float32(len(points))) for each in points.values()]
    sizes = {name: each.shape[1] for name, each in points.items()}
    return np.concatenate(scaled, 1), sizes, explained


def _columns(rows: Rows, columns: slice) -> Rows:
    return lambda: (np.ascontiguousarray(block[:, columns]) for block in rows())


def points_of(points: np.ndarray, blocks: Mapping[str, int], name: str) -> np.ndarray:
    """The columns of a block of the embedding."""
    names = list(blocks)
    start = sum(blocks[other] for other in names[: names.index(name)])
    return points[:, start : start + blocks[name]]


def _components(rows: Rows, width: int, dimensions: int) -> Project:
    """Maps features that share a unit to principal components, half-whitened and of unit length.

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

    def project(block: np.ndarray) -> np.ndarray:
        points = (block - mean) @ axes
        length = np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
        return (points / length).astype(np.float32)

    return project
