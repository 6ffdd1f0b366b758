"""Label spaces and class masks, against pycocotools and a slow reference."""

import io
import itertools
import json
import types

import numpy as np
import pytest
from PIL import Image
from pycocotools import coco as coco_api
from pycocotools import mask as mask_utils

from segmentation.data import annotations, coco, coco_builder, label_spaces, selection
from segmentation.data.masks import class_mask, nearest_indices
from tests import coco_fixtures
from tests.paths import SHARED

COCO = SHARED / 'coco'
CATEGORIES = [annotations.Category(**entry) for entry in coco_fixtures.CATEGORIES]
PERSON, CAR, BUS, HANDBAG = 1, 3, 6, 31

# pycocotools 2.0.11 does not know an argument that NumPy 2 passes; the result is right.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')


def record_of(image: annotations.Image) -> dict:
    """What `coco.CocoSplit` gives for an image, as far as drawing reads it."""
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


def test_named_label_spaces():
    expected = {
        'person_car': [{1: 1, 3: 2}, ('background', 'person', 'car')],
        'person_any_vehicle': [{1: 1, 3: 2, 6: 2}, ('background', 'person', 'vehicle')],
    }
    for name, (mapping, class_names) in expected.items():
        space = label_spaces.parse_label_space(name)
        assert space.class_names == class_names
        assert space.category_to_class(CATEGORIES) == mapping
    vehicles = ['bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat']
    coco_vehicles = [annotations.Category(2 + i, n, 'vehicle') for i, n in enumerate(vehicles)]
    categories = [CATEGORIES[0], *coco_vehicles]
    published = label_spaces.parse_label_space('person_vehicle').category_to_class(categories)
    assert {categories[k - 1].name for k, v in published.items() if v == 2} == {
        'car',
        'bus',
        'truck',
        'train',
    }


def test_label_space_in_one_line():
    space = label_spaces.parse_label_space('  bag: handbag;people :person ; traffic: car , bus; ')
    assert space.class_names == ('background', 'bag', 'people', 'traffic')
    assert space.members == ((), ('handbag',), ('person',), ('car', 'bus'))
    assert space.category_to_class(CATEGORIES) == {31: 1, 1: 2, 3: 3, 6: 3}


def test_a_name_that_is_both_means_the_category():
    food = annotations.Category(1, 'food', 'kitchen')
    categories = [food, annotations.Category(2, 'pie', 'food')]
    assert label_spaces.category_ids(['food'], categories) == [1]
    assert label_spaces.category_ids(['kitchen', 'pie', 'pie'], categories) == [1, 2]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('person_cars', "did you mean 'person_car'"),
        ('', 'Unknown label space'),
        ('person: person; car', "'car' in 'person: person; car' is not of the form"),
        ('person: ', 'not of the form'),
        (': person', 'not of the form'),
        ('a: person,, car', 'not of the form'),
        ('a: person: car', 'not of the form'),
        ('a: person;; b: car', 'not of the form'),
        ('a: person; a: car', "'a' comes twice"),
        ('background: person', 'is always class 0'),
        (';'.join(f'c{i}: x{i}' for i in range(255)), 'at most 254'),
    ],
)
def test_malformed_label_spaces_raise(text, message):
    with pytest.raises(ValueError, match=message):
        label_spaces.parse_label_space(text)


def test_unknown_and_doubled_categories_raise():
    with pytest.raises(ValueError, match="'persn' .did you mean 'person'"):
        label_spaces.parse_label_space('a: persn').category_to_class(CATEGORIES)
    with pytest.raises(ValueError, match="no category or super-category ''"):
        label_spaces.category_ids([''], [annotations.Category(1, 'a', '')])
    with pytest.raises(ValueError, match="'bus' is in two classes, 'a' and 'b'"):
        label_spaces.parse_label_space('a: bus; b: vehicle').category_to_class(CATEGORIES)


def index(counts, complete=None, known=None):
    counts = np.array(counts)
    n = len(counts)
    return types.SimpleNamespace(
        image_id=10 * np.arange(1, n + 1),
        counts=counts,
        complete=np.zeros_like(counts, bool) if complete is None else np.array(complete, bool),
        complete_known=np.array([False] * n if known is None else known),
    )


#       person, car, bus, handbag
COUNTS = [[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 2, 0], [3, 0, 1, 0], [0, 0, 0, 9]]


@pytest.mark.parametrize(
    ('space', 'options', 'expected'),
    [
        ('a: person; b: car', {}, [0]),
        ('a: person; b: car', {'require': 'any_class'}, [0, 1, 3]),
        ('a: person; b: car', {'require': 'nothing'}, [0, 1, 2, 3, 4]),
        ('a: person; b: vehicle', {}, [0, 3]),
        ('a: person; b: vehicle', {'require_of': ['person', 'car']}, [0]),
        ('a: person; b: vehicle', {'require_of': ['handbag']}, [4]),
        ('a: person', {'require_of': ['vehicle', 'handbag'], 'require': 'any_class'}, [0, 2, 3, 4]),
        ('a: person; b: vehicle', {'exclude': {40, 999}}, [0]),
    ],
)
def test_select_requirements(space, options, expected):
    mapping = label_spaces.parse_label_space(space).category_to_class(CATEGORIES)
    positions, report = selection.select(index(COUNTS), CATEGORIES, mapping, **options)
    assert positions.dtype == np.int64 and positions.tolist() == expected
    assert report['images'] == 5 and report['selected'] == len(expected)
    assert sum(report.values()) == 5 + 5  # every image is selected or left out by one rule
    json.dumps(report)


def test_select_leaves_out_what_is_known_to_be_incomplete():
    full, people, nothing = [1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]
    data = index(
        [[1, 1, 1, 0]] * 5,
        [full, people, nothing, full, nothing],
        known=[True, True, True, False, False],
    )

    def selected(space, **options):
        mapping = label_spaces.parse_label_space(space).category_to_class(CATEGORIES)
        positions, report = selection.select(data, CATEGORIES, mapping, **options)
        assert report['incompletely annotated'] == 5 - len(positions)
        return positions.tolist()

    assert selected('a: person') == [0, 1, 3, 4]
    assert selected('a: person; b: car') == [0, 3, 4]
    assert selected('a: person', require_of=['bus']) == [0, 3, 4]


def test_select_refuses_unknown_options():
    with pytest.raises(ValueError, match='require must be'):
        selection.select(index(COUNTS), CATEGORIES, {1: 1}, require='all')
    with pytest.raises(ValueError, match="no category or super-category 'lorry'"):
        selection.select(index(COUNTS), CATEGORIES, {1: 1}, require_of=['lorry'])


def test_folds_depend_on_the_image_id_alone():
    ids = np.arange(5000)
    folds = selection.fold_of(ids, 5)
    assert np.bincount(folds, minlength=5).min() > 900
    np.testing.assert_array_equal(selection.fold_of(ids[::-7], 5), folds[::-7])
    # Would change with the Python version or the platform if the hash were not fixed.
    assert selection.fold_of([9, 25, 581929], 5).tolist() == [4, 4, 0]
    first, second = selection.id_fraction(ids, 'a'), selection.id_fraction(ids, 'b')
    assert 0 <= first.min() and first.max() < 1
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


@pytest.mark.parametrize(
    'text',
    [
        '[3, 5, 8]',
        '{"ids": [8, 5, 3], "schema_version": 1, "fingerprint": "x"}',
        '3\n5\n\n 8 \r\n',
    ],
)
def test_read_exclude(tmp_path, text):
    path = tmp_path / 'exclude'
    path.write_text(text)
    assert selection.read_exclude(path) == {3, 5, 8}


def test_exclude_of_other_data_is_refused(tmp_path):
    path = tmp_path / 'exclude.json'
    path.write_text('{"ids": [3], "fingerprint": "x"}')
    assert selection.read_exclude(path, 'x') == {3}
    with pytest.raises(ValueError, match="made for another data set: fingerprint 'x'"):
        selection.read_exclude(path, 'y')
    path.write_text('[3]')
    assert selection.read_exclude(path, 'y') == {3}


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'[3, "5"]', "entry 2 is '5'"),
        (b'[true]', 'entry 1 is True'),
        (b'{"id": [3]}', "no list 'ids'"),
        (b'{"ids": 3}', "no list 'ids'"),
        (b'[3, 5', 'cannot be read as JSON'),
        (b'3\nimage 5\n', "entry 2 is 'image 5'"),
        (b'-3', 'entry 1'),
        (b'99999999999999999999', 'entry 1'),
        (b'\xff\xfe', 'cannot be read'),
    ],
)
def test_read_exclude_explains_mistakes(tmp_path, data, message):
    path = tmp_path / 'exclude.json'
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as error:
        selection.read_exclude(path)
    assert str(path) in str(error.value)


def test_drawing_what_was_prepared(tmp_path):
    folder = coco_fixtures.write_folder(tmp_path / 'a', {'train': coco_fixtures.document(2)})
    prepared = coco.prepare(str(folder), tmp_path / 'data')
    mapping = label_spaces.parse_label_space('person_car').category_to_class(prepared.categories)
    parsed = annotations.parse((folder / 'annotations/instances_train.json').read_bytes(), 'x')
    for record, image in zip(prepared.split('train'), parsed.images, strict=True):
        mask = class_mask(record, mapping)
        assert mask.shape[::-1] == Image.open(io.BytesIO(record['image'])).size
        np.testing.assert_array_equal(mask, reference(image, mapping))
