"""What label issues suggest, as corrections of the annotations."""

from collections.abc import Iterator

from analysis.label_issues.schema import LabelIssues
from analysis.stage.view import View
from segmentation.data.corrections.decisions import Correction

# Action by kind of issue. Other kinds suggest nothing: an outline has to be drawn again.
ACTIONS = {'missing instance': 'add', 'wrong class': 'change', 'spurious label': 'remove'}


def suggested(view: View, issues: LabelIssues, least: float) -> Iterator[Correction]:
    """The corrections that issues with at least this score suggest, most suspicious first.

    Args:
      view: whose issues they are.
      issues: of the view.
      least: score in [0, 1].
    """
    size = view.config.data.image_size
    for region in issues.regions.to_pylist():
        action = ACTIONS.get(region['kind'])
        if action is None or region['score'] < least:
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
            kind=region['kind'],
            score=region['score'],
        )
