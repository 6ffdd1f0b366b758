"""The explorer's map, charts, filters, table and links, in a real browser, against Python."""

import csv
import json
import re
import urllib.parse

import numpy as np
import pytest

from analysis.clusters.schema import Clusters
from analysis.report import stage as report
from analysis.samples.schema import Samples
from analysis.similarity_map.schema import SimilarityMap
from analysis.stage import artifacts
from segmentation.data import selection
from tests.report_fixture import browsing, made_run, scenes
from tests.report_fixture.browsing import settle

NUMBER = 150


@pytest.fixture(scope='module')
def analysis(tmp_path_factory):
    """An analysis whose names try to be markup. Its run has an earlier one, too."""
    folder = tmp_path_factory.mktemp('explorer')
    made_run.write_run(folder / 'run', NUMBER, name='val-400', hostile=True)
    made = made_run.write_run(folder / 'run', NUMBER, name='val-600', hostile=True)
    command = ['--workdir', str(folder / 'run'), '--output', str(folder / 'report')]
    assert report.main(command) == 0
    return made


@pytest.fixture(scope='module')
def table(analysis):
    """Columns of the samples as arrays: NaN where a number is missing."""
    read = artifacts.load(analysis, Samples).table
    return {name: read[name].to_numpy() for name in read.column_names}


@pytest.fixture(scope='module')
def names(analysis):
    """Name of each sample's k-means cluster, as the report has it."""
    clusters = artifacts.load(analysis, Clusters)
    return np.array([f'{label}: {clusters.names[label]}' for label in clusters.label])


@pytest.fixture
def open_page(browser, analysis):
    """Opens a report. Afterwards nothing may have gone wrong or been asked for outside of it."""
    wrong, contexts = [], []

    def open_at(
        fragment='',
        folder=analysis.workdir.parent / 'report',
        width=1280,
        height=800,
        **options,
    ):
        context = browser.new_context(viewport={'width': width, 'height': height}, **options)
        context.set_default_timeout(60_000)  # on a busy machine a page takes many seconds
        contexts.append(context)
        return browsing.open_report(context, folder, fragment, wrong)

    yield open_at
    for context in contexts:
        context.close()
    assert wrong == []


def passing(page):
    """Rows that pass, by the filters; the number on the page must say the same."""
    settle(page)
    rows = page.evaluate('[...Order.rows()]')
    assert int(page.text_content('#passing').replace(',', '')) == len(rows)
    return np.sort(rows)


def filters(**named):
    """A fragment with these filters."""
    return urllib.parse.urlencode({'filters': json.dumps(list(named.items()))})


def fragment_of(page, part):
    """The page's fragment, when it has that part: it is written after a moment."""
    for _ in range(50):
        fragment = page.evaluate('location.hash').removeprefix('#')
        if part in fragment:
            return fragment
        page.wait_for_timeout(50)
    raise AssertionError(f'{part} is not in {fragment}')


def inside(points, polygon):
    """Which points `[N, 2]` are in a polygon `[M, 2]`, by the crossings of a ray."""
    result = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, 1, axis=0), strict=True):
        between = (y0 > points[:, 1]) != (y1 > points[:, 1])
        with np.errstate(divide='ignore', invalid='ignore'):
            crosses = points[:, 0] < (x1 - x0) * (points[:, 1] - y0) / (y1 - y0) + x0
        result ^= between & crosses
    return result


def on_screen(page, points, padding=28):
    """Where the dots must be if all fit into the map with that padding, `[N, 2]` in pixels."""
    box = page.locator('.map-surface').bounding_box()
    low, high = points.min(0), points.max(0)
    size = np.array([box['width'], box['height']])
    scale = ((size - 2 * padding) / (high - low)).min()
    middle = np.array([box['x'], box['y']]) + size / 2
    return middle + (points - (low + high) / 2) * scale * [1, -1]


def drag(page, points, steps=4):
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=steps)
    page.mouse.up()


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


def test_lasso_and_box_keep_the_dots_inside(open_page, analysis):
    points = artifacts.load(analysis, SimilarityMap).map_2d.astype(float)
    page = open_page()
    screen = on_screen(page, points)
    center = screen.mean(0)
    ring = [center + [90 * np.cos(a), 60 * np.sin(a)] for a in np.linspace(0, 5.5, 12)]

    page.keyboard.down('Shift')
    drag(page, ring)
    page.keyboard.up('Shift')
    rows = passing(page)
    chosen = page.evaluate("Filters.all.get('map')")
    assert rows.tolist() == np.flatnonzero(inside(points, chosen['points'])).tolist()
    assert rows.tolist() == np.flatnonzero(inside(screen, ring)).tolist()

    page.keyboard.press('Escape')
    assert len(passing(page)) == NUMBER
    page.click('[aria-label="Select a box"]')
    low, high = np.quantile(screen, 0.2, axis=0), np.quantile(screen, 0.7, axis=0)
    drag(page, [low, high])
    assert (
        passing(page).tolist()
        == np.flatnonzero(((screen >= low) & (screen <= high)).all(1)).tolist()
    )


def test_lasso_on_the_turned_map(open_page, analysis):
    points = artifacts.load(analysis, SimilarityMap).map_3d.astype(float)
    page = open_page()
    page.click('[aria-label="Two or three dimensions"]')
    box = page.locator('.map-surface').bounding_box()
    middle = np.array([box['x'] + box['width'] / 2, box['y'] + box['height'] / 2])
    drag(page, [middle, middle + [60, 25]])

    page.keyboard.down('Shift')
    drag(page, [middle + offset for offset in ([-80, -80], [10, -60], [30, 70], [-60, 60])])
    page.keyboard.up('Shift')
    rows = passing(page)

    chosen = page.evaluate("Filters.all.get('map')")
    yaw, pitch = chosen['turn']
    assert (yaw, pitch) == pytest.approx((0.6 + 60 / 150, 0.35 + 25 / 150))
    around = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    tilt = np.array(
        [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    )
    seen = (points @ (tilt @ around).T)[:, :2]
    assert 0 < len(rows) < NUMBER
    assert rows.tolist() == np.flatnonzero(inside(seen, chosen['points'])).tolist()


def test_hover_shows_the_sample_and_a_click_opens_it(open_page, analysis, table):
    page = open_page('overlay=error')
    screen = on_screen(page, artifacts.load(analysis, SimilarityMap).map_2d.astype(float))
    apart = np.hypot(*(screen[:, None] - screen[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    # The most lonely dot that no name or legend covers.
    covered = page.evaluate(
        """(points) => points.map(([x, y]) =>
            !document.elementFromPoint(x, y)?.matches('.map-surface, canvas'))""",
        screen.tolist(),
    )
    row = int(np.argmax(np.where(covered, 0, apart.min(1))))

    page.mouse.move(*screen[row])
    settle(page)
    card = page.locator('.map-card')
    assert card.is_visible()
    assert card.locator('.card-name').text_content() == table['file_name'][row]
    assert f'{table["loss"][row]:.3f}' in card.text_content()
    assert re.search('error', card.locator('.thumbnail i').nth(1).get_attribute('style'))
    page.mouse.click(*screen[row])
    settle(page)
    assert page.evaluate('State.selected') == row


def test_color_and_size_by_any_column(open_page):
    page = open_page()
    looks = set()
    for color, size in [('cluster', ''), ('loss', ''), ('loss', 'loss'), ('is_grayscale', 'loss')]:
        page.locator('.map-controls select').nth(0).select_option(color)
        page.locator('.map-controls select').nth(1).select_option(size)
        settle(page)
        looks.add(page.evaluate("document.querySelector('.map-surface canvas').toDataURL()"))
        assert page.text_content('.legend-title').startswith(color.replace('_', ' '))
    assert len(looks) == 4


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


def test_names_are_shown_as_text(open_page, table, names):
    hostile = [name for name in table['file_name'] if name in scenes.HOSTILE]
    assert len(hostile) > 3
    page = open_page()
    title = page.title()

    for name in hostile:
        page.evaluate(
            "(id) => Filters.set('one', {kind: 'set', column: 'image_id', values: [id]})",
            int(table['image_id'][list(table['file_name']).index(name)]),
        )
        settle(page)
        shown = page.locator('.page-explore .table-row b').first.text_content()
        assert shown.removesuffix('…') == name[: len(shown.removesuffix('…'))]
        assert len(shown) > min(len(name), 100) - 1
    page.evaluate('Filters.clear()')
    settle(page)
    labels = page.locator('.legend-label').all_text_contents()
    assert set(labels) == set(names)
    assert page.title() == title
    assert page.locator('img[onerror], b b, script:not([src])').count() == 0


def test_only_samples(open_page, tmp_path):
    made_run.write_run(tmp_path / 'run', 60, only=())
    command = ['--workdir', str(tmp_path / 'run'), '--output', str(tmp_path / 'report')]
    assert report.main(command) == 0

    page = open_page(folder=tmp_path / 'report')

    assert page.text_content('#passing') == '60'
    assert page.get_by_text('python -m analysis.similarity_map').is_visible()
    assert page.locator('.page-explore .table-row').count() > 3


def test_fits_a_phone(open_page):
    page = open_page(width=390, height=844, has_touch=True, is_mobile=True)
    for name in ('Explore', 'Samples'):
        page.get_by_role('tab', name=name).click()
        settle(page)
        assert page.evaluate('document.documentElement.scrollWidth') <= 390
    page.get_by_role('tab', name='Explore').click()
    settle(page)
    boxes = [
        page.locator(f'.page-explore {part}').bounding_box()
        for part in ('.map-box', '.samples', '.charts')
    ]
    for above, below in zip(boxes, boxes[1:], strict=False):
        assert above['y'] + above['height'] <= below['y']
    assert all(box['width'] > 350 for box in boxes)


def test_every_control_has_a_name(open_page):
    page = open_page()
    nameless = page.evaluate("""() => [...document.querySelectorAll('button, input, select')]
        .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.title || e.closest('label')))
        .map((e) => e.outerHTML)""")
    assert nameless == []
