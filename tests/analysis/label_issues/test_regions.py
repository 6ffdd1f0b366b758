"""Regions of images made of rectangles, by a network that is right everywhere but for noise."""

import numpy as np
import pytest
from scipy import ndimage

from analysis.label_issues import judging
from analysis.label_issues import regions as label_regions
from analysis.label_issues.regions import Instance
from segmentation.data.masks import IGNORE

SIDE = 64


def rectangle(top, left, height, width):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def scene(rng, error=None):
    """A person and a car as the network sees them, and as they are annotated."""
    person = rectangle(rng.integers(4, 24), rng.integers(2, 14), 30, rng.integers(10, 16))
    car = rectangle(rng.integers(35, 44), rng.integers(34, 40), 14, rng.integers(18, 24))
    truth = np.where(person, 1, np.where(car, 2, 0))
    toy = rectangle(2, 40, 26, 12) & (error == 'spurious label')
    drawn = np.where(toy, 2, truth)[..., None]
    image = np.uint8(40 * rng.random((SIDE, SIDE, 1)) + 70 * drawn).repeat(3, -1)
    logits = 3.0 * np.eye(3)[truth] + rng.normal(0, 0.7, (SIDE, SIDE, 3))
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    objects = [(1, person), (2, car)]
    if error == 'missing instance':
        objects = objects[1:]
    elif error == 'wrong class':
        objects[0] = (2, person)
    elif error == 'spurious label':
        objects.append((1, toy))
    elif error == 'sloppy outline':
        objects[0] = (1, ndimage.binary_dilation(person, iterations=4))
    label = np.zeros((SIDE, SIDE), np.uint8)
    for value, mask in objects:
        label[mask] = value
    instances = [Instance(10 + k, v, False, m & (label == v)) for k, (v, m) in enumerate(objects)]
    probability = probability.astype(np.float32)
    return image, label, probability, instances, [probability[2::4, 2::4, 1:]]


def regions_of(errors):
    rng = np.random.default_rng(0)
    return [
        region
        for number, error in enumerate(errors)
        for region in label_regions.find_regions(number, *scene(rng, error))
    ]


PLANTED = {3: 'missing instance', 17: 'wrong class', 28: 'spurious label', 41: 'sloppy outline'}
ERRORS = [PLANTED.get(number) for number in range(60)]


@pytest.fixture(scope='module')
def regions():
    return regions_of(ERRORS)


@pytest.fixture(scope='module')
def issues(regions):
    return judging.judge(regions, 3)


@pytest.mark.parametrize(('number', 'kind'), PLANTED.items())
def test_planted_error_is_the_worst_of_its_kind(issues, number, kind):
    worst = next(issue for issue in issues if issue.kind == kind)
    assert worst.region.image == number
    assert 0.5 < worst.score <= 1


def test_worst_first_and_what_is_suggested(issues):
    scores = [issue.score for issue in issues]
    assert scores == sorted(scores, reverse=True)
    suggested = {}
    for issue in issues:
        suggested.setdefault(issue.kind, (issue.region.given, issue.suggested))
    assert suggested['missing instance'] == (0, 1)
    assert suggested['wrong class'] == (2, 1)
    assert suggested['spurious label'] == (1, 0)
    assert suggested['sloppy outline'] == (1, 1)


def test_what_is_a_little_suspicious_is_an_issue(issues):
    """Scores begin at 0.2, of sloppy outlines at 0.5."""
    for kinds, least in (
        (('missing instance', 'wrong class', 'spurious label'), 0.2),
        (('sloppy outline',), 0.5),
    ):
        lowest = min(issue.score for issue in issues if issue.kind in kinds)
        assert least < lowest < least + 0.3


def test_deterministic(regions, issues):
    again = judging.judge(regions_of(ERRORS), 3)
    assert [(i.kind, i.score, i.region.rle) for i in again] == [
        (i.kind, i.score, i.region.rle) for i in issues
    ]


def test_an_image_is_judged_by_others(regions):
    """The label of an image has no part in what its regions' labels are expected to be."""
    features = np.array([region.features for region in regions])
    target = np.array([region.given for region in regions])
    image = np.array([region.image for region in regions])
    before = judging.cross_fit(judging.linear_model(), features, target, image, 3)
    changed = np.where(image == 5, 0, target)
    after = judging.cross_fit(judging.linear_model(), features, changed, image, 3)
    np.testing.assert_array_equal(before[image == 5], after[image == 5])
    assert not np.array_equal(before[image == 6], after[image == 6])


def test_regions_are_where_they_should_be():
    image, label, probability, instances, responses = scene(np.random.default_rng(1))
    found = label_regions.find_regions(0, image, label, probability, instances, responses)
    annotated = [region for region in found if region.source == 'annotated']
    assert [region.annotation_id for region in annotated] == [10, 11]
    for region, instance in zip(annotated, instances, strict=True):
        mask = label_regions.mask_utils.decode({'size': [SIDE, SIDE], 'counts': region.rle})
        np.testing.assert_array_equal(mask, instance.mask)
        assert region.given == region.predicted == instance.label
        assert np.isclose(region.area, instance.mask.mean())
    assert not [region for region in found if region.source == 'ambiguous']


def test_crowds_and_ignored_pixels_are_not_judged():
    image, label, probability, instances, responses = scene(np.random.default_rng(1))
    crowd = [Instance(10, 1, True, instances[0].mask), instances[1]]
    without = np.where(instances[0].mask, 0, label).astype(np.uint8)
    for given in (label, without):
        found = label_regions.find_regions(0, image, given, probability, crowd, responses)
        assert {region.predicted for region in found if region.source != 'mirrored'} == {2}
    ignored = np.where(instances[0].mask, IGNORE, label).astype(np.uint8)
    found = label_regions.find_regions(0, image, ignored, probability, instances[1:], responses)
    assert {region.predicted for region in found if region.source != 'mirrored'} == {2}


def test_wide_uncertainty_is_ambiguous():
    image, label, probability, instances, responses = scene(np.random.default_rng(1))
    probability[2:30, 36:62] = 1 / 3
    found = label_regions.find_regions(0, image, label, probability, instances, responses)
    (region,) = [region for region in found if region.source == 'ambiguous']
    assert np.isclose(region.area, 28 * 26 / SIDE**2, rtol=0.1) and region.entropy > 0.95
    (issue,) = [i for i in judging.judge(found, 3) if i.kind == 'ambiguous']
    assert issue.region is region


def test_outline_on_an_edge():
    mask = rectangle(10, 10, 30, 20)
    edges = label_regions.edge_strength(np.uint8(200 * mask)[..., None].repeat(3, -1))
    length, aligned = label_regions.outline_of(mask, edges)
    assert aligned == 1 and 4 < length < 9
    _, off = label_regions.outline_of(np.roll(mask, 8, 1), edges)
    assert off < 0.7


def test_what_would_be_seen_of_an_instance_that_is_left_out():
    image, label, probability, instances, responses = scene(np.random.default_rng(1))
    found = label_regions.find_regions(0, image, label, probability, instances, responses)
    left_out = [region for region in found if region.source == 'left out']
    assert [(r.annotation_id, r.given) for r in left_out] == [(10, 1), (11, 2)]
    assert not [region for region in found if region.source == 'unlabeled']
    # The same as is found where it really is not labeled.
    without = np.where(instances[0].mask, 0, label).astype(np.uint8)
    rest = label_regions.find_regions(0, image, without, probability, instances[1:], responses)
    (missed,) = [region for region in rest if region.source == 'unlabeled']
    assert missed.rle == left_out[0].rle and missed.given == 0 and missed.predicted == 1
    np.testing.assert_array_equal(missed.features, left_out[0].features)
    np.testing.assert_array_equal(missed.activations, left_out[0].activations)
    np.testing.assert_array_equal(missed.surroundings, left_out[0].surroundings)


def seen_larger(number, pixels):
    """Regions where an instance is seen with so many pixels around it, and the instance."""
    _, label, probability, instances, responses = scene(np.random.default_rng(1))
    instance = instances[number]
    larger = ndimage.binary_dilation(instance.mask, iterations=pixels)
    probability = np.where(
        larger[..., None], np.eye(3, dtype=np.float32)[instance.label], probability
    )
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    found = label_regions.find_regions(0, image, label, probability, instances, responses)
    return found, instance


def test_an_instance_left_out_may_be_seen_larger_than_it_is():
    found, instance = seen_larger(1, 6)
    (seen,) = [
        r for r in found if r.source == 'left out' and r.annotation_id == instance.annotation_id
    ]
    assert seen.area * SIDE**2 > 2 * instance.mask.sum()


def test_predictions_that_spill_over_a_label_are_none():
    found, _ = seen_larger(0, 2)
    assert not [region for region in found if region.source == 'unlabeled']


def test_responses_are_means_over_the_region():
    image, label, probability, instances, _ = scene(np.random.default_rng(1))
    where = np.stack(np.mgrid[:SIDE, :SIDE], -1).astype(np.float32)
    found = label_regions.find_regions(0, image, label, probability, instances, [where])
    for region in found:
        mask = label_regions.mask_utils.decode({'size': [SIDE, SIDE], 'counts': region.rle})
        assert region.activations == pytest.approx(np.argwhere(mask).mean(0), rel=1e-3)
        if region.source == 'left out':
            # A pixel is what predictions spill, five more are around it.
            band = ndimage.binary_dilation(mask, iterations=6) & ~ndimage.binary_dilation(mask)
            assert region.surroundings == pytest.approx(np.argwhere(band).mean(0), rel=1e-3)
        else:
            assert region.surroundings.size == (2 if region.source == 'unlabeled' else 0)


def test_few_images():
    assert judging.judge([], 3) == []
    assert isinstance(judging.judge(regions_of([None]), 3), list)
