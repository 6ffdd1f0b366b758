"""Real models that were not trained here; skipped where they are absent."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from analysis.foreign import adapter as adapters
from analysis.foreign.describe import draft
from analysis.foreign.model import resize_logits
from analysis.foreign.onnx_model import OnnxModel
from segmentation.data import annotations
from tests import onnx_models
from tests.paths import SHARED

assert onnx_models  # skips these tests without ONNX Runtime
MODELS, PHOTOS = SHARED / 'models', SHARED / 'coco'
if not (MODELS.is_dir() and PHOTOS.is_dir()):
    pytest.skip(f'{MODELS} or {PHOTOS} is absent', allow_module_level=True)

# What is drafted, what its README adds, and the least IoU of a person who fills half of an image.
CASES = {
    'deeplabv3_mnv2_voc_nchw': (
        {'layout': 'NCHW', 'size': 513, 'form': 'logits', 'name': 'logits', 'stride': None},
        {'divide_by': 127.5, 'mean': 1, 'std': 1},
        {'person': [15]},
        0.85,
    ),
    'bodypix_mnv1_050_stride16_nhwc': (
        {'layout': 'NHWC', 'size': 'any', 'form': 'single logit', 'name': 'segments', 'stride': 16},
        {'divide_by': 127.5, 'mean': 1, 'std': 1, 'size': 513},
        {'person': [1]},
        0.8,
    ),
    'sinet_portrait_nchw': (
        {'layout': 'NCHW', 'size': 320, 'form': 'logits', 'name': 'classifier/1', 'stride': None},
        {
            'divide_by': 1,
            'mean': [102.890434, 111.25247, 126.91212],
            'std': [16047.89, 15999.82, 16920.70],
            'channels': 'BGR',
        },
        {'person': [1]},
        0.6,
    ),
}
IMAGE = 436


def person_mask(height, width):
    document = json.loads((PHOTOS / 'annotations' / 'instances_val.json').read_text())
    masks = [
        mask_utils.decode({'size': [height, width], 'counts': rle})
        for entry in document['annotations']
        if entry['image_id'] == IMAGE and entry['category_id'] == 1
        for rle, _ in [annotations.encode_segmentation(entry['segmentation'], height, width)]
    ]
    return np.any(masks, axis=0)


@pytest.mark.parametrize('name', CASES)
def test_a_filled_in_draft_segments_a_person(name):
    path = MODELS / f'{name}.onnx'
    expected, added, classes, least = CASES[name]
    adapter = draft(path).adapter
    found = {**adapter['output'], **adapter['input'], 'name': adapter['output']['name']}
    assert {key: found.get(key) for key in expected} == expected
    assert 8 <= len(adapter['embeddings']) <= 16
    adapter['input'] |= added
    adapter['classes'] = classes
    model = OnnxModel(path, adapters.parse(json.dumps(adapter), name), ('background', 'person'))
    photo = Image.open(PHOTOS / 'val' / f'{IMAGE:012d}.jpg').convert('RGB')
    side = model.side
    pixels = np.asarray(photo.resize((side, side), Image.Resampling.BILINEAR))
    (made,) = model.of_images(pixels[None])
    assert made.features.shape == (sum(model.layers.values()),)
    height, width = photo.size[::-1]
    predicted = resize_logits(made.logits, height, width).argmax(-1) == 1
    truth = person_mask(height, width)
    assert (predicted & truth).sum() / (predicted | truth).sum() > least
