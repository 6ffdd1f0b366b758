"""Finds groups of images that are copies of each other.

Candidates are images whose 8×8 gray values correlate, also with the mirrored image. Each pair is
then aligned and compared at 64×64 pixels (`alignment`).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from tqdm import tqdm

from analysis.duplicates.alignment import align, light
from analysis.duplicates.schema import COPY_OF_COPY
from analysis.similar.neighbors import neighbors

SIDE = 64  # pixels a side of the gray images
# Of copies of photographs that are mirrored, cropped by up to 10 % and brightened, 99 % have more
# than 0.8; of 1,432 photographs, the most similar pair (taken one after the other) has 0.70.
THRESHOLD = 0.75
_GRID = 8  # cells a side that candidates are found with
_NEIGHBORS = 8
_CANDIDATE = 0.7  # least correlation of a candidate
_BATCH = 256  # pairs at once
# Differences that count as a change: of scale and shift, and of the gray values.
_MOVED, _GAIN, _LEVEL = 0.02, 0.06, 4.0


@dataclasses.dataclass(frozen=True)
class Copies:
    """Groups and the images in them: numbers into the images that were searched."""

    members: tuple[int, ...]  # the largest image first
    kinds: tuple[tuple[str, ...], ...]  # see `schema.Member`
    similarity: tuple[float, ...]


def _describe(gray: np.ndarray) -> np.ndarray:
    """Unit vectors `[N, 64]`, in which brightness and contrast make no difference."""
    step = SIDE // _GRID
    points = gray.reshape(-1, _GRID, step, _GRID, step).mean((2, 4), dtype=np.float32)
    points = points.reshape(len(gray), -1)
    points -= points.mean(1, keepdims=True)
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-3)


def candidates(gray: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Pairs of images that may be copies, int64 `[P, 3]`: two numbers, and whether one is mirrored.

    Args:
      gray: uint8 `[N, SIDE, SIDE]`.
      first: numbers of the images to compare, int `[n]`; the pairs are numbers into these.
    """
    points, found = _describe(gray)[first], []
    for mirrored in (0, 1):
        queries = None
        if mirrored:
            queries = points.reshape(-1, _GRID, _GRID)[:, :, ::-1].reshape(points.shape)
        index, distance = neighbors(points, _NEIGHBORS, queries)
        number, place = np.nonzero(distance**2 <= 2 - 2 * _CANDIDATE)
        pairs = np.sort(np.stack([number, index[number, place]], 1), axis=1)
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]  # an image can be its own mirror image
        found.append(np.insert(pairs, 2, mirrored, axis=1))
    return np.unique(np.concatenate(found).astype(np.int64), axis=0)


def _compare(gray: np.ndarray, pairs: np.ndarray, title: str = '') -> tuple[np.ndarray, np.ndarray]:
    """Places and similarities of pairs, see `alignment.align`."""
    places, similarity = np.zeros((len(pairs), 4)), np.zeros(len(pairs))
    for start in tqdm(range(0, len(pairs), _BATCH), desc=title, unit='batch', delay=2):
        block = slice(start, start + _BATCH)
        places[block], similarity[block] = align(*_load(gray, pairs[block]))
    return places, similarity


def _load(gray: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = (gray[pairs[:, k]].astype(np.float32) for k in (0, 1))
    mirrored = pairs[:, 2].astype(bool)
    second[mirrored] = second[mirrored][:, :, ::-1]
    return first, second


def _kinds(place: np.ndarray, change: np.ndarray, mirrored: bool) -> tuple[str, ...]:
    cropped = np.abs(place - [1, 0, 1, 0]).max() > _MOVED
    brighter = abs(change[0] - 1) > _GAIN or abs(change[1]) > _LEVEL
    names = {'mirrored': mirrored, 'cropped': cropped, 'brightness': brighter}
    return tuple(name for name, holds in names.items() if holds) or ('re-encoded',)


def find(gray: np.ndarray, digests: Sequence[str], pixels: np.ndarray) -> list[Copies]:
    """Groups of copies, also of copies of copies.

    Args:
      gray: the images, uint8 `[N, SIDE, SIDE]`.
      digests: of their files.
      pixels: their sizes `[N]`; the first image of a group has most pixels.

    Returns:
      Groups in the order of their first images.
    """
    _, first, same = np.unique(np.array(digests), return_index=True, return_inverse=True)
    pairs = candidates(gray, first)
    # Numbers into all images: a copy of `gray` would take half a gigabyte at COCO's size.
    numbers = np.column_stack([first[pairs[:, :2]], pairs[:, 2]])
    _, similarity = _compare(gray, numbers, 'compare candidates')
    kept = pairs[similarity >= THRESHOLD]
    shape = len(first), len(first)
    graph = sparse.coo_matrix((np.ones(len(kept)), (kept[:, 0], kept[:, 1])), shape)
    label = sparse.csgraph.connected_components(graph, directed=False)[1][same]
    order = np.lexsort((np.arange(len(label)), -pixels, label))
    groups = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
    groups = [group for group in groups if len(group) > 1]
    found = [_group(gray, digests, group) for group in groups]
    return sorted(found, key=lambda copies: copies.members[0])


def _group(gray: np.ndarray, digests: Sequence[str], members: np.ndarray) -> Copies:
    """Compares the members of a group with the first one, as they are and mirrored."""
    first, *rest = members.tolist()
    pairs = np.array([(first, other, mirrored) for mirrored in (0, 1) for other in rest])
    places, similarity = _compare(gray, pairs)
    mirrored = similarity[len(rest) :] > similarity[: len(rest)]
    best = np.arange(len(rest)) + len(rest) * mirrored
    changes = light(*_load(gray, pairs[best]), places[best])
    found = similarity[best]
    low = np.flatnonzero(found < THRESHOLD)  # unless the pair is alike the other way round
    _, again = _compare(gray, pairs[best[low]][:, [1, 0, 2]])
    found[low] = np.maximum(found[low], again)
    kinds: list[tuple[str, ...]] = [()]
    values = [1.0]
    for k, (row, other) in enumerate(zip(best, rest, strict=True)):
        exact, direct = digests[other] == digests[first], found[k] >= THRESHOLD
        change = _kinds(places[row], changes[k], bool(mirrored[k])) if direct else (COPY_OF_COPY,)
        kinds.append(('exact',) if exact else change)
        values.append(1.0 if exact else float(found[k]))
    return Copies(tuple(members.tolist()), tuple(kinds), tuple(values))
