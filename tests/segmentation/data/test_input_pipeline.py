import io
import select
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from segmentation.data import input_pipeline, masks, transforms
from segmentation.data.examples import Examples, open_data, select_examples
from tests import coco_fixtures

FULL = (0.0, 0.0, 1.0, 1.0)


def encoded(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def gradient(width=64, height=48):
    """A smooth picture, which survives JPEG."""
    rows, columns = np.mgrid[:height, :width]
    channels = [255 * columns / width, 255 * rows / height, 128 + 0 * rows]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


# Decoding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('mode', 'file_format'),
    [('L', 'JPEG'), ('CMYK', 'JPEG'), ('RGBA', 'PNG'), ('P', 'PNG'), ('LA', 'PNG'), ('1', 'PNG')],
)
def test_every_kind_of_picture_becomes_rgb(mode, file_format):
    data = encoded(gradient().convert(mode), file_format)
    image = transforms.decode_image(data, (64, 48))
    assert image.mode == 'RGB' and image.size == (64, 48)
    if mode == 'L':
        pixels = np.asarray(image)
        assert (pixels == pixels[..., :1]).all()
    if mode == 'CMYK':
        error = np.abs(np.asarray(image).astype(int) - np.asarray(gradient()))
        assert error.mean() < 5


def test_16_bit_keeps_its_contrast():
    values = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    image = transforms.decode_image(encoded(Image.fromarray(values), 'PNG'), (64, 48))
    np.testing.assert_allclose(np.asarray(image)[..., 0], values / 257, atol=1)


def test_first_frame_of_an_animation():
    frames = [Image.new('RGB', (8, 8), color) for color in ('red', 'blue')]
    data = encoded(frames[0], 'GIF', save_all=True, append_images=frames[1:])
    assert transforms.decode_image(data, (8, 8)).getpixel((0, 0)) == (255, 0, 0)


def test_exif_rotation_follows_the_size_of_the_annotations():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90°
    data = encoded(gradient(), 'JPEG', exif=exif)
    raw = transforms.decode_image(data, (64, 48))
    turned = transforms.decode_image(data, (48, 64))
    assert raw.size == (64, 48) and turned.size == (48, 64)
    np.testing.assert_array_equal(np.asarray(turned), np.rot90(np.asarray(raw), -1))
    assert transforms.decode_image(data, (0, 0)).size == (48, 64)


def test_reduced_decoding_is_close_to_full_decoding():
    data = encoded(gradient(640, 480), 'JPEG', quality=95)
    full = transforms.decode_image(data, (640, 480))
    reduced = transforms.decode_image(data, (640, 480), at_least=128)
    assert reduced.size == (320, 240)  # a quarter would be fewer than 128 rows
    difference = np.abs(
        transforms.resize(full, 128, FULL, True).astype(int)
        - transforms.resize(reduced, 128, FULL, True)
    )
    assert difference.mean() < 1


def test_truncated_picture_is_an_error():
    data = coco_fixtures.picture(64, 48)
    with pytest.raises(OSError, match='truncated'):
        transforms.decode_image(data[: len(data) // 2], (64, 48))


# Resizing -----------------------------------------------------------------------------------------


def test_without_antialias_it_is_half_pixel_bilinear():
    """Against the definition, written out: the rule of tf.image.resize."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8))
    pixels = np.asarray(image).astype(float)

    def axis(length, size):
        position = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.floor(position).astype(int)
        return low, np.minimum(low + 1, length - 1), position - low

    top, bottom, v = axis(30, 16)
    left, right, u = axis(50, 16)
    v, u = v[:, None, None], u[None, :, None]
    expected = (1 - v) * ((1 - u) * pixels[top][:, left] + u * pixels[top][:, right]) + v * (
        (1 - u) * pixels[bottom][:, left] + u * pixels[bottom][:, right]
    )
    np.testing.assert_allclose(transforms.resize(image, 16, FULL, False), expected, atol=1)


@pytest.mark.parametrize('antialias', [False, True])
def test_one_pixel_picture_fills_the_input(antialias):
    image = Image.new('RGB', (1, 1), (10, 20, 30))
    assert (transforms.resize(image, 32, FULL, antialias) == [10, 20, 30]).all()


def test_random_box_has_the_area_it_should():
    rng = np.random.default_rng(0)
    boxes = np.array([transforms.random_box(rng, 0.25) for _ in range(500)])
    assert (boxes >= 0).all() and (boxes <= 1).all()
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert areas.min() > 0.18 and areas.max() <= 1 and 0.5 < areas.mean() < 0.7


def test_color_jitter_of_nothing_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    same = transforms.jitter_colors(image, np.random.default_rng(0), 0.0)
    np.testing.assert_allclose(same.astype(int), image, atol=1)
    other = transforms.jitter_colors(image, np.random.default_rng(0), 0.5)
    assert np.abs(other.astype(int) - image).mean() > 3


# Selection ----------------------------------------------------------------------------------------


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
        assert smaller[2] == larger[2]  # what is reported on stays the same
    for wrong in (0.0, 1.5):
        with pytest.raises(ValueError, match='data.fraction'):
            used(wrong)


def test_cap_takes_the_first_ids_and_exclude_is_obeyed(prepared, tiny_config, tmp_path):
    tiny_config.data.selection_fraction = 0.0
    everything = sorted(ids(prepared, tiny_config, 'train'))
    exclude = tmp_path / 'exclude.json'
    exclude.write_text(f'[{everything[0]}]')
    tiny_config.data.exclude, tiny_config.data.max_train = str(exclude), 3
    assert sorted(ids(prepared, tiny_config, 'train')) == everything[1:4]


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


# Batches ------------------------------------------------------------------------------------------


@pytest.fixture
def augmented(prepared, tiny_config):
    tiny_config.data.flip, tiny_config.data.min_crop = True, 0.3
    tiny_config.data.color_jitter, tiny_config.data.selection_fraction = 0.3, 0.0
    return select_examples(prepared, tiny_config.data, 'train')[0]


def first_batches(examples, count, **options):
    batches = iter(input_pipeline.training_batches(examples, seed=3, **options))
    return [next(batches) for _ in range(count)]


def test_same_batches_for_any_number_of_threads_and_processes(augmented):
    whole = first_batches(augmented, 5, batch_size=4)
    augmented.config.threads = 1
    again = first_batches(augmented, 5, batch_size=4)
    shares = [
        first_batches(augmented, 5, batch_size=4, process_index=p, process_count=2)
        for p in range(2)
    ]
    for step in range(5):
        for key in ('image', 'label', 'image_id'):
            np.testing.assert_array_equal(whole[step][key], again[step][key])
            interleaved = np.stack([share[step][key] for share in shares], axis=1)
            np.testing.assert_array_equal(
                whole[step][key], interleaved.reshape(whole[step][key].shape)
            )


def test_every_pass_sees_every_image_in_another_order(augmented):
    seen = np.concatenate([b['image_id'] for b in first_batches(augmented, 6, batch_size=4)])
    assert sorted(seen[:12]) == sorted(seen[12:]) == sorted(augmented.image_ids)
    assert (seen[:12] != seen[12:]).any()


@pytest.mark.parametrize('workers', [0, 2])
def test_iterator_state_resumes_exactly_with_any_number_of_workers(augmented, workers):
    batches = input_pipeline.training_batches(augmented, seed=3, batch_size=4)
    for _ in range(3):
        next(batches)
    state = batches.get_state()
    resumed = input_pipeline.training_batches(augmented, seed=3, batch_size=4, workers=workers)
    resumed.set_state(state)
    for _ in range(3):
        expected, actual = next(batches), next(resumed)
        for key in ('image', 'label', 'image_id'):
            np.testing.assert_array_equal(actual[key], expected[key])
    assert resumed.get_state() == batches.get_state()


def test_workers_end_when_their_parent_is_killed():
    code = """
import multiprocessing, time
from segmentation.data import input_pipeline
def work():
    input_pipeline._end_with_parent(0, 1)
    print('ready', flush=True)
    time.sleep(60)
multiprocessing.get_context('fork').Process(target=work).start()
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b'ready\n'
        parent.kill()
        # Its end is the end of the pipe that both write to.
        assert select.select([parent.stdout], [], [], 30)[0], 'the worker is still there'
        assert parent.stdout.read() == b''


def test_labels_follow_the_picture(prepared, tiny_config):
    """A picture that shows its own label must still do so after augmentation."""
    tiny_config.data.flip, tiny_config.data.min_crop = True, 0.3
    examples = select_examples(prepared, tiny_config.data, 'train')[0]

    class Drawn(Examples):
        def record(self, index):
            record = super().record(index)
            image = Image.fromarray(np.repeat(100 * self.draw(record)[..., None], 3, -1))
            return {**record, 'image': encoded(image, 'PNG')}

    drawn = Drawn(**vars(examples))
    right, mirrored = [], []
    for index in range(len(drawn)):
        example = drawn.example(index, np.random.default_rng(index))
        shown, label = example['image'][..., 0].ravel(), example['label']
        right.append(np.corrcoef(shown, label.ravel())[0, 1])
        mirrored.append(np.corrcoef(shown, label[:, ::-1].ravel())[0, 1])
    # Not 1, as the picture is interpolated and the label is not.
    assert np.mean(right) > 0.6 and np.mean(right) > np.mean(mirrored) + 0.2


def test_evaluation_pads_and_masks(augmented):
    batches = list(input_pipeline.evaluation_batches(augmented, batch_size=8))
    assert [len(batch['image']) for batch in batches] == [8, 8]
    index = np.concatenate([batch['index'] for batch in batches])
    np.testing.assert_array_equal(index, [*range(12), -1, -1, -1, -1])
    assert (batches[1]['label'][4:] == masks.IGNORE).all()
    np.testing.assert_array_equal(batches[0]['image'][5], augmented[5]['image'])


def test_global_batch_must_divide(augmented):
    with pytest.raises(ValueError, match='multiple of the number of processes'):
        input_pipeline.training_batches(augmented, batch_size=5, seed=0, process_count=2)


def test_unreadable_file_for_prediction(tmp_path):
    path = tmp_path / 'note.jpg'
    png = coco_fixtures.picture(40, 30, file_format='PNG')
    # Pillow takes the latter for a mistake in a program.
    for data in (b'not a picture', png.replace(b'IDAT', b'\x00\x00\x01\x00')):
        path.write_bytes(data)
        with pytest.raises(ValueError, match='note.jpg'):
            transforms.read_image_file(path, 32, True)
