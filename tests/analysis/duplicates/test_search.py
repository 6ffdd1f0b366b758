"""Copies are found whatever was changed, and nothing else is."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from analysis.duplicates import alignment, search
from segmentation import scenes
from segmentation.data import transforms
from tests.paths import SHARED

COCO = SHARED / 'coco'


def crop(image, rng):
    """Leaves out 3 to 10 % of the width and of the height."""
    cut, place = rng.uniform(0.03, 0.1, 2), rng.random(2)
    (width, height), (left, top) = image.size, cut * place * image.size
    box = left, top, left + width * (1 - cut[0]), top + height * (1 - cut[1])
    return image.crop(tuple(map(int, box)))


def brighten(image, rng):
    return ImageEnhance.Brightness(image).enhance(rng.choice([0.6, 0.75, 1.25, 1.5]))


CHANGES = {
    ('re-encoded',): lambda image, _: image.resize((image.width * 2 // 3, image.height * 2 // 3)),
    ('mirrored',): lambda image, _: ImageOps.mirror(image),
    ('cropped',): crop,
    ('brightness',): brighten,
    ('mirrored', 'cropped', 'brightness'): lambda image, rng: brighten(
        crop(ImageOps.mirror(image), rng), rng
    ),
}


def gray(image):
    return transforms.resize(image.convert('RGB'), search.SIDE, (0, 0, 1, 1), True).mean(2)


def plant(files, rng):
    """Gray values of images and of 1 % copies of each kind; the copies' originals and kinds."""
    pictures = [Image.open(file).convert('RGB') for file in files]
    order, each = rng.permutation(len(files)), max(2, len(files) // 100)
    planted = {}
    for number, (kinds, change) in enumerate(CHANGES.items()):
        for original in order[number * each : (number + 1) * each]:
            buffer, quality = io.BytesIO(), int(rng.integers(40, 90))
            change(pictures[original], rng).save(buffer, 'JPEG', quality=quality)
            planted[len(pictures)] = int(original), kinds
            pictures.append(Image.open(buffer).convert('RGB'))
    sizes = [2 - (number in planted) for number in range(len(pictures))]
    return np.stack([gray(picture) for picture in pictures]).astype(np.uint8), sizes, planted


def score(files, seed):
    """Recall and precision of the planted pairs, and the share of copies with the right kind."""
    values, sizes, planted = plant(files, np.random.default_rng(seed))
    found = {
        member: (copies.members[0], kinds)
        for copies in search.find(values, [str(k) for k in range(len(values))], np.array(sizes))
        for member, kinds in zip(copies.members[1:], copies.kinds[1:], strict=True)
    }
    right = [k for k in found if k in planted and found[k][0] == planted[k][0]]
    same = [k for k in right if found[k][1] == planted[k][1]]
    return len(right) / len(planted), len(right) / len(found), len(same) / len(right)


@pytest.mark.skipif(not COCO.exists(), reason='the photographs of ../shared are absent')
def test_planted_copies_of_photographs():
    recall, precision, same_kind = score(sorted(COCO.glob('train/*.jpg'))[:600], 3)
    assert recall >= 0.95 and precision >= 0.95 and same_kind >= 0.9


def test_planted_copies_of_scenes(tmp_path):
    scenes.write_scenes(tmp_path, {'train': 100}, 3, error_rate=0.02)
    recall, precision, same_kind = score(sorted(tmp_path.glob('train/*')), 3)
    assert recall >= 0.9 and precision >= 0.9 and same_kind >= 0.8  # of 10 copies


def test_an_alignment_is_that_of_the_crop():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (12, 12), np.uint8)).resize((640, 640), 2)
    part = np.asarray(image.crop((0, 32, 608, 640)).resize((64, 64)), np.float32)[None]
    whole = np.asarray(image.resize((64, 64)), np.float32)[None]
    places, similarity = alignment.align(part, whole)
    # 95 % of the side, from the lower left.
    np.testing.assert_allclose(places, [[0.95, 0.05, 0.95, -0.05]], atol=0.005)
    assert similarity > 0.97
    ratio, difference = alignment.light(part, 0.5 * whole + 20, places)[0]
    assert abs(ratio - 0.5) < 0.03
    assert abs(difference - (20 - 0.5 * part.mean())) < 3


def test_flat_images_and_copies_of_copies():
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 256, (9, 9), np.uint8)) for _ in range(3)]
    values = np.stack([np.asarray(image.resize((64, 64), 2)) for image in noise])
    flat = np.full((2, 64, 64), 90, np.uint8)
    values = np.concatenate([flat, values, values[:1], values[:1, :, ::-1]])
    digests = ['black', 'white', 'a', 'b', 'c', 'a', 'd']
    (copies,) = search.find(values, digests, np.array([1, 1, 1, 1, 1, 5, 1]))
    assert copies.members == (5, 2, 6)
    assert copies.kinds == ((), ('exact',), ('mirrored',))
    # Files that are the same are copies even if they show nothing.
    same = search.find(flat, ['x', 'x'], np.ones(2))
    assert [found.members for found in same] == [(0, 1)]


def test_what_differs_of_a_copy_of_a_copy_is_not_known():
    """Each image is cropped from the one before, so the last ones have little of the first."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (9, 9), np.uint8)
    image, chain = Image.fromarray(noise).resize((640, 640), 2), []
    for _ in range(6):
        chain.append(np.asarray(image.resize((64, 64))))
        side = int(0.93 * image.width)
        image = image.crop((0, 0, side, side))
    (copies,) = search.find(np.stack(chain), list('abcdef'), np.arange(6)[::-1])
    assert copies.members == tuple(range(6))
    assert copies.kinds[:2] == ((), ('cropped',)) and copies.kinds[-1] == ('copy of a copy',)
    for kinds, similarity in zip(copies.kinds, copies.similarity, strict=True):
        assert (similarity < search.THRESHOLD) == (kinds == ('copy of a copy',))
