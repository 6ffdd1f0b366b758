"""Scores of embeddings in which the neighbors of each image are known."""

import numpy as np
import pyarrow
import pytest
from sklearn import metrics as sklearn_metrics

from analysis.experiments import categories
from analysis.experiments.categories import IMAGENET, OURS
from analysis.experiments.records import Origin
from analysis.planted_benchmark.metrics import neighbor_auroc
from analysis.similar.neighbors import neighbors

ORIGIN = Origin('the command', '', '', (), (), '', {})


def apart(kinds, rng, spread=0.01):
    """Points `[N, 8]` near the corner of their kind."""
    return np.eye(8)[kinds] + spread * rng.standard_normal((len(kinds), 8))


def test_lift_of_kinds_that_lie_apart_and_of_noise():
    rng = np.random.default_rng(0)
    kinds = np.repeat([0, 1, 2, 3], [20, 30, 50, 100])
    has, once = np.eye(4, dtype=bool)[kinds], np.ones((1, 200))
    near, _ = neighbors(apart(kinds, rng), 10)
    # All 10 neighbors are of the kind; by chance 19, 29, 49 and 99 of 199 would be.
    assert categories.lifts(near, has, once)[0] == pytest.approx(
        [199 / n for n in (19, 29, 49, 99)]
    )
    near, _ = neighbors(rng.standard_normal((200, 8)), 10)
    assert categories.lifts(near, has, once)[0] == pytest.approx(1, abs=0.35)
    # All other images are neighbors: exactly chance, also in resamples without copies.
    near, _ = neighbors(rng.standard_normal((200, 8)), 199)
    half = rng.permutation(200)[None] < 100
    assert categories.lifts(near, has, half)[0] == pytest.approx(1)


def test_lift_in_a_resample_counts_copies_as_queries_and_as_neighbors():
    rng = np.random.default_rng(1)
    near, _ = neighbors(rng.standard_normal((12, 3)), 4)
    has = np.zeros((12, 2), bool)
    has[[0, 2, 3, 7, 9], 0] = has[[4, 5], 1] = True
    weights = rng.multinomial(12, np.full(12, 1 / 12), size=5)
    weights[0, :] = 1
    weights[1, 4], weights[1, 5] = 2, 0  # copies of one image do not find each other
    found = categories.lifts(near, has, weights)
    for r, drawn in enumerate(weights):
        for c in range(2):
            hits = seen = same = others = 0
            for i in np.flatnonzero(has[:, c]):
                for j in near[i]:
                    seen += drawn[i] * drawn[j]
                    hits += drawn[i] * drawn[j] * has[j, c]
                for j in range(12):
                    others += drawn[i] * drawn[j] * (i != j)
                    same += drawn[i] * drawn[j] * has[j, c] * (i != j)
            expected = hits / seen / (same / others) if same else np.nan
            assert found[r, c] == pytest.approx(expected, nan_ok=True), (r, c)
    assert np.isnan(found[1, 1])


def test_auroc_in_resamples():
    rng = np.random.default_rng(2)
    positive = rng.random(60) < 0.2
    near, _ = neighbors(apart(positive.astype(int), rng, 0.8), 10)
    weights = rng.multinomial(60, np.full(60, 1 / 60), size=4)
    weights[0, :], weights[3, positive] = 1, 0
    found = categories.aurocs(near, positive, weights)
    assert found[0] == pytest.approx(neighbor_auroc(near, positive))
    score = positive[near].mean(1)
    for r in (1, 2):
        drawn = np.repeat(np.arange(60), weights[r])
        assert found[r] == pytest.approx(
            sklearn_metrics.roc_auc_score(positive[drawn], score[drawn])
        )
    assert 0.6 < found[0] < 1
    assert np.isnan(found[3])


def samples_table(**columns):
    fields = [
        pyarrow.field(name, pyarrow.float64(), metadata={'role': 'metadata'}) for name in columns
    ]
    return pyarrow.table(list(columns.values()), pyarrow.schema(fields))


def test_images_and_categories_that_count(monkeypatch):
    monkeypatch.setattr(categories, 'LEAST_IMAGES', 2)
    table = samples_table(
        width=[None] * 5,  # is no category
        count_person=[1, 1, 1, 1, 1],
        count_tie=[2, 0, 1, 1, 0],
        count_cat=[0, 0, 1, None, 3],  # not annotated in the fourth image
        count_dog=[1, 0, 0, 1, 0],  # in one complete image
    )
    rows, names, has = categories.known_contents(table, ['person'])
    assert rows.tolist() == [0, 1, 2, 4]
    assert names == ['tie', 'cat']
    assert has.T.tolist() == [[True, False, True, False], [False, False, True, True]]
    with pytest.raises(ValueError, match='Of 5 images, 4 are completely annotated'):
        categories.known_contents(table, ['person', 'tie', 'cat'])


def test_clusters_are_compared_with_main_categories():
    main = categories.main_categories(np.array([[3, 5.0], [0, 0], [4, 1], [7, 9], [2, 0]]))
    assert main.tolist() == [1, -1, 0, 1, 0]
    # The image without category does not count, wherever it is.
    for other in (0, 1, 2):
        assert categories.agreement(np.array([0, other, 1, 0, 1]), main) == pytest.approx(1)
    rng = np.random.default_rng(0)
    many = rng.integers(0, 5, 2000)
    assert categories.agreement(rng.integers(0, 5, 2000), many) == pytest.approx(0, abs=0.01)


def test_color_groups():
    table = samples_table(is_grayscale=[1, 0, 0, 0], hue_std=[None, 5.0, 40.0, None])
    found = {name: inside.tolist() for name, inside in categories.color_groups(table).items()}
    assert found == {
        'grayscale': [True, False, False, False],
        'few hues': [True, True, False, False],
    }


@pytest.mark.parametrize(('better', 'verdict'), [(OURS, 'holds'), (IMAGENET, 'fails')])
def test_the_ratio_says_which_embedding_knows_the_categories(better, verdict, tmp_path):
    rng = np.random.default_rng(3)
    kinds = rng.integers(0, 4, 240)
    gray = kinds == 0
    rows = np.arange(0, 240, 2)  # completely annotated
    worse = IMAGENET if better == OURS else OURS
    spaces = {better: apart(kinds, rng), worse: rng.standard_normal((240, 8))}
    spaces = {name: spaces[name] for name in (OURS, IMAGENET)}
    labels = {better: kinds, worse: rng.integers(0, 4, 240)}
    has = {f'thing {kind}': kinds[rows] == kind for kind in range(1, 4)}
    colors = {'grayscale': gray, 'none': np.zeros(240, bool)}
    result = categories.score(spaces, labels, rows, has, kinds[rows], colors)
    assert (result.num_images, result.complete, result.clusters) == (240, 120, 4)
    assert result.ratio[IMAGENET].verdict() == verdict
    low, high = result.ratio[IMAGENET].interval
    assert low < result.ratio[IMAGENET].value < high
    assert result.lift[better].value > 3 > 1.3 > result.lift[worse].value
    group = result.categories['thing 2']
    assert group.images == has['thing 2'].sum()
    assert group.scores[better].value == pytest.approx(119 / (group.images - 1))
    assert result.agreement[better] == pytest.approx(1)
    assert result.agreement[worse] == pytest.approx(0, abs=0.1)
    assert list(result.colors) == ['grayscale']
    assert result.colors['grayscale'].images == gray.sum()
    assert result.colors['grayscale'].scores[better].value == 1
    assert result.colors['grayscale'].scores[OURS].verdict() == verdict
    text = categories.to_markdown(result, ORIGIN)
    assert f'| {verdict} |' in text
    assert f'| thing 2 | {group.images} |' in text
    categories.figure(result, tmp_path / 'figure.png')
    assert (tmp_path / 'figure.png').read_bytes().startswith(b'\x89PNG')
