"""Links show the same again; bad ones say what is wrong."""

import shutil

import numpy as np
import pytest

from tests.analysis.explorer.pages.reading import NUMBER, filters, fragment_of, passing


def test_a_link_shows_the_same_again(open_page, names, table):
    page = open_page(
        filters(loss={'kind': 'range', 'column': 'loss', 'low': 0.1, 'high': 0.5}) + '&page=samples'
    )
    page.evaluate(
        """(name) => {
            Filters.toggle('cluster', name);
            Filters.set('chosen', { kind: 'rows', rows: [3, 5, 8, 149], label: 'some' });
            Filters.remove('chosen');
            State.setAppearance({ color: 'brightness', size: 'loss', theme: 'dark' });
            State.setSort('image_id', false);
            State.openSample(5);
        }""",
        names[0],
    )
    rows = passing(page)
    link = fragment_of(page, 'sample=')

    again = open_page(link)

    assert passing(again).tolist() == rows.tolist()
    assert 0 < len(rows) < NUMBER
    state = again.evaluate("""[State.appearance.color, State.appearance.size, State.page,
        State.sort.column, State.sort.descending, State.selected, State.isDark()]""")
    assert state == ['brightness', 'loss', 'samples', 'image_id', False, 5, True]


def test_back_closes_a_sample(open_page):
    page = open_page()
    page.locator('.page-explore .table-row').first.click()
    fragment_of(page, 'sample=')
    assert page.evaluate('State.selected') is not None

    page.evaluate('history.back()')
    page.wait_for_timeout(200)

    assert page.evaluate('State.selected') is None


def test_rows_of_a_link(open_page):
    page = open_page()
    page.evaluate("Filters.set('some', { kind: 'rows', rows: [149, 3, 40], label: 'some' })")
    again = open_page(fragment_of(page, 'some'))
    assert passing(again).tolist() == [3, 40, 149]


@pytest.mark.parametrize(
    'fragment',
    [
        filters(x={'kind': 'range', 'column': 'not there', 'low': 0, 'high': 1}),
        filters(x={'kind': 'set', 'column': 'cluster'}) + '&sort=nothing&color=no&sample=1',
        'filters=%5B1%2Cnull%2C%22x%22%5D&view=other&page=none&overlay=x&opacity=y&columns=%7B',
    ],
)
def test_a_link_that_names_what_is_not_there(open_page, fragment):
    page = open_page(fragment)
    assert len(passing(page)) == NUMBER
    assert page.locator('.page-explore').is_visible()


def test_another_checkpoint(open_page, table):
    page = open_page(
        filters(
            brightness={'kind': 'range', 'column': 'brightness', 'low': 0, 'high': 100},
            map={'kind': 'polygon', 'points': [[0, 0], [0, 1], [1, 0]]},
        )
    )
    assert page.evaluate('State.view.name') == 'val-600'

    page.locator('#header select').first.select_option('val-400')
    page.wait_for_selector('body[data-loaded="val-400"]')

    rows = passing(page)
    assert rows.tolist() == np.flatnonzero(table['brightness'] <= 100).tolist()
    assert page.locator('.chip').count() == 1


def test_the_link_to_the_content_keeps_the_state(open_page):
    page = open_page('page=samples&opacity=0')
    page.evaluate("Filters.set('some', { kind: 'rows', rows: [3, 40], label: 'some' })")
    page.focus('.skip')
    page.keyboard.press('Enter')
    page.wait_for_timeout(200)
    assert passing(page).tolist() == [3, 40]
    state = '[State.page, State.appearance.opacity, document.activeElement.id]'
    assert page.evaluate(state) == ['samples', 0, 'main-content']
    assert 'main-content' not in page.evaluate('location.hash')


def test_a_damaged_file_is_named(browser, analysis, tmp_path):
    folder = shutil.copytree(analysis.workdir.parent / 'report', tmp_path / 'report')
    (path,) = folder.glob('data/val-600/view.js')
    path.write_text(path.read_text()[: path.stat().st_size // 2])
    page = browser.new_page()
    page.goto(f'{folder.as_uri()}/index.html')
    text = page.locator('#main-content .failure').text_content()
    page.close()
    assert 'view.js is damaged: write the report again' in text


def test_views_that_cannot_be_read(browser, analysis, tmp_path):
    """The page says so, and the header names the view that is shown."""
    folder = shutil.copytree(analysis.workdir.parent / 'report', tmp_path / 'report')
    (folder / 'data/val-400/view.js').unlink()
    findings = folder / 'data/val-600/findings.js'
    text = findings.read_text()
    findings.unlink()
    page = browser.new_page()
    page.goto(f'{folder.as_uri()}/index.html#page=findings')
    name = 'findings.js is missing or cannot be read.'
    page.wait_for_selector(f'.findings-content .empty:has-text("Not loaded: data/val-600/{name}")')
    page.locator('#header select').first.select_option('val-400')
    page.wait_for_selector('#toast:has-text("view.js is missing or cannot be read")')
    assert page.locator('#header select').first.input_value() == 'val-600'
    # It is tried again.
    findings.write_text(text)
    page.evaluate('Data.loadRest(State.view)')
    assert page.evaluate('State.view.loaded')
    page.close()
