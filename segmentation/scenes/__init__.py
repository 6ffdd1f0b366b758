"""Drawn COCO: a folder of made-up scenes in COCO's own format, for machines without COCO.

A scene is first a description (`sample_scene`), then a picture with exact visible masks (`render`),
then a JPEG file and COCO annotations (`write_scenes`). A description can be edited and rendered
again: each object draws from its own seed, so removing one changes no other.

Planted scenes (`sample_planted`) have properties that an analysis of a trained model should find;
what was planted is kept in a manifest beside the annotations (`read_truth`).
"""

from segmentation.scenes.coco_writer import VERSION, find_scene, image_id, write_scenes
from segmentation.scenes.description import CATEGORIES, CATEGORY_ID, Light, Scene, Thing
from segmentation.scenes.drawing.backdrops import BACKDROPS
from segmentation.scenes.drawing.rendering import Rendered, redraw, render
from segmentation.scenes.outlines import MIN_VISIBLE, annotate
from segmentation.scenes.planted.label_errors import annotate_with_error
from segmentation.scenes.planted.sampling import (
    ATTRIBUTES,
    HARD_SLICES,
    HELD_OUT_SEEDS,
    TYPES,
    Planted,
    sample_planted,
)
from segmentation.scenes.planted.truth import clean_annotations, manifest_file, read_truth
from segmentation.scenes.sampling import sample_scene

__all__ = [
    'ATTRIBUTES', 'BACKDROPS', 'CATEGORIES', 'CATEGORY_ID', 'HARD_SLICES', 'HELD_OUT_SEEDS',
    'MIN_VISIBLE', 'TYPES', 'VERSION', 'Light', 'Planted', 'Rendered', 'Scene', 'Thing', 'annotate',
    'annotate_with_error', 'clean_annotations', 'find_scene', 'image_id', 'manifest_file',
    'read_truth', 'redraw', 'render', 'sample_planted', 'sample_scene', 'write_scenes',
]  # fmt: skip
