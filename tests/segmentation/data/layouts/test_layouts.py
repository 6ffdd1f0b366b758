"""Every exporter's files as they are unpacked: which layout they are, and that no mask is lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.data import layouts
from tests.layout_reading import EXPORTERS, as_sets, expected_masks, masks_of, read, write

pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')


@pytest.mark.parametrize('exporter', EXPORTERS)
def test_every_export_is_read_as_it_was_unpacked(exporter, tmp_path):
    data = write(exporter, tmp_path / 'set')
    found = layouts.recognize(tmp_path / 'set')
    _, title, splits = EXPORTERS[exporter]
    assert str(found).startswith(f'{title}: split')
    assert tuple(split.name for split in found.splits) == splits
    result = read(tmp_path / 'set')
    got = {name: things for split in result.values() for name, things in masks_of(split).items()}
    expected = expected_masks(exporter, data)
    if exporter.startswith('yolo'):
        for name, things in expected.items():
            assert [label for label, _ in got[name]] == [label for label, _ in things]
            for (_, mask), (_, true) in zip(got[name], things, strict=True):
                assert (mask != true).sum() <= 0.02 * true.size
    else:
        assert as_sets(got) == as_sets(expected)
    for split in result.values():
        lost = [reason for reason in split.skipped.as_dict() if reason.startswith(('ann', 'image'))]
        assert lost == []


LOSSLESS = [name for name in EXPORTERS if not name.startswith(('yolo', 'coco_', 'label_studio'))]


@pytest.mark.parametrize('exporter', ['coco_2017', 'coco_gzip', *LOSSLESS])
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_masks_equal_their_source_bit_for_bit(exporter, tmp_path_factory, seed):
    """Together over 1,000 random shapes: 20 exporters, 2 sets of 6 images with 6 objects."""
    folder = tmp_path_factory.mktemp('set')
    data = write(exporter, folder, seed, pictures=3, things=6)
    result = read(folder)
    got = {name: things for split in result.values() for name, things in masks_of(split).items()}
    assert as_sets(got) == as_sets(expected_masks(exporter, data))


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 16_384),
    st.lists(st.floats(0, 1), min_size=6, max_size=12).filter(lambda v: len(v) % 2 == 0),
)
def test_the_rounding_of_yolo_is_bounded(width, fractions):
    """Six digits move a corner by at most 5e-7 of the side (0.01 pixels at most)."""
    for fraction in fractions:
        assert abs(float(f'{fraction:.6f}') * width - fraction * width) <= 5.001e-7 * width <= 0.01


def test_two_readings_are_both_named_and_one_is_chosen(tmp_path):
    write('roboflow', tmp_path)
    write('yolo', tmp_path)
    with pytest.raises(ValueError, match=r'in 2 ways: roboflow .*; yolo .*--layout'):
        layouts.recognize(tmp_path)
    assert layouts.recognize(tmp_path, 'yolo').layout.title == 'YOLO segmentation'
    with pytest.raises(ValueError, match='did you mean roboflow'):
        layouts.recognize(tmp_path, 'robofow')


def test_what_fits_no_layout_is_named(tmp_path):
    (tmp_path / 'notes.txt').write_text('x')
    (tmp_path / 'a.json').write_text('[1]')
    with pytest.raises(
        ValueError, match=r'It has a\.json, notes\.txt\. Export it as COCO'
    ) as error:
        layouts.recognize(tmp_path)
    assert str(error.value).isprintable()
    with pytest.raises(ValueError, match='is not laid out as voc'):
        layouts.recognize(tmp_path, 'voc')


@pytest.mark.parametrize(
    ('name', 'hint'),
    [
        ('export.zip', 'Unpack the archive first'),
        ('Annotations/1.xml', 'XML files of Pascal VOC hold boxes: masks are needed'),
    ],
)
def test_what_to_do_with_other_files(tmp_path, name, hint):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('<xml>')
    with pytest.raises(ValueError, match=hint):
        layouts.recognize(tmp_path)


def test_an_archive_unpacked_into_a_folder_of_its_own_is_found(tmp_path):
    write('voc', tmp_path / 'a' / 'b')
    assert layouts.recognize(tmp_path).layout.name == 'voc'


@pytest.mark.parametrize(
    ('name', 'usual'),
    [
        ('valid', 'val'), ('validation', 'val'), ('val2017', 'val'), ('dev', 'val'),
        ('Train', 'train'), ('training', 'train'), ('train2014', 'train'), ('default', 'train'),
        ('instances_train', 'train'), ('testing', 'test'), ('extra_val', ''), ('street', ''),
        ('train_person_car', ''), ('trainval', ''),
    ],
)  # fmt: skip
def test_usual_names_of_splits(name, usual):
    assert layouts.usual_name(name) == usual


def test_a_set_without_validation_says_what_to_do(tmp_path):
    write('cvat', tmp_path)
    assert 'data.folds=5 holds out a fifth' in str(layouts.recognize(tmp_path))
