"""Small COCO files and damage to them, as strategies of hypothesis."""

import copy
import json
import random

import numpy as np
from harness import damage_bytes
from hypothesis import strategies as st
from pycocotools import mask as mask_utils

_NUMBERS = (0, -1, 61, 16_384, 16_385, 2**31, 2**32, 2**63, 10**400, 0.5, 1e9, -1e308, np.inf)
_TEXTS = ('\ud800', '\x1b[2J', '\x00', '../../etc/passwd', 'C:\\x', '=1+1', 'é' * 2000)
ATOMS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from(_NUMBERS) | st.sampled_from(_TEXTS)
)  # fmt: skip
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(('size', 'counts')), inner),
    max_leaves=8,
)
HOSTILE = (
    b'', b'null', b'[]', b'{}', b'\xef\xbb\xbf{}', b'[' * 10**5, b'{"a":' * 10**5, b'9' * 10**4,
    b'\x00' * 1000, b'PK\x03\x04', b'\x80\x04]\x94.', b'NaN',
)  # fmt: skip


@st.composite
def segmentations(draw, width, height):
    """Polygons, run lengths, or compressed run lengths."""
    form = draw(st.sampled_from(('polygons', 'runs', 'text')))
    if form == 'polygons':
        point = st.tuples(*(st.floats(-0.3 * side, 1.3 * side) for side in (width, height)))
        polygon = st.lists(point, min_size=3, max_size=8).map(lambda points: [*sum(points, ())])
        return draw(st.lists(polygon, min_size=1, max_size=3))
    cuts = sorted(draw(st.lists(st.integers(0, width * height), max_size=12)))
    rle = {'size': [height, width], 'counts': np.diff([0, *cuts, width * height]).tolist()}
    if form == 'text':
        rle['counts'] = mask_utils.frPyObjects(rle, height, width)['counts'].decode()
    return rle


@st.composite
def documents(draw):
    """Two to four images with up to three instances each."""
    images, instances = [], []
    for i in range(draw(st.integers(2, 4))):
        width, height = draw(st.integers(1, 60)), draw(st.integers(1, 60))
        images.append({'id': 10 + i, 'file_name': f'{i}.jpg', 'width': width, 'height': height})
        for shape in draw(st.lists(segmentations(width, height), max_size=3)):
            entry = {'id': 100 + len(instances), 'image_id': 10 + i, 'segmentation': shape}
            entry |= {'category_id': draw(st.sampled_from((1, 3))), 'bbox': [0, 0, 2.5, 2]}
            instances.append(entry | {'iscrowd': draw(st.integers(0, 1)), 'area': 5.5})
    categories = [{'id': 1, 'name': 'person'}, {'id': 3, 'name': 'car', 'supercategory': 'thing'}]
    return {'images': images, 'annotations': instances, 'categories': categories}


def _nodes(tree):
    """(container, key) of everything inside a JSON value."""
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [pair for key in keys for pair in ((tree, key), *_nodes(tree[key]))]


def change_values(document, draw):
    """Replaces, removes, repeats, cuts or multiplies values anywhere."""
    for _ in range(draw(st.integers(1, 5))):
        container, key = draw(st.sampled_from(_nodes(document) or [({'x': 0}, 'x')]))
        value, how = container[key], draw(st.sampled_from(('replace', 'remove', 'repeat', 'edit')))
        if how == 'remove':
            del container[key]
        elif how == 'repeat' and isinstance(container, list):
            container.insert(draw(st.integers(0, len(container))), copy.deepcopy(value))
        elif how == 'edit' and isinstance(value, str | list):
            place = draw(st.integers(0, len(value)))
            new = draw(st.text(max_size=3) if isinstance(value, str) else st.lists(VALUES))
            container[key] = value[:place] + new + value[place + draw(st.integers(0, 3)) :]
        elif how == 'edit' and isinstance(value, float):
            container[key] = value * draw(st.sampled_from((1.5, 1e3, 1e6, 1e12, 1e300)))
        else:
            container[key] = draw(VALUES)


def add_enormous_annotation(document, draw):
    image, rng = document['images'][0], random.Random(draw(st.integers(0, 2**32)))
    size, count = (image['width'], image['height']), draw(st.sampled_from((2000, 2000, 20_000)))
    runs = ([0] * count + [size[0] * size[1]], 'o' * count)
    forms = [{'size': size[::-1], 'counts': counts} for counts in runs]
    forms.append([[rng.uniform(-1, 2) * size[k % 2] for k in range(2 * count)]])
    forms.append([[rng.uniform(0, size[k % 2]) for k in range(6)] for _ in range(count // 20)])
    entry = {'id': 1, 'image_id': image['id'], 'category_id': 1}
    document['annotations'].append({**entry, 'segmentation': draw(st.sampled_from(forms))})


@st.composite
def files(draw):
    """(what was done, content of the file)."""
    kinds = 'nothing', *['values changed'] * 20, 'enormous annotation', *['bytes changed'] * 6
    kind, document = draw(st.sampled_from((*kinds, 'no COCO file'))), draw(documents())
    if kind == 'values changed':
        change_values(document, draw)
    elif kind == 'enormous annotation':
        add_enormous_annotation(document, draw)
    data = json.dumps(document).encode()
    if kind == 'bytes changed':
        data = damage_bytes(data, draw(st.randoms()), b'0123456789.-+eE"[]{},:\\ \x00\xff')
    elif kind == 'no COCO file':
        data = draw(st.sampled_from(HOSTILE) | st.binary(max_size=2000))
    return kind, data
