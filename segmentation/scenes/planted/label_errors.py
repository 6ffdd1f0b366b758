"""Label errors in the annotations of a drawn scene, at most one per scene."""

import math

import numpy as np
from pycocotools import mask as mask_utils

from segmentation.scenes.description import CATEGORY_ID, Scene
from segmentation.scenes.drawing.rendering import Rendered
from segmentation.scenes.outlines import annotate_as

_PERSON, _CAR = CATEGORY_ID['person'], CATEGORY_ID['car']
# Kind of error: the things that may have it, and the wrong category.
_ERRORS: dict[str, tuple[tuple[str, ...], int | None]] = {
    'person missing': (('person',), None),
    'person labelled car': (('person',), _CAR),
    'suitcase labelled car': (('suitcase',), _CAR),
    'sloppy outline': (('person', 'car'), None),
    'picture labelled person': (('picture',), _PERSON),
    'toy car labelled car': (('toy car',), _CAR),
}
KINDS = tuple(_ERRORS)
# Things that an error needs in addition to people and cars.
HOSTS = {kind: things[0] for kind, (things, _) in _ERRORS.items() if 'person' not in things}
SMALLEST = 0.005  # least visible fraction of the image of a thing with a wrong label


def annotate_with_error(
    scene: Scene, rendered: Rendered, number: int, kind: str | None
) -> tuple[dict[int, dict], dict | None]:
    """COCO annotations of a scene, one of them wrong.

    Args:
      scene: its description.
      rendered: the drawn scene.
      number: id of the image.
      kind: of the error, one of KINDS, or None.

    Returns:
      Index of the thing → its annotation, in random order; and the error: `kind`, `object` (index
      of the thing), `annotation_id`, and `truth`, the correct annotation (None if there should be
      none). The error is None if no suitable thing is large enough.
    """
    categories = scene.category_ids
    wanted, written = _ERRORS[kind] if kind else ((), None)
    visible = np.bincount(rendered.owner[rendered.owner >= 0], minlength=rendered.count)
    large = visible >= SMALLEST * rendered.owner.size
    things = enumerate(scene.things)
    candidates = [i for i, t in things if t.kind in wanted and not t.crowd and large[i]]
    if not candidates:
        return annotate_as(scene, rendered, number, categories), None
    rng = np.random.default_rng([scene.seed, 6])
    index = candidates[int(rng.integers(len(candidates)))]
    real = index in categories
    if not real and written:  # only the error has an annotation of it
        categories = dict(sorted((categories | {index: written}).items()))
    annotations = annotate_as(scene, rendered, number, categories)
    truth = annotations[index]
    if kind == 'person missing':
        del annotations[index]
    elif kind == 'sloppy outline':
        annotations[index] = truth | _sloppy(rendered.owner == index, rng)
    else:
        annotations[index] = truth | {'category_id': written}
    error = {'kind': kind, 'object': index, 'annotation_id': truth['id']}
    return annotations, error | {'truth': truth if real else None}


def _sloppy(mask: np.ndarray, rng: np.random.Generator) -> dict:
    """A few hasty clicks around a mask `[H, W]`: `segmentation`, `area` and `bbox`.

    Repeated up to 30 times until the IoU with the mask is in [0.3, 0.65], far below the IoU of a
    careful outline.
    """
    height, width = mask.shape
    rows, cols = np.nonzero(mask)
    size = np.array([np.ptp(cols) + 1, np.ptp(rows) + 1])
    for _ in range(30):
        corners = int(rng.integers(5, 9))
        angles = (np.arange(corners) + rng.uniform(0, 0.6, corners)) * 2 * math.pi / corners
        outwards = np.stack([np.cos(angles), np.sin(angles)], 1)
        # The farthest pixel of the mask in each direction, missed by a fraction of the mask's size.
        far = (outwards[:, :1] / size[0] * cols + outwards[:, 1:] / size[1] * rows).argmax(1)
        miss = 0.08 * outwards + rng.uniform(-0.14, 0.14, (corners, 2))
        points = np.stack([cols[far], rows[far]], 1) + 0.5 + miss * size
        points = np.round(np.clip(points, 0, (width, height)), 1).ravel().tolist()
        rle = mask_utils.merge(mask_utils.frPyObjects([points], height, width))
        drawn = mask_utils.decode(rle).astype(bool)
        overlap = (drawn & mask).sum() / (drawn | mask).sum()
        if 0.3 <= overlap <= 0.65:
            break
    box = mask_utils.toBbox(rle).tolist()
    return {'segmentation': [points], 'area': int(drawn.sum()), 'bbox': box}
