"""Class masks, against pycocotools and a slow reference."""

import io
import itertools
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import coco as coco_api
from pycocotools import mask as mask_utils

from segmentation.data import annotations, coco, coco_builder, label_spaces
from segmentation.data.masks import class_mask, nearest_indices
from tests import coco_fixtures
from tests.paths import SHARED

COCO = SHARED / 'coco'
PERSON, CAR, BUS, HANDBAG = 1, 3, 6, 31

# pycocotools 2.0.11 does not know an argument that NumPy 2 passes; the result is right.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')


def record_of(image: annotations.Image) -> dict:
    """The fields of a `coco.CocoSplit` record that drawing reads."""
    return {
        'height': image.height,
        'width': image.width,
        'instances': coco_builder.example(image, b'', None)['instances'],
    }


@pytest.fixture(scope='module')
def images() -> list[annotations.Image]:
    data = json.dumps(coco_fixtures.document(6)).encode()
    return annotations.parse(data, 'fixture').images


def reference(image, mapping, overlap='annotation', draw_last=(), crowd='label') -> np.ndarray:
    """Decides pixel by pixel which instance is on top."""

    def rank(order, instance):
        by = {
            'annotation': 0,
            'class': mapping[instance.category_id],
            'area': -instance.area,
        }[overlap]
        return instance.category_id in draw_last, by, order

    chosen = [(i, x) for i, x in enumerate(image.instances) if x.category_id in mapping]
    masks = {
        i: mask_utils.decode({'size': [image.height, image.width], 'counts': x.rle})
        for i, x in chosen
    }
    result = np.zeros((image.height, image.width), np.uint8)
    for row, col in itertools.product(range(image.height), range(image.width)):
        here = [(i, x) for i, x in chosen if masks[i][row, col]]
        objects = [(i, x) for i, x in here if crowd == 'label' or not x.is_crowd]
        if objects:
            top = max(objects, key=lambda pair: rank(*pair))
            result[row, col] = mapping[top[1].category_id]
        elif here:
            result[row, col] = 255
    return result


@pytest.mark.parametrize('overlap', ['annotation', 'class', 'area'])
@pytest.mark.parametrize('draw_last', [(), (BUS,), (BUS, PERSON)])
@pytest.mark.parametrize('crowd', ['label', 'ignore'])
def test_class_mask_equals_a_slow_reference(images, overlap, draw_last, crowd):
    mapping = {CAR: 1, PERSON: 2, BUS: 1}
    options = {'overlap': overlap, 'draw_last': draw_last, 'crowd': crowd}
    seen = set()
    for image in images:
        expected = reference(image, mapping, **options)
        mask = class_mask(record_of(image), mapping, **options)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, expected)
        seen |= set(np.unique(mask))
    assert seen == ({0, 1, 2, 255} if crowd == 'ignore' else {0, 1, 2})


def test_options_matter(images):
    def draw(**options):
        mapping = {PERSON: 1, CAR: 2, BUS: 2}
        return [class_mask(record_of(i), mapping, **options).tobytes() for i in images]

    variants = [
        draw(),
        draw(overlap='class'),
        draw(overlap='area'),
        draw(draw_last=[PERSON]),
        draw(crowd='ignore'),
    ]
    for a, b in itertools.combinations(variants, 2):
        assert a != b


def test_sampling_equals_indexing_the_full_mask(images):
    rng = np.random.default_rng(0)
    for image in images:
        record = record_of(image)
        full = class_mask(record, {PERSON: 1, CAR: 2})
        for size in (1, 7, 128):
            rows = rng.integers(0, image.height, size)
            cols = np.sort(rng.integers(0, image.width, size + 2))[::-1]
            mask = class_mask(record, {PERSON: 1, CAR: 2}, rows=rows, cols=cols)
            np.testing.assert_array_equal(mask, full[rows][:, cols])
            assert mask.flags.c_contiguous
        np.testing.assert_array_equal(
            class_mask(record, {PERSON: 1, CAR: 2}, rows=rows), full[rows]
        )


def test_categories_outside_the_space_cut_nothing(images):
    # A handbag drawn over a person leaves the person's pixels to the person.
    cut = 0
    for image in images:
        with_handbag = class_mask(record_of(image), {PERSON: 1, HANDBAG: 2})
        alone = class_mask(record_of(image), {PERSON: 1})
        np.testing.assert_array_equal(alone[with_handbag == 1], 1)
        cut += (alone[with_handbag == 2] == 1).sum()
    assert cut > 0


def test_an_image_without_instances_is_background():
    image = annotations.Image(1, 'a.jpg', 3, 4, '', False, [])
    assert class_mask(record_of(image), {1: 1}).tolist() == [[0] * 4] * 3


@pytest.mark.parametrize(
    'options',
    [
        {'overlap': 'none'},
        {'crowd': 'drop'},
        {'draw_last': [BUS]},
    ],
)
def test_unknown_drawing_options_raise(images, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        class_mask(record_of(images[0]), {PERSON: 1}, **options)


@pytest.mark.skipif(not COCO.exists(), reason='the photographs of ../shared are absent')
@pytest.mark.parametrize('space', ['person_car', 'person_vehicle'])
def test_published_masks_equal_pycocotools_on_photographs(space):
    path = COCO / 'annotations' / 'instances_val.json'
    parsed = annotations.parse(path.read_bytes(), str(path))
    mapping = label_spaces.parse_label_space(space).category_to_class(parsed.categories)
    last = (
        label_spaces.category_ids(['bus', 'truck', 'train'], parsed.categories)
        if space == 'person_vehicle'
        else []
    )
    reference_api = coco_api.COCO(path)
    for image in parsed.images:
        expected = np.zeros((image.height, image.width), np.uint8)
        found = reference_api.imgToAnns[image.id]
        for kinds in (set(mapping) - set(last), set(last)):
            for annotation in found:
                if annotation['category_id'] in kinds:
                    mask = reference_api.annToMask(annotation)
                    expected[mask == 1] = mapping[annotation['category_id']]
        mask = class_mask(record_of(image), mapping, draw_last=last)
        np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize('n_in', [1, 2, 3, 100, 427, 640])
@pytest.mark.parametrize('n_out', [1, 2, 5, 128, 256])
def test_nearest_indices_are_those_of_pillow(n_in, n_out):
    row = Image.fromarray(np.arange(n_in, dtype=np.int32)[None])
    expected = np.asarray(row.resize((n_out, 1), Image.Resampling.NEAREST))[0]
    np.testing.assert_array_equal(nearest_indices(n_in, n_out), expected)


def test_drawing_what_was_prepared(tmp_path):
    folder = coco_fixtures.write_folder(tmp_path / 'a', {'train': coco_fixtures.document(2)})
    prepared = coco.prepare(str(folder), tmp_path / 'data')
    mapping = label_spaces.parse_label_space('person_car').category_to_class(prepared.categories)
    parsed = annotations.parse((folder / 'annotations/instances_train.json').read_bytes(), 'x')
    for record, image in zip(prepared.split('train'), parsed.images, strict=True):
        mask = class_mask(record, mapping)
        assert mask.shape[::-1] == Image.open(io.BytesIO(record['image'])).size
        np.testing.assert_array_equal(mask, reference(image, mapping))
