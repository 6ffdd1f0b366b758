"""What charts count and explain, and how rows of texts and numbers are sorted and found."""

import json

import numpy as np

from tests.analysis.explorer.driving import wait_until
from tests.analysis.explorer.pages.reading import filters, fragment_of
from tests.report_fixture.browsing import settle


def test_charts_count_what_all_other_filters_let_pass(open_page, table):
    page = open_page(
        filters(
            loss={'kind': 'range', 'column': 'loss', 'low': 0, 'high': 0.2},
            brightness={'kind': 'range', 'column': 'brightness', 'low': 60, 'high': 150},
        )
    )
    bins, summary = page.evaluate("""() => {
        const { edges } = Bins.of(State.view, 'brightness');
        const summary = Bins.summarize(State.view, 'brightness', 'loss');
        return [edges, Object.fromEntries(Object.entries(summary).map(([k, v]) => [k, [...v]]))];
    }""")

    chosen = table['loss'] <= 0.2
    values, losses = table['brightness'][chosen], table['loss'][chosen]
    assert summary['counts'][:-1] == np.histogram(values, bins)[0].tolist()
    sums = np.histogram(values, bins, weights=losses)[0]
    np.testing.assert_allclose(summary['sums'][:-1], sums, rtol=1e-5)
    page.locator('.chart[data-column="brightness"]').scroll_into_view_if_needed()
    assert 'V' in page.get_attribute('.chart[data-column="brightness"] .bars', 'd')


def test_what_columns_explain_is_what_their_bins_say(open_page):
    """The report says it of columns that are not loaded; this page computes it of its own."""
    page = open_page()
    found = page.evaluate("""State.view.columns.flatMap((column) =>
        column.kind === 'text' || column.role === 'id' || !column.explained ? [] :
        [[column.name, column.varies, Bins.varies(State.view, column.name),
            Object.entries(column.explained).map(([metric, share]) =>
                [share, Bins.explained(State.view, column.name, metric)])]])""")
    assert len(found) > 30
    for name, varies, expected, shares in found:
        assert varies == expected, name
        assert len(shares) > 5
        np.testing.assert_allclose(*np.array(shares).T, rtol=1e-9, atol=1e-12, err_msg=name)


def test_rows_are_sorted_by_any_numbers(open_page):
    page = open_page()
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1e6, 500).round(rng.integers(-6, 3)).astype(np.float32)
    values[::7], values[3::50], values[5], values[9] = np.nan, -0.0, np.inf, -np.inf
    for kind, numbers in (
        ('Float32Array', values),
        ('Float64Array', values.astype(np.float64) + 1e-3),
        ('Uint8Array', rng.integers(0, 256, 500)),
        ('Uint16Array', rng.integers(0, 65536, 500)),
        ('Int32Array', rng.integers(-(2**31), 2**31, 500)),
        ('Float64Array', 10.0**12 + rng.integers(0, 400, 500)),
        ('Float32Array', np.zeros(0)),
    ):
        texts = [str(value) for value in numbers.tolist()]
        given = [{'nan': 'NaN', 'inf': 'Infinity', '-inf': '-Infinity'}.get(t, t) for t in texts]
        found = page.evaluate(f'[...Sorting.rowsBy({kind}.of({",".join(given)}))]')
        assert found == np.argsort(numbers, kind='stable').tolist(), kind


def test_texts_are_found_in_their_own_row(open_page):
    page = open_page()
    rows = ['ab', '', 'BA', 'a', 'b', '\u0130x', 'xab', 'aab']
    ends = np.cumsum([len(text) for text in rows]).tolist()
    make = f'new Texts({json.dumps("".join(rows))}, {ends})'
    found = page.evaluate(
        f'(() => {{ const t = {make}; return {json.dumps(rows)}.map((_, r) => t.at(r)) }})()'
    )
    assert found == [text or None for text in rows]
    for wanted, expected in (('ab', [0, 6, 7]), ('ba', [2]), ('x', [5, 6]), ('bb', [])):
        flags = page.evaluate(f'[...{make}.containing({json.dumps(wanted)})]')
        assert np.flatnonzero(flags).tolist() == expected, wanted


# Adds a column and draws its histogram.
DRAW = """
    const draw = (name, valueOf) => {
        const { view } = State;
        const values = Float32Array.from({ length: view.n }, (_, row) => valueOf(row));
        view.addColumn({ name, role: 'metadata', kind: 'number', unit: '', description: '',
            values });
        const body = document.createElement('div');
        body.style.width = '300px';
        document.body.prepend(body);
        Histogram.create(body, view.column(name), 'loss')();
        return body;
    };
"""


def test_a_bar_filters_by_what_it_counts(open_page):
    wrong = f"""() => {{{DRAW}"""
    wrong += """
        const body = draw('hundredths', (row) => (row % 101) / 100);
        const { codes, size } = Bins.of(State.view, 'hundredths');
        const counts = Array(size).fill(0);
        codes.forEach((bin) => counts[bin]++);
        return counts.filter((count) => {
            const right = new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true });
            body.querySelector('.brush').dispatchEvent(right); // the next bar
            return Filters.passing() !== count;
        });
    }"""
    assert open_page().evaluate(wrong) == []


def test_a_brush_between_two_whole_numbers_takes_the_nearest(open_page):
    found = f"""([from, to]) => {{{DRAW}"""
    found += """
        const body = draw('few', (row) => 1 + (row % 4));
        const { left, width } = body.querySelector('.brush .overlay').getBoundingClientRect();
        const top = body.querySelector('.brush .overlay').getBoundingClientRect().top + 20;
        return [left + from * width, left + to * width, top];
    }"""
    # The axis goes from 0.5 to 4.5.
    for ends, expected in (((0.3, 0.35), 2), ((0.55, 0.6), 3), ((0, 0.05), 1), ((0.95, 1), 4)):
        page = open_page()
        start, end, y = page.evaluate(found, list(ends))
        page.mouse.move(start + 1, y)
        page.mouse.down()
        page.mouse.move(end - 1, y, steps=3)
        page.mouse.up()
        chosen = page.evaluate("Filters.all.get('few')")
        assert (chosen['low'], chosen['high']) == (expected, expected), ends


def test_back_restores_the_curves_and_the_height_of_the_map(open_page):
    page = open_page()
    fragment_of(page, 'view=')
    page.evaluate('State.openSample(3)')
    fragment_of(page, 'sample=')
    page.locator('.charts-head select').select_option('entropy')
    page.focus('.splitter')
    page.keyboard.press('ArrowUp')
    assert 'curve=entropy' in fragment_of(page, 'split=59')

    page.evaluate('history.back()')
    wait_until(page, 'State.selected === null')
    settle(page)

    assert page.locator('.charts-head select').input_value() == 'loss'
    assert page.get_attribute('.splitter', 'aria-valuenow') == '62'
