"""The planted truth of a folder of drawn scenes, against which an analysis is scored.

Next to each annotation file is a manifest, `annotations/planted_<split>.jsonl`: a header, then one
line per scene, in the order of the images. The README.md of `segmentation/scenes` has the schema.
"""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from segmentation.scenes.description import Thing
from segmentation.scenes.drawing import palette
from segmentation.scenes.drawing.rendering import Rendered
from segmentation.scenes.outlines import run_lengths
from segmentation.scenes.planted import sampling

FORMAT = 'planted truth'
VERSION = 1
# Kinds of things with a color of clothes or paint: the colors, and their names.
_COLORED = {
    'person': (palette.CLOTHES, palette.CLOTHES_NAMES),
    'car': (palette.PAINT, palette.PAINT_NAMES),
}


def manifest_file(folder: str | os.PathLike, split: str) -> pathlib.Path:
    """Path of the manifest of a split."""
    return pathlib.Path(folder) / 'annotations' / f'planted_{split}.jsonl'


def header(
    seed: int, split: str, scenes: int, error_rate: float, generator: int = sampling.VERSION
) -> dict[str, Any]:
    """The first line of a manifest."""
    versions = {'format': FORMAT, 'version': VERSION, 'generator': generator}
    return {**versions, 'seed': seed, 'split': split, 'scenes': scenes, 'error_rate': error_rate}


def _color(thing: Thing) -> str | None:
    """Name of the color of a person's shirt or a car's paint; None if it is not known."""
    # A crowd has many, and surfers may be bare-chested.
    if thing.kind not in _COLORED or thing.crowd or thing.pose == 'surf':
        return None
    colors, names = _COLORED[thing.kind]
    return names[palette.nearest(thing.colors[0], colors)]


def describe(
    planted_scene: sampling.Planted,
    rendered: Rendered,
    annotations: dict[int, dict],
    error: dict | None,
) -> dict[str, Any]:
    """The manifest entry of a scene, without image id, file name, index and size."""
    name, place = planted_scene.hidden or (None, None)
    objects = [
        {
            'kind': thing.kind,
            'category_id': thing.category_id,
            'annotation_id': annotations.get(index, {}).get('id'),
            'crowd': thing.crowd > 0,
            'pose': thing.pose or None,
            'color': _color(thing),
            'hidden_slice': name if index == place else None,
            'area': int(np.count_nonzero(rendered.owner == index)),
            'mask': run_lengths(rendered.owner == index),
        }
        for index, thing in enumerate(planted_scene.scene.things)
    ]
    return {
        'type': planted_scene.type,
        'attributes': list(planted_scene.attributes),
        'hard_slice': planted_scene.hard_slice,
        'objects': objects,
        'error': error,
    }


def read_truth(folder: str | os.PathLike, split: str) -> tuple[dict[str, Any], list[dict]]:
    """Reads a manifest: the header, and the scenes in the order of the images.

    Raises:
      ValueError: this split has no manifest, or it is damaged, truncated or of another version.
    """
    path = manifest_file(folder, split)
    if not path.exists():
        raise ValueError(
            f'{folder} has no planted truth for split {split!r} ({path.name} is missing); draw '
            'one with scripts/draw_scenes.py --planted'
        )
    try:
        head, *scenes = (json.loads(line) for line in path.read_text().splitlines())
        found = head['format'], head['version'], head['scenes']
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is damaged ({error!r}); draw the scenes again') from error
    if found[:2] != (FORMAT, VERSION):
        raise ValueError(
            f'{path} is {found[0]!r} version {found[1]!r}, this code reads {FORMAT!r} version '
            f'{VERSION}; draw the scenes again'
        )
    if found[2] != len(scenes):
        raise ValueError(f'{path} has {len(scenes)} of {found[2]} scenes; draw them again')
    return head, scenes


def clean_annotations(annotations: Sequence[dict], scenes: Sequence[dict]) -> list[dict]:
    """The annotations of a file by id, corrected by the `scenes` of its manifest."""
    errors = [scene['error'] for scene in scenes if scene['error']]
    wrong = {error['annotation_id'] for error in errors}
    clean = [a for a in annotations if a['id'] not in wrong]
    clean += [error['truth'] for error in errors if error['truth']]
    return sorted(clean, key=lambda a: a['id'])
