"""Charts, categories and search against Python: which samples they let pass."""

import numpy as np
import pytest

from tests.analysis.explorer.pages.reading import NUMBER, drag, filters, passing


def test_shows_all_samples_with_their_means(open_page, table):
    page = open_page()

    assert len(passing(page)) == NUMBER
    for name in ('loss', 'mean_iou_foreground', 'iou_car'):
        shown = float(page.text_content(f'[data-mean="{name}"]'))
        assert shown == pytest.approx(np.nanmean(table[name]), abs=0.006)
    dots = page.evaluate("""() => {
        const canvas = document.querySelector('.map-surface canvas');
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return new Set(new Uint32Array(data.buffer)).size;
    }""")
    assert dots > 50


def test_brushing_a_histogram_keeps_the_values_under_it(open_page, table):
    page = open_page()
    box = page.locator('.chart[data-column="loss"] .brush .overlay').bounding_box()

    drag(page, [(box['x'] + share * box['width'], box['y'] + 20) for share in (0.2, 0.6)])
    rows = passing(page)

    (_, chosen), *others = page.evaluate('[...Filters.all]')
    assert not others
    expected = (table['loss'] >= chosen['low']) & (table['loss'] <= chosen['high'])
    assert 0 < len(rows) < NUMBER
    assert rows.tolist() == np.flatnonzero(expected).tolist()
    edges = page.evaluate("Bins.of(State.view, 'loss').edges")
    low, high = edges[0], edges[-1]
    assert chosen['low'] == pytest.approx(low + 0.2 * (high - low), abs=0.02 * (high - low))
    assert chosen['high'] == pytest.approx(low + 0.6 * (high - low), abs=0.02 * (high - low))
    page.click('.chip button')
    assert len(passing(page)) == NUMBER


def test_keys_brush_a_histogram_too(open_page, table):
    page = open_page()
    page.focus('.chart[data-column="loss"] .brush')

    page.keyboard.press('ArrowRight')
    page.keyboard.press('Shift+ArrowRight')
    rows = passing(page)

    edges = page.evaluate("Bins.of(State.view, 'loss').edges")
    assert rows.tolist() == np.flatnonzero(table['loss'] < edges[2]).tolist()
    page.keyboard.press('Escape')
    assert len(passing(page)) == NUMBER


def test_categories_are_chosen_in_charts_legend_and_map(open_page, names):
    page = open_page()
    rows = page.locator('.chart[data-column="cluster"] .row')
    first, second = (rows.nth(i).get_attribute('title') for i in (0, 1))

    rows.nth(0).click()
    assert passing(page).tolist() == np.flatnonzero(names == first).tolist()
    page.locator('.legend li button').nth(1).click()
    assert passing(page).tolist() == np.flatnonzero(np.isin(names, [first, second])).tolist()
    rows.nth(0).click()
    rows.nth(1).click()
    assert len(passing(page)) == NUMBER
    page.locator('.map-names button:visible').first.dispatch_event('click')
    assert len(set(names[passing(page)])) == 1


def test_search_finds_names_clusters_and_image_ids(open_page, table, names):
    page = open_page()
    wanted = [str(table['file_name'][20])[-9:-4], names[0][3:9], str(table['image_id'][7])]

    for text in wanted:
        page.fill('#search', text)
        found = [
            text.lower() in name.lower() or text.lower() in cluster.lower() or text == str(number)
            for name, cluster, number in zip(
                table['file_name'], names, table['image_id'], strict=True
            )
        ]
        rows = set(passing(page).tolist())
        assert set(np.flatnonzero(found).tolist()) <= rows
        assert len(rows) < NUMBER
    assert 7 in rows
    page.fill('#search', 'nothing is called so')
    assert len(passing(page)) == 0
    assert page.locator('.page-explore .nothing', has_text='No sample').is_visible()


def test_filters_together(open_page, table, names):
    fragment = filters(
        brightness={'kind': 'range', 'column': 'brightness', 'low': 60, 'high': 150},
        is_grayscale={'kind': 'set', 'column': 'is_grayscale', 'values': [False]},
        hue_std={'kind': 'range', 'column': 'hue_std', 'low': 0, 'high': 1000},
        rows={'kind': 'rows', 'rows': '0' + '.1' * 99, 'label': 'the first hundred'},
    )
    page = open_page(fragment)
    rows = passing(page)

    expected = (table['brightness'] >= 60) & (table['brightness'] <= 150)
    expected &= ~table['is_grayscale'].astype(bool) & (table['hue_std'] >= 0)
    expected &= np.arange(NUMBER) < 100
    assert 0 < len(rows) < 100
    assert rows.tolist() == np.flatnonzero(expected).tolist()
    mean = float(page.text_content('[data-mean="loss"]'))
    assert mean == pytest.approx(table['loss'][expected].mean(), abs=0.0006)
    assert page.locator('.chip').count() == 4
    page.click('text=Clear all')
    assert len(passing(page)) == NUMBER
