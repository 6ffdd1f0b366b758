"""Saved views: they last, leave as files and come back."""

import csv

import numpy as np
import pytest

from segmentation.data import selection
from tests.analysis.explorer.pages.reading import NUMBER, filters, fragment_of, passing
from tests.report_fixture.browsing import settle


def test_saved_views_last_and_leave(open_page, table, tmp_path):
    page = open_page(
        filters(brightness={'kind': 'range', 'column': 'brightness', 'low': 0, 'high': 80})
    )
    rows = passing(page)
    assert 0 < len(rows) < NUMBER
    name = '=1+1 <img src=x onerror="document.title=1">'
    page.click('#saved-views')
    page.keyboard.type(name)  # the field has the focus
    page.keyboard.press('Enter')
    settle(page)
    assert page.locator('.saved-views li').count() == 1
    assert name in page.locator('.saved-views li').text_content()
    page.keyboard.press('Escape')
    assert not page.locator('.saved-views').is_visible()

    # In the link, and in this browser.
    page.evaluate('Filters.clear()')
    assert len(passing(page)) == NUMBER
    page.reload()
    page.wait_for_selector('body[data-loaded]')
    page.click('#saved-views')
    page.locator('.saved-views li .link').click()
    np.testing.assert_array_equal(passing(page), rows)
    assert name in page.locator('.chip').text_content()
    fragment = fragment_of(page, 'selection')
    other = open_page(fragment)
    np.testing.assert_array_equal(passing(other), rows)
    assert name in other.locator('.chip').text_content()

    # As files.
    page.click('#saved-views')
    files = {}
    for button, file in (('#export-views', 'views.json'), ('#export-csv', 'views.csv')):
        with page.expect_download() as download:
            page.click(button)
        assert download.value.suggested_filename == file
        download.value.save_as(files.setdefault(file, tmp_path / file))
    ids = table['image_id'][rows].tolist()
    assert selection.read_views(files['views.json'], 'drawn0') == {name: ids}
    with files['views.csv'].open(newline='', encoding='utf-8') as lines:
        head, *body = csv.reader(lines)
    assert head == ['view', 'image_id', 'file_name'] and len(body) == len(ids)
    assert [int(row[1]) for row in body] == ids
    assert {row[0] for row in body} == {"'" + name}  # no formula
    listed = table['file_name'][rows].tolist()
    assert all(
        row[2].lstrip("'") == text.lstrip("'") for row, text in zip(body, listed, strict=True)
    )

    # And back, in a browser that has none.
    assert 'Save as a view' in other.locator('#saved-views').text_content()
    other.click('#saved-views')
    other.set_input_files('#import-views', files['views.json'])
    other.wait_for_selector('.saved-views li')
    settle(other)
    assert 'Saved views (1)' in other.locator('#saved-views').text_content()
    assert other.evaluate('Selections.exported().views') == [{'name': name, 'ids': ids}]
    assert other.title() == page.title() != '1'


@pytest.mark.parametrize(
    'document',
    [
        [], {'views': 3}, {'views': [{'name': 'a'}]}, {'views': [{'name': ' ', 'ids': [1]}]},
        {'views': [{'name': 'a', 'ids': ['1']}]}, {'views': [{'name': 'a', 'ids': [-1]}]},
        {'views': [], 'fingerprint': 'other'}, {'views': [{'name': 'x' * 300, 'ids': []}]},
    ],
)  # fmt: skip
def test_other_files_of_views_are_refused(open_page, document):
    page = open_page()
    found = page.evaluate(
        """(file) => {
             try { Selections.add(file); return 'accepted'; }
             catch (error) { return error.message; }
           }""",
        document,
    )
    assert found != 'accepted' and page.evaluate('Selections.exported().views') == []
