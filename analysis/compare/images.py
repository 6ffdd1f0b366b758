"""The images that two runs have in common, and whether the runs can be compared on them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from analysis.compare import representations
from analysis.stage.run import Analysis
from analysis.stage.view import View
from segmentation.data.label_spaces import parse_label_space

# Fields of the config's `data` on which labels depend.
LABEL_FIELDS = 'label_space', 'overlap', 'draw_last', 'crowd'


def _has_same_splits(first: Analysis, other: Analysis) -> bool:
    """Whether images, ids and labels of the analyzed splits are the same.

    Other splits of the data set may differ: one run may have been trained on corrected labels.
    """

    def described(analysis: Analysis) -> list[tuple[dict[str, Any], list[int]]]:
        return [
            (
                {key: v for key, v in split.fingerprint.items() if key not in ('source', 'id')},
                split.index.image_id.tolist(),
            )
            for split in analysis.examples.splits
        ]

    return described(first) == described(other)


def resolution(views: Iterable[View]) -> str:
    """At which the pixels of all are the same, see `Predictions.confusions`.

    'network' if they agree in data.image_size, 'original' otherwise.
    """
    return 'network' if len({view.config.data.image_size for view in views}) == 1 else 'original'


def same_labels(first: View, other: View) -> dict[str, bool]:
    """Whether the runs agree, for each of `LABEL_FIELDS`."""

    def meaning(view: View, field: str) -> Any:
        value = view.config.data[field]
        return parse_label_space(value) if field == 'label_space' else value

    return {name: meaning(first, name) == meaning(other, name) for name in LABEL_FIELDS}


def common_rows(views: Mapping[str, Analysis]) -> dict[str, np.ndarray]:
    """Rows of the common images in each run, int64 `[n]`, in the order of the first run.

    Raises:
      ValueError: the runs cannot be compared: other data, classes or images.
    """
    first, *others = views.values()
    kept = np.ones(len(first), np.bool_)
    for other in others:
        is_same = first.data['fingerprint'] == other.data['fingerprint']
        if not is_same and not _has_same_splits(first, other):
            raise ValueError(
                f'{other.workdir} was trained on another data set than {first.workdir}, whose '
                f'split {first.split} has other images or labels. Runs can be compared on a split '
                'that is the same in both data sets.'
            )
        if len(first.class_names) != len(other.class_names):
            raise ValueError(
                f'{first.workdir} has {len(first.class_names)} classes and {other.workdir} '
                f'{len(other.class_names)} classes; only runs with equally many can be compared. '
                'Analyze a foreign model again with the label space of the other run.'
            )
        differing = [name for name, same in same_labels(first, other).items() if not same]
        if differing and resolution((first, other)) == 'original':
            raise ValueError(
                f'{first.workdir} and {other.workdir} differ both in data.image_size and in how '
                f'labels are made ({", ".join(f"data.{name}" for name in differing)}); runs that '
                'differ in one of the two can be compared. Analyze a foreign model again with the '
                'config of the other run (--config) and another --output.'
            )
        kept &= np.isin(first.image_ids, other.image_ids)
    if kept.sum() < 2 * representations.FEWEST:
        counts = ' and '.join(str(len(view)) for view in views.values())
        raise ValueError(
            f'The runs have {kept.sum()} images in common, of {counts}: at least '
            f'{2 * representations.FEWEST} are needed. Are they different folds?'
        )
    found = {}
    for name, view in views.items():
        order = np.argsort(view.image_ids)
        places = np.searchsorted(view.image_ids, first.image_ids[kept], sorter=order)
        found[name] = order[places]
    return found
