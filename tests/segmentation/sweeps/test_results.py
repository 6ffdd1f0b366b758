"""Tables and figures of a sweep."""

import csv

import optuna
import pytest
from optuna.trial import TrialState
from PIL import Image

from configs import default
from segmentation.sweeps import results
from segmentation.sweeps import study as sweeps
from segmentation.sweeps.sets import key_sets

pytestmark = pytest.mark.filterwarnings(
    'ignore:.*experimental:optuna.exceptions.ExperimentalWarning'
)

SETS = [
    {},
    {'optimizer.learning_rate': 1e-2},
    {'optimizer.learning_rate': 1e-4, 'data.flip': True},
    {'optimizer.learning_rate': 1e-3, 'data.flip': True},
    {'data.source': '=HYPERLINK("$x$")|`a`<b>'},
    {'loss.class_weights': (0.5, 1.0)},
]


@pytest.fixture
def sweep(tmp_path):
    base = default.get_config().lock()
    keyed = key_sets(SETS, base)
    return sweeps.Sweep(base, keyed, {}, tmp_path, 'sqlite://')


def entries(sweep):
    """Five sets with curves, of which one was pruned, and one that failed."""
    result = []
    for number, (key, overrides) in enumerate(sweep.sets.items()):
        scores = {10: 0.1, 20: 0.2 + 0.1 * number, 30: 0.15}
        state, options = 'complete', {'value': max(scores.values())}
        if number == 2:
            state, options, scores = 'pruned', {'state': TrialState.PRUNED}, {10: 0.9}
        if number == 5:
            state, options, scores = 'failed', {'state': TrialState.FAIL}, {}
        trial = optuna.create_trial(
            intermediate_values=scores, user_attrs={'overrides': overrides}, **options
        )
        reason = '@broken\nin two lines' if state == 'failed' else ''
        result.append(sweeps.Entry(key, state, trial, 1, reason))
    return result


def test_best_comes_first_and_is_the_best_evaluation(sweep):
    rows = results.result_rows(entries(sweep), sweep)
    assert [row.state for row in rows] == ['complete'] * 4 + ['pruned', 'failed']
    assert [row.score for row in rows[:4]] == pytest.approx([0.6, 0.5, 0.3, 0.2])
    assert rows[0].step == 20 and rows[0].change == pytest.approx(0.4)
    assert rows[0].overrides == SETS[4]
    # Fields that a set does not name have the config's values.
    assert rows[3].fields == {
        'optimizer.learning_rate': 1e-3,
        'data.flip': False,
        'data.source': '2014',
        'loss.class_weights': (),
    }
    assert rows[-1].score is None and rows[-1].change is None


def test_sets_of_an_edited_sweep_may_name_other_fields(sweep):
    stored = entries(sweep)
    fewer = sweeps.Sweep(sweep.base, dict(sweep.sets), {}, sweep.workdir, 'sqlite://')
    for key in list(fewer.sets):
        if 'data.flip' in fewer.sets[key]:
            fewer.sets[key] = {'optimizer.learning_rate': 1e-4}
    rows = results.result_rows(stored, fewer)
    assert len({tuple(row.fields) for row in rows}) == 1 and 'data.flip' in rows[0].fields
    assert results.importance_of_fields(rows, fewer.metric) is not None


def test_lower_loss_is_better(sweep):
    sweep = sweeps.Sweep(sweep.base, sweep.sets, {}, sweep.workdir, 'sqlite://', metric='loss')
    rows = results.result_rows(entries(sweep), sweep)
    assert rows[0].score == 0.1 and rows[0].step == 10


def test_no_cell_is_a_formula(sweep):
    rows = results.write_results(entries(sweep), sweep)
    with (sweep.workdir / 'results.csv').open(newline='') as file:
        table = list(csv.DictReader(file))
    assert table[0]['data.source'] == "'" + SETS[4]['data.source']
    assert table[-1]['reason'].startswith("'@broken")
    assert [float(row['score']) for row in table[:5]] == [row.score for row in rows[:5]]
    assert table[0]['optimizer.learning_rate'] == '0.001'


def test_markdown_shows_text_as_it_is(sweep):
    results.write_results(entries(sweep), sweep)
    lines = (sweep.workdir / 'results.md').read_text().splitlines()
    table = [line for line in lines if line.startswith('|')]
    assert len(table) == 2 + len(SETS)
    bars = [line.replace('\\|', '').count('|') for line in table]
    assert len(set(bars)) == 1
    assert '<b>' not in table[2] and '\\`a\\`&lt;b&gt;' in table[2]
    assert 'failed: @broken in two lines' in table[-1]


def test_figures_are_drawn(sweep):
    results.write_results(entries(sweep), sweep)
    for name in ('curves', 'parallel', 'importance'):
        with Image.open(sweep.workdir / f'{name}.png') as image:
            assert image.width > 400 and len(image.convert('RGB').getcolors(1 << 24)) > 10


def test_importance_finds_the_field_that_matters(sweep):
    rows = [
        results.Row(
            key=f'{i}{j}', state='complete', score=0.1 * i, step=1, change=None, starts=1,
            seconds=None, overrides={}, fields={'seed': i, 'data.flip': bool(j)}, curve={},
            reason='',
        )
        for i in range(6)
        for j in range(2)
    ]  # fmt: skip
    shares = results.importance_of_fields(rows, 'mean_iou')
    assert list(shares) == ['seed', 'data.flip'] and shares['seed'] > 0.9
    assert results.importance_of_fields(rows[:3], 'mean_iou') == {}


def test_nothing_to_show_yet(sweep):
    waiting = [sweeps.Entry(key, 'missing', None, 0, '') for key in sweep.sets]
    rows = results.write_results(waiting, sweep)
    assert {row.score for row in rows} == {None}
    assert not (sweep.workdir / 'curves.png').exists()
