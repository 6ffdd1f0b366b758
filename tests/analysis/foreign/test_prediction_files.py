"""Stored predictions give the classes that they say; those of other images or sizes are errors."""

import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from analysis.foreign.adapter import Adapter, Output
from analysis.foreign.array_files import read_embeddings
from analysis.foreign.prediction_files import PredictionFiles
from configs import foreign
from segmentation.config import with_overrides
from segmentation.data import examples as examples_lib

NAMES = ('background', 'person', 'car')
CATEGORIES = {1: 1, 3: 2}


@pytest.fixture(scope='module')
def selected(coco_folder, data_dir):
    fields = {
        'data.source': str(coco_folder),
        'data.data_dir': str(data_dir),
        'data.image_size': 32,
    }
    config = with_overrides(foreign.get_config().lock(), fields)
    found, _ = examples_lib.select_examples(examples_lib.open_data(config.data), config.data, 'val')
    return found


def truth(selected, row):
    """Its labels as predictions."""
    label = selected.full_label(row)
    return np.where(label == 255, 0, label)


def name_of(selected, row, how):
    record = selected.record(row)
    number = int(record['image/id'])
    names = {'file': record['file_name'][:-4], 'id': str(number), 'long': f'{number:012d}'}
    return {**names, 'ours': f'{record["file_name"]}-mask'}[how]


def write_pngs(selected, folder, how='file', change=lambda labels: labels):
    folder.mkdir()
    for row in range(len(selected)):
        picture = Image.fromarray(change(truth(selected, row)).astype(np.uint8))
        picture.save(folder / f'{name_of(selected, row, how)}.png')
    return folder


def classes_of(model, selected):
    made = model.of_examples(selected, range(len(selected)), None)
    return [each.logits.argmax(-1) for each in made]


def check_equal(model, selected):
    for row, classes in enumerate(classes_of(model, selected)):
        np.testing.assert_array_equal(classes, truth(selected, row))


@pytest.mark.parametrize('how', ['file', 'id', 'long', 'ours'])
def test_index_pngs(selected, tmp_path, how):
    folder = write_pngs(selected, tmp_path / 'masks', how)
    model = PredictionFiles(folder, Adapter(), NAMES, CATEGORIES)
    assert model.check(selected) == ''
    check_equal(model, selected)
    assert not model.can_run and 'saliency' in model.unavailable


def test_index_pngs_with_other_numbers(selected, tmp_path):
    numbers = np.array([7, 15, 40])
    folder = write_pngs(selected, tmp_path / 'masks', change=lambda labels: numbers[labels])
    adapter = Adapter(classes={'person': (15, 16), 'car': (40,)})
    check_equal(PredictionFiles(folder, adapter, NAMES, CATEGORIES), selected)


@pytest.mark.parametrize('bits', [2, 4])
def test_gray_pngs_of_few_bits_have_the_numbers_that_are_stored(selected, tmp_path, bits):
    def chunk(kind, data):
        checksum = zlib.crc32(kind + data).to_bytes(4, 'big')
        return len(data).to_bytes(4, 'big') + kind + data + checksum

    for row in range(len(selected)):
        numbers = truth(selected, row).astype(np.uint8)
        height, width = numbers.shape
        each = np.unpackbits(numbers[..., None], axis=-1)[..., -bits:]
        rows = np.packbits(each.reshape(height, -1), axis=1)
        header = struct.pack('>IIBBBBB', width, height, bits, 0, 0, 0, 0)
        data = zlib.compress(b''.join(b'\0' + line.tobytes() for line in rows))
        path = tmp_path / f'{name_of(selected, row, "file")}.png'
        parts = chunk(b'IHDR', header), chunk(b'IDAT', data), chunk(b'IEND', b'')
        path.write_bytes(b'\x89PNG\r\n\x1a\n' + b''.join(parts))
    persons_and_cars = Adapter(classes={'person': (1,), 'car': (2,)})
    for adapter in (Adapter(), persons_and_cars):
        check_equal(PredictionFiles(tmp_path, adapter, NAMES, CATEGORIES), selected)


@pytest.mark.parametrize('kind', ['png', 'npy'])
@pytest.mark.parametrize('numbers', [(0, 255, 255), (0, 15, 7)])
def test_numbers_that_are_no_class_are_an_error(selected, tmp_path, numbers, kind):
    def change(labels):
        return np.array(numbers)[labels]

    folder = tmp_path / 'predictions'
    if kind == 'png':
        write_pngs(selected, folder, change=change)
    else:
        folder.mkdir()
        for row in range(len(selected)):
            name = name_of(selected, row, 'file')
            np.save(folder / f'{name}.npy', change(truth(selected, row)))
    named = Adapter(channels=('a', 'b', 'c'), classes={'person': ('b',), 'car': ('c',)})
    for adapter in (Adapter(), named):
        with pytest.raises(ValueError, match=r'number \d+, but the classes are 0 … 2'):
            classes_of(PredictionFiles(folder, adapter, NAMES, CATEGORIES), selected)
    # Where the adapter says which are which, all others are background.
    persons = Adapter(classes={'person': (numbers[1],), 'car': ()})
    found = classes_of(PredictionFiles(folder, persons, NAMES, CATEGORIES), selected)
    np.testing.assert_array_equal(found[0], change(truth(selected, 0)) == numbers[1])


def test_arrays_of_numbers_are_class_maps_without_probabilities(selected, tmp_path):
    for row in range(len(selected)):
        np.save(tmp_path / f'{name_of(selected, row, "file")}.npy', truth(selected, row)[None])
    model = PredictionFiles(tmp_path, Adapter(), NAMES, CATEGORIES)
    assert model.certain
    check_equal(model, selected)


def test_one_file_for_two_images_is_an_error(selected, tmp_path):
    folder = write_pngs(selected, tmp_path / 'masks')
    names = {row: name_of(selected, row, 'file') for row in range(2)}
    (folder / f'{names[1]}.png').unlink()
    (folder / f'{names[0]}.png').rename(folder / f'{selected.image_ids[1]}.png')
    record = selected.record

    class Renamed:
        image_ids = selected.image_ids

        def __len__(self):
            return len(selected)

        def record(self, row):
            if row:
                return record(row)
            # The first image is named after the id of the second one.
            return {**record(row), 'file_name': f'{selected.image_ids[1]}.jpg'}

    with pytest.raises(ValueError, match='may be the prediction for'):
        PredictionFiles(folder, Adapter(), NAMES, CATEGORIES).check(Renamed())


@pytest.mark.parametrize('channels_first', [True, False])
def test_probabilities(selected, tmp_path, channels_first):
    for row in range(len(selected)):
        planes = np.eye(3, dtype=np.float32)[truth(selected, row)] * 0.8 + 0.1
        planes = np.moveaxis(planes, -1, 0) if channels_first else planes
        np.save(tmp_path / f'{name_of(selected, row, "file")}.npy', planes)
    check_equal(PredictionFiles(tmp_path, Adapter(), NAMES, CATEGORIES), selected)


def results(selected):
    """COCO results of the labels, one instance per class; RLE as pycocotools and as lists."""
    entries = []
    for row in range(len(selected)):
        labels = truth(selected, row)
        for category, value in CATEGORIES.items():
            rle = mask_utils.encode(np.asfortranarray(labels == value, np.uint8))
            entries.append(
                {
                    'image_id': int(selected.image_ids[row]),
                    'category_id': category,
                    'segmentation': {'size': rle['size'], 'counts': rle['counts'].decode()},
                    'score': 0.9,
                }
            )
    return entries


def coco_model(tmp_path, entries, adapter=None):
    path = tmp_path / 'results.json'
    path.write_text(json.dumps(entries))
    return PredictionFiles(path, adapter or Adapter(), NAMES, CATEGORIES)


def test_coco_results(selected, tmp_path):
    entries = results(selected)
    model = coco_model(tmp_path, entries)
    assert model.check(selected) == ''
    check_equal(model, selected)
    # The most certain instance is on top; uncertain ones and other categories do not count.
    whole = {'size': entries[0]['segmentation']['size'], 'counts': None}
    height, width = whole['size']
    whole['counts'] = [0, height * width]
    common = {'image_id': entries[0]['image_id'], 'segmentation': whole}
    more = [
        {**common, 'category_id': 3, 'score': 0.4},
        {**common, 'category_id': 31, 'score': 0.99},
    ]
    check_equal(coco_model(tmp_path, [*more, *entries]), selected)
    covered = coco_model(tmp_path, [{**common, 'category_id': 3, 'score': 0.95}, *entries])
    assert (classes_of(covered, selected)[0] == 2).all()


def test_results_whose_ids_are_those_of_the_classes(selected, tmp_path):
    """As scripts/predict.py writes them, with images.json beside them."""
    model, beside = coco_model(tmp_path, results(selected)), tmp_path / 'images.json'
    described = [{'id': 1, 'name': 'person'}, {'id': 2, 'name': 'car'}]
    beside.write_text(json.dumps({'images': [], 'categories': described}))
    with pytest.raises(ValueError, match='1: person, 2: car.*give the folder with its masks'):
        model.check(selected)
    # A class, whose pixels would be lost, whether the data have a category of this name or not.
    for name in ('car', 'vehicle'):
        described[1] |= {'id': 900, 'name': name}
        beside.write_text(json.dumps({'images': [], 'categories': described}))
        names = ('background', 'person', name)
        of_classes = PredictionFiles(tmp_path / 'results.json', Adapter(), names, CATEGORIES)
        with pytest.raises(ValueError, match='give the folder with its masks'):
            of_classes.check(selected)
    described[1]['name'] = 'car'
    described[1]['id'] = 3  # as in the data
    described.append({'id': 900, 'name': 'no category of the data, and no class'})
    for content in (json.dumps({'images': [], 'categories': described}), '[]', 'no JSON'):
        beside.write_text(content)
        assert model.check(selected) == ''


def test_results_that_are_not_drawn_are_counted(selected, tmp_path):
    entries = results(selected)
    entries[0]['score'], entries[1]['category_id'], entries[3]['category_id'] = 0.3, 18, 44
    note = coco_model(tmp_path, entries).check(selected)
    assert '2 of 12 results are of categories that are no class (ids 18, 44)' in note
    assert '1 of 12 results have a score below 0.5' in note


def test_results_of_categories_that_the_data_do_not_have(selected, tmp_path):
    entries = [{**entry, 'category_id': 900} for entry in results(selected)]
    with pytest.raises(ValueError, match='results of the categories 900, but the ids of the data'):
        coco_model(tmp_path, entries).check(selected)
    # That a model only finds other things is possible, and an adapter may say what 900 is.
    assert 'no class (ids 31)' in coco_model(
        tmp_path, [{**entry, 'category_id': 31} for entry in entries]
    ).check(selected)
    adapter = Adapter(classes={'person': (900,), 'car': ()})
    assert coco_model(tmp_path, entries, adapter).check(selected) == ''
    with pytest.raises(ValueError, match='empty list'):
        coco_model(tmp_path, []).check(selected)


def test_predictions_that_are_missing_or_left_over(selected, tmp_path):
    folder = write_pngs(selected, tmp_path / 'masks')
    (folder / 'holiday.png').write_bytes(next(folder.iterdir()).read_bytes())
    model = PredictionFiles(folder, Adapter(), NAMES, CATEGORIES)
    assert model.check(selected).startswith('1 files')
    (folder / f'{name_of(selected, 2, "file")}.png').unlink()
    model = PredictionFiles(folder, Adapter(), NAMES, CATEGORIES)
    with pytest.raises(ValueError, match='no prediction for 1 of the 6 images'):
        model.check(selected)
    entries = results(selected)
    assert '1 images have no predicted instance' in coco_model(tmp_path, entries[2:]).check(
        selected
    )
    others = [{**entry, 'image_id': entry['image_id'] + 10**6} for entry in entries]
    with pytest.raises(ValueError, match='for none of the 6 images'):
        coco_model(tmp_path, others).check(selected)


def broken_png(selected, folder, pixels, mode=None):
    path = folder / f'{name_of(selected, 0, "file")}.png'
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(path)


def test_predictions_of_other_sizes_or_kinds(selected, tmp_path):
    folder = write_pngs(selected, tmp_path / 'masks')
    model = PredictionFiles(folder, Adapter(), NAMES, CATEGORIES)
    height, width = truth(selected, 0).shape
    broken_png(selected, folder, np.zeros((height, width - 1), np.uint8))
    with pytest.raises(ValueError, match='predictions for another size'):
        classes_of(model, selected)
    broken_png(selected, folder, np.zeros((height, width, 3), np.uint8))
    with pytest.raises(ValueError, match='mode RGB'):
        classes_of(model, selected)
    next(folder.glob(f'{name_of(selected, 0, "file")}.png')).write_bytes(b'not a picture')
    with pytest.raises(ValueError, match='cannot be read as a PNG'):
        classes_of(model, selected)
    entries = results(selected)
    entries[0]['segmentation'] = {**entries[0]['segmentation'], 'size': [3, 4]}
    with pytest.raises(ValueError, match=r'a mask of \[3, 4\]'):
        classes_of(coco_model(tmp_path, entries), selected)
    for nonsense in ('nonsense', {'size': list(truth(selected, 0).shape)}, {'counts': 'abc'}):
        entries[0]['segmentation'] = nonsense
        with pytest.raises(ValueError, match='cannot be read'):
            classes_of(coco_model(tmp_path, entries), selected)
    entries[0]['segmentation'] = {'size': 5, 'counts': 'abc'}
    with pytest.raises(ValueError, match='predictions for another size'):
        classes_of(coco_model(tmp_path, entries), selected)


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda size: np.zeros((3, size[0], size[1] - 3)), 'another size'),
        (lambda size: np.zeros((2, *size)), 'does not say which of the 2 channels'),
        (lambda size: np.full((3, *size), 7.0), 'no probabilities'),
        (lambda size: np.full((3, *size), np.nan), 'NaN'),
        (lambda size: np.zeros((3, *size), np.complex64), 'not numbers'),
        (lambda size: np.zeros((2, 3, *size)), 'shape'),
        (lambda size: np.zeros((3, 0, 0), np.float32), 'is empty'),
        (lambda size: np.float32(1), 'shape'),
    ],
)
def test_arrays_that_do_not_fit(selected, tmp_path, make, message):
    size = truth(selected, 0).shape
    np.save(tmp_path / f'{name_of(selected, 0, "file")}.npy', make(size))
    with pytest.raises(ValueError, match=message):
        PredictionFiles(tmp_path, Adapter(), NAMES, CATEGORIES).of_examples(selected, [0], None)


@pytest.mark.parametrize(
    ('form', 'layout', 'axes', 'fits'),
    [
        ('class map', 'HW', 2, True),
        ('class map', 'CHW', 3, False),
        ('logits', 'CHW', 2, False),
        ('probabilities', 'CHW', 2, False),
        ('single logit', 'CHW', 3, False),
        ('logits', 'CHW', 3, True),
    ],
)
def test_forms_have_their_axes(selected, tmp_path, form, layout, axes, fits):
    size = truth(selected, 0).shape
    values = np.zeros(size if axes == 2 else (3, *size), np.uint8)
    np.save(tmp_path / f'{name_of(selected, 0, "file")}.npy', values)
    adapter = Adapter(output=Output(name='x', layout=layout, form=form))
    model = PredictionFiles(tmp_path, adapter, NAMES, CATEGORIES)
    if fits:
        (made,) = model.of_examples(selected, [0], None)
        assert made.logits.shape == (*size, 3)
    else:
        with pytest.raises(ValueError, match=f"{form}', which has {5 - axes} axes"):
            model.of_examples(selected, [0], None)


def test_truth_values_are_class_maps(selected, tmp_path):
    person = truth(selected, 0) == 1
    np.save(tmp_path / f'{name_of(selected, 0, "file")}.npy', person)
    model = PredictionFiles(tmp_path, Adapter(), NAMES, CATEGORIES)
    assert model.certain
    (made,) = model.of_examples(selected, [0], None)
    np.testing.assert_array_equal(made.logits.argmax(-1), person)


def test_pickled_arrays_are_refused(selected, tmp_path):
    path = tmp_path / f'{name_of(selected, 0, "file")}.npy'
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    path.write_bytes(b'\x93NUMPY\x01\x00v\x00' + header.ljust(117) + b'\n')
    with pytest.raises(ValueError, match='cannot be read as an array'):
        PredictionFiles(tmp_path, Adapter(), NAMES, CATEGORIES)
    with path.open('wb') as file:
        np.savez(file, np.zeros(3))
    with pytest.raises(ValueError, match='an .npz archive'):
        PredictionFiles(tmp_path, Adapter(), NAMES, CATEGORIES)


@pytest.mark.parametrize(
    'text, message',
    [
        ('{', 'not valid JSON'),
        ('{"images": []}', 'not in the format of COCO results'),
        ('[3]', 'Entry 0'),
        ('[{"image_id": 1, "category_id": 1}]', "KeyError\\('segmentation'\\)"),
        ('[{"image_id": "a", "category_id": 1, "segmentation": []}]', 'not a number'),
        ('[{"image_id": 1, "category_id": 1, "segmentation": [], "score": NaN}]', 'not a number'),
    ],
)
def test_results_that_are_damaged(tmp_path, text, message):
    path = tmp_path / 'results.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        PredictionFiles(path, Adapter(), NAMES, CATEGORIES)


def test_a_folder_without_predictions(tmp_path):
    with pytest.raises(ValueError, match='neither .png nor .npy'):
        PredictionFiles(tmp_path, Adapter(), NAMES, CATEGORIES)
    with pytest.raises(ValueError, match='neither a folder'):
        PredictionFiles(tmp_path / 'nothing', Adapter(), NAMES, CATEGORIES)
    # Files behind links are outside.
    (tmp_path / 'out.png').write_bytes(b'')
    inside = tmp_path / 'inside'
    inside.mkdir()
    (inside / 'out.png').symlink_to(tmp_path / 'out.png')
    with pytest.raises(ValueError, match='neither .png nor .npy'):
        PredictionFiles(inside, Adapter(), NAMES, CATEGORIES)


def test_embeddings(tmp_path):
    points, path, ids = np.arange(6.0).reshape(3, 2), tmp_path / 'e.npy', np.array([30, 10, 20])
    np.save(path, points)
    found = read_embeddings(path, None, ids)
    assert {key: value.tolist() for key, value in found.items()} == {
        10: [0, 1], 20: [2, 3], 30: [4, 5],
    }  # fmt: skip
    (tmp_path / 'ids.json').write_text('[30, 10, 5]')
    found = read_embeddings(path, tmp_path / 'ids.json', ids)
    assert found[30].tolist() == [0, 1] and 20 not in found
    with pytest.raises(ValueError, match='3 rows, but there are 2 images'):
        read_embeddings(path, None, ids[:2])
    (tmp_path / 'ids.json').write_text('[30, 10]')
    with pytest.raises(ValueError, match='must be 3 whole numbers'):
        read_embeddings(path, tmp_path / 'ids.json', ids)
    (tmp_path / 'ids.json').write_text('[30, 10, 30]')
    with pytest.raises(ValueError, match='an image id twice'):
        read_embeddings(path, tmp_path / 'ids.json', ids)
    np.save(path, points * 1e300)
    with pytest.raises(ValueError, match='infinity'):
        read_embeddings(path, None, ids)
    np.save(path, points[0])
    with pytest.raises(ValueError, match=r'not float \[images, dimensions\]'):
        read_embeddings(path, None, ids)
