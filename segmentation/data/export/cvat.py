"""Annotations for CVAT ("CVAT for images 1.1"), with what the network suggests.

A task is made from the folder `images` with the labels in `labels.json` (raw), and
`suggestions.xml` is uploaded into it. A missing object is added as an automatic shape. Other
suggestions are in the attribute `suggestion` of a shape: another category, or `delete`.
"""

import json
import pathlib
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

import numpy as np

from segmentation.data.export import Shape, Task
from segmentation.data.layouts.cvat_images import SUGGESTIONS
from segmentation.files import write_text

_SUGGESTION = 'suggestion'


def encode_mask(mask: np.ndarray) -> dict[str, str]:
    """The attributes of a mask `[H, W]` that has a pixel (see `layouts.cvat_images`)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # A run of background first, even if it is empty.
    edges = np.flatnonzero(np.diff(box.ravel().astype(np.int8), prepend=0))
    runs = np.diff(edges, prepend=0, append=box.size)
    return {
        'rle': ', '.join(map(str, runs.tolist())),
        'left': str(columns[0]),
        'top': str(rows[0]),
        'width': str(box.shape[1]),
        'height': str(box.shape[0]),
    }


def _text(shape: Shape) -> str:
    if shape.suggested is None:
        return ''
    score = '' if shape.score is None else f' {shape.score:.2f}'
    return f'{"add" if shape.is_new else shape.suggested or "delete"}{score}'


def of_tasks(tasks: Iterable[Task], labels: Sequence[str]) -> ElementTree.Element:
    """The document for all images; a mask without a pixel, which CVAT cannot hold, is left out."""
    root = ElementTree.Element('annotations')
    ElementTree.SubElement(root, 'version').text = '1.1'
    listed = ElementTree.SubElement(
        ElementTree.SubElement(ElementTree.SubElement(root, 'meta'), 'job'), 'labels'
    )
    for label in labels:
        ElementTree.SubElement(ElementTree.SubElement(listed, 'label'), 'name').text = label
    for number, task in enumerate(tasks):
        size = {'width': str(task.width), 'height': str(task.height)}
        entry = {'id': str(number), 'name': task.file_name, **size}
        image = ElementTree.SubElement(root, 'image', entry)
        for shape in task.shapes:
            mask = task.mask(shape)
            if not mask.any():
                continue
            fields = {
                'label': shape.label,
                'source': 'auto' if shape.is_new else 'manual',
                'occluded': '0',
                **encode_mask(mask),
                'z_order': '0',
            }
            element = ElementTree.SubElement(image, 'mask', fields)
            attribute = ElementTree.SubElement(element, 'attribute', {'name': _SUGGESTION})
            attribute.text = _text(shape)
    return root


def write(folder: pathlib.Path, tasks: Iterable[Task], labels: Sequence[str]) -> None:
    """Writes `suggestions.xml` and `labels.json` atomically.

    Raises:
      OSError: a file cannot be written.
    """
    attribute = {'name': _SUGGESTION, 'input_type': 'text', 'mutable': False, 'values': ['']}
    described = [{'name': label, 'attributes': [attribute]} for label in labels]
    root = of_tasks(tasks, labels)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding='unicode')
    write_text(folder / 'labels.json', json.dumps(described, indent=2) + '\n')
    write_text(folder / SUGGESTIONS, f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')
