"""Stops a preparation that would lose most of a split, and says why in words."""

import collections
from collections.abc import Mapping
from typing import Any

from segmentation.data.entries import Annotations, category_name, id_key, show_examples
from segmentation.data.layouts import usual_name

MAX_LOST = 0.5  # fraction of the annotations or of the images of a split

# Beginning of a reason → what it means, and what to do. The first that fits is used.
_CAUSES = (
    ('annotation: no segmentation, only a box', 'boxes but no outlines: masks are needed',
     'export the data as instance segmentation (polygons or masks), not as object detection'),
    ('annotation: no segmentation', 'no outlines: masks are needed',
     'export the data as instance segmentation (polygons or masks)'),
    ('annotation: unknown image', 'annotations refer to images that the file does not list',
     'export images and annotations together'),
    ('annotation: unknown category', 'annotations use categories that the file does not list',
     "add them to the list 'categories'"),
    ('annotation: iscrowd', 'iscrowd has values other than 0 and 1', 'set it to 0 for objects'),
    ('annotation: size of the run lengths', 'masks have another size than their images',
     'export the masks at the size of the images'),
    ('annotation: a coordinate', 'outlines lie far outside their images',
     'coordinates must be pixels of the annotated image'),
    ('annotation: a polygon', 'polygons are malformed', 'a polygon is a list x0, y0, x1, y1, …'),
    ('annotation: no polygon has 3 points', 'polygons of one or two points have no area',
     'export outlines, not lines or boxes by two corners'),
    ('image: missing file', 'image files are missing',
     'put the images beside the annotations (segmentation/data/README.md lists the places)'),
    ('image: size mismatch', 'image files have other sizes than their annotations',
     'were images resized after they were annotated? Export both together'),
    ('image: unsafe', 'file names of images are missing or lead out of the data set',
     'correct file_name in the annotation file'),
    ('image: width and height', 'images have no usable width and height', 'correct the two fields'),
    ('image: its id is also', 'images of different files have the same id',
     'number the images of merged files differently'),
    ('image: no usable id', 'images have no usable id', 'give each a whole number or a text as id'),
    ('image: no mask', 'images have no mask', 'a mask has the name of its image; export both'),
    ('annotation: a mask without', 'masks have no image', 'a mask has the name of its image'),
    ('annotation: a label file without', 'label files have no image', 'add the images'),
    ('image: ', 'image files cannot be used', 'see the reason'),
)  # fmt: skip
# The entry is not needed, or nobody has annotated the image.
HARMLESS = (
    'annotation: the same entry again', 'annotation: a second mask of an image',
    'image: id used before', 'image: no annotation file', 'image: nobody has annotated it',
    'category: listed twice',
)  # fmt: skip


class DataLoss(ValueError):
    """Most of a split would be lost."""


def check(split: str, title: str, annotations: Annotations, accept: bool) -> None:
    """Checks what is left of a split.

    Args:
      split: its name.
      title: what error messages call its annotations.
      annotations: what was read of it.
      accept: whether to go on unless no image is left.

    Raises:
      DataLoss: no instance is left, or less than half of its annotations or images.
    """
    images = annotations.images
    instances = [instance for image in images for instance in image.instances]
    skipped = annotations.skipped.as_dict()
    harmless = {reason: skipped.get(reason, {'count': 0})['count'] for reason in HARMLESS}

    def needless(kind: str) -> int:
        return sum(count for reason, count in harmless.items() if reason.startswith(kind))

    given = annotations.num_annotations - needless('annotation')
    listed = annotations.num_images - needless('image')
    if accept and images:
        return
    problem = ''
    if not images:
        problem = f'none of its {listed or annotations.num_images} images can be used'
    elif not given:
        problem = 'its annotations are empty'
    elif not instances:
        problem = f'none of its {given} annotations can be used'
    elif len(instances) < given * (1 - MAX_LOST):
        problem = f'{given - len(instances)} of its {given} annotations cannot be used'
    elif len(images) < listed * (1 - MAX_LOST):
        problem = f'{listed - len(images)} of its {listed} images cannot be used'
    elif _num_empty(annotations) > len(instances) * MAX_LOST:
        problem = f'{_num_empty(annotations)} of its {len(instances)} masks have no pixel'
    if problem:
        text = f'Split {split!r} ({title}): {problem}.'
        raise DataLoss(
            '\n'.join([text, *_explain(annotations, given), _remedy(split, bool(images))])
        )


def note_categories(document: Mapping[str, Any], annotations: Annotations) -> None:
    """Adds a note for each category that keeps less than half of its annotations.

    Args:
      document: the annotations in COCO's form.
      annotations: what was read of it.
    """
    given = annotations.named.copy()
    names = {category.id: category.name for category in annotations.categories}
    kept = collections.Counter(
        names[instance.category_id] for image in annotations.images for instance in image.instances
    )
    listed: collections.Counter[str] = collections.Counter()
    for category in document['categories']:
        if isinstance(category, dict):
            name = category_name(category.get('name'))
            listed[name or ''] += given.pop(id_key(category.get('id')), 0)
    for name, count in listed.items():
        if name in names.values() and kept[name] < count * (1 - MAX_LOST):
            annotations.notes.add(
                'category keeps less than half of its annotations', name, f'{kept[name]} of {count}'
            )


def _num_empty(annotations: Annotations) -> int:
    return annotations.notes.as_dict().get('mask without a pixel', {'count': 0})['count']


def _explain(annotations: Annotations, given: int) -> list[str]:
    """The causes in words, the main one first, with counts and three examples."""
    lines: list[str] = []
    reasons = {
        reason: entry
        for reason, entry in annotations.skipped.as_dict().items()
        if reason.startswith(('annotation: ', 'image: ')) and reason not in HARMLESS
    }
    # Why images are left out explains why their annotations are.
    follows = reasons.pop('annotation: its image is left out', {'count': 0})
    own = [e['count'] for reason, e in reasons.items() if reason.startswith('annotation: ')]
    if follows['count'] >= max(own, default=0):
        reasons = dict(sorted(reasons.items(), key=lambda item: item[0].startswith('annotation: ')))
    for reason, entry in list(reasons.items())[:4]:
        known = ((c, r) for start, c, r in _CAUSES if reason.startswith(start))
        cause, remedy = next(known, (reason, ''))
        examples = show_examples(entry, 3)
        label = 'Main cause' if not lines else 'Also'
        text = f'{label}: {cause}. {entry["count"]} × {reason} (e.g. {examples})'
        lines.append(f'{text}; {remedy}.' if remedy else f'{text}.')
    if not lines and not given:
        lines.append('The annotation list has no entry: was it exported before it was annotated?')
    elif not lines:
        lines.append('Are the coordinates fractions of the image size? They must be pixels.')
    return lines


def _remedy(split: str, any_image: bool) -> str:
    if not any_image:
        return 'Nothing is prepared.'
    text = (
        'Nothing is prepared. --accept_loss of scripts/prepare_coco.py continues with the rest; '
        f'--splits leaves out {split!r}.'
    )
    if usual_name(split) == 'val':
        text += ' Then set data.val_splits or data.folds to choose what to validate on.'
    return text
