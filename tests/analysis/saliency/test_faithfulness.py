"""Judgements against maps and networks of which the truth is known."""

import numpy as np
import pytest

from analysis.saliency import faithfulness as judgement

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 32, 32, 3), np.uint8)
# Where the planted evidence is: one square per image.
EVIDENCE = np.zeros((6, 8, 8), np.float32)
for _i in range(6):
    EVIDENCE[_i, _i : _i + 2, 5 - _i : 7 - _i] = 1


def planted_score(images):
    """Reads nothing but the planted squares."""
    mask = EVIDENCE.repeat(4, 1).repeat(4, 2)[..., None]
    return np.asarray((images * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)) / 3)


@pytest.fixture(scope='module')
def curves():
    maps = {'planted': EVIDENCE, 'against': -EVIDENCE}
    maps |= judgement.baseline_maps(IMAGES, 8, (0,))
    bright = 0.5 + IMAGES.astype(np.float32) / 510
    return judgement.perturbation_curves(planted_score, bright, 0 * bright, maps)


def test_planted_evidence_beats_what_knows_nothing(curves):
    summary = judgement.summarize_curves(curves)
    for how in ('deletion', 'insertion'):
        for baseline in judgement.BASELINES:
            planted, against = (getattr(summary[name], how) for name in ('planted', 'against'))
            assert planted.gain_over[baseline].interval[0] > 0, (how, baseline)
            assert against.gain_over[baseline].mean < 0
        assert abs(getattr(summary['random'], how).gain_over['edges'].mean) < 0.2


def test_curves_begin_and_end_at_the_whole_images(curves):
    whole = planted_score(0.5 + IMAGES.astype(np.float32) / 510)
    for deletion, insertion in curves.values():
        np.testing.assert_allclose(deletion[:, 0], whole, rtol=1e-5)
        np.testing.assert_allclose(insertion[:, -1], whole, rtol=1e-5)
        np.testing.assert_allclose([deletion[:, -1], insertion[:, 0]], 0)
    # Four of 64 cells hold all of the evidence, which 15 % of them include.
    np.testing.assert_allclose(curves['planted'][0, :, 2:], 0)
    np.testing.assert_allclose(curves['against'][0, :, 3], whole, rtol=1e-5)


def test_area_is_that_of_trapezoids():
    fractions = (0.25, 0.5)
    assert judgement.area_under(np.array([1.0, 1, 0, 0]), fractions) == 0.375
    assert judgement.area_under(np.array([0, 0.25, 0.5, 1]), fractions) == 0.5


def test_ranks():
    ranks = judgement.cell_ranks(np.array([[[0.5, 2], [0.5, -1]]]))
    assert ranks.tolist() == [[[1, 0], [2, 3]]]


def test_baselines():
    found = judgement.baseline_maps(IMAGES, 8, (3,))
    assert np.array_equal(found['random'], judgement.baseline_maps(IMAGES, 8, (3,))['random'])
    assert found['center'][0, 3:5, 3:5].min() > found['center'][0, 0].max()
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[:, :, 16:] = 200
    edges = judgement.baseline_maps(image, 8, (0,))['edges'][0]
    assert (edges[:, 3:5] > 10).all() and not edges[:, [0, 1, 6, 7]].any()
    # The other images of a batch do not matter.
    batch = judgement.baseline_maps(np.stack([image[0], image[0].swapaxes(0, 1)]), 8, (0,))
    np.testing.assert_allclose(batch['edges'], [edges, edges.T], rtol=1e-5, atol=1e-4)


def test_energy():
    mask = EVIDENCE[0]
    assert judgement.energy_inside(mask, mask) == 1
    assert judgement.energy_inside(1 - mask, mask) == 0
    assert np.isclose(judgement.energy_inside(np.ones((8, 8)), mask), mask.mean())
    assert judgement.energy_inside(mask - (1 - mask), mask) == 1  # only what is positive counts
    assert np.isnan(judgement.energy_inside(-mask, mask))


def test_pointing():
    saliency, mask = np.zeros((8, 8)), np.zeros((8, 8), bool)
    saliency[2, 2], mask[2, 4:] = 1, True
    assert not judgement.pointing_hit(saliency, mask)
    assert not judgement.pointing_hit(saliency, mask, 1.9)
    assert judgement.pointing_hit(saliency, mask, 2)
    with pytest.raises(ValueError, match='empty'):
        judgement.pointing_hit(saliency, mask & False)


def test_rank_correlation():
    a = RNG.normal(size=(3, 4, 4))
    np.testing.assert_allclose(judgement.rank_correlation(a, np.exp(a)), 1)
    np.testing.assert_allclose(judgement.rank_correlation(a, -a), -1)
    assert judgement.rank_correlation(a, np.zeros_like(a)).tolist() == [0, 0, 0]


def test_interval():
    values = np.array([1.0, 2, 3, np.nan])
    found = judgement.mean_interval(values)
    assert found.mean == 2 and found.n == 3
    assert 1 <= found.interval[0] < 2 < found.interval[1] <= 3
    assert judgement.mean_interval(values[3:]).mean is None
    one = judgement.mean_interval(values[2:])
    assert (one.mean, one.interval, one.n) == (3, None, 1)


def test_cascade_shuffles_from_the_end_and_keeps_the_rest():
    arrays = {name: {'kernel': RNG.normal(size=(3, 4))} for name in ('Conv1', 'block_1_expand')}
    variables = {
        'params': {'encoder': arrays, 'decoder': {'up_1': {'kernel': RNG.normal(size=9)}}},
        'batch_stats': {'encoder': {'bn_Conv1': {'mean': np.ones(3)}}},
    }
    layers = ['encoder/Conv1', 'encoder/Conv1_relu', 'encoder/block_1_expand', 'decoder/up_1']
    steps = list(judgement.cascade(variables, layers, seed=0))
    assert [block for block, _ in steps] == ['decoder/up_1', 'encoder/block_1', 'encoder/Conv1']
    first = steps[0][1]['params']
    assert first['encoder'] == arrays
    shuffled, before = first['decoder']['up_1']['kernel'], variables['params']['decoder']['up_1']
    assert not np.array_equal(shuffled, before['kernel'])
    assert sorted(shuffled) == sorted(before['kernel'])
    last = steps[-1][1]
    assert not np.array_equal(last['params']['encoder']['Conv1']['kernel'], arrays['Conv1'])
    assert np.array_equal(last['params']['decoder']['up_1']['kernel'], shuffled)
    assert last['batch_stats'] is variables['batch_stats']
    again = list(judgement.cascade(variables, layers, seed=0))[-1][1]
    np.testing.assert_array_equal(
        again['params']['encoder']['Conv1']['kernel'], last['params']['encoder']['Conv1']['kernel']
    )
