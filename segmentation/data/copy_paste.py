"""Copy-paste augmentation: instances of one training image on another (Ghiasi et al. 2021)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from segmentation.data import masks

_CHANCE = 0.5  # of each instance to be pasted


def choose_instances(
    record: Mapping[str, Any], category_to_class: Mapping[int, int], rng: np.random.Generator
) -> dict[str, Any]:
    """The record with a random part of its instances of the label space, but no crowd regions.

    Each is chosen with probability 1/2, and at least one if there is any. `record` is of a
    `coco.CocoSplit`.
    """
    instances = record['instances']
    known = np.isin(instances['category_id'], list(category_to_class)) & ~instances['is_crowd']
    chosen = known & (rng.random(len(known)) < _CHANCE)
    if known.any() and not chosen.any():
        chosen[rng.choice(np.flatnonzero(known))] = True
    return {**record, 'instances': {name: each[chosen] for name, each in instances.items()}}


def paste(
    image: np.ndarray, label: np.ndarray, other: np.ndarray, pasted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Puts the pixels of another image that `pasted` gives a class onto an image.

    Args:
      image: uint8 `[S, S, 3]`.
      label: uint8 `[S, S]`.
      other: uint8 `[S, S, 3]`.
      pasted: uint8 `[S, S]`, classes of the chosen instances of the other image, 0 elsewhere.

    Returns:
      The new image and label.
    """
    shown = (pasted > 0) & (pasted != masks.IGNORE)
    return np.where(shown[..., None], other, image), np.where(shown, pasted, label)
