"""Tasks for Label Studio: the labels as annotations, with the suggestions accepted as predictions.

`tasks.json` is imported into a project whose labeling interface is `labels.xml`. Annotators copy
the prediction or keep the annotation, and correct it.
"""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from segmentation.data.export import Shape, Task
from segmentation.files import write_json, write_text

_SIZES = (3, 4, 8, 16)  # bits of a length
_LONGEST = 2**16


def encode_brush(mask: np.ndarray) -> list[int]:
    """A mask `[H, W]` as bytes of Label Studio's run lengths (see `layouts.label_studio`)."""
    flat = np.asarray(mask, np.bool_).ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    lengths = 4 * np.diff(starts, append=len(flat))  # RGBA: four bytes a pixel
    bits = [f'{4 * len(flat):032b}', f'{8 - 1:05b}', *(f'{size - 1:04b}' for size in _SIZES)]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        word = '11111111' if flat[start] else '00000000'
        while length > 0:
            step = min(length, _LONGEST)
            which = next(k for k, size in enumerate(_SIZES) if step <= 2**size)
            bits.append(f'1{which:02b}{step - 1:0{_SIZES[which]}b}{word}')
            length -= step
    text = ''.join(bits)
    text += '0' * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, 'big'))


def _result(task: Task, number: int, shape: Shape, label: str) -> dict[str, Any]:
    result = {
        'id': f'{task.image_id}-{number}',
        'type': 'brushlabels',
        'from_name': 'label',
        'to_name': 'image',
        'original_width': task.width,
        'original_height': task.height,
        'image_rotation': 0,
        'value': {
            'format': 'rle',
            'rle': encode_brush(task.mask(shape)),
            'brushlabels': [label],
        },
    }
    return result if shape.score is None else {**result, 'score': shape.score}


def of_task(task: Task) -> dict[str, Any]:
    """A task with its prediction and, if the image is labeled, its annotation, for JSON."""
    annotated, predicted = [], []
    for number, shape in enumerate(task.shapes):
        if not shape.is_new:
            annotated.append(_result(task, number, shape, shape.label))
        if shape.suggested != '':
            predicted.append(_result(task, number, shape, shape.suggested or shape.label))
    scores = [shape.score for shape in task.shapes if shape.score is not None]
    return {
        'data': {
            'image': f'/data/local-files/?d=images/{quote(task.file_name)}',
            'file_name': task.file_name,
            'image_id': task.image_id,
            'width': task.width,
            'height': task.height,
        },
        'annotations': [{'result': annotated}] if task.is_labeled else [],
        'predictions': [
            {'model_version': 'suggestions', 'score': max(scores, default=0), 'result': predicted}
        ],
    }


def write(folder: pathlib.Path, tasks: Iterable[Task], labels: Sequence[str]) -> None:
    """Writes `tasks.json` and `labels.xml` atomically.

    Raises:
      OSError: a file cannot be written.
    """
    lines = [f'    <Label value={quoteattr(label)}/>' for label in labels]
    interface = [
        '<View>', '  <Image name="image" value="$image" zoom="true"/>',
        '  <BrushLabels name="label" toName="image">', *lines, '  </BrushLabels>', '</View>', '',
    ]  # fmt: skip
    write_text(folder / 'labels.xml', '\n'.join(interface))
    write_json(folder / 'tasks.json', [of_task(task) for task in tasks])
