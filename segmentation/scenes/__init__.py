"""Drawn COCO: a folder of made-up scenes in COCO's own format, for machines without COCO.

A scene is first a description (`sample_scene`), then a picture with exact visible masks (`render`),
then a JPEG file and COCO annotations (`write_scenes`). A description can be edited and rendered
again: each object draws from its own seed, so removing one changes no other.
"""

from segmentation.scenes.coco_writer import MIN_VISIBLE, VERSION, annotate, image_id, write_scenes
from segmentation.scenes.description import CATEGORIES, CATEGORY_ID, Light, Scene, Thing
from segmentation.scenes.rendering import Rendered, render
from segmentation.scenes.sampling import sample_scene

__all__ = [
    'CATEGORIES', 'CATEGORY_ID', 'MIN_VISIBLE', 'VERSION', 'Light', 'Rendered', 'Scene', 'Thing',
    'annotate', 'image_id', 'render', 'sample_scene', 'write_scenes',
]  # fmt: skip
