"""What label issues suggest, as corrections of the annotations."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from analysis.label_issues.schema import LabelIssues
from analysis.stage import artifacts
from analysis.stage.view import View
from segmentation.data import label_spaces, split_names
from segmentation.data.corrections.decisions import Correction

# Action by kind of issue. Other kinds suggest nothing: an outline has to be drawn again.
ACTIONS = {'missing instance': 'add', 'wrong class': 'change', 'spurious label': 'remove'}


def source_split(view: View) -> str:
    """The split of the data set that the images of a view are from; '' if they are from several.

    It has the name that the data set gives it: 'valid' or 'val2017', where the config says 'val'.
    """
    data = view.config.data
    names = data.val_splits if view.split == 'val' and not data.folds else data.train_splits
    if len(names) != 1:
        return ''
    splits = list(view.data['fingerprint'].get('splits', {}))
    with contextlib.suppress(ValueError):  # no splits are known
        return split_names.resolve(names[0], splits, '')
    return names[0]


def with_issues(views: Sequence[View]) -> list[View]:
    """The views whose label issues count: not of images that the network was trained on."""

    def is_trained_on(view: View) -> bool:
        # Without images of their own, the training images choose the checkpoint.
        chosen = view.split == 'selection' and not view.config.data.selection_fraction
        return view.split == 'train' or chosen

    views = [view for view in views if artifacts.exists(view, LabelIssues)]
    return [view for view in views if not is_trained_on(view)]


def issues_of(views: Sequence[View]) -> Iterator[tuple[View, LabelIssues]]:
    """The label issues of views; those of an image are of the first view that has it.

    Two checkpoints find the same missing instance, which must not be added twice. Issues of images
    that a network was trained on do not count: it has learnt their errors.

    Raises:
      ValueError: no view has label issues, or they are of different data sets or label spaces.
    """
    if not any(artifacts.exists(view, LabelIssues) for view in views):
        raise ValueError('No run has label issues: run python -m analysis.label_issues first.')
    views = with_issues(views)
    if not views:
        raise ValueError(
            'All label issues are of images that the network was trained on. Train folds, and find '
            'issues in the images that each network has not seen: see analysis/README.md.'
        )
    seen = np.zeros(0, np.int64)
    for view in views:
        if view.data['fingerprint'] != views[0].data['fingerprint']:
            raise ValueError(f'{view.workdir} was trained on other data than {views[0].workdir}.')
        space, first = (each.config.data.label_space for each in (view, views[0]))
        if label_spaces.parse_label_space(space) != label_spaces.parse_label_space(first):
            raise ValueError(
                f'{view.workdir} has the label space {space!r} and {views[0].workdir} {first!r}: '
                'give runs of one label space at a time.'
            )
        issues = artifacts.load(view, LabelIssues)
        is_new = ~np.isin(view.image_ids, seen)
        seen = np.union1d(seen, view.image_ids)
        regions = issues.regions.filter(is_new[issues.regions['row'].to_numpy()])
        yield view, dataclasses.replace(issues, regions=regions)


def suggested(view: View, issues: LabelIssues, least: float) -> Iterator[Correction]:
    """The corrections that issues with at least this probability suggest, most probable first.

    Of several issues on one object, the most probable one counts.

    Args:
      view: whose issues they are.
      issues: of the view.
      least: probability in [0, 1].
    """
    size = view.config.data.image_size
    for region, is_first in zip(issues.regions.to_pylist(), issues.firsts(), strict=True):
        action, probability = ACTIONS.get(region['kind']), region['probability']
        if not is_first or action is None or probability < least:
            continue
        is_new = action == 'add'
        yield Correction(
            action=action,
            image_id=int(view.image_ids[region['row']]),
            annotation_id=None if is_new else region['annotation_id'],
            category='' if action == 'remove' else region['suggested'],
            region=region['rle'] if is_new else b'',
            size=(size, size) if is_new else (0, 0),
            file_name=region['file_name'],
            split=source_split(view),
            kind=region['kind'],
            score=probability,
            is_class=True,
        )
