import numpy as np
import pytest
from PIL import Image

from analysis.embeddings import features
from analysis.embeddings import stage as embeddings
from analysis.planted_benchmark import pointing_game
from analysis.saliency import membership_maps
from analysis.saliency import scores as saliency_scores
from segmentation import scenes


@pytest.fixture(scope='module')
def clusters(analysis):
    """Each image's own embedding is its cluster, the next image's the other one."""
    found = embeddings.compute(analysis, dimensions=4)
    embedding, label = found.points, np.arange(len(found.points), dtype=np.int32)
    other = np.roll(label, -1)
    return saliency_scores.Clusters(found.reduction, embedding, label, other, embedding)


def test_the_object_that_costs_most(analysis, drawn, clusters):
    rows = np.array([1, 4])
    masks, costs = pointing_game.most_lowering(analysis, clusters, drawn / 'scenes', rows)
    assert masks.shape == (2, 32, 32) and masks.dtype == np.bool_
    whole_scores, most_lost = [], []
    for row, mask in zip(rows, masks, strict=True):
        scene = scenes.find_scene(drawn / 'scenes', int(analysis.examples.image_ids[row]))
        whole = scenes.render(scene)
        shown = [
            index
            for index, visible in enumerate(whole.masks)
            if visible.mean() >= pointing_game.LEAST_AREA
        ]
        pictures = [whole.image, *(scenes.render(scene, without=[i]).image for i in shown)]
        images = [
            np.asarray(Image.fromarray(p).resize((32, 32), Image.Resampling.BILINEAR))
            for p in pictures
        ]
        embedded = features.embed(analysis.run, clusters.reduction, np.stack(images))
        own, other = clusters.centroids[row], clusters.centroids[clusters.other[row]]
        margin = np.square(embedded - other).sum(1) - np.square(embedded - own).sum(1)
        lost = margin[0] - margin[1:]
        whole_scores.append(margin[0])
        most_lost.append(lost.max())
        height, width = whole.owner.shape
        at = np.ix_((2 * np.arange(32) + 1) * height // 64, (2 * np.arange(32) + 1) * width // 64)
        np.testing.assert_array_equal(mask, whole.owner[at] == shown[int(lost.argmax())])
    # In the usual score, so that a score near zero makes no cost large.
    np.testing.assert_allclose(costs, most_lost / np.median(whole_scores), rtol=1e-3, atol=1e-4)


def test_maps_of_shuffled_weights_are_others(analysis, clusters):
    rows = np.array([5, 2])
    shuffled = pointing_game.shuffle_weights(analysis)
    one, other = (membership_maps.compute(a, clusters, rows) for a in (analysis, shuffled))
    assert len(one) == 2 and np.abs(one - other).max() > 0.1 * np.abs(one).max()


def test_pointing_has_a_tolerance_and_energy_is_a_share():
    masks = np.zeros((3, 64, 64), bool)
    masks[:, 24:32, 24:32] = True
    maps = np.zeros((3, 16, 16), np.float32)
    maps[0, 6, 6] = 1  # the cell of pixels 24 to 27
    maps[1, 6, 8] = 1  # pixels 32 to 35: outside, but within 4 pixels
    maps[2, 6, 12] = 1
    maps[:, 0, 0] = -5  # speaks against
    judged = pointing_game.judge(maps, masks)
    np.testing.assert_array_equal(judged['pointing'], [True, True, False])
    np.testing.assert_allclose(judged['energy'], [1, 0, 0])
    everywhere = pointing_game.judge(np.ones((1, 16, 16)), masks[:1])
    assert everywhere['energy'][0] == pytest.approx(masks[0].mean())


def test_nothing_is_scored_without_clusters(analysis, drawn):
    assert pointing_game.score(analysis, drawn / 'scenes', num_images=2) is None
