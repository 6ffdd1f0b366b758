"""Drawn scenes in COCO's format, for machines without COCO.

A scene is a description (`sample_scene`), then an image with exact visible masks (`render`), then a
JPEG file and COCO annotations (`write_scenes`). A description can be edited and rendered again:
each thing has its own seed, so removing one changes no other.

Planted scenes (`sample_planted`) have properties that an analysis of a trained model should find. A
manifest next to the annotations holds the planted truth (`read_truth`).
"""

from segmentation.scenes.coco_writer import VERSION, find_scene, image_id, write_scenes
from segmentation.scenes.description import CATEGORIES, CATEGORY_ID, Light, Scene, Thing
from segmentation.scenes.drawing.backdrops import BACKDROPS
from segmentation.scenes.drawing.rendering import Rendered, render
from segmentation.scenes.outlines import MIN_VISIBLE, annotate
from segmentation.scenes.planted import hidden
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

HIDDEN_SLICES, WITH_HIDDEN_SLICES = hidden.SLICES, hidden.VERSION
HELD_OUT_WITH_HIDDEN_SLICES = hidden.HELD_OUT_SEEDS

__all__ = [
    'ATTRIBUTES', 'BACKDROPS', 'CATEGORIES', 'CATEGORY_ID', 'HARD_SLICES', 'HELD_OUT_SEEDS',
    'HELD_OUT_WITH_HIDDEN_SLICES', 'HIDDEN_SLICES', 'MIN_VISIBLE', 'TYPES', 'VERSION',
    'WITH_HIDDEN_SLICES', 'Light', 'Planted', 'Rendered', 'Scene', 'Thing', 'annotate',
    'annotate_with_error', 'clean_annotations', 'find_scene', 'image_id', 'manifest_file',
    'read_truth', 'render', 'sample_planted', 'sample_scene', 'write_scenes',
]  # fmt: skip
