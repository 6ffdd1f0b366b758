"""The parts of an experiment, and examples whose labels follow their images."""

import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from segmentation.data import input_pipeline, masks, transforms
from segmentation.data.examples import Examples, open_data, select_examples


@pytest.fixture
def prepared(tiny_config):
    return open_data(tiny_config.data)


def ids(prepared, config, part):
    return set(select_examples(prepared, config.data, part)[0].image_ids.tolist())


def test_parts_do_not_overlap_and_lose_nothing(prepared, tiny_config):
    train, selection = (ids(prepared, tiny_config, part) for part in ('train', 'selection'))
    assert train and selection and not train & selection
    assert train | selection == set(prepared.split('train').index.image_id.tolist())


def test_every_image_is_held_out_by_exactly_one_fold(prepared, tiny_config):
    tiny_config.data.folds, tiny_config.data.selection_fraction = 2, 0.0
    held_out = []
    for fold in range(2):
        tiny_config.data.fold = fold
        val, train = (ids(prepared, tiny_config, part) for part in ('val', 'train'))
        assert not val & train
        held_out += val
    assert sorted(held_out) == sorted(prepared.split('train').index.image_id.tolist())


def test_parts_are_those_of_the_published_hashes(prepared, tiny_config):
    """Written out, so that no other division, nor the same one twice, replaces one in silence."""
    tiny_config.data.folds, tiny_config.data.fold = 3, 1
    tiny_config.data.fraction, tiny_config.data.selection_fraction = 0.6, 0.4

    def place(salt, image_id):
        digest = hashlib.blake2b(f'{salt}/{image_id}'.encode(), digest_size=6).digest()
        return int.from_bytes(digest, 'little') / 2**48

    everything = prepared.split('train').index.image_id.tolist()
    val = {i for i in everything if int(3 * place('fold', i)) == 1}
    used = {i for i in everything if i not in val and place('fraction', i) < 0.6}
    selection = {i for i in used if place('selection', i) < 0.4}
    assert val and selection and used - selection
    expected = {'train': used - selection, 'selection': selection, 'val': val}
    assert {part: ids(prepared, tiny_config, part) for part in expected} == expected


def test_image_in_two_merged_splits_counts_once(prepared, tiny_config):
    tiny_config.data.train_splits = ('train', 'val')  # the fixture's val has ids of train
    tiny_config.data.selection_fraction = 0.0
    examples, report = select_examples(prepared, tiny_config.data, 'train')
    assert len(set(examples.image_ids.tolist())) == len(examples) == 12
    assert report['duplicates'] == 6


def test_smaller_fractions_are_part_of_larger_ones(prepared, tiny_config):
    def used(fraction):
        tiny_config.data.fraction = fraction
        train, selection, val = (
            ids(prepared, tiny_config, part) for part in ('train', 'selection', 'val')
        )
        return train, selection, val

    small, half, whole = map(used, (0.4, 0.6, 1.0))
    for smaller, larger in ((small, half), (half, whole)):
        assert smaller[0] < larger[0] and smaller[1] <= larger[1]
        assert smaller[2] == larger[2]  # the validation set stays the same
    for wrong in (0.0, 1.5):
        with pytest.raises(ValueError, match='data.fraction'):
            used(wrong)


def test_cap_takes_the_first_ids(prepared, tiny_config):
    tiny_config.data.selection_fraction = 0.0
    everything = sorted(ids(prepared, tiny_config, 'train'))
    tiny_config.data.max_train = 3
    assert sorted(ids(prepared, tiny_config, 'train')) == everything[:3]


@pytest.mark.parametrize('folds', [0, 3])
def test_excluded_images_leave_the_training_images_only(prepared, tiny_config, tmp_path, folds):
    tiny_config.data.folds, tiny_config.data.max_train = folds, 9
    parts = ('train', 'selection', 'val')
    before = {part: ids(prepared, tiny_config, part) for part in parts}
    assert all(before.values())
    listed = {min(before[part]) for part in parts}
    exclude = tmp_path / 'exclude.json'
    exclude.write_text(json.dumps(sorted(listed)))
    tiny_config.data.exclude = str(exclude)
    after = {part: ids(prepared, tiny_config, part) for part in parts}
    # No other image takes the place of an excluded one.
    assert after == {**before, 'train': before['train'] - listed}
    _, report = select_examples(prepared, tiny_config.data, 'train')
    assert report['excluded'] == len(before['train'] & listed) >= 1


@pytest.mark.parametrize('folds', [0, 3])
def test_copies_are_on_one_side_of_the_held_out_images(prepared, tiny_config, tmp_path, folds):
    tiny_config.data.folds = folds
    before = {part: ids(prepared, tiny_config, part) for part in ('train', 'selection')}
    group = {min(before['selection']), max(before['train'])}
    (tmp_path / 'groups.json').write_text(json.dumps({'groups': [sorted(group)]}))
    tiny_config.data.groups = str(tmp_path / 'groups.json')
    parts = 'train', 'selection', *(('val',) if folds else ())
    after = [ids(prepared, tiny_config, part) for part in parts]
    assert sum(bool(part & group) for part in after) == 1


def test_empty_selection_says_why(prepared, tiny_config):
    tiny_config.data.label_space = 'person: person; bus: bus; bag: handbag; car: car'
    tiny_config.data.require = 'every_class'
    tiny_config.data.exclude = __file__
    with pytest.raises(ValueError, match='image id'):
        ids(prepared, tiny_config, 'train')
    tiny_config.data.exclude = ''
    tiny_config.data.folds, tiny_config.data.fold = 2, 5
    with pytest.raises(ValueError, match='fold'):
        ids(prepared, tiny_config, 'train')


@pytest.mark.parametrize(('zoom', 'paste'), [(1.0, 0.0), (3.0, 0.0), (1.0, 0.9)])
def test_labels_follow_the_picture(prepared, tiny_config, zoom, paste):
    """An image that shows its own label must still do so after augmentation."""
    tiny_config.data.flip, tiny_config.data.min_crop, tiny_config.data.max_crop = True, 0.3, zoom
    tiny_config.data.paste = paste
    examples = select_examples(prepared, tiny_config.data, 'train')[0]

    class Drawn(Examples):
        def record(self, index):
            record = super().record(index)
            image = Image.fromarray(np.repeat(100 * self.draw(record)[..., None], 3, -1))
            file = io.BytesIO()
            image.save(file, 'PNG')
            return {**record, 'image': file.getvalue()}

    drawn = Drawn(**vars(examples))
    right, mirrored, ignored = [], [], []
    for index in range(len(drawn)):
        example = drawn.example(index, np.random.default_rng(index))
        shown, label = example['image'][..., 0], example['label']
        counted = label != masks.IGNORE
        assert (shown[~counted] == 127).all()
        ignored.append((~counted).mean())
        right.append(np.corrcoef(shown[counted], label[counted])[0, 1])
        mirrored.append(np.corrcoef(shown.ravel(), label[:, ::-1].ravel())[0, 1])
    assert (np.mean(ignored) > 0.1) == (zoom > 1)
    # Not 1, because the image is interpolated and the label is not.
    assert np.mean(right) > 0.6 and np.mean(right) > np.mean(mirrored) + 0.2


def of_pictures(prepared, config, size=(640, 480)):
    """The training images, with one large photograph-like picture in place of each."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8))
    file = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(file, 'JPEG', quality=95)

    class Pictured(Examples):
        def record(self, index):
            return {**super().record(index), 'image': file.getvalue()}

    return Pictured(**vars(select_examples(prepared, config.data, 'train')[0])), file.getvalue()


def test_half_of_the_examples_are_mirrored(prepared, tiny_config):
    tiny_config.data.flip = True
    examples = select_examples(prepared, tiny_config.data, 'train')[0]
    plain, mirrored = examples[0], 0
    for seed in range(40):
        found = examples.example(0, np.random.default_rng(seed))
        turned = not np.array_equal(found['image'], plain['image'])
        mirrored += turned
        for key in ('image', 'label'):
            np.testing.assert_array_equal(found[key], plain[key][:, :: -1 if turned else 1])
    assert 10 <= mirrored <= 30


def test_crops_are_as_sharp_as_the_file(prepared, tiny_config):
    """Decoding at a smaller size saves time, but a crop needs more pixels than the whole."""
    tiny_config.data.min_crop = 0.02
    examples, data = of_pictures(prepared, tiny_config)
    full = transforms.decode_image(data, (0, 0))
    size = tuple(examples.record(0)[key] for key in ('width', 'height'))
    boxes = [transforms.random_box(np.random.default_rng(seed), 0.02) for seed in range(300)]
    small = min(range(300), key=lambda seed: max(np.subtract(boxes[seed][2:], boxes[seed][:2])))
    found = examples.example(0, np.random.default_rng(small))['image'].astype(int)
    expected = transforms.resize(full, 32, boxes[small], True)
    assert np.abs(found - expected).mean() < 3, size


def test_case_none_kept_aside_of_a_small_set(prepared, tiny_config):
    """Sets of 2 to 12 images, with the fraction at which none of them was held out."""
    tiny_config.data.selection_fraction = 0.001
    for count in range(2, 13):
        tiny_config.data.max_train = count
        train, held_out = (ids(prepared, tiny_config, part) for part in ('train', 'selection'))
        assert len(held_out) == 1 and len(train) == count - 1 and not train & held_out
    tiny_config.data.max_train = 1
    with pytest.raises(ValueError, match='With data.selection_fraction=0, the only image'):
        for part in ('train', 'selection'):
            ids(prepared, tiny_config, part)
    tiny_config.data.selection_fraction = 0.0
    assert ids(prepared, tiny_config, 'train') == ids(prepared, tiny_config, 'selection')
    tiny_config.data.selection_fraction = 1.0
    with pytest.raises(ValueError, match='at least 0 and below 1'):
        ids(prepared, tiny_config, 'train')


def test_rare_classes_are_repeated(prepared, tiny_config):
    """√(threshold / share) times on average, and every image at least once."""
    config = tiny_config.data
    examples = select_examples(prepared, config, 'train')[0]
    np.testing.assert_array_equal(examples.repeated, np.arange(len(examples)))
    truth = np.zeros((len(examples), 3), bool)
    truth[:, 0] = True
    for i in range(len(examples)):
        for category in examples.record(i)['instances']['category_id'].tolist():
            truth[i, examples.category_to_class.get(category, 0)] = True
    np.testing.assert_array_equal(examples.shows, truth)
    config.repeat = 4.0  # everything is rarer than that
    share = truth.mean(0)
    factor = np.where(truth, np.sqrt(4 / share), 1).max(1)
    times = np.bincount(select_examples(prepared, config, 'train')[0].repeated)
    assert len(times) == len(examples) and (np.abs(times - factor) < 1).all() and times.min() >= 2
    batches = input_pipeline.training_batches(
        select_examples(prepared, config, 'train')[0], batch_size=int(times.sum()), seed=0
    )
    seen = next(batches)['image_id']
    assert sorted(seen) == sorted(examples.image_ids[np.repeat(np.arange(len(times)), times)])


def test_pasted_instances_cover_the_image(prepared, tiny_config):
    """Instances of another image with their pixels; what is around them stays."""
    config = tiny_config.data

    class Gray(Examples):  # Each image has a gray of its own.
        def record(self, index):
            record, file = super().record(index), io.BytesIO()
            size = record['width'], record['height']
            Image.new('RGB', size, (10 * index + 5,) * 3).save(file, 'PNG')
            return {**record, 'image': file.getvalue()}

    plain = Gray(**vars(select_examples(prepared, config, 'train')[0]))
    config.paste = 1.0
    pasting = Gray(**vars(select_examples(prepared, config, 'train')[0]))
    own, sources = plain[0], set()
    for seed in range(20):
        found = pasting.example(0, np.random.default_rng(seed))
        number = found['image'][..., 0].astype(int) // 10
        for source in np.unique(number[number > 0]).tolist():
            sources.add(source)
            label = found['label'][number == source]
            assert (label > 0).all() and (label < 3).all()
            assert (plain[source]['label'][number == source] > 0).all()
        covered = number > 0
        np.testing.assert_array_equal(found['label'][~covered], own['label'][~covered])
    assert len(sources) >= 3
    np.testing.assert_array_equal(pasting[0]['image'], own['image'])  # as it is evaluated
