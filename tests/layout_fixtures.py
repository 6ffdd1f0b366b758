"""One small data set, written as each exporter writes it (from the documentation of its format).

All writers take a folder and a `DataSet` and write its images and annotations; the names of the
splits are 'train' and 'val' unless the format has others.
"""

import base64
import dataclasses
import gzip
import io
import json
import pathlib

import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

from segmentation.data.export import cvat as cvat_export
from segmentation.data.export import label_studio as label_studio_export

NAMES = ('worker', 'van', 'traffic cone')


@dataclasses.dataclass
class Thing:
    """One object; its mask is what `polygon` covers, or any mask."""

    label: str
    mask: np.ndarray  # bool [H, W]
    polygon: list[float] | None = None


@dataclasses.dataclass
class Picture:
    name: str  # without its ending
    width: int
    height: int
    things: list[Thing]


DataSet = dict[str, list[Picture]]  # by split


def polygon_mask(polygon: list[float], height: int, width: int) -> np.ndarray:
    """What COCO's own code draws for a polygon."""
    rles = mask_utils.frPyObjects([polygon], height, width)
    return mask_utils.decode(rles)[..., 0] > 0


def polygons(seed: int = 0, pictures: int = 3, things: int = 4) -> DataSet:
    """Objects that may overlap, with whole coordinates, as tools that count in pixels write."""
    rng = np.random.default_rng(seed)
    data: DataSet = {}
    for split in ('train', 'val'):
        for i in range(pictures):
            width, height = (int(n) for n in rng.integers(24, 64, 2))
            found = []
            for k in range(things):
                corners = rng.integers(0, [width, height], (rng.integers(3, 8), 2))
                polygon = corners.ravel().astype(float).tolist()
                mask = polygon_mask(polygon, height, width)
                found.append(Thing(NAMES[k % len(NAMES)], mask, polygon))
            data.setdefault(split, []).append(Picture(f'{split}_{i}', width, height, found))
    return data


def masks(seed: int = 0, pictures: int = 3, things: int = 4) -> DataSet:
    """Objects that do not overlap, of random pixels."""
    rng = np.random.default_rng(seed)
    data: DataSet = {}
    for split in ('train', 'val'):
        for i in range(pictures):
            width, height = (int(n) for n in rng.integers(24, 64, 2))
            owner = rng.integers(0, things + 2, (height, width))
            found = [Thing(NAMES[k % len(NAMES)], owner == k + 1) for k in range(things)]
            data.setdefault(split, []).append(Picture(f'{split}_{i}', width, height, found))
    return data


def save_image(folder: pathlib.Path, picture: Picture, ending: str = '.png') -> None:
    """Writes an image whose pixels depend on its name, so that no two files are the same."""
    folder.mkdir(parents=True, exist_ok=True)
    seed = int.from_bytes(picture.name.encode(), 'little') % 2**32
    pixels = np.random.default_rng(seed).integers(0, 256, 3, np.uint8)
    array = np.broadcast_to(pixels, (picture.height, picture.width, 3)).copy()
    array[0, 0] = len(picture.things), picture.width % 256, picture.height % 256
    Image.fromarray(array).save(folder / f'{picture.name}{ending}')


def write_json(path: pathlib.Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps(content).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == '.gz' else data)


def coco(pictures: list[Picture], file_name='{}.png', first: int = 0, runs: bool = False) -> dict:
    """A COCO document; ids count from `first`."""
    content: dict = {'info': {}, 'licenses': [], 'images': [], 'annotations': []}
    for i, picture in enumerate(pictures):
        size = {'width': picture.width, 'height': picture.height}
        name = file_name.format(picture.name)
        content['images'].append({'id': first + i, 'file_name': name, **size})
        for thing in picture.things:
            encoded = mask_utils.encode(np.asfortranarray(thing.mask, np.uint8))
            entry = {'id': first + len(content['annotations']), 'image_id': first + i}
            entry |= {'category_id': NAMES.index(thing.label) + 1, 'iscrowd': 0}
            entry |= {'area': int(thing.mask.sum()), 'bbox': mask_utils.toBbox(encoded).tolist()}
            if runs or thing.polygon is None:
                counts = encoded['counts'].decode()
                entry['segmentation'] = {'size': [picture.height, picture.width], 'counts': counts}
            else:
                entry['segmentation'] = [thing.polygon]
            content['annotations'].append(entry)
    categories = [{'id': i, 'name': name, 'supercategory': ''} for i, name in enumerate(NAMES, 1)]
    return {**content, 'categories': categories}


def coco_2017(folder, data):
    """As unzipped: annotations/ and train2017/, val2017/, with files that are not for masks."""
    for split, pictures in data.items():
        write_json(folder / f'annotations/instances_{split}2017.json', coco(pictures))
        write_json(folder / f'annotations/captions_{split}2017.json', {'annotations': []})
        for picture in pictures:
            save_image(folder / f'{split}2017', picture)


def coco_images_folder(folder, data):
    """As many keep it: images/train2017/, and the annotations in the folder of their archive."""
    for split, pictures in data.items():
        path = folder / f'annotations_trainval2017/annotations/instances_{split}2017.json'
        write_json(path, coco(pictures))
        for picture in pictures:
            save_image(folder / f'images/{split}2017', picture)


def coco_gzip(folder, data):
    for split, pictures in data.items():
        write_json(folder / f'annotations/instances_{split}.json.gz', coco(pictures))
        for picture in pictures:
            save_image(folder / split, picture)


def lvis(folder, data):
    """Images have only an address, and those of val lie in train2017."""
    for split, pictures in data.items():
        content = coco(pictures)
        for image in content['images']:
            name = image.pop('file_name')
            image['coco_url'] = f'http://images.cocodataset.org/train2017/{name}'
        for entry in content['annotations']:
            del entry['iscrowd']
        write_json(folder / f'annotations/lvis_v1_{split}.json', content)
        for picture in pictures:
            save_image(folder / 'train2017', picture)


def roboflow(folder, data):
    """Ids count again in each split, and a category has the name of the project."""
    for split, name in (('train', 'train'), ('val', 'valid')):
        content = coco(data[split])
        content['categories'].insert(0, {'id': 0, 'name': 'project', 'supercategory': 'none'})
        write_json(folder / name / '_annotations.coco.json', content)
        for picture in data[split]:
            save_image(folder / name, picture)


def cvat(folder, data):
    pictures = data['train'] + data['val']
    write_json(folder / 'annotations/instances_default.json', coco(pictures, first=1))
    for picture in pictures:
        save_image(folder / 'images', picture)


def label_studio(folder, data):
    """On Windows; images are exported beside result.json."""
    pictures = data['train'] + data['val']
    write_json(folder / 'result.json', coco(pictures, file_name='images\\{}.png'))
    for picture in pictures:
        save_image(folder / 'images', picture)


def label_studio_addresses(folder, data):
    pictures = data['train'] + data['val']
    content = coco(pictures, file_name='/data/local-files/?d=shots%2F{}.png')
    content['images'][0]['file_name'] = (
        f'http://localhost:8080/data/upload/1/{pictures[0].name}.png'
    )
    write_json(folder / 'result.json', content)
    for picture in pictures:
        save_image(folder / 'images', picture)


def studio_brushes(folder, data):
    """Label Studio's JSON, with the keys and prefixes that it adds to uploaded files."""
    tasks = []
    for number, picture in enumerate(data['train'] + data['val'], 1):
        results = [
            {
                'id': f'r{k}', 'type': 'brushlabels', 'from_name': 'tag', 'to_name': 'image',
                'original_width': picture.width, 'original_height': picture.height,
                'value': {
                    'format': 'rle', 'rle': label_studio_export.encode_brush(thing.mask),
                    'brushlabels': [thing.label],
                },
            }
            for k, thing in enumerate(picture.things)
        ]  # fmt: skip
        made = {'id': number, 'completed_by': 1, 'was_cancelled': False, 'result': results}
        address = f'http://localhost:8080/data/upload/1/{picture.name}.png'
        tasks.append({'id': number, 'annotations': [made], 'data': {'image': address}})
        save_image(folder / 'images', picture)
    write_json(folder / 'project-1-at-2026-01-01.json', tasks)


def cvat_for_images(folder, data):
    lines = ['<?xml version="1.0" encoding="utf-8"?>', '<annotations>', '<version>1.1</version>']
    lines.append('<meta><job><labels>')
    lines += [f'<label><name>{name}</name></label>' for name in NAMES]
    lines.append('</labels></job></meta>')
    for number, picture in enumerate(data['train'] + data['val']):
        size = f'width="{picture.width}" height="{picture.height}"'
        lines.append(f'<image id="{number}" name="{picture.name}.png" {size}>')
        for thing in picture.things:
            fields = cvat_export.encode_mask(thing.mask)
            text = ' '.join(f'{name}="{value}"' for name, value in fields.items())
            lines.append(f'<mask label="{thing.label}" source="manual" {text} z_order="0"></mask>')
        lines.append('</image>')
        save_image(folder / 'images', picture)
    folder.mkdir(exist_ok=True)
    (folder / 'annotations.xml').write_text('\n'.join([*lines, '</annotations>']))


def labelme2coco(folder, data):
    """Absolute paths of another machine."""
    for split, pictures in data.items():
        write_json(folder / f'{split}.json', coco(pictures, file_name='/home/me/pics/{}.png'))
        for picture in pictures:
            save_image(folder / 'images', picture)


def coco_beside_images(folder, data):
    pictures = data['train'] + data['val']
    write_json(folder / 'export.json', coco(pictures))
    for picture in pictures:
        save_image(folder, picture)


def fiftyone(folder, data):
    pictures = data['train'] + data['val']
    write_json(folder / 'labels.json', coco(pictures, first=1))
    for picture in pictures:
        save_image(folder / 'data', picture)


def via_coco(folder, data):
    """Ids of images are text, sizes are -1, polygons are flat, categories are repeated."""
    for split, pictures in data.items():
        content = coco(pictures)
        content['categories'] *= 2
        for image in content['images']:
            image |= {'width': -1, 'height': -1}
        for entry in content['annotations']:
            entry |= {'image_id': str(entry['image_id']), 'segmentation': entry['segmentation'][0]}
        write_json(folder / split / 'via_export_coco.json', content)
        for picture in pictures:
            save_image(folder / split, picture)


def _via_entries(pictures, number_regions=False):
    entries = {}
    for picture in pictures:
        regions = [
            {
                'shape_attributes': {
                    'name': 'polygon',
                    'all_points_x': thing.polygon[::2],
                    'all_points_y': thing.polygon[1::2],
                },
                'region_attributes': {'class': thing.label},
            }
            for thing in picture.things
        ]
        entries[f'{picture.name}.png1234'] = {
            'filename': f'{picture.name}.png',
            'size': 1234,
            'regions': dict(enumerate(regions)) if number_regions else regions,
            'file_attributes': {},
        }
    return entries


def via_regions(folder, data):
    for split, pictures in data.items():
        entries = _via_entries(pictures, number_regions=split == 'val')
        write_json(folder / split / 'via_region_data.json', entries)
        for picture in pictures:
            save_image(folder / split, picture)


def via_project(folder, data):
    pictures = data['train'] + data['val']
    project = {'_via_settings': {'ui': {}}, '_via_img_metadata': _via_entries(pictures)}
    write_json(folder / 'via_project_1Jan2024.json', project)
    for picture in pictures:
        save_image(folder / 'images', picture)


def datumaro(folder, data):
    for split, pictures in data.items():
        items = []
        for picture in pictures:
            annotations = []
            for thing in picture.things:
                entry = {'label_id': NAMES.index(thing.label), 'group': 0, 'attributes': {}}
                encoded = mask_utils.encode(np.asfortranarray(thing.mask, np.uint8))
                size = [picture.height, picture.width]
                runs = {'counts': encoded['counts'].decode(), 'size': size}
                if thing.polygon is None:
                    entry |= {'type': 'mask', 'rle': runs}
                else:
                    entry |= {'type': 'polygon', 'points': thing.polygon}
                annotations.append(entry)
            path = f'{picture.name}.png'
            image = {'path': path, 'size': [picture.height, picture.width]}
            items.append({'id': picture.name, 'annotations': annotations, 'image': image})
            save_image(folder / 'images' / split, picture)
        labels = [{'name': name, 'parent': ''} for name in NAMES]
        content = {'info': {}, 'categories': {'label': {'labels': labels}}, 'items': items}
        write_json(folder / f'annotations/{split}.json', content)


def labelme(folder, data):
    for split, pictures in data.items():
        for picture in pictures:
            shapes = []
            for thing in picture.things:
                shape = {'label': thing.label, 'group_id': None, 'flags': {}}
                if thing.polygon is None:
                    rows, columns = np.nonzero(thing.mask)
                    top, left, bottom, right = rows.min(), columns.min(), rows.max(), columns.max()
                    part = Image.fromarray(thing.mask[top : bottom + 1, left : right + 1])
                    buffer = io.BytesIO()
                    part.save(buffer, 'PNG')
                    box = [[int(left), int(top)], [int(right), int(bottom)]]
                    shape |= {'shape_type': 'mask', 'points': box}
                    shape |= {'mask': base64.b64encode(buffer.getvalue()).decode()}
                else:
                    points = np.reshape(thing.polygon, (-1, 2)).tolist()
                    shape |= {'shape_type': 'polygon', 'points': points}
                shapes.append(shape)
            content = {'version': '5.4.1', 'flags': {}, 'shapes': shapes}
            content |= {'imagePath': f'..\\raw\\{picture.name}.png', 'imageData': 'not base64!'}
            content |= {'imageHeight': picture.height, 'imageWidth': picture.width}
            write_json(folder / split / f'{picture.name}.json', content)
            save_image(folder / split, picture)


labelme_masks, datumaro_masks = labelme, datumaro


def yolo(folder, data):
    """As Roboflow writes it: paths lead to another place."""
    lines = ['train: ../train/images', 'val: /content/set/valid/images', 'nc: 3']
    lines += ['names: [worker, van, traffic cone]']
    (folder / 'data.yaml').write_text('\n'.join(lines))
    for split, name in (('train', 'train'), ('val', 'valid')):
        (folder / name / 'labels').mkdir(parents=True)
        for picture in data[split]:
            save_image(folder / name / 'images', picture)
            rows = []
            for thing in picture.things:
                size = [picture.width, picture.height] * (len(thing.polygon) // 2)
                parts = [f'{v / s:.6f}' for v, s in zip(thing.polygon, size, strict=True)]
                rows.append(' '.join([str(NAMES.index(thing.label)), *parts]))
            (folder / name / 'labels' / f'{picture.name}.txt').write_text('\n'.join(rows))


def yolo_ultralytics(folder, data):
    """images/train and labels/train, names by number."""
    text = 'path: ../datasets/mine\ntrain: images/train\nval: images/val\nnames:\n'
    text += ''.join(f'  {i}: {name}\n' for i, name in enumerate(NAMES))
    (folder / 'mine.yaml').write_text(text)
    yolo_folder = folder / 'scratch'
    yolo_folder.mkdir()
    yolo(yolo_folder, data)
    for kind in ('images', 'labels'):
        (folder / kind).mkdir()
        for split, name in (('train', 'train'), ('val', 'valid')):
            (yolo_folder / name / kind).rename(folder / kind / split)
    for path in sorted(yolo_folder.rglob('*'), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    yolo_folder.rmdir()


def _palette(array: np.ndarray) -> Image.Image:
    image = Image.fromarray(array.astype(np.uint8), 'P')
    image.putpalette(bytes(np.random.default_rng(0).integers(0, 256, 768, np.uint8)))
    return image


def _numbers(picture: Picture) -> tuple[np.ndarray, np.ndarray]:
    """Class numbers (0 is background) and object numbers."""
    classes = np.zeros((picture.height, picture.width), np.uint8)
    objects = np.zeros_like(classes)
    for i, thing in enumerate(picture.things, 1):
        classes[thing.mask] = NAMES.index(thing.label) + 1
        objects[thing.mask] = i
    return classes, objects


def voc(folder, data):
    """VOCdevkit, with a void border (255) on pixels of no object, and a list of the classes."""
    top = folder / 'VOCdevkit' / 'VOC2012'
    for name in ('SegmentationClass', 'SegmentationObject', 'ImageSets/Segmentation'):
        (top / name).mkdir(parents=True)
    (top / 'classes.txt').write_text('background\n' + '\n'.join(NAMES))
    for split, pictures in data.items():
        for picture in pictures:
            save_image(top / 'JPEGImages', picture, '.bmp')
            classes, objects = _numbers(picture)
            rows, columns = np.nonzero(objects == 0)
            classes[rows[:9], columns[:9]] = objects[rows[:9], columns[:9]] = 255
            _palette(classes).save(top / 'SegmentationClass' / f'{picture.name}.png')
            _palette(objects).save(top / 'SegmentationObject' / f'{picture.name}.png')
        text = '\n'.join(picture.name for picture in pictures)
        (top / 'ImageSets/Segmentation' / f'{split}.txt').write_text(text)


COLORS = ((0, 0, 0), (10, 200, 30), (250, 0, 7), (1, 2, 3))


def cvat_masks(folder, data):
    """CVAT's segmentation masks: colors, and labelmap.txt says which."""
    for name in ('SegmentationClass', 'SegmentationObject', 'ImageSets/Segmentation'):
        (folder / name).mkdir(parents=True)
    names = ('background', *NAMES)
    lines = [f'{n}:{",".join(map(str, c))}::' for n, c in zip(names, COLORS, strict=True)]
    (folder / 'labelmap.txt').write_text('# label:color_rgb:parts:actions\n' + '\n'.join(lines))
    pictures = data['train'] + data['val']
    for picture in pictures:
        save_image(folder / 'JPEGImages', picture)
        classes, objects = _numbers(picture)
        colors = np.array(COLORS, np.uint8)[classes]
        Image.fromarray(colors).save(folder / 'SegmentationClass' / f'{picture.name}.png')
        numbers = np.stack([objects, objects * 3, objects * 5], -1)
        Image.fromarray(numbers).save(folder / 'SegmentationObject' / f'{picture.name}.png')
    text = '\n'.join(picture.name for picture in pictures)
    (folder / 'ImageSets/Segmentation/default.txt').write_text(text)


def index_masks(folder, data):
    """Plain folders; a mask has the name of its image and '_mask'."""
    (folder / 'classes.txt').write_text('\n'.join(NAMES))
    for split, pictures in data.items():
        (folder / 'masks' / split).mkdir(parents=True)
        for picture in pictures:
            save_image(folder / 'images' / split, picture, '.bmp')
            path = folder / 'masks' / split / f'{picture.name}_mask.png'
            Image.fromarray(_numbers(picture)[0]).save(path)


_CITY_IDS = {'worker': 24, 'van': 26, 'traffic cone': 20}  # person, car, traffic sign
CITY_NAMES = {'worker': 'person', 'van': 'car', 'traffic cone': 'traffic sign'}


def cityscapes(folder, data):
    for split, pictures in data.items():
        truth = folder / 'gtFine' / split / 'ulm'
        truth.mkdir(parents=True)
        for picture in pictures:
            numbers = np.zeros((picture.height, picture.width), np.int32)
            labels = np.zeros_like(numbers)
            for i, thing in enumerate(picture.things):
                label = _CITY_IDS[thing.label]
                numbers[thing.mask] = label * 1000 + i if label >= 24 else label
                labels[thing.mask] = label
            stem = f'ulm_{picture.name}_gtFine'
            Image.fromarray(numbers.astype(np.uint16)).save(truth / f'{stem}_instanceIds.png')
            Image.fromarray(labels.astype(np.uint8)).save(truth / f'{stem}_labelIds.png')
            write_json(truth / f'{stem}_polygons.json', {'imgHeight': 1, 'objects': []})
            renamed = dataclasses.replace(picture, name=f'ulm_{picture.name}_leftImg8bit')
            save_image(folder / 'leftImg8bit' / split / 'ulm', renamed)


def cityscapes_polygons(folder, data):
    for split, pictures in data.items():
        for picture in pictures:
            objects = [
                {
                    'label': CITY_NAMES[thing.label],
                    'polygon': np.reshape(thing.polygon, (-1, 2)).tolist(),
                }
                for thing in picture.things
            ]
            content = {'imgHeight': picture.height, 'imgWidth': picture.width, 'objects': objects}
            path = folder / 'gtFine' / split / 'ulm' / f'ulm_{picture.name}_gtFine_polygons.json'
            write_json(path, content)
            renamed = dataclasses.replace(picture, name=f'ulm_{picture.name}_leftImg8bit')
            save_image(folder / 'leftImg8bit' / split / 'ulm', renamed)
