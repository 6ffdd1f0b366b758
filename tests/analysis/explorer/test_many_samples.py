"""A report of 100,000 samples: what is loaded when, and that it shows what the artifacts say."""

import json
import pathlib
import urllib.parse

import numpy as np
import pytest

from analysis.report import stage as report
from analysis.samples.schema import Samples
from analysis.similar.schema import Similar
from analysis.stage import artifacts
from tests.report_fixture import browsing, made_run
from tests.report_fixture.browsing import settle

NUMBER = 100_000
IDS = "Array.from(Filters.rows(), (row) => State.view.value('image_id', row))"


@pytest.fixture(scope='module')
def analysis(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('many') / 'run'
    kinds = 'clusters', 'similarity_map'
    made = made_run.write_run(workdir, NUMBER, only=kinds, hostile=True)
    assert report.main(['--workdir', str(workdir)]) == 0
    return made


@pytest.fixture(scope='module')
def table(analysis):
    read = artifacts.load(analysis, Samples).table
    return {name: read[name].to_numpy() for name in read.column_names}


@pytest.fixture
def open_page(browser, analysis):
    """Opens the report; returns the page and the paths that it asks for, within the report."""
    wrong, contexts = [], []

    def open_at(fragment='', script=''):
        context, asked = browser.new_context(viewport={'width': 1280, 'height': 800}), []
        context.set_default_timeout(120_000)
        contexts.append(context)
        context.on('request', lambda request: asked.append(request.url.partition('/report/')[2]))
        if script:
            context.add_init_script(script)
        return browsing.open_report(context, analysis.workdir / 'report', fragment, wrong), asked

    yield open_at
    for context in contexts:
        context.close()
    assert wrong == []


def loaded(page, asked):
    """Names of the columns whose files were asked for; none of them twice."""
    names = page.evaluate('State.view.columns.map(({ name }) => name)')
    paths = [pathlib.PurePosixPath(path) for path in asked]
    numbers = [int(path.stem) for path in paths if path.parent.name == 'columns']
    assert len(set(numbers)) == len(numbers)
    return {names[number] for number in numbers}


def test_columns_are_loaded_when_first_used(open_page, table):
    page, asked = open_page()
    at_first = loaded(page, asked)
    assert {'image_id', 'file_name', 'cluster', 'loss', 'iou_person'} <= at_first
    assert len(at_first) < len(table) / 2
    assert not {'count_cake', 'count_pizza', 'entropy'} & at_first
    with pytest.raises(Exception, match='is read before it is loaded'):
        page.evaluate("State.view.values('count_cake')")

    page.evaluate("State.setSort('count_cake', true)")
    settle(page)
    assert loaded(page, asked) == at_first | {'count_cake'}
    order = page.evaluate('[...Order.rows()]')
    assert sorted(order) == list(range(NUMBER))
    assert (np.diff(table['count_cake'][order]) <= 0).all()

    page.evaluate("State.setAppearance({ color: 'entropy' })")
    settle(page)
    page.evaluate("Filters.range('count_pizza', 1, 99)")
    settle(page)
    assert loaded(page, asked) == at_first | {'count_cake', 'entropy', 'count_pizza'}
    assert page.text_content('.legend-title').startswith('entropy')
    expected = table['image_id'][table['count_pizza'] >= 1]
    assert page.evaluate(IDS) == expected.tolist()


def test_the_last_choice_counts_while_columns_are_loaded(open_page):
    page, _ = open_page()
    page.evaluate("""() => {
        State.setSort('count_bowl', true);
        State.setSort('loss', false);
        Filters.range('count_fork', 1, 9);
        Filters.remove('count_fork');
        State.setAppearance({ color: 'count_bed' });
        State.setAppearance({ color: 'loss' });
    }""")
    settle(page)
    assert page.evaluate('State.sort') == {'column': 'loss', 'descending': False}
    assert page.evaluate('State.appearance.color') == 'loss'
    assert page.evaluate('Filters.passing()') == NUMBER


def test_a_link_loads_the_columns_that_it_names(open_page, table):
    filters = [['count_cup', {'kind': 'range', 'column': 'count_cup', 'low': 1, 'high': 9}]]
    named = {'filters': json.dumps(filters), 'color': 'contrast', 'sort': '-count_book'}
    page, asked = open_page(urllib.parse.urlencode(named))
    assert {'count_cup', 'contrast', 'count_book'} <= loaded(page, asked)
    inside = (table['count_cup'] >= 1) & (table['count_cup'] <= 9)
    assert page.evaluate(IDS) == table['image_id'][inside].tolist()
    assert page.evaluate('State.appearance.color') == 'contrast'
    found = table['count_book'][page.evaluate('[...Order.rows()]')]
    assert len(found) == inside.sum() and (np.diff(found) <= 0).all()


# Browsers of before 2025 have no fromBase64.
@pytest.mark.parametrize('script', ['', 'delete Uint8Array.fromBase64'])
def test_a_brush_selects_exactly_the_rows_under_it(open_page, table, script):
    page, _ = open_page(script=script)
    box = page.locator('.chart[data-column="loss"] .brush .overlay').bounding_box()
    middle = box['y'] + box['height'] / 2
    page.mouse.move(box['x'] + 0.2 * box['width'], middle)
    page.mouse.down()
    for share in (0.3, 0.6, 0.45):
        page.mouse.move(box['x'] + share * box['width'], middle)
        settle(page)
        chosen = page.evaluate("Filters.all.get('loss')")
        loss = table['loss']
        inside = (loss >= chosen['low']) & (loss <= chosen['high'])
        assert 0 < inside.sum() < NUMBER
        assert page.evaluate(IDS) == table['image_id'][inside].tolist()
        order = page.evaluate('[...Order.rows()]')
        ascending = np.flatnonzero(inside)[np.argsort(loss[inside], kind='stable')]
        assert order == ascending[::-1].tolist()
        shown = float(page.text_content('[data-mean="loss"]'))
        assert shown == pytest.approx(loss[inside].mean(), abs=0.006)
    page.mouse.up()


def test_of_a_great_many_dots_some_are_drawn_while_a_filter_changes(open_page):
    page, _ = open_page()
    colored = "document.querySelector('.page-explore canvas').toDataURL()"
    whole = page.evaluate(colored)
    page.evaluate("""() => {
        const later = window.setTimeout;
        window.setTimeout = (act, ms) => (ms === 200 ? ((window.rest = act), 0) : later(act, ms));
        MapCamera.AT_ONCE = 1000;
        Filters.range('loss', 0, 1e9);
    }""")
    settle(page)
    assert page.evaluate(colored) != whole
    page.evaluate('window.rest()')
    assert page.evaluate(colored) == whole


def test_a_summary_is_counted_again_when_another_filter_changes(open_page, table):
    page, _ = open_page()
    summary = "Bins.summarize(State.view, 'loss', 'loss')"
    page.evaluate(f"window.before = {summary}; Filters.range('loss', 0, 0.1)")
    settle(page)
    assert page.evaluate(f'{summary} === window.before')
    total = page.evaluate(f'[...{summary}.counts]')
    page.evaluate("Filters.only('split', 'train_person_car')")
    settle(page)
    counts = page.evaluate(f'[...{summary}.counts]')
    assert sum(counts) == (table['split'] == 'train_person_car').sum() < sum(total)
    page.evaluate('Filters.clear()')
    settle(page)
    assert page.evaluate(f'[...{summary}.counts]') == total


def test_a_sample_loads_what_it_shows(open_page, analysis, table):
    page, asked = open_page()
    row = NUMBER - 2
    page.evaluate(f'State.openSample({row})')
    page.locator('.similar .thumb').first.wait_for()
    similar = [path for path in asked if 'similar/' in path]
    assert [pathlib.PurePosixPath(path).stem for path in similar] == [str(row // 4096)]
    nearest = artifacts.load(analysis, Similar).index[row]
    assert page.evaluate(f'[...State.view.similarTo({row}).rows]') == nearest.tolist()
    titles = page.locator('.similar .thumb').evaluate_all('(all) => all.map(({ title }) => title)')
    assert titles == [table['file_name'][other] for other in nearest[:12]]
    below = 100 * (table['contrast'] < table['contrast'][row]).mean()
    line = page.locator('.facts tr', has_text='contrast').first
    assert float(line.locator('.percentile').text_content().split()[0]) == pytest.approx(
        below, abs=1
    )


def test_search_in_names(open_page, table):
    page, _ = open_page()
    for text in ('9999', 'ONERROR', 'separator', table['file_name'][77_777]):
        page.fill('#search', text)
        settle(page)
        # No cluster or other category has such a name.
        found = [text.lower() in name.lower() for name in table['file_name']]
        assert page.evaluate('[...Filters.rows()]') == np.flatnonzero(found).tolist(), text


def test_a_column_that_cannot_be_read(browser, analysis, tmp_path):
    """The page says so, and goes on."""
    wrong = []
    folder = tmp_path / 'report'
    command = ['--workdir', str(analysis.workdir), '--output', str(folder)]
    assert report.main(command) == 0
    context = browser.new_context()
    context.set_default_timeout(120_000)
    page = browsing.open_report(context, folder, '', wrong)
    names = page.evaluate('State.view.columns.map(({ name }) => name)')
    path = f'columns/{names.index("count_cake")}.js'
    (folder / 'data/val-600' / path).unlink()
    page.evaluate("State.setSort('count_cake', true)")
    page.wait_for_selector('#toast:not([hidden])')
    assert path in page.text_content('#toast')
    settle(page)
    assert page.evaluate('State.sort.column') == 'loss'
    page.evaluate("State.setSort('image_id', false)")
    settle(page)
    assert page.evaluate('[...Order.rows().slice(0, 3)]') == [0, 1, 2]
    context.close()
