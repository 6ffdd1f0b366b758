"""Splits of one data set get one list of categories, and each image an id of its own."""

from segmentation.data import merging
from segmentation.data.entries import MAX_ID, Annotations, Category, Image, Instance, Skipped


def split(categories, images=()):
    """A split with images (id, name), each with an instance of each category."""
    instances = [Instance(1, each.id, 1.0, (0, 0, 1, 1), False, b'') for each in categories]
    shown = [
        Image(key, name, 1, 1, '', False, list(instances), False, name) for key, name in images
    ]
    return Annotations(tuple(categories), shown, Skipped(), Skipped(), '', {}, len(shown), 0)


def test_the_largest_id_has_no_successor():
    parsed = {
        'train': split([Category(MAX_ID, 'a', '')]),
        'val': split([Category(MAX_ID, 'b', '')], [(1, 'v.jpg')]),
    }
    first, second = merging.merge_categories(parsed)
    assert (first.id, first.name, second.name) == (MAX_ID, 'a', 'b')
    assert second.id != MAX_ID and 0 <= second.id < MAX_ID
    assert [i.category_id for i in parsed['val'].images[0].instances] == [second.id]


def test_a_super_category_of_a_later_split_is_kept():
    parsed = {
        'train': split([Category(1, 'van', ''), Category(2, 'car', 'vehicle')]),
        'val': split([Category(1, 'van', 'vehicle'), Category(2, 'car', 'machine')]),
    }
    merged = merging.merge_categories(parsed)
    assert [(each.name, each.supercategory) for each in merged] == [
        ('van', 'vehicle'), ('car', 'vehicle'),
    ]  # fmt: skip
    ((reason, entry),) = parsed['val'].notes.as_dict().items()
    assert 'super-category differs' in reason and entry['examples'] == ["'car'"]


def test_two_categories_of_one_name_keep_their_own():
    mine = [Category(1, 'mouse', ''), Category(2, 'mouse', 'device')]
    parsed = {'train': split(mine), 'val': split([mine[1], Category(3, 'cat', 'animal')])}
    merged = merging.merge_categories(parsed)
    assert [each.supercategory for each in merged] == ['', 'device', 'animal']
    assert 'super-category differs, the first one counts' not in parsed['val'].notes.as_dict()


def test_new_ids_of_images_are_those_of_no_other():
    parsed = {
        'train': split([], [(i, f'a{i}.jpg') for i in range(3)]),
        'val': split([], [(1, 'b1.jpg'), (MAX_ID, 'b2.jpg')]),
    }
    merging.separate_image_ids(parsed)
    ids = [image.id for each in parsed.values() for image in each.images]
    assert len(set(ids)) == 5 and min(ids) >= 0 and max(ids) <= MAX_ID
