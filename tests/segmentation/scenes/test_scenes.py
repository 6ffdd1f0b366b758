import collections
import dataclasses
import json
import pathlib

import numpy as np
import pytest
from PIL import Image, ImageFilter
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from segmentation import scenes
from segmentation.scenes import coco_writer, outlines
from tests.paths import SHARED


def decode(annotation: dict, height: int, width: int) -> np.ndarray:
    segmentation = annotation['segmentation']
    if isinstance(segmentation, list):
        rle = mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation['counts'], list):
        rle = mask_utils.frPyObjects(segmentation, height, width)
    else:
        rle = segmentation
    return mask_utils.decode(rle).astype(bool)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


@pytest.fixture(scope='module')
def drawn() -> list[tuple[scenes.Scene, scenes.Rendered, list[dict]]]:
    """Sixty scenes, their images and their annotations."""
    sampled = [scenes.sample_scene(0, 'train', i) for i in range(60)]
    rendered = [scenes.render(scene) for scene in sampled]
    return [
        (s, r, scenes.annotate(s, r, scenes.image_id('train', i)))
        for i, (s, r) in enumerate(zip(sampled, rendered, strict=True))
    ]


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp('scenes') / 'drawn'
    scenes.write_scenes(path, {'train': 6, 'val': 3}, seed=3)
    return path


def test_same_seed_same_scene_and_another_seed_split_or_index_another():
    scene = scenes.sample_scene(5, 'train', 2)
    assert scene == scenes.sample_scene(5, 'train', 2)
    assert scene != scenes.sample_scene(6, 'train', 2)
    assert scene != scenes.sample_scene(5, 'val', 2)
    assert scene != scenes.sample_scene(5, 'train', 3)
    a, b = scenes.render(scene), scenes.render(scene)
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.owner, b.owner)


def test_shapes_types_and_sizes(drawn):
    for scene, rendered, _ in drawn:
        assert rendered.image.shape == (scene.height, scene.width, 3)
        assert rendered.image.dtype == np.uint8
        assert rendered.masks.shape == (len(scene.things), scene.height, scene.width)
        assert rendered.masks.dtype == bool
        assert 225 <= min(scene.width, scene.height) <= max(scene.width, scene.height) <= 400
    shapes = {(s.width, s.height) for s, _, _ in drawn}
    assert any(w > h for w, h in shapes) and any(w < h for w, h in shapes)


def test_visible_masks_are_disjoint(drawn):
    for _, rendered, _ in drawn:
        assert rendered.masks.sum(0).max(initial=0) <= 1


def test_annotations_reproduce_the_visible_masks(drawn):
    forms = collections.Counter()
    for scene, rendered, annotations in drawn:
        expected = {
            i: m
            for i, m in enumerate(rendered.masks)
            if scene.things[i].category_id and m.sum() >= scenes.MIN_VISIBLE
        }
        assert len(annotations) == len(expected)
        for annotation in annotations:
            mask = decode(annotation, scene.height, scene.width)
            index = max(expected, key=lambda i: iou(mask, expected[i]))
            truth = expected.pop(index)
            assert annotation['category_id'] == scene.things[index].category_id
            assert annotation['iscrowd'] == (scene.things[index].crowd > 0)
            assert annotation['area'] == truth.sum()
            rows, cols = np.nonzero(truth)
            x, y, w, h = annotation['bbox']
            assert (x, y, x + w, y + h) == (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)
            if isinstance(annotation['segmentation'], list):
                forms['polygons'] += 1
                forms['several'] += len(annotation['segmentation']) > 1
                assert iou(mask, truth) > (0.9 if truth.sum() > 100 else 0.7)
                for polygon in annotation['segmentation']:
                    assert len(polygon) >= 6 and len(polygon) % 2 == 0
                    assert 0 <= min(polygon) and max(polygon[::2]) <= scene.width
                    assert max(polygon[1::2]) <= scene.height
            else:
                forms['crowd' if annotation['iscrowd'] else 'rle'] += 1
                assert isinstance(
                    annotation['segmentation']['counts'], list if annotation['iscrowd'] else str
                )
                np.testing.assert_array_equal(mask, truth)
    assert min(forms[k] for k in ('polygons', 'several', 'rle', 'crowd')) > 0, forms


def test_uncompressed_rle_of_edge_cases():
    rng = np.random.default_rng(0)
    for mask in (np.ones((3, 4), bool), np.zeros((3, 4), bool), rng.random((7, 5)) < 0.5):
        rle = outlines.uncompressed(mask)
        assert sum(rle['counts']) == mask.size
        np.testing.assert_array_equal(decode({'segmentation': rle}, *mask.shape), mask)


def test_the_mix_of_categories_and_light(drawn):
    names = {c['id']: c['name'] for c in scenes.CATEGORIES}
    images = collections.Counter()
    for _, _, annotations in drawn:
        present = {names[a['category_id']] for a in annotations}
        images.update(present)
        images['both'] += {'person', 'car'} <= present
    share = {name: n / len(drawn) for name, n in images.items()}
    assert 0.35 <= share['both'] <= 0.65, share
    for name in ('bus', 'truck', 'train', 'bicycle', 'motorcycle'):
        assert 0.03 <= share[name] <= 0.35, share
    assert len(share) > 15
    assert 0 < np.mean([s.grayscale for s, _, _ in drawn]) < 0.2
    assert 0.03 < np.mean([s.light.brightness < 0.6 for s, _, _ in drawn]) < 0.3
    dark = [r.image.mean() for s, r, _ in drawn if s.light.brightness < 0.6]
    bright = [r.image.mean() for s, r, _ in drawn if s.light.brightness > 0.6]
    assert np.mean(dark) < 0.7 * np.mean(bright)


def test_person_and_car_come_in_all_sizes(drawn):
    for category in (1, 3):
        shares = [
            a['area'] / (s.width * s.height)
            for s, _, annotations in drawn
            for a in annotations
            if a['category_id'] == category
        ]
        assert min(shares) < 0.002 and max(shares) > 0.05


@pytest.mark.parametrize('index', [0, 5, 11])
def test_removing_a_thing_changes_only_what_it_touched(index):
    scene = scenes.sample_scene(1, 'train', index)
    whole = scenes.render(scene)
    empty = scenes.render(dataclasses.replace(scene, things=()))
    for i, thing in list(enumerate(scene.things))[::2]:
        rest = scenes.render(
            dataclasses.replace(scene, things=scene.things[:i] + scene.things[i + 1 :])
        )
        # What the thing and its shadow touch on the empty background, and a pixel around it,
        # because rounding may hide its faintest traces there.
        alone = scenes.render(dataclasses.replace(scene, things=(thing,)))
        touched = Image.fromarray((alone.image != empty.image).any(2))
        touched = np.asarray(touched.convert('L').filter(ImageFilter.MaxFilter(5))) > 0
        assert not ((whole.image != rest.image).any(2) & ~touched).any()
        renumbered = np.where(rest.owner >= i, rest.owner + 1, rest.owner)
        np.testing.assert_array_equal(renumbered[whole.owner != i], whole.owner[whole.owner != i])


def test_another_background_leaves_the_masks_alone():
    scene = scenes.sample_scene(1, 'train', 4)
    other = dataclasses.replace(scene, seed=scene.seed + 1)
    a, b = scenes.render(scene), scenes.render(other)
    np.testing.assert_array_equal(a.owner, b.owner)
    assert (a.image != b.image).mean() > 0.1


def test_folder_is_valid_coco(folder, capsys):
    ids, image_ids = [], []
    for split, count in (('train', 6), ('val', 3)):
        path = folder / 'annotations' / f'instances_{split}.json'
        document = json.loads(path.read_text())
        assert set(document) == {'info', 'licenses', 'images', 'annotations', 'categories'}
        assert len(document['images']) == count
        for image in document['images']:
            assert image['all_categories_annotated'] is True
            assert image['license'] in {licence['id'] for licence in document['licenses']}
            with Image.open(folder / split / image['file_name']) as picture:
                assert picture.format == 'JPEG'
                assert picture.size == (image['width'], image['height'])
        image_ids += [image['id'] for image in document['images']]
        known = {image['id'] for image in document['images']}
        assert {a['image_id'] for a in document['annotations']} <= known
        ids += [a['id'] for a in document['annotations']]
        coco = COCO(str(path))
        for annotation in coco.loadAnns(coco.getAnnIds()):
            assert coco.annToMask(annotation).any()
    assert len(set(ids)) == len(ids) and len(set(image_ids)) == len(image_ids)
    assert not list(folder.rglob('*.tmp')) and not (folder / '.parts').exists()


def test_all_eighty_categories_with_their_official_ids(folder):
    document = json.loads((folder / 'annotations' / 'instances_train.json').read_text())
    categories = document['categories']
    assert len(categories) == 80 and len({c['name'] for c in categories}) == 80
    if not (SHARED / 'coco').exists():
        pytest.skip('no real COCO annotations in ../shared/coco to compare with')
    real = json.loads((SHARED / 'coco' / 'annotations' / 'instances_val.json').read_text())
    key = lambda c: c['id']  # noqa: E731
    assert sorted(categories, key=key) == sorted(real['categories'], key=key)


def test_grayscale_scenes_are_single_channel_files(tmp_path):
    index = next(i for i in range(200) if scenes.sample_scene(0, 'g', i).grayscale)
    (tmp_path / 'g').mkdir()
    (tmp_path / '.parts' / 'g').mkdir(parents=True)
    coco_writer._write_scene(tmp_path, 0, 'g', index, error_rate=None, planted_version=2)
    with Image.open(next((tmp_path / 'g').iterdir())) as picture:
        assert picture.mode == 'L'


def test_same_bytes_again_with_other_counts_and_with_processes(folder, tmp_path, monkeypatch):
    scenes.write_scenes(tmp_path / 'again', {'train': 6, 'val': 3}, seed=3)
    assert contents(tmp_path / 'again') == contents(folder)
    monkeypatch.setattr(coco_writer, 'FEWEST_FOR_PROCESSES', 2)
    scenes.write_scenes(tmp_path / 'more', {'train': 9}, seed=3, workers=2)
    more, fewer = contents(tmp_path / 'more'), contents(folder)
    pictures = [name for name in fewer if name.startswith('train/')]
    assert len(pictures) == 6 and all(more[name] == fewer[name] for name in pictures)
    for kind in ('images', 'annotations'):
        a, b = (json.loads(c['annotations/instances_train.json'])[kind] for c in (fewer, more))
        assert a == b[: len(a)]


def test_interrupted_and_repeated_gives_the_same_folder(folder, tmp_path, monkeypatch):
    write, written = coco_writer._write_scene, []

    def interrupted(*job):
        if len(written) == 4:
            monkeypatch.setattr(pathlib.Path, 'replace', lambda *paths: exit())
        written.append(job)
        write(*job)

    monkeypatch.setattr(coco_writer, '_write_scene', interrupted)
    with pytest.raises(SystemExit):
        scenes.write_scenes(tmp_path / 'x', {'train': 6, 'val': 3}, seed=3)
    assert not list((tmp_path / 'x' / 'annotations').iterdir())
    monkeypatch.undo()
    redone = []
    monkeypatch.setattr(coco_writer, '_write_scene', lambda *job: (redone.append(job), write(*job)))
    scenes.write_scenes(tmp_path / 'x', {'train': 6, 'val': 3}, seed=3)
    assert len(redone) == 5
    assert contents(tmp_path / 'x') == contents(folder)
    scenes.write_scenes(tmp_path / 'x', {'train': 6, 'val': 3}, seed=3)
    assert len(redone) == 5


def test_refuses_foreign_folders_and_bad_arguments(folder, tmp_path):
    (tmp_path / 'photo.jpg').write_bytes(b'')
    with pytest.raises(ValueError, match='not empty'):
        scenes.write_scenes(tmp_path, {'train': 1})
    assert [p.name for p in tmp_path.iterdir()] == ['photo.jpg']
    with pytest.raises(ValueError, match='other scenes'):
        scenes.write_scenes(folder, {'train': 6, 'val': 3}, seed=4)
    for counts in ({'../up': 1}, {'train': 0}, {'': 2}):
        with pytest.raises(ValueError, match='split'):
            scenes.write_scenes(tmp_path / 'new', counts)
    with pytest.raises(ValueError, match='seed'):
        scenes.write_scenes(tmp_path / 'new', {'train': 1}, seed=-1)
