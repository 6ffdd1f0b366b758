"""Hidden slices of planted scenes, version 3."""

import collections
import dataclasses

import numpy as np
import pytest

from segmentation import scenes
from segmentation.scenes.drawing.finishes import FINISHES
from segmentation.scenes.planted import hidden, sampling
from tests.segmentation.scenes.planted.test_planted import digest

NUMBER = 240


@pytest.fixture(scope='module')
def pairs():
    """Descriptions of versions 2 and 3 of the same scenes."""
    return [
        tuple(scenes.sample_planted(0, 'val', index, 0.02, version) for version in (2, 3))
        for index in range(NUMBER)
    ]


def test_a_scene_is_that_of_version_2_but_for_one_thing(pairs):
    for old, new in pairs:
        assert old.hidden is None
        if new.hidden is None:
            assert new == old
            continue
        name, number = new.hidden
        assert not (old.error or old.hard_slice)
        assert dataclasses.replace(new.scene, things=()) == dataclasses.replace(
            old.scene, things=()
        )
        mine, others = new.scene.things[number], list(new.scene.things)
        del others[number]
        assert name.startswith(mine.kind) and mine not in old.scene.things
        # Changed in place, or added.
        assert len([thing for thing in old.scene.things if thing not in others]) <= 1
        assert all(thing in old.scene.things for thing in others)
        depths = [thing.depth for thing in new.scene.things]
        assert depths == sorted(depths, reverse=True)


def test_every_slice_has_its_share(pairs):
    found = collections.Counter(new.hidden[0] for _, new in pairs if new.hidden)
    assert set(found) == set(scenes.HIDDEN_SLICES)
    assert all(0.015 * NUMBER <= count <= 0.12 * NUMBER for count in found.values()), found


def test_colors_are_hidden_where_there_are_colors(pairs):
    for _, new in pairs:
        if new.hidden and 'lime' in new.hidden[0]:
            assert not {'night', 'grayscale', 'low hue variation'} & set(new.attributes)


def test_training_scenes_have_none():
    for index in range(60):
        both = (scenes.sample_planted(0, 'train', index, 0.02, version) for version in (2, 3))
        assert len(set(both)) == 1


def test_things_look_as_the_slice_says(pairs):
    seen = collections.Counter()
    for _, new in pairs:
        if not new.hidden or seen[new.hidden[0]] == 3 or 'night' in new.attributes:
            continue
        name, number = new.hidden
        rendered, thing = scenes.render(new.scene), new.scene.things[number]
        mine = rendered.owner == number
        if mine.mean() < 0.01:
            continue
        seen[name] += 1
        pixels = rendered.image[mine].astype(float)
        if 'lime' in name:
            assert (pixels[:, 1] > pixels[:, [0, 2]].max(1) + 20).mean() > 0.9
        elif thing.finish:
            luma = pixels.mean(1)
            middle = (luma.min() + luma.max()) / 2
            assert 0.2 < (luma > middle).mean() < 0.8
            assert np.ptp(pixels, axis=1).mean() < 60
        else:
            plain = dataclasses.replace(thing, tilt=0.0)
            things = list(new.scene.things)
            things[number] = plain
            upright = scenes.render(dataclasses.replace(new.scene, things=tuple(things)))
            assert (upright.owner == number).sum() != mine.sum()
    assert set(seen) == set(scenes.HIDDEN_SLICES)


@pytest.mark.parametrize('name', FINISHES)
def test_finishes_keep_the_outline(name):
    patch = np.zeros((4, 40, 30), np.float32)
    patch[:, 5:35, 5:25] = np.array([200, 60, 60, 1])[:, None, None]
    before = patch[3].copy()
    FINISHES[name](patch, 20.0)
    np.testing.assert_array_equal(patch[3], before)
    assert not patch[:3, before == 0].any() and patch[:3].max() <= 255
    assert np.abs(patch[:3, 10, 10] - (200, 60, 60)).max() > 20


def test_the_manifest_names_the_object_and_scenes_are_found_again(tmp_path):
    counts = {'val': 12}
    scenes.write_scenes(tmp_path, counts, 0, workers=1, error_rate=0.02, planted_version=3)
    header, entries = scenes.read_truth(tmp_path, 'val')
    assert header['generator'] == hidden.VERSION == 3 and sampling.VERSION == 2
    found = 0
    for index, entry in enumerate(entries):
        expected = scenes.sample_planted(0, 'val', index, 0.02, 3)
        assert scenes.find_scene(tmp_path, entry['image_id']) == expected.scene
        slices = {
            place: item['hidden_slice']
            for place, item in enumerate(entry['objects'])
            if item['hidden_slice']
        }
        if expected.hidden:
            name, number = expected.hidden
            assert slices == {number: name}
            found += 1
        else:
            assert not slices
    assert found
    with pytest.raises(ValueError, match='other scenes'):
        scenes.write_scenes(tmp_path, counts, 0, workers=1, error_rate=0.02)


def test_the_hidden_slices_are_frozen():
    content = []
    for index in range(60):
        planted = scenes.sample_planted(0, 'val', index, 0.02, 3)
        content.append([dataclasses.asdict(planted.scene), planted.hidden])
    assert digest(content) == 'ecdf38e068f75a4a'
