"""Reads the folders of `layout_fixtures`, and what their masks must be."""

import pathlib

import numpy as np
from pycocotools import mask as mask_utils

from segmentation.data import coco_builder, data_loss, layouts
from segmentation.data.entries import Annotations, Image, Instance
from tests import layout_fixtures
from tests.layout_fixtures import DataSet

# Writer → kind of data, title, splits as the files call them.
BOTH = ('train', 'val')
EXPORTERS = {
    'coco_2017': ('polygons', 'COCO', ('train2017', 'val2017')),
    'coco_images_folder': ('polygons', 'COCO', ('train2017', 'val2017')),
    'coco_gzip': ('masks', 'COCO', BOTH),
    'lvis': ('polygons', 'COCO annotations', BOTH),
    'roboflow': ('polygons', 'Roboflow export', ('train', 'valid')),
    'cvat': ('polygons', 'CVAT export', ('default',)),
    'label_studio': ('polygons', 'Label Studio export', ('train',)),
    'label_studio_addresses': ('masks', 'Label Studio export', ('train',)),
    'studio_brushes': ('masks', 'Label Studio tasks', ('train',)),
    'cvat_for_images': ('masks', 'CVAT for images', ('train',)),
    'labelme2coco': ('polygons', 'COCO annotations', BOTH),
    'coco_beside_images': ('masks', 'COCO annotations', ('train',)),
    'fiftyone': ('masks', 'FiftyOne export', ('train',)),
    'via_coco': ('polygons', 'COCO annotations', BOTH),
    'via_regions': ('polygons', 'VGG Image Annotator (VIA)', BOTH),
    'via_project': ('polygons', 'VGG Image Annotator (VIA)', ('train',)),
    'datumaro': ('polygons', 'Datumaro export', BOTH),
    'labelme_masks': ('masks', 'LabelMe', BOTH),
    'datumaro_masks': ('masks', 'Datumaro export', BOTH),
    'labelme': ('polygons', 'LabelMe', BOTH),
    'yolo': ('polygons', 'YOLO segmentation', BOTH),
    'yolo_ultralytics': ('polygons', 'YOLO segmentation', BOTH),
    'voc': ('masks', 'Pascal VOC', BOTH),
    'cvat_masks': ('masks', 'Pascal VOC', ('default',)),
    'index_masks': ('masks', 'folders of images and masks', BOTH),
    'cityscapes': ('masks', 'Cityscapes', BOTH),
    'cityscapes_polygons': ('polygons', 'Cityscapes', BOTH),
}


def write(exporter: str, folder: pathlib.Path, seed: int = 0, **size: int) -> DataSet:
    data = getattr(layout_fixtures, EXPORTERS[exporter][0])(seed, **size)
    folder.mkdir(parents=True, exist_ok=True)
    getattr(layout_fixtures, exporter)(folder, data)
    return data


def expected_masks(exporter: str, data: DataSet) -> dict[str, list[tuple[str, np.ndarray]]]:
    result = {}
    for picture in (p for pictures in data.values() for p in pictures):
        things = [(thing.label, thing.mask) for thing in picture.things]
        name = picture.name
        if exporter.startswith('cityscapes'):
            name = f'ulm_{picture.name}_leftImg8bit'
            things = [(layout_fixtures.CITY_NAMES[label], mask) for label, mask in things]
        if exporter == 'index_masks' or exporter == 'cityscapes':
            # Without numbers of objects, a class is one instance.
            merged: dict = {}
            for label, mask in things:
                alone = exporter == 'cityscapes' and label != 'traffic sign'
                key = (label, len(merged)) if alone else (label, -1)
                merged[key] = merged.get(key, False) | mask
            things = [(label, mask) for (label, _), mask in merged.items()]
        result[name] = things
    return result


def as_sets(masks: dict) -> dict[str, list]:
    return {
        name: sorted((label, mask.shape, mask.tobytes()) for label, mask in things)
        for name, things in masks.items()
    }


def read(folder: pathlib.Path, layout: str | None = None, **options) -> dict[str, Annotations]:
    """All splits of a folder, as `coco.prepare` reads them."""
    found = layouts.recognize(folder, layout)
    result = {}
    for split in found.splits:
        exif = options.get('exif', 'displayed')
        source = coco_builder.folder_source(found, split, exif)
        crowds = options.get('crowds_as_instances', False)
        read_split = coco_builder.read_source(source, source.document(), split.name, exif, crowds)
        data_loss.check(split.name, source.title, read_split, accept=False)
        result[split.name] = read_split
    return result


def mask_of(image: Image, instance: Instance) -> np.ndarray:
    return mask_utils.decode({'size': [image.height, image.width], 'counts': instance.rle}) > 0


def masks_of(annotations: Annotations) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Image name → (category, mask) of its instances."""
    names = {category.id: category.name for category in annotations.categories}
    return {
        pathlib.PurePath(image.file_name).stem: [
            (
                names[instance.category_id],
                mask_utils.decode({'size': [image.height, image.width], 'counts': instance.rle})
                > 0,
            )
            for instance in image.instances
        ]
        for image in annotations.images
    }
