"""Small inputs as people's tools write them (../shared/cases): nothing is lost in silence."""

import numpy as np
import pytest

from segmentation.data import coco, data_loss, examples, transforms
from tests import layout_fixtures, layout_reading
from tests.paths import SHARED

CASES = SHARED / 'cases'

pytestmark = [
    pytest.mark.skipif(not CASES.exists(), reason='the inputs of ../shared/cases are absent'),
    pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning'),
]
OUTLINE = [5.0, 5.0, 40.0, 6.0, 38.0, 40.0, 6.0, 30.0]  # of every object in them

# Case → images and instances of each split, and what is repaired or noted.
READ = {
    'cvat_layout': ({'default': (2, 2)}, []),
    'exif_turned_by_180': (
        {'train': (1, 1)},
        ['EXIF orientation fits both ways, used as displayed'],
    ),
    'flat_polygon': ({'train': (2, 2)}, ['repaired: polygon is not in a list of its own']),
    'height_one_pixel_off': ({'train': (2, 2)}, ['repaired: size off by at most 2 pixels']),
    'ids_as_text': ({'train': (2, 2)}, ['repaired: image id is text']),
    'ids_restart_in_each_split': ({'train': (2, 2), 'valid': (2, 2)}, []),
    'iscrowd_true_false': ({'train': (2, 2)}, ['repaired: iscrowd is true, false, null or text']),
    'labelstudio_windows': ({'train': (2, 2)}, ['repaired: file name']),
    'roboflow_class_named_like_project': ({'train': (2, 2)}, []),
    'roboflow_layout': ({'train': (2, 2), 'valid': (2, 2), 'test': (2, 2)}, []),
    'sizes_as_floats': ({'train': (2, 2)}, ['repaired: size is a float or text']),
    'sizes_missing': ({'train': (2, 2)}, ['repaired: size taken from the image file']),
    'via_export': (
        {'train': (2, 2)},
        ['repaired: polygon is not in a list of its own', 'category: listed twice'],
    ),
}
REFUSED = {
    'boxes_only': 'Main cause: boxes but no outlines: masks are needed. 2 ×',
    'makesense_without_labels': "'categories' is empty, and the annotations name none",
    'val_split_called_valid': "Split 'valid' .*: its annotations are empty",
}


@pytest.mark.parametrize('case', READ)
def test_inputs_that_can_be_read_lose_nothing(case):
    expected, reasons = READ[case]
    result = layout_reading.read(CASES / case)
    found = set()
    for name, annotations in result.items():
        images = annotations.images
        count = len(images), sum(len(image.instances) for image in images)
        assert count == expected[name]
        for image in images:
            (instance,) = image.instances
            mask = layout_reading.mask_of(image, instance)
            true = layout_fixtures.polygon_mask(OUTLINE, image.height, image.width)
            np.testing.assert_array_equal(mask, true)
        found |= {*annotations.skipped.as_dict(), *annotations.notes.as_dict()}
    assert list(result) == list(expected)
    assert found == set(reasons)


@pytest.mark.parametrize('case', REFUSED)
def test_inputs_that_cannot_be_read_are_explained(case):
    with pytest.raises(ValueError, match=f'(?s){REFUSED[case]}'):
        layout_reading.read(CASES / case)


def test_ids_count_per_split(tmp_path, tiny_config):
    prepared = coco.prepare(str(CASES / 'ids_restart_in_each_split'), tmp_path)
    assert 'image id of another image in an earlier split, changed' in prepared.notes['valid']
    tiny_config.data.label_space = 'thing: thing'
    tiny_config.data.train_splits = ('train', 'valid')
    tiny_config.data.selection_fraction = 0
    chosen, report = examples.select_examples(prepared, tiny_config.data, 'train')
    assert len(chosen) == 4 and report['duplicates'] == 0


def test_a_class_named_like_the_project_is_one_class(tmp_path, tiny_config):
    prepared = coco.prepare(str(CASES / 'roboflow_class_named_like_project'), tmp_path)
    tiny_config.data.label_space = 'building: building'
    tiny_config.data.selection_fraction = 0
    chosen, _ = examples.select_examples(prepared, tiny_config.data, 'train')
    assert all((chosen.full_label(i) == 1).any() for i in range(2))


def test_default_splits_of_the_config_are_found(tmp_path, tiny_config):
    """Roboflow calls it 'valid', the config 'val'."""
    prepared = coco.prepare(str(CASES / 'roboflow_layout'), tmp_path)
    tiny_config.data.label_space = 'thing: thing'
    assert len(examples.select_examples(prepared, tiny_config.data, 'val')[0]) == 2


@pytest.mark.parametrize(('exif', 'turned'), [('displayed', True), ('stored', False)])
def test_an_image_turned_by_180_follows_the_choice(tmp_path, exif, turned):
    folder = CASES / 'exif_turned_by_180'
    record = coco.prepare(str(folder), tmp_path, exif=exif).split('train')[0]
    image = np.asarray(transforms.decode_record(record))
    upright, _ = transforms.read_image_file(folder / 'train' / 'p0.jpg', 32, True)
    expected = np.asarray(upright)
    np.testing.assert_array_equal(image, expected if turned else expected[::-1, ::-1])


def test_loss_can_be_accepted(tmp_path):
    prepared = coco.prepare(str(CASES / 'val_split_called_valid'), tmp_path, accept_loss=True)
    assert len(prepared.split('val')) == 2
    with pytest.raises(data_loss.DataLoss):
        coco.prepare(str(CASES / 'boxes_only'), tmp_path)
