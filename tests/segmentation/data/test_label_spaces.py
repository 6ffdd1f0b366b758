"""Label spaces: names, their one-line form, and mistakes in it."""

import shlex

import pytest

from segmentation.data import annotations, label_spaces
from tests import coco_fixtures

CATEGORIES = [annotations.Category(**entry) for entry in coco_fixtures.CATEGORIES]


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
        ('a: person; a: car', "'a' occurs twice"),
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


def test_the_error_lists_the_categories_and_proposes_a_label_space():
    categories = [
        annotations.Category(1, 'worker', 'people'),
        annotations.Category(2, 'delivery van', ''),
        annotations.Category(3, 'a: b', ''),  # cannot be written in a label space
    ]
    with pytest.raises(ValueError) as error:
        label_spaces.parse_label_space('person_car').category_to_class(categories)
    text = str(error.value)
    assert text.startswith("data.label_space: The data set has no category or super-category 'pers")
    assert 'the categories worker, delivery van, a: b and the super-categories people.' in text
    (argument,) = shlex.split(text[text.index('--config.') :])
    space = label_spaces.parse_label_space(argument.partition('=')[2])
    assert space.category_to_class(categories) == {1: 1, 2: 2}

    many = [annotations.Category(i, f'c{i:03}', '') for i in range(200)]
    with pytest.raises(ValueError, match='c029 and 170 more. To choose classes'):
        label_spaces.parse_label_space('a: x').category_to_class(many)
    with pytest.raises(ValueError, match='data.require_of: ') as error:
        label_spaces.category_ids(['x'], categories, 'data.require_of')
    assert '--config' not in str(error.value)
