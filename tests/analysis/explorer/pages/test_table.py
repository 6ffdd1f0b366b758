"""The table and the gallery."""

import urllib.parse

import numpy as np
import pytest

from tests.analysis.explorer.pages.reading import NUMBER
from tests.report_fixture.browsing import settle


def test_table_sorts_by_any_column_with_missing_values_last(open_page, table):
    page = open_page()
    for name in ('iou_car', 'image_id'):
        page.evaluate("(name) => State.save('columns', JSON.stringify([name]))", name)
        page.evaluate("Events.emit('view')")
        settle(page)
        page.click(f'[data-sort="{name}"]')
        for sign in (-1, 1):
            order = np.argsort(sign * table[name], kind='stable')
            settle(page)
            cells = page.locator('.page-explore .table-row b').all_text_contents()
            top = page.evaluate('[...Order.rows()]')
            np.testing.assert_array_equal(table[name][top], table[name][order])
            if name == 'image_id':
                assert sorted(map(int, cells)) == sorted(table[name][order][: len(cells)])
            page.click(f'[data-sort="{name}"]')


def test_table_and_gallery_hold_only_what_is_seen(open_page, table):
    page = open_page('page=samples')
    assert 8 <= page.locator('.page-samples .tile').count() < NUMBER

    page.click('.page-samples [aria-label="Table"]')
    settle(page)
    scroll = page.locator('.page-samples .samples-scroll')
    assert 8 <= scroll.locator('.table-row').count() < 60
    scroll.evaluate('(element) => (element.scrollTop = element.scrollHeight)')
    page.wait_for_timeout(100)
    last = int(np.argsort(-table['loss'], kind='stable')[-1])
    rows = scroll.locator('.table-row').evaluate_all('(all) => all.map((e) => +e.dataset.row)')
    assert last in rows
    scroll.focus()
    page.keyboard.press('End')
    page.keyboard.press('Enter')
    settle(page)
    assert page.evaluate('State.selected') == last


@pytest.mark.parametrize('kind', ['table', 'gallery'])
def test_pictures_are_cut_out_of_their_sheets(open_page, kind):
    page = open_page(f'page=samples&samples.mode={kind}&overlay=truth&sort=image_id')
    page.wait_for_timeout(300)
    pictures = page.locator('.page-samples .thumbnail').evaluate_all("""(all) => all.map((e) => [
        +e.dataset.row, e.getBoundingClientRect().height, e.children.length,
        e.firstChild.style.cssText,
    ])""")
    described = page.evaluate('State.view.pictures')

    assert len(pictures) > 8
    for row, height, layers, style in pictures:
        sheet = described['sheets'][row // described['per_sheet']]
        assert height > 30 and layers == 2
        assert sheet['image'] in urllib.parse.unquote(style)
    first = min(pictures)
    assert first[0] == 0
    assert 'background-position: 0px 0px' in first[3]
