"""Names of splits: those that can be stored, and the split that a usual name means."""

import re
from collections.abc import Sequence

from segmentation.data import layouts


def usable(splits: Sequence[layouts.Split]) -> dict[str, layouts.Split]:
    """Split by a name of letters, digits and '_' that no other split has; tfds needs such names."""
    result: dict[str, layouts.Split] = {}
    for split in splits:
        plain = re.sub(r'[^A-Za-z0-9_]+', '_', split.name).strip('_') or 'split'
        plain = 'all_images' if plain == 'all' else plain
        name, number = plain, 2
        while name in result:
            name, number = f'{plain}_{number}', number + 1
        result[name] = split
    return result


def resolve(name: str, splits: Sequence[str], where: str) -> str:
    """The split that a name means: itself, or 'valid' for 'val' if that is the only such name.

    If there is only one split, it is also called 'train'.

    Raises:
      ValueError: there is no such split.
    """
    if name in splits:
        return name
    usual = layouts.usual_name(name)
    same = [split for split in splits if usual and layouts.usual_name(split) == usual]
    if not same and usual == 'train' and len(splits) == 1 and not layouts.usual_name(splits[0]):
        same = list(splits)
    if len(same) == 1:
        return same[0]
    several = f'; {", ".join(same)} could be meant' if same else ''
    remedy = 'data.train_splits and data.val_splits say which splits to use'
    if usual == 'val' and not same:
        remedy += ', or data.folds=5 holds out a fifth of the training images for validation'
    raise ValueError(f'{where} has no split {name!r}, only {", ".join(splits)}{several}; {remedy}')
